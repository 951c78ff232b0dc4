//! `http-files --auth`: who has the token comes in, and nobody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::http::{Scheme, ask};
use crate::harness::{Run, Server};

fn basic(name: &str, secret: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{secret}")))
}

/// The token that the server has printed.
fn printed(server: &Server) -> String {
    loop {
        let line = server.next_output();
        if let Some((_, secret)) = line.split_once("with the token ") {
            return secret.split(',').next().unwrap().to_owned();
        }
    }
}

#[test]
fn a_printed_token_opens_the_directory() {
    let server = Server::http_files(&["--auth", "phone"]);
    let secret = printed(&server);
    server.write("a.txt", "hello");
    let status = |lines: &str| ask(&server, &format!("GET /a.txt\r\n{lines}"), b"").status;
    assert_eq!(status(""), 401);
    assert_eq!(status(&format!("Authorization: Bearer {secret}")), 200);
    assert_eq!(status(&basic("phone", &secret)), 200);
    assert_eq!(status(&basic("anybody", &secret)), 200);
    assert_eq!(status(&basic("phone", "wrong")), 401);
    assert_eq!(status("Authorization: Digest x"), 401);
    let answer = ask(&server, &format!("GET /a.txt\r\n{}", basic("phone", &secret)), b"");
    assert_eq!((answer.text(), answer.header("cache-control")), ("hello", "private, no-cache"));
    // The log has the name, and not the secret.
    let log = server.wait_for_log("token phone");
    assert!(!log.contains(&secret), "{log}");
}

#[test]
fn a_page_elsewhere_profits_from_no_password_that_its_reader_has() {
    let server = Server::with(&["--http", "--guest", "none", "--cors", "https://app.example"]);
    server.write("a.txt", "hello");
    let status = |lines: &str| Scheme::TlsOwn.connect(&server).ask(&format!("GET /a.txt\r\n{lines}"), b"").status;
    assert_eq!(status(""), 200);
    // An origin that may read, may read as a guest does, also with the reader's certificate.
    assert_eq!(status("Origin: https://app.example\r\nSec-Fetch-Site: cross-site"), 401);
    assert_eq!(status("Sec-Fetch-Site: cross-site"), 403);
    // A link that a person follows shows the person what is theirs.
    assert_eq!(status("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document"), 200);
}

#[test]
fn a_token_of_a_file_is_long_enough_and_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let write = |text: &str, mode| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let file = path.to_str().unwrap();
    for (text, mode) in [("too short\n", 0o600), ("correct horse battery staple\n", 0o644)] {
        write(text, mode);
        let refused = Run::new("http-files").args(["--auth-file", file, "--bind", "127.0.0.1:0"]).code(1).any_stderr();
        assert_eq!(refused.output().text(), "");
    }
    write("correct horse battery staple\nsecond line\n", 0o600);
    let server = Server::http_files(&["--auth-file", file, "--upload"]);
    server.write("a.txt", "hello");
    let status = |secret: &str| ask(&server, &format!("GET /a.txt\r\n{}", basic("me", secret)), b"").status;
    assert_eq!(status("correct horse battery staple"), 200);
    assert_eq!(status("correct horse battery stapl"), 401);
}

#[test]
fn what_would_be_open_to_a_network_wants_the_word_for_it() {
    for (args, why) in [
        (&["--upload"][..], "everyone who can reach"),
        (&["--drop-box"], "everyone who can reach"),
        (&["--auth", "x"], "unencrypted"),
    ] {
        let all = [&["--bind", "0.0.0.0:0"], args].concat();
        assert_eq!(Run::new("http-files").args(all).code(2).stderr(why).output().text(), "", "{args:?}");
    }
}
