//! Output that outlives its command: a background process of the command may still hold it. One thread reads all of it
//! to its end and discards it, so that the background process is not ended by SIGPIPE.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::PIECE_LEN;
use super::descendants::processes;
use crate::net::listen::STACK_LEN;
use crate::trust::Owner;
use crate::wire::message::OutputHolder;

/// Commands of one peer whose output is read on after their end. The outputs of one more are closed. Guests without a
/// key count as one peer.
pub const LEFT_MAX: usize = 32;
/// The same limit for all peers together: each command takes at most two descriptors.
pub const LEFT_ALL_MAX: usize = 256;
/// Pause after each round of reads: a process that writes without end is read at 6 MB/s at most.
const PAUSE: Duration = Duration::from_millis(10);

/// All outputs that are still held by a process. Dropping this closes them.
#[derive(Debug)]
pub struct Leftovers(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    state: Mutex<State>,
    /// Wakes the thread that reads.
    news: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    arrived: Vec<Left>,
    counts: HashMap<Option<Owner>, usize>,
    is_read: bool,
    is_closed: bool,
}

/// What is left of one command.
#[derive(Debug)]
struct Left {
    owner: Option<Owner>,
    pipes: Vec<File>,
}

impl Leftovers {
    /// Starts the thread, with no outputs yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn none() -> io::Result<Arc<Self>> {
        let news = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self(Arc::new(Shelf { state: Mutex::default(), news }))))
    }

    /// Takes the reading ends of a command's outputs after its end. Returns the process that still holds them; `None`:
    /// none does.
    pub fn take(&self, owner: Option<Owner>, pipes: [Option<File>; 2]) -> Option<OutputHolder<'static>> {
        let pipes: Vec<File> = pipes.into_iter().flatten().filter(is_held).collect();
        if pipes.is_empty() {
            return None;
        }
        let holder = holder_of(&pipes);
        let is_closed = !self.keep(Left { owner, pipes });
        let pid = holder.as_ref().and_then(|(pid, _)| u32::try_from(*pid).ok());
        let name = holder.map(|(_, name)| name).unwrap_or_default();
        tracing::info!(name, pid, closed = is_closed, "a command has ended, and something holds its output");
        Some(OutputHolder { name: name.into(), pid, is_closed })
    }

    /// `false`: there is no room for it, and it was closed.
    fn keep(&self, left: Left) -> bool {
        let mut state = self.0.lock();
        let all: usize = state.counts.values().sum();
        let count = state.counts.get(&left.owner).copied().unwrap_or(0);
        if all >= LEFT_ALL_MAX || count >= LEFT_MAX {
            return false;
        }
        if !state.is_read {
            let shelf = Arc::clone(&self.0);
            let reading = thread::Builder::new().name("leftovers".into()).stack_size(STACK_LEN);
            if let Err(error) = reading.spawn(move || shelf.read_on()) {
                tracing::warn!(%error, "what commands have left behind cannot be read");
                return false;
            }
            state.is_read = true;
        }
        *state.counts.entry(left.owner).or_default() += 1;
        state.arrived.push(left);
        drop(state);
        self.0.wake();
        true
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.wake();
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Err(error) = rustix::io::write(&self.news, &1_u64.to_ne_bytes()) {
            tracing::debug!(%error, "the thread that reads what commands have left could not be woken");
        }
    }

    /// Reads all there is until it ends, for as long as the server lives.
    fn read_on(&self) {
        let mut all: Vec<Left> = Vec::new();
        let mut piece = vec![0; PIECE_LEN];
        loop {
            {
                let mut state = self.lock();
                if state.is_closed {
                    return;
                }
                all.append(&mut state.arrived);
            }
            let pipes = all.iter().flat_map(|left| &left.pipes).map(|pipe| PollFd::new(pipe, PollFlags::IN));
            let mut polled: Vec<PollFd<'_>> =
                [PollFd::new(&self.news, PollFlags::IN)].into_iter().chain(pipes).collect();
            match poll(&mut polled, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    // Out of memory: it may have some again later.
                    tracing::debug!(%error, "what commands have left cannot be watched");
                    thread::sleep(PAUSE);
                    continue;
                }
            }
            let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
            drop(polled);
            let mut ready = ready.into_iter();
            if ready.next().unwrap_or(false) {
                // It only wakes; what it counts is of no interest.
                rustix::io::read(&self.news, &mut [0_u8; 8]).unwrap_or_default();
            }
            for left in &mut all {
                left.pipes.retain_mut(|pipe| !ready.next().unwrap_or(false) || goes_on(pipe, &mut piece));
            }
            self.forget_ended(&mut all);
            thread::sleep(PAUSE);
        }
    }

    fn forget_ended(&self, all: &mut Vec<Left>) {
        let mut state = self.lock();
        all.retain(|left| {
            let is_over = left.pipes.is_empty();
            if is_over && let Some(count) = state.counts.get_mut(&left.owner) {
                *count = count.saturating_sub(1);
            }
            !is_over
        });
        state.counts.retain(|_, count| *count > 0);
    }
}

/// Throws away what is there; `false`: it has ended.
fn goes_on(pipe: &mut File, piece: &mut [u8]) -> bool {
    match pipe.read(piece) {
        Ok(len) => len > 0,
        Err(error) => matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock),
    }
}

/// Whether anything can still write to it.
fn is_held(pipe: &File) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut polled, Some(&now)) {
        Ok(_) => polled.first().is_some_and(|polled| !polled.revents().intersects(PollFlags::HUP | PollFlags::ERR)),
        Err(_interrupted) => true,
    }
}

/// The process that holds the other end of one of them, and its name; of several the first one there was, as their
/// numbers go. Those of other users cannot be seen.
fn holder_of(pipes: &[File]) -> Option<(i32, String)> {
    let numbers = pipes.iter().filter_map(|pipe| Some(pipe.metadata().ok()?.ino()));
    let wanted: Vec<String> = numbers.map(|number| format!("pipe:[{number}]")).collect();
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let holds = |pid: &i32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|link| wanted.iter().any(|wanted| link.as_os_str() == wanted.as_str()))
    };
    let pid = processes().filter(|pid| *pid != own).filter(holds).min()?;
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, String::from_utf8_lossy(name.trim_ascii_end()).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::{Write as _, pipe};
    use std::time::Instant;

    use super::*;

    /// A command's output, and what still holds it.
    fn held() -> ([Option<File>; 2], File) {
        let (reading, writing) = pipe().unwrap();
        ([Some(File::from(OwnedFd::from(reading))), None], File::from(OwnedFd::from(writing)))
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_mins(1);
        while !condition() {
            assert!(Instant::now() < until);
            thread::yield_now();
        }
    }

    #[test]
    fn what_is_left_is_read_to_its_end_and_counted_for_each_peer() {
        let leftovers = Leftovers::none().unwrap();
        let (pipes, mut writing) = held();
        let said = leftovers.take(Some(Owner::Own), pipes).unwrap();
        assert!(!said.is_closed);
        // More than a pipe holds.
        writing.write_all(&vec![b'x'; 1024 * 1024]).unwrap();
        let mut more: Vec<File> = Vec::new();
        for _ in 1..LEFT_MAX {
            let (pipes, writing) = held();
            assert!(!leftovers.take(Some(Owner::Own), pipes).unwrap().is_closed);
            more.push(writing);
        }
        let (pipes, mut closed) = held();
        assert!(leftovers.take(Some(Owner::Own), pipes).unwrap().is_closed, "one too many of this peer");
        assert_eq!(closed.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (pipes, _theirs) = held();
        assert!(!leftovers.take(None, pipes).unwrap().is_closed, "another peer has room of its own");
        drop((writing, more));
        wait_until(|| !leftovers.0.lock().counts.contains_key(&Some(Owner::Own)));
        let (pipes, _again) = held();
        assert!(!leftovers.take(Some(Owner::Own), pipes).unwrap().is_closed);
    }

    #[test]
    fn what_nobody_holds_is_not_left() {
        let leftovers = Leftovers::none().unwrap();
        let (pipes, mut writing) = held();
        writing.write_all(b"rest").unwrap();
        drop(writing);
        assert_eq!(leftovers.take(None, pipes), None);
        assert_eq!(leftovers.take(None, [None, None]), None);
    }
}
