//! The encrypted stream: its state, shared by both halves, and what is on its way in and out.
//!
//! ```text
//! plaintext --writer--> Connection --records--> Outgoing --> socket      (under the send lock)
//! socket --> Incoming --records--> Connection --reader--> plaintext      (on the receiving thread)
//! ```
//!
//! The connection's own lock is held only while something is ciphered, never while a socket may
//! sleep. A sender takes the send lock first and keeps it until its records are on the socket, or
//! they would overtake each other. The receiver may have something to say (RFC 8446, 6.2: an alert),
//! but it only *tries* for the send lock and leaves a flag for its holder: two receivers that
//! waited for two full pipes would wait without end. A key update (4.6.3) is answered with the next
//! write.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rustls::{Connection, Error};

use super::Inside;
use crate::net::socket::Socket;

/// Plaintext that is ciphered before its records go to the socket, in bytes: larger ones fall out of
/// the processor's cache.
const BATCH_LEN_MAX: usize = 256 * 1024;
/// The same where one thread writes to many members of a room, none of whom should wait for another.
const SHARED_BATCH_LEN_MAX: usize = 64 * 1024;
/// Plaintext handed to the connection at once, in bytes: the longest record (RFC 8446, 5.1). It makes a
/// vector for each record, and more of them at a time would be memory that the allocator takes from
/// the kernel and gives back for every batch: a page fault for each page sent.
const RECORD_LEN_MAX: usize = 16 * 1024;
/// Ciphertext read at once on a busy connection, in bytes.
const INCOMING_LEN_BUSY: usize = 256 * 1024;
/// The same on an idle one: 10,000 of them cost 40 MiB.
const INCOMING_LEN_IDLE: usize = 4 * 1024;
/// Silence after which a busy connection's buffer is given back.
const REST_AFTER: Duration = Duration::from_millis(100);
/// Ciphertext of a batch beyond which its buffer is given back after a while.
const OUTGOING_LEN_IDLE: usize = 16 * 1024;

/// Ciphertext that has come and was not yet looked at: `start <= end <= bytes.len()`.
#[derive(Debug)]
pub struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    /// What was read already is `first`.
    pub(super) fn with(first: &[u8]) -> Self {
        let mut bytes = first.to_vec();
        bytes.resize(INCOMING_LEN_IDLE.max(first.len()), 0);
        Self { bytes, start: 0, end: first.len() }
    }

    /// What was not looked at yet.
    pub(super) fn unused(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether all that came was looked at.
    pub(super) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Hands what was not looked at yet to `read`, which takes as much of it as it likes.
    pub(super) fn take(&mut self, read: impl FnOnce(&mut &[u8]) -> io::Result<usize>) -> io::Result<()> {
        let mut unused = self.unused();
        let before = unused.len();
        read(&mut unused)?;
        self.start += before - unused.len();
        Ok(())
    }

    /// Reads what has come, with `read`; 0 bytes is the end of the stream. A buffer that was filled grows.
    pub(super) fn fill(&mut self, read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.end == self.bytes.len() && self.bytes.len() < INCOMING_LEN_BUSY && self.end > 0 {
            self.bytes = vec![0; INCOMING_LEN_BUSY];
        }
        self.start = 0;
        self.end = 0;
        self.end = read(&mut self.bytes)?.min(self.bytes.len());
        Ok(self.end)
    }

    /// Gives a busy exchange's memory back.
    fn rest(&mut self) {
        if self.bytes.len() > INCOMING_LEN_IDLE && self.is_empty() {
            *self = Self::with(&[]);
        }
    }
}

/// Records on their way to the socket: `sent <= bytes.len()`.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// Where records are put behind those that are on their way.
    pub(super) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    fn send(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        self.bytes.clear();
        Ok(())
    }

    /// Gives a busy exchange's memory back.
    fn rest(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
        }
    }

    /// Sends all of it, however long the other end takes.
    pub(super) fn send_all(&mut self, mut socket: &Socket) -> io::Result<()> {
        self.send(|bytes| socket.write(bytes))
    }

    /// Sends what the socket takes at once.
    pub(super) fn try_send(&mut self, socket: &Socket) -> io::Result<()> {
        self.send(|bytes| socket.try_write(&[IoSlice::new(bytes)]))
    }
}

/// An encrypted stream's state, shared by its halves.
pub struct Tls {
    connection: Mutex<Connection>,
    /// The send lock; taken before the connection's.
    outgoing: Mutex<Outgoing>,
    /// The receiver has something to send and did not get the send lock.
    is_answer_waiting: AtomicBool,
    /// There is memory to give back when the connection is at rest.
    is_outgoing_large: AtomicBool,
    /// Something was left in `outgoing` by the last sender that did not wait; to be looked at without its lock.
    has_unsent: AtomicBool,
    inside: Inside,
    /// `None`: the other end has shown no certificate.
    peer_spki: Option<Vec<u8>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Hands one piece of what has come to the connection. Piece by piece: it takes no more while
/// plaintext waits in it.
pub(super) fn feed(connection: &mut Connection, incoming: &mut Incoming) -> Result<(), Error> {
    // Reading from memory fails only if the connection takes no more, which the caller has made sure of.
    incoming.take(|unused| connection.read_tls(unused)).map_err(|error| Error::General(error.to_string()))?;
    connection.process_new_packets().map(|_| ())
}

impl Tls {
    /// A stream whose handshake is over; what of it is not on the socket yet is in `outgoing`.
    pub(super) const fn new(
        connection: Connection,
        outgoing: Outgoing,
        inside: Inside,
        peer_spki: Option<Vec<u8>>,
    ) -> Self {
        Self {
            connection: Mutex::new(connection),
            outgoing: Mutex::new(outgoing),
            is_answer_waiting: AtomicBool::new(false),
            is_outgoing_large: AtomicBool::new(false),
            has_unsent: AtomicBool::new(false),
            inside,
            peer_spki,
        }
    }

    /// What both ends agreed to, for a person: the version, the cipher and the key exchange.
    pub fn described(&self) -> String {
        let connection = self.connection();
        let version = connection.protocol_version().map_or_else(String::new, |version| format!("{version:?}"));
        let suite = connection.negotiated_cipher_suite();
        let suite = suite.map_or_else(String::new, |suite| format!(", {:?}", suite.suite()));
        let group = connection.negotiated_key_exchange_group();
        let group = group.map_or_else(String::new, |group| format!(", {:?}", group.name()));
        format!("{version}{suite}{group}")
    }

    /// The other end's public key, which it has proved to own: SPKI in DER. `None`: it has shown no certificate, as
    /// most clients of the web.
    pub fn peer_spki(&self) -> Option<&[u8]> {
        self.peer_spki.as_deref()
    }

    /// What is spoken inside.
    pub const fn inside(&self) -> Inside {
        self.inside
    }

    /// 32 bytes that both ends of this connection can compute and no one else (RFC 8446, 7.5).
    ///
    /// # Errors
    /// The connection is closed.
    pub fn export(&self, label: &[u8]) -> io::Result<[u8; 32]> {
        let connection = self.connection();
        connection.export_keying_material([0; 32], label, None).map_err(io::Error::other)
    }

    /// Reads into `slices` what is there, waiting with `read` if that is nothing; 0 is a proper end.
    ///
    /// # Errors
    /// `UnexpectedEof` if the stream ended without the other end's farewell (RFC 8446, 6.1), whatever
    /// `read` says, or the records are not what they should be.
    pub fn read(
        &self,
        socket: &Socket,
        incoming: &mut Incoming,
        slices: &mut [IoSliceMut<'_>],
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            if let Some(len) = self.decipher(incoming, slices, socket)? {
                return Ok(len);
            }
            self.rest(socket, incoming)?;
            self.fill(incoming, read)?;
        }
    }

    /// Gives a busy exchange's memory back when nothing has come for a while.
    fn rest(&self, socket: &Socket, incoming: &mut Incoming) -> io::Result<()> {
        let is_outgoing_large = self.is_outgoing_large.load(Ordering::Relaxed);
        if (is_outgoing_large || incoming.bytes.len() > INCOMING_LEN_IDLE) && !socket.readable(Some(REST_AFTER))? {
            incoming.rest();
            // A sender needs it still.
            if let (true, Ok(mut outgoing)) = (is_outgoing_large, self.outgoing.try_lock()) {
                outgoing.rest();
                self.is_outgoing_large.store(false, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Whether a [`read`](Self::read) would find something without waiting.
    ///
    /// # Errors
    /// The socket failed.
    pub fn ready(&self, socket: &Socket, incoming: &mut Incoming) -> io::Result<bool> {
        loop {
            // Errors and ends are something to find, too.
            if !matches!(self.decipher(incoming, &mut [], socket), Ok(None)) {
                return Ok(true);
            }
            if !socket.readable(Some(Duration::ZERO))? {
                return Ok(false);
            }
            let mut reader = socket;
            self.fill(incoming, &mut |dest| reader.read(dest))?;
        }
    }

    fn fill(&self, incoming: &mut Incoming, read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        // What was wrong with the last records is said again, if what came before them was delivered first.
        self.connection().process_new_packets().map_err(io::Error::other)?;
        if incoming.fill(read)? == 0 {
            // The connection has to know: it tells an end from a truncation.
            self.connection().read_tls(&mut io::empty())?;
        }
        Ok(())
    }

    /// Deciphers as much of what has come as fits; `None`: more must come first. With no slices it
    /// says whether there is anything.
    fn decipher(
        &self,
        incoming: &mut Incoming,
        slices: &mut [IoSliceMut<'_>],
        socket: &Socket,
    ) -> io::Result<Option<usize>> {
        let mut connection = self.connection();
        let mut filled = 0;
        let result = 'all: {
            if slices.is_empty() {
                break 'all peek(&mut connection, incoming);
            }
            for slice in slices {
                match decipher_into(&mut connection, incoming, slice) {
                    Ok((len, is_full)) => {
                        filled += len;
                        if !is_full {
                            break;
                        }
                    }
                    // What came before the end is delivered first; the end is found again.
                    Err(_) if filled > 0 => break,
                    Err(End::Clean) => break 'all Ok(Some(0)),
                    Err(End::Broken(error)) => break 'all Err(error),
                }
            }
            Ok(Some(filled).filter(|filled| *filled > 0))
        };
        let has_answer = connection.wants_write();
        drop(connection);
        if has_answer {
            self.is_answer_waiting.store(true, Ordering::SeqCst);
            self.send_answer(socket);
        }
        result
    }

    /// Writes a batch of what `slices` hold, and waits until it is on the socket.
    ///
    /// # Errors
    /// The socket failed.
    pub fn write(&self, socket: &Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outgoing = self.outgoing();
        outgoing.send_all(socket)?;
        let taken = self.encipher(&mut outgoing, slices, BATCH_LEN_MAX)?;
        outgoing.send_all(socket)?;
        self.let_go(outgoing);
        self.send_answer(socket);
        Ok(taken)
    }

    /// Writes a batch of what `slices` hold without waiting; what the socket did not take is kept,
    /// and nothing more is taken until it has gone. With no slices it only sends what is left.
    ///
    /// # Errors
    /// `WouldBlock` if nothing was taken, or the socket failed.
    pub fn try_write(&self, socket: &Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outgoing = match self.outgoing.try_lock() {
            Ok(outgoing) => outgoing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        };
        outgoing.try_send(socket)?;
        let taken = self.encipher(&mut outgoing, slices, SHARED_BATCH_LEN_MAX)?;
        match outgoing.try_send(socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.let_go(outgoing);
        self.send_answer(socket);
        Ok(taken)
    }

    /// Whether something that [`try_write`](Self::try_write) took has not left yet.
    pub fn has_unsent(&self) -> bool {
        self.has_unsent.load(Ordering::SeqCst)
    }

    fn let_go(&self, outgoing: MutexGuard<'_, Outgoing>) {
        self.has_unsent.store(!outgoing.is_empty(), Ordering::SeqCst);
        drop(outgoing);
    }

    /// Says farewell (`close_notify`: RFC 8446, 6.1): without it the other end must take what it has
    /// for a part. Waits until everything before it is on the socket.
    pub fn close(&self, socket: &Socket) {
        let mut outgoing = self.outgoing();
        if let Err(error) = self.farewell(&mut outgoing).and_then(|()| outgoing.send_all(socket)) {
            tracing::debug!(%error, "the connection was gone before its farewell");
        }
    }

    /// As [`close`](Self::close), without waiting: for a connection that is dropped in the middle of things.
    pub fn abandon(&self, socket: &Socket) {
        if let Ok(mut outgoing) = self.outgoing.try_lock() {
            // No caller is left to take an error.
            drop(self.farewell(&mut outgoing).and_then(|()| outgoing.try_send(socket)));
        }
    }

    fn farewell(&self, outgoing: &mut Outgoing) -> io::Result<()> {
        let mut connection = self.connection();
        connection.send_close_notify();
        take_records(&mut connection, outgoing)
    }

    fn encipher(&self, outgoing: &mut Outgoing, slices: &[IoSlice<'_>], limit: usize) -> io::Result<usize> {
        let total = slices.iter().map(|slice| slice.len()).sum();
        // What is left of a frame by its header's length goes along, or it would be a batch of its own.
        let limit = if total <= limit + RECORD_LEN_MAX { total } else { limit };
        let mut connection = self.connection();
        let mut taken = 0;
        for slice in slices {
            let Some(part) = slice.get(..slice.len().min(limit - taken)).filter(|part| !part.is_empty()) else {
                continue;
            };
            for record in part.chunks(RECORD_LEN_MAX) {
                connection.writer().write_all(record)?;
                take_records(&mut connection, outgoing)?;
            }
            taken += part.len();
        }
        take_records(&mut connection, outgoing)?;
        self.is_outgoing_large.store(outgoing.bytes.capacity() > OUTGOING_LEN_IDLE, Ordering::Relaxed);
        Ok(taken)
    }

    /// Sends what the receiver left for the holder of the send lock, without waiting. The flag is
    /// looked at after the lock was let go, or an answer that came just then would stay.
    fn send_answer(&self, socket: &Socket) {
        while self.is_answer_waiting.load(Ordering::SeqCst) {
            // Its holder comes by here when it lets go.
            let Ok(mut outgoing) = self.outgoing.try_lock() else { return };
            self.is_answer_waiting.store(false, Ordering::SeqCst);
            let ciphered = take_records(&mut self.connection(), &mut outgoing);
            // What does not leave now leaves with the next write; a lost connection is found by the next read.
            drop(ciphered.and_then(|()| outgoing.try_send(socket)));
            self.let_go(outgoing);
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves the connection's finished records behind those that are on their way.
fn take_records(connection: &mut Connection, outgoing: &mut Outgoing) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(&mut outgoing.bytes)?;
    }
    Ok(())
}

/// Whether there is plaintext, or an end, in what has come.
fn peek(connection: &mut Connection, incoming: &mut Incoming) -> io::Result<Option<usize>> {
    loop {
        match io::BufRead::fill_buf(&mut connection.reader()) {
            Ok(bytes) => return Ok(Some(bytes.len())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if incoming.is_empty() {
            return Ok(None);
        }
        feed(connection, incoming).map_err(io::Error::other)?;
    }
}

/// rustls points to its manual here.
fn in_our_words(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        let text = "it was cut without a farewell: the other end was stopped or killed, or has revoked this peer";
        return io::Error::new(io::ErrorKind::UnexpectedEof, text);
    }
    error
}

/// Nothing more will come.
enum End {
    /// The other end said farewell.
    Clean,
    /// It did not, or what came cannot be deciphered.
    Broken(io::Error),
}

/// Fills `dest` from what has come; returns how much, and whether it is full.
fn decipher_into(connection: &mut Connection, incoming: &mut Incoming, dest: &mut [u8]) -> Result<(usize, bool), End> {
    let mut filled = 0;
    loop {
        let Some(rest) = dest.get_mut(filled..).filter(|rest| !rest.is_empty()) else { return Ok((filled, true)) };
        match connection.reader().read(rest) {
            Ok(0) if filled == 0 => return Err(End::Clean),
            Ok(0) => return Ok((filled, false)),
            Ok(len) => {
                filled += len;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if filled == 0 => return Err(End::Broken(in_our_words(error))),
            Err(_) => return Ok((filled, false)),
        }
        if incoming.is_empty() {
            return Ok((filled, false));
        }
        if let Err(error) = feed(connection, incoming) {
            return if filled == 0 { Err(End::Broken(io::Error::other(error))) } else { Ok((filled, false)) };
        }
    }
}
