//! What is done to a server from outside: frames that are cut, bent or lie, handshakes that go wrong, crowds and
//! floods, clients that stop, vanish or never read, connections that change their keys or are cut, peers that are
//! revoked, other users of the machine. The server answers or closes, never panics, keeps its memory, and goes on
//! serving everyone else: over a plain connection as over an encrypted one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use landline::wire::Message;

use crate::harness::frames::{HELLO, Raw, frame, is_timeout, push, put, request};
use crate::harness::tls::{Over, Wire};
use crate::harness::{DEADLINE, Server};

/// Makes two tests of each case.
macro_rules! over_both {
    ($($case:ident),+ $(,)?) => {
        mod plain {
            $(#[test]
            fn $case() {
                super::$case(crate::harness::tls::Over::Plain);
            })+
        }
        mod tls {
            $(#[test]
            fn $case() {
                super::$case(crate::harness::tls::Over::Tls);
            })+
        }
    };
}

mod crowd;
mod cut;
mod disk;
mod duplex;
mod flood;
mod frames;
mod gone;
mod greed;
mod handshake;
mod peers;
mod users;
mod words;

over_both! {
    the_valid_conversations_are_valid,
}

/// One valid conversation a verb: the bytes of its client, and the frames with one of which the server ends it.
fn conversations() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let end = request(r#""type":"end""#, &[]);
    let exchanges = vec![
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
    for (verb, services) in Message::REQUESTS {
        // Pairing has tests of its own: it needs an offer.
        let is_here = exchanges.iter().any(|(name, ..)| name == verb);
        assert!(is_here || services.is_empty(), "{verb} has no conversation here");
    }
    exchanges.into_iter().map(|(name, exchange, last)| (name, [frame(HELLO, &[]), exchange].concat(), last)).collect()
}

/// Everything for guests; a file and a directory are there.
fn server() -> Server {
    let server = Server::start();
    server.write("file", "content");
    server.write("dir/inner", "x");
    server
}

/// The server lives, has not panicked, and serves its own user.
fn assert_well(server: &Server) {
    Over::Tls.open(server).assert_echoes();
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// The same, and a guest is served over a plain connection; for a server made by `server()`.
fn assert_well_for_guests(server: &Server) {
    let mut guest = Raw::open(server);
    guest.assert_echoes();
    guest.send(&request(r#""type":"get","path":"file""#, &[]));
    assert_eq!(guest.answer().kind(), "file");
    assert_well(server);
}

/// Codes of the errors up to the end of the connection; nothing else comes.
fn codes<S: Read>(raw: &mut Raw<S>) -> Vec<String> {
    raw.rest().iter().map(|answer| answer.code().to_owned()).collect()
}

/// Everything that comes up to the end, however that comes.
fn rest_of(mut socket: &TcpStream) -> Vec<u8> {
    let mut came = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match socket.read(&mut piece) {
            Ok(0) => return came,
            Ok(len) => came.extend_from_slice(&piece[..len]),
            Err(error) => {
                assert!(!is_timeout(&error), "the server did not close within {DEADLINE:?}");
                return came;
            }
        }
    }
}

/// Whether the other end has closed, without waiting for it.
fn is_closed(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    let seen = socket.peek(&mut [0]);
    socket.set_nonblocking(false).unwrap();
    match seen {
        Ok(len) => len == 0,
        Err(error) => !is_timeout(&error),
    }
}

/// Sends `bytes` one at a time, waiting `pace` in between for the server to end it; returns how long it bore with that.
fn trickle<S: Read + Write>(stream: &mut S, bytes: &[u8]) -> Duration {
    let started = Instant::now();
    let mut piece = [0; 1024];
    for byte in bytes.iter().cycle() {
        assert!(started.elapsed() < DEADLINE, "the server listens to a trickle for ever");
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(_) => break,
        }
    }
    started.elapsed()
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

fn the_valid_conversations_are_valid(over: Over) {
    let server = server();
    for (name, bytes, last) in conversations() {
        let mut raw = over.connect(&server);
        raw.send(&bytes);
        assert_ends(&mut raw, name, last);
    }
    assert_well_for_guests(&server);
}
