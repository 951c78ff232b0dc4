//! A connection in memory: two bounded pipes, and what went through them.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex};

use crate::trees::StopHandle;

/// Bytes that a pipe holds before its writer waits: few, so that both sides wait for each other often.
const CAPACITY: usize = 4 * 1024;

#[derive(Debug, Default)]
struct Pipe {
    state: Mutex<PipeState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PipeState {
    waiting: VecDeque<u8>,
    /// All that was ever written.
    recorded: Vec<u8>,
    is_closed: bool,
}

impl Pipe {
    fn close(&self) {
        self.state.lock().unwrap().is_closed = true;
        self.changed.notify_all();
    }
}

/// The end of a pipe that is read from.
#[derive(Debug)]
pub(super) struct PipeReader(Arc<Pipe>);

/// The end of a pipe that is written to.
#[derive(Debug)]
pub(super) struct PipeWriter(Arc<Pipe>);

impl Read for PipeReader {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        let state = self.0.state.lock().unwrap();
        let mut state = self.0.changed.wait_while(state, |state| state.waiting.is_empty() && !state.is_closed).unwrap();
        let len = state.waiting.read(dest)?;
        self.0.changed.notify_all();
        Ok(len)
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = self.0.state.lock().unwrap();
        let is_full = |state: &mut PipeState| state.waiting.len() >= CAPACITY && !state.is_closed;
        let mut state = self.0.changed.wait_while(state, is_full).unwrap();
        if state.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = bytes.len().min(CAPACITY - state.waiting.len());
        let (now, _) = bytes.split_at(room);
        state.waiting.extend(now);
        state.recorded.extend_from_slice(now);
        self.0.changed.notify_all();
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Both pipes of a connection, for what is no part of a transfer's halves: its stop, and a look at what went through.
#[derive(Debug, Clone, Default)]
pub(super) struct Duplex {
    /// From the sender of the tree to its receiver.
    tree: Arc<Pipe>,
    /// Back.
    replies: Arc<Pipe>,
}

impl Duplex {
    /// What the tree's sender reads and writes.
    pub(super) fn of_sender(&self) -> (PipeReader, PipeWriter) {
        (PipeReader(Arc::clone(&self.replies)), PipeWriter(Arc::clone(&self.tree)))
    }

    /// What the tree's receiver reads and writes.
    pub(super) fn of_receiver(&self) -> (PipeReader, PipeWriter) {
        (PipeReader(Arc::clone(&self.tree)), PipeWriter(Arc::clone(&self.replies)))
    }

    /// All that the sender and the receiver wrote.
    pub(super) fn recorded(&self) -> (Vec<u8>, Vec<u8>) {
        let of = |pipe: &Pipe| pipe.state.lock().unwrap().recorded.clone();
        (of(&self.tree), of(&self.replies))
    }
}

impl StopHandle for Duplex {
    fn is_stopped(&self) -> bool {
        [&self.tree, &self.replies].iter().all(|pipe| pipe.state.lock().unwrap().is_closed)
    }

    fn stop(&self) {
        self.tree.close();
        self.replies.close();
    }
}
