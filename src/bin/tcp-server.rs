//! Serves echo, chat, commands, directories and files on one port.

use std::process::ExitCode;

use clap::Parser as _;
use landline::cli::{program, tcp_server};

fn main() -> ExitCode {
    match tcp_server::Args::try_parse() {
        Ok(args) => program::run(tcp_server::PROGRAM, || tcp_server::main(&args)),
        Err(error) => program::refuse_usage(&error).into(),
    }
}
