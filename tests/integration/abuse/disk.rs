//! What must not be served, and trees that are too deep.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::{assert_well_for_guests, server};
use crate::harness::Run;
use crate::harness::frames::request;
use crate::harness::tls::Over;

over_both! {
    trees_may_be_deeper_than_any_stack,
}

#[test]
fn special_files_are_refused_in_a_sentence() {
    let server = server();
    let fifo = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, server.root().join("fifo"), rustix::fs::FileType::Fifo, fifo, 0).unwrap();
    std::os::unix::fs::symlink(Path::new("/dev/zero"), server.root().join("zero")).unwrap();
    std::os::unix::fs::symlink(Path::new("loop"), server.root().join("loop")).unwrap();
    let here = tempfile::tempdir().unwrap();
    for (path, why) in [
        ("fifo", "/fifo: is neither a file nor a directory"),
        ("zero", "/zero: leads out of the root"),
        ("dir", "/dir: is a directory"),
        ("file/inner", "/file/inner: not a directory"),
        ("loop", "/loop: "),
    ] {
        let run = Run::new("fget").args([server.remote(path).as_str(), "."]).current_dir(here.path());
        let output = run.code(1).stderr(why).output();
        assert_eq!(output.stderr.lines().count(), 1, "a sentence: {}", output.stderr);
        assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0, "{path} left something behind");
    }
    // Nor does a file take the place of one, on either side.
    let local = here.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &local, rustix::fs::FileType::Fifo, fifo, 0).unwrap();
    std::fs::write(here.path().join("mine"), "mine").unwrap();
    for (program, from, to) in
        [("fget", server.remote("file"), "fifo"), ("fput", "mine".into(), &server.remote("fifo"))]
    {
        let run = Run::new(program).args([from.as_str(), to]).current_dir(here.path());
        let stderr = run.code(1).stderr("neither a file nor a directory").output().stderr;
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    let is_fifo = |path: &Path| std::fs::symlink_metadata(path).unwrap().file_type().is_fifo();
    assert!(is_fifo(&local) && is_fifo(&server.root().join("fifo")));
    assert_well_for_guests(&server);
}

/// A connection's stack is small, and a guest decides how deep a tree is.
fn trees_may_be_deeper_than_any_stack(over: Over) {
    let server = server();
    let mut raw = over.open(&server);
    let mut ask = |fields: &str| {
        raw.send(&request(fields, &[]));
        raw.answer()
    };
    let deep = vec!["d"; 2_000].join("/");
    let mkdir = format!(r#""type":"mkdir","path":"{deep}","parents":true"#);
    assert_eq!(ask(&mkdir).kind(), "ok");
    assert_eq!(ask(&mkdir).kind(), "ok", "it is there already");
    assert_eq!(ask(r#""type":"mv","path":"d","to":"tree""#).kind(), "ok");
    // Each round hangs the tree to the end of another one: deeper than any path is long.
    for _ in 0..2 {
        assert_eq!(ask(&mkdir).kind(), "ok");
        assert_eq!(ask(&format!(r#""type":"mv","path":"tree","to":"{deep}""#)).kind(), "ok");
        assert_eq!(ask(r#""type":"mv","path":"d","to":"tree""#).kind(), "ok");
    }
    let refused = ask(r#""type":"rm","path":"tree","recursive":true"#);
    assert_eq!(refused.code(), "failed");
    assert!(refused.header["message"].as_str().unwrap().contains("directories deep"), "{}", refused.header);
    // A tree of a depth that people have is removed, links in it and not what they lead to.
    let deep = vec!["e"; 500].join("/");
    assert_eq!(ask(&format!(r#""type":"mkdir","path":"{deep}","parents":true"#)).kind(), "ok");
    std::os::unix::fs::symlink("../../dir", server.root().join("e/e/link")).unwrap();
    server.write("e/e/file", "x");
    assert_eq!(ask(r#""type":"rm","path":"e","recursive":true"#).kind(), "ok");
    assert_eq!(server.names("."), ["dir", "file", "tree"]);
    assert_eq!(server.names("dir"), ["inner"]);
    assert_well_for_guests(&server);
    // The test's own removal of the root goes down by recursion as well.
    let swept = std::process::Command::new("rm").arg("-rf").arg(server.root().join("tree")).status().unwrap();
    assert!(swept.success());
}
