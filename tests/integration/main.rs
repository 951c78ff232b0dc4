//! The one integration target: the real programs, started on port 0, awaited by their ready line.
#![expect(clippy::disallowed_methods, reason = "tests start programs, and connect where the kernel answers at once")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    clippy::indexing_slicing,
    reason = "a test's helpers may end it"
)]

mod harness;

mod abuse;
mod chat;
mod completion;
mod copies;
mod disk;
mod documents;
mod echo;
mod exec;
mod files;
mod first_hour;
mod fuzz;
mod home_guard;
mod http;
mod invariants;
mod meet;
mod mirror;
mod prompt;
mod protocol;
mod proxy;
mod server;
mod shown;
mod slips;
mod standard;
mod strangers;
mod tokens;
mod trees;
mod trust;
mod tutorial;
mod udp;
