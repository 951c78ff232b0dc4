//! The proxy itself: what other tests believe of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::listen::serve_some;
use crate::harness::proxy::{Cut, Proxy, Toward};
use crate::harness::{DEADLINE, wait_until};

/// More than all buffers on the way hold.
const LEN: usize = 3_000_000;
/// How many bytes came, and with what error they ended, if with one.
type Taken = (usize, Option<ErrorKind>);

/// Echoes on each of `connections` until its end.
fn echo(connections: usize) -> (String, JoinHandle<Vec<()>>) {
    serve_some(connections, |mut stream| {
        let mut back = stream.try_clone().unwrap();
        // A connection that was cut is the test's business.
        if std::io::copy(&mut stream, &mut back).is_ok() {
            let _ = back.shutdown(Shutdown::Write);
        }
    })
}

/// Takes what comes on each of `connections`; how much, and how it ended.
fn sink(connections: usize) -> (String, JoinHandle<Vec<Taken>>) {
    serve_some(connections, |stream| take(&stream))
}

fn take(mut stream: &TcpStream) -> Taken {
    let (mut count, mut buffer) = (0, vec![0; 65_536]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (count, None),
            Ok(len) => count += len,
            Err(error) => return (count, Some(error.kind())),
        }
    }
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn bytes() -> Vec<u8> {
    (0..LEN).map(|at| u8::try_from((at ^ (at >> 8) ^ (at >> 16)) & 0xff).unwrap()).collect()
}

/// Sends all of it and ends; what the other end does meanwhile is read elsewhere.
fn send(stream: &TcpStream, bytes: Vec<u8>) -> JoinHandle<std::io::Result<()>> {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || {
        stream.write_all(&bytes)?;
        stream.shutdown(Shutdown::Write)
    })
}

fn there_and_back(proxy: &Proxy) {
    let stream = connect(proxy);
    let sending = send(&stream, bytes());
    let mut back = vec![0; LEN];
    (&stream).read_exact(&mut back).unwrap();
    assert!(back == bytes(), "what came back is not what was sent");
    assert_eq!((&stream).read(&mut [0]).unwrap(), 0, "the end is passed on too");
    sending.join().unwrap().unwrap();
}

#[test]
fn proxy_passes_bytes_and_ends_and_counts() {
    let (address, server) = echo(2);
    let proxy = Proxy::start(&address);
    there_and_back(&proxy);
    there_and_back(&proxy);
    server.join().unwrap();
    let both = u64::try_from(LEN).unwrap() * 2;
    assert_eq!((proxy.passed(Toward::Server), proxy.passed(Toward::Client), proxy.cuts()), (both, both, 0));
}

#[test]
fn proxy_cuts_at_the_byte_toward_the_server() {
    for how in [Cut::Close, Cut::Reset] {
        let (address, server) = sink(1);
        let proxy = Proxy::start(&address);
        proxy.cut_after(Toward::Server, 1_000_001, how);
        let stream = connect(&proxy);
        let sending = send(&stream, bytes());
        let (count, end) = server.join().unwrap().remove(0);
        match how {
            Cut::Close => assert_eq!((count, end), (1_000_001, None)),
            // Some of it was still in the proxy's socket.
            Cut::Reset => assert!(count <= 1_000_001 && end == Some(ErrorKind::ConnectionReset), "{count}, {end:?}"),
        }
        let sent = sending.join().unwrap();
        let (_, end) = take(&stream);
        // The kernel tells a reset once: to who writes or to who reads.
        assert!(sent.is_err() || matches!(end, None | Some(ErrorKind::ConnectionReset)), "{end:?}");
        assert!(how == Cut::Close || sent.is_err() || end.is_some(), "no reset came to the client");
        assert_eq!((proxy.passed(Toward::Server), proxy.cuts()), (1_000_001, 1));
    }
}

#[test]
fn proxy_cuts_all_connections_and_lets_later_ones_pass() {
    let (address, server) = echo(4);
    let proxy = Proxy::start(&address);
    proxy.cut_after(Toward::Client, 2_000_000, Cut::Reset);
    let connections = [connect(&proxy), connect(&proxy), connect(&proxy)];
    // Two are busy; the third has nothing on the way and is cut all the same.
    (&connections[2]).write_all(b"x").unwrap();
    (&connections[2]).read_exact(&mut [0]).unwrap();
    let sending = [send(&connections[0], bytes()), send(&connections[1], bytes())];
    let taking = connections.map(|connection| thread::spawn(move || take(&connection)));
    let taken = taking.map(|taking| taking.join().unwrap());
    // A reset is told once; on the busy connections the sender may have heard of it.
    let sent = sending.map(|sending| sending.join().unwrap().is_ok());
    assert!(!sent[0] || taken[0].1 == Some(ErrorKind::ConnectionReset), "{taken:?}");
    assert!(!sent[1] || taken[1].1 == Some(ErrorKind::ConnectionReset), "{taken:?}");
    assert_eq!(taken[2], (0, Some(ErrorKind::ConnectionReset)));
    assert!(taken.iter().map(|(count, _)| count).sum::<usize>() < 2_000_000, "{taken:?}");
    assert_eq!((proxy.passed(Toward::Client), proxy.cuts()), (2_000_000, 1));
    there_and_back(&proxy);
    server.join().unwrap();
}

#[test]
fn proxy_cuts_a_quiet_connection_and_one_that_is_not_read() {
    let (address, server) = serve_some(2, |stream| stream);
    let proxy = Proxy::start(&address);
    let (quiet, mut full) = (connect(&proxy), connect(&proxy));
    let unread = server.join().unwrap();
    full.set_nonblocking(true).unwrap();
    wait_until("the connection is full", || {
        loop {
            let before = proxy.passed(Toward::Server);
            match (&full).write(&[0; 4096]) {
                Ok(len) => assert!(len > 0),
                // Full only if nothing moves behind it either.
                Err(error) => break error.kind() == ErrorKind::WouldBlock && proxy.passed(Toward::Server) == before,
            }
        }
    });
    proxy.cut(Cut::Reset);
    full.set_nonblocking(false).unwrap();
    assert_eq!(take(&quiet).1, Some(ErrorKind::ConnectionReset));
    assert_eq!(full.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(unread.iter().all(|stream| take(stream).1 == Some(ErrorKind::ConnectionReset)));
}

#[test]
fn proxy_passes_a_reset_on() {
    let (address, server) = serve_some(1, |mut stream| {
        stream.write_all(b"no").unwrap();
        // Closed with something unread, it resets.
        assert!(stream.peek(&mut [0]).unwrap() > 0);
    });
    let proxy = Proxy::start(&address);
    let mut stream = connect(&proxy);
    stream.write_all(b"request").unwrap();
    server.join().unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"no", "what was said before the reset still comes");
    assert_eq!(take(&stream).1, Some(ErrorKind::ConnectionReset));
}

#[test]
fn proxy_delays_both_ways_and_is_no_narrower_for_it() {
    let delay = Duration::from_millis(300);
    let (address, server) = echo(1);
    let proxy = Proxy::delayed(&address, delay, 16 << 20);
    let begun = Instant::now();
    let mut stream = connect(&proxy);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let first = begun.elapsed();
    assert!(first >= delay * 4, "connecting and a round trip took {first:?}");
    let begun = Instant::now();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let second = begun.elapsed();
    assert!(second >= delay * 2, "a round trip took {second:?}");
    // In steps of what a read takes, each waiting for the one before, it would be 77 seconds.
    let begun = Instant::now();
    let sending = send(&stream, vec![7; 32 << 20]);
    let mut back = vec![0; 32 << 20];
    stream.read_exact(&mut back).unwrap();
    let all = begun.elapsed();
    assert!(back.iter().all(|byte| *byte == 7), "what came back is not what was sent");
    assert!(all >= delay * 2 && all < DEADLINE, "all of it took {all:?}");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    sending.join().unwrap().unwrap();
    server.join().unwrap();
}
