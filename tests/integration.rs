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

#[path = "integration/harness.rs"]
mod harness;

#[path = "integration/abuse.rs"]
mod abuse;
#[path = "integration/completion.rs"]
mod completion;
#[path = "integration/copies.rs"]
mod copies;
#[path = "integration/disk.rs"]
mod disk;
#[path = "integration/documents.rs"]
mod documents;
#[path = "integration/exec.rs"]
mod exec;
#[path = "integration/files.rs"]
mod files;
#[path = "integration/first_hour.rs"]
mod first_hour;
#[path = "integration/fuzz.rs"]
mod fuzz;
#[path = "integration/home_guard.rs"]
mod home_guard;
#[path = "integration/hostile.rs"]
mod hostile;
#[path = "integration/invariants.rs"]
mod invariants;
#[path = "integration/meet.rs"]
mod meet;
#[path = "integration/mirror.rs"]
mod mirror;
#[path = "integration/prompt.rs"]
mod prompt;
#[path = "integration/protocol.rs"]
mod protocol;
#[path = "integration/proxied.rs"]
mod proxied;
#[path = "integration/proxy.rs"]
mod proxy;
#[path = "integration/raw.rs"]
mod raw;
#[path = "integration/secure.rs"]
mod secure;
#[path = "integration/server.rs"]
mod server;
#[path = "integration/shown.rs"]
mod shown;
#[path = "integration/slips.rs"]
mod slips;
#[path = "integration/standard.rs"]
mod standard;
#[path = "integration/talk.rs"]
mod talk;
#[path = "integration/trees.rs"]
mod trees;
#[path = "integration/trust.rs"]
mod trust;
#[path = "integration/udp.rs"]
mod udp;
#[path = "integration/wires.rs"]
mod wires;
