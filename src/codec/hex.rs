//! Bytes written as hexadecimal digits, as test vectors are published.

/// The bytes that `text` spells.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty(), "a byte has two digits");
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit");
    let byte = |pair: &[u8; 2]| digit(pair[0]) * 16 + digit(pair[1]);
    pairs
        .iter()
        .map(|pair| u8::try_from(byte(pair)).expect("two digits are a byte"))
        .collect()
}
