//! `udp-echo chat`: a telephone for two terminals. One socket sends and receives at the same time:
//! one thread prints what comes, the main thread sends what is typed.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rustyline::ExternalPrinter;

use crate::cli::exit::Exit;
use crate::cli::output::{put_out, say};
use crate::cli::udp_echo::args::{Characters, PROGRAM, UdpConnectArgs};
use crate::cli::udp_echo::input;
use crate::cli::udp_echo::input::{Input, Typed};
use crate::cli::udp_echo::signals;
use crate::net::Address;
use crate::printable::printable;
use crate::udp::{Arrival, DATAGRAM_LEN_MAX, DatagramSocket, Endpoint, Stop, receive_buffer};

/// Talk with another terminal, both ways at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Chat {
    #[command(flatten)]
    connect: UdpConnectArgs,
    #[arg(long, value_name = "ADDR", help = BIND_HELP)]
    bind: Option<Address>,
    /// Show the datagrams of all senders, not only HOST's, each with its sender
    #[arg(long)]
    anyone: bool,
    #[command(flatten)]
    characters: Characters,
    /// Print only errors on standard error
    #[arg(short, long)]
    quiet: bool,
}

const BIND_HELP: &str =
    "Our own address, which the other side has to know: HOST:PORT or unix:/path [default: any free port]";

const EXAMPLES: &str = "\
Both sides name their own address and the other's. It does not matter who starts.

Examples:
  udp-echo chat --bind 127.0.0.1:7001 127.0.0.1:7002       in one terminal
  udp-echo chat --bind 127.0.0.1:7002 127.0.0.1:7001       in the other
  udp-echo chat --bind 0.0.0.0:7788 --encoding gbk 192.0.2.7:8000
  udp-echo chat --bind unix:/tmp/a.sock unix:/tmp/b.sock

q, quit, exit or Ctrl-D ends, at a terminal; from a file or a pipe every line is sent.";

pub(super) fn run(options: &Chat) -> Result<Exit> {
    let (socket, peer) = open(options)?;
    signals::leave_on_signals(socket.path().map(Path::to_owned))?;
    let here = socket.local().context("cannot read our own address")?;
    let mut input = Input::new(Vec::new())?;
    let output = Talk { socket: &socket, peer: &peer, options, screen: Screen::new(&mut input) };
    output.remark(&format!("this is {here}, talking with {peer}; q, quit, exit or Ctrl-D ends"));
    let stop = Stop::new().context("cannot start")?;
    thread::scope(|scope| {
        let receiver = thread::Builder::new()
            .name("receiver".into())
            .spawn_scoped(scope, || output.receive_all(&stop))
            .context("cannot start a thread")?;
        let ended = output.send_all(&mut input);
        stop.trigger();
        let received = receiver.join().unwrap_or_else(|_panic| bail!("the receiving thread broke down"));
        ended.and_then(|exit| received.map(|()| exit))
    })
}

/// The socket, and the one of the peer's addresses that can be reached from it.
fn open(options: &Chat) -> Result<(DatagramSocket, Endpoint)> {
    let host = &options.connect.address()?;
    let peers = Endpoint::resolve(host, options.connect.port).with_context(|| format!("cannot find {host}"))?;
    let ours = match &options.bind {
        Some(bind) => Endpoint::resolve(bind, 0).with_context(|| format!("cannot find {bind}"))?,
        None => Vec::new(),
    };
    let pairs = || ours.iter().flat_map(|own| peers.iter().map(move |peer| (own, peer)));
    let (socket, peer) = match (pairs().find(|(own, peer)| own.can_reach(peer)), peers.first(), &options.bind) {
        (Some((own, peer)), ..) => {
            (DatagramSocket::bind(own).with_context(|| format!("{own}: cannot receive there"))?, peer.clone())
        }
        (None, Some(peer), None) => {
            (DatagramSocket::bind_for(peer).context("cannot get an address of our own")?, peer.clone())
        }
        _ => bail!("from the address of --bind there is no way to {host}: they are of different kinds"),
    };
    // A Unix peer that has not started yet has no file to connect to.
    if !options.anyone && peer.ip().is_some() {
        socket.connect(&peer).with_context(|| format!("{peer}: cannot be reached"))?;
    }
    Ok((socket, peer))
}

struct Talk<'a> {
    socket: &'a DatagramSocket,
    peer: &'a Endpoint,
    options: &'a Chat,
    screen: Screen,
}

impl Talk<'_> {
    fn send_all(&self, input: &mut Input) -> Result<Exit> {
        loop {
            let text = match input.next()? {
                Typed::Text(text) => text,
                Typed::End => return Ok(Exit::Done),
                Typed::Interrupted => return Ok(Exit::Interrupted),
            };
            match input::encode(self.options.characters.encoding, text) {
                Ok(data) => self.send(&data),
                Err(error) => self.remark(&format!("not sent: {error:#}")),
            }
        }
    }

    /// That no program is there yet is no error: the other side may start later.
    fn send(&self, data: &[u8]) {
        if data.len() > DATAGRAM_LEN_MAX {
            return self.remark(&format!("not sent: {} bytes, the limit is {DATAGRAM_LEN_MAX} bytes", data.len()));
        }
        // A refusal that was reported now belongs to an earlier datagram; this one was not sent yet.
        let sent = match self.socket.send_to(data, self.peer) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.socket.send_to(data, self.peer),
            other => other,
        };
        match sent {
            Ok(()) => {}
            Err(error) if is_refused(&error) => self.say_refused(),
            Err(error) => self.remark(&format!("not sent: {error}")),
        }
    }

    fn receive_all(&self, stop: &Stop) -> Result<()> {
        let mut buffer = receive_buffer();
        loop {
            match self.socket.receive(&mut buffer, None, Some(stop)) {
                Ok(Arrival::Datagram { len, from, .. }) => self.show(&from, &buffer[..len])?,
                Ok(Arrival::Stopped | Arrival::TimedOut) => return Ok(()),
                Err(error) if is_refused(&error) => self.say_refused(),
                Err(error) => return Err(error).context("cannot receive any more"),
            }
        }
    }

    fn show(&self, from: &Endpoint, data: &[u8]) -> Result<()> {
        let text = self.options.characters.encoding.decode(data);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        // In a pipe too: what one sends must not look like another's.
        self.screen.print(&format!("{}: {}\n", printable(&from.to_string()), printable(text)))
    }

    fn say_refused(&self) {
        self.remark(&format!("no program listens on {} yet", self.peer));
    }

    fn remark(&self, remark: &str) {
        if !self.options.quiet {
            self.screen.remark(remark);
        }
    }
}

/// Above the prompt where there is one, else plain lines.
enum Screen {
    Prompt(Mutex<Box<dyn ExternalPrinter + Send>>),
    Plain,
}

impl Screen {
    fn new(input: &mut Input) -> Self {
        let Input::Prompt(editor) = input else { return Self::Plain };
        // A terminal that cannot move its cursor has no such printer: what comes is printed as it comes.
        match editor.create_external_printer() {
            Ok(printer) => Self::Prompt(Mutex::new(Box::new(printer))),
            Err(_) => Self::Plain,
        }
    }

    fn print(&self, line: &str) -> Result<()> {
        match self {
            Self::Prompt(printer) => {
                let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
                printer.print(line.to_owned()).context("cannot use this terminal")
            }
            Self::Plain => Ok(put_out(line.as_bytes())?),
        }
    }

    fn remark(&self, remark: &str) {
        match self {
            // A remark that cannot be shown is not worth more than the conversation.
            Self::Prompt(_) => drop(self.print(&format!("{PROGRAM}: {remark}\n"))),
            Self::Plain => say(PROGRAM, remark),
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}
