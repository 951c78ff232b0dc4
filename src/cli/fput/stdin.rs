//! `fput - HOST:PATH`: standard input as a file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::args::{Args, PROGRAM};
use crate::cli::exit::Exit;
use crate::cli::signals::Interruption;
use crate::cli::transfer::reporter::Reporter;
use crate::cli::usage::usage;
use crate::cli::{closed, connect, standard};
use crate::files::{Upload, call_put};
use crate::remote::{Remote, shown};
use crate::wire::message::Attributes;

/// Standard input as a file: of unknown size, and not resumed.
pub(super) fn send_stdin(
    args: &Args,
    files: &[OsString],
    remote: &Remote,
    mut reporter: Reporter,
) -> anyhow::Result<Exit> {
    let [only] = files else { return Err(usage("standard input goes alone")) };
    if args.copy.recursive || args.copy.dry_run {
        return Err(usage("standard input is one file, which is read once"));
    }
    args.copy.check_for_a_pipe()?;
    if remote.path.is_empty() || remote.path.as_bytes().ends_with(b"/") {
        return Err(usage("what is the file to be called? write HOST:PATH"));
    }
    closed::check_input()?;
    let from = only.to_string_lossy();
    let put = connect::connect(PROGRAM, &remote.address, &args.connect, &args.output).and_then(|mut connection| {
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
            let there = shown(&remote.address, &String::from_utf8_lossy(&there));
            reporter.done_alone(&from, &there, bytes)?;
        }
        Ok(None) => return Ok(reporter.interrupted("nothing half is left behind")?),
        Err(error) => reporter.failed(&from, &remote.shown(), &error)?,
    }
    Ok(reporter.finish()?)
}
