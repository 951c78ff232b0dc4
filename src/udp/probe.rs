//! The datagrams of a measurement: what is wanted, a session, a sequence number, room for the server's counts, and known
//! filling.
//!
//! ```text
//! PING 0BADCAFE 000000000001 000000000000000000000000000000000000 123456789ABCDEFGHIJ...
//! word session  sequence     counts, filled in by the server      filling
//! ```
//!
//! All of it is printable and has no lower-case letter, so that a server that answers in capitals returns it unchanged,
//! and a server that decodes text accepts it. A server that only echoes leaves the counts as they are: zeros.

use std::io::Write as _;
use std::ops::Range;

/// The shortest probe, in bytes: one without room for counts and without filling.
pub const PROBE_LEN_MIN: usize = 26;

/// The shortest probe in which a server can tell its counts, in bytes.
pub const COUNTED_LEN_MIN: usize = COUNTS.end;

/// The highest sequence number: it has 12 hexadecimal digits.
pub const SEQUENCE_MAX: u64 = 0xffff_ffff_ffff;

const SESSION: Range<usize> = 5..13;
const SEQUENCE: Range<usize> = 14..PROBE_LEN_MIN;
const COUNTS: Range<usize> = 27..63;
/// The digits of a count.
const COUNT_LEN: usize = 8;
const FILLING: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What a probe asks a server of ours for. Any other server returns it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// `PING`: count it, and return all of it.
    Ping,
    /// `SIZE`: return only its beginning, so that the size of the reply does not matter.
    Size,
    /// `TELL`: return it with the counts of its session, and do not count it.
    Tell,
}

impl Word {
    const fn text(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Size => "SIZE",
            Self::Tell => "TELL",
        }
    }
}

/// The content of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// What is wanted.
    pub word: Word,
    /// The run of the program that sent it: an earlier run may have had the same port.
    pub session: u32,
    /// Its sequence number, at most [`SEQUENCE_MAX`]: 1, 2, 3, ...
    pub sequence: u64,
}

/// What a server has counted for one session. The counts begin again at 0 after 2^32 - 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Which counting this is: another one after a restart of the server. Never 0.
    pub epoch: u16,
    /// Probes that arrived, duplicates among them.
    pub arrived: u32,
    /// Different probes among them.
    pub distinct: u32,
    /// Probes that arrived after one with a higher number (RFC 4737, 3.3).
    pub reordered: u32,
    /// The number of this reply: 1, 2, 3, ... In the reply to `TELL`, the number of the last one.
    pub replies: u32,
}

/// What stands in the room for counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountsRoom {
    /// The probe is too short to have it.
    Missing,
    /// It is free: this is a request.
    Free,
    /// A server has told its counts: this is an answer.
    Filled(ServerCounts),
}

impl Probe {
    /// Writes the probe to `bytes`: `len` of them, at least [`PROBE_LEN_MIN`].
    pub fn encode(&self, len: usize, bytes: &mut Vec<u8>) {
        bytes.clear();
        let sequence = self.sequence & SEQUENCE_MAX;
        // Writing to memory cannot fail.
        drop(write!(bytes, "{} {:08X} {sequence:012X}", self.word.text(), self.session));
        if len >= COUNTED_LEN_MIN {
            bytes.push(b' ');
            bytes.resize(COUNTS.end, b'0');
        }
        if len > bytes.len() {
            bytes.push(b' ');
        }
        // The filling starts at another character in every datagram, so that mixed-up datagrams are noticed.
        let start = usize::try_from(sequence % 36).unwrap_or(0);
        if let Some(first) = FILLING.get(start..) {
            bytes.extend(first.iter().take(len.saturating_sub(bytes.len())));
        }
        while bytes.len() < len {
            bytes.extend(FILLING.iter().take(len - bytes.len()));
        }
    }

    /// The content of a probe; `None`: `bytes` do not begin like one. To check the filling, use
    /// [`is_answered_by`].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let word = match bytes.get(..SESSION.start)? {
            b"PING " => Word::Ping,
            b"SIZE " => Word::Size,
            b"TELL " => Word::Tell,
            _ => return None,
        };
        let has_spaces =
            bytes.get(SESSION.end) == Some(&b' ') && bytes.get(SEQUENCE.end).is_none_or(|byte| *byte == b' ');
        let (session, sequence) = (number(bytes.get(SESSION)?)?, number(bytes.get(SEQUENCE)?)?);
        has_spaces.then_some(Self { word, session: u32::try_from(session).ok()?, sequence })
    }
}

impl ServerCounts {
    /// Writes the counts into the room of a probe; a probe without room stays as it is.
    pub fn write(&self, probe: &mut [u8]) {
        let Some(mut room) = probe.get_mut(COUNTS) else { return };
        let Self { epoch, arrived, distinct, reordered, replies } = self;
        // It has just the length of the room.
        drop(write!(room, "{epoch:04X}{arrived:08X}{distinct:08X}{reordered:08X}{replies:08X}"));
    }
}

impl CountsRoom {
    /// What stands in the room of a probe.
    pub fn of(probe: &[u8]) -> Self {
        let Some(room) = probe.get(COUNTS) else { return Self::Missing };
        if room.iter().all(|byte| *byte == b'0') {
            return Self::Free;
        }
        Self::counts(room).map_or(Self::Missing, Self::Filled)
    }

    fn counts(room: &[u8]) -> Option<ServerCounts> {
        let (epoch, rest) = room.split_at_checked(room.len() % COUNT_LEN)?;
        let epoch = u16::try_from(number(epoch)?).ok().filter(|epoch| *epoch != 0)?;
        let mut counts = rest.chunks(COUNT_LEN).map(|count| u32::try_from(number(count)?).ok());
        let mut count = || counts.next()?;
        Some(ServerCounts { epoch, arrived: count()?, distinct: count()?, reordered: count()?, replies: count()? })
    }
}

/// Whether `came` is the probe `sent` as a server returns it: whole, and changed at most in the room for counts.
pub fn is_answered_by(sent: &[u8], came: &[u8]) -> bool {
    if sent.len() != came.len() {
        return false;
    }
    if sent.len() < COUNTED_LEN_MIN || CountsRoom::of(came) == CountsRoom::Missing {
        return sent == came;
    }
    let (Some((sent_head, sent_rest)), Some((head, rest))) =
        (sent.split_at_checked(COUNTS.start), came.split_at_checked(COUNTS.start))
    else {
        return false;
    };
    sent_head == head && sent_rest.get(COUNTS.len()..) == rest.get(COUNTS.len()..)
}

/// A number in capital hexadecimal digits.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(probe: Probe, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        probe.encode(len, &mut bytes);
        bytes
    }

    #[test]
    fn the_text_is_as_documented() {
        let probe = Probe { word: Word::Ping, session: 0x0bad_cafe, sequence: 1 };
        let text = b"PING 0BADCAFE 000000000001 000000000000000000000000000000000000 1234";
        assert_eq!(encoded(probe, 68), text);
        assert_eq!(encoded(probe, 30), b"PING 0BADCAFE 000000000001 123");
        assert_eq!(encoded(probe, PROBE_LEN_MIN), b"PING 0BADCAFE 000000000001");
        assert_eq!(Probe::decode(b"PING"), None);
        assert_eq!(Probe::decode(&[b'x'; 60]), None);
        let mut answer = text.to_vec();
        ServerCounts { epoch: 0xabc, arrived: 3, distinct: 2, reordered: 1, replies: 0x10 }.write(&mut answer);
        assert_eq!(answer, b"PING 0BADCAFE 000000000001 0ABC00000003000000020000000100000010 1234");
        let mut short = encoded(probe, 30);
        ServerCounts::default().write(&mut short);
        assert_eq!(short, encoded(probe, 30), "there is no room");
    }

    #[test]
    fn an_answer_is_told_from_what_was_changed_on_the_way() {
        let probe = Probe { word: Word::Ping, session: 7, sequence: 8 };
        let sent = encoded(probe, 80);
        let mut answer = sent.clone();
        assert_eq!(CountsRoom::of(&answer), CountsRoom::Free);
        assert!(is_answered_by(&sent, &answer));
        let counts = ServerCounts { epoch: 1, arrived: 2, ..ServerCounts::default() };
        counts.write(&mut answer);
        assert_eq!(CountsRoom::of(&answer), CountsRoom::Filled(counts));
        assert!(is_answered_by(&sent, &answer));
        for at in 0..answer.len() {
            let mut changed = answer.clone();
            changed[at] ^= 0x40;
            assert!(!is_answered_by(&sent, &changed), "{at}");
        }
        assert!(!is_answered_by(&sent, &answer[..79]));
    }

    proptest! {
        #[test]
        fn it_comes_back_also_in_capitals(session: u32, sequence in 0..=SEQUENCE_MAX, len in PROBE_LEN_MIN..2000_usize) {
            for word in [Word::Ping, Word::Size, Word::Tell] {
                let probe = Probe { word, session, sequence };
                let bytes = encoded(probe, len);
                prop_assert_eq!(bytes.len(), len);
                prop_assert_eq!(Probe::decode(&bytes), Some(probe));
                prop_assert_eq!(bytes.to_ascii_uppercase(), bytes);
            }
        }

        #[test]
        fn counts_come_back(epoch in 1_u16.., arrived: u32, distinct: u32, reordered: u32, replies: u32) {
            let counts = ServerCounts { epoch, arrived, distinct, reordered, replies };
            let mut bytes = encoded(Probe { word: Word::Tell, session: 1, sequence: 2 }, COUNTED_LEN_MIN);
            counts.write(&mut bytes);
            prop_assert_eq!(CountsRoom::of(&bytes), CountsRoom::Filled(counts));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            Probe::decode(&bytes);
            CountsRoom::of(&bytes);
            let mut probe = b"PING 0BADCAFE 000000000001 ".to_vec();
            probe.extend(bytes);
            Probe::decode(&probe);
            CountsRoom::of(&probe);
        }
    }
}
