//! Measuring: sends probes, checks every answer byte for byte, and reports the result of each.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::probe::{CountsRoom, PROBE_LEN_MIN, Probe, Word, is_answered_by};
use super::socket::random;
use super::tally::{AnswerKind, Counts, PingTally};
use super::{Arrival, ClientError, Endpoint, Stop, UdpClient, receive_buffer};

/// Pause between two attempts while no server receives yet.
pub const NOBODY_PAUSE: Duration = Duration::from_millis(200);

/// A shorter wait is spent looking, since the kernel wakes a sleeping program later than that.
const SPIN_TIME: Duration = Duration::from_micros(200);
/// A sender that is further behind its schedule (the machine slept) goes on from now, instead of sending all at once.
const BEHIND_MAX: Duration = Duration::from_millis(100);
/// Probes that are sent without a look at what has come.
const BURST_MAX: u32 = 16;
/// Answers that are read after them, before the next are sent: more than were sent, so that a sender that is behind its
/// schedule does not lose what its own socket holds.
const READ_MAX: u32 = 64;
/// How often the server's last counts are asked for: the question or its answer may be lost too.
const QUESTIONS_MAX: u32 = 10;
/// How long to wait for the answer to such a question, at most.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(200);

/// What to send, and how long to wait.
#[derive(Debug, Clone, Copy)]
pub struct PingPlan {
    /// Number of probes; `None`: until the run is stopped.
    pub count: Option<u64>,
    /// Time between two probes; zero sends the next as soon as the answer has arrived or is overdue.
    pub interval: Duration,
    /// The probes' length in bytes; at least [`PROBE_LEN_MIN`].
    pub size: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long to wait for a server that does not receive yet; probes sent meanwhile do not count.
    pub wait: Duration,
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq)]
pub enum PingEvent<'a> {
    /// A correct answer arrived.
    Answered {
        /// The server's address.
        from: &'a Endpoint,
        /// The probe's number, from 1.
        sequence: u64,
        /// When it was sent, after the run began.
        sent: Duration,
        /// Whether it is the first, and how long it took.
        answer: AnswerKind,
    },
    /// No answer arrived in time.
    Overdue {
        /// The probe's number, from 1.
        sequence: u64,
        /// When it was sent, after the run began.
        sent: Duration,
    },
    /// A datagram arrived whose bytes are not those that were sent.
    Damaged {
        /// Its length in bytes.
        len: usize,
    },
    /// No server receives any more; one did before.
    Gone,
    /// No server receives yet.
    NoServer,
}

/// What an event is reported to. It can end the run.
pub type See<'a> = &'a mut dyn FnMut(PingEvent<'_>) -> ControlFlow<()>;

/// A run of the measurement.
#[derive(Debug)]
pub struct Run<'a> {
    client: &'a mut UdpClient,
    plan: PingPlan,
    started: Instant,
    /// When the last probe was sent, after the run began.
    ended: Duration,
    session: u32,
    tally: PingTally,
    /// Whether the kernel says when it received a datagram.
    is_stamped: bool,
    /// Lent to the probe that is sent, or compared with what came.
    probe: Vec<u8>,
}

impl<'a> Run<'a> {
    /// A run that has sent nothing yet.
    pub fn new(client: &'a mut UdpClient, plan: PingPlan) -> Self {
        let plan = PingPlan { size: plan.size.max(PROBE_LEN_MIN), ..plan };
        let is_stamped = client.stamp();
        Self {
            client,
            plan,
            started: Instant::now(),
            ended: Duration::ZERO,
            session: session(),
            tally: PingTally::default(),
            is_stamped,
            probe: Vec::new(),
        }
    }

    /// Sends and receives until all probes are answered or overdue, or `stop` is triggered. `see` is called with each
    /// event and can end the run too. The counts are in [`tally`](Self::tally) afterwards, also after an error.
    ///
    /// # Errors
    /// No server receives, or a probe cannot be sent.
    pub fn run(
        &mut self,
        stop: &Stop,
        mut see: impl FnMut(PingEvent<'_>) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let mut buffer = receive_buffer();
        let mut next_send = Duration::ZERO;
        let mut to_read = 0;
        loop {
            let now = self.started.elapsed();
            while let Some((sequence, sent)) = self.tally.overdue(now, self.plan.timeout) {
                if see(PingEvent::Overdue { sequence, sent }).is_break() {
                    return Ok(());
                }
            }
            let waiting_since = self.tally.waiting_since();
            let all_sent = self.plan.count.is_some_and(|count| self.tally.counts.sent >= count);
            if all_sent && waiting_since.is_none() || stop.is_triggered() {
                self.ask_for_counts(&mut buffer, &mut see);
                return Ok(());
            }
            let lock_step = self.plan.interval.is_zero();
            let holds_back = all_sent || lock_step && waiting_since.is_some();
            let is_due = !holds_back && now >= next_send;
            let step = if is_due && to_read == 0 {
                to_read = READ_MAX;
                self.send_due(now, &mut next_send)
            } else {
                let overdue_at = waiting_since.map(|since| since + self.plan.timeout);
                let send_at = (!holds_back).then_some(next_send);
                let until = overdue_at.into_iter().chain(send_at).min();
                let received = self.receive(&mut buffer, until, stop, &mut see);
                // Nothing is left to read, or enough was read.
                to_read = if matches!(received, Ok(None)) { 0 } else { to_read.saturating_sub(1) };
                received.map(|flow| flow.unwrap_or(ControlFlow::Continue(())))
            };
            match step {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(()),
                Err(error) => {
                    next_send = self.after(error, now, next_send, &mut see)?;
                }
            }
        }
    }

    /// The counts so far.
    pub const fn tally(&self) -> &PingTally {
        &self.tally
    }

    /// The server's address.
    pub const fn peer(&self) -> &Endpoint {
        self.client.peer()
    }

    /// Whether the times end when the kernel received the answer, and not when this program read it.
    pub const fn is_stamped(&self) -> bool {
        self.is_stamped
    }

    /// Probes that were sent in a second, from the first to the last; `None`: fewer than two were sent.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn rate(&self) -> Option<f64> {
        let intervals = self.tally.counts.sent.checked_sub(1).filter(|intervals| *intervals > 0)?;
        let first = self.tally.first_sent()?;
        let time = self.ended.checked_sub(first).filter(|time| !time.is_zero())?;
        Some(intervals as f64 / time.as_secs_f64())
    }

    /// What becomes of the run after an error of the socket; returns when the next probe is due.
    fn after(
        &mut self,
        error: ClientError,
        now: Duration,
        next_send: Duration,
        see: See<'_>,
    ) -> Result<Duration, ClientError> {
        let ClientError::Refused { .. } = error else { return Err(error) };
        if self.start_again() {
            return Ok(Duration::ZERO);
        }
        // The server was there before: it may come back, and lost probes are counted.
        if self.tally.counts.received + self.tally.counts.damaged > 0 {
            self.tally.counts.refused += 1;
            return if see(PingEvent::Gone).is_break() { Err(error) } else { Ok(next_send) };
        }
        if now >= self.plan.wait {
            return Err(error);
        }
        // No probe has reached a server: counting begins when a server receives.
        self.tally = PingTally::default();
        self.client.start_over();
        self.is_stamped = self.client.stamp();
        if see(PingEvent::NoServer).is_break() { Err(error) } else { Ok(now + NOBODY_PAUSE) }
    }

    /// Sends what is due, but not all of it at once if that is much.
    fn send_due(&mut self, mut now: Duration, next_send: &mut Duration) -> Result<ControlFlow<()>, ClientError> {
        if now.saturating_sub(*next_send) > BEHIND_MAX {
            *next_send = now;
        }
        for _ in 0..BURST_MAX {
            *next_send += self.plan.interval;
            self.send(now)?;
            let is_last = self.plan.count.is_some_and(|count| self.tally.counts.sent >= count);
            now = self.started.elapsed();
            if is_last || self.plan.interval.is_zero() || now < *next_send {
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn send(&mut self, now: Duration) -> Result<(), ClientError> {
        let sequence = self.tally.send(now);
        self.ended = now;
        self.encode(Word::Ping, sequence);
        self.client.send_only(&self.probe)
    }

    fn encode(&mut self, word: Word, sequence: u64) {
        let probe = Probe { word, session: self.session, sequence };
        probe.encode(self.plan.size, &mut self.probe);
    }

    /// Reads one datagram; `None`: none came `until` then.
    fn receive(
        &mut self,
        buffer: &mut [u8],
        until: Option<Duration>,
        stop: &Stop,
        see: See<'_>,
    ) -> Result<Option<ControlFlow<()>>, ClientError> {
        let is_soon = until.is_some_and(|until| until.saturating_sub(self.started.elapsed()) < SPIN_TIME);
        let until = if is_soon { Some(self.started) } else { until.map(|until| self.started + until) };
        match self.client.receive(buffer, until, Some(stop))? {
            Arrival::Datagram { len, age, from } => {
                let now = self.started.elapsed();
                let event = self.judge(&buffer[..len], &from, (now, age.unwrap_or_default()));
                Ok(Some(event.map_or(ControlFlow::Continue(()), see)))
            }
            Arrival::TimedOut | Arrival::Stopped => Ok(None),
        }
    }

    /// Compares a datagram with the one that was sent under its number. It has waited for `age` until it was read.
    fn judge<'e>(
        &mut self,
        came: &[u8],
        from: &'e Endpoint,
        (now, age): (Duration, Duration),
    ) -> Option<PingEvent<'e>> {
        let probe = Probe::decode(came);
        if probe.is_some_and(|probe| probe.session != self.session) {
            // A late answer to an earlier run that had the same port.
            return None;
        }
        if let Some(Probe { word: Word::Tell, .. }) = probe {
            self.note_counts(came, false);
            return None;
        }
        let sent = probe.and_then(|probe| Some((probe.sequence, self.tally.sent_at(probe.sequence)?)));
        if let Some((sequence, sent)) = sent {
            self.encode(Word::Ping, sequence);
            // A clock that was set while the answer waited gives an age that cannot be.
            let at = now.checked_sub(age).filter(|at| *at >= sent).unwrap_or(now);
            if is_answered_by(&self.probe, came) {
                self.note_counts(came, true);
                let answer = self.tally.answer(sequence, at, self.plan.timeout)?;
                return Some(PingEvent::Answered { from, sequence, sent, answer });
            }
        }
        self.tally.counts.damaged += 1;
        Some(PingEvent::Damaged { len: came.len() })
    }

    /// Takes note of what the server has counted. The members of a group count each for itself, which adds up to nothing.
    fn note_counts(&mut self, came: &[u8], is_reply: bool) {
        if let CountsRoom::Filled(counts) = CountsRoom::of(came)
            && !self.client.peer().is_group()
        {
            self.tally.ways.told(counts, is_reply);
        }
    }

    /// Asks the server for its last counts: the reply that had them may be lost. Answers that come meanwhile count.
    fn ask_for_counts(&mut self, buffer: &mut [u8], see: See<'_>) {
        let is_told = self.tally.ways.both(0).is_some();
        if self.tally.counts.sent == 0 || self.tally.counts.received > 0 && !is_told {
            return;
        }
        for question in 1..=QUESTIONS_MAX {
            self.encode(Word::Tell, question.into());
            // A server that is gone tells nothing; what it told before stands.
            if self.client.send(&self.probe).is_err() {
                return;
            }
            let until = Instant::now() + QUESTION_TIMEOUT.min(self.plan.timeout);
            while let Ok(Arrival::Datagram { len, age, from }) = self.client.receive(buffer, Some(until), None)
                && Instant::now() < until
            {
                let now = self.started.elapsed();
                let is_told = Probe::decode(&buffer[..len]).is_some_and(|probe| {
                    probe.word == Word::Tell && probe.session == self.session && probe.sequence == u64::from(question)
                });
                let event = self.judge(&buffer[..len], &from, (now, age.unwrap_or_default()));
                if event.is_some_and(|event| see(event).is_break()) || is_told {
                    return;
                }
            }
        }
    }

    /// No server has ever answered at this address: tries the name's next one, and counts from the start.
    fn start_again(&mut self) -> bool {
        let Counts { received: 0, damaged: 0, .. } = self.tally.counts else { return false };
        if !self.client.next_address() {
            return false;
        }
        self.is_stamped = self.client.stamp();
        self.tally = PingTally::default();
        true
    }
}

/// Another number for each run.
pub(super) fn session() -> u32 {
    let [a, b, c, d, ..] = random().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
