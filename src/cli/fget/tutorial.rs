//! `fget --wire`: files from one of the tutorials' servers.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::args::{Args, PROGRAM};
use super::local::LocalPath;
use crate::cli::connect;
use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::cli::signals::Interruption;
use crate::cli::transfer::files::part_for;
use crate::cli::transfer::reporter::Reporter;
use crate::cli::usage::usage;
use crate::error::Error;
use crate::fs::part::Checksum;
use crate::net::Address;
use crate::remote::Remote;
use crate::tutorial::TutorialConnection;
use crate::tutorial::codec::{ReplyEnd, Waits, Wire};
use crate::wire::detect::FirstBytes;
use crate::wire::frame::LENGTH_LEN;
use crate::wire::message::Attributes;

/// From a tutorial's server: a line a file on `close`, one line for all on `size`.
pub(super) fn fetch_over_wire(
    args: &Args,
    wire: Wire,
    sources: &[Remote],
    destination: &LocalPath,
    mut reporter: Reporter,
) -> anyhow::Result<Exit> {
    if !wire.carries_files() {
        return Err(usage(
            "fget speaks the wires size and close; for commands there is rexec --wire, for HTTP http-get",
        ));
    }
    if let Some(source) = sources.iter().find(|source| source.address.is_tls()) {
        let (host, path) = (&source.address, source.path.to_string_lossy());
        return Err(usage(format!(
            "{}: the tutorials' wires are not encrypted; write {host}:{path} or tcp://{host}/{path}",
            source.shown()
        )));
    }
    let mut open: Option<(&Address, TutorialConnection)> = None;
    let mut targets = HashSet::new();
    for source in sources {
        let target = destination.path_for(source)?;
        let shown = (source.shown(), target.to_string_lossy().into_owned());
        if !targets.insert(target.clone()) {
            reporter.met_alone(&shown.0)?;
            continue;
        }
        let mut connection = open.take().filter(|(last, _)| **last == source.address).map(|(_, connection)| connection);
        let fetched = fetch_one(args, wire, source, &target, &mut connection);
        open = connection.map(|connection| (&source.address, connection));
        match fetched {
            Ok(Some(bytes)) => reporter.done_alone(&shown.0, &shown.1, bytes)?,
            Ok(None) => return Ok(reporter.interrupted("nothing half is left behind")?),
            Err(error) => reporter.failed(&shown.0, &shown.1, &error)?,
        }
    }
    Ok(reporter.finish()?)
}

/// How a frame's header begins; other files may have a brace at its place.
const HEADER_BEGIN: &[u8] = br#"{"type":"#;
/// Bytes of a reply that show whether it is a frame.
const FRAME_BEGIN_LEN: usize = LENGTH_LEN + HEADER_BEGIN.len();

/// Fetches one file over `open`, if that is a connection, or over a new one, and leaves in it what can be asked again
/// (`None`: a signal came): their `size` server ends when its client leaves, so there all files share a connection.
fn fetch_one(
    args: &Args,
    wire: Wire,
    source: &Remote,
    target: &Path,
    open: &mut Option<TutorialConnection>,
) -> anyhow::Result<Option<u64>> {
    let attributes = Attributes { size: 0, mtime_ns: None, mode: None };
    // Before the request: a file that cannot be written is reported without one.
    let mut part = part_for(target, &attributes)?;
    let mut connection = if let Some(connection) = open.take() {
        connection
    } else {
        let stream = connect::stream(PROGRAM, &source.address, &args.connect, &args.output)?;
        TutorialConnection::new(stream, wire, Waits { reply: Some(args.timeout), idle: args.timeout })
    };
    connection.say(source.path.as_bytes())?;
    let interruption = Interruption::watch()?;
    interruption.add(&connection.control());
    let mut begin = Vec::new();
    let ended = connection.hear(&mut |piece| {
        let missing = FRAME_BEGIN_LEN.saturating_sub(begin.len()).min(piece.len());
        begin.extend_from_slice(piece.get(..missing).unwrap_or_default());
        args.copy.check_size(part.size().saturating_add(piece.len() as u64))?;
        part.write(piece).map_err(Error::ours(target.to_string_lossy()))
    });
    if interruption.has_come() && ended.is_err() {
        return Ok(None);
    }
    let ended = ended?;
    if wire == Wire::Size && ended != ReplyEnd::Closed {
        *open = Some(connection);
    } else {
        connection.close();
    }
    let size = part.size();
    if FirstBytes::of(&begin) == FirstBytes::Frame && begin.ends_with(HEADER_BEGIN) {
        anyhow::bail!("the reply is a frame: this is a tcp-server that does not speak this wire; leave --wire out");
    }
    // Whatever is not surely an empty file leaves nothing behind.
    match ended {
        ReplyEnd::Missing => anyhow::bail!("no such file there: the server says so"),
        ReplyEnd::Closed if wire == Wire::Size => {
            anyhow::bail!("no such file there: the server has closed the connection")
        }
        ReplyEnd::Closed => {
            anyhow::bail!("the server sent nothing: the file is missing there, or empty; this wire cannot say which")
        }
        ReplyEnd::Whole | ReplyEnd::Idle | ReplyEnd::Nothing | ReplyEnd::SizeGuessed => {}
    }
    if ended == ReplyEnd::SizeGuessed && !args.output.quiet {
        say(PROGRAM, "size and bytes came in one piece: the size was guessed from the leading digits; check the file");
    }
    // Nothing on this wire says what was sent.
    let sent = Checksum { size, blake3: None };
    part.publish(sent, (&attributes).into()).with_context(|| target.display().to_string())?;
    Ok(Some(size))
}
