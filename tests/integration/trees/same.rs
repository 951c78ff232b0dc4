//! What arrives is what was sent: any tree there is, both ways, and nothing the second time.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use super::{assert_same, noise, set_mode, set_mtime, snapshot, strays, with};
use crate::harness::{Run, Server, rounds, skip};

/// Files below it go whole into a frame.
const SMALL_LEN_MAX: usize = 128 * 1024;
const MIB: usize = 1024 * 1024;

#[derive(Debug, Clone)]
enum Thing {
    File { seed: u64, len: usize, mode: u32, mtime_ns: i64 },
    Dir { inside: BTreeMap<Vec<u8>, Self>, mode: u32, mtime_ns: i64 },
    Link { to: Vec<u8>, mtime_ns: i64 },
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = || (1_u8..=255).prop_filter("no slash", |byte| *byte != b'/');
    let odd: &[&[u8]] = &[
        b"...",
        b".hidden",
        b"-n",
        b"a\nb",
        b"*",
        b"[a]?",
        b"host:x",
        b"\xff\xfe",
        b" ",
        b"\\",
        b"{\"b64\":\"x\"}",
        "\u{6536}\u{5230}".as_bytes(),
    ];
    prop_oneof![
        4 => vec(byte(), 1..=12),
        1 => vec(byte(), 230..=255),
        3 => "[a-c]{1,2}".prop_map(String::into_bytes),
        3 => select(odd.to_vec()).prop_map(<[u8]>::to_vec),
    ]
    .prop_filter("a name", |name| name != b"." && name != b"..")
}

fn mtime_ns() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0..2_000_000_000_000_000_000_i64,
        2 => -1_000_000_000_000_000_000..0_i64,
        1 => Just(-1_i64),
        1 => Just(0_i64),
        1 => Just(1_700_000_000_000_000_000_i64),
    ]
}

fn len() -> impl Strategy<Value = usize> {
    let around = |at: usize| vec![at - 1, at, at + 1];
    prop_oneof![
        4 => select(vec![0, 1, 100, 4096]),
        3 => select([around(SMALL_LEN_MAX), around(2 * SMALL_LEN_MAX)].concat()),
        2 => select(around(MIB)),
        1 => select(vec![3 * MIB + 7]),
    ]
}

fn thing() -> impl Strategy<Value = Thing> {
    // Only root reads what its owner may not.
    let (for_files, for_dirs) =
        if skip::is_root("a tree with files that nobody may read") { (0, 0) } else { (0o400, 0o500) };
    let mode = select(vec![0o644, 0o400, 0o000, 0o755, 0o777, 0o200, 0o640]);
    let file = (any::<u64>(), len(), mode, mtime_ns());
    let file =
        file.prop_map(move |(seed, len, mode, mtime_ns)| Thing::File { seed, len, mode: mode | for_files, mtime_ns });
    let to = prop_oneof![
        name(),
        select(vec![&b"nowhere"[..], b"/etc/passwd", b".", b"..", b"../..", b"a/../b", b"/", b"\xff/\xfe", b"a"])
            .prop_map(<[u8]>::to_vec),
    ];
    let link = (to, mtime_ns()).prop_map(|(to, mtime_ns)| Thing::Link { to, mtime_ns });
    let leaf = prop_oneof![5 => file, 1 => link];
    leaf.prop_recursive(4, 40, 8, move |inner| {
        let mode = select(vec![0o755, 0o555, 0o700, 0o777, 0o000]);
        (btree_map(name(), inner, 0..8), mode, mtime_ns()).prop_map(move |(inside, mode, mtime_ns)| Thing::Dir {
            inside,
            mode: mode | for_dirs,
            mtime_ns,
        })
    })
}

impl Thing {
    /// Returns how many files that makes.
    fn make(&self, path: &Path) -> u64 {
        match self {
            Self::File { seed, len, mode, mtime_ns } => {
                std::fs::write(path, noise(*seed, *len)).unwrap();
                set_mode(path, *mode);
                set_mtime(path, *mtime_ns);
                1
            }
            Self::Link { to, mtime_ns } => {
                std::os::unix::fs::symlink(OsStr::from_bytes(to), path).unwrap();
                set_mtime(path, *mtime_ns);
                0
            }
            Self::Dir { inside, mode, mtime_ns } => {
                std::fs::create_dir(path).unwrap();
                let files = inside.iter().map(|(name, thing)| thing.make(&path.join(OsStr::from_bytes(name)))).sum();
                set_mode(path, *mode);
                set_mtime(path, *mtime_ns);
                files
            }
        }
    }
}

/// Runs it, and says how many files were sent and how many were the same.
fn counted(program: &str, sync: bool, from: &OsStr, to: &OsStr) -> (u64, u64) {
    let sync = if sync { &[][..] } else { &["--no-sync"] };
    let run = Run::new(program).args(["-r", "--json"]).args(sync).args([from, to]);
    let summary = run.output().json();
    assert_eq!((&summary["failed"], &summary["skipped"]), (&0.into(), &0.into()), "{summary}");
    (summary["files"].as_u64().unwrap(), summary["unchanged"].as_u64().unwrap())
}

#[test]
fn any_tree_comes_back_as_it_went() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let cases = std::cell::Cell::new(0);
    let tries = u32::try_from(rounds(8)).unwrap();
    let config = ProptestConfig { cases: tries, max_shrink_iters: 60, failure_persistence: None, ..Default::default() };
    let sometimes = prop_oneof![5 => Just(false), 1 => Just(true)];
    let trees = (btree_map(name(), thing(), 0..8), sometimes);
    let tried = TestRunner::new(config).run(&trees, |(inside, sync)| {
        let case = cases.replace(cases.get() + 1);
        let (tree, back) = (here.path().join(format!("tree{case}")), here.path().join(format!("back{case}")));
        let files = Thing::Dir { inside, mode: 0o755, mtime_ns: 0 }.make(&tree);
        let want = snapshot(&tree);
        let remote = OsString::from(server.remote(&format!("dest{case}")));
        let mut contents = remote.clone();
        contents.push("/");
        let there = server.root().join(format!("dest{case}"));
        for expected in [(files, 0), (0, files)] {
            assert_eq!(counted("fput", sync, &with(&tree, "/"), &remote), expected, "up");
            assert_same(&want, &snapshot(&there), "up");
        }
        for expected in [(files, 0), (0, files)] {
            assert_eq!(counted("fget", sync, &contents, back.as_os_str()), expected, "down");
            assert_same(&want, &snapshot(&back), "down");
        }
        assert_same(&want, &snapshot(&tree), "the sender's tree");
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}

/// A tree may hold what an interrupted copy of another program left, beside the very file that it is a part of.
#[test]
fn a_file_that_is_called_like_a_part_is_skipped_with_a_word_and_never_touched() {
    for len in [10, SMALL_LEN_MAX + 1] {
        let server = Server::start();
        let here = tempfile::tempdir().unwrap();
        let tree = here.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let part = ".x.3ae7d805.part";
        std::fs::write(tree.join("x"), noise(1, len)).unwrap();
        std::fs::write(tree.join(part), noise(2, len)).unwrap();
        let theirs = noise(3, len);
        server.write(&format!("dest/{part}"), &theirs);
        for _ in 0..3 {
            let remote = server.remote("dest");
            let run = Run::new("fput").args(["-r"]).args([with(&tree, "/"), remote.into()]);
            run.stderr("3ae7d805.part: skipped").output();
            assert_eq!(std::fs::read(server.root().join("dest/x")).unwrap(), noise(1, len));
            assert!(std::fs::read(server.root().join("dest").join(part)).unwrap() == theirs);
        }
        // The other way, and in a mirror.
        let back = here.path().join("back");
        let run = Run::new("fget").args(["-r", "--delete", "--force", &server.remote("dest/")]).args([&back]);
        run.stderr("3ae7d805.part: skipped").output();
        assert_eq!(super::names_in(&back), ["x"]);
        std::fs::write(back.join(part), "mine").unwrap();
        std::fs::remove_file(server.root().join("dest/x")).unwrap();
        let run = Run::new("fget").args(["-r", "--delete", "--force", &server.remote("dest/")]).args([&back]);
        run.stderr("skipped").output();
        assert_eq!(super::names_in(&back), [part]);
    }
}

/// What is here and is not of our making stays, whatever it is called.
#[test]
fn a_single_file_leaves_its_neighbours_alone() {
    let server = Server::start();
    server.write("x", "new");
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("neighbour"), "old").unwrap();
    Run::new("fget").args([server.remote("x").as_str(), "x"]).current_dir(here.path()).prints("");
    assert_eq!(super::names_in(here.path()), ["neighbour", "x"]);
    assert_eq!(strays(here.path()), [""; 0].map(std::path::PathBuf::from));
}

/// More paths than a process usually has descriptors.
#[test]
fn a_pattern_may_stand_for_more_files_than_there_are_descriptors() {
    const FILES: u64 = 1_500;
    let root = tempfile::tempdir().unwrap();
    for at in 0..FILES {
        std::fs::write(root.path().join(format!("f{at}")), "x").unwrap();
    }
    let server = Server::with_root(&["--guest", "all"], root);
    rustix::process::prlimit(
        rustix::process::Pid::from_raw(server.pid().cast_signed()),
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: Some(1024), maximum: Some(1024) },
    )
    .unwrap();
    let here = tempfile::tempdir().unwrap();
    let run = Run::new("fget").args(["--json", "--no-sync", &server.remote("f*"), "."]).current_dir(here.path());
    let summary = run.output().json();
    assert_eq!((&summary["files"], &summary["failed"]), (&FILES.into(), &0.into()));
    let many = (0..FILES).map(|at| format!("f{at}"));
    let script = format!(
        "ulimit -n 1024; exec '{}' -q --no-sync \"$@\" {}",
        crate::harness::program("fput"),
        server.remote("up/")
    );
    std::fs::create_dir(server.root().join("up")).unwrap();
    let run = Run::of(Path::new("/bin/sh")).args(["-c", &script, "sh"]).args(many).current_dir(here.path());
    run.prints("");
    assert_eq!(server.names("up").len() as u64, FILES);
}

/// A name that cannot be told from the bytes of its part: the whole length is used.
#[test]
fn names_of_full_length_that_differ_at_the_end_only_do_not_meet() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let tree = here.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    for end in 1..=40_u8 {
        let name = OsString::from_vec([&[b'n'; 254][..], &[end + 0x30]].concat());
        std::fs::write(tree.join(name), noise(end.into(), SMALL_LEN_MAX + usize::from(end))).unwrap();
    }
    Run::new("fput").args(["-r", "-q"]).args([with(&tree, "/"), server.remote("dest").into()]).prints("");
    assert_same(&snapshot(&tree), &snapshot(&server.root().join("dest")), "up");
}
