//! A file as it is sent: in one coding, with the validators of that (RFC 9110, 8); a list or a page with its own.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::time::SystemTime;

use ::http::StatusCode;
use ::http::header::{self, HeaderMap};
use cap_std::fs::{Metadata, MetadataExt as _};

use super::exchange::Exchange;
use super::response::{FileSlice, Response, ResponseBody};
use crate::fs::root::RootPath;
use crate::fs::unix::{mtime_ns, nanoseconds, seconds_since_1970};
use crate::http::conditions::{EntityTag, Validators, Verdict, evaluate};
use crate::http::media::MediaType;
use crate::http::negotiate::{Coding, codings};
use crate::memory::Budget;

/// A file that changed so recently may change again within one step of its file system's clock, in seconds (RFC 9110,
/// 8.8.2.2).
const UNSETTLED_TIME: u64 = 2;
/// Below this length a file is not compressed: the answer would not be shorter by more than its head.
const COMPRESSED_LEN_MIN: u64 = 1024;
/// A longer file is not compressed while it is sent, in bytes: it costs a processor, and could not be resumed.
pub const COMPRESSED_LEN_MAX: u64 = 64 * 1024 * 1024;
/// What one compression holds at most, in bytes.
const COMPRESSOR_MEMORY: usize = 4 * 1024 * 1024;
const ZSTD_LEVEL: i32 = 3;
/// Of a page, which is the first that a reader waits for: a sixth shorter than at the quickest level, in twice the time;
/// what is above it takes longer and saves nothing.
const PAGE_GZIP_LEVEL: u32 = 3;

/// A file that can be sent.
pub(super) struct Representation {
    file: File,
    /// Length of the file in bytes.
    pub(super) len: u64,
    /// Its coding.
    pub(super) coding: Coding,
    /// The memory of what compresses it while it is sent, of unknown length then; `None`: it is sent as it is.
    budget: Option<Budget>,
    /// Its media type, that of the file before it was compressed.
    pub(super) media: MediaType,
    /// Whether there are others, for other clients.
    pub(super) has_others: bool,
    /// Its validators.
    pub(super) validators: Validators,
}

impl Representation {
    /// The representation of an open file that suits the client.
    pub(super) fn choose(exchange: &Exchange<'_>, path: &RootPath, (file, metadata): (File, &Metadata)) -> Self {
        let name = path.split_last().map_or_else(Default::default, |(_, name)| name);
        let media = MediaType::of_name(name.as_bytes());
        let mut chosen = Self {
            file,
            len: metadata.len(),
            coding: Coding::Identity,
            budget: None,
            media,
            has_others: media.is_compressible() && metadata.len() >= COMPRESSED_LEN_MIN,
            validators: validators(exchange, metadata, Coding::Identity),
        };
        // A range is one of the bytes as they are.
        if chosen.has_others && !exchange.head.headers.contains_key(::http::header::RANGE) {
            chosen.compress(exchange, path, metadata);
        }
        chosen
    }

    /// Takes a coding that the client prefers: of a file that was compressed before, if there is one.
    fn compress(&mut self, exchange: &Exchange<'_>, path: &RootPath, metadata: &Metadata) {
        let headers = &exchange.head.headers;
        let all = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
        if codings(headers, &all).is_none_or(|coding| coding == Coding::Identity) {
            return;
        }
        // Where files come from others, one beside this one could be anything.
        let is_trusted = !exchange.state.options.distrusts_files();
        let siblings = all.map(|coding| sibling(exchange, path, metadata, coding).filter(|_| is_trusted));
        let there: Vec<Coding> =
            all.iter().zip(&siblings).filter_map(|(coding, there)| there.is_some().then_some(*coding)).collect();
        if let Some(coding) = codings(headers, &there).filter(|coding| *coding != Coding::Identity) {
            let found = siblings.into_iter().zip(all).find_map(|(file, of)| file.filter(|_| of == coding));
            if let Some((file, sibling)) = found {
                self.validators.etag = validators(exchange, &sibling, coding).etag;
                (self.file, self.len, self.coding) = (file, sibling.len(), coding);
                return;
            }
        }
        let budget = exchange.session.memory.budget();
        if self.len > COMPRESSED_LEN_MAX || budget.take(COMPRESSOR_MEMORY).is_err() {
            return;
        }
        if let Some(coding @ (Coding::Zstd | Coding::Gzip)) = codings(headers, &[Coding::Zstd, Coding::Gzip]) {
            self.validators = validators(exchange, metadata, coding);
            (self.coding, self.budget) = (coding, Some(budget));
        }
    }

    /// Whether its bytes are those of the file.
    pub(super) const fn is_identity(&self) -> bool {
        matches!(self.coding, Coding::Identity)
    }

    /// The open file.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// All of it, as a body.
    pub(super) fn into_body(self) -> ResponseBody {
        let Self { file, len, coding, budget, .. } = self;
        let Some(budget) = budget else { return ResponseBody::File(FileSlice { file, offset: 0, len }) };
        ResponseBody::Stream {
            len: None,
            write: Box::new(move |out| {
                let _held = budget;
                compressed(&file, (coding, len), out)
            }),
        }
    }

    /// A part of it, as a body.
    pub(super) fn into_slice(self, offset: u64, len: u64) -> ResponseBody {
        ResponseBody::File(FileSlice { file: self.file, offset, len })
    }

    /// The open file itself.
    pub(super) fn into_file(self) -> File {
        self.file
    }
}

/// A file beside `path` that has it compressed, and is not older.
fn sibling(exchange: &Exchange<'_>, path: &RootPath, of: &Metadata, coding: Coding) -> Option<(File, Metadata)> {
    let extension: &[u8] = match coding {
        Coding::Zstd => b".zst",
        Coding::Brotli => b".br",
        Coding::Gzip => b".gz",
        Coding::Identity => return None,
    };
    let path = RootPath::default().join(&[&path.to_absolute(), extension].concat()).ok()?;
    let (file, metadata) = exchange.session.root.open_file(&path).ok()?;
    (mtime_ns(&metadata) >= mtime_ns(of)).then(|| (file.into_std(), metadata))
}

/// The validators of a file in a coding: a keyed hash of what changes when its bytes do, since inode and times are no
/// business of strangers.
pub(super) fn validators(exchange: &Exchange<'_>, metadata: &Metadata, coding: Coding) -> Validators {
    let stamp = FileStamp {
        identity: (metadata.dev(), metadata.ino()),
        len: metadata.len(),
        mtime_ns: mtime_ns(metadata),
        ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    };
    stamp.validators(&exchange.state.etag_key, coding)
}

/// What of a file changes when its bytes do.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileStamp {
    /// Device and inode.
    pub(super) identity: (u64, u64),
    /// Length in bytes.
    pub(super) len: u64,
    /// Modification time in nanoseconds since 1970 UTC.
    pub(super) mtime_ns: i64,
    /// Time of the last change of content or attributes, in nanoseconds since 1970 UTC.
    pub(super) ctime_ns: i64,
}

impl FileStamp {
    /// The validators of the file in a coding.
    pub(super) fn validators(&self, key: &[u8; 32], coding: Coding) -> Validators {
        let Self { identity: (device, inode), len, mtime_ns, ctime_ns } = self;
        let mut stamp = [0; 40];
        let numbers = [*device, *inode, *len, mtime_ns.cast_unsigned(), ctime_ns.cast_unsigned()];
        stamp.chunks_exact_mut(8).zip(numbers).for_each(|(to, number)| to.copy_from_slice(&number.to_le_bytes()));
        let hash = blake3::keyed_hash(key, &stamp).to_hex();
        let mut opaque = hash.get(..32).unwrap_or_default().to_owned();
        if coding != Coding::Identity {
            opaque.push('-');
            opaque.push_str(coding.name());
        }
        let seconds = |ns: i64| u64::try_from(ns.div_euclid(1_000_000_000)).ok();
        let age = seconds_since_1970(SystemTime::now()).checked_sub(seconds(*ctime_ns).unwrap_or(0));
        let is_weak = age.is_none_or(|age| age < UNSETTLED_TIME);
        Validators { etag: EntityTag::new(is_weak, opaque), modified: seconds(*mtime_ns) }
    }
}

/// A body that was made in memory, in the coding that the client prefers, with the coding's name; `None`: as it is.
pub(super) fn compressed_body(headers: &HeaderMap, body: &[u8]) -> Option<(Vec<u8>, &'static str)> {
    if (body.len() as u64) < COMPRESSED_LEN_MIN {
        return None;
    }
    let coding = codings(headers, &[Coding::Zstd, Coding::Gzip])?;
    let compressed = match coding {
        Coding::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL).ok()?,
        Coding::Gzip => {
            let room = Vec::with_capacity(body.len() / 4);
            let mut encoder = flate2::write::GzEncoder::new(room, flate2::Compression::new(PAGE_GZIP_LEVEL));
            encoder.write_all(body).ok()?;
            encoder.finish().ok()?
        }
        Coding::Brotli | Coding::Identity => return None,
    };
    Some((compressed, coding.name()))
}

/// Sends a file compressed.
fn compressed(mut file: &File, (coding, len): (Coding, u64), out: &mut dyn Write) -> io::Result<()> {
    let mut file = io::Read::take(&mut file, len);
    let copied = if coding == Coding::Gzip {
        let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
        let copied = io::copy(&mut file, &mut encoder)?;
        encoder.finish()?;
        copied
    } else {
        let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
        encoder.set_pledged_src_size(Some(len))?;
        encoder.include_checksum(true)?;
        let copied = io::copy(&mut file, &mut encoder)?;
        encoder.finish()?;
        copied
    };
    if copied == len { Ok(()) } else { Err(io::Error::other("the file became shorter while it was sent")) }
}
/// A list or a page with its tag; without its body where the client has the same one (RFC 9110, 13.1.2). The tag is made
/// of the body itself, and weak since it says nothing of what is in the files. A body that is made while it is sent has
/// none.
pub(super) fn unless_known(exchange: &Exchange<'_>, response: Response) -> Response {
    let ResponseBody::Bytes(bytes) = &response.body else { return response };
    let hash = blake3::keyed_hash(&exchange.state.etag_key, bytes).to_hex();
    let etag = EntityTag::new(true, hash.get(..32).unwrap_or_default());
    let Some(value) = etag.as_ref().and_then(EntityTag::to_header_value) else { return response };
    let current = Validators { etag, modified: None };
    let is_known = evaluate(&exchange.head.headers, true, Some(&current)) == Verdict::NotModified;
    let response = response.with(header::ETAG, value);
    if is_known {
        return Response { status: StatusCode::NOT_MODIFIED, body: ResponseBody::Empty, ..response };
    }
    response
}
