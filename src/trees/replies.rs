//! The receiver's replies, as the sender reads them. A thread of its own reads them: two halves that only write would
//! block each other.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvError, TryRecvError};

use super::BODY_LEN_MAX;
use super::body::{Change, KeptLine, Stretch, Wanted, lines, name_of, read_line};
use super::delta::Known;
use crate::error::{Error, ErrorCode, Misbehaviour, Refusal, Result};
use crate::memory::ENTRY_COST;
use crate::wire::channel::{Receiver, unexpected};
use crate::wire::message::Message;

/// Most replies that were received and not taken yet, in bytes of memory. An honest receiver replies little while
/// nothing is sent to it.
const UNREAD_LEN_MAX: usize = 16 * 1024 * 1024;

/// A reply of the receiver, as the reading thread passes it on.
pub(super) enum Reply {
    /// `count` more entries were compared, and these of them are wanted. `placed` is the destination that was found:
    /// the directory, and a single file's new name.
    Want { count: u32, wanted: Vec<Wanted>, placed: Option<(Vec<u8>, Option<Vec<u8>>)> },
    /// The chunks of the receiver's version of this entry.
    Chunks(u32, Known),
    /// Stretches of this entry's beginning that differ at the receiver, and are to be sent again.
    Mend(u32, Vec<Stretch>),
    /// Which entries are safe, failed or were changed.
    Kept(Vec<KeptWord>),
    /// The receiver has ended the exchange.
    End,
    /// The receiver refused the whole, or the connection failed.
    Broken(Error),
}

impl Reply {
    /// Bytes of memory that it takes, also if it is empty.
    fn memory(&self) -> usize {
        let inside = match self {
            Self::Want { wanted, placed, .. } => {
                let placed = placed.as_ref().map_or(0, |(path, name)| path.len() + name.as_ref().map_or(0, Vec::len));
                let texts: usize = wanted.iter().filter_map(|wanted| wanted.blake3.as_ref()).map(String::len).sum();
                placed + texts + wanted.capacity() * size_of::<Wanted>()
            }
            Self::Chunks(_, known) => known.memory(),
            Self::Kept(words) => {
                let texts: usize = words.iter().map(KeptWord::text_len).sum();
                texts + words.capacity() * size_of::<KeptWord>()
            }
            Self::Mend(_, stretches) => stretches.capacity() * size_of::<Stretch>(),
            Self::End | Self::Broken(_) => 0,
        };
        inside + size_of::<Self>() + ENTRY_COST
    }
}

impl KeptWord {
    fn text_len(&self) -> usize {
        match self {
            Self::Safe(..) => 0,
            Self::Failed(_, why) | Self::FailedWithDir(_, why) => why.message.len(),
            Self::Did(_, _, path, _) => path.len(),
        }
    }
}

/// The receiver's replies, in order.
pub(super) struct Replies<'u> {
    incoming: mpsc::Receiver<(usize, Reply)>,
    /// Bytes of memory of the replies that were not taken yet.
    unread: &'u AtomicUsize,
}

impl<'u> Replies<'u> {
    /// The replies that arrive at `incoming`, whose bytes `unread` counts.
    pub(super) const fn new(incoming: mpsc::Receiver<(usize, Reply)>, unread: &'u AtomicUsize) -> Self {
        Self { incoming, unread }
    }

    pub(super) fn recv(&self) -> Result<Reply, RecvError> {
        self.incoming.recv().map(|reply| self.take(reply))
    }

    pub(super) fn try_recv(&self) -> Result<Reply, TryRecvError> {
        self.incoming.try_recv().map(|reply| self.take(reply))
    }

    fn take(&self, (len, reply): (usize, Reply)) -> Reply {
        self.unread.fetch_sub(len, Ordering::Relaxed);
        reply
    }
}

/// A line of `kept`.
#[derive(Debug)]
pub(super) enum KeptWord {
    /// Entries that are safe: the first one's number, and how many.
    Safe(u32, u32),
    /// An entry failed.
    Failed(u32, Refusal),
    /// An entry failed because the directory that it lies in failed, which was reported.
    FailedWithDir(u32, Refusal),
    /// Something else was changed, or in a dry run would be: entry, change, path, and a file's size in bytes.
    Did(u32, Change, Vec<u8>, u64),
}

/// Reads the receiver's replies and passes them on, until it ends the exchange or fails.
pub(super) fn read_replies<R: Read>(
    receiver: &mut Receiver<R>,
    replies: &mpsc::Sender<(usize, Reply)>,
    unread: &AtomicUsize,
) {
    loop {
        let mut reply = read_reply(receiver).unwrap_or_else(Reply::Broken);
        let len = reply.memory();
        if unread.fetch_add(len, Ordering::Relaxed) + len > UNREAD_LEN_MAX {
            reply = Reply::Broken(bad_want("the receiver sends more and more replies and reads nothing"));
        }
        let is_last = matches!(reply, Reply::End | Reply::Broken(_));
        if replies.send((len, reply)).is_err() || is_last {
            return;
        }
    }
}

fn read_reply<R: Read>(receiver: &mut Receiver<R>) -> Result<Reply> {
    match receiver.expect("want, kept or end")? {
        Message::Want { count, path, name } => {
            let placed = path.map(|path| (path.into_owned(), name.map(std::borrow::Cow::into_owned)));
            let body = receiver.body(BODY_LEN_MAX)?;
            let wanted = lines(&body).map(|line| read_line(line, "want")).collect::<Result<_>>()?;
            Ok(Reply::Want { count, wanted, placed })
        }
        Message::Chunks { entry, average } => {
            let body = receiver.body(BODY_LEN_MAX)?;
            let known = Known::read(average, &body).map_err(bad_chunks)?;
            Ok(Reply::Chunks(entry, known))
        }
        Message::Mend { entry } => {
            let body = receiver.body(BODY_LEN_MAX)?;
            let stretches = lines(&body).map(|line| read_line(line, "mend")).collect::<Result<_>>()?;
            Ok(Reply::Mend(entry, stretches))
        }
        Message::Kept => {
            let body = receiver.body(BODY_LEN_MAX)?;
            Ok(Reply::Kept(words_of(&body)?))
        }
        Message::End { .. } => Ok(Reply::End),
        Message::Error { code, message } => Err(Refusal::new(code, message).into()),
        other => Err(unexpected(&other, "want, kept or end")),
    }
}

/// The lines of a `kept`.
pub(super) fn words_of(body: &[u8]) -> Result<Vec<KeptWord>> {
    let words = lines(body).map(|line| {
        let KeptLine { first, count, code, message, with_dir, did, path, size } = read_line(line, "kept")?;
        if let (Some(change), Some(path)) = (did, path) {
            return Ok(KeptWord::Did(first, change, name_of(path, "kept")?, size));
        }
        let why = code.map(|code| Refusal::new(ErrorCode::from(&*code), message.unwrap_or_default()));
        Ok(match why {
            None => KeptWord::Safe(first, count),
            Some(why) if with_dir => KeptWord::FailedWithDir(first, why),
            Some(why) => KeptWord::Failed(first, why),
        })
    });
    words.collect()
}

pub(super) fn bad_chunks(why: &str) -> Error {
    Misbehaviour::BadBody { what: "chunks", why: why.to_owned() }.into()
}

pub(super) fn bad_want(why: &str) -> Error {
    Misbehaviour::BadBody { what: "want", why: why.to_owned() }.into()
}
