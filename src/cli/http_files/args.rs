//! The command line of `http-files`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::cli::args::duration;
use crate::cli::serving::ServingArgs;
use crate::cli::share::ShareArgs;
use crate::cli::web::WebArgs;
use crate::net::Address;

/// The program's name, in messages.
pub const PROGRAM: &str = "http-files";

/// The port where --bind names none: what python -m http.server takes.
const PORT_DEFAULT: u16 = 8000;

/// Serve a directory to browsers, curl and other programs
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
pub struct Args {
    /// Directory to serve; requests reach nothing outside it
    #[arg(value_name = "DIR", default_value = ".")]
    pub(super) dir: PathBuf,
    /// Address to listen on, repeatable: HOST:PORT, `[::1]:0`, unix:/path; port 0 takes any free one
    /// [default: 127.0.0.1 and ::1; all addresses with --share]
    #[arg(short, long, env = "LANDLINE_HTTP_BIND", value_name = "ADDRESS", value_delimiter = ',')]
    pub(super) bind: Vec<Address>,
    /// Port where --bind names none
    #[arg(short, long, env = "LANDLINE_HTTP_PORT", default_value_t = PORT_DEFAULT, value_name = "PORT")]
    pub(super) port: u16,
    /// Show the directory only to clients that sign in: print a token, and call it NAME in the log
    #[arg(long, value_name = "NAME", conflicts_with = "auth_file")]
    pub(super) auth: Option<String>,
    /// Show the directory only to clients that sign in with the first line of FILE: at least 16 characters
    #[arg(long, value_name = "FILE")]
    pub(super) auth_file: Option<PathBuf>,
    /// Offer a chat beside the files, to everyone who may come in
    #[arg(long)]
    pub(super) chat: bool,
    /// Print a link, and its QR code, that lets a browser in; guests get nothing. Listens on all addresses of this
    /// machine, unless --bind says otherwise
    #[arg(long)]
    pub(super) share: bool,
    #[command(flatten)]
    pub(super) link: ShareArgs,
    /// Allow uploads by everyone, or tokens without TLS, on an address that other machines can reach
    #[arg(long)]
    pub(super) insecure: bool,
    /// In your home directory, also serve names that begin with a dot, with --hidden
    #[arg(long, requires = "hidden")]
    pub(super) hidden_home: bool,
    #[command(flatten)]
    pub(super) web: WebArgs,
    /// Number of connections at the same time [default: from this machine's limits]
    #[arg(long, env = "LANDLINE_MAX_CONNECTIONS", value_name = "N")]
    pub(super) max_connections: Option<usize>,
    /// Number of connections from one address at the same time
    #[arg(long, env = "LANDLINE_MAX_PER_ADDRESS", default_value_t = 1024, value_name = "N")]
    pub(super) max_per_address: usize,
    /// Time to keep an unfinished upload that is not resumed; 0: no limit
    #[arg(long, env = "LANDLINE_PART_TTL", default_value = "7d", value_name = "DURATION", value_parser = duration)]
    pub(super) part_ttl: Duration,
    /// Write an audit log to this file, one JSON object a line
    #[arg(long, env = "LANDLINE_AUDIT", value_name = "FILE")]
    pub(super) audit: Option<PathBuf>,
    #[command(flatten)]
    pub(super) serving: ServingArgs,
}

const EXAMPLES: &str = "\
Examples:
  http-files                                    this directory, for this machine
  http-files --share photos                     a link and its QR code, for one phone, for a day
  http-files --share --upload --uses 5 --expires 2h
                                                for five, to look and to upload, for two hours
  http-files --share --upload --chat --uses 5   for five, who talk about the files, too
  http-files dist --bind 0.0.0.0                read-only, for everyone on the network
  http-files --upload --auth phone --tls --bind 0.0.0.0
                                                uploads too, for those who have the token that it prints
  http-files --drop-box --bind 0.0.0.0 --insecure inbox
                                                uploads only, from everyone on the network
  curl -T notes.txt http://localhost:8000/      an upload
LANDLINE_HOME names the directory of this user's key, known peers and tokens
[default: landline, where your platform keeps configuration].";
