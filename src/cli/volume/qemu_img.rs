//! qcow2 files, by way of `qemu-img`, which knows them best.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::base::OpenError;
use crate::cli::interrupt::Interrupt;
use crate::env;

/// How often it is looked whether `qemu-img` has ended, or is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Whether `path` is by its name a qcow2 file.
pub(super) fn is_qcow2(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("qcow2"))
}

/// Demands that `qemu-img` is there, for the sake of `path`.
///
/// # Errors
/// If it is not, with what to do.
pub(super) fn demand(path: &Path) -> Result<(), OpenError> {
    let mut command = Command::new("qemu-img");
    let quiet = command.arg("--version").stdout(Stdio::null());
    match quiet.stderr(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(error) => Err(missing(path, &error)),
    }
}

/// Makes the raw file `raw` of the qcow2 file at `path`.
///
/// # Errors
/// What `qemu-img` said, or that it was interrupted.
pub(super) async fn unpack(
    path: &Path,
    raw: &Path,
    interrupt: &Interrupt,
) -> Result<(), OpenError> {
    convert(path, ["qcow2", "raw"], [path, raw], interrupt).await
}

/// Makes the qcow2 file at `path` of the raw file `raw`.
///
/// # Errors
/// What `qemu-img` said, or that it was interrupted.
pub(super) async fn pack(raw: &Path, path: &Path, interrupt: &Interrupt) -> Result<(), OpenError> {
    convert(path, ["raw", "qcow2"], [raw, path], interrupt).await
}

/// Runs `qemu-img convert` between files of these formats, for the sake of `path`.
async fn convert(
    path: &Path,
    [from_format, to_format]: [&str; 2],
    [from, to]: [&Path; 2],
    interrupt: &Interrupt,
) -> Result<(), OpenError> {
    let mut command = Command::new("qemu-img");
    command
        .args(["convert", "-f", from_format, "-O", to_format, "--"])
        .args([from, to])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C is for us, who then end it.
        .process_group(0);
    let mut child = command.spawn().map_err(|error| missing(path, &error))?;
    let what = path.display().to_string();
    let failed = |why: &dyn std::fmt::Display| OpenError::new(&what, why, "");
    loop {
        match child.try_wait().map_err(|error| failed(&error))? {
            Some(status) if status.success() => return Ok(()),
            Some(_) => return Err(failed(&last_words(&mut child))),
            None if interrupt.came() => {
                // It may have ended by itself meanwhile, which is as good.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(failed(&"interrupted; nothing is left of it"));
            }
            None => env::sleep(LOOK_INTERVAL).await,
        }
    }
}

/// The last line that the ended `child` has written to its standard error.
fn last_words(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(stderr) = child.stderr.as_mut() {
        // What cannot be read was not said.
        let _ = stderr.read_to_string(&mut text);
    }
    match text.lines().last() {
        Some(line) => line.to_owned(),
        None => "qemu-img failed and did not say why".to_owned(),
    }
}

fn missing(path: &Path, error: &std::io::Error) -> OpenError {
    let what = path.display().to_string();
    match error.kind() {
        ErrorKind::NotFound => {
            let remedy = "install it (on Debian: apt-get install qemu-utils), or use a raw file";
            OpenError::new(what, "qcow2 files need qemu-img, which is not here", remedy)
        }
        _ => OpenError::new(what, format!("qemu-img: {error}"), ""),
    }
}
