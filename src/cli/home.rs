//! The home that all programs of one user share.

use crate::trust::home::{Home, HomeError};

/// Names the home's directory.
pub const VARIABLE: &str = "LANDLINE_HOME";

/// Opens the home: `LANDLINE_HOME`, or where this platform keeps configuration.
///
/// # Errors
/// It is not private, or cannot be made.
pub fn open() -> Result<Home, HomeError> {
    let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    Home::open(path.as_deref().map(std::path::Path::new))
}
