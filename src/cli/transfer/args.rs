//! The options that `fget` and `fput` share: what is copied, how, and how it is shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cli::args::{duration, one_of, rate, size};
use crate::cli::progress::When;
use crate::cli::transfer::pace::Paced;
use crate::cli::usage::usage;
use crate::connection::Connection;
use crate::error::Error;
use crate::text::without_bom;
use crate::trees::WriteOptions;
use crate::trees::data::DataOptions;
use crate::trees::delta::Delta;
use crate::trees::filter::{Chosen, Filter, Selection};
use crate::trees::pack::Compress;
use crate::trees::shard::CONNECTIONS_MAX;

/// What is copied, and how.
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line, each on its own")]
#[derive(Debug, Clone, Args)]
pub struct CopyArgs {
    /// Copy directories with all that is in them; with a slash behind its name, only what is in it
    #[arg(short, long)]
    pub recursive: bool,
    /// Follow symlinks: copy what they point to, if that is in the tree
    #[arg(long)]
    pub follow: bool,
    /// Do not keep modes and modification times
    #[arg(long)]
    pub no_preserve: bool,
    /// Do not sync files to disk: faster, but a power cut may lose some
    #[arg(long, env = "LANDLINE_NO_SYNC")]
    pub no_sync: bool,
    /// Start files from the beginning, even if an earlier attempt left a part
    #[arg(long)]
    pub no_resume: bool,
    /// Compare files by content, not by size and modification time
    #[arg(long)]
    pub checksum: bool,
    /// When to send only the changes of a file; auto: over a network that is not very fast
    #[arg(long, env = "LANDLINE_DELTA", default_value = "auto", value_name = "WHEN",
          value_parser = one_of(&[("auto", Delta::Auto), ("always", Delta::Always), ("never", Delta::Never)]))]
    pub delta: Delta,
    /// How to compress what is sent; auto: where that is faster
    #[arg(long, env = "LANDLINE_COMPRESS", default_value = "auto", value_name = "HOW",
          value_parser = one_of(&[("auto", Compress::Auto), ("zstd", Compress::Zstd), ("none", Compress::None)]))]
    pub compress: Compress,
    /// Leave out what matches PATTERN, written as in a .gitignore; may be given several times; wins over --include
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Copy only what matches PATTERN, written as in a .gitignore; may be given several times; DIR/ is all below it
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Leave out what matches a line of FILE
    #[arg(long, value_name = "FILE")]
    pub exclude_from: Vec<PathBuf>,
    /// Leave out files larger than SIZE
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Remove from DEST what the source does not have; not after a failure, and not more than half of what is there
    #[arg(long, requires = "recursive")]
    pub delete: bool,
    /// With --delete: also remove more than half
    #[arg(long, requires = "delete")]
    pub force: bool,
    /// Limit in bytes a second, counted after compression
    #[arg(long, env = "LANDLINE_BWLIMIT", value_name = "SIZE", value_parser = rate)]
    pub bwlimit: Option<u64>,
    /// Number of connections to use for a tree, with -r: over a long distance several carry more than one; not with
    /// --delete
    #[arg(long, env = "LANDLINE_CONNECTIONS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub connections: u32,
    /// Time without a byte in either direction after which the connection counts as lost; 0: no limit
    #[arg(long, env = "LANDLINE_STALL_TIMEOUT", value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub stall_timeout: Duration,
    /// When the connection is lost, connect again and go on; give up after this time without success [alone: 10m]
    #[arg(long, env = "LANDLINE_RETRY", value_name = "DURATION", value_parser = duration,
          num_args = 0..=1, require_equals = true, default_missing_value = "10m")]
    pub retry: Option<Duration>,
}

impl CopyArgs {
    /// How the receiver writes.
    pub const fn write_options(&self) -> WriteOptions {
        WriteOptions {
            preserve: !self.no_preserve,
            sync: !self.no_sync,
            resume: !self.no_resume,
            checksum: self.checksum,
            delta: self.delta,
            dry_run: self.dry_run,
            delete: self.delete,
            force: self.force,
        }
    }

    /// How the sender sends over one connection.
    pub fn data_options(&self) -> DataOptions {
        let connections = self.connections().try_into().unwrap_or(1);
        DataOptions { bwlimit: self.bwlimit.map(|all| all / connections), compress: self.compress }
    }

    /// A pipe, at the rate of `--bwlimit`.
    pub fn paced<P>(&self, inner: P) -> Paced<P> {
        Paced::new(inner, self.bwlimit)
    }

    /// A pipe has no second attempt, and its bytes go as they are.
    ///
    /// # Errors
    /// The options request a second attempt or compression.
    pub fn check_for_a_pipe(&self) -> anyhow::Result<()> {
        if self.compress == Compress::Zstd {
            return Err(usage(
                "what goes through a pipe is not compressed; leave --compress out, or pipe through zstd",
            ));
        }
        if self.retry.is_some() {
            return Err(usage("what went through a pipe cannot be asked for again; leave --retry out"));
        }
        Ok(())
    }

    /// Whether a file of `size` bytes may come.
    ///
    /// # Errors
    /// It is larger than `--max-size`.
    pub fn check_size(&self, size: u64) -> crate::error::Result<()> {
        match self.max_size {
            Some(max) if size > max => {
                let text = format!("{size} bytes or more, over --max-size");
                Err(Error::ours("the file")(std::io::Error::other(text)))
            }
            _ => Ok(()),
        }
    }

    /// Sets how long nothing may move on a new connection.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn limit_stalls(&self, connection: &Connection) -> anyhow::Result<()> {
        let limit = (!self.stall_timeout.is_zero()).then_some(self.stall_timeout);
        Ok(connection.set_stall(limit).map_err(Error::from)?)
    }

    /// Number of connections to open.
    pub fn connections(&self) -> usize {
        // A failure on one connection is not known on another, where something might be removed.
        let is_one = !self.recursive || self.dry_run || self.delete;
        if is_one { 1 } else { usize::try_from(self.connections).unwrap_or(1) }
    }

    /// The selected part of a tree: what an --include matches, if there is one, and no --exclude leaves out.
    ///
    /// # Errors
    /// A file of patterns cannot be read, or a pattern is malformed.
    pub fn selection(&self) -> anyhow::Result<Selected> {
        let mut exclude = Vec::new();
        for file in &self.exclude_from {
            let text = std::fs::read(file).and_then(|bytes| std::io::read_to_string(without_bom(&bytes)));
            let text = text.map_err(Error::ours(file.display().to_string()))?;
            exclude.extend(text.lines().map(str::to_owned));
        }
        exclude.extend(self.exclude.iter().cloned());
        let selection = Selection { exclude, include: self.include.clone(), max_size: self.max_size };
        let filter = Filter::new(&selection).map_err(|why| usage(why.message))?;
        let chosen = Arc::new(Chosen::of(&selection).map_err(|why| usage(why.message))?);
        Ok(Selected { filter: filter.telling(&chosen), selection, chosen })
    }
}

/// The selected part of a tree.
#[derive(Debug, Clone)]
pub struct Selected {
    /// For the request.
    pub selection: Selection,
    /// For the files here; it records what it has selected.
    pub filter: Filter,
    pub(super) chosen: Arc<Chosen>,
}

/// How transfers are shown.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Print one JSON event a line as it happens: start, again, done, failed, skipped, summary
    #[arg(long, conflicts_with = "json")]
    pub json_stream: bool,
    /// When to show progress
    #[arg(long, env = "LANDLINE_PROGRESS", default_value = "auto", value_name = "WHEN")]
    pub progress: When,
}
