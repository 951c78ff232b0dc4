//! A push whose bytes are cut, or one of them changed: an error, and never a file that is not whole.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fs::part::Preserved;
use crate::fs::root::Root;

/// Bytes of `resumed` that an earlier attempt has left.
const LEFT_LEN: usize = 8 * 1024;
/// Where `changed` has a block that its other version has too.
const KEPT_AT: u64 = 75 * 4096;

/// Files that a transfer takes for large ones, and that are few bytes on their way: mostly holes, or packed well.
fn plant_sparse(from: &Path) {
    write(&from.join("packed"), &b"a line of text that repeats\n".repeat(5_000));
    write_sparse(&from.join("holes"), 200_000, &[(100_000, b"something in between")]);
    write_sparse(&from.join("changed"), 600_001, &[(KEPT_AT, &noise(4096, 5)), (500_000, b"new")]);
    write_sparse(&from.join("resumed"), 150_000, &[(0, &noise(LEFT_LEN, 6)), (140_000, b"and more")]);
}

/// What the receiver has before a push: another version of `changed`, and a part of `resumed`.
fn prepare(ends: &Ends) {
    write_sparse(&ends.to().join("changed"), 600_000, &[(KEPT_AT, &noise(4096, 5))]);
    let dir = Arc::new(Root::open_own_dir(&ends.to()).unwrap());
    let mut part = ends.parts().create_kept(dir, "resumed".as_ref(), Preserved::default()).unwrap();
    part.write(&noise(LEFT_LEN, 6)).unwrap();
}

/// A push that has all that a push can have: what both sides wrote, and what the receiver had before and after it.
struct Recorded {
    ends: Ends,
    bytes: Vec<u8>,
    replies: Vec<u8>,
    old: BTreeMap<PathBuf, Thing>,
    new: BTreeMap<PathBuf, Thing>,
}

impl Recorded {
    fn new() -> Self {
        let ends = Ends::new();
        plant(&ends.from());
        plant_sparse(&ends.from());
        prepare(&ends);
        let (old, new) = (tree_of(&ends.to()), tree_of(&ends.from()));
        let transfer = ends.transfer(ends.receiver(OPTIONS), Compress::Zstd).unwrap();
        let tally = transfer.seen_by_receiver.tally;
        assert!(tally.reused >= 4096 && tally.saved > 100_000, "{tally:?}");
        assert_eq!(transfer.seen_by_receiver.offsets, [LEFT_LEN as u64]);
        assert_eq!(tree_of(&ends.to()), new);
        let (bytes, replies) = transfer.duplex.recorded();
        Self { ends, bytes, replies, old, new }
    }
}

/// A receiver that has what the recorded one had takes other bytes; what is there then.
fn replay(bytes: &[u8]) -> (Result<()>, BTreeMap<PathBuf, Thing>) {
    let ends = Ends::new();
    prepare(&ends);
    let taken = ends.replay(OPTIONS, bytes);
    ends.check_beside();
    open_dirs(&ends.to());
    (taken, tree_of(&ends.to()))
}

/// What changed may be the mode of a directory too.
fn open_dirs(dir: &Path) {
    fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(dir).unwrap().map(io::Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            open_dirs(&entry.path());
        }
    }
}

#[test]
fn a_push_that_is_cut_anywhere_leaves_whole_files_and_parts() {
    let recorded = Recorded::new();
    let mut done = 0;
    for cut in 0..=recorded.bytes.len() {
        let (taken, tree) = replay(&recorded.bytes[..cut]);
        assert_eq!(taken.is_ok(), cut == recorded.bytes.len(), "cut at {cut}: {taken:?}");
        for (path, thing) in &tree {
            let is_whole = match (thing, &recorded.new[path]) {
                (Thing::Dir { .. }, Thing::Dir { .. }) => true,
                (Thing::File { bytes, .. }, Thing::File { bytes: new, .. }) => {
                    bytes == new || recorded.old.get(path) == Some(thing)
                }
                (thing, new) => thing == new,
            };
            assert!(is_whole, "cut at {cut}: {}", path.display());
        }
        assert!(tree.len() >= done, "cut at {cut}: something is gone that was there before");
        done = tree.len();
    }
    assert_eq!(done, recorded.new.len());
}

#[test]
fn a_push_with_any_byte_changed_makes_no_false_file_and_touches_nothing_else() {
    let recorded = Recorded::new();
    let trees = [&recorded.old, &recorded.new];
    let known: Vec<&Vec<u8>> = trees.iter().flat_map(|tree| tree.values()).filter_map(bytes_of).collect();
    let mut failed = 0;
    for at in 0..recorded.bytes.len() {
        let mut bytes = recorded.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let (taken, tree) = replay(&bytes);
        failed += usize::from(taken.is_err());
        for (path, thing) in &tree {
            let is_known = bytes_of(thing).is_none_or(|bytes| known.contains(&bytes));
            assert!(is_known, "byte {at} changed: {}", path.display());
        }
    }
    assert!(failed > recorded.bytes.len() / 2, "{failed} of {}", recorded.bytes.len());
}

#[test]
fn a_sender_whose_receiver_breaks_off_ends_with_an_error() {
    let recorded = Recorded::new();
    for cut in 0..recorded.replies.len() {
        let sent = recorded.ends.send_to(&recorded.replies[..cut]);
        assert!(sent.is_err(), "cut at {cut}");
    }
    for at in 0..recorded.replies.len() {
        let mut replies = recorded.replies.clone();
        replies[at] ^= 1 << (at % 8);
        // It may have changed no more than a word of an error: what counts is that it ends.
        drop(recorded.ends.send_to(&replies));
    }
}

fn bytes_of(thing: &Thing) -> Option<&Vec<u8>> {
    if let Thing::File { bytes, .. } = thing { Some(bytes) } else { None }
}
