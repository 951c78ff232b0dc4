//! Links and sessions: what a browser gets for a link, for how long, and what no other client gets.

use std::time::{Duration, Instant};

use landline::trust::list::{Edit, edit};
use landline::trust::time::Moment;
use landline::trust::tokens::Token;
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

/// As [`cookie`], of a page that came through TLS to a proxy.
fn cookie_over_tls(answer: &Answer) -> String {
    let cookie = cookie(answer);
    assert!(cookie.starts_with("Cookie: __Host-landline-443="), "{cookie}");
    cookie
}

/// The token that a server has made for itself.
fn own_token(server: &Server) -> String {
    let line = loop {
        let line = server.next_output();
        if line.contains("with the token ") {
            break line;
        }
    };
    line.split("with the token ").nth(1).unwrap().split(',').next().unwrap().to_owned()
}

/// The nonce of a link's page.
fn nonce_of(page: &Answer) -> String {
    let (_, nonce) = page.text().split_once(r#"name="nonce" value=""#).expect("a nonce");
    nonce.split('"').next().unwrap().to_owned()
}

fn get(server: &Server, path: &str, lines: &str) -> Answer {
    ask(server, &format!("GET {path}\r\n{lines}"), b"")
}

#[test]
fn a_link_shows_a_button_and_its_form_gives_a_cookie() {
    let desk = Machine::new();
    let server = files(&desk, &["--upload"]);
    server.write("a.txt", "hello");
    let made = Instant::now();
    let token = link(&desk, &options(&server, "read,write", 1));
    // What looks at the link before a person does burns nothing, and learns nothing of it.
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
    // But for the nonce of each page, which is another each time.
    let same = |page: &Answer, token: &str| page.text().replace(&nonce_of(page), "").replace(token, "");
    assert_eq!(same(&looked, &token), same(&other, "landline_AAAAAAAAAAAAAAAAAAAAAA"));
    assert_ne!(nonce_of(&looked), nonce_of(&other));
    // A second may have begun between the two.
    let headers = |mut page: Answer| {
        page.headers.remove("date");
        page.headers
    };
    assert_eq!(headers(looked.clone()), headers(other));
    assert!(looked.text().contains(r#"<form method="post" action="./?sign-in">"#), "{}", looked.text());
    // The token alone opens nothing.
    assert_eq!(get(&server, "/a.txt", &format!("Authorization: Bearer {token}")).status, 401);
    assert_eq!(get(&server, "/a.txt", &format!("Cookie: landline-80={token}")).status, 401);
    let signed_in = sign_in(&server, &token, "Origin: http://localhost\r\nSec-Fetch-Site: same-origin");
    let set = signed_in.header("set-cookie");
    let seconds: u64 = set.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    // The hour began when the link was made; a moment is a whole second.
    let left = 3598 - made.elapsed().as_secs()..=3600;
    assert!(left.contains(&seconds) && set.ends_with("; HttpOnly; SameSite=Lax"), "{set}");
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
    assert!(page.text().contains(r#"action="../?sign-in&#38;to=/docs/%3Fx""#), "{}", page.text());
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
    // Where to go behind it is on this server, or the root.
    for (to, has) in [("/d/a.txt%3Fview", true), ("//evil.example", false), ("/%5Cevil.example", false), ("x:y", false)]
    {
        let page = get(&server, &format!("/?sign-in&to={to}"), CHROME);
        assert_eq!(page.text().contains("action=\"./?sign-in&#38;to="), has, "{to}: {}", page.text());
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
    for (to, location) in [
        ("/a.txt%3Fview", "./a.txt?view"),
        ("//evil.example/", "./"),
        ("/%5cevil.example", "./"),
        ("/%252fevil.example", "./"),
        ("https://evil.example", "./"),
        ("/../x", "./"),
        ("/a%0d%0ab", "./"),
    ] {
        let head = format!("POST /?sign-in&to={to}\r\n{CHROME}\r\n{FORM}");
        let answer = ask(&server, &head, format!("token={token}").as_bytes());
        assert_eq!((answer.status, answer.header("location")), (303, location), "{to}");
    }
    // What it may do is the token's affair.
    desk.run("tcp-server").args(["token", "root", "ci", "/"]).output();
    assert_eq!(get(&server, "/in/a.txt", &cookie).text(), "hello");
    desk.run("tcp-server").args(["token", "remove", "ci"]).output();
    assert_eq!(get(&server, "/in/a.txt", &cookie).status, 401);
    // Also one that the server has made for itself, or its link around it.
    let own = own_token(&server);
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

/// What `--share` or `tcp-server share` has printed, taken apart: the server's URL and the token.
fn printed(line: &str) -> (String, String) {
    let (base, token) = line.trim_end().split_once("/?share=").unwrap_or_else(|| panic!("no link: {line:?}"));
    assert_eq!(token.len(), "landline_".len() + 22, "{line}");
    (base.to_owned(), token.to_owned())
}

fn peers(desk: &Machine, args: &[&str], says: &str) {
    desk.run("tcp-server").args(["peers"]).args(args).prints(says);
}

#[test]
fn http_files_prints_a_link_that_lets_in_whom_it_says() {
    let desk = Machine::new();
    let share = ["--share", "--upload", "--uses", "2", "--expires", "2h", "--name", "party", "--qr", "always"];
    let server = Server::http_files_at(&share, Some(&desk.home_path()));
    server.write("a.txt", "hello");
    // The code stands above the URL, which is the last line.
    let mut qr = vec![server.next_output()];
    while !qr.last().unwrap().contains("/?share=") {
        qr.push(server.next_output());
    }
    let (base, token) = printed(&qr.pop().unwrap());
    assert_eq!(base, format!("http://localhost:{}", server.address().rsplit(':').next().unwrap()));
    assert!(qr.len() > 10 && qr.iter().all(|line| line.chars().all(|c| "█▀▄ \n".contains(c))), "{qr:?}");
    let log = server.wait_for_log("peers revoke party");
    assert!(log.contains("only this machine can open the link"), "{log}");
    assert!(log.contains("party lets 2 browsers in until 20") && log.contains("it may read,write here; "), "{log}");
    assert!(log.lines().all(|line| line.chars().count() <= 80), "{log}");
    assert!(log.contains("(120 min)") || log.contains("(2.0 h)"), "{log}");
    assert_eq!(get(&server, "/a.txt", "Accept: */*").status, 401, "guests get nothing");
    let cookie = cookie(&sign_in(&server, &token, ""));
    assert_eq!(ask(&server, &format!("PUT /b.txt\r\n{cookie}"), b"mine").status, 201);
    let row = |at: usize| desk.run("tcp-server").args(["peers", "list", "--json"]).output().json()[at].clone();
    let directory = server.root().canonicalize().unwrap();
    let (link, session) = (row(0), row(1));
    for (row, kind, name) in [(&link, "link", "party"), (&session, "session", "party-1")] {
        assert_eq!((&row["kind"], &row["name"]), (&kind.into(), &name.into()), "{row}");
        assert_eq!(row["directory"], directory.to_str().unwrap());
        assert_eq!((&row["services"], &row["expires"]), (&"read,write".into(), &link["expires"]));
    }
    assert_eq!((&link["uses"], &link["used"], &session["from"]), (&1.into(), &1.into(), &"party".into()));
    assert!(session["last_used"].is_string() && session["last_from"].is_string(), "{session}");
    let table = desk.run("tcp-server").args(["peers"]).output();
    assert!(table.text().contains("link for 1 of 2, expires 20"), "{}", table.text());
    assert!(table.text().contains("session of party, expires 20"), "{}", table.text());
    // They are no tokens.
    assert_eq!(desk.run("tcp-server").args(["token"]).output().text().lines().count(), 1);
    let refused = desk.run("tcp-server").args(["token", "allow", "party-1", "read"]).code(1);
    refused.stderr("party-1: is no token; tcp-server peers changes").prints("");
    peers(&desk, &["rename", "party", "guests"], "party is called guests now\n");
    assert_eq!(row(1)["from"], "guests");
    peers(&desk, &["revoke", "guests"], "guests, party-1 are not taken here any more\n");
    assert_eq!(get(&server, "/a.txt", &cookie).status, 401);
    assert_eq!(sign_in(&server, &token, "").status, 403);
}

#[test]
fn what_makes_no_sense_of_a_link_is_refused() {
    let desk = Machine::new();
    let socket = format!("unix:{}", desk.dir.path().join("socket").display());
    for (args, why) in [
        (&["--uses", "2"][..], "add --share"),
        (&["--share", "--uses", "0"], "0 is not in 1..=500"),
        (&["--share", "--expires", "0"], "would be over before it is opened"),
        (&["--share", "--name", "a b"], "--name: \"a b\" cannot be a link's name"),
        (&["--share", "--index"], "--index and --spa"),
        (&["--share", "--auth", "x", "--bind", "0.0.0.0:0"], "unencrypted"),
        (&["--share", "--bind", &socket], "a link leads to a TCP address"),
    ] {
        desk.run("http-files").args([desk.dir.path()]).args(args).args(["--port", "0"]).code(2).stderr(why).prints("");
    }
    let share = |args: &[&str]| desk.run("tcp-server").args(["share"]).args(args).code(2);
    let server = desk.server(&["--http", "--guest", "none"]);
    server.write("in/a.txt", "hello");
    let address = server.address().to_owned();
    share(&["--allow", "write"]).stderr(&format!("the server at {address} takes no uploads")).prints("");
    share(&["--allow", "exec"]).stderr("a link may have read, write and chat at most").prints("");
    share(&["/usr"]).stderr("/usr: is no directory in the root of a server").prints("");
    share(&["in/a.txt"]).stderr("is no directory in the root").prints("");
    share(&["--host", "evil.example"]).stderr("does not know that name of its own").prints("");
    share(&["--at", "10.0.0.1:1"]).stderr("no tcp-server of yours listens there").prints("");
    let other = desk.server(&["--http", "--guest", "none"]);
    share(&[]).stderr("several servers could take the link").prints("");
    printed(desk.run("tcp-server").args(["share", "in"]).any_stderr().output().text());
    let at = desk.run("tcp-server").args(["share", "--at", other.address()]).any_stderr().output();
    printed(at.text());
}

#[test]
fn a_running_server_is_shared_narrowed_and_revoked() {
    let desk = Machine::new();
    let server = desk.server(&["--http", "--upload", "--guest", "none"]);
    server.write("in/a.txt", "hello");
    server.write("secret.txt", "x");
    let args = ["share", "in", "--allow", "read,write", "--expires", "1d"];
    let shared = desk.run("tcp-server").args(args).stderr("share-1 lets one browser in until 20").output();
    let (_, token) = printed(shared.text());
    let cookie = cookie(&sign_in(&server, &token, ""));
    assert_eq!(get(&server, "/a.txt", &cookie).text(), "hello");
    for path in ["/secret.txt", "/../secret.txt", "/in/a.txt"] {
        assert_eq!(get(&server, path, &cookie).status, 404, "{path}");
    }
    peers(&desk, &["allow", "share-1-1", "write"], &narrowed(&desk, "share-1-1 may write here, and is shown /in"));
    assert_eq!(get(&server, "/a.txt", &cookie).status, 403);
    let refused = desk.run("tcp-server").args(["peers", "allow", "share-1-1", "exec"]).code(1);
    refused.stderr("share-1-1 may have read, write and chat at most").prints("");
    peers(&desk, &["root", "share-1-1", "/"], &narrowed(&desk, "share-1-1 may write here"));
    assert_eq!(ask(&server, &format!("PUT /new.txt\r\n{cookie}"), b"x").status, 201);
    // The link is used up and no entry any more; its name still stands for what came from it.
    peers(&desk, &["remove", "share-1"], "share-1-1 is not taken here any more\n");
    assert_eq!(get(&server, "/new.txt", &cookie).status, 401);
}

/// What `peers` says of a change, with the time at its end that is on record.
fn narrowed(desk: &Machine, says: &str) -> String {
    let json = desk.run("tcp-server").args(["peers", "list", "--json"]).output().json();
    let expires = json.as_array().unwrap().iter().find(|row| row["kind"] == "session").unwrap()["expires"].clone();
    format!("{says}, until {}\n", expires.as_str().unwrap())
}

const BIG: u64 = 64 * 1024 * 1024;

#[test]
fn what_is_under_way_ends_when_its_session_is_narrowed_revoked_or_signed_out() {
    for end in [
        &["peers", "revoke", "share-1-1"][..],
        &["peers", "revoke", "share-1"],
        &["peers", "allow", "share-1-1", "none"],
        &["peers", "root", "share-1-1", "elsewhere"],
        &[],
    ] {
        let desk = Machine::new();
        let server = files(&desk, &["--upload"]);
        std::fs::File::create(server.root().join("big")).unwrap().set_len(BIG).unwrap();
        let token = link(&desk, &LinkOptions { uses: 2, ..options(&server, "read,write", 2) });
        let (one, other) = (cookie(&sign_in(&server, &token, "")), cookie(&sign_in(&server, &token, "")));
        let mut download = Scheme::Plain.connect(&server);
        download.send(format!("GET /big HTTP/1.1\r\nHost: localhost\r\n{one}\r\n\r\n").as_bytes());
        assert_eq!(download.any_answer(false).unwrap().status, 200);
        let mut upload = Scheme::Plain.connect(&server);
        upload
            .send(format!("PUT /x HTTP/1.1\r\nHost: localhost\r\n{one}\r\nContent-Length: {BIG}\r\n\r\nx").as_bytes());
        crate::harness::wait_until("the upload has begun", || server.names("").len() > 1);
        if end.is_empty() {
            assert_eq!(ask(&server, &format!("POST /?sign-out\r\n{one}"), b"").status, 303);
        } else {
            desk.run("tcp-server").args(end).output();
        }
        crate::harness::wait_until("both are cut", || server.log().matches("ended: its peer was revoked").count() > 1);
        assert!((download.rest().len() as u64) < BIG, "{end:?}: all of it came");
        upload.rest();
        let reason = "broken off: revoked, or allowed less now";
        crate::harness::wait_until("both are logged", || server.log().matches(reason).count() > 1);
        let log = server.log();
        let line = log.lines().find(|line| line.contains("200, broken off")).unwrap();
        let sent: u64 = line.rsplit_once(" sent=").unwrap().1.trim().parse().unwrap();
        assert!((1..BIG).contains(&sent), "{line}");
        let is_alone = end != ["peers", "revoke", "share-1"];
        assert_eq!(get(&server, "/", &other).status == 200, is_alone, "{end:?}: the other browser's is its own");
        assert!(!server.root().join("x").exists());
    }
}

#[test]
fn each_combination_of_site_and_cookie_gets_what_it_should() {
    let desk = Machine::new();
    let server = files(&desk, &["--upload"]);
    server.write("a.txt", "hello");
    let token = link(&desk, &options(&server, "read,write", 2));
    let cookies = [Scheme::Plain, Scheme::Tls].map(|scheme| {
        let answer = sign_in_over(&mut scheme.connect(&server), &token, "");
        assert_eq!(answer.header("set-cookie").contains("; Secure"), scheme == Scheme::Tls, "{answer:?}");
        cookie(&answer)
    });
    let [plain, secure] = &cookies;
    assert!(secure.starts_with("Cookie: __Host-landline-443=") && plain.starts_with("Cookie: landline-80="));
    let navigation = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document";
    for scheme in [Scheme::Plain, Scheme::Tls] {
        let is_plain = scheme == Scheme::Plain;
        let (own, foreign) = if is_plain { (plain, secure) } else { (secure, plain) };
        let origin = if is_plain { "Origin: http://localhost" } else { "Origin: https://localhost" };
        let other_scheme = if is_plain { "Origin: https://localhost" } else { "Origin: http://localhost" };
        let other_port = if is_plain { "Origin: http://localhost:81" } else { "Origin: https://localhost:444" };
        for (lines, reads, writes) in [
            ("", 200, 201),
            (origin, 200, 201),
            ("Sec-Fetch-Site: same-origin", 200, 201),
            ("Sec-Fetch-Site: none", 200, 201),
            (navigation, 200, 403),
            ("Sec-Fetch-Site: same-site", 403, 403),
            ("Sec-Fetch-Site: cross-site", 403, 403),
            (other_port, 403, 403),
            (other_scheme, 403, 403),
            ("Origin: null", 403, 403),
            ("Origin: https://evil.example", 403, 403),
        ] {
            let status = |line: &str, body: &[u8]| scheme.connect(&server).ask(line, body).status;
            let get = status(&format!("GET /a.txt\r\n{own}\r\n{lines}"), b"");
            let put = status(&format!("PUT /new\r\n{own}\r\n{lines}"), b"x");
            let put = if put == 204 { 201 } else { put };
            assert_eq!((get, put), (reads, writes), "{scheme:?} {lines}");
            // A sign-in too is no affair of a page elsewhere, nor a sign-out.
            let begin = status(&format!("POST /?sign-in\r\n{FORM}\r\n{lines}"), b"token=");
            let end = status(&format!("POST /?sign-out\r\n{lines}"), b"");
            assert_eq!((begin, end == 303), (403, writes == 201), "{scheme:?} {lines}");
        }
        let status = |line: &str| scheme.connect(&server).ask(line, b"").status;
        // The cookie of the other scheme is none here; of two of one name none is; a token counts more.
        let value = own.split_once('=').unwrap().1;
        assert_eq!(status(&format!("GET /a.txt\r\n{foreign}")), 401);
        assert_eq!(status(&format!("GET /a.txt\r\n{own}; {}", own.trim_start_matches("Cookie: "))), 401);
        assert_eq!(status(&format!("GET /a.txt\r\n{own}\r\n{own}")), 401);
        assert_eq!(status(&format!("GET /a.txt\r\n{own}\r\nAuthorization: Bearer wrong{value}")), 401);
        assert_eq!(status(&format!("GET /a.txt\r\nAuthorization: Bearer {value}")), 401);
    }
}

#[test]
fn a_link_over_plain_http_from_another_machine_wants_its_makers_word() {
    let Some(outer) = crate::harness::skip::outer_address() else { return };
    let desk = Machine::new();
    let server = desk.server(&["--http", "--guest", "none", "--bind", "0.0.0.0:0"]);
    server.write("a.txt", "hello");
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    let ask_at = |scheme: Scheme, head: &str, body: &[u8]| {
        let socket = std::net::TcpStream::connect(format!("{outer}:{port}")).unwrap();
        socket.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
        scheme.over(socket).ask(head, body)
    };
    let post = |scheme, token: &str| {
        ask_at(scheme, &format!("POST /?sign-in\r\n{CHROME}\r\n{FORM}"), format!("token={token}").as_bytes())
    };
    let token = link(&desk, &options(&server, "read", 1));
    let refused = post(Scheme::Plain, &token);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("or needs an encrypted connection"), "{}", refused.text());
    server.wait_for_log("this token came unencrypted from another machine");
    let secure = cookie(&post(Scheme::Tls, &token));
    assert_eq!(ask_at(Scheme::Tls, &format!("GET /a.txt\r\n{secure}"), b"").text(), "hello");
    // Its value as the cookie of a plain page is nothing that its maker has allowed.
    let plain = secure.replace("__Host-landline-443", "landline-80");
    assert_eq!(ask_at(Scheme::Plain, &format!("GET /a.txt\r\n{plain}"), b"").status, 401);
    // The operator's word is that it is shared like this: said, and recorded with the link.
    let shared =
        desk.run("tcp-server").args(["share"]).stderr("over plain HTTP, everyone on the way can read").output();
    let (base, token) = printed(shared.text());
    assert!(base.starts_with("http://") && !base.contains("0.0.0.0") && base.ends_with(&format!(":{port}")), "{base}");
    let cookie = cookie(&post(Scheme::Plain, &token));
    assert_eq!(ask_at(Scheme::Plain, &format!("GET /a.txt\r\n{cookie}"), b"").text(), "hello");
    let tls = desk.run("tcp-server").args(["share", "--tls"]).stderr("this SHA-256 fingerprint").output();
    let (base, token) = printed(tls.text());
    assert!(base.starts_with("https://"), "{base}");
    assert_eq!(post(Scheme::Plain, &token).status, 403);
}

#[test]
fn guesses_are_counted_and_lock_out_neither_links_nor_sessions() {
    let desk = Machine::new();
    let added = desk.run("tcp-server").args(["token", "add", "ci", "--allow", "read"]).any_stderr().output();
    let server = files(&desk, &[]);
    server.write("a.txt", "hello");
    let token = link(&desk, &options(&server, "read", 2));
    let cookie = cookie(&sign_in(&server, &token, ""));
    let wrong = |n: usize| format!("landline_{n:022}");
    // A browser that reloads makes one guess.
    let stale = format!("Cookie: landline-80={}", wrong(0));
    for _ in 0..30 {
        assert_eq!(get(&server, "/a.txt", &stale).status, 401);
    }
    for n in 0..10 {
        assert_eq!(sign_in(&server, &wrong(n), "").status, 403, "{n}");
    }
    let slowed = sign_in(&server, &wrong(99), "");
    let wait: u64 = slowed.header("retry-after").parse().unwrap();
    assert_eq!((slowed.status, (1..=61).contains(&wait)), (429, true));
    assert!(slowed.text().contains("<h1>Too many attempts</h1>") && slowed.text().contains(&wait.to_string()));
    assert_eq!(sign_in(&server, added.text().trim_end(), "").status, 429, "a right token is not told from a wrong one");
    assert_eq!(get(&server, "/a.txt", &cookie).status, 200, "who is in stays in");
    assert_eq!(sign_in(&server, &token, "").status, 303, "and no one guesses a link");
    // New cookies that are none are guesses as well.
    let server = files(&desk, &[]);
    let tries = |n: usize| get(&server, "/a.txt", &format!("Cookie: landline-80={}", wrong(n))).status;
    assert_eq!((0..11).map(tries).collect::<Vec<_>>(), [vec![401; 10], vec![429]].concat());
    assert_eq!(tries(3), 401, "one that came before is no new guess");
}

#[test]
fn in_plain_text_no_secret_is_told_from_another() {
    let desk = Machine::new();
    let added = desk.run("tcp-server").args(["token", "add", "ci", "--allow", "read"]).any_stderr().output();
    let server = files(&desk, &["--trusted-proxy", "127.0.0.1"]);
    let own = own_token(&server);
    let (link, used) = (link(&desk, &options(&server, "read", 9)), link(&desk, &options(&server, "read", 1)));
    assert_eq!(sign_in(&server, &used, "").status, 303);
    let secrets = [added.text().trim_end(), &own, &link, &used, "landline_AAAAAAAAAAAAAAAAAAAAAA", "a guess"];
    let answers: Vec<_> = (0..)
        .zip(secrets)
        .map(|(at, secret)| {
            // From an address of its own each: the count of wrong ones is the same too.
            let lines = format!("X-Forwarded-For: 192.0.2.{at}\r\nX-Forwarded-Proto: http");
            (0..11)
                .map(|_| sign_in(&server, secret, &lines))
                .map(|answer| (answer.status, answer.body))
                .collect::<Vec<_>>()
        })
        .collect();
    for (secret, answer) in secrets.iter().zip(&answers) {
        let statuses: Vec<u16> = answer.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses, [vec![403; 10], vec![429]].concat(), "{secret}");
        assert_eq!(answer[..10], answers[0][..10], "{secret}");
    }
    let through_tls = "X-Forwarded-For: 192.0.2.200\r\nX-Forwarded-Proto: https";
    assert_eq!(sign_in(&server, &link, through_tls).status, 303);
}

#[test]
fn who_is_signed_in_guesses_no_more_than_others() {
    let desk = Machine::new();
    let added = desk.run("tcp-server").args(["token", "add", "ci", "--allow", "read"]).any_stderr().output();
    let listed = added.text().trim_end().to_owned();
    let server = files(&desk, &["--trusted-proxy", "127.0.0.1"]);
    let (own, link) = (own_token(&server), link(&desk, &options(&server, "read", 1)));
    // A session of each kind, at an address from which no right token came.
    for (at, secret) in (0..).zip([&listed, &own, &link]) {
        let from = |net: u8| format!("X-Forwarded-For: 198.51.{net}.{at}\r\nX-Forwarded-Proto: https");
        let cookie = cookie_over_tls(&sign_in(&server, secret, &from(1)));
        let lines = format!("{}\r\n{cookie}", from(2));
        for n in 0..10 {
            assert_eq!(sign_in(&server, &format!("guess-{n}"), &lines).status, 403, "{n}");
        }
        for guess in [listed.as_str(), &own, "guess"] {
            assert_eq!(sign_in(&server, guess, &lines).status, 429, "a right token is not told from a wrong one");
        }
        assert_eq!(get(&server, "/", &lines).status, 200, "and who is in stays in");
    }
}

#[test]
fn a_wrong_secret_is_told_so_also_to_who_is_signed_in() {
    let desk = Machine::new();
    let server = files(&desk, &[]);
    let token = link(&desk, &options(&server, "read", 1));
    let cookie = cookie(&sign_in(&server, &token, ""));
    let back = r#"<a href="./">Back to the files</a>"#;
    let other = link(&desk, &options(&server, "read", 1));
    assert_eq!(sign_in(&server, &other, "").status, 303);
    for wrong in ["mistyped", &other] {
        let answer = sign_in(&server, wrong, &cookie);
        assert_eq!((answer.status, answer.header("set-cookie")), (403, ""), "{wrong}");
        assert!(answer.text().contains("<h1>This link does not work</h1>"), "{}", answer.text());
        assert!(answer.text().contains(back), "{}", answer.text());
    }
    assert_eq!(get(&server, "/", &cookie).status, 200, "the session is as it was");
    assert_eq!(sign_in(&server, &token, &cookie).status, 303, "and its own link, used up, leads to it");
    assert!(!sign_in(&server, "mistyped", "").text().contains(back), "no way back for who is not in");
}

#[test]
fn a_new_link_is_a_new_right_whatever_it_is_called() {
    let desk = Machine::new();
    let server = files(&desk, &["--upload"]);
    let named = |services: &str| LinkOptions { name: Some("phone".into()), ..options(&server, services, 1) };
    let old = cookie(&sign_in(&server, &link(&desk, &named("read")), ""));
    // While something lives that came from one of that name, no other is called so.
    let refused = make_link(&desk.home(), &named("read,write")).unwrap_err().to_string();
    assert!(refused.starts_with("phone: phone-1 came from one of that name") && refused.contains("revoke phone"));
    let added = desk.run("tcp-server").args(["token", "add", "phone", "--allow", "read"]).code(1);
    added.stderr("phone: phone-1 came from").prints("");
    // With its file edited all the same, the link counts and not its name.
    let wider = LinkOptions { name: Some("tablet".into()), ..named("read,write") };
    let wider = link(&desk, &wider);
    let text = String::from_utf8(desk.home().read("tokens.toml").unwrap().unwrap()).unwrap();
    desk.home().replace("tokens.toml", text.replace("[tablet]", "[phone]").as_bytes()).unwrap();
    let new = cookie(&sign_in(&server, &wider, &old));
    assert_ne!(new, old);
    assert_eq!(ask(&server, &format!("PUT /a.txt\r\n{old}"), b"mine").status, 403);
    assert_eq!(ask(&server, &format!("PUT /a.txt\r\n{new}"), b"mine").status, 201);
    peers(&desk, &["revoke", "phone"], "phone-1, phone-2 are not taken here any more\n");
}

#[test]
fn no_link_hides_behind_the_name_of_a_machine() {
    let desk = Machine::new();
    let server = files(&desk, &[]);
    desk.knows(&[("laptop", Machine::new().fingerprint(), "read")]);
    let token = link(&desk, &options(&server, "read", 2));
    let cookie = cookie(&sign_in(&server, &token, ""));
    for (args, why) in [
        (["rename", "share-1", "laptop"], "laptop: a machine is called that already"),
        (["rename", "share-1-1", "laptop"], "laptop: a machine is called that already"),
        (["rename", "laptop", "share-1"], "share-1: a link is called that already"),
        (["rename", "laptop", "share-1-1"], "share-1-1: a session is called that already"),
    ] {
        desk.run("tcp-server").args(["peers"]).args(args).code(1).stderr(why).prints("");
    }
    let offered = desk.run("tcp-server").args(["pair", "--name", "share-1"]).code(2);
    offered.stderr("share-1: a link is called that already").prints("");
    // As a person could have edited it.
    let text = String::from_utf8(desk.home().read("tokens.toml").unwrap().unwrap()).unwrap();
    desk.home().replace("tokens.toml", text.replace("[share-1]", "[laptop]").as_bytes()).unwrap();
    for args in [&["revoke", "laptop"][..], &["allow", "laptop", "none"], &["root", "laptop", "in"]] {
        let refused = desk.run("tcp-server").args(["peers"]).args(args).code(1);
        refused.stderr("laptop: is a machine, and also a token, link or session").prints("");
    }
    peers(&desk, &["rename", "laptop", "machine"], "laptop is called machine now\n");
    peers(&desk, &["revoke", "laptop"], "laptop, share-1-1 are not taken here any more\n");
    let gone = desk.run("tcp-server").args(["peers", "revoke", "share-1-1"]).code(1);
    gone.stderr("share-1-1: no machine, token, link or session of that name is known here").prints("");
    assert_eq!(get(&server, "/", &cookie).status, 401);
    // A list that is broken keeps no one from revoking what is in the other.
    desk.home().replace("tokens.toml", b"[torn").unwrap();
    let revoked = desk.run("tcp-server").args(["peers", "revoke", "machine"]).output();
    assert!(revoked.text().starts_with("machine is not known here any more"), "{}", revoked.text());
}

#[test]
fn each_browser_of_a_token_is_seen_under_its_own_name() {
    let desk = Machine::new();
    let added = desk.run("tcp-server").args(["token", "add", "ci", "--allow", "read"]).any_stderr().output();
    let server = files(&desk, &[]);
    for name in ["ci-1", "ci-2"] {
        let cookie = cookie(&sign_in(&server, added.text().trim_end(), ""));
        let page = get(&server, "/", &format!("{cookie}\r\n{CHROME}"));
        assert!(page.text().contains(&format!("<strong>{name}</strong>")), "{}", page.text());
        server.wait_for_log(&format!("session {name}"));
    }
    let rows = desk.run("tcp-server").args(["peers", "list", "--json"]).output().json();
    for (at, name) in ["ci", "ci-1", "ci-2"].iter().enumerate() {
        assert_eq!(rows[at]["name"], *name);
        assert!(rows[at]["last_used"].is_string() && rows[at]["last_from"].is_string(), "{}", rows[at]);
    }
}

#[test]
fn a_server_that_can_take_no_link_says_why() {
    use std::os::unix::ffi::OsStringExt as _;
    let desk = Machine::new();
    let share = |why: &str| desk.run("tcp-server").args(["share"]).code(1).stderr(why).prints("");
    share("no tcp-server of yours runs on this machine");
    {
        let _server = desk.server(&[]);
        share("the server that runs here has no HTTP");
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join(std::ffi::OsString::from_vec(b"a\xe9".to_vec()));
    std::fs::create_dir(&root).unwrap();
    let _server = Server::with_args(&["--http"], &root, &desk.home_path());
    share("serves is not UTF-8, and a link cannot name it");
}

#[test]
fn no_secret_is_in_any_place_that_stays() {
    let desk = Machine::new();
    let audit = desk.dir.path().join("audit");
    let args = ["--share", "--upload", "--uses", "9", "--audit", audit.to_str().unwrap(), "--verbose", "--auth", "me"];
    let server = Server::http_files_at(&args, Some(&desk.home_path()));
    server.write("d/a.txt", "hello");
    assert!(server.next_output().contains("sign in as me"));
    let (_, token) = printed(&server.next_output());
    let cookie = cookie(&sign_in(&server, &token, ""));
    let secret = cookie.split_once('=').unwrap().1.to_owned();
    let escaped = token.replace('_', "%5F").replace('l', "%6c");
    let mut answers = Vec::new();
    for path in [
        format!("/?share={token}"),
        format!("/?share={escaped}"),
        format!("/?%73hare={token}"),
        format!("/?a&share={token}&b"),
        format!("/d?share={token}"),
        format!("/d/?share={token}"),
        format!("/nothing?share={token}&x"),
        format!("/?sign-in&token={token}"),
        format!("/?{token}"),
        format!("/?x={escaped}"),
        format!("//?share={token}"),
        format!("/?share=%0d%0aSet-Cookie:%20x={token}"),
    ] {
        for lines in [cookie.as_str(), CHROME, "Accept: */*", "Sec-Fetch-Site: cross-site", "Host-Not: x"] {
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "MOVE"] {
                answers.push(ask(&server, &format!("{method} {path}\r\n{lines}"), b""));
            }
        }
    }
    for answer in &answers {
        for (name, value) in &answer.headers {
            assert!(!value.contains(&token) && !value.contains(&secret), "{name}: {value}");
        }
    }
    drop(sign_in(&server, &token, &cookie));
    drop(ask(&server, &format!("POST /?sign-out\r\n{cookie}"), b""));
    let tls = Server::http_files_at(&["--share", "--tls"], Some(&desk.home_path()));
    let (_, other) = printed(&tls.next_output());
    tls.wait_for_log("this SHA-256 fingerprint");
    let moved = get(&tls, &format!("/?share={other}&x=1"), CHROME);
    assert_eq!((moved.status, moved.header("location")), (308, "https://localhost/?x=1"));
    let (status, log) = server.stop();
    assert!(status.success());
    let records = std::fs::read_to_string(&audit).unwrap();
    let list = std::fs::read_to_string(desk.home_path().join("tokens.toml")).unwrap();
    assert!(list.contains("[share-2]") && !list.contains("[share-1]"), "a link ends with its server: {list}");
    for (place, text) in [("log", &log), ("audit", &records), ("list", &list), ("log of the other", &tls.stop().1)] {
        for secret in [&token, &escaped, &secret, &other] {
            assert!(!text.contains(secret.as_str()), "{place}: {text}");
        }
    }
    assert!(records.contains(r#""kind":"session","name":"share-1-1""#), "{records}");
    assert!(records.contains("/?share=...") && records.contains("signed in") && records.contains("signed out"));
}

#[test]
fn a_button_that_is_pressed_twice_or_an_answer_that_is_lost_uses_a_link_once() {
    let desk = Machine::new();
    let server = files(&desk, &[]);
    server.write("a.txt", "hello");
    let token = link(&desk, &options(&server, "read", 1));
    let page = get(&server, &format!("/?share={token}"), CHROME);
    let form = format!("{token}&nonce={}", nonce_of(&page));
    let answers = std::thread::scope(|scope| {
        let tries = [0; 8].map(|_| {
            let (mut http, form) = (Scheme::Plain.connect(&server), &form);
            scope.spawn(move || sign_in_over(&mut http, form, ""))
        });
        tries.map(|one| cookie(&one.join().unwrap()))
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(get(&server, "/a.txt", &answers[0]).text(), "hello");
    // Another page of the same link is another browser's.
    let other = get(&server, &format!("/?share={token}"), CHROME);
    assert_eq!(sign_in(&server, &format!("{token}&nonce={}", nonce_of(&other)), "").status, 403);
    assert_eq!(sign_in(&server, &token, "").status, 403);
    // What has been signed out of is not given again.
    assert_eq!(ask(&server, &format!("POST /?sign-out\r\n{}", answers[0]), b"").status, 303);
    assert_eq!(sign_in(&server, &form, "").status, 403);
}

#[test]
fn who_opens_a_link_again_takes_no_one_elses_turn() {
    let desk = Machine::new();
    let server = files(&desk, &[]);
    let token = link(&desk, &options(&server, "read", 2));
    let one = cookie(&sign_in(&server, &token, ""));
    for _ in 0..3 {
        let again = sign_in(&server, &token, &one);
        assert_eq!((again.status, again.header("set-cookie")), (303, ""));
    }
    assert_eq!(sign_in(&server, &token, "").status, 303, "the second turn is still there");
    // Another link is another right, for which the first session is no hindrance.
    let wider = link(&desk, &options(&server, "read,write", 1));
    assert_ne!(cookie(&sign_in(&server, &wider, &one)), one);
}

#[test]
fn a_list_that_cannot_be_read_lets_no_one_in_and_uses_no_link_up() {
    let desk = Machine::new();
    let server = files(&desk, &[]);
    let token = link(&desk, &options(&server, "read", 1));
    let good = desk.home().read("tokens.toml").unwrap().unwrap();
    desk.home().replace("tokens.toml", &[&good[..], b"[torn"].concat()).unwrap();
    let refused = sign_in(&server, &token, "");
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("<h1>Signing in does not work at the moment</h1>"), "{}", refused.text());
    desk.home().replace("tokens.toml", &good).unwrap();
    let cookie = cookie(&sign_in(&server, &token, ""));
    // A session that is there stays, and one that cannot be looked at is not let in anew.
    let good = desk.home().read("tokens.toml").unwrap().unwrap();
    desk.home().replace("tokens.toml", &[&good[..], b"[torn"].concat()).unwrap();
    assert_eq!(get(&server, "/", &cookie).status, 503);
    desk.home().replace("tokens.toml", &good).unwrap();
    assert_eq!(get(&server, "/", &cookie).status, 200);
}

#[test]
fn curl_keeps_the_cookie_as_a_browser_would() {
    if !crate::harness::skip::is_installed("curl", "--version") {
        return;
    }
    let desk = Machine::new();
    let server = files(&desk, &[]);
    server.write("a.txt", "hello");
    let port = server.address().rsplit(':').next().unwrap();
    for (base, flags) in [(format!("http://localhost:{port}"), "-s"), (format!("https://localhost:{port}"), "-sk")] {
        let token = link(&desk, &options(&server, "read", 1));
        let jar = desk.dir.path().join("jar");
        let curl = |args: &[&str]| {
            let jar = jar.to_str().unwrap();
            let run = crate::harness::Run::of(std::path::Path::new("curl")).args([flags, "--noproxy", "*", "-b", jar]);
            run.args(["-c", jar]).args(args).output().text().to_owned()
        };
        let sign_in = format!("{base}/?sign-in");
        let shown = curl(&["-L", "-d", &format!("token={token}"), &sign_in]);
        assert!(shown.contains("a.txt"), "{shown}");
        assert_eq!(curl(&[&format!("{base}/a.txt")]), "hello");
        let kept = std::fs::read_to_string(&jar).unwrap();
        let name = if base.starts_with("https") { "__Host-landline-" } else { "landline-" };
        assert!(kept.contains("#HttpOnly_localhost\tFALSE\t/") && kept.contains(&format!("\t{name}{port}\t")));
        curl(&["-X", "POST", &format!("{base}/?sign-out")]);
        assert!(!std::fs::read_to_string(&jar).unwrap().contains("landline_"));
        std::fs::remove_file(&jar).unwrap();
    }
}

#[test]
fn the_end_of_a_link_is_changed_while_it_is_used() {
    let desk = Machine::new();
    let server = files(&desk, &["--upload"]);
    let token = link(&desk, &options(&server, "read", 2));
    let session = cookie(&sign_in(&server, &token, ""));
    let status = || get(&server, "/", &session).status;
    let until = |when: &str, code: i32, prints: &str| {
        let run = desk.run("tcp-server").args(["peers", "allow", "share-1", "--expires", when]).code(code).any_stderr();
        let text = run.output().text().to_owned();
        assert!(text.contains(prints) && (prints.is_empty() == text.is_empty()), "{when}: {text}");
    };
    assert_eq!(status(), 200);
    until("2126-01-01T00:00:00Z", 0, "share-1-1 may read");
    assert_eq!(status(), 200);
    until("never", 1, "");
    until("soon", 2, "");
    until("2026-01-01T00:00:00Z", 0, "share-1 may read");
    crate::harness::wait_until("the session is over", || status() != 200);
    until("2h", 0, "share-1-1 may read");
    crate::harness::wait_until("the session goes on", || status() == 200);
    desk.knows(&[("laptop", Machine::new().fingerprint(), "read")]);
    let run = desk.run("tcp-server").args(["peers", "allow", "laptop", "--expires", "2h"]).code(2);
    run.stderr("is a machine").prints("");
    desk.run("tcp-server").args(["peers", "allow", "share-1"]).code(2).any_stderr().prints("");
}

#[test]
fn what_is_under_way_ends_with_the_time_of_its_link() {
    let desk = Machine::new();
    let server = files(&desk, &[]);
    std::fs::File::create(server.root().join("big")).unwrap().set_len(BIG).unwrap();
    let token = link(&desk, &options(&server, "read", 2));
    let cookie = cookie(&sign_in(&server, &token, ""));
    let mut download = Scheme::Plain.connect(&server);
    download.send(format!("GET /big HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n\r\n").as_bytes());
    assert_eq!(download.any_answer(false).unwrap().status, 200);
    // The time comes without a change of the file.
    edit(&desk.home(), |edit: &mut Edit<Token>| {
        for name in ["share-1", "share-1-1"] {
            edit.change(name, |entry| {
                entry.expires = Moment::now().after(Duration::from_secs(1));
                Ok(())
            })?;
        }
        Ok(())
    })
    .unwrap();
    server.wait_for_log("ended: its peer was revoked");
    assert!((download.rest().len() as u64) < BIG);
    assert_eq!((get(&server, "/", &cookie).status, sign_in(&server, &token, "").status), (401, 403));
}

#[test]
fn sign_ins_that_fail_do_not_fill_the_log() {
    let desk = Machine::new();
    let audit = desk.dir.path().join("audit");
    let server = files(&desk, &["--audit", audit.to_str().unwrap()]);
    for _ in 0..100 {
        assert_eq!(sign_in(&server, "", "").status, 403);
        assert_eq!(ask(&server, "POST /?sign-out", b"").status, 303);
    }
    let log = server.stop().1;
    // Twenty in ten seconds; a slow machine may begin the ten seconds anew, again and again.
    assert!(log.matches("about=\"/?sign-in\"").count() < 80, "{log}");
    let records = std::fs::read_to_string(&audit).unwrap();
    assert!(!records.contains("/?sign-in"), "{records}");
}

#[test]
fn a_lock_goes_with_the_session_that_has_it() {
    let desk = Machine::new();
    let server = files(&desk, &["--upload"]);
    let (one, two) = (link(&desk, &options(&server, "read,write", 1)), link(&desk, &options(&server, "read,write", 1)));
    let [one, two] = [one, two].map(|token| cookie(&sign_in(&server, &token, "")));
    let body = "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:exclusive/></D:lockscope>\
        <D:locktype><D:write/></D:locktype></D:lockinfo>";
    assert_eq!(ask(&server, &format!("LOCK /a\r\n{one}"), body.as_bytes()).status, 201);
    let put = || ask(&server, &format!("PUT /a\r\n{two}"), b"mine").status;
    assert_eq!(put(), 423);
    peers(&desk, &["revoke", "share-1-1"], "share-1-1 is not taken here any more\n");
    crate::harness::wait_until("the lock is free", || put() == 204);
}
