//! `tcp-client`: the prompt as a script, the prompt at a real terminal, and the measurement.

use crate::harness::{Run, Server, at_a_terminal};

#[test]
fn a_script_walks_the_whole_session() {
    let server = Server::start();
    server.write("src/main.rs", "fn main() {}");
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("up load"), "up").unwrap();
    let script = "\
echo hello there
mkdir -p a/b
cd a
pwd
put 'up load'
mv 'up load' b
ls b
!echo ran in $(basename $(pwd))
run echo quoted '  kept  '
cd ..
get src/main.rs down
rm -r a
ls
";
    let run = Run::new("tcp-client").args([server.address()]).stdin(script).current_dir(here.path());
    run.prints("hello there\n/a\nup load\nran in a\nquoted   kept  \nsrc/\n");
    assert_eq!(std::fs::read(here.path().join("down")).unwrap(), b"fn main() {}");
}

#[test]
fn a_script_goes_on_after_a_failure_and_ends_with_the_first_ones_code() {
    let server = Server::start();
    let run = |script: &str| Run::new("tcp-client").args([server.address()]).stdin(script);
    run("cd nowhere\n!exit 9\npwd\n").code(1).stderr("/nowhere: no such file").prints("/\n");
    run("!exit 9\ncd nowhere\n").code(9).any_stderr().prints("");
    run("fly\n").code(2).stderr("fly is no command").prints("");
    run("ls 'open\n").code(2).stderr("a quote is not closed").prints("");
    run("cd ..\n").code(1).stderr("leads above the root").prints("");
    run("# a remark\n\n").prints("");
}

#[test]
fn cd_survives_into_exec_get_and_put_and_never_moves_the_server() {
    let server = Server::start();
    server.write("deep/er/file", "x");
    let here = tempfile::tempdir().unwrap();
    let before = std::fs::read_link(format!("/proc/{}/cwd", server.pid())).unwrap();
    let script = "cd deep/er\nget file\nput file copy\n!ls\n";
    Run::new("tcp-client").args([server.address()]).stdin(script).current_dir(here.path()).prints("copy\nfile\n");
    assert_eq!(std::fs::read_link(format!("/proc/{}/cwd", server.pid())).unwrap(), before);
}

#[test]
fn listings_are_for_people_and_for_programs() {
    let server = Server::start();
    server.write("b.txt", "12345");
    std::os::unix::fs::symlink("b.txt", server.root().join("a link")).unwrap();
    let run = |script: &str| Run::new("tcp-client").args([server.address()]).stdin(script).output();
    let long = run("ls -l\n");
    let lines: Vec<&str> = long.text().lines().collect();
    assert!(lines[0].starts_with("lrwxrwxrwx") && lines[0].ends_with(" a link -> b.txt"), "{lines:?}");
    assert!(lines[1].starts_with("-rw-") && lines[1].contains(" 5 20") && lines[1].ends_with(" b.txt"), "{lines:?}");
    let json = run("ls --json\n").json();
    assert_eq!((&json[0]["kind"], &json[0]["target"]), (&"link".into(), &"b.txt".into()));
    assert_eq!((&json[1]["name"], &json[1]["size"]), (&"b.txt".into(), &5.into()));
    assert_eq!(run("ls b.txt\n").text(), "b.txt\n");
}

#[test]
fn a_guest_is_told_what_is_not_allowed_and_who_could_allow_it() {
    let server = Server::with(&["--guest", "echo,chat"]);
    let run = |script: &str| Run::new("tcp-client").args([&server.plain()]).stdin(script);
    let refused = "has echo,chat here; this connection proves no key: connect encrypted (without tcp://), or let \
                   the server's operator grant read to guests";
    run("ls\necho still in step\n").code(1).stderr(refused).prints("still in step\n");
    let help = run("help\n").output();
    assert!(help.text().lines().any(|line| line.contains("ls") && line.ends_with("(not allowed to you here)")));
    assert!(help.text().lines().any(|line| line.contains("echo") && !line.contains("not allowed")));
}

#[test]
fn echo_measures_and_checks_every_byte() {
    let server = Server::start();
    for size in ["0", "1", "64KiB", "4MiB", "9MiB"] {
        let args = ["echo", server.address(), "--count", "3", "--size", size, "--json"];
        let json = Run::new("tcp-client").args(args).output().json();
        assert_eq!(json["count"], 3);
        assert!(json["rtt_ms"]["p50"].as_f64().unwrap() > 0.0, "{json}");
        assert!(json["bytes_per_second"].is_number());
    }
    let text = Run::new("tcp-client").args(["echo", server.address(), "-c", "2"]).output();
    assert!(text.text().starts_with("2 round trips of 64 bytes in "), "{}", text.text());
    // One run is one request in the log, however many round trips it makes.
    let log = server.stop().1;
    assert_eq!(log.matches(r#"verb="echo""#).count(), 4 + 3 + 1, "{log}");
}

#[test]
fn a_prompt_outlives_the_servers_idle_timeout_and_stands_where_it_stood() {
    for (program, arguments) in [("tcp-client", &[][..]), ("rexec", &["--prompt"])] {
        let server = Server::with(&["--guest", "all", "--idle-timeout", "2s"]);
        server.write("a/b/file", "");
        let mut client = Run::new(program).args(arguments).args([server.address()]).spawn();
        client.say("cd a/b");
        client.say(if program == "rexec" { "ls" } else { "!ls" });
        client.wait_for("file");
        server.wait_for_log("no request came for");
        client.say(if program == "rexec" { "echo still; ls" } else { "!echo still; ls" });
        client.wait_for("still");
        client.wait_for("file");
        client.end_input();
        assert!(client.wait().success(), "{program}");
    }
}

#[test]
fn what_needs_no_connection_opens_none() {
    let server = Server::start();
    let address = server.address().to_owned();
    let mut client = Run::new("tcp-client").args([&address]).spawn();
    client.say("echo here");
    client.wait_for("here");
    // Gone: every attempt to connect again fails.
    server.stop();
    for line in ["# a remark", "fly", "mv one", "ls --long", "put nowhere", "ls 'open", "help"] {
        client.say(line);
    }
    client.wait_for("this list");
    client.say("quit");
    assert_eq!(client.wait().code(), Some(2));
}

#[test]
fn ctrl_c_at_a_prompt_whose_connection_was_ended_changes_nothing() {
    let server = Server::with(&["--guest", "all", "--idle-timeout", "2s"]);
    server.write("a/file", "");
    let mut terminal = at_a_terminal("rexec", &["--prompt", server.address()]);
    terminal.exp_string(":/> ").unwrap();
    terminal.send_line("cd a").unwrap();
    terminal.exp_string(":/a> ").unwrap();
    server.wait_for_log("no request came for");
    terminal.send_control('c').unwrap();
    terminal.exp_string(":/a> ").unwrap();
    terminal.send_line("ls").unwrap();
    terminal.exp_regex("file\r\n").unwrap();
    terminal.exp_string(":/a> ").unwrap();
    // A command that does not care is given up together with its connection, and the prompt stays.
    terminal.send_line("trap 'echo still; echo here' INT; echo wait''ing; while :; do sleep 1; done").unwrap();
    terminal.exp_string("waiting").unwrap();
    terminal.send_control('c').unwrap();
    terminal.exp_regex("still\r\nhere").unwrap();
    terminal.send_control('c').unwrap();
    terminal.exp_string(":/a> ").unwrap();
    terminal.send_line("ls").unwrap();
    terminal.exp_regex("file\r\n").unwrap();
    terminal.send_line("exit").unwrap();
    terminal.exp_eof().unwrap();
}

#[test]
fn ctrl_c_leaves_chat() {
    let server = Server::start();
    let terminal = |arguments: &[&str]| {
        Run::new("tcp-client").args(arguments).env("COLUMNS", "200").env("USER", "ann").at_a_terminal()
    };
    let mut chat = terminal(&["chat", server.address()]);
    chat.exp_string("you are ann in lobby").unwrap();
    chat.exp_string("lobby> ").unwrap();
    chat.send("half a line").unwrap();
    chat.send_control('c').unwrap();
    chat.exp_eof().unwrap();
    let ended = format!("{:?}", chat.process().wait());
    assert!(ended.contains("Exited(") && ended.contains(", 130)"), "{ended}");

    let mut prompt = terminal(&[server.address()]);
    prompt.exp_string("/> ").unwrap();
    prompt.send_line("chat").unwrap();
    prompt.exp_string("lobby> ").unwrap();
    prompt.send_control('c').unwrap();
    prompt.exp_string("/> ").unwrap();
    prompt.send_line("quit").unwrap();
    prompt.exp_eof().unwrap();
}

#[test]
fn at_a_terminal_there_is_a_prompt_with_completion_and_history() {
    let server = Server::start();
    server.write("some directory/x", "");
    let mut terminal = at_a_terminal("tcp-client", &[server.address()]);
    terminal.exp_string("/> ").unwrap();
    // Tab completes a remote directory, and quotes its space.
    terminal.send("cd so\t").unwrap();
    terminal.flush().unwrap();
    terminal.exp_string("some\\ directory/").unwrap();
    terminal.send_line("").unwrap();
    terminal.exp_string("/some directory> ").unwrap();
    terminal.send_line("ls").unwrap();
    terminal.exp_regex("x\r\n").unwrap();
    // The first line comes back with three ups; "cd" alone leads to the root.
    terminal.send_line("cd").unwrap();
    terminal.exp_string(":/> ").unwrap();
    terminal.send("\u{1b}[A\u{1b}[A\u{1b}[A").unwrap();
    terminal.send_line("").unwrap();
    terminal.exp_string(":/some directory> ").unwrap();
    terminal.send_line("quit").unwrap();
    terminal.exp_eof().unwrap();
}

#[test]
fn the_same_words_leave_every_program() {
    let server = Server::with(&["--guest", "all", "--wire", "raw", "--reply", "echo"]);
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let tcp = server.address();
    for word in ["q", "quit", "exit"] {
        for (name, args) in [
            ("tcp-client", &[tcp][..]),
            ("tcp-client", &["chat", tcp, "--nick", word]),
            ("tcp-client", &["--wire", "raw", tcp]),
            ("rexec", &["--prompt", tcp]),
            ("rexec", &["--wire", "raw", tcp]),
            ("udp-echo", &["send", &udp]),
            ("udp-echo", &["chat", &udp]),
        ] {
            let mut terminal = at_a_terminal(name, args);
            terminal.exp_string("> ").unwrap();
            terminal.send_line(word).unwrap();
            terminal.exp_eof().unwrap_or_else(|error| panic!("{word} does not leave {name} {args:?}: {error}"));
        }
    }
}

#[test]
fn the_same_words_are_data_from_a_pipe() {
    let server = Server::start();
    let run = Run::new("rexec").args([server.address()]).stdin("exit\necho on\nquit\n");
    run.code(127).stderr("quit").prints("on\n");
    let ann = Run::new("tcp-client").args(["chat", server.address(), "--nick", "ann"]).spawn();
    ann.wait_for("* ann joined");
    let run = Run::new("tcp-client").args(["chat", server.address(), "--nick", "bob"]).stdin("q\nquit\nexit\n");
    run.any_stderr().output();
    for word in ["q", "quit", "exit"] {
        ann.wait_for(&format!("bob: {word}"));
    }
}
