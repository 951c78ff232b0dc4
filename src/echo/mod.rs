//! Echo: the server returns what it gets unchanged. One frame and its answer, or a stream of any length. What a
//! connection is worth, measured by that, is in [`measure`].
//!
//! ```text
//! client: echo + body                     server: echo + body
//! client: echo streamed, data*, end       server: data*, end      (both at once)
//! ```

pub mod measure;
mod pattern;
pub mod tally;

use std::io::Read;
use std::thread;

use crate::connection::Connection;
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::session::Session;
use crate::wire::channel::unexpected;
use crate::wire::frame::BODY_LEN_MAX;
use crate::wire::message::{Channel, Message};

/// Length of the pieces of a streamed echo, in bytes: larger ones fall out of the CPU's cache.
pub const PIECE_LEN: usize = 256 * 1024;
/// Longest body in bytes that is echoed from the thread's stack: it takes no memory that would have to be counted.
const SHORT_LEN: usize = 1024;

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
    } else if connection.receiver().body_left() as usize <= SHORT_LEN {
        let mut body = [0; SHORT_LEN];
        let len = connection.receiver().fill_from_body(&mut body)?;
        connection.sender().send(&Message::Echo { streamed: false }, body.get(..len).unwrap_or_default())?;
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
    call_in_pieces(connection, source, sink, PIECE_LEN)
}

/// As [`call_echo_stream`], in pieces of `piece_len` bytes, of which each direction holds one.
fn call_in_pieces(
    connection: &mut Connection,
    source: &mut (impl Read + Send),
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    piece_len: usize,
) -> Result<u64> {
    connection.sender().send(&Message::Echo { streamed: true }, &[])?;
    let control = connection.control().clone();
    let (receiver, sender) = connection.halves()?;
    thread::scope(|scope| {
        let send = || {
            let mut piece = vec![0; piece_len];
            let sent =
                send_all(source, &mut piece, &|piece| sender.send(&Message::Data { stream: Channel::Main }, piece));
            // The exchange is closed even if the source failed, so that the connection stays in step.
            sender.send(&Message::End { total: None }, &[]).and(sent)
        };
        let sending = match thread::Builder::new().name("echo sender".into()).spawn_scoped(scope, send) {
            Ok(sending) => sending,
            Err(error) => {
                // Without the end of what was begun, nothing more can be done on this connection.
                control.stop();
                return Err(Error::ours("a thread that sends")(error));
            }
        };
        let mut piece = vec![0; piece_len];
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

fn send_all(source: &mut impl Read, piece: &mut [u8], send: &dyn Fn(&[u8]) -> Result<()>) -> Result<()> {
    loop {
        match source.read(piece).map_err(Error::ours("input"))? {
            0 => return Ok(()),
            len => send(piece.get(..len).unwrap_or_default())?,
        }
    }
}
