//! `fget`: download files and trees.

mod args;
mod local;
mod stdout;
mod tutorial;

pub use args::{Args, PROGRAM};

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::exit::Exit;
use crate::cli::signals::Interruption;
use crate::cli::standard::Descriptor;
use crate::cli::transfer::args::CopyArgs;
use crate::cli::transfer::names::{FromRemote, names_together, not_connected};
use crate::cli::transfer::outcome::GO_ON;
use crate::cli::transfer::reporter::Reporter;
use crate::cli::transfer::retries::{Ends, with_retries};
use crate::cli::transfer::run::TransferRun;
use crate::cli::usage::{as_usage, usage};
use crate::cli::{home, standard};
use crate::error::Error;
use crate::net::Address;
use crate::remote::Remote;
use crate::trees::data::DataOptions;
use crate::trees::destination::{Destination, Shape};
use crate::trees::first::MeetGroups;
use crate::trees::receiver::TreeReceiver;
use crate::trees::shard::Shard;
use crate::trees::side_by_side::side_by_side;
use crate::trees::{PathText, Pull, TreeEvent, call_pull};
use local::LocalPath;
use stdout::fetch_to_stdout;
use tutorial::fetch_over_wire;

/// Downloads what `args` say.
///
/// # Errors
/// Wrong usage, or standard output is closed; what happens to a file is told and counted.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    let (sources, destination) = sources_and_destination(&args.paths)?;
    let of_wire = |source: Remote| {
        if args.wire.is_some() { Ok(source.with_port_of_wire()) } else { source.without_port().map_err(as_usage) }
    };
    let sources = sources.into_iter().map(of_wire).collect::<anyhow::Result<Vec<_>>>()?;
    let destination = match standard::descriptor(&destination) {
        None => destination,
        Some(Descriptor::Output) => PathBuf::from("-"),
        Some(Descriptor::Other) => {
            let shown = destination.display();
            return Err(usage(format!("{shown}: is an open descriptor, and no file; for standard output write -")));
        }
    };
    let mut reporter = Reporter::new(PROGRAM, &args.output, &args.report).in_a_dry_run(args.copy.dry_run);
    args.copy.selection()?;
    if destination.as_os_str() == "-" {
        let [source] = sources.as_slice() else { return Err(usage("one file at a time goes to standard output")) };
        return fetch_to_stdout(args, source, reporter);
    }
    let destination = LocalPath::new(destination, &sources, args.copy.recursive)?;
    if let Some(wire) = args.wire {
        return fetch_over_wire(args, wire, &sources, &destination, reporter.without_digests());
    }
    let interruption = Interruption::watch()?;
    let run = args.run(&interruption);
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
        let (sources, others) = rest.split_at(same);
        rest = others;
        let download = Download { args, address: &first.address, sources, destination: &destination, groups: &groups };
        let mut names = FromRemote::new(sources, destination.path.clone());
        let attempt = |reporter: &mut Reporter| download.fetch(&run, &mut names, reporter);
        let to = destination.path.to_string_lossy().into_owned();
        let ends = Ends { from: names_together(sources, Remote::shown), to };
        if with_retries(&run, &ends, &mut reporter, attempt)?.is_interrupted() {
            return Ok(reporter.interrupted(GO_ON)?);
        }
        if let Some(groups) = &groups {
            groups.next();
        }
    }
    Ok(reporter.finish()?)
}

/// What is fetched from one machine.
struct Download<'d> {
    args: &'d Args,
    address: &'d Address,
    sources: &'d [Remote],
    destination: &'d LocalPath,
    /// What other machines have too; `None`: there is only this one.
    groups: &'d Option<Arc<MeetGroups>>,
}

impl Download<'_> {
    /// One attempt.
    fn fetch(&self, run: &TransferRun<'_>, names: &mut FromRemote, reporter: &mut Reporter) -> anyhow::Result<()> {
        let Self { args, sources, destination, .. } = *self;
        let connections = run.open_all(self.address, reporter);
        let connections =
            connections.map_err(|error| sources.iter().fold(error, |error, source| not_connected(source, error)))?;
        let CopyArgs { recursive, follow, .. } = args.copy;
        let selected = args.copy.selection()?;
        let (out, parts) = (args.copy.data_options(), home::parts());
        let mut on_event = |event: TreeEvent<'_>| reporter.event(event, names);
        side_by_side(connections, &mut on_event, &|connection, shard, wait_group, on_event| {
            let shape = Shape { goes_into: destination.goes_into, is_made: recursive };
            let local = Destination::of_own(&destination.path, shape, args.copy.write_options());
            let local = local.map_err(Error::ours(destination.path.to_string_lossy()))?;
            let local = local.with_parts(Arc::clone(&parts));
            let filter = selected.filter.clone();
            let receiver = TreeReceiver::new(local, filter).after(wait_group).behind(self.groups.clone());
            let receiver = if shard.is_some_and(Shard::is_secondary) { receiver.secondary() } else { receiver };
            let paths = sources.iter().map(|source| PathText::of(source.path.as_bytes())).collect();
            let DataOptions { bwlimit, compress } = out;
            let selection = selected.selection.clone();
            let pull = Pull { paths, recursive, follow, selection, bwlimit, compress, shard };
            call_pull(connection, &pull, receiver, on_event)
        })?;
        reporter.selected(&selected);
        Ok(())
    }
}

fn sources_and_destination(paths: &[OsString]) -> anyhow::Result<(Vec<Remote>, PathBuf)> {
    let mut sources = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        if path.is_empty() {
            return Err(usage("an argument is empty, and names nothing; for this directory write ."));
        }
        match Remote::parse(path).map_err(as_usage)? {
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
