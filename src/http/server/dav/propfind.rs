//! PROPFIND: the properties of a resource, and of the members of a directory (RFC 4918, 9.1). It tells what GET and a
//! list tell, and no more: the same names, the same validators, the same refusals.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use ::http::StatusCode;
use ::http::header::{self, HeaderValue};

use super::super::exchange::Exchange;
use super::super::problem::{Problem, Result};
use super::super::representation::FileStamp;
use super::super::response::{BodyWriter, Response, ResponseBody};
use super::holder::Holder;
use super::lock::active;
use super::place::{Inode, Place, Spot};
use super::{DeadProperties, Locks, bad_request, xml_body};
use crate::fs::ErrorKind;
use crate::fs::root::{Details, FileKind, RootPath, ShownDir};
use crate::fs::unix::free_len;
use crate::http::conditions::EntityTag;
use crate::http::dav::body::Wanted;
use crate::http::dav::fields::Depth;
use crate::http::dav::multistatus::{FileProperties, Live, Multistatus, Resource, condition};
use crate::http::media::MediaType;
use crate::http::negotiate::Coding;
use crate::http::target::encode_path;
use crate::trust::Service;

/// The answer is sent in pieces of about this length, in bytes.
const PIECE_LEN: usize = 48 * 1024;
/// Directories on the way to a symlink that are looked at, so that it does not lead back to one of them.
const WAY_MAX: usize = 64;

/// Answers PROPFIND.
///
/// # Errors
/// What the client is told instead.
pub(in super::super) fn propfind(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Read)?;
    let path = exchange.path()?;
    let wanted = Wanted::parse(&xml_body(exchange)?).map_err(bad_request)?;
    // What is not said means infinity (9.1).
    let depth = Depth::of(&exchange.head.headers).map_err(bad_request)?.unwrap_or(Depth::Infinity);
    let writer = ResourceWriter::new(exchange, wanted);
    let root = &exchange.session.root;
    let dir = match ShownDir::open(root, &path) {
        Ok(dir) => dir,
        Err(error) if error.kind() == ErrorKind::NotADirectory && !exchange.names_directory() => {
            let (file, _) = root.open_file(&path)?;
            let (_, name) = path.split_last().unwrap_or_default();
            let mut text = String::new();
            writer.answer.start(&mut text);
            let place = writer.is_anything_set().then(|| Spot::of(root, &path)).transpose()?.map(|spot| spot.own);
            let told = Told { url: &path.to_absolute(), name: Some(name.as_bytes()), place: place.as_ref() };
            writer.tell(&told, &Details::of(&file)?, &mut text);
            Multistatus::end(&mut text);
            return Ok(answer(ResponseBody::Bytes(text.into_bytes())));
        }
        Err(error) => return Err(error.into()),
    };
    if depth == Depth::Infinity {
        let problem = Problem::new(StatusCode::FORBIDDEN, "Depth is 0 or 1 here: go down directory by directory");
        return Err(problem.with_xml(condition("propfind-finite-depth", &[])).into());
    }
    let writer = writer.of_directory(&dir);
    let members = Members {
        shows_hidden: exchange.state.options.shows_hidden,
        url: directory_url(&path),
        place: writer.is_anything_set().then(|| Place::of_dir(&dir.opened().dir)).transpose()?,
        path,
        dir,
        writer,
        way: None,
    };
    let location = encode_path(&members.url);
    let body = if depth == Depth::Zero {
        let mut text = String::new();
        members.start(&mut text)?;
        Multistatus::end(&mut text);
        ResponseBody::Bytes(text.into_bytes())
    } else {
        ResponseBody::Stream { len: None, write: Box::new(move |to| members.write(to)) }
    };
    let response = answer(body);
    // The URL that ends with a slash is the directory's (5.2).
    Ok(if exchange.names_directory() { response } else { response.with_text(header::CONTENT_LOCATION, &location) })
}

/// The path of a directory as its URL has it, decoded.
pub(super) fn directory_url(path: &RootPath) -> Vec<u8> {
    let mut url = path.to_absolute();
    if !path.is_root() {
        url.push(b'/');
    }
    url
}

fn answer(body: ResponseBody) -> Response {
    Response { body, ..Response::empty(StatusCode::MULTI_STATUS) }
        .with(header::CONTENT_TYPE, HeaderValue::from_static(Multistatus::media_type()))
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Writes resources into an answer.
struct ResourceWriter {
    answer: Multistatus,
    etag_key: [u8; 32],
    tells_quota: bool,
    free_min: u64,
    quota: Option<(u64, u64)>,
    title: Option<String>,
    locks: Option<Arc<Locks>>,
    properties: Arc<DeadProperties>,
    holder: Holder,
    /// The root of the session.
    own: Option<Place>,
}

/// What is told of: its path, its name, and where it is if anything may be known of it there.
struct Told<'t> {
    url: &'t [u8],
    name: Option<&'t [u8]>,
    place: Option<&'t Place>,
}

impl ResourceWriter {
    fn new(exchange: &Exchange<'_>, wanted: Wanted) -> Self {
        let (options, services) = (&exchange.state.options, exchange.session.services);
        let answer = Multistatus::new(wanted);
        let is_writable = services.has(Service::Write) && (options.uploads || options.modifies);
        let is_quota_named = answer.tells(Live::QuotaAvailable) || answer.tells(Live::QuotaUsed);
        Self {
            etag_key: exchange.state.etag_key,
            // How full the disk is concerns those who may fill it.
            tells_quota: is_quota_named && is_writable,
            free_min: options.free_min,
            quota: None,
            title: options.title.clone(),
            // Who works on a file concerns those who may work on it too.
            locks: is_writable.then(|| Arc::clone(&exchange.state.locks)),
            properties: Arc::clone(&exchange.state.properties),
            holder: Holder::of(exchange),
            own: Spot::of(&exchange.session.root, &RootPath::default()).ok().map(|spot| spot.own),
            answer,
        }
    }

    /// Whether there are locks or properties that may be told.
    fn is_anything_set(&self) -> bool {
        self.locks.as_ref().is_some_and(|locks| !locks.is_empty()) || !self.properties.is_empty()
    }

    /// The same for what is in a directory.
    fn of_directory(mut self, dir: &ShownDir) -> Self {
        if self.tells_quota {
            let opened = dir.opened().dir;
            let sizes = free_len(&opened).ok().zip(crate::fs::unix::used_len(&opened).ok());
            self.quota = sizes.map(|(free, used)| (free.saturating_sub(self.free_min), used));
        }
        self
    }

    /// Writes what has these details.
    fn tell(&self, Told { url, name, place }: &Told<'_>, details: &Details, to: &mut String) {
        let seconds = |ns: i64| u64::try_from(ns.div_euclid(1_000_000_000)).ok();
        let Details { look, ctime_ns, born_ns } = details;
        let stamp = FileStamp { identity: look.identity, len: look.size, mtime_ns: look.mtime_ns, ctime_ns: *ctime_ns };
        let is_file = look.kind == FileKind::File;
        let tag = if is_file && self.answer.tells(Live::Tag) {
            let tag = stamp.validators(&self.etag_key, Coding::Identity).etag;
            tag.as_ref().map_or_else(String::new, EntityTag::to_string)
        } else {
            String::new()
        };
        let media = if is_file && self.answer.tells(Live::ContentType) {
            MediaType::of_name(name.unwrap_or_default()).content_type()
        } else {
            String::new()
        };
        let dead = place.map(|place| self.properties.of(place, Inode::from(details))).unwrap_or_default();
        let locks = place.zip(self.locks.as_ref()).zip(self.own.as_ref());
        let locks = locks.map(|((place, locks), own)| active(&locks.of(place), own, &self.holder));
        let resource = Resource {
            path: url,
            name: name.or(self.title.as_deref().map(str::as_bytes)),
            file: is_file.then_some(FileProperties { len: look.size, media: &media, tag: &tag }),
            modified: seconds(look.mtime_ns),
            created: born_ns.and_then(seconds),
            is_lockable: self.locks.is_some(),
            locks: locks.as_deref().unwrap_or_default(),
            quota: self.quota.filter(|_| !is_file),
            dead: &dead,
        };
        self.answer.resource(&resource, to);
    }
}

/// A directory with its members.
struct Members {
    writer: ResourceWriter,
    dir: ShownDir,
    path: RootPath,
    url: Vec<u8>,
    /// Where it is; `None`: nothing is known of anything there.
    place: Option<Place>,
    shows_hidden: bool,
    /// The directories on the way here, once a symlink leads to one.
    way: Option<HashSet<(u64, u64)>>,
}

impl Members {
    fn start(&self, to: &mut String) -> Result<()> {
        let name = self.path.split_last().map(|(_, name)| name);
        self.writer.answer.start(to);
        let name = name.as_deref().map(OsStr::as_bytes);
        let told = Told { url: &self.url, name, place: self.place.as_ref() };
        self.writer.tell(&told, &self.dir.own_details()?, to);
        Ok(())
    }

    fn write(mut self, to: &mut dyn BodyWriter) -> io::Result<()> {
        let mut text = String::with_capacity(PIECE_LEN + 4096);
        self.start(&mut text).map_err(io::Error::other)?;
        let base = self.url.len();
        let dir = self.dir.clone();
        dir.for_each_name(|name, kind| {
            if !self.shows_hidden && name.starts_with(b".") {
                return Ok(());
            }
            // What is gone by now, or led to by a symlink that leads nowhere, has no properties.
            let Some(details) = self.details(OsStr::from_bytes(name), kind) else { return Ok(()) };
            self.url.truncate(base);
            self.url.extend_from_slice(name);
            if details.look.kind == FileKind::Dir {
                self.url.push(b'/');
            }
            let place = self.place_of(name, kind == FileKind::Link && details.look.kind == FileKind::Dir);
            self.writer.tell(&Told { url: &self.url, name: Some(name), place: place.as_ref() }, &details, &mut text);
            if text.len() < PIECE_LEN {
                return Ok(());
            }
            to.write_all(text.as_bytes())?;
            text.clear();
            Ok::<(), io::Error>(())
        })?;
        Multistatus::end(&mut text);
        to.write_all(text.as_bytes())
    }

    /// Where a member is. What is known of a directory that a symlink leads to is known of it there.
    fn place_of(&self, name: &[u8], is_led: bool) -> Option<Place> {
        let place = self.place.as_ref()?;
        let led = if is_led { self.dir.follow_to_dir(&self.path, OsStr::from_bytes(name)) } else { None };
        led.and_then(|dir| Place::of_dir(&dir).ok()).or_else(|| Some(place.child(name)))
    }

    fn details(&mut self, name: &OsStr, kind: FileKind) -> Option<Details> {
        let details = match kind {
            FileKind::Link => self.dir.follow_to_details(&self.path, name)?,
            _ => self.dir.details(name).ok().flatten()?,
        };
        let is_shown = match details.look.kind {
            FileKind::File => true,
            // A client that goes down would not come to an end.
            FileKind::Dir => kind != FileKind::Link || !self.is_on_the_way(details.look.identity),
            FileKind::Link | FileKind::Other => false,
        };
        is_shown.then_some(details)
    }

    /// Whether a directory is this one or lies on the way to it.
    fn is_on_the_way(&mut self, identity: (u64, u64)) -> bool {
        let way = self.way.get_or_insert_with(|| {
            let mut way: HashSet<_> = self.dir.own_details().map(|details| details.look.identity).into_iter().collect();
            let mut above = self.path.split_last();
            while let Some((path, _)) = above.filter(|_| way.len() <= WAY_MAX) {
                way.extend(self.dir.identity_of(&path));
                above = path.split_last();
            }
            way
        });
        way.len() > WAY_MAX || way.contains(&identity)
    }
}
