//! File downloads for the tutorials' clients: `size` and `close`.

use std::time::{Duration, Instant};

use super::Conn;
use crate::harness::Server;

fn server(wire: &str) -> Server {
    Server::with(&["--guest", "read", "--wire", wire])
}

/// Asks for a file of `size` bytes; how long it took tells whether there was a pause.
fn fetch_sized(conn: &mut Conn, name: &str, size: usize) -> (Vec<u8>, Duration) {
    let asked = Instant::now();
    conn.send(name);
    let mut digits = vec![0; size.to_string().len()];
    std::io::Read::read_exact(&mut conn.0, &mut digits).unwrap();
    assert_eq!(String::from_utf8(digits).unwrap(), size.to_string());
    let bytes = conn.recv_all(size);
    (bytes, asked.elapsed())
}

#[test]
fn size_says_the_size_pauses_and_sends_and_stays_open() {
    let server = server("size");
    let video: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    server.write("v.mp4", &video);
    server.write("目录/数.txt", "123 begins with digits\n");
    let mut conn = Conn::to(&server);
    let (bytes, took) = fetch_sized(&mut conn, "v.mp4", video.len());
    assert!(bytes == video);
    assert!(took >= Duration::from_millis(90), "their client reads once for the size: {took:?}");
    assert_eq!(fetch_sized(&mut conn, "目录/数.txt", 23).0, b"123 begins with digits\n");
}

#[test]
fn a_file_that_is_not_there_is_size_0_and_the_connection_goes_on() {
    let server = server("size");
    server.write("a", "x");
    server.write("empty", "");
    let mut conn = Conn::to(&server);
    for name in ["missing", "..", "../a", "/etc/passwd", "."] {
        // Size 0 to their clients, and told from an empty file by ours.
        assert_eq!(conn.ask(name), "00", "{name}");
    }
    assert_eq!(conn.ask("empty"), "0");
    assert_eq!(fetch_sized(&mut conn, "a", 1).0, b"x");
}

#[test]
fn close_sends_the_bytes_and_closes() {
    let server = server("close");
    let content = b"\0\x01binary\xff".repeat(5_000);
    server.write("sub/f", &content);
    let mut conn = Conn::to(&server);
    conn.send("sub/f");
    assert!(conn.recv_all(content.len()) == content);
    assert_eq!(conn.recv(), b"");
}

#[test]
fn close_says_nothing_of_a_file_that_is_not_there() {
    let server = server("close");
    for name in ["missing", "../x", "/etc/passwd"] {
        let mut conn = Conn::to(&server);
        conn.send(name);
        assert_eq!(conn.recv(), b"", "{name}");
    }
}

#[test]
fn a_client_that_reads_once_and_leaves_hurts_no_other() {
    let server = server("close");
    server.write("big", vec![7; 8 << 20]);
    server.write("small", "after");
    let mut conn = Conn::to(&server);
    conn.send("big");
    assert!(!conn.recv().is_empty());
    drop(conn);
    let mut conn = Conn::to(&server);
    assert_eq!(conn.ask("small"), "after");
}

#[test]
fn a_web_page_cannot_fetch_a_file() {
    let server = server("close");
    server.write("GET x", "secret");
    let mut conn = Conn::to(&server);
    conn.send("GET x");
    let reply = conn.recv();
    assert!(reply.starts_with(b"HTTP/1.1 400 ") || reply.is_empty(), "{reply:?}");
    for wire in ["size", "close"] {
        let server = self::server(wire);
        for name in ["SEARCH x HTTP", "a\r\nHost: x"] {
            server.write(&format!("{name}/1.1"), "secret");
            let mut conn = Conn::to(&server);
            conn.send(format!("{name}/1.1"));
            let reply = conn.recv();
            assert!(reply.starts_with(b"HTTP/1.1 400 ") || reply.is_empty(), "{wire}: {reply:?}");
        }
    }
}

#[test]
fn a_name_with_a_nul_is_no_name() {
    for wire in ["size", "close"] {
        let server = server(wire);
        server.write("a", "secret");
        let mut conn = Conn::to(&server);
        conn.send("a\0.txt");
        assert!(conn.is_hung_up_on(), "{wire}");
    }
}
