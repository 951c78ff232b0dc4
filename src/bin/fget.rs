//! See `landline::cli::fget`.

use std::process::ExitCode;

use landline::cli::{self, fget, old};

fn main() -> ExitCode {
    match old::parse_files::<fget::Args>(fget::PROGRAM) {
        Ok(args) => cli::run(fget::PROGRAM, || fget::main(&args)),
        Err(code) => code,
    }
}
