//! A tutorial request as a command: run in the session's directory, with its output collected and its client watched.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::OutputPolicy;
use crate::error::{Error, Result};
use crate::exec::environment::Environment;
use crate::exec::process::{Process, Streams, Work, could_not_start, exits_within, start};
use crate::exec::rate::Throttle;
use crate::exec::{KILL_AFTER, PIECE_LEN};
use crate::net::Stream;
use crate::session::Session;
use crate::trust::Service;
use crate::trust::policy::withheld_refusal;
use crate::wire::message::Outcome;

/// Longest reply that is collected before it is framed, in bytes. Frames have no such limit.
pub const REPLY_LEN_MAX: usize = 16 * 1024 * 1024;
/// How long a command may run for a client that has shut down its sending half: it may wait for the reply, or may be
/// gone.
const HALF_CLOSED_TIME_MAX: Duration = Duration::from_secs(10);

/// Runs a command. A plain `cd DIR` changes the session's directory, an exercise in the tutorials: each command has a
/// shell of its own, so its `cd` would have no effect on the next one.
pub(super) fn run(
    command: &str,
    policy: OutputPolicy,
    stream: &Stream,
    session: &mut Session,
) -> Result<(Vec<u8>, String)> {
    // The reply has the reason: a connection that is just closed tells its client nothing.
    let refused = |why: String| Ok((format!("{why}\n").into_bytes(), format!("refused: {why}")));
    if session.withheld.has(Service::Exec) {
        return refused(withheld_refusal("this").message);
    }
    if let Some(path) = cd_target(command) {
        let moved = session.resolve(path.as_bytes()).and_then(|path| Ok(session.root.open_dir(&path).map(|_| path)?));
        return Ok(match moved {
            Ok(path) => {
                session.cwd = path;
                (format!("{}\n", session.cwd).into_bytes(), "exit 0".into())
            }
            Err(refusal) => (format!("cd: {refusal}\n").into_bytes(), format!("refused: {refusal}")),
        });
    }
    let work = Work::Shell(command.into());
    let cwd = match session.root.open_dir(&session.cwd) {
        Ok(cwd) => cwd,
        Err(refusal) => return refused(refusal.to_string()),
    };
    let _thread = match session.gate.take_threads(1) {
        Ok(thread) => thread,
        Err(full) => return refused(full.to_string()),
    };
    let slot = match session.take_slot() {
        Ok(slot) => slot,
        Err(refusal) => return refused(refusal.message),
    };
    let streams =
        if policy == OutputPolicy::Merged { Streams::TogetherWithoutInput } else { Streams::ApartWithoutInput };
    let mut process = match start(&work, &cwd, streams, &Environment::of(&session.peer.to_string())) {
        Ok(process) => process,
        Err(error) => {
            let Outcome::CouldNotStart { why, .. } = could_not_start(&work, &error) else { return Err(error.into()) };
            return Ok((why.as_bytes().to_vec(), format!("could not start: {why}")));
        }
    };
    process.hold(slot);
    let collected = collect(&mut process, stream);
    if !matches!(collected, Ok(Collected { is_whole: true, .. })) {
        process.end(KILL_AFTER);
    }
    let outcome = process.wait().map_err(Error::ours("command"))?;
    let Collected { stdout, stderr, is_whole } = collected?;
    let mut how = outcome.to_string();
    if !is_whole {
        how.push_str(", ended before its time");
    }
    let output = match policy {
        OutputPolicy::StderrFirst if !stderr.is_empty() => stderr,
        OutputPolicy::Merged | OutputPolicy::StderrFirst | OutputPolicy::Stdout => stdout,
    };
    Ok((output, how))
}

/// The directory of a command that is only `cd DIR`; `None`: any other command, or a `DIR` with special characters of a
/// shell.
fn cd_target(command: &str) -> Option<&str> {
    let rest = command.trim().strip_prefix("cd")?;
    if rest.is_empty() {
        return Some("/");
    }
    let target = rest.strip_prefix([' ', '\t'])?.trim();
    let is_plain =
        !target.is_empty() && !target.contains(|c: char| c.is_whitespace() || "|&;<>()$`\\\"'*?[#~=%!{}".contains(c));
    is_plain.then_some(target)
}

struct Collected {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    is_whole: bool,
}

/// Reads both outputs at once, until they end, the command exits, the limit is reached, or the client is gone.
fn collect(process: &mut Process, stream: &Stream) -> Result<Collected> {
    let mut pipes = [process.take_stdout(), process.take_stderr()];
    let mut outputs = [Vec::new(), Vec::new()];
    let mut piece = vec![0; PIECE_LEN];
    let exits = |wait| exits_within(process.exit_fd(), wait);
    let mut throttle = Throttle::new(process.output_rate(), &exits, &|| false);
    let mut half_closed: Option<Instant> = None;
    let mut is_whole = true;
    // A command may close its outputs and run on: then only its exit and the client are watched.
    loop {
        if outputs.iter().map(Vec::len).sum::<usize>() > REPLY_LEN_MAX
            || half_closed.is_some_and(|at| at.elapsed() > HALF_CLOSED_TIME_MAX)
        {
            is_whole = false;
            break;
        }
        let ready = wait(process, &pipes, stream, half_closed.is_some())?;
        match ready.client {
            Interest::Gone => {
                is_whole = false;
                break;
            }
            Interest::HalfClosed if half_closed.is_none() => half_closed = Some(Instant::now()),
            Interest::HalfClosed | Interest::There => {}
        }
        if ready.exited && !ready.output.contains(&true) {
            break;
        }
        for ((pipe, output), is_ready) in pipes.iter_mut().zip(&mut outputs).zip(ready.output) {
            if is_ready {
                let room = throttle.room();
                match pipe.as_mut().map(|pipe| pipe.read(&mut piece[..room])) {
                    Some(Ok(len)) if len > 0 => {
                        throttle.take(len);
                        output.extend_from_slice(piece.get(..len).unwrap_or_default());
                    }
                    Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    _ => *pipe = None,
                }
            }
        }
    }
    let [stdout, stderr] = outputs;
    Ok(Collected { stdout, stderr, is_whole })
}

struct Ready {
    output: [bool; 2],
    exited: bool,
    client: Interest,
}

/// Whether the client still wants the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    There,
    /// The client will send nothing more: it may wait for the reply, or may have closed.
    HalfClosed,
    /// The connection was reset, or both directions are shut down.
    Gone,
}

fn wait(process: &Process, pipes: &[Option<std::fs::File>; 2], stream: &Stream, is_half_closed: bool) -> Result<Ready> {
    let [stdout, stderr] = pipes;
    // A pipe that has ended is no longer watched; the exit's descriptor stands in for it.
    let exit = process.exit_fd().as_fd();
    let watch = |pipe: &Option<std::fs::File>| pipe.is_some();
    let flags = if is_half_closed { PollFlags::empty() } else { PollFlags::RDHUP };
    let mut polled = [
        PollFd::from_borrowed_fd(stdout.as_ref().map_or(exit, AsFd::as_fd), PollFlags::IN),
        PollFd::from_borrowed_fd(stderr.as_ref().map_or(exit, AsFd::as_fd), PollFlags::IN),
        PollFd::from_borrowed_fd(exit, PollFlags::IN),
        PollFd::from_borrowed_fd(stream.as_fd(), flags),
    ];
    let tick = Timespec { tv_sec: 1, tv_nsec: 0 };
    match poll(&mut polled, Some(&tick)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(Error::ours("command")(error.into())),
    }
    let [on_stdout, on_stderr, on_exit, on_client] = polled.map(|polled| polled.revents());
    let client = if on_client.intersects(PollFlags::ERR | PollFlags::HUP) {
        Interest::Gone
    } else if on_client.is_empty() {
        Interest::There
    } else {
        Interest::HalfClosed
    };
    let output = [!on_stdout.is_empty() && watch(stdout), !on_stderr.is_empty() && watch(stderr)];
    Ok(Ready { output, exited: !on_exit.is_empty(), client })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_cd_is_told_from_a_command() {
        for (command, want) in [
            ("cd", Some("/")),
            ("cd src", Some("src")),
            (" cd  ../x/ ", Some("../x/")),
            ("cd 目录", Some("目录")),
            ("cdx", None),
            ("cd a b", None),
            ("cd a && ls", None),
            ("cd $HOME", None),
            ("echo cd", None),
        ] {
            assert_eq!(cd_target(command), want, "{command}");
        }
    }
}
