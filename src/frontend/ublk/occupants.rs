//! Who on this machine uses a block device.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Who uses `/dev/ublkbN`, as the ends of sentences: what is mounted, swapped to, or stacked on it
/// or one of its partitions.
pub(super) fn occupants(number: u32) -> Vec<String> {
    let name = name_of(number);
    let mounts = read(Path::new("/proc/self/mountinfo"));
    let loops = loop_devices();
    let mut found = Vec::new();
    for part in &parts(number) {
        let device = read(&part.join("dev"));
        let places = mount_points(&mounts, device.trim());
        found.extend(places.map(|place| format!("it is mounted at {place}")));
        let on_it = loops
            .iter()
            .filter(|(_, file)| device_of(file).as_deref() == Some(device.trim()));
        found.extend(on_it.map(|(name, _)| format!("it is in use by {name}")));
        for holder in fs::read_dir(part.join("holders"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let holder = holder.file_name();
            found.push(format!("it is in use by {}", holder.to_string_lossy()));
        }
    }
    let swaps = read(Path::new("/proc/swaps"));
    if swaps
        .lines()
        .any(|line| line.starts_with(&format!("/dev/{name} ")))
    {
        found.push("it is swapped to".to_owned());
    }
    found
}

/// Which other processes have `/dev/ublkbN` or one of its partitions open, as [`occupants`] says
/// it, and how many there are that this one may not look into. What the kernel has opened itself is
/// not seen, such as a disk of nvmet.
pub(super) fn openers(number: u32) -> (Vec<String>, usize) {
    let devices: Vec<String> = parts(number)
        .iter()
        .map(|part| read(&part.join("dev")).trim().to_owned())
        .collect();
    let (mut found, mut unseen) = (Vec::new(), 0);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_string_lossy().parse::<u32>();
        let Some(id) = id.ok().filter(|id| *id != std::process::id()) else {
            continue;
        };
        match has_open(&entry.path(), &devices) {
            Ok(true) => {
                let name = read(&entry.path().join("comm"));
                found.push(format!("{} has it open, process {id}", name.trim()));
            }
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unseen += 1,
            // It has ended.
            Err(_) => {}
        }
    }
    (found, unseen)
}

/// Whether the process in a folder of `/proc` has one of these open, as `MAJOR:MINOR`.
fn has_open(process: &Path, devices: &[String]) -> io::Result<bool> {
    for entry in fs::read_dir(process.join("fd"))? {
        let path = entry?.path();
        // Nothing is asked of other files: that may wait for whatever they are on.
        if !fs::read_link(&path).is_ok_and(|target| target.to_string_lossy().contains("/dev/")) {
            continue;
        }
        if device_of(&path).is_some_and(|device| devices.contains(&device)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Loop devices in use, and what each is on.
fn loop_devices() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let used = entries.filter_map(|entry| {
        let file = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Some((name, PathBuf::from(file.trim_end_matches('\n'))))
    });
    // Nothing is asked of other files, as above.
    used.filter(|(_, file)| file.starts_with("/dev")).collect()
}

/// The block device that `path` leads to, as `MAJOR:MINOR`.
fn device_of(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok()?;
    let (major, minor) = (libc::major(file.rdev()), libc::minor(file.rdev()));
    let is_device = file.file_type().is_block_device();
    is_device.then(|| format!("{major}:{minor}"))
}

/// `/dev/ublkbN` and its partitions, as folders of `/sys`.
fn parts(number: u32) -> Vec<PathBuf> {
    let name = name_of(number);
    let block = Path::new("/sys/block").join(&name);
    let entries = fs::read_dir(&block).into_iter().flatten().flatten();
    let partitions: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&name))
        .map(|entry| entry.path())
        .collect();
    [vec![block], partitions].concat()
}

fn name_of(number: u32) -> String {
    format!("ublkb{number}")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The numbers of all ublk devices that there are.
pub(super) fn device_numbers() -> Vec<u32> {
    let entries = fs::read_dir("/sys/class/ublk-char").into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    let numbers = names.filter_map(|name| name.to_str()?.strip_prefix("ublkc")?.parse().ok());
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

/// Whether there is a process of this number.
pub(super) fn is_running(process: i32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// Where `device`, as `MAJOR:MINOR`, is mounted, as `proc_pid_mountinfo(5)` tells it.
fn mount_points<'a>(mounts: &'a str, device: &'a str) -> impl Iterator<Item = String> + 'a {
    mounts.lines().filter_map(move |line| {
        let mut fields = line.split(' ').skip(2);
        (fields.next()? == device).then_some(())?;
        fields.nth(1).map(unescape)
    })
}

/// A path as it is, of one in which spaces and the like are octal numbers.
fn unescape(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, behind @ ..] = rest {
        let code = behind.first_chunk::<3>().filter(|_| *first == b'\\');
        let digits = code.and_then(|code| std::str::from_utf8(code).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found_by_the_device() {
        let mounts = "\
            29 1 259:0 / / rw - ext4 /dev/root rw\n\
            36 29 259:1 /sub /mnt/a\\040b rw,noatime shared:7 - ext4 /dev/ublkb0 rw\n\
            37 29 259:1 / /srv rw - ext4 /dev/ublkb0 rw\n\
            garbage\n";
        let found: Vec<String> = mount_points(mounts, "259:1").collect();
        assert_eq!(found, ["/mnt/a b", "/srv"]);
        assert_eq!(mount_points(mounts, "259:2").count(), 0);
        assert_eq!(mount_points(mounts, "").count(), 0);
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(unescape("a\\9\\1"), "a\\9\\1");
        assert_eq!(unescape("\\134x"), "\\x");
    }
}
