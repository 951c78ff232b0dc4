//! Measuring.

use std::time::Duration;

use rustix::process::Signal;

use super::lossy::{Log, Lossy, Weather, reordered};
use super::{Program, raw, receive, run};

fn json(stdout: &[u8]) -> serde_json::Value {
    serde_json::from_slice(stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(stdout)))
}

#[test]
fn a_line_for_each_reply_and_a_summary() {
    let (_server, ready) = Program::serve(1, &["--bind", "127.0.0.1:0", "--reply", "upper"]);
    let address = &ready[0];
    let ended = run(&["ping", address, "--count=3", "--interval=1ms", "--size=1024"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let text = String::from_utf8(ended.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 8, "{text}");
    assert!(lines[0].starts_with(&format!("1024 bytes from {address}: seq=1 time=")), "{text}");
    assert!(lines[4].starts_with("3 sent, 3 received, 0 lost (0.0 %), 0 late, 0 duplicates"), "{text}");
    let ways = "there: 0 lost, 0 duplicates, 0 out of order; back: 0 lost, 0 duplicates, 0 out of order";
    assert_eq!(lines[5], ways, "{text}");
    assert!(lines[6].starts_with("rtt ms: min ") && lines[7].starts_with("jitter ms: "), "{text}");
}

#[test]
fn lock_step_json_adds_up() {
    let (_server, ready) = Program::serve(1, &["--bind", "127.0.0.1:0"]);
    let ended = run(&["ping", &ready[0], "--count=500", "--interval=0", "--size=65507", "--json", "--timeout=20s"]);
    let report = json(&ended.stdout);
    assert_eq!((&report["sent"], &report["received"], &report["lost"]), (&500.into(), &500.into(), &0.into()));
    let times = ["min", "p50", "p90", "p99", "p999", "max"].map(|name| report["rtt_ms"][name].as_f64().unwrap());
    assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");
}

#[test]
fn loss_duplicates_disorder_and_damage_are_told_apart() {
    let (server, address) = raw();
    let client = Program::start(&["ping", &address, "--count=4", "--interval=1ms", "--timeout=1s", "--json"]);
    let probes: Vec<_> = (0..4).map(|_| receive(&server)).collect();
    let mut damaged = probes[3].0.clone();
    *damaged.last_mut().unwrap() ^= 1;
    // 2 before 1; 1 twice; 3 never; 4 with a changed byte, and cut short.
    for data in [&probes[1].0, &probes[0].0, &probes[0].0, &damaged, &probes[3].0[..20].to_vec()] {
        server.send_to(data, probes[0].1).unwrap();
    }
    let ended = client.end();
    assert_eq!(ended.code, Some(0));
    let report = json(&ended.stdout);
    for (name, want) in [("sent", 4), ("received", 2), ("lost", 2), ("duplicates", 1), ("reordered", 1), ("damaged", 2)]
    {
        assert_eq!(report[name], want, "{name} in {report}");
    }
}

fn numbers(log: &Log, key: impl Fn(&super::lossy::Passed) -> u64 + Copy) -> Vec<u64> {
    log.first_copies(key).iter().map(key).collect()
}

/// Each direction has its own weather, and `ping` has to find out what it was.
#[test]
fn the_figures_are_what_the_network_did_to_the_datagrams() {
    const COUNT: u64 = 1_500;
    for seed in [1, 2] {
        let (_server, ready) = Program::serve(1, &["--bind=127.0.0.1:0"]);
        let up = Weather { seed, drops: 40, duplicates: 30, overtaken: 80, ..Weather::default() };
        let (delay, delayed_to) = (Duration::from_millis(2_400), COUNT / 4);
        let down = Weather { seed: seed + 100, drops: 60, duplicates: 50, delays: 50, delay, delayed_to, ..up };
        let proxy = Lossy::new(&ready[0], up, down);
        let count = format!("--count={COUNT}");
        let ended = run(&["ping", &proxy.address, &count, "--rate=1000", "--timeout=2s", "--json"]);
        let [up, down] = proxy.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let report = json(&ended.stdout);

        let (answered, answers) = (numbers(&down, |passed| passed.probe), down.passed.len() as u64);
        let extents = reordered(&answered);
        let late = down.first_copies(|passed| passed.probe).iter().filter(|passed| passed.is_delayed).count();
        for (name, want) in [
            ("/sent", up.came),
            ("/lost", COUNT - answered.len() as u64),
            ("/duplicates", answers - answered.len() as u64),
            ("/reordered", extents.len() as u64),
            ("/reordered_extent_max", extents.iter().copied().max().unwrap() as u64),
            ("/late", late as u64),
            ("/damaged", 0),
            ("/withheld", 0),
            ("/up/lost", up.dropped),
            ("/up/duplicates", up.duplicated),
            ("/up/reordered", reordered(&numbers(&up, |passed| passed.identity)).len() as u64),
            ("/down/lost", down.dropped),
            ("/down/duplicates", down.duplicated),
            ("/down/reordered", reordered(&numbers(&down, |passed| passed.identity)).len() as u64),
        ] {
            assert_eq!(report.pointer(name), Some(&want.into()), "seed {seed}: {name} in {report}");
            let is_seen = want > 0 || name == "/damaged" || name == "/withheld";
            assert!(is_seen, "seed {seed}: the network did nothing of {name}");
        }
        assert_eq!(up.came, COUNT);
    }
}

#[test]
fn silence_is_1_and_nobody_is_3() {
    let (_server, address) = raw();
    let ended = run(&["ping", &address, "--count=1", "--timeout=10ms"]);
    assert_eq!(ended.code, Some(1));
    assert!(String::from_utf8(ended.stdout).unwrap().starts_with("seq=1: no answer within 10ms\n"));
    let ended = run(&["ping", "127.0.0.1:1", "--wait=0"]);
    assert_eq!((ended.code, ended.stdout.as_slice()), (Some(3), b"".as_slice()), "{}", ended.stderr);
    assert_eq!(run(&["ping", &address, "--size=25"]).code, Some(2));
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("echo.sock").display());
    let (taken, udp) = raw();
    drop(taken);
    for address in [&udp, &unix] {
        let mut client = Program::start(&["ping", address, "--count=3", "--interval=0", "-q", "--wait=60s"]);
        assert_eq!(client.stderr_line(), "udp-echo: no server is there yet; waiting, Ctrl-C ends");
        let (_server, _) = Program::serve(1, &["--bind", address]);
        let ended = client.end();
        let text = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(ended.code, Some(0), "{text}");
        assert!(text.contains("3 sent, 3 received, 0 lost"), "what was sent before does not count: {text}");
    }
    // A name's other addresses are tried again too: the server comes at the first, or at the second.
    let mut client = Program::start(&["ping", &udp.replace("127.0.0.1", "localhost"), "--count=1", "-q", "--wait=60s"]);
    assert_eq!(client.stderr_line(), "udp-echo: no server is there yet; waiting, Ctrl-C ends");
    let (_server, _) = Program::serve(1, &["--bind", &udp]);
    assert_eq!(client.end().code, Some(0));

    let mut client = Program::start(&["ping", "127.0.0.1:1", "--wait=1h"]);
    client.stderr_line();
    client.signal(Signal::INT);
    assert_eq!(client.end().code, Some(130), "a wait is left with Ctrl-C");
}

#[test]
fn ctrl_c_prints_the_summary() {
    let (_server, ready) = Program::serve(1, &["--bind", "127.0.0.1:0"]);
    let mut client = Program::start(&["ping", &ready[0], "--interval=1h"]);
    assert!(client.stdout_line().contains("seq=1"));
    client.signal(Signal::INT);
    let ended = client.end();
    assert_eq!(ended.code, Some(0));
    assert!(String::from_utf8(ended.stdout).unwrap().contains("1 sent, 1 received, 0 lost"));

    let (server, address) = raw();
    let client = Program::start(&["ping", &address, "--interval=1h", "--timeout=1h", "--json"]);
    receive(&server);
    client.signal(Signal::INT);
    let ended = client.end();
    assert_eq!(ended.code, Some(130), "its wait was cut short");
    assert_eq!(json(&ended.stdout)["lost"], 0);
}
