//! Handshakes that are garbage, cut, slow, without a certificate or for something else.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::{assert_well, is_closed, rest_of, trickle};
use crate::harness::Server;
use crate::harness::frames::{HELLO, Raw, frame, request};
use crate::harness::machine::Machine;
use crate::harness::tls::{Client, Over};

/// How long a slow sender waits between two bytes for the server to have enough.
const PACE: Duration = Duration::from_millis(20);
/// With `--idle-timeout 2s` nothing unfinished lives longer than the first bytes' two seconds and two
/// more; without that option it would be ten or thirty, and ten again.
const PATIENCE_MAX: Duration = Duration::from_secs(9);

fn sent(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut socket = server.connect();
    // The server may close in the middle.
    drop(socket.write_all(bytes));
    socket
}

#[test]
fn garbage_ends_a_handshake() {
    let server = Server::with(&["--guest", "none"]);
    let hello = Client::own().client_hello();
    let behind = |garbage: &[u8]| [&hello[..], garbage].concat();
    for (what, bytes) in [
        ("0xff behind a ClientHello", behind(&[0xff; 64])),
        ("zeros behind a ClientHello", behind(&vec![0; 64 * 1024])),
        ("a second ClientHello", behind(&hello)),
        ("application data before its time", behind(b"\x17\x03\x03\x00\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")),
        ("a fatal alert", behind(b"\x15\x03\x03\x00\x02\x02\x28")),
        ("a record that is too long", b"\x16\x03\x01\xff\xff".iter().copied().chain(vec![1; 66_000]).collect()),
        ("records with nothing in them", b"\x16\x03\x01\x00\x00".repeat(10_000)),
        ("a handshake of 16 MiB", [b"\x16\x03\x01\x40\x00\x01\xff\xff\xff", &[0; 16_380][..]].concat()),
        ("no TLS behind its first byte", [b"\x16\x03".as_slice(), &[b'x'; 5_000]].concat()),
    ] {
        let socket = sent(&server, &bytes);
        let last = rest_of(&socket);
        assert!(last.first().is_none_or(|first| (0x14..=0x16).contains(first)), "{what}: only TLS is said: {last:?}");
    }
    // Every third byte bent. Some of that is still a ClientHello, so nothing comes behind it.
    for at in (0..hello.len()).step_by(3) {
        let mut bent = hello.clone();
        bent[at] ^= 1 << (at % 8);
        let socket = sent(&server, &bent);
        drop(socket.shutdown(Shutdown::Write));
        rest_of(&socket);
    }
    assert_well(&server);
    server.wait_for_log("TLS handshake");
}

#[test]
fn a_handshake_may_be_cut_anywhere() {
    let server = Server::with(&["--guest", "none"]);
    let hello = Client::own().client_hello();
    for cut in (0..=hello.len()).step_by(11).chain([1, 2, 3, 4, 5, 6, 9, hello.len()]) {
        let socket = sent(&server, &hello[..cut]);
        socket.shutdown(Shutdown::Write).unwrap();
        rest_of(&socket);
        let socket = sent(&server, &hello[..cut]);
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
    assert_well(&server);
    server.wait_for_log("hung up in the middle of the TLS handshake");
}

/// However often a byte comes, the whole has its time.
#[test]
fn what_trickles_in_is_ended_by_the_whole_deadline() {
    let server = Server::with(&["--guest", "echo", "--idle-timeout", "2s"]);
    let stranger = Machine::new();
    let hello = frame(&HELLO.replace("raw", &"r".repeat(3_000)), &[]);
    let slow = |stream: TcpStream| {
        stream.set_read_timeout(Some(PACE)).unwrap();
        stream
    };
    let client_hello = Client::own().client_hello();
    let (mut first, mut second) = (slow(server.connect()), slow(sent(&server, &client_hello)));
    let mut plain = slow(server.connect());
    let mut encrypted = stranger.connect(&server);
    encrypted.socket().set_read_timeout(Some(PACE)).unwrap();
    thread::scope(|scope| {
        let (client_hello, hello) = (&client_hello, &hello);
        // A record of 16 KiB, of which every byte is awaited before one of them is looked at.
        let record = b"\x17\x03\x03\x40\x00";
        let tricklers = [
            ("a ClientHello", scope.spawn(move || trickle(&mut first, client_hello))),
            ("what follows a ClientHello", scope.spawn(move || trickle(&mut second, record))),
            ("a plain hello", scope.spawn(move || trickle(&mut plain, hello))),
            ("an encrypted hello", scope.spawn(move || trickle(&mut encrypted.stream, hello))),
        ];
        for (what, trickler) in tricklers {
            let borne = trickler.join().unwrap();
            eprintln!("{what} was listened to for {borne:?}");
            assert!(borne < PATIENCE_MAX, "{what} was listened to for {borne:?}");
        }
    });
    // The same in silence: half a ClientHello, and a handshake with nothing behind it.
    let half = Client::own().client_hello()[..300].to_vec();
    rest_of(&sent(&server, &half));
    let mut silent = stranger.connect(&server);
    assert_eq!(super::codes(&mut silent), ["timed-out"]);
    assert_well(&server);
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let server = Server::with(&["--guest", "all"]);
    // In TLS 1.3 it has finished before the server looks.
    let client = Client { home: None, ..Client::own() };
    for said_meanwhile in [0, 1, 50_000].repeat(10) {
        let mut tls = client.shake_hands(server.connect()).unwrap();
        // What it says before it hears of that does not keep it from hearing.
        drop(tls.write_all(&vec![b'x'; said_meanwhile]));
        let refused = tls.read(&mut [0]).unwrap_err().to_string();
        assert!(refused.contains("CertificateRequired"), "behind {said_meanwhile} bytes: {refused}");
    }
    let log = server.wait_for_log("disconnected");
    assert!(log.contains("peer sent no certificates"), "{log}");
    assert_well(&server);
}

#[test]
fn another_protocol_inside_is_refused() {
    let server = Server::with(&["--guest", "all"]);
    for protocols in [vec!["h2", "http/1.1"], vec!["landline/2"]] {
        let client = Client { protocols, ..Client::own() };
        let refused = client.shake_hands(server.connect()).err().map(|error| error.to_string());
        assert!(refused.as_ref().is_some_and(|why| why.contains("NoApplicationProtocol")), "{refused:?}");
    }
    server.wait_for_log("speak landline/1 inside TLS");
    // A client that names none has no words of TLS for it, and is told in ours.
    let client = Client { protocols: Vec::new(), ..Client::own() };
    let mut raw = Raw { stream: client.shake_hands(server.connect()).unwrap() };
    raw.send_what_goes(&[frame(HELLO, &[]), request(r#""type":"pwd""#, &[])].concat());
    assert_eq!(super::codes(&mut raw), ["bad-request"]);
    assert_well(&server);
}

/// The tutorials' clients connect first, and then a person begins to think.
#[test]
fn only_the_tutorials_wires_wait_for_their_first_bytes() {
    let bare = Server::with(&["--guest", "all", "--wire", "raw", "--reply", "upper"]);
    let server = Server::with(&["--guest", "all"]);
    let mut thinking = bare.connect();
    let mut silent = Raw { stream: server.connect() };
    assert_eq!(super::codes(&mut silent), ["timed-out"], "who speaks frames begins at once");
    assert!(!is_closed(&thinking));
    thinking.write_all(b"hello").unwrap();
    let mut reply = [0; 5];
    thinking.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"HELLO");
    assert_well(&server);
    assert_well(&bare);
}

/// The end that closes says so inside the encryption, or any cut could look like its end.
#[test]
fn the_server_says_farewell() {
    let server = Server::with(&["--guest", "none"]);
    let mut raw = Over::Tls.open(&server);
    raw.send(b"\xff\xff\xff\xff");
    assert_eq!(raw.answer().code(), "bad-frame");
    assert_eq!(raw.stream.read(&mut [0]).unwrap(), 0);
    let mut raw = Over::Tls.open(&server);
    raw.end();
    assert_eq!(raw.stream.read(&mut [0]).unwrap(), 0);
    let mut raw = Over::Tls.open(&server);
    let mut server = server;
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(raw.answer().code(), "shutting-down");
    assert_eq!(raw.stream.read(&mut [0]).unwrap(), 0);
    assert!(server.wait().0.success());
}
