//! A partial file that is resumed: what came is not sent again, and only the sender's bytes are ever published.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{noise, part_in, strays};
use crate::harness::proxy::{Cut, Proxy, Toward};
use crate::harness::{Run, Server};

const MIB: u64 = 1 << 20;
/// Over two blocks of 16 MiB.
const LEN: u64 = 40 * MIB;
/// Where the connection is cut.
const CUT: u64 = 37 * MIB;
/// What was under way at the cut, and the greeting: a piece is written when all of its 1 MiB has come.
const SLACK: u64 = 2 * MIB;

/// A server with a file of which a part has come: in both directions.
struct Half {
    server: Server,
    here: tempfile::TempDir,
    is_up: bool,
}

impl Half {
    fn new(is_up: bool) -> Self {
        let (server, here) = (Server::start(), tempfile::tempdir().unwrap());
        let half = Self { server, here, is_up };
        std::fs::write(half.sender_file(), noise(1, usize::try_from(LEN).unwrap())).unwrap();
        super::set_mtime(&half.sender_file(), 1_500_000_000_000_000_000);
        let proxy = Proxy::start(half.server.address());
        proxy.cut_after(half.toward(), CUT, Cut::Reset);
        let (code, said) = half.copy(&proxy, &[]).spawn().ended();
        assert_eq!(code, Some(4), "{said}");
        half.wait_for_the_server();
        let len = half.part().metadata().unwrap().len();
        assert!(len > CUT - SLACK, "{len} bytes are kept of {CUT}");
        half
    }

    fn wait_for_the_server(&self) {
        self.server.wait_until_all_have_left();
    }

    fn toward(&self) -> Toward {
        if self.is_up { Toward::Server } else { Toward::Client }
    }

    fn sender_file(&self) -> PathBuf {
        if self.is_up { self.here.path().join("source") } else { self.server.root().join("source") }
    }

    fn receiver_file(&self) -> PathBuf {
        if self.is_up { self.server.root().join("target") } else { self.here.path().join("target") }
    }

    fn part(&self) -> PathBuf {
        part_in(self.receiver_file().parent().unwrap())
    }

    fn copy(&self, proxy: &Proxy, options: &[&str]) -> Run {
        let remote = |path: &str| format!("tls://{}/{path}", proxy.address());
        let run = Run::new(if self.is_up { "fput" } else { "fget" }).args(["--no-sync", "--json"]).args(options);
        let local = |path: &str| self.here.path().join(path).into_os_string();
        if self.is_up {
            run.args([local("source"), remote("target").into()])
        } else {
            run.args([remote("source").into(), local("target")])
        }
    }

    /// Copies once more, to the end; returns the bytes that passed.
    fn go_on(&self, options: &[&str], stderr: &str) -> u64 {
        let proxy = Proxy::start(self.server.address());
        let summary = self.copy(&proxy, options).stderr(stderr).output().json();
        assert_eq!((&summary["files"], &summary["failed"]), (&1.into(), &0.into()), "{summary}");
        self.assert_whole();
        proxy.passed(self.toward())
    }

    fn assert_whole(&self) {
        assert!(std::fs::read(self.receiver_file()).unwrap() == std::fs::read(self.sender_file()).unwrap());
        assert_eq!(strays(self.receiver_file().parent().unwrap()), [] as [PathBuf; 0]);
    }
}

fn change(path: &Path, at: u64) {
    let file = std::fs::File::options().write(true).read(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

#[test]
fn only_the_rest_is_sent() {
    for is_up in [true, false] {
        let half = Half::new(is_up);
        let passed = half.go_on(&[], "");
        assert!(passed < LEN - CUT + SLACK, "up: {is_up}: {passed}");
    }
}

/// What a block is that has to come again, and what was behind the part.
const MENDED: std::ops::Range<u64> = 16 * MIB..16 * MIB + LEN - CUT + SLACK;

#[test]
fn of_a_source_that_is_another_by_now_only_the_blocks_that_differ_come_again() {
    // In the first block, in the second, and in what is in no block yet.
    for (is_up, at) in [(true, 0), (false, MIB), (true, 20 * MIB), (false, 15 * MIB)] {
        let half = Half::new(is_up);
        change(&half.sender_file(), at);
        let passed = half.go_on(&[], "come again");
        assert!(MENDED.contains(&passed), "up: {is_up}, {at}: {passed}");
    }
    for (is_up, at) in [(false, 33 * MIB), (true, 36 * MIB - 1)] {
        let half = Half::new(is_up);
        change(&half.sender_file(), at);
        let passed = half.go_on(&[], "come again");
        assert!(passed < MENDED.end, "up: {is_up}, {at}: {passed}");
    }
}

/// As a sync tool would leave it: other bytes, the same size and time.
#[test]
fn a_source_that_only_looks_the_same_is_mended() {
    for is_up in [true, false] {
        let half = Half::new(is_up);
        change(&half.sender_file(), 5 * MIB);
        super::set_mtime(&half.sender_file(), 1_500_000_000_000_000_000);
        half.go_on(&[], "come again");
    }
}

/// Another file altogether, of the same name.
#[test]
fn a_source_that_shares_nothing_with_its_part_is_sent_whole() {
    for is_up in [true, false] {
        let half = Half::new(is_up);
        std::fs::write(half.sender_file(), noise(2, usize::try_from(LEN).unwrap())).unwrap();
        let passed = half.go_on(&[], "come again");
        assert!((LEN..LEN + 2 * SLACK).contains(&passed), "up: {is_up}: {passed}");
    }
}

#[test]
fn a_source_that_grew_or_shrank_is_sent_as_it_is_now() {
    for (is_up, len) in [(true, LEN + 5), (false, LEN + 5), (true, 10 * MIB), (false, 10 * MIB), (true, 9), (false, 0)]
    {
        let half = Half::new(is_up);
        let file = std::fs::File::options().write(true).open(half.sender_file()).unwrap();
        file.set_len(len).unwrap();
        let proxy = Proxy::start(half.server.address());
        let run = half.copy(&proxy, &[]).any_stderr();
        assert_eq!(run.output().json()["files"], 1, "up: {is_up}, {len}");
        half.assert_whole();
    }
}

/// Bytes of an earlier attempt may be lost within the same boot: a disk that was pulled out, a file server that was
/// started again. They may have been changed, too. Both ends hash all of it in this run.
#[test]
fn a_part_that_was_damaged_is_mended_and_never_published() {
    for (is_up, at) in [(false, MIB), (true, MIB), (false, 20 * MIB), (true, 35 * MIB)] {
        let half = Half::new(is_up);
        change(&half.part(), at);
        let passed = half.go_on(&[], "come again");
        assert!(passed < MENDED.end, "up: {is_up}, {at}: {passed}");
    }
    for is_up in [true, false] {
        let half = Half::new(is_up);
        let part = std::fs::File::options().write(true).open(half.part()).unwrap();
        part.write_all_at(&vec![0; usize::try_from(4 * MIB).unwrap()], 14 * MIB).unwrap();
        let passed = half.go_on(&[], "33554432 bytes that an earlier attempt brought are not the same any more");
        assert!(passed < MENDED.end + 16 * MIB, "{passed}");
    }
}

#[test]
fn without_resume_all_of_it_comes_anew() {
    for is_up in [true, false] {
        let half = Half::new(is_up);
        let passed = half.go_on(&["--no-resume"], "");
        assert!(passed > LEN, "{passed}");
    }
}

#[test]
fn a_part_that_is_longer_than_the_file_or_garbage_is_no_hindrance() {
    for part in [noise(9, 50 << 20), noise(9, 20 << 20), noise(1, 33 << 20), Vec::new()] {
        let half = Half::new(false);
        std::fs::write(half.part(), part).unwrap();
        let proxy = Proxy::start(half.server.address());
        assert_eq!(half.copy(&proxy, &[]).any_stderr().output().json()["files"], 1);
        assert!(std::fs::read(half.receiver_file()).unwrap() == std::fs::read(half.sender_file()).unwrap());
    }
}

/// Another file under the part's name is left alone, with all that is in it, and says nothing.
#[test]
fn a_file_that_took_a_parts_name_is_not_gone_on_with() {
    for is_up in [true, false] {
        let half = Half::new(is_up);
        let part = half.part();
        let copy = part.with_file_name("copy");
        std::fs::copy(&part, &copy).unwrap();
        std::fs::rename(&copy, &part).unwrap();
        let before = std::fs::read(&part).unwrap();
        let proxy = Proxy::start(half.server.address());
        let summary = half.copy(&proxy, &[]).any_stderr().output().json();
        assert_eq!((&summary["files"], &summary["failed"]), (&1.into(), &0.into()), "{summary}");
        assert!(proxy.passed(half.toward()) > LEN);
        assert!(std::fs::read(part).unwrap() == before);
        assert!(std::fs::read(half.receiver_file()).unwrap() == std::fs::read(half.sender_file()).unwrap());
    }
}
