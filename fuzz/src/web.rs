//! The targets of HTTP: heads, chunks, forms, ranges and what WebDAV adds.

use std::collections::BTreeSet;
use std::io::{Read, Write as _};

use ::http::Method;
use ::http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, RANGE, TRANSFER_ENCODING};
use ::http::uri::Scheme;
use landline::http::body::{BodyError, BodyLength, BodyReader, ChunkWriter};
use landline::http::conditions::{EntityTag, Validators, evaluate, range_applies};
use landline::http::credentials::Presented;
use landline::http::dav::body::{LockInfo, PROPERTIES_NAMED_MAX, Update, Wanted};
use landline::http::dav::fields::{Depth, lock_token, overwrites, timeout};
use landline::http::dav::if_header::{IF_CONDITIONS_MAX, IfHeader};
use landline::http::dav::multistatus::{Dead, FileProperties, Multistatus, Resource};
use landline::http::dav::xml::{Element, Name, XML_LEN_MAX};
use landline::http::digest_fields::{CONTENT_DIGEST, WANT_CONTENT_DIGEST, parse, wanted};
use landline::http::head::{HEAD_LEN_MAX, HEADER_LINES_MAX, RequestHead, Version, head_len};
use landline::http::incoming::Incoming;
use landline::http::multipart::{Boundary, FORM_ENTRIES_MAX, FormEntry, FormReader};
use landline::http::negotiate::{Coding, codings, media};
use landline::http::range::{EXACT_PARTS_MAX, RANGES_MAX, Ranges};
use landline::http::resumable::{UploadFields, UploadLimits};
use landline::http::site::Site;

use super::{Manner, Network};

/// Where a head ends does not depend on what comes behind it, and what it means is what a reader would find that looks
/// for the names of fields alone: no length of a body is overlooked, and none is found where there is none.
pub fn heads(data: &[u8]) {
    let data = &data[..data.len().min(HEAD_LEN_MAX)];
    let whole = head_len(data);
    for len in cuts(data.len()) {
        match head_len(&data[..len]) {
            Ok(None) => {}
            decided => assert_eq!(decided, whole, "decided at {len} bytes"),
        }
    }
    let len = match whole {
        Ok(Some(len)) => len,
        Ok(None) => return,
        Err(error) => return assert!([400, 414, 431].contains(&error.status.as_u16()), "{error:?}"),
    };
    assert!(data[..len].ends_with(b"\r\n\r\n"), "it ends with an empty line");
    match RequestHead::parse(&data[..len]) {
        Ok(head) => check_head(&head, &data[..len]),
        Err(error) => assert!([400, 417, 431, 501, 505].contains(&error.status.as_u16()), "{error:?}"),
    }
}

/// All lengths up to `len`, or, of long data, some.
fn cuts(len: usize) -> impl Iterator<Item = usize> {
    (0..len).step_by(len / 256 + 1)
}

fn check_head(head: &RequestHead, bytes: &[u8]) {
    let lines = lines_of(bytes);
    assert!(lines.len() <= HEADER_LINES_MAX && head.headers.len() == lines.len(), "each line is a field");
    let values = |name: &HeaderName| -> Vec<&[u8]> {
        let named = lines.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name.as_str().as_bytes()));
        named.map(|(_, value)| *value).collect()
    };
    match (&values(&CONTENT_LENGTH)[..], &values(&TRANSFER_ENCODING)[..], head.body) {
        ([], [], BodyLength::None) => {}
        ([digits], [], BodyLength::Known(len)) => {
            let digits = std::str::from_utf8(digits).expect("digits");
            assert!(digits.bytes().all(|digit| digit.is_ascii_digit()), "{digits}");
            assert_eq!(digits.trim_start_matches('0'), len.to_string().trim_start_matches('0'));
        }
        ([], [coding], BodyLength::Chunked) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && head.version == Version::Http11);
        }
        other => panic!("ambiguous: {other:?}"),
    }
    let hosts = values(&HOST).len();
    assert!(hosts == 1 || hosts == 0 && head.version == Version::Http10, "{hosts} hosts");
    assert!(head.authority.is_some() || head.version == Version::Http10);
    assert!(head.method != Method::CONNECT && !head.method.as_str().contains(' '));
    assert!(head.target.path.starts_with(b"/") || head.target.is_asterisk(), "{:?}", head.target);
    check_fields(head);
}

/// The names and values of a head, as any reader finds them.
fn lines_of(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let text = bytes.strip_suffix(b"\r\n\r\n").expect("an empty line");
    let mut from = 0;
    let mut lines = Vec::new();
    while from <= text.len() {
        let rest = &text[from..];
        let len = rest.windows(2).position(|pair| pair == b"\r\n").unwrap_or(rest.len());
        lines.push(&rest[..len]);
        from += len + 2;
    }
    let fields = lines.into_iter().skip_while(|line| line.is_empty()).skip(1);
    let field = |line: &'_ [u8]| line.iter().position(|byte| *byte == b':').expect("a colon");
    fields.map(|line| (&line[..field(line)], line[field(line) + 1..].trim_ascii())).collect()
}

/// What reads the fields of a head has an answer for each.
fn check_fields(head: &RequestHead) {
    let tag = EntityTag::new(false, "a").expect("a tag");
    let file = Validators { etag: Some(tag), modified: Some(784_111_777) };
    for is_get in [false, true] {
        evaluate(&head.headers, is_get, Some(&file));
        evaluate(&head.headers, is_get, None);
    }
    range_applies(&head.headers, &file);
    let available = [Coding::Gzip, Coding::Zstd];
    let coding = codings(&head.headers, &available);
    assert!(coding.is_none_or(|coding| coding == Coding::Identity || available.contains(&coding)));
    assert!(media(&head.headers, &["text/html", "application/json"]).is_none_or(|at| at < 2));
    if let Ok(digests) = parse(&head.headers, &CONTENT_DIGEST) {
        assert!(digests.len() <= 2, "each algorithm once");
    }
    wanted(&head.headers, &WANT_CONTENT_DIGEST);
    drop(Presented::of(&head.headers));
    Site::of(&head.method, &head.headers, head.authority.as_ref(), &Scheme::HTTP);
    UploadFields::of(&head.headers);
    UploadLimits::of(&head.headers);
}

/// How the reading of a body ended: what came of it, what is left behind it, or the kind of the error.
type Outcome = (Vec<u8>, Result<Vec<u8>, &'static str>);

/// A body in chunks is the same bytes, the same end, and the same bytes are left behind it, however the network cuts it;
/// what our own writer makes of it is read as the same.
pub fn chunks(data: &[u8]) {
    let whole = read_body(BodyLength::Chunked, data, Manner::Whole, 1 << 16);
    for (manner, room) in [(Manner::Byte, 7), (Manner::Ragged(16), 1), (Manner::Ragged(8192), 100)] {
        assert_eq!(read_body(BodyLength::Chunked, data, manner, room), whole, "{manner:?}");
    }
    let (body, end) = whole;
    assert!(body.len() <= data.len());
    if let Ok(rest) = end {
        // The shortest way to write a body: its length, and the last chunk.
        assert!(body.len() + rest.len() + 5 <= data.len());
        assert!(data.ends_with(&rest), "what is left is the end of what came");
    }
    let mut again = Vec::new();
    let mut writer = ChunkWriter::new(&mut again);
    for piece in body.chunks(5000) {
        writer.write_all(piece).expect("memory");
    }
    writer.finish().expect("memory");
    again.extend_from_slice(b"behind");
    assert_eq!(read_body(BodyLength::Chunked, &again, Manner::Ragged(64), 100), (body, Ok(b"behind".to_vec())));

    let len = data.first().map_or(0, |byte| usize::from(*byte));
    let known = read_body(BodyLength::Known(len as u64), data, Manner::Ragged(16), 10);
    let want = data.split_at_checked(len).map_or((data, Err("short")), |(body, rest)| (body, Ok(rest.to_vec())));
    assert_eq!(known, (want.0.to_vec(), want.1));
}

fn read_body(length: BodyLength, data: &[u8], manner: Manner, room: usize) -> Outcome {
    // What was read with the head comes first.
    let (first, rest) = data.split_at(data.len() / 3);
    let mut incoming = Incoming::new(Network::new(rest, manner), first.to_vec());
    let mut reader = BodyReader::new(length);
    let (mut body, mut dest) = (Vec::new(), vec![0; room]);
    let end = loop {
        match reader.read(&mut incoming, &mut dest) {
            Ok(0) => break Ok(()),
            Ok(len) => body.extend_from_slice(&dest[..len]),
            Err(BodyError::Short(_)) => break Err("short"),
            Err(BodyError::NoLastChunk) => break Err("no last chunk"),
            Err(BodyError::Chunk(_)) => break Err("malformed"),
            Err(BodyError::Io(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(BodyError::Io(error)) => panic!("{error}"),
        }
    };
    assert_eq!(reader.received(), body.len() as u64);
    assert_eq!(reader.is_over(), end.is_ok());
    let end = end.map(|()| {
        let mut behind = incoming.buffered().to_vec();
        incoming.consume(behind.len());
        loop {
            match incoming.read(&mut dest) {
                Ok(0) => break behind,
                Ok(len) => behind.extend_from_slice(&dest[..len]),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Interrupted),
            }
        }
    });
    (body, end)
}

/// A form is the same entries, or the same error, however the network cuts it, and no entry is whole that is not
/// followed by a delimiter. Its Content-Type is what comes before the first line feed.
pub fn multipart(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (content_type, body) = data.split_at(at);
    let body = body.get(1..).unwrap_or_default();
    let Ok(Some(boundary)) = Boundary::of(content_type) else { return };
    let (entries, end) = read_form(&boundary, body, Manner::Whole);
    for manner in [Manner::Byte, Manner::Ragged(100)] {
        let (other_entries, other_end) = read_form(&boundary, body, manner);
        assert_eq!((other_entries, other_end), (entries.clone(), end.clone()), "{manner:?}");
    }
    assert!(entries.len() <= FORM_ENTRIES_MAX);
    let content: usize = entries.iter().map(|(_, content)| content.len()).sum();
    assert!(content <= body.len());
    for (entry, content) in &entries {
        let is_name = |name: &Vec<u8>| !name.contains(&0) && !name.contains(&b'/') && name != b"." && name != b"..";
        assert!(entry.file_name.as_ref().is_none_or(is_name), "{entry:?}");
        assert!(content.is_empty() || body.windows(content.len()).any(|window| window == content));
    }
    // A form that is cut has no more entries, and none that is shorter. But a last delimiter may be the end of a form
    // where more bytes would have made it malformed.
    let cut = &body[..body.len() - body.len() / 3];
    let (of_cut, end_of_cut) = read_form(&boundary, cut, Manner::Whole);
    let common = if end.is_err() && end_of_cut.is_ok() { entries.len().min(of_cut.len()) } else { of_cut.len() };
    assert!(entries.starts_with(&of_cut[..common]) && of_cut.len() <= common + 1, "of a form that is cut");
}

/// The entries of a form that came whole, and why it could not be read any further.
type Form = (Vec<(FormEntry, Vec<u8>)>, Result<(), String>);

fn read_form(boundary: &Boundary, body: &[u8], manner: Manner) -> Form {
    let mut form = FormReader::new(Network::new(body, manner), boundary);
    let mut entries = Vec::new();
    let mut read = || {
        while let Some(entry) = form.next_entry()? {
            let mut content = Vec::new();
            loop {
                let piece = form.piece()?;
                if piece.is_empty() {
                    break;
                }
                content.extend_from_slice(piece);
            }
            entries.push((entry, content));
        }
        Ok::<(), landline::http::multipart::FormError>(())
    };
    let end = read().map_err(|error| error.to_string());
    (entries, end)
}

/// What is read of XML and of `If` is written and read as the same, every body is a request or an error, and an answer
/// is XML, whatever its names are made of.
pub fn dav(data: &[u8]) {
    if let Ok(element) = Element::parse(data) {
        let text = element.to_text(usize::MAX).expect("no limit");
        assert_eq!(Element::parse(text.as_bytes()).ok().as_ref(), Some(&element).filter(|_| fits(&text)), "{text}");
    }
    if let Ok(header) = IfHeader::parse(data) {
        assert!(header.tokens().count() <= IF_CONDITIONS_MAX);
        // A tag of other bytes is written for people alone.
        if std::str::from_utf8(data).is_ok() {
            assert_eq!(IfHeader::parse(header.to_string().as_bytes()), Ok(header));
        }
    }
    if let Ok(updates) = Update::parse(data) {
        assert!((1..=PROPERTIES_NAMED_MAX).contains(&updates.len()));
    }
    drop(LockInfo::parse(data));
    if let Ok(value) = HeaderValue::from_bytes(data) {
        for name in ["depth", "lock-token", "overwrite", "timeout"] {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.clone())]);
            assert!(
                lock_token(&headers).is_ok_and(|token| token.is_none_or(|token| !token.contains('>')))
                    || name == "lock-token"
            );
            assert!(Depth::of(&headers).is_ok() || name == "depth");
            assert!(overwrites(&headers).is_ok() || name == "overwrite");
            assert!(timeout(&headers).is_none() || name == "timeout");
        }
    }
    for wanted in [Wanted::parse(data).unwrap_or(Wanted::Names), Wanted::All(Vec::new())] {
        let name = Name::new("urn:x", "a");
        let dead = [Dead { name, text: "<a xmlns=\"urn:x\"/>".into() }];
        let resource = Resource {
            path: data,
            name: Some(data),
            file: Some(FileProperties { len: 1, media: "text/plain", tag: "\"a\"" }),
            modified: Some(1),
            created: None,
            is_lockable: true,
            locks: &[],
            quota: None,
            dead: &dead,
        };
        let answer = Multistatus::new(wanted);
        let mut text = String::new();
        answer.start(&mut text);
        answer.resource(&resource, &mut text);
        Multistatus::end(&mut text);
        assert!(!fits(&text) || Element::parse(text.as_bytes()).is_ok(), "{text}");
    }
}

/// Whether a document may be read again: one that was short may be written longer.
fn fits(text: &str) -> bool {
    text.len() <= XML_LEN_MAX
}

/// The parts of a file are the union of the ranges of a field, as a reader finds it who looks at each byte by itself.
/// The first byte of the input is the length of the file.
pub fn ranges(data: &[u8]) {
    let Some((&len, field)) = data.split_first() else { return };
    let Ok(value) = HeaderValue::from_bytes(field) else { return };
    let headers = HeaderMap::from_iter([(RANGE, value)]);
    let huge = Ranges::requested(&headers, u64::MAX);
    let len = u64::from(len);
    let requested = Ranges::requested(&headers, len);
    for (ranges, len) in [(&huge, u64::MAX), (&requested, len)] {
        if let Ranges::Parts(parts) = ranges {
            assert!((1..=RANGES_MAX).contains(&parts.len()));
            assert!(parts.iter().all(|part| part.first <= part.last && part.last < len));
        }
    }
    let wanted = union(field, len);
    match requested {
        // Of an empty file the end is the whole.
        Ranges::Whole => assert!(wanted.is_none() || len == 0, "{wanted:?} is ignored"),
        Ranges::Unsatisfiable => assert_eq!(wanted, Some(BTreeSet::new())),
        Ranges::Parts(parts) => {
            let bytes: Vec<u64> = parts.iter().flat_map(|part| part.first..=part.last).collect();
            let set: BTreeSet<u64> = bytes.iter().copied().collect();
            assert_eq!(bytes.len(), set.len(), "no byte twice");
            let wanted = wanted.expect("a field that breaks no rule");
            assert!(wanted.is_subset(&set));
            let runs = wanted.iter().filter(|at| !wanted.contains(&(*at + 1))).count();
            assert!(runs > EXACT_PARTS_MAX || wanted == set, "{wanted:?} became {set:?}");
        }
    }
}

/// The bytes of a file that a field means; `None` if the field is to be ignored.
fn union(field: &[u8], len: u64) -> Option<BTreeSet<u64>> {
    let text = std::str::from_utf8(field).ok()?;
    let (unit, set) = text.split_once('=')?;
    let specs: Vec<&str> =
        set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty()).collect();
    if !unit.eq_ignore_ascii_case("bytes") || specs.is_empty() || specs.len() > RANGES_MAX {
        return None;
    }
    // As many digits as a test has: what is larger than any file is as large as 128 bits can be.
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse::<u128>().unwrap_or(u128::MAX))
    };
    let is_greater = |spec: &str| {
        let (first, last) = spec.split_once('-').unwrap_or_default();
        let [first, last] = [first, last].map(|digits| digits.trim_start_matches('0'));
        (first.len(), first) > (last.len(), last)
    };
    let mut union = BTreeSet::new();
    for spec in specs {
        let (first, last) = spec.split_once('-')?;
        let is_wanted: Box<dyn Fn(u128) -> bool> = match (number(first), number(last)) {
            (None, Some(suffix)) if first.is_empty() => {
                Box::new(move |at| at.saturating_add(suffix) >= u128::from(len))
            }
            (Some(first), None) if last.is_empty() => Box::new(move |at| at >= first),
            (Some(first), Some(last)) if !is_greater(spec) => Box::new(move |at| at >= first && at <= last),
            _ => return None,
        };
        union.extend((0..len).filter(|at| is_wanted(u128::from(*at))));
    }
    Some(union)
}
