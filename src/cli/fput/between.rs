//! From another machine to a third, through this one.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use super::args::Args;
use crate::cli::exit::Exit;
use crate::cli::signals::Interruption;
use crate::cli::transfer::args::CopyArgs;
use crate::cli::transfer::names::{Between, names_together, not_connected};
use crate::cli::transfer::outcome::GO_ON;
use crate::cli::transfer::reporter::Reporter;
use crate::cli::transfer::retries::{Ends, with_retries};
use crate::cli::usage::usage;
use crate::remote::Remote;
use crate::trees::relay::relay;
use crate::trees::{PathText, Pull, Push, glob};

/// From another machine to a third, through this one.
pub(super) fn pass_on(
    args: &Args,
    sources: &[Remote],
    files: &[OsString],
    remote: &Remote,
    mut reporter: Reporter,
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
    let run = args.run(&interruption);
    let attempt = |reporter: &mut Reporter| {
        let CopyArgs { recursive, follow, bwlimit, compress, .. } = args.copy;
        let from = run.open(&first.address);
        let mut from =
            from.map_err(|error| sources.iter().fold(error, |error, source| not_connected(source, error)))?;
        let mut to = run.open(&remote.address).map_err(|error| not_connected(remote, error))?;
        let selected = args.copy.selection()?;
        let selection = selected.selection.clone();
        let paths = sources.iter().map(|source| PathText::of(source.path.as_bytes())).collect();
        let pull = Pull { paths, recursive, follow, selection: selection.clone(), bwlimit, compress, shard: None };
        let single = matches!(sources, [only] if !glob::is_pattern(only.path.as_bytes()));
        let push = Push { single, recursive, is_secondary: false, options: args.copy.write_options(), selection };
        let requests = (&pull, remote.path.as_bytes(), &push);
        relay(&mut from, &mut to, requests, selected.filter.clone(), &mut |event| reporter.event(event, &mut names))?;
        reporter.selected(&selected);
        from.close();
        to.close();
        Ok(())
    };
    let ends = Ends { from: names_together(sources, Remote::shown), to: remote.shown() };
    if with_retries(&run, &ends, &mut reporter, attempt)?.is_interrupted() {
        return Ok(reporter.interrupted(GO_ON)?);
    }
    Ok(reporter.finish()?)
}
