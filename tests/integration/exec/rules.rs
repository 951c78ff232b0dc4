//! Rules on commands: a known peer that may run some commands only, or one whatever it asks for.

use crate::harness::machine::Machine;
use crate::harness::{Run, Server};

/// A server, and a machine that is known there as `laptop` and calls it `server`.
pub(super) struct Two {
    pub(super) desk: Machine,
    pub(super) laptop: Machine,
    pub(super) server: Server,
}

impl Two {
    /// Introduced with these words of `tcp-server pair`.
    pub(super) fn new(args: &[&str]) -> Self {
        let (desk, laptop) = (Machine::new(), Machine::new());
        let audit = desk.dir.path().join("audit.jsonl");
        let server = desk.server(&["--guest", "none", "--audit", audit.to_str().unwrap()]);
        laptop.pair_with(&desk, server.address(), &[&["--name", "laptop"], args].concat());
        Self { desk, laptop, server }
    }

    pub(super) fn peers(&self, args: &[&str]) -> Run {
        self.desk.run("tcp-server").args(["peers"]).args(args)
    }

    pub(super) fn rexec(&self, args: &[&str]) -> Run {
        self.laptop.run("rexec").args(args)
    }

    /// What the audit log has of commands: event, about, outcome.
    fn audit(&self) -> Vec<[String; 3]> {
        let text = std::fs::read_to_string(self.desk.dir.path().join("audit.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let lines = lines.filter(|line| line["verb"] == "exec");
        lines.map(|line| ["event", "about", "outcome"].map(|key| line[key].as_str().unwrap_or("").into())).collect()
    }
}

#[test]
fn only_what_is_listed_runs_and_exactly_so() {
    let two = Two::new(&["--allow", "echo,exec"]);
    two.server.write("sub/notes", "x");
    two.rexec(&["server", "echo anything"]).prints("anything\n");
    let allowed = two.peers(&["allow", "laptop", "echo,exec", "--command", "echo 'a b'", "--command", "pwd -P"]);
    allowed.prints("laptop may echo,exec here, and run only: echo 'a b' | pwd -P\n");
    two.rexec(&["server", "--", "echo", "a b"]).prints("a b\n");
    let root = two.server.root().canonicalize().unwrap();
    two.rexec(&["-C", "sub/..", "server", "--", "pwd", "-P"]).prints(&format!("{}\n", root.display()));
    let only = "exec: laptop may run only: echo 'a b' | pwd -P (exactly so: rexec HOST -- echo 'a b'); ";
    for (args, why) in [
        (&["server", "--", "echo", "a", "b"][..], "it asked for: echo a b"),
        (&["server", "--", "touch", "made"], "it asked for: touch made"),
        (&["server", "echo", "a b"], "it asked a shell for: echo a b"),
        (&["-e", "A=secret", "server", "--", "echo", "a b"], "without variables of its own, and it sets A"),
        (&["-C", "sub", "server", "--", "pwd", "-P"], "in / alone, and it asked for /sub"),
    ] {
        two.rexec(args).code(251).stderr(&format!("{only}{why}")).prints("");
    }
    // Also at a prompt, where every command is a shell's, in a directory or not.
    for script in ["run echo a b\n", "cd sub\nrun pwd -P\n"] {
        two.laptop.run("tcp-client").args(["server"]).stdin(script).code(1).stderr(only).prints("");
    }
    assert_eq!(two.server.names(""), ["sub"]);
    let ended = |about: &str, outcome: &str| {
        let audit = two.audit();
        assert!(
            audit.iter().any(|[event, what, how]| event == "ended" && what == about && how.contains(outcome)),
            "{audit:?}"
        );
        assert!(!audit.iter().any(|[event, what, _]| event == "began" && what == "touch made"), "{audit:?}");
    };
    ended("echo a b", "exit 0");
    ended("touch made", only);
}

#[test]
fn a_directory_that_the_session_moved_to_counts_too() {
    let two = Two::new(&["--allow", "exec", "--command", "pwd"]);
    two.server.write("sub/notes", "x");
    let (mut line, _) = two.laptop.dial(&two.server);
    let run = |line: &mut landline::connection::Connection| {
        let work = landline::exec::process::Work::Argv(vec!["pwd".into()]);
        landline::exec::call_exec(line, &landline::exec::Call::of(&work), &mut |_, _| Ok(()))
    };
    run(&mut line).unwrap();
    landline::dir::call_cd(&mut line, b"sub").unwrap();
    let refused = run(&mut line).unwrap_err().to_string();
    assert!(refused.contains("in / alone, and it asked for /sub (leave -C out, or cd /)"), "{refused}");
    landline::dir::call_cd(&mut line, b"/").unwrap();
    run(&mut line).unwrap();
}

#[test]
fn what_is_forced_runs_instead_and_knows_what_was_asked() {
    let two = Two::new(&[
        "--allow",
        "exec",
        "--forced",
        "sh -c 'echo \"$0: $LANDLINE_ORIGINAL_COMMAND, $LANDLINE_PEER\"; cat; pwd' it",
    ]);
    let root = two.server.root().canonicalize().unwrap();
    for (args, asked) in
        [(&["server", "rm -rf ~"][..], "rm -rf ~"), (&["server", "--", "ls", "-l", "a b"], "ls -l 'a b'")]
    {
        two.rexec(args).stdin("input\n").prints(&format!("it: {asked}, laptop\ninput\n{}\n", root.display()));
    }
    let only = "exec: laptop may run only sh -c ";
    two.rexec(&["-e", "LANDLINE_ORIGINAL_COMMAND=x", "server", "ls"])
        .code(251)
        .stderr("whatever it asks for; without variables of its own, and it sets LANDLINE_ORIGINAL_COMMAND")
        .prints("");
    two.rexec(&["-C", "nowhere", "server", "ls"]).code(251).stderr(only).prints("");
    let audit = two.audit();
    assert!(
        audit[0][0] == "began"
            && audit[0][1].starts_with("sh -c ")
            && audit[0][1].ends_with(" it (asked for: rm -rf ~)"),
        "{audit:?}"
    );
    assert_eq!((&audit[1][0], &audit[1][1], &*audit[1][2]), (&"ended".into(), &audit[0][1], "exit 0"));
}

#[test]
fn rules_are_set_shown_kept_and_taken_off() {
    let two = Two::new(&["--allow", "exec", "--command", "echo a"]);
    two.rexec(&["server", "echo b"]).code(251).stderr("may run only: echo a").prints("");
    let row = || two.peers(&["list", "--json"]).output().json()[0].clone();
    assert_eq!((&row()["commands"], &row()["forced"]), (&serde_json::json!([["echo", "a"]]), &serde_json::Value::Null));
    assert!(two.peers(&["list"]).output().text().ends_with(", may run only: echo a\n"));
    // What says nothing about commands leaves the rule alone, a new pairing too.
    two.peers(&["allow", "laptop", "echo,exec"]).prints("laptop may echo,exec here, and run only: echo a\n");
    two.laptop.pair_with(&two.desk, two.server.address(), &["--allow", "exec"]);
    two.rexec(&["server", "echo b"]).code(251).stderr("may run only: echo a").prints("");
    // Without exec it would say nothing.
    let lie = "has a rule on commands, but not the service exec";
    two.peers(&["allow", "laptop", "echo"]).code(1).stderr(lie).prints("");
    for args in [&["pair", "--allow", "echo", "--command", "ls"][..], &["pair", "--allow", "echo", "--name", "laptop"]]
    {
        two.desk.run("tcp-server").args(args).code(2).stderr(lie).prints("");
    }
    two.peers(&["allow", "laptop", "exec", "--command", "'echo"]).code(2).stderr("a quote is not closed").prints("");
    two.peers(&["allow", "laptop", "exec", "--command", ""]).code(2).stderr("at least one word").prints("");
    two.peers(&["allow", "laptop", "exec", "--command", "a", "--forced", "b"])
        .code(2)
        .stderr("cannot be used with")
        .prints("");
    two.peers(&["allow", "laptop", "exec", "--forced", "echo c"])
        .prints("laptop may exec here, and run only echo c, whatever it asks for\n");
    assert_eq!((&row()["commands"], &row()["forced"]), (&serde_json::Value::Null, &serde_json::json!(["echo", "c"])));
    two.rexec(&["server", "echo b"]).prints("c\n");
    two.peers(&["allow", "laptop", "exec", "--any-command"]).prints("laptop may exec here\n");
    two.rexec(&["server", "echo b"]).prints("b\n");
    assert!(row()["commands"].is_null() && row()["forced"].is_null());
}
