//! UDP keeps two sends apart by itself; and what does not fit into the reader's buffer is lost.
//!
//! `cargo run --example datagrams`
#![expect(clippy::print_stdout, reason = "it explains itself while it runs")]

use std::error::Error;
use std::net::UdpSocket;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let server = UdpSocket::bind("127.0.0.1:0")?;
    server.set_read_timeout(Some(Duration::from_secs(5)))?;
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.connect(server.local_addr()?)?;
    println!("A UDP server receives on {}, a client sends from {}.", server.local_addr()?, client.local_addr()?);

    println!();
    println!("1. Two sends are two datagrams, even if nobody reads in between.");
    send(&client, "hello")?;
    send(&client, "world")?;
    let apart = [receive(&server, 1024)?, receive(&server, 1024)?];

    println!();
    println!("2. An empty datagram is a message too.");
    send(&client, "")?;
    let empty = receive(&server, 1024)?;

    println!();
    println!("3. A buffer that is too small loses the rest.");
    send(&client, "hello")?;
    send(&client, "world")?;
    let cut = [receive(&server, 1)?, receive(&server, 1024)?];

    if (apart, empty.as_str(), cut) != (["hello".into(), "world".into()], "", ["h".into(), "world".into()]) {
        return Err("the datagrams did not arrive as they should".into());
    }
    println!();
    println!("The \"ello\" is gone: the next read got the next datagram. On a TCP stream it would have been");
    println!("waiting (`cargo run --example short_read`). So a UDP reader brings a buffer for the longest");
    println!("datagram there can be, 65535 bytes; and since a datagram may get lost, it never waits for ever.");
    Ok(())
}

fn send(client: &UdpSocket, text: &str) -> std::io::Result<()> {
    let bytes = client.send(text.as_bytes())?;
    println!("   The client sends {text:?}: one datagram of {bytes} bytes.");
    Ok(())
}

fn receive(server: &UdpSocket, limit: usize) -> Result<String, Box<dyn Error>> {
    let mut buffer = vec![0; limit];
    let (came, from) = server.recv_from(&mut buffer)?;
    let text = str::from_utf8(&buffer[..came])?;
    println!("   The server brings a buffer of {limit} bytes and gets {came} from {from}: {text:?}.");
    Ok(text.to_owned())
}
