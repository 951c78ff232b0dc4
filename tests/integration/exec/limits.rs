//! What commands may take of a server: how many run at once, how fast they write, how many processes
//! they make; and what the log says of how they end.

use std::time::Instant;

use crate::harness::{DEADLINE, Run, Server};

#[test]
fn so_many_commands_run_and_one_more_is_refused() {
    let server = Server::with(&["--exec-max-running", "2"]);
    let rexec = |args: &[&str]| Run::new("rexec").args([&[server.address()], args].concat());
    let mut running: Vec<_> = (0..2).map(|_| rexec(&["echo up; cat"]).spawn()).collect();
    for call in &running {
        call.wait_for("up");
    }
    let said = "2 commands run already, which is the limit here; try again later";
    rexec(&["true"]).code(251).stderr(said).prints("");
    let mut ended = running.pop().unwrap();
    ended.end_input();
    assert!(ended.wait().success());
    rexec(&["echo fits"]).prints("fits\n");
    // No command is killed for it, and one that could not start gives its slot back.
    for _ in 0..3 {
        rexec(&["--", "no-such-program"]).code(127).any_stderr().prints("");
    }
    running[0].say("still there");
    assert_eq!(running[0].stdout.recv_timeout(DEADLINE).unwrap(), "still there");
    server.wait_for_log(&format!("refused (busy): {said}"));
}

#[test]
fn a_client_that_has_the_outcome_may_run_the_next_command() {
    let server = Server::with(&["--exec-max-running", "1"]);
    for at in 0..20 {
        let command = format!("exit {}", at % 2);
        Run::new("rexec").args([server.address(), &command]).code(at % 2).prints("");
    }
    let script = "!true\n!echo a\n!echo b\n";
    Run::new("tcp-client").args([server.address()]).stdin(script).prints("a\nb\n");
    Run::new("tcp-server").args(["--exec-max-running", "0"]).code(2).stderr("begins at 1").prints("");
}

#[test]
fn a_tutorials_command_counts_too() {
    let args = ["--wire", "json", "--reply", "exec", "--guest", "exec", "--exec-max-running", "1"];
    let server = Server::with(&args);
    let mut running = Run::new("rexec").args([server.address(), "echo up; cat"]).spawn();
    running.wait_for("up");
    let bare = || Run::new("rexec").args(["--wire", "json", &server.plain(), "echo hi"]);
    bare().prints("1 commands run already, which is the limit here; try again later\n");
    running.end_input();
    assert!(running.wait().success());
    bare().prints("hi\n");
}

#[test]
fn a_command_writes_no_faster_than_it_may() {
    let server = Server::with(&["--exec-output-rate", "100KiB"]);
    let rexec = |args: &[&str]| Run::new("rexec").args([&[server.address()], args].concat());
    // A second's worth comes at once, and what two pipes hold when the command exits.
    let started = Instant::now();
    let output = rexec(&["head -c 200000 /dev/zero; head -c 200000 /dev/zero >&2"]).any_stderr().output();
    assert_eq!((output.stdout.len(), output.stderr.len()), (200_000, 200_000));
    let least = (400_000.0 - 102_400.0 - 2.0 * 65_536.0) / 102_400.0;
    assert!(started.elapsed().as_secs_f64() > least, "{:?}, and not {least} s", started.elapsed());
    let merged = Run::new("rexec").args(["--merge", server.address(), "yes | head -c 150000"]).output();
    assert_eq!(merged.stdout.len(), 150_000);
    // Another command has a rate of its own, and who writes little notices nothing.
    rexec(&["echo hello"]).prints("hello\n");
}

#[test]
fn the_end_does_not_wait_behind_the_rate() {
    // At this rate each of these would take hours.
    let server = Server::with(&["--exec-output-rate", "1"]);
    // Its pipe is full and its deadline comes.
    let late = Run::new("rexec").args(["--timeout", "200ms", server.address(), "yes"]).code(124).any_stderr();
    assert!(late.output().text().starts_with("y\n"));
    // Its last words are not lost.
    let script = "trap 'echo bye; exit' TERM; echo hello; while :; do sleep 0.05; done";
    let args = ["--timeout", "500ms", "--kill-after", "30s", server.address(), script];
    Run::new("rexec").args(args).code(124).any_stderr().prints("hello\nbye\n");
    // It ends by itself.
    Run::new("rexec").args([server.address(), "head -c 60000 /dev/zero; exit 3"]).code(3).output();
    // Its client goes.
    let mut running = Run::new("rexec").args([server.address(), "yes"]).spawn();
    running.wait_for("y");
    running.signal(rustix::process::Signal::KILL);
    running.wait();
    server.wait_for_log("broken off");
}

#[test]
fn a_command_has_the_limit_on_processes_that_the_server_sets() {
    use rustix::process::{Resource, getrlimit};
    // Not so low that this user's own processes are too many, and below what this machine allows.
    let hard = getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX).min(30_000);
    let most = (hard - 1).to_string();
    let server = Server::with(&["--exec-max-processes", &most]);
    // It is set when the command runs already. A child has it from its parent.
    let line = format!("^Max processes  *{most}  *{most} ");
    let script =
        format!("until grep -q '{line}' /proc/$$/limits; do sleep 0.02; done; grep -c '{line}' /proc/self/limits");
    Run::new("rexec").args(["--timeout", "30s", server.address(), &script]).prints("1\n");
    let argv = Run::new("rexec").args(["--timeout", "30s", server.address(), "--", "sh", "-c", &script]);
    argv.prints("1\n");
    // The server itself goes on as it was.
    let own = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let own = own.lines().find(|line| line.starts_with("Max processes")).unwrap();
    assert!(!own.contains(&format!(" {most} ")), "{own}");
    Run::new("tcp-server").args(["--exec-max-processes", "0"]).code(2).stderr("begins at 1").prints("");
}

#[test]
fn the_log_says_once_how_commands_end_and_it_is_true() {
    let server = Server::start();
    let log = server.wait_for_log("commands end with their process group");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("commands end with")).collect();
    assert!(lines.len() == 1 && lines[0].contains("INFO"), "{log}");
    let has_cgroup = lines[0].ends_with("and a cgroup of their own");
    assert!(has_cgroup || lines[0].contains("without a cgroup of their own ("), "{}", lines[0]);
    // A command is put there when it runs already.
    let wait = if has_cgroup { "until grep -q /landline- /proc/$$/cgroup; do sleep 0.02; done; " } else { "" };
    let script = format!("{wait}grep -c /landline- /proc/$$/cgroup; true");
    let run = Run::new("rexec").args(["--timeout", "30s", server.address(), &script]);
    run.prints(if has_cgroup { "1\n" } else { "0\n" });
    assert_eq!(server.stop().1.matches("commands end with").count(), 1);
}

#[test]
fn no_peer_holds_all_slots_and_the_own_user_always_gets_in() {
    use crate::harness::machine::Machine;
    use crate::harness::tls::Over;
    let (desk, laptop, tablet) = (Machine::new(), Machine::new(), Machine::new());
    desk.knows(&[("laptop", laptop.fingerprint(), "exec"), ("tablet", tablet.fingerprint(), "exec")]);
    let server = Server::at_home(&["--guest", "exec", "--exec-max-running", "4"], &desk.home_path());
    let run = |raw: &mut crate::harness::frames::Raw<crate::harness::tls::Wire>| {
        raw.send(&crate::harness::frames::request(r#""type":"exec","form":"shell""#, b"echo up; cat"));
        let answer = raw.answer();
        if answer.kind() == "error" { answer.header["message"].as_str().unwrap().to_owned() } else { "up".to_owned() }
    };
    let mut lines: Vec<_> = (0..3).map(|_| laptop.open(&server)).collect();
    let said: Vec<String> = lines.iter_mut().map(run).collect();
    assert_eq!(said[..2], ["up", "up"]);
    assert!(said[2].starts_with("2 commands of yours run already, which is your share of the 4"), "{}", said[2]);
    let mut others = [tablet.open(&server), Over::Plain.open(&server), Over::Plain.open(&server)];
    let said: Vec<String> = others.iter_mut().map(run).collect();
    assert_eq!(said[..2], ["up", "up"]);
    assert_eq!(said[2], "4 commands run already, which is the limit here; try again later");
    // All are taken, and still.
    for _ in 0..4 {
        let own = Run::new("rexec").args([server.address(), "echo mine"]).env("LANDLINE_HOME", desk.home_path());
        own.prints("mine\n");
    }
}
