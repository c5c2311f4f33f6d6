//! Key slots that anybody may have written: an error, or slots that are written again as they were
//! and that a key which is not in them does not open.
//!
//! Seals would keep nearly every input out, so what begins with a byte above 127 is sealed here.
//! The second byte says which slot a change of the master key is settled for.
#![no_main]

use bedplate::codec::{
    AREA_BYTES, Credential, KEY_SLOTS, KeyError, KeySlots, LABEL_BYTES_MAX, Place, Sealer, Secret,
};
use libfuzzer_sys::fuzz_target;

const UUID: [u8; 16] = *b"a store's number";

/// Where the area is sealed: in no segment.
const PLACE: Place = Place {
    seq: u64::MAX,
    offset: 0,
};

fuzz_target!(|data: &[u8]| {
    let [choice, opened, bytes @ ..] = data else {
        return;
    };
    let mut area = bytes.to_vec();
    if choice & 0x80 != 0 {
        area.resize(AREA_BYTES, 0);
        area[16..32].copy_from_slice(&UUID);
        Sealer::new(&UUID).close(PLACE, &mut area);
    }
    let Ok(mut slots) = KeySlots::decode(&UUID, &area) else {
        return;
    };
    assert_eq!(slots.encode(), area);
    let listed = slots.list();
    assert!(listed.len() <= KEY_SLOTS);
    for info in &listed {
        assert!(info.slot < KEY_SLOTS && info.label.len() <= LABEL_BYTES_MAX);
    }
    let stranger = Credential::KeyFile(Secret::new(vec![0x77; 32]));
    let refused = slots.unlock(&stranger).map(drop);
    assert!(matches!(
        refused,
        Err(KeyError::WrongKey | KeyError::NoSlotFor(_))
    ));
    let copies = KeySlots::newest(&UUID, [&area, &area]).expect("it is in order");
    assert_eq!(copies.slots, slots);
    let generation = slots.generation();
    if slots.settle(usize::from(*opened)) {
        assert!(slots.generation() > generation || generation == u64::MAX);
        assert!(!slots.settle(0), "it is settled");
    }
    assert_eq!(KeySlots::decode(&UUID, &slots.encode()), Ok(slots));
});
