//! What a test needs and a machine may not have. A test that is left out says so aloud.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The file to which `./test` has skips added, one a line.
const FILE: &str = "LANDLINE_TESTS_SKIPPED";

/// Tells why the running test, or a part of it, is left out: on standard error, past the test runner's capture, and
/// to the file that `./test` shows at its end.
pub(crate) fn skip(why: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let line = format!("{}: {why}\n", std::thread::current().name().unwrap_or("a test"));
    if !TOLD.lock().unwrap().insert(line.clone()) {
        return;
    }
    let _ = std::io::stderr().write_all(format!("SKIPPED {line}").as_bytes());
    if let Some(file) = std::env::var_os(FILE) {
        OpenOptions::new().append(true).create(true).open(file).unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// Whether the tests run as root; if not, `what` is told as left out.
pub(crate) fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip(&format!("{what} needs root"));
    }
    is_root
}

/// Whether `program`, asked for its version with `argument`, runs here; if not, that is told.
pub(crate) fn is_installed(program: &str, argument: &str) -> bool {
    let ran =
        Command::new(program).arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_installed = ran.is_ok_and(|status| status.success());
    if !is_installed {
        skip(&format!("{program} is not installed"));
    }
    is_installed
}

/// The address with which this machine would reach others; if it has none, that is told. Nothing is sent.
pub(crate) fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // For documentation (RFC 5737): nothing answers there.
    let address = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr()).map(|address| address.ip());
    let address = address.ok().filter(|address| !address.is_loopback() && !address.is_unspecified());
    if address.is_none() {
        skip("this machine has no address but loopback");
    }
    address
}
