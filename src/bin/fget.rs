//! See `landline::cli::fget`.

use std::process::ExitCode;

use landline::cli::{fget, foreign_options, program};

fn main() -> ExitCode {
    match foreign_options::parse_files::<fget::Args>(fget::PROGRAM) {
        Ok(args) => program::run(fget::PROGRAM, || fget::main(&args)),
        Err(code) => code,
    }
}
