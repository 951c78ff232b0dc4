//! Clients that vanish in the middle of things, in every way there is.

use super::{assert_well_for_guests, server};
use crate::harness::frames::{Raw, frame, request};
use crate::harness::process::is_running;
use crate::harness::tls::{Over, Wire};
use crate::harness::wait_until;

over_both! {
    an_upload_whose_sender_vanishes_leaves_nothing,
    a_command_whose_client_vanishes_is_ended_with_its_group,
    the_room_hears_that_a_member_vanished,
}

/// How a client vanishes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Gone {
    /// It says that nothing more will come, and closes.
    Fin,
    /// It closes without a word, as one whose process was killed; over TLS that is a cut.
    Cut,
    Reset,
    /// Nothing more will be said, but it still listens: that too ends an exchange.
    HalfClosed,
}

const WAYS: [Gone; 4] = [Gone::Fin, Gone::Cut, Gone::Reset, Gone::HalfClosed];

fn vanish(mut raw: Raw<Wire>, how: Gone) -> Option<Raw<Wire>> {
    match how {
        Gone::Fin => raw.end(),
        Gone::Cut => raw.cut(),
        Gone::Reset => {
            raw.reset();
            return None;
        }
        Gone::HalfClosed => {
            raw.end();
            return Some(raw);
        }
    }
    None
}

fn an_upload_whose_sender_vanishes_leaves_nothing(over: Over) {
    let server = server();
    for how in WAYS {
        for half in
            [request(r#""type":"data""#, &vec![1; 100_000]), frame(r#"{"type":"data","total_size":100000}"#, &[1; 999])]
        {
            let mut raw = over.open(&server);
            raw.send(&request(r#""type":"put","path":"file","name":"x","size":200000"#, &[]));
            raw.send(&half);
            wait_until("the upload has begun", || server.names(".").len() == 3);
            let kept = vanish(raw, how);
            wait_until("the half is gone", || server.names(".") == ["dir", "file"]);
            assert_eq!(server.read("file"), b"content", "{how:?}");
            drop(kept);
        }
    }
    assert_well_for_guests(&server);
}

fn a_command_whose_client_vanishes_is_ended_with_its_group(over: Over) {
    let server = server();
    // The second ignores the polite request, the third has stopped, the fourth writes all the time.
    for script in [
        "sleep 1000 & echo $$ $!; wait",
        "trap '' TERM HUP; sleep 1000 & echo $$ $!; while :; do wait; done",
        "sleep 1000 & echo $$ $!; kill -STOP $$",
        "sleep 1000 & echo $$ $!; exec yes",
    ] {
        for how in WAYS {
            let mut raw = over.open(&server);
            raw.send(&request(r#""type":"exec","form":"shell""#, script.as_bytes()));
            let body = String::from_utf8(raw.answer().body).unwrap();
            let pids: Vec<u32> =
                body.lines().next().unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
            assert_eq!(pids.len(), 2, "{body}");
            let kept = vanish(raw, how);
            wait_until(&format!("{script:?} is gone after {how:?}"), || !pids.iter().any(|pid| is_running(*pid)));
            drop(kept);
        }
    }
    assert_well_for_guests(&server);
}

fn the_room_hears_that_a_member_vanished(over: Over) {
    let server = server();
    let mut stays = over.open(&server);
    stays.send(&request(r#""type":"chat","room":"lobby","nick":"stays""#, &[]));
    assert_eq!(stays.answer().kind(), "joined");
    for how in WAYS {
        let mut raw = over.open(&server);
        raw.send(&request(r#""type":"chat","room":"lobby","nick":"goes""#, &[]));
        assert_eq!(stays.answer().header["nick"], "goes");
        let kept = vanish(raw, how);
        let left = stays.answer();
        assert_eq!((left.kind(), left.header["nick"].as_str()), ("left", Some("goes")), "{how:?}");
        drop(kept);
    }
    assert_well_for_guests(&server);
}
