//! Starting a process and ending it: its own process group, its own pipes, a working directory that
//! is handed over as an open directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::descendants::{Descendants, KillScope};
use super::environment::{Environment, login_shell};
use super::terminal::{self, Terminal};
use crate::fs::root::RootPath;
use crate::slots::CommandSlot;
use crate::trust::commands::joined;
use crate::wire::message::{CommandForm, Outcome, TerminalSize};

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A command string for `sh -c`.
    Shell(OsString),
    /// A program and its arguments.
    Argv(Vec<OsString>),
    /// A command string for the login shell of the server's user; an empty one: the shell itself.
    Login(OsString),
}

/// The body of `exec` is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWork {
    /// Nothing to run.
    #[error("the command is empty")]
    Empty,
    /// A NUL in a command string.
    #[error("a command cannot hold a NUL")]
    Nul,
    /// The last argument has no NUL behind it.
    #[error("the last argument is not ended by a NUL")]
    Unended,
}

impl Work {
    /// Reads the body of `exec`: the given number of variables, then the command.
    ///
    /// # Errors
    /// It is empty, or its NULs are not where they belong.
    pub fn from_body(form: CommandForm, variables: u32, body: &[u8]) -> Result<(Vec<OsString>, Self), BadWork> {
        let (before, rest) = split_words(variables, body)?;
        let work = match form {
            CommandForm::Shell if rest.is_empty() => return Err(BadWork::Empty),
            CommandForm::Shell | CommandForm::Login if rest.contains(&0) => return Err(BadWork::Nul),
            CommandForm::Shell => Self::Shell(OsStr::from_bytes(rest).to_owned()),
            CommandForm::Login => Self::Login(OsStr::from_bytes(rest).to_owned()),
            CommandForm::Argv => {
                let words = match rest.strip_suffix(&[0]) {
                    Some(words) => words,
                    None if rest.is_empty() => return Err(BadWork::Empty),
                    None => return Err(BadWork::Unended),
                };
                let argv: Vec<_> =
                    words.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect();
                if argv.first().is_none_or(|program| program.is_empty()) {
                    return Err(BadWork::Empty);
                }
                Self::Argv(argv)
            }
        };
        Ok((before, work))
    }

    /// The body of `exec` for this, with these variables.
    pub fn to_body(&self, variables: &[OsString]) -> (CommandForm, Vec<u8>) {
        let ended = |words: &[OsString]| -> Vec<u8> {
            words.iter().flat_map(|word| word.as_bytes().iter().copied().chain([0])).collect()
        };
        let mut body = ended(variables);
        match self {
            Self::Shell(command) => {
                body.extend_from_slice(command.as_bytes());
                (CommandForm::Shell, body)
            }
            Self::Login(command) => {
                body.extend_from_slice(command.as_bytes());
                (CommandForm::Login, body)
            }
            Self::Argv(argv) => {
                body.extend(ended(argv));
                (CommandForm::Argv, body)
            }
        }
    }

    /// The command as it was sent, for the log.
    pub fn shown(&self) -> String {
        match self {
            Self::Login(command) if command.is_empty() => "login shell".to_owned(),
            Self::Shell(command) | Self::Login(command) => command.to_string_lossy().into_owned(),
            Self::Argv(argv) => argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "),
        }
    }

    /// The command as a shell would read it: a command string unchanged, an argv with quotes where they are needed.
    /// `None`: a login shell without a command.
    pub fn quoted(&self) -> Option<String> {
        match self {
            Self::Login(command) if command.is_empty() => None,
            Self::Shell(_) | Self::Login(_) => Some(self.shown()),
            Self::Argv(argv) => Some(joined(&argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>())),
        }
    }

    fn kill_scope(&self, streams: Streams<'_>) -> KillScope {
        match (self, streams) {
            (Self::Login(command), Streams::Terminal(..)) if command.is_empty() => KillScope::Terminal,
            _ => KillScope::Everybody,
        }
    }

    /// What is to be executed, and the script that it reads, if it is too long for an argument.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
    fn command(&self, environment: &Environment) -> io::Result<(Command, Option<Script>)> {
        let mut script = None;
        let mut command = match self {
            Self::Shell(command) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(Script::or_itself(OsStr::new("sh"), command, &mut script)?);
                shell
            }
            Self::Login(command) => {
                let path = login_shell();
                let mut shell = Command::new(&path);
                // With a dash in front of its name a shell is a login shell.
                let name = Path::new(&path).file_name().unwrap_or_default();
                let mut dashed = OsString::from("-");
                dashed.push(name);
                shell.arg0(dashed);
                if !command.is_empty() {
                    shell.arg("-c").arg(Script::or_itself(name, command, &mut script)?);
                }
                shell
            }
            Self::Argv(argv) => {
                let name = argv.first().map_or(OsStr::new(""), OsString::as_os_str);
                let mut program = Command::new(environment.find(name)?);
                program.arg0(name);
                for (at, word) in argv.iter().enumerate().skip(1) {
                    let is_text = at == 2 && argv.get(1).is_some_and(|option| option == "-c") && is_shell(name);
                    if is_text {
                        program.arg(Script::or_itself(name, word, &mut script)?);
                    } else {
                        program.arg(word);
                    }
                }
                program
            }
        };
        environment.give(&mut command);
        if matches!(self, Self::Login(_)) {
            command.env("SHELL", login_shell());
        }
        Ok((command, script))
    }
}

/// Longest single argument of a program, in bytes, with the NUL behind it (execve(2)).
const ARGUMENT_LEN_MAX: usize = 128 * 1024;

/// A command string that is too long to be an argument: a file without a name, which its shell opens through `/proc`.
/// It is there for as long as the command runs, and no other program inherits it.
#[derive(Debug)]
struct Script(#[expect(dead_code, reason = "held open for the shell that reads it")] File);

impl Script {
    /// What `shell` is to be told: the command itself, if it fits into an argument, or to read it from a file.
    fn or_itself(shell: &OsStr, command: &OsStr, script: &mut Option<Self>) -> io::Result<OsString> {
        if command.len() < ARGUMENT_LEN_MAX {
            return Ok(command.to_owned());
        }
        let mut file = File::from(memfd_create("landline-command", MemfdFlags::CLOEXEC)?);
        file.write_all(command.as_bytes())?;
        let shell = Path::new(shell).file_name().unwrap_or_default();
        let word = if ["csh", "tcsh", "fish"].iter().any(|other| shell == *other) { "source" } else { "." };
        let told = format!("{word} /proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        *script = Some(Self(file));
        Ok(told.into())
    }
}

/// Whether this program's `-c` takes what `sh`'s does.
fn is_shell(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default();
    ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh"].iter().any(|shell| name == *shell)
}

/// Splits `count` words, each ended by a NUL, off the body; returns them and the rest.
///
/// # Errors
/// The body has fewer words.
pub fn split_words(count: u32, body: &[u8]) -> Result<(Vec<OsString>, &[u8]), BadWork> {
    let mut rest = body;
    let mut words = Vec::new();
    for _ in 0..count {
        let end = rest.iter().position(|byte| *byte == 0).ok_or(BadWork::Unended)?;
        let (word, behind) = rest.split_at(end);
        words.push(OsStr::from_bytes(word).to_owned());
        rest = behind.get(1..).unwrap_or_default();
    }
    Ok((words, rest))
}

/// A command that may run.
#[derive(Debug)]
pub struct Ready {
    /// The command.
    pub work: Work,
    /// Its environment.
    pub environment: Environment,
    /// Its working directory.
    pub cwd: Dir,
    /// The same directory, as a path below the server's root.
    pub path: RootPath,
}

/// Where a process' input comes from and its output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams<'m> {
    /// stdin, stdout and stderr apart.
    Apart,
    /// stdin; stdout and stderr in one pipe, in the order in which they were written.
    Together,
    /// No stdin; stdout and stderr in one pipe.
    TogetherWithoutInput,
    /// No stdin; stdout and stderr apart.
    ApartWithoutInput,
    /// All of them are one terminal, of this size and with these modes.
    Terminal(TerminalSize, &'m [u8]),
}

impl Streams<'_> {
    const fn has_input(self) -> bool {
        matches!(self, Self::Apart | Self::Together)
    }

    const fn is_together(self) -> bool {
        matches!(self, Self::Together | Self::TogetherWithoutInput)
    }
}

/// A process that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    tree: Arc<Descendants>,
    exit: OwnedFd,
    merged: Option<File>,
    /// The terminal's input; `None`: the process has no terminal.
    input: Option<File>,
    terminal: Option<Arc<Terminal>>,
    reaped: bool,
    slot: Option<CommandSlot>,
    _script: Option<Script>,
}

/// Starts `work` in `cwd`.
///
/// The directory is named by its descriptor, which exists in the child until it executes the
/// program, so that a rename in between cannot lead it elsewhere; and without code of ours between
/// fork and exec, std starts the process by `posix_spawn`, 100 times faster from a large server.
///
/// # Errors
/// As [`could_not_start`] translates them.
pub fn start(work: &Work, cwd: &Dir, streams: Streams<'_>, environment: &Environment) -> io::Result<Process> {
    let (mut command, script) = work.command(environment)?;
    command.current_dir(format!("/proc/self/fd/{}", cwd.as_fd().as_raw_fd()));
    let mut merged = None;
    let (mut terminal, mut input) = (None, None);
    let mut child = if let Streams::Terminal(size, modes) = streams {
        let (child, ours, [typed, shown]) = Terminal::spawn(command, size, modes)?;
        terminal = Some(Arc::new(ours));
        (input, merged) = (Some(typed), Some(shown));
        child
    } else {
        command.process_group(0).stdin(if streams.has_input() { Stdio::piped() } else { Stdio::null() });
        if streams.is_together() {
            let (read, write) = io::pipe()?;
            command.stdout(write.try_clone()?).stderr(write);
            merged = Some(File::from(OwnedFd::from(read)));
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        // The command holds the pipe's writing end; ours goes with `command`, or the pipe would never end.
        terminal::apart(move || command.spawn())?
    };
    let leader = Pid::from_child(&child);
    let tree = Descendants::new(leader, work.kill_scope(streams), environment.marker.clone(), terminal.clone());
    let exit = match pidfd_open(leader, PidfdFlags::empty()) {
        Ok(exit) => exit,
        Err(error) => {
            // No other code would end it or wait for it.
            tree.end(Duration::ZERO, &AtomicBool::new(false));
            tree.close();
            child.wait()?;
            return Err(error.into());
        }
    };
    Ok(Process { child, tree, exit, input, merged, terminal, reaped: false, slot: None, _script: script })
}

impl Process {
    /// Holds a command slot until the process is waited for: when the client gets the outcome, the slot is free again.
    /// From now on the caps of the slot apply.
    pub fn hold(&mut self, slot: CommandSlot) {
        if let Some(most) = slot.caps().processes {
            self.tree.limit_processes(most);
        }
        self.slot = Some(slot);
    }

    /// Output limit in bytes a second; `None`: no limit.
    pub fn output_rate(&self) -> Option<u64> {
        self.slot.as_ref().and_then(|slot| slot.caps().output_rate)
    }

    /// The process and all its descendants.
    pub const fn tree(&self) -> &Arc<Descendants> {
        &self.tree
    }

    /// Becomes readable when the process has exited (`pidfd_open(2)`).
    pub const fn exit_fd(&self) -> &OwnedFd {
        &self.exit
    }

    /// Its terminal, if it has one.
    pub const fn terminal(&self) -> Option<&Arc<Terminal>> {
        self.terminal.as_ref()
    }

    /// Takes the writing end of its stdin, in non-blocking mode; `None`: it has none, or it was taken.
    pub fn take_stdin(&mut self) -> Option<File> {
        if let Some(input) = self.input.take() {
            return Some(input);
        }
        let pipe = File::from(OwnedFd::from(self.child.stdin.take()?));
        match fcntl_setfl(&pipe, OFlags::WRONLY | OFlags::NONBLOCK) {
            Ok(()) => Some(pipe),
            Err(_) => None,
        }
    }

    /// Takes the reading end of its stdout, or of both where they are merged. A terminal's read never waits.
    pub fn take_stdout(&mut self) -> Option<File> {
        self.merged.take().or_else(|| self.child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe))))
    }

    /// Takes the reading end of its stderr.
    pub fn take_stderr(&mut self) -> Option<File> {
        self.child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe)))
    }

    /// Waits for its exit.
    ///
    /// # Errors
    /// There is nothing to wait for: other code has waited for it, or this program was started with SIGCHLD ignored.
    pub fn wait(&mut self) -> io::Result<Outcome<'static>> {
        self.wait_for_exit();
        self.tree.close();
        let waited = self.child.wait();
        // Also after an error, the id may belong to another process from now on.
        self.reaped = true;
        self.slot = None;
        waited.map(outcome)
    }

    /// Waits for its exit without reaping it, so that its process id stays valid.
    pub fn wait_for_exit(&self) {
        while !exits_within(&self.exit, Duration::from_hours(1)) {}
    }

    /// Whether a signal ended it. It must have exited and not been waited for.
    pub fn was_killed(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(self.exit.as_fd()), options);
        status.ok().flatten().is_some_and(|status| status.killed() || status.dumped())
    }

    /// Sends SIGTERM to all of it, and SIGKILL to what is left after `grace`.
    pub fn end(&mut self, grace: Duration) {
        // After it was waited for, its id may belong to another group.
        if !self.reaped {
            self.tree.end(grace, &AtomicBool::new(false));
        }
    }
}

impl Drop for Process {
    /// A process that is not waited for would stay a zombie for as long as the server runs.
    fn drop(&mut self) {
        if !self.reaped {
            self.tree.end(Duration::ZERO, &AtomicBool::new(false));
            self.tree.close();
            if let Err(error) = self.child.wait() {
                tracing::warn!(%error, "a command could not be waited for");
            }
        }
    }
}

/// Whether the process behind a pidfd has exited by the end of `wait`.
pub fn exits_within(exit: &OwnedFd, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    loop {
        let timeout = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(exit, PollFlags::IN)], timeout.as_ref()) {
            Ok(count) => return count > 0,
            Err(_interrupted) => {}
        }
    }
}

fn outcome(status: ExitStatus) -> Outcome<'static> {
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exited(code),
        (None, signal) => Outcome::Killed(signal_name(signal.unwrap_or_default()).into()),
    }
}

/// The outcome of a command that never ran, with the codes that shells use.
pub fn could_not_start(work: &Work, error: &io::Error) -> Outcome<'static> {
    let program = match work {
        Work::Shell(_) => "/bin/sh".to_owned(),
        Work::Login(_) => login_shell().to_string_lossy().into_owned(),
        Work::Argv(argv) => argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    let (code, why) = match error.kind() {
        io::ErrorKind::NotFound => (127, "command not found"),
        io::ErrorKind::PermissionDenied => (126, "permission denied"),
        io::ErrorKind::ArgumentListTooLong => (
            126,
            "argument list too long: there may be 128 KiB in one argument or variable, and about 2 MiB in all of them",
        ),
        io::ErrorKind::ExecutableFileBusy => (126, "program file is being written"),
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => (126, "the server has no room for another process"),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            (126, "not an executable format")
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            (126, "the server has too many open files")
        }
        _ => (126, "cannot be executed"),
    };
    Outcome::CouldNotStart { code, why: format!("{program}: {why}").into() }
}

/// Signals by number as Linux has them on x86 and ARM (signal(7)), without `SIG`.
const SIGNALS: [(i32, &str); 30] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (23, "URG"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
];

/// A signal's name without `SIG`, or its number where it has none.
pub fn signal_name(number: i32) -> String {
    SIGNALS.iter().find(|(n, _)| *n == number).map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// A signal's number by its name without `SIG`, for exit codes: 128 and this.
pub fn signal_number(name: &str) -> Option<i32> {
    SIGNALS.iter().find(|(_, n)| *n == name).map(|(number, _)| *number).or_else(|| name.parse().ok())
}

/// The signals that a client may send to its command.
pub const PERMITTED_SIGNALS: [(&str, Signal); 11] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("WINCH", Signal::WINCH),
];

/// The permitted signal of this name, without `SIG`; `None`: it is not permitted.
pub fn permitted_signal(name: &str) -> Option<Signal> {
    PERMITTED_SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_survives_the_wire_and_bad_bodies_are_named() {
        let argv = Work::Argv(["printf", "%s", "", "a b", "$x\n"].map(OsString::from).to_vec());
        let shell = Work::Shell("ls | wc".into());
        for work in [argv, shell] {
            for variables in [vec![], vec![OsString::from("A=1"), OsString::from("B=")]] {
                let (form, body) = work.to_body(&variables);
                let count = u32::try_from(variables.len()).unwrap();
                assert_eq!(Work::from_body(form, count, &body), Ok((variables, work.clone())));
            }
        }
        for (form, body, why) in [
            (CommandForm::Shell, &b""[..], BadWork::Empty),
            (CommandForm::Shell, b"a\0b", BadWork::Nul),
            (CommandForm::Argv, b"", BadWork::Empty),
            (CommandForm::Argv, b"\0", BadWork::Empty),
            (CommandForm::Argv, b"ls", BadWork::Unended),
        ] {
            assert_eq!(Work::from_body(form, 0, body), Err(why), "{form:?} {body:?}");
        }
    }

    #[test]
    fn a_process_starts_in_its_directory_and_says_how_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = crate::fs::root::Root::open_own_dir(dir.path()).unwrap();
        let begin = |work: &Work| start(work, &cwd, Streams::ApartWithoutInput, &Environment::of("somebody"));
        let run = |script: &str| begin(&Work::Shell(script.into())).unwrap().wait().unwrap();
        assert_eq!(run("echo x > here; exit 7"), Outcome::Exited(7));
        assert!(dir.path().join("here").exists());
        assert_eq!(run("kill -TERM $$"), Outcome::Killed("TERM".into()));
        let missing = Work::Argv(vec!["no-such-program".into()]);
        let error = begin(&missing).unwrap_err();
        let Outcome::CouldNotStart { code, why } = could_not_start(&missing, &error) else { panic!("it started") };
        assert_eq!((code, &*why), (127, "no-such-program: command not found"));
    }

    #[test]
    fn a_terminal_has_the_modes_that_were_sent_before_its_command_starts() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = crate::fs::root::Root::open_own_dir(dir.path()).unwrap();
        let streams = Streams::Terminal(TerminalSize { columns: 80, rows: 24 }, &[5, 0, 0, 0, 0x1a, 0]);
        let work = Work::Shell("stty -a > modes; read word".into());
        let process = start(&work, &cwd, streams, &Environment::of("somebody")).unwrap();
        assert_eq!(process.terminal().unwrap().end_of_input(), Some(0x1a));
        let modes = || std::fs::read_to_string(dir.path().join("modes")).unwrap_or_default();
        while !modes().contains("eof = ^Z") {
            assert!(!exits_within(process.exit_fd(), Duration::ZERO), "{}", modes());
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal_name(9), "KILL");
        assert_eq!(signal_name(42), "42");
        assert_eq!(signal_number("TERM"), Some(15));
        assert_eq!(signal_number("42"), Some(42));
    }
}
