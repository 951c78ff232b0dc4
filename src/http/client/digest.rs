//! Digests of what arrives: the one that the caller knows, and those that the server sends along (RFC 9530).

use ::http::{HeaderMap, HeaderName};

use super::error::{Error, Result};
use crate::http::digest_fields::{Algorithm, Digest, DigestCheck, parse};

/// What is requested of a server: an algorithm, and how much it is liked from 1 to 10 (RFC 9530, 4).
pub const WANTED: &str = "sha-256=10";

/// A digest that something should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Whose word it is, for people.
    pub what: String,
    /// The digest.
    pub digest: Digest,
}

/// The digests in a field of a response. A field that cannot be read has none: it is of no use to compare with.
pub fn in_field(headers: &HeaderMap, name: &HeaderName) -> Vec<Expected> {
    let digests = parse(headers, name).unwrap_or_default();
    let what = |digest: &Digest| format!("the server's {} ({name})", digest.algorithm().name());
    digests.into_iter().map(|digest| Expected { what: what(&digest), digest }).collect()
}

/// A SHA-256 that the caller knows.
pub fn own(sha256: [u8; 32]) -> Option<Expected> {
    Some(Expected { what: "SHA-256".into(), digest: Digest::new(Algorithm::Sha256, sha256)? })
}

/// Reads 64 hexadecimal digits.
pub fn sha256_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

fn hex(digest: &Digest) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('?'));
    digest.bytes().iter().flat_map(digits).collect()
}

/// Compares what comes with what is expected, and costs nothing where nothing is.
#[derive(Debug)]
pub struct Hasher {
    expected: Vec<Expected>,
    check: DigestCheck,
    len: u64,
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Hasher {
    /// Compares with these.
    pub fn new(expected: Vec<Expected>) -> Self {
        let check = DigestCheck::new(expected.iter().map(|expected| expected.digest.clone()).collect());
        Self { expected, check, len: 0 }
    }

    /// Whether there is nothing to compare with.
    pub const fn is_idle(&self) -> bool {
        self.expected.is_empty()
    }

    /// Whether it goes on from `len` with what is expected now.
    pub fn continues(&self, expected: &[Expected], len: u64) -> bool {
        self.expected == expected && self.len == len
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.check.update(bytes);
    }

    /// Whether all that came is what it should be: whose digests were compared.
    ///
    /// # Errors
    /// [`Error::Digest`] with the first that differs.
    pub fn finish(self) -> Result<Vec<String>> {
        let Self { expected, check, .. } = self;
        match check.finish() {
            Ok(()) => Ok(expected.into_iter().map(|expected| expected.what).collect()),
            Err(wrong) => {
                let whose = expected.into_iter().find(|expected| expected.digest == wrong.expected);
                let what = whose.map_or_else(String::new, |expected| expected.what);
                Err(Error::Digest { what, got: hex(&wrong.actual), wanted: hex(&wrong.expected) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;
    use crate::http::digest_fields::REPR_DIGEST;

    /// RFC 9530, appendix D: the SHA-256 of `{"hello": "world"}` and a line end.
    const HELLO: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";

    fn expected(field: &'static str) -> Vec<Expected> {
        let mut headers = HeaderMap::new();
        headers.insert(REPR_DIGEST, HeaderValue::from_static(field));
        in_field(&headers, &REPR_DIGEST)
    }

    #[test]
    fn digests_of_the_server_are_compared() {
        for (bytes, is_right) in [(&b"{\"hello\": \"world\"}\n"[..], true), (b"{\"hello\": \"World\"}\n", false)] {
            let mut hasher = Hasher::new(expected(HELLO));
            for piece in bytes.chunks(5) {
                hasher.update(piece);
            }
            assert!(hasher.continues(&expected(HELLO), bytes.len() as u64));
            match hasher.finish() {
                Ok(compared) => {
                    assert_eq!((compared, is_right), (vec!["the server's sha-256 (repr-digest)".into()], true));
                }
                Err(error) => assert!(!is_right && error.to_string().contains("44aff4ab2d7c32"), "{error}"),
            }
        }
        for nothing in ["md5=:AAAA:", "sha-256=x", "sha-256=(1 2", "sha-256=:AAAA:"] {
            assert_eq!(expected(nothing), [], "{nothing}");
        }
        assert!(Hasher::default().is_idle() && Hasher::default().finish().unwrap().is_empty());
    }

    #[test]
    fn hexadecimal_digits_are_read() {
        let digest = sha256_of_hex(&"0Fa9".repeat(16)).unwrap();
        assert_eq!(hex(&own(digest).unwrap().digest), "0fa9".repeat(16));
        for bad in ["", "0f", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(sha256_of_hex(bad), None, "{bad}");
        }
    }
}
