//! A running `tcp-server` or `http-files`, stopped when the test ends.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::files::names;
use super::run::{command, lines, program};
use super::{DEADLINE, PAUSE, wait, wait_until};

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

    /// `http-files` with these arguments, and a directory of its own.
    pub(crate) fn http_files(args: &[&str]) -> Self {
        Self::http_files_at(args, None)
    }

    /// The same with a home of its own: another machine than the one of the other programs.
    pub(crate) fn http_files_at(args: &[&str], home: Option<&Path>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut command = command(Path::new(program("http-files")));
        command.arg(root.path()).args(args);
        if let Some(home) = home {
            command.env("LANDLINE_HOME", home);
        }
        Self::launch_as("http-files", command, args, root)
    }

    /// `http-files` of a directory that is the test's own, with a home of its own.
    pub(crate) fn http_files_in(args: &[&str], shown: &Path, home: &Path) -> Self {
        let mut command = command(Path::new(program("http-files")));
        command.arg(shown).args(args).env("LANDLINE_HOME", home.join("home"));
        Self::launch_as("http-files", command, args, tempfile::tempdir().unwrap())
    }

    /// With a home of its own: another machine than the one of the other programs.
    pub(crate) fn at_home(args: &[&str], home: &Path) -> Self {
        let root = tempfile::tempdir().unwrap();
        Self::start_with(args, root, Some(home), None)
    }

    /// With a home of its own, and a root that another owns.
    pub(crate) fn with_args(args: &[&str], shown: &Path, home: &Path) -> Self {
        Self::start_with(args, tempfile::tempdir().unwrap(), Some(home), Some(shown))
    }

    pub(crate) fn with_root(args: &[&str], root: tempfile::TempDir) -> Self {
        Self::start_with(args, root, None, None)
    }

    /// With a home of its own, and at most `descriptors` of them.
    pub(crate) fn with_descriptors(args: &[&str], home: &Path, descriptors: u32) -> Self {
        let mut limited = command(Path::new("/bin/sh"));
        limited.args(["-c", &format!("ulimit -n {descriptors} && exec \"$@\""), "sh", program("tcp-server")]);
        Self::start_by(limited, args, tempfile::tempdir().unwrap(), (Some(home), None))
    }

    /// By another user, to whom root and home belong.
    pub(crate) fn by_user(user: u32, program: &Path, args: &[&str], (shown, home): (&Path, &Path)) -> Self {
        let mut theirs = command(program);
        theirs.uid(user).gid(user).current_dir(shown);
        Self::start_by(theirs, args, tempfile::tempdir().unwrap(), (Some(home), Some(shown)))
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

    /// In a directory that is its user's home, and shown because no other was named.
    pub(crate) fn in_home(args: &[&str], root: tempfile::TempDir) -> Self {
        let mut command = command(Path::new(program("tcp-server")));
        command.args(args).current_dir(root.path()).env("HOME", root.path());
        Self::launch(command, args, root)
    }

    fn launch(mut command: Command, args: &[&str], root: tempfile::TempDir) -> Self {
        if !args.contains(&"--guest") {
            command.args(["--guest", "echo,chat"]);
        }
        Self::launch_as("tcp-server", command, args, root)
    }

    fn launch_as(name: &str, mut command: Command, args: &[&str], root: tempfile::TempDir) -> Self {
        if !args.contains(&"--bind") {
            command.args(["--bind", "127.0.0.1:0"]);
        }
        let expected = args.iter().filter(|arg| **arg == "--bind").count().max(1);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let logging = collect(child.stderr.take().unwrap(), Arc::clone(&log));
        let mut addresses = Vec::new();
        while addresses.len() < expected {
            let Ok(line) = stdout.recv_timeout(DEADLINE) else {
                panic!("{name} was not ready: {}", log.lock().unwrap());
            };
            addresses.push(line.strip_prefix(&format!("{name}: ready on ")).expect(&line).to_owned());
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

    /// Stops it; its root stays.
    pub(crate) fn into_root(mut self) -> tempfile::TempDir {
        std::mem::replace(&mut self.root, tempfile::tempdir().unwrap())
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
        names(&self.root().join(path))
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

    /// How many connections its log has begun and not ended.
    pub(crate) fn connections_open(&self) -> usize {
        let log = self.log();
        log.matches(" connected ").count().abs_diff(log.matches(" disconnected ").count())
    }

    /// Waits until all connections so far have ended.
    pub(crate) fn wait_until_all_have_left(&self) {
        wait_until("every connection has ended", || self.connections_open() == 0);
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
            thread::sleep(PAUSE);
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

fn collect(stream: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    })
}
