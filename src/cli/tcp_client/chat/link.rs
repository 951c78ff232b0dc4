//! The connection: entered, listened to, and opened again when it is lost; and the thread that sends.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::backoff::wait_before;
use super::outbox::Outgoing;
use super::participant::{Link, Participant, State};
use super::screen::Screen;
use crate::chat::{ChatEvent, ChatRequest, Stay, call_chat};
use crate::cli::exit::Exit;
use crate::cli::human;
use crate::connection::Connection;
use crate::error::{ConnectionLost, Error, ErrorCode, Refusal};
use crate::net::control::Control;

/// Opens a connection to the same server again.
pub(crate) type Reopen = dyn Fn() -> anyhow::Result<Connection> + Send + Sync;

/// After this time without an acknowledgement a person is told.
const SLOW_TIME: Duration = Duration::from_secs(3);
/// How long a wait is that nothing ends.
const LONG: Duration = Duration::from_hours(1);

/// How long the client tries to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ComingBack {
    Never,
    Within(Duration),
    Always,
}

/// The thread that listens.
pub(super) struct Listener<'l> {
    pub(super) participant: &'l Participant,
    pub(super) screen: &'l Screen,
    pub(super) reopen: &'l Reopen,
    pub(super) coming_back: ComingBack,
    /// Whether a person is typing: a script ends when it is in no room any more.
    pub(super) is_person: bool,
}

/// Enters.
///
/// # Errors
/// The server refused, or the connection was lost.
pub(super) fn enter<'c>(participant: &Participant, connection: &'c mut Connection) -> crate::error::Result<Stay<'c>> {
    let control = connection.control().clone();
    let (room, nick, options) = {
        let state = participant.lock();
        (state.rooms.first().map(|room| room.name.clone()), state.nick.clone(), state.options())
    };
    let Some(room) = room else {
        return Err(Refusal::new(ErrorCode::NotFound, "you are in no room any more").into());
    };
    let stay = call_chat(connection, &ChatRequest { room: &room, nick: &nick, options: &options })?;
    let speaker = stay.speaker.clone();
    participant.change(|state| state.entered((&stay.room, &stay.nick), stay.seq, speaker, control));
    Ok(stay)
}

/// Whether another attempt may succeed.
fn is_passing(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Error>() {
        Some(Error::Refused(refusal)) => {
            matches!(refusal.code, ErrorCode::Busy | ErrorCode::ShuttingDown | ErrorCode::TimedOut)
        }
        Some(error) => matches!(Exit::of_error(error), Exit::NotConnected | Exit::ConnectionLost),
        None => matches!(Exit::of(error), Exit::NotConnected | Exit::ConnectionLost),
    }
}

impl Listener<'_> {
    /// Shows what happens until the client leaves, or the connection is lost for good.
    ///
    /// # Errors
    /// The server refused this client, or did not come back in time.
    pub(super) fn run(&self, first: Stay<'_>) -> anyhow::Result<()> {
        let mut heard = self.hear(first);
        let mut attempt = 0;
        loop {
            let error = match heard {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let has_left = self.participant.lock().is_leaving();
            if has_left && self.participant.lock().outbox.is_empty() {
                return Ok(());
            }
            if has_left || !is_passing(&error) || self.coming_back == ComingBack::Never {
                self.participant.change(State::lost);
                return Err(error);
            }
            self.tell_lost(&error)?;
            let Some(mut connection) = self.come_back(&error, &mut attempt)? else { return Ok(()) };
            let away = self.participant.lock().lost_since.map(|since| since.elapsed());
            heard = match enter(self.participant, &mut connection) {
                Ok(stay) => {
                    attempt = 0;
                    self.tell_back(away.unwrap_or_default())?;
                    self.hear(stay)
                }
                Err(error) => Err(error.into()),
            };
            if heard.is_ok() {
                connection.close();
            }
        }
    }

    fn hear(&self, stay: Stay<'_>) -> anyhow::Result<()> {
        let Stay { mut listener, .. } = stay;
        let mut has_unread_mark = false;
        while let Some(event) = listener.hear()? {
            let (noted, nick, names_rooms, has_rooms) = self.participant.change(|state| {
                // Also that of a room which is left just now.
                let names_rooms = state.rooms.len() > 1;
                let noted = state.note(&event);
                (noted, state.nick.clone(), names_rooms || state.rooms.len() > 1, !state.rooms.is_empty())
            });
            if noted.was_missed && noted.is_shown && !std::mem::replace(&mut has_unread_mark, true) {
                self.screen.remark("unread", "---- unread: sent while you were away ----", json!({}))?;
            }
            self.screen.show(&event, (&nick, names_rooms), noted)?;
            if let ChatEvent::Refused(refusal) = &event
                && refusal.code.closes_connection()
            {
                return Err(Error::from(refusal.clone()).into());
            }
            if noted.is_banned {
                return Err(Error::from(Refusal::new(ErrorCode::NotAllowed, format!("{nick} was banned"))).into());
            }
            if !self.is_person && !has_rooms && !self.participant.lock().is_leaving() {
                return Err(Error::from(Refusal::new(ErrorCode::NotFound, "you are in no room any more")).into());
            }
        }
        Ok(())
    }

    fn tell_lost(&self, error: &anyhow::Error) -> crate::error::Result<()> {
        let (is_news, waiting) = self.participant.change(|state| (state.lost(), state.outbox.messages().count()));
        if !is_news {
            return Ok(());
        }
        let text = match waiting {
            0 => format!("connection lost ({error}); trying again"),
            waiting => format!("connection lost ({error}); trying again; not acknowledged: {}", messages(waiting)),
        };
        self.screen.remark("disconnected", &text, json!({ "waiting": waiting }))
    }

    fn tell_back(&self, away: Duration) -> crate::error::Result<()> {
        let waiting = self.participant.lock().outbox.messages().count();
        let text = match waiting {
            0 => format!("back after {}", human::time(away)),
            waiting => format!("back after {}; sending {} again", human::time(away), messages(waiting)),
        };
        let away_ms = u64::try_from(away.as_millis()).unwrap_or(u64::MAX);
        self.screen.remark("connected", &text, json!({ "away_ms": away_ms, "waiting": waiting }))
    }

    /// Opens a connection, with growing waits between the attempts; `None`: the client leaves meanwhile.
    fn come_back(&self, why: &anyhow::Error, attempt: &mut u32) -> anyhow::Result<Option<Connection>> {
        let since = self.participant.lock().lost_since.unwrap_or_else(Instant::now);
        loop {
            let mut random = [0; 2];
            if let Err(error) = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()) {
                tracing::debug!(%error, "no random numbers: the wait is the shortest");
            }
            let wait = wait_before(*attempt, u16::from_ne_bytes(random));
            *attempt = attempt.saturating_add(1);
            let left = match self.coming_back {
                ComingBack::Within(limit) => limit.saturating_sub(since.elapsed()),
                ComingBack::Always | ComingBack::Never => wait,
            };
            if left.is_zero() {
                let text = format!("the server did not come back within {}", human::time(since.elapsed()));
                let lost = ConnectionLost::TimedOut(format!("{text}; before that: {why}"));
                return Err(Error::from(lost).into());
            }
            if self.participant.wait(wait.min(left), State::is_leaving) {
                return Ok(None);
            }
            let opened = (self.reopen)().and_then(|mut connection| {
                connection.greeting()?;
                Ok(connection)
            });
            match opened {
                Ok(connection) => return Ok(Some(connection)),
                Err(error) if is_passing(&error) => tracing::debug!(%error, "not back yet"),
                Err(error) => return Err(error),
            }
        }
    }
}

/// `1 message`, `2 messages`.
pub(super) fn messages(count: usize) -> String {
    if count == 1 { "1 message".into() } else { format!("{count} messages") }
}

/// Sends what waits, in its order, until the client leaves or everything is over. `tells_slow`: a person is told when
/// acknowledgements do not come.
pub(super) fn send_all(participant: &Participant, screen: &Screen, tells_slow: bool) {
    let mut was_slow = false;
    loop {
        let is_due =
            |state: &State| state.is_over() || state.is_leaving() || state.link().is_some() && state.outbox.has_next();
        let limit = if tells_slow { SLOW_TIME } else { LONG };
        if !participant.wait(limit, is_due) {
            if tells_slow {
                tell_slow(participant, screen, &mut was_slow);
            }
            continue;
        }
        let next: Option<(Link, Outgoing)> = {
            let mut state = participant.lock();
            if state.is_over() || state.is_leaving() && !state.outbox.has_next() {
                return;
            }
            state.link().and_then(|link| Some((link, state.outbox.take_next()?)))
        };
        let Some((link, next)) = next else { return };
        let sent = next.send(&link.speaker, link.is_numbered);
        match (sent, &next) {
            (Ok(()), Outgoing::Message(message)) if !link.is_numbered => {
                participant.change(|state| state.outbox.answered(message.id));
            }
            (Ok(()), _) => {}
            (Err(error), _) => {
                tracing::debug!(%error, "sending failed");
                link.stop();
                // The listener notices, and begins again.
                participant
                    .wait(LONG, |state| state.is_over() || state.link().is_none_or(|now| now.number != link.number));
            }
        }
    }
}

fn tell_slow(participant: &Participant, screen: &Screen, was_slow: &mut bool) {
    let (is_slow, count) = {
        let state = participant.lock();
        let is_slow = state.link().is_some() && state.outbox.oldest_sent().is_some_and(|at| at.elapsed() > SLOW_TIME);
        (is_slow, state.outbox.messages().count())
    };
    let text = match (is_slow, *was_slow) {
        (true, false) => format!("not acknowledged yet: {}; /waiting lists them", messages(count)),
        (false, true) if count == 0 => "the server has all of your messages".to_owned(),
        _ => return,
    };
    *was_slow = is_slow;
    if let Err(error) = screen.remark("slow", &text, json!({ "waiting": count })) {
        tracing::debug!(%error, "a remark could not be shown");
    }
}

/// Ends the connection if the other end does not do so in time.
pub(super) fn stop_after(participant: &Participant, limit: Duration, control: &Control) {
    if !participant.wait(limit, State::is_over) {
        control.stop();
        participant.lock().cut();
    }
}

/// Starts a named thread.
///
/// # Errors
/// There are too many.
pub(super) fn spawn<'s, 'e, T: Send + 's>(
    scope: &'s thread::Scope<'s, 'e>,
    name: &str,
    body: impl FnOnce() -> T + Send + 's,
) -> crate::error::Result<thread::ScopedJoinHandle<'s, T>> {
    thread::Builder::new().name(name.into()).spawn_scoped(scope, body).map_err(Error::ours("a thread of the chat"))
}
