//! Echo: the server returns what it gets unchanged. One frame and its answer, or a stream of any length; also a
//! measurement of a connection, in round trips and bytes a second.
//!
//! ```text
//! client: echo + body                     server: echo + body
//! client: echo streamed, data*, end       server: data*, end      (both at once)
//! ```

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::error::{ConnectionLost, Error, ErrorCode, Misbehaviour, Refusal, Result};
use crate::histogram::Histogram;
use crate::session::Session;
use crate::wire::channel::unexpected;
use crate::wire::frame::BODY_LEN_MAX;
use crate::wire::message::{Channel, Message};

/// Length of the pieces of a streamed echo, in bytes: larger ones fall out of the CPU's cache.
pub const PIECE_LEN: usize = 256 * 1024;

/// Serves one echo exchange.
///
/// # Errors
/// The connection failed.
pub fn serve_echo(connection: &mut Connection, session: &mut Session, streamed: bool) -> Result<()> {
    if streamed {
        let mut echoed = 0_u64;
        let mut piece = Vec::new();
        loop {
            let (receiver, sender) = connection.halves()?;
            match receiver.expect("data or end")? {
                Message::Data { .. } => {}
                Message::End { .. } => break,
                other => return Err(unexpected(&other, "data or end")),
            }
            piece.resize(PIECE_LEN, 0);
            loop {
                let len = receiver.fill_from_body(&mut piece)?;
                let Some(bytes) = piece.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
                sender.send(&Message::Data { stream: Channel::Main }, bytes)?;
                echoed += len as u64;
            }
        }
        connection.sender().send(&Message::End { total: None }, &[])?;
        session.report.outcome = Some(format!("{echoed} bytes"));
    } else {
        // The body of a client that does not read the answer stays in memory.
        let budget = session.memory.budget();
        budget.take(connection.receiver().body_left() as usize).map_err(|over| over.refusal("echo"))?;
        let body = connection.receiver().body(BODY_LEN_MAX)?;
        connection.sender().send(&Message::Echo { streamed: false }, &body)?;
    }
    Ok(())
}

/// Sends `body` (at most 4 MiB) and returns the answer.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_echo(connection: &mut Connection, body: &[u8]) -> Result<Vec<u8>> {
    if body.len() > BODY_LEN_MAX as usize {
        let text = format!("echo of {} bytes is over the limit of {BODY_LEN_MAX} bytes for one frame", body.len());
        return Err(Refusal::new(ErrorCode::BadRequest, text).into());
    }
    connection.sender().send(&Message::Echo { streamed: false }, body)?;
    match connection.answer_or_refusal("echo")? {
        Message::Echo { .. } => connection.receiver().body(BODY_LEN_MAX),
        other => Err(unexpected(&other, "echo")),
    }
}

/// Sends all of `source` and writes the echo to `sink`, both at once; returns the number of bytes echoed.
///
/// # Errors
/// The server refused, the source or the sink failed, or the connection did.
pub fn call_echo_stream(
    connection: &mut Connection,
    source: &mut (impl Read + Send),
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    connection.sender().send(&Message::Echo { streamed: true }, &[])?;
    let control = connection.control().clone();
    let (receiver, sender) = connection.halves()?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let sent = send_all(source, &|piece| sender.send(&Message::Data { stream: Channel::Main }, piece));
            // The exchange is closed even if the source failed, so that the connection stays in step.
            sender.send(&Message::End { total: None }, &[]).and(sent)
        });
        let mut piece = vec![0; PIECE_LEN];
        let mut echoed = 0_u64;
        let mut receive = || loop {
            match receiver.expect("data or end")? {
                Message::Data { .. } => {}
                Message::End { .. } => return Ok(echoed),
                Message::Error { code, message } => return Err(Refusal::new(code, message).into()),
                other => return Err(unexpected(&other, "data or end")),
            }
            loop {
                let len = receiver.fill_from_body(&mut piece)?;
                let Some(bytes) = piece.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
                sink(bytes)?;
                echoed += len as u64;
            }
        };
        let received = receive();
        if matches!(received, Err(Error::Ours { .. } | Error::PeerMisbehaved(_) | Error::ConnectionLost(_))) {
            // Nothing reads the echo any more: without this, the sending thread would never end.
            control.stop();
        }
        let sent = sending.join().unwrap_or_else(|_| Err(ConnectionLost::Closed { wanted: "the sender's end" }.into()));
        let echoed = received?;
        sent?;
        Ok(echoed)
    })
}

fn send_all(source: &mut impl Read, send: &dyn Fn(&[u8]) -> Result<()>) -> Result<()> {
    let mut piece = vec![0; PIECE_LEN];
    loop {
        match source.read(&mut piece).map_err(Error::ours("input"))? {
            0 => return Ok(()),
            len => send(piece.get(..len).unwrap_or_default())?,
        }
    }
}

/// The measured performance of a connection.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// The round-trip times.
    pub round_trips: Histogram,
    /// From the first byte sent to the last received.
    pub elapsed: Duration,
    /// Bytes of body sent; as many came back.
    pub bytes: u64,
}

/// Makes `count` round trips of `size` bytes each, one after the other, and checks every byte. A body of up to 4 MiB is
/// one frame each way; a longer one is streamed.
///
/// # Errors
/// The server refused, the connection failed, or what came back is not what was sent.
pub fn measure(connection: &mut Connection, count: u32, size: u64) -> Result<Measurement> {
    let mut round_trips = Histogram::default();
    let started = Instant::now();
    if size <= u64::from(BODY_LEN_MAX) {
        let mut body = vec![0; usize::try_from(size).unwrap_or(0)];
        Pattern { at: 0, left: size }.read_exact(&mut body)?;
        for _ in 0..count {
            let sent = Instant::now();
            let back = call_echo(connection, &body)?;
            round_trips.record(sent.elapsed());
            if back != body {
                return Err(changed());
            }
        }
    } else {
        for _ in 0..count {
            let sent = Instant::now();
            stream_and_check(connection, size)?;
            round_trips.record(sent.elapsed());
        }
    }
    let elapsed = started.elapsed();
    Ok(Measurement { round_trips, elapsed, bytes: size.saturating_mul(count.into()) })
}

fn stream_and_check(connection: &mut Connection, size: u64) -> Result<()> {
    let mut wanted = Pattern { at: 0, left: size };
    let mut expected = vec![0; PIECE_LEN];
    let echoed = call_echo_stream(connection, &mut Pattern { at: 0, left: size }, &mut |bytes| {
        let expected = expected.get_mut(..bytes.len()).unwrap_or_default();
        wanted.read_exact(expected).map_err(|_too_much| changed())?;
        if bytes == expected { Ok(()) } else { Err(changed()) }
    })?;
    if echoed == size { Ok(()) } else { Err(changed()) }
}

fn changed() -> Error {
    Misbehaviour::BadBody { what: "echo", why: "it is not what was sent".into() }.into()
}

/// A reader of test bytes with a period of 251, so that a misplaced piece is noticed.
struct Pattern {
    at: u64,
    left: u64,
}

impl Read for Pattern {
    fn read(&mut self, dest: &mut [u8]) -> std::io::Result<usize> {
        let len = dest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for (byte, at) in dest.iter_mut().take(len).zip(self.at..) {
            *byte = (at % 251) as u8;
        }
        self.at += len as u64;
        self.left -= len as u64;
        Ok(len)
    }
}
