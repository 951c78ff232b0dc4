//! Errors of connecting: the server was not reached, or is not trusted.

use crate::error::Error;
use crate::net::address::AddressError;
use crate::net::dial;
use crate::trust::home::HomeError;
use crate::trust::hosts::ConfigError;
use crate::trust::identity::{Fingerprint, IdentityError};
use crate::trust::list::ListError;

/// Connecting failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host is not a valid address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No stream came about: the name is unknown, nothing answers there, or what answers speaks something else.
    #[error(transparent)]
    Dial(#[from] dial::ConnectError),
    /// The server is not trusted: its key is not the expected one. Nothing was sent.
    #[error(transparent)]
    NotTrusted(Box<NotTrusted>),
    /// The host is written as one without encryption, which the caller does not allow.
    #[error("{host}: would not be encrypted, which is not allowed here")]
    Plain {
        /// As it was written.
        host: String,
    },
    /// The peer of this name was never dialled from here, so that its address is not known.
    #[error("{name}: this peer's address is not known; name its HOST")]
    NoAddress {
        /// Its name here.
        name: String,
    },
    /// The address on record for this name cannot be read.
    #[error("{name}: the address on record")]
    BadRecord {
        /// Its name here.
        name: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// This machine's key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The list of known peers cannot be used.
    #[error(transparent)]
    Peers(#[from] ListError),
    /// The list of hosts cannot be used.
    #[error(transparent)]
    Hosts(#[from] ConfigError),
    /// The server refused the connection, or it failed at once.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<NotTrusted> for ConnectError {
    fn from(error: NotTrusted) -> Self {
        Self::NotTrusted(Box::new(error))
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Failed(error) => error,
            other => Self::NotConnected(Box::new(other)),
        }
    }
}

/// The server is not trusted: it may not be the intended one. Nothing was sent to it.
#[derive(Debug, thiserror::Error)]
pub enum NotTrusted {
    /// It has another key than the one on record.
    #[error(
        "{host}: the key has changed, and nothing was sent. On record as {name} is {pinned}; this server has {offered}"
    )]
    Changed {
        /// The host as it was dialled.
        host: String,
        /// The same as `HOST:PORT`, as it is recorded.
        dialled: String,
        /// The name on record.
        name: String,
        /// The key on record.
        pinned: Fingerprint,
        /// The key that was offered.
        offered: Fingerprint,
    },
    /// Its key is not known here.
    #[error("{host}: unknown server with key {offered}, and nothing was sent")]
    Unknown {
        /// The host as it was dialled.
        host: String,
        /// The same as `HOST:PORT`, as it is recorded.
        dialled: String,
        /// The key that was offered.
        offered: Fingerprint,
    },
    /// Its key was compared, and is a different one.
    #[error(
        "{host}: this server has {offered}, which is NOT the key that it was compared with: another machine may be in \
         between; nothing was sent"
    )]
    OtherKey {
        /// The host as it was dialled.
        host: String,
        /// The key that was offered.
        offered: Fingerprint,
    },
    /// Its key is known under another name.
    #[error(
        "{host}: this server has the key of the known peer {name}, whose address on record is not this one, and nothing \
         was sent"
    )]
    OtherName {
        /// The host as it was dialled.
        host: String,
        /// The same as `HOST:PORT`, as it is recorded.
        dialled: String,
        /// The name on record.
        name: String,
    },
    /// The Unix socket belongs to another user.
    #[error("{host}: user id {user} serves there, and neither you (user id {own}) nor root; nothing was sent")]
    OtherUser {
        /// The socket.
        host: String,
        /// The id of the user that serves there.
        user: u32,
        /// The user id of this process.
        own: u32,
    },
    /// The pairing failed.
    #[error("{host}: not paired: {why}")]
    NotPaired {
        /// The host as it was dialled.
        host: String,
        /// The reason.
        why: String,
    },
}
