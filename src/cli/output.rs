//! The doors to the terminal: what a person reads is made safe here, and data goes through as it is.

use std::borrow::Cow;
use std::io::{self, Write as _};

use super::standard::STDOUT;
use super::{closed, standard};
use crate::printable::{printable, printable_lines};

/// Whether `error` says that the reader of standard output has left, as `head` does.
pub fn is_closed_stdout(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<crate::error::Error>() {
        Some(crate::error::Error::Ours { object, source }) => {
            object == STDOUT && source.kind() == io::ErrorKind::BrokenPipe
        }
        _ => false,
    }
}

/// Writes data to standard output and sends it on at once.
///
/// # Errors
/// Standard output is closed or full.
pub fn put_out(data: &[u8]) -> crate::error::Result<()> {
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
    standard::errors().write_all(data).map_err(crate::error::Error::ours("standard error"))
}

/// Prints a remark on standard error, as one line that is made safe. Where it cannot be written (the terminal was
/// closed, the disk is full) it is lost, and nothing else is: `eprintln!` would panic.
pub fn say(program: &str, remark: &str) {
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
