//! Fetches URLs.

use std::process::ExitCode;

use landline::cli::{foreign_options, http_get, program};

fn main() -> ExitCode {
    match foreign_options::parse_web::<http_get::Args>(http_get::PROGRAM) {
        Ok(args) => program::run(http_get::PROGRAM, || http_get::main(&args)),
        Err(code) => code,
    }
}
