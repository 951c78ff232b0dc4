//! A link for a browser: where it leads, what it gives, and how a person gets it onto a phone.
//!
//! | file | what |
//! |---|---|
//! | `args` | its options, and the link that they make |
//! | `url` | where it leads |
//! | `code` | a QR code, as text |
//! | `printed` | what a person is told of it |

mod args;
mod code;
mod printed;
mod url;

pub use self::args::{Link, LinkWish, ShareArgs};
pub use self::printed::{warn, warn_of_own_certificate};
pub use self::url::Reach;
