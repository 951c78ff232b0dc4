//! The server's half of a remote command.
//!
//! Three threads for one command, so that nothing waits behind anything else: the line's own thread
//! reads the line and never writes to the process; one feeds its stdin and grants credit for what
//! it has written; one reads both outputs as they come and sees the exit.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ending::Ending;
use super::environment::Environment;
use super::process::{Process, Streams, Work, could_not_start, exits_within, permitted_signal, start};
use super::rules;
use super::terminal::{END_OF_INPUT, Terminal};
use super::{COMMAND_LEN_MAX, KILL_AFTER, PIECE_LEN, STDIN_CREDIT, VARIABLES_MAX};
use crate::line::{Line, LineReceiver, LineSender};
use crate::net::listen::STACK_LEN;
use crate::root::RootPath;
use crate::session::Session;
use crate::wire::conn::out_of_turn;
use crate::wire::error::{Error, ErrorCode, LineLost, Refusal, Result};
use crate::wire::message::{Form, Message, Outcome, Stream, Terms};

/// Threads that a command needs beside its line's own.
const THREADS: usize = 2;
/// After the exit, output is still waited for so long: a process left in the background may keep
/// the pipe open for ever.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(200);
/// And at most so many bytes of it, if such a process never stops writing: what two pipes can hold.
const DRAIN_LEN_MAX: usize = 2 * 1024 * 1024;

/// Serves one command.
///
/// # Errors
/// A refusal for the client, or the line failed; the command's own failures are its outcome.
pub fn serve_exec(
    line: &mut Line,
    session: &mut Session,
    (form, terms): (Form, Terms),
    path: Option<&[u8]>,
) -> Result<()> {
    let body = line.receiver().body(COMMAND_LEN_MAX)?;
    let bad = |why: String| Refusal::new(ErrorCode::BadRequest, why);
    if terms.variables > VARIABLES_MAX {
        return Err(bad(format!("{} variables; {VARIABLES_MAX} is the most", terms.variables)).into());
    }
    let (variables, work) = Work::from_body(form, terms.variables, &body).map_err(|why| bad(why.to_string()))?;
    session.report.about = work.shown();
    let mut environment = Environment::of(&session.peer.to_string());
    let place = path.map_or_else(|| Ok(session.cwd.clone()), |path| session.resolve(path))?;
    session.report.place = Some(place.to_string());
    let work = rules::decide(session, work, &variables, &place, &mut environment)?;
    environment.add(variables).map_err(|why| bad(why.to_string()))?;
    let cwd = session.root.open_dir(&place)?;
    let threads = THREADS + usize::from(terms.timeout_ms.is_some());
    let _threads =
        session.gate.take_threads(threads).map_err(|full| Refusal::new(ErrorCode::Busy, full.to_string()))?;
    session.log_begin("exec");
    let streams = match terms {
        Terms { terminal: Some(size), .. } => Streams::Terminal(size),
        Terms { merged: true, .. } => Streams::Together,
        _ => Streams::Apart,
    };
    let outcome = match start(&work, &cwd, streams, &environment) {
        Ok(process) => run(line, process, terms, &place)?,
        Err(error) => {
            let outcome = could_not_start(&work, &error);
            say_outcome(line.sender(), &outcome, &place)?;
            outcome
        }
    };
    session.report.outcome = Some(outcome.to_string());
    Ok(())
}

fn run(line: &mut Line, mut process: Process, terms: Terms, place: &RootPath) -> Result<Outcome<'static>> {
    let control = line.control().clone();
    let kill_after = terms.kill_after_ms.map_or(KILL_AFTER, Duration::from_millis);
    let command = Running {
        ending: Ending::new(Arc::clone(process.tree())),
        kill_after,
        is_over: AtomicBool::new(false),
        timed_out: AtomicBool::new(false),
    };
    let pipes = (process.take_stdin(), process.take_stdout(), process.take_stderr());
    let terminal = process.terminal().cloned();
    let exit = process.exit_fd().try_clone().map_err(Error::ours("command"))?;
    let (receiver, sender) = line.halves()?;
    let credit = AtomicU32::new(STDIN_CREDIT);
    let (pieces, to_write) = channel();
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        let named = |name: &str| thread::Builder::new().name(name.into()).stack_size(STACK_LEN);
        let (stdin, stdout, stderr) = pipes;
        let busy = || Refusal::new(ErrorCode::Busy, "no thread is left for the command; try again later");
        let is_terminal = terminal.is_some();
        let feed = Feed { stdin, is_terminal, exit: &exit, credit: &credit, is_over: &command.is_over, sender };
        if named("stdin").spawn_scoped(scope, move || feed.run(&to_write)).is_err() {
            return Err(busy().into());
        }
        if let Some(ms) = terms.timeout_ms {
            let (command, exit) = (&command, &exit);
            let deadline = move || command.end_after(Duration::from_millis(ms), exit);
            if named("deadline").spawn_scoped(scope, deadline).is_err() {
                return Err(busy().into());
            }
        }
        let stop = control.clone();
        let watched = &command;
        let pumping = named("output").spawn_scoped(scope, move || {
            // When nobody hears the command any more, the reader may not have noticed: then it ends the command.
            let pumped = pump(&mut process, [stdout, stderr], sender, &|| stop.stop());
            if pumped.is_err() {
                stop.stop();
            }
            let ended = conclude(&mut process, watched).and_then(|outcome| {
                pumped?;
                say_outcome(sender, &outcome, place)?;
                Ok(outcome)
            });
            // The word is that the other end of the channel is closed now.
            drop(done);
            ended
        });
        let Ok(pumping) = pumping else { return Err(busy().into()) };
        let heard =
            listen(receiver, pieces, &credit, &Reached { ending: &command.ending, terminal: terminal.as_deref() });
        if matches!(heard, Err(Error::LineLost(_))) {
            // The client is gone, and whoever still writes to it would wait for its stall limit.
            control.stop();
        }
        // After a normal exit there is nothing to end, and what the command left in the background lives on.
        command.ending.end(kill_after);
        if heard.is_err() && is_done.recv_timeout(KILL_AFTER) == Err(RecvTimeoutError::Timeout) {
            // It broke the protocol and would be told, but takes nothing of what it is sent.
            control.stop();
        }
        let outcome = pumping.join().unwrap_or_else(|_| Err(LineLost::Closed { wanted: "the output's end" }.into()));
        heard.and(outcome)
    })
}

/// A command that runs.
#[derive(Debug)]
struct Running {
    ending: Ending,
    kill_after: Duration,
    /// Its outcome was said.
    is_over: AtomicBool,
    timed_out: AtomicBool,
}

impl Running {
    /// Ends it when its time is up, unless it has ended by itself.
    fn end_after(&self, limit: Duration, exit: &OwnedFd) {
        if !exits_within(exit, limit) {
            self.timed_out.store(true, Ordering::Release);
            self.ending.end(self.kill_after);
        }
    }
}

/// What a client's words reach, its input aside.
struct Reached<'r> {
    ending: &'r Ending,
    terminal: Option<&'r Terminal>,
}

/// Reads what the client says until it says `end`; returns early only if the line is lost.
fn listen(receiver: &mut LineReceiver, pieces: Sender<Vec<u8>>, credit: &AtomicU32, to: &Reached<'_>) -> Result<()> {
    let mut pieces = Some(pieces);
    loop {
        match receiver.expect("end") {
            Ok(Message::End { .. }) => return Ok(()),
            Ok(Message::Eof) => pieces = None,
            Ok(Message::Signal { signal }) => {
                if let Some(signal) = permitted_signal(&signal) {
                    to.ending.signal(signal);
                }
            }
            Ok(Message::Window(size)) => {
                if let Some(Err(error)) = to.terminal.map(|terminal| terminal.resize(size)) {
                    tracing::debug!(%error, "a terminal could not be given its new size");
                }
            }
            Ok(Message::Data { .. }) => {
                let granted = credit.load(Ordering::Acquire);
                let piece = receiver.body(granted)?;
                if piece.is_empty() {
                    // It costs no credit, so that any number of them could wait to be written.
                    continue;
                }
                let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                credit.fetch_sub(len, Ordering::AcqRel);
                // Once the process has closed its stdin nobody takes the pieces: they are dropped.
                if let Some(pieces) = &pieces {
                    drop(pieces.send(piece));
                }
            }
            Ok(other) => return Err(out_of_turn(&other, "stdin, a signal or end")),
            // An unknown message in the turn is not ours to answer: its body is skipped.
            Err(Error::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Feeds a process its stdin and grants credit for what it took, until the process has exited: one
/// that it left in the background may hold the pipe and never read it.
struct Feed<'f> {
    stdin: Option<File>,
    is_terminal: bool,
    exit: &'f OwnedFd,
    credit: &'f AtomicU32,
    is_over: &'f AtomicBool,
    sender: &'f LineSender,
}

impl Feed<'_> {
    fn run(self, to_write: &Receiver<Vec<u8>>) {
        let Some(mut stdin) = self.stdin else { return };
        let mut last = b'\n';
        while let Ok(piece) = to_write.recv() {
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                match stdin.write(rest) {
                    Ok(len) => rest = rest.get(len..).unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock && waits_for_reader(&stdin, self.exit) => {}
                    // The process has closed its stdin, which is its right, or has exited.
                    Err(_) => return,
                }
            }
            last = piece.last().copied().unwrap_or(last);
            let bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            self.credit.fetch_add(bytes, Ordering::AcqRel);
            if self.sender.send_unless(self.is_over, &Message::Credit { bytes }, &[]).is_err() {
                return;
            }
        }
        if self.is_terminal {
            // A terminal has no end to be closed: it is typed, and behind a line without an end twice.
            let typed: &[u8] = if last == b'\n' { &[END_OF_INPUT] } else { &[END_OF_INPUT; 2] };
            if let Err(error) = stdin.write_all(typed) {
                tracing::debug!(%error, "the end of the input could not be typed");
            }
        }
    }
}

/// Waits until the pipe takes more; `false` if the process has exited.
fn waits_for_reader(stdin: &File, exit: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(stdin, PollFlags::OUT), PollFd::new(exit, PollFlags::IN)];
    match poll(&mut polled, None) {
        Ok(_) => polled.last().is_some_and(|exit| exit.revents().is_empty()),
        Err(error) => error == rustix::io::Errno::INTR,
    }
}

/// Sends both outputs as they come, until they end or the process does. If they cannot be sent any more, `lost` is told,
/// and they are read all the same: a command that cleans up should not die of a pipe that nobody reads.
fn pump(
    process: &mut Process,
    [mut stdout, mut stderr]: [Option<File>; 2],
    sender: &LineSender,
    lost: &dyn Fn(),
) -> Result<()> {
    let mut piece = vec![0; PIECE_LEN];
    let mut exited: Option<Instant> = None;
    let mut drained = 0;
    let mut sent = Ok(());
    while stdout.is_some() || stderr.is_some() {
        let wait = exited.map(|at| DRAIN_TIME_MAX.saturating_sub(at.elapsed()));
        let ready = wait_for_output(process, stdout.as_ref(), stderr.as_ref(), wait)?;
        if exited.is_some() && (drained > DRAIN_LEN_MAX || !(ready.stdout || ready.stderr)) {
            break;
        }
        if ready.exited && exited.is_none() {
            exited = Some(Instant::now());
        }
        for (pipe, is_ready, stream) in
            [(&mut stdout, ready.stdout, Stream::Main), (&mut stderr, ready.stderr, Stream::Stderr)]
        {
            if !is_ready {
                continue;
            }
            match pipe.as_mut().map(|pipe| pipe.read(&mut piece)) {
                Some(Ok(len)) if len > 0 => {
                    drained += if exited.is_some() { len } else { 0 };
                    if sent.is_ok() {
                        sent = sender.send(&Message::Data { stream }, piece.get(..len).unwrap_or_default());
                        if sent.is_err() {
                            lost();
                        }
                    }
                }
                Some(Err(error)) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                // A terminal that nobody holds any more says EIO.
                _ => *pipe = None,
            }
        }
    }
    sent
}

/// Waits for the exit; it is over then.
fn conclude(process: &mut Process, command: &Running) -> Result<Outcome<'static>> {
    process.wait_for_exit();
    if command.ending.was_signalled() && process.was_killed() {
        // Its client has ended it, and means all of it.
        command.ending.end(command.kill_after);
    }
    command.ending.close();
    let outcome = process.wait().map_err(Error::ours("command"))?;
    let outcome = if command.timed_out.load(Ordering::Acquire) { Outcome::TimedOut } else { outcome };
    command.is_over.store(true, Ordering::Release);
    Ok(outcome)
}

/// The outcome, and where it ran; and `end`.
fn say_outcome(sender: &LineSender, outcome: &Outcome<'_>, place: &RootPath) -> Result<()> {
    let path = Some(place.to_wire().into());
    sender.queue(&Message::Outcome { outcome: outcome.clone(), path }, &[])?;
    sender.send(&Message::End { total: None }, &[])
}

#[derive(Debug, Clone, Copy, Default)]
struct Ready {
    stdout: bool,
    stderr: bool,
    exited: bool,
}

/// Waits until one of the pipes has something or has ended, or the process has exited. Once it has,
/// `wait` is what is left of the time to drain, and the exit alone wakes nobody any more.
fn wait_for_output(
    process: &Process,
    stdout: Option<&File>,
    stderr: Option<&File>,
    wait: Option<Duration>,
) -> Result<Ready> {
    let exit_fd = wait.is_none().then(|| process.exit_fd().as_fd());
    let watched = [stdout.map(File::as_fd), stderr.map(File::as_fd), exit_fd];
    let mut polled: Vec<PollFd<'_>> =
        watched.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
    loop {
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::ours("command")(error.into())),
        }
    }
    let mut results = polled.iter().map(|polled| !polled.revents().is_empty());
    let mut next = |is_watched: bool| is_watched && results.next().unwrap_or(false);
    Ok(Ready { stdout: next(stdout.is_some()), stderr: next(stderr.is_some()), exited: next(exit_fd.is_some()) })
}
