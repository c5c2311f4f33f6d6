//! How it is drawn.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Row, Sparkline, Table};

use super::super::print;
use super::View;
use super::rates::{ExportRates, Rate, StoreRates};

const EXPORT_HEADER: [&str; 9] = [
    "EXPORT", "CONN", "READS/s", "BYTES/s", "WRITES/s", "BYTES/s", "P50", "P99", "WAITS/s",
];
const STORE_HEADER: [&str; 8] = [
    "STORE",
    "USED",
    "FREE",
    "WRITTEN/s",
    "DEDUP",
    "LOG/s",
    "GC/s",
    "CACHE",
];

/// The height of the curves, their frame included.
const CURVES_HEIGHT: u16 = 7;

const READS: Color = Color::Cyan;
const WRITES: Color = Color::Yellow;

/// Draws `view`: who it is, two curves, exports, stores.
pub(super) fn draw(view: &View, frame: &mut Frame<'_>) {
    let stores = u16::try_from(view.rates.stores.len()).unwrap_or(u16::MAX);
    // The stores have at most a third: what clients do matters more.
    let stores_height = match stores {
        0 => 0,
        stores => stores.saturating_add(2).min(frame.area().height / 3),
    };
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(CURVES_HEIGHT),
        Constraint::Min(2),
        Constraint::Length(stores_height),
        Constraint::Length(1),
    ]);
    let [title, curves, exports, stores, foot] = rows.areas(frame.area());
    draw_title(view, frame, title);
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]);
    let [left, right] = halves.areas(curves);
    draw_curve("reads", READS, view.rates.reads, &view.reads, frame, left);
    draw_curve(
        "writes",
        WRITES,
        view.rates.writes,
        &view.writes,
        frame,
        right,
    );
    draw_exports(&view.rates.exports, frame, exports);
    draw_stores(&view.rates.stores, frame, stores);
    draw_foot(view, frame, foot);
}

fn draw_title(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let up = view.now.saturating_sub(view.started);
    let (days, hours) = (up / 86_400, up / 3600 % 24);
    let (minutes, seconds) = (up / 60 % 60, up % 60);
    let days = match days {
        0 => String::new(),
        days => format!("{days} d "),
    };
    let text = format!(
        " bedplate {}   up {days}{hours:02}:{minutes:02}:{seconds:02}   {} connections   CPU {} %",
        view.version, view.rates.connections, view.rates.cpu_percent
    );
    let bar = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
    frame.render_widget(Line::from(text).style(bar), area);
}

fn draw_curve(
    what: &str,
    color: Color,
    rate: Rate,
    history: &VecDeque<u64>,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let now = format!(
        " {what} {}/s  {}/s ",
        thousands(rate.requests),
        print::brief(rate.bytes)
    );
    let highest = history.iter().max().copied().unwrap_or(0);
    let highest = Line::from(format!(" highest {}/s ", thousands(highest)));
    let block = Block::bordered()
        .title(now.fg(color).bold())
        .title_bottom(highest.alignment(Alignment::Right));
    // As many as there is room for, the newest at the right.
    let room = usize::from(area.width.saturating_sub(2));
    let shown = history.len().min(room);
    let mut points = vec![0; room - shown];
    points.extend(history.iter().skip(history.len() - shown));
    let curve = Sparkline::default().block(block).data(points);
    frame.render_widget(curve.style(Style::new().fg(color)), area);
}

fn draw_exports(exports: &[ExportRates], frame: &mut Frame<'_>, area: Rect) {
    let room = usize::from(area.height.saturating_sub(1));
    let (shown, hidden) = match exports.len() > room {
        true => (
            room.saturating_sub(1),
            exports.len() - room.saturating_sub(1),
        ),
        false => (exports.len(), 0),
    };
    let mut rows: Vec<Row<'_>> = exports[..shown].iter().map(export_row).collect();
    if hidden > 0 {
        rows.push(Row::new([format!("and {hidden} more")]).dim());
    }
    let widths = [
        Constraint::Min(16),
        Constraint::Length(4),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
    ];
    frame.render_widget(Table::new(rows, widths).header(header(EXPORT_HEADER)), area);
}

fn export_row(export: &ExportRates) -> Row<'static> {
    let name = match export.errors {
        0 => Cell::from(export.name.clone()),
        errors => Cell::from(format!("{}  {errors} errors", export.name)).red(),
    };
    let is_idle = export.reads.requests + export.writes.requests == 0;
    let row = Row::new([
        name,
        right(export.connections.to_string()),
        right(thousands(export.reads.requests)).fg(READS),
        right(print::brief(export.reads.bytes)).fg(READS),
        right(thousands(export.writes.requests)).fg(WRITES),
        right(print::brief(export.writes.bytes)).fg(WRITES),
        right(print::time(export.p50)),
        right(print::time(export.p99)),
        right(thousands(export.waits)),
    ]);
    match is_idle {
        true => row.dim(),
        false => row,
    }
}

fn draw_stores(stores: &[StoreRates], frame: &mut Frame<'_>, area: Rect) {
    let widths = [
        Constraint::Min(16),
        Constraint::Length(5),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(6),
    ];
    let rows = stores.iter().map(store_row);
    frame.render_widget(Table::new(rows, widths).header(header(STORE_HEADER)), area);
}

fn store_row(store: &StoreRates) -> Row<'static> {
    let percent =
        |share: Option<u64>| share.map_or_else(|| "-".to_owned(), |share| format!("{share} %"));
    let name = match store.problem.is_empty() {
        true => Cell::from(store.name.clone()),
        false => Cell::from(format!("{}: {}", store.name, store.problem)).red(),
    };
    Row::new([
        name,
        right(format!("{} %", store.used_percent)),
        right(print::brief(store.free)),
        right(print::brief(store.clients)),
        right(percent(store.deduplicated_percent)),
        right(print::brief(store.log)),
        right(print::brief(store.moved)),
        right(percent(store.cached_percent)),
    ])
}

fn draw_foot(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let text = format!(" q quit   every {} s", view.interval.as_secs());
    frame.render_widget(Line::from(text).dim(), area);
}

/// The first cell stands left, as names do; the others right, as numbers do.
fn header<const N: usize>(words: [&'static str; N]) -> Row<'static> {
    let cells = words
        .into_iter()
        .enumerate()
        .map(|(index, word)| match index {
            0 => Cell::from(word),
            _ => right(word.to_owned()),
        });
    Row::new(cells).bold().underlined()
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).alignment(Alignment::Right))
}

/// `count` in at most six characters.
fn thousands(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..100_000 => format!("{}.{} k", count / 1000, count / 100 % 10),
        100_000..10_000_000 => format!("{} k", count / 1000),
        _ => format!("{} M", count / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::rates::Rates;
    use super::*;

    fn lines(view: &View, (width, height): (u16, u16)) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
        terminal.draw(|frame| draw(view, frame)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let cells = buffer.content().chunks(usize::from(width));
        let text =
            |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect();
        cells
            .map(text)
            .map(|line: String| line.trim_end().to_owned())
            .collect()
    }

    fn view(exports: usize) -> View {
        let busy = |requests| Rate {
            requests,
            bytes: requests * 4096,
        };
        let export = |index| ExportRates {
            name: format!("main/vm{index}"),
            connections: 1,
            reads: busy(12_345),
            writes: busy(99),
            p50: Some(Duration::from_nanos(1 << 16)),
            p99: Some(Duration::from_nanos(1 << 20)),
            ..ExportRates::default()
        };
        let rates = Rates {
            cpu_percent: 131,
            connections: 3,
            reads: busy(12_345),
            writes: busy(99),
            exports: (0..exports).map(export).collect(),
            stores: vec![StoreRates {
                name: "main".to_owned(),
                used_percent: 42,
                free: 3 << 30,
                clients: 99 * 4096,
                deduplicated_percent: Some(50),
                ..StoreRates::default()
            }],
        };
        View {
            version: "1.2.3".to_owned(),
            started: 1000,
            now: 1000 + 86_400 + 3661,
            interval: Duration::from_secs(1),
            rates,
            reads: (1..=200).collect(),
            writes: VecDeque::from([3]),
        }
    }

    #[test]
    fn everything_is_on_one_screen() {
        let lines = lines(&view(2), (100, 20));
        let title = " bedplate 1.2.3   up 1 d 01:01:01   3 connections   CPU 131 %";
        assert_eq!(lines[0], title);
        assert!(lines[1].contains("reads 12.3 k/s  48.2M/s"), "{}", lines[1]);
        assert!(lines[7].contains("highest 3/s"), "{}", lines[7]);
        assert!(
            lines[6].ends_with("█│"),
            "the newest is at the right: {}",
            lines[6]
        );
        let export = [
            "main/vm0", "1", "12.3 k", "48.2M", "99", "396K", "65 us", "1.0 ms", "0",
        ];
        let words = |line: &str| {
            line.split("  ")
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&lines[9]), export);
        let store = ["main", "42 %", "3G", "396K", "50 %", "0", "0", "-"];
        assert_eq!(words(&lines[17]), store);
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let text = lines(&view(50), (80, 16)).join("\n");
        assert!(text.contains("and 48 more"), "{text}");
        // Nothing is too small to be drawn.
        for height in 1..10 {
            lines(&view(50), (10 * height, height));
        }
    }
}
