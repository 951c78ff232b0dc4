//! Detached commands: they run on without their client, and what is known of them survives everything but their server.

use std::path::Path;

use landline::exec::jobs::JOBS_KEPT_MAX;
use rustix::process::Signal;

use super::rules::Two;
use crate::harness::machine::Machine;
use crate::harness::process::{exists, has_line, lives, pid_in};
use crate::harness::{Run, Server, wait_until};

/// A server with a home of its own, as its own user calls it.
struct Own {
    machine: Machine,
    server: Server,
}

impl Own {
    fn new() -> Self {
        let machine = Machine::new();
        let server = machine.server(&[]);
        Self { machine, server }
    }

    fn rexec(&self, args: &[&str]) -> Run {
        self.machine.run("rexec").args(args.iter().copied().chain([self.server.address()]))
    }

    /// Starts `command`; what it is called.
    fn detach(&self, options: &[&str], command: &str) -> String {
        let started = self.rexec(&[&["--detach"], options].concat()).args([command]).output();
        started.text().trim().to_owned()
    }

    fn state(&self, id: &str) -> serde_json::Value {
        let listed = self.rexec(&["--list-jobs", "--json"]).output().json();
        let jobs = listed.as_array().unwrap().iter();
        jobs.filter(|job| job["job"] == id).map(|job| job["state"].clone()).next().unwrap_or_default()
    }

    /// Sends a signal to the server, and starts another one with the same home.
    fn restart(&mut self, signal: Signal) {
        self.server.signal(signal);
        self.server.wait();
        self.server = self.machine.server(&[]);
    }
}

#[test]
fn a_command_runs_on_and_its_output_and_its_code_are_there_later() {
    let own = Own::new();
    let id = own.detach(&[], "echo one; echo two >&2; while ! test -e go; do sleep 0.02; done; echo three; exit 9");
    assert_eq!(id.len(), 8, "{id}");
    assert_eq!(own.state(&id), "running");
    // What it wrote until now; then what comes, too, and its code.
    wait_until("it has written", || own.rexec(&["--log", &id]).any_stderr().output().text() == "one\n");
    let mut attached = own.rexec(&["--attach", &id]).spawn();
    attached.wait_for("one");
    let mut waiting = own.rexec(&["--wait", &id]).spawn();
    own.server.write("go", "");
    attached.wait_for("three");
    assert_eq!(attached.wait().code(), Some(9));
    assert_eq!(waiting.wait().code(), Some(9));
    // And again, as often as it is called.
    own.rexec(&["--attach", &id]).code(9).stderr("two\n").prints("one\nthree\n");
    own.rexec(&["--attach", &id, "--tail", "1"]).code(9).prints("three\n");
    own.rexec(&["--log", &id, "--tail", "2"]).stderr("two\n").prints("three\n");
    own.rexec(&["--wait", &id]).code(9).prints("");
    let json = own.rexec(&["--wait", &id, "--json"]).code(9).output().json();
    assert_eq!((&json["outcome"], &json["exit_code"], &json["cwd"]), (&"exited".into(), &9.into(), &"/".into()));
    let listed = own.rexec(&["--list-jobs", "--json"]).output().json();
    assert_eq!((&listed[0]["state"], &listed[0]["exit_code"]), (&"exited".into(), &9.into()));
    assert!(listed[0].get("owner").is_none() && listed[0].get("marker").is_none(), "{listed}");
    assert!(own.rexec(&["--list-jobs"]).output().text().starts_with(&format!("{id}  exit 9 ")));
    let log = own.server.stop().1;
    assert!(log.contains(&format!("detached as {id}")) && log.contains(r#"verb="job""#), "{log}");
}

#[test]
fn a_client_that_is_killed_or_leaves_takes_nothing_with_it() {
    let own = Own::new();
    let id = own.detach(&["--merge"], "for i in 1 2 3; do echo $i; echo $i >&2; done; echo $$ > self; exec sleep 1000");
    let mut attached = own.rexec(&["--attach", &id]).spawn();
    attached.wait_for("3");
    attached.signal(Signal::KILL);
    attached.wait();
    let mut attached = own.rexec(&["--attach", &id]).spawn();
    for line in ["1", "1", "2", "2", "3", "3"] {
        attached.wait_for(line);
    }
    attached.signal(Signal::INT);
    assert_eq!(attached.wait().code(), Some(130));
    assert!(attached.stderr.recv_timeout(crate::harness::DEADLINE).unwrap().contains("runs on; rexec --attach"));
    assert_eq!(own.state(&id), "running");
    wait_until("it has begun", || has_line(&own.server.root().join("self")));
    assert!(lives(&own.server.root().join("self")));
    own.rexec(&["--kill", &id]).prints("");
    assert!(!lives(&own.server.root().join("self")));
    own.rexec(&["--wait", &id]).code(143).stderr("killed by signal TERM").prints("");
    own.rexec(&["--kill", &id]).code(251).stderr("does not run any more: killed by TERM").prints("");
}

#[test]
fn all_that_it_started_ends_with_it_and_signals_are_passed_on() {
    let own = Own::new();
    let family = "trap 'echo caught' USR1; setsid sh -c 'trap \"\" TERM; echo $$ > daemon; exec sleep 1000' & \
                  echo $$ > self; while :; do sleep 0.05; done";
    let id = own.detach(&["--kill-after", "100ms"], family);
    let [itself, daemon] = ["self", "daemon"].map(|name| own.server.root().join(name));
    wait_until("both have begun", || has_line(&itself) && has_line(&daemon));
    own.rexec(&["--kill", &id, "--signal", "sigusr1"]).prints("");
    wait_until("it was told", || own.rexec(&["--log", &id]).any_stderr().output().text() == "caught\n");
    own.rexec(&["--kill", &id, "--signal", "SEGV"]).code(251).stderr("is no signal that can be sent").prints("");
    own.rexec(&["--kill", &id]).prints("");
    wait_until("both are gone", || !lives(&itself) && !lives(&daemon));
    // A deadline holds without a client too.
    let id = own.detach(&["--timeout", "200ms"], "exec sleep 1000");
    own.rexec(&["--wait", &id]).code(124).stderr("its time was up").prints("");
    assert_eq!(own.state(&id), "timed-out");
}

#[test]
fn a_job_ends_with_its_server_and_is_never_said_to_run_afterwards() {
    let mut own = Own::new();
    let done = own.detach(&[], "echo done");
    own.rexec(&["--wait", &done]).prints("");
    let command = "echo begun; setsid sh -c 'echo $$ > daemon; exec sleep 1000' & echo $$ > self; exec sleep 1000";
    let id = own.detach(&[], command);
    let both = |own: &Own| ["self", "daemon"].map(|name| own.server.root().join(name));
    let files = both(&own);
    wait_until("both have begun", || files.iter().all(|file| has_line(file)));
    let pids = files.map(|file| pid_in(&file).unwrap());
    own.restart(Signal::KILL);
    own.rexec(&["--wait", &id]).code(254).stderr("its server ended before it did").prints("");
    assert_eq!((own.state(&id), own.state(&done)), ("lost".into(), "exited".into()));
    own.rexec(&["--log", &id]).prints("begun\n");
    wait_until("what it left is gone", || !pids.iter().any(|pid| exists(*pid)));
    // A server that stops ends its commands, and says so.
    let id = own.detach(&[], "echo $$ > last; exec sleep 1000");
    let last = own.server.root().join("last");
    wait_until("it has begun", || has_line(&last));
    let pid = pid_in(&last).unwrap();
    own.restart(Signal::TERM);
    assert!(!exists(pid));
    own.rexec(&["--wait", &id]).code(143).any_stderr().prints("");
    own.rexec(&["--attach", &done]).prints("done\n");
    // Nor does its client say how long that takes.
    let id = own.detach(&["--kill-after", "1h"], "trap '' TERM; echo $$ > deaf; while :; do sleep 0.05; done");
    let deaf = own.server.root().join("deaf");
    wait_until("it has begun", || has_line(&deaf));
    own.restart(Signal::TERM);
    own.rexec(&["--wait", &id]).code(137).any_stderr().prints("");
}

#[test]
fn a_job_belongs_to_the_peer_that_began_it() {
    let two = Two::new(&["--allow", "exec"]);
    let started = two.rexec(&["--detach", "server", "echo $$ > self; exec sleep 1000"]).output();
    let id = started.text().trim();
    let own = |args: &[&str]| two.desk.run("rexec").args(args.iter().copied().chain([two.server.address()]));
    for act in ["--attach", "--log", "--wait", "--kill"] {
        own(&[act, id]).code(251).stderr("no detached command of that name here").prints("");
    }
    own(&["--list-jobs"]).prints("");
    for wrong in ["", "..", "../../identity", "zzzzzzzz", "00000000", "0000000000000000"] {
        two.rexec(&["--log", wrong, "server"]).code(251).stderr("no detached command of that name").prints("");
    }
    // Who may not run commands any more has none that run.
    let file = two.server.root().join("self");
    wait_until("it has begun", || has_line(&file));
    two.peers(&["allow", "laptop", "echo"]).output();
    wait_until("it is gone", || !lives(&file));
    two.server.wait_for_log("its peer may not run commands any more");
    // Nobody in particular has none.
    let open = Server::with(&["--guest", "exec"]);
    let run = Run::new("rexec").args(["--detach", &open.plain(), "true"]);
    run.code(251).stderr("this connection proves none").prints("");
}

/// How long it may take to end is a client's wish while it is let in and while the server runs.
#[test]
fn no_job_gets_more_time_than_the_server_gives() {
    let stubborn = |file: &str| format!("trap '' TERM HUP; echo $$ > {file}; while :; do sleep 0.05; done");
    let two = Two::new(&["--allow", "exec"]);
    let both = ["job", "live"].map(|name| two.server.root().join(name));
    two.rexec(&["--kill-after", "1d", "--detach", "server", &stubborn("job")]).output();
    let mut live = two.rexec(&["--kill-after", "1d", "server", &stubborn("live")]).spawn();
    wait_until("both have begun", || both.iter().all(|file| has_line(file)));
    two.peers(&["revoke", "laptop"]).output();
    assert_eq!(live.wait().code(), Some(254));
    wait_until("both are gone", || !both.iter().any(|file| lives(file)));

    let machine = Machine::new();
    let mut server = machine.server(&["--grace", "100ms"]);
    let rexec = |act: &[&str]| machine.run("rexec").args(["--kill-after", "1d"]).args(act).args([server.address()]);
    let both = ["job", "live"].map(|name| server.root().join(name));
    rexec(&["--detach"]).args([stubborn("job")]).output();
    let mut live = rexec(&[]).args([stubborn("live")]).spawn();
    wait_until("both have begun", || both.iter().all(|file| has_line(file)));
    server.signal(Signal::TERM);
    server.wait();
    assert!(!both.iter().any(|file| lives(file)), "a server that has stopped has left none");
    live.wait();
}

/// A command that was begun before all others and ends after them is not forgotten before them.
#[test]
fn what_has_just_ended_is_not_the_first_to_be_forgotten() {
    let own = Own::new();
    let id = own.detach(&[], "while ! test -e go; do sleep 0.02; done; echo result; exit 5");
    for _ in 0..=JOBS_KEPT_MAX {
        let short = own.detach(&[], "true");
        own.rexec(&["--wait", &short]).prints("");
    }
    own.server.write("go", "");
    own.rexec(&["--wait", &id]).code(5).prints("");
    own.detach(&[], "true");
    own.rexec(&["--attach", &id]).code(5).prints("result\n");
}

#[test]
fn what_cannot_be_detached_is_an_error() {
    let own = Own::new();
    own.rexec(&["--detach"]).args(["--", "no-such-program"]).code(127).stderr("command not found").prints("");
    own.rexec(&["--list-jobs"]).prints("");
    own.rexec(&["--detach"]).code(252).stderr("name a command to detach").prints("");
    own.rexec(&["--list-jobs"]).args(["ls"]).code(252).stderr("a command too many").prints("");
    own.rexec(&["--detach", "--tty"]).args(["ls"]).code(252).stderr("cannot be used with").prints("");
}

/// A flood is kept within its bounds, and a client that comes late is told what it missed.
#[test]
fn a_flood_is_kept_within_its_bounds() {
    let own = Own::new();
    let id = own.detach(&[], "head -c 100000000 /dev/zero; echo; echo last");
    own.rexec(&["--wait", &id]).prints("");
    let kept = own.rexec(&["--log", &id]).stderr("bytes of its output are not kept any more").output().stdout;
    assert!(kept.ends_with(b"\0\nlast\n"), "{}", kept.len());
    assert!((50_000_000..70_000_000).contains(&kept.len()), "{}", kept.len());
    let disk: u64 = own
        .machine
        .home_path()
        .join("jobs")
        .join(&id)
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(disk < 70_000_000, "{disk}");
    own.rexec(&["--log", &id, "--tail", "1"]).prints("last\n");
}

#[test]
fn input_that_a_detached_command_does_not_get_is_spoken_of() {
    let server = Server::start();
    let detach =
        |args: &[&str]| Run::new("rexec").args(args.iter().copied()).args(["--detach", server.address(), "cat"]);
    let told = detach(&[]).stdin("x\n").stderr("a detached command gets no input").output();
    Run::new("rexec").args(["--attach", told.text().trim(), server.address()]).prints("");
    for args in [&["-n"][..], &["-q"]] {
        detach(args).stdin("x\n").output();
    }
    detach(&[]).output();
    let script = |redirect: &str| {
        let line = format!("{} --detach {} cat {redirect}", crate::harness::program("rexec"), server.address());
        Run::of(Path::new("/bin/sh")).args(["-c", &line])
    };
    server.write("file", "x");
    let file = server.root().join("file").display().to_string();
    script(&format!("< {file}")).stderr("a detached command gets no input").output();
    script("< /dev/null").output();
    script("< /dev/zero").output();
}
