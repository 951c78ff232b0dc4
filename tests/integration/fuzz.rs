//! The fuzzer's targets on stable: their kept corpus, and some thousands of bent copies of it, go
//! through the same functions that the fuzzer calls. The same inputs every time, and no clock.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use crate::harness::rounds;

#[path = "../../fuzz/src/targets.rs"]
#[expect(unreachable_pub, reason = "it is a library where the fuzzer builds it")]
mod targets;

/// Bent inputs a target, and round.
const BENT_COUNT: usize = 2_000;
/// Where an input is bent, in places at most.
const BENDS_MAX: usize = 4;
/// Longer inputs are cut to this length, for time; the corpus itself is run whole.
const BENT_LEN_MAX: usize = 2_048;

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// A target's kept inputs by file name, in the order of the names.
fn corpus(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("no corpus at {}: {error}", dir.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    assert!(!inputs.is_empty(), "no inputs in {}", dir.display());
    inputs.sort();
    inputs
}

/// Runs one input, and names it if it is a finding.
fn run(target: targets::Target, name: &str, origin: &str, input: &[u8]) {
    let is_fine = catch_unwind(|| target(input)).is_ok();
    assert!(is_fine, "a finding for {name}, from {origin}: b\"{}\"", input.escape_ascii());
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    /// A number below `limit`; 0 if there is none.
    fn roll(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap().checked_rem(limit).unwrap_or_default()
    }

    /// A stretch of `bytes`, at most `len_max` long.
    fn stretch<'b>(&mut self, bytes: &'b [u8], len_max: usize) -> &'b [u8] {
        let from = self.roll(bytes.len());
        let len = self.roll(len_max.min(bytes.len() - from) + 1);
        &bytes[from..from + len]
    }
}

/// Bytes on which something turns: ends of ranges, and what the wires are made of.
const TURNING: &[u8] = b"\0\x01\x7f\x80\xff\x16{}[]\":,\\0159-+. \nuG";

/// `input` with one change: a bit, a byte, a cut, an insertion, or a piece of `other` in its place.
fn bend(dice: &mut Dice, input: &mut Vec<u8>, other: &[u8]) {
    let at = dice.roll(input.len());
    match dice.roll(7) {
        0 if !input.is_empty() => input[at] ^= 1 << dice.roll(8),
        1 if !input.is_empty() => input[at] = TURNING[dice.roll(TURNING.len())],
        2 => input.truncate(at),
        3 => {
            let end = at + dice.stretch(&input[at..], 16).len();
            input.drain(at..end);
        }
        4 => {
            input.insert(at, TURNING[dice.roll(TURNING.len())]);
        }
        5 => {
            let again = dice.stretch(&input[at..], 64).to_vec();
            input.splice(at..at, again);
        }
        _ => {
            let end = at + dice.stretch(&input[at..], 64).len();
            input.splice(at..end, dice.stretch(other, 256).to_vec());
        }
    }
}

#[test]
fn every_target_holds_on_its_corpus() {
    for (name, target) in targets::ALL {
        for (file, input) in corpus(&fuzz_dir().join("corpus").join(name)) {
            run(target, name, &file, &input);
        }
    }
}

#[test]
fn every_target_holds_on_a_bent_corpus() {
    for (name, target) in targets::ALL {
        let corpus = corpus(&fuzz_dir().join("corpus").join(name));
        let mut dice = Dice(0x6c61_6e64_6c69_6e65);
        let mut bent = BTreeSet::new();
        let count = rounds(BENT_COUNT);
        for turn in 0..count {
            let (file, input) = &corpus[turn % corpus.len()];
            let (_, other) = &corpus[dice.roll(corpus.len())];
            let mut input = input.clone();
            input.truncate(BENT_LEN_MAX);
            for _ in 0..=dice.roll(BENDS_MAX) {
                bend(&mut dice, &mut input, other);
            }
            if !bent.contains(&input) {
                run(target, name, &format!("{file}, bent"), &input);
                bent.insert(input);
            }
        }
        // A mutator that stands still would find nothing without a word.
        assert!(bent.len() > count / 2, "{name}: only {} different inputs", bent.len());
    }
}

/// A target is a `[[bin]]`, a wrapper, a body and a corpus, all by one name: none may be forgotten.
#[test]
fn every_target_is_complete() {
    let bodies: BTreeSet<String> = targets::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(bodies.len(), targets::ALL.len(), "a name twice");

    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    let bins = manifest.split("[[bin]]").skip(1).map(|entry| {
        let name = entry.lines().find_map(|line| line.strip_prefix("name = ")).expect("a name");
        name.trim_matches('"').to_owned()
    });
    assert_eq!(bins.collect::<BTreeSet<_>>(), bodies, "fuzz/Cargo.toml and the bodies");

    let names = |dir: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz_dir().join(dir)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names("fuzz_targets"), bodies, "the wrappers and the bodies");
    assert_eq!(names("corpus"), bodies, "the corpus and the bodies");
    for name in &bodies {
        let wrapper = fs::read_to_string(fuzz_dir().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(wrapper.contains(&format!("targets::{name}(data)")), "{name}: the wrapper calls another body");
    }
}

#[test]
fn a_finding_is_told_with_its_input() {
    let told = catch_unwind(|| run(|bytes| assert!(bytes.len() < 3), "short", "here", b"a\0b")).unwrap_err();
    assert_eq!(*told.downcast::<String>().unwrap(), "a finding for short, from here: b\"a\\x00b\"");
    run(|bytes| assert!(bytes.len() < 3), "short", "here", b"ab");
}
