//! Makes checkpoints: when they are due, and in which order things are written.

use std::sync::Arc;

use super::core::{Frozen, Health};
use super::format::superblock::{self, Superblock};
use super::shell::Shell;
use crate::backend::Backend;
use crate::base::{Buf, Error, Refusal, Result};
use crate::env;

impl Shell {
    /// Makes checkpoints until the store is closed or stopped.
    pub(super) async fn keep_checkpointing(self: Arc<Self>) {
        while self.checkpoint_due().await {
            if let Err(error) = self.checkpoint().await {
                tracing::error!(%error, "a checkpoint failed");
                self.stop();
                return;
            }
        }
    }

    /// Waits until a checkpoint is due; `false` if there will be none any more.
    async fn checkpoint_due(&self) -> bool {
        let interval = self.core().tuning.checkpoint_interval;
        let look = || {
            let core = self.core();
            match core.health {
                Health::Well if core.wants_checkpoint() => Some(true),
                Health::Well => None,
                Health::Stopped | Health::Closed => Some(false),
            }
        };
        loop {
            // A store in which nothing changes has no timer, so that idle means no work at all.
            let changed = || {
                let idle_no_more = || self.core().is_changed().then_some(None);
                look().map(Some).or_else(idle_no_more)
            };
            if let Some(due) = self.chores.wait_for(changed).await {
                return due;
            }
            match env::timeout(interval, self.chores.wait_for(look)).await {
                Some(due) => return due,
                None if self.core().is_changed() => return true,
                None => {}
            }
        }
    }

    /// Makes a checkpoint of everything that is known now.
    ///
    /// 1. Freeze: a later change copies what it changes.
    /// 2. Nodes, children first, then the segment table and the root, to places that are free in
    ///    the last checkpoint. A stop leaves the last checkpoint, and the log from there.
    /// 3. Flush: all of that, and the log up to where the checkpoint goes on, is durable.
    /// 4. The superblock and its copy, into slots that are not the last one's; flush. A stop leaves
    ///    the old or the new one valid, and both lead to durable trees.
    /// 5. What only the old one needed is free.
    pub(super) async fn checkpoint(self: &Arc<Self>) -> Result<()> {
        let frozen = self.core().freeze();
        self.pump();
        self.wait_written(frozen.last_batch).await?;
        let (frozen, superblock) = self.write_trees(frozen).await?;
        self.flush_written().await?;
        let [first, second] = Superblock::slots(superblock.generation);
        self.write_superblock(&superblock, first).await?;
        self.write_superblock(&superblock, second).await?;
        self.flush_written().await?;
        self.core().checkpointed(frozen, superblock);
        self.wake_all();
        Ok(())
    }

    async fn write_trees(&self, mut frozen: Frozen) -> Result<(Frozen, Superblock)> {
        let no_room = |_| Error::Refused(Refusal::NoSpace);
        let shape = self.shape();
        loop {
            let run = self.core().next_run(&mut frozen).map_err(no_room)?;
            let Some(run) = run else { break };
            self.write_run(run.into_write(shape)).await?;
        }
        let (runs, superblock) = self.core().finish(&frozen).map_err(no_room)?;
        for run in runs {
            self.write_run(run.into_write(shape)).await?;
        }
        Ok((frozen, superblock))
    }

    async fn write_run(&self, (offset, bytes): (u64, Buf)) -> Result<()> {
        self.write_firmly(offset, || Buf::from(&bytes[..])).await?;
        self.core().traffic.metadata += bytes.len() as u64;
        Ok(())
    }

    /// A flush of the backend; what of the log was written before it is known durable afterwards.
    async fn flush_written(&self) -> Result<()> {
        let written = self.core().log.written();
        self.backend.flush().await?;
        self.core().log.flushed(written);
        self.flushed.wake_all();
        Ok(())
    }

    async fn write_superblock(&self, superblock: &Superblock, slot: usize) -> Result<()> {
        let make = || {
            let mut buf = Buf::new(superblock::ROOM);
            superblock.encode(slot, &mut buf);
            buf
        };
        let offset = Superblock::slot_offset(slot);
        self.write_firmly(offset, make).await
    }

    /// Waits until the checkpoint with this number is durable.
    pub(super) async fn wait_checkpoint(&self, number: u64) -> Result<()> {
        let look = || {
            let core = self.core();
            if core.checkpoints.done >= number {
                return Some(Ok(()));
            }
            match core.health {
                Health::Stopped => Some(Err(Error::Poisoned)),
                Health::Closed => Some(Err(Error::Refused(Refusal::ShuttingDown))),
                Health::Well => None,
            }
        };
        self.changed.wait_for(look).await
    }
}
