//! Commands for the tutorials' servers, which know nothing but text.

use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;

use super::{Args, PROGRAM};
use crate::bare::BareLine;
use crate::cli::exit::usage;
use crate::cli::prompt::{Input, Prompt};
use crate::cli::{Exit, connect, put_out, say};
use crate::exec::process::Work;
use crate::net::Address;
use crate::text::Decoder;
use crate::wire::Error;
use crate::wire::error::LineLost;
use crate::wire::tutorial::{Ended, Waits, Wire};

/// A command for a tutorial's server, or a prompt of them.
pub(super) fn run(args: &Args, host: &Address, wire: Wire) -> anyhow::Result<Exit> {
    if wire.carries_files() {
        return Err(usage("the wires size and close carry files; use fget --wire"));
    }
    if args.is_argv || args.chdir.is_some() {
        return Err(usage("the tutorials' servers take a command string only: no -- and no --chdir"));
    }
    let stream = connect::stream(PROGRAM, host, &args.reach, &args.talk)?;
    let mut line = BareLine::new(stream, wire, Waits { reply: Some(args.reply_timeout()), idle: args.idle });
    if let Some(Work::Shell(command)) = args.work() {
        let exit = ask_bare(args, &mut line, command.as_bytes())?;
        line.close();
        return Ok(exit);
    }
    let mut input = Prompt::new(())?;
    let mut exit = Exit::Done;
    loop {
        let command = match input.read(&format!("{host}> "))? {
            Input::Line(command) => command.trim().to_owned(),
            Input::Interrupted => continue,
            Input::End => break,
        };
        if command.is_empty() {
            continue;
        }
        if command == "exit" || command == "quit" {
            break;
        }
        let code = ask_bare(args, &mut line, args.encoded(command.into()).as_bytes())?;
        if exit == Exit::Done {
            exit = code;
        }
    }
    line.close();
    Ok(exit)
}

fn ask_bare(args: &Args, line: &mut BareLine, command: &[u8]) -> anyhow::Result<Exit> {
    line.say(command)?;
    let mut decoder = Decoder::new(args.encoding);
    let mut ends_line = true;
    let ended = line.hear(&mut |piece| {
        ends_line = piece.ends_with(b"\n");
        if args.encoding.is_utf8() { put_out(piece) } else { put_out(decoder.decode(piece).as_bytes()) }
    })?;
    put_out(decoder.finish().as_bytes())?;
    if !ends_line && std::io::stdout().is_terminal() {
        put_out(b"\n")?;
    }
    match ended {
        Ended::Nothing => {
            let waited = args.reply_timeout();
            say(
                PROGRAM,
                &format!("no reply within {waited:?}; some servers send nothing for a command that prints nothing"),
            );
            Ok(Exit::Failed)
        }
        Ended::Closed => Err(Error::from(LineLost::Closed { wanted: "a reply" }).into()),
        Ended::Whole | Ended::Idle | Ended::SizeGuessed => Ok(Exit::Done),
    }
}
