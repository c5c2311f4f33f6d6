//! Compression: a block of 4 KiB as fewer bytes, and back.

use std::cell::RefCell;
use std::sync::Arc;

use lz4_flex::block;

use super::Broken;

/// What is packed, in bytes.
pub const BLOCK: usize = 4096;

/// A compressed block is kept if it saves a sixteenth at least: less is not worth the time that
/// every read of it takes.
const WORTH: usize = BLOCK - BLOCK / 16;

/// The level of Zstandard that packs: the higher ones gain two per cent on blocks, for a third more
/// time.
const ZSTD_LEVEL: i32 = 1;

/// How the bytes of a chunk were made from a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// LZ4 block format; or not at all, where the length is that of a block.
    Lz4,
    /// Zstandard, one frame.
    Zstd,
}

/// What packing takes besides the block, kept by each thread so that it is made once.
struct Bench {
    lz4: block::CompressTable,
    zstd: zstd::bulk::Compressor<'static>,
    unzstd: zstd::bulk::Decompressor<'static>,
    room: Vec<u8>,
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

impl Bench {
    fn new() -> Self {
        let most =
            block::get_maximum_output_size(BLOCK).max(zstd::zstd_safe::compress_bound(BLOCK));
        Self {
            lz4: block::CompressTable::small(),
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("the level exists"),
            unzstd: zstd::bulk::Decompressor::new().expect("there is memory for it"),
            room: vec![0; most],
        }
    }
}

/// The block compressed, shorter by a sixteenth at least; nothing if it cannot be.
///
/// # Panics
/// If `block` is not 4096 bytes long.
pub fn pack(codec: Codec, block: &[u8]) -> Option<Arc<[u8]>> {
    assert_eq!(block.len(), BLOCK);
    BENCH.with_borrow_mut(|bench| {
        let packed = match codec {
            Codec::Lz4 => {
                block::compress_into_with_table(block, &mut bench.room, &mut bench.lz4).ok()
            }
            Codec::Zstd => bench
                .zstd
                .compress_to_buffer(block, &mut bench.room[..])
                .ok(),
        };
        let len = packed.filter(|len| *len <= WORTH)?;
        Some(bench.room[..len].into())
    })
}

/// Writes the block that `packed` was made of into `block`, 4096 bytes long.
///
/// # Errors
/// If it was made of something else, or otherwise.
pub fn unpack(codec: Codec, packed: &[u8], block: &mut [u8]) -> Result<(), Broken> {
    let len = match codec {
        Codec::Lz4 => block::decompress_into(packed, block).map_err(|_| Broken)?,
        Codec::Zstd => BENCH.with_borrow_mut(|bench| {
            let unpacked = bench.unzstd.decompress_to_buffer(packed, block);
            unpacked.map_err(|_| Broken)
        })?,
    };
    match len == BLOCK {
        true => Ok(()),
        false => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        let words = b"the quick brown fox jumps over the lazy dog and on into the wood ";
        words.iter().copied().cycle().take(BLOCK).collect()
    }

    fn noise() -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            state.to_be_bytes()[0]
        };
        (0..BLOCK).map(|_| next()).collect()
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        for codec in [Codec::Lz4, Codec::Zstd] {
            let packed = pack(codec, &text()).expect("it can be");
            assert!(packed.len() < BLOCK / 4);
            let mut block = vec![7; BLOCK];
            assert_eq!(unpack(codec, &packed, &mut block), Ok(()));
            assert_eq!(block, text());
        }
    }

    #[test]
    fn noise_is_not_packed() {
        for codec in [Codec::Lz4, Codec::Zstd] {
            assert_eq!(pack(codec, &noise()), None);
        }
    }

    #[test]
    fn what_is_cut_off_or_makes_no_block_is_broken() {
        for codec in [Codec::Lz4, Codec::Zstd] {
            let packed = pack(codec, &text()).expect("it can be");
            let mut block = vec![0; BLOCK];
            for len in 0..packed.len() {
                assert_eq!(
                    unpack(codec, &packed[..len], &mut block),
                    Err(Broken),
                    "{len}"
                );
            }
            let mut short = vec![0; BLOCK - 1];
            assert_eq!(unpack(codec, &packed, &mut short), Err(Broken));
        }
    }
}
