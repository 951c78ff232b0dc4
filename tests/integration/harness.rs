//! Starts the real programs: a server that is stopped when the test ends, and runs of the others
//! that fail on anything unexpected. The only clock is the deadline in here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// No step of any test takes longer, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Where cargo put the program.
pub(crate) fn program(name: &str) -> &'static str {
    match name {
        "tcp-server" => env!("CARGO_BIN_EXE_tcp-server"),
        "tcp-client" => env!("CARGO_BIN_EXE_tcp-client"),
        "rexec" => env!("CARGO_BIN_EXE_rexec"),
        "fget" => env!("CARGO_BIN_EXE_fget"),
        "fput" => env!("CARGO_BIN_EXE_fput"),
        "udp-echo" => env!("CARGO_BIN_EXE_udp-echo"),
        other => panic!("no program {other}"),
    }
}

fn command(program: &Path) -> Command {
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

/// A program at a terminal of its own.
pub(crate) fn at_a_terminal(name: &str, args: &[&str]) -> rexpect::session::PtySession {
    let mut command = command(Path::new(program(name)));
    command.args(args).env("TERM", "xterm").env("COLUMNS", "200");
    rexpect::session::spawn_command(command, Some(DEADLINE.as_millis().try_into().unwrap())).unwrap()
}

/// A running `tcp-server` with a root of its own; killed if the test forgets it.
pub(crate) struct Server {
    child: Child,
    addresses: Vec<String>,
    root: tempfile::TempDir,
    log: Arc<Mutex<String>>,
    logging: Option<JoinHandle<()>>,
    stdout: Receiver<String>,
}

impl Server {
    /// Everything for guests, on a free loopback port.
    pub(crate) fn start() -> Self {
        Self::with(&["--guest", "all"])
    }

    /// With these arguments; `--bind 127.0.0.1:0` if they name none.
    pub(crate) fn with(args: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        Self::with_root(args, root)
    }

    /// With a home of its own: another machine than the one of the other programs.
    pub(crate) fn at_home(args: &[&str], home: &Path) -> Self {
        let root = tempfile::tempdir().unwrap();
        Self::start_with(args, root, Some(home), None)
    }

    /// With a home of its own, and a root that is somebody else's.
    pub(crate) fn with_args(args: &[&str], shown: &Path, home: &Path) -> Self {
        Self::start_with(args, tempfile::tempdir().unwrap(), Some(home), Some(shown))
    }

    pub(crate) fn with_root(args: &[&str], root: tempfile::TempDir) -> Self {
        Self::start_with(args, root, None, None)
    }

    /// With a home of its own, and no more than so many descriptors.
    pub(crate) fn with_descriptors(args: &[&str], home: &Path, descriptors: u32) -> Self {
        let mut limited = command(Path::new("/bin/sh"));
        limited.args(["-c", &format!("ulimit -n {descriptors} && exec \"$@\""), "sh", program("tcp-server")]);
        Self::start_by(limited, args, tempfile::tempdir().unwrap(), (Some(home), None))
    }

    fn start_with(args: &[&str], root: tempfile::TempDir, home: Option<&Path>, shown: Option<&Path>) -> Self {
        Self::start_by(command(Path::new(program("tcp-server"))), args, root, (home, shown))
    }

    fn start_by(
        mut command: Command,
        args: &[&str],
        root: tempfile::TempDir,
        (home, shown): (Option<&Path>, Option<&Path>),
    ) -> Self {
        command.arg("--root").arg(shown.unwrap_or(root.path())).args(args);
        if let Some(home) = home {
            command.env("LANDLINE_HOME", home);
        }
        Self::launch(command, args, root)
    }

    /// In a directory that is its user's home, and shown because nobody has named another.
    pub(crate) fn in_home(args: &[&str], root: tempfile::TempDir) -> Self {
        let mut command = command(Path::new(program("tcp-server")));
        command.args(args).current_dir(root.path()).env("HOME", root.path());
        Self::launch(command, args, root)
    }

    fn launch(mut command: Command, args: &[&str], root: tempfile::TempDir) -> Self {
        if !args.contains(&"--bind") {
            command.args(["--bind", "127.0.0.1:0"]);
        }
        if !args.contains(&"--guest") {
            command.args(["--guest", "echo,chat"]);
        }
        let expected = args.iter().filter(|arg| **arg == "--bind").count().max(1);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let logging = collect(child.stderr.take().unwrap(), Arc::clone(&log));
        let mut addresses = Vec::new();
        while addresses.len() < expected {
            let Ok(line) = stdout.recv_timeout(DEADLINE) else {
                panic!("tcp-server was not ready: {}", log.lock().unwrap());
            };
            addresses.push(line.strip_prefix("tcp-server: ready on ").expect(&line).to_owned());
        }
        Self { child, addresses, root, log, logging: Some(logging), stdout }
    }

    /// The first address, as a client writes it.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// The first address, for a client that comes as a guest.
    pub(crate) fn plain(&self) -> String {
        format!("tcp://{}", self.address())
    }

    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// `HOST:PATH` on this server, in the form that carries a port.
    pub(crate) fn remote(&self, path: &str) -> String {
        format!("tls://{}/{path}", self.address())
    }

    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root().join(path)).unwrap()
    }

    /// Names in a directory of the root, sorted, temporary ones included.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root().join(path)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A raw connection to the first address.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// The next line on the server's standard output, after the ready lines.
    pub(crate) fn next_output(&self) -> String {
        self.stdout.recv_timeout(DEADLINE).expect("a line of output")
    }

    /// Types a line at the server's terminal.
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log holds `text`.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let log = self.log();
            if log.contains(text) {
                return log;
            }
            assert!(Instant::now() < deadline, "the log never said {text:?}: {log}");
            thread::yield_now();
        }
    }

    /// SIGTERM, then the exit status and the whole log.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// The exit status and the whole log, of a server that was told to stop.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let status = wait(&mut self.child);
        if let Some(logging) = self.logging.take() {
            logging.join().unwrap();
        }
        (status, self.log())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
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
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a child up to the deadline.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let pidfd =
        rustix::process::pidfd_open(rustix::process::Pid::from_child(child), rustix::process::PidfdFlags::empty());
    if let Ok(pidfd) = pidfd {
        let timeout = rustix::event::Timespec { tv_sec: DEADLINE.as_secs().cast_signed(), tv_nsec: 0 };
        let mut polled = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let ended = rustix::event::poll(&mut polled, Some(&timeout)).unwrap();
        if ended == 0 {
            let _ = child.kill();
            panic!("a program did not end within {DEADLINE:?}");
        }
    }
    child.wait().unwrap()
}

/// The address with which this machine would reach others, if it has one. Nothing is sent.
pub(crate) fn outer_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // For documentation (RFC 5737): nobody is there.
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::yield_now();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
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

fn collect(stream: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "a test's own program does not send without end")]
fn drain(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}
