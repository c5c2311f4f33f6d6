//! An open image, and who may write to it.
//!
//! A writer holds the image's exclusive lock, and keeps it: a second one is refused. Where the
//! holder does not answer it is fenced: the cluster takes nothing more from it, whatever it still
//! has under way, and only then is the lock taken. So there are never two writers, even if the
//! first was only asleep (`rbd(8)`, exclusive locks; `rbd_lock_break` in librbd.h).
//!
//! Everything here blocks; it runs on threads that may.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::ptr;
use std::sync::Arc;

use super::cluster::{Cluster, Pool, c_string, check};
use super::library::{FEATURE_EXCLUSIVE_LOCK, ImagePtr, LOCK_EXCLUSIVE};
use super::place::RbdPlace;
use super::size_watch::SizeWatch;
use crate::backend::Access;
use crate::base::{Extent, OpenError};
use crate::env;

/// Owners of a lock that are looked at: an exclusive one has one.
const OWNERS_MAX: usize = 4;

/// Room for what is told of those who have locked an image, in bytes each: some dozens.
const LOCKER_BYTES: usize = 4096;

/// An open image. It is closed when nobody uses it any more, on a thread of its own: closing waits
/// for what is under way.
pub(super) struct Image {
    open: Option<Open>,
}

struct Open {
    pool: Pool,
    handle: ImagePtr,
    /// Told of changes as long as the image is open.
    size: Arc<SizeWatch>,
    /// By which librbd knows that.
    watch: u64,
}

// SAFETY: librbd serializes what threads do with an image (librbd.h: an image may be used from
// several threads).
unsafe impl Send for Open {}
// SAFETY: as above.
unsafe impl Sync for Open {}

impl Image {
    /// Opens the image, without its lock.
    ///
    /// # Errors
    /// One line that says what is missing or who does not answer.
    pub(super) fn open(place: &RbdPlace, access: Access) -> Result<Self, OpenError> {
        let pool = Cluster::of(place)?.pool(place)?;
        let (functions, name) = (pool.cluster.functions, c_string(&place.image));
        let open = match access {
            Access::Read => functions.rbd_open_read_only,
            Access::Write => functions.rbd_open,
        };
        let mut handle = ptr::null_mut();
        // SAFETY: the pool is open, the name ends with zero, no snapshot is named.
        let opened = unsafe { open(pool.handle, name.as_ptr(), &raw mut handle, ptr::null()) };
        check(opened).map_err(|error| {
            let (why, remedy) = match error.raw_os_error() {
                Some(libc::ENOENT) => (
                    "there is no such image".to_owned(),
                    "'rbd ls POOL' lists those that are there; --size SIZE makes one",
                ),
                _ => (
                    format!("it cannot be opened: {error}"),
                    "see what 'ceph -s' says",
                ),
            };
            OpenError::new(place.to_string(), why, remedy)
        })?;
        let (size, mut watch) = (Arc::new(SizeWatch::new()), 0);
        let told = Arc::as_ptr(&size).cast_mut().cast::<c_void>();
        let update_watch = functions.rbd_update_watch;
        // SAFETY: the image is open; what librbd is to tell stays until it is told not to.
        let watched = unsafe { update_watch(handle, &raw mut watch, SizeWatch::note_change, told) };
        let open = Open {
            pool,
            handle,
            size,
            watch,
        };
        let image = Self { open: Some(open) };
        check(watched).map_err(|error| {
            let why = format!("it cannot be watched: {error}");
            OpenError::new(place.to_string(), why, "see what 'ceph -s' says")
        })?;
        Ok(image)
    }

    pub(super) fn handle(&self) -> ImagePtr {
        self.there().handle
    }

    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.there().pool.cluster
    }

    fn there(&self) -> &Open {
        self.open.as_ref().expect("open until it is dropped")
    }

    /// How large it is, in bytes, for those who must not wait.
    pub(super) fn size_watch(&self) -> &Arc<SizeWatch> {
        &self.there().size
    }

    /// How large it is, in bytes. Waits for the cluster if somebody has changed the image.
    ///
    /// # Errors
    /// If the connection was fenced.
    pub(super) fn size(&self) -> io::Result<u64> {
        let mut size = 0;
        let get_size = self.cluster().functions.rbd_get_size;
        // SAFETY: the image is open.
        check(unsafe { get_size(self.handle(), &raw mut size) })?;
        Ok(size)
    }

    /// Whether the image can be locked.
    ///
    /// # Errors
    /// If the cluster does not say.
    pub(super) fn has_locks(&self) -> io::Result<bool> {
        let mut features = 0;
        let get_features = self.cluster().functions.rbd_get_features;
        // SAFETY: the image is open.
        check(unsafe { get_features(self.handle(), &raw mut features) })?;
        Ok(features & FEATURE_EXCLUSIVE_LOCK != 0)
    }

    /// Takes the lock for good. A holder that answers refuses at once; for one that does not this
    /// waits until the lock is broken.
    ///
    /// # Errors
    /// `EROFS` if somebody has it.
    pub(super) fn lock(&self) -> io::Result<()> {
        let acquire = self.cluster().functions.rbd_lock_acquire;
        // SAFETY: the image is open.
        check(unsafe { acquire(self.handle(), LOCK_EXCLUSIVE) })
    }

    /// Whether this still has the lock. Asks the cluster, and waits for it.
    pub(super) fn has_lock(&self) -> bool {
        let is_owner = self.cluster().functions.rbd_is_exclusive_lock_owner;
        let mut yes: c_int = 0;
        // SAFETY: the image is open.
        check(unsafe { is_owner(self.handle(), &raw mut yes) }).is_ok() && yes != 0
    }

    /// Who holds the lock, by address.
    ///
    /// # Errors
    /// If the cluster does not say.
    pub(super) fn owners(&self) -> io::Result<Vec<String>> {
        let functions = self.cluster().functions;
        let mut mode: c_int = 0;
        let mut owners = [ptr::null_mut::<c_char>(); OWNERS_MAX];
        let mut count = OWNERS_MAX;
        // SAFETY: the image is open, and there is room for `count` owners.
        let got = unsafe {
            (functions.rbd_lock_get_owners)(
                self.handle(),
                &raw mut mode,
                owners.as_mut_ptr(),
                &raw mut count,
            )
        };
        match check(got) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
            other => other?,
        }
        let named = owners[..count].iter().map(|owner| {
            // SAFETY: the library filled in `count` strings, which end with zero.
            unsafe { CStr::from_ptr(*owner) }
                .to_string_lossy()
                .into_owned()
        });
        let named = named.collect();
        // SAFETY: they are as the library gave them, and nobody uses them any more.
        unsafe { (functions.rbd_lock_get_owners_cleanup)(owners.as_mut_ptr(), count) };
        Ok(named)
    }

    /// The address of whoever has locked the image, also where it is open only to be read: there
    /// librbd does not tell [`owners`](Self::owners).
    ///
    /// # Errors
    /// If the cluster does not say.
    pub(super) fn locker(&self) -> io::Result<Option<String>> {
        let list = self.cluster().functions.rbd_list_lockers;
        let mut exclusive: c_int = 0;
        let mut texts = [[0 as c_char; LOCKER_BYTES]; 4];
        let mut lens = [LOCKER_BYTES; 4];
        let [tag, clients, cookies, addresses] = &mut texts;
        let [tag_len, clients_len, cookies_len, addresses_len] = &mut lens;
        // SAFETY: the image is open, and there is as much room as each length says.
        let count = unsafe {
            list(
                self.handle(),
                &raw mut exclusive,
                tag.as_mut_ptr(),
                tag_len,
                clients.as_mut_ptr(),
                clients_len,
                cookies.as_mut_ptr(),
                cookies_len,
                addresses.as_mut_ptr(),
                addresses_len,
            )
        };
        if count <= 0 {
            let error = i32::try_from(count).unwrap_or(-libc::EIO);
            return check(error).map(|()| None);
        }
        addresses[LOCKER_BYTES - 1] = 0;
        // SAFETY: strings that end with zero, one after the other, or the end that was set above.
        let address = unsafe { CStr::from_ptr(addresses.as_ptr()) };
        Ok(Some(address.to_string_lossy().into_owned()))
    }

    /// Fences whoever holds the lock, and takes it from them.
    ///
    /// # Errors
    /// If the cluster does not do it.
    pub(super) fn break_lock(&self) -> io::Result<()> {
        for owner in self.owners()? {
            tracing::warn!(
                image = owner,
                "the holder of a lock does not answer and is fenced"
            );
            let owner = CString::new(owner).expect("it was such a string");
            let break_lock = self.cluster().functions.rbd_lock_break;
            // SAFETY: the image is open, the name ends with zero.
            let broken = unsafe { break_lock(self.handle(), LOCK_EXCLUSIVE, owner.as_ptr()) };
            match check(broken) {
                // It has let go by itself.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Gives the image another size.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub(super) fn resize(&self, size: u64) -> io::Result<()> {
        let resize = self.cluster().functions.rbd_resize;
        // SAFETY: the image is open.
        check(unsafe { resize(self.handle(), size) })
    }

    /// The extents inside `at` of which there is something, in order. Objects that are there
    /// count as a whole.
    ///
    /// # Errors
    /// If the cluster does not say.
    pub(super) fn extents(&self, at: Extent) -> io::Result<Vec<Extent>> {
        unsafe extern "C" fn note(
            offset: u64,
            len: usize,
            exists: c_int,
            to: *mut c_void,
        ) -> c_int {
            // SAFETY: it is the vector below, which nobody else uses until the call ends.
            let found = unsafe { &mut *to.cast::<Vec<Extent>>() };
            if exists != 0 {
                found.push(Extent::between(offset, offset + len as u64));
            }
            0
        }
        let mut found: Vec<Extent> = Vec::new();
        let iterate = self.cluster().functions.rbd_diff_iterate2;
        let (parents, whole_objects) = (1, 1);
        // SAFETY: the image is open; the callback is called before this returns, with the vector.
        let done = unsafe {
            iterate(
                self.handle(),
                ptr::null(),
                at.offset(),
                at.bytes(),
                parents,
                whole_objects,
                note,
                (&raw mut found).cast(),
            )
        };
        check(done)?;
        Ok(found)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let open = self.open.take().expect("dropped once");
        // This may be a thread of librbd, which must not wait for librbd.
        env::detached(move || {
            let functions = open.pool.cluster.functions;
            // SAFETY: nothing uses the image any more: operations keep it. Should it not have been
            // watched, librbd says so.
            unsafe {
                (functions.rbd_update_unwatch)(open.handle, open.watch);
                (functions.rbd_close)(open.handle);
            }
            drop(open);
        });
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Image")
    }
}
