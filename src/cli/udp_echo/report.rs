//! What `udp-echo ping` says at the end, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use crate::histogram::Histogram;
use crate::udp::ping::Run;
use crate::udp::tally::{BothWays, PingTally, Way};

/// What `--json` prints at the end; times are milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) peer: String,
    pub(super) size: usize,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) lost_percent: f64,
    pub(super) late: u64,
    pub(super) duplicates: u64,
    pub(super) reordered: u64,
    /// RFC 4737, 3.4: of the probes that were answered.
    pub(super) reordered_percent: f64,
    /// RFC 4737, 4.2; 0: nothing was reordered.
    pub(super) reordered_extent_max: u64,
    pub(super) reordered_extent_mean: f64,
    pub(super) damaged: u64,
    pub(super) refused: u64,
    /// `null`: the server counts nothing, so it is not known on which way a datagram was lost.
    pub(super) up: Option<WayReport>,
    pub(super) down: Option<WayReport>,
    /// Probes that the server did not reply to because of its own limits.
    pub(super) withheld: Option<u64>,
    pub(super) rate: Option<f64>,
    pub(super) rtt_ms: Option<Times>,
    pub(super) jitter_ms: Option<JitterReport>,
    /// What says when an answer came: `kernel` or `program`.
    pub(super) received_by: &'static str,
}

/// Datagrams on one of the two ways.
#[derive(Debug, Serialize)]
pub(super) struct WayReport {
    arrived: u64,
    lost: u64,
    duplicates: u64,
    reordered: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Times {
    pub(super) min: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
    pub(super) mean: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct JitterReport {
    rfc3550: f64,
    mean_difference: f64,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "percentages and means for people")]
    pub(super) fn of(run: &Run<'_>, size: usize) -> Self {
        let tally: &PingTally = run.tally();
        let (counts, extents, jitter) = (tally.counts, &tally.extents, &tally.jitter);
        let both = tally.ways.both(counts.sent);
        let way = |pick: fn(BothWays) -> Way| both.map(pick).map(WayReport::of);
        let jitter_ms = jitter.smoothed().zip(jitter.mean_difference());
        Self {
            peer: run.peer().to_string(),
            size,
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost(),
            lost_percent: counts.lost_percent(),
            late: counts.late,
            duplicates: counts.duplicates,
            reordered: extents.reordered,
            reordered_percent: extents.reordered as f64 * 100.0 / counts.received.max(1) as f64,
            reordered_extent_max: extents.max,
            reordered_extent_mean: extents.sum as f64 / extents.reordered.max(1) as f64,
            damaged: counts.damaged,
            refused: counts.refused,
            up: way(|both| both.up),
            down: way(|both| both.down),
            withheld: both.map(|both| both.withheld),
            rate: run.rate().map(|rate| (rate * 10.0).round() / 10.0),
            rtt_ms: Times::of(&tally.times),
            jitter_ms: jitter_ms
                .map(|(smoothed, mean)| JitterReport { rfc3550: ms(smoothed), mean_difference: ms(mean) }),
            received_by: if run.is_stamped() { "kernel" } else { "program" },
        }
    }

    /// The lines for a person.
    pub(super) fn text(&self) -> String {
        let Self { peer, sent, received, lost, lost_percent, late, duplicates, reordered, damaged, .. } = self;
        let counts = format!(
            "--- {peer} ---\n{sent} sent, {received} received, {lost} lost ({lost_percent:.1} %), {late} late, \
             {duplicates} duplicates, {reordered} out of order, {damaged} damaged\n"
        );
        let ways = match (&self.up, &self.down) {
            (Some(up), Some(down)) => Some(format!("there: {}; back: {}\n", up.text(), down.text())),
            _ if *received > 0 && *lost > 0 => {
                Some("this server counts nothing: on which way they were lost is not known\n".to_owned())
            }
            _ => None,
        };
        let withheld = self.withheld.filter(|withheld| *withheld > 0);
        let withheld =
            withheld.map(|withheld| format!("{withheld} not replied to by the server, because of its own limits\n"));
        let refused = (self.refused > 0).then(|| format!("{} refused: no program received there\n", self.refused));
        let order = (*reordered > 0).then(|| {
            format!(
                "out of order: {:.2} % of the answers, by {} places at most, {:.1} in the mean\n",
                self.reordered_percent, self.reordered_extent_max, self.reordered_extent_mean
            )
        });
        let times = self.rtt_ms.as_ref().map(Times::text);
        let jitter = self.jitter_ms.as_ref().map(|JitterReport { rfc3550, mean_difference }| {
            format!("jitter ms: {rfc3550:.3} (RFC 3550), mean difference {mean_difference:.3}\n")
        });
        let rest = [ways, withheld, refused, order, times, jitter];
        rest.into_iter().flatten().fold(counts, |text, line| text + &line)
    }
}

impl WayReport {
    const fn of(way: Way) -> Self {
        let Way { lost, duplicates, reordered, arrived } = way;
        Self { arrived, lost, duplicates, reordered }
    }

    fn text(&self) -> String {
        format!("{} lost, {} duplicates, {} out of order", self.lost, self.duplicates, self.reordered)
    }
}

impl Times {
    pub(super) fn of(times: &Histogram) -> Option<Self> {
        let quantile = |permille| times.quantile(permille).map(ms);
        Some(Self {
            min: ms(times.min()?),
            p50: quantile(500)?,
            p90: quantile(900)?,
            p99: quantile(990)?,
            p999: quantile(999)?,
            max: ms(times.max()?),
            mean: ms(times.mean()?),
        })
    }

    fn text(&self) -> String {
        let Self { min, p50, p90, p99, p999, max, mean } = self;
        format!(
            "rtt ms: min {min:.3}  p50 {p50:.3}  p90 {p90:.3}  p99 {p99:.3}  p99.9 {p999:.3}  max {max:.3}  \
             mean {mean:.3}\n"
        )
    }
}

/// Milliseconds, to the nanosecond, so that JSON does not show what the conversion added.
pub(super) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e9).round() / 1e6
}
