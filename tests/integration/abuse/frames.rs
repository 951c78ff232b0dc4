//! The valid conversations, cut, reset, bent and trickled.

use super::{assert_ends, assert_well_for_guests, conversations, server};
use crate::harness::frames::{HELLO, frame};
use crate::harness::rounds;
use crate::harness::tls::Over;

over_both! {
    a_conversation_may_end_at_every_byte,
    a_conversation_may_be_reset_at_every_byte,
    every_byte_of_a_conversation_may_be_bent,
    a_conversation_may_come_one_byte_at_a_time,
}

fn a_conversation_may_end_at_every_byte(over: Over) {
    let server = server();
    for (name, bytes, _) in conversations() {
        for cut in 0..bytes.len() {
            let mut raw = over.connect(&server);
            raw.send(&bytes[..cut]);
            raw.end();
            // Whatever comes is whole frames, and then the connection ends.
            let answers = raw.rest();
            assert!(cut < frame(HELLO, &[]).len() || answers[0].kind() == "hello", "{name} cut at {cut}: {answers:?}");
        }
        assert_well_for_guests(&server);
    }
    assert_eq!(server.names("."), ["dir", "file", "pushed"], "no half of a file is left");
    assert_eq!(server.read("pushed"), b"hello", "it was whole before the cut");
}

fn a_conversation_may_be_reset_at_every_byte(over: Over) {
    let server = server();
    for (_, bytes, _) in conversations() {
        for cut in 0..bytes.len() {
            let mut raw = over.connect(&server);
            raw.send(&bytes[..cut]);
            raw.reset();
        }
        assert_well_for_guests(&server);
    }
    server.wait_until_all_have_left();
    let left: Vec<String> = server.names(".").into_iter().filter(|name| name.contains("part")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn every_byte_of_a_conversation_may_be_bent(over: Over) {
    let server = server();
    for (name, bytes, _) in conversations() {
        for at in 0..bytes.len() {
            // One bit of each byte here, or two, and others in the next: the codec's unit tests do all.
            for bit in [at % 8, (at + 3) % 8].into_iter().take(rounds(1)) {
                let mut bent = bytes.clone();
                bent[at] ^= 1 << bit;
                let mut raw = over.connect(&server);
                raw.send_what_goes(&bent);
                raw.end();
                let mut answers = raw.rest();
                if let Some(last) = answers.pop() {
                    // Nothing is said after the error that closes a connection.
                    let closing = answers.iter().find(|a| a.kind() == "error" && a.code() == "bad-frame");
                    assert!(closing.is_none(), "{name}, byte {at}, bit {bit}: {closing:?} and then {last:?}");
                }
            }
        }
        assert_well_for_guests(&server);
    }
}

fn a_conversation_may_come_one_byte_at_a_time(over: Over) {
    let server = server();
    for (name, bytes, last) in conversations() {
        let mut raw = over.connect(&server);
        for byte in &bytes {
            raw.send(&[*byte]);
        }
        assert_ends(&mut raw, name, last);
    }
    assert_well_for_guests(&server);
}
