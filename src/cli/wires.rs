//! `tcp-client --wire`: lines of text as bare requests to one of the tutorials' servers.

use std::io::IsTerminal as _;

use super::exit::usage;
use super::prompt::{Input, Prompt};
use super::tcp_client::{BareArgs, PROGRAM};
use super::{Exit, put_out, say, tell};
use crate::bare::BareLine;
use crate::net::{Address, Stream};
use crate::text::Decoder;
use crate::wire::Error;
use crate::wire::error::LineLost;
use crate::wire::tutorial::{Ended, Waits, Wire};

/// Sends each line of input and prints each reply, until `q` or the end of input.
///
/// # Errors
/// A request they could not take, or the line was lost.
pub fn run(stream: Stream, host: &Address, wire: Wire, args: &BareArgs) -> anyhow::Result<Exit> {
    if wire.carries_files() {
        return Err(usage("the wires size and close carry files; use fget --wire"));
    }
    let mut line = BareLine::new(stream, wire, Waits { reply: Some(args.timeout), idle: args.idle });
    let mut input = Prompt::new(())?;
    let mut exit = Exit::Done;
    loop {
        let text = match input.read(&format!("{host}> "))? {
            Input::Line(text) if text.is_empty() => continue,
            Input::Line(text) if text == "q" || text == "quit" => break,
            Input::Line(text) => text,
            Input::Interrupted => continue,
            Input::End => break,
        };
        let (request, replaced) = args.encoding.encode(&text);
        if replaced > 0 {
            say(PROGRAM, &format!("{replaced} characters do not exist in {} and became ?", args.encoding));
        }
        line.say(&request)?;
        if args.no_reply {
            continue;
        }
        let mut reply = Shown::new(args);
        let ended = line.hear(&mut |piece| reply.show(piece))?;
        reply.finish()?;
        if ended == Ended::Closed {
            return Err(Error::from(LineLost::Closed { wanted: "a reply" }).into());
        }
        if ended == Ended::Nothing {
            say(
                PROGRAM,
                &format!("no reply within {:?} (--timeout); a server that only prints needs --no-reply", args.timeout),
            );
            if exit == Exit::Done {
                exit = Exit::Failed;
            }
        }
    }
    if args.bye {
        let mut reply = Shown::new(args);
        line.say_bye(&mut |piece| reply.show(piece))?;
        reply.finish()?;
    } else {
        line.close();
    }
    Ok(exit)
}

/// A reply as text: made printable for a person, left as it is in a pipe, always ended by a line end.
struct Shown {
    decoder: Decoder,
    for_terminal: bool,
    ends_line: bool,
}

impl Shown {
    fn new(args: &BareArgs) -> Self {
        let for_terminal = std::io::stdout().is_terminal();
        Self { decoder: Decoder::new(args.encoding), for_terminal, ends_line: true }
    }

    fn show(&mut self, piece: &[u8]) -> crate::wire::Result<()> {
        let text = self.decoder.decode(piece);
        self.put(&text)
    }

    fn put(&mut self, text: &str) -> crate::wire::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.ends_line = text.ends_with('\n');
        if self.for_terminal {
            return tell(text);
        }
        put_out(text.as_bytes())
    }

    fn finish(&mut self) -> crate::wire::Result<()> {
        let rest = self.decoder.finish();
        self.put(&rest)?;
        if self.ends_line { Ok(()) } else { put_out(b"\n") }
    }
}
