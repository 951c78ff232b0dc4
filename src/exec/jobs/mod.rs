//! Detached commands: they run on without their client, their output is kept in bounded files below the home, and the
//! peer that started them can read it, wait for them and end them. They end with the server.
//!
//! ```text
//! client: exec (detached) + command, end         server: job ID, end
//! client: jobs                                   server: data* (a job a line), end
//! client: attach ID, end                         server: dropped?, data*, outcome?, end
//! client: kill ID                                server: ok
//! ```
//!
//! [`talk`] has both halves of these exchanges; [`note`] is the record of a command, [`log`] its output.

pub mod log;
pub mod note;
pub mod talk;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::LogWriter;
use note::{JobRecord, JobState, try_lock};
pub use talk::{
    AttachRequest, call_attach, call_detached, call_jobs, call_kill, serve_attach, serve_detached, serve_jobs,
    serve_kill,
};

use super::KILL_AFTER;
use super::descendants::Descendants;
use super::leftovers::Leftovers;
use super::process::{Process, Ready, Streams, start};
use super::running::{Running, pump};
use crate::audit::now;
use crate::error::{Error, ErrorCode, Refusal, Result};
use crate::net::gate::Threads;
use crate::net::listen::STACK_LEN;
use crate::session::{RequestRecord, Session};
use crate::trust::Owner;
use crate::trust::commands::Commands;
use crate::trust::home::{Home, HomeError, remove_dir};
use crate::wire::message::{ExecOptions, Outcome};

/// The directory of all of them, below the home.
const DIRECTORY: &str = "jobs";
/// Ended commands of one peer that are kept; the earliest to end is deleted first.
pub const JOBS_KEPT_MAX: usize = 100;
/// Largest total length of their output, in bytes.
pub const KEPT_LEN_MAX: u64 = 1024 * 1024 * 1024;
/// Length of a job's id, in hexadecimal digits.
const ID_LEN: usize = 8;
/// How long a stopping server waits for commands that it has killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(3);
/// Interval between two checks whether the operator wants to stop at once.
const STOP_TICK: Duration = Duration::from_millis(50);

/// All detached commands of this server.
#[derive(Debug)]
pub struct Jobs {
    /// `None`: this server keeps none.
    home: Option<PathBuf>,
    running: Mutex<HashMap<String, Arc<Job>>>,
    ended: Condvar,
    /// Notes of how a command ended that the disk refused, until it takes them.
    unsaved: Mutex<HashMap<String, JobRecord>>,
}

/// A detached command that runs.
#[derive(Debug)]
struct Job {
    owner: Owner,
    /// What its owner could run when it began.
    rule: Commands,
    home: Home,
    command: Running,
    /// Bytes written so far; `None`: it is over.
    progress: Mutex<Option<u64>>,
    grown: Condvar,
    /// Its last record; set before `progress` becomes `None`.
    last: OnceLock<JobRecord>,
}

impl Job {
    fn progress(&self) -> MutexGuard<'_, Option<u64>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jobs {
    /// Opens the jobs below `home`. Commands that an earlier server left running are ended and recorded as lost.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(home: &Home) -> Result<Arc<Self>, HomeError> {
        let home = Home::open(Some(&home.join(DIRECTORY)))?;
        let jobs = Self::at(Some(home.path().to_owned()));
        jobs.notes();
        Ok(jobs)
    }

    /// No jobs, for a server that runs no commands.
    pub fn none() -> Arc<Self> {
        Self::at(None)
    }

    fn at(home: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { home, running: Mutex::default(), ended: Condvar::new(), unsaved: Mutex::default() })
    }

    /// Ends the commands whose owner may no longer run what it could at their start; `may_run` returns what it may run
    /// now.
    pub fn end_unless(&self, may_run: &dyn Fn(&Owner) -> Option<Commands>) {
        let may_stay = |job: &Job| may_run(&job.owner).is_some_and(|now| now.covers(&job.rule));
        for (id, job) in self.running().iter().filter(|(_, job)| !may_stay(job)) {
            // The grace that its peer asked for no longer counts.
            if job.command.ending.hurry() {
                tracing::info!(job = id, "ended: its peer may not run commands any more, or not such");
                end_soon(Arc::clone(job));
            }
        }
    }

    /// Ends all of them, waits until they are gone, and returns how many there were. They have their grace, but no
    /// longer than `deadline` or until `stop_now` returns `true`: a client cannot keep a server from stopping.
    pub fn end_all(&self, deadline: Instant, stop_now: &dyn Fn() -> bool) -> usize {
        let count = {
            let running = self.running();
            running.values().for_each(|job| end_soon(Arc::clone(job)));
            running.len()
        };
        while !self.are_gone_within(STOP_TICK) && Instant::now() < deadline && !stop_now() {}
        for job in self.running().values() {
            job.command.ending.hurry();
        }
        if !self.are_gone_within(KILL_AFTER + STOP_TIME_MAX) {
            tracing::warn!(left = self.running().len(), "detached commands do not go");
        }
        count
    }

    fn are_gone_within(&self, wait: Duration) -> bool {
        let waited = self.ended.wait_timeout_while(self.running(), wait, |running| !running.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// Starts a detached command; returns its id, or why it could not start.
    fn start(
        self: &Arc<Self>,
        session: &Session,
        command: &Ready,
        options: &ExecOptions,
        held: JobResources,
    ) -> Result<Result<String, Outcome<'static>>> {
        let owner = session.owner()?;
        let jobs_home = self.home()?;
        let slot = session.take_slot()?;
        let marker = command.environment.marker.clone();
        let id: String = marker.chars().take(ID_LEN).collect();
        self.forget_oldest(&owner);
        let failed = |error: HomeError| {
            Error::ours("detached command")(match error {
                HomeError::Io { source, .. } => source,
                other => io::Error::other(other.to_string()),
            })
        };
        let mut made = Made(Some(jobs_home.join(&id)));
        let home = Home::open(made.0.as_deref()).map_err(failed)?;
        // Without the lock, the next reader of the record would take the command for lost and end it.
        let Some(lock) = try_lock(home.path()) else {
            return Err(Error::ours("detached command")(io::Error::other("it cannot be locked")));
        };
        let writer = LogWriter::create(home.path()).map_err(Error::ours("detached command"))?;
        let note = JobRecord {
            job: id.clone(),
            state: JobState::Running,
            exit_code: None,
            signal: None,
            command: command.work.shown(),
            cwd: command.path.to_string(),
            began: now(),
            ended: None,
            owner: owner.to_string(),
            marker,
        };
        note.save(&home).map_err(failed)?;
        let streams = if options.merged { Streams::TogetherWithoutInput } else { Streams::ApartWithoutInput };
        let mut process = match start(&command.work, &command.cwd, streams, &command.environment) {
            Ok(process) => process,
            Err(error) => return Ok(Err(super::process::could_not_start(&command.work, &error))),
        };
        process.hold(slot);
        let job = Arc::new(Job {
            owner,
            rule: session.commands.clone(),
            home,
            command: Running::new(&process, options, Arc::default()),
            progress: Mutex::new(Some(0)),
            grown: Condvar::new(),
            last: OnceLock::new(),
        });
        self.running().insert(id.clone(), Arc::clone(&job));
        let task = Task {
            jobs: Arc::clone(self),
            job,
            note,
            writer,
            leftovers: held.leftovers,
            session: session.clone(),
            _held: (lock, held.threads),
        };
        let timeout = options.timeout_ms.map(Duration::from_millis);
        let named = thread::Builder::new().name(format!("job {id}")).stack_size(STACK_LEN);
        if let Err(error) = named.spawn(move || task.run(process, timeout)) {
            // The process was ended when its owner was dropped.
            self.running().remove(&id);
            return Err(Error::ours("detached command")(error));
        }
        made.0 = None;
        Ok(Ok(id))
    }

    fn home(&self) -> Result<&PathBuf, Refusal> {
        self.home.as_ref().ok_or_else(|| Refusal::new(ErrorCode::NotAllowed, "no commands are kept here"))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Arc<Job>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running command with this id, if it belongs to `owner`.
    fn find_running(&self, owner: &Owner, id: &str) -> Option<Arc<Job>> {
        self.running().get(id).filter(|job| job.owner == *owner).cloned()
    }

    /// The record of one command, running or ended.
    ///
    /// # Errors
    /// `owner` has no job with this id.
    fn note(&self, owner: &Owner, id: &str) -> Result<(Home, JobRecord), Refusal> {
        let is_id = id.len() == ID_LEN && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let dir = self.home()?.join(id);
        let found = if is_id && dir.is_dir() { self.settled(&dir) } else { None };
        found.filter(|(_, note)| note.owner == owner.to_string()).ok_or_else(|| {
            let text =
                format!("{id}: you have no detached command of that name here; list them to see which there are");
            Refusal::new(ErrorCode::NotFound, text)
        })
    }

    /// All notes, the oldest first.
    fn notes(&self) -> Vec<(Home, JobRecord)> {
        let entries = self.home.iter().filter_map(|home| fs::read_dir(home).ok()).flatten().flatten();
        let directories = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
        let mut notes: Vec<_> = directories.filter_map(|dir| self.settled(&dir)).collect();
        notes.sort_by(|(_, a), (_, b)| a.began.cmp(&b.began));
        notes
    }

    /// The record in `dir`. If it says that the command runs but no process holds its lock, the server that ran it was
    /// killed: the record is corrected.
    fn settled(&self, dir: &Path) -> Option<(Home, JobRecord)> {
        let home = Home::open(Some(dir)).ok()?;
        let mut note = JobRecord::load(&home)?;
        if note.state == JobState::Running && !self.running().contains_key(&note.job) {
            if let Some(unsaved) = self.save_again(&home, &note.job) {
                return Some((home, unsaved));
            }
            let Some(_lock) = try_lock(dir) else { return Some((home, note)) };
            // It may have ended since it was read.
            note = JobRecord::load(&home)?;
            if note.state == JobState::Running {
                note.end(&Outcome::Lost { why: "".into() }, now());
                tracing::warn!(job = note.job, command = note.command, "a detached command was lost with its server");
                if let Err(error) = note.save(&home) {
                    tracing::warn!(%error, "that could not be noted");
                }
                let left = Descendants::left_behind(note.marker.clone());
                let ending = thread::Builder::new().name("lost job".into()).stack_size(STACK_LEN);
                drop(ending.spawn(move || left.end(KILL_AFTER, &AtomicBool::new(false))));
            }
        }
        Some((home, note))
    }

    /// The record of a command that has ended but could not be saved; saving is tried again.
    fn save_again(&self, home: &Home, id: &str) -> Option<JobRecord> {
        let mut unsaved = self.unsaved();
        let note = unsaved.get(id)?.clone();
        if note.save(home).is_ok() {
            unsaved.remove(id);
        }
        Some(note)
    }

    fn unsaved(&self) -> MutexGuard<'_, HashMap<String, JobRecord>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_oldest(&self, owner: &Owner) {
        let owner = owner.to_string();
        let mut ended: Vec<_> = self
            .notes()
            .into_iter()
            .filter(|(_, note)| note.owner == owner && note.state != JobState::Running)
            .collect();
        // Sorted by their end: a command that ran for a week and ended now is the newest.
        ended.sort_by(|(_, a), (_, b)| a.ended.cmp(&b.ended));
        let mut len = 0;
        let room = ended.iter().rev().take(JOBS_KEPT_MAX - 1).take_while(|(home, _)| {
            len += log::len(home.path());
            len <= KEPT_LEN_MAX
        });
        let kept = room.count();
        for (home, note) in ended.iter().take(ended.len() - kept) {
            if let Err(error) = remove_dir(home.path())
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "an old detached command could not be forgotten");
            }
            self.unsaved().remove(&note.job);
        }
    }
}

/// A command's directory, which is removed again if the command does not start.
struct Made(Option<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            drop(remove_dir(path));
        }
    }
}

/// Ends a job on a thread of its own, without waiting for it.
fn end_soon(job: Arc<Job>) {
    let ending = thread::Builder::new().name("end job".into()).stack_size(STACK_LEN);
    if let Err(error) = ending.spawn(move || job.command.ending.end(job.command.kill_after)) {
        tracing::error!(%error, "a detached command could not be ended");
    }
}

/// What a detached command holds until it ends.
struct JobResources {
    threads: Threads,
    leftovers: Arc<Leftovers>,
}

/// What the thread of a command needs until the command ends.
struct Task {
    jobs: Arc<Jobs>,
    job: Arc<Job>,
    note: JobRecord,
    writer: LogWriter,
    leftovers: Arc<Leftovers>,
    /// The session as it was at the command's start, for the log.
    session: Session,
    /// Released when the command has ended.
    _held: (fs::File, Threads),
}

impl Task {
    fn run(mut self, mut process: Process, timeout: Option<Duration>) {
        let outputs = [process.take_stdout(), process.take_stderr()];
        let begun = Instant::now();
        let mut written = 0;
        let outcome = thread::scope(|scope| {
            if let Some(limit) = timeout {
                let command = &self.job.command;
                let named = thread::Builder::new().name("deadline".into()).stack_size(STACK_LEN);
                let watching = process
                    .exit_fd()
                    .try_clone()
                    .and_then(|exit| named.spawn_scoped(scope, move || command.end_after(limit, &exit)).map(drop));
                if let Err(error) = watching {
                    // A command must not run without its timeout.
                    tracing::warn!(job = self.note.job, %error, "ended: no thread can watch its deadline");
                    command.ending.end(Duration::ZERO);
                }
            }
            let (job, writer) = (&self.job, &mut self.writer);
            let pumped = pump(&process, outputs, &job.command, &mut |stream, piece| {
                writer.append(stream, piece).map_err(Error::ours("log"))?;
                written += piece.len() as u64;
                *job.progress() = Some(written);
                job.grown.notify_all();
                Ok(())
            });
            if let Err(error) = pumped.sent {
                tracing::warn!(job = self.note.job, %error, "the rest of a detached command's output is not kept");
            }
            let outcome = job.command.conclude(&mut process);
            drop(self.leftovers.take(Some(job.owner), pumped.rest));
            outcome
        });
        self.note.end(&outcome, now());
        if let Err(error) = self.note.save(&self.job.home) {
            tracing::warn!(job = self.note.job, %error, "how a detached command ended could not be noted");
            // This server still reports the outcome.
            self.jobs.unsaved().insert(self.note.job.clone(), self.note.clone());
        }
        self.job.last.get_or_init(|| self.note.clone());
        self.session.report.about = format!("{} ({})", self.note.command, self.note.job);
        self.session.report.outcome = None;
        let outcome = outcome.to_string();
        self.session.log(&RequestRecord {
            verb: "job",
            elapsed: begun.elapsed(),
            received: 0,
            sent: written,
            outcome: &outcome,
        });
        self.jobs.running().remove(&self.note.job);
        self.jobs.ended.notify_all();
        *self.job.progress() = None;
        self.job.grown.notify_all();
    }
}
