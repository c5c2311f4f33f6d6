//! Whatever a server sends, the client neither panics nor hoards.

#![no_main]

use bedplate::frontend::nbd::proto::{
    ClientError, ClientHandshake, ClientStep, ClientWants, Framing, decode_reply,
};
use bedplate_fuzz::Settings;
use libfuzzer_sys::fuzz_target;

/// More than all that a client ever asks for in a handshake, in bytes.
const QUESTION_BYTES_MAX: usize = 512;

type Outcome = (Result<ClientStep, ClientError>, Vec<u8>, usize);

fuzz_target!(|data: &[u8]| {
    let Some(settings) = Settings::new(data) else {
        return;
    };
    let wants = ClientWants {
        structured: settings.choice(0),
        extended: settings.choice(1),
        allocation: settings.choice(2),
    };
    let (last, said, taken) = run(wants, &[settings.input]);
    assert!(said.len() <= QUESTION_BYTES_MAX);
    if let Ok(ClientStep::Ready(export)) = last {
        replies(export.framing, &settings.input[taken..]);
    }
    assert_eq!(run(wants, &settings.pieces()), (last, said, taken));
});

fn run(wants: ClientWants, pieces: &[&[u8]]) -> Outcome {
    let mut client = ClientHandshake::new("disk", wants);
    let (mut said, mut taken) = (Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        let last = client.advance(&mut rest, &mut said);
        taken += piece.len() - rest.len();
        if last != Ok(ClientStep::NeedInput) {
            return (last, said, taken);
        }
        assert!(rest.is_empty());
    }
    (Ok(ClientStep::NeedInput), said, taken)
}

fn replies(framing: Framing, mut rest: &[u8]) {
    while let Ok(Some(head)) = decode_reply(framing, rest) {
        let after = &rest[head.head_bytes..];
        let Some((payload, after)) = after.split_at_checked(head.payload_bytes) else {
            return;
        };
        let _ = head.payload(payload);
        rest = after;
    }
}
