//! Files: from a stranger's string to an open file, and from bytes that come to a file under its name.
//!
//! Nothing in here knows a connection or a message. [`root`] confines paths to a directory, [`below`] walks
//! directories of any depth by handles, [`part`] writes a file beside its target and renames it when it is whole,
//! [`digest`] hashes.

pub mod below;
pub mod digest;
pub mod part;
pub mod root;
