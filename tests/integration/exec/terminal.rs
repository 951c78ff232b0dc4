//! A command on a terminal: driven through a real one, resized, left, and lost; the terminal here is whole afterwards.

use std::path::Path;
use std::process::Command;

use rexpect::session::PtySession;
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::harness::process::{exists, has_line, kill, pid_in};
use crate::harness::{Run, Server, own_home, program, wait, wait_until};

/// `rexec` at a terminal, behind which a shell says how it left that.
fn at_terminal(server: &Server, args: &str) -> PtySession {
    // The terminal's settings before and after are compared as stty(1) writes them for itself.
    let script = format!(
        "was=$(stty -g); {} {args}; code=$?; test \"$was\" = \"$(stty -g)\" && echo restored $code",
        program("rexec")
    );
    let run = Run::of(Path::new("/bin/sh")).args(["-c", &script]).env("HOST", server.address());
    let mut terminal = run.at_a_terminal();
    resize(&mut terminal, 100, 30);
    terminal
}

fn resize(terminal: &mut PtySession, columns: u16, rows: u16) {
    let handle = terminal.process().get_file_handle().unwrap();
    tcsetwinsize(&handle, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

fn send(terminal: &mut PtySession, keys: &str) {
    terminal.send(keys).unwrap();
    terminal.flush().unwrap();
}

/// A shell that has begun to read what is typed.
fn shell(server: &Server) -> PtySession {
    let mut terminal = at_terminal(server, "-t -e PS1=ready: $HOST -- sh -i");
    send(&mut terminal, "echo be''gun\r");
    terminal.exp_string("begun\r\nready:").unwrap();
    terminal
}

#[test]
fn a_command_has_a_terminal_of_the_size_here_and_follows_it() {
    let server = Server::start();
    let mut terminal = shell(&server);
    // The size is the one here; a change of it arrives, and what runs there is told.
    send(&mut terminal, "stty size; echo $TERM\r");
    terminal.exp_string("30 100\r\nxterm\r\n").unwrap();
    let waits = "sh -c 'trap \"stty size; exit\" WINCH; echo wait\"\"ing; while :; do sleep 0.1; done'\r";
    send(&mut terminal, waits);
    terminal.exp_string("waiting\r\n").unwrap();
    resize(&mut terminal, 132, 43);
    terminal.exp_string("43 132\r\n").unwrap();
    // Ctrl-C is a key: it ends what runs there, and not the shell.
    send(&mut terminal, "sh -c 'echo un''til; exec sleep 1000'\r");
    terminal.exp_string("until\r\n").unwrap();
    send(&mut terminal, "\u{3}");
    terminal.exp_string("ready:").unwrap();
    send(&mut terminal, "exit 7\r");
    terminal.exp_string("restored 7").unwrap();
    terminal.exp_eof().unwrap();
}

#[test]
fn jobs_are_stopped_and_go_on() {
    let server = Server::start();
    let mut terminal = shell(&server);
    send(&mut terminal, "sleep 1000\r");
    let asleep = || -> bool {
        let mine = |pid: &str| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let root = format!("PWD={}", server.root().display());
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x001000\0")
                && environ.split(|byte| *byte == 0).any(|variable| variable == root.as_bytes())
        };
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| entry.file_name().to_str().is_some_and(mine))
    };
    wait_until("the command runs", asleep);
    send(&mut terminal, "\u{1a}");
    terminal.exp_string("Stopped").unwrap();
    terminal.exp_string("ready:").unwrap();
    send(&mut terminal, "fg\r");
    terminal.exp_string("sleep 1000").unwrap();
    // What is typed before the shell has its terminal back goes with the Ctrl-C.
    send(&mut terminal, "\u{3}");
    terminal.exp_string("ready:").unwrap();
    send(&mut terminal, "echo st''ill here; exit\r");
    terminal.exp_string("still here\r\n").unwrap();
    terminal.exp_eof().unwrap();
    wait_until("the job is gone", || !asleep());
}

#[test]
fn at_a_terminal_a_host_alone_gives_its_login_shell() {
    let server = Server::start();
    let mut terminal = at_terminal(&server, "$HOST");
    send(&mut terminal, "echo shell is $0; test -t 0 && echo on a te''rminal\r");
    terminal.exp_string("shell is -").unwrap();
    terminal.exp_string("on a terminal\r\n").unwrap();
    send(&mut terminal, "exit 4\r");
    terminal.exp_string("restored 4").unwrap();
    assert!(server.stop().1.contains(r#"about="login shell" outcome="exit 4""#));
    // A prompt that runs a line at a time is still to be had.
    let server = Server::start();
    let mut terminal = at_terminal(&server, "--prompt $HOST");
    terminal.exp_string(":/> ").unwrap();
    send(&mut terminal, "echo one\r");
    terminal.exp_regex("one\r\n").unwrap();
    send(&mut terminal, "exit\r");
    terminal.exp_string("restored 0").unwrap();
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let server = Server::start();
    let asks = r#"'stty -echo; printf "Password: "; read word; stty echo; echo; echo "<$word>"'"#;
    let mut terminal = at_terminal(&server, &format!("-t $HOST {asks}"));
    terminal.exp_string("Password: ").unwrap();
    send(&mut terminal, "secret\r");
    let shown = terminal.exp_string("<secret>").unwrap();
    assert!(!shown.contains("secret"), "{shown:?}");
    terminal.exp_string("restored 0").unwrap();
}

#[test]
fn the_escape_character_leaves_and_can_be_typed() {
    let server = Server::start();
    let mut terminal = shell(&server);
    send(&mut terminal, "echo '\r~~ a~.b\r'\r");
    terminal.exp_string("\r\n~ a~.b\r\n").unwrap();
    send(&mut terminal, "\r~?");
    terminal.exp_string("~.   end the connection").unwrap();
    send(&mut terminal, "\r~.");
    terminal.exp_string("left; the server ends the command").unwrap();
    terminal.exp_string("restored 130").unwrap();
    let mut terminal = at_terminal(&server, "--escape none -t $HOST 'read x; echo \"<$x>\"'");
    send(&mut terminal, "~.\r");
    terminal.exp_string("<~.>").unwrap();
    terminal.exp_string("restored 0").unwrap();
}

#[test]
fn this_program_can_be_stopped_and_the_terminal_is_the_shells_meanwhile() {
    let server = Server::start();
    let mut terminal = Run::of(Path::new("/bin/sh")).args(["-i"]).env("PS1", "here:").at_a_terminal();
    for _ in 0..3 {
        terminal.exp_string("here:").unwrap();
        let runs = format!("{} -t {} 'echo be\"\"gun; read x; echo got $x'\r", program("rexec"), server.address());
        send(&mut terminal, &runs);
        terminal.exp_string("begun\r\n").unwrap();
        send(&mut terminal, "~\u{1a}");
        terminal.exp_string("Stopped").unwrap();
        terminal.exp_string("here:").unwrap();
        // Not every shell sets right what it finds, and this one does not.
        send(&mut terminal, "stty -a | grep -o '.icanon'\n");
        terminal.exp_string(" icanon\r\n").unwrap();
        terminal.exp_string("here:").unwrap();
        send(&mut terminal, "fg\n");
        terminal.exp_string("rexec").unwrap();
        send(&mut terminal, "word\r");
        terminal.exp_string("got word\r\n").unwrap();
    }
    send(&mut terminal, "exit\r");
    terminal.exp_eof().unwrap();
}

#[test]
fn one_can_leave_a_command_that_takes_nothing_of_what_is_typed() {
    let server = Server::start();
    let mut terminal = at_terminal(&server, "-t $HOST 'stty -icanon -echo; echo be\"\"gun; exec sleep 1000'");
    terminal.exp_string("begun\r\n").unwrap();
    // More than there is credit for, and than a terminal holds.
    for _ in 0..120 {
        send(&mut terminal, &"x".repeat(4 * 1024));
    }
    send(&mut terminal, "\r~.");
    terminal.exp_string("left; the server ends the command").unwrap();
    terminal.exp_string("restored 130").unwrap();
}

#[test]
fn a_lost_connection_leaves_the_terminal_as_it_was() {
    let server = Server::start();
    // The other screen, the mouse, pasted text in brackets, no cursor: as an editor has them.
    let draws = r#"'printf "\033[?1049h\033[?1000h\033[?2004h\033[?25ldrawn"; while :; do sleep 0.1; done'"#;
    let mut terminal = at_terminal(&server, &format!("-t $HOST {draws}"));
    terminal.exp_string("drawn").unwrap();
    kill_process(Pid::from_raw(server.pid().try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    terminal.exp_string("\u{1b}[?1000l\u{1b}[?1049l\u{1b}[?2004l\u{1b}[?25h").unwrap();
    terminal.exp_string("the connection was lost").unwrap();
    terminal.exp_string("restored 254").unwrap();
}

#[test]
fn all_that_runs_on_it_goes_when_the_client_is_killed() {
    let server = Server::start();
    // A shell at a terminal does not listen to TERM.
    let runs = "'trap \"\" TERM; echo $$ > self; sh -c \"echo \\$\\$ > child; exec sleep 1000\" & sleep 1000'";
    let args = format!("-t $HOST --shell login {runs}");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{} {args} & echo $! > $ROOT/client; wait", program("rexec"))]);
    shell.env("LANDLINE_HOME", own_home()).env("HOST", server.address()).env("ROOT", server.root());
    let mut child = shell.stdin(std::process::Stdio::null()).spawn().unwrap();
    let number = |name: &str| std::fs::read_to_string(server.root().join(name)).ok()?.trim().parse::<i32>().ok();
    wait_until("all of them run", || ["client", "self", "child"].iter().all(|name| number(name).is_some()));
    kill_process(Pid::from_raw(number("client").unwrap()).unwrap(), Signal::KILL).unwrap();
    wait_until("all of them are gone", || {
        !["self", "child"].iter().any(|name| pid_in(&server.root().join(name)).is_some_and(exists))
    });
    child.wait().unwrap();
}

/// A window that is closed says HUP to the command too, which need not care; then the connection is ended.
#[test]
fn when_the_terminal_here_is_gone_so_is_the_command() {
    let server = Server::start();
    let (here, end) = pty_process::blocking::open().unwrap();
    let command = "trap '' HUP; echo $$ > self; exec sleep 1000";
    let rexec = pty_process::blocking::Command::new(program("rexec"));
    let mut rexec = rexec.args(["-t", server.address(), command]).env("LANDLINE_HOME", own_home()).spawn(end).unwrap();
    let file = server.root().join("self");
    wait_until("it has begun", || has_line(&file));
    drop(here);
    wait(&mut rexec);
    wait_until("the command is gone", || !pid_in(&file).is_some_and(exists));
}

#[test]
fn what_a_person_takes_out_of_the_reach_of_a_login_shell_survives_a_lost_connection() {
    let server = Server::start();
    let mut terminal = at_terminal(&server, "$HOST");
    send(
        &mut terminal,
        "nohup sleep 1000 > out 2>&1 & echo $! > nohup; setsid sh -c 'echo $$ > setsid; exec sleep 1000' &\r",
    );
    send(&mut terminal, "sleep 1000 & echo $! > job; echo $$ > shell; echo be''gun; sleep 1000\r");
    terminal.exp_string("begun\r\n").unwrap();
    let is_whole = || std::fs::read(server.root().join("setsid")).is_ok_and(|text| text.ends_with(b"\n"));
    wait_until("the last one has begun", is_whole);
    let [nohup, setsid, job, shell] =
        ["nohup", "setsid", "job", "shell"].map(|name| pid_in(&server.root().join(name)).unwrap());
    send(&mut terminal, "\u{3}\r~.");
    terminal.exp_string("left").unwrap();
    wait_until("the shell and its job are gone", || !exists(shell) && !exists(job));
    server.wait_for_log("disconnected");
    assert!(exists(nohup) && exists(setsid));
    for pid in [nohup, setsid] {
        kill(pid);
    }
}

#[test]
fn without_a_terminal_here_there_is_one_over_there() {
    let server = Server::start();
    let rexec = |args: &[&str]| Run::new("rexec").args([&["-t", server.address()], args].concat());
    let shown =
        rexec(&["--", "sh", "-c", "stty size; test -t 0 && test -t 1 && test -t 2 && echo all"]).stdin("").output();
    assert_eq!(shown.text(), "24 80\r\nall\r\n");
    // The end of the input is typed, behind half a line too.
    let shown = rexec(&["--", "sh", "-c", "stty -echo; echo ready; wc -c"]).stdin("").output();
    assert!(shown.text().ends_with("0\r\n"), "{:?}", shown.text());
    let shown = rexec(&["--", "cat"]).stdin("half").output();
    assert!(shown.text().ends_with("half"), "{:?}", shown.text());
    // What is not shown on a terminal needs no undoing.
    assert_eq!(rexec(&["--", "printf", r"\033[?1049hx"]).stdin("").output().text(), "\u{1b}[?1049hx");
    rexec(&["--", "no-such-program"]).code(127).stderr("command not found").prints("");
}

#[test]
fn the_shell_is_chosen() {
    let server = Server::start();
    let rexec = |args: &[&str]| Run::new("rexec").args(args.iter().copied()).args([server.address()]);
    rexec(&[]).args(["echo $0"]).prints("/bin/sh\n");
    rexec(&["--shell", "/bin/dash"]).args(["echo $0"]).prints("/bin/dash\n");
    let login = rexec(&["--shell", "login"]).args(["echo $0"]).output();
    assert!(login.text().starts_with('-'), "{}", login.text());
    rexec(&["--shell", "no-such-shell"]).args(["true"]).code(127).stderr("no-such-shell: command not found").prints("");
}

#[test]
fn the_modes_of_the_terminal_here_are_those_of_the_one_over_there() {
    let server = Server::start();
    let sets = "stty erase ^H intr ^Q start ^A kill ^X iutf8 -ixon ixany -echok tostop ocrnl";
    server.write("shows", "stty -a | tr ';' '\\n' | sort | grep -v -e speed -e rows -e columns");
    let script = format!(
        "{sets}; sh $ROOT/shows > $ROOT/here; {} -t $HOST 'sh shows > there; echo do\"\"ne; head -n 1'; echo left",
        program("rexec")
    );
    let run = Run::of(Path::new("/bin/sh")).args(["-c", &script]);
    let mut terminal = run.env("HOST", server.address()).env("ROOT", server.root()).at_a_terminal();
    terminal.exp_string("done").unwrap();
    // Backspace takes a character, of however many bytes, and whatever key it is.
    send(&mut terminal, "nö\u{8}\u{8}\u{8}yé\u{8}es\r");
    terminal.exp_string("yes\r\n").unwrap();
    terminal.exp_string("left").unwrap();
    let [here, there] = ["here", "there"].map(|name| String::from_utf8(server.read(name)).unwrap());
    assert!(here.contains("erase = ^H") && here.contains(" iutf8"), "{here}");
    assert_eq!(here, there);
}

#[test]
fn a_program_that_draws_gets_a_hint_and_a_terminal_hears_of_the_stop() {
    let server = Server::with(&["--guest", "all", "--grace", "1h"]);
    let mut terminal = at_terminal(&server, "$HOST 'less /dev/null'");
    terminal.exp_string("less is at home on a terminal; give it one with -t: rexec -t").unwrap();
    terminal.exp_string("restored 0").unwrap();
    // A login shell, and any other command that has a terminal.
    let mut login = at_terminal(&server, "$HOST");
    send(&mut login, "echo be''gun\r");
    login.exp_string("begun\r\n").unwrap();
    let mut command = at_terminal(&server, "-t $HOST 'echo begun; read word'");
    command.exp_string("begun\r\n").unwrap();
    server.signal(Signal::TERM);
    let told = "*** the server is being stopped; this terminal is cut in 3600s ***";
    login.exp_string(told).unwrap();
    command.exp_string(told).unwrap();
    // There is time to end what is to be ended.
    send(&mut login, "exit 4\r");
    login.exp_string("restored 4").unwrap();
    send(&mut command, "word\r");
    command.exp_string("restored 0").unwrap();
    assert!(server.stop().0.success());
}
