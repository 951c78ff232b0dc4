//! A server that shows a user's home directory: what begins with a dot there is not shown, for any verb.

use crate::harness::files::names;
use crate::harness::{Run, Server};

/// A home directory with keys, start-up files and a few things to share, and a server that runs in it.
fn server(args: &[&str]) -> Server {
    let root = tempfile::tempdir().unwrap();
    for dir in [".ssh", ".config/autostart", "docs/.git"] {
        std::fs::create_dir_all(root.path().join(dir)).unwrap();
    }
    for (path, text) in [
        (".ssh/id", "key"),
        (".bashrc", "start"),
        (".config/autostart/x", "x"),
        ("docs/.git/config", "c"),
        ("notes", "n"),
    ] {
        std::fs::write(root.path().join(path), text).unwrap();
    }
    std::os::unix::fs::symlink(".ssh", root.path().join("way")).unwrap();
    Server::in_home(args, root)
}

#[test]
fn dot_files_of_a_home_directory_are_no_verbs() {
    let server = server(&["--guest", "read,write"]);
    let there = |path: &str| server.remote(path);
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(here.path().join("tree/.ssh")).unwrap();
    std::fs::write(here.path().join("tree/.ssh/authorized_keys"), "mine").unwrap();
    std::fs::write(here.path().join("tree/.profile"), "mine").unwrap();
    std::fs::write(here.path().join("tree/fine"), "fine").unwrap();
    let script = |script: &str| Run::new("tcp-client").args([server.address()]).stdin(script).current_dir(here.path());
    script("ls\n").prints("docs/\nnotes\nway\n");
    for verb in [
        "ls .ssh",
        "cd .ssh",
        "cd way",
        "get .bashrc",
        "get way/id",
        "put tree/fine .profile",
        "put tree/fine way/id",
        "mkdir .new",
        "mkdir -p .new/a",
        "rm .bashrc",
        "rm -r .ssh",
        "mv .ssh mine",
        "mv notes .profile",
        "mv notes way/id",
    ] {
        script(&format!("{verb}\n")).code(1).stderr("begins with a dot in the server's home directory").prints("");
    }
    // Trees: what is there is not listed, what comes is refused, and a mirror removes none of it.
    let copy = here.path().join("copy");
    Run::new("fget").args(["-qr", &there("."), copy.to_str().unwrap()]).any_stderr().output();
    assert_eq!(names(&copy), ["docs", "notes", "way"]);
    assert!(copy.join("docs/.git/config").exists(), "elsewhere a dot is a name as any other");
    for source in [there(".bashrc"), there(".ssh"), there("way/id")] {
        Run::new("fget").args(["-qr", &source, "x"]).current_dir(here.path()).code(1).any_stderr().prints("");
    }
    Run::new("fput").args(["-qr", "tree/", &there("")]).current_dir(here.path()).code(1).any_stderr().prints("");
    Run::new("fput")
        .args(["-qr", "--delete", "--force", "copy/", &there("")])
        .current_dir(here.path())
        .any_stderr()
        .output();
    assert_eq!((server.read(".ssh/id"), server.read(".bashrc")), (b"key".to_vec(), b"start".to_vec()));
    assert!(!server.root().join(".profile").exists() && !server.root().join(".ssh/authorized_keys").exists());
    let log = server.wait_for_log("no --root was given");
    assert!(log.contains("shows your home directory") && log.contains("but names that begin with a dot"), "{log}");
}

#[test]
fn who_wants_them_shown_says_so() {
    let server = server(&["--guest", "read", "--hidden-home"]);
    let run = Run::new("tcp-client").args([server.address()]).stdin("ls .ssh\n");
    run.prints("id\n");
    server.wait_for_log("with .ssh and all else that begins with a dot");
}
