//! `fget HOST:PATH -`: one file to standard output.

use std::os::unix::ffi::OsStrExt as _;

use super::args::{Args, PROGRAM};
use crate::cli::exit::Exit;
use crate::cli::output::is_closed_stdout;
use crate::cli::transfer::pace::Paced;
use crate::cli::transfer::reporter::Reporter;
use crate::cli::usage::usage;
use crate::cli::{closed, connect, standard};
use crate::error::Error;
use crate::files::{DownloadSink, call_get};
use crate::fs::digest::Digest;
use crate::remote::Remote;
use crate::wire::message::{Attributes, Total};

/// One file to standard output. Its bytes are out before its digest is known: who reads them looks at the exit code.
pub(super) fn fetch_to_stdout(args: &Args, source: &Remote, mut reporter: Reporter) -> anyhow::Result<Exit> {
    if args.output.json || args.report.json_stream || args.copy.recursive || args.copy.dry_run || args.wire.is_some() {
        return Err(usage("standard output takes one file, and nothing else"));
    }
    args.copy.check_for_a_pipe()?;
    closed::check_output()?;
    let got = connect::connect(PROGRAM, &source.address, &args.connect, &args.output).and_then(|mut connection| {
        args.copy.limit_stalls(&connection)?;
        let sink = args.copy.paced(Stdout(Digest::plain()));
        let arrive = |attributes: &Attributes| args.copy.check_size(attributes.size).map(|()| sink);
        let got = call_get(&mut connection, source.path.as_bytes(), arrive, &mut |_| Ok(()));
        let bytes = got.map_err(|error| match error {
            Error::Ours { source, .. } => Error::ours(standard::STDOUT)(source),
            other => other,
        })?;
        connection.close();
        Ok(bytes)
    });
    match got {
        Ok(bytes) => reporter.done_alone(&source.shown(), "-", bytes)?,
        Err(error) if is_closed_stdout(&error) => return Err(error),
        Err(error) => reporter.failed(&source.shown(), "-", &error)?,
    }
    Ok(reporter.finish()?)
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
