//! `rexec`: run a command on another machine or on many, or open a prompt there.

mod args;
mod jobs;
mod many;
mod one;
mod places;
mod prompt;
mod terminal;
mod tutorial;

use crate::cli::connect;
use crate::cli::reconnect::Opener;
use std::process::ExitCode;

use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::cli::usage::usage;
use crate::cli::{foreign_options, program};
use crate::connection::Connection;
use crate::net::Address;
use crate::wire::message::AttachMode;
pub use args::{Args, PROGRAM};
use places::PlaceAction;

/// Runs what `args` say.
///
/// # Errors
/// No connection, refused, connection lost; the command's own failure is its exit code.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    if args.is_argv && args.command.is_empty() {
        return Err(usage("nothing to run behind --"));
    }
    if args.has_empty_command() {
        return Err(usage("the command is empty; leave it out for a shell, or name what is to run"));
    }
    let place_action = places::place_action(args)?;
    if args.is_many() && (args.is_action() || !matches!(place_action, PlaceAction::Nothing)) {
        return Err(usage("places and detached commands are asked for at one HOST"));
    }
    if args.is_action() && !args.command.is_empty() {
        return Err(usage("there is a command too many, or an option"));
    }
    if args.tail.is_some() && args.attach.is_none() && args.log.is_none() {
        return Err(usage("--tail goes with --attach and --log"));
    }
    if args.detach && (args.command.is_empty() || !matches!(place_action, PlaceAction::Nothing)) {
        return Err(usage("name a command to detach"));
    }
    if args.is_many() {
        let Some(work) = args.work() else { return Err(usage("name a command for all the hosts")) };
        return many::run(args, &work, &args.many()?);
    }
    if args.prompt && (args.tty || !args.command.is_empty()) {
        return Err(usage("--prompt takes commands one by one; leave the command and --tty out"));
    }
    if args.group || args.out.is_some() || !args.exclude.is_empty() {
        return Err(usage("--group, --out and --exclude are for several hosts; name them with --hosts"));
    }
    let host = args.address()?;
    if let Some(wire) = args.wire {
        return tutorial::run(args, &host, wire);
    }
    let mut connection = match connect::connect(PROGRAM, &host, &args.connect, &args.output) {
        Ok(connection) => connection,
        Err(error) => {
            one::tell_failure(args, &host, &format!("{error:#}"), Exit::of(&error))?;
            return Err(error);
        }
    };
    if !args.is_action() && args.work().is_none() {
        let (to, connect, output) = (host.clone(), args.connect.clone(), args.output.clone());
        let open: Opener = Box::new(move || connect::connect(PROGRAM, &to, &connect, &output));
        return prompt::run(args, &host, connection, &open);
    }
    // A command that has failed has told so itself.
    let is_command = !args.is_action() && !args.detach && matches!(place_action, PlaceAction::Nothing);
    let exit = run_on_connection(args, &host, &mut connection, place_action);
    if let Err(error) = &exit
        && !is_command
    {
        one::tell_failure(args, &host, &format!("{error:#}"), Exit::of(error))?;
    }
    let exit = exit?;
    connection.close();
    Ok(exit)
}

/// Does what the options say, over a connection that is open.
fn run_on_connection(
    args: &Args,
    host: &Address,
    connection: &mut Connection,
    place_action: PlaceAction,
) -> anyhow::Result<Exit> {
    let watched = [(&args.attach, AttachMode::Follow), (&args.log, AttachMode::Log), (&args.wait, AttachMode::Wait)];
    if let Some((id, watch)) = watched.into_iter().find_map(|(id, watch)| Some((id.as_ref()?, watch))) {
        return jobs::attach(args, host, connection, id, watch);
    }
    if let Some(id) = &args.kill {
        return jobs::kill(args, host, connection, id);
    }
    if args.list_jobs {
        return jobs::list(args, connection);
    }
    if args.list_places {
        return places::list(args, connection);
    }
    match args.work() {
        Some(work) if args.detach => jobs::detach(args, host, connection, &work),
        Some(work) if matches!(place_action, PlaceAction::Nothing) => {
            if args.place_ttl.is_some() {
                places::act(args, connection, PlaceAction::Nothing)?;
            }
            one::run(args, host, connection, &work)
        }
        _ => places::act(args, connection, place_action),
    }
}

/// Prints what is wrong with a command line, as [`program::refuse_usage`] does; returns `rexec`'s code for wrong usage, and a word on what ssh has.
pub fn refuse_usage(error: &clap::Error) -> ExitCode {
    let exit = program::refuse_usage(error);
    if let Some(word) = foreign_options::word_of_ssh(error) {
        say(PROGRAM, &format!("from ssh: {word}"));
    }
    exit.beside_a_command().into()
}
