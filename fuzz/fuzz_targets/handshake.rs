//! Whatever a client sends, the server neither panics nor says more than it should, and how the
//! bytes are cut into pieces changes nothing.

#![no_main]

use bedplate::frontend::nbd::proto::{Handshake, HandshakeError, Step, TlsPolicy};
use bedplate_fuzz::{ANSWER_BYTES_MAX, Settings, Two};
use libfuzzer_sys::fuzz_target;

/// The shortest option, in bytes.
const OPTION_BYTES_MIN: usize = 16;

#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    last: Result<Step, HandshakeError>,
    said: Vec<u8>,
    taken: usize,
}

fuzz_target!(|data: &[u8]| {
    let Some(settings) = Settings::new(data) else {
        return;
    };
    let tls = match settings.choices % 3 {
        0 => TlsPolicy::Off,
        1 => TlsPolicy::Optional,
        _ => TlsPolicy::Required,
    };
    let whole = run(tls, &[settings.input]);
    let options = settings.input.len() / OPTION_BYTES_MIN;
    assert!(whole.said.len() <= 18 + options * ANSWER_BYTES_MAX);
    assert_eq!(run(tls, &settings.pieces()), whole);
});

/// A handshake in which TLS, once it is started, is transparent.
fn run(tls: TlsPolicy, pieces: &[&[u8]]) -> Outcome {
    let mut handshake = Handshake::new(tls);
    let mut outcome = Outcome {
        last: Ok(Step::NeedInput),
        said: Vec::new(),
        taken: 0,
    };
    for piece in [&[][..]].iter().chain(pieces) {
        let mut rest = *piece;
        loop {
            let (before, mut out) = (rest.len(), Vec::new());
            outcome.last = handshake.advance(&mut rest, &Two, &mut out);
            outcome.taken += before - rest.len();
            outcome.said.append(&mut out);
            match outcome.last {
                Ok(Step::NeedOutput) => {}
                Ok(Step::StartTls) => handshake.tls_established(),
                Ok(Step::NeedInput) => break assert!(rest.is_empty()),
                _ => return outcome,
            }
        }
    }
    outcome
}
