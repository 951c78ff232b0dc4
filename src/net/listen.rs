//! Listening: bind, say so, accept, count, hand over. Nothing else happens on the accept thread,
//! so one silent client never keeps a newcomer waiting.
#![expect(clippy::disallowed_types, reason = "this is the one place that accepts connections")]

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::address::Address;
use super::budget::Whose;
use super::gate::{Gate, Ticket, TurnedAway};
use super::stream::Stream;

/// Connections the kernel keeps for us while the accept thread is busy; std's 128 overflows when a
/// thousand clients come at once.
const BACKLOG: i32 = 4_096;
/// A connection's stack: the post-quantum key exchange to come needs more than 32 KiB; it is
/// virtual, only the pages that are touched cost memory.
pub const STACK_LEN: usize = 256 * 1024;
/// How long to wait after "too many open files": accepting again at once would only spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);
/// How often the same trouble is written to the log.
const TROUBLE_LOG_INTERVAL: Duration = Duration::from_secs(1);
/// How long a connection that was turned away may take to read why.
const TURNED_AWAY_TIME: Duration = Duration::from_secs(1);

/// Listening did not come about.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {why}")]
pub struct BindError {
    address: String,
    why: String,
}

/// One address that is listened on.
#[derive(Debug)]
pub struct Listener {
    socket: ListenerSocket,
    local: String,
    is_loopback: bool,
    stopped: AtomicBool,
}

#[derive(Debug)]
enum ListenerSocket {
    Tcp(TcpListener),
    Unix { socket: UnixListener, path: PathBuf, inode: u64 },
}

impl Listener {
    /// Listens on every address that `address` means: one for an IP address or a Unix path,
    /// perhaps several for a name.
    ///
    /// # Errors
    /// The name is unknown, the port is taken or not allowed, the path is in use.
    pub fn bind(address: &Address) -> Result<Vec<Self>, BindError> {
        let failed = |why: String| BindError { address: address.to_string(), why };
        match address {
            Address::Unix(path) => Ok(vec![Self::bind_unix(path).map_err(failed)?]),
            Address::Tcp { host, port, .. } => {
                let addresses = (host.as_str(), port.unwrap_or(0)).to_socket_addrs();
                let mut addresses: Vec<SocketAddr> = addresses.map_err(|error| failed(error.to_string()))?.collect();
                addresses.sort_unstable();
                addresses.dedup();
                addresses
                    .into_iter()
                    .map(|address| Self::bind_tcp(address).map_err(|e| failed(bind_reason(&e))))
                    .collect()
            }
        }
    }

    fn bind_tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted server would otherwise have to wait until its old connections are forgotten.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let local = socket.local_addr()?;
        Ok(Self {
            socket: ListenerSocket::Tcp(socket),
            local: local.to_string(),
            is_loopback: local.ip().is_loopback(),
            stopped: AtomicBool::new(false),
        })
    }

    fn bind_unix(path: &Path) -> Result<Self, String> {
        clear_dead_socket(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(|error| error.to_string())?;
        let bound = SockAddr::unix(path).and_then(|address| socket.bind(&address)).and_then(|()| {
            // Between bind and listen nobody can connect yet: no moment at which others may.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            socket.listen(BACKLOG)?;
            std::fs::metadata(path)
        });
        let inode = bound.map_err(|error| bind_reason(&error))?.ino();
        Ok(Self {
            socket: ListenerSocket::Unix { socket: UnixListener::from(socket), path: path.to_owned(), inode },
            local: format!("unix:{}", path.display()),
            is_loopback: true,
            stopped: AtomicBool::new(false),
        })
    }

    /// The address with the real port, as a client would write it.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Whether only this machine can reach it.
    pub const fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Makes the accept loop return.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let socket = match &self.socket {
            ListenerSocket::Tcp(socket) => socket.as_fd(),
            ListenerSocket::Unix { socket, .. } => socket.as_fd(),
        };
        if let Err(error) = rustix::net::shutdown(socket, rustix::net::Shutdown::Both) {
            tracing::debug!(%error, "a listener could not be shut down");
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            ListenerSocket::Tcp(socket) => socket.accept().map(|(stream, _)| stream.into()),
            ListenerSocket::Unix { socket, .. } => socket.accept().map(|(stream, _)| stream.into()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Only our own socket is removed, not one that somebody put in its place since.
        if let ListenerSocket::Unix { path, inode, .. } = &self.socket
            && std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == *inode)
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "the socket's path could not be removed");
        }
    }
}

fn clear_dead_socket(path: &Path) -> Result<(), String> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err("the path exists and is not a socket; choose another path".into());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err("another program listens there already".into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| format!("a dead socket is in the way: {error}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn bind_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has this port; choose another, or 0 for any free one".into(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        io::ErrorKind::PermissionDenied => "not allowed; ports below 1024 and others' directories need rights".into(),
        io::ErrorKind::NotFound => "its directory does not exist".into(),
        _ => error.to_string(),
    }
}

/// What is done with every connection that is let in, on a thread of its own.
pub type Handler = dyn Fn(Stream, Ticket) + Send + Sync;

/// Accepts until [`Listener::stop`], a thread per connection; who is beyond the caps is shown the door.
pub fn accept_loop(listener: &Listener, gate: &Arc<Gate>, door: &Door, handler: &Arc<Handler>) {
    let mut trouble = Trouble::default();
    loop {
        match listener.accept() {
            Ok(stream) => admit(stream, gate, door, handler),
            Err(_) if listener.stopped.load(Ordering::SeqCst) => return,
            Err(error) => trouble.survive(&listener.local, &error, gate),
        }
    }
}

fn admit(stream: Stream, gate: &Arc<Gate>, door: &Door, handler: &Arc<Handler>) {
    let place = match gate.enter(stream.origin(), stream.control()) {
        Ok(place) => place,
        Err(full) => {
            let origin = stream.origin();
            if gate.log_budget().allows(Whose::Address(origin), || origin.to_string()) {
                tracing::info!(peer = stream.peer_address(), reason = %full, "turned away");
            }
            return door.turn_away(stream, full);
        }
    };
    let task = {
        let handler = Arc::clone(handler);
        // In an option, so that the stream survives a thread that could not start.
        let mut work = Some((stream, place));
        move || {
            if let Some((stream, place)) = work.take() {
                handler(stream, place);
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("connection".into()).stack_size(STACK_LEN).spawn(task) {
        tracing::error!(%error, connections = gate.connections(), "no thread for a connection: it was dropped");
    }
}

/// Accept errors: logged, counted, survived.
#[derive(Debug, Default)]
struct Trouble {
    count: u64,
    logged: Option<Instant>,
}

impl Trouble {
    fn survive(&mut self, listener: &str, error: &io::Error, gate: &Gate) {
        use rustix::io::Errno;
        self.count += 1;
        if self.logged.is_none_or(|at| at.elapsed() >= TROUBLE_LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            tracing::warn!(listener, %error, count = self.count, "a connection could not be accepted");
        }
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        if errno == Some(Errno::MFILE) {
            gate.make_room();
        }
        // accept(2): these pass on an error of the one connection that was in the queue.
        let only_that_one = [Errno::CONNABORTED, Errno::INTR, Errno::PROTO, Errno::PERM, Errno::NETDOWN];
        if !errno.is_some_and(|errno| only_that_one.contains(&errno)) {
            thread::sleep(EXHAUSTED_PAUSE);
        }
    }
}

/// Turns connections away with a reason that they can read, without making anybody wait.
#[derive(Debug)]
pub struct Door {
    queue: SyncSender<(Stream, Vec<u8>)>,
    say: fn(TurnedAway) -> Vec<u8>,
}

impl Door {
    /// Opens the door for `most` at a time; `say` puts the reason into the words of the wire.
    ///
    /// # Errors
    /// Its thread could not start.
    pub fn open(most: usize, say: fn(TurnedAway) -> Vec<u8>) -> io::Result<Self> {
        // Some wait for the thread, the others for their end.
        let most = (most / 2).max(1);
        let (queue, turned_away) = sync_channel(most);
        thread::Builder::new().name("door".into()).stack_size(STACK_LEN).spawn(move || see_off(&turned_away, most))?;
        Ok(Self { queue, say })
    }

    fn turn_away(&self, stream: Stream, full: TurnedAway) {
        let word = (self.say)(full);
        if self.queue.try_send((stream, word)).is_err() {
            tracing::debug!("too many are being turned away: one was closed without a word");
        }
    }
}

/// Says the last word to each, then waits with all of them at once until they close or their time
/// is over: closing with unread bytes would reset the connection and lose the word.
fn see_off(turned_away: &Receiver<(Stream, Vec<u8>)>, most: usize) {
    let mut leaving: Vec<(Stream, Instant)> = Vec::new();
    loop {
        let newcomer = if leaving.is_empty() {
            match turned_away.recv() {
                Ok(newcomer) => Some(newcomer),
                Err(_) => return,
            }
        } else {
            turned_away.try_recv().ok()
        };
        let is_full = leaving.len() >= most;
        if let Some((stream, word)) = newcomer.filter(|_| !is_full) {
            stream.send_last_word(&word);
            leaving.push((stream, Instant::now() + TURNED_AWAY_TIME));
            continue;
        }
        let mut polled: Vec<PollFd<'_>> =
            leaving.iter().map(|(stream, _)| PollFd::new(stream, PollFlags::IN)).collect();
        let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if poll(&mut polled, Some(&tick)).is_err() {
            thread::sleep(EXHAUSTED_PAUSE);
        }
        drop(polled);
        let now = Instant::now();
        leaving.retain(|(stream, until)| now < *until && stream.drain());
    }
}
