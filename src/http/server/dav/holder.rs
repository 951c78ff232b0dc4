//! Whose locks and properties they are.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::exchange::Exchange;
use super::super::intake;
use crate::fs::part::quota::is_guest;
use crate::trust::Peer;
use crate::trust::tokens::TokenId;

/// A peer or, of guests, an address: it has its own room for locks and properties, and a share of that of others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in super::super) struct Holder {
    /// As a text: a peer's key or token, or a guest's address.
    owner: Arc<str>,
    /// The link from which it came, if it is the session of one: all of these share one room.
    link: Option<TokenId>,
}

impl Holder {
    /// Who sends a request.
    pub(super) fn of(exchange: &Exchange<'_>) -> Self {
        let link = match exchange.session.peer {
            Peer::Token { link, .. } => link,
            _ => None,
        };
        Self { owner: intake::owner_of(exchange.session).0.into(), link }
    }

    /// Whether it is a guest or the session of a link: one person can be many of those.
    pub(super) fn is_passing(&self) -> bool {
        self.link.is_some() || is_guest(&self.owner)
    }

    /// Whether both are sessions of one link.
    pub(super) fn shares_link(&self, other: &Self) -> bool {
        self.link.is_some() && self.link == other.link
    }

    /// Whether it is a guest or one of `owners`.
    pub(in super::super) fn is_known(&self, owners: &HashSet<String>) -> bool {
        is_guest(&self.owner) || owners.contains(&*self.owner)
    }

    #[cfg(test)]
    pub(super) fn is_of_test(&self, name: &str) -> bool {
        *self == Self::from(name)
    }
}

/// `LINK/NAME` is the session NAME of a link.
#[cfg(test)]
impl From<&str> for Holder {
    fn from(text: &str) -> Self {
        let link = text.split_once('/').map(|(link, _)| TokenId::of(link.as_bytes()));
        Self { owner: text.into(), link }
    }
}
