//! `http-get` against servers that say what a test wants, byte by byte.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::harness::files::{names, set_mode};
use crate::harness::listen::{serve_all, serve_one};
use crate::harness::{Run, wait_until};

/// Reads a request: its head, and its content if it has a length.
fn read_request(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let head = read_head(stream)?;
    let len = field(&head, "content-length").map_or(0, |len| len.parse().unwrap());
    let mut content = vec![0; len];
    stream.read_exact(&mut content).ok()?;
    Some((head, content))
}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// The value of a field of a head.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Ends a connection so that all that was sent arrives.
fn end(mut stream: TcpStream) {
    drop(stream.shutdown(Shutdown::Write));
    let mut waste = [0; 4096];
    while stream.read(&mut waste).is_ok_and(|len| len > 0) {}
}

type Heads = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A server that gives the first answer to the first connection, and the last to all others; it closes behind each.
struct Script {
    address: String,
    requests: Heads,
}

impl Script {
    fn new<A: AsRef<[u8]>>(answers: impl IntoIterator<Item = A>) -> Self {
        let mut answers: VecDeque<Vec<u8>> = answers.into_iter().map(|answer| answer.as_ref().to_vec()).collect();
        let requests = Heads::default();
        let seen = Arc::clone(&requests);
        let address = serve_all(move |mut stream| {
            let answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
            let Some(request) = read_request(&mut stream) else { return };
            seen.lock().unwrap().push(request);
            drop(stream.write_all(&answer));
            end(stream);
        });
        Self { address, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(head, _)| head.clone()).collect()
    }

    fn content(&self, at: usize) -> Vec<u8> {
        self.requests.lock().unwrap()[at].1.clone()
    }
}

/// A run in a directory of its own, with a home of its own.
fn get(dir: &Path) -> Run {
    for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        assert!(std::env::var_os(variable).is_none(), "{variable} is set");
    }
    Run::new("http-get").current_dir(dir).env("LANDLINE_HOME", dir.join("home"))
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Names in a directory, without the home's.
fn left_in(dir: &Path) -> Vec<String> {
    names(dir).into_iter().filter(|name| name != "home").collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn with_body(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{head}\r\n", body.len()).as_bytes(), body].concat()
}

#[test]
fn every_way_to_end_a_body_is_read_and_explained() {
    let dir = dir();
    for (answer, body, remark) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", "the body has 5 bytes"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "hello", "to the end of the connection"),
        ("HTTP/1.0 200 OK\r\n\r\n", "", "to the end of the connection"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n",
            "hello",
            "in chunks",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", "204 never has one"),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "x", "the body has 1 bytes"),
        ("HTTP/1.1 200 OK\nContent-Length: 1\n\nx", "x", "the body has 1 bytes"),
    ] {
        let server = Script::new([answer]);
        let output = get(dir.path()).args(["-v", &server.url("a?b")]).any_stderr().output();
        assert_eq!(output.text(), body, "{answer:?}");
        assert!(output.stderr.contains(remark), "{answer:?}: {}", output.stderr);
        assert!(output.stderr.contains("> GET /a?b HTTP/1.1\n"), "{}", output.stderr);
        assert!(output.stderr.contains("< HTTP/1."), "{}", output.stderr);
        assert_eq!(field(&server.heads()[0], "host"), Some(server.address.as_str()));
    }
}

/// The first tutorial's server, and the third's client by hand: no length, no type, a read of 1,024 bytes.
#[test]
fn the_tutorials_server_that_says_nothing_of_its_body_is_understood() {
    let page = "<h1>你好</h1>";
    let (address, _) = serve_one(move |mut stream: TcpStream| {
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        stream.write_all(page.as_bytes()).unwrap();
    });
    get(dir().path()).args([format!("http://{address}")]).prints(page);
}

#[test]
fn what_breaks_leaves_the_old_file() {
    for (answer, code, why) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 4, "4 bytes before the end"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 4, "before the last chunk"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n0\r\n\r\n", 4, "hexadecimal"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n", 4, "longer than it says"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", 4, "both a length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 4, "several lengths"),
        ("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", 4, "malformed"),
        ("HTTP/1.1 200 OK\r\nX: \u{1b}[2J\r\n\r\nhello", 4, "malformed"),
        ("SSH-2.0-OpenSSH_9\r\n", 4, "does not speak HTTP/1.1"),
        ("<h1>hello</h1>", 4, "does not speak HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nContent-Le", 4, "in the head of its response"),
        ("", 4, "before it answered"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 1, "switches to a protocol"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 1, "404 Not Found"),
        ("HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\nno", 1, "a part where all was requested"),
        ("HTTP/1.1 302 Found\r\n\r\n", 1, "does not say where to"),
    ] {
        let dir = dir();
        std::fs::write(dir.path().join("file"), "old").unwrap();
        let server = Script::new([answer]);
        get(dir.path()).args(["-o", "file", &server.url("")]).code(code).stderr(why).output();
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"old", "{answer:?}");
        assert_eq!(left_in(dir.path()), ["file"], "{answer:?}");
    }
}

#[test]
fn a_server_without_end_is_left() {
    let dir = dir();
    let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(200);
    get(dir.path()).args([Script::new([many]).url("")]).code(1).stderr("over 100 interim responses").output();
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(200 * 1024));
    get(dir.path()).args([Script::new([long]).url("")]).code(4).stderr("more than 131072 bytes").output();
    let fields = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(1000));
    get(dir.path()).args([Script::new([fields]).url("")]).code(4).stderr("more than 256 fields").output();
    let line = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;{}", "x".repeat(100_000));
    get(dir.path()).args([Script::new([line]).url("")]).code(4).stderr("too long").output();
}

#[test]
fn a_server_that_says_nothing_is_left_after_the_time_that_was_set() {
    let dir = dir();
    let silent = serve_all(end);
    let hold: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let held = Arc::clone(&hold);
    let open = serve_all(move |stream| held.lock().unwrap().push(stream));
    let url = format!("http://{open}/");
    get(dir.path()).args(["--max-time", "200ms", &url]).code(4).stderr("the whole was not over within 200ms").output();
    get(dir.path()).args(["--stall-timeout", "200ms", &url]).code(4).stderr("nothing came for 200ms").output();
    get(dir.path()).args([format!("http://{silent}/")]).code(4).stderr("hung up before it answered").output();
    // One that trickles is not over either.
    let trickle = serve_all(|mut stream| {
        read_request(&mut stream);
        while stream.write_all(b"HTTP/1.1 103 x\r\n\r\n").is_ok() && stream.flush().is_ok() {
            std::thread::yield_now();
        }
    });
    let url = format!("http://{trickle}/");
    get(dir.path()).args(["--max-time", "5s", &url]).code(1).stderr("interim").output();
}

#[test]
fn redirects_are_followed_within_their_rules() {
    let dir = dir();
    let page = Script::new(["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nthis"]);
    let to = |status: &str, location: &str| {
        format!("HTTP/1.1 {status} x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
    };
    for status in ["301", "302", "303", "307", "308"] {
        let from = Script::new([to(status, &page.url("there"))]);
        get(dir.path()).args([from.url("")]).prints("this");
    }
    let relative = Script::new([to("302", "../c?d#e"), "HTTP/1.1 200 OK\r\n\r\nend".to_owned()]);
    get(dir.path()).args([relative.url("a/b")]).prints("end");
    assert!(relative.heads()[1].starts_with("GET /c?d HTTP/1.1"), "{:?}", relative.heads());
    let circle = Script::new([to("302", "/a")]);
    get(dir.path()).args([circle.url("a")]).code(1).stderr("in a circle").output();
    let away = Script::new([to("302", "ftp://a/b")]);
    get(dir.path()).args([away.url("a")]).code(1).stderr("ftp is not spoken").output();
    let chain = Script::new((0..30).map(|at| to("302", &format!("/{at}"))));
    get(dir.path()).args(["--max-redirects", "3", &chain.url("x")]).code(1).stderr("over 3 redirects").output();
    let one = Script::new([to("302", "/a")]);
    get(dir.path()).args(["--max-redirects", "0", &one.url("x")]).code(1).stderr("302").output();
}

#[test]
fn a_form_that_was_sent_leads_to_a_page_that_is_fetched() {
    let dir = dir();
    let answers = ["HTTP/1.1 303 x\r\nLocation: /done\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\ndone"];
    let server = Script::new(answers);
    get(dir.path()).args(["-d", "a=b", &server.url("form")]).prints("done");
    let heads = server.heads();
    assert!(heads[0].starts_with("POST /form HTTP/1.1"), "{heads:?}");
    assert_eq!(server.content(0), b"a=b");
    assert!(heads[1].starts_with("GET /done HTTP/1.1"), "{heads:?}");
    assert_eq!((field(&heads[1], "content-type"), field(&heads[1], "content-length")), (None, None));
    // 307 sends it again; what came from a pipe cannot be.
    let again = ["HTTP/1.1 307 x\r\nLocation: /there\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\ndone"];
    let server = Script::new(again);
    get(dir.path()).args(["-d", "a=b", &server.url("form")]).prints("done");
    assert_eq!(server.content(1), b"a=b");
}

#[test]
fn credentials_are_for_their_origin_and_never_shown() {
    let dir = dir();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret-token\n").unwrap();
    set_mode(&token, 0o600);
    let fields = dir.path().join("fields");
    std::fs::write(&fields, "Cookie: s3cret=1\n# none\nX-Key: s3cret\n").unwrap();
    set_mode(&fields, 0o600);
    let other = Script::new(["HTTP/1.1 200 OK\r\nSet-Cookie: s3cret=2\r\n\r\nthis"]);
    let own = Script::new([
        "HTTP/1.1 302 x\r\nLocation: /b\r\n\r\n".to_owned(),
        format!("HTTP/1.1 302 x\r\nLocation: {}\r\n\r\n", other.url("")),
    ]);
    let args = ["-v", "--token-file", "token", "-H", "@fields", "-H", "X-Open: 1", &own.url("a")];
    let output = get(dir.path()).args(args).any_stderr().output();
    assert_eq!(output.text(), "this");
    let shown = output.stderr.replace("X-Key: s3cret", "");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("> Authorization: Bearer (12 bytes, hidden)"), "{shown}");
    for head in own.heads() {
        assert_eq!(field(&head, "authorization"), Some("Bearer s3cret-token"), "{head}");
        assert_eq!(field(&head, "cookie"), Some("s3cret=1"), "{head}");
    }
    let head = &other.heads()[0];
    assert_eq!([field(head, "authorization"), field(head, "cookie"), field(head, "x-key")], [None; 3], "{head}");
    assert_eq!(field(head, "x-open"), Some("1"));
}

#[test]
fn secrets_come_from_files_that_others_cannot_read() {
    let dir = dir();
    let server = Script::new(["HTTP/1.1 200 OK\r\n\r\nthis"]);
    let write = |name: &str, text: &str, mode| {
        std::fs::write(dir.path().join(name), text).unwrap();
        set_mode(&dir.path().join(name), mode);
    };
    write("user", "ann:pass word\n", 0o600);
    write("netrc", "machine 127.0.0.1 login bob password pw\n", 0o600);
    write("loose", "ann:pw\n", 0o644);
    for (args, variable, want) in [
        (vec!["--user-file", "user"], ("X", ""), "Basic YW5uOnBhc3Mgd29yZA=="),
        (vec!["--netrc-file", "netrc"], ("X", ""), "Basic Ym9iOnB3"),
        (vec![], ("LANDLINE_HTTP_TOKEN", "t"), "Bearer t"),
        (vec![], ("LANDLINE_HTTP_USER", "bob:pw"), "Basic Ym9iOnB3"),
    ] {
        let run = get(dir.path()).args(&args).args([server.url("")]).env(variable.0, variable.1);
        run.env("LANDLINE_HTTP_HOST", "127.0.0.1").prints("this");
        assert_eq!(field(server.heads().last().unwrap(), "authorization"), Some(want), "{args:?}");
    }
    // The environment is there for every URL; its secret is for one host.
    let run = || get(dir.path()).args([server.url("")]).env("LANDLINE_HTTP_TOKEN", "t");
    run().env("LANDLINE_HTTP_HOST", "a.example").prints("this");
    assert_eq!(field(server.heads().last().unwrap(), "authorization"), None);
    let count = server.heads().len();
    run().code(2).stderr("set LANDLINE_HTTP_HOST").output();
    for (args, why) in [
        (vec!["--user-file", "loose"], "0644"),
        (vec!["-H", "Authorization: Bearer x"], "--header @FILE"),
        (vec!["-H", "Cookie: x"], "--header @FILE"),
        (vec!["-H", "no colon"], "no colon"),
        (vec!["-H", "Content-Length: 5"], "where messages end"),
        (vec!["-u", "a:b"], "--user-file"),
    ] {
        let code = if args.contains(&"loose") { 1 } else { 2 };
        get(dir.path()).args(&args).args([server.url("")]).code(code).stderr(why).output();
    }
    get(dir.path()).args(["http://u:s3cret@127.0.0.1/"]).code(2).stderr("credentials").output();
    let far = ["--user-file", "user", "http://192.0.2.1/"];
    get(dir.path()).args(far).code(2).stderr("plain text").output();
    assert_eq!(server.heads().len(), count);
}

#[test]
fn a_refusal_is_an_error_and_its_body_is_safe_to_read() {
    let dir = dir();
    let body = format!("no \u{1b}]0;such\u{7} file\r\n{}", "x".repeat(100_000));
    let answer = [b"HTTP/1.1 404 Not\tFound\r\n\r\n", body.as_bytes()].concat();
    let output = get(dir.path()).args([Script::new([answer]).url("a")]).code(1).stderr("404").output();
    assert_eq!(output.text(), "");
    assert!(!output.stderr.contains(['\u{1b}', '\u{7}', '\r']), "{:?}", output.stderr);
    assert!(output.stderr.contains("no \\u{1b}]0;such\\u{7} file\n"), "{:?}", output.stderr);
    assert!(output.stderr.len() < 40_000, "{}", output.stderr.len());
    let coded = gzip(b"compressed no");
    let answer = [b"HTTP/1.1 500 x\r\nContent-Encoding: gzip\r\n\r\n", coded.as_slice()].concat();
    get(dir.path()).args([Script::new([answer]).url("a")]).code(1).stderr("compressed no").output();
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect()
}

/// The first bytes of a file with a tag; then the connection breaks.
fn broken(whole: &[u8], sent: usize, tag: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {}\r\n\r\n", whole.len());
    [head.as_bytes(), &whole[..sent]].concat()
}

fn rest(whole: &[u8], from: usize, tag: &str) -> Vec<u8> {
    let (last, len) = (whole.len() - 1, whole.len());
    let left = len - from;
    let head = format!(
        "HTTP/1.1 206 x\r\nETag: {tag}\r\nContent-Range: bytes {from}-{last}/{len}\r\nContent-Length: {left}\r\n\r\n"
    );
    [head.as_bytes(), &whole[from..]].concat()
}

#[test]
fn what_broke_off_goes_on_if_the_server_has_the_same() {
    let whole = bytes(9_000_000);
    let sent = 5_000_000;
    let tag = "\"one\"";
    for (name, second, code, remark) in [
        ("it goes on", rest(&whole, sent, tag), 0, "goes on at byte 5000000"),
        ("it has changed", broken(&whole, whole.len(), "\"two\""), 0, "has changed on the server"),
        ("no ranges", broken(&whole, whole.len(), tag), 0, "sends no ranges"),
        ("elsewhere", rest(&whole, sent + 1, tag), 1, "where 5000000 was requested"),
        ("another version", rest(&whole, sent, "\"two\""), 1, "of another version"),
        ("no word where", b"HTTP/1.1 206 x\r\n\r\nx".to_vec(), 1, "does not say which"),
    ] {
        let dir = dir();
        std::fs::write(dir.path().join("file"), "old").unwrap();
        let server = Script::new([broken(&whole, sent, tag), second]);
        let args = ["-C", "-o", "file", &server.url("file")];
        get(dir.path()).args(args).code(4).stderr("4000000 bytes before the end").output();
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"old");
        assert_eq!(left_in(dir.path()).len(), 2, "{name}: a part is kept");
        let said = get(dir.path()).args(["-v"]).args(args).code(code).stderr(remark).output().stderr;
        assert_eq!(said.contains("it starts over"), code == 0 && name != "it goes on", "{said}");
        let heads = server.heads();
        assert_eq!(field(&heads[0], "range"), None);
        assert_eq!(field(&heads[1], "range"), Some("bytes=5000000-"), "{name}");
        assert_eq!(field(&heads[1], "if-range"), Some(tag), "{name}");
        assert_eq!(field(&heads[1], "accept-encoding"), Some("identity"), "{name}");
        if code == 0 {
            assert!(std::fs::read(dir.path().join("file")).unwrap() == whole, "{name}");
            assert_eq!(left_in(dir.path()), ["file"], "{name}");
        } else {
            assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"old", "{name}");
        }
    }
}

#[test]
fn only_what_is_known_again_is_gone_on_with() {
    let whole = bytes(100_000);
    for (name, tag, args) in [("a weak tag", "W/\"one\"", vec!["-C"]), ("not wanted", "\"one\"", vec![])] {
        let dir = dir();
        let server = Script::new([broken(&whole, 50_000, tag), broken(&whole, whole.len(), tag)]);
        let run = |code| get(dir.path()).args(&args).args(["-o", "file", &server.url("file")]).code(code).any_stderr();
        run(4).output();
        run(0).output();
        assert_eq!(field(&server.heads()[1], "range"), None, "{name}");
        assert!(std::fs::read(dir.path().join("file")).unwrap() == whole, "{name}");
        assert_eq!(left_in(dir.path()), ["file"], "{name}");
    }
    // A range that the server does not have is no dead end; another URL's part is not mixed in.
    let dir = dir();
    let none = "HTTP/1.1 416 x\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\n\r\n";
    let server = Script::new([&broken(&whole, 50_000, "\"a\"")[..], none.as_bytes(), &with_body("", b"short")]);
    get(dir.path()).args(["-C", "-o", "file", &server.url("file")]).code(4).any_stderr().output();
    get(dir.path()).args(["-C", "-o", "file", &server.url("file")]).any_stderr().output();
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"short");
    let server = Script::new([broken(&whole, 50_000, "\"a\""), with_body("", b"other")]);
    get(dir.path()).args(["-C", "-o", "file", &server.url("one")]).code(4).any_stderr().output();
    get(dir.path()).args(["-C", "-o", "file", &server.url("two")]).stderr("of another URL").output();
    assert_eq!(field(&server.heads()[1], "range"), None);
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"other");
}

#[test]
fn further_attempts_go_on_by_themselves() {
    let dir = dir();
    let whole = bytes(100_000);
    let busy = "HTTP/1.1 503 x\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
    let answers = [busy.into(), broken(&whole, 60_000, "\"a\""), rest(&whole, 60_000, "\"a\"")];
    let server = Script::new(answers.clone());
    let sum = sha256(&whole);
    get(dir.path()).args(["--retry", "2", "--sha256", &sum, "-O", &server.url("file")]).any_stderr().output();
    assert!(std::fs::read(dir.path().join("file")).unwrap() == whole);
    let server = Script::new(answers);
    let run = get(dir.path()).args(["--retry", "2", "--sha256", &sum, &server.url("file")]);
    let output = run.stderr("another attempt in 0 s").output();
    assert!(output.stdout == whole, "standard output goes on too");
    let server = Script::new([broken(&whole, 60_000, "\"a\""), broken(&whole, whole.len(), "\"b\"")]);
    get(dir.path()).args(["--retry", "1", &server.url("file")]).code(1).stderr("60000 bytes are out already").output();
    let server = Script::new([busy]);
    get(dir.path()).args(["--retry", "2", &server.url("file")]).code(1).stderr("503").output();
    assert_eq!(server.heads().len(), 3);
    let server = Script::new(["HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n"]);
    get(dir.path()).args(["--retry", "2", &server.url("file")]).code(1).stderr("403").output();
    assert_eq!(server.heads().len(), 1);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in sha2::Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn digest_field(bytes: &[u8]) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    format!("sha-256=:{}:", base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(bytes)))
}

#[test]
fn what_is_not_what_it_should_be_gets_no_name() {
    let body = bytes(100_000);
    let (right, wrong) = (sha256(&body), sha256(b"other"));
    let (good, bad) = (digest_field(&body), digest_field(b"other"));
    for (name, head, args, code) in [
        ("the caller's", String::new(), vec!["--sha256", &right], 0),
        ("the caller's", String::new(), vec!["--sha256", &wrong], 1),
        ("in capitals", String::new(), vec!["--sha256", &*right.to_uppercase().leak()], 0),
        ("the server's", format!("Repr-Digest: {good}\r\n"), vec!["--digest"], 0),
        ("the server's", format!("Repr-Digest: {bad}\r\n"), vec!["--digest"], 1),
        ("unasked", format!("Repr-Digest: {bad}\r\n"), vec![], 1),
        ("the content's", format!("Content-Digest: {bad}\r\n"), vec![], 1),
        ("the content's", format!("Content-Digest: {good}\r\n"), vec![], 0),
        ("one of two", format!("Repr-Digest: {good}\r\nContent-Digest: {bad}\r\n"), vec![], 1),
        ("an unknown one", "Repr-Digest: crc=:AAAA:\r\n".to_owned(), vec![], 0),
        ("none", String::new(), vec!["--digest"], 1),
        ("no digest", String::new(), vec!["--sha256", "xyz"], 2),
    ] {
        let dir = dir();
        std::fs::write(dir.path().join("file"), "old").unwrap();
        let server = Script::new([with_body(&head, &body)]);
        let output = get(dir.path()).args(&args).args(["-o", "file", &server.url("")]).code(code).any_stderr().output();
        let got = std::fs::read(dir.path().join("file")).unwrap();
        let want = if code == 0 { body.as_slice() } else { b"old" };
        assert!(got == want, "{name}: {}", output.stderr);
        assert_eq!(left_in(dir.path()), ["file"], "{name}");
        let said = output.stderr;
        assert_eq!(said.contains("was expected"), said.contains("the file is left as it was"), "{name}: {said}");
        let asked = server.heads().first().and_then(|head| field(head, "want-repr-digest").map(str::to_owned));
        assert_eq!(asked.is_some(), args.contains(&"--digest"), "{name}");
    }
    let server = Script::new([with_body("", &body)]);
    let output = get(dir().path()).args(["--sha256", &wrong, &server.url("")]).code(1).stderr("was expected").output();
    assert!(!output.stderr.contains("left as it was"), "the bytes are out: {}", output.stderr);
    let server = Script::new([with_body(&format!("Repr-Digest: {good}\r\n"), &body)]);
    let output = get(dir().path()).args(["-O", "--json", &server.url("file")]).output();
    let json = output.json();
    assert_eq!(json["results"][0]["verified"][0], "the server's sha-256 (repr-digest)", "{json}");
    assert_eq!((&json["files"], &json["bytes"], &json["exit_code"]), (&1.into(), &100_000.into(), &0.into()));
}

#[test]
fn compressed_bodies_are_decoded_where_they_were_requested() {
    let dir = dir();
    let body = bytes(300_000);
    let coded = [("gzip", gzip(&body)), ("zstd", zstd::encode_all(body.as_slice(), 1).unwrap())];
    for (coding, coded) in &coded {
        let answer =
            with_body(&format!("Content-Encoding: {coding}\r\nRepr-Digest: {}\r\n", digest_field(coded)), coded);
        let server = Script::new([answer]);
        let output = get(dir.path()).args(["--compressed", "--sha256", &sha256(&body), &server.url("")]).output();
        assert!(output.stdout == body, "{coding}");
        assert_eq!(field(&server.heads()[0], "accept-encoding"), Some("gzip, zstd"));
        let output = get(dir.path()).args([server.url("")]).output();
        assert!(output.stdout == *coded, "{coding}: as it came");
        assert_eq!(field(&server.heads()[1], "accept-encoding"), Some("identity"));
        let cut = with_body(&format!("Content-Encoding: {coding}\r\n"), &coded[..coded.len() / 2]);
        let args = ["--compressed", "-o", "file", &Script::new([cut]).url("")];
        get(dir.path()).args(args).code(1).stderr("cannot be decoded").output();
        assert_eq!(left_in(dir.path()), [""; 0]);
    }
    let strange = Script::new([with_body("Content-Encoding: br\r\n", b"x")]);
    get(dir.path()).args(["--compressed", &strange.url("")]).code(1).stderr("not requested").output();
    // A body that grows a thousandfold is a matter of the disk, not of memory.
    let bomb = with_body("Content-Encoding: gzip\r\n", &gzip(&vec![0; 64 << 20]));
    let output = get(dir.path()).args(["--compressed", &Script::new([bomb]).url("")]).output();
    assert_eq!(output.stdout.len(), 64 << 20);
}

/// A server that keeps a connection, and sends ranges of `whole`.
fn ranges(whole: Vec<u8>, tag: impl Fn(usize) -> String + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    broken_ranges(whole, tag, usize::MAX)
}

/// The same; its first range breaks off behind `sent` bytes.
fn broken_ranges(
    whole: Vec<u8>,
    tag: impl Fn(usize) -> String + Send + 'static,
    sent: usize,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let requests = Arc::clone(&seen);
    let whole = Arc::new(whole);
    let tag = Arc::new(Mutex::new(tag));
    let address = serve_all(move |mut stream| {
        let (whole, seen, tag) = (Arc::clone(&whole), Arc::clone(&seen), Arc::clone(&tag));
        std::thread::spawn(move || {
            while let Some((head, _)) = read_request(&mut stream) {
                let count = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(head.clone());
                    seen.len()
                };
                let tag = (tag.lock().unwrap())(count);
                let range = field(&head, "range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
                let is_same = field(&head, "if-range").is_none_or(|own| own == tag);
                let (first, last) = match range.filter(|_| is_same) {
                    Some((first, "")) => (first.parse().unwrap(), whole.len() - 1),
                    Some((first, last)) => {
                        (first.parse().unwrap(), last.parse::<usize>().unwrap().min(whole.len() - 1))
                    }
                    None => {
                        drop(stream.write_all(&broken(&whole, whole.len(), &tag)));
                        continue;
                    }
                };
                let (len, size) = (last + 1 - first, whole.len());
                let head = format!(
                    "HTTP/1.1 206 x\r\nETag: {tag}\r\nContent-Range: bytes {first}-{last}/{size}\r\nContent-Length: {len}\r\n\r\n"
                );
                if count == 1 && sent < len {
                    drop(stream.write_all(&[head.as_bytes(), &whole[first..][..sent]].concat()));
                    return end(stream);
                }
                if stream.write_all(&[head.as_bytes(), &whole[first..=last]].concat()).is_err() {
                    return;
                }
            }
        });
    });
    (address, requests)
}

#[test]
fn one_file_comes_over_several_connections() {
    let whole = bytes(30_000_001);
    let sum = sha256(&whole);
    let (address, requests) = ranges(whole.clone(), |_| "\"a\"".into());
    let temporary = dir();
    let url = format!("http://{address}/file");
    get(temporary.path()).args(["-O", "--parallel", "4", "--sha256", &sum, &url]).output();
    assert!(std::fs::read(temporary.path().join("file")).unwrap() == whole);
    let heads = requests.lock().unwrap().clone();
    assert!(heads.len() > 4, "{}", heads.len());
    assert!(heads.iter().all(|head| field(head, "range").is_some()));
    assert!(heads.iter().skip(1).all(|head| field(head, "if-range") == Some("\"a\"")));
    get(temporary.path()).args(["-O", "--parallel", "4", "--sha256", &sha256(b""), &url]).code(1).any_stderr().output();
    // A small one is one request.
    let (address, requests) = ranges(bytes(1000), |_| "\"a\"".into());
    get(temporary.path()).args(["-o", "small", "--parallel", "4", &format!("http://{address}/")]).output();
    assert_eq!(requests.lock().unwrap().len(), 1);
    assert_eq!(std::fs::read(temporary.path().join("small")).unwrap(), bytes(1000));
    assert_eq!(left_in(temporary.path()), ["file", "small"]);
}

#[test]
fn the_first_of_several_ranges_goes_on_too() {
    let whole = bytes(9_000_000);
    for (retries, code) in [("0", 4), ("1", 0)] {
        let temporary = dir();
        let (address, requests) = broken_ranges(whole.clone(), |_| "\"a\"".into(), 1_000_000);
        let args = ["-O", "--parallel", "2", "--retry", retries, &format!("http://{address}/file")];
        let output = get(temporary.path()).args(args).code(code).any_stderr().output();
        assert!(output.stderr.contains("3194304 bytes before the end"), "{}", output.stderr);
        let rest = |head: &String| field(head, "range") == Some("bytes=1000000-4194303");
        assert_eq!(requests.lock().unwrap().iter().any(rest), code == 0, "--retry {retries}");
        let got = std::fs::read(temporary.path().join("file")).ok();
        assert!(got == (code == 0).then(|| whole.clone()), "--retry {retries}");
    }
}

/// The second wait fits into the limit only if the first one did not count.
#[test]
fn all_ways_to_fetch_a_url_share_its_time() {
    let busy = |wait| format!("HTTP/1.1 503 x\r\nRetry-After: {wait}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let server = Script::new([busy(1), with_body("", b"this"), busy(60)]);
    let args = ["-O", "--parallel", "2", "--retry", "2", "--max-time", "61s", &server.url("file")];
    let output = get(dir().path()).args(args).code(1).any_stderr().output();
    assert!(output.stderr.contains("over one connection"), "{}", output.stderr);
    assert_eq!(server.heads().len(), 3);
}

#[test]
fn one_connection_is_enough_where_ranges_are_not_to_be_had() {
    let whole = bytes(9_000_000);
    for tag in ["W/\"a\"", ""] {
        let temporary = dir();
        let (address, _) = ranges(whole.clone(), move |_| tag.into());
        let args = ["-O", "--parallel", "4", &format!("http://{address}/file")];
        get(temporary.path()).args(args).stderr("over one connection").output();
        assert!(std::fs::read(temporary.path().join("file")).unwrap() == whole, "{tag:?}");
    }
    let temporary = dir();
    let server = Script::new([broken(&whole, whole.len(), "\"a\"")]);
    get(temporary.path()).args(["-O", "--parallel", "4", &server.url("file")]).stderr("sends no ranges").output();
    assert!(std::fs::read(temporary.path().join("file")).unwrap() == whole);
    // One that changes in the middle is no mixture of both.
    let temporary = dir();
    let (address, _) = ranges(bytes(30_000_000), |count| if count < 3 { "\"a\"".into() } else { "\"b\"".into() });
    let args = ["-O", "--parallel", "4", &format!("http://{address}/file")];
    get(temporary.path()).args(args).code(1).stderr("has changed on the server").output();
    assert_eq!(left_in(temporary.path()), [""; 0]);
}

#[test]
fn names_come_from_the_url_or_from_the_server_if_that_is_wanted() {
    let dir = dir();
    let named = |name: &str| with_body(&format!("Content-Disposition: attachment; filename=\"{name}\"\r\n"), b"this");
    let server = Script::new([named("evil")]);
    get(dir.path()).args(["-O", &server.url("a/b%20c?d")]).output();
    assert_eq!(left_in(dir.path()), ["b c"]);
    std::fs::create_dir(dir.path().join("into")).unwrap();
    get(dir.path()).args(["-o", "into/", &server.url("x"), &server.url("y")]).output();
    assert_eq!(names(&dir.path().join("into")), ["x", "y"]);
    get(dir.path()).args(["-J", &Script::new([named("../up")]).url("x")]).output();
    assert_eq!(left_in(dir.path()), ["b c", "into", "up"]);
    let again = Script::new([named("up")]);
    get(dir.path()).args(["-J", &again.url("x")]).code(1).stderr("the server chose the name").output();
    get(dir.path()).args(["-J", &Script::new([with_body("", b"own")]).url("own")]).output();
    assert_eq!(std::fs::read(dir.path().join("own")).unwrap(), b"own");
    get(dir.path()).args(["-O", &server.url("")]).code(2).stderr("names no file").output();
    get(dir.path()).args(["-o", "x", &server.url("a"), &server.url("b")]).code(2).stderr("-o DIR/").output();
    get(dir.path()).args(["-o", "/dev/null", &server.url("a")]).prints("");
    assert!(std::fs::metadata("/dev/null").unwrap().len() == 0 && !Path::new("/dev/null").is_file());
}

#[test]
fn a_head_is_printed_alone() {
    let dir = dir();
    let server = Script::new(["HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n"]);
    get(dir.path()).args(["-I", &server.url("")]).prints("HTTP/1.1 200 OK\nContent-Length: 5\nX: y\n");
    assert!(server.heads()[0].starts_with("HEAD / HTTP/1.1"));
    let none = Script::new(["HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n"]);
    let output = get(dir.path()).args(["--head", &none.url("")]).code(1).stderr("404").output();
    assert!(output.text().starts_with("HTTP/1.1 404"));
}

#[test]
fn proxies_are_those_of_the_environment() {
    let dir = dir();
    let proxy = Script::new(["HTTP/1.1 200 OK\r\n\r\nby proxy"]);
    let at = format!("http://u:p@{}", proxy.address);
    let url = "http://name.invalid:81/a?b";
    get(dir.path()).env("http_proxy", &at).args([url]).prints("by proxy");
    let head = &proxy.heads()[0];
    assert!(head.starts_with("GET http://name.invalid:81/a?b HTTP/1.1\r\nHost: name.invalid:81\r\n"), "{head}");
    assert_eq!(field(head, "proxy-authorization"), Some("Basic dTpw"));
    let direct = Script::new(["HTTP/1.1 200 OK\r\n\r\ndirect"]);
    get(dir.path()).env("http_proxy", &at).env("no_proxy", "127.0.0.1").args([direct.url("")]).prints("direct");
    get(dir.path()).env("http_proxy", &at).args(["--noproxy", "*", &direct.url("")]).prints("direct");
    assert_eq!(field(&direct.heads()[0], "proxy-authorization"), None);
    let closed = Script::new(["HTTP/1.1 403 Forbidden\r\n\r\n"]);
    let at = format!("http://{}", closed.address);
    let refused = get(dir.path()).env("https_proxy", &at).args(["https://name.invalid/"]);
    refused.code(3).stderr("refuses a connection to name.invalid:443: 403").output();
    assert!(closed.heads()[0].starts_with("CONNECT name.invalid:443 HTTP/1.1\r\nHost: name.invalid:443\r\n"));
    get(dir.path()).env("http_proxy", "socks5://x").args([url]).code(2).stderr("not supported").output();
}

#[test]
fn connections_are_used_again_and_a_lost_one_is_replaced() {
    let dir = dir();
    let (address, requests) = ranges(b"this".to_vec(), |_| "\"a\"".into());
    let urls = [1, 2, 3].map(|at| format!("http://{address}/{at}"));
    let output = get(dir.path()).args(["-v"]).args(&urls).any_stderr().output();
    assert_eq!(output.text(), "thisthisthis");
    assert_eq!(output.stderr.matches("* connected to").count(), 1, "{}", output.stderr);
    assert_eq!(requests.lock().unwrap().len(), 3);
    // It says that it will stay, and does not.
    let liar = Script::new([with_body("", b"this")]);
    let output = get(dir.path()).args(["-v", &liar.url("1"), &liar.url("2")]).any_stderr().output();
    assert_eq!(output.text(), "thisthis");
}

#[test]
fn content_goes_as_data_a_form_or_a_file() {
    let dir = dir();
    std::fs::write(dir.path().join("up.txt"), "from a file").unwrap();
    let server = Script::new(["HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"]);
    let sent = |args: &[&str]| {
        get(dir.path()).args(args).args([server.url("dir/")]).stdin("from stdin").prints("ok");
        let requests = server.requests.lock().unwrap();
        requests.last().unwrap().clone()
    };
    let (head, content) = sent(&["-d", "a=1", "-d", "b=2"]);
    assert!(head.starts_with("POST /dir/ ") && content == b"a=1&b=2", "{head}");
    assert_eq!(field(&head, "content-type"), Some("application/x-www-form-urlencoded"));
    let (head, content) = sent(&["-d", "@up.txt", "-H", "Content-Type: text/plain", "-X", "PATCH"]);
    assert!(head.starts_with("PATCH ") && content == b"from a file", "{head}");
    assert_eq!(field(&head, "content-type"), Some("text/plain"));
    let (head, content) = sent(&["-F", "x=y", "-F", "file=@up.txt"]);
    let text = String::from_utf8(content).unwrap();
    assert!(field(&head, "content-type").unwrap().starts_with("multipart/form-data; boundary="), "{head}");
    assert!(
        text.contains("name=\"file\"; filename=\"up.txt\"\r\nContent-Type: text/plain\r\n\r\nfrom a file\r\n"),
        "{text}"
    );
    let (head, content) = sent(&["-T", "up.txt"]);
    assert!(head.starts_with("PUT /dir/up.txt HTTP/1.1") && content == b"from a file", "{head}");
    let (head, _) = sent(&["-X", "DELETE"]);
    assert!(head.starts_with("DELETE /dir/ ") && field(&head, "content-length").is_none(), "{head}");
    get(dir.path()).args(["-T", "-", &server.url("dir/")]).code(2).stderr("has no name").output();
    get(dir.path()).args(["-T", "missing", &server.url("dir/")]).code(1).stderr("missing").output();
}

#[test]
fn a_stream_goes_in_chunks() {
    let (address, served) = serve_one(|mut stream: TcpStream| {
        let (head, _) = read_request(&mut stream).unwrap();
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"));
        assert_eq!(field(&head, "expect"), Some("100-continue"));
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut content = Vec::new();
        while !content.ends_with(b"0\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            content.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").unwrap();
        end(stream);
        content
    });
    get(dir().path()).args(["-T", "-", &format!("http://{address}/name")]).stdin("hello").prints("");
    assert_eq!(served.join().unwrap(), b"5\r\nhello\r\n0\r\n\r\n");
}

#[test]
fn a_server_that_refuses_a_large_upload_is_heard_before_all_of_it_is_sent() {
    let dir = dir();
    std::fs::write(dir.path().join("big"), bytes(20_000_000)).unwrap();
    let refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\n\r\nsmaller!\n";
    let (address, served) = serve_one(move |mut stream: TcpStream| {
        read_head(&mut stream).unwrap();
        stream.write_all(refusal).unwrap();
        let mut rest = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(len @ 1..) = stream.read(&mut piece) {
            rest.extend_from_slice(&piece[..len]);
        }
        rest.len()
    });
    get(dir.path()).args(["-T", "big", &format!("http://{address}/")]).code(1).stderr("smaller!").output();
    assert_eq!(served.join().unwrap(), 0, "nothing was sent before the word to go on");
}

/// RFC 9110, 10.1.1.
#[test]
fn what_a_server_does_not_expect_is_sent_without_the_question() {
    let dir = dir();
    std::fs::write(dir.path().join("big"), bytes(2_000_000)).unwrap();
    let refuse = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    for is_used_before in [false, true] {
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let address = serve_all(move |mut stream| {
            let is_first = seen.lock().unwrap().is_empty();
            if is_first && is_used_before {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
                seen.lock().unwrap().push(read_request(&mut stream).unwrap().0);
                stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
            if is_first {
                seen.lock().unwrap().push(read_head(&mut stream).unwrap());
                stream.write_all(refuse).unwrap();
            } else {
                seen.lock().unwrap().push(read_request(&mut stream).unwrap().0);
                stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
            end(stream);
        });
        let urls = ["a", "b"].map(|name| format!("http://{address}/{name}"));
        let urls = if is_used_before { &urls[..] } else { &urls[1..] };
        get(dir.path()).args(["-T", "big"]).args(urls).prints("");
        let heads = requests.lock().unwrap().clone();
        let expected: Vec<bool> = heads.iter().map(|head| field(head, "expect").is_some()).collect();
        let want = if is_used_before { &[true, true, false][..] } else { &[true, false] };
        assert_eq!(expected, want, "{heads:?}");
    }
}

/// draft-ietf-httpbis-resumable-upload: 104 names the upload, HEAD says how much is there, PATCH sends the rest.
#[test]
fn an_upload_that_breaks_goes_on_where_the_server_can() {
    let dir = dir();
    let whole = bytes(3_000_000);
    std::fs::write(dir.path().join("big"), &whole).unwrap();
    let got: Arc<Mutex<Vec<u8>>> = Arc::default();
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let (received, seen) = (Arc::clone(&got), Arc::clone(&requests));
    let address = serve_all(move |mut stream| {
        let head = read_head(&mut stream).unwrap();
        seen.lock().unwrap().push(head.clone());
        let version = "Upload-Draft-Interop-Version: 8";
        let offset = received.lock().unwrap().len();
        if head.starts_with("PUT") {
            write!(stream, "HTTP/1.1 104 x\r\n{version}\r\nLocation: /uploads/1\r\n\r\n").unwrap();
            write!(stream, "HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            let mut piece = vec![0; 1_000_000];
            stream.read_exact(&mut piece).unwrap();
            received.lock().unwrap().extend_from_slice(&piece);
            return;
        }
        if head.starts_with("HEAD") {
            write!(stream, "HTTP/1.1 204 x\r\nUpload-Offset: {offset}\r\nUpload-Complete: ?0\r\n\r\n").unwrap();
            return end(stream);
        }
        write!(stream, "HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut piece = vec![0; field(&head, "content-length").unwrap().parse().unwrap()];
        stream.read_exact(&mut piece).unwrap();
        received.lock().unwrap().extend_from_slice(&piece);
        write!(stream, "HTTP/1.1 201 x\r\nUpload-Complete: ?1\r\nContent-Length: 4\r\n\r\nkept").unwrap();
        end(stream);
    });
    let output =
        get(dir.path()).args(["-T", "big", "--retry", "2", &format!("http://{address}/a/")]).any_stderr().output();
    assert_eq!(output.text(), "kept", "{}", output.stderr);
    assert!(*got.lock().unwrap() == whole);
    let heads = requests.lock().unwrap().clone();
    assert!(heads[0].starts_with("PUT /a/big ") && field(&heads[0], "upload-complete") == Some("?1"), "{heads:?}");
    assert!(heads[1].starts_with("HEAD /uploads/1 "), "{heads:?}");
    assert!(heads[2].starts_with("PATCH /uploads/1 "), "{heads:?}");
    assert_eq!(field(&heads[2], "upload-offset"), Some("1000000"));
    assert_eq!(field(&heads[2], "content-type"), Some("application/partial-upload"));
}

#[test]
fn an_interim_response_in_the_middle_of_an_upload_does_not_end_it() {
    let dir = dir();
    let whole = bytes(3_000_000);
    std::fs::write(dir.path().join("big"), &whole).unwrap();
    let received: Arc<Mutex<Vec<u8>>> = Arc::default();
    let got = Arc::clone(&received);
    let address = serve_all(move |mut stream| {
        read_head(&mut stream).unwrap();
        // The client has waited for a word, and sends without one.
        let mut body = vec![0; 3_000_000];
        let mut read = 0;
        for step in [1, 1_000_000, 2_000_000, 3_000_000] {
            stream.read_exact(&mut body[read..step]).unwrap();
            read = step;
            if step < 3_000_000 {
                write!(stream, "HTTP/1.1 104 x\r\nLocation: /uploads/1\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").unwrap();
            }
        }
        *got.lock().unwrap() = body;
        write!(stream, "HTTP/1.1 201 x\r\nContent-Length: 4\r\n\r\nkept").unwrap();
        end(stream);
    });
    get(dir.path()).args(["-q", "-T", "big", &format!("http://{address}/a/")]).prints("kept");
    assert!(*received.lock().unwrap() == whole);
}

#[test]
fn a_signal_leaves_what_has_come_for_the_next_run() {
    let dir = dir();
    let whole = bytes(6_000_000);
    let (first, second) = (broken(&whole, 5_000_000, "\"a\""), rest(&whole, 5_000_000, "\"a\""));
    let mut count = 0;
    let address = serve_all(move |mut stream| {
        read_request(&mut stream);
        count += 1;
        drop(stream.write_all(if count == 1 { &first } else { &second }));
        end(stream);
    });
    let held = serve_all({
        let first = broken(&whole, 5_000_000, "\"a\"");
        let mut open = Vec::new();
        move |mut stream: TcpStream| {
            read_request(&mut stream);
            stream.write_all(&first).unwrap();
            open.push(stream);
        }
    });
    drop(address);
    let args = ["-CO", &format!("http://{held}/file")];
    let mut running = get(dir.path()).args(args).spawn();
    let part = || left_in(dir.path()).first().and_then(|name| std::fs::metadata(dir.path().join(name)).ok());
    wait_until("most of it has come", || part().is_some_and(|part| part.len() >= 4 << 20));
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.wait().code(), Some(130));
    assert_eq!(left_in(dir.path()).len(), 1, "the part is kept");
}

#[test]
fn a_terminal_is_shown_text_and_no_codes() {
    let dir = dir();
    let server = Script::new([with_body("", "one\u{1b}[2J\r\ntwo\n\u{9b}three".as_bytes())]);
    let mut session = get(dir.path()).args([server.url("")]).at_a_terminal();
    let shown = session.exp_eof().unwrap();
    assert!(
        shown.contains("one\\u{1b}[2J") && shown.contains("two\r\n") && shown.contains("\\u{9b}three"),
        "{shown:?}"
    );
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn wrong_usage_is_explained() {
    let dir = dir();
    for (args, why) in [
        (vec!["example.com"], "https://"),
        (vec!["--json", "http://a/"], "-o or -O"),
        (vec!["-C", "http://a/"], "-o FILE or -O"),
        (vec!["--parallel", "2", "http://a/"], "-o FILE or -O"),
        (vec!["-C", "-d", "x", "-O", "http://a/b"], "GET"),
        (vec!["-I", "-d", "x", "http://a/b"], "carries nothing"),
        (vec!["-X", "a b", "http://a/b"], "no method"),
        (vec!["--pin", "x", "https://a/b"], "fingerprint"),
        (vec!["-k", "https://a/b"], "trust everyone"),
        (vec!["-o", "none/", "http://a/b"], "no such directory"),
    ] {
        get(dir.path()).args(&args).code(2).stderr(why).output();
    }
    let plain = serve_all(|mut stream| {
        drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        end(stream);
    });
    let (mine, other) = ("SHA256:".to_owned() + &"A".repeat(43), format!("https://{plain}/"));
    get(dir.path()).args(["--pin", &mine, &other]).code(3).stderr("does not speak TLS").output();
    get(dir.path()).args(["http://127.0.0.1:1/"]).code(3).stderr("connection refused").output();
}
