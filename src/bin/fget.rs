//! See `landline::cli::fget`.

use std::process::ExitCode;

use clap::Parser as _;
use landline::cli::{self, fget};

fn main() -> ExitCode {
    let args = fget::Args::parse();
    cli::run(fget::PROGRAM, || fget::main(&args))
}
