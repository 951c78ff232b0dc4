//! PUT of a file: it has its name when it is whole and on the disk, and not before (RFC 9110, 9.3.4).
//!
//! What can be refused is refused before the body is read, so that a client that waits for 100 Continue need not send
//! it. What a known peer has sent when its connection breaks is kept, listed nowhere, for its next attempt by any
//! program; what a guest has sent is kept only for a resumable upload, whose URL is then all that it has of it.

use ::http::StatusCode;

use super::exchange::Exchange;
use super::intake::{self, Digests, FileTarget, Intake, Room};
use super::problem::{HttpError, Problem, Result};
use super::response::Response;
use super::resumable;
use crate::fs::part::Part;
use crate::http::body::BodyLength;
use crate::http::resumable::{UPLOAD_COMPLETE, UploadFields, boolean};
use crate::trust::Service;

/// Answers PUT.
///
/// # Errors
/// What the client is told instead, or that the connection is gone.
pub(super) fn put(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    let headers = &exchange.head.headers;
    intake::check_content(headers)?;
    let path = exchange.path()?;
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
    let room = Room::find(exchange, &target.dir, len, None)?;
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
    let conditions = intake::conditions_of(&exchange.head.headers);
    let published = intake::publish(exchange, &target, intake.part, &conditions)?;
    exchange.session.report.outcome = Some(format!("{size} bytes"));
    let response = intake::stored(exchange, &target, &published);
    // One that would have been resumed, had its client spoken our version of the draft.
    Ok(if fields.complete.is_some() { response.with(UPLOAD_COMPLETE, boolean(true)) } else { response })
}

/// Length of the content in bytes; `None`: it comes in chunks.
///
/// # Errors
/// Nothing says where it ends (411). An upload that only begins may have none.
pub(super) fn content_length(exchange: &Exchange<'_>, fields: &UploadFields) -> Result<Option<u64>> {
    match exchange.body.length() {
        BodyLength::Known(len) => Ok(Some(len)),
        BodyLength::Chunked => Ok(None),
        BodyLength::None if fields.complete == Some(false) => Ok(Some(0)),
        BodyLength::None | BodyLength::ToEnd => {
            let message = "say how long the body is: Content-Length, or chunks";
            Err(Problem::new(StatusCode::LENGTH_REQUIRED, message).into())
        }
    }
}

/// What has come of a file is kept if its sender was cut off, and of no use if it was refused; but an upload may find
/// room later.
pub(super) fn broken(part: Part, error: HttpError) -> HttpError {
    let is_kept = match &error {
        HttpError::Lost(_) => true,
        HttpError::Problem(problem) if problem.status == StatusCode::INSUFFICIENT_STORAGE => part.is_upload(),
        HttpError::Problem(problem) => problem.status == StatusCode::REQUEST_TIMEOUT,
    };
    if !is_kept {
        part.discard();
    }
    error
}
