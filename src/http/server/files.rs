//! GET of a file.

use ::http::StatusCode;

use super::exchange::Exchange;
use super::problem::{Problem, Result};
use super::response::{FileSlice, Response, ResponseBody};
use crate::fs::ErrorKind;
use crate::trust::Service;

/// Answers GET and HEAD.
///
/// # Errors
/// What the client is told instead.
pub(super) fn get(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Read)?;
    let path = exchange.path()?;
    let (file, metadata) = match exchange.session.root.open_file(&path) {
        Ok(opened) if !exchange.names_directory() => opened,
        Ok(_) => return Err(Problem::not_found().into()),
        Err(error) if error.kind() == ErrorKind::IsADirectory => {
            return Err(Problem::new(StatusCode::FORBIDDEN, "this is a directory").into());
        }
        Err(error) => return Err(error.into()),
    };
    let body = ResponseBody::File(FileSlice { file: file.into_std(), offset: 0, len: metadata.len() });
    Ok(Response { body, ..Response::empty(StatusCode::OK) })
}
