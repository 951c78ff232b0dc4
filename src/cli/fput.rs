//! `fput`: upload files.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Instant;

use clap::Parser;

use super::args::{Reach, Talk};
use super::exit::usage;
use super::remote::Remote;
use super::signals::Interruption;
use super::transfer::{Show, Teller, is_in_step};
use super::{Exit, connect};
use crate::files::{Upload, call_put};
use crate::line::Line;
use crate::wire::Error;
use crate::wire::message::Attributes;

/// The program's name, in messages.
pub const PROGRAM: &str = "fput";

/// Upload files, verified, never half
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES, override_usage = "fput [OPTIONS] FILE... HOST:PATH")]
pub struct Args {
    /// Files to send, and last HOST:PATH where to: a file or a directory there; an empty PATH is its root
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    pub paths: Vec<OsString>,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    talk: Talk,
    #[command(flatten)]
    show: Show,
}

const EXAMPLES: &str = "\
Examples:
  fput notes.txt build:                    into the server's root
  fput notes.txt build:docs/old.txt        under another name
  fput *.log build:logs/                   several, into a directory
  fput notes.txt tcp://build:7000/docs/    to another port";

/// Uploads what `args` say.
///
/// # Errors
/// Wrong usage, no connection, or standard output is closed; what happens to a file is told and counted.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    let Some((last, files)) = args.paths.split_last() else {
        return Err(usage("name a file and HOST:[PATH]"));
    };
    let Some(remote) = Remote::parse(last)? else {
        let last = last.to_string_lossy();
        return Err(usage(format!("{last}: not a HOST:[PATH]; it comes last. To download, use fget")));
    };
    let mut teller = Teller::new(PROGRAM, &args.talk, &args.show);
    let mut line: Option<Line> = None;
    for file in files {
        let path = Path::new(file);
        let to = remote.shown();
        let from = path.to_string_lossy();
        let (source, attributes) = match open(path) {
            Ok(opened) => opened,
            Err(error) => {
                teller.failed(&from, &to, &error.into())?;
                continue;
            }
        };
        let open = match &mut line {
            Some(open) => open,
            closed => match connect::line(PROGRAM, &remote.address, &args.reach, &args.talk) {
                Ok(new) => closed.insert(new),
                Err(error) => {
                    // The same machine would have to be asked for all that is left.
                    teller.failed(&from, &to, &error)?;
                    break;
                }
            },
        };
        // Several files need a directory over there; a slash behind the path says so to the server.
        let target = if files.len() > 1 { as_directory(&remote.path) } else { remote.path.as_bytes().to_vec() };
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let upload = Upload { source, shown: &from, attributes, path: &target, name };
        let started = Instant::now();
        let mut progress = teller.begin(&from, &to, attributes.size)?;
        let mut sent = 0;
        let interruption = Interruption::watch(open.control().clone())?;
        let put = call_put(open, upload, &mut |bytes| {
            sent = bytes;
            progress.at(bytes);
            Ok(())
        });
        progress.clear();
        if interruption.stop() && put.is_err() {
            return Ok(teller.interrupted(&from, &to)?);
        }
        match put {
            Ok(there) => {
                let there = super::remote::shown(&remote.address, &String::from_utf8_lossy(&there));
                teller.done(&from, &there, sent, started.elapsed())?;
            }
            Err(error) => {
                let is_in_step = is_in_step(&error);
                teller.failed(&from, &to, &error.into())?;
                if !is_in_step {
                    line = None;
                }
            }
        }
    }
    if let Some(line) = line {
        line.close();
    }
    Ok(teller.finish()?)
}

fn as_directory(path: &OsStr) -> Vec<u8> {
    let mut path = path.as_bytes().to_vec();
    if !path.ends_with(b"/") && !path.is_empty() {
        path.push(b'/');
    }
    path
}

/// Opens a regular file of this machine.
///
/// # Errors
/// It is missing, unreadable, or no regular file.
pub fn open(path: &Path) -> crate::wire::Result<(File, Attributes)> {
    let ours = || Error::ours(path.to_string_lossy());
    // Without NONBLOCK a fifo would wait for a writer; for a regular file it means nothing.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblock).open(path).map_err(ours())?;
    let metadata = file.metadata().map_err(ours())?;
    if metadata.is_dir() {
        return Err(ours()(std::io::Error::other("is a directory; name its files")));
    }
    if !metadata.is_file() {
        return Err(ours()(std::io::Error::other("is neither a file nor a directory")));
    }
    let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    Ok((file, Attributes { size: metadata.len(), mtime_ns: Some(mtime_ns), mode: Some(metadata.mode() & 0o777) }))
}
