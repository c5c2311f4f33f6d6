//! The server's side of the handshake, from the greeting to the choice of an export.
//!
//! proto.md, "Negotiation": fixed newstyle. The server greets, the client sends its flags and
//! then one option after the other. An option is collected whole before it is answered, unless
//! its header already tells that it will be refused; then its data is thrown away as it comes.
//!
//! ```text
//! Greet -> ClientFlags -> Header -> Data  -> Header ...            an option, answered
//!                                \> Drain -> Header ...            an option, refused
//!                         Data -> AwaitTls -> (tls_established) -> Header
//!                         Data, Drain -> Ended                     an export chosen, or ABORT
//! ```

use super::agreed::Agreed;
use super::bytes::Gather;
use super::bytes::Reader;
use super::bytes::put_u16;
use super::bytes::put_u64;
use super::export::Exports;
use super::handshake_error::HandshakeError;
use super::option_header::OptionHeader;
use super::options;
use super::options::Negotiated;
use super::options::Refused;
use super::tls::Tls;
use super::tls::TlsPolicy;
use super::wire::handshake_flag;
use super::wire::magic;
use super::wire::option;
use super::wire::option_reply;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::limits::OPTION_BYTES_MAX;
use crate::base::limits::OPTIONS_MAX;

/// How much a client may have the server say before it takes any of it, in bytes. A listing is
/// many times as long as the option that asks for it, so a thousand options in one packet would
/// otherwise be answered with as many listings in memory.
const UNSENT_BYTES_MAX: usize = OPTION_BYTES_MAX;

/// What comes after a call of [`Handshake::advance`]. In all cases `out` is to be sent first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// All input was taken, and more is needed.
    NeedInput,
    /// There is more to say than should be held: send `out`, empty it, and call again with what
    /// is left of the input.
    NeedOutput,
    /// The client starts TLS with the next byte: [`Handshake::tls_established`] is to follow.
    StartTls,
    /// The client has chosen; the next byte of the input begins its first request.
    Transmission(Agreed),
    /// The client has given up, in good order.
    Closed,
}

/// The server's side of one handshake.
pub struct Handshake {
    tls: Tls,
    state: State,
    gather: Gather,
    client_flags: u16,
    options: usize,
    negotiated: Negotiated,
    is_shut_down: bool,
}

enum State {
    Greet,
    ClientFlags,
    Header,
    Data {
        option: u32,
        bytes: usize,
    },
    Drain {
        option: u32,
        left: usize,
        then: AfterDrain,
    },
    AwaitTls,
    Ended,
}

#[derive(Clone, Copy)]
enum AfterDrain {
    Refuse(Refused),
    Abort,
}

impl Handshake {
    /// A handshake that has not begun.
    pub fn new(tls: TlsPolicy) -> Self {
        Self {
            tls: Tls::new(tls),
            state: State::Greet,
            gather: Gather::default(),
            client_flags: 0,
            options: 0,
            negotiated: Negotiated::default(),
            is_shut_down: false,
        }
    }

    /// Refuses what the client asks for from now on, since the server is going.
    pub fn shut_down(&mut self) {
        self.is_shut_down = true;
    }

    /// Takes what it can from the front of `input` and appends what the server says to `out`:
    /// on the first call the greeting, even where the input is empty.
    ///
    /// # Panics
    /// If it is called after [`Step::Transmission`] or [`Step::Closed`], or after
    /// [`Step::StartTls`] without [`tls_established`](Self::tls_established).
    pub fn advance(
        &mut self,
        input: &mut &[u8],
        exports: &dyn Exports,
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        loop {
            let step = match self.state {
                State::Greet => {
                    greet(out);
                    self.state = State::ClientFlags;
                    None
                }
                State::ClientFlags => match self.gather.take(input, 4) {
                    Some(flags) => self.client_flags(&flags)?,
                    None => Some(Step::NeedInput),
                },
                State::Header if out.len() > UNSENT_BYTES_MAX => Some(Step::NeedOutput),
                State::Header => match self.gather.take(input, OptionHeader::BYTES) {
                    Some(header) => self.header(&header)?,
                    None => Some(Step::NeedInput),
                },
                State::Data { option, bytes } => match self.gather.take(input, bytes) {
                    Some(data) => self.answer(option, &data, exports, out)?,
                    None => Some(Step::NeedInput),
                },
                State::Drain { option, left, then } => {
                    let taken = left.min(input.len());
                    *input = &input[taken..];
                    self.drained(option, left - taken, then, out)
                }
                State::AwaitTls => unreachable!("TLS was announced and has to stand first"),
                State::Ended => unreachable!("a handshake ends once"),
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Goes on inside the TLS session that now stands. What was negotiated in the clear could
    /// have been negotiated by somebody else, so it is forgotten (proto.md, "TLS support"); the
    /// client flags stay, for there is no second greeting.
    ///
    /// # Panics
    /// If the step before was not [`Step::StartTls`].
    pub fn tls_established(&mut self) {
        assert!(
            matches!(self.state, State::AwaitTls),
            "TLS stands only where it was asked for"
        );
        self.tls.established();
        self.negotiated = Negotiated::default();
        self.state = State::Header;
    }

    fn client_flags(&mut self, bytes: &[u8]) -> Result<Option<Step>, HandshakeError> {
        let flags = Reader::new(bytes).u32().expect("four bytes were gathered");
        self.client_flags = u16::try_from(flags)
            .ok()
            .filter(|flags| flags & !offered_flags() == 0)
            .ok_or(HandshakeError::ClientFlags(flags))?;
        self.state = State::Header;
        Ok(None)
    }

    /// Decides from its header alone whether an option is to be collected or thrown away.
    fn header(&mut self, header: &[u8]) -> Result<Option<Step>, HandshakeError> {
        let header = OptionHeader::decode(header)?;
        self.options += 1;
        if self.options > OPTIONS_MAX {
            return Err(HandshakeError::TooManyOptions);
        }
        let OptionHeader { option, bytes, .. } = header;
        if option == option::EXPORT_NAME {
            self.may_use_export_name(header)?;
        } else if self.client_flags & handshake_flag::FIXED_NEWSTYLE == 0 {
            return Err(HandshakeError::NotFixedNewstyle(option));
        }
        self.state = match self.drain_reason(option, bytes) {
            Some(then) => State::Drain {
                option,
                left: bytes,
                then,
            },
            None => State::Data { option, bytes },
        };
        Ok(None)
    }

    /// `NBD_OPT_EXPORT_NAME` has no error reply: whatever is wrong with it ends the connection.
    fn may_use_export_name(&self, header: OptionHeader) -> Result<(), HandshakeError> {
        if self.is_shut_down {
            return Err(HandshakeError::ShuttingDown);
        }
        if self.tls.is_missing() {
            return Err(HandshakeError::TlsRequired);
        }
        if self.negotiated.has_extended_headers() {
            return Err(HandshakeError::ExportNameWithExtendedHeaders);
        }
        if header.bytes > NAME_BYTES_MAX {
            return Err(HandshakeError::OptionTooLong(header.length));
        }
        Ok(())
    }

    fn drain_reason(&mut self, option: u32, bytes: usize) -> Option<AfterDrain> {
        if option == option::EXPORT_NAME {
            return None;
        }
        if option == option::ABORT {
            return Some(AfterDrain::Abort);
        }
        if self.is_shut_down {
            return Some(AfterDrain::Refuse(Refused::SHUTTING_DOWN));
        }
        if option == option::SET_META_CONTEXT {
            // It replaces what was selected even where it fails (proto.md,
            // `NBD_OPT_SET_META_CONTEXT`).
            self.negotiated.forget_contexts();
        }
        if self.tls.is_missing() && option != option::STARTTLS {
            return Some(AfterDrain::Refuse(Refused::TLS_REQUIRED));
        }
        options::refuse_unread(option, bytes).map(AfterDrain::Refuse)
    }

    fn drained(
        &mut self,
        option: u32,
        left: usize,
        then: AfterDrain,
        out: &mut Vec<u8>,
    ) -> Option<Step> {
        if left > 0 {
            self.state = State::Drain { option, left, then };
            return Some(Step::NeedInput);
        }
        match then {
            AfterDrain::Refuse(refused) => {
                refused.reply_to(option, out);
                self.state = State::Header;
                None
            }
            AfterDrain::Abort => {
                options::put_reply(out, option, option_reply::ACK, &[]);
                self.state = State::Ended;
                Some(Step::Closed)
            }
        }
    }

    fn answer(
        &mut self,
        option: u32,
        data: &[u8],
        exports: &dyn Exports,
        out: &mut Vec<u8>,
    ) -> Result<Option<Step>, HandshakeError> {
        self.state = State::Header;
        if option == option::EXPORT_NAME {
            let agreed = options::export_name(data, &mut self.negotiated, exports)
                .ok_or(HandshakeError::UnknownExport)?;
            let pads = self.client_flags & handshake_flag::NO_ZEROES == 0;
            options::put_export(out, &agreed, if pads { options::PADDING } else { &[] });
            return Ok(Some(self.end(agreed)));
        }
        if option == option::STARTTLS {
            return Ok(self.start_tls(out));
        }
        let agreed = match options::answer(option, data, &mut self.negotiated, exports, out) {
            Ok(agreed) => agreed,
            Err(refused) => {
                refused.reply_to(option, out);
                None
            }
        };
        Ok(agreed.map(|agreed| self.end(agreed)))
    }

    fn end(&mut self, agreed: Agreed) -> Step {
        self.state = State::Ended;
        Step::Transmission(agreed)
    }

    fn start_tls(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        if let Err(refused) = self.tls.may_start() {
            refused.reply_to(option::STARTTLS, out);
            return None;
        }
        options::put_reply(out, option::STARTTLS, option_reply::ACK, &[]);
        self.state = State::AwaitTls;
        Some(Step::StartTls)
    }
}

const fn offered_flags() -> u16 {
    handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES
}

fn greet(out: &mut Vec<u8>) {
    put_u64(out, magic::GREETING);
    put_u64(out, magic::OPTION);
    put_u16(out, offered_flags());
}

#[cfg(test)]
mod tests {
    use super::super::agreed::Framing;
    use super::super::agreed::tests::export;
    use super::super::bytes::put_string;
    use super::super::bytes::put_u32;
    use super::super::contexts::Context;
    use super::super::contexts::Contexts;
    use super::super::export::ExportInfo;
    use super::*;
    use crate::base::Mark;
    use option_reply::*;

    struct Two;

    impl Exports for Two {
        fn names(&self) -> Vec<String> {
            vec!["disk".to_owned(), "gone".to_owned(), "other".to_owned()]
        }

        fn find(&self, name: &str) -> Option<ExportInfo> {
            match name {
                "marked" => Some(ExportInfo {
                    has_depth: true,
                    bitmaps: vec![("a".to_owned(), Mark(1)), ("b".to_owned(), Mark(2))],
                    ..export("marked", 4096)
                }),
                "" | "disk" => Some(ExportInfo {
                    description: "a disk".to_owned(),
                    ..export("disk", 1 << 30)
                }),
                "other" => Some(export("other", 4096)),
                _ => None,
            }
        }
    }

    const PLAIN: &[u8] = &[0, 0, 0, 3];

    fn opt(option: u32, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, magic::OPTION);
        put_string_option(&mut out, option, data);
        out
    }

    fn put_string_option(out: &mut Vec<u8>, option: u32, data: &[u8]) {
        put_u32(out, option);
        put_string(out, data);
    }

    fn named(option: u32, name: &str, kinds: &[u16]) -> Vec<u8> {
        let mut data = Vec::new();
        put_string(&mut data, name.as_bytes());
        put_u16(&mut data, u16::try_from(kinds.len()).unwrap());
        kinds.iter().for_each(|kind| put_u16(&mut data, *kind));
        opt(option, &data)
    }

    fn meta(option: u32, name: &str, queries: &[&str]) -> Vec<u8> {
        let mut data = Vec::new();
        put_string(&mut data, name.as_bytes());
        put_u32(&mut data, u32::try_from(queries.len()).unwrap());
        queries
            .iter()
            .for_each(|query| put_string(&mut data, query.as_bytes()));
        opt(option, &data)
    }

    type Run = (Result<Step, HandshakeError>, Vec<u8>);

    /// Runs `input` in pieces of `piece` bytes until something else than more input is needed.
    fn run_in_pieces(mut handshake: Handshake, input: &[u8], piece: usize) -> Run {
        let mut out = Vec::new();
        let mut step = handshake.advance(&mut &[][..], &Two, &mut out);
        for mut piece in input.chunks(piece) {
            while step == Ok(Step::NeedOutput) || (!piece.is_empty() && step == Ok(Step::NeedInput))
            {
                let mut said = Vec::new();
                step = handshake.advance(&mut piece, &Two, &mut said);
                assert!(step != Ok(Step::NeedInput) || piece.is_empty());
                out.append(&mut said);
            }
        }
        (step, out)
    }

    fn run(tls: TlsPolicy, input: &[u8]) -> Run {
        let whole = run_in_pieces(Handshake::new(tls), input, usize::MAX);
        assert_eq!(run_in_pieces(Handshake::new(tls), input, 1), whole);
        whole
    }

    /// The replies after the greeting: option, kind and payload.
    fn replies(out: &[u8]) -> Vec<(u32, u32, Vec<u8>)> {
        let mut rest = &out[18..];
        let mut replies = Vec::new();
        while !rest.is_empty() {
            let mut reader = Reader::new(rest);
            assert_eq!(reader.u64(), Some(magic::OPTION_REPLY));
            let head = (reader.u32().unwrap(), reader.u32().unwrap());
            replies.push((head.0, head.1, reader.string().unwrap().to_vec()));
            rest = reader.rest();
        }
        replies
    }

    /// Sends options and compares the kinds of the replies.
    fn check(options: &[Vec<u8>], kinds: &[u32]) -> Vec<Vec<u8>> {
        let (step, out) = run(TlsPolicy::Off, &[PLAIN, &options.concat()].concat());
        assert_eq!(step, Ok(Step::NeedInput));
        let replies = replies(&out);
        let said: Vec<u32> = replies.iter().map(|(_, kind, _)| *kind).collect();
        assert_eq!(said, kinds);
        replies.into_iter().map(|(_, _, payload)| payload).collect()
    }

    fn agree(options: &[Vec<u8>]) -> Agreed {
        let (step, _) = run(TlsPolicy::Off, &[PLAIN, &options.concat()].concat());
        match step {
            Ok(Step::Transmission(agreed)) => agreed,
            step => panic!("{step:?}"),
        }
    }

    fn fails(tls: TlsPolicy, input: &[&[u8]], error: HandshakeError) {
        let (step, _) = run(tls, &input.concat());
        assert_eq!(step, Err(error));
        assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn the_server_speaks_first() {
        let (step, out) = run(TlsPolicy::Off, &[]);
        assert_eq!(step, Ok(Step::NeedInput));
        assert_eq!(out, b"NBDMAGICIHAVEOPT\x00\x03");
    }

    #[test]
    fn what_cannot_be_answered_ends_the_connection() {
        let off = TlsPolicy::Off;
        fails(off, &[&[0, 0, 0, 4]], HandshakeError::ClientFlags(4));
        fails(off, &[&[0, 1, 0, 0]], HandshakeError::ClientFlags(1 << 16));
        fails(
            off,
            &[PLAIN, &[7; 16]],
            HandshakeError::BadMagic(0x0707_0707_0707_0707),
        );
        let list = opt(option::LIST, &[]);
        fails(
            off,
            &[&[0; 4], &list],
            HandshakeError::NotFixedNewstyle(option::LIST),
        );
        let mut long = opt(99, &[]);
        long.truncate(12);
        long.extend_from_slice(&0x0200_0001_u32.to_be_bytes());
        fails(
            off,
            &[PLAIN, &long],
            HandshakeError::OptionTooLong(0x0200_0001),
        );
        let nobody = opt(option::EXPORT_NAME, b"nobody");
        fails(off, &[PLAIN, &nobody], HandshakeError::UnknownExport);
        let binary = opt(option::EXPORT_NAME, &[0xff]);
        fails(off, &[PLAIN, &binary], HandshakeError::UnknownExport);
        let long = opt(option::EXPORT_NAME, &[b'a'; 4097]);
        fails(off, &[PLAIN, &long], HandshakeError::OptionTooLong(4097));
        let disk = opt(option::EXPORT_NAME, b"disk");
        fails(
            TlsPolicy::Required,
            &[PLAIN, &disk],
            HandshakeError::TlsRequired,
        );
        let extended = opt(option::EXTENDED_HEADERS, &[]);
        let error = HandshakeError::ExportNameWithExtendedHeaders;
        fails(off, &[PLAIN, &extended, &disk], error);
        let many = list.repeat(OPTIONS_MAX + 1);
        fails(off, &[PLAIN, &many], HandshakeError::TooManyOptions);
    }

    #[test]
    fn a_server_that_is_going_says_so() {
        let mut handshake = Handshake::new(TlsPolicy::Required);
        handshake.shut_down();
        let input = [
            PLAIN,
            &opt(option::LIST, &[]),
            &opt(option::STARTTLS, &[]),
            &named(option::GO, "disk", &[]),
            &opt(option::ABORT, &[]),
        ];
        let (step, out) = run_in_pieces(handshake, &input.concat(), usize::MAX);
        assert_eq!(step, Ok(Step::Closed));
        let kinds: Vec<u32> = replies(&out).iter().map(|(_, kind, _)| *kind).collect();
        assert_eq!(kinds, [ERR_SHUTDOWN, ERR_SHUTDOWN, ERR_SHUTDOWN, ACK]);
        let mut handshake = Handshake::new(TlsPolicy::Off);
        handshake.shut_down();
        let input = [PLAIN, &opt(option::EXPORT_NAME, b"disk")].concat();
        let (step, _) = run_in_pieces(handshake, &input, usize::MAX);
        assert_eq!(step, Err(HandshakeError::ShuttingDown));
    }

    #[test]
    fn export_name_is_answered_with_and_without_padding() {
        for (flags, padding) in [(0, 124), (1, 124), (3, 0)] {
            let disk = opt(option::EXPORT_NAME, b"");
            let (step, out) = run(TlsPolicy::Off, &[&[0, 0, 0, flags], &disk[..]].concat());
            assert!(matches!(step, Ok(Step::Transmission(agreed)) if agreed.export.name == "disk"));
            assert_eq!(out.len(), 18 + 10 + padding);
            assert_eq!(out[18..26], (1_u64 << 30).to_be_bytes());
        }
    }

    #[test]
    fn the_handshake_ends_where_the_first_request_begins() {
        let mut handshake = Handshake::new(TlsPolicy::Off);
        let input = [PLAIN, &named(option::GO, "disk", &[]), b"first request"].concat();
        let mut input = &input[..];
        let step = handshake.advance(&mut input, &Two, &mut Vec::new());
        assert!(matches!(step, Ok(Step::Transmission(_))));
        assert_eq!(input, b"first request");
    }

    #[test]
    fn go_tells_what_was_asked_for() {
        let input = [PLAIN, &named(option::GO, "", &[1, 2, 3, 77])].concat();
        let (step, out) = run(TlsPolicy::Off, &input);
        assert!(matches!(step, Ok(Step::Transmission(_))));
        let replies = replies(&out);
        let kinds: Vec<u32> = replies.iter().map(|(_, kind, _)| *kind).collect();
        assert_eq!(kinds, [INFO, INFO, INFO, INFO, ACK]);
        assert_eq!(
            replies[0].2,
            [0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0b1101, 0b0110_1101]
        );
        assert_eq!(replies[1].2, b"\x00\x01disk");
        assert_eq!(replies[2].2, b"\x00\x02a disk");
        assert_eq!(replies[3].2, [0, 3, 0, 0, 0, 1, 0, 0, 16, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn info_goes_on() {
        let info = named(option::INFO, "other", &[2]);
        check(&[info.clone(), info], &[INFO, INFO, ACK, INFO, INFO, ACK]);
    }

    #[test]
    fn info_tells_of_the_status_filter_before_contexts_are_selected() {
        let payload = |replies: Vec<Vec<u8>>| replies[1][10] & 0x10;
        let extended = opt(option::EXTENDED_HEADERS, &[]);
        let options = [extended.clone(), named(option::INFO, "disk", &[])];
        assert_eq!(payload(check(&options, &[ACK, INFO, INFO, ACK])), 0x10);
        let agreed = agree(&[extended, named(option::GO, "disk", &[])]);
        assert!(!agreed.can_filter_status());
    }

    #[test]
    fn exports_that_cannot_be_are_refused() {
        for name in [&b"nobody"[..], b"gone"] {
            let name = std::str::from_utf8(name).unwrap();
            check(&[named(option::GO, name, &[])], &[ERR_UNKNOWN]);
            check(&[named(option::INFO, name, &[])], &[ERR_UNKNOWN]);
        }
        check(&[named(option::GO, "a\0b", &[])], &[ERR_INVALID]);
        check(&[named(option::GO, &"a".repeat(4097), &[])], &[ERR_INVALID]);
        check(&[named(option::GO, &"a".repeat(4096), &[])], &[ERR_UNKNOWN]);
        check(
            &[opt(option::GO, &[0, 0, 0, 1, 0xff, 0, 0])],
            &[ERR_INVALID],
        );
    }

    #[test]
    fn lengths_have_to_add_up() {
        let go: [&[u8]; 6] = [
            &[],
            &[0, 0, 0, 9, b'a', 0, 0],
            &[0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 1, 0, 1, 0],
            &[0, 0, 0, 0, 0, 1, 0, 1, 0, 1],
        ];
        for data in go {
            check(&[opt(option::GO, data)], &[ERR_INVALID]);
            check(&[opt(option::INFO, data)], &[ERR_INVALID]);
        }
        let meta: [&[u8]; 5] = [
            &[],
            &[0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, b'b'],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        for data in meta {
            let structured = opt(option::STRUCTURED_REPLY, &[]);
            let set = opt(option::SET_META_CONTEXT, data);
            let list = opt(option::LIST_META_CONTEXT, data);
            check(&[structured, set, list], &[ACK, ERR_INVALID, ERR_INVALID]);
        }
        for option in [
            option::LIST,
            option::STARTTLS,
            option::STRUCTURED_REPLY,
            option::EXTENDED_HEADERS,
        ] {
            check(&[opt(option, &[0])], &[ERR_INVALID]);
        }
    }

    #[test]
    fn refused_options_are_skipped_whole() {
        let list = opt(option::LIST, &[]);
        let unknown = opt(4711, &list.repeat(100));
        let long = vec![0; OPTION_BYTES_MAX + 1];
        let kinds = [ERR_UNSUP, ERR_TOO_BIG, SERVER, SERVER, ACK];
        check(&[unknown, opt(option::GO, &long), list], &kinds);
    }

    #[test]
    fn nothing_that_is_skipped_is_held() {
        let mut handshake = Handshake::new(TlsPolicy::Off);
        let mut out = Vec::new();
        let mut input = [PLAIN, &opt(4711, &[0; 1 << 20])].concat();
        input.pop();
        handshake.advance(&mut &input[..], &Two, &mut out).unwrap();
        assert!(handshake.gather == Gather::default());
    }

    #[test]
    fn a_list_names_every_export_that_there_is() {
        let said = check(&[opt(option::LIST, &[])], &[SERVER, SERVER, ACK]);
        assert_eq!(said[0], b"\0\0\0\x04diska disk");
        assert_eq!(said[1], b"\0\0\0\x05other");
    }

    #[test]
    fn a_flood_of_options_is_answered_as_the_client_takes_the_answers() {
        let mut handshake = Handshake::new(TlsPolicy::Off);
        let input = [PLAIN, &opt(option::LIST, &[]).repeat(OPTIONS_MAX)].concat();
        let mut input = &input[..];
        let (mut out, mut waits) = (Vec::new(), 0);
        while handshake.advance(&mut input, &Two, &mut out) == Ok(Step::NeedOutput) {
            assert!(out.len() < UNSENT_BYTES_MAX + 200);
            out.clear();
            waits += 1;
        }
        assert!(input.is_empty());
        assert_eq!(waits, 1);
    }

    #[test]
    fn abort_is_answered() {
        for data in [&[][..], &[1, 2, 3]] {
            let input = [PLAIN, &opt(option::ABORT, data), b"rest"].concat();
            let mut handshake = Handshake::new(TlsPolicy::Required);
            let (mut rest, mut out) = (&input[..], Vec::new());
            let step = handshake.advance(&mut rest, &Two, &mut out);
            assert_eq!(step, Ok(Step::Closed));
            assert_eq!(replies(&out), [(option::ABORT, ACK, vec![])]);
            assert_eq!(rest, b"rest");
        }
    }

    #[test]
    fn framing_goes_up_and_never_down() {
        let structured = || opt(option::STRUCTURED_REPLY, &[]);
        let extended = || opt(option::EXTENDED_HEADERS, &[]);
        check(&[structured(), structured()], &[ACK, ERR_INVALID]);
        check(&[extended(), extended()], &[ACK, ERR_INVALID]);
        check(&[extended(), structured()], &[ACK, ERR_EXT_HEADER_REQD]);
        let go = || named(option::GO, "disk", &[]);
        assert_eq!(agree(&[go()]).framing, Framing::Simple);
        assert_eq!(agree(&[structured(), go()]).framing, Framing::Structured);
        assert_eq!(
            agree(&[structured(), extended(), go()]).framing,
            Framing::Extended
        );
    }

    #[test]
    fn contexts_need_structured_replies() {
        for option in [option::SET_META_CONTEXT, option::LIST_META_CONTEXT] {
            check(
                &[meta(option, "disk", &["base:allocation"])],
                &[ERR_INVALID],
            );
        }
    }

    #[test]
    fn queries_match_names_and_listings_namespaces_too() {
        let cases: [(&[&str], usize, usize); 7] = [
            (&[], 0, 1),
            (&["base:"], 0, 1),
            (&["base:allocation"], 1, 1),
            (&["base:allocation", "base:", "base:allocation"], 1, 1),
            (&["base:other", "qemu:dirty-bitmap:x", "", ":"], 0, 0),
            (&["x-later:", "base:allocation"], 1, 1),
            (&["base"], 0, 0),
        ];
        for (queries, set, list) in cases {
            for (option, count, id) in [
                (option::SET_META_CONTEXT, set, 1),
                (option::LIST_META_CONTEXT, list, 0),
            ] {
                let mut kinds = vec![ACK];
                kinds.extend(std::iter::repeat_n(META_CONTEXT, count));
                kinds.push(ACK);
                let options = [
                    opt(option::STRUCTURED_REPLY, &[]),
                    meta(option, "", queries),
                ];
                let said = check(&options, &kinds);
                if count > 0 {
                    assert_eq!(said[1], [&[0, 0, 0, id], &b"base:allocation"[..]].concat());
                }
            }
        }
    }

    #[test]
    fn bitmaps_are_listed_and_selected_by_name() {
        let cases: [(&[&str], &[u8], usize); 7] = [
            (&[], &[], 4),
            (&["qemu:"], &[], 3),
            (&["qemu:dirty-bitmap:"], &[], 2),
            (&["qemu:dirty-bitmap:b"], &[4], 1),
            (&["qemu:dirty-bitmap:b", "qemu:dirty-bitmap:a"], &[3, 4], 2),
            (&["qemu:allocation-depth", "base:allocation"], &[1, 2], 2),
            (&["qemu:dirty-bitmap:c", "qemu:dirty-bitmap"], &[], 0),
        ];
        for (queries, ids, listed) in cases {
            let structured = || opt(option::STRUCTURED_REPLY, &[]);
            let list = meta(option::LIST_META_CONTEXT, "marked", queries);
            let mut kinds = vec![ACK];
            kinds.extend(std::iter::repeat_n(META_CONTEXT, listed));
            kinds.push(ACK);
            check(&[structured(), list], &kinds);
            let set = || meta(option::SET_META_CONTEXT, "marked", queries);
            let mut kinds = vec![ACK];
            kinds.extend(std::iter::repeat_n(META_CONTEXT, ids.len()));
            kinds.push(ACK);
            let said = check(&[structured(), set()], &kinds);
            let told: Vec<u8> = said[1..=ids.len()].iter().map(|reply| reply[3]).collect();
            assert_eq!(told, ids, "{queries:?}");
            let go = named(option::GO, "marked", &[]);
            let agreed = agree(&[structured(), set(), go]);
            let chosen: Vec<u32> = agreed.contexts.iter().map(Context::id).collect();
            assert_eq!(
                chosen,
                ids.iter().map(|id| u32::from(*id)).collect::<Vec<_>>()
            );
            // The numbers are of the bitmaps that there were then.
            assert_eq!(agreed.export.bitmaps.len(), 2);
        }
    }

    #[test]
    fn only_the_last_selection_counts_and_only_for_its_export() {
        let structured = || opt(option::STRUCTURED_REPLY, &[]);
        let set = |name, queries| meta(option::SET_META_CONTEXT, name, queries);
        let all: &[&str] = &["base:allocation"];
        let too_long = || opt(option::SET_META_CONTEXT, &vec![0; OPTION_BYTES_MAX + 1]);
        let cases = [
            (vec![set("disk", all)], "disk", true),
            (vec![set("disk", all)], "", true),
            (vec![set("", all)], "disk", true),
            (vec![set("other", all)], "disk", false),
            (vec![set("disk", all), set("disk", &[])], "disk", false),
            (vec![set("disk", all), set("nobody", all)], "disk", false),
            (vec![set("disk", all), too_long()], "disk", false),
            (vec![set("disk", &[]), set("disk", all)], "disk", true),
        ];
        for (mut options, name, selected) in cases {
            options.insert(0, structured());
            options.push(named(option::GO, name, &[]));
            let contexts = agree(&options).contexts;
            assert_eq!(contexts.contains(Context::Allocation), selected, "{name}");
        }
        let by_name = [
            structured(),
            set("disk", all),
            opt(option::EXPORT_NAME, b"disk"),
        ];
        assert_eq!(agree(&by_name).contexts, Contexts::ALLOCATION);
    }

    #[test]
    fn tls_is_refused_where_it_is_off() {
        check(&[opt(option::STARTTLS, &[])], &[ERR_POLICY]);
    }

    #[test]
    fn without_required_tls_nothing_is_told() {
        let options = [
            opt(option::LIST, &[]),
            named(option::GO, "disk", &[]),
            opt(option::EXTENDED_HEADERS, &[]),
            opt(4711, &[1, 2, 3]),
            opt(option::STARTTLS, &[1]),
        ];
        let (step, out) = run(TlsPolicy::Required, &[PLAIN, &options.concat()].concat());
        assert_eq!(step, Ok(Step::NeedInput));
        let kinds: Vec<u32> = replies(&out).iter().map(|(_, kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [
                ERR_TLS_REQD,
                ERR_TLS_REQD,
                ERR_TLS_REQD,
                ERR_TLS_REQD,
                ERR_INVALID
            ]
        );
    }

    #[test]
    fn tls_forgets_what_was_negotiated_in_the_clear() {
        for policy in [TlsPolicy::Optional, TlsPolicy::Required] {
            let mut handshake = Handshake::new(policy);
            let (structured, starttls) = (option::STRUCTURED_REPLY, option::STARTTLS);
            let input = [PLAIN, &opt(structured, &[]), &opt(starttls, &[]), b"hello"].concat();
            let (mut input, mut out) = (&input[..], Vec::new());
            let step = handshake.advance(&mut input, &Two, &mut out);
            assert_eq!((step, input), (Ok(Step::StartTls), &b"hello"[..]));
            assert_eq!(replies(&out).last(), Some(&(option::STARTTLS, ACK, vec![])));
            handshake.tls_established();
            let input = [opt(option::STARTTLS, &[]), named(option::GO, "disk", &[])].concat();
            let (mut input, mut out) = (&input[..], vec![0; 18]);
            let step = handshake.advance(&mut input, &Two, &mut out);
            let agreed = agree(&[named(option::GO, "disk", &[])]);
            assert_eq!(step, Ok(Step::Transmission(agreed)));
            assert_eq!(replies(&out)[0].1, ERR_INVALID);
        }
    }
}
