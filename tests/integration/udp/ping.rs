//! Measuring.

use rustix::process::Signal;

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
    assert_eq!(lines.len(), 6, "{text}");
    assert!(lines[0].starts_with(&format!("1024 bytes from {address}: seq=1 time=")), "{text}");
    assert!(lines[4].starts_with("3 sent, 3 received, 0 lost (0.0 %), 0 late, 0 duplicates"), "{text}");
    assert!(lines[5].starts_with("rtt min/median/p99/max/mean = "), "{text}");
}

#[test]
fn lock_step_json_adds_up() {
    let (_server, ready) = Program::serve(1, &["--bind", "127.0.0.1:0"]);
    let ended = run(&["ping", &ready[0], "--count=500", "--interval=0", "--size=65507", "--json", "--timeout=20s"]);
    let report = json(&ended.stdout);
    assert_eq!((&report["sent"], &report["received"], &report["lost"]), (&500.into(), &500.into(), &0.into()));
    let times = ["min", "median", "p99", "max"].map(|name| report["rtt_ms"][name].as_f64().unwrap());
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

#[test]
fn silence_is_1_and_nobody_is_3() {
    let (_server, address) = raw();
    let ended = run(&["ping", &address, "--count=1", "--timeout=10ms"]);
    assert_eq!(ended.code, Some(1));
    assert!(String::from_utf8(ended.stdout).unwrap().starts_with("seq=1: no answer within 10ms\n"));
    let ended = run(&["ping", "127.0.0.1:1", "--wait=0"]);
    assert_eq!((ended.code, ended.stdout.as_slice()), (Some(3), b"".as_slice()), "{}", ended.stderr);
    assert_eq!(run(&["ping", &address, "--size=46"]).code, Some(2));
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
