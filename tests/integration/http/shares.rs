//! Links and sessions: what a browser gets for a link, for how long, and what nobody else gets.

use std::time::Duration;

use landline::trust::time::Moment;
use landline::trust::tokens::shares::{LinkOptions, make_link};

use crate::harness::Server;
use crate::harness::http::{Answer, Http, Scheme, ask};
use crate::harness::machine::Machine;

const CHROME: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// What a link gives in these tests, for the root of `server`.
fn options(server: &Server, services: &str, uses: u32) -> LinkOptions {
    LinkOptions {
        name: None,
        services: services.parse().unwrap(),
        root: None,
        directory: server.root().canonicalize().unwrap().to_str().unwrap().to_owned(),
        uses,
        expires: Moment::now().after(Duration::from_hours(1)).unwrap(),
        may_come_plain: false,
    }
}

/// The secret of a new link.
fn link(desk: &Machine, options: &LinkOptions) -> String {
    make_link(&desk.home(), options).unwrap().1.as_str().to_owned()
}

fn files(desk: &Machine, args: &[&str]) -> Server {
    Server::http_files_at(&[&["--auth", "owner"], args].concat(), Some(&desk.home_path()))
}

fn sign_in(server: &Server, token: &str, lines: &str) -> Answer {
    sign_in_over(&mut Scheme::Plain.connect(server), token, lines)
}

fn sign_in_over(http: &mut Http, token: &str, lines: &str) -> Answer {
    http.ask(&format!("POST /?sign-in\r\n{CHROME}\r\n{FORM}\r\n{lines}"), format!("token={token}").as_bytes())
}

/// The cookie that an answer sets, as a browser sends it back.
fn cookie(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.header("location")), (303, "./"), "{answer:?}");
    let pair = answer.header("set-cookie").split(';').next().unwrap();
    assert!(pair.split_once('=').unwrap().1.starts_with("landline_"), "{answer:?}");
    format!("Cookie: {pair}")
}

fn get(server: &Server, path: &str, lines: &str) -> Answer {
    ask(server, &format!("GET {path}\r\n{lines}"), b"")
}

#[test]
fn a_link_shows_a_button_and_its_form_gives_a_cookie() {
    let desk = Machine::new();
    let server = files(&desk, &["--upload"]);
    server.write("a.txt", "hello");
    let token = link(&desk, &options(&server, "read,write", 1));
    // Whoever looks at the link before a person does burns nothing, and learns nothing of it.
    let looked = get(&server, &format!("/?share={token}"), CHROME);
    for method in ["GET", "HEAD"] {
        for (path, lines) in [(format!("/?share={token}"), CHROME), (format!("/?share={token}"), "Accept: */*")] {
            let page = ask(&server, &format!("{method} {path}\r\n{lines}"), b"");
            assert_eq!(page.status, 200);
            for (name, value) in
                [("referrer-policy", "strict-origin"), ("cache-control", "no-store"), ("x-robots-tag", "noindex")]
            {
                assert_eq!(page.header(name), value, "{page:?}");
            }
            assert_eq!(page.header("set-cookie"), "");
        }
    }
    let other = get(&server, "/?share=landline_AAAAAAAAAAAAAAAAAAAAAA", CHROME);
    assert_eq!(looked.text().replace(&token, "landline_AAAAAAAAAAAAAAAAAAAAAA"), other.text());
    assert_eq!(looked.headers, other.headers);
    assert!(looked.text().contains(r#"<form method="post" action="./?sign-in">"#), "{}", looked.text());
    // The token alone opens nothing.
    assert_eq!(get(&server, "/a.txt", &format!("Authorization: Bearer {token}")).status, 401);
    assert_eq!(get(&server, "/a.txt", &format!("Cookie: landline-80={token}")).status, 401);
    let signed_in = sign_in(&server, &token, "Origin: http://localhost\r\nSec-Fetch-Site: same-origin");
    let set = signed_in.header("set-cookie");
    let seconds: u64 = set.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&seconds) && set.ends_with("; HttpOnly; SameSite=Lax"), "{set}");
    assert!(set.starts_with("landline-80=") && set.contains("; Path=/;"), "{set}");
    let cookie = cookie(&signed_in);
    let answer = get(&server, "/a.txt", &cookie);
    assert_eq!((answer.text(), answer.header("cache-control")), ("hello", "private, no-cache"));
    assert_eq!(ask(&server, &format!("PUT /b.txt\r\n{cookie}"), b"mine").status, 201);
    // It was for one; who is in with it already is in.
    let late = sign_in(&server, &token, "");
    assert_eq!((late.status, late.header("set-cookie")), (403, ""));
    assert!(late.text().contains("<h1>This link does not work</h1>"), "{}", late.text());
    assert_eq!(sign_in(&server, &token, &cookie).status, 303);
    let log = server.wait_for_log("session share-1-1");
    let value = cookie.split('=').nth(1).unwrap();
    assert!(!log.contains(&token) && !log.contains(value) && log.contains("/?share=..."), "{log}");
}

#[test]
fn signing_out_ends_the_session_and_forgets_the_cookie() {
    let desk = Machine::new();
    let server = files(&desk, &[]);
    server.write("a.txt", "hello");
    let token = link(&desk, &options(&server, "read", 1));
    let mut http = Scheme::Plain.connect(&server);
    let cookie = cookie(&sign_in_over(&mut http, &token, ""));
    assert_eq!(http.ask(&format!("GET /a.txt\r\n{cookie}"), b"").text(), "hello");
    let out = http.ask(&format!("POST /?sign-out\r\n{cookie}"), b"");
    assert_eq!((out.status, out.header("location")), (303, "./"));
    assert!(out.header("set-cookie").starts_with("landline-80=; Path=/; Max-Age=0;"), "{out:?}");
    // The very connection on which it was let in knows it no more.
    let ended = http.ask(&format!("GET /a.txt\r\n{cookie}"), b"");
    assert_eq!(ended.status, 401);
    assert!(ended.header("set-cookie").starts_with("landline-80=; Path=/; Max-Age=0;"), "{ended:?}");
    assert_eq!(ended.header("www-authenticate"), "Bearer realm=\"landline\"", "no dialogue of the browser's");
    assert!(ended.text().starts_with("your access has ended; open a new link"));
    let page = get(&server, "/docs/?x", &format!("{cookie}\r\n{CHROME}"));
    assert!(page.text().contains("<h1>Your access has ended</h1>"), "{}", page.text());
    assert!(page.text().contains(r#"action="../?sign-in""#), "{}", page.text());
    // A page elsewhere ends none.
    let token = link(&desk, &options(&server, "read", 1));
    let cookie = self::cookie(&sign_in(&server, &token, ""));
    let foreign = ask(&server, &format!("POST /?sign-out\r\n{cookie}\r\nOrigin: http://evil.example"), b"");
    assert_eq!((foreign.status, get(&server, "/a.txt", &cookie).status), (403, 200));
    assert_eq!(ask(&server, "POST /?sign-out", b"").status, 303, "nothing to end");
}

#[test]
fn browsers_get_a_page_and_every_other_client_what_it_understands() {
    let desk = Machine::new();
    let server = files(&desk, &[]);
    for (lines, is_page, has_basic) in [
        (CHROME, true, false),
        (&*format!("{CHROME}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none"), true, false),
        ("Accept: */*\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin", false, false),
        ("Accept: */*", false, true),
        ("User-Agent: gvfs/1.57.2", false, true),
        ("User-Agent: Microsoft-WebDAV-MiniRedir/10.0.19043", false, true),
    ] {
        let answer = get(&server, "/d/a.txt", lines);
        assert_eq!(answer.status, 401, "{lines}");
        assert_eq!(answer.header("content-type").starts_with("text/html"), is_page, "{lines}");
        let challenge = answer.header("www-authenticate");
        assert_eq!((challenge.contains("Basic"), challenge.contains("Bearer")), (has_basic, true), "{lines}");
        if is_page {
            assert!(answer.text().contains("<h1>Sign in</h1>") && answer.text().contains("name=\"token\""));
            assert_eq!(answer.header("cache-control"), "no-store");
        }
    }
    let page = get(&server, "/?sign-in", CHROME);
    assert_eq!((page.status, page.text().contains("name=\"token\"")), (200, true));
}

#[test]
fn a_token_that_a_person_types_gives_a_session_that_ends_with_it() {
    let desk = Machine::new();
    let added = desk.run("tcp-server").args(["token", "add", "ci", "--allow", "read", "--root", "in"]).any_stderr();
    let token = added.output().text().trim_end().to_owned();
    let server = files(&desk, &["--upload"]);
    server.write("in/a.txt", "hello");
    let cookie = cookie(&sign_in(&server, &token, ""));
    assert_eq!(get(&server, "/a.txt", &cookie).text(), "hello");
    // What it may do is the token's affair.
    desk.run("tcp-server").args(["token", "root", "ci", "/"]).output();
    assert_eq!(get(&server, "/in/a.txt", &cookie).text(), "hello");
    desk.run("tcp-server").args(["token", "remove", "ci"]).output();
    assert_eq!(get(&server, "/in/a.txt", &cookie).status, 401);
    // Also one that the server has made for itself, or its link around it.
    let line = loop {
        let line = server.next_output();
        if line.contains("with the token ") {
            break line;
        }
    };
    let own = line.split("with the token ").nth(1).unwrap().split(',').next().unwrap();
    let own = self::cookie(&sign_in(&server, &format!("+http%3A%2F%2Flocalhost%2F%3Fshare%3D{own}+"), ""));
    assert_eq!(get(&server, "/in/a.txt", &own).text(), "hello");
    let out = ask(&server, &format!("POST /?sign-out\r\n{own}"), b"");
    assert_eq!((out.status, get(&server, "/in/a.txt", &own).status), (303, 401));
}

#[test]
fn a_session_outlives_its_server_and_opens_no_other_directory() {
    let desk = Machine::new();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&one, &other] {
        std::fs::write(dir.path().join("a.txt"), "hello").unwrap();
    }
    let serve = |dir: &std::path::Path| Server::http_files_in(&["--auth", "owner"], dir, desk.dir.path());
    let server = serve(one.path());
    let directory = one.path().canonicalize().unwrap().to_str().unwrap().to_owned();
    let wish = LinkOptions { directory, uses: 2, ..options(&server, "read", 2) };
    let token = link(&desk, &wish);
    let cookie = cookie(&sign_in(&server, &token, ""));
    assert_eq!(get(&server, "/a.txt", &cookie).status, 200);
    drop(server);
    let again = serve(one.path());
    assert_eq!(get(&again, "/a.txt", &cookie).text(), "hello");
    let elsewhere = serve(other.path());
    assert_eq!(get(&elsewhere, "/a.txt", &cookie).status, 401);
    assert_eq!(sign_in(&elsewhere, &token, "").status, 403);
    assert_eq!(sign_in(&again, &token, "").status, 303, "and it was not used up there");
}

#[test]
fn a_form_that_is_none_or_too_long_is_refused() {
    let desk = Machine::new();
    let server = files(&desk, &[]);
    let post = |lines: &str, body: &[u8]| ask(&server, &format!("POST /?sign-in\r\n{lines}"), body).status;
    assert_eq!(post(FORM, b"token=x"), 403);
    assert_eq!(post(FORM, b"other=x"), 403);
    assert_eq!(post(FORM, b""), 403);
    assert_eq!(post("Content-Type: text/plain", b"token=x"), 415);
    assert_eq!(post("Accept: */*", b"token=x"), 415);
    assert_eq!(post(FORM, &[b'x'; 8193]), 413);
    let chunked = format!("{FORM}\r\nTransfer-Encoding: chunked\r\nContent-Length-None: content-length");
    assert_eq!(post(&chunked, &[b"2001\r\n", &[b'x'; 0x2001][..], b"\r\n0\r\n\r\n"].concat()), 413);
    for path in ["/d/?sign-in", "/?sign-inn", "/x?sign-out"] {
        assert_eq!(ask(&server, &format!("POST {path}\r\n{FORM}"), b"token=x").status, 405, "{path}");
    }
}
