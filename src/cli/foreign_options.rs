//! Options that people know from scp, rsync and ssh: each is told what takes its place.

use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::output::say;
use crate::cli::program::refuse_usage;

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
    ("-3", NOTHING_BETWEEN),
    ("-R", "between two other machines all goes through this one: fput HOST:PATH OTHER:PATH"),
    ("-o", "there is no ssh below it; what is set stands in --help"),
    ("-F", "there is no ssh below it; hosts have names in config.toml, in [hosts]"),
    ("-c", "a copy by content is --checksum; ciphers are those of TLS 1.3, and not chosen"),
    ("-J", "there is no jump host; connect to the machine itself"),
    ("-x", "to leave something out: --exclude PATTERN; file systems are not told apart"),
    ("-H", "hard links are kept between files that are copied in one run"),
    ("-S", "there is no program below it; holes of files need no option"),
    ("-b", "there are no backups of what is replaced"),
    ("-L", "instead of symlinks what they lead to: --follow"),
    ("-T", "what is unfinished lies beside its target; there is no other directory for it"),
    ("-E", "modes are kept anyway; --no-preserve leaves them out"),
    ("-g", "files belong to the user that runs the other side; owners and groups are not kept"),
    ("-W", "whole files are --delta never"),
    ("--partial", "what was interrupted is kept anyway, and goes on when the same command runs again"),
    ("--append", "what was interrupted goes on when the same command runs again"),
    ("--times", "modification times are kept anyway; --no-preserve leaves them out"),
    ("--inplace", "a file is replaced only when it is whole; of a changed one --delta always sends what changed"),
    ("--owner", "files belong to the user that runs the other side; owners and groups are not kept"),
    ("--update", "a file of the same size and time is not sent again; there is no other test of age"),
    ("--stats", "numbers are at the end of -v, or in --json"),
    ("--progress", "progress is shown at a terminal; --progress takes auto, always or never"),
];

/// What takes the place of an option of ssh.
const SSH: &[(&str, &str)] = &[
    ("-l", NO_USER),
    ("-p", "-p takes the port's number: rexec -p PORT HOST COMMAND"),
    ("-P", "the port is -p PORT, or stands in the address: HOST:PORT"),
    ("-o", "there is no ssh below it; what is set stands in --help"),
    ("-F", "there is no ssh below it; hosts have names in config.toml, in [hosts]"),
    ("-L", NO_FORWARDING),
    ("-R", NO_FORWARDING),
    ("-D", NO_FORWARDING),
    ("-W", NO_FORWARDING),
    ("-w", NO_FORWARDING),
    ("-J", "there is no jump host; connect to the machine itself"),
    ("-A", "there is no agent to forward"),
    ("-X", "X11 is not forwarded"),
    ("-Y", "X11 is not forwarded"),
    ("-i", "there are no key files to name; tcp-client pair HOST introduces this machine once"),
    ("-f", "to let a command run on by itself: -d, then --attach ID"),
    ("-N", "a connection is for a command; ports are not forwarded"),
    ("-T", "there is no terminal unless -t requests one"),
    ("-4", "for one kind of address write the address itself: 127.0.0.1 or [::1]"),
    ("-6", "for one kind of address write the address itself: 127.0.0.1 or [::1]"),
    ("-m", "ciphers are those of TLS 1.3, and not chosen"),
    ("-c", "ciphers are those of TLS 1.3, and not chosen"),
];

const NOTHING_BETWEEN: &str = "between two other machines all goes through this one anyway: fput HOST:PATH OTHER:PATH";
const NO_USER: &str = "commands run as the user that runs the server; who you are is this machine's key";
const NO_FORWARDING: &str = "ports are not forwarded here";

/// What takes the place of an option of curl or wget.
const WEB: &[(&str, &str)] = &[
    (
        "-u",
        "a password on the command line can be read by every user of this machine; --user-file FILE, or --token-file",
    ),
    ("-L", "redirects are followed anyway; --max-redirects 0 follows none"),
    ("-k", "there is no way to trust everyone; --cacert FILE trusts an authority, --pin FINGERPRINT one key"),
    ("-s", "-q prints only errors"),
    ("-S", "errors are printed anyway"),
    ("-f", "a status of 400 and more is an error anyway"),
    ("-i", "-v shows the head of the response, -I prints it alone"),
    ("-x", "proxies are those of the environment: http_proxy, https_proxy, no_proxy"),
    ("-A", "the program's name is a field: -H 'User-Agent: NAME'"),
    ("-e", "where it comes from is a field: -H 'Referer: URL'"),
    ("-b", "cookies are secrets: write the line Cookie: ... into a file, and -H @FILE"),
    ("-c", "there is no jar of cookies; to go on with what was interrupted: -C"),
    ("-r", "a range is a field: -H 'Range: bytes=0-99'; there is no recursion"),
    ("-n", "--netrc-file FILE, which may be ~/.netrc"),
    ("-m", "--max-time DURATION"),
    ("-P", "into a directory: -o DIR/"),
    ("-t", "--retry N"),
    ("-U", "the program's name is a field: -H 'User-Agent: NAME'"),
    ("-G", "data in the URL stands behind its question mark"),
    ("-Z", "--parallel N fetches one file over N connections"),
    ("--insecure", "there is no way to trust everyone; --cacert FILE trusts an authority, --pin FINGERPRINT one key"),
    ("--pinnedpubkey", "--pin SHA256:..., with the same digest"),
    ("--location", "redirects are followed anyway; --max-redirects 0 follows none"),
    ("--fail", "a status of 400 and more is an error anyway"),
    ("--data-binary", "-d sends a file as it is: -d @FILE"),
];

/// Parses a command line of `http-get`; what is wrong with it is printed, with a word on an option of curl or wget.
///
/// # Errors
/// The exit code, of help and version too.
pub fn parse_web<A: Parser>(program: &str) -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        let exit = refuse_usage(&error);
        if let Some(word) = word_in(WEB, &error) {
            say(program, &format!("from curl or wget: {word}"));
        }
        exit.into()
    })
}

/// Parses a command line of `fget` or `fput`; what is wrong with it is printed, with a word on an option of scp or
/// rsync.
///
/// # Errors
/// The exit code, of help and version too.
pub fn parse_files<A: Parser>(program: &str) -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        let exit = refuse_usage(&error);
        if let Some(word) = word_for(&error) {
            say(program, &format!("from scp or rsync: {word}"));
        }
        exit.into()
    })
}

fn word_for(error: &clap::Error) -> Option<&'static str> {
    word_in(FILES, error)
}

/// What takes the place of the option of ssh that is wrong for `rexec`.
pub fn word_of_ssh(error: &clap::Error) -> Option<&'static str> {
    word_in(SSH, error)
}

fn word_in(words: &[(&'static str, &'static str)], error: &clap::Error) -> Option<&'static str> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
    let option = match error.kind() {
        ErrorKind::UnknownArgument => option.as_str(),
        // scp -p file HOST:file
        ErrorKind::ValueValidation | ErrorKind::InvalidValue if option.starts_with("--port") => "-p",
        ErrorKind::InvalidValue if option.starts_with("--progress") => "--progress",
        _ => return None,
    };
    words.iter().find_map(|(old, word)| (*old == option).then_some(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fput::Args;
    use crate::cli::rexec;

    #[test]
    fn options_of_ssh_get_a_word() {
        for (option, _) in SSH.iter().filter(|(option, _)| *option != "-p") {
            let error = rexec::Args::try_parse_from(["rexec", option, "host", "ls"]).unwrap_err();
            assert!(word_of_ssh(&error).is_some(), "{option}: {error}");
        }
        let error = rexec::Args::try_parse_from(["rexec", "-p", "localhost", "ls"]).unwrap_err();
        assert!(word_of_ssh(&error).unwrap().contains("rexec -p PORT HOST"), "{error}");
        let error = rexec::Args::try_parse_from(["rexec", "--frobnicate", "host"]).unwrap_err();
        assert_eq!(word_of_ssh(&error), None);
    }

    #[test]
    fn each_option_that_has_a_word_is_none_here() {
        for (option, _) in FILES.iter().filter(|(option, _)| !matches!(*option, "-p" | "--progress")) {
            let error = Args::try_parse_from(["fput", option, "x", "h:"]).unwrap_err();
            assert!(word_for(&error).is_some(), "{option}: {error}");
        }
    }

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
