//! The arguments that several subcommands of `udp-echo` share.

use std::time::Duration;

use anyhow::Result;
use clap::Args as ArgGroup;

use crate::cli::{args, connect};
use crate::net::Address;
use crate::udp::Codec;

/// The program's name, in messages.
pub const PROGRAM: &str = "udp-echo";

/// The server.
#[derive(Debug, Clone, ArgGroup)]
pub(super) struct UdpConnectArgs {
    #[arg(value_name = "HOST", help = "HOST, HOST:PORT, [::1]:7000, unix:/path, or a name from config.toml")]
    pub(super) host: Address,
    /// Port to use where HOST names none
    #[arg(short, long, env = "LANDLINE_PORT", default_value_t = args::DEFAULT_PORT, value_name = "PORT")]
    pub(super) port: u16,
}

impl UdpConnectArgs {
    /// The address, also of a name from `config.toml` or of a known peer.
    pub(super) fn address(&self) -> Result<Address> {
        connect::address(&self.host, self.port)
    }
}

/// How long to wait for a reply.
#[derive(Debug, Clone, ArgGroup)]
pub(super) struct WaitArgs {
    /// Time to wait for each reply
    #[arg(long, env = "LANDLINE_UDP_TIMEOUT", default_value = "1s", value_name = "DURATION", value_parser = args::duration)]
    pub(super) timeout: Duration,
}

/// The characters in datagrams.
#[derive(Debug, Clone, ArgGroup)]
pub(super) struct Characters {
    /// Encoding of text in datagrams, both ways: utf-8, gbk, big5, euc-kr, utf-16le, ...
    #[arg(long, env = "LANDLINE_ENCODING", default_value_t = Codec::UTF_8, value_name = "LABEL")]
    pub(super) encoding: Codec,
}
