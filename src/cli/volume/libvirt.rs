//! `bedplate volume xml` and `secret-xml`: a volume as libvirt wants to be told of it.
//!
//! Elements and attributes are those of libvirt's documents "Domain XML format" and "Secret XML
//! format", which its own schemas check in the tests.

use clap::Args;

use super::reach::{Reach, tls_policy};
use crate::base::OpenError;
use crate::cli::place::{Place, PlaceChoice};
use crate::cli::print;
use crate::cli::xml::{self, Element};
use crate::control::TreePath;
use crate::control::api::proto;

const XML_EXAMPLES: &str = "\
Examples:
  bedplate volume xml main/vm1 --target vdb >disk.xml
  virsh attach-device guest disk.xml --live --config
  bedplate volume xml main/vm1 --nbd storage.example.org:10809 --reconnect-delay 300
  bedplate volume xml main/vm1 --ublk                  after 'bedplate attach main/vm1'

It is what a domain has among its <devices>. libvirt's user, often libvirt-qemu, must be able to
write to the server's unix socket. Certificates of its own libvirt takes from nbd_tls_x509_cert_dir
in /etc/libvirt/qemu.conf.

Without --reconnect-delay the guest sees errors as soon as the server is gone. libvirt knows it from
some version between 9.0 and 11.3 on; older ones leave it out without a word.";

const SECRET_EXAMPLES: &str = "\
Examples:
  bedplate volume secret-xml main/vm1 >secret.xml
  virsh secret-define secret.xml                       prints the UUID
  virsh secret-set-value UUID --file words --plain
  bedplate volume xml main/vm1 --luks >disk.xml

For a disk that QEMU decrypts, so that neither the server nor its store ever sees what is on it:
qemu-img create -f luks --object secret,id=s,file=words -o key-secret=s NBD-URI SIZE makes one. What
a store encrypts itself needs no secret here.";

/// Print a volume or snapshot as libvirt wants to be told of a disk.
#[derive(Debug, Args)]
#[command(after_help = XML_EXAMPLES)]
pub(super) struct XmlArgs {
    /// The volume or snapshot.
    #[arg(value_name = "STORE/VOL[@SNAP]", value_parser = TreePath::parse)]
    tree: TreePath,

    /// What libvirt is to call it: vda and so on for virtio, sda for SCSI.
    #[arg(long, value_name = "DEV", default_value = "vda", value_parser = parse_target)]
    target: String,

    /// The block device that shows it, instead of NBD.
    #[arg(long, conflicts_with_all = ["nbd", "tls_hostname", "reconnect_delay"])]
    ublk: bool,

    /// Where libvirt reaches the server: unix:PATH or HOST:PORT. Without it a unix socket that it
    /// listens on; where TLS is demanded, and where there is no socket, a port.
    #[arg(long, value_name = "ADDRESS", value_parser = Reach::parse)]
    nbd: Option<Reach>,

    /// The name in the server's certificate, where that is not the host.
    #[arg(long, value_name = "NAME", value_parser = parse_text)]
    tls_hostname: Option<String>,

    /// How many seconds requests wait for a server that is gone, and come to the next, before they
    /// fail.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    reconnect_delay: Option<u32>,

    /// Have QEMU decrypt what is on it (LUKS), with the secret of 'volume secret-xml'.
    #[arg(long)]
    luks: bool,
}

/// Print the secret of a volume that QEMU decrypts, as libvirt wants to be told of it.
#[derive(Debug, Args)]
#[command(after_help = SECRET_EXAMPLES)]
pub(super) struct SecretArgs {
    /// The volume or snapshot.
    #[arg(value_name = "STORE/VOL[@SNAP]", value_parser = TreePath::parse)]
    tree: TreePath,
}

/// Prints the disk.
///
/// # Errors
/// One line that says why the volume cannot be used so.
pub(super) fn disk(place: &PlaceChoice, args: &XmlArgs) -> Result<(), OpenError> {
    let tree = args.tree.clone();
    let (found, status) = place.run(Some(&args.tree.store), async move |place| {
        let found = find(&place, &tree).await?;
        Ok((found, place.status(proto::StatusRequest {}).await?))
    })?;
    let name = args.tree.to_string();
    let source = match args.ublk {
        true => block_source(&name, &status)?,
        false => nbd_source(&name, args, &status)?,
    };
    let writable = args.tree.tree.snapshot_name().is_none();
    let write_through = found.properties.unwrap_or_default().write_through;
    if args.reconnect_delay.is_some() && writable && write_through != Some(true) {
        eprintln!(
            "bedplate: {name} is not write-through: if its server is killed, a guest that goes on \
            has lost what it had written and not flushed; type: bedplate volume set {name} \
            write-through=on"
        );
    }
    print::line(&disk_element(args, source).to_string());
    Ok(())
}

/// Prints the secret.
///
/// # Errors
/// One line that says why there is no such volume.
pub(super) fn secret(place: &PlaceChoice, args: &SecretArgs) -> Result<(), OpenError> {
    let tree = args.tree.clone();
    place.run(Some(&args.tree.store), async move |place| {
        find(&place, &tree).await
    })?;
    let name = args.tree.to_string();
    let usage = Element::new("usage")
        .with("type", "volume")
        .holding(Element::new("volume").saying(secret_usage(&args.tree)));
    let secret = Element::new("secret")
        .with("ephemeral", "no")
        .with("private", "yes")
        .holding(Element::new("description").saying(format!("LUKS passphrase of {name}")))
        .holding(usage);
    print::line(&secret.to_string());
    Ok(())
}

/// What is known of a volume or snapshot.
async fn find(place: &Place, tree: &TreePath) -> Result<proto::Volume, OpenError> {
    let volume = format!("{}/{}", tree.store, tree.tree.volume_name());
    let message = proto::GetVolumeRequest { name: volume };
    let found = place.get_volume(message).await?;
    if tree.tree.snapshot_name().is_none() {
        return Ok(found.volume.unwrap_or_default());
    }
    let name = tree.to_string();
    let mut snapshots = found.snapshots.into_iter();
    let snapshot = snapshots.find(|snapshot| snapshot.name == name);
    snapshot.ok_or_else(|| {
        let remedy = "see 'bedplate snapshot list'";
        OpenError::new(name, "there is no such snapshot", remedy)
    })
}

fn disk_element(args: &XmlArgs, source: Element) -> Element {
    let source = match args.luks {
        false => source,
        true => source.holding(
            Element::new("encryption").with("format", "luks").holding(
                Element::new("secret")
                    .with("type", "passphrase")
                    .with("usage", secret_usage(&args.tree)),
            ),
        ),
    };
    // Without the host's page cache, which would hold what a migrated guest no longer sees.
    let driver = Element::new("driver")
        .with("name", "qemu")
        .with("type", "raw")
        .with("cache", "none");
    let (kind, driver) = match args.ublk {
        true => ("block", driver.with("io", "native")),
        false => ("network", driver),
    };
    let disk = Element::new("disk")
        .with("type", kind)
        .with("device", "disk")
        .holding(driver.with("discard", "unmap"))
        .holding(source)
        .holding(Element::new("target").with("dev", &args.target));
    match args.tree.tree.snapshot_name() {
        None => disk,
        Some(_) => disk.holding(Element::new("readonly")),
    }
}

fn nbd_source(
    name: &str,
    args: &XmlArgs,
    status: &proto::StatusResponse,
) -> Result<Element, OpenError> {
    let policy = tls_policy(status);
    let reach = match &args.nbd {
        Some(reach) => reach.clone(),
        None => Reach::choose(name, &status.nbd, policy)?,
    };
    let tls = reach.tls(policy, args.tls_hostname.is_some())?;
    let source = Element::new("source")
        .with("protocol", "nbd")
        .with("name", name)
        .with("tls", if tls { "yes" } else { "no" });
    let source = match &args.tls_hostname {
        Some(host) => source.with("tlsHostname", host),
        None => source,
    };
    let source = source.holding(reach.element());
    Ok(match args.reconnect_delay {
        None => source,
        Some(seconds) => {
            let delay = seconds.to_string();
            source.holding(Element::new("reconnect").with("delay", delay))
        }
    })
}

fn block_source(name: &str, status: &proto::StatusResponse) -> Result<Element, OpenError> {
    let device = status.devices.iter().find(|device| device.name == name);
    let device = device.ok_or_else(|| {
        let remedy = "attach it with 'bedplate attach'";
        OpenError::new(name, "no block device shows it", remedy)
    })?;
    Ok(Element::new("source").with("dev", format!("/dev/ublkb{}", device.number)))
}

/// What the secret is for, in libvirt's form, a path.
fn secret_usage(tree: &TreePath) -> String {
    format!("/bedplate/{tree}")
}

fn parse_target(text: &str) -> Result<String, String> {
    let known = ["vd", "sd", "hd", "xvd"];
    let letters = known.iter().find_map(|bus| text.strip_prefix(bus));
    match letters {
        Some(rest) if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            Ok(text.to_owned())
        }
        _ => Err(format!("'{text}' is not a target such as vda or sdb")),
    }
}

fn parse_text(text: &str) -> Result<String, String> {
    match !text.is_empty() && xml::can_say(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("XML cannot say {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(tree: &str, target: &str) -> XmlArgs {
        XmlArgs {
            tree: TreePath::parse(tree).expect("a name"),
            target: target.to_owned(),
            ublk: false,
            nbd: None,
            tls_hostname: None,
            reconnect_delay: None,
            luks: false,
        }
    }

    // The files are checked with libvirt's schema by tests/clients/test-libvirt.sh.
    #[test]
    fn a_device_is_a_block_disk() {
        let device = proto::Device {
            number: 3,
            name: "main/vm1@fresh".to_owned(),
            ..Default::default()
        };
        let status = proto::StatusResponse {
            devices: vec![device],
            ..Default::default()
        };
        let args = XmlArgs {
            ublk: true,
            ..args("main/vm1@fresh", "vdb")
        };
        let source = block_source("main/vm1@fresh", &status).expect("it is attached");
        let disk = disk_element(&args, source).to_string() + "\n";
        assert_eq!(disk, include_str!("../../../tests/golden/libvirt-ublk.xml"));
        assert!(block_source("main/vm1", &status).is_err());
    }

    #[test]
    fn an_export_is_a_network_disk() {
        let status = proto::StatusResponse {
            tls: proto::Tls::Required.into(),
            ..Default::default()
        };
        let socket = Reach::parse("unix:/run/a b&<\"'>/nbd.sock").expect("a path");
        let args = XmlArgs {
            nbd: Some(socket),
            tls_hostname: Some("storage".to_owned()),
            luks: true,
            ..args("main/vm1", "vda")
        };
        let source = nbd_source("main/vm1", &args, &status).expect("it has a name");
        let disk = disk_element(&args, source).to_string() + "\n";
        assert_eq!(disk, include_str!("../../../tests/golden/libvirt-nbd.xml"));
    }

    #[test]
    fn targets_are_what_guests_call_disks() {
        for text in ["vda", "sdb", "vdaa", "hdc", "xvda"] {
            assert_eq!(parse_target(text), Ok(text.to_owned()));
        }
        for text in ["", "vd", "vda1", "/dev/vda", "nvme0n1", "vd'", "vdA"] {
            assert!(parse_target(text).is_err(), "{text}");
        }
    }
}
