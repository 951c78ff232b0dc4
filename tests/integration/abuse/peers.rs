//! The list of known peers changes, or is broken, while the server runs.

use std::time::{Duration, Instant};

use super::{assert_echoes, codes};
use crate::harness::{Server, wait_until};
use crate::raw::{HELLO, Raw, frame, request};
use crate::secure::{Machine, Over, Wire};

/// Starts a command that would run for a long time; returns its process.
fn long_command(raw: &mut Raw<Wire>) -> u32 {
    raw.send(&request(r#""type":"exec","form":"shell""#, b"echo $$; exec sleep 1000"));
    String::from_utf8(raw.answer().body).unwrap().trim().parse().unwrap()
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_revoked_peer_is_out_and_so_are_its_commands() {
    let (desk, laptop, phone) = (Machine::new(), Machine::new(), Machine::new());
    let stays = ("phone", phone.fingerprint(), "all");
    for narrowed in [None, Some("none")] {
        desk.knows(&[("laptop", laptop.fingerprint(), "all"), stays]);
        let server = Server::at_home(&["--guest", "none"], &desk.home());
        let (mut idle, mut busy) = (laptop.open(&server), laptop.open(&server));
        let mut unaffected = phone.open(&server);
        let mut own = desk.open(&server);
        assert_echoes(&mut idle);
        let pid = long_command(&mut busy);
        assert!(is_running(pid));
        // A change that takes nothing away ends nothing.
        desk.knows(&[stays, ("laptop", laptop.fingerprint(), "echo,exec")]);
        assert_echoes(&mut laptop.open(&server));
        assert_echoes(&mut idle);
        let left = narrowed.map(|services| ("laptop", laptop.fingerprint(), services));
        desk.knows(&[stays].into_iter().chain(left).collect::<Vec<_>>());
        let revoked = Instant::now();
        assert!(idle.rest().is_empty());
        drop(busy.rest());
        let ended = revoked.elapsed();
        wait_until("the command is gone", || !is_running(pid));
        eprintln!("revoked: lines ended after {ended:?}, the command after {:?}", revoked.elapsed());
        assert!(ended < Duration::from_secs(5), "{ended:?}");
        server.wait_for_log("its peer was revoked");
        assert_echoes(&mut unaffected);
        assert_echoes(&mut own);
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
    let server = Server::at_home(&["--guest", "echo"], &desk.home());
    let mut before = laptop.open(&server);
    assert_echoes(&mut before);
    let path = desk.home().join("peers.toml");
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
        assert_echoes(&mut desk.open(&server));
        assert_echoes(&mut before);
        std::fs::write(&path, &good).unwrap();
        // The next line already finds the list mended.
        assert_echoes(&mut laptop.open(&server));
        assert_echoes(&mut Over::Plain.open(&server));
    }
}
