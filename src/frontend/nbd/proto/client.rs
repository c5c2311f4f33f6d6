//! The client's side of the handshake, for the load generator and for tests.
//!
//! One option at a time, each after the answer to the one before: extended headers, structured
//! replies where those are refused, `base:allocation`, then `NBD_OPT_GO` and, for a server that
//! does not know it, `NBD_OPT_EXPORT_NAME`. TLS is not its business: it runs inside a session
//! that stands, or in the clear.

use super::agreed::Framing;
use super::bytes::Gather;
use super::bytes::Reader;
use super::bytes::length;
use super::bytes::put_string;
use super::bytes::put_u16;
use super::bytes::put_u32;
use super::bytes::put_u64;
use super::client_outcome::ClientError;
use super::client_outcome::ClientExport;
use super::client_outcome::ClientWants;
use super::contexts::ALLOCATION;
use super::wire::EXPORT_NAME_PADDING;
use super::wire::PAYLOAD_DEFAULT;
use super::wire::handshake_flag;
use super::wire::info;
use super::wire::magic;
use super::wire::option;
use super::wire::option_reply;
use crate::base::limits::OPTION_BYTES_MAX;

/// The greeting, in bytes: two magics and the handshake flags.
const GREETING_BYTES: usize = 18;
/// The head of an answer to an option, in bytes.
const REPLY_BYTES: usize = 20;
/// The answer to `NBD_OPT_EXPORT_NAME` without padding, in bytes.
const EXPORT_BYTES: usize = 10;

/// What comes after a call of [`ClientHandshake::advance`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientStep {
    /// All input was taken, and more is needed, after `out` was sent.
    NeedInput,
    /// Requests may be sent; the next byte of the input begins the first reply.
    Ready(ClientExport),
}

/// The client's side of one handshake.
pub struct ClientHandshake {
    name: String,
    wants: ClientWants,
    state: State,
    gather: Gather,
    pads: bool,
    export: ClientExport,
}

enum State {
    Greeting,
    ReplyHead {
        option: u32,
    },
    ReplyData {
        option: u32,
        kind: u32,
        bytes: usize,
    },
    ExportName {
        bytes: usize,
    },
    Ended,
}

impl ClientHandshake {
    /// A handshake that has not begun, for the export that the server calls `export`.
    pub fn new(export: &str, wants: ClientWants) -> Self {
        Self {
            name: export.to_owned(),
            wants,
            state: State::Greeting,
            gather: Gather::default(),
            pads: true,
            export: ClientExport {
                size: 0,
                flags: 0,
                // What a client assumes that is told nothing (proto.md, "Block size constraints").
                block_min: 512,
                block_preferred: 4096,
                block_max: PAYLOAD_DEFAULT,
                framing: Framing::Simple,
                allocation_id: None,
            },
        }
    }

    /// Takes what it can from the front of `input` and appends what the client says to `out`.
    ///
    /// # Panics
    /// If it is called after [`ClientStep::Ready`].
    pub fn advance(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<ClientStep, ClientError> {
        loop {
            let want = match self.state {
                State::Greeting => GREETING_BYTES,
                State::ReplyHead { .. } => REPLY_BYTES,
                State::ReplyData { bytes, .. } | State::ExportName { bytes } => bytes,
                State::Ended => unreachable!("a handshake ends once"),
            };
            let Some(bytes) = self.gather.take(input, want) else {
                return Ok(ClientStep::NeedInput);
            };
            match self.state {
                State::Greeting => self.greeting(&bytes, out)?,
                State::ReplyHead { option } => self.reply_head(option, &bytes)?,
                State::ReplyData { option, kind, .. } => self.reply(option, kind, &bytes, out)?,
                State::ExportName { .. } => self.exported(&bytes).ok_or(ClientError::BadReply)?,
                State::Ended => {}
            }
            if matches!(self.state, State::Ended) {
                return Ok(ClientStep::Ready(self.export));
            }
        }
    }

    fn greeting(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ClientError> {
        let mut reader = Reader::new(bytes);
        let magics = (reader.u64(), reader.u64());
        if magics != (Some(magic::GREETING), Some(magic::OPTION)) {
            return Err(ClientError::NotNewstyle);
        }
        let known = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        let flags = reader.u16().ok_or(ClientError::NotNewstyle)? & known;
        put_u32(out, u32::from(flags));
        self.pads = flags & handshake_flag::NO_ZEROES == 0;
        if flags & handshake_flag::FIXED_NEWSTYLE == 0 {
            self.ask_by_name(out);
        } else if self.wants.extended {
            self.ask(option::EXTENDED_HEADERS, &[], out);
        } else {
            self.ask_structured(out);
        }
        Ok(())
    }

    fn ask(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) {
        put_u64(out, magic::OPTION);
        put_u32(out, option);
        put_u32(out, length(data));
        out.extend_from_slice(data);
        self.state = State::ReplyHead { option };
    }

    fn ask_structured(&mut self, out: &mut Vec<u8>) {
        if self.wants.structured {
            self.ask(option::STRUCTURED_REPLY, &[], out);
        } else {
            self.ask_allocation(out);
        }
    }

    fn ask_allocation(&mut self, out: &mut Vec<u8>) {
        if !self.wants.allocation || self.export.framing == Framing::Simple {
            return self.ask_go(out);
        }
        let mut data = Vec::new();
        put_string(&mut data, self.name.as_bytes());
        put_u32(&mut data, 1);
        put_string(&mut data, ALLOCATION.as_bytes());
        self.ask(option::SET_META_CONTEXT, &data, out);
    }

    fn ask_go(&mut self, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        put_string(&mut data, self.name.as_bytes());
        put_u16(&mut data, 1);
        put_u16(&mut data, info::BLOCK_SIZE);
        self.ask(option::GO, &data, out);
    }

    fn ask_by_name(&mut self, out: &mut Vec<u8>) {
        let name = self.name.clone();
        self.ask(option::EXPORT_NAME, name.as_bytes(), out);
        let padding = if self.pads { EXPORT_NAME_PADDING } else { 0 };
        self.state = State::ExportName {
            bytes: EXPORT_BYTES + padding,
        };
    }

    fn reply_head(&mut self, option: u32, bytes: &[u8]) -> Result<(), ClientError> {
        let mut reader = Reader::new(bytes);
        if (reader.u64(), reader.u32()) != (Some(magic::OPTION_REPLY), Some(option)) {
            return Err(ClientError::BadReply);
        }
        let (Some(kind), Some(length)) = (reader.u32(), reader.u32()) else {
            return Err(ClientError::BadReply);
        };
        let bytes = usize::try_from(length)
            .ok()
            .filter(|bytes| *bytes <= OPTION_BYTES_MAX)
            .ok_or(ClientError::ReplyTooLong(length))?;
        self.state = State::ReplyData {
            option,
            kind,
            bytes,
        };
        Ok(())
    }

    fn reply(
        &mut self,
        option: u32,
        kind: u32,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ClientError> {
        self.state = State::ReplyHead { option };
        let agreed = kind == option_reply::ACK;
        if !agreed && kind & option_reply::ERROR_BIT == 0 {
            return self.told(option, kind, data).ok_or(ClientError::BadReply);
        }
        match option {
            option::EXTENDED_HEADERS if agreed => {
                self.export.framing = Framing::Extended;
                self.ask_allocation(out);
            }
            option::EXTENDED_HEADERS => self.ask_structured(out),
            option::STRUCTURED_REPLY => {
                if agreed {
                    self.export.framing = Framing::Structured;
                }
                self.ask_allocation(out);
            }
            option::SET_META_CONTEXT => {
                if !agreed {
                    self.export.allocation_id = None;
                }
                self.ask_go(out);
            }
            _ if agreed => self.state = State::Ended,
            _ if kind == option_reply::ERR_UNSUP && self.export.framing != Framing::Extended => {
                self.ask_by_name(out);
            }
            _ => return Err(ClientError::Refused(kind)),
        }
        Ok(())
    }

    /// Something that a server tells before it agrees. What is not understood is no harm.
    fn told(&mut self, option: u32, kind: u32, data: &[u8]) -> Option<()> {
        let mut reader = Reader::new(data);
        if option == option::SET_META_CONTEXT && kind == option_reply::META_CONTEXT {
            let id = reader.u32()?;
            if reader.rest() == ALLOCATION.as_bytes() {
                self.export.allocation_id = Some(id);
            }
        }
        if option != option::GO || kind != option_reply::INFO {
            return Some(());
        }
        match reader.u16()? {
            info::EXPORT => {
                self.export.size = reader.u64()?;
                self.export.flags = reader.u16()?;
            }
            info::BLOCK_SIZE => {
                self.export.block_min = reader.u32()?;
                self.export.block_preferred = reader.u32()?;
                self.export.block_max = reader.u32()?;
            }
            _ => return Some(()),
        }
        reader.rest().is_empty().then_some(())
    }

    fn exported(&mut self, bytes: &[u8]) -> Option<()> {
        let mut reader = Reader::new(bytes);
        self.export.size = reader.u64()?;
        self.export.flags = reader.u16()?;
        self.state = State::Ended;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::agreed::tests::export;
    use super::super::contexts::Contexts;
    use super::super::export::ExportInfo;
    use super::super::export::Exports;
    use super::super::handshake::Handshake;
    use super::super::handshake::Step;
    use super::super::tls::TlsPolicy;
    use super::*;

    struct One;

    impl Exports for One {
        fn names(&self) -> Vec<String> {
            vec!["disk".to_owned()]
        }

        fn find(&self, name: &str) -> Option<ExportInfo> {
            (name == "disk").then(|| export("disk", 1 << 30))
        }
    }

    fn wants(structured: bool, extended: bool, allocation: bool) -> ClientWants {
        ClientWants {
            structured,
            extended,
            allocation,
        }
    }

    /// Both ends against each other, in memory.
    fn meet(name: &str, wants: ClientWants, tls: TlsPolicy) -> Result<ClientExport, ClientError> {
        let mut server = Handshake::new(tls);
        let mut client = ClientHandshake::new(name, wants);
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        loop {
            let step = server
                .advance(&mut &to_server[..], &One, &mut to_client)
                .unwrap();
            to_server.clear();
            let mut input = &to_client[..];
            if let ClientStep::Ready(export) = client.advance(&mut input, &mut to_server)? {
                let Step::Transmission(agreed) = step else {
                    panic!("{step:?}");
                };
                assert!(input.is_empty() && to_server.is_empty());
                assert_eq!(agreed.framing, export.framing);
                assert_eq!(agreed.transmission_flags(), export.flags);
                let allocation = agreed.contexts == Contexts::ALLOCATION;
                assert_eq!(export.allocation_id.is_some(), allocation);
                return Ok(export);
            }
            to_client.clear();
        }
    }

    #[test]
    fn both_ends_agree() {
        let (simple, structured) = (Framing::Simple, Framing::Structured);
        let cases = [
            (wants(false, false, false), simple, None),
            (wants(false, false, true), simple, None),
            (wants(true, false, false), structured, None),
            (wants(true, false, true), structured, Some(1)),
            (wants(true, true, true), Framing::Extended, Some(1)),
            (wants(false, true, false), Framing::Extended, None),
        ];
        for (wants, framing, allocation_id) in cases {
            let export = meet("disk", wants, TlsPolicy::Optional).unwrap();
            assert_eq!(
                (export.framing, export.allocation_id),
                (framing, allocation_id)
            );
            assert_eq!(export.size, 1 << 30);
            let blocks = (export.block_min, export.block_preferred, export.block_max);
            assert_eq!(blocks, (1, 4096, 32 << 20));
        }
    }

    #[test]
    fn refusals_are_told() {
        for (name, tls, kind) in [
            ("nobody", TlsPolicy::Off, option_reply::ERR_UNKNOWN),
            ("disk", TlsPolicy::Required, option_reply::ERR_TLS_REQD),
        ] {
            let met = meet(name, wants(true, true, true), tls);
            assert_eq!(met, Err(ClientError::Refused(kind)));
        }
    }

    fn greeting(flags: u16) -> Vec<u8> {
        let mut bytes = b"NBDMAGICIHAVEOPT".to_vec();
        put_u16(&mut bytes, flags);
        bytes
    }

    fn reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_u64(&mut bytes, magic::OPTION_REPLY);
        put_u32(&mut bytes, option);
        put_u32(&mut bytes, kind);
        put_string(&mut bytes, data);
        bytes
    }

    /// A client that wants everything, against a server that says `said`; also byte by byte.
    fn check(said: &[Vec<u8>], expected: Result<ClientStep, ClientError>) -> Vec<u8> {
        let said = said.concat();
        let mut client = ClientHandshake::new("disk", wants(true, true, true));
        let mut out = Vec::new();
        assert_eq!(client.advance(&mut &said[..], &mut out), expected);
        let mut client = ClientHandshake::new("disk", wants(true, true, true));
        let (mut bytewise, mut step) = (Vec::new(), Ok(ClientStep::NeedInput));
        for byte in said.chunks(1) {
            if step == Ok(ClientStep::NeedInput) {
                step = client.advance(&mut &byte[..], &mut bytewise);
            }
        }
        assert_eq!((step, &bytewise), (expected, &out));
        out
    }

    #[test]
    fn old_servers_are_asked_by_name() {
        let exported = [&7_u64.to_be_bytes()[..], &[0, 1]].concat();
        let ready = |framing| {
            Ok(ClientStep::Ready(ClientExport {
                size: 7,
                flags: 1,
                block_min: 512,
                block_preferred: 4096,
                block_max: 32 << 20,
                framing,
                allocation_id: None,
            }))
        };
        let padded = [&exported[..], &[0; 124]].concat();
        check(&[greeting(0), padded.clone()], ready(Framing::Simple));
        check(&[greeting(2), exported.clone()], ready(Framing::Simple));
        let no = |option| reply(option, option_reply::ERR_UNSUP, b"what?");
        let (extended, structured) = (option::EXTENDED_HEADERS, option::STRUCTURED_REPLY);
        let said = [
            greeting(1),
            no(extended),
            no(structured),
            no(option::GO),
            padded,
        ];
        check(&said, ready(Framing::Simple));
        let yes = reply(structured, option_reply::ACK, &[]);
        let context = no(option::SET_META_CONTEXT);
        let said = [
            greeting(3),
            no(extended),
            yes,
            context,
            no(option::GO),
            exported,
        ];
        let out = check(&said, ready(Framing::Structured));
        assert!(out.ends_with(b"IHAVEOPT\0\0\0\x01\0\0\0\x04disk"));
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        let extended = option::EXTENDED_HEADERS;
        check(
            &[b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53\0\0".to_vec()],
            Err(ClientError::NotNewstyle),
        );
        check(&[greeting(3), vec![0; 20]], Err(ClientError::BadReply));
        let other = reply(option::LIST, option_reply::ACK, &[]);
        check(&[greeting(3), other], Err(ClientError::BadReply));
        let long = reply(extended, option_reply::ACK, &[0; 65537]);
        check(&[greeting(3), long], Err(ClientError::ReplyTooLong(65537)));
        let yes = reply(extended, option_reply::ACK, &[]);
        let context = reply(
            option::SET_META_CONTEXT,
            option_reply::META_CONTEXT,
            &[0; 3],
        );
        check(
            &[greeting(3), yes.clone(), context],
            Err(ClientError::BadReply),
        );
        let none = reply(option::SET_META_CONTEXT, option_reply::ACK, &[]);
        for data in [&[][..], &[0, 0, 1], &[0; 13], &[0, 3, 1]] {
            let info = reply(option::GO, option_reply::INFO, data);
            check(
                &[greeting(3), yes.clone(), none.clone(), info],
                Err(ClientError::BadReply),
            );
        }
        let unsup = reply(option::GO, option_reply::ERR_UNSUP, &[]);
        let refused = Err(ClientError::Refused(option_reply::ERR_UNSUP));
        check(&[greeting(3), yes, none, unsup], refused);
    }
}
