//! Many at once: who makes way for whom, and what the one who is turned away can read.

use std::io::Write as _;
use std::net::TcpStream;

use landline::net::gate::{FAILURES_MAX, NEWCOMERS_MAX, raise_descriptor_limit};

use super::{assert_well, codes, is_closed, rest_of};
use crate::harness::frames::{HELLO, Raw, frame};
use crate::harness::machine::Machine;
use crate::harness::skip::outer_address;
use crate::harness::tls::{Client, Over};
use crate::harness::{Run, Server, wait_until};

#[test]
fn among_a_thousand_silent_ones_a_known_peer_gets_in_at_once() {
    raise_descriptor_limit();
    let (desk, laptop, stranger) = (Machine::new(), Machine::new(), Machine::new());
    desk.knows(&[("laptop", laptop.fingerprint(), "echo")]);
    let server = Server::at_home(&["--guest", "none"], &desk.home_path());
    let half = &Client::own().client_hello()[..200];
    let mut silent = Vec::new();
    for n in 0..1_000 {
        let mut socket = server.connect();
        match n % 3 {
            0 => silent.push(socket),
            1 => {
                drop(socket.write_all(half));
                silent.push(socket);
            }
            _ => silent.push(stranger.client().shake_hands(socket).unwrap().sock),
        }
    }
    let mut first = laptop.open(&server);
    // It did not wait until they were given up.
    let open = silent.iter().filter(|socket| !is_closed(socket)).count();
    assert!((1..=NEWCOMERS_MAX).contains(&open), "{open} strangers are still inside");
    first.assert_echoes();
    for _ in 0..20 {
        laptop.open(&server).assert_echoes();
    }
}

#[test]
fn the_oldest_newcomer_makes_way_and_who_is_in_stays() {
    let server = Server::with(&["--guest", "echo"]);
    let mut admitted = Over::Plain.open(&server);
    let mut also_admitted = Over::Tls.open(&server);
    let newcomers: Vec<TcpStream> = (0..=NEWCOMERS_MAX).map(|_| server.connect()).collect();
    rest_of(&newcomers[0]);
    assert!(!newcomers[1..].iter().any(is_closed), "one came in, so one had to go");
    // What a newcomer has half said does not make it older or younger.
    let mut second = &newcomers[1];
    second.write_all(&Client::own().client_hello()[..100]).unwrap();
    let _one_more = server.connect();
    rest_of(&newcomers[1]);
    admitted.assert_echoes();
    also_admitted.assert_echoes();
    // The third says who it is before its place comes, and stays.
    let mut third = Raw { stream: &newcomers[2] };
    third.greet();
    let _two_more = [server.connect(), server.connect()];
    rest_of(&newcomers[3]);
    third.assert_echoes();
}

#[test]
fn a_known_peer_takes_the_oldest_guests_place() {
    let server = Server::with(&["--guest", "echo", "--max-connections", "2"]);
    let mut first = Over::Plain.open(&server);
    let mut second = Machine::new().open(&server);
    let mut third = Over::Plain.connect(&server);
    third.send(&frame(HELLO, &[]));
    assert_eq!(codes(&mut third), ["busy"]);
    let mut own = Over::Tls.open(&server);
    assert!(first.rest().is_empty());
    second.assert_echoes();
    let mut also_own = Over::Tls.open(&server);
    assert!(second.rest().is_empty());
    let mut one_too_many = Over::Tls.connect(&server);
    one_too_many.send(&frame(HELLO, &[]));
    assert_eq!(codes(&mut one_too_many), ["busy"]);
    own.assert_echoes();
    also_own.assert_echoes();
}

/// Everybody behind one router, or on this machine, has the same address.
#[test]
fn guests_from_the_same_address_keep_no_known_peer_out() {
    let server = Server::with(&["--guest", "echo", "--max-per-address", "3"]);
    let mut guests: Vec<_> = (0..3).map(|_| Over::Plain.open(&server)).collect();
    let mut fourth = Over::Plain.connect(&server);
    fourth.send_what_goes(&frame(HELLO, &[]));
    assert_eq!(codes(&mut fourth), ["busy"]);
    Over::Tls.open(&server).assert_echoes();
    guests[2].assert_echoes();
}

#[test]
fn a_full_server_says_so_to_an_encrypted_client() {
    let full = "2 connections here, which is the limit for one address";
    let server = Server::with(&["--guest", "none", "--max-per-address", "2"]);
    let (first, second) = (Over::Tls.open(&server), Over::Tls.open(&server));
    let run = |program: &str| Run::new(program).args([server.address()]).stdin("echo hi\n");
    run("tcp-client").code(1).stderr(full).prints("");
    Run::new("rexec").args([server.address(), "true"]).code(251).stderr(full).prints("");
    drop((first, second));
    server.wait_for_log("disconnected");
    wait_until("both have gone", || server.log().matches("disconnected").count() >= 2);
    run("tcp-client").prints("hi\n");
    // Beyond --max-connections it is told inside the encryption.
    let server = Server::with(&["--guest", "none", "--max-connections", "1"]);
    let _only = Over::Tls.open(&server);
    let run = Run::new("tcp-client").args([server.address()]).stdin("echo hi\n");
    run.code(1).stderr("the server has 1 connections, which is its limit").prints("");
}

/// Not on loopback, where it would lock out the user: on the address that other machines see.
#[test]
fn an_address_that_fails_too_often_is_turned_away() {
    let Some(address) = outer_address() else { return };
    let bound = format!("{address}:0");
    let server = Server::with(&["--guest", "none", "--bind", &bound, "--bind", "127.0.0.1:0"]);
    let own_before = Run::new("tcp-client").args([server.address()]).stdin("echo hi\n");
    own_before.prints("hi\n");
    let mut held = Over::Tls.open(&server);
    for _ in 0..FAILURES_MAX {
        let mut socket = server.connect();
        socket.write_all(b"\x16\x03\x01\x00\x05nonsense").unwrap();
        rest_of(&socket);
    }
    // The last failure is counted when its handshake is over, which its end says.
    let refused = format!("your address failed to come in {FAILURES_MAX} times within a minute");
    let run = Run::new("tcp-client").args([server.address()]).stdin("echo hi\n");
    // Said before anything could be encrypted, and understood all the same.
    let output = run.code(1).stderr(&refused).output();
    assert!(output.stderr.contains("(said unencrypted)"), "{}", output.stderr);
    let mut raw = Raw { stream: server.connect() };
    assert_eq!(codes(&mut raw), ["busy"]);
    held.assert_echoes();
    // By another way the user gets in, and there nothing is counted.
    let loopback = server.addresses()[1].clone();
    for _ in 0..2 * FAILURES_MAX {
        let mut socket = TcpStream::connect(&loopback).unwrap();
        socket.write_all(b"\x16\x03\x01\x00\x05nonsense").unwrap();
        rest_of(&socket);
    }
    Run::new("tcp-client").args([loopback]).stdin("echo hi\n").prints("hi\n");
}

#[test]
fn failed_handshakes_lock_no_client_out_of_loopback() {
    let server = Server::with(&["--guest", "none"]);
    for _ in 0..2 * FAILURES_MAX {
        let mut socket = server.connect();
        socket.write_all(b"\x16\x03\x01\x00\x05nonsense").unwrap();
        rest_of(&socket);
    }
    assert_well(&server);
}

/// However few descriptors there are: silent newcomers, admitted guests and those who are turned away leave room for a
/// known peer and for what it runs.
#[test]
fn few_descriptors_keep_no_known_peer_out() {
    raise_descriptor_limit();
    for descriptors in [256, 1_024] {
        let (desk, laptop) = (Machine::new(), Machine::new());
        desk.knows(&[("laptop", laptop.fingerprint(), "echo,exec")]);
        let server = Server::with_descriptors(
            &["--guest", "echo", "--max-per-address", "100000"],
            &desk.home_path(),
            descriptors,
        );
        let mut crowd = Vec::new();
        for n in 0..descriptors + 300 {
            let mut socket = server.connect();
            // Every other one is let in, or turned away.
            if n % 2 == 0 {
                socket.write_all(&frame(HELLO, &[])).unwrap();
            }
            crowd.push(socket);
        }
        for _ in 0..5 {
            let mut raw = laptop.open(&server);
            raw.assert_echoes();
            raw.send(&crate::harness::frames::request(r#""type":"exec","form":"shell""#, b"echo runs"));
            assert_eq!(raw.answer().body, b"runs\n", "with {descriptors} descriptors");
            let mut socket = server.connect();
            socket.write_all(&frame(HELLO, &[])).unwrap();
            crowd.push(socket);
        }
        let log = server.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}
