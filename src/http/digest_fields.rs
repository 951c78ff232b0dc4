//! Digests in fields (RFC 9530): what a body or a file must hash to.

use std::fmt;

use ::http::header::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};

use super::structured::{BareItem, combined, dictionary};

/// The digest of the bytes of this message's body, as they are sent (RFC 9530, 2).
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The digest of the whole file, whatever part of it is sent (RFC 9530, 3).
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// Which `Content-Digest` the other end would like to get (RFC 9530, 4).
pub const WANT_CONTENT_DIGEST: HeaderName = HeaderName::from_static("want-content-digest");
/// Which `Repr-Digest` the other end would like to get (RFC 9530, 4).
pub const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// Largest preference of a `Want-` field (RFC 9530, 4).
const PREFERENCE_MAX: i64 = 10;

/// An algorithm that RFC 9530, 5 has as active. The order is the one in which equal preferences are decided, the best
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `sha-256`.
    Sha256,
    /// `sha-512`.
    Sha512,
}

impl Algorithm {
    /// Its key in the fields.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// One digest: 32 or 64 bytes, by its algorithm. It is displayed as a field has it: `sha-256=:…:`.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl Digest {
    /// A digest that is already known; `None` if `bytes` is not as long as the algorithm's digests are.
    pub fn new(algorithm: Algorithm, bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() == algorithm.len()).then_some(Self { algorithm, bytes })
    }

    /// What it was made with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest itself.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=:{}:", self.algorithm.name(), STANDARD.encode(&self.bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A digest field is no dictionary of byte sequences; a server answers it with 400, for the sender wanted its bytes
/// checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} cannot be read: it wants sha-256=:<base64 of 32 bytes>:")]
pub struct MalformedDigest {
    /// The field's name, in lower case.
    pub field: HeaderName,
}

/// The digests of a `Content-Digest` or `Repr-Digest`, over all its lines: at most one of each algorithm, the last one
/// of that name (RFC 9651, 3.2). Algorithms that are not known are ignored (RFC 9530, 2); so the list may be empty.
///
/// # Errors
/// The field breaks the grammar, or a digest has not the length of its algorithm.
pub fn parse(headers: &HeaderMap, field: &HeaderName) -> Result<Vec<Digest>, MalformedDigest> {
    let malformed = || MalformedDigest { field: field.clone() };
    let mut digests = Vec::new();
    for (name, value) in members(headers, field).ok_or_else(malformed)? {
        let Some(algorithm) = Algorithm::by_name(&name) else { continue };
        let BareItem::Bytes(bytes) = value else { return Err(malformed()) };
        digests.push(Digest::new(algorithm, bytes).ok_or_else(malformed)?);
    }
    Ok(digests)
}

/// The algorithm that a `Want-Content-Digest` or `Want-Repr-Digest` prefers; `None` if the field is absent, wants none
/// that is known, or cannot be read: it is only a wish.
pub fn wanted(headers: &HeaderMap, field: &HeaderName) -> Option<Algorithm> {
    let mut wanted = Vec::new();
    for (name, value) in members(headers, field)? {
        let Some(algorithm) = Algorithm::by_name(&name) else { continue };
        let BareItem::Integer(preference @ 0..=PREFERENCE_MAX) = value else { return None };
        wanted.push((algorithm, preference));
    }
    let acceptable = wanted.into_iter().filter(|(_, preference)| *preference > 0);
    let best = acceptable.max_by(|(left, left_preference), (right, right_preference)| {
        left_preference.cmp(right_preference).then_with(|| right.cmp(left))
    });
    best.map(|(algorithm, _)| algorithm)
}

/// The members of a field, each name once; `None`: it is no dictionary. A field that is absent has none.
fn members(headers: &HeaderMap, field: &HeaderName) -> Option<Vec<(String, BareItem)>> {
    combined(headers, field).map_or_else(|| Some(Vec::new()), |value| dictionary(&value))
}

/// Hashes a body while it comes, with every algorithm of the digests that it must have.
#[derive(Debug)]
pub struct DigestCheck {
    expected: Vec<Digest>,
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
}

impl DigestCheck {
    /// A check against all of `expected`; against none if it is empty, which costs nothing.
    pub fn new(expected: Vec<Digest>) -> Self {
        let needs = |algorithm| expected.iter().any(|digest| digest.algorithm == algorithm);
        let sha256 = needs(Algorithm::Sha256).then(Sha256::new);
        let sha512 = needs(Algorithm::Sha512).then(Sha512::new);
        Self { expected, sha256, sha512 }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.sha256 {
            hasher.update(bytes);
        }
        if let Some(hasher) = &mut self.sha512 {
            hasher.update(bytes);
        }
    }

    /// Says whether the bytes were the right ones.
    ///
    /// # Errors
    /// The first digest that differs, as it was expected and as it is.
    pub fn finish(self) -> Result<(), DigestMismatch> {
        let sha256 = self.sha256.map(|hasher| (Algorithm::Sha256, hasher.finalize().to_vec()));
        let sha512 = self.sha512.map(|hasher| (Algorithm::Sha512, hasher.finalize().to_vec()));
        for (algorithm, bytes) in [sha256, sha512].into_iter().flatten() {
            let actual = Digest { algorithm, bytes };
            let other = self.expected.iter().find(|digest| digest.algorithm == algorithm && **digest != actual);
            if let Some(expected) = other {
                return Err(DigestMismatch { expected: expected.clone(), actual });
            }
        }
        Ok(())
    }
}

/// The bytes are not the ones that the digest was made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not the ones that were meant: {actual} came, {expected} was announced")]
pub struct DigestMismatch {
    /// What the field says.
    pub expected: Digest,
    /// What came.
    pub actual: Digest,
}

#[cfg(test)]
mod tests {
    use ::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// Of `{"hello": "world"}` and a line feed: the example of RFC 9530.
    const EXAMPLE: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    const EXAMPLE_512: &str = "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCs\
        yRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:";

    fn headers(field: &HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(field, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    fn written(lines: &[&str]) -> Result<String, MalformedDigest> {
        let digests = parse(&headers(&CONTENT_DIGEST, lines), &CONTENT_DIGEST)?;
        Ok(digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn digests_are_read() {
        let other = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
        let both = format!("{EXAMPLE}, {EXAMPLE_512}");
        for (clause, lines, want) in [
            ("RFC 9530, 2: no field", &[][..], Some("")),
            ("RFC 9530, 2: the example", &[EXAMPLE], Some(EXAMPLE)),
            ("RFC 9530, 2: several", &[&both], Some(&both)),
            ("RFC 9651, 3.2: several lines", &[EXAMPLE, EXAMPLE_512], Some(&both)),
            ("RFC 9530, 2: unknown algorithms are ignored", &["md5=:AAAA:, unixsum=:AA==:"], Some("")),
            ("RFC 9530, 2: one of them is known", &["a=:AA==:,", EXAMPLE], None),
            ("RFC 9651, 3.2: the last of a name", &[other, EXAMPLE], Some(EXAMPLE)),
            (
                "RFC 9651, 4.2.7: without padding",
                &[&EXAMPLE.replace("=:", ":").replace("256:", "256=:")],
                Some(EXAMPLE),
            ),
            ("RFC 9651, 3.1.2: parameters", &[&format!("{EXAMPLE};a=1; b=\"x\\\"\";c")], Some(EXAMPLE)),
            ("RFC 9651, 3.1: other values are skipped", &["a=(1 \"b\" c;d=?1), e, f=-1.5, g=?0, h=()"], Some("")),
            ("RFC 9651, 4.2: blanks around it", &["a=1 ,\tb=2"], Some("")),
            ("RFC 9530, 2: no byte sequence", &["sha-256=abc"], None),
            ("RFC 9530, 2: no value", &["sha-256"], None),
            ("RFC 9530, 2: a number", &["sha-256=1"], None),
            ("RFC 9530, 5: too short", &["sha-256=:AAAA:"], None),
            ("RFC 9530, 5: the other's length", &[&EXAMPLE.replace("256", "512")], None),
            ("RFC 9651, 3.3.5: no base64", &["sha-256=:a b:"], None),
            ("RFC 9651, 3.3.5: no colon at the end", &["sha-256=:AAAA"], None),
            ("RFC 9651, 3.2: a name in capitals", &[&EXAMPLE.to_uppercase()], None),
            ("RFC 3230: the older syntax", &["sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="], None),
            ("RFC 9651, 4.2.2: a comma at the end", &["a=1,"], None),
            ("RFC 9651, 4.2.2: no comma", &["a=1 b=2"], None),
            ("RFC 9651, 4.2.2: blanks around the equals sign", &["a = 1"], None),
            ("RFC 9651, 3.1.1: items without a blank", &["a=(1\"b\")"], None),
            ("RFC 9651, 3.1.1: no end of the list", &["a=(1 2"], None),
            ("RFC 9651, 3.3.3: no end of the string", &["a=\"b"], None),
            ("RFC 9651, 3.3.1: too many digits", &["a=1234567890123456"], None),
            ("RFC 9651, 3.3.2: too many decimals", &["a=1.2345"], None),
        ] {
            let written = written(lines);
            assert_eq!(written.as_deref().ok(), want, "{clause}: {lines:?}");
        }
        let error = written(&["sha-256=1"]).unwrap_err();
        assert_eq!(error.to_string(), "content-digest cannot be read: it wants sha-256=:<base64 of 32 bytes>:");
    }

    #[test]
    fn preferences_are_read() {
        use Algorithm::{Sha256, Sha512};
        for (clause, lines, want) in [
            ("4: no field", &[][..], None),
            ("4: one", &["sha-256=1"], Some(Sha256)),
            ("4: the example", &["sha-256=10, sha=3"], Some(Sha256)),
            ("4: the higher one", &["sha-512=3, sha-256=10, unixsum=0"], Some(Sha256)),
            ("4: the higher one", &["sha-512=9, sha-256=8"], Some(Sha512)),
            ("4: the same", &["sha-512=5, sha-256=5"], Some(Sha256)),
            ("4: 0 is not acceptable", &["sha-256=0, sha-512=1"], Some(Sha512)),
            ("4: 0 is not acceptable", &["sha-256=0"], None),
            ("4: none that is known", &["md5=10"], None),
            ("4: several lines", &["sha-256=1", "sha-512=2"], Some(Sha512)),
            ("4: more than 10", &["sha-256=11"], None),
            ("4: less than 0", &["sha-256=-1"], None),
            ("4: no integer", &["sha-256=0.5"], None),
            ("4: no value", &["sha-256"], None),
            ("4: no dictionary", &["sha-256=1,,"], None),
        ] {
            assert_eq!(
                wanted(&headers(&WANT_REPR_DIGEST, lines), &WANT_REPR_DIGEST),
                want,
                "RFC 9530, {clause}: {lines:?}"
            );
        }
    }

    #[test]
    fn a_body_is_checked() {
        let expected = parse(&headers(&CONTENT_DIGEST, &[EXAMPLE, EXAMPLE_512]), &CONTENT_DIGEST).unwrap();
        for (body, is_right) in [("{\"hello\": \"world\"}\n", true), ("{\"hello\": \"World\"}\n", false), ("", false)] {
            let mut check = DigestCheck::new(expected.clone());
            for piece in body.as_bytes().chunks(3) {
                check.update(piece);
            }
            assert_eq!(check.finish().is_ok(), is_right, "RFC 9530, B.1: {body}");
        }
        let mut check = DigestCheck::new(vec![Digest::new(Algorithm::Sha256, [0; 32]).unwrap()]);
        check.update(b"x");
        let error = check.finish().unwrap_err();
        assert_eq!(error.expected.bytes(), [0; 32]);
        assert_eq!(error.actual.algorithm(), Algorithm::Sha256);
        assert!(DigestCheck::new(Vec::new()).finish().is_ok(), "nothing is expected");
        assert_eq!(Digest::new(Algorithm::Sha512, [0; 32]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in any::<[u8; 32]>()) {
            let digest = Digest::new(Algorithm::Sha256, bytes).unwrap();
            let headers = headers(&REPR_DIGEST, &[&digest.to_string()]);
            prop_assert_eq!(parse(&headers, &REPR_DIGEST), Ok(vec![digest]));
        }

        #[test]
        fn any_field_is_read_or_not(text in "(sha-256=)?[a-z:=();?\"\\\\0-9., *-]{0,40}") {
            let headers = headers(&CONTENT_DIGEST, &[&text]);
            let digests = parse(&headers, &CONTENT_DIGEST);
            prop_assert!(digests.is_err() || digests.is_ok_and(|digests| digests.len() <= 2));
            wanted(&headers, &CONTENT_DIGEST);
        }
    }
}
