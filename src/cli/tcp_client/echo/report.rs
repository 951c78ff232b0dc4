//! The results, as text and as JSON.

use std::time::Duration;

use serde::Serialize;

use super::args::{EchoArgs, FailOver, Figure};
use super::opening::OpeningTimes;
use crate::cli::exit::Exit;
use crate::echo::tally::{Interval, Tally};
use crate::histogram::Histogram;
use crate::session::millis;

/// What `--json` prints; times are milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Round trips that were whole.
    count: u64,
    size: u64,
    connections: usize,
    /// Messages a second that were due. `None`: there was no `--rate`.
    rate: Option<f64>,
    ms: f64,
    /// Of whole round trips, each way.
    bytes_per_second: f64,
    round_trips_per_second: f64,
    sent_bytes: u64,
    received_bytes: u64,
    sent_bytes_per_second: f64,
    received_bytes_per_second: f64,
    /// Messages that were under way when the run was ended.
    unanswered: u64,
    connect_ms: Times,
    /// `None`: the connections are not encrypted.
    handshake_ms: Option<Times>,
    greeting_ms: Times,
    /// Under a rate, from when each message was due. `None`: there was no round trip.
    rtt_ms: Option<Times>,
    /// Under a rate, from when each message was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    uncorrected_rtt_ms: Option<Times>,
    /// The figures that are over their limits.
    over: Vec<Over>,
    error: Option<String>,
    exit_code: u8,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Times {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
    mean: f64,
}

#[derive(Debug, Serialize)]
struct Over {
    figure: &'static str,
    ms: f64,
    limit_ms: f64,
}

impl Times {
    /// `None`: there are none.
    fn of(times: &Histogram) -> Option<Self> {
        let of = |figure: Figure| figure.of(times).map(millis);
        Some(Self {
            min: of(Figure::Min)?,
            p50: of(Figure::Median)?,
            p90: of(Figure::P90)?,
            p99: of(Figure::P99)?,
            p99_9: of(Figure::P999)?,
            max: of(Figure::Max)?,
            mean: of(Figure::Mean)?,
        })
    }

    const fn none() -> Self {
        Self { min: 0.0, p50: 0.0, p90: 0.0, p99: 0.0, p99_9: 0.0, max: 0.0, mean: 0.0 }
    }

    fn text(self) -> String {
        let Self { min, p50, p90, p99, p99_9, max, mean } = self;
        format!(
            "min {min:.3}  p50 {p50:.3}  p90 {p90:.3}  p99 {p99:.3}  p99.9 {p99_9:.3}  max {max:.3}  mean {mean:.3}"
        )
    }

    /// One time, or the middle and the longest of several.
    fn short(self, count: usize) -> String {
        if count == 1 { format!("{:.3} ms", self.max) } else { format!("{:.3} ms (max {:.3})", self.p50, self.max) }
    }
}

impl Report {
    pub(super) fn of(args: &EchoArgs, opening: &OpeningTimes, tally: &Tally, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
        let per_second = |count: u64| count as f64 / seconds;
        let count = tally.round_trips.count();
        Self {
            count,
            size: args.size,
            connections: args.connections,
            rate: args.rate,
            ms: millis(elapsed),
            bytes_per_second: per_second(count.saturating_mul(args.size)),
            round_trips_per_second: per_second(count),
            sent_bytes: tally.sent_bytes,
            received_bytes: tally.received_bytes,
            sent_bytes_per_second: per_second(tally.sent_bytes),
            received_bytes_per_second: per_second(tally.received_bytes),
            unanswered: tally.unanswered,
            connect_ms: Times::of(&opening.connect).unwrap_or(Times::none()),
            handshake_ms: Times::of(&opening.handshake),
            greeting_ms: Times::of(&opening.greeting).unwrap_or(Times::none()),
            rtt_ms: Times::of(&tally.round_trips),
            uncorrected_rtt_ms: Times::of(&tally.uncorrected),
            over: Vec::new(),
            error: None,
            exit_code: 0,
        }
    }

    /// Says how it ended.
    pub(super) fn end(&mut self, over: &[(FailOver, Duration)], error: Option<&anyhow::Error>, exit: Exit) {
        let over = over.iter().map(|(limit, time)| Over {
            figure: limit.figure.key(),
            ms: millis(*time),
            limit_ms: millis(limit.limit),
        });
        self.over = over.collect();
        self.error = error.map(|error| format!("{error:#}"));
        self.exit_code = exit.code();
    }

    pub(super) fn text(&self) -> String {
        let Self { count, size, connections, .. } = self;
        let on = if *connections == 1 { String::new() } else { format!(" on {connections} connections") };
        let mut text = format!("{count} round trips of {size} bytes{on} in {:.3} ms, every byte checked\n", self.ms);
        let mut line = |words: String| text.push_str(&(words + "\n"));
        if self.unanswered > 0 {
            line(format!("{} more were under way when it ended", self.unanswered));
        }
        let handshake = self.handshake_ms.map(|times| format!("TLS handshake {}, ", times.short(*connections)));
        line(format!(
            "connect {}, {}greeting {}",
            self.connect_ms.short(*connections),
            handshake.unwrap_or_default(),
            self.greeting_ms.short(*connections)
        ));
        if let Some(times) = self.rtt_ms {
            line(format!("rtt ms: {}", times.text()));
        }
        if let Some(times) = self.uncorrected_rtt_ms {
            line(format!("uncorrected: {}", times.text()));
        }
        let due = self.rate.map(|rate| format!(" ({rate} were due)")).unwrap_or_default();
        let rate = self.round_trips_per_second;
        let (out, back) = (self.sent_bytes_per_second / 1e6, self.received_bytes_per_second / 1e6);
        if self.sent_bytes == self.received_bytes {
            line(format!("{rate:.0} round trips/s{due}, {out:.1} MB/s each way"));
        } else {
            line(format!("{rate:.0} round trips/s{due}, {out:.1} MB/s out, {back:.1} MB/s back"));
        }
        text
    }
}

/// One line about an interval.
pub(super) fn line(interval: &Interval<'_>) -> String {
    let Interval { from, until, tally } = interval;
    let (until, seconds) = (until.as_secs_f64(), until.saturating_sub(*from).as_secs_f64().max(1e-9));
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
    let rate = tally.round_trips.count() as f64 / seconds;
    match Times::of(&tally.round_trips) {
        Some(Times { p50, p99, max, .. }) => {
            format!("{until:.1} s: {rate:.0} round trips/s, p50 {p50:.3} ms, p99 {p99:.3} ms, max {max:.3} ms")
        }
        None => format!("{until:.1} s: no answer"),
    }
}
