//! POST of a form to a directory: its files, stored one after the other as they come, each when it is whole.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStringExt as _;

use ::http::StatusCode;
use ::http::header::{self, HeaderValue};
use serde_json::json;

use super::dav::guard;
use super::exchange::{Exchange, RequestBody};
use super::intake::{self, FileTarget, Intake, Room, broken, content_length};
use super::options::OnExists;
use super::problem::{HttpError, Problem, Result};
use super::response::Response;
use super::resumable;
use crate::fs::part::Checksum;
use crate::fs::part::naming::Naming;
use crate::fs::root::RootPath;
use crate::http::media::parse_disposition_name;
use crate::http::multipart::{Boundary, FORM_BUFFER_LEN, FormError, FormReader};
use crate::http::negotiate::media as preferred;
use crate::http::resumable::UploadFields;
use crate::http::target::encode_path;
use crate::trust::Service;

/// Names of stored files that an error message has, at most; the others are counted.
const NAMES_TOLD_MAX: usize = 20;

/// The field that says what happens to files behind it whose names are taken.
const ON_EXISTS: &[u8] = b"exists";
/// Its values are no longer, in bytes.
const ON_EXISTS_LEN_MAX: usize = 16;

/// A file of a form that was stored.
#[derive(Debug)]
struct Stored {
    name: OsString,
    size: u64,
}

/// Answers POST.
///
/// # Errors
/// What the client is told instead, or that the connection is gone.
pub(super) fn post(exchange: &mut Exchange<'_>) -> Result<Response> {
    exchange.need(Service::Write)?;
    let directory = exchange.new_path(&exchange.head.target.path)?;
    let is_box = exchange.state.options.is_drop_box;
    if is_box && !directory.is_root() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "files are taken here at the top only").into());
    }
    if !is_box && !exchange.session.root.is_dir(&directory) {
        let message = "a form is sent to a directory, and there is none of this name";
        return Err(Problem::new(StatusCode::CONFLICT, message).into());
    }
    let headers = &exchange.head.headers;
    let fields = UploadFields::of(headers);
    if resumable::is_wanted(&fields) {
        return create(exchange, &directory, &fields);
    }
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let Some(boundary) = Boundary::of(content_type).map_err(problem_of)? else {
        let message = "a directory takes forms: multipart/form-data; PUT sends a file by itself";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into());
    };
    intake::check_content(headers)?;
    if let Some(len) = content_length(exchange, &UploadFields::default())? {
        intake::check_room(exchange, &directory, len)?;
    }
    let budget = exchange.session.memory.budget();
    budget.take(FORM_BUFFER_LEN).map_err(|over| over.refusal("form"))?;
    let mut stored = Vec::new();
    match store_all(exchange, &directory, &boundary, &mut stored) {
        Ok(()) => Ok(answer(exchange, &directory, &stored)),
        Err(error) => Err(with_stored(error, &stored)),
    }
}

/// An upload of one file to a directory, named as RFC 6266 has it.
fn create(exchange: &mut Exchange<'_>, directory: &RootPath, fields: &UploadFields) -> Result<Response> {
    let headers = &exchange.head.headers;
    intake::check_content(headers)?;
    let disposition = headers.get(header::CONTENT_DISPOSITION).and_then(|value| value.to_str().ok());
    let Some(name) = disposition.and_then(parse_disposition_name) else {
        let message = "say the file's name: Content-Disposition: inline; filename=\"NAME\"";
        return Err(Problem::new(StatusCode::BAD_REQUEST, message).into());
    };
    let len = content_length(exchange, fields)?;
    let digests = intake::Digests::of(headers)?;
    let path = path_in(exchange, directory, name.as_bytes())?;
    let target = FileTarget::of(exchange, path)?;
    resumable::create(exchange, &target, (fields, len, digests))
}

/// The path of a file of this name, as the client may use it.
fn path_in(exchange: &Exchange<'_>, directory: &RootPath, name: &[u8]) -> Result<RootPath> {
    exchange.new_path(&[&directory.to_absolute(), &b"/"[..], name].concat())
}

fn store_all(
    exchange: &mut Exchange<'_>,
    directory: &RootPath,
    boundary: &Boundary,
    stored: &mut Vec<Stored>,
) -> Result<()> {
    let mut names = HashSet::new();
    // The form borrows the body, and each file the rest of the exchange.
    let Exchange { state, head, session, site, scheme, body } = exchange;
    let mut nothing = Nothing;
    let mut on_exists = state.options.on_exists;
    let mut form = FormReader::new(&mut **body, boundary);
    while let Some(entry) = form.next_entry().map_err(problem_of)? {
        let Some(name) = entry.file_name else {
            if entry.name == ON_EXISTS {
                on_exists = chosen(state.options.on_exists, &mut form)?;
            }
            continue;
        };
        let exchange = Exchange { state, head, session, site: *site, scheme: scheme.clone(), body: &mut nothing };
        let path = path_in(&exchange, directory, &name)?;
        let name = OsString::from_vec(name);
        let is_second = !names.insert(name.clone());
        // A second one of a name that the form had before gets another name: both were meant.
        let rule = if is_second && on_exists == OnExists::Replace { OnExists::Rename } else { on_exists };
        stored.push(store_one(&exchange, path, rule, &mut form)?);
    }
    if stored.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the form has no file").into());
    }
    let size: u64 = stored.iter().map(|file| file.size).sum();
    exchange.session.report.outcome = Some(format!("{} files, {size} bytes", stored.len()));
    Ok(())
}

/// What the entry that a form is at wants to happen to a file whose name is taken. Where the server does not replace
/// files, no form does.
fn chosen<R: Read>(servers: OnExists, form: &mut FormReader<R>) -> Result<OnExists> {
    let mut value = Vec::new();
    loop {
        match form.piece().map_err(problem_of)? {
            [] => break,
            piece => value.extend_from_slice(piece.get(..ON_EXISTS_LEN_MAX).unwrap_or(piece)),
        }
        value.truncate(ON_EXISTS_LEN_MAX);
    }
    let wanted = match &*value {
        b"replace" => OnExists::Replace,
        b"rename" => OnExists::Rename,
        b"refuse" => OnExists::Refuse,
        _ => {
            let message = "the field exists takes replace, rename or refuse";
            return Err(Problem::new(StatusCode::BAD_REQUEST, message).into());
        }
    };
    Ok(if servers == OnExists::Replace { wanted } else { servers })
}

/// Stores the entry that a form is at.
fn store_one<R: Read>(
    exchange: &Exchange<'_>,
    path: RootPath,
    on_exists: OnExists,
    form: &mut FormReader<R>,
) -> Result<Stored> {
    let target = FileTarget::of(exchange, path)?;
    let room = Room::find(exchange, &target.dir, None, None)?;
    let preserved = FileTarget::preserved(exchange);
    // One of several: nothing goes on with it.
    let part = exchange.session.parts.create(target.dir.clone(), &target.name, preserved)?;
    let mut intake = Intake::new(part, room, Vec::new());
    loop {
        let taken = match form.piece() {
            Ok([]) => break,
            Ok(piece) => intake.take(piece),
            Err(error) => Err(problem_of(error)),
        };
        if let Err(error) = taken {
            return Err(broken(intake.part, error));
        }
    }
    let part = intake.part;
    let size = part.size();
    let published = if on_exists != exchange.state.options.on_exists && !exchange.state.options.is_drop_box {
        let naming = Naming { on_exists, ..Naming::default() };
        let _changing = guard::begin_put(exchange, &target, &exchange.head.headers)?;
        let published = part.publish_as(Checksum { size, blake3: None }, preserved, &naming);
        published.map_err(|error| error.about(&target.path))?
    } else {
        intake::publish(exchange, &target, part, &intake::conditions_of(&exchange.head.headers))?
    };
    Ok(Stored { name: published.name, size })
}

/// What a client is told of a form that cannot be read further.
fn problem_of(error: FormError) -> HttpError {
    let status = match error {
        FormError::Read(error) => return HttpError::of_body(error),
        FormError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        FormError::BrokeOff | FormError::Malformed(_) => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, error.to_string()).into()
}

/// An error in the middle says what was stored before it.
fn with_stored(error: HttpError, stored: &[Stored]) -> HttpError {
    match error {
        HttpError::Problem(mut problem) if !stored.is_empty() => {
            let told = stored.iter().take(NAMES_TOLD_MAX).map(|file| file.name.to_string_lossy());
            let names = told.collect::<Vec<_>>().join(", ");
            let more = match stored.len().saturating_sub(NAMES_TOLD_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            problem.message = format!("{}; stored before it: {names}{more}", problem.message);
            problem.into()
        }
        error => error,
    }
}

/// A browser goes back to the directory; a program is told what was stored.
fn answer(exchange: &Exchange<'_>, directory: &RootPath, stored: &[Stored]) -> Response {
    let offered = ["text/plain", "application/json", "text/html"];
    let chosen = preferred(&exchange.head.headers, &offered);
    let is_box = exchange.state.options.is_drop_box;
    let url = |name: &OsStr| intake::url_of(directory, name);
    match chosen {
        Some(2) if !is_box => {
            let path = directory.to_absolute();
            let slash: &[u8] = if path.ends_with(b"/") { b"" } else { b"/" };
            let url = encode_path(&[&path[..], slash].concat());
            Response::empty(StatusCode::SEE_OTHER).with_text(header::LOCATION, &url)
        }
        Some(1) => {
            let files = stored.iter().map(|file| {
                let name = file.name.to_string_lossy();
                if is_box {
                    json!({ "size": file.size })
                } else {
                    json!({ "name": name, "url": url(&file.name), "size": file.size })
                }
            });
            let text = json!({ "stored": files.collect::<Vec<_>>() }).to_string();
            Response::bytes(StatusCode::CREATED, "application/json", text.into_bytes())
        }
        _ => {
            let line = |file: &Stored| if is_box { "stored\n".into() } else { format!("stored {}\n", url(&file.name)) };
            let text: String = stored.iter().map(line).collect();
            Response::bytes(StatusCode::CREATED, "text/plain; charset=utf-8", text.into_bytes())
        }
    }
}

/// The body of an exchange whose body is being read as a form.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _dest: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}

impl RequestBody for Nothing {
    fn length(&self) -> crate::http::body::BodyLength {
        crate::http::body::BodyLength::None
    }

    fn send_interim(&mut self, _status: StatusCode, _headers: &header::HeaderMap) -> std::io::Result<()> {
        Ok(())
    }

    fn control(&self) -> Option<crate::net::stream::Control> {
        None
    }
}
