//! Writes man pages and shell completions from the programs' own definitions.
//!
//! ```text
//! cargo run --example man DIRECTORY
//! ```
#![expect(clippy::print_stdout, reason = "it says what it wrote")]

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use landline::cli;

fn main() -> Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).context("name a directory to write to")?);
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let programs = [
        cli::tcp_server::Args::command(),
        cli::tcp_client::Args::command(),
        cli::rexec::Args::command(),
        cli::fget::Args::command(),
        cli::fput::Args::command(),
        cli::udp_echo::Args::command(),
    ];
    for mut program in programs {
        clap_mangen::generate_to(program.clone(), &directory)?;
        let name = program.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let path = clap_complete::generate_to(shell, &mut program, &name, &directory)?;
            println!("{}", path.display());
        }
        println!("{}", directory.join(format!("{name}.1")).display());
    }
    Ok(())
}
