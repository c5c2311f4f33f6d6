//! Little-endian fields at fixed offsets. Offsets are the format's own, so a field that does not
//! fit is a bug, not bad input; the length of what came from a disk is checked once, by its reader.

/// The bytes of a field.
pub(super) fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&from[at..at + N]);
    field
}

/// An unsigned integer of 16 bits.
pub(super) fn u16_at(from: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes(from, at))
}

/// An unsigned integer of 32 bits.
pub(super) fn u32_at(from: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes(from, at))
}

/// An unsigned integer of 64 bits.
pub(super) fn u64_at(from: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes(from, at))
}

/// Writes a field.
pub(super) fn put(to: &mut [u8], at: usize, field: &[u8]) {
    to[at..at + field.len()].copy_from_slice(field);
}
