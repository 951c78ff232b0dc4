//! What `benches/compare/udp` needs at the other end: a bare server of datagrams, and a client that keeps a number of
//! them under way, the same for every server. It has no measurement of its own under `cargo bench`.
#![expect(clippy::print_stdout, reason = "a figure is what it is for")]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use serde_json::json;

/// How long a reply may take before its datagram counts as lost.
const REPLY_TIME_MAX: Duration = Duration::from_millis(500);
/// A datagram's number stands in its first bytes.
const NUMBER_LEN: usize = 8;
/// Round trips whose time is kept.
const TIMES_MAX: usize = 1_000_000;

#[derive(Debug, Parser)]
#[command(name = "datagrams")]
struct Args {
    #[command(subcommand)]
    job: Option<Job>,
    /// What cargo bench says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Return every datagram with bare `recv_from` and `send_to`
    Bare,
    /// Keep datagrams under way to a server that returns them, for some time
    Bounce {
        address: SocketAddr,
        #[arg(long, default_value_t = 64)]
        size: usize,
        /// Datagrams under way
        #[arg(long, default_value_t = 1)]
        window: u64,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().job {
        None => println!("datagrams: for the scripts in benches/compare/; run those"),
        Some(Job::Bare) => bare()?,
        Some(Job::Bounce { address, size, window, seconds }) => {
            ensure!(size >= NUMBER_LEN, "a datagram has room for its number, {NUMBER_LEN} bytes");
            println!("{}", bounce(address, size, window, Duration::from_secs_f64(seconds))?);
        }
    }
    Ok(())
}

fn bare() -> anyhow::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    println!("ready on {}", socket.local_addr()?);
    let mut buffer = vec![0; 65_536];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        // A client that has gone is not the server's failure.
        drop(socket.send_to(&buffer[..len], from));
    }
}

fn bounce(address: SocketAddr, size: usize, window: u64, time: Duration) -> anyhow::Result<serde_json::Value> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(REPLY_TIME_MAX))?;
    let (mut data, mut buffer) = (vec![b'x'; size], vec![0; 65_536]);
    let (mut sent, mut count, mut lost) = (0_u64, 0_u64, 0_u64);
    let mut send = |sent: &mut u64| -> io::Result<()> {
        data[..NUMBER_LEN].copy_from_slice(&sent.to_be_bytes());
        *sent += 1;
        socket.send(&data).map(drop)
    };
    let started = Instant::now();
    let mut times = Vec::new();
    let mut last = started;
    while started.elapsed() < time {
        while sent < count + lost + window {
            last = Instant::now();
            send(&mut sent).context("cannot send")?;
        }
        match socket.recv(&mut buffer) {
            Ok(len) => {
                let number = buffer[..NUMBER_LEN].try_into().map_or(u64::MAX, u64::from_be_bytes);
                ensure!(len == size && number < sent, "what came back is not what was sent");
                count += 1;
                if times.len() < TIMES_MAX {
                    times.push(last.elapsed());
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                lost = sent - count;
            }
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let p50_us = times.get(times.len() / 2).filter(|_| window == 1).map(|time| time.as_secs_f64() * 1e6);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let per_second = count as f64 / seconds;
    Ok(json!({ "count": count, "per_second": per_second, "lost": lost, "p50_us": p50_us }))
}
