//! Why no connection came about, or not to the server that was meant.

use crate::error::Error;
use crate::net::address::AddressError;
use crate::net::dial;
use crate::trust::home::HomeError;
use crate::trust::hosts::ConfigError;
use crate::trust::identity::{Fingerprint, IdentityError};
use crate::trust::peers::PeersError;

/// No connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No stream came about: the name is unknown, nothing answers there, or what answers speaks something else.
    #[error(transparent)]
    Dial(#[from] dial::ConnectError),
    /// The server is not, or not surely, the one that was meant. Nothing was sent.
    #[error(transparent)]
    NotTrusted(Box<NotTrusted>),
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
    Peers(#[from] PeersError),
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

/// The other end is not, or not surely, the one that was meant. Nothing was sent to it.
#[derive(Debug, thiserror::Error)]
pub enum NotTrusted {
    /// It has another key than the one on record.
    #[error(
        "{host}: the key has changed, and nothing was sent. On record as {name} is {pinned}; this server has {offered}"
    )]
    Changed {
        /// As it was dialled.
        host: String,
        /// The same, as an argument for a command.
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
        /// As it was dialled.
        host: String,
        /// The same, as an argument for a command.
        dialled: String,
        /// The key that was offered.
        offered: Fingerprint,
    },
    /// The key that was compared is another one.
    #[error(
        "{host}: this server has {offered}, which is NOT the key that it was compared with: another machine may be in \
         between; nothing was sent"
    )]
    OtherKey {
        /// As it was dialled.
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
        /// As it was dialled.
        host: String,
        /// The same, as an argument for a command.
        dialled: String,
        /// The name on record.
        name: String,
    },
    /// The Unix socket belongs to another user.
    #[error("{host}: user id {user} serves there, and neither you (user id {own}) nor root; nothing was sent")]
    OtherUser {
        /// The socket.
        host: String,
        /// The user who serves there.
        user: u32,
        /// The user of this process.
        own: u32,
    },
    /// The pairing failed.
    #[error("{host}: not paired: {why}")]
    NotPaired {
        /// As it was dialled.
        host: String,
        /// Why.
        why: String,
    },
}
