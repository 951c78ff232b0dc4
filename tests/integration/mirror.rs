//! What of a tree is copied, and what a mirror removes: patterns, sizes, dry runs, `--delete` and its brakes.

use std::path::Path;

use crate::harness::skip::is_installed;
use crate::harness::{Run, Server};

/// Every path below `dir`, sorted; directories with a slash.
fn paths(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
                found.push(format!("{path}/"));
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn make(dir: &Path, files: &[&str]) {
    for file in files {
        let path = dir.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
    }
}

const TREE: &[&str] = &["a.c", "a.o", "img/logo.png", "src/img/x.png", "src/b.o", "src/keep.o"];

#[test]
fn patterns_say_what_comes_both_ways() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    make(&here.path().join("tree"), TREE);
    std::fs::write(here.path().join("ignore"), "\u{feff}*.o\r\n# images\r\n\r\n/img\r\n").unwrap();
    for (at, (options, want)) in [
        (&["--exclude", "*.o", "--exclude", "/img"][..], &["a.c", "src/", "src/img/", "src/img/x.png"][..]),
        (
            &["--exclude-from", "ignore", "--include", "*.[co]", "--include", "x.*"],
            &["a.c", "src/", "src/img/", "src/img/x.png"],
        ),
        (&["--include", "src/", "--include", "*.c", "--exclude", "*.o"], &["a.c", "src/", "src/img/", "src/img/x.png"]),
        (&["--include", "*.png", "--max-size", "12"], &["img/", "img/logo.png"]),
        (&["--include", "*.png"], &["img/", "img/logo.png", "src/", "src/img/", "src/img/x.png"]),
        (&["--exclude", "*/", "--max-size", "3"], &["a.c", "a.o"]),
        (&["--max-size", "7", "--exclude", "img", "--exclude", "a.*"], &["src/", "src/b.o"]),
    ]
    .into_iter()
    .enumerate()
    {
        let there = format!("up{at}");
        let put = Run::new("fput").args(["-qr"]).args(options).args(["tree", &server.remote(&there)]);
        put.current_dir(here.path()).prints("");
        assert_eq!(paths(&server.root().join(&there).join("tree")), want, "{options:?}");
        // What lies there whole is fetched with the same options to the same effect.
        make(&server.root().join("whole"), TREE);
        let back = format!("back{at}");
        let get = Run::new("fget").args(["-qr"]).args(options).args([&server.remote("whole/"), &back]);
        get.current_dir(here.path()).prints("");
        assert_eq!(paths(&here.path().join(back)), want, "{options:?}");
    }
    let bad = Run::new("fput").args(["-r", "--exclude", "a{b", "tree", &server.remote("")]);
    bad.current_dir(here.path()).code(2).stderr("not a pattern").prints("");
}

/// What an --include selects and an --exclude leaves out is what ripgrep takes for its globs.
#[test]
fn included_and_excluded_is_what_ripgrep_finds() {
    const DIRS: &[&str] = &["a", "b", "private", "img", ".d"];
    const FILES: &[&str] = &["x.jpg", "y.txt", "z.jpg", "a", "b.txt", ".hidden", "[1].jpg", "private"];
    const INCLUDE: &[&str] = &[
        "*.jpg",
        "/a/*",
        "a",
        "**/b/**",
        "b/*.txt",
        "img/**",
        "[xy]*",
        "*",
        "?.txt",
        "/x.jpg",
        "a/**/z*",
        ".*",
        "/*",
        "*.{jpg,txt}",
        "\\[1].jpg",
    ];
    const EXCLUDE: &[&str] = &["private/", "*.txt", "/a", "b/**", "z*", "a/", "img/*.jpg", "**/a/b", ".*", "private"];
    if !is_installed("rg", "--version") {
        return;
    }
    let server = Server::start();
    let mut number = 12_345_u64;
    let mut next = |below: usize| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(number >> 33).unwrap() % below
    };
    for round in 0..24 {
        let here = tempfile::tempdir().unwrap();
        let tree = here.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        for _ in 0..25 {
            let dirs: Vec<&str> = (0..next(4)).map(|_| DIRS[next(DIRS.len())]).collect();
            let dir = tree.join(dirs.join("/"));
            let file = dir.join(FILES[next(FILES.len())]);
            if std::fs::create_dir_all(&dir).is_ok() && !file.exists() {
                std::fs::write(&file, "text").unwrap();
            }
        }
        let pick = |list: &[&'static str], at: usize| list[at % list.len()];
        let include: Vec<&str> = (0..=next(2)).map(|_| pick(INCLUDE, next(100))).collect();
        let exclude: Vec<&str> = (0..next(3)).map(|_| pick(EXCLUDE, next(100))).collect();
        let globs = include.iter().map(|p| (*p).to_owned()).chain(exclude.iter().map(|p| format!("!{p}")));
        let globs: Vec<String> = globs.flat_map(|glob| ["-g".to_owned(), glob]).collect();
        let mut judge = std::process::Command::new("rg");
        judge.args(["--no-config", "--files", "--hidden", "--no-ignore"]).args(&globs).current_dir(&tree);
        let found = String::from_utf8(judge.output().unwrap().stdout).unwrap();
        let mut want: Vec<&str> = found.lines().collect();
        want.sort_unstable();
        let options: Vec<&str> = include.iter().flat_map(|p| ["--include", *p]).collect();
        let options: Vec<&str> = options.into_iter().chain(exclude.iter().flat_map(|p| ["--exclude", *p])).collect();
        let there = format!("up{round}");
        let put = Run::new("fput").args(["-qr", "--no-sync"]).args(&options).args(["tree/", &server.remote(&there)]);
        put.current_dir(here.path()).prints("");
        let get = Run::new("fget").args(["-qr", "--no-sync"]).args(&options).args([&server.remote("whole/"), "back"]);
        let whole = server.root().join("whole");
        std::fs::rename(&tree, &whole).unwrap();
        get.current_dir(here.path()).prints("");
        std::fs::remove_dir_all(&whole).unwrap();
        for copy in [server.root().join(&there), here.path().join("back")] {
            let came = paths(&copy);
            let (dirs, files): (Vec<&String>, Vec<&String>) = came.iter().partition(|path| path.ends_with('/'));
            assert_eq!(files, want, "{globs:?}");
            for dir in dirs {
                assert!(files.iter().any(|file| file.starts_with(dir)), "{globs:?}: {dir} is empty");
            }
        }
    }
}

#[test]
fn a_pattern_that_selects_nothing_says_so() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    make(&here.path().join("tree"), TREE);
    make(&server.root().join("whole"), TREE);
    let nothing = |options: &[&str], said: &[&str]| {
        let put = Run::new("fput").args(options).args(["-r", "tree", &server.remote("up")]);
        let get = Run::new("fget").args(options).args(["-r", &server.remote("whole"), "back"]);
        for (run, dir) in [(put, server.root().join("up/tree")), (get, here.path().join("back/whole"))] {
            let output = run.current_dir(here.path()).any_stderr().output();
            for said in said {
                assert!(output.stderr.contains(said), "{options:?}: {}", output.stderr);
            }
            assert!(!dir.exists(), "{options:?}: {} was made for nothing", dir.display());
        }
    };
    nothing(&["--include", "*.zip"], &["--include *.zip: nothing matches"]);
    nothing(
        &["--include", "*.o", "--exclude", "*.o"],
        &["--include *.o: nothing matches, or all of it matches --exclude"],
    );
    nothing(&["--include", "z", "--include", "zz"], &["--include z: nothing", "--include zz: nothing"]);
    for options in [&["--include", "a.c", "--include", "zz"][..], &["--exclude", "*"]] {
        let put = Run::new("fput").args(options).args(["-r", "tree", &server.remote("some")]);
        let said = put.current_dir(here.path()).any_stderr().output().stderr;
        let wanted =
            if options[0] == "--include" { "--include zz: nothing matches" } else { "nothing is left to copy" };
        assert!(said.contains(wanted) && !said.contains("a.c: nothing"), "{said}");
    }
    // Files that were named one by one are meant by the patterns too.
    let put = Run::new("fput").args(["--include", "*.c", "tree/a.c", "tree/a.o", &server.remote("some/")]);
    put.current_dir(here.path()).any_stderr().prints("");
    assert_eq!(server.names("some").iter().filter(|name| name.starts_with("a.")).count(), 1);
    for (pattern, why) in [("", "empty"), ("#a", "comment"), ("!a.c", "exclude it")] {
        let put = Run::new("fput").args(["-r", "--include", pattern, "tree", &server.remote("no")]);
        put.current_dir(here.path()).code(2).stderr(why).prints("");
    }
}

/// What --include does not choose is left alone by --delete, also a directory in which nothing was chosen.
#[test]
fn a_mirror_of_what_is_included_leaves_other_directories_alone() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    make(&here.path().join("ph"), &["a.jpg", "b.jpg", "c.jpg"]);
    std::fs::create_dir_all(here.path().join("ph/empty/inner")).unwrap();
    let put = |options: &[&str], to: &str| {
        let put = Run::new("fput").args(["-qr"]).args(options).args(["ph/", &server.remote(to)]);
        put.current_dir(here.path()).prints("");
    };
    put(&[], "pp");
    make(server.root(), &["pp/old/x.jpg", "pp/mixed/x.jpg", "pp/mixed/y.txt"]);
    std::fs::create_dir(server.root().join("pp/mixed/none")).unwrap();
    put(&["--include", "*.jpg", "--delete"], "pp");
    let want = ["a.jpg", "b.jpg", "c.jpg", "empty/", "empty/inner/", "mixed/", "mixed/none/", "mixed/y.txt"];
    assert_eq!(paths(&server.root().join("pp")), want);
    // Without --include an empty directory that the source lacks goes.
    std::fs::create_dir(server.root().join("pp/gone")).unwrap();
    put(&["--delete", "--force"], "pp");
    assert_eq!(paths(&server.root().join("pp")), ["a.jpg", "b.jpg", "c.jpg", "empty/", "empty/inner/"]);
}

#[test]
fn a_pattern_stands_for_no_directory_that_is_excluded() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    make(server.root(), &["srv/private/a", "srv/public/b", "srv/public/private/c"]);
    for (at, (source, want)) in [
        ("srv/*", &["public/", "public/b"][..]),
        ("srv/*/", &["b"]),
        ("srv/*/a", &[]),
        ("srv/private", &["private/", "private/a"]),
        ("s*/private", &["private/", "private/a"]),
    ]
    .into_iter()
    .enumerate()
    {
        let to = format!("o{at}");
        let to = to.as_str();
        std::fs::create_dir(here.path().join(to)).unwrap();
        let get = Run::new("fget").args(["-qr", "--exclude", "private/", &server.remote(source), to]);
        get.current_dir(here.path()).prints("");
        assert_eq!(paths(&here.path().join(to)), want, "{source}");
    }
}

#[test]
fn a_dry_run_says_what_would_happen_and_does_nothing() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    make(&here.path().join("tree"), &["new/a", "same", "changed"]);
    std::os::unix::fs::symlink("same", here.path().join("tree/link")).unwrap();
    Run::new("fput").args(["-qr", "tree/same", &server.remote("up/tree/")]).current_dir(here.path()).prints("");
    make(server.root(), &["up/tree/changed", "up/tree/extra/x", "up/other"]);
    std::fs::write(server.root().join("up/tree/changed"), "old").unwrap();
    let before = paths(server.root());
    let run = |options: &[&str]| {
        let put = Run::new("fput").args(options).args(["tree", &server.remote("up")]).current_dir(here.path());
        put.any_stderr().output()
    };
    let to = |path: &str| server.remote(&format!("up/tree/{path}"));
    let mut want = vec![
        format!("would copy tree/changed -> {}", to("changed")),
        format!("would copy tree/new/a -> {}", to("new/a")),
        format!("would link {}", to("link")),
        format!("would make {}", to("new")),
        format!("would remove {}", to("extra")),
        format!("would remove {}", to("extra/x")),
    ];
    want.sort();
    let dry = run(&["-nr", "--delete", "--force"]);
    let mut said: Vec<String> = dry.text().lines().map(str::to_owned).collect();
    said.sort();
    assert_eq!(said, want);
    assert!(dry.stderr.contains("would copy 2 files, 12 bytes"), "{}", dry.stderr);
    assert!(dry.stderr.contains("1 unchanged, 2 to remove, 0 failed"), "{}", dry.stderr);
    assert_eq!(paths(server.root()), before);
    // And that is what happens.
    run(&["-qr", "--delete", "--force"]);
    let after = [
        "up/",
        "up/other",
        "up/tree/",
        "up/tree/changed",
        "up/tree/link",
        "up/tree/new/",
        "up/tree/new/a",
        "up/tree/same",
    ];
    assert_eq!(paths(server.root()), after);
    assert_eq!(run(&["-nr", "--delete"]).text(), "");
}

#[test]
fn a_mirror_brakes_before_it_removes_much_or_what_it_cannot_know() {
    let server = Server::start();
    make(server.root(), &["site/a", "site/b", "site/c", "site/d"]);
    let here = tempfile::tempdir().unwrap();
    let mirror = |options: &[&str]| {
        let args = [&["-r", "--delete"], options].concat();
        Run::new("fget").args(args).args([&server.remote("site/"), "copy"]).current_dir(here.path())
    };
    mirror(&[]).any_stderr().prints("");
    for gone in ["a", "b", "c"] {
        std::fs::remove_file(server.root().join("site").join(gone)).unwrap();
    }
    // A disk that is not mounted looks like this.
    mirror(&[])
        .code(1)
        .stderr("3 of 4 things here would be removed, more than half; if that is meant: --force")
        .prints("");
    assert_eq!(paths(&here.path().join("copy")), ["a", "b", "c", "d"]);
    // What is left out is not removed.
    mirror(&["-q", "--exclude", "b", "--force"]).prints("");
    assert_eq!(paths(&here.path().join("copy")), ["b", "d"]);
    mirror(&["-q", "--force"]).prints("");
    assert_eq!(paths(&here.path().join("copy")), ["d"]);
    // Nothing is removed while something fails: here a directory is in a file's way, and holds what is left out.
    make(server.root(), &["site/e"]);
    make(&here.path().join("copy"), &["e/x", "extra"]);
    let failed =
        mirror(&["-q", "--exclude", "x"]).code(1).stderr("nothing is removed as long as something fails").output();
    assert!(failed.stderr.contains("copy/e: is a directory here that holds something"), "{}", failed.stderr);
    assert_eq!(paths(&here.path().join("copy")), ["d", "e/", "e/x", "extra"]);
    // What was not named is not looked at.
    make(here.path(), &["beside"]);
    Run::new("fget").args(["-qr", "--delete", &server.remote("site"), "."]).current_dir(here.path()).prints("");
    assert!(here.path().join("beside").exists() && here.path().join("copy").exists());
    Run::new("fget").args(["--delete", &server.remote("site"), "."]).code(2).stderr("--recursive").prints("");
}

/// What a name can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Nothing,
    File,
    OtherName,
    Empty,
    Dir,
    Link,
    LinkToDir,
}

const KINDS: [What; 7] =
    [What::Nothing, What::File, What::OtherName, What::Empty, What::Dir, What::Link, What::LinkToDir];

impl What {
    fn make(self, dir: &Path) {
        let path = dir.join("x");
        match self {
            Self::Nothing => {}
            Self::File => std::fs::write(path, "a file").unwrap(),
            Self::OtherName => std::fs::hard_link(dir.join("keep"), path).unwrap(),
            Self::Empty => std::fs::create_dir(path).unwrap(),
            Self::Dir => make(&path, &["inner/file"]),
            Self::Link => std::os::unix::fs::symlink("keep", path).unwrap(),
            Self::LinkToDir => std::os::unix::fs::symlink("stays", path).unwrap(),
        }
    }

    /// What is removed where this makes way for something of another kind.
    fn removed(self, by: Self) -> Vec<&'static str> {
        let kind = |what| match what {
            Self::Nothing => 0,
            Self::File | Self::OtherName => 1,
            Self::Empty | Self::Dir => 2,
            Self::Link | Self::LinkToDir => 3,
        };
        match self {
            Self::Nothing => vec![],
            Self::Dir if by == Self::Empty => vec!["x/inner", "x/inner/file"],
            _ if kind(self) == kind(by) => vec![],
            Self::Dir => vec!["x", "x/inner", "x/inner/file"],
            _ => vec!["x"],
        }
    }
}

/// What there is in a tree, with what symlinks lead to.
fn all_of(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let content = |path: &String| {
        let path = dir.join(path);
        if let Ok(to) = std::fs::read_link(&path) {
            return to.into_os_string().into_encoded_bytes();
        }
        std::fs::read(path).unwrap_or_default()
    };
    paths(dir).into_iter().map(|path| (path.clone(), content(&path))).collect()
}

#[test]
fn a_mirror_follows_whatever_a_name_becomes_and_says_what_it_removes() {
    let server = Server::start();
    // Each goes one way: what decides is the same code on either side.
    let pairs = KINDS.iter().flat_map(|from| KINDS.map(|to| (*from, to))).filter(|(from, to)| from != to);
    for (at, (from, to)) in pairs.enumerate() {
        let up = at % 2 == 0;
        let here = tempfile::tempdir().unwrap();
        let name = format!("{up}-{from:?}-{to:?}");
        let (ours, theirs) = (here.path().join("tree"), server.root().join(&name));
        let (source, copy) = if up { (&ours, &theirs) } else { (&theirs, &ours) };
        let run = |options: &[&str]| {
            let far = server.remote(&format!("{name}/"));
            let paths = if up { ["tree/", &far] } else { [&*far, "tree"] };
            let run = Run::new(if up { "fput" } else { "fget" }).args(["-r", "--delete", "--no-sync"]).args(options);
            run.args(paths).current_dir(here.path()).any_stderr().output()
        };
        let begin = |what: What| {
            if source.exists() {
                std::fs::remove_dir_all(source).unwrap();
            }
            make(source, &["keep", "stays/1", "stays/2"]);
            what.make(source);
        };
        begin(from);
        run(&["-q"]);
        assert_eq!(all_of(source), all_of(copy), "{name}");
        begin(to);
        let before = all_of(copy);
        let count = |json: &serde_json::Value| usize::try_from(json["removed"].as_u64().unwrap()).unwrap();
        let dry = run(&["-n", "--json"]).json();
        assert_eq!((all_of(copy), count(&dry)), (before, from.removed(to).len()), "{name}");
        let wet = run(&["--json-stream"]);
        assert_eq!(all_of(source), all_of(copy), "{name}: {}", wet.stderr);
        let mut said: Vec<String> = wet
            .text()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|event| event["event"] == "removed")
            .map(|event| event["to"].as_str().unwrap().rsplit_once("/x").map(|(_, end)| format!("x{end}")).unwrap())
            .collect();
        said.sort();
        assert_eq!(said, from.removed(to), "{name}");
        let again = run(&["--json"]).json();
        assert_eq!((&again["files"], &again["removed"], &again["failed"]), (&0.into(), &0.into(), &0.into()), "{name}");
    }
}

#[test]
fn what_makes_way_counts_before_much_is_removed() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    make(&here.path().join("tree"), &["a/1", "a/2", "a/3", "a/b/4", "z"]);
    let put = |options: &[&str]| {
        let paths = ["tree".to_owned(), server.remote("up/")];
        Run::new("fput").args(["-r", "--delete"]).args(options).args(paths).current_dir(here.path())
    };
    put(&[]).any_stderr().output();
    // A directory that was moved elsewhere and is now a symlink: its copy is more than half of what is there.
    std::fs::rename(here.path().join("tree/a"), here.path().join("moved")).unwrap();
    std::os::unix::fs::symlink("../moved", here.path().join("tree/a")).unwrap();
    for options in [&["-q"][..], &["-q", "-n"]] {
        put(options).code(1).stderr("5 of 8 things here would be removed, more than half").output();
        assert_eq!(std::fs::read(server.root().join("up/tree/a/b/4")).unwrap(), b"a/b/4");
    }
    put(&["-q", "--force"]).prints("");
    assert_eq!(paths(server.root()), ["up/", "up/tree/", "up/tree/a", "up/tree/z"]);
    // One at a time is no way around it either.
    std::fs::remove_dir_all(here.path().join("tree")).unwrap();
    make(&here.path().join("tree"), &["1/x", "1/y", "2/x", "2/y", "3/x", "3/y"]);
    put(&["-q", "--force"]).prints("");
    for name in ["1", "2", "3"] {
        std::fs::remove_dir_all(here.path().join("tree").join(name)).unwrap();
        make(&here.path().join("tree"), &[name]);
    }
    put(&["-q"]).code(1).stderr("more than half").output();
    assert!(server.root().join("up/tree/3/x").exists());
    put(&["-q", "--force"]).prints("");
    assert_eq!(server.names("up/tree"), ["1", "2", "3"]);
}

#[test]
fn what_comes_twice_in_one_listing_does_not_make_way_for_itself() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    make(here.path(), &["one/x/file", "other/x"]);
    for sources in [["one/", "other/"], ["other/", "one/"]] {
        let args = ["-r", "--delete", "--force", "--json"].iter().copied().chain(sources);
        let run = Run::new("fput").args(args).args([server.remote(sources[0])]).current_dir(here.path());
        let json = run.any_stderr().output().json();
        let counts = ["removed", "failed", "met"].map(|name| json[name].as_u64());
        assert_eq!(counts, [Some(0), Some(0), Some(1)], "{sources:?}: the first wins");
    }
    assert_eq!(std::fs::read(server.root().join("one/x/file")).unwrap(), b"one/x/file");
    assert_eq!(std::fs::read(server.root().join("other/x")).unwrap(), b"other/x");
}

#[test]
fn what_is_left_out_is_not_removed_to_make_way() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    make(server.root(), &["up/x/keep.me", "up/x/other", "up/y"]);
    make(here.path(), &["tree/x", "tree/y"]);
    let args = ["-qr", "--delete", "--force", "--exclude", "*.me", "tree/", &server.remote("up")];
    let said = Run::new("fput").args(args).current_dir(here.path()).code(1);
    said.stderr("x: is a directory here that holds something which the patterns leave out").output();
    assert_eq!(paths(&server.root().join("up")), ["x/", "x/keep.me", "x/other", "y"]);
}

#[test]
fn a_limit_on_the_rate_is_kept() {
    let server = Server::start();
    server.write("a", vec![7; 300_000]);
    let here = tempfile::tempdir().unwrap();
    let started = std::time::Instant::now();
    let limited = ["-q", "--bwlimit", "500k", "--compress", "none"];
    Run::new("fget").args(limited).args([&server.remote("a")]).current_dir(here.path()).prints("");
    assert!(started.elapsed() > std::time::Duration::from_millis(500), "{:?}", started.elapsed());
}

#[test]
fn contents_are_compared_where_times_say_nothing() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    make(&here.path().join("tree"), &["a", "b", "c"]);
    let put = |options: &[&str]| {
        let put = Run::new("fput").args(["--json", "-r"]).args(options).args(["tree", &server.remote("")]);
        put.current_dir(here.path()).output().json()
    };
    put(&[]);
    // Another time and the same content; the same time and another content, of the same size.
    let file = |path: &str| std::fs::File::options().append(true).open(server.root().join("tree").join(path)).unwrap();
    let time = std::fs::metadata(server.root().join("tree/b")).unwrap().modified().unwrap();
    file("a").set_modified(time - std::time::Duration::from_secs(99)).unwrap();
    std::fs::write(server.root().join("tree/b"), "B").unwrap();
    file("b").set_modified(time).unwrap();
    let json = put(&["--checksum"]);
    assert_eq!((&json["files"], &json["unchanged"], &json["moved"]), (&1.into(), &2.into(), &1.into()), "{json}");
    assert_eq!(server.read("tree/b"), b"b");
    let json = put(&[]);
    assert_eq!((&json["files"], &json["unchanged"]), (&0.into(), &3.into()), "the time is right again: {json}");
}

#[test]
fn a_dry_run_that_compares_contents_moves_no_large_file() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("big"), vec![7; 8 << 20]).unwrap();
    server.write("big", vec![8; 8 << 20]);
    let options = ["-n", "--checksum", "--json", "--bwlimit", "4MiB", "--compress", "none"];
    for (program, paths) in
        [("fput", ["big".to_owned(), server.remote("")]), ("fget", [server.remote("big"), ".".to_owned()])]
    {
        let json = Run::new(program).args(options).args(paths).current_dir(here.path()).output().json();
        assert_eq!((&json["files"], &json["failed"]), (&1.into(), &0.into()), "{json}");
        assert!(json["moved"].as_u64().unwrap() < 6 << 20, "{json}");
    }
    assert_eq!(server.read("big"), vec![8; 8 << 20]);
}
