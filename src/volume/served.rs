//! A store whose volumes are offered, and what may not be done to a volume that is in use.
//!
//! What there is, and under which name, is the store's to say, so there is no second list that
//! could differ from it. Kept here is only which volumes are in use: by their identity, which
//! outlives a name, and each once, since one [`StoredDisk`] keeps the requests of all its users
//! apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lease::Lease;
use super::meter::Meter;
use super::qos::QosTable;
use super::users::{Purpose, UserCount};
use super::{Access, StoredDisk, Volume};
use crate::base::limits::LEAVE_TIMEOUT;
use crate::env;
use crate::env::Signal;
use crate::store;
use crate::store::{Store, StoreError, TreeName};

/// A store whose volumes and snapshots are offered as `NAME/VOL` and `NAME/VOL@SNAP`. Shared by
/// all threads.
#[derive(Debug)]
pub struct Served {
    name: String,
    url: String,
    store: Arc<Store>,
    /// The limits of its volumes, by the names of their exports.
    qos: Arc<QosTable>,
    desk: Mutex<Desk>,
    /// Somebody has left, or is not in the way any more.
    left: Signal,
}

#[derive(Debug, Default)]
struct Desk {
    /// Volumes and snapshots in use, by identity.
    open: BTreeMap<u32, Arc<Volume>>,
    /// Those that nobody may begin to use.
    held: BTreeSet<u32>,
    /// The requests of those that were used, by identity.
    meters: BTreeMap<u32, Arc<Meter>>,
    /// Nobody may begin to use any.
    is_closing: bool,
}

/// Keeps everybody from beginning to use a volume, until this is dropped.
struct Hold<'a> {
    served: &'a Served,
    id: u32,
}

impl Served {
    pub(super) fn new(
        name: String,
        url: String,
        store: Arc<Store>,
        qos: Arc<QosTable>,
    ) -> Arc<Self> {
        Arc::new(Self {
            qos,
            name,
            url,
            store,
            desk: Mutex::default(),
            left: Signal::new(),
        })
    }

    /// What the store is called here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the store is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What clients call the volume or snapshot `tree`.
    pub fn export_name(&self, tree: &TreeName) -> String {
        format!("{}/{tree}", self.name)
    }

    /// The names of all that is offered.
    pub(super) fn names(&self) -> Vec<String> {
        if self.desk().is_closing {
            return Vec::new();
        }
        let trees = self.store.list();
        let names = trees.iter().map(|tree| self.export_name(&tree.name));
        names.collect()
    }

    /// The volume or snapshot `tree`, to be looked at only.
    pub(super) fn look(&self, tree: &TreeName) -> Option<Arc<Volume>> {
        let desk = self.desk();
        self.find(&desk, tree).map(|(_, volume)| volume)
    }

    /// The volume or snapshot `tree`, to be used. `None` if it is not there, or going away.
    pub fn open(self: &Arc<Self>, tree: &TreeName, purpose: Purpose) -> Option<Lease> {
        let mut desk = self.desk();
        let (id, volume) = self.find(&desk, tree)?;
        desk.open.insert(id, Arc::clone(&volume));
        desk.meters.insert(id, Arc::clone(&volume.meter));
        Some(Lease::new(volume, purpose, Some(Arc::clone(self))))
    }

    /// What was used of all that is offered, by name, and the requests of it.
    pub(super) fn meters(&self) -> Vec<(String, Arc<Meter>)> {
        let there = self.store.list();
        let mut desk = self.desk();
        let mut found = Vec::new();
        for tree in there {
            if let Ok(disk) = self.store.disk(&tree.name)
                && let Some(meter) = desk.meters.get(&disk.id())
            {
                found.push((disk.id(), self.export_name(&tree.name), Arc::clone(meter)));
            }
        }
        // What was deleted is told no more.
        desk.meters = found
            .iter()
            .map(|(id, _, meter)| (*id, Arc::clone(meter)))
            .collect();
        found
            .into_iter()
            .map(|(_, name, meter)| (name, meter))
            .collect()
    }

    /// Who uses what, by name.
    pub fn users(&self) -> BTreeMap<String, UserCount> {
        let desk = self.desk();
        let open = desk.open.values();
        let users = open.map(|volume| (volume.name().to_string(), volume.users.count()));
        users.collect()
    }

    /// How many use anything of it.
    pub fn user_count(&self) -> UserCount {
        let users = self.users().into_values();
        users.fold(UserCount::default(), UserCount::plus)
    }

    /// Deletes a volume or snapshot that nobody uses.
    ///
    /// # Errors
    /// `InUse` if somebody does, else as [`Store::delete`].
    pub async fn delete(&self, tree: &TreeName) -> Result<(), StoreError> {
        let disk = self.store.disk(tree)?;
        let _hold = self.hold(&disk).await?;
        self.store.delete_disk(tree, &disk).await
    }

    /// Gives volume `from` the name of `to`; deletes what has it, if that is to be `replaced`.
    ///
    /// # Errors
    /// `InUse` if somebody uses what is replaced, `Exists`, `NotFound`.
    pub async fn rename(&self, from: &str, to: &str, replaced: bool) -> Result<(), StoreError> {
        let old = match self.store.disk(&TreeName::volume(to)?) {
            Ok(disk) if replaced => Some(disk),
            _ => None,
        };
        let _hold = match &old {
            Some(disk) => Some(self.hold(disk).await?),
            None => None,
        };
        self.store.replace(from, to, old.as_ref()).await?;
        let (from, to) = (
            format!("{}/{from}", self.name),
            format!("{}/{to}", self.name),
        );
        self.qos.rename(&from, &to);
        for volume in self.desk().open.values() {
            volume.follow_rename(&from, &to);
        }
        Ok(())
    }

    /// Makes a volume larger; gives the connections that it has.
    ///
    /// # Errors
    /// As [`Store::resize`].
    pub async fn resize(self: &Arc<Self>, tree: &TreeName, size: u64) -> Result<usize, StoreError> {
        let missing = || StoreError::NotFound(tree.to_string());
        let lease = self.open(tree, Purpose::Job).ok_or_else(missing)?;
        let disk = lease.stored().ok_or_else(missing)?;
        disk.resize(&self.store, tree, size).await?;
        Ok(lease.users.count().connections)
    }

    /// Gives a volume that nobody uses the content of one of its snapshots.
    ///
    /// # Errors
    /// `InUse` if somebody does, else as [`Store::rollback`].
    pub async fn rollback(&self, snapshot: &TreeName) -> Result<(), StoreError> {
        self.store.disk(snapshot)?;
        let volume = TreeName::volume(snapshot.volume_name())?;
        let disk = self.store.disk(&volume)?;
        let _hold = self.hold(&disk).await?;
        self.store.rollback_disk(snapshot, &disk).await
    }

    /// Offers nothing any more, once nobody uses anything.
    ///
    /// # Errors
    /// `InUse` if somebody stays, or if somebody else is at it; then everything is as before.
    pub async fn withdraw(&self) -> Result<(), StoreError> {
        self.begin_closing()?;
        let nobody = || self.desk().open.is_empty().then_some(());
        let gone = env::timeout(LEAVE_TIMEOUT, self.left.wait_for(nobody)).await;
        let users = self.user_count();
        if gone.is_some() || users.is_zero() {
            return Ok(());
        }
        self.desk().is_closing = false;
        Err(in_use(users))
    }

    /// Offers nothing any more, asks those who use something to leave, and waits until they have;
    /// gives the connections that there were.
    ///
    /// # Errors
    /// `InUse` if somebody else is at it, or if there are jobs or devices, which do not leave.
    pub async fn dismiss(&self) -> Result<usize, StoreError> {
        self.begin_closing()?;
        let users = self.user_count();
        let connections = users.connections;
        let others = UserCount {
            connections: 0,
            ..users
        };
        if !others.is_zero() {
            self.desk().is_closing = false;
            return Err(in_use(others));
        }
        for volume in self.desk().open.values() {
            volume.users.ask_to_leave();
        }
        let nobody = || self.desk().open.is_empty().then_some(());
        self.left.wait_for(nobody).await;
        Ok(connections)
    }

    fn begin_closing(&self) -> Result<(), StoreError> {
        match std::mem::replace(&mut self.desk().is_closing, true) {
            false => Ok(()),
            true => Err(StoreError::InUse("another command closes it".to_owned())),
        }
    }

    /// Notes that a user of `volume` has left.
    pub(super) fn give_back(&self, volume: &Arc<Volume>, purpose: Purpose) {
        {
            let mut desk = self.desk();
            volume.users.go(purpose);
            if volume.users.count().is_zero() {
                desk.open.retain(|_, open| !Arc::ptr_eq(open, volume));
            }
        }
        self.left.wake_all();
    }

    /// Waits until nobody uses `disk`, for a moment: a client that has gone is noticed a little
    /// later than it believes.
    async fn hold(&self, disk: &store::Disk) -> Result<Hold<'_>, StoreError> {
        let id = disk.id();
        let mut users = UserCount::default();
        let take = || {
            let mut desk = self.desk();
            let of_it = desk.open.get(&id).map(|volume| volume.users.count());
            users = of_it.unwrap_or_default();
            (users.is_zero() && desk.held.insert(id)).then_some(())
        };
        match env::timeout(LEAVE_TIMEOUT, self.left.wait_for(take)).await {
            Some(()) => Ok(Hold { served: self, id }),
            None if users.is_zero() => {
                let why = "another command works on it";
                Err(StoreError::InUse(why.to_owned()))
            }
            None => Err(in_use(users)),
        }
    }

    fn find(&self, desk: &Desk, tree: &TreeName) -> Option<(u32, Arc<Volume>)> {
        let disk = self.store.disk(tree).ok()?;
        let id = disk.id();
        if desk.is_closing || desk.held.contains(&id) {
            return None;
        }
        let open = desk.open.get(&id).cloned();
        Some((
            id,
            open.unwrap_or_else(|| {
                let meter = desk.meters.get(&id).cloned().unwrap_or_default();
                Arc::new(self.volume(tree, disk).metered_by(meter))
            }),
        ))
    }

    fn volume(&self, tree: &TreeName, disk: store::Disk) -> Volume {
        let (access, what) = match disk.is_writable() {
            true => (Access::Write, "volume"),
            false => (Access::Read, "snapshot"),
        };
        let description = format!("{what} of store {}", self.name);
        let disk = StoredDisk::new(disk);
        let name = self.export_name(tree);
        let limits = self.qos.of(&name);
        Volume::new(name, description, access, disk).limited_by(limits)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.served.desk().held.remove(&self.id);
        self.served.left.wake_all();
    }
}

fn in_use(users: UserCount) -> StoreError {
    let verb = match users.connections + users.jobs + users.devices {
        1 => "has it open",
        _ => "have it open",
    };
    StoreError::InUse(format!("{users} {verb}"))
}
