//! See `landline::cli::fput`.

use std::process::ExitCode;

use clap::Parser as _;
use landline::cli::{self, fput};

fn main() -> ExitCode {
    let args = fput::Args::parse();
    cli::run(fput::PROGRAM, || fput::main(&args))
}
