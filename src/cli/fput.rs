//! `fput`: upload files and trees.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use clap::Parser;

use super::args::{ConnectArgs, OutputArgs};
use super::exit::usage;
use super::remote::{Between, Remote, ToRemote};
use super::signals::Interruption;
use super::transfer::{CopyArgs, GO_ON, Reporter, Show, TransferEnd, with_retries};
use super::{Exit, connect, connections, standard};
use crate::files::{Upload, call_put};
use crate::trees::relay::relay;
use crate::trees::shard::Shard;
use crate::trees::walk::{Named, Walk, WalkOptions};
use crate::trees::{PathText, Pull, Push, TreeUpload, call_push, glob};
use crate::wire::message::Attributes;

/// The program's name, in messages.
pub const PROGRAM: &str = "fput";

/// Upload files and trees, verified, never half, and going on where it was interrupted
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES, override_usage = "fput [OPTIONS] FILE... HOST:PATH\n       fput --list-parts HOST:DIR")]
pub struct Args {
    /// Files to send, here or HOST:PATH, and last HOST:PATH where to: a file or a directory there; an empty PATH is
    /// its root; several go to each
    #[arg(required = true, num_args = 1.., value_name = "FILE")]
    pub paths: Vec<OsString>,
    /// List what interrupted uploads of yours have left below HOST:DIR, and send nothing
    #[arg(long)]
    list_parts: bool,
    /// The same, and remove what no transfer is writing to
    #[arg(long)]
    clean_parts: bool,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    reach: ConnectArgs,
    #[command(flatten)]
    talk: OutputArgs,
    #[command(flatten)]
    show: Show,
}

const EXAMPLES: &str = "\
Examples:
  fput notes.txt build:                    into the server's root
  fput notes.txt build:docs/old.txt        under another name
  fput *.log build:logs/                   several, into a directory
  fput -r site build:www                   a tree: www/site; again: only what has changed
  fput -r site/ build:www                  what is in it: www/...
  pg_dump db | fput - build:dump.sql       from standard input
  fput -r site web1:www web2:www web3:www  to several machines at once
  fput -r build:site spare:www             from another machine, through this one
  fput --list-parts build:                 what interrupted uploads have left there
  fput notes.txt tls://build:7000/docs/    to another port";

/// Uploads what `args` say.
///
/// # Errors
/// Wrong usage, or standard output is closed; what happens to a file is told and counted.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    args.copy.selection()?;
    let (files, remotes) = files_and_remotes(&args.paths)?;
    if args.list_parts || args.clean_parts {
        return match (files, &remotes[..]) {
            ([], [remote]) => super::unfinished::main(PROGRAM, remote, args.clean_parts, (&args.reach, &args.talk)),
            _ => Err(usage("--list-parts and --clean-parts take one HOST:DIR, and no files")),
        };
    }
    if files.is_empty() {
        return Err(usage("name a file and HOST:[PATH]"));
    }
    let (remote, teller) = match &remotes[..] {
        [] => return Err(usage("name a file and HOST:[PATH]")),
        [only] => (only, Reporter::new(PROGRAM, &args.talk, &args.show).in_a_dry_run(args.copy.dry_run)),
        _ if files.iter().any(|file| file == "-") => {
            return Err(usage("standard input is read once; send it to one machine, and from there to the others"));
        }
        _ => return fan_out(args, files, &remotes),
    };
    if files.iter().any(|file| file == "-") {
        return send_stdin(args, files, remote, teller);
    }
    let sources = files.iter().map(|file| Remote::parse(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let sources: Vec<Remote> = sources.into_iter().flatten().collect();
    if !sources.is_empty() {
        return pass_on(args, &sources, files, remote, teller);
    }
    let interruption = Interruption::watch()?;
    let (teller, ended) = send_to((args, &interruption), files, remote, teller)?;
    Ok(if ended.is_interrupted() { teller.interrupted(GO_ON)? } else { teller.finish()? })
}

/// What is sent, and to whom. With a file of this machine first, all that stand last with a host are targets; otherwise
/// only the last one is, and the others are sources too.
fn files_and_remotes(paths: &[OsString]) -> anyhow::Result<(&[OsString], Vec<Remote>)> {
    if paths.iter().any(|path| path.is_empty()) {
        return Err(usage("an argument is empty, and names nothing; the server's root is HOST:"));
    }
    let parse = |path: &OsString| Remote::parse(path)?.map(Remote::without_port).transpose();
    let all = paths.iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
    let targets = all.iter().rev().take_while(|path| path.is_some()).count();
    if targets == 0 {
        let last = paths.last().map(|last| last.to_string_lossy()).unwrap_or_default();
        let host = if last.contains('/') || last.is_empty() {
            String::new()
        } else {
            format!("; if the machine {last} is meant, write {last}: with its colon")
        };
        return Err(usage(format!("{last}: not a HOST:[PATH]; it comes last{host}. To download, use fget")));
    }
    let targets = if all.first().is_some_and(Option::is_some) { 1 } else { targets };
    let (files, _) = paths.split_at(paths.len() - targets);
    Ok((files, all.into_iter().skip(files.len()).flatten().collect()))
}

/// Sends to one machine, as often as it takes.
fn send_to(
    (args, interruption): (&Args, &Interruption),
    files: &[OsString],
    remote: &Remote,
    mut teller: Reporter,
) -> anyhow::Result<(Reporter, TransferEnd)> {
    let mut names = ToRemote::new(files, remote);
    let attempt = |teller: &mut Reporter| send((args, interruption), files, remote, &mut names, teller);
    let (from, to) = (names_of(files), remote.shown());
    let ended = with_retries(&mut teller, (&args.copy, interruption), (&from, &to), attempt)?;
    Ok((teller, ended))
}

/// Sends to several machines at the same time; none waits for another.
fn fan_out(args: &Args, files: &[OsString], remotes: &[Remote]) -> anyhow::Result<Exit> {
    let interruption = &Interruption::watch()?;
    let to_one = |remote: &Remote| {
        let teller = Reporter::new(PROGRAM, &args.talk, &args.show).in_a_dry_run(args.copy.dry_run);
        let teller = teller.of_host(remote.address.to_string());
        let (teller, ended) = send_to((args, interruption), files, remote, teller)?;
        Ok::<_, anyhow::Error>(teller.finish_host(ended)?)
    };
    let ended: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = remotes.iter().map(|remote| scope.spawn(|| to_one(remote))).collect();
        let broken = |_| Err(anyhow::anyhow!("a thread broke off"));
        running.into_iter().map(|thread| thread.join().unwrap_or_else(broken)).collect()
    });
    let (mut exit, mut hosts) = (Exit::Done, Vec::new());
    for host in ended {
        let (code, summary) = host?;
        exit = if exit == Exit::Done { code } else { exit };
        hosts.extend(summary);
    }
    if interruption.has_come() {
        super::say(PROGRAM, &format!("interrupted; {GO_ON}"));
        exit = Exit::Interrupted;
    }
    if args.talk.json {
        super::put_json(&serde_json::json!({ "hosts": hosts, "exit_code": exit.code() }))?;
    }
    Ok(exit)
}

fn names_of(files: &[OsString]) -> String {
    match files {
        [only] => only.to_string_lossy().into_owned(),
        [first, ..] => format!("{} and {} more", first.to_string_lossy(), files.len() - 1),
        [] => String::new(),
    }
}

/// Sends to one machine.
fn send(
    (args, interruption): (&Args, &Interruption),
    files: &[OsString],
    remote: &Remote,
    names: &mut ToRemote,
    teller: &mut Reporter,
) -> anyhow::Result<()> {
    let CopyArgs { recursive, follow, .. } = args.copy;
    let connections =
        connections::open(PROGRAM, &remote.address, (&args.reach, &args.talk), &args.copy, (interruption, teller));
    let connections = connections.map_err(|error| remote.not_had(error))?;
    let selected = args.copy.selection()?;
    connections::side_by_side(connections, teller, names, &|connection, share, last, watch| {
        let tops = files.iter().map(|file| Named::Own(file.into())).collect();
        let walk = Walk::new(tops, WalkOptions { recursive, follow }, selected.filter.clone());
        let sending = TreeUpload { walk, out: args.copy.out(), share, last };
        let helps = share.is_some_and(Shard::is_help);
        let (single, keeping) = (files.len() == 1, args.copy.keeping());
        let push = Push { single, recursive, helps, keeping, selection: selected.selection.clone() };
        call_push(connection, remote.path.as_bytes(), &push, sending, watch)
    })?;
    teller.selected(&selected);
    Ok(())
}

/// From another machine to a third, through this one.
fn pass_on(
    args: &Args,
    sources: &[Remote],
    files: &[OsString],
    remote: &Remote,
    mut teller: Reporter,
) -> anyhow::Result<Exit> {
    let Some(first) = sources.first().filter(|_| sources.len() == files.len()) else {
        return Err(usage("the sources are either all on this machine, or all on another"));
    };
    if sources.iter().any(|source| source.address != first.address) {
        return Err(usage("the sources are on several machines; send from each by itself"));
    }
    if args.copy.connections > 1 {
        return Err(usage("between two other machines there is one connection to each; leave --connections out"));
    }
    let mut names = Between::new(sources, remote);
    let interruption = Interruption::watch()?;
    let attempt = |teller: &mut Reporter| {
        let CopyArgs { recursive, follow, bwlimit, compress, .. } = args.copy;
        let from = connect::connect(PROGRAM, &first.address, &args.reach, &args.talk);
        let mut from = from.map_err(|error| sources.iter().fold(error, |error, source| source.not_had(error)))?;
        let to = connect::connect(PROGRAM, &remote.address, &args.reach, &args.talk);
        let mut to = to.map_err(|error| remote.not_had(error))?;
        args.copy.limit_stalls(&from)?;
        args.copy.limit_stalls(&to)?;
        let selected = args.copy.selection()?;
        let selection = selected.selection.clone();
        let paths = sources.iter().map(|source| PathText::of(source.path.as_bytes())).collect();
        let pull = Pull { paths, recursive, follow, selection: selection.clone(), bwlimit, compress, share: None };
        let single = matches!(sources, [only] if !glob::is_pattern(only.path.as_bytes()));
        let push = Push { single, recursive, helps: false, keeping: args.copy.keeping(), selection };
        interruption.add(from.control());
        interruption.add(to.control());
        let requests = (&pull, remote.path.as_bytes(), &push);
        relay(&mut from, &mut to, requests, selected.filter.clone(), &mut |event| teller.event(event, &mut names))?;
        teller.selected(&selected);
        from.close();
        to.close();
        Ok(())
    };
    let shown = (names_of(files), remote.shown());
    if with_retries(&mut teller, (&args.copy, &interruption), (&shown.0, &shown.1), attempt)?.is_interrupted() {
        return Ok(teller.interrupted(GO_ON)?);
    }
    Ok(teller.finish()?)
}

/// Standard input as a file: of a size that nobody knows, and not resumed.
fn send_stdin(args: &Args, files: &[OsString], remote: &Remote, mut teller: Reporter) -> anyhow::Result<Exit> {
    let [only] = files else { return Err(usage("standard input goes alone")) };
    if args.copy.recursive || args.copy.dry_run {
        return Err(usage("standard input is one file, which is read once"));
    }
    args.copy.check_for_a_pipe()?;
    if remote.path.is_empty() || remote.path.as_bytes().ends_with(b"/") {
        return Err(usage("what is the file to be called? write HOST:PATH"));
    }
    super::closed::check_input()?;
    let from = only.to_string_lossy();
    let put = connect::connect(PROGRAM, &remote.address, &args.reach, &args.talk).and_then(|mut connection| {
        // Its own input may take its time: the server's silence counts while something is sent.
        args.copy.limit_stalls(&connection)?;
        let attributes = Attributes { size: 0, mtime_ns: None, mode: None };
        let (path, name) = (remote.path.as_bytes(), OsStr::new(""));
        let source = args.copy.paced(standard::input());
        let upload = Upload { source, shown: &from, attributes, path, name };
        let mut bytes = 0;
        let interruption = Interruption::watch()?;
        interruption.add(connection.control());
        let put = call_put(&mut connection, upload, &mut |sent| {
            bytes = sent;
            Ok(())
        });
        if interruption.has_come() && put.is_err() {
            return Ok(None);
        }
        let there = put?;
        connection.close();
        Ok(Some((there, bytes)))
    });
    match put {
        Ok(Some((there, bytes))) => {
            let there = super::remote::shown(&remote.address, &String::from_utf8_lossy(&there));
            teller.done_alone(&from, &there, bytes)?;
        }
        Ok(None) => return Ok(teller.interrupted("nothing half is left behind")?),
        Err(error) => teller.failed(&from, &remote.shown(), &error)?,
    }
    Ok(teller.finish()?)
}
