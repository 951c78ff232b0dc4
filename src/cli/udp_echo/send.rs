//! `udp-echo send`.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::args::OutputArgs;
use crate::cli::exit::Exit;
use crate::cli::output::{put_json, put_out, say};
use crate::cli::udp_echo::args::{Characters, PROGRAM, UdpConnectArgs, WaitArgs};
use crate::cli::udp_echo::client::{not_asked, say_both_ends};
use crate::cli::udp_echo::input;
use crate::cli::udp_echo::input::{Input, Typed};
use crate::cli::udp_echo::signals;
use crate::printable::printable;
use crate::udp::{Arrival, ClientError, UdpClient, receive_buffer};

/// Replies that `--json` lists; later ones are only counted.
const REPLIES_KEPT_MAX: usize = 10_000;
/// Late replies that are looked for before the next datagram; a peer that floods us gets no further.
const LATE_REPLIES_MAX: usize = 1_000;

/// Send datagrams and print the replies.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Send {
    #[command(flatten)]
    connect: UdpConnectArgs,
    /// One datagram each; without TEXT one for each line of standard input, an empty line an empty one
    #[arg(value_name = "TEXT")]
    texts: Vec<OsString>,
    #[command(flatten)]
    patience: WaitArgs,
    /// Do not wait for replies: the server only prints
    #[arg(long)]
    no_reply: bool,
    #[command(flatten)]
    characters: Characters,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  udp-echo send localhost hello world          two datagrams, two replies
  udp-echo send 127.0.0.1:8088 --encoding gbk 收到
  udp-echo send 127.0.0.1:9002 --no-reply hi   to a server that only prints
  seq 3 | udp-echo send localhost              one datagram a line
  udp-echo send unix:/tmp/echo.sock hello

Exit code 1 if a reply did not come in time, 3 if no server is there.";

/// What `--json` prints at the end.
#[derive(Debug, Default, Serialize)]
struct Report {
    peer: String,
    sent: u64,
    received: u64,
    missing: u64,
    late: u64,
    bytes_sent: u64,
    bytes_received: u64,
    /// The reply to each datagram as text, `null` where none came.
    replies: Vec<Option<String>>,
    replies_left_out: u64,
}

pub(super) fn run(mut options: Send) -> Result<Exit> {
    let client = match UdpClient::open(&options.connect.address()?, options.connect.port) {
        Ok(client) => client,
        Err(error) => return not_asked(error),
    };
    signals::leave_on_signals(client.path().map(Path::to_owned))?;
    if options.output.verbose {
        say_both_ends(&client);
    }
    let mut input = Input::new(std::mem::take(&mut options.texts))?;
    if matches!(input, Input::Prompt(_)) && !options.output.quiet {
        say(PROGRAM, &format!("each line goes to {} as one datagram; q, quit, exit or Ctrl-D ends", client.peer()));
    }
    let terminal = io::stdout().is_terminal();
    let mut sending =
        Sending { client, options: &options, terminal, buffer: receive_buffer(), report: Report::default() };
    let ended = sending.all(&mut input);
    sending.finish(ended)
}

struct Sending<'a> {
    client: UdpClient,
    options: &'a Send,
    terminal: bool,
    buffer: Vec<u8>,
    report: Report,
}

impl Sending<'_> {
    fn all(&mut self, input: &mut Input) -> Result<Exit> {
        loop {
            let text = match input.next()? {
                Typed::Text(text) => text,
                Typed::End => break,
                Typed::Interrupted => return Ok(Exit::Interrupted),
            };
            match self.one(&input::encode(self.options.characters.encoding, text)?) {
                Ok(()) => {}
                Err(error) => match error.downcast::<ClientError>() {
                    Ok(error) => return not_asked(error),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(if self.report.missing == 0 { Exit::Done } else { Exit::Failed })
    }

    fn one(&mut self, data: &[u8]) -> Result<()> {
        self.take_late_replies()?;
        let started = Instant::now();
        let len = if self.options.no_reply {
            self.client.send(data)?;
            None
        } else {
            self.client.ask(data, &mut self.buffer, self.options.patience.timeout)?
        };
        let rtt = started.elapsed();
        self.report.sent += 1;
        self.report.bytes_sent += u64::try_from(data.len())?;
        if self.options.output.verbose {
            let outcome = len.map_or("no reply".into(), |len| format!("{len} bytes back after {rtt:?}"));
            say(PROGRAM, &format!("{} bytes to {}, {outcome}", data.len(), self.client.peer()));
        }
        if let Some(len) = len {
            return self.reply(len);
        }
        self.no_reply();
        Ok(())
    }

    fn reply(&mut self, len: usize) -> Result<()> {
        self.report.received += 1;
        self.report.bytes_received += u64::try_from(len)?;
        let codec = self.options.characters.encoding;
        let data = &self.buffer[..len];
        let text = codec.decode(data);
        if self.options.output.json {
            self.report.keep(Some(text.into_owned()));
            return Ok(());
        }
        let mut line = match (self.terminal, codec.is_utf8()) {
            (true, _) => printable(&text).into_owned().into_bytes(),
            (false, true) => data.to_vec(),
            (false, false) => text.into_owned().into_bytes(),
        };
        line.push(b'\n');
        Ok(put_out(&line)?)
    }

    fn no_reply(&mut self) {
        if self.options.no_reply {
            return;
        }
        self.report.missing += 1;
        self.report.keep(None);
        let (number, timeout) = (self.report.sent, humantime::format_duration(self.options.patience.timeout));
        let why = "it or its reply may be lost, or the server only prints (--no-reply)";
        say(PROGRAM, &format!("no reply to datagram {number} within {timeout}: {why}"));
    }

    /// What comes before we ask is the answer to an earlier question, and must not be taken for the next one's.
    fn take_late_replies(&mut self) -> Result<()> {
        for _ in 0..LATE_REPLIES_MAX {
            match self.client.receive(&mut self.buffer, Some(Instant::now()), None)? {
                Arrival::Datagram { len, .. } => {
                    self.report.late += 1;
                    if !self.options.output.quiet {
                        let text = self.options.characters.encoding.decode(&self.buffer[..len]);
                        say(PROGRAM, &format!("too late: {}", printable(&text)));
                    }
                }
                Arrival::TimedOut | Arrival::Stopped => break,
            }
        }
        Ok(())
    }

    fn finish(mut self, ended: Result<Exit>) -> Result<Exit> {
        if self.options.output.json {
            self.report.peer = self.client.peer().to_string();
            put_json(&self.report)?;
        }
        ended
    }
}

impl Report {
    fn keep(&mut self, reply: Option<String>) {
        if self.replies.len() < REPLIES_KEPT_MAX {
            self.replies.push(reply);
        } else {
            self.replies_left_out += 1;
        }
    }
}
