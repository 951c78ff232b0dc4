//! Trees: files and directories, as many as there are, in one exchange that never waits for one of them.
//!
//! ```text
//! source                                   target
//! list (entries)  ------------------->     compares them with what is there
//! list (is_last)  ------------------->
//!                 <-------------------     want (which, and from which byte on)
//! small, large + data + whole  ------>     writes them under temporary names
//!                 <-------------------     kept (renamed, and on the disk), a batch at a time
//! end             ------------------->
//!                 <-------------------     end
//! ```
//!
//! `pull` makes the server the source and `push` the target; the halves are the same code on either side. Listing,
//! wanting, sending and keeping go on at the same time. The source reads while it writes, on a thread of its own, so
//! that the two can never wait for each other's full pipe. [`walk`] finds what there is, [`source`] sends it
//! ([`large`] what is resumed) through its [`outlet`], [`target`] takes it to a [`place`], [`batch`] makes it last,
//! [`mirror`] removes what is not in it; [`filter`] and [`glob`] say what is meant, [`first`] which of several
//! sources wins. [`body`] is what they say to each other in JSON, [`event`] what a watcher hears. [`relay`] passes on
//! what two servers say.

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

/// A file of at most so many bytes goes whole into a `small` frame; a larger one is resumed.
pub const SMALL_LEN_MAX: u64 = 128 * 1024;
/// A `small` frame leaves when it has so many bytes.
pub const SMALL_FRAME_LEN: usize = 256 * 1024;
/// Longest body of `list`, `want`, `small` or `kept` that is taken, in bytes.
pub const BODY_LEN_MAX: u32 = 1024 * 1024;
/// Longest body of `pull` and `push`: paths and patterns, in bytes.
pub const REQUEST_LEN_MAX: u32 = 1024 * 1024;
/// Paths that a `pull` may stand for, its patterns expanded: more than fit into it one by one.
pub const TOPS_MAX: usize = 300_000;
/// Entries that a source has listed and neither sent nor heard to be unwanted: what a long connection holds
/// at 100 ms and 160,000 files a second.
pub const OUTSTANDING_MAX: usize = 16 * 1024;

/// What a transfer's buffers take on a server, in bytes: a piece, a compressed one, and the compressor.
const BUFFERS_LEN: usize = 2 * 1024 * 1024;
/// What a request's JSON takes in memory while it is read, for each of its bytes: `"",` becomes a string.
const JSON_COST: usize = 32;

/// Threads that a server's source needs beside its connection's own: one that reads, one that checks a part.
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
        // Who may only write learns nothing of what is there.
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

/// `~/www` is written by who means a home, and not by who wants a directory of that name to be made.
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

/// In the log, several paths stand behind one another, as far as there is room.
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

/// Pulls trees into `target`.
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

/// Pushes what `walk` finds to `path`.
///
/// # Errors
/// The server refused the whole, the watcher did not want it (the connection is in step in both cases), or the
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

/// What a client sends.
#[derive(Debug)]
pub struct TreeUpload {
    /// Finds it.
    pub walk: Walk,
    /// How it goes out.
    pub out: DataOptions,
    /// Over this connection, if there are several...
    pub shard: Option<Shard>,
    /// ... and after which others.
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

/// A client's target that gives up says so, and reads on until the server has heard.
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

/// The root of a tree that a client sends or takes: its user's own directory.
///
/// # Errors
/// It does not exist, or is no directory.
pub fn own_root(path: &std::path::Path) -> std::io::Result<Arc<Root>> {
    Root::open(path).map(Arc::new)
}
