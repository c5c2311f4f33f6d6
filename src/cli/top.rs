//! `bedplate top`: what clients of a running server do, live.

mod rates;
mod screen;

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event;
use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

use self::rates::Rates;
use self::screen::draw;
use super::place::{Place, ServerChoice};
use crate::base::OpenError;
use crate::control::api::proto;
use crate::env;

const EXAMPLES: &str = "\
Examples:
  bedplate top
  bedplate top main --interval 5

Exports stand in the order of how much is done with them; P50 and P99 are of reads and writes of the
last interval, rounded up to powers of two. CPU is the server's: 100 % is one core. Keys: q quits.";

/// How many intervals the curves show.
const HISTORY: usize = 256;

/// Watch what clients do, export by export, until q is pressed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TopArgs {
    /// A store or an export; everything without it.
    #[arg(
        value_name = "STORE|EXPORT",
        default_value = "",
        hide_default_value = true
    )]
    what: String,

    /// Seconds between looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,

    #[command(flatten)]
    server: ServerChoice,
}

/// What the screen shows.
#[derive(Debug)]
struct View {
    version: String,
    started: u64,
    now: u64,
    interval: Duration,
    rates: Rates,
    /// Requests a second, the newest last.
    reads: VecDeque<u64>,
    writes: VecDeque<u64>,
}

/// Shows the screen until somebody has seen enough.
///
/// # Errors
/// One line that says why there is nothing to see.
pub(super) fn run(args: TopArgs) -> Result<(), OpenError> {
    if !io::stdout().is_terminal() {
        let remedy = "use 'bedplate stats --json', or the metrics of the server";
        return Err(OpenError::new(
            "standard output",
            "it is no terminal",
            remedy,
        ));
    }
    let (name, interval) = (args.what, Duration::from_secs(args.interval));
    args.server
        .run(async move |place| watch(&place, name, interval).await)
}

async fn watch(place: &Place, name: String, interval: Duration) -> Result<(), OpenError> {
    let look = async || {
        let name = name.clone();
        place.counts(proto::CountsRequest { name }).await
    };
    // What may be wrong with the question is said before the screen is taken.
    let mut last = look().await?;
    let status = place.status(proto::StatusRequest {}).await?;
    let mut view = View {
        version: status.version,
        started: status.started,
        now: env::wall_clock(),
        interval,
        rates: Rates::between(&last, &last),
        reads: VecDeque::new(),
        writes: VecDeque::new(),
    };
    let mut screen = Screen::take()?;
    loop {
        screen.show(&view)?;
        if wait(&mut screen, &view)? {
            return Ok(());
        }
        let next = look().await?;
        view.rates = Rates::between(&last, &next);
        view.now = env::wall_clock();
        remember(&mut view.reads, view.rates.reads.requests);
        remember(&mut view.writes, view.rates.writes.requests);
        last = next;
    }
}

fn remember(history: &mut VecDeque<u64>, newest: u64) {
    if history.len() == HISTORY {
        history.pop_front();
    }
    history.push_back(newest);
}

/// Waits for the end of an interval, or `true` for somebody who has seen enough. Nothing else is to
/// be done on this thread meanwhile, so it just blocks.
fn wait(screen: &mut Screen, view: &View) -> Result<bool, OpenError> {
    let end = env::now() + view.interval;
    loop {
        let left = end.since(env::now());
        if left.is_zero() || !event::poll(left).map_err(terminal_failed)? {
            return Ok(false);
        }
        match event::read().map_err(terminal_failed)? {
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(true),
                    KeyCode::Char('c') if is_control => return Ok(true),
                    _ => {}
                }
            }
            Event::Resize(..) => screen.show(view)?,
            _ => {}
        }
    }
}

/// The terminal, which is given back as it was.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> Result<Self, OpenError> {
        ratatui::try_init().map(Self).map_err(terminal_failed)
    }

    fn show(&mut self, view: &View) -> Result<(), OpenError> {
        let shown = self.0.draw(|frame| draw(view, frame));
        shown.map(drop).map_err(terminal_failed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn terminal_failed(error: io::Error) -> OpenError {
    OpenError::new("the terminal", error, "use 'bedplate stats' instead")
}
