//! The terminal on this side while a remote one is shown on it: raw, so that each key goes over as it is; with ways out
//! that are typed; and as it was before in the end, whatever the end is.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::cli::signals::suspend;
use crate::cli::standard::errors;
use crate::connection::ConnectionSender;
use crate::exec::modes::encode;
use crate::net::stream::Control;
use crate::wire::Message;
use crate::wire::message::TerminalSize;

/// What a terminal is taken for that does not say its size, or where there is none.
const SIZE_DEFAULT: TerminalSize = TerminalSize { columns: 80, rows: 24 };
/// Ctrl-Z.
const SUSPEND: u8 = 0x1a;

/// The size of the terminal here.
pub(super) fn size() -> TerminalSize {
    let sizes = [tcgetwinsize(stdin()), tcgetwinsize(stdout()), tcgetwinsize(stderr())];
    let size = sizes.into_iter().flatten().find(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(SIZE_DEFAULT, |size| TerminalSize { columns: size.ws_col, rows: size.ws_row })
}

/// The modes of the terminal here, for the remote one; `None`: there is no terminal here.
pub(super) fn modes() -> Option<Vec<u8>> {
    tcgetattr(stdin()).ok().map(|modes| encode(&modes))
}

/// Standard input as a terminal that hands over each key as it is. Dropping it makes the terminal what it was.
#[derive(Debug)]
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes it raw; `None`: standard input is no terminal, and stays what it is.
    ///
    /// # Errors
    /// The terminal refused.
    pub(super) fn enter() -> std::io::Result<Option<Self>> {
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let raw = Self { before: tcgetattr(stdin())? };
        raw.again()?;
        Ok(Some(raw))
    }

    fn again(&self) -> std::io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        Ok(tcsetattr(stdin(), OptionalActions::Drain, &raw)?)
    }

    fn restore(&self) {
        if let Err(error) = tcsetattr(stdin(), OptionalActions::Drain, &self.before) {
            tracing::debug!(%error, "the terminal could not be made what it was");
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Looks for the escape character at the beginning of a line, as ssh's users know it.
pub(super) struct Escapes<'e> {
    escape: Option<u8>,
    raw: &'e Raw,
    control: Control,
    sender: ConnectionSender,
    state: Mutex<State>,
    is_left: AtomicBool,
}

#[derive(Debug)]
struct State {
    is_line_start: bool,
    is_held: bool,
}

impl<'e> Escapes<'e> {
    /// For a connection to a remote terminal; without `escape` there are none.
    pub(super) fn new(escape: Option<u8>, raw: &'e Raw, control: Control, sender: ConnectionSender) -> Self {
        let state = Mutex::new(State { is_line_start: true, is_held: false });
        Self { escape, raw, control, sender, state, is_left: AtomicBool::new(false) }
    }

    /// Whether the person has left by typing the escape character and a dot, or with the terminal.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Acquire)
    }

    /// What of the keys typed goes over.
    pub(super) fn take(&self, typed: &[u8]) -> Vec<u8> {
        if typed.is_empty() && tcgetattr(stdin()).is_err() {
            // The terminal here is gone: a command that ignores the end of its input would keep this program without
            // limit.
            self.is_left.store(true, Ordering::Release);
            self.control.stop();
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut over = Vec::with_capacity(typed.len() + 1);
        for key in typed.iter().copied() {
            match self.escape {
                Some(escape) if state.is_held => {
                    state.is_held = false;
                    match key {
                        b'.' => {
                            self.is_left.store(true, Ordering::Release);
                            self.control.stop();
                            return over;
                        }
                        b'?' => help(escape),
                        SUSPEND => self.suspend(),
                        _ => {
                            over.push(escape);
                            if key != escape {
                                over.push(key);
                            }
                            state.is_line_start = is_line_end(key);
                        }
                    }
                }
                Some(escape) if state.is_line_start && key == escape => state.is_held = true,
                _ => {
                    over.push(key);
                    state.is_line_start = is_line_end(key);
                }
            }
        }
        over
    }

    /// Stops this program, as Ctrl-Z does where the terminal is not raw, and goes on when the shell says so.
    fn suspend(&self) {
        self.raw.restore();
        if let Err(error) = suspend() {
            tracing::debug!(%error, "the program could not be stopped");
        }
        if let Err(error) = self.raw.again() {
            tracing::debug!(%error, "the terminal could not be made raw again");
        }
        // It may have been drawn at another size in between.
        drop(self.sender.send(&Message::Window { size: size() }, &[]));
    }
}

const fn is_line_end(key: u8) -> bool {
    matches!(key, b'\r' | b'\n')
}

fn help(escape: u8) {
    let e = char::from(escape);
    let text = format!(
        "{e}?\r\n{e}.   end the connection, and all that runs on it\r\n{e}^Z  stop this program; fg goes on\r\n\
         {e}{e}   send {e}\r\n(at the beginning of a line)\r\n"
    );
    drop(errors().write_all(text.as_bytes()));
}

/// Private modes (DECSET of the DEC VT510 manual; xterm's control sequences) that a full-screen program switches on
/// and leaves on when its connection is lost: cursor keys, the mouse, the other screen, pasted text in brackets.
const MODES: [u16; 11] = [1, 9, 47, 1000, 1002, 1003, 1004, 1006, 1047, 1049, 2004];
/// The cursor is shown; this one is left switched off.
const CURSOR: u16 = 25;
/// Longer ones are none of ours.
const SEQUENCE_LEN_MAX: usize = 64;

/// What the output has made of the terminal here.
#[derive(Debug, Default)]
pub(super) struct Screen {
    sequence: Vec<u8>,
    left_on: BTreeSet<u16>,
    is_cursor_hidden: bool,
}

impl Screen {
    /// Sees a piece of what is shown.
    pub(super) fn shown(&mut self, piece: &[u8]) {
        if self.sequence.is_empty() && !piece.contains(&0x1b) {
            return;
        }
        for byte in piece.iter().copied() {
            match (self.sequence.as_slice(), byte) {
                (_, 0x1b) => self.sequence = vec![byte],
                ([0x1b], b'[') | ([0x1b, b'['], b'?') | ([0x1b, b'[', b'?', ..], b'0'..=b'9' | b';')
                    if self.sequence.len() < SEQUENCE_LEN_MAX =>
                {
                    self.sequence.push(byte);
                }
                ([0x1b, b'[', b'?', numbers @ ..], b'h' | b'l') => {
                    let numbers = String::from_utf8_lossy(numbers).into_owned();
                    numbers
                        .split(';')
                        .filter_map(|number| number.parse().ok())
                        .for_each(|mode| self.set(mode, byte == b'h'));
                    self.sequence.clear();
                }
                _ => self.sequence.clear(),
            }
        }
    }

    fn set(&mut self, mode: u16, is_on: bool) {
        if mode == CURSOR {
            self.is_cursor_hidden = !is_on;
        } else if !is_on {
            self.left_on.remove(&mode);
        } else if MODES.contains(&mode) {
            self.left_on.insert(mode);
        }
    }

    /// What makes the terminal as it was, in its own words; nothing, if it is.
    pub(super) fn undo(&self) -> String {
        let mut undo: String = self.left_on.iter().fold(String::new(), |undo, mode| undo + &format!("\x1b[?{mode}l"));
        if self.is_cursor_hidden {
            undo += "\x1b[?25h";
        }
        if !undo.is_empty() {
            // Colours and the keypad have no mode that tells whether they are on.
            undo += "\x1b[0m\x1b>";
        }
        undo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_leaves_on_is_undone_and_nothing_else() {
        let undone = |pieces: &[&str]| {
            let mut screen = Screen::default();
            for piece in pieces {
                screen.shown(piece.as_bytes());
            }
            screen.undo()
        };
        assert_eq!(undone(&["plain\n", "\x1b[31mred\x1b[0m"]), "");
        assert_eq!(undone(&["\x1b[?1049h", "text", "\x1b[?1049l"]), "");
        assert_eq!(undone(&["\x1b[?1049h\x1b[?25l"]), "\x1b[?1049l\x1b[?25h\x1b[0m\x1b>");
        assert_eq!(undone(&["\x1b", "[", "?", "100", "0;10", "06h"]), "\x1b[?1000l\x1b[?1006l\x1b[0m\x1b>");
        assert_eq!(undone(&["\x1b[?12;25h\x1b[?7h\x1b[?h\x1b[?99999h"]), "");
        assert_eq!(undone(&[&format!("\x1b[?{}h", "1;".repeat(100))]), "");
    }
}
