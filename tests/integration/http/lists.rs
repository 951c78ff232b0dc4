//! Directories over HTTP: their lists, and the archives of all that is below them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::Server;
use crate::harness::http::{Answer, Scheme, ask};
use crate::harness::skip::is_installed;

fn json(server: &Server, target: &str) -> Value {
    let answer = ask(server, &format!("GET {target}"), b"");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{target}");
    serde_json::from_slice(&answer.body).unwrap()
}

fn names(list: &Value) -> Vec<String> {
    let name = |entry: &Value| entry["name"].as_str().map_or_else(|| entry["name"].to_string(), str::to_owned);
    list["entries"].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_directory_is_a_page_lines_or_json_as_the_client_accepts() {
    let server = Server::http_files(&["--title", "My <files>"]);
    server.write("docs/a b.txt", "hello");
    server.write("docs/sub/c", "");
    let browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (target, lines, media_type) in [
        ("/docs/", browser, "text/html; charset=utf-8"),
        ("/docs/", "", "text/html; charset=utf-8"),
        ("/docs/", "Accept: */*", "text/plain; charset=utf-8"),
        ("/docs/", "Accept: */*\r\nUser-Agent: Wget/1.21", "text/html; charset=utf-8"),
        ("/docs/", "Accept: application/json", "application/json"),
        ("/docs/?json", browser, "application/json"),
        ("/docs/?text", browser, "text/plain; charset=utf-8"),
        ("/docs/?html", "Accept: */*", "text/html; charset=utf-8"),
    ] {
        let get = ask(&server, &format!("GET {target}\r\n{lines}"), b"");
        assert_eq!((get.status, get.header("content-type")), (200, media_type), "{target} {lines}");
        assert_eq!(get.header("cache-control"), "private, no-cache");
        assert!(get.header("vary").contains("Accept"), "{get:?}");
        let head = ask(&server, &format!("HEAD {target}\r\n{lines}"), b"");
        assert_eq!((head.header("content-length"), head.body.len()), (get.body.len().to_string().as_str(), 0));
    }
    assert_eq!(ask(&server, "GET /docs/?text", b"").text(), "sub/\na b.txt\n");
    let page = ask(&server, "GET /docs/", b"");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(page.text().contains("<a href=\"a%20b.txt\" data-view>a b.txt</a>"), "{}", page.text());
    assert!(page.text().contains("<a href=\"../\">My &#60;files&#62;</a>") && !page.text().contains("id=\"upload\""));
    for bad in ["?sort=date", "?page=0", "?order=x", "?zip=lzma", "?tar&zip"] {
        assert_eq!(ask(&server, &format!("GET /docs/{bad}"), b"").status, 400, "{bad}");
    }
}

#[test]
fn a_directory_without_its_slash_is_sent_on_to_it() {
    let server = Server::http_files(&[]);
    server.write("a b:c/x", "");
    for (target, location) in [
        ("/a%20b:c", "./a%20b:c/"),
        ("/a%20b:c?sort=size&x=%26", "./a%20b:c/?sort=size&x=%26"),
        ("//a%20b%3ac", "./a%20b%3ac/"),
    ] {
        let answer = ask(&server, &format!("GET {target}"), b"");
        assert_eq!((answer.status, answer.header("location")), (301, location), "{target}");
    }
    assert_eq!(ask(&server, "GET /a%20b:c/x/", b"").status, 404);
    assert_eq!(ask(&server, "GET /none/", b"").status, 404);
}

#[test]
fn entries_are_sorted_and_paged() {
    let server = Server::http_files(&[]);
    for (name, len, day) in [("file10", 1, 3), ("file2", 3, 1), ("File1", 2, 2)] {
        let path = server.write(name, vec![b'x'; len]);
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86_400 * day);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    for dir in ["d10", "d9"] {
        fs::create_dir(server.root().join(dir)).unwrap();
    }
    for (query, want) in [
        ("", "d9 d10 File1 file2 file10"),
        ("&order=desc", "d10 d9 file10 file2 File1"),
        ("&sort=size", "d9 d10 file10 File1 file2"),
        ("&sort=size&order=desc", "d9 d10 file2 File1 file10"),
        ("&sort=modified&page=2&per_page=2", "file2 File1"),
        ("&page=2&per_page=2", "File1 file2"),
        ("&page=9&per_page=2", ""),
        ("&order=desc&page=3&per_page=2", "File1"),
    ] {
        let list = json(&server, &format!("/?json{query}"));
        assert_eq!(names(&list).join(" "), want, "{query}");
        assert_eq!(list["total"], 5);
        let lines = ask(&server, &format!("GET /?text{query}"), b"");
        assert_eq!(lines.text().replace('/', "").split_whitespace().collect::<Vec<_>>().join(" "), want, "{query}");
    }
    let list = json(&server, "/?json&sort=size&order=desc&page=2&per_page=2");
    let file = &list["entries"][0];
    let want = serde_json::json!({
        "name": "file2", "kind": "file", "size": 3, "modified": "1970-01-02T00:00:00Z", "href": "file2",
    });
    assert_eq!((file, &list["pages"], &list["per_page"]), (&want, &3.into(), &2.into()));
    let mut unsorted = names(&json(&server, "/?json&sort=none"));
    unsorted.sort();
    assert_eq!(unsorted, ["File1", "d10", "d9", "file10", "file2"]);
    let pages = [1, 2, 3].map(|page| names(&json(&server, &format!("/?json&sort=none&per_page=2&page={page}"))));
    let mut paged = pages.concat();
    paged.sort();
    assert_eq!(paged, unsorted, "{pages:?}");
}

/// A directory with names that no program should choose, and some that no visitor gets.
fn odd(server: &Server) {
    server.write("t/plain.txt", "text ".repeat(1000));
    server.write("t/deep/er/still.bin", vec![7; 70_000]);
    server.write("t/empty", "");
    server.write("t/.dot", "kept back");
    server.write("t/.x.1a2b3c4d.part", "on its way in");
    server.write(&format!("t/{}", "n".repeat(255)), "long");
    let root = server.root().join("t");
    fs::create_dir(root.join("hollow")).unwrap();
    fs::create_dir(root.join(OsStr::from_bytes(b"\xff"))).unwrap();
    for name in [&b"\xff/\xfe"[..], b"<b>\"&'", b"new\nline", "bidi\u{202e}gpj".as_bytes(), b"back\\slash", b"%41 +?#"]
    {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    for (target, name) in [
        ("plain.txt", "to-file"),
        ("deep", "to-dir"),
        ("/etc/passwd", "absolute"),
        ("../../outside", "out"),
        ("nowhere", "dangling"),
        ("../t/empty", "round"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    fs::set_permissions(root.join("plain.txt"), fs::Permissions::from_mode(0o751)).unwrap();
}

#[test]
fn odd_names_are_listed_and_each_href_leads_to_its_file() {
    let server = Server::http_files(&[]);
    odd(&server);
    let list = json(&server, "/t/?json");
    let entries = list["entries"].as_array().unwrap();
    assert!(!names(&list).iter().any(|name| name.starts_with('.')), "{list}");
    let (mut served, mut others) = (0, Vec::new());
    for entry in entries {
        let Some(href) = entry["href"].as_str() else {
            others.push((entry["name"].as_str().unwrap(), entry["kind"].as_str().unwrap()));
            continue;
        };
        served += 1;
        let answer = ask(&server, &format!("GET /t/{href}"), b"");
        assert_eq!(answer.status, 200, "{entry}");
        if entry["kind"] == "file" {
            assert_eq!(entry["size"], answer.body.len(), "{entry}");
        }
    }
    others.sort_unstable();
    let want = [("absolute", "link"), ("dangling", "link"), ("fifo", "other"), ("out", "link")];
    assert_eq!((others.as_slice(), served), (&want[..], 14));
    let of = |name: &str| entries.iter().find(|entry| entry["name"] == *name).unwrap().clone();
    assert_eq!((&of("to-dir")["kind"], &of("to-dir")["link"]), (&"dir".into(), &"deep".into()));
    assert_eq!((&of("round")["kind"], &of("round")["size"]), (&"file".into(), &0.into()));
    let text = ask(&server, "GET /t/?text", b"");
    assert_eq!(text.text().lines().count(), entries.len());
    for line in ["to-dir/", "to-file", "new\\nline", "bidi\\u{202e}gpj", "\\xff/", "hollow/"] {
        assert!(text.text().lines().any(|own| own == line), "{line} in {}", text.text());
    }
    let hidden = Server::http_files(&["--hidden"]);
    hidden.write(".dot", "");
    hidden.write(".x.1a2b3c4d.part", "");
    assert_eq!(ask(&hidden, "GET /?text", b"").text(), ".dot\n");
}

/// What is below a directory: path, kind, content or target, permission bits.
fn below(dir: &Path) -> Vec<(Vec<u8>, &'static str, Vec<u8>, u32)> {
    fn walk(dir: &Path, prefix: &[u8], found: &mut Vec<(Vec<u8>, &'static str, Vec<u8>, u32)>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = [prefix, entry.file_name().as_bytes()].concat();
            let metadata = entry.metadata().unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            if metadata.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().to_vec();
                found.push((path, "link", target, 0o777));
            } else if metadata.is_dir() {
                found.push((path.clone(), "dir", Vec::new(), mode));
                walk(&entry.path(), &[&path[..], b"/"].concat(), found);
            } else if metadata.is_file() {
                found.push((path, "file", fs::read(entry.path()).unwrap(), mode));
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, b"", &mut found);
    found.sort();
    found
}

/// What an archive of such a directory holds.
fn archived(server: &Server) -> Vec<(Vec<u8>, &'static str, Vec<u8>, u32)> {
    let is_left_out = |path: &[u8]| path.starts_with(b".") || [&b"absolute"[..], b"out"].contains(&path);
    let all = below(&server.root().join("t"));
    all.into_iter().filter(|(path, ..)| !is_left_out(path)).collect()
}

/// Unpacks with a program that others wrote.
fn unpacked(answer: &Answer, program: &str, args: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("archive");
    fs::write(&file, &answer.body).unwrap();
    let ran =
        Command::new(program).args(args).arg(&file).current_dir(dir.path()).stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
    fs::remove_file(file).unwrap();
    dir
}

#[test]
fn a_tar_unpacks_to_the_same_tree() {
    let server = Server::http_files(&[]);
    odd(&server);
    let answer = ask(&server, "GET /t/?tar", b"");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-tar"));
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"t.tar\"");
    assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "a browser shows progress");
    let head = ask(&server, "HEAD /t/?tar", b"");
    assert_eq!(head.header("content-length"), answer.header("content-length"));
    if is_installed("tar", "--version") {
        let dir = unpacked(&answer, "tar", &["-xpf"]);
        assert_eq!(below(&dir.path().join("t")), archived(&server));
        let time = |dir: &Path| dir.join("t/plain.txt").metadata().unwrap().modified().unwrap();
        let off = time(server.root()).duration_since(time(dir.path())).unwrap();
        assert!(off.as_secs() == 0, "tar has whole seconds: {off:?}");
    }
    // The root has a name of its own there.
    let mut whole = ::tar::Archive::new(std::io::Cursor::new(ask(&server, "GET /?tar", b"").body));
    let paths: Vec<_> = whole.entries().unwrap().map(|entry| entry.unwrap().path_bytes().into_owned()).collect();
    let name = server.root().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
    assert!(paths.iter().all(|path| path.starts_with(format!("{name}/").as_bytes())), "{paths:?}");
    assert!(paths.contains(&format!("{name}/t/deep/er/still.bin").into_bytes()));
    let titled = Server::http_files(&["--title", " ../Our: photos. "]);
    let answer = ask(&titled, "GET /?zip", b"");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"-Our- photos.zip\"");
}

#[test]
fn an_archive_leaves_out_what_the_root_hides() {
    let shown = tempfile::tempdir().unwrap();
    let home = shown.path().join("keys");
    // An identity is made there.
    let server = Server::with_args(&["--http", "--guest", "read"], shown.path(), &home);
    for entry in fs::read_dir(&home).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let other = shown.path().join(format!("linked-{}", entry.file_name().display()));
        fs::hard_link(entry.path(), other).unwrap();
    }
    fs::write(shown.path().join("a"), "a").unwrap();
    assert!(fs::read_dir(shown.path()).unwrap().count() > 2);
    for query in ["tar", "zip=store"] {
        let answer = ask(&server, &format!("GET /?{query}"), b"");
        assert_eq!((answer.status, answer.header("content-length")), (200, &*answer.body.len().to_string()), "{query}");
    }
    let mut tar = ::tar::Archive::new(std::io::Cursor::new(ask(&server, "GET /?tar", b"").body));
    let paths: Vec<_> = tar.entries().unwrap().map(|entry| entry.unwrap().path_bytes().into_owned()).collect();
    assert_eq!(paths, [&b"files/"[..], b"files/a"]);
    assert_eq!(ask(&server, "GET /keys/?tar", b"").status, 404);
}

#[test]
fn a_zip_unpacks_to_the_same_tree() {
    let server = Server::http_files(&[]);
    odd(&server);
    let stored = ask(&server, "GET /t/?zip=store", b"");
    assert_eq!(stored.header("content-length"), stored.body.len().to_string());
    let deflated = ask(&server, "GET /t/?zip", b"");
    assert_eq!((deflated.header("content-type"), deflated.header("content-length")), ("application/zip", ""));
    assert!(deflated.body.len() + 4_000 < stored.body.len());
    for answer in [&stored, &deflated] {
        let mut zip = ::zip::ZipArchive::new(std::io::Cursor::new(&answer.body)).unwrap();
        let mut found = Vec::new();
        for at in 0..zip.len() {
            let mut entry = zip.by_index(at).unwrap();
            let path = entry.name_raw().strip_prefix(b"t/").unwrap();
            let path = path.strip_suffix(b"/").unwrap_or(path).to_vec();
            let (name, mode) = (entry.name_raw().to_vec(), entry.unix_mode().unwrap() & 0o777);
            let mut data = Vec::new();
            std::io::copy(&mut entry, &mut data).unwrap();
            match (name.ends_with(b"/"), entry.is_symlink()) {
                (true, _) => found.push((path, "dir", data, mode)),
                (false, true) => found.push((path, "link", data, 0o777)),
                (false, false) => found.push((path, "file", data, mode)),
            }
        }
        found.retain(|(path, ..)| !path.is_empty());
        found.sort();
        // A backslash is a separator to some programs.
        let mut expected = archived(&server);
        let all = expected.iter_mut().flat_map(|(path, ..)| path.iter_mut());
        all.filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'_');
        expected.sort();
        assert!(found == expected, "what is unpacked is not what was packed");
    }
    if is_installed("unzip", "-v") {
        let dir = unpacked(&stored, "unzip", &["-q"]);
        assert_eq!(fs::read(dir.path().join("t/deep/er/still.bin")).unwrap(), vec![7; 70_000]);
        assert_eq!(fs::read_link(dir.path().join("t/to-file")).unwrap(), Path::new("plain.txt"));
    }
    if is_installed("python3", "--version") {
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
                      print(z.read('t/bidi\\u202egpj').decode())";
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &deflated.body).unwrap();
        let ran =
            Command::new("python3").args(["-c", script]).arg(file.path()).env("PYTHONUTF8", "1").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "bidi\u{202e}gpj\n", "{ran:?}");
    }
}

/// A file of 64 MiB, more than all buffers on the way take.
const LARGE: u64 = 64 << 20;

/// Makes it, older than the resolution of the file system's clock.
fn sparse(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(LARGE).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
}

type Change = fn(&Path);

fn truncate(path: &Path) {
    File::options().write(true).open(path).unwrap().set_len(1 << 20).unwrap();
}

fn overwrite(path: &Path) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(LARGE - 5)).unwrap();
    file.write_all(b"other").unwrap();
}

fn append(path: &Path) {
    File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
}

#[test]
fn an_archive_of_a_file_that_changes_never_looks_whole() {
    let server = Server::http_files(&[]);
    // `b` is compressed in a zip, whose length is not known then.
    server.write("t/b.txt", "text");
    let changes: [(Change, bool); 3] = [(truncate, false), (overwrite, false), (append, true)];
    for (number, (change, is_whole)) in changes.into_iter().enumerate() {
        for query in ["tar", "zip", "zip=store"] {
            let path = server.write("t/a", "");
            sparse(&path);
            let mut http = Scheme::Plain.connect(&server);
            http.send(format!("GET /t/?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
            let head = http.answer(false).unwrap();
            change(&path);
            let whole = match head.header("content-length") {
                "" => http.chunks().is_some(),
                len => http.rest().len().to_string() == len,
            };
            assert_eq!(whole, is_whole, "change {number}, {query}");
        }
    }
    // What takes another's place before it is read.
    let last = server.write("t/z", "old");
    let mut http = Scheme::Plain.connect(&server);
    sparse(&server.root().join("t/a"));
    http.send(b"GET /t/?tar HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let head = http.answer(false).unwrap();
    fs::write(last.with_file_name("new"), "new").unwrap();
    fs::rename(last.with_file_name("new"), &last).unwrap();
    assert!(http.rest().len().to_string() != head.header("content-length"));
    server.wait_for_log("z: changed while it was sent");
}

#[test]
fn a_deep_tree_is_whole_or_refused() {
    let server = Server::http_files(&[]);
    let deep = |depth: usize| fs::create_dir_all(server.root().join("d/".repeat(depth))).unwrap();
    let get = || {
        let mut http = Scheme::Plain.connect(&server);
        http.send(b"GET /?tar HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let head = http.answer(false).unwrap();
        // What takes too long to measure is sent in chunks.
        let is_whole = match head.header("content-length") {
            "" => http.chunks().is_some(),
            len => http.rest().len().to_string() == len,
        };
        (head.status, is_whole)
    };
    deep(511);
    assert_eq!(get(), (200, true));
    deep(513);
    let (status, is_whole) = get();
    assert!(status == 403 || !is_whole, "{status}");
}

#[test]
fn a_directory_of_100_000_entries_is_listed_whole_and_in_pages() {
    let server = Server::http_files(&[]);
    let dir = server.root().join("many");
    fs::create_dir(&dir).unwrap();
    for number in 0..100_000 {
        File::create(dir.join(format!("f{number}"))).unwrap();
    }
    for target in ["/many/?json", "/many/?json&sort=none", "/many/?json&sort=size&order=desc"] {
        let list = json(&server, target);
        assert_eq!((list["entries"].as_array().unwrap().len(), &list["total"]), (100_000, &100_000.into()), "{target}");
    }
    let text = ask(&server, "GET /many/?text", b"");
    assert_eq!(text.header("transfer-encoding"), "chunked");
    assert!(text.text().lines().map(str::to_owned).eq((0..100_000).map(|number| format!("f{number}"))));
    let zip = ask(&server, "GET /many/?zip=store", b"");
    assert_eq!(::zip::ZipArchive::new(std::io::Cursor::new(&zip.body)).unwrap().len(), 100_001);
    let page = ask(&server, "GET /many/?html&page=100", b"");
    assert!(page.text().contains("f99999") && page.text().contains("page 100 of 100"));
    assert_eq!(page.text().matches("<tr data-kind").count(), 1_000);
}

#[test]
fn a_drop_box_shows_a_form_and_tells_nothing() {
    let server = Server::http_files(&["--drop-box"]);
    server.write("secret/file", "x");
    let page = ask(&server, "GET /", b"");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("id=\"upload\"") && !page.text().contains("secret"), "{}", page.text());
    for target in ["/secret", "/secret/", "/secret/file", "/secret/?tar", "/none", "/none/"] {
        let answer = ask(&server, &format!("GET {target}"), b"");
        assert_eq!((answer.status, answer.text()), (404, "not found\n"), "{target}");
    }
    assert!(!ask(&server, "GET /?tar", b"").text().contains("secret"));
    assert!(!ask(&server, "GET /?json", b"").text().contains("secret"));
}

#[test]
fn a_list_that_is_the_same_is_not_sent_again() {
    let server = Server::http_files(&[]);
    server.write("a.txt", "x");
    for accept in ["text/html", "application/json", "text/plain"] {
        let first = ask(&server, &format!("GET /\r\nAccept: {accept}"), b"");
        let etag = first.header("etag").to_owned();
        assert!(etag.starts_with("W/\""), "{accept}: {etag}");
        let again = |etag: &str| ask(&server, &format!("GET /\r\nAccept: {accept}\r\nIf-None-Match: {etag}"), b"");
        assert_eq!((again(&etag).status, again(&etag).text()), (304, ""), "{accept}");
        server.write(&format!("{}.txt", accept.replace('/', "-")), "x");
        assert_eq!(again(&etag).status, 200, "{accept}");
    }
}

/// The paths in a zip.
fn zipped(answer: &Answer) -> Vec<String> {
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/zip"), "{answer:?}");
    let mut zip = ::zip::ZipArchive::new(std::io::Cursor::new(&answer.body)).unwrap();
    (0..zip.len()).map(|at| String::from_utf8_lossy(zip.by_index(at).unwrap().name_raw()).into_owned()).collect()
}

#[test]
fn some_entries_of_a_directory_are_one_zip() {
    let server = Server::http_files(&[]);
    for path in ["t/a.txt", "t/b b%41.txt", "t/d/in/deep", "t/e/x", "t/.dot", "t/.a.1a2b3c4d.part"] {
        server.write(path, "text");
    }
    fs::write(server.root().join(OsStr::from_bytes(b"t/\xff")), "x").unwrap();
    let post = |target: &str, form: &str| {
        let head = format!("POST {target}\r\nContent-Type: application/x-www-form-urlencoded");
        ask(&server, &head, form.as_bytes())
    };
    let get = |query: &str| ask(&server, &format!("GET /t/?zip&{query}"), b"");
    assert_eq!(zipped(&get("name=a.txt")), ["t/", "t/a.txt"]);
    assert_eq!(zipped(&get("name=d/&name=a.txt&name=a.txt")), ["t/", "t/d/", "t/d/in/", "t/d/in/deep", "t/a.txt"]);
    // As a browser sends the boxes: references, escaped once more.
    let form = "name=b%2520b%252541.txt&name=%25FF&name=e%2F";
    let want = ["t/", "t/e/", "t/e/x", "t/b b%41.txt", "t/\u{fffd}"];
    assert_eq!(zipped(&post("/t/?zip", form)), want);
    assert_eq!(zipped(&post("/t/?zip=store", form)), want);
    let tar = post("/t/?tar", "name=a.txt");
    assert_eq!((tar.status, tar.header("content-type")), (200, "application/x-tar"));
    for (query, status) in [
        ("name=none", 404),
        ("name=a.txt&name=none", 404),
        ("name=.dot", 404),
        ("name=.a.1a2b3c4d.part", 404),
        ("name=..", 400),
        ("name=.", 400),
        ("name=d/in", 400),
        ("name=d%252Fin", 400),
        ("name=%2Fetc", 400),
        ("name=", 400),
        ("name=a%00", 400),
    ] {
        assert_eq!((get(query).status, post("/t/?zip", query).status), (status, status), "{query}");
    }
    assert!(get("name=n%3Cb%3E").text().contains("n<b>: not found"), "{:?}", get("name=n%3Cb%3E"));
    assert_eq!(post("/t/?zip", "").status, 400);
    assert_eq!(post("/t/?zip", &"name=a&".repeat(200_000)).status, 413);
    assert_eq!(post("/none/?zip", "name=a").status, 404);
    assert_eq!(ask(&server, "POST /t/?zip\r\nContent-Type: text/plain", b"name=a.txt").status, 415);
    let foreign = "POST /t/?zip\r\nContent-Type: application/x-www-form-urlencoded\r\nOrigin: https://evil.example";
    assert_eq!(ask(&server, foreign, b"name=a.txt").status, 403);
    let dropped = Server::http_files(&["--drop-box"]);
    dropped.write("a.txt", "x");
    let head = "POST /?zip\r\nContent-Type: application/x-www-form-urlencoded";
    assert!(matches!(ask(&dropped, head, b"name=a.txt").status, 401 | 403 | 404));
}
