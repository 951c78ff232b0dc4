//! Commands for the tutorials' servers, which know nothing but text.

use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;

use super::{Args, PROGRAM};
use crate::cli::exit::usage;
use crate::cli::prompt::{Input, Prompt};
use crate::cli::tutorial::Requests;
use crate::cli::{Exit, connect, put_out, say};
use crate::exec::process::Work;
use crate::net::Address;
use crate::text::Decoder;
use crate::tutorial::codec::{ReplyEnd, Waits, Wire};

/// A command for a tutorial's server, or a prompt of them.
pub(super) fn run(args: &Args, host: &Address, wire: Wire) -> anyhow::Result<Exit> {
    if wire.carries_files() {
        return Err(usage("the wires size and close carry files; use fget --wire"));
    }
    if args.is_argv || args.chdir.is_some() {
        return Err(usage("the tutorials' servers take a command string only: no -- and no --chdir"));
    }
    let waits = Waits { reply: Some(args.reply_timeout()), idle: args.idle };
    let connect = || connect::stream(PROGRAM, host, &args.reach, &args.talk);
    if let Some(Work::Shell(command)) = args.work() {
        let mut requests = Requests::open(PROGRAM, &connect, (wire, waits), false)?;
        let mut last = None;
        let exit = ask_bare(args, &mut requests, (command.as_bytes(), ""), &mut last)?;
        finish(last)?;
        return Ok(exit);
    }
    let mut input = Prompt::new(())?;
    let mut requests = Requests::open(PROGRAM, &connect, (wire, waits), input.is_interactive())?;
    let (mut exit, mut last) = (Exit::Done, None);
    while requests.goes_on() {
        let command = match input.read(&format!("{host}> "))? {
            Input::Line(command) => command.trim().to_owned(),
            Input::Interrupted => continue,
            Input::End => break,
        };
        if command.is_empty() {
            continue;
        }
        let then = requests.after_no_reply();
        let code = ask_bare(args, &mut requests, (args.encoded(command.into()).as_bytes(), then), &mut last)?;
        if exit == Exit::Done {
            exit = code;
        }
    }
    finish(last)?;
    Ok(exit)
}

/// What is left of a character that never ended.
fn finish(reply: Option<Decoder>) -> crate::error::Result<()> {
    reply.map_or(Ok(()), |mut reply| put_out(reply.finish().as_bytes()))
}

/// `then` says what becomes of those that follow if there is no reply. A reply that ended by silence stays in `last`:
/// it may go on, and in the middle of a character.
fn ask_bare(
    args: &Args,
    requests: &mut Requests<'_>,
    (command, then): (&[u8], &str),
    last: &mut Option<Decoder>,
) -> anyhow::Result<Exit> {
    let mut reply = Decoder::new(args.encoding);
    let mut ends_line = true;
    let show = |decoder: &mut Decoder, piece: &[u8]| {
        if args.encoding.is_utf8() { put_out(piece) } else { put_out(decoder.decode(piece).as_bytes()) }
    };
    let mut late = |piece: &[u8]| match piece {
        [] => finish(last.take()),
        _ => show(last.get_or_insert_with(|| Decoder::new(args.encoding)), piece),
    };
    let ended = requests.ask(command, &mut late, &mut |piece| {
        ends_line = piece.ends_with(b"\n");
        show(&mut reply, piece)
    })?;
    if ended == ReplyEnd::Idle {
        *last = Some(reply);
    } else {
        finish(Some(reply))?;
    }
    if !ends_line && std::io::stdout().is_terminal() {
        put_out(b"\n")?;
    }
    if ended != ReplyEnd::Nothing {
        return Ok(Exit::Done);
    }
    let waited = args.reply_timeout();
    let why = "some servers send nothing for a command that prints nothing";
    let then = if then.is_empty() { String::new() } else { format!("; {then}") };
    say(PROGRAM, &format!("no reply within {waited:?}; {why}{then}"));
    Ok(Exit::Failed)
}
