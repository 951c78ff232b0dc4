//! The chat: the handshake of WebSocket (RFC 6455, 4.2), behind which the connection is the server's.

use ::http::header::{self, HeaderName, HeaderValue};
use ::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest as _, Sha1};

use super::exchange::Exchange;
use super::page;
use super::problem::{Problem, Result};
use super::response::Response;
use crate::http::body::BodyLength;
use crate::http::head::{RequestHead, Version, tokens};
use crate::http::page::{ChatPage, PageKind, PagePlace, chat_policy};
use crate::http::site::Site;
use crate::trust::Service;

/// The parameter of the query that means the chat, of whichever directory.
const PARAMETER: &str = "chat";
/// The version of the protocol (4.1, item 9).
const VERSION: &str = "13";
/// What the accept value is made of besides the key (1.3).
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a key (4.1, item 7).
const KEY_LEN: usize = 16;

/// Whether a request is for the chat.
pub(super) fn is_wanted(exchange: &Exchange<'_>) -> bool {
    exchange.state.options.has_chat && exchange.names_directory() && exchange.head.target.parameter(PARAMETER).is_some()
}

/// Answers GET and HEAD.
///
/// # Errors
/// What the client is told instead.
pub(super) fn get(exchange: &Exchange<'_>) -> Result<Response> {
    let path = exchange.path()?;
    if is_handshake(exchange.head) {
        return upgrade(exchange);
    }
    exchange.need(Service::Chat)?;
    let place = PagePlace::of(&path.to_absolute(), true);
    let page = ChatPage::new(page::frame(exchange, PageKind::Chat, place));
    let response = page::response(exchange, page.html())?;
    Ok(response.with_text(header::CONTENT_SECURITY_POLICY, chat_policy()))
}

/// Whether a client wants to go on with WebSocket. Older versions of HTTP know no upgrade (RFC 9110, 7.8).
fn is_handshake(head: &RequestHead) -> bool {
    head.method == Method::GET
        && head.version == Version::Http11
        && tokens(&head.headers, &header::UPGRADE).any(|name| name.eq_ignore_ascii_case("websocket"))
}

/// The server's part of the handshake.
///
/// # Errors
/// A page elsewhere wants it, the client may not chat, or its handshake is none.
fn upgrade(exchange: &Exchange<'_>) -> Result<Response> {
    // A browser sends its cookies wherever the page comes from, and lets that page read (10.2).
    if !matches!(exchange.site, Site::Own | Site::Unsaid) {
        let message = "the chat is refused: a page of another origin wants it";
        return Err(Problem::new(StatusCode::FORBIDDEN, message).into());
    }
    exchange.need(Service::Chat)?;
    let accept = accept(exchange.head)?;
    // What the connection's end has left of it is not for a cache, and no cache takes it.
    Ok(Response::empty(StatusCode::SWITCHING_PROTOCOLS)
        .with(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with_text(header::SEC_WEBSOCKET_ACCEPT, &accept))
}

/// The value that shows the client that its handshake was understood (4.2.2, item 5).
fn accept(head: &RequestHead) -> std::result::Result<String, Problem> {
    let bad = |why: &str| Problem::new(StatusCode::BAD_REQUEST, format!("the handshake of WebSocket {why}"));
    if !matches!(head.body, BodyLength::None | BodyLength::Known(0)) {
        return Err(bad("has a body"));
    }
    if !tokens(&head.headers, &header::CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade")) {
        return Err(bad("does not name upgrade in Connection"));
    }
    let one = |name: &HeaderName| {
        let mut values = head.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok()).map(str::trim)
    };
    if one(&header::SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "the version of WebSocket here is 13");
        return Err(problem.with_text(header::SEC_WEBSOCKET_VERSION, VERSION).with_text(header::UPGRADE, "websocket"));
    }
    let key = one(&header::SEC_WEBSOCKET_KEY).unwrap_or_default();
    match BASE64.decode(key) {
        Ok(bytes) if bytes.len() == KEY_LEN => Ok(accept_value(key)),
        _ => Err(bad("has no Sec-WebSocket-Key of 16 bytes in base64")),
    }
}

fn accept_value(key: &str) -> String {
    BASE64.encode(Sha1::digest(format!("{key}{ACCEPT_GUID}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_standard() {
        assert_eq!(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "RFC 6455, 1.3");
    }

    #[test]
    fn a_handshake_is_whole_or_none() {
        let good = "GET /?chat HTTP/1.1\r\nhost: a\r\nupgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
        let status = |text: &str| {
            let head = RequestHead::parse(text.as_bytes()).unwrap();
            is_handshake(&head).then(|| accept(&head).map_or_else(|problem| problem.status.as_u16(), |_| 101))
        };
        for (clause, from, to, want) in [
            ("4.2.1", "", "", Some(101)),
            ("RFC 9110, 7.8: HTTP/1.0 knows no upgrade", "HTTP/1.1", "HTTP/1.0", None),
            ("4.2.1, item 1: GET", "GET", "HEAD", None),
            ("4.2.1, item 3", "WebSocket", "h2c", None),
            ("4.2.1, item 4", "Upgrade\r", "close\r", Some(400)),
            ("4.2.1, item 5: no key", "sec-websocket-key", "x", Some(400)),
            ("4.2.1, item 5: too short", "dGhlIHNhbXBsZSBub25jZQ==", "dGhl", Some(400)),
            ("4.2.1, item 5: not base64", "dGhl", "d*hl", Some(400)),
            ("11.3.1: two keys", "sec-websocket-version", "sec-websocket-key: x\r\nsec-websocket-version", Some(400)),
            ("4.2.2, item 4", "version: 13", "version: 8", Some(426)),
            ("4.2.2, item 4: none", "sec-websocket-version: 13", "x: y", Some(426)),
            ("a body", "\r\n\r\n", "\r\ncontent-length: 1\r\n\r\n", Some(400)),
        ] {
            assert_eq!(status(&good.replacen(from, to, 1)), want, "{clause}");
        }
    }
}
