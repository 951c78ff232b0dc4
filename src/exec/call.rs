//! The client's half of a remote command.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::process::Work;
use super::{KILL_AFTER, PIECE_LEN, STDIN_CREDIT};
use crate::connection::{Connection, ConnectionReceiver};
use crate::error::{ConnectionLost, Error, Refusal, Result};
use crate::wire::channel::unexpected;
use crate::wire::message::{Channel, ExecOptions, Message, Outcome, OutputHolder};

/// Length of one read of what is typed, in bytes.
const KEYS_LEN: usize = 4 * 1024;
/// Pieces of input that are read ahead of what the command takes: within 4 MiB, an escape that ends the call is seen.
const KEYS_AHEAD_MAX: usize = 1_024;
/// How long the server may be silent after a command's timeout, when it must have killed the command.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// A command to run on the other machine.
#[expect(missing_debug_implementations, reason = "a function has none")]
pub struct Call<'c> {
    /// What to run.
    pub work: &'c Work,
    /// The directory in which to run it, relative to the session's or the place's; `None`: that directory itself.
    pub path: Option<&'c [u8]>,
    /// The place whose directory and variables it gets; `path` is relative to it. `None`: no place.
    pub place: Option<&'c str>,
    /// `NAME=VALUE` for its environment.
    pub variables: &'c [OsString],
    /// Its timeout and the other options; the number of variables is filled in from `variables`.
    pub options: ExecOptions,
    /// The modes of the local terminal, as [`modes`](super::modes) encodes them; `None`: the command gets no terminal.
    pub modes: Option<&'c [u8]>,
    /// What is sent to its stdin; `None`: its stdin is empty.
    pub stdin: Option<BorrowedFd<'c>>,
    /// Called with each piece of input before it is sent; returns the bytes to send instead. An empty piece is the end
    /// of the input. `None`: the input is sent unchanged.
    pub typed: Option<&'c Typed<'c>>,
}

impl<'c> Call<'c> {
    /// A call of `work` in the session's directory, with an empty stdin and default options.
    pub fn of(work: &'c Work) -> Self {
        Self {
            work,
            path: None,
            place: None,
            variables: &[],
            options: ExecOptions::default(),
            modes: None,
            stdin: None,
            typed: None,
        }
    }

    /// The request and its body.
    pub(super) fn request(&self) -> (Message<'_>, Vec<u8>) {
        let (form, body) = self.work.to_body(self.variables);
        let variables = u32::try_from(self.variables.len()).unwrap_or(u32::MAX);
        let (path, place) = (self.path.map(Into::into), self.place.map(Into::into));
        let (options, modes) = (ExecOptions { variables, ..self.options }, self.modes.map(Into::into));
        (Message::Exec { form, path, place, options, modes }, body)
    }
}

/// A function that sees each piece of input before it is sent and returns the bytes to send; see [`Call::typed`].
pub type Typed<'t> = dyn Fn(&[u8]) -> Vec<u8> + Sync + 't;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandEnd {
    /// The exit code, the signal, or why it did not run.
    pub outcome: Outcome<'static>,
    /// The directory in which it ran, relative to the server's root; `None`: the server did not report it.
    pub path: Option<Vec<u8>>,
    /// A process that outlived it and still holds its output; `None`: there is none.
    pub held: Option<OutputHolder<'static>>,
}

impl CommandEnd {
    /// The end as the server reports it.
    pub(super) fn of(outcome: Outcome<'_>, path: Option<Cow<'_, [u8]>>, held: Option<OutputHolder<'_>>) -> Self {
        Self {
            outcome: outcome.into_owned(),
            path: path.map(Cow::into_owned),
            held: held.map(OutputHolder::into_owned),
        }
    }
}

/// Receives what a command writes: the stream and the bytes.
pub type OutputSink<'o> = &'o mut dyn FnMut(Channel, &[u8]) -> Result<()>;

/// Runs a command and passes its output to `output` as it arrives; returns how it ended.
///
/// # Errors
/// The server refused (then nothing ran), `output` failed (then the command was ended), or the connection was lost
/// (then the outcome is unknown here; the server ends the command).
pub fn call_exec(connection: &mut Connection, call: &Call<'_>, output: OutputSink<'_>) -> Result<CommandEnd> {
    let (request, body) = call.request();
    connection.sender().queue(&request, &body)?;
    if call.stdin.is_none() {
        connection.sender().queue(&Message::Eof, &[])?;
    }
    connection.sender().flush()?;
    let control = connection.control().clone();
    let (receiver, sender) = connection.halves()?;
    let stop = Stop::new()?;
    let window = Window::new(STDIN_CREDIT);
    let clock = Clock::of(&call.options);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        if let Some(stdin) = call.stdin {
            let (stop, window, is_over) = (&stop, &window, &is_over);
            let send = move |message: &Message<'_>, body: &[u8]| sender.send_unless(is_over, message, body);
            let named = |name: &str| thread::Builder::new().name(name.into());
            match call.typed {
                None => named("stdin").spawn_scoped(scope, move || feed(stdin, stop, window, &send)),
                Some(typed) => {
                    let (keys, to_send) = sync_channel(KEYS_AHEAD_MAX);
                    let sending = named("keys").spawn_scoped(scope, move || send_keys(&to_send, window, &send));
                    sending
                        .and_then(|_| named("stdin").spawn_scoped(scope, move || read_keys(stdin, typed, stop, &keys)))
                }
            }
            .map_err(Error::ours("standard input"))?;
        }
        let end = || {
            is_over.store(true, Ordering::Release);
            sender.send(&Message::End { total: None }, &[])
        };
        let ended = listen(receiver, &end, &window, clock, output).map_err(|error| match clock {
            Some(clock) => clock.explain(error),
            None => error,
        });
        // Also after an error: the next request sets its own timeout, or none.
        let reset = clock.map_or(Ok(()), |_| receiver.stream().set_timeout(None));
        let ended = ended.and_then(|ended| reset.map(|()| ended).map_err(Error::from));
        if matches!(ended, Err(Error::ConnectionLost(_))) {
            // A thread that still writes to the connection would block until the peer reads.
            control.stop();
        }
        stop.set();
        window.close();
        ended
    })
}

/// The client's own deadline for a command with a timeout. The server enforces the timeout, unless it is frozen itself.
#[derive(Debug, Clone, Copy)]
struct Clock {
    deadline: Instant,
    limit: Duration,
}

impl Clock {
    /// `None`: it may run for any time.
    fn of(options: &ExecOptions) -> Option<Self> {
        let limit = Duration::from_millis(options.timeout_ms?);
        let grace = options.kill_after_ms.map_or(KILL_AFTER, Duration::from_millis);
        let deadline = Instant::now().checked_add(limit)?.checked_add(grace)?;
        Some(Self { deadline, limit })
    }

    /// How long the server may be silent from now on. The call as a whole has no limit: the reader of the output may be
    /// slow.
    fn wait(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).saturating_add(ANSWER_TIME_MAX)
    }

    fn explain(self, error: Error) -> Error {
        match error {
            Error::ConnectionLost(ConnectionLost::TimedOut(_)) => {
                let limit = self.limit;
                let text = format!("the server is silent, {ANSWER_TIME_MAX:?} after the command's {limit:?} were up");
                ConnectionLost::TimedOut(text).into()
            }
            other => other,
        }
    }
}

/// Passes a command's output on. Once `output` has failed, the exchange is ended, and with it the command; the rest of
/// the output is dropped.
pub(super) struct OutputState<'o> {
    output: OutputSink<'o>,
    /// Why `output` has failed.
    pub(super) failed: Option<Error>,
    piece: Vec<u8>,
}

impl<'o> OutputState<'o> {
    pub(super) fn new(output: OutputSink<'o>) -> Self {
        Self { output, failed: None, piece: vec![0; PIECE_LEN] }
    }

    /// Passes on the body of a `data` frame; `end` ends the exchange.
    pub(super) fn pass_on(
        &mut self,
        receiver: &mut ConnectionReceiver,
        stream: Channel,
        end: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        loop {
            let len = receiver.fill_from_body(&mut self.piece)?;
            let Some(bytes) = self.piece.get(..len).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            if self.failed.is_none()
                && let Err(error) = (self.output)(stream, bytes)
            {
                end()?;
                self.failed = Some(error);
            }
        }
    }
}

/// Reads until the server sends `end`, then sends `end` too: the exchange is over on both sides.
fn listen(
    receiver: &mut ConnectionReceiver,
    end: &dyn Fn() -> Result<()>,
    window: &Window,
    clock: Option<Clock>,
    output: OutputSink<'_>,
) -> Result<CommandEnd> {
    let mut ended = None;
    let mut output = OutputState::new(output);
    loop {
        if let Some(clock) = clock {
            receiver.stream().set_timeout(Some(clock.wait()))?;
        }
        match receiver.expect("the command's outcome")? {
            Message::Data { stream } => output.pass_on(receiver, stream, end)?,
            Message::Credit { bytes } => window.widen(bytes),
            Message::Outcome { outcome, path, holder } => ended = Some(CommandEnd::of(outcome, path, holder)),
            Message::Error { code, message } => {
                // Refused before it ran: the server discards up to our `end`.
                let refusal = Refusal::new(code, message);
                if output.failed.is_none() {
                    end()?;
                }
                return Err(output.failed.unwrap_or_else(|| refusal.into()));
            }
            Message::End { .. } => break,
            other => return Err(unexpected(&other, "output or outcome")),
        }
    }
    if let Some(error) = output.failed {
        return Err(error);
    }
    end()?;
    ended.ok_or_else(|| ConnectionLost::Closed { wanted: "the command's outcome" }.into())
}

/// Sends stdin against credit until its end, or until the command has ended.
fn feed(stdin: BorrowedFd<'_>, stop: &Stop, window: &Window, send: &dyn Fn(&Message<'_>, &[u8]) -> Result<()>) {
    let mut piece = vec![0; PIECE_LEN];
    loop {
        let Some(room) = window.wait() else { return };
        if !stop.wait_for(stdin) {
            return;
        }
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(piece.len());
        let Some(space) = piece.get_mut(..room) else { return };
        let read = read_some(stdin, space);
        // The reading thread notices a lost connection too, and reports it.
        if read.is_empty() {
            drop(send(&Message::Eof, &[]));
            return;
        }
        if window.send(read, send).is_err() {
            return;
        }
    }
}

/// Reads what is typed as it arrives, even without credit to send it: it may contain the escape that ends the call.
fn read_keys(stdin: BorrowedFd<'_>, typed: &Typed<'_>, stop: &Stop, keys: &SyncSender<Vec<u8>>) {
    let mut piece = vec![0; KEYS_LEN];
    while stop.wait_for(stdin) {
        let read = read_some(stdin, &mut piece);
        let is_end = read.is_empty();
        // The end of the input is passed on as an empty piece.
        let over = typed(read);
        if !over.is_empty() && keys.send(over).is_err() {
            return;
        }
        if is_end {
            drop(keys.send(Vec::new()));
            return;
        }
    }
}

/// Sends what was typed against credit; an empty piece is the end.
fn send_keys(keys: &Receiver<Vec<u8>>, window: &Window, send: &dyn Fn(&Message<'_>, &[u8]) -> Result<()>) {
    for piece in keys {
        let sent = if piece.is_empty() { send(&Message::Eof, &[]) } else { window.send(&piece, send) };
        if sent.is_err() || piece.is_empty() {
            return;
        }
    }
}

/// Reads what is available; an empty result is the end. A stdin that cannot be read (closed, a directory) is an empty
/// one, as with ssh.
fn read_some<'p>(stdin: BorrowedFd<'_>, piece: &'p mut [u8]) -> &'p [u8] {
    loop {
        match rustix::io::read(stdin, &mut *piece) {
            Ok(len) => return piece.get(..len).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                if poll(&mut [PollFd::from_borrowed_fd(stdin, PollFlags::IN)], None).is_err() {
                    return &[];
                }
            }
            Err(_) => return &[],
        }
    }
}

/// How much stdin may still be sent.
#[derive(Debug)]
struct Window {
    room: Mutex<Option<u32>>,
    changed: Condvar,
}

impl Window {
    fn new(room: u32) -> Self {
        Self { room: Mutex::new(Some(room)), changed: Condvar::new() }
    }

    /// Waits for room; `None` once the command has ended.
    fn wait(&self) -> Option<u32> {
        let mut room = self.lock();
        while *room == Some(0) {
            room = self.changed.wait(room).unwrap_or_else(PoisonError::into_inner);
        }
        *room
    }

    /// Sends all of it as credit allows; what is left when the command ends is not sent.
    fn send(&self, mut rest: &[u8], send: &dyn Fn(&Message<'_>, &[u8]) -> Result<()>) -> Result<()> {
        while !rest.is_empty() {
            let Some(room) = self.wait() else { break };
            let (piece, behind) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.narrow(piece.len());
            send(&Message::Data { stream: Channel::Main }, piece)?;
            rest = behind;
        }
        Ok(())
    }

    fn widen(&self, bytes: u32) {
        let mut room = self.lock();
        *room = room.map(|room| room.saturating_add(bytes));
        self.changed.notify_all();
    }

    fn narrow(&self, len: usize) {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let mut room = self.lock();
        *room = room.map(|room| room.saturating_sub(len));
    }

    fn close(&self) {
        *self.lock() = None;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Option<u32>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes a thread that waits for stdin, so that it takes nothing that belongs to the next prompt.
#[derive(Debug)]
struct Stop(OwnedFd);

impl Stop {
    fn new() -> Result<Self> {
        eventfd(0, EventfdFlags::CLOEXEC).map(Self).map_err(|error| Error::ours("standard input")(error.into()))
    }

    fn set(&self) {
        if let Err(error) = rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            tracing::debug!(%error, "the thread that reads stdin could not be woken");
        }
    }

    /// Waits until `input` can be read; `false` if the stop came first.
    fn wait_for(&self, input: BorrowedFd<'_>) -> bool {
        let mut polled =
            [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN), PollFd::from_borrowed_fd(input, PollFlags::IN)];
        loop {
            match poll(&mut polled, None) {
                Ok(_) => return polled.first().is_some_and(|stop| stop.revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::error::ErrorCode;
    use crate::net::Stream as Socket;

    #[test]
    fn a_commands_time_limit_ends_with_it_also_if_it_was_refused() {
        let (here, there) = UnixStream::pair().unwrap();
        let socket = here.try_clone().unwrap();
        let server = thread::spawn(move || {
            let mut connection = Connection::await_hello(Socket::from(there), &[], None).unwrap().unwrap();
            connection.welcome("test", &["exec"]).unwrap();
            while !matches!(connection.recv().unwrap().unwrap(), Message::Exec { .. }) {}
            let refusal = Message::Error { code: ErrorCode::NotAllowed, message: "no".into() };
            connection.sender().send(&refusal, &[]).unwrap();
            while !matches!(connection.recv().unwrap().unwrap(), Message::End { .. }) {}
            connection.close();
        });
        let mut connection = Connection::open(Socket::from(here), "test").unwrap();
        connection.greeting().unwrap();
        let work = Work::Shell("true".into());
        let options = ExecOptions { timeout_ms: Some(60_000), ..ExecOptions::default() };
        let refused = call_exec(&mut connection, &Call { options, ..Call::of(&work) }, &mut |_, _| Ok(()));
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
        assert_eq!(socket.read_timeout().unwrap(), None);
        server.join().unwrap();
    }
}
