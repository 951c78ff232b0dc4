//! Slips of a command line and of a tree: each is said in words that help, and none looks like success.

use std::path::Path;

use crate::harness::{Run, Server, program};

/// A program with a standard stream closed, as a shell does it.
fn closed(how: &str, name: &str) -> Run {
    Run::of(Path::new("/bin/sh")).args(["-c", &format!("exec \"$0\" \"$@\" {how}"), program(name)])
}

#[test]
fn a_closed_stream_is_an_error_where_it_is_used() {
    let server = Server::start();
    server.write("notes", "notes");
    let (host, remote) = (format!("tls://{}", server.address()), |path: &str| server.remote(path));
    let input = "standard input: is closed; for an empty one: < /dev/null";
    let output = "standard output: is closed; to discard the output: > /dev/null";
    for (how, name, args, code, said) in [
        ("<&-", "fput", vec!["-".to_owned(), remote("up")], 1, input),
        ("<&-", "tcp-client", vec![host.clone()], 1, input),
        ("<&-", "rexec", vec![host.clone(), "cat".into()], 251, input),
        ("<&-", "udp-echo", vec!["send".into(), "127.0.0.1:9".into()], 1, input),
        (">&-", "fget", vec![remote("notes"), "-".into()], 1, output),
        (">&-", "fget", vec!["--json".into(), remote("notes"), "/dev/shm/".into()], 1, output),
        (">&-", "rexec", vec!["-n".into(), host.clone(), "echo".into(), "hello".into()], 251, output),
        (">&-", "tcp-client", vec!["run".into(), host.clone(), "echo hello".into()], 1, output),
        (">&-", "http-get", vec!["http://127.0.0.1:9/".into()], 1, output),
        ("<&-", "http-get", vec!["-T".into(), "-".into(), "http://127.0.0.1:9/x".into()], 1, input),
        (">&-", "tcp-server", vec!["--bind".into(), "127.0.0.1:0".into()], 1, output),
    ] {
        if name == "tcp-client" && how == ">&-" {
            let run = closed(how, name).args([&host]).stdin("pwd\n").code(code).stderr(said);
            run.prints("");
            continue;
        }
        closed(how, name).args(&args).code(code).stderr(said).prints("");
    }
    assert!(!server.root().join("up").exists(), "no empty file for an input that was closed");
    // What was opened is not taken for closed, and what is not used does not matter.
    Run::of(Path::new("/bin/sh"))
        .args(["-c", "exec \"$0\" \"$@\" <>/dev/null", program("fput"), "-", &remote("empty")])
        .prints("");
    assert_eq!(server.read("empty"), b"");
    closed(">&- <&-", "fput").args(["/etc/hostname", &remote("")]).prints("");
    closed("<&-", "rexec").args(["-n", &host, "echo", "hello"]).prints("hello\n");
}

#[test]
fn an_empty_argument_is_wrong_usage() {
    let server = Server::start();
    server.write("notes", "notes");
    for (name, args) in [
        ("fget", vec![server.remote("notes"), String::new()]),
        ("fget", vec![String::new()]),
        ("fget", vec![String::new(), server.remote("notes")]),
        ("fput", vec!["/etc/hostname".into(), String::new()]),
        ("fput", vec![String::new(), server.remote("")]),
        ("fput", vec![server.remote("notes"), String::new(), server.remote("")]),
    ] {
        Run::new(name).args(&args).code(2).stderr("an argument is empty").prints("");
    }
}

#[test]
fn a_file_with_a_colon_is_told_how_it_is_written() {
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("nosuch.invalid:b"), "x").unwrap();
    std::fs::write(here.path().join("12:00.log"), "x").unwrap();
    let server = Server::start();
    let run = |name: &str, args: &[&str]| Run::new(name).args(args).current_dir(here.path());
    let to = server.remote("");
    run("fput", &["nosuch.invalid:b", &to]).code(3).stderr("./nosuch.invalid:b").prints("");
    run("fget", &["nosuch.invalid:b", "."]).code(3).stderr("./nosuch.invalid:b").prints("");
    run("fput", &["12:00.log", &to]).code(2).stderr("./12:00.log").prints("");
    run("fput", &["::1:x", &to]).code(2).stderr("[ADDRESS]:PATH").prints("");
    run("fget", &["fe80::1:x"]).code(2).stderr("[ADDRESS]:PATH").prints("");
    run("rexec", &["12", "true"]).code(252).stderr("a number is no host").prints("");
    run("fput", &["./12:00.log", &to]).prints("");
    assert_eq!(server.read("12:00.log"), b"x");
}

#[test]
fn a_path_of_the_machine_is_told_what_paths_are() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir(here.path().join("tree")).unwrap();
    std::fs::write(here.path().join("tree/file"), "x").unwrap();
    let advice = "paths are under the root that the server shows";
    let run = |name: &str, args: &[&str]| Run::new(name).args(args).current_dir(here.path());
    // As HOST:PATH writes an absolute path.
    let on = |path: &str| format!("{}/{path}", server.remote("").trim_end_matches('/'));
    for path in ["/etc/passwd", "/etc/*.conf", "~/notes", "~"] {
        run("fget", &[&on(path), "."]).code(1).stderr(advice).prints("");
    }
    run("fget", &[&on("/etc/passwd"), "-"]).code(1).stderr(advice).prints("");
    run("fput", &["tree/file", &on("/srv/www/")]).code(1).stderr(advice).prints("");
    run("fput", &["tree/file", &on("~/www/")]).code(1).stderr(advice).prints("");
    run("fput", &["-r", "tree", &on("~/www")]).code(1).stderr(advice).prints("");
    run("fput", &["-", &on("~/file")]).code(1).stderr(advice).prints("");
    assert!(server.names(".").is_empty(), "{:?}", server.names("."));
    // A path that is only missing is not.
    let said = run("fget", &[&on("notes"), "."]).code(1).any_stderr().output().stderr;
    assert!(!said.contains(advice), "{said}");
}

#[test]
fn the_system_is_heard_in_its_own_words() {
    let server = Server::start();
    std::os::unix::fs::symlink("b", server.root().join("a")).unwrap();
    std::os::unix::fs::symlink("a", server.root().join("b")).unwrap();
    let here = tempfile::tempdir().unwrap();
    let get = |path: &str| Run::new("fget").args([&server.remote(path), "."]).current_dir(here.path()).code(1);
    get("a").stderr("too many levels of symbolic links").prints("");
    get(&"n".repeat(300)).stderr("file name too long").prints("");
}

/// A directory that cannot be made is one message, and all that is in it counts.
#[test]
fn a_directory_that_fails_is_told_once() {
    let [server, third] = [(); 2].map(|()| Server::start());
    let here = tempfile::tempdir().unwrap();
    let files = ["d/a", "d/b", "d/in/c", "d/in/d", "e"];
    for name in files {
        let path = here.path().join("tree").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
        server.write(&format!("tree/{name}"), "x");
    }
    // What is in the way of the directory.
    for place in ["up", "lines", "there"] {
        server.write(&format!("{place}/tree/d"), "in the way");
        third.write(&format!("{place}/tree/d"), "in the way");
    }
    std::fs::create_dir_all(here.path().join("back/tree")).unwrap();
    std::fs::write(here.path().join("back/tree/d"), "in the way").unwrap();
    for (name, args) in [
        ("fput", vec!["tree".to_owned(), server.remote("up")]),
        ("fput", vec!["--connections".into(), "3".into(), "tree".into(), server.remote("lines")]),
        ("fget", vec![server.remote("tree"), "back".into()]),
        ("fput", vec![server.remote("tree"), third.remote("there")]),
    ] {
        let run = Run::new(name).args(["-r", "--json", "--no-sync"]).args(&args).current_dir(here.path());
        let output = run.code(1).any_stderr().output();
        assert_eq!(output.stderr.lines().count(), 1, "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains("is no directory here"), "{args:?}: {}", output.stderr);
        let (files, failed) = (output.json()["files"].as_u64(), output.json()["failed"].as_u64());
        // Over several connections each of them lists the inner directory, and the first counts it.
        assert_eq!((files, failed), (Some(1), Some(6)), "{args:?}: {}", output.text());
    }
}

#[test]
fn standard_output_by_its_path_is_standard_output() {
    let server = Server::start();
    server.write("notes", "notes\n");
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    for (path, code, want) in [
        ("/dev/stdout", 0, "old\nnotes\n"),
        ("/dev/fd/1", 0, "old\nnotes\n"),
        ("/proc/self/fd/1", 0, "old\nnotes\n"),
        ("/dev/fd/5", 2, "old\n"),
    ] {
        std::fs::write(&log, "old\n").unwrap();
        let script = "exec \"$0\" -q \"$@\" >>log 5>>log";
        let run = Run::of(Path::new("/bin/sh")).args(["-c", script, program("fget"), &server.remote("notes"), path]);
        run.current_dir(dir.path()).code(code).any_stderr().prints("");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), want, "{path}");
    }
}

#[test]
fn a_port_as_scp_would_not_have_it_is_wrong_usage() {
    let fput = |to: &str| Run::new("fput").args(["/etc/hostname", to]).code(2);
    fput("localhost:7000:").stderr("tls://localhost:7000/").prints("");
    fput("localhost:7000:dir").stderr("localhost:./7000:dir").prints("");
    let fget = Run::new("fget").args(["build:27312:notes.txt"]).code(2);
    fget.stderr("tls://build:27312/notes.txt").prints("");
    Run::new("fget").args(["build", "notes.txt"]).code(2).stderr("write build:PATH").prints("");
}

#[test]
fn known_hosts_are_listed_whatever_variables_are_set() {
    let variables = ["PORT", "CONNECT_TIMEOUT", "ENCODING", "WIRE"].map(|name| format!("LANDLINE_{name}"));
    for value in ["7000", "no such value"] {
        for variable in &variables {
            Run::new("tcp-client").args(["--known-hosts"]).env(variable, value).prints("");
        }
    }
    Run::new("tcp-client").args(["--known-hosts", "localhost"]).code(2).stderr("--known-hosts").prints("");
}

#[test]
fn wrong_usage_shows_no_character_that_acts_on_a_terminal() {
    let value = "a\u{9b}31m\u{202e}b";
    for (name, args, code) in [
        ("fget", &["--max-size", value, "x:y", "."][..], 2),
        ("fput", &["--max-size", value, "x", "y:"], 2),
        ("rexec", &["--timeout", value, "localhost", "ls"], 252),
        ("tcp-client", &["--port", value, "localhost"], 2),
        ("tcp-server", &["--bind", "127.0.0.1:0", value], 2),
        ("udp-echo", &[value], 2),
    ] {
        let output = Run::new(name).args(args).code(code).stderr("a\\u{9b}31m\\u{202e}b").output();
        assert!(output.stderr.lines().count() > 1, "{}", output.stderr);
        assert!(!output.stderr.contains(['\u{9b}', '\u{202e}']), "{}", output.stderr);
    }
}

#[test]
fn a_variable_whose_name_shells_drop_is_wrong_usage() {
    for variable in ["A-B=x", "1A=y", "A B=z", "=x", "A.B"] {
        let run = Run::new("rexec").args(["-e", variable, "localhost", "true"]).code(252);
        run.stderr("is no name; write NAME=VALUE").prints("");
    }
}

#[test]
fn a_frame_is_no_file_of_a_tutorials_server() {
    let server = Server::start();
    server.write("notes", "notes");
    let dir = tempfile::tempdir().unwrap();
    let remote = format!("tcp://{}/notes", server.address());
    let get = Run::new("fget").args(["--wire", "close", &remote, "ww"]).current_dir(dir.path()).code(1);
    get.stderr("the reply is a frame").prints("");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_source_that_is_passed_over_is_told_though_nothing_was_copied() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    for name in ["s1", "s2"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink("x", dir.path().join("s1/l")).unwrap();
    std::fs::write(dir.path().join("s2/l"), "file").unwrap();
    let put = Run::new("fput").args(["-r", "s1/", "s2/", &server.remote("to")]).current_dir(dir.path());
    put.stderr("1 skipped").prints("");
}
