//! Which segments garbage collection empties next.

use std::collections::BTreeSet;

use super::Core;
use super::collect::{MOVES_MAX, Pass};
use super::space::Wish;
use crate::store::format::{SEALED_BLOCK, SegState};

impl Core {
    /// The segments to be emptied: data segments, the emptiest first, as far as what is in them
    /// fits the space; and metadata segments that are mostly empty. What is to be
    /// [renewed](super::renew) comes before everything else unless space is short, however full.
    pub(super) fn choose(
        &self,
        spared: &BTreeSet<u32>,
        pass: &Pass,
    ) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let seg_bytes = self.shape().seg_bytes();
        let (is_short, may_renew) = (self.is_short(), self.has_room_to_renew());
        let mut data = Vec::new();
        let mut leaving = Vec::new();
        for (seg, info) in self.table.all() {
            let out = spared.contains(&seg) || pass.moved_from.contains(&seg);
            if out || self.table.is_doomed(seg) {
                continue;
            }
            let is_old = may_renew && self.renewals.is_old(info);
            let rank = (!is_old || is_short, info.live, seg);
            match info.state {
                SegState::Log | SegState::Gc => data.push((rank, is_old)),
                SegState::Meta if is_old || info.live < seg_bytes / 2 => leaving.push(rank),
                _ => {}
            }
        }
        data.sort_unstable();
        // One more than the bytes need, since what is moved is divided by age.
        let room = match self.allowance(Wish::Collect) {
            0 => u64::from(pass.open_room),
            few => u64::from((few - 1).max(1)) * u64::from(seg_bytes),
        };
        let mut bytes = room.min(self.worth());
        let mut chunks = MOVES_MAX;
        let mut victims = BTreeSet::new();
        for ((_, live, seg), is_old) in data {
            // Moving what is nearly full frees nearly nothing, and where every block that moves
            // has a leaf of its own, each costs as much again.
            // While that is not known the worst is taken for the space, and the best for the worth:
            // else nothing would be moved, and it would never be known.
            let cost = |leaves: f64| f64::from(live) * (1.0 + leaves);
            let is_full = cost(self.leaves_per_move.unwrap_or(0.0)) > f64::from(seg_bytes) * 0.95;
            if is_full && !is_old {
                continue;
            }
            let cost = cost(self.leaves_per_move.unwrap_or(1.0));
            let most = u64::from(seg_bytes) / SEALED_BLOCK as u64 + 1;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most two segments"
            )]
            let cost = cost as u64;
            // Whatever the leaves cost, one that is old goes each time that there is room for it.
            let is_first = is_old && victims.is_empty() && u64::from(live) <= bytes;
            if (cost > bytes && !is_first) || chunks < most {
                break;
            }
            bytes = bytes.saturating_sub(cost);
            chunks -= most;
            victims.insert(seg);
        }
        (victims, self.few(leaving))
    }

    /// The emptiest of these metadata segments, as many as their nodes fit one segment or what one
    /// checkpoint has room for.
    fn few(&self, mut leaving: Vec<(bool, u32, u32)>) -> BTreeSet<u32> {
        leaving.sort_unstable();
        let nodes_per_seg = self.shape().seg_bytes() as usize / SEALED_BLOCK;
        let mut nodes = self.reserve.changed_max.max(nodes_per_seg);
        let fits = |(_, live, _): &(bool, u32, u32)| {
            let more = *live as usize / SEALED_BLOCK;
            let fits = more <= nodes;
            nodes = nodes.saturating_sub(more);
            fits
        };
        let few = leaving.into_iter().take_while(fits);
        few.map(|(.., seg)| seg).collect()
    }

    /// How much one pass moves at most, in bytes: a tenth of the store, so that it ends and space
    /// is returned while writes go on.
    fn worth(&self) -> u64 {
        (self.shape().bytes() / 10).max(2 * u64::from(self.shape().seg_bytes()))
    }
}
