//! `udp-echo ping`.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use crate::cli::args;
use crate::cli::args::OutputArgs;
use crate::cli::exit::Exit;
use crate::cli::output::{put_json, say, tell};
use crate::cli::udp_echo::args::{PROGRAM, UdpConnectArgs, WaitArgs};
use crate::cli::udp_echo::client::{not_asked, say_both_ends};
use crate::cli::udp_echo::signals;
use crate::cli::usage::usage;
use crate::udp::ping::{NOBODY_PAUSE, PingEvent, PingPlan, Run};
use crate::udp::probe::PROBE_LEN_MIN;
use crate::udp::tally::{AnswerKind, PingTally};
use crate::udp::{ClientError, DATAGRAM_LEN_MAX, Stop, UdpClient};

/// Measure round-trip times and count what is lost.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ping {
    #[command(flatten)]
    connect: UdpConnectArgs,
    /// Number of datagrams to send [default: until Ctrl-C]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Time between datagrams; 0: send the next one when the answer has come
    #[arg(short, long, env = "LANDLINE_UDP_INTERVAL", default_value = "1s", value_name = "DURATION", value_parser = args::duration)]
    interval: Duration,
    /// Length of each datagram, 47 to 65507 bytes
    #[arg(short, long, env = "LANDLINE_UDP_SIZE", default_value = "64", value_name = "SIZE", value_parser = args::size)]
    size: u64,
    #[command(flatten)]
    patience: WaitArgs,
    /// Time to wait for a server that is not there yet; 0: do not wait
    #[arg(long, env = "LANDLINE_UDP_WAIT", default_value = "10s", value_name = "DURATION", value_parser = args::duration)]
    wait: Duration,
    #[command(flatten)]
    output: OutputArgs,
}

const NOBODY_YET: &str = "no server is there yet; waiting, Ctrl-C ends";

const EXAMPLES: &str = "\
Every datagram carries a sequence number and a time stamp, and each answer is compared with it byte \
for byte. The server has to echo, or to answer in capitals. With -q only the summary is printed.

Examples:
  udp-echo ping localhost --count 5
  udp-echo ping 192.0.2.7:8088 --size 1024 --interval 200ms
  udp-echo ping localhost --count 10000 --interval 0 --json

If no server is there yet, it waits (--wait); counting begins when one is.

Exit code 0 if an answer came, 1 if none did, 3 if no server is there. Ctrl-C prints the summary \
and ends with 0 if an answer came, else with 130.";

/// What `--json` prints at the end; times are milliseconds.
#[derive(Debug, Serialize)]
struct Report {
    peer: String,
    size: usize,
    sent: u64,
    received: u64,
    lost: u64,
    lost_percent: f64,
    late: u64,
    duplicates: u64,
    reordered: u64,
    damaged: u64,
    rtt_ms: Option<Times>,
}

#[derive(Debug, Serialize)]
struct Times {
    min: f64,
    median: f64,
    p99: f64,
    max: f64,
    mean: f64,
}

pub(super) fn run(options: &Ping) -> Result<Exit> {
    let plan = plan(options)?;
    let stop = signals::stop_on_signals()?;
    let mut client = match open(options, &stop)? {
        Ok(client) => client,
        Err(_) if stop.is_triggered() => return Ok(Exit::Interrupted),
        Err(error) => return not_asked(error),
    };
    if options.output.verbose {
        say_both_ends(&client);
    }
    let mut run = Run::new(&mut client, plan);
    let mut screen = Screen { options, size: plan.size, gone: false, failed: None };
    let ended = run.run(&stop, |event| screen.show(&event));
    if let Some(error) = screen.failed {
        return Err(error);
    }
    let received = run.tally().counts.received;
    // Without a server there is nothing to sum up; a program gets its object all the same.
    if ended.is_ok() || received > 0 || options.output.json {
        summary(options, plan.size, &run.peer().to_string(), run.tally())?;
    }
    match ended {
        Err(error) => not_asked(error),
        Ok(()) if received > 0 => Ok(Exit::Done),
        Ok(()) if stop.is_triggered() => Ok(Exit::Interrupted),
        Ok(()) => Ok(Exit::Failed),
    }
}

/// Opens the socket, and waits for a Unix server that has no file yet as for one that does not answer yet.
fn open(options: &Ping, stop: &Stop) -> Result<Result<UdpClient, ClientError>> {
    let address = options.connect.address()?;
    let (started, mut was_said) = (Instant::now(), false);
    loop {
        match UdpClient::open(&address, options.connect.port) {
            Err(ClientError::Refused { .. }) if started.elapsed() < options.wait && !stop.is_triggered() => {
                if !std::mem::replace(&mut was_said, true) {
                    say(PROGRAM, NOBODY_YET);
                }
            }
            other => return Ok(other),
        }
        stop.wait(NOBODY_PAUSE).context("cannot wait")?;
    }
}

fn plan(options: &Ping) -> Result<PingPlan> {
    let size = usize::try_from(options.size).ok().filter(|size| (PROBE_LEN_MIN..=DATAGRAM_LEN_MAX).contains(size));
    let wrong = || usage(format!("--size {}: choose {PROBE_LEN_MIN} to {DATAGRAM_LEN_MAX} bytes", options.size));
    Ok(PingPlan {
        count: options.count,
        interval: options.interval,
        size: size.ok_or_else(wrong)?,
        timeout: options.patience.timeout,
        wait: options.wait,
    })
}

/// A line for everything that happens, as it happens.
struct Screen<'a> {
    options: &'a Ping,
    size: usize,
    gone: bool,
    failed: Option<anyhow::Error>,
}

impl Screen<'_> {
    fn show(&mut self, event: &PingEvent<'_>) -> ControlFlow<()> {
        let line = match event {
            PingEvent::Answered { from, sequence, answer: AnswerKind::First { rtt, late, reordered } } => {
                self.gone = false;
                let remark = match (late, reordered) {
                    (true, _) => ", too late",
                    (false, true) => ", out of order",
                    (false, false) => "",
                };
                format!("{} bytes from {from}: seq={sequence} time={:.3} ms{remark}\n", self.size, ms(*rtt))
            }
            PingEvent::Answered { from, sequence, answer: AnswerKind::Duplicate } => {
                format!("{} bytes from {from}: seq={sequence}, once more\n", self.size)
            }
            PingEvent::Overdue { sequence } => {
                format!(
                    "seq={sequence}: no answer within {}\n",
                    humantime::format_duration(self.options.patience.timeout)
                )
            }
            PingEvent::Damaged { len } => {
                format!(
                    "{len} bytes that are not what was sent: does the server echo, and as much as {} bytes?\n",
                    self.size
                )
            }
            PingEvent::NoServer => {
                if !std::mem::replace(&mut self.gone, true) {
                    say(PROGRAM, NOBODY_YET);
                }
                return ControlFlow::Continue(());
            }
            PingEvent::Gone => {
                if !std::mem::replace(&mut self.gone, true) {
                    say(PROGRAM, "the server is not there any more; going on");
                }
                return ControlFlow::Continue(());
            }
        };
        if self.options.output.quiet || self.options.output.json {
            return ControlFlow::Continue(());
        }
        match tell(&line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error.into());
                ControlFlow::Break(())
            }
        }
    }
}

fn summary(options: &Ping, size: usize, peer: &str, tally: &PingTally) -> Result<()> {
    let report = report(size, peer, tally);
    if options.output.json {
        return Ok(put_json(&report)?);
    }
    let Report { sent, received, lost, lost_percent, late, duplicates, reordered, damaged, rtt_ms, .. } = report;
    let times = rtt_ms.map_or_else(String::new, |Times { min, median, p99, max, mean }| {
        format!("rtt min/median/p99/max/mean = {min:.3}/{median:.3}/{p99:.3}/{max:.3}/{mean:.3} ms\n")
    });
    let text = format!(
        "--- {peer} ---\n{sent} sent, {received} received, {lost} lost ({lost_percent:.1} %), {late} late, \
         {duplicates} duplicates, {reordered} out of order, {damaged} damaged\n{times}"
    );
    Ok(tell(&text)?)
}

fn report(size: usize, peer: &str, tally: &PingTally) -> Report {
    let (counts, times) = (tally.counts, &tally.times);
    let times = || {
        let [min, median, p99, max, mean] =
            [times.min()?, times.quantile(500)?, times.quantile(990)?, times.max()?, times.mean()?].map(ms);
        Some(Times { min, median, p99, max, mean })
    };
    Report {
        peer: peer.to_owned(),
        size,
        sent: counts.sent,
        received: counts.received,
        lost: counts.lost(),
        lost_percent: counts.lost_percent(),
        late: counts.late,
        duplicates: counts.duplicates,
        reordered: counts.reordered,
        damaged: counts.damaged,
        rtt_ms: times(),
    }
}

fn ms(time: Duration) -> f64 {
    // To the nanosecond, so that JSON does not show what the conversion added.
    (time.as_secs_f64() * 1e9).round() / 1e6
}
