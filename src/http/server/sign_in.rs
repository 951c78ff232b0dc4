//! Sign-in without an account: a link shows a button, the button's form exchanges its token for a cookie.
//!
//! A GET burns nothing, since messengers look at links before people do; the same page comes back whatever the token
//! is, so that it tells no one which tokens are good. Only POST looks, and Origin has let it pass by then.

use std::fmt;
use std::io::{self, Read as _};

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::uri::Scheme;
use ::http::{Method, StatusCode};
use zeroize::Zeroizing;

use super::admission::{Access, Claim, Client, Seen, SignInRequest, SignedIn};
use super::exchange::Exchange;
use super::page;
use super::problem::{HttpError, Problem, Result};
use super::response::{Response, ResponseBody};
use super::state::HttpState;
use crate::http::body::BodyLength;
use crate::http::cookie::SessionCookie;
use crate::http::head::RequestHead;
use crate::http::negotiate::media as preferred;
use crate::http::page::{PageKind, SignInPage, SignInReason};
use crate::http::target::{Target, encode_path};
use crate::http::urlencoded::{fields, is_form};
use crate::session::Session;
use crate::trust::tokens::{Secret, TokenId};

/// The form that signs in, in bytes: a token, or a link around it, each byte of it escaped.
pub const SIGN_IN_LEN_MAX: u64 = 8 * 1024;

/// The names in the query of the root.
const SHARE: &str = "share";
const SIGN_IN: &str = "sign-in";
const SIGN_OUT: &str = "sign-out";
/// The name of where a visitor was going, in the query of the form.
const TO: &str = "to";
/// Where a visitor was going, in bytes; what is longer is forgotten.
const TO_LEN_MAX: usize = 2 * 1024;
/// The field of the form.
const TOKEN: &[u8] = b"token";
/// The one that makes two sendings of one form one sign-in.
const NONCE: &[u8] = b"nonce";

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// What a request about signing in wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignIn {
    /// The page of a link, or the one with a field.
    Page,
    /// A session.
    Begin,
    /// The end of one.
    End,
}

impl SignIn {
    /// What a request wants, if it is about that. On a server that shows pages of its operator, no request is: those
    /// are served as a guest's to all.
    pub(super) fn of(head: &RequestHead, state: &HttpState) -> Option<Self> {
        let is_static = state.options.shows_index || state.options.is_spa;
        if head.target.path != b"/" || is_static {
            return None;
        }
        let has = |name: &str| head.target.parameter(name).is_some();
        match head.method {
            Method::GET | Method::HEAD if has(SHARE) || has(SIGN_IN) => Some(Self::Page),
            Method::POST if has(SIGN_IN) => Some(Self::Begin),
            Method::POST if has(SIGN_OUT) => Some(Self::End),
            _ => None,
        }
    }

    /// Answers it. The session of the exchange is a guest's, until a sign-in has made it another.
    ///
    /// # Errors
    /// What the client is told instead.
    pub(super) fn respond(
        self,
        exchange: &mut Exchange<'_>,
        access: &mut dyn Access,
        client: &Client<'_>,
    ) -> Result<Response> {
        let head = exchange.head;
        match self {
            Self::Page => {
                let token = head.target.parameter(SHARE);
                let reason = if token.is_some() { SignInReason::Share } else { SignInReason::Needed };
                let page = shown(head, exchange.state, reason, token.as_deref());
                answer(head, StatusCode::OK, page)
            }
            Self::Begin => begin(exchange, access, client),
            Self::End => {
                let cookie = SessionCookie::of(&exchange.scheme, head.authority.as_ref());
                if let Some(id) = presented(head, &exchange.scheme).filter(|_| !exchange.site.is_foreign()) {
                    // For the log: who it was.
                    if let Ok(session) = access.session(&Client { claim: Claim::Session(id), ..*client }) {
                        log_as(exchange, session);
                    }
                    // What cannot be recorded here, the browser forgets all the same.
                    access.sign_out(id).map_err(|error| with_cookie(error, &cookie.delete()))?;
                    exchange.session.report.outcome = Some("signed out".into());
                }
                Ok(to_root().with_text(header::SET_COOKIE, &cookie.delete()))
            }
        }
    }
}

/// The session whose secret is in the cookie of a request.
pub(super) fn presented(head: &RequestHead, scheme: &Scheme) -> Option<TokenId> {
    SessionCookie::of(scheme, head.authority.as_ref()).value(&head.headers).map(TokenId::of)
}

fn begin(exchange: &mut Exchange<'_>, access: &mut dyn Access, client: &Client<'_>) -> Result<Response> {
    let (token, nonce) = read_form(exchange)?;
    let (head, scheme) = (exchange.head, &exchange.scheme);
    let session = presented(head, scheme);
    let with = |id: TokenId| Client { claim: Claim::Session(id), ..*client };
    let signed_in = match access.sign_in(&SignInRequest { secret: &token, nonce: &nonce, session }, client) {
        Ok(signed_in) => signed_in,
        Err(HttpError::Problem(mut problem)) => {
            problem.is_signed_in = session.is_some_and(|id| access.session(&with(id)).is_ok());
            return Err(problem.into());
        }
        Err(lost @ HttpError::Lost(_)) => return Err(lost),
    };
    let id = match &signed_in {
        SignedIn::New(new) => Some(new.secret.id()),
        SignedIn::Already => session,
    };
    if let Some(id) = id {
        let session = access.session(&with(id))?;
        log_as(exchange, session);
    }
    let SignedIn::New(new) = signed_in else { return Ok(onwards(head)) };
    let cookie = SessionCookie::of(&exchange.scheme, head.authority.as_ref());
    let set = Zeroizing::new(cookie.set(new.secret.as_str(), new.lasts.as_secs()));
    exchange.session.report.outcome = Some("signed in".into());
    Ok(onwards(head).with_text(header::SET_COOKIE, &set))
}

/// To where the visitor was going; to the root, where that is not known.
fn onwards(head: &RequestHead) -> Response {
    let to = head.target.parameter(TO).and_then(|to| place_here(&to));
    to.map_or_else(to_root, |to| to_root().with_text(header::LOCATION, &format!(".{to}")))
}

/// A place on this server that can stand behind a dot as a relative reference, which leads nowhere else: it begins with
/// one slash, climbs nowhere, and has no character that a browser could take for another (WHATWG URL, 4.4: a backslash
/// is a slash, tabs and line ends are nothing).
fn place_here(to: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#';
    let target = Some(to).filter(|to| to.len() <= TO_LEN_MAX && to.starts_with('/') && to.bytes().all(is_plain))?;
    let target = Target::parse(&Method::GET, target.as_bytes()).ok()?;
    let mut parts = target.path.split(|byte| matches!(byte, b'/' | b'\\')).skip(1).peekable();
    let is_below = parts.peek().is_some_and(|first| !first.is_empty())
        && parts.all(|part| part != b".." && part != b"." && !part.iter().any(u8::is_ascii_control));
    (is_below && !target.has_share()).then(|| to.to_owned())
}

/// The query that keeps where the visitor of a page was going, while a sign-in is tried; empty: to the root.
fn kept_place(head: &RequestHead) -> String {
    let target = &head.target;
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    let wanted = target.parameter(TO).filter(|_| target.parameter(SIGN_IN).is_some()).or_else(|| {
        let query = target.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        is_read.then(|| format!("{}{query}", target.raw_path))
    });
    let wanted = wanted.and_then(|wanted| place_here(&wanted));
    wanted.map_or_else(String::new, |wanted| format!("&{TO}={}", encode_path(wanted.as_bytes())))
}

/// The same problem, with a cookie.
fn with_cookie(error: HttpError, cookie: &str) -> HttpError {
    match error {
        HttpError::Problem(problem) => problem.with_text(header::SET_COOKIE, cookie).into(),
        lost @ HttpError::Lost(_) => lost,
    }
}

/// From here on the exchange is that of this session, for the log.
fn log_as(exchange: &mut Exchange<'_>, session: Session) {
    let report = std::mem::take(&mut exchange.session.report);
    *exchange.session = session;
    exchange.session.report = report;
}

/// The token in the form, as it was made, or in its link, as a person may have pasted it; and the nonce of the page.
fn read_form(exchange: &mut Exchange<'_>) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>)> {
    if !is_form(&exchange.head.headers) {
        let message = "a sign-in is a form: application/x-www-form-urlencoded, with the field token";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into());
    }
    let too_long = || {
        let message = format!("the form has more than {SIGN_IN_LEN_MAX} bytes, and no token is as long");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    if matches!(exchange.body.length(), BodyLength::Known(len) if len > SIGN_IN_LEN_MAX) {
        return Err(too_long().into());
    }
    let mut form = Zeroizing::new(Vec::new());
    io::copy(&mut (&mut *exchange.body).take(SIGN_IN_LEN_MAX + 1), &mut *form).map_err(HttpError::of_body)?;
    if form.len() as u64 > SIGN_IN_LEN_MAX {
        return Err(too_long().into());
    }
    let field = |wanted: &[u8]| fields(&form).find(|(name, _)| name == wanted).map(|(_, value)| value);
    let token = field(TOKEN)
        .map(Zeroizing::new)
        .map(|typed| Zeroizing::new(within_link(&typed).trim_ascii().to_vec()))
        .unwrap_or_default();
    if token.is_empty() {
        let message = "the field token is empty; it takes the token, or the link with it";
        return Err(Problem::new(StatusCode::FORBIDDEN, message).with_sign_in(SignInReason::Needed).into());
    }
    Ok((token, field(NONCE).unwrap_or_default()))
}

fn within_link(typed: &[u8]) -> &[u8] {
    const MARK: &[u8] = b"/?share=";
    let at = typed.windows(MARK.len()).position(|window| window == MARK);
    at.and_then(|at| typed.get(at + MARK.len()..)).unwrap_or(typed)
}

/// To the root, as the client sees it: relative, so that it holds behind a proxy that adds a prefix.
fn to_root() -> Response {
    Response::empty(StatusCode::SEE_OTHER)
        .with(header::LOCATION, HeaderValue::from_static("./"))
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// What a person is told of a problem that a sign-in can solve. `None`: its client is no browser that shows what comes
/// back, and is told in plain text.
pub(super) fn page_for(problem: &Problem, head: &RequestHead, state: &HttpState) -> Option<Response> {
    let reason = problem.sign_in.filter(|_| is_navigation(&head.headers))?;
    let frame = page::frame_of(head, state, PageKind::SignIn);
    let to = kept_place(head);
    let page = SignInPage { to: &to, has_way_back: problem.is_signed_in, ..SignInPage::new(frame, reason, None) };
    let response = answer(head, problem.status, page.html()).ok()?;
    let mut headers = HeaderMap::clone(&problem.headers);
    headers.remove(header::CONTENT_TYPE);
    headers.extend(response.headers);
    Some(Response { headers, ..response })
}

/// Whether a browser shows what comes back to a person (Fetch Metadata, 2.2). Those to which it does not say so, since
/// they are plain, are known by what they like best.
pub(super) fn is_navigation(headers: &HeaderMap) -> bool {
    let mode = headers.get(SEC_FETCH_MODE).map(HeaderValue::as_bytes);
    headers.contains_key(header::ACCEPT)
        && mode.is_none_or(|mode| mode == b"navigate")
        && preferred(headers, &["text/plain", "application/json", "text/html"]) == Some(2)
}

/// Leaves out the challenge that makes a browser ask for a name and a password, where a page or its script would do
/// better. Every other client is told what it can do, as before.
pub(super) fn drop_basic(response: &mut Response, head: &RequestHead, seen: &Seen) {
    let has_cookie = presented(head, &seen.scheme).is_some();
    let is_browser = has_cookie || is_navigation(&head.headers) || head.headers.contains_key(SEC_FETCH_MODE);
    if is_browser && response.headers.contains_key(header::WWW_AUTHENTICATE) {
        let bearer = HeaderValue::from_static("Bearer realm=\"landline\"");
        response.headers.insert(header::WWW_AUTHENTICATE, bearer);
    }
}

/// Ends the cookie of a session that has ended.
pub(super) fn end_cookie(response: &mut Response, problem: &Problem, head: &RequestHead, seen: &Seen) {
    if problem.sign_in == Some(SignInReason::Ended)
        && let Ok(value) = HeaderValue::from_str(&SessionCookie::of(&seen.scheme, head.authority.as_ref()).delete())
    {
        response.headers.append(header::SET_COOKIE, value);
    }
}

/// The page of a link, or the one with a field.
fn shown(
    head: &RequestHead,
    state: &HttpState,
    reason: SignInReason,
    token: Option<&str>,
) -> Result<Vec<u8>, fmt::Error> {
    let frame = page::frame_of(head, state, PageKind::SignIn);
    // Without a nonce, a form that is sent twice is two.
    let nonce = Secret::random().ok().filter(|_| token.is_some());
    let nonce = nonce.as_ref().map_or("", Secret::as_str);
    let to = kept_place(head);
    SignInPage { nonce, to: &to, ..SignInPage::new(frame, reason, token) }.html()
}

/// The answer with such a page.
fn answer(head: &RequestHead, status: StatusCode, html: Result<Vec<u8>, fmt::Error>) -> Result<Response> {
    let body = ResponseBody::Bytes(html.map_err(page::unmade)?);
    let response = page::with_headers(head, Response { body, ..Response::empty(status) })
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        // The address of the page may be a secret; with no-referrer its form would send no Origin that is ours.
        .with(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin"))
        .with(ROBOTS, HeaderValue::from_static("noindex"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_a_person_looks_at_is_told_from_all_else() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        for (client, accept, mode, want) in [
            ("a browser, over TLS", Some(chrome), Some("navigate"), true),
            ("a browser, plain", Some(chrome), None, true),
            ("fetch() of a page", Some("*/*"), Some("cors"), false),
            ("fetch() of a page, plain", Some("*/*"), None, false),
            ("a picture of a page", Some("image/avif,image/webp,*/*;q=0.8"), Some("no-cors"), false),
            ("fetch() that accepts pages", Some(chrome), Some("cors"), false),
            ("curl, wget, rclone", Some("*/*"), None, false),
            ("GVfs, Explorer", None, None, false),
            ("a program that reads JSON", Some("application/json"), None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            if let Some(mode) = mode {
                headers.insert(SEC_FETCH_MODE, mode.parse().unwrap());
            }
            assert_eq!(is_navigation(&headers), want, "{client}");
        }
    }

    #[test]
    fn a_sign_in_leads_to_a_place_on_this_server_only() {
        for place in ["/dir/", "/dir/file?view", "/a%20b/%E6%94%B6?view&source", "/a?x=//b", "/a//b", "/...", "/a:b@c"]
        {
            assert_eq!(place_here(place).as_deref(), Some(place));
        }
        for (why, place) in [
            ("another host", "//evil.example/"),
            ("a URL", "https://evil.example/"),
            ("a scheme", "javascript:alert(1)"),
            ("no slash", "evil.example"),
            ("a backslash", "/\\evil.example"),
            ("a backslash, escaped", "/%5cevil.example"),
            ("a slash, escaped", "/%2fevil.example"),
            ("above", "/../x"),
            ("above, escaped", "/a/%2e%2E/%2e./x"),
            ("this", "/./x"),
            ("a tab", "/\t/evil.example"),
            ("a line end", "/a\r\nSet-Cookie: x"),
            ("a line end, escaped", "/a%0d%0aSet-Cookie: x"),
            ("a control character, escaped", "/a%00"),
            ("a fragment", "/a#b"),
            ("a blank", "/a b"),
            ("no ASCII", "/\u{ff0f}evil"),
            ("a broken escape", "/%x"),
            ("a link's secret", "/a?share=x"),
            ("the root", "/"),
            ("nothing", ""),
        ] {
            assert_eq!(place_here(place), None, "{why}");
        }
        assert_eq!(place_here(&"/a".repeat(TO_LEN_MAX)), None, "too long");
    }

    #[test]
    fn a_token_is_found_in_the_link_around_it() {
        for (typed, want) in [
            ("landline_x", "landline_x"),
            ("http://10.0.0.1:8000/?share=landline_x", "landline_x"),
            ("https://a/?share=", ""),
            ("share=landline_x", "share=landline_x"),
        ] {
            assert_eq!(within_link(typed.as_bytes()), want.as_bytes(), "{typed}");
        }
    }
}
