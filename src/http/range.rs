//! Ranges of bytes (RFC 9110, 14): which parts of a file a `Range` field means.

use std::cmp::Ordering;

use ::http::header::{HeaderMap, RANGE};

/// Most ranges of one request, satisfiable or not; with more of them the field is ignored.
pub const RANGES_MAX: usize = 256;
/// Most parts that are sent exactly as they were requested; when there are more, small gaps between them are sent too.
pub const EXACT_PARTS_MAX: usize = 16;
/// Length in bytes of a gap from which on it costs more than the head of one more part (RFC 9110, 15.3.7.2).
const GAP_LEN_MIN: u64 = 80;

/// What of a file a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// 200: all of it. There is no `Range`, or it is ignored (RFC 9110, 14.2).
    Whole,
    /// 416: no range of the field is within the file.
    Unsatisfiable,
    /// 206: at least one part. None overlap or touch; their order is that of the request.
    Parts(Vec<ByteRange>),
}

/// A part of a file, both ends included: `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of its first byte.
    pub first: u64,
    /// Offset of its last byte.
    pub last: u64,
}

impl ByteRange {
    /// Length in bytes; at least 1.
    pub fn size(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// The value of `Content-Range` for this part of a file of `len` bytes (RFC 9110, 14.4).
    pub fn content_range(&self, len: u64) -> String {
        format!("bytes {}-{}/{len}", self.first, self.last)
    }
}

/// The value of `Content-Range` with status 416 for a file of `len` bytes (RFC 9110, 14.4).
pub fn unsatisfied_range(len: u64) -> String {
    format!("bytes */{len}")
}

impl Ranges {
    /// What the `Range` of a GET means for a file of `len` bytes. Whether the field holds at all is for `If-Range` to
    /// say, and with any other method it is ignored (RFC 9110, 14.2).
    ///
    /// A field that comes twice, has another unit, breaks the grammar or names more than [`RANGES_MAX`] ranges is
    /// ignored.
    pub fn requested(headers: &HeaderMap, len: u64) -> Self {
        let mut lines = headers.get_all(RANGE).iter();
        match (lines.next(), lines.next()) {
            (Some(value), None) => Self::of(value.as_bytes(), len).unwrap_or(Self::Whole),
            _ => Self::Whole,
        }
    }

    /// `None`: the field is ignored.
    fn of(value: &[u8], len: u64) -> Option<Self> {
        let at = value.iter().position(|byte| *byte == b'=')?;
        let (unit, set) = value.split_at(at);
        // Names of units are case-insensitive (14.1).
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let specs = set.split_at(1).1.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let mut parts = Vec::new();
        let mut count = 0;
        // Elements of a list may be empty (5.6.1.2); `count` keeps them from being all.
        for spec in specs.filter(|spec| !spec.is_empty()) {
            count += 1;
            if count > RANGES_MAX {
                return None;
            }
            match Spec::parse(spec)?.of_file(len) {
                Selection::Part(part) => parts.push(part),
                Selection::Nothing => {}
                Selection::AllOfEmpty => return None,
            }
        }
        match (count, parts.is_empty()) {
            (0, _) => None,
            (_, true) => Some(Self::Unsatisfiable),
            (_, false) => Some(Self::Parts(coalesced(parts))),
        }
    }
}

/// One range as it was requested; the numbers are digits, of any length.
enum Spec<'h> {
    From(&'h [u8]),
    FromTo(&'h [u8], &'h [u8]),
    Suffix(&'h [u8]),
}

enum Selection {
    Part(ByteRange),
    /// It is unsatisfiable.
    Nothing,
    /// The end of an empty file: satisfiable (14.1.2), but no `Content-Range` can say so.
    AllOfEmpty,
}

impl<'h> Spec<'h> {
    /// `None` if it breaks the grammar, or ends before it begins (14.1.1).
    fn parse(spec: &'h [u8]) -> Option<Self> {
        let at = spec.iter().position(|byte| *byte == b'-')?;
        let (first, from_dash) = spec.split_at(at);
        let last = from_dash.split_at(1).1;
        if !first.iter().chain(last).all(u8::is_ascii_digit) {
            return None;
        }
        match (first, last) {
            ([], []) => None,
            ([], suffix) => Some(Self::Suffix(suffix)),
            (first, []) => Some(Self::From(first)),
            (first, last) => (compared(first, last) != Ordering::Greater).then_some(Self::FromTo(first, last)),
        }
    }

    /// What it means for a file of `len` bytes (14.1.2).
    fn of_file(&self, len: u64) -> Selection {
        let (first, last) = match self {
            Self::From(first) => (number(first), u64::MAX),
            Self::FromTo(first, last) => (number(first), number(last)),
            Self::Suffix(suffix) => match (number(suffix), len) {
                (0, _) => return Selection::Nothing,
                (_, 0) => return Selection::AllOfEmpty,
                (suffix, _) => (len.saturating_sub(suffix), u64::MAX),
            },
        };
        // A number that is too large for a `u64` is as large as can be, which no offset is.
        if first >= len { Selection::Nothing } else { Selection::Part(ByteRange { first, last: last.min(len - 1) }) }
    }
}

/// The value of `digits`; at most `u64::MAX`.
fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit.wrapping_sub(b'0'))))
}

/// Compares numbers of any length.
fn compared(left: &[u8], right: &[u8]) -> Ordering {
    let zeros = |digits: &[u8]| digits.iter().take_while(|digit| **digit == b'0').count();
    let (left, right) = (left.split_at(zeros(left)).1, right.split_at(zeros(right)).1);
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// Joins what overlaps or touches, and, if many parts are left, what small gaps separate. A joined part stands where
/// the first of its ranges stood (15.3.7.2).
fn coalesced(parts: Vec<ByteRange>) -> Vec<ByteRange> {
    let exact = joined(parts.into_iter().enumerate().collect(), 0);
    let mut joined = if exact.len() > EXACT_PARTS_MAX { joined(exact, GAP_LEN_MIN - 1) } else { exact };
    joined.sort_unstable_by_key(|(at, _)| *at);
    joined.into_iter().map(|(_, part)| part).collect()
}

/// Joins parts, each with its place in the request, that at most `gap` bytes separate.
fn joined(mut parts: Vec<(usize, ByteRange)>, gap: u64) -> Vec<(usize, ByteRange)> {
    parts.sort_unstable_by_key(|(_, part)| part.first);
    let mut joined: Vec<(usize, ByteRange)> = Vec::with_capacity(parts.len());
    for (at, part) in parts {
        match joined.last_mut() {
            Some((first_at, before)) if part.first <= before.last.saturating_add(gap).saturating_add(1) => {
                before.last = before.last.max(part.last);
                *first_at = at.min(*first_at);
            }
            _ => joined.push((at, part)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn requested(value: &str, len: u64) -> Ranges {
        let mut headers = HeaderMap::new();
        headers.append(RANGE, HeaderValue::from_str(value).unwrap());
        Ranges::requested(&headers, len)
    }

    fn parts(parts: &[(u64, u64)]) -> Ranges {
        Ranges::Parts(parts.iter().map(|&(first, last)| ByteRange { first, last }).collect())
    }

    #[test]
    fn a_field_means_these_parts_of_10_000_bytes() {
        let huge = "184467440737095516150";
        for (clause, value, want) in [
            ("14.1.2: the first 500 bytes", "bytes=0-499", parts(&[(0, 499)])),
            ("14.1.2: the second 500 bytes", "bytes=500-999", parts(&[(500, 999)])),
            ("14.1.2: the final 500 bytes", "bytes=-500", parts(&[(9500, 9999)])),
            ("14.1.2: the final 500 bytes, otherwise", "bytes=9500-", parts(&[(9500, 9999)])),
            ("14.1.2: the first and last bytes", "bytes=0-0,-1", parts(&[(0, 0), (9999, 9999)])),
            (
                "14.1.2: first, middle and last 1000",
                "bytes= 0-999, 4500-5499, -1000",
                parts(&[(0, 999), (4500, 5499), (9000, 9999)]),
            ),
            ("14.1.2: the second 500, in two", "bytes=500-600,601-999", parts(&[(500, 999)])),
            ("14.1.2: the second 500, overlapping", "bytes=500-700,601-999", parts(&[(500, 999)])),
            ("14.1.2: one byte", "bytes=0-0", parts(&[(0, 0)])),
            ("14.1.2: the last byte", "bytes=9999-9999", parts(&[(9999, 9999)])),
            ("14.1.2: all of it is still a range", "bytes=0-", parts(&[(0, 9999)])),
            ("14.1.2: last-pos beyond the end is clamped", "bytes=9990-10000", parts(&[(9990, 9999)])),
            ("14.1.2: last-pos beyond any number", &format!("bytes=1-{huge}"), parts(&[(1, 9999)])),
            ("14.1.2: first-pos at the end is unsatisfiable", "bytes=10000-", Ranges::Unsatisfiable),
            ("14.1.2: first-pos beyond any number", &format!("bytes={huge}-"), Ranges::Unsatisfiable),
            ("14.1.2: both beyond any number", &format!("bytes={huge}-{huge}"), Ranges::Unsatisfiable),
            ("14.1.2: a suffix of nothing is unsatisfiable", "bytes=-0", Ranges::Unsatisfiable),
            ("14.1.2: a suffix longer than the file", "bytes=-10001", parts(&[(0, 9999)])),
            ("14.1.2: a suffix longer than any number", &format!("bytes=-{huge}"), parts(&[(0, 9999)])),
            ("14.1.2: leading zeros", "bytes=007-0000000000000000000000009", parts(&[(7, 9)])),
            ("15.3.7.2: what is unsatisfiable is left out", "bytes=10000-,5-6,-0", parts(&[(5, 6)])),
            ("15.5.17: none is satisfiable", "bytes=10000-,-0,20000-20001", Ranges::Unsatisfiable),
            ("14.1.1: an end before its beginning is invalid", "bytes=5-4", Ranges::Whole),
            ("14.1.1: the same, beyond any number", &format!("bytes={huge}-18446744073709551615"), Ranges::Whole),
            ("14.1.1: one invalid range spoils the field", "bytes=0-1,5-4", Ranges::Whole),
            ("14.1.1: a range has a dash", "bytes=5", Ranges::Whole),
            ("14.1.1: a range has a number", "bytes=-", Ranges::Whole),
            ("14.1.1: a number has digits only", "bytes=+0-5", Ranges::Whole),
            ("14.1.1: a number is decimal", "bytes=0x0-0x5", Ranges::Whole),
            ("14.1.1: no blank within a range", "bytes=0 - 5", Ranges::Whole),
            ("14.1.1: no negative last-pos", "bytes=0--5", Ranges::Whole),
            ("14.1.1: there is at least one range", "bytes=", Ranges::Whole),
            ("5.6.1.2: empty elements alone are none", "bytes=,,", Ranges::Whole),
            ("5.6.1.2: empty elements are ignored", "bytes=,0-0 ,, -1,", parts(&[(0, 0), (9999, 9999)])),
            ("14.1: names of units are case-insensitive", "BYTES=0-0", parts(&[(0, 0)])),
            ("14.2: an unknown unit is ignored", "lines=0-5", Ranges::Whole),
            ("14.1.1: no blank in front of the equals sign", "bytes =0-5", Ranges::Whole),
            ("14.2: no unit", "0-5", Ranges::Whole),
            (
                "15.3.7.2: the order is that of the request",
                "bytes=-1,0-0,50-59",
                parts(&[(9999, 9999), (0, 0), (50, 59)]),
            ),
            (
                "15.3.7.2: what is joined stands where its first was",
                "bytes=90-99,0-9,95-110",
                parts(&[(90, 110), (0, 9)]),
            ),
            ("14.2: the same range many times", &format!("bytes={}0-", "0-,".repeat(200)), parts(&[(0, 9999)])),
        ] {
            assert_eq!(requested(value, 10_000), want, "RFC 9110, {clause}: {value}");
        }
    }

    #[test]
    fn an_empty_file_has_no_range() {
        for (clause, value, want) in [
            ("14.1.2: no first byte", "bytes=0-0", Ranges::Unsatisfiable),
            ("14.1.2: no first byte, open end", "bytes=0-", Ranges::Unsatisfiable),
            ("14.1.2: a suffix of nothing", "bytes=-0", Ranges::Unsatisfiable),
            ("14.1.2: a suffix is all that there is", "bytes=-5", Ranges::Whole),
        ] {
            assert_eq!(requested(value, 0), want, "RFC 9110, {clause}: {value}");
        }
    }

    #[test]
    fn many_ranges_are_joined_or_ignored() {
        let every =
            |step: u64, count: u64| (0..count).map(|at| format!("{0}-{0}", at * step)).collect::<Vec<_>>().join(",");
        let requested = |step, count: usize| requested(&format!("bytes={}", every(step, count as u64)), 1 << 40);
        let count = |ranges: Ranges| if let Ranges::Parts(parts) = ranges { parts.len() } else { 0 };
        assert_eq!(count(requested(2, EXACT_PARTS_MAX)), EXACT_PARTS_MAX, "few are sent as they are");
        assert_eq!(requested(2, EXACT_PARTS_MAX + 1), parts(&[(0, 32)]), "RFC 9110, 15.3.7.2: small gaps are sent");
        assert_eq!(requested(GAP_LEN_MIN, RANGES_MAX), parts(&[(0, GAP_LEN_MIN * 255)]));
        assert_eq!(count(requested(GAP_LEN_MIN + 1, RANGES_MAX)), RANGES_MAX, "large gaps are not");
        assert_eq!(requested(1000, RANGES_MAX + 1), Ranges::Whole, "RFC 9110, 14.2: too many are ignored");
    }

    #[test]
    fn a_field_comes_once_or_is_ignored() {
        let mut headers = HeaderMap::new();
        assert_eq!(Ranges::requested(&headers, 100), Ranges::Whole, "RFC 9110, 14.2: none");
        headers.append(RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.append(RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(Ranges::requested(&headers, 100), Ranges::Whole, "RFC 9110, 5.3: it is no list");
    }

    #[test]
    fn a_part_says_where_it_is() {
        let part = ByteRange { first: 42, last: 1233 };
        assert_eq!(part.content_range(1234), "bytes 42-1233/1234", "RFC 9110, 14.4");
        assert_eq!(part.size(), 1192);
        assert_eq!(unsatisfied_range(1234), "bytes */1234", "RFC 9110, 14.4");
    }

    /// A range within or near a file of 300 bytes, as it is written and as the bytes that it means.
    fn spec() -> impl Strategy<Value = (String, BTreeSet<u64>)> {
        let bytes = |first: u64, last: u64| (first..=last).filter(|at| *at < 300).collect::<BTreeSet<_>>();
        prop_oneof![
            (0..320_u64, 0..40_u64)
                .prop_map(move |(first, more)| (format!("{first}-{}", first + more), bytes(first, first + more))),
            (280..320_u64).prop_map(move |first| (format!("{first}-"), bytes(first, 300))),
            (0..20_u64).prop_map(move |suffix| (format!("-{suffix}"), bytes(300 - suffix, 300))),
        ]
    }

    proptest! {
        #[test]
        fn the_parts_are_the_union_of_the_ranges(specs in prop::collection::vec(spec(), 1..40)) {
            let field: Vec<&str> = specs.iter().map(|(text, _)| text.as_str()).collect();
            let union: BTreeSet<u64> = specs.iter().flat_map(|(_, bytes)| bytes).copied().collect();
            let parts = match requested(&format!("bytes={}", field.join(",")), 300) {
                Ranges::Parts(parts) => parts,
                other => {
                    prop_assert_eq!(other, Ranges::Unsatisfiable);
                    prop_assert!(union.is_empty());
                    return Ok(());
                }
            };
            let covered: Vec<u64> = parts.iter().flat_map(|part| part.first..=part.last).collect();
            let set: BTreeSet<u64> = covered.iter().copied().collect();
            prop_assert_eq!(covered.len(), set.len(), "no byte twice");
            prop_assert!(parts.iter().all(|part| part.first <= part.last && part.last < 300));
            prop_assert!(parts.iter().all(|part| !set.contains(&(part.last + 1))), "none touch");
            prop_assert!(union.is_subset(&set));
            // More than that are joined over small gaps.
            let runs = union.iter().filter(|at| !union.contains(&(*at + 1))).count();
            if runs <= EXACT_PARTS_MAX {
                prop_assert_eq!(set, union);
            }
        }

        #[test]
        fn any_field_is_answered(text in "bytes=[-0-9, ]{0,60}|\\PC{0,30}", len in any::<u64>()) {
            let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else { return Ok(()) };
            let headers = HeaderMap::from_iter([(RANGE, value)]);
            if let Ranges::Parts(parts) = Ranges::requested(&headers, len) {
                prop_assert!(!parts.is_empty());
                prop_assert!(parts.iter().all(|part| part.first <= part.last && part.last < len));
            }
        }
    }
}
