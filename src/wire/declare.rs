//! The macro that declares every message of the protocol once.
//!
//! From a declaration come the variant, its name on the wire, its encoder and decoder, the services that a request
//! needs, whether its exchange is duplex, and how it is logged. The word before a field's type says how the field is
//! encoded in the header:
//!
//! | word | in the header |
//! |---|---|
//! | `need` | required |
//! | `may` | may be left out: `None` |
//! | `blank` | a text that may be left out: empty |
//! | `flag` | its type's default is left out |
//! | `list` | an empty list is left out |
//! | `word` | a required text in a field that elsewhere holds bytes |
//! | `short` | a required number below 2^32 in a field that elsewhere holds longer ones |
//! | `group` | several fields, see [`Group`](super::header::Group) |

macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $variant:ident = $word:literal
        $({ $($field:ident: $how:ident $type:ty),* $(,)? })?
        $(=> request($services:expr $(, duplex: $duplex:expr)? $(, path: $path:expr)? $(, about: $about:expr)?))?;
    )*) => {
        /// One message, without its body. The comment of a message with a body describes the body.
        #[expect(
            missing_docs,
            reason = "the variant's line says it all; a line a field would push the protocol off its screen"
        )]
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message<'a> {
            $($(#[$doc])* $variant $({ $($field: $type),* })?,)*
        }

        impl<'a> Message<'a> {
            /// The requests and answers by name, in this file's order, for tables and documents.
            pub const NAMES: &'static [&'static str] = &[$($word),*];

            /// The requests by name, each with the services of which a peer needs one. None: no service is needed.
            pub const REQUESTS: &'static [(&'static str, &'static [Service])] = &[$($(($word, $services),)?)*];

            /// The message's name in the protocol.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $word,)*
                }
            }

            /// The services of which a peer needs one to send this request. `None`: it is not a request. Empty: no
            /// service is needed.
            pub const fn services(&self) -> Option<&'static [Service]> {
                match self {
                    $(Self::$variant { .. } => first!($(Some($services),)? None),)*
                }
            }

            /// Whether the client continues to send messages after this request, until it sends `end`.
            #[expect(unused_variables, reason = "most do not depend on a field")]
            pub const fn opens_duplex_exchange(&self) -> bool {
                match self {
                    $(Self::$variant $({ $($field),* })? => first!($($($duplex,)?)? false),)*
                }
            }

            /// The path in this request, as it was sent. Empty: there is none.
            #[expect(unused_variables, reason = "most are about one field, or about none")]
            pub fn path(&self) -> &[u8] {
                match self {
                    $(Self::$variant $({ $($field),* })? => first!($($($path,)?)? &[]),)*
                }
            }

            /// The path, command or other object of this request, for the log.
            #[expect(unused_variables, reason = "most are about one field, or about none")]
            pub fn about(&self) -> String {
                match self {
                    $(Self::$variant $({ $($field),* })? => first!($($($about,)?)? shown(self.path())),)*
                }
            }

            fn header(&self) -> Header<'_> {
                let mut h = Header { kind: Cow::Borrowed(self.name()), ..Header::default() };
                match self {
                    $(Self::$variant $({ $($field),* })? => { $($(put!($how, h, $field);)*)? })*
                }
                h
            }

            /// The typed view of a header.
            ///
            /// # Errors
            /// The type is unknown, or a field that it needs is missing. The connection is still in step:
            /// the body's length is known, so this is a refusal and not a misbehaviour.
            pub fn of(mut h: Header<'a>) -> Result<Self, Refusal> {
                let kind = std::mem::take(&mut h.kind);
                Ok(match kind.as_ref() {
                    $($word => Self::$variant $({ $($field: take!($how, h, kind, $field)),* })?,)*
                    unknown => {
                        let text = format!("message type {unknown:?} is not known here");
                        return Err(Refusal::new(ErrorCode::UnknownType, text));
                    }
                })
            }
        }
    };
}

/// The first of its arguments.
macro_rules! first {
    ($first:expr $(, $rest:expr)*) => {
        $first
    };
}

/// Puts a field's value into the header.
macro_rules! put {
    (need, $h:ident, $field:ident) => {
        $h.$field = Some(Value::slot($field))
    };
    (may, $h:ident, $field:ident) => {
        if let Some(value) = $field {
            $h.$field = Some(Value::slot(value));
        }
    };
    (blank, $h:ident, $field:ident) => {
        $h.$field = Some(Value::slot($field))
    };
    (flag, $h:ident, $field:ident) => {
        $h.$field = *$field
    };
    (list, $h:ident, $field:ident) => {
        $h.$field = Value::slot($field)
    };
    (word, $h:ident, $field:ident) => {
        $h.$field = Some(Bytes::Plain(Cow::Borrowed($field.as_bytes())))
    };
    (short, $h:ident, $field:ident) => {
        $h.$field = Some(u64::from(*$field))
    };
    (group, $h:ident, $field:ident) => {
        Group::fill($field, &mut $h)
    };
}

/// Takes a field's value out of the header.
macro_rules! take {
    (need, $h:ident, $kind:ident, $field:ident) => {{
        let slot = needed($h.$field.take(), &$kind, stringify!($field))?;
        Value::value(slot).map_err(|why| bad(&$kind, stringify!($field), &why))?
    }};
    (may, $h:ident, $kind:ident, $field:ident) => {{
        let value = $h.$field.take().map(Value::value).transpose();
        value.map_err(|why| bad(&$kind, stringify!($field), &why))?
    }};
    (blank, $h:ident, $kind:ident, $field:ident) => {
        $h.$field.take().map(|text| text.0).unwrap_or_default()
    };
    (flag, $h:ident, $kind:ident, $field:ident) => {
        $h.$field
    };
    (list, $h:ident, $kind:ident, $field:ident) => {
        Value::value(std::mem::take(&mut $h.$field)).map_err(|why| bad(&$kind, stringify!($field), &why))?
    };
    (word, $h:ident, $kind:ident, $field:ident) => {{
        let slot = needed($h.$field.take(), &$kind, stringify!($field))?;
        slot.text().map_err(|why| bad(&$kind, stringify!($field), &why))?
    }};
    (short, $h:ident, $kind:ident, $field:ident) => {{
        let long = needed($h.$field, &$kind, stringify!($field))?;
        u32::try_from(long).map_err(|_| bad(&$kind, stringify!($field), "is not below 2^32"))?
    }};
    (group, $h:ident, $kind:ident, $field:ident) => {
        Group::take(&mut $h, &$kind)?
    };
}

pub(super) use {first, messages, put, take};
