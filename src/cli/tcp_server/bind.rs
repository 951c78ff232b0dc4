//! Where `tcp-server` listens.

use crate::cli::args::DEFAULT_PORT;
use crate::net::Address;

/// The program's name, in messages.
pub const PROGRAM: &str = "tcp-server";

/// Where to listen.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Bind {
    /// Address to listen on, repeatable: HOST:PORT, `[::1]:0`, unix:/path; port 0 takes any free one
    /// (default: 127.0.0.1 and ::1; all addresses for pair where no server runs)
    #[arg(short, long, env = "LANDLINE_BIND", value_name = "ADDRESS", value_delimiter = ',')]
    pub(super) bind: Vec<Address>,
    /// Port where --bind names none
    #[arg(short, long, env = "LANDLINE_PORT", default_value_t = DEFAULT_PORT, value_name = "PORT")]
    pub(super) port: u16,
}
