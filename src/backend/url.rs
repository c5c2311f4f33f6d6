//! The names that people give to backends.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::iscsi::IscsiPlace;
use super::nfs::NfsPlace;
use super::rbd::RbdPlace;
use crate::base::limits::{NETWORK_TIMEOUT, NETWORK_TIMEOUT_MAX};
use crate::base::{OpenError, size};

/// Where a backend is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// `file:PATH` or just a path: a file or a block device.
    File(PathBuf),
    /// `rbd:POOL[/NAMESPACE]/IMAGE`: an image in a Ceph cluster.
    Rbd(RbdPlace),
    /// `nfs://HOST/EXPORT/PATH`: a file on an NFS server.
    Nfs(NfsPlace),
    /// `iscsi://HOST/IQN/LUN`: a disk of an iSCSI target.
    Iscsi(IscsiPlace),
    /// `mem:SIZE`: memory that is gone when the server ends.
    Mem(u64),
    /// `null:SIZE`: reads give zeroes, writes go nowhere.
    Null(u64),
}

const FORMS: &str = "use file:PATH, rbd:POOL/IMAGE, nfs://HOST/EXPORT/PATH, iscsi://HOST/IQN/LUN, \
    mem:SIZE or null:SIZE";

impl Location {
    /// Reads a backend URL.
    ///
    /// # Errors
    /// One line that names the URL and says which forms there are.
    pub fn parse(url: &str) -> Result<Self, OpenError> {
        let refuse = |why: String| OpenError::new(format!("'{url}'"), why, FORMS);
        let sized = |text: &str| match size::parse(text).map_err(refuse)? {
            0 => Err(refuse("a disk of no bytes".to_owned())),
            bytes if bytes % 512 != 0 => Err(refuse("not a multiple of 512 bytes".to_owned())),
            bytes if bytes > i64::MAX.unsigned_abs() => Err(refuse("more than 8 EiB".to_owned())),
            bytes => Ok(bytes),
        };
        let (scheme, rest) = match url.split_once(':') {
            // A colon after a slash belongs to a path.
            Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest),
            _ => ("file", url),
        };
        match (scheme, rest) {
            ("file", "") => Err(refuse("names no file".to_owned())),
            ("file", path) => Ok(Self::File(path.into())),
            ("rbd", place) => RbdPlace::parse(place).map(Self::Rbd).map_err(refuse),
            ("nfs", place) => NfsPlace::parse(place).map(Self::Nfs).map_err(refuse),
            ("iscsi", place) => IscsiPlace::parse(place).map(Self::Iscsi).map_err(refuse),
            ("mem", text) => sized(text).map(Self::Mem),
            ("null", text) => sized(text).map(Self::Null),
            _ => Err(refuse(format!("'{scheme}' is no kind of backend"))),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Rbd(place) => place.fmt(f),
            Self::Nfs(place) => place.fmt(f),
            Self::Iscsi(place) => place.fmt(f),
            Self::Mem(bytes) => write!(f, "mem:{}", size::format(*bytes)),
            Self::Null(bytes) => write!(f, "null:{}", size::format(*bytes)),
        }
    }
}

/// What follows the `?` of a URL: `KEY=VALUE`, parted by `&`. Nothing is quoted, so a value
/// contains no `&`.
pub(super) struct Options<'a>(Vec<(&'a str, &'a str)>);

/// Parts a URL from its options.
///
/// # Errors
/// What is wrong with the options.
pub(super) fn split_options(text: &str) -> Result<(&str, Options<'_>), String> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let mut options: Vec<(&str, &str)> = Vec::new();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        if value.is_empty() {
            return Err(format!("'{key}' has no value"));
        }
        if options.iter().any(|(known, _)| *known == key) {
            return Err(format!("'{key}' is there twice"));
        }
        options.push((key, value));
    }
    if text.contains('\0') {
        return Err("it contains a zero byte".to_owned());
    }
    Ok((path, Options(options)))
}

impl Options<'_> {
    /// Takes out the value of `key`.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| *known == key)?;
        Some(self.0.swap_remove(at).1.to_owned())
    }

    /// Takes out `timeout`: how long requests wait for storage that does not answer.
    ///
    /// # Errors
    /// That it is none.
    pub(super) fn take_timeout(&mut self) -> Result<Duration, String> {
        let Some(text) = self.take("timeout") else {
            return Ok(NETWORK_TIMEOUT);
        };
        let most = NETWORK_TIMEOUT_MAX.as_secs();
        match text.parse() {
            Ok(seconds) if (1..=most).contains(&seconds) => Ok(Duration::from_secs(seconds)),
            _ => Err(format!(
                "'timeout' is a number of seconds from 1 to {most}, not '{text}'"
            )),
        }
    }

    /// How `timeout` is written, unless it is what holds without.
    pub(super) fn shown_timeout(timeout: Duration) -> Option<String> {
        (timeout != NETWORK_TIMEOUT).then(|| timeout.as_secs().to_string())
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// What nobody has taken.
    pub(super) fn end(self) -> Result<(), String> {
        match self.0.first() {
            Some((key, _)) => Err(format!("'{key}' is no option of it")),
            None => Ok(()),
        }
    }

    /// Shows options as they are written.
    pub(super) fn show(
        options: &[(&str, Option<&str>)],
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let given = options
            .iter()
            .filter_map(|(key, value)| Some((key, (*value)?)));
        for (index, (key, value)) in given.enumerate() {
            let before = if index == 0 { '?' } else { '&' };
            write!(f, "{before}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown() {
        for (url, shown) in [
            ("file:/a/b", "file:/a/b"),
            ("/a/b:c", "file:/a/b:c"),
            ("disk.img", "file:disk.img"),
            ("./odd:name", "file:./odd:name"),
            ("rbd:vms/main?id=me", "rbd:vms/main?id=me"),
            ("nfs://nas/vms/main?uid=7", "nfs://nas/vms/main?uid=7"),
            ("iscsi://a/iqn.x/1", "iscsi://a/iqn.x/1"),
            ("mem:1G", "mem:1G"),
            ("null:512", "null:512"),
        ] {
            let location = Location::parse(url).expect(url);
            assert_eq!(location.to_string(), shown);
        }
    }

    #[test]
    fn all_storage_over_a_network_has_a_timeout() {
        for place in ["rbd:vms/main", "nfs://nas/vms/main", "iscsi://a/iqn.x/1"] {
            let parse = |seconds| Location::parse(&format!("{place}?timeout={seconds}"));
            for seconds in ["1", "30", "86400"] {
                let shown = parse(seconds).expect("a timeout").to_string();
                assert_eq!(shown, format!("{place}?timeout={seconds}"));
            }
            assert_eq!(parse("120").expect("a timeout").to_string(), place);
            for seconds in ["0", "86401", "-1", "1s", "1.5"] {
                assert!(parse(seconds).is_err(), "{place} {seconds}");
            }
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_forms() {
        for url in [
            "",
            "file:",
            "mem:",
            "mem:0",
            "mem:1000",
            "null:x",
            "http://a/b",
            "rbd:vms",
            "nfs:nas/vms/main",
            "iscsi:a/iqn.x/1",
            "mem:9000P",
        ] {
            let error = Location::parse(url).expect_err(url).to_string();
            assert!(
                error.contains(url) && error.contains("file:PATH"),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
