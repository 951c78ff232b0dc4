//! What tests start and stand on: the real programs and their ends, clients and servers that speak frames by hand,
//! TLS that can be left in the middle, a proxy that cuts. They fail on anything unexpected. The only clock is the
//! deadline in here.

use std::thread;
use std::time::{Duration, Instant};

pub(crate) mod frames;
pub(crate) mod process;
pub(crate) mod proxy;
mod run;
mod server;
pub(crate) mod tls;

pub(crate) use process::wait;
pub(crate) use run::{Background, Run, at_a_terminal, own_home, program};
pub(crate) use server::Server;

/// No step of any test takes longer, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// The address with which this machine would reach others, if it has one. Nothing is sent.
pub(crate) fn outer_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // For documentation (RFC 5737): nobody is there.
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::yield_now();
    }
}
