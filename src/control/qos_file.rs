//! Limits as the config file says them: `[qos."EXPORT"]` and `[group.NAME]`.

use serde::Deserialize;

use super::StoreName;
use super::settings::Wrong;
use crate::base::size;
use crate::volume::qos::{LimitWords, Limits, QosSettings};

/// Checks the name of a group: it stands in command lines as that of a store does.
pub(super) fn check_group_name(name: &str) -> Result<String, String> {
    StoreName::new(name).map(|name| name.to_string())
}

/// The keys of `[group.NAME]`; those of `[qos."EXPORT"]` but one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLimits {
    iops: Option<u64>,
    read_iops: Option<u64>,
    write_iops: Option<u64>,
    bps: Option<String>,
    read_bps: Option<String>,
    write_bps: Option<String>,
    burst_iops: Option<u64>,
    burst_read_iops: Option<u64>,
    burst_write_iops: Option<u64>,
    burst_bps: Option<String>,
    burst_read_bps: Option<String>,
    burst_write_bps: Option<String>,
    burst_seconds: Option<u64>,
    iops_size: Option<String>,
    /// Of `[qos."EXPORT"]` only. Here, since what is flattened could not refuse unknown keys.
    group: Option<String>,
}

impl FileLimits {
    /// What is set for the export whose table `key` is.
    pub(super) fn check_export(mut self, key: &str) -> Result<QosSettings, Wrong> {
        Ok(QosSettings {
            group: self.group.take(),
            limits: self.check(key)?,
        })
    }

    /// The limits of the group whose table `key` is.
    pub(super) fn check_group(self, key: &str) -> Result<Limits, Wrong> {
        match self.group {
            Some(_) => {
                let why = "a group belongs to no other";
                Err(Wrong::new(format!("{key}.group"), why))
            }
            None => self.check(key),
        }
    }

    fn check(self, key: &str) -> Result<Limits, Wrong> {
        let bytes = |word: &str, text: Option<String>| {
            let parsed = text.map(|text| size::parse(&text)).transpose();
            parsed.map_err(|why| Wrong::new(format!("{key}.{word}"), why))
        };
        let words = LimitWords {
            average: [
                self.iops,
                self.read_iops,
                self.write_iops,
                bytes("bps", self.bps)?,
                bytes("read_bps", self.read_bps)?,
                bytes("write_bps", self.write_bps)?,
            ],
            burst: [
                self.burst_iops,
                self.burst_read_iops,
                self.burst_write_iops,
                bytes("burst_bps", self.burst_bps)?,
                bytes("burst_read_bps", self.burst_read_bps)?,
                bytes("burst_write_bps", self.burst_write_bps)?,
            ],
            burst_seconds: self.burst_seconds,
            iops_size: bytes("iops_size", self.iops_size)?,
        };
        let wrong = |word: &str, why: String| Wrong::new(format!("{key}.{word}"), why);
        words.check().map_err(|error| wrong(error.word, error.why))
    }
}
