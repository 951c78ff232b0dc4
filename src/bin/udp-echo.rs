//! `udp-echo`: datagrams sent, answered, measured and talked with.

use std::process::ExitCode;

use clap::Parser as _;
use landline::cli::{self, udp_echo};

fn main() -> ExitCode {
    let args = udp_echo::Args::parse();
    cli::run("udp-echo", || udp_echo::main(args))
}
