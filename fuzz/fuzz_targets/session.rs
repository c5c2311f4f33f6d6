//! Whatever a client sends, and in whatever pieces, its session ends and leaves nothing behind.
//!
//! A whole session runs in a simulation over a disk in memory. The client first shakes hands as
//! the choices say, so that the input reaches the transmission phase, or sends the input from the
//! greeting on; then it hangs up. In the transmission phase the input is cut into requests with
//! the right magic, since guessing that is the work of the target `transmission`.

#![no_main]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bedplate::backend::{Checked, Mem, Medium};
use bedplate::base::Buf;
use bedplate::env::{self, Stream, sim};
use bedplate::frontend::nbd::proto::{TlsPolicy, wire};
use bedplate::frontend::nbd::{Server, serve};
use bedplate::volume::{Access, Catalog, RawDisk, Volume};
use bedplate_fuzz::Settings;
use libfuzzer_sys::fuzz_target;

const DISK_BYTES: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some(settings) = Settings::new(data) else {
        return;
    };
    let mut sent = Vec::new();
    if settings.choice(7) {
        sent.extend_from_slice(settings.input);
    } else {
        shake_hands(&settings, &mut sent);
        requests(&settings, &mut sent);
    }
    let seed = u64::from(settings.choices);
    let reads_late = settings.choice(6);
    sim::run(seed, async move {
        let (near, far) = sim::pipe(64 << 10);
        let server = Server::new(catalog(), None, TlsPolicy::Off);
        let ended = Rc::new(Cell::new(false));
        let end = Rc::clone(&ended);
        env::spawn(async move {
            serve(far, server).await;
            end.set(true);
        });
        let near = Rc::new(near);
        env::spawn(swallow(Rc::clone(&near), reads_late));
        // The server may hang up first; that is one of its rights.
        let _ = near.send(sent).await;
        env::sleep(Duration::from_secs(5)).await;
        near.shutdown();
        env::sleep(Duration::from_secs(3600)).await;
        assert!(ended.get(), "a session without a client goes on");
    });
});

async fn swallow(near: Rc<Stream>, reads_late: bool) {
    if reads_late {
        env::sleep(Duration::from_secs(1)).await;
    }
    let mut buf = Buf::new(4096);
    loop {
        let (count, back) = near.receive(buf, 0).await;
        buf = back;
        if matches!(count, Ok(0) | Err(_)) {
            return;
        }
    }
}

fn catalog() -> Arc<Catalog> {
    let catalog = Catalog::default();
    for (name, access) in [("a", Access::Write), ("b", Access::Read)] {
        let disk = RawDisk::new(Checked::new(Medium::Mem(Mem::new(DISK_BYTES))));
        let volume = Volume::new(name.to_owned(), String::new(), access, disk);
        assert!(catalog.add(Arc::new(volume)));
    }
    Arc::new(catalog)
}

fn shake_hands(settings: &Settings<'_>, sent: &mut Vec<u8>) {
    sent.extend_from_slice(&3_u32.to_be_bytes());
    match settings.choices & 3 {
        0 => {}
        1 => option(wire::option::STRUCTURED_REPLY, &[], sent),
        _ => option(wire::option::EXTENDED_HEADERS, &[], sent),
    }
    let name: &[u8] = if settings.choice(2) { b"b" } else { b"a" };
    if settings.choice(3) {
        let mut data = vec![0, 0, 0, 1, name[0], 0, 0, 0, 1, 0, 0, 0, 15];
        data.extend_from_slice(b"base:allocation");
        option(wire::option::SET_META_CONTEXT, &data, sent);
    }
    option(wire::option::GO, &[0, 0, 0, 1, name[0], 0, 0], sent);
}

fn option(option: u32, data: &[u8], sent: &mut Vec<u8>) {
    let length = u32::try_from(data.len()).expect("a short option");
    sent.extend_from_slice(&wire::magic::OPTION.to_be_bytes());
    sent.extend_from_slice(&option.to_be_bytes());
    sent.extend_from_slice(&length.to_be_bytes());
    sent.extend_from_slice(data);
}

/// Requests made of the input: a command and its flags in a byte each, an offset and a length in
/// three, so that most lie on the disk, and then the payload, if there is one.
fn requests(settings: &Settings<'_>, sent: &mut Vec<u8>) {
    let extended = settings.choices & 3 > 1;
    let mut rest = settings.input;
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [command, flags, o0, o1, o2, l0, l1, l2] = *head;
        let length = [0, l0 & 1, l1, l2];
        let magic = match extended {
            true => wire::magic::EXTENDED_REQUEST,
            false => wire::magic::REQUEST,
        };
        sent.extend_from_slice(&magic.to_be_bytes());
        sent.extend_from_slice(&u16::from(flags).to_be_bytes());
        sent.extend_from_slice(&u16::from(command % 9).to_be_bytes());
        sent.extend_from_slice(&u64::from(flags).to_be_bytes());
        sent.extend_from_slice(&[0, 0, 0, 0, 0, o0 & 0x1f, o1, o2]);
        if extended {
            sent.extend_from_slice(&[0; 4]);
        }
        sent.extend_from_slice(&length);
        rest = after;
        if command % 9 == 1 {
            let bytes = usize::try_from(u32::from_be_bytes(length)).expect("17 bits");
            sent.extend(std::iter::repeat_n(o0, bytes));
        }
    }
}
