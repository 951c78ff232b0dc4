//! Strangers with bad intentions or bad cables: frames that are cut, bent or lie, senders that stop,
//! readers that do not read, clients that vanish. The server answers or closes, never panics, keeps
//! its memory, and goes on serving everybody else.

use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use landline::serve::VERBS;

use crate::harness::{Run, Server, wait_until};
use crate::raw::{Answer, HELLO, Raw, frame, put, request};

/// What a server may weigh at most while clients misbehave, in KiB; idle it is about 8 MiB.
const RSS_MAX_KIB: u64 = 64 * 1024;

/// One valid conversation a verb: the bytes of its client, and the frame with which the server ends it.
fn conversations() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let end = request(r#""type":"end""#, &[]);
    let turns = vec![
        ("echo", request(r#""type":"echo""#, b"hello"), "echo"),
        (
            "echo",
            [request(r#""type":"echo","streamed":true"#, &[]), request(r#""type":"data""#, b"hello"), end.clone()]
                .concat(),
            "end",
        ),
        (
            "chat",
            [
                request(r#""type":"chat","room":"lobby","nick":"ann""#, &[]),
                request(r#""type":"say""#, b"hello"),
                request(r#""type":"nick","nick":"bob""#, &[]),
                request(r#""type":"names""#, &[]),
                end.clone(),
            ]
            .concat(),
            "end",
        ),
        (
            "exec",
            [
                request(r#""type":"exec","form":"argv""#, b"cat\0"),
                request(r#""type":"data""#, b"hello"),
                request(r#""type":"eof""#, &[]),
                request(r#""type":"signal","signal":"INT""#, &[]),
                end,
            ]
            .concat(),
            "end",
        ),
        ("cd", request(r#""type":"cd","path":"dir""#, &[]), "cwd"),
        ("pwd", request(r#""type":"pwd""#, &[]), "cwd"),
        ("ls", request(r#""type":"ls","path":".""#, &[]), "end"),
        ("get", request(r#""type":"get","path":"file""#, &[]), "end"),
        ("put", put("new", b"hello"), "ok"),
        ("mkdir", request(r#""type":"mkdir","path":"made","parents":true"#, &[]), "ok"),
        ("rm", request(r#""type":"rm","path":"made","recursive":true"#, &[]), "ok"),
        ("mv", request(r#""type":"mv","path":"new","to":"dir""#, &[]), "ok"),
    ];
    for verb in VERBS {
        assert!(turns.iter().any(|(name, ..)| *name == verb.name), "{} has no conversation here", verb.name);
    }
    turns.into_iter().map(|(name, turn, last)| (name, [frame(HELLO, &[]), turn].concat(), last)).collect()
}

fn server() -> Server {
    let server = Server::start();
    server.write("file", "content");
    server.write("dir/inner", "x");
    server
}

/// The server lives, has not panicked, and serves somebody who knows how to behave.
fn assert_well(server: &Server) {
    let mut guest = Raw::open(server);
    guest.send(&request(r#""type":"echo""#, b"still there?"));
    assert_eq!(guest.answer().body, b"still there?");
    guest.send(&request(r#""type":"get","path":"file""#, &[]));
    assert_eq!(guest.answer().kind(), "file");
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// Reads up to `last`, and meets no error on the way.
fn assert_ends(raw: &mut Raw, name: &str, last: &str) {
    assert_eq!(raw.answer().kind(), "hello");
    loop {
        let answer = raw.answer();
        assert_ne!(answer.kind(), "error", "{name}: {}", answer.header);
        if answer.kind() == last {
            return;
        }
    }
}

fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn lines_open(server: &Server) -> usize {
    let log = server.log();
    log.matches(" connected ").count() - log.matches(" disconnected ").count()
}

/// Running processes, zombies apart.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn the_valid_conversations_are_valid() {
    let server = server();
    for (name, bytes, last) in conversations() {
        let mut raw = Raw::connect(&server);
        raw.send(&bytes);
        assert_ends(&mut raw, name, last);
    }
    assert_well(&server);
}

#[test]
fn a_conversation_may_end_at_every_byte() {
    let server = server();
    for (name, bytes, _) in conversations() {
        for cut in 0..bytes.len() {
            let mut raw = Raw::connect(&server);
            raw.send(&bytes[..cut]);
            raw.end();
            // Whatever comes is whole frames, and then the line ends.
            let answers = raw.rest();
            assert!(cut < frame(HELLO, &[]).len() || answers[0].kind() == "hello", "{name} cut at {cut}: {answers:?}");
        }
        assert_well(&server);
    }
    assert_eq!(server.names("."), ["dir", "file"], "no half of a file is left");
}

#[test]
fn a_conversation_may_be_reset_at_every_byte() {
    let server = server();
    for (_, bytes, _) in conversations() {
        for cut in 0..bytes.len() {
            let mut raw = Raw::connect(&server);
            raw.send(&bytes[..cut]);
            raw.reset();
        }
        assert_well(&server);
    }
    wait_until("every line has ended", || lines_open(&server) == 0);
    let left: Vec<String> = server.names(".").into_iter().filter(|name| name.contains("part")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_byte_of_a_conversation_may_be_bent() {
    let server = server();
    for (name, bytes, _) in conversations() {
        for at in 0..bytes.len() {
            // Two bits of each byte here, another two in the next: the codec's unit tests do all.
            for bit in [at % 8, (at + 3) % 8] {
                let mut bent = bytes.clone();
                bent[at] ^= 1 << bit;
                let mut raw = Raw::connect(&server);
                raw.send_what_goes(&bent);
                raw.end();
                let mut answers = raw.rest();
                if let Some(last) = answers.pop() {
                    // Nothing is said after the error that closes a line.
                    let closing = answers.iter().find(|a| a.kind() == "error" && a.code() == "bad-frame");
                    assert!(closing.is_none(), "{name}, byte {at}, bit {bit}: {closing:?} and then {last:?}");
                }
            }
        }
        assert_well(&server);
    }
}

/// Sends `bytes` behind a greeting; returns what is answered before the line is closed.
fn closed_after(server: &Server, bytes: &[u8]) -> Vec<Answer> {
    let mut raw = Raw::open(server);
    raw.send_what_goes(bytes);
    raw.rest()
}

fn assert_bad_frame(server: &Server, bytes: &[u8], what: &str) {
    let answers = closed_after(server, bytes);
    let codes: Vec<&str> = answers.iter().map(Answer::code).collect();
    assert_eq!(codes, ["bad-frame"], "{what}: {answers:?}");
    // The same bytes as the first that come. Without a greeting some of them are another wire's.
    let mut raw = Raw::connect(server);
    raw.send_what_goes(bytes);
    let last = raw.rest().pop();
    assert_eq!(last.as_ref().map(Answer::code), Some("bad-frame"), "{what} without a greeting");
}

#[test]
fn lengths_that_lie_are_refused() {
    let server = server();
    let pwd = r#"{"type":"pwd"}"#;
    for length in [0, 1, -1, -65_535, i32::MIN, 65_536, 0x0100_0000, i32::MAX] {
        assert_bad_frame(&server, &[&length.to_le_bytes()[..], pwd.as_bytes()].concat(), &format!("length {length}"));
    }
    for size in ["4194305", "9223372036854775808", "18446744073709551616", "-1", "\"5\"", "null", "1.5", "[]", "{}"] {
        let header = format!(r#"{{"type":"pwd","total_size":{size}}}"#);
        assert_bad_frame(&server, &frame(&header, b"12345"), &format!("total_size {size}"));
    }
    // A length that is too long takes nothing of the next frame into account: it waits and ends.
    let answers = {
        let mut raw = Raw::open(&server);
        raw.send(&[&65_535_i32.to_le_bytes()[..], pwd.as_bytes()].concat());
        raw.end();
        raw.rest()
    };
    assert!(answers.is_empty(), "{answers:?}");
    assert_well(&server);
}

#[test]
fn headers_that_are_bombs_or_no_json_are_refused() {
    let server = server();
    let nested = |field: &str, open: &str, close: &str, n: usize| {
        format!(r#"{{"type":"pwd","{field}":{}0{}}}"#, open.repeat(n), close.repeat(n))
    };
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("nested arrays", nested("verbs", "[", "]", 32_000).into_bytes()),
        ("nested objects", nested("total_size", r#"{"a":"#, "}", 9_000).into_bytes()),
        ("open arrays", format!("{{{}", "[".repeat(65_000)).into_bytes()),
        ("a field twice", br#"{"type":"pwd","type":"pwd"}"#.to_vec()),
        ("total_size twice", br#"{"type":"pwd","total_size":0,"total_size":5}"#.to_vec()),
        ("not UTF-8", b"{\"type\":\"\xff\xfe\"}".to_vec()),
        ("a NUL", b"{\"type\":\"pwd\0\"}".to_vec()),
        ("only NULs behind the brace", [b"{".to_vec(), vec![0; 500]].concat()),
        ("half a surrogate", br#"{"type":"\ud800"}"#.to_vec()),
        ("two objects", br#"{"type":"pwd"}{"type":"pwd"}"#.to_vec()),
        ("an unfinished string", br#"{"type":"pwd"#.to_vec()),
        ("only a brace and spaces", format!("{{{}", " ".repeat(65_534)).into_bytes()),
        ("a number without end", format!(r#"{{"type":"pwd","total_size":{}}}"#, "9".repeat(60_000)).into_bytes()),
    ];
    for (what, header) in bad {
        assert!(header.len() <= 65_535, "{what}");
        let length = i32::try_from(header.len()).unwrap().to_le_bytes();
        assert_bad_frame(&server, &[&length[..], &header].concat(), what);
    }
    for first in [&b"["[..], b"\"", b" ", b"x", b"\0"] {
        let bytes = [&[20, 0, 0, 0], first, &[b' '; 19]].concat();
        let codes: Vec<String> = closed_after(&server, &bytes).iter().map(|a| a.code().to_owned()).collect();
        assert_eq!(codes, ["bad-frame"], "a header that begins with {first:?}");
    }
    // As long as a header may be, and valid: answered, unknown fields and all.
    let mut guest = Raw::open(&server);
    let filler = 65_535 - r#"{"type":"pwd","x":""}"#.len();
    guest.send(&frame(&format!(r#"{{"type":"pwd","x":"{}"}}"#, "y".repeat(filler)), &[]));
    assert_eq!(guest.answer().kind(), "cwd");
    // A field that is not known may be as deep as it likes: it is skipped without a stack.
    guest.send(&frame(&nested("x", "[", "]", 32_000), &[]));
    assert_eq!(guest.answer().kind(), "cwd");
    // Names of any length are looked at, and refused politely.
    for verb in ["cd", "ls", "get", "mkdir", "rm"] {
        guest.send(&frame(&format!(r#"{{"type":"{verb}","path":"{}"}}"#, "p".repeat(65_000)), &[]));
        assert_eq!(guest.answer().code(), "bad-name", "{verb}");
    }
    guest.send(&frame(&format!(r#"{{"type":"{}"}}"#, "n".repeat(65_000)), &[]));
    assert_eq!(guest.answer().code(), "unknown-type");
    assert_well(&server);
}

/// The first frame's length may have any last byte, also the one with which TLS begins.
#[test]
fn a_greeting_may_have_any_length() {
    let server = server();
    for len in (60..=330).chain([0x0316, 4096]) {
        let bare = r#"{"type":"hello","version":1,"program":""}"#;
        let hello = bare.replace(r#""""#, &format!("{:?}", "p".repeat(len - bare.len())));
        assert_eq!(hello.len(), len);
        let mut raw = Raw::connect(&server);
        raw.send(&frame(&hello, &[]));
        assert_eq!(raw.answer().kind(), "hello", "a hello of {len} bytes");
    }
}

#[test]
fn fields_of_the_wrong_type_are_refused() {
    let server = server();
    let fields = [
        ("type", "5"),
        ("stream", "\"sideways\""),
        ("version", "\"1\""),
        ("version", "4294967296"),
        ("program", "{}"),
        ("verbs", "\"echo\""),
        ("verbs", "[1]"),
        ("code", "7"),
        ("message", "[]"),
        ("streamed", "\"yes\""),
        ("bytes", "-1"),
        ("bytes", "4294967296"),
        ("count", "1.5"),
        ("room", "0"),
        ("nick", "true"),
        ("form", "\"basic\""),
        ("exit_code", "2147483648"),
        ("signal", "9"),
        ("path", "[\"a\"]"),
        ("path_b64", "1"),
        ("to", "{}"),
        ("to_b64", "false"),
        ("name", "3"),
        ("name_b64", "[]"),
        ("parents", "1"),
        ("recursive", "\"\""),
        ("size", "-5"),
        ("size", "\"5\""),
        ("mtime_ns", "1e400"),
        ("mode", "-1"),
        ("blake3", "64"),
    ];
    for (field, value) in fields {
        let kind = if field == "type" { String::new() } else { r#""type":"pwd","#.to_owned() };
        assert_bad_frame(&server, &frame(&format!("{{{kind}\"{field}\":{value}}}"), &[]), &format!("{field}: {value}"));
    }
    assert_well(&server);
}

#[test]
fn what_can_be_skipped_leaves_the_line_in_step() {
    let server = server();
    let mut guest = Raw::open(&server);
    let mut refused = |bytes: &[u8], code: &str| {
        guest.send(bytes);
        let answer = guest.answer();
        assert_eq!(answer.code(), code, "{}", answer.header);
        guest.send(&request(r#""type":"pwd""#, &[]));
        assert_eq!(guest.answer().header["path"], "/", "after {}", answer.header);
    };
    refused(&request(r#""type":"frobnicate""#, b"a body that is nobody's"), "unknown-type");
    refused(&request(r#""type":"frobnicate""#, &vec![b'{'; 4 << 20]), "unknown-type");
    refused(&request(r#""type":"""#, b"xx"), "unknown-type");
    refused(&frame("{}", &[]), "unknown-type");
    refused(&frame(HELLO, &[]), "bad-request");
    for (answer, body) in [
        (r#""type":"ok""#, &b""[..]),
        (r#""type":"data""#, b"nobody asked"),
        (r#""type":"outcome","exit_code":0"#, b""),
        (r#""type":"outcome","exit_code":0,"signal":"TERM""#, b""),
        (r#""type":"error","code":"busy","message":"no""#, b""),
        (r#""type":"file","size":5"#, b""),
        (r#""type":"cwd","path":"/""#, b""),
        (r#""type":"joined","room":"a","nick":"b""#, b""),
        (r#""type":"left","nick":"b""#, b""),
        (r#""type":"renamed","nick":"a","to":"b""#, b""),
        (r#""type":"dropped","count":18446744073709551615"#, b""),
        (r#""type":"say""#, b"x"),
        (r#""type":"nick","nick":"b""#, b""),
        (r#""type":"names""#, b""),
        (r#""type":"credit","bytes":4294967295"#, b""),
    ] {
        refused(&request(answer, body), "bad-request");
    }
    for fields in ["cd", "ls", "get", "mkdir", "rm", "mv", "chat", "put", "exec"] {
        refused(&request(&format!(r#""type":"{fields}""#), &[]), "bad-request");
    }
    // What may have crossed with the end of its turn is passed over without a word.
    for late in [r#""type":"eof""#, r#""type":"signal","signal":"KILL""#, r#""type":"end""#] {
        refused(&[request(late, &[]), request(r#""type":"frobnicate""#, &[])].concat(), "unknown-type");
    }
    refused(&request(r#""type":"get","path_b64":"not base64!""#, &[]), "bad-request");
    refused(&request(r#""type":"get","path_b64":"YQBi""#, &[]), "bad-name");
    refused(&request(r#""type":"get","path":"../../etc/passwd""#, &[]), "outside-root");
    assert_well(&server);
}

#[test]
fn a_first_word_that_is_no_greeting_is_refused() {
    let server = server();
    for bytes in [
        request(r#""type":"pwd""#, &[]),
        request(r#""type":"exec","form":"shell""#, b"touch owned"),
        put("owned", b"x"),
        frame(r#"{"type":"hello"}"#, &[]),
        frame(r#"{"type":"hello","version":0}"#, &[]),
        frame(r#"{"type":"hello","version":2}"#, &[]),
        request(r#""type":"end""#, &[]),
    ] {
        let mut raw = Raw::connect(&server);
        raw.send(&bytes);
        raw.send_what_goes(&request(r#""type":"mkdir","path":"owned""#, &[]));
        let answers = raw.rest();
        let codes: Vec<&str> = answers.iter().map(Answer::code).collect();
        assert_eq!(codes.len(), 1, "{answers:?}");
    }
    assert_eq!(server.names("."), ["dir", "file"]);
    assert_well(&server);
}

#[test]
fn a_request_inside_an_upload_ends_the_line_and_the_upload() {
    let server = server();
    let mut raw = Raw::open(&server);
    raw.send(&request(r#""type":"put","path":"file","name":"x","size":9"#, &[]));
    raw.send(&request(r#""type":"data""#, b"half"));
    raw.send(&request(r#""type":"pwd""#, &[]));
    let answers = raw.rest();
    assert_eq!(answers.iter().map(Answer::code).collect::<Vec<_>>(), ["bad-frame"]);
    assert_eq!(server.read("file"), b"content");
    assert_eq!(server.names("."), ["dir", "file"]);
    assert_well(&server);
}

#[test]
fn a_conversation_may_come_one_byte_at_a_time() {
    let server = server();
    for (name, bytes, last) in conversations() {
        let mut raw = Raw::connect(&server);
        for byte in &bytes {
            raw.send(&[*byte]);
        }
        assert_ends(&mut raw, name, last);
    }
    assert_well(&server);
}

#[test]
fn who_says_nothing_is_told_and_closed() {
    let server = Server::with(&["--guest", "all", "--idle-timeout", "1s"]);
    let hello = frame(HELLO, &[]);
    let pwd = request(r#""type":"pwd""#, &[]);
    let behind_hello = [&hello[..], &pwd[..7]].concat();
    let mut waiting: Vec<(&str, Raw)> = [
        ("nothing", &b""[..]),
        ("two bytes", &hello[..2]),
        ("half a greeting", &hello[..20]),
        ("a greeting", &hello[..]),
        ("a greeting and half a request", &behind_hello[..]),
    ]
    .into_iter()
    .map(|(what, bytes)| {
        let mut raw = Raw::connect(&server);
        raw.send(bytes);
        (what, raw)
    })
    .collect();
    for (what, raw) in &mut waiting {
        let last = raw.rest().pop();
        assert_eq!(last.as_ref().map(Answer::code), Some("timed-out"), "after {what}: {last:?}");
    }
}

#[test]
fn more_stdin_than_was_granted_ends_the_command() {
    let server = server();
    let mut raw = Raw::open(&server);
    raw.send(&request(r#""type":"exec","form":"shell""#, b"echo $$; exec sleep 1000"));
    let pid: u32 = String::from_utf8(raw.answer().body).unwrap().trim().parse().unwrap();
    assert!(is_running(pid));
    raw.send(&request(r#""type":"data""#, &vec![0; 256 * 1024]));
    raw.send_what_goes(&request(r#""type":"data""#, b"x"));
    let answers = raw.rest();
    assert!(answers.iter().any(|answer| answer.kind() == "error" && answer.code() == "bad-frame"), "{answers:?}");
    wait_until("the command is gone", || !is_running(pid));
    assert_well(&server);
}

/// Credit counts bytes, and a piece of none costs none: it must not cost the server anything either.
#[test]
fn empty_pieces_of_stdin_pile_up_nowhere() {
    let server = server();
    let mut raw = Raw::open(&server);
    raw.send(&request(r#""type":"exec","form":"shell""#, b"echo ready; exec sleep 1000"));
    assert_eq!(raw.answer().body, b"ready\n");
    // Whoever writes stdin is busy with these.
    raw.send(&request(r#""type":"data""#, &vec![0; 200 * 1024]));
    let before = rss_kib(server.pid());
    let empty = frame(r#"{"type":"data"}"#, &[]).repeat(20_000);
    for _ in 0..50 {
        raw.send(&empty);
    }
    // An echo of our own would come too early: the signal is the last thing that is read.
    raw.send(&request(r#""type":"signal","signal":"KILL""#, &[]));
    while raw.answer().kind() != "outcome" {}
    let grown = rss_kib(server.pid()).saturating_sub(before);
    assert!(grown < 8 * 1024, "a million empty pieces took {grown} KiB");
}

#[test]
fn who_never_reads_holds_nobody_up_and_takes_no_memory() {
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
        let mut raw = Raw::connect(&server);
        raw.small_window();
        raw.send(&[frame(HELLO, &[]), bytes].concat());
        deaf.push(raw);
    }
    // One who floods as long as anybody listens: an echo that is never read, a chat full of names.
    for (turn, flood) in [
        (request(r#""type":"echo","streamed":true"#, &[]), request(r#""type":"data""#, &vec![3; 65_536])),
        (Vec::new(), request(r#""type":"echo""#, &vec![3; 65_536])),
        (
            request(r#""type":"chat","room":"lobby","nick":"flood""#, &[]),
            request(r#""type":"names""#, &[]).repeat(2_000),
        ),
    ] {
        let mut raw = Raw::connect(&server);
        raw.small_window();
        raw.send(&[frame(HELLO, &[]), turn].concat());
        raw.stream.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        for _ in 0..500 {
            use std::io::Write as _;
            if raw.stream.write_all(&flood).is_err() {
                break;
            }
        }
        deaf.push(raw);
        assert_well(&server);
    }
    let mut speaker = Raw::open(&server);
    speaker.send(&request(r#""type":"chat","room":"lobby","nick":"speaker""#, &[]));
    for _ in 0..300 {
        speaker.send(&request(r#""type":"say""#, &vec![b'x'; 60_000]));
    }
    speaker.send(&request(r#""type":"names""#, &[]));
    while speaker.answer().kind() != "names" {}
    speaker.send(&request(r#""type":"end""#, &[]));
    while speaker.answer().kind() != "end" {}
    for _ in 0..20 {
        assert_well(&server);
    }
    let rss = rss_kib(server.pid());
    assert!(rss < RSS_MAX_KIB, "the server takes {rss} KiB");
    drop((deaf, big));
}

/// How a client vanishes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Gone {
    Fin,
    Reset,
    /// Nothing more will be said, but it still listens: that too ends a turn.
    HalfClosed,
}

fn vanish(raw: Raw, how: Gone) -> Option<TcpStream> {
    match how {
        Gone::Fin => None,
        Gone::Reset => {
            raw.reset();
            None
        }
        Gone::HalfClosed => {
            raw.stream.shutdown(Shutdown::Write).unwrap();
            Some(raw.stream)
        }
    }
}

#[test]
fn an_upload_whose_sender_vanishes_leaves_nothing() {
    let server = server();
    for how in [Gone::Fin, Gone::Reset, Gone::HalfClosed] {
        for half in
            [request(r#""type":"data""#, &vec![1; 100_000]), frame(r#"{"type":"data","total_size":100000}"#, &[1; 999])]
        {
            let mut raw = Raw::open(&server);
            raw.send(&request(r#""type":"put","path":"file","name":"x","size":200000"#, &[]));
            raw.send(&half);
            wait_until("the upload has begun", || server.names(".").len() == 3);
            let kept = vanish(raw, how);
            wait_until("the half is gone", || server.names(".") == ["dir", "file"]);
            assert_eq!(server.read("file"), b"content", "{how:?}");
            drop(kept);
        }
    }
    assert_well(&server);
}

#[test]
fn a_command_whose_client_vanishes_is_ended_with_its_group() {
    let server = server();
    // The second ignores the polite request, the third has stopped, the fourth writes all the time.
    for script in [
        "sleep 1000 & echo $$ $!; wait",
        "trap '' TERM HUP; sleep 1000 & echo $$ $!; while :; do wait; done",
        "sleep 1000 & echo $$ $!; kill -STOP $$",
        "sleep 1000 & echo $$ $!; exec yes",
    ] {
        for how in [Gone::Fin, Gone::Reset, Gone::HalfClosed] {
            let mut raw = Raw::open(&server);
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
    assert_well(&server);
}

#[test]
fn the_room_hears_that_somebody_vanished() {
    let server = server();
    let mut stays = Raw::open(&server);
    stays.send(&request(r#""type":"chat","room":"lobby","nick":"stays""#, &[]));
    assert_eq!(stays.answer().kind(), "joined");
    for how in [Gone::Fin, Gone::Reset, Gone::HalfClosed] {
        let mut raw = Raw::open(&server);
        raw.send(&request(r#""type":"chat","room":"lobby","nick":"goes""#, &[]));
        assert_eq!(stays.answer().header["nick"], "goes");
        let kept = vanish(raw, how);
        let left = stays.answer();
        assert_eq!((left.kind(), left.header["nick"].as_str()), ("left", Some("goes")), "{how:?}");
        drop(kept);
    }
    assert_well(&server);
}

#[test]
fn special_files_are_refused_in_a_sentence() {
    let server = server();
    let fifo = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, server.root().join("fifo"), rustix::fs::FileType::Fifo, fifo, 0).unwrap();
    std::os::unix::fs::symlink(Path::new("/dev/zero"), server.root().join("zero")).unwrap();
    std::os::unix::fs::symlink(Path::new("loop"), server.root().join("loop")).unwrap();
    let here = tempfile::tempdir().unwrap();
    for (path, why) in [
        ("fifo", "/fifo: is neither a file nor a directory"),
        ("zero", "/zero: leads out of the root"),
        ("dir", "/dir: is a directory"),
        ("file/inner", "/file/inner: not a directory"),
        ("loop", "/loop: "),
    ] {
        let run = Run::new("fget").args([server.remote(path).as_str(), "."]).current_dir(here.path());
        let output = run.code(1).stderr(why).output();
        assert_eq!(output.stderr.lines().count(), 1, "a sentence: {}", output.stderr);
        assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0, "{path} left something behind");
    }
    // Nor does a file take the place of one, on either side.
    let local = here.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &local, rustix::fs::FileType::Fifo, fifo, 0).unwrap();
    std::fs::write(here.path().join("mine"), "mine").unwrap();
    for (program, from, to) in
        [("fget", server.remote("file"), "fifo"), ("fput", "mine".into(), &server.remote("fifo"))]
    {
        let run = Run::new(program).args([from.as_str(), to]).current_dir(here.path());
        let stderr = run.code(1).stderr("neither a file nor a directory").output().stderr;
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    let is_fifo = |path: &Path| std::fs::symlink_metadata(path).unwrap().file_type().is_fifo();
    assert!(is_fifo(&local) && is_fifo(&server.root().join("fifo")));
    assert_well(&server);
}

/// A line's stack is small, and a guest decides how deep a tree is.
#[test]
fn trees_may_be_deeper_than_any_stack() {
    let server = server();
    let mut raw = Raw::open(&server);
    let mut ask = |fields: &str| {
        raw.send(&request(fields, &[]));
        raw.answer()
    };
    let deep = vec!["d"; 2_000].join("/");
    let mkdir = format!(r#""type":"mkdir","path":"{deep}","parents":true"#);
    assert_eq!(ask(&mkdir).kind(), "ok");
    assert_eq!(ask(&mkdir).kind(), "ok", "it is there already");
    assert_eq!(ask(r#""type":"mv","path":"d","to":"tree""#).kind(), "ok");
    // Each round hangs the tree to the end of another one: deeper than any path is long.
    for _ in 0..2 {
        assert_eq!(ask(&mkdir).kind(), "ok");
        assert_eq!(ask(&format!(r#""type":"mv","path":"tree","to":"{deep}""#)).kind(), "ok");
        assert_eq!(ask(r#""type":"mv","path":"d","to":"tree""#).kind(), "ok");
    }
    let refused = ask(r#""type":"rm","path":"tree","recursive":true"#);
    assert_eq!(refused.code(), "failed");
    assert!(refused.header["message"].as_str().unwrap().contains("directories deep"), "{}", refused.header);
    // A tree of a depth that people have is removed, links in it and not what they lead to.
    let deep = vec!["e"; 90].join("/");
    assert_eq!(ask(&format!(r#""type":"mkdir","path":"{deep}","parents":true"#)).kind(), "ok");
    std::os::unix::fs::symlink("../../dir", server.root().join("e/e/link")).unwrap();
    server.write("e/e/file", "x");
    assert_eq!(ask(r#""type":"rm","path":"e","recursive":true"#).kind(), "ok");
    assert_eq!(server.names("."), ["dir", "file", "tree"]);
    assert_eq!(server.names("dir"), ["inner"]);
    assert_well(&server);
    // The test's own removal of the root goes down by recursion as well.
    let swept = std::process::Command::new("rm").arg("-rf").arg(server.root().join("tree")).status().unwrap();
    assert!(swept.success());
}
