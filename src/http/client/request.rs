//! A request, and its head as bytes (RFC 9112, 3).

use ::http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION, SET_COOKIE};
use ::http::{HeaderMap, Method};

use super::content::Content;
use super::url::Url;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// What it is for.
    pub url: Url,
    /// Its fields but `Host` and those of the framing.
    pub headers: HeaderMap,
    /// Fields that only the origin of the first URL may see, and only while the request is for it.
    pub secrets: HeaderMap,
    /// What it carries; `None`: nothing, not even a length of 0.
    pub content: Option<Content>,
    /// The byte from which on the content is sent.
    pub content_from: u64,
    /// Whether a server is asked if it wants content that is long (RFC 9110, 10.1.1).
    pub asks_first: bool,
}

impl Request {
    /// A request that carries nothing.
    pub fn new(method: Method, url: Url) -> Self {
        let (headers, secrets) = (HeaderMap::new(), HeaderMap::new());
        Self { method, url, headers, secrets, content: None, content_from: 0, asks_first: true }
    }

    /// Bytes of the content that are sent; `None`: it has no length.
    pub fn content_len(&self) -> Option<u64> {
        let len = self.content.as_ref().map_or(Some(0), Content::len)?;
        Some(len.saturating_sub(self.content_from))
    }

    /// The lines of the head: the first one, and the fields.
    pub fn lines(&self, target: &str, more: &[(HeaderName, HeaderValue)]) -> Vec<(Option<HeaderName>, Vec<u8>)> {
        let first = format!("{} {target} HTTP/1.1", self.method).into_bytes();
        let mut lines = vec![(None, first)];
        // RFC 9110, 7.2: first of all.
        if !self.headers.contains_key(HOST) {
            let authority = self.url.origin().authority();
            lines.push((Some(HOST), field(&HOST, authority.as_bytes())));
        }
        let fields = self.headers.iter().chain(&self.secrets).chain(more.iter().map(|(name, value)| (name, value)));
        lines.extend(fields.map(|(name, value)| (Some(name.clone()), field(name, value.as_bytes()))));
        lines
    }
}

/// A field as most programs write it.
fn field(name: &HeaderName, value: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(name.as_str().len() + 2 + value.len());
    let mut is_start = true;
    for byte in name.as_str().bytes() {
        line.push(if is_start { byte.to_ascii_uppercase() } else { byte });
        is_start = byte == b'-';
    }
    line.extend_from_slice(b": ");
    line.extend_from_slice(value);
    line
}

/// The head as it goes over the wire.
pub fn head_of(lines: &[(Option<HeaderName>, Vec<u8>)]) -> Vec<u8> {
    let mut head = Vec::new();
    for (_, line) in lines {
        head.extend_from_slice(line);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Whether what a field of this name says is a secret.
pub fn is_secret(name: &HeaderName) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE].contains(name)
}

/// A line as it may be shown: a secret as the number of its characters, behind the name of its scheme.
pub fn shown(name: Option<&HeaderName>, line: &[u8]) -> Vec<u8> {
    let Some(at) = line.iter().position(|byte| *byte == b':').filter(|_| name.is_some_and(is_secret)) else {
        return line.to_vec();
    };
    let (front, value) = line.split_at(at + 1);
    let value = value.trim_ascii();
    let is_credentials = name.is_some_and(|name| *name == AUTHORIZATION || *name == PROXY_AUTHORIZATION);
    let scheme = value.split(|byte| *byte == b' ').next().filter(|_| is_credentials && value.contains(&b' '));
    let scheme = scheme.map(|scheme| [scheme, b" "].concat()).unwrap_or_default();
    let hidden = format!("({} bytes, hidden)", value.len() - scheme.len());
    [front, b" ", &scheme, hidden.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_as_the_standard_has_it() {
        let mut request = Request::new(Method::GET, Url::parse("http://a:81/b?c").unwrap());
        request.headers.insert("x-own", HeaderValue::from_static("1"));
        request.secrets.insert(AUTHORIZATION, HeaderValue::from_static("Bearer t"));
        let head = head_of(&request.lines("/b?c", &[]));
        let want = "GET /b?c HTTP/1.1\r\nHost: a:81\r\nX-Own: 1\r\nAuthorization: Bearer t\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), want);
        request.headers.insert(HOST, HeaderValue::from_static("other"));
        assert_eq!(request.lines("/", &[]).iter().filter(|(name, _)| *name == Some(HOST)).count(), 1);
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        for (name, line, want) in [
            (AUTHORIZATION, "Authorization: Bearer secret", "Authorization: Bearer (6 bytes, hidden)"),
            (AUTHORIZATION, "authorization:secret", "authorization: (6 bytes, hidden)"),
            (
                PROXY_AUTHORIZATION,
                "Proxy-Authorization: Basic c2VjcmV0",
                "Proxy-Authorization: Basic (8 bytes, hidden)",
            ),
            (COOKIE, "Cookie: a=secret; b", "Cookie: (11 bytes, hidden)"),
            (SET_COOKIE, "Set-Cookie: a=secret", "Set-Cookie: (8 bytes, hidden)"),
            (HOST, "Host: a", "Host: a"),
        ] {
            assert_eq!(String::from_utf8(shown(Some(&name), line.as_bytes())).unwrap(), want);
        }
        assert_eq!(shown(None, b"GET /: HTTP/1.1"), b"GET /: HTTP/1.1");
    }
}
