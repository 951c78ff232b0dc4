//! A read that asks for less than was sent leaves the rest behind, for the next read to find.
//!
//! `cargo run --example short_read`
#![expect(clippy::print_stdout, reason = "it explains itself while it runs")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a lesson about bare sockets")]

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    println!("A TCP server listens on {address}.");

    let (turn, my_turn) = mpsc::channel();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address)?;
        send(&mut stream, "hello")?;
        // The second message is sent when the first one was read, as the reader believes.
        if my_turn.recv().is_ok() {
            send(&mut stream, "world")?;
        }
        io::Result::Ok(())
    });

    let (mut stream, _) = listener.accept()?;
    wait_until_arrived(&stream, 5)?;
    let first = read(&mut stream, 3)?;
    println!("It takes that for the whole message, and says so.");
    turn.send(())?;
    wait_until_arrived(&stream, 7)?;
    let second = read(&mut stream, 1024)?;
    client.join().map_err(|_panic| "the client broke down")??;

    if (first.as_str(), second.as_str()) != ("hel", "loworld") {
        return Err(format!("expected \"hel\" and \"loworld\", got {first:?} and {second:?}").into());
    }
    println!();
    println!("The \"lo\" of the first message was not lost: it waited in the kernel's buffer, and now stands");
    println!("in front of the second message. A reader that does not read to a message's end is out of step");
    println!("from then on. So: read exactly as much as the message is long, or until the line ends.");
    Ok(())
}

fn send(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    println!("The client sends {text:?}, {} bytes.", text.len());
    stream.write_all(text.as_bytes())
}

fn read(stream: &mut TcpStream, limit: usize) -> Result<String, Box<dyn Error>> {
    let mut buffer = vec![0; limit];
    let came = stream.read(&mut buffer)?;
    let text = str::from_utf8(&buffer[..came])?;
    println!("The server reads at most {limit} bytes and gets {came}: {text:?}.");
    Ok(text.to_owned())
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
