//! Standard streams that were closed when the program started (`<&-`, `>&-`): using one is an error.
//!
//! Before `main` the standard library opens `/dev/null` in their place, so that no other file gets their numbers.
//! What was to be read or written would be lost, and look like success. So they are looked at before that.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Error, Result};

/// Bit 0: standard input was closed. Bit 1: standard output was.
static CLOSED: AtomicU8 = AtomicU8::new(0);

// Nothing of the standard library is set up yet: system calls and the store of a byte are all that is done here.
ctor_lite::ctor! {
    unsafe fn look() {
        let bit = |stream, bit| if rustix::io::fcntl_getfd(stream) == Err(rustix::io::Errno::BADF) { bit } else { 0_u8 };
        CLOSED.store(bit(rustix::stdio::stdin(), 1) | bit(rustix::stdio::stdout(), 2), Ordering::Relaxed);
    }
}

/// Whether standard input may be read.
///
/// # Errors
/// It was closed.
pub fn check_input() -> Result<()> {
    check(1, "standard input", "is closed; for an empty one: < /dev/null")
}

/// Whether standard output may be written.
///
/// # Errors
/// It was closed.
pub fn check_output() -> Result<()> {
    check(2, crate::cli::standard::STDOUT, "is closed; to discard the output: > /dev/null")
}

fn check(bit: u8, name: &str, why: &'static str) -> Result<()> {
    if CLOSED.load(Ordering::Relaxed) & bit == 0 {
        return Ok(());
    }
    Err(Error::ours(name)(io::Error::other(why)))
}
