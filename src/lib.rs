//! landline: programs with which machines talk to each other.
pub mod net;
pub mod root;
pub mod part;
pub mod session;
pub mod line;
pub mod text;
pub mod trust;
pub mod wire;
