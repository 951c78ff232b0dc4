//! The tutorials' wires: raw sockets that do what their scripts do, against our server and our
//! clients. `recv` is theirs: once, at most 1,024 bytes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails fails its test")]

mod browser;
mod call;
mod exec;
mod fetch;
mod files;
mod http;
mod manners;
mod replies;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::harness::listen::serve_all;
use crate::harness::{DEADLINE, Server};

/// How much each of their scripts reads at once.
const RECV_LEN: usize = 1024;

/// One end of a connection, as their scripts hold it.
struct Conn(TcpStream);

impl Conn {
    fn to(server: &Server) -> Self {
        Self(server.connect())
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// `recv(1024)`; nothing at the end, a panic at a reset.
    fn recv(&mut self) -> Vec<u8> {
        let mut buffer = [0; RECV_LEN];
        let len = self.0.read(&mut buffer).unwrap();
        buffer[..len].to_vec()
    }

    /// Their loop for what was announced.
    fn recv_all(&mut self, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < len {
            let piece = self.recv();
            assert!(!piece.is_empty(), "closed after {} of {len} bytes", all.len());
            all.extend(piece);
        }
        assert_eq!(all.len(), len, "more came than was announced");
        all
    }

    /// One send, one `recv`, as text.
    fn ask(&mut self, request: &str) -> String {
        self.send(request);
        String::from_utf8(self.recv()).unwrap()
    }

    /// `struct.unpack('i', recv(4))`.
    fn recv_i32(&mut self) -> usize {
        let mut number = [0; 4];
        self.0.read_exact(&mut number).unwrap();
        i32::from_le_bytes(number).try_into().unwrap()
    }

    fn half_close(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends abruptly: the other end sees a reset.
    fn reset(self) {
        socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Whether the other end hangs up; a reset is a hang-up too.
    fn is_hung_up_on(&mut self) -> bool {
        match self.0.read(&mut [0; RECV_LEN]) {
            Ok(len) => len == 0,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                true
            }
        }
    }
}

/// A server as they write it: clients one after the other, on a free port.
struct Script {
    address: String,
    seen: Receiver<Seen>,
}

/// What such a server has seen.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request(String),
    /// The client closed as it should.
    Closed,
    /// The client's end was a reset, of which half of their servers die.
    Reset,
}

/// A client of theirs, at the server's end.
struct Client {
    conn: Conn,
    seen: Sender<Seen>,
}

impl Client {
    /// `recv(1024)`; `None` when the client has closed.
    fn request(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; RECV_LEN];
        let (seen, request) = match self.conn.0.read(&mut buffer) {
            Ok(0) => (Seen::Closed, None),
            Ok(len) => {
                let request = buffer[..len].to_vec();
                (Seen::Request(String::from_utf8_lossy(&request).into_owned()), Some(request))
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                (Seen::Reset, None)
            }
        };
        // The test may have ended.
        drop(self.seen.send(seen));
        request
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // As far as the client takes it: what it did is in `seen`.
        drop(self.conn.0.write_all(bytes.as_ref()));
    }
}

fn script(serve: impl Fn(Client) + Send + 'static) -> Script {
    let (sender, seen) = channel();
    let address = serve_all(move |stream| serve(Client { conn: Conn(stream), seen: sender.clone() }));
    Script { address, seen }
}

/// A server with one answer for each request, by the request.
fn answering(answer: impl Fn(&mut Client, &[u8]) + Send + 'static) -> Script {
    script(move |mut client| {
        while let Some(request) = client.request() {
            answer(&mut client, &request);
        }
    })
}

impl Script {
    fn next(&self) -> Seen {
        self.seen.recv_timeout(DEADLINE).expect("the server sees something")
    }

    /// Exactly these requests came, and then the client closed, with no reset.
    fn saw(&self, requests: &[&str]) {
        for request in requests {
            assert_eq!(self.next(), Seen::Request((*request).to_owned()));
        }
        assert_eq!(self.next(), Seen::Closed);
    }
}
