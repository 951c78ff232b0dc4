//! A command ends with all that it has started: at its deadline, when its client is gone, and whatever it does
//! against that.

use rustix::process::{Pid, Signal};

use crate::harness::process::{has_line, lives};
use crate::harness::{Run, Server, rounds, wait_until};

/// A command with a child, one that left its group, and one that became a daemon; none of them listens to TERM.
const FAMILY: &str = "trap '' TERM; \
    sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 0.1; done' & \
    setsid sh -c 'trap \"\" TERM; echo $$ > session; while :; do sleep 0.1; done' & \
    sh -c 'setsid sh -c \"trap \\\"\\\" TERM; echo \\$\\$ > daemon; cd /; exec >/dev/null 2>&1 </dev/null; while :; do sleep 0.1; done\" &' & \
    echo $$ > self; while :; do sleep 0.1; done";

const ALL: [&str; 4] = ["self", "child", "session", "daemon"];

fn all_are_there(server: &Server) {
    wait_until("all have started", || ALL.iter().all(|name| has_line(&server.root().join(name))));
}

fn none_is_left(server: &Server) {
    wait_until("all are gone", || ALL.iter().all(|name| !lives(&server.root().join(name))));
}

/// Processes that a command of this server has started, wherever they are.
fn marked(server: &Server) -> usize {
    let root = format!("PWD={}", server.root().display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let has = |wanted: &[u8]| environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(wanted));
        has(b"LANDLINE_COMMAND=") && has(root.as_bytes())
    });
    processes.count()
}

#[test]
fn a_deadline_is_kept_by_the_server() {
    let server = Server::start();
    let rexec = |args: &[&str]| Run::new("rexec").args(args.iter().copied().chain([server.address()]));
    rexec(&["--timeout", "300ms"]).args(["--", "sleep", "1000"]).code(124).stderr("its time was up").prints("");
    // What it says before and in answer to TERM arrives.
    let says = "trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.05; done";
    rexec(&["--timeout", "300ms"]).args([says]).code(124).any_stderr().prints("hello\nbye\n");
    let json = rexec(&["--timeout", "300ms", "--json"]).args(["sleep 60"]).code(124).any_stderr().output();
    let json: serde_json::Value = serde_json::from_str(json.text().lines().last().unwrap()).unwrap();
    assert_eq!((&json["outcome"], &json["exit_code"]), (&"timed-out".into(), &serde_json::Value::Null));
    // Who is quicker is not bothered.
    rexec(&["--timeout", "1h"]).args(["exit 3"]).code(3).prints("");
    assert!(server.stop().1.contains(r#"outcome="timed out""#));
}

#[test]
fn at_its_deadline_all_that_it_started_goes() {
    let server = Server::start();
    let run = Run::new("rexec").args(["--timeout", "1500ms", "--kill-after", "100ms", server.address(), FAMILY]);
    let mut running = run.spawn();
    all_are_there(&server);
    assert_eq!(running.wait().code(), Some(124));
    none_is_left(&server);
}

#[test]
fn when_its_client_is_killed_all_that_it_started_goes() {
    let server = Server::start();
    let running = Run::new("rexec").args(["--kill-after", "100ms", server.address(), FAMILY]).spawn();
    all_are_there(&server);
    running.signal(Signal::KILL);
    none_is_left(&server);
    assert!(server.stop().1.contains(r#"verb="exec""#));
}

#[test]
fn a_polite_command_has_its_time() {
    let server = Server::start();
    let script = "trap 'sleep 0.5; echo late > late; exit' TERM; echo up > up; while :; do sleep 0.05; done";
    let running = Run::new("rexec").args(["--kill-after", "20s", server.address(), script]).spawn();
    wait_until("it runs", || has_line(&server.root().join("up")));
    running.signal(Signal::KILL);
    wait_until("it has cleaned up", || has_line(&server.root().join("late")));
}

#[test]
fn what_a_command_leaves_behind_when_it_ends_by_itself_stays() {
    let server = Server::start();
    let script = "setsid sh -c 'echo $$ > daemon; exec sleep 60' >/dev/null 2>&1 </dev/null & \
        while [ ! -s daemon ]; do sleep 0.02; done";
    Run::new("rexec").args([server.address(), script]).prints("");
    let daemon = server.root().join("daemon");
    assert!(lives(&daemon));
    // And another's end is not its end.
    Run::new("rexec").args(["--timeout", "100ms", server.address(), "sleep 60"]).code(124).any_stderr().prints("");
    assert!(lives(&daemon));
    let pid = std::fs::read_to_string(&daemon).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn who_forks_faster_than_one_can_look_is_caught_too() {
    let server = Server::start();
    // Each lives for a tenth of a second and has made its successor before, in a session of its own.
    server.write("hop", "echo $1 > hop.now; sleep 0.02; [ -e stop ] || setsid sh hop $(($1 + 1)) &\nsleep 0.1\n");
    let running = Run::new("rexec").args(["--kill-after", "50ms", server.address(), "sh hop 0; sleep 60"]).spawn();
    let now = || {
        std::fs::read_to_string(server.root().join("hop.now")).unwrap_or_default().trim().parse::<u32>().unwrap_or(0)
    };
    wait_until("it hops", || now() > 20);
    running.signal(Signal::KILL);
    // The log's line comes when it has ended.
    let log = server.wait_for_log(r#"verb="exec""#);
    assert_eq!(marked(&server), 0, "after {} hops: {log}", now());
    server.write("stop", "");
}

#[test]
fn nothing_is_left_of_many() {
    let server = Server::start();
    let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", server.pid())).unwrap().count();
    let children = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let of_task = |path: std::path::PathBuf| std::fs::read_to_string(path.join("children")).unwrap_or_default();
        tasks.map(|task| of_task(task.unwrap().path()).split_whitespace().count()).sum::<usize>()
    };
    Run::new("rexec").args([server.address(), "true"]).prints("");
    let at_rest = |name: &str| {
        wait_until(name, || {
            let log = server.log();
            log.matches(" connected ").count() == log.matches(" disconnected ").count()
        });
    };
    at_rest("the first is gone");
    wait_until("its threads are gone", || count("task") < 10);
    let before = (count("fd"), count("task"));
    for at in 0..rounds(18) {
        let script = "echo $$ > /dev/null; setsid sleep 60 & sleep 60 & echo up; exec sleep 60";
        let deadline = if at % 6 == 0 { "50ms" } else { "1m" };
        let terms = ["--timeout", deadline, "--kill-after", "20ms"];
        if at % 6 == 5 {
            let started = Run::new("rexec").args(terms).args(["--detach", server.address(), script]).output();
            Run::new("rexec").args(["--kill", started.text().trim(), server.address()]).prints("");
            continue;
        }
        let terminal = (at % 6 == 4).then_some("-t");
        let mut running = Run::new("rexec").args(terms).args(terminal).args([server.address(), script]).spawn();
        match at % 6 {
            0 => {}
            1 => running.signal(Signal::KILL),
            2 | 4 => {
                running.wait_for("up");
                running.signal(Signal::KILL);
            }
            _ => {
                running.wait_for("up");
                running.signal(Signal::TERM);
            }
        }
        running.wait();
    }
    at_rest("all are gone");
    wait_until("no child is left", || children() == 0);
    wait_until("no descriptor and no thread is left", || (count("fd"), count("task")) <= before);
    assert_eq!(marked(&server), 0);
}

#[test]
fn what_the_shell_did_not_wait_for_is_still_shown() {
    let server = Server::start();
    // However slow the machine is, this is long enough.
    let rexec = |args: &[&str]| Run::new("rexec").args(["--linger", "1m"]).args(args.iter().copied());
    // A shell that does not wait for the other end of what it writes to, and a child that is slower than it.
    rexec(&["--shell", "bash", server.address(), "seq 400000 > >(sort -R | wc -l)"]).prints("400000\n");
    rexec(&[server.address(), "(sleep 0.6; echo late; echo later >&2) & echo first; exit 3"])
        .code(3)
        .stderr("later\n")
        .prints("first\nlate\n");
    // The wait begins anew with every byte.
    let drips = "(for n in 1 2 3 4 5 6; do sleep 0.3; echo $n; done) & exit 0";
    rexec(&[server.address(), drips]).prints("1\n2\n3\n4\n5\n6\n");
    // As it is for one that is detached,
    let id = rexec(&["--detach", server.address(), "(sleep 0.6; echo late) & echo first"]).output();
    rexec(&["--attach", id.text().trim(), server.address()]).prints("first\nlate\n");
    // and on many hosts.
    let many = rexec(&["-q", "--merge", "-H", server.address(), "(sleep 0.6; echo late >&2) & echo first"]).output();
    assert_eq!(many.text(), format!("{0}: first\n{0}: late\n", server.address()));
}

#[test]
fn what_is_left_in_the_background_lives_and_may_write() {
    let server = Server::start();
    // Far more than a pipe holds, and then a sign of life.
    let leaves =
        "nohup sh -c 'while [ ! -e go ]; do sleep 0.05; done; seq 300000; echo $? > up' & echo $! > pid; echo started";
    let args = ["--linger", "0", "--json", server.address(), leaves];
    let output = Run::new("rexec").args(args).stderr("started\n").output();
    let pid: u32 = std::str::from_utf8(&server.read("pid")).unwrap().trim().parse().unwrap();
    let json = output.json();
    assert_eq!((&json["held_by"]["pid"], &json["held_by"]["closed"]), (&pid.into(), &false.into()), "{json}");
    assert_eq!((&json["outcome"], &json["exit_code"]), (&"exited".into(), &0.into()));
    server.write("go", "");
    wait_until("it has written all of it", || server.root().join("up").exists());
    wait_until("and it says so", || server.read("up") == b"0\n");
    let log = server.log();
    assert!(log.contains("a command has ended, and something holds its output"), "{log}");
}

#[test]
fn a_peers_leftovers_are_counted_and_its_next_command_runs() {
    let server = Server::start();
    let leaves = |count: usize| {
        let script = "sleep 1000 & echo $! >> pids";
        for _ in 0..count {
            Run::new("rexec").args(["--linger", "0", "-q", server.address(), script]).prints("");
        }
    };
    leaves(32);
    let one_more = Run::new("rexec").args(["--linger", "0", server.address(), "sleep 1000 & echo $! >> pids"]);
    one_more.stderr("its output was closed, since too many").prints("");
    Run::new("rexec").args([server.address(), "kill $(cat pids)"]).prints("");
    wait_until("there is room again", || {
        let again = Run::new("rexec").args(["--linger", "0", server.address(), "sleep 0.5 &"]).any_stderr().output();
        again.stderr.contains("thrown away")
    });
}

/// The wait for what was left behind ends with the deadline, with the reader, and with who has left.
#[test]
fn output_without_end_does_not_hold_a_call_beyond_its_deadline() {
    let server = Server::start();
    let endless = "(while [ ! -e stop ]; do echo more; sleep 0.05; done) & exit 5";
    let run = Run::new("rexec").args(["--timeout", "5s", server.address(), endless]);
    let output = run.code(5).stderr("still runs and holds the output").output();
    assert!(output.text().starts_with("more\n"));
    server.write("stop", "");
    // Who leaves with Ctrl-C, twice, means all of it.
    let leaves =
        "trap '' INT; sh -c 'echo $$ > left; exec sleep 1000' & while [ ! -s left ]; do sleep 0.02; done; echo up";
    let mut call = Run::new("rexec").args(["--linger", "1h", server.address(), leaves]).spawn();
    call.wait_for("up");
    wait_until("it was left", || {
        call.signal(Signal::INT);
        server.log().contains("broken off")
    });
    assert_eq!(call.wait().code(), Some(130));
    wait_until("what was left is gone", || !lives(&server.root().join("left")));
}
