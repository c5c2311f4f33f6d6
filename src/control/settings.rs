//! What the operator wants served, from the config file and the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::qos_file::{FileLimits, check_group_name};
use super::{ExportName, KeySource, StoreName};
use crate::backend::Location;
use crate::base::limits::THREADS_MAX;
use crate::base::{OpenError, size};
use crate::env::Address;
use crate::frontend::nbd::TlsFiles;
use crate::store::Tuning;
use crate::volume::qos::{Limits, QosSettings};

/// Everything that a server is told. What is here is well-formed; whether it can be opened shows
/// when it is.
#[derive(Debug, Default)]
pub struct Settings {
    /// Reactor threads; `None` for one a core.
    pub threads: Option<usize>,
    /// Where to listen for NBD clients.
    pub nbd: Vec<Address>,
    /// Where to listen for control calls, if at all.
    pub control: Option<ControlSettings>,
    /// Where to tell how the server is doing, over HTTP.
    pub metrics: Option<Address>,
    /// What to show as block devices.
    pub attach: Vec<ExportName>,
    /// How to speak TLS, if at all.
    pub tls: Option<TlsSettings>,
    /// Stores whose volumes and snapshots are exported, by name.
    pub stores: BTreeMap<StoreName, StoreSettings>,
    /// Backends to export as they are, by name.
    pub raw: BTreeMap<ExportName, RawSettings>,
    /// How much of them clients may use, by export.
    pub qos: BTreeMap<ExportName, QosSettings>,
    /// What exports that belong together may do together, by group.
    pub groups: BTreeMap<String, Limits>,
}

/// Where a server listens for control calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlSettings {
    /// A unix socket at this path, or the server does not start.
    At(PathBuf),
    /// One at this path, which nobody named. If another server has it, this one does without.
    Usual(PathBuf),
}

/// How a server speaks TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    /// Where the certificates are.
    pub files: TlsFiles,
    /// Whether clients may do without.
    pub optional: bool,
}

/// A store that is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreSettings {
    /// Where it is.
    pub location: Location,
    /// How much memory it may use.
    pub tuning: Tuning,
    /// Where its key is, if it is encrypted.
    pub key: Option<KeySource>,
}

/// A backend that is exported as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawSettings {
    /// Where it is.
    pub location: Location,
    /// Whether clients may only read it.
    pub read_only: bool,
    /// What people are told about it.
    pub description: String,
    /// Where the key of its LUKS header is, if what is behind that is to be exported.
    pub key: Option<KeySource>,
    /// Where to remember what of it changes, if it is to have bitmaps.
    pub bitmaps: Option<Location>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    threads: Option<usize>,
    #[serde(default)]
    nbd: Vec<String>,
    control: Option<PathBuf>,
    metrics: Option<String>,
    #[serde(default)]
    attach: Vec<String>,
    tls: Option<FileTls>,
    #[serde(default)]
    store: BTreeMap<String, FileStore>,
    #[serde(default)]
    raw: BTreeMap<String, FileRaw>,
    #[serde(default)]
    qos: BTreeMap<String, FileLimits>,
    #[serde(default)]
    group: BTreeMap<String, FileLimits>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileStore {
    url: String,
    leaf_cache: Option<String>,
    block_cache: Option<String>,
    dedup_index: Option<String>,
    key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRaw {
    url: String,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    description: String,
    key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    bitmaps: Option<String>,
}

const REMEDY: &str = "see 'bedplate serve --help' for the keys";

impl Settings {
    /// Reads the config file at `path`.
    ///
    /// # Errors
    /// One line that names the file, the key and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, OpenError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| OpenError::new(&file, error, "name a config file with --config"))?;
        Self::parse(&text)
            .map_err(|Wrong { key, why }| OpenError::new(format!("{file}: {key}"), why, REMEDY))
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let file: File = toml::from_str(text).map_err(|error| Wrong::of_toml(text, &error))?;
        let threads = file.threads.map(check_threads).transpose();
        let mut settings = Self {
            threads: threads.map_err(|why| Wrong::new("threads", why))?,
            ..Self::default()
        };
        for address in file.nbd {
            let address = Address::parse(&address).map_err(|why| Wrong::new("nbd", why))?;
            settings.nbd.push(address);
        }
        settings.control = file.control.map(ControlSettings::At);
        let metrics = file.metrics.map(|address| Address::parse(&address));
        settings.metrics = metrics
            .transpose()
            .map_err(|why| Wrong::new("metrics", why))?;
        settings.tls = file.tls.map(|tls| TlsSettings {
            files: TlsFiles {
                certificate: tls.certificate,
                key: tls.key,
                client_ca: tls.client_ca,
            },
            optional: tls.optional,
        });
        for name in file.attach {
            let name = ExportName::new(&name).map_err(|why| Wrong::new("attach", why))?;
            settings.attach.push(name);
        }
        for (name, store) in file.store {
            let key = format!("store.{name}");
            let name = StoreName::new(&name).map_err(|why| Wrong::new(&key, why))?;
            settings.stores.insert(name, store.check(&key)?);
        }
        for (name, raw) in file.raw {
            let key = format!("raw.{name}");
            let name = ExportName::new(&name).map_err(|why| Wrong::new(&key, why))?;
            settings.raw.insert(name, raw.check(&key)?);
        }
        settings.take_limits(file.group, file.qos)?;
        Ok(settings)
    }

    fn take_limits(
        &mut self,
        groups: BTreeMap<String, FileLimits>,
        exports: BTreeMap<String, FileLimits>,
    ) -> Result<(), Wrong> {
        for (name, limits) in groups {
            let key = format!("group.{name}");
            let name = check_group_name(&name).map_err(|why| Wrong::new(&key, why))?;
            self.groups.insert(name, limits.check_group(&key)?);
        }
        for (name, limits) in exports {
            let key = format!("qos.{name}");
            let name = ExportName::new(&name).map_err(|why| Wrong::new(&key, why))?;
            let settings = limits.check_export(&key)?;
            if let Some(group) = settings.group.as_ref()
                && !self.groups.contains_key(group)
            {
                let why = format!("there is no [group.{group}]");
                return Err(Wrong::new(format!("{key}.group"), why));
            }
            self.qos.insert(name, settings);
        }
        Ok(())
    }
}

impl StoreSettings {
    /// The store at `location`, with the usual amount of memory.
    pub fn new(location: Location) -> Self {
        Self {
            location,
            tuning: Tuning::default(),
            key: None,
        }
    }
}

impl RawSettings {
    /// All of the backend at `location`, to be read and written.
    pub fn new(location: Location) -> Self {
        Self {
            location,
            read_only: false,
            description: String::new(),
            key: None,
            bitmaps: None,
        }
    }
}

impl FileRaw {
    fn check(self, key: &str) -> Result<RawSettings, Wrong> {
        let bitmaps = self.bitmaps.as_deref();
        if bitmaps.is_some() && self.read_only {
            let why = "nothing changes on a disk that is only read";
            return Err(Wrong::new(format!("{key}.bitmaps"), why));
        }
        Ok(RawSettings {
            location: check_url(&self.url, &format!("{key}.url"))?,
            read_only: self.read_only,
            description: self.description,
            key: check_key(self.key_file, self.passphrase_file, key)?,
            bitmaps: bitmaps
                .map(|url| check_url(url, &format!("{key}.bitmaps")))
                .transpose()?,
        })
    }
}

impl FileStore {
    fn check(self, key: &str) -> Result<StoreSettings, Wrong> {
        let mut settings = StoreSettings::new(check_url(&self.url, &format!("{key}.url"))?);
        settings.key = check_key(self.key_file, self.passphrase_file, key)?;
        let Tuning {
            leaf_cache,
            block_cache,
            dedup_index,
            ..
        } = &mut settings.tuning;
        let least = CACHE_BYTES_MIN;
        for (name, text, least, memory) in [
            ("leaf_cache", self.leaf_cache, least, leaf_cache),
            ("block_cache", self.block_cache, least, block_cache),
            // Whatever there is finds something, and nothing finds nothing.
            ("dedup_index", self.dedup_index, 0, dedup_index),
        ] {
            if let Some(text) = text {
                let wrong = |why| Wrong::new(format!("{key}.{name}"), why);
                *memory = check_memory(&text, least).map_err(wrong)?;
            }
        }
        Ok(settings)
    }
}

fn check_key(
    key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    key: &str,
) -> Result<Option<KeySource>, Wrong> {
    match (key_file, passphrase_file) {
        (Some(_), Some(_)) => {
            let why = "there is a key file or a passphrase file, not both";
            Err(Wrong::new(format!("{key}.key_file"), why))
        }
        (Some(path), None) => Ok(Some(KeySource::KeyFile(path))),
        (None, Some(path)) => Ok(Some(KeySource::PassphraseFile(path))),
        (None, None) => Ok(None),
    }
}

fn check_url(url: &str, key: &str) -> Result<Location, Wrong> {
    let wrong = |error: OpenError| Wrong::new(key, error.to_string());
    Location::parse(url).map_err(wrong)
}

/// The smallest cache, in bytes: with less, a store would read the same node again and again for
/// one request.
const CACHE_BYTES_MIN: u64 = 4 << 20;

fn check_memory(text: &str, least: u64) -> Result<usize, String> {
    match size::parse(text)? {
        bytes if bytes < least => Err(format!("{text} is less than {}", size::format(least))),
        bytes => usize::try_from(bytes).map_err(|_| format!("{text} fits no memory")),
    }
}

/// A key of the config file and what is wrong with it.
#[derive(Debug)]
pub(super) struct Wrong {
    key: String,
    why: String,
}

impl Wrong {
    pub(super) fn new(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            why: why.into(),
        }
    }

    /// The line of a TOML error, what is set there, and the message without the drawing around it.
    fn of_toml(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let index = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let line = text.lines().nth(index).unwrap_or_default();
        let set = line.split('=').next().unwrap_or_default().trim();
        let key = format!("line {}: {set}", index + 1);
        Self::new(key, error.message().replace('\n', " "))
    }
}

/// Checks a number of reactor threads.
///
/// # Errors
/// A sentence that says which numbers are right.
pub fn check_threads(threads: usize) -> Result<usize, String> {
    match threads {
        1..=THREADS_MAX => Ok(threads),
        _ => Err(format!("{threads} is not 1 to {THREADS_MAX} threads")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::qos::Measure;

    #[test]
    fn a_full_config_is_read() {
        let settings = Settings::parse(
            r#"
            threads = 2
            nbd = ["unix:/run/b.sock", "127.0.0.1:10809"]
            control = "/run/c.sock"
            metrics = "127.0.0.1:9809"
            attach = ["main/vm1", "disk"]
            [tls]
            certificate = "c"
            key = "k"
            client_ca = "a"
            [store.main]
            url = "store.img"
            key_file = "main.key"
            leaf_cache = "64M"
            dedup_index = "0"
            [raw.disk]
            url = "mem:1G"
            read_only = true
            description = "a disk"
            passphrase_file = "words"
            [qos."main/vm1"]
            iops = 1000
            burst_iops = 5000
            burst_seconds = 10
            write_bps = "100M"
            iops_size = "64K"
            group = "gold"
            [group.gold]
            bps = "1G"
            "#,
        );
        let settings = settings.unwrap_or_else(|wrong| panic!("{}: {}", wrong.key, wrong.why));
        assert_eq!(settings.threads, Some(2));
        assert_eq!(settings.nbd.len(), 2);
        assert_eq!(settings.attach.len(), 2);
        let control = ControlSettings::At("/run/c.sock".into());
        assert_eq!(settings.control, Some(control));
        assert!(matches!(settings.metrics, Some(Address::Tcp(_))));
        assert!(settings.tls.is_some_and(|tls| !tls.optional));
        let main = &settings.stores[&StoreName::new("main").expect("a good name")];
        assert_eq!(main.location, Location::File("store.img".into()));
        assert_eq!(main.tuning.leaf_cache, 64 << 20);
        assert_eq!(main.tuning.dedup_index, 0);
        assert_eq!(main.key, Some(KeySource::KeyFile("main.key".into())));
        assert_eq!(main.tuning.block_cache, Tuning::default().block_cache);
        let disk = &settings.raw[&ExportName::new("disk").expect("a good name")];
        assert_eq!(disk.location, Location::Mem(1 << 30));
        assert!(disk.read_only);
        let words = KeySource::PassphraseFile("words".into());
        assert_eq!(disk.key, Some(words));
        let vm1 = &settings.qos[&ExportName::new("main/vm1").expect("a good name")];
        let rate = |measure| vm1.limits.rate(measure).map(|rate| rate.average);
        assert_eq!(rate(Measure::Iops), Some(1000));
        assert_eq!(rate(Measure::WriteBps), Some(100 << 20));
        assert_eq!(rate(Measure::Bps), None);
        assert_eq!(vm1.limits.iops_size(), Some(64 << 10));
        assert!(settings.groups["gold"].rate(Measure::Bps).is_some());
        assert_eq!(vm1.group.as_deref(), Some("gold"));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        for (text, key) in [
            ("threads = 0", "threads"),
            ("\nthread = 1", "line 2: thread"),
            ("nbd = [\"nowhere\"]", "nbd"),
            ("metrics = \"nowhere\"", "metrics"),
            ("attach = [\"\"]", "attach"),
            ("[raw.a]\nurl = \"x:y\"", "raw.a.url"),
            ("[raw.a]\n", "line 1: [raw.a]"),
            ("[store.a]\nurl = \"x:y\"", "store.a.url"),
            ("[store.\"a/b\"]\nurl = \"x\"", "store.a/b"),
            (
                "[store.a]\nurl = \"x\"\nleaf_cache = \"1M\"",
                "store.a.leaf_cache",
            ),
            (
                "[store.a]\nurl = \"x\"\nblock_cache = \"much\"",
                "store.a.block_cache",
            ),
            (
                "[store.a]\nurl = \"x\"\ndedup_index = \"some\"",
                "store.a.dedup_index",
            ),
            (
                "[store.a]\nurl = \"x\"\nkey_file = \"k\"\npassphrase_file = \"p\"",
                "store.a.key_file",
            ),
            (
                "[raw.a]\nurl = \"x\"\nkey_file = \"k\"\npassphrase_file = \"p\"",
                "raw.a.key_file",
            ),
            ("[qos.a]\niops = 0", "qos.a.iops"),
            ("[qos.a]\niops = -1", "line 2: iops"),
            ("[qos.a]\nbps = \"much\"", "qos.a.bps"),
            ("[qos.a]\niops = 9\nburst_iops = 10", "qos.a.burst_iops"),
            ("[qos.a]\niosp = 9", "line 2: iosp"),
            ("[qos.a]\ngroup = \"b\"", "qos.a.group"),
            ("[group.a]\nburst_seconds = 3", "group.a.burst_seconds"),
            ("[group.b]\n[group.a]\ngroup = \"b\"", "group.a.group"),
            ("[group.\"a b\"]\niops = 3", "group.a b"),
            ("nbd = 7", "line 1: nbd"),
            ("[tls]\nkey = \"k\"", "line 1: [tls]"),
        ] {
            let wrong = Settings::parse(text).expect_err(text);
            assert_eq!(wrong.key, key, "{}", wrong.why);
            assert!(!wrong.why.contains('\n'), "{}", wrong.why);
        }
    }

    /// What the package installs.
    const PACKAGED: &str = include_str!("../../scripts/packaging/bedplate.toml");

    fn parsed(text: &str) -> Settings {
        Settings::parse(text).unwrap_or_else(|wrong| panic!("{}: {}", wrong.key, wrong.why))
    }

    #[test]
    fn the_packaged_config_serves_nothing() {
        let settings = parsed(PACKAGED);
        assert!(settings.stores.is_empty() && settings.raw.is_empty());
        assert!(settings.attach.is_empty() && settings.metrics.is_none());
        assert!(matches!(&settings.nbd[..], [Address::Unix(_)]));
        let usual = ControlSettings::At("/run/bedplate/control.sock".into());
        assert_eq!(settings.control, Some(usual));
    }

    #[test]
    fn the_packaged_config_is_right_with_all_its_lines() {
        let typed = |line: &'static str| match line.strip_prefix('#') {
            Some(line) if line.starts_with(' ') || line.is_empty() => "",
            Some(line) => line,
            None => line,
        };
        let lines: Vec<&str> = PACKAGED.lines().map(typed).collect();
        let settings = parsed(&lines.join("\n"));
        assert_eq!((settings.stores.len(), settings.raw.len()), (1, 1));
        assert_eq!((settings.qos.len(), settings.groups.len()), (1, 1));
        assert!(settings.tls.is_some() && settings.threads.is_some());
    }

    #[test]
    fn the_packaged_config_has_every_key() {
        for table in ["", "[tls]\n", "[store.a]\n", "[raw.a]\n", "[qos.a]\n"] {
            let wrong = Settings::parse(&format!("{table}nonsense = 1")).expect_err("no such key");
            let (_, keys) = wrong
                .why
                .split_once("expected one of")
                .expect("it lists them");
            let keys: Vec<&str> = keys.split('`').skip(1).step_by(2).collect();
            assert!(keys.len() > 3, "{table}: {keys:?}");
            for key in keys {
                assert!(PACKAGED.contains(key), "{table}: {key} is not told");
            }
        }
    }
}
