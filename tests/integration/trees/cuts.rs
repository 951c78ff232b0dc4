//! Connections that are cut at any byte, and programs that are killed in the middle: the next run ends it, nothing is
//! left behind, and little is sent twice.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::{Snapshot, assert_same, noise, set_mode, set_mtime, snapshot, strays, with};
use crate::harness::nobody::Nobody;
use crate::harness::proxy::{Cut, Proxy, Toward};
use crate::harness::{Background, Run, Server, own_home, rounds, wait_until};

/// Beyond a tenth of the tree, what both runs together may pass on: two greetings and two listings, what the
/// proxy and the kernel had under way at the cut, and the frame that was being filled.
const BEYOND: u64 = 1_000_000;

/// About 8 MB: two files of several pieces, some that just need a part, and many small ones.
fn make_tree(dir: &Path) -> Snapshot {
    std::fs::create_dir_all(dir.join("deep/er")).unwrap();
    let big = [("big", 3 << 20), ("deep/other", 2 << 20), ("deep/er/part", 300_000), ("limit", 131_073)];
    let small = (0..120).map(|at| (format!("deep/er/f{at:03}"), 1 + (at * at * 7) % 40_000));
    let all = big.map(|(name, len)| (name.to_owned(), len)).into_iter().chain(small);
    for (seed, (name, len)) in all.enumerate() {
        std::fs::write(dir.join(&name), noise(seed as u64, len)).unwrap();
        set_mtime(&dir.join(name), 1_600_000_000_000_000_001 + i64::try_from(seed).unwrap());
    }
    std::os::unix::fs::symlink("er/f000", dir.join("deep/link")).unwrap();
    set_mtime(&dir.join("deep/link"), 1_600_000_000_000_000_000);
    set_mode(&dir.join("deep/er/f007"), 0o444);
    set_mtime(&dir.join("deep/er"), 1_500_000_000_000_000_000);
    set_mtime(&dir.join("deep"), 1_400_000_000_000_000_000);
    snapshot(dir)
}

fn bytes_in(tree: &Snapshot) -> u64 {
    let size = |node: &super::Node| if let super::What::File { size, .. } = node.what { size } else { 0 };
    tree.values().map(size).sum()
}

/// The same numbers for the same seed, on every machine.
fn chance(seed: u64) -> u64 {
    u64::from_le_bytes(*noise(seed, 8).first_chunk().unwrap())
}

/// A direction of copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Way {
    fn program(self) -> &'static str {
        if self == Self::Up { "fput" } else { "fget" }
    }

    fn toward(self) -> Toward {
        if self == Self::Up { Toward::Server } else { Toward::Client }
    }
}

/// One server with the tree, and a directory of ours with it too.
struct Setting {
    server: Server,
    here: tempfile::TempDir,
    tree: Snapshot,
}

impl Setting {
    fn new() -> Self {
        let (server, here) = (Server::start(), tempfile::tempdir().unwrap());
        let tree = make_tree(&here.path().join("tree"));
        make_tree(&server.root().join("tree"));
        Self { server, here, tree }
    }

    fn receiver_dir(&self, way: Way, name: &str) -> std::path::PathBuf {
        if way == Way::Up { self.server.root().join(name) } else { self.here.path().join(name) }
    }

    /// A copy of the tree to `name`, through what listens at `address`.
    fn copy(&self, way: Way, name: &str, address: &str, options: &[&str]) -> Run {
        let remote = |path: &str| format!("tls://{address}/{path}");
        let run = Run::new(way.program()).args(["-r", "-q"]).args(options);
        match way {
            Way::Up => run.args([with(&self.here.path().join("tree"), "/"), remote(name).into()]),
            Way::Down => run.args([remote("tree/").into(), self.here.path().join(name).into_os_string()]),
        }
    }
}

fn every_cut_is_healed(way: Way) {
    let setting = Setting::new();
    let len = bytes_in(&setting.tree);
    let full = {
        let proxy = Proxy::start(setting.server.address());
        setting.copy(way, "full", &proxy.address(), &["--no-sync"]).prints("");
        proxy.passed(way.toward())
    };
    let (mut worst, mut cut_runs) = (0, 0);
    let copies = rounds(10) as u64;
    for copy in 0..copies {
        // Behind the greeting: a client that is cut before has not connected.
        let at = 8_192 + chance(copy) % (full - 8_192);
        let how = if copy % 4 == 3 { Cut::Close } else { Cut::Reset };
        let sync: &[&str] = if copy % 8 == 5 { &[] } else { &["--no-sync"] };
        let (name, proxy) = (format!("copy{copy}"), Proxy::start(setting.server.address()));
        let when = format!("{way:?}, copy {copy}, cut at {at} of {full}");
        proxy.cut_after(way.toward(), at, how);
        let (code, said) = setting.copy(way, &name, &proxy.address(), sync).spawn().ended();
        let copy = setting.receiver_dir(way, &name);
        if code == Some(4) {
            cut_runs += 1;
            assert_eq!(said.lines().count(), 1, "{when}: {said}");
        } else {
            // Nothing was missing but a farewell.
            assert_eq!((code, said.as_str()), (Some(0), ""), "{when}");
            assert_same(&setting.tree, &snapshot(&copy), &when);
        }
        // The server of an upload is at its part until it has seen the end of the connection.
        setting.server.wait_until_all_have_left();
        setting.copy(way, &name, &proxy.address(), sync).prints("");
        assert_same(&setting.tree, &snapshot(&copy), &when);
        let passed = proxy.passed(way.toward());
        worst = worst.max(passed);
        assert!(passed <= len + len / 10 + BEYOND, "{when}: {passed} bytes passed for {len}");
        std::fs::remove_dir_all(copy).unwrap();
    }
    assert!(cut_runs + 1 + copies / 10 >= copies, "{cut_runs} of {copies} were cut");
    eprintln!("{way:?}: {cut_runs} cut; at most {worst} bytes for a tree of {len}");
    assert_eq!(strays(setting.server.root()), strays(setting.here.path()));
}

#[test]
fn every_cut_of_an_upload_is_healed() {
    every_cut_is_healed(Way::Up);
}

#[test]
fn every_cut_of_a_download_is_healed() {
    every_cut_is_healed(Way::Down);
}

/// The tree of an older day: the large files had something else in the middle, and some small ones were not there.
fn make_older(dir: &Path) {
    make_tree(dir);
    for name in ["big", "deep/other"] {
        let path = dir.join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.splice(500_000..900_000, noise(99, 300_000));
        std::fs::write(&path, bytes).unwrap();
        set_mtime(&path, 1_300_000_000_000_000_000);
    }
    for at in 0..60 {
        std::fs::remove_file(dir.join(format!("deep/er/f{at:03}"))).unwrap();
    }
}

/// Changed blocks, compressed, over several connections.
fn every_cut_of_a_newer_version_is_healed(way: Way) {
    const OPTIONS: [&str; 7] = ["--delta", "always", "--compress", "zstd", "--connections", "3", "--no-sync"];
    let setting = Setting::new();
    let full = {
        let proxy = Proxy::start(setting.server.address());
        make_older(&setting.receiver_dir(way, "full"));
        setting.copy(way, "full", &proxy.address(), &OPTIONS).prints("");
        assert_same(&setting.tree, &snapshot(&setting.receiver_dir(way, "full")), "uncut");
        proxy.passed(way.toward())
    };
    // Three greetings, two small halves of a file and sixty small ones, and less than what both large ones have.
    assert!(full < 3_500_000, "{full}");
    let mut cut_runs = 0;
    for copy in 0..rounds(3) as u64 {
        let at = 24_576 + chance(copy) % (full - 24_576);
        let how = if copy % 4 == 3 { Cut::Close } else { Cut::Reset };
        let (name, proxy) = (format!("copy{copy}"), Proxy::start(setting.server.address()));
        let when = format!("{way:?}, copy {copy}, cut at {at} of {full}");
        let copy = setting.receiver_dir(way, &name);
        make_older(&copy);
        proxy.cut_after(way.toward(), at, how);
        let (code, said) = setting.copy(way, &name, &proxy.address(), &OPTIONS).spawn().ended();
        assert!(matches!(code, Some(0 | 4)), "{when}: {code:?} {said}");
        cut_runs += u64::from(code == Some(4));
        setting.server.wait_until_all_have_left();
        // What has a name is of the one day or the other.
        for (name, node) in snapshot(&copy).iter().filter(|(name, _)| !super::is_stray(name)) {
            if let super::What::File { .. } = node.what
                && !["big", "deep/other"].map(Path::new).contains(&name.as_path())
            {
                assert!(
                    setting.tree.get(name).is_some_and(|whole| whole.what == node.what),
                    "{when}: {}",
                    name.display()
                );
            }
        }
        setting.copy(way, &name, &proxy.address(), &OPTIONS).prints("");
        assert_same(&setting.tree, &snapshot(&copy), &when);
        std::fs::remove_dir_all(copy).unwrap();
    }
    assert!(cut_runs > 0);
    eprintln!("{way:?}: {cut_runs} cut");
    assert_eq!(strays(setting.server.root()), strays(setting.here.path()));
}

#[test]
fn every_cut_of_a_newer_version_going_up_is_healed() {
    every_cut_of_a_newer_version_is_healed(Way::Up);
}

#[test]
fn every_cut_of_a_newer_version_coming_down_is_healed() {
    every_cut_of_a_newer_version_is_healed(Way::Down);
}

/// A connection on which the tree takes two seconds, so that there is a middle.
fn slow(address: &str) -> Proxy {
    Proxy::delayed(address, Duration::from_millis(10), 40_000)
}

fn until_the_middle(proxy: &Proxy, way: Way) {
    wait_until("the middle of the copy", || proxy.passed(way.toward()) > 3_500_000);
}

#[test]
fn a_killed_program_leaves_what_the_next_one_goes_on_with() {
    let setting = Setting::new();
    for way in [Way::Up, Way::Down] {
        for sync in [&["--no-sync"][..], &[]] {
            let name = format!("killed{}", sync.len());
            let proxy = slow(setting.server.address());
            let mut running = setting.copy(way, &name, &proxy.address(), sync).spawn();
            until_the_middle(&proxy, way);
            running.signal(Signal::KILL);
            assert_eq!(running.wait().code(), None);
            let copy = setting.receiver_dir(way, &name);
            setting.server.wait_until_all_have_left();
            setting.copy(way, &name, setting.server.address(), sync).prints("");
            assert_same(&setting.tree, &snapshot(&copy), &format!("{way:?} {sync:?}"));
        }
    }
}

/// Files that no user may write, not even their owner, are parts too.
#[test]
fn a_part_that_may_not_be_written_any_more_does_not_stay() {
    let Some(nobody) = Nobody::new() else { return };
    let server = Server::start();
    for at in 0..300 {
        let path = server.write(&format!("tree/f{at}"), noise(at, 2_000));
        set_mode(&path, 0o444);
    }
    let copy = nobody.work().join("copy");
    let run = |address: &str| {
        nobody.run("fget").args(["-r", "-q", &format!("tcp://{address}/tree/"), copy.to_str().unwrap()])
    };
    let proxy = slow(server.address());
    let mut running = run(&proxy.address()).spawn();
    wait_until("some files have come", || copy.is_dir() && strays(&copy).len() > 20);
    running.signal(Signal::KILL);
    running.wait();
    run(server.address()).prints("");
    assert_same(&snapshot(&server.root().join("tree")), &snapshot(&copy), "as nobody");
}

#[test]
fn a_killed_server_leaves_what_the_next_one_goes_on_with() {
    let setting = Setting::new();
    for sync in [&["--no-sync"][..], &[]] {
        let root = tempfile::tempdir().unwrap();
        let start = || Server::with_args(&["--guest", "all"], root.path(), &own_home());
        let server = start();
        let proxy = slow(server.address());
        let running = setting.copy(Way::Up, "dest", &proxy.address(), sync).spawn();
        until_the_middle(&proxy, Way::Up);
        server.signal(Signal::KILL);
        let (code, said) = running.ended();
        assert_eq!(code, Some(4), "{said}");
        drop(server);
        let server = start();
        setting.copy(Way::Up, "dest", server.address(), sync).prints("");
        assert_same(&setting.tree, &snapshot(&root.path().join("dest")), &format!("{sync:?}"));
    }
}

#[test]
fn an_interrupted_copy_says_how_to_go_on_and_does() {
    let setting = Setting::new();
    for way in [Way::Up, Way::Down] {
        let proxy = slow(setting.server.address());
        let running = setting.copy(way, "dest", &proxy.address(), &[]).spawn();
        until_the_middle(&proxy, way);
        running.signal(Signal::INT);
        let (code, said) = running.ended();
        assert_eq!(code, Some(130), "{said}");
        assert!(said.contains("run the same command again"), "{said}");
        setting.server.wait_until_all_have_left();
        let before = Proxy::start(setting.server.address());
        setting.copy(way, "dest", &before.address(), &[]).prints("");
        assert_same(&setting.tree, &snapshot(&setting.receiver_dir(way, "dest")), &format!("{way:?}"));
        let (again, all) = (before.passed(way.toward()), bytes_in(&setting.tree));
        assert!(again < all - 2_000_000, "{way:?}: {again} bytes of {all} once more");
    }
}

/// What is met again on the next connection is counted once.
#[test]
fn a_copy_that_connects_again_counts_everything_once() {
    let setting = Setting::new();
    let tree = setting.here.path().join("odd");
    make_tree(&tree);
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.join("a fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    std::fs::write(tree.join("a file"), "in its way is a directory").unwrap();
    std::fs::create_dir_all(setting.server.root().join("odd/a file")).unwrap();
    let proxy = Proxy::start(setting.server.address());
    proxy.cut_after(Toward::Server, 6 << 20, Cut::Reset);
    let remote = format!("tls://{}/", proxy.address());
    let put = Run::new("fput").args(["-r", "--json", "--no-sync", "--compress", "none", "--retry=1m", "odd", &remote]);
    let output = put.current_dir(setting.here.path()).code(1).any_stderr().output();
    assert!(output.stderr.contains("connecting again"), "{}", output.stderr);
    let json = output.json();
    let count = |name: &str| json[name].as_u64().unwrap();
    let files = snapshot(&tree).values().filter(|node| matches!(node.what, super::What::File { .. })).count() as u64;
    assert_eq!((count("files") + count("unchanged"), count("failed"), count("skipped")), (files - 1, 1, 1), "{json}");
    let failed = json["results"].as_array().unwrap().iter().filter(|done| !done["error"].is_null());
    assert_eq!(failed.count(), 1, "{json}");
}

#[test]
fn a_signal_asks_how_far_it_is() {
    let (server, here) = (Server::start(), tempfile::tempdir().unwrap());
    // More than the kernel takes at once.
    let big = noise(1, 32 << 20);
    server.write("big", &big);
    std::fs::write(here.path().join("big"), &big).unwrap();
    for way in [Way::Up, Way::Down] {
        let proxy = slow(server.address());
        let remote = format!("tls://{}/", proxy.address());
        let paths =
            if way == Way::Up { ["big".to_owned(), remote + "up"] } else { [remote + "big", "down".to_owned()] };
        let run = Run::new(way.program()).args(["--no-sync"]).args(paths).current_dir(here.path());
        let running: Background = run.spawn();
        wait_until("it has begun", || proxy.passed(way.toward()) > 100_000);
        running.signal(Signal::USR1);
        let line = running.stderr.recv_timeout(crate::harness::DEADLINE).expect("a line");
        assert!(line.contains("big") && line.contains('%') && line.contains("/s"), "{line}");
        // It only asked: the copy goes on.
        let before = proxy.passed(way.toward());
        wait_until("it goes on", || proxy.passed(way.toward()) > before + 100_000);
        running.signal(Signal::INT);
        assert_eq!(running.ended().0, Some(130));
    }
}

/// A reader looks all the time: what has a final name is whole.
#[test]
fn half_a_file_is_never_seen_under_its_name() {
    let setting = Setting::new();
    for way in [Way::Up, Way::Down] {
        let proxy = slow(setting.server.address());
        let copy = setting.receiver_dir(way, "watched");
        let mut running = setting.copy(way, "watched", &proxy.address(), &["--no-sync"]).spawn();
        let mut looks = 0;
        while running.child.try_wait().unwrap().is_none() {
            for name in ["big", "deep/other", "deep/er/part", "deep/er/f119"] {
                if let Ok(metadata) = copy.join(name).metadata() {
                    let whole = setting.tree.get(Path::new(name)).unwrap();
                    let super::What::File { size, .. } = whole.what else { panic!("{name}") };
                    assert_eq!(metadata.len(), size, "{name}");
                    looks += 1;
                }
            }
        }
        assert!(looks > 0);
        assert_eq!(running.wait().code(), Some(0));
        assert_same(&setting.tree, &snapshot(&copy), &format!("{way:?}"));
    }
}
