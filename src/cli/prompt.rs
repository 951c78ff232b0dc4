//! Lines from a person or from a script: an editor with history and completion at a terminal, plain
//! lines from a pipe.

use std::io::IsTerminal as _;

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor, ExternalPrinter as _, Helper};

use crate::cli::output::put_out;
use crate::cli::standard;
use crate::error::Error;
use crate::printable::printable_lines;

/// What came from the person or the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A line, without its end.
    Line(String),
    /// Ctrl-C at the prompt: the line being typed is thrown away.
    Interrupted,
    /// Ctrl-D, a word of [`FAREWELLS`], or the end of the script.
    End,
}

/// What a person types alone on a line to leave, in every program that has a prompt. From a file or a pipe they are
/// lines like all others.
pub const FAREWELLS: [&str; 3] = ["q", "quit", "exit"];

/// Whether a person who types this wants to leave. Behind a blank it is a text.
pub fn is_farewell(line: &str) -> bool {
    FAREWELLS.contains(&line.trim_end())
}

/// Where lines come from.
#[derive(Debug)]
pub struct Prompt<H: Helper> {
    editor: Option<Editor<H, DefaultHistory>>,
}

/// How a piece of text looks at a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As the terminal has it.
    Plain,
    /// Less visible.
    Dim,
    /// More visible.
    Bold,
    /// One of [`COLOURS`].
    Colour(usize),
}

/// The colours that are told apart on dark and on light terminals: SGR parameters (ECMA-48, 8.3.117).
pub const COLOURS: [&str; 10] = ["31", "32", "33", "34", "35", "36", "91", "92", "94", "95"];

/// Text that is safe at a terminal: every piece is made printable when it is added, and what acts on the terminal is
/// added here alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Styled(String);

impl Styled {
    /// A text without styles.
    pub fn plain(text: &str) -> Self {
        Self(printable_lines(text).into_owned())
    }

    /// Adds a piece, which may have several lines.
    pub fn push(&mut self, style: Style, text: &str) {
        let text = printable_lines(text);
        let parameters = match style {
            Style::Plain => None,
            Style::Dim => Some("2"),
            Style::Bold => Some("1"),
            Style::Colour(number) => COLOURS.get(number % COLOURS.len()).copied(),
        };
        match parameters {
            Some(parameters) => self.0 = format!("{}\x1b[{parameters}m{text}\x1b[0m", self.0),
            None => self.0.push_str(&text),
        }
    }

    /// Adds a ring of the terminal's bell.
    pub fn ring(&mut self) {
        self.0.push('\x07');
    }

    /// The text, with what acts on the terminal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Prints a text above the line that is being typed.
pub type Above = Box<dyn FnMut(&Styled) -> crate::error::Result<()> + Send>;

impl<H: Helper> Prompt<H> {
    /// A prompt with completion by `helper`, if standard input and output are a terminal.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub fn new(helper: H) -> crate::error::Result<Self> {
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Ok(Self { editor: None });
        }
        let config = Config::builder()
            .auto_add_history(true)
            .completion_type(CompletionType::List)
            // Lines that are pasted are lines, as if they had been typed.
            .bracketed_paste(false)
            .build();
        let mut editor = Editor::with_config(config).map_err(terminal_error)?;
        editor.set_helper(Some(helper));
        Ok(Self { editor: Some(editor) })
    }

    /// Plain lines, also at a terminal.
    pub const fn plain() -> Self {
        Self { editor: None }
    }

    /// Whether a person is typing.
    pub const fn is_interactive(&self) -> bool {
        self.editor.is_some()
    }

    /// Waits for the next line; `prompt` is shown to a person only.
    ///
    /// # Errors
    /// The terminal or the pipe failed.
    pub fn read(&mut self, prompt: &str) -> crate::error::Result<Input> {
        let Some(editor) = &mut self.editor else { return read_plain() };
        match editor.readline(prompt) {
            Ok(line) if is_farewell(&line) => Ok(Input::End),
            Ok(line) => Ok(Input::Line(line)),
            Err(ReadlineError::Interrupted) => Ok(Input::Interrupted),
            Err(ReadlineError::Eof) => Ok(Input::End),
            Err(error) => Err(terminal_error(error)),
        }
    }

    /// A printer that another thread can use while a line is being typed.
    ///
    /// # Errors
    /// The terminal cannot do that.
    pub fn printer(&mut self) -> crate::error::Result<Above> {
        let Some(editor) = &mut self.editor else {
            return Ok(Box::new(|text| put_out(text.as_str().as_bytes())));
        };
        let mut printer = editor.create_external_printer().map_err(terminal_error)?;
        Ok(Box::new(move |text| {
            if let Err(error) = printer.print(text.as_str().to_owned()) {
                tracing::debug!(%error, "a message could not be shown");
            }
            Ok(())
        }))
    }
}

/// The next line of a script.
///
/// # Errors
/// Standard input is closed, or failed.
pub fn read_plain() -> crate::error::Result<Input> {
    crate::cli::closed::check_input()?;
    let line = standard::read_line().map_err(Error::ours("standard input"))?;
    if line.is_empty() {
        return Ok(Input::End);
    }
    let line = String::from_utf8_lossy(&line);
    Ok(Input::Line(line.trim_end_matches(['\n', '\r']).to_owned()))
}

fn terminal_error(error: ReadlineError) -> Error {
    match error {
        ReadlineError::Io(error) => Error::ours("terminal")(error),
        other => Error::ours("terminal")(std::io::Error::other(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::KINDS;

    #[test]
    fn only_styles_act_on_the_terminal() {
        for kind in KINDS {
            let mut styled = Styled::default();
            styled.push(Style::Colour(usize::MAX), &format!("a{kind}b\nc"));
            let escape: String = kind.escape_default().collect();
            assert_eq!(styled.as_str(), format!("\x1b[36ma{escape}b\nc\x1b[0m"));
        }
    }

    #[test]
    fn who_wants_to_leave_is_understood() {
        for line in ["q", "quit", "exit", "exit "] {
            assert!(is_farewell(line), "{line:?}");
        }
        for line in ["", " q", "exit 3", "quite", "Q"] {
            assert!(!is_farewell(line), "{line:?}");
        }
    }
}
