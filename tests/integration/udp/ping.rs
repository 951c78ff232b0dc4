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

#[test]
fn the_mtu_of_a_path_is_found_where_no_router_says_anything() {
    let measured = |up: usize, down: Option<usize>, mtu: usize| {
        let (_server, ready) = Program::serve(1, &["--bind=127.0.0.1:0"]);
        let weather = |len_max| Weather { len_max, ..Weather::default() };
        // Replies are short, so that the way back may carry less.
        let proxy = Lossy::new(&ready[0], weather(Some(up)), weather(down));
        let ended = run(&["ping", &proxy.address, "--pmtu", "--timeout=500ms", "--json"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let report = json(&ended.stdout);
        assert_eq!((&report["mtu"], &report["size"]), (&mtu.into(), &up.into()), "{report}");
        assert_eq!(report["both_ways"], false);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| measured(1_392, None, 1_420));
        scope.spawn(|| measured(1_450, Some(1_000), 1_478));
    });
    // A server that returns all of it: the smaller of both ways.
    let (server, address) = raw();
    let echo = std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((len @ 27.., from)) = server.recv_from(&mut buffer) {
            if len <= 4_324 {
                server.send_to(&buffer[..len], from).unwrap();
            }
        }
    });
    let ended = run(&["ping", &address, "--pmtu", "--timeout=500ms"]);
    let text = String::from_utf8(ended.stdout).unwrap();
    let want =
        format!("{address}: packets of 4352 bytes arrive, there and back, since this server returns all of a probe");
    assert!(text.starts_with(&want), "{text}");
    raw().0.send_to(b"end", &address).unwrap();
    echo.join().unwrap();
}

#[test]
fn a_path_that_carries_nothing_is_1_and_no_server_is_3() {
    let (_server, address) = raw();
    let ended = run(&["ping", &address, "--pmtu", "--timeout=10ms"]);
    assert_eq!(ended.code, Some(1));
    assert!(String::from_utf8(ended.stdout).unwrap().contains("not even to the smallest (6 probes)"));
    assert_eq!(run(&["ping", "127.0.0.1:1", "--pmtu", "--wait=0"]).code, Some(3));
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("echo.sock").display());
    let (_server, _) = Program::serve(1, &["--bind", &unix]);
    let ended = run(&["ping", &unix, "--pmtu"]);
    assert!(ended.stderr.contains("only a path to one IP address has an MTU"), "{}", ended.stderr);
}

#[test]
fn a_sweep_draws_what_is_lost_over_the_rate() {
    let (_server, ready) = Program::serve(1, &["--bind=127.0.0.1:0"]);
    // Half of everything, at any rate.
    let weather = Weather { seed: 5, drops: 500, ..Weather::default() };
    let proxy = Lossy::new(&ready[0], weather, Weather::default());
    let ended = run(&["ping", &proxy.address, "--sweep=20ms", "--timeout=200ms", "-q"]);
    let text = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.code, Some(0), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("1000 ") && line.ends_with('#')), "{text}");
    assert!(text.ends_with("lost at every rate\n") || text.ends_with("a second without loss\n"), "{text}");
    let ended = run(&["ping", &ready[0], "--sweep=5ms", "--timeout=5s", "--json"]);
    let report = json(&ended.stdout);
    let first = &report["steps"][0];
    assert_eq!((&first["rate"], &first["sent"], &first["lost"]), (&1000.into(), &10.into(), &0.into()), "{report}");
    // A busy machine sends late, so it is not said here how far it comes.
    assert!(report["rate_max"].is_u64(), "{report}");
}

#[test]
fn samples_and_events_have_what_was_measured() {
    let (_server, ready) = Program::serve(1, &["--bind", "127.0.0.1:0"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples.csv");
    let file = path.to_str().unwrap();
    let ended = run(&["ping", &ready[0], "--count=3", "--rate=1000", "--dscp=ef", "--json-stream", "--csv", file]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let text = String::from_utf8(ended.stdout).unwrap();
    let events: Vec<_> = text.lines().map(|line| json(line.as_bytes())).collect();
    assert_eq!(events.len(), 4, "{text}");
    assert!(events[..3].iter().all(|event| event["event"] == "answer" && event["rtt_ms"].as_f64().unwrap() > 0.0));
    assert_eq!((&events[3]["event"], &events[3]["received"]), (&"summary".into(), &3.into()), "{text}");
    assert_eq!(events[3]["received_by"], "kernel");
    let samples = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = samples.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "sequence,sent_ms,rtt_ms,result"), "{samples}");
    assert!(lines[1].starts_with("1,") && lines[1].ends_with(",answer"), "{samples}");

    for wrong in ["--dscp=64", "--dscp=af44", "--rate=0", "--size=65508"] {
        assert_eq!(run(&["ping", &ready[0], wrong]).code, Some(2), "{wrong}");
    }
    let ended = run(&["ping", &ready[0], "--count=1", "--csv", "/nowhere/at/all"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("udp-echo: /nowhere/at/all: cannot be written"), "{}", ended.stderr);
}

#[test]
fn a_server_that_only_echoes_does_not_say_on_which_way_a_datagram_was_lost() {
    let (server, address) = raw();
    let client = Program::start(&["ping", &address, "--count=2", "--rate=1000", "--timeout=200ms", "--json"]);
    let (first, from) = receive(&server);
    receive(&server);
    server.send_to(&first, from).unwrap();
    let report = json(&client.end().stdout);
    assert_eq!((&report["lost"], &report["up"], &report["down"]), (&1.into(), &().into(), &().into()), "{report}");
}

#[test]
fn a_server_that_restarts_is_counted_with_what_was_lost_meanwhile() {
    let (taken, address) = raw();
    drop(taken);
    let (server, _) = Program::serve(1, &["--bind", &address]);
    let mut client = Program::start(&["ping", &address, "--interval=1ms", "--json-stream", "--timeout=10s"]);
    assert!(client.stdout_line().contains("\"answer\""));
    server.signal(Signal::TERM);
    server.end();
    assert_eq!(client.stderr_line(), "udp-echo: the server is not there any more; going on");
    let (_server, _) = Program::serve(1, &["--bind", &address]);
    while !client.stdout_line().contains("\"gone\"") {}
    while !client.stdout_line().contains("\"answer\"") {}
    client.signal(Signal::INT);
    let ended = client.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let text = String::from_utf8(ended.stdout).unwrap();
    let report = json(text.lines().last().unwrap().as_bytes());
    let number = |pointer: &str| report.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap();
    assert!(number("/refused") > 0, "{report}");
    // What was sent while no server was there did not arrive, and both servers' counts make one sum.
    assert_eq!(number("/up/arrived") + number("/up/lost"), number("/sent"), "{report}");
    assert!(number("/up/lost") >= number("/refused"), "{report}");
}
