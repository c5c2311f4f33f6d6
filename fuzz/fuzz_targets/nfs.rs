//! What anybody who calls himself an NFS server may send: records or an error, results or an error,
//! and never more than was asked for.
#![no_main]

use bedplate::backend::nfs::proto::{
    Inbox, parse_access, parse_commit, parse_create, parse_done, parse_fsinfo, parse_getattr,
    parse_lookup, parse_mount, parse_port, parse_read, parse_reply, parse_write,
};
use libfuzzer_sys::fuzz_target;

/// Room for records, in bytes.
const ROOM: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let Some((&step, bytes)) = bytes.split_first() else {
        return;
    };
    let mut inbox = Inbox::new(ROOM);
    for piece in bytes.chunks(usize::from(step) + 1) {
        let (mut buf, from) = inbox.take();
        let count = piece.len().min(buf.len() - from);
        buf[from..from + count].copy_from_slice(&piece[..count]);
        inbox.received(buf, count);
        loop {
            match inbox.record() {
                Ok(Some(record)) => look(record),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});

fn look(record: &[u8]) {
    assert!(record.len() < ROOM);
    let Ok(reply) = parse_reply(record) else {
        return;
    };
    let Ok(results) = reply.results else {
        return;
    };
    let asked = usize::from(results.last().copied().unwrap_or(0));
    if let Ok(Ok(read)) = parse_read(results, asked) {
        assert!(read.data.len() <= asked && (read.is_end || asked == 0 || !read.data.is_empty()));
    }
    if let Ok(Ok(written)) = parse_write(results, asked) {
        let count = usize::try_from(written.count).expect("32 bits");
        assert!(count > 0 && count <= asked);
    }
    if let Ok(Ok(limits)) = parse_fsinfo(results) {
        assert!(limits.read_bytes_max > 0 && limits.write_bytes_max > 0);
    }
    for handle in [parse_lookup(results), parse_mount(results)] {
        if let Ok(Ok(handle)) = handle {
            assert!((1..=64).contains(&handle.bytes().len()));
        }
    }
    let _ = (
        parse_access(results),
        parse_commit(results),
        parse_create(results),
    );
    let _ = (
        parse_done(results),
        parse_getattr(results),
        parse_port(results),
    );
}
