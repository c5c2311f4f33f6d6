//! Whatever requests a client sends, what is accepted lies on the export and fits in memory.

#![no_main]

use bedplate::base::Extent;
use bedplate::base::limits::PAYLOAD_BYTES_MAX;
use bedplate::frontend::nbd::proto::{
    Agreed, Command, Contexts, ExportInfo, Framing, Header, status_filter,
};
use bedplate_fuzz::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(settings) = Settings::new(data) else {
        return;
    };
    let Some((size, mut rest)) = settings.input.split_first_chunk() else {
        return;
    };
    let agreed = agree(&settings, u64::from_be_bytes(*size));
    while let Ok(Some(header)) = Header::decode(agreed.framing, rest) {
        rest = &rest[Header::bytes(agreed.framing)..];
        let payload_bytes = header.payload_bytes(agreed.framing);
        if let Ok(command) = header.check(&agreed) {
            check(&agreed, command, payload_bytes);
            filter(&agreed, command, payload_bytes, rest);
        }
        let skip = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
        rest = rest.get(skip..).unwrap_or_default();
    }
});

/// What was agreed on: the choices, and the size of the export from the front of the input.
fn agree(settings: &Settings<'_>, size: u64) -> Agreed {
    Agreed {
        export: ExportInfo {
            name: "disk".to_owned(),
            description: String::new(),
            size,
            read_only: settings.choice(2),
            preferred_block: 4096,
            can_fast_zero: settings.choice(3),
            has_depth: false,
            bitmaps: Vec::new(),
        },
        framing: match settings.choices & 3 {
            0 => Framing::Simple,
            1 => Framing::Structured,
            _ => Framing::Extended,
        },
        contexts: if settings.choice(4) {
            Contexts::ALLOCATION
        } else {
            Contexts::NONE
        },
    }
}

fn check(agreed: &Agreed, command: Command, payload_bytes: u64) {
    let mut expected = 0;
    match command {
        Command::Read { at, fragments } => {
            assert!(!at.is_empty() && at.len() <= PAYLOAD_BYTES_MAX);
            assert!(!fragments || agreed.framing != Framing::Simple);
            on_export(agreed, at);
        }
        Command::Write { offset, bytes, .. } => {
            assert!(bytes <= PAYLOAD_BYTES_MAX && !agreed.export.read_only);
            expected = u64::try_from(bytes).expect("it fits");
            on_export(agreed, Extent::new(offset, expected).expect("no overflow"));
        }
        Command::Trim { at, .. } | Command::WriteZeroes { at, .. } => {
            assert!(!agreed.export.read_only);
            on_export(agreed, at);
        }
        Command::Cache { at } => on_export(agreed, at),
        Command::BlockStatus { at, .. } => {
            assert!(!at.is_empty() && !agreed.contexts.is_empty());
            on_export(agreed, at);
        }
        Command::FilteredBlockStatus { .. } => {
            assert!(!agreed.contexts.is_empty() && (8..64).contains(&payload_bytes));
            expected = payload_bytes;
        }
        Command::Flush => {}
        Command::Disconnect => return,
    }
    assert_eq!(payload_bytes, expected);
}

fn filter(agreed: &Agreed, command: Command, payload_bytes: u64, rest: &[u8]) {
    let Command::FilteredBlockStatus { offset, .. } = command else {
        return;
    };
    let bytes = usize::try_from(payload_bytes).expect("checked before");
    let Some(payload) = rest.get(..bytes) else {
        return;
    };
    if let Ok((at, contexts)) = status_filter(payload, offset, agreed) {
        assert!(!at.is_empty() && !contexts.is_empty());
        assert!(
            contexts
                .iter()
                .all(|context| agreed.contexts.contains(context))
        );
        on_export(agreed, at);
    }
}

fn on_export(agreed: &Agreed, at: Extent) {
    assert!(at.fits(agreed.export.size));
}
