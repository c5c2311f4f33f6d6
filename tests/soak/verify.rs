//! A look at all of a store that was just opened, or at trees that were just made.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bedplate::base::{Buf, Result};

use super::chance::index;
use super::content::{BLOCK, Content};
use super::keeper;
use super::oracle::Oracle;
use super::subject::{Handle, Subject};
use super::tree::{State, TreeId};

/// The longest read, in blocks.
const READ_BLOCKS_MAX: u64 = 64;

/// How often a read is tried while the disk may fail.
const TRIES: usize = 4;

/// Looks at every volume and snapshot of a store that was just opened and that nobody uses.
///
/// # Errors
/// If something cannot be read, where that may be.
pub(crate) async fn everything(subject: &Subject, oracle: &Rc<RefCell<Oracle>>) -> Result<()> {
    let after = oracle
        .borrow_mut()
        .reopen(&subject.list(), &subject.list_bitmaps());
    let mut fresh = BTreeMap::new();
    let (mut volumes, mut snapshots) = (Vec::new(), Vec::new());
    for (id, tree) in &oracle.borrow().trees {
        match tree.state {
            State::Fresh(op, since, _) => {
                let (_, trees) = fresh.entry(op).or_insert((since, Vec::new()));
                trees.push(*id);
            }
            _ if tree.is_volume() => volumes.push(*id),
            _ => snapshots.push(*id),
        }
    }
    for (since, trees) in fresh.into_values() {
        let shown = contents(subject, oracle, &trees).await?;
        oracle.borrow_mut().settle_trees("a copy", since, &shown);
    }
    let after = after.max(oracle.borrow().floor());
    let shown = contents(subject, oracle, &volumes).await?;
    oracle
        .borrow_mut()
        .settle_trees("after a crash", after, &shown);
    let shown = contents(subject, oracle, &snapshots).await?;
    oracle.borrow_mut().settle_trees("after a crash", 0, &shown);
    let all: Vec<TreeId> = oracle.borrow().trees.keys().copied().collect();
    for tree in all {
        status(subject, oracle, tree).await?;
        let handle = open(subject, &oracle.borrow(), tree);
        keeper::everything(subject, oracle, tree, &handle).await?;
    }
    oracle.borrow_mut().all_is_durable();
    Ok(())
}

/// Looks at all trees that one operation has just made.
///
/// # Errors
/// As [`everything`].
pub(crate) async fn fresh(
    subject: &Subject,
    oracle: &Rc<RefCell<Oracle>>,
    trees: &[TreeId],
) -> Result<()> {
    let since = trees
        .iter()
        .map(|id| match oracle.borrow().tree(*id).state {
            State::Fresh(_, since, _) => since,
            ref state => unreachable!("{state:?} is not new"),
        });
    let since = since.max().expect("some trees");
    let shown = contents(subject, oracle, trees).await?;
    oracle.borrow_mut().settle_trees("a copy", since, &shown);
    for tree in trees {
        status(subject, oracle, *tree).await?;
    }
    Ok(())
}

/// What every block of these trees that was ever touched holds.
async fn contents(
    subject: &Subject,
    oracle: &Rc<RefCell<Oracle>>,
    trees: &[TreeId],
) -> Result<Vec<(TreeId, BTreeMap<u64, Content>)>> {
    let mut all = Vec::new();
    for id in trees {
        let (handle, blocks) = {
            let oracle = oracle.borrow();
            let tree = oracle.tree(*id);
            let blocks = tree.blocks.range(..tree.len()).map(|(block, _)| *block);
            let blocks: Vec<u64> = blocks.collect();
            (open(subject, &oracle, *id), blocks)
        };
        let mut found = BTreeMap::new();
        let mut rest = &blocks[..];
        while let Some(first) = rest.first() {
            let run = (*first..).zip(rest).take_while(|(at, block)| at == *block);
            let run = run.count().min(index(READ_BLOCKS_MAX));
            let data = read(&handle, oracle, *first, run).await?;
            for (block, data) in rest.iter().zip(data.chunks(BLOCK)) {
                match Content::recognize(data) {
                    Ok(content) => found.insert(*block, content),
                    Err(why) => {
                        let name = oracle.borrow().tree(*id).name.clone();
                        panic!("{name}, block {block}, shows {why}")
                    }
                };
            }
            rest = &rest[run..];
        }
        all.push((*id, found));
    }
    Ok(all)
}

fn open(subject: &Subject, oracle: &Oracle, id: TreeId) -> Handle {
    let tree = oracle.tree(id);
    let handle = subject.disk(&tree.name);
    let handle = handle.unwrap_or_else(|error| panic!("{} cannot be used: {error}", tree.name));
    assert_eq!(handle.size(), tree.bytes, "the size of {}", tree.name);
    assert_eq!(handle.is_writable(), tree.is_volume(), "{}", tree.name);
    handle
}

async fn read(
    handle: &Handle,
    oracle: &Rc<RefCell<Oracle>>,
    first: u64,
    blocks: usize,
) -> Result<Buf> {
    let mut tries = 0;
    loop {
        match handle.read(first, blocks).await {
            Ok(data) => {
                assert_eq!(data.len(), blocks * BLOCK, "all that was asked for");
                return Ok(data);
            }
            Err(error) => {
                assert!(
                    oracle.borrow().is_broken,
                    "a read of block {first}: {error}"
                );
                tries += 1;
                if tries == TRIES {
                    return Err(error);
                }
            }
        }
    }
}

/// Demands that the tree has holes and data where it should.
async fn status(subject: &Subject, oracle: &Rc<RefCell<Oracle>>, id: TreeId) -> Result<()> {
    let (handle, len) = {
        let oracle = oracle.borrow();
        (open(subject, &oracle, id), oracle.tree(id).len())
    };
    let (mut first, mut tries) = (0, 0);
    while first < len {
        let look = oracle.borrow_mut().begin_look();
        let runs_max = 1000;
        match handle.status(first, len - first, runs_max).await {
            Ok(runs) => {
                let asked = (first, len - first, runs_max);
                oracle.borrow_mut().end_status(id, look, asked, &runs);
                let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
                first += bytes / BLOCK as u64;
            }
            Err(error) => {
                oracle.borrow_mut().fail_look(id, len, look, error);
                tries += 1;
                if tries == TRIES {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}
