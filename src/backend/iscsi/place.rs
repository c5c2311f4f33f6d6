//! Where a disk of a target is, and how people write that.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::url::{Options, split_options};

/// The port of targets that name none (RFC 7143).
const PORT: u16 = 3260;

/// LUNs that are written as one number (SAM, flat space addressing).
const LUN_MAX: u16 = 0x3fff;

/// `//[USER@]HOST[:PORT]/IQN/LUN[?OPTIONS]`: a disk of an iSCSI target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IscsiPlace {
    /// The user of CHAP, if the target wants a login.
    pub user: Option<String>,
    /// The target's host, a name or an address; one of IPv6 with its brackets.
    pub host: String,
    /// The target's port.
    pub port: u16,
    /// The target's name.
    pub target: String,
    /// The number of the disk.
    pub lun: u16,
    /// Our name; that of the host without.
    pub initiator: Option<String>,
    /// The file whose first line is the user's secret.
    pub secret_file: Option<PathBuf>,
    /// The user as which the target proves itself, and the file with its secret.
    pub target_user: Option<String>,
    /// The file whose first line is the target's secret.
    pub target_secret_file: Option<PathBuf>,
    /// Whether headers are to have checksums, without which the target is not used.
    pub header_digest: bool,
    /// How long requests wait for the target.
    pub timeout: Duration,
    /// Whether nobody is kept from writing: for targets that have no reservations.
    pub unfenced: bool,
}

impl IscsiPlace {
    /// Reads what follows `iscsi:`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::backend) fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "it is not //HOST[:PORT]/IQN/LUN";
        let (path, mut options) = split_options(text)?;
        let path = path.strip_prefix("//").ok_or(FORM)?;
        let [portal, target, lun] = path.split('/').collect::<Vec<_>>()[..] else {
            return Err(FORM.to_owned());
        };
        let (user, portal) = match portal.rsplit_once('@') {
            Some((user, portal)) => (Some(user), portal),
            None => (None, portal),
        };
        if user.is_some_and(|user| user.is_empty() || user.contains([':', '%'])) {
            return Err("a user is a name; the secret is in a file: ?secret-file=FILE".to_owned());
        }
        let (host, port) = split_port(portal)?;
        if target.is_empty() {
            return Err(FORM.to_owned());
        }
        let lun = lun.parse().ok().filter(|lun| *lun <= LUN_MAX);
        let choice = |key: &str, value: Option<String>, on: &str, off: &str| match value.as_deref()
        {
            None => Ok(false),
            Some(value) if value == on => Ok(true),
            Some(value) if value == off => Ok(false),
            Some(value) => Err(format!("'{key}' is {on} or {off}, not '{value}'")),
        };
        let path_of = |value: Option<String>| value.map(PathBuf::from);
        let place = Self {
            user: user.map(str::to_owned),
            host,
            port,
            target: target.to_owned(),
            lun: lun.ok_or_else(|| format!("a LUN is a number from 0 to {LUN_MAX}"))?,
            initiator: options.take("initiator"),
            secret_file: path_of(options.take("secret-file")),
            target_user: options.take("target-user"),
            target_secret_file: path_of(options.take("target-secret-file")),
            header_digest: choice(
                "header-digest",
                options.take("header-digest"),
                "crc32c",
                "none",
            )?,
            timeout: options.take_timeout()?,
            unfenced: choice("fence", options.take("fence"), "none", "reservation")?,
        };
        options.end()?;
        place.check()?;
        Ok(place)
    }

    fn check(&self) -> Result<(), String> {
        let pairs = [
            (
                self.user.is_some(),
                self.secret_file.is_some(),
                "USER@",
                "secret-file",
            ),
            (
                self.target_user.is_some(),
                self.target_secret_file.is_some(),
                "target-user",
                "target-secret-file",
            ),
        ];
        for (one, other, name, file) in pairs {
            if one != other {
                return Err(format!("'{name}' and '{file}' go together"));
            }
        }
        match self.target_user.is_some() && self.user.is_none() {
            true => Err("a target proves itself only to a USER@".to_owned()),
            false => Ok(()),
        }
    }

    /// The target's address as people write it.
    pub(super) fn portal(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn split_port(portal: &str) -> Result<(String, u16), String> {
    let (host, port) = match portal.rsplit_once(':') {
        // The colons of an address of IPv6 are between brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (portal, None),
    };
    if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
        return Err(format!("'{portal}' is no HOST or HOST:PORT"));
    }
    let port = match port {
        None => PORT,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("'{port}' is no port")),
        },
    };
    Ok((host.to_owned(), port))
}

impl fmt::Display for IscsiPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("iscsi://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)?;
        if self.port != PORT {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}/{}", self.target, self.lun)?;
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let (secret, target_secret) = (path(&self.secret_file), path(&self.target_secret_file));
        let timeout = Options::shown_timeout(self.timeout);
        let options = [
            ("initiator", self.initiator.as_deref()),
            ("secret-file", secret.as_deref()),
            ("target-user", self.target_user.as_deref()),
            ("target-secret-file", target_secret.as_deref()),
            ("header-digest", self.header_digest.then_some("crc32c")),
            ("timeout", timeout.as_deref()),
            ("fence", self.unfenced.then_some("none")),
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
            "//san/iqn.2026-01.example:disk1/1",
            "//10.0.0.5:3261/iqn.2026-01.example:disk1/0",
            "//[fd00::5]/eui.0123456789abcdef/16383",
            "//[fd00::5]:3261/iqn.x/1",
            "//vms@san/iqn.x/1?secret-file=/etc/s",
            "//vms@san/iqn.x/1?initiator=iqn.y:a&secret-file=s&target-user=san\
             &target-secret-file=t&header-digest=crc32c&timeout=30&fence=none",
        ] {
            let place = IscsiPlace::parse(text).expect(text);
            assert_eq!(place.to_string(), format!("iscsi:{text}"));
        }
        let usual =
            IscsiPlace::parse("//a:3260/b/1?header-digest=none&timeout=120").expect("usual");
        assert_eq!(usual.to_string(), "iscsi://a/b/1");
    }

    #[test]
    fn what_is_no_disk_of_a_target_is_refused() {
        for text in [
            "",
            "san/iqn.x/1",
            "//san",
            "//san/iqn.x",
            "//san/iqn.x/",
            "//san//1",
            "///iqn.x/1",
            "//san/iqn.x/1/2",
            "//san/iqn.x/one",
            "//san/iqn.x/16384",
            "//san:0/iqn.x/1",
            "//san:port/iqn.x/1",
            "//fd00::5/iqn.x/1",
            "//@san/iqn.x/1?secret-file=s",
            "//vms@san/iqn.x/1",
            "//vms%secret@san/iqn.x/1",
            "//vms:secret@san/iqn.x/1?secret-file=s",
            "//san/iqn.x/1?secret-file=s",
            "//san/iqn.x/1?target-user=a&target-secret-file=s",
            "//vms@san/iqn.x/1?secret-file=s&target-user=a",
            "//san/iqn.x/1?header-digest=md5",
            "//san/iqn.x/1?fence=maybe",
            "//san/iqn.x/1?pool=x",
        ] {
            assert!(IscsiPlace::parse(text).is_err(), "{text}");
        }
    }
}
