//! Serves echo, chat, commands, directories and files on one port.

use std::process::ExitCode;

use clap::Parser as _;
use landline::cli::{self, tcp_server};

fn main() -> ExitCode {
    let args = tcp_server::Args::parse();
    cli::run(tcp_server::PROGRAM, || tcp_server::main(&args))
}
