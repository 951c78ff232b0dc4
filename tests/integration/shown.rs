//! What strangers send, wherever it is printed: no character of theirs acts on a person's terminal or on
//! the reader of a log. `invariants::what_reaches_a_terminal_goes_through_a_door_that_is_watched` has the list of doors.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;

use landline::printable::KINDS;
use serde_json::json;

use crate::harness::frames::{Raw, frame, request};
use crate::harness::listen::serve_all;
use crate::harness::machine::Machine;
use crate::harness::{Run, Server};

/// Text with one character of each kind, and a line end, in it.
fn odd() -> String {
    let kinds = KINDS.iter().filter(|kind| **kind != '\0').flat_map(|kind| ['x', *kind]);
    kinds.collect::<String>() + "y\nforged: line"
}

/// Fails if anything of `odd` came through as it was.
fn assert_safe(what: &str, shown: &[u8]) {
    let text = String::from_utf8_lossy(shown);
    for kind in KINDS {
        assert!(!text.contains(*kind), "{what}: {kind:?} came through: {text:?}");
    }
    assert!(!text.lines().any(|line| line.starts_with("forged")), "{what}: a line was forged: {text:?}");
    assert!(text.contains("forged"), "{what}: nothing was shown at all: {text:?}");
}

/// A server that is polite and says odd things: greets each client and answers its first request with `answer`.
fn odd_server(answer: Vec<u8>) -> String {
    let address = serve_all(move |stream| {
        let mut raw = Raw { stream };
        let verbs: Vec<String> =
            landline::wire::Message::NAMES.iter().map(|name| (*name).to_owned()).chain([odd()]).collect();
        let hello = json!({ "type": "hello", "version": 1, "program": odd(), "verbs": verbs });
        // An answer before its request would be why the connection ends, and the client would open another.
        let _request = raw.welcome(&hello.to_string());
        raw.send_what_goes(&answer);
        say_no_more(&mut raw);
    });
    format!("tcp://{address}")
}

/// Reads until the client has gone.
fn say_no_more(raw: &mut Raw<TcpStream>) {
    drop(raw.stream.shutdown(std::net::Shutdown::Write));
    let mut waste = [0; 4096];
    while raw.stream.read(&mut waste).is_ok_and(|len| len > 0) {}
}

fn listing(entry: &serde_json::Value) -> Vec<u8> {
    let line = format!("{entry}\n");
    [request(r#""type":"data""#, line.as_bytes()), request(r#""type":"end""#, &[])].concat()
}

#[test]
fn a_hostile_servers_words_act_on_no_terminal() {
    let odd = odd();
    let places = odd_server(listing(&json!({ "place": odd, "path": odd, "variables": [odd], "expires_ms": 1000 })));
    let error = json!({ "type": "error", "code": "failed", "message": odd }).to_string();
    let refuses = odd_server(frame(&error, &[]));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let run = |program: &str, args: &[&str], stdin: &str, code: i32| {
        let run = Run::new(program).args(args).stdin(stdin).current_dir(dir.path()).code(code).any_stderr();
        let output = run.output();
        assert_safe(&format!("{program} {args:?}"), &[&output.stdout[..], output.stderr.as_bytes()].concat());
    };
    run("rexec", &["--list-places", &places], "", 0);
    run("rexec", &["--list-places", "--json", &places], "", 0);
    run("rexec", &[&refuses, "true"], "", 251);
    run("rexec", &["--json", &refuses, "true"], "", 251);
    run("rexec", &["--list-jobs", &refuses], "", 251);
    run("rexec", &["--detach", &refuses, "true"], "", 251);
    run("rexec", &["--place", "p", &refuses, "cd /"], "", 251);
    run("rexec", &["-H", &refuses, "true"], "", 251);
    run("rexec", &["-v", &refuses, "true"], "", 251);
    run("tcp-client", &[&refuses], "ls\n", 1);
    run("tcp-client", &[&refuses], "cd x\n", 1);
    run("tcp-client", &[&refuses], "!true\n", 1);
    run("tcp-client", &["-v", &refuses], "pwd\n", 1);
    run("fget", &[&format!("{refuses}/x"), "."], "", 1);
    run("fget", &["--json", &format!("{refuses}/x"), "."], "", 1);
    run("fput", &["file", &format!("{refuses}/x")], "", 1);
}

#[test]
fn odd_names_act_on_nobody_who_copies_them() {
    let dir = tempfile::tempdir().unwrap();
    let name = std::ffi::OsString::from(odd());
    std::fs::create_dir(dir.path().join("out")).unwrap();
    std::fs::write(dir.path().join("out").join(&name), vec![b'x'; 100]).unwrap();
    let server = Server::start();
    let to = format!("{}/in", server.plain());
    let run = |program: &str, args: &[&str]| {
        let output = Run::new(program).args(args).current_dir(dir.path()).any_stderr().output();
        assert_safe(&format!("{program} {args:?}"), &[&output.stdout[..], output.stderr.as_bytes()].concat());
    };
    run("fput", &["-r", "--dry-run", "out/", &to]);
    run("fput", &["-r", "-v", "--progress", "always", "out/", &to]);
    run("fget", &["-r", "--dry-run", &to, "back"]);
    run("fget", &["-r", "--json", "-v", &to, "back"]);
    assert!(server.root().join("in").join(&name).exists());
}

#[test]
fn a_clients_words_act_on_no_log_and_on_no_operator() {
    let odd = odd();
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    for format in ["text", "json"] {
        let server = Server::with(&["--guest", "read", "--audit", audit.to_str().unwrap(), "--log-format", format]);
        std::fs::create_dir(server.root().join(&odd)).unwrap();
        // As a directory that is stood in, in a refusal, in a command, as a nick and a room, and of a known and an
        // unknown peer.
        for address in [server.plain(), server.address().to_owned()] {
            let mut line = landline::connection::Connection::open(dial(&server, &address), "test").unwrap();
            landline::dir::call_cd(&mut line, odd.as_bytes()).unwrap();
            landline::dir::call_ls(&mut line, b"").unwrap();
            landline::dir::call_ls(&mut line, format!("{odd}/none").as_bytes()).unwrap_err();
        }
        Run::new("rexec").args([server.address(), "-C"]).args([&*odd]).args(["--", "echo", &odd]).any_stderr().output();
        let (_, log) = server.stop();
        assert_safe(format, log.as_bytes());
        assert_safe("audit", &std::fs::read(&audit).unwrap());
    }
    // JSON still has each character.
    let text = std::fs::read_to_string(&audit).unwrap();
    let has_it = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["cwd"].as_str() == Some(&format!("/{odd}"))
    };
    assert!(text.lines().any(has_it), "{text}");
}

fn dial(server: &Server, address: &str) -> landline::net::Stream {
    let stream = landline::net::Stream::from(server.connect());
    if address.starts_with("tcp://") {
        return stream;
    }
    let home = landline::trust::home::Home::open(Some(&crate::harness::own_home())).unwrap();
    let own = landline::trust::identity::Identity::of(&home).unwrap();
    stream.connect_tls(own.credentials(), std::sync::Arc::new(|_| true), crate::harness::DEADLINE).unwrap()
}

#[test]
fn what_stands_in_the_list_of_peers_acts_on_nobody() {
    let desk = Machine::new();
    let key = Machine::new().fingerprint();
    let mut quoted = String::from("\"");
    for character in odd().chars() {
        write!(quoted, "\\U{:08X}", u32::from(character)).unwrap();
    }
    quoted.push('"');
    let text = format!(
        "[a]\nfingerprint = \"{key}\"\nservices = \"read\"\nfrom = {quoted}\naddress = {quoted}\nroot = \"x\"\nadded = {quoted}\n"
    );
    let home = landline::trust::home::Home::open(Some(&desk.home_path())).unwrap();
    home.replace("peers.toml", text.as_bytes()).unwrap();
    for args in [&["peers"][..], &["peers", "list", "--json"]] {
        let output = Run::new("tcp-server").args(args).env("LANDLINE_HOME", desk.home_path()).any_stderr().output();
        assert_safe(&format!("{args:?}"), &[&output.stdout[..], output.stderr.as_bytes()].concat());
    }
}

#[test]
fn a_bare_request_acts_on_no_operators_terminal() {
    let server = Server::with(&["--wire", "raw", "--reply", "print", "--guest", "echo"]);
    let mut socket = server.connect();
    socket.write_all(odd().as_bytes()).unwrap();
    assert_safe("--reply print", server.next_output().as_bytes());
}
