//! `tcp-client --wire`: lines of text as bare requests to one of the tutorials' servers.

use std::io::IsTerminal as _;

use crate::cli::exit::Exit;
use crate::cli::output::{put_out, say, tell};
use crate::cli::prompt::{Input, Prompt};
use crate::cli::tcp_client::args::{PROGRAM, TutorialArgs};
use crate::cli::tutorial;
use crate::net::{Address, Stream};
use crate::text::Decoder;
use crate::tutorial::client::TutorialClient;
use crate::tutorial::codec::{ReplyEnd, Waits, Wire};

/// Sends each line of input and prints each reply, until a person leaves or the input ends.
///
/// # Errors
/// A request they could not take, or the connection was lost.
pub(super) fn run(
    connect: &dyn Fn() -> anyhow::Result<Stream>,
    host: &Address,
    wire: Wire,
    args: &TutorialArgs,
) -> anyhow::Result<Exit> {
    tutorial::check_wire(wire)?;
    let mut input = Prompt::new(())?;
    let waits = Waits { reply: Some(args.timeout), idle: args.idle };
    let then = tutorial::at_prompt(input.is_interactive());
    let mut client = TutorialClient::open(connect, wire, waits, then)?;
    let mut exit = Exit::Done;
    // A reply that ended by silence may go on, and in the middle of a character.
    let mut last = None;
    while client.is_usable() {
        let text = match input.read(&format!("{host}> "))? {
            Input::Line(text) if text.is_empty() => continue,
            Input::Line(text) => text,
            Input::Interrupted => continue,
            Input::End => break,
        };
        let (request, replaced) = args.encoding.encode(&text);
        if replaced > 0 {
            say(PROGRAM, &format!("{replaced} characters do not exist in {} and became ?", args.encoding));
        }
        if args.no_reply {
            client.send(&request)?;
            continue;
        }
        let drained = client.drain(&mut |piece| last.get_or_insert_with(|| ShownReply::new(args)).show(piece));
        // Nothing more of the last reply can come.
        last.take().map_or(Ok(()), ShownReply::finish)?;
        tutorial::say_late(PROGRAM, drained?, waits.idle);
        let mut reply = ShownReply::new(args);
        let ended = client.request(&request, &mut |piece| reply.show(piece))?;
        if ended == ReplyEnd::Idle {
            reply.end_line()?;
            last = Some(reply);
        } else {
            reply.finish()?;
        }
        if ended == ReplyEnd::Nothing {
            let (waited, then) = (args.timeout, tutorial::after_no_reply(client.after_no_reply()));
            say(
                PROGRAM,
                &format!("no reply within {waited:?} (--timeout); a server that only prints needs --no-reply; {then}"),
            );
            if exit == Exit::Done {
                exit = Exit::Failed;
            }
        }
    }
    if let (Some(connection), true) = (client.into_connection(), args.bye) {
        let reply = last.get_or_insert_with(|| ShownReply::new(args));
        connection.say_bye(&mut |piece| reply.show(piece))?;
    }
    last.map_or(Ok(()), ShownReply::finish)?;
    Ok(exit)
}

/// A reply as text: made printable for a person, left as it is in a pipe, always ended by a line end.
struct ShownReply {
    decoder: Decoder,
    for_terminal: bool,
    ends_line: bool,
}

impl ShownReply {
    fn new(args: &TutorialArgs) -> Self {
        let for_terminal = std::io::stdout().is_terminal();
        Self { decoder: Decoder::new(args.encoding), for_terminal, ends_line: true }
    }

    fn show(&mut self, piece: &[u8]) -> crate::error::Result<()> {
        let text = self.decoder.decode(piece);
        self.put(&text)
    }

    fn put(&mut self, text: &str) -> crate::error::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.ends_line = text.ends_with('\n');
        if self.for_terminal {
            return tell(text);
        }
        put_out(text.as_bytes())
    }

    fn end_line(&mut self) -> crate::error::Result<()> {
        if self.ends_line {
            return Ok(());
        }
        self.ends_line = true;
        put_out(b"\n")
    }

    fn finish(mut self) -> crate::error::Result<()> {
        let rest = self.decoder.finish();
        self.put(&rest)?;
        self.end_line()
    }
}
