//! Runs a command on another machine.

use std::process::ExitCode;

use landline::cli::{program, rexec};

fn main() -> ExitCode {
    match rexec::Args::from_command_line(std::env::args_os()) {
        Ok(args) => program::run_beside_a_command(rexec::PROGRAM, || rexec::main(&args)),
        Err(error) => rexec::refuse_usage(&error),
    }
}
