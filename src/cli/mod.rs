//! For our own programs: argument groups, text that is safe on a terminal, exit codes, and the one
//! function that prints an error. The only part of the library that prints.
//!
//! Each program's `main` is three words: parse, call, exit. Its options and what it does with them
//! are in the file of its name in here.
#![expect(clippy::doc_markdown, reason = "the comments on arguments are the help text, read at a terminal")]

pub mod args;
pub mod closed;
pub mod connect;
pub mod exit;
pub mod fget;
pub mod foreign_options;
pub mod fput;
pub mod home;
pub mod http_files;
pub mod http_get;
pub mod human;
pub mod logging;
pub mod output;
pub mod program;
pub mod progress;
pub mod prompt;
pub mod reconnect;
pub mod rexec;
pub mod serving;
pub mod share;
pub mod signals;
pub mod standard;
pub mod tcp_client;
pub mod tcp_server;
pub mod transfer;
pub mod tutorial;
pub mod udp_echo;
pub mod usage;
pub mod web;
