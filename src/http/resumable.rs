//! The fields of resumable uploads: draft-ietf-httpbis-resumable-upload-11 of 2 March 2026, interop version 8, with the
//! editors' clarifications since (1 July 2026), which change no byte on the wire.
//!
//! ```text
//! client: PUT /file, Upload-Complete: ?1            server: 104, Location of the upload; the connection breaks
//! client: HEAD upload                               server: 204, Upload-Offset: N
//! client: PATCH upload, Upload-Offset: N, the rest  server: what the PUT would have got, Upload-Complete: ?1
//! client: DELETE upload (if it gives up)            server: 204
//! ```
//!
//! A field that is not well-formed, or of another kind, counts as not sent (section 4.1).

use std::fmt;

use ::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::structured::{self, BareItem};

/// Whether the upload is complete with this message's content; a boolean (4.1.2).
pub const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
/// Bytes that the server has, as the sender of the message sees it; an integer (4.1.1).
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// Bytes of the whole; an integer (4.1.3).
pub const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// What the server takes; a dictionary (4.1.4).
pub const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");
/// Which version of the draft the sender speaks; an integer (appendix B).
pub const UPLOAD_DRAFT_INTEROP_VERSION: HeaderName = HeaderName::from_static("upload-draft-interop-version");

/// The version of the draft that is spoken here. A server sends 104 only to a client of the same one, and a client
/// heeds only a 104 of the same one (appendix B).
pub const INTEROP_VERSION: u64 = 8;
/// The status of the interim response that names the upload (5).
pub const UPLOAD_RESUMPTION_SUPPORTED: u16 = 104;
/// The media type of a PATCH that appends (6).
pub const PARTIAL_UPLOAD: &str = "application/partial-upload";
/// The media type of a problem (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Largest number that an integer of such a field can hold (RFC 9651 3.3.1).
const INTEGER_LARGEST: u64 = 999_999_999_999_999;

/// What a message says of an upload; what it does not say is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UploadFields {
    /// Upload-Complete.
    pub complete: Option<bool>,
    /// Upload-Offset, in bytes.
    pub offset: Option<u64>,
    /// Upload-Length, in bytes.
    pub length: Option<u64>,
    /// Upload-Draft-Interop-Version.
    pub version: Option<u64>,
}

impl UploadFields {
    /// The fields of a message.
    pub fn of(headers: &HeaderMap) -> Self {
        let value = |name: &HeaderName| structured::combined(headers, name).and_then(|field| structured::item(&field));
        let number = |name: &HeaderName| value(name).and_then(|item| natural(&item));
        let complete = match value(&UPLOAD_COMPLETE) {
            Some(BareItem::Boolean(complete)) => Some(complete),
            _ => None,
        };
        Self {
            complete,
            offset: number(&UPLOAD_OFFSET),
            length: number(&UPLOAD_LENGTH),
            version: number(&UPLOAD_DRAFT_INTEROP_VERSION),
        }
    }

    /// Whether the sender speaks this version of the draft.
    pub fn is_same_version(&self) -> bool {
        self.version == Some(INTEROP_VERSION)
    }

    /// The length of the whole, as far as this message and what was known before say it: `known`, the length that an
    /// earlier message gave, `content` what this message's Content-Length says, behind `offset` bytes (4.1.3).
    ///
    /// # Errors
    /// Two of them differ.
    pub fn whole_length(
        &self,
        known: Option<u64>,
        offset: u64,
        content: Option<u64>,
    ) -> Result<Option<u64>, InconsistentLength> {
        let by_content = match (self.complete, content) {
            (Some(true), Some(content)) => Some(offset.checked_add(content).ok_or(InconsistentLength)?),
            _ => None,
        };
        let mut whole = None;
        for length in [known, self.length, by_content].into_iter().flatten() {
            if whole.replace(length).is_some_and(|other| other != length) {
                return Err(InconsistentLength);
            }
        }
        Ok(whole)
    }
}

/// Two lengths of one upload differ (8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lengths that were given for this upload differ")]
pub struct InconsistentLength;

fn natural(item: &BareItem) -> Option<u64> {
    match item {
        BareItem::Integer(value) => u64::try_from(*value).ok(),
        BareItem::Boolean(_) | BareItem::Bytes(_) | BareItem::Other => None,
    }
}

/// A boolean as a field's value.
pub const fn boolean(value: bool) -> HeaderValue {
    HeaderValue::from_static(if value { "?1" } else { "?0" })
}

/// A number of bytes as a field's value. Larger ones than a field can hold, of 1 PB and more, are that.
pub fn integer(value: u64) -> HeaderValue {
    HeaderValue::from(value.min(INTEGER_LARGEST))
}

/// What a server takes (4.1.4); what it sets no limit to is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UploadLimits {
    /// Bytes of a whole upload.
    pub max_size: Option<u64>,
    /// Bytes that an upload must have to be resumable.
    pub min_size: Option<u64>,
    /// Bytes of one request's content.
    pub max_append_size: Option<u64>,
    /// Bytes that one request's content must have, unless it is the last.
    pub min_append_size: Option<u64>,
    /// Seconds that the upload has left.
    pub max_age: Option<u64>,
}

impl UploadLimits {
    /// The limits that a message names; `None`: none, or the field is to be ignored.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let members = structured::dictionary(&structured::combined(headers, &UPLOAD_LIMIT)?)?;
        let mut limits = Self::default();
        for (key, value) in members {
            let limit = match key.as_str() {
                "max-size" => &mut limits.max_size,
                "min-size" => &mut limits.min_size,
                "max-append-size" => &mut limits.max_append_size,
                "min-append-size" => &mut limits.min_append_size,
                "max-age" => &mut limits.max_age,
                // An unknown key is ignored, a value of another kind spoils the field.
                _ => continue,
            };
            *limit = Some(natural(&value)?);
        }
        Some(limits)
    }

    /// The field's value.
    pub fn to_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).unwrap_or(HeaderValue::from_static("min-size=0"))
    }
}

impl fmt::Display for UploadLimits {
    /// Without any limit `min-size=0`: the field must not be empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = [
            ("max-size", self.max_size),
            ("min-size", self.min_size),
            ("max-append-size", self.max_append_size),
            ("min-append-size", self.min_append_size),
            ("max-age", self.max_age),
        ];
        let mut between = "";
        for (key, limit) in members {
            let Some(limit) = limit else { continue };
            write!(f, "{between}{key}={}", limit.min(INTEGER_LARGEST))?;
            between = ", ";
        }
        if between.is_empty() { f.write_str("min-size=0") } else { Ok(()) }
    }
}

/// Why a request that goes on with an upload is refused, as a problem (RFC 9457) that the draft has a type for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadProblem {
    /// It begins elsewhere than where the upload is (8.1).
    MismatchingOffset {
        /// Where the upload is, in bytes.
        expected: u64,
        /// Where the request begins; `None`: it did not say.
        provided: Option<u64>,
    },
    /// The lengths that were given differ (8.2).
    InconsistentLength,
}

impl UploadProblem {
    /// The status that goes with it.
    pub const fn status(&self) -> u16 {
        match self {
            Self::MismatchingOffset { .. } => 409,
            Self::InconsistentLength => 400,
        }
    }

    /// The body, of the type [`PROBLEM_JSON`].
    pub fn to_json(&self) -> String {
        const TYPES: &str = "https://iana.org/assignments/http-problem-types#";
        match self {
            Self::MismatchingOffset { expected, provided } => {
                let provided = provided.map_or(String::new(), |provided| format!(r#","provided-offset":{provided}"#));
                let title = "the offset of the request is not the offset of the upload";
                let kind = format!(r#""type":"{TYPES}mismatching-upload-offset","title":"{title}""#);
                format!(r#"{{{kind},"expected-offset":{expected}{provided}}}"#)
            }
            Self::InconsistentLength => {
                format!(r#"{{"type":"{TYPES}inconsistent-upload-length","title":"{InconsistentLength}"}}"#)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn fields_are_read_as_the_draft_says_and_else_ignored() {
        let none = UploadFields::default();
        for (clause, lines, want) in [
            ("4.1.2", vec![(UPLOAD_COMPLETE, "?1")], UploadFields { complete: Some(true), ..none }),
            ("4.1.2", vec![(UPLOAD_COMPLETE, "?0;later=1")], UploadFields { complete: Some(false), ..none }),
            ("4.1.2, another kind", vec![(UPLOAD_COMPLETE, "1")], none),
            ("4.1.2, several", vec![(UPLOAD_COMPLETE, "?1"), (UPLOAD_COMPLETE, "?1")], none),
            ("4.1.1", vec![(UPLOAD_OFFSET, "0")], UploadFields { offset: Some(0), ..none }),
            ("4.1.1, negative", vec![(UPLOAD_OFFSET, "-1")], none),
            ("4.1.1, decimal", vec![(UPLOAD_OFFSET, "1.0")], none),
            ("4.1.3", vec![(UPLOAD_LENGTH, "999999999999999")], UploadFields { length: Some(INTEGER_LARGEST), ..none }),
            ("4.1.3, too long", vec![(UPLOAD_LENGTH, "1000000000000000")], none),
            ("B", vec![(UPLOAD_DRAFT_INTEROP_VERSION, "8")], UploadFields { version: Some(8), ..none }),
        ] {
            assert_eq!(UploadFields::of(&headers(&lines)), want, "{clause}: {lines:?}");
        }
        assert!(UploadFields { version: Some(INTEROP_VERSION), ..none }.is_same_version());
        assert!(!none.is_same_version() && !UploadFields { version: Some(7), ..none }.is_same_version());
    }

    #[test]
    fn lengths_that_differ_are_noticed() {
        let fields = |complete, length| UploadFields { complete, length, ..UploadFields::default() };
        for (fields, known, offset, content, want) in [
            (fields(None, None), None, 0, Some(5), Ok(None)),
            (fields(Some(true), None), None, 3, Some(5), Ok(Some(8))),
            (fields(Some(false), None), None, 3, Some(5), Ok(None)),
            (fields(Some(false), Some(9)), None, 3, Some(5), Ok(Some(9))),
            (fields(Some(true), Some(8)), Some(8), 3, Some(5), Ok(Some(8))),
            (fields(Some(true), None), Some(8), 3, None, Ok(Some(8))),
            (fields(Some(true), Some(9)), None, 3, Some(5), Err(InconsistentLength)),
            (fields(Some(false), Some(9)), Some(8), 3, Some(5), Err(InconsistentLength)),
            (fields(Some(true), None), Some(9), 3, Some(5), Err(InconsistentLength)),
            (fields(Some(true), None), None, u64::MAX, Some(1), Err(InconsistentLength)),
        ] {
            assert_eq!(fields.whole_length(known, offset, content), want, "{fields:?} {known:?}");
        }
    }

    #[test]
    fn limits_are_written_and_read() {
        let limits = UploadLimits { max_size: Some(10), max_age: Some(3600), ..UploadLimits::default() };
        assert_eq!(limits.to_string(), "max-size=10, max-age=3600");
        assert_eq!(UploadLimits::default().to_string(), "min-size=0");
        let of = |field: &str| UploadLimits::of(&headers(&[(UPLOAD_LIMIT, field)]));
        assert_eq!(of(&limits.to_string()), Some(limits));
        assert_eq!(of("max-size=10, unknown=?1, max-age=3600"), Some(limits), "an unknown key");
        assert_eq!(of("max-size=10, max-age=?1"), None, "a value of another kind");
        assert_eq!(of("max-size=10,"), None);
        let two = headers(&[(UPLOAD_LIMIT, "max-size=10"), (UPLOAD_LIMIT, "max-age=3600")]);
        assert_eq!(UploadLimits::of(&two), Some(limits));
        assert_eq!(UploadLimits::of(&HeaderMap::new()), None);
    }

    #[test]
    fn problems_are_those_of_the_draft() {
        let mismatch = UploadProblem::MismatchingOffset { expected: 5, provided: Some(7) };
        assert_eq!(mismatch.status(), 409);
        let ends = r#""expected-offset":5,"provided-offset":7}"#;
        assert!(mismatch.to_json().contains("#mismatching-upload-offset\"") && mismatch.to_json().ends_with(ends));
        let silent = UploadProblem::MismatchingOffset { expected: 5, provided: None };
        assert!(silent.to_json().ends_with(r#""expected-offset":5}"#));
        assert_eq!(UploadProblem::InconsistentLength.status(), 400);
        assert!(UploadProblem::InconsistentLength.to_json().contains("#inconsistent-upload-length\""));
        assert_eq!((boolean(true), integer(5)), (HeaderValue::from_static("?1"), HeaderValue::from_static("5")));
        assert_eq!(integer(u64::MAX), HeaderValue::from_static("999999999999999"));
    }
}
