//! Transfers that reach their end.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::error::{Error, ErrorCode};
use crate::trees::{PathText, Pull};

/// A tree in which each kind of thing is at least once, some of it larger than one piece.
fn plant_large(from: &Path) {
    plant(from);
    write(&from.join("large"), &noise(2_500_000, 1));
    write(&from.join("a text"), &b"a line of text that repeats\n".repeat(20_000));
    write_sparse(&from.join("holes"), 8 << 20, &[(5 << 20, &noise(10_000, 2))]);
    write(&from.join(OsStr::from_bytes(b"not \xff UTF-8")), b"name");
    fs::set_permissions(from.join("large"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::set_permissions(from.join("d/nothing"), PermissionsExt::from_mode(0o500)).unwrap();
}

#[test]
fn a_push_arrives_byte_for_byte_packed_or_not() {
    for compress in [Compress::None, Compress::Zstd, Compress::Auto] {
        let ends = Ends::new();
        plant_large(&ends.from());
        let first = ends.transfer(ends.receiver(OPTIONS), compress).unwrap();
        assert_eq!(tree_of(&ends.to()), tree_of(&ends.from()));
        assert_eq!(first.seen_by_receiver.tally.files, 6, "the other name of a file is no file of its own");
        assert_eq!(first.seen_by_sender.tally.files, 6);
        let saved = [first.seen_by_receiver.tally.saved, first.seen_by_sender.tally.saved];
        match compress {
            Compress::None => assert_eq!(saved, [0, 0]),
            Compress::Zstd => assert!(saved.iter().all(|saved| *saved > 500_000), "{saved:?}"),
            Compress::Auto => assert_eq!(saved[0], saved[1]),
        }
        let again = ends.transfer(ends.receiver(OPTIONS), compress).unwrap();
        assert_eq!((again.seen_by_receiver.tally.files, again.seen_by_receiver.tally.unchanged), (0, 6));
        ends.check_beside();
    }
}

#[test]
fn a_pull_takes_what_was_requested_and_nothing_else() {
    let pull = |paths: &[&str]| Pull {
        paths: paths.iter().map(|path| PathText::of(path.as_bytes())).collect(),
        recursive: true,
        follow: false,
        selection: Selection::default(),
        bwlimit: None,
        compress: Compress::default(),
        shard: None,
    };
    let ends = Ends::new();
    plant_large(&ends.from());
    ends.transfer(ends.receiver(OPTIONS).only(&pull(&["from/"])), Compress::Auto).unwrap();
    assert_eq!(tree_of(&ends.to()), tree_of(&ends.from()));

    let ends = Ends::new();
    plant_large(&ends.from());
    let transfer = ends.transfer(ends.receiver(OPTIONS).only(&pull(&["large", "d"])), Compress::Auto);
    assert!(transfer.sent.is_ok() && transfer.received.is_ok());
    let names: Vec<_> = tree_of(&ends.to()).into_keys().collect();
    assert!(names.iter().all(|name| name.starts_with("large") || name.starts_with("d")), "{names:?}");
    assert!(transfer.seen_by_receiver.tally.failed > 0 && transfer.seen_by_sender.tally.failed > 0);
}

#[test]
fn what_an_earlier_attempt_brought_does_not_come_again() {
    let bytes = noise(3_000_000, 3);
    let ends = Ends::new();
    write(&ends.from().join("large"), &bytes);
    let (recorded, _) = ends.transfer(ends.receiver(OPTIONS), Compress::None).unwrap().duplex.recorded();
    for is_damaged in [false, true] {
        fs::remove_file(ends.to().join("large")).unwrap();
        ends.replay(OPTIONS, &recorded[..2_000_000]).unwrap_err();
        let [part] = &names_in(&ends.to())[..] else { panic!("one part, and nothing else") };
        assert!(is_part_name(part.as_bytes()));
        if is_damaged {
            let part = File::options().write(true).open(ends.to().join(part)).unwrap();
            part.write_all_at(b"damaged", 300_000).unwrap();
        }
        let resumed = ends.transfer(ends.receiver(OPTIONS), Compress::None).unwrap();
        let Seen { tally, offsets, mended } = &resumed.seen_by_receiver;
        assert!(matches!(offsets[..], [offset] if (1_900_000..2_000_000).contains(&offset)), "{offsets:?}");
        // What is damaged comes again with the rest of its block of 16 MiB, which is the file here.
        assert!(is_damaged || tally.moved < 2_000_000, "{tally:?}");
        assert_eq!((*mended > 0, resumed.seen_by_sender.mended > 0), (is_damaged, is_damaged));
        assert_eq!(tree_of(&ends.to()), tree_of(&ends.from()));
    }
}

#[test]
fn of_a_changed_file_only_what_changed_comes() {
    let old = noise(3_000_000, 4);
    let new = [&old[..1_000_000], b"something new", &old[1_000_000..]].concat();
    let ends = Ends::new();
    write(&ends.from().join("changed"), &new);
    write(&ends.to().join("changed"), &old);
    let transfer = ends.transfer(ends.receiver(OPTIONS), Compress::None).unwrap();
    for tally in [transfer.seen_by_receiver.tally, transfer.seen_by_sender.tally] {
        assert!(tally.moved < 500_000 && tally.reused > 2_500_000, "{tally:?}");
    }
    assert_eq!(tree_of(&ends.to()), tree_of(&ends.from()));
}

#[test]
fn a_mirror_removes_what_the_sender_does_not_have() {
    let ends = Ends::new();
    plant(&ends.from());
    plant(&ends.to());
    fs::create_dir_all(ends.to().join("more/of/it")).unwrap();
    write(&ends.to().join("more/file"), b"more");
    fs::remove_file(ends.to().join("d/empty")).unwrap();
    write(&ends.to().join("d/empty/file"), b"in the way");
    let options = WriteOptions { delete: true, ..OPTIONS };
    let dry = ends.transfer(ends.receiver(WriteOptions { dry_run: true, ..options }), Compress::None).unwrap();
    assert_ne!(tree_of(&ends.to()), tree_of(&ends.from()));
    let done = ends.transfer(ends.receiver(options), Compress::None).unwrap();
    assert_eq!(tree_of(&ends.to()), tree_of(&ends.from()));
    assert_eq!((dry.seen_by_sender.tally.removed, done.seen_by_sender.tally.removed), (6, 6));
    ends.check_beside();
}

#[test]
fn a_watcher_that_wants_no_more_ends_both_halves() {
    let stop = |_: &TreeEvent<'_>| crate::error::Refusal::new(ErrorCode::Stopped, "enough").into();
    let ends = Ends::new();
    plant_large(&ends.from());
    let duplex = Duplex::default();
    let (sent, received) = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let (replies, tree) = duplex.of_sender();
            let (mut replies, tree) = (Receiver::new(replies, &[]), Sender::new(tree));
            let out = DataOptions::default();
            let upload = TreeUpload { walk: ends.walk(), out, shard: None, wait_group: None };
            let watch = &mut |event: TreeEvent<'_>| match event {
                TreeEvent::Moved(_) => Err(stop(&event)),
                _ => Ok(()),
            };
            TreeSender::new(&tree, upload, watch).run(&mut replies, &duplex)
        });
        let (tree, replies) = duplex.of_receiver();
        let (mut tree, replies) = (Receiver::new(tree, &[]), Sender::new(replies));
        let received = ends.receiver(OPTIONS).run(&mut tree, &replies, &mut |_| Ok(()));
        (sending.join().unwrap(), received)
    });
    assert!(matches!(sent, Err(Error::Refused(why)) if why.message == "enough"));
    assert!(matches!(received, Err(Error::Refused(why)) if why.code == ErrorCode::Stopped));
}
