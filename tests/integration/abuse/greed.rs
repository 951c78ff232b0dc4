//! Clients that wait, flood or do not read: told, closed, and never at another's cost.

use std::io::Write as _;

use super::{assert_well_for_guests, server};
use crate::harness::frames::{Answer, HELLO, Raw, frame, request};
use crate::harness::process::{is_running, memory_kib};
use crate::harness::tls::{Over, Wire};
use crate::harness::{Server, wait_until};

/// What a server may weigh at most while clients misbehave, in KiB; idle it is about 8 MiB.
const RSS_MAX_KIB: u64 = 64 * 1024;

over_both! {
    a_client_that_says_nothing_is_told_and_closed,
    more_stdin_than_was_granted_ends_the_command,
    empty_pieces_of_stdin_pile_up_nowhere,
    a_client_that_never_reads_delays_no_other_and_takes_no_memory,
}

fn a_client_that_says_nothing_is_told_and_closed(over: Over) {
    let server = Server::with(&["--guest", "all", "--idle-timeout", "1s"]);
    let hello = frame(HELLO, &[]);
    let pwd = request(r#""type":"pwd""#, &[]);
    let behind_hello = [&hello[..], &pwd[..7]].concat();
    let mut waiting: Vec<(&str, Raw<Wire>)> = [
        ("nothing", &b""[..]),
        ("two bytes", &hello[..2]),
        ("half a greeting", &hello[..20]),
        ("a greeting", &hello[..]),
        ("a greeting and half a request", &behind_hello[..]),
    ]
    .into_iter()
    .map(|(what, bytes)| {
        let mut raw = over.connect(&server);
        raw.send(bytes);
        (what, raw)
    })
    .collect();
    for (what, raw) in &mut waiting {
        let last = raw.rest().pop();
        assert_eq!(last.as_ref().map(Answer::code), Some("timed-out"), "after {what}: {last:?}");
    }
}

fn more_stdin_than_was_granted_ends_the_command(over: Over) {
    let server = server();
    let mut raw = over.open(&server);
    raw.send(&request(r#""type":"exec","form":"shell""#, b"echo $$; exec sleep 1000"));
    let pid: u32 = String::from_utf8(raw.answer().body).unwrap().trim().parse().unwrap();
    assert!(is_running(pid));
    raw.send(&request(r#""type":"data""#, &vec![0; 256 * 1024]));
    raw.send_what_goes(&request(r#""type":"data""#, b"x"));
    let answers = raw.rest();
    assert!(answers.iter().any(|answer| answer.kind() == "error" && answer.code() == "bad-frame"), "{answers:?}");
    wait_until("the command is gone", || !is_running(pid));
    assert_well_for_guests(&server);
}

/// Credit counts bytes, and a piece of none costs none: it must not cost the server anything either.
fn empty_pieces_of_stdin_pile_up_nowhere(over: Over) {
    let server = server();
    let mut raw = over.open(&server);
    raw.send(&request(r#""type":"exec","form":"shell""#, b"echo ready; exec sleep 1000"));
    assert_eq!(raw.answer().body, b"ready\n");
    // The thread that writes stdin is busy with these.
    raw.send(&request(r#""type":"data""#, &vec![0; 200 * 1024]));
    let before = memory_kib(server.pid()).unwrap().now;
    let empty = frame(r#"{"type":"data"}"#, &[]).repeat(20_000);
    for _ in 0..50 {
        raw.send(&empty);
    }
    // An echo of our own would come too early: the signal is the last thing that is read.
    raw.send(&request(r#""type":"signal","signal":"KILL""#, &[]));
    while raw.answer().kind() != "outcome" {}
    let grown = memory_kib(server.pid()).unwrap().now.saturating_sub(before);
    assert!(grown < 8 * 1024, "a million empty pieces took {grown} KiB");
}

fn a_client_that_never_reads_delays_no_other_and_takes_no_memory(over: Over) {
    let server = server();
    let big = server.write("big", vec![7; 32 << 20]);
    for n in 0..3_000 {
        std::fs::write(server.root().join("dir").join(format!("{n}-{}", "n".repeat(200))), "").unwrap();
    }
    let mut deaf = Vec::new();
    for bytes in [
        request(r#""type":"get","path":"big""#, &[]),
        request(r#""type":"ls","path":"dir""#, &[]).repeat(50),
        request(r#""type":"exec","form":"shell""#, b"yes"),
        [&request(r#""type":"exec","form":"argv""#, b"cat\0")[..], &request(r#""type":"data""#, &vec![1; 200_000])]
            .concat(),
        request(r#""type":"chat","room":"lobby","nick":"deaf""#, &[]),
    ] {
        let mut raw = over.connect(&server);
        raw.small_window();
        raw.send(&[frame(HELLO, &[]), bytes].concat());
        deaf.push(raw);
    }
    // One that floods as long as it is read: an echo that is never read, a chat full of names.
    for (exchange, flood) in [
        (request(r#""type":"echo","streamed":true"#, &[]), request(r#""type":"data""#, &vec![3; 65_536])),
        (Vec::new(), request(r#""type":"echo""#, &vec![3; 65_536])),
        (
            request(r#""type":"chat","room":"lobby","nick":"flood""#, &[]),
            request(r#""type":"names""#, &[]).repeat(2_000),
        ),
    ] {
        let mut raw = over.connect(&server);
        raw.small_window();
        raw.send(&[frame(HELLO, &[]), exchange].concat());
        raw.socket().set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        for _ in 0..500 {
            if raw.stream.write_all(&flood).is_err() {
                break;
            }
        }
        deaf.push(raw);
        assert_well_for_guests(&server);
    }
    let mut speaker = over.open(&server);
    speaker.send(&request(r#""type":"chat","room":"lobby","nick":"speaker""#, &[]));
    for _ in 0..300 {
        speaker.send(&request(r#""type":"say""#, &vec![b'x'; 60_000]));
    }
    speaker.send(&request(r#""type":"names""#, &[]));
    while speaker.answer().kind() != "names" {}
    speaker.send(&request(r#""type":"end""#, &[]));
    while speaker.answer().kind() != "end" {}
    for _ in 0..20 {
        assert_well_for_guests(&server);
    }
    let rss = memory_kib(server.pid()).unwrap().now;
    assert!(rss < RSS_MAX_KIB, "the server takes {rss} KiB");
    drop((deaf, big));
}
