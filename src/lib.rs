//! landline
pub mod bare;
pub mod chat;
pub mod dir;
pub mod echo;
pub mod exec;
pub mod files;
pub mod line;
pub mod net;
pub mod part;
pub mod root;
pub mod serve;
pub mod server;
pub mod session;
pub mod text;
pub mod trust;
pub mod udp;
pub mod wire;
