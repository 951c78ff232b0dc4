//! Everything that a command has started: found, signalled and ended together.
//!
//! A process leaves its group with setsid(2), and its parent by outliving it. So there are three ways to find it, each
//! with a gap that the others cover:
//!
//! - the process group, which contains every process that did not ask for another one;
//! - a marker in the environment, which every process inherits that does not clear it (and does not run as another
//!   user, whose environment this user may not read);
//! - a cgroup of its own (cgroups(7), version 2), where this user may make one: a process leaves it only if it may
//!   write to another. A process that the command had forked before it was put there is outside; the marker finds it.
//!
//! To put a process into a cgroup, the kernel waits until every core has let go of what it reads (5 to 15 ms, unless it
//! has just been done). So it is done a moment after the start, elsewhere, and not at all for what is over by then.
//!
//! Signals go through pidfds (`pidfd_open(2)`): a process id may belong to another process by the time that it is used.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process_group, pidfd_open, pidfd_send_signal, prlimit,
};

use super::KILL_AFTER;
use super::terminal::Terminal;
use crate::net::listen::STACK_LEN;

/// The environment variable that carries the marker.
pub const MARKER_NAME: &str = "LANDLINE_COMMAND";
/// What the names of this program's cgroups begin with.
const CGROUP_PREFIX: &str = "landline-";
/// An empty cgroup so young may be another server's, which has not yet put its command there.
const YOUNG: Duration = Duration::from_secs(10);
/// Interval between two checks for processes that are left.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long to wait for a process that does not end after SIGKILL (it is in uninterruptible sleep: a dead network
/// disk).
const KILL_TIME_MAX: Duration = Duration::from_secs(2);
/// Looks for processes that were forked while the others were being stopped: each look finds at least one, or is the
/// last.
const STOPS_MAX: usize = 100;

/// How the processes of a command are found on this machine, as a sentence. Makes a cgroup to find out, and removes it.
pub fn nets() -> String {
    let (group, marker) = ("their process group", "their marker in the environment");
    match Cgroup::try_make(&format!("probe-{}", std::process::id())) {
        Ok(_probe) => format!("commands end with {group}, {marker}, and a cgroup of their own"),
        Err(why) => format!("commands end with {group} and {marker}, without a cgroup of their own ({why})"),
    }
}

/// Which processes are ended with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    /// Every process that it has started, whatever its group or session.
    Everybody,
    /// A person's login shell and its terminal: what was taken out of their reach on purpose (nohup(1), setsid(1),
    /// tmux) lives on, as after a hangup everywhere else.
    Terminal,
}

/// A command and all its descendants.
#[derive(Debug)]
pub struct Descendants {
    group: Option<Pid>,
    scope: KillScope,
    marker: String,
    cgroup: Mutex<CgroupState>,
    terminal: Option<Arc<Terminal>>,
    /// The number of processes that it may have; unset: no limit.
    most: OnceLock<u64>,
}

/// How far it is with a command's cgroup.
#[derive(Debug)]
enum CgroupState {
    /// It has none yet, or may not have one.
    None,
    Own(Cgroup),
    /// Its leader's process id may belong to another process from now on.
    Over,
}

impl Descendants {
    /// What `leader` starts, which leads its group and has `marker` in its environment, on this terminal.
    pub fn new(leader: Pid, scope: KillScope, marker: String, terminal: Option<Arc<Terminal>>) -> Arc<Self> {
        let tree = Arc::new(Self {
            group: Some(leader),
            scope,
            marker,
            cgroup: Mutex::new(CgroupState::None),
            terminal,
            most: OnceLock::new(),
        });
        if scope == KillScope::Everybody {
            put_into_cgroup_soon(&tree);
        }
        tree
    }

    /// What is left of a command that another server had started.
    pub fn left_behind(marker: String) -> Self {
        let cgroup = own_cgroup().map(|own| own.join(format!("{CGROUP_PREFIX}{marker}"))).filter(|path| path.is_dir());
        let net = cgroup.map_or(CgroupState::Over, |path| CgroupState::Own(Cgroup(path)));
        Self {
            group: None,
            scope: KillScope::Everybody,
            marker,
            cgroup: Mutex::new(net),
            terminal: None,
            most: OnceLock::new(),
        }
    }

    /// Puts its leader, and every descendant that is found, into a cgroup of its own.
    fn put_into_cgroup(&self) {
        let mut net = self.net();
        if !matches!(*net, CgroupState::None) {
            return;
        }
        let Some(cgroup) = Cgroup::make(&self.marker) else { return };
        if self.group.is_some_and(|leader| cgroup.add(leader.as_raw_nonzero().get())) {
            if let Some(most) = self.most.get() {
                cgroup.limit_processes(*most);
            }
            for other in processes().filter(|pid| has_marker(*pid, &self.marker)) {
                cgroup.add(other);
            }
            *net = CgroupState::Own(cgroup);
        }
    }

    /// Must be called before its leader is waited for: a process that is put into the cgroup by its id later could be
    /// an unrelated one.
    pub fn close(&self) {
        let mut net = self.net();
        if matches!(*net, CgroupState::None) {
            *net = CgroupState::Over;
        }
    }

    fn net(&self) -> MutexGuard<'_, CgroupState> {
        self.cgroup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Limits it to `most` processes. `RLIMIT_NPROC` counts all processes of its user, and does not apply to root
    /// (getrlimit(2)); a cgroup counts its own, once it has one. Its leader must not have been waited for. What it has
    /// forked before keeps the limits that it had, if it has no cgroup.
    pub fn limit_processes(&self, most: u64) {
        // Only root may go above the hard limit, and a lower limit is never raised.
        let most = getrlimit(Resource::Nproc).maximum.map_or(most, |hard| hard.min(most));
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        match prlimit(self.group, Resource::Nproc, limit) {
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::warn!(%error, "the number of a command's processes could not be limited"),
        }
        let net = self.net();
        self.most.get_or_init(|| most);
        if let CgroupState::Own(cgroup) = &*net {
            cgroup.limit_processes(most);
        }
    }

    /// Sends a signal to the process group, as a terminal does. On a terminal, a shell puts each of its jobs into a
    /// group of its own: then the foreground group gets the signal too. Its leader must not have been waited for.
    pub fn signal_group(&self, signal: Signal) {
        let foreground = self.terminal.as_ref().and_then(|terminal| terminal.foreground());
        for group in [self.group, foreground.filter(|group| Some(*group) != self.group)].into_iter().flatten() {
            if let Err(error) = kill_process_group(group, signal) {
                tracing::debug!(group = group.as_raw_nonzero(), %error, "a process group could not be signalled");
            }
        }
    }

    /// Ends all of it: sends SIGTERM, waits for at most `grace`, then sends SIGKILL. The client chooses the grace; once
    /// `is_hurried` is set, the wait is cut short. Its leader must not have been waited for. Returns when no process is
    /// left that can be found.
    pub fn end(&self, grace: Duration, is_hurried: &AtomicBool) {
        // An interactive shell ignores SIGTERM and ends on SIGHUP.
        if self.terminal.is_some() {
            self.signal_all(Signal::HUP);
        }
        if self.scope == KillScope::Terminal {
            self.signal_all(Signal::CONT);
            if !self.is_gone_within(grace, is_hurried) {
                self.signal_group(Signal::KILL);
            }
            return;
        }
        // A stopped process is woken, or it would never see the SIGTERM.
        for asked in [Signal::TERM, Signal::CONT] {
            self.signal_all(asked);
        }
        if self.is_gone_within(grace, is_hurried) {
            return;
        }
        self.kill();
        if !self.is_gone_within(KILL_TIME_MAX, &AtomicBool::new(false)) {
            let left = self.members().len();
            tracing::warn!(marker = self.marker, left, "processes of a command do not go");
        }
    }

    fn kill(&self) {
        if let CgroupState::Own(cgroup) = &*self.net() {
            cgroup.kill();
        }
        // Processes that fork faster than this looks are stopped first, until no new one is found.
        let mut stopped = 0;
        for _ in 0..STOPS_MAX {
            let found = self.signal_all(Signal::STOP);
            if found <= stopped {
                break;
            }
            stopped = found;
        }
        self.signal_all(Signal::KILL);
    }

    /// Signals the group, and every process found outside it; returns how many were found one by one.
    fn signal_all(&self, which: Signal) -> usize {
        self.signal_group(which);
        let members = self.members();
        for member in &members {
            signal(member, which);
        }
        members.len()
    }

    fn is_gone_within(&self, wait: Duration, is_hurried: &AtomicBool) -> bool {
        let mut until = Instant::now() + wait;
        let mut hurried = None;
        loop {
            if hurried.is_none() && is_hurried.load(Ordering::Acquire) {
                until = until.min(*hurried.insert(Instant::now() + KILL_AFTER));
            }
            let is_left = self.scope == KillScope::Everybody && !self.members().is_empty();
            if !is_left && !self.has_group() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Whether a process in the group is alive, apart from its leader's zombie.
    fn has_group(&self) -> bool {
        let Some(group) = self.group.map(|group| group.as_raw_nonzero().get()) else { return false };
        processes().any(|pid| stat_of(pid).is_some_and(|stat| stat.group == group && !stat.is_dead))
    }

    /// All that can be found, whatever their group.
    fn members(&self) -> Vec<OwnedFd> {
        let mut members = if let CgroupState::Own(cgroup) = &*self.net() { cgroup.members() } else { Vec::new() };
        let session =
            self.group.map(|group| group.as_raw_nonzero().get()).filter(|_| self.scope == KillScope::Terminal);
        members.extend(processes().filter_map(|pid| {
            // The handle is opened before the check: if the id is reused in between, the signal reaches no process.
            let member = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
            let is_in_session = session.is_none_or(|session| stat_of(pid).is_some_and(|stat| stat.session == session));
            (has_marker(pid, &self.marker) && is_in_session).then_some(member)
        }));
        members
    }
}

/// A command that ends sooner gets no cgroup.
const SETTLED: Duration = Duration::from_millis(10);

/// A thread of its own does it, one command after the other: the kernel then waits once for all of them.
fn put_into_cgroup_soon(tree: &Arc<Descendants>) {
    type Started = (Instant, Weak<Descendants>);
    static QUEUE: OnceLock<Option<Sender<Started>>> = OnceLock::new();
    let queue = QUEUE.get_or_init(|| {
        own_cgroup()?;
        let (queue, queued) = channel::<Started>();
        let settle = move || {
            for (started, tree) in queued {
                thread::sleep(SETTLED.saturating_sub(started.elapsed()));
                if let Some(tree) = tree.upgrade() {
                    tree.put_into_cgroup();
                }
            }
        };
        thread::Builder::new().name("cgroups".into()).stack_size(STACK_LEN).spawn(settle).ok().map(|_| queue)
    });
    if let Some(queue) = queue {
        // The thread lives as long as the process.
        drop(queue.send((Instant::now(), Arc::downgrade(tree))));
    }
}

fn signal(member: &OwnedFd, signal: Signal) {
    match pidfd_send_signal(member, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::debug!(%error, "a process of a command could not be signalled"),
    }
}

/// The numbers of all processes that we can see.
pub(super) fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process that has died has no environment any more.
fn has_marker(pid: i32, marker: &str) -> bool {
    let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let wanted = format!("{MARKER_NAME}={marker}");
    environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

struct Stat {
    group: i32,
    session: i32,
    is_dead: bool,
}

/// The fields of `proc_pid_stat(5)` behind the name, which may hold anything.
fn stat_of(pid: i32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let behind = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(text.get(behind + 1..)?).ok()?.split_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X");
    let group = fields.nth(1)?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    Some(Stat { group, session, is_dead })
}

/// A cgroup for one command; gone with its last process.
#[derive(Debug)]
struct Cgroup(PathBuf);

impl Cgroup {
    /// Below our own, if we may.
    fn make(marker: &str) -> Option<Self> {
        static REFUSED: OnceLock<()> = OnceLock::new();
        if REFUSED.get().is_some() {
            return None;
        }
        sweep();
        match Self::try_make(marker) {
            Ok(cgroup) => Some(cgroup),
            Err(why) => {
                REFUSED.get_or_init(|| tracing::debug!(why, "commands get no cgroup of their own"));
                None
            }
        }
    }

    /// Makes it, or returns why it cannot.
    fn try_make(marker: &str) -> Result<Self, String> {
        let own = own_cgroup().ok_or("no cgroups of version 2 are mounted here")?;
        // To move a process between two cgroups, write access to their common ancestor is needed too (cgroups(7),
        // delegation).
        access(own.join("cgroup.procs"), Access::WRITE_OK).map_err(|error| format!("{}: {error}", own.display()))?;
        let path = own.join(format!("{CGROUP_PREFIX}{marker}"));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", own.display()))?;
        let made = Self(path);
        match fs::read_to_string(made.0.join("cgroup.type")) {
            Ok(kind) if kind.trim() != "domain" => Err(format!("{}: it would be {}", own.display(), kind.trim())),
            _ => Ok(made),
        }
    }

    /// Whether it is in there now: it may have ended already, or may not be moved.
    fn add(&self, pid: i32) -> bool {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).is_ok()
    }

    /// Where the controller `pids` is on for our cgroup's children.
    fn limit_processes(&self, most: u64) {
        let file = fs::OpenOptions::new().write(true).open(self.0.join("pids.max"));
        if let Err(error) = file.and_then(|mut file| file.write_all(most.to_string().as_bytes())) {
            tracing::debug!(%error, "a cgroup does not count its processes");
        }
    }

    fn members(&self) -> Vec<OwnedFd> {
        let text = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        let pids = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
        pids.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).collect()
    }

    fn kill(&self) {
        // Since Linux 5.14; before, the signals do it.
        if let Err(error) = fs::write(self.0.join("cgroup.kill"), "1") {
            tracing::debug!(%error, "a cgroup could not be killed at once");
        }
    }
}

/// Cgroups that were not empty when their command ended.
static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl Drop for Cgroup {
    fn drop(&mut self) {
        if is_busy(&self.0) {
            // Something was left in the background, which is its command's right.
            LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.0));
        }
    }
}

/// Removes those that have become empty.
fn sweep() {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| is_busy(path));
}

/// Removes a cgroup; whether that was too early.
fn is_busy(path: &Path) -> bool {
    fs::remove_dir(path).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
}

/// What a server that was killed has left; what is in use is busy.
fn remove_empty(own: &Path) {
    let names = fs::read_dir(own).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter(|name| name.to_str().is_some_and(|name| name.starts_with(CGROUP_PREFIX))) {
        let path = own.join(name);
        let age = fs::metadata(&path).and_then(|made| made.modified()).ok().and_then(|made| made.elapsed().ok());
        if age.is_some_and(|age| age > YOUNG) {
            is_busy(&path);
        }
    }
}

/// The directory of the cgroup that we are in; `None`: there is no version 2.
fn own_cgroup() -> Option<&'static Path> {
    static OWN: OnceLock<Option<PathBuf>> = OnceLock::new();
    OWN.get_or_init(|| {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        // The mount point is the fifth field, the type the first behind a lone dash (`proc_pid_mountinfo(5)`).
        let is_cgroup = |line: &&str| line.split(" - ").nth(1).is_some_and(|behind| behind.starts_with("cgroup2 "));
        let mount = mounts.lines().find(is_cgroup)?.split(' ').nth(4)?;
        let own = Path::new(mount).join(own);
        remove_empty(&own);
        Some(own)
    })
    .as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_that_counts_processes_is_told_how_many() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = || Cgroup(dir.path().to_owned());
        let limit = dir.path().join("pids.max");
        cgroup().limit_processes(7);
        assert!(!limit.exists(), "where there is none, none is made");
        fs::create_dir_all(dir.path()).unwrap();
        fs::write(&limit, "max").unwrap();
        cgroup().limit_processes(7);
        assert!(fs::read_to_string(&limit).unwrap().starts_with('7'));
    }
}
