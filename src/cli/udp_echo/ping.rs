//! `udp-echo ping`.

use std::path::PathBuf;
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
use crate::cli::udp_echo::pmtu::Patience;
use crate::cli::udp_echo::report::Report;
use crate::cli::udp_echo::screen::{Lines, NOBODY_YET, Screen};
use crate::cli::udp_echo::sweep::SweepPlan;
use crate::cli::udp_echo::{pmtu, signals, sweep};
use crate::cli::usage::usage;
use crate::udp::ping::{NOBODY_PAUSE, PingPlan, Run};
use crate::udp::probe::PROBE_LEN_MIN;
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
    /// Datagrams a second, instead of the time between them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    rate: Option<u32>,
    /// Length of each datagram, 26 to 65507 bytes; from 63 on, what is lost is told apart by direction
    #[arg(short, long, env = "LANDLINE_UDP_SIZE", default_value = "64", value_name = "SIZE", value_parser = args::size)]
    size: u64,
    #[arg(long, env = "LANDLINE_UDP_DSCP", value_name = "DSCP", value_parser = dscp, help = DSCP_HELP)]
    dscp: Option<u8>,
    /// Interface through which datagrams to a multicast group are sent
    #[arg(long, env = "LANDLINE_UDP_INTERFACE", value_name = "NAME")]
    interface: Option<String>,
    /// Find the largest packet that the path carries, without help of its routers
    #[arg(long, conflicts_with_all = ["sweep", "csv", "json_stream", "count", "rate"])]
    pmtu: bool,
    /// Find the highest rate without loss, with this long at each rate
    #[arg(long, value_name = "DURATION", value_parser = args::duration, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "1s", conflicts_with_all = ["csv", "json_stream", "count", "rate"])]
    sweep: Option<Duration>,
    #[command(flatten)]
    patience: WaitArgs,
    /// Time to wait for a server that is not there yet; 0: do not wait
    #[arg(long, env = "LANDLINE_UDP_WAIT", default_value = "10s", value_name = "DURATION", value_parser = args::duration)]
    wait: Duration,
    /// Write a line for each answer, and for each that is missing, to this file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Print a JSON object for each event, and one at the end
    #[arg(long, conflicts_with = "json")]
    json_stream: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// The highest rate: a core sends no more, and the time between two datagrams is measured in nanoseconds.
const RATE_MAX: i64 = 10_000_000;

const DSCP_HELP: &str = "Mark for the network's queues: 0 to 63, or a name such as ef, af41, cs5";

const EXAMPLES: &str = "\
Every datagram carries a sequence number, and each answer is compared with it byte for byte. The server \
has to echo, or to answer in capitals. A server of udp-echo also counts what arrives, and tells it in its \
answers: so losses, duplicates and changes of order are known for each direction. Where the kernel says \
when an answer arrived, the times do not include how long this program took to wake up. With -q only the \
summary is printed.

Examples:
  udp-echo ping localhost --count 5
  udp-echo ping 192.0.2.7:8088 --size 1024 --interval 200ms
  udp-echo ping localhost --rate 50000 --count 500000 -q --csv samples.csv
  udp-echo ping localhost --count 10000 --interval 0 --json
  udp-echo ping 192.0.2.7 --pmtu
  udp-echo ping 192.0.2.7 --sweep --size 1200

--pmtu sends packets that must not be fragmented, of which an answer says that they arrived (RFC 8899). \
--sweep doubles the rate until something is lost, halves the steps from there, and draws what was lost. \
Off loopback a server of udp-echo answers an address 1,000 times a second unless it was started with \
another --rate; what it withholds is shown, and counts as no loss.

If no server is there yet, it waits (--wait); counting begins when one is. A server that goes and comes \
back is counted with what was lost meanwhile.

Exit code 0 if an answer came, 1 if none did, 3 if no server is there. Ctrl-C prints the summary \
and ends with 0 if an answer came, else with 130.";

/// The last object of `--json-stream`.
#[derive(Debug, Serialize)]
struct Last {
    event: &'static str,
    #[serde(flatten)]
    report: Report,
}

pub(super) fn run(options: &Ping) -> Result<Exit> {
    let plan = plan(options)?;
    let stop = signals::stop_on_signals()?;
    let mut client = match open(options, &stop)? {
        Ok(client) => client,
        Err(_) if stop.is_triggered() => return Ok(Exit::Interrupted),
        Err(error) => return not_asked(error),
    };
    if let Some(dscp) = options.dscp {
        client.set_dscp(dscp).context("the datagrams cannot be marked")?;
    }
    if let Some(interface) = &options.interface {
        client.send_through(interface).context("cannot send through this interface")?;
    }
    if options.output.verbose {
        say_both_ends(&client);
    }
    if options.pmtu {
        let patience = Patience { timeout: plan.timeout, wait: plan.wait };
        return pmtu::run(&options.output, client, patience, &stop);
    }
    if let Some(step) = options.sweep {
        return sweep::run(&options.output, &mut client, SweepPlan { plan, step }, &stop);
    }
    measure(options, &mut client, plan, &stop)
}

fn measure(options: &Ping, client: &mut UdpClient, plan: PingPlan, stop: &Stop) -> Result<Exit> {
    let mut screen = Screen::new(lines(options), plan.size, plan.timeout);
    if let Some(path) = &options.csv {
        screen = screen.with_samples(path)?;
    }
    let mut run = Run::new(client, plan);
    let ended = run.run(stop, |event| screen.show(&event));
    screen.finish()?;
    let received = run.tally().counts.received;
    // Without a server there is nothing to sum up; a program gets its object all the same.
    if ended.is_ok() || received > 0 || options.output.json || options.json_stream {
        summary(options, Report::of(&run, plan.size))?;
    }
    match ended {
        Err(error) => not_asked(error),
        Ok(()) if received > 0 => Ok(Exit::Done),
        Ok(()) if stop.is_triggered() => Ok(Exit::Interrupted),
        Ok(()) => Ok(Exit::Failed),
    }
}

const fn lines(options: &Ping) -> Lines {
    match (options.json_stream, options.output.quiet || options.output.json) {
        (true, _) => Lines::Json,
        (false, true) => Lines::Nothing,
        (false, false) => Lines::Text,
    }
}

fn summary(options: &Ping, report: Report) -> Result<()> {
    if options.json_stream {
        return Ok(put_json(&Last { event: "summary", report })?);
    }
    if options.output.json {
        return Ok(put_json(&report)?);
    }
    Ok(tell(&report.text())?)
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
        interval: options.rate.map_or(options.interval, |rate| Duration::from_secs(1) / rate),
        size: size.ok_or_else(wrong)?,
        timeout: options.patience.timeout,
        wait: options.wait,
    })
}

/// A DSCP by number, or by the names of RFC 2474, 2597, 3246, 5865 and 8622.
fn dscp(text: &str) -> Result<u8, String> {
    let wrong = || "write a number from 0 to 63, or be, le, ef, va, cs0 to cs7, af11 to af43".to_owned();
    let word = text.to_ascii_lowercase();
    if let Ok(number) = word.parse::<u8>() {
        return if number < 64 { Ok(number) } else { Err(wrong()) };
    }
    let digit = |digit: char, range: std::ops::RangeInclusive<u32>| {
        digit.to_digit(10).filter(|digit| range.contains(digit)).and_then(|digit| u8::try_from(digit).ok())
    };
    match word.chars().collect::<Vec<_>>().as_slice() {
        ['b', 'e'] => Some(0),
        ['l', 'e'] => Some(1),
        ['e', 'f'] => Some(46),
        ['v', 'a'] => Some(44),
        ['c', 's', class] => digit(*class, 0..=7).map(|class| class * 8),
        ['a', 'f', class, drop] => {
            digit(*class, 1..=4).zip(digit(*drop, 1..=3)).map(|(class, drop)| class * 8 + drop * 2)
        }
        _ => None,
    }
    .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_have_names() {
        for (text, want) in [
            ("0", Some(0)),
            ("63", Some(63)),
            ("64", None),
            ("EF", Some(46)),   // RFC 3246
            ("va", Some(44)),   // RFC 5865
            ("le", Some(1)),    // RFC 8622
            ("cs5", Some(40)),  // RFC 2474
            ("af41", Some(34)), // RFC 2597
            ("AF13", Some(14)),
            ("af44", None),
            ("cs8", None),
            ("", None),
        ] {
            assert_eq!(dscp(text).ok(), want, "{text}");
        }
    }
}
