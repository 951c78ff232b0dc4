//! What is done to a server from outside, and to whom it listens: handshakes that go wrong, crowds,
//! lines that change their keys or are cut, peers that are revoked, other users of the machine.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Server};
use crate::raw::{Raw, request};
use crate::secure::Over;

mod crowd;
mod cut;
mod duplex;
mod flood;
mod handshake;
mod peers;
mod users;

/// The server lives, has not panicked, and serves its own user.
fn assert_well(server: &Server) {
    assert_echoes(&mut Over::Tls.open(server));
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

fn assert_echoes<S: Read + Write>(raw: &mut Raw<S>) {
    raw.send(&request(r#""type":"echo""#, b"still there?"));
    assert_eq!(raw.answer().body, b"still there?");
}

/// Codes of the errors up to the end of the line; nothing else comes.
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

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
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
