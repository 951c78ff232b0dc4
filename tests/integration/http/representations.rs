//! GET of a file: validators, conditions, ranges, codings, and what a browser may do with it.

use std::fs::{File, FileTimes};
use std::io::Read as _;
use std::time::{Duration, SystemTime};

use crate::harness::Server;
use crate::harness::http::{Answer, ask};

/// A file that has not changed for an hour, so that its tag is a strong one: the time of change is what the file system
/// says, so the test waits until it is old enough by asking again.
fn settled(server: &Server, path: &str) -> String {
    let mut etag = String::new();
    crate::harness::wait_until("the tag is a strong one", || {
        ask(server, &format!("HEAD /{path}"), b"").header("etag").clone_into(&mut etag);
        etag.starts_with('"')
    });
    etag
}

fn get(server: &Server, path: &str, lines: &str) -> Answer {
    ask(server, &format!("GET /{path}\r\n{lines}"), b"")
}

#[test]
fn a_tag_is_weak_until_the_file_is_settled_and_changes_with_it() {
    let server = Server::http_files(&[]);
    server.write("a.txt", "hello");
    assert!(get(&server, "a.txt", "").header("etag").starts_with("W/\""));
    let etag = settled(&server, "a.txt");
    let not_modified = get(&server, "a.txt", &format!("If-None-Match: {etag}"));
    assert_eq!((not_modified.status, not_modified.text(), not_modified.header("etag")), (304, "", etag.as_str()));
    assert_eq!(get(&server, "a.txt", "If-None-Match: *").status, 304);
    assert_eq!(get(&server, "a.txt", "If-Match: \"other\"").status, 412);
    assert_eq!(get(&server, "a.txt", &format!("If-Match: {etag}")).status, 200);
    let modified = get(&server, "a.txt", "").header("last-modified").to_owned();
    assert_eq!(get(&server, "a.txt", &format!("If-Modified-Since: {modified}")).status, 304);
    assert_eq!(get(&server, "a.txt", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT").status, 200);
    assert_eq!(get(&server, "a.txt", "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT").status, 412);
    // The same length and time, and another file.
    let time = std::fs::metadata(server.root().join("a.txt")).unwrap().modified().unwrap();
    let path = server.write("a.txt", "HELLO");
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    assert_eq!(get(&server, "a.txt", &format!("If-None-Match: {etag}")).text(), "HELLO");
}

#[test]
fn a_tag_outlives_the_server() {
    let server = Server::http_files(&[]);
    server.write("a.txt", "hello");
    let etag = settled(&server, "a.txt");
    let again = Server::with_root(&["--http", "--guest", "read"], server.into_root());
    assert_eq!(get(&again, "a.txt", &format!("If-None-Match: {etag}")).status, 304);
}

#[test]
fn ranges_are_parts_of_the_file() {
    let server = Server::http_files(&[]);
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    server.write("big", &bytes);
    for (range, first, last) in [("0-0", 0, 0), ("5-9", 5, 9), ("-3", 299_997, 299_999), ("100000-", 100_000, 299_999)]
    {
        let part = get(&server, "big", &format!("Range: bytes={range}"));
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/300000"));
        assert!(part.body == bytes[first..=last], "{range}");
    }
    let beyond = get(&server, "big", "Range: bytes=300000-");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */300000"));
    assert_eq!(get(&server, "big", "Range: lines=1-2").status, 200);
    let etag = settled(&server, "big");
    assert_eq!(get(&server, "big", &format!("Range: bytes=0-1\r\nIf-Range: {etag}")).status, 206);
    assert_eq!(get(&server, "big", "Range: bytes=0-1\r\nIf-Range: \"other\"").status, 200);
    assert_eq!(ask(&server, "HEAD /big\r\nRange: bytes=0-1", b"").status, 200);
}

#[test]
fn several_ranges_are_parts_of_one_body() {
    let server = Server::http_files(&[]);
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
    server.write("big.txt", &bytes);
    let answer = get(&server, "big.txt", "Range: bytes=0-9,1000-200000,-5");
    assert_eq!(answer.status, 206);
    let boundary = answer.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let body = answer.text();
    let parts: Vec<&str> = body.split(&format!("\r\n--{boundary}")).collect();
    assert_eq!((parts.len(), parts[4]), (5, "--\r\n"));
    for (part, (first, last)) in parts[1..4].iter().zip([(0, 9), (1_000, 200_000), (299_995, 299_999)]) {
        let (head, content) = part.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-range: bytes {first}-{last}/300000")), "{head}");
        assert!(content.as_bytes() == &bytes[first..=last]);
    }
}

#[test]
fn text_is_compressed_for_those_who_take_that() {
    let server = Server::http_files(&[]);
    let text = "all work and no play\n".repeat(10_000);
    server.write("a.txt", &text);
    server.write("a.jpg", &text);
    server.write("short.txt", "short");
    let plain = get(&server, "a.txt", "");
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "Accept-Encoding"));
    let gzip = get(&server, "a.txt", "Accept-Encoding: gzip");
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).take(1 << 20).read_to_string(&mut unpacked).unwrap();
    assert!(gzip.header("content-encoding") == "gzip" && unpacked == text);
    let zstd = get(&server, "a.txt", "Accept-Encoding: gzip, zstd;q=1.0");
    assert_eq!(zstd.header("content-encoding"), "zstd");
    assert!(zstd::bulk::decompress(&zstd.body, 1 << 20).unwrap() == text.as_bytes());
    let tags: std::collections::BTreeSet<&str> = [&plain, &gzip, &zstd].map(|answer| answer.header("etag")).into();
    assert_eq!(tags.len(), 3, "each coding has its own");
    for (path, lines) in [("a.jpg", "Accept-Encoding: gzip"), ("short.txt", "Accept-Encoding: gzip")] {
        assert_eq!(get(&server, path, lines).header("content-encoding"), "", "{path}");
    }
    let part = get(&server, "a.txt", "Accept-Encoding: gzip\r\nRange: bytes=0-7");
    assert_eq!((part.status, part.text(), part.header("content-encoding")), (206, "all work", ""));
}

#[test]
fn what_was_compressed_before_is_sent_as_it_is() {
    let server = Server::http_files(&[]);
    let text = "all work and no play\n".repeat(1_000);
    server.write("a.txt", &text);
    server.write("a.txt.gz", "compressed before");
    let gzip = get(&server, "a.txt", "Accept-Encoding: gzip");
    assert_eq!((gzip.header("content-encoding"), gzip.text()), ("gzip", "compressed before"));
    assert_eq!(gzip.header("content-type"), "text/plain; charset=utf-8");
    // An older one is of another version of the file.
    let old = FileTimes::new().set_modified(SystemTime::now() - Duration::from_hours(1));
    File::options().write(true).open(server.root().join("a.txt.gz")).unwrap().set_times(old).unwrap();
    assert_ne!(get(&server, "a.txt", "Accept-Encoding: gzip").body, b"compressed before");
}

#[test]
fn what_was_uploaded_never_runs_as_a_page_of_the_server() {
    let safe = Server::http_files(&[]);
    let server = Server::http_files(&["--upload"]);
    for (name, is_active) in [("a.html", true), ("a.svg", true), ("a.xhtml", true), ("a.xml", true), ("a.txt", false)] {
        server.write(name, "<script>alert(1)</script>");
        safe.write(name, "x");
        let policy = get(&server, name, "").header("content-security-policy").to_owned();
        assert_eq!(policy == "sandbox", is_active, "{name}: {policy}");
        assert_eq!(get(&safe, name, "").header("content-security-policy"), "");
    }
    let answer = get(&server, "a.txt?download", "");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"a.txt\"");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
}

#[test]
fn pages_of_the_operator_are_shown_where_that_is_safe() {
    let server = Server::http_files(&["--index", "--spa"]);
    server.write("index.html", "root");
    server.write("app/index.html", "app");
    let page = "Accept: text/html";
    assert_eq!(get(&server, "", page).text(), "root");
    assert_eq!(get(&server, "app/", page).text(), "app");
    assert_eq!(get(&server, "app/route/7", page).text(), "root");
    assert_eq!(get(&server, "app/route/7", "Accept: application/json").status, 404);
    for args in [["--index", "--upload"], ["--spa", "--modify"], ["--index", "--drop-box"], ["--spa", "--auth=x"]] {
        let refused = crate::harness::Run::new("http-files").args(args).code(2).any_stderr().output();
        assert_eq!(refused.text(), "", "{args:?}");
    }
}

#[test]
fn a_file_that_becomes_shorter_never_looks_whole() {
    let server = Server::http_files(&[]);
    let path = server.write("big", vec![b'x'; 64 << 20]);
    let mut http = crate::harness::http::Scheme::Plain.connect(&server);
    http.send(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // It is being sent.
    http.stream.read_exact(&mut vec![0; 64 * 1024]).unwrap();
    File::options().write(true).open(path).unwrap().set_len(1 << 20).unwrap();
    let all = http.rest();
    assert!(all.len() < 64 << 20, "{}", all.len());
}

#[test]
fn digests_are_sent_to_those_who_want_them() {
    let server = Server::http_files(&[]);
    server.write("a.txt", "hello world");
    settled(&server, "a.txt");
    let whole = "sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:";
    for _ in 0..2 {
        let answer = get(&server, "a.txt", "Want-Repr-Digest: sha-256=10\r\nWant-Content-Digest: sha-256=1");
        assert_eq!((answer.header("repr-digest"), answer.header("content-digest")), (whole, whole));
    }
    let part =
        get(&server, "a.txt", "Range: bytes=0-4\r\nWant-Repr-Digest: sha-256=1\r\nWant-Content-Digest: sha-256=1");
    let hello = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    assert_eq!((part.header("repr-digest"), part.header("content-digest")), (whole, hello));
    assert_eq!(get(&server, "a.txt", "").header("repr-digest"), "");
    assert_eq!(get(&server, "a.txt", "Want-Repr-Digest: sha-256=0, md5=5").header("repr-digest"), "");
    server.write("a.txt", "HELLO WORLD");
    assert_ne!(get(&server, "a.txt", "Want-Repr-Digest: sha-256=1").header("repr-digest"), whole);
}

#[test]
fn a_file_beside_another_one_speaks_for_it_only_where_nobody_else_writes() {
    let server = Server::http_files(&["--upload", "--on-exists", "refuse"]);
    let text = "all work and no play\n".repeat(1_000);
    server.write("a.txt", &text);
    assert_eq!(ask(&server, "PUT /a.txt.gz", b"forged").status, 201);
    let gzip = get(&server, "a.txt", "Accept-Encoding: gzip");
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).take(1 << 20).read_to_string(&mut unpacked).unwrap();
    assert!(unpacked == text);
}
