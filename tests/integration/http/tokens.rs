//! Tokens over HTTP: what they give, for how long, and what guesses cost.

use std::net::TcpStream;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::http::{Answer, Http, Scheme, ask};
use crate::harness::machine::Machine;
use crate::harness::{DEADLINE, Server, skip};

/// A machine with a token `ci`, made with these arguments, and the token.
fn with_token(args: &[&str]) -> (Machine, String) {
    let desk = Machine::new();
    let added = desk.run("tcp-server").args(["token", "add", "ci"]).args(args).any_stderr().output();
    let secret = added.text().trim_end().to_owned();
    (desk, secret)
}

fn bearer(secret: &str) -> String {
    format!("Authorization: Bearer {secret}")
}

fn basic(name: &str, secret: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{secret}")))
}

fn get(server: &Server, path: &str, authorization: &str) -> Answer {
    ask(server, &format!("GET {path}\r\n{authorization}"), b"")
}

fn change(desk: &Machine, args: &[&str]) {
    desk.run("tcp-server").args(["token"]).args(args).output();
}

#[test]
fn a_token_reads_as_bearer_and_as_the_password_of_basic() {
    let (desk, secret) = with_token(&["--allow", "read"]);
    let audit = desk.dir.path().join("audit");
    let server = desk.server(&["--http", "--guest", "none", "--audit", audit.to_str().unwrap()]);
    server.write("a.txt", "hello");
    // The name is a person's; the token alone says who it is.
    for authorization in [bearer(&secret), basic("ci", &secret), basic("", &secret), basic("anna", &secret)] {
        let answer = get(&server, "/a.txt", &authorization);
        assert_eq!((answer.status, answer.text()), (200, "hello"), "{authorization}");
    }
    assert_eq!(get(&server, "/a.txt", "Accept: */*").status, 401, "guests get nothing here");
    for wrong in [bearer("landline_AAAAAAAAAAAAAAAAAAAAAA"), basic("ci", ""), basic(&secret, "ci"), bearer("ci")] {
        let answer = get(&server, "/a.txt", &wrong);
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(answer.header("www-authenticate").contains("Basic realm="), "{answer:?}");
        assert!(answer.text().starts_with("this token is not taken here; it is mistyped, removed or expired"));
    }
    // What is written down of it is its name.
    let records = std::fs::read_to_string(&audit).unwrap();
    let record: serde_json::Value = serde_json::from_str(records.lines().next().unwrap()).unwrap();
    assert_eq!((&record["kind"], &record["name"]), (&"token".into(), &"ci".into()), "{record}");
    let list = desk.run("tcp-server").args(["token", "list", "--json"]).output().json();
    assert!(list[0]["last_used"].is_string() && list[0]["last_from"].is_string(), "{list}");
    let log = server.stop().1;
    assert!(log.contains("token ci") && !log.contains(&secret) && !records.contains(&secret), "{log}");
}

#[test]
fn a_wrong_token_is_never_taken_for_a_guest() {
    let (desk, secret) = with_token(&["--allow", "read"]);
    let server = desk.server(&["--http", "--guest", "read"]);
    server.write("a.txt", "hello");
    assert_eq!(get(&server, "/a.txt", "Accept: */*").status, 200);
    assert_eq!(get(&server, "/a.txt", &bearer(&secret)).status, 200);
    change(&desk, &["expires", "ci", "2020-01-01T00:00:00Z"]);
    let expired = get(&server, "/a.txt", &bearer(&secret));
    change(&desk, &["remove", "ci"]);
    let unknown = get(&server, "/a.txt", &bearer(&secret));
    assert_eq!((expired.status, unknown.status), (401, 401));
    assert_eq!(expired.text(), unknown.text(), "which of the two it is, is not told");
    // A list that cannot be read takes no token, and leaves guests alone.
    desk.home().replace("tokens.toml", b"[ci").unwrap();
    assert_eq!(get(&server, "/a.txt", &bearer(&secret)).status, 503);
    assert_eq!(get(&server, "/a.txt", "Accept: */*").status, 200);
}

#[test]
fn a_token_has_its_services_below_its_root() {
    let (desk, secret) = with_token(&["--allow", "read", "--root", "dist"]);
    let server = desk.server(&["--http", "--guest", "none"]);
    server.write("secret.txt", "x");
    server.write("dist/a.txt", "hello");
    let read = |path: &str| get(&server, path, &bearer(&secret));
    assert_eq!(read("/a.txt").text(), "hello");
    for path in ["/secret.txt", "/dist/a.txt", "/../secret.txt", "/%2e%2e/secret.txt"] {
        assert_eq!(read(path).status, 404, "{path}");
    }
    change(&desk, &["root", "ci", "/"]);
    assert_eq!(read("/dist/a.txt").text(), "hello");
    change(&desk, &["allow", "ci", "write"]);
    let refused = read("/dist/a.txt");
    assert_eq!((refused.status, refused.text()), (403, "GET needs the service read, and token ci has write\n"));
}

/// A download that has begun, and what came of its body by the time its connection has ended.
struct Download {
    http: Http,
}

const BIG: u64 = 64 * 1024 * 1024;

impl Download {
    fn begin(server: &Server, secret: &str) -> Self {
        let big = std::fs::File::create(server.root().join("big")).unwrap();
        big.set_len(BIG).unwrap();
        let mut http = Scheme::Plain.connect(server);
        http.send(format!("GET /big HTTP/1.1\r\nHost: localhost\r\n{}\r\n\r\n", bearer(secret)).as_bytes());
        // The head alone: what is not read, the server cannot send.
        let answer = http.any_answer(false).unwrap();
        assert_eq!((answer.status, answer.header("content-length")), (200, &*BIG.to_string()));
        Self { http }
    }

    fn ends_early(mut self, server: &Server) {
        server.wait_for_log("ended: its peer was revoked, or may do less now");
        let came = self.http.rest().len();
        assert!((came as u64) < BIG, "all of it came");
        server.wait_until_all_have_left();
    }
}

#[test]
fn a_download_is_cut_when_its_token_is_removed_narrowed_or_over() {
    for narrow in [
        &["remove", "ci"][..],
        &["allow", "ci", "write"],
        &["root", "ci", "elsewhere"],
        &["expires", "ci", "2020-01-01T00:00:00Z"],
        // The time comes without a change of the file.
        &["expires", "ci", "1s"],
    ] {
        let (desk, secret) = with_token(&["--allow", "read"]);
        let server = desk.server(&["--http", "--guest", "none"]);
        let download = Download::begin(&server, &secret);
        // What leaves it what it needs, leaves it alone.
        change(&desk, &["rename", "ci", "build"]);
        change(&desk, &["rename", "build", "ci"]);
        change(&desk, &["allow", "ci", "read,write"]);
        change(&desk, narrow);
        download.ends_early(&server);
    }
}

#[test]
fn guesses_are_slowed_and_lock_no_one_else_out() {
    let (desk, secret) = with_token(&["--allow", "read"]);
    let server = desk.server(&["--http", "--guest", "read"]);
    server.write("a", "hello");
    let mut http = Scheme::Plain.connect(&server);
    let mut status = |authorization: &str| http.ask(&format!("GET /a\r\n{authorization}"), b"");
    for n in 0..10 {
        assert_eq!(status(&basic(&format!("user{n}"), "wrong")).status, 401, "{n}");
    }
    for authorization in [basic("ci", "wrong"), bearer("wrong"), bearer(&secret), basic("ci", &secret)] {
        let slowed = status(&authorization);
        assert_eq!(slowed.status, 429, "the right one must not be told from a wrong one");
        let wait: u64 = slowed.header("retry-after").parse().unwrap();
        assert!((1..=61).contains(&wait), "{wait}");
        assert!(slowed.text().starts_with("too many wrong tokens came; try again in "), "{slowed:?}");
    }
    assert_eq!(status("Accept: */*").status, 200, "guests are no guessers");
    assert_eq!(Scheme::TlsOwn.connect(&server).ask("GET /a", b"").status, 200, "nor is a key a guess");
    // Where the right one has come from, it goes on coming.
    let server = desk.server(&["--http", "--guest", "read"]);
    server.write("a", "hello");
    let status = |authorization: &str| get(&server, "/a", authorization).status;
    assert_eq!(status(&basic("ci", &secret)), 200);
    for n in 0..20 {
        assert_eq!(status(&basic("ci", "wrong")), 401, "{n}");
    }
    assert_eq!(status(&basic("ci", &secret)), 200);
}

#[test]
fn a_token_is_not_taken_unencrypted_from_another_machine() {
    let Some(outer) = skip::outer_address() else { return };
    let (desk, secret) = with_token(&["--allow", "read"]);
    let ask_at = |server: &Server, scheme: Scheme, authorization: &str| {
        let port = server.address().rsplit(':').next().unwrap();
        let socket = TcpStream::connect(format!("{outer}:{port}")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        scheme.over(socket).ask(&format!("GET /a\r\n{authorization}"), b"")
    };
    let server = desk.server(&["--http", "--guest", "read", "--bind", "0.0.0.0:0"]);
    server.write("a", "hello");
    for secret in [secret.as_str(), "wrong", secret.as_str()] {
        let refused = ask_at(&server, Scheme::Plain, &bearer(secret));
        assert_eq!(refused.status, 403);
        assert!(refused.text().contains("use TLS"), "{refused:?}");
    }
    assert_eq!(ask_at(&server, Scheme::Tls, &bearer(&secret)).text(), "hello");
    assert_eq!(ask_at(&server, Scheme::Plain, "Accept: */*").text(), "hello", "a guest is one all the same");
    assert_eq!(get(&server, "/a", &bearer(&secret)).text(), "hello", "nobody listens on loopback");
    let log = server.stop().1;
    assert_eq!(log.matches("this token came unencrypted from another machine").count(), 1, "told once: {log}");
    assert!(log.contains("token=ci") || log.contains("token=\"ci\""), "{log}");
    let server = desk.server(&["--http", "--guest", "read", "--bind", "0.0.0.0:0", "--insecure"]);
    server.write("a", "hello");
    assert_eq!(ask_at(&server, Scheme::Plain, &bearer(&secret)).text(), "hello");
    assert_eq!(ask_at(&server, Scheme::Plain, &bearer("wrong")).status, 401);
}

#[test]
fn a_client_of_a_proxy_sends_its_token_through_tls_too() {
    let (desk, secret) = with_token(&["--allow", "read"]);
    let server = desk.server(&["--http", "--guest", "none", "--trusted-proxy", "127.0.0.1"]);
    server.write("a", "hello");
    let through = |lines: &str| get(&server, "/a", &format!("{}\r\n{lines}", bearer(&secret)));
    for (lines, status) in [
        ("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https", 200),
        ("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http", 403),
        ("X-Forwarded-For: 192.0.2.7", 403),
        ("X-Forwarded-For: 127.0.0.1", 200),
    ] {
        assert_eq!(through(lines).status, status, "{lines}");
    }
    // Guesses count for the client, not for the proxy.
    let guess = |client: &str| {
        let lines = format!("{}\r\nX-Forwarded-For: {client}\r\nX-Forwarded-Proto: https", bearer("wrong"));
        get(&server, "/a", &lines).status
    };
    assert_eq!((0..11).map(|_| guess("192.0.2.8")).collect::<Vec<_>>(), [vec![401; 10], vec![429]].concat());
    assert_eq!(guess("192.0.2.9"), 401);
}

#[test]
fn http_files_takes_a_token_that_it_prints_or_one_of_a_file() {
    let server = Server::http_files(&["--auth", "phone"]);
    server.write("a", "hello");
    let line = loop {
        let line = server.next_output();
        if line.contains("token") {
            break line;
        }
    };
    let said = line.strip_prefix("http-files: sign in as phone with the token ").expect(&line);
    let secret = said.split(',').next().unwrap();
    assert!(secret.starts_with("landline_"), "{line}");
    assert_eq!(get(&server, "/a", &basic("phone", secret)).text(), "hello");
    assert_eq!(get(&server, "/a", "Accept: */*").status, 401);
    assert_eq!(get(&server, "/a", &bearer("wrong")).status, 401);
    let dir = tempfile::tempdir().unwrap();
    let file = |text: &str, mode: u32| {
        let path = dir.path().join("secret");
        std::fs::write(&path, text).unwrap();
        crate::harness::files::set_mode(&path, mode);
        path
    };
    let auth = |path: &Path| ["--auth-file".to_owned(), path.to_str().unwrap().to_owned()];
    let path = file("correct horse battery\n", 0o600);
    let server = Server::http_files(&auth(&path).each_ref().map(String::as_str));
    server.write("a", "hello");
    assert_eq!(get(&server, "/a", &basic("me", "correct horse battery")).text(), "hello");
    assert_eq!(get(&server, "/a", &basic("me", "correct horse batterz")).status, 401);
    for (text, mode, why) in [
        ("hunter2\n", 0o600, "its first line has 7 characters, and a secret takes at least 16"),
        ("correct horse battery\n", 0o644, "mode 0644 lets other users in"),
    ] {
        let refused = crate::harness::Run::new("http-files").args([dir.path()]).args(auth(&file(text, mode))).code(1);
        refused.stderr(why).prints("");
    }
    let refused = crate::harness::Run::new("http-files").args(["--auth", "my phone"]).code(2);
    refused.stderr("--auth: \"my phone\" cannot be a token's name").prints("");
}
