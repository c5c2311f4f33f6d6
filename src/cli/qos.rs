//! `bedplate qos`: limits how much of volumes clients may use, while they use them.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::place::{Place, ServerChoice};
use super::print;
use crate::base::OpenError;
use crate::base::size;
use crate::control::api::proto;
use crate::control::{ExportName, StoreName};
use crate::volume::qos::{LimitWords, Measure};

const SET_EXAMPLES: &str = "\
Examples:
  bedplate qos set main/vm1 --iops 1000 --bps 100M
  bedplate qos set main/vm1 --iops 1000 --burst-iops 5000 --burst-seconds 30
  bedplate qos set --group tenant7 --iops 20000
  bedplate qos set main/vm1 --group tenant7 --write-iops 500
      at most 500 writes a second, and with all others of tenant7 no more than it may

It counts at once, also for requests that wait. What is not named is not limited any more. Limits
end with the server: to keep them write them in its config file, with the same words.";

const SHOW_EXAMPLES: &str = "\
Examples:
  bedplate qos show
  bedplate qos show main/vm1 --json | jq .limits.iops";

const CLEAR_EXAMPLES: &str = "\
Examples:
  bedplate qos clear main/vm1
  bedplate qos clear --group tenant7      when nobody shares it any more";

/// Limit requests and bytes a second, of exports or of groups of them.
#[derive(Debug, Args)]
pub(super) struct QosArgs {
    #[command(flatten)]
    server: ServerChoice,

    #[command(subcommand)]
    command: QosCommand,
}

#[derive(Debug, Subcommand)]
enum QosCommand {
    Set(Box<SetArgs>),
    Show(ShowArgs),
    Clear(ClearArgs),
}

/// Say all limits that an export or a group is to have.
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
struct SetArgs {
    /// The export: a volume, a snapshot, or a raw disk. Without it, the group is limited.
    #[arg(value_name = "EXPORT", value_parser = ExportName::new,
          required_unless_present = "group")]
    export: Option<ExportName>,

    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct LimitArgs {
    /// The group that the export is to share, or that is to be limited.
    #[arg(long, value_name = "NAME", value_parser = StoreName::new)]
    group: Option<StoreName>,

    /// Requests a second.
    #[arg(long, value_name = "N")]
    iops: Option<u64>,

    /// Reads a second.
    #[arg(long, value_name = "N")]
    read_iops: Option<u64>,

    /// Writes a second, discards included.
    #[arg(long, value_name = "N")]
    write_iops: Option<u64>,

    /// Bytes a second.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    bps: Option<u64>,

    /// Bytes read a second.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    read_bps: Option<u64>,

    /// Bytes written a second.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    write_bps: Option<u64>,

    /// How far --iops may be exceeded for a while.
    #[arg(long, value_name = "N", requires = "burst_seconds")]
    burst_iops: Option<u64>,

    /// How far --read-iops may be exceeded.
    #[arg(long, value_name = "N", requires = "burst_seconds")]
    burst_read_iops: Option<u64>,

    /// How far --write-iops may be exceeded.
    #[arg(long, value_name = "N", requires = "burst_seconds")]
    burst_write_iops: Option<u64>,

    /// How far --bps may be exceeded.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, requires = "burst_seconds")]
    burst_bps: Option<u64>,

    /// How far --read-bps may be exceeded.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, requires = "burst_seconds")]
    burst_read_bps: Option<u64>,

    /// How far --write-bps may be exceeded.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, requires = "burst_seconds")]
    burst_write_bps: Option<u64>,

    /// For how long bursts last, 1 to 86400.
    #[arg(long, value_name = "SECONDS")]
    burst_seconds: Option<u64>,

    /// Larger requests count as several of this size.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    iops_size: Option<u64>,
}

/// Tell what is limited, and what had to wait for that.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct ShowArgs {
    /// One export; all that are limited, and all groups, without it.
    #[arg(value_name = "EXPORT", value_parser = ExportName::new)]
    export: Option<ExportName>,

    /// Print one JSON object; sizes are in bytes.
    #[arg(long)]
    json: bool,
}

/// Lift all limits of an export, or delete a group.
#[derive(Debug, Args)]
#[command(after_help = CLEAR_EXAMPLES)]
struct ClearArgs {
    /// The export.
    #[arg(value_name = "EXPORT", value_parser = ExportName::new,
          required_unless_present = "group", conflicts_with = "group")]
    export: Option<ExportName>,

    /// The group.
    #[arg(long, value_name = "NAME", value_parser = StoreName::new)]
    group: Option<StoreName>,
}

/// Limits, as they are told: in requests or bytes a second.
#[derive(Debug, Default, Serialize)]
struct LimitFacts(serde_json::Map<String, serde_json::Value>);

/// An export or a group, as it is told.
#[derive(Debug, Serialize)]
struct QosFacts {
    name: String,
    limits: LimitFacts,
    /// Of an export that shares one.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// Of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    exports: Option<Vec<String>>,
    /// Requests that had to wait.
    waited: u64,
    /// For so long, all together.
    waited_seconds: f64,
    #[serde(skip)]
    text: String,
}

/// All that is limited.
#[derive(Debug, Serialize)]
struct AllFacts {
    exports: Vec<QosFacts>,
    groups: Vec<QosFacts>,
}

/// Does what the words after `qos` say.
///
/// # Errors
/// One line that says what could not be done, why, and what to do.
pub(super) fn run(args: QosArgs) -> Result<(), OpenError> {
    let server = args.server;
    match args.command {
        QosCommand::Set(args) => {
            let facts = server.run(async move |place| set(&place, *args).await)?;
            print::line(&facts.lines());
            Ok(())
        }
        QosCommand::Show(args) => show(&server, args),
        QosCommand::Clear(args) => server.run(async move |place| clear(&place, args).await),
    }
}

async fn set(place: &Place, args: SetArgs) -> Result<QosFacts, OpenError> {
    let SetArgs { export, limits } = args;
    let group = limits.group.as_ref().map(ToString::to_string);
    let group = group.unwrap_or_default();
    let limits = Some(limits.words().into());
    match export {
        Some(name) => {
            let name = name.to_string();
            let message = proto::SetQosRequest {
                name,
                limits,
                group,
            };
            let told = place.set_qos(message).await?;
            Ok(QosFacts::of_export(told.qos.unwrap_or_default()))
        }
        None => {
            let name = group;
            let message = proto::SetGroupQosRequest { name, limits };
            let told = place.set_group_qos(message).await?;
            Ok(QosFacts::of_group(told.qos.unwrap_or_default()))
        }
    }
}

async fn clear(place: &Place, args: ClearArgs) -> Result<(), OpenError> {
    match (args.export, args.group) {
        (None, Some(group)) => {
            let name = group.to_string();
            let message = proto::DeleteGroupQosRequest { name };
            place.delete_group_qos(message).await.map(drop)
        }
        (export, _) => {
            let name = export.map(|name| name.to_string()).unwrap_or_default();
            let message = proto::ClearQosRequest { name };
            place.clear_qos(message).await.map(drop)
        }
    }
}

fn show(server: &ServerChoice, args: ShowArgs) -> Result<(), OpenError> {
    let Some(name) = args.export else {
        let told = server.run(async |place| place.list_qos(proto::ListQosRequest {}).await)?;
        let exports = told.exports.into_iter().map(QosFacts::of_export);
        let groups = told.groups.into_iter().map(QosFacts::of_group);
        let all = AllFacts {
            exports: exports.collect(),
            groups: groups.collect(),
        };
        match args.json {
            true => print::json(&all),
            false => print::line(&all.text()),
        }
        return Ok(());
    };
    let name = name.to_string();
    let message = proto::GetQosRequest { name };
    let told = server.run(async move |place| place.get_qos(message).await)?;
    let facts = QosFacts::of_export(told.qos.unwrap_or_default());
    match args.json {
        true => print::json(&facts),
        false => print::line(&facts.lines()),
    }
    Ok(())
}

impl LimitArgs {
    fn words(&self) -> LimitWords {
        LimitWords {
            average: [
                self.iops,
                self.read_iops,
                self.write_iops,
                self.bps,
                self.read_bps,
                self.write_bps,
            ],
            burst: [
                self.burst_iops,
                self.burst_read_iops,
                self.burst_write_iops,
                self.burst_bps,
                self.burst_read_bps,
                self.burst_write_bps,
            ],
            burst_seconds: self.burst_seconds,
            iops_size: self.iops_size,
        }
    }
}

impl LimitFacts {
    fn new(words: &LimitWords) -> Self {
        let mut facts = serde_json::Map::new();
        let mut tell = |word: &str, value: Option<u64>| {
            if let Some(value) = value {
                facts.insert(word.to_owned(), value.into());
            }
        };
        for measure in Measure::ALL {
            tell(measure.word(), words.average[measure as usize]);
            tell(measure.burst_word(), words.burst[measure as usize]);
        }
        tell("burst_seconds", words.burst_seconds);
        tell("iops_size", words.iops_size);
        Self(facts)
    }
}

/// `limits` as people read them: `iops 1000 (5000 for 30 s), bps 100M`.
fn text_of(words: &LimitWords) -> String {
    let mut parts = Vec::new();
    for measure in Measure::ALL {
        let tell = |value: u64| match measure.counts_bytes() {
            true => size::format(value),
            false => value.to_string(),
        };
        let Some(average) = words.average[measure as usize] else {
            continue;
        };
        let burst = words.burst[measure as usize].zip(words.burst_seconds);
        let burst = burst.map(|(rate, seconds)| format!(" ({} for {seconds} s)", tell(rate)));
        let burst = burst.unwrap_or_default();
        parts.push(format!("{} {}{burst}", measure.word(), tell(average)));
    }
    if let Some(bytes) = words.iops_size {
        parts.push(format!("requests of {}", size::format(bytes)));
    }
    match parts.is_empty() {
        true => "none".to_owned(),
        false => parts.join(", "),
    }
}

impl QosFacts {
    fn of_export(told: proto::ExportQos) -> Self {
        let group = Some(told.group).filter(|group| !group.is_empty());
        Self {
            group,
            ..Self::new(told.name, told.limits, told.waits)
        }
    }

    fn of_group(told: proto::GroupQos) -> Self {
        Self {
            exports: Some(told.exports),
            ..Self::new(told.name, told.limits, told.waits)
        }
    }

    fn new(name: String, limits: Option<proto::Limits>, waits: Option<proto::Waits>) -> Self {
        let words = LimitWords::from(limits.unwrap_or_default());
        let waits = waits.unwrap_or_default();
        Self {
            name,
            limits: LimitFacts::new(&words),
            group: None,
            exports: None,
            waited: waits.requests,
            waited_seconds: Duration::from_nanos(waits.nanoseconds).as_secs_f64(),
            text: text_of(&words),
        }
    }

    fn lines(&self) -> String {
        let what = match self.exports {
            Some(_) => "group",
            None => "export",
        };
        let mut facts = vec![(what, self.name.clone()), ("limits", self.text.clone())];
        facts.extend(self.group.clone().map(|group| ("group", group)));
        let exports = self.exports.iter().flatten();
        facts.extend(exports.map(|export| ("shared by", export.clone())));
        facts.push(("waited", self.waits()));
        print::facts(&facts)
    }

    fn waits(&self) -> String {
        match self.waited {
            0 => "-".to_owned(),
            requests => format!("{requests} requests, {:.1} s", self.waited_seconds),
        }
    }
}

impl AllFacts {
    fn text(&self) -> String {
        let exports = self.exports.iter().map(|export| {
            let group = export.group.clone().unwrap_or_else(|| "-".to_owned());
            [
                export.name.clone(),
                export.text.clone(),
                group,
                export.waits(),
            ]
        });
        let rows: Vec<_> = exports.collect();
        let mut text = print::table(["EXPORT", "LIMITS", "GROUP", "WAITED"], &rows);
        if !self.groups.is_empty() {
            let groups = self.groups.iter().map(|group| {
                let shared = group.exports.as_deref().unwrap_or_default().join(" ");
                [
                    group.name.clone(),
                    group.text.clone(),
                    shared,
                    group.waits(),
                ]
            });
            let rows: Vec<_> = groups.collect();
            let header = ["GROUP", "LIMITS", "SHARED BY", "WAITED"];
            text = format!("{text}\n\n{}", print::table(header, &rows));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_as_people_say_them() {
        let mut words = LimitWords::default();
        assert_eq!(text_of(&words), "none");
        words.average[Measure::Iops as usize] = Some(1000);
        words.burst[Measure::Iops as usize] = Some(5000);
        words.average[Measure::Bps as usize] = Some(100 << 20);
        words.burst_seconds = Some(30);
        words.iops_size = Some(65_536);
        let text = "iops 1000 (5000 for 30 s), bps 100M, requests of 64K";
        assert_eq!(text_of(&words), text);
        let json = serde_json::to_string(&LimitFacts::new(&words)).expect("JSON");
        let told = [
            r#""bps":104857600"#,
            r#""burst_iops":5000"#,
            r#""burst_seconds":30"#,
            r#""iops":1000"#,
            r#""iops_size":65536"#,
        ];
        assert_eq!(json, format!("{{{}}}", told.join(",")));
    }
}
