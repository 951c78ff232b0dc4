//! Completion at a shell's prompt, by the shells themselves with the scripts that the example writes.

use std::process::Command;

use crate::harness::files::set_mode;
use crate::harness::program;
use crate::harness::skip::is_installed;
#[expect(dead_code, reason = "the example's own beginning is not a test's")]
#[path = "../../examples/man.rs"]
mod man;

/// What bash offers for the last of `words`.
#[expect(clippy::disallowed_methods, reason = "bash is asked what it makes of the script")]
fn offered(script: &str, words: &[&str], home: &std::path::Path) -> Vec<String> {
    let (last, at) = (words[words.len() - 1], words.len() - 1);
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let ask = format!(
        "{script}\nCOMP_WORDS=({}); COMP_CWORD={at}; f=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
         $f '{program}' '{last}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words[at - 1],
        program = words[0],
    );
    let programs = std::path::Path::new(program("tcp-client")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash").args(["-c", &ask]).env("PATH", path).env("LANDLINE_HOME", home).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "", "{ask}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_their_options_and_known_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    std::fs::create_dir(&home).unwrap();
    set_mode(&home, 0o700);
    std::fs::write(home.join("config.toml"), "[hosts]\nbuild = \"build.example:7000\"\nbureau = \"10.0.0.1\"\n")
        .unwrap();
    let scripts: Vec<(String, String)> =
        man::programs().iter().map(|program| (program.get_name().to_owned(), man::bash(program).unwrap())).collect();
    let ask = |words: &[&str]| {
        let script = scripts.iter().find(|(name, _)| name == words[0]).unwrap();
        offered(&script.1, words, &home)
    };
    let has = |words: &[&str], wanted: &str| {
        let offered = ask(words);
        assert!(offered.iter().any(|word| word == wanted), "{words:?}: {wanted} is not among {offered:?}");
    };
    has(&["tcp-server", "p"], "pair");
    has(&["tcp-server", "pair", "--al"], "--allow");
    has(&["tcp-server", "peers", "re"], "revoke");
    has(&["tcp-client", "chat", "--ni"], "--nick");
    has(&["tcp-client", "bu"], "build");
    has(&["tcp-client", "chat", "bu"], "bureau");
    has(&["udp-echo", "ping", "--int"], "--interval");
    has(&["rexec", "bui"], "build");
    has(&["fput", "notes.txt", "bui"], "build:");
    has(&["fget", "--che"], "--checksum");
    has(&["http-get", "--par"], "--parallel");
}

/// The script for another shell, in a file.
fn script_for(shell: clap_complete::Shell, name: &str, dir: &std::path::Path) -> std::path::PathBuf {
    let mut program = man::programs().into_iter().find(|program| program.get_name() == name).unwrap();
    clap_complete::generate_to(shell, &mut program, name, dir).unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "fish is asked what it makes of the script")]
fn fish_completes_subcommands_and_their_options() {
    if !is_installed("fish", "--version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, words, wanted) in [
        ("tcp-server", "tcp-server p", "pair"),
        ("tcp-server", "tcp-server peers re", "revoke"),
        ("udp-echo", "udp-echo ping --int", "--interval"),
        ("fget", "fget --che", "--checksum"),
    ] {
        let script = script_for(clap_complete::Shell::Fish, name, dir.path());
        let ask = format!("source {}; complete --do-complete '{words}'", script.display());
        let mut fish = Command::new("fish");
        let output = fish.args(["--no-config", "--command", &ask]).env("HOME", dir.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{ask}");
        let offered = String::from_utf8_lossy(&output.stdout).into_owned();
        // A description stands behind a tab.
        assert!(offered.lines().any(|line| line.split('\t').next() == Some(wanted)), "{words}: {offered}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "zsh is asked what it makes of the script")]
fn zsh_loads_the_script_of_every_program() {
    if !is_installed("zsh", "--version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for program in man::programs() {
        let name = program.get_name();
        let script = script_for(clap_complete::Shell::Zsh, name, dir.path());
        let ask = format!(
            "autoload -Uz compinit && compinit -D -u && source {} && print -r -- $_comps[{name}]",
            script.display()
        );
        let output = Command::new("zsh").args(["-f", "-c", &ask]).env("HOME", dir.path()).output().unwrap();
        let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(said, (format!("_{name}\n").into(), "".into()), "{ask}");
    }
}
