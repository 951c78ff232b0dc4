//! A UDP socket that nobody reads fills up, and what comes then is lost, good data too.
//!
//! `cargo run --example unread`
#![expect(clippy::print_stdout, reason = "it explains itself while it runs")]

use std::error::Error;
use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use socket2::SockRef;

/// Junk, as somebody would send who found the port open.
const JUNK: usize = 1000;
const JUNK_LEN: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let server = UdpSocket::bind("127.0.0.1:0")?;
    let room = SockRef::from(&server);
    room.set_recv_buffer_size(8 * 1024)?;
    println!("A UDP server receives on {}, and is too busy to read.", server.local_addr()?);
    println!("The kernel keeps what comes for it, in {} bytes of room.", room.recv_buffer_size()?);

    let stranger = UdpSocket::bind("127.0.0.1:0")?;
    for _ in 0..JUNK {
        stranger.send_to(&[b'x'; JUNK_LEN], server.local_addr()?)?;
    }
    println!("A stranger sends {JUNK} datagrams of {JUNK_LEN} bytes. Every send succeeds.");

    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.send_to(b"important", server.local_addr()?)?;
    println!("A client sends \"important\". That succeeds too.");

    println!("Now the server finds the time, and reads until nothing is left.");
    let waiting = read_all(&server)?;
    let important = waiting.iter().filter(|data| *data == b"important").count();
    let lost = JUNK + 1 - waiting.len();
    println!("It gets {} datagrams; {lost} were lost without a word to anybody.", waiting.len());
    println!("The important one is among {}.", if important == 0 { "the lost" } else { "those that came" });

    client.send_to(b"important", server.local_addr()?)?;
    server.set_nonblocking(false)?;
    server.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut buffer = [0; 1024];
    let (came, _) = server.recv_from(&mut buffer)?;
    let again = str::from_utf8(&buffer[..came])?;
    println!("The client sends it again, there is room again, and the server gets {again:?}.");

    if waiting.is_empty() || lost == 0 || important != 0 || again != "important" {
        return Err("nothing was lost: is the socket's room larger than it was asked to be?".into());
    }
    println!();
    println!("The kernel takes whatever comes to an open port, from anybody, until the room is full. So a");
    println!("server never stops reading, makes the room large (`udp-echo serve` asks for 4 MiB), and a");
    println!("client that needs to know waits for an answer, for a limited time, and asks again.");
    Ok(())
}

/// All datagrams that wait, without waiting for more.
fn read_all(server: &UdpSocket) -> io::Result<Vec<Vec<u8>>> {
    server.set_nonblocking(true)?;
    let mut found = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        match server.recv_from(&mut buffer) {
            Ok((len, _)) => found.push(buffer[..len].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(found),
            Err(error) => return Err(error),
        }
    }
}
