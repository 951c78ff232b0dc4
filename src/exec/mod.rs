//! Remote commands: a shell's command string or an exact argv, its three streams apart, and an
//! outcome that cannot be mistaken.
//!
//! ```text
//! client: exec + command, data* (stdin, against credit), eof, signal*, window*, end
//! server: data* (stdout, stderr), credit*, outcome, end
//! ```
//!
//! [`serve`] has the server's half, [`call`] the client's; [`process`] is the only place that starts processes, with
//! an [`environment`] of their own and, where it is wanted, a [`terminal`] with its client's [`modes`]; [`running`]
//! reads what one of them writes, [`rate`] says how fast, [`leftovers`] what becomes of output that outlives its
//! command; a [`tree`] is all that it has started, [`ending`] who ends it when; [`rules`] hold for peers that may not
//! run everything. [`places`] keep a directory between commands, [`jobs`] commands without a client.

pub mod call;
pub mod descendants;
pub mod ending;
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

/// What outlives a connection.
#[derive(Debug, Clone, Copy)]
pub struct ExecState<'s> {
    /// The peers' places.
    pub places: &'s Places,
    /// Their detached commands.
    pub jobs: &'s Arc<Jobs>,
    /// The terminals of commands that run.
    pub terminals: &'s Terminals,
    /// Output that is still held by what their commands have left behind.
    pub leftovers: &'s Arc<Leftovers>,
}

/// Bytes of stdin that a client may send before the server has granted more: one pipe's worth times four.
pub const STDIN_CREDIT: u32 = 256 * 1024;
/// stdout and stderr move in pieces of so many bytes: what a pipe holds.
pub const PIECE_LEN: usize = 64 * 1024;
/// Longest command or argument list, in bytes; Linux takes 2 MiB (execve(2), a quarter of the stack limit).
pub const COMMAND_LEN_MAX: u32 = 2 * 1024 * 1024;
/// Between asking a command to end and killing it, where its client does not say.
pub const KILL_AFTER: Duration = Duration::from_secs(2);
/// After its exit a command's output is passed on until so much time passes without any, where its client does not say.
pub const LINGER: Duration = Duration::from_secs(5);
/// Variables that a client may set.
pub const VARIABLES_MAX: u32 = 1_000;
