//! Where the key of a store comes from: a file, never the words of a command.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::base::OpenError;
use crate::codec::{Credential, Secret};
use crate::env;

/// The most that a key or passphrase file holds, in bytes. What is longer is the wrong file.
const BYTES_MAX: u64 = 8 << 10;

/// Where a key is read from, when it is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeySource {
    /// All bytes of this file, 32 or more of them random, are the key.
    KeyFile(PathBuf),
    /// The first line of this file is a passphrase.
    PassphraseFile(PathBuf),
}

impl KeySource {
    /// Reads it. From then on no core is dumped of this process.
    ///
    /// # Errors
    /// One line that names the file, the cause and the remedy.
    pub fn read(&self) -> Result<Credential, OpenError> {
        env::forbid_core_dumps();
        match self {
            Self::KeyFile(path) => Ok(Credential::KeyFile(Secret::new(read(path)?))),
            Self::PassphraseFile(path) => {
                let mut line = read(path)?;
                if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                    line[end..].fill(0);
                    line.truncate(end);
                }
                match line.is_empty() {
                    true => Err(refused(path, "its first line is empty")),
                    false => Ok(Credential::Passphrase(Secret::new(line))),
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    let file = File::open(path).map_err(|error| refused(path, error))?;
    let room = usize::try_from(BYTES_MAX + 1).expect("small");
    // Room for all of it, so that no copy of the key is left where it was before it grew.
    let mut bytes = Vec::with_capacity(room);
    let read = file.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| refused(path, error))?;
    match bytes.len() < room {
        true => Ok(bytes),
        false => Err(refused(path, "it is longer than any key")),
    }
}

fn refused(path: &Path, why: impl std::fmt::Display) -> OpenError {
    let remedy = "name the file that holds the key, or a descriptor as /dev/fd/N";
    OpenError::new(path.display().to_string(), why, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_one_line_and_a_key_all_bytes() {
        let path = std::env::temp_dir().join(format!("bedplate-key-{}", std::process::id()));
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("it can be written");
            let passphrase = KeySource::PassphraseFile(path.clone()).read();
            let key = KeySource::KeyFile(path.clone()).read();
            (passphrase, key)
        };
        let (passphrase, key) = read(b"open sesame\nmore\n");
        let Ok(Credential::Passphrase(line)) = passphrase else {
            panic!("{passphrase:?}");
        };
        assert_eq!(line.expose(), b"open sesame");
        let Ok(Credential::KeyFile(whole)) = key else {
            panic!("{key:?}");
        };
        assert_eq!(whole.expose(), b"open sesame\nmore\n");
        let dumpable = rustix::process::dumpable_behavior();
        let expected = rustix::process::DumpableBehavior::NotDumpable;
        assert_eq!(dumpable.expect("it can be asked"), expected);
        assert!(read(b"\n").0.is_err());
        assert!(read(&[1; 9000]).1.is_err());
        std::fs::remove_file(&path).expect("it is there");
        assert!(KeySource::KeyFile(path).read().is_err());
    }
}
