//! `tcp-client echo`: its figures, its ends, and peers that answer something else.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::frames::{Raw, request};
use crate::harness::listen::serve_some;
use crate::harness::{Background, Run, Server};

const HELLO: &str = r#"{"type":"hello","version":1,"program":"t","verbs":["echo"]}"#;

fn echo(host: &str, args: &[&str]) -> Run {
    Run::new("tcp-client").args(["echo", host]).args(args)
}

/// The one object of a run that ends with `code`, whatever it says beside it.
fn report(host: &str, args: &[&str], code: i32) -> Value {
    let report = echo(host, args).args(["--json"]).code(code).any_stderr().output().json();
    assert_eq!(report["exit_code"], code, "{report}");
    assert_eq!(report["error"].is_null(), code == 0, "{report}");
    report
}

/// A server that answers the `n`th echo, counted from 0 on each connection, with what `answer` makes of its body.
fn answering(
    connections: usize,
    answer: impl Fn(usize, &[u8]) -> Vec<u8> + Send + Copy + 'static,
) -> (String, thread::JoinHandle<Vec<()>>) {
    let serve = move |stream: TcpStream| {
        stream.set_nodelay(true).unwrap();
        let mut raw = Raw { stream };
        let mut request = raw.welcome(HELLO);
        for n in 0.. {
            let Some(asked) = request else { return };
            raw.send_what_goes(&answer(n, &asked.body));
            request = raw.next();
        }
    };
    let (address, serving) = serve_some(connections, serve);
    (format!("tcp://{address}"), serving)
}

fn same(body: &[u8]) -> Vec<u8> {
    request(r#""type":"echo""#, body)
}

#[test]
fn every_kind_of_connection_is_measured_one_or_many() {
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("socket").display());
    let server = Server::with(&["--guest", "echo", "--bind", "127.0.0.1:0", "--bind", &unix]);
    let tls = format!("tls://{}", server.address());
    for (host, is_encrypted) in [(server.plain(), false), (tls, true), (unix, false)] {
        for (connections, size, count) in [("1", "64", 20), ("7", "100000", 20), ("3", "5MiB", 4), ("2", "0", 3)] {
            let args = ["--connections", connections, "--size", size, "--count", &count.to_string()];
            let report = report(&host, &args, 0);
            assert_eq!((&report["count"], &report["unanswered"]), (&count.into(), &0.into()), "{report}");
            let bytes = report["size"].as_u64().unwrap() * count;
            assert_eq!((&report["sent_bytes"], &report["received_bytes"]), (&bytes.into(), &bytes.into()), "{report}");
            assert_eq!(report["handshake_ms"].is_null(), !is_encrypted, "{host}: {report}");
            assert!(report.get("uncorrected_rtt_ms").is_none(), "{report}");
            let figure = |name: &str| report["rtt_ms"][name].as_f64().unwrap();
            let figures = ["min", "p50", "p90", "p99", "p99_9", "max"].map(figure);
            assert!(figures.is_sorted() && (figures[0]..=figures[5]).contains(&figure("mean")), "{report}");
            for step in ["connect_ms", "greeting_ms"] {
                assert!(report[step]["max"].is_number(), "{report}");
            }
        }
    }
    // The rounds of each connection are one request in the log.
    let log = server.stop().1;
    assert_eq!(log.matches(r#"verb="echo""#).count(), 3 * (1 + 7 + 4 + 2), "{log}");
}

/// A server that stops once: a closed loop would see that in one message, though twenty were due meanwhile.
#[test]
fn under_a_rate_a_late_answer_counts_for_all_messages_that_had_to_wait() {
    const PAUSE: Duration = Duration::from_millis(300);
    let (host, serving) = answering(1, |n, body| {
        if n == 0 {
            thread::sleep(PAUSE);
        }
        same(body)
    });
    let report = report(&host, &["--rate", "100", "--count", "20"], 0);
    let figure = |times: &str, name: &str| report[times][name].as_f64().unwrap();
    // The last was due after 190 ms.
    assert!(figure("rtt_ms", "min") >= 110.0, "{report}");
    let hidden = figure("rtt_ms", "mean") - figure("uncorrected_rtt_ms", "mean");
    assert!(hidden >= 110.0 * 19.0 / 20.0, "{hidden} of {report}");
    assert_eq!((&report["count"], &report["rate"]), (&20.into(), &100.0.into()));
    assert!(report["ms"].as_f64().unwrap() >= 300.0, "{report}");
    drop(serving.join().unwrap());
}

#[test]
fn messages_are_sent_at_their_rate_and_as_long_as_they_are_to_be() {
    let server = Server::start();
    let args = ["--rate", "200", "--duration", "500ms", "--connections", "4"];
    let paced = report(server.address(), &args, 0);
    // Those that are due at 0, 5, ... 495 ms; a busy machine may be late with the last ones.
    assert!((1..=100).contains(&paced["count"].as_u64().unwrap()), "{paced}");
    assert!(paced["ms"].as_f64().unwrap() >= 500.0, "{paced}");
    // Whichever end comes first.
    assert_eq!(report(server.address(), &["--duration", "1h", "--count", "5"], 0)["count"], 5);
    // One that is due after the end is not waited for.
    let rare = report(server.address(), &["--duration", "50ms", "--rate", "0.001"], 0);
    assert_eq!(rare["count"], 1, "{rare}");
}

#[test]
fn a_figure_over_its_limit_is_an_exit_code() {
    let server = Server::start();
    let run = |limits: &[&str]| echo(server.address(), &["--count", "20"]).args(limits);
    run(&["--fail-over", "p99=1h", "--fail-over", "max=1h"]).output();
    let over = run(&["--fail-over", "p99.9=1ns", "--fail-over", "mean=1h"]).code(1).stderr("p99.9 is ").output();
    assert!(over.stderr.ends_with(" ms, over the limit of 0 ms\n"), "{}", over.stderr);
    assert!(over.text().starts_with("20 round trips of 64 bytes in "), "{}", over.text());
    let json = report(server.address(), &["--fail-over", "median=1us", "--fail-over", "max=1h"], 1);
    assert_eq!((json["over"].as_array().unwrap().len(), &json["over"][0]["figure"]), (1, &"p50".into()), "{json}");
}

#[test]
fn what_makes_no_sense_is_wrong_usage_and_connects_to_nothing() {
    for args in [
        &["--count", "0"][..],
        &["--rate", "0"],
        &["--duration", "0"],
        &["--connections", "100000"],
        &["--fail-over", "p98=5ms"],
        &["--size", "-1"],
        &["--csv", "/"],
    ] {
        let refused = echo("nowhere.invalid", args).code(2).any_stderr().output();
        assert!(refused.text().is_empty() && !refused.stderr.contains("cannot find"), "{args:?}: {}", refused.stderr);
    }
    echo("nowhere.invalid", &["--json"]).code(3).stderr("cannot find this host").prints("");
}

/// Has made at least one round trip.
fn running(host: &str, args: &[&str]) -> Background {
    let run = echo(host, &["--duration", "1h", "--interval", "10ms", "--verbose", "--json"]).args(args).spawn();
    while !run.stderr.recv().unwrap().contains("round trips/s") {}
    run
}

fn ended(mut run: Background) -> (Option<i32>, Value) {
    let code = run.wait().code();
    (code, serde_json::from_str(&run.wait_for("{")).unwrap())
}

#[test]
fn what_was_measured_is_told_on_ctrl_c_and_when_the_server_dies() {
    for args in [&["--connections", "3"][..], &["--rate", "500", "--connections", "2"], &["--size", "5MiB"]] {
        let server = Server::start();
        let run = running(server.address(), args);
        run.signal(Signal::INT);
        let (code, report) = ended(run);
        assert_eq!((code, &report["exit_code"]), (Some(130), &130.into()), "{report}");
        assert!(report["count"].as_u64().unwrap() > 0 && report["error"].is_null(), "{report}");

        let run = running(server.address(), args);
        drop(server);
        let (code, report) = ended(run);
        assert_eq!((code, &report["exit_code"]), (Some(4), &4.into()), "{report}");
        assert!(report["count"].as_u64().unwrap() > 0 && report["error"].is_string(), "{report}");
    }
}

#[test]
fn a_message_that_is_due_in_an_hour_does_not_outlast_ctrl_c() {
    let server = Server::start();
    let run = running(server.address(), &["--rate", "0.0003"]);
    run.signal(Signal::INT);
    let (code, report) = ended(run);
    assert_eq!((code, &report["count"]), (Some(130), &1.into()), "{report}");
}

#[test]
fn a_peer_that_answers_something_else_is_found_out() {
    type Answer = fn(usize, &[u8]) -> Vec<u8>;
    let cases: [(Answer, &str, &str); 8] = [
        (
            |n, body| {
                let mut body = body.to_vec();
                body[99] ^= u8::from(n == 2);
                same(&body)
            },
            "100",
            "byte 100 of 100 is not what was sent",
        ),
        (|_, body| same(&body[1..]), "100", "99 bytes come back where 100 were sent"),
        (|_, body| same(&[body, b"x"].concat()), "100", "101 bytes come back where 100 were sent"),
        (|_, _| same(b"x"), "0", "1 bytes come back where 0 were sent"),
        // The first answer again and again: late by one message, two, three.
        (|_, body| same(&vec![0; body.len()]), "1", "byte 1 of 1 is not what was sent"),
        (|_, body| [same(body), same(body)].concat(), "100", "byte 1 of 100 is not what was sent"),
        (|_, _| request(r#""type":"pwd""#, &[]), "100", "pwd came where echo was expected"),
        (|_, _| b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "100", "does not speak frames"),
    ];
    for (answer, size, why) in cases {
        let (host, serving) = answering(1, answer);
        let report = report(&host, &["--size", size, "--count", "5"], 4);
        assert!(report["error"].as_str().unwrap().contains(why), "{why}: {report}");
        assert!(report["count"].as_u64().unwrap() < 5, "{report}");
        drop(serving.join().unwrap());
    }
    // A refusal is the other side's word, in its own code.
    let refusal = |_: usize, _: &[u8]| request(r#""type":"error","code":"not-allowed","message":"no""#, &[]);
    let (host, serving) = answering(1, refusal);
    assert_eq!(report(&host, &[], 1)["error"], "no");
    drop(serving.join().unwrap());
}

#[test]
fn an_answer_too_many_at_the_end_is_noticed() {
    let (host, serving) = answering(1, |_, body| [same(body), same(body)].concat());
    let report = report(&host, &["--count", "1"], 4);
    assert!(report["error"].as_str().unwrap().contains("more comes back than was sent"), "{report}");
    assert_eq!(report["count"], 1);
    drop(serving.join().unwrap());
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for_without_end() {
    let silent = |n: usize, body: &[u8]| if n < 3 { same(body) } else { Vec::new() };
    let (host, serving) = answering(2, silent);
    let report = report(&host, &["--timeout", "200ms", "--connections", "2", "--count", "100"], 4);
    assert!(report["error"].as_str().unwrap().contains("no echo came within 200ms"), "{report}");
    assert!((1..=6).contains(&report["count"].as_u64().unwrap()), "{report}");
    drop(serving.join().unwrap());
}

#[test]
fn intervals_become_the_lines_of_a_new_file() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("times.csv");
    let csv = ["--csv", file.to_str().unwrap()];
    let args = ["--duration", "300ms", "--interval", "50ms", "--rate", "1000", "--connections", "2"];
    let report = report(server.address(), &[&csv[..], &args].concat(), 0);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert!(lines.len() >= 3 && lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
    assert_eq!(lines[0][..3], ["from_s", "until_s", "round_trips"]);
    assert!(lines[0].contains(&"p99_9_ms") && lines[0].contains(&"uncorrected_p99_9_ms"), "{text}");
    let rows = &lines[1..];
    assert!(rows.windows(2).all(|pair| pair[0][1] == pair[1][0]), "each begins where the last one has ended: {text}");
    let count: u64 = rows.iter().map(|row| row[2].parse::<u64>().unwrap()).sum();
    assert_eq!(report["count"], count, "{text}");
    // What was measured cannot be had again.
    echo(server.address(), &csv).code(2).stderr("exists; name another file").prints("");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    // Standard output is not a file that is replaced: the lines come before the results.
    let printed = echo(server.address(), &["--csv", "/dev/stdout", "--count", "3"]).output();
    assert!(printed.text().starts_with("from_s,") && printed.text().contains("\n3 round trips"), "{}", printed.text());
    echo(server.address(), &["--csv", "/no/such/file"]).code(1).stderr("/no/such/file: ").prints("");
}

#[test]
fn the_distribution_is_drawn_at_a_terminal_and_in_a_pipe_on_request() {
    let server = Server::start();
    let run = |args: &[&str]| echo(server.address(), &["--count", "50"]).args(args);
    assert!(!run(&[]).output().text().contains('█'));
    assert!(!run(&["--json", "--histogram", "always"]).output().text().contains('█'));
    let drawn = run(&["--histogram", "always"]).output();
    let counts = drawn.text().lines().filter(|line| line.contains(" % ")).map(|line| {
        let count = line.split(" - ").nth(1).unwrap().split_whitespace().nth(2).unwrap();
        count.parse::<u64>().unwrap()
    });
    assert_eq!(counts.sum::<u64>(), 50, "{}", drawn.text());
    let mut terminal = run(&[]).at_a_terminal();
    assert!(terminal.exp_eof().unwrap().contains(" %  "));
    let mut terminal = run(&[]).env("LANDLINE_ECHO_HISTOGRAM", "never").at_a_terminal();
    assert!(!terminal.exp_eof().unwrap().contains(" %  "));
}

#[test]
fn lasting_settings_come_from_the_environment() {
    let server = Server::start();
    let run = echo(server.address(), &["--json", "--count", "8"]);
    let run = run.env("LANDLINE_ECHO_SIZE", "9").env("LANDLINE_ECHO_CONNECTIONS", "4").env("LANDLINE_ECHO_RATE", "500");
    let report = run.output().json();
    assert_eq!((&report["size"], &report["connections"], &report["rate"]), (&9.into(), &4.into(), &500.0.into()));
    let run = echo(server.address(), &[]).env("LANDLINE_ECHO_RATE", "0");
    run.code(2).stderr("more than 0").prints("");
}

#[test]
fn what_is_agreed_to_once_holds_for_all_connections() {
    let there = tempfile::tempdir().unwrap();
    let server = Server::at_home(&["--guest", "echo"], &there.path().join("home"));
    let mut terminal = echo(server.address(), &["--connections", "5", "--count", "5"]).at_a_terminal();
    terminal.exp_string("fingerprint] ").unwrap();
    terminal.send_line("once").unwrap();
    let rest = terminal.exp_eof().unwrap();
    assert!(rest.contains("5 round trips of 64 bytes on 5 connections") && !rest.contains("fingerprint]"), "{rest}");
    // In a script nobody is asked, and nothing is measured.
    echo(server.address(), &["--connections", "5"]).code(5).any_stderr().prints("");
}
