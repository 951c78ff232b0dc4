//! Writes man pages and shell completions from the programs' own definitions.
//!
//! ```text
//! cargo run --example man DIRECTORY
//! ```
#![expect(clippy::print_stdout, reason = "it says what it wrote")]

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use landline::cli;

fn main() -> Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).context("name a directory to write to")?);
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    for mut program in programs() {
        clap_mangen::generate_to(program.clone(), &directory)?;
        let name = program.get_name().to_owned();
        let path = directory.join(format!("{name}.bash"));
        std::fs::write(&path, bash(&program)?).with_context(|| path.display().to_string())?;
        println!("{}", path.display());
        for shell in [Shell::Zsh, Shell::Fish] {
            let path = clap_complete::generate_to(shell, &mut program, &name, &directory)?;
            println!("{}", path.display());
        }
        println!("{}", directory.join(format!("{name}.1")).display());
    }
    Ok(())
}

/// All programs, as they define themselves.
pub(crate) fn programs() -> [Command; 8] {
    [
        cli::tcp_server::Args::command(),
        cli::tcp_client::Args::command(),
        cli::rexec::Args::command(),
        cli::fget::Args::command(),
        cli::fput::Args::command(),
        cli::udp_echo::Args::command(),
        cli::http_files::Args::command(),
        cli::http_get::Args::command(),
    ]
}

/// Completion for bash. The generator names a program with a hyphen in two ways, so that its subcommands are never
/// found: it gets another name, and the script is bound to the real one. Where a HOST may stand, those that are known
/// here are offered.
pub(crate) fn bash(program: &Command) -> Result<String> {
    let name = program.get_name().to_owned();
    let plain = name.replace('-', "_");
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut program.clone(), &plain, &mut script);
    let script = String::from_utf8(script)?;
    let (function, _) = script.split_once("\nif [[ \"${BASH_VERSINFO[0]}\" -eq 4").context("clap_complete's script")?;
    // A path follows a host's name where files are copied.
    let (suffix, options) = match name.as_str() {
        "fget" | "fput" => ("-S : ", "-o nospace "),
        _ => ("", ""),
    };
    let hosts = if matches!(name.as_str(), "tcp-server" | "http-files" | "http-get") {
        String::new()
    } else {
        format!(
            "\n    if [[ $2 != -* ]]; then\n        COMPREPLY+=( $(compgen {suffix}-W \"$(tcp-client --known-hosts 2>/dev/null)\" -- \"$2\") )\n    fi"
        )
    };
    Ok(format!(
        "{function}\n_{plain}_and_hosts() {{\n    _{plain} \"$@\"{hosts}\n}}\n\n\
         complete -F _{plain}_and_hosts {options}-o bashdefault -o default {name}\n"
    ))
}
