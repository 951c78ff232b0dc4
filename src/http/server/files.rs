//! GET and HEAD of a file: conditions, ranges, codings, in the order of RFC 9110, 13.2.2.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;

use ::http::header::{self, HeaderName, HeaderValue};
use ::http::{Method, StatusCode};
use cap_std::fs::Metadata;

use super::digests;
use super::directory;
use super::exchange::Exchange;
use super::problem::{Problem, Result};
use super::representation::Representation;
use super::response::{Piece, Response, ResponseBody};
use super::view;
use crate::fs::ErrorKind;
use crate::fs::root::RootPath;
use crate::http::conditions::{EntityTag, Verdict, evaluate, range_applies};
use crate::http::date;
use crate::http::media::{Disposition, content_disposition};
use crate::http::negotiate::media as preferred;
use crate::http::range::{ByteRange, Ranges, unsatisfied_range};
use crate::trust::Service;

/// The file that stands for its directory, where the operator wants that.
const INDEX: &[u8] = b"index.html";

/// Answers GET and HEAD.
///
/// # Errors
/// What the client is told instead.
pub(super) fn get(exchange: &mut Exchange<'_>) -> Result<Response> {
    let path = exchange.path()?;
    if exchange.state.options.is_drop_box {
        return directory::drop_box(exchange, &path);
    }
    exchange.need(Service::Read)?;
    match get_path(exchange, &path) {
        Err(error) if error.is_not_found() && is_page_wanted(exchange) => get_file(exchange, &index(&path, true)?),
        answer => answer,
    }
}

/// Whether the operator's application is to show what does not exist here: to a person, not to a program.
fn is_page_wanted(exchange: &Exchange<'_>) -> bool {
    exchange.state.options.is_spa && preferred(&exchange.head.headers, &["application/json", "text/html"]) == Some(1)
}

fn index(path: &RootPath, is_of_root: bool) -> Result<RootPath> {
    let directory = if is_of_root { RootPath::default() } else { path.clone() };
    Ok(directory.join(INDEX)?)
}

fn get_path(exchange: &mut Exchange<'_>, path: &RootPath) -> Result<Response> {
    match exchange.session.root.open_file(path) {
        Ok((file, metadata)) if !exchange.names_directory() && view::is_wanted(exchange) => {
            view::get(exchange, path, (file.into_std(), &metadata))
        }
        Ok((file, metadata)) if !exchange.names_directory() => send_file(exchange, path, (file.into_std(), &metadata)),
        // A file's name has no slash behind it.
        Ok(_) => Err(Problem::not_found().into()),
        Err(error) if error.kind() == ErrorKind::IsADirectory => get_directory(exchange, path),
        Err(error) => Err(error.into()),
    }
}

fn get_file(exchange: &mut Exchange<'_>, path: &RootPath) -> Result<Response> {
    let (file, metadata) = exchange.session.root.open_file(path)?;
    send_file(exchange, path, (file.into_std(), &metadata))
}

fn send_file(exchange: &mut Exchange<'_>, path: &RootPath, (file, metadata): (File, &Metadata)) -> Result<Response> {
    let chosen = Representation::choose(exchange, path, (file, metadata));
    let headers = &exchange.head.headers;
    match evaluate(headers, true, Some(&chosen.validators)) {
        Verdict::Proceed => {}
        Verdict::NotModified => return Ok(describe(exchange, Response::empty(StatusCode::NOT_MODIFIED), &chosen)),
        Verdict::PreconditionFailed => {
            let message = "the file is not the one that the condition of the request names";
            return Err(Problem::new(StatusCode::PRECONDITION_FAILED, message).into());
        }
    }
    let is_range_wanted = exchange.head.method == Method::GET
        && chosen.is_identity()
        && headers.contains_key(header::RANGE)
        && range_applies(headers, &chosen.validators);
    let ranges = if is_range_wanted { Ranges::requested(headers, chosen.len) } else { Ranges::Whole };
    if ranges == Ranges::Unsatisfiable {
        let message = format!("the range lies beyond the {} bytes of the file", chosen.len);
        let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, message);
        return Err(problem.with_text(header::CONTENT_RANGE, &unsatisfied_range(chosen.len)).into());
    }
    let response = Response::empty(if ranges == Ranges::Whole { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT });
    let mut response = describe(exchange, response, &chosen);
    name_file(exchange, &mut response, path, &chosen);
    digests::add(exchange, &mut response, &chosen, &ranges);
    response.body = match ranges {
        Ranges::Whole | Ranges::Unsatisfiable => chosen.into_body(),
        Ranges::Parts(parts) => match *parts {
            [part] => {
                response = response.with_text(header::CONTENT_RANGE, &part.content_range(chosen.len));
                chosen.into_slice(part.first, part.size())
            }
            _ => several(&mut response, chosen, &parts),
        },
    };
    Ok(response)
}

fn get_directory(exchange: &mut Exchange<'_>, path: &RootPath) -> Result<Response> {
    // What the query asks for is no page.
    if exchange.state.options.shows_index && exchange.names_directory() && exchange.head.target.query.is_none() {
        match get_file(exchange, &index(path, false)?) {
            Err(error) if error.is_not_found() => {}
            answer => return answer,
        }
    }
    directory::get(exchange, path)
}

/// What every answer about a file says of it: a 304 too (RFC 9110, 15.4.5).
fn describe(exchange: &Exchange<'_>, mut response: Response, chosen: &Representation) -> Response {
    if let Some(etag) = chosen.validators.etag.as_ref().and_then(EntityTag::to_header_value) {
        response = response.with(header::ETAG, etag);
    }
    if let Some(modified) = chosen.validators.modified {
        response = response.with_text(header::LAST_MODIFIED, &date::format(modified));
    }
    response = response.with(header::CACHE_CONTROL, exchange.cache_control());
    if chosen.has_others {
        response.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

/// What the body is, and what a browser may do with it.
fn name_file(exchange: &Exchange<'_>, response: &mut Response, path: &RootPath, chosen: &Representation) {
    let mut set = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            response.headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, &chosen.media.content_type());
    if chosen.is_identity() {
        set(header::ACCEPT_RANGES, "bytes");
    } else {
        set(header::CONTENT_ENCODING, chosen.coding.name());
    }
    if chosen.media.is_active() && exchange.state.options.distrusts_files() {
        set(header::CONTENT_SECURITY_POLICY, "sandbox");
    }
    if exchange.head.target.parameter("download").is_some()
        && let Some((_, name)) = path.split_last()
    {
        set(header::CONTENT_DISPOSITION, &content_disposition(Disposition::Attachment, name.as_bytes()));
    }
}

/// Several ranges in one body (RFC 9110, 14.6).
fn several(response: &mut Response, chosen: Representation, parts: &[ByteRange]) -> ResponseBody {
    let boundary = boundary();
    let media = chosen.media.content_type();
    let part = |range: &ByteRange| {
        let front = format!(
            "\r\n--{boundary}\r\ncontent-type: {media}\r\ncontent-range: {}\r\n\r\n",
            range.content_range(chosen.len)
        );
        Piece { front: front.into_bytes(), offset: range.first, len: range.size() }
    };
    let pieces = parts.iter().map(part).collect();
    if let Ok(value) = HeaderValue::from_str(&format!("multipart/byteranges; boundary={boundary}")) {
        response.headers.insert(header::CONTENT_TYPE, value);
    }
    ResponseBody::Pieces { file: chosen.into_file(), pieces, end: format!("\r\n--{boundary}--\r\n").into_bytes() }
}

/// What no file has in it, since none could know it.
fn boundary() -> String {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
