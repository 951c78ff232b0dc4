//! PUT of a file: it has its name when it is whole and on the disk, and not before (RFC 9110, 9.3.4).
//!
//! What can be refused is refused before the body is read, so that a client that waits for 100 Continue need not send
//! it. What a known peer has sent when its connection breaks is kept, listed nowhere, for its next attempt by any
//! program; what a guest has sent is kept only for a resumable upload, whose URL is then all that it has of it.

use ::http::StatusCode;
use ::http::header::HeaderName;

use super::exchange::Exchange;
use super::intake::{self, Digests, FileTarget, Intake, Room, broken, content_length};
use super::problem::{Problem, Result};
use super::response::Response;
use super::resumable;
use crate::http::head::digits;
use crate::http::resumable::{UPLOAD_COMPLETE, UploadFields, boolean};
use crate::trust::Service;

/// The length of a file that comes in chunks: Finder sends it so, with the length in a field of its own.
const EXPECTED_LEN: HeaderName = HeaderName::from_static("x-expected-entity-length");

fn expected_len(exchange: &Exchange<'_>) -> Option<u64> {
    digits(exchange.head.text(&EXPECTED_LEN)?.as_bytes())
}

/// Answers PUT.
///
/// # Errors
/// What the client is told instead, or that the connection is gone.
pub(super) fn put(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    let headers = &exchange.head.headers;
    intake::check_content(headers)?;
    let path = exchange.new_path(&exchange.head.target.path)?;
    if exchange.names_directory() {
        let message = "the URL names a directory; put a file's name behind it";
        return Err(Problem::new(StatusCode::CONFLICT, message).into());
    }
    let fields = UploadFields::of(headers);
    let len = content_length(exchange, &fields)?;
    let digests = Digests::of(headers)?;
    let target = FileTarget::of(exchange, path)?;
    if resumable::is_wanted(&fields) {
        return resumable::create(exchange, &target, (&fields, len, digests));
    }
    let announced = len.or_else(|| expected_len(exchange));
    let room = Room::find(exchange, &target.dir, announced, None)?;
    let part =
        exchange.session.parts.create_counted(target.dir.clone(), &target.name, FileTarget::preserved(exchange))?;
    let expected = digests.content.into_iter().chain(digests.whole).collect();
    let mut intake = Intake::new(part, room, expected);
    if let Err(error) = intake.take_all(exchange.body, len) {
        return Err(broken(intake.part, error));
    }
    if let Err(error) = intake.check() {
        return Err(broken(intake.part, error));
    }
    let size = intake.part.size();
    if let Some(announced) = announced.filter(|announced| *announced != size) {
        let message = format!("{size} bytes came where X-Expected-Entity-Length says {announced}; nothing was stored");
        return Err(broken(intake.part, Problem::new(StatusCode::BAD_REQUEST, message).into()));
    }
    let conditions = intake::conditions_of(&exchange.head.headers);
    let published = intake::publish(exchange, &target, intake.part, &conditions)?;
    exchange.session.report.outcome = Some(format!("{size} bytes"));
    let response = intake::stored(exchange, &target, &published);
    // One that would have been resumed, had its client spoken our version of the draft.
    Ok(if fields.complete.is_some() { response.with(UPLOAD_COMPLETE, boolean(true)) } else { response })
}
