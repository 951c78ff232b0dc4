//! A server that runs as root does not run commands for other machines, unless its operator has said so.

use std::net::TcpStream;

use crate::harness::frames::{HELLO, Raw, frame, request};
use crate::harness::{DEADLINE, Run, Server, skip};

/// A server that everybody can reach, at loopback and at this machine's own address; `None` is said.
fn reachable(args: &[&str]) -> Option<(Server, String, String)> {
    if !skip::is_root("what a server of root's refuses") {
        return None;
    }
    let outer = skip::outer_address()?;
    let server = Server::with(&[args, &["--bind", "0.0.0.0:0", "--guest", "all", "--insecure"]].concat());
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    Some((server, format!("{outer}:{port}"), format!("127.0.0.1:{port}")))
}

/// What `hello` says at an address, to a client that proves nothing, and how a command is answered.
fn asked_at(address: &str) -> (Vec<String>, String, String) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut raw = Raw { stream };
    raw.send(&frame(HELLO, &[]));
    let hello = raw.answer().header;
    let verbs = hello["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap().to_owned()).collect();
    raw.send(&request(r#""type":"exec","form":"shell""#, b"true"));
    raw.send(&request(r#""type":"end""#, &[]));
    let answer = raw.answer();
    (verbs, answer.kind().to_owned(), answer.header["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn root_runs_commands_for_this_machine_only() {
    let Some((server, outer, loopback)) = reachable(&[]) else { return };
    let why = "exec is not allowed here: this server runs as root";
    // Also its own user, with no exception.
    let own = Run::new("rexec").args([&outer, "true"]).code(251).stderr(why).output();
    assert!(own.stderr.contains("unless its operator allows exec as root"), "{}", own.stderr);
    let (verbs, kind, said) = asked_at(&outer);
    assert!(!verbs.iter().any(|verb| verb == "exec") && verbs.iter().any(|verb| verb == "put"), "{verbs:?}");
    assert!(kind == "error" && said.starts_with(why), "{kind} {said}");
    // All else goes on.
    Run::new("tcp-client").args([&outer]).stdin("echo hi\npwd\n").prints("hi\n/\n");
    Run::new("rexec").args([&loopback, "echo hi"]).prints("hi\n");
    assert!(asked_at(&loopback).0.iter().any(|verb| verb == "exec"));
    let log = server.stop().1;
    assert_eq!(log.matches("--exec-as-root would allow it").count(), 1, "{log}");
    assert!(!log.contains("has exec"), "{log}");
}

#[test]
fn unless_its_operator_says_so() {
    let Some((server, outer, _)) = reachable(&["--exec-as-root"]) else { return };
    Run::new("rexec").args([&outer, "echo hi"]).prints("hi\n");
    assert_eq!(server.stop().1.matches("a client that may exec is root here").count(), 1);
}

#[test]
fn a_tutorials_client_is_told_too() {
    let Some((_server, outer, loopback)) = reachable(&["--wire", "json", "--reply", "exec"]) else { return };
    let bare = |at: &str| Run::new("rexec").args(["--wire", "json", &format!("tcp://{at}"), "echo hi"]).output();
    let refused = bare(&outer);
    assert!(refused.text().starts_with("this is not allowed here: this server runs as root"), "{}", refused.text());
    assert_eq!(bare(&loopback).text(), "hi\n");
}

#[test]
fn nothing_is_said_where_no_other_machine_can_come_in() {
    assert!(!Server::start().stop().1.contains("as root"));
}
