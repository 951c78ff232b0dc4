//! Both halves of the exchanges about detached commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::log::LogReader;
use super::note::{JobRecord, JobState};
use super::{Job, JobResources, Jobs};
use crate::connection::{Connection, ConnectionReceiver, ConnectionSender};
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal, Result};
use crate::exec::ExecState;
use crate::exec::call::{Call, CommandEnd, OutputSink, OutputState};
use crate::exec::process::{PERMITTED_SIGNALS, Ready, permitted_signal};
use crate::exec::serve::say_outcome;
use crate::fs::root::RootPath;
use crate::net::listen::STACK_LEN;
use crate::session::Session;
use crate::trust::home::Home;
use crate::wire::channel::unexpected;
use crate::wire::message::{AttachMode, ExecOptions, Message, Outcome};

/// Threads of a job: its own, and one for its timeout.
const THREADS: usize = 2;
/// How often a client that is attached is served again, if no new output wakes its thread.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Serves a detached `exec`: starts the command and sends its id.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_detached(
    connection: &mut Connection,
    session: &mut Session,
    shared: ExecState<'_>,
    command: &Ready,
    options: ExecOptions,
) -> Result<()> {
    if options.terminal.is_some() {
        let text = "a detached command cannot have a terminal";
        return Err(Refusal::new(ErrorCode::BadRequest, text).into());
    }
    let threads = session.gate.take_threads(THREADS).map_err(|full| Refusal::new(ErrorCode::Busy, full.to_string()))?;
    session.log_begin("exec");
    let held = JobResources { threads, leftovers: Arc::clone(shared.leftovers) };
    match shared.jobs.start(session, command, &options, held)? {
        Ok(id) => {
            session.report.outcome = Some(format!("detached as {id}"));
            connection.sender().queue(&Message::Job { job: id.as_str().into() }, &[])?;
            connection.sender().send(&Message::End { total: None }, &[])
        }
        Err(outcome) => {
            session.report.outcome = Some(outcome.to_string());
            say_outcome(connection.sender(), &outcome, None, &command.path)
        }
    }
}

/// Serves `jobs`.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_jobs(connection: &mut Connection, session: &Session, jobs: &Jobs) -> Result<()> {
    let owner = session.owner()?.to_string();
    let notes = jobs.notes().into_iter().map(|(_, note)| note).filter(|note| note.owner == owner);
    let told: Vec<JobRecord> = notes.map(JobRecord::told).collect();
    connection.send_listing(told.into_iter().map(Ok)).map(|_count| ())
}

/// What of a detached command is shown.
#[derive(Debug, Clone, Copy)]
pub struct AttachRequest<'r> {
    /// The command's id.
    pub id: &'r str,
    /// What to wait for.
    pub watch: AttachMode,
    /// Number of lines from the end of what it has written so far; `None`: all of it.
    pub tail: Option<u64>,
}

/// Serves `attach`.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_attach(
    connection: &mut Connection,
    session: &mut Session,
    jobs: &Jobs,
    request: AttachRequest<'_>,
) -> Result<()> {
    let AttachRequest { id, watch, tail } = request;
    id.clone_into(&mut session.report.about);
    let owner = session.owner()?;
    // In this order: a command that ends in between has its record.
    let running = jobs.find_running(&owner, id);
    let (home, note) = jobs.note(&owner, id)?;
    if running.is_none() && note.state == JobState::Running && watch != AttachMode::Log {
        let text = format!("{id}: runs under another server of this user; ask that one, or read its log here");
        return Err(Refusal::new(ErrorCode::NotFound, text).into());
    }
    let _thread = session.gate.take_threads(1).map_err(|full| Refusal::new(ErrorCode::Busy, full.to_string()))?;
    let reader =
        if watch == AttachMode::Wait { None } else { Some(LogReader::open(home.path()).map_err(Error::ours("log"))?) };
    let control = connection.control().clone();
    let (receiver, sender) = connection.halves()?;
    let follower = Follower { jobs, running, home, reader, watch, sender, is_left: AtomicBool::new(false) };
    let outcome = thread::scope(|scope| {
        let named = thread::Builder::new().name("attached".into()).stack_size(STACK_LEN);
        let following = named
            .spawn_scoped(scope, || {
                match follower.run(tail) {
                    Err(Error::Ours { object, source }) => {
                        // The connection still works: the client is told why there is no more output.
                        let why = Refusal::from_io(&format!("{id}: {object}"), &source);
                        follower.sender.refuse(&why)?;
                        Ok(Err(why))
                    }
                    followed => followed.inspect_err(|_| control.stop()).map(Ok),
                }
            })
            .map_err(Error::ours("attach"))?;
        let heard = hear_end(receiver);
        if heard.is_err() {
            control.stop();
        }
        follower.leave();
        let followed =
            following.join().unwrap_or_else(|_| Err(ConnectionLost::Closed { wanted: "the output's end" }.into()));
        heard.and(followed)
    })?;
    session.report.outcome = Some(match outcome {
        Ok(outcome) => outcome.map_or_else(|| "left".into(), |outcome| outcome.to_string()),
        Err(why) => format!("refused: {}", why.message),
    });
    Ok(())
}

/// Reads until the client sends `end`.
fn hear_end(receiver: &mut ConnectionReceiver) -> Result<()> {
    loop {
        match receiver.expect("end") {
            Ok(Message::End { .. }) => return Ok(()),
            Ok(other) => return Err(unexpected(&other, "end")),
            // An unknown message inside an exchange is skipped without an answer.
            Err(Error::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A client that is attached to a command.
struct Follower<'f> {
    jobs: &'f Jobs,
    running: Option<Arc<Job>>,
    home: Home,
    reader: Option<LogReader>,
    watch: AttachMode,
    sender: &'f ConnectionSender,
    is_left: AtomicBool,
}

impl Follower<'_> {
    fn leave(&self) {
        self.is_left.store(true, Ordering::Release);
        if let Some(job) = &self.running {
            // Under the lock, so that a thread that is about to wait does not miss it.
            drop(job.progress());
            job.grown.notify_all();
        }
    }

    fn has_left(&self) -> bool {
        self.is_left.load(Ordering::Acquire)
    }

    /// Sends the output so far and what follows; returns the outcome, or `None` if the command still runs.
    fn run(&self, tail: Option<u64>) -> Result<Option<Outcome<'static>>> {
        let mut reader = self.reader.clone();
        if let (Some(reader), Some(connections)) = (&mut reader, tail) {
            for (stream, bytes) in reader.pass_to_tail(connections).map_err(Error::ours("log"))? {
                self.sender.send(&Message::Data { stream }, &bytes)?;
            }
        }
        loop {
            // Read before the log, so that all output is sent before the outcome.
            let progress = self.running.as_ref().and_then(|job| *job.progress());
            if let Some(reader) = &mut reader {
                self.send_new(reader)?;
            }
            if progress.is_none() || self.watch == AttachMode::Log || self.has_left() {
                break;
            }
            if let Some(job) = &self.running {
                let guard = job.progress();
                let has_no_news = |now: &mut Option<u64>| *now == progress && !self.has_left();
                drop(job.grown.wait_timeout_while(guard, LOOK_EVERY, has_no_news));
            }
        }
        // Preferably not from the file: a full disk may have kept none, or it was deleted since.
        let last = self.running.as_ref().and_then(|job| job.last.get().cloned());
        let note = last.or_else(|| self.jobs.settled(self.home.path()).map(|(_, note)| note));
        let path =
            note.as_ref().and_then(|note| RootPath::default().join(note.cwd.as_bytes()).ok()).unwrap_or_default();
        let outcome = note.and_then(|note| note.outcome());
        match &outcome {
            Some(outcome) => say_outcome(self.sender, outcome, None, &path)?,
            None => self.sender.send(&Message::End { total: None }, &[])?,
        }
        Ok(outcome)
    }

    fn send_new(&self, reader: &mut LogReader) -> Result<()> {
        while let Some((stream, bytes)) = reader.read().map_err(Error::ours("log"))? {
            let forgotten = std::mem::take(&mut reader.forgotten);
            if forgotten > 0 {
                self.sender.send(&Message::Dropped { count: forgotten, room: None }, &[])?;
            }
            self.sender.send(&Message::Data { stream }, &bytes)?;
            if self.has_left() {
                break;
            }
        }
        Ok(())
    }
}

/// Serves `kill`: with a signal, sends it; without, ends the command and all its descendants, and returns when they are
/// gone.
///
/// # Errors
/// A refusal for the client, or the connection failed.
pub fn serve_kill(
    connection: &mut Connection,
    session: &mut Session,
    jobs: &Jobs,
    id: &str,
    signal: Option<&str>,
) -> Result<()> {
    session.report.about = format!("{id} {}", signal.unwrap_or("TERM, KILL"));
    let owner = session.owner()?;
    let running = jobs.find_running(&owner, id);
    let (_, note) = jobs.note(&owner, id)?;
    let Some(job) = running else {
        let how = note.outcome().map_or_else(|| "runs under another server of this user".into(), |how| how.to_string());
        return Err(Refusal::new(ErrorCode::NotFound, format!("{id}: does not run any more: {how}")).into());
    };
    match signal {
        None => job.command.ending.end(job.command.kill_after),
        Some(name) => {
            let signal = permitted_signal(name).ok_or_else(|| {
                let text = format!(
                    "{name:?} is no signal that can be sent; there are {}",
                    PERMITTED_SIGNALS.map(|(name, _)| name).join(", ")
                );
                Refusal::new(ErrorCode::BadRequest, text)
            })?;
            job.command.ending.signal(signal);
        }
    }
    connection.sender().send(&Message::Ok { path: None }, &[])
}

/// Starts a detached command; returns its id, or why it could not start.
///
/// # Errors
/// The server refused, or the connection was lost.
pub fn call_detached(connection: &mut Connection, call: &Call<'_>) -> Result<Result<String, Outcome<'static>>> {
    let (request, body) = call.request();
    connection.sender().queue(&request, &body)?;
    connection.sender().send(&Message::End { total: None }, &[])?;
    let begun = match connection.answer_or_refusal("job or outcome")? {
        Message::Job { job } => Ok(job.into_owned()),
        Message::Outcome { outcome, .. } => Err(outcome.into_owned()),
        other => return Err(unexpected(&other, "job or outcome")),
    };
    match connection.answer_or_refusal("end")? {
        Message::End { .. } => Ok(begun),
        other => Err(unexpected(&other, "end")),
    }
}

/// Lists this peer's detached commands.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_jobs(connection: &mut Connection) -> Result<Vec<JobRecord>> {
    connection.sender().send(&Message::Jobs, &[])?;
    connection.listing()
}

/// Passes a job's output to `output`; returns its outcome, if it has ended, and how many bytes of the beginning are no
/// longer kept. To detach earlier, send `end` meanwhile.
///
/// # Errors
/// The server refused, `output` failed, or the connection was lost.
pub fn call_attach(
    connection: &mut Connection,
    request: AttachRequest<'_>,
    output: OutputSink<'_>,
) -> Result<(Option<CommandEnd>, u64)> {
    let AttachRequest { id, watch, tail } = request;
    connection.sender().send(&Message::Attach { job: id.into(), watch, tail }, &[])?;
    let (receiver, sender) = connection.halves()?;
    let (mut ended, mut forgotten) = (None, 0);
    let mut output = OutputState::new(output);
    let end = || sender.send(&Message::End { total: None }, &[]);
    loop {
        match receiver.expect("output or outcome")? {
            Message::Data { stream } => output.pass_on(receiver, stream, &end)?,
            Message::Dropped { count, .. } => forgotten += count,
            Message::Outcome { outcome, path, holder } => ended = Some(CommandEnd::of(outcome, path, holder)),
            Message::Error { code, message } => {
                let refusal = Refusal::new(code, message);
                end()?;
                return Err(refusal.into());
            }
            Message::End { .. } => break,
            other => return Err(unexpected(&other, "output or outcome")),
        }
    }
    end()?;
    output.failed.map_or(Ok((ended, forgotten)), Err)
}

/// Sends a signal to a command, or ends it.
///
/// # Errors
/// The server refused, or the connection failed.
pub fn call_kill(connection: &mut Connection, id: &str, signal: Option<&str>) -> Result<()> {
    connection.request_ok(&Message::Kill { job: id.into(), signal: signal.map(Into::into) }).map(drop)
}
