//! What happens to bytes between a guest and a backend: pure functions, no I/O and no state.

mod pack;
mod seal;

pub use pack::{BLOCK, Codec, pack, unpack};
pub use seal::{Broken, Place, Sealer, TAG_BYTES};
