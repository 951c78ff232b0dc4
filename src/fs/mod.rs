//! Files: from a stranger's string to an open file, and from bytes that come to a file under its name.
//!
//! Nothing in here knows a connection or a message: [`Error`] says what failed, and those above turn it into a
//! refusal. [`root`] confines paths to a directory, [`below`] walks directories of any depth by handles, [`part`]
//! writes a file beside its target and renames it when it is whole, [`digest`] hashes, [`unix`] has what the system
//! says about files in this library's units.

pub mod below;
pub mod digest;
mod error;
pub mod part;
pub mod root;
pub mod unix;

pub use self::error::{Error, ErrorKind, Result};
