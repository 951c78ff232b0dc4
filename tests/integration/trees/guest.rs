//! A client that lies to `tcp-server`: what no honest one says, in `push` and in `pull`. Nothing beside the root
//! is touched, the server lives, and does not grow.

use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::thread;

use super::words::{dir, end, file, large, lies, link, list, list_of, pull, push, record, small, want};
use super::{Sandbox, assert_same, digest, is_stray, names_in, noise, set_mode, set_mtime, snapshot, swap_with, with};
use crate::harness::frames::{Answer, Raw, request};
use crate::harness::process::memory_kib;
use crate::harness::{Run, Server, own_home, wait_until};

/// A guest's server whose root is the sandbox's inner directory.
fn server_in(sandbox: &Sandbox) -> Server {
    Server::with_args(&["--guest", "read,write"], &sandbox.inside(), &own_home())
}

fn assert_well(server: &Server) {
    let mut guest = Raw::open(server);
    guest.send(&request(r#""type":"pwd""#, &[]));
    assert_eq!(guest.answer().kind(), "cwd");
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// Reads up to the server's `end` or `error`, or the connection's end; what it was, and all before it.
fn heard(raw: &mut Raw<TcpStream>) -> Vec<Answer> {
    let mut all = Vec::new();
    while let Some(answer) = raw.next() {
        let is_last = matches!(answer.kind(), "end" | "error");
        all.push(answer);
        if is_last {
            break;
        }
    }
    all
}

/// Whether something was refused: the whole, or one entry.
fn is_refused(all: &[Answer]) -> bool {
    all.iter().any(|answer| {
        answer.kind() == "error"
            || answer.kind() == "kept" && String::from_utf8_lossy(&answer.body).contains("\"code\"")
    })
}

#[test]
fn no_lie_reaches_what_is_beside_the_root() {
    let sandbox = Sandbox::new();
    let server = server_in(&sandbox);
    for (at, (name, lie)) in lies(sandbox.outside().to_str().unwrap()).into_iter().enumerate() {
        let dest = format!("dest{at}");
        let mut raw = Raw::open(&server);
        raw.send_what_goes(&push(&dest));
        raw.send_what_goes(&lie);
        let all = heard(&mut raw);
        sandbox.assert_untouched(name);
        // A sender may give up: then the server says no more than `end`.
        let gave_up = name.contains("wanted") || name.ends_with("without an end");
        let nothing_happened = !names_in(&sandbox.inside()).iter().any(|path| path.contains("evil"));
        assert!(is_refused(&all) || gave_up || nothing_happened, "{name}: {all:?}");
        let here = names_in(&sandbox.inside());
        assert!(here.iter().all(|path| path.starts_with(&dest)), "{name}: {here:?}");
        for path in here.iter().filter(|path| path.contains("evil") && !is_stray(path)) {
            let path = sandbox.inside().join(path);
            assert!(!path.is_file() || path.is_symlink(), "{name}: {} is there", path.display());
        }
        for entry in std::fs::read_dir(sandbox.inside()).unwrap() {
            std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
        assert_well(&server);
    }
}

/// The place itself is a path of the root's too.
#[test]
fn the_place_of_a_push_cannot_be_outside_either() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink(sandbox.outside(), sandbox.inside().join("out")).unwrap();
    std::os::unix::fs::symlink("../outside", sandbox.inside().join("relative")).unwrap();
    let server = server_in(&sandbox);
    for place in ["..", "../outside", "out", "out/", "out/deep", "relative", "a/../../outside", "out/canary"] {
        for single in [true, false] {
            let how = format!(r#"{{"single":{single},"recursive":true,"preserve":true,"sync":false,"resume":true}}"#);
            let mut raw = Raw::open(&server);
            raw.send_what_goes(&request(&format!(r#""type":"push","path":{place:?}"#), how.as_bytes()));
            let entries = [file("evil", 4), dir("deep", 0o777), file("canary", 4)];
            raw.send_what_goes(&[list(&entries), small(&[record(0, b"evil"), record(2, b"evil")]), end()].concat());
            heard(&mut raw);
            sandbox.assert_untouched(place);
        }
    }
    assert_well(&server);
}

/// Nor does a file take the place of what leads there, by whatever verb it comes.
#[test]
fn a_destination_that_leads_out_of_the_root_is_refused_and_not_replaced() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.inside().join("sub")).unwrap();
    std::fs::create_dir(sandbox.inside().join("real")).unwrap();
    let outside = sandbox.outside();
    let links = [
        ("out", outside.clone()),
        ("sub/out", outside.clone()),
        ("file", outside.join("canary")),
        ("again", "out".into()),
        ("loop", "loop".into()),
    ];
    for (name, to) in &links {
        std::os::unix::fs::symlink(to, sandbox.inside().join(name)).unwrap();
    }
    std::os::unix::fs::symlink("real", sandbox.inside().join("in")).unwrap();
    let server = server_in(&sandbox);
    let here = tempfile::tempdir().unwrap();
    for name in ["mine", "other", "tree/mine"] {
        std::fs::create_dir_all(here.path().join(name).parent().unwrap()).unwrap();
        std::fs::write(here.path().join(name), "mine").unwrap();
    }
    for (name, to) in &links {
        for slash in ["", "/"] {
            let place = server.remote(&format!("{name}{slash}"));
            for (options, sources) in [
                (&["-q"][..], &["mine"][..]),
                (&["-q", "--no-resume"], &["-"]),
                (&["-q"], &["mine", "other"]),
                (&["-qr"], &["mine"]),
                (&["-qr"], &["tree"]),
                (&["-qr", "--delete", "--force"], &["tree/"]),
            ] {
                if sources == ["-"] && !slash.is_empty() {
                    continue;
                }
                let run = Run::new("fput").args(options).args(sources).args([&place]).current_dir(here.path());
                let said = run.code(1).any_stderr().output().stderr;
                let why = if *name == "loop" { "loop: " } else { "leads out of the root" };
                assert!(said.contains(why), "{name}{slash} {options:?} {sources:?}: {said}");
            }
            std::fs::write(sandbox.inside().join("moved"), "moved").unwrap();
            let mut raw = Raw::open(&server);
            raw.send(&request(&format!(r#""type":"mv","path":"moved","to":"{name}{slash}""#), &[]));
            assert_eq!(raw.answer().kind(), "error", "{name}{slash}");
            assert_eq!(&std::fs::read_link(sandbox.inside().join(name)).unwrap(), to, "{name}{slash}");
            sandbox.assert_untouched(name);
        }
    }
    // One that stays inside is a directory like others.
    Run::new("fput").args(["-q", "mine", &server.remote("in")]).current_dir(here.path()).prints("");
    assert!(sandbox.inside().join("real/mine").exists() && sandbox.inside().join("in").is_symlink());
}

#[test]
fn a_pull_shows_nothing_from_outside() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink(sandbox.outside(), sandbox.inside().join("out")).unwrap();
    std::os::unix::fs::symlink("../outside/canary", sandbox.inside().join("relative")).unwrap();
    std::fs::write(sandbox.inside().join("mine"), "mine").unwrap();
    let server = server_in(&sandbox);
    for paths in [
        r#"["../outside/canary"]"#,
        r#"["out/canary"]"#,
        r#"["out/*"]"#,
        r#"["*/canary"]"#,
        r#"["relative"]"#,
        r#"["out/"]"#,
        r#"["..", "/..", "../*", "out/../../outside"]"#,
    ] {
        for follow in [false, true] {
            let mut raw = Raw::open(&server);
            let body = format!(r#"{{"paths":{paths},"recursive":true,"follow":{follow}}}"#);
            raw.send(&request(r#""type":"pull""#, body.as_bytes()));
            let first = raw.answer();
            assert_eq!(first.kind(), "list");
            let listed = String::from_utf8(first.body).unwrap();
            let entries: Vec<serde_json::Value> =
                listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            for entry in &entries {
                assert_ne!(entry["kind"], "file", "{paths} {follow}: {listed}");
            }
            raw.send_what_goes(&[want(u32::try_from(entries.len()).unwrap(), ""), end()].concat());
        }
    }
    // A symlink in a tree is sent as one, and with `follow` not further than the root.
    for follow in [false, true] {
        let here = tempfile::tempdir().unwrap();
        let options = if follow { &["-r", "--follow"][..] } else { &["-r"] };
        let run = Run::new("fget").args(options).args(["-q", &format!("{}/", server.plain()), "."]);
        let run = run.current_dir(here.path()).code(i32::from(follow)).any_stderr();
        run.output();
        let names = names_in(here.path());
        assert_eq!(names, if follow { &["mine"][..] } else { &["mine", "out", "relative"] });
    }
    assert_well(&server);
}

/// A server whose home lies in what it shows.
struct WithHome {
    sandbox: Sandbox,
    server: Server,
}

impl WithHome {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let home = sandbox.inside().join("home");
        std::fs::create_dir(&home).unwrap();
        set_mode(&home, 0o700);
        let server = Server::with_args(&["--guest", "read,write"], &sandbox.inside(), &home);
        std::fs::hard_link(home.join("identity.pem"), sandbox.inside().join("innocent")).unwrap();
        std::os::unix::fs::symlink("home", sandbox.inside().join("alias")).unwrap();
        Self { sandbox, server }
    }
}

#[test]
fn the_keys_are_never_pulled() {
    let WithHome { sandbox, server } = WithHome::new();
    let key = std::fs::read(sandbox.inside().join("home/identity.pem")).unwrap();
    for path in
        ["home/identity.pem", "home/", "home", "alias/", "alias/identity.pem", "home/*", "*/*", "innocent", "*", ""]
    {
        for follow in [&["-r", "--follow"][..], &["-r"]] {
            let here = tempfile::tempdir().unwrap();
            let to = format!("{}/", here.path().join("to").display());
            let run = Run::new("fget").args(follow).args(["-q", &format!("{}/{path}", server.plain()), &to]);
            let (_, said) = run.spawn().ended();
            for (name, node) in snapshot(here.path()) {
                let is_key = matches!(&node.what, super::What::File { blake3, .. }
                    if *blake3 == blake3::hash(&key).to_hex().as_str());
                assert!(!is_key, "{path}: {} came; {said}", name.display());
            }
        }
    }
    assert_well(&server);
}

#[test]
fn the_keys_are_never_touched_by_a_push() {
    let WithHome { sandbox, server } = WithHome::new();
    let key = sandbox.inside().join("home/identity.pem");
    let before = (digest(&key), key.metadata().unwrap().mode(), key.metadata().unwrap().mtime());
    let (size, mtime) = (key.metadata().unwrap().len(), key.metadata().unwrap());
    let mtime_ns = mtime.mtime() * 1_000_000_000 + mtime.mtime_nsec();
    let same =
        |path: &str| format!(r#"{{"path":"{path}","kind":"file","size":{size},"mtime_ns":{mtime_ns},"mode":438}}"#);
    for (name, entries) in [
        ("into the home", vec![dir("home", 0o777), file("home/identity.pem", 4), file("home/evil", 4)]),
        ("by its alias", vec![dir("alias", 0o777), file("alias/identity.pem", 4)]),
        ("a mode, by its name", vec![dir("home", 0o777), same("home/identity.pem")]),
        ("a mode, by another name", vec![same("innocent")]),
        ("the home's own mode", vec![dir("home", 0o777)]),
        ("in place of the home", vec![link("home", "outside"), file("home", 4)]),
    ] {
        let mut raw = Raw::open(&server);
        let number = entries.iter().position(|entry| entry.contains("\"size\":4")).unwrap_or(0);
        let record = record(u32::try_from(number).unwrap(), b"evil");
        raw.send_what_goes(&[push(""), list(&entries), small(&[record]), end()].concat());
        heard(&mut raw);
        let now = (digest(&key), key.metadata().unwrap().mode(), key.metadata().unwrap().mtime());
        assert_eq!(now, before, "{name}");
        assert_eq!(sandbox.inside().join("home").metadata().unwrap().mode() & 0o777, 0o700, "{name}");
        assert!(!sandbox.inside().join("home/evil").exists(), "{name}");
    }
    assert_well(&server);
}

/// A local thread swaps a directory of the root for a symlink, back and forth, while a tree is pushed into it.
#[test]
fn a_directory_of_the_root_that_becomes_a_symlink_meanwhile_leads_nowhere() {
    let sandbox = Sandbox::new();
    let server = server_in(&sandbox);
    let here = tempfile::tempdir().unwrap();
    for at in 0..2_000 {
        let dir = here.path().join(format!("tree/d/{}", at % 200));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("f{at}")), "evil").unwrap();
    }
    let swapping = swap_with(sandbox.inside().join("dest/d"), sandbox.inside().join("away"), sandbox.outside());
    let (from, to): (_, std::ffi::OsString) =
        (with(&here.path().join("tree"), "/"), format!("{}/dest", server.plain()).into());
    let push = || Run::new("fput").args(["-r", "-q", "--no-sync"]).args([&from, &to]).spawn().ended();
    // While it is away, nothing can be put into it: that is said, and no more.
    for _ in 0..3 {
        let (code, said) = push();
        assert!(matches!(code, Some(0 | 1)) && !said.contains("panicked"), "{code:?} {said}");
        sandbox.assert_untouched("swapped");
    }
    let swaps = swapping.stop();
    assert!(swaps > 10, "{swaps} swaps");
    assert_well(&server);
    // With peace, all of it arrives.
    let (code, said) = push();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&snapshot(&here.path().join("tree")), &snapshot(&sandbox.inside().join("dest")), "at last");
}

/// A root with some files, and what a client may say to a server that sends them.
fn with_files() -> Server {
    let server = Server::start();
    for at in 0..10 {
        server.write(&format!("tree/f{at}"), noise(at, 1_000));
    }
    server.write("tree/large", noise(77, 400_000));
    server
}

#[test]
fn what_no_receiver_sends_ends_the_exchange_and_nothing_else() {
    let server = with_files();
    // 10 small files, the directory, the large one.
    let listed = 12;
    let digest = blake3::hash(&noise(77, 400_000)[..100_000]).to_hex();
    let other = blake3::hash(b"other").to_hex();
    for (name, said, is_fine) in [
        ("beyond the list", want(99, ""), false),
        ("without end", want(u32::MAX, ""), false),
        ("the directory", want(listed, r#"{"first":0}"#), false),
        ("a number beyond the list", want(listed, r#"{"first":99}"#), false),
        ("out of order", want(listed, "{\"first\":5}\n{\"first\":3}"), false),
        ("twice", want(listed, "{\"first\":5}\n{\"first\":5}"), false),
        ("one inside another", want(listed, "{\"first\":2,\"count\":5}\n{\"first\":4}"), false),
        ("what was answered before", [want(3, ""), want(9, r#"{"first":1}"#)].concat(), false),
        ("none of them", want(listed, r#"{"first":3,"count":0}"#), false),
        ("a range without end", want(listed, r#"{"first":5,"count":4294967295}"#), false),
        ("garbage", want(listed, "{{{"), false),
        ("numbers below zero", want(listed, r#"{"first":-1}"#), false),
        ("a word of a sender", list(&[file("x", 1)]), false),
        ("data", super::words::data(b"x"), false),
        ("kept garbage", request(r#""type":"kept""#, b"nonsense"), false),
        ("kept what was never sent", request(r#""type":"kept""#, br#"{"first":7,"count":4294967295}"#), true),
        ("failed what was never sent", request(r#""type":"kept""#, br#"{"first":99,"code":"x","message":"m"}"#), true),
        ("more than there is", want(listed, r#"{"first":11,"offset":999999999,"blake3":"00"}"#), true),
        ("an offset without end", want(listed, r#"{"first":11,"offset":18446744073709551615,"blake3":"00"}"#), true),
        (
            "a digest of something else",
            want(listed, &format!(r#"{{"first":11,"offset":100000,"blake3":"{other}"}}"#)),
            true,
        ),
        ("a digest that is none", want(listed, r#"{"first":11,"offset":100000,"blake3":"zz"}"#), true),
        ("an offset without a digest", want(listed, r#"{"first":11,"offset":100000}"#), true),
        ("an offset at its end", want(listed, r#"{"first":11,"offset":400000,"blake3":"00"}"#), true),
        ("an offset of nothing", want(listed, r#"{"first":11,"offset":0,"blake3":"00"}"#), true),
        ("a part of a small file", want(listed, r#"{"first":5,"offset":10,"blake3":"00"}"#), true),
        ("what is right", want(listed, &format!(r#"{{"first":11,"offset":100000,"blake3":"{digest}"}}"#)), true),
        ("nothing at all", Vec::new(), true),
    ] {
        let mut raw = Raw::open(&server);
        raw.send(&pull(r#"["tree"]"#));
        assert_eq!(raw.answer().kind(), "list");
        raw.send_what_goes(&[said, end()].concat());
        let all = heard(&mut raw);
        let last = all.last().map(Answer::kind);
        if is_fine {
            assert_eq!(last, Some("end"), "{name}: {all:?}");
        } else {
            assert_eq!(last, Some("error"), "{name}: {all:?}");
        }
        assert_well(&server);
    }
}

/// What is offered is a length and nothing else: the file comes from there on, with the values of its beginning; and of
/// that comes again what the client asks for.
#[test]
fn a_beginning_that_is_not_the_files_is_mended() {
    let server = with_files();
    let bytes = noise(77, 400_000);
    for (offset, from) in [(100_000, 100_000), (400_000, 400_000), (400_001, 0)] {
        let mut raw = Raw::open(&server);
        raw.send(&pull(r#"["tree/large"]"#));
        assert_eq!(raw.answer().kind(), "list");
        raw.send(&want(1, &format!(r#"{{"first":0,"offset":{offset}}}"#)));
        let mut got = vec![0; from];
        let mut at = from;
        let mut wholes = 0;
        loop {
            let answer = raw.answer();
            match answer.kind() {
                "large" => assert_eq!(answer.header["offset"].as_u64().unwrap_or(0), from as u64),
                "data" => {
                    got.resize(got.len().max(at + answer.body.len()), 0);
                    got[at..at + answer.body.len()].copy_from_slice(&answer.body);
                    at += answer.body.len();
                }
                "blocks" => assert_eq!(answer.body.len(), 32),
                "piece" => at = usize::try_from(answer.header["offset"].as_u64().unwrap_or(0)).unwrap(),
                "whole" => {
                    assert_eq!(answer.header["blake3"], blake3::hash(&bytes).to_hex().as_str());
                    wholes += 1;
                    if wholes == 2 || from == 0 {
                        break;
                    }
                    let stretch = format!(r#"{{"offset":0,"size":{from}}}"#);
                    raw.send(&request(r#""type":"mend","entry":0"#, stretch.as_bytes()));
                }
                other => panic!("{other}"),
            }
        }
        assert!(got == bytes, "{offset}");
    }
}

/// A client that says all the time what it has kept, and never reads: whatever the server remembers of it is bounded.
#[test]
fn a_client_that_talks_and_never_listens_does_not_make_the_server_grow() {
    const GROWTH_KIB_MAX: u64 = 64 * 1024;
    const SAID_LEN: usize = 192 << 20;
    let server = with_files();
    let sparse = std::fs::File::create(server.root().join("tree/sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let mut raw = Raw::open(&server);
    raw.send(&pull(r#"["tree/sparse"]"#));
    assert_eq!(raw.answer().kind(), "list");
    raw.send(&want(1, r#"{"first":0}"#));
    let before = memory_kib(server.pid()).map(|memory| memory.peak).unwrap();
    // The shortest lines make most of what is remembered.
    let nonsense = request(r#""type":"kept""#, &b"{\"first\":9}\n".repeat(80_000));
    raw.stream.set_write_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let mut said = 0;
    // It may stop reading, or end the connection: both are right.
    while said < SAID_LEN && std::io::Write::write_all(&mut raw.stream, &nonsense).is_ok() {
        said += nonsense.len();
        let grown = memory_kib(server.pid()).map(|memory| memory.peak).unwrap() - before;
        assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more after {said} bytes");
    }
    drop(raw);
    assert_well(&server);
}

/// The same for what it wants, of a tree of many files.
#[test]
fn a_client_that_wants_all_and_never_listens_does_not_make_the_server_grow() {
    const GROWTH_KIB_MAX: u64 = 64 * 1024;
    let server = Server::start();
    for at in 0..200 {
        let sparse = server.write(&format!("tree/f{at}"), "");
        std::fs::File::options().write(true).open(sparse).unwrap().set_len(100 << 20).unwrap();
    }
    let before = memory_kib(server.pid()).map(|memory| memory.peak).unwrap();
    let lines: Vec<Raw<TcpStream>> = (0..4)
        .map(|_| {
            let mut raw = Raw::open(&server);
            raw.send(&pull(r#"["tree"]"#));
            assert_eq!(raw.answer().kind(), "list");
            raw.send(&want(201, r#"{"first":1,"count":200}"#));
            assert_eq!(raw.answer().kind(), "large");
            raw
        })
        .collect();
    // Nothing is read now; others are served meanwhile.
    for _ in 0..20 {
        assert_well(&server);
    }
    let grown = memory_kib(server.pid()).map(|memory| memory.peak).unwrap() - before;
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more");
    drop(lines);
    assert_well(&server);
}

/// Each path that is named costs the server something; a frame of them must not cost it everybody's descriptors.
#[test]
fn a_pull_of_very_many_paths_leaves_room_for_others() {
    let server = with_files();
    rustix::process::prlimit(
        rustix::process::Pid::from_raw(server.pid().cast_signed()),
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: Some(1024), maximum: Some(1024) },
    )
    .unwrap();
    let mut raw = Raw::open(&server);
    let paths: Vec<&str> = std::iter::repeat_n(r#""tree/f1""#, 50_000).collect();
    raw.send(&pull(&format!("[{}]", paths.join(","))));
    let mut listed = 0;
    // It may refuse that many at once; what it lists it can open.
    while listed < 5_000 {
        let answer = raw.answer();
        if answer.kind() == "error" {
            break;
        }
        let body = String::from_utf8_lossy(&answer.body);
        assert!(!body.contains("\"error\""), "after {listed}: {}", body.lines().last().unwrap());
        listed += body.lines().count();
    }
    assert_well(&server);
    drop(raw);
    assert_well(&server);
}

#[test]
fn a_peer_that_vanishes_in_the_middle_leaves_nothing_running() {
    let server = with_files();
    let big = vec![b'x'; 300_000];
    let talks: [Vec<u8>; 6] = [
        pull(r#"["tree"]"#),
        [pull(r#"["tree"]"#), want(12, r#"{"first":1,"count":11}"#)].concat(),
        push("up"),
        [push("up"), list(&[file("x", 300_000)])].concat(),
        [push("up"), list(&[file("x", 300_000)]), large(0, 0, 300_000), super::words::data(&big[..9])].concat(),
        [push("up"), list_of(&[b' '; 9], false)].concat(),
    ];
    for talk in talks {
        for how in [Shutdown::Both, Shutdown::Write] {
            let mut raw = Raw::open(&server);
            raw.send(&talk);
            drop(raw.stream.shutdown(how));
            drop(raw);
        }
        for cut in [talk.len() - 1, talk.len() / 2] {
            let mut raw = Raw::open(&server);
            raw.send(&talk[..cut]);
        }
    }
    server.wait_until_all_have_left();
    assert_well(&server);
    // The next one finds a part, and nothing in its way.
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("x"), &big).unwrap();
    Run::new("fput").args(["x", &server.remote("up/")]).current_dir(here.path()).prints("");
    assert_eq!(server.names("up"), ["x"]);
}

/// Two push the same tree at the same time, a third one pulls it: each file is one of the two, whole.
#[test]
fn many_at_one_tree_do_not_mix_their_files() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    for (tree, seed) in [("a", 1_000), ("b", 2_000)] {
        std::fs::create_dir(here.path().join(tree)).unwrap();
        for at in 0..60 {
            let len = if at % 20 == 0 { 3_000_000 } else { 5_000 };
            std::fs::write(here.path().join(tree).join(format!("f{at}")), noise(seed + at, len)).unwrap();
            set_mtime(&here.path().join(tree).join(format!("f{at}")), i64::try_from(seed + at).unwrap() << 40);
        }
    }
    let running: Vec<_> = ["a", "b", "a", "b"]
        .into_iter()
        .map(|tree| {
            let run = Run::new("fput").args(["-r", "-q", "--no-sync", &format!("{tree}/"), &server.remote("dest")]);
            let run = run.current_dir(here.path());
            thread::spawn(move || run.prints(""))
        })
        .collect();
    for running in running {
        running.join().unwrap();
    }
    let (a, b) = (snapshot(&here.path().join("a")), snapshot(&here.path().join("b")));
    let there = snapshot(&server.root().join("dest"));
    assert_eq!(there.len(), 60);
    for (path, node) in &there {
        assert!(a.get(path) == Some(node) || b.get(path) == Some(node), "{}", path.display());
    }
}

/// A body of one MiB may hold many patterns, and each may match much.
#[test]
fn patterns_cannot_stand_for_more_than_fits_into_memory() {
    let sandbox = Sandbox::new();
    let server = server_in(&sandbox);
    for at in 0..1_000 {
        std::fs::write(sandbox.inside().join(format!("f{at}")), "").unwrap();
    }
    let mut raw = Raw::open(&server);
    raw.send(&pull(&format!("[{}]", ["\"*\""; 400].join(","))));
    let refused = raw.answer();
    assert_eq!(refused.kind(), "error");
    raw.send(&end());
    assert_well(&server);
}

/// A directory whose mode and time cannot be set fails, and the sender hears of it.
#[test]
fn a_directory_that_is_gone_at_the_end_is_told() {
    let sandbox = Sandbox::new();
    let server = server_in(&sandbox);
    let mut raw = Raw::open(&server);
    raw.send(&push("x"));
    // More than are kept open, so that the first has to be opened again.
    let dirs: Vec<String> = (0..300).map(|at| dir(&format!("d{at}"), 0o755)).collect();
    raw.send(&list(&dirs));
    let mut answered = 0;
    while answered == 0 {
        let answer = raw.answer();
        assert_eq!(answer.kind(), "want");
        answered = answer.header["count"].as_u64().unwrap();
    }
    std::fs::remove_dir(sandbox.inside().join("x/d0")).unwrap();
    raw.send(&end());
    assert!(is_refused(&heard(&mut raw)));
}

/// A frame of small files is worth days at one byte a second; no peer waits for them that is not waited for.
#[test]
fn a_slow_pull_ends_with_its_client() {
    let sandbox = Sandbox::new();
    let server = server_in(&sandbox);
    std::fs::write(sandbox.inside().join("f"), noise(1, 100_000)).unwrap();
    let mut raw = Raw::open(&server);
    raw.send(&request(r#""type":"pull""#, br#"{"paths":["f"],"bwlimit":1}"#));
    assert_eq!(raw.answer().kind(), "list");
    raw.send(&want(1, r#"{"first":0}"#));
    assert_eq!(raw.answer().kind(), "small");
    drop(raw);
    wait_until("the line is no more", || server.log().contains(" disconnected "));
}
