//! The frames of `pull` and `push` made by hand, for peers that lie.

use crate::harness::frames::{frame, request};

/// A line of a `list`; `path` is JSON.
pub(crate) fn entry(path: &str, kind: &str, size: u64) -> String {
    format!(r#"{{"path":{path},"kind":"{kind}","size":{size},"mtime_ns":{},"mode":420}}"#, i64::MAX)
}

/// A file called `name`, which is ASCII.
pub(crate) fn file(name: &str, size: u64) -> String {
    entry(&format!("{name:?}"), "file", size)
}

pub(crate) fn dir(name: &str, mode: u32) -> String {
    format!(r#"{{"path":{name:?},"kind":"dir","size":0,"mtime_ns":0,"mode":{mode}}}"#)
}

pub(crate) fn link(name: &str, target: &str) -> String {
    format!(r#"{{"path":{name:?},"kind":"link","mtime_ns":0,"mode":511,"target":{target:?}}}"#)
}

/// The only list of an exchange.
pub(crate) fn list(entries: &[String]) -> Vec<u8> {
    list_of(entries.join("\n").as_bytes(), true)
}

pub(crate) fn list_of(body: &[u8], is_last: bool) -> Vec<u8> {
    request(&format!(r#""type":"list","last":{is_last}"#), body)
}

/// A file in a `small` frame.
pub(crate) fn record(entry: u32, bytes: &[u8]) -> Vec<u8> {
    record_that_says(entry, u32::try_from(bytes.len()).unwrap(), blake3::hash(bytes).as_bytes(), bytes)
}

pub(crate) fn record_that_says(entry: u32, size: u32, digest: &[u8], bytes: &[u8]) -> Vec<u8> {
    [&entry.to_le_bytes()[..], &size.to_le_bytes(), &1_700_000_000_000_000_000_i64.to_le_bytes(), digest, bytes]
        .concat()
}

pub(crate) fn small(records: &[Vec<u8>]) -> Vec<u8> {
    request(r#""type":"small""#, &records.concat())
}

pub(crate) fn large(entry: u32, offset: u64, size: u64) -> Vec<u8> {
    frame(
        &format!(r#"{{"type":"large","size":{size},"mtime_ns":0,"mode":420,"entry":{entry},"offset":{offset}}}"#),
        &[],
    )
}

pub(crate) fn data(bytes: &[u8]) -> Vec<u8> {
    request(r#""type":"data""#, bytes)
}

pub(crate) fn whole(size: usize, digest_of: &[u8]) -> Vec<u8> {
    let blake3 = blake3::hash(digest_of).to_hex();
    frame(&format!(r#"{{"type":"whole","size":{size},"blake3":"{blake3}"}}"#), &[])
}

pub(crate) fn want(count: u32, body: &str) -> Vec<u8> {
    request(&format!(r#""type":"want","count":{count}"#), body.as_bytes())
}

pub(crate) fn end() -> Vec<u8> {
    request(r#""type":"end""#, &[])
}

pub(crate) fn pull(paths: &str) -> Vec<u8> {
    request(r#""type":"pull""#, format!(r#"{{"paths":{paths},"recursive":true}}"#).as_bytes())
}

/// A push that keeps nothing in mind: no times, no sync.
pub(crate) fn push(path: &str) -> Vec<u8> {
    let how = br#"{"single":false,"recursive":true,"preserve":true,"sync":false,"resume":true}"#;
    request(&format!(r#""type":"push","path":{path:?}"#), how)
}

/// What a sender may say that no honest one does, with what makes it so; each ends the exchange. None of it may
/// have an effect outside `inside`, whose neighbour is `outside`.
pub(crate) fn lies(outside: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut lies = bad_paths();
    lies.extend(symlink_tricks(outside));
    lies.extend(false_sizes());
    lies.extend(out_of_order());
    lies
}

fn bad_paths() -> Vec<(&'static str, Vec<u8>)> {
    let long = format!("\"{}\"", "n".repeat(300));
    let deep = format!("\"{}end\"", "d/".repeat(2_500));
    let paths = [
        ("up", r#""../evil""#),
        ("up in the middle", r#""a/../../evil""#),
        ("up at the end", r#""a/..""#),
        ("absolute", r#""/evil""#),
        ("an empty part", r#""a//evil""#),
        ("a slash at the end", r#""evil/""#),
        ("dot", r#"".""#),
        ("a dot inside", r#""./evil""#),
        ("NUL", r#""evil\u0000x""#),
        ("NUL in base64", r#"{"b64":"ZXZpbAB4"}"#),
        ("up in base64", r#"{"b64":"Li4vZXZpbA=="}"#),
        ("300 bytes", &long),
        ("too deep", &deep),
        ("nothing", r#""""#),
    ];
    let mut lies = Vec::new();
    for (name, path) in paths {
        // A directory without a name is the place itself.
        let kinds = if name == "nothing" { &["file", "link"][..] } else { &["file", "link", "dir"] };
        for kind in kinds {
            let line = entry(path, kind, 4).replace("\"mode\"", "\"target\":\"x\",\"mode\"");
            lies.push((name, [list(&[line]), end()].concat()));
        }
        lies.push((name, [list(&[entry(path, "file", 4)]), small(&[record(0, b"evil")]), end()].concat()));
        let big = [list(&[entry(path, "file", 1 << 20)]), large(0, 0, 4), data(b"evil"), whole(4, b"evil"), end()];
        lies.push((name, big.concat()));
    }
    lies
}

fn symlink_tricks(outside: &str) -> Vec<(&'static str, Vec<u8>)> {
    let canary = format!("{outside}/canary");
    let evil = |entry| small(&[record(entry, b"evil")]);
    let through = |to: &str| [list(&[link("l", to), file("l/evil", 4)]), evil(1), end()].concat();
    vec![
        ("through an absolute symlink", through(outside)),
        ("through a relative symlink", through("../outside")),
        ("through a symlink to a symlink", {
            let entries = [link("k", outside), link("l", "k"), file("l/evil", 4)];
            [list(&entries), evil(2), end()].concat()
        }),
        ("a directory that is a symlink", {
            let entries = [link("l", outside), dir("l", 0o700), dir("l/deep", 0o700), file("l/deep/evil", 4)];
            [list(&entries), evil(3), end()].concat()
        }),
        ("modes through a symlink", [list(&[link("l", outside), dir("l", 0o777)]), end()].concat()),
        ("large through a symlink", {
            let list = list(&[link("l", outside), file("l/canary", 1 << 20)]);
            [list, large(1, 0, 4), data(b"evil"), whole(4, b"evil"), end()].concat()
        }),
        ("a part that is a symlink", {
            let bytes = vec![7; 17 << 20];
            let (part, journal) = (".big.12345678.part", ".big.12345678.journal");
            let list = list(&[link(part, &canary), link(journal, &canary), file("big", 17 << 20), file("../x", 1)]);
            let pieces: Vec<u8> = bytes.chunks(1 << 20).flat_map(data).collect();
            [list, large(2, 0, 17 << 20), pieces, whole(17 << 20, &bytes), end()].concat()
        }),
        ("a symlink to nothing", [list(&[link("l", "")]), end()].concat()),
        ("a symlink to NUL", {
            let line = r#"{"path":"l","kind":"link","target":"a\u0000b"}"#.to_owned();
            [list(&[line]), end()].concat()
        }),
        ("a symlink without a target", [list(&[entry(r#""l""#, "link", 0)]), end()].concat()),
    ]
}

fn false_sizes() -> Vec<(&'static str, Vec<u8>)> {
    let ten = [b'x'; 10];
    let right = *blake3::hash(&ten).as_bytes();
    let one = list(&[file("evil", 10)]);
    let big = list(&[file("evil", 1 << 20)]);
    let records = [
        ("a record longer than its frame", record_that_says(0, 11, &right, &ten)),
        ("a record of 4 GiB", record_that_says(0, u32::MAX, &right, &ten)),
        ("a record shorter than its bytes", record_that_says(0, 9, &right, &ten)),
        ("a record with another digest", record_that_says(0, 10, &[7; 32], &ten)),
        ("a record without an end", record(0, &ten)[..20].to_vec()),
    ];
    let mut lies: Vec<_> =
        records.into_iter().map(|(name, record)| (name, [one.clone(), small(&[record]), end()].concat())).collect();
    let broken = [
        ("large, longer than its total", large(0, 0, 10), 20, whole(10, &ten)),
        ("large, longer than it said first", large(0, 0, 10), 20, whole(20, &[b'x'; 20])),
        ("large, shorter than its total", large(0, 0, 10), 5, whole(10, &ten)),
        ("large, with another digest", large(0, 0, 10), 10, whole(10, b"other")),
        ("large, from an offset that nobody asked for", large(0, 5, 10), 5, whole(10, &ten)),
        ("large, from an offset without end", large(0, u64::MAX, 10), 10, whole(10, &ten)),
        ("large, without an end", large(0, 0, 10), 10, Vec::new()),
    ];
    for (name, begin, len, total) in broken {
        lies.push((name, [big.clone(), begin, data(&vec![b'x'; len]), total, end()].concat()));
    }
    lies
}

fn out_of_order() -> Vec<(&'static str, Vec<u8>)> {
    let one = list(&[file("evil", 4)]);
    let evil = small(&[record(0, b"evil")]);
    let lost = |entry: u32| frame(&format!(r#"{{"type":"lost","code":"failed","message":"m","entry":{entry}}}"#), &[]);
    let after =
        |frames: Vec<Vec<u8>>| [vec![list(&[file("a", 1 << 20), file("b", 1 << 20)])], frames].concat().concat();
    vec![
        ("a file that was not listed", [evil.clone(), end()].concat()),
        ("an entry out of range", [one.clone(), small(&[record(99, b"evil")]), end()].concat()),
        ("the last number", [one.clone(), large(u32::MAX, 0, 4), data(b"evil"), whole(4, b"evil"), end()].concat()),
        ("the loss of an entry out of range", [one.clone(), lost(99), end()].concat()),
        ("data outside a file", [one.clone(), data(b"evil"), end()].concat()),
        ("a total outside a file", [one.clone(), whole(4, b"evil"), end()].concat()),
        (
            "one file inside another",
            after(vec![large(0, 0, 4), large(1, 0, 4), data(b"evil"), whole(4, b"evil"), end()]),
        ),
        ("a loss inside another", after(vec![large(0, 0, 4), lost(1), end()])),
        ("a want from a sender", [one.clone(), want(1, r#"{"first":0}"#), end()].concat()),
        ("a kept from a sender", [one.clone(), request(r#""type":"kept""#, br#"{"first":0}"#), end()].concat()),
        ("a verb", [one.clone(), request(r#""type":"get","path":"x""#, &[]), end()].concat()),
        ("an unknown word", [one.clone(), request(r#""type":"frobnicate""#, &[]), end()].concat()),
        ("a list behind the last one", [one.clone(), list(&[]), end()].concat()),
        ("an end with files still wanted", [one.clone(), end()].concat()),
        ("a list after the last one", [list(&[]), list(&[]), end()].concat()),
        ("an unknown kind", [list(&[entry(r#""evil""#, "device", 0)]), end()].concat()),
        ("a list of garbage", [list_of(b"\xff\xfe{{{", true), end()].concat()),
        ("half a line", [list_of(br#"{"path":"evil","kind":"fi"#, true), end()].concat()),
        ("a list of null", [list_of(b"null\n", true), end()].concat()),
        ("deep JSON", [list_of(&b"[".repeat(100_000), true), end()].concat()),
        ("base64 that is none", [list(&[entry(r#"{"b64":"!"}"#, "file", 1)]), end()].concat()),
        ("a size below zero", [list(&[entry(r#""evil""#, "file", 1).replace(":1,", ":-1,")]), end()].concat()),
        ("a list of 2 MiB", [list_of(&vec![b' '; 2 << 20], true), end()].concat()),
        ("a small frame of 2 MiB", [one, small(&[vec![0; 2 << 20]]), end()].concat()),
    ]
}
