//! Frames made and read by hand, from the protocol and not with the library, so that a test can say what the library
//! never would.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::{DEADLINE, Server};

/// What a client says first.
pub(crate) const HELLO: &str = r#"{"type":"hello","version":1,"program":"raw"}"#;

/// One frame: `header` as it is, `body` behind it.
pub(crate) fn frame(header: &str, body: &[u8]) -> Vec<u8> {
    let len = i32::try_from(header.len()).unwrap();
    [&len.to_le_bytes()[..], header.as_bytes(), body].concat()
}

/// A frame of `fields` with the `total_size` that its body has.
pub(crate) fn request(fields: &str, body: &[u8]) -> Vec<u8> {
    frame(&format!("{{{fields},\"total_size\":{}}}", body.len()), body)
}

/// The frames of a whole put.
pub(crate) fn put(path: &str, bytes: &[u8]) -> Vec<u8> {
    let blake3 = blake3::hash(bytes).to_hex();
    let size = bytes.len();
    [
        request(&format!(r#""type":"put","path":"{path}","name":"x","size":{size}"#), &[]),
        request(r#""type":"data""#, bytes),
        request(&format!(r#""type":"end","size":{size},"blake3":"{blake3}""#), &[]),
    ]
    .concat()
}

/// The frames of a whole push of one file, which do not wait for the server to want it: it is younger than anything.
pub(crate) fn push(path: &str, bytes: &[u8]) -> Vec<u8> {
    let size = bytes.len();
    let entry = format!(r#"{{"path":"x","kind":"file","size":{size},"mtime_ns":{}}}"#, i64::MAX);
    let mut record = [0_u32.to_le_bytes(), u32::try_from(size).unwrap().to_le_bytes()].concat();
    record.extend_from_slice(&0_i64.to_le_bytes());
    record.extend_from_slice(blake3::hash(bytes).as_bytes());
    record.extend_from_slice(bytes);
    let how = br#"{"single":true,"preserve":false,"sync":false,"resume":false}"#;
    [
        request(&format!(r#""type":"push","path":"{path}""#), how),
        request(r#""type":"list","last":true"#, entry.as_bytes()),
        request(r#""type":"small""#, &record),
        request(r#""type":"end""#, &[]),
    ]
    .concat()
}

/// A connection and the frames that come over it.
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) stream: S,
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) header: Value,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn kind(&self) -> &str {
        self.header["type"].as_str().unwrap()
    }

    pub(crate) fn code(&self) -> &str {
        self.header["code"].as_str().unwrap_or_else(|| panic!("no error: {}", self.header))
    }
}

impl Raw {
    /// Connected, with nothing said.
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = server.connect();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Connected and greeted.
    pub(crate) fn open(server: &Server) -> Self {
        let mut raw = Self::connect(server);
        raw.greet();
        raw
    }

    /// As a server: takes a client's greeting, answers with `hello`, and takes the first request; `None` where the
    /// client has gone before.
    pub(crate) fn welcome(&mut self, hello: &str) -> Option<Answer> {
        assert_eq!(self.next()?.kind(), "hello");
        self.send_what_goes(&frame(hello, &[]));
        self.next()
    }
}

impl<S: Read + Write> Raw<S> {
    /// Says hello, and is answered.
    pub(crate) fn greet(&mut self) {
        self.send(&frame(HELLO, &[]));
        let answer = self.answer();
        assert_eq!(answer.kind(), "hello", "{}", answer.header);
    }

    /// The connection serves.
    pub(crate) fn assert_echoes(&mut self) {
        self.send(&request(r#""type":"echo""#, b"still there?"));
        assert_eq!(self.answer().body, b"still there?");
    }

    /// Starts a command that prints its process id first; returns that.
    pub(crate) fn start(&mut self, script: &str) -> u32 {
        self.send(&request(r#""type":"exec","form":"shell""#, script.as_bytes()));
        String::from_utf8(self.answer().body).unwrap().trim().parse().unwrap()
    }
}

impl<S: Write> Raw<S> {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends as much as the other end takes; it may close before all of it is out.
    pub(crate) fn send_what_goes(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }
}

impl<S: Read> Raw<S> {
    /// The next frame; `None` at the end of the connection, however that came.
    pub(crate) fn next(&mut self) -> Option<Answer> {
        let mut length = [0; 4];
        if let Err(error) = self.stream.read_exact(&mut length) {
            assert!(!is_timeout(&error), "nothing came within {DEADLINE:?}");
            return None;
        }
        let mut header = vec![0; usize::try_from(i32::from_le_bytes(length)).unwrap()];
        self.stream.read_exact(&mut header).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        let mut body = vec![0; usize::try_from(header["total_size"].as_u64().unwrap_or(0)).unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        Some(Answer { header, body })
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.next().expect("an answer")
    }

    /// All frames up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<Answer> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// Whether a read or write took longer than its socket's limit.
pub(crate) fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
