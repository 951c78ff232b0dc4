//! Strangers with bad intentions or bad cables: frames that are cut, bent or lie, senders that stop,
//! readers that do not read, clients that vanish. The server answers or closes, never panics, keeps
//! its memory, and goes on serving everybody else: over a plain line as over an encrypted one.

use landline::serve::VERBS;

use crate::harness::Server;
use crate::raw::{HELLO, Raw, frame, push, put, request};
use crate::secure::{Over, Wire};

/// Makes two tests of each case.
macro_rules! over_both {
    ($($case:ident),+ $(,)?) => {
        mod plain {
            $(#[test]
            fn $case() {
                super::$case(crate::secure::Over::Plain);
            })+
        }
        mod tls {
            $(#[test]
            fn $case() {
                super::$case(crate::secure::Over::Tls);
            })+
        }
    };
}

mod disk;
mod frames;
mod gone;
mod greed;
mod words;

over_both! {
    the_valid_conversations_are_valid,
}

/// One valid conversation a verb: the bytes of its client, and the frames with one of which the server ends it.
fn conversations() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let end = request(r#""type":"end""#, &[]);
    let turns = vec![
        ("echo", request(r#""type":"echo""#, b"hello"), "echo"),
        (
            "echo",
            [request(r#""type":"echo","streamed":true"#, &[]), request(r#""type":"data""#, b"hello"), end.clone()]
                .concat(),
            "end",
        ),
        (
            "chat",
            [
                request(r#""type":"chat","room":"lobby","nick":"ann""#, &[]),
                request(r#""type":"say""#, b"hello"),
                request(r#""type":"nick","nick":"bob""#, &[]),
                request(r#""type":"names""#, &[]),
                end.clone(),
            ]
            .concat(),
            "end",
        ),
        (
            "exec",
            [
                request(r#""type":"exec","form":"argv""#, b"cat\0"),
                request(r#""type":"data""#, b"hello"),
                request(r#""type":"eof""#, &[]),
                request(r#""type":"signal","signal":"INT""#, &[]),
                end.clone(),
            ]
            .concat(),
            "end",
        ),
        // What is kept belongs to a key: without one these are refused.
        ("jobs", request(r#""type":"jobs""#, &[]), "end|error"),
        (
            "attach",
            [request(r#""type":"attach","job":"00000000","watch":"follow""#, &[]), end.clone()].concat(),
            "error",
        ),
        ("kill", request(r#""type":"kill","job":"00000000""#, &[]), "error"),
        ("place", request(r#""type":"place","place":"p","path":"dir","variables":1"#, b"A=b\0"), "cwd|error"),
        ("places", request(r#""type":"places""#, &[]), "end|error"),
        ("cd", request(r#""type":"cd","path":"dir""#, &[]), "cwd"),
        ("pwd", request(r#""type":"pwd""#, &[]), "cwd"),
        ("ls", request(r#""type":"ls","path":".""#, &[]), "end"),
        ("get", request(r#""type":"get","path":"file""#, &[]), "end"),
        ("put", put("new", b"hello"), "ok"),
        ("pull", [request(r#""type":"pull""#, br#"{"paths":["file"]}"#), end.clone()].concat(), "end"),
        ("push", push("pushed", b"hello"), "end"),
        ("mkdir", request(r#""type":"mkdir","path":"made","parents":true"#, &[]), "ok"),
        ("rm", request(r#""type":"rm","path":"made","recursive":true"#, &[]), "ok"),
        ("mv", request(r#""type":"mv","path":"new","to":"dir""#, &[]), "ok"),
        ("parts", request(r#""type":"parts","path":"dir""#, &[]), "end"),
    ];
    for verb in VERBS {
        assert!(turns.iter().any(|(name, ..)| *name == verb.name), "{} has no conversation here", verb.name);
    }
    turns.into_iter().map(|(name, turn, last)| (name, [frame(HELLO, &[]), turn].concat(), last)).collect()
}

fn server() -> Server {
    let server = Server::start();
    server.write("file", "content");
    server.write("dir/inner", "x");
    server
}

/// The server lives, has not panicked, and serves somebody who knows how to behave.
fn assert_well(server: &Server) {
    let mut guest = Raw::open(server);
    guest.send(&request(r#""type":"echo""#, b"still there?"));
    assert_eq!(guest.answer().body, b"still there?");
    guest.send(&request(r#""type":"get","path":"file""#, &[]));
    assert_eq!(guest.answer().kind(), "file");
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// Reads up to `last`, and meets no error on the way.
fn assert_ends(raw: &mut Raw<Wire>, name: &str, last: &str) {
    assert_eq!(raw.answer().kind(), "hello");
    loop {
        let answer = raw.answer();
        if last.split('|').any(|last| answer.kind() == last) {
            return;
        }
        assert_ne!(answer.kind(), "error", "{name}: {}", answer.header);
    }
}

fn lines_open(server: &Server) -> usize {
    let log = server.log();
    log.matches(" connected ").count() - log.matches(" disconnected ").count()
}

/// Running processes, zombies apart.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn the_valid_conversations_are_valid(over: Over) {
    let server = server();
    for (name, bytes, last) in conversations() {
        let mut raw = over.connect(&server);
        raw.send(&bytes);
        assert_ends(&mut raw, name, last);
    }
    assert_well(&server);
}
