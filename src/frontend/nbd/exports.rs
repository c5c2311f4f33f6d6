//! The catalog of volumes as a client of the protocol sees it.

use super::proto::{ExportInfo, Exports};
use crate::volume::{Access, Catalog, Volume};

impl Exports for Catalog {
    fn names(&self) -> Vec<String> {
        Catalog::names(self)
    }

    fn find(&self, name: &str) -> Option<ExportInfo> {
        self.look(name).map(|volume| describe(&volume))
    }
}

fn describe(volume: &Volume) -> ExportInfo {
    let preferred = volume.preferred_block().clamp(512, 32 << 20);
    ExportInfo {
        name: volume.name().to_string(),
        description: volume.description().to_owned(),
        size: volume.size(),
        read_only: volume.access() == Access::Read,
        preferred_block: u32::try_from(preferred).expect("clamped"),
        can_fast_zero: volume.has_fast_zeroes(),
        has_depth: volume.has_depth(),
        bitmaps: volume.bitmaps(),
    }
}
