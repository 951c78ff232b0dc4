//! A handle on a stream's socket, for another thread.

use std::net::Shutdown;
use std::sync::{Arc, Weak};

use super::socket::Socket;

/// Stops a stream from another thread.
#[derive(Debug, Clone)]
pub struct Control {
    socket: Arc<Socket>,
}

impl Control {
    pub(super) const fn of(socket: Arc<Socket>) -> Self {
        Self { socket }
    }

    /// Ends reading: a blocked read returns, what had already come can still be read.
    pub fn stop_reading(&self) {
        self.socket.shutdown(Shutdown::Read);
    }

    /// Says that nothing more will be sent; what was sent is still delivered.
    pub fn stop_writing(&self) {
        self.socket.shutdown(Shutdown::Write);
    }

    /// As [`Stream::linger_after_end`](super::Stream::linger_after_end), when the stream itself is no more.
    pub fn linger_after_end(&self) {
        self.socket.shutdown(Shutdown::Write);
        self.socket.linger();
    }

    /// As [`Stream::is_to_this_machine`](super::Stream::is_to_this_machine).
    pub fn is_to_this_machine(&self) -> bool {
        self.socket.is_to_this_machine()
    }

    /// Whether both directions have ended, by [`stop`](Self::stop) or because the connection was reset: how work that
    /// neither reads nor writes learns that its client is gone.
    pub fn is_stopped(&self) -> bool {
        self.socket.is_shut()
    }

    /// Ends both directions: blocked reads and writes return.
    pub fn stop(&self) {
        self.socket.shutdown(Shutdown::Both);
    }

    /// The same for a holder that may outlive the stream, which is not to stay open for that.
    pub fn weak(&self) -> WeakControl {
        WeakControl { socket: Arc::downgrade(&self.socket) }
    }
}

/// A [`Control`] that does not keep its socket open.
#[derive(Debug, Clone)]
pub struct WeakControl {
    socket: Weak<Socket>,
}

impl WeakControl {
    /// The control, as long as the stream is held elsewhere.
    pub fn upgrade(&self) -> Option<Control> {
        self.socket.upgrade().map(|socket| Control { socket })
    }
}
