//! Sending.

use std::thread;

use super::{Program, raw, receive, run};

#[test]
fn one_datagram_a_line_empty_ones_too() {
    let (_server, ready) = Program::serve(1, &["--bind", "127.0.0.1:0"]);
    let mut client = Program::start(&["send", &ready[0]]);
    client.say("first\n\n收到\nlast");
    let ended = client.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "first\n\n收到\nlast\n");
}

#[test]
fn the_fourth_tutorials_server_gets_gbk_and_its_answer_is_read() {
    let (server, address) = raw();
    let server = thread::spawn(move || {
        let (data, client) = receive(&server);
        server.send_to(&data.to_ascii_uppercase(), client).unwrap();
        data
    });
    let ended = run(&["send", "--encoding", "gbk", &address, "abc 收到"]);
    assert_eq!((ended.code, ended.stdout.as_slice()), (Some(0), "ABC 收到\n".as_bytes()), "{}", ended.stderr);
    assert_eq!(server.join().unwrap(), b"abc \xca\xd5\xb5\xbd");

    let ended = run(&["send", "--encoding", "gbk", &address, "😀"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("U+1F600"), "{}", ended.stderr);
}

#[test]
fn a_server_that_only_prints_is_sent_to_without_waiting() {
    let (server, address) = raw();
    let ended = run(&["send", "--no-reply", &address, "hello", "world"]);
    assert_eq!((ended.code, ended.stdout.as_slice(), ended.stderr.as_str()), (Some(0), b"".as_slice(), ""));
    // The fourth tutorial's recvfrom(1): the rest of the first datagram is lost, the second is whole.
    let mut one = [0; 1];
    server.recv_from(&mut one).unwrap();
    assert_eq!((one, receive(&server).0), (*b"h", b"world".to_vec()));
}

#[test]
fn a_missing_reply_is_an_outcome_and_a_late_one_is_not_taken_for_the_next() {
    let (server, address) = raw();
    let mut client = Program::start(&["send", "--timeout", "100ms", &address]);
    client.say("one\n");
    let (data, from) = receive(&server);
    assert_eq!(data, b"one");
    assert!(client.stderr_line().starts_with("udp-echo: no reply to datagram 1 within 100ms"));
    server.send_to(b"ONE", from).unwrap();
    let answering = thread::spawn(move || {
        let (data, from) = receive(&server);
        server.send_to(b"TWO", from).unwrap();
        data
    });
    client.say("two\n");
    assert_eq!(client.stderr_line(), "udp-echo: too late: ONE");
    assert_eq!(client.stdout_line(), "TWO");
    assert_eq!(answering.join().unwrap(), b"two");
    assert_eq!(client.end().code, Some(1));
}

#[test]
fn a_port_without_a_server_is_seen_at_once() {
    let ended = run(&["send", "--timeout=1h", "127.0.0.1:1", "hello"]);
    assert_eq!((ended.code, ended.stdout.as_slice()), (Some(3), b"".as_slice()));
    assert!(ended.stderr.starts_with("udp-echo: 127.0.0.1:1: refused"), "{}", ended.stderr);
    assert_eq!(run(&["send", "--no-reply", "127.0.0.1:1", "hello"]).code, Some(3));
}

#[test]
fn a_names_next_address_is_tried_where_the_first_has_no_server() {
    let (_server, ready) = Program::serve(1, &["--bind", "127.0.0.1:0"]);
    let port = ready[0].rsplit(':').next().unwrap();
    for arguments in [["send", "localhost", "hello"], ["ping", "localhost", "--count=1"]] {
        let ended = run(&[&arguments[..], &["--port", port]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[test]
fn too_long_a_datagram_is_refused_before_it_is_sent() {
    let (_server, address) = raw();
    let mut client = Program::start(&["send", &address]);
    client.say(&"x".repeat(65_508));
    let ended = client.end();
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr, "udp-echo: a datagram of 65508 bytes cannot be sent, the limit is 65507 bytes\n");
}

#[test]
fn json_is_one_object_at_the_end() {
    let (_server, ready) = Program::serve(1, &["--bind", "127.0.0.1:0", "--reply", "upper"]);
    let ended = run(&["send", "--json", &ready[0], "a\n", ""]);
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(report["peer"], ready[0].as_str());
    assert_eq!(report["replies"], serde_json::json!(["A\n", ""]));
    assert_eq!((&report["sent"], &report["missing"], &report["bytes_received"]), (&2.into(), &0.into(), &2.into()));
}
