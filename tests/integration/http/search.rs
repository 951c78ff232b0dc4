//! Searches over HTTP: what they find, what they never show, how they end.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::harness::Server;
use crate::harness::http::{Answer, Scheme, ask};

/// The lines of a search but for those that only say that it is still there.
fn found(server: &Server, target: &str) -> Vec<Value> {
    found_in(&ask(server, &format!("GET {target}"), b""), target)
}

fn found_in(answer: &Answer, target: &str) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"), "{target}");
    assert_eq!(answer.header("transfer-encoding"), "chunked");
    let lines = answer.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("name").is_some() || line.get("found").is_some()).collect()
}

fn hrefs(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["href"].as_str()).collect()
}

#[test]
fn names_are_found_here_first_and_then_level_by_level() {
    let server = Server::http_files(&["--title", "T"]);
    for path in ["b/Report 10.txt", "b/report 9.txt", "a/x/REPORT.md", "report", "a/other", "z report:<1>/in"] {
        server.write(path, "12345");
    }
    let lines = found(&server, "/?search=rePort&json");
    let want = ["z%20report%3A%3C1%3E/", "report", "b/report%209.txt", "b/Report%2010.txt", "a/x/REPORT.md"];
    assert_eq!(hrefs(&lines), want);
    let end = lines.last().unwrap();
    assert_eq!((&end["found"], &end["ended_by"], &end["unreadable"]), (&5.into(), &Value::Null, &0.into()));
    assert!(end["looked"].as_u64().unwrap() >= 9, "{end}");
    for href in hrefs(&lines) {
        assert_eq!(ask(&server, &format!("GET /{href}"), b"").status, 200, "{href}");
    }
    assert_eq!((&lines[2]["folder"], &lines[2]["size"]), (&"b".into(), &5.into()));
    assert_eq!(hrefs(&found(&server, "/?search=report+10&json")), ["b/Report%2010.txt"]);
    assert_eq!(hrefs(&found(&server, "/b/?search=report&json")), ["report%209.txt", "Report%2010.txt"]);
    assert_eq!(hrefs(&found(&server, "/?search=nothing&json")), [""; 0]);
    let page = ask(&server, "GET /?search=report+%3Cb%3E\r\nAccept: text/html", b"");
    assert!(page.text().contains("<h2 id=\"results-name\">Search: report &#60;b&#62;</h2>"), "{}", page.text());
    assert!(page.text().contains("Nothing found") && page.text().contains("data-page=\"search\""));
    let page = ask(&server, "GET /?search=REPORT.md", b"");
    assert!(page.text().contains("<a href=\"a/x/REPORT.md?view\">REPORT.md</a></td><td><a href=\"a/x/\">a/x</a></td>"));
    assert!(page.text().contains("<strong>1 found</strong>") && page.text().trim_end().ends_with("</html>"));
    // As a directory's, its form is lines for those that take anything.
    for lines in ["GET /?search=rePort\r\nAccept: */*", "GET /?search=report&text\r\nAccept: text/html"] {
        let text = ask(&server, lines, b"");
        assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
        assert!(text.header("vary").contains("Accept"), "{text:?}");
        assert_eq!(text.text(), "z report:<1>/\nreport\nb/report 9.txt\nb/Report 10.txt\na/x/REPORT.md\n");
    }
    assert_eq!(ask(&server, "GET /?search=nothing\r\nAccept: */*", b"").text(), "");
    // Without a word it is the list.
    assert!(ask(&server, "GET /?search=+\r\nAccept: text/html", b"").text().contains("data-page=\"list\""));
    let many = "a+".repeat(17);
    assert_eq!(ask(&server, &format!("GET /?search={many}"), b"").status, 400);
    assert_eq!(ask(&server, "GET /none/?search=a", b"").status, 404);
    assert_eq!(ask(&server, "GET /b?search=a", b"").header("location"), "./b/?search=a");
}

#[test]
fn nothing_is_found_that_a_visitor_may_not_see() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret-out"), "x").unwrap();
    let shown = tempfile::tempdir().unwrap();
    let home = shown.path().join("keys");
    let server = Server::with_args(&["--http", "--guest", "read"], shown.path(), &home);
    for path in ["secret-a", ".secret-dot", "d/.secret/secret-in", "d/secret-b", "d/.x.1a2b3c4d.part"] {
        fs::create_dir_all(shown.path().join(path).parent().unwrap()).unwrap();
        fs::write(shown.path().join(path), "x").unwrap();
    }
    symlink(outside.path(), shown.path().join("secret-link")).unwrap();
    symlink("..", shown.path().join("d/secret-round")).unwrap();
    let key = fs::read_dir(&home).unwrap().map(Result::unwrap).find(|entry| entry.path().is_file()).unwrap();
    fs::hard_link(key.path(), shown.path().join("secret-key")).unwrap();
    let lines = found(&server, "/?search=secret&json");
    // A link out of the root is a name without a way to follow it, as in a list.
    assert_eq!(hrefs(&lines), ["secret-a", "d/secret-b", "d/secret-round/"]);
    let names: Vec<&str> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
    assert_eq!(names, ["secret-a", "secret-link", "secret-b", "secret-round"]);
    assert_eq!(hrefs(&found(&server, "/?search=part&json")), [""; 0]);
    let names = fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for name in names {
        assert_eq!(hrefs(&found(&server, &format!("/?search={name}&json"))), [""; 0], "{name}");
    }
    assert_eq!(ask(&server, "GET /keys/?search=a", b"").status, 404);
    let closed = Server::with(&["--http", "--guest", "none"]);
    assert_eq!(ask(&closed, "GET /?search=a&json", b"").status, 401);
    let dropped = Server::http_files(&["--drop-box"]);
    dropped.write("secret", "x");
    assert!(!ask(&dropped, "GET /?search=s&json", b"").text().contains("secret"));
}

#[test]
fn a_search_that_a_limit_ends_says_so() {
    let server = Server::http_files(&[]);
    for number in 0..1_001 {
        server.write(&format!("d/{}/f{number}", number % 3), "");
    }
    let lines = found(&server, "/?search=f&json");
    let end = lines.last().unwrap();
    assert_eq!((hrefs(&lines).len(), &end["found"], &end["ended_by"]), (1_000, &1_000.into(), &"results".into()));
    let page = ask(&server, "GET /?search=f", b"");
    assert!(page.text().contains("the search ends at 1000 results"));
    let text = ask(&server, "GET /?search=f\r\nAccept: */*", b"");
    let (paths, end) = text.text().split_once("\n\n").unwrap();
    assert_eq!((paths.lines().count(), end), (1000, "there are more: 1000 are found at most\n"));
    let exact = found(&server, "/?search=f&json");
    assert_eq!(exact.last().unwrap()["found"], 1_000);
}

#[test]
fn a_search_whose_client_leaves_makes_room_for_another() {
    let server = Server::http_files(&[]);
    for number in 0..200 {
        server.write(&format!("d{number}/{}", "n".repeat(200)), "");
    }
    for _ in 0..40 {
        let mut http = Scheme::Plain.connect(&server);
        http.send(b"GET /?search=n HTTP/1.1\r\nHost: localhost\r\n\r\n");
        drop(http);
    }
    // Some have not even begun yet: room that was found may be theirs at the next request.
    let target = "/?search=n&json";
    let answer = loop {
        let answer = ask(&server, &format!("GET {target}"), b"");
        if answer.status != 503 {
            break answer;
        }
        std::thread::yield_now();
    };
    assert_eq!(found_in(&answer, target).last().unwrap()["found"], 200);
}
