//! Sources that meet in one place, and names that look like patterns.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::harness::files::{names, set_mode};
use crate::harness::{Run, Server};

/// `base` and `over` have `conf` in common, and a name that is a file in one and a directory in the other.
fn make(dir: &Path) {
    for (source, files) in [
        ("base", &["conf", "etc/a", "kind", "only-base"][..]),
        ("over", &["conf", "etc/a", "etc/b", "kind/inner", "only-over"]),
    ] {
        for file in files {
            let path = dir.join(source).join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, source).unwrap();
        }
    }
    set_mode(&dir.join("base/etc"), 0o750);
}

fn assert_first_won(dir: &Path, how: &str) {
    let read =
        |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_else(|why| panic!("{how}: {name}: {why}"));
    for (name, want) in [
        ("conf", "base"),
        ("etc/a", "base"),
        ("etc/b", "over"),
        ("kind", "base"),
        ("only-base", "base"),
        ("only-over", "over"),
    ] {
        assert_eq!(read(name), want, "{how}: {name}");
    }
    assert_eq!(dir.join("etc").metadata().unwrap().mode() & 0o777, 0o750, "{how}");
}

#[test]
fn of_sources_that_meet_the_first_wins_in_every_form() {
    let [server, third, other] = [(); 3].map(|()| Server::start());
    make(server.root());
    // The second source on another machine.
    std::fs::rename(server.root().join("over"), other.root().join("over")).unwrap();
    make(server.root());
    let here = tempfile::tempdir().unwrap();
    make(here.path());
    let from = |path: &str| server.remote(path);
    let forms: Vec<(&str, &str, Vec<String>)> = vec![
        ("two directories up", "fput", vec!["base/".into(), "over/".into(), third.remote("a")]),
        (
            "over several connections up",
            "fput",
            vec!["--connections".into(), "4".into(), "base/".into(), "over/".into(), third.remote("b")],
        ),
        ("two directories down", "fget", vec![from("base/"), from("over/"), "c".into()]),
        ("a pattern down", "fget", vec![from("*/"), "d".into()]),
        (
            "over several connections down",
            "fget",
            vec!["--connections".into(), "4".into(), from("base/"), from("over/"), "e".into()],
        ),
        ("from two machines", "fget", vec![from("base/"), other.remote("over/"), "f".into()]),
        ("between two others", "fput", vec![from("base/"), from("over/"), third.remote("g")]),
        (
            "only what is included",
            "fput",
            vec!["--include".into(), "*".into(), "base/".into(), "over/".into(), third.remote("h")],
        ),
    ];
    for (how, program, args) in forms {
        let name = args.last().unwrap().rsplit('/').next().unwrap().to_owned();
        let place = if program == "fput" { third.root().join(&name) } else { here.path().join(&name) };
        for attempt in 0..2 {
            let run = Run::new(program).args(["-r", "--no-sync"]).args(&args).current_dir(here.path());
            let said = run.any_stderr().output().stderr;
            assert!(said.contains("that an earlier source has too, which wins"), "{how}, attempt {attempt}: {said}");
            assert_first_won(&place, how);
        }
    }
}

/// Files that were named one by one, and a file that stands where a pattern finds several.
#[test]
fn files_of_one_name_meet_too() {
    let server = Server::start();
    make(server.root());
    let here = tempfile::tempdir().unwrap();
    make(here.path());
    let put = Run::new("fput").args(["--json", "over/conf", "base/conf", &server.remote("")]).current_dir(here.path());
    let summary = put.output().json();
    assert_eq!((&summary["files"], &summary["skipped"], &summary["met"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(server.read("conf"), b"over");
    let get = Run::new("fget").args(["--json", &server.remote("*/conf"), "."]).current_dir(here.path());
    assert_eq!(get.output().json()["met"], 1);
    assert_eq!(std::fs::read(here.path().join("conf")).unwrap(), b"base");
}

#[test]
fn a_file_called_like_a_pattern_hides_nothing() {
    let server = Server::start();
    for name in ["*.log", "a.log", "b.log", "[1].txt", "1.txt", "what?", ".x.log"] {
        server.write(name, name);
    }
    for (pattern, want) in [
        ("*.log", &["*.log", "a.log", "b.log"][..]),
        ("[1].txt", &["1.txt", "[1].txt"]),
        ("what?", &["what?"]),
        ("\\[1\\].txt", &["[1].txt"]),
    ] {
        let here = tempfile::tempdir().unwrap();
        Run::new("fget").args(["-q", &server.remote(pattern), "."]).current_dir(here.path()).prints("");
        assert_eq!(names(here.path()), want, "{pattern}");
    }
}

#[test]
fn between_two_machines_a_file_has_its_name_once() {
    let [server, third] = [(); 2].map(|()| Server::start());
    server.write("g/1.log", "one");
    server.write("g/d/2.log", "two");
    for (source, options, names) in [
        ("g", &["-r"][..], &["g/1.log", "g/d/2.log"][..]),
        ("g/", &["-r"], &["g/1.log", "g/d/2.log"]),
        ("g/*.log", &[], &["g/1.log"]),
        ("g/1.log", &[], &["g/1.log"]),
    ] {
        let third_dir = third.root().join("t");
        std::fs::create_dir_all(&third_dir).unwrap();
        let run = Run::new("fput").args(["--json", "--no-sync"]).args(options);
        let summary = run.args([&server.remote(source), &third.remote("t/")]).output().json();
        let mut from: Vec<&str> =
            summary["results"].as_array().unwrap().iter().map(|r| r["from"].as_str().unwrap()).collect();
        from.sort_unstable();
        let want: Vec<String> = names.iter().map(|name| server.remote(name)).collect();
        assert_eq!(from, want, "{source}");
        std::fs::remove_dir_all(third_dir).unwrap();
    }
}
