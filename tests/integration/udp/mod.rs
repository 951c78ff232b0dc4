//! `udp-echo`, the real program: against itself, and against raw sockets that do what the tutorials'
//! scripts do. Port 0 only, and no sleep: what is waited for is a line, a datagram or an exit.
#![expect(clippy::disallowed_methods, reason = "this is where the tests start the program")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod chat;
mod demo;
mod lossy;
mod ping;
mod send;
mod serve;

use std::io::{BufReader, Write as _};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{DEADLINE, command, program};

/// A running `udp-echo` with all three pipes; killed when it is dropped.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

/// What a program has left behind.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let piped = || Stdio::piped();
        let mut child = command(Path::new(program("udp-echo")))
            .args(arguments)
            .stdin(piped())
            .stdout(piped())
            .stderr(piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdin, stdout, stderr }
    }

    /// A server, and the addresses that its `count` ready lines name.
    fn serve(count: usize, arguments: &[&str]) -> (Self, Vec<String>) {
        let mut server = Self::start(&[&["serve"], arguments].concat());
        let ready = (0..count).map(|_| {
            let line = server.stdout_line();
            line.strip_prefix("udp-echo: ready on ").unwrap_or_else(|| panic!("{line:?}")).to_owned()
        });
        let ready = ready.collect();
        (server, ready)
    }

    fn say(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn stdout_line(&mut self) -> String {
        line(&mut self.stdout)
    }

    fn stderr_line(&mut self) -> String {
        line(&mut self.stderr)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends its standard input and takes the rest.
    fn end(mut self) -> Ended {
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| std::io::copy(&mut self.stdout, &mut stdout).unwrap());
            std::io::copy(&mut self.stderr, &mut stderr).unwrap();
        });
        let code = self.child.wait().unwrap().code();
        Ended { code, stdout, stderr: String::from_utf8(stderr).unwrap() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

fn line(from: &mut impl std::io::BufRead) -> String {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).unwrap();
    String::from_utf8(line).unwrap().trim_end_matches('\n').to_owned()
}

/// Runs a client to its end, with nothing on its standard input.
fn run(arguments: &[&str]) -> Ended {
    Program::start(arguments).end()
}

/// A raw socket on loopback, and its address as text.
fn raw() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

/// `recvfrom(1024)`, as the tutorials do it.
fn receive(socket: &UdpSocket) -> (Vec<u8>, std::net::SocketAddr) {
    let mut buffer = [0; 1024];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..len].to_vec(), from)
}
