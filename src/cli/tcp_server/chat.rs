//! What an operator decides about the chat.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::chat::fanout::SlowPolicy;
use crate::chat::history::{History, HistoryLimits};
use crate::chat::hub::HubOptions;
use crate::chat::store::Store;
use crate::cli::args::{duration, size};
use crate::cli::usage::usage;
use crate::fs::root::Root;

/// Smallest history: it is divided into eight files, and each holds some messages.
const HISTORY_SIZE_MIN: u64 = 1024 * 1024;

/// The chat.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Chat")]
pub(super) struct ChatArgs {
    /// Keep messages in this directory across restarts [default: while a room has members]
    #[arg(long, env = "LANDLINE_HISTORY", value_name = "DIR")]
    history: Option<PathBuf>,
    /// Bytes of the history; the oldest messages go first
    #[arg(long, env = "LANDLINE_HISTORY_SIZE", default_value = "64MiB", value_name = "SIZE", value_parser = size)]
    history_size: u64,
    /// Age of messages in the history; 0: no limit
    #[arg(long, env = "LANDLINE_HISTORY_AGE", default_value = "90d", value_name = "DURATION", value_parser = duration)]
    history_age: Duration,
    /// What becomes of a member that reads too slowly: it misses messages and is told how many, or it is disconnected
    #[arg(long, env = "LANDLINE_SLOW", default_value = "drop", value_name = "WHAT")]
    slow: Slow,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Slow {
    Drop,
    Disconnect,
}

impl ChatArgs {
    /// The chat of a server that shows `root`.
    ///
    /// # Errors
    /// The history cannot be read or written, or lies where clients could read it.
    pub(super) fn options(&self, root: &Root) -> anyhow::Result<HubOptions> {
        let slow = match self.slow {
            Slow::Drop => SlowPolicy::Drop,
            Slow::Disconnect => SlowPolicy::Disconnect,
        };
        let store = self.history.as_ref().map(|directory| self.open(directory, root)).transpose()?;
        Ok(HubOptions { slow, store, keeps_rooms: false })
    }

    fn open(&self, directory: &PathBuf, root: &Root) -> anyhow::Result<Arc<dyn Store>> {
        let what = || format!("--history {}", directory.display());
        if self.history_size < HISTORY_SIZE_MIN {
            return Err(usage(format!("--history-size {}: it begins at 1 MiB", self.history_size)));
        }
        std::fs::create_dir_all(directory).with_context(what)?;
        if root.holds(directory).with_context(what)? {
            return Err(usage(format!(
                "{}: lies below the root, where clients could read or remove it; put it elsewhere",
                what()
            )));
        }
        let age = Some(self.history_age).filter(|age| !age.is_zero());
        let history = History::open(directory, HistoryLimits { len: self.history_size, age }).with_context(what)?;
        Ok(Arc::new(history))
    }
}
