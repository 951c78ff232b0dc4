//! The list of known peers changes, or is broken, while the server runs.

use std::path::Path;

use super::codes;
use crate::harness::files::set_mode;
use crate::harness::frames::{HELLO, frame, request};
use crate::harness::machine::Machine;
use crate::harness::process::is_running;
use crate::harness::tls::Over;
use crate::harness::{Run, Server, wait_until};

#[test]
fn a_revoked_peer_is_out_and_so_are_its_commands() {
    let (desk, laptop, phone) = (Machine::new(), Machine::new(), Machine::new());
    let stays = ("phone", phone.fingerprint(), "all");
    for narrowed in [None, Some("none")] {
        desk.knows(&[("laptop", laptop.fingerprint(), "echo,exec"), stays]);
        let server = Server::at_home(&["--guest", "none"], &desk.home_path());
        let (mut idle, mut busy) = (laptop.open(&server), laptop.open(&server));
        let mut unaffected = phone.open(&server);
        let mut own = desk.open(&server);
        idle.assert_echoes();
        let pid = busy.start("echo $$; exec sleep 1000");
        assert!(is_running(pid));
        // A change that takes nothing away ends nothing.
        desk.knows(&[stays, ("laptop", laptop.fingerprint(), "all")]);
        laptop.open(&server).assert_echoes();
        idle.assert_echoes();
        let left = narrowed.map(|services| ("laptop", laptop.fingerprint(), services));
        desk.knows(&[stays].into_iter().chain(left).collect::<Vec<_>>());
        assert!(idle.rest().is_empty());
        drop(busy.rest());
        wait_until("the command is gone", || !is_running(pid));
        server.wait_for_log("its peer was revoked");
        unaffected.assert_echoes();
        own.assert_echoes();
        // What it is now is a guest, and guests get nothing here.
        let mut guest = laptop.open(&server);
        guest.send(&request(r#""type":"echo""#, b"x"));
        assert_eq!(guest.answer().code(), "not-allowed");
    }
}

#[test]
fn a_broken_list_lets_only_the_own_identity_in_until_it_is_mended() {
    let (desk, laptop) = (Machine::new(), Machine::new());
    desk.knows(&[("laptop", laptop.fingerprint(), "echo")]);
    let server = Server::at_home(&["--guest", "echo"], &desk.home_path());
    let path = desk.home_path().join("peers.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    for (broken, line) in [
        (good.replace("services = \"echo\"", "services = \"ecko\""), 4),
        (good.replace("[laptop]", "[laptop"), 2),
        (good.replace("SHA256:", "MD5:"), 3),
        (good.trim_end_matches("\"\n").to_owned(), 5),
        (String::new(), 1),
    ] {
        assert_ne!(broken, good);
        std::fs::write(&path, broken).unwrap();
        server.wait_for_log(&format!("peers.toml: line {line}: "));
        for mut raw in [laptop.connect(&server), Machine::new().connect(&server), Over::Plain.connect(&server)] {
            raw.send(&frame(HELLO, &[]));
            let refused = raw.answer();
            assert_eq!(refused.code(), "not-allowed");
            let why = refused.header["message"].as_str().unwrap();
            assert!(why.contains("cannot read its list of known peers"), "{why}");
            assert!(!why.contains("peers.toml") && !why.contains('/'), "no path of ours crosses the wire: {why}");
            assert!(codes(&mut raw).is_empty());
        }
        desk.open(&server).assert_echoes();
        std::fs::write(&path, &good).unwrap();
        // The next connection already finds the list mended.
        laptop.open(&server).assert_echoes();
        Over::Plain.open(&server).assert_echoes();
    }
}

/// What is done by hand to the list, so that it is none any more.
type Break = fn(&Path, &str);

/// A peer that cannot be told from one that was taken off the list is out; one whose own section is well stays.
#[test]
fn a_broken_list_keeps_no_peer_that_was_taken_off_it() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let breaks: [(&str, Break); 7] = [
        ("deleted beside a slip", |path, phone| std::fs::write(path, format!("{phone}\n[\n")).unwrap()),
        ("its own section is wrong", |path, _| {
            let text = std::fs::read_to_string(path).unwrap().replacen("\"all\"", "\"al\"", 1);
            std::fs::write(path, text).unwrap();
        }),
        ("narrowed beside a slip", |path, _| {
            let text = std::fs::read_to_string(path).unwrap().replacen("\"all\"", "\"echo\"", 1);
            std::fs::write(path, text + "\n[\n").unwrap();
        }),
        ("a pipe", |path, _| {
            std::fs::remove_file(path).unwrap();
            mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        }),
        ("a directory", |path, _| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
        ("others may read it", |path, _| {
            set_mode(path, 0o644);
        }),
        ("gone", |path, _| std::fs::remove_file(path).unwrap()),
    ];
    for (how, break_it) in breaks {
        let (desk, laptop, phone) = (Machine::new(), Machine::new(), Machine::new());
        let stays = ("phone", phone.fingerprint(), "all");
        desk.knows(&[stays]);
        let path = desk.home_path().join("peers.toml");
        let only_phone = std::fs::read_to_string(&path).unwrap();
        desk.knows(&[("laptop", laptop.fingerprint(), "all"), stays]);
        let server = Server::at_home(&["--guest", "none"], &desk.home_path());
        let (mut idle, mut busy, mut other) = (laptop.open(&server), laptop.open(&server), phone.open(&server));
        idle.assert_echoes();
        let pid = busy.start("echo $$; exec sleep 1000");
        break_it(&path, &only_phone);
        assert!(idle.rest().is_empty(), "{how}");
        drop(busy.rest());
        wait_until("the command is gone", || !is_running(pid));
        // Neither hangs the server, nor costs its own user anything, nor a peer whose section is well.
        desk.open(&server).assert_echoes();
        if ["deleted", "its own", "narrowed"].iter().any(|well| how.starts_with(well)) {
            other.assert_echoes();
        } else {
            assert!(other.rest().is_empty(), "{how}");
        }
    }
}

/// Narrowed in any way, it is out within a second with all that it has running; what it still may do, it may do anew.
#[test]
fn a_narrowed_peers_connections_and_commands_are_ended() {
    let desk = Machine::new();
    let peers = |args: &[&str]| {
        Run::new("tcp-server").env("LANDLINE_HOME", desk.home_path()).args(["peers"]).args(args).output();
    };
    for (before, narrow, widen) in [
        ("all", &["allow", "laptop", "echo,read"][..], &["allow", "laptop", "echo,read,write"][..]),
        ("all", &["allow", "laptop", "all", "--command", "date"], &["allow", "laptop", "all", "--any-command"]),
        ("all", &["allow", "laptop", "all", "--forced", "date"], &["allow", "laptop", "all", "--any-command"]),
        ("echo,read,write", &["root", "laptop", "in"], &["root", "laptop", "/"]),
    ] {
        let (laptop, phone) = (Machine::new(), Machine::new());
        desk.knows(&[("laptop", laptop.fingerprint(), before), ("phone", phone.fingerprint(), "all")]);
        let server = Server::at_home(&["--guest", "none"], &desk.home_path());
        std::fs::create_dir(server.root().join("in")).unwrap();
        let (mut idle, mut unaffected) = (laptop.open(&server), phone.open(&server));
        idle.assert_echoes();
        let mut running = Vec::new();
        if before == "all" {
            let mut busy = laptop.open(&server);
            running.push(busy.start("echo $$; exec sleep 1000"));
            let detach = "echo $$ > pid; exec sleep 1000";
            let mut raw = laptop.open(&server);
            raw.send(&request(r#""type":"exec","form":"shell","detached":true"#, detach.as_bytes()));
            assert_eq!(raw.answer().kind(), "job");
            let pid = || std::fs::read_to_string(server.root().join("pid")).ok()?.trim().parse().ok();
            wait_until("the detached command has begun", || pid().is_some());
            running.push(pid().unwrap());
            assert!(running.iter().all(|pid| is_running(*pid)));
            peers(narrow);
            drop(busy.rest());
        } else {
            peers(narrow);
        }
        assert!(idle.rest().is_empty(), "{narrow:?}");
        wait_until("the commands are gone", || !running.iter().any(|pid| is_running(*pid)));
        server.wait_for_log("its peer was revoked, or may do less now");
        unaffected.assert_echoes();
        // What it has left it has at once, and a peer that gets more keeps what is open.
        let mut again = laptop.open(&server);
        again.assert_echoes();
        peers(widen);
        laptop.open(&server).assert_echoes();
        again.assert_echoes();
    }
}
