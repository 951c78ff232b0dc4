//! HTTP by hand, as the tutorials have it: the page of the first one, in place of its server and for our client, and the
//! GET of the third file's scripts.

use super::{Conn, script};
use crate::harness::{Run, Server};

const PAGE: &str = "<h1 style='color:red'>Hello, data</h1>";
const ANSWER: &str = "HTTP/1.1 200 OK\r\n\r\n<h1 style='color:red'>Hello, data</h1>";

/// What the script `http_req.py` sends.
fn get(path: &str, host: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost:{host}\r\nConnection:close\r\nUser-Agent:Mozilla/5.0 (Macintosh; Intel Mac OS X \
         10_13_6) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/69.0.3497.100 Safari/537.36\r\n\r\n"
    )
}

/// Its loop: all that comes until the other end closes.
fn until_closed(conn: &mut Conn) -> String {
    let mut all = Vec::new();
    loop {
        let piece = conn.recv();
        if piece.is_empty() {
            return String::from_utf8(all).unwrap();
        }
        all.extend(piece);
    }
}

#[test]
fn any_request_gets_the_page_and_the_end() {
    let server = Server::with(&["--wire", "http"]);
    let browsers = format!("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: {}\r\n\r\n", "x".repeat(979));
    assert_eq!(browsers.len(), 1_024);
    for request in [&*get("/", "localhost"), "hi", "G", "POST / HTTP/1.0\r\n\r\n", "a\0b", &"x".repeat(1024), &browsers]
    {
        let mut conn = Conn::to(&server);
        conn.send(request);
        assert_eq!(until_closed(&mut conn), ANSWER, "{request:?}");
    }
    // Frames are served beside it.
    Run::new("tcp-client").args([server.address()]).stdin("echo hi\n").prints("hi\n");
    let server = Server::with(&["--wire", "http", "--text", "<p>你好", "--encoding", "gbk"]);
    let mut conn = Conn::to(&server);
    conn.send(get("/", "localhost"));
    assert_eq!(conn.recv(), b"HTTP/1.1 200 OK\r\n\r\n<p>\xc4\xe3\xba\xc3");
}

#[test]
fn our_client_reads_the_page_from_their_server_and_from_ours() {
    // Two sends and a close, as it is written.
    let theirs = script(|mut client| {
        if client.request().is_some() {
            client.send("HTTP/1.1 200 OK\r\n\r\n");
            client.send(PAGE);
        }
    });
    let ours = Server::with(&["--wire", "http"]);
    for address in [theirs.address.as_str(), ours.address()] {
        Run::new("http-get").args(["-q", &format!("http://{address}/")]).prints(PAGE);
    }
    let shown = Run::new("http-get").args(["-v", &format!("http://{}/", theirs.address)]).any_stderr().output();
    assert_eq!(shown.text(), PAGE);
    assert!(shown.stderr.contains("until the connection ends") || shown.stderr.contains("end of the connection"));
}

#[test]
fn their_get_by_hand_reads_what_our_servers_serve() {
    for server in [Server::http_files(&[]), Server::with(&["--http", "--guest", "read"])] {
        server.write("page.html", "<p>你好</p>");
        let mut conn = Conn::to(&server);
        conn.send(get("/page.html", server.address()));
        let answer = until_closed(&mut conn);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("\r\nContent-Length: 13\r\n") || answer.contains("\r\ncontent-length: 13\r\n"),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n<p>你好</p>"), "{answer}");
    }
}

#[test]
fn it_is_a_page_and_nothing_else() {
    for (args, why) in [
        (&["--wire", "http", "--reply", "exec"][..], "it goes with --reply fixed and --text"),
        (&["--wire", "http", "--reply", "echo"], "it goes with --reply fixed and --text"),
        (&["--wire", "http", "--bye", "x"], "it goes with --reply fixed and --text"),
        (&["--wire", "http", "--reply", "files"], "they go with --reply files"),
        (&["--wire", "http", "--http"], "--http serves HTTP already: leave --wire http out"),
    ] {
        let run = Run::new("tcp-server").args(["--bind", "127.0.0.1:0", "--guest", "echo"]).args(args);
        run.code(2).stderr(why).prints("");
    }
    for (program, args) in [("tcp-client", &["x:1"][..]), ("rexec", &["x:1", "true"]), ("fget", &["x:1:f", "."])] {
        let run = Run::new(program).args(["--wire", "http"]).args(args);
        run.code(if program == "rexec" { 252 } else { 2 }).stderr("http-get").prints("");
    }
}
