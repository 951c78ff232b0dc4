//! WebDAV with programs that others wrote: a suite that judges, clients that mount, copy and compare. What is not
//! installed is left out aloud.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::files::names;
use crate::harness::skip::{is_installed, is_root, skip};
use crate::harness::{Server, wait_until};

const WRITABLE: [&str; 2] = ["--upload", "--modify"];

fn url(server: &Server) -> String {
    format!("http://{}/", server.address())
}

/// Runs a program with this input to success, and returns what it printed.
fn run(program: &str, dir: &Path, args: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env("HOME", dir).env("no_proxy", "*");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text
}

/// A tree of files with names and contents of all kinds.
fn tree(dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    for (name, len) in
        [("a b.bin", 300_000), ("100% #1?.txt", 7), ("empty", 0), ("sub/ünï/深い.bin", 5_000), ("sub/x", 1)]
    {
        let path = tree.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes: Vec<u8> = (0..len).map(|at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        std::fs::write(path, bytes).unwrap();
    }
    tree
}

#[test]
fn litmus_finds_nothing() {
    if !is_installed("litmus", "--version") {
        return;
    }
    let server = Server::http_files(&WRITABLE);
    let dir = tempfile::tempdir().unwrap();
    let report = run("litmus", dir.path(), &[&url(&server)], "");
    for suite in ["basic", "copymove", "props", "locks", "http"] {
        let summary = report.lines().find(|line| line.starts_with(&format!("<- summary for `{suite}'")));
        assert!(summary.is_some_and(|summary| summary.ends_with("100.0%")), "{suite}: {report}");
    }
    for bad in ["WARNING", "FAIL", "SKIPPED"] {
        assert!(!report.contains(bad), "{bad}: {report}");
    }
}

#[test]
fn cadaver_does_all_that_it_can() {
    // It says its version, and that this was an error.
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join("cadaver").is_file()) {
        skip("cadaver is not installed");
        return;
    }
    let server = Server::http_files(&WRITABLE);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("local"), "hello").unwrap();
    let commands = "mkcol cad\ncd cad\nput local x\nls\nlock x\ndiscover x\npropset x colour blue\npropget x colour\n\
                    copy x y\nmove y z\nunlock x\nget z back\ndelete x\ncd ..\nrmcol cad\nls\nquit\n";
    let report = run("cadaver", dir.path(), &[&url(&server)], commands);
    for told in ["Value of colour is: blue", "Scope: exclusive  Type: write", "Deleting collection `cad': succeeded"] {
        assert!(report.contains(told), "{told}: {report}");
    }
    assert!(!report.contains("failed"), "{report}");
    assert_eq!(std::fs::read(dir.path().join("back")).unwrap(), b"hello");
    assert!(names(server.root()).is_empty());
}

#[test]
fn rclone_copies_compares_and_keeps_in_step() {
    if !is_installed("rclone", "version") {
        return;
    }
    let server = Server::http_files(&WRITABLE);
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path());
    // The vendor whose clients set times.
    let remote = format!(":webdav,url='{}',vendor=owncloud:", url(&server));
    let tree = tree.to_str().unwrap();
    let rclone = |args: &[&str]| run("rclone", dir.path(), &[&["--config", "none"], args].concat(), "");
    rclone(&["copy", tree, &remote]);
    for args in [["check", "--download", tree, &remote], ["check", "--download", &remote, tree]] {
        let report = rclone(&args);
        assert!(report.contains("0 differences found"), "{report}");
    }
    let report = rclone(&["sync", "-v", "--dry-run", tree, &remote]);
    assert!(!report.contains("Skipped"), "times are the same too: {report}");
    rclone(&["copyto", &format!("{remote}sub"), &format!("{remote}copied")]);
    rclone(&["moveto", &format!("{remote}copied"), &format!("{remote}moved")]);
    assert_eq!(server.read("moved/x"), server.read("sub/x"));
    let two = dir.path().join("two");
    std::fs::create_dir(&two).unwrap();
    let two = two.to_str().unwrap();
    rclone(&["bisync", two, &remote, "--resync"]);
    std::fs::write(Path::new(two).join("new"), "new").unwrap();
    std::fs::remove_file(server.root().join("empty")).unwrap();
    for _ in 0..2 {
        rclone(&["bisync", two, &remote]);
    }
    assert_eq!((server.read("new"), Path::new(two).join("empty").exists()), (b"new".to_vec(), false));
    let report = rclone(&["check", "--download", two, &remote]);
    assert!(report.contains("0 differences found"), "{report}");
}

/// A mount that is gone when it is dropped.
struct Mount<'d>(&'d Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

#[test]
fn davfs2_mounts_and_writes() {
    if !is_root("mounting") || !is_installed("/sbin/mount.davfs", "--version") {
        return;
    }
    let server = Server::http_files(&WRITABLE);
    server.write("there/note", "hello");
    let dir = tempfile::tempdir().unwrap();
    // Its own user keeps the cache.
    let [cache, at, config] = ["cache", "at", "config"].map(|name| dir.path().join(name));
    std::fs::create_dir(&cache).unwrap();
    std::fs::create_dir(&at).unwrap();
    for (path, mode) in [(dir.path(), 0o755), (&cache, 0o1777)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    std::fs::write(&config, format!("cache_dir {}\nask_auth 0\nuse_locks 1\ndelay_upload 0\n", cache.display()))
        .unwrap();
    let option = format!("conf={}", config.display());
    let mounted = Command::new("/sbin/mount.davfs")
        .args(["-o", &option, &url(&server), at.to_str().unwrap()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if !mounted.status.success() {
        return skip(&format!("davfs2 cannot mount here: {}", String::from_utf8_lossy(&mounted.stderr).trim()));
    }
    let mount = Mount(&at);
    assert_eq!(std::fs::read(at.join("there/note")).unwrap(), b"hello");
    let bytes: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::create_dir(at.join("made")).unwrap();
    std::fs::write(at.join("made/big"), &bytes).unwrap();
    std::fs::write(at.join("made/note"), "one").unwrap();
    wait_until("both are stored", || server.root().join("made/note").metadata().is_ok_and(|note| note.len() == 3));
    std::fs::write(at.join("made/note"), "second").unwrap();
    std::fs::rename(at.join("made/big"), at.join("there/moved")).unwrap();
    std::fs::remove_file(at.join("there/note")).unwrap();
    // It has stored everything when it is gone.
    drop(mount);
    assert!(server.read("there/moved") == bytes);
    assert_eq!((server.read("made/note"), server.root().join("there/note").exists()), (b"second".to_vec(), false));
}

#[test]
fn curl_speaks_it_too() {
    if !is_installed("curl", "--version") {
        return;
    }
    let server = Server::http_files(&WRITABLE);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("local"), "hello").unwrap();
    let curl = |args: &[&str]| run("curl", dir.path(), &[&["-sS", "--fail"], args].concat(), "");
    let at = |path: &str| format!("{}{path}", url(&server));
    curl(&["-X", "MKCOL", &at("new%20dir/")]);
    curl(&["-T", "local", &at("new%20dir/a")]);
    curl(&["-X", "COPY", "-H", &format!("Destination: {}", at("b")), &at("new%20dir/a")]);
    curl(&["-X", "MOVE", "-H", "Destination: /c", &at("b")]);
    let found = curl(&["-X", "PROPFIND", "-H", "Depth: 1", &at("")]);
    assert!(found.contains("<D:href>/new%20dir/</D:href>") && found.contains("<D:href>/c</D:href>"), "{found}");
    curl(&["-X", "DELETE", &at("new%20dir/")]);
    assert_eq!((names(server.root()), server.read("c")), (vec!["c".to_owned()], b"hello".to_vec()));
}
