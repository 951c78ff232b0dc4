//! What a newcomer meets in the first hour: each slip gets the word that leads on.
#![expect(clippy::disallowed_types, reason = "a port is taken or free by a listener of the test's own")]

use crate::harness::files::set_mode;
use crate::harness::skip::is_installed;
use crate::harness::{Run, Server};

/// A home in which some machines have names.
fn home_with_names() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let config = "[hosts]\nbuild = \"build.invalid:7000\"\nnas = \"192.0.2.7\"\n";
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    set_mode(home.path(), 0o700);
    home
}

/// A program at a terminal of its own, in `dir`.
fn at_a_terminal(name: &str, arguments: &[&str], dir: &std::path::Path) -> rexpect::session::PtySession {
    let run = Run::new(name).args(arguments).current_dir(dir).env("COLUMNS", "200").env("NO_COLOR", "1");
    run.at_a_terminal()
}

#[test]
fn a_misspelt_host_is_told_which_are_known() {
    let home = home_with_names();
    let run = |program: &str, arguments: &[&str], code: i32| {
        let run = Run::new(program).args(arguments).env("LANDLINE_HOME", home.path()).stdin("");
        run.code(code).stderr("bild.invalid: cannot find this host").any_stderr().output().stderr
    };
    for (program, arguments, code) in [
        ("tcp-client", &["bild.invalid"][..], 3),
        ("rexec", &["bild.invalid", "id"], 253),
        ("fget", &["bild.invalid:x", "."], 3),
    ] {
        let said = run(program, arguments, code);
        assert!(said.contains("; known here: build, nas"), "{program}: {said}");
    }
    let names = Run::new("tcp-client").args(["--known-hosts"]).env("LANDLINE_HOME", home.path());
    names.prints("build\nnas\n");
}

#[test]
fn a_known_name_at_another_port_is_said_to_be_another_server() {
    let (home, free) = (home_with_names(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let port = free.local_addr().unwrap().port();
    drop(free);
    let identity = Run::new("tcp-server").args(["identity"]).env("LANDLINE_HOME", home.path()).output();
    let key = identity.text().trim().to_owned();
    let entry = format!(
        "[localhost]\nfingerprint = \"{key}\"\naddress = \"localhost:1\"\nservices = \"none\"\nadded = \"2026-11-21T10:00:00Z\"\n"
    );
    let list = home.path().join("peers.toml");
    std::fs::write(&list, entry).unwrap();
    set_mode(&list, 0o600);
    let host = format!("localhost:{port}");
    let run = Run::new("tcp-client").args([&host]).env("LANDLINE_HOME", home.path()).stdin("").code(3);
    let want = format!("localhost is known here at localhost:1; port {port} of it is another server");
    run.stderr(&want).prints("");
}

#[test]
fn a_host_without_its_colon_is_told_of_it() {
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("notes.txt"), "x").unwrap();
    let run = Run::new("fput").args(["notes.txt", "build"]).current_dir(here.path()).code(2);
    run.stderr("if the machine build is meant, write build:").prints("");
}

#[test]
fn options_of_other_programs_get_the_word_that_takes_their_place() {
    for (program, option, word) in [
        ("fput", "-a", "-r copies directories"),
        ("fput", "-P", "the port is -p PORT"),
        ("fget", "-l", "--bwlimit"),
        ("fget", "-p", "modes and times are kept anyway"),
    ] {
        Run::new(program).args([option, "x:y", "z"]).code(2).stderr(word).prints("");
    }
}

#[test]
fn a_taken_port_is_said_to_be_taken_by_our_own_server() {
    let server = Server::start();
    let run = Run::new("tcp-server").args(["--bind", server.address()]).code(1);
    let want = format!("it is a tcp-server of yours that listens on {} already", server.address());
    run.stderr(&want).prints("");

    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let said = Run::new("tcp-server").args(["--bind", &address]).code(1).any_stderr().output().stderr;
    assert!(said.contains("another program has this port") && !said.contains("of yours"), "{said}");
}

#[test]
fn one_file_is_told_of_at_a_terminal_and_several_in_numbers_for_people() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("notes.txt"), "nine byte").unwrap();
    std::fs::write(here.path().join("big"), vec![7; 1_500_000]).unwrap();
    let to = server.remote("");
    let mut one = at_a_terminal("fput", &["notes.txt", &to], here.path());
    one.exp_regex(r"fput: notes\.txt, 9 B, verified, \d+(\.\d)? m?s\r\n").unwrap();
    one.exp_eof().unwrap();
    let mut two = at_a_terminal("fput", &["notes.txt", "big", &to], here.path());
    two.exp_regex(r"fput: 1 files, 1\.5 MB.* in \d+\.\d s").unwrap();
    two.exp_eof().unwrap();
    // In a script a single file says nothing.
    std::fs::write(here.path().join("more.txt"), "x").unwrap();
    Run::new("fput").args(["more.txt", &to]).current_dir(here.path()).prints("");
}

#[test]
fn a_server_at_a_terminal_writes_two_lines_a_request() {
    let here = tempfile::tempdir().unwrap();
    let mut server = at_a_terminal("tcp-server", &["--bind", "127.0.0.1:0", "--root", "."], here.path());
    let (_, ready) = server.exp_regex(r"tcp-server: ready on \S+").unwrap();
    let address = ready.rsplit(' ').next().unwrap().to_owned();
    Run::new("tcp-client").args([&address]).stdin("pwd\n").prints("/\n");
    let before = server.exp_regex(r" request [^\n]*\n").unwrap().0;
    server.send_control('c').unwrap();
    let rest = server.exp_eof().unwrap();
    assert_eq!(before.matches(" let in ").count(), 1, "{before}");
    assert!(!before.contains("connected") && !rest.contains("connected"), "{before}{rest}");
}

#[test]
fn the_python_client_says_how_it_is_used() {
    if !is_installed("python3", "--version") {
        return;
    }
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python/landline.py");
    for arguments in
        [&[][..], &["127.0.0.1:1"], &["127.0.0.1:1", "id.pem", "dance", "x"], &["h:1", "id.pem", "get", "x"]]
    {
        let output = std::process::Command::new("python3").arg(client).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with("usage: python3 landline.py HOST:PORT IDENTITY.pem run COMMAND"), "{said}");
    }
}
