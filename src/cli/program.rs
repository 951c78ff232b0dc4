//! What each `main` calls: it runs the program's body, prints its error and returns the exit code.

use std::borrow::Cow;
use std::io::Write as _;
use std::process::ExitCode;

use super::exit::Exit;
use super::output::{is_closed_stdout, say};
use super::standard;
use crate::printable::{printable, printable_lines};

/// Runs a program's body and turns its result into an exit code, printing the error if there is one:
/// the program's name, what failed, and why, on one line.
pub fn run(program: &str, body: impl FnOnce() -> anyhow::Result<Exit>) -> ExitCode {
    end(program, body()).into()
}

/// As [`run`], for `rexec`, whose own failures must not look like the remote command's.
pub fn run_beside_a_command(program: &str, body: impl FnOnce() -> anyhow::Result<Exit>) -> ExitCode {
    end(program, body()).beside_a_command().into()
}

/// Prints what clap says of a command line, and returns how that ends. An error holds words of the command line,
/// which may be anything: each line of it is made safe.
pub fn refuse_usage(error: &clap::Error) -> Exit {
    let plain = error.render().to_string();
    let printed = match printable_lines(&plain) {
        // Help and version are ours alone, and colours only where nothing has to be escaped.
        Cow::Borrowed(_) => error.print(),
        Cow::Owned(safe) => standard::errors().write_all(safe.as_bytes()),
    };
    if let Err(unheard) = printed {
        tracing::debug!(%unheard, "wrong usage could not be explained");
    }
    // Help and version are no errors.
    if error.exit_code() == 0 { Exit::Done } else { Exit::Usage }
}

fn end(program: &str, result: anyhow::Result<Exit>) -> Exit {
    match result {
        Ok(exit) => exit,
        // The reader of our output has left (`| head`): it has what it wanted.
        Err(error) if is_closed_stdout(&error) => Exit::Done,
        Err(error) => {
            say(program, &printable(&format!("{error:#}")));
            Exit::of(&error)
        }
    }
}
