//! The simple prompt: a line, a command.

use super::one::{Show, shown_call, shown_held};
use super::{Args, PROGRAM};
use crate::cli::again::{Opener, come_back};
use crate::cli::prompt::{Input, Prompt};
use crate::cli::signals::{Forwarding, to_command};
use crate::cli::{Exit, printable, say};
use crate::dir::{call_cd, call_pwd};
use crate::exec::process::Work;
use crate::exec::{Call, Ended, call_exec};
use crate::line::Line;
use crate::net::Address;
use crate::wire::Error;
use crate::wire::message::Outcome;
use std::os::unix::ffi::OsStrExt as _;

/// A prompt that shows where it stands and keeps it: `cd` moves the session, all else is run.
pub(super) fn run(args: &Args, host: &Address, mut line: Line, open: &Opener) -> anyhow::Result<Exit> {
    let mut input = Prompt::new(())?;
    if let Some(directory) = &args.chdir {
        call_cd(&mut line, directory.as_bytes())?;
    }
    let mut exit = Exit::Done;
    loop {
        let mut cwd = call_pwd(&mut line)?;
        let command = match input.read(&format!("{host}:{}> ", printable(&String::from_utf8_lossy(&cwd))))? {
            Input::Line(command) => command.trim().to_owned(),
            Input::Interrupted => continue,
            Input::End => break,
        };
        come_back(PROGRAM, &mut line, &mut cwd, open)?;
        let code = match command.split_whitespace().collect::<Vec<_>>()[..] {
            [] => continue,
            ["cd"] => cd(&mut line, "/")?,
            ["cd", path] => cd(&mut line, path)?,
            _ => run_line(args, &mut line, command)?,
        };
        if exit == Exit::Done {
            exit = code;
        }
    }
    line.close();
    // At a terminal the person has seen each failure; a script is told of the first.
    Ok(if input.is_interactive() { Exit::Done } else { exit })
}

fn cd(line: &mut Line, path: &str) -> anyhow::Result<Exit> {
    match call_cd(line, path.as_bytes()) {
        Ok(_) => Ok(Exit::Done),
        Err(Error::Refused(refusal)) => {
            say(PROGRAM, &printable(&refusal.message));
            Ok(Exit::Failed)
        }
        Err(error) => Err(error.into()),
    }
}

fn run_line(args: &Args, line: &mut Line, command: String) -> anyhow::Result<Exit> {
    let work = Work::Shell(args.encoded(command.into()));
    let variables = args.variables()?;
    let call = Call { path: None, place: None, ..shown_call(args, &work, &variables, args.terms()) };
    let forwarding = Forwarding::start(line.sender().clone(), line.control().clone(), args.kill_after, &to_command)?;
    let mut show = Show::new(args);
    let ended = call_exec(line, &call, &mut |stream, bytes| show.output(stream, bytes));
    let ended_by = forwarding.stop();
    match ended {
        Err(Error::LineLost(_)) if let Some(signal) = ended_by => Ok(Exit::of_signal(signal)),
        Ok(Ended { outcome, held, .. }) => {
            show.finish()?;
            if let Some(held) = held.filter(|_| !args.talk.quiet) {
                say(PROGRAM, &shown_held(&held));
            }
            if let Outcome::Killed(signal) = &outcome {
                say(PROGRAM, &format!("killed by signal {}", printable(signal)));
            }
            Ok(Exit::of_command(&outcome))
        }
        Err(Error::Refused(refusal)) => {
            say(PROGRAM, &printable(&refusal.message));
            Ok(Exit::Failed)
        }
        Err(error) => Err(error.into()),
    }
}
