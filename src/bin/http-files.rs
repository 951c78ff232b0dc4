//! Serves a directory to browsers, curl and other programs.

use std::process::ExitCode;

use clap::Parser as _;
use landline::cli::{http_files, program};

fn main() -> ExitCode {
    match http_files::Args::try_parse() {
        Ok(args) => program::run(http_files::PROGRAM, || http_files::main(&args)),
        Err(error) => program::refuse_usage(&error).into(),
    }
}
