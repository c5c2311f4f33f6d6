//! `bedplate serve`: exports disks until it is told to stop.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use sd_notify::NotifyState;

use super::keys::NamedKeys;
use super::log::{Log, LogFormat};
use super::names::parse_store;
use super::print;
use crate::backend::Location;
use crate::base::OpenError;
use crate::control::{
    ControlSettings, ExportName, KeySource, RawSettings, Service, Settings, StoreName,
    StoreSettings, TlsSettings, check_threads, default_control_path,
};
use crate::env::{Address, Asked, Operator, raise_descriptor_limit};
use crate::frontend::nbd::TlsFiles;

const EXAMPLES: &str = "\
Examples:
  bedplate serve --store main=/srv/store.img --nbd unix:/run/bedplate.sock
  bedplate serve --raw disk=/srv/disk.img --nbd unix:/run/bedplate.sock
  bedplate serve --raw disk=/dev/sdb --nbd 127.0.0.1:10809
  bedplate serve --raw disk=/dev/sdb --passphrase-file disk=words --nbd 127.0.0.1:10809
  bedplate serve --config /etc/bedplate/bedplate.toml
  bedplate serve --config /etc/bedplate/bedplate.toml --check

A store brings its volumes and snapshots along: STORE/VOL can be read and written,
STORE/VOL@SNAP only read. 'bedplate store create' makes a store, 'bedplate volume' and
'bedplate snapshot' what is in it, while it is served too: see 'bedplate status'.

Config file (TOML); what the command line says is added, and wins:
  threads = 2
  nbd = [\"unix:/run/bedplate/nbd.sock\", \"127.0.0.1:10809\"]
  control = \"/run/bedplate/control.sock\"      # see --control; without anything to export, the
                                              # server then waits for 'bedplate store open'
  metrics = \"127.0.0.1:9809\"                 # HTTP: /metrics (Prometheus), /healthz, /readyz
  attach = [\"main/vm1\"]                     # block devices; see 'bedplate attach --help'
  [tls]
  certificate = \"/etc/bedplate/tls/server.pem\"
  key = \"/etc/bedplate/tls/server.key\"
  client_ca = \"/etc/bedplate/tls/ca.pem\"     # only clients with a certificate of this authority
  optional = false                            # true: clients may do without TLS
  [store.main]
  url = \"/srv/store.img\"
  leaf_cache = \"256M\"                       # memory for maps of where blocks are
  block_cache = \"256M\"                      # memory for blocks that were read
  dedup_index = \"128M\"                      # memory for finding blocks that are there already
  [raw.disk]
  url = \"/srv/disk.img\"
  read_only = false
  description = \"what people are told\"
  key_file = \"/etc/bedplate/disk.key\"        # or passphrase_file: exports what is encrypted
                                              # behind a LUKS header, as is without
  bitmaps = \"/srv/disk.bitmaps\"              # remembers what changes: see 'bedplate bitmap'
  [qos.\"main/vm1\"]                           # how much clients may use of an export
  iops = 1000                                 # requests a second; read_iops, write_iops too
  bps = \"100M\"                               # bytes a second; read_bps, write_bps too
  burst_iops = 5000                           # for at least burst_seconds after a rest;
  burst_seconds = 10                          # burst_read_iops, ... burst_write_bps too
  iops_size = \"64K\"                          # a larger request counts as several of these
  group = \"gold\"                             # shares the limits of [group.gold]
  [group.gold]                                # the same keys, for all its exports together
  iops = 20000

Backend URLs:
  PATH, file:PATH                             a file or a block device
  rbd:POOL[/NAMESPACE]/IMAGE[?conf=FILE&id=USER&timeout=SECONDS]
  nfs://HOST[:PORT]/EXPORT/PATH[?mountport=N&uid=N&gid=N&timeout=SECONDS]
  iscsi://[USER@]HOST[:PORT]/IQN/LUN[?OPTIONS]
  mem:SIZE, null:SIZE                         gone when the server ends; zeroes, for measuring

BEDPLATE_LOG=debug logs more. SIGTERM finishes what is in flight, flushes and exits;
SIGHUP opens the log file again.";

/// Export disks over NBD until told to stop.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArgs {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Export the volumes of the store at URL as NAME/VOL, and its snapshots as NAME/VOL@SNAP.
    #[arg(long, value_name = "NAME=URL", value_parser = parse_store)]
    store: Vec<(StoreName, Location)>,

    #[command(flatten)]
    keys: NamedKeys,

    /// Export the backend at URL under NAME: as it is or, with a key, what LUKS encrypts there.
    #[arg(long, value_name = "NAME=URL", value_parser = parse_raw)]
    raw: Vec<(ExportName, Location)>,

    /// Let clients only read the export NAME of --raw.
    #[arg(long, value_name = "NAME", value_parser = ExportName::new)]
    read_only: Vec<ExportName>,

    /// Say what is wrong with the config file and the other words, if something is, and end. Reads
    /// certificates and keys, but opens no store and no disk: another server may have them.
    #[arg(long)]
    check: bool,

    /// Listen for NBD clients at unix:PATH or HOST:PORT.
    #[arg(long, value_name = "ADDRESS", value_parser = Address::parse)]
    nbd: Vec<Address>,

    /// Listen for control calls, as 'bedplate volume' makes them, on a unix socket at PATH that
    /// only root and this user may use. Without it, at /run/bedplate/control.sock for root and at
    /// $XDG_RUNTIME_DIR/bedplate/control.sock for others, unless another server has that.
    #[arg(long, value_name = "PATH", env = "BEDPLATE_CONTROL")]
    control: Option<PathBuf>,

    /// The server's certificate (PEM). With it clients must use TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The server's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// Let only clients in whose certificate this authority (PEM) has signed.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_client_ca: Option<PathBuf>,

    /// Let clients do without TLS.
    #[arg(long, requires = "tls_certificate")]
    tls_optional: bool,

    /// Reactor threads; one a core without it.
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<usize>,

    /// The form of the log.
    #[arg(long, value_name = "FORM", default_value = "text")]
    log_format: LogFormat,

    /// Log to FILE instead of standard error.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// One line that says what could not be opened, or that something could not be flushed.
pub(super) fn run(args: ServeArgs) -> Result<(), OpenError> {
    let log = Log::start(args.log_format, args.log_file.as_deref())?;
    let is_check = args.check;
    let settings = settings(args)?;
    if is_check {
        Service::check(&settings)?;
        print::line("the settings are good");
        return Ok(());
    }
    let unusable = |error| OpenError::new("signals", error, "");
    let mut operator = Operator::listen().map_err(unusable)?;
    raise_descriptor_limit();
    tell_manager(&[NotifyState::Status("Opening stores and disks")]);
    let service = Service::start(&settings)?;
    announce(&service);
    while operator.wait() == Asked::Reopen {
        log.reopen();
    }
    tracing::info!("stopping");
    let status = NotifyState::Status("Finishing what is in flight");
    tell_manager(&[NotifyState::Stopping, status]);
    operator.end_at_once_if_asked_again();
    service.stop()
}

fn settings(args: ServeArgs) -> Result<Settings, OpenError> {
    let mut settings = match &args.config {
        Some(path) => Settings::read(path)?,
        None => Settings::default(),
    };
    let may_be_empty = settings.control.is_some();
    if let Some(threads) = args.threads {
        settings.threads = Some(threads);
    }
    settings.nbd.extend(args.nbd);
    if let Some(path) = args.control {
        settings.control = Some(ControlSettings::At(path));
    } else if settings.control.is_none() {
        settings.control = default_control_path().map(ControlSettings::Usual);
    }
    for (name, location) in args.store {
        let store = StoreSettings::new(location);
        if settings.stores.insert(name.clone(), store).is_some() {
            let why = "there are two stores of this name";
            return Err(OpenError::new(name.as_str(), why, "give each its own"));
        }
    }
    for (name, location) in args.raw {
        let raw = RawSettings::new(location);
        if settings.raw.insert(name.clone(), raw).is_some() {
            let why = "there are two exports of this name";
            return Err(OpenError::new(name.as_str(), why, "give each its own"));
        }
    }
    for (name, source) in args.keys.all() {
        *key_of(&mut settings, name)? = Some(source);
    }
    for name in args.read_only {
        match settings.raw.get_mut(&name) {
            Some(raw) => raw.read_only = true,
            None => {
                let remedy = "name one that --raw or the config file makes";
                return Err(OpenError::new(
                    name.as_str(),
                    "there is no such export",
                    remedy,
                ));
            }
        }
    }
    if let (Some(certificate), Some(key)) = (args.tls_certificate, args.tls_key) {
        settings.tls = Some(TlsSettings {
            files: TlsFiles {
                certificate,
                key,
                client_ca: args.tls_client_ca,
            },
            optional: args.tls_optional,
        });
    }
    match may_be_empty {
        true => Ok(settings),
        false => complete(settings),
    }
}

/// Where `settings` keeps the key of `name`, a store or what --raw exports.
fn key_of<'a>(
    settings: &'a mut Settings,
    name: &ExportName,
) -> Result<&'a mut Option<KeySource>, OpenError> {
    let store = StoreName::new(name.as_str()).ok();
    let store = store.and_then(|name| settings.stores.get_mut(&name));
    match (store, settings.raw.get_mut(name)) {
        (Some(store), None) => Ok(&mut store.key),
        (None, Some(raw)) => Ok(&mut raw.key),
        (None, None) => {
            let why = "a key was named for it, but no store or disk is called so";
            let remedy = "name it with --store NAME=URL or --raw NAME=URL";
            Err(OpenError::new(name.as_str(), why, remedy))
        }
        (Some(_), Some(_)) => {
            let why = "a key was named for it, but a store and a disk are called so";
            Err(OpenError::new(name.as_str(), why, "give each its own name"))
        }
    }
}

/// Refuses settings that would serve nothing to nobody. That is no mistake where a config file says
/// how the server is controlled: then it can be told later, as that of a package is.
fn complete(settings: Settings) -> Result<Settings, OpenError> {
    if settings.raw.is_empty() && settings.stores.is_empty() {
        let remedy = "name a store or a disk with --store NAME=URL, --raw NAME=URL or in the \
            config file";
        return Err(OpenError::new(
            "serve",
            "there is nothing to export",
            remedy,
        ));
    }
    if settings.nbd.is_empty() && settings.attach.is_empty() {
        let remedy = "name an address with --nbd unix:PATH or --nbd HOST:PORT";
        return Err(OpenError::new(
            "serve",
            "there is nowhere to listen",
            remedy,
        ));
    }
    Ok(settings)
}

fn announce(service: &Service) {
    let uris = service.uris().join(" ");
    tracing::info!(uris, "serving");
    let mut out = std::io::stdout();
    // Nobody may be reading; that is no reason not to serve.
    let _ = writeln!(out, "ready: {uris}").and_then(|()| out.flush());
    let addresses: Vec<String> = service.addresses().iter().map(Address::to_string).collect();
    let status = match addresses.is_empty() {
        true => "Listening for control calls only".to_owned(),
        false => format!("Listening at {}", addresses.join(", ")),
    };
    tell_manager(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Tells the service manager, if there is one. If it does not hear, it will say so itself.
fn tell_manager(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

fn parse_threads(text: &str) -> Result<usize, String> {
    let threads = text
        .parse()
        .map_err(|_| format!("'{text}' is not a number"))?;
    check_threads(threads)
}

fn parse_raw(text: &str) -> Result<(ExportName, Location), String> {
    let (name, url) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not NAME=URL"))?;
    let location = Location::parse(url).map_err(|error| error.to_string())?;
    Ok((ExportName::new(name)?, location))
}
