//! Runs of the programs, which fail on anything unexpected: to their end, beside the test, or at a terminal.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rexpect::session::PtySession;

use super::{DEADLINE, wait};

/// Where cargo put the program.
pub(crate) fn program(name: &str) -> &'static str {
    match name {
        "tcp-server" => env!("CARGO_BIN_EXE_tcp-server"),
        "tcp-client" => env!("CARGO_BIN_EXE_tcp-client"),
        "rexec" => env!("CARGO_BIN_EXE_rexec"),
        "fget" => env!("CARGO_BIN_EXE_fget"),
        "fput" => env!("CARGO_BIN_EXE_fput"),
        "http-files" => env!("CARGO_BIN_EXE_http-files"),
        "http-get" => env!("CARGO_BIN_EXE_http-get"),
        "udp-echo" => env!("CARGO_BIN_EXE_udp-echo"),
        other => panic!("no program {other}"),
    }
}

/// With the settings of the tests and none of the person who runs them.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("LANDLINE_") {
            command.env_remove(key);
        }
    }
    command.env("USER", "tester").env("TZ", "UTC").env("LANDLINE_HOME", own_home());
    command
}

/// The home that all programs of all tests share, unless a test gives them others: server and clients
/// have one identity, as on one user's machine.
pub(crate) fn own_home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("home")
}

/// A program at a terminal of its own, which has room for long lines.
pub(crate) fn at_a_terminal(name: &str, args: &[&str]) -> PtySession {
    Run::new(name).args(args).env("COLUMNS", "200").at_a_terminal()
}

/// One run of a program. Standard error must be empty and the exit code 0 unless said otherwise.
#[must_use]
pub(crate) struct Run {
    command: Command,
    stdin: Vec<u8>,
    code: i32,
    stderr: Option<String>,
}

/// What a run printed.
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl Run {
    pub(crate) fn new(name: &str) -> Self {
        Self::of(Path::new(program(name)))
    }

    /// A copy of a program.
    pub(crate) fn of(program: &Path) -> Self {
        Self { command: command(program), stdin: Vec::new(), code: 0, stderr: Some(String::new()) }
    }

    /// As another user of this machine; only root may.
    pub(crate) fn by_user(mut self, user: u32) -> Self {
        self.command.uid(user).gid(user);
        self
    }

    pub(crate) fn args<A: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Expects this exit code.
    pub(crate) fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// Expects standard error to hold this text.
    pub(crate) fn stderr(mut self, part: &str) -> Self {
        self.stderr = Some(part.to_owned());
        self
    }

    /// Takes standard error as it comes.
    pub(crate) fn any_stderr(mut self) -> Self {
        self.stderr = None;
        self
    }

    pub(crate) fn output(mut self) -> Output {
        let started = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.unwrap();
        let (mut stdin, bytes) = (child.stdin.take().unwrap(), self.stdin);
        // A program may end without having read all of it.
        let feeding = thread::spawn(move || drop(stdin.write_all(&bytes)));
        let stdout = drain(child.stdout.take().unwrap());
        let stderr = drain(child.stderr.take().unwrap());
        let status = wait(&mut child);
        let stdout = stdout.join().unwrap();
        let stderr = String::from_utf8(stderr.join().unwrap()).unwrap();
        drop(feeding);
        let shown = format!("{:?}\nstdout: {}\nstderr: {stderr}", self.command, String::from_utf8_lossy(&stdout));
        assert_eq!(status.code(), Some(self.code), "{shown}");
        match &self.stderr {
            Some(part) if part.is_empty() => assert_eq!(stderr, "", "{shown}"),
            Some(part) => assert!(stderr.contains(part.as_str()), "{part:?} is not in {shown}"),
            None => {}
        }
        Output { stdout, stderr }
    }

    /// Runs, and expects exactly this on standard output.
    pub(crate) fn prints(self, stdout: &str) {
        assert_eq!(self.output().text(), stdout);
    }

    /// Starts it at a terminal of its own; what it prints and how it ends is the test's business.
    pub(crate) fn at_a_terminal(mut self) -> PtySession {
        self.command.env("TERM", "xterm");
        rexpect::session::spawn_command(self.command, Some(DEADLINE.as_millis().try_into().unwrap())).unwrap()
    }

    /// Starts it and hands it over; its standard streams are pipes.
    pub(crate) fn spawn(mut self) -> Background {
        let spawned = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Background { child, stdout, stderr }
    }
}

/// A program that runs beside the test; killed if the test forgets it.
pub(crate) struct Background {
    pub(crate) child: Child,
    pub(crate) stdout: Receiver<String>,
    pub(crate) stderr: Receiver<String>,
}

impl Background {
    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    /// Waits for a line of output that holds `text`, passing over others.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.stdout.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{text:?} never came ({error}); {seen:?} did"),
            }
        }
    }

    pub(crate) fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn child_has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Ends its standard input, and waits for its end: its code, and what it said on standard error.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        self.end_input();
        let code = self.wait().code();
        let said: Vec<String> = self.stderr.iter().collect();
        (code, said.join("\n"))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream as they come, without their ends.
pub(super) fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

#[expect(clippy::disallowed_methods, reason = "a test's own program does not send without end")]
fn drain(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}
