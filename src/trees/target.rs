//! The half of a turn that gets the files: compares what is listed with what is there, says what it wants,
//! writes that, and says what it has.
//!
//! Nothing that the source says becomes a path: each part of a name is opened in the directory above it, and no
//! symlink is gone through, so it stays below the place that was named, whoever swaps what meanwhile.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use byteorder::{ByteOrder as _, LittleEndian};
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::batch::{Batch, Fate, Whole};
use super::source::RECORD_LEN;
use super::walk::{self, mtime_ns};
use super::{
    BODY_LEN_MAX, Entry, Event, Keeping, Kept, OUTSTANDING_MAX, SMALL_LEN_MAX, Wanted, Watch, lines, not_now, own_root,
    write_line,
};
use crate::dir::Kind;
use crate::files::PIECE_LEN;
use crate::line::{LineReceiver, LineSender};
use crate::part::{Part, times};
use crate::root::{PATH_LEN_MAX, Root, RootPath, refusal};
use crate::wire::error::{Error, ErrorCode, Misbehaviour, Refusal, Result};
use crate::wire::message::{Attributes, Message, Total};

/// Directories that are kept open.
const DIRS_OPEN_MAX: usize = 128;
/// Parts of earlier attempts that are kept open until their turn has come.
const PARTS_OPEN_MAX: usize = 64;
/// Directories of one tree whose mode and time are set at its end.
const DIRS_MAX: usize = 1_000_000;

/// What the target's place may be.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// It is a directory; otherwise a single file may get its name.
    pub goes_into: bool,
    /// It is made if it is missing.
    pub is_made: bool,
    /// How to write.
    pub keeping: Keeping,
}

/// The target's half of a turn.
#[derive(Debug)]
pub struct Target {
    root: Arc<Root>,
    place: RootPath,
    shape: Shape,
    base: Option<Base>,
    /// Where it goes as people know it, for errors.
    shown: String,
    /// Open directories, by their path in the tree.
    dirs: HashMap<Vec<u8>, Open>,
    /// The next entry's number.
    next: u32,
    expected: HashMap<u32, Expected>,
    parts_open: usize,
    current: Option<Current>,
    batch: Batch,
    /// Directories whose mode and time are to be set.
    listed_dirs: Vec<(Vec<u8>, u32, i64)>,
    wanted: Ranges,
    kept: Vec<u8>,
    /// What a frame's body is read into.
    buffer: Vec<u8>,
    has_ended: bool,
}

/// Where it goes.
#[derive(Debug)]
struct Base {
    dir: Arc<Dir>,
    /// The new name of a single file.
    name: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Open {
    dir: Arc<Dir>,
    /// Made just now: there is nothing in it to compare with.
    is_new: bool,
}

/// A file that was asked for.
#[derive(Debug)]
struct Expected {
    path: Vec<u8>,
    mode: u32,
    part: Option<Box<Part>>,
}

/// A large file that is coming.
#[derive(Debug)]
struct Current {
    entry: u32,
    expected: Expected,
    attributes: Attributes,
    /// `None`: it could not be written, and the rest of it is passed over.
    part: Option<Part>,
}

/// The lines of a `want` that is being made.
#[derive(Debug, Default)]
struct Ranges {
    body: Vec<u8>,
    open: Option<Wanted>,
}

impl Target {
    /// Takes trees to `place` below `root`.
    pub fn new(root: Arc<Root>, place: RootPath, shape: Shape) -> Self {
        let shown = place.to_string();
        Self {
            root,
            place,
            shape,
            base: None,
            shown,
            dirs: HashMap::new(),
            next: 0,
            expected: HashMap::new(),
            parts_open: 0,
            current: None,
            batch: Batch::new(shape.keeping.sync),
            listed_dirs: Vec::new(),
            wanted: Ranges::default(),
            kept: Vec::new(),
            buffer: Vec::new(),
            has_ended: false,
        }
    }

    /// Takes trees to `path` on this machine, where a symlink is followed.
    ///
    /// # Errors
    /// Nothing on the way to it exists, or it cannot be opened.
    pub fn of_own(path: &Path, shape: Shape) -> io::Result<Self> {
        let mut place = Vec::new();
        let mut above = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // The deepest directory that is there is the root, and the rest is below it.
        let root = loop {
            match above.canonicalize() {
                Ok(found) if found.is_dir() => break own_root(&found)?,
                Ok(found) => {
                    place.push(found.file_name().unwrap_or_default().to_owned());
                    break own_root(found.parent().unwrap_or(Path::new("/")))?;
                }
                Err(error) => {
                    place.push(above.file_name().ok_or(error)?.to_owned());
                    above = above.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
                }
            }
        };
        let parts: Vec<&[u8]> = place.iter().rev().map(|part| part.as_bytes()).collect();
        let place = RootPath::default().join(&parts.join(&b'/')).map_err(io::Error::other)?;
        let goes_into = shape.goes_into || path.as_os_str().as_bytes().ends_with(b"/");
        let target = Self::new(root, place, Shape { goes_into, ..shape });
        Ok(Self { shown: path.to_string_lossy().into_owned(), ..target })
    }

    /// Whether this side has said its last word in the turn.
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The whole turn. What is whole when it fails is kept, and of the rest what has come.
    ///
    /// # Errors
    /// The place cannot be written, the disk is full, the source refused or gave up, the watcher wants no more, or the
    /// line failed.
    pub fn run(&mut self, receiver: &mut LineReceiver, sender: &LineSender, watch: Watch<'_>) -> Result<()> {
        let mut turn = Turn { target: self, sender, watch };
        let ended = turn.take_all(receiver);
        if ended.is_err()
            && let Err(error) = turn.commit()
        {
            tracing::debug!(%error, "what was whole could not be confirmed any more");
        }
        ended
    }
}

/// A target at work.
struct Turn<'t> {
    target: &'t mut Target,
    sender: &'t LineSender,
    watch: Watch<'t>,
}

impl Turn<'_> {
    fn take_all(&mut self, receiver: &mut LineReceiver) -> Result<()> {
        loop {
            match receiver.expect("list, small, large or end")? {
                Message::List { is_last } => {
                    let body = receiver.body(BODY_LEN_MAX)?;
                    self.take_list(&body, is_last)?;
                }
                Message::Small => self.take_small(receiver)?,
                Message::Large { entry, offset, attributes } => self.begin_large(entry, offset, attributes)?,
                Message::Data { .. } => self.take_piece(receiver)?,
                Message::Whole { total: Total { size, blake3 } } => {
                    let total = Total { size, blake3: blake3.map(|blake3| blake3.into_owned().into()) };
                    self.end_large(&total)?;
                }
                Message::Lost { entry, code, message } => {
                    let why = Refusal::new(code, message);
                    self.take_loss(entry, &why)?;
                }
                Message::End { .. } => return self.conclude(),
                Message::Error { code, message } => {
                    let why = Refusal::new(code, message);
                    self.sender.send(&Message::End { total: None }, &[])?;
                    self.target.has_ended = true;
                    return Err(why.into());
                }
                other => return Err(not_now(&other, "list, small, large or end")),
            }
            if self.target.batch.is_due() {
                self.commit()?;
            }
            self.send_kept()?;
        }
    }

    /// The source has said its last word.
    fn conclude(&mut self) -> Result<()> {
        let is_short = !self.target.expected.is_empty() || self.target.current.is_some();
        self.commit()?;
        if !is_short {
            self.finish_dirs()?;
        }
        self.send_kept()?;
        self.sender.send(&Message::End { total: None }, &[])?;
        self.target.has_ended = true;
        if is_short {
            return Err(Refusal::new(ErrorCode::Stopped, "the sender gave up before the end").into());
        }
        Ok(())
    }

    fn take_list(&mut self, body: &[u8], is_last: bool) -> Result<()> {
        let (mut count, mut placed) = (0, None);
        for line in lines(body) {
            let entry = Entry::read(line)?;
            if self.target.base.is_none() {
                placed = Some(self.settle(&entry)?);
            }
            let number = self.target.next;
            self.target.next = number.checked_add(1).ok_or_else(|| bad_list("it has over 4,294,967,295 entries"))?;
            count += 1;
            self.look_at(number, &entry)?;
            if self.target.expected.len() > 4 * OUTSTANDING_MAX {
                return Err(bad_list("the source lists on and on without sending what is wanted"));
            }
        }
        if is_last {
            (self.watch)(Event::ListedAll)?;
        }
        // What failed first: what is not wanted and did not fail is the same here.
        self.send_kept()?;
        let body = self.target.wanted.take()?;
        let (path, name) = placed.map_or((None, None), |(path, name)| (Some(path.into()), name.map(Into::into)));
        self.sender.send(&Message::Want { count, path, name }, &body)
    }

    /// Finds out where it all goes, now that the first entry says what it is.
    fn settle(&mut self, first: &Entry) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        let Target { root, place, shape, .. } = &*self.target;
        let is_dir = place.is_root() || root.is_dir(place);
        let (base, path) = if shape.goes_into || is_dir || first.kind == Kind::Dir {
            if !is_dir && shape.is_made {
                root.make_dir(place, true)?;
            }
            (Base { dir: Arc::new(root.open_dir(place)?), name: None }, place.clone())
        } else {
            let (dir, name) = root.open_parent(place)?;
            let above = place.split_last().map(|(above, _)| above).unwrap_or_default();
            (Base { dir: Arc::new(dir), name: Some(name.as_bytes().to_vec()) }, above)
        };
        let path = path.to_wire();
        (self.watch)(Event::Placed { path: &path, name: base.name.as_deref() })?;
        let name = base.name.clone();
        self.target.dirs.insert(Vec::new(), Open { dir: Arc::clone(&base.dir), is_new: false });
        self.target.base = Some(base);
        Ok((path, name))
    }

    fn look_at(&mut self, number: u32, entry: &Entry) -> Result<()> {
        if let Some(why) = &entry.error {
            let why = Refusal::new(ErrorCode::Failed, why.as_str());
            return (self.watch)(Event::Failed { path: &entry.path, why: &why });
        }
        let path = match (&self.target.base, entry.kind) {
            (Some(Base { name: Some(name), .. }), Kind::File | Kind::Link) => name.clone(),
            _ => entry.path.clone(),
        };
        if let Err(why) = check_path(&path) {
            return self.fail(number, &path, &why);
        }
        let looked = match entry.kind {
            Kind::File => return self.look_at_file(number, path, entry),
            Kind::Dir => self.make_dir(&path, entry),
            Kind::Link => self.make_link(&path, entry),
            Kind::Other => return (self.watch)(Event::Skipped { path: &path }),
        };
        looked.or_else(|error| self.fail_or_stop(number, &path, &error))
    }

    fn look_at_file(&mut self, number: u32, path: Vec<u8>, entry: &Entry) -> Result<()> {
        (self.watch)(Event::Listed(entry.size))?;
        match self.compare(&path, entry) {
            Ok(Compared::Same) => (self.watch)(Event::Unchanged(entry.size)),
            Ok(Compared::Other(part)) => {
                if let Some(part) = &part {
                    self.target.parts_open += 1;
                    self.target.wanted.add_part(number, part.size(), part.so_far())?;
                } else {
                    self.target.wanted.add(number)?;
                }
                self.target.expected.insert(number, Expected { path, mode: entry.mode, part });
                Ok(())
            }
            Err(error) => self.fail_or_stop(number, &path, &error),
        }
    }

    /// Compares a listed file with what is there.
    fn compare(&mut self, path: &[u8], entry: &Entry) -> io::Result<Compared> {
        let (dir, name) = split(path);
        let Open { dir, is_new } = self.dir(dir)?;
        if is_new {
            return Ok(Compared::Other(None));
        }
        if let Some(stat) = looked_at(&dir, name)? {
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if self.is_same(&stat, entry) => {
                    if self.target.shape.keeping.preserve && stat.st_mode & 0o777 != entry.mode & 0o777 {
                        set_mode(&dir, name, entry.mode)?;
                    }
                    return Ok(Compared::Same);
                }
                FileType::RegularFile | FileType::Symlink => {}
                FileType::Directory => return Err(io::ErrorKind::IsADirectory.into()),
                // A rename would put a file in a pipe's or a device's place.
                _ => {
                    return Err(in_the_way("is neither a file nor a directory; only files are replaced"));
                }
            }
        }
        if entry.size <= SMALL_LEN_MAX || !self.target.shape.keeping.resume || self.target.parts_open >= PARTS_OPEN_MAX
        {
            return Ok(Compared::Other(None));
        }
        let attributes = self.attributes(entry.size, Some(entry.mtime_ns), entry.mode);
        let part = Part::find(&dir, name, &attributes)?.filter(|part| (1..=entry.size).contains(&part.size()));
        Ok(Compared::Other(part.map(Box::new)))
    }

    fn is_same(&self, there: &Stat, entry: &Entry) -> bool {
        let size = u64::try_from(there.st_size).unwrap_or(0);
        let mtime = mtime_ns(there);
        // Where times are not kept, what is there is as new as its last transfer.
        let is_time_right =
            if self.target.shape.keeping.preserve { mtime == entry.mtime_ns } else { mtime >= entry.mtime_ns };
        size == entry.size && is_time_right
    }

    fn attributes(&self, size: u64, mtime_ns: Option<i64>, mode: u32) -> Attributes {
        let preserve = self.target.shape.keeping.preserve;
        Attributes { size, mtime_ns: mtime_ns.filter(|_| preserve), mode: preserve.then_some(mode) }
    }

    fn make_dir(&mut self, path: &[u8], entry: &Entry) -> io::Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        let (above, name) = split(path);
        let Open { dir, .. } = self.dir(above)?;
        // Until all is in it, its owner may write, whatever its mode will be.
        let mode = if self.target.shape.keeping.preserve { entry.mode & 0o777 | 0o700 } else { 0o777 };
        let is_new = match rustix::fs::mkdirat(&*dir, name, Mode::from_raw_mode(mode)) {
            Ok(()) => true,
            Err(rustix::io::Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let opened = self.target.root.open_dir_in(&dir, name).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => in_the_way("is no directory here; remove it first"),
            _ => error,
        })?;
        self.target.keep_open(path, Open { dir: Arc::new(opened), is_new });
        if self.target.shape.keeping.preserve {
            if self.target.listed_dirs.len() >= DIRS_MAX {
                return Err(io::Error::other(format!("over {DIRS_MAX} directories in one tree; send it in parts")));
            }
            self.target.listed_dirs.push((path.to_vec(), entry.mode, entry.mtime_ns));
        }
        Ok(())
    }

    fn make_link(&mut self, path: &[u8], entry: &Entry) -> io::Result<()> {
        let to = entry.target.as_deref().filter(|to| !to.is_empty() && !to.contains(&0));
        let to = OsStr::from_bytes(to.ok_or_else(|| io::Error::other("a symlink to nothing"))?);
        let (above, name) = split(path);
        let Open { dir, .. } = self.dir(above)?;
        if let Some(stat) = looked_at(&dir, name)? {
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    let is_same = rustix::fs::readlinkat(&*dir, name, Vec::new())?.as_bytes() == to.as_bytes();
                    if is_same {
                        return Ok(());
                    }
                }
                FileType::RegularFile => {}
                _ => return Err(in_the_way("is neither a file nor a symlink here; remove it first")),
            }
        }
        crate::part::put_symlink(&dir, name, to, self.attributes(0, Some(entry.mtime_ns), 0).mtime_ns)
    }

    fn dir(&mut self, path: &[u8]) -> io::Result<Open> {
        if let Some(open) = self.target.dirs.get(path) {
            return Ok(open.clone());
        }
        let base = self.target.base.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut dir = Arc::clone(&base.dir);
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            dir = Arc::new(self.target.root.open_dir_in(&dir, OsStr::from_bytes(part))?);
        }
        let open = Open { dir, is_new: false };
        self.target.keep_open(path, open.clone());
        Ok(open)
    }

    fn take_small(&mut self, receiver: &mut LineReceiver) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.target.buffer);
        buffer.resize(BODY_LEN_MAX as usize, 0);
        let len = receiver.fill_from_body(&mut buffer)?;
        let mut rest = buffer.get(..len).unwrap_or_default();
        while let Some((head, bytes)) = rest.split_at_checked(RECORD_LEN) {
            let (numbers, digest) = head.split_at(RECORD_LEN - 32);
            let (entry, numbers) = numbers.split_at(4);
            let (size, mtime) = numbers.split_at(4);
            let size = usize::try_from(LittleEndian::read_u32(size)).unwrap_or(usize::MAX);
            let Some((bytes, behind)) = bytes.split_at_checked(size) else {
                return Err(bad_small("a file is longer than the frame"));
            };
            self.put_small(LittleEndian::read_u32(entry), LittleEndian::read_i64(mtime), digest, bytes)?;
            rest = behind;
        }
        if !rest.is_empty() || receiver.fill_from_body(&mut [0])? > 0 {
            return Err(bad_small("it does not end with a file"));
        }
        self.target.buffer = buffer;
        Ok(())
    }

    fn put_small(&mut self, entry: u32, mtime_ns: i64, digest: &[u8], bytes: &[u8]) -> Result<()> {
        let Expected { path, mode, .. } = self.expect(entry)?;
        if blake3::hash(bytes).as_bytes() != digest {
            let text = format!("{}: what arrived is not what was sent", self.target.shown(&path));
            return self.fail(entry, &path, &Refusal::new(ErrorCode::Digest, text));
        }
        let size = bytes.len() as u64;
        let attributes = self.attributes(size, Some(mtime_ns), mode);
        (self.watch)(Event::Begins { path: &path, size, offset: 0 })?;
        (self.watch)(Event::Moved(size))?;
        let (dir, name) = split(&path);
        let put = |turn: &mut Self| {
            let Open { dir, .. } = turn.dir(dir)?;
            Part::whole(dir, name, &attributes, bytes)
        };
        let mut written = put(self);
        if written.as_ref().is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error())) {
            // The batch holds descriptors, and its files may as well have their names now.
            self.commit()?;
            written = put(self);
        }
        match written {
            Ok(file) => {
                self.target.batch.add(Whole { entry, path, size, file });
                if self.target.batch.is_due() { self.commit() } else { Ok(()) }
            }
            Err(error) => self.fail_or_stop(entry, &path, &error),
        }
    }

    /// What is known of a file that comes: it was wanted.
    fn expect(&mut self, entry: u32) -> Result<Expected> {
        let expected = self.target.expected.remove(&entry);
        expected.ok_or_else(|| bad_small("a file came that was not wanted, or came already"))
    }

    fn begin_large(&mut self, entry: u32, offset: u64, sent: Attributes) -> Result<()> {
        let (expected, part) = match self.target.current.take() {
            Some(Current { entry: same, expected, part, .. }) if same == entry => {
                let why = "it changed, or is another one than its beginning here";
                (self.watch)(Event::Again { path: &expected.path, why })?;
                (expected, part)
            }
            Some(_) => return Err(bad_small("a large file came inside another")),
            None => {
                let mut expected = self.expect(entry)?;
                let part = expected.part.take().map(|part| *part);
                self.target.parts_open -= usize::from(part.is_some());
                (expected, part)
            }
        };
        let attributes = self.attributes(sent.size, sent.mtime_ns, expected.mode);
        let (dir, name) = split(&expected.path);
        let opened = match part {
            Some(part) => Ok(part),
            None => self.dir(dir).and_then(|Open { dir, .. }| Part::open(dir, name, &attributes)),
        };
        let begun = opened.and_then(|mut part| {
            if !self.target.shape.keeping.sync {
                part.without_sync();
            }
            if offset != 0 && offset != part.size() {
                return Err(io::Error::other(format!("{} bytes are here, {offset} are said to be", part.size())));
            }
            part.cut(offset).map(|()| part)
        });
        (self.watch)(Event::Begins { path: &expected.path, size: sent.size, offset })?;
        let part = match begun {
            Ok(part) => Some(part),
            Err(error) => {
                self.fail_or_stop(entry, &expected.path, &error)?;
                None
            }
        };
        self.target.current = Some(Current { entry, expected, attributes, part });
        Ok(())
    }

    fn take_piece(&mut self, receiver: &mut LineReceiver) -> Result<()> {
        if self.target.current.is_none() {
            return Err(bad_small("data came outside a file"));
        }
        let mut buffer = std::mem::take(&mut self.target.buffer);
        buffer.resize(PIECE_LEN.max(buffer.len()), 0);
        loop {
            let len = receiver.fill_from_body(&mut buffer)?;
            let Some(bytes) = buffer.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
            (self.watch)(Event::Moved(len as u64))?;
            let Some(current) = &mut self.target.current else { break };
            let Some(part) = &mut current.part else { continue };
            if let Err(error) = part.write(bytes) {
                let (entry, path) = (current.entry, current.expected.path.clone());
                current.part = None;
                self.fail_or_stop(entry, &path, &error)?;
            }
        }
        self.target.buffer = buffer;
        Ok(())
    }

    fn end_large(&mut self, total: &Total<'_>) -> Result<()> {
        let Some(Current { entry, expected, attributes, part }) = self.target.current.take() else {
            return Err(bad_small("the end of a large file came outside one"));
        };
        // It failed before, and that was said.
        let Some(part) = part else { return Ok(()) };
        let (path, size) = (expected.path, part.size());
        match part.verify(total, &attributes) {
            Ok(file) => self.target.batch.add(Whole { entry, path, size, file }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let why = Refusal::new(ErrorCode::Digest, format!("{}: {error}", self.target.shown(&path)));
                self.fail(entry, &path, &why)?;
            }
            Err(error) => self.fail_or_stop(entry, &path, &error)?,
        }
        Ok(())
    }

    /// The source could not send a file; what came of it is kept.
    fn take_loss(&mut self, entry: u32, why: &Refusal) -> Result<()> {
        let path = match self.target.current.take() {
            Some(current) if current.entry == entry => current.expected.path,
            Some(_) => return Err(bad_small("a file was lost inside another")),
            None => self.expect(entry)?.path,
        };
        // Our own failure, which the source has heard of and answers.
        if why.code == ErrorCode::Stopped {
            return Ok(());
        }
        (self.watch)(Event::Failed { path: &path, why })
    }

    /// One entry failed, and the others go on; but not on a disk that is full.
    fn fail_or_stop(&mut self, entry: u32, path: &[u8], error: &io::Error) -> Result<()> {
        let why = explained(&self.target.shown(path), error);
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            let text = format!("{}; what came is kept: make room and run the same command again", why.message);
            return Err(Refusal::new(why.code, text).into());
        }
        self.fail(entry, path, &why)
    }

    fn fail(&mut self, entry: u32, path: &[u8], why: &Refusal) -> Result<()> {
        (self.watch)(Event::Failed { path, why })?;
        let (code, message) = (Some(why.code.as_str().into()), Some(why.message.as_str().into()));
        write_line(&Kept { first: entry, count: 1, code, message }, &mut self.target.kept)
    }

    /// Gives what is whole its name.
    fn commit(&mut self) -> Result<()> {
        let mut safe: Option<(u32, u32)> = None;
        for Fate { entry, path, size, result } in self.target.batch.commit() {
            if let Err(error) = result {
                let why = explained(&self.target.shown(&path), &error);
                self.fail(entry, &path, &why)?;
                continue;
            }
            (self.watch)(Event::Done { path: &path, size })?;
            safe = match safe {
                Some((first, count)) if first.saturating_add(count) == entry => Some((first, count + 1)),
                other => {
                    self.confirm(other)?;
                    Some((entry, 1))
                }
            };
        }
        self.confirm(safe)
    }

    fn confirm(&mut self, safe: Option<(u32, u32)>) -> Result<()> {
        let Some((first, count)) = safe else { return Ok(()) };
        write_line(&Kept { first, count, code: None, message: None }, &mut self.target.kept)
    }

    fn send_kept(&mut self) -> Result<()> {
        if self.target.kept.is_empty() {
            return Ok(());
        }
        let kept = std::mem::take(&mut self.target.kept);
        // A line is far shorter than a frame's limit, but their sum may not be.
        let mut body: Vec<u8> = Vec::new();
        for line in kept.split_inclusive(|byte| *byte == b'\n') {
            if body.len() + line.len() > BODY_LEN_MAX as usize {
                self.sender.queue(&Message::Kept, &body)?;
                body.clear();
            }
            body.extend_from_slice(line);
        }
        self.sender.send(&Message::Kept, &body)
    }

    /// Modes and times of directories, now that nothing more is made in them.
    fn finish_dirs(&mut self) -> Result<()> {
        let listed = std::mem::take(&mut self.target.listed_dirs);
        for (path, mode, mtime_ns) in listed.into_iter().rev() {
            let set = self.dir(&path).and_then(|Open { dir, .. }| set_dir(&dir, mode, mtime_ns));
            if let Err(error) = set {
                let why = explained(&self.target.shown(&path), &error);
                (self.watch)(Event::Failed { path: &path, why: &why })?;
            }
        }
        Ok(())
    }
}

/// What a comparison came to.
enum Compared {
    Same,
    /// It is wanted, from where the part ends, if there is one.
    Other(Option<Box<Part>>),
}

impl Target {
    /// Something in the tree as people know it.
    fn shown(&self, path: &[u8]) -> String {
        if self.base.as_ref().is_some_and(|base| base.name.is_some()) || path.is_empty() {
            return self.shown.clone();
        }
        let path = String::from_utf8_lossy(path);
        match self.shown.as_str() {
            "" | "." => path.into_owned(),
            above => format!("{}/{path}", above.trim_end_matches('/')),
        }
    }

    fn keep_open(&mut self, path: &[u8], open: Open) {
        if self.dirs.len() >= DIRS_OPEN_MAX {
            let base = self.dirs.remove(&[][..]);
            self.dirs.clear();
            self.dirs.extend(base.map(|base| (Vec::new(), base)));
        }
        self.dirs.insert(path.to_vec(), open);
    }
}

impl Ranges {
    fn add(&mut self, entry: u32) -> Result<()> {
        if let Some(range) = &mut self.open
            && range.first.saturating_add(range.count) == entry
        {
            range.count += 1;
            return Ok(());
        }
        self.close()?;
        self.open = Some(Wanted { first: entry, count: 1, offset: None, blake3: None });
        Ok(())
    }

    fn add_part(&mut self, entry: u32, offset: u64, blake3: String) -> Result<()> {
        self.close()?;
        write_line(&Wanted { first: entry, count: 1, offset: Some(offset), blake3: Some(blake3) }, &mut self.body)
    }

    fn close(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), |range| write_line(&range, &mut self.body))
    }

    fn take(&mut self) -> Result<Vec<u8>> {
        self.close()?;
        Ok(std::mem::take(&mut self.body))
    }
}

/// A path in a tree: parts that are names, and nothing that leads elsewhere.
fn check_path(path: &[u8]) -> Result<(), Refusal> {
    let bad = |why: &str| Err(Refusal::new(ErrorCode::BadName, format!("{}: {why}", shown(path))));
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > PATH_LEN_MAX {
        return bad(&format!("the path has {} bytes, over the limit of {PATH_LEN_MAX}", path.len()));
    }
    if path.contains(&0) {
        return bad("a name cannot hold a NUL");
    }
    if path.split(|byte| *byte == b'/').any(|part| part.is_empty() || part == b"." || part == b"..") {
        return bad("leads out of the tree");
    }
    Ok(())
}

/// The directory and the name.
fn split(path: &[u8]) -> (&[u8], &OsStr) {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (dir, name) = at.map_or((&[][..], path), |at| (&path[..at], &path[at + 1..]));
    (dir, OsStr::from_bytes(name))
}

/// What is there, without following a symlink; `None`: nothing.
fn looked_at(dir: &Dir, name: &OsStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn set_mode(dir: &Dir, name: &OsStr, mode: u32) -> io::Result<()> {
    // Not by name: what has it may be a symlink by now.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o777))?)
}

fn set_dir(dir: &Dir, mode: u32, wanted_ns: i64) -> io::Result<()> {
    let stat = rustix::fs::fstat(dir)?;
    if stat.st_mode & 0o777 != mode & 0o777 {
        rustix::fs::fchmod(dir, Mode::from_raw_mode(mode & 0o777))?;
    }
    if mtime_ns(&stat) != wanted_ns {
        rustix::fs::futimens(dir, &times(wanted_ns))?;
    }
    Ok(())
}

fn in_the_way(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

fn explained(shown: &str, error: &io::Error) -> Refusal {
    if error.get_ref().is_some() && error.kind() == io::ErrorKind::AlreadyExists {
        return Refusal::new(ErrorCode::Exists, format!("{shown}: {error}"));
    }
    Refusal::new(refusal(&"", error).code, walk::explained(shown, error))
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn bad_list(why: &str) -> Error {
    Misbehaviour::BadBody { what: "list", why: why.to_owned() }.into()
}

fn bad_small(why: &str) -> Error {
    Misbehaviour::BadBody { what: "tree", why: why.to_owned() }.into()
}
