//! `rexec --detach` and what goes with it: commands that run on without this program.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::ioctl_fionread;

use crate::cli::exit::Exit;
use crate::cli::output::{put_json, say, tell};
use crate::cli::rexec::args::{Args, PROGRAM};
use crate::cli::rexec::one::{CommandOutput, RunTime, shown_call};
use crate::cli::signals::{Forwarding, to_leave};
use crate::connection::Connection;
use crate::exec::jobs::note::{JobRecord, JobState};
use crate::exec::jobs::{AttachRequest, call_attach, call_detached, call_jobs, call_kill};
use crate::exec::process::Work;
use crate::net::Address;
use crate::printable::printable;
use crate::wire::message::{AttachMode, Outcome};

/// How long to wait for input that will not be read, to warn about it.
const INPUT_WAIT: Duration = Duration::from_millis(100);

/// Starts a command and prints what it is called.
///
/// # Errors
/// The server refused, or the connection was lost.
pub(super) fn detach(args: &Args, host: &Address, connection: &mut Connection, work: &Work) -> anyhow::Result<Exit> {
    let variables = args.variables()?;
    let begun = call_detached(connection, &shown_call(args, work, &variables, args.exec_options()))?;
    if begun.is_ok() && !args.no_stdin && !args.output.quiet && has_input() {
        say(
            PROGRAM,
            "a detached command gets no input: what is on standard input was not read (-n says that it is not meant for it)",
        );
    }
    match begun {
        Ok(job) if args.output.json => {
            put_json(&serde_json::json!({ "host": host.to_string(), "job": job, "command": work.shown() }))?;
            Ok(Exit::Done)
        }
        Ok(job) => {
            tell(&format!("{}\n", printable(&job)))?;
            Ok(Exit::Done)
        }
        Err(outcome) => {
            if let Outcome::CouldNotStart { why, .. } = &outcome {
                say(PROGRAM, &format!("{host}: {}", printable(why)));
            }
            Ok(Exit::of_command(&outcome))
        }
    }
}

/// Whether something waits on standard input, where that is a file or a pipe. A pipe whose writer is only about to
/// begin is given a moment.
fn has_input() -> bool {
    let stdin = rustix::stdio::stdin();
    if std::io::stdin().is_terminal() {
        return false;
    }
    let moment = Timespec::try_from(INPUT_WAIT).ok();
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    let is_ready = poll(&mut polled, moment.as_ref()).is_ok_and(|ready| ready > 0);
    let is_file = fstat(stdin).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    // A device may say that it can be read, and have nothing (/dev/null), or have no end.
    is_ready && ioctl_fionread(stdin).is_ok_and(|waiting| waiting > 0) || is_file && !is_at_end(stdin)
}

fn is_at_end(file: BorrowedFd<'_>) -> bool {
    let (at, size) = (rustix::fs::tell(file).unwrap_or(0), fstat(file).map_or(0, |stat| stat.st_size));
    i64::try_from(at).is_ok_and(|at| at >= size)
}

/// Shows what a command writes, or waits for its end. Ctrl-C leaves, and the command runs on.
///
/// # Errors
/// The server refused, or the connection was lost.
pub(super) fn attach(
    args: &Args,
    host: &Address,
    connection: &mut Connection,
    id: &str,
    watch: AttachMode,
) -> anyhow::Result<Exit> {
    let forwarding =
        Forwarding::start(connection.sender().clone(), connection.control().clone(), args.kill_after, &to_leave)?;
    let mut show = CommandOutput::new(args);
    let time = RunTime::begin();
    let watched = call_attach(connection, AttachRequest { id, watch, tail: args.tail }, &mut |stream, bytes| {
        show.output(stream, bytes)
    });
    if let Some(signal) = forwarding.stop() {
        return Ok(Exit::of_signal(signal));
    }
    let (ended, forgotten) = watched?;
    show.finish()?;
    if forgotten > 0 && !args.output.quiet {
        say(PROGRAM, &format!("{id}: {forgotten} bytes of its output are not kept any more"));
    }
    match ended {
        _ if watch == AttachMode::Log => Ok(Exit::Done),
        Some(ended) => {
            show.outcome(host, id, &ended, &time)?;
            Ok(Exit::of_command(&ended.outcome))
        }
        None => {
            say(PROGRAM, &format!("{id}: runs on; rexec --attach {id} {host} shows it again"));
            Ok(Exit::Interrupted)
        }
    }
}

/// Ends a command, or sends it a signal.
///
/// # Errors
/// The server refused, or the connection was lost.
pub(super) fn kill(args: &Args, host: &Address, connection: &mut Connection, id: &str) -> anyhow::Result<Exit> {
    let signal = args.signal.as_ref().map(|name| name.to_ascii_uppercase());
    let signal = signal.as_deref().map(|name| name.strip_prefix("SIG").unwrap_or(name));
    call_kill(connection, id, signal)?;
    if args.output.json {
        put_json(&serde_json::json!({ "host": host.to_string(), "job": id, "signal": signal }))?;
    }
    Ok(Exit::Done)
}

/// Prints all commands.
///
/// # Errors
/// The server refused, or the connection was lost.
pub(super) fn list(args: &Args, connection: &mut Connection) -> anyhow::Result<Exit> {
    let jobs = call_jobs(connection)?;
    if args.output.json {
        put_json(&jobs)?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    for job in &jobs {
        let (how, command) = (how(job), printable(&job.command));
        let began = job.began.split('.').next().unwrap_or_default();
        writeln!(text, "{}  {:14}  {}Z  {}", printable(&job.job), printable(&how), printable(began), command)?;
    }
    tell(&text)?;
    Ok(Exit::Done)
}

fn how(job: &JobRecord) -> String {
    match job.state {
        JobState::Running => "running".into(),
        JobState::Exited => format!("exit {}", job.exit_code.unwrap_or_default()),
        JobState::Killed => format!("killed by {}", job.signal.as_deref().unwrap_or("a signal")),
        JobState::TimedOut => "timed out".into(),
        JobState::Lost => "lost".into(),
    }
}
