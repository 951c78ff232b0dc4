//! `udp-echo demo`: what becomes of datagrams, shown on loopback in one process.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::net::sockopt;

use crate::cli::exit::Exit;
use crate::cli::output::tell;

/// How long a datagram may take on loopback.
const PATIENCE: Duration = Duration::from_secs(5);
/// Datagrams that are sent to a socket that is not read, and their length in bytes.
const FLOOD: usize = 1_000;
const FLOOD_LEN: usize = 100;
/// The room that the socket gets for them, in bytes; the kernel doubles it.
const ROOM: usize = 8 * 1024;

pub(super) fn run() -> Result<Exit> {
    let server = UdpSocket::bind("127.0.0.1:0").context("cannot receive on 127.0.0.1")?;
    server.set_read_timeout(Some(PATIENCE)).context("cannot limit a wait")?;
    let client = UdpSocket::bind("127.0.0.1:0").context("cannot send from 127.0.0.1")?;
    client.connect(server.local_addr()?).context("cannot send to 127.0.0.1")?;
    tell(&format!(
        "A server receives on {}, a client sends from {}: two sockets of this process.\n",
        server.local_addr()?,
        client.local_addr()?
    ))?;
    boundaries(&server, &client)?;
    truncation(&server, &client)?;
    full_buffer(&client)?;
    Ok(Exit::Done)
}

fn boundaries(server: &UdpSocket, client: &UdpSocket) -> Result<()> {
    tell("\n1. Boundaries: two sends are two datagrams, also if nothing is read in between.\n")?;
    send(client, "hello")?;
    send(client, "world")?;
    let came = [receive(server, 1024)?, receive(server, 1024)?];
    ensure!(came == ["hello", "world"], "the datagrams did not arrive as they were sent");
    tell("   On a TCP stream one read could have returned \"helloworld\". An empty datagram is a message too:\n")?;
    send(client, "")?;
    ensure!(receive(server, 1024)?.is_empty(), "the empty datagram did not arrive as it was sent");
    Ok(())
}

fn truncation(server: &UdpSocket, client: &UdpSocket) -> Result<()> {
    tell("\n2. Truncation: a buffer that is too small loses the rest of its datagram.\n")?;
    send(client, "hello")?;
    send(client, "world")?;
    let came = [receive(server, 1)?, receive(server, 1024)?];
    ensure!(came == ["h", "world"], "the datagrams were not cut as they should be");
    tell("   The \"ello\" is gone: the next read gets the next datagram. A reader brings 65,535 bytes.\n")?;
    Ok(())
}

fn full_buffer(client: &UdpSocket) -> Result<()> {
    let server = UdpSocket::bind("127.0.0.1:0").context("cannot receive on 127.0.0.1")?;
    sockopt::set_socket_recv_buffer_size(&server, ROOM).context("cannot set the size of the receive buffer")?;
    let room = sockopt::socket_recv_buffer_size(&server).context("cannot read the size of the receive buffer")?;
    let to = server.local_addr()?;
    tell(&format!(
        "\n3. A full buffer: another server, on {to}, does not read. The kernel keeps what comes, in {room} bytes.\n"
    ))?;
    let sender = UdpSocket::bind("127.0.0.1:0").context("cannot send from 127.0.0.1")?;
    let junk = [b'x'; FLOOD_LEN];
    for _ in 0..FLOOD {
        sender.send_to(&junk, to).context("cannot send")?;
    }
    client.connect(to).context("cannot send to 127.0.0.1")?;
    tell(&format!("   {FLOOD} datagrams of {FLOOD_LEN} bytes are sent to it. Every send succeeds.\n"))?;
    send(client, "important")?;
    let waiting = all_that_wait(&server)?;
    let lost = FLOOD + 1 - waiting.len();
    let has_important = waiting.iter().any(|data| data == b"important");
    ensure!(lost > 0 && !has_important, "nothing was lost: the kernel gave the socket more room than it was asked for");
    tell(&format!(
        "   Then it reads: {} datagrams are there, {lost} are lost, \"important\" among them. No one was told.\n",
        waiting.len()
    ))?;
    server.set_nonblocking(false).context("cannot wait for a datagram")?;
    server.set_read_timeout(Some(PATIENCE)).context("cannot limit a wait")?;
    send(client, "important")?;
    ensure!(receive(&server, 1024)? == "important", "the second attempt did not arrive");
    tell("   So a server never stops reading, and a client that has to know waits for an answer, and sends again.\n")?;
    Ok(())
}

fn send(client: &UdpSocket, text: &str) -> Result<()> {
    let len = client.send(text.as_bytes()).context("cannot send")?;
    Ok(tell(&format!("   client: send({text:?}) = {len} bytes\n"))?)
}

fn receive(server: &UdpSocket, limit: usize) -> Result<String> {
    let mut buffer = vec![0; limit];
    let (len, _) = server.recv_from(&mut buffer).context("nothing came")?;
    let text = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned();
    tell(&format!("   server: recv_from(buffer of {limit} bytes) = {text:?}, {len} bytes\n"))?;
    Ok(text)
}

/// What the kernel has kept, without waiting for more.
fn all_that_wait(server: &UdpSocket) -> Result<Vec<Vec<u8>>> {
    server.set_nonblocking(true).context("cannot read without waiting")?;
    let (mut found, mut buffer) = (Vec::new(), [0; 1024]);
    // Other programs may send here too, but no more than the flood is ever read.
    while found.len() <= FLOOD {
        match server.recv_from(&mut buffer) {
            Ok((len, _)) => found.push(buffer.get(..len).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
    Ok(found)
}
