//! What a request says of who sends it: a token, as Bearer (RFC 6750, 2.1) or as the password of Basic (RFC 7617).

use std::fmt;

use ::http::header::{self, HeaderMap};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Longest value of `Authorization` that is looked at, in bytes.
pub const AUTHORIZATION_LEN_MAX: usize = 4 * 1024;

/// A token as a request presents it.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented {
    /// The user's name, with Basic; nothing depends on it but how often it may be guessed. `None`: Bearer.
    pub name: Option<String>,
    /// The token.
    pub secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({:?})", self.name)
    }
}

/// The `Authorization` of a request is malformed, or of a scheme that is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Authorization is neither Bearer with a token nor Basic with the token as its password")]
pub struct BadAuthorization;

impl Presented {
    /// The token that a request has; `None`: it has none.
    ///
    /// # Errors
    /// [`BadAuthorization`].
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, BadAuthorization> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) if value.len() <= AUTHORIZATION_LEN_MAX => value,
            (Some(_), _) => return Err(BadAuthorization),
        };
        let value = value.to_str().map_err(|_invisible| BadAuthorization)?;
        let (scheme, rest) = value.split_once(' ').ok_or(BadAuthorization)?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
            return Ok(Some(Self { name: None, secret: Zeroizing::new(rest.as_bytes().to_vec()) }));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(BadAuthorization);
        }
        let decoded = Zeroizing::new(STANDARD.decode(rest).map_err(|_malformed| BadAuthorization)?);
        let colon = decoded.iter().position(|byte| *byte == b':').ok_or(BadAuthorization)?;
        let (name, secret) = decoded.split_at(colon);
        let secret = secret.get(1..).unwrap_or_default();
        Ok(Some(Self {
            name: Some(String::from_utf8_lossy(name).into_owned()),
            secret: Zeroizing::new(secret.to_vec()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_carry_a_token() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            Presented::of(&headers)
                .map(|got| got.map(|got| (got.name, String::from_utf8(got.secret.to_vec()).unwrap())))
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (value, want) in [
            ("Bearer abc".to_owned(), Ok((None, "abc"))),
            ("bearer  abc".into(), Ok((None, "abc"))),
            (basic("ci:abc"), Ok((Some("ci"), "abc"))),
            (basic("ci:a:b"), Ok((Some("ci"), "a:b"))),
            (basic(":"), Ok((Some(""), ""))),
            (basic("ci"), Err(BadAuthorization)),
            ("Basic !!".into(), Err(BadAuthorization)),
            ("Bearer ".into(), Err(BadAuthorization)),
            ("Bearer".into(), Err(BadAuthorization)),
            ("Digest x".into(), Err(BadAuthorization)),
            (format!("Bearer {}", "x".repeat(AUTHORIZATION_LEN_MAX)), Err(BadAuthorization)),
        ] {
            let want = want.map(|(name, secret)| Some((name.map(str::to_owned), secret.to_owned())));
            assert_eq!(of(&value), want, "{value}");
        }
        assert_eq!(Presented::of(&HeaderMap::new()), Ok(None));
        assert!(
            !format!(
                "{:?}",
                Presented::of(&HeaderMap::from_iter([(header::AUTHORIZATION, "Bearer abc".parse().unwrap())]))
            )
            .contains("abc")
        );
    }
}
