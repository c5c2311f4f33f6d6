//! A connection to a Ceph cluster: one for all images that are reached the same way.
//!
//! Each connection has a dozen threads of its own, so there is one a process. Everything here
//! blocks; it runs on threads that may.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::library::{Functions, IoCtx, Rados, functions};
use super::place::RbdPlace;
use crate::base::OpenError;

/// What is set in every connection, whatever the configuration says.
const OPTIONS: &[(&CStr, &CStr)] = &[
    // The default is five minutes, which nobody who has mistyped an address waits for.
    (c"client_mount_timeout", c"10"),
    (c"rados_mon_op_timeout", c"10"),
    // How soon requests go on after an OSD has come back; the default is 5 s.
    (c"objecter_tick_interval", c"0.5"),
    // What is answered is in the cluster. Batching is done above, and better.
    (c"rbd_cache", c"false"),
    // Buffers stay as they are until their operation ends, so they need not be copied: a write of
    // 1 MiB is then submitted in 20 us instead of 200.
    (c"rbd_disable_zero_copy_writes", c"false"),
    // What is wrong is told by us, on one line.
    (c"err_to_stderr", c"false"),
    (c"log_to_stderr", c"false"),
];

/// A connection to a cluster.
pub(super) struct Cluster {
    pub(super) functions: &'static Functions,
    handle: Rados,
    /// The cluster takes nothing more from this connection.
    fenced: AtomicBool,
    /// Held while the cluster is asked to.
    fencing: Mutex<()>,
}

// SAFETY: librados serializes what its threads and ours do with a connection (librados.h: handles
// may be used from several threads).
unsafe impl Send for Cluster {}
// SAFETY: as above.
unsafe impl Sync for Cluster {}

/// A pool, or a namespace in it, in use.
pub(super) struct Pool {
    pub(super) cluster: Arc<Cluster>,
    pub(super) handle: IoCtx,
}

// SAFETY: as for Cluster.
unsafe impl Send for Pool {}
// SAFETY: as for Cluster.
unsafe impl Sync for Pool {}

type Way = (Option<PathBuf>, Option<String>);

static CLUSTERS: Mutex<BTreeMap<Way, Weak<Cluster>>> = Mutex::new(BTreeMap::new());

impl Cluster {
    /// The connection for `place`: one that is there, or a new one.
    ///
    /// # Errors
    /// One line that says what is missing or who does not answer, and what to do.
    pub(super) fn of(place: &RbdPlace) -> Result<Arc<Self>, OpenError> {
        let way = (place.conf.clone(), place.id.clone());
        let known = || CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |cluster: &Arc<Self>| !cluster.is_fenced();
        let there = known().get(&way).and_then(Weak::upgrade).filter(usable);
        if let Some(cluster) = there {
            return Ok(cluster);
        }
        let cluster = Arc::new(Self::connect(place)?);
        known().insert(way, Arc::downgrade(&cluster));
        Ok(cluster)
    }

    fn connect(place: &RbdPlace) -> Result<Self, OpenError> {
        let what = place.to_string();
        let refused = |why: String, remedy| OpenError::new(&what, why, remedy);
        let functions = functions().map_err(|error| {
            let remedy = "install librbd, on Debian with: apt-get install librbd1";
            refused(format!("Ceph's library cannot be loaded: {error}"), remedy)
        })?;
        let mut handle = ptr::null_mut();
        let user = format!("client.{}", place.id.as_deref().unwrap_or("admin"));
        let name = c_string(&user);
        // SAFETY: the strings end with zero and outlive the call; the cluster's name is the usual.
        let made = unsafe {
            (functions.rados_create2)(&raw mut handle, c"ceph".as_ptr(), name.as_ptr(), 0)
        };
        check(made).map_err(|error| refused(format!("no connection can be made: {error}"), ""))?;
        let cluster = Self {
            functions,
            handle,
            fenced: AtomicBool::new(false),
            fencing: Mutex::new(()),
        };
        cluster.configure(place.conf.as_deref(), &what)?;
        // SAFETY: the handle was made above.
        check(unsafe { (functions.rados_connect)(handle) }).map_err(|error| {
            let (why, remedy) = match error.raw_os_error() {
                Some(libc::ETIMEDOUT) => (
                    "no monitor answers".to_owned(),
                    "see whether mon_host in the configuration is right and the cluster runs",
                ),
                Some(libc::EACCES | libc::EPERM) => (
                    format!("the cluster refuses the key of {user}"),
                    "name another user with ?id=USER, or give this one its keyring",
                ),
                Some(libc::ENOENT) => (
                    format!("there is no key of {user}, or no address of a monitor"),
                    "see keyring and mon_host in the configuration, or name the user with ?id=USER",
                ),
                Some(libc::EOPNOTSUPP) => (
                    "the cluster wants another kind of authentication".to_owned(),
                    "see auth_client_required in the configuration",
                ),
                _ => (
                    format!("the cluster cannot be reached: {error}"),
                    "see whether mon_host in the configuration is right and the cluster runs",
                ),
            };
            refused(why, remedy)
        })?;
        Ok(cluster)
    }

    fn configure(&self, conf: Option<&Path>, what: &str) -> Result<(), OpenError> {
        use std::os::unix::ffi::OsStrExt;
        let Self {
            functions, handle, ..
        } = self;
        let path = conf.map(|conf| CString::new(conf.as_os_str().as_bytes()).expect("no zeroes"));
        let pointer = path.as_ref().map_or(ptr::null(), |path| path.as_ptr());
        // SAFETY: the handle is there, the path ends with zero; without one the library looks
        // where it always looks.
        check(unsafe { (functions.rados_conf_read_file)(*handle, pointer) }).map_err(|error| {
            let file = match conf {
                Some(conf) => conf.display().to_string(),
                None => "the configuration of Ceph".to_owned(),
            };
            let why = format!("{file} cannot be read: {error}");
            OpenError::new(what, why, "name it with ?conf=FILE or CEPH_CONF")
        })?;
        // SAFETY: the handle is there; without a name CEPH_ARGS is read.
        unsafe { (functions.rados_conf_parse_env)(*handle, ptr::null()) };
        for (key, value) in OPTIONS {
            // SAFETY: the handle is there and the strings end with zero. An option that a version
            // does not have is none that it needs.
            unsafe { (functions.rados_conf_set)(*handle, key.as_ptr(), value.as_ptr()) };
        }
        Ok(())
    }

    /// The pool, and the namespace in it, that `place` is in.
    ///
    /// # Errors
    /// One line that says what is missing.
    pub(super) fn pool(self: &Arc<Self>, place: &RbdPlace) -> Result<Pool, OpenError> {
        let (functions, name) = (self.functions, c_string(&place.pool));
        let mut handle = ptr::null_mut();
        // SAFETY: the connection is there, the name ends with zero.
        let made =
            unsafe { (functions.rados_ioctx_create)(self.handle, name.as_ptr(), &raw mut handle) };
        check(made).map_err(|error| {
            let why = match error.raw_os_error() {
                Some(libc::ENOENT) => format!("there is no pool {}", place.pool),
                _ => format!("pool {} cannot be used: {error}", place.pool),
            };
            OpenError::new(
                place.to_string(),
                why,
                "'ceph osd pool ls' lists those that are there",
            )
        })?;
        if let Some(namespace) = &place.namespace {
            let namespace = c_string(namespace);
            // SAFETY: the pool was opened above, the name ends with zero.
            unsafe { (functions.rados_ioctx_set_namespace)(handle, namespace.as_ptr()) };
        }
        // A write that a full pool has no room for then fails with ENOSPC or EDQUOT; else it would
        // wait without end, and opening with it. What needs no more room goes on.
        // SAFETY: the pool was opened above.
        unsafe { (functions.rados_set_pool_full_try)(handle) };
        let cluster = Arc::clone(self);
        Ok(Pool { cluster, handle })
    }

    /// Whether the cluster takes nothing more from this connection.
    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::SeqCst)
    }

    /// Notes that the cluster takes nothing more from this connection; whether that is new.
    pub(super) fn note_fenced(&self) -> bool {
        !self.fenced.swap(true, Ordering::SeqCst)
    }

    /// Has the cluster take nothing more from this connection, also not what it sent before,
    /// because requests have timed out. If the monitors do not answer either, only this server
    /// knows: it sends nothing new.
    pub(super) fn fence(&self) {
        let _one = self.fencing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_fenced() {
            return;
        }
        match self.block() {
            Ok(()) => tracing::error!("requests have timed out; the cluster takes no more of them"),
            Err(error) => tracing::error!(%error, "requests have timed out, and may be done later"),
        }
        self.note_fenced();
    }

    /// Puts this connection on the cluster's list of those it takes nothing from.
    fn block(&self) -> std::io::Result<()> {
        let Self {
            functions, handle, ..
        } = self;
        let mut address = ptr::null_mut();
        // SAFETY: the connection is there; it gives a string that is freed below.
        check(unsafe { (functions.rados_getaddrs)(*handle, &raw mut address) })?;
        // SAFETY: as above. Zero stands for the usual hour.
        let added = check(unsafe { (functions.rados_blocklist_add)(*handle, address, 0) });
        // SAFETY: the library made it, and nobody uses it any more.
        unsafe { (functions.rados_buffer_free)(address) };
        added
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SAFETY: nothing uses the connection any more: pools and images keep it.
        unsafe { (self.functions.rados_shutdown)(self.handle) };
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: nothing uses the pool any more: images keep it.
        unsafe { (self.cluster.functions.rados_ioctx_destroy)(self.handle) };
    }
}

/// `text` as C wants it. Zero bytes were refused when it was read.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text).expect("no zero bytes in a place")
}

/// What a function of the libraries returned, as an error if it is one.
pub(super) fn check(result: c_int) -> std::io::Result<()> {
    match result {
        0.. => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(-error)),
    }
}
