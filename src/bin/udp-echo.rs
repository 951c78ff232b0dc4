//! `udp-echo`: datagrams sent, answered, measured and talked with.

use std::process::ExitCode;

use clap::Parser as _;
use landline::cli::{self, udp_echo};

fn main() -> ExitCode {
    match udp_echo::Args::try_parse() {
        Ok(args) => cli::run("udp-echo", || udp_echo::main(args)),
        Err(error) => cli::refuse_usage(&error).into(),
    }
}
