//! Redirects (RFC 9110, 15.4): where a request goes next, and as what.

use ::http::{Method, StatusCode};

use super::url::{Url, UrlError};

/// Redirects that are followed unless the caller says otherwise.
pub const REDIRECTS_MAX: usize = 20;

/// The next request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where to.
    pub url: Url,
    /// Its method.
    pub method: Method,
    /// Whether what the first request carried goes along.
    pub keeps_body: bool,
}

/// A redirect cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// It does not say where to.
    #[error("the server redirects ({status}) and does not say where to")]
    NoLocation {
        /// The status.
        status: StatusCode,
    },
    /// It leads to no URL that can be fetched.
    #[error("the server redirects to {0}")]
    Url(#[from] UrlError),
    /// It leads from TLS to plain text.
    #[error("the server redirects to {to}, which is not encrypted; if that is wanted, request it by itself")]
    Downgrade {
        /// Where it leads.
        to: String,
    },
    /// It leads to where it came from.
    #[error("the redirects go in a circle: {0}")]
    Loop(String),
    /// There are too many.
    #[error("over {limit} redirects; the last one leads to {to}")]
    TooMany {
        /// The limit.
        limit: usize,
        /// Where the last one leads.
        to: String,
    },
}

/// Whether a response of this status leads elsewhere by itself: 300 lets a person choose, 304 is no redirect, 305 and
/// 306 are not used any more.
pub fn leads_elsewhere(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The requests of one fetch so far.
#[derive(Debug)]
pub struct Redirects {
    limit: usize,
    visited: Vec<(Method, Url)>,
}

impl Redirects {
    /// Follows at most `limit` of them.
    pub const fn new(limit: usize) -> Self {
        Self { limit, visited: Vec::new() }
    }

    /// How many were followed.
    pub fn count(&self) -> usize {
        self.visited.len()
    }

    /// Where the response with `status` and `location` to a request of `method` for `url` leads.
    ///
    /// # Errors
    /// [`RedirectError`].
    pub fn next(
        &mut self,
        (method, url): (&Method, &Url),
        (status, location): (StatusCode, Option<&str>),
    ) -> Result<Step, RedirectError> {
        let location = location.ok_or(RedirectError::NoLocation { status })?;
        let to = url.join(location)?;
        let method_then = match status.as_u16() {
            // 15.4.4: whatever it was, the answer is fetched.
            303 if method != Method::HEAD => Method::GET,
            // 15.4.2 and 15.4.3, with their notes: as all user agents have it.
            301 | 302 if method == Method::POST => Method::GET,
            _ => method.clone(),
        };
        let keeps_body = method_then == *method;
        if url.is_encrypted() && !to.is_encrypted() {
            return Err(RedirectError::Downgrade { to: to.to_string() });
        }
        self.visited.push((method.clone(), url.clone()));
        if let Some(at) = self.visited.iter().position(|(method, url)| (method, url) == (&method_then, &to)) {
            let circle = self.visited.iter().skip(at).map(|(_, url)| url).chain([&to]);
            let circle: Vec<String> = circle.map(ToString::to_string).collect();
            return Err(RedirectError::Loop(circle.join(" -> ")));
        }
        if self.visited.len() > self.limit {
            return Err(RedirectError::TooMany { limit: self.limit, to: to.to_string() });
        }
        Ok(Step { url: to, method: method_then, keeps_body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn step(method: &Method, status: u16, from: &str, location: &str) -> Result<Step, RedirectError> {
        let status = StatusCode::from_u16(status).unwrap();
        Redirects::new(REDIRECTS_MAX).next((method, &url(from)), (status, Some(location)))
    }

    #[test]
    fn the_method_changes_as_the_standard_says() {
        let (get, head, post, put) = (Method::GET, Method::HEAD, Method::POST, Method::PUT);
        for (clause, status, method, want) in [
            ("15.4.2", 301, &get, &get),
            ("15.4.2", 301, &post, &get),
            ("15.4.2", 301, &put, &put),
            ("15.4.3", 302, &post, &get),
            ("15.4.3", 302, &head, &head),
            ("15.4.4", 303, &post, &get),
            ("15.4.4", 303, &put, &get),
            ("15.4.4", 303, &head, &head),
            ("15.4.8", 307, &post, &post),
            ("15.4.9", 308, &post, &post),
            ("15.4.9", 308, &put, &put),
        ] {
            let step = step(method, status, "http://a/b", "/c").unwrap();
            assert_eq!((&step.method, step.keeps_body), (want, want == method), "RFC 9110, {clause}: {status}");
        }
        for (status, leads) in [(300, false), (301, true), (304, false), (305, false), (306, false), (308, true)] {
            assert_eq!(leads_elsewhere(StatusCode::from_u16(status).unwrap()), leads, "{status}");
        }
    }

    #[test]
    fn nothing_goes_from_tls_to_plain_text() {
        assert_eq!(step(&Method::GET, 302, "http://a/", "https://b/x").unwrap().url, url("https://b/x"));
        let error = step(&Method::GET, 302, "https://a/", "http://a/x").unwrap_err();
        assert_eq!(error, RedirectError::Downgrade { to: "http://a/x".into() });
        for bad in ["ftp://a/", "http://u:p@a/", "http://"] {
            assert!(matches!(step(&Method::GET, 302, "http://a/", bad), Err(RedirectError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn circles_and_long_ways_end() {
        let found = StatusCode::FOUND;
        let mut redirects = Redirects::new(3);
        let get = Method::GET;
        redirects.next((&get, &url("http://a/1")), (found, Some("2"))).unwrap();
        let error = redirects.next((&get, &url("http://a/2")), (found, Some("1"))).unwrap_err();
        assert_eq!(error, RedirectError::Loop("http://a/1 -> http://a/2 -> http://a/1".into()));
        // A form's answer may be at its own address.
        assert!(step(&Method::POST, 303, "http://a/form", "form").is_ok());
        let mut redirects = Redirects::new(3);
        for at in 0..3 {
            let (from, to) = (format!("http://a/{at}"), format!("{}", at + 1));
            redirects.next((&get, &url(&from)), (found, Some(&to))).unwrap();
        }
        let error = redirects.next((&get, &url("http://a/3")), (found, Some("4"))).unwrap_err();
        assert_eq!(error, RedirectError::TooMany { limit: 3, to: "http://a/4".into() });
        let none = Redirects::new(3).next((&get, &url("http://a/")), (found, None));
        assert_eq!(none, Err(RedirectError::NoLocation { status: found }));
    }
}
