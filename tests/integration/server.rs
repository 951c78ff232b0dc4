//! The server as its operator meets it: caps, addresses, starts that fail in one sentence, stops that
//! drain, a log that can be parsed and not forged, and a process that has run out of descriptors.
#![expect(clippy::disallowed_types, reason = "a test puts sockets of its own in the way")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;

use crate::harness::frames::{HELLO, Raw, frame, put, request};
use crate::harness::process::is_running;
use crate::harness::{DEADLINE, Run, Server, own_home, program, wait, wait_until};

fn assert_turned_away_and_let_in_again(option: &str, why: &str) {
    let server = Server::with(&["--guest", "echo", option, "2"]);
    let mut inside = [Raw::open(&server), Raw::open(&server)];
    for _ in 0..20 {
        let mut third = Raw::connect(&server);
        third.send_what_goes(&[frame(HELLO, &[]), request(r#""type":"echo""#, &[1; 5000])].concat());
        let answers = third.rest();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0].code(), "busy");
        let message = answers[0].header["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
    }
    Run::new("tcp-client").args([&server.plain()]).stdin("echo x\n").code(1).stderr(why).prints("");
    inside.iter_mut().for_each(Raw::assert_echoes);
    let [first, mut second] = inside;
    drop(first);
    server.wait_for_log("closed by the client");
    // The place is free very soon after the connection was logged as ended.
    wait_until("somebody else is let in", || {
        let mut raw = Raw::connect(&server);
        raw.send_what_goes(&frame(HELLO, &[]));
        raw.answer().kind() == "hello"
    });
    second.assert_echoes();
    assert!(server.log().contains(why));
}

#[test]
fn who_is_one_too_many_is_told_so() {
    assert_turned_away_and_let_in_again("--max-connections", "the server has 2 connections");
    assert_turned_away_and_let_in_again("--max-per-address", "your address has 2 connections");
}

#[test]
fn several_addresses_are_served_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a socket");
    let unix = format!("unix:{}", path.display());
    let server =
        Server::with(&["--bind", "127.0.0.1:0", "--bind", "[::1]:0", "--bind", &unix, "--bind", "localhost:0"]);
    // A name may stand for several addresses; the others for one.
    let [v4, v6, socket, ..] = server.addresses() else { panic!("{:?}", server.addresses()) };
    assert!(v4.starts_with("127.0.0.1:") && v6.starts_with("[::1]:"), "{v4} {v6}");
    assert_eq!(socket, &unix);
    for address in server.addresses() {
        Run::new("tcp-client").args([address]).stdin("echo hello\n").prints("hello\n");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "a Unix socket is its user's own");
    let mut raw = Raw { stream: UnixStream::connect(&path).unwrap() };
    raw.stream.set_read_timeout(Some(DEADLINE)).unwrap();
    raw.send(&frame(HELLO, &[]));
    assert_eq!(raw.answer().kind(), "hello");
    raw.assert_echoes();
    let (status, _) = server.stop();
    assert_eq!(status.code(), Some(0));
    assert!(!path.exists(), "the socket's path is removed at the end");
}

#[test]
fn a_unix_path_is_taken_only_from_the_dead() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let unix = format!("unix:{}", path.display());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead socket is in the way");
    let server = Server::with(&["--bind", &unix]);
    Run::new("tcp-client").args([&unix]).stdin("echo hello\n").prints("hello\n");
    let second = |why: &str| refused(&["--bind", &unix], 1, why);
    second("another program listens there already");
    assert_eq!(server.stop().0.code(), Some(0));
    std::fs::write(&path, "precious").unwrap();
    second("the path exists and is not a socket");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    second("the path exists and is not a socket");
    let missing = format!("unix:{}/no/such/dir", dir.path().display());
    refused(&["--bind", &missing], 1, "its directory does not exist");
    // Put there by another program while the server ran: not ours to remove.
    std::fs::remove_file(&path).unwrap();
    let server = Server::with(&["--bind", &unix]);
    std::fs::remove_file(&path).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(server.stop().0.code(), Some(0));
    assert!(path.exists(), "another program's socket is left alone");
}

/// A start that fails: one sentence with `why`, nothing on standard output.
fn refused(args: &[&str], code: i32, why: &str) {
    let output = Run::new("tcp-server").args(args).code(code).stderr(why).output();
    assert_eq!(output.text(), "", "{args:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{args:?}: {}", output.stderr);
    assert!(output.stderr.starts_with("tcp-server: "), "{}", output.stderr);
}

#[test]
fn a_start_that_fails_says_why_in_a_sentence() {
    let server = Server::start();
    refused(&["--bind", server.address()], 1, "another program has this port");
    refused(&["--bind", "192.0.2.1:0"], 1, "this machine does not have that address");
    refused(&["--bind", "no-such-host.invalid:0"], 1, "cannot listen on no-such-host.invalid:0");
    refused(&["--bind", "127.0.0.1:0", "--root", "/no/such/directory"], 1, "the root /no/such/directory: No such file");
    let file = server.write("file", "x");
    refused(&["--bind", "127.0.0.1:0", "--root", file.to_str().unwrap()], 1, "Not a directory");
    for guest in ["exec", "write", "all"] {
        for bind in ["0.0.0.0:0", "[::]:0"] {
            refused(&["--guest", guest, "--bind", bind], 2, "--insecure");
        }
    }
    refused(&["--wire", "json", "--reply", "exec", "--bind", "127.0.0.1:0"], 2, "--guest exec");
    // What clap refuses has its usage behind it.
    for (args, why) in [
        (&["--guest", "echo,sing"][..], "sing"),
        (&["--bind", "127.0.0.1:x"], "127.0.0.1:x"),
        (&["--idle-timeout", "soon"], "soon"),
        (&["--wire", "carrier-pigeon"], "carrier-pigeon"),
    ] {
        Run::new("tcp-server").args(args).code(2).stderr(why).prints("");
    }
}

#[test]
fn insecure_is_a_word_that_has_to_be_said() {
    let server = Server::with(&["--guest", "exec", "--insecure", "--exec-as-root", "--bind", "0.0.0.0:0"]);
    let log = server.wait_for_log("warning: ");
    assert!(log.contains("has exec here"), "{log}");
    let port = server.address().parse::<SocketAddr>().unwrap().port();
    Run::new("rexec").args([&format!("127.0.0.1:{port}"), "echo", "hello"]).prints("hello\n");
    // What cannot hurt needs no such word.
    let log = Server::with(&["--guest", "echo,chat,read", "--bind", "0.0.0.0:0"]).stop().1;
    assert!(!log.contains("warning"), "{log}");
}

#[test]
fn readiness_is_also_told_on_a_descriptor() {
    let (mut read, write) = std::io::pipe().unwrap();
    let root = tempfile::tempdir().unwrap();
    // The shell hands the pipe over as descriptor 3, and itself becomes the server.
    let mut child = Command::new("sh")
        .args(["-c", r#"exec "$0" --bind 127.0.0.1:0 --ready-fd 3 "$@" 3>&0 0</dev/null"#, program("tcp-server")])
        .arg("--root")
        .arg(root.path())
        .env("LANDLINE_HOME", own_home())
        .stdin(write)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(&mut read).read_line(&mut ready).unwrap();
    let mut printed = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut printed).unwrap();
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait(&mut child).code(), Some(0));
    assert!(ready.starts_with("tcp-server: ready on 127.0.0.1:"), "{ready:?}");
    assert_eq!(ready, printed);
    refused_after_ready(&["--ready-fd", "77"], "--ready-fd 77: no such open descriptor");
}

fn refused_after_ready(args: &[&str], why: &str) {
    let output = Run::new("tcp-server").args(["--bind", "127.0.0.1:0"]).args(args).code(1).stderr(why).output();
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

#[test]
fn a_stop_lets_an_upload_end_and_ends_idle_connections() {
    let mut server = Server::with(&["--guest", "all", "--grace", "1m"]);
    let mut idle = Raw::open(&server);
    let mut silent = Raw::connect(&server);
    let mut chatting = Raw::open(&server);
    let mut busy = Raw::open(&server);
    let upload = put("new", &vec![5; 300_000]);
    let (first, rest) = upload.split_at(150_000);
    busy.send(first);
    wait_until("the upload has begun", || !server.names(".").is_empty());
    server.signal(Signal::TERM);
    let last = idle.rest();
    assert_eq!(last.len(), 1, "{last:?}");
    assert_eq!(last[0].code(), "shutting-down");
    assert!(chatting.rest().iter().all(|answer| answer.code() == "shutting-down"));
    // Nothing was said by either: just an end.
    silent.rest();
    // No newcomer is let in while the server waits for the upload.
    assert!(TcpStream::connect(server.address()).is_err());
    busy.send(rest);
    assert_eq!(busy.answer().kind(), "ok");
    assert_eq!(busy.answer().code(), "shutting-down");
    assert!(busy.next().is_none());
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(server.read("new"), vec![5; 300_000]);
    assert_eq!(server.names("."), ["new"]);
    assert!(!log.contains("were cut"), "{log}");
}

#[test]
fn after_the_grace_a_command_is_cut_with_its_group() {
    let mut server = Server::with(&["--guest", "all", "--grace", "200ms"]);
    let mut raw = Raw::open(&server);
    let pid = raw.start("trap '' TERM; echo $$; sleep 1000; sleep 1000");
    let mut uploading = Raw::open(&server);
    uploading.send(&put("new", &vec![5; 300_000])[..150_000]);
    wait_until("the upload has begun", || !server.names(".").is_empty());
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("connections were cut in the middle of a request connections=2"), "{log}");
    wait_until("the command is gone", || !is_running(pid));
    assert_eq!(server.names("."), [""; 0], "half of an upload is gone");
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut server = Server::with(&["--guest", "all", "--grace", "1h"]);
    let mut raw = Raw::open(&server);
    let pid = raw.start("echo $$; exec sleep 1000");
    server.signal(Signal::TERM);
    server.wait_for_log("another signal ends them now");
    assert!(is_running(pid));
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("connections were cut in the middle of a request connections=1"), "{log}");
    wait_until("the command is gone", || !is_running(pid));
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let server = Server::with(&["--guest", "all", "--log-format", "json"]);
    server.write("file", "content");
    let mut raw = Raw::open(&server);
    for _ in 0..3 {
        raw.assert_echoes();
    }
    raw.send(&request(r#""type":"get","path":"file""#, &[]));
    while raw.answer().kind() != "end" {}
    raw.send(&request(r#""type":"get","path":"missing""#, &[]));
    assert_eq!(raw.answer().code(), "not-found");
    raw.send(&request(r#""type":"exec","form":"shell""#, b"exit 3"));
    while raw.answer().kind() != "end" {}
    raw.send(&request(r#""type":"end""#, &[]));
    drop(raw);
    server.wait_for_log("disconnected");
    let (_, log) = server.stop();
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| !line.starts_with("tcp-server: "))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let requests: Vec<&Value> = lines.iter().filter(|line| line["message"] == "request").collect();
    let verbs: Vec<&str> = requests.iter().map(|line| line["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["echo", "get", "get", "exec"], "one line a request, one for a run of echoes: {log}");
    for line in &requests {
        assert!(line["connection"].is_u64() && line["ms"].is_number(), "{line}");
        assert!(line["received"].as_u64().unwrap() > 0 && line["sent"].as_u64().unwrap() > 0, "{line}");
        assert!(line["peer"].as_str().unwrap().contains("127.0.0.1"), "{line}");
    }
    let outcome = |at: usize| requests[at]["outcome"].as_str().unwrap();
    assert!(outcome(0).contains("3 round trips"), "{log}");
    assert!(outcome(2).contains("refused (not-found)"), "{log}");
    assert!(outcome(3).contains("exit 3"), "{log}");
    for message in ["connected", "disconnected"] {
        let line = lines.iter().find(|line| line["message"] == message).expect(message);
        assert_eq!(line["connection"], 1);
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    }
}

#[test]
fn no_client_can_write_a_line_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}/s", dir.path().display());
    for format in ["text", "json"] {
        let server =
            Server::with(&["--guest", "all", "--log-format", format, "--bind", "127.0.0.1:0", "--bind", &unix]);
        let evil = r"x\n2026-01-01T00:00:00Z  INFO FORGED\r\u001b]0;FORGED\u0007\u001b[2K\u009b2J\u202e";
        let mut raw = Raw::open(&server);
        for bytes in [
            request(&format!(r#""type":"get","path":"{evil}""#), &[]),
            request(&format!(r#""type":"cd","path":"{evil}""#), &[]),
            request(&format!(r#""type":"mv","path":"{evil}","to":"{evil}""#), &[]),
            request(&format!(r#""type":"{evil}""#), &[]),
            [
                request(&format!(r#""type":"chat","room":"{evil}","nick":"{evil}""#), &[]),
                request(r#""type":"end""#, &[]),
            ]
            .concat(),
            put(evil, b"x"),
            request(&format!(r#""type":"mkdir","path":"{evil}.d""#), &[]),
            request(&format!(r#""type":"cd","path":"{evil}.d""#), &[]),
            request(r#""type":"exec","form":"shell""#, b"exit 0\n2026 INFO FORGED\x1b[2K"),
        ] {
            raw.send(&bytes);
            let kind = raw.answer().kind().to_owned();
            if kind == "outcome" {
                raw.send(&request(r#""type":"end""#, &[]));
            }
        }
        raw.send_what_goes(&frame(&format!(r#"{{"type":{{"{evil}":1}}}}"#), &[]));
        raw.rest();
        // A client of a Unix socket may have a name, and chooses it.
        let own = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        let name = dir.path().join(format!("{format}\n2026-01-01T00:00:00Z  INFO FORGED\x1b[2K"));
        own.bind(&socket2::SockAddr::unix(&name).unwrap()).unwrap();
        own.connect(&socket2::SockAddr::unix(dir.path().join("s")).unwrap()).unwrap();
        drop(own);
        wait_until("both have gone", || server.log().matches("disconnected").count() == 2);
        let (_, log) = server.stop();
        let own_line = |line: &str| match format {
            "json" => serde_json::from_str::<Value>(line).is_ok(),
            _ => line.get(..5).is_some_and(|year| year.starts_with("20") && year.ends_with('-')),
        };
        for line in log.lines() {
            assert!(line.starts_with("tcp-server: ") || own_line(line), "{format}: not the server's: {line:?}");
            assert!(!line.starts_with("2026-01-01"), "{format}: forged: {line:?}");
            assert!(!line.contains(|c: char| c.is_control()), "{format}: {line:?}");
        }
    }
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name in brackets: user and system time are the 12th and 13th (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_server_without_descriptors_says_so_and_recovers() {
    let server = Server::with(&[]);
    // Its own caps keep a server from running out. They are computed at the start: what it may open shrinks later.
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as u64;
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let few = Rlimit { current: Some(open + 5), ..getrlimit(Resource::Nofile) };
    let before = prlimit(pid, Resource::Nofile, few).unwrap();
    let mut crowd = Vec::new();
    loop {
        let mut raw = Raw::connect(&server);
        raw.send(&frame(HELLO, &[]));
        raw.stream.set_nonblocking(true).unwrap();
        let mut is_greeted = false;
        wait_until("it is greeted, or there is no descriptor for it", || {
            is_greeted = raw.stream.peek(&mut [0]).is_ok();
            is_greeted || server.log().contains("a connection could not be accepted")
        });
        crowd.push(raw);
        if !is_greeted {
            break;
        }
        assert!(crowd.len() < 20, "more connections than descriptors");
    }
    // The crowd stays for as long as it takes this process to work for a second.
    let (started, ticks) = (Instant::now(), cpu_ticks(server.pid()));
    while started.elapsed() < Duration::from_secs(1) {
        std::hint::spin_loop();
    }
    let spent = cpu_ticks(server.pid()) - ticks;
    assert!(spent < 50, "{spent} hundredths of a second of work for nothing");
    drop(crowd);
    prlimit(pid, Resource::Nofile, before).unwrap();
    wait_until("a client is served again", || {
        let mut raw = Raw::connect(&server);
        raw.send_what_goes(&frame(HELLO, &[]));
        raw.next().is_some_and(|answer| answer.kind() == "hello")
    });
    assert!(server.stop().0.success());
}

#[test]
fn a_root_that_goes_away_is_an_answer_not_an_end() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_owned();
    let server = Server::with_root(&["--guest", "all"], root);
    std::fs::remove_dir(&path).unwrap();
    let mut raw = Raw::open(&server);
    raw.send(&request(r#""type":"ls","path":"""#, &[]));
    assert_eq!(raw.answer().kind(), "end", "an empty directory that no longer has a name");
    raw.send(&request(r#""type":"mkdir","path":"a""#, &[]));
    assert_eq!(raw.answer().code(), "not-found");
    raw.send(&request(r#""type":"exec","form":"shell""#, b"echo ran"));
    let answers: Vec<_> = std::iter::from_fn(|| raw.next()).take_while(|answer| answer.kind() != "end").collect();
    assert!(!answers.is_empty());
    raw.send(&request(r#""type":"end""#, &[]));
    raw.assert_echoes();
    std::fs::create_dir(Path::new(&path)).unwrap();
}
