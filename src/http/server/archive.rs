//! A directory as one file: `?tar`, `?zip`.
//!
//! The directory is walked twice: first to see whether all of it can be read, and how long the archive will be, then to
//! send it. What cannot be sent as it was announced breaks the connection off: an archive with a hole never looks
//! whole.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::time::{Duration, Instant};

use ::http::StatusCode;
use ::http::header::{self, HeaderValue};

use super::exchange::Exchange;
use super::problem::{HttpError, Problem, Result};
use super::response::{BodyWriter, Response, ResponseBody};
use super::state::ARCHIVES_MAX;
use super::tree::{Found, Tree, is_none, shown};
use crate::fs;
use crate::fs::root::{FileKind, Look, RootPath};
use crate::http::archive::{
    ArchiveForm, ArchiveLength, ArchiveWriter, Member, MemberKind, TarWriter, ZIP_MEMBER_COST, ZipWriter, stays_inside,
};
use crate::http::body::BodyLength;
use crate::http::media::{Disposition, MediaType, content_disposition};
use crate::http::target::decode;
use crate::http::urlencoded::{fields, is_form};
use crate::memory::{Buffer, Taken};
use crate::trust::Service;

/// A form that names entries for an archive, in bytes: some 10,000 names.
pub const SELECTION_LEN_MAX: u64 = 1024 * 1024;
/// Memory that each byte of it takes: as it came, as names, and in order.
const SELECTION_COST: usize = 16;
/// Characters of the name that the root has in an archive, at most: with an ending, they fit into any file system.
const ROOT_NAME_CHARS: usize = 60;
/// How long an archive is measured before it is sent. What takes longer is sent without its length.
const MEASURE_TIME_MAX: Duration = Duration::from_secs(2);
/// A file is read in pieces of this size, in bytes.
const STEP_LEN: usize = 256 * 1024;
/// A file of this length in bytes goes into a tar without a copy, where the connection is plain. A shorter one is put
/// together with what stands around it.
const LARGE_LEN: u64 = 128 * 1024;
/// Where a file is read to within a buffer, in bytes: copies are slow where both ends have nearly the same place in
/// their pages.
const BUFFER_OFFSET: usize = 64;

/// The form that a query asks for; `None`: no archive.
///
/// # Errors
/// It has a value that does not exist.
pub(super) fn form_of(exchange: &Exchange<'_>) -> Result<Option<ArchiveForm>> {
    let target = &exchange.head.target;
    match (target.parameter("tar"), target.parameter("zip").as_deref()) {
        (Some(_), None) => Ok(Some(ArchiveForm::Tar)),
        (None, Some("")) => Ok(Some(ArchiveForm::Zip { stores: false })),
        (None, Some("store")) => Ok(Some(ArchiveForm::Zip { stores: true })),
        (None, None) => Ok(None),
        _ => {
            let message = "the query has an archive that there is not; send ?tar, ?zip or ?zip=store";
            Err(Problem::new(StatusCode::BAD_REQUEST, message).into())
        }
    }
}

/// The directory `path` as an archive: all of it, or those of its entries that the query names.
///
/// # Errors
/// What the client is told instead.
pub(super) fn get(exchange: &Exchange<'_>, path: &RootPath, form: ArchiveForm) -> Result<Response> {
    let selection = selected(exchange.head.target.query.as_deref().unwrap_or_default().as_bytes())?;
    pack(exchange, path, form, &selection)
}

/// Whether a POST wants an archive of what its form names.
pub(super) fn is_wanted(exchange: &Exchange<'_>) -> bool {
    ["zip", "tar"].iter().any(|form| exchange.head.target.parameter(form).is_some())
}

/// The same with a form that names the entries, since an address has less room.
///
/// # Errors
/// What the client is told instead.
pub(super) fn post(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Read)?;
    let path = exchange.path()?;
    let form = form_of(exchange)?.filter(|_| exchange.names_directory() && !exchange.state.options.is_drop_box);
    let form = form.ok_or_else(Problem::not_found)?;
    if !is_form(&exchange.head.headers) {
        let message = "an archive of some entries takes a form: application/x-www-form-urlencoded, with fields name";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into());
    }
    let too_long = || {
        let message = format!("the form has more than {SELECTION_LEN_MAX} bytes; select a directory as a whole");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    if matches!(exchange.body.length(), BodyLength::Known(len) if len > SELECTION_LEN_MAX) {
        return Err(too_long().into());
    }
    let mut taken = Taken::of(&exchange.session.memory.budget());
    let mut text = Vec::new();
    let mut piece = [0; 8 * 1024];
    let mut body = (&mut *exchange.body).take(SELECTION_LEN_MAX + 1);
    loop {
        let read = body.read(&mut piece).map_err(HttpError::of_body)?;
        if read == 0 {
            break;
        }
        taken.take(read * SELECTION_COST).map_err(|over| over.refusal("the form"))?;
        text.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    if text.len() as u64 > SELECTION_LEN_MAX {
        return Err(too_long().into());
    }
    let selection = selected(&text)?;
    if selection.is_empty() {
        let message = "nothing is selected; the form takes fields name, each with the reference of an entry";
        return Err(Problem::new(StatusCode::BAD_REQUEST, message).into());
    }
    pack(exchange, &path, form, &selection)
}

/// The entries that a form or a query names: by their references, as a list has them.
fn selected(text: &[u8]) -> Result<BTreeSet<Vec<u8>>> {
    let names = fields(text).filter(|(field, _)| field == b"name").map(|(_, value)| {
        let name = decode(&value).unwrap_or(value);
        let name = name.strip_suffix(b"/").map(<[u8]>::to_vec).unwrap_or(name);
        let is_one = !name.is_empty() && !name.contains(&b'/') && !name.contains(&0) && name != b"." && name != b"..";
        is_one.then_some(name).ok_or_else(|| {
            let message = "a name is that of an entry of this directory: one part of a path";
            Problem::new(StatusCode::BAD_REQUEST, message).into()
        })
    });
    names.collect()
}

fn pack(
    exchange: &Exchange<'_>,
    path: &RootPath,
    form: ArchiveForm,
    selection: &BTreeSet<Vec<u8>>,
) -> Result<Response> {
    let session = &exchange.session;
    let permit = exchange.state.archives.take().ok_or_else(|| {
        let message = format!("{ARCHIVES_MAX} archives are being sent, which is the limit; try again later");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, message).with_text(header::RETRY_AFTER, "30")
    })?;
    let budget = session.memory.budget();
    let mut tree = Tree::open(&session.root, path, exchange.state.options.shows_hidden, budget)?;
    if !selection.is_empty() {
        tree.select(selection).map_err(|error| match error.kind() {
            fs::ErrorKind::NotFound => Problem::new(StatusCode::NOT_FOUND, error.to_string()),
            _ => error.into(),
        })?;
    }
    let name = path.split_last().map_or_else(|| root_name(exchange), |(_, name)| name.into_encoded_bytes());
    let above = path.to_absolute();
    let archive = Archive { tree, name, above, form };
    let measured = archive.measure()?;
    let file_name = [archive.name.as_slice(), b".", form.extension().as_bytes()].concat();
    let len = measured.len;
    let write = move |to: &mut dyn BodyWriter| {
        let _permit = permit;
        archive.send(to, measured)
    };
    let body = ResponseBody::Stream { len, write: Box::new(write) };
    let response = Response { body, ..Response::empty(StatusCode::OK) };
    Ok(response
        .with(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()))
        .with(header::CACHE_CONTROL, exchange.cache_control())
        .with_text(header::CONTENT_DISPOSITION, &content_disposition(Disposition::Attachment, &file_name)))
}

/// What the root is called in an archive: by the title that its pages have, or by its own name where the operator shows
/// that; what is less than the root has only the title.
fn root_name(exchange: &Exchange<'_>) -> Vec<u8> {
    let options = &exchange.state.options;
    let own = options.directory_name.as_ref().filter(|_| !exchange.session.is_narrowed);
    let name = options.title.as_ref().or(own).map(|name| file_name(name)).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "files".to_owned()).into_bytes()
}

/// A text as a file's name on each system: without what has a meaning in a path, hidden files' dots, and too many
/// characters.
fn file_name(text: &str) -> String {
    let is_kept = |c: char| !c.is_control() && !"/\\:*?\"<>|".contains(c);
    let name: String = text.chars().map(|c| if is_kept(c) { c } else { '-' }).collect();
    let is_edge = |c: char| c == '.' || c.is_whitespace();
    let short: String = name.trim_matches(is_edge).chars().take(ROOT_NAME_CHARS).collect();
    short.trim_end_matches(is_edge).to_owned()
}

/// A directory, and how it is packed.
struct Archive {
    tree: Tree,
    /// What the directory is called in the archive.
    name: Vec<u8>,
    /// The directory's path in the root.
    above: Vec<u8>,
    form: ArchiveForm,
}

/// What the first walk has found.
struct Measured {
    /// The length of the archive in bytes; `None`: not known.
    len: Option<u64>,
    /// The files in the order of the walk, where the length is known: each has to have its share of it.
    files: Vec<Counted>,
    /// Whether the walk came to its end, so that what the archive takes was taken.
    is_complete: bool,
    taken: Taken,
}

/// A file when it was measured.
#[derive(Debug, Clone, Copy)]
struct Counted {
    inode: u64,
    len: u64,
}

impl Archive {
    /// Walks through all of it, unless that takes too long.
    fn measure(&self) -> Result<Measured> {
        let deadline = Instant::now() + MEASURE_TIME_MAX;
        let mut length = Some(self.form.length());
        let (mut files, mut taken) = (Vec::new(), Taken::of(self.tree.budget()));
        let walked = self.tree.visit(&mut |found| {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let is_file = found.look.kind == FileKind::File;
            if is_file && !found.dir.may_read(found.name) {
                let error = fs::Error::new(fs::ErrorKind::Permission, "permission denied: the archive would lack it");
                return Err(error.about(&shown(found.path)).into());
            }
            taken.take(self.memory(found)).map_err(io::Error::other)?;
            if is_file && length.is_some() {
                taken.take(size_of::<Counted>()).map_err(io::Error::other)?;
                files.push(Counted { inode: found.look.identity.1, len: found.look.size });
            }
            // Once something is compressed there is nothing to count.
            length.take_if(|counted| counted.total().is_none());
            self.with_member(found, found.look.size, |member| {
                length.as_mut().map_or(Ok(()), |counted| counted.add(member))
            })
        });
        let is_complete = walked.is_ok();
        match walked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                (length, taken) = (None, Taken::of(self.tree.budget()));
            }
            Err(error) => return Err(refused(&error).into()),
        }
        let len = length.as_ref().and_then(ArchiveLength::total);
        if len.is_none() {
            files = Vec::new();
        }
        Ok(Measured { len, files, is_complete, taken })
    }

    /// Memory in bytes that something takes until the archive is finished.
    fn memory(&self, found: &Found<'_>) -> usize {
        match self.form {
            ArchiveForm::Tar => 0,
            ArchiveForm::Zip { .. } => ZIP_MEMBER_COST + self.name.len() + found.path.len(),
        }
    }

    /// Calls `then` with what stands for `found` in the archive, if something does.
    fn with_member(
        &self,
        found: &Found<'_>,
        len: u64,
        then: impl FnOnce(&Member<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let slash: &[u8] = if found.path.is_empty() { b"" } else { b"/" };
        let path = [&self.name, slash, found.path].concat();
        let Look { mode, mtime_ns, .. } = found.look;
        let target;
        let kind = match found.look.kind {
            FileKind::Dir => MemberKind::Dir,
            FileKind::File => {
                let stores = matches!(self.form, ArchiveForm::Zip { stores: true });
                let is_compressible =
                    !stores && len > 0 && MediaType::of_name(found.name.as_encoded_bytes()).is_compressible();
                MemberKind::File { len, is_compressible }
            }
            FileKind::Link => {
                let dir = [&self.above, &b"/"[..], fs::below::split(found.path).0].concat();
                target = match found.dir.link_target(found.name) {
                    // It would lead elsewhere where the archive is unpacked, and it leads nowhere for this visitor.
                    Ok(target) if !stays_inside(&dir, &target) => return Ok(()),
                    Ok(target) => target,
                    Err(error) => return Err(error.about(&shown(found.path)).into()),
                };
                MemberKind::Link { target: &target }
            }
            FileKind::Other => return Ok(()),
        };
        then(&Member { path: &path, kind, mode, mtime_ns })
    }

    /// Writes it.
    fn send(&self, to: &mut dyn BodyWriter, measured: Measured) -> io::Result<()> {
        let Measured { len, files, is_complete, mut taken } = measured;
        let mut files = len.map(|_| files.into_iter());
        let to = Limited { to, left: len.unwrap_or(u64::MAX) };
        let mut out = match self.form {
            ArchiveForm::Tar => Out::Tar(TarWriter::new(to)),
            ArchiveForm::Zip { .. } => Out::Zip(Box::new(ZipWriter::new(to))),
        };
        let mut buffer = Buffer::of(BUFFER_OFFSET + STEP_LEN)?;
        self.tree.visit(&mut |found| {
            if !is_complete {
                taken.take(self.memory(found)).map_err(io::Error::other)?;
            }
            if found.look.kind != FileKind::File {
                return self.with_member(found, 0, |member| {
                    out.archive().begin(member)?;
                    out.archive().end()
                });
            }
            let (file, look) = match found.dir.open_file(found.name) {
                Ok(opened) => opened,
                // Where nothing was announced it is left out, as if it had gone before.
                Err(error) if is_none(&error) && files.is_none() => return Ok(()),
                Err(error) => return Err(error.about(&shown(found.path)).into()),
            };
            let len = match &mut files {
                None => look.size,
                // What is appended meanwhile is not in it, as with a file that is fetched by itself.
                Some(files) => match files.next() {
                    Some(Counted { inode, len }) if inode == look.identity.1 && len <= look.size => len,
                    _ => return Err(changed(found)),
                },
            };
            self.with_member(&Found { look, ..*found }, len, |member| out.archive().begin(member))?;
            let buffer = buffer.get_mut(BUFFER_OFFSET..).unwrap_or_default();
            Opened { file, look, len }.copy(&mut out, buffer).map_err(|error| match error {
                Failed::Changed => changed(found),
                Failed::Io(error) => error,
            })?;
            out.archive().end()
        })?;
        out.finish()
    }
}

/// An archive on its way out.
enum Out<'o> {
    Tar(TarWriter<Limited<'o>>),
    Zip(Box<ZipWriter<Limited<'o>>>),
}

impl<'o> Out<'o> {
    fn archive(&mut self) -> &mut (dyn ArchiveWriter + 'o) {
        match self {
            Self::Tar(tar) => tar,
            Self::Zip(zip) => zip.as_mut(),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Tar(tar) => Box::new(tar).finish(),
            Self::Zip(zip) => zip.finish(),
        }
    }
}

/// Why a file did not get into the archive.
enum Failed {
    Changed,
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn changed(found: &Found<'_>) -> io::Error {
    io::Error::other(format!("{}: changed while it was sent", shown(found.path)))
}

/// A file on its way into the archive.
struct Opened {
    file: File,
    /// What it was when it was opened.
    look: Look,
    /// Its first bytes that are sent.
    len: u64,
}

impl Opened {
    fn copy(mut self, out: &mut Out<'_>, buffer: &mut [u8]) -> Result<(), Failed> {
        match out {
            Out::Tar(tar) if self.len >= LARGE_LEN => {
                let sent = tar.to().send_file(&self.file, self.len);
                // Its words do not say which file it was.
                sent.map_err(|error| if self.is_shorter() { Failed::Changed } else { error.into() })?;
                tar.passed(self.len)?;
            }
            _ => self.read(out.archive(), buffer)?,
        }
        // What is written over another content while it is read is neither. What is appended is no such change.
        let now = Look::of(&self.file)?;
        let is_same = now.mtime_ns == self.look.mtime_ns || now.size > self.look.size;
        if is_same { Ok(()) } else { Err(Failed::Changed) }
    }

    fn is_shorter(&self) -> bool {
        Look::of(&self.file).is_ok_and(|now| now.size < self.len)
    }

    fn read(&mut self, archive: &mut dyn ArchiveWriter, buffer: &mut [u8]) -> Result<(), Failed> {
        let mut left = self.len;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = match self.file.read(buffer.get_mut(..step).unwrap_or_default()) {
                Ok(0) => return Err(Failed::Changed),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            archive.data(buffer.get(..read).unwrap_or_default())?;
            left -= read as u64;
        }
        Ok(())
    }
}

/// Takes what was announced and no more: more would look like the next answer.
struct Limited<'l> {
    to: &'l mut dyn BodyWriter,
    left: u64,
}

impl Limited<'_> {
    fn take(&mut self, len: u64) -> io::Result<()> {
        let left = self.left.checked_sub(len);
        self.left = left.ok_or_else(|| io::Error::other("the directory changed while it was sent"))?;
        Ok(())
    }

    fn send_file(&mut self, file: &File, len: u64) -> io::Result<()> {
        self.take(len)?;
        self.to.send_file(file, len)
    }
}

impl Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes.len() as u64)?;
        self.to.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Why there is no archive.
fn refused(error: &io::Error) -> Problem {
    if let Some(over) = error.get_ref().and_then(|inner| inner.downcast_ref::<crate::memory::Over>()) {
        return over.refusal("the archive").into();
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<fs::Error>()) {
        Some(error) => error.clone().into(),
        None if error.raw_os_error().is_some() => fs::Error::from(error).into(),
        None => Problem::new(StatusCode::FORBIDDEN, error.to_string()),
    }
}
