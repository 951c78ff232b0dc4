//! What a small request can make a server hold: counted as it grows, refused where it is too much, and given back when
//! the connection ends.

use std::net::TcpStream;

use super::words::{dir, end, file, large, list, list_of, push, want};
use crate::harness::frames::{Answer, Raw, frame, request};
use crate::harness::process::memory_kib;
use crate::harness::{Server, wait_until};

/// What a server may hold of one guest's request, and what it may grow by beside that, in KiB.
const REQUEST_KIB_MAX: u64 = 64 * 1024;
const BESIDE_KIB_MAX: u64 = 32 * 1024;
/// What may stay when it is over: what small blocks of others hold in the allocator's heaps.
const KEPT_KIB_MAX: u64 = 80 * 1024;

/// A server, and what it held before anything was asked.
struct Watched {
    server: Server,
    before: u64,
}

impl Watched {
    fn start() -> Self {
        let server = Server::with(&["--guest", "read,write,echo"]);
        // Its first connection and its first transfer take what every server takes.
        server.write("first", "first");
        let mut raw = Raw::open(&server);
        raw.send(&pull(r#""paths":["first"]"#));
        assert_eq!(raw.answer().kind(), "list");
        drop(raw);
        let before = memory_kib(server.pid()).unwrap().now;
        Self { server, before }
    }

    /// No more than `kib` more was held at any moment.
    fn assert_never_held(&self, kib: u64) {
        let grown = memory_kib(self.server.pid()).unwrap().peak.saturating_sub(self.before);
        assert!(grown < kib, "{grown} KiB more were held");
    }

    /// With the connections goes what they held.
    fn assert_goes_back(&self) {
        self.server.wait_until_all_have_left();
        let held = || memory_kib(self.server.pid()).unwrap().now.saturating_sub(self.before);
        wait_until("the memory went back", || held() < KEPT_KIB_MAX);
    }
}

fn pull(body: &str) -> Vec<u8> {
    request(r#""type":"pull""#, format!("{{{body}}}").as_bytes())
}

fn refused(answer: &Answer, code: &str, text: &str) {
    assert_eq!(answer.kind(), "error", "{}", answer.header);
    assert_eq!(answer.code(), code, "{}", answer.header);
    assert!(answer.header["message"].as_str().unwrap().contains(text), "{}", answer.header);
}

/// Reads up to the end of the exchange, or of the connection.
fn last(raw: &mut Raw<TcpStream>) -> Option<Answer> {
    let mut last = None;
    while let Some(answer) = raw.next() {
        let is_last = matches!(answer.kind(), "end" | "error");
        last = Some(answer);
        if is_last {
            break;
        }
    }
    last
}

#[test]
fn patterns_are_counted_before_they_are_read() {
    let watched = Watched::start();
    // Each is a program that matches it; and what fits into a request is many.
    for shape in ["*a{}*.x", "a*[b-y]?{}*z", "**/q{}/**/x?*", "{a,b}*{}?*"] {
        let patterns: Vec<String> =
            (0..50_000).map(|at| format!("\"{}\"", shape.replace("{}", &at.to_string()))).collect();
        for verb in ["pull", "push"] {
            let mut lines: Vec<Raw<TcpStream>> = (0..8).map(|_| Raw::open(&watched.server)).collect();
            for raw in &mut lines {
                let exclude = format!("\"exclude\":[{}]", patterns.join(","));
                let sent = if verb == "pull" {
                    pull(&format!("\"paths\":[\"/\"],\"recursive\":true,{exclude}"))
                } else {
                    let how = r#""single":false,"preserve":false,"sync":false,"resume":false"#;
                    request(r#""type":"push","path":"x""#, format!("{{{how},{exclude}}}").as_bytes())
                };
                raw.send(&sent);
            }
            for raw in &mut lines {
                let answer = raw.answer();
                // All at once, the JSON alone may be too much.
                let (code, text) = match answer.code() {
                    "busy" => ("busy", "try again later"),
                    _ => ("bad-request", if verb == "pull" { "pull: it takes over" } else { "push: it takes over" }),
                };
                refused(&answer, code, text);
            }
        }
    }
    watched.assert_never_held(4 * REQUEST_KIB_MAX + BESIDE_KIB_MAX);
    watched.assert_goes_back();
    // As many as one may have are served.
    let patterns: Vec<String> = (0..2_000).map(|at| format!("\"*a{at}*.x\"")).collect();
    let mut raw = Raw::open(&watched.server);
    raw.send(&pull(&format!("\"paths\":[\"first\"],\"exclude\":[{}]", patterns.join(","))));
    assert_eq!(raw.answer().kind(), "list");
}

/// A frame of fifty bytes unpacks to a megabyte of entries, of which a mirror notes all.
#[test]
fn a_packed_list_is_counted_as_it_grows() {
    let watched = Watched::start();
    let how = br#"{"single":false,"recursive":true,"preserve":true,"sync":false,"resume":false,"delete":true}"#;
    // Directories are noted by their paths, what is in them by less.
    for (above, kind) in [("/bad", "dir"), ("x", "other")] {
        let mut raw = Raw::open(&watched.server);
        raw.send(&request(r#""type":"push","path":"""#, how));
        raw.send(&list_of(dir("x", 0o700).as_bytes(), false));
        let mut reader = Raw { stream: raw.stream.try_clone().unwrap() };
        let hearing = std::thread::spawn(move || last(&mut reader));
        for frame in 0..100 {
            // Nothing comes to the disk, and the mirror notes them all the same.
            let entries: Vec<String> = (0..4_000)
                .map(|at| {
                    let name = format!("{}{frame:03}{at:05}", "n".repeat(192));
                    format!("{{\"path\":\"{above}/{name}\",\"kind\":\"{kind}\"}}")
                })
                .collect();
            let body = entries.join("\n");
            let packed = zstd::bulk::compress(body.as_bytes(), 1).unwrap();
            let fields = format!(r#""type":"packed","of":"list","size":{}"#, body.len());
            raw.send_what_goes(&request(&fields, &packed));
        }
        raw.send_what_goes(&list_of(&[], true));
        raw.send_what_goes(&end());
        hearing.join().unwrap();
    }
    watched.assert_never_held(REQUEST_KIB_MAX + BESIDE_KIB_MAX);
    watched.assert_goes_back();
}

/// A receiver that says much, or says nothing very often, while nothing that is sent to it is read.
#[test]
fn what_a_receiver_sends_unread_is_counted_too() {
    std::thread::scope(|scope| {
        for (name, said) in [
            ("wants of nothing", want(0, "").repeat(2_000)),
            ("keeps of nothing", request(r#""type":"kept""#, b"").repeat(2_000)),
            ("many short words", request(r#""type":"kept""#, &b"{\"first\":9}\n".repeat(60_000))),
            ("many wishes", want(0, &"{\"first\":9}\n".repeat(60_000))),
        ] {
            scope.spawn(move || assert_little_is_kept_of(name, &said));
        }
    });
}

/// It is sent to a server of its own as long as that reads.
fn assert_little_is_kept_of(name: &str, said: &[u8]) {
    let watched = Watched::start();
    let big = watched.server.write("tree/big", "");
    std::fs::File::options().write(true).open(big).unwrap().set_len(64 << 20).unwrap();
    std::fs::write(watched.server.root().join("tree/noise"), super::noise(1, 32 << 20)).unwrap();
    let mut raw = Raw::open(&watched.server);
    raw.send(&super::words::pull(r#"["tree"]"#));
    assert_eq!(raw.answer().kind(), "list");
    // The noise does not fit into the socket, so the server waits for us.
    raw.send(&want(3, r#"{"first":2}"#));
    raw.stream.set_write_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let mut sent = 0;
    while sent < 256 << 20 && std::io::Write::write_all(&mut raw.stream, said).is_ok() {
        sent += said.len();
    }
    assert!(sent < 256 << 20, "{name}: it takes all that is said");
    drop(raw);
    watched.assert_never_held(REQUEST_KIB_MAX + BESIDE_KIB_MAX);
    watched.assert_goes_back();
}

/// A sender may begin a file again; what the holes of its last attempt took is free then.
#[test]
fn a_file_that_begins_again_holds_what_one_attempt_takes() {
    let watched = Watched::start();
    let mut raw = Raw::open(&watched.server);
    let size = 1_u64 << 36;
    raw.send(&push("x"));
    raw.send(&list(&[file("big", size)]));
    // In all they would take more than a request may hold.
    let begins = [large(0, 0, size), frame(&format!(r#"{{"type":"hole","size":{size}}}"#), &[])].concat();
    for _ in 0..600 {
        raw.send_what_goes(&begins);
    }
    raw.send_what_goes(&frame(r#"{"type":"lost","code":"failed","message":"m","entry":0}"#, &[]));
    raw.send_what_goes(&end());
    let answer = last(&mut raw).unwrap();
    assert_eq!(answer.kind(), "end", "{}", answer.header);
}

/// Guests share what there is, and a known peer has its own.
#[test]
fn many_transfers_that_are_not_read_leave_room_for_others() {
    let watched = Watched::start();
    std::fs::write(watched.server.root().join("noise"), super::noise(1, 32 << 20)).unwrap();
    let mut waiting = Vec::new();
    let refusal = loop {
        let mut raw = Raw::open(&watched.server);
        raw.send(&pull(r#""paths":["noise"]"#));
        let answer = raw.answer();
        if answer.kind() == "error" {
            break answer;
        }
        raw.send(&want(1, r#"{"first":0}"#));
        assert_eq!(raw.answer().kind(), "large");
        waiting.push(raw);
        assert!(waiting.len() < 1_000, "nobody is refused");
    };
    refused(&refusal, "busy", "try again later");
    watched.assert_never_held(4 * REQUEST_KIB_MAX + 64 * waiting.len() as u64 + BESIDE_KIB_MAX);
    // The server's own user is served, and when some have gone the others are.
    let here = tempfile::tempdir().unwrap();
    crate::harness::Run::new("fget")
        .args(["-q", &watched.server.remote("first"), "."])
        .current_dir(here.path())
        .prints("");
    waiting.truncate(10);
    wait_until("there is room again", || {
        let mut raw = Raw::open(&watched.server);
        raw.send(&pull(r#""paths":["first"]"#));
        raw.answer().kind() == "list"
    });
    drop(waiting);
    watched.assert_goes_back();
}

/// A tree that is listed, and of which nothing is ever confirmed, is held only so far.
#[test]
fn what_is_never_confirmed_is_held_only_so_far() {
    let watched = Watched::start();
    let deep = vec!["d".repeat(200); 18].join("/");
    std::fs::create_dir_all(watched.server.root().join(&deep)).unwrap();
    let dir =
        cap_std::fs::Dir::open_ambient_dir(watched.server.root().join(&deep), cap_std::ambient_authority()).unwrap();
    for at in 0..12_000 {
        dir.create(format!("f{at}")).unwrap();
    }
    let mut raw = Raw::open(&watched.server);
    raw.send(&super::words::pull(r#"["/"]"#));
    let take = |raw: &mut Raw<TcpStream>| {
        let answer = raw.answer();
        assert_eq!(answer.kind(), "list", "{}", answer.header);
        let count = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        (u32::try_from(count).unwrap(), answer.header["last"] == true)
    };
    // Without an answer it stops somewhere: the time is for those that do not.
    raw.stream.set_read_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
    let (mut open, mut all) = (0, 0);
    while raw.stream.peek(&mut [0]).is_ok() {
        let (count, is_last) = take(&mut raw);
        assert!(!is_last, "all of it is listed, and nothing was answered");
        open += count;
    }
    raw.stream.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    watched.assert_never_held(REQUEST_KIB_MAX + BESIDE_KIB_MAX);
    // With answers it goes on to its end.
    loop {
        raw.send(&want(open, ""));
        all += open;
        let is_last;
        (open, is_last) = take(&mut raw);
        if is_last {
            break;
        }
    }
    assert_eq!(all + open, 12_000 + 20);
    drop(raw);
    watched.assert_goes_back();
}
