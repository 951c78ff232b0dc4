//! `udp-echo ping --sweep`.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::cli::args::OutputArgs;
use crate::cli::exit::Exit;
use crate::cli::output::{put_json, say, tell};
use crate::cli::udp_echo::args::PROGRAM;
use crate::cli::udp_echo::client::not_asked;
use crate::cli::udp_echo::report::{Report, Times};
use crate::udp::ping::{PingPlan, Run};
use crate::udp::sweep::{RateOutcome, RateSearch};
use crate::udp::{Stop, UdpClient};

/// Columns of the longest bar.
const BAR_LEN: usize = 40;
/// Of the rate that was wanted, in percent, what the sender must have reached.
const REACHED_PERCENT: f64 = 95.0;

/// What is measured at each rate, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct SweepPlan {
    pub(super) plan: PingPlan,
    pub(super) step: Duration,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Sweep {
    peer: String,
    size: usize,
    /// The highest rate without loss, in datagrams a second; `null`: something was lost at every rate.
    rate_max: Option<u32>,
    /// In the order in which they were tried.
    steps: Vec<Step>,
}

/// One rate.
#[derive(Debug, Serialize)]
struct Step {
    rate: u32,
    /// What the sender reached.
    reached: Option<f64>,
    sent: u64,
    received: u64,
    /// Losses of both ways, without what the server withheld.
    lost: u64,
    lost_percent: f64,
    withheld: u64,
    rtt_ms: Option<Times>,
}

pub(super) fn run(output: &OutputArgs, client: &mut UdpClient, sweep: SweepPlan, stop: &Stop) -> Result<Exit> {
    let (mut search, mut steps) = (RateSearch::default(), Vec::new());
    while let Some(rate) = search.next_rate().filter(|_| !stop.is_triggered()) {
        let step = match step(client, &sweep, rate, stop) {
            Ok(step) => step,
            Err(error) => return not_asked(error),
        };
        if stop.is_triggered() {
            break;
        }
        if !output.quiet && !output.json {
            say(PROGRAM, &format!("{rate} a second: {} of {} lost", step.lost, step.sent));
        }
        search.tried(rate, step.outcome());
        steps.push(step);
    }
    let is_answered = steps.iter().any(|step| step.received > 0);
    let sweep = Sweep { peer: client.peer().to_string(), size: sweep.plan.size, rate_max: search.found(), steps };
    if output.json {
        put_json(&sweep)?;
    } else {
        tell(&sweep.text())?;
    }
    Ok(match is_answered {
        _ if stop.is_triggered() => Exit::Interrupted,
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn step(client: &mut UdpClient, sweep: &SweepPlan, rate: u32, stop: &Stop) -> Result<Step, crate::udp::ClientError> {
    let interval = Duration::from_secs(1) / rate;
    let count = sweep.step.as_nanos() / interval.as_nanos().max(1);
    let count = u64::try_from(count).unwrap_or(u64::MAX).max(10);
    let mut run = Run::new(client, PingPlan { interval, count: Some(count), ..sweep.plan });
    run.run(stop, |_| ControlFlow::Continue(()))?;
    Ok(Step::of(Report::of(&run, sweep.plan.size), rate))
}

impl Step {
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    fn of(report: Report, rate: u32) -> Self {
        let withheld = report.withheld.unwrap_or(0);
        let lost = report.lost.saturating_sub(withheld);
        let lost_percent = lost as f64 * 100.0 / report.sent.max(1) as f64;
        let Report { rate: reached, sent, received, rtt_ms, .. } = report;
        Self { rate, reached, sent, received, lost, lost_percent, withheld, rtt_ms }
    }

    fn outcome(&self) -> RateOutcome {
        let is_reached = self.reached.is_none_or(|reached| reached * 100.0 >= f64::from(self.rate) * REACHED_PERCENT);
        match (self.lost, is_reached) {
            (1.., _) => RateOutcome::Lossy,
            (0, true) => RateOutcome::Clean,
            (0, false) => RateOutcome::NotReached,
        }
    }

    /// A line of the chart, in which `most` percent is the longest bar.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 40 columns")]
    fn line(&self, most: f64) -> String {
        let len = if self.lost == 0 { 0 } else { (self.lost_percent / most * 40.0).ceil() as usize };
        let bar = "#".repeat(len.min(BAR_LEN));
        let remark = match self.outcome() {
            RateOutcome::NotReached => {
                format!("not reached: the sender came to {:.0} a second", self.reached.unwrap_or_default())
            }
            _ if self.withheld > 0 => format!("{} withheld by the server's limit", self.withheld),
            _ => String::new(),
        };
        let line = format!("{:>10} {:>9} {:>8.3} %  {bar}{remark}", self.rate, self.sent, self.lost_percent);
        format!("{}\n", line.trim_end())
    }
}

impl Sweep {
    fn text(&self) -> String {
        let mut by_rate: Vec<&Step> = self.steps.iter().collect();
        by_rate.sort_by_key(|step| step.rate);
        let most = by_rate.iter().fold(0.0, |most: f64, step| most.max(step.lost_percent));
        let lines: String = by_rate.iter().map(|step| step.line(most)).collect();
        let result = match self.rate_max {
            Some(rate) => format!("{rate} a second without loss"),
            None => "something was lost at every rate".to_owned(),
        };
        format!(
            "--- {}, datagrams of {} bytes ---\n  a second      sent       lost\n{lines}{result}\n",
            self.peer, self.size
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_is_drawn_over_the_rate() {
        let step = |rate, lost: u32, reached| Step {
            rate,
            reached: Some(reached),
            sent: 1_000,
            received: 0,
            lost: lost.into(),
            lost_percent: f64::from(lost) / 10.0,
            withheld: 0,
            rtt_ms: None,
        };
        let steps =
            vec![step(1_000, 0, 1_000.0), step(2_000, 500, 2_000.0), step(1_500, 1, 1_500.0), step(9_000, 0, 7.0)];
        let sweep = Sweep { peer: "a".into(), size: 64, rate_max: Some(1_000), steps };
        let want = "--- a, datagrams of 64 bytes ---\n  a second      sent       lost\n\
                    \x20     1000      1000    0.000 %\n\
                    \x20     1500      1000    0.100 %  #\n\
                    \x20     2000      1000   50.000 %  ########################################\n\
                    \x20     9000      1000    0.000 %  not reached: the sender came to 7 a second\n\
                    1000 a second without loss\n";
        assert_eq!(sweep.text(), want);
    }
}
