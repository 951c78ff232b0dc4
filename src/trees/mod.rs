//! Trees: files and directories, as many as there are, in one exchange that never waits for one of them.
//!
//! ```text
//! sender                                   receiver
//! list (entries)  ------------------->     compares them with what is there
//! list (is_last)  ------------------->
//!                 <-------------------     want (which, and from which byte on)
//! small, large + data + whole  ------>     writes them under temporary names
//!                 <-------------------     kept (renamed, and on the disk), a batch at a time
//! end             ------------------->
//!                 <-------------------     end
//! ```
//!
//! `pull` makes the server the sender, `push` makes it the receiver; the halves are the same code on both sides.
//! Listing, comparing, sending and confirming go on at the same time. The sender reads while it writes, on a thread
//! of its own, so that neither half waits for the other's full pipe. [`walk`] finds the entries, [`sender`] sends
//! them ([`large`] reads and hashes large files) through [`data`]. [`receiver`] writes them to a [`destination`],
//! [`batch`] commits them together, and [`mirror`] removes what the sender does not have. [`filter`] and [`glob`]
//! select entries; [`first`] decides which of several sources wins. [`body`] defines the JSON bodies, [`event`] what
//! a caller is told. [`relay`] passes a tree from one server to another.

pub mod batch;
pub mod body;
pub mod data;
pub mod delta;
pub mod destination;
pub mod event;
pub mod filter;
pub mod first;
pub mod glob;
pub mod large;
pub mod mirror;
pub mod pack;
pub mod receiver;
pub mod relay;
mod replies;
pub mod requested;
pub mod sender;
pub mod shard;
pub mod side_by_side;
#[cfg(test)]
mod tests;
pub mod times;
pub mod unfinished;
pub mod walk;

use std::sync::Arc;

use serde::de::DeserializeOwned;

pub use self::body::{Change, PathText, Pull, Push, TreeEntry, WriteOptions};
use self::data::DataOptions;
use self::delta::Delta;
use self::destination::{Destination, Shape};
pub use self::event::{OnEvent, StopHandle, Tally, TreeEvent};
use self::filter::Filter;
use self::receiver::TreeReceiver;
use self::sender::TreeSender;
use self::shard::{Shard, WaitGroup};
use self::walk::{Named, Walk, WalkOptions};
use crate::connection::Connection;
use crate::error::{Error, ErrorCode, Refusal, Result};
use crate::fs::root::Root;
use crate::memory::{Budget, Over};
use crate::net::stream::Control;
use crate::session::Session;
use crate::wire::message::Message;

/// Longest file that is sent whole in a `small` frame, in bytes; a longer one can be resumed.
pub const SMALL_LEN_MAX: u64 = 128 * 1024;
/// Length at which a `small` frame is sent, in bytes.
pub const SMALL_FRAME_LEN: usize = 256 * 1024;
/// Longest body of `list`, `want`, `small` or `kept` that is accepted, in bytes.
pub const BODY_LEN_MAX: u32 = 1024 * 1024;
/// Longest body of `pull` and `push`: paths and patterns, in bytes.
pub const REQUEST_LEN_MAX: u32 = 1024 * 1024;
/// Most paths of a `pull`, its patterns expanded: more than fit into it one by one.
pub const TOPS_MAX: usize = 300_000;
/// Most entries that a sender has listed and that are neither sent nor declined: what a connection with a round trip
/// of 100 ms holds at 160,000 files a second.
pub const OUTSTANDING_MAX: usize = 16 * 1024;

/// What a transfer's buffers take on a server, in bytes: a piece, a compressed one, and the compressor.
const BUFFERS_LEN: usize = 2 * 1024 * 1024;
/// What a request's JSON takes in memory while it is read, for each of its bytes: `"",` becomes a string.
const JSON_COST: usize = 32;

/// Threads that a server's sender needs beside the connection's own: one reads replies, one hashes a partial file.
const SOURCE_THREADS: usize = 2;

/// Serves `pull`.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_pull(connection: &mut Connection, session: &mut Session) -> Result<()> {
    let budget = session.memory.budget();
    let over = |over: Over| over.refusal("pull");
    let (pull, held): (Pull, _) = request(connection, "pull", &budget)?;
    budget.take(pull.selection.memory()).map_err(over)?;
    let filter = Filter::new(&pull.selection)?;
    let mut tops = Vec::new();
    for path in &pull.paths {
        let path = path.bytes()?;
        about(session, &path);
        for named in Named::of_session(session, &path, &filter, &budget) {
            budget.take(named.memory()).map_err(over)?;
            tops.push(named);
        }
        if tops.len() > TOPS_MAX {
            let text = format!("pull: stands for over {TOPS_MAX} paths; name their directories");
            return Err(Refusal::new(ErrorCode::BadRequest, text).into());
        }
    }
    let Pull { recursive, follow, bwlimit, compress, shard, .. } = pull;
    budget.give_back(held);
    let _threads =
        session.gate.take_threads(SOURCE_THREADS).map_err(|full| Refusal::new(ErrorCode::Busy, full.to_string()))?;
    let mut tally = Tally::default();
    let walk = Walk::new(tops, WalkOptions { recursive, follow }, filter).within(budget);
    let sending = TreeUpload { walk, out: DataOptions { bwlimit, compress }, shard, wait_group: None };
    let sent = send(connection, sending, &mut |event| {
        tally.count(&event);
        Ok(())
    });
    session.report.outcome = Some(tally.to_string());
    match sent {
        // The exchange is closed on both sides already.
        Err(why @ (Error::Refused(_) | Error::Ours { .. })) => {
            session.report.outcome = Some(format!("{tally}; {}", why.with_cause()));
            Ok(())
        }
        sent => sent,
    }
}

/// Serves `push`.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_push(connection: &mut Connection, session: &mut Session, path: &[u8]) -> Result<()> {
    let budget = session.memory.budget();
    let (push, held): (Push, _) = request(connection, "push", &budget)?;
    budget.take(push.selection.memory()).map_err(|over| over.refusal("push"))?;
    let mut options = push.options;
    if !session.may_read() {
        // A peer that may only write learns nothing of what is there.
        if options.checksum {
            let text = "a comparison by checksum tells what is there, and needs the service read";
            return Err(Refusal::new(ErrorCode::Permission, text).into());
        }
        if options.delete {
            let text = "to remove what the sender has not tells what is there, and needs the service read";
            return Err(Refusal::new(ErrorCode::Permission, text).into());
        }
        options.delta = Delta::Never;
    }
    let resolved = session.resolve(path)?;
    check_home(session, path, &push)?;
    let goes_into = path.is_empty() || path.ends_with(b"/") || !push.single;
    let shape = Shape { goes_into, is_made: push.recursive };
    let destination =
        Destination::new(Arc::clone(&session.root), resolved, shape, options).with_parts(Arc::clone(&session.parts));
    let destination = if session.may_read() { destination } else { destination.blind() };
    let receiver = TreeReceiver::new(destination, Filter::new(&push.selection)?).within(budget.clone());
    budget.give_back(held);
    let mut receiver = if push.is_secondary { receiver.secondary() } else { receiver };
    let mut tally = Tally::default();
    let received = receive(connection, &mut receiver, &mut |event| {
        tally.count(&event);
        Ok(())
    });
    session.report.outcome = Some(tally.to_string());
    match received {
        // The sender gave up: the exchange is closed on both sides already.
        Err(Error::Refused(why)) if receiver.has_ended() => {
            session.report.outcome = Some(format!("{tally}; {why}"));
            Ok(())
        }
        Err(Error::Ours { object, source }) => Err(Refusal::from_io(&object, &source).into()),
        received => received,
    }
}

/// `~/www` means a home directory. It is never the name of a directory to be made.
fn check_home(session: &Session, path: &[u8], push: &Push) -> Result<()> {
    let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    if !push.recursive || !first.starts_with(b"~") || session.root.symlink_metadata(&session.resolve(first)?).is_ok() {
        return Ok(());
    }
    let text = format!("{}: no such directory", String::from_utf8_lossy(first));
    Err(Refusal::new(ErrorCode::NotFound, text).into())
}

/// Reads a request's body, for which the buffers of its transfer are counted too. Returns what its JSON takes as
/// well, for when it is done with.
fn request<T: DeserializeOwned>(connection: &mut Connection, what: &str, budget: &Budget) -> Result<(T, usize)> {
    let body = connection.receiver().body(REQUEST_LEN_MAX)?;
    let held = body.len() * JSON_COST;
    budget.take(BUFFERS_LEN + held).map_err(|over| over.refusal(what))?;
    let read = serde_json::from_slice(&body);
    let bad = |error| Refusal::new(ErrorCode::BadRequest, format!("{what}: the body cannot be read: {error}"));
    Ok((read.map_err(bad)?, held))
}

/// Adds a path to the request's line in the log, as far as there is room.
fn about(session: &mut Session, path: &[u8]) {
    const ABOUT_LEN_MAX: usize = 4096;
    let about = &mut session.report.about;
    if about.len() < ABOUT_LEN_MAX {
        if !about.is_empty() {
            about.push(' ');
        }
        about.push_str(&String::from_utf8_lossy(path));
    }
}

/// Pulls trees into `receiver`. `watch` is called with each event.
///
/// # Errors
/// The server refused the whole, this machine could not store it (the connection is in step in both cases), or the
/// connection failed. What happens to one file is an event.
pub fn call_pull(connection: &mut Connection, pull: &Pull, receiver: TreeReceiver, watch: OnEvent<'_>) -> Result<()> {
    let mut receiver = receiver.only(pull);
    let body = serde_json::to_vec(pull).map_err(|error| Error::ours("JSON")(error.into()))?;
    connection.receiver().begin_exchange();
    connection.sender().send(&Message::Pull, &body)?;
    match receive(connection, &mut receiver, watch) {
        Err(why @ (Error::Ours { .. } | Error::Refused(_))) if !receiver.has_ended() => give_up(connection, why),
        received => received,
    }
}

/// Pushes the entries that `sending` finds to `path` on the server. `watch` is called with each event.
///
/// # Errors
/// The server refused the whole, `watch` returned an error (the connection is in step in both cases), or the
/// connection failed. What happens to one file is an event.
pub fn call_push(
    connection: &mut Connection,
    path: &[u8],
    push: &Push,
    sending: TreeUpload,
    watch: OnEvent<'_>,
) -> Result<()> {
    let body = serde_json::to_vec(push).map_err(|error| Error::ours("JSON")(error.into()))?;
    connection.receiver().begin_exchange();
    connection.sender().send(&Message::Push { path: path.into() }, &body)?;
    send(connection, sending, watch)
}

/// A tree that is about to be sent, and how.
#[derive(Debug)]
pub struct TreeUpload {
    /// Finds the entries.
    pub walk: Walk,
    /// Rate limit and compression.
    pub out: DataOptions,
    /// The part of the tree that goes over this connection; `None`: all of it.
    pub shard: Option<Shard>,
    /// The other connections of the same tree, for which this one waits before it ends; `None`: there are none, or
    /// this one does not wait.
    pub wait_group: Option<WaitGroup>,
}

fn send(connection: &mut Connection, mut sending: TreeUpload, watch: OnEvent<'_>) -> Result<()> {
    let control = connection.control().clone();
    sending.out = sending.out.over(control.is_to_this_machine());
    let (receiver, sender) = connection.halves()?;
    TreeSender::new(sender, sending, watch).run(receiver, &control)
}

fn receive(connection: &mut Connection, tree: &mut TreeReceiver, watch: OnEvent<'_>) -> Result<()> {
    tree.over(connection.control().is_to_this_machine());
    tree.heed(Arc::new(connection.control().clone()));
    let (receiver, sender) = connection.halves()?;
    tree.run(receiver, sender, watch)
}

impl StopHandle for Control {
    fn is_stopped(&self) -> bool {
        Self::is_stopped(self)
    }

    fn stop(&self) {
        Self::stop(self);
    }
}

/// A client's receiver that gives up sends `end`, and reads until the server has ended the exchange too.
fn give_up(connection: &mut Connection, why: Error) -> Result<()> {
    connection.sender().send(&Message::End { total: None }, &[])?;
    while !connection.receiver().peer_ended() {
        match connection.receiver().expect("end") {
            Ok(Message::Error { .. }) => break,
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(lost) => return Err(lost),
        }
    }
    Err(why)
}

/// The root of a tree that a client sends or receives: a directory of its own user.
///
/// # Errors
/// It does not exist, or is no directory.
pub fn own_root(path: &std::path::Path) -> std::io::Result<Arc<Root>> {
    Root::open(path).map(Arc::new)
}
