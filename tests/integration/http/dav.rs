//! WebDAV by hand: what its requests mean here, and what they must not do.

use crate::harness::Server;
use crate::harness::http::{Answer, ask};
use crate::harness::nobody::Nobody;

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
fn no_list_has_the_name_of_the_home() {
    let desk = crate::harness::machine::Machine::new();
    desk.identity();
    std::fs::create_dir(desk.dir.path().join("sub")).unwrap();
    for file in ["public", "sub/other"] {
        std::fs::write(desk.dir.path().join(file), "x").unwrap();
    }
    let server = Server::http_files_in(&[], desk.dir.path(), desk.dir.path());
    assert!(desk.home_path().starts_with(desk.dir.path()) && desk.home_path().ends_with("home"));
    for (head, sees) in [
        ("GET /\r\nAccept: text/html", &b"href=\"public\""[..]),
        ("GET /?json", b"public"),
        ("GET /?text", b"public"),
        ("GET /?search=o&json", b"other"),
        ("GET /?search=home&json", b""),
        ("GET /?zip=store", b"public"),
        ("GET /?tar", b"public"),
        ("PROPFIND /\r\nDepth: 1", b"public"),
    ] {
        let answer = ask(&server, head, b"");
        assert!(answer.status / 100 == 2, "{head}: {answer:?}");
        let has = |word: &[u8]| word.is_empty() || answer.body.windows(word.len()).any(|found| found == word);
        let word: &[u8] = if head.contains("html") { b"href=\"home" } else { b"home" };
        // A search repeats what it is about.
        assert!(has(sees) && (head.contains("=home") || !has(word)), "{head}: {answer:?}");
        assert!(!has(b"identity.pem") && !has(b"\"name\":\"home\""), "{head}: {answer:?}");
    }
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

const EXCLUSIVE: &str = "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:exclusive/></D:lockscope>\
    <D:locktype><D:write/></D:locktype><D:owner>me</D:owner></D:lockinfo>";

/// Locks something; the token, without brackets.
fn lock(server: &Server, path: &str, depth: &str) -> String {
    let answer = ask(server, &format!("LOCK {path}\r\nDepth: {depth}\r\nTimeout: Second-60"), EXCLUSIVE.as_bytes());
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer.header("lock-token").trim_matches(['<', '>']).to_owned()
}

#[test]
fn a_lock_keeps_every_change_away() {
    let server = Server::http_files(&["--upload", "--modify"]);
    server.write("dir/a", "old");
    server.write("b", "b");
    // Begun before there was a lock.
    let begun = ask(&server, "PUT /dir/slow\r\nUpload-Complete: ?0", b"sl");
    assert_eq!(begun.status, 201, "{begun:?}");
    let upload = begun.header("location").to_owned();
    let token = lock(&server, "/dir/", "infinity");
    let form = "Content-Type: multipart/form-data; boundary=x\r\n";
    let body = "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"new\"\r\n\r\nx\r\n--x--\r\n";
    let patch = format!(
        "PATCH {upload}\r\nContent-Type: application/partial-upload\r\nUpload-Offset: 2\r\nUpload-Complete: ?1"
    );
    let set = "<D:propertyupdate xmlns:D='DAV:'><D:set><D:prop><a/></D:prop></D:set></D:propertyupdate>";
    let changes = [
        ("PUT of a file", "PUT /dir/a".to_owned(), "x"),
        ("PUT of a new one", "PUT /dir/new".to_owned(), "x"),
        ("a form", format!("POST /dir/\r\n{form}"), body),
        ("an upload that begins", "PUT /dir/up\r\nUpload-Complete: ?0".to_owned(), "x"),
        ("an upload that ends", patch.clone(), "ow"),
        ("PROPPATCH", "PROPPATCH /dir/a".to_owned(), set),
        ("MKCOL", "MKCOL /dir/sub".to_owned(), ""),
        ("COPY into it", "COPY /b\r\nDestination: /dir/b".to_owned(), ""),
        ("COPY over it", "COPY /b\r\nDestination: /dir".to_owned(), ""),
        ("MOVE into it", "MOVE /b\r\nDestination: /dir/b".to_owned(), ""),
        ("MOVE out of it", "MOVE /dir/a\r\nDestination: /a".to_owned(), ""),
        ("MOVE of it", "MOVE /dir\r\nDestination: /other".to_owned(), ""),
        ("DELETE", "DELETE /dir/a".to_owned(), ""),
        ("DELETE of what holds it", "DELETE /dir".to_owned(), ""),
        ("LOCK", "LOCK /dir/a".to_owned(), EXCLUSIVE),
        ("LOCK of a new name", "LOCK /dir/none".to_owned(), EXCLUSIVE),
    ];
    for (what, head, body) in &changes {
        let answer = ask(&server, head, body.as_bytes());
        assert_eq!(answer.status, 423, "{what}: {answer:?}");
        assert!(answer.text().contains("<D:href>/dir</D:href>"), "RFC 4918, 16, {what}: {answer:?}");
    }
    assert_eq!((server.read("dir/a"), server.root().join("b").exists()), (b"old".to_vec(), true));
    // What does not change it goes on; the token is not told to those who may not write.
    assert_eq!(ask(&server, "COPY /dir/a\r\nDestination: /copied", b"").status, 201);
    assert!(find(&server, "/dir/a", "0", "<D:lockdiscovery/>").text().contains(&token));
    // With the token all of it is done.
    for head in ["PUT /dir/a", "PUT /dir/new", "PUT /dir/more\r\nUpload-Complete: ?0"] {
        let answer = ask(&server, &format!("{head}\r\nIf: (<{token}>)"), b"new");
        assert!(matches!(answer.status, 201 | 204), "{head}: {answer:?}");
    }
    // What came of the upload that was refused is there, and wants nothing but its name.
    let answer = ask(&server, &format!("{}\r\nIf: </dir/> (<{token}>)", patch.replace("Offset: 2", "Offset: 4")), b"");
    assert_eq!((answer.status, server.read("dir/slow")), (201, b"slow".to_vec()), "{answer:?}");
    for (clause, head, status) in [
        ("RFC 4918, 10.4.3: another token", "PUT /dir/a\r\nIf: (<urn:uuid:1>)".to_owned(), 412),
        ("RFC 4918, 10.4.3: about another", format!("PUT /dir/a\r\nIf: </b> (<{token}>)"), 412),
        ("RFC 4918, 10.4.8", "PUT /dir/a\r\nIf: (Not <DAV:no-lock>)".to_owned(), 423),
        ("RFC 4918, 10.4: malformed", "PUT /dir/a\r\nIf: ()".to_owned(), 400),
        ("RFC 4918, 9.10.2: refreshed", format!("LOCK /dir/a\r\nIf: (<{token}>)\r\nTimeout: Second-5"), 200),
        ("RFC 4918, 9.10.2: not without a token", "LOCK /dir/a".to_owned(), 412),
        ("RFC 4918, 9.11: another token", "UNLOCK /dir/\r\nLock-Token: <urn:uuid:1>".to_owned(), 409),
        ("RFC 4918, 9.11: another resource", format!("UNLOCK /b\r\nLock-Token: <{token}>"), 409),
        ("RFC 4918, 9.11: no token", "UNLOCK /dir/".to_owned(), 400),
        ("RFC 4918, 9.11: by a member", format!("UNLOCK /dir/a\r\nLock-Token: <{token}>"), 204),
        ("it is gone", "DELETE /dir".to_owned(), 204),
    ] {
        let answer = ask(&server, &head, b"");
        assert_eq!(answer.status, status, "{clause}: {answer:?}");
    }
    // A lock of a name makes a file, and goes with it.
    let token = lock(&server, "/made", "0");
    assert_eq!(server.read("made"), b"");
    // davfs2 takes the tag of a young file for a strong one, and has its lock.
    let tag = ask(&server, "HEAD /made", b"").header("etag").trim_start_matches("W/").to_owned();
    for (condition, status) in [("\"other\"", 412), (tag.as_str(), 204)] {
        let head = format!("PUT /made\r\nIf-Match: {condition}\r\nIf: </made> (<{token}>)");
        assert_eq!(ask(&server, &head, b"x").status, status, "{condition}");
    }
    assert_eq!(ask(&server, "DELETE /made", b"").status, 423);
    assert_eq!(find(&server, "/made", "0", "<D:lockdiscovery/>").text().matches("<D:activelock>").count(), 1);
}

#[test]
fn the_lock_of_another_is_no_key() {
    let server = Server::with(&["--http", "--upload", "--guest", "read,write"]);
    server.write("a", "a");
    // A guest of this address, and the server's own user over a socket that proves it.
    let token = lock(&server, "/a", "0");
    let mut own = crate::harness::http::Scheme::TlsOwn.connect(&server);
    let answer = own.ask(&format!("PUT /a\r\nIf: (<{token}>)"), b"x");
    assert_eq!(answer.status, 423, "RFC 4918, 6.4: {answer:?}");
    let told = own.ask("PROPFIND /a\r\nDepth: 0", b"");
    assert!(told.text().contains("<D:activelock>") && !told.text().contains(&token), "RFC 4918, 6.8: {told:?}");
    assert_eq!(own.ask(&format!("UNLOCK /a\r\nLock-Token: <{token}>"), b"").status, 403, "RFC 4918, 9.11.1");
    assert_eq!(server.read("a"), b"a");
}

#[test]
fn copies_and_moves_lose_nothing() {
    let server = Server::http_files(&["--upload", "--modify"]);
    server.write("dir/a", "a");
    server.write("dir/sub/b", "b");
    server.write("dir/.hidden", "x");
    server.write("old/c", "c");
    server.write("file", "file");
    std::os::unix::fs::symlink("a", server.root().join("dir/link")).unwrap();
    std::os::unix::fs::symlink("/etc", server.root().join("dir/out")).unwrap();
    let status = |head: &str| ask(&server, head, b"").status;
    for (clause, head, want) in [
        ("RFC 4918, 9.8.5: it is there", "COPY /dir\r\nDestination: /old\r\nOverwrite: F", 412),
        ("RFC 4918, 9.8.5: no directory", "COPY /dir\r\nDestination: /no/such", 409),
        ("RFC 4918, 9.8.5: itself", "COPY /dir\r\nDestination: /dir/", 403),
        ("into itself", "COPY /dir\r\nDestination: /dir/new", 403),
        ("over what it lies in", "COPY /dir/sub\r\nDestination: /dir", 403),
        ("by dots", "COPY /dir\r\nDestination: /x/../dir/sub/new", 403),
        ("the root", "COPY /\r\nDestination: /new", 403),
        ("onto the root", "MOVE /file\r\nDestination: /", 403),
        ("up", "COPY /file\r\nDestination: /..%2f..%2fetc%2fx", 404),
        ("to a hidden name", "COPY /file\r\nDestination: /.x", 403),
        ("to another port", "COPY /file\r\nDestination: http://localhost:1/x", 502),
        ("to another scheme", "COPY /file\r\nDestination: ftp://localhost/x", 400),
        ("twice", "COPY /file\r\nDestination: /x\r\nDestination: /y", 400),
        ("RFC 4918, 9.8.3", "COPY /dir\r\nDestination: /new\r\nDepth: 1", 400),
        ("RFC 4918, 10.6", "COPY /dir\r\nDestination: /new\r\nOverwrite: X", 400),
        ("RFC 4918, 9.8.3: the directory alone", "COPY /dir\r\nDestination: /empty\r\nDepth: 0", 201),
        ("RFC 4918, 9.8.4: in place of a directory", "COPY /dir\r\nDestination: /old", 204),
        ("a file in place of a directory", "COPY /file\r\nDestination: /empty", 204),
        ("a directory in place of a file", "COPY /dir/sub\r\nDestination: /empty", 204),
        ("a file in place of one", "COPY /file\r\nDestination: /empty/b", 204),
        ("RFC 4918, 9.9.3: a tree in place of another", "MOVE /dir\r\nDestination: /empty", 204),
    ] {
        let answer = ask(&server, head, b"");
        assert_eq!(answer.status, want, "{clause}: {answer:?}");
    }
    assert!(!server.root().join("dir").exists() && !server.root().join("old/c").exists());
    assert!(!server.root().join("old/.hidden").exists(), "what is hidden is not copied");
    for path in ["old", "empty"] {
        assert_eq!(
            (server.read(&format!("{path}/a")), server.read(&format!("{path}/sub/b"))),
            (b"a".to_vec(), b"b".to_vec())
        );
        assert_eq!(std::fs::read_link(server.root().join(path).join("out")).unwrap(), std::path::Path::new("/etc"));
    }
    assert_eq!(status("GET /old/out/passwd"), 404);
    let left = std::fs::read_dir(server.root()).unwrap().count();
    assert_eq!(left, 3, "nothing stays aside");
    let reader = Server::with(&["--http", "--upload", "--modify", "--guest", "write"]);
    reader.write("a", "a");
    assert_eq!(ask(&reader, "COPY /a\r\nDestination: /b", b"").status, 401);
    let blind = ask(&reader, "LOCK /a", EXCLUSIVE.as_bytes());
    assert_eq!(blind.status, 200);
    let answer = ask(&reader, "DELETE /a", b"");
    assert!(answer.status == 423 && !answer.text().contains("href"), "a name is for those who may look: {answer:?}");
}

#[test]
fn what_a_symlink_leads_to_stays_as_it_is() {
    let server = Server::http_files(&["--upload", "--modify"]);
    server.write("dir/a", "a");
    std::os::unix::fs::symlink("dir", server.root().join("link")).unwrap();
    let set = "<D:propertyupdate xmlns:D='DAV:'><D:set><D:prop><x:note xmlns:x='urn:x'>n</x:note></D:prop></D:set></D:propertyupdate>";
    assert_eq!(ask(&server, "PROPPATCH /dir/", set.as_bytes()).status, 207);
    assert_eq!(ask(&server, "COPY /link\r\nDestination: /copy", b"").status, 201);
    assert_eq!(server.read("copy/a"), b"a", "it is shown as a directory, and copied as one");
    let token = lock(&server, "/dir/", "0");
    let listed = find(&server, "/", "1", "<D:lockdiscovery/>");
    assert_eq!(listed.text().matches("<D:activelock>").count(), 2, "by both names: {listed:?}");
    assert_eq!(ask(&server, "DELETE /link", b"").status, 423);
    assert_eq!(ask(&server, &format!("MOVE /link\r\nDestination: /moved\r\nIf: </dir/> (<{token}>)"), b"").status, 201);
    assert_eq!(ask(&server, &format!("DELETE /moved\r\nIf: </dir/> (<{token}>)"), b"").status, 204);
    let found = find(&server, "/dir/", "0", "<D:lockdiscovery/><x:note/>");
    assert!(found.text().contains(&token) && found.text().contains(">n</"), "{found:?}");
    assert_eq!(server.read("dir/a"), b"a");
}

#[test]
fn what_cannot_go_stays_whole() {
    let server = Server::http_files(&["--upload", "--modify"]);
    for name in ["dir/a", "dir/sub/b", "hidden/.git/config", "new/x"] {
        server.write(name, "x");
    }
    // A file comes into the tree at this moment.
    let mut http = crate::harness::http::Scheme::Plain.connect(&server);
    http.send(b"PUT /dir/sub/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nsl");
    let slow = || std::fs::read_dir(server.root().join("dir/sub")).unwrap().count() == 2;
    crate::harness::wait_until("the upload has begun", slow);
    for head in ["DELETE /dir", "COPY /new\r\nDestination: /dir", "MOVE /new\r\nDestination: /dir"] {
        let answer = ask(&server, head, b"");
        assert!(answer.status == 409 && answer.text().contains("unfinished"), "{head}: {answer:?}");
    }
    assert!(server.root().join("dir/a").exists() && server.root().join("new/x").exists());
    http.send(b"ow");
    assert_eq!(http.answer(true).unwrap().status, 201);
    assert_eq!(server.read("dir/sub/slow"), b"slow");
    // What the client does not see it does not mean to replace.
    for head in ["COPY /new\r\nDestination: /hidden", "MOVE /new\r\nDestination: /hidden"] {
        let answer = ask(&server, head, b"");
        assert!(answer.status == 409 && !answer.text().contains("git"), "{head}: {answer:?}");
    }
    assert_eq!(server.read("hidden/.git/config"), b"x");
    assert_eq!(ask(&server, "MOVE /new\r\nDestination: /dir", b"").status, 204);
    assert_eq!(crate::harness::files::names(server.root()), ["dir", "hidden"]);
}

/// What could not be done is named as the client knows it, and not as the server has it meanwhile.
#[test]
fn an_answer_about_members_names_their_urls() {
    let server = Server::http_files(&["--upload", "--modify", "--max-upload", "10"]);
    server.write("above/dir/sub/small", "1");
    server.write("above/dir/sub/large", "more than ten bytes");
    server.write("above/dir/large", "more than ten bytes");
    let answer = ask(&server, "COPY /above/dir\r\nDestination: /above/new%20one", b"");
    assert_eq!((answer.status, answer.text().matches("<D:status>").count()), (207, 2), "RFC 4918, 9.8.5: {answer:?}");
    assert_eq!(hrefs(&answer), ["/above/new%20one/large", "/above/new%20one/sub/large"]);
    assert!(answer.text().contains("413") && !answer.text().contains(".part"), "{answer:?}");
    assert!(server.root().join("above/new one/sub/small").exists());
    // Of a tree with a member that another has locked nothing is removed.
    let mut other = crate::harness::http::Scheme::Plain.connect(&server);
    let locked = other.ask("LOCK /above/dir/sub/small", EXCLUSIVE.as_bytes());
    assert_eq!(locked.status, 200, "{locked:?}");
    let answer = ask(&server, "DELETE /above/", b"");
    assert_eq!((answer.status, hrefs(&answer)), (423, vec!["/above/dir/sub/small"]), "RFC 4918, 9.6.1 and 16");
    assert!(server.root().join("above/dir/large").exists() && server.root().join("above/new one").exists());
}

/// RFC 4918, 9.6.1: a member that stays is told with a status of its own, and its directories stay with it.
#[test]
fn a_removal_that_ends_in_its_middle_names_the_member() {
    let Some(nobody) = Nobody::new() else { return };
    let path = |name: &str| nobody.work().join(name);
    for name in ["tree/sub/kept", "dots/.git/kept"] {
        let dir = path(name).parent().unwrap().to_owned();
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(path(name), "x").unwrap();
        // The directory itself stays the superuser's: what is in it cannot be removed.
        Nobody::own(dir.parent().unwrap());
    }
    let server = nobody.server(&["--http", "--upload", "--modify", "--guest", "read,write"]);
    let writer = nobody.server(&["--http", "--upload", "--modify", "--guest", "write"]);

    let answer = ask(&server, "DELETE /tree/", b"");
    assert_eq!((answer.status, answer.header("content-type")), (207, "application/xml; charset=utf-8"), "{answer:?}");
    assert_eq!((hrefs(&answer), text(&answer, "status")), (vec!["/tree/sub/kept"], "HTTP/1.1 403 Forbidden"));
    assert_eq!(text(&answer, "responsedescription"), "/tree/sub/kept: permission denied");
    assert!(path("tree/sub/kept").exists());
    let is_logged = || server.log().contains("outcome=\"207, /tree/sub/kept: permission denied\"");
    crate::harness::wait_until("the log names the member", is_logged);
    let answer = ask(&server, "DELETE /tree/\r\nAccept: text/plain", b"");
    assert_eq!((answer.status, answer.header("content-type")), (409, "text/plain; charset=utf-8"), "as the page asks");
    assert!(answer.text().starts_with("/tree/sub/kept: permission denied; "), "{answer:?}");
    for (why, server, path) in [
        ("it is what the request is about", &server, "/tree/sub/kept"),
        ("what is not shown has no name", &server, "/dots"),
        ("a name is for those who may look", &writer, "/tree"),
    ] {
        let answer = ask(server, &format!("DELETE {path}"), b"");
        assert_eq!((answer.status, answer.text()), (403, &*format!("{path}: permission denied\n")), "{why}");
    }
    Nobody::own(&path("tree/sub"));
    assert_eq!(ask(&server, "DELETE /tree/", b"").status, 204);
    assert!(!path("tree").exists());
}

#[test]
fn limits_hold_for_what_webdav_makes() {
    let server = Server::http_files(&["--upload", "--modify", "--min-free", "1000T"]);
    server.write("a", "a");
    server.write("dir/a", "a");
    let fifo = server.root().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::os::unix::fs::symlink("/etc/passwd", server.root().join("out")).unwrap();
    for (what, head, body, status) in [
        ("COPY of a file", "COPY /a\r\nDestination: /b", "", 507),
        ("COPY of a tree", "COPY /dir\r\nDestination: /new", "", 507),
        ("LOCK of a new name", "LOCK /new", EXCLUSIVE, 507),
        ("LOCK of a pipe", "LOCK /fifo", EXCLUSIVE, 404),
        ("LOCK of what is outside", "LOCK /out", EXCLUSIVE, 404),
    ] {
        let answer = ask(&server, head, body.as_bytes());
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    }
    assert_eq!(crate::harness::files::names(server.root()), ["a", "dir", "fifo", "out"]);
    assert!(find(&server, "/", "1", "<D:lockdiscovery/>").text().matches("activelock").count() == 0);
}

#[test]
fn a_time_is_set_only_where_things_may_be_changed() {
    let body = "<D:propertyupdate xmlns:D='DAV:' xmlns:w='urn:schemas-microsoft-com:'><D:set><D:prop><x/>\
        <w:Win32LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</w:Win32LastModifiedTime></D:prop></D:set></D:propertyupdate>";
    for (options, path, want) in [
        (&["--upload"][..], "/a", ["424 Failed Dependency", "403 Forbidden"]),
        (&["--upload", "--modify"], "/a", ["200 OK", "200 OK"]),
        (&["--upload", "--modify"], "/", ["200 OK", "200 OK"]),
    ] {
        let server = Server::http_files(options);
        server.write("a", "a");
        let answer = ask(&server, &format!("PROPPATCH {path}"), body.as_bytes());
        assert!(answer.status == 207 && want.iter().all(|want| answer.text().contains(want)), "{path}: {answer:?}");
        let found = find(&server, path, "0", "<D:getlastmodified/>");
        assert_eq!(found.text().contains("Sun, 06 Nov 1994"), want[0] == "200 OK", "{path}: {found:?}");
    }
}

#[test]
fn properties_are_kept_and_go_along() {
    let server = Server::http_files(&["--upload", "--modify"]);
    server.write("a", "a");
    let patch = |path: &str, inner: &str| {
        let body = format!(
            "<D:propertyupdate xmlns:D='DAV:' xmlns:x='urn:x' xmlns:w='urn:schemas-microsoft-com:'>{inner}</D:propertyupdate>"
        );
        ask(&server, &format!("PROPPATCH {path}"), body.as_bytes())
    };
    let set = |path: &str, property: &str| patch(path, &format!("<D:set><D:prop>{property}</D:prop></D:set>"));
    let value = |path: &str| find(&server, path, "0", "<x:note/>").text().to_owned();
    let answer = set("/a", "<x:note xml:lang='en'>\u{1f600} &lt;<y xmlns='urn:y' z='&quot;'/></x:note>");
    assert!(answer.status == 207 && answer.text().contains("200 OK"), "{answer:?}");
    let want = "<note xmlns=\"urn:x\" xml:lang=\"en\">\u{1f600} &lt;<y xmlns=\"urn:y\" z=\"&quot;\"/></note>";
    assert!(value("/a").contains(want), "{}", value("/a"));
    assert_eq!(ask(&server, "PUT /a", b"new").status, 204);
    assert_eq!(ask(&server, "COPY /a\r\nDestination: /b", b"").status, 201);
    assert_eq!(ask(&server, "MOVE /a\r\nDestination: /c", b"").status, 201);
    assert!(value("/b").contains(want) && value("/c").contains(want));
    assert!(ask(&server, "PROPFIND /\r\nDepth: 1", b"").text().matches(want).count() == 2);
    assert_eq!(ask(&server, "DELETE /c", b"").status, 204);
    server.write("c", "c");
    assert!(value("/c").contains("404 Not Found"));
    what_came_from_outside_has_no_properties(&server, &set, &value);
    // All or nothing.
    let answer = patch(
        "/b",
        "<D:remove><D:prop><x:note/></D:prop></D:remove><D:set><D:prop><D:getetag>1</D:getetag></D:prop></D:set>",
    );
    assert!(answer.text().contains("403 Forbidden") && answer.text().contains("424 Failed Dependency"), "{answer:?}");
    assert!(value("/b").contains(want), "RFC 4918, 9.2");
    // Explorer's times: the last one is the file's.
    let answer = set(
        "/b",
        "<w:Win32CreationTime>Sun, 06 Nov 1994 08:49:37 GMT</w:Win32CreationTime>\
        <w:Win32LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</w:Win32LastModifiedTime><w:Win32FileAttributes>00000020</w:Win32FileAttributes>",
    );
    assert!(answer.text().contains("200 OK") && !answer.text().contains("424"), "{answer:?}");
    assert_eq!(ask(&server, "HEAD /b", b"").header("last-modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert!(set("/b", "<w:Win32LastModifiedTime>then</w:Win32LastModifiedTime>").text().contains("409 Conflict"));
    // rclone's.
    let answer = ask(&server, "PUT /d\r\nX-OC-Mtime: 784111777", b"d");
    assert_eq!((answer.status, answer.header("x-oc-mtime")), (201, "accepted"));
    assert_eq!(ask(&server, "HEAD /d", b"").header("last-modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
    let long = set("/b", &format!("<x:long>{}</x:long>", "x".repeat(65_000)));
    assert!(long.text().contains("507 Insufficient Storage"), "{long:?}");
    assert_eq!(patch("/none", "<D:set><D:prop><x:a/></D:prop></D:set>").status, 404);
}

/// They are a file's, and go with it: not with its name, where another program has put another file.
fn what_came_from_outside_has_no_properties(
    server: &Server,
    set: &dyn Fn(&str, &str) -> Answer,
    value: &dyn Fn(&str) -> String,
) {
    let has = |path: &str| value(path).contains("kept");
    let mark = |path: &str| assert!(set(path, "<x:note>kept</x:note>").text().contains("200 OK"), "{path}");
    let own = |path: &str| server.root().join(path);
    std::fs::create_dir_all(own("tree/sub")).unwrap();
    for file in ["e", "tree/f", "tree/sub/g"] {
        server.write(file, "1");
    }
    let marked = ["/e", "/tree/", "/tree/f", "/tree/sub/g"];
    for path in marked {
        mark(path);
    }
    // A change in place is one of the same file.
    server.write("e", "22");
    assert!(marked.iter().all(|path| has(path)));
    // Removed and made again, with the same number perhaps.
    std::fs::remove_file(own("e")).unwrap();
    server.write("e", "3");
    // Replaced as editors do it.
    server.write("other", "4");
    std::fs::rename(own("other"), own("tree/f")).unwrap();
    assert!(!has("/e") && !has("/tree/f") && has("/tree/") && has("/tree/sub/g"));
    let all = ask(server, "PROPFIND /tree/\r\nDepth: 1", b"");
    assert_eq!(all.text().matches("kept").count(), 1, "{all:?}");
    // What is copied or moved takes what it has, and no more.
    mark("/e");
    assert_eq!(ask(server, "PUT /e", b"5").status, 204);
    assert_eq!(ask(server, "PUT /tree/f", b"5").status, 204);
    assert_eq!(ask(server, "COPY /tree/\r\nDestination: /copied/", b"").status, 201);
    assert_eq!(ask(server, "MOVE /tree/\r\nDestination: /moved/", b"").status, 201);
    for tree in ["copied", "moved"] {
        let found = ["", "f", "sub/g"].map(|path| has(&format!("/{tree}/{path}")));
        assert_eq!(found, [true, false, true], "{tree}");
    }
    assert!(has("/e"));
    std::fs::remove_dir_all(own("moved")).unwrap();
    std::fs::create_dir(own("moved")).unwrap();
    assert!(!has("/moved/"));
    for path in ["/e", "/copied/", "/moved/"] {
        assert_eq!(ask(server, &format!("DELETE {path}"), b"").status, 204);
    }
}

#[test]
fn what_finder_and_explorer_need_is_there() {
    let server = Server::http_files(&["--upload", "--modify"]);
    let answer = ask(&server, "OPTIONS /", b"");
    assert_eq!((answer.status, answer.header("dav"), answer.header("ms-author-via")), (200, "1, 2", "DAV"));
    let all = "GET, HEAD, OPTIONS, PUT, POST, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK";
    assert_eq!(answer.header("allow"), all);
    let read_only = Server::http_files(&[]);
    assert_eq!(ask(&read_only, "OPTIONS /", b"").header("dav"), "1");
    for method in ["PROPPATCH", "LOCK", "UNLOCK", "MKCOL", "COPY", "MOVE", "DELETE", "PUT"] {
        let answer = ask(&read_only, &format!("{method} /"), b"");
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, OPTIONS, PROPFIND"), "{method}");
    }
    // Finder: a second file for what has no place in the first, and the length of chunks in a field of its own.
    assert_eq!(ask(&server, "PUT /._a", b"resource").status, 201);
    assert_eq!(ask(&server, "GET /._a", b"").body, b"resource");
    assert_eq!(hrefs(&find(&server, "/._a", "0", "")), ["/._a"]);
    assert_eq!(hrefs(&find(&server, "/", "1", "")), ["/"], "no list has it");
    for name in [".DS_Store", ".hidden", "._", ".x/._a"] {
        assert_eq!(ask(&server, &format!("PUT /{name}"), b"x").status, 403, "{name}");
    }
    read_only_has_none(&read_only);
    for (length, status) in [(3, 201), (4, 400)] {
        let mut http = crate::harness::http::Scheme::Plain.connect(&server);
        http.send(format!("PUT /{length} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked\r\nX-Expected-Entity-Length: {length}\r\n\r\n3\r\nabc\r\n0\r\n\r\n").as_bytes());
        assert_eq!(http.answer(true).unwrap().status, status, "{length}");
    }
    assert!(server.root().join("3").exists() && !server.root().join("4").exists());
}

fn read_only_has_none(server: &Server) {
    server.write("._a", "x");
    for head in ["GET /._a", "PROPFIND /._a\r\nDepth: 0"] {
        assert_eq!(ask(server, head, b"").status, 404, "{head}");
    }
}
