//! The catalog of volumes as a client of the protocol sees it.

use super::proto::{ExportInfo, Exports};
use crate::volume::{Access, Catalog, Volume};

impl Exports for Catalog {
    fn names(&self) -> Vec<String> {
        let volumes = self.all();
        volumes
            .iter()
            .map(|volume| volume.name().to_owned())
            .collect()
    }

    fn find(&self, name: &str) -> Option<ExportInfo> {
        Catalog::find(self, name).map(|volume| describe(&volume))
    }
}

fn describe(volume: &Volume) -> ExportInfo {
    let preferred = volume.preferred_block().clamp(512, 32 << 20);
    ExportInfo {
        name: volume.name().to_owned(),
        description: volume.description().to_owned(),
        size: volume.size(),
        read_only: volume.access() == Access::Read,
        preferred_block: u32::try_from(preferred).expect("clamped"),
        can_fast_zero: volume.has_fast_zeroes(),
        has_depth: volume.has_depth(),
        bitmaps: volume.bitmaps(),
    }
}
