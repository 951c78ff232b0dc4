//! Ends a wait from outside: a flag for busy threads, a readable socket for threads that wait in `poll`.
//!
//! Signals are registered by the programs, with [`Stop::flag`] and [`Stop::waker`].

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A request to stop, for any number of waiting threads at once.
#[derive(Debug)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    // Never read from, so that it stays readable and every thread that polls it wakes.
    woken: UnixStream,
    waker: UnixStream,
}

impl Stop {
    /// A stop that is not triggered yet.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new() -> io::Result<Self> {
        let (woken, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        Ok(Self { flag: Arc::default(), woken, waker })
    }

    /// Triggers the stop: wakes all waiting threads.
    pub fn trigger(&self) {
        self.flag.store(true, Ordering::SeqCst);
        // If the socket is full, all threads are already woken.
        drop((&self.waker).write(&[0]));
    }

    /// Whether the stop is triggered.
    pub fn is_triggered(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// The flag, for a signal handler to set before it writes to the [`waker`](Self::waker).
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// The writing end, for a signal handler to wake the threads with.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn waker(&self) -> io::Result<UnixStream> {
        self.waker.try_clone()
    }

    /// Waits for `time`, or until the stop is triggered; returns whether it is.
    ///
    /// # Errors
    /// `poll` failed.
    pub fn wait(&self, time: Duration) -> io::Result<bool> {
        let until = Instant::now() + time;
        while !self.is_triggered() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let limit = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)], limit.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
