//! The home that all programs of one user share.

use std::path::PathBuf;

use crate::trust::home::{Home, HomeError};

/// Names the home's directory.
pub const VARIABLE: &str = "LANDLINE_HOME";

/// Opens the home: `LANDLINE_HOME`, or where this platform keeps configuration.
///
/// # Errors
/// It is not private, or cannot be made.
pub fn open() -> Result<Home, HomeError> {
    Home::open(named().as_deref())
}

/// Opens the home if there is one: for what works without keys, and makes none.
///
/// # Errors
/// It is there and not private.
pub fn existing() -> Result<Option<Home>, HomeError> {
    let path = named();
    if Home::exists(path.as_deref()) { Home::open(path.as_deref()).map(Some) } else { Ok(None) }
}

fn named() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}
