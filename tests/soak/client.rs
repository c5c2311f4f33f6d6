//! A client: reads and writes volumes, and flushes now and then.

use std::ops::Range;
use std::time::Duration;

use bedplate::base::{Buf, Durability};
use bedplate::env;

use super::chance::{Chance, index};
use super::content::BLOCK;
use super::subject::Handle;
use super::tree::{Tree, TreeId};
use super::world::Life;

/// Does one operation after the other until the life ends.
pub(crate) async fn run(life: &Life, who: u64, chance: &mut Chance) {
    let mut was_full = false;
    while life.goes_on() {
        if life.plan.think_us > 0 {
            let pause = chance.below(life.plan.think_us);
            env::sleep(Duration::from_micros(pause)).await;
        }
        let is_read = !was_full && chance.below(100) < life.plan.reads;
        let Some((tree, handle)) = choose_tree(life, chance, !is_read) else {
            // There is none at the moment.
            env::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let client = Client {
            life,
            who,
            tree,
            handle,
        };
        if is_read {
            client.look(chance).await;
        } else if was_full {
            // Full or not, there must be room for giving up some.
            client.zero(chance).await;
            client.flush().await;
            was_full = false;
        } else if chance.one_in(life.plan.changes_per_flush) {
            client.flush().await;
        } else if chance.one_in(10) {
            client.zero(chance).await;
        } else {
            was_full = !client.write(chance).await;
        }
    }
}

fn choose_tree(life: &Life, chance: &mut Chance, to_write: bool) -> Option<(TreeId, Handle)> {
    let fits = |tree: &Tree| tree.is_ready() && (tree.is_volume() || !to_write);
    let fitting: Vec<TreeId> = {
        let oracle = life.oracle.borrow();
        let trees = oracle.trees.iter().filter(|(_, tree)| fits(tree));
        trees.map(|(id, _)| *id).collect()
    };
    if fitting.is_empty() {
        return None;
    }
    let tree = chance.pick(&fitting);
    life.handle(tree, chance).map(|handle| (tree, handle))
}

struct Client<'a> {
    life: &'a Life,
    who: u64,
    tree: TreeId,
    handle: Handle,
}

impl Client<'_> {
    fn says(&self, what: &str, range: &Range<u64>) {
        let what = format!("{what} {range:?} of tree {}", self.tree);
        self.life.says(self.who, what);
    }

    /// Some blocks where the tree is used.
    fn range(&self, chance: &mut Chance, blocks_max: u64) -> Range<u64> {
        let oracle = self.life.oracle.borrow();
        let tree = oracle.tree(self.tree);
        let cluster = chance.pick(&tree.clusters);
        let len = cluster.end - cluster.start;
        let start = match chance.one_in(2) {
            // Some are more in use than others.
            true => cluster.start + chance.below(len.div_ceil(5)),
            false => cluster.start + chance.below(len),
        };
        // What is in use may have had another size when it was opened.
        let known = self.handle.size().div_ceil(BLOCK as u64);
        let end = match chance.one_in(8) {
            true => known,
            false => known.min(tree.least),
        };
        let start = match start < end {
            true => start,
            false => chance.below(end),
        };
        let blocks = chance.small(blocks_max);
        start..(start + blocks).min(cluster.end.max(start + 1)).min(end)
    }

    /// How many blocks there are for certain.
    fn len(&self) -> u64 {
        let known = self.handle.size().div_ceil(BLOCK as u64);
        self.life.oracle.borrow().tree(self.tree).least.min(known)
    }

    async fn look(&self, chance: &mut Chance) {
        match chance.below(8) {
            0 => self.status(chance).await,
            1 => {
                let range = self.range(chance, 64);
                self.handle.cache(range.start, range.end - range.start);
            }
            _ => self.read(chance).await,
        }
    }

    async fn read(&self, chance: &mut Chance) {
        let range = match chance.one_in(10) {
            false => self.range(chance, 64),
            true => {
                let start = chance.below(self.len());
                start..(start + chance.small(64)).min(self.len())
            }
        };
        self.says("read", &range);
        let look = self.life.oracle.borrow_mut().begin_look();
        let blocks = index(range.end - range.start);
        let result = self.handle.read(range.start, blocks).await;
        let mut oracle = self.life.oracle.borrow_mut();
        match result {
            Ok(data) => {
                assert_eq!(data.len(), blocks * BLOCK, "all that was asked for");
                oracle.end_read(self.tree, look, range.start, &data);
            }
            Err(error) => oracle.fail_look(self.tree, range.end, look, error),
        }
    }

    async fn status(&self, chance: &mut Chance) {
        let range = match chance.one_in(3) {
            false => self.range(chance, 64),
            true => 0..self.len(),
        };
        self.says("status", &range);
        let blocks = range.end - range.start;
        let runs_max = chance.pick(&[1, 2, 5, 1000]);
        let look = self.life.oracle.borrow_mut().begin_look();
        let result = self.handle.status(range.start, blocks, runs_max).await;
        let mut oracle = self.life.oracle.borrow_mut();
        match result {
            Ok(runs) => {
                let asked = (range.start, blocks, runs_max);
                oracle.end_status(self.tree, look, asked, &runs);
            }
            Err(error) => oracle.fail_look(self.tree, range.end, look, error),
        }
    }

    /// Gives whether it was written.
    async fn write(&self, chance: &mut Chance) -> bool {
        let range = self.range(chance, self.life.plan.write_blocks_max);
        self.says("write", &range);
        let durability = durability(chance);
        let durable = durability == Durability::Durable;
        let first = range.start;
        let (change, contents) = {
            let mut oracle = self.life.oracle.borrow_mut();
            let mut choose = |bound| chance.below(bound);
            let repeats = self.life.plan.repeats;
            oracle.begin_write(self.tree, range, durable, repeats, &mut choose)
        };
        let mut data = Buf::new(contents.len() * BLOCK);
        for (content, block) in contents.iter().zip(data.chunks_mut(BLOCK)) {
            content.fill(block);
        }
        let result = self.handle.write(first, data, durability).await;
        self.life.oracle.borrow_mut().end_change(change, result)
    }

    async fn zero(&self, chance: &mut Chance) {
        let range = match chance.one_in(20) {
            false => self.range(chance, 64),
            true => {
                let len = self.len();
                let start = chance.below(len) * chance.below(2);
                match chance.one_in(2) {
                    true => start..len,
                    false => start..start + 1 + chance.below(len - start),
                }
            }
        };
        self.says("zero", &range);
        let durability = durability(chance);
        let durable = durability == Durability::Durable;
        let (first, blocks) = (range.start, range.end - range.start);
        let begun = self.life.oracle.borrow_mut();
        let change = { begun }.begin_zero(self.tree, range, durable);
        let result = self.handle.zero(first, blocks, durability).await;
        let mut oracle = self.life.oracle.borrow_mut();
        oracle.tally.count("zeroes");
        oracle.must_have_room(&result, self.life.subject.usage());
        oracle.end_change(change, result);
    }

    async fn flush(&self) {
        self.says("flush", &(0..0));
        let flush = self.life.oracle.borrow_mut().begin_flush();
        let result = self.handle.flush().await;
        let mut oracle = self.life.oracle.borrow_mut();
        oracle.end_flush(self.tree, flush, result);
    }
}

fn durability(chance: &mut Chance) -> Durability {
    match chance.one_in(12) {
        true => Durability::Durable,
        false => Durability::Cached,
    }
}
