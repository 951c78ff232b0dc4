//! See `landline::cli::tcp_client`.

use std::process::ExitCode;

use landline::cli::{program, tcp_client};

fn main() -> ExitCode {
    match tcp_client::Args::from_command_line(std::env::args_os()) {
        Ok(args) => program::run(tcp_client::PROGRAM, || tcp_client::main(&args)),
        Err(error) => program::refuse_usage(&error).into(),
    }
}
