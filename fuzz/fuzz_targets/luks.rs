//! Headers of encrypted disks that anybody may have written: an error or a header that fits the
//! disk, never a panic.
#![no_main]

use bedplate::codec::luks::{Header, LOOK_BYTES, Look, look, newest};
use libfuzzer_sys::fuzz_target;

const DISK_BYTES: u64 = 64 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut start = [0; LOOK_BYTES];
    let len = bytes.len().min(LOOK_BYTES);
    start[..len].copy_from_slice(&bytes[..len]);
    if let Ok(Look::One(header)) = look(&start, DISK_BYTES) {
        check(&header);
    }
    if let Ok((header, _)) = newest(Some(bytes), None, DISK_BYTES) {
        check(&header);
    }
});

fn check(header: &Header) {
    let payload = header.payload.at;
    assert!(payload.fits(DISK_BYTES) && !payload.is_empty());
    let slots = header.slots().filter_map(|(_, slot)| slot.ok());
    assert!(
        slots
            .map(|slot| slot.area())
            .all(|area| area.fits(payload.offset()))
    );
}
