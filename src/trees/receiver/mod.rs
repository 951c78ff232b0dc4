//! The half of an exchange that gets the files: it compares listed entries with what is there, requests what it
//! wants, writes that, and confirms it.

mod comparing;
mod confirm;
mod dirs;
mod expected;
mod large;
mod listing;
mod mirroring;
mod names;
mod ranges;
mod small;

use std::io::{self, Read, Write};
use std::sync::Arc;

use self::comparing::Comparing;
use self::confirm::Confirmations;
use self::dirs::Dirs;
use self::expected::Expectations;
use self::large::Current;
use self::listing::Listing;
pub use self::listing::{MIRROR_LEN_MAX, TREE_ENTRIES_MAX, TREE_LISTING_LEN_MAX};
use self::names::HardLinks;
use crate::error::{Error, ErrorCode, Misbehaviour, Refusal, Result};
use crate::memory::Budget;
use crate::trees::batch::Batch;
use crate::trees::body::Stretch;
use crate::trees::destination::Destination;
use crate::trees::event::{StopHandle, stopped};
use crate::trees::filter::Filter;
use crate::trees::first::MeetGroups;
use crate::trees::mirror;
use crate::trees::pack::Unpacker;
use crate::trees::requested::Requested;
use crate::trees::shard::WaitGroup;
use crate::trees::{BODY_LEN_MAX, OnEvent, Pull, TreeEvent};
use crate::wire::channel::{Receiver, Sender, unexpected};
use crate::wire::message::{Message, Total};

/// The receiver's half of an exchange.
#[expect(clippy::struct_excessive_bools, reason = "four facts that do not depend on each other")]
#[derive(Debug)]
pub struct TreeReceiver {
    destination: Destination,
    filter: Filter,
    /// The budget that what is kept of entries counts for.
    budget: Budget,
    /// What was requested; `None`: anything is accepted.
    requested: Option<Requested>,
    /// What came from other machines before; `None`: only one machine is read.
    groups: Option<Arc<MeetGroups>>,
    /// Whether another connection does what is done when all has come...
    is_secondary: bool,
    /// ... or else the connections that this one waits for before; `None`: none.
    wait_group: Option<WaitGroup>,
    listing: Listing,
    comparing: Comparing,
    expected: Expectations,
    /// The large file that is coming.
    current: Option<Current>,
    batch: Batch,
    names: HardLinks,
    dirs: Dirs,
    /// The paths that the sender has; `None`: this is no mirror.
    listed: Option<mirror::SentPaths>,
    /// Whether anything was made or removed that is no file.
    has_made: bool,
    kept: Confirmations,
    /// Whether nothing can be sent any more; what has come is kept all the same.
    is_mute: bool,
    /// What a frame's body is read into.
    buffer: Vec<u8>,
    unpacker: Unpacker,
    has_ended: bool,
}

impl TreeReceiver {
    /// A receiver that writes to `destination`. In a mirror, what `filter` leaves out stays as it is.
    pub fn new(destination: Destination, filter: Filter) -> Self {
        let options = destination.options;
        Self {
            destination,
            filter,
            budget: Budget::own(),
            requested: None,
            groups: None,
            is_secondary: false,
            wait_group: None,
            listing: Listing::default(),
            comparing: Comparing::new(options.delta),
            expected: Expectations::within(Budget::own()),
            current: None,
            batch: Batch::new(options.sync),
            names: HardLinks::within(Budget::own()),
            dirs: Dirs::within(Budget::own()),
            listed: options.delete.then(mirror::SentPaths::default),
            has_made: false,
            kept: Confirmations::default(),
            is_mute: false,
            buffer: Vec::new(),
            unpacker: Unpacker::default(),
            has_ended: false,
        }
    }

    /// The same for a request with this budget.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        let listed = self.listed.map(|listed| listed.within(budget.clone()));
        let (names, dirs) = (HardLinks::within(budget.clone()), Dirs::within(budget.clone()));
        Self { expected: Expectations::within(budget.clone()), names, dirs, budget, listed, ..self }
    }

    /// Accepts nothing but what `pull` requests.
    #[must_use]
    pub fn only(self, pull: &Pull) -> Self {
        Self { requested: Some(Requested::of(pull, self.filter.clone())), ..self }
    }

    /// Leaves what came from other machines before as it is.
    #[must_use]
    pub fn behind(self, groups: Option<Arc<MeetGroups>>) -> Self {
        Self { groups, ..self }
    }

    /// Chooses how changed files come, where that was left open: over a connection within one machine whole.
    pub fn over(&mut self, is_to_this_machine: bool) {
        self.comparing.over(is_to_this_machine);
    }

    /// Long work ends with the connection `stop`.
    pub fn heed(&mut self, stop: Arc<dyn StopHandle>) {
        self.destination.heed(stop);
    }

    /// Leaves to another connection what is done when all has come.
    #[must_use]
    pub fn secondary(self) -> Self {
        Self { is_secondary: true, ..self }
    }

    /// Waits for the other connections before it does what is done when all has come; `None`: there are none.
    #[must_use]
    pub fn after(self, wait_group: Option<WaitGroup>) -> Self {
        Self { wait_group, ..self }
    }

    /// Whether this side has ended the exchange.
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The whole exchange. What is whole when it fails is kept, and of the rest what has come.
    ///
    /// # Errors
    /// The destination cannot be written, the disk is full, the sender refused or gave up, `watch` returned an error,
    /// or the connection failed.
    pub fn run<R: Read, W: Write>(
        &mut self,
        receiver: &mut Receiver<R>,
        sender: &Sender<W>,
        watch: OnEvent<'_>,
    ) -> Result<()> {
        let mut step = ReceiverStep { tree: self, sender, watch };
        let ended = step.take_all(receiver);
        if let Err(why) = &ended {
            // The sender is told too, where that is still possible: on a full disk its count should match what is
            // there.
            let can_report = matches!(why, Error::Refused(_) | Error::Ours { .. }) && !step.tree.has_ended;
            let confirmed = step.commit().and_then(|()| if can_report { step.send_kept() } else { Ok(()) });
            if let Err(error) = confirmed {
                tracing::debug!(%error, "what was whole could not be confirmed any more");
            }
        }
        ended
    }
}

/// A receiver during its exchange: the steps that answer a frame.
struct ReceiverStep<'t, W> {
    tree: &'t mut TreeReceiver,
    sender: &'t Sender<W>,
    watch: OnEvent<'t>,
}

impl<W: Write> ReceiverStep<'_, W> {
    fn take_all<R: Read>(&mut self, receiver: &mut Receiver<R>) -> Result<()> {
        loop {
            match receiver.expect("list, small, large or end")? {
                Message::List { is_last } => {
                    let body = receiver.body(BODY_LEN_MAX)?;
                    self.take_list(&body, is_last)?;
                }
                Message::Small => self.take_small(receiver)?,
                Message::Packed { of, size } => self.take_packed(receiver, of, size)?,
                Message::Large { entry, offset, attributes } => self.begin_large(entry, offset, attributes)?,
                Message::Data { .. } => self.take_piece(receiver)?,
                Message::Hole { size } => self.take_hole(size)?,
                Message::Copy { offset, size } => self.take_copy(offset, size)?,
                Message::Blocks => self.take_blocks(receiver)?,
                Message::Piece { offset, size } => self.begin_stretch(Stretch { offset, size })?,
                Message::Whole { total: Total { size, blake3 } } => {
                    let total = Total { size, blake3: blake3.map(|blake3| blake3.into_owned().into()) };
                    self.end_large(&total)?;
                }
                Message::Same { entry } => self.take_same(entry)?,
                Message::Grew { entry } => self.take_growth(entry)?,
                Message::Lost { entry, code, message } => {
                    let why = Refusal::new(code, message);
                    self.take_loss(entry, &why)?;
                }
                Message::End { .. } => return self.conclude(),
                Message::Error { code, message } => {
                    let why = Refusal::new(code, message);
                    self.sender.send(&Message::End { total: None }, &[])?;
                    self.tree.has_ended = true;
                    return Err(why.into());
                }
                other => return Err(unexpected(&other, "list, small, large or end")),
            }
            if self.tree.batch.is_due() {
                self.commit()?;
            }
            self.send_kept()?;
        }
    }

    /// The sender has ended its part.
    fn conclude(&mut self) -> Result<()> {
        let TreeReceiver { expected, current, listing, .. } = &*self.tree;
        let is_short = !expected.is_empty() || current.is_some() || !listing.is_complete();
        self.commit()?;
        if let Some(group) = self.tree.wait_group.take() {
            group.wait();
        }
        if !is_short && !self.tree.is_secondary {
            self.link_names()?;
            self.mirror()?;
            self.finish_dirs()?;
        }
        // Directories, symlinks and other names are in no batch.
        let options = self.tree.destination.options;
        if self.tree.has_made && options.sync && !options.dry_run {
            self.tree.destination.sync().map_err(Error::ours("what was made"))?;
        }
        self.send_kept()?;
        self.sender.send(&Message::End { total: None }, &[])?;
        self.tree.has_ended = true;
        if is_short {
            return Err(Refusal::new(ErrorCode::Stopped, "the sender gave up before the end").into());
        }
        Ok(())
    }

    /// A connection that was reset has brought more than was read, and that is not to be sent again.
    fn as_far_as_it_goes(&mut self, sent: Result<()>) -> Result<()> {
        match sent {
            Err(Error::ConnectionLost(why)) => {
                tracing::debug!(%why, "nothing can be said any more; what came is kept");
                self.tree.is_mute = true;
                Ok(())
            }
            sent => sent,
        }
    }
}

/// Makes a buffer at least `len` bytes long. What was in it is of no use any more.
fn grow(buffer: &mut Vec<u8>, len: usize) {
    if buffer.len() < len {
        // The system's memory is zero already, and is not written for that.
        *buffer = vec![0; len];
    }
}

fn too_large(shown: &str, size: u64) -> Refusal {
    Refusal::new(ErrorCode::Failed, format!("{shown}: {size} bytes, over the size limit"))
}

/// Reports that work goes on, and ends it with the connection.
fn works(watch: OnEvent<'_>, stop: Option<&dyn StopHandle>, bytes: u64) -> io::Result<()> {
    if stop.is_some_and(StopHandle::is_stopped) {
        return Err(stopped());
    }
    watch(TreeEvent::Works(bytes)).map_err(io::Error::other)
}

/// The refusal for a limit of this side, which the peer could not know.
fn over_limit(text: String) -> Error {
    Refusal::new(ErrorCode::Failed, text).into()
}

fn bad_list(why: &str) -> Error {
    Misbehaviour::BadBody { what: "list", why: why.to_owned() }.into()
}

fn bad_small(why: &str) -> Error {
    Misbehaviour::BadBody { what: "tree", why: why.to_owned() }.into()
}
