//! Two sends that arrive as one read (粘包): TCP carries a stream of bytes and keeps no borders.
//!
//! `cargo run --example sticky`
#![expect(clippy::print_stdout, reason = "it explains itself while it runs")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a lesson about bare sockets")]

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What is sent, one `write` each.
const SENT: [&str; 2] = ["hello", "world"];

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    println!("A TCP server listens on {address}.");

    let (sent, both_sent) = mpsc::channel();
    let client = thread::spawn(move || send_twice(&mut TcpStream::connect(address)?, &sent));

    let (mut stream, peer) = listener.accept()?;
    both_sent.recv()?;
    wait_until_arrived(&stream, SENT.concat().len())?;
    println!("The server, which was busy until now, asks for up to 1024 bytes from {peer}.");
    let mut buffer = [0; 1024];
    let came = stream.read(&mut buffer)?;
    let text = str::from_utf8(&buffer[..came])?;
    println!("One read returns {came} bytes: {text:?}.");
    client.join().map_err(|_panic| "the client broke down")??;

    if text != SENT.concat() {
        return Err(format!("expected both sends in one read, got {text:?}").into());
    }
    println!();
    println!("Two sends, one read. Nothing in those {came} bytes says where the first ended: TCP promises");
    println!("every byte, once and in order, and no borders. Whoever needs borders has to send them");
    println!("(`cargo run --example framed`), or use datagrams (`cargo run --example datagrams`).");
    Ok(())
}

fn send_twice(stream: &mut TcpStream, sent: &mpsc::Sender<()>) -> io::Result<()> {
    for text in SENT {
        let bytes = stream.write(text.as_bytes())?;
        println!("The client sends {text:?}: one write of {bytes} bytes.");
    }
    // The server may have given up already; then there is nobody to tell.
    sent.send(()).unwrap_or_default();
    Ok(())
}

/// Looks without taking, until so many bytes are there: the kernel needs a moment to carry them over.
fn wait_until_arrived(stream: &TcpStream, len: usize) -> io::Result<()> {
    let mut look = [0; 1024];
    let until = Instant::now() + Duration::from_secs(5);
    while stream.peek(&mut look)? < len {
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::yield_now();
    }
    Ok(())
}
