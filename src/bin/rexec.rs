//! Runs a command on another machine.

use std::process::ExitCode;

use landline::cli::{self, rexec};

fn main() -> ExitCode {
    match rexec::Args::from_command_line(std::env::args_os()) {
        Ok(args) => cli::run_beside_a_command(rexec::PROGRAM, || rexec::main(&args)),
        Err(error) => cli::refuse_usage_beside_a_command(&error),
    }
}
