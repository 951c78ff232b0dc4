//! Commands for the tutorials' servers, which know nothing but text.

use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;

use crate::cli::connect;
use crate::cli::exit::Exit;
use crate::cli::output::{put_out, say};
use crate::cli::prompt::{Input, Prompt};
use crate::cli::rexec::args::{Args, PROGRAM};
use crate::cli::tutorial;
use crate::cli::usage::usage;
use crate::exec::process::Work;
use crate::net::Address;
use crate::text::Decoder;
use crate::tutorial::client::{AfterNoReply, TutorialClient};
use crate::tutorial::codec::{ReplyEnd, Waits, Wire};

/// A command for a tutorial's server, or a prompt of them.
pub(super) fn run(args: &Args, host: &Address, wire: Wire) -> anyhow::Result<Exit> {
    tutorial::check_wire(wire)?;
    if args.is_argv || args.chdir.is_some() {
        return Err(usage("the tutorials' servers take a command string only: no -- and no --chdir"));
    }
    let waits = Waits { reply: Some(args.reply_timeout()), idle: args.idle };
    let connect = || connect::stream(PROGRAM, host, &args.connect, &args.output);
    if let Some(Work::Shell(command)) = args.work() {
        let mut client = TutorialClient::open(&connect, wire, waits, AfterNoReply::Stop)?;
        let mut last = None;
        let ended = request(args, &mut client, command.as_bytes(), &mut last)?;
        let exit = exit_for(args, ended, None);
        finish(last)?;
        return Ok(exit);
    }
    let mut input = Prompt::new(())?;
    let then = tutorial::at_prompt(input.is_interactive());
    let mut client = TutorialClient::open(&connect, wire, waits, then)?;
    let (mut exit, mut last) = (Exit::Done, None);
    while client.is_usable() {
        let command = match input.read(&format!("{host}> "))? {
            Input::Line(command) => command.trim().to_owned(),
            Input::Interrupted => continue,
            Input::End => break,
        };
        if command.is_empty() {
            continue;
        }
        let ended = request(args, &mut client, args.encoded(command.into()).as_bytes(), &mut last)?;
        let code = exit_for(args, ended, Some(client.after_no_reply()));
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

/// Sends a command and prints its reply. A reply that ended by silence stays in `last`: more of it may come, and its
/// last character may be incomplete.
fn request(
    args: &Args,
    client: &mut TutorialClient<'_, anyhow::Error>,
    command: &[u8],
    last: &mut Option<Decoder>,
) -> anyhow::Result<ReplyEnd> {
    let mut reply = Decoder::new(args.encoding);
    let mut ends_line = true;
    let show = |decoder: &mut Decoder, piece: &[u8]| {
        if args.encoding.is_utf8() { put_out(piece) } else { put_out(decoder.decode(piece).as_bytes()) }
    };
    let drained = client.drain(&mut |piece| show(last.get_or_insert_with(|| Decoder::new(args.encoding)), piece));
    finish(last.take())?;
    tutorial::say_late(PROGRAM, drained?, args.idle);
    let ended = client.request(command, &mut |piece| {
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
    Ok(ended)
}

/// The exit code for a reply; `then` is what happens to the requests that follow, if any can.
fn exit_for(args: &Args, ended: ReplyEnd, then: Option<AfterNoReply>) -> Exit {
    if ended != ReplyEnd::Nothing {
        return Exit::Done;
    }
    let waited = args.reply_timeout();
    let why = "some servers send nothing for a command that prints nothing";
    let then = then.map(|then| format!("; {}", tutorial::after_no_reply(then))).unwrap_or_default();
    say(PROGRAM, &format!("no reply within {waited:?}; {why}{then}"));
    Exit::Failed
}
