//! HTTP by hand: requests as bytes, answers read strictly, so that a test can send what no client would.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use super::Server;
use super::tls::{Client, Wire};

/// How a test's client of HTTP comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Plain,
    /// Without a certificate, and `http/1.1` in the ALPN.
    Tls,
    /// With the server's own key.
    TlsOwn,
}

impl Scheme {
    pub(crate) fn connect(self, server: &Server) -> Http {
        self.over(server.connect())
    }

    /// Over a connection that is there.
    pub(crate) fn over(self, socket: TcpStream) -> Http {
        socket.set_nodelay(true).unwrap();
        let home = (self == Self::TlsOwn).then(super::own_home);
        let stream = match self {
            Self::Plain => Wire::Plain(socket),
            Self::Tls | Self::TlsOwn => {
                let client = Client { home, protocols: vec!["http/1.1"] };
                Wire::Tls(Box::new(client.shake_hands(socket).unwrap()))
            }
        };
        Http { stream, buffered: Vec::new() }
    }
}

/// A connection of HTTP.
pub(crate) struct Http {
    pub(crate) stream: Wire,
    buffered: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By name in lower case; several of one name are joined with a comma.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header; the empty text if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// One request on a connection of its own. `head` is the request line, and header lines without Host.
pub(crate) fn ask(server: &Server, head: &str, body: &[u8]) -> Answer {
    Scheme::Plain.connect(server).ask(head, body)
}

impl Http {
    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends bytes, whatever becomes of them: the server may have closed.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// One request: `head` is its first line without the version, and header lines without Host and Content-Length.
    pub(crate) fn ask(&mut self, head: &str, body: &[u8]) -> Answer {
        let (line, lines) = head.split_once("\r\n").unwrap_or((head, ""));
        let lines = if lines.is_empty() { String::new() } else { format!("{}\r\n", lines.trim_end()) };
        let has_length = head.to_lowercase().contains("content-length") || body.is_empty() && !line.starts_with('P');
        let length = if has_length { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        self.send(format!("{line} HTTP/1.1\r\nHost: localhost\r\n{lines}{length}\r\n").as_bytes());
        self.try_send(body);
        self.answer(!line.starts_with("HEAD ")).expect("an answer")
    }

    /// The next answer, interim ones left out; `None`: the connection ended before it began.
    pub(crate) fn answer(&mut self, has_body: bool) -> Option<Answer> {
        loop {
            let answer = self.any_answer(has_body)?;
            if answer.status >= 200 {
                return Some(answer);
            }
        }
    }

    /// The next answer, be it an interim one.
    pub(crate) fn any_answer(&mut self, has_body: bool) -> Option<Answer> {
        let head = self.head()?;
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap();
        let status = status.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("no status line: {status:?}"));
        let status: u16 = status.get(..3).unwrap().parse().unwrap();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header line: {line:?}"));
            let joined = headers.entry(name.to_lowercase()).or_default();
            *joined = if joined.is_empty() { value.into() } else { format!("{joined}, {value}") };
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let has_body = has_body && status >= 200 && status != 204 && status != 304;
        if has_body {
            answer.body = match (answer.headers.get("content-length"), answer.header("transfer-encoding")) {
                (Some(len), "") => {
                    let len = len.parse().unwrap();
                    self.take(len).expect("a whole body")
                }
                (None, "chunked") => self.chunks().expect("all chunks"),
                (None, "") => self.rest(),
                (len, coding) => panic!("delimited twice: {len:?} {coding:?}"),
            };
        }
        Some(answer)
    }

    /// All that comes until the connection ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffered)
    }

    /// Whether the connection has ended, after the answers that were read.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }

    fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffered, b"\r\n\r\n") {
                let head = String::from_utf8(self.buffered.drain(..end).collect()).unwrap();
                self.buffered.drain(..4);
                return Some(head);
            }
            if !self.fill() {
                assert!(self.buffered.is_empty(), "cut off: {:?}", String::from_utf8_lossy(&self.buffered));
                return None;
            }
        }
    }

    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.buffered.len() < len {
            if !self.fill() {
                return None;
            }
        }
        Some(self.buffered.drain(..len).collect())
    }

    /// A chunked body; `None`: it was broken off.
    pub(crate) fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match find(&self.buffered, b"\r\n") {
                    Some(end) => break end,
                    None if !self.fill() => return None,
                    None => {}
                }
            };
            let line = String::from_utf8(self.buffered.drain(..end + 2).collect()).unwrap();
            let len = usize::from_str_radix(line.trim_end(), 16).unwrap();
            body.extend(self.take(len)?);
            assert_eq!(self.take(2)?, b"\r\n");
            if len == 0 {
                return Some(body);
            }
        }
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> bool {
        let mut piece = vec![0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(len) => {
                self.buffered.extend_from_slice(&piece[..len]);
                true
            }
            // A read with a deadline is not begun again by itself when a signal comes (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
