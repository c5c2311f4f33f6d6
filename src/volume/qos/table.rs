//! Which limits are set for which volumes and groups, by their names.
//!
//! Limits are kept by name, so that they can be set for what is not there yet, and so that a volume
//! that is opened again finds its buckets as full as they were: nobody gets a new burst by coming
//! again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::Limits;
use super::{Group, Qos, Waits};

/// How many volumes are remembered before those are forgotten that are gone and had no limits.
const FORGET_ABOVE: usize = 64;

/// What is wanted of a volume: its own limits, and the group whose limits it shares.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QosSettings {
    /// What it may do alone.
    pub limits: Limits,
    /// With whom it shares.
    pub group: Option<String>,
}

/// The limits of all volumes and groups of a server. Shared by all threads.
#[derive(Debug, Default)]
pub struct QosTable {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    volumes: BTreeMap<String, Arc<Qos>>,
    groups: BTreeMap<String, Arc<Group>>,
    /// How many there are when next those without use are forgotten.
    forget_at: usize,
}

/// There is no group of this name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoSuchGroup(pub String);

impl fmt::Display for NoSuchGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no group '{}'", self.0)
    }
}

impl std::error::Error for NoSuchGroup {}

/// Why a group is not deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupStays {
    /// It is not there.
    Missing(NoSuchGroup),
    /// This volume, and maybe others, share it.
    Shared(String),
}

/// The limits of a volume, and what has had to wait for them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeQos {
    /// The volume.
    pub name: String,
    /// What was set.
    pub settings: QosSettings,
    /// What has had to wait for its own limits.
    pub waits: Waits,
}

/// The limits of a group, and what has had to wait for them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupQos {
    /// The group.
    pub name: String,
    /// What its volumes may do together.
    pub limits: Limits,
    /// The volumes that belong to it, whether they exist or not.
    pub volumes: Vec<String>,
    /// What has had to wait.
    pub waits: Waits,
}

impl QosTable {
    /// The limits of the volume `name`. To be asked for when it is opened.
    pub fn of(&self, name: &str) -> Arc<Qos> {
        Arc::clone(self.lock().volume(name))
    }

    /// Limits the volume `name` from now on, whether it exists or not.
    ///
    /// # Errors
    /// If the group is not there.
    pub fn set(&self, name: &str, settings: &QosSettings) -> Result<(), NoSuchGroup> {
        let mut entries = self.lock();
        let group = match &settings.group {
            None => None,
            Some(name) => {
                let group = entries.groups.get(name).cloned();
                Some(group.ok_or_else(|| NoSuchGroup(name.clone()))?)
            }
        };
        let qos = entries.volume(name);
        qos.join(group);
        qos.set(settings.limits);
        Ok(())
    }

    /// Limits the group `name`, which is made if it is not there, from now on.
    pub fn set_group(&self, name: &str, limits: Limits) {
        let mut entries = self.lock();
        let group = entries.groups.entry(name.to_owned());
        let group = group.or_insert_with(|| Group::new(name.to_owned()));
        group.set(limits);
    }

    /// Lifts all limits of the volume `name`.
    pub fn clear(&self, name: &str) {
        if let Some(qos) = self.lock().volumes.get(name) {
            qos.join(None);
            qos.set(Limits::default());
        }
    }

    /// Deletes the group `name`.
    ///
    /// # Errors
    /// If it is not there, or volumes share it.
    pub fn remove_group(&self, name: &str) -> Result<(), GroupStays> {
        let mut entries = self.lock();
        let group = entries.groups.get(name);
        let group = group.ok_or_else(|| GroupStays::Missing(NoSuchGroup(name.to_owned())))?;
        if let Some(member) = entries.members(group).next() {
            return Err(GroupStays::Shared(member.clone()));
        }
        entries.groups.remove(name);
        Ok(())
    }

    /// What is set for `from` is from now on set for `to`, as when a volume gets another name. If
    /// nothing is set for `from`, what is set for `to` stays, as when a volume is replaced.
    pub fn rename(&self, from: &str, to: &str) {
        let mut entries = self.lock();
        let Some(qos) = entries.volumes.remove(from) else {
            return;
        };
        if let Some(replaced) = entries.volumes.get(to).filter(|_| !qos.is_on()) {
            qos.join(replaced.group());
            qos.set(replaced.limits());
        }
        entries.volumes.insert(to.to_owned(), qos);
    }

    /// What is set for the volume `name`.
    pub fn show(&self, name: &str) -> VolumeQos {
        match self.lock().volumes.get(name) {
            Some(qos) => shown(name, qos),
            None => VolumeQos {
                name: name.to_owned(),
                settings: QosSettings::default(),
                waits: Waits::default(),
            },
        }
    }

    /// All volumes for which something is set, whether they exist or not, by name.
    pub fn volumes(&self) -> Vec<VolumeQos> {
        let entries = self.lock();
        let limited = entries.volumes.iter().filter(|(_, qos)| qos.is_on());
        limited.map(|(name, qos)| shown(name, qos)).collect()
    }

    /// All groups, by name.
    pub fn groups(&self) -> Vec<GroupQos> {
        let entries = self.lock();
        let groups = entries.groups.keys();
        groups.filter_map(|name| entries.show_group(name)).collect()
    }

    /// The group `name`.
    pub fn show_group(&self, name: &str) -> Option<GroupQos> {
        self.lock().show_group(name)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn volume(&mut self, name: &str) -> &Arc<Qos> {
        if !self.volumes.contains_key(name) && self.volumes.len() >= self.forget_at {
            self.volumes
                .retain(|_, qos| qos.is_on() || Arc::strong_count(qos) > 1);
            self.forget_at = FORGET_ABOVE.max(2 * self.volumes.len());
        }
        self.volumes.entry(name.to_owned()).or_default()
    }

    fn members<'a>(&'a self, group: &'a Arc<Group>) -> impl Iterator<Item = &'a String> {
        let shares = |qos: &Qos| qos.group().is_some_and(|its| Arc::ptr_eq(&its, group));
        let members = self.volumes.iter().filter(move |(_, qos)| shares(qos));
        members.map(|(name, _)| name)
    }

    fn show_group(&self, name: &str) -> Option<GroupQos> {
        let group = self.groups.get(name)?;
        Some(GroupQos {
            name: name.to_owned(),
            limits: group.limits(),
            volumes: self.members(group).cloned().collect(),
            waits: group.waits(),
        })
    }
}

fn shown(name: &str, qos: &Qos) -> VolumeQos {
    VolumeQos {
        name: name.to_owned(),
        settings: QosSettings {
            limits: qos.limits(),
            group: qos.group().map(|group| group.name().to_owned()),
        },
        waits: qos.waits(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::{LimitWords, Measure};
    use super::*;

    fn iops(rate: u64) -> Limits {
        let mut words = LimitWords::default();
        words.average[Measure::Iops as usize] = Some(rate);
        words.check().expect("good words")
    }

    #[test]
    fn what_is_set_for_a_name_counts_for_who_has_it() {
        let table = QosTable::default();
        let before = table.of("main/vm1");
        assert!(!before.is_on());
        table.set_group("gold", iops(100));
        let settings = QosSettings {
            limits: iops(7),
            group: Some("gold".to_owned()),
        };
        table.set("main/vm1", &settings).expect("a group");
        assert_eq!(before.limits(), iops(7));
        drop(before);
        assert_eq!(table.of("main/vm1").limits(), iops(7));
        assert_eq!(table.show("main/vm1").settings, settings);
        assert_eq!(table.groups()[0].volumes, ["main/vm1"]);
        table.rename("main/vm1", "main/vm2");
        assert!(!table.of("main/vm1").is_on());
        assert_eq!(table.groups()[0].volumes, ["main/vm2"]);
        assert_eq!(table.volumes().len(), 1);
        table.rename("main/vm2.importing", "main/vm2");
        table.of("main/vm2.importing");
        table.rename("main/vm2.importing", "main/vm2");
        assert_eq!(table.of("main/vm2").limits(), iops(7), "replaced");
        let wrong = QosSettings {
            limits: iops(9),
            group: Some("lead".to_owned()),
        };
        let refused = table.set("main/vm2", &wrong);
        assert_eq!(refused, Err(NoSuchGroup("lead".to_owned())));
        assert_eq!(table.of("main/vm2").limits(), iops(7));
        let shared = GroupStays::Shared("main/vm2".to_owned());
        assert_eq!(table.remove_group("gold"), Err(shared));
        table.clear("main/vm2");
        assert!(!table.of("main/vm2").is_on());
        assert_eq!(table.remove_group("gold"), Ok(()));
        let missing = GroupStays::Missing(NoSuchGroup("gold".to_owned()));
        assert_eq!(table.remove_group("gold"), Err(missing));
    }

    #[test]
    fn volumes_that_are_gone_are_forgotten_unless_they_have_limits() {
        let table = QosTable::default();
        let settings = QosSettings {
            limits: iops(7),
            group: None,
        };
        table.set("kept", &settings).expect("no group");
        let used = table.of("used");
        for index in 0..10_000 {
            table.of(&format!("vm{index}"));
        }
        assert!(table.lock().volumes.len() <= FORGET_ABOVE + 2);
        assert_eq!(table.of("kept").limits(), iops(7));
        assert!(Arc::ptr_eq(&table.of("used"), &used));
    }
}
