//! A single file of this machine that arrives.

use std::path::Path;

use crate::cli::{home, standard};
use crate::client::create_part;
use crate::error::Error;
use crate::fs::part::Part;
use crate::wire::message::Attributes;

/// The place for a file that arrives as `target`.
///
/// # Errors
/// Its directory is missing or cannot be written, or the target is a directory.
pub fn part_for(target: &Path, attributes: &Attributes) -> crate::error::Result<Part> {
    if standard::descriptor(target).is_some() {
        let why = std::io::Error::other("is an open descriptor, and no file");
        return Err(Error::ours(target.to_string_lossy())(why));
    }
    create_part(&home::parts(), target, attributes)
}
