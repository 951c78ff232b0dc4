//! `tcp-client --wire`: lines of text as bare requests to one of the tutorials' servers.

use std::fmt;
use std::io::IsTerminal as _;

use super::exit::usage;
use super::prompt::{Input, Prompt};
use super::tcp_client::{PROGRAM, TutorialArgs};
use super::{Exit, put_out, say, tell};
use crate::error::ConnectionLost;
use crate::error::Error;
use crate::net::{Address, Stream};
use crate::text::Decoder;
use crate::tutorial::TutorialConnection;
use crate::tutorial::codec::{ReplyEnd, Waits, Wire};

/// Requests to one of the tutorials' servers, one after the other. After one that got no reply in time the connection
/// is closed: what came late would be taken for the next one's.
pub struct Requests<'a> {
    program: &'static str,
    connect: &'a dyn Fn() -> anyhow::Result<Stream>,
    wire: Wire,
    waits: Waits,
    connection: Option<TutorialConnection>,
    /// Whether a person reads along, and another connection is made where the last one was closed.
    is_interactive: bool,
}

impl fmt::Debug for Requests<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("program", &self.program)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

/// Takes a reply as it comes, in pieces.
pub type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> crate::error::Result<()>;

impl<'a> Requests<'a> {
    /// For `program`; connected at once.
    ///
    /// # Errors
    /// As `connect`.
    pub fn open(
        program: &'static str,
        connect: &'a dyn Fn() -> anyhow::Result<Stream>,
        (wire, waits): (Wire, Waits),
        is_interactive: bool,
    ) -> anyhow::Result<Self> {
        let connection = Some(TutorialConnection::new(connect()?, wire, waits));
        Ok(Self { program, connect, wire, waits, connection, is_interactive })
    }

    /// Sends a request, of which no reply is awaited.
    ///
    /// # Errors
    /// It cannot be sent, or the connection was lost.
    pub fn tell(&mut self, request: &[u8]) -> anyhow::Result<()> {
        Ok(self.connection()?.say(request)?)
    }

    /// Sends a request and gives its reply to `sink`. What was missing of the last one goes to `late` before; then an
    /// empty piece, since nothing more of it can come.
    ///
    /// # Errors
    /// It cannot be sent, or the connection was lost.
    pub fn ask(&mut self, request: &[u8], late: Sink<'_>, sink: Sink<'_>) -> anyhow::Result<ReplyEnd> {
        let (program, idle) = (self.program, self.waits.idle);
        let connection = self.connection()?;
        let drained = connection.drain(late);
        late(&[])?;
        let bytes = drained?;
        if bytes > 0 {
            say(program, &format!("{bytes} bytes more of the last reply came after {idle:?} of silence (--idle)"));
        }
        connection.say(request)?;
        let ended = connection.hear(sink)?;
        match ended {
            ReplyEnd::Closed => return Err(Error::from(ConnectionLost::Closed { wanted: "a reply" }).into()),
            ReplyEnd::Nothing => self.connection = None,
            ReplyEnd::Whole | ReplyEnd::Idle | ReplyEnd::SizeGuessed | ReplyEnd::Missing => {}
        }
        Ok(ended)
    }

    /// What becomes of the requests that follow one without a reply.
    pub const fn after_no_reply(&self) -> &'static str {
        if self.is_interactive {
            "the connection is closed, so that a late reply is not taken for the next one's; the next request opens a new one"
        } else {
            "the connection is closed, so that a late reply is not taken for the next one's; nothing that follows is sent"
        }
    }

    /// Whether the next request can be sent: a script ends with its connection, for what the last request did not do
    /// the next one may count on.
    pub const fn goes_on(&self) -> bool {
        self.connection.is_some() || self.is_interactive
    }

    /// The connection, if there still is one.
    pub fn into_line(self) -> Option<TutorialConnection> {
        self.connection
    }

    fn connection(&mut self) -> anyhow::Result<&mut TutorialConnection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => TutorialConnection::new((self.connect)()?, self.wire, self.waits),
        };
        Ok(self.connection.insert(connection))
    }
}

/// Sends each line of input and prints each reply, until a person leaves or the input ends.
///
/// # Errors
/// A request they could not take, or the connection was lost.
pub fn run(
    connect: &dyn Fn() -> anyhow::Result<Stream>,
    host: &Address,
    wire: Wire,
    args: &TutorialArgs,
) -> anyhow::Result<Exit> {
    if wire.carries_files() {
        return Err(usage("the wires size and close carry files; use fget --wire"));
    }
    let mut input = Prompt::new(())?;
    let waits = Waits { reply: Some(args.timeout), idle: args.idle };
    let mut requests = Requests::open(PROGRAM, connect, (wire, waits), input.is_interactive())?;
    let mut exit = Exit::Done;
    // A reply that ended by silence may go on, and in the middle of a character.
    let mut last = None;
    while requests.goes_on() {
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
            requests.tell(&request)?;
            continue;
        }
        let mut late = |piece: &[u8]| match piece {
            [] => last.take().map_or(Ok(()), Shown::finish),
            _ => last.get_or_insert_with(|| Shown::new(args)).show(piece),
        };
        let mut reply = Shown::new(args);
        let ended = requests.ask(&request, &mut late, &mut |piece| reply.show(piece))?;
        if ended == ReplyEnd::Idle {
            reply.end_line()?;
            last = Some(reply);
        } else {
            reply.finish()?;
        }
        if ended == ReplyEnd::Nothing {
            let (waited, then) = (args.timeout, requests.after_no_reply());
            say(
                PROGRAM,
                &format!("no reply within {waited:?} (--timeout); a server that only prints needs --no-reply; {then}"),
            );
            if exit == Exit::Done {
                exit = Exit::Failed;
            }
        }
    }
    if let (Some(connection), true) = (requests.into_line(), args.bye) {
        let reply = last.get_or_insert_with(|| Shown::new(args));
        connection.say_bye(&mut |piece| reply.show(piece))?;
    }
    last.map_or(Ok(()), Shown::finish)?;
    Ok(exit)
}

/// A reply as text: made printable for a person, left as it is in a pipe, always ended by a line end.
struct Shown {
    decoder: Decoder,
    for_terminal: bool,
    ends_line: bool,
}

impl Shown {
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
