//! The simple prompt: a line, a command.

use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::cli::prompt::{Input, Prompt};
use crate::cli::reconnect::{Opener, reconnect};
use crate::cli::rexec::args::{Args, PROGRAM};
use crate::cli::rexec::one::{CommandOutput, shown_call, shown_held};
use crate::cli::signals::{Forwarding, is_interrupt, to_command};
use crate::connection::Connection;
use crate::dir::{call_cd, call_pwd};
use crate::error::Error;
use crate::exec::process::Work;
use crate::exec::{Call, CommandEnd, call_exec};
use crate::net::Address;
use crate::printable::printable;
use crate::wire::message::Outcome;
use std::os::unix::ffi::OsStrExt as _;

/// A prompt that shows where it stands and keeps it: `cd` moves the session, all else is run.
pub(super) fn run(args: &Args, host: &Address, mut connection: Connection, open: &Opener) -> anyhow::Result<Exit> {
    let mut input = Prompt::new(())?;
    // Kept here: the server may end the connection between any two requests, and then the next one leads back to it.
    let mut cwd = match &args.chdir {
        Some(directory) => call_cd(&mut connection, directory.as_bytes())?,
        None => call_pwd(&mut connection)?,
    };
    let mut exit = Exit::Done;
    loop {
        let command = match input.read(&format!("{host}:{}> ", printable(&String::from_utf8_lossy(&cwd))))? {
            Input::Line(command) => command.trim().to_owned(),
            Input::Interrupted => continue,
            Input::End => break,
        };
        if command.is_empty() {
            continue;
        }
        reconnect(PROGRAM, &mut connection, &mut cwd, open)?;
        let code = match command.split_whitespace().collect::<Vec<_>>()[..] {
            ["cd"] => cd(&mut connection, &mut cwd, "/")?,
            ["cd", path] => cd(&mut connection, &mut cwd, path)?,
            _ => match run_command(args, &mut connection, command)? {
                Ran::Ended(code) => code,
                // The connection was given up with the command; a person gets another one with the next command.
                Ran::GivenUp(signal) if input.is_interactive() && is_interrupt(signal) => Exit::of_signal(signal),
                Ran::GivenUp(signal) => return Ok(Exit::of_signal(signal)),
            },
        };
        if exit == Exit::Done {
            exit = code;
        }
    }
    connection.close();
    // At a terminal the person has seen each failure; a script is told of the first.
    Ok(if input.is_interactive() { Exit::Done } else { exit })
}

fn cd(connection: &mut Connection, cwd: &mut Vec<u8>, path: &str) -> anyhow::Result<Exit> {
    match call_cd(connection, path.as_bytes()) {
        Ok(found) => {
            *cwd = found;
            Ok(Exit::Done)
        }
        Err(Error::Refused(refusal)) => {
            say(PROGRAM, &printable(&refusal.message));
            Ok(Exit::Failed)
        }
        Err(error) => Err(error.into()),
    }
}

/// What became of a command.
enum Ran {
    Ended(Exit),
    /// This signal ended the connection, and with it the command.
    GivenUp(i32),
}

fn run_command(args: &Args, connection: &mut Connection, command: String) -> anyhow::Result<Ran> {
    let work = Work::Shell(args.encoded(command.into()));
    let variables = args.variables()?;
    let call = Call { path: None, place: None, ..shown_call(args, &work, &variables, args.exec_options()) };
    let forwarding =
        Forwarding::start(connection.sender().clone(), connection.control().clone(), args.kill_after, &to_command)?;
    let mut show = CommandOutput::new(args);
    let ended = call_exec(connection, &call, &mut |stream, bytes| show.output(stream, bytes));
    let ended_by = forwarding.stop();
    match ended {
        Err(Error::ConnectionLost(_)) if let Some(signal) = ended_by => Ok(Ran::GivenUp(signal)),
        Ok(CommandEnd { outcome, held, .. }) => {
            show.finish()?;
            if let Some(held) = held.filter(|_| !args.output.quiet) {
                say(PROGRAM, &shown_held(&held));
            }
            if let Outcome::Killed(signal) = &outcome {
                say(PROGRAM, &format!("killed by signal {}", printable(signal)));
            }
            Ok(Ran::Ended(Exit::of_command(&outcome)))
        }
        Err(Error::Refused(refusal)) => {
            say(PROGRAM, &printable(&refusal.message));
            Ok(Ran::Ended(Exit::Failed))
        }
        Err(error) => Err(error.into()),
    }
}
