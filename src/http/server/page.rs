//! What all pages need of a request: its language, who looks, what the visitor may do.

use std::fmt;

use ::http::StatusCode;
use ::http::header::{self, HeaderMap, HeaderValue};

use super::exchange::Exchange;
use super::problem::{Problem, Result};
use super::representation::{compressed_body, unless_known};
use super::response::{Response, ResponseBody};
use super::sign_in::is_navigation;
use super::state::HttpState;
use crate::http::cookie;
use crate::http::head::RequestHead;
use crate::http::negotiate;
use crate::http::page::{Frame, Language, May, PageKind, PagePlace, ProblemPage, Strings, Visitor, page_policy};
use crate::session::Session;
use crate::trust::{Peer, Service};

/// What a page depends on besides its address.
const VARY: &str = "Accept, Accept-Encoding, Accept-Language, Cookie";
/// The cookie that keeps the language which a visitor has chosen.
const LANGUAGE_COOKIE: &str = "landline-lang";

/// What stands around a page.
pub(super) fn frame<'e>(exchange: &'e Exchange<'_>, kind: PageKind, place: PagePlace) -> Frame<'e> {
    let options = &exchange.state.options;
    let may_write = exchange.session.services.has(Service::Write);
    let may = May {
        upload: options.uploads && may_write,
        modify: options.modifies && may_write && exchange.session.services.has(Service::Read),
        chat: options.has_chat && kind != PageKind::Chat && exchange.session.services.has(Service::Chat),
    };
    let visitor = Some(visitor(exchange.session));
    let query = exchange.head.target.query.as_deref().unwrap_or_default();
    let title = options.title.as_deref();
    Frame { strings: Strings::of(language(exchange.head)), kind, title, tab: None, place, may, visitor, query }
}

/// What stands around a page where the server may not know who looks.
pub(super) fn frame_of<'h>(head: &'h RequestHead, state: &'h HttpState, kind: PageKind) -> Frame<'h> {
    Frame {
        strings: Strings::of(language(head)),
        kind,
        title: state.options.title.as_deref(),
        tab: None,
        place: PagePlace::of_address(&head.target.raw_path),
        may: May::default(),
        visitor: None,
        query: head.target.query.as_deref().unwrap_or_default(),
    }
}

/// What a person is told of a request that is not served, and who that is, where the server knows. `None`: its client is
/// no browser that shows what comes back.
pub(super) fn problem(
    problem: &Problem,
    head: &RequestHead,
    state: &HttpState,
    session: Option<&Session>,
) -> Option<Response> {
    if problem.status.as_u16() < 400 || !is_navigation(&head.headers) {
        return None;
    }
    let frame = Frame { visitor: session.map(visitor), ..frame_of(head, state, PageKind::Problem) };
    let html = ProblemPage::new(frame, problem.status.as_u16(), &problem.message).html().ok()?;
    let response = Response { body: ResponseBody::Bytes(html), ..Response::empty(problem.status) };
    let mut response = with_headers(head, response);
    response.headers.extend(HeaderMap::clone(&problem.headers));
    Some(compressed(head, response.with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))))
}

/// Who has this session.
pub(super) fn visitor(session: &Session) -> Visitor<'_> {
    let name = match &session.peer {
        Peer::Known { name, .. } | Peer::Token { name, .. } => Some(name.as_str()),
        Peer::Own => Some("own user"),
        Peer::Guest { .. } => None,
    };
    Visitor { name, has_session: matches!(session.peer, Peer::Token { is_session: true, .. }) }
}

/// The language of a request: the one that it names, that its visitor has chosen before, or that is wanted most.
pub(super) fn language(head: &RequestHead) -> Language {
    let chosen = chosen_language(head).or_else(|| {
        let value = cookie::values(&head.headers, LANGUAGE_COOKIE).next()?;
        std::str::from_utf8(value).ok().and_then(Language::by_subtag)
    });
    chosen.unwrap_or_else(|| Language::wanted(&negotiate::languages(&head.headers)))
}

/// Where the reader of a page may have old texts from, as a top-level domain; `None`: that is not known.
pub(super) fn region(head: &RequestHead) -> Option<&'static str> {
    let ranges = negotiate::languages(&head.headers);
    let first = ranges.first().map(String::as_str).unwrap_or_default();
    let is = |wanted: &str| first.split('-').next() == Some(wanted);
    if is("zh") && ["-hant", "-tw", "-hk", "-mo"].iter().any(|part| first.contains(part)) {
        Some("tw")
    } else if is("ja") {
        Some("jp")
    } else if is("ko") {
        Some("kr")
    } else {
        (language(head) == Language::Zh).then_some("cn")
    }
}

/// The language that the query of a request names; `None`: none, or none that there is.
fn chosen_language(head: &RequestHead) -> Option<Language> {
    head.target.parameter("lang").and_then(|value| Language::by_subtag(&value))
}

/// The answer with a page that was made in memory, in the coding that the client prefers.
///
/// # Errors
/// The page could not be made.
pub(super) fn response(exchange: &Exchange<'_>, html: std::result::Result<Vec<u8>, fmt::Error>) -> Result<Response> {
    let html = html.map_err(unmade)?;
    let body = ResponseBody::Bytes(html);
    let response =
        unless_known(exchange, with_headers(exchange.head, Response { body, ..Response::empty(StatusCode::OK) }));
    Ok(compressed(exchange.head, response))
}

/// A page that could not be made.
pub(super) fn unmade(error: fmt::Error) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the page could not be made: {error}"))
}

/// The same answer with the headers of a page. A language that the request names is kept.
pub(super) fn with_headers(head: &RequestHead, response: Response) -> Response {
    let response = response
        .with(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))
        .with_text(header::CONTENT_SECURITY_POLICY, page_policy())
        // It depends on the program too, and a cache of one's own serves one program.
        .with(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"))
        .with(header::VARY, HeaderValue::from_static(VARY));
    match chosen_language(head) {
        Some(language) => {
            let name = language.subtag();
            let cookie = format!("{LANGUAGE_COOKIE}={name}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly");
            response.with_text(header::SET_COOKIE, &cookie)
        }
        None => response,
    }
}

/// The same answer in the coding that the client prefers.
pub(super) fn compressed(head: &RequestHead, response: Response) -> Response {
    let ResponseBody::Bytes(bytes) = &response.body else { return response };
    let Some((body, coding)) = compressed_body(&head.headers, bytes) else { return response };
    let body = ResponseBody::Bytes(body);
    Response { body, ..response }.with(header::CONTENT_ENCODING, HeaderValue::from_static(coding))
}
