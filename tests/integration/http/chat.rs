//! The chat over WebSocket: a client by hand, and that of a library.

use std::io::Write as _;

use landline::trust::time::Moment;
use landline::trust::tokens::shares::{LinkOptions, make_link};
use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::harness::http::{Answer, Http, Scheme, ask};
use crate::harness::machine::Machine;
use crate::harness::tls::Wire;
use crate::harness::{Background, Run, Server};

const HANDSHAKE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// A client of the chat.
struct Web(WebSocket<Wire>);

fn shake_hands(server: &Server, lines: &str) -> (Http, Answer) {
    let mut http = Scheme::Plain.connect(server);
    http.send(format!("GET /?chat HTTP/1.1\r\nHost: localhost\r\n{HANDSHAKE}\r\n{lines}\r\n").as_bytes());
    let answer = http.any_answer(true).unwrap();
    (http, answer)
}

/// A connection behind its handshake.
fn upgraded(server: &Server, lines: &str) -> Http {
    let (http, answer) = shake_hands(server, lines);
    assert_eq!((answer.status, answer.header("connection")), (101, "upgrade"), "{answer:?}");
    assert_eq!(answer.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "{answer:?}");
    http
}

impl Web {
    fn connect(server: &Server, lines: &str) -> Self {
        Self(WebSocket::from_raw_socket(upgraded(server, lines).stream, Role::Client, None))
    }

    /// In the lobby, under this nick.
    fn enter(server: &Server, nick: &str, more: &Value) -> Self {
        let mut web = Self::connect(server, "");
        web.chat(nick, more);
        let joined = web.next();
        assert_eq!((&joined["type"], &joined["nick"]), (&json!("joined"), &json!(nick)), "{joined}");
        web
    }

    fn chat(&mut self, nick: &str, more: &Value) {
        let mut chat = json!({"type": "chat", "room": "lobby", "nick": nick});
        chat.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.send(&chat);
    }

    fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    fn say(&mut self, id: u64, text: &str) {
        self.send(&json!({"type": "say", "room": "lobby", "id": id, "text": text}));
    }

    fn next(&mut self) -> Value {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} came"),
            }
        }
    }

    /// The next message of this type; others are passed over.
    fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next();
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// The code of the close that comes, and what was said before; `None`: the connection ended without one.
    fn close(&mut self) -> Option<u16> {
        loop {
            match self.0.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

fn terminal(server: &Server, nick: &str) -> Background {
    let client = Run::new("tcp-client").args(["chat", server.address(), "--nick", nick]).spawn();
    client.wait_for(&format!("* {nick} joined"));
    client
}

fn for_guests() -> Server {
    Server::with(&["--http", "--guest", "chat"])
}

#[test]
fn a_browser_and_a_terminal_are_in_one_room() {
    let server = for_guests();
    let mut ann = terminal(&server, "ann");
    let mut web = Web::enter(&server, "web", &json!({"client": "0123456789abcdef"}));
    ann.wait_for("* ~web joined");
    web.say(1, "hi <b> \"you\" 收到");
    ann.wait_for("~web: hi <b> \"you\" 收到");
    let ack = web.next();
    assert_eq!((&ack["type"], &ack["id"]), (&json!("ack"), &json!(1)), "{ack}");
    ann.say("hello web");
    let said = web.next();
    assert_eq!((&said["nick"], &said["room"], &said["text"]), (&json!("ann"), &json!("lobby"), &json!("hello web")));
    web.send(&json!({"type": "names", "room": "lobby"}));
    assert_eq!(web.next()["text"], "ann\nweb");
    web.send(&json!({"type": "join", "room": "attic", "history": 5}));
    assert_eq!(web.wait_for("joined")["room"], "attic");
    web.send(&json!({"type": "nick", "nick": "spider"}));
    assert_eq!(web.wait_for("renamed")["to"], "spider");
    ann.wait_for("* web is now spider");
    web.send(&json!({"type": "nick", "nick": "ann"}));
    assert_eq!(web.next()["code"], "name-taken");
    web.send(&json!({"type": "pwd"}));
    assert_eq!(web.close(), Some(1008), "what is no request of the chat ends it");
}

#[test]
fn a_client_that_leaves_is_gone_and_one_that_closes_may_come_back() {
    let server = for_guests();
    let ann = terminal(&server, "ann");
    let secret = json!({"client": "0123456789abcdef"});
    let mut web = Web::enter(&server, "web", &secret);
    web.0.close(None).unwrap();
    assert_eq!(web.close(), None);
    ann.wait_for("* web left");
    let mut other = Web::connect(&server, "");
    other.chat("web", &json!({}));
    assert_eq!(other.next()["code"], "name-taken");
    // The same connection tries again.
    other.chat("other", &json!({}));
    assert_eq!(other.next()["type"], "joined");
    let mut web = Web::enter(&server, "web", &secret);
    web.send(&json!({"type": "end"}));
    assert_eq!(web.close(), Some(1000));
    server.wait_for_log(r#"about="web in lobby" outcome="101, said 0""#);
    other.send(&json!({"type": "nick", "nick": "web"}));
    assert_eq!(other.wait_for("renamed")["to"], "web");
}

#[test]
fn what_was_not_acknowledged_is_sent_again_and_comes_once() {
    let server = for_guests();
    let mut ann = Web::enter(&server, "ann", &json!({}));
    let secret = json!({"client": "0123456789abcdef", "history": 50});
    let mut web = Web::enter(&server, "web", &secret);
    web.say(1, "one");
    web.say(2, "two");
    let seq = web.wait_for("ack")["seq"].as_u64().unwrap();
    // The connection is lost before the second answer is read; the client comes back before the server has noticed.
    let mut again = Web::connect(&server, "");
    again.chat("web", &json!({"client": "0123456789abcdef", "after": seq}));
    assert_eq!(web.close(), None);
    again.say(2, "two");
    again.say(3, "three");
    let mut acks = vec![];
    let mut past = vec![];
    while acks.last() != Some(&json!(3)) {
        let message = again.next();
        match message["type"].as_str().unwrap() {
            "ack" => acks.push(message["id"].clone()),
            "say" => past.push(message["text"].clone()),
            _ => {}
        }
    }
    assert_eq!(acks, [2, 3]);
    // It came before the client did, or was sent again behind it.
    assert!(past.is_empty() || past == ["two"], "{past:?}");
    let mut heard = vec![];
    while heard.last() != Some(&json!("three")) {
        heard.push(ann.wait_for("say")["text"].clone());
    }
    assert_eq!(heard, ["one", "two", "three"]);
}

#[test]
fn a_handshake_is_for_pages_of_this_server_and_for_those_who_may_chat() {
    let server = for_guests();
    let status = |lines: &str| shake_hands(&server, lines).1.status;
    assert_eq!(status("Origin: http://localhost\r\n"), 101);
    for foreign in
        ["https://evil.example", "https://localhost", "http://localhost:1", "null", "http://localhost.evil.example"]
    {
        assert_eq!(status(&format!("Origin: {foreign}\r\n")), 403, "{foreign}");
    }
    assert_eq!(status("Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(status("Origin: http://localhost\r\nOrigin: http://localhost\r\n"), 403);
    let asked = |lines: &str| ask(&server, &format!("GET /?chat\r\n{lines}"), b"");
    let old = asked(&HANDSHAKE.replace("13", "8"));
    assert_eq!((old.status, old.header("sec-websocket-version"), old.header("upgrade")), (426, "13", "websocket"));
    assert_eq!(asked(&HANDSHAKE.replace("dGhl", "")).status, 400);
    let reader = Server::with(&["--http", "--guest", "read"]);
    assert_eq!(shake_hands(&reader, "").1.status, 401);
    // Where there is no chat, the list is all that there is.
    let files = Server::http_files(&[]);
    assert_eq!(shake_hands(&files, "").1.status, 200);
    assert_eq!(shake_hands(&Server::http_files(&["--chat"]), "").1.status, 101);
}

/// A frame whose key of zeros masks nothing.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    [&[first, 0xfe], &len.to_be_bytes()[..], &[0; 4], payload].concat()
}

#[test]
fn what_breaks_the_protocol_ends_its_connection_only() {
    let server = for_guests();
    let mut ann = Web::enter(&server, "ann", &json!({}));
    for (what, frames, code) in [
        ("not masked", b"\x81\x02{}".to_vec(), 1002),
        ("2 GiB announced", b"\x81\xff\0\0\0\0\x80\0\0\0\0\0\0\0".to_vec(), 1009),
        ("not UTF-8", masked(0x81, b"\xff\xff"), 1007),
        ("binary", masked(0x82, b"{}"), 1003),
        ("not JSON", masked(0x81, b"{\"type\":"), 1008),
        ("deep JSON", masked(0x81, "[".repeat(60_000).as_bytes()), 1008),
    ] {
        for is_in in [false, true] {
            let mut http = upgraded(&server, "");
            if is_in {
                http.send(&masked(0x81, br#"{"type":"chat","room":"lobby","nick":"eve"}"#));
            }
            http.send(&frames);
            let rest = http.rest();
            let close = rest.windows(4).rfind(|window| window[0] == 0x88).unwrap_or_else(|| panic!("{what}: {rest:?}"));
            assert_eq!(u16::from_be_bytes([close[2], close[3]]), code, "{what}");
            if is_in {
                while ann.next()["type"] != "left" {}
            }
        }
    }
    // Fragments without an end are limited by their sum, and empty ones by nothing but the time that they take.
    let mut http = upgraded(&server, "");
    http.send(&masked(0x01, b""));
    for _ in 0..1_000 {
        http.send(&masked(0x00, b""));
    }
    for _ in 0..3 {
        http.try_send(&masked(0x00, &b" ".repeat(60_000)));
    }
    let rest = http.rest();
    assert_eq!(rest.get(2..4), Some(&1009_u16.to_be_bytes()[..]), "{rest:?}");
    ann.say(1, "still here");
    assert_eq!(ann.wait_for("ack")["id"], 1);
}

#[test]
fn too_long_a_text_is_refused_by_its_number_and_pings_are_answered() {
    let server = for_guests();
    let mut web = Web::enter(&server, "web", &json!({"client": "0123456789abcdef"}));
    web.say(1, &"x".repeat(64 * 1024 + 1));
    let refused = web.next();
    assert_eq!(
        (&refused["type"], &refused["id"], &refused["code"]),
        (&json!("refused"), &json!(1), &json!("bad-request"))
    );
    web.say(2, &"\n".repeat(64 * 1024));
    assert_eq!(web.wait_for("ack")["id"], 2);
    let mut http = upgraded(&server, "");
    http.send(&masked(0x81, br#"{"type":"chat","room":"attic","nick":"eve"}"#));
    let flood = masked(0x89, b"ping").repeat(5_000);
    http.send(&flood);
    http.send(&masked(0x81, br#"{"type":"end"}"#));
    let rest = http.rest();
    let pongs = rest.windows(6).filter(|window| window == b"\x8a\x04ping").count();
    assert!((1..=5_000).contains(&pongs), "{pongs}");
    web.say(3, "still here");
    assert_eq!(web.wait_for("ack")["id"], 3);
}

#[test]
fn a_server_that_stops_says_goodbye() {
    let server = for_guests();
    let mut web = Web::enter(&server, "web", &json!({}));
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(web.close(), Some(1001));
}

#[test]
fn a_link_lets_into_the_chat_until_it_is_revoked() {
    let desk = Machine::new();
    let server = Server::http_files_at(&["--auth", "owner", "--chat"], Some(&desk.home_path()));
    let options = |services: &str| LinkOptions {
        name: None,
        services: services.parse().unwrap(),
        root: None,
        directory: server.root().canonicalize().unwrap().to_str().unwrap().to_owned(),
        uses: 1,
        expires: Moment::now().after(std::time::Duration::from_hours(1)).unwrap(),
        may_come_plain: false,
    };
    let cookie = |services: &str| {
        let (_, secret) = make_link(&desk.home(), &options(services)).unwrap();
        let body = format!("token={}", secret.as_str());
        let in_url = shake_hands(&server, "").1;
        assert_eq!(in_url.status, 401);
        let url = format!("GET /?chat&share={}\r\n{HANDSHAKE}", secret.as_str());
        assert_eq!(ask(&server, &url, b"").status, 200, "a secret in an address is no session: it is a page");
        let answer = ask(&server, &format!("POST /?sign-in\r\nAccept: text/html\r\n{FORM}"), body.as_bytes());
        format!("Cookie: {}\r\n", answer.header("set-cookie").split(';').next().unwrap())
    };
    assert_eq!(shake_hands(&server, &cookie("read,write")).1.status, 403);
    let cookie = cookie("read,chat");
    let mut web = Web::connect(&server, &cookie);
    web.chat("phone", &json!({}));
    assert_eq!(web.next()["type"], "joined");
    web.send(&json!({"type": "who", "nick": "phone"}));
    let who: Value = serde_json::from_str(web.next()["text"].as_str().unwrap()).unwrap();
    assert_eq!((&who["kind"], &who["operator"]), (&json!("token"), &json!(false)), "{who}");
    assert_eq!(shake_hands(&server, &format!("{cookie}Origin: https://evil.example\r\n")).1.status, 403);
    Run::new("tcp-server")
        .env("LANDLINE_HOME", desk.home_path())
        .args(["peers", "revoke", "share-2"])
        .any_stderr()
        .output();
    assert_eq!(web.close(), None);
    server.wait_for_log("101, ended: revoked, or allowed less now");
    assert_eq!(shake_hands(&server, &cookie).1.status, 401);
}

#[test]
fn one_that_never_reads_costs_no_more_than_its_leftovers() {
    let server = for_guests();
    let mut deaf = upgraded(&server, "");
    deaf.send(&masked(0x81, br#"{"type":"chat","room":"lobby","nick":"deaf","history":1}"#));
    let mut web = Web::enter(&server, "web", &json!({"client": "0123456789abcdef"}));
    let text = "x".repeat(60_000);
    for id in 1..=200 {
        web.say(id, &text);
        assert_eq!(web.wait_for("ack")["id"], id);
    }
    deaf.stream.flush().unwrap();
    drop(deaf);
    assert_eq!(web.wait_for("left")["nick"], "deaf");
}
