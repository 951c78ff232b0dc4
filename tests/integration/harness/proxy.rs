//! A connection that a test can cut or make long: a TCP proxy that counts what it passes on, cuts at a
//! byte, and delays. `benches/load.rs` is the same as a program of its own.
//!
//! It owns no protocol: bytes are passed on as they are, and so are ends and resets. A direction is
//! a thread, a queue and a poll, so nothing in here ever sleeps in a read or a write, and a cut is
//! seen at once. What it holds is bounded: `buffer_len` a direction in its own queue and, unless it
//! delays, about `KERNEL_BUFFER_LEN` in each of its sockets' buffers, so that a test that cuts knows
//! what can have been under way.
//!
//! A delay is the connection's and not the proxy's: every byte arrives that much later than it was sent,
//! and the next ones are sent meanwhile. The buffer is the connection's window; at most `buffer_len` pass in
//! one delay.
#![expect(clippy::disallowed_types, reason = "a proxy listens, and is no server of ours")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use socket2::{Domain, SockRef, Socket, Type};

/// What one read takes at most, in bytes.
const READ_LEN: usize = 256 * 1024;
/// What a proxy without a delay holds in each direction at most, in bytes.
const DIRECT_BUFFER_LEN: usize = 64 * 1024;
/// What its sockets hold at most, in bytes; the kernel doubles it for its own books.
const KERNEL_BUFFER_LEN: usize = 64 * 1024;
/// Upstream is on this machine: it answers at once or not at all.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toward {
    Server,
    Client,
}

/// How a connection ends that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Both ends see a reset; what was under way is lost.
    Reset,
    /// What was passed on still arrives, then the end of the stream. (An end whose bytes were not
    /// all taken sees a reset here too: that is how the kernel closes.)
    Close,
}

/// A running proxy; dropped, it resets its connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Passes everything on at once.
    pub(crate) fn start(upstream: &str) -> Self {
        Self::with(upstream, None, DIRECT_BUFFER_LEN)
    }

    /// Passes everything on `delay` later, at most `buffer_len` bytes under way in each direction.
    /// A connection's first byte is another round trip late, which is what connecting would have taken.
    pub(crate) fn delayed(upstream: &str, delay: Duration, buffer_len: usize) -> Self {
        Self::with(upstream, Some(delay), buffer_len)
    }

    fn with(upstream: &str, delay: Option<Duration>, buffer_len: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.parse().unwrap(),
            delay,
            buffer_len,
            toward_server: Mutex::default(),
            toward_client: Mutex::default(),
            connections: Mutex::default(),
            cuts: AtomicUsize::new(0),
            stop: eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
        });
        if delay.is_none() {
            // Those that it accepts inherit them.
            shared.bound(&SockRef::from(&listener)).unwrap();
        }
        let address = listener.local_addr().unwrap();
        let accepting = Some(thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener).unwrap()
        }));
        Self { address, shared, accepting }
    }

    /// Where to connect instead of to the server.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts all connections once `total` bytes have passed in this direction, on all connections since the start
    /// together: exactly that many, not one more. Connections that come later are not cut by it. A later call
    /// takes the place of this one.
    pub(crate) fn cut_after(&self, toward: Toward, total: u64, how: Cut) {
        let mut passed = self.shared.passed(toward).lock().unwrap();
        passed.cut = Some((total, how));
        self.shared.cut_if_due(&mut passed);
    }

    /// Cuts all connections now.
    pub(crate) fn cut(&self, how: Cut) {
        self.shared.cut(how);
    }

    /// How often connections were cut.
    pub(crate) fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Bytes that were passed on in this direction, on all connections together.
    pub(crate) fn passed(&self, toward: Toward) -> u64 {
        self.shared.passed(toward).lock().unwrap().bytes
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        raise(&self.shared.stop);
        self.shared.cut(Cut::Reset);
        if let Some(accepting) = self.accepting.take()
            && accepting.join().is_err()
            && !thread::panicking()
        {
            panic!("the proxy failed");
        }
    }
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    delay: Option<Duration>,
    buffer_len: usize,
    toward_server: Mutex<Passed>,
    toward_client: Mutex<Passed>,
    connections: Mutex<Vec<Weak<Connection>>>,
    cuts: AtomicUsize,
    /// Readable from when the proxy is to end.
    stop: OwnedFd,
}

#[derive(Debug, Default)]
struct Passed {
    bytes: u64,
    /// At how many of them to cut; `bytes` is never more.
    cut: Option<(u64, Cut)>,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Readable from when the connection is to be dropped.
    end: OwnedFd,
    has_ended: AtomicBool,
}

impl Connection {
    /// Where bytes of this direction come from, and where they go.
    fn ends(&self, toward: Toward) -> (&TcpStream, &TcpStream) {
        match toward {
            Toward::Server => (&self.client, &self.server),
            Toward::Client => (&self.server, &self.client),
        }
    }

    fn end(&self, how: Cut) {
        self.has_ended.store(true, Ordering::SeqCst);
        if how == Cut::Reset {
            for stream in [&self.client, &self.server] {
                // It resets when it is closed, by the one that lets go of it last. An end that is gone
                // needs no reset.
                let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
        raise(&self.end);
    }
}

impl Shared {
    fn passed(&self, toward: Toward) -> &Mutex<Passed> {
        match toward {
            Toward::Server => &self.toward_server,
            Toward::Client => &self.toward_client,
        }
    }

    fn cut(&self, how: Cut) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        for connection in self.connections.lock().unwrap().drain(..) {
            if let Some(connection) = connection.upgrade() {
                connection.end(how);
            }
        }
    }

    fn cut_if_due(&self, passed: &mut Passed) {
        if let Some((_, how)) = passed.cut.take_if(|(total, _)| *total <= passed.bytes) {
            self.cut(how);
        }
    }

    /// Keeps what the kernel holds small.
    fn bound(&self, socket: &Socket) -> io::Result<()> {
        if self.delay.is_none() {
            socket.set_recv_buffer_size(KERNEL_BUFFER_LEN)?;
            socket.set_send_buffer_size(KERNEL_BUFFER_LEN)?;
        }
        Ok(())
    }

    fn accept(&self, listener: &TcpListener) -> io::Result<()> {
        thread::scope(|scope| {
            loop {
                if wait(&self.stop, &[Some((listener.as_fd(), PollFlags::IN))], None)? {
                    return Ok(());
                }
                match listener.accept() {
                    // A connection that cannot be carried is reset; the client notices.
                    Ok((client, _)) => _ = scope.spawn(|| self.carry(client)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        })
    }

    fn carry(&self, client: TcpStream) -> io::Result<()> {
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        let opened = Instant::now();
        let delay = self.delay.unwrap_or_default();
        // What connecting takes on the way there.
        if wait(&self.stop, &[], Some(delay))? {
            return Ok(());
        }
        let server = Socket::new(Domain::for_address(self.upstream), Type::STREAM, None)?;
        self.bound(&server)?;
        server.connect_timeout(&self.upstream.into(), CONNECT_TIME_MAX)?;
        let server = TcpStream::from(server);
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
        }
        SockRef::from(&client).set_linger(None)?;
        let end = eventfd(0, EventfdFlags::CLOEXEC)?;
        let connection = Arc::new(Connection { client, server, end, has_ended: AtomicBool::new(false) });
        {
            let mut connections = self.connections.lock().unwrap();
            connections.retain(|connection| connection.strong_count() > 0);
            connections.push(Arc::downgrade(&connection));
        }
        // The proxy may have stopped while this connection was not in the list.
        if wait(&self.stop, &[], Some(Duration::ZERO))? {
            connection.end(Cut::Reset);
        }
        thread::scope(|scope| {
            // The client knew only then that it is connected, and had nothing sent before.
            scope.spawn(|| self.pump(&connection, Toward::Server, opened + delay * 2));
            self.pump(&connection, Toward::Client, opened)
        })
    }

    /// Passes bytes on in one direction until their end has been passed on too, or the connection is cut.
    /// No byte counts as sent before `sent_from`.
    fn pump(&self, connection: &Connection, toward: Toward, sent_from: Instant) -> io::Result<()> {
        let (mut source, sink) = connection.ends(toward);
        let mut queue = Queue::default();
        let mut buffer = vec![0; READ_LEN];
        loop {
            let now = Instant::now();
            let due = queue.due();
            if let Some(End { at, reset }) = queue.end
                && queue.pieces.is_empty()
                && at <= now
            {
                if reset {
                    connection.end(Cut::Reset);
                    return Ok(());
                }
                return sink.shutdown(Shutdown::Write);
            }
            let room = self.buffer_len - queue.len;
            let reads = queue.end.is_none() && room > 0;
            let writes = !queue.pieces.is_empty() && due.is_some_and(|due| due <= now);
            let wanted =
                [reads.then(|| (source.as_fd(), PollFlags::IN)), writes.then(|| (sink.as_fd(), PollFlags::OUT))];
            let time = if writes { None } else { due.map(|due| due - now) };
            if wait(&connection.end, &wanted, time)? {
                return Ok(());
            }
            if reads {
                let arrives = || Instant::now().max(sent_from) + self.delay.unwrap_or_default();
                let most = room.min(buffer.len());
                match source.read(&mut buffer[..most]) {
                    Ok(0) => queue.end = Some(End { at: arrives(), reset: false }),
                    Ok(len) => queue.push(arrives(), &mut buffer, len),
                    Err(error) if is_for_later(&error) => {}
                    Err(_) => queue.end = Some(End { at: arrives(), reset: true }),
                }
            }
            if writes {
                match self.pass(connection, toward, queue.front()) {
                    Ok(len) => queue.took(len),
                    Err(error) if is_for_later(&error) => {}
                    // The other direction will read why, after what that end said before.
                    Err(_) => return Ok(()),
                }
            }
        }
    }

    /// The count is right also while several connections pass bytes on: the lock is held during the write,
    /// which never sleeps, and none that waited for it writes after a cut.
    fn pass(&self, connection: &Connection, toward: Toward, bytes: &[u8]) -> io::Result<usize> {
        let mut passed = self.passed(toward).lock().unwrap();
        if connection.has_ended.load(Ordering::SeqCst) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let left = passed.cut.map_or(u64::MAX, |(total, _)| total - passed.bytes);
        let most = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let len = connection.ends(toward).1.write(&bytes[..most])?;
        passed.bytes += u64::try_from(len).unwrap();
        self.cut_if_due(&mut passed);
        Ok(len)
    }
}

/// Bytes under way in one direction, each piece with the time of its arrival.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that have been passed on: fewer than it has.
    taken: usize,
    /// Bytes in all pieces, also those of the first that have been passed on.
    len: usize,
    /// Buffers that are empty again. A long connection holds more than a cache does; taking new memory for
    /// each piece would make it half as fast.
    spare: Vec<Vec<u8>>,
    end: Option<End>,
}

#[derive(Debug)]
struct Piece {
    at: Instant,
    bytes: Vec<u8>,
    /// How many of `bytes` are its own.
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct End {
    at: Instant,
    reset: bool,
}

impl Queue {
    fn due(&self) -> Option<Instant> {
        self.pieces.front().map(|piece| piece.at).or(self.end.map(|end| end.at))
    }

    /// Takes a full buffer as it is and leaves another; copies out of one that is mostly empty.
    fn push(&mut self, at: Instant, buffer: &mut Vec<u8>, len: usize) {
        let bytes = if len * 2 < buffer.len() {
            buffer[..len].to_vec()
        } else {
            let next = self.spare.pop().unwrap_or_else(|| vec![0; READ_LEN]);
            std::mem::replace(buffer, next)
        };
        self.len += len;
        self.pieces.push_back(Piece { at, bytes, len });
    }

    fn front(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece.bytes[self.taken..piece.len])
    }

    fn took(&mut self, len: usize) {
        self.taken += len;
        if self.front().is_empty()
            && let Some(piece) = self.pieces.pop_front()
        {
            self.len -= piece.len;
            self.taken = 0;
            if piece.bytes.len() == READ_LEN {
                self.spare.push(piece.bytes);
            }
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn raise(event: &OwnedFd) {
    rustix::io::write(event, &1_u64.to_ne_bytes()).unwrap();
}

/// Until one of these is ready, the time is over, or `end` is raised: then true.
fn wait(
    end: &OwnedFd,
    wanted: &[Option<(rustix::fd::BorrowedFd<'_>, PollFlags)>],
    time: Option<Duration>,
) -> io::Result<bool> {
    let mut fds = vec![PollFd::new(end, PollFlags::IN)];
    // One that is not wanted is left out: it would say that it has ended, again and again.
    fds.extend(wanted.iter().flatten().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)));
    let time = time.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    match poll(&mut fds, time.as_ref()) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
