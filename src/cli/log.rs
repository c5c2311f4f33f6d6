//! Where the log goes, and in which form.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::base::OpenError;

/// The form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The log file, if there is one, which can be opened again after it was moved away.
#[derive(Clone, Debug)]
pub(super) struct Log {
    target: Arc<Target>,
}

#[derive(Debug)]
enum Target {
    Stderr,
    File { path: PathBuf, file: Mutex<File> },
}

impl Log {
    /// Starts logging to `path`, or to standard error. What is logged is `BEDPLATE_LOG`'s to say
    /// (`warn`, `info`, `debug`, or `module=level`); `info` without it.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(super) fn start(format: LogFormat, path: Option<&Path>) -> Result<Self, OpenError> {
        let target = match path {
            None => Target::Stderr,
            Some(path) => Target::File {
                file: Mutex::new(open(path)?),
                path: path.to_owned(),
            },
        };
        let log = Self {
            target: Arc::new(target),
        };
        let filter = EnvFilter::builder()
            .with_env_var("BEDPLATE_LOG")
            .with_default_directive(tracing::Level::INFO.into())
            .from_env_lossy();
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_target(false)
            .with_writer(log.clone());
        match format {
            LogFormat::Text => lines.init(),
            LogFormat::Json => lines.json().init(),
        }
        Ok(log)
    }

    /// Opens the log file again, as after a rotation.
    pub(super) fn reopen(&self) {
        let Target::File { path, file } = &*self.target else {
            return;
        };
        match open(path) {
            Ok(fresh) => *file.lock().unwrap_or_else(PoisonError::into_inner) = fresh,
            Err(error) => tracing::error!(%error, "going on with the old log file"),
        }
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.target)
    }
}

/// Writes one line.
pub(super) struct Line<'a>(&'a Target);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0 {
            Target::Stderr => io::stderr().write(bytes),
            Target::File { file, .. } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write(bytes)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, OpenError> {
    File::options()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| {
            OpenError::new(path.display().to_string(), error, "name another --log-file")
        })
}
