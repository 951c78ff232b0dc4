//! Conditional requests (RFC 9110, 13): whether a request is carried out, by what the client has seen.

use std::fmt;

use ::http::header::{
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};

use super::date;

/// Names one state of a file's bytes (RFC 9110, 8.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    is_weak: bool,
    /// Between the quotes: printable ASCII without blank and quote, or bytes above it.
    opaque: Vec<u8>,
}

impl EntityTag {
    /// A tag of `opaque`, which stands between the quotes; `None` if a byte of it may not stand there.
    pub fn new(is_weak: bool, opaque: impl Into<Vec<u8>>) -> Option<Self> {
        let opaque = opaque.into();
        opaque.iter().copied().all(is_etagc).then_some(Self { is_weak, opaque })
    }

    /// Reads one tag, and nothing behind it: `"xyzzy"`, `W/"xyzzy"`, `""`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (tag, rest) = TagRef::split(text)?;
        rest.is_empty().then(|| Self { is_weak: tag.is_weak, opaque: tag.opaque.to_vec() })
    }

    /// Whether the tag says only that two states are as good as each other, not that they have the same bytes.
    pub fn is_weak(&self) -> bool {
        self.is_weak
    }

    /// The same without the weakness.
    #[must_use]
    pub fn into_strong(self) -> Self {
        Self { is_weak: false, ..self }
    }

    /// What is between the quotes.
    pub fn opaque(&self) -> &[u8] {
        &self.opaque
    }

    /// Whether both are strong and the same (RFC 9110, 8.8.3.2): the same bytes.
    pub fn strongly_matches(&self, other: &Self) -> bool {
        self.as_ref().strongly_matches(other.as_ref())
    }

    /// Whether both are the same but for weakness (RFC 9110, 8.8.3.2).
    pub fn weakly_matches(&self, other: &Self) -> bool {
        self.as_ref().weakly_matches(other.as_ref())
    }

    /// The tag as the value of a field, such as `ETag`; `None` never happens for a tag that could be made.
    pub fn to_header_value(&self) -> Option<HeaderValue> {
        let weak: &[u8] = if self.is_weak { b"W/" } else { b"" };
        HeaderValue::from_bytes(&[weak, b"\"", &self.opaque, b"\""].concat()).ok()
    }

    fn as_ref(&self) -> TagRef<'_> {
        TagRef { is_weak: self.is_weak, opaque: &self.opaque }
    }
}

impl fmt::Display for EntityTag {
    /// Bytes that are not UTF-8 are shown as U+FFFD; the tags that this server makes are ASCII.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\"{}\"", if self.is_weak { "W/" } else { "" }, String::from_utf8_lossy(&self.opaque))
    }
}

/// A tag within a header.
#[derive(Clone, Copy)]
struct TagRef<'h> {
    is_weak: bool,
    opaque: &'h [u8],
}

impl<'h> TagRef<'h> {
    /// The tag that `text` begins with, and what is behind it.
    fn split(text: &'h [u8]) -> Option<(Self, &'h [u8])> {
        // `W/` is case-sensitive.
        let (is_weak, quoted) = text.strip_prefix(b"W/").map_or((false, text), |quoted| (true, quoted));
        let from_opaque = quoted.strip_prefix(b"\"")?;
        let end = from_opaque.iter().position(|byte| !is_etagc(*byte))?;
        let (opaque, from_quote) = from_opaque.split_at(end);
        Some((Self { is_weak, opaque }, from_quote.strip_prefix(b"\"")?))
    }

    fn strongly_matches(self, other: TagRef<'_>) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    fn weakly_matches(self, other: TagRef<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// `etagc` of RFC 9110, 8.8.3. A backslash is an ordinary one: there is no escape.
fn is_etagc(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

/// What is known of a file's present state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// `None`: the file has no tag, and a list of tags never matches.
    pub etag: Option<EntityTag>,
    /// Seconds since 1970 of its last change, as `Last-Modified` says it; `None`: not known, and conditions on it are
    /// ignored.
    pub modified: Option<u64>,
}

/// What becomes of a conditional request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Proceed,
    /// 304: what the client has is the present state.
    NotModified,
    /// 412: the state is not the one that the client meant; nothing is changed.
    PreconditionFailed,
}

/// Evaluates the conditions of a request in the order of RFC 9110, 13.2.2. `If-Range` is not among them: see
/// [`range_applies`].
///
/// `current` is the state of the target; `None` if there is nothing. The caller asks only where the request would
/// otherwise succeed (13.2.1).
///
/// A date that cannot be read, or comes twice, is ignored. A list of tags that cannot be read never matches; where the
/// request would change something, `If-None-Match` then fails, because it may have guarded what is there.
pub fn evaluate(headers: &HeaderMap, is_get_or_head: bool, current: Option<&Validators>) -> Verdict {
    let etag = current.and_then(|current| current.etag.as_ref()).map(EntityTag::as_ref);
    let modified = current.and_then(|current| current.modified);
    match Tags::of(headers, &IF_MATCH) {
        Tags::Absent => {
            // Step 2. Without a time of change the field is ignored (13.1.4).
            if matches!((date_of(headers, &IF_UNMODIFIED_SINCE), modified), (Some(since), Some(at)) if at > since) {
                return Verdict::PreconditionFailed;
            }
        }
        Tags::Any if current.is_some() => {}
        Tags::Listed(tags) if etag.is_some_and(|etag| tags.iter().any(|tag| tag.strongly_matches(etag))) => {}
        Tags::Any | Tags::Listed(_) | Tags::Malformed => return Verdict::PreconditionFailed,
    }
    let is_seen = match Tags::of(headers, &IF_NONE_MATCH) {
        // Step 4 is for GET and HEAD only (13.1.3).
        Tags::Absent => {
            is_get_or_head
                && matches!((date_of(headers, &IF_MODIFIED_SINCE), modified), (Some(since), Some(at)) if at <= since)
        }
        Tags::Any => current.is_some(),
        Tags::Listed(tags) => etag.is_some_and(|etag| tags.iter().any(|tag| tag.weakly_matches(etag))),
        Tags::Malformed => !is_get_or_head,
    };
    match is_seen {
        false => Verdict::Proceed,
        true if is_get_or_head => Verdict::NotModified,
        true => Verdict::PreconditionFailed,
    }
}

/// Whether a `Range` of the request holds for the present state (RFC 9110, 13.1.5); if not, the client gets all of it.
///
/// A tag must match strongly. A date must be the present one exactly, and strong (8.8.2.2). It counts as strong if the
/// present tag is strong: then the file has not changed for some time, and a client may send a date only if its copy
/// came at least a second after that date. A field that cannot be read, or comes twice, never holds.
pub fn range_applies(headers: &HeaderMap, current: &Validators) -> bool {
    let mut lines = headers.get_all(IF_RANGE).iter();
    let Some(value) = lines.next() else { return true };
    if lines.next().is_some() {
        return false;
    }
    let Some(etag) = current.etag.as_ref().filter(|etag| !etag.is_weak) else { return false };
    match EntityTag::parse(value.as_bytes()) {
        Some(tag) => tag.strongly_matches(etag),
        None => read_date(value).is_some_and(|seconds| current.modified == Some(seconds)),
    }
}

/// A field that is `*` or a list of tags; several lines of it are one list (RFC 9110, 5.3).
enum Tags<'h> {
    Absent,
    Malformed,
    Any,
    Listed(Vec<TagRef<'h>>),
}

impl<'h> Tags<'h> {
    fn of(headers: &'h HeaderMap, name: &HeaderName) -> Self {
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        match lines[..] {
            [] => Self::Absent,
            [line] if line.trim_ascii() == b"*" => Self::Any,
            _ => Self::listed(&lines).map_or(Self::Malformed, Self::Listed),
        }
    }

    /// The tags of all lines; elements may be empty (RFC 9110, 5.6.1.2), but not all of them.
    fn listed(lines: &[&'h [u8]]) -> Option<Vec<TagRef<'h>>> {
        let mut tags = Vec::new();
        for line in lines {
            let mut rest = skip_empty(line);
            while !rest.is_empty() {
                let (tag, behind) = TagRef::split(rest)?;
                tags.push(tag);
                let behind = behind.trim_ascii_start();
                if !matches!(behind, [] | [b',', ..]) {
                    return None;
                }
                rest = skip_empty(behind);
            }
        }
        (!tags.is_empty()).then_some(tags)
    }
}

/// What follows the commas and blanks that `list` begins with.
fn skip_empty(list: &[u8]) -> &[u8] {
    let len = list.iter().take_while(|byte| matches!(byte, b',' | b' ' | b'\t')).count();
    list.split_at(len).1
}

/// The date of a field; `None` if it is absent, comes twice or cannot be read.
fn date_of(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut lines = headers.get_all(name).iter();
    let value = lines.next()?;
    lines.next().is_none().then(|| read_date(value)).flatten()
}

fn read_date(value: &HeaderValue) -> Option<u64> {
    date::parse(value.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const AT_SECONDS: u64 = 784_111_777;

    fn headers(lines: &[(&HeaderName, &str)]) -> HeaderMap {
        let line =
            |&(name, value): &(&HeaderName, &str)| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    fn current(tag: &str) -> Validators {
        Validators { etag: EntityTag::parse(tag.as_bytes()), modified: Some(AT_SECONDS) }
    }

    #[test]
    fn a_tag_is_read_strictly() {
        for (clause, text, is_tag) in [
            ("8.8.3: a tag", "\"xyzzy\"", true),
            ("8.8.3: a weak one", "W/\"xyzzy\"", true),
            ("8.8.3: an empty one", "\"\"", true),
            ("8.8.3: a backslash is no escape", r#""a\""#, true),
            ("8.8.3: a comma may be within", "\"a,b\"", true),
            ("8.8.3: obs-text may be within", "\"ä\"", true),
            ("8.8.3: no quotes", "xyzzy", false),
            ("8.8.3: no quote at the end", "\"xyzzy", false),
            ("8.8.3: W is case-sensitive", "w/\"xyzzy\"", false),
            ("8.8.3: no blank within", "\"a b\"", false),
            ("8.8.3: no quote within", r#""a\"b""#, false),
            ("8.8.3: no blank behind W/", "W/ \"xyzzy\"", false),
            ("8.8.3: nothing behind it", "\"xyzzy\";", false),
            ("8.8.3: no blank around it", " \"xyzzy\"", false),
            ("8.8.3: a tag is no star", "*", false),
            ("8.8.3: nothing", "", false),
        ] {
            let tag = EntityTag::parse(text.as_bytes());
            assert_eq!(tag.is_some(), is_tag, "RFC 9110, {clause}: {text}");
            if let Some(tag) = tag {
                assert_eq!(tag.to_string(), text);
                assert_eq!(tag.to_header_value().unwrap().as_bytes(), text.as_bytes());
            }
        }
        assert_eq!(EntityTag::new(false, "a b"), None);
        assert_eq!(EntityTag::new(true, "ab"), EntityTag::parse(b"W/\"ab\""));
    }

    #[test]
    fn tags_are_compared_as_the_table_says() {
        for (left, right, is_strong, is_weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let [a, b] = [left, right].map(|text| EntityTag::parse(text.as_bytes()).unwrap());
            for (a, b) in [(&a, &b), (&b, &a)] {
                assert_eq!(a.strongly_matches(b), is_strong, "RFC 9110, 8.8.3.2: {left} and {right}");
                assert_eq!(a.weakly_matches(b), is_weak, "RFC 9110, 8.8.3.2: {left} and {right}");
            }
        }
    }

    /// The clause, the fields, the verdict for GET, and for a method that changes something. There is a file, `"now"`.
    type Row<'r> = (&'r str, &'r [(&'r HeaderName, &'r str)], Verdict, Verdict);

    const ON_A_FILE: &[Row<'_>] = {
        use Verdict::{NotModified, PreconditionFailed as Failed, Proceed};
        &[
            ("13.2.2: no condition", &[], Proceed, Proceed),
            ("13.1.1: If-Match has the tag", &[(&IF_MATCH, "\"now\"")], Proceed, Proceed),
            ("13.1.1: If-Match has it among others", &[(&IF_MATCH, "\"a\", \"now\"")], Proceed, Proceed),
            ("5.3: If-Match has it in another line", &[(&IF_MATCH, "\"a\""), (&IF_MATCH, "\"now\"")], Proceed, Proceed),
            ("5.6.1.2: empty elements", &[(&IF_MATCH, ", \"now\" ,,")], Proceed, Proceed),
            ("13.1.1: If-Match has another tag", &[(&IF_MATCH, "\"then\"")], Failed, Failed),
            ("13.1.1: If-Match compares strongly", &[(&IF_MATCH, "W/\"now\"")], Failed, Failed),
            ("13.1.1: If-Match: * and a file", &[(&IF_MATCH, "*")], Proceed, Proceed),
            ("13.1.1: If-Match without quotes", &[(&IF_MATCH, "now")], Failed, Failed),
            ("13.1.1: If-Match, partly malformed", &[(&IF_MATCH, "\"now\", now")], Failed, Failed),
            ("13.1.1: If-Match, no comma between", &[(&IF_MATCH, "\"now\" \"a\"")], Failed, Failed),
            ("13.1.1: If-Match of nothing", &[(&IF_MATCH, "")], Failed, Failed),
            ("13.1.1: If-Match of commas", &[(&IF_MATCH, ",")], Failed, Failed),
            ("13.1.1: a star is no element", &[(&IF_MATCH, "*, \"now\"")], Failed, Failed),
            ("13.1.1: a star in a line of its own", &[(&IF_MATCH, "*"), (&IF_MATCH, "*")], Failed, Failed),
            ("13.1.4: If-Unmodified-Since, the same time", &[(&IF_UNMODIFIED_SINCE, AT)], Proceed, Proceed),
            ("13.1.4: If-Unmodified-Since, later", &[(&IF_UNMODIFIED_SINCE, AFTER)], Proceed, Proceed),
            ("13.1.4: If-Unmodified-Since, earlier", &[(&IF_UNMODIFIED_SINCE, BEFORE)], Failed, Failed),
            ("13.1.4: no date is ignored", &[(&IF_UNMODIFIED_SINCE, "yesterday")], Proceed, Proceed),
            (
                "13.1.4: a list of dates is ignored",
                &[(&IF_UNMODIFIED_SINCE, BEFORE), (&IF_UNMODIFIED_SINCE, BEFORE)],
                Proceed,
                Proceed,
            ),
            (
                "13.1.4: ignored beside If-Match",
                &[(&IF_UNMODIFIED_SINCE, BEFORE), (&IF_MATCH, "\"now\"")],
                Proceed,
                Proceed,
            ),
            (
                "13.1.4: ignored beside If-Match, which fails",
                &[(&IF_UNMODIFIED_SINCE, AFTER), (&IF_MATCH, "\"a\"")],
                Failed,
                Failed,
            ),
            ("13.1.2: If-None-Match has the tag", &[(&IF_NONE_MATCH, "\"now\"")], NotModified, Failed),
            ("13.1.2: If-None-Match compares weakly", &[(&IF_NONE_MATCH, "W/\"now\"")], NotModified, Failed),
            ("13.1.2: If-None-Match has it among others", &[(&IF_NONE_MATCH, "\"a\",\"now\"")], NotModified, Failed),
            (
                "5.3: If-None-Match has it in another line",
                &[(&IF_NONE_MATCH, "\"a\""), (&IF_NONE_MATCH, "\"now\"")],
                NotModified,
                Failed,
            ),
            ("13.1.2: If-None-Match has another tag", &[(&IF_NONE_MATCH, "\"then\"")], Proceed, Proceed),
            ("13.1.2: If-None-Match: * and a file", &[(&IF_NONE_MATCH, "*")], NotModified, Failed),
            ("13.1.2: malformed, it guards still", &[(&IF_NONE_MATCH, "\"a\", *")], Proceed, Failed),
            ("13.1.3: If-Modified-Since, the same time", &[(&IF_MODIFIED_SINCE, AT)], NotModified, Proceed),
            ("13.1.3: If-Modified-Since, later", &[(&IF_MODIFIED_SINCE, AFTER)], NotModified, Proceed),
            ("13.1.3: If-Modified-Since, earlier", &[(&IF_MODIFIED_SINCE, BEFORE)], Proceed, Proceed),
            (
                "13.1.3: the RFC 850 form",
                &[(&IF_MODIFIED_SINCE, "Sunday, 06-Nov-94 08:49:37 GMT")],
                NotModified,
                Proceed,
            ),
            ("13.1.3: no date is ignored", &[(&IF_MODIFIED_SINCE, "784111777")], Proceed, Proceed),
            (
                "13.1.3: a list of dates is ignored",
                &[(&IF_MODIFIED_SINCE, AT), (&IF_MODIFIED_SINCE, AT)],
                Proceed,
                Proceed,
            ),
            (
                "13.1.3: ignored beside If-None-Match",
                &[(&IF_MODIFIED_SINCE, AT), (&IF_NONE_MATCH, "\"a\"")],
                Proceed,
                Proceed,
            ),
            (
                "13.1.3: ignored beside a malformed one",
                &[(&IF_MODIFIED_SINCE, AT), (&IF_NONE_MATCH, "a")],
                Proceed,
                Failed,
            ),
            (
                "13.2.2: If-Match, then If-None-Match",
                &[(&IF_MATCH, "\"now\""), (&IF_NONE_MATCH, "\"now\"")],
                NotModified,
                Failed,
            ),
            (
                "13.2.2: If-Match, then If-Modified-Since",
                &[(&IF_MATCH, "\"now\""), (&IF_MODIFIED_SINCE, AT)],
                NotModified,
                Proceed,
            ),
            ("13.2.2: If-Match fails first", &[(&IF_MATCH, "\"a\""), (&IF_NONE_MATCH, "\"now\"")], Failed, Failed),
            (
                "13.2.2: If-Unmodified-Since, then If-None-Match",
                &[(&IF_UNMODIFIED_SINCE, AT), (&IF_NONE_MATCH, "\"now\"")],
                NotModified,
                Failed,
            ),
            (
                "13.2.2: If-Unmodified-Since fails first",
                &[(&IF_UNMODIFIED_SINCE, BEFORE), (&IF_MODIFIED_SINCE, AT)],
                Failed,
                Failed,
            ),
            (
                "13.2.2: both dates, the same",
                &[(&IF_UNMODIFIED_SINCE, AT), (&IF_MODIFIED_SINCE, AT)],
                NotModified,
                Proceed,
            ),
        ]
    };

    #[test]
    fn conditions_on_a_file() {
        let file = current("\"now\"");
        for (clause, lines, get, put) in ON_A_FILE {
            let headers = headers(lines);
            assert_eq!(evaluate(&headers, true, Some(&file)), *get, "RFC 9110, {clause}, GET");
            assert_eq!(evaluate(&headers, false, Some(&file)), *put, "RFC 9110, {clause}, PUT");
        }
    }

    #[test]
    fn conditions_on_nothing_and_on_less() {
        use Verdict::{NotModified, PreconditionFailed as Failed, Proceed};
        let weak = current("W/\"now\"");
        let bare = Validators::default();
        for (clause, name, value, is_get, current, want) in [
            ("13.1.1: If-Match: * and no file", &IF_MATCH, "*", false, None, Failed),
            ("13.1.1: If-Match with a tag and no file", &IF_MATCH, "\"now\"", false, None, Failed),
            ("13.1.2: If-None-Match: * and no file", &IF_NONE_MATCH, "*", false, None, Proceed),
            ("13.1.2: If-None-Match with a tag and no file", &IF_NONE_MATCH, "\"now\"", false, None, Proceed),
            ("13.1.4: If-Unmodified-Since and no file", &IF_UNMODIFIED_SINCE, BEFORE, false, None, Proceed),
            ("13.1.3: If-Modified-Since and no file", &IF_MODIFIED_SINCE, AT, true, None, Proceed),
            ("13.1.1: If-Match and a weak tag", &IF_MATCH, "W/\"now\"", false, Some(&weak), Failed),
            ("13.1.2: If-None-Match and a weak tag", &IF_NONE_MATCH, "\"now\"", true, Some(&weak), NotModified),
            ("13.1.1: If-Match: * and no tag", &IF_MATCH, "*", false, Some(&bare), Proceed),
            ("13.1.1: If-Match and no tag", &IF_MATCH, "\"\"", false, Some(&bare), Failed),
            ("13.1.2: If-None-Match: * and no tag", &IF_NONE_MATCH, "*", true, Some(&bare), NotModified),
            ("13.1.2: If-None-Match and no tag", &IF_NONE_MATCH, "\"\"", true, Some(&bare), Proceed),
            ("13.1.4: no time of change, ignored", &IF_UNMODIFIED_SINCE, BEFORE, true, Some(&bare), Proceed),
            ("13.1.3: no time of change, ignored", &IF_MODIFIED_SINCE, AFTER, true, Some(&bare), Proceed),
        ] {
            assert_eq!(evaluate(&headers(&[(name, value)]), is_get, current), want, "RFC 9110, {clause}");
        }
    }

    #[test]
    fn a_range_holds_for_what_the_client_has() {
        let (strong, weak) = (current("\"now\""), current("W/\"now\""));
        let bare = Validators { etag: None, modified: Some(AT_SECONDS) };
        let undated = Validators { modified: None, ..strong.clone() };
        for (clause, values, current, want) in [
            ("13.1.5: no If-Range", &[][..], &strong, true),
            ("13.1.5: the tag", &["\"now\""], &strong, true),
            ("13.1.5: another tag", &["\"then\""], &strong, false),
            ("13.1.5: a weak tag never matches", &["W/\"now\""], &strong, false),
            ("13.1.5: both weak", &["W/\"now\""], &weak, false),
            ("13.1.5: the present one is weak", &["\"now\""], &weak, false),
            ("13.1.5: the date exactly", &[AT], &strong, true),
            ("13.1.5: a later date is not exact", &[AFTER], &strong, false),
            ("13.1.5: an earlier date", &[BEFORE], &strong, false),
            ("8.8.2.2: the date of a young file is weak", &[AT], &weak, false),
            ("8.8.2.2: nothing says that the date is strong", &[AT], &bare, false),
            ("13.1.5: no time of change", &[AT], &undated, false),
            ("13.1.5: neither tag nor date", &["now"], &strong, false),
            ("13.1.5: one tag, no list", &["\"now\", \"a\""], &strong, false),
            ("13.1.5: no star", &["*"], &strong, false),
            ("13.1.5: twice", &["\"now\"", "\"now\""], &strong, false),
        ] {
            let lines: Vec<_> = values.iter().map(|value| (&IF_RANGE, *value)).collect();
            assert_eq!(range_applies(&headers(&lines), current), want, "RFC 9110, {clause}");
        }
    }

    proptest! {
        #[test]
        fn a_tag_is_written_and_read(is_weak in any::<bool>(), opaque in prop::collection::vec(any::<u8>(), 0..20)) {
            match EntityTag::new(is_weak, opaque.clone()) {
                Some(tag) => {
                    let value = tag.to_header_value().unwrap();
                    prop_assert_eq!(EntityTag::parse(value.as_bytes()), Some(tag));
                }
                None => prop_assert!(opaque.iter().any(|byte| matches!(byte, 0..=0x20 | 0x22 | 0x7f))),
            }
        }

        #[test]
        fn any_list_is_evaluated(
            lines in prop::collection::vec("[\"W/a, *]{0,12}", 0..4),
            is_get in any::<bool>(),
        ) {
            let file = current("\"a\"");
            for name in [IF_MATCH, IF_NONE_MATCH, IF_RANGE] {
                let lines: Vec<_> = lines.iter().map(|line| (&name, line.as_str())).collect();
                let headers = headers(&lines);
                evaluate(&headers, is_get, Some(&file));
                evaluate(&headers, is_get, None);
                range_applies(&headers, &file);
            }
        }
    }
}
