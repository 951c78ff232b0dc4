//! What a server keeps of a chat across restarts.

use super::{Member, number};
use crate::harness::{Run, Server};

const ANN: &str = r#","client":"0123456789abcdef-ann""#;

fn server(home: &std::path::Path, directory: &std::path::Path) -> Server {
    Server::at_home(&["--history", directory.to_str().unwrap()], &home.join("home"))
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let (home, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = server(home.path(), kept.path());
    let mut ann = Member::enter(&first, "lobby", "ann", ANN);
    let mut bob = Member::enter(&first, "lobby", "bob", r#","client":"0123456789abcdef-bob""#);
    ann.send(r#""type":"topic","room":"lobby""#, "old things");
    ann.wait_for("topic");
    ann.send(r#""type":"say","id":1"#, "one");
    let seen = number(&bob.wait_for("say"), "seq");
    ann.wait_for("ack");
    drop(bob);
    ann.wait_for("left");
    ann.send(r#""type":"say","id":2"#, "two");
    ann.send(r#""type":"say","id":3,"to":"bob""#, "a secret");
    assert_eq!([number(&ann.wait_for("ack"), "id"), number(&ann.wait_for("ack"), "id")], [2, 3]);
    // As by SIGKILL.
    drop(first);

    let second = server(home.path(), kept.path());
    // The one who was away gets what it missed, and no one else gets its private message.
    let mut eve =
        Member::enter(&second, "lobby", "eve", r#","client":"0123456789abcdef-eve","history":9,"direct_after":0"#);
    assert_eq!(eve.texts_until("two"), ["one", "two"]);
    assert_eq!(eve.wait_for("topic").body, b"old things");
    let coming = format!(r#","client":"0123456789abcdef-bob","after":{seen},"direct_after":0"#);
    let mut bob = Member::enter(&second, "lobby", "bob", &coming);
    assert_eq!(bob.texts_until("a secret"), ["two", "a secret"]);
    // What is sent again is acknowledged, and not delivered again.
    let mut ann = Member::enter(&second, "lobby", "ann", ANN);
    ann.send(r#""type":"say","id":2"#, "two");
    ann.send(r#""type":"say","id":4"#, "four");
    assert_eq!([number(&ann.wait_for("ack"), "id"), number(&ann.wait_for("ack"), "id")], [2, 4]);
    assert_eq!(bob.texts_until("four"), ["four"]);
    assert_eq!(eve.texts_until("four"), ["four"]);
}

#[test]
fn a_torn_last_line_is_repaired_and_told() {
    let (home, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = server(home.path(), kept.path());
    let mut ann = Member::enter(&first, "lobby", "ann", ANN);
    for (id, text) in [(1, "one"), (2, "two")] {
        ann.send(&format!(r#""type":"say","id":{id}"#), text);
        ann.wait_for("ack");
    }
    // As by SIGKILL.
    drop(first);
    let file = kept.path().join("chat-1.log");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
    let second = server(home.path(), kept.path());
    second.wait_for_log("the history's last line was torn, and is removed");
    let mut bob = Member::enter(&second, "lobby", "bob", r#","history":9"#);
    bob.send(r#""type":"say","id":1"#, "three");
    assert_eq!(bob.texts_until("one"), ["one"]);
    bob.wait_for("ack");
    drop(second);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
}

#[test]
fn a_history_below_the_root_or_in_use_is_refused() {
    let (home, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directory = kept.path().to_str().unwrap();
    let run = |args: &[&str]| Run::new("tcp-server").args(["--bind", "127.0.0.1:0"]).args(args);
    let inside = kept.path().join("inside");
    let run_below = run(&["--root", directory, "--history", inside.to_str().unwrap()]);
    run_below.code(2).stderr("lies below the root").prints("");
    let _first = server(home.path(), directory.as_ref());
    let root = tempfile::tempdir().unwrap();
    let run_twice = run(&["--root", root.path().to_str().unwrap(), "--history", directory]);
    run_twice.code(1).stderr("another server writes this history").prints("");
    run(&["--history", directory, "--history-size", "1KiB"]).code(2).stderr("begins at 1 MiB").prints("");
}

#[test]
fn a_private_message_waits_for_who_is_away_longer_than_its_nick_is_kept() {
    use landline::chat::state::AWAY_PER_SUBJECT_MAX;
    let (home, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = server(home.path(), kept.path());
    let mut bob = Member::enter(&server, "lobby", "bob", r#","client":"0123456789abcdef-bob""#);
    drop(Member::enter(&server, "lobby", "ann", ANN));
    bob.wait_for("left");
    bob.send(r#""type":"say","id":1,"to":"ann""#, "a secret");
    bob.wait_for("ack");
    // Enough others of this address lose their connections that ann's nick is kept no longer.
    for at in 0..AWAY_PER_SUBJECT_MAX {
        let secret = format!(r#","client":"0123456789abcdef-{at}""#);
        drop(Member::enter(&server, "lobby", &format!("m{at:04}"), &secret));
        bob.wait_for("left");
    }
    bob.send(r#""type":"who","nick":"ann""#, "");
    assert_eq!(bob.wait_for("error").code(), "not-found");
    let mut ann = Member::enter(&server, "lobby", "ann", &format!(r#"{ANN},"direct_after":0"#));
    assert_eq!(ann.texts_until("a secret"), ["a secret"]);
}
