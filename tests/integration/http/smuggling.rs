//! Requests that two programs could read in two ways, and requests that no program sends: each is answered once, with
//! the status that is expected. Behind the answer the connection has ended, or it is in step: a second request that was
//! sent right behind gets its own answer. What is hidden in a body or a header is never a request.

use std::net::Shutdown;

use crate::harness::Server;
use crate::harness::http::{Answer, Http, Scheme};
use crate::harness::tls::{Wire, say_farewell};

/// The body of the answer to the request that is sent behind each attempt.
const CANARY: &str = "the canary sings";
/// The body of the answer to a request that is hidden in an attempt.
const SMUGGLED: &str = "smuggled";
/// A request for what must never be seen, and its length.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// A server turns an address away that has sent 20 malformed heads in a minute.
const ATTEMPTS_PER_SERVER: usize = 15;

/// What comes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// One answer of this status, and the end of the connection.
    Closed(u16),
    /// One answer of this status, and then the one to the next request.
    InStep(u16),
    /// What was sent behind is still part of it. One answer of this status, and the end of the connection when the
    /// client ends it.
    Unfinished(u16),
    /// The same without an answer.
    Lost,
}
use Wanted::{Closed, InStep, Lost, Unfinished};

/// A clause of a standard and what is tried against it, the bytes, and what comes of them.
type Attempt = (&'static str, Vec<u8>, Wanted);

/// A request for a file with more header lines.
fn get(lines: &str) -> Vec<u8> {
    format!("GET /a HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n").into_bytes()
}

/// A request with a body that a read-only server does not take.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n{body}").into_bytes()
}

/// A request line of its own.
fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// What delimits a body: 9112, 6.
fn lengths() -> Vec<Attempt> {
    let hidden = format!("Content-Length: {}", HIDDEN.len());
    vec![
        ("9112, 6.1: both lengths", post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), Closed(400)),
        (
            "9112, 6.1: both, the other way",
            post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
            Closed(400),
        ),
        ("9112, 6.1: both, 0", post("Transfer-Encoding: chunked\r\nContent-Length: 0", HIDDEN), Closed(400)),
        ("9112, 6.3: the same length twice", post("Content-Length: 5\r\nContent-Length: 5", "hello"), Closed(400)),
        ("9112, 6.3: two lengths", post("Content-Length: 5\r\nContent-Length: 6", "hello"), Closed(400)),
        ("9112, 6.3: two names in other case", post("Content-Length: 5\r\ncontent-length: 0", "hello"), Closed(400)),
        ("9112, 6.3: a list of lengths", post("Content-Length: 5, 5", "hello"), Closed(400)),
        ("9112, 6.3: a list of two lengths", post("Content-Length: 5, 6", "hello"), Closed(400)),
        ("9110, 8.6: a plus sign", post("Content-Length: +5", "hello"), Closed(400)),
        ("9110, 8.6: a minus sign", post("Content-Length: -5", "hello"), Closed(400)),
        ("9110, 8.6: minus nothing", post("Content-Length: -0", HIDDEN), Closed(400)),
        ("9110, 8.6: hexadecimal", post("Content-Length: 0x5", "hello"), Closed(400)),
        ("9110, 8.6: an exponent", post("Content-Length: 5e0", "hello"), Closed(400)),
        ("9110, 8.6: a fraction", post("Content-Length: 5.0", "hello"), Closed(400)),
        ("9110, 8.6: a blank within", post("Content-Length: 1 0", "hello"), Closed(400)),
        ("9110, 8.6: a semicolon", post("Content-Length: 5;", "hello"), Closed(400)),
        ("9110, 8.6: in quotes", post("Content-Length: \"5\"", "hello"), Closed(400)),
        ("9110, 8.6: no digits", post("Content-Length:", "hello"), Closed(400)),
        ("9110, 8.6: other digits", post("Content-Length: \u{665}", "hello"), Closed(400)),
        ("9110, 8.6: beyond 64 bits", post("Content-Length: 18446744073709551616", "hello"), Closed(400)),
        ("9110, 8.6: 5 beyond 64 bits", post("Content-Length: 18446744073709551621", "hello"), Closed(400)),
        ("9110, 8.6: a vertical tab", post("Content-Length: \u{b}5", "hello"), Closed(400)),
        ("9110, 8.6: a NUL", post("Content-Length: 5\0", "hello"), Closed(400)),
        ("9110, 5.5: blanks around the value", post("Content-Length: \t 5 \t", "hello"), InStep(405)),
        ("9110, 8.6: leading zeros", post("Content-Length: 0005", "hello"), InStep(405)),
        ("9110, 5.1: an underscore is another name", post("Content_Length: 5", ""), InStep(405)),
        (
            "9110, 7.6.1: a length is not for this hop alone",
            post(&format!("Connection: content-length\r\n{hidden}"), HIDDEN),
            InStep(405),
        ),
        ("9112, 6.3: a request within a body", post(&hidden, HIDDEN), InStep(405)),
        ("9110, 9.3.1: a request within the body of a GET", [get(&hidden), HIDDEN.into()].concat(), InStep(200)),
        ("9112, 6.3: a body that nobody wants", post("Content-Length: 100000000", HIDDEN), Closed(405)),
        ("9112, 6.3: a length of almost 64 bits", post("Content-Length: 18446744073709551615", HIDDEN), Closed(405)),
    ]
}

/// Transfer codings: 9112, 6.1 and 7.
fn codings() -> Vec<Attempt> {
    let coding = |value: &str| post(&format!("Transfer-Encoding: {value}"), &format!("0\r\n\r\n{HIDDEN}"));
    vec![
        ("9112, 7.1: chunked, which is not read here", coding("chunked"), Closed(405)),
        ("9112, 7: names are case-insensitive", coding("CHUNKED"), Closed(405)),
        ("9112, 5: a tab in front", coding("\tchunked"), Closed(405)),
        ("9112, 7: another name", coding("xchunked"), Closed(400)),
        ("9112, 7: another name", coding("chunkedx"), Closed(501)),
        ("9112, 6.1: chunked twice", coding("chunked, chunked"), Closed(400)),
        ("9112, 6.1: gzip and chunked", coding("gzip, chunked"), Closed(400)),
        ("9112, 6.1: chunked is not the last", coding("chunked, gzip"), Closed(501)),
        ("9112, 7: identity is no more", coding("identity"), Closed(501)),
        ("9112, 7: identity and chunked", coding("identity, chunked"), Closed(400)),
        ("9112, 7: an unknown one", coding("cow"), Closed(501)),
        ("9112, 7: parameters", coding("chunked;q=1"), Closed(400)),
        ("9112, 7: in quotes", coding("\"chunked\""), Closed(400)),
        ("9112, 6.1: an empty element", coding(",chunked"), Closed(400)),
        ("9112, 6.1: an empty element", coding("chunked,"), Closed(501)),
        ("9112, 6.1: nothing", coding(""), Closed(501)),
        ("9110, 5.5: a vertical tab", coding("\u{b}chunked"), Closed(400)),
        ("9110, 5.5: a vertical tab behind", coding("chunked\u{b}"), Closed(400)),
        ("9110, 5.5: a form feed", coding("\u{c}chunked"), Closed(400)),
        ("9110, 5.5: a NUL", coding("chunked\0"), Closed(400)),
        ("9110, 5.5: no ASCII", coding("chunked\u{a0}"), Closed(400)),
        ("9112, 6.1: two lines", coding("chunked\r\nTransfer-Encoding: chunked"), Closed(400)),
        ("9112, 6.1: two lines, the last is none", coding("chunked\r\nTransfer-encoding: cow"), Closed(400)),
        (
            "9112, 6.1: HTTP/1.0",
            format!("POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}").into(),
            Closed(400),
        ),
        ("9112, 5.1: a blank before the colon", post("Transfer-Encoding : chunked", "0\r\n\r\n"), Closed(400)),
        ("9112, 5.1: a tab before the colon", post("Transfer-Encoding\t: chunked", "0\r\n\r\n"), Closed(400)),
        (
            "9112, 5.1: a vertical tab before the colon",
            post("Transfer-Encoding\u{b}: chunked", "0\r\n\r\n"),
            Closed(400),
        ),
        ("9112, 5.2: folded", post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"), Closed(400)),
        ("9112, 5.2: folded behind another", post("X: y\r\n Transfer-Encoding: chunked", "0\r\n\r\n"), Closed(400)),
        ("9112, 5.2: folded with a tab", post("X: y\r\n\tTransfer-Encoding: chunked", "0\r\n\r\n"), Closed(400)),
        ("9110, 5.1: an underscore is another name", post("Transfer_Encoding: chunked", ""), InStep(405)),
    ]
}

/// Lines: 9112, 2.2 and 5.
fn lines() -> Vec<Attempt> {
    let raw = |text: &str| text.as_bytes().to_vec();
    let mut high = get("X: y");
    let at = high.windows(2).position(|pair| pair == b"X:").unwrap();
    high[at] = 0xff;
    vec![
        ("9112, 2.2: LF alone throughout", raw("GET /a HTTP/1.1\nHost: localhost\n\n"), Closed(400)),
        ("9112, 2.2: LF alone behind a header", raw("GET /a HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n"), Closed(400)),
        ("9112, 2.2: LF alone at the end", raw("GET /a HTTP/1.1\r\nHost: localhost\r\n\n"), Closed(400)),
        ("9112, 2.2: CR alone", get("X: y\rContent-Length: 5"), Closed(400)),
        ("9112, 2.2: CR alone at the end", raw("GET /a HTTP/1.1\r\nHost: localhost\r\n\r\r\n"), Closed(400)),
        ("9112, 2.2: CR alone in a name", get("X\rY: z"), Closed(400)),
        ("9112, 2.2: two CRs", raw("GET /a HTTP/1.1\r\r\nHost: localhost\r\n\r\n"), Closed(400)),
        ("9112, 2.2: CR alone in the request line", raw("GET /a\rHTTP/1.1\r\nHost: localhost\r\n\r\n"), Closed(400)),
        ("9112, 2.2: an empty line in front", [raw("\r\n\r\n"), get("X: y")].concat(), InStep(200)),
        ("9112, 2.2: many empty lines in front", [raw(&"\r\n".repeat(50)), get("X: y")].concat(), Closed(400)),
        ("9112, 2.2: LF in front", [raw("\n"), get("X: y")].concat(), Closed(400)),
        (
            "9112, 2.2: a blank in front of the first header",
            raw("GET /a HTTP/1.1\r\n Host: localhost\r\n\r\n"),
            Closed(400),
        ),
        (
            "9112, 2.2: a line of blanks in front of the headers",
            raw("GET /a HTTP/1.1\r\n \r\nHost: localhost\r\n\r\n"),
            Closed(400),
        ),
        ("9112, 5: no colon", get("Content-Length"), Closed(400)),
        ("9112, 5: no name", get(": 5"), Closed(400)),
        ("9112, 5.1: a blank within a name", get("Content Length: 5"), Closed(400)),
        ("9110, 5.1: a parenthesis in a name", get("X(y): z"), Closed(400)),
        ("9110, 5.1: a NUL in a name", get("X\0: y"), Closed(400)),
        ("9110, 5.1: a high byte in a name", high, Closed(400)),
        ("9110, 5.5: a NUL in a value", get("X: y\0z"), Closed(400)),
        ("9110, 5.5: DEL in a value", get("X: y\u{7f}"), Closed(400)),
        ("9110, 5.5: an escape sequence in a value", get("X: \u{1b}[2J"), Closed(400)),
        ("9110, 5.5: obs-text in a value", get("X: \u{e4}"), InStep(200)),
        ("9110, 5.4: a head of 40 KiB", get(&format!("X: {}", "y".repeat(40 << 10))), Closed(431)),
        ("9110, 5.4: a name of 40 KiB", get(&format!("{}: y", "x".repeat(40 << 10))), Closed(431)),
        ("9110, 5.4: 40 KiB of small headers", get(&"X: y\r\n".repeat(7000)), Closed(431)),
        ("9110, 5.4: 101 headers", get(&format!("X: y{}", "\r\nX: y".repeat(100))), Closed(431)),
        ("9110, 5.4: 99 headers", get(&format!("X: y{}", "\r\nX: y".repeat(97))), InStep(200)),
        ("9112, 2.2: a head that does not end", raw("GET /a HTTP/1.1\r\nHost: localhost\r\nX: y"), Closed(400)),
    ]
}

/// Request lines: 9112, 3.
fn request_lines() -> Vec<Attempt> {
    vec![
        ("9112, 3: two blanks", line("GET  /a HTTP/1.1"), Closed(400)),
        ("9112, 3: two blanks before the version", line("GET /a  HTTP/1.1"), Closed(400)),
        ("9112, 3: a tab", line("GET\t/a HTTP/1.1"), Closed(400)),
        ("9112, 3: a vertical tab", line("GET /a\u{b}HTTP/1.1"), Closed(400)),
        ("9112, 3: a blank at the end", line("GET /a HTTP/1.1 "), Closed(400)),
        ("9112, 3: a word more", line("GET /a HTTP/1.1 HTTP/1.1"), Closed(400)),
        ("9112, 3: a blank in front", line(" GET /a HTTP/1.1"), Closed(400)),
        ("9112, 3: a blank in the target", line("GET /a b HTTP/1.1"), Closed(400)),
        ("9112, 3: the method alone", line("GET"), Closed(400)),
        ("9112, 3: HTTP/0.9", line("GET /a"), Closed(400)),
        ("9112, 3: HTTP/0.9 and nothing else", b"GET /a\r\n\r\n".to_vec(), Closed(400)),
        ("9112, 3.2: a NUL in the target", line("GET /a\0 HTTP/1.1"), Closed(400)),
        ("9110, 4.1: %00 in the target", line("GET /a%00 HTTP/1.1"), InStep(400)),
        ("9112, 3.2: DEL in the target", line("GET /a\u{7f} HTTP/1.1"), Closed(400)),
        ("9112, 3.2: half a percent-encoding", line("GET /%4 HTTP/1.1"), Closed(400)),
        ("9112, 3.2.1: a fragment", line("GET /a#b HTTP/1.1"), Closed(400)),
        ("9112, 3.2.1: no slash", line("GET a HTTP/1.1"), Closed(400)),
        ("9112, 3.2.1: two slashes are a name", line("GET //localhost/a HTTP/1.1"), InStep(404)),
        ("9112, 3.2.1: upwards", line("GET /../../etc/passwd HTTP/1.1"), InStep(404)),
        ("9112, 3: a target of 40 KiB", line(&format!("GET /{} HTTP/1.1", "a".repeat(40 << 10))), Closed(414)),
        ("9110, 2.5: HTTP/1.2", line("GET /a HTTP/1.2"), InStep(200)),
        ("9110, 2.5: HTTP/9.9", line("GET /a HTTP/9.9"), Closed(505)),
        ("9110, 2.5: HTTP/0.9", line("GET /a HTTP/0.9"), Closed(505)),
        ("9110, 2.5: HTTP/2.0", line("GET /a HTTP/2.0"), Closed(505)),
        ("9113, 3.4: the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Closed(505)),
        ("9112, 2.3: two digits", line("GET /a HTTP/1.10"), Closed(400)),
        ("9112, 2.3: one number", line("GET /a HTTP/1"), Closed(400)),
        ("9112, 2.3: a comma", line("GET /a HTTP/1,1"), Closed(400)),
        ("9112, 2.3: case-sensitive", line("GET /a http/1.1"), Closed(400)),
        ("9112, 2.3: HTTPS", line("GET /a HTTPS/1.1"), Closed(400)),
        ("9112, 2.3: a blank within", line("GET /a HTTP /1.1"), Closed(400)),
        ("9112, 2.3: a NUL behind", line("GET /a HTTP/1.1\0"), Closed(400)),
        ("9110, 9.1: an unknown method", line("FROB /a HTTP/1.1"), InStep(501)),
        ("9110, 9.1: a method in lower case", line("get /a HTTP/1.1"), InStep(501)),
        ("9110, 9.1: a method that is no token", line("G(T /a HTTP/1.1"), Closed(400)),
        ("9110, 9.1: a long method", line(&format!("{} /a HTTP/1.1", "A".repeat(1000))), InStep(501)),
        ("9110, 9.3.6: CONNECT", line("CONNECT localhost:80 HTTP/1.1"), Closed(501)),
        ("9110, 9.3.6: CONNECT with a path", line("CONNECT /a HTTP/1.1"), Closed(501)),
        ("9110, 9.3.8: TRACE", line("TRACE /a HTTP/1.1"), InStep(405)),
        ("9112, 3.2.4: OPTIONS *", line("OPTIONS * HTTP/1.1"), InStep(200)),
        ("9112, 3.2.4: GET *", line("GET * HTTP/1.1"), Closed(400)),
    ]
}

/// Whom a request means: 9112, 3.2.
fn hosts() -> Vec<Attempt> {
    let host = |lines: &str| format!("GET /a HTTP/1.1\r\n{lines}\r\n").into_bytes();
    vec![
        ("9112, 3.2: no Host", host(""), Closed(400)),
        ("9112, 3.2: two Hosts", host("Host: localhost\r\nHost: evil.example\r\n"), Closed(400)),
        ("9112, 3.2: the same Host twice", host("Host: localhost\r\nHost: localhost\r\n"), Closed(400)),
        ("9112, 3.2: an empty Host", host("Host:\r\n"), Closed(400)),
        ("9112, 3.2: a list of Hosts", host("Host: localhost, evil.example\r\n"), Closed(400)),
        ("9112, 3.2: two words", host("Host: localhost evil.example\r\n"), Closed(400)),
        ("9112, 3.2: a path", host("Host: localhost/a\r\n"), Closed(400)),
        ("9112, 3.2: a URL", host("Host: http://localhost\r\n"), Closed(400)),
        ("9112, 3.2: user information", host("Host: localhost@evil.example\r\n"), Closed(400)),
        ("9112, 3.2: two ports", host("Host: localhost:80:80\r\n"), Closed(400)),
        ("9112, 3.2: a folded Host", host("Host:\r\n localhost\r\n"), Closed(400)),
        ("9110, 7.4: another host", host("Host: evil.example\r\n"), InStep(421)),
        ("9112, 3.2.2: a URL", line("GET http://localhost/a HTTP/1.1"), InStep(200)),
        (
            "9112, 3.2.2: a URL counts before the Host",
            host("Host: evil.example\r\n")
                .strip_prefix(b"GET /a")
                .map(|rest| [b"GET http://localhost/a", rest].concat())
                .unwrap(),
            InStep(200),
        ),
        ("9112, 3.2.2: a URL with another host", line("GET http://evil.example/a HTTP/1.1"), InStep(421)),
        ("9110, 4.2.4: user information in a URL", line("GET http://localhost@evil.example/a HTTP/1.1"), Closed(400)),
        ("9110, 4.2: another scheme", line("GET file:///etc/passwd HTTP/1.1"), Closed(400)),
        ("9112, 3.2.2: no host in a URL", line("GET http:///a HTTP/1.1"), Closed(400)),
    ]
}

/// What else decides whether a connection goes on: 9110, 10.1.1; 9112, 9.
fn endings() -> Vec<Attempt> {
    let hidden = format!("Content-Length: {}", HIDDEN.len());
    vec![
        ("9110, 10.1.1: an unknown expectation", get("Expect: 200-ok"), Closed(417)),
        ("9110, 10.1.1: one more", get("Expect: 100-continue, x"), Closed(417)),
        ("9110, 10.1.1: twice", get("Expect: 100-continue\r\nExpect: 100-continue"), Closed(417)),
        ("9110, 10.1.1: empty", get("Expect:"), Closed(417)),
        ("9110, 10.1.1: without a body", get("Expect: 100-continue"), InStep(200)),
        (
            "9110, 10.1.1: a body that was not waited for",
            post(&format!("Expect: 100-continue\r\n{hidden}"), HIDDEN),
            Closed(405),
        ),
        ("9112, 9.6: close", get("Connection: close"), Closed(200)),
        ("9112, 9.6: close among others", get("Connection: keep-alive, Close"), Closed(200)),
        ("9112, 9.3: HTTP/1.0", line("GET /a HTTP/1.0"), Closed(200)),
        ("9112, 9.3: HTTP/1.0 that goes on", line("GET /a HTTP/1.0\r\nConnection: keep-alive"), InStep(200)),
        (
            "9110, 7.8: an upgrade is not taken",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
            InStep(200),
        ),
        (
            "9110, 7.8: no upgrade to WebSocket",
            get("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA"),
            InStep(200),
        ),
        (
            "9110, 9.1: the method is the one of the request line",
            post("X-HTTP-Method-Override: GET\r\nContent-Length: 0", ""),
            InStep(405),
        ),
        (
            "9110, 9.3.2: HEAD with a body",
            format!("HEAD /a HTTP/1.1\r\nHost: localhost\r\n{hidden}\r\n\r\n{HIDDEN}").into(),
            InStep(200),
        ),
        ("9112, 8: a body that is cut", post("Content-Length: 5000", HIDDEN), Unfinished(405)),
    ]
}

fn all() -> Vec<Attempt> {
    [lengths(), codings(), lines(), request_lines(), hosts(), endings()].concat()
}

fn server(args: &[&str]) -> Server {
    let server = if args.contains(&"--http") { Server::with(args) } else { Server::http_files(args) };
    server.write("a", "a file");
    server.write("canary", CANARY);
    server.write("hidden", SMUGGLED);
    server
}

/// Sends the attempt and a request behind it, and reads all that comes.
fn answers(http: &mut Http, bytes: &[u8], wanted: Wanted) -> Vec<Answer> {
    let canary = b"GET /canary HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    http.try_send(&[bytes, canary].concat());
    if matches!(wanted, Unfinished(_) | Lost) {
        match &mut http.stream {
            Wire::Plain(socket) => drop(socket.shutdown(Shutdown::Write)),
            Wire::Tls(tls) => {
                say_farewell(tls);
                drop(tls.sock.shutdown(Shutdown::Write));
            }
        }
    }
    let mut answers = Vec::new();
    while let Some(answer) = http.answer(!(answers.is_empty() && bytes.starts_with(b"HEAD "))) {
        answers.push(answer);
    }
    answers
}

/// Why `answers` are not what was wanted.
fn fault(answers: &[Answer], wanted: Wanted) -> Option<String> {
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let sings = |answer: &Answer| answer.status == 200 && answer.body == CANARY.as_bytes();
    let is_right = match wanted {
        InStep(status) => statuses == [status, 200] && answers.last().is_some_and(sings),
        Closed(status) | Unfinished(status) => statuses == [status],
        Lost => statuses.is_empty(),
    };
    let is_smuggled = answers.iter().any(|answer| answer.body == SMUGGLED.as_bytes());
    let is_announced = |answer: &Answer| answer.header("connection") == "close";
    if is_smuggled {
        return Some(format!("the hidden request was answered: {statuses:?}"));
    }
    if !is_right {
        return Some(format!("{statuses:?} instead of {wanted:?}"));
    }
    // RFC 9112, 9.6: the last answer says that it is the last, unless only the client knew.
    let is_told = matches!(wanted, Unfinished(_) | Lost) || answers.last().is_some_and(is_announced);
    (!is_told).then(|| "the end was not announced".into())
}

fn try_all(args: &[&str], scheme: Scheme, attempts: &[Attempt]) {
    let mut faults = Vec::new();
    for attempts in attempts.chunks(ATTEMPTS_PER_SERVER) {
        let server = server(args);
        for (clause, bytes, wanted) in attempts {
            let answers = answers(&mut scheme.connect(&server), bytes, *wanted);
            if let Some(fault) = fault(&answers, *wanted) {
                let shown = &bytes[..bytes.len().min(200)];
                faults.push(format!("RFC {clause}: \"{}\": {fault}", shown.escape_ascii()));
            }
        }
    }
    assert!(faults.is_empty(), "{scheme:?}, {} of {}:\n{}", faults.len(), attempts.len(), faults.join("\n"));
}

#[test]
fn nothing_is_smuggled_plain() {
    assert!(all().len() >= 150);
    try_all(&[], Scheme::Plain, &all());
}

#[test]
fn nothing_is_smuggled_over_tls() {
    try_all(&[], Scheme::Tls, &all());
}

#[test]
fn nothing_is_smuggled_beside_frames() {
    let args = &["--http", "--guest", "read"];
    try_all(args, Scheme::Tls, &all());
    // Without TLS the first bytes decide what is spoken: only those that begin as HTTP come that far.
    let begins_as_http = |bytes: &[u8]| {
        ["GET /", "POST /", "HEAD /", "OPTIONS ", "TRACE ", "CONNECT "]
            .iter()
            .any(|start| bytes.starts_with(start.as_bytes()))
    };
    let attempts: Vec<_> = all().into_iter().filter(|(_, bytes, _)| begins_as_http(bytes)).collect();
    assert!(attempts.len() > 130);
    try_all(args, Scheme::Plain, &attempts);
}

/// Chunks that are read, and what comes of them as a file: 9112, 7.1.
fn good_chunks() -> Vec<(&'static str, String, &'static str)> {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    vec![
        ("9112, 7.1: a chunk", "3\r\nabc\r\n0\r\n\r\n".into(), "abc"),
        ("9112, 7.1: none", "0\r\n\r\n".into(), ""),
        ("9112, 7.1: a large digit", "A\r\n0123456789\r\n0\r\n\r\n".into(), "0123456789"),
        ("9112, 7.1: zeros in front", "0003\r\nabc\r\n000\r\n\r\n".into(), "abc"),
        ("9112, 7.1: a request in a chunk", format!("{}0\r\n\r\n", chunk(HIDDEN)), HIDDEN),
        ("9112, 7.1: the last chunk in a chunk", format!("{}0\r\n\r\n", chunk("0\r\n\r\n")), "0\r\n\r\n"),
        ("9112, 7.1.1: an extension", "3;a\r\nabc\r\n0;b=c\r\n\r\n".into(), "abc"),
        ("9112, 7.1.1: an extension in quotes", "3;a=\"b;c \\\"\"\r\nabc\r\n0\r\n\r\n".into(), "abc"),
        ("9112, 7.1.2: a length behind it", "3\r\nabc\r\n0\r\nContent-Length: 1000\r\n\r\n".into(), "abc"),
        ("9112, 7.1.2: a coding behind it", "3\r\nabc\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n".into(), "abc"),
        ("9112, 7.1.2: a host behind it", "3\r\nabc\r\n0\r\nHost: evil.example\r\n\r\n".into(), "abc"),
    ]
}

/// Chunks that are not.
fn bad_chunks() -> Vec<(&'static str, String, Wanted)> {
    let refused = [
        ("9112, 7.1: 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: a minus sign", "-3\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: a plus sign", "+3\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: an underscore", "0_3\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: no digit", "g\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: no length", "\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: a semicolon alone", ";\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: a list", "3,3\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: a blank in front", " 3\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: a blank behind", "3 \r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: a tab behind", "3\t\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: beyond 64 bits", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1: beyond 64 bits", "fffffffffffffffffffffffd\r\nabc\r\n0\r\n\r\n"),
        ("9112, 2.2: LF alone", "3\nabc\n0\n\n"),
        ("9112, 2.2: CR alone", "3\rabc\r0\r\r"),
        ("9112, 2.2: LF alone behind a chunk", "3\r\nabc\n0\r\n\r\n"),
        ("9112, 2.2: LF alone at the end", "3\r\nabc\r\n0\r\n\n"),
        ("9112, 7.1: a chunk longer than it says", "3\r\nabcd\r\n0\r\n\r\n"),
        ("9112, 7.1: no line end behind a chunk", "3\r\nabc0\r\n\r\n"),
        ("9112, 7.1: two line ends behind a chunk", "3\r\nabc\r\n\r\n0\r\n\r\n"),
        ("9112, 7.1.1: CR alone in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1.1: LF alone in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1.1: LF alone in quotes", "3;a=\"\n\"\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1.1: a NUL in an extension", "3;\0\r\nabc\r\n0\r\n\r\n"),
        ("9112, 7.1.2: a request for a trailer", "3\r\nabc\r\n0\r\nGET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("9112, 7.1.2: a blank before the colon", "3\r\nabc\r\n0\r\nX : y\r\n\r\n"),
        ("9112, 7.1.2: a trailer that is folded", "3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n"),
        ("9112, 7.1.2: the end is missing", "3\r\nabc\r\n0\r\n"),
    ];
    let long = [
        ("9112, 7.1.1: a long extension", format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(1000))),
        ("9112, 7.1: many zeros", format!("{}3\r\nabc\r\n0\r\n\r\n", "0".repeat(1000))),
        ("9112, 7.1.2: trailers without end", format!("0\r\n{}\r\n", "X: y\r\n".repeat(10_000))),
    ];
    let lost = [
        ("9112, 8: a chunk that is cut", "ffff\r\nabc"),
        ("9112, 8: the largest chunk, cut", "fffffffffffffff\r\nabc"),
    ];
    let refused = refused.into_iter().map(|(clause, body)| (clause, body.to_owned(), Closed(400)));
    let long = long.into_iter().map(|(clause, body)| (clause, body, Closed(400)));
    let lost = lost.into_iter().map(|(clause, body)| (clause, body.to_owned(), Lost));
    refused.chain(long).chain(lost).collect()
}

/// Whatever the chunks say, a file is what is in them, or there is none.
#[test]
fn no_chunk_is_read_in_two_ways() {
    let good = good_chunks().into_iter().map(|(clause, body, content)| (clause, body, InStep(201), Some(content)));
    let bad = bad_chunks().into_iter().map(|(clause, body, wanted)| (clause, body, wanted, None));
    let attempts: Vec<_> = good.chain(bad).collect();
    for scheme in [Scheme::Plain, Scheme::Tls] {
        for attempts in attempts.chunks(ATTEMPTS_PER_SERVER) {
            let server = server(&["--upload"]);
            for (number, (clause, body, wanted, content)) in attempts.iter().enumerate() {
                let head = format!("PUT /up{number} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
                let answers =
                    answers(&mut scheme.connect(&server), &[head.as_bytes(), body.as_bytes()].concat(), *wanted);
                let shown = body.get(..100).unwrap_or(body);
                assert_eq!(fault(&answers, *wanted), None, "{scheme:?}, RFC {clause}: {shown:?}");
                let file = std::fs::read_to_string(server.root().join(format!("up{number}"))).ok();
                assert_eq!(file.as_deref(), *content, "{scheme:?}, RFC {clause}: {shown:?}");
            }
        }
    }
}
