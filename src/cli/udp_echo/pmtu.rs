//! `udp-echo ping --pmtu`.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::cli::args::OutputArgs;
use crate::cli::exit::Exit;
use crate::cli::output::{put_json, say, tell};
use crate::cli::udp_echo::args::PROGRAM;
use crate::cli::udp_echo::client::not_asked;
use crate::cli::udp_echo::screen::NOBODY_YET;
use crate::udp::ping::NOBODY_PAUSE;
use crate::udp::pmtu::{PathMtu, SIZE_PROBES_MAX, SizeOutcome, find};
use crate::udp::{ClientError, Stop, UdpClient};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    peer: String,
    /// `null`: not even the smallest packet arrived.
    mtu: Option<usize>,
    /// The longest datagram that fits into it.
    size: Option<usize>,
    probes: u64,
    both_ways: bool,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the reply to a probe.
    pub(super) timeout: Duration,
    /// For a server that is not there yet.
    pub(super) wait: Duration,
}

pub(super) fn run(output: &OutputArgs, mut client: UdpClient, patience: Patience, stop: &Stop) -> Result<Exit> {
    if client.peer().ip().is_none() || client.peer().is_group() {
        bail!("{}: only a path to one IP address has an MTU", client.peer());
    }
    let mut see = |size: usize, outcome: SizeOutcome| {
        if output.verbose {
            let outcome = match outcome {
                SizeOutcome::Arrived => "arrived".to_owned(),
                SizeOutcome::Silent => format!("no answer to {SIZE_PROBES_MAX} probes"),
                SizeOutcome::Told => "too large for an interface or a router, which said so".to_owned(),
            };
            say(PROGRAM, &format!("{size} bytes: {outcome}"));
        }
    };
    let (started, mut was_said) = (Instant::now(), false);
    let found = loop {
        match find(&mut client, patience.timeout, stop, &mut see) {
            Err(ClientError::Refused { .. }) if client.next_address() => {}
            Err(ClientError::Refused { .. }) if started.elapsed() < patience.wait && !stop.is_triggered() => {
                if !std::mem::replace(&mut was_said, true) {
                    say(PROGRAM, NOBODY_YET);
                }
                client.start_over();
                stop.wait(NOBODY_PAUSE)?;
            }
            Err(error) => return not_asked(error),
            Ok(found) => break found,
        }
    };
    report(output, &client, found)?;
    Ok(match found.mtu {
        _ if stop.is_triggered() => Exit::Interrupted,
        Some(_) => Exit::Done,
        None => Exit::Failed,
    })
}

fn report(output: &OutputArgs, client: &UdpClient, found: PathMtu) -> Result<()> {
    let PathMtu { mtu, overhead, probes, is_both_ways } = found;
    let peer = client.peer().to_string();
    let size = mtu.map(|mtu| mtu - overhead);
    if output.json {
        return Ok(put_json(&Report { peer, mtu, size, probes, both_ways: is_both_ways })?);
    }
    let text = match (mtu, size) {
        (Some(mtu), Some(size)) => {
            let ways = if is_both_ways {
                "there and back, since this server returns all of a probe"
            } else {
                "on the way there"
            };
            format!(
                "{peer}: packets of {mtu} bytes arrive, {ways}; a datagram of {size} bytes fits ({probes} probes)\n"
            )
        }
        _ => format!("{peer}: no answer to any probe, not even to the smallest ({probes} probes)\n"),
    };
    Ok(tell(&text)?)
}
