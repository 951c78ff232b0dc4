//! Starting a process and ending it: its own process group, its own pipes, a working directory that
//! is handed over as an open directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use cap_std::fs::Dir;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::wire::message::{Form, Outcome};

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A command string for `sh -c`.
    Shell(OsString),
    /// A program and its arguments.
    Argv(Vec<OsString>),
}

/// The body of `exec` is not what it says.
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
    /// Reads the body of `exec`.
    ///
    /// # Errors
    /// It is empty, or its NULs are not where they belong.
    pub fn from_body(form: Form, body: Vec<u8>) -> Result<Self, BadWork> {
        match form {
            Form::Shell if body.is_empty() => Err(BadWork::Empty),
            Form::Shell if body.contains(&0) => Err(BadWork::Nul),
            Form::Shell => Ok(Self::Shell(OsString::from_vec(body))),
            Form::Argv => {
                let body = match body.strip_suffix(&[0]) {
                    Some(body) => body,
                    None if body.is_empty() => return Err(BadWork::Empty),
                    None => return Err(BadWork::Unended),
                };
                let argv: Vec<_> =
                    body.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect();
                if argv.first().is_none_or(|program| program.is_empty()) {
                    Err(BadWork::Empty)
                } else {
                    Ok(Self::Argv(argv))
                }
            }
        }
    }

    /// The body of `exec` for this.
    pub fn to_body(&self) -> (Form, Vec<u8>) {
        match self {
            Self::Shell(command) => (Form::Shell, command.as_bytes().to_vec()),
            Self::Argv(argv) => {
                let words = argv.iter().flat_map(|word| word.as_bytes().iter().copied().chain([0]));
                (Form::Argv, words.collect())
            }
        }
    }

    /// For the log: as it was sent.
    pub fn shown(&self) -> String {
        match self {
            Self::Shell(command) => command.to_string_lossy().into_owned(),
            Self::Argv(argv) => argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
    fn command(&self) -> Command {
        match self {
            Self::Shell(command) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(command);
                shell
            }
            Self::Argv(argv) => {
                let mut program = Command::new(argv.first().map_or(OsStr::new(""), OsString::as_os_str));
                program.args(argv.iter().skip(1));
                program
            }
        }
    }
}

/// Where a process' output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipes {
    /// stdin, stdout and stderr apart.
    Apart,
    /// No stdin; stdout and stderr in one pipe, in the order in which they were written.
    Merged,
    /// No stdin; stdout and stderr apart.
    NoInput,
}

/// A process that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    exit: OwnedFd,
    merged: Option<File>,
    reaped: bool,
}

/// Starts `work` in `cwd`.
///
/// The directory is named by its descriptor, which exists in the child until it executes the
/// program, so that a rename in between cannot lead it elsewhere; and without code of ours between
/// fork and exec, std starts the process by `posix_spawn`, 100 times faster from a large server.
///
/// # Errors
/// As [`could_not_start`] translates them.
pub fn start(work: &Work, cwd: &Dir, pipes: Pipes) -> io::Result<Process> {
    let mut command = work.command();
    command.current_dir(format!("/proc/self/fd/{}", cwd.as_fd().as_raw_fd())).process_group(0);
    command.stdin(if pipes == Pipes::Apart { Stdio::piped() } else { Stdio::null() });
    let mut merged = None;
    if pipes == Pipes::Merged {
        let (read, write) = io::pipe()?;
        command.stdout(write.try_clone()?).stderr(write);
        merged = Some(File::from(OwnedFd::from(read)));
    } else {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let mut child = command.spawn()?;
    // The command holds the pipe's writing end; ours must go, or the pipe would never end.
    drop(command);
    let group = Pid::from_child(&child);
    let exit = match pidfd_open(group, PidfdFlags::empty()) {
        Ok(exit) => exit,
        Err(error) => {
            // Nobody would ever end it or wait for it.
            Group(group).signal(Signal::KILL);
            child.wait()?;
            return Err(error.into());
        }
    };
    Ok(Process { child, group, exit, merged, reaped: false })
}

/// A handle to signal a process group from another thread.
#[derive(Debug, Clone, Copy)]
pub struct Group(Pid);

impl Group {
    /// Sends `signal` to the whole group; a group that is gone is no error.
    pub fn signal(self, signal: Signal) {
        if let Err(error) = kill_process_group(self.0, signal) {
            tracing::debug!(group = self.0.as_raw_nonzero(), %error, "a process group could not be signalled");
        }
    }

    /// Asks it to end; one that was stopped is woken, or it would never hear.
    pub fn end_politely(self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }
}

impl Process {
    /// The process group.
    pub const fn group(&self) -> Group {
        Group(self.group)
    }

    /// Becomes readable when the process has exited (`pidfd_open(2)`).
    pub const fn exit_fd(&self) -> &OwnedFd {
        &self.exit
    }

    /// Takes the writing end of its stdin, made so that a write never waits.
    pub fn take_stdin(&mut self) -> Option<File> {
        let pipe = File::from(OwnedFd::from(self.child.stdin.take()?));
        match fcntl_setfl(&pipe, OFlags::WRONLY | OFlags::NONBLOCK) {
            Ok(()) => Some(pipe),
            Err(_) => None,
        }
    }

    /// Takes the reading end of its stdout, or of both where they are merged.
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
    /// Never, for a child that nobody else waited for.
    pub fn wait(&mut self) -> io::Result<Outcome<'static>> {
        let status = self.child.wait()?;
        self.reaped = true;
        Ok(outcome(status))
    }

    /// Waits for its exit without taking note of it: until then its number is its own.
    pub fn wait_for_exit(&self) {
        while !self.exits_within(Duration::from_hours(1)) {}
    }

    /// Whether it has exited by the end of `wait`.
    pub fn exits_within(&self, wait: Duration) -> bool {
        let timeout = Timespec::try_from(wait).ok();
        poll(&mut [PollFd::new(&self.exit, PollFlags::IN)], timeout.as_ref()).is_ok_and(|count| count > 0)
    }

    /// Asks the whole group to end, and ends it if it has not within `grace`.
    pub fn end(&mut self, grace: Duration) {
        if self.reaped {
            // Its number may be another group's by now.
            return;
        }
        self.group().end_politely();
        if !self.exits_within(grace) {
            self.group().signal(Signal::KILL);
        }
    }
}

impl Drop for Process {
    /// A process that nobody waits for would stay as a zombie for as long as the server lives.
    fn drop(&mut self) {
        if !self.reaped {
            self.group().signal(Signal::KILL);
            if let Err(error) = self.child.wait() {
                tracing::warn!(%error, "a command could not be waited for");
            }
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
        Work::Argv(argv) => argv.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    let (code, why) = match error.kind() {
        io::ErrorKind::NotFound => (127, "command not found"),
        io::ErrorKind::PermissionDenied => (126, "permission denied"),
        io::ErrorKind::ArgumentListTooLong => (126, "argument list too long"),
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
pub fn permitted_signal(name: &str) -> Option<Signal> {
    match name {
        "HUP" => Some(Signal::HUP),
        "INT" => Some(Signal::INT),
        "QUIT" => Some(Signal::QUIT),
        "KILL" => Some(Signal::KILL),
        "TERM" => Some(Signal::TERM),
        "USR1" => Some(Signal::USR1),
        "USR2" => Some(Signal::USR2),
        "CONT" => Some(Signal::CONT),
        "STOP" => Some(Signal::STOP),
        "TSTP" => Some(Signal::TSTP),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_survives_the_wire_and_bad_bodies_are_named() {
        let argv = Work::Argv(["printf", "%s", "", "a b", "$x\n"].map(OsString::from).to_vec());
        let shell = Work::Shell("ls | wc".into());
        for work in [argv, shell] {
            let (form, body) = work.to_body();
            assert_eq!(Work::from_body(form, body), Ok(work));
        }
        for (form, body, why) in [
            (Form::Shell, &b""[..], BadWork::Empty),
            (Form::Shell, b"a\0b", BadWork::Nul),
            (Form::Argv, b"", BadWork::Empty),
            (Form::Argv, b"\0", BadWork::Empty),
            (Form::Argv, b"ls", BadWork::Unended),
        ] {
            assert_eq!(Work::from_body(form, body.to_vec()), Err(why), "{form:?} {body:?}");
        }
    }

    #[test]
    fn a_process_starts_in_its_directory_and_says_how_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = crate::root::Root::open_own_dir(dir.path()).unwrap();
        let run = |script: &str| start(&Work::Shell(script.into()), &cwd, Pipes::NoInput).unwrap().wait().unwrap();
        assert_eq!(run("echo x > here; exit 7"), Outcome::Exited(7));
        assert!(dir.path().join("here").exists());
        assert_eq!(run("kill -TERM $$"), Outcome::Killed("TERM".into()));
        let missing = Work::Argv(vec!["no-such-program".into()]);
        let error = start(&missing, &cwd, Pipes::NoInput).unwrap_err();
        let Outcome::CouldNotStart { code, why } = could_not_start(&missing, &error) else { panic!("it started") };
        assert_eq!((code, &*why), (127, "no-such-program: command not found"));
    }

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal_name(9), "KILL");
        assert_eq!(signal_name(42), "42");
        assert_eq!(signal_number("TERM"), Some(15));
        assert_eq!(signal_number("42"), Some(42));
    }
}
