//! Places: what stays between separate calls, and for whom.

use landline::exec::places::{PLACES_MAX, PlaceChange, call_place};

use super::rules::Two;
use crate::harness::{Run, Server};

fn rexec(server: &Server, args: &[&str]) -> Run {
    let (options, command) = args.split_at(args.iter().take_while(|word| word.starts_with("--")).count() * 2);
    Run::new("rexec").args(options).args([server.address()]).args(command)
}

#[test]
fn a_place_keeps_its_directory_and_its_variables_between_calls() {
    let server = Server::start();
    server.write("src/project/file", "x");
    let build = |args: &[&str]| rexec(&server, &[&["--place", "build"], args].concat());
    build(&["cd", "src"]).prints("");
    build(&["cd project"]).prints("");
    build(&["ls"]).prints("file\n");
    build(&["export", "CC=a b", "DEBUG=1", "FROM_HERE"]).env("FROM_HERE", "here").prints("");
    build(&["unset", "DEBUG"]).prints("");
    build(&["echo $CC, $DEBUG, $FROM_HERE"]).prints("a b, , here\n");
    // What one call says is for that call.
    Run::new("rexec")
        .args(["--place", "build", "-C", "..", "-e", "CC=gcc", server.address(), "echo $CC; ls"])
        .prints("gcc\nproject\n");
    build(&["cd .. && ls"]).prints("project\n");
    build(&["ls"]).prints("file\n");
    // An argv is a program's, whatever it is called.
    build(&["--", "cd", ".."]).code(127).any_stderr().prints("");
    let json = Run::new("rexec").args(["--list-places", "--json", server.address()]).output().json();
    assert_eq!((&json[0]["place"], &json[0]["path"]), (&"build".into(), &"/src/project".into()));
    assert_eq!(json[0]["variables"], serde_json::json!(["CC", "FROM_HERE"]));
    let json = Run::new("rexec").args(["--json", "--place", "build", server.address(), "true"]).output().json();
    assert_eq!(json["cwd"], "/src/project");
    build(&["cd"]).prints("");
    build(&["ls"]).prints("src\n");
    Run::new("rexec").args(["--place", "build", "--place-ttl", "0", server.address()]).prints("");
    Run::new("rexec").args(["--list-places", server.address()]).prints("");
}

#[test]
fn a_place_that_is_not_there_is_an_error_that_says_what_is() {
    let server = Server::start();
    server.write("src/file", "x");
    rexec(&server, &["--place", "build", "cd src"]).prints("");
    let other = |args: &[&str]| rexec(&server, &[&["--place", "bild"], args].concat());
    other(&["make"]).code(251).stderr("no place of that name here, but build").prints("");
    other(&["cd", "nowhere"]).code(251).stderr("/nowhere: no such file or directory").prints("");
    other(&["cd", ".."]).code(251).stderr("leads above the root").prints("");
    other(&["cd", "$HOME"]).code(252).stderr("nothing in it is expanded").prints("");
    let mixed = Run::new("rexec").args(["--place", "build", "-C", "x", server.address(), "cd", "src"]);
    mixed.code(252).stderr("leave --chdir, --env and --env-file out").prints("");
    other(&["cd", "a", "b"]).code(252).stderr("cd takes one directory").prints("");
    other(&["unset", "A=1"]).code(252).stderr("without a value").prints("");
    other(&["export", "LANDLINE_PEER=x"]).code(251).stderr("LANDLINE_PEER is set by the server").prints("");
    rexec(&server, &["--place", "a/b", "cd src"]).code(251).stderr("cannot be a place's name").prints("");
    // One whose directory is gone can still be forgotten.
    rexec(&server, &["--place", "gone", "cd src"]).prints("");
    std::fs::remove_dir_all(server.root().join("src")).unwrap();
    rexec(&server, &["--place", "gone", "pwd"]).code(251).stderr("no such file or directory").prints("");
    Run::new("rexec").args(["--place", "gone", "--place-ttl", "0", server.address()]).prints("");
    rexec(&server, &["--place", "gone", "pwd"]).code(251).stderr("no place of that name").prints("");
    server.write("src/file", "x");
    // One that expires is gone; a short while is enough to see it.
    Run::new("rexec").args(["--place", "build", "--place-ttl", "1ms", server.address()]).prints("");
    rexec(&server, &["--place", "build", "pwd"]).code(251).stderr("no place of that name").prints("");
}

#[test]
fn no_peer_fills_the_server_with_places() {
    let two = Two::new(&["--allow", "exec"]);
    let mut line = two.laptop.dial(&two.server).0;
    let mut make = |number: usize| {
        let change = PlaceChange { path: Some(b"/"), ..PlaceChange::default() };
        call_place(&mut line, &format!("place{number}"), change)
    };
    for number in 0..PLACES_MAX {
        make(number).unwrap();
    }
    assert!(make(0).is_ok(), "one that is there is no more");
    let full = make(PLACES_MAX).unwrap_err().to_string();
    assert!(full.contains("100 places here, which is the most"), "{full}");
    // Variables are bounded too, and a place that was refused some has those that it had.
    let many: Vec<std::ffi::OsString> = (0..1_000).map(|n| format!("V{n}=x").into()).collect();
    call_place(&mut line, "place0", PlaceChange { variables: &many, ..PlaceChange::default() }).unwrap();
    let more = ["W=x".into()];
    let full = call_place(&mut line, "place0", PlaceChange { variables: &more, ..PlaceChange::default() }).unwrap_err();
    assert!(full.to_string().contains("at most 1000 variables"), "{full}");
    // All that is sent is done, or none of it.
    let too_many: Vec<std::ffi::OsString> = (0..1_002).map(|n| format!("V{n}").into()).collect();
    let refused =
        call_place(&mut line, "place0", PlaceChange { variables: &too_many, ..PlaceChange::default() }).unwrap_err();
    assert!(refused.to_string().contains("1002 variables; 1000 is the most"), "{refused}");
    // Who is revoked has none when it comes back.
    two.peers(&["revoke", "laptop"]).output();
    two.server.wait_for_log("its peer was revoked");
    two.laptop.pair_with(&two.desk, two.server.address(), &["--name", "laptop", "--allow", "exec"]);
    two.rexec(&["--list-places", "server"]).prints("");
}

#[test]
fn a_place_belongs_to_the_peer_that_made_it() {
    let two = Two::new(&["--allow", "exec"]);
    two.server.write("mine/file", "x");
    let laptop = |args: &[&str]| rexec(&two.server, args).env("LANDLINE_HOME", two.laptop.home_path());
    let desk = |args: &[&str]| rexec(&two.server, args).env("LANDLINE_HOME", two.desk.home_path());
    desk(&["--place", "build", "cd mine"]).prints("");
    laptop(&["--place", "build", "ls"]).code(251).stderr("no place of that name here; a cd in it").prints("");
    laptop(&["--place", "build", "cd /"]).prints("");
    laptop(&["--place", "build", "ls"]).prints("mine\n");
    desk(&["--place", "build", "ls"]).prints("file\n");
    // A guest has none.
    let open = Server::with(&["--guest", "exec"]);
    let run = Run::new("rexec").args(["--place", "build", &open.plain(), "cd", "/"]);
    run.code(251).stderr("this connection proves none").prints("");
}
