//! The proof that both ends know the code, without revealing it. The only file that names spake2 and hmac. PROTOCOL.md
//! specifies the transcript for other languages.
//!
//! SPAKE2 gives both ends the same key if they use the same code, with both public keys as the ends' identities. An
//! eavesdropper learns nothing, and a man in the middle can try one code per exchange. The crate does not confirm that
//! the keys are the same, so each end then sends a MAC over what TLS exports for this one connection, both public keys,
//! and which end it is.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::Zeroizing;

use super::code::Code;
use super::identity::Fingerprint;

/// Label of the TLS exporter for the confirmation (RFC 8446, 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-landline-pair-1";

/// The two ends of a pairing; each names the other's part of the transcript too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Dials and types the code.
    Client,
    /// Shows the code and is dialled.
    Server,
}

impl Role {
    const fn word(self) -> &'static str {
        match self {
            Self::Client => "landline-pair-1 client",
            Self::Server => "landline-pair-1 server",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What the key exchange is bound to: this connection, as this end sees it.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// The key of the end that dialled.
    pub client: Fingerprint,
    /// The key of the end that answered.
    pub server: Fingerprint,
    /// What TLS exports under [`EXPORTER_LABEL`].
    pub exported: [u8; 32],
}

/// The other end's message is no point of the group, or came from the wrong end.
#[derive(Debug, thiserror::Error)]
#[error("the message is not one of SPAKE2's: {0}")]
pub struct NoElement(String);

/// A key exchange of which this end's message is made, and the other end's is awaited.
pub struct Exchange {
    state: Spake2<Ed25519Group>,
    role: Role,
    binding: Binding,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exchange({:?})", self.role)
    }
}

impl Exchange {
    /// Begins; returns what to send to the other end: 33 bytes.
    pub fn begin(role: Role, code: &Code, binding: Binding) -> (Self, Vec<u8>) {
        let named = |role: Role, key: &Fingerprint| Identity::new(&[role.word().as_bytes(), key.as_bytes()].concat());
        let client = named(Role::Client, &binding.client);
        let server = named(Role::Server, &binding.server);
        let password = Password::new(code.as_str());
        let (state, message) = match role {
            Role::Client => Spake2::start_a(&password, &client, &server),
            Role::Server => Spake2::start_b(&password, &client, &server),
        };
        (Self { state, role, binding }, message)
    }

    /// Takes the other end's message.
    ///
    /// # Errors
    /// It is not a SPAKE2 message of the other role.
    pub fn finish(self, message: &[u8]) -> Result<Confirmation, NoElement> {
        let key = self.state.finish(message).map_err(|error| NoElement(format!("{error:?}")))?;
        Ok(Confirmation { key: Zeroizing::new(key), role: self.role, binding: self.binding })
    }
}

/// Both messages were exchanged; whether the codes were the same is not known yet.
pub struct Confirmation {
    key: Zeroizing<Vec<u8>>,
    role: Role,
    binding: Binding,
}

impl std::fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Confirmation({:?})", self.role)
    }
}

impl Confirmation {
    /// This end's MAC, for the other: 32 bytes.
    pub fn mac(&self) -> [u8; 32] {
        self.mac_of(self.role).finalize().into_bytes().into()
    }

    /// Whether the other end's MAC is right: it knows the code, and there is no man in the middle. The comparison takes
    /// constant time.
    pub fn accepts(&self, mac: &[u8]) -> bool {
        self.mac_of(self.role.other()).verify_slice(mac).is_ok()
    }

    fn mac_of(&self, role: Role) -> Hmac<Sha256> {
        // HMAC takes keys of any length (RFC 2104, 2); this one has SPAKE2's 32 bytes.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap_or_else(|_| Hmac::new(&[0; 64].into()));
        mac.update(role.word().as_bytes());
        mac.update(&self.binding.exported);
        mac.update(self.binding.client.as_bytes());
        mac.update(self.binding.server.as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(server: &str, exported: u8) -> Binding {
        Binding {
            client: Fingerprint::of_spki(b"client"),
            server: Fingerprint::of_spki(server.as_bytes()),
            exported: [exported; 32],
        }
    }

    /// Whether each end accepts the other.
    fn pair(codes: [&str; 2], bindings: [Binding; 2]) -> (bool, bool) {
        let [a, b] = codes.map(|code| code.parse::<Code>().unwrap());
        let (client, to_server) = Exchange::begin(Role::Client, &a, bindings[0]);
        let (server, to_client) = Exchange::begin(Role::Server, &b, bindings[1]);
        assert_eq!((to_server.len(), to_client.len()), (33, 33));
        let (client, server) = (client.finish(&to_client).unwrap(), server.finish(&to_server).unwrap());
        (client.accepts(&server.mac()), server.accepts(&client.mac()))
    }

    #[test]
    fn only_the_same_code_on_the_same_connection_is_accepted() {
        let (good, other) = ("7-falcon-copper-lamp", "8-falcon-copper-lamp");
        let here = binding("server", 1);
        assert_eq!(pair([good, good], [here, here]), (true, true));
        assert_eq!(pair([good, other], [here, here]), (false, false));
        assert_eq!(pair([good, good], [here, binding("middle", 1)]), (false, false), "another key at one end");
        assert_eq!(pair([good, good], [here, binding("server", 2)]), (false, false), "another connection");
    }

    #[test]
    fn a_mac_is_no_answer_to_itself() {
        let code = "7-falcon-copper-lamp".parse().unwrap();
        let (client, to_server) = Exchange::begin(Role::Client, &code, binding("s", 0));
        let (server, to_client) = Exchange::begin(Role::Server, &code, binding("s", 0));
        let (client, server) = (client.finish(&to_client).unwrap(), server.finish(&to_server).unwrap());
        assert!(!client.accepts(&client.mac()), "a reflection");
        assert!(client.accepts(&server.mac()));
        assert!(!client.accepts(&server.mac()[..31]));
    }

    #[test]
    fn what_is_no_element_is_refused() {
        let code = "7-falcon-copper-lamp".parse().unwrap();
        let begin = || Exchange::begin(Role::Server, &code, binding("s", 0));
        let (_, own) = begin();
        for wrong in [&b""[..], b"A", &[0x41; 34], &own] {
            assert!(begin().0.finish(wrong).is_err(), "{wrong:?}");
        }
        // Every other y is no point of the curve (RFC 8032, 5.1.3).
        let point = |y: u8| [&b"A"[..], &[y], &[0; 31]].concat();
        assert!((2..40).any(|y| begin().0.finish(&point(y)).is_err()));
    }
}
