//! The command line of `fget`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Parser;

use crate::cli::args::{ConnectArgs, OutputArgs, duration};
use crate::cli::signals::Interruption;
use crate::cli::transfer::args::{CopyArgs, ReportArgs};
use crate::cli::transfer::run::TransferRun;
use crate::tutorial::codec::Wire;

/// The program's name, in messages.
pub const PROGRAM: &str = "fget";

/// Download files and trees, verified, never half, and going on where it was interrupted
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES, override_usage = "fget [OPTIONS] HOST:PATH... [DEST]")]
pub struct Args {
    /// One or more HOST:PATH to download, with * and ? in quotes, and last the destination: a file or a directory
    /// [default: the current directory]
    #[arg(required = true, value_name = "HOST:PATH")]
    pub paths: Vec<OsString>,
    #[command(flatten)]
    pub(super) copy: CopyArgs,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) report: ReportArgs,
    /// Fetch from one of the tutorials' file servers: size or close
    #[arg(long, env = "LANDLINE_WIRE", value_name = "WIRE", conflicts_with = "recursive")]
    pub(super) wire: Option<Wire>,
    /// With --wire: time to wait for the next bytes
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = duration, requires = "wire")]
    pub(super) timeout: Duration,
}

impl Args {
    /// One run with these arguments.
    pub(super) const fn run<'r>(&'r self, interruption: &'r Interruption) -> TransferRun<'r> {
        let Self { copy, connect, output, .. } = self;
        TransferRun { program: PROGRAM, copy, connect, output, interruption }
    }
}

const EXAMPLES: &str = "\
Examples:
  fget build:notes.txt                     into this directory
  fget build:a.log build:b.log logs/       several, into a directory
  fget 'build:logs/*.gz' logs/             those that match on the server
  fget build:notes.txt copy.txt            under another name
  fget -r build:site .                     a tree: ./site; again: only what has changed
  fget -r build:site/ mirror               what is in it: mirror/...
  fget build:dump.sql - | psql             to standard output
  fget tls://build:7000/notes.txt          from another port
  fget --wire size oldhost:9001:video.mp4  from a tutorial's download server";
