//! Stream sockets: of the kernel, or in a simulation in memory.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use io_uring::opcode;
use rustix::net::sockopt;

use super::address::Address;
use super::fs::{FileHandle, fd};
use super::reactor::plain;
use super::ring::{Keep, Operation, count};
use super::sim;
use crate::base::limits::{
    GATHER_PIECES_MAX, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, SOCKET_BYTES, TAKEN_PAUSE, TAKEN_TRIES,
};
use crate::base::{Buf, OpenError};

/// Who may connect to a unix socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Readers {
    /// Whoever the process's umask lets.
    All,
    /// This user, and root.
    ThisUser,
}

/// Which ports a connection may come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ports {
    /// Any.
    Any,
    /// Below 1024, which only root may use and some servers believe in; any where that is not
    /// allowed.
    Reserved,
}

/// A socket that clients connect to. A unix socket's path is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: FileHandle,
    address: Address,
}

impl Listener {
    /// Listens at `address`. A unix socket that a dead server left behind is replaced. Blocks for
    /// up to two seconds while somebody else listens there: it may be one that was just killed.
    ///
    /// # Errors
    /// If the address cannot be used; the error names it.
    pub fn bind(address: &Address) -> Result<Self, OpenError> {
        Self::bind_as(address, Readers::All)
    }

    /// Listens at `path`, where only this user's processes and root's may connect.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_private(path: &std::path::Path) -> Result<Self, OpenError> {
        Self::bind_as(&Address::Unix(path.to_owned()), Readers::ThisUser)
    }

    fn bind_as(address: &Address, readers: Readers) -> Result<Self, OpenError> {
        let fail = |error: rustix::io::Errno| {
            let remedy = match (address, error) {
                (_, rustix::io::Errno::ADDRINUSE) => "another server listens there; stop it first",
                (Address::Unix(_), rustix::io::Errno::NOENT) => "create the folder first",
                _ => "",
            };
            OpenError::new(
                address.to_string(),
                format!("cannot listen: {error}"),
                remedy,
            )
        };
        let socket = bind_patiently(address, readers).map_err(fail)?;
        let address = match address {
            // Port 0 means any; say which it became.
            Address::Tcp(_) => Address::Tcp(local_address(&socket).map_err(fail)?),
            Address::Unix(_) => address.clone(),
        };
        Ok(Self {
            socket: Arc::new(socket),
            address,
        })
    }

    /// Where this listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The same unix socket, for code that does not run on a reactor.
    ///
    /// # Errors
    /// If the process has no more descriptors.
    pub fn for_others(&self) -> io::Result<std::os::unix::net::UnixListener> {
        let socket = self.socket.try_clone()?;
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Waits for a client and gives its socket.
    ///
    /// # Errors
    /// What `accept(2)` gives. Running out of descriptors is one; the listener stays usable.
    pub async fn accept(&self) -> io::Result<Socket> {
        use std::os::fd::FromRawFd;
        let null = std::ptr::null_mut();
        let entry = opcode::Accept::new(fd(&self.socket), null, null.cast());
        let result = plain(&self.socket, entry.flags(libc::SOCK_CLOEXEC).build()).await;
        count(result)?;
        // SAFETY: the kernel has just made this descriptor for us and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(result) };
        tune(&socket, &self.address);
        Ok(Socket(socket))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A connected socket that may still move to another thread.
#[derive(Debug)]
pub struct Socket(OwnedFd);

/// One end of a connection.
#[derive(Debug)]
pub struct Stream(Kind);

#[derive(Debug)]
enum Kind {
    Socket(FileHandle),
    Pipe(sim::PipeEnd),
}

/// Memory in pieces that is sent in order. The pieces stay where they are until it is sent.
pub trait Pieces {
    /// Shows each piece in order.
    fn each<'a>(&'a self, show: &mut dyn FnMut(&'a [u8]));
}

impl Pieces for Vec<u8> {
    fn each<'a>(&'a self, show: &mut dyn FnMut(&'a [u8])) {
        show(self);
    }
}

impl Stream {
    /// A stream on `socket`, on this thread from now on.
    pub fn new(socket: Socket) -> Self {
        Self(Kind::Socket(Arc::new(socket.0)))
    }

    pub(super) fn simulated(end: sim::PipeEnd) -> Self {
        Self(Kind::Pipe(end))
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// What `connect(2)` gives.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        let to = address.clone();
        let socket = super::blocking(move || connect_socket(&to)).await?;
        Ok(Self(Kind::Socket(Arc::new(socket))))
    }

    /// Connects to a storage server. Unlike [`connect`](Self::connect) this takes no thread,
    /// however long the server says nothing, and what is left unsent when the stream is dropped
    /// is not sent later, not even when the process ends.
    ///
    /// # Errors
    /// What `connect(2)` gives.
    pub async fn reach(to: SocketAddr, from: Ports) -> io::Result<Self> {
        let address = Address::Tcp(to);
        let socket = Arc::new(new_socket(&address)?);
        if from == Ports::Reserved {
            bind_reserved(&socket, to);
        }
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) => {}
            Err(rustix::io::Errno::INPROGRESS) => {
                let events = libc::POLLOUT.unsigned_abs().into();
                plain(&socket, opcode::PollAdd::new(fd(&socket), events).build()).await;
                sockopt::socket_error(&socket)??;
            }
            Err(error) => return Err(error.into()),
        }
        rustix::io::ioctl_fionbio(&socket, false)?;
        tune(&socket, &address);
        Ok(Self(Kind::Socket(socket)))
    }

    /// Receives what has arrived, at least one byte, into `buf` from `from` on. Gives the count,
    /// zero when the other end has finished, and the buffer. Dropped while it waits, it may take
    /// bytes with it that arrive just then: only a connection that is ending is left like that.
    pub async fn receive(&self, buf: Buf, from: usize) -> (io::Result<usize>, Buf) {
        match &self.0 {
            Kind::Socket(socket) => receive(socket, buf, from).await,
            Kind::Pipe(end) => end.receive(buf, from).await,
        }
    }

    /// Sends all of `data` and gives it back.
    pub async fn send<T: Pieces + 'static>(&self, data: T) -> (io::Result<()>, T) {
        match &self.0 {
            Kind::Socket(socket) => send(socket, data).await,
            Kind::Pipe(end) => {
                let mut bytes = Vec::new();
                data.each(&mut |piece| bytes.extend_from_slice(piece));
                (end.send(&bytes).await, data)
            }
        }
    }

    /// Waits until the other end has finished sending, or is gone; what it sent before may not have
    /// been received yet.
    pub async fn hung_up(&self) {
        match &self.0 {
            Kind::Socket(socket) => hung_up(socket).await,
            Kind::Pipe(end) => end.hung_up().await,
        }
    }

    /// Ends the connection in both directions; whoever waits in it gets an end or an error.
    pub fn shutdown(&self) {
        match &self.0 {
            Kind::Socket(socket) => {
                // A socket that the other end has closed is shut down already.
                let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
            }
            Kind::Pipe(end) => end.shutdown(),
        }
    }
}

async fn hung_up(socket: &FileHandle) {
    // What means that nobody is there any more is told unasked.
    let _ = ready(socket, libc::POLLRDHUP).await;
}

/// Waits until one of `events` of `poll(2)` holds for `socket`, for a library that works with it;
/// gives those that hold, errors and hang-ups unasked.
///
/// # Errors
/// If the kernel cannot wait for such a file.
pub async fn ready(socket: &FileHandle, events: i16) -> io::Result<i16> {
    let entry = opcode::PollAdd::new(fd(socket), events.unsigned_abs().into()).build();
    let events = count(plain(socket, entry).await)?;
    Ok(i16::try_from(events).expect("the kernel gives such events"))
}

/// Does `work`, by which a library sends what it has in small pieces, so that the pieces leave
/// together (TCP_CORK, tcp(7)).
pub fn corked<T>(socket: &FileHandle, work: impl FnOnce() -> T) -> T {
    // Where this is not to be had, on a socket that is lost, the pieces leave one by one.
    let _ = sockopt::set_tcp_cork(socket, true);
    let done = work();
    let _ = sockopt::set_tcp_cork(socket, false);
    done
}

async fn receive(socket: &FileHandle, mut buf: Buf, from: usize) -> (io::Result<usize>, Buf) {
    let room = &mut buf[from..];
    let length = u32::try_from(room.len()).expect("a buffer is smaller than 4 GiB");
    let entry = opcode::Recv::new(fd(socket), room.as_mut_ptr(), length).build();
    let operation = Operation::new(Some(Arc::clone(socket)), entry, Keep::Buf(buf));
    match operation.await {
        (result, Keep::Buf(buf)) => (count(result), buf),
        _ => unreachable!("an operation gives back what it was given"),
    }
}

/// A message under way: what is sent, and the kernel's description of where it lies.
struct Message<T> {
    data: T,
    pieces: Vec<libc::iovec>,
    header: libc::msghdr,
}

/// Sends all of `data`: what the socket takes at once with a plain system call, since that is
/// nearly always everything, and spares the reactor a second turn just to hear that it is done;
/// and the rest, where a client is slow to take it, through the ring.
async fn send<T: Pieces + 'static>(socket: &FileHandle, data: T) -> (io::Result<()>, T) {
    match send_now(socket, &data) {
        Ok(Sent::Everything) => (Ok(()), data),
        Ok(Sent::Bytes(sent)) => send_rest(socket, data, sent).await,
        Err(error) => (Err(error), data),
    }
}

enum Sent {
    Everything,
    Bytes(usize),
}

fn send_now<T: Pieces>(socket: &FileHandle, data: &T) -> io::Result<Sent> {
    use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
    let pieces = gather(data);
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    let now = &pieces[..pieces.len().min(GATHER_PIECES_MAX)];
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match sendmsg(socket, now, &mut SendAncillaryBuffer::default(), flags) {
        Ok(sent) if sent == bytes => Ok(Sent::Everything),
        Ok(sent) => Ok(Sent::Bytes(sent)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(Sent::Bytes(0)),
        Err(error) => Err(error.into()),
    }
}

fn gather<T: Pieces>(data: &T) -> Vec<io::IoSlice<'_>> {
    let mut pieces = Vec::new();
    data.each(&mut |piece| pieces.push(io::IoSlice::new(piece)));
    pieces
}

async fn send_rest<T: Pieces + 'static>(
    socket: &FileHandle,
    data: T,
    sent: usize,
) -> (io::Result<()>, T) {
    let mut message = Box::new(Message {
        data,
        pieces: Vec::new(),
        // SAFETY: a msghdr is plain data, for which all zeroes mean "nothing".
        header: unsafe { std::mem::zeroed() },
    });
    let mut pieces = gather(&message.data);
    let mut rest = &mut pieces[..];
    io::IoSlice::advance_slices(&mut rest, sent);
    let rest = rest.iter().map(|piece| libc::iovec {
        iov_base: piece.as_ptr().cast_mut().cast(),
        iov_len: piece.len(),
    });
    message.pieces = rest.collect();
    let mut first = 0;
    while first < message.pieces.len() {
        let last = message.pieces.len().min(first + GATHER_PIECES_MAX);
        let bytes: usize = message.pieces[first..last].iter().map(|p| p.iov_len).sum();
        message.header.msg_iov = message.pieces[first..].as_mut_ptr();
        message.header.msg_iovlen = last - first;
        let header: *const libc::msghdr = &raw const message.header;
        // MSG_WAITALL has the kernel go on after a short send, instead of us.
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_WAITALL).unsigned_abs();
        let entry = opcode::SendMsg::new(fd(socket), header)
            .flags(flags)
            .build();
        let keep = Keep::Pieces(message);
        let (result, keep) = Operation::new(Some(Arc::clone(socket)), entry, keep).await;
        message = match keep {
            Keep::Pieces(message) => message.downcast().expect("what it was given"),
            _ => unreachable!("an operation gives back what it was given"),
        };
        match count(result) {
            Ok(sent) if sent == bytes => first = last,
            // The kernel stopped half-way: the connection is gone.
            Ok(_) => return (Err(io::ErrorKind::ConnectionReset.into()), message.data),
            Err(error) => return (Err(error), message.data),
        }
    }
    (Ok(()), message.data)
}

fn remove_stale(path: &std::path::Path) {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let dead = || {
        let refused = std::os::unix::net::UnixStream::connect(path).err();
        refused.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if is_socket && dead() {
        let _ = std::fs::remove_file(path);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing is served before there is an address"
)]
fn bind_patiently(address: &Address, readers: Readers) -> rustix::io::Result<OwnedFd> {
    for _ in 1..TAKEN_TRIES {
        if let Address::Unix(path) = address {
            remove_stale(path);
        }
        match bind_socket(address, readers) {
            Err(rustix::io::Errno::ADDRINUSE) => std::thread::sleep(TAKEN_PAUSE),
            done => return done,
        }
    }
    bind_socket(address, readers)
}

fn new_socket(address: &Address) -> rustix::io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let family = match address {
        Address::Unix(_) => AddressFamily::UNIX,
        Address::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
        Address::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
    };
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

fn bind_socket(address: &Address, readers: Readers) -> rustix::io::Result<OwnedFd> {
    let socket = new_socket(address)?;
    match address {
        Address::Unix(path) => {
            if readers == Readers::ThisUser {
                // Before the path is there, so that nobody gets in first: Linux makes it with what
                // of the socket's mode the umask leaves.
                rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
            }
            rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
        }
        Address::Tcp(to) => {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, to)?;
        }
    }
    rustix::net::listen(&socket, 4096)?;
    Ok(socket)
}

fn local_address(socket: &OwnedFd) -> rustix::io::Result<SocketAddr> {
    rustix::net::getsockname(socket)?
        .try_into()
        .map_err(|_| rustix::io::Errno::AFNOSUPPORT)
}

fn connect_socket(address: &Address) -> io::Result<OwnedFd> {
    let socket = new_socket(address)?;
    match address {
        Address::Unix(path) => {
            rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
        }
        Address::Tcp(to) => rustix::net::connect(&socket, to)?,
    }
    tune(&socket, address);
    Ok(socket)
}

/// What of the reserved ports is used by those who call others, as by `bindresvport(3)`.
const RESERVED_PORTS: std::ops::Range<u16> = 600..1024;

/// Binds `socket` to a reserved port, if there is one to be had.
fn bind_reserved(socket: &OwnedFd, to: SocketAddr) {
    let count = u64::from(RESERVED_PORTS.end - RESERVED_PORTS.start);
    let first = super::random_u64() % count;
    for index in 0..count {
        let port = u16::try_from((first + index) % count).expect("less than there are ports");
        let ip = match to {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let from = SocketAddr::new(ip, RESERVED_PORTS.start + port);
        match rustix::net::bind(socket, &from) {
            Err(rustix::io::Errno::ADDRINUSE) => {}
            Ok(()) | Err(_) => return,
        }
    }
}

/// Asks for what suits requests and replies. Each is a wish: a socket works without.
fn tune(socket: &OwnedFd, address: &Address) {
    if let Address::Tcp(_) = address {
        let _ = sockopt::set_tcp_nodelay(socket, true);
        let _ = sockopt::set_socket_keepalive(socket, true);
        let _ = sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE);
        let _ = sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL);
    }
    let forced = sockopt::set_socket_send_buffer_size_force(socket, SOCKET_BYTES);
    if forced.is_err() {
        let _ = sockopt::set_socket_send_buffer_size(socket, SOCKET_BYTES);
    }
}
