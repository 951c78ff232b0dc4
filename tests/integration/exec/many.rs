//! One command on many machines.

use crate::harness::files::set_mode;
use crate::harness::{Run, Server, wait_until};

fn list(servers: &[Server]) -> String {
    servers.iter().map(Server::address).collect::<Vec<_>>().join(",")
}

fn servers(count: usize) -> Vec<Server> {
    (0..count).map(|_| Server::start()).collect()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn each_line_has_its_hosts_name() {
    let servers = servers(3);
    for (at, server) in servers.iter().enumerate() {
        server.write("name", format!("I am {at}\nand no other"));
    }
    let output = Run::new("rexec").args(["-H", &list(&servers), "cat name; echo oops >&2"]).any_stderr().output();
    let mut want: Vec<String> = Vec::new();
    for (at, server) in servers.iter().enumerate() {
        want.push(format!("{}: I am {at}", server.address()));
        want.push(format!("{}: and no other", server.address()));
    }
    want.sort();
    assert_eq!(sorted(output.text()), want);
    for server in &servers {
        assert!(output.stderr.contains(&format!("{}: oops\n", server.address())), "{}", output.stderr);
    }
    assert!(output.stderr.contains("3 hosts: all ended with 0"), "{}", output.stderr);
    // Exact arguments, and the words of a command that begins with what could be a host.
    let hosts = list(&servers);
    let argv = Run::new("rexec").args(["-q", "-H", &hosts, "--", "printf", "<%s>", "a b"]).output();
    assert!(argv.text().lines().all(|line| line.ends_with(": <a b>")), "{}", argv.text());
    let words = Run::new("rexec").args(["-q", "-H", &hosts, "echo", "$((1 + 1))"]).output();
    assert!(words.text().lines().count() == 3 && words.text().lines().all(|line| line.ends_with(": 2")));
}

/// As `| head -1` does it: those that would write nothing more, and never end, are ended too.
#[test]
fn when_the_output_is_not_read_all_hosts_are_ended() {
    let servers = servers(3);
    for server in &servers[..2] {
        server.write("silent", "");
    }
    let command = "if test -e silent; then echo $$ > self; exec sleep 1000; fi; while ! test -e go; do sleep 0.02; done; exec yes";
    let mut run = Run::new("rexec").args(["-H", &list(&servers), command]).spawn();
    let begun =
        |server: &Server| std::fs::read_to_string(server.root().join("self")).is_ok_and(|pid| pid.ends_with('\n'));
    wait_until("the silent ones have begun", || servers[..2].iter().all(begun));
    servers[2].write("go", "");
    run.wait_for(": y");
    run.stdout = std::sync::mpsc::channel().1;
    assert_eq!(run.wait().code(), Some(0));
    assert!(run.stderr.iter().next().is_none(), "and nobody is told of lines that were cut");
}

#[test]
fn the_highest_code_counts_and_one_host_stops_no_other() {
    let servers = servers(3);
    servers[1].write("code", "exit 7");
    let dead = Server::start();
    let gone = dead.address().to_owned();
    dead.stop();
    let command = "[ ! -e code ] || . ./code; echo fine";
    let hosts = format!("{},{gone}", list(&servers));
    let mixed = Run::new("rexec").args(["-H", &hosts, command]).code(253).any_stderr().output();
    assert_eq!(mixed.text().lines().count(), 2);
    assert!(mixed.stderr.contains("exit 7") && mixed.stderr.contains("connection refused"), "{}", mixed.stderr);
    assert!(mixed.stderr.contains("4 hosts: 2 ended with 0, 2 with another code, 253 at most: "), "{}", mixed.stderr);
    Run::new("rexec").args(["-q", "-H", &list(&servers), command]).code(7).any_stderr().output();
}

#[test]
fn the_same_answer_is_shown_once() {
    let servers = servers(4);
    servers[2].write("odd", "");
    let command = "if [ -e odd ]; then echo odd; exit 3; else echo even; fi";
    let output = Run::new("rexec").args(["-gH", &list(&servers), command]).code(3).any_stderr().output();
    let lines: Vec<&str> = output.text().lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].ends_with("(3 hosts):") && lines[1] == "  even", "{lines:?}");
    assert!(lines[2] == format!("{} (1 host, exit 3):", servers[2].address()) && lines[3] == "  odd", "{lines:?}");
    // What keeps two hosts from answering is the same thing too.
    let dead =
        Run::new("rexec").args(["-gqH", "unix:/no/such/a,unix:/no/such/b", "true"]).code(253).any_stderr().output();
    let lines: Vec<&str> = dead.text().lines().collect();
    assert!(lines.len() == 1 && lines[0].contains("(2 hosts, cannot connect: "), "{lines:?}");
}

#[test]
fn programs_get_an_array_or_events() {
    let servers = servers(2);
    servers[1].write("code", "");
    let command = "echo out; echo err >&2; [ ! -e code ] || exit 9";
    let output = Run::new("rexec").args(["--json", "-H", &list(&servers), command]).code(9).any_stderr().output();
    let json = output.json();
    for (at, code) in [(0, 0), (1, 9)] {
        let host = &json[at];
        assert_eq!(host["host"], servers[at].address());
        assert_eq!((&host["outcome"], &host["exit_code"]), (&"exited".into(), &code.into()), "{json}");
        assert_eq!((&host["stdout"], &host["stderr"]), (&"out\n".into(), &"err\n".into()), "{json}");
    }
    let stream =
        Run::new("rexec").args(["--json-stream", "-H", &list(&servers), command]).code(9).any_stderr().output();
    let events: Vec<serde_json::Value> =
        stream.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |event: &str| events.iter().filter(|found| found["event"] == event).count();
    assert_eq!((count("stdout"), count("stderr"), count("outcome")), (2, 2, 2), "{events:?}");
}

#[test]
fn output_goes_into_files() {
    let servers = servers(2);
    let here = tempfile::tempdir().unwrap();
    let run = Run::new("rexec").args(["-q", "--out", "logs", "-H", &list(&servers), "printf 'a\\377b'; echo err >&2"]);
    run.current_dir(here.path()).prints("");
    for server in &servers {
        let read = |end: &str| std::fs::read(here.path().join(format!("logs/{}.{end}", server.address()))).unwrap();
        assert_eq!(read("stdout"), b"a\xffb");
        assert_eq!(read("stderr"), b"err\n");
    }
}

#[test]
fn so_many_at_a_time_and_each_with_its_deadline() {
    let servers = servers(4);
    let hosts = list(&servers);
    let shared = tempfile::tempdir().unwrap();
    let dir = shared.path().display();
    // Each counts who is there at the same time.
    let command = format!("d=$(mktemp {dir}/run.XXXXXX); sleep 0.3; ls {dir} | wc -l; rm $d");
    for (fanout, most) in [("1", 1), ("2", 2)] {
        let output = Run::new("rexec").args(["-q", "--fanout", fanout, "-H", &hosts, &command]).output();
        let counts = output.text().lines().map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap());
        assert!(counts.max().is_some_and(|count| (1..=most).contains(&count)), "{}", output.text());
    }
    let late =
        Run::new("rexec").args(["--timeout", "200ms", "-H", &hosts, "sleep 1000"]).code(124).any_stderr().output();
    assert_eq!(late.stderr.matches(": timed out").count(), 4, "{}", late.stderr);
}

#[test]
fn hosts_stand_in_files_and_are_asked_once() {
    let servers = servers(2);
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("hosts");
    std::fs::write(&file, format!("# all of them\n\n{}\n{}\n", list(&servers), servers[0].address())).unwrap();
    let file = file.display().to_string();
    let output = Run::new("rexec").args(["-q", "--hosts-file", &file, "echo hi"]).output();
    assert_eq!(output.text().lines().count(), 2);
    for (args, said) in [
        (&["-H", "a[1-", "true"][..], "a bracket is not closed"),
        (&["-H", ",", "true"], "the list of hosts is empty"),
        (&["-H", "a"], "name a command"),
        (&["--group", "a", "true"], "are for several hosts"),
        (&["--fanout", "0", "-H", "a", "true"], "1..=1000"),
        (&[], "name a HOST"),
    ] {
        Run::new("rexec").args(args).code(252).stderr(said).prints("");
    }
}

#[test]
fn groups_stand_in_the_config() {
    let servers = servers(3);
    let home = tempfile::tempdir().unwrap();
    let home = home.path().join("home");
    // The same user as the servers'.
    std::fs::create_dir(&home).unwrap();
    set_mode(&home, 0o700);
    std::fs::copy(crate::harness::own_home().join("identity.pem"), home.join("identity.pem")).unwrap();
    let write = |text: &str| {
        std::fs::write(home.join("config.toml"), text).unwrap();
        set_mode(&home.join("config.toml"), 0o600);
    };
    let address = |at: usize| servers[at].address();
    write(&format!(
        "[hosts]\nbuild = \"{}\"\n\n[groups]\nweb = \"{}\"\nall = \"@web,{}\"\nring = \"@all,@ring\"\n",
        address(0),
        address(1),
        address(2),
    ));
    let rexec = |args: &[&str]| Run::new("rexec").env("LANDLINE_HOME", &home).args(args);
    let hosts_of = |args: &[&str]| {
        let output = rexec(&[&["-q", "--json"], args, &["--", "true"]].concat()).output();
        let json = output.json();
        let hosts: Vec<_> =
            json.as_array().unwrap().iter().map(|host| host["host"].as_str().unwrap().to_owned()).collect();
        hosts
    };
    assert_eq!(hosts_of(&["-H", "@web"]), [address(1)]);
    assert_eq!(hosts_of(&["-H", &format!("{},@all,@web", address(0))]), [address(0), address(1), address(2)]);
    let list = home.with_file_name("list");
    std::fs::write(&list, "# all\n@all\n").unwrap();
    assert_eq!(hosts_of(&["--hosts-file", list.to_str().unwrap()]), [address(1), address(2)]);
    rexec(&["-H", "@wbe", "true"]).code(252).stderr("@wbe: no such group; there are @all, @ring, @web").prints("");
    rexec(&["-H", "@ring", "true"]).code(252).stderr("@ring names itself: @ring, @ring").prints("");
    write("[groups]\nweb = 7\n");
    rexec(&["-H", "@web", "true"])
        .code(251)
        .stderr("config.toml: line 2: web: wants a list of hosts in quotes")
        .prints("");
}

#[test]
fn ctrl_c_ends_all_of_them() {
    let servers = servers(3);
    let mut running = Run::new("rexec").args(["-H", &list(&servers), "echo up; sleep 60"]).spawn();
    for _ in &servers {
        running.wait_for(": up");
    }
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.wait().code(), Some(130));
    for server in &servers {
        server.wait_for_log(r#"verb="exec""#);
    }
}

/// As many ports of one server, each with a connection, a handshake and a command of its own.
#[test]
fn five_hundred_at_once() {
    let binds: Vec<&str> = (0..500).flat_map(|_| ["--bind", "127.0.0.1:0"]).collect();
    let server = Server::with(&[&["--max-per-address", "1000"], &binds[..]].concat());
    assert_eq!(server.addresses().len(), 500);
    let hosts = server.addresses().join(",");
    let output = Run::new("rexec").args(["--json", "--fanout", "100", "-H", &hosts, "--", "true"]).output();
    let json = output.json();
    let all = json.as_array().unwrap();
    let wanted = server.addresses().iter().map(String::as_str);
    assert!(all.iter().map(|host| host["host"].as_str().unwrap()).eq(wanted));
    assert!(all.iter().all(|host| host["exit_code"] == 0), "{json}");
}

/// Of any length, and whatever the others say meanwhile.
#[test]
fn a_long_line_stays_one_line() {
    let servers = servers(3);
    let long = 3_000_000;
    let command =
        format!("echo a >&2; head -c {long} /dev/zero | tr '\\0' x; echo y >&2; printf 'z\\nlast'; echo; echo b >&2");
    let output = Run::new("rexec").args(["-q", "-H", &list(&servers), &command]).any_stderr().output();
    let mut want = Vec::new();
    for server in &servers {
        want.push(format!("{}: {}z", server.address(), "x".repeat(long)));
        want.push(format!("{}: last", server.address()));
    }
    want.sort();
    let lines = sorted(output.text());
    // Not shown: they are long.
    assert!(lines == want, "{} lines of {:?}", lines.len(), lines.iter().map(|line| line.len()).collect::<Vec<_>>());
    let mut want: Vec<_> =
        servers.iter().flat_map(|server| ["a", "b", "y"].map(|word| format!("{}: {word}", server.address()))).collect();
    want.sort();
    assert_eq!(sorted(&output.stderr), want);
    // One that never ends is a line when its command is over.
    let command = format!("head -c {long} /dev/zero | tr '\\0' x");
    let output = Run::new("rexec").args(["-q", "-H", &list(&servers), &command]).output();
    assert!(output.text().lines().count() == 3 && output.text().ends_with("x\n"));
}

#[test]
fn bytes_that_are_no_text_are_marked() {
    let servers = servers(2);
    let command = "printf 'a\\377b'; printf '\\303\\251' >&2";
    let json = Run::new("rexec").args(["--json", "-H", &list(&servers), command]).output().json();
    for host in json.as_array().unwrap() {
        assert_eq!((&host["stdout"], &host["stdout_base64"]), (&serde_json::Value::Null, &"Yf9i".into()), "{json}");
        assert_eq!((&host["stderr"], &host["stderr_base64"]), (&"\u{e9}".into(), &serde_json::Value::Null), "{json}");
    }
    // In the encoding that was said it is text.
    let args = ["--json", "--encoding", "latin1", "-H", servers[0].address(), command];
    assert_eq!(Run::new("rexec").args(args).output().json()[0]["stdout"], "a\u{ff}b");
    // What is too long is cut, and between two characters.
    let command = "printf x; yes '\u{e9}' | tr -d '\\n' | head -c 2000000";
    let json = Run::new("rexec").args(["--json", "-H", servers[0].address(), command]).output().json();
    assert!(json[0]["stdout"].as_str().unwrap().len() > 1_000_000 && json[0]["stdout_base64"].is_null());
    assert_eq!(json[0]["stdout_bytes"], 2_000_001);
}

#[test]
fn the_fan_out_stays_below_the_limit_on_open_files() {
    let binds: Vec<&str> = (0..40).flat_map(|_| ["--bind", "127.0.0.1:0"]).collect();
    let server = Server::with(&binds);
    let hosts = server.addresses().join(",");
    let here = tempfile::tempdir().unwrap();
    let limited = |limit: &str, args: &[&str]| {
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        let run = Run::of(std::path::Path::new("/bin/sh")).args(["-c", &script, crate::harness::program("rexec")]);
        run.current_dir(here.path()).args(args).args(["--fanout", "100", "-H", &hosts, "--", "true"])
    };
    let lowered =
        limited("-n 40", &[]).stderr("on 4 hosts at a time, not 40: 40 open files are allowed (ulimit -n)").output();
    assert!(lowered.stderr.contains("40 hosts: all ended with 0"), "{}", lowered.stderr);
    limited("-n 40", &["-q", "--out", "logs"]).prints("");
    assert_eq!(std::fs::read_dir(here.path().join("logs")).unwrap().count(), 80);
    // Where it may, it raises the limit.
    let raised = limited("-Sn 40", &[]).any_stderr().output();
    assert_eq!(raised.stderr, "rexec: 40 hosts: all ended with 0\n");
}

#[test]
fn files_of_hosts_are_read_as_people_write_them() {
    let servers = servers(3);
    let here = tempfile::tempdir().unwrap();
    let [a, b, c] = [0, 1, 2].map(|at| servers[at].address());
    let text = format!("\u{feff}# all\r\n  {a} # the old one\t#\r\n\r\n{b},\t#x\n {c}#no comment\n");
    let file = here.path().join("hosts");
    let hosts_of = |text: &str, run: Run| {
        let json = run.stdin(text).output().json();
        json.as_array().unwrap().iter().map(|host| host["host"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let good = text.replace("#no comment", "");
    std::fs::write(&file, &good).unwrap();
    let run = || Run::new("rexec").current_dir(here.path()).args(["-q", "--json"]);
    assert_eq!(hosts_of("", run().args(["--hosts-file", "hosts", "--", "true"])), [a, b, c]);
    assert_eq!(hosts_of(&good, run().args(["--hosts-file", "-", "--", "true"])), [a, b, c]);
    assert_eq!(hosts_of(&good, run().args(["-H", c, "--hosts-file", "-", "-x", b, "true"])), [c, a]);
    for (text, why) in [
        (text.as_str(), "hosts: line 5: "),
        ("a\nb[1-\n", "hosts: line 2: b[1-: a bracket is not closed"),
        ("a\n\n@gone # or not\n", "hosts: line 3: @gone: no such group"),
        ("a\na b\n", "hosts: line 2: \"a b\""),
        ("# nobody\n", "the list of hosts is empty"),
    ] {
        std::fs::write(&file, text).unwrap();
        run().args(["--hosts-file", "hosts", "true"]).code(252).stderr(why).prints("");
    }
    std::fs::write(&file, b"a\n\xff\n").unwrap();
    run().args(["--hosts-file", "hosts", "true"]).code(252).stderr("hosts: line 2: is not UTF-8").prints("");
    run().args(["--hosts-file", "gone", "true"]).code(252).stderr("gone: No such file").prints("");
    run().args(["--hosts-file", "-", "--hosts-file", "-", "true"]).code(252).stderr("standard input, once").prints("");
}

#[test]
fn hosts_are_left_out_and_counted_in_steps() {
    let server = Server::start();
    let (host, port) = server.address().rsplit_once(':').unwrap();
    let shown = |args: &[&str]| {
        let json = Run::new("rexec").args(["-q", "--json", "-p", port]).args(args).args(["--", "true"]).output().json();
        json.as_array().unwrap().iter().map(|host| host["host"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // A host is the same with its port and without.
    let other = format!("localhost:{port}");
    assert_eq!(shown(&["-H", &format!("localhost,{host},{other}"), "-x", server.address()]), ["localhost"]);
    assert_eq!(shown(&["-H", &format!("{host},localhost"), "-x", "localhost", "--exclude", "n[1-9]"]), [host]);
    let all = Run::new("rexec").args(["-H", "a,b[0-20/5]", "-x", "b[0-20/10],a", "-x", "b[05-15/5],b5,b15", "true"]);
    all.code(252).stderr("--exclude leaves all of them out").prints("");
    Run::new("rexec").args(["-x", "a", "b", "true"]).code(252).stderr("are for several hosts").prints("");
}

#[test]
fn one_host_and_lists_of_hosts_are_not_mixed() {
    for args in [
        &["one", "-H", "two", "uptime"][..],
        &["one", "-H", "two", "--", "uptime"],
        &["one", "--hosts-file", "two", "uptime"],
        &["one", "-q", "--hosts=two", "-g", "uptime"],
        &["one", "-H", "two"],
    ] {
        let refused =
            Run::new("rexec").args(args).code(252).stderr("one stands before --hosts or --hosts-file").output();
        assert!(refused.text().is_empty());
    }
    // What stands behind the command's first word is the command's.
    let server = Server::start();
    Run::new("rexec").args([server.address(), "echo", "-H", "a"]).prints("-H a\n");
    let prefix = format!("{}: ", server.address());
    for (command, said) in [
        (&["echo", "-H", "a", "-q", "-x", "b", "-C", "/"][..], "-H a -q -x b -C /"),
        (&["echo", "--", "a"], "-- a"),
        (&["echo", "a", "--", "-x"], "a -- -x"),
        (&["echo", "--json"], "--json"),
    ] {
        let run = Run::new("rexec").args(["-q", "-H", server.address()]).args(command);
        run.prints(&format!("{prefix}{said}\n"));
    }
}
