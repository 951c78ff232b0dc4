//! landline: programs with which machines talk to each other.
pub mod net;
pub mod wire;
