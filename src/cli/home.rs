//! The home that all programs of one user share.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::fs::part::Parts;
use crate::fs::part::records::{PART_TTL, PARTS_DIR, Records};
use crate::trust::Owner;
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

/// Where what this program receives is on its way in: on record in the home, so that the next attempt goes on with it.
/// Without a home nothing is kept.
pub fn parts() -> Arc<Parts> {
    let opened = open().map_err(io::Error::other).and_then(|home| Records::open(home.join(PARTS_DIR)));
    let records = match opened {
        Ok(records) => records,
        Err(error) => {
            tracing::debug!(%error, "what is interrupted will not be gone on with");
            return Parts::unrecorded();
        }
    };
    let owner = Owner::Own.to_string();
    records.sweep(Some(PART_TTL), Some(&owner));
    Parts::new(Some(Arc::new(records)), Some(owner))
}

fn named() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}
