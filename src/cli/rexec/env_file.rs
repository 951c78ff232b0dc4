//! `--env-file`: variables as they stand in the files that shells, containers and services read.
//!
//! ```text
//! # a comment
//! export NAME=value
//! GREETING="hello $USER"     taken as it stands, without the quotes
//! HOME                       a name alone: its value here
//! ```

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::args::{read_named, with_value};
use crate::cli::exit::usage;
use crate::text::without_bom;

/// The variables of `file`, `NAME=VALUE` each.
///
/// # Errors
/// The file cannot be read, or which line is wrong, and why.
pub(super) fn variables_in(file: &Path) -> anyhow::Result<Vec<OsString>> {
    let bytes = read_named(file)?;
    let lines = without_bom(&bytes).split(|byte| *byte == b'\n').zip(1..);
    let mut variables = Vec::new();
    for (line, number) in lines {
        let wrong = |why: String| usage(format!("{}: line {number}: {why}", file.display()));
        if let Some(variable) = variable(line).map_err(wrong)? {
            variables.push(with_value(variable).map_err(wrong)?);
        }
    }
    Ok(variables)
}

/// What one line sets: `NAME=VALUE`, or `NAME`. Nothing is expanded.
///
/// # Errors
/// What is wrong with it.
fn variable(line: &[u8]) -> Result<Option<OsString>, String> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    if line.contains(&0) {
        return Err("holds a NUL, which no variable can".into());
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

/// Whether `NAME=VALUE` or `NAME` has a name that shells pass on; they drop others without a word.
///
/// # Errors
/// It has none.
fn check_name(variable: &[u8]) -> Result<(), String> {
    let (name, _) = halves(variable);
    if is_name(name) {
        return Ok(());
    }
    let name = String::from_utf8_lossy(name);
    Err(format!("{name:?} is no name; write NAME=VALUE, with letters, digits and _ in the name"))
}

/// Reads the value of `--env`, whose names are the same.
pub(super) fn variable_parser() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new().try_map(|variable| check_name(variable.as_bytes()).map(|()| variable))
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
            assert!(variable(line.as_bytes()).unwrap_err().contains("is no name"), "{line:?}");
        }
        assert!(variable(b"A=b\0c").unwrap_err().contains("NUL"));
    }
}
