//! Wrong usage: an error that says what to write instead.

/// The command line asks for something that makes no sense; says what would.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// An error for a command line that makes no sense.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// Turns the error of an argument into one of the command line.
pub fn as_usage(error: impl std::fmt::Display) -> anyhow::Error {
    usage(error.to_string())
}
