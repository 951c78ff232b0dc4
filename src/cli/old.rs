//! Options that people know from scp and rsync: each is told what takes its place.

use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{Exit, say};

/// What takes the place of an option of scp or rsync; the same letter may mean something else here.
const FILES: &[(&str, &str)] = &[
    ("-a", "modes and times are kept anyway, symlinks too; -r copies directories"),
    ("-l", "a limit is --bwlimit SIZE, in bytes a second: scp's -l 8000 is --bwlimit 1MB"),
    ("-P", "the port is -p PORT, or stands in the address: tls://HOST:PORT/PATH"),
    ("-p", "-p is the port here (scp's -P); modes and times are kept anyway"),
    ("-z", "what is sent is compressed where that is faster; --compress zstd always"),
    ("-C", "what is sent is compressed where that is faster; --compress zstd always"),
    ("-u", "a file of the same size and time is not sent again; there is no other test of age"),
    ("-i", "there are no key files to name; tcp-client pair HOST introduces this machine once"),
    ("-e", "there is no remote shell below it"),
    ("--archive", "modes and times are kept anyway, symlinks too; -r copies directories"),
    ("--progress", "progress is shown at a terminal; --progress takes auto, always or never"),
];

/// Parses a command line of `fget` or `fput`; what is wrong with it is printed, with a word on an option of scp or rsync.
///
/// # Errors
/// The exit code, of help and version too.
pub fn parse_files<A: Parser>(program: &str) -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        if let Err(unheard) = error.print() {
            tracing::debug!(%unheard, "wrong usage could not be explained");
        }
        if error.exit_code() == 0 {
            return Exit::Done.into();
        }
        if let Some(word) = word_for(&error) {
            say(program, &format!("from scp or rsync: {word}"));
        }
        Exit::Usage.into()
    })
}

fn word_for(error: &clap::Error) -> Option<&'static str> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
    let option = match error.kind() {
        ErrorKind::UnknownArgument => option.as_str(),
        // scp -p file HOST:file
        ErrorKind::ValueValidation | ErrorKind::InvalidValue if option.starts_with("--port") => "-p",
        ErrorKind::InvalidValue if option.starts_with("--progress") => "--progress",
        _ => return None,
    };
    FILES.iter().find_map(|(old, word)| (*old == option).then_some(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fput::Args;

    #[test]
    fn options_of_scp_and_rsync_get_a_word() {
        for (line, part) in [
            (&["fput", "-a", "x", "h:"][..], "-r copies directories"),
            (&["fput", "-l", "800", "x", "h:"], "--bwlimit"),
            (&["fput", "-P", "22", "x", "h:"], "-p PORT"),
            (&["fput", "-p", "x", "h:"], "scp's -P"),
            (&["fput", "-rp", "x", "h:"], "scp's -P"),
            (&["fput", "-avz", "x", "h:"], "-r copies directories"),
            (&["fput", "--archive", "x", "h:"], "-r copies directories"),
        ] {
            let error = Args::try_parse_from(line).unwrap_err();
            assert!(word_for(&error).is_some_and(|word| word.contains(part)), "{line:?}: {:?}", word_for(&error));
        }
        let error = Args::try_parse_from(["fput", "--frobnicate", "x", "h:"]).unwrap_err();
        assert_eq!(word_for(&error), None);
    }
}
