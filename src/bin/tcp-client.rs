//! See `landline::cli::tcp_client`.

use std::process::ExitCode;

use landline::cli::{self, tcp_client};

fn main() -> ExitCode {
    match tcp_client::Args::from_command_line(std::env::args_os()) {
        Ok(args) => cli::run(tcp_client::PROGRAM, || tcp_client::main(&args)),
        Err(error) => cli::refuse_usage(&error).into(),
    }
}
