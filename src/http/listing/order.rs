//! The order of names as people expect it: numbers by their value, letters whatever their case.
//!
//! Each name becomes a key, once; keys are compared as bytes. So 100,000 names are in order within some 50 ms.

use super::{ListKind, Order};

/// Names in a directory: in the order in which they were added, or sorted.
#[derive(Debug, Default)]
pub struct Names {
    /// The names, one behind the other.
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// A name in `Names::bytes`, and what has it.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    len: u16,
    kind: ListKind,
}

impl Span {
    fn is_dir(self) -> bool {
        self.kind == ListKind::Dir
    }
}

/// Bytes that a list takes for each name besides the name itself.
pub const NAME_COST: usize = size_of::<Span>();
/// The same while it is sorted: the key, which is hardly longer than the name, stands beside it.
pub const SORT_COST: usize = size_of::<Keyed>();

impl Names {
    /// Adds a name. One of over 64 KiB is none of a file.
    pub fn push(&mut self, name: &[u8], kind: ListKind) {
        let Ok(len) = u16::try_from(name.len()) else { return };
        self.spans.push(Span { start: self.bytes.len(), len, kind });
        self.bytes.extend_from_slice(name);
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of memory that they hold.
    pub const fn memory(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * NAME_COST
    }

    /// The name at this place, and what has it; a symlink is [`ListKind::Link`] wherever it leads.
    pub fn get(&self, at: usize) -> Option<(&[u8], ListKind)> {
        self.spans.get(at).map(|span| (self.name(*span), span.kind))
    }

    fn name(&self, span: Span) -> &[u8] {
        self.bytes.get(span.start..span.start + usize::from(span.len)).unwrap_or_default()
    }

    /// The same names sorted: directories first, then in natural order.
    #[must_use]
    pub fn sorted(self) -> Self {
        let mut keys: Vec<u8> = Vec::with_capacity(self.bytes.len() + self.bytes.len() / 8);
        let mut keyed = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            let start = keys.len();
            natural_key(self.name(*span), &mut keys);
            let first = keys.get(start..).and_then(<[u8]>::first_chunk);
            let first = first.map_or_else(|| padded(keys.get(start..).unwrap_or_default()), |first| *first);
            keyed.push(Keyed { first: u64::from_be_bytes(first), key: (start, keys.len()), span: *span });
        }
        let key = |keyed: &Keyed| keys.get(keyed.key.0..keyed.key.1).unwrap_or_default();
        keyed.sort_unstable_by(|one, other| {
            let by_kind = other.span.is_dir().cmp(&one.span.is_dir()).then(one.first.cmp(&other.first));
            // Names of one key differ in case or in zeros; bytes decide, so that there is only one order.
            by_kind.then_with(|| key(one).cmp(key(other))).then_with(|| self.name(one.span).cmp(self.name(other.span)))
        });
        let mut sorted =
            Self { bytes: Vec::with_capacity(self.bytes.len()), spans: Vec::with_capacity(self.spans.len()) };
        for Keyed { span, .. } in keyed {
            sorted.push(self.name(span), span.kind);
        }
        sorted
    }

    /// The places of all names, in the order of a value that each has: directories first, names of one value as they
    /// are here.
    pub fn places_by<V: Ord>(&self, order: Order, value: impl Fn(usize) -> V) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.len()).collect();
        let is_dir = |place: usize| self.spans.get(place).is_some_and(|span| span.is_dir());
        places.sort_by(|one, other| {
            let by_value = value(*one).cmp(&value(*other));
            let by_value = if order == Order::Descending { by_value.reverse() } else { by_value };
            is_dir(*other).cmp(&is_dir(*one)).then(by_value)
        });
        places
    }

    /// How many of them, sorted, are directories.
    pub fn dirs(&self) -> usize {
        self.spans.partition_point(|span| span.is_dir())
    }
}

/// A name with its key.
#[derive(Debug, Clone, Copy)]
struct Keyed {
    /// The first bytes of the key, which mostly decide.
    first: u64,
    /// Where the key begins and ends.
    key: (usize, usize),
    span: Span,
}

fn padded(short: &[u8]) -> [u8; 8] {
    let mut padded = [0; 8];
    padded.iter_mut().zip(short).for_each(|(to, from)| *to = *from);
    padded
}

/// Appends the key of a name to `key`. Keys, compared as bytes, are in natural order: a run of digits becomes `0`, its
/// length without leading zeros, and those digits, so that a longer number comes later; letters become small ones; a
/// byte that is no UTF-8 stays.
pub fn natural_key(name: &[u8], key: &mut Vec<u8>) {
    let mut rest = name;
    while let [first, ..] = rest {
        if first.is_ascii_digit() {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (number, behind) = rest.split_at(digits);
            let zeros = number.iter().take_while(|digit| **digit == b'0').count();
            let number = number.get(zeros..).unwrap_or_default();
            // A name has at most 255 bytes on Linux; longer numbers are compared by their first digits.
            key.extend_from_slice(&[b'0', u8::try_from(number.len()).unwrap_or(u8::MAX)]);
            key.extend_from_slice(number);
            rest = behind;
        } else {
            let text = rest.iter().position(u8::is_ascii_digit).unwrap_or(rest.len());
            let (text, behind) = rest.split_at(text);
            lower_case(text, key);
            rest = behind;
        }
    }
}

fn lower_case(text: &[u8], key: &mut Vec<u8>) {
    if text.is_ascii() {
        key.extend(text.iter().map(u8::to_ascii_lowercase));
        return;
    }
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars().flat_map(char::to_lowercase) {
            key.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        key.extend_from_slice(chunk.invalid());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(names: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut list = Names::default();
        for name in names {
            list.push(name, ListKind::File);
        }
        let list = list.sorted();
        (0..list.len()).filter_map(|at| list.get(at)).map(|(name, _)| name.to_vec()).collect()
    }

    #[test]
    fn names_come_in_the_order_that_people_expect() {
        for want in [
            &[&b"file1"[..], b"file2", b"file10", b"file20", b"file100"][..],
            &[b"a", b"B", b"c"],
            &[b"A", b"a", b"B", b"b"],
            &[b"1.2.9", b"1.2.10", b"1.10.1"],
            // Zeros in front count only where nothing else does.
            &[b"img01", b"img1", b"img01b", b"img1c", b"img002"],
            &[b"0", b"00", b"1", b"x0", b"x00"],
            &["Äpfel".as_bytes(), "äpfel".as_bytes(), "Öl".as_bytes()],
            &[b"99999999999999999999998", b"99999999999999999999999", b"100000000000000000000000"],
            &[b".a", b"a", b"a\xff", b"b"],
            &[b"same", b"same.txt", b"same10", b"sameX"],
            &[b"2026-9-1", b"2026-10-1"],
        ] {
            let mut backwards: Vec<&[u8]> = want.to_vec();
            backwards.reverse();
            assert_eq!(sorted(&backwards), want, "{:?}", String::from_utf8_lossy(&want.concat()));
        }
    }

    #[test]
    fn directories_come_first_in_every_order_and_the_same_value_keeps_the_names_order() {
        let mut names = Names::default();
        for (name, is_dir) in [("b", false), ("z", true), ("a", false), ("y2", true), ("y10", true), ("c", false)] {
            names.push(name.as_bytes(), if is_dir { ListKind::Dir } else { ListKind::File });
        }
        let names = names.sorted();
        let all = |places: &[usize]| -> Vec<String> {
            places.iter().map(|at| String::from_utf8(names.get(*at).unwrap().0.to_vec()).unwrap()).collect()
        };
        assert_eq!(all(&[0, 1, 2, 3, 4, 5]), ["y2", "y10", "z", "a", "b", "c"]);
        assert_eq!(names.dirs(), 3);
        let sizes = [0, 0, 0, 5, 7, 5];
        assert_eq!(all(&names.places_by(Order::Ascending, |at| sizes[at])), ["y2", "y10", "z", "a", "c", "b"]);
        assert_eq!(all(&names.places_by(Order::Descending, |at| sizes[at])), ["y2", "y10", "z", "b", "a", "c"]);
    }

    proptest! {
        #[test]
        fn the_order_is_one_and_does_not_depend_on_the_systems(
            names in proptest::collection::btree_set("[a-cA-B0-2é]{1,6}", 0..30),
            seed in any::<u64>(),
        ) {
            let mut shuffled: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
            let first = sorted(&shuffled);
            shuffled.sort_by_key(|name| name.iter().fold(seed, |hash, byte| hash.rotate_left(7) ^ u64::from(*byte)));
            prop_assert_eq!(sorted(&shuffled), first);
        }
    }
}
