//! Copies files and trees for COPY. A file has its name when it is whole; of a tree what could be copied stays, and the
//! client is told of the rest (RFC 4918, 9.8.5).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::StatusCode;
use ::http::header::HeaderMap;
use cap_std::fs::{Dir, MetadataExt as _};

use super::super::exchange::Exchange;
use super::super::intake::Bounds;
use super::super::options::OnExists;
use super::super::problem::{HttpError, Problem, Result};
use super::guard;
use super::holder::Holder;
use super::place::{Inode, Node, Place};
use crate::fs;
use crate::fs::part::naming::Naming;
use crate::fs::part::{Checksum, Preserved};
use crate::fs::root::{Details, FileKind, Root, RootPath, ShownDir};
use crate::fs::unix::mtime_ns;

/// Bytes that are copied before it is seen again whether anything stands against it.
const STEP_LEN: usize = 16 * 1024 * 1024;
/// How often the client is told that it goes on: so a client that is gone is noticed, and one that waits does not give
/// up.
const TELL_AFTER: Duration = Duration::from_secs(2);
/// Members that could not be copied, of which the client is told; behind the last the copy ends.
const FAILURES_MAX: usize = 100;

/// What a directory that waits takes besides its paths, in bytes.
const WAITING_COST: usize = 64;

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Members that could not be: the path of each, a status, and why.
    pub(super) failed: Vec<(Vec<u8>, u16, String)>,
}

/// A copy under way.
struct CopyRun<'c, 'e> {
    exchange: &'c mut Exchange<'e>,
    bounds: Bounds,
    holder: Holder,
    /// The directory in which the client will see what is copied.
    above: RootPath,
    told: Instant,
    copied: Copied,
}

/// Copies the file `from`, in place of another one if `replaces`.
///
/// # Errors
/// It could not be copied.
pub(super) fn file(
    exchange: &mut Exchange<'_>,
    from: &RootPath,
    (into, to): (&Root, &RootPath),
    replaces: bool,
) -> Result<Copied> {
    let mut copy = CopyRun::new(exchange, RootPath::default());
    let (source, metadata) = copy.exchange.session.root.open_file(from)?;
    let (dir, name) = into.open_parent(to)?;
    let preserved = copy.preserved(metadata.mode(), mtime_ns(&metadata));
    let on_exists = if replaces { OnExists::Replace } else { OnExists::Refuse };
    let dir = Arc::new(dir);
    copy.one(&source.into_std(), (&dir, &name), (preserved, on_exists), true)?;
    let state = copy.exchange.state;
    if !state.properties.is_empty()
        && let (Ok(from), Ok(to)) = (Node::of(&copy.exchange.session.root, from), Node::of(into, to))
    {
        state.properties.copy(&from, &to, &copy.holder);
    }
    Ok(copy.copied)
}

/// Copies the directory `from` to `to` in the root `into`, with all that is shown in it if `is_deep`; `above` is the
/// directory in which the client will see it.
///
/// # Errors
/// It could not be begun, or not go on.
pub(super) fn tree(
    exchange: &mut Exchange<'_>,
    from: &RootPath,
    (into, to, above): (&Root, &RootPath, RootPath),
    is_deep: bool,
) -> Result<Copied> {
    let mut copy = CopyRun::new(exchange, above);
    let budget = copy.exchange.session.memory.budget();
    let len = |(from, to): &(RootPath, RootPath)| from.byte_len() + to.byte_len() + WAITING_COST;
    let mut waiting = Vec::new();
    into.make_dir(to, false).map_err(|error| error.about(&copy.seen(to)))?;
    copy.directory(from, (into, to), is_deep, &mut waiting)?;
    budget.take(waiting.iter().map(len).sum()).map_err(|over| over.refusal("copy"))?;
    while let Some(next) = waiting.pop() {
        budget.give_back(len(&next));
        let (from, to) = next;
        let mut below = Vec::new();
        let made = into.make_dir(&to, false).map_err(|error| HttpError::from(error.about(&copy.seen(&to))));
        if let Err(error) = made.and_then(|()| copy.directory(&from, (into, &to), true, &mut below)) {
            copy.note(&to, error)?;
        }
        budget.take(below.iter().map(len).sum()).map_err(|over| over.refusal("copy"))?;
        waiting.append(&mut below);
    }
    // The files were given their names before they were on the disk: what they are copies of is there still.
    into.open_dir(to).and_then(|dir| fs::unix::sync_file_system(&dir).map_err(fs::Error::from))?;
    Ok(copy.copied)
}

impl<'c, 'e> CopyRun<'c, 'e> {
    fn new(exchange: &'c mut Exchange<'e>, above: RootPath) -> Self {
        let (bounds, holder) = (Bounds::of(exchange), Holder::of(exchange));
        Self { exchange, bounds, holder, above, told: Instant::now(), copied: Copied::default() }
    }

    fn preserved(&self, mode: u32, mtime_ns: i64) -> Preserved {
        let mode = self.exchange.state.options.upload_mode.unwrap_or(mode & 0o777);
        Preserved { mtime_ns: Some(mtime_ns), mode: Some(mode) }
    }

    /// Copies a directory and the files in it; the directories in it are to be copied next.
    fn directory(
        &mut self,
        from: &RootPath,
        (into, to): (&Root, &RootPath),
        is_deep: bool,
        below: &mut Vec<(RootPath, RootPath)>,
    ) -> Result<()> {
        let root = Arc::clone(&self.exchange.session.root);
        let source = ShownDir::open(&root, from)?;
        let target = Arc::new(into.open_dir(to).map_err(|error| error.about(&self.seen(to)))?);
        let dirs = [
            (source.opened().dir, Place::of_dir(&source.opened().dir)?),
            (Arc::clone(&target), Place::of_dir(&target)?),
        ];
        self.properties(&dirs, None);
        if !is_deep {
            return Ok(());
        }
        let shows_hidden = self.exchange.state.options.shows_hidden;
        let budget = self.exchange.session.memory.budget();
        source.for_each_name::<HttpError>(|name, kind| {
            if !shows_hidden && name.starts_with(b".") {
                return Ok(());
            }
            budget.look(1).map_err(|over| over.refusal("copy"))?;
            self.go_on()?;
            let (from, to) = (from.join(name), to.join(name));
            let (from, to) = (from?, to?);
            let copied = match kind {
                FileKind::Dir => {
                    below.push((from, to));
                    return Ok(());
                }
                FileKind::File => self.member(&source, &target, OsStr::from_bytes(name)),
                // Where it leads is seen whenever it is followed.
                FileKind::Link => copy_link(&source, &target, OsStr::from_bytes(name)),
                FileKind::Other => return Ok(()),
            };
            match copied {
                Ok(()) => {
                    self.properties(&dirs, Some(OsStr::from_bytes(name)));
                    Ok(())
                }
                Err(error) => self.note(&to, error),
            }
        })
    }

    /// Copies the properties of a directory, or of a member of it.
    fn properties(&self, dirs: &[(Arc<Dir>, Place); 2], name: Option<&OsStr>) {
        let properties = &self.exchange.state.properties;
        if properties.is_empty() {
            return;
        }
        let node = |(dir, place): &(Arc<Dir>, Place)| {
            Ok::<_, fs::Error>(match name {
                None => Node { place: place.clone(), inode: Inode::from(&Details::of(dir)?) },
                Some(name) => {
                    Node { place: place.child(name.as_bytes()), inode: Inode::from(&Details::of_name(dir, name)?) }
                }
            })
        };
        let [from, to] = dirs;
        // What is gone by now has none; and what a symlink leads to has its own.
        if let (Ok(from), Ok(to)) = (node(from), node(to)) {
            properties.copy(&from, &to, &self.holder);
        }
    }

    fn member(&mut self, source: &ShownDir, target: &Arc<Dir>, name: &OsStr) -> Result<()> {
        let (file, look) = source.open_file(name)?;
        let preserved = self.preserved(look.mode, look.mtime_ns);
        self.one(&file, (target, name), (preserved, OnExists::Refuse), false)
    }

    /// Copies one file.
    fn one(
        &mut self,
        source: &std::fs::File,
        (dir, name): (&Arc<Dir>, &OsStr),
        (preserved, on_exists): (Preserved, OnExists),
        is_synced: bool,
    ) -> Result<()> {
        let parts = &self.exchange.session.parts;
        let len = source.metadata().map_err(fs::Error::from)?.len();
        self.bounds.check_len(len)?;
        self.bounds.check_room(dir, len)?;
        let mut part = parts.create_unhashed(Arc::clone(dir), name, None)?;
        loop {
            let taken = part.copy_from(source, STEP_LEN).map_err(fs::Error::from)?;
            if taken == 0 {
                break;
            }
            self.bounds.check_len(part.size())?;
            if part.size() >= STEP_LEN as u64 {
                self.bounds.check_room(dir, 0)?;
            }
            self.go_on()?;
        }
        let size = part.size();
        let (sum, naming) = (Checksum { size, blake3: None }, Naming { on_exists, ..Naming::default() });
        if is_synced {
            part.publish_as(sum, preserved, &naming)?;
        } else {
            part.verify(sum, preserved)?.rename_as(&naming)?;
        }
        self.copied.files += 1;
        self.copied.bytes += size;
        Ok(())
    }

    /// Refuses to go on for a client that is gone or was cut off.
    fn go_on(&mut self) -> Result<()> {
        guard::check_open(self.exchange)?;
        if self.exchange.body.control().is_some_and(|control| control.is_stopped()) {
            return Err(HttpError::of_body(std::io::ErrorKind::ConnectionAborted.into()));
        }
        if self.told.elapsed() >= TELL_AFTER {
            self.told = Instant::now();
            // 102 would say it better, but there are clients that take every interim answer but 100 for the answer.
            let sent = self.exchange.body.send_interim(StatusCode::CONTINUE, &HeaderMap::new());
            sent.map_err(HttpError::of_body)?;
        }
        Ok(())
    }

    /// Notes that a member could not be copied.
    ///
    /// # Errors
    /// The same, if it stands against all others too.
    fn note(&mut self, to: &RootPath, error: HttpError) -> Result<()> {
        let HttpError::Problem(problem) = error else { return Err(error) };
        let is_full = problem.status == StatusCode::INSUFFICIENT_STORAGE;
        if is_full || self.copied.failed.len() >= FAILURES_MAX {
            return Err(problem.into());
        }
        let Problem { status, message, .. } = problem;
        self.copied.failed.push((self.seen(to).to_absolute(), status.as_u16(), message));
        Ok(())
    }

    /// Where the client will see what is `to` in the staging: no answer names that.
    fn seen(&self, to: &RootPath) -> RootPath {
        let path = to.to_absolute();
        self.above.join(path.strip_prefix(b"/").unwrap_or(&path)).unwrap_or_else(|_| to.clone())
    }
}

fn copy_link(source: &ShownDir, target: &Dir, name: &OsStr) -> Result<()> {
    let to = source.link_target(name)?;
    fs::unix::make_link(target, name, OsStr::from_bytes(&to)).map_err(|error| fs::Error::from(error).into())
}
