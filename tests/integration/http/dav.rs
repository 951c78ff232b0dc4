//! WebDAV by hand: what its requests mean here, and what they must not do.

use crate::harness::Server;
use crate::harness::http::{Answer, ask};

const PROPFIND: &str = "<D:propfind xmlns:D='DAV:' xmlns:x='urn:x'><D:prop>";

/// A PROPFIND of these properties.
fn find(server: &Server, path: &str, depth: &str, properties: &str) -> Answer {
    let body = format!("{PROPFIND}{properties}</D:prop></D:propfind>");
    ask(server, &format!("PROPFIND {path}\r\nDepth: {depth}"), body.as_bytes())
}

/// The hrefs of an answer, in order.
fn hrefs(answer: &Answer) -> Vec<&str> {
    let mut hrefs: Vec<_> =
        answer.text().split("<D:href>").skip(1).map(|rest| rest.split("</D:href>").next().unwrap()).collect();
    hrefs.sort_unstable();
    hrefs
}

/// The text of an element.
fn text<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let (_, rest) = answer.text().split_once(&format!("<D:{name}>")).unwrap_or_else(|| panic!("{name}: {answer:?}"));
    rest.split_once("</D:").unwrap().0
}

#[test]
fn propfind_tells_what_get_tells() {
    let server = Server::http_files(&[]);
    server.write("a b&.txt", "hello");
    server.write("dir/inner/x", "x");
    server.write(".hidden", "x");
    std::os::unix::fs::symlink("a b&.txt", server.root().join("link")).unwrap();
    std::os::unix::fs::symlink("dir", server.root().join("dirlink")).unwrap();
    std::os::unix::fs::symlink("../..", server.root().join("dir/inner/up")).unwrap();
    std::os::unix::fs::symlink("/etc", server.root().join("out")).unwrap();
    std::os::unix::fs::symlink("none", server.root().join("gone")).unwrap();
    let answer = find(&server, "/", "1", "<D:resourcetype/>");
    assert_eq!((answer.status, answer.header("content-type")), (207, "application/xml; charset=utf-8"));
    assert_eq!(hrefs(&answer), ["/", "/a%20b%26.txt", "/dir/", "/dirlink/", "/link"]);
    assert_eq!(hrefs(&find(&server, "/", "0", "")), ["/"]);
    let inner = find(&server, "/dir/inner", "1", "");
    assert_eq!(hrefs(&inner), ["/dir/inner/", "/dir/inner/x"], "nothing leads back");
    assert_eq!(inner.header("content-location"), "/dir/inner/", "RFC 4918, 5.2");

    let path = "/a%20b%26.txt";
    let (get, all) = (ask(&server, &format!("HEAD {path}"), b""), find(&server, path, "1", "<D:getetag/>"));
    assert_eq!(hrefs(&all), [path]);
    let get_tag = get.header("etag").trim_start_matches("W/");
    assert_eq!(text(&all, "getetag").trim_start_matches("W/"), get_tag, "RFC 4918, 15.6");
    let all = ask(&server, &format!("PROPFIND {path}\r\nDepth: 0"), b"");
    for (clause, name, header) in [
        ("15.7", "getlastmodified", "last-modified"),
        ("15.4", "getcontentlength", "content-length"),
        ("15.5", "getcontenttype", "content-type"),
    ] {
        assert_eq!(text(&all, name), get.header(header), "RFC 4918, {clause}");
    }
    assert_eq!(text(&all, "displayname"), "a b&amp;.txt");
    assert!(text(&all, "creationdate").ends_with('Z') && !all.text().contains("quota"), "{all:?}");

    for (clause, head, body, status) in [
        ("RFC 4918, 9.1: infinity is no depth here", "PROPFIND /\r\nDepth: infinity", "", 403),
        ("RFC 4918, 9.1: nor what is not said", "PROPFIND /", "", 403),
        ("RFC 4918, 9.1: a file has no members", "PROPFIND /link", "", 207),
        ("RFC 4918, 10.2", "PROPFIND /\r\nDepth: 2", "", 400),
        ("RFC 4918, 8.2", "PROPFIND /\r\nDepth: 0", "<propfind", 400),
        ("RFC 4918, 20.6", "PROPFIND /\r\nDepth: 0", "<!DOCTYPE a><D:propfind xmlns:D='DAV:'/>", 400),
        ("RFC 9110, 15.5.14", "PROPFIND /\r\nDepth: 0", &" ".repeat(70_000), 413),
        ("hidden", "PROPFIND /.hidden\r\nDepth: 0", "", 404),
        ("out of the root", "PROPFIND /out/\r\nDepth: 1", "", 404),
        ("nothing", "PROPFIND /none\r\nDepth: 1", "", 404),
        ("a file's name has no slash", "PROPFIND /link/\r\nDepth: 1", "", 404),
        ("a page elsewhere", "PROPFIND /\r\nDepth: 0\r\nOrigin: http://example.org", "", 403),
    ] {
        let answer = ask(&server, head, body.as_bytes());
        assert_eq!(answer.status, status, "{clause}: {answer:?}");
    }
    assert!(ask(&server, "PROPFIND /", b"").text().contains("<D:propfind-finite-depth></D:propfind-finite-depth>"));
    let quota = find(&server, "/", "0", "<D:quota-used-bytes/>");
    assert!(quota.text().contains("404 Not Found"), "how full the disk is concerns those who may fill it: {quota:?}");
    let writable = Server::http_files(&["--upload"]);
    text(&find(&writable, "/", "0", "<D:quota-used-bytes/>"), "quota-used-bytes").parse::<u64>().unwrap();
}

#[test]
fn propfind_of_many_entries_is_whole() {
    let server = Server::http_files(&[]);
    for number in 0..3_000 {
        server.write(&format!("file number {number}"), "");
    }
    let answer = ask(&server, "PROPFIND /\r\nDepth: 1", b"");
    assert_eq!(answer.header("transfer-encoding"), "chunked");
    assert_eq!(hrefs(&answer).len(), 3_001);
    assert!(answer.text().ends_with("</D:response></D:multistatus>\n"));
}

#[test]
fn what_may_not_be_seen_has_no_properties() {
    let guest = Server::with(&["--http", "--upload", "--guest", "write"]);
    guest.write("a", "a");
    let answer = ask(&guest, "PROPFIND /a\r\nDepth: 0", b"");
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").starts_with("Basic realm="), "{answer:?}");
    let boxed = Server::http_files(&["--drop-box"]);
    for method in ["PROPFIND", "MKCOL", "MOVE"] {
        let answer = ask(&boxed, &format!("{method} /"), b"");
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, OPTIONS, PUT, POST"), "{method}");
    }
}
