//! Files: up and down, whole or not at all, whatever they are called.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use landline::wire::channel::encode;
use landline::wire::message::{Attributes, Channel, Message, VERSION};

use crate::harness::files::set_mode;
use crate::harness::{Run, Server};

fn patterned(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

#[test]
fn files_of_every_size_come_back_as_they_went() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    for len in [0, 1, 4096, 8192, 8193, 262_144, 262_145, 5_000_000] {
        let name = format!("f{len}");
        std::fs::write(here.path().join(&name), patterned(len)).unwrap();
        Run::new("fput").args([name.as_str(), &server.remote("")]).current_dir(here.path()).prints("");
        let back = format!("back{len}");
        Run::new("fget").args([server.remote(&name).as_str(), &back]).current_dir(here.path()).prints("");
        assert!(std::fs::read(here.path().join(back)).unwrap() == patterned(len), "{len} bytes");
    }
}

#[test]
fn names_with_spaces_newlines_and_bytes_that_are_not_utf8_survive() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    for name in [&b"a b"[..], b"line\nbreak", b"\xff\xfe", "收到".as_bytes(), b"-n", b"c:d", b"%41\"'\\"] {
        let name = OsStr::from_bytes(name);
        std::fs::write(here.path().join(name), name.as_bytes()).unwrap();
        let mut local = std::ffi::OsString::from("./");
        local.push(name);
        Run::new("fput").args([local.as_os_str(), OsStr::new(&server.remote(""))]).current_dir(here.path()).prints("");
        assert_eq!(std::fs::read(server.root().join(name)).unwrap(), name.as_bytes());
        let mut remote = std::ffi::OsString::from(server.remote(""));
        remote.push(name);
        let down = tempfile::tempdir().unwrap();
        Run::new("fget").args([remote.as_os_str(), down.path().as_os_str()]).prints("");
        assert_eq!(std::fs::read(down.path().join(name)).unwrap(), name.as_bytes());
    }
}

#[test]
fn mode_and_time_travel_too() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("script");
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    set_mode(&path, 0o750);
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(1_600_000_000_123_456_789))
        .unwrap();
    Run::new("fput").args([path.to_str().unwrap(), &server.remote("")]).prints("");
    let down = here.path().join("down");
    Run::new("fget").args([&server.remote("script"), down.to_str().unwrap()]).prints("");
    for copy in [server.root().join("script"), down] {
        let metadata = std::fs::metadata(copy).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o750);
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_600_000_000, 123_456_789));
    }
}

#[test]
fn several_files_go_into_a_directory_and_one_failure_does_not_stop_the_others() {
    let server = Server::start();
    server.write("docs/old", "old");
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("a"), "A").unwrap();
    std::fs::write(here.path().join("b"), "B").unwrap();
    let run = Run::new("fput").args(["a", "missing", "b", &server.remote("docs")]).current_dir(here.path());
    run.code(1).stderr("missing: no such file").prints("");
    assert_eq!(server.names("docs"), ["a", "b", "old"]);
    std::fs::create_dir(here.path().join("down")).unwrap();
    let [a, nothing, b] = ["docs/a", "docs/nothing", "docs/b"].map(|path| server.remote(path));
    let run = Run::new("fget").args([&a, &nothing, &b, "down"]).current_dir(here.path());
    run.code(1).stderr("/docs/nothing: no such file or directory").prints("");
    assert_eq!(std::fs::read(here.path().join("down/b")).unwrap(), b"B");
    assert!(!here.path().join("down/nothing").exists());
}

#[test]
fn what_cannot_be_done_is_said_in_one_sentence_and_changes_nothing() {
    let server = Server::start();
    server.write("dir/x", "x");
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("a"), "A").unwrap();
    let get = |path: &str| Run::new("fget").args([server.remote(path)]).current_dir(here.path()).code(1);
    get("dir").stderr("/dir: is a directory").prints("");
    get("../a").stderr("leads above the root").prints("");
    get("nowhere/a").stderr("no such file").prints("");
    let put =
        |local: &str, to: &str| Run::new("fput").args([local, &server.remote(to)]).current_dir(here.path()).code(1);
    put("a", "nowhere/a").stderr("/nowhere: no such file or directory").prints("");
    put("a", "dir/x/").stderr("not a directory").prints("");
    put(".", "").stderr("is a directory").prints("");
    Run::new("fget").args(["a"]).code(2).stderr("not a HOST:PATH; to upload, use fput").prints("");
    Run::new("fput").args(["a", "b"]).code(2).stderr("To download, use fget").prints("");
    let two = [server.remote("dir/x"), server.remote("dir/x"), "nowhere".into()];
    Run::new("fget").args(two).code(2).stderr("nowhere: not a directory; make it first").prints("");
    let reading = Server::with(&["--guest", "read"]);
    let run = Run::new("fput").args(["a", &format!("{}/", reading.plain())]).current_dir(here.path());
    run.code(1).stderr("needs the service write").prints("");
    assert_eq!(reading.names(""), [""; 0]);
    assert_eq!(server.names(""), ["dir"]);
}

#[test]
fn an_upload_that_breaks_off_leaves_the_old_file_and_no_part() {
    let server = Server::start();
    server.write("target", "old");
    let attributes = Attributes { size: 5, mtime_ns: None, mode: None };
    let put = Message::Put { path: b"target"[..].into(), name: b"n"[..].into(), attributes };
    let hello = Message::Hello { version: VERSION, program: "test".into(), verbs: vec![] };
    let piece = encode(&Message::Data { stream: Channel::Main }, &vec![b'x'; 300_000]).unwrap();
    let mut stream = server.connect();
    stream.write_all(&[encode(&hello, &[]).unwrap(), encode(&put, &[]).unwrap(), piece].concat()).unwrap();
    crate::harness::wait_until("the part is there", || server.names("").len() == 2);
    assert_eq!(server.read("target"), b"old", "nothing is published yet");
    drop(stream);
    server.wait_for_log("broken off");
    assert_eq!(server.names(""), ["target"]);
    assert_eq!(server.read("target"), b"old");
}

#[test]
fn a_false_digest_is_refused() {
    let server = Server::start();
    server.write("target", "old");
    let attributes = Attributes { size: 5, mtime_ns: None, mode: None };
    let total = landline::wire::message::Total { size: 5, blake3: Some("00".repeat(32).into()) };
    let frames = [
        encode(&Message::Hello { version: VERSION, program: "test".into(), verbs: vec![] }, &[]),
        encode(&Message::Put { path: b"target"[..].into(), name: b"n"[..].into(), attributes }, &[]),
        encode(&Message::Data { stream: Channel::Main }, b"hello"),
        encode(&Message::End { total: Some(total) }, &[]),
        encode(&Message::Pwd, &[]),
    ];
    let mut stream = server.connect();
    stream.write_all(&frames.map(Result::unwrap).concat()).unwrap();
    let mut receiver = landline::wire::Receiver::new(stream, &[]);
    assert!(matches!(receiver.recv().unwrap(), Some(Message::Hello { .. })));
    match receiver.recv().unwrap() {
        Some(Message::Error { code, message }) => {
            assert_eq!(code, landline::error::ErrorCode::Digest);
            assert!(message.contains("5 bytes with digest"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(receiver.recv().unwrap(), Some(Message::Cwd { .. })), "the line is in step");
    assert_eq!((server.names(""), server.read("target")), (vec!["target".to_owned()], b"old".to_vec()));
}

#[test]
fn scripts_are_told_with_json() {
    let server = Server::start();
    server.write("a", "hello");
    let here = tempfile::tempdir().unwrap();
    let get = |extra: &str| {
        let args = [extra, &server.remote("a"), &server.remote("b"), "."];
        Run::new("fget").args(args).current_dir(here.path()).code(1).any_stderr().output()
    };
    let json = get("--json").json();
    assert_eq!((&json["files"], &json["failed"], &json["bytes"]), (&1.into(), &1.into(), &5.into()));
    assert_eq!(json["exit_code"], 1);
    let errors: Vec<&str> = json["results"].as_array().unwrap().iter().filter_map(|r| r["error"].as_str()).collect();
    assert_eq!(errors, ["/b: no such file or directory"]);
    std::fs::remove_file(here.path().join("a")).unwrap();
    let output = get("--json-stream");
    let events: Vec<serde_json::Value> = output.text().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["failed", "start", "done", "summary"]);
}

#[test]
fn a_unix_socket_carries_files_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", dir.path().join("socket").display());
    let server = Server::with(&["--guest", "all", "--bind", &socket]);
    server.write("a", "hello");
    Run::new("fget").args([&format!("{socket}:a"), "b"]).current_dir(dir.path()).prints("");
    assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"hello");
}

#[test]
fn ctrl_c_in_a_download_leaves_the_old_file_and_what_came() {
    let server = Server::start();
    // No machine downloads it at this rate before the signal comes.
    server.write("huge", vec![7; 64 << 20]);
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("huge"), "old").unwrap();
    let mut get = Run::new("fget").args(["--bwlimit", "1MiB", &server.remote("huge")]).current_dir(here.path()).spawn();
    let names = || std::fs::read_dir(here.path()).unwrap().count();
    let has_come = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().metadata().unwrap().len() > 3;
    let begun = || std::fs::read_dir(here.path()).unwrap().any(has_come);
    crate::harness::wait_until("the download has begun", begun);
    get.signal(rustix::process::Signal::INT);
    assert_eq!(get.wait().code(), Some(130));
    assert_eq!(
        get.stderr.recv_timeout(crate::harness::DEADLINE).unwrap(),
        "fget: interrupted; to go on where it was, run the same command again"
    );
    assert!(names() > 1, "the part is kept");
    assert_eq!(std::fs::read(here.path().join("huge")).unwrap(), b"old");
}

#[test]
fn a_file_that_becomes_shorter_on_its_way_begins_anew() {
    let server = Server::start();
    let path = server.write("log", vec![7; 64 << 20]);
    let here = tempfile::tempdir().unwrap();
    let mut get = Run::new("fget").args(["--bwlimit", "1MiB", &server.remote("log")]).current_dir(here.path()).spawn();
    crate::harness::wait_until("the download has begun", || std::fs::read_dir(here.path()).unwrap().count() == 1);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_eq!(get.wait().code(), Some(0));
    let said = get.stderr.recv_timeout(crate::harness::DEADLINE).unwrap();
    assert!(said.contains("/log: it changed") && said.contains("begins anew"), "{said}");
    assert_eq!(std::fs::metadata(here.path().join("log")).unwrap().len(), 0, "what it is now");
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 1);
}
