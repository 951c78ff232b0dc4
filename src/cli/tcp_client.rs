//! `tcp-client`: one prompt over one session, for a person or for a script.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::args::{ConnectArgs, OutputArgs, duration, size};
use super::chat::Chat;
use super::exit::usage;
use super::shell::Shell;
use super::{Exit, chat, connect, echo, home, pair, tell, tutorial};
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
    command: Option<Command>,
    #[command(flatten)]
    prompt: PromptArgs,
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
struct PromptArgs {
    /// HOST, HOST:PORT, [::1]:7000 or unix:/path
    #[arg(value_name = "HOST")]
    host: Option<Address>,
    /// Print the names that stand for a machine here, one a line: what completion offers
    #[arg(long, exclusive = true)]
    known_hosts: bool,
    #[command(flatten)]
    reach: ConnectArgs,
    #[command(flatten)]
    talk: OutputArgs,
    #[command(flatten)]
    bare: TutorialArgs,
}

/// How to talk to one of the tutorials' servers.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The tutorials' wires")]
pub struct TutorialArgs {
    /// Send each line as a bare request to one of the tutorials' servers: raw, len, json, ack
    #[arg(long, env = "LANDLINE_WIRE", value_name = "WIRE")]
    pub wire: Option<Wire>,
    /// What characters the bytes are, both ways: utf-8, gbk, ...
    #[arg(long, env = "LANDLINE_ENCODING", value_name = "LABEL", default_value = "utf-8")]
    pub encoding: Encoding,
    /// Wait for no reply: the server only prints
    #[arg(long, requires = "wire")]
    pub no_reply: bool,
    /// At the end, shut down the sending half and wait for the server's last word
    #[arg(long, requires = "wire")]
    pub bye: bool,
    /// How long to wait for a reply
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = duration, requires = "wire")]
    pub timeout: Duration,
    /// On raw: silence that ends a reply
    #[arg(long, default_value = "200ms", value_name = "DURATION", value_parser = duration, requires = "wire")]
    pub idle: Duration,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure a connection: round trips of SIZE bytes, every byte checked
    Echo {
        /// HOST, HOST:PORT, [::1]:7000 or unix:/path
        host: Address,
        /// Round trips to make
        #[arg(short, long, default_value_t = 1000, value_name = "N")]
        count: u32,
        /// Bytes of each; over 4 MiB they are streamed
        #[arg(short, long, default_value = "64", value_name = "SIZE", value_parser = size)]
        size: u64,
        #[command(flatten)]
        reach: ConnectArgs,
        #[command(flatten)]
        talk: OutputArgs,
    },
    /// Introduce this machine to a server, with the code that tcp-server pair shows there
    Pair {
        /// HOST, HOST:PORT or [::1]:7000
        host: Address,
        /// What to call the server here [default: HOST]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        reach: ConnectArgs,
        #[command(flatten)]
        talk: OutputArgs,
    },
    /// Talk in a room
    Chat {
        /// HOST, HOST:PORT, [::1]:7000 or unix:/path
        host: Address,
        /// The room; it is there while anybody is in it
        #[arg(short, long, env = "LANDLINE_ROOM", default_value = chat::ROOM_DEFAULT)]
        room: String,
        /// What to be called [default: your user name]
        #[arg(short, long, env = "LANDLINE_NICK")]
        nick: Option<String>,
        #[command(flatten)]
        reach: ConnectArgs,
        #[command(flatten)]
        talk: OutputArgs,
    },
}

const EXAMPLES: &str = "\
Examples:
  tcp-client localhost                    a prompt; type help there
  tcp-client pair build                   get to know a machine, once; asks for its code
  tcp-client chat localhost --nick ann    straight into a room
  tcp-client echo localhost --size 1MiB   what the connection is worth
  printf 'cd src\\nls -l\\n' | tcp-client localhost
                                          a script; exit code of the first failure
  tcp-client --wire raw localhost:9001    a tutorial's server (a host called echo or chat: echo:5263)
LANDLINE_HOME names the directory of this user's key, known peers and config.toml [default: landline, where your
platform keeps configuration].";

/// Does what `args` say.
///
/// # Errors
/// Wrong usage, no connection, connection lost; at the prompt a refusal is told and the next line is read.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Some(Command::Pair { host, name, reach, talk }) => pair::introduce(host, name.as_deref(), reach, talk),
        Some(Command::Echo { host, count, size, reach, talk }) => {
            if *count == 0 {
                return Err(usage("--count 0 measures nothing"));
            }
            let mut connection = connect::connect(PROGRAM, host, reach, talk)?;
            echo::run(&mut connection, *count, *size, talk.json)?;
            connection.close();
            Ok(Exit::Done)
        }
        Some(Command::Chat { host, room, nick, reach, talk }) => {
            let mut connection = connect::connect(PROGRAM, host, reach, talk)?;
            let nick = nick.clone().unwrap_or_else(chat::default_nick);
            let exit = Chat::new(room, &nick, talk.json)?.run(&mut connection)?;
            connection.close();
            Ok(exit)
        }
        None => {
            let PromptArgs { host, known_hosts, reach, talk, bare } = &args.prompt;
            if *known_hosts {
                let names = home::existing()?.map(|home| crate::client::known_names(&home)).unwrap_or_default();
                if !names.is_empty() {
                    tell(&format!("{}\n", names.join("\n")))?;
                }
                return Ok(Exit::Done);
            }
            let host = host.as_ref().ok_or_else(|| usage("name a HOST, for example: tcp-client localhost"))?;
            if let Some(wire) = bare.wire {
                return tutorial::run(&|| connect::stream(PROGRAM, host, reach, talk), host, wire, bare);
            }
            let (to, reach, said) = (host.clone(), reach.clone(), talk.clone());
            let open = Box::new(move || connect::connect(PROGRAM, &to, &reach, &said));
            Shell::new(open, host, talk)?.run()
        }
    }
}
