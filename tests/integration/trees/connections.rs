//! A tree over several connections at once comes out as over one.

use std::path::Path;

use super::words::{end, file, list};
use super::{assert_same, noise, set_mode, set_mtime, snapshot, strays};
use crate::harness::frames::{Raw, request};
use crate::harness::proxy::{Cut, Proxy, Toward};
use crate::harness::{Run, Server, wait_until};

/// Directories that no user may write to, symlinks, files with several names, and sizes of all kinds.
fn make_tree(dir: &Path) {
    for at in 0..400_usize {
        let above = dir.join(format!("d{}/deep", at % 9));
        std::fs::create_dir_all(&above).unwrap();
        let path = above.join(format!("f{at}"));
        std::fs::write(&path, noise(at as u64, if at % 100 == 7 { 2 << 20 } else { at * 37 })).unwrap();
        set_mtime(&path, 1_500_000_000_000_000_000 + i64::try_from(at).unwrap());
    }
    std::os::unix::fs::symlink("deep/f9", dir.join("d0/link")).unwrap();
    std::fs::hard_link(dir.join("d1/deep/f1"), dir.join("d2/other name")).unwrap();
    std::fs::create_dir(dir.join("empty")).unwrap();
    for at in 0..9 {
        set_mtime(&dir.join(format!("d{at}/deep")), 1_300_000_000_000_000_000 + at);
        set_mtime(&dir.join(format!("d{at}")), 1_200_000_000_000_000_000 + at);
        set_mode(&dir.join(format!("d{at}/deep")), 0o555);
    }
}

fn writable_again(dir: &Path) {
    for at in 0..9 {
        set_mode(&dir.join(format!("d{at}/deep")), 0o755);
    }
}

#[test]
fn it_comes_out_as_over_one() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let tree = here.path().join("tree");
    make_tree(&tree);
    let want = snapshot(&tree);
    let run = |program: &str, lines: &str, paths: [&str; 2]| {
        let run = Run::new(program).args(["-r", "--json", "--connections", lines]).args(paths).current_dir(here.path());
        run.output().json()
    };
    for lines in ["1", "2", "5", "16"] {
        let (there, back) = (server.remote(&format!("x{lines}")), format!("back{lines}"));
        let put = run("fput", lines, ["tree/", &there]);
        assert_same(&want, &snapshot(&server.root().join(format!("x{lines}"))), lines);
        let get = run("fget", lines, [&format!("{there}/"), &back]);
        assert_same(&want, &snapshot(&here.path().join(&back)), lines);
        for json in [put, get] {
            assert_eq!((&json["files"], &json["failed"]), (&400.into(), &0.into()), "{lines} {json}");
        }
        // Again: nothing, over any number of connections.
        assert_eq!(run("fput", "3", ["tree/", &there])["unchanged"], 400);
        assert_eq!(run("fget", "3", [&format!("{there}/"), &back])["unchanged"], 400);
        assert_same(&want, &snapshot(&here.path().join(&back)), lines);
    }
    for dir in [tree, here.path().join("back1"), server.root().join("x1")] {
        writable_again(&dir);
    }
}

#[test]
fn as_many_as_the_server_has_room_for() {
    let server = Server::with(&["--max-per-address", "2"]);
    let here = tempfile::tempdir().unwrap();
    let tree = here.path().join("tree");
    make_tree(&tree);
    writable_again(&tree);
    let put =
        Run::new("fput").args(["-r", "--connections", "4", "tree/", &server.remote("x")]).current_dir(here.path());
    put.stderr("2 of 4 connections: ").prints("");
    assert_same(&snapshot(&tree), &snapshot(&server.root().join("x")), "");
}

#[test]
fn a_connection_that_is_cut_is_no_success_and_the_rest_comes_next() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let tree = here.path().join("tree");
    make_tree(&tree);
    writable_again(&tree);
    for (program, toward) in [("fput", Toward::Server), ("fget", Toward::Client)] {
        let proxy = Proxy::start(server.address());
        proxy.cut_after(toward, 3 << 20, Cut::Reset);
        let copy = |address: &str| {
            let remote = format!("tls://{address}/x");
            let paths =
                if program == "fput" { ["tree/".to_owned(), remote] } else { [format!("{remote}/"), "back".into()] };
            Run::new(program).args(["-r", "-q", "--connections", "3"]).args(paths).current_dir(here.path())
        };
        let (code, said) = copy(&proxy.address()).spawn().ended();
        assert_eq!(code, Some(4), "{said}");
        // What came is given its name over there, also after this.
        server.wait_until_all_have_left();
        copy(server.address()).prints("");
    }
    for copy in [server.root().join("x"), here.path().join("back")] {
        assert_same(&snapshot(&tree), &snapshot(&copy), "");
        assert!(strays(&copy).is_empty());
    }
}

#[test]
fn what_fails_on_any_connection_is_named_once() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(server.root().join("x")).unwrap();
    for at in 0..20 {
        server.write(&format!("tree/f{at}"), "x");
        // In its way.
        if at % 4 == 0 {
            std::fs::create_dir_all(here.path().join(format!("back/f{at}"))).unwrap();
        }
    }
    // A directory is listed on each connection.
    std::fs::create_dir(server.root().join("tree/d")).unwrap();
    std::fs::write(here.path().join("back/d"), "in its way").unwrap();
    let fails = |program: &str, paths: [&str; 2], files: u64, failed: usize| {
        let copy = Run::new(program).args(["-r", "--connections", "4", "--json"]).args(paths).current_dir(here.path());
        let output = copy.code(1).any_stderr().output();
        let json = output.json();
        assert_eq!((&json["files"], &json["failed"]), (&files.into(), &failed.into()), "{json}");
        assert_eq!(output.stderr.lines().count(), failed, "{}", output.stderr);
    };
    fails("fget", [&server.remote("tree/"), "back"], 15, 6);
    std::fs::create_dir_all(here.path().join("up/d")).unwrap();
    std::fs::write(server.root().join("x/d"), "in its way").unwrap();
    fails("fput", ["up/", &server.remote("x")], 0, 1);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir(here.path().join("tree")).unwrap();
    let there = server.remote("");
    for (args, said) in [
        (&["--connections", "0"][..], "1..=16"),
        (&["--connections", "17"], "1..=16"),
        (&["--connections", "x"], "invalid digit"),
    ] {
        let put = Run::new("fput").args(args).args(["-r", "tree", &there]).current_dir(here.path());
        put.code(2).stderr(said).prints("");
    }
    let between = [server.remote("a"), server.remote("b")];
    Run::new("fput")
        .args(["-r", "--connections", "2"])
        .args(between)
        .code(2)
        .stderr("leave --connections out")
        .prints("");
    // A share that there cannot be.
    for share in [r#"{"number":2,"of":2}"#, r#"{"number":0,"of":0}"#, r#"{"number":0,"of":4000000000}"#, "7"] {
        let server = Server::with(&["--guest", "read"]);
        let mut raw = Raw::open(&server);
        raw.send(&request(r#""type":"pull""#, format!(r#"{{"paths":["x"],"share":{share}}}"#).as_bytes()));
        assert_eq!(raw.answer().kind(), "error", "{share}");
    }
}

/// One that helps and says it is through leaves what is done last to others.
#[test]
fn a_connection_that_helps_finishes_no_directories() {
    let server = Server::with(&["--guest", "write"]);
    let mut raw = Raw::open(&server);
    let how = br#"{"single":false,"recursive":true,"helps":true,"preserve":true,"sync":false,"resume":true}"#;
    raw.send(&request(r#""type":"push","path":"x""#, how));
    let dir = super::words::dir("d", 0o500);
    raw.send(&[list(&[dir, file("d/f", 0)]), super::words::small(&[super::words::record(1, b"")]), end()].concat());
    while raw.answer().kind() != "end" {}
    let mode = std::os::unix::fs::PermissionsExt::mode(&server.root().join("x/d").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    assert!(server.root().join("x/d/f").exists());
}

/// What is to take hours ends with the connection.
#[test]
fn no_connection_waits_for_one_that_is_gone() {
    let server = Server::with(&["--guest", "read", "--grace", "100ms"]);
    let here = tempfile::tempdir().unwrap();
    for at in 0..20 {
        std::fs::write(here.path().join(format!("f{at}")), noise(at, 50_000)).unwrap();
        server.write(&format!("x/f{at}"), noise(at, 50_000));
    }
    let run = Run::new("fput").args(["-r", "--bwlimit", "1k", "--no-sync", ".", &server.remote("y/")]);
    let running = run.current_dir(here.path()).spawn();
    wait_until("a frame was sent", || server.root().join("y").is_dir() && !is_empty(&server.root().join("y")));
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.ended().0, Some(130));
    // A server's sender too, be it that its client is gone or that it is to stop.
    let pull = |raw: &mut Raw| {
        raw.send(&request(r#""type":"pull""#, br#"{"paths":["x"],"recursive":true,"bwlimit":1}"#));
        while raw.answer().kind() != "list" {}
        raw.send(&super::words::want(21, r#"{"first":1,"count":20}"#));
        while raw.answer().kind() != "small" {}
    };
    let mut gone = Raw::open(&server);
    pull(&mut gone);
    drop(gone);
    server.wait_until_all_have_left();
    let mut stays = Raw::open(&server);
    pull(&mut stays);
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

/// Over several connections, each end is counted.
#[test]
fn a_list_ends_once() {
    let server = Server::with(&["--guest", "write"]);
    let mut raw = Raw::open(&server);
    raw.send(&super::words::push("x"));
    raw.send_what_goes(&[list(&[super::words::dir("d", 0o700)]), list(&[]), end()].concat());
    let last = std::iter::from_fn(|| raw.next()).find(|answer| matches!(answer.kind(), "error" | "end"));
    assert_eq!(last.unwrap().kind(), "error");
}
