//! The load generator behind the scripts in `benches/compare/`: the same one for our server and for those it
//! is measured against, so that what it costs itself is the same for all. It has no measurement of
//! its own under `cargo bench`.
//!
//! What it sends was encoded beforehand and what comes back is compared as bytes: every answer is
//! checked, at the price of a comparison. One thread serves all connections, by epoll. Encrypted
//! lines are the library's own, since nobody else has any. It is also what else a measurement needs
//! at the other end or in between: bare servers, and a line with a delay.
#![expect(clippy::disallowed_types, reason = "bare sockets, to be fair to all servers")]
#![expect(clippy::print_stdout, reason = "a figure is what it is for")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use landline::connection::Connection;
use landline::dir::call_pwd;
use landline::exec::process::Work;
use landline::exec::{Call, call_exec};
use landline::net::gate::raise_descriptor_limit;
use landline::net::stream::Stream;
use landline::trust::home::Home;
use landline::trust::identity::Identity;
use landline::wire::channel::encode;
use landline::wire::message::{ChatOptions, Outcome, SayFields, VERSION};
use landline::wire::{Message, Receiver};
use rustix::event::epoll;
use serde_json::json;

#[path = "../tests/integration/harness/proxy.rs"]
#[expect(dead_code, reason = "only tests cut lines")]
#[expect(clippy::unwrap_used, clippy::panic, clippy::let_underscore_must_use, reason = "shared with the tests")]
#[expect(clippy::indexing_slicing, reason = "shared with the tests")]
mod proxy;

/// A connection's stack in the bare server, in bytes.
const STACK_LEN: usize = 64 * 1024;
/// What one read takes at most, in bytes.
const READ_LEN: usize = 64 * 1024;
/// Nobody answers so late; who does is broken.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// Messages that speakers are ahead of the members: enough to keep the server busy, and far below
/// what a server would drop or block for.
const SAID_AHEAD: u64 = 64;
/// Messages that a speaker sends in one write.
const SAID_AT_ONCE: u64 = 8;
const ROOM: &str = "bench";
/// What a bare copy of a file moves in one step, in bytes.
const STEP_LEN: usize = 256 * 1024;

#[derive(Debug, Parser)]
#[command(name = "load")]
struct Args {
    #[command(subcommand)]
    job: Option<Job>,
    /// What cargo bench says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Serve a bare echo, a thread per connection: what a thread costs without any protocol
    BareEcho,
    /// Serve a file to the first who connects, with bare sendfile: what the kernel alone takes
    BareSend { file: PathBuf },
    /// Write what a bare server sends into a new file, without looking at it
    BareTake { address: SocketAddr, file: PathBuf },
    /// Put a long line in front of a server until the input ends; then say what passed
    Delay {
        #[arg(long)]
        upstream: SocketAddr,
        /// How much later a byte arrives, each way, in milliseconds
        #[arg(long)]
        ms: u64,
        /// How much may be under way, each way
        #[arg(long, default_value = "64MiB", value_parser = |size: &str| parse_size::parse_size(size))]
        buffer: u64,
    },
    /// Make round trips on all connections for some time
    Echo {
        address: SocketAddr,
        #[arg(long)]
        wire: Wire,
        #[arg(long, default_value_t = 1)]
        connections: usize,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        #[arg(long, default_value_t = 16)]
        size: usize,
    },
    /// Fill a room and talk in it for some time
    Chat {
        address: SocketAddr,
        #[arg(long)]
        wire: Wire,
        #[arg(long)]
        members: usize,
        #[arg(long, default_value_t = 1)]
        speakers: usize,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        #[arg(long, default_value_t = 32)]
        size: usize,
    },
    /// Run `true` again and again, on a new line each time or on one for all
    Exec {
        address: SocketAddr,
        #[arg(long, default_value_t = 100)]
        count: usize,
        #[arg(long)]
        same_line: bool,
    },
    /// Open a line, ask where it stands and close it, plain and encrypted in turns
    Fresh {
        address: SocketAddr,
        /// Home of the identity that both ends have
        #[arg(long)]
        home: PathBuf,
        #[arg(long, default_value_t = 500)]
        count: usize,
    },
    /// Open lines that have been asked something once, say so, and keep them until the input ends
    Idle {
        address: SocketAddr,
        /// Home of the identity that both ends have; without it, the lines are plain
        #[arg(long)]
        home: Option<PathBuf>,
        #[arg(long, default_value_t = 10_000)]
        count: usize,
    },
}

/// What is spoken with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wire {
    Frame,
    Bare,
}

fn main() -> anyhow::Result<()> {
    let Some(job) = Args::parse().job else {
        println!("load: the generator for the scripts in benches/compare/; run those");
        return Ok(());
    };
    raise_descriptor_limit();
    let report = match job {
        Job::BareEcho => return serve_bare_echo(),
        Job::BareSend { file } => return serve_bare_file(&file),
        Job::BareTake { address, file } => return take_bare_file(address, &file),
        Job::Delay { upstream, ms, buffer } => delay(upstream, Duration::from_millis(ms), usize::try_from(buffer)?),
        Job::Echo { address, wire, connections, seconds, size } => {
            let lines = (0..connections).map(|_| connect(address, wire)).collect::<anyhow::Result<Vec<_>>>()?;
            let (request, answer) = echo_bytes(wire, size)?;
            let time = Duration::from_secs_f64(seconds);
            if connections == 1 {
                ping(&lines[0], (&request, &answer), time)
            } else {
                echo(&lines, (&request, &answer), time)
            }
        }
        Job::Chat { address, wire, members, speakers, seconds, size } => {
            ensure!(members > speakers && speakers > 0, "there must be a speaker, and somebody else to hear it");
            let room = Room::fill(address, wire, members, size)?;
            room.talk(speakers, Duration::from_secs_f64(seconds))
        }
        Job::Exec { address, count, same_line } => exec(address, count, same_line),
        Job::Fresh { address, home, count } => fresh(address, &home, count),
        Job::Idle { address, home, count } => return idle(address, home.as_deref(), count),
    }?;
    println!("{report}");
    Ok(())
}

/// A connection that has said its greeting, where there is one.
fn connect(address: SocketAddr, wire: Wire) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME_MAX)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    if wire == Wire::Frame {
        let hello = Message::Hello { version: VERSION, program: "load".into(), verbs: Vec::new() };
        stream.write_all(&encode(&hello, &[])?)?;
        let mut receiver = Receiver::new(&stream, &[]);
        match receiver.expect("hello")? {
            Message::Hello { .. } => {}
            other => bail!("{} instead of hello", other.name()),
        }
    }
    Ok(stream)
}

/// A request, and what must come back.
fn echo_bytes(wire: Wire, size: usize) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let body: Vec<u8> = (0..size).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0)).collect();
    Ok(match wire {
        Wire::Bare => (body.clone(), body),
        Wire::Frame => {
            let frame = encode(&Message::Echo { streamed: false }, &body)?;
            (frame.clone(), frame)
        }
    })
}

/// Round trips on one connection, each timed.
fn ping(
    mut stream: &TcpStream,
    (request, answer): (&[u8], &[u8]),
    time: Duration,
) -> anyhow::Result<serde_json::Value> {
    let mut back = vec![0; answer.len()];
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let sent = Instant::now();
        stream.write_all(request)?;
        stream.read_exact(&mut back)?;
        times.push(sent.elapsed());
        ensure!(back == answer, "what came back is not what was sent");
    }
    Ok(round_trips(times.len(), started.elapsed(), &mut times))
}

/// Round trips on many connections, one under way on each.
fn echo(lines: &[TcpStream], (request, answer): (&[u8], &[u8]), time: Duration) -> anyhow::Result<serde_json::Value> {
    let ready = Ready::watch(lines)?;
    for mut line in lines {
        line.write_all(request)?;
    }
    let mut came = vec![0; lines.len()];
    let mut buffer = vec![0; READ_LEN];
    let mut count = 0;
    let started = Instant::now();
    while started.elapsed() < time {
        for at in ready.wait()? {
            let (mut line, got) = (&lines[at], &mut came[at]);
            let len = line.read(&mut buffer)?;
            ensure!(len > 0, "the server closed a connection");
            ensure!(answer.get(*got..*got + len) == Some(&buffer[..len]), "what came back is not what was sent");
            *got += len;
            if *got == answer.len() {
                *got = 0;
                count += 1;
                line.write_all(request)?;
            }
        }
    }
    Ok(round_trips(count, started.elapsed(), &mut []))
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn round_trips(count: usize, elapsed: Duration, times: &mut [Duration]) -> serde_json::Value {
    json!({
        "count": count,
        "seconds": elapsed.as_secs_f64(),
        "per_second": count as f64 / elapsed.as_secs_f64(),
        "p50_us": percentile_us(times, 50),
        "p99_us": percentile_us(times, 99),
    })
}

fn percentile_us(times: &mut [Duration], percent: usize) -> Option<f64> {
    times.sort_unstable();
    times.get((times.len() * percent).div_ceil(100).max(1) - 1).map(|time| time.as_secs_f64() * 1e6)
}

/// Which of many connections have something to read.
struct Ready {
    epoll: rustix::fd::OwnedFd,
}

impl Ready {
    fn watch(lines: &[TcpStream]) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (at, line) in lines.iter().enumerate() {
            epoll::add(&epoll, line, epoll::EventData::new_u64(u64::try_from(at)?), epoll::EventFlags::IN)?;
        }
        Ok(Self { epoll })
    }

    fn wait(&self) -> anyhow::Result<Vec<usize>> {
        let mut events = Vec::with_capacity(256);
        let timeout = rustix::event::Timespec::try_from(ANSWER_TIME_MAX)?;
        let buffer = rustix::buffer::spare_capacity(&mut events);
        let count = epoll::wait(&self.epoll, buffer, Some(&timeout))?;
        ensure!(count > 0, "nothing came for {ANSWER_TIME_MAX:?}");
        events.iter().map(|event| Ok(usize::try_from(event.data.u64())?)).collect()
    }
}

fn serve_bare_echo() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ready on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        thread::Builder::new().stack_size(STACK_LEN).spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..len]).is_err() {
                    return;
                }
            }
        })?;
    }
    Ok(())
}

fn serve_bare_file(file: &Path) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ready on {}", listener.local_addr()?);
    let (stream, _) = listener.accept()?;
    let file = std::fs::File::open(file)?;
    while rustix::fs::sendfile(&stream, &file, None, STEP_LEN)? > 0 {}
    Ok(())
}

fn take_bare_file(address: SocketAddr, file: &Path) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME_MAX)?;
    let mut file = std::fs::File::create_new(file)?;
    let mut buffer = vec![0; STEP_LEN];
    while let len @ 1.. = stream.read(&mut buffer)? {
        file.write_all(&buffer[..len])?;
    }
    Ok(())
}

/// A room full of members, all quiet.
struct Room {
    lines: Vec<TcpStream>,
    /// What a speaker sends to say something once.
    said: Vec<u8>,
    /// Bytes of it that every other member must get.
    heard_len: u64,
}

impl Room {
    fn fill(address: SocketAddr, wire: Wire, members: usize, size: usize) -> anyhow::Result<Self> {
        match wire {
            Wire::Frame => Self::fill_ours(address, members, &"x".repeat(size)),
            Wire::Bare => Self::fill_broker(address, members, size),
        }
    }

    fn fill_ours(address: SocketAddr, members: usize, text: &str) -> anyhow::Result<Self> {
        let mut lines = Vec::with_capacity(members);
        for at in 0..members {
            let mut line = connect(address, Wire::Frame)?;
            line.write_all(&encode(
                &Message::Chat { room: ROOM.into(), nick: nick(at).into(), options: ChatOptions::default() },
                &[],
            )?)?;
            hear(&line, &joined(at)?)?;
            lines.push(line);
        }
        // Every later member was announced to every earlier one.
        let announced: Vec<_> = (0..members).map(joined).collect::<anyhow::Result<_>>()?;
        for (at, line) in lines.iter().enumerate() {
            hear(line, &announced[at + 1..].concat())?;
        }
        let said = encode(&Message::Say { fields: SayFields::default() }, text.as_bytes())?;
        // All nicks are of one length, and so are all frames.
        let heard = encode(
            &Message::Say { fields: SayFields { nick: Some(nick(0).into()), ..SayFields::default() } },
            text.as_bytes(),
        )?;
        Ok(Self { lines, said, heard_len: u64::try_from(heard.len())? })
    }

    /// A broker passes on what it gets to all others, as it is. It does not say when somebody is in,
    /// so each newcomer says a word, and is in when the first member has heard it.
    fn fill_broker(address: SocketAddr, members: usize, size: usize) -> anyhow::Result<Self> {
        let mut lines = vec![connect(address, Wire::Bare)?];
        for _ in 1..members {
            let mut line = connect(address, Wire::Bare)?;
            line.write_all(b"+")?;
            hear(&lines[0], b"+")?;
            lines.push(line);
        }
        for (at, line) in lines.iter().enumerate().skip(1) {
            hear(line, &vec![b'+'; members - 1 - at])?;
        }
        let mut said = vec![b'x'; size];
        said.push(b'\n');
        Ok(Self { lines, heard_len: u64::try_from(said.len())?, said })
    }

    /// Says as much as the members can hear, until `time` is over; then waits for the rest.
    fn talk(self, speakers: usize, time: Duration) -> anyhow::Result<serde_json::Value> {
        let listeners = u64::try_from(self.lines.len() - 1)?;
        let at_once = self.said.repeat(usize::try_from(SAID_AT_ONCE)?);
        let ready = Ready::watch(&self.lines)?;
        let mut buffer = vec![0; READ_LEN];
        let (mut said, mut heard_bytes) = (0_u64, 0_u64);
        let started = Instant::now();
        for speaker in (0..speakers).cycle() {
            if started.elapsed() < time {
                (&self.lines[speaker]).write_all(&at_once)?;
                said += SAID_AT_ONCE;
            }
            let ahead = if started.elapsed() < time { SAID_AHEAD.saturating_sub(SAID_AT_ONCE) } else { 0 };
            while heard_bytes < said.saturating_sub(ahead) * listeners * self.heard_len {
                for at in ready.wait()? {
                    let len = (&self.lines[at]).read(&mut buffer)?;
                    ensure!(len > 0, "the server closed a connection");
                    heard_bytes += u64::try_from(len)?;
                }
            }
            if started.elapsed() >= time && ahead == 0 {
                break;
            }
        }
        let deliveries = said * listeners;
        // More bytes than that would be notices of dropped messages.
        ensure!(heard_bytes == deliveries * self.heard_len, "some messages came changed, twice or not at all");
        let elapsed = started.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        Ok(json!({ "deliveries": deliveries, "seconds": elapsed, "per_second": deliveries as f64 / elapsed }))
    }
}

fn nick(at: usize) -> String {
    format!("m{at:05}")
}

fn joined(at: usize) -> anyhow::Result<Vec<u8>> {
    Ok(encode(&Message::Joined { room: ROOM.into(), nick: nick(at).into(), seq: None, is_guest: false }, &[])?)
}

/// Reads what must come now, and not a byte of what follows.
fn hear(mut line: &TcpStream, wanted: &[u8]) -> anyhow::Result<()> {
    let mut came = vec![0; wanted.len()];
    line.read_exact(&mut came)?;
    ensure!(came == wanted, "{:?} instead of {:?}", String::from_utf8_lossy(&came), String::from_utf8_lossy(wanted));
    Ok(())
}

/// A line of the library's, encrypted if there is an identity to show; the server must have it too.
fn open(address: SocketAddr, identity: Option<&Identity>) -> anyhow::Result<Connection> {
    let stream = Stream::from(TcpStream::connect_timeout(&address, ANSWER_TIME_MAX)?);
    stream.tune(Some(ANSWER_TIME_MAX), None)?;
    let Some(identity) = identity else { return Ok(Connection::open(stream, "load")?) };
    let own = identity.credentials().spki().to_vec();
    let verdict = Arc::new(move |spki: &[u8]| spki == own);
    Ok(Connection::open(stream.connect_tls(identity.credentials(), verdict, ANSWER_TIME_MAX)?, "load")?)
}

fn identity(home: &Path) -> anyhow::Result<Identity> {
    Ok(Identity::of(&Home::open(Some(home))?)?)
}

/// Opens a line, makes one round trip and closes it, over and over, each kind in its turn.
fn fresh(address: SocketAddr, home: &Path, count: usize) -> anyhow::Result<serde_json::Value> {
    let identity = identity(home)?;
    let kinds = [None, Some(&identity)];
    let mut times = [Vec::with_capacity(count), Vec::with_capacity(count)];
    for turn in 0..count * 2 {
        let begun = Instant::now();
        let mut line = open(address, kinds[turn % 2])?;
        ensure!(call_pwd(&mut line)? == b"/", "a new line does not stand at the root");
        line.close();
        times[turn % 2].push(begun.elapsed());
    }
    let [mut plain, mut tls] = times;
    Ok(json!({
        "plain_us": percentile_us(&mut plain, 50),
        "plain_p90_us": percentile_us(&mut plain, 90),
        "tls_us": percentile_us(&mut tls, 50),
        "tls_p90_us": percentile_us(&mut tls, 90),
    }))
}

/// Opens lines, and keeps them until the input ends.
fn idle(address: SocketAddr, home: Option<&Path>, count: usize) -> anyhow::Result<()> {
    let identity = home.map(identity).transpose()?;
    let mut lines = Vec::with_capacity(count);
    for at in 0..count {
        let mut line = open(address, identity.as_ref()).with_context(|| format!("line {at}"))?;
        ensure!(call_pwd(&mut line)? == b"/", "a new line does not stand at the root");
        lines.push(line);
    }
    println!("{}", json!({ "open": lines.len() }));
    until_the_input_ends()
}

fn until_the_input_ends() -> anyhow::Result<()> {
    std::io::stdin().read_exact(&mut [0]).or_else(|end| match end.kind() {
        std::io::ErrorKind::UnexpectedEof => Ok(()),
        _ => Err(end),
    })?;
    Ok(())
}

fn delay(upstream: SocketAddr, delay: Duration, buffer_len: usize) -> anyhow::Result<serde_json::Value> {
    let proxy = proxy::Proxy::delayed(&upstream.to_string(), delay, buffer_len);
    println!("ready on {}", proxy.address());
    until_the_input_ends()?;
    Ok(json!({
        "to_server": proxy.passed(proxy::Toward::Server),
        "to_client": proxy.passed(proxy::Toward::Client),
    }))
}

/// Runs `true` over and over.
fn exec(address: SocketAddr, count: usize, same_line: bool) -> anyhow::Result<serde_json::Value> {
    let work = Work::Argv(vec!["true".into()]);
    let run = |line: &mut Connection| -> anyhow::Result<()> {
        let ended = call_exec(line, &Call::of(&work), &mut |_, _| Ok(()))?;
        ensure!(ended.outcome == Outcome::Exited(0), "true ended with {ended:?}");
        Ok(())
    };
    let mut line = open(address, None).context("the line for all commands")?;
    let mut times = Vec::with_capacity(count);
    let started = Instant::now();
    for _ in 0..count {
        let begun = Instant::now();
        if same_line {
            run(&mut line)?;
        } else {
            let mut fresh = open(address, None)?;
            run(&mut fresh)?;
            fresh.close();
        }
        times.push(begun.elapsed());
    }
    let elapsed = started.elapsed();
    line.close();
    Ok(round_trips(count, elapsed, &mut times))
}
