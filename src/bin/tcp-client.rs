//! See `landline::cli::tcp_client`.

use std::process::ExitCode;

use clap::Parser as _;
use landline::cli::{self, tcp_client};

fn main() -> ExitCode {
    let args = tcp_client::Args::parse();
    cli::run(tcp_client::PROGRAM, || tcp_client::main(&args))
}
