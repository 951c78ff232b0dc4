//! The target of a request: which resource it is about (RFC 9112, 3.2).

use ::http::Method;
use ::http::uri::Authority;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use crate::trust::tokens::TOKEN_PREFIX;

/// What is escaped in a path: all but the unreserved bytes (RFC 3986, 2.3) and the slash.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A request's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host and port, where the target says them: in absolute form.
    pub authority: Option<Authority>,
    /// The path with its slash in front, percent-decoded once. It need not be UTF-8. Empty for `*`.
    pub path: Vec<u8>,
    /// The path as it was sent.
    pub raw_path: String,
    /// What stands behind the question mark, as it was sent; `None`: there is none.
    pub query: Option<String>,
}

/// The target makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It has none of the forms of RFC 9112, 3.2.
    #[error("the target is neither a path nor a URL of HTTP")]
    Form,
    /// The form is for another method.
    #[error("this form of the target is not for this method")]
    Method,
    /// A percent sign without two hexadecimal digits (RFC 3986, 2.1).
    #[error("the target has a percent sign without two hexadecimal digits; send %25 for the sign itself")]
    Percent,
}

impl Target {
    /// Reads the target of a request with this method.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(method: &Method, text: &[u8]) -> Result<Self, TargetError> {
        if text == b"*" {
            // RFC 9112, 3.2.4: about the server as a whole.
            let is_options = *method == Method::OPTIONS;
            let whole = Self { authority: None, path: Vec::new(), raw_path: "*".into(), query: None };
            return if is_options { Ok(whole) } else { Err(TargetError::Method) };
        }
        if *method == Method::CONNECT {
            return Err(TargetError::Method);
        }
        let (authority, rest) = if text.starts_with(b"/") { (None, text) } else { absolute(text)? };
        let at = rest.iter().position(|byte| *byte == b'?').unwrap_or(rest.len());
        let (path, query) = rest.split_at(at);
        let query = query.get(1..);
        // RFC 9112, 3.2.2: a URL without a path means the root.
        let path = if path.is_empty() { b"/" } else { path };
        if path.contains(&b'#') || query.is_some_and(|query| query.contains(&b'#')) {
            return Err(TargetError::Form);
        }
        let as_sent = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self {
            authority,
            path: decode(path).ok_or(TargetError::Percent)?,
            raw_path: as_sent(path),
            query: query.map(as_sent),
        })
    }

    /// Path and query as they were sent, for logs: without what is a secret, the token of an upload or of a link.
    pub fn shown(&self) -> String {
        match &self.query {
            None => self.raw_path.clone(),
            Some(query) => {
                let pairs: Vec<String> = query.split('&').map(shown_pair).collect();
                format!("{}?{}", self.raw_path, pairs.join("&"))
            }
        }
    }

    /// The query as it was sent, for a redirect: without the token of a link, which is to be in no answer. `None`: there
    /// is nothing left of it.
    pub fn query_for_redirect(&self) -> Option<String> {
        let is_share = |pair: &&str| SecretName::of(pair) == Some(SecretName::Share);
        let kept: Vec<&str> = self.query.as_ref()?.split('&').filter(|pair| !is_share(pair)).collect();
        let has_lost = self.query.as_ref().is_some_and(|query| query.split('&').count() > kept.len());
        if kept.is_empty() && has_lost { None } else { Some(kept.join("&")) }
    }

    /// Whether the query has the token of a link.
    pub fn has_share(&self) -> bool {
        self.query
            .as_ref()
            .is_some_and(|query| query.split('&').any(|pair| SecretName::of(pair) == Some(SecretName::Share)))
    }

    /// Whether the target is `*`, the server as a whole.
    pub fn is_asterisk(&self) -> bool {
        self.path.is_empty()
    }

    /// The value of `name` in the query, decoded; the empty text where it has none. `None`: it is not there.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.as_deref()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
        let value = value.replace('+', " ");
        Some(percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned())
    }
}

/// A name in a query whose value is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SecretName {
    Upload,
    Share,
}

impl SecretName {
    /// The one that a pair of a query has, however it is escaped or written; also that of a pair in which a token made
    /// here stands elsewhere.
    fn of(pair: &str) -> Option<Self> {
        let decoded = percent_decode(pair.as_bytes()).decode_utf8_lossy();
        match decoded.split('=').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "upload" => Some(Self::Upload),
            "share" | "token" => Some(Self::Share),
            _ => has_token(&decoded).then_some(Self::Share),
        }
    }
}

/// How many characters follow [`TOKEN_PREFIX`] at least in what is taken for a token: a few fewer than in one, of which
/// some may have got lost.
const TOKEN_DIGITS_MIN: usize = 20;

fn has_token(text: &str) -> bool {
    let is_digit = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.split(TOKEN_PREFIX).skip(1).any(|rest| rest.chars().take_while(is_digit).count() >= TOKEN_DIGITS_MIN)
}

fn shown_pair(pair: &str) -> String {
    if SecretName::of(pair).is_none() {
        return pair.to_owned();
    }
    match pair.split_once('=') {
        Some((name, _)) if !has_token(&percent_decode(name.as_bytes()).decode_utf8_lossy()) => format!("{name}=..."),
        _ => "...".to_owned(),
    }
}

/// A path as a URL has it: any bytes, those that mean something there escaped.
pub fn encode_path(path: &[u8]) -> String {
    percent_encode(path, ESCAPED).to_string()
}

/// `http://host:port/path?query` (RFC 9112, 3.2.2), as sent to a proxy.
fn absolute(text: &[u8]) -> Result<(Option<Authority>, &[u8]), TargetError> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let (head, rest) = text.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    });
    let rest = rest.ok_or(TargetError::Form)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // RFC 9110, 4.2.4: user information there is a trick.
    if authority.contains(&b'@') {
        return Err(TargetError::Form);
    }
    let authority = Authority::try_from(authority).map_err(|_invalid| TargetError::Form)?;
    Ok((Some(authority), path))
}

/// The bytes with their percent signs decoded once; `None`: one of them has no two hexadecimal digits.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let is_hex = |at: usize| text.get(at).is_some_and(u8::is_ascii_hexdigit);
    let is_whole = text.iter().enumerate().all(|(at, byte)| *byte != b'%' || (is_hex(at + 1) && is_hex(at + 2)));
    is_whole.then(|| percent_decode(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_target_are_told_apart() {
        let parse = |method, text: &str| Target::parse(&method, text.as_bytes());
        let path = |text| parse(Method::GET, text).map(|target| String::from_utf8(target.path).unwrap());
        for (text, want) in [
            ("/", Ok("/")),
            ("/a/b", Ok("/a/b")),
            ("/a%20b%2Fc", Ok("/a b/c")),
            ("/a%2520", Ok("/a%20")),
            ("/a?b=c", Ok("/a")),
            ("http://host/x", Ok("/x")),
            ("HTTP://host:80/x?y", Ok("/x")),
            ("https://host", Ok("/")),
            ("http://host?q", Ok("/")),
            ("/100%", Err(TargetError::Percent)),
            ("/%zz", Err(TargetError::Percent)),
            ("/a#b", Err(TargetError::Form)),
            ("a", Err(TargetError::Form)),
            ("", Err(TargetError::Form)),
            ("host:80", Err(TargetError::Form)),
            ("ftp://host/x", Err(TargetError::Form)),
            ("http://user@host/x", Err(TargetError::Form)),
            ("http:///x", Err(TargetError::Form)),
            ("*", Err(TargetError::Method)),
        ] {
            assert_eq!(path(text), want.map(str::to_owned), "{text}");
        }
        assert!(parse(Method::OPTIONS, "*").unwrap().is_asterisk());
        assert_eq!(parse(Method::CONNECT, "host:80"), Err(TargetError::Method));
        assert_eq!(parse(Method::GET, "http://host:8/x").unwrap().authority.unwrap(), "host:8");
        assert_eq!(Target::parse(&Method::GET, b"/%ff\xfe").unwrap().path, b"/\xff\xfe");
    }

    #[test]
    fn no_secret_is_shown_or_sent_on() {
        let token = "landline_abcdefghij-_0123456789";
        let escaped = "%6candline_abcdefghij-_0123456789";
        for (query, shown, sent_on) in [
            ("a=b&sort=name", "a=b&sort=name", Some("a=b&sort=name")),
            ("search=landline_design", "search=landline_design", Some("search=landline_design")),
            (&format!("share={token}"), "share=...", None),
            ("share", "...", None),
            ("a&share=x&b", "a&share=...&b", Some("a&b")),
            ("%73hare=x", "%73hare=...", None),
            (&format!("%2573hare={token}"), "%2573hare=...", None),
            ("Share=x&SHARE=y", "Share=...&SHARE=...", None),
            ("share%3Dx", "...", None),
            (token, "...", None),
            (&format!("{token}=share"), "...", None),
            (&format!("{escaped}=y"), "...", None),
            (&format!("q={escaped}"), "q=...", None),
            ("share=a=b", "share=...", None),
            ("token=x", "token=...", None),
            ("upload=x", "upload=...", Some("upload=x")),
            ("", "", Some("")),
        ] {
            let target = Target::parse(&Method::GET, format!("/d?{query}").as_bytes()).unwrap();
            assert_eq!(target.shown(), format!("/d?{shown}"), "{query}");
            assert_eq!(target.query_for_redirect().as_deref(), sent_on, "{query}");
        }
        assert_eq!(Target::parse(&Method::GET, b"/d").unwrap().query_for_redirect(), None);
    }

    #[test]
    fn parameters_are_found_in_the_query() {
        let target = Target::parse(&Method::GET, b"/?zip&sort=a%26b+c&x=").unwrap();
        assert_eq!(target.parameter("zip").as_deref(), Some(""));
        assert_eq!(target.parameter("sort").as_deref(), Some("a&b c"));
        assert_eq!(target.parameter("x").as_deref(), Some(""));
        assert_eq!(target.parameter("so"), None);
    }
}
