//! The text replies: print, echo, upper, fixed, talk; encodings; first bytes that could be something
//! else.

use super::Conn;
use crate::harness::{Run, Server};

fn server(args: &[&str]) -> Server {
    Server::with(&[&["--wire", "raw"], args].concat())
}

#[test]
fn print_shows_each_request_and_says_nothing() {
    let server = server(&["--reply", "print"]);
    let mut conn = Conn::to(&server);
    conn.send("一行");
    let shown = server.next_output();
    assert!(shown.starts_with("guest 127.0.0.1:") && shown.ends_with(": 一行"), "{shown}");
    conn.half_close();
    assert_eq!(conn.recv(), b"", "a server that prints has nothing to say");
}

#[test]
fn what_is_printed_cannot_drive_the_terminal() {
    let server = server(&["--reply", "print"]);
    Conn::to(&server).send("\x1b[2Jgone");
    let shown = server.next_output();
    assert!(!shown.contains('\x1b') && shown.ends_with("gone"), "{shown:?}");
}

#[test]
fn echo_has_the_prefix_in_front() {
    let server = server(&["--reply", "echo", "--prefix", "收到："]);
    let mut conn = Conn::to(&server);
    assert_eq!(conn.ask("hi"), "收到：hi");
    conn.send("你好");
    assert_eq!(conn.recv(), b"\xe6\x94\xb6\xe5\x88\xb0\xef\xbc\x9a\xe4\xbd\xa0\xe5\xa5\xbd");
}

#[test]
fn echo_is_the_reply_where_none_is_named() {
    assert_eq!(Conn::to(&server(&[])).ask("as it is\r\n"), "as it is\r\n");
}

#[test]
fn one_byte_and_two_bytes_are_whole_requests() {
    let server = server(&["--reply", "echo", "--prefix", ">"]);
    for request in ["w", "ls", "G", "PUT"] {
        let mut conn = Conn::to(&server);
        assert_eq!(conn.ask(request), format!(">{request}"));
        assert_eq!(conn.ask(request), format!(">{request}"), "and again on the same connection");
    }
}

#[test]
fn a_short_request_with_the_end_behind_it_is_answered() {
    let server = server(&["--reply", "echo"]);
    let mut conn = Conn::to(&server);
    conn.send("ls");
    conn.half_close();
    assert_eq!(conn.recv(), b"ls");
    assert_eq!(conn.recv(), b"");
}

#[test]
fn echo_takes_what_looks_like_http_and_what_is_no_text() {
    let server = server(&["--reply", "echo"]);
    for request in ["GET / HTTP/1.1\r\nHost:x\r\n\r\n", "a\0b", "\u{1}\0\u{2}\0\u{3}"] {
        assert_eq!(Conn::to(&server).ask(request), request);
    }
}

#[test]
fn a_cut_reply_fits_one_read_and_ends_with_a_whole_character() {
    let whole = Conn::to(&server(&["--reply", "echo", "--prefix", "收到："])).ask(&"a".repeat(1015));
    assert_eq!(whole.len(), 1024, "uncut unless it is asked for");
    let server = server(&["--reply", "echo", "--prefix", "收到：", "--reply-max", "1024"]);
    let reply = Conn::to(&server).ask(&"长".repeat(341));
    assert!(reply.starts_with("收到：长长") && reply.len() > 1020, "{}", reply.len());
    let mut conn = Conn::to(&server);
    conn.send([0x80; 1020]);
    assert_eq!(conn.recv().len(), 1023, "bytes that are no text are cut too, not withheld");
}

#[test]
fn gbk_is_cut_between_characters_too() {
    let server = server(&["--reply", "echo", "--encoding", "gbk", "--prefix", "收到：", "--reply-max", "1024"]);
    let mut conn = Conn::to(&server);
    // Behind the prefix of six bytes and one of ASCII, each character of two bytes begins at an odd place.
    conn.send([&b"a"[..], &b"\xd4\xd9".repeat(511)].concat());
    let reply = conn.recv();
    assert!(reply.starts_with(b"\xca\xd5\xb5\xbd\xa3\xbaa\xd4\xd9"), "{reply:?}");
    assert_eq!(reply.len(), 1023);
}

#[test]
fn upper_changes_a_to_z_and_nothing_else() {
    let server = server(&["--reply", "upper"]);
    assert_eq!(Conn::to(&server).ask("在python3中 é ß"), "在PYTHON3中 é ß");
    for (encoding, request, reply) in [
        ("gbk", &b"a\x81\x61\xffz"[..], &b"A\x81\x61\xffZ"[..]),
        ("big5", b"x\xa4\x61x", b"X\xa4\x61X"),
        ("shift_jis", b"q\x83\x61q", b"Q\x83\x61Q"),
    ] {
        let server = self::server(&["--reply", "upper", "--encoding", encoding]);
        let mut conn = Conn::to(&server);
        conn.send(request);
        assert_eq!(conn.recv(), reply, "{encoding}");
    }
}

#[test]
fn fixed_answers_in_gbk_and_says_bye_at_the_end() {
    let server = server(&["--reply", "fixed", "--bye", "再见!", "--encoding", "gbk"]);
    let mut conn = Conn::to(&server);
    for request in [&b"\xc4\xe3\xba\xc3"[..], b"x"] {
        conn.send(request);
        assert_eq!(conn.recv(), b"\xca\xd5\xb5\xbd");
    }
    conn.half_close();
    assert_eq!(conn.recv(), b"\xd4\xd9\xbc\xfb!");
    assert_eq!(conn.recv(), b"");
}

#[test]
fn who_leaves_without_a_word_is_bidden_farewell_too() {
    let server = server(&["--reply", "fixed", "--bye", "bye"]);
    let mut conn = Conn::to(&server);
    conn.half_close();
    assert_eq!(conn.recv(), b"bye");
    assert_eq!(conn.recv(), b"");
}

#[test]
fn fixed_without_bye_just_closes() {
    let server = server(&["--reply", "fixed", "--text", "get"]);
    let mut conn = Conn::to(&server);
    assert_eq!(conn.ask("teset"), "get");
    conn.half_close();
    assert_eq!(conn.recv(), b"");
}

#[test]
fn the_operator_types_each_reply() {
    let mut server = server(&["--reply", "talk"]);
    let mut conn = Conn::to(&server);
    conn.send("hi");
    assert!(server.next_output().ends_with(": hi"));
    server.type_line("");
    server.type_line(" answer one ");
    assert_eq!(conn.recv(), b"answer one", "an empty answer would never arrive, so it is asked for again");
    server.type_line("答二");
    assert_eq!(conn.ask("you"), "答二");
}

#[test]
fn our_own_client_uses_the_same_port() {
    let server = server(&["--reply", "upper"]);
    let mut conn = Conn::to(&server);
    assert_eq!(conn.ask("before"), "BEFORE");
    let client = Run::new("tcp-client").args(["--wire", "raw", server.address()]);
    client.stdin("one\n\ntwo\n").prints("ONE\nTWO\n");
    Run::new("tcp-client").args([&server.plain()]).stdin("pwd\n").any_stderr().code(1).output();
    Run::new("tcp-client").args([server.address()]).stdin("pwd\n").prints("/\n");
    assert_eq!(conn.ask("after"), "AFTER");
}
