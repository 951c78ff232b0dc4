//! A request with all its redirects, to the response that leads nowhere else.

use std::time::Duration;

use ::http::StatusCode;
use ::http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, LOCATION,
    RETRY_AFTER,
};

use super::coding::{self, Decoder};
use super::connection::Deadline;
use super::content::Content;
use super::error::{Error, Result};
use super::exchange::Response;
use super::redirect::{Redirects, leads_elsewhere};
use super::request::Request;
use super::response::ResponseHead;
use super::url::Url;
use super::{Client, Observer};
use crate::http::date;
use crate::http::negotiate::Coding;

/// Bytes of an error's body that are kept for a person.
pub const ERROR_BODY_LEN_MAX: usize = 16 * 1024;

/// The response to the last request of all, and that request.
#[derive(Debug)]
pub struct Final {
    /// The response.
    pub response: Response,
    /// What it answers.
    pub request: Request,
}

impl Client {
    /// Sends `request` and follows at most `limit` redirects; with 0 the first response is the last. `on_interim` gets
    /// each interim response, and the URL of the request that it belongs to.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange), or a redirect cannot be followed.
    pub fn follow(
        &self,
        request: &Request,
        (limit, deadline): (usize, Deadline),
        observer: &dyn Observer,
        on_interim: &mut dyn FnMut(&ResponseHead, &Url),
    ) -> Result<Final> {
        let mut redirects = Redirects::new(limit);
        let first = request.url.origin();
        let mut current = request.clone();
        loop {
            let response = self.exchange(&current, deadline, observer, &mut |head| on_interim(head, &current.url))?;
            let status = response.head.status;
            if limit == 0 || !leads_elsewhere(status) {
                return Ok(Final { response, request: current });
            }
            let location = response.head.headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
            let step = redirects.next((&current.method, &current.url), (status, location.as_deref()))?;
            let origin = current.url.origin().clone();
            response.done(self, &origin);
            let mut next = Request { method: step.method, url: step.url, ..current };
            if !step.keeps_body {
                drop_content(&mut next);
            }
            if !next.content.as_ref().is_none_or(Content::is_replayable) {
                let why =
                    format!("{status}: what was sent came from a stream, and cannot be sent again to {}", next.url);
                return Err(Error::Unexpected(why));
            }
            if *next.url.origin() != origin {
                next.headers.remove(HOST);
            }
            // RFC 9110, 15.4: credentials are for whom they were given.
            next.secrets = if next.url.origin() == first { request.secrets.clone() } else { HeaderMap::new() };
            observer.remark(&format!("redirected to {}", next.url));
            current = next;
        }
    }
}

/// RFC 9110, 15.4: what described the content goes with it.
fn drop_content(request: &mut Request) {
    const OF_CONTENT: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, EXPECT];
    for name in OF_CONTENT {
        request.headers.remove(name);
    }
    request.content = None;
}

impl Final {
    /// The response, if it says that what was requested was done.
    ///
    /// # Errors
    /// [`Error::Status`], with the beginning of the body.
    pub fn check(mut self) -> Result<Self> {
        let status = self.response.head.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(self);
        }
        let first = self.response.head.lines.first().cloned().unwrap_or_default();
        let reason = first.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default();
        let reason = String::from_utf8_lossy(reason).into_owned();
        let retry_after = retry_after(&self.response.head.headers);
        let (body, left_out) = self.beginning();
        self.response.abandon();
        Err(Error::Status { status, reason, body, left_out, retry_after })
    }

    /// The beginning of the body, decoded, and how many bytes are left out. What cannot be read is not in it.
    fn beginning(&mut self) -> (Vec<u8>, Option<u64>) {
        let coding = coding::of(&self.response.head.headers).unwrap_or(Coding::Identity);
        let announced = self.response.body_len();
        let mut body = vec![0; ERROR_BODY_LEN_MAX];
        let mut filled = 0;
        let mut is_over = false;
        if let Ok(mut decoder) = Decoder::new(coding, ErrorBody(&mut self.response)) {
            while let Some(room) = body.get_mut(filled..).filter(|room| !room.is_empty()) {
                match std::io::Read::read(&mut decoder, room) {
                    Ok(0) | Err(_) => {
                        is_over = true;
                        break;
                    }
                    Ok(len) => filled += len,
                }
            }
        }
        body.truncate(filled);
        let left_out = announced.filter(|_| coding == Coding::Identity).map(|all| all.saturating_sub(filled as u64));
        (body, if is_over { Some(0) } else { left_out })
    }
}

struct ErrorBody<'r>(&'r mut Response);

impl std::io::Read for ErrorBody<'_> {
    fn read(&mut self, dest: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(dest).map_err(std::io::Error::other)
    }
}

/// RFC 9110, 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = crate::fs::unix::seconds_since_1970(std::time::SystemTime::now());
    date::parse(value).map(|at| Duration::from_secs(at.saturating_sub(now)))
}
