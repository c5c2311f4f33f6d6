//! Which regions of a disk have changed, for disks that are not of a store.
//!
//! A file beside the disk tells for every region of 64 KiB in which *era* it was written last. A
//! bitmap is the era that began when it was made: it tells the regions that were written in that
//! era or later. So any number of bitmaps share one number for each region, and a bitmap is made by
//! beginning an era (as dm-era does; Linux, `drivers/md/dm-era-target.c`).
//!
//! What keeps it right over a crash: the first write to a region in an era waits until the file
//! says so and has been flushed. So whatever reached the disk is told, and what is told too much is
//! bounded: writes that were under way, the rest of their regions, and 63.75 MiB for each page of
//! the file that a power loss tore. Writes that come while the file is flushed wait for the next
//! flush together. A region costs four bytes of memory, a TiB 64 MiB.
//!
//! A file that cannot be written fails the writes that would need it: else the next backup would
//! miss them. Whoever writes to the disk past this server is not seen.

mod head;
mod page;
mod rounds;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::head::{BadHead, HEAD_BYTES, Head, MAGIC};
use self::page::{PAGE_BYTES, REGIONS_PER_PAGE};
use self::rounds::Rounds;
use crate::backend::{Backend, Checked};
use crate::base::limits::BITMAPS_MAX;
use crate::base::{Buf, Extent, Mark, Result, Status, StatusRun};
use crate::env::{Signal, TaskLock};
use crate::store::{BitmapName, StoreError};

pub use self::head::TrackedBitmap;

/// What is told apart, in bytes.
pub const REGION_BYTES: u64 = 64 << 10;

/// Where the pages begin, in bytes.
const PAGES_AT: u64 = 2 * HEAD_BYTES as u64;

/// How much of the file is read at a time when it is opened, in pages.
const PAGES_PER_READ: usize = 256;

/// Tells which regions of a disk have changed. Shared by all threads.
pub struct Tracker {
    file: Checked,
    disk_bytes: u64,
    /// In which era each region was written last, as the file says and a power loss leaves it.
    durable: Vec<AtomicU32>,
    /// What is written now is written in this era.
    era: AtomicU32,
    /// Changes of the disk under way that began in an even, or an odd, era.
    under_way: [AtomicU64; 2],
    /// Wakes who waits for those.
    ended: Signal,
    rounds: Rounds,
    head: Mutex<Head>,
    /// Held by who changes the head.
    head_turn: TaskLock,
}

/// A change of the disk that is noted. Kept until the change is done.
#[derive(Debug)]
pub struct Noted<'a> {
    tracker: &'a Tracker,
    era: u32,
}

impl Tracker {
    /// What the file of a disk of `disk_bytes` takes, in bytes.
    pub fn file_bytes(disk_bytes: u64) -> u64 {
        let regions = disk_bytes.div_ceil(REGION_BYTES);
        PAGES_AT + regions.div_ceil(REGIONS_PER_PAGE as u64) * PAGE_BYTES as u64
    }

    /// Opens the file of a disk of `disk_bytes`, which may have grown since; a blank one begins to
    /// tell now.
    ///
    /// # Errors
    /// `Invalid` if it is something else or too small, `Newer`, `Damaged`, or as the backend's.
    pub async fn open(
        file: Checked,
        disk_bytes: u64,
    ) -> std::result::Result<Arc<Self>, StoreError> {
        if file.geometry().size < Self::file_bytes(disk_bytes) {
            return Err(StoreError::Invalid(
                "it is too small for this disk".to_owned(),
            ));
        }
        let head = read_head(&file).await?.unwrap_or_else(|| Head {
            disk_bytes,
            era: 1,
            ..Head::default()
        });
        let regions = disk_bytes.div_ceil(REGION_BYTES);
        let regions = usize::try_from(regions).expect("64 bits");
        let mut tracker = Self {
            file,
            disk_bytes,
            durable: (0..regions).map(|_| AtomicU32::new(0)).collect(),
            era: AtomicU32::new(head.era),
            under_way: Default::default(),
            ended: Signal::new(),
            rounds: Rounds::default(),
            head: Mutex::new(head.clone()),
            head_turn: TaskLock::default(),
        };
        tracker.read_pages(&head).await?;
        // A crash may have left regions of an era whose head was never written.
        let eras = tracker.durable.iter_mut().map(|era| *era.get_mut());
        let latest = eras.max().unwrap_or(0).max(head.era);
        *tracker.era.get_mut() = latest;
        let tracker = Arc::new(tracker);
        let known = usize::try_from(head.disk_bytes.div_ceil(REGION_BYTES)).expect("64 bits");
        if head.generation > 0 && known < regions {
            // What was added was never told of, so it counts as changed.
            tracker.settle(known..regions).await?;
        }
        if head.generation == 0 || head.disk_bytes != disk_bytes {
            tracker.write_head(&head).await?;
        }
        Ok(tracker)
    }

    /// Notes that `at` will be changed; returns once a power loss cannot make that unknown.
    ///
    /// # Errors
    /// If the file cannot be written. Then nothing in `at` may be changed.
    pub async fn note(self: &Arc<Self>, at: Extent) -> Result<Noted<'_>> {
        let noted = self.begin();
        if at.is_empty() {
            return Ok(noted);
        }
        let regions = self.regions(at);
        let is_known = |era: &AtomicU32| era.load(Ordering::Acquire) >= noted.era;
        if !self.durable[regions.clone()].iter().all(is_known) {
            self.settle(regions).await?;
        }
        Ok(noted)
    }

    /// The bitmaps, by name.
    pub fn bitmaps(&self) -> Vec<TrackedBitmap> {
        let mut bitmaps = self.lock().bitmaps.clone();
        bitmaps.sort_by(|a, b| a.name.cmp(&b.name));
        bitmaps
    }

    /// What of `at` has changed since `mark`, from its start on, in at most `runs_max` runs.
    pub fn changes(&self, mark: Mark, at: Extent, runs_max: usize) -> Vec<StatusRun> {
        let mut runs = Vec::new();
        for region in self.regions(at) {
            let start = (region as u64 * REGION_BYTES).max(at.offset());
            let end = ((region as u64 + 1) * REGION_BYTES).min(at.end());
            let era = self.durable[region].load(Ordering::Acquire);
            let run = StatusRun {
                bytes: end - start,
                status: if era >= mark.0 {
                    Status::Dirty
                } else {
                    Status::Clean
                },
            };
            if !run.add_to(&mut runs, runs_max) {
                break;
            }
        }
        runs
    }

    /// Makes the bitmap `name`, or has it begin anew: it tells what is changed from `now` on. What
    /// was under way has ended when this returns.
    ///
    /// # Errors
    /// `Exists` or `NotFound`, `Invalid` for the name or the 33rd bitmap, or as the backend's.
    pub async fn begin_bitmap(
        &self,
        name: &str,
        now: u64,
        is_new: bool,
    ) -> std::result::Result<(), StoreError> {
        BitmapName::new("disk", name)?;
        let _turn = self.head_turn.lock().await;
        let mut head = self.lock().clone();
        let found = head.bitmaps.iter().position(|bitmap| bitmap.name == name);
        match (found, is_new) {
            (Some(_), true) => return Err(StoreError::Exists(name.to_owned())),
            (None, false) => return Err(StoreError::NotFound(name.to_owned())),
            (None, true) if head.bitmaps.len() >= BITMAPS_MAX => {
                let why = format!("there are {BITMAPS_MAX} bitmaps already; delete one");
                return Err(StoreError::Invalid(why));
            }
            (Some(index), false) => drop(head.bitmaps.remove(index)),
            (None, true) => {}
        }
        let old = self.era.load(Ordering::SeqCst);
        let why = || StoreError::Invalid("the file has told of 2^32 bitmaps; make another".into());
        head.era = old.checked_add(1).ok_or_else(why)?;
        head.bitmaps.push(TrackedBitmap {
            name: name.to_owned(),
            era: head.era,
            since: now,
        });
        self.write_head(&head).await?;
        self.era.store(head.era, Ordering::SeqCst);
        // What began before is noted as of before, so it has to be done before anybody reads the
        // disk and takes that for the state that the bitmap begins with.
        let counted = &self.under_way[parity(old)];
        let is_over = || (counted.load(Ordering::SeqCst) == 0).then_some(());
        self.ended.wait_for(is_over).await;
        Ok(())
    }

    /// Deletes the bitmap `name`.
    ///
    /// # Errors
    /// `NotFound`, or as the backend's.
    pub async fn delete_bitmap(&self, name: &str) -> std::result::Result<(), StoreError> {
        let _turn = self.head_turn.lock().await;
        let mut head = self.lock().clone();
        let before = head.bitmaps.len();
        head.bitmaps.retain(|bitmap| bitmap.name != name);
        if head.bitmaps.len() == before {
            return Err(StoreError::NotFound(name.to_owned()));
        }
        self.write_head(&head).await
    }

    /// Counts a change as under way in the era that is now.
    fn begin(&self) -> Noted<'_> {
        loop {
            let era = self.era.load(Ordering::SeqCst);
            self.under_way[parity(era)].fetch_add(1, Ordering::SeqCst);
            let noted = Noted { tracker: self, era };
            // If an era began in between, nobody may have waited for this.
            if self.era.load(Ordering::SeqCst) == era {
                return noted;
            }
        }
    }

    /// Has the file say that `regions` are written in the era that is now.
    async fn settle(self: &Arc<Self>, regions: Range<usize>) -> Result<()> {
        self.rounds.join(regions, || Arc::clone(self)).await
    }

    /// Writes the pages of `ranges`, and flushes.
    async fn write_pages(&self, ranges: &[Range<usize>]) -> Result<()> {
        let era = self.era.load(Ordering::SeqCst);
        let mut pages: Vec<usize> = Vec::new();
        for range in ranges {
            pages.extend(range.start / REGIONS_PER_PAGE..=(range.end - 1) / REGIONS_PER_PAGE);
        }
        pages.sort_unstable();
        pages.dedup();
        for page in pages {
            let first = page * REGIONS_PER_PAGE;
            let end = self.durable.len().min(first + REGIONS_PER_PAGE);
            let known = self.durable[first..end].iter();
            let mut eras: Vec<u32> = known.map(|era| era.load(Ordering::Relaxed)).collect();
            for range in ranges {
                let (from, to) = (range.start.max(first), range.end.min(end));
                if from < to {
                    eras[from - first..to - first].fill(era);
                }
            }
            let bytes = page::encode(page, &eras);
            let offset = PAGES_AT + page as u64 * PAGE_BYTES as u64;
            self.file.write(offset, Buf::from(&bytes[..])).await?;
        }
        self.file.flush().await?;
        for range in ranges {
            for region in &self.durable[range.clone()] {
                region.store(era, Ordering::Release);
            }
        }
        Ok(())
    }

    async fn read_pages(&self, head: &Head) -> Result<()> {
        let mut at = PAGES_AT;
        let pages: Vec<&[AtomicU32]> = self.durable.chunks(REGIONS_PER_PAGE).collect();
        for (index, some) in pages.chunks(PAGES_PER_READ).enumerate() {
            let end = at + (some.len() * PAGE_BYTES) as u64;
            let bytes = self
                .file
                .read(Extent::between(at, end), Buf::new(some.len() * PAGE_BYTES));
            let bytes = bytes.await?;
            for (within, (eras, bytes)) in some.iter().zip(bytes.chunks(PAGE_BYTES)).enumerate() {
                let page = index * PAGES_PER_READ + within;
                if !page::decode(page, bytes, eras) {
                    let regions = eras.len();
                    tracing::warn!(
                        page,
                        regions,
                        "a page is torn: its regions count as changed"
                    );
                    eras.iter()
                        .for_each(|era| era.store(head.era, Ordering::Relaxed));
                }
            }
            at = end;
        }
        Ok(())
    }

    /// Makes `head` durable, and what counts.
    async fn write_head(&self, head: &Head) -> std::result::Result<(), StoreError> {
        let generation = self.lock().generation + 1;
        let head = Head {
            generation,
            disk_bytes: self.disk_bytes,
            ..head.clone()
        };
        let at = generation % 2 * HEAD_BYTES as u64;
        self.file.write(at, Buf::from(&head.encode()[..])).await?;
        self.file.flush().await?;
        *self.lock() = head;
        Ok(())
    }

    fn regions(&self, at: Extent) -> Range<usize> {
        let index = |offset: u64| usize::try_from(offset / REGION_BYTES).expect("64 bits");
        index(at.offset())..index(at.end() - 1) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("Tracker");
        let told = told.field("disk_bytes", &self.disk_bytes);
        told.field("head", &self.head).finish_non_exhaustive()
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let left = self.tracker.under_way[parity(self.era)].fetch_sub(1, Ordering::SeqCst);
        if left == 1 {
            self.tracker.ended.wake_all();
        }
    }
}

fn parity(era: u32) -> usize {
    usize::from(era % 2 == 1)
}

/// The newest head; `None` if nothing was ever written.
async fn read_head(file: &Checked) -> std::result::Result<Option<Head>, StoreError> {
    let both = Extent::between(0, PAGES_AT);
    let bytes = file.read(both, Buf::new(both.len())).await?;
    let (one, other) = bytes.split_at(HEAD_BYTES);
    match (Head::decode(one), Head::decode(other)) {
        (Ok(one), Ok(other)) if one.generation > other.generation => Ok(Some(one)),
        (_, Ok(head)) | (Ok(head), _) => Ok(Some(head)),
        (Err(BadHead::Newer), _) | (_, Err(BadHead::Newer)) => {
            let why = "it was written by a newer version of this program";
            Err(StoreError::Invalid(why.to_owned()))
        }
        _ if never_began(one, other) => Ok(None),
        _ => {
            let why = "it holds something else, or is damaged";
            Err(StoreError::Invalid(why.to_owned()))
        }
    }
}

/// Whether both slots are blank, but for what a power loss left of the very first head, without
/// bitmaps: it goes into the other slot, and what of it is not zero stands in the first and the
/// last sector.
fn never_began(one: &[u8], other: &[u8]) -> bool {
    const SECTOR: usize = 512;
    let is_blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let begins = other.starts_with(MAGIC) || is_blank(&other[..SECTOR]);
    is_blank(one) && is_blank(&other[SECTOR..HEAD_BYTES - SECTOR]) && begins
}
