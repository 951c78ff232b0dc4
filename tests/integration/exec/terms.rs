//! On which terms a command runs: its environment, and where its outputs go.

use crate::harness::files::set_mode;
use crate::harness::{Run, Server};

fn rexec(server: &Server, args: &[&str]) -> Run {
    let (options, command) = args.split_at(args.len() - 1);
    Run::new("rexec").args(options).args([server.address(), command[0]])
}

#[test]
fn a_command_has_a_clean_environment_and_what_its_client_sends() {
    let server = Server::start();
    let names = "env | cut -d= -f1 | grep -v '^_$' | sort | tr '\\n' ' '";
    let clean = rexec(&server, &[names]).env("SECRET", "x").output();
    let words: Vec<&str> = clean.text().split_whitespace().collect();
    for word in &words {
        assert!(
            ["HOME", "LANDLINE_COMMAND", "LANDLINE_PEER", "LANG", "PATH", "PWD", "SHLVL", "OLDPWD", "USER"]
                .contains(word),
            "{words:?}"
        );
    }
    assert!(words.contains(&"PATH") && words.contains(&"LANDLINE_PEER"), "{words:?}");
    rexec(&server, &["echo $LANDLINE_PEER"]).prints("own identity\n");
    rexec(&server, &["-e", "A=a b", "--env", "B=$x=y", "-e", "A=c", "echo \"$A|$B\""]).prints("c|$x=y\n");
    rexec(&server, &["-e", "FROM_HERE", "echo $FROM_HERE"]).env("FROM_HERE", "here").prints("here\n");
    rexec(&server, &["-e", "NOT_HERE", "true"]).code(252).stderr("NOT_HERE: is not set here").prints("");
    rexec(&server, &["-e", "=x", "true"]).code(252).stderr("\"\" is no name").prints("");
    let ours = rexec(&server, &["-e", "LANDLINE_PEER=root", "true"]);
    ours.code(251).stderr("LANDLINE_PEER is set by the server").prints("");
    // Programs are looked for where the variable says.
    server.write("bin/tool", "#!/bin/sh\necho mine\n");
    set_mode(&server.root().join("bin/tool"), 0o755);
    let path = format!("PATH={}/bin:/usr/bin:/bin", server.root().display());
    Run::new("rexec").args(["-e", &path, server.address(), "--", "tool"]).prints("mine\n");
    Run::new("rexec")
        .args(["-e", "PATH=/nowhere", server.address(), "--", "ls"])
        .code(127)
        .stderr("not found")
        .prints("");
}

#[test]
fn variables_stand_in_files_too() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("env"), "# settings\n\nONE=1\n  TWO=two words  \nONE=uno\n").unwrap();
    let file = here.path().join("env").display().to_string();
    rexec(&server, &["--env-file", &file, "-e", "THREE=3", "echo $ONE $TWO $THREE"]).prints("uno two words 3\n");
    rexec(&server, &["--env-file", "/no/such/file", "true"]).code(252).stderr("/no/such/file: No such file").prints("");
    let many: Vec<String> = (0..1_001).map(|at| format!("V{at}=x")).collect();
    std::fs::write(here.path().join("env"), many.join("\n")).unwrap();
    rexec(&server, &["--env-file", &file, "true"]).code(251).stderr("1001 variables; 1000 is the most").prints("");
}

#[test]
fn both_outputs_as_one_keep_their_order() {
    let server = Server::start();
    let script = "for n in 1 2 3 4 5 6 7 8 9; do echo out $n; echo err $n >&2; done";
    let lines: Vec<_> = (1..10).map(|n| format!("out {n}\nerr {n}\n")).collect();
    let want = lines.concat();
    for _ in 0..5 {
        rexec(&server, &["--merge", script]).prints(&want);
    }
    let cat = rexec(&server, &["--merge", "cat; echo end >&2"]).stdin("input\n");
    cat.prints("input\nend\n");
    let json = rexec(&server, &["--merge", "--json", "echo out; echo err >&2"]).any_stderr().output();
    let last: serde_json::Value = serde_json::from_str(json.text().lines().last().unwrap()).unwrap();
    assert_eq!((&last["stdout_bytes"], &last["stderr_bytes"]), (&8.into(), &0.into()));
}

/// As shells, containers and services write such files, and nothing of them expanded.
#[test]
fn a_file_of_variables_is_read_as_it_is_written() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("env");
    let text = "\u{feff}export A=\"a $HOME `id` b\"\r\n\n# C=1\nexport\tB='b  '\nFROM_HERE\nD=\"\"\"\nE=x # y\nF=\n";
    std::fs::write(&file, text).unwrap();
    let rexec = |args: &[&str]| {
        Run::new("rexec")
            .current_dir(here.path())
            .env("FROM_HERE", "here")
            .args(["--env-file", "env", server.address()])
            .args(args)
    };
    rexec(&["printf '<%s>' \"$A\" \"$B\" \"$FROM_HERE\" \"$D\" \"$E\" \"${F-unset}\" \"${C-unset}\""])
        .prints("<a $HOME `id` b><b  ><here><\"><x # y><><unset>");
    for (text, why) in [
        ("A=b\n\n1=c\n", "env: line 3: \"1\" is no name; write NAME=VALUE"),
        ("export A B=c\n", "env: line 1: \"A B\" is no name"),
        ("A=b\nexport =c\n", "env: line 2: \"\" is no name"),
        ("A=b\nNOT_HERE\n", "env: line 2: NOT_HERE: is not set here; write NOT_HERE=VALUE"),
        ("A=\0\n", "env: line 1: holds a NUL"),
    ] {
        std::fs::write(&file, text).unwrap();
        rexec(&["true"]).code(252).stderr(why).prints("");
    }
}

#[test]
fn a_command_longer_than_an_argument_may_be_runs_in_every_shell() {
    let server = Server::start();
    let words: Vec<String> = (0..60_000).map(|n| format!("word{n}")).collect();
    let long = |args: &[&str]| Run::new("rexec").args(args.iter().copied()).args([server.address()]);
    let counted = |run: Run| run.args(["cat;", "echo"]).args(&words).args(["|", "wc", "-w;", "exit", "5"]);
    for args in [&[][..], &["--shell", "bash"], &["--shell", "login"], &["--merge"]] {
        counted(long(args)).stdin("input\n").code(5).prints("input\n60000\n");
    }
    counted(long(&["-t"])).stdin("").code(5).prints("60000\r\n");
    let id = counted(long(&["--detach"])).output();
    Run::new("rexec").args(["--wait", id.text().trim(), server.address()]).code(5).prints("");
    // Its name is the shell's, and no descriptor of ours is left to what it starts.
    let shows = ["echo $0; ls /proc/self/fd | wc -l;", "true"];
    let short = long(&[]).args(shows).output();
    assert!(short.text().starts_with("/bin/sh\n"));
    long(&[]).args(shows).args(&words).prints(short.text());
    // Exact arguments are what they are: one may be so long, and all of them so long.
    let fits = "x".repeat(128 * 1024 - 1);
    Run::new("rexec").args([server.address(), "--", "expr", "length", &fits]).prints("131071\n");
}

#[test]
fn an_empty_command_and_a_file_that_is_not_there_are_wrong_usage() {
    let server = Server::start();
    let rexec = |args: &[&str]| Run::new("rexec").args(args.iter().copied());
    let address = server.address();
    for args in [
        &[address, ""][..],
        &[address, " "],
        &[address, "", "\t\n"],
        &[address, "--", ""],
        &[address, "--", "", "x"],
        &["-t", address, ""],
        &["--detach", address, ""],
        &["--wire", "raw", address, ""],
        &["-H", address, ""],
        &["--place", "here", address, ""],
    ] {
        rexec(args).code(252).stderr("the command is empty").prints("");
    }
    rexec(&[address, "--", "printf", "%s|", "", "x"]).prints("|x|");
    for file in ["/no/such/file", "/"] {
        rexec(&["--env-file", file, address, "true"]).code(252).stderr(file).prints("");
        rexec(&["--hosts-file", file, "true"]).code(252).stderr(file).prints("");
    }
}
