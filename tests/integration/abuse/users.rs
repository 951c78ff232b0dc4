//! Another user of the same machine: the server knows no more of them than of a stranger, and they
//! cannot put themselves in its place.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use crate::harness::tls::Machine;
use crate::harness::{Background, Run, Server, program, wait_until};

/// Who is nobody on Linux.
const NOBODY: u32 = 65_534;

/// Another user, with copies of the programs where they can be reached, and a home.
struct Nobody {
    dir: tempfile::TempDir,
}

impl Nobody {
    /// `None` where this test may not become somebody else.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can run programs as another user");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["tcp-client", "tcp-server"] {
            std::fs::copy(program(name), dir.path().join(name)).unwrap();
        }
        for (name, mode) in [("home", 0o700), ("open", 0o777)] {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        chown(dir.path().join("home"), Some(NOBODY), Some(NOBODY)).unwrap();
        Some(Self { dir })
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A directory in which everybody may make files.
    fn open_dir(&self) -> PathBuf {
        self.dir.path().join("open")
    }

    fn run(&self, name: &str) -> Run {
        let run = Run::of(&self.dir.path().join(name)).by_user(NOBODY);
        run.current_dir(&self.open_dir()).env("LANDLINE_HOME", self.home())
    }

    fn echo(&self, host: &str) -> Run {
        self.run("tcp-client").args([host]).stdin("echo hi\n")
    }

    fn serve(&self, bind: &str) -> (Background, String) {
        let server = self.run("tcp-server").args(["--bind", bind, "--guest", "all"]).spawn();
        let ready = server.wait_for("ready on");
        let address = ready.strip_prefix("tcp-server: ready on ").unwrap().to_owned();
        (server, address)
    }
}

#[test]
fn another_user_is_a_stranger_over_tcp() {
    let Some(nobody) = Nobody::new() else { return };
    let desk = Machine::new();
    let server = Server::at_home(&["--guest", "none"], &desk.home());
    // They do not know this server, and nothing is sent to it.
    let unknown = format!("unknown server with key {}", desk.fingerprint());
    nobody.echo(server.address()).code(5).stderr(&unknown).prints("");
    // Their operator accepts it; that gives them no rights here.
    let entry = format!(
        "[desk]\nfingerprint = \"{}\"\naddress = \"{}\"\nservices = \"none\"\nadded = \"2026-11-21T09:04:00Z\"\n",
        desk.fingerprint(),
        server.address()
    );
    let list = nobody.home().join("peers.toml");
    std::fs::write(&list, entry).unwrap();
    std::fs::set_permissions(&list, PermissionsExt::from_mode(0o600)).unwrap();
    chown(&list, Some(NOBODY), Some(NOBODY)).unwrap();
    let refused = "echo is not allowed: it needs the service echo, and guest 127.0.0.1";
    nobody.echo(server.address()).code(1).stderr(refused).prints("");
    // Nor can they be us with our own files.
    let stolen = nobody.run("tcp-client").env("LANDLINE_HOME", desk.home()).args([server.address()]).code(1);
    stolen.stderr("belongs to user id 0, and this program runs as 65534").prints("");
    // The other way round it is the same.
    let (_theirs, address) = nobody.serve("127.0.0.1:0");
    let run = Run::new("tcp-client").args([&address]).stdin("echo hi\n");
    run.code(5).stderr("unknown server with key").prints("");
}

#[test]
fn another_user_is_a_guest_on_a_unix_socket() {
    let Some(nobody) = Nobody::new() else { return };
    let path = nobody.open_dir().join("socket");
    let bind = format!("unix:{}", path.display());
    let server = Server::with(&["--guest", "none", "--bind", &bind]);
    Run::new("tcp-client").args([&bind]).stdin("echo hi\n").prints("hi\n");
    // Only its owner may use it...
    nobody.echo(&bind).code(3).stderr("ermission denied").prints("");
    // ...and if the operator lets everybody, they are who they are. (root's server is trusted: root
    // could be them anyway.)
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    nobody.echo(&bind).code(1).stderr("echo is not allowed: it needs the service echo").prints("");
    let log = server.wait_for_log("refused (not-allowed)");
    assert!(!log.contains(&format!("{NOBODY}")) || log.contains("guest"), "{log}");
}

#[test]
fn a_squatted_path_is_refused() {
    let Some(nobody) = Nobody::new() else { return };
    let path = nobody.open_dir().join("socket");
    let (theirs, _) = nobody.serve(&format!("unix:{}", path.display()));
    let refused = format!("user id {NOBODY} serves there, and neither you (user id 0) nor root; nothing was sent");
    let run = |host: &str| Run::new("tcp-client").args([host]).stdin("echo secret\n");
    run(&format!("unix:{}", path.display())).code(5).stderr(&refused).prints("");
    wait_until("the squatter has seen the end of it", || {
        theirs.stderr.try_iter().any(|line| line.contains("disconnected"))
    });
    // To their own server they are its own user, and everything is theirs.
    nobody.echo(&format!("unix:{}", path.display())).prints("hi\n");
}
