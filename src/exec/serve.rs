//! The server's half of a remote command.
//!
//! Three threads for one command, so that nothing waits behind anything else: the connection's own thread reads the
//! connection and never writes to the process; one writes its stdin and grants credit for what it has written; one
//! reads both outputs and waits for the exit.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::ending::Ending;
use super::environment::Environment;
use super::places::Places;
use super::process::{Process, Ready, Streams, Work, could_not_start, exits_within, permitted_signal, start};
use super::running::{Running, lost, pump};
use super::terminal::Terminal;
use super::{COMMAND_LEN_MAX, ExecState, KILL_AFTER, STDIN_CREDIT, VARIABLES_MAX, jobs, rules};
use crate::connection::{Connection, ConnectionReceiver, ConnectionSender};
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::fs::root::RootPath;
use crate::net::listen::STACK_LEN;
use crate::session::Session;
use crate::wire::channel::unexpected;
use crate::wire::message::{CommandForm, ExecOptions, Message, Outcome, OutputHolder};

/// Threads that a command needs beside its connection's own.
const THREADS: usize = 2;

/// A client's `exec` request, without the command.
#[derive(Debug, Clone, Copy)]
pub struct ExecRequest<'r> {
    /// The format of the body.
    pub form: CommandForm,
    /// The directory in which to run it, relative to the session's or the place's; `None`: that directory itself.
    pub path: Option<&'r [u8]>,
    /// The place whose directory and variables it gets; `None`: no place.
    pub place: Option<&'r str>,
    /// Timeout and other options.
    pub options: ExecOptions,
    /// The modes of its client's terminal; `None`: the client has sent none.
    pub modes: Option<&'r [u8]>,
}

/// Serves one command.
///
/// # Errors
/// A refusal for the client, or the connection failed; the command's own failures are its outcome.
pub fn serve_exec(
    connection: &mut Connection,
    session: &mut Session,
    shared: ExecState<'_>,
    request: ExecRequest<'_>,
) -> Result<()> {
    let body = connection.receiver().body(COMMAND_LEN_MAX)?;
    let command = prepare(session, shared.places, request, &body)?;
    let options = request.options;
    if options.detached {
        return jobs::serve_detached(connection, session, shared, &command, options);
    }
    let threads = THREADS + usize::from(options.timeout_ms.is_some());
    let _threads =
        session.gate.take_threads(threads).map_err(|full| Refusal::new(ErrorCode::Busy, full.to_string()))?;
    let slot = session.take_slot()?;
    session.log_begin("exec");
    let streams = match options {
        ExecOptions { terminal: Some(size), .. } => Streams::Terminal(size, request.modes.unwrap_or_default()),
        ExecOptions { merged: true, .. } => Streams::Together,
        _ => Streams::Apart,
    };
    let outcome = match start(&command.work, &command.cwd, streams, &command.environment) {
        Ok(mut process) => {
            process.hold(slot);
            process.terminal().inspect(|terminal| shared.terminals.add(terminal));
            let leave = |rest| shared.leftovers.take(session.peer.owner(), rest);
            let run = Run { options, is_cut: &session.is_cut, path: &command.path, leave: &leave };
            run.serve(connection, process)?
        }
        Err(error) => {
            drop(slot);
            let outcome = could_not_start(&command.work, &error);
            say_outcome(connection.sender(), &outcome, None, &command.path)?;
            outcome
        }
    };
    session.report.outcome = Some(outcome.to_string());
    Ok(())
}

/// All checks before a command is started.
fn prepare(session: &mut Session, places: &Places, request: ExecRequest<'_>, body: &[u8]) -> Result<Ready> {
    let ExecRequest { form, path, place, options, .. } = request;
    let bad = |why: String| Refusal::new(ErrorCode::BadRequest, why);
    if options.variables > VARIABLES_MAX {
        return Err(bad(format!("{} variables; {VARIABLES_MAX} is the most", options.variables)).into());
    }
    let (sent, work) = Work::from_body(form, options.variables, body).map_err(|why| bad(why.to_string()))?;
    session.report.about = work.shown();
    let mut environment = Environment::of(&session.peer.to_string());
    let (base, mut variables) = match place {
        None => (session.cwd.clone(), Vec::new()),
        Some(name) => places.find(&session.owner()?, name)?,
    };
    variables.extend(sent);
    let path = path.map_or_else(|| Ok(base.clone()), |path| base.join(path))?;
    session.report.place = Some(path.to_string());
    let work = rules::decide(session, work, &variables, &path, &mut environment)?;
    environment.add(variables).map_err(|why| bad(why.to_string()))?;
    let cwd = session.root.open_dir(&path).map_err(|error| {
        let text = format!("{error} (under the root that the server shows)");
        Refusal::new(error.kind().into(), text)
    })?;
    Ok(Ready { work, environment, cwd, path })
}

/// A command that runs, and what it is to do with its end.
struct Run<'r> {
    options: ExecOptions,
    /// Set where the connection has been cut.
    is_cut: &'r Arc<AtomicBool>,
    /// Where the command runs.
    path: &'r RootPath,
    leave: &'r Leave<'r>,
}

impl Run<'_> {
    /// Passes on the command's input and output until it has ended and the client has said `end`.
    fn serve(&self, connection: &mut Connection, mut process: Process) -> Result<Outcome<'static>> {
        let Self { options, is_cut, path, leave } = *self;
        let control = connection.control().clone();
        let command = Running::new(&process, &options, Arc::clone(is_cut));
        let pipes = (process.take_stdin(), process.take_stdout(), process.take_stderr());
        let terminal = process.terminal().cloned();
        let exit = process.exit_fd().try_clone().map_err(Error::ours("command"))?;
        let (receiver, sender) = connection.halves()?;
        let credit = AtomicU32::new(STDIN_CREDIT);
        let (pieces, to_write) = channel();
        let (done, is_done) = channel::<()>();
        thread::scope(|scope| {
            let named = |name: &str| thread::Builder::new().name(name.into()).stack_size(STACK_LEN);
            let (stdin, stdout, stderr) = pipes;
            let busy = || Refusal::new(ErrorCode::Busy, "no thread is left for the command; try again later");
            let feed = Feed {
                stdin,
                terminal: terminal.as_deref(),
                exit: &exit,
                credit: &credit,
                is_over: &command.is_over,
                sender,
            };
            if named("stdin").spawn_scoped(scope, move || feed.run(&to_write)).is_err() {
                return Err(busy().into());
            }
            if let Some(ms) = options.timeout_ms {
                let (command, exit) = (&command, &exit);
                let deadline = move || command.end_after(Duration::from_millis(ms), exit);
                if named("deadline").spawn_scoped(scope, deadline).is_err() {
                    return Err(busy().into());
                }
            }
            let stop = control.clone();
            let watched = &command;
            let pumping = named("output").spawn_scoped(scope, move || {
                // If sending fails, the connection's reader may not have noticed: stop it, so that it ends the command.
                let pumped = pump(&process, [stdout, stderr], watched, &mut |stream, piece| {
                    sender.send(&Message::Data { stream }, piece).inspect_err(|_| stop.stop())
                });
                let outcome = watched.conclude(&mut process);
                let held = leave(pumped.rest);
                let ended = match pumped.sent {
                    // The connection still works, so the client is told.
                    Err(error @ Error::Ours { .. }) => Ok(lost(&error)),
                    sent => sent.map(|()| outcome),
                };
                let ended = ended.and_then(|outcome| say_outcome(sender, &outcome, held, path).map(|()| outcome));
                // Closing this end of the channel is the signal.
                drop(done);
                ended.inspect_err(|_| stop.stop())
            });
            let Ok(pumping) = pumping else { return Err(busy().into()) };
            let heard =
                listen(receiver, pieces, &credit, &Reached { ending: &command.ending, terminal: terminal.as_deref() });
            if matches!(heard, Err(Error::ConnectionLost(_))) {
                // The client is gone, and a thread that still writes to it would wait for the stall limit.
                control.stop();
            }
            command.is_left.store(true, Ordering::Release);
            // Background processes of a command that exited by itself live on, unless its client has sent it a signal.
            if command.ending.was_signalled() || !exits_within(&exit, Duration::ZERO) {
                command.ending.end(command.kill_after);
            }
            if heard.is_err() && is_done.recv_timeout(KILL_AFTER) == Err(RecvTimeoutError::Timeout) {
                // The client broke the protocol and would get an error, but it does not read.
                control.stop();
            }
            let outcome =
                pumping.join().unwrap_or_else(|_| Err(ConnectionLost::Closed { wanted: "the output's end" }.into()));
            heard.and(outcome)
        })
    }
}

/// What a client's messages act on, apart from stdin.
struct Reached<'r> {
    ending: &'r Ending,
    terminal: Option<&'r Terminal>,
}

/// Reads the client's messages until `end`; returns early only if the connection is lost.
fn listen(
    receiver: &mut ConnectionReceiver,
    pieces: Sender<Vec<u8>>,
    credit: &AtomicU32,
    to: &Reached<'_>,
) -> Result<()> {
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
            Ok(Message::Window { size }) => {
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
                // Once the process has closed its stdin, the pieces are dropped.
                if let Some(pieces) = &pieces {
                    drop(pieces.send(piece));
                }
            }
            Ok(other) => return Err(unexpected(&other, "stdin, a signal or end")),
            // An unknown message inside an exchange is skipped without an answer.
            Err(Error::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Feeds a process its stdin and grants credit for what it took, until the process has exited: one
/// that it left in the background may hold the pipe and never read it.
struct Feed<'f> {
    stdin: Option<File>,
    terminal: Option<&'f Terminal>,
    exit: &'f OwnedFd,
    credit: &'f AtomicU32,
    is_over: &'f AtomicBool,
    sender: &'f ConnectionSender,
}

impl Feed<'_> {
    fn run(self, to_write: &Receiver<Vec<u8>>) {
        let Some(mut stdin) = self.stdin else { return };
        let mut last = b'\n';
        while let Ok(piece) = to_write.recv() {
            if !write_as_taken(&mut stdin, &piece, self.exit) {
                return;
            }
            last = piece.last().copied().unwrap_or(last);
            let bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            self.credit.fetch_add(bytes, Ordering::AcqRel);
            if self.sender.send_unless(self.is_over, &Message::Credit { bytes }, &[]).is_err() {
                return;
            }
        }
        if let Some(end) = self.terminal.and_then(Terminal::end_of_input) {
            // A terminal's input is not ended by closing it: the end character is typed, twice after an unfinished
            // line.
            let typed: &[u8] = if last == b'\n' { &[end] } else { &[end; 2] };
            write_as_taken(&mut stdin, typed, self.exit);
        }
    }
}

/// Writes all of it, as the process reads it; `false` if it has closed its stdin or has exited.
fn write_as_taken(stdin: &mut File, mut rest: &[u8], exit: &OwnedFd) -> bool {
    while !rest.is_empty() {
        match stdin.write(rest) {
            Ok(len) => rest = rest.get(len..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && waits_for_reader(stdin, exit) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Waits until the pipe takes more; `false` if the process has exited.
fn waits_for_reader(stdin: &File, exit: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(stdin, PollFlags::OUT), PollFd::new(exit, PollFlags::IN)];
    match poll(&mut polled, None) {
        Ok(_) => polled.last().is_some_and(|exit| exit.revents().is_empty()),
        Err(error) => error == rustix::io::Errno::INTR,
    }
}

/// Takes the outputs that a command has left, and returns the process that holds them.
type Leave<'l> = dyn Fn([Option<File>; 2]) -> Option<OutputHolder<'static>> + Sync + 'l;

/// Sends the outcome, the process that holds the output and the directory, then `end`.
pub(super) fn say_outcome(
    sender: &ConnectionSender,
    outcome: &Outcome<'_>,
    held: Option<OutputHolder<'_>>,
    cwd: &RootPath,
) -> Result<()> {
    let path = Some(cwd.to_absolute().into());
    sender.queue(&Message::Outcome { outcome: outcome.clone(), path, holder: held }, &[])?;
    sender.send(&Message::End { total: None }, &[])
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, pipe};

    use rustix::event::{EventfdFlags, eventfd};
    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

    #[test]
    fn what_does_not_fit_waits_for_whoever_reads() {
        let (mut reading, writing) = pipe().unwrap();
        let mut stdin = File::from(OwnedFd::from(writing));
        fcntl_setfl(&stdin, OFlags::WRONLY | OFlags::NONBLOCK).unwrap();
        let mut all = vec![0; 1];
        while let Ok(len) = stdin.write(&[b'x'; 1024]) {
            all.resize(all.len() + len, 0);
        }
        let runs = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let has_exited = eventfd(1, EventfdFlags::CLOEXEC).unwrap();
        assert!(!write_as_taken(&mut stdin, b"\x04", &has_exited), "nobody will read it any more");
        let reader = thread::spawn(move || {
            reading.read_exact(&mut all).unwrap();
            all
        });
        assert!(write_as_taken(&mut stdin, b"\x04", &runs));
        assert_eq!(reader.join().unwrap().last(), Some(&b'\x04'));
    }
}
