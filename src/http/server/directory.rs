//! GET of a directory.

use ::http::StatusCode;

use super::exchange::Exchange;
use super::problem::{Problem, Result};
use super::response::Response;
use crate::fs::root::RootPath;

/// Answers GET and HEAD of a directory.
pub(super) fn get(_exchange: &mut Exchange<'_>, _path: &RootPath) -> Result<Response> {
    Err(Problem::new(StatusCode::FORBIDDEN, "this is a directory").into())
}

/// Answers GET and HEAD where only uploads are taken.
pub(super) fn drop_box(_exchange: &mut Exchange<'_>, _path: &RootPath) -> Result<Response> {
    Err(Problem::not_found().into())
}
