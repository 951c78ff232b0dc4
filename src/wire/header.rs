//! The header's JSON: one flat object with every field that any message has, and the conversion of values to and from
//! it.
//!
//! Flat, so that a `data` header decodes in a tenth of a microsecond; with borrowed text, so that a header is not
//! copied to be read. Which fields a message has is declared in [`message`](super::message).

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fields::{AttachMode, Channel, CommandForm, ModerationAct, Packed};
use crate::error::{ErrorCode, Misbehaviour, Refusal, Result};

/// The JSON object as it is sent: flat, so that a `data` header decodes in a tenth of a microsecond, and with borrowed
/// text (`Cow`, because JSON may escape).
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "a field of JSON each")]
pub struct Header<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) total_size: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) stream: Channel,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) program: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub(super) verbs: Vec<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Text<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) streamed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) guesses_left: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) nick: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) direct_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time_ms: Option<u64>,
    #[serde(rename = "action", skip_serializing_if = "is_default")]
    pub(super) is_action: bool,
    #[serde(rename = "guest", skip_serializing_if = "is_default")]
    pub(super) is_guest: bool,
    #[serde(rename = "past", skip_serializing_if = "is_default")]
    pub(super) is_past: bool,
    #[serde(rename = "lost", skip_serializing_if = "is_default")]
    pub(super) is_lost: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) act: Option<ModerationAct>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) form: Option<CommandForm>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) variables: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kill_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) merged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) linger_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) columns: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rows: Option<u16>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) modes: Option<Bytes<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) detached: bool,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl_ms: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) watch: Option<AttachMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tail: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) timed_out: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit_code: Option<i32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) signal: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) held_by: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) held_pid: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) held_closed: bool,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<Bytes<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Bytes<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Bytes<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) parents: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) recursive: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) clean: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mtime_ns: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) blake3: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entry: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) of: Option<Packed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) average: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) offset: u64,
    #[serde(rename = "last", skip_serializing_if = "is_default")]
    pub(super) is_last: bool,
}

impl<'a> Header<'a> {
    /// Reads a header's JSON.
    ///
    /// # Errors
    /// It is not JSON, or a known field has the wrong type: then `total_size` cannot be trusted either.
    pub fn parse(json: &'a [u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| Misbehaviour::BadHeader(error.to_string()).into())
    }

    /// The announced length of the body, in bytes.
    pub const fn total_size(&self) -> u64 {
        self.total_size
    }
}

/// A text. serde borrows inside `Cow`, but not inside `Option<Cow>`; hence the name for it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Bytes that are mostly text, such as a file's name: a string if they are UTF-8 without a NUL, else `{"b64":"..."}`.
#[derive(Debug)]
pub(super) enum Bytes<'a> {
    Plain(Cow<'a, [u8]>),
    /// Invalid base64; the message is refused, and the connection stays in step.
    NotBase64(String),
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self::Plain(bytes) = self else { return to.serialize_none() };
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => return to.serialize_str(text),
            _ => {}
        }
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry("b64", &BASE64.encode(bytes))?;
        map.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct StringOrObject;

        impl<'de> Visitor<'de> for StringOrObject {
            type Value = Bytes<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or an object with b64")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Bytes<'de>, E> {
                Ok(Bytes::Plain(Cow::Borrowed(text.as_bytes())))
            }

            fn visit_str<E>(self, text: &str) -> Result<Bytes<'de>, E> {
                Ok(Bytes::Plain(Cow::Owned(text.as_bytes().to_vec())))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Bytes<'de>, M::Error> {
                let mut bytes = None;
                while let Some(Text(key)) = map.next_key()? {
                    if key == "b64" {
                        let Text(encoded) = map.next_value()?;
                        bytes = Some(match BASE64.decode(encoded.as_bytes()) {
                            Ok(bytes) => Bytes::Plain(Cow::Owned(bytes)),
                            Err(why) => Bytes::NotBase64(why.to_string()),
                        });
                    } else {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
                bytes.ok_or_else(|| serde::de::Error::missing_field("b64"))
            }
        }

        from.deserialize_any(StringOrObject)
    }
}

impl<'a> Bytes<'a> {
    pub(super) fn text(self) -> Result<Cow<'a, str>, String> {
        let not_utf8 = || "is not UTF-8".to_owned();
        match Cow::value(self)? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_not_utf8| not_utf8()),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_not_utf8| not_utf8()),
        }
    }
}

/// A value of one field.
pub(super) trait Value<'a>: Sized {
    /// The value as the header holds it.
    type Slot<'s>
    where
        Self: 's;

    fn slot(&self) -> Self::Slot<'_>;

    /// # Errors
    /// What is wrong with it: a phrase to follow the field's name.
    fn value(slot: Self::Slot<'a>) -> Result<Self, String>;
}

/// Several fields that are one value.
pub(super) trait Group<'a>: Sized {
    fn fill<'h>(&'h self, header: &mut Header<'h>);

    fn take(header: &mut Header<'a>, kind: &str) -> Result<Self, Refusal>;
}

impl<'a> Value<'a> for Cow<'a, str> {
    type Slot<'s>
        = Text<'s>
    where
        Self: 's;
    fn slot(&self) -> Text<'_> {
        Text(Cow::Borrowed(self))
    }

    fn value(slot: Text<'a>) -> Result<Self, String> {
        Ok(slot.0)
    }
}

impl<'a> Value<'a> for Vec<Cow<'a, str>> {
    type Slot<'s>
        = Vec<Text<'s>>
    where
        Self: 's;
    fn slot(&self) -> Vec<Text<'_>> {
        self.iter().map(|text| Text(Cow::Borrowed(text))).collect()
    }

    fn value(slot: Vec<Text<'a>>) -> Result<Self, String> {
        Ok(slot.into_iter().map(|text| text.0).collect())
    }
}

impl<'a> Value<'a> for Cow<'a, [u8]> {
    type Slot<'s>
        = Bytes<'s>
    where
        Self: 's;
    fn slot(&self) -> Bytes<'_> {
        Bytes::Plain(Cow::Borrowed(self))
    }

    fn value(slot: Bytes<'a>) -> Result<Self, String> {
        match slot {
            Bytes::Plain(bytes) => Ok(bytes),
            Bytes::NotBase64(why) => Err(format!("is not base64: {why}")),
        }
    }
}

impl<'a> Value<'a> for ErrorCode {
    type Slot<'s> = Text<'s>;
    fn slot(&self) -> Text<'_> {
        Text(Cow::Borrowed(self.as_str()))
    }

    fn value(slot: Text<'a>) -> Result<Self, String> {
        Ok(Self::from(slot.0.as_ref()))
    }
}

macro_rules! copied {
    ($($type:ty),*) => {$(
        impl<'a> Value<'a> for $type {
            type Slot<'s> = Self;

            fn slot(&self) -> Self {
                *self
            }

            fn value(slot: Self) -> Result<Self, String> {
                Ok(slot)
            }
        }
    )*};
}

copied!(u32, u64, CommandForm, AttachMode, ModerationAct, Packed);

/// The value of a required field.
pub(super) fn needed<T>(slot: Option<T>, kind: &str, name: &str) -> Result<T, Refusal> {
    slot.ok_or_else(|| missing(kind, name))
}

/// The refusal of a message whose field is invalid.
pub(super) fn bad(kind: &str, name: &str, why: &str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, format!("{kind}: field {name:?} {why}"))
}

pub(super) fn missing(kind: &str, name: &str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, format!("{kind}: field {name:?} is missing"))
}

#[expect(clippy::unnecessary_wraps, reason = "every field of the header is optional")]
pub(super) fn text(text: &str) -> Option<Text<'_>> {
    Some(Text(Cow::Borrowed(text)))
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
