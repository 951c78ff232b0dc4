//! Files: `get` and `put` of one file of any size. Both ends hash the bytes as they pass; the digest follows them, and
//! only a complete file gets its final name.
//!
//! ```text
//! client: get PATH                        server: file, data*, end + digest   (or error, at any point)
//! client: end         (if it must stop)   server: error stopped
//! client: put PATH, data*, end + digest   server: ok PATH                     (or error, at any point)
//! ```

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use cap_std::fs::{Metadata, MetadataExt};

use crate::connection::Connection;
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::fs::part::{Checksum, PIECE_LEN, Part, Preserved};
use crate::fs::unix::mtime_ns;
use crate::memory::Buffer;
use crate::session::Session;
use crate::wire::channel::unexpected;
use crate::wire::message::{Attributes, Channel, Message, Total};

const PIECE: Message<'static> = Message::Data { stream: Channel::Main };

/// A function that is called with the number of bytes transferred so far. If it returns an error, the transfer ends;
/// the connection can be used again.
pub type OnProgress<'p> = &'p mut dyn FnMut(u64) -> Result<()>;

/// The destination of a download.
pub trait DownloadSink {
    /// Takes the next piece.
    ///
    /// # Errors
    /// It cannot be stored.
    fn take(&mut self, piece: &[u8]) -> std::io::Result<()>;

    /// Called when all pieces have arrived.
    ///
    /// # Errors
    /// It differs from what was sent, or cannot be stored.
    fn finish(self, sent: &Total<'_>, attributes: &Attributes) -> std::io::Result<()>;
}

impl DownloadSink for Part {
    fn take(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.write(piece)
    }

    fn finish(self, sent: &Total<'_>, attributes: &Attributes) -> std::io::Result<()> {
        Ok(self.publish(sent.into(), attributes.into())?)
    }
}

/// Serves `get`.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_get(connection: &mut Connection, session: &mut Session, path: &[u8]) -> Result<()> {
    let path = session.resolve(path)?;
    let budget = session.memory.budget();
    budget.take(PIECE_LEN).map_err(|over| over.refusal("get"))?;
    let (file, metadata) = session.root.open_file(&path)?;
    // Bytes that are appended meanwhile are not sent: a file is never longer than announced.
    let mut file = file.take(metadata.len());
    connection.sender().queue(&Message::File { attributes: attributes_of(&metadata) }, &[])?;
    let mut sending = FileReader::new().map_err(Error::ours("memory"))?;
    while let Some(piece) = sending.read(&mut file).map_err(|error| Refusal::from_io(&path.to_string(), &error))? {
        if connection.has_incoming()? {
            return Err(match connection.receiver().recv()? {
                Some(Message::End { .. }) => {
                    Refusal::new(ErrorCode::Stopped, format!("{path}: stopped by the receiver")).into()
                }
                Some(other) => unexpected(&other, "silence or end"),
                None => ConnectionLost::Closed { wanted: "a receiver for the file" }.into(),
            });
        }
        connection.sender().queue(&PIECE, piece)?;
    }
    if metadata.len() == 0 && file.get_mut().read(&mut [0]).is_ok_and(|read| read > 0) {
        let text = format!("{path}: says that it is empty, and is not, as in /proc; copy it to a file first");
        return Err(Refusal::new(ErrorCode::Failed, text).into());
    }
    if sending.size < metadata.len() {
        let text = format!("{path}: became shorter while it was sent, {} bytes of {}", sending.size, metadata.len());
        return Err(Refusal::new(ErrorCode::Failed, text).into());
    }
    session.report.outcome = Some(format!("{} bytes", sending.size));
    connection.sender().send(&Message::End { total: Some(sending.total()) }, &[])
}

/// Downloads a file: `arrive` gets its attributes and returns the sink for its bytes. Returns the number of bytes
/// received.
///
/// # Errors
/// The server refused, this machine could not store it (the connection is in step in both cases), the digest did not
/// match, or the connection failed. On any error, the existing file is unchanged.
pub fn call_get<S: DownloadSink>(
    connection: &mut Connection,
    path: &[u8],
    arrive: impl FnOnce(&Attributes) -> Result<S>,
    progress: OnProgress<'_>,
) -> Result<u64> {
    connection.receiver().begin_exchange();
    connection.sender().send(&Message::Get { path: path.into() }, &[])?;
    let attributes = match connection.answer_or_refusal("file")? {
        Message::File { attributes } => attributes,
        other => return Err(unexpected(&other, "file")),
    };
    let received = arrive(&attributes).and_then(|part| receive_file(connection, part, &attributes, progress));
    if let Err(Error::Ours { .. }) = &received {
        stop_sender(connection)?;
    }
    received
}

fn receive_file<S: DownloadSink>(
    connection: &mut Connection,
    mut sink: S,
    attributes: &Attributes,
    progress: OnProgress<'_>,
) -> Result<u64> {
    let mut piece = vec![0; PIECE_LEN];
    let mut size = 0;
    progress(0)?;
    loop {
        match connection.answer_or_refusal("data or end")? {
            Message::Data { .. } => {}
            Message::End { total: Some(Total { size: sent, blake3: Some(blake3) }) } => {
                // Only the digest of the frame is kept, so that its borrow ends here.
                let total = Total { size: sent, blake3: Some(blake3.into_owned().into()) };
                sink.finish(&total, attributes).map_err(Error::ours("received file"))?;
                return Ok(size);
            }
            // Without a digest, the server has given up, and the exchange is over.
            Message::End { .. } => {
                return Err(Refusal::new(ErrorCode::Stopped, "the server gave up before the end of the file").into());
            }
            other => return Err(unexpected(&other, "data or end")),
        }
        loop {
            let len = connection.receiver().fill_from_body(&mut piece)?;
            let Some(bytes) = piece.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
            size += bytes.len() as u64;
            if size > attributes.size {
                let text = format!("more came than the {} bytes that the server announced", attributes.size);
                return Err(Error::ours("received file")(std::io::Error::other(text)));
            }
            sink.take(bytes).map_err(Error::ours("received file"))?;
        }
        progress(size)?;
    }
}

/// Tells the server to stop, and reads until it has.
fn stop_sender(connection: &mut Connection) -> Result<()> {
    if connection.receiver().peer_ended() {
        return Ok(());
    }
    connection.sender().send(&Message::End { total: None }, &[])?;
    loop {
        match connection.answer_or_refusal("end") {
            Ok(Message::End { .. }) | Err(Error::Refused(_)) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Serves `put`. After an error, the request loop sends it and discards the rest of the upload.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_put(
    connection: &mut Connection,
    session: &mut Session,
    path: &[u8],
    name: &[u8],
    attributes: &Attributes,
) -> Result<()> {
    let mut target = session.resolve(path)?;
    let budget = session.memory.budget();
    budget.take(PIECE_LEN).map_err(|over| over.refusal("put"))?;
    if path.ends_with(b"/") || target.is_root() || session.root.goes_into(&target)? {
        session.root.open_dir(&target)?;
        target = target.join(own_name(name)?)?;
    }
    let refused = |error: &std::io::Error| Refusal::from_io(&target.to_string(), error);
    let (dir, file_name) = session.root.open_parent(&target)?;
    // A rename would replace a pipe or a device by a file.
    if dir.symlink_metadata(&file_name).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_symlink()) {
        return Err(Refusal::new(ErrorCode::NotAFile, format!("{target}: is neither a file nor a directory")).into());
    }
    let mut part =
        session.parts.create(dir.into(), &file_name, attributes.into()).map_err(|error| error.about(&target))?;
    let mut piece = vec![0; PIECE_LEN];
    let total = loop {
        match connection.receiver().expect("data or end")? {
            Message::Data { .. } => {}
            Message::End { total: Some(total) } => {
                break Total { size: total.size, blake3: total.blake3.map(|blake3| blake3.into_owned().into()) };
            }
            Message::End { total: None } => {
                return Err(Refusal::new(ErrorCode::Stopped, format!("{target}: stopped by the sender")).into());
            }
            other => return Err(unexpected(&other, "data or end")),
        }
        loop {
            let len = connection.receiver().fill_from_body(&mut piece)?;
            let Some(bytes) = piece.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
            part.write(bytes).map_err(|error| refused(&error))?;
        }
    };
    let size = part.size();
    part.publish((&total).into(), attributes.into()).map_err(|error| error.about(&target))?;
    session.report.outcome = Some(format!("{size} bytes"));
    connection.sender().send(&Message::Ok { path: Some(target.to_absolute().into()) }, &[])
}

/// Checks a file's name inside a directory: one component, not `.` or `..`.
fn own_name(name: &[u8]) -> Result<&[u8], Refusal> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        let shown = String::from_utf8_lossy(name);
        return Err(Refusal::new(ErrorCode::BadName, format!("{shown:?} is not the name of a file in a directory")));
    }
    Ok(name)
}

/// A file to upload.
#[derive(Debug)]
pub struct Upload<'u, R> {
    /// Its bytes.
    pub source: R,
    /// Its path on this machine, for errors.
    pub shown: &'u str,
    /// Its size, time and mode.
    pub attributes: Attributes,
    /// Its path on the server.
    pub path: &'u [u8],
    /// The name to use if `path` is a directory there.
    pub name: &'u OsStr,
}

/// Uploads a file; returns its path on the server, once the server has written it to its disk.
///
/// # Errors
/// The server refused, the local file could not be read (the connection is in step in both cases), or the connection
/// failed. On any error, the old file on the server is unchanged.
pub fn call_put<R: Read>(
    connection: &mut Connection,
    upload: Upload<'_, R>,
    progress: OnProgress<'_>,
) -> Result<Vec<u8>> {
    let Upload { mut source, shown, attributes, path, name } = upload;
    let request = Message::Put { path: path.into(), name: name.as_bytes().into(), attributes };
    connection.sender().queue(&request, &[])?;
    let mut sending = FileReader::new().map_err(Error::ours("memory"))?;
    let mut is_whole = false;
    loop {
        // A refusal is noticed at once, not after the last byte of the file.
        if connection.has_incoming()? && !is_greeting_only(connection)? {
            connection.sender().send(&Message::End { total: None }, &[])?;
            break;
        }
        let sent = sending.size;
        match sending.read(&mut source) {
            Ok(Some(piece)) => connection.sender().queue(&PIECE, piece)?,
            Ok(None) if sent < attributes.size => {
                let text = format!("became shorter while it was sent, {sent} bytes of {}", attributes.size);
                return give_up(connection, Error::ours(shown)(std::io::Error::other(text)));
            }
            Ok(None) => {
                connection.sender().send(&Message::End { total: Some(sending.total()) }, &[])?;
                is_whole = true;
                break;
            }
            Err(error) => return give_up(connection, Error::ours(shown)(error)),
        }
        if let Err(unwanted) = progress(sending.size) {
            return give_up(connection, unwanted);
        }
    }
    match connection.answer_or_refusal("ok")? {
        Message::Ok { path } if is_whole => Ok(path.map(std::borrow::Cow::into_owned).unwrap_or_default()),
        other => Err(unexpected(&other, "ok for the whole file")),
    }
}

/// Ends an upload that cannot be finished; the connection is in step again if the server agrees.
fn give_up(connection: &mut Connection, why: Error) -> Result<Vec<u8>> {
    connection.sender().send(&Message::End { total: None }, &[])?;
    match connection.answer_or_refusal("error") {
        Ok(_) | Err(Error::Refused(_)) => Err(why),
        Err(lost) => Err(lost),
    }
}

/// Whether only the server's `hello` has arrived, which is no reason to stop.
fn is_greeting_only(connection: &mut Connection) -> Result<bool> {
    connection.greeting()?;
    Ok(!connection.has_incoming()?)
}

impl From<&Attributes> for Preserved {
    fn from(attributes: &Attributes) -> Self {
        Self { mtime_ns: attributes.mtime_ns, mode: attributes.mode }
    }
}

impl<'t> From<&'t Total<'_>> for Checksum<'t> {
    fn from(total: &'t Total<'_>) -> Self {
        Self { size: total.size, blake3: total.blake3.as_deref() }
    }
}

fn attributes_of(metadata: &Metadata) -> Attributes {
    Attributes { size: metadata.len(), mtime_ns: Some(mtime_ns(metadata)), mode: Some(metadata.mode() & 0o777) }
}

/// Reads a file to send in pieces, and hashes and counts its bytes.
struct FileReader {
    piece: Buffer,
    hasher: blake3::Hasher,
    size: u64,
}

impl FileReader {
    fn new() -> std::io::Result<Self> {
        Ok(Self { piece: Buffer::of(PIECE_LEN)?, hasher: blake3::Hasher::new(), size: 0 })
    }

    fn read(&mut self, source: &mut impl Read) -> std::io::Result<Option<&[u8]>> {
        let len = loop {
            match source.read(&mut self.piece) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        let piece = self.piece.get(..len).unwrap_or_default();
        self.hasher.update(piece);
        self.size += len as u64;
        Ok(if piece.is_empty() { None } else { Some(piece) })
    }

    fn total(&self) -> Total<'static> {
        Total { size: self.size, blake3: Some(self.hasher.finalize().to_hex().to_string().into()) }
    }
}
