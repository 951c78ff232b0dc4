//! Disks that are full and files that cannot be read: one sentence, the table's exit code, the old
//! file as it was, nothing left behind, and a connection that goes on.

use std::ffi::OsStr;
use std::os::unix::fs::DirBuilderExt as _;

use crate::harness::files::{names, set_mode};
use crate::harness::frames::{Raw, put, request};
use crate::harness::machine::Machine;
use crate::harness::mounted::Mounted;
use crate::harness::nobody::Nobody;
use crate::harness::{Run, Server, wait_until};

/// A server whose root is on the small disk, or is a directory on it.
fn server_on(disk: &Mounted) -> Server {
    let root = tempfile::Builder::new().prefix("root").tempdir_in(disk.path()).unwrap();
    Server::with_root(&["--guest", "all"], root)
}

/// What is said to have arrived is what is there, and the other way round.
#[test]
fn what_is_counted_after_a_full_disk_is_there() {
    let Some(disk) = Mounted::tmpfs("1m") else { return };
    let server = server_on(&disk);
    let here = tempfile::tempdir().unwrap();
    for (name, size) in [("a", 50_000), ("b", 50_000), ("c", 200_000), ("d", 3 << 20), ("e", 50_000)] {
        std::fs::write(here.path().join(name), vec![7; size]).unwrap();
    }
    let run = Run::new("fput").args(["--json", "a", "b", "c", "d", "e", &server.remote("")]).current_dir(here.path());
    let summary = run.code(1).stderr("no space left on the device").output().json();
    let there = names(server.root()).into_iter().filter(|name| !name.starts_with('.')).count() as u64;
    assert!(there >= 3, "{:?}", names(server.root()));
    assert_eq!(summary["files"].as_u64(), Some(there), "{summary}");
}

#[test]
fn an_upload_that_does_not_fit_leaves_the_old_file() {
    let Some(disk) = Mounted::tmpfs("1m") else { return };
    let server = server_on(&disk);
    let old = server.write("big", "old");
    let here = tempfile::tempdir().unwrap();
    for (at, size) in [3 << 20, 40 << 20].into_iter().enumerate() {
        let big = here.path().join("big");
        std::fs::write(&big, vec![1; size]).unwrap();
        let small = here.path().join("small");
        std::fs::write(&small, "small").unwrap();
        // A disk that is full is full for all: nothing more is tried, and what came is kept.
        let run = Run::new("fput").args([big.as_os_str(), small.as_os_str(), OsStr::new(&server.remote(""))]);
        let stderr = run.code(1).stderr("/big: no space left on the device; what came is kept").output().stderr;
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(std::fs::read(&old).unwrap(), b"old");
        let [part, kept] = &server.names(".")[..] else { panic!("{:?}", server.names(".")) };
        assert!(part.starts_with(".big.") && kept == "big", "{part}");
        // The client has heard it before it stands in the log.
        wait_until("the refusal is logged", || server.log().matches("refused (no-space)").count() == at + 1);
        let log = server.log();
        assert_eq!(log.matches(" connected ").count(), at + 1, "{log}");
        std::fs::remove_file(server.root().join(part)).unwrap();
    }
    let mut raw = Raw::open(&server);
    raw.send(&put("big", &vec![2; 3 << 20]));
    assert_eq!(raw.answer().code(), "no-space");
    raw.send(&request(r#""type":"pwd""#, &[]));
    assert_eq!(raw.answer().kind(), "cwd");
    raw.send(&put("big", b"new"));
    assert_eq!(raw.answer().kind(), "ok");
    assert_eq!(server.read("big"), b"new");
}

#[test]
fn a_download_that_does_not_fit_leaves_the_old_file() {
    let Some(disk) = Mounted::tmpfs("1m") else { return };
    let server = Server::start();
    server.write("small", "small");
    std::fs::write(disk.path().join("big"), "old").unwrap();
    for size in [3 << 20, 40 << 20] {
        server.write("big", vec![1; size]);
        let run = Run::new("fget").args([&server.remote("big"), &server.remote("small"), "."]);
        let stderr = run.current_dir(disk.path()).code(1).stderr("o space left on").output().stderr;
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(std::fs::read(disk.path().join("big")).unwrap(), b"old");
        let [part, kept] = &names(disk.path())[..] else { panic!("{:?}", names(disk.path())) };
        assert!(part.starts_with(".big.") && kept == "big", "{part}");
        std::fs::remove_file(disk.path().join(part)).unwrap();
    }
    let stderr = {
        let script = "get big big\nget small again\nls\n";
        let run = Run::new("tcp-client").args([server.address()]).current_dir(disk.path()).stdin(script);
        let output = run.code(1).any_stderr().output();
        assert!(output.text().contains("small"), "the connection is still usable: {}", output.text());
        output.stderr
    };
    assert!(stderr.contains("o space left on"), "{stderr}");
    assert_eq!(names(disk.path()), ["again", "big"]);
    // One connection a run: none was given up.
    let log = server.stop().1;
    assert_eq!(log.matches(" connected ").count(), 3, "{log}");
}

#[test]
fn a_full_disk_is_told_to_tcp_client_too() {
    let Some(disk) = Mounted::tmpfs("1m") else { return };
    let server = server_on(&disk);
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("big"), vec![1; 5 << 20]).unwrap();
    let run = Run::new("tcp-client").args([server.address()]).current_dir(here.path()).stdin("put big\npwd\n");
    let output = run.code(1).stderr("/big: no space left on the device").output();
    assert_eq!(output.text(), "/\n", "the connection is still usable");
    assert_eq!(server.names("."), [""; 0]);
}

/// Another user may not read what is root's: the server runs as nobody.
#[test]
fn what_the_server_may_not_read_or_write_is_a_sentence() {
    let Some(nobody) = Nobody::new() else { return };
    let root = tempfile::tempdir().unwrap();
    set_mode(root.path(), 0o755);
    for (name, mode) in [("secret", 0o600), ("public", 0o644)] {
        std::fs::write(root.path().join(name), name).unwrap();
        set_mode(&root.path().join(name), mode);
    }
    std::fs::create_dir(root.path().join("closed")).unwrap();
    set_mode(&root.path().join("closed"), 0o700);
    let server =
        nobody.run("tcp-server").args(["--guest", "all", "--bind", "127.0.0.1:0", "--root"]).args([root.path()]);
    let server = server.spawn();
    let ready = server.wait_for("ready on");
    let address = ready.rsplit_once(' ').expect("the ready line").1;
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("mine"), "mine").unwrap();
    let remote = |path: &str| format!("tcp://{address}/{path}");
    for (program, from, to, why) in [
        ("fget", remote("secret"), ".".to_owned(), "/secret: permission denied"),
        ("fget", remote("closed/x"), ".".to_owned(), "/closed/x: permission denied"),
        ("fput", "mine".to_owned(), remote("public"), "/public: permission denied"),
        ("fput", "mine".to_owned(), remote("new"), "/new: permission denied"),
        ("fput", "mine".to_owned(), remote("closed/new"), "permission denied"),
    ] {
        let run = Run::new(program).args([&from, &to]).current_dir(here.path());
        let stderr = run.code(1).stderr(why).output().stderr;
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    Run::new("tcp-client")
        .args([&format!("tcp://{address}")])
        .stdin("cd closed\nls closed\nrm public\nmkdir a\n")
        .code(1)
        .any_stderr()
        .prints("");
    Run::new("fget").args([remote("public").as_str(), "."]).current_dir(here.path()).prints("");
    assert_eq!(names(here.path()), ["mine", "public"]);
    assert_eq!(std::fs::read(root.path().join("public")).unwrap(), b"public");
    assert_eq!(names(root.path()), ["closed", "public", "secret"]);
}

/// What a detached command writes may fill the disk below the home; how it ended is known all the same.
#[test]
fn a_detached_command_that_fills_the_disk_still_has_its_outcome() {
    let Some(disk) = Mounted::tmpfs("1m") else { return };
    let machine = Machine::new();
    machine.identity();
    let jobs = disk.path().join("jobs");
    std::fs::DirBuilder::new().mode(0o700).create(&jobs).unwrap();
    std::os::unix::fs::symlink(&jobs, machine.home_path().join("jobs")).unwrap();
    let server = machine.server(&[]);
    let rexec = |act: &[&str]| machine.run("rexec").args(act).args([server.address()]);
    let started =
        rexec(&["--detach"]).args(["while ! test -e go; do sleep 0.02; done; head -c 3000000 /dev/zero; exit 5"]);
    let id = started.output().text().trim().to_owned();
    let mut waiting = rexec(&["--wait", &id]).spawn();
    server.write("go", "");
    assert_eq!(waiting.wait().code(), Some(5));
    rexec(&["--wait", &id]).code(5).prints("");
    assert!(rexec(&["--list-jobs"]).output().text().starts_with(&format!("{id}  exit 5 ")));
    // Nothing more can be begun, which leaves nothing behind, until there is room: then the note is put down, too.
    rexec(&["--detach"]).args(["true"]).code(251).stderr("detached command: no space left").prints("");
    assert_eq!(names(&jobs), [id.as_str()]);
    std::fs::remove_file(jobs.join(&id).join("output-0")).unwrap();
    rexec(&["--wait", &id]).code(5).prints("");
    assert!(std::fs::read_to_string(jobs.join(&id).join("job.json")).unwrap().contains("\"exit_code\":5"));
}
