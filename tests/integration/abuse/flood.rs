//! Refusals at full speed: what they may cost of the log, of the audit log and of the server's patience.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use landline::net::budget::{GUEST_LINES_MAX, PEER_LINES_MAX, STRANGER_LINES_MAX};
use landline::server::requests::{PEER_REFUSALS_MAX, REFUSALS_MAX};

use super::{assert_well, rest_of};
use crate::harness::frames::{HELLO, Raw, frame, is_timeout, request};
use crate::harness::machine::Machine;
use crate::harness::tls::Over;
use crate::harness::{DEADLINE, Server};

/// What a server's logs may weigh after a flood, in bytes: a few dozen lines of two cut texts each.
const LOG_LEN_MAX: usize = 128 * 1024;

/// Sends `requests` of the same refused request, taking what comes meanwhile; returns the codes that came.
fn flood(server: &Server, one: &[u8], requests: usize) -> Vec<String> {
    let raw = Raw::open(server);
    let mut writer = raw.stream.try_clone().unwrap();
    let all = one.repeat(requests);
    let writing = std::thread::spawn(move || drop(writer.write_all(&all)));
    let mut raw = raw;
    let codes = raw.rest().iter().map(|answer| answer.code().to_owned()).collect();
    writing.join().unwrap();
    codes
}

#[test]
fn a_stranger_fills_no_log_and_is_sent_away() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    for format in ["text", "json"] {
        let args = ["--guest", "none", "--audit", audit.to_str().unwrap(), "--log-format", format];
        let server = Server::with(&args);
        let path = "\\u009b/".repeat(7_000);
        let long = request(&format!(r#""type":"get","path":"{path}""#), &[]);
        let short = frame(r#"{"type":"pwd"}"#, &[]);
        let unknown = frame(r#"{"type":"no-such-thing"}"#, &[]);
        for one in [&long, &short, &unknown] {
            for _ in 0..5 {
                let codes = flood(&server, one, 3 * usize::try_from(REFUSALS_MAX).unwrap());
                // The last one says why.
                assert!(codes.len() <= usize::try_from(REFUSALS_MAX).unwrap() + 1, "{}", codes.len());
            }
        }
        // Who is known is on record all the same.
        assert_well(&server);
        let (_, log) = server.stop();
        assert!(log.len() < LOG_LEN_MAX, "{} bytes", log.len());
        assert!(!log.contains('\u{9b}'));
        assert!(log.contains("own identity") && log.contains(" bytes in all)"), "{log}");
        let more = log.lines().filter(|line| line.contains(" more like it"));
        let count = |line: &str| line.split(" more like it").next()?.rsplit(' ').next()?.parse::<u32>().ok();
        let more: u32 = more.map(|line| count(line).expect(line)).sum();
        assert!(more >= 9 * REFUSALS_MAX, "{more}");
        assert!(log.matches("refused").count() <= 3 * usize::try_from(STRANGER_LINES_MAX).unwrap());
        let record = std::fs::read_to_string(&audit).unwrap();
        assert!(!record.contains("\"guest\"") && record.contains("\"own\""), "{record}");
    }
}

/// Connections that fail before anything was said are lines too.
#[test]
fn connections_that_come_to_nothing_fill_no_log() {
    let server = Server::with(&["--guest", "none"]);
    for n in 0..300 {
        let mut socket = server.connect();
        let first: &[u8] = match n % 4 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\n\r\n",
            2 => b"\x16\x03\x01\x00\x05nonsense",
            _ => b"\x02\x00\x00\x00{]",
        };
        socket.write_all(first).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        rest_of(&socket);
    }
    assert_well(&server);
    let (_, log) = server.stop();
    assert!(log.lines().count() < 3 * usize::try_from(STRANGER_LINES_MAX).unwrap(), "{log}");
    assert!(log.contains("more like it") && log.contains("own identity"), "{log}");
}

#[test]
fn a_known_peers_refusals_are_counted_too_and_erase_nothing() {
    let (desk, laptop) = (Machine::new(), Machine::new());
    desk.knows(&[("laptop", laptop.fingerprint(), "echo")]);
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let server = Server::at_home(&["--guest", "none", "--audit", audit.to_str().unwrap()], &desk.home_path());
    for _ in 0..2 {
        let mut raw = laptop.open(&server);
        for sent in 1..=PEER_REFUSALS_MAX {
            raw.send(&request(r#""type":"rm","path":"x""#, &[]));
            assert_eq!(raw.answer().code(), "not-allowed", "{sent}");
        }
        let last: Vec<String> = raw.rest().iter().map(|answer| answer.code().to_owned()).collect();
        assert_eq!(last, ["not-allowed"]);
    }
    server.stop();
    let text = std::fs::read_to_string(&audit).unwrap();
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The flood may have taken longer than one interval.
    let refused = records.iter().filter(|record| record["event"] == "ended").count() as u64;
    assert!((u64::from(PEER_LINES_MAX)..u64::from(2 * PEER_REFUSALS_MAX)).contains(&refused), "{refused}");
    let summed: u64 = records
        .iter()
        .filter(|record| record["event"] == "summed" && record["name"] == "laptop")
        .map(|record| record["outcome"].as_str().unwrap().split(' ').nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(refused + summed, u64::from(2 * PEER_REFUSALS_MAX));
}

#[test]
fn what_is_done_for_guests_is_counted_too_and_does_not_turn_the_audit_log_over() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    let server = Server::with(&["--guest", "read", "--audit", audit.to_str().unwrap()]);
    let sent = 3 * usize::try_from(GUEST_LINES_MAX).unwrap();
    let mut raw = Raw::open(&server);
    let begun = Instant::now();
    let mut writer = raw.stream.try_clone().unwrap();
    let path = "./".repeat(300);
    let all = request(&format!(r#""type":"cd","path":"{path}""#), &[]).repeat(sent);
    let writing = std::thread::spawn(move || writer.write_all(&all).unwrap());
    for n in 0..sent {
        assert_eq!(raw.answer().kind(), "cwd", "{n}");
    }
    writing.join().unwrap();
    drop(raw);
    assert_well(&server);
    server.stop();
    let took = begun.elapsed();
    let text = std::fs::read_to_string(&audit).unwrap();
    assert!(text.lines().all(|line| line.len() < 2_000));
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &'static str| records.iter().filter(move |one| one["kind"] == "guest" && one["event"] == event);
    // The flood may have taken longer than one interval of ten seconds.
    let written = of("ended").count();
    let most = u64::from(GUEST_LINES_MAX) * (took.as_secs() / 10 + 2);
    assert!((u64::from(GUEST_LINES_MAX)..=most).contains(&(written as u64)), "{written} in {took:?}");
    let count = |one: &serde_json::Value| one["outcome"].as_str().unwrap().split(' ').next().unwrap().parse::<usize>();
    assert_eq!(written + of("summed").map(|one| count(one).unwrap()).sum::<usize>(), sent);
    assert!(of("summed").all(|one| one["address"] != ""), "{text}");
    // The own user is on record all the same.
    assert!(records.iter().any(|one| one["kind"] == "own"), "{text}");
}

/// A client that is served now and then may be refused as often as it likes.
#[test]
fn being_served_in_between_begins_the_count_anew() {
    let server = Server::with(&["--guest", "echo"]);
    let mut raw = Over::Plain.open(&server);
    for n in 0..3 * REFUSALS_MAX {
        let (one, kind) = if n % (REFUSALS_MAX - 1) == 0 { ("echo", "echo") } else { ("pwd", "error") };
        raw.send(&request(&format!(r#""type":"{one}""#), &[]));
        assert_eq!(raw.answer().kind(), kind, "{n}");
    }
}

#[test]
fn nothing_but_refusals_lasts_only_so_long() {
    let server = Server::with(&["--guest", "echo", "--idle-timeout", "1s"]);
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream.write_all(&frame(HELLO, &[])).unwrap();
    let started = Instant::now();
    let (mut came, mut piece) = (Vec::new(), [0; 4096]);
    // Never idle, and never refused too often in a row: a few bytes of a request at a time.
    let one = frame(r#"{"type":"pwd"}"#, &[]);
    'open: for bytes in one.chunks(3).cycle() {
        assert!(started.elapsed() < DEADLINE, "it is borne for ever");
        if stream.write_all(bytes).is_err() {
            break;
        }
        match stream.read(&mut piece) {
            Ok(0) => break 'open,
            Ok(len) => came.extend_from_slice(&piece[..len]),
            Err(error) if is_timeout(&error) => {}
            Err(_) => break 'open,
        }
    }
    let came = String::from_utf8_lossy(&came).into_owned();
    assert!(came.contains("nothing but refusals for 1s"), "{came}");
    assert!(started.elapsed() >= Duration::from_secs(1));
    server.wait_for_log("nothing but refusals for 1s");
}
