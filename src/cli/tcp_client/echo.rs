//! `tcp-client echo`: what a connection is worth, in round trips and bytes a second.

use serde::Serialize;

use crate::cli::output::{put_json, tell};
use crate::connection::Connection;
use crate::echo::{Measurement, measure};
use crate::session::millis;

/// Makes `count` round trips of `size` bytes and prints what they took.
///
/// # Errors
/// The server refused, the connection was lost, or what came back was not what was sent.
pub(super) fn run(connection: &mut Connection, count: u32, size: u64, json: bool) -> crate::error::Result<()> {
    // The greeting's round trip is not the echo's.
    connection.greeting()?;
    let report = Report::of(&measure(connection, count, size)?, count, size);
    if json { put_json(&report) } else { tell(&report.text()) }
}

#[derive(Debug, Serialize)]
struct Report {
    count: u32,
    size: u64,
    ms: f64,
    bytes_per_second: f64,
    round_trips_per_second: f64,
    rtt_ms: Percentiles,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Report {
    fn of(measurement: &Measurement, count: u32, size: u64) -> Self {
        let seconds = measurement.elapsed.as_secs_f64().max(1e-9);
        let times = &measurement.round_trips;
        let [min, p50, p90, p99, max] =
            [times.min(), times.quantile(500), times.quantile(900), times.quantile(990), times.max()]
                .map(|time| time.map_or(0.0, millis));
        let rtt_ms = Percentiles { min, p50, p90, p99, max };
        #[expect(clippy::cast_precision_loss, reason = "a rate in bytes a second needs no 53 bits")]
        let bytes_per_second = measurement.bytes as f64 / seconds;
        let round_trips_per_second = f64::from(count) / seconds;
        Self { count, size, ms: millis(measurement.elapsed), bytes_per_second, round_trips_per_second, rtt_ms }
    }

    fn text(&self) -> String {
        let Percentiles { min, p50, p90, p99, max } = self.rtt_ms;
        format!(
            "{} round trips of {} bytes in {:.3} ms, every byte checked\n\
             rtt ms: min {min:.3}  p50 {p50:.3}  p90 {p90:.3}  p99 {p99:.3}  max {max:.3}\n\
             {:.0} round trips/s, {:.1} MB/s each way\n",
            self.count,
            self.size,
            self.ms,
            self.round_trips_per_second,
            self.bytes_per_second / 1e6
        )
    }
}
