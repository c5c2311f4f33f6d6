//! Where keys are, in words.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::OpenError;
use crate::codec::Credential;
use crate::control::{ExportName, KeySource, StoreName};

/// Where the key of the one store or disk that a command is about is read from.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct KeyArgs {
    /// The key is what FILE holds, 32 random bytes or more.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "passphrase_file"
    )]
    key_file: Option<PathBuf>,

    /// The passphrase is the first line of FILE.
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl KeyArgs {
    pub(super) fn source(&self) -> Option<KeySource> {
        source(self.key_file.as_deref(), self.passphrase_file.as_deref())
    }

    /// Reads it, if one was named.
    pub(super) fn read(&self) -> Result<Option<Credential>, OpenError> {
        self.source().map(|source| source.read()).transpose()
    }
}

/// Where a key is read from that one of two options names, if one does.
pub(super) fn source(key_file: Option<&Path>, passphrase_file: Option<&Path>) -> Option<KeySource> {
    let key = key_file.map(|path| KeySource::KeyFile(path.to_owned()));
    key.or_else(|| passphrase_file.map(|path| KeySource::PassphraseFile(path.to_owned())))
}

/// Where the keys of the stores, and of what --raw exports, are read from that a command names.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct NamedKeys {
    /// The key of NAME is what FILE holds, 32 random bytes or more.
    #[arg(long = "key-file", global = true, value_name = "NAME=FILE", value_parser = parse_named)]
    key_files: Vec<(ExportName, PathBuf)>,

    /// The passphrase of NAME is the first line of FILE.
    #[arg(long = "passphrase-file", global = true, value_name = "NAME=FILE",
          value_parser = parse_named)]
    passphrase_files: Vec<(ExportName, PathBuf)>,
}

impl NamedKeys {
    /// The key of one store.
    pub(super) fn of(&self, store: &StoreName) -> Option<KeySource> {
        self.all()
            .find(|(name, _)| name.as_str() == store.as_str())
            .map(|(_, source)| source)
    }

    /// What each key is for.
    pub(super) fn all(&self) -> impl Iterator<Item = (&ExportName, KeySource)> {
        let keys = self.key_files.iter();
        let keys = keys.map(|(name, path)| (name, KeySource::KeyFile(path.clone())));
        let passphrases = self.passphrase_files.iter();
        keys.chain(passphrases.map(|(name, path)| (name, KeySource::PassphraseFile(path.clone()))))
    }
}

fn parse_named(text: &str) -> Result<(ExportName, PathBuf), String> {
    let (name, path) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not NAME=FILE"))?;
    Ok((ExportName::new(name)?, PathBuf::from(path)))
}
