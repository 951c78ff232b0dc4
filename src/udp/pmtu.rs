//! The largest packet that a path carries, found by probes alone (RFC 8899): no router has to say anything, so it works
//! where ICMP is filtered. Which size is tried next is pure.

use std::io;
use std::time::{Duration, Instant};

use super::ping::session;
use super::probe::{COUNTED_LEN_MIN, Probe, Word};
use super::{Arrival, ClientError, DATAGRAM_LEN_MAX, Endpoint, Stop, UdpClient, receive_buffer};

/// Probes of one size after which it is taken for too large: `MAX_PROBES` of RFC 8899, 5.1.2.
pub const SIZE_PROBES_MAX: u32 = 3;

/// `BASE_PLPMTU` of RFC 8899, 5.1.2, in bytes.
const BASE: usize = 1_200;
/// MTUs that are common: one of them is likely the result.
const COMMON: [usize; 10] = [1_280, 1_400, 1_420, 1_452, 1_480, 1_492, 1_500, 4_352, 9_000, 65_535];
/// Length of a UDP header in bytes.
const UDP_HEADER_LEN: usize = 8;

/// The search for the largest packet size that arrives. `confirmed < too_large`.
#[derive(Debug, Clone)]
pub struct SizeSearch {
    min: usize,
    /// The largest size that has arrived.
    confirmed: Option<usize>,
    /// The smallest size that is known not to arrive.
    too_large: usize,
    /// The smallest size was tried too.
    is_hopeless: bool,
}

impl SizeSearch {
    /// A search among the sizes from `min` to `max`.
    pub const fn new(min: usize, max: usize) -> Self {
        Self { min, confirmed: None, too_large: max + 1, is_hopeless: false }
    }

    /// The size to try next; `None`: the search is over.
    pub fn next_size(&self) -> Option<usize> {
        let Some(confirmed) = self.confirmed else {
            // RFC 8899, 5.2: the base first; if even that is too large, the smallest.
            let base = if BASE < self.too_large { BASE } else { self.min };
            return (!self.is_hopeless).then_some(base.max(self.min));
        };
        let open = self.too_large - confirmed - 1;
        if open == 0 {
            return None;
        }
        let common: Vec<_> = COMMON.into_iter().filter(|size| *size > confirmed && *size < self.too_large).collect();
        match common.get(common.len() / 2) {
            Some(median) => Some(*median),
            // It is likely the result.
            None if COMMON.contains(&confirmed) => Some(confirmed + 1),
            None => Some(confirmed + open.div_ceil(2)),
        }
    }

    /// Takes note of whether a packet of `size` arrived.
    pub fn tried(&mut self, size: usize, has_arrived: bool) {
        if has_arrived {
            self.confirmed = self.confirmed.max(Some(size));
            self.too_large = self.too_large.max(size + 1);
        } else {
            self.too_large = self.too_large.min(size);
            self.is_hopeless |= self.confirmed.is_none() && size <= self.min;
        }
    }

    /// The largest size that has arrived; `None`: none has.
    pub const fn found(&self) -> Option<usize> {
        self.confirmed
    }
}

/// How one size fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeOutcome {
    /// It arrived, and the reply came.
    Arrived,
    /// No reply came to any of its probes.
    Silent,
    /// The kernel refused to send it, or a router said that it is too large.
    Told,
}

/// What was found out about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMtu {
    /// The largest packet that arrives, headers included, in bytes; `None`: not even the smallest probe does.
    pub mtu: Option<usize>,
    /// Bytes of IP and UDP headers in it.
    pub overhead: usize,
    /// Probes that were sent.
    pub probes: u64,
    /// Whether the server returned probes whole: then the result holds for both ways together.
    pub is_both_ways: bool,
}

/// Finds the MTU of the path to the server of `client`. A reply may take `timeout`. `see` is called after each size.
///
/// # Errors
/// The socket cannot forbid fragments, no program receives there, or another error of the operating system.
pub fn find(
    client: &mut UdpClient,
    timeout: Duration,
    stop: &Stop,
    see: &mut dyn FnMut(usize, SizeOutcome),
) -> Result<PathMtu, ClientError> {
    client.forbid_fragments()?;
    let overhead = UDP_HEADER_LEN
        + match client.peer() {
            Endpoint::Ip(address) if address.is_ipv6() => 40,
            _ => 20,
        };
    let mut search = SizeSearch::new(COUNTED_LEN_MIN + overhead, DATAGRAM_LEN_MAX + overhead);
    let mut path = Path { client, timeout, session: session(), sent: 0, is_both_ways: false };
    while let Some(size) = search.next_size() {
        let outcome = path.attempt(size - overhead, stop)?;
        if stop.is_triggered() {
            break;
        }
        search.tried(size, outcome == SizeOutcome::Arrived);
        see(size, outcome);
    }
    Ok(PathMtu { mtu: search.found(), overhead, probes: path.sent, is_both_ways: path.is_both_ways })
}

struct Path<'a> {
    client: &'a UdpClient,
    timeout: Duration,
    session: u32,
    sent: u64,
    is_both_ways: bool,
}

impl Path<'_> {
    fn attempt(&mut self, len: usize, stop: &Stop) -> Result<SizeOutcome, ClientError> {
        let (mut probe, mut buffer) = (Vec::new(), receive_buffer());
        for _ in 0..SIZE_PROBES_MAX {
            self.sent += 1;
            Probe { word: Word::Size, session: self.session, sequence: self.sent }.encode(len, &mut probe);
            match self.client.send(&probe) {
                Err(error) if is_too_long(&error) => return Ok(SizeOutcome::Told),
                other => other?,
            }
            let until = Instant::now() + self.timeout;
            while Instant::now() < until && !stop.is_triggered() {
                match self.client.receive(&mut buffer, Some(until), Some(stop)) {
                    Err(error) if is_too_long(&error) => return Ok(SizeOutcome::Told),
                    // A reply to an earlier probe of this size is as good.
                    Ok(Arrival::Datagram { len: came, .. }) if self.is_reply(&buffer[..came], &probe) => {
                        self.is_both_ways |= len > COUNTED_LEN_MIN && came == len;
                        return Ok(SizeOutcome::Arrived);
                    }
                    Ok(_) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(SizeOutcome::Silent)
    }

    fn is_reply(&self, came: &[u8], probe: &[u8]) -> bool {
        let is_ours = Probe::decode(came).is_some_and(|reply| reply.session == self.session);
        is_ours && (came.len() >= COUNTED_LEN_MIN && probe.starts_with(came))
    }
}

/// `EMSGSIZE`: from the kernel at once, or later because a router said it.
fn is_too_long(error: &ClientError) -> bool {
    let too_long = rustix::io::Errno::MSGSIZE.raw_os_error();
    matches!(error, ClientError::Failed { source, .. } if io::Error::raw_os_error(source) == Some(too_long))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sizes(mtu: usize) -> (Option<usize>, Vec<usize>) {
        let (mut search, mut tried) = (SizeSearch::new(91, 65_535), Vec::new());
        while let Some(size) = search.next_size() {
            search.tried(size, size <= mtu);
            tried.push(size);
        }
        (search.found(), tried)
    }

    #[test]
    fn a_common_mtu_is_found_with_few_sizes() {
        // RFC 8899, 5.2 begins with the base of 5.1.2.
        assert_eq!(sizes(1_500), (Some(1_500), vec![1_200, 1_492, 9_000, 4_352, 1_500, 1_501]));
        for mtu in COMMON {
            let (found, tried) = sizes(mtu);
            assert_eq!(found, Some(mtu));
            assert!(tried.len() <= 8, "{mtu}: {tried:?}");
        }
        assert_eq!(sizes(1_199).1[..2], [1_200, 91], "the smallest, where the base is too large");
        assert_eq!(sizes(90), (None, vec![1_200, 91]));
    }

    proptest! {
        #[test]
        fn any_mtu_is_found_in_the_end(mtu in 91..=65_535_usize) {
            let (found, tried) = sizes(mtu);
            prop_assert_eq!(found, Some(mtu));
            prop_assert!(tried.len() <= 24, "{:?}", tried);
        }
    }
}
