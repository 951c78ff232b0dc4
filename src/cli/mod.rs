//! For our own programs: argument groups, text that is safe on a terminal, exit codes, and the one
//! function that prints an error. The only part of the library that prints.
//!
//! Each program's `main` is three words: parse, call, exit. Its options and what it does with them
//! are in the file of its name in here.
#![expect(clippy::doc_markdown, reason = "the comments on arguments are the help text, read at a terminal")]

pub mod again;
pub mod args;
pub mod chat;
pub mod closed;
pub mod connect;
pub mod connections;
pub mod echo;
pub mod exit;
pub mod fget;
pub mod fput;
pub mod home;
pub mod human;
pub mod listing;
pub mod logging;
pub mod old;
pub mod pair;
pub mod peers;
pub mod progress;
pub mod prompt;
pub mod remote;
pub mod rexec;
pub mod serving;
pub mod shell;
pub mod signals;
pub mod standard;
pub mod tcp_client;
pub mod tcp_server;
pub mod transfer;
pub mod tutorial;
pub mod udp_echo;
pub mod unfinished;

use std::borrow::Cow;
use std::io;
use std::process::ExitCode;

pub use crate::printable::{printable, printable_lines, printable_name};
pub use exit::Exit;

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
    use io::Write as _;
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

/// As [`refuse_usage`], with `rexec`'s code for wrong usage, and a word on what ssh has.
pub fn refuse_usage_beside_a_command(error: &clap::Error) -> ExitCode {
    let exit = refuse_usage(error);
    if let Some(word) = old::word_of_ssh(error) {
        say(rexec::PROGRAM, &format!("from ssh: {word}"));
    }
    exit.beside_a_command().into()
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

fn is_closed_stdout(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<crate::error::Error>() {
        Some(crate::error::Error::Ours { object, source }) => {
            object == STDOUT && source.kind() == io::ErrorKind::BrokenPipe
        }
        _ => false,
    }
}

/// The object's name in errors of writing to standard output.
pub const STDOUT: &str = "standard output";

/// Writes data to standard output and sends it on at once.
///
/// # Errors
/// Standard output is closed or full.
pub fn put_out(data: &[u8]) -> crate::error::Result<()> {
    use io::Write as _;
    closed::check_output()?;
    standard::output().write_all(data).map_err(crate::error::Error::ours(STDOUT))
}

/// Prints text that a person reads, each of its lines made safe: a list, a line that says what was done. What is data
/// goes through [`put_out`].
///
/// # Errors
/// As [`put_out`].
pub fn tell(text: &str) -> crate::error::Result<()> {
    put_out(told(text).as_bytes())
}

/// Prints one JSON value on a line of its own.
///
/// # Errors
/// As [`put_out`].
pub fn put_json(value: &impl serde::Serialize) -> crate::error::Result<()> {
    put_out(&crate::printable::json_line(value).map_err(crate::error::Error::ours("JSON output"))?)
}

/// What a command has written to its standard error, on ours.
///
/// # Errors
/// It is closed or full.
pub fn put_error(data: &[u8]) -> crate::error::Result<()> {
    use io::Write as _;
    standard::errors().write_all(data).map_err(crate::error::Error::ours("standard error"))
}

/// A remark to the person at the terminal, on standard error, one line of it, made safe whatever
/// stands in it. Where nobody is there to hear it (the
/// terminal was closed, the disk is full) it is lost, and nothing else is: `eprintln!` would panic.
pub fn say(program: &str, remark: &str) {
    use io::Write as _;
    drop(standard::errors().write_all(remark_line(program, remark).as_bytes()));
}

fn told(text: &str) -> Cow<'_, str> {
    printable_lines(text)
}

fn remark_line(program: &str, remark: &str) -> String {
    format!("{program}: {}\n", printable(remark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::KINDS;

    #[test]
    fn no_kind_of_character_goes_through_what_tells_a_person() {
        for kind in KINDS {
            let text = format!("a{kind}b\nc");
            let escape: String = kind.escape_default().collect();
            assert_eq!(told(&text), format!("a{escape}b\nc"));
            // A remark is one line, whatever a stranger's text has in it.
            assert_eq!(remark_line("rexec", &text), format!("rexec: a{escape}b\\nc\n"));
        }
    }
}
