//! What the tutorials' servers do not manage: no client waits for another, and an end, however abrupt,
//! is one client's own.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Conn;
use crate::harness::Server;

#[test]
fn a_reset_drops_one_client_and_no_other() {
    let server = Server::with(&["--wire", "raw"]);
    let mut other = Conn::to(&server);
    assert_eq!(other.ask("here"), "here");
    let mut abrupt = Conn::to(&server);
    assert_eq!(abrupt.ask("soon gone"), "soon gone");
    abrupt.send("unheard");
    abrupt.reset();
    Conn::to(&server).reset();
    server.wait_for_log("disconnected");
    assert_eq!(other.ask("still here"), "still here");
    assert_eq!(Conn::to(&server).ask("and new"), "and new");
}

#[test]
fn no_client_waits_for_another() {
    let server = Server::with(&["--guest", "exec", "--wire", "raw", "--reply", "exec"]);
    let _says_nothing = Conn::to(&server);
    let mut waits = Conn::to(&server);
    // Ends only when the one behind it has been served.
    waits.send("while [ ! -e go ]; do sleep 0.02; done; echo went");
    let mut behind = Conn::to(&server);
    assert_eq!(behind.ask("touch go; echo first"), "first\n");
    assert_eq!(waits.recv(), b"went\n");
}

#[test]
fn a_client_that_leaves_takes_its_command_along() {
    let server = Server::with(&["--guest", "exec", "--wire", "raw", "--reply", "exec"]);
    let mut conn = Conn::to(&server);
    conn.send("touch began; sleep 1000");
    crate::harness::wait_until("the command has begun", || server.root().join("began").exists());
    conn.reset();
    let reset = Instant::now();
    let log = server.wait_for_log("disconnected");
    assert!(log.contains("tutorial-exec"), "{log}");
    // A client that has only shut down its sending half is worth ten seconds; this one is gone.
    assert!(reset.elapsed() < Duration::from_secs(9), "{:?}", reset.elapsed());
}

#[test]
fn who_shuts_down_sending_still_gets_the_answer() {
    let server = Server::with(&["--guest", "exec", "--wire", "raw", "--reply", "exec"]);
    let mut conn = Conn::to(&server);
    conn.send("sleep 0.1; echo done");
    conn.half_close();
    assert_eq!(conn.recv(), b"done\n");
    assert_eq!(conn.recv(), b"");
}

#[test]
fn a_client_of_ack_that_never_says_its_word_is_given_up() {
    let server = Server::with(&["--guest", "exec", "--wire", "ack", "--reply", "exec", "--idle-timeout", "300ms"]);
    let mut conn = Conn::to(&server);
    assert_eq!(conn.ask("echo hi"), "3");
    assert!(conn.is_hung_up_on());
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let server = Server::with(&["--guest", "exec", "--wire", "raw", "--reply", "exec", "--idle-timeout", "300ms"]);
    let mut conn = Conn::to(&server);
    assert_eq!(conn.ask("sleep 0.6; echo slow"), "slow\n");
    assert!(conn.is_hung_up_on());
}

#[test]
fn a_stop_waits_for_the_request_under_way() {
    let mut server = Server::with(&["--guest", "exec", "--wire", "raw", "--reply", "exec"]);
    let mut conn = Conn::to(&server);
    conn.send("touch began; while [ ! -e go ]; do sleep 0.02; done; echo went");
    crate::harness::wait_until("the command has begun", || server.root().join("began").exists());
    server.signal(Signal::TERM);
    server.wait_for_log("stopping");
    server.write("go", "");
    assert_eq!(conn.recv(), b"went\n");
    assert_eq!(conn.recv(), b"");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("cut"), "the line ends with its request, not with the grace: {log}");
}
