//! A body on a terminal: its text, made safe. In a pipe its bytes go as they are.

use std::io::{self, Write};

use crate::cli::standard;
use crate::printable::printable_bytes;

/// Longest part of a line that is kept for its end, in bytes.
const LINE_LEN_MAX: usize = 8 * 1024;

/// Standard output where it is a terminal.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    /// The line that has not ended.
    line: Vec<u8>,
}

impl Terminal {
    /// Prints what has no line end.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let text = printable_bytes(&std::mem::take(&mut self.line));
        standard::output().write_all(text.as_bytes())
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shown = String::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if let Some(line) = self.line.strip_suffix(b"\n") {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                shown.push_str(&printable_bytes(line));
                shown.push('\n');
                self.line.clear();
            } else if self.line.len() > LINE_LEN_MAX {
                // Not in the middle of a character.
                let whole = self.line.utf8_chunks().last().map_or(0, |last| last.invalid().len());
                let end = self.line.len() - if whole < 4 { whole } else { 0 };
                shown.push_str(&printable_bytes(self.line.get(..end).unwrap_or_default()));
                self.line.drain(..end);
            }
        }
        standard::output().write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
