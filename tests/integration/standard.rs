//! Standard input and output that a parent has made non-blocking: nothing is lost, in every program.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::ioctl_fionread;

use crate::harness::{Server, own_home, program, wait, wait_until};

/// With this many bytes a pipe is full, or about to be: pieces that do not fill a page take one each.
const NEARLY_FULL: u64 = 16 * 1024;

/// A program all of whose streams are non-blocking at its end.
struct Started {
    child: Child,
    stdin: PipeWriter,
    stdout: PipeReader,
    stderr: PipeReader,
}

fn start(name: &str, args: &[&str]) -> Started {
    let unblocked = |end: &OwnedFd| fcntl_setfl(end, fcntl_getfl(end).unwrap() | OFlags::NONBLOCK).unwrap();
    let (their_stdin, stdin) = pipe().unwrap();
    let (stdout, their_stdout) = pipe().unwrap();
    let (stderr, their_stderr) = pipe().unwrap();
    let theirs = [OwnedFd::from(their_stdin), OwnedFd::from(their_stdout), OwnedFd::from(their_stderr)];
    theirs.iter().for_each(unblocked);
    let [input, output, errors] = theirs.map(File::from);
    let mut command = Command::new(program(name));
    command.args(args).env("LANDLINE_HOME", own_home()).stdin(input).stdout(output).stderr(errors);
    Started { child: command.spawn().unwrap(), stdin, stdout, stderr }
}

impl Started {
    /// Nothing more is typed; what the program has written, read only when it could write no more.
    fn ends_with(self, input: &[u8], is_long: bool) -> (Vec<u8>, String) {
        let Self { mut child, mut stdin, mut stdout, mut stderr } = self;
        let input = input.to_vec();
        let feeding = std::thread::spawn(move || stdin.write_all(&input));
        if is_long {
            wait_until("the pipe is nearly full", || ioctl_fionread(&stdout).unwrap() >= NEARLY_FULL);
        }
        let (mut written, mut said) = (Vec::new(), String::new());
        stdout.read_to_end(&mut written).unwrap();
        stderr.read_to_string(&mut said).unwrap();
        let code = wait(&mut child).code();
        feeding.join().unwrap().unwrap();
        assert_eq!(code, Some(0), "{said}");
        (written, said)
    }
}

fn long() -> Vec<u8> {
    (0..3_000_000_u32).map(|n| (n % 251) as u8).collect()
}

#[test]
fn rexec_waits_for_its_input_and_for_its_reader() {
    let server = Server::start();
    let (written, said) = start("rexec", &[server.address(), "--", "cat"]).ends_with(&long(), true);
    assert!(written == long() && said.is_empty(), "{} bytes; {said}", written.len());
    let events = start("rexec", &["--json-stream", server.address(), "seq 100000"]).ends_with(b"", true).0;
    let events = String::from_utf8(events).unwrap();
    let events: Vec<serde_json::Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(text.lines().count(), 100_000);
    // Standard error is as safe, and so are the lines of many hosts.
    let (_, said) = start("rexec", &["-n", server.address(), "seq 9000 >&2; echo; seq 20000"]).ends_with(b"", true);
    assert_eq!(said.lines().count(), 9_000);
    let lines = start("rexec", &["-qH", server.address(), "seq 100000"]).ends_with(b"", true).0;
    assert_eq!(lines.split(|byte| *byte == b'\n').count(), 100_001);
}

#[test]
fn files_are_whole_through_pipes_that_do_not_wait() {
    let server = Server::start();
    server.write("long", long());
    let (written, said) = start("fget", &["-q", &server.remote("long"), "-"]).ends_with(b"", true);
    assert!(written == long(), "{} bytes; {said}", written.len());
    start("fput", &["-q", "-", &server.remote("copy")]).ends_with(&long(), false);
    assert!(server.read("copy") == long());
}

#[test]
fn what_is_typed_late_is_read_all_the_same() {
    let server = Server::start();
    server.write("here/file", "");
    let started = start("tcp-client", &[server.address()]);
    server.wait_for_log("let in");
    let (written, said) = started.ends_with(b"cd here\nls\nrun seq 20000\n", true);
    let text = String::from_utf8(written).unwrap();
    assert!(text.contains("file") && text.ends_with("20000\n"), "{said}");
    let started = start("rexec", &[server.address()]);
    server.wait_for_log("verb=\"pwd\"");
    let written = started.ends_with(b"cd here\nseq 20000\n", true).0;
    assert!(written.ends_with(b"\n20000\n"));
}

#[test]
fn a_line_for_a_datagram_may_come_late_and_in_pieces() {
    let echo = start("udp-echo", &["serve", "--bind", "127.0.0.1:0", "--reply", "print"]);
    let mut ready = [0; 256];
    let mut stdout = echo.stdout.try_clone().unwrap();
    let len = stdout.read(&mut ready).unwrap();
    let ready = String::from_utf8(ready[..len].to_vec()).unwrap();
    let address = ready.trim().rsplit(' ').next().unwrap().to_owned();
    let mut sending = start("udp-echo", &["send", "--no-reply", &address]);
    for piece in ["one ", "and ", "the same\ntwo\n"] {
        sending.stdin.write_all(piece.as_bytes()).unwrap();
    }
    sending.ends_with(b"", false);
    let Started { mut child, .. } = echo;
    let mut said = Vec::new();
    while said.split(|byte| *byte == b'\n').count() < 3 {
        let mut piece = [0; 256];
        let len = stdout.read(&mut piece).unwrap();
        said.extend_from_slice(&piece[..len]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("one and the same") && said.contains("two"), "{said}");
}
