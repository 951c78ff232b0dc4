//! Unfinished copies: whose they are, what no peer learns from them, and that they are no part of any tree.

use std::path::Path;

use super::{noise, part_in, strays};
use crate::harness::frames::{Raw, put, request};
use crate::harness::machine::Machine;
use crate::harness::{Run, Server, wait_until};
use crate::trees::words::{end, file, list, push};

const MIB: usize = 1 << 20;
/// Of an upload that is interrupted.
const LEN: usize = 12 * MIB;

/// An upload of `len` bytes as `target`, interrupted when half of it is there.
fn interrupted(machine: &Machine, server: &Server, target: &str, len: usize) {
    std::fs::write(machine.dir.path().join("big"), noise(1, len)).unwrap();
    let put = machine.run("fput").args(["-q", "--bwlimit", "2MB", "big", target]).current_dir(machine.dir.path());
    let mut put = put.spawn();
    let is_half_there = || {
        let parts = strays(server.root());
        parts.iter().any(|part| server.root().join(part).metadata().is_ok_and(|found| found.len() > len as u64 / 2))
    };
    wait_until("half of it is there", is_half_there);
    put.signal(rustix::process::Signal::INT);
    assert_eq!(put.wait().code(), Some(130));
    server.wait_until_all_have_left();
}

/// A peer that may only write, and another, at one server.
fn two_writers(allow: &str) -> (Machine, Machine, Machine, Server) {
    let (desk, ann, bob) = (Machine::new(), Machine::new(), Machine::new());
    let server = desk.server(&[]);
    ann.pair_with(&desk, server.address(), &["--name", "ann", "--allow", allow]);
    bob.pair_with(&desk, server.address(), &["--name", "bob", "--allow", allow]);
    (desk, ann, bob, server)
}

/// Reserved for every verb, whether there is such a file or not, at the end of a path and on its way.
#[test]
fn no_request_names_an_unfinished_copy() {
    let server = Server::start();
    server.write("secret", "s3cret");
    server.write(".x.3ae7d805.part", "left by another program");
    server.write(".d.00000000.part/inner", "i");
    let mut raw = Raw::open(&server);
    for name in [
        ".x.3ae7d805.part",
        ".x.3ae7d805.journal",
        ".new.abcdef01.part",
        ".d.00000000.part/inner",
        "./.y.12345678.part/",
    ] {
        let requests = [
            request(&format!(r#""type":"mv","path":"secret","to":"{name}""#), &[]),
            request(&format!(r#""type":"mv","path":"{name}","to":"shown""#), &[]),
            put(name, b"synced 1\n"),
            request(&format!(r#""type":"mkdir","path":"{name}","parents":true"#), &[]),
            request(&format!(r#""type":"rm","path":"{name}","recursive":true"#), &[]),
            request(&format!(r#""type":"get","path":"{name}""#), &[]),
            request(&format!(r#""type":"ls","path":"{name}""#), &[]),
            request(&format!(r#""type":"cd","path":"{name}""#), &[]),
            request(&format!(r#""type":"parts","path":"{name}""#), &[]),
            [
                request(
                    &format!(r#""type":"push","path":"{name}""#),
                    br#"{"single":true,"preserve":true,"sync":false,"resume":true}"#,
                ),
                list(&[]),
                end(),
            ]
            .concat(),
        ];
        for bytes in requests {
            raw.send(&bytes);
            let answer = raw.answer();
            assert_eq!(
                (answer.kind(), answer.code()),
                ("error", "bad-name"),
                "{name}: {}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
    // In a tree, and as a pattern.
    raw.send(&[push("tree"), list(&[file(".x.3ae7d805.part", 5)])].concat());
    let kept = loop {
        let answer = raw.answer();
        if answer.kind() == "kept" {
            break String::from_utf8(answer.body).unwrap();
        }
    };
    assert!(kept.contains("bad-name"), "{kept}");
    let here = tempfile::tempdir().unwrap();
    let ls = Run::new("tcp-client").args([server.plain()]).stdin("ls\n");
    ls.prints("secret\ntree/\n");
    let any = Run::new("fget").args(["-q", &server.remote(".*"), "."]).current_dir(here.path());
    any.code(1).stderr("nothing matches").prints("");
    let named = Run::new("fget").args(["-q", &server.remote(".x.3ae7d805.part"), "got"]).current_dir(here.path());
    named.code(1).stderr("are kept for unfinished copies").prints("");
    assert_eq!(server.read(".x.3ae7d805.part"), b"left by another program");
    assert_eq!(server.read(".d.00000000.part/inner"), b"i");
    // A directory that holds one stays, with it.
    server.write("dir/.x.3ae7d805.part", "left");
    let rm = Run::new("tcp-client").args([server.plain()]).stdin("rm -r dir\n");
    rm.code(1).stderr("an unfinished copy that is being written, or a file that is only called like one").prints("");
    assert_eq!(server.read("dir/.x.3ae7d805.part"), b"left");
}

/// What a peer that may not read hears about its files does not depend on what is there.
#[test]
fn a_peer_without_read_learns_nothing_of_what_is_stored() {
    let answers = |server: &Server, size: u64, how: &str| {
        let mut raw = Raw::open(server);
        let body = format!(r#"{{"single":true,"preserve":true,"sync":false,"resume":true{how}}}"#);
        raw.send(&request(r#""type":"push","path":"x""#, body.as_bytes()));
        raw.send(&list(&[file("x", size)]));
        let mut said = Vec::new();
        while said.iter().filter(|said: &&String| said.contains("want") || said.contains("error")).count() < 2 {
            let answer = raw.answer();
            said.push(format!("{} {}", answer.header, String::from_utf8_lossy(&answer.body)));
            if answer.kind() == "error" {
                break;
            }
        }
        said
    };
    for how in ["", r#","dry_run":true"#, r#","delta":"always""#, r#","checksum":true"#, r#","delete":true"#] {
        for size in [5, 300_000] {
            let one = Server::with(&["--guest", "write"]);
            let other = Server::with(&["--guest", "write"]);
            // The one has the very file, of the very time; the other has another.
            let same = one.write("x", noise(1, usize::try_from(size).unwrap()));
            super::set_mtime(&same, 0);
            other.write("x", noise(2, 7));
            assert_eq!(answers(&one, size, how), answers(&other, size, how), "{how} {size}");
        }
    }
}

#[test]
fn a_part_is_gone_on_with_by_its_peer_alone() {
    for allow in ["write", "read,write"] {
        let (_desk, ann, bob, server) = two_writers(allow);
        interrupted(&ann, &server, "server:x", LEN);
        let part = part_in(server.root());
        let left = part.metadata().unwrap().len();
        assert!(left > 5 * MIB as u64, "{left}");
        let moved = |machine: &Machine| {
            std::fs::write(machine.dir.path().join("big"), noise(1, LEN)).unwrap();
            let put = machine.run("fput").args(["--json", "-q", "big", "server:x"]).current_dir(machine.dir.path());
            put.output().json()["moved"].as_u64().unwrap()
        };
        assert_eq!(moved(&bob), LEN as u64);
        assert!(part.exists(), "what is ann's stays hers");
        std::fs::remove_file(server.root().join("x")).unwrap();
        assert_eq!(moved(&ann), LEN as u64 - left);
        assert_eq!(strays(server.root()), [""; 0].map(Path::new));
        assert!(server.read("x") == noise(1, LEN));
    }
    // A guest's is not kept: another could come as it.
    let guest = Server::with(&["--guest", "write"]);
    let mut raw = Raw::open(&guest);
    raw.send(&[push(""), list(&[file("x", 1 << 20)])].concat());
    raw.send(&[crate::trees::words::large(0, 0, 1 << 20), crate::trees::words::data(&vec![7; 300_000])].concat());
    wait_until("some of it is there", || strays(guest.root()).len() == 1);
    drop(raw);
    wait_until("it is removed", || strays(guest.root()).is_empty());
}

/// A link, a hard link or another file under the name of a peer's own part brings no byte of it to light.
#[test]
fn no_other_file_is_taken_for_a_part() {
    let (_desk, ann, _bob, server) = two_writers("write");
    interrupted(&ann, &server, "server:x", LEN);
    let part = part_in(server.root());
    let secret = server.write("secret", noise(1, 9 * MIB));
    let forged: [fn(&Path, &Path); 3] = [
        |secret, part| std::fs::rename(secret, part).unwrap(),
        |secret, part| std::fs::hard_link(secret, part).unwrap(),
        |secret, part| std::os::unix::fs::symlink(secret, part).unwrap(),
    ];
    for forge in forged {
        std::fs::remove_file(&part).unwrap();
        std::fs::write(&secret, noise(1, 9 * MIB)).unwrap();
        forge(&secret, &part);
        let put = ann.run("fput").args(["--json", "-q", "big", "server:x"]).current_dir(ann.dir.path());
        assert_eq!(put.output().json()["moved"], LEN);
        assert!(std::fs::read(&part).unwrap() == noise(1, 9 * MIB));
    }
}

/// An upload that was interrupted is in no other's way: not of a later copy, nor of a mirror, up or down.
#[test]
fn a_part_that_was_left_is_no_part_of_a_tree() {
    let machine = Machine::new();
    let server = machine.server(&[]);
    server.write("d/small", "small");
    let remote = format!("tls://{}/d", server.address());
    interrupted(&machine, &server, &format!("{remote}/big"), LEN);
    let part = part_in(&server.root().join("d"));
    for _ in 0..2 {
        let get = machine.run("fget").args(["-r", &remote, "copy"]).current_dir(machine.dir.path()).any_stderr();
        get.output();
        assert_eq!(super::names_in(&machine.dir.path().join("copy/d")), ["small"]);
    }
    // A mirror here, of a directory in which nothing else is left.
    std::fs::write(machine.dir.path().join("copy/d/extra"), "e").unwrap();
    let mirror = ["-r", "--delete", "--force", "--json", &remote, "copy"];
    let get = machine.run("fget").args(mirror).current_dir(machine.dir.path()).any_stderr();
    assert_eq!(get.output().json()["removed"], 1);
    // It is listed, gone on with, and removed by a mirror there, as it has no owner any more.
    let list = machine.run("fput").args(["--list-parts", &remote]).output();
    assert!(list.text().starts_with("/d/big  ") && list.text().contains("left "), "{}", list.text());
    let elsewhere = format!("tls://{}/", server.address());
    std::fs::create_dir(server.root().join("other")).unwrap();
    let none = machine.run("fput").args(["--list-parts", &format!("{elsewhere}other")]);
    none.stderr("no unfinished copies").prints("");
    std::fs::create_dir_all(machine.dir.path().join("empty/d")).unwrap();
    let put = ["-r", "--delete", "--force", "-q", "empty/d/", &remote];
    machine.run("fput").args(put).current_dir(machine.dir.path()).prints("");
    assert!(!part.exists());
    assert_eq!(server.names("d"), [""; 0]);
}

#[test]
fn what_is_left_can_be_removed_and_is_when_it_is_old() {
    let machine = Machine::new();
    let server = machine.server(&[]);
    let remote = format!("tls://{}/", server.address());
    interrupted(&machine, &server, &remote, LEN);
    let part = part_in(server.root());
    let clean = machine.run("fput").args(["--clean-parts", &remote]).output();
    assert!(clean.text().ends_with("removed\n"), "{}", clean.text());
    assert!(!part.exists());
    machine.run("fput").args(["--clean-parts", "--json", &remote]).prints("[]\n");
    machine.run("fput").args(["--list-parts", "big", &remote]).code(2).stderr("take one HOST:DIR").prints("");
    interrupted(&machine, &server, &remote, LEN);
    let (_, root) = (part_in(server.root()), server.root().to_owned());
    let other = Server::with_args(&["--part-ttl", "1s"], Path::new("/"), &machine.home_path());
    wait_until("it is removed", || strays(&root).is_empty());
    drop(other);
}
