//! Measuring: sends probes, checks every answer byte for byte, and reports the result of each.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::probe::{PROBE_LEN_MIN, Probe};
use super::socket::random;
use super::tally::{AnswerKind, Counts, PingTally};
use super::{Arrival, ClientError, Endpoint, Stop, UdpClient, receive_buffer};

/// Pause between two attempts while no server receives yet.
pub const NOBODY_PAUSE: Duration = Duration::from_millis(200);

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
        /// Whether it is the first, and how long it took.
        answer: AnswerKind,
    },
    /// No answer arrived in time.
    Overdue {
        /// The probe's number, from 1.
        sequence: u64,
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

/// A run of the measurement.
#[derive(Debug)]
pub struct Run<'a> {
    client: &'a mut UdpClient,
    plan: PingPlan,
    started: Instant,
    session: u32,
    tally: PingTally,
}

impl<'a> Run<'a> {
    /// A run that has sent nothing yet.
    pub fn new(client: &'a mut UdpClient, plan: PingPlan) -> Self {
        let plan = PingPlan { size: plan.size.max(PROBE_LEN_MIN), ..plan };
        let [a, b, c, d, ..] = random().to_le_bytes();
        let session = u32::from_le_bytes([a, b, c, d]);
        Self { client, plan, started: Instant::now(), session, tally: PingTally::default() }
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
        loop {
            let now = self.started.elapsed();
            while let Some(sequence) = self.tally.overdue(now, self.plan.timeout) {
                if see(PingEvent::Overdue { sequence }).is_break() {
                    return Ok(());
                }
            }
            let waiting_since = self.tally.waiting_since();
            let all_sent = self.plan.count.is_some_and(|count| self.tally.counts.sent >= count);
            if all_sent && waiting_since.is_none() || stop.is_triggered() {
                return Ok(());
            }
            let lock_step = self.plan.interval.is_zero();
            let holds_back = all_sent || lock_step && waiting_since.is_some();
            let may_send = !holds_back && now >= next_send;
            let step = if may_send {
                next_send = (next_send + self.plan.interval).max(now);
                self.send(now)
            } else {
                let overdue_at = waiting_since.map(|since| since + self.plan.timeout);
                let send_at = (!holds_back).then_some(next_send);
                let until = overdue_at.into_iter().chain(send_at).min().map(|wake| self.started + wake);
                self.receive(&mut buffer, until, stop, &mut see)
            };
            match step {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(()),
                Err(ClientError::Refused { .. }) if self.start_again() => next_send = Duration::ZERO,
                // The server was there before: it may come back, and lost probes are counted.
                Err(ClientError::Refused { .. }) if self.tally.counts.received + self.tally.counts.damaged > 0 => {
                    if see(PingEvent::Gone).is_break() {
                        return Ok(());
                    }
                }
                // No probe has reached a server: counting begins when a server receives.
                Err(ClientError::Refused { .. }) if now < self.plan.wait => {
                    self.tally = PingTally::default();
                    self.client.start_over();
                    next_send = now + NOBODY_PAUSE;
                    if see(PingEvent::NoServer).is_break() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
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

    fn send(&mut self, now: Duration) -> Result<ControlFlow<()>, ClientError> {
        let sequence = self.tally.send(now);
        self.client.send(&self.probe(sequence, now).encode(self.plan.size))?;
        Ok(ControlFlow::Continue(()))
    }

    fn receive(
        &mut self,
        buffer: &mut [u8],
        until: Option<Instant>,
        stop: &Stop,
        see: &mut impl FnMut(PingEvent<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ClientError> {
        match self.client.receive(buffer, until, Some(stop))? {
            Arrival::Datagram { len, .. } => {
                let now = self.started.elapsed();
                let event = self.judge(&buffer[..len], now);
                Ok(event.map_or(ControlFlow::Continue(()), see))
            }
            Arrival::TimedOut | Arrival::Stopped => Ok(ControlFlow::Continue(())),
        }
    }

    /// Compares a datagram with the one that was sent under its number.
    fn judge(&mut self, came: &[u8], now: Duration) -> Option<PingEvent<'_>> {
        let probe = Probe::decode(came);
        if probe.is_some_and(|probe| probe.session != self.session) {
            // A late answer to an earlier run that had the same port.
            return None;
        }
        let sent = probe.and_then(|probe| Some((probe.sequence, self.tally.sent_at(probe.sequence)?)));
        match sent {
            Some((sequence, at)) if self.probe(sequence, at).encode(self.plan.size) == came => {
                let answer = self.tally.answer(sequence, now)?;
                Some(PingEvent::Answered { from: self.client.peer(), sequence, answer })
            }
            _ => {
                self.tally.counts.damaged += 1;
                Some(PingEvent::Damaged { len: came.len() })
            }
        }
    }

    fn probe(&self, sequence: u64, at: Duration) -> Probe {
        Probe { session: self.session, sequence, sent_ns: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// No server has ever answered at this address: tries the name's next one, and counts from the start.
    fn start_again(&mut self) -> bool {
        let Counts { received: 0, damaged: 0, .. } = self.tally.counts else { return false };
        if !self.client.next_address() {
            return false;
        }
        self.tally = PingTally::default();
        true
    }
}
