//! What the target says, as the source hears it: on a thread of its own, since whoever only writes would wait for
//! ever for somebody who only writes.

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

/// What the target has said and this side has not looked at, in bytes of memory: an honest one says little while
/// nothing is sent to it.
const UNREAD_LEN_MAX: usize = 16 * 1024 * 1024;

/// What the target said, as the thread that hears it passes it on.
pub(super) enum Reply {
    /// So many more entries were looked at; these of them are wanted.
    Want { count: u32, wanted: Vec<Wanted>, placed: Option<(Vec<u8>, Option<Vec<u8>>)> },
    /// What the target has of another version of this entry.
    Chunks(u32, Known),
    /// These stretches of a file that was sent are not the same there.
    Mend(u32, Vec<Stretch>),
    /// What became of entries.
    Kept(Vec<KeptWord>),
    /// Nothing more comes from it.
    End,
    /// It refuses the whole, or the connection failed.
    Broken(Error),
}

impl Reply {
    /// Bytes that it takes, also if it says nothing.
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

/// What the target has said, in order.
pub(super) struct Replies<'u> {
    incoming: mpsc::Receiver<(usize, Reply)>,
    /// Bytes of it that nobody has looked at yet.
    unread: &'u AtomicUsize,
}

impl<'u> Replies<'u> {
    /// What comes out of `said`, of which `unheard` counts the bytes.
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
    /// So many entries from the first on are safe.
    Safe(u32, u32),
    /// An entry failed.
    Failed(u32, Refusal),
    /// An entry failed with the directory that it lies in, of which that was said.
    FailedWithDir(u32, Refusal),
    /// Something else was done, or would be.
    Did(u32, Change, Vec<u8>, u64),
}

/// Hears what the target says until it says `end` or fails, and passes it on.
pub(super) fn read_replies<R: Read>(
    receiver: &mut Receiver<R>,
    replies: &mpsc::Sender<(usize, Reply)>,
    unread: &AtomicUsize,
) {
    loop {
        let mut reply = read_reply(receiver).unwrap_or_else(Reply::Broken);
        let len = reply.memory();
        if unread.fetch_add(len, Ordering::Relaxed) + len > UNREAD_LEN_MAX {
            reply = Reply::Broken(bad_want("the target says more and more and takes nothing"));
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
