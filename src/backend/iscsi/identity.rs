//! Who a server is to a target.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::place::IscsiPlace;
use crate::base::OpenError;
use crate::env;

/// The longest names and secrets, in bytes: what libiscsi keeps of them.
const NAME_BYTES_MAX: usize = 255;

/// Who one is to a target.
pub(super) struct Identity {
    pub(super) initiator: CString,
    /// What tells the sessions of one initiator apart. A session that is made anew with the same
    /// ends the old one, and what that had under way (RFC 7143, session reinstatement).
    pub(super) isid: (u32, u32),
    /// User and secret.
    pub(super) login: Option<(CString, Secret)>,
    /// User and secret of the target.
    pub(super) target_login: Option<(CString, Secret)>,
    pub(super) target: CString,
    pub(super) header_digest: bool,
    pub(super) lun: u16,
}

/// The bytes of a secret, with a zero byte at their end.
pub(super) type Secret = Zeroizing<Vec<u8>>;

impl Identity {
    /// Who this server is to the target at `place`, with its secrets.
    ///
    /// # Errors
    /// One line that names the file with a secret that cannot be read, or what is too long.
    pub(super) fn of(place: &IscsiPlace) -> Result<Self, OpenError> {
        let refused = |what: &str, why: &str, remedy| OpenError::new(what, why, remedy);
        let name = |what: &str, text: &str| match CString::new(text) {
            Ok(text) if text.as_bytes().len() <= NAME_BYTES_MAX => Ok(text),
            _ => Err(refused(
                &place.to_string(),
                &format!("{what} is too long"),
                "",
            )),
        };
        let secret = |file: &Path| {
            env::forbid_core_dumps();
            let shown = file.display().to_string();
            let text = std::fs::read_to_string(file)
                .map(Zeroizing::new)
                .map_err(|error| OpenError::new(&shown, error, "name the file with the secret"))?;
            let line = text.lines().next().unwrap_or_default();
            match line.len() {
                0 => Err(refused(
                    &shown,
                    "its first line is empty",
                    "write the secret there",
                )),
                _ => name("the secret", line).map(|line| Secret::new(line.into_bytes_with_nul())),
            }
        };
        let login = |user: &Option<String>, file: &Option<PathBuf>| match (user, file) {
            (Some(user), Some(file)) => Ok(Some((name("the user", user)?, secret(file)?))),
            _ => Ok(None),
        };
        let initiator = place.initiator.clone().unwrap_or_else(own_name);
        let low = |bits: u64| u32::try_from(bits & 0xff_ffff).expect("24 bits");
        let random = env::random_u64();
        Ok(Self {
            initiator: name("the initiator", &initiator)?,
            isid: (low(random), low(random >> 24)),
            login: login(&place.user, &place.secret_file)?,
            target_login: login(&place.target_user, &place.target_secret_file)?,
            target: name("the target's name", &place.target)?,
            header_digest: place.header_digest,
            lun: place.lun,
        })
    }
}

/// The name of this host to targets: what open-iscsi has for it, or one made of its name.
fn own_name() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let configured = read("/etc/iscsi/initiatorname.iscsi");
    let named = configured
        .lines()
        .find_map(|line| line.strip_prefix("InitiatorName="));
    match named.map(str::trim) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => {
            let host = read("/proc/sys/kernel/hostname");
            format!("iqn.2026-01.bedplate:{}", host.trim())
        }
    }
}
