//! Directories: the working directory of a session, listing, making, removing and renaming. All of it is below the
//! root; `cd` changes the session's directory, never the process's.
//!
//! ```text
//! client: cd PATH | pwd                   server: cwd PATH
//! client: ls PATH                         server: data* (an entry a line), end
//! client: mkdir | rm | mv                 server: ok
//! ```

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::error::Result;
use crate::fs::root::{Entry, FileKind, RootPath};
use crate::session::Session;
use crate::wire::channel::unexpected;
use crate::wire::message::{EntryKind, Message};
use crate::wire::path::PathText;

/// One entry of a listing; one line of JSON in the protocol and with `ls --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirEntry {
    /// The name.
    pub name: PathText,
    /// Its kind.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970 UTC.
    pub mtime_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// Where a symlink points, if that is UTF-8; `None`: not a symlink, or not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl DirEntry {
    /// The name's bytes; empty if its base64 is invalid.
    pub fn name_bytes(&self) -> Vec<u8> {
        self.name.bytes().map(Cow::into_owned).unwrap_or_default()
    }
}

impl From<Entry> for DirEntry {
    fn from(entry: Entry) -> Self {
        let Entry { name, kind, size, mtime_ns, mode, target } = entry;
        let kind = match kind {
            FileKind::File => EntryKind::File,
            FileKind::Dir => EntryKind::Dir,
            FileKind::Link => EntryKind::Link,
            FileKind::Other => EntryKind::Other,
        };
        let target = target.and_then(|target| target.into_string().ok());
        Self { name: PathText::of(name.as_bytes()), kind, size, mtime_ns, mode, target }
    }
}

/// Serves `cd`: the directory is opened, so that the working directory exists.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_cd(connection: &mut Connection, session: &mut Session, path: &[u8]) -> Result<()> {
    let path = session.resolve(path)?;
    session.root.open_dir(&path)?;
    session.cwd = path;
    serve_pwd(connection, session)
}

/// Serves `pwd`.
///
/// # Errors
/// The connection failed.
pub fn serve_pwd(connection: &mut Connection, session: &mut Session) -> Result<()> {
    session.report.outcome = Some(session.cwd.to_string());
    connection.sender().send(&Message::Cwd { path: session.cwd.to_absolute().into() }, &[])
}

/// Serves `ls`: a directory's entries in the system's order, or the entry of one file.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_ls(connection: &mut Connection, session: &mut Session, path: &[u8]) -> Result<()> {
    let path = session.resolve(path)?;
    let count = if path.is_root() || session.root.is_dir(&path) {
        let entries = session.root.entries(&path)?.map(|entry| Ok(DirEntry::from(entry?)));
        connection.send_listing(entries)?
    } else {
        let entry = session.root.entry(&path)?;
        connection.send_listing([Ok(DirEntry::from(entry))])?
    };
    session.report.outcome = Some(format!("{count} entries"));
    Ok(())
}

/// Serves `mkdir`.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_mkdir(connection: &mut Connection, session: &mut Session, path: &[u8], parents: bool) -> Result<()> {
    let path = session.resolve(path)?;
    session.root.make_dir(&path, parents)?;
    connection.sender().send(&Message::Ok { path: Some(path.to_absolute().into()) }, &[])
}

/// Serves `rm`.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_rm(connection: &mut Connection, session: &mut Session, path: &[u8], recursive: bool) -> Result<()> {
    let path = session.resolve(path)?;
    session.root.remove(&path, recursive, &|dir, name| session.parts.is_idle(dir, name))?;
    connection.sender().send(&Message::Ok { path: Some(path.to_absolute().into()) }, &[])
}

/// Serves `mv`.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_mv(connection: &mut Connection, session: &mut Session, path: &[u8], to: &[u8]) -> Result<()> {
    let (path, to): (RootPath, RootPath) = (session.resolve(path)?, session.resolve(to)?);
    let now = session.root.rename(&path, &to)?;
    connection.sender().send(&Message::Ok { path: Some(now.to_absolute().into()) }, &[])
}

/// Changes the session's working directory to `path`; returns the new one.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_cd(connection: &mut Connection, path: &[u8]) -> Result<Vec<u8>> {
    connection.sender().send(&Message::Cd { path: path.into() }, &[])?;
    expect_cwd(connection)
}

/// The session's working directory.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_pwd(connection: &mut Connection) -> Result<Vec<u8>> {
    connection.sender().send(&Message::Pwd, &[])?;
    expect_cwd(connection)
}

fn expect_cwd(connection: &mut Connection) -> Result<Vec<u8>> {
    match connection.answer_or_refusal("cwd")? {
        Message::Cwd { path } => Ok(path.into_owned()),
        other => Err(unexpected(&other, "cwd")),
    }
}

/// A directory's entries sorted by name, or the entry of one file.
///
/// # Errors
/// The server refused, the listing is over 128 MiB or no JSON, or the connection failed.
pub fn call_ls(connection: &mut Connection, path: &[u8]) -> Result<Vec<DirEntry>> {
    connection.sender().send(&Message::Ls { path: path.into() }, &[])?;
    let mut entries: Vec<DirEntry> = connection.listing()?;
    entries.sort_by_cached_key(DirEntry::name_bytes);
    Ok(entries)
}

/// Makes a directory; with `parents`, also its missing parents.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_mkdir(connection: &mut Connection, path: &[u8], parents: bool) -> Result<()> {
    connection.request_ok(&Message::Mkdir { path: path.into(), parents }).map(drop)
}

/// Removes a file, or with `recursive` a tree.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_rm(connection: &mut Connection, path: &[u8], recursive: bool) -> Result<()> {
    connection.request_ok(&Message::Rm { path: path.into(), recursive }).map(drop)
}

/// Renames a file or directory; returns its new path.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_mv(connection: &mut Connection, path: &[u8], to: &[u8]) -> Result<Vec<u8>> {
    let now = connection.request_ok(&Message::Mv { path: path.into(), to: to.into() })?;
    Ok(now.unwrap_or_else(|| to.to_vec()))
}
