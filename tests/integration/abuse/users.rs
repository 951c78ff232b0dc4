//! Another user of the same machine: the server knows no more of them than of a stranger, and they
//! cannot put themselves in its place.

use crate::harness::files::set_mode;
use crate::harness::machine::Machine;
use crate::harness::nobody::{NOBODY, Nobody};
use crate::harness::{Background, Run, Server, wait_until};

fn echo(nobody: &Nobody, host: &str) -> Run {
    nobody.run("tcp-client").args([host]).stdin("echo hi\n")
}

fn serve(nobody: &Nobody, bind: &str) -> (Background, String) {
    let server = nobody.run("tcp-server").args(["--bind", bind, "--guest", "all"]).spawn();
    let ready = server.wait_for("ready on");
    let address = ready.strip_prefix("tcp-server: ready on ").unwrap().to_owned();
    (server, address)
}

#[test]
fn another_user_is_a_stranger_over_tcp() {
    let Some(nobody) = Nobody::new() else { return };
    let desk = Machine::new();
    let server = Server::at_home(&["--guest", "none"], &desk.home_path());
    // They do not know this server, and nothing is sent to it.
    let unknown = format!("unknown server with key {}", desk.fingerprint());
    echo(&nobody, server.address()).code(5).stderr(&unknown).prints("");
    // Their operator accepts it; that gives them no rights here.
    let entry = format!(
        "[desk]\nfingerprint = \"{}\"\naddress = \"{}\"\nservices = \"none\"\nadded = \"2026-11-21T09:04:00Z\"\n",
        desk.fingerprint(),
        server.address()
    );
    let list = nobody.home().join("peers.toml");
    std::fs::write(&list, entry).unwrap();
    set_mode(&list, 0o600);
    Nobody::own(&list);
    let refused = "echo is not allowed: it needs the service echo, and guest 127.0.0.1";
    echo(&nobody, server.address()).code(1).stderr(refused).prints("");
    // Nor can they be us with our own files.
    let stolen = nobody.run("tcp-client").env("LANDLINE_HOME", desk.home_path()).args([server.address()]).code(1);
    stolen.stderr("belongs to user id 0, and this program runs as 65534").prints("");
    // The other way round it is the same.
    let (_theirs, address) = serve(&nobody, "127.0.0.1:0");
    let run = Run::new("tcp-client").args([&address]).stdin("echo hi\n");
    run.code(5).stderr("unknown server with key").prints("");
}

#[test]
fn another_user_is_a_guest_on_a_unix_socket() {
    let Some(nobody) = Nobody::new() else { return };
    let path = nobody.work().join("socket");
    let bind = format!("unix:{}", path.display());
    let server = Server::with(&["--guest", "none", "--bind", &bind]);
    Run::new("tcp-client").args([&bind]).stdin("echo hi\n").prints("hi\n");
    // Only its owner may use it...
    echo(&nobody, &bind).code(3).stderr("ermission denied").prints("");
    // ...and if the operator lets everybody, they are who they are. (root's server is trusted: root
    // could be them anyway.)
    set_mode(&path, 0o666);
    echo(&nobody, &bind).code(1).stderr("echo is not allowed: it needs the service echo").prints("");
    let log = server.wait_for_log("refused (not-allowed)");
    assert!(!log.contains(&format!("{NOBODY}")) || log.contains("guest"), "{log}");
}

#[test]
fn a_squatted_path_is_refused() {
    let Some(nobody) = Nobody::new() else { return };
    let path = nobody.work().join("socket");
    let (theirs, _) = serve(&nobody, &format!("unix:{}", path.display()));
    let refused = format!("user id {NOBODY} serves there, and neither you (user id 0) nor root; nothing was sent");
    let run = |host: &str| Run::new("tcp-client").args([host]).stdin("echo secret\n");
    run(&format!("unix:{}", path.display())).code(5).stderr(&refused).prints("");
    wait_until("the squatter has seen the end of it", || {
        theirs.stderr.try_iter().any(|line| line.contains("disconnected"))
    });
    // To their own server they are its own user, and everything is theirs.
    echo(&nobody, &format!("unix:{}", path.display())).prints("hi\n");
}
