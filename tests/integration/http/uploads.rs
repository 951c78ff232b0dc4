//! Uploads by HTTP: what breaks leaves the old file as it was, what is gone on with equals its source, and what is
//! refused is refused before it is sent.

use std::net::Shutdown;
use std::path::Path;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::harness::files::names;
use crate::harness::http::{Answer, Http, Scheme, ask};
use crate::harness::mounted::Mounted;
use crate::harness::skip::is_installed;
use crate::harness::tls::Wire;
use crate::harness::{Run, Server, wait_until};

const VERSION: &str = "Upload-Draft-Interop-Version: 8\r\n";

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

fn content(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| ((at >> 3) + at * 7 + salt).to_le_bytes()[0]).collect()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut chunks: Vec<u8> = Vec::new();
    for piece in body.chunks(10_000) {
        chunks.extend(format!("{:x}\r\n", piece.len()).bytes());
        chunks.extend(piece);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\n\r\n");
    chunks
}

fn form_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, bytes) in files {
        let head = format!("--bound\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\r\n");
        form.extend(head.bytes());
        form.extend(*bytes);
        form.extend(b"\r\n");
    }
    form.extend(b"--bound--\r\n");
    form
}

const FORM: &str = "Content-Type: multipart/form-data; boundary=bound\r\n";

/// The names that a client can see.
fn shown(dir: &Path) -> Vec<String> {
    names(dir).into_iter().filter(|name| !name.starts_with('.')).collect()
}

/// Goes away in the middle: as a machine that is switched off, or after saying that nothing more comes.
fn leave(mut http: Http, is_sudden: bool) {
    let socket = match &http.stream {
        Wire::Plain(socket) => socket,
        Wire::Tls(tls) => &tls.sock,
    };
    if is_sudden {
        SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
    } else {
        drop(socket.shutdown(Shutdown::Write));
        // Until the server is done with it.
        http.rest();
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Put,
    PutChunked,
    Form,
    FormChunked,
    Resumable,
    ResumableChunked,
}

/// Where an upload goes on, as its URL says.
fn offset(server: &Server, scheme: Scheme, url: &str) -> usize {
    let answer = scheme.connect(server).ask(&format!("HEAD {url}"), b"");
    assert_eq!((answer.status, answer.header("upload-complete")), (204, "?0"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.header("upload-offset").parse().unwrap()
}

fn append(server: &Server, scheme: Scheme, (url, at, is_last): (&str, usize, bool), bytes: &[u8]) -> Answer {
    let last = i32::from(is_last);
    let head = format!(
        "PATCH {url}\r\nUpload-Offset: {at}\r\nUpload-Complete: ?{last}\r\nContent-Type: application/partial-upload"
    );
    scheme.connect(server).ask(&head, bytes)
}

#[test]
fn a_hundred_uploads_that_break_leave_the_old_file_and_those_that_go_on_equal_their_source() {
    let ways = [Way::Put, Way::PutChunked, Way::Form, Way::FormChunked, Way::Resumable, Way::ResumableChunked];
    let mut numbers = Numbers(0x5eed);
    let server = Server::http_files(&["--upload"]);
    for number in 0..102 {
        let way = ways[number % ways.len()];
        let scheme = if (number / ways.len()).is_multiple_of(2) { Scheme::Plain } else { Scheme::Tls };
        let new = content(1 + numbers.next(400_000), number);
        server.write("f", "old");
        let is_chunked = matches!(way, Way::PutChunked | Way::FormChunked | Way::ResumableChunked);
        let body = if matches!(way, Way::Form | Way::FormChunked) { form_of(&[("f", &new)]) } else { new.clone() };
        let (line, more) = match way {
            Way::Put | Way::PutChunked => ("PUT /f", String::new()),
            Way::Form | Way::FormChunked => ("POST /", FORM.to_owned()),
            Way::Resumable | Way::ResumableChunked => ("PUT /f", format!("Upload-Complete: ?1\r\n{VERSION}")),
        };
        let length =
            if is_chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {}", body.len()) };
        let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{more}{length}\r\n\r\n");
        let body = if is_chunked { chunked(&body) } else { body };
        let mut http = scheme.connect(&server);
        let is_resumable = matches!(way, Way::Resumable | Way::ResumableChunked);
        let url = is_resumable.then(|| {
            http.send(head.as_bytes());
            let interim = http.any_answer(false).unwrap();
            assert_eq!((interim.status, interim.header("upload-draft-interop-version")), (104, "8"), "{interim:?}");
            interim.header("location").to_owned()
        });
        // The end of the form that is behind its last delimiter is no loss.
        let whole = body.len() - if matches!(way, Way::Form) { 2 } else { 0 };
        let cut = numbers.next(whole);
        if is_resumable {
            http.try_send(&body[..cut]);
        } else {
            let cut = numbers.next(head.len() + cut + 1);
            http.try_send(&[head.as_bytes(), &body].concat()[..cut]);
        }
        // A form may be whole by then: it is seen when the server is done with it.
        leave(http, numbers.next(2) == 0 && way != Way::FormChunked);
        let what = format!("{number}: {way:?} {scheme:?} cut at {cut} of {}", body.len());
        let is_whole_form = way == Way::FormChunked && server.read("f") == new;
        assert!(server.read("f") == b"old" || is_whole_form, "{what}");
        assert_eq!(shown(server.root()), ["f"], "{what}");
        let Some(url) = url else {
            wait_until("nothing of it is left", || names(server.root()) == ["f"]);
            continue;
        };
        let at = offset(&server, scheme, &url);
        assert!(at <= cut, "{what}: {at}");
        let half = at + (new.len() - at) / 2;
        let answer = append(&server, scheme, (&url, at, false), &new[at..half]);
        assert_eq!((answer.status, answer.header("upload-complete")), (204, "?0"), "{what}: {answer:?}");
        assert!(server.read("f") == b"old", "{what}");
        let answer = append(&server, scheme, (&url, half, true), &new[half..]);
        assert_eq!((answer.status, answer.header("upload-complete")), (204, "?1"), "{what}: {answer:?}");
        assert!(server.read("f") == new, "{what}");
        assert_eq!(names(server.root()), ["f"], "{what}");
    }
}

#[test]
fn put_answers_as_the_standard_says() {
    let server = Server::http_files(&["--upload", "--upload-mode", "640"]);
    let answer = ask(&server, "PUT /a%20b.txt", b"hello");
    assert_eq!((answer.status, answer.header("location")), (201, "/a%20b.txt"));
    assert!(!answer.header("etag").is_empty() && answer.body.is_empty());
    let answer = ask(&server, "PUT /a%20b.txt", b"hello again");
    assert_eq!((answer.status, answer.header("location")), (204, ""));
    assert_eq!(server.read("a b.txt"), b"hello again");
    let mode = std::os::unix::fs::MetadataExt::mode(&server.root().join("a b.txt").metadata().unwrap());
    assert_eq!(mode & 0o7777, 0o640);
    assert_eq!(ask(&server, "PUT /empty", b"").status, 201);
    assert_eq!(ask(&server, "PUT /%ff%fe", b"x").status, 201, "a name that is not UTF-8");
    std::fs::create_dir(server.root().join("dir")).unwrap();
    assert_eq!(ask(&server, "PUT /dir/a", b"x").status, 201);
    for (clause, head, status) in [
        ("RFC 9110, 14.5", "PUT /x\r\nContent-Range: bytes 0-1/5", 400),
        ("RFC 9110, 8.4", "PUT /x\r\nContent-Encoding: gzip", 415),
        ("RFC 4918, 9.7.1", "PUT /no/x", 409),
        ("RFC 4918, 9.7.2", "PUT /dir", 409),
        ("a directory's URL", "PUT /x/", 409),
        ("the root", "PUT /", 409),
        ("a name that is kept", "PUT /.x.1a2b3c4d.part", 400),
        ("up", "PUT /../x", 404),
        ("a hidden name", "PUT /.hid", 403),
        ("below a hidden name", "PUT /.hid/x", 403),
        ("a form below a hidden name", "POST /.hid", 403),
        ("RFC 9530, 2", "PUT /x\r\nContent-Digest: sha-256=hello", 400),
        ("RFC 9110, 15.5.6", "DELETE /a%20b.txt", 405),
    ] {
        let answer = ask(&server, head, b"hello");
        assert_eq!(answer.status, status, "{clause}: {answer:?}");
    }
    let answer = ask(&server, "DELETE /dir/a", b"");
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, "GET, HEAD, OPTIONS, PUT, POST, PROPFIND, PROPPATCH, LOCK, UNLOCK")
    );
    let mut http = Scheme::Plain.connect(&server);
    http.send(b"PUT /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(http.answer(true).unwrap().status, 411);
    // Chunks need no length, and the connection goes on.
    let mut http = Scheme::Plain.connect(&server);
    let head = b"PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    http.send(&[&head[..], &chunked(&content(50_000, 1))].concat());
    assert_eq!(http.answer(true).unwrap().status, 201);
    assert_eq!(http.ask("PUT /x", b"y").status, 204);
    assert_eq!(shown(server.root()).len(), 5);
    let read_only = Server::http_files(&[]);
    let answer = ask(&read_only, "PUT /x", b"x");
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, OPTIONS, PROPFIND"));
}

#[test]
fn limits_are_told_before_the_body_is_sent() {
    let server = Server::http_files(&["--upload", "--max-upload", "100KiB"]);
    let refused = |server: &Server, head: &str, status| {
        let mut http = Scheme::Plain.connect(server);
        http.send(format!("{head}\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n").as_bytes());
        let answer = http.any_answer(true).unwrap();
        assert_eq!(answer.status, status, "{head}: {answer:?}");
        answer
    };
    server.write("old", "old");
    let answer = refused(&server, "PUT /big HTTP/1.1\r\nContent-Length: 102401", 413);
    assert!(answer.text().contains("over the limit of 102400 bytes"), "{answer:?}");
    refused(&server, "PUT /no/x HTTP/1.1\r\nContent-Length: 5", 409);
    refused(&server, "PUT /old HTTP/1.1\r\nContent-Length: 5\r\nIf-None-Match: *", 412);
    refused(&server, "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Type: text/plain", 415);
    refused(
        &server,
        "PUT /x HTTP/1.1\r\nContent-Length: 5\r\nUpload-Complete: ?1\r\nUpload-Length: 6\r\nUpload-Draft-Interop-Version: 8",
        400,
    );
    let full = Server::http_files(&["--upload", "--min-free", "1000TiB"]);
    refused(&full, "PUT /x HTTP/1.1\r\nContent-Length: 5", 507);
    refused(&full, &format!("POST / HTTP/1.1\r\n{FORM}Content-Length: 5"), 507);
    // What is not announced is noticed when it comes.
    let mut http = Scheme::Plain.connect(&server);
    http.send(b"PUT /big HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    http.try_send(&chunked(&content(200_000, 1)));
    assert_eq!(http.answer(true).unwrap().status, 413);
    let form = form_of(&[("small", b"small"), ("big", &content(200_000, 1)), ("late", b"late")]);
    let answer = ask(&server, &format!("POST /\r\n{FORM}"), &form);
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("stored before it: small"), "{answer:?}");
    assert_eq!(names(server.root()), ["old", "small"]);
    let answer = ask(&server, "OPTIONS /", b"");
    assert_eq!(answer.header("upload-limit"), "max-size=102400");
}

/// The tag of a file that is old enough to have a strong one.
fn strong_tag(server: &Server, path: &str) -> String {
    let tag = || ask(server, &format!("HEAD {path}"), b"").header("etag").to_owned();
    wait_until("the tag is strong", || !tag().starts_with("W/"));
    tag()
}

#[test]
fn conditions_guard_what_is_there() {
    let server = Server::http_files(&["--upload"]);
    server.write("a", "old");
    let tag = strong_tag(&server, "/a");
    let put = |condition: &str, bytes: &[u8]| ask(&server, &format!("PUT /a\r\n{condition}"), bytes).status;
    assert_eq!(put("If-None-Match: *", b"x"), 412);
    assert_eq!(put("If-Match: \"other\"", b"x"), 412);
    assert_eq!(put("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", b"x"), 412);
    assert_eq!(server.read("a"), b"old");
    assert_eq!(put(&format!("If-Match: {tag}"), b"new"), 204);
    assert_eq!(put(&format!("If-Match: {tag}"), b"newer"), 412);
    assert_eq!(server.read("a"), b"new");
    assert_eq!(ask(&server, "PUT /b\r\nIf-Match: *", b"x").status, 412);
    assert_eq!(ask(&server, "PUT /b\r\nIf-None-Match: *", b"x").status, 201);
    // It changes while its successor comes.
    for (condition, before, after) in [
        (format!("If-Match: {}", strong_tag(&server, "/a")), Some("new"), "changed"),
        ("If-None-Match: *".into(), None, "made"),
    ] {
        let path = server.root().join("a");
        match before {
            Some(before) => assert_eq!(server.read("a"), before.as_bytes()),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let mut http = Scheme::Plain.connect(&server);
        http.send(
            format!("PUT /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n{condition}\r\n\r\nab").as_bytes(),
        );
        wait_until("the upload has begun", || names(server.root()).len() == 2 + usize::from(before.is_some()));
        std::fs::write(&path, after).unwrap();
        http.send(b"cde");
        let answer = http.answer(true).unwrap();
        assert_eq!(answer.status, 412, "{condition}");
        assert!(answer.text().starts_with("/a: was changed while"), "{answer:?}");
        assert_eq!(server.read("a"), after.as_bytes());
        assert_eq!(names(server.root()), ["a", "b"]);
    }
    // Another directory has the path meanwhile: the condition is about what is replaced.
    server.write("dir/a", "old");
    let tag = strong_tag(&server, "/dir/a");
    let mut http = Scheme::Plain.connect(&server);
    let head = format!("PUT /dir/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nIf-Match: {tag}\r\n\r\nab");
    http.send(head.as_bytes());
    wait_until("the upload has begun", || server.names("dir").len() == 2);
    std::fs::rename(server.root().join("dir"), server.root().join("moved")).unwrap();
    server.write("dir/a", "other");
    http.send(b"cde");
    assert_eq!(http.answer(true).unwrap().status, 204);
    assert_eq!((server.read("moved/a"), server.read("dir/a")), (b"abcde".to_vec(), b"other".to_vec()));
}

#[test]
fn a_name_that_is_taken_is_numbered_or_refused_and_of_two_writers_none_is_lost() {
    let server = Server::http_files(&["--upload", "--on-exists", "rename"]);
    let put_at_once = |server: &Server| {
        let clients: Vec<Http> = (0..6).map(|_| Scheme::Plain.connect(server)).collect();
        let put = |(number, mut http): (usize, Http)| http.ask("PUT /a.txt", &content(100_000, number)).status;
        let threads: Vec<_> = clients.into_iter().enumerate().map(|one| thread::spawn(move || put(one))).collect();
        let mut statuses: Vec<u16> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(put_at_once(&server), [201; 6]);
    let stored: std::collections::BTreeSet<Vec<u8>> =
        names(server.root()).iter().map(|name| server.read(name)).collect();
    assert_eq!(stored, (0..6).map(|number| content(100_000, number)).collect());
    let answer = ask(&server, "PUT /a.txt", b"x");
    assert_eq!((answer.status, answer.header("location")), (201, "/a%20%286%29.txt"));
    assert_eq!(answer.text(), "stored as /a%20%286%29.txt\n");
    let server = Server::http_files(&["--upload", "--on-exists", "refuse"]);
    assert_eq!(put_at_once(&server), [201, 409, 409, 409, 409, 409]);
    let server = Server::http_files(&["--upload"]);
    let statuses = put_at_once(&server);
    assert!(statuses.iter().all(|status| matches!(status, 201 | 204)), "{statuses:?}");
    assert!((0..6).any(|number| server.read("a.txt") == content(100_000, number)));
    assert_eq!(names(server.root()), ["a.txt"]);
}

#[test]
fn digests_are_compared_where_they_are_given() {
    let server = Server::http_files(&["--upload"]);
    let right = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    let wrong = "sha-256=:AAJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    server.write("a", "old");
    for field in ["Content-Digest", "Repr-Digest"] {
        assert_eq!(ask(&server, &format!("PUT /a\r\n{field}: {wrong}"), b"hello").status, 400);
        assert_eq!(ask(&server, &format!("PUT /new\r\n{field}: {wrong}"), b"hello").status, 400);
        assert_eq!(names(server.root()), ["a"]);
        assert_eq!(server.read("a"), b"old");
    }
    assert_eq!(
        ask(&server, &format!("PUT /a\r\nContent-Digest: {right}\r\nRepr-Digest: {right}"), b"hello").status,
        204
    );
    // A digest of the whole is remembered, and one of the content is that of each request.
    for (digest, status) in [(wrong, 400), (right, 204)] {
        let begin = format!("PUT /a\r\nUpload-Complete: ?0\r\nRepr-Digest: {digest}");
        let url = ask(&server, &begin, b"he").header("location").to_owned();
        let head =
            format!("PATCH {url}\r\nUpload-Offset: 2\r\nContent-Type: application/partial-upload\r\nUpload-Complete");
        let answer = ask(&server, &format!("{head}: ?0\r\nContent-Digest: {wrong}"), b"llo");
        assert_eq!(answer.status, 400);
        assert_eq!(offset(&server, Scheme::Plain, &url), 2, "what did not hash to it is not there");
        let answer = ask(&server, &format!("{head}: ?1"), b"llo");
        assert_eq!((answer.status, answer.header("upload-complete")), (status, "?1"), "{answer:?}");
    }
    assert_eq!(names(server.root()), ["a"]);
}

#[test]
fn resumable_uploads_are_those_of_the_draft() {
    let server = Server::http_files(&["--upload"]);
    let create = |more: &str, bytes: &[u8]| ask(&server, &format!("PUT /a\r\nUpload-Complete: ?0{more}"), bytes);
    // 4.2: nothing yet, or a part; the answer names the upload.
    let answer = create("\r\nUpload-Length: 10", b"");
    assert_eq!((answer.status, answer.header("upload-complete")), (201, "?0"));
    assert!(answer.header("upload-limit").contains("max-age=604"), "{answer:?}");
    let url = answer.header("location").to_owned();
    let token = url.strip_prefix("/a?upload=").unwrap();
    assert_eq!(token.len(), 32);
    let head = ask(&server, &format!("GET {url}"), b"");
    assert_eq!((head.status, head.header("upload-length"), head.header("upload-offset")), (204, "10", "0"));
    // 4.4: where it does not go on is a conflict, which says where it does.
    let answer = append(&server, Scheme::Plain, (&url, 5, false), b"x");
    assert_eq!((answer.status, answer.header("upload-offset"), answer.header("upload-complete")), (409, "0", "?0"));
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(
        answer.text().contains(r#"#mismatching-upload-offset""#) && answer.text().contains(r#""provided-offset":5"#)
    );
    let answer = append(&server, Scheme::Plain, (&url, 0, false), b"hello");
    assert_eq!((answer.status, answer.header("upload-offset")), (204, "5"));
    // 4.1.3: lengths that differ.
    let answer = append(&server, Scheme::Plain, (&url, 5, true), b"wor");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("#inconsistent-upload-length"), "{answer:?}");
    // 6: the media type; 4.4.1: the fields that it must have.
    assert_eq!(ask(&server, &format!("PATCH {url}\r\nUpload-Offset: 5\r\nUpload-Complete: ?1"), b"x").status, 415);
    let partial = "Content-Type: application/partial-upload";
    assert_eq!(ask(&server, &format!("PATCH {url}\r\n{partial}\r\nUpload-Complete: ?1"), b"x").status, 400);
    assert_eq!(ask(&server, &format!("PATCH {url}\r\n{partial}\r\nUpload-Offset: 5"), b"x").status, 400);
    assert!(shown(server.root()).is_empty());
    let answer = append(&server, Scheme::Plain, (&url, 5, true), b"world");
    assert_eq!((answer.status, answer.header("upload-complete"), answer.header("location")), (201, "?1", "/a"));
    assert_eq!(server.read("a"), b"helloworld");
    // The last answer may have been lost.
    let head = ask(&server, &format!("HEAD {url}"), b"");
    assert_eq!((head.status, head.header("upload-complete"), head.header("upload-offset")), (204, "?1", "10"));
    assert_eq!(append(&server, Scheme::Plain, (&url, 10, true), b"").status, 201);
    let answer = append(&server, Scheme::Plain, (&url, 5, true), b"x");
    assert_eq!((answer.status, answer.header("upload-offset"), answer.header("upload-complete")), (409, "10", "?1"));
    // An upload is no file.
    for method in ["PUT", "POST", "TRACE"] {
        let answer = ask(&server, &format!("{method} {url}"), b"");
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, OPTIONS, PATCH, DELETE"), "{method}");
    }
    assert_eq!(server.read("a"), b"helloworld");
    // More than was announced: nothing of it is certain (4.4.2).
    let url = create("\r\nUpload-Length: 3", b"").header("location").to_owned();
    let answer = append(&server, Scheme::Plain, (&url, 0, false), b"hello");
    assert_eq!(answer.status, 400);
    assert_eq!(ask(&server, &format!("HEAD {url}"), b"").status, 404);
    // 4.5.
    let url = create("", b"hello").header("location").to_owned();
    assert_eq!(ask(&server, &format!("DELETE {url}"), b"").status, 204);
    assert_eq!(ask(&server, &format!("HEAD {url}"), b"").status, 404);
    assert_eq!(ask(&server, "HEAD /a?upload=00000000000000000000000000000000", b"").status, 404);
    // The name in the URL is the upload's.
    let url = create("", b"hello").header("location").to_owned();
    assert_eq!(ask(&server, &format!("HEAD {}", url.replace("/a?", "/b?")), b"").status, 404);
    assert_eq!(ask(&server, &format!("DELETE {url}"), b"").status, 204);
    // Without our version of the draft there is no 104, and the request is as any other.
    let mut http = Scheme::Plain.connect(&server);
    http.send(b"PUT /b HTTP/1.1\r\nHost: localhost\r\nUpload-Complete: ?1\r\nContent-Length: 2\r\n\r\nhi");
    let answer = http.any_answer(true).unwrap();
    assert_eq!((answer.status, answer.header("upload-complete")), (201, "?1"));
    // POST to a directory, with a name as RFC 6266 has it.
    let named = "POST /\r\nContent-Disposition: inline; filename=\"c.txt\"\r\nUpload-Complete: ?1";
    let answer = ask(&server, &format!("{named}\r\n{VERSION}"), b"hello");
    assert_eq!((answer.status, answer.header("location")), (201, "/c.txt"), "{answer:?}");
    assert_eq!(names(server.root()), ["a", "b", "c.txt"]);
}

/// The client believes its first request to be gone: the second one ends it (4.6).
#[test]
fn a_second_request_for_an_upload_ends_the_first() {
    let server = Server::http_files(&["--upload"]);
    for scheme in [Scheme::Plain, Scheme::Tls] {
        let begin = "PUT /a\r\nUpload-Complete: ?0\r\nUpload-Length: 400000";
        let url = scheme.connect(&server).ask(begin, b"").header("location").to_owned();
        let bytes = content(400_000, 3);
        let mut hanging = scheme.connect(&server);
        let head = format!(
            "PATCH {url} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400000\r\nUpload-Offset: 0\r\nUpload-Complete: ?1\r\n\
             Content-Type: application/partial-upload\r\nExpect: 100-continue\r\n\r\n"
        );
        hanging.send(head.as_bytes());
        assert_eq!(hanging.any_answer(false).unwrap().status, 100);
        hanging.send(&bytes[..100_000]);
        let at = offset(&server, scheme, &url);
        assert!(at <= 100_000);
        hanging.try_send(&bytes[100_000..]);
        assert_eq!(offset(&server, scheme, &url), at, "what the first one still sent is not taken");
        let answer = append(&server, scheme, (&url, at, true), &bytes[at..]);
        assert!(matches!(answer.status, 201 | 204), "{answer:?}");
        assert!(server.read("a") == bytes);
        assert_eq!(names(server.root()), ["a"]);
    }
}

#[test]
fn an_upload_goes_on_at_a_server_that_was_restarted() {
    let (home, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = content(300_000, 5);
    let server = Server::http_files_in(&["--upload"], root.path(), home.path());
    let mut http = Scheme::Plain.connect(&server);
    let head =
        format!("PUT /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\nUpload-Complete: ?1\r\n{VERSION}\r\n");
    http.send(head.as_bytes());
    let url = http.any_answer(false).unwrap().header("location").to_owned();
    http.send(&bytes[..200_000]);
    leave(http, false);
    let at = offset(&server, Scheme::Plain, &url);
    assert_eq!(at, 200_000);
    // Killed in the middle of the next one.
    let mut http = Scheme::Plain.connect(&server);
    let head = format!(
        "PATCH {url} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\nUpload-Offset: 200000\r\n\
         Upload-Complete: ?1\r\nContent-Type: application/partial-upload\r\n\r\n"
    );
    http.send(head.as_bytes());
    http.send(&bytes[200_000..250_000]);
    server.signal(rustix::process::Signal::KILL);
    drop(server);
    let server = Server::http_files_in(&["--upload"], root.path(), home.path());
    let at = offset(&server, Scheme::Plain, &url);
    assert!((200_000..=250_000).contains(&at), "{at}");
    assert_eq!(append(&server, Scheme::Plain, (&url, at, true), &bytes[at..]).status, 201);
    assert!(std::fs::read(root.path().join("a")).unwrap() == bytes);
    assert_eq!(names(root.path()), ["a"]);
}

#[test]
fn what_a_known_peer_has_sent_is_its_own() {
    let server = Server::with(&["--http", "--upload", "--guest", "read,write"]);
    let create = "PUT /a\r\nUpload-Complete: ?0";
    let url = Scheme::TlsOwn.connect(&server).ask(create, b"hello").header("location").to_owned();
    assert_eq!(Scheme::Tls.connect(&server).ask(&format!("HEAD {url}"), b"").status, 404);
    assert_eq!(offset(&server, Scheme::TlsOwn, &url), 5);
    // What another one asks for ends no request of it.
    let mut hanging = Scheme::TlsOwn.connect(&server);
    let head = format!(
        "PATCH {url} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nUpload-Offset: 5\r\nUpload-Complete: ?1\r\n\
         Content-Type: application/partial-upload\r\nExpect: 100-continue\r\n\r\n"
    );
    hanging.send(head.as_bytes());
    assert_eq!(hanging.any_answer(false).unwrap().status, 100);
    assert_eq!(append(&server, Scheme::Tls, (&url, 5, true), b"x").status, 404);
    for method in ["HEAD", "DELETE"] {
        assert_eq!(Scheme::Tls.connect(&server).ask(&format!("{method} {url}"), b"").status, 404, "{method}");
    }
    hanging.send(b" world");
    assert_eq!(hanging.answer(true).unwrap().status, 201);
    assert_eq!(server.read("a"), b"hello world");
    // A guest's upload is that of whoever has its URL.
    let url = Scheme::Tls.connect(&server).ask(create, b"hello").header("location").to_owned();
    assert_eq!(offset(&server, Scheme::TlsOwn, &url), 5);
    assert_eq!(ask(&server, &format!("DELETE {url}"), b"").status, 204);
    // What its connection's end left of a plain PUT is there for its next attempt by any program.
    let bytes = content(6 << 20, 7);
    let mut http = Scheme::TlsOwn.connect(&server);
    http.send(format!("PUT /big HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", bytes.len()).as_bytes());
    http.send(&bytes[..5 << 20]);
    leave(http, false);
    assert!(!server.root().join("big").exists());
    let parts = |server: &Server| names(server.root()).iter().filter(|name| name.starts_with(".big.")).count();
    assert_eq!(parts(&server), 1);
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("big"), &bytes).unwrap();
    Run::new("fput").args(["-q", "big", &server.remote("")]).current_dir(here.path()).prints("");
    assert!(server.read("big") == bytes);
    assert_eq!(parts(&server), 0);
}

#[test]
fn a_form_stores_its_files_one_after_the_other() {
    let server = Server::http_files(&["--upload"]);
    std::fs::create_dir(server.root().join("in")).unwrap();
    let big = content(700_000, 9);
    let files: [(&str, &[u8]); 4] = [("a", b"first"), ("b \u{e9}.bin", &big), ("a", b"second"), ("empty", b"")];
    let form = form_of(&files);
    let answer = ask(&server, &format!("POST /in\r\n{FORM}Accept: */*"), &form);
    assert_eq!(answer.status, 201);
    let told = "stored /in/a\nstored /in/b%20%C3%A9.bin\nstored /in/a%20%281%29\nstored /in/empty\n";
    assert_eq!(answer.text(), told);
    assert_eq!(server.read("in/a"), b"first");
    assert_eq!(server.read("in/a (1)"), b"second", "both were meant");
    assert!(server.read("in/b \u{e9}.bin") == big);
    assert_eq!(server.names("in").len(), 4);
    let browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";
    let answer = ask(&server, &format!("POST /in\r\n{FORM}{browser}"), &form_of(&[("c", b"c")]));
    assert_eq!((answer.status, answer.header("location")), (303, "/in/"));
    let answer = ask(&server, &format!("POST /in/\r\n{FORM}Accept: application/json"), &form_of(&[("d", b"d")]));
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(json["stored"][0]["url"], "/in/d", "{json}");
    for (what, form, status, why) in [
        ("no file", b"--bound--\r\n".to_vec(), 400, "has no file"),
        ("a path", form_of(&[("e", b"e"), ("../x", b"x")]), 400, "stored before it: e"),
        ("a kept name", form_of(&[("f", b"f"), (".x.1a2b3c4d.part", b"x")]), 400, "stored before it: f"),
        ("a dot", form_of(&[("g", b"g"), (".bashrc", b"x")]), 403, "stored before it: g"),
        ("broken", form_of(&[("h", b"h"), ("i", b"i")])[..150].to_vec(), 400, "stored before it: h"),
        ("no boundary", b"hello".to_vec(), 400, "broke off"),
    ] {
        let answer = ask(&server, &format!("POST /in\r\n{FORM}"), &form);
        assert!(answer.status == status && answer.text().contains(why), "{what}: {answer:?}");
    }
    assert!(!server.root().join("in/i").exists() && !server.root().join("x").exists());
    assert_eq!(ask(&server, &format!("POST /none\r\n{FORM}"), &form).status, 409);
    assert_eq!(ask(&server, &format!("POST /in/a\r\n{FORM}"), &form).status, 409);
}

#[test]
fn a_drop_box_takes_all_and_tells_nothing() {
    let server = Server::http_files(&["--drop-box"]);
    server.write("there.txt", "old");
    server.write("dir/x", "old");
    for head in ["PUT /there.txt", "PUT /new.txt", "PUT /dir"] {
        let answer = ask(&server, head, b"new");
        assert_eq!((answer.status, answer.text()), (201, "stored\n"), "{head}: {answer:?}");
        assert_eq!((answer.header("location"), answer.header("etag")), ("", ""));
    }
    for head in ["PUT /dir/x", "PUT /none/x"] {
        assert_eq!(ask(&server, head, b"x").status, 403, "{head}");
    }
    let form = form_of(&[("there.txt", b"1"), ("new.txt", b"2")]);
    let answer = ask(&server, &format!("POST /\r\n{FORM}"), &form);
    assert_eq!((answer.status, answer.text()), (201, "stored\nstored\n"));
    assert_eq!(server.read("there.txt"), b"old");
    for head in ["GET /there.txt", "GET /none.txt", "HEAD /dir/"] {
        assert_eq!(ask(&server, head, b"").status, 404, "{head}");
    }
    // Nothing is there for a condition, whatever is there.
    assert_eq!(ask(&server, "PUT /there.txt\r\nIf-None-Match: *", b"x").status, 201);
    assert_eq!(ask(&server, "PUT /there.txt\r\nUpload-Complete: ?0", b"x").status, 201);
    let stored = shown(server.root());
    assert_eq!(stored.len(), 8, "{stored:?}");
    assert_eq!(stored.iter().filter(|name| name.starts_with("there-")).count(), 3, "{stored:?}");
}

const ALL_METHODS: &str = "GET, HEAD, OPTIONS, PUT, POST, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK";

#[test]
fn files_and_directories_are_removed_made_and_renamed() {
    let server = Server::http_files(&["--upload", "--modify"]);
    let status = |head: &str| ask(&server, head, b"").status;
    assert_eq!(status("MKCOL /dir"), 201);
    for (clause, head, want) in [
        ("RFC 4918, 9.3.1, it exists", "MKCOL /dir/", 405),
        ("RFC 4918, 9.3.1, none above it", "MKCOL /no/such", 409),
        ("the root", "MKCOL /", 405),
    ] {
        assert_eq!(status(head), want, "{clause}");
    }
    let answer = ask(&server, "MKCOL /dir", b"");
    assert_eq!(answer.text(), "/dir: already exists\n");
    assert_eq!(answer.header("allow"), ALL_METHODS);
    assert_eq!(ask(&server, "MKCOL /x", b"<body/>").status, 415);
    server.write("a", "a");
    server.write("b", "b");
    for (clause, head, want) in [
        ("RFC 4918, 9.9.4", "MOVE /a\r\nDestination: /b\r\nOverwrite: F", 412),
        ("RFC 4918, 9.9.4, elsewhere", "MOVE /a\r\nDestination: http://example.org/b", 502),
        ("RFC 4918, 9.9.4, no directory", "MOVE /a\r\nDestination: /no/b", 409),
        ("RFC 4918, 9.9.4, itself", "MOVE /a\r\nDestination: /a", 403),
        ("no destination", "MOVE /a", 400),
        ("up", "MOVE /a\r\nDestination: /../b", 404),
        ("to a hidden name", "MOVE /a\r\nDestination: /.hid", 403),
        ("a hidden name", "MKCOL /.hid", 403),
        ("to an upload", "MKCOL /x?upload=00000000000000000000000000000000", 405),
        ("nothing there", "MOVE /none\r\nDestination: /c", 404),
        ("into itself", "MOVE /dir\r\nDestination: /dir/x", 403),
        ("RFC 4918, 9.9.2", "MOVE /dir\r\nDestination: /x\r\nDepth: 0", 400),
        ("RFC 4918, 9.6.1", "DELETE /dir\r\nDepth: 0", 400),
        ("the root", "DELETE /", 403),
        ("RFC 9110, 13.1.1", "DELETE /a\r\nIf-Match: \"other\"", 412),
        ("a file's name has no slash", "DELETE /a/", 404),
        ("RFC 4918, 9.9, renamed", "MOVE /a\r\nDestination: http://localhost/dir/a%20b", 201),
        ("RFC 4918, 9.9.4, replaced", "MOVE /b\r\nDestination: /dir/a%20b", 204),
        ("a directory", "MOVE /dir\r\nDestination: /moved\r\nOverwrite: F", 201),
    ] {
        assert_eq!(status(head), want, "{clause}");
    }
    assert_eq!(server.read("moved/a b"), b"b");
    assert_eq!(status("DELETE /moved/a%20b"), 204);
    server.write("moved/deep/er/x", "x");
    assert_eq!(status("DELETE /moved"), 204);
    assert_eq!(status("DELETE /moved"), 404);
    assert!(names(server.root()).is_empty());
    let answer = ask(&server, "OPTIONS /", b"");
    assert_eq!(answer.header("allow"), ALL_METHODS);
    // A page elsewhere writes nothing.
    let answer = ask(&server, "PUT /x\r\nOrigin: http://example.org", b"x");
    assert_eq!(answer.status, 403);
    let guest = Server::with(&["--http", "--upload", "--modify", "--guest", "read"]);
    guest.write("a", "a");
    for head in ["PUT /a", "DELETE /a", "MKCOL /d", "MOVE /a\r\nDestination: /b", &format!("POST /\r\n{FORM}")] {
        assert_eq!(ask(&guest, head, b"").status, 401, "{head}");
    }
    assert_eq!(guest.read("a"), b"a");
}

#[test]
fn a_disk_that_is_full_leaves_the_old_file() {
    let Some(disk) = Mounted::tmpfs("2m") else { return };
    let home = tempfile::tempdir().unwrap();
    let server = Server::http_files_in(&["--upload", "--min-free", "0"], disk.path(), home.path());
    std::fs::write(disk.path().join("a"), "old").unwrap();
    let big = content(4 << 20, 1);
    let answer = ask(&server, "PUT /a", &big);
    assert_eq!(answer.status, 507, "it is said before it comes: {answer:?}");
    let mut http = Scheme::Plain.connect(&server);
    http.send(b"PUT /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    http.try_send(&chunked(&big));
    assert_eq!(http.answer(true).unwrap().status, 507);
    let form = form_of(&[("b", b"b"), ("c", &big)]);
    let answer = ask(&server, &format!("POST /\r\n{FORM}"), &form);
    assert_eq!(answer.status, 507, "{answer:?}");
    assert_eq!(shown(disk.path()), ["a"]);
    let mut http = Scheme::Plain.connect(&server);
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n");
    http.send(head.as_bytes());
    http.try_send(&chunked(&form));
    let answer = http.answer(true).unwrap();
    assert!(answer.status == 507 && answer.text().contains("stored before it: b"), "{answer:?}");
    assert_eq!(std::fs::read(disk.path().join("a")).unwrap(), b"old");
    assert_eq!(shown(disk.path()), ["a", "b"]);
    assert_eq!(ask(&server, "PUT /a", b"new").status, 204);
}

#[test]
fn curl_uploads_files_and_forms() {
    if !is_installed("curl", "--version") {
        return;
    }
    let server = Server::http_files(&["--upload"]);
    let here = tempfile::tempdir().unwrap();
    let bytes = content(3 << 20, 4);
    std::fs::write(here.path().join("a \"b\".bin"), &bytes).unwrap();
    let curl = |args: &[&str]| {
        let mut command = std::process::Command::new("curl");
        command.args(["-sS", "--fail-with-body", "--max-time", "60"]).args(args).current_dir(here.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let url = format!("http://{}/", server.address());
    curl(&["-T", "a \"b\".bin", &url]);
    assert!(server.read("a \"b\".bin") == bytes);
    curl(&["-T", "a \"b\".bin", "-H", "Transfer-Encoding: chunked", &format!("{url}chunked")]);
    assert!(server.read("chunked") == bytes);
    let told = curl(&["-F", "f=@a \"b\".bin;filename=form.bin", "-F", "f=@a \"b\".bin;filename=other.bin", &url]);
    assert_eq!(told, "stored /form.bin\nstored /other.bin\n");
    assert!(server.read("form.bin") == bytes && server.read("other.bin") == bytes);
}

#[test]
fn of_requests_with_one_tag_one_alone_succeeds() {
    let server = Server::http_files(&["--upload"]);
    for round in 0..5 {
        let name = format!("{round}.txt");
        server.write(&name, "old");
        let mut etag = String::new();
        wait_until("the tag is a strong one", || {
            ask(&server, &format!("HEAD /{name}"), b"").header("etag").clone_into(&mut etag);
            etag.starts_with('"')
        });
        let head = format!("PUT /{name}\r\nIf-Match: {etag}");
        let all: Vec<_> = (0..16)
            .map(|at| {
                let (mut http, head) = (Scheme::Plain.connect(&server), head.clone());
                thread::spawn(move || http.ask(&head, &vec![b'a'; 100 + at]).status)
            })
            .collect();
        let statuses: Vec<u16> = all.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
    }
}
