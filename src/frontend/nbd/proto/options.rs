//! The answers to the options of a client, each from its whole data.

use super::agreed::Agreed;
use super::agreed::Framing;
use super::bytes::Reader;
use super::bytes::length;
use super::bytes::put_string;
use super::bytes::put_u16;
use super::bytes::put_u32;
use super::bytes::put_u64;
use super::contexts::Contexts;
use super::export::ExportInfo;
use super::export::Exports;
use super::meta_context;
use super::wire::EXPORT_NAME_PADDING;
use super::wire::PAYLOAD_DEFAULT;
use super::wire::info;
use super::wire::magic;
use super::wire::option;
use super::wire::option_reply;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::limits::OPTION_BYTES_MAX;
use crate::base::limits::PAYLOAD_BYTES_MAX;

/// What follows the answer to `NBD_OPT_EXPORT_NAME` for a client that does not decline it.
pub(super) const PADDING: &[u8] = &[0; EXPORT_NAME_PADDING];

const _: () = assert!(PAYLOAD_BYTES_MAX == 32 << 20 && PAYLOAD_DEFAULT == 32 << 20);

/// A refusal: what the reply says to programs and what it says to people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    kind: u32,
    text: &'static str,
}

impl Refused {
    pub(super) const TLS_REQUIRED: Self =
        Self::new(option_reply::ERR_TLS_REQD, "this server requires TLS");
    pub(super) const TLS_OFF: Self =
        Self::new(option_reply::ERR_POLICY, "this server does not offer TLS");
    pub(super) const TLS_TWICE: Self = Self::invalid("TLS already stands");
    pub(super) const SHUTTING_DOWN: Self =
        Self::new(option_reply::ERR_SHUTDOWN, "this server is shutting down");
    pub(super) const UNKNOWN_EXPORT: Self =
        Self::new(option_reply::ERR_UNKNOWN, "there is no such export");
    pub(super) const MALFORMED: Self = Self::invalid("the lengths in the option do not add up");

    const fn new(kind: u32, text: &'static str) -> Self {
        Self { kind, text }
    }

    pub(super) const fn invalid(text: &'static str) -> Self {
        Self::new(option_reply::ERR_INVALID, text)
    }

    pub(super) fn reply_to(self, option: u32, out: &mut Vec<u8>) {
        put_reply(out, option, self.kind, self.text.as_bytes());
    }
}

/// What has been negotiated so far.
#[derive(Default)]
pub(super) struct Negotiated {
    pub(super) framing: Framing,
    pub(super) selection: Option<Selection>,
}

/// The metadata contexts that were selected for an export, as it was then: its bitmaps may be
/// others by now, and they are what the client was told numbers for.
pub(super) struct Selection {
    pub(super) export: ExportInfo,
    pub(super) contexts: Contexts,
}

impl Negotiated {
    pub(super) fn has_extended_headers(&self) -> bool {
        self.framing == Framing::Extended
    }

    pub(super) fn forget_contexts(&mut self) {
        self.selection = None;
    }

    /// Ends the negotiation with `export`. Contexts selected for another one do not count.
    fn agree_on(&mut self, export: ExportInfo) -> Agreed {
        let selection = self.selection.take();
        let is_meant = |selection: &Selection| selection.export.name == export.name;
        let (bitmaps, contexts) = match selection.filter(is_meant) {
            Some(Selection {
                export: then,
                contexts,
            }) => (then.bitmaps, contexts),
            None => (Vec::new(), Contexts::NONE),
        };
        Agreed {
            export: ExportInfo { bitmaps, ..export },
            framing: self.framing,
            contexts,
        }
    }
}

/// Why an option is refused whatever its `bytes` bytes of data say.
pub(super) fn refuse_unread(option: u32, bytes: usize) -> Option<Refused> {
    match option {
        option::STARTTLS | option::LIST | option::STRUCTURED_REPLY | option::EXTENDED_HEADERS => {
            (bytes > 0).then(|| Refused::invalid("this option takes no data"))
        }
        option::INFO | option::GO | option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
            let refused = Refused::new(option_reply::ERR_TOO_BIG, "the option is too long");
            (bytes > OPTION_BYTES_MAX).then_some(refused)
        }
        _ => Some(Refused::new(option_reply::ERR_UNSUP, "unknown option")),
    }
}

/// Answers any option that does not concern the connection itself. `NBD_OPT_GO` of an export that
/// there is yields the agreement; everything else goes on.
pub(super) fn answer(
    option: u32,
    data: &[u8],
    negotiated: &mut Negotiated,
    exports: &dyn Exports,
    out: &mut Vec<u8>,
) -> Result<Option<Agreed>, Refused> {
    match option {
        option::LIST => list(exports, out),
        option::INFO => info(data, negotiated, exports, out)?,
        option::GO => return go(data, negotiated, exports, out).map(Some),
        option::STRUCTURED_REPLY => structured_reply(negotiated)?,
        option::EXTENDED_HEADERS => extended_headers(negotiated)?,
        option::LIST_META_CONTEXT => meta_context::list(data, negotiated, exports, out)?,
        option::SET_META_CONTEXT => meta_context::set(data, negotiated, exports, out)?,
        _ => unreachable!("unknown options are refused unread"),
    }
    put_reply(out, option, option_reply::ACK, &[]);
    Ok(None)
}

/// `NBD_OPT_EXPORT_NAME`: the data is the name.
pub(super) fn export_name(
    data: &[u8],
    negotiated: &mut Negotiated,
    exports: &dyn Exports,
) -> Option<Agreed> {
    let export = exports.find(name(data).ok()?)?;
    Some(negotiated.agree_on(export))
}

/// The answer to `NBD_OPT_EXPORT_NAME`, which has no header: size, transmission flags, padding.
pub(super) fn put_export(out: &mut Vec<u8>, agreed: &Agreed, padding: &[u8]) {
    put_u64(out, agreed.export.size);
    put_u16(out, agreed.transmission_flags());
    out.extend_from_slice(padding);
}

/// Appends one reply to an option.
pub(super) fn put_reply(out: &mut Vec<u8>, option: u32, kind: u32, payload: &[u8]) {
    put_u64(out, magic::OPTION_REPLY);
    put_u32(out, option);
    put_u32(out, kind);
    put_u32(out, length(payload));
    out.extend_from_slice(payload);
}

/// An export name as the client spells it (proto.md, "Conventions": UTF-8 without NUL).
pub(super) fn name(bytes: &[u8]) -> Result<&str, Refused> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(Refused::invalid("the export name is too long"));
    }
    std::str::from_utf8(bytes)
        .ok()
        .filter(|name| !name.contains('\0'))
        .ok_or(Refused::invalid("the export name is not text"))
}

fn list(exports: &dyn Exports, out: &mut Vec<u8>) {
    for name in exports.names() {
        // Gone since: exports come and go while clients ask.
        let Some(export) = exports.find(&name) else {
            continue;
        };
        let mut payload = Vec::new();
        put_string(&mut payload, name.as_bytes());
        payload.extend_from_slice(export.description.as_bytes());
        put_reply(out, option::LIST, option_reply::SERVER, &payload);
    }
}

fn structured_reply(negotiated: &mut Negotiated) -> Result<(), Refused> {
    match negotiated.framing {
        Framing::Simple => negotiated.framing = Framing::Structured,
        Framing::Structured => {
            return Err(Refused::invalid("structured replies already agreed on"));
        }
        Framing::Extended => {
            let text = "extended headers already agreed on";
            return Err(Refused::new(option_reply::ERR_EXT_HEADER_REQD, text));
        }
    }
    Ok(())
}

fn extended_headers(negotiated: &mut Negotiated) -> Result<(), Refused> {
    if negotiated.has_extended_headers() {
        return Err(Refused::invalid("extended headers already agreed on"));
    }
    negotiated.framing = Framing::Extended;
    Ok(())
}

fn info(
    data: &[u8],
    negotiated: &Negotiated,
    exports: &dyn Exports,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let (name, wanted) = parse_go(data)?;
    let export = exports.find(name).ok_or(Refused::UNKNOWN_EXPORT)?;
    // The contexts that the client may still select decide what it is told, not those that it
    // has selected: asking first and selecting afterwards is the point of this option.
    let agreed = Agreed {
        export,
        framing: negotiated.framing,
        contexts: Contexts::ALLOCATION,
    };
    put_infos(out, option::INFO, &agreed, &wanted);
    Ok(())
}

fn go(
    data: &[u8],
    negotiated: &mut Negotiated,
    exports: &dyn Exports,
    out: &mut Vec<u8>,
) -> Result<Agreed, Refused> {
    let (name, wanted) = parse_go(data)?;
    let export = exports.find(name).ok_or(Refused::UNKNOWN_EXPORT)?;
    let agreed = negotiated.agree_on(export);
    put_infos(out, option::GO, &agreed, &wanted);
    put_reply(out, option::GO, option_reply::ACK, &[]);
    Ok(agreed)
}

/// The data of `NBD_OPT_GO` and `NBD_OPT_INFO`: a name, and the kinds of information wanted, of
/// which unknown ones are ignored.
fn parse_go(data: &[u8]) -> Result<(&str, Vec<u16>), Refused> {
    let mut reader = Reader::new(data);
    let (Some(bytes), Some(count)) = (reader.string(), reader.u16()) else {
        return Err(Refused::MALFORMED);
    };
    let (kinds, []) = reader.rest().as_chunks::<2>() else {
        return Err(Refused::MALFORMED);
    };
    if kinds.len() != usize::from(count) {
        return Err(Refused::MALFORMED);
    }
    let wanted = kinds.iter().map(|kind| u16::from_be_bytes(*kind));
    Ok((name(bytes)?, wanted.collect()))
}

/// Size, flags and block sizes always: some clients do not ask for block sizes and still heed
/// them. Name and description where they are asked for.
fn put_infos(out: &mut Vec<u8>, option: u32, agreed: &Agreed, wanted: &[u16]) {
    let export = &agreed.export;
    put_info(out, option, info::EXPORT, |payload| {
        put_u64(payload, export.size);
        put_u16(payload, agreed.transmission_flags());
    });
    if wanted.contains(&info::NAME) {
        put_info(out, option, info::NAME, |payload| {
            payload.extend_from_slice(export.name.as_bytes());
        });
    }
    if wanted.contains(&info::DESCRIPTION) && !export.description.is_empty() {
        put_info(out, option, info::DESCRIPTION, |payload| {
            payload.extend_from_slice(export.description.as_bytes());
        });
    }
    put_info(out, option, info::BLOCK_SIZE, |payload| {
        put_u32(payload, 1);
        put_u32(payload, export.preferred_block);
        put_u32(payload, PAYLOAD_DEFAULT);
    });
}

fn put_info(out: &mut Vec<u8>, option: u32, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut payload = Vec::new();
    put_u16(&mut payload, kind);
    fill(&mut payload);
    put_reply(out, option, option_reply::INFO, &payload);
}
