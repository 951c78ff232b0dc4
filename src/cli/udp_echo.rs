//! `udp-echo`: datagrams sent, answered, measured and talked with. This file is its command line;
//! what each subcommand does is in the file of its name.

mod chat;
mod input;
mod ping;
mod send;
mod serve;
mod signals;

use std::time::Duration;

use anyhow::Result;
use clap::{Args as ArgGroup, Parser, Subcommand};

use super::{Exit, args, say};
use crate::net::Address;
use crate::udp::{ClientError, Codec, UdpClient};

const PROGRAM: &str = "udp-echo";

/// Datagram echo server and client: every datagram is a message of its own
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  udp-echo serve                              answer on 127.0.0.1 and [::1], port 5263
  udp-echo send localhost hello               send one datagram and print the reply
  udp-echo ping localhost --count 5           round-trip times and losses
  udp-echo chat --bind 127.0.0.1:7001 127.0.0.1:7002

Exit codes: 0 done; 1 no reply, or it failed; 2 wrong usage; 3 nobody is there; 130 Ctrl-C.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer every datagram, or only show it
    Serve(serve::Serve),
    /// Send datagrams and print the replies
    Send(send::Send),
    /// Measure round-trip times and count what is lost
    Ping(ping::Ping),
    /// Talk with another terminal, both ways at once
    Chat(chat::Chat),
}

/// Whom to ask.
#[derive(Debug, Clone, ArgGroup)]
struct UdpConnectArgs {
    #[arg(value_name = "HOST", help = "HOST, HOST:PORT, [::1]:7000, unix:/path, or a name from config.toml")]
    host: Address,
    /// Port to use where HOST names none
    #[arg(short, long, env = "LANDLINE_PORT", default_value_t = args::DEFAULT_PORT, value_name = "PORT")]
    port: u16,
}

impl UdpConnectArgs {
    /// Whom a name from `config.toml` or of a known peer means.
    fn address(&self) -> Result<Address> {
        super::connect::address(&self.host, self.port)
    }
}

/// How long to wait for a reply.
#[derive(Debug, Clone, ArgGroup)]
struct WaitArgs {
    /// How long to wait for each reply
    #[arg(long, env = "LANDLINE_UDP_TIMEOUT", default_value = "1s", value_name = "DURATION", value_parser = args::duration)]
    timeout: Duration,
}

/// The characters in datagrams.
#[derive(Debug, Clone, ArgGroup)]
struct Characters {
    /// Encoding of text in datagrams, both ways: utf-8, gbk, big5, euc-kr, utf-16le, ...
    #[arg(long, env = "LANDLINE_ENCODING", default_value_t = Codec::UTF_8, value_name = "LABEL")]
    encoding: Codec,
}

/// Runs `udp-echo`.
///
/// # Errors
/// What the person at the terminal has to be told.
pub fn main(args: Args) -> Result<Exit> {
    match args.command {
        Command::Serve(options) => serve::run(&options),
        Command::Send(options) => send::run(options),
        Command::Ping(options) => ping::run(&options),
        Command::Chat(options) => chat::run(&options),
    }
}

/// What `-v` says first.
fn say_both_ends(client: &UdpClient) {
    let own = client.local().map_or_else(|error| format!("unknown: {error}"), |own| own.to_string());
    say(PROGRAM, &format!("from {own} to {}", client.peer()));
}

/// A client's error: nobody there is an outcome with an exit code of its own.
fn not_asked(error: ClientError) -> Result<Exit> {
    if error.is_not_connected() {
        say(PROGRAM, &format!("{:#}", anyhow::Error::from(error)));
        return Ok(Exit::NotConnected);
    }
    Err(error.into())
}
