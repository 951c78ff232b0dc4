//! `tcp-client echo`: what connections are worth, in round trips and bytes a second.
//!
//! | file | what it has |
//! |---|---|
//! | `args.rs` | the options, and what makes sense of them |
//! | `opening.rs` | the connections, and what each step to them took |
//! | `report.rs` | the results, as text and as JSON |
//! | `chart.rs` | the distribution, drawn |
//! | `csv.rs` | a line for each interval |

pub(super) mod args;
mod chart;
mod csv;
mod opening;
mod report;

use std::io::IsTerminal as _;

use args::{Draw, EchoArgs};
use csv::CsvFile;
use opening::Opened;
use report::Report;

use crate::cli::exit::Exit;
use crate::cli::output::{put_json, say, tell};
use crate::cli::tcp_client::args::PROGRAM;
use crate::echo::measure::{Measurement, measure};
use crate::echo::tally::Interval;
use crate::net::gate::raise_descriptor_limit;

/// Makes round trips as `args` say, and prints what they took.
///
/// # Errors
/// Wrong usage, no connection; the server refused, the connection was lost, what came back was not what was sent, or
/// a figure was over its limit: then what was measured so far is printed before.
pub(super) fn run(args: &EchoArgs) -> anyhow::Result<Exit> {
    let plan = args.plan()?;
    args.csv.as_deref().map_or(Ok(()), CsvFile::check)?;
    raise_descriptor_limit();
    let Opened { connections, times, interruption } = opening::open(args)?;
    if interruption.has_come() {
        return Ok(Exit::Interrupted);
    }
    let mut csv = args.csv.as_deref().map(|path| CsvFile::create(path, plan.rate.is_some())).transpose()?;
    let mut on_interval = |interval: &Interval<'_>| {
        if args.output.verbose {
            say(PROGRAM, &report::line(interval));
        }
        csv.as_mut().map_or(Ok(()), |csv| csv.add(interval))
    };
    let is_over = || interruption.has_come();
    let Measurement { tally, elapsed, error } = measure(connections, &plan, &is_over, &mut on_interval);
    let error = error.map(anyhow::Error::from);
    let error = error.or_else(|| csv.and_then(|csv| csv.finish().err().map(anyhow::Error::from)));
    let is_interrupted = interruption.has_come();
    drop(interruption);

    let over = args.over(&tally);
    let error = match error {
        None if !is_interrupted => args::verdict(&over, &tally, elapsed),
        error => error,
    };
    let exit = match &error {
        Some(error) => Exit::of(error),
        None if is_interrupted => Exit::Interrupted,
        None => Exit::Done,
    };
    let mut report = Report::of(args, &times, &tally, elapsed);
    if args.output.json {
        report.end(&over, error.as_ref(), exit);
        put_json(&report)?;
    } else if tally.round_trips.count() > 0 {
        tell(&report.text())?;
        if args.histogram.is_wanted(std::io::stdout().is_terminal()) {
            tell(&chart::chart(&tally.round_trips))?;
        }
    }
    error.map_or(Ok(exit), Err)
}

impl Draw {
    const fn is_wanted(self, is_terminal: bool) -> bool {
        match self {
            Self::Auto => is_terminal,
            Self::Always => true,
            Self::Never => false,
        }
    }
}
