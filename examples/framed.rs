//! The same two sends as in `sticky`, kept apart by a length in front of each.
//!
//! `cargo run --example framed`
#![expect(clippy::print_stdout, reason = "it explains itself while it runs")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a lesson about bare sockets")]

use std::error::Error;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::wire::{Message, Receiver, Sender};

/// What is sent, one frame each.
const SENT: [&str; 2] = ["hello", "world"];

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    println!("A TCP server listens on {address}.");

    let (sent, all_sent) = mpsc::channel();
    let client = thread::spawn(move || {
        let frames = send_frames(TcpStream::connect(address)?)?;
        sent.send(frames).map_err(|_gone| "the server has gone")?;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    });

    let (stream, _) = listener.accept()?;
    let total = all_sent.recv()?;
    let mut look = vec![0; 1024];
    let until = Instant::now() + Duration::from_secs(5);
    while stream.peek(&mut look)? < usize::try_from(total)? {
        if Instant::now() > until {
            return Err("the frames did not arrive".into());
        }
        thread::yield_now();
    }
    println!("The server was busy. Now {total} bytes wait for it, stuck together as ever:");
    dump(&look[..usize::try_from(total)?]);

    let mut receiver = Receiver::new(stream, &[]);
    let mut received = Vec::new();
    while let Some(message) = receiver.recv()? {
        let name = message.name();
        let text = receiver.body_text(1024)?;
        println!("It reads a length, a header, and as much as the header says: {name:?} with body {text:?}.");
        received.push(text);
    }
    client.join().map_err(|_panic| "the client broke down")?.map_err(|error| error.to_string())?;

    if received != SENT {
        return Err(format!("expected {SENT:?}, got {received:?}").into());
    }
    println!();
    println!("Two sends, two messages. Each begins with the length of its header as a 4-byte little-endian");
    println!("integer (Python: struct.pack('<i', n)); the header is JSON, and its total_size is the length of");
    println!("the body behind it. The bytes travel in one lump, and come apart where they were put together.");
    Ok(())
}

/// Sends all frames in one lump; returns how many bytes that was.
fn send_frames(stream: TcpStream) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let end = stream.try_clone()?;
    let sender = Sender::new(stream);
    for text in SENT {
        sender.queue(&Message::Echo { streamed: false }, text.as_bytes())?;
        println!("The client puts {text:?} into a frame.");
    }
    sender.flush()?;
    end.shutdown(Shutdown::Write)?;
    Ok(sender.sent())
}

/// Sixteen bytes a line, as numbers and as characters.
fn dump(bytes: &[u8]) {
    for line in bytes.chunks(16) {
        let numbers: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let characters: String = line.iter().map(shown).collect();
        println!("    {:47}  {characters}", numbers.join(" "));
    }
}
