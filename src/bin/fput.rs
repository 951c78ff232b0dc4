//! See `landline::cli::fput`.

use std::process::ExitCode;

use landline::cli::{foreign_options, fput, program};

fn main() -> ExitCode {
    match foreign_options::parse_files::<fput::Args>(fput::PROGRAM) {
        Ok(args) => program::run(fput::PROGRAM, || fput::main(&args)),
        Err(code) => code,
    }
}
