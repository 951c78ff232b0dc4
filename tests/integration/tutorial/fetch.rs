//! `fget --wire` against download servers that behave as the tutorials' do.

use std::path::Path;

use super::{Client, Script, Seen, answering, script};
use crate::harness::files::names;
use crate::harness::{Run, Server};

fn fget(script: &Script, wire: &str, names: &[&str], to: &Path) -> Run {
    let sources = names.iter().map(|name| format!("tcp://{}/{name}", script.address));
    Run::new("fget").args(["--wire", wire]).args(sources).args([to])
}

/// As the second tutorial's server does it: the size, and the content at its heels.
fn stuck_together(client: &mut Client, content: &[u8]) {
    client.send([content.len().to_string().as_bytes(), content].concat());
}

#[test]
fn size_and_bytes_that_came_in_one_piece_are_taken_apart_aloud() {
    let content = "lines of text\n".repeat(50_000);
    let sent = content.clone();
    let script = answering(move |client, _| stuck_together(client, sent.as_bytes()));
    let dir = tempfile::tempdir().unwrap();
    fget(&script, "size", &["v.txt"], dir.path()).stderr("guessed").prints("");
    assert!(std::fs::read_to_string(dir.path().join("v.txt")).unwrap() == content);
    assert_eq!(names(dir.path()), ["v.txt"]);
    script.saw(&["v.txt"]);
}

#[test]
fn all_files_of_a_size_server_come_over_one_connection() {
    // Theirs ends when its first client leaves.
    let script = answering(|client, request| stuck_together(client, &[b"content of ", request].concat()));
    let dir = tempfile::tempdir().unwrap();
    fget(&script, "size", &["a", "b", "c"], dir.path()).any_stderr().prints("");
    assert_eq!(std::fs::read_to_string(dir.path().join("c")).unwrap(), "content of c");
    assert_eq!(names(dir.path()), ["a", "b", "c"]);
    script.saw(&["a", "b", "c"]);
}

#[test]
fn a_size_alone_is_no_guess() {
    let script = answering(|client, _| client.send("0"));
    let dir = tempfile::tempdir().unwrap();
    fget(&script, "size", &["empty"], dir.path()).prints("");
    assert_eq!(names(dir.path()), ["empty"]);
    script.saw(&["empty"]);
}

#[test]
fn an_empty_file_is_told_from_one_that_is_not_there() {
    let server = Server::with(&["--guest", "read", "--wire", "size"]);
    server.write("empty", "");
    let dir = tempfile::tempdir().unwrap();
    for separator in [":", "/"] {
        let source = |name: &str| format!("{}{separator}{name}", server.address());
        let fget = |name: &str| Run::new("fget").args(["--wire", "size", &source(name)]).current_dir(dir.path());
        fget("empty").prints("");
        assert_eq!(std::fs::read(dir.path().join("empty")).unwrap(), b"");
        std::fs::remove_file(dir.path().join("empty")).unwrap();
        fget("missing").code(1).stderr("no such file there").prints("");
        assert!(names(dir.path()).is_empty(), "nothing is left behind");
    }
}

#[test]
fn close_reads_to_the_end_one_connection_a_file() {
    let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let sent = content.clone();
    let script = script(move |mut client| {
        if client.request().unwrap() == b"f" {
            sent.chunks(7_777).for_each(|piece| client.send(piece));
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let run = fget(&script, "close", &["f", "missing"], dir.path());
    run.code(1).stderr("missing there, or empty").prints("");
    assert!(std::fs::read(dir.path().join("f")).unwrap() == content);
    assert_eq!(names(dir.path()), ["f"], "a missing file leaves nothing behind");
}

#[test]
fn half_a_file_is_no_file() {
    for wire in ["size", "close"] {
        let script = script(move |mut client| {
            client.request();
            if wire == "size" {
                client.send("1000");
            }
            client.send("half of it");
            client.conn.reset();
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("old"), "as it was").unwrap();
        fget(&script, wire, &["old"], dir.path()).code(4).stderr("old: ").prints("");
        assert_eq!(std::fs::read_to_string(dir.path().join("old")).unwrap(), "as it was", "{wire}");
        assert_eq!(names(dir.path()), ["old"], "{wire}");
    }
}

#[test]
fn a_server_that_dies_of_a_missing_file_leaves_nothing_behind() {
    let script = script(|mut client| {
        client.request();
    });
    let dir = tempfile::tempdir().unwrap();
    fget(&script, "size", &["missing"], dir.path()).code(1).stderr("no such file there").prints("");
    assert!(names(dir.path()).is_empty());
    script.next();
}

#[test]
fn what_is_no_size_is_said() {
    let script = answering(|client, _| client.send("no such file"));
    let dir = tempfile::tempdir().unwrap();
    fget(&script, "size", &["x"], dir.path()).code(4).stderr("not a number of bytes").prints("");
    assert!(names(dir.path()).is_empty());
    script.saw(&["x"]);
}

#[test]
fn a_destination_that_cannot_be_written_is_no_business_of_the_servers() {
    let script = answering(|client, _| stuck_together(client, b"content"));
    let dir = tempfile::tempdir().unwrap();
    fget(&script, "size", &["x"], &dir.path().join("no/such/dir")).code(1).any_stderr().output();
    fget(&script, "size", &["y"], dir.path()).any_stderr().output();
    // Had the first one asked and left, its unread bytes would have been a reset.
    assert_eq!(script.next(), Seen::Request("y".into()));
    assert_eq!(script.next(), Seen::Closed);
}
