//! Requests and answers on both doors: `http-files`, and `tcp-server --http`.

use std::io::{BufRead as _, Read as _, Write as _};

use crate::harness::http::{Scheme, ask};
use crate::harness::{Run, Server, own_home, program, wait_until};

#[test]
fn both_programs_serve_files_plain_and_encrypted() {
    for server in [Server::http_files(&[]), Server::with(&["--http", "--guest", "read"])] {
        server.write("a b.txt", "hello");
        for scheme in [Scheme::Plain, Scheme::Tls, Scheme::TlsOwn] {
            let mut http = scheme.connect(&server);
            for _ in 0..2 {
                let answer = http.ask("GET /a%20b.txt", b"");
                assert_eq!((answer.status, answer.text()), (200, "hello"), "{scheme:?}");
            }
            let answer = http.ask("HEAD /a%20b.txt", b"");
            assert_eq!((answer.status, answer.header("content-length"), answer.text()), (200, "5", ""));
            assert_eq!(http.ask("GET /none", b"").status, 404);
        }
    }
}

#[test]
fn guests_of_a_server_for_peers_are_told_to_sign_in() {
    let server = Server::with(&["--http", "--guest", "echo"]);
    server.write("a.txt", "hello");
    let answer = ask(&server, "GET /a.txt", b"");
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").contains("Basic realm="), "{answer:?}");
    assert_eq!(Scheme::TlsOwn.connect(&server).ask("GET /a.txt", b"").text(), "hello");
    // Frames are served as before, on the same port.
    Run::new("fget").args(["-q", &server.remote("a.txt"), "-"]).prints("hello");
}

#[test]
fn headers_of_the_operator_take_the_place_of_ours_and_all_are_sent() {
    let server =
        Server::http_files(&["--header", "Referrer-Policy: origin", "--header", "X-A: 1", "--header", "X-A: 2"]);
    server.write("a", "x");
    let answer = ask(&server, "GET /a", b"");
    assert_eq!((answer.header("referrer-policy"), answer.header("x-a")), ("origin", "1, 2"));
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = Server::http_files(&[]);
    (0..20).for_each(|number| drop(server.write(&format!("{number}"), format!("body {number}"))));
    let mut http = Scheme::Plain.connect(&server);
    let request = |number: i32| format!("GET /{number} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    http.send((0..20).map(request).collect::<Vec<_>>().concat().as_bytes());
    for number in 0..20 {
        assert_eq!(http.answer(true).unwrap().text(), format!("body {number}"));
    }
    http.send(
        b"GET /1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert_eq!(http.answer(true).unwrap().text(), "body 1");
    assert!(http.is_closed());
}

#[test]
fn a_request_may_come_a_byte_at_a_time() {
    let server = Server::http_files(&[]);
    server.write("a", "hello");
    let mut http = Scheme::Plain.connect(&server);
    for byte in b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        http.send(&[*byte]);
        http.stream.flush().unwrap();
    }
    assert_eq!(http.answer(true).unwrap().text(), "hello");
}

#[test]
fn only_hosts_of_this_machine_are_meant() {
    let server = Server::http_files(&["--host", "files.example"]);
    server.write("a", "hello");
    let status = |host: &str| {
        let mut http = Scheme::Plain.connect(&server);
        http.send(format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        http.answer(true).unwrap().status
    };
    let (address, _) = server.address().rsplit_once(':').unwrap();
    for own in ["localhost", "localhost:1", "a.localhost", "files.example", "FILES.example:80", address] {
        assert_eq!(status(own), 200, "{own}");
    }
    for foreign in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0", "192.0.2.1"] {
        assert_eq!(status(foreign), 421, "{foreign}");
    }
}

#[test]
fn a_page_elsewhere_gets_nothing_on_loopback_but_to_lead_a_person_here() {
    let server = Server::http_files(&["--cors", "https://app.example"]);
    server.write("a", "hello");
    let status = |lines: &str| ask(&server, &format!("GET /a\r\n{lines}"), b"").status;
    assert_eq!(status("Sec-Fetch-Site: same-origin"), 200);
    assert_eq!(status("Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document"), 200);
    assert_eq!(status("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document"), 200);
    for foreign in [
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe",
        "Origin: https://evil.example",
        "Origin: null",
    ] {
        assert_eq!(status(foreign), 403, "{foreign}");
    }
    let listed = ask(&server, "GET /a\r\nOrigin: https://app.example\r\nSec-Fetch-Site: cross-site", b"");
    assert_eq!((listed.status, listed.header("access-control-allow-origin")), (200, "https://app.example"));
    assert!(listed.header("vary").contains("Origin"));
}

#[test]
fn plain_requests_are_redirected_where_tls_is_wanted() {
    let server = Server::http_files(&["--tls"]);
    server.write("a", "hello");
    let answer = ask(&server, "GET /a?b=c", b"");
    assert_eq!((answer.status, answer.header("location")), (308, "https://localhost/a?b=c"));
    assert_eq!(Scheme::Tls.connect(&server).ask("GET /a", b"").text(), "hello");
}

#[test]
fn names_of_any_bytes_and_hidden_ones() {
    let server = Server::http_files(&[]);
    server.write(".secret", "x");
    server.write(".dir/file", "x");
    server.write("#?%&+é", "hello");
    std::fs::write(server.root().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff")), "raw")
        .unwrap();
    assert_eq!(ask(&server, "GET /%23%3F%25%26+%C3%A9", b"").text(), "hello");
    assert_eq!(ask(&server, "GET /%ff", b"").text(), "raw");
    for path in ["/.secret", "/.dir/file", "/%2esecret", "/../etc/passwd", "/%2e%2e/etc/passwd", "/a%00"] {
        let status = ask(&server, &format!("GET {path}"), b"").status;
        assert!(status == 404 || path == "/a%00" && status == 400, "{path}: {status}");
    }
    let shown = Server::http_files(&["--hidden"]);
    shown.write(".secret", "x");
    assert_eq!(ask(&shown, "GET /.secret", b"").text(), "x");
}

#[test]
fn a_reader_that_leaves_behind_the_ready_line_does_not_end_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let ready = format!("http-files: ready on unix:{}\n", socket.display());
    // A pipe with room for the ready line, and for no more: the next line waits until its reader leaves.
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let len = rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    let filled = vec![b'.'; len - ready.len() - 1];
    rustix::io::write(&writer, &filled).unwrap();
    let mut child = std::process::Command::new(program("http-files"))
        .args([dir.path().to_str().unwrap(), "--auth", "me", "--bind", &format!("unix:{}", socket.display())])
        .env("LANDLINE_HOME", own_home())
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let there = filled.len() + ready.len();
    wait_until("it is ready", || rustix::io::ioctl_fionread(&reader).unwrap() == there as u64);
    drop(reader);
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("standard output is closed") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it has ended");
    }
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    child.kill().unwrap();
    child.wait().unwrap();
}
