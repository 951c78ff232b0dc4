//! Both directions at once over one encrypted connection, with keys that change under way, and a room
//! in which one member does not listen.

use std::io::Read as _;
use std::sync::Arc;
use std::thread;

use landline::net::Stream;
use landline::net::stream::{ReadHalf, WriteHalf};
use landline::trust::home::Home;
use landline::trust::identity::Identity;

use super::assert_well;
use crate::harness::frames::{HELLO, Raw, frame, is_timeout, request};
use crate::harness::tls::{Over, Wire, change_keys};
use crate::harness::{DEADLINE, Server, own_home};

/// Bytes of one `data` frame.
const PIECE_LEN: usize = 256 * 1024;

/// Bytes that tell where they are: xorshift, eight at a time.
struct Pattern(u64);

impl Pattern {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            bytes.extend_from_slice(&self.0.to_le_bytes());
        }
        bytes
    }
}

/// The library's own encrypted stream, for two threads.
fn halves(server: &Server) -> (Raw<ReadHalf>, Raw<WriteHalf>) {
    let own = Identity::of(&Home::open(Some(&own_home())).unwrap()).unwrap();
    let stream = Stream::from(server.connect());
    let stream = stream.connect_tls(own.credentials(), Arc::new(|_| true), DEADLINE).unwrap();
    let (read, write) = stream.split();
    (Raw { stream: read }, Raw { stream: write })
}

fn encrypted(raw: &mut Raw<Wire>) -> &mut crate::harness::tls::Tls {
    match &mut raw.stream {
        Wire::Tls(tls) => tls,
        Wire::Plain(_) => panic!("a plain connection has no keys"),
    }
}

#[test]
fn bulk_goes_both_ways_at_once() {
    const PIECES: usize = 256;
    let server = Server::with(&["--guest", "none"]);
    let (mut receiver, mut sender) = halves(&server);
    thread::scope(|scope| {
        scope.spawn(move || {
            sender.send(&[frame(HELLO, &[]), request(r#""type":"echo","streamed":true"#, &[])].concat());
            let mut pattern = Pattern::new();
            for _ in 0..PIECES {
                sender.send(&request(r#""type":"data""#, &pattern.next(PIECE_LEN)));
            }
            sender.send(&request(r#""type":"end""#, &[]));
            sender
        });
        assert_eq!(receiver.answer().kind(), "hello");
        let (mut pattern, mut came) = (Pattern::new(), 0);
        loop {
            let answer = receiver.answer();
            if answer.kind() == "end" {
                break;
            }
            assert!(answer.body == pattern.next(answer.body.len()), "differs behind byte {came}");
            came += answer.body.len();
        }
        assert_eq!(came, PIECES * PIECE_LEN);
    });
    assert_well(&server);
}

#[test]
fn keys_may_change_in_the_middle_of_bulk() {
    let server = Server::with(&["--guest", "none"]);
    let mut pattern = Pattern::new();
    let content = pattern.next(32 * PIECE_LEN);
    // Up: the server answers each change while it receives.
    let mut raw = Over::Tls.open(&server);
    let size = content.len();
    raw.send(&request(&format!(r#""type":"put","path":"big","name":"x","size":{size}"#), &[]));
    for piece in content.chunks(PIECE_LEN) {
        change_keys(encrypted(&mut raw));
        raw.send(&request(r#""type":"data""#, piece));
    }
    let blake3 = blake3::hash(&content).to_hex();
    raw.send(&request(&format!(r#""type":"end","size":{size},"blake3":"{blake3}""#), &[]));
    assert_eq!(raw.answer().kind(), "ok");
    assert!(server.read("big") == content);
    // Down: the changes come while the server sends.
    raw.send(&request(r#""type":"get","path":"big""#, &[]));
    assert_eq!(raw.answer().kind(), "file");
    let mut came = Vec::new();
    let mut changed = 0;
    loop {
        let answer = raw.answer();
        if answer.kind() == "end" {
            break;
        }
        came.extend_from_slice(&answer.body);
        if came.len() / PIECE_LEN > changed {
            changed += 1;
            change_keys(encrypted(&mut raw));
        }
    }
    assert!(came == content);
    // Both ways: an echo of what was not all read yet.
    raw.send(&request(r#""type":"echo","streamed":true"#, &[]));
    for (n, piece) in content.chunks(PIECE_LEN).enumerate() {
        raw.send(&request(r#""type":"data""#, piece));
        if n % 2 == 0 {
            change_keys(encrypted(&mut raw));
        }
        let mut back = Vec::new();
        while back.len() < piece.len() {
            back.extend(raw.answer().body);
        }
        assert!(back == piece, "piece {n}");
    }
    raw.send(&request(r#""type":"end""#, &[]));
    assert_eq!(raw.answer().kind(), "end");
    raw.assert_echoes();
}

/// An answer to it may wait for the next words (RFC 8446, 4.6.3), which must be in the new keys.
#[test]
fn keys_may_change_in_silence() {
    let server = Server::with(&["--guest", "none"]);
    let mut raw = Over::Tls.open(&server);
    for changes in [1, 2, 5] {
        for _ in 0..changes {
            change_keys(encrypted(&mut raw));
        }
        raw.assert_echoes();
    }
    // More than any client needs: the server may end that connection and must not weigh more for it.
    let tls = encrypted(&mut raw);
    for _ in 0..1_000 {
        if tls.conn.refresh_traffic_keys().is_err() {
            break;
        }
        while tls.conn.wants_write() && tls.conn.write_tls(&mut tls.sock).is_ok() {}
    }
    let ended = tls.read(&mut [0]);
    assert!(!ended.as_ref().is_err_and(is_timeout), "a thousand key changes were put up with: {ended:?}");
    server.wait_for_log("TooManyKeyUpdateRequests");
    assert_well(&server);
}

#[test]
fn a_member_that_does_not_read_keeps_no_other_waiting() {
    const WORDS: usize = 400;
    let server = Server::with(&["--guest", "none"]);
    let enter = |nick: &str| {
        let mut raw = Over::Tls.connect(&server);
        raw.greet();
        raw.send(&request(&format!(r#""type":"chat","room":"lobby","nick":"{nick}""#), &[]));
        assert_eq!(raw.answer().kind(), "joined");
        raw
    };
    let mut deaf = enter("deaf");
    let mut listener = enter("listener");
    let mut speaker = enter("speaker");
    let word = |n: usize| [n.to_string().as_bytes(), &vec![b'.'; 50_000]].concat();
    let check = |body: &[u8]| {
        let end = body.iter().position(|byte| *byte == b'.').unwrap();
        let n: usize = std::str::from_utf8(&body[..end]).unwrap().parse().unwrap();
        assert!(body == word(n), "word {n} is whole");
        n
    };
    // Word by word: who listens never has so much to read that some of it is dropped.
    for n in 0..WORDS {
        speaker.send(&request(r#""type":"say""#, &word(n)));
        let heard = std::iter::repeat_with(|| listener.answer()).find(|answer| answer.kind() != "joined").unwrap();
        assert_eq!((heard.kind(), check(&heard.body)), ("say", n));
    }
    // Now the other one does: whole words, in order, and how many are missing where they are missing.
    let (mut next, mut dropped) = (0, 0);
    while next < WORDS {
        let answer = deaf.answer();
        match answer.kind() {
            "say" => {
                assert_eq!(check(&answer.body), next);
                next += 1;
            }
            "dropped" => {
                let count = usize::try_from(answer.header["count"].as_u64().unwrap()).unwrap();
                dropped += count;
                next += count;
            }
            kind => assert_eq!(kind, "joined"),
        }
    }
    assert!(dropped > 0, "19 MiB do not fit into the buffers of one who does not read");
    deaf.send(&request(r#""type":"end""#, &[]));
    while deaf.answer().kind() != "end" {}
    deaf.assert_echoes();
}
