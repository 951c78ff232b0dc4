//! Remote commands for the tutorials' clients: every wire, every policy, and what never gets there.

use super::Conn;
use crate::harness::{Run, Server};

fn server(wire: &str, args: &[&str]) -> Server {
    Server::with(&[&["--guest", "exec", "--wire", wire, "--reply", "exec"], args].concat())
}

/// The fourth tutorial's first way, and the first one's client.
fn ask_len(conn: &mut Conn, command: &str) -> String {
    conn.send(command);
    let len = conn.recv_i32();
    String::from_utf8(conn.recv_all(len)).unwrap()
}

/// The header by one `recv`, then as many bytes as `key` says.
fn ask_json(conn: &mut Conn, command: &str, key: &str) -> (serde_json::Value, String) {
    conn.send(command);
    let len = conn.recv_i32();
    let mut header = vec![0; len];
    std::io::Read::read_exact(&mut conn.0, &mut header).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    let size = header[key].as_u64().unwrap();
    (header, String::from_utf8(conn.recv_all(size.try_into().unwrap())).unwrap())
}

/// "simple ssh": the size, a word, the output.
fn ask_ack(conn: &mut Conn, command: &str) -> String {
    let size = conn.ask(command);
    conn.send("ok");
    String::from_utf8(conn.recv_all(size.parse().unwrap())).unwrap()
}

fn ask(wire: &str, conn: &mut Conn, command: &str) -> String {
    match wire {
        "raw" => conn.ask(command),
        "len" => ask_len(conn, command),
        "json" => ask_json(conn, command, "data_size").1,
        _ => ask_ack(conn, command),
    }
}

const BOTH: &str = "echo one; echo two >&2; echo three";

#[test]
fn each_policy_replies_its_part_on_every_wire() {
    for wire in ["raw", "len", "json", "ack"] {
        for (policy, both, good) in [
            ("merged", "one\ntwo\nthree\n", "fine\n"),
            ("stderr-first", "two\n", "fine\n"),
            ("stdout", "one\nthree\n", "fine\n"),
        ] {
            let server = server(wire, &["--output", policy]);
            let mut conn = Conn::to(&server);
            assert_eq!(ask(wire, &mut conn, BOTH), both, "{wire} {policy}");
            assert_eq!(ask(wire, &mut conn, "echo fine"), good, "{wire} {policy}");
        }
    }
}

#[test]
fn no_output_is_said_where_their_clients_wait_for_a_byte() {
    for (wire, reply) in [("raw", "(no output, exit 0)"), ("ack", "(no output, exit 0)"), ("len", ""), ("json", "")] {
        let server = server(wire, &[]);
        let mut conn = Conn::to(&server);
        assert_eq!(ask(wire, &mut conn, "true"), reply, "{wire}");
        assert_eq!(ask(wire, &mut conn, "echo on"), "on\n", "{wire}");
    }
    assert_eq!(Conn::to(&server("raw", &[])).ask("exit 3"), "(no output, exit 3)");
}

#[test]
fn cd_stays_between_two_commands() {
    for wire in ["raw", "len", "json", "ack"] {
        let server = server(wire, &[]);
        server.write("sub/deep/x", "");
        let mut conn = Conn::to(&server);
        assert_eq!(ask(wire, &mut conn, "cd sub"), "/sub\n", "{wire}");
        assert_eq!(ask(wire, &mut conn, "cd deep"), "/sub/deep\n");
        assert_eq!(ask(wire, &mut conn, "ls"), "x\n");
        assert_eq!(ask(wire, &mut conn, "cd .. && ls"), "deep\n");
        assert_eq!(ask(wire, &mut conn, "ls"), "x\n", "a cd inside a command is that shell's own");
        assert!(ask(wire, &mut conn, "cd nowhere").contains("nowhere"));
        assert!(ask(wire, &mut conn, "cd ../../..").starts_with("cd: "), "not above the root");
        assert_eq!(ask(wire, &mut conn, "cd"), "/\n");
        assert_eq!(ask(wire, &mut conn, "ls"), "sub\n");
        assert_eq!(ask(wire, &mut Conn::to(&server), "ls"), "sub\n", "another line stands where lines begin");
    }
}

#[test]
fn a_working_directory_that_is_gone_can_be_left() {
    let server = server("raw", &[]);
    server.write("sub/x", "");
    let mut conn = Conn::to(&server);
    assert_eq!(conn.ask("cd sub"), "/sub\n");
    std::fs::remove_dir_all(server.root().join("sub")).unwrap();
    let said = conn.ask("ls");
    assert!(said.contains("sub"), "{said}");
    assert_eq!(conn.ask("cd"), "/\n");
    assert_eq!(conn.ask("echo on"), "on\n");
}

#[test]
fn the_json_header_has_every_key_that_a_script_reads() {
    let server = server("json", &[]);
    let mut conn = Conn::to(&server);
    for (key, other) in [("data_size", "total_size"), ("total_size", "data_size")] {
        let (header, output) = ask_json(&mut conn, "printf 收到", key);
        assert_eq!(output, "收到");
        assert_eq!(header[other], 6);
        assert_eq!(header["md5"], md5("收到"));
        assert_eq!(header["filename"], "printf 收到");
    }
}

fn md5(text: &str) -> String {
    use md5::Digest as _;
    md5::Md5::digest(text).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn long_output_is_whole_where_its_length_is_said_and_cut_aloud_where_not() {
    let numbers: Vec<_> = (1..=20_000).map(|n| n.to_string()).collect();
    let expected = numbers.join(
        "
",
    ) + "
";
    for wire in ["len", "json", "ack"] {
        assert_eq!(ask(wire, &mut Conn::to(&server(wire, &[])), "seq 1 20000"), expected, "{wire}");
    }
    let cut = Conn::to(&server("raw", &["--reply-max", "1000"])).ask("seq 1 20000");
    let note = format!("\n(cut: {} bytes in all)", expected.len());
    assert!(expected.starts_with(cut.strip_suffix(&note).unwrap()) && cut.len() == 1000, "{cut}");
}

#[test]
fn a_raw_reply_is_whole_and_what_is_not_read_of_it_sticks_to_the_next() {
    let server = server("raw", &[]);
    let numbers: Vec<_> = (1..=1000).map(|n| n.to_string()).collect();
    let expected = numbers.join("\n") + "\n";
    let bytes = expected.as_bytes();
    // The naive client reads once: that is the lesson.
    let mut conn = Conn::to(&server);
    let first = conn.ask("seq 1000");
    assert_eq!(first.as_bytes(), &bytes[..1024]);
    assert_eq!(conn.ask("echo on").as_bytes(), &bytes[1024..2048], "the rest of the first, and not the second");
    // A client that counts gets all of it.
    let mut conn = Conn::to(&server);
    conn.send("seq 1000");
    assert_eq!(conn.recv_all(bytes.len()), bytes);
}

#[test]
fn a_client_that_reads_until_a_read_is_short_does_not_hang() {
    for (args, most) in [(&[][..], 3893), (&["--reply-max", "1024"], 1024), (&["--reply-max", "2048"], 2048)] {
        let server = server("raw", args);
        let mut conn = Conn::to(&server);
        conn.send("seq 1000");
        let mut all = Vec::new();
        loop {
            let piece = conn.recv();
            all.extend_from_slice(&piece);
            if piece.len() < 1024 {
                break;
            }
        }
        assert!(all.len() <= most && all.len() + 40 > most, "{}", all.len());
        assert_eq!(conn.ask("echo on"), "on\n");
    }
}

#[test]
fn only_raw_has_replies_to_cut() {
    let run = Run::new("tcp-server").args(["--wire", "len", "--reply-max", "1000", "--guest", "echo"]);
    run.code(2).stderr("--wire raw").output();
}

#[test]
fn gbk_goes_both_ways() {
    let server = server("raw", &["--encoding", "gbk", "--reply-max", "1024"]);
    let mut conn = Conn::to(&server);
    conn.send(b"echo \xca\xd5\xb5\xbd | tee seen");
    assert_eq!(conn.recv(), b"\xca\xd5\xb5\xbd\n");
    assert_eq!(server.read("seen"), "收到\n".as_bytes());
    conn.send(b"yes \xca\xd5\xb5\xbd | tr -d '\\n' | head -c 6001");
    let reply = conn.recv();
    let text = reply.windows(5).position(|piece| piece == b"\n(cut").unwrap();
    assert_eq!(text % 2, 0, "their clients decode the reply strictly, so no character may be cut");
}

#[test]
fn commands_have_no_input_of_the_servers() {
    let server = server("raw", &[]);
    assert_eq!(Conn::to(&server).ask("cat; echo end"), "end\n");
}

#[test]
fn binary_and_http_never_reach_a_shell() {
    let server = server("raw", &[]);
    for hostile in [
        &b"touch pwned\0"[..],
        b"a\0touch pwned",
        b"GET /;touch${IFS}pwned HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\ntouch pwned",
        b"\x16\x03\x01\0\x05touch pwned",
    ] {
        let mut conn = Conn::to(&server);
        conn.send(hostile);
        conn.half_close();
        while !conn.is_hung_up_on() {}
        let mut conn = Conn::to(&server);
        assert_eq!(conn.ask("echo first"), "first\n");
        conn.send(hostile);
        if hostile[0] == 0x16 {
            // Behind a first request it is only a strange command.
            continue;
        }
        assert!(conn.is_hung_up_on(), "{hostile:?} on a connection that had behaved");
    }
    let names = server.names("");
    assert!(!names.iter().any(|name| name.starts_with("pwned")), "{names:?}");
}

/// All that a web page could make a browser send, and its like.
fn like_http() -> Vec<Vec<u8>> {
    let long = "a".repeat(70_000);
    let mut all: Vec<String> = [
        "PROPFIND /x?;touch${IFS}pwned; HTTP/1.1\r\nHost: x\r\n\r\n",
        "patch /;touch${IFS}pwned; HTTP/1.1\r\nHost: x\r\n\r\n",
        "get /;touch${IFS}pwned; HTTP/1.1\r\n\r\n",
        "M4DE-UP! /;touch${IFS}pwned; HTTP/1.1\r\nHost: x\r\n\r\n",
        "x|touch$IFS$9pwned|y / HTTP/1.1\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ntouch pwned",
        "\r\nPOST /;touch${IFS}pwned; HTTP/1.1\r\nHost: x\r\n\r\n",
        "\n\n\nPOST /;touch${IFS}pwned; HTTP/1.1\r\n\r\n",
        " POST /;touch${IFS}pwned; HTTP/1.1\r\nHost: x\r\n\r\n",
        "\t \t lock /;touch${IFS}pwned; HTTP/1.0\r\n\r\n",
        "SEARCH\t/;touch${IFS}pwned;\tHTTP/1.1\r\n\r\n",
        "SEARCH  /;touch${IFS}pwned;  HTTP/1.1\n",
        "SEARCH /;touch pwned; HTTP/1.1\r\n",
        "SEARCH http://x/;touch${IFS}pwned; HTTP/1.1\r\n\r\n",
        "touch pwned\r\nHost: x\r\n\r\n",
        "touch pwned\r\norigin: null\r\n\r\n",
        "touch pwned\nORIGIN: http://x\n\n",
        "a b c d e\r\nAccept: */*\r\nHost: x\r\n\r\n;touch pwned",
    ]
    .map(str::to_owned)
    .into();
    all.push(format!("PROPFIND /;touch${{IFS}}pwned;{long} HTTP/1.1\r\nHost: x\r\n\r\n"));
    all.push(format!("x|touch$IFS$9pwned|{long} / HTTP/1.1\r\nHost: x\r\n\r\n"));
    all.into_iter().map(String::into_bytes).collect()
}

#[test]
fn what_has_the_shape_of_http_reaches_no_shell_on_any_wire() {
    for wire in ["raw", "len", "json", "ack"] {
        let server = server(wire, &[]);
        for hostile in like_http() {
            let shown = String::from_utf8_lossy(&hostile[..hostile.len().min(80)]).into_owned();
            let mut conn = Conn::to(&server);
            // A client that is turned away may be so before all was sent.
            let _ = std::io::Write::write_all(&mut conn.0, &hostile);
            while !conn.is_hung_up_on() {}
            let mut conn = Conn::to(&server);
            assert_eq!(ask(wire, &mut conn, "echo first"), "first\n");
            let _ = std::io::Write::write_all(&mut conn.0, &hostile);
            assert!(conn.is_hung_up_on(), "{shown:?} on a connection that had behaved");
            assert!(server.names("").is_empty(), "{wire}: {shown:?} ran");
        }
    }
}

#[test]
fn a_request_line_that_comes_in_pieces_ends_the_connection() {
    for wire in ["raw", "len", "json", "ack"] {
        let server = server(wire, &[]);
        for pieces in [
            &["P", "OST /;touch${IFS}pwned; HTTP/1.1\r\nHost: x\r\n\r\n"][..],
            &["P", "O", "ST /;touch${IFS}pwned; HTTP/1.1\r\n\r\n"],
            &["PURGE", " /;touch${IFS}pwned; HTTP/"],
        ] {
            let mut conn = Conn::to(&server);
            let (last, first) = pieces.split_last().unwrap();
            for piece in first {
                // What ran was a command of this name.
                let said = ask(wire, &mut conn, piece);
                assert!(said.contains("not found"), "{said}");
            }
            conn.send(last);
            assert!(conn.is_hung_up_on(), "{wire}: {pieces:?}");
            assert!(server.names("").is_empty(), "{wire}: {pieces:?} ran");
        }
    }
    // Between the size and the output, where a word of the client's is awaited.
    let server = server("ack", &[]);
    let mut conn = Conn::to(&server);
    assert_eq!(conn.ask("P"), ask_ack(&mut Conn::to(&server), "P").len().to_string());
    conn.send("OST /;touch${IFS}pwned; HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(conn.is_hung_up_on());
    assert!(server.names("").is_empty());
}

#[test]
fn commands_that_speak_of_http_are_run() {
    let server = server("raw", &[]);
    server.write("access.log", "GET / HTTP/1.1\n");
    for (command, reply) in [
        ("cat access.log | grep HTTP/1.1", "GET / HTTP/1.1\n"),
        ("echo 'Host: x'", "Host: x\n"),
        ("echo GET /x", "GET /x\n"),
        (&*format!("echo {}", "a".repeat(600)), &*format!("{}\n", "a".repeat(600))),
    ] {
        assert_eq!(Conn::to(&server).ask(command), reply);
    }
}

#[test]
fn frames_and_the_tutorials_requests_share_the_port_at_the_same_time() {
    let server = server("len", &[]);
    let mut bare = Conn::to(&server);
    assert_eq!(ask_len(&mut bare, "echo bare"), "bare\n");
    Run::new("rexec").args([server.address(), "echo framed; exit 3"]).code(3).prints("framed\n");
    Run::new("rexec").args(["--wire", "len", server.address(), "echo ours"]).prints("ours\n");
    assert_eq!(ask_len(&mut bare, "echo still"), "still\n");
}

#[test]
fn exec_needs_the_operators_word() {
    let run = Run::new("tcp-server").args(["--bind", "127.0.0.1:0", "--wire", "raw", "--reply", "exec"]);
    run.code(2).stderr("--guest exec").output();
}
