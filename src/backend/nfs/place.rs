//! Where a file on NFS is, and how people write that.

use std::fmt;
use std::time::Duration;

use super::proto::Credentials;
use crate::backend::url::{Options, split_options};

/// `//HOST[:PORT]/EXPORT/PATH[?mountport=N&uid=N&gid=N&timeout=SECONDS]`: a file on an NFS server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NfsPlace {
    /// The server, a name or a number.
    pub host: String,
    /// Where it listens for NFS, if not at the usual port.
    pub port: Option<u16>,
    /// The path of the file, its folders included, without the first slash.
    pub path: String,
    /// Where the server listens for MOUNT; without it the server's port mapper is asked.
    pub mount_port: Option<u16>,
    /// The user that the server is told; the one of this process without.
    pub uid: Option<u32>,
    /// The group that the server is told; the one of this process without.
    pub gid: Option<u32>,
    /// How long requests wait for a server that does not answer.
    pub timeout: Duration,
}

/// The usual port of NFS.
const NFS_PORT: u16 = 2049;

/// How many folders a path has at most: each is a call.
const FOLDERS_MAX: usize = 32;

/// The longest name that NFS servers take, in bytes, with room for what is put behind it.
const NAME_BYTES_MAX: usize = 200;

impl NfsPlace {
    /// Reads what follows `nfs:`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::backend) fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "it is not //HOST[:PORT]/EXPORT/PATH";
        let (path, mut options) = split_options(text)?;
        let rest = path.strip_prefix("//").ok_or(FORM)?;
        let (server, path) = rest.split_once('/').ok_or(FORM)?;
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(number(port)?)),
            _ => (server, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let names: Vec<&str> = path.split('/').collect();
        let odd = |name: &&str| matches!(*name, "" | "." | "..") || name.len() > NAME_BYTES_MAX;
        if host.is_empty() || names.iter().any(odd) || names.len() > FOLDERS_MAX {
            return Err(FORM.to_owned());
        }
        let mut taken = |key| options.take(key);
        let place = Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            mount_port: taken("mountport").as_deref().map(number).transpose()?,
            uid: taken("uid").as_deref().map(number).transpose()?,
            gid: taken("gid").as_deref().map(number).transpose()?,
            timeout: options.take_timeout()?,
        };
        options.end()?;
        Ok(place)
    }

    /// Where the server listens.
    pub(super) fn nfs_port(&self) -> u16 {
        self.port.unwrap_or(NFS_PORT)
    }

    /// The folders on the way, from the outermost on, and the name of the file.
    pub(super) fn names(&self) -> (Vec<&str>, &str) {
        let mut names: Vec<&str> = self.path.split('/').collect();
        let name = names.pop().expect("a path has a last name");
        (names, name)
    }

    pub(super) fn credentials(&self) -> Credentials {
        Credentials {
            uid: self
                .uid
                .unwrap_or_else(|| rustix::process::geteuid().as_raw()),
            gid: self
                .gid
                .unwrap_or_else(|| rustix::process::getegid().as_raw()),
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is not a number that fits"))
}

impl fmt::Display for NfsPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "nfs://[{}]", self.host)?,
            false => write!(f, "nfs://{}", self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", self.path)?;
        let [mount_port, uid, gid] = [self.mount_port.map(u32::from), self.uid, self.gid]
            .map(|value| value.map(|value| value.to_string()));
        let timeout = Options::shown_timeout(self.timeout);
        let options = [
            ("mountport", mount_port.as_deref()),
            ("uid", uid.as_deref()),
            ("gid", gid.as_deref()),
            ("timeout", timeout.as_deref()),
        ];
        Options::show(&options, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown() {
        for text in [
            "//nas/export/vms/disk.img",
            "//10.0.0.1:20490/export/disk?mountport=20491",
            "//[fe80::1]:2049/disk?uid=1000&gid=100&timeout=30",
            "//[::1]/a/b",
        ] {
            let place = NfsPlace::parse(text).expect(text);
            assert_eq!(place.to_string(), format!("nfs:{text}"));
        }
        let place = NfsPlace::parse("//nas/a/b/c").expect("a place");
        assert_eq!(place.names(), (vec!["a", "b"], "c"));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "",
            "nas/export/disk",
            "//nas",
            "//nas/",
            "///export/disk",
            "//nas/export/../disk",
            "//nas/export//disk",
            "//nas:x/export/disk",
            "//nas:99999/export/disk",
            "//nas/export/disk?port=1",
            "//nas/export/disk?uid=-1",
        ] {
            assert!(NfsPlace::parse(text).is_err(), "{text}");
        }
    }
}
