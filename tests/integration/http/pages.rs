//! What the server renders for people: pages of files, problems, languages, what authors say of their directories.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use crate::harness::Server;
use crate::harness::http::{Answer, Scheme, ask};

/// As a browser asks for a document.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn page(server: &Server, target: &str) -> Answer {
    let answer = ask(server, &format!("GET {target}\r\n{BROWSER}"), b"");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{target}: {answer:?}");
    assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{target}");
    answer
}

#[test]
fn each_kind_of_file_has_a_page_and_itself_stays_where_it_was() {
    let server = Server::http_files(&["--title", "T"]);
    let scripts = page(&server, "/").text().matches("<script").count();
    for (name, content, kind, want) in [
        ("a.png", "x", "image", "<img src=\"a.png\" alt=\"a.png\">"),
        ("a.mp3", "x", "audio", "<audio src=\"a.mp3\" controls"),
        ("a.mp4", "x", "video", "<video src=\"a.mp4\" controls"),
        ("a.pdf", "x", "pdf", "<iframe src=\"a.pdf\""),
        ("a.md", "# Hi <script>alert(1)</script>", "markdown", "<h2 id=\"md-hi-alert1\">Hi </h2>"),
        ("a.txt", "<b>\u{1b}[31m\r\nend", "text", "&#60;b&#62;\\u{1b}[31m\nend</pre>"),
        ("a.html", "<script>alert(1)</script>", "text", "&#60;script&#62;alert(1)&#60;/script&#62;</pre>"),
        ("a.svg", "<svg onload=x>", "image", "<img src=\"a.svg\" alt=\"a.svg\">"),
        ("unknown", "text all the same", "text", "text all the same</pre>"),
        ("core", "\0\x01", "none", "There is no preview"),
        ("a.zip", "PK\x03\x04\0", "none", "There is no preview"),
        ("empty.txt", "", "text", "The file is empty"),
    ] {
        server.write(&format!("d/{name}"), content);
        let shown = page(&server, &format!("/d/{name}?view"));
        assert_eq!(shown.status, 200);
        let text = shown.text();
        assert!(text.contains(want) && text.contains(&format!("data-kind=\"{kind}\"")), "{name}: {text}");
        assert!(text.contains(&format!("<a id=\"download\" href=\"{name}\" download>")), "{name}: {text}");
        assert!(text.contains("data-page=\"view\"") && text.contains(&format!("<title>d/{name} - T</title>")));
        // Of what is in a file nothing is an element of ours, but for what Markdown may be.
        assert_eq!(text.matches("<script").count(), scripts, "{name}");
        assert_eq!(ask(&server, &format!("GET /d/{name}"), b"").body, content.as_bytes(), "{name}");
    }
    assert!(page(&server, "/d/a.md?view&source").text().contains("# Hi &#60;script&#62;"));
    assert!(page(&server, "/d/a.svg?view&source").text().contains("&#60;svg onload=x&#62;</pre>"));
    assert_eq!(ask(&server, "GET /d/none?view", b"").status, 404);
    assert_eq!(ask(&server, "GET /d/a.txt?view&encoding=latin-17", b"").status, 400);
    let head = ask(&server, "HEAD /d/a.txt?view", b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let etag = page(&server, "/d/a.txt?view").header("etag").to_owned();
    assert_eq!(ask(&server, &format!("GET /d/a.txt?view\r\n{BROWSER}\r\nIf-None-Match: {etag}"), b"").status, 304);
}

#[test]
fn a_text_is_read_in_the_encoding_that_it_has_or_that_is_chosen() {
    let server = Server::http_files(&[]);
    // GBK: 收到文件，请查收。谢谢
    let gbk = b"\xca\xd5\xb5\xbd\xce\xc4\xbc\xfe\xa3\xac\xc7\xeb\xb2\xe9\xca\xd5\xa1\xa3\xd0\xbb\xd0\xbb";
    server.write("gbk.txt", gbk);
    let guessed = page(&server, "/gbk.txt?view");
    assert!(guessed.text().contains("收到文件，请查收。谢谢</pre>"), "{}", guessed.text());
    assert!(guessed.text().contains("<option value=\"GBK\" selected>GBK (guessed)</option>"));
    let chosen = page(&server, "/gbk.txt?view&encoding=windows-1252");
    assert!(chosen.text().contains("ÊÕµ½") && chosen.text().contains("value=\"windows-1252\" selected"));
    let wrong = page(&server, "/gbk.txt?view&encoding=utf-8");
    assert!(wrong.text().contains("not valid in this encoding"));
    server.write("wide.txt", b"\xff\xfea\0b\0");
    assert!(page(&server, "/wide.txt?view").text().contains(">ab</pre>"));
    // Of a long one the beginning is shown, and no character is cut.
    server.write("long.txt", "收".repeat(100_000));
    let long = page(&server, "/long.txt?view");
    assert!(long.text().contains("256 KiB of 292 KiB") && !long.text().contains('\u{fffd}'));
    assert_eq!(long.text().matches('收').count(), 262_144 / 3);
}

#[test]
fn the_way_to_the_next_file_is_that_of_the_list() {
    let server = Server::http_files(&[]);
    for name in ["b10.png", "b9.png", "B1.txt", "x.zip", ".dot.png", "z z.png"] {
        server.write(name, "x");
    }
    fs::create_dir(server.root().join("dir.png")).unwrap();
    symlink("b9.png", server.root().join("c.png")).unwrap();
    symlink("dir.png", server.root().join("d.png")).unwrap();
    let around = |name: &str| {
        let shown = page(&server, &format!("/{name}?view"));
        let link = |rel: &str| {
            let mut links = shown.text().split("<a href=\"").skip(1);
            let link = links.find_map(|link| link.split_once(&format!("\" rel=\"{rel}\"")).map(|(href, _)| href));
            link.unwrap_or_default().to_owned()
        };
        assert_eq!(link("up"), "./");
        (link("prev"), link("next"))
    };
    for (name, before, behind) in [
        ("B1.txt", "", "b9.png?view"),
        ("b9.png", "B1.txt?view", "b10.png?view"),
        ("b10.png", "b9.png?view", "c.png?view"),
        ("c.png", "b10.png?view", "z%20z.png?view"),
        ("z%20z.png", "c.png?view", ""),
        ("x.zip", "c.png?view", "z%20z.png?view"),
    ] {
        assert_eq!(around(name), (before.to_owned(), behind.to_owned()), "{name}");
    }
}

#[test]
fn what_an_author_says_is_below_the_list_and_runs_nowhere() {
    let server = Server::http_files(&["--upload"]);
    server.write("a/README.md", "# Hi\n\n![x](//evil.example/x.png) <img src=x onerror=alert(1)> [to](sub/)\n");
    server.write("b/readme.TXT", "<b> text");
    server.write("c/long.md", "");
    server.write("c/Readme.markdown", "word ".repeat(20_000));
    fs::create_dir(server.root().join("d")).unwrap();
    symlink("../a/README.md", server.root().join("d/README.md")).unwrap();
    let shown = page(&server, "/a/");
    let readme = shown.text().split("<section id=\"readme\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(readme.contains("<h3 id=\"md-hi\">Hi</h3>") && readme.contains("<a href=\"sub/\""), "{readme}");
    assert!(!readme.contains("onerror") && !readme.contains("src=\"//"), "{readme}");
    assert!(page(&server, "/b/").text().contains("<pre dir=\"auto\">&#60;b&#62; text</pre>"));
    assert!(page(&server, "/c/").text().contains("There is more of it"));
    assert!(!page(&server, "/d/").text().contains("id=\"readme\""), "what a link leads to is another directory's");
    assert!(!page(&server, "/a/?page=2").text().contains("id=\"readme\""));
    assert!(!ask(&server, "GET /a/?json", b"").text().contains("evil"));
}

#[test]
fn a_page_speaks_the_language_that_its_reader_wants() {
    let server = Server::http_files(&[]);
    server.write("a.txt", "x");
    let lang = |target: &str, lines: &str| {
        let answer = ask(&server, &format!("GET {target}\r\n{BROWSER}\r\n{lines}"), b"");
        let text = answer.text();
        assert_eq!(text.contains("文件"), text.contains("lang=\"zh-Hans\">\n<head>"), "{target} {lines}");
        if text.contains("<html lang=\"zh-Hans\">") { "zh" } else { "en" }
    };
    for (target, lines, want) in [
        ("/", "", "en"),
        ("/", "Accept-Language: zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("/", "Accept-Language: en-GB,zh;q=0.5", "en"),
        ("/", "Accept-Language: zh-TW", "zh"),
        ("/", "Accept-Language: de, fr;q=0.5", "en"),
        ("/?lang=zh", "", "zh"),
        ("/?lang=en", "Accept-Language: zh", "en"),
        ("/?lang=xx", "Accept-Language: zh", "zh"),
        ("/", "Cookie: a=b; landline-lang=zh", "zh"),
        ("/", "Cookie: landline-lang=en\r\nAccept-Language: zh", "en"),
        ("/a.txt?view&lang=zh", "", "zh"),
        ("/none?lang=zh", "", "zh"),
        ("/?search=a&lang=zh", "", "zh"),
    ] {
        assert_eq!(lang(target, lines), want, "{target} {lines}");
    }
    let chosen = page(&server, "/?lang=zh");
    assert_eq!(chosen.header("set-cookie"), "landline-lang=zh; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly");
    assert!(page(&server, "/").header("set-cookie").is_empty());
    for name in ["Accept", "Accept-Language", "Accept-Encoding", "Cookie"] {
        assert!(chosen.header("vary").split(", ").any(|own| own == name), "{name}");
    }
    assert!(page(&server, "/?sort=size&lang=zh").text().contains("<a href=\"?sort=size&#38;lang=en\" lang=\"en\""));
}

#[test]
fn a_person_gets_a_page_for_a_problem_and_a_program_a_line() {
    let server = Server::http_files(&["--title", "T"]);
    server.write("a/b.txt", "x");
    let shown = page(&server, "/a/%3Cscript%3E");
    assert_eq!((shown.status, shown.header("cache-control")), (404, "no-store"));
    assert!(shown.text().contains("<h1>Nothing is here</h1>") && !shown.text().contains("not found"));
    let chinese = ask(&server, &format!("GET /none\r\n{BROWSER}\r\nAccept-Language: zh-CN"), b"").text().to_owned();
    assert!(chinese.contains("<h1>这里什么也没有</h1>") && !chinese.contains("not found"), "{chinese}");
    assert!(shown.text().contains("id=\"visitor\"") && !shown.text().contains("id=\"sign-out\""), "{}", shown.text());
    assert!(shown.text().contains("<a href=\"../\">To the start</a>"), "{}", shown.text());
    assert_eq!(shown.text().matches("<script").count(), page(&server, "/").text().matches("<script").count());
    assert_eq!(page(&server, "/?sort=%3Cb%3E").status, 400);
    let range = ask(&server, &format!("GET /a/b.txt\r\n{BROWSER}\r\nRange: bytes=9-"), b"");
    assert_eq!((range.status, range.header("content-range")), (416, "bytes */1"));
    assert!(range.text().contains("<h1>Something is in the way</h1>"));
    let posted = ask(&server, &format!("POST /\r\n{BROWSER}\r\nContent-Type: multipart/form-data; boundary=x"), b"");
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD, OPTIONS, PROPFIND"));
    assert!(posted.text().contains("data-page=\"problem\""));
    for lines in ["", "Accept: */*", "Accept: application/json", &format!("{BROWSER}\r\nSec-Fetch-Mode: cors")] {
        let plain = ask(&server, &format!("GET /none\r\n{lines}"), b"");
        assert_eq!((plain.status, plain.text()), (404, "not found\n"), "{lines}");
    }
    let closed = Server::with(&["--http", "--guest", "none"]);
    let shown = ask(&closed, &format!("GET /\r\n{BROWSER}"), b"");
    assert_eq!(shown.status, 401);
    assert!(shown.text().contains("data-page=\"sign-in\"") && shown.text().contains("id=\"languages\""));
}

#[test]
fn a_page_says_who_looks_and_what_they_may_do() {
    let may = |args: &[&str]| {
        let server = Server::http_files(args);
        let text = page(&server, "/").text().to_owned();
        text.split("data-may=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    assert_eq!(may(&[]), "");
    assert_eq!(may(&["--upload"]), "upload");
    let server = Server::with(&["--http", "--guest", "none"]);
    let text = Scheme::TlsOwn.connect(&server).ask(&format!("GET /\r\n{BROWSER}"), b"").text().to_owned();
    assert!(text.contains("<strong>own user</strong>") && !text.contains("id=\"sign-out\""), "{text}");
    assert!(page(&Server::http_files(&[]), "/").text().contains("<p id=\"visitor\">guest</p>"));
}

#[test]
fn a_page_of_a_thousand_entries_is_short_on_its_way() {
    let server = Server::http_files(&["--upload"]);
    for number in 0..1_000_u64 {
        // Names, sizes and times as a camera and a person make them.
        let name = match number % 4 {
            0 => format!("IMG_{}_{:06}.jpg", 20_260_101 + number / 9, number * 7919 % 240_000),
            1 => format!("Report {} of the {}th meeting.pdf", number * 31 % 977, number),
            2 => format!("收到的文件 {}.txt", number * 17 % 991),
            _ => format!("{:x}.bin", number.wrapping_mul(0x9E37_79B9) % 0xffff_ffff),
        };
        let path = server.write(&name, vec![0; usize::try_from(number * 7919 % 5_000).unwrap()]);
        let time = std::time::SystemTime::UNIX_EPOCH
            + std::time::Duration::from_secs(1_700_000_000 + number * 7_919_113 % 80_000_000);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    for (coding, decode) in [("gzip", "gzip"), ("gzip, deflate, br, zstd", "zstd")] {
        let answer = ask(&server, &format!("GET /\r\n{BROWSER}\r\nAccept-Encoding: {coding}"), b"");
        assert_eq!(answer.header("content-encoding"), decode);
        assert!(answer.body.len() <= 60 * 1024, "{decode}: {} bytes", answer.body.len());
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    }
    assert_eq!(page(&server, "/").header("content-encoding"), "");
}

#[test]
fn a_hostile_document_takes_no_long_time_and_no_long_page() {
    let server = Server::http_files(&["--upload"]);
    for (name, piece) in [
        ("brackets", "["),
        ("stars", "*a*"),
        ("quotes", ">"),
        ("divs", "<div>"),
        ("marks", "a<b><i></b>"),
        ("notes", "[^a]: b\n\n"),
        ("heads", "# a\n"),
        ("cells", "|a"),
        ("entities", "&amp;&#x202e;"),
    ] {
        server.write(&format!("{name}/README.md"), piece.repeat(300_000 / piece.len()));
        for target in [format!("/{name}/"), format!("/{name}/README.md?view"), format!("/{name}/README.md?view&source")]
        {
            let shown = page(&server, &target);
            assert_eq!(shown.status, 200, "{target}");
            assert!(shown.body.len() < 4 << 20, "{target}: {}", shown.body.len());
        }
    }
}

#[test]
fn odd_names_have_pages_too() {
    let server = Server::http_files(&[]);
    for name in
        [&b"\xff.txt"[..], b"new\nline.txt", b"<b>&\"'.txt", b"%41.txt", b"a?b#c.txt", "bidi\u{202e}.txt".as_bytes()]
    {
        fs::write(server.root().join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let list = page(&server, "/");
    let links = list.text().split("<a href=\"").skip(1);
    let files: Vec<&str> = links.filter_map(|link| link.split_once("\" data-view>")).map(|(file, _)| file).collect();
    assert_eq!(files.len(), 6);
    for file in files {
        let shown = page(&server, &format!("/{file}?view"));
        assert_eq!(shown.status, 200, "{file}");
        assert!(shown.text().contains(&format!("id=\"open\" href=\"{file}\"")), "{file}");
        assert!(!shown.text().chars().any(|c| c == '\u{202e}' || c.is_control() && c != '\n'), "{file}");
    }
}

#[test]
fn a_form_says_what_happens_to_a_name_that_is_taken() {
    let sent = |server: &Server, choice: Option<&str>, content: &str| {
        let field = choice.map_or_else(String::new, |choice| {
            format!("--bound\r\nContent-Disposition: form-data; name=\"exists\"\r\n\r\n{choice}\r\n")
        });
        let file = "--bound\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n";
        let form = format!("{field}{file}{content}\r\n--bound--\r\n");
        let head = "POST /\r\nContent-Type: multipart/form-data; boundary=bound";
        ask(server, head, form.as_bytes()).status
    };
    let server = Server::http_files(&["--upload"]);
    server.write("a.txt", "0");
    let shown = page(&server, "/").text().to_owned();
    let (select, input) = (shown.find("<select id=\"exists\"").unwrap(), shown.find("type=\"file\"").unwrap());
    assert!(select < input, "the choice comes before the files that it is for");
    assert!(shown.contains("<option value=\"rename\">keep both"), "the first is the default: {shown}");
    let kept = |server: &Server| (server.read("a.txt"), server.names(".").len());
    for (choice, content, status, want) in [
        (Some("rename"), "1", 201, (b"0".to_vec(), 2)),
        (Some("refuse"), "2", 409, (b"0".to_vec(), 2)),
        (Some("replace"), "3", 201, (b"3".to_vec(), 2)),
        (Some("perhaps"), "4", 400, (b"3".to_vec(), 2)),
        (Some(&*"replace".repeat(9)), "5", 400, (b"3".to_vec(), 2)),
        (None, "6", 201, (b"6".to_vec(), 2)),
    ] {
        assert_eq!((sent(&server, choice, content), kept(&server)), (status, want), "{choice:?}");
    }
    // No form allows what the operator does not.
    for (rule, status, want) in [("refuse", 409, (b"0".to_vec(), 1)), ("rename", 201, (b"0".to_vec(), 2))] {
        let server = Server::http_files(&["--upload", "--on-exists", rule]);
        server.write("a.txt", "0");
        assert_eq!((sent(&server, Some("replace"), "1"), kept(&server)), (status, want), "{rule}");
        assert!(!page(&server, "/").text().contains("id=\"exists\""), "{rule}");
    }
}
