//! Several rooms, who is in them, and whose a nick is.

use serde_json::Value;

use super::Member;
use crate::harness::{Run, Server};

#[test]
fn a_client_is_in_several_rooms_and_leaves_them_one_by_one() {
    let server = Server::start();
    let mut ann = Member::enter(&server, "lobby", "ann", r#","history":0"#);
    let mut bob = Member::enter(&server, "attic", "bob", r#","history":0"#);
    ann.send(r#""type":"join","room":"attic""#, "");
    bob.wait_for("joined");
    bob.send(r#""type":"topic","room":"attic""#, "old things");
    assert_eq!(ann.wait_for("topic").body, "old things".as_bytes());
    ann.send(r#""type":"say","room":"attic""#, "hello");
    assert_eq!(bob.wait_for("say").header["room"], "attic");
    bob.send(r#""type":"say","room":"lobby""#, "let me in");
    assert_eq!(bob.wait_for("error").code(), "not-found");

    ann.send(r#""type":"rooms""#, "");
    let rows: Vec<Value> = String::from_utf8(ann.wait_for("rooms").body)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows[0], serde_json::json!({ "room": "attic", "members": 2, "topic": "old things" }));
    assert_eq!(rows[1], serde_json::json!({ "room": "lobby", "members": 1 }));
    ann.send(r#""type":"who","nick":"bob""#, "");
    let who: Value = serde_json::from_slice(&ann.wait_for("who").body).unwrap();
    assert_eq!((&who["kind"], &who["rooms"]), (&"guest".into(), &serde_json::json!(["attic"])));

    ann.send(r#""type":"leave","room":"attic""#, "");
    assert_eq!(bob.wait_for("left").header["room"], "attic");
    assert_eq!(ann.wait_for("left").header["nick"], "ann");
    ann.send(r#""type":"say","room":"attic""#, "still there?");
    assert_eq!(ann.wait_for("error").code(), "not-found");
    bob.send(r#""type":"nick","nick":"robert""#, "");
    bob.wait_for("renamed");
    ann.send(r#""type":"say","to":"robert""#, "psst");
    assert_eq!(bob.wait_for("say").header["to"], "robert");
}

#[test]
fn a_client_of_the_first_version_gets_the_frames_of_the_first_version() {
    let server = Server::start();
    let mut old = Member::enter(&server, "lobby", "old", "");
    let mut ann = Member::enter(&server, "lobby", "ann", r#","client":"0123456789abcdef""#);
    ann.send(r#""type":"say","room":"lobby","id":1"#, "hi");
    let [joined, said] = [old.raw.answer(), old.raw.answer()];
    assert_eq!(joined.header, serde_json::json!({ "type": "joined", "room": "lobby", "nick": "ann" }));
    assert_eq!(said.header, serde_json::json!({ "type": "say", "total_size": 2, "nick": "ann" }));
    old.send(r#""type":"join","room":"attic""#, "");
    assert_eq!(old.raw.answer().code(), "bad-request");
}

#[test]
fn a_known_peers_nick_stays_its_own_and_a_guest_is_no_operator() {
    let server = Server::start();
    let mut own = Run::new("tcp-client").args(["chat", server.address(), "--nick", "ann"]).spawn();
    own.wait_for("* ann joined");
    own.say("/quit");
    assert_eq!(own.wait().code(), Some(0));
    for nick in ["ann", "Ann", "\u{430}nn"] {
        let refused = Member::ask(&server, "lobby", nick, "").raw.answer();
        assert_eq!(refused.code(), "name-taken", "{nick}: {}", refused.header);
    }
    let mut eve = Member::enter(&server, "lobby", "eve", "");
    eve.send(r#""type":"nick","nick":"ann""#, "");
    assert_eq!(eve.wait_for("error").code(), "name-taken");
    eve.send(r#""type":"moderate","act":"kick","nick":"eve""#, "");
    assert_eq!(eve.wait_for("error").code(), "not-allowed");
}
