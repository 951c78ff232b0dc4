//! `udp-echo`: datagrams sent, answered, measured and talked with.

use std::process::ExitCode;

use clap::Parser as _;
use landline::cli::{program, udp_echo};

fn main() -> ExitCode {
    match udp_echo::Args::try_parse() {
        Ok(args) => program::run(udp_echo::PROGRAM, || udp_echo::main(args)),
        Err(error) => program::refuse_usage(&error).into(),
    }
}
