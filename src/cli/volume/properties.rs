//! How a volume is treated, in words.

use clap::Args;

use crate::control::api::proto;
use crate::store::{Compression, Dedup, Properties};

/// What may be said of a volume when it is made.
#[derive(Clone, Debug, Args)]
pub(super) struct PropertyArgs {
    /// How to compress: as it is worth it, always in one way, or not at all.
    #[arg(long, value_name = "adaptive|lz4|zstd|off", default_value = "adaptive",
          value_parser = parse_compression)]
    compress: Compression,

    /// Whether to write blocks that the store has already only once: those with the same
    /// fingerprint, or those that were read and compared as well.
    #[arg(long, value_name = "on|off|verify", default_value = "on", value_parser = parse_dedup)]
    dedup: Dedup,

    /// Make every write durable before it is answered, whether or not the client asks for that.
    #[arg(long)]
    write_through: bool,
}

impl PropertyArgs {
    pub(super) fn properties(&self) -> proto::Properties {
        let properties = Properties {
            write_through: self.write_through,
            compression: self.compress,
            dedup: self.dedup,
        };
        properties.into()
    }
}

/// A property of a volume with its new value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Setting {
    WriteThrough(bool),
    Compress(Compression),
    Dedup(Dedup),
}

impl Setting {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("'{text}' is not KEY=VALUE"))?;
        match key {
            "write-through" => parse_switch(value).map(Self::WriteThrough),
            "compress" => parse_compression(value).map(Self::Compress),
            "dedup" => parse_dedup(value).map(Self::Dedup),
            _ => Err(format!(
                "'{key}' is no key; there are compress, dedup and write-through"
            )),
        }
    }

    pub(super) fn apply(self, properties: &mut proto::Properties) {
        match self {
            Self::WriteThrough(on) => properties.write_through = Some(on),
            Self::Compress(compression) => properties.set_compression(compression.into()),
            Self::Dedup(dedup) => properties.set_dedup(dedup.into()),
        }
    }
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("'{text}' is neither on nor off")),
    }
}

fn parse_compression(text: &str) -> Result<Compression, String> {
    let found = Compression::ALL.into_iter().find(|one| one.name() == text);
    found.ok_or_else(|| format!("'{text}' is none of adaptive, lz4, zstd and off"))
}

fn parse_dedup(text: &str) -> Result<Dedup, String> {
    let found = Dedup::ALL.into_iter().find(|one| one.name() == text);
    found.ok_or_else(|| format!("'{text}' is none of on, off and verify"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_a_key_and_a_value() {
        let mut properties = proto::Properties::default();
        for text in ["write-through=on", "compress=zstd", "dedup=verify"] {
            Setting::parse(text)
                .expect("a setting")
                .apply(&mut properties);
        }
        let properties = Properties::try_from(&properties).expect("known ones");
        assert!(properties.write_through);
        assert_eq!(properties.compression, Compression::Zstd);
        assert_eq!(properties.dedup, Dedup::Verify);
        assert!(Setting::parse("write-through=off").is_ok());
        for text in [
            "write-through",
            "write-through=yes",
            "compress=on",
            "dedup=maybe",
            "colour=on",
            "=on",
            "",
        ] {
            assert!(Setting::parse(text).is_err(), "{text}");
        }
    }
}
