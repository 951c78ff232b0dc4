//! PROTOCOL.md and the code say the same: every message's hex dump in the document is what the
//! encoder writes, the decoder reads it back, and the tables say which fields it needs.

use std::borrow::Cow;

use landline::error::ErrorCode;
use landline::wire::channel::{Receiver, encode};
use landline::wire::frame::{BODY_LEN_MAX, HEADER_LEN_MAX, HEADER_LEN_MIN};
use landline::wire::message::{
    AttachMode, Attributes, Channel, ChatOptions, CommandForm, ExecOptions, Message, ModerationAct, Outcome,
    OutputHolder, Packed, SayFields, TerminalSize, Total, VERSION,
};

const DOCUMENT: &str = include_str!("../../PROTOCOL.md");

fn bytes(text: &str) -> Cow<'_, [u8]> {
    Cow::Borrowed(text.as_bytes())
}

/// A directory, two files and a symlink.
const LISTING: &str = concat!(
    r#"{"path":"site","kind":"dir","size":0,"mtime_ns":1700000000000000000,"mode":493}"#,
    "\n",
    r#"{"path":"site/a","kind":"file","size":6,"mtime_ns":1700000000000000000,"mode":420}"#,
    "\n",
    r#"{"path":"site/big","kind":"file","size":20000000,"mtime_ns":1700000000000000000,"mode":420}"#,
    "\n",
    r#"{"path":"site/now","kind":"link","size":0,"mtime_ns":1700000000000000000,"mode":511,"target":"a"}"#,
    "\n",
);

/// Entry 1, 6 bytes, its time, its digest, its bytes.
const SMALL: &[u8] = b"\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x2a\x36\xfe\x9c\x97\x17\
    \x8e\x4c\x7c\x1b\x99\xdb\xfd\x50\xe7\xa9\x51\x85\xfe\xad\x5e\xe1\
    \x44\x8f\xa9\x04\xa2\xfd\xd7\x78\xea\xf5\xf2\xdb\xfd\x62\x9a\x99\
    \x68\x65\x6c\x6c\x6f\n";

/// 65,536 bytes with an id, 32,768 of a hole.
const CHUNKS: &[u8] = b"\x00\x00\x01\x00\x42\x4f\x8a\xb1\x1a\xd6\xa7\xb8\xff\xd6\xa5\xe1\xcc\x6a\xd1\xd9\
    \x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

/// The answer about a guest.
const WHO: &[u8] =
    br#"{"nick":"ann","kind":"guest","rooms":["lobby"],"since_ms":1700000000000,"operator":false,"lost":false}"#;

/// A thousand zeros.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x00\x48\x4d\x00\x00\x10\x00\x00\x01\x00\xe3\x2b\x80\x05";

/// One of each message, in the document's order: heading, message, body.
#[expect(clippy::too_many_lines, reason = "a line or two a message")]
fn samples() -> Vec<(&'static str, Message<'static>, &'static [u8])> {
    let file = Attributes { size: 6, mtime_ns: Some(1_700_000_000_000_000_000), mode: Some(0o644) };
    let digest = "8f8e8d2a1e63b1d5d2a8f9b4c2bdbb2a0a1f6a3e5a1f4e8d9c7b6a5948372615";
    let total = Some(Total { size: 6, blake3: Some(digest.into()) });
    let options = ExecOptions {
        variables: 1,
        timeout_ms: Some(30_000),
        kill_after_ms: Some(3_000),
        merged: true,
        terminal: None,
        detached: true,
        linger_ms: Some(500),
    };
    // Backspace erases; characters are UTF-8.
    let modes = Some(Cow::Borrowed(&[3, 0, 0, 0, 8, 42, 0, 0, 0, 1, 0][..]));
    let terminal = Some(TerminalSize { columns: 80, rows: 24 });
    let ended = |outcome| Message::Outcome { outcome, path: Some(bytes("/src")), holder: None };
    let held = Some(OutputHolder { name: "sleep".into(), pid: Some(4711), is_closed: true });
    let program = "fget/0.1.0".into();
    let verbs = vec!["echo".into(), "chat".into()];
    let lobby = || Some(Cow::Borrowed("lobby"));
    let time_ms = Some(1_700_000_000_000);
    let coming_back = ChatOptions {
        client: Some("0123456789abcdef".into()),
        history: Some(20),
        after: Some(41),
        direct_after: Some(7),
    };
    let numbered =
        SayFields { room: lobby(), to: Some("bob".into()), id: Some(3), is_action: true, ..SayFields::default() };
    let said = SayFields {
        room: lobby(),
        nick: Some("ann".into()),
        id: Some(3),
        origin: Some("d8a1c26b94f07e35".into()),
        seq: Some(42),
        time_ms,
        is_guest: true,
        is_past: true,
        ..SayFields::default()
    };
    vec![
        ("hello, from a client", Message::Hello { version: VERSION, program, verbs: vec![] }, b""),
        ("hello, from a server", Message::Hello { version: VERSION, program: "tcp-server/0.1.0".into(), verbs }, b""),
        ("error", Message::Error { code: ErrorCode::NotFound, message: "/a: no such file or directory".into() }, b""),
        ("ok", Message::Ok { path: Some(bytes("/docs/a")) }, b""),
        ("data", Message::Data { stream: Channel::Main }, b"hello"),
        ("data, from stderr", Message::Data { stream: Channel::Stderr }, b"oh"),
        ("eof", Message::Eof, b""),
        ("credit", Message::Credit { bytes: 65_536 }, b""),
        ("end", Message::End { total: None }, b""),
        ("end, of a file", Message::End { total }, b""),
        (
            "pair",
            Message::Pair { name: "laptop".into() },
            b"A\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",
        ),
        (
            "confirm, the server's",
            Message::Confirm { guesses_left: Some(2) },
            b"\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",
        ),
        (
            "confirm",
            Message::Confirm { guesses_left: None },
            b"\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",
        ),
        ("echo", Message::Echo { streamed: false }, b"hi"),
        ("echo, streamed", Message::Echo { streamed: true }, b""),
        ("chat", Message::Chat { room: "lobby".into(), nick: "ann".into(), options: ChatOptions::default() }, b""),
        ("chat, coming back", Message::Chat { room: "lobby".into(), nick: "ann".into(), options: coming_back }, b""),
        ("say, from a client", Message::Say { fields: SayFields::default() }, b"hi"),
        ("say, with a number", Message::Say { fields: numbered }, b"waves"),
        ("say, from a server", Message::Say { fields: SayFields { nick: Some("ann".into()), ..SayFields::default() } }, "你好".as_bytes()),
        ("say, from a server, with all its fields", Message::Say { fields: said }, b"hi"),
        ("ack", Message::Ack { id: 3, seq: Some(42), time_ms }, b""),
        ("refused", Message::Refused { id: 3, code: ErrorCode::NotFound, message: "bob is not here".into() }, b""),
        ("join", Message::Join { room: "attic".into(), history: Some(20), after: Some(41) }, b""),
        ("joined", Message::Joined { room: "lobby".into(), nick: "ann".into(), seq: None, is_guest: false }, b""),
        ("joined, with all its fields", Message::Joined { room: "lobby".into(), nick: "ann".into(), seq: Some(41), is_guest: true }, b""),
        ("leave", Message::Leave { room: "attic".into() }, b""),
        ("left", Message::Left { nick: "ann".into(), room: None, is_lost: false }, b""),
        ("left, lost", Message::Left { nick: "ann".into(), room: lobby(), is_lost: true }, b""),
        ("nick", Message::Nick { nick: "bob".into() }, b""),
        ("renamed", Message::Renamed { nick: "ann".into(), to: "bob".into() }, b""),
        ("names, asked", Message::Names { room: None }, b""),
        ("names, answered", Message::Names { room: lobby() }, b"ann\nbob"),
        ("rooms, asked", Message::Rooms, b""),
        ("rooms, answered", Message::Rooms, br#"{"room":"lobby","members":2}"#),
        ("who, asked", Message::Who { nick: "ann".into() }, b""),
        ("who, answered", Message::Who { nick: "ann".into() }, WHO),
        ("topic", Message::Topic { room: "lobby".into(), nick: None, time_ms: None }, b"lunch at one"),
        ("topic, from a server", Message::Topic { room: "lobby".into(), nick: Some("ann".into()), time_ms }, b"lunch at one"),
        (
            "moderate",
            Message::Moderate { act: ModerationAct::Mute, nick: "eve".into(), room: lobby(), ttl_ms: Some(600_000), by: None },
            b"spam",
        ),
        (
            "moderate, from a server",
            Message::Moderate { act: ModerationAct::Kick, nick: "eve".into(), room: lobby(), ttl_ms: None, by: Some("ann".into()) },
            b"",
        ),
        ("dropped", Message::Dropped { count: 3, room: None }, b""),
        ("dropped, in one room", Message::Dropped { count: 0, room: lobby() }, b""),
        ("notice", Message::Notice { name: "bus-lost".into(), message: "alone".into() }, b""),
        ("exec, for a shell", Message::Exec { form: CommandForm::Shell, path: None, place: None, options: ExecOptions::default(), modes: None }, b"ls | wc"),
        ("exec, exact arguments", Message::Exec { form: CommandForm::Argv, path: Some(bytes("src")), place: Some("build".into()), options, modes: None }, b"LANG=C\0printf\0%s\0a b\0"),
        (
            "exec, a login shell on a terminal",
            Message::Exec { form: CommandForm::Login, path: None, place: None, options: ExecOptions { variables: 1, terminal, ..ExecOptions::default() }, modes },
            b"TERM=xterm\0",
        ),
        ("signal", Message::Signal { signal: "INT".into() }, b""),
        ("window", Message::Window { size: TerminalSize { columns: 132, rows: 43 } }, b""),
        ("outcome, exited", ended(Outcome::Exited(7)), b""),
        ("outcome, killed", ended(Outcome::Killed("TERM".into())), b""),
        ("outcome, timed out", ended(Outcome::TimedOut), b""),
        (
            "outcome, could not start",
            ended(Outcome::CouldNotStart { code: 127, why: "nosuch: command not found".into() }),
            b"",
        ),
        (
            "outcome, with something left behind",
            Message::Outcome { outcome: Outcome::Exited(0), path: Some(bytes("/src")), holder: held },
            b"",
        ),
        ("outcome, lost", ended(Outcome::Lost { why: "4f1e22a0: its server ended before it did".into() }), b""),
        ("job", Message::Job { job: "4f1e22a0".into() }, b""),
        ("jobs", Message::Jobs, b""),
        ("attach", Message::Attach { job: "4f1e22a0".into(), watch: AttachMode::Follow, tail: Some(10) }, b""),
        ("kill", Message::Kill { job: "4f1e22a0".into(), signal: Some("INT".into()) }, b""),
        ("place", Message::Place { place: "build".into(), path: Some(bytes("src")), ttl_ms: Some(60_000), variables: 2 }, b"CC=clang\0DEBUG\0"),
        ("places", Message::Places, b""),
        ("cd", Message::Cd { path: bytes("../src") }, b""),
        ("pwd", Message::Pwd, b""),
        ("cwd", Message::Cwd { path: bytes("/src") }, b""),
        ("ls", Message::Ls { path: bytes("") }, b""),
        ("mkdir", Message::Mkdir { path: bytes("a/b"), parents: true }, b""),
        ("rm", Message::Rm { path: bytes("a"), recursive: true }, b""),
        ("mv", Message::Mv { path: bytes("a"), to: bytes("b") }, b""),
        ("parts", Message::Parts { path: bytes("docs"), clean: true }, b""),
        ("get", Message::Get { path: bytes("a \"b\"") }, b""),
        ("get, a name that is not UTF-8", Message::Get { path: Cow::Borrowed(b"a\xff") }, b""),
        ("file", Message::File { attributes: file }, b""),
        ("put", Message::Put { path: bytes("docs/"), name: bytes("a"), attributes: file }, b""),
        ("pull", Message::Pull, br#"{"paths":["logs/*.gz"],"recursive":true,"follow":false}"#),
        (
            "push",
            Message::Push { path: bytes("www") },
            br#"{"single":true,"recursive":true,"preserve":true,"sync":true,"resume":true}"#,
        ),
        ("list", Message::List { is_last: true }, LISTING.as_bytes()),
        ("want, where it goes", Message::Want { count: 0, path: Some(bytes("/www")), name: Some(bytes("b")) }, b""),
        (
            "want",
            Message::Want { count: 4, path: None, name: None },
            b"{\"first\":1}\n{\"first\":2,\"offset\":16777216,\"chunks\":true}\n",
        ),
        ("chunks", Message::Chunks { entry: 2, average: 32_768 }, CHUNKS),
        ("small", Message::Small, SMALL),
        (
            "large",
            Message::Large { entry: 2, offset: 16_777_216, attributes: Attributes { size: 20_000_000, ..file } },
            b"",
        ),
        ("packed", Message::Packed { of: Packed::Data, size: 1000 }, ZSTD),
        ("hole", Message::Hole { size: 4096 }, b""),
        ("copy", Message::Copy { offset: 98_304, size: 65_536 }, b""),
        ("blocks", Message::Blocks, &[0xa5; 32]),
        ("mend", Message::Mend { entry: 2 }, b"{\"offset\":0,\"size\":16777216}\n"),
        ("piece", Message::Piece { offset: 16_777_216, size: 3_222_784 }, b""),
        ("whole", Message::Whole { total: Total { size: 20_000_000, blake3: Some(digest.into()) } }, b""),
        ("same", Message::Same { entry: 2 }, b""),
        ("grew", Message::Grew { entry: 2 }, b""),
        (
            "lost",
            Message::Lost { entry: 2, code: ErrorCode::Permission, message: "/site/big: permission denied".into() },
            b"",
        ),
        (
            "kept",
            Message::Kept,
            b"{\"first\":1,\"count\":2}\n{\"first\":7,\"code\":\"permission\",\"message\":\"/www/x: permission denied\"}\n",
        ),
    ]
}

/// Sixteen bytes a line, as `hexdump -C` has them, without the offsets.
fn dump(frame: &[u8]) -> String {
    let mut text = String::new();
    for line in frame.chunks(16) {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown: String =
            line.iter().map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '.' }).collect();
        text = format!("{text}{:<47}  |{shown}|\n", hex.join(" "));
    }
    text
}

/// The bytes of a dump in the document.
fn undump(text: &str) -> Vec<u8> {
    text.lines()
        .flat_map(|line| line.split("  |").next().unwrap().split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn dump_in_document(heading: &str) -> &'static str {
    let (_, after) = DOCUMENT
        .split_once(&format!("\n#### {heading}\n"))
        .unwrap_or_else(|| panic!("PROTOCOL.md has no heading {heading:?}"));
    let (_, block) = after.split_once("```hex\n").expect("a dump behind the heading");
    block.split_once("```").expect("the dump's end").0
}

#[test]
fn every_dump_is_what_the_encoder_writes() {
    for (heading, message, body) in samples() {
        let frame = encode(&message, body).unwrap();
        let dump = dump(&frame);
        assert!(
            dump_in_document(heading) == dump,
            "PROTOCOL.md is behind the code; under {heading:?} belongs:\n{dump}"
        );
    }
}

#[test]
fn every_dump_is_read_back_by_the_decoder() {
    for (heading, message, body) in samples() {
        let frame = undump(dump_in_document(heading));
        let mut receiver = Receiver::new(&frame[..], &[]);
        assert_eq!(receiver.recv().unwrap(), Some(message), "{heading}");
        assert_eq!(receiver.body(BODY_LEN_MAX).unwrap(), body, "{heading}");
        assert_eq!(receiver.recv().unwrap(), None, "{heading}");
    }
}

#[test]
fn every_message_has_a_dump_and_every_dump_a_message() {
    let headings: Vec<&str> = DOCUMENT.lines().filter_map(|line| line.strip_prefix("#### ")).collect();
    assert_eq!(headings, samples().iter().map(|(heading, ..)| *heading).collect::<Vec<_>>());
    for name in Message::NAMES {
        assert!(samples().iter().any(|(_, message, _)| message.name() == *name), "{name} has no dump");
    }
}

/// The first table of fields in a message's section: each field, and whether it is required.
fn fields(name: &str) -> Vec<(&'static str, &'static str)> {
    let (_, section) = DOCUMENT
        .split_once(&format!("\n### {name}\n"))
        .unwrap_or_else(|| panic!("PROTOCOL.md has no section {name:?}"));
    let section = section.split("\n## ").next().and_then(|rest| rest.split("\n### ").next()).unwrap();
    if section.split_whitespace().collect::<Vec<_>>().join(" ").contains("no fields") {
        return Vec::new();
    }
    let (_, table) = section.split_once("| field | type | required | default | meaning |\n").expect(name);
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        (cells[0].trim_matches(['|', ' ', '`']), cells[2])
    })
    .collect()
}

/// The fields of a frame's header, without those that every header has.
fn header_of(frame: &[u8]) -> serde_json::Map<String, serde_json::Value> {
    let len = u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize;
    serde_json::from_slice(&frame[4..4 + len]).unwrap()
}

/// What the decoder makes of a header without one of its fields.
fn decodes_without(header: &serde_json::Map<String, serde_json::Value>, field: &str, body: &[u8]) -> bool {
    let mut header = header.clone();
    header.remove(field);
    let header = serde_json::to_vec(&header).unwrap();
    let len = u32::try_from(header.len()).unwrap().to_le_bytes();
    let frame = [&len[..], &header, body].concat();
    Receiver::new(&frame[..], &[]).recv().is_ok()
}

#[test]
fn the_tables_of_fields_are_what_the_decoder_needs() {
    for (heading, message, body) in samples() {
        let header = header_of(&encode(&message, body).unwrap());
        let table = fields(message.name());
        for field in header.keys().filter(|field| !["type", "total_size"].contains(&field.as_str())) {
            let Some((_, required)) = table.iter().find(|(name, _)| name == field) else {
                panic!("{heading}: PROTOCOL.md does not tell of the field {field:?}");
            };
            let is_required = !decodes_without(&header, field, body);
            match *required {
                "yes" => assert!(is_required, "{heading}: {field:?} may be absent"),
                "no" => assert!(!is_required, "{heading}: {field:?} is required"),
                other => assert_eq!(other, "by form", "{heading}: {field:?}"),
            }
        }
    }
}

#[test]
fn every_field_in_the_tables_is_in_a_dump() {
    for name in Message::NAMES {
        for (field, _) in fields(name) {
            let is_sent = samples().iter().any(|(_, message, body)| {
                message.name() == *name && header_of(&encode(message, body).unwrap()).contains_key(field)
            });
            assert!(is_sent, "{name}: no dump has the field {field:?}");
        }
    }
}

#[test]
fn every_error_code_and_every_limit_is_in_the_document() {
    for (_, code, meaning) in ErrorCode::ALL {
        let row = format!("| `{code}` | {} |", meaning.trim());
        assert!(DOCUMENT.contains(&row), "no row {row:?}");
    }
    for (name, value) in [
        ("HEADER_LEN_MIN", HEADER_LEN_MIN as u64),
        ("HEADER_LEN_MAX", HEADER_LEN_MAX as u64),
        ("BODY_LEN_MAX", BODY_LEN_MAX.into()),
        ("STRANGER_LEN_MAX", landline::wire::frame::STRANGER_LEN_MAX as u64),
        ("GUESSES_MAX", landline::trust::offer::GUESSES_MAX.into()),
        ("STDIN_CREDIT", landline::exec::STDIN_CREDIT.into()),
        ("COMMAND_LEN_MAX", landline::exec::COMMAND_LEN_MAX.into()),
        ("TEXT_LEN_MAX", landline::chat::TEXT_LEN_MAX.into()),
        ("NAME_CHARS_MAX", landline::chat::NAME_CHARS_MAX as u64),
        ("PATH_LEN_MAX", landline::fs::root::PATH_LEN_MAX as u64),
        ("REQUEST_LEN_MAX", landline::trees::REQUEST_LEN_MAX.into()),
        ("LIST_LEN_MAX", landline::trees::BODY_LEN_MAX.into()),
    ] {
        assert!(DOCUMENT.contains(&format!("| `{name}` | {value} |")), "no row for {name} = {value}");
    }
}

#[test]
fn every_verb_and_its_services_are_in_the_document() {
    for (verb, services) in Message::REQUESTS.iter().filter(|(_, services)| !services.is_empty()) {
        let services: Vec<&str> = services.iter().map(|service| service.as_str()).collect();
        let row = format!("| `{verb}` | {} |", services.join(", "));
        assert!(DOCUMENT.contains(&row), "no row {row:?}");
    }
}
