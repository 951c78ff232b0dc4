//! See `landline::cli::fput`.

use std::process::ExitCode;

use landline::cli::{self, fput, old};

fn main() -> ExitCode {
    match old::parse_files::<fput::Args>(fput::PROGRAM) {
        Ok(args) => cli::run(fput::PROGRAM, || fput::main(&args)),
        Err(code) => code,
    }
}
