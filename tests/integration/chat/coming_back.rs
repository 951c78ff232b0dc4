//! A connection that is lost: no message that was acknowledged is lost, none comes twice, and the nick stays.

use super::{Member, number};
use crate::harness::{Server, wait_until};

const SECRET: &str = r#","client":"0123456789abcdef-ann""#;

#[test]
fn who_comes_back_gets_what_it_missed_and_keeps_its_nick() {
    let server = Server::start();
    let mut bob = Member::enter(&server, "lobby", "bob", r#","client":"0123456789abcdef-bob""#);
    let mut ann = Member::enter(&server, "lobby", "ann", SECRET);
    bob.send(r#""type":"say","id":1"#, "first");
    let seen = number(&ann.wait_for("say"), "seq");
    assert_eq!(number(&bob.wait_for("ack"), "seq"), seen);
    drop(ann);
    let left = bob.wait_for("left");
    assert_eq!((left.header["nick"].as_str(), left.header["lost"].as_bool()), (Some("ann"), Some(true)));
    bob.send(r#""type":"say","id":2"#, "second");
    bob.send(r#""type":"say","id":3,"to":"ann""#, "a secret");
    bob.send(r#""type":"say","id":4"#, "third");
    for id in 2..=4 {
        assert_eq!(number(&bob.wait_for("ack"), "id"), id, "also for a member that is away");
    }

    let refused = Member::ask(&server, "lobby", "\u{430}nn", "").raw.answer();
    assert_eq!(refused.code(), "name-taken", "the nick is kept: {}", refused.header);
    let mut ann = Member::enter(&server, "lobby", "ann", &format!(r#"{SECRET},"after":{seen},"direct_after":0"#));
    let missed: Vec<_> = (0..3).map(|_| ann.wait_for("say")).collect();
    let texts: Vec<&str> = missed.iter().map(|said| std::str::from_utf8(&said.body).unwrap()).collect();
    assert_eq!(texts, ["second", "third", "a secret"]);
    assert!(missed.iter().all(|said| said.header["past"] == true), "{missed:?}");
    bob.send(r#""type":"say""#, "welcome");
    assert_eq!(ann.texts_until("welcome"), ["welcome"]);
}

#[test]
fn a_message_that_is_sent_again_is_delivered_once() {
    let server = Server::start();
    let mut bob = Member::enter(&server, "lobby", "bob", r#","history":0"#);
    let mut ann = Member::enter(&server, "lobby", "ann", SECRET);
    ann.send(r#""type":"say","id":1"#, "one");
    ann.send(r#""type":"say","id":2"#, "two");
    let seq = number(&ann.wait_for("ack"), "seq");
    let last = number(&ann.wait_for("ack"), "seq");
    drop(ann);
    // The server may not know yet that the first connection is gone.
    let mut ann = Member::enter(&server, "lobby", "ann", &format!(r#"{SECRET},"after":{seq}"#));
    ann.send(r#""type":"say","id":1"#, "one");
    ann.send(r#""type":"say","id":2"#, "two");
    ann.send(r#""type":"say","id":3"#, "three");
    assert_eq!(number(&ann.wait_for("ack"), "id"), 1);
    assert_eq!(number(&ann.wait_for("ack"), "seq"), last, "the number that it got the first time");
    assert_eq!(number(&ann.wait_for("ack"), "id"), 3);
    assert_eq!(bob.texts_until("three"), ["one", "two", "three"]);
}

#[test]
fn who_comes_back_ends_its_own_earlier_connection_and_no_other() {
    let server = Server::start();
    let mut ann = Member::enter(&server, "lobby", "ann", SECRET);
    let other = r#","client":"0123456789abcdef-eve""#;
    assert_eq!(Member::ask(&server, "lobby", "ann", other).raw.answer().code(), "name-taken");
    let mut again = Member::enter(&server, "lobby", "ann", SECRET);
    wait_until("the earlier connection has ended", || ann.raw.next().is_none());
    again.send(r#""type":"names""#, "");
    assert_eq!(again.wait_for("names").body, b"ann");
}

#[test]
fn who_enters_gets_the_past_that_it_wants_and_a_gap_is_told() {
    let server = Server::start();
    let mut bob = Member::enter(&server, "lobby", "bob", r#","history":5"#);
    for text in ["a", "b", "c"] {
        bob.send(r#""type":"say","id":1"#, text);
        bob.wait_for("ack");
    }
    let mut ann = Member::enter(&server, "lobby", "ann", r#","history":2"#);
    let past = ann.wait_for("say");
    assert_eq!((past.body.as_slice(), past.header["nick"].as_str()), (&b"b"[..], Some("bob")));
    assert_eq!(ann.texts_until("c"), ["c"]);
    let mut eve = Member::enter(&server, "lobby", "eve", r#","after":7"#);
    assert_eq!(number(&eve.wait_for("dropped"), "count"), 0, "what came after 7 is not here");
    assert_eq!(eve.texts_until("c"), ["a", "b", "c"]);
}

#[test]
fn a_message_to_no_one_is_refused_with_its_number() {
    let server = Server::start();
    let mut ann = Member::enter(&server, "lobby", "ann", SECRET);
    ann.send(r#""type":"say","id":9,"to":"bob""#, "hi");
    let refused = ann.wait_for("refused");
    assert_eq!((number(&refused, "id"), refused.code()), (9, "not-found"));
    ann.send(r#""type":"say","id":10,"room":"attic""#, "hi");
    assert_eq!(number(&ann.wait_for("refused"), "id"), 10);
}

#[test]
fn one_address_cannot_push_out_what_is_kept_for_others() {
    use landline::chat::state::AWAY_PER_SUBJECT_MAX;
    let server = Server::start();
    let mut bob = Member::enter(&server, "attic", "bob", r#","history":0"#);
    for at in 0..=AWAY_PER_SUBJECT_MAX {
        let secret = format!(r#","client":"0123456789abcdef-{at}""#);
        drop(Member::enter(&server, "attic", &format!("m{at:04}"), &secret));
        bob.wait_for("left");
    }
    // The first of them gave way, the second is kept.
    bob.send(r#""type":"who","nick":"m0000""#, "");
    assert_eq!(bob.wait_for("error").code(), "not-found");
    bob.send(r#""type":"who","nick":"m0001""#, "");
    let who: serde_json::Value = serde_json::from_slice(&bob.wait_for("who").body).unwrap();
    assert_eq!(who["lost"], true);
}

#[test]
fn a_text_that_is_too_long_is_refused_with_its_number() {
    let server = Server::start();
    let mut ann = Member::enter(&server, "lobby", "ann", SECRET);
    ann.send(r#""type":"say","id":1"#, &"x".repeat(70_000));
    let refused = ann.wait_for("refused");
    assert_eq!((number(&refused, "id"), refused.code()), (1, "bad-request"));
    ann.send(r#""type":"say","id":2"#, "short");
    assert_eq!(number(&ann.wait_for("ack"), "id"), 2);
}
