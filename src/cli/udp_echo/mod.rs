//! `udp-echo`: datagrams sent, answered, measured and talked with. This file is its command line;
//! what each subcommand does is in the file of its name.

mod args;
mod chat;
mod client;
mod demo;
mod input;
mod ping;
mod pmtu;
mod report;
mod screen;
mod send;
mod serve;
mod signals;
mod sweep;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::cli::exit::Exit;
pub use args::PROGRAM;

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
  udp-echo ping localhost --sweep             the highest rate without loss
  udp-echo chat --bind 127.0.0.1:7001 127.0.0.1:7002
  udp-echo demo                               what becomes of datagrams, step by step

Exit codes: 0 done; 1 no reply, or it failed; 2 wrong usage; 3 no server is there; 130 Ctrl-C.";

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
    /// Show what becomes of datagrams: their boundaries, a buffer that is too small, one that is full
    Demo,
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
        Command::Demo => demo::run(),
    }
}
