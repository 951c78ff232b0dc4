//! The command line of `tcp-server`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};

use super::bind::{Bind, PROGRAM};
use super::bus::BusArgs;
use super::chat::ChatArgs;
use super::pair::OfferArgs;
use super::peers::PeersCommand;
use super::share::ShareCommand;
use super::token::TokenCommand;
use super::tutorial::TutorialArgs;
use crate::cli::args::{at_least_one, duration, rate};
use crate::cli::serving::ServingArgs;
use crate::cli::web::WebArgs;
use crate::slots::{CommandCaps, RUNNING_MAX};
use crate::trust::Services;
use crate::trust::policy::Power;

/// Serve echo, chat, remote commands, directories and files on one port
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Pair with another machine: show a code to type there once
    Pair(OfferArgs),
    /// Show, rename, restrict and remove who is known here: machines, links, the browsers that they let in, and tokens
    Peers {
        #[command(subcommand)]
        what: Option<PeersCommand>,
    },
    /// Make, show, restrict and remove tokens alone: secrets for curl, browsers and other programs that speak HTTP
    Token {
        #[command(subcommand)]
        what: Option<TokenCommand>,
    },
    /// Print a link, and its QR code, that lets a browser in to a server that runs and serves HTTP
    Share(ShareCommand),
    /// Print this user's fingerprint, to compare it on another machine
    Identity,
}

/// The server's own arguments.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub(super) bind: Bind,
    /// Directory to serve; file requests reach nothing outside it [default: the current directory]
    #[arg(long, env = "LANDLINE_ROOT", value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// In your home directory, also serve names that begin with a dot: .ssh, .config, shell start-up files
    #[arg(long)]
    pub(super) hidden_home: bool,
    /// Services for guests (clients that are not known here): echo, chat, read, write, exec, or all, none
    #[arg(long, env = "LANDLINE_GUEST", default_value = "none", value_name = "LIST")]
    pub(super) guest: Services,
    /// On an address that other machines can reach, allow guests exec or write, and take tokens without TLS
    #[arg(long)]
    pub(super) insecure: bool,
    /// Number of connections at the same time [default: from this machine's limits]
    #[arg(long, env = "LANDLINE_MAX_CONNECTIONS", value_name = "N")]
    pub(super) max_connections: Option<usize>,
    /// Number of connections from one address at the same time
    #[arg(long, env = "LANDLINE_MAX_PER_ADDRESS", default_value_t = 1024, value_name = "N")]
    pub(super) max_per_address: usize,
    /// Time without a request after which a connection is closed; 0: no limit
    #[arg(long, env = "LANDLINE_IDLE_TIMEOUT", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub(super) idle_timeout: Duration,
    /// Time in which a client takes nothing of what is sent to it, after which the connection is closed; 0: no limit
    #[arg(long, env = "LANDLINE_STALL_TIMEOUT", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub(super) stall_timeout: Duration,
    /// Time to keep an unfinished copy that no transfer resumes; 0: no limit
    #[arg(long, env = "LANDLINE_PART_TTL", default_value = "7d", value_name = "DURATION", value_parser = duration)]
    pub(super) part_ttl: Duration,
    /// Write an audit log to this file, one JSON object a line
    #[arg(long, env = "LANDLINE_AUDIT", value_name = "FILE")]
    pub(super) audit: Option<PathBuf>,
    #[command(flatten)]
    pub(super) serving: ServingArgs,
    #[command(flatten)]
    pub(super) chat: ChatArgs,
    #[command(flatten)]
    pub(super) exec: ExecArgs,
    #[command(flatten)]
    pub(super) bus: BusArgs,
    #[command(flatten)]
    pub(super) tutorial: TutorialArgs,
    /// Also serve HTTP on the same port: the same files, peers and logs, for browsers and curl
    #[arg(long, env = "LANDLINE_HTTP", help_heading = "HTTP")]
    pub(super) http: bool,
    #[command(flatten)]
    pub(super) web: WebArgs,
}

/// What commands may take.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Remote commands")]
pub(super) struct ExecArgs {
    /// Number of commands at the same time; one more is refused
    #[arg(long = "exec-max-running", env = "LANDLINE_EXEC_MAX_RUNNING", default_value_t = RUNNING_MAX, value_name = "N",
          value_parser = at_least_one)]
    pub(super) max_running: usize,
    /// Bytes a second that one command may write, both outputs together; it waits beyond, as for any slow reader
    /// [default: no limit]
    #[arg(long = "exec-output-rate", env = "LANDLINE_EXEC_OUTPUT_RATE", value_name = "SIZE", value_parser = rate)]
    pub(super) output_rate: Option<u64>,
    /// Processes and threads that a command may make: RLIMIT_NPROC, which counts all of this user's, this server's
    /// too, and from which root is exempt; and pids.max, which counts the command's own, where it has a cgroup with
    /// that [default: no limit]
    #[arg(long = "exec-max-processes", env = "LANDLINE_EXEC_MAX_PROCESSES", value_name = "N", value_parser = at_least_one)]
    pub(super) max_processes: Option<usize>,
    /// Serve exec as root to other machines too: without this, a server that runs as root serves it at loopback
    /// addresses and Unix sockets only
    #[arg(long = "exec-as-root")]
    pub(super) as_root: bool,
}

impl ExecArgs {
    pub(super) fn power(&self) -> Power {
        match (rustix::process::geteuid().is_root(), self.as_root) {
            (false, _) => Power::User,
            (true, false) => Power::Root,
            (true, true) => Power::RootForAll,
        }
    }

    pub(super) fn caps(&self) -> CommandCaps {
        CommandCaps {
            running: self.max_running,
            output_rate: self.output_rate,
            processes: self.max_processes.and_then(|most| u64::try_from(most).ok()),
        }
    }
}

impl ServeArgs {
    pub(super) fn root(&self) -> &Path {
        self.root.as_deref().unwrap_or(Path::new("."))
    }
}

const EXAMPLES: &str = "\
Examples:
  tcp-server                                    everything for you on this machine, nothing for others
  tcp-server --bind 0.0.0.0 --root ~/share      reachable from other machines, for those that are known
  tcp-server pair --allow read,write            pair: type the code there at tcp-client pair
  tcp-server peers                              who is known, and what they may do
  tcp-server share photos --expires 2h          a link for a browser, to a server that runs with --http
  tcp-server token add ci --allow read          a token for a program that speaks HTTP
  tcp-server --guest echo,read                  echo and downloads for all clients
  tcp-server --bind unix:/run/user/1000/ll      a Unix socket
  tcp-server --wire json --reply exec --guest exec
                                                for the tutorials' remote command clients
LANDLINE_HOME names the directory of this user's key and known peers
[default: landline, where your platform keeps configuration].";
