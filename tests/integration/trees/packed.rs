//! What is compressed on its way is the same behind it, and what cannot be unpacked ends the exchange.

use super::words::{data, end, file, large, list, push, record, whole};
use super::{noise, snapshot};
use crate::harness::frames::{Raw, request};
use crate::harness::{Run, Server};

const LEN: usize = 5 << 20;

/// As logs are: a fifth of it says all.
fn text(len: usize) -> Vec<u8> {
    let lines = (0_u64..).flat_map(|at| format!("{at:08} GET /index.html {:x} 200\n", at * at % 65_537).into_bytes());
    lines.take(len).collect()
}

/// The summaries of a tree that went up and came back.
fn there_and_back(server: &Server, tree: &std::path::Path, options: &[&str]) -> [serde_json::Value; 2] {
    let here = tempfile::tempdir().unwrap();
    let run = |program: &str, paths: [&str; 2]| {
        Run::new(program).args(["-r", "--json"]).args(options).args(paths).current_dir(here.path()).output().json()
    };
    let from = format!("{}/", tree.display());
    let summaries = [run("fput", [&from, &server.remote("tree")]), run("fget", [&server.remote("tree/"), "back"])];
    assert!(snapshot(&here.path().join("back")) == snapshot(tree), "{options:?}");
    std::fs::remove_dir_all(server.root().join("tree")).unwrap();
    summaries
}

#[test]
fn what_gets_smaller_is_sent_smaller() {
    let server = Server::start();
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("log"), text(LEN)).unwrap();
    std::fs::write(tree.path().join("noise"), noise(1, LEN)).unwrap();
    for at in 0..200 {
        std::fs::write(tree.path().join(format!("f{at}")), text(at * 100)).unwrap();
    }
    let small: u64 = (0..200).map(|at| at * 100).sum();
    let moved = 2 * LEN as u64 + small;
    for summary in there_and_back(&server, tree.path(), &["--compress", "zstd"]) {
        assert_eq!(summary["moved"], moved, "{summary}");
        let saved = summary["saved"].as_u64().unwrap();
        let text = LEN as u64 + small;
        assert!((text / 2..text).contains(&saved), "{summary}");
    }
    for summary in there_and_back(&server, tree.path(), &["--compress", "none"]) {
        assert_eq!((&summary["moved"], &summary["saved"]), (&moved.into(), &0.into()), "{summary}");
    }
    // However fast this machine is.
    for summary in there_and_back(&server, tree.path(), &[]) {
        assert_eq!(summary["moved"], moved, "{summary}");
    }
}

#[test]
fn a_slow_connection_carries_more_and_noise_is_left_alone() {
    let server = Server::start();
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("log"), text(LEN)).unwrap();
    for summary in there_and_back(&server, tree.path(), &["--bwlimit", "2MiB"]) {
        assert!(summary["saved"].as_u64().unwrap() > LEN as u64 / 2, "{summary}");
    }
    std::fs::write(tree.path().join("log"), noise(1, 1 << 20)).unwrap();
    for summary in there_and_back(&server, tree.path(), &["--bwlimit", "2MiB"]) {
        assert_eq!(summary["saved"], 0, "{summary}");
    }
}

#[test]
fn people_are_told_and_a_third_machine_gets_it_too() {
    let (from, to) = (Server::start(), Server::start());
    for at in 0..300 {
        from.write(&format!("tree/{}{at}", "a-long-name-".repeat(10)), text(at * 10));
    }
    from.write("tree/log", text(LEN));
    let put = Run::new("fput").args(["-r", "--compress", "zstd", &from.remote("tree/"), &to.remote("tree")]);
    put.stderr(" saved by compression in ").prints("");
    assert!(snapshot(&to.root().join("tree")) == snapshot(&from.root().join("tree")));
}

fn packed(of: &str, size: usize, bytes: &[u8]) -> Vec<u8> {
    request(&format!(r#""type":"packed","of":"{of}","size":{size}"#), bytes)
}

#[test]
fn what_cannot_be_unpacked_ends_the_exchange() {
    const SIZE: u64 = 200_000;
    let bytes = text(200_000);
    let zstd = zstd::bulk::compress(&bytes, 1).unwrap();
    let bomb = zstd::bulk::compress(&vec![0; 100 << 20], 1).unwrap();
    let begun = [list(&[file("evil", SIZE)]), large(0, 0, SIZE)].concat();
    let ended = [whole(200_000, &bytes), end()].concat();
    let small = zstd::bulk::compress(&record(0, b"evil"), 1).unwrap();
    for (name, frames) in [
        ("garbage", [begun.clone(), packed("data", 200_000, &noise(1, 1000))].concat()),
        ("nothing", [begun.clone(), packed("data", 200_000, &[])].concat()),
        ("too short", [begun.clone(), packed("data", 199_999, &zstd)].concat()),
        ("too long", [begun.clone(), packed("data", 200_001, &zstd)].concat()),
        ("half", [begun.clone(), packed("data", 200_000, &zstd[..zstd.len() / 2])].concat()),
        ("a bomb", [begun.clone(), packed("data", 1 << 20, &bomb)].concat()),
        ("a bomb that says so", [begun.clone(), packed("data", 100 << 20, &bomb)].concat()),
        ("below zero", [begun.clone(), request(r#""type":"packed","of":"data","size":-1"#, &zstd)].concat()),
        ("something else", [begun.clone(), packed("kept", 200_000, &zstd)].concat()),
        ("outside a file", [list(&[file("evil", SIZE)]), packed("data", 200_000, &zstd)].concat()),
        ("half a record", [list(&[file("evil", 4)]), packed("small", 10, &small)].concat()),
        ("a list of noise", packed("list", 200_000, &zstd)),
        ("more than was said", [begun.clone(), packed("data", 200_000, &zstd), data(b"x")].concat()),
    ] {
        let server = Server::with(&["--guest", "write"]);
        let mut raw = Raw::open(&server);
        raw.send(&push("x"));
        raw.send_what_goes(&[frames, ended.clone()].concat());
        let mut last = String::new();
        while let Some(answer) = raw.next() {
            last = answer.kind().to_owned();
            if matches!(answer.kind(), "error" | "end") {
                break;
            }
        }
        assert_eq!(last, "error", "{name}");
        assert!(!server.root().join("x/evil").exists(), "{name}");
        assert!(!server.log().contains("panicked"), "{name}");
    }
    // The same, told right.
    let server = Server::with(&["--guest", "write"]);
    let mut raw = Raw::open(&server);
    raw.send(&push("x"));
    raw.send(&[begun, packed("data", 200_000, &zstd), ended].concat());
    while raw.answer().kind() != "end" {}
    assert!(server.read("x/evil") == bytes);
}

/// A list may be a thousand times as long as what comes over the connection.
#[test]
fn names_that_fill_the_memory_are_refused() {
    let server = Server::with(&["--guest", "write"]);
    let mut raw = Raw::open(&server);
    let name = [vec!["n".repeat(200); 19].join("/").as_str(), ""].concat();
    let line = format!("{{\"path\":\"{name}\",\"kind\":\"file\",\"same\":0}}\n");
    let count = (1 << 20) / line.len();
    let lines = line.repeat(count);
    let frame = packed("list", lines.len(), &zstd::bulk::compress(lines.as_bytes(), 1).unwrap());
    raw.send(&push("x"));
    for _ in 0..150 {
        raw.send(&frame);
        // Each list is answered, so that no more is under way than there is to be.
        let is_over = loop {
            let answer = raw.answer();
            match answer.kind() {
                "kept" => break String::from_utf8_lossy(&answer.body).contains("too many hard links"),
                "want" if answer.header["count"] == count => break false,
                kind => assert_eq!(kind, "want"),
            }
        };
        if is_over {
            return;
        }
    }
    panic!("{} bytes of names are taken", 150 * lines.len());
}
