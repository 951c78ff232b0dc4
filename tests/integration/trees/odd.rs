//! Sources and targets with something odd in them: one sentence about each, and the rest arrives.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{FileType, Mode, OFlags};

use super::{assert_same, names_in, noise, set_mode, set_mtime, snapshot, strays, with};
use crate::harness::files::write;
use crate::harness::mounted::Mounted;
use crate::harness::nobody::Nobody;
use crate::harness::{Run, Server};

fn fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_arrives() {
    let Some(nobody) = Nobody::new() else { return };
    let server = Server::start();
    for name in ["tree/secret", "tree/closed/x", "tree/open/x", "tree/z"] {
        write(&nobody.work(), name, name.as_bytes());
    }
    let modes = [("secret", 0o600), ("closed", 0o700)];
    for (name, mode) in modes {
        set_mode(&nobody.work().join("tree").join(name), mode);
    }
    let run = nobody.run("fput").args(["-r", "--json", "tree/", &format!("{}/dest", server.plain())]);
    let output = run.code(1).stderr("tree/secret: permission denied").output();
    assert!(output.stderr.contains("tree/closed: permission denied"), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 2, "{}", output.stderr);
    assert_eq!((&output.json()["files"], &output.json()["failed"]), (&2.into(), &2.into()));
    assert_eq!(names_in(&server.root().join("dest")), ["open", "open/x", "z"]);
}

#[test]
fn what_may_not_be_written_is_named_and_the_rest_arrives() {
    let Some(nobody) = Nobody::new() else { return };
    let server = Server::start();
    for name in ["tree/closed/x", "tree/open/x", "tree/z"] {
        server.write(name, name);
    }
    std::fs::create_dir_all(nobody.work().join("dest/closed")).unwrap();
    set_mode(&nobody.work().join("dest"), 0o777);
    set_mode(&nobody.work().join("dest/closed"), 0o755);
    let run = nobody.run("fget").args(["-r", "-q", &format!("{}/tree/", server.plain()), "dest"]);
    let said = run.code(1).stderr("closed").output().stderr;
    assert!(said.contains("permi"), "{said}");
    assert_eq!(names_in(&nobody.work().join("dest")), ["closed", "open", "open/x", "z"]);
}

/// A directory that its owner may not write is the owner's, who wants its copy brought up to date.
#[test]
fn a_directory_of_ones_own_that_is_read_only_is_brought_up_to_date() {
    let Some(nobody) = Nobody::new() else { return };
    let server = Server::start();
    server.write("tree/closed/x", "old");
    set_mode(&server.root().join("tree/closed"), 0o555);
    let fetch = || nobody.run("fget").args(["-r", "-q", &format!("{}/tree/", server.plain()), "dest"]);
    fetch().prints("");
    assert_same(&snapshot(&server.root().join("tree")), &snapshot(&nobody.work().join("dest")), "first");
    server.write("tree/closed/x", "new and longer");
    server.write("tree/closed/y", "another");
    fetch().prints("");
    assert_same(&snapshot(&server.root().join("tree")), &snapshot(&nobody.work().join("dest")), "then");
}

/// What its owner may neither write nor read is the owner's to remove, and what stays keeps its mode.
#[test]
fn a_mirror_removes_directories_of_ones_own_whatever_their_modes() {
    let Some(nobody) = Nobody::new() else { return };
    let server = Server::start();
    for mode in [0o555, 0o500, 0o111, 0o000] {
        for name in ["tree/a", "tree/b", "tree/stays/c", "tree/stays/d", "tree/x/in/ner/file", "tree/y/file"] {
            server.write(name, name);
        }
        let fetch = |options: &[&str]| {
            let from = format!("{}/tree/", server.plain());
            nobody.run("fget").args(["-r", "-q", "--delete", "--force"]).args(options).args([&from, "dest"])
        };
        fetch(&[]).prints("");
        // One goes, one becomes a file; of a third something goes, and its mode is not the server's business.
        std::fs::remove_dir_all(server.root().join("tree/x")).unwrap();
        std::fs::remove_dir_all(server.root().join("tree/y")).unwrap();
        std::fs::remove_file(server.root().join("tree/stays/d")).unwrap();
        server.write("tree/y", "a file");
        let dest = nobody.work().join("dest");
        for name in ["x/in/ner", "x/in", "x", "y"] {
            set_mode(&dest.join(name), mode);
        }
        set_mode(&dest.join("stays"), 0o555);
        fetch(&["-n"]).any_stderr().output();
        assert_eq!(mode, dest.join("x").metadata().unwrap().mode() & 0o7777, "a dry run changes nothing");
        fetch(&["--no-preserve"]).prints("");
        assert_eq!(names_in(&dest), ["a", "b", "stays", "stays/c", "y"], "{mode:o}");
        assert_eq!(dest.join("stays").metadata().unwrap().mode() & 0o7777, 0o555);
        std::fs::remove_dir_all(&dest).unwrap();
        std::fs::remove_file(server.root().join("tree/y")).unwrap();
    }
}

fn mode_of(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

#[test]
fn what_comes_without_a_mode_keeps_that_of_what_it_replaces() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    for (at, mode) in [0o600, 0o640, 0o666, 0o755].into_iter().enumerate() {
        let seed = u64::try_from(at).unwrap();
        for name in ["tree/small", "tree/large", "back/large", "back/small"] {
            write(here.path(), name, noise(seed, if name.ends_with("small") { 1_000 } else { 400_000 }));
        }
        let far = |name: &str| server.root().join(name);
        for name in ["up/small", "up/large", "piped", "tree/small", "tree/large"] {
            server.write(name, format!("old {mode} {name}"));
            set_mode(&far(name), mode);
        }
        for name in ["back/small", "back/large"] {
            set_mode(&here.path().join(name), mode);
        }
        let put = |args: &[&str]| Run::new("fput").args(["-q", "--no-preserve"]).args(args).current_dir(here.path());
        put(&["-", &server.remote("piped")]).stdin(noise(seed, 300_000)).prints("");
        put(&["-r", "tree/", &server.remote("up")]).prints("");
        put(&["tree/small", &server.remote("tree/small")]).prints("");
        Run::new("fput").args(["-q", "-", &server.remote("tree/large")]).stdin("piped").prints("");
        let get = ["-q", "-r", "--no-preserve", "--checksum", &server.remote("up/"), "back"].map(str::to_owned);
        server.write("up/other", "makes it more than one");
        Run::new("fget").args(get).current_dir(here.path()).prints("");
        for name in ["up/small", "up/large", "piped", "tree/small", "tree/large"] {
            assert_eq!(mode_of(&far(name)), mode, "{name}");
            assert!(!std::fs::read(far(name)).unwrap().starts_with(b"old"), "{name}");
        }
        for name in ["back/small", "back/large"] {
            assert_eq!(mode_of(&here.path().join(name)), mode, "{name}");
        }
    }
    // What replaces nothing gets the mode of any new file.
    Run::new("fput").args(["-q", "-", &server.remote("fresh")]).stdin("x").prints("");
    assert_eq!(mode_of(&server.root().join("fresh")), 0o644);
}

/// Whether what is made in a directory gets its group is decided where the directory is.
#[test]
fn set_group_id_directories_keep_their_bit() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    write(here.path(), "tree/new/in/file", b"x");
    write(here.path(), "tree/there/file", b"x");
    for (up, round) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
        let (from, to) = if up { (here.path(), server.root()) } else { (server.root(), here.path()) };
        if round == 0 {
            std::fs::create_dir_all(to.join("shared/there")).unwrap();
            set_mode(&to.join("shared"), 0o2775);
            set_mode(&to.join("shared/there"), 0o3555);
            write(from, "tree/there/file", b"x");
            write(from, "tree/new/in/file", b"x");
        }
        set_mode(&from.join("tree/there"), if round == 0 { 0o750 } else { 0o555 });
        let (program, paths) = if up {
            ("fput", ["tree/".to_owned(), server.remote("shared")])
        } else {
            ("fget", [server.remote("tree/"), "shared".to_owned()])
        };
        Run::new(program).args(["-qr"]).args(paths).current_dir(here.path()).prints("");
        let there = if round == 0 { 0o3750 } else { 0o3555 };
        for (name, mode) in
            [("shared", 0o2775), ("shared/there", there), ("shared/new", 0o2755), ("shared/new/in", 0o2755)]
        {
            assert_eq!(format!("{:o}", mode_of(&to.join(name))), format!("{mode:o}"), "{program} {round} {name}");
        }
        assert_eq!(mode_of(&to.join("shared/there/file")), 0o644);
    }
}

/// Only the mode of a file differs, and it is one that its owner may not read.
#[test]
fn a_mode_is_set_also_where_the_file_may_not_be_read() {
    let Some(nobody) = Nobody::new() else { return };
    let server = Server::start();
    let source = server.write("tree/x", "x");
    let fetch = || nobody.run("fget").args(["-r", "-q", &format!("{}/tree/", server.plain()), "dest"]);
    fetch().prints("");
    set_mode(&nobody.work().join("dest/x"), 0o200);
    fetch().prints("");
    assert_same(&snapshot(source.parent().unwrap()), &snapshot(&nobody.work().join("dest")), "the mode");
}

#[test]
fn a_destination_that_may_not_be_written_is_a_sentence() {
    let Some(nobody) = Nobody::new() else { return };
    let server = Server::start();
    server.write("tree/a", "a");
    std::fs::create_dir(nobody.work().join("dest")).unwrap();
    for (sources, to) in
        [("tree/", "dest"), ("tree", "dest"), ("tree/a", "dest/a"), ("tree/", "dest/new"), ("tree", "/new")]
    {
        let run = nobody.run("fget").args(["-r", "-q", &format!("{}/{sources}", server.plain()), to]);
        let said = run.code(1).stderr("ermission denied").output().stderr;
        assert!(said.lines().count() <= 2 && !said.contains("os error"), "{said}");
        assert_eq!(names_in(&nobody.work()), ["dest"]);
    }
}

/// A log that is written all the time is copied as it was at some moment, and so are its neighbours.
#[test]
fn a_file_that_grows_all_the_time_is_copied_with_its_neighbours() {
    for start in [1_000, 3_000_000] {
        let server = Server::start();
        let here = tempfile::tempdir().unwrap();
        for name in ["tree/a", "tree/z"] {
            write(here.path(), name, b"quiet");
            server.write(name, "quiet");
        }
        let paths = [here.path().join("tree/log"), server.root().join("tree/log")];
        for path in &paths {
            std::fs::write(path, noise(1, start)).unwrap();
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let growing = thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                let mut logs = paths.map(|path| std::fs::File::options().append(true).open(path).unwrap());
                while !is_over.load(Ordering::SeqCst) {
                    for log in &mut logs {
                        log.write_all(&[b'x'; 16]).unwrap();
                        // The system's clock for files is coarse: a small one is through before it ticks.
                        log.set_modified(std::time::SystemTime::now()).unwrap();
                    }
                }
            }
        });
        // A small file may be read between two writes.
        for round in 0..5 {
            let up = ["-r", "-q", "--no-sync", "tree/", &server.remote(&format!("up{round}"))].map(str::to_owned);
            let down = ["-r", "-q", "--no-sync", &server.remote("tree/"), &format!("down{round}")].map(str::to_owned);
            for (program, args) in [("fput", up), ("fget", down)] {
                let (code, said) = Run::new(program).args(args).current_dir(here.path()).spawn().ended();
                assert_eq!(code, Some(0), "{program}: {said}");
                let dir = if program == "fput" {
                    server.root().join(format!("up{round}"))
                } else {
                    here.path().join(format!("down{round}"))
                };
                assert_eq!(names_in(&dir), ["a", "log", "z"], "{program}");
                let copy = std::fs::read(dir.join("log")).unwrap();
                let (begun, grown) = copy.split_at(start);
                assert!(begun == noise(1, start) && grown.iter().all(|byte| *byte == b'x'), "{program}");
            }
        }
        is_over.store(true, Ordering::SeqCst);
        growing.join().unwrap();
    }
}

/// A file that is truncated while it is read.
#[test]
fn a_file_that_shrinks_while_it_is_read_is_never_half() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("x");
    let full = noise(1, 8 << 20);
    std::fs::write(&path, &full).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let shrinking = thread::spawn({
        let (is_over, full) = (Arc::clone(&is_over), full.clone());
        move || {
            while !is_over.load(Ordering::SeqCst) {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.set_len(1 << 20).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, &full[1 << 20..], 1 << 20).unwrap();
            }
        }
    });
    for _ in 0..10 {
        let run = Run::new("fput").args(["-q", "--no-sync", "x", &server.remote("")]).current_dir(here.path());
        let (code, said) = run.spawn().ended();
        assert!(matches!(code, Some(0 | 1)) && !said.contains("panicked"), "{said}");
        if let Ok(got) = std::fs::read(server.root().join("x")) {
            assert!(got.len() >= 1 << 20 && full.starts_with(&got), "{} bytes", got.len());
        }
    }
    is_over.store(true, Ordering::SeqCst);
    shrinking.join().unwrap();
}

#[test]
fn special_files_are_skipped_with_a_word() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    for name in ["tree/a", "tree/z"] {
        write(here.path(), name, b"plain");
        server.write(name, "plain");
    }
    fifo(&here.path().join("tree/pipe"));
    fifo(&server.root().join("tree/pipe"));
    let socket = here.path().join("tree/socket");
    rustix::fs::mknodat(rustix::fs::CWD, socket, FileType::Socket, Mode::from_raw_mode(0o600), 0).unwrap();
    let run = Run::new("fput").args(["-r", "--json", "tree/", &server.remote("up")]).current_dir(here.path());
    let output = run.stderr("tree/pipe: skipped: neither file, directory nor symlink").output();
    assert_eq!((&output.json()["files"], &output.json()["skipped"]), (&2.into(), &2.into()));
    let run = Run::new("fget").args(["-r", "--json", &server.remote("tree/"), "down"]).current_dir(here.path());
    let output = run.stderr("tree/pipe: skipped: neither file, directory nor symlink").output();
    assert_eq!((&output.json()["files"], &output.json()["skipped"]), (&2.into(), &1.into()));
    for dir in [server.root().join("up"), here.path().join("down")] {
        assert_eq!(names_in(&dir), ["a", "z"]);
    }
}

/// What is in the way stays, is named, and the others arrive.
#[test]
fn what_is_in_the_way_is_not_removed() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let tree = here.path().join("tree");
    for name in ["dir/x", "file", "for-link", "pipe", "to-dir/y", "z"] {
        write(&tree, name, name.as_bytes());
    }
    std::fs::remove_file(tree.join("for-link")).unwrap();
    std::os::unix::fs::symlink("z", tree.join("for-link")).unwrap();
    let make = |dest: &Path| {
        write(dest, "dir", b"a file where a directory comes");
        write(dest, "file/precious", b"a directory where a file comes");
        write(dest, "for-link/precious", b"a directory where a symlink comes");
        fifo(&dest.join("pipe"));
        write(dest, "elsewhere/precious", b"elsewhere");
        std::os::unix::fs::symlink("elsewhere", dest.join("to-dir")).unwrap();
        snapshot(dest)
    };
    let (up, down) = (server.root().join("up"), here.path().join("down"));
    std::fs::create_dir(&up).unwrap();
    std::fs::create_dir(&down).unwrap();
    std::fs::create_dir(server.root().join("tree")).unwrap();
    Run::new("fput").args(["-r", "-q", "tree/", &server.remote("tree")]).current_dir(here.path()).prints("");
    for (program, dest, args) in [
        ("fput", &up, ["-r", "-q", "tree/", &server.remote("up")].map(str::to_owned)),
        ("fget", &down, ["-r", "-q", &server.remote("tree/"), "down"].map(str::to_owned)),
    ] {
        let before = make(dest);
        let run = Run::new(program).args(args).current_dir(here.path());
        let said = run.code(1).any_stderr().output().stderr;
        for name in ["dir", "file", "for-link", "pipe", "to-dir"] {
            assert!(said.lines().any(|line| line.contains(&format!("/{name}"))), "{program} {name}: {said}");
        }
        assert!(!said.contains("os error") && !said.contains("/z"), "{said}");
        let after = snapshot(dest);
        for (path, node) in &before {
            assert_eq!(after.get(path).map(|node| &node.what), Some(&node.what), "{program}: {}", path.display());
        }
        assert_eq!(std::fs::read(dest.join("z")).unwrap(), b"z");
        assert_eq!(after.len(), before.len() + 1, "{program}: {:?}", names_in(dest));
    }
}

/// A path that is longer than the system takes, which the sender never had to say in one piece.
#[test]
fn what_is_deeper_than_a_path_can_be_is_named_and_the_rest_arrives() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let tree = here.path().join("tree");
    write(&tree, "z", b"z");
    let part = "d".repeat(250);
    let mut dir = rustix::fs::open(&tree, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..20 {
        rustix::fs::mkdirat(&dir, &part, Mode::from_raw_mode(0o755)).unwrap();
        dir = rustix::fs::openat(&dir, &part, OFlags::DIRECTORY, Mode::empty()).unwrap();
        let file = rustix::fs::openat(&dir, "f", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).unwrap();
        rustix::io::write(&file, b"deep").unwrap();
    }
    let run = Run::new("fput").args(["-r", "--json", "tree/", &server.remote("up")]).current_dir(here.path());
    let output = run.code(1).stderr("over the limit of 4096").output();
    let summary = output.json();
    // 16 directories of 251 bytes each are a path of 4,016 bytes; in the last there is room for the file.
    assert_eq!((&summary["files"], summary["failed"].as_u64().unwrap() >= 4), (&17.into(), true), "{}", output.stderr);
    assert_eq!(server.read("up/z"), b"z");
    drop(dir);
}

/// As deep as a copy goes, a mirror removes, and so does `rm -r`.
#[test]
fn a_deep_tree_goes_both_ways_and_goes_away() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let depth = 480;
    let mut dir = here.path().join("tree");
    for _ in 0..depth {
        dir.push("d");
    }
    std::fs::create_dir_all(&dir).unwrap();
    // Files stand behind the directories: each is met on the way back up.
    while dir.ends_with("d") {
        std::fs::write(dir.join("f"), "deep").unwrap();
        dir.pop();
    }
    let run = |program: &str, options: &[&str], paths: [&str; 2]| {
        let run = Run::new(program).args(["-r", "--json", "--no-sync"]).args(options).args(paths);
        let json = run.current_dir(here.path()).output().json();
        (json["files"].as_u64().unwrap(), json["removed"].as_u64().unwrap())
    };
    assert_eq!(run("fput", &[], ["tree/", &server.remote("up")]), (depth, 0));
    assert_eq!(run("fput", &[], ["tree/", &server.remote("up")]), (0, 0));
    assert_eq!(run("fget", &[], [&server.remote("up/"), "down"]), (depth, 0));
    assert_same(&snapshot(&here.path().join("tree")), &snapshot(&here.path().join("down")), "and back");
    // What is not there any more, and what is a file by now.
    std::fs::create_dir(here.path().join("empty")).unwrap();
    let gone = 2 * depth;
    assert_eq!(run("fput", &["--delete", "--force"], ["empty/", &server.remote("up")]), (0, gone));
    std::fs::rename(server.root().join("up"), server.root().join("old")).unwrap();
    std::fs::create_dir(server.root().join("up")).unwrap();
    server.write("up/d", "a file");
    assert_eq!(run("fget", &["--delete", "--force"], [&server.remote("up/"), "down"]), (1, gone));
    assert_eq!(names_in(&here.path().join("down")), ["d"]);
}

#[test]
fn a_name_that_the_destination_cannot_hold_is_named_and_the_rest_arrives() {
    let Some(disk) = Mounted::made_by("mkfs.vfat", &[]) else { return };
    let server = Server::start();
    for name in ["tree/a:b", "tree/sub/ok", "tree/z"] {
        server.write(name, name);
    }
    let dest = disk.path().join("dest");
    let run = Run::new("fget").args(["-r", "-q", "--no-preserve", &server.remote("tree/"), dest.to_str().unwrap()]);
    run.code(1).stderr("a:b").output();
    assert_eq!(names_in(&dest), ["sub", "sub/ok", "z"]);
}

/// What a file system keeps of a time may be whole seconds, or every other one: then too nothing is sent twice, and
/// what has changed is.
#[test]
fn where_times_are_coarse_the_second_run_sends_nothing() {
    for (program, options) in [
        ("mkfs.ext4", &["-q", "-F", "-I", "128"][..]),
        ("mkfs.exfat", &[]),
        ("mkfs.vfat", &[]),
        ("mkfs.ext4", &["-q", "-F"]),
    ] {
        let Some(disk) = Mounted::made_by(program, options) else { continue };
        let server = Server::with_args(&[], disk.path(), &crate::harness::own_home());
        let here = tempfile::tempdir().unwrap();
        // Odd and even seconds, with and without a fraction, and what has no place in 32 bits or before 1980.
        let second = 1_000_000_000;
        let times = [
            1_700_000_000 * second,
            1_700_000_001 * second,
            1_700_000_001 * second + 999_999_999,
            1_700_000_002 * second + 1,
            1_700_000_003 * second + 500_000_000,
            5 * second + 123_456_789,
        ];
        for (at, time) in times.into_iter().enumerate() {
            let name = format!("tree/f{at}");
            write(here.path(), &name, name.as_bytes());
            set_mtime(&here.path().join(&name), time);
        }
        for (keeps, count) in [(&["--no-preserve"][..], 6), (&[], 7)] {
            if keeps.is_empty() {
                // What is younger than now is copied each time where times are not kept.
                write(here.path(), "tree/f6", b"f6");
                set_mtime(&here.path().join("tree/f6"), 4_000_000_000 * second + 5);
            }
            let put = |options: &[&str]| {
                let paths = ["tree/".to_owned(), server.remote(&format!("up{}", keeps.len()))];
                let run = Run::new("fput").args(["-r", "--json"]).args(keeps).args(options).args(paths);
                let json = run.current_dir(here.path()).output().json();
                (json["files"].as_u64().unwrap(), json["unchanged"].as_u64().unwrap())
            };
            assert_eq!(put(&[]), (count, 0), "{program} {options:?} {keeps:?}");
            assert_eq!((put(&["-n"]), put(&[])), ((0, count), (0, count)), "{program} {options:?} {keeps:?}");
        }
        // Another second is another version; here two of them, since FAT has no others.
        let changed = here.path().join("tree/f1");
        std::fs::write(&changed, "tree/F1").unwrap();
        set_mtime(&changed, 1_700_000_003 * second);
        let put = Run::new("fput").args(["-r", "--json", "tree/", &server.remote("up0")]).current_dir(here.path());
        assert_eq!(put.output().json()["files"], 1, "{program} {options:?}");
        assert_eq!(std::fs::read(disk.path().join("up0/f1")).unwrap(), b"tree/F1");
    }
}

/// A disk that is full in the middle of a tree: one sentence, what has a name is whole, and with room it goes on.
#[test]
fn a_full_disk_in_the_middle_of_a_tree_is_one_sentence_and_resumes() {
    let Some(mounted) = Mounted::tmpfs("4m") else { return };
    let server = Server::start();
    for at in 0..40 {
        server.write(&format!("tree/f{at:02}"), noise(at, if at == 20 { 2 << 20 } else { 90_000 }));
    }
    let dest = mounted.path().join("dest");
    let run = || Run::new("fget").args(["-r", "-q", &server.remote("tree/"), dest.to_str().unwrap()]);
    let said = run().code(1).stderr("o space left on").output().stderr;
    assert_eq!(said.lines().count(), 1, "{said}");
    let want = snapshot(&server.root().join("tree"));
    for (path, node) in snapshot(&dest) {
        if !path.to_string_lossy().ends_with(".part") {
            assert_eq!(want.get(&path), Some(&node), "{}", path.display());
        }
    }
    mounted.resize("16m");
    run().prints("");
    assert_same(&want, &snapshot(&dest), "with room");
    assert!(strays(&dest).is_empty());
}

#[test]
fn a_source_that_is_missing_does_not_stop_the_others() {
    let server = Server::start();
    server.write("a/x", "x");
    server.write("b", "b");
    let here = tempfile::tempdir().unwrap();
    let sources = ["a", "missing", "no*thing", "b", "a/missing/deep"].map(|path| server.remote(path));
    let run = Run::new("fget").args(["-r", "-q"]).args(sources).args(["."]).current_dir(here.path());
    let said = run.code(1).stderr("missing: no such file").output().stderr;
    assert_eq!(said.lines().count(), 3, "{said}");
    assert_eq!(names_in(here.path()), ["a", "a/x", "b"]);
    let up = Run::new("fput").args([with(&here.path().join("a"), ""), "nowhere".into(), server.remote("up/").into()]);
    std::fs::create_dir(server.root().join("up")).unwrap();
    let said = up.args(["-r", "-q"]).code(1).stderr("nowhere: no such file").output().stderr;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(server.names("up"), ["a"]);
}

#[test]
fn symlinks_can_be_followed_as_far_as_the_tree_goes() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(here.path().join("tree/dir")).unwrap();
    std::fs::write(here.path().join("tree/dir/file"), "text").unwrap();
    std::fs::write(here.path().join("outside"), "secret").unwrap();
    for (to, name) in [("dir/file", "to-file"), ("dir", "to-dir"), ("nowhere", "broken"), ("../outside", "out")] {
        std::os::unix::fs::symlink(to, here.path().join("tree").join(name)).unwrap();
    }
    let put = Run::new("fput").args(["-r", "--follow", "tree/", &server.remote("up")]).current_dir(here.path());
    let said = put.code(1).any_stderr().output().stderr;
    assert!(said.contains("broken: ") && said.contains("out: "), "{said}");
    let get = Run::new("fget").args(["-qr", "--follow", &server.remote("up/"), "back"]).current_dir(here.path());
    get.prints("");
    for copy in [server.root().join("up"), here.path().join("back")] {
        for name in ["to-file", "to-dir/file", "dir/file"] {
            let path = copy.join(name);
            assert!(!path.is_symlink(), "{}", path.display());
            assert_eq!(std::fs::read(&path).unwrap(), b"text", "{}", path.display());
        }
        assert!(!copy.join("to-dir").is_symlink() && !copy.join("out").exists() && !copy.join("broken").exists());
    }
}

#[test]
fn a_destination_that_leads_nowhere_is_not_replaced() {
    let server = Server::start();
    server.write("file", "text");
    let here = tempfile::tempdir().unwrap();
    let get = |to: &str| Run::new("fget").args([&server.remote("file"), to]).current_dir(here.path());
    std::os::unix::fs::symlink("nowhere", here.path().join("dangling")).unwrap();
    get("dangling").code(1).stderr("dangling: is a symlink to nowhere, which is no file or directory").prints("");
    // As /dev/stdout is one to a pipe.
    std::os::unix::fs::symlink("/proc/self/fd/1", here.path().join("stdout")).unwrap();
    get("stdout").code(1).stderr("name its target, or - for standard output").prints("");
    assert!(here.path().join("dangling").is_symlink() && here.path().join("stdout").is_symlink());
    get("/dev/null/x").code(1).stderr("/dev/null").prints("");
}

#[test]
fn a_file_that_says_it_is_empty_and_is_not_is_no_success() {
    let server = Server::start();
    let put = Run::new("fput").args(["/proc/version", &server.remote("")]);
    put.code(1).stderr("says that it is empty, and is not").prints("");
    assert!(!server.root().join("version").exists());
    Run::new("fput").args(["-q", "/dev/null", &server.remote("x")]).code(1).any_stderr().prints("");
}
