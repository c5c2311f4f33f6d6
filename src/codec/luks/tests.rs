//! Headers as others write them, and as nobody should.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::super::hex::hex;
use super::hash::Hash;
use super::header::AREA_BYTES;
use super::stripes::{STRIPES, merge};
use super::{
    Header, LOOK_BYTES, Look, LuksError, Made, PAYLOAD_OFFSET, Slot, copy_bytes, look, make,
    newest, v2_json,
};
use crate::base::Extent;
use crate::codec::Secret;

const DISK: u64 = 64 << 20;

/// A header that `qemu-img create -f luks` of QEMU 10.0.2 wrote.
const QEMU: &str = include_str!("../../../tests/golden/luks1.hex");

/// What is not zero at the beginning of a header that `cryptsetup luksFormat` 2.6.1 wrote.
const CRYPTSETUP: &str = include_str!("../../../tests/golden/luks2.hex");

/// Its JSON.
const JSON: &str = include_str!("../../../tests/golden/luks2.json");

fn lines(text: &str) -> Vec<u8> {
    hex(&text.lines().collect::<String>())
}

fn start(bytes: &[u8]) -> [u8; LOOK_BYTES] {
    let mut start = [0; LOOK_BYTES];
    start[..bytes.len()].copy_from_slice(bytes);
    start
}

/// What a header of version 1 says.
fn one(start: &[u8; LOOK_BYTES]) -> Result<Header, LuksError> {
    match look(start, DISK)? {
        Look::One(header) => Ok(*header),
        _ => Err(LuksError::NotLuks),
    }
}

/// The header that cryptsetup wrote, as its first copy.
fn first_copy() -> Vec<u8> {
    let mut copy = lines(CRYPTSETUP);
    copy.resize(LOOK_BYTES, 0);
    copy.extend(JSON.as_bytes());
    copy.resize(16 << 10, 0);
    copy
}

/// The second copy, with this sequence number.
fn second_copy(sequence: u64) -> Vec<u8> {
    let mut copy = first_copy();
    copy[..6].copy_from_slice(b"SKUL\xba\xbe");
    copy[16..24].copy_from_slice(&sequence.to_be_bytes());
    copy[256..264].copy_from_slice(&(16_u64 << 10).to_be_bytes());
    copy[448..512].fill(0);
    let sum = Hash::Sha256.of(&[&copy]);
    copy[448..480].copy_from_slice(sum.as_ref());
    copy
}

fn made() -> Made {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let secret = Secret::copy_of(b"open sesame");
    make(&secret, 1, |bytes| random.fill_bytes(bytes)).expect("a header")
}

/// What the first sector of the disk decrypts to, if `secret` opens a slot.
fn opened(header: &Header, area: &[u8], secret: &[u8]) -> Option<[u8; 512]> {
    let secret = Secret::copy_of(secret);
    let (_, slot) = header.slots().next()?;
    let cipher = header.unlock(slot.ok()?, &secret, area).ok()??;
    let mut sector = [7; 512];
    cipher.decrypt(0, &mut sector);
    Some(sector)
}

#[test]
fn stripes_come_to_what_another_program_says() {
    // Computed with Python's hashlib. A hash of 20 bytes does not divide the key.
    let mut next = 7_u8;
    let stripes: Vec<u8> = std::iter::repeat_with(|| {
        next = next.wrapping_mul(197).wrapping_add(3);
        next
    })
    .take(64 * STRIPES)
    .collect();
    for (hash, key) in [
        (
            Hash::Sha1,
            "6f652b9f18d392813954e16fad6612174a7825ea355984caa59d39c3e04a61b5\
             e5d0666d54bb2ad96523822cc54d0b6d6bbcd607b5ab7c071d20b099e458ab26",
        ),
        (
            Hash::Sha256,
            "62359f2c635fab0a1ae3e769bbf5b97069999d36cfd48cb7e6328c0201e50f5a\
             d70b227096ab03841a2b5f6fc119961599d25d38d3b99f74c81d0ee022fd2e8c",
        ),
        (
            Hash::Sha512,
            "72b01655a5b0e79ff0b8ed35d540a4fe7e11cba901b271eca9945e1558fe7d71\
             58c38ddd3b84a32226260257d96fadf94e5673bc6b901df6714049239b755439",
        ),
    ] {
        assert_eq!(merge(hash, 64, &stripes).expose(), hex(key), "{hash:?}");
    }
}

#[test]
fn a_header_of_qemu_is_read() {
    let header = one(&start(&lines(QEMU))).expect("a good header");
    assert_eq!(header.version, 1);
    assert_eq!(header.payload.at, Extent::between(4040 * 512, DISK));
    assert_eq!(header.payload.sector_bytes, 512);
    let slots: Vec<_> = header.slots().collect();
    let [(0, Ok(slot))] = slots[..] else {
        panic!("{slots:?}")
    };
    let end = 4096 + AREA_BYTES as u64;
    assert_eq!(slot.area(), Extent::between(4096, end));
}

#[test]
fn a_header_of_cryptsetup_is_read() {
    let (first, second) = (first_copy(), second_copy(3));
    assert_eq!(look(&start(&first[..4096]), DISK), Ok(Look::Two));
    assert_eq!(copy_bytes(&first, 0), Some(16 << 10));
    assert_eq!(copy_bytes(&second, 16 << 10), Some(16 << 10));
    assert_eq!(copy_bytes(&second, 0), None);
    assert_eq!(copy_bytes(&second, 32 << 10), None);
    let (header, trouble) = newest(Some(&first), Some(&second), DISK).expect("a good header");
    assert_eq!((header.version, trouble), (2, None));
    assert_eq!(header.payload.at, Extent::between(16 << 20, DISK));
    assert_eq!(header.payload.sector_bytes, 4096);
    let slots: Vec<_> = header.slots().collect();
    let [(0, Ok(slot))] = slots[..] else {
        panic!("{slots:?}")
    };
    assert_eq!(slot.area().offset(), 32768);
}

#[test]
fn the_newer_copy_counts_and_one_is_enough() {
    let (first, older, newer) = (first_copy(), second_copy(2), second_copy(4));
    let told = |first: Option<&[u8]>, second: Option<&[u8]>| {
        newest(first, second, DISK).map(|(_, trouble)| trouble)
    };
    let missing = "the second copy is damaged or not there";
    assert_eq!(
        told(Some(&first), Some(&older)),
        Ok(Some("the second copy is older"))
    );
    assert_eq!(
        told(Some(&first), Some(&newer)),
        Ok(Some("the first copy is older"))
    );
    assert_eq!(told(Some(&first), None), Ok(Some(missing)));
    assert_eq!(
        told(None, Some(&older)),
        Ok(Some("the first copy is damaged or not there"))
    );
    assert_eq!(told(None, None), Err(LuksError::NotLuks));
}

#[test]
fn every_changed_byte_of_a_copy_is_noticed() {
    let (good, second) = (first_copy(), second_copy(3));
    let mut first = good.clone();
    // SHA-256 does not fill the field for a checksum.
    for at in (0..480).chain(512..first.len()) {
        first[at] ^= 0x10;
        let as_found = copy_bytes(&first, 0).map(|bytes| &first[..bytes.min(first.len())]);
        let found = newest(as_found, Some(&second), DISK);
        let (header, trouble) = found.unwrap_or_else(|error| panic!("{at}: {error}"));
        assert!(trouble.is_some(), "byte {at}");
        assert_eq!(header.payload.at.offset(), 16 << 20);
        if at % 64 == 0 {
            assert!(newest(Some(&first), None, DISK).is_err(), "byte {at}");
        }
        first[at] = good[at];
    }
}

#[test]
fn what_is_made_opens_with_its_key_only() {
    let made = made();
    let header = one(&made.header).expect("a good header");
    assert_eq!(header.payload.at.offset(), PAYLOAD_OFFSET);
    assert!(opened(&header, &made.area, b"open sesame").is_some());
    assert!(opened(&header, &made.area, b"open sesam").is_none());
    assert!(opened(&header, &made.area, b"").is_none());
    let uuid = std::str::from_utf8(&made.header[168..204]).expect("text");
    assert_eq!((uuid.len(), &uuid[8..9], &uuid[14..15]), (36, "-", "4"));
    let empty = make(&Secret::copy_of(b""), 1, |_| {}).err();
    assert_eq!(empty, Some(LuksError::EmptyKey));
}

#[test]
fn a_changed_byte_never_opens_another_disk() {
    let mut made = made();
    let right = one(&made.header).expect("a good header");
    let sector = opened(&right, &made.area, b"open sesame");
    assert!(sector.is_some());
    // All before the second slot.
    for at in 0..256 {
        made.header[at] ^= 8;
        if let Ok(header) = one(&made.header) {
            let found = opened(&header, &made.area, b"open sesame");
            // Of the place of the payload nothing in a header of version 1 says that it is right.
            let is_here = header.payload == right.payload || (104..108).contains(&at);
            assert!(found.is_none() || (found == sector && is_here), "byte {at}");
            // The stripes given here are the right ones, wherever the header says they are.
            let is_of_slot = (208..256).contains(&at) && !(248..252).contains(&at);
            let proves = (112..168).contains(&at) || is_of_slot;
            assert!(found.is_none() || !proves, "byte {at}");
        }
        made.header[at] ^= 8;
    }
    for at in [0, 100_000, AREA_BYTES - 1] {
        made.area[at] ^= 1;
        assert_eq!(opened(&right, &made.area, b"open sesame"), None);
        made.area[at] ^= 1;
    }
}

#[test]
fn no_bytes_make_a_header_of_version_1_panic() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
    let good = start(&lines(QEMU));
    let mut count = 0;
    for round in 0..20_000 {
        let mut bytes = good;
        // The names have to be right, or nothing behind them is looked at.
        let changes = 1 + round % 5;
        for _ in 0..changes {
            let at = 104 + usize::try_from(random.next_u64() % 488).expect("small");
            let random = random.next_u64().to_le_bytes();
            bytes[at] = if round % 2 == 0 { random[0] } else { 0xff };
        }
        if let Ok(header) = one(&bytes) {
            count += 1;
            assert!(header.payload.at.fits(DISK));
            let slots = header.slots().filter_map(|(_, slot)| slot.ok());
            assert!(
                slots
                    .map(Slot::area)
                    .all(|at| at.end() <= header.payload.at.offset())
            );
        }
    }
    assert!(count > 1000, "{count} make sense");
    for _ in 0..1000 {
        let mut bytes = [0; LOOK_BYTES];
        random.fill_bytes(&mut bytes);
        assert_eq!(one(&bytes), Err(LuksError::NotLuks));
    }
}

#[test]
fn no_json_makes_a_header_of_version_2_panic() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let mut below = |end: usize| {
        let number = usize::try_from(random.next_u64() >> 33).expect("31 bits");
        number % end
    };
    let words: Vec<&str> = "{ } [ ] \" , : 0 9 99999999999999999999 -1 null \"\" 1e9 type"
        .split(' ')
        .collect();
    for _ in 0..20_000 {
        let mut json = JSON.as_bytes().to_vec();
        for _ in 0..1 + below(3) {
            let from = below(json.len());
            let to = (from + below(4)).min(json.len());
            let word = words[below(words.len())];
            json.splice(from..to, word.bytes());
        }
        if let Ok(header) = v2_json::decode(&json, 32 << 10, DISK) {
            assert!(header.payload.at.fits(DISK));
        }
    }
    let deep = "[".repeat(1 << 20);
    assert!(v2_json::decode(deep.as_bytes(), 32 << 10, DISK).is_err());
}

#[test]
fn what_the_json_asks_for_is_done_or_refused() {
    let with = |from: &str, to: &str| {
        assert_eq!(JSON.matches(from).count(), 1, "{from}");
        let json = JSON.replace(from, to);
        v2_json::decode(json.as_bytes(), 32 << 10, DISK)
    };
    for (from, to, why) in [
        ("\"crypt\"", "\"linear\"", "the segment \"linear\""),
        (
            "\"iv_tweak\"",
            "\"integrity\":{},\"iv_tweak\"",
            "the feature \"integrity\"",
        ),
        (
            "plain64\",\"sector",
            "essiv\",\"sector",
            "the cipher \"aes-xts-essiv\"",
        ),
        ("_size\":4096", "_size\":8192", "the sector size \"8192\""),
        ("\"16777216\"", "\"16384\"", "lies where it cannot"),
        ("\"16777216\"", "\"16777217\"", "lies where it cannot"),
        ("\"16777216\"", "\"18446744073709551104\"", "too small"),
        ("\"dynamic\"", "\"67108864\"", "too small"),
        ("\"dynamic\"", "\"511\"", "too small"),
        ("\"dynamic\"", "\"-1\"", "a number"),
        ("\"iterations\":1000", "\"iterations\":0", "no iterations"),
        (
            "\"iterations\":1000",
            "\"iterations\":4000000000",
            "more than",
        ),
        ("\"segments\":[\"0\"]", "\"segments\":[]", "has no digest"),
        (
            "\"config\":{",
            "\"config\":{\"requirements\":{\"mandatory\":[\"x\"]},",
            "\"x\"",
        ),
        ("eUJjv5fd", "****", "no Base64"),
    ] {
        let error = with(from, to).expect_err(to).to_string();
        assert!(error.contains(why), "{to}: {error}");
    }
    // A slot that makes no sense keeps no other from being tried.
    for (from, to, why) in [
        ("\"luks2\"", "\"reencrypt\"", "the key slot \"reencrypt\""),
        (
            "\"luks2\",\"key_size\":64",
            "\"luks2\",\"key_size\":32",
            "with a key of 32 bytes",
        ),
        ("4000", "4001", "4000 stripes"),
        ("\"32768\"", "\"16384\"", "lies where it cannot"),
        (
            "\"32768\"",
            "\"18446744073709551104\"",
            "lies where it cannot",
        ),
        ("\"258048\"", "\"4096\"", "lies where it cannot"),
        ("\"argon2id\"", "\"scrypt\"", "of no known kind"),
        ("\"memory\":32768", "\"memory\":4294967295", "more than"),
        ("\"time\":4,", "\"time\":4294967295,", "more than"),
    ] {
        let header = with(from, to).expect(to);
        let (_, slot) = header.slots().next().expect("a slot");
        let error = slot.expect_err(to).to_string();
        assert!(error.contains(why), "{to}: {error}");
    }
    let last = with("\"dynamic\"", "\"4608\"").expect("a part of a sector is left out");
    assert_eq!(last.payload.at.bytes(), 4096);
    let idle = with("\"luks2\",", "\"luks2\",\"priority\":0,").expect("a good header");
    assert_eq!(idle.slots().count(), 0);
}

#[test]
fn versions_that_are_not_known_are_refused() {
    let mut bytes = start(&lines(QEMU));
    bytes[7] = 3;
    assert_eq!(look(&bytes, DISK), Err(LuksError::Version(3)));
    bytes[7] = 1;
    bytes[104..108].fill(0);
    let detached = look(&bytes, DISK).expect_err("no payload").to_string();
    assert!(detached.contains("detached"), "{detached}");
    assert_eq!(
        look(&start(&lines(QEMU)), 4040 * 512),
        Err(LuksError::TooSmall)
    );
}
