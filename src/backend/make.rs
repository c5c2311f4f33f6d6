//! What something is put on: made where it is missing, made larger, and taken away again.

use std::fs::{self, File};
use std::path::Path;

use super::{Location, nfs, rbd};
use crate::base::OpenError;

/// Whether something was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Made {
    /// It was there before.
    Before,
    /// It was made just now.
    Here,
}

/// Makes what `location` names with `size` bytes, all holes, if there is none.
///
/// # Errors
/// If it is missing and no size was said, if it cannot be made, or if nothing lasts there.
pub async fn make(location: &Location, size: Option<u64>) -> Result<Made, OpenError> {
    match location {
        Location::File(path) => make_file(path, size),
        Location::Rbd(place) => rbd::make(place, size).await,
        Location::Nfs(place) => nfs::make(place, size).await,
        // Disks are made on the target. Opening it says whether it is there.
        Location::Iscsi(_) => Ok(Made::Before),
        Location::Mem(_) | Location::Null(_) => {
            let why = "what is written there is gone when this command ends";
            let remedy = "name a place that lasts";
            Err(OpenError::new(location.to_string(), why, remedy))
        }
    }
}

/// Takes away what was [made](make), as far as that can be done.
pub async fn unmake(location: &Location) {
    match location {
        Location::File(path) => drop(fs::remove_file(path)),
        Location::Rbd(place) => rbd::unmake(place).await,
        Location::Nfs(place) => nfs::unmake(place).await,
        Location::Iscsi(_) | Location::Mem(_) | Location::Null(_) => {}
    }
}

/// Makes what `location` names at least `size` bytes large, where that is for us to do: block
/// devices and disks of targets have the size that they have.
///
/// # Errors
/// If it cannot be so large.
pub async fn grow(location: &Location, size: u64) -> Result<(), OpenError> {
    match location {
        Location::File(path) => grow_file(path, size),
        Location::Rbd(place) => rbd::grow(place, size).await,
        Location::Nfs(place) => nfs::grow(place, size).await,
        Location::Iscsi(_) | Location::Mem(_) | Location::Null(_) => Ok(()),
    }
}

fn make_file(path: &Path, size: Option<u64>) -> Result<Made, OpenError> {
    let what = path.display().to_string();
    let refused = |error| OpenError::new(&what, error, "name a place that can be written");
    if path.try_exists().map_err(refused)? {
        return Ok(Made::Before);
    }
    let Some(size) = size else {
        let remedy = "say how large with --size SIZE, and it is made";
        return Err(OpenError::new(&what, "there is no such file", remedy));
    };
    let file = File::create_new(path).map_err(refused)?;
    if let Err(error) = file.set_len(size) {
        let _ = fs::remove_file(path);
        return Err(OpenError::new(&what, error, "name a smaller --size"));
    }
    Ok(Made::Here)
}

fn grow_file(path: &Path, size: u64) -> Result<(), OpenError> {
    let what = path.display().to_string();
    let refused = |error| OpenError::new(&what, error, "name a smaller size, or find the space");
    let found = fs::metadata(path).map_err(refused)?;
    if !found.is_file() || found.len() >= size {
        return Ok(());
    }
    let file = File::options().write(true).open(path).map_err(refused)?;
    file.set_len(size).map_err(refused)
}
