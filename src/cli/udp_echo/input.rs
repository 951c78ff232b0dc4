//! What a person or a script wants sent, one datagram after the other: the arguments, the lines of a
//! pipe, or what is typed at a prompt.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::vec;

use anyhow::{Context as _, Result, bail};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::cli::prompt::is_farewell;
use crate::cli::standard::patiently;
use crate::udp::Codec;

/// The longest line of a pipe, in bytes: far more than fits a datagram, far less than memory.
const LINE_LEN_MAX: u64 = 1 << 20;

/// Where texts come from.
#[derive(Debug)]
pub(super) enum Input {
    /// The rest of the command line.
    Arguments(vec::IntoIter<OsString>),
    /// Lines of a file, a pipe, or of a terminal whose output goes elsewhere.
    Lines,
    /// A person at a prompt.
    Prompt(Box<DefaultEditor>),
}

/// What came.
#[derive(Debug)]
pub(super) enum Typed {
    /// The bytes of one text, without the line's end.
    Text(Vec<u8>),
    /// There is no more.
    End,
    /// Ctrl-C at the prompt.
    Interrupted,
}

impl Input {
    /// Arguments if there are any; else a prompt if a person sits there; else lines.
    pub(super) fn new(arguments: Vec<OsString>) -> Result<Self> {
        if !arguments.is_empty() {
            return Ok(Self::Arguments(arguments.into_iter()));
        }
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            return Ok(Self::Prompt(Box::new(DefaultEditor::new().context("cannot use this terminal")?)));
        }
        Ok(Self::Lines)
    }

    /// The next text.
    pub(super) fn next(&mut self) -> Result<Typed> {
        match self {
            Self::Arguments(rest) => Ok(rest.next().map_or(Typed::End, |text| Typed::Text(text.into_vec()))),
            Self::Lines => next_line(),
            Self::Prompt(editor) => next_typed(editor),
        }
    }
}

fn next_line() -> Result<Typed> {
    crate::cli::closed::check_input()?;
    let mut line = Vec::new();
    let mut limited = io::stdin().lock().take(LINE_LEN_MAX);
    patiently(|| limited.read_until(b'\n', &mut line)).context("cannot read standard input")?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if limited.limit() == 0 {
        bail!("a line of standard input is longer than {LINE_LEN_MAX} bytes");
    } else if line.is_empty() {
        return Ok(Typed::End);
    }
    Ok(Typed::Text(line))
}

fn next_typed(editor: &mut DefaultEditor) -> Result<Typed> {
    loop {
        match editor.readline("> ") {
            Ok(line) if is_farewell(&line) => return Ok(Typed::End),
            Ok(line) => {
                if !line.is_empty() {
                    editor.add_history_entry(&line).context("cannot use this terminal")?;
                }
                return Ok(Typed::Text(line.into_bytes()));
            }
            Err(ReadlineError::Eof) => return Ok(Typed::End),
            Err(ReadlineError::Interrupted) => return Ok(Typed::Interrupted),
            // The window changed its size.
            Err(ReadlineError::Signal(_)) => {}
            Err(error) => return Err(error).context("cannot use this terminal"),
        }
    }
}

/// The bytes that go into the datagram. In UTF-8 they are sent as they came, whatever they are.
pub(super) fn encode(codec: Codec, text: Vec<u8>) -> Result<Vec<u8>> {
    if codec.is_utf8() {
        return Ok(text);
    }
    let text = str::from_utf8(&text).context("the text is not UTF-8, so it cannot be converted")?;
    Ok(codec.encode(text)?.into_owned())
}
