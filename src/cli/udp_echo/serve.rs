//! `udp-echo serve`.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, ValueEnum};

use crate::cli::args;
use crate::cli::exit::Exit;
use crate::cli::output::{put_out, say, tell};
use crate::cli::udp_echo::args::{Characters, PROGRAM};
use crate::cli::udp_echo::signals;
use crate::net::Address;
use crate::printable::printable;
use crate::printable::printable_bytes;
use crate::udp::bind::{self, Bound, WildcardChange, WildcardWatch};
use crate::udp::group::Group;
use crate::udp::guard::{INTERVAL, REPLIES_PER_SECOND_MAX, ReplyGuard, Withheld};
use crate::udp::serve::{NotAnswered, ServeEvent, Totals, UdpReply, UdpService, serve};
use crate::udp::{Codec, DatagramSocket, Endpoint};

/// Answer every datagram, or only show it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[arg(long, env = "LANDLINE_UDP_BIND", value_delimiter = ',', value_name = "ADDR", help = BIND_HELP)]
    bind: Vec<Address>,
    #[arg(long, env = "LANDLINE_UDP_JOIN", value_delimiter = ',', value_name = "GROUP", help = JOIN_HELP)]
    join: Vec<Group>,
    /// Port to use where ADDR names none; 0: any free port
    #[arg(short, long, env = "LANDLINE_PORT", default_value_t = args::DEFAULT_PORT, value_name = "PORT")]
    port: u16,
    /// What to answer
    #[arg(long, env = "LANDLINE_UDP_REPLY", value_enum, default_value_t = ReplyWord::Echo, value_name = "WHAT")]
    reply: ReplyWord,
    #[command(flatten)]
    characters: Characters,
    /// Replies a second to one address that is not loopback
    #[arg(long, env = "LANDLINE_UDP_RATE", default_value_t = REPLIES_PER_SECOND_MAX, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Number of datagrams after which to end [default: none]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print the ready lines also to this open file descriptor, which must be a pipe or a file
    #[arg(long, value_name = "N")]
    ready_fd: Option<u32>,
    /// Print only errors on standard error
    #[arg(short, long)]
    quiet: bool,
    /// Show each datagram on standard error
    #[arg(short, long)]
    verbose: bool,
}

const BIND_HELP: &str = "Where to receive: HOST, HOST:PORT, [::1]:7000 or unix:/path; may be given more than once [default: 127.0.0.1 and ::1]";

const JOIN_HELP: &str = "Multicast group to receive from too, as 239.1.2.3, 239.1.2.3%eth0:7000 or [ff15::1%eth0]:7000; may be given more than once";

const EXAMPLES: &str = "\
0.0.0.0 and [::] mean one socket for each of this machine's addresses of that family, those that come \
later too, so that a reply leaves from the address that was asked. A line says which, and which are no \
longer served since the machine has lost them for a minute.

What comes to a multicast group (--join) is answered to its sender alone, from this machine's own address.

A sender can be forged, so no reply is longer than its request, an address that is not loopback gets at \
most 1,000 replies a second (--rate), no reply goes to a group or is itself a reply to one, and a source that sends the last replies back 100 times within a second is \
not answered for a second.

Examples:
  udp-echo serve                                         echo on 127.0.0.1 and [::1], port 5263
  udp-echo serve --bind 127.0.0.1:8088 --reply upper     reply in capitals
  udp-echo serve --bind 0.0.0.0:7788 --reply print --encoding gbk
  udp-echo serve --bind unix:/tmp/echo.sock --count 1
  udp-echo serve --join 239.1.2.3%eth0 --join ff15::1%eth0

Ctrl-C and SIGTERM end it with exit code 0 and a line of totals.";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ReplyWord {
    /// The same bytes
    Echo,
    /// The same, a to z made capital
    Upper,
    /// No answer: print the sender and the text
    Print,
}

impl From<ReplyWord> for UdpReply {
    fn from(word: ReplyWord) -> Self {
        match word {
            ReplyWord::Echo => Self::Echo,
            ReplyWord::Upper => Self::Upper,
            ReplyWord::Print => Self::Nothing,
        }
    }
}

/// How often this machine's addresses are looked at again, where all of them are served.
const ADDRESSES_INTERVAL: Duration = Duration::from_secs(1);
/// How often an idle socket looks whether its address is still served, where it may go.
const GONE_INTERVAL: Duration = Duration::from_secs(10);

pub(super) fn run(options: &Serve) -> Result<Exit> {
    let stop = signals::stop_on_signals()?;
    let Bound { sockets, wildcards } = bind_all(options)?;
    let own = sockets
        .iter()
        .map(DatagramSocket::local)
        .collect::<io::Result<Vec<_>>>()
        .context("cannot read an own address")?;
    tell_ready(options, &own)?;
    let sockets: Vec<_> = own.iter().cloned().zip(sockets).collect();
    let totals = Totals::default();
    let (guard, own) = (Mutex::new(ReplyGuard::new(options.rate)), RwLock::new(own));
    let service = UdpService {
        reply: options.reply.into(),
        codec: options.characters.encoding,
        limit: options.count,
        stop: &stop,
        own: &own,
        look: (!wildcards.is_empty()).then_some(GONE_INTERVAL),
        totals: &totals,
        guard: &guard,
    };
    let screen = Screen::new(options);
    // The files of Unix sockets are removed before the summary: each thread owns its socket.
    let outcome = serve_all(sockets, &wildcards, &service, &screen);
    if !options.quiet {
        let [datagrams, bytes, answered] =
            [&totals.datagrams, &totals.bytes, &totals.answered].map(|count| count.load(Ordering::SeqCst));
        say(PROGRAM, &format!("datagrams: {datagrams} received ({bytes} bytes), {answered} answered"));
    }
    outcome?;
    screen.failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(Exit::Done), Err)
}

fn bind_all(options: &Serve) -> Result<Bound> {
    let mut bound = Bound::default();
    if options.bind.is_empty() {
        bound.sockets = bind::bind_loopback(options.port)?;
    }
    for address in &options.bind {
        let Bound { sockets, wildcards } = bind::bind(address, options.port)?;
        bound.sockets.extend(sockets);
        bound.wildcards.extend(wildcards);
    }
    for group in &options.join {
        bound.sockets.push(bind::join(group, options.port)?);
    }
    if bound.sockets.is_empty() {
        bail!("this machine has no address there; name another with --bind");
    }
    Ok(bound)
}

fn ready(endpoint: &Endpoint) -> String {
    format!("{PROGRAM}: ready on {endpoint}\n")
}

fn tell_ready(options: &Serve, own: &[Endpoint]) -> Result<()> {
    let lines: Vec<String> = own.iter().map(ready).collect();
    let lines = lines.concat();
    tell(&lines)?;
    if let Some(number) = options.ready_fd {
        // Without unsafe code a bare number does not become a file; the kernel's list of ours does it.
        let path = format!("/proc/self/fd/{number}");
        let told = OpenOptions::new().append(true).open(path).and_then(|mut file| file.write_all(lines.as_bytes()));
        told.with_context(|| format!("cannot write to file descriptor {number}"))?;
    }
    Ok(())
}

/// One thread for each socket; the first that fails ends them all. Of `wildcards` those addresses are served too that
/// come later.
fn serve_all(
    sockets: Vec<(Endpoint, DatagramSocket)>,
    wildcards: &[SocketAddr],
    service: &UdpService<'_>,
    screen: &Screen<'_>,
) -> Result<()> {
    thread::scope(|scope| {
        let mut outcome = Ok(());
        let mut threads: Vec<ScopedJoinHandle<'_, Result<()>>> = Vec::new();
        let mut start = |own: Endpoint, socket: DatagramSocket| {
            let name = own.to_string();
            let work = move || {
                let served = serve(&socket, service, |event| screen.show(&own, &event));
                if served.is_err() {
                    service.stop.trigger();
                }
                served.with_context(|| format!("{own}: cannot receive any more"))
            };
            match thread::Builder::new().name(name).spawn_scoped(scope, work) {
                Ok(thread) => {
                    // Those of addresses that are gone.
                    for ended in threads.extract_if(.., |thread| thread.is_finished()) {
                        outcome = std::mem::replace(&mut outcome, Ok(())).and(result_of(ended));
                    }
                    threads.push(thread);
                }
                Err(error) => {
                    service.stop.trigger();
                    outcome = Err(error).context("cannot start a thread");
                }
            }
        };
        for (own, socket) in sockets {
            start(own, socket);
        }
        let watched = serve_later(wildcards, service, &mut start, &mut |text| screen.say(text));
        if watched.is_err() {
            service.stop.trigger();
        }
        for thread in threads {
            outcome = outcome.and(result_of(thread));
        }
        outcome.and(watched)
    })
}

fn result_of(thread: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|_panic| Err(anyhow!("a socket's thread broke down")))
}

/// Serves the addresses that come while the server runs (a network that is plugged in, a container's bridge), until
/// it is stopped, and no longer those that have gone.
fn serve_later(
    wildcards: &[SocketAddr],
    service: &UdpService<'_>,
    start: &mut dyn FnMut(Endpoint, DatagramSocket),
    remark: &mut dyn FnMut(&str),
) -> Result<()> {
    if wildcards.is_empty() {
        return Ok(());
    }
    let (mut watch, mut is_remarked) = (WildcardWatch::default(), false);
    while !service.stop.wait(ADDRESSES_INTERVAL).context("cannot wait for addresses")? {
        for wildcard in wildcards {
            let known = service.own.read().unwrap_or_else(PoisonError::into_inner).clone();
            let seen = watch.look(*wildcard, &known);
            for (own, socket) in change(service, seen, &mut is_remarked, remark) {
                tell(&ready(&own))?;
                start(own, socket);
            }
        }
    }
    Ok(())
}

/// Changes the addresses of `service` to what was `seen` and returns what begins to be served. A look may fail, for
/// example when the machine has too many open files: that is remarked once, and the next look may succeed.
fn change(
    service: &UdpService<'_>,
    seen: io::Result<WildcardChange>,
    is_remarked: &mut bool,
    remark: &mut dyn FnMut(&str),
) -> Vec<(Endpoint, DatagramSocket)> {
    let WildcardChange { new, gone } = seen.unwrap_or_else(|error| {
        if !std::mem::replace(is_remarked, true) {
            remark(&format!(
                "cannot look for new addresses: {error}; those that are there are served, and it is tried again"
            ));
        }
        WildcardChange::default()
    });
    let mut own = service.own.write().unwrap_or_else(PoisonError::into_inner);
    own.retain(|address| !gone.contains(address));
    own.extend(new.iter().map(|(address, _)| address.clone()));
    drop(own);
    for address in gone {
        remark(&format!("{address}: is no longer served, since this machine has lost it"));
    }
    new
}

/// What a person sees of it.
#[derive(Debug)]
struct Screen<'a> {
    options: &'a Serve,
    // Any host can send what cannot be answered: the first gets a line, the others only with -v.
    remarked: AtomicBool,
    /// When a source was last said to be held back.
    held: Mutex<Option<Instant>>,
    failed: Mutex<Option<anyhow::Error>>,
}

impl<'a> Screen<'a> {
    fn new(options: &'a Serve) -> Self {
        Self { options, remarked: AtomicBool::new(false), held: Mutex::default(), failed: Mutex::default() }
    }

    fn show(&self, own: &Endpoint, event: &ServeEvent<'_>) -> ControlFlow<()> {
        match event {
            ServeEvent::Received { from, data } => {
                if self.options.verbose {
                    let text = self.options.characters.encoding.decode(data);
                    say(PROGRAM, &format!("{from} -> {own}, {} bytes: {}", data.len(), printable(&text)));
                }
                if matches!(self.options.reply, ReplyWord::Print) {
                    return self.print(from, data);
                }
            }
            ServeEvent::NotAnswered { from, why } => self.remark(from, why),
        }
        ControlFlow::Continue(())
    }

    /// `127.0.0.1:40000 hello`; once standard output is closed, the server ends.
    fn print(&self, from: &Endpoint, data: &[u8]) -> ControlFlow<()> {
        match put_out(line(self.options.characters.encoding, from, data).as_bytes()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.into());
                ControlFlow::Break(())
            }
        }
    }

    fn say(&self, text: &str) {
        if !self.options.quiet {
            say(PROGRAM, text);
        }
    }

    fn remark(&self, from: &Endpoint, why: &NotAnswered) {
        let again = match why {
            NotAnswered::Held(Withheld::Silenced | Withheld::RateAgain) => true,
            NotAnswered::Held(Withheld::Repeats | Withheld::Rate) => self.was_held_just_now(),
            _ => self.remarked.swap(true, Ordering::SeqCst),
        };
        if !self.options.quiet && (self.options.verbose || !again) {
            say(PROGRAM, &format!("{}: not answered: {why}", printable(&from.to_string())));
        }
    }
}

impl Screen<'_> {
    /// Senders can be forged: of sources that are held back one a second is worth a line.
    fn was_held_just_now(&self) -> bool {
        let mut last = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_recent = last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL);
        if !is_recent {
            *last = Some(now);
        }
        is_recent
    }
}

/// A datagram as a line, in a pipe too: none can look like another's, whatever is in it.
fn line(codec: Codec, from: &Endpoint, data: &[u8]) -> String {
    let text = if codec.is_utf8() {
        printable_bytes(data.strip_suffix(b"\n").unwrap_or(data))
    } else {
        let text = codec.decode(data);
        printable(text.strip_suffix('\n').unwrap_or(&text)).into_owned()
    };
    format!("{} {text}\n", printable(&from.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::Stop;

    #[test]
    fn addresses_come_and_go_also_after_a_look_that_failed() {
        let socket = || {
            let socket = DatagramSocket::bind(&Endpoint::Ip("127.0.0.1:0".parse().unwrap())).unwrap();
            (socket.local().unwrap(), socket)
        };
        let ((first, first_socket), (second, second_socket)) = (socket(), socket());
        let (stop, own) = (Stop::new().unwrap(), RwLock::new(vec![first.clone()]));
        let (totals, guard) = (Totals::default(), Mutex::default());
        let service = UdpService {
            reply: UdpReply::Echo,
            codec: Codec::UTF_8,
            limit: None,
            stop: &stop,
            own: &own,
            look: Some(Duration::ZERO),
            totals: &totals,
            guard: &guard,
        };
        let (mut is_remarked, mut said) = (false, Vec::new());
        let mut change = |seen| change(&service, seen, &mut is_remarked, &mut |text| said.push(text.to_owned()));
        for _ in 0..2 {
            assert!(change(Err(io::Error::from_raw_os_error(23))).is_empty());
            assert_eq!(*own.read().unwrap(), std::slice::from_ref(&first));
        }
        let seen = WildcardChange { new: vec![(second.clone(), second_socket)], gone: vec![first.clone()] };
        assert_eq!(change(Ok(seen)).len(), 1);
        assert_eq!(*own.read().unwrap(), [second]);
        assert_eq!(said.len(), 2, "{said:?}");
        // The socket of an address that is gone ends its loop.
        serve(&first_socket, &service, |_| ControlFlow::Continue(())).unwrap();
    }

    #[test]
    fn a_line_names_the_sender_and_is_one_line() {
        let from = Endpoint::Ip("127.0.0.1:40000".parse().unwrap());
        let gbk = "gbk".parse().unwrap();
        for (codec, data, want) in [
            (gbk, &b"\xca\xd5\xb5\xbd\x1b\n"[..], "收到\\u{1b}"),
            (Codec::UTF_8, b"\xff\n\n", "\\xff\\n"),
            (Codec::UTF_8, b"", ""),
            (Codec::UTF_8, b"hi\n127.0.0.1:1 forged\n", "hi\\n127.0.0.1:1 forged"),
            (Codec::UTF_8, b"hi\rforged", "hi\\rforged"),
            (gbk, b"hi\n127.0.0.1:1 forged", "hi\\n127.0.0.1:1 forged"),
            (
                Codec::UTF_8,
                "a\u{85}b\u{2028}c\u{2029}d\u{b}e\u{c}f".as_bytes(),
                "a\\u{85}b\\u{2028}c\\u{2029}d\\u{b}e\\u{c}f",
            ),
        ] {
            assert_eq!(line(codec, &from, data), format!("127.0.0.1:40000 {want}\n"));
        }
    }
}
