//! Remote commands: what runs, what comes back, how it ended, and that nothing is left behind.

use rustix::process::Signal;

use crate::harness::process::{exists, is_running, kill, pid_in};
use crate::harness::{DEADLINE, Run, Server, wait_until};

mod ending;
mod jobs;
mod limits;
mod many;
mod places;
mod root;
mod rules;
mod signals;
mod terminal;
mod terms;

#[test]
fn a_shell_command_gives_its_output_and_its_exit_code() {
    let server = Server::start();
    let rexec = |args: &[&str]| Run::new("rexec").args([&[server.address()], args].concat());
    rexec(&["echo out; echo err >&2; exit 7"]).code(7).stderr("err\n").prints("out\n");
    rexec(&["echo", "a  b", "|", "wc", "-c"]).prints("4\n");
    rexec(&["true"]).prints("");
    let log = server.stop().1;
    assert!(log.contains(r#"verb="exec" about="echo out; echo err >&2; exit 7" outcome="exit 7""#), "{log}");
}

#[test]
fn an_argv_arrives_exactly_as_it_was_given() {
    let server = Server::start();
    let argv = ["--", "printf", "<%s>", "a b", "$HOME", "", "-l", "--", "é\n", "*"];
    Run::new("rexec").args([&[server.address()][..], &argv].concat()).prints("<a b><$HOME><><-l><--><é\n><*>");
    Run::new("rexec").args([server.address(), "--"]).code(252).stderr("nothing to run behind --").prints("");
}

#[test]
fn every_ending_has_its_own_code() {
    let server = Server::start();
    let rexec = |args: &[&str]| Run::new("rexec").args([&[server.address()], args].concat());
    rexec(&["kill -TERM $$"]).code(143).stderr("killed by signal TERM").prints("");
    rexec(&["--", "no-such-program"]).code(127).stderr("no-such-program: command not found").prints("");
    server.write("plain", "not a program");
    rexec(&["--", "./plain"]).code(126).stderr("./plain: permission denied").prints("");
    rexec(&["-C", "nowhere", "--", "true"]).code(251).stderr("/nowhere: no such file or directory").prints("");
    Run::new("rexec").args(["unix:/nonexistent/socket", "true"]).code(253).stderr("cannot connect").prints("");
    let guests = Server::with(&["--guest", "echo"]);
    Run::new("rexec").args([&guests.plain(), "true"]).code(251).stderr("needs the service exec").prints("");
}

#[test]
fn stdin_of_any_length_arrives_whole_and_ends() {
    let server = Server::start();
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let output = Run::new("rexec").args([server.address(), "--", "cat"]).stdin(input.clone()).output();
    assert!(output.stdout == input, "{} bytes came back of {}", output.stdout.len(), input.len());
    Run::new("rexec").args(["-n", server.address(), "--", "cat"]).stdin("not read").prints("");
    // A command that does not read its stdin ends the call at once, however much there is.
    Run::new("rexec").args([server.address(), "exit 3"]).stdin(vec![b'x'; 3_000_000]).code(3).prints("");
}

#[test]
fn a_flood_on_one_stream_while_the_other_is_quiet_cannot_deadlock() {
    let server = Server::start();
    let script = "head -c 20000000 /dev/zero >&2; echo done";
    let output = Run::new("rexec").args([server.address(), script]).any_stderr().output();
    assert_eq!(output.text(), "done\n");
    assert_eq!(output.stderr.len(), 20_000_000);
}

#[test]
fn a_hundred_mebibytes_on_stderr_while_stdout_is_not_read() {
    let server = Server::start();
    let script = format!(
        "mkfifo out; {} -n {} 'echo first; head -c 104857600 /dev/zero >&2; echo last' 2>&1 >out | wc -c & \
         exec 3<out; wait; cat <&3",
        crate::harness::program("rexec"),
        server.address()
    );
    let here = tempfile::tempdir().unwrap();
    let run = Run::of(std::path::Path::new("/bin/sh")).args(["-c", &script]).current_dir(here.path());
    run.prints("104857600\nfirst\nlast\n");
}

#[test]
fn a_command_that_closes_its_streams_goes_on() {
    let server = Server::start();
    let script = "exec >&- 2>&- <&-; while ! test -e go; do sleep 0.02; done; exit 4";
    let mut call = Run::new("rexec").args([server.address(), script]).spawn();
    wait_until("it has begun", || server.log().contains("let in"));
    server.write("go", "");
    assert_eq!(call.wait().code(), Some(4));
}

#[test]
fn a_reader_that_leaves_ends_the_command() {
    let server = Server::start();
    for option in ["", "-t", "--json-stream", "-qH"] {
        let script = format!(
            "{} {option} {} 'echo $$ > self; exec yes' | head -c 1",
            crate::harness::program("rexec"),
            server.address()
        );
        let first = Run::of(std::path::Path::new("/bin/sh")).args(["-c", &script]).stdin("").output();
        assert_eq!(first.stdout.len(), 1, "{option}");
        let pid = pid_in(&server.root().join("self")).unwrap();
        wait_until("it is gone", || !exists(pid));
        std::fs::remove_file(server.root().join("self")).unwrap();
    }
}

#[test]
fn a_background_process_does_not_hold_the_call() {
    let server = Server::start();
    let holds = Run::new("rexec").args(["--linger", "100ms", server.address(), "sleep 1000 & echo $!"]);
    let output = holds.stderr("sleep (process ").output();
    let pid: u32 = output.text().trim().parse().unwrap();
    assert!(
        output.stderr.contains(&format!("sleep (process {pid}) still runs and holds the output")),
        "{}",
        output.stderr
    );
    kill(pid);
}

#[test]
fn a_client_that_vanishes_takes_the_process_group_with_it() {
    let server = Server::start();
    let script = "echo $$; sleep 1000 & echo $!; sleep 1001";
    let mut call = Run::new("rexec").args([server.address(), script]).spawn();
    let pids = [(); 2].map(|()| call.stdout.recv_timeout(DEADLINE).unwrap().parse().unwrap());
    call.signal(Signal::KILL);
    call.wait();
    for pid in pids {
        wait_until("the process group is gone", || !is_running(pid));
    }
    server.wait_for_log("broken off");
}

#[test]
fn ctrl_c_reaches_the_command_and_its_outcome_comes_back() {
    let server = Server::start();
    let script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.01; done";
    let mut call = Run::new("rexec").args([server.address(), script]).spawn();
    call.wait_for("ready");
    call.signal(Signal::INT);
    call.wait_for("caught");
    assert_eq!(call.wait().code(), Some(5));
}

#[test]
fn a_lost_connection_is_254_and_never_mixed_up_with_the_commands_code() {
    let server = Server::start();
    let mut call = Run::new("rexec").args([server.address(), "echo ready; while echo; do sleep 0.1; done"]).spawn();
    call.wait_for("ready");
    server.signal(Signal::KILL);
    assert_eq!(call.wait().code(), Some(254));
    let said = call.stderr.recv_timeout(DEADLINE).unwrap();
    assert!(said.starts_with("rexec: "), "{said}");
}

#[test]
fn json_says_all_of_it() {
    let server = Server::start();
    let run = Run::new("rexec").args(["--json", server.address(), "echo out; echo err >&2; exit 3"]);
    let output = run.code(3).any_stderr().output();
    let json = output.json();
    assert_eq!(json["outcome"], "exited");
    assert_eq!(json["exit_code"], 3);
    assert_eq!((&json["stdout_bytes"], &json["stderr_bytes"]), (&4.into(), &4.into()));
    assert!(output.stderr.contains("out\n") && output.stderr.contains("err\n"));

    let run = Run::new("rexec").args(["--json-stream", server.address(), "printf 'a\\377'; kill -9 $$"]);
    let output = run.code(137).any_stderr().output();
    let events: Vec<serde_json::Value> =
        output.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "stdout");
    assert_eq!(events[0]["base64"], "Yf8=");
    assert_eq!((&events[1]["event"], &events[1]["signal"]), (&"outcome".into(), &"KILL".into()));
}

#[test]
fn the_encoding_is_converted_both_ways_and_no_character_is_cut() {
    let server = Server::start();
    // The command's text reaches the shell as GBK; od shows the bytes that came.
    let args = ["--encoding", "gbk", server.address(), "printf '收到' | od -An -tx1"];
    Run::new("rexec").args(args).prints(" ca d5 b5 bd\n");
    // A character whose two bytes come in two writes.
    let script = "printf '\\312'; sleep 0.05; printf '\\325\\265\\275'";
    Run::new("rexec").args(["--encoding", "gbk", server.address(), script]).prints("收到");
    // What is typed or piped in is text too.
    let run = Run::new("rexec").args(["--encoding", "gbk", server.address(), "--", "od", "-An", "-tx1"]);
    run.stdin("收到\n").prints(" ca d5 b5 bd 0a\n");
}

#[test]
fn the_prompt_keeps_its_directory_and_tells_the_first_failure() {
    let server = Server::start();
    server.write("a/b/here", "");
    let script = "cd a\npwd\ncd b\nls\ncd nowhere\nexit\n";
    let run = Run::new("rexec").args([server.address()]).stdin(script).code(251).stderr("/a/b/nowhere: no such file");
    let expected = format!("{}/a\nhere\n", server.root().canonicalize().unwrap().display());
    run.prints(&expected);
}
