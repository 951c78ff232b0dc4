//! `fput`: upload files and trees.

mod args;
mod between;
mod parts;
mod stdin;

pub use args::{Args, PROGRAM};

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use crate::cli::exit::Exit;
use crate::cli::output::{put_json, say};
use crate::cli::signals::Interruption;
use crate::cli::transfer::args::CopyArgs;
use crate::cli::transfer::names::{ToRemote, names_together, not_connected};
use crate::cli::transfer::outcome::{GO_ON, TransferEnd};
use crate::cli::transfer::reporter::Reporter;
use crate::cli::transfer::retries::{Ends, with_retries};
use crate::cli::transfer::run::TransferRun;
use crate::cli::usage::{as_usage, usage};
use crate::remote::{Remote, RemoteError};
use crate::trees::shard::Shard;
use crate::trees::side_by_side::side_by_side;
use crate::trees::walk::{Named, Walk, WalkOptions};
use crate::trees::{Push, TreeEvent, TreeUpload, call_push};
use between::pass_on;
use stdin::send_stdin;

/// Uploads what `args` say.
///
/// # Errors
/// Wrong usage, or standard output is closed; what happens to a file is told and counted.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    args.copy.selection()?;
    let (files, remotes) = files_and_remotes(&args.paths)?;
    if args.list_parts || args.clean_parts {
        return match (files, &remotes[..]) {
            ([], [remote]) => parts::main(remote, args.clean_parts, &args.connect, &args.output),
            _ => Err(usage("--list-parts and --clean-parts take one HOST:DIR, and no files")),
        };
    }
    if files.is_empty() {
        return Err(usage("name a file and HOST:[PATH]"));
    }
    let (remote, reporter) = match &remotes[..] {
        [] => return Err(usage("name a file and HOST:[PATH]")),
        [only] => (only, Reporter::new(PROGRAM, &args.output, &args.report).in_a_dry_run(args.copy.dry_run)),
        _ if files.iter().any(|file| file == "-") => {
            return Err(usage("standard input is read once; send it to one machine, and from there to the others"));
        }
        _ => return fan_out(args, files, &remotes),
    };
    if files.iter().any(|file| file == "-") {
        return send_stdin(args, files, remote, reporter);
    }
    let sources = files.iter().map(|file| Remote::parse(file)).collect::<Result<Vec<_>, _>>().map_err(as_usage)?;
    let sources: Vec<Remote> = sources.into_iter().flatten().collect();
    if !sources.is_empty() {
        return pass_on(args, &sources, files, remote, reporter);
    }
    let upload = Upload { args, interruption: &Interruption::watch()?, files, remote };
    let (reporter, ended) = upload.run(reporter)?;
    Ok(if ended.is_interrupted() { reporter.interrupted(GO_ON)? } else { reporter.finish()? })
}

/// What is sent, and to whom. With a file of this machine first, all that stand last with a host are targets; otherwise
/// only the last one is, and the others are sources too.
fn files_and_remotes(paths: &[OsString]) -> anyhow::Result<(&[OsString], Vec<Remote>)> {
    if paths.iter().any(|path| path.is_empty()) {
        return Err(usage("an argument is empty, and names nothing; the server's root is HOST:"));
    }
    let parse = |path: &OsString| Remote::parse(path)?.map(Remote::without_port).transpose();
    let all = paths.iter().map(parse).collect::<Result<Vec<_>, RemoteError>>().map_err(as_usage)?;
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

/// Sends to several machines at the same time; none waits for another.
fn fan_out(args: &Args, files: &[OsString], remotes: &[Remote]) -> anyhow::Result<Exit> {
    let interruption = &Interruption::watch()?;
    let to_one = |remote: &Remote| {
        let reporter = Reporter::new(PROGRAM, &args.output, &args.report).in_a_dry_run(args.copy.dry_run);
        let reporter = reporter.of_host(remote.address.to_string());
        let (reporter, ended) = Upload { args, interruption, files, remote }.run(reporter)?;
        Ok::<_, anyhow::Error>(reporter.finish_host(ended)?)
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
        say(PROGRAM, &format!("interrupted; {GO_ON}"));
        exit = Exit::Interrupted;
    }
    if args.output.json {
        put_json(&serde_json::json!({ "hosts": hosts, "exit_code": exit.code() }))?;
    }
    Ok(exit)
}

/// What is sent to one machine.
struct Upload<'u> {
    args: &'u Args,
    interruption: &'u Interruption,
    files: &'u [OsString],
    remote: &'u Remote,
}

impl Upload<'_> {
    /// Sends it, as often as `--retry` allows.
    fn run(&self, mut reporter: Reporter) -> anyhow::Result<(Reporter, TransferEnd)> {
        let run = self.args.run(self.interruption);
        let mut names = ToRemote::new(self.files, self.remote);
        let from = names_together(self.files, |file| file.to_string_lossy().into_owned());
        let ends = Ends { from, to: self.remote.shown() };
        let attempt = |reporter: &mut Reporter| self.send(&run, &mut names, reporter);
        let ended = with_retries(&run, &ends, &mut reporter, attempt)?;
        Ok((reporter, ended))
    }

    /// One attempt.
    fn send(&self, run: &TransferRun<'_>, names: &mut ToRemote, reporter: &mut Reporter) -> anyhow::Result<()> {
        let Self { args, files, remote, .. } = *self;
        let CopyArgs { recursive, follow, .. } = args.copy;
        let connections = run.open_all(&remote.address, reporter);
        let connections = connections.map_err(|error| not_connected(remote, error))?;
        let selected = args.copy.selection()?;
        let mut on_event = |event: TreeEvent<'_>| reporter.event(event, names);
        side_by_side(connections, &mut on_event, &|connection, shard, wait_group, on_event| {
            let tops = files.iter().map(|file| Named::Own(file.into())).collect();
            let walk = Walk::new(tops, WalkOptions { recursive, follow }, selected.filter.clone());
            let sending = TreeUpload { walk, out: args.copy.data_options(), shard, wait_group };
            let is_secondary = shard.is_some_and(Shard::is_secondary);
            let (single, options) = (files.len() == 1, args.copy.write_options());
            let push = Push { single, recursive, is_secondary, options, selection: selected.selection.clone() };
            call_push(connection, remote.path.as_bytes(), &push, sending, on_event)
        })?;
        reporter.selected(&selected);
        Ok(())
    }
}
