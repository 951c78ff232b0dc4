//! The datagrams that `ping` sends: a session, a sequence number, a time stamp, and known filling.
//!
//! ```text
//! PING 0BADCAFE 0000000000000001 00000000000F4240 123456789ABCDEFGHIJ...
//!      session  sequence number  nanoseconds      filling
//! ```
//!
//! All of it is printable and has no lower-case letter, so that a server that answers in capitals returns it unchanged,
//! and a server that decodes text accepts it.

use std::io::Write as _;

/// The shortest probe, in bytes: one without filling.
pub const PROBE_LEN_MIN: usize = 47;

const FILLING: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The content of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The run of the program that sent it: an earlier run may have had the same port.
    pub session: u32,
    /// Its sequence number: 1, 2, 3, ...
    pub sequence: u64,
    /// When it was sent, in nanoseconds after the run began.
    pub sent_ns: u64,
}

impl Probe {
    /// The bytes, `len` of them, at least [`PROBE_LEN_MIN`].
    pub fn encode(&self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        // Writing to memory cannot fail.
        drop(write!(bytes, "PING {:08X} {:016X} {:016X}", self.session, self.sequence, self.sent_ns));
        if len > bytes.len() {
            bytes.push(b' ');
        }
        // The filling starts at another character in every datagram, so that mixed-up datagrams are noticed.
        let start = usize::try_from(self.sequence % 36).unwrap_or(0);
        let missing = len.saturating_sub(bytes.len());
        bytes.extend(FILLING.iter().cycle().skip(start).take(missing));
        bytes
    }

    /// The content of a probe; `None`: `bytes` do not begin like one. To check the filling, compare with
    /// [`encode`](Self::encode).
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes.get(..PROBE_LEN_MIN)?).ok()?;
        let mut words = text.split(' ');
        if words.next() != Some("PING") {
            return None;
        }
        let session = u32::from_str_radix(words.next()?, 16).ok()?;
        let sequence = u64::from_str_radix(words.next()?, 16).ok()?;
        let sent_ns = u64::from_str_radix(words.next()?, 16).ok()?;
        Some(Self { session, sequence, sent_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_is_as_documented() {
        let probe = Probe { session: 0x0bad_cafe, sequence: 1, sent_ns: 1_000_000 };
        assert_eq!(probe.encode(52), b"PING 0BADCAFE 0000000000000001 00000000000F4240 1234");
        assert_eq!(probe.encode(PROBE_LEN_MIN).len(), PROBE_LEN_MIN);
        assert_eq!(Probe::decode(b"PING"), None);
        assert_eq!(Probe::decode(&[b'x'; 60]), None);
    }

    proptest! {
        #[test]
        fn it_comes_back_also_in_capitals(session: u32, sequence: u64, sent_ns: u64, len in PROBE_LEN_MIN..2000_usize) {
            let probe = Probe { session, sequence, sent_ns };
            let bytes = probe.encode(len);
            prop_assert_eq!(bytes.len(), len);
            prop_assert_eq!(Probe::decode(&bytes), Some(probe));
            prop_assert_eq!(bytes.to_ascii_uppercase(), bytes);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            Probe::decode(&bytes);
        }
    }
}
