//! Sizes as people write them: `10G`, `512M`, `4096`, in powers of 1024.

const UNITS: [(char, u32); 5] = [('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50)];

/// The number of bytes that `text` names: a whole number and at most one of the letters K, M, G, T
/// and P, in either case.
///
/// # Errors
/// A sentence that says what is wrong with `text`.
pub fn parse(text: &str) -> Result<u64, String> {
    let unit = text.chars().last().map(|last| last.to_ascii_uppercase());
    let shift = UNITS
        .iter()
        .find(|(letter, _)| unit == Some(*letter))
        .map(|(_, shift)| *shift);
    let digits = match shift {
        Some(_) => &text[..text.len() - 1],
        None => text,
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| format!("'{text}' is not a size such as 4096, 512M or 10G"))?;
    count
        .checked_mul(1 << shift.unwrap_or(0))
        .ok_or_else(|| format!("'{text}' is more than 16 EiB"))
}

/// `bytes` in the largest unit that divides it, so that [`parse`] gives it back.
pub fn format(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .rev()
        .find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift);
    match unit {
        Some((letter, shift)) => format!("{}{letter}", bytes >> shift),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("4k"), Ok(4096));
        assert_eq!(parse("10G"), Ok(10 << 30));
        assert_eq!(parse("0"), Ok(0));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "G", "-1", "1.5G", "10 G", "10X", "99999999999P", "é"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_formatted_size_reads_back() {
        for bytes in [0, 1, 512, 4096, 3 << 20, 1 << 50, (1 << 30) + 1] {
            assert_eq!(parse(&format(bytes)), Ok(bytes));
        }
    }
}
