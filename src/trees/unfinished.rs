//! Unfinished copies: those of a peer below a directory, and their removal.
//!
//! ```text
//! client: parts PATH (clean)      server: data* (a copy a line), end
//! ```
//!
//! A peer is shown its own copies only, and learns nothing of others. The server's own user is shown all.

use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::PathText;
use crate::connection::Connection;
use crate::error::{Error, Refusal, Result};
use crate::fs::part::records::PartRecord;
use crate::fs::root::path_of;
use crate::session::Session;
use crate::wire::message::{Channel, Message};

/// Length at which a piece of the listing is sent, in bytes.
const PIECE_LEN: usize = 64 * 1024;

/// An unfinished copy: one line of the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// The file that it is to become, from the root on.
    pub path: PathText,
    /// Its length so far, in bytes.
    pub size: u64,
    /// When it was last written to, in seconds since 1970 UTC.
    pub written: u64,
    /// Whether a transfer writes to it now.
    pub held: bool,
    /// Whether it was removed just now.
    #[serde(default)]
    pub removed: bool,
}

impl Unfinished {
    /// The time since it was last written to.
    pub fn age(&self) -> Duration {
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(self.written);
        SystemTime::now().duration_since(written).unwrap_or_default()
    }
}

/// Serves `parts`.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_parts(connection: &mut Connection, session: &mut Session, path: &[u8], clean: bool) -> Result<()> {
    let path = session.resolve(path)?;
    let (mut body, mut count) = (Vec::new(), 0_u64);
    if let Some((records, owner)) = session.parts.recorded() {
        let refused = |error: &std::io::Error| Refusal::from_io(&path.to_string(), error);
        let root = session.root.own_path().map_err(|error| refused(&error))?;
        let below = path_of(&session.root.open_dir(&path)?).map_err(|error| refused(&error))?;
        let is_meant = |record: &&PartRecord| {
            (record.owner == owner || session.is_own()) && record.dir().starts_with(&below) && record.is_there()
        };
        for record in records.all().iter().filter(is_meant) {
            let file = record.dir().join(record.target());
            let shown = file.strip_prefix(&root).unwrap_or(&file).as_os_str().as_bytes();
            let size = std::fs::symlink_metadata(record.dir().join(record.name())).map_or(0, |found| found.len());
            let held = record.is_held();
            let removed = clean && !held && records.remove_part(record);
            let path = PathText::of(&[b"/", shown].concat());
            let unfinished = Unfinished { path, size, written: record.last_written(), held, removed };
            serde_json::to_writer(&mut body, &unfinished).map_err(|error| Error::ours("JSON")(error.into()))?;
            body.push(b'\n');
            count += 1;
            if body.len() >= PIECE_LEN {
                connection.sender().send(&Message::Data { stream: Channel::Main }, &std::mem::take(&mut body))?;
            }
        }
    }
    session.report.outcome = Some(format!("{count} unfinished"));
    if !body.is_empty() {
        connection.sender().queue(&Message::Data { stream: Channel::Main }, &body)?;
    }
    connection.sender().send(&Message::End { total: None }, &[])
}

/// Lists the unfinished copies of this peer below `path`; with `clean`, the server removes those that no transfer
/// writes to.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_parts(connection: &mut Connection, path: &[u8], clean: bool) -> Result<Vec<Unfinished>> {
    connection.receiver().begin_exchange();
    connection.sender().send(&Message::Parts { path: path.into(), clean }, &[])?;
    connection.listing()
}
