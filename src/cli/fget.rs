//! `fget`: download files and trees.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use super::args::{ConnectArgs, OutputArgs, duration};
use super::exit::usage;
use super::remote::{FromRemote, Remote};
use super::signals::Interruption;
use super::standard::Descriptor;
use super::transfer::{CopyArgs, Paced, Reporter, Show, with_retries};
use super::{Exit, connect, connections, say, standard};
use crate::client::create_part;
use crate::error::Error;
use crate::files::{DownloadSink, call_get};
use crate::fs::digest::Digest;
use crate::fs::part::{Checksum, Part};
use crate::net::Address;
use crate::trees::data::DataOptions;
use crate::trees::destination::{Destination, Shape};
use crate::trees::first::MeetGroups;
use crate::trees::receiver::TreeReceiver;
use crate::trees::shard::Shard;
use crate::trees::{PathText, Pull, call_pull, glob};
use crate::tutorial::TutorialConnection;
use crate::tutorial::codec::{ReplyEnd, Waits, Wire};
use crate::wire::detect::FirstBytes;
use crate::wire::frame::LENGTH_LEN;
use crate::wire::message::{Attributes, Total};

/// The program's name, in messages.
pub const PROGRAM: &str = "fget";

/// Download files and trees, verified, never half, and going on where it was interrupted
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES, override_usage = "fget [OPTIONS] HOST:PATH... [DEST]")]
pub struct Args {
    /// HOST:PATH to fetch, several if need be, with * and ? in quotes, and last where to put them: a file or a
    /// directory [default: here]
    #[arg(required = true, value_name = "HOST:PATH")]
    pub paths: Vec<OsString>,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    reach: ConnectArgs,
    #[command(flatten)]
    talk: OutputArgs,
    #[command(flatten)]
    show: Show,
    /// Fetch from one of the tutorials' file servers: size or close
    #[arg(long, env = "LANDLINE_WIRE", value_name = "WIRE", conflicts_with = "recursive")]
    wire: Option<Wire>,
    /// With --wire: how long to wait for the next bytes
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = duration, requires = "wire")]
    timeout: Duration,
}

const EXAMPLES: &str = "\
Examples:
  fget build:notes.txt                     into this directory
  fget build:a.log build:b.log logs/       several, into a directory
  fget 'build:logs/*.gz' logs/             those that match over there
  fget build:notes.txt copy.txt            under another name
  fget -r build:site .                     a tree: ./site; again: only what has changed
  fget -r build:site/ mirror               what is in it: mirror/...
  fget build:dump.sql - | psql             to standard output
  fget tls://build:7000/notes.txt          from another port
  fget --wire size oldhost:9001:video.mp4  from a tutorial's download server";

/// Downloads what `args` say.
///
/// # Errors
/// Wrong usage, or standard output is closed; what happens to a file is told and counted.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    let (sources, destination) = sources_and_destination(&args.paths)?;
    let of_wire =
        |source: Remote| if args.wire.is_some() { Ok(source.with_port_of_wire()) } else { source.without_port() };
    let sources = sources.into_iter().map(of_wire).collect::<anyhow::Result<Vec<_>>>()?;
    let destination = match standard::descriptor(&destination) {
        None => destination,
        Some(Descriptor::Output) => PathBuf::from("-"),
        Some(Descriptor::Other) => {
            let shown = destination.display();
            return Err(usage(format!("{shown}: is an open descriptor, and no file; for standard output write -")));
        }
    };
    let mut teller = Reporter::new(PROGRAM, &args.talk, &args.show).in_a_dry_run(args.copy.dry_run);
    args.copy.selection()?;
    if destination.as_os_str() == "-" {
        let [source] = sources.as_slice() else { return Err(usage("one file at a time goes to standard output")) };
        return fetch_to_stdout(args, source, teller);
    }
    let destination = LocalPath::new(destination, &sources, args.copy.recursive)?;
    if let Some(wire) = args.wire {
        return fetch_bare(args, wire, &sources, &destination, teller.without_digests());
    }
    let interruption = Interruption::watch()?;
    let mut rest = sources.as_slice();
    let is_one = rest.iter().all(|source| rest.first().is_some_and(|first| first.address == source.address));
    if args.copy.delete && !is_one {
        return Err(usage(
            "--delete makes DEST what one machine has; fetch from each by itself, to a place of its own",
        ));
    }
    let groups = (!is_one).then(|| Arc::new(MeetGroups::default()));
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|source| source.address == first.address).count();
        let (group, others) = rest.split_at(same);
        rest = others;
        let mut names = FromRemote::new(group, destination.path.clone());
        let attempt = |teller: &mut Reporter| {
            fetch((args, &interruption), (group, groups.as_ref()), &destination, &mut names, teller)
        };
        let shown = (names_of(group), destination.path.to_string_lossy().into_owned());
        if with_retries(&mut teller, (&args.copy, &interruption), (&shown.0, &shown.1), attempt)?.is_interrupted() {
            return Ok(teller.interrupted(super::transfer::GO_ON)?);
        }
        if let Some(groups) = &groups {
            groups.next();
        }
    }
    Ok(teller.finish()?)
}

fn names_of(group: &[Remote]) -> String {
    match group {
        [only] => only.shown(),
        [first, ..] => format!("{} and {} more", first.shown(), group.len() - 1),
        [] => String::new(),
    }
}

/// Fetches from one machine.
fn fetch(
    (args, interruption): (&Args, &Interruption),
    (group, groups): (&[Remote], Option<&Arc<MeetGroups>>),
    destination: &LocalPath,
    names: &mut FromRemote,
    teller: &mut Reporter,
) -> anyhow::Result<()> {
    let Some(Remote { address, .. }) = group.first() else { return Ok(()) };
    let connections =
        connections::open(PROGRAM, address, (&args.reach, &args.talk), &args.copy, (interruption, teller));
    let connections = connections.map_err(|error| group.iter().fold(error, |error, source| source.not_had(error)))?;
    let CopyArgs { recursive, follow, .. } = args.copy;
    let selected = args.copy.selection()?;
    let (out, parts) = (args.copy.out(), super::home::parts());
    connections::side_by_side(connections, teller, names, &|connection, share, last, watch| {
        let shape = Shape { goes_into: destination.goes_into, is_made: recursive };
        let place = Destination::of_own(&destination.path, shape, args.copy.keeping());
        let place = place.map_err(Error::ours(destination.path.to_string_lossy()))?;
        let place = place.with_parts(Arc::clone(&parts));
        let target = TreeReceiver::new(place, selected.filter.clone()).after(last).behind(groups.cloned());
        let target = if share.is_some_and(Shard::is_help) { target.helping() } else { target };
        let paths = group.iter().map(|source| PathText::of(source.path.as_bytes())).collect();
        let DataOptions { bwlimit, compress } = out;
        let pull = Pull { paths, recursive, follow, selection: selected.selection.clone(), bwlimit, compress, share };
        call_pull(connection, &pull, target, watch)
    })?;
    teller.selected(&selected);
    Ok(())
}

/// One file to standard output. Its bytes are out before its digest is known: who reads them looks at the exit code.
fn fetch_to_stdout(args: &Args, source: &Remote, mut teller: Reporter) -> anyhow::Result<Exit> {
    if args.talk.json || args.show.json_stream || args.copy.recursive || args.copy.dry_run || args.wire.is_some() {
        return Err(usage("standard output takes one file, and nothing else"));
    }
    args.copy.check_for_a_pipe()?;
    super::closed::check_output()?;
    let got = connect::connect(PROGRAM, &source.address, &args.reach, &args.talk).and_then(|mut connection| {
        args.copy.limit_stalls(&connection)?;
        let sink = args.copy.paced(Stdout(Digest::plain()));
        let arrive = |attributes: &Attributes| args.copy.check_size(attributes.size).map(|()| sink);
        let got = call_get(&mut connection, source.path.as_bytes(), arrive, &mut |_| Ok(()));
        let bytes = got.map_err(|error| match error {
            Error::Ours { source, .. } => Error::ours(super::STDOUT)(source),
            other => other,
        })?;
        connection.close();
        Ok(bytes)
    });
    match got {
        Ok(bytes) => teller.done_alone(&source.shown(), "-", bytes)?,
        Err(error) if super::is_closed_stdout(&error) => return Err(error),
        Err(error) => teller.failed(&source.shown(), "-", &error)?,
    }
    Ok(teller.finish()?)
}

/// Standard output, and the digest of what went there.
struct Stdout(Digest);

impl DownloadSink for Paced<Stdout> {
    fn take(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.keep(piece.len());
        self.inner.take(piece)
    }

    fn finish(self, sent: &Total<'_>, attributes: &Attributes) -> std::io::Result<()> {
        self.inner.finish(sent, attributes)
    }
}

impl DownloadSink for Stdout {
    fn take(&mut self, piece: &[u8]) -> std::io::Result<()> {
        use std::io::Write as _;
        self.0.update(piece);
        standard::output().write_all(piece)
    }

    fn finish(self, sent: &Total<'_>, _: &Attributes) -> std::io::Result<()> {
        let Self(digest) = self;
        let is_same = sent.blake3.as_ref().is_none_or(|blake3| digest.finalize().to_hex().as_str() == blake3);
        if digest.len() == sent.size && is_same {
            return Ok(());
        }
        Err(std::io::Error::other("what arrived is not what was sent, and is on standard output already"))
    }
}

/// The place for a file that arrives as `target`.
///
/// # Errors
/// Its directory is missing or cannot be written, or the target is a directory.
pub fn part_for(target: &Path, attributes: &Attributes) -> crate::error::Result<Part> {
    if standard::descriptor(target).is_some() {
        let why = std::io::Error::other("is an open descriptor, and no file");
        return Err(Error::ours(target.to_string_lossy())(why));
    }
    create_part(&super::home::parts(), target, attributes)
}

fn sources_and_destination(paths: &[OsString]) -> anyhow::Result<(Vec<Remote>, PathBuf)> {
    let mut sources = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        if path.is_empty() {
            return Err(usage("an argument is empty, and names nothing; for this directory write ."));
        }
        match Remote::parse(path)? {
            Some(remote) => sources.push(remote),
            None if at + 1 == paths.len() && at > 0 => return Ok((sources, path.into())),
            None => {
                let shown = path.to_string_lossy();
                let host = if shown.contains('/') || matches!(&*shown, "." | ".." | "-") {
                    String::new()
                } else {
                    format!("; if the machine {shown} is meant, write {shown}:PATH")
                };
                return Err(usage(format!("{shown}: not a HOST:PATH; to upload, use fput{host}")));
            }
        }
    }
    Ok((sources, PathBuf::from(".")))
}

/// Where downloads go.
struct LocalPath {
    path: PathBuf,
    /// It is a directory; otherwise a single file gets this name.
    goes_into: bool,
}

impl LocalPath {
    fn new(path: PathBuf, sources: &[Remote], recursive: bool) -> anyhow::Result<Self> {
        let is_dir = path.is_dir();
        let is_one = |source: &Remote| !glob::is_pattern(source.path.as_bytes());
        let goes_into =
            is_dir || !matches!(sources, [only] if is_one(only)) || path.as_os_str().as_bytes().ends_with(b"/");
        if goes_into && !is_dir && !recursive {
            return Err(usage(format!("{}: not a directory; make it first", path.display())));
        }
        Ok(Self { path, goes_into })
    }

    fn path_for(&self, source: &Remote) -> anyhow::Result<PathBuf> {
        if !self.goes_into {
            return Ok(self.path.clone());
        }
        let name = source
            .file_name()
            .ok_or_else(|| usage(format!("{}: names no file; write HOST:PATH/FILE", source.shown())))?;
        Ok(self.path.join(name))
    }
}

/// From a tutorial's server: a line a file on `close`, one line for all on `size`.
fn fetch_bare(
    args: &Args,
    wire: Wire,
    sources: &[Remote],
    destination: &LocalPath,
    mut teller: Reporter,
) -> anyhow::Result<Exit> {
    if !wire.carries_files() {
        return Err(usage("fget speaks the wires size and close; for commands there is rexec --wire"));
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
            teller.met_alone(&shown.0)?;
            continue;
        }
        let mut connection = open.take().filter(|(last, _)| **last == source.address).map(|(_, connection)| connection);
        let fetched = fetch_one_bare(args, wire, source, &target, &mut connection);
        open = connection.map(|connection| (&source.address, connection));
        match fetched {
            Ok(Some(bytes)) => teller.done_alone(&shown.0, &shown.1, bytes)?,
            Ok(None) => return Ok(teller.interrupted("nothing half is left behind")?),
            Err(error) => teller.failed(&shown.0, &shown.1, &error)?,
        }
    }
    Ok(teller.finish()?)
}

/// How a frame's header begins; other files may have a brace at its place.
const HEADER_BEGIN: &[u8] = br#"{"type":"#;
/// Bytes of a reply that show whether it is a frame.
const FRAME_BEGIN_LEN: usize = LENGTH_LEN + HEADER_BEGIN.len();

/// Fetches one file over `open`, if that is a connection, or over a new one, and leaves in it what can be asked again
/// (`None`: a signal came): their `size` server ends when its client leaves, so there all files share a connection.
fn fetch_one_bare(
    args: &Args,
    wire: Wire,
    source: &Remote,
    target: &Path,
    open: &mut Option<TutorialConnection>,
) -> anyhow::Result<Option<u64>> {
    let attributes = Attributes { size: 0, mtime_ns: None, mode: None };
    // Before anything is asked for: a target that cannot be written is no business of the server's.
    let mut part = part_for(target, &attributes)?;
    let mut connection = if let Some(connection) = open.take() {
        connection
    } else {
        let stream = connect::stream(PROGRAM, &source.address, &args.reach, &args.talk)?;
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
    if ended == ReplyEnd::SizeGuessed && !args.talk.quiet {
        say(PROGRAM, "size and bytes came in one piece: the size was guessed from the leading digits; check the file");
    }
    // Nothing on this wire says what was sent.
    let sent = Checksum { size, blake3: None };
    part.publish(sent, (&attributes).into()).with_context(|| target.display().to_string())?;
    Ok(Some(size))
}
