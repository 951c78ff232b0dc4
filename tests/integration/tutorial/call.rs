//! `tcp-client --wire` and `rexec --wire` against servers that behave as the tutorials' do.

use super::{Script, Seen, answering, script};
use crate::harness::{DEADLINE, Run, at_a_terminal, program, wait};

fn client(script: &Script, args: &[&str]) -> Run {
    Run::new("tcp-client").args(["--wire", "raw"]).args(args).args([&script.address])
}

fn rexec(script: &Script, wire: &str, command: &str) -> Run {
    Run::new("rexec").args(["--wire", wire, &script.address, command])
}

#[test]
fn each_line_is_one_request_and_the_end_is_clean() {
    let script = answering(|client, request| client.send([b"got ", request].concat()));
    client(&script, &[]).stdin("one\n\n你好\n").prints("got one\ngot 你好\n");
    script.saw(&["one", "你好"]);
}

#[test]
fn the_words_with_which_a_person_leaves_are_data_from_a_pipe() {
    let script = answering(|client, request| client.send([b"got ", request].concat()));
    let words = ["q", "quit", "exit", "last"];
    let (said, replies) = (words.join("\n") + "\n", "got q\ngot quit\ngot exit\ngot last\n");
    client(&script, &[]).stdin(&*said).prints(replies);
    script.saw(&words);
    Run::new("rexec").args(["--wire", "raw", &script.address]).stdin(&*said).prints("got qgot quitgot exitgot last");
    script.saw(&words);
}

#[test]
fn the_next_request_waits_for_the_whole_reply() {
    let script = answering(|client, request| {
        for byte in [request, b"."].concat() {
            client.send([byte]);
        }
    });
    client(&script, &[]).stdin("one\ntwo\n").prints("one.\ntwo.\n");
    script.saw(&["one", "two"]);
}

#[test]
fn a_server_that_only_prints_is_not_waited_for() {
    let script = answering(|_, _| {});
    client(&script, &["--no-reply"]).stdin("only this\n").prints("");
    script.saw(&["only this"]);
}

#[test]
fn no_reply_at_all_is_an_outcome_of_its_own() {
    let script = answering(|_, _| {});
    client(&script, &["--timeout", "100ms"]).stdin("hello\n").code(1).stderr("no reply within 100ms").prints("");
    script.saw(&["hello"]);
    // A late reply would be taken for the next one's, so a script ends there.
    let run = client(&script, &["--timeout", "100ms"]).stdin("slow\nnext\n");
    run.code(1).stderr("nothing that follows is sent").prints("");
    script.saw(&["slow"]);
    for wire in ["raw", "ack"] {
        let run = Run::new("rexec").args(["--wire", wire, "--timeout", "100ms", &script.address]).stdin("slow\nnext\n");
        run.code(251).stderr("nothing that follows is sent").prints("");
        script.saw(&["slow"]);
    }
    let run = Run::new("rexec").args(["--wire", "raw", "--timeout", "100ms", &script.address, "true"]);
    run.code(251).stderr("no reply within 100ms").prints("");
    script.saw(&["true"]);
}

#[test]
fn gbk_both_ways_and_the_last_word() {
    let script = script(|mut client| {
        while let Some(request) = client.request() {
            assert_eq!(request, b"\xc4\xe3\xba\xc3");
            client.send(b"\xca\xd5\xb5\xbd");
        }
        client.send(b"\xd4\xd9\xbc\xfb!");
    });
    client(&script, &["--encoding", "gbk", "--bye"]).stdin("你好\n").prints("收到\n再见!\n");
    assert!(matches!(script.next(), Seen::Request(_)));
    assert_eq!(script.next(), Seen::Closed);
}

#[test]
fn a_server_that_has_gone_is_left_at_once() {
    let script = script(|mut client| {
        client.request();
    });
    // A longer wait than any test's: it must not be waited out.
    let run = client(&script, &["--timeout", "1h"]).stdin("hello\nagain\n");
    run.code(4).stderr("closed the connection").prints("");
    for wire in ["raw", "len", "json", "ack"] {
        let run = Run::new("rexec").args(["--wire", wire, "--timeout", "1h", &script.address, "ls"]);
        run.code(254).stderr("closed the connection").prints("");
    }
}

#[test]
fn an_abrupt_end_is_a_lost_connection() {
    let script = script(|mut client| {
        client.request();
        client.conn.reset();
    });
    client(&script, &[]).stdin("hello\n").code(4).stderr("lost").prints("");
    rexec(&script, "len", "ls").code(254).stderr("lost").prints("");
}

#[test]
fn a_refused_connection_is_a_sentence_and_a_code() {
    // Bound and not listening: the port is ours, and no other's by accident.
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    held.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let address = held.local_addr().unwrap().as_socket().unwrap().to_string();
    let run = Run::new("tcp-client").args(["--wire", "raw", &address]).stdin("x\n");
    run.code(3).stderr("connection refused").prints("");
    Run::new("rexec").args(["--wire", "len", &address, "ls"]).code(253).stderr("connection refused").prints("");
    let here = tempfile::tempdir().unwrap();
    let run = Run::new("fget").args(["--wire", "close", &format!("tcp://{address}/x")]).current_dir(here.path());
    run.code(3).stderr("connection refused").prints("");
}

#[test]
fn a_request_that_they_could_not_read_at_once_is_not_sent() {
    let script = answering(|client, request| client.send(request.len().to_string()));
    client(&script, &[]).stdin(format!("{}\n", "a".repeat(1024))).prints("1024\n");
    let too_long = format!("{}\n", "长".repeat(342));
    client(&script, &[]).stdin(too_long).code(1).stderr("limit of 1024 bytes").prints("");
    assert!(matches!(script.next(), Seen::Request(_)));
    assert_eq!(script.next(), Seen::Closed);
    assert_eq!(script.next(), Seen::Closed, "the second client sent nothing");
}

#[test]
fn len_is_read_exactly_however_it_comes() {
    let script = answering(|client, _| {
        let reply = "收到".repeat(1000);
        client.send([0x70]);
        client.send([0x17, 0, 0]);
        reply.as_bytes().chunks(999).for_each(|piece| client.send(piece));
    });
    let run = Run::new("rexec").args(["--wire", "len", &script.address]);
    run.stdin("one\ntwo\n").prints(&"收到".repeat(2000));
    script.saw(&["one", "two"]);
}

#[test]
fn json_takes_either_key_and_keys_that_it_does_not_know() {
    for header in [
        r#"{"data_size": 5}"#,
        r#"{"total_size": 5}"#,
        r#"{"filename": "a.txt", "md5": "xxx", "total_size": 5}"#,
        r#"{"new": [1, {}], "data_size": 5}"#,
    ] {
        let script = answering(move |client, _| {
            client.send(i32::try_from(header.len()).unwrap().to_le_bytes());
            client.send(header);
            client.send("out");
            client.send("\n!");
        });
        rexec(&script, "json", "ls").prints("out\n!");
        script.saw(&["ls"]);
    }
}

#[test]
fn ack_says_its_word_between_size_and_output() {
    let script = answering(|client, _| {
        client.send("7");
        assert_eq!(client.request().unwrap(), b"ok");
        client.send("收到");
        client.send("\n");
    });
    let run = Run::new("rexec").args(["--wire", "ack", &script.address]);
    run.stdin("ls\npwd\n").prints("收到\n收到\n");
    script.saw(&["ls", "ok", "pwd", "ok"]);
}

#[test]
fn a_reply_that_ends_too_early_or_makes_no_sense_is_a_lost_connection() {
    let cases: [(&str, &[u8], &str); 6] = [
        ("len", b"\x05\0\0\0par", "2 bytes short"),
        ("len", b"\xff\xff\xff\xffx", "-1"),
        ("json", b"\x02\0\0\0{}", "neither total_size nor data_size"),
        ("json", b"\x02\0\0\0??", "header"),
        ("json", b"\0\0\0\0", "header length 0"),
        ("ack", b"seven", "seven"),
    ];
    for (wire, reply, why) in cases {
        let script = script(move |mut client| {
            client.request();
            client.send(reply);
        });
        rexec(&script, wire, "ls").code(254).stderr(why).output();
    }
}

#[test]
fn a_reply_that_is_not_read_on_is_still_taken_off_the_connection() {
    const LEN: i32 = 3_000_000;
    let script = answering(|client, _| {
        client.send(LEN.to_le_bytes());
        client.send(vec![b'x'; LEN.unsigned_abs() as usize]);
    });
    let mut pipe = std::process::Command::new("sh");
    pipe.args(["-c", r#""$0" --wire len "$1" ls | head -c 1 >/dev/null"#, program("rexec"), &script.address]);
    assert!(wait(&mut pipe.spawn().unwrap()).success());
    script.saw(&["ls"]);
}

#[test]
fn the_end_of_a_raw_reply_is_silence() {
    let script = answering(|client, _| {
        client.send("half");
        // The other half comes when the client has stopped to wait for it.
        client.request();
        client.send(" more");
    });
    let run = client(&script, &["--idle", "50ms"]).stdin("one\ntwo\n");
    run.any_stderr().prints("half\n more\n");
    assert_eq!(script.next(), Seen::Request("one".into()));
    assert_eq!(script.next(), Seen::Request("two".into()));
    assert_eq!(script.next(), Seen::Closed);
}

#[test]
fn what_is_missing_of_a_reply_is_not_the_next_ones() {
    let (sender, more) = std::sync::mpsc::channel::<()>();
    let (told, is_sent) = std::sync::mpsc::channel();
    let script = answering(move |client, request| {
        if request == b"one" {
            client.send("half");
            more.recv().unwrap();
            client.send(" more");
            told.send(()).unwrap();
        } else {
            client.send("another");
        }
    });
    let mut run = client(&script, &["--idle", "50ms"]).spawn();
    run.say("one");
    run.wait_for("half");
    sender.send(()).unwrap();
    is_sent.recv_timeout(DEADLINE).unwrap();
    run.say("two");
    assert_eq!(run.wait_for("more"), " more");
    assert_eq!(run.wait_for("another"), "another");
    assert!(run.stderr.recv_timeout(DEADLINE).unwrap().contains("5 bytes more of the last reply came after 50ms"));
    run.end_input();
    assert!(run.wait().success());
}

#[test]
fn a_character_is_whole_also_if_its_end_is_late() {
    let (sender, more) = std::sync::mpsc::channel::<()>();
    let (told, is_sent) = std::sync::mpsc::channel();
    let script = answering(move |client, request| match request {
        b"one" => {
            client.send(b"half\n\xca");
            more.recv().unwrap();
            client.send(b"\xd5\n");
            told.send(()).unwrap();
        }
        b"two" => client.send("another\n"),
        _ => client.send(b"cut\n\xca"),
    });
    for program in ["tcp-client", "rexec"] {
        let gbk = ["--wire", "raw", "--encoding", "gbk", "--idle", "50ms", &script.address];
        // At a terminal one sees by the prompt that the reply was taken to have ended.
        let mut terminal = at_a_terminal(program, &gbk);
        terminal.exp_string("> ").unwrap();
        terminal.send_line("one").unwrap();
        terminal.exp_string("half").unwrap();
        terminal.exp_string("> ").unwrap();
        sender.send(()).unwrap();
        is_sent.recv_timeout(DEADLINE).unwrap();
        terminal.send_line("two").unwrap();
        // Each byte that comes is a character to this terminal.
        let character: String = "收".bytes().map(char::from).collect();
        terminal.exp_string(&character).unwrap();
        terminal.exp_string("another").unwrap();
        terminal.send_line("quit").unwrap();
        terminal.exp_eof().unwrap();
        // What never ends is one mark, before the next reply or at the end.
        let run = Run::new(program).args(gbk).stdin("cut\ncut\n");
        let end = if program == "rexec" { "" } else { "\n" };
        run.prints(&format!("cut\n\u{fffd}{end}cut\n\u{fffd}{end}"));
    }
}

#[test]
fn at_a_terminal_a_late_reply_is_left_behind_with_its_connection() {
    let script = answering(|client, request| {
        if request == b"slow" {
            // Nothing until the client has gone.
            assert_eq!(client.request(), None);
            client.send("late");
        } else {
            client.send("at once");
        }
    });
    for (name, before) in [("tcp-client", "tcp-client: no reply"), ("rexec", "rexec: no reply")] {
        let mut terminal = at_a_terminal(name, &["--wire", "raw", "--timeout", "200ms", &script.address]);
        terminal.exp_string("> ").unwrap();
        terminal.send_line("slow").unwrap();
        terminal.exp_string(before).unwrap();
        terminal.exp_string("the next request opens a new one").unwrap();
        terminal.send_line("fast").unwrap();
        let between = terminal.exp_string("at once").unwrap();
        assert!(!between.contains("late"), "{between}");
        terminal.send_line("quit").unwrap();
        terminal.exp_eof().unwrap();
    }
}

#[test]
fn what_is_asked_for_encrypted_is_not_sent_plain() {
    let script = answering(|_, _| {});
    let tls = format!("tls://{}", script.address);
    for program in ["tcp-client", "rexec"] {
        let run = Run::new(program).args(["--wire", "raw", &tls]).stdin("secret\n");
        run.code(if program == "rexec" { 252 } else { 2 }).stderr("not encrypted").prints("");
    }
    let run = Run::new("fget").args(["--wire", "size", &format!("{tls}/secret")]);
    run.code(2).stderr("not encrypted").prints("");
}
