//! A file on its way to a server: whole in one request, and where the server offers it, gone on with after a break
//! (draft-ietf-httpbis-resumable-upload; see [`resumable`](crate::http::resumable)).

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue, LOCATION};
use ::http::{Method, StatusCode};

use super::connection::Deadline;
use super::content::Content;
use super::error::{Error, Result};
use super::exchange::Response;
use super::follow::Final;
use super::request::Request;
use super::response::ResponseHead;
use super::url::Url;
use super::{Client, Event, Observer};
use crate::http::resumable::{
    INTEROP_VERSION, PARTIAL_UPLOAD, UPLOAD_COMPLETE, UPLOAD_DRAFT_INTEROP_VERSION, UPLOAD_OFFSET, UploadFields,
    boolean, integer,
};

/// What a server has said of an upload.
#[derive(Debug, Default)]
pub struct Upload {
    /// Where it is gone on with; `None`: nowhere.
    resource: Option<Url>,
}

impl Upload {
    /// Takes an interim response to a request for `url` (section 5 of the draft).
    ///
    /// `first` is where the upload was to go. A redirect may have led elsewhere since, and what is sent there has other
    /// credentials.
    fn heed(&mut self, head: &ResponseHead, (first, url): (&Url, &Url), observer: &dyn Observer) {
        if !Response::is_resumption_offer(head) || !UploadFields::of(&head.headers).is_same_version() {
            return;
        }
        let Some(location) = head.text(&LOCATION) else { return };
        match url.join(location) {
            // The same credentials are sent there.
            Ok(resource) if resource.origin() == url.origin() && url.origin() == first.origin() => {
                observer.remark(&format!("the server can go on with this upload at {resource}"));
                self.resource = Some(resource);
            }
            _ => observer.remark("the server offers to go on with this upload elsewhere, which is not done"),
        }
    }
}

impl Client {
    /// Sends what `request` carries, or the rest of it where an earlier attempt has left something at the server.
    ///
    /// # Errors
    /// [`Error`]; the next attempt goes on with the same `upload`.
    pub fn upload(
        &self,
        request: &Request,
        upload: &mut Upload,
        (redirects_max, deadline): (usize, Deadline),
        observer: &dyn Observer,
    ) -> Result<Final> {
        let size = request.content.as_ref().and_then(Content::len);
        if let Some(resource) = upload.resource.clone() {
            match self.offset(request, &resource, deadline, observer)? {
                UploadState::Complete(last) => return Ok(*last),
                UploadState::At(offset) => {
                    observer.remark(&format!("goes on at byte {offset}"));
                    observer.event(Event::Begins { size, there: offset });
                    return self.append(request, &resource, offset, (deadline, observer));
                }
                UploadState::Gone => {
                    observer.notice("the server does not have it any more: it starts over");
                    upload.resource = None;
                }
            }
        }
        observer.event(Event::Begins { size, there: 0 });
        let mut first = request.clone();
        if size.is_some() {
            first.headers.insert(UPLOAD_COMPLETE, boolean(true));
            first.headers.insert(UPLOAD_DRAFT_INTEROP_VERSION, HeaderValue::from(INTEROP_VERSION));
        }
        let url = request.url.clone();
        self.follow(&first, (redirects_max, deadline), observer, &mut |head, at| {
            upload.heed(head, (&url, at), observer);
        })
    }

    /// Asks where the upload is (section 4.3 of the draft: offset retrieval).
    fn offset(
        &self,
        request: &Request,
        resource: &Url,
        deadline: Deadline,
        observer: &dyn Observer,
    ) -> Result<UploadState> {
        let question = about(request, Method::HEAD, resource);
        let response = self.exchange(&question, deadline, observer, &mut |_| {})?;
        let status = response.head.status;
        let fields = UploadFields::of(&response.head.headers);
        let state = match (status, fields.offset) {
            (StatusCode::NOT_FOUND | StatusCode::GONE, _) => UploadState::Gone,
            (status, _) if !status.is_success() => {
                return Err(match (Final { response, request: question }).check() {
                    Err(error) => error,
                    Ok(_) => Error::Unexpected("the server does not say how much it has".into()),
                });
            }
            (_, _) if fields.complete == Some(true) => {
                return Ok(UploadState::Complete(Box::new(Final { response, request: question })));
            }
            (_, Some(offset)) if request.content_len().is_some_and(|len| offset <= len) => UploadState::At(offset),
            (_, Some(offset)) => {
                return Err(Error::Unexpected(format!("the server has {offset} bytes of it, more than there are")));
            }
            (_, None) => return Err(Error::Unexpected("the server does not say how much it has".into())),
        };
        response.done(self, resource.origin());
        Ok(state)
    }

    /// Sends the rest (section 4.4 of the draft: upload append).
    fn append(
        &self,
        request: &Request,
        resource: &Url,
        offset: u64,
        (deadline, observer): (Deadline, &dyn Observer),
    ) -> Result<Final> {
        let mut rest = about(request, Method::PATCH, resource);
        rest.headers.insert(UPLOAD_COMPLETE, boolean(true));
        rest.headers.insert(UPLOAD_OFFSET, integer(offset));
        rest.headers.insert(CONTENT_TYPE, HeaderValue::from_static(PARTIAL_UPLOAD));
        rest.content.clone_from(&request.content);
        rest.content_from = offset;
        let response = self.exchange(&rest, deadline, observer, &mut |_| {})?;
        Ok(Final { response, request: rest })
    }
}

/// What a server has of an upload.
enum UploadState {
    At(u64),
    Complete(Box<Final>),
    Gone,
}

/// A request about the upload itself, with the credentials of the first one and none of what describes the content.
fn about(request: &Request, method: Method, resource: &Url) -> Request {
    let mut question = Request::new(method, resource.clone());
    question.headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let is_about_content = name.as_str().starts_with("content-") || name.as_str().starts_with("if-");
        if !is_about_content && *name != AUTHORIZATION && *name != COOKIE {
            question.headers.append(name, value.clone());
        }
    }
    question.headers.insert(UPLOAD_DRAFT_INTEROP_VERSION, HeaderValue::from(INTEROP_VERSION));
    question.secrets.clone_from(&request.secrets);
    question
}
