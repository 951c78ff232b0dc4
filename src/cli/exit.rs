//! The one table of exit codes.

use std::process::ExitCode;

use super::connect::Advised;
use super::signals::INT;
use super::usage::Usage;
use crate::client::{ConnectError, NotTrusted};
use crate::error::Error;
use crate::exec::process::signal_number;
use crate::http;
use crate::net::dial;
use crate::wire::message::Outcome;

/// How a program of ours ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: the other side refused, or the thing failed.
    Failed,
    /// 2: wrong usage (clap's own code too).
    Usage,
    /// 3: could not connect.
    NotConnected,
    /// 4: the connection was lost.
    ConnectionLost,
    /// 5: the other side is not trusted.
    NotTrusted,
    /// 130: Ctrl-C.
    Interrupted,
    /// The remote command's own code, from `rexec`.
    Command(u8),
}

impl Exit {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotConnected => 3,
            Self::ConnectionLost => 4,
            Self::NotTrusted => 5,
            Self::Interrupted => 130,
            Self::Command(code) => code,
        }
    }

    /// `rexec` shares its code with the remote command, so its own failures are 250 and the table's
    /// number; Ctrl-C and a command's code stay as they are.
    #[must_use]
    pub const fn beside_a_command(self) -> Self {
        match self {
            Self::Failed | Self::Usage | Self::NotConnected | Self::ConnectionLost | Self::NotTrusted => {
                Self::Command(250 + self.code())
            }
            Self::Done | Self::Interrupted | Self::Command(_) => self,
        }
    }

    /// The code of a program that has heard this signal.
    pub fn of_signal(signal: i32) -> Self {
        match u8::try_from(signal) {
            Ok(number) if signal != INT => Self::Command(number.saturating_add(128)),
            _ => Self::Interrupted,
        }
    }

    /// The code for an error, by the group it belongs to.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<Usage>().is_some() {
            return Self::Usage;
        }
        if error.downcast_ref::<NotTrusted>().is_some() {
            return Self::NotTrusted;
        }
        if error.downcast_ref::<dial::ConnectError>().is_some() {
            return Self::NotConnected;
        }
        if let Some(error) = error.downcast_ref::<http::client::Error>() {
            return Self::of_http_error(error);
        }
        let advised = error.downcast_ref::<Advised>().map(|advised| &advised.error);
        if let Some(error) = advised.or_else(|| error.downcast_ref::<ConnectError>()) {
            return Self::of_connect_error(error);
        }
        error.downcast_ref::<Error>().map_or(Self::Failed, Self::of_error)
    }

    /// The code for how a remote command ended.
    pub fn of_command(outcome: &Outcome<'_>) -> Self {
        Self::Command(match outcome {
            Outcome::Exited(0) => return Self::Done,
            // No process has another code than 1 to 255 (wait(2)); any other number is no success.
            Outcome::Exited(code) | Outcome::CouldNotStart { code, .. } => {
                u8::try_from(*code).ok().filter(|code| *code > 0).unwrap_or(u8::MAX)
            }
            // The server does not know, as with a connection that was lost.
            Outcome::Lost { .. } => Self::ConnectionLost.beside_a_command().code(),
            // As timeout(1) has it.
            Outcome::TimedOut => 124,
            Outcome::Killed(signal) => {
                let number = signal_number(signal).and_then(|number| u8::try_from(number).ok()).unwrap_or(0);
                number.saturating_add(128)
            }
        })
    }

    /// The code for what happened to a URL.
    pub const fn of_http_error(error: &http::client::Error) -> Self {
        use http::client::Error as E;
        match error {
            E::Url(_) | E::Usage(_) | E::Credentials(_) => Self::Usage,
            E::Connect(_) | E::Tls { .. } | E::Proxy { .. } => Self::NotConnected,
            E::NotTrusted { .. } => Self::NotTrusted,
            E::Head(_) | E::Lost { .. } | E::TimedOut { .. } => Self::ConnectionLost,
            E::Interrupted => Self::Interrupted,
            E::Status { .. }
            | E::Redirect(_)
            | E::Unexpected(_)
            | E::Coding { .. }
            | E::Digest { .. }
            | E::Ours { .. } => Self::Failed,
        }
    }

    fn of_connect_error(error: &ConnectError) -> Self {
        match error {
            ConnectError::NotTrusted(_) => Self::NotTrusted,
            ConnectError::Dial(_) => Self::NotConnected,
            ConnectError::Failed(error) => Self::of_error(error),
            _ => Self::Failed,
        }
    }

    /// The code for an error on a connection.
    pub fn of_error(error: &Error) -> Self {
        match error {
            Error::NotConnected(why) => why.downcast_ref().map_or(Self::NotConnected, Self::of_connect_error),
            Error::ConnectionLost(_) | Error::PeerMisbehaved(_) => Self::ConnectionLost,
            Error::Refused(_) | Error::Ours { .. } => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
