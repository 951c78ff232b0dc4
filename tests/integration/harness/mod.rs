//! What tests start and stand on: the real programs and their ends, clients and servers that speak frames by hand,
//! TLS that can be left in the middle, a proxy that cuts. They fail on anything unexpected. The only clock is the
//! deadline in here.

use std::thread;
use std::time::{Duration, Instant};

pub(crate) mod files;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod listen;
pub(crate) mod machine;
pub(crate) mod mounted;
pub(crate) mod nobody;
pub(crate) mod process;
pub(crate) mod proxy;
mod run;
mod server;
pub(crate) mod skip;
pub(crate) mod tls;

pub(crate) use process::wait;
pub(crate) use run::{Background, Run, at_a_terminal, command, own_home, program};
pub(crate) use server::Server;

/// No step of any test takes longer, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        // What is waited for needs the processor more than the question does.
        thread::sleep(PAUSE);
    }
}

/// How often a randomised test goes round: `few` times, and as many times that as `LANDLINE_TESTS_EFFORT` says;
/// `./test --all` says 4.
pub(crate) fn rounds(few: usize) -> usize {
    few * std::env::var("LANDLINE_TESTS_EFFORT").map_or(1, |effort| effort.parse::<usize>().unwrap())
}
