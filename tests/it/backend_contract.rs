//! What every backend promises, asked of each of them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bedplate::backend::{self, Access, Backend, Checked, Faulty, Geometry, Location, Made, Medium};
use bedplate::base::{Buf, Extent, Status, StatusRun, ZeroMode};
use bedplate::env;
use bedplate::env::sim;

pub(crate) const SIZE: u64 = 4 << 20;

const MAY_UNMAP: ZeroMode = ZeroMode {
    may_unmap: true,
    only_if_fast: false,
};
const KEEP_SPACE: ZeroMode = ZeroMode {
    may_unmap: false,
    only_if_fast: false,
};

#[test]
fn memory_keeps_the_contract() {
    on_reactor(async || open(&Location::Mem(SIZE)).await);
}

#[test]
fn a_faultless_faulty_disk_keeps_the_contract() {
    for seed in 0..20 {
        sim::run(seed, async {
            for block in [1, 512, 4096] {
                let disk = Checked::new(Medium::Faulty(Faulty::new(SIZE, block)));
                keeps_the_contract(&disk).await;
            }
        });
    }
}

#[test]
fn a_file_keeps_the_contract() {
    let file = Scratch::new("contract-file", SIZE);
    on_reactor(async move || open(&Location::File(file.0.clone())).await);
}

#[test]
fn a_file_of_an_odd_length_keeps_the_contract() {
    // Direct I/O cannot reach the end of such a file, so it goes through the page cache.
    let file = Scratch::new("contract-odd", SIZE + 100);
    on_reactor(async move || open(&Location::File(file.0.clone())).await);
}

#[test]
fn a_file_in_memory_keeps_the_contract() {
    let file = Scratch::within(Path::new("/dev/shm"), "contract-tmpfs", SIZE);
    on_reactor(async move || open(&Location::File(file.0.clone())).await);
}

#[test]
fn a_block_device_keeps_the_contract() {
    let file = Scratch::new("contract-device", SIZE);
    let Some(device) = LoopDevice::attach(&file.0) else {
        return;
    };
    on_reactor(async move || open(&Location::File(device.0.clone())).await);
}

#[test]
fn null_reads_as_zeroes_whatever_is_written() {
    env::block_on(async {
        let disk = open(&Location::Null(SIZE)).await;
        let data = Buf::from(&[7; 4096][..]);
        disk.write(0, data).await.expect("null takes everything");
        assert!(read(&disk, 0, 4096).await.iter().all(|byte| *byte == 0));
        assert_eq!(status(&disk, 0, SIZE).await, [hole(SIZE)]);
    })
    .expect("a ring");
}

#[test]
fn a_file_that_is_open_is_not_opened_again() {
    let file = Scratch::new("contract-lock", SIZE);
    env::block_on(async move {
        let location = Location::File(file.0.clone());
        let first = open(&location).await;
        for access in [Access::Read, Access::Write] {
            let refused = backend::open(&location, access)
                .await
                .expect_err("it is locked");
            assert!(refused.to_string().contains("in use"), "{refused}");
        }
        drop(first);
        let reader = backend::open(&location, Access::Read)
            .await
            .expect("free again");
        let other = backend::open(&location, Access::Read)
            .await
            .expect("readers share");
        backend::open(&location, Access::Write)
            .await
            .expect_err("readers keep a writer out");
        drop((reader, other));
    })
    .expect("a ring");
}

#[test]
fn a_block_device_that_is_written_is_not_written_by_another_name() {
    let file = Scratch::new("contract-names", SIZE);
    let Some(device) = LoopDevice::attach(&file.0) else {
        return;
    };
    let node = Scratch::new("contract-node", SIZE);
    std::fs::remove_file(&node.0).expect("a place for the node");
    device.make_node(&node.0);
    env::block_on(async move {
        let first = open(&Location::File(device.0.clone())).await;
        let other = Location::File(node.0.clone());
        let refused = backend::open(&other, Access::Write)
            .await
            .expect_err("it is claimed");
        assert!(refused.to_string().contains("in use"), "{refused}");
        drop(first);
        backend::open(&other, Access::Write)
            .await
            .expect("free again");
    })
    .expect("a ring");
}

fn on_reactor(open: impl AsyncFnOnce() -> Checked + 'static) {
    env::block_on(async move { keeps_the_contract(&open().await).await }).expect("a ring");
}

/// Opens it to be written.
pub(crate) async fn open(location: &Location) -> Checked {
    backend::open(location, Access::Write)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A block full of `byte`.
pub(crate) fn block(byte: u8) -> Buf {
    Buf::from(&[byte; 4096][..])
}

/// The first byte of the block at `offset`.
pub(crate) async fn first_byte(disk: &Checked, offset: u64) -> u8 {
    let at = Extent::between(offset, offset + 4096);
    disk.read(at, Buf::new(4096)).await.expect("a read")[0]
}

/// The contract of [`Backend`], clause by clause, on a disk that is all zero.
pub(crate) async fn keeps_the_contract(disk: &Checked) {
    let Geometry { size, block, .. } = disk.geometry();
    assert!(size >= SIZE);
    what_was_never_written_reads_as_zero(disk, size, block).await;
    what_is_written_is_read(disk, block).await;
    the_ends_are_reached(disk, size, block).await;
    zeroes_are_zeroes(disk).await;
    a_discard_leaves_its_neighbours(disk).await;
    status_tells_data_from_holes(disk).await;
    overlapping_requests_do_not_disturb_each_other(disk, block).await;
    disk.flush().await.expect("a flush of a good disk");
}

/// All that is done to something on remote storage, where `place` names nothing yet.
pub(crate) async fn is_made_grown_and_taken_away(place: &Location, gone_because: &str) {
    let nowhere = backend::make(place, None).await;
    nowhere.expect_err("it is not there, and no size");
    let made = backend::make(place, Some(SIZE)).await;
    assert_eq!(made.expect("it is made"), Made::Here);
    let disk = backend::open(place, Access::Write)
        .await
        .expect("it is there");
    keeps_the_contract(&disk).await;
    let data = Buf::from(&[7; 4096][..]);
    disk.write(SIZE - 4096, data).await.expect("a write");
    drop(disk);

    // Whoever has it is just going, and that is waited for.
    backend::grow(place, 2 * SIZE).await.expect("it grows");
    let disk = backend::open(place, Access::Write)
        .await
        .expect("free again");
    assert_eq!(disk.geometry().size, 2 * SIZE);
    let end = Extent::between(SIZE - 4096, SIZE + 4096);
    let read = disk.read(end, Buf::new(end.len())).await.expect("a read");
    assert!(read[..4096].iter().all(|byte| *byte == 7));
    assert!(read[4096..].iter().all(|byte| *byte == 0));
    drop(disk);

    let made = backend::make(place, Some(SIZE)).await;
    assert_eq!(made.expect("it is there"), Made::Before);
    backend::unmake(place).await;
    let gone = backend::open(place, Access::Write).await;
    let gone = gone.expect_err("it was taken away").to_string();
    assert!(gone.contains(gone_because), "{gone}");
}

async fn what_was_never_written_reads_as_zero(disk: &Checked, size: u64, block: u64) {
    let last = size - block;
    for (offset, bytes) in [(0, 65536), (last, block)] {
        assert!(
            read(disk, offset, bytes)
                .await
                .iter()
                .all(|byte| *byte == 0)
        );
    }
}

async fn what_is_written_is_read(disk: &Checked, block: u64) {
    for (offset, bytes) in [(0, block), (block, block), (4096, 65536), (65536, 1 << 20)] {
        let data = pattern(offset, bytes);
        write(disk, offset, &data).await;
        assert_eq!(read(disk, offset, bytes).await, data, "{offset}+{bytes}");
    }
    assert_eq!(read(disk, 4096, 4096).await, pattern(4096, 4096));
}

async fn the_ends_are_reached(disk: &Checked, size: u64, block: u64) {
    for offset in [0, size - block] {
        let data = pattern(offset + 1, block);
        write(disk, offset, &data).await;
        assert_eq!(read(disk, offset, block).await, data);
    }
}

async fn zeroes_are_zeroes(disk: &Checked) {
    for mode in [MAY_UNMAP, KEEP_SPACE] {
        write(disk, 1 << 20, &pattern(3, 3 << 16)).await;
        let middle = Extent::between((1 << 20) + (1 << 16), (1 << 20) + (2 << 16));
        disk.write_zeroes(middle, mode).await.expect("zeroes");
        let after = read(disk, 1 << 20, 3 << 16).await;
        let before = pattern(3, 3 << 16);
        assert_eq!(after[..1 << 16], before[..1 << 16]);
        assert!(after[1 << 16..2 << 16].iter().all(|byte| *byte == 0));
        assert_eq!(after[2 << 16..], before[2 << 16..]);
    }
}

async fn a_discard_leaves_its_neighbours(disk: &Checked) {
    write(disk, 2 << 20, &pattern(5, 3 << 16)).await;
    let middle = Extent::between((2 << 20) + (1 << 16), (2 << 20) + (2 << 16));
    disk.discard(middle).await.expect("a hint");
    let before = pattern(5, 3 << 16);
    assert_eq!(read(disk, 2 << 20, 1 << 16).await, before[..1 << 16]);
    let last = (2 << 20) + (2 << 16);
    assert_eq!(read(disk, last, 1 << 16).await, before[2 << 16..]);
}

async fn status_tells_data_from_holes(disk: &Checked) {
    let all = Extent::between(0, 3 << 20);
    disk.write_zeroes(all, MAY_UNMAP).await.expect("zeroes");
    write(disk, 1 << 20, &pattern(9, 1 << 20)).await;
    disk.flush().await.expect("a flush");
    let runs = status(disk, 0, 3 << 20).await;
    let data = StatusRun {
        bytes: 1 << 20,
        status: Status::Data,
    };
    // A backend that cannot tell says that everything is data; that is allowed, and a block
    // device over a file is one.
    if runs.len() > 1 {
        assert_eq!(runs, [hole(1 << 20), data, hole(1 << 20)]);
        let first = disk.status(all, 1).await.expect("a status");
        assert_eq!(first, [hole(1 << 20)]);
        let inside = status(disk, (1 << 20) + 65536, 65536).await;
        assert_eq!(
            inside,
            [StatusRun {
                bytes: 65536,
                ..data
            }]
        );
    } else {
        assert_eq!(runs[0].status, Status::Data);
    }
}

async fn overlapping_requests_do_not_disturb_each_other(disk: &Checked, block: u64) {
    let block = block.max(512);
    let mut writes = Vec::new();
    for index in 0..64 {
        let offset = (3 << 20) + index * block;
        writes.push(disk.write(offset, Buf::from(&pattern(index, block)[..])));
    }
    join(writes).await;
    for index in 0..64 {
        let offset = (3 << 20) + index * block;
        assert_eq!(read(disk, offset, block).await, pattern(index, block));
    }
}

/// Waits for all of `work` at once.
async fn join<F: Future<Output = bedplate::base::Result<()>>>(work: Vec<F>) {
    let mut work: Vec<_> = work.into_iter().map(|work| Some(Box::pin(work))).collect();
    std::future::poll_fn(|context| {
        for slot in &mut work {
            let done = slot.as_mut().is_some_and(|work| {
                let state = work.as_mut().poll(context);
                state.map(|done| done.expect("a write")).is_ready()
            });
            if done {
                *slot = None;
            }
        }
        match work.iter().all(Option::is_none) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

async fn read(disk: &Checked, offset: u64, bytes: u64) -> Vec<u8> {
    let at = Extent::between(offset, offset + bytes);
    // Old bytes in the buffer must not show through.
    let mut buf = Buf::new(at.len());
    buf.fill(0xee);
    disk.read(at, buf).await.expect("a read").to_vec()
}

async fn write(disk: &Checked, offset: u64, data: &[u8]) {
    disk.write(offset, Buf::from(data)).await.expect("a write");
}

async fn status(disk: &Checked, offset: u64, bytes: u64) -> Vec<StatusRun> {
    let at = Extent::between(offset, offset + bytes);
    disk.status(at, 1000).await.expect("a status")
}

fn hole(bytes: u64) -> StatusRun {
    StatusRun {
        bytes,
        status: Status::Hole,
    }
}

/// Bytes that differ from place to place and are never zero.
fn pattern(seed: u64, bytes: u64) -> Vec<u8> {
    let byte = |at: u64| u8::try_from((seed * 31 + at * 7 + (at >> 9)) % 255 + 1).expect("a byte");
    (0..bytes).map(byte).collect()
}

/// A sparse file that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: u64) -> Self {
        Self::within(Path::new(env!("CARGO_TARGET_TMPDIR")), name, bytes)
    }

    fn within(folder: &Path, name: &str, bytes: u64) -> Self {
        let path = folder.join(format!("{name}-{}", std::process::id()));
        let file = std::fs::File::create(&path).expect("a scratch file");
        file.set_len(bytes).expect("a sparse file");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A block device over a file.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn attach(file: &Path) -> Option<Self> {
        let output = std::process::Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output();
        let attached = output.ok().filter(|output| output.status.success());
        // Only root on a kernel with loop devices can make one; scripts/test says when it cannot.
        assert!(
            attached.is_some() || std::env::var_os("BEDPLATE_REQUIRE_LOOP").is_none(),
            "no loop device could be attached"
        );
        let name = String::from_utf8(attached?.stdout).ok()?;
        Some(Self(name.trim().into()))
    }

    /// Another node of the same device, at `path`.
    fn make_node(&self, path: &Path) {
        let device = std::fs::metadata(&self.0).expect("it is there").rdev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let made = std::process::Command::new("mknod")
            .arg(path)
            .args(["b", &major.to_string(), &minor.to_string()])
            .status();
        assert!(made.expect("mknod runs").success());
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .status();
    }
}
