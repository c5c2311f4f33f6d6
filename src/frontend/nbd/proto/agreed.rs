//! What client and server have agreed on when the handshake ends.

use super::contexts::Contexts;
use super::export::ExportInfo;
use super::wire::magic;
use super::wire::transmission;

/// How requests and replies are framed (proto.md, "Transmission").
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Framing {
    /// Compact requests, simple replies: what the Linux kernel's client speaks.
    #[default]
    Simple,
    /// Compact requests, structured reply chunks.
    Structured,
    /// Extended headers both ways: 64-bit lengths, structured reply chunks.
    Extended,
}

impl Framing {
    /// What a request begins with.
    pub(super) const fn request_magic(self) -> u32 {
        match self {
            Self::Simple | Self::Structured => magic::REQUEST,
            Self::Extended => magic::EXTENDED_REQUEST,
        }
    }
}

/// The outcome of a handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// The export that the client chose.
    pub export: ExportInfo,
    /// How requests and replies are framed.
    pub framing: Framing,
    /// The metadata contexts that the client selected.
    pub contexts: Contexts,
}

impl Agreed {
    /// The transmission flags that tell the client what it may ask for (proto.md,
    /// "Transmission flags"). A read-only export offers nothing that writes.
    pub fn transmission_flags(&self) -> u16 {
        let mut flags = transmission::HAS_FLAGS
            | transmission::SEND_FLUSH
            | transmission::CAN_MULTI_CONN
            | transmission::SEND_CACHE;
        if self.export.read_only {
            flags |= transmission::READ_ONLY;
        } else {
            flags |=
                transmission::SEND_FUA | transmission::SEND_TRIM | transmission::SEND_WRITE_ZEROES;
            if self.export.can_fast_zero {
                flags |= transmission::SEND_FAST_ZERO;
            }
        }
        if self.framing != Framing::Simple {
            flags |= transmission::SEND_DF;
        }
        if self.can_filter_status() {
            flags |= transmission::BLOCK_STATUS_PAYLOAD;
        }
        flags
    }

    /// Whether a block status request may name the contexts that it wants.
    pub(super) fn can_filter_status(&self) -> bool {
        self.framing == Framing::Extended && !self.contexts.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A writable export of `size` bytes.
    pub(crate) fn export(name: &str, size: u64) -> ExportInfo {
        ExportInfo {
            name: name.to_owned(),
            description: String::new(),
            size,
            read_only: false,
            preferred_block: 4096,
            can_fast_zero: true,
            has_depth: false,
            bitmaps: Vec::new(),
        }
    }

    #[test]
    fn flags_follow_the_export_and_the_framing() {
        let agreed = |read_only, can_fast_zero, framing, contexts| Agreed {
            export: ExportInfo {
                read_only,
                can_fast_zero,
                ..export("a", 1 << 20)
            },
            framing,
            contexts,
        };
        let cases = [
            (
                agreed(false, false, Framing::Simple, Contexts::NONE),
                0b0_0101_0110_1101,
            ),
            (
                agreed(false, true, Framing::Simple, Contexts::ALLOCATION),
                0b0_1101_0110_1101,
            ),
            (
                agreed(true, true, Framing::Simple, Contexts::NONE),
                0b0_0101_0000_0111,
            ),
            (
                agreed(false, true, Framing::Structured, Contexts::ALLOCATION),
                0b0_1101_1110_1101,
            ),
            (
                agreed(false, true, Framing::Extended, Contexts::NONE),
                0b0_1101_1110_1101,
            ),
            (
                agreed(false, true, Framing::Extended, Contexts::ALLOCATION),
                0b1_1101_1110_1101,
            ),
        ];
        for (agreed, flags) in cases {
            assert_eq!(agreed.transmission_flags(), flags, "{agreed:?}");
        }
    }
}
