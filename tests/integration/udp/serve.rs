//! The server.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::{Program, raw, receive, run};
use crate::harness::DEADLINE;
use crate::harness::skip::skip;

/// Two servers, the first of which gets a datagram that seems to come from the second: sent from the second's port
/// before it was there, and read by the first only when it is.
fn answering_each_other(first: &[&str], second: &[&str]) {
    let (mut one, ready) = Program::serve(1, &[&["--bind=127.0.0.1:0"], first].concat());
    one.signal(Signal::STOP);
    let pid = Pid::from_child(&one.child);
    assert!(waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap().1.stopped());
    let (forger, address) = raw();
    forger.send_to(b"go round", &ready[0]).unwrap();
    drop(forger);
    let (other, _) = Program::serve(1, &[&["--bind", &address], second].concat());
    one.signal(Signal::CONT);

    let line = one.stderr_line();
    let want = format!("udp-echo: {address}: not answered: it sent our own replies back 100 times within 1s");
    assert!(line.starts_with(&want), "{first:?} {second:?}: {line}");
    // A client that measures meanwhile is not concerned.
    let measured = run(&["ping", &ready[0], "--count=500", "--interval=0", "-q"]);
    assert_eq!(measured.code, Some(0), "{}", measured.stderr);
    assert!(String::from_utf8(measured.stdout).unwrap().contains(" 0 lost"));

    for server in [&one, &other] {
        server.signal(Signal::TERM);
    }
    let (one, other) = (one.end(), other.end());
    let said = format!("{} {}", one.stderr, other.stderr);
    // The last is the client's question for the counts.
    assert!(said.contains("datagrams: 101 received") || said.contains("datagrams: 602 received"), "{said}");
}

#[test]
fn two_servers_that_answer_each_other_fall_silent() {
    answering_each_other(&[], &[]);
    answering_each_other(&["--reply=upper"], &["--reply=upper", "--encoding=gbk"]);
    answering_each_other(&["--reply=upper"], &[]);
}

#[test]
fn nothing_is_answered_that_is_longer_than_what_came() {
    let (_server, ready) = Program::serve(1, &["--bind=127.0.0.1:0", "--reply=upper", "--encoding=iso-2022-jp"]);
    let (client, _) = raw();
    // Cut within its shift state, which nothing closes; and of its letters' bytes none is one.
    client.send_to(b"\x1b$B$b", &ready[0]).unwrap();
    assert_eq!(receive(&client).0, b"\x1b$B$b");
    client.send_to(b"abc", &ready[0]).unwrap();
    assert_eq!(receive(&client).0, b"ABC");
}

#[test]
fn every_datagram_is_echoed_empty_and_long_ones_too() {
    let (server, ready) = Program::serve(1, &["--bind", "127.0.0.1:0"]);
    let (client, _) = raw();
    client.connect(&ready[0]).unwrap();
    let long = vec![b'x'; 65_507];
    for text in [b"hello".as_slice(), b"", b"\xff\0\xca\xd5", &long] {
        client.send(text).unwrap();
        let mut buffer = vec![0; 65_536];
        let len = client.recv(&mut buffer).unwrap();
        assert!(&buffer[..len] == text, "{} bytes became {len}", text.len());
    }
    server.signal(Signal::TERM);
    let ended = server.end();
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stderr, "udp-echo: datagrams: 4 received (65516 bytes), 4 answered\n");
}

#[test]
fn a_wildcard_answers_from_the_address_that_was_asked() {
    let mut server = Program::start(&["serve", "--bind", "0.0.0.0:0", "--ready-fd", "2"]);
    let first = server.stdout_line();
    let port: u16 = first.rsplit(':').next().unwrap().parse().unwrap();
    // The same lines stand on the descriptor that was named; with the last one all sockets are there.
    assert_eq!(server.stderr_line(), first);
    // Connected sockets hear only the address they asked. 127.0.0.1 is there in any case.
    for to in [SocketAddr::from(([127, 0, 0, 1], port)), first.rsplit(' ').next().unwrap().parse().unwrap()] {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.connect(to).unwrap();
        client.send(b"who?").unwrap();
        assert_eq!(receive(&client), (b"who?".to_vec(), to));
    }
}

/// Members of a group answer from an address of their own, so that a reply never goes to the group.
#[test]
fn a_group_is_joined_on_an_interface_and_answered_by_unicast() {
    let arguments = ["--bind=127.0.0.1:0", "--join=239.255.77.1%lo", "--port=0"];
    let (_server, ready) = Program::serve(2, &arguments);
    assert!(ready[1].starts_with("239.255.77.1:"), "{ready:?}");
    let (client, _) = raw();
    let lo = std::net::Ipv4Addr::LOCALHOST;
    rustix::net::sockopt::set_ip_multicast_if(&client, &lo).unwrap();
    client.send_to(b"who is there?", &ready[1]).unwrap();
    let (reply, from) = receive(&client);
    assert_eq!((reply.as_slice(), from.ip()), (b"who is there?".as_slice(), lo.into()));

    let ended = run(&["ping", &ready[1], "--interface=lo", "--count=3", "--interval=0", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((&report["received"], &report["up"]), (&3.into(), &().into()), "{report} {}", ended.stderr);
}

/// In a network namespace of its own, since loopback carries no groups of IPv6.
#[test]
fn a_group_of_ipv6_is_answered_from_a_machines_own_address() {
    let script = r#"
        ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up &&
            ip addr add fd00::1/64 dev v0 nodad || exit 77
        "$1" serve --bind 127.0.0.1:7000 --join '[ff15::7701%v0]:7000' >ready 2>&1 &
        server=$!
        trap 'kill $server' EXIT
        until grep -q 'ready on .ff15::7701' ready; do sleep 0.1; done
        "$1" ping '[ff15::7701]:7000' --interface v0 --count 2 --interval 0 --timeout 20s"#;
    let Some((output, log)) = in_a_network_of_its_own(script) else { return };
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown} {log}");
    assert!(shown.starts_with("64 bytes from [fd00::1]:7000: seq=1 time="), "{shown}");
    assert!(shown.contains("2 sent, 2 received"), "{shown}");
}

#[test]
fn a_group_that_cannot_be_joined_is_said() {
    let ended = run(&["serve", "--join=239.1.2.3%no-such-one"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("this machine has no interface"), "{}", ended.stderr);
    assert_eq!(run(&["serve", "--join=192.0.2.1"]).code, Some(2));
}

#[test]
fn an_answer_is_not_answered() {
    let (mut server, ready) = Program::serve(1, &["--bind=127.0.0.1:0"]);
    let (client, own) = raw();
    client.send_to(b"PING 0BADCAFE 000000000001 000000000000000000000000000000000000 12", &ready[0]).unwrap();
    let (answer, _) = receive(&client);
    assert!(answer.ends_with(b"00000001000000010000000000000001 12"), "{answer:?}");
    client.send_to(&answer, &ready[0]).unwrap();
    assert_eq!(
        server.stderr_line(),
        format!("udp-echo: {own}: not answered: it is a server's answer to a probe itself")
    );
}

/// In a network namespace of its own, where an address may be added.
#[test]
fn an_address_that_comes_later_is_served_too() {
    let script = r#"
        ip link set lo up && ip addr add 10.9.8.7/32 dev lo || exit 77
        "$1" serve --bind 0.0.0.0:7000 >ready 2>&1 &
        server=$!
        trap 'kill $server' EXIT
        until grep -q 'ready on 10.9.8.7:7000' ready; do sleep 0.1; done
        ip addr add 10.9.8.8/32 dev lo
        until grep -q 'ready on 10.9.8.8:7000' ready; do sleep 0.1; done
        "$1" send --timeout 20s 10.9.8.8:7000 hello"#;
    let Some((output, log)) = in_a_network_of_its_own(script) else { return };
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), &*shown), (Some(0), "hello\n"), "{log}");
}

/// Runs a shell script in a network namespace of its own, with the program as its argument: its output, and what else was
/// said; `None`, said aloud: there can be no such namespace here.
fn in_a_network_of_its_own(script: &str) -> Option<(Output, String)> {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["120", "unshare", "--user", "--map-root-user", "--net", "sh", "-c", script, "sh"];
    let mut command = Command::new("timeout");
    command.args(arguments).arg(env!("CARGO_BIN_EXE_udp-echo")).current_dir(dir.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || said.contains("unshare") {
        skip(&format!("no network namespace can be made here: {said}"));
        return None;
    }
    let log = std::fs::read_to_string(dir.path().join("ready")).unwrap_or_default();
    let log = format!("{said} {log}");
    Some((output, log))
}

#[test]
fn the_fourth_tutorials_client_gets_its_gbk_back_in_capitals() {
    let (server, ready) = Program::serve(1, &["--bind=127.0.0.1:0", "--reply=upper", "--encoding=gbk", "--count=3"]);
    let (client, _) = raw();
    // The last is 丄 (0x81 0x41 in GBK) after a character whose second byte is a small letter's.
    for (text, want) in [
        (b"abc \xca\xd5\xb5\xbd".as_slice(), b"ABC \xca\xd5\xb5\xbd".as_slice()),
        (b"", b""),
        (b"\x81\x61b\x81\x41", b"\x81\x61B\x81\x41"),
    ] {
        client.send_to(text, &ready[0]).unwrap();
        let (reply, from) = receive(&client);
        assert_eq!((reply.as_slice(), from.to_string()), (want, ready[0].clone()));
    }
    assert_eq!(server.end().code, Some(0), "it ends by itself after three");
}

#[test]
fn print_shows_the_sender_and_the_text_and_answers_nothing() {
    let arguments = ["--bind=127.0.0.1:0", "--reply=print", "--encoding=gbk", "--count=3", "-q"];
    let (server, ready) = Program::serve(1, &arguments);
    let (client, own) = raw();
    for text in [b"\xca\xd5\xb5\xbd".as_slice(), b"", b"hahahahah"] {
        client.send_to(text, &ready[0]).unwrap();
    }
    let ended = server.end();
    let want = format!("{own} 收到\n{own} \n{own} hahahahah\n");
    assert_eq!((ended.code, ended.stdout, ended.stderr.as_str()), (Some(0), want.into_bytes(), ""));
    client.set_nonblocking(true).unwrap();
    assert!(client.recv(&mut [0; 10]).is_err());
}

#[test]
fn both_loopback_addresses_are_served_at_one_port() {
    let (_server, ready) = Program::serve(1, &["-p", "0"]);
    let port = ready[0].rsplit(':').next().unwrap();
    let ended = run(&["send", "-p", port, "localhost", "hello"]);
    assert_eq!((ended.code, ended.stdout.as_slice()), (Some(0), b"hello\n".as_slice()), "{}", ended.stderr);
}

#[test]
fn a_unix_socket_is_served_and_its_file_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("echo.sock");
    let address = format!("unix:{}", path.display());
    let (mut server, ready) = Program::serve(1, &["--bind", &address, "--reply", "upper"]);
    assert_eq!(ready, [address.as_str()]);

    UnixDatagram::unbound().unwrap().send_to(b"nobody", &path).unwrap();
    assert!(server.stderr_line().contains("a Unix client has to bind a path"), "it is said, and goes on");

    let ended = run(&["send", &address, "hello", ""]);
    assert_eq!((ended.code, ended.stdout.as_slice()), (Some(0), b"HELLO\n\n".as_slice()), "{}", ended.stderr);
    let ended = run(&["ping", &address, "--count=3", "--interval=0", "-q"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let second = run(&["serve", "--bind", &address]);
    assert_eq!(second.code, Some(1));
    assert_eq!(second.stderr, format!("udp-echo: {address}: another program is receiving there already\n"));

    server.signal(Signal::INT);
    let ended = server.end();
    assert_eq!((ended.code, path.exists()), (Some(0), false), "{}", ended.stderr);
    assert_eq!(run(&["send", &address, "hello"]).code, Some(3));
}

#[test]
fn a_file_that_is_no_socket_stays_and_a_dead_socket_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("echo.sock");
    let address = format!("unix:{}", path.display());
    std::fs::write(&path, "precious").unwrap();
    let ended = run(&["serve", "--bind", &address]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.ends_with("there is a file that is no socket\n"), "{}", ended.stderr);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");

    std::fs::remove_file(&path).unwrap();
    drop(UnixDatagram::bind(&path).unwrap());
    let (_server, ready) = Program::serve(1, &["--bind", &address]);
    assert_eq!(ready, [address]);
}

#[test]
fn a_client_that_has_gone_ends_nothing() {
    let (_server, ready) = Program::serve(1, &["--bind", "127.0.0.1:0"]);
    for _ in 0..20 {
        // The answer finds no socket: the refusal comes back to the server.
        raw().0.send_to(b"and away", &ready[0]).unwrap();
    }
    let (client, _) = raw();
    client.send_to(b"still there?", &ready[0]).unwrap();
    assert_eq!(receive(&client).0, b"still there?");
}

#[test]
fn what_cannot_be_had_is_said_in_a_sentence() {
    let (taken, address) = raw();
    let ended = run(&["serve", "--bind", &address]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr, format!("udp-echo: {address}: another program is receiving there already\n"));
    drop(taken);
    for wrong in [["serve", "--encoding", "klingon"], ["serve", "--count", "0"], ["serve", "--bind", "a/b"]] {
        assert_eq!(run(&wrong).code, Some(2), "{wrong:?}");
    }
}
