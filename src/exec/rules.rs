//! Compares what a peer asks to run with what it may run.

use std::ffi::OsString;

use super::environment::Environment;
use super::process::Work;
use crate::error::Refusal;
use crate::fs::root::RootPath;
use crate::session::Session;
use crate::trust::commands::{CommandRequest, Verdict};

/// Decides what runs when `session`'s peer asks for `work` with these variables in `cwd`. If a forced command runs
/// instead, the environment and the log name the requested command.
///
/// # Errors
/// It may not run here, or not so.
pub fn decide(
    session: &mut Session,
    work: Work,
    variables: &[OsString],
    cwd: &RootPath,
    environment: &mut Environment,
) -> Result<Work, Refusal> {
    let argv = if let Work::Argv(argv) = &work { Some(argv.as_slice()) } else { None };
    let shown = work.shown();
    let asked = CommandRequest { argv, shown: &shown, variables, cwd };
    match session.commands.decide(&session.peer, &asked)? {
        Verdict::AsAsked => Ok(work),
        Verdict::Instead(argv) => {
            let instead = Work::Argv(argv.iter().map(OsString::from).collect());
            session.report.about = format!("{} (asked for: {shown})", instead.shown());
            if let Some(words) = work.quoted() {
                environment.set_original(words);
            }
            Ok(instead)
        }
    }
}
