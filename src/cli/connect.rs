//! From the HOST that a person wrote to a line.

use anyhow::Context as _;

use super::args::{Reach, Talk};
use super::say;
use crate::line::Line;
use crate::net::dial::dial;
use crate::net::{Address, Stream};

/// Connects to HOST.
///
/// # Errors
/// HOST is no address, or no connection came about.
pub fn stream(program: &str, host: &Address, reach: &Reach, talk: &Talk) -> anyhow::Result<Stream> {
    let address = host.clone().with_default_port(reach.port);
    let stream = dial(&address, reach.connect_timeout)?;
    if talk.verbose {
        say(program, &format!("connected from {} to {}", stream.local_address(), stream.peer_address()));
    }
    Ok(stream)
}

/// Connects to HOST and opens a line; its greeting leaves with the first request.
///
/// # Errors
/// As [`stream`].
pub fn line(program: &str, host: &Address, reach: &Reach, talk: &Talk) -> anyhow::Result<Line> {
    let stream = stream(program, host, reach, talk)?;
    let greeting = format!("{program}/{}", env!("CARGO_PKG_VERSION"));
    Line::open(stream, &greeting).context("the line could not be opened")
}
