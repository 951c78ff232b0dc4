//! The command line of `fput`.

use std::ffi::OsString;

use clap::Parser;

use crate::cli::args::{ConnectArgs, OutputArgs};
use crate::cli::signals::Interruption;
use crate::cli::transfer::args::{CopyArgs, ReportArgs};
use crate::cli::transfer::run::TransferRun;

/// The program's name, in messages.
pub const PROGRAM: &str = "fput";

/// Upload files and trees, verified, never half, and going on where it was interrupted
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES, override_usage = "fput [OPTIONS] FILE... HOST:PATH\n       fput --list-parts HOST:DIR")]
pub struct Args {
    /// Files to send, of this machine or HOST:PATH, and last the destination HOST:PATH: a file or a directory there; an
    /// empty PATH is the server's root; several destinations get the same files
    #[arg(required = true, num_args = 1.., value_name = "FILE")]
    pub paths: Vec<OsString>,
    /// List what your interrupted uploads have left below HOST:DIR, and send nothing
    #[arg(long)]
    pub(super) list_parts: bool,
    /// Remove what your interrupted uploads have left below HOST:DIR, except what a transfer writes to
    #[arg(long)]
    pub(super) clean_parts: bool,
    #[command(flatten)]
    pub(super) copy: CopyArgs,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) report: ReportArgs,
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
