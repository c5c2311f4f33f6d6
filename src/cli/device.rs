//! `bedplate attach` and `bedplate detach`: volumes as block devices of this machine.

use clap::Args;
use serde::Serialize;

use super::place::ServerChoice;
use super::print;
use crate::base::OpenError;
use crate::base::limits::THREADS_MAX;
use crate::control::ExportName;
use crate::control::api::proto;
use crate::frontend::ublk::DEPTH_MAX;

const ATTACH_EXAMPLES: &str = "\
Examples:
  bedplate attach main/vm1                       # prints /dev/ublkb0, for example
  bedplate attach main/vm1@fresh --device 7      # a snapshot, read-only, as /dev/ublkb7
  mount $(bedplate attach main/vm1) /mnt

The server wants root, or CAP_SYS_ADMIN, and Linux 6.5 or newer with the module ublk_drv. A device
outlives its server: when that ends, however it ends, what is asked of the device waits for the next
server that has the volume, which takes the device back as it starts. To attach what is not attached
at every start, name it in the server's config file: attach = [\"main/vm1\"].";

const DETACH_EXAMPLES: &str = "\
Examples:
  bedplate detach /dev/ublkb0
  umount /mnt && bedplate detach 0

A device that is mounted, swapped to, open in a process or otherwise in use is not detached. One
whose server is gone and does not come back is removed by any server.";

/// Show a volume, a snapshot or a raw export as a block device, /dev/ublkbN.
#[derive(Debug, Args)]
#[command(after_help = ATTACH_EXAMPLES)]
pub(super) struct AttachArgs {
    /// What to show: STORE/VOL, STORE/VOL@SNAP, or the name of a raw export.
    #[arg(value_name = "STORE/VOL", value_parser = ExportName::new)]
    name: ExportName,

    /// As a device of the kernel's ublk driver, the only kind that there is as yet.
    #[arg(long)]
    ublk: bool,

    /// The N of /dev/ublkbN; the first that is free without it.
    #[arg(long, value_name = "N")]
    device: Option<u32>,

    /// How many queues it has; one for each of the server's threads without it.
    #[arg(long, value_name = "N", value_parser = parse_queues)]
    queues: Option<u16>,

    /// How many requests each queue has at once, 1 to 4096; 128 without it.
    #[arg(long, value_name = "N", value_parser = parse_depth)]
    depth: Option<u16>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerChoice,
}

/// Take a block device away that shows a volume.
#[derive(Debug, Args)]
#[command(after_help = DETACH_EXAMPLES)]
pub(super) struct DetachArgs {
    /// The device: /dev/ublkbN, or its N.
    #[arg(value_name = "DEVICE", value_parser = parse_device)]
    device: u32,

    #[command(flatten)]
    server: ServerChoice,
}

/// What is told of a device.
#[derive(Debug, Serialize)]
pub(super) struct DeviceFacts {
    device: String,
    volume: String,
    queues: u32,
    depth: u32,
    read_only: bool,
    zero_copy: bool,
}

/// Attaches, and prints which device it is.
///
/// # Errors
/// One line that says why it is not attached.
pub(super) fn attach(args: AttachArgs) -> Result<(), OpenError> {
    // There is one kind, whether it is named or not.
    let _ = args.ublk;
    let message = proto::AttachRequest {
        name: args.name.to_string(),
        number: args.device,
        queues: args.queues.unwrap_or_default().into(),
        depth: args.depth.unwrap_or_default().into(),
    };
    let attached = args
        .server
        .run(async move |place| place.attach(message).await)?;
    let facts = DeviceFacts::new(attached.device.unwrap_or_default());
    match args.json {
        true => print::json(&facts),
        false => print::line(&facts.device),
    }
    Ok(())
}

/// Detaches.
///
/// # Errors
/// One line that says why it is still attached.
pub(super) fn detach(args: DetachArgs) -> Result<(), OpenError> {
    let message = proto::DetachRequest {
        number: args.device,
    };
    args.server
        .run(async move |place| place.detach(message).await.map(drop))
}

impl DeviceFacts {
    pub(super) fn new(told: proto::Device) -> Self {
        Self {
            device: format!("/dev/ublkb{}", told.number),
            volume: told.name,
            queues: told.queues,
            depth: told.depth,
            read_only: told.read_only,
            zero_copy: told.zero_copy,
        }
    }

    /// On one line.
    pub(super) fn brief(&self) -> String {
        let access = if self.read_only { ", read-only" } else { "" };
        format!("{}  {}{access}", self.device, self.volume)
    }
}

fn parse_queues(text: &str) -> Result<u16, String> {
    let number = text.parse().ok();
    let within = number.filter(|number| (1..=THREADS_MAX).contains(&usize::from(*number)));
    within.ok_or_else(|| format!("'{text}' is not 1 to {THREADS_MAX}"))
}

fn parse_depth(text: &str) -> Result<u16, String> {
    let number = text.parse().ok();
    let within = number.filter(|number| (1..=DEPTH_MAX).contains(number));
    within.ok_or_else(|| format!("'{text}' is not 1 to {DEPTH_MAX}"))
}

fn parse_device(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("/dev/ublkb").unwrap_or(text);
    let number = number.parse();
    number.map_err(|_| format!("'{text}' is not /dev/ublkbN; see 'bedplate status'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_by_path_or_number() {
        assert_eq!(parse_device("/dev/ublkb12"), Ok(12));
        assert_eq!(parse_device("0"), Ok(0));
        for text in [
            "",
            "/dev/ublkb",
            "/dev/ublkb0p1",
            "/dev/sda",
            "-1",
            "ublkb0",
        ] {
            assert!(parse_device(text).is_err(), "{text}");
        }
    }

    #[test]
    fn queues_and_their_depth_are_at_least_one() {
        assert_eq!(parse_queues("2"), Ok(2));
        for text in ["0", "257", "70000", "many"] {
            assert!(parse_queues(text).is_err(), "{text}");
        }
        assert_eq!(parse_depth("4096"), Ok(4096));
        for text in ["0", "4097", "deep"] {
            assert!(parse_depth(text).is_err(), "{text}");
        }
    }
}
