//! Every bound in one place. A wait in the data path is bounded by one of these, and the comment
//! says what happens when the bound is reached.

use std::time::Duration;

/// One kibibyte.
pub const KIB: usize = 1 << 10;
/// One mebibyte.
pub const MIB: usize = 1 << 20;

/// The most data that one request carries, either way: 32 MiB, the NBD protocol's default maximum
/// payload and what QEMU's client sends at most. A longer read is refused; a longer write is
/// drained and refused.
pub const PAYLOAD_BYTES_MAX: usize = 32 * MIB;

/// Requests that one connection may have unanswered. At the bound the server stops reading from
/// that connection, so the client is held back by its own socket.
pub const CONNECTION_REQUESTS_MAX: usize = 256;

/// Payload bytes that one connection may hold in the server, in requests or in replies that the
/// client has not taken yet. At the bound the server stops reading from that connection. One
/// request always fits.
pub const CONNECTION_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;

/// Payload bytes that all connections of one reactor hold together. At the bound connections wait
/// for each other; one that stands still for [`STALL`] while others wait is closed.
pub const REACTOR_BYTES_MAX: usize = 512 * MIB;

/// Payload bytes that requests may hold on one reactor while they wait for the limits of their
/// volume. At the bound a request waits before its payload is read, and with it whatever its client
/// sent behind it: so those who are limited leave memory for those who are not.
pub const WAITING_BYTES_MAX: usize = REACTOR_BYTES_MAX / 2;

/// Connections that a server holds at once. Further ones are closed as soon as they are accepted.
pub const CONNECTIONS_MAX: usize = 8192;

/// How long a client may take from connecting to the end of its handshake. Then it is closed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is encrypted and sent at once on a TLS connection, in bytes.
pub const TLS_SEND_BYTES: usize = 256 * KIB;

/// How long a client may keep back a payload, or refuse its replies, while other clients wait for
/// the memory that these occupy. Then it is closed.
pub const STALL: Duration = Duration::from_secs(10);

/// How long a client in its handshake is given to ask for something and be told that the server is
/// going. Then it is closed without a word.
pub const HANDSHAKE_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection that is ending waits for its client to take the last replies. Then it is
/// closed; what the client was told is done is done either way.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a command that must have a volume for itself waits for those who use it to leave: a
/// client that has gone is noticed a little later than it believes. Then the command is refused.
pub const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest option that a client may send with data in it, in bytes: an export name of
/// [`NAME_BYTES_MAX`] and a few hundred metadata context queries. A longer one is drained and
/// refused; one longer than a payload is answered by closing.
pub const OPTION_BYTES_MAX: usize = 64 * KIB;

/// Connections of clients that ask for metrics at once. Further ones are closed when they are
/// accepted.
pub const HTTP_CONNECTIONS_MAX: usize = 16;

/// The longest request for metrics, in bytes. A longer one is answered by closing.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 * KIB;

/// How long a client of metrics may take to ask and to take the answer. Then it is closed.
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// Options that one client may send before it must have chosen an export. Then it is closed.
pub const OPTIONS_MAX: usize = 1024;

/// The longest string of the NBD protocol, in bytes (proto.md, "Conventions").
pub const NAME_BYTES_MAX: usize = 4096;

/// What a connection's receive buffer starts with, in bytes: three writes of 4 KiB, or 585 requests
/// without payload. It is nearly all that an idle connection costs. It doubles when a receive fills
/// it, and is halved when one leaves it nearly empty.
pub const RECEIVE_BYTES_MIN: usize = 16 * KIB;

/// What a connection's receive buffer grows to, in bytes: 62 writes of 4 KiB.
pub const RECEIVE_BYTES_MAX: usize = 256 * KIB;

/// What one send gathers at most, in pieces: the kernel's `UIO_MAXIOV`.
pub const GATHER_PIECES_MAX: usize = 1024;

/// What a connection asks the kernel to hold of unsent replies, in bytes, so that a burst of
/// replies leaves in one send. The kernel may grant less.
pub const SOCKET_BYTES: usize = 2 * MIB;

/// How long a TCP client may be silent before the kernel asks whether it is still there. A client
/// whose machine is gone is noticed after this and nine more times [`KEEPALIVE_INTERVAL`].
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// How long the kernel waits for the answer to that before it asks again.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Extents that one block status reply describes at most; the protocol allows 2^20. The client
/// asks again from where the reply ended.
pub const STATUS_RUNS_MAX: usize = 1024;

/// Dirty bitmaps that a volume has at most; another is refused. Each may cost nodes, a 512th of the
/// volume, and a client may ask for all of them at once.
pub const BITMAPS_MAX: usize = 32;

/// Free buffers that one thread keeps for reuse, in bytes. Above it, memory goes back at once.
pub const POOL_BYTES_MAX: usize = 32 * MIB;

/// Bytes of requests under way to one backend over a network. Libraries for such backends take
/// requests without end while the storage does not answer; requests beyond this wait for others.
pub const NETWORK_BYTES_MAX: usize = 64 * MIB;

/// Bytes that one disk on NFS has written and not committed, all of which are kept, since a server
/// that is started again may have forgotten them. From half of it on they are committed unasked; at
/// the bound writes wait for that.
pub const NFS_KEPT_BYTES_MAX: usize = 128 * MIB;

/// Calls that one disk on NFS has under way; further ones wait. Servers take some hundreds.
pub const NFS_CALLS_MAX: usize = 256;

/// What one call to an NFS server, or one answer, carries at most, in bytes, whatever the server
/// offers.
pub const NFS_TRANSFER_BYTES_MAX: usize = MIB;

/// The longest record that an NFS server may send, in bytes: what is carried, and what stands
/// before it. After a longer one the connection is made again.
pub const NFS_RECORD_BYTES_MAX: usize = NFS_TRANSFER_BYTES_MAX + 4 * KIB;

/// How long a request waits for storage over a network that does not answer, if nothing else is
/// said: what open-iscsi waits for a session to come back. Then it fails.
pub const NETWORK_TIMEOUT: Duration = Duration::from_secs(120);

/// The longest such wait that people may ask for: a day.
pub const NETWORK_TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// How long what a store writes waits for a backend that has no space left, so that somebody can
/// make room. Meanwhile its clients wait, as with a slow disk. Then the store stops.
pub const SPACE_TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes that a backend over a network keeps of what was written and is not flushed, so that it can
/// be written again to storage that was restarted. At the bound a write flushes before it ends.
pub const UNFLUSHED_BYTES_MAX: usize = 64 * MIB;

/// Block devices that one server shows. A further one is refused. Each may take so much memory as
/// all requests of its queues move at once: 32 MiB a queue as it comes.
pub const UBLK_DEVICES_MAX: usize = 64;

/// Requests that each queue of a block device has at once, if nothing else is asked for. Further
/// ones wait in the kernel.
pub const UBLK_DEPTH: u16 = 128;

/// What one request of a block device moves at most, in bytes. The kernel splits longer ones.
pub const UBLK_REQUEST_BYTES: u32 = 256 << 10;

/// What one discard or writing of zeroes of a block device is about at most, in bytes. The kernel
/// splits longer ones.
pub const UBLK_DISCARD_BYTES: u64 = 1 << 30;

/// How often a file or an address is tried that somebody else has, and how long it is waited
/// between: two seconds in all. The kernel closes what a process that was killed had open when the
/// last of its I/O has ended, a moment after the process is gone; whoever starts it again should
/// not be told that it is still there.
pub const TAKEN_TRIES: u32 = 100;
/// See [`TAKEN_TRIES`].
pub const TAKEN_PAUSE: Duration = Duration::from_millis(20);

/// Entries of a reactor's submission queue. A full queue is submitted and goes on.
pub const RING_ENTRIES: u32 = 1024;

/// Places in a ring's table of registered buffers: as many as the kernel allows
/// (`io_uring_register(2)`).
pub const BUFFER_PLACES: u16 = 1 << 14;

/// How long a reactor whose sleeps are short looks for work before it sleeps: a wake-up costs a
/// client at queue depth 1 about as much as the whole request. Bounded so that idle means 0 % CPU.
pub const SPIN: Duration = Duration::from_micros(50);

/// Threads that run the system calls that a ring has no operation for.
pub const BLOCKING_THREADS: usize = 2;

/// Reactor threads at most.
pub const THREADS_MAX: usize = 256;

/// Connections to the control socket. Further ones wait until one of them ends.
pub const CONTROL_CONNECTIONS_MAX: usize = 64;

/// Calls that one connection to the control socket has under way. Further ones wait.
pub const CONTROL_CALLS_MAX: usize = 64;

/// Groups of exports that share limits. A further one is refused on the control socket.
pub const QOS_GROUPS_MAX: usize = 1024;

/// Jobs that run at once. A further one is refused.
pub const JOBS_MAX: usize = 64;

/// Jobs that are remembered after their end. Then the oldest is forgotten.
pub const JOBS_ENDED_MAX: usize = 100;

/// What one call of a job moves at most, in bytes. A call that would move more is refused.
pub const JOB_PIECE_BYTES_MAX: u64 = MIB as u64;

const _: () = assert!(CONNECTION_BYTES_MAX >= 2 * PAYLOAD_BYTES_MAX);
const _: () = assert!(REACTOR_BYTES_MAX >= CONNECTION_BYTES_MAX);
const _: () = assert!(RECEIVE_BYTES_MIN.is_power_of_two() && RECEIVE_BYTES_MAX.is_power_of_two());
const _: () = assert!(RECEIVE_BYTES_MIN < RECEIVE_BYTES_MAX);
const _: () =
    assert!(OPTION_BYTES_MAX > 2 * NAME_BYTES_MAX && OPTION_BYTES_MAX < PAYLOAD_BYTES_MAX);
