//! Argument groups that several programs share, and the parsers of their values.

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

pub use crate::net::address::DEFAULT_PORT;

/// How to connect.
#[derive(Debug, Clone, Args)]
pub struct ConnectArgs {
    /// Port to use where HOST names none
    #[arg(short, long, env = "LANDLINE_PORT", default_value_t = DEFAULT_PORT, value_name = "PORT")]
    pub port: u16,
    /// Time to connect, over all addresses of a name
    #[arg(long, env = "LANDLINE_CONNECT_TIMEOUT", default_value = "5s", value_name = "DURATION", value_parser = duration)]
    pub connect_timeout: Duration,
}

/// How much to print, and in which form.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Print one JSON object at the end instead of text
    #[arg(long)]
    pub json: bool,
    /// Print only errors on standard error
    #[arg(short, long)]
    pub quiet: bool,
    /// Print more on standard error, both addresses first
    #[arg(short, long)]
    pub verbose: bool,
}

/// Parses `1m30s`, `250ms`, `2h`; a bare number is seconds.
///
/// # Errors
/// The text is no duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 1m30s, 250ms or 10"))
}

/// Parses `10MiB`, `4k`, `65536`: bytes.
///
/// # Errors
/// The text is no size.
pub fn size(text: &str) -> Result<u64, String> {
    parse_size::parse_size(text).map_err(|error| format!("{error}; write it like 10MiB, 64KiB or 65536"))
}

/// Parses a rate: as [`size`], and not 0.
///
/// # Errors
/// The text is no size, or nothing would ever move.
pub fn rate(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("nothing would ever move; leave it out for no limit".to_owned()),
        rate => Ok(rate),
    }
}

/// Parses a number of things of which none would be none at all.
///
/// # Errors
/// The text is no number, or 0.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("begins at 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// Reads one of a few words, which `--help` lists.
pub fn one_of<T: Copy + Send + Sync + 'static>(
    words: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words.iter().map(|(word, _)| *word)).try_map(move |chosen| {
        words.iter().find_map(|(word, value)| (*word == chosen).then_some(*value)).ok_or("no such word")
    })
}
