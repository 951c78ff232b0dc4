//! Signals: those that end a call whatever the other side does, and those that a program was started with ignored.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Run, Server, own_home, program, wait_until};

/// A command that cares for nothing but KILL.
// It ends with the directory in which it runs, should the server be killed first.
const STUBBORN: &str = "trap '' INT TERM HUP QUIT; echo ready; while [ -d \"$PWD\" ]; do sleep 0.1; done";

#[test]
fn term_and_hup_end_the_call_whatever_the_command_does() {
    let server = Server::start();
    for (signal, code, named) in [(Signal::TERM, 143, "TERM"), (Signal::HUP, 129, "HUP")] {
        let mut call = Run::new("rexec").args(["--kill-after", "100ms", server.address(), STUBBORN]).spawn();
        call.wait_for("ready");
        call.signal(signal);
        assert_eq!(call.wait().code(), Some(code));
        let said = call.stderr.recv_timeout(crate::harness::DEADLINE).unwrap();
        assert_eq!(said, format!("rexec: ended by signal {named}; the server ends the command"));
    }
    // One that listens has its time, and its outcome comes back.
    let polite = "trap 'sleep 0.3; echo bye; exit 6' TERM; echo ready; while :; do sleep 0.05; done";
    let mut call = Run::new("rexec").args(["--kill-after", "30s", server.address(), polite]).spawn();
    call.wait_for("ready");
    call.signal(Signal::TERM);
    call.wait_for("bye");
    assert_eq!(call.wait().code(), Some(6));
}

#[test]
fn the_second_one_ends_the_call_at_once() {
    let server = Server::start();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131)] {
        let mut call = Run::new("rexec").args(["--kill-after", "1h", server.address(), STUBBORN]).spawn();
        call.wait_for("ready");
        wait_until("it has ended", || {
            call.signal(signal);
            call.child_has_exited()
        });
        // One that comes when the call is over ends the program as it ends any.
        let status = call.wait();
        let ended_by = std::os::unix::process::ExitStatusExt::signal(&status).map(|number| 128 + number);
        assert_eq!(status.code().or(ended_by), Some(code), "{signal:?}");
    }
}

#[test]
fn a_frozen_server_holds_no_client() {
    let server = Server::start();
    let start = |args: &[&str]| {
        let call =
            Run::new("rexec").args(args.iter().copied()).args([server.address(), "echo ready; sleep 1000"]).spawn();
        call.wait_for("ready");
        call
    };
    let mut ended = start(&["--kill-after", "100ms"]);
    let job = Run::new("rexec").args(["--detach", server.address(), "echo ready; sleep 1000"]).output();
    let mut attached =
        Run::new("rexec").args(["--kill-after", "100ms", "--attach", job.text().trim(), server.address()]).spawn();
    attached.wait_for("ready");
    let mut limited = start(&["--timeout", "2s", "--kill-after", "100ms"]);
    server.signal(Signal::STOP);
    ended.signal(Signal::TERM);
    assert_eq!(ended.wait().code(), Some(143));
    attached.signal(Signal::TERM);
    assert_eq!(attached.wait().code(), Some(143));
    // The clock on this side: the server's fate is not known, nor the command's.
    let began = Instant::now();
    let code = limited.wait().code();
    server.signal(Signal::CONT);
    if began.elapsed() > Duration::from_secs(5) {
        assert_eq!(code, Some(254));
        let said = limited.stderr.recv_timeout(crate::harness::DEADLINE).unwrap();
        assert!(said.contains("the server is silent"), "{said}");
    } else {
        assert_eq!(code, Some(124), "it was over before the server was stopped");
    }
}

/// `env` of GNU starts a program with signals ignored, as a script's `&`, nohup(1) and careless parents do.
fn server_with_ignored(signals: &str) -> (crate::harness::Background, String, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    let server = Run::of(Path::new("/usr/bin/env"))
        .args([&format!("--ignore-signal={signals}"), "--block-signal=TERM,HUP,USR2", program("tcp-server")])
        .args(["--bind", "127.0.0.1:0", "--root"])
        .args([root.path()])
        .env("LANDLINE_HOME", own_home())
        .spawn();
    let ready = server.stdout.recv_timeout(crate::harness::DEADLINE).unwrap();
    let address = ready.strip_prefix("tcp-server: ready on ").expect(&ready).to_owned();
    (server, address, root)
}

#[test]
fn what_a_server_was_started_with_ignored_is_not_ignored_in_its_commands() {
    let (mut server, address, _root) = server_with_ignored("CHLD,QUIT,INT,HUP,USR1,TSTP,ALRM,TERM,RTMIN");
    // The shell's own mask would not show what it can be sent: another program looks.
    let mask = |what: &str, args: &[&str]| {
        let run =
            Run::new("rexec").args(args.iter().copied()).args([&address, "--", "grep", what, "/proc/self/status"]);
        let text = run.stdin("").output().text().to_owned();
        // 32 and 33 are the C library's own, which it ignores in whatever it starts.
        u64::from_str_radix(text.split_whitespace().nth(1).unwrap(), 16).unwrap() & !0x1_8000_0000
    };
    for args in [&[][..], &["-t"], &["--merge"]] {
        assert_eq!(mask("SigIgn", args), 0, "{args:?}");
        assert_eq!(mask("SigBlk", args), 0, "{args:?}");
    }
    Run::new("rexec").args([&address, "exit 7"]).code(7).prints("");
    Run::new("rexec").args([&address, "kill -QUIT $$"]).code(131).any_stderr().output();
    let job = Run::new("rexec").args(["--detach", &address, "exit 9"]).output();
    Run::new("rexec").args(["--wait", job.text().trim(), &address]).code(9).prints("");
    // The terminal of a server that nohup(1) has started may go.
    server.signal(Signal::HUP);
    Run::new("rexec").args([&address, "exit 3"]).code(3).prints("");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_call_that_was_started_with_signals_ignored_goes_on_when_they_come() {
    let server = Server::start();
    let mut call = Run::of(Path::new("/usr/bin/env"))
        .args(["--ignore-signal=INT,HUP,QUIT", program("rexec"), server.address()])
        .args(["echo ready; while [ ! -e go ]; do sleep 0.05; done; exit 4"])
        .spawn();
    call.wait_for("ready");
    for signal in [Signal::INT, Signal::HUP, Signal::QUIT, Signal::INT, Signal::HUP] {
        call.signal(signal);
    }
    server.write("go", "");
    assert_eq!(call.wait().code(), Some(4));
}
