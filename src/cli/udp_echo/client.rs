//! What the subcommands that send share.

use anyhow::Result;

use super::args::PROGRAM;
use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::udp::{ClientError, UdpClient};

/// What `-v` says first.
pub(super) fn say_both_ends(client: &UdpClient) {
    let own = client.local().map_or_else(|error| format!("unknown: {error}"), |own| own.to_string());
    say(PROGRAM, &format!("from {own} to {}", client.peer()));
}

/// A client's error: that no server is there is an outcome with an exit code of its own.
pub(super) fn not_asked(error: ClientError) -> Result<Exit> {
    if error.is_not_connected() {
        say(PROGRAM, &format!("{:#}", anyhow::Error::from(error)));
        return Ok(Exit::NotConnected);
    }
    Err(error.into())
}
