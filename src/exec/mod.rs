//! Remote commands: a shell's command string or an exact argv, its three streams apart, and an
//! outcome that cannot be mistaken.
//!
//! ```text
//! client: exec + command, data* (stdin, against credit), eof, signal*, window*, end
//! server: data* (stdout, stderr), credit*, outcome, end
//! ```
//!
//! [`serve`] has the server's half, [`call`] the client's; [`process`] is the only place that starts processes, with an
//! [`environment`] of their own and, where it is wanted, a [`terminal`] with its client's [`modes`]; [`running`] reads
//! what one of them writes, [`rate`] limits how fast, [`leftovers`] takes output that outlives its command;
//! [`descendants`] finds all that it has started, [`ending`] ends it; [`rules`] hold for peers that may not run
//! everything. [`places`] keep a directory between commands, [`jobs`] commands without a client. An [`env_file`] lists
//! variables to send.

pub mod call;
pub mod descendants;
pub mod ending;
pub mod env_file;
pub mod environment;
pub mod jobs;
pub mod leftovers;
pub mod modes;
pub mod places;
pub mod process;
pub mod rate;
pub mod rules;
pub mod running;
pub mod serve;
pub mod terminal;

use std::sync::Arc;
use std::time::Duration;

pub use call::{Call, CommandEnd, OutputSink, call_exec};
pub use serve::{ExecRequest, serve_exec};

use jobs::Jobs;
use leftovers::Leftovers;
use places::Places;
use terminal::Terminals;

/// The state of remote commands that outlives a connection.
#[derive(Debug, Clone, Copy)]
pub struct ExecState<'s> {
    /// The places of all peers.
    pub places: &'s Places,
    /// The detached commands of all peers.
    pub jobs: &'s Arc<Jobs>,
    /// The terminals of the commands that run.
    pub terminals: &'s Terminals,
    /// Outputs that are still held by background processes of commands that have ended.
    pub leftovers: &'s Arc<Leftovers>,
}

/// Bytes of stdin that a client may send before the server has granted more: one pipe's worth times four.
pub const STDIN_CREDIT: u32 = 256 * 1024;
/// Largest piece of stdout and stderr in one message, in bytes: what a pipe holds.
pub const PIECE_LEN: usize = 64 * 1024;
/// Longest command or argument list, in bytes; Linux takes 2 MiB (execve(2), a quarter of the stack limit).
pub const COMMAND_LEN_MAX: u32 = 2 * 1024 * 1024;
/// Time between SIGTERM and SIGKILL when a command is ended, unless its client sets another.
pub const KILL_AFTER: Duration = Duration::from_secs(2);
/// How long a command's output may be silent after its exit before it is no longer passed on, unless its client sets
/// another time.
pub const LINGER: Duration = Duration::from_secs(5);
/// Largest number of variables that a client may set for one command.
pub const VARIABLES_MAX: u32 = 1_000;
