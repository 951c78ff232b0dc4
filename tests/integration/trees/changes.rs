//! Of a changed file only what changed: what comes out is right, and little is sent.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::words::{data, end, file, large, list, pull, want, whole};
use super::{noise, set_mtime, strays};
use crate::harness::files::set_mode;
use crate::harness::frames::{Raw, frame, request};
use crate::harness::proxy::{Cut, Proxy, Toward};
use crate::harness::{Run, Server};

const LEN: usize = 20 << 20;

/// A file here and an older version there, or the other way round.
struct Pair {
    server: Server,
    here: tempfile::TempDir,
    is_up: bool,
}

impl Pair {
    fn new(is_up: bool, old: &[u8], new: &[u8]) -> Self {
        let pair = Self { server: Server::start(), here: tempfile::tempdir().unwrap(), is_up };
        std::fs::write(pair.receiver_file(), old).unwrap();
        set_mtime(&pair.receiver_file(), 1_400_000_000_000_000_000);
        std::fs::write(pair.sender_file(), new).unwrap();
        pair
    }

    fn there(&self) -> PathBuf {
        self.server.root().join("file")
    }

    fn sender_file(&self) -> PathBuf {
        if self.is_up { self.here.path().join("file") } else { self.there() }
    }

    fn receiver_file(&self) -> PathBuf {
        if self.is_up { self.there() } else { self.here.path().join("file") }
    }

    fn copy(&self, address: &str, options: &[&str]) -> Run {
        let remote = |path: &str| format!("tls://{address}/{path}");
        let paths = if self.is_up { ["file".into(), remote("")] } else { [remote("file"), ".".into()] };
        let run = Run::new(if self.is_up { "fput" } else { "fget" }).args(options).args(paths);
        run.current_dir(self.here.path())
    }

    /// The summary of a copy that worked.
    fn copied(&self, options: &[&str]) -> serde_json::Value {
        let summary = self.copy(self.server.address(), &[&["--json"], options].concat()).output().json();
        self.assert_whole();
        summary
    }

    fn assert_whole(&self) {
        assert!(std::fs::read(self.receiver_file()).unwrap() == std::fs::read(self.sender_file()).unwrap());
        assert_eq!(strays(self.receiver_file().parent().unwrap()), [] as [PathBuf; 0]);
        assert_eq!(self.receiver_file().metadata().unwrap().mtime(), self.sender_file().metadata().unwrap().mtime());
    }
}

/// Ten bytes put in, one changed, some left out.
fn changed(old: &[u8]) -> Vec<u8> {
    let mut new = [&old[..3_000_000], b"ten bytes!", &old[3_000_000..9_000_000], &old[9_500_000..]].concat();
    new[15_000_000] ^= 1;
    new
}

#[test]
fn little_is_sent_of_what_has_changed_little() {
    let old = noise(1, LEN);
    let new = changed(&old);
    for is_up in [true, false] {
        let pair = Pair::new(is_up, &old, &new);
        set_mode(&pair.sender_file(), 0o750);
        let summary = pair.copied(&["--delta", "always"]);
        let figure = |name: &str| summary[name].as_u64().unwrap();
        assert_eq!(figure("moved") + figure("reused"), new.len() as u64, "{summary}");
        assert_eq!(figure("bytes"), new.len() as u64, "{summary}");
        assert!(figure("moved") < 600_000, "{summary}");
        assert_eq!(pair.receiver_file().metadata().unwrap().mode() & 0o777, 0o750);
        // Within a machine it takes less time to send all of it; and who never wants it never gets it.
        for (at, options) in [&["--delta", "auto"][..], &[], &["--delta", "never"]].into_iter().enumerate() {
            std::fs::write(pair.sender_file(), noise(at as u64, LEN)).unwrap();
            let summary = pair.copied(options);
            assert_eq!((&summary["reused"], &summary["moved"]), (&0.into(), &LEN.into()), "{options:?} {summary}");
        }
        // People are told.
        let newer = changed(&std::fs::read(pair.sender_file()).unwrap());
        std::fs::write(pair.sender_file(), newer).unwrap();
        pair.copy(pair.server.address(), &["--delta", "always"]).stderr(" of them from what was there in ").prints("");
        pair.assert_whole();
    }
}

#[test]
fn what_has_another_time_only_is_not_sent_at_all() {
    for is_up in [true, false] {
        let pair = Pair::new(is_up, &noise(1, LEN), &noise(1, LEN));
        let summary = pair.copied(&["--delta", "always"]);
        assert_eq!((&summary["moved"], &summary["reused"]), (&0.into(), &LEN.into()), "{summary}");
    }
}

#[test]
fn what_has_nothing_in_common_is_sent_whole() {
    for (old, new) in
        [(noise(1, LEN), noise(2, 5 << 20)), (noise(1, 600_000), noise(2, LEN)), (Vec::new(), noise(1, LEN))]
    {
        let pair = Pair::new(true, &old, &new);
        let summary = pair.copied(&["--delta", "always"]);
        assert_eq!((&summary["moved"], &summary["reused"]), (&new.len().into(), &0.into()), "{summary}");
    }
}

#[test]
fn by_content_too() {
    let old = noise(1, LEN);
    let mut new = old.clone();
    new[12_345_678] ^= 1;
    let pair = Pair::new(false, &old, &new);
    set_mtime(&pair.sender_file(), 1_400_000_000_000_000_000);
    assert_eq!(
        Run::new("fget")
            .args(["--json", &pair.server.remote("file"), "."])
            .current_dir(pair.here.path())
            .output()
            .json()["unchanged"],
        1
    );
    let summary = pair.copied(&["--checksum", "--delta", "always"]);
    assert!(summary["moved"].as_u64().unwrap() < 300_000, "{summary}");
    assert_eq!(pair.copied(&["--checksum", "--delta", "always"])["unchanged"], 1);
}

#[test]
fn a_copy_that_was_cut_goes_on_and_still_sends_little() {
    let old = noise(1, LEN);
    // Enough that is new for the cut to be in the middle of it.
    let new = [&old[..8 << 20], &noise(2, 4 << 20), &old[8 << 20..]].concat();
    for is_up in [true, false] {
        let pair = Pair::new(is_up, &old, &new);
        let proxy = Proxy::start(pair.server.address());
        proxy.cut_after(if is_up { Toward::Server } else { Toward::Client }, 3 << 20, Cut::Reset);
        let (code, said) = pair.copy(&proxy.address(), &["--delta", "always", "--json"]).spawn().ended();
        assert_eq!(code, Some(4), "{said}");
        assert!(std::fs::read(pair.receiver_file()).unwrap() == old);
        if is_up {
            pair.server.wait_for_log(" disconnected ");
        }
        let summary = pair.copied(&["--delta", "always"]);
        assert!(summary["moved"].as_u64().unwrap() < 3 << 20, "{summary}");
        assert!(summary["reused"].as_u64().unwrap() < 13 << 20, "{summary}");
    }
}

#[test]
fn holes_stay_holes() {
    let room = |path: &Path| std::fs::metadata(path).unwrap().blocks() * 512;
    let pair = Pair::new(true, &[], &[]);
    for (path, seed) in [(pair.receiver_file(), 1), (pair.sender_file(), 2)] {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(300 << 20).unwrap();
        file.write_all_at(&noise(7, 3 << 20), (100 << 20) + 4096 * seed).unwrap();
        file.write_all_at(&noise(seed, 10_000), 200 << 20).unwrap();
    }
    set_mtime(&pair.receiver_file(), 1_400_000_000_000_000_000);
    let summary = pair.copied(&["--delta", "always"]);
    assert!(summary["moved"].as_u64().unwrap() < 400_000, "{summary}");
    assert!(room(&pair.receiver_file()) < 8 << 20, "{} bytes", room(&pair.receiver_file()));
}

#[test]
fn through_this_machine_too() {
    let (from, to) = (Server::start(), Server::start());
    let old = noise(1, LEN);
    from.write("file", changed(&old));
    to.write("file", &old);
    set_mtime(&to.root().join("file"), 1_400_000_000_000_000_000);
    let put = Run::new("fput").args(["--json", "--delta", "always", &from.remote("file"), &to.remote("")]);
    let summary = put.output().json();
    assert!(to.read("file") == from.read("file"));
    assert!(summary["moved"].as_u64().unwrap() < 600_000, "{summary}");
}

#[test]
fn what_is_there_and_changes_meanwhile_is_never_published() {
    let old = noise(1, LEN);
    let pair = Pair::new(true, &old, &changed(&old));
    // Slow enough to be overtaken.
    let run = pair.copy(pair.server.address(), &["--delta", "always", "--bwlimit", "100k", "--json-stream"]);
    let mut running = run.spawn();
    running.wait_for("\"start\"");
    std::fs::File::options().write(true).open(pair.receiver_file()).unwrap().write_all_at(&noise(9, LEN), 0).unwrap();
    let code = running.wait().code();
    let there = std::fs::read(pair.receiver_file()).unwrap();
    match code {
        Some(0) => assert!(there == changed(&old)),
        code => {
            assert_eq!(code, Some(1));
            assert!(there == noise(9, LEN));
        }
    }
    pair.copied(&["--delta", "always"]);
}

fn copy(offset: u64, size: u64) -> Vec<u8> {
    frame(&format!(r#"{{"type":"copy","offset":{offset},"size":{size}}}"#), &[])
}

#[test]
fn a_sender_gets_nothing_from_a_file_of_which_it_was_told_nothing() {
    const SIZE: u64 = 1 << 20;
    let old = noise(1, 1 << 20);
    let asks = |delta: &str, begin: Vec<u8>| {
        let server = Server::with(&["--guest", "read,write"]);
        server.write("x/file", &old);
        let mut raw = Raw::open(&server);
        let how = format!(
            r#"{{"single":false,"recursive":true,"preserve":true,"sync":false,"resume":true,"delta":"{delta}"}}"#
        );
        raw.send(&request(r#""type":"push","path":"x""#, how.as_bytes()));
        raw.send_what_goes(&[list(&[file("file", SIZE)]), begin, whole(1 << 20, &old), end()].concat());
        while let Some(answer) = raw.next() {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(answer.kind() != "kept" || body.contains("\"code\""), "{delta}: {body}");
            if matches!(answer.kind(), "error" | "end") {
                break;
            }
        }
        assert!(server.read("x/file") == old, "{delta}");
        assert!(!server.log().contains("panicked"));
    };
    asks("never", [large(0, 0, SIZE), copy(0, SIZE)].concat());
    asks("always", [large(0, 0, SIZE), copy(SIZE - 5, 10)].concat());
    asks("always", [large(0, 0, SIZE), copy(u64::MAX, SIZE)].concat());
    asks("always", [large(0, 0, SIZE), copy(0, u64::MAX)].concat());
    asks("always", [large(0, 0, SIZE), copy(0, SIZE), copy(0, SIZE)].concat());
    asks("always", [large(0, 0, SIZE), data(b"x"), copy(0, SIZE - 1)].concat());
    asks("always", copy(0, SIZE));
}

#[test]
fn a_receiver_that_sends_nonsense_is_refused() {
    let chunks = |entry: u32, average: u32, body: &[u8]| {
        request(&format!(r#""type":"chunks","entry":{entry},"average":{average}"#), body)
    };
    for (name, tells) in [
        ("an average that nobody has", chunks(1, 40_000, &[])),
        ("an average of 4 GiB", chunks(1, u32::MAX, &[])),
        ("half a chunk", chunks(1, 32_768, &[1; 30])),
        ("too long", chunks(1, 32_768, &vec![0; (1 << 20) + 20])),
        ("twice", [chunks(1, 32_768, &[1; 20]), chunks(1, 32_768, &[1; 20])].concat()),
        ("on and on", (0..20).flat_map(|entry| chunks(entry, 32_768, &vec![1; 1_048_560])).collect()),
    ] {
        let server = Server::with(&["--guest", "read"]);
        server.write("tree/file", noise(1, 1 << 20));
        let mut raw = Raw::open(&server);
        raw.send(&pull(r#"["tree"]"#));
        raw.send_what_goes(&tells);
        raw.send_what_goes(&want(2, r#"{"first":1,"chunks":true}"#));
        let mut last = String::new();
        while let Some(answer) = raw.next() {
            last = answer.kind().to_owned();
            assert_ne!(last, "whole", "{name}");
        }
        assert_eq!(last, "error", "{name}");
    }
    // Nor are chunks of any length that there may be.
    for average in (15..=22).map(|bits| 1_u32 << bits) {
        let server = Server::with(&["--guest", "read"]);
        server.write("tree/file", noise(1, 20 << 20));
        let mut raw = Raw::open(&server);
        raw.send(&pull(r#"["tree"]"#));
        assert_eq!(raw.answer().kind(), "list");
        raw.send(&[chunks(1, average, &[1; 20]), want(2, r#"{"first":1,"chunks":true}"#)].concat());
        while raw.answer().kind() != "whole" {}
    }
    // What is only useless is no reason to stop: chunks of zero bytes, of 4 GiB, and of no file at all.
    let server = Server::with(&["--guest", "read"]);
    server.write("tree/file", noise(1, 1 << 20));
    let mut raw = Raw::open(&server);
    raw.send(&pull(r#"["tree"]"#));
    // What is not listed yet cannot be wanted.
    assert_eq!(raw.answer().kind(), "list");
    let useless =
        [[&0_u32.to_le_bytes()[..], &[1; 16]].concat(), [&u32::MAX.to_le_bytes()[..], &[2; 16]].concat()].concat();
    raw.send(&[chunks(1, 32_768, &useless), chunks(77, 32_768, &[]), want(2, r#"{"first":1,"chunks":true}"#)].concat());
    let mut came = 0;
    loop {
        let answer = raw.answer();
        match answer.kind() {
            "data" => came += answer.body.len(),
            "whole" => break,
            kind => assert_eq!(kind, "large"),
        }
    }
    assert_eq!(came, 1 << 20);
}

/// Files of all kinds that were moved about, cut, put together, zeroed, and left as they were.
fn make_versions(old: &Path, new: &Path, seed: u64) {
    let random = |at: u64, below: u64| u64::from_le_bytes(*noise(seed << 32 | at, 8).first_chunk().unwrap()) % below;
    for file in 0..4 {
        let at = file * 100;
        let len = |at: u64| {
            usize::try_from(
                [random(at, 100_000), 500_000 + random(at, 60_000), random(at, 3 << 20)]
                    [usize::try_from(random(at + 50, 3)).unwrap()],
            )
            .unwrap()
        };
        let before = [noise(seed + at, len(at)), vec![0; len(at + 1) / 2], noise(seed + at + 1, len(at + 2))].concat();
        let mut after = Vec::new();
        for piece in 0..random(at + 3, 6) {
            let from = usize::try_from(random(at + 10 + piece, before.len() as u64 + 1)).unwrap();
            let until = (from + len(at + 20 + piece)).min(before.len());
            match random(at + 30 + piece, 4) {
                0 => after.extend(noise(seed + at + 40 + piece, (until - from) / 4)),
                1 => after.resize(after.len() + (until - from), 0),
                _ => after.extend_from_slice(&before[from..until]),
            }
        }
        let name = format!("f{file}");
        if random(at + 4, 8) > 0 {
            std::fs::write(old.join(&name), &before).unwrap();
            set_mtime(&old.join(&name), 1_400_000_000_000_000_000);
        }
        // Zeros are holes in some.
        let written = std::fs::File::create(new.join(&name)).unwrap();
        written.set_len(after.len() as u64).unwrap();
        for (at, page) in
            after.chunks(4096).enumerate().filter(|(_, page)| file % 2 == 0 || page.iter().any(|byte| *byte != 0))
        {
            written.write_all_at(page, at as u64 * 4096).unwrap();
        }
    }
}

#[test]
fn any_version_becomes_any_other() {
    let server = Server::start();
    for seed in 1..=30 {
        let here = tempfile::tempdir().unwrap();
        let there = server.root().join(format!("{seed}"));
        let is_up = seed % 2 == 0;
        let (old, new) = if is_up { (&there, here.path()) } else { (&here.path().to_owned(), there.as_path()) };
        std::fs::create_dir_all(&there).unwrap();
        make_versions(old, new, seed);
        let (own, remote) = (format!("{}/", here.path().display()), server.remote(&format!("{seed}/")));
        let run = Run::new(if is_up { "fput" } else { "fget" });
        let paths = if is_up { [own, remote] } else { [remote, own] };
        let lines = ["1", "3"][usize::from(seed % 3 == 0)];
        let options = ["-r", "-q", "--no-sync", "--delta", "always", "--compress", "zstd", "--connections", lines];
        run.args(options).args(paths).prints("");
        super::assert_same(&super::snapshot(new), &super::snapshot(old), &format!("seed {seed}"));
    }
}
