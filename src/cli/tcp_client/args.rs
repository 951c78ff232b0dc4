//! The command line of `tcp-client`.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::cli::args::{ConnectArgs, OutputArgs, duration};
use crate::cli::tcp_client::chat::args::ChatArgs;
use crate::cli::tcp_client::echo::args::EchoArgs;
use crate::net::Address;
use crate::text::Encoding;
use crate::tutorial::codec::Wire;

/// The program's name, in messages.
pub const PROGRAM: &str = "tcp-client";

/// Talk to a tcp-server: say, chat, look around, run, get, put
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) prompt: PromptArgs,
}

impl Args {
    /// Reads the command line.
    ///
    /// # Errors
    /// Wrong usage, or a request for help.
    pub fn from_command_line(words: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.collect();
        if words.len() != 2 || words.last().is_none_or(|word| word != "--known-hosts") {
            return Self::try_parse_from(words);
        }
        // Completion needs an answer whatever is in the variables: for clap they are options too, which exclude this
        // one.
        let command = Self::command().mut_args(|arg| arg.env(Resettable::Reset));
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }
}

/// The prompt's own arguments.
#[derive(Debug, clap::Args)]
pub(super) struct PromptArgs {
    /// HOST, HOST:PORT, [::1]:7000 or unix:/path
    #[arg(value_name = "HOST")]
    pub(super) host: Option<Address>,
    /// Print the names of the machines that are known here, one a line, for completion
    #[arg(long, exclusive = true)]
    pub(super) known_hosts: bool,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) tutorial: TutorialArgs,
}

/// How to talk to one of the tutorials' servers.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The tutorials' wires")]
pub(super) struct TutorialArgs {
    /// Send each line as a request to one of the tutorials' servers: raw, len, json, ack
    #[arg(long, env = "LANDLINE_WIRE", value_name = "WIRE")]
    pub(super) wire: Option<Wire>,
    /// Encoding of the text, both ways: utf-8, gbk, ...
    #[arg(long, env = "LANDLINE_ENCODING", value_name = "LABEL", default_value = "utf-8")]
    pub(super) encoding: Encoding,
    /// Do not wait for replies: the server only prints
    #[arg(long, requires = "wire")]
    pub(super) no_reply: bool,
    /// At the end, shut down the sending half and print the server's last reply
    #[arg(long, requires = "wire")]
    pub(super) bye: bool,
    /// Time to wait for a reply
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = duration, requires = "wire")]
    pub(super) timeout: Duration,
    /// On raw: silence that ends a reply
    #[arg(long, default_value = "200ms", value_name = "DURATION", value_parser = duration, requires = "wire")]
    pub(super) idle: Duration,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure connections: round-trip times and bytes a second, every byte checked
    Echo(Box<EchoArgs>),
    /// Pair this machine with a server, with the code that tcp-server pair shows there
    Pair {
        /// HOST, HOST:PORT or [::1]:7000
        host: Address,
        /// Name of the server here [default: HOST]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        connect: ConnectArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Talk in rooms
    Chat(Box<ChatArgs>),
}

const EXAMPLES: &str = "\
Examples:
  tcp-client localhost                    a prompt; type help there
  tcp-client pair build                   pair with a machine, once; asks for its code
  tcp-client chat localhost --nick ann    straight into a room
  tcp-client echo localhost --size 1MiB   measure the connection
  printf 'cd src\\nls -l\\n' | tcp-client localhost
                                          a script; exit code of the first failure
  tcp-client --wire raw localhost:9001    a tutorial's server (a host called echo or chat: echo:5263)
LANDLINE_HOME names the directory of this user's key, known peers and config.toml
[default: landline, where your platform keeps configuration].";
