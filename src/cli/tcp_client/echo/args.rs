//! The options of `tcp-client echo`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use crate::cli::args::{ConnectArgs, OutputArgs, at_least_one, duration, size};
use crate::cli::usage::usage;
use crate::echo::measure::Plan;
use crate::echo::tally::Tally;
use crate::histogram::Histogram;
use crate::net::Address;
use crate::session::millis;

/// Connections that are measured at the same time: each has a thread.
pub(super) const ECHO_CONNECTIONS_MAX: usize = 10_000;
/// Messages a second: above this, the program itself is what is measured.
pub(super) const ECHO_RATE_MAX: u32 = 10_000_000;
/// Round trips where no other end is set.
const COUNT_USUAL: u64 = 1_000;
/// The shortest interval: each costs a line, and a look at all tallies.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// What is measured, how, and what is printed of it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EchoArgs {
    /// HOST, HOST:PORT, [::1]:7000 or unix:/path
    pub(super) host: Address,
    /// Number of round trips, over all connections together [default: 1000, or one on each connection; with --duration:
    /// no limit]
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Bytes of each message; over 4 MiB they are streamed
    #[arg(short, long, env = "LANDLINE_ECHO_SIZE", default_value = "64", value_name = "SIZE", value_parser = size)]
    pub(super) size: u64,
    /// Messages a second, over all connections together; without it, each is sent when the one before it has come back
    #[arg(long, env = "LANDLINE_ECHO_RATE", value_name = "N", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// Connections that are measured at the same time
    #[arg(long, env = "LANDLINE_ECHO_CONNECTIONS", default_value = "1", value_name = "N", value_parser = at_least_one)]
    pub(super) connections: usize,
    /// How long messages are sent
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// How long an answer may take in which nothing moves
    #[arg(long, env = "LANDLINE_ECHO_TIMEOUT", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,
    /// End with exit code 1 if a figure of the round trips is over a limit: p99=5ms, max=1s; min, median, p90, p99,
    /// p99.9, max, mean. May be repeated
    #[arg(long, value_name = "FIGURE=DURATION")]
    fail_over: Vec<FailOver>,
    /// Write a line for each interval to a new file
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<PathBuf>,
    /// Length of an interval, for --csv and --verbose
    #[arg(long, env = "LANDLINE_ECHO_INTERVAL", default_value = "1s", value_name = "DURATION", value_parser = duration)]
    interval: Duration,
    /// Draw how the times are distributed
    #[arg(long, env = "LANDLINE_ECHO_HISTOGRAM", default_value = "auto", value_name = "WHEN")]
    pub(super) histogram: Draw,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

const EXAMPLES: &str = "\
Every byte that comes back is compared with what was sent. Under --rate the times are counted from when each message \
was due, so that one slow answer is seen in all messages that had to wait for it (coordinated omission); the times \
from when each was sent are called uncorrected.

Examples:
  tcp-client echo localhost
  tcp-client echo localhost --rate 1000 --duration 10s --connections 10
  tcp-client echo localhost --size 1MiB --count 100 --json
  tcp-client echo localhost --duration 1m --csv minute.csv --fail-over p99=5ms --fail-over max=50ms

Exit code 0, or 1 if a figure is over its limit, 3 if there is no server, 4 if the connection was lost. Ctrl-C prints \
what was measured so far and ends with 130.";

/// When the distribution is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Draw {
    /// If standard output is a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= f64::from(ECHO_RATE_MAX) => Ok(rate),
        Ok(_) => {
            Err(format!("choose more than 0 and at most {ECHO_RATE_MAX} messages a second; leave it out for no limit"))
        }
        Err(error) => Err(format!("{error}; write it like 1000 or 0.5")),
    }
}

impl EchoArgs {
    /// What is measured.
    ///
    /// # Errors
    /// It makes no sense.
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        let Self { count, size, rate, connections, duration, timeout, interval, .. } = *self;
        let wrong = |text: String| Err(usage(text));
        if connections > ECHO_CONNECTIONS_MAX {
            return wrong(format!("--connections {connections}: choose 1 to {ECHO_CONNECTIONS_MAX}"));
        }
        let each = connections as u64;
        match count {
            Some(0) => return wrong("--count 0 measures nothing".into()),
            Some(count) if count < each => {
                return wrong(format!("--count {count}: choose at least one for each of {connections} connections"));
            }
            _ => {}
        }
        if duration.is_some_and(|duration| duration.is_zero()) {
            return wrong("--duration 0 measures nothing".into());
        }
        if timeout.is_zero() {
            return wrong("--timeout 0: no answer takes no time".into());
        }
        if interval < INTERVAL_MIN {
            return wrong(format!("--interval {interval:?}: choose at least {INTERVAL_MIN:?}"));
        }
        let usual = if duration.is_some() { None } else { Some(COUNT_USUAL.max(each)) };
        Ok(Plan { count: count.or(usual), size, rate, duration, timeout, interval })
    }

    /// The limits that `tally` is over, each with what was measured.
    pub(super) fn over(&self, tally: &Tally) -> Vec<(FailOver, Duration)> {
        let measured = |limit: &FailOver| Some((*limit, limit.figure.of(&tally.round_trips)?));
        self.fail_over.iter().filter_map(measured).filter(|(limit, time)| *time > limit.limit).collect()
    }
}

/// The error of a run that has ended as it should; `None`: it was good.
pub(super) fn verdict(over: &[(FailOver, Duration)], tally: &Tally, elapsed: Duration) -> Option<anyhow::Error> {
    if tally.round_trips.count() == 0 {
        return Some(anyhow::anyhow!("no echo came back within {elapsed:.1?}"));
    }
    let figures: Vec<String> = over
        .iter()
        .map(|(FailOver { figure, limit }, time)| {
            format!("{} is {} ms, over the limit of {} ms", figure.name(), millis(*time), millis(*limit))
        })
        .collect();
    (!figures.is_empty()).then(|| anyhow::anyhow!(figures.join("; ")))
}

/// A figure, and the time that it may not be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FailOver {
    /// What is compared.
    pub(super) figure: Figure,
    /// With what.
    pub(super) limit: Duration,
}

impl FromStr for FailOver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, limit) = text.split_once('=').ok_or("write it like p99=5ms")?;
        let named = |figure: &&Figure| figure.name() == name || (name == "p50" && **figure == Figure::Median);
        let figure = Figure::ALL
            .iter()
            .find(named)
            .ok_or_else(|| format!("{name:?} is no figure; choose {}", Figure::ALL.map(Figure::name).join(", ")))?;
        let limit = duration(limit)?;
        if limit.is_zero() {
            return Err("every round trip takes longer than nothing; choose a limit above 0".into());
        }
        Ok(Self { figure: *figure, limit })
    }
}

/// What is said of many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    /// The shortest.
    Min,
    /// The one in the middle.
    Median,
    /// 90 of 100 are not over it.
    P90,
    /// 99 of 100 are not over it.
    P99,
    /// 999 of 1,000 are not over it.
    P999,
    /// The longest.
    Max,
    /// All of them together, divided by their number.
    Mean,
}

impl Figure {
    pub(super) const ALL: [Self; 7] =
        [Self::Min, Self::Median, Self::P90, Self::P99, Self::P999, Self::Max, Self::Mean];

    const fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Median => "median",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
            Self::Mean => "mean",
        }
    }

    /// `None`: there are no times.
    pub(super) fn of(self, times: &Histogram) -> Option<Duration> {
        match self {
            Self::Min => times.min(),
            Self::Median => times.quantile(500),
            Self::P90 => times.quantile(900),
            Self::P99 => times.quantile(990),
            Self::P999 => times.quantile(999),
            Self::Max => times.max(),
            Self::Mean => times.mean(),
        }
    }

    /// The key of JSON, and of a column.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Median => "p50",
            Self::P999 => "p99_9",
            other => other.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        echo: EchoArgs,
    }

    fn plan(words: &[&str]) -> anyhow::Result<Plan> {
        Line::try_parse_from(["echo", "host"].iter().chain(words))?.echo.plan()
    }

    #[test]
    fn what_measures_nothing_or_too_much_is_wrong_usage() {
        for words in [
            &["--count", "0"][..],
            &["--count", "-1"],
            &["--count", "9", "--connections", "10"],
            &["--connections", "0"],
            &["--connections", "100000"],
            &["--connections", "18446744073709551616"],
            &["--rate", "0"],
            &["--rate", "-5"],
            &["--rate", "nan"],
            &["--rate", "inf"],
            &["--rate", "10000001"],
            &["--duration", "0"],
            &["--duration", "soon"],
            &["--timeout", "0"],
            &["--interval", "1ms"],
            &["--size", "big"],
            &["--fail-over", "p99"],
            &["--fail-over", "p98=5ms"],
            &["--fail-over", "P99=5ms"],
            &["--fail-over", "=5ms"],
            &["--fail-over", "p99="],
            &["--fail-over", "p99=0"],
            &["--fail-over", "p99=-5ms"],
            &["--fail-over", "p99=5"],
        ] {
            let is_good = words == ["--fail-over", "p99=5"];
            assert_eq!(plan(words).is_ok(), is_good, "{words:?}; a bare number is seconds");
        }
        assert_eq!(plan(&[]).unwrap().count, Some(1000));
        assert_eq!(plan(&["--connections", "5000"]).unwrap().count, Some(5000));
        assert_eq!(plan(&["--duration", "1s"]).unwrap().count, None);
        assert_eq!(plan(&["--duration", "1s", "--count", "7"]).unwrap().count, Some(7));
        assert_eq!(plan(&["--size", "4GiB"]).unwrap().size, 4 << 30);
        assert_eq!(plan(&["--rate", "0.5"]).unwrap().rate, Some(0.5));
    }

    #[test]
    fn figures_over_their_limits_are_named_with_both_times() {
        let words = ["echo", "host", "--fail-over", "p50=2ms", "--fail-over", "max=10ms", "--fail-over", "min=1ms"];
        let echo = Line::try_parse_from(words).unwrap().echo;
        let mut tally = Tally::default();
        assert_eq!(echo.over(&tally), []);
        assert!(verdict(&[], &tally, Duration::from_secs(1)).unwrap().to_string().starts_with("no echo came back"));
        for ms in [1, 3, 12] {
            tally.round_trips.record(Duration::from_millis(ms));
        }
        let said = verdict(&echo.over(&tally), &tally, Duration::from_secs(1)).unwrap().to_string();
        assert!(said.starts_with("median is 3"), "{said}");
        assert!(said.ends_with(" ms, over the limit of 2 ms; max is 12 ms, over the limit of 10 ms"), "{said}");
        assert!(verdict(&[], &tally, Duration::from_secs(1)).is_none());
        for figure in Figure::ALL {
            let text = format!("{}=1ms", figure.name());
            assert_eq!(text.parse::<FailOver>().unwrap().figure, figure);
        }
    }
}
