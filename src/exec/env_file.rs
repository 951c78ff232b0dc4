//! Files of variables, as shells, containers and services read them.
//!
//! ```text
//! # a comment
//! export NAME=value
//! GREETING="hello $USER"     taken as it is, without the quotes
//! HOME                       a name alone: the reader decides on its value
//! ```

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::text::without_bom;

/// A line that sets a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvLine {
    /// The line's number, from 1.
    pub number: usize,
    /// `NAME=VALUE`, or `NAME`.
    pub variable: OsString,
}

/// A line is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {source}")]
pub struct EnvFileError {
    /// The line's number, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub source: EnvLineError,
}

/// What is wrong with a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvLineError {
    /// No variable can hold it.
    #[error("holds a NUL, which no variable can")]
    Nul,
    /// The name is not one that shells pass on.
    #[error("{0:?} is no name; write NAME=VALUE, with letters, digits and _ in the name")]
    Name(String),
}

/// The variables that a file sets, in its order.
///
/// # Errors
/// A line is malformed.
pub fn parse(bytes: &[u8]) -> Result<Vec<EnvLine>, EnvFileError> {
    let mut found = Vec::new();
    for (line, number) in without_bom(bytes).split(|byte| *byte == b'\n').zip(1..) {
        let variable = variable(line).map_err(|source| EnvFileError { number, source })?;
        found.extend(variable.map(|variable| EnvLine { number, variable }));
    }
    Ok(found)
}

/// What one line sets: `NAME=VALUE`, or `NAME`. Nothing is expanded.
///
/// # Errors
/// What is wrong with it.
fn variable(line: &[u8]) -> Result<Option<OsString>, EnvLineError> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    if line.contains(&0) {
        return Err(EnvLineError::Nul);
    }
    let line = match line.strip_prefix(b"export") {
        Some(rest) if rest.first().is_some_and(u8::is_ascii_whitespace) => rest.trim_ascii_start(),
        _ => line,
    };
    let (name, value) = halves(line);
    check_name(line)?;
    let value = value.map(|value| [&b"="[..], without_quotes(value)].concat());
    Ok(Some(OsString::from_vec([name, &value.unwrap_or_default()].concat())))
}

/// The name of a variable, and its value if there is one.
fn halves(variable: &[u8]) -> (&[u8], Option<&[u8]>) {
    match variable.iter().position(|byte| *byte == b'=') {
        Some(at) => (variable.get(..at).unwrap_or_default(), variable.get(at + 1..)),
        None => (variable, None),
    }
}

/// Checks that `NAME=VALUE` or `NAME` has a name that shells pass on; they drop others silently.
///
/// # Errors
/// It has another name.
pub fn check_name(variable: &[u8]) -> Result<(), EnvLineError> {
    let (name, _) = halves(variable);
    if is_name(name) {
        return Ok(());
    }
    Err(EnvLineError::Name(String::from_utf8_lossy(name).into_owned()))
}

/// As POSIX has it (XBD, 8.1), and as shells and programs can use it.
fn is_name(name: &[u8]) -> bool {
    let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    name.first().is_some_and(|byte| !byte.is_ascii_digit()) && name.iter().all(is_fine)
}

/// Without one pair of quotes around it.
fn without_quotes(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_stand() {
        for (line, want) in [
            ("A=b", Some("A=b")),
            ("  A=b \r", Some("A=b")),
            ("export A=b", Some("A=b")),
            ("export \t A=b", Some("A=b")),
            ("export=b", Some("export=b")),
            ("exported=b", Some("exported=b")),
            ("export A", Some("A")),
            ("_a1", Some("_a1")),
            ("A=", Some("A=")),
            ("A=\"b c\"", Some("A=b c")),
            ("A=' b '", Some("A= b ")),
            ("A=\"\"", Some("A=")),
            ("A=\"\"b\"\"", Some("A=\"b\"")),
            ("A=\"'b'\"", Some("A='b'")),
            ("A=\"", Some("A=\"")),
            ("A='b\"", Some("A='b\"")),
            ("A=b'c'", Some("A=b'c'")),
            ("A=$B `c` $(d) ~ \\n", Some("A=$B `c` $(d) ~ \\n")),
            ("A=b # c", Some("A=b # c")),
            ("A=b=c", Some("A=b=c")),
            ("A=\u{e9}", Some("A=\u{e9}")),
            ("", None),
            (" \t", None),
            ("# A=b", None),
            ("  #", None),
        ] {
            assert_eq!(variable(line.as_bytes()), Ok(want.map(OsString::from)), "{line:?}");
        }
        for line in [
            "=b",
            "1A=b",
            "A B=c",
            "A =b",
            "A-B=c",
            "A.B=c",
            "\u{e9}=b",
            "export =b",
            "export 1=b",
            "A: b",
            "\u{feff}A=b",
        ] {
            assert!(variable(line.as_bytes()).unwrap_err().to_string().contains("is no name"), "{line:?}");
        }
        assert!(variable(b"A=b\0c").unwrap_err() == EnvLineError::Nul);
    }
}
