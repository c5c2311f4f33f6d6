//! An admin: makes and deletes volumes and snapshots, and the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use bedplate::env;
use bedplate::store::{Properties, StoreError, TreeName};

use super::chance::Chance;
use super::content::BLOCK;
use super::deeds::Deed;
use super::oracle::Oracle;
use super::tree::{State, Tree, TreeId};
use super::verify;
use super::world::Life;

/// Volumes and snapshots that a world has at most.
const TREES_MAX: usize = 12;

/// Does one operation after the other until the life ends.
pub(crate) async fn run(life: &Life, who: u64, chance: &mut Chance) {
    while !life.is_ending.get() {
        let pause = Duration::from_micros(chance.small(1 << 15));
        life.says(who, "pause".to_owned());
        env::sleep(pause).await;
        if life.is_ending.get() {
            return;
        }
        let Some(deed) = choose(life, chance) else {
            continue;
        };
        life.says(who, format!("{deed:?}"));
        let number = life.oracle.borrow_mut().begin_deed(deed.clone());
        let result = perform(life, &deed).await;
        let done = life.oracle.borrow_mut().end_deed(number, result);
        let made = match deed {
            Deed::Snapshot(trees) => trees,
            Deed::Clone(_, tree) => vec![tree],
            _ => Vec::new(),
        };
        // The others are looked at after the next crash.
        if done && !made.is_empty() && !chance.one_in(4) {
            look(life, who, &made).await;
        }
    }
}

/// Looks at trees that were just made.
async fn look(life: &Life, who: u64, made: &[TreeId]) {
    let lock = |oracle: &mut Oracle, lock: bool| {
        for id in made {
            let of = oracle.trees.get(id).map(|tree| tree.of.unwrap_or(*id));
            if let Some(tree) = of.and_then(|of| oracle.trees.get_mut(&of)) {
                tree.locked = lock;
            }
        }
    };
    {
        let mut oracle = life.oracle.borrow_mut();
        let is_free = |tree: &TreeId| {
            let tree = oracle.trees.get(tree);
            let volume = tree.and_then(|tree| oracle.trees.get(&tree.of?)).or(tree);
            let is_new = tree.is_some_and(|tree| matches!(tree.state, State::Fresh(..)));
            is_new && volume.is_some_and(|volume| !volume.locked)
        };
        if oracle.is_closing || !made.iter().all(is_free) {
            return;
        }
        lock(&mut oracle, true);
    }
    life.says(who, format!("look at {made:?}"));
    // What cannot be read is looked at after the next crash.
    let looked = verify::fresh(&life.subject, &life.oracle, made).await;
    looked.unwrap_or_else(|error| assert!(life.oracle.borrow().is_broken, "{error}"));
    lock(&mut life.oracle.borrow_mut(), false);
}

fn choose(life: &Life, chance: &mut Chance) -> Option<Deed> {
    let number = life.new_number();
    let mut oracle = life.oracle.borrow_mut();
    let free = |tree: &Tree| tree.is_ready() && !tree.locked;
    let all = oracle.trees.iter();
    let volumes = all.filter(|(_, tree)| tree.is_volume() && free(tree));
    let volumes: Vec<TreeId> = volumes.map(|(id, _)| *id).collect();
    if volumes.is_empty() {
        return None;
    }
    let all = oracle.trees.iter().filter(|(_, tree)| {
        let of = tree.of.and_then(|of| oracle.trees.get(&of));
        free(tree) && of.is_some_and(|of| !of.locked)
    });
    let snapshots: Vec<TreeId> = all.map(|(id, _)| *id).collect();
    let volume = chance.pick(&volumes);
    let is_crowded = oracle.trees.len() >= TREES_MAX;
    let deed = match chance.below(16) {
        0 if !is_crowded => create(&mut oracle, volume, number, chance),
        1..5 if !is_crowded => {
            let mut of = BTreeSet::from([volume]);
            if chance.one_in(2) {
                of.extend(volumes.iter().filter(|_| chance.one_in(2)));
            }
            let name = format!("s{number}");
            let snapshot = |volume| oracle.add_snapshot(volume, &name);
            Deed::Snapshot(of.into_iter().map(snapshot).collect())
        }
        5..7 if !is_crowded => {
            let from = [&volumes[..], &snapshots[..]].concat();
            let from = chance.pick(&from);
            let name = format!("c{number}");
            let name = TreeName::volume(&name).expect("a good name");
            Deed::Clone(from, oracle.add_clone(from, name))
        }
        7..9 if !snapshots.is_empty() => {
            let snapshot = chance.pick(&snapshots);
            let volume = oracle.tree(snapshot).of.expect("a snapshot");
            Deed::Rollback(volume, snapshot)
        }
        9..11 if !snapshots.is_empty() => Deed::Delete(chance.pick(&snapshots)),
        11 => {
            let is_bare = |tree: &Tree| tree.of != Some(volume);
            let is_bare = oracle.trees.values().all(is_bare);
            // One that the others are made of stays.
            let is_spare = volumes.len() > 1 && is_bare;
            return is_spare.then_some(Deed::Delete(volume));
        }
        12 => {
            let name = format!("r{number}");
            Deed::Rename(volume, TreeName::volume(&name).expect("a good name"))
        }
        13 => {
            let bytes = oracle.tree(volume).bytes;
            let more = chance.pick(&[512, 4096, 1 << 20, 3 << 30]);
            Deed::Resize(volume, bytes + more)
        }
        14 => {
            let on = oracle.tree(volume).write_through;
            Deed::WriteThrough(volume, !on)
        }
        _ => return None,
    };
    Some(deed)
}

fn create(oracle: &mut Oracle, like: TreeId, number: u64, chance: &mut Chance) -> Deed {
    let name = format!("v{number}");
    let name = TreeName::volume(&name).expect("a good name");
    let (bytes, clusters) = {
        let like = oracle.tree(like);
        (like.bytes, like.clusters.clone())
    };
    let more = chance.below(100) * BLOCK as u64;
    Deed::Create(oracle.add_volume(name, bytes + more, clusters))
}

async fn perform(life: &Life, deed: &Deed) -> Result<(), StoreError> {
    let name = |tree: &TreeId| life.oracle.borrow().tree(*tree).name.clone();
    let subject = &life.subject;
    match deed {
        Deed::Create(tree) => {
            let bytes = life.oracle.borrow().tree(*tree).bytes;
            let name = name(tree);
            let properties = Properties::default();
            let made = subject.create_volume(name.volume_name(), bytes, properties);
            made.await
        }
        Deed::Delete(tree) => subject.delete(&name(tree)).await,
        Deed::Rename(tree, to) => {
            let from = name(tree);
            subject.rename(from.volume_name(), to.volume_name()).await
        }
        Deed::Resize(tree, bytes) => subject.resize(name(tree).volume_name(), *bytes).await,
        Deed::Snapshot(trees) => {
            let names: Vec<TreeName> = trees.iter().map(name).collect();
            subject.snapshot(&names).await
        }
        Deed::Clone(from, to) => {
            let to = name(to);
            subject.clone_volume(&name(from), to.volume_name()).await
        }
        Deed::Rollback(_, snapshot) => subject.rollback(&name(snapshot)).await,
        Deed::WriteThrough(tree, on) => {
            let name = name(tree);
            subject.set_write_through(name.volume_name(), *on).await
        }
        other => unreachable!("{other:?} is for keepers of bitmaps"),
    }
}
