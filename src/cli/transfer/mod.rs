//! What `fget` and `fput` share.
//!
//! [`args`] reads their options, [`run`] opens the connections, [`retries`] repeats an attempt until it succeeds or
//! time is up, and [`reporter`] prints what happens, with the [`names`] that a person gave the files, and
//! collects the [`outcome`]. [`files`] opens single files of this machine, [`pace`] limits the rate of a pipe.

pub mod args;
pub mod files;
pub mod names;
pub mod outcome;
pub mod pace;
pub mod reporter;
pub mod retries;
pub mod run;
