//! A keeper of bitmaps: makes, clears and deletes them, alone and with snapshots, and looks at what
//! they tell.

use std::collections::BTreeSet;
use std::time::Duration;

use bedplate::base::Result;
use bedplate::env;
use bedplate::store::{BitmapName, StoreError, TreeName};

use super::chance::Chance;
use super::content::BLOCK;
use super::deeds::Deed;
use super::oracle::Oracle;
use super::subject::{Handle, Subject};
use super::tree::{Tree, TreeId};
use super::world::Life;

/// Bitmaps that a volume has at most.
const BITMAPS_MAX: usize = 3;

/// Volumes and snapshots that a world has at most.
const TREES_MAX: usize = 12;

/// How often a look is tried while the disk may fail.
const TRIES: usize = 4;

/// Does one operation after the other until the life ends.
pub(crate) async fn run(life: &Life, who: u64, chance: &mut Chance) {
    while !life.is_ending.get() {
        let pause = Duration::from_micros(chance.small(1 << 14));
        life.says(who, "pause".to_owned());
        env::sleep(pause).await;
        if life.is_ending.get() {
            return;
        }
        if chance.one_in(2) {
            look(life, who, chance).await;
            continue;
        }
        let Some(deed) = choose(life, chance) else {
            continue;
        };
        life.says(who, format!("{deed:?}"));
        let number = life.oracle.borrow_mut().begin_deed(deed.clone());
        let result = perform(life, &deed).await;
        life.oracle.borrow_mut().end_deed(number, result);
    }
}

/// Looks at what a bitmap tells of its volume, or of a snapshot.
async fn look(life: &Life, who: u64, chance: &mut Chance) {
    let found: Vec<(TreeId, String)> = {
        let oracle = life.oracle.borrow();
        let ready = oracle.trees.iter().filter(|(_, tree)| tree.is_ready());
        let each = ready.flat_map(|(id, tree)| {
            let volume = oracle.trees.get(&tree.of.unwrap_or(*id));
            let names = volume.map(|volume| volume.bitmaps.keys().cloned());
            names.into_iter().flatten().map(|name| (*id, name))
        });
        each.collect()
    };
    if found.is_empty() {
        return;
    }
    let (tree, name) = chance.pick(&found);
    let Some(handle) = life.handle(tree, chance) else {
        return;
    };
    life.says(who, format!("look at bitmap {name} of tree {tree}"));
    let (least, bytes) = {
        let oracle = life.oracle.borrow();
        (oracle.tree(tree).least, handle.size())
    };
    let len = least.min(bytes.div_ceil(BLOCK as u64));
    let first = chance.below(len) * chance.below(2);
    let runs_max = chance.pick(&[1, 2, 5, 1000]);
    let asked = (first, len - first, runs_max);
    // What cannot be read is looked at after the next crash.
    let _ = compare(&life.subject, &life.oracle, &handle, (tree, &name), asked).await;
}

/// Looks at what a bitmap tells of so many blocks of a tree; gives how many it told of, or nothing
/// if something is being done to it.
async fn compare(
    subject: &Subject,
    oracle: &std::cell::RefCell<Oracle>,
    handle: &Handle,
    (tree, name): (TreeId, &str),
    asked: (u64, u64, usize),
) -> Result<Option<u64>> {
    let look = oracle.borrow_mut().begin_bitmap_look(tree, name);
    let Some(look) = look else {
        return Ok(None);
    };
    let (first, blocks, runs_max) = asked;
    match handle.changes(name, first, blocks, runs_max).await {
        Ok(runs) => {
            let given_up = {
                let oracle = oracle.borrow();
                let tree = oracle.trees.get(&tree).map(|tree| tree.name.clone());
                tree.is_none_or(|tree| subject.is_given_up(tree.volume_name(), name))
            };
            let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
            let mut oracle = oracle.borrow_mut();
            oracle.end_bitmap_look(look, asked, &runs, given_up);
            Ok(Some(bytes / BLOCK as u64))
        }
        Err(error) => {
            oracle.borrow_mut().fail_bitmap_look(look, error);
            Err(error)
        }
    }
}

/// Looks at all that the bitmaps tell of a tree that nobody uses.
///
/// # Errors
/// If something cannot be read, where that may be.
pub(crate) async fn everything(
    subject: &Subject,
    oracle: &std::cell::RefCell<Oracle>,
    id: TreeId,
    handle: &Handle,
) -> Result<()> {
    let (names, len) = {
        let oracle = oracle.borrow();
        let tree = oracle.tree(id);
        let volume = oracle.tree(tree.of.unwrap_or(id));
        let names: Vec<String> = volume.bitmaps.keys().cloned().collect();
        (names, tree.len())
    };
    for name in names {
        let (mut first, mut tries) = (0, 0);
        while first < len {
            let asked = (first, len - first, 1000);
            match compare(subject, oracle, handle, (id, &name), asked).await {
                Ok(told) => first += told.unwrap_or(len),
                Err(error) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(error);
                    }
                }
            }
        }
    }
    Ok(())
}

fn choose(life: &Life, chance: &mut Chance) -> Option<Deed> {
    let number = life.new_number();
    let mut oracle = life.oracle.borrow_mut();
    let is_free = |tree: &Tree| tree.is_volume() && tree.is_ready() && !tree.locked;
    let volumes = oracle.trees.iter().filter(|(_, tree)| is_free(tree));
    let volumes: Vec<TreeId> = volumes.map(|(id, _)| *id).collect();
    if volumes.is_empty() {
        return None;
    }
    let volume = chance.pick(&volumes);
    let names: Vec<String> = oracle.tree(volume).bitmaps.keys().cloned().collect();
    let new = format!("b{number}");
    let has_room = |oracle: &Oracle, id: &TreeId| oracle.tree(*id).bitmaps.len() < BITMAPS_MAX;
    Some(match chance.below(8) {
        0..3 if has_room(&oracle, &volume) => Deed::Bitmap(volume, new),
        3..5 if has_room(&oracle, &volume) && oracle.trees.len() < TREES_MAX => {
            let mut of = BTreeSet::from([volume]);
            let others = volumes.iter().filter(|id| has_room(&oracle, id));
            of.extend(others.filter(|_| chance.one_in(2)));
            let name = format!("s{number}");
            let snapshots = of.into_iter().map(|id| oracle.add_snapshot(id, &name));
            Deed::Marked(snapshots.collect(), new)
        }
        5..7 if !names.is_empty() => Deed::ClearBitmap(volume, chance.pick(&names)),
        7 if !names.is_empty() => Deed::DeleteBitmap(volume, chance.pick(&names)),
        _ => return None,
    })
}

async fn perform(life: &Life, deed: &Deed) -> std::result::Result<(), StoreError> {
    let name = |tree: &TreeId| life.oracle.borrow().tree(*tree).name.clone();
    let of = |tree: &TreeId, bitmap: &str| {
        BitmapName::new(name(tree).volume_name(), bitmap).expect("a good name")
    };
    let subject = &life.subject;
    match deed {
        Deed::Bitmap(tree, bitmap) => subject.create_bitmap(&of(tree, bitmap)).await,
        Deed::ClearBitmap(tree, bitmap) => subject.clear_bitmap(&of(tree, bitmap)).await,
        Deed::DeleteBitmap(tree, bitmap) => subject.delete_bitmap(&of(tree, bitmap)).await,
        Deed::Marked(trees, bitmap) => {
            let names: Vec<TreeName> = trees.iter().map(name).collect();
            subject.snapshot_with_bitmaps(&names, bitmap).await
        }
        other => unreachable!("{other:?} is for admins"),
    }
}
