//! Frames that lie about themselves, or come where they have no place.

use super::{assert_well_for_guests, server};
use crate::harness::Server;
use crate::harness::frames::{Answer, HELLO, frame, put, request};
use crate::harness::tls::Over;

over_both! {
    lengths_that_lie_are_refused,
    headers_that_are_bombs_or_no_json_are_refused,
    a_greeting_may_have_any_length,
    fields_of_the_wrong_type_are_refused,
    what_can_be_skipped_leaves_the_connection_in_step,
    a_first_word_that_is_no_greeting_is_refused,
    a_request_inside_an_upload_ends_the_connection_and_the_upload,
}

/// Sends `bytes` behind a greeting; returns what is answered before the connection is closed.
fn closed_after(over: Over, server: &Server, bytes: &[u8]) -> Vec<Answer> {
    let mut raw = over.open(server);
    raw.send_what_goes(bytes);
    raw.rest()
}

fn assert_bad_frame(over: Over, server: &Server, bytes: &[u8], what: &str) {
    let answers = closed_after(over, server, bytes);
    let codes: Vec<&str> = answers.iter().map(Answer::code).collect();
    assert_eq!(codes, ["bad-frame"], "{what}: {answers:?}");
    // The same bytes as the first that come. Without a greeting some of them are another wire's.
    let mut raw = over.connect(server);
    raw.send_what_goes(bytes);
    let last = raw.rest().pop();
    assert_eq!(last.as_ref().map(Answer::code), Some("bad-frame"), "{what} without a greeting");
}

fn lengths_that_lie_are_refused(over: Over) {
    let server = server();
    let pwd = r#"{"type":"pwd"}"#;
    for length in [0, 1, -1, -65_535, i32::MIN, 65_536, 0x0100_0000, i32::MAX] {
        assert_bad_frame(
            over,
            &server,
            &[&length.to_le_bytes()[..], pwd.as_bytes()].concat(),
            &format!("length {length}"),
        );
    }
    for size in ["4194305", "9223372036854775808", "18446744073709551616", "-1", "\"5\"", "null", "1.5", "[]", "{}"] {
        let header = format!(r#"{{"type":"pwd","total_size":{size}}}"#);
        assert_bad_frame(over, &server, &frame(&header, b"12345"), &format!("total_size {size}"));
    }
    // A length that is too long takes nothing of the next frame into account: it waits and ends.
    let answers = {
        let mut raw = over.open(&server);
        raw.send(&[&65_535_i32.to_le_bytes()[..], pwd.as_bytes()].concat());
        raw.end();
        raw.rest()
    };
    assert!(answers.is_empty(), "{answers:?}");
    assert_well_for_guests(&server);
}

fn headers_that_are_bombs_or_no_json_are_refused(over: Over) {
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
        assert_bad_frame(over, &server, &[&length[..], &header].concat(), what);
    }
    for first in [&b"["[..], b"\"", b" ", b"x", b"\0"] {
        let bytes = [&[20, 0, 0, 0], first, &[b' '; 19]].concat();
        let codes: Vec<String> = closed_after(over, &server, &bytes).iter().map(|a| a.code().to_owned()).collect();
        assert_eq!(codes, ["bad-frame"], "a header that begins with {first:?}");
    }
    // As long as a header may be, and valid: answered, unknown fields and all.
    let mut guest = over.open(&server);
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
    assert_well_for_guests(&server);
}

/// The first frame's length may have any last byte, also the one with which TLS begins.
fn a_greeting_may_have_any_length(over: Over) {
    let server = server();
    let greeting = |len: usize| {
        let bare = r#"{"type":"hello","version":1,"program":""}"#;
        let hello = bare.replace(r#""""#, &format!("{:?}", "p".repeat(len - bare.len())));
        assert_eq!(hello.len(), len);
        hello
    };
    for len in (60..=330).chain([0x0316, 4_095, 4_096]) {
        let mut raw = over.connect(&server);
        raw.send(&frame(&greeting(len), &[]));
        assert_eq!(raw.answer().kind(), "hello", "a hello of {len} bytes");
    }
    // A stranger is not lent more than that: neither for a header nor for a body.
    let hello = |size: usize| format!(r#"{{"type":"hello","version":1,"program":"x","total_size":{size}}}"#);
    let mut raw = over.connect(&server);
    raw.send(&frame(&hello(4_096), &[b'x'; 4_096]));
    assert_eq!(raw.answer().kind(), "hello");
    raw.send(&request(r#""type":"echo""#, &[b'x'; 5_000]));
    assert_eq!(raw.answer().body.len(), 5_000, "from now on there is room");
    for (part, len, bytes) in [
        ("header", 4_097, frame(&greeting(4_097), &[])),
        ("header", 0x1016, frame(&greeting(0x1016), &[])),
        ("header", 65_535, frame(&greeting(65_535), &[])),
        ("body", 4_097, frame(&hello(4_097), &[b'x'; 4_097])),
    ] {
        let mut raw = over.connect(&server);
        raw.send_what_goes(&bytes);
        let answers = raw.rest();
        assert_eq!(answers.iter().map(Answer::code).collect::<Vec<_>>(), ["bad-frame"], "{part} of {len}");
        let why = format!("frame {part} of {len} bytes before hello was accepted, where at most 4096 are taken");
        assert_eq!(answers[0].header["message"], why.as_str());
    }
    assert_well_for_guests(&server);
}

fn fields_of_the_wrong_type_are_refused(over: Over) {
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
        ("path", "{\"b64\":1}"),
        ("to", "{}"),
        ("to", "{\"hex\":\"00\"}"),
        ("name", "3"),
        ("name", "[]"),
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
        assert_bad_frame(
            over,
            &server,
            &frame(&format!("{{{kind}\"{field}\":{value}}}"), &[]),
            &format!("{field}: {value}"),
        );
    }
    assert_well_for_guests(&server);
}

fn what_can_be_skipped_leaves_the_connection_in_step(over: Over) {
    let server = server();
    let mut guest = over.open(&server);
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
    // What may have crossed with the end of its exchange is passed over without a word.
    for late in [r#""type":"eof""#, r#""type":"signal","signal":"KILL""#, r#""type":"end""#] {
        refused(&[request(late, &[]), request(r#""type":"frobnicate""#, &[])].concat(), "unknown-type");
    }
    refused(&request(r#""type":"get","path":{"b64":"not base64!"}"#, &[]), "bad-request");
    refused(&request(r#""type":"get","path":{"b64":"YQBi"}"#, &[]), "bad-name");
    refused(&request(r#""type":"get","path":"../../etc/passwd""#, &[]), "outside-root");
    assert_well_for_guests(&server);
}

fn a_first_word_that_is_no_greeting_is_refused(over: Over) {
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
        let mut raw = over.connect(&server);
        raw.send(&bytes);
        raw.send_what_goes(&request(r#""type":"mkdir","path":"owned""#, &[]));
        let answers = raw.rest();
        let codes: Vec<&str> = answers.iter().map(Answer::code).collect();
        assert_eq!(codes.len(), 1, "{answers:?}");
    }
    assert_eq!(server.names("."), ["dir", "file"]);
    assert_well_for_guests(&server);
}

fn a_request_inside_an_upload_ends_the_connection_and_the_upload(over: Over) {
    let server = server();
    let mut raw = over.open(&server);
    raw.send(&request(r#""type":"put","path":"file","name":"x","size":9"#, &[]));
    raw.send(&request(r#""type":"data""#, b"half"));
    raw.send(&request(r#""type":"pwd""#, &[]));
    let answers = raw.rest();
    assert_eq!(answers.iter().map(Answer::code).collect::<Vec<_>>(), ["bad-frame"]);
    assert_eq!(server.read("file"), b"content");
    assert_eq!(server.names("."), ["dir", "file"]);
    assert_well_for_guests(&server);
}
