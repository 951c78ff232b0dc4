//! The door: connections beyond the limits are told why, and closed without a delay for anyone else.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::listen::STACK_LEN;
use super::stream::Stream;

/// How long a connection that was turned away may take to read why.
const TURNED_AWAY_TIME: Duration = Duration::from_secs(1);
/// How often the door looks for new connections to turn away while others are leaving.
const LOOK_INTERVAL: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How long the door waits where the system cannot say which connections have ended.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// Turns connections away with a last word that they can read.
#[derive(Debug)]
pub struct Door {
    queue: SyncSender<(Stream, Vec<u8>)>,
}

impl Door {
    /// Opens the door for at most `most` connections at a time.
    ///
    /// # Errors
    /// Its thread could not start.
    pub fn open(most: usize) -> io::Result<Self> {
        // Some wait for the thread, the others for their end.
        let most = (most / 2).max(1);
        let (queue, turned_away) = sync_channel(most);
        thread::Builder::new().name("door".into()).stack_size(STACK_LEN).spawn(move || see_off(&turned_away, most))?;
        Ok(Self { queue })
    }

    /// Sends `last_word`, as far as the socket takes it at once, and closes.
    pub fn turn_away(&self, stream: Stream, last_word: Vec<u8>) {
        if self.queue.try_send((stream, last_word)).is_err() {
            tracing::debug!("too many are being turned away: one was closed without a word");
        }
    }
}

/// Says the last word to each, then waits with all of them at once until they close or their time
/// is over: closing with unread bytes would reset the connection and lose the word.
fn see_off(turned_away: &Receiver<(Stream, Vec<u8>)>, most: usize) {
    let mut leaving: Vec<(Stream, Instant)> = Vec::new();
    loop {
        let newcomer = if leaving.is_empty() {
            match turned_away.recv() {
                Ok(newcomer) => Some(newcomer),
                Err(_) => return,
            }
        } else {
            turned_away.try_recv().ok()
        };
        let is_full = leaving.len() >= most;
        if let Some((stream, word)) = newcomer.filter(|_| !is_full) {
            stream.send_last_word(&word);
            leaving.push((stream, Instant::now() + TURNED_AWAY_TIME));
            continue;
        }
        let mut polled: Vec<PollFd<'_>> =
            leaving.iter().map(|(stream, _)| PollFd::new(stream, PollFlags::IN)).collect();
        if poll(&mut polled, Some(&LOOK_INTERVAL)).is_err() {
            thread::sleep(POLL_PAUSE);
        }
        drop(polled);
        let now = Instant::now();
        leaving.retain(|(stream, until)| now < *until && stream.drain());
    }
}
