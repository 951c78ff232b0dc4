//! The tutorial wires: how the tutorials' scripts encode a reply. A request is always plain bytes in one write, so only
//! replies are here; sending and reading of each are side by side.
//!
//! | wire | reply |
//! |---|---|
//! | `raw` | the bytes: how many, nothing says |
//! | `len` | i32 little-endian N, N bytes |
//! | `json` | i32 little-endian header length, a header with `total_size` or `data_size`, N bytes |
//! | `ack` | decimal N; the client answers anything; N bytes |
//! | `size` | decimal N, a pause, N bytes; the connection stays open. A missing file is `00`, an empty one `0` |
//! | `close` | the bytes, then the end of the stream |
//! | `http` | a status line, an empty line, the bytes, then the end of the stream |

use std::io::{self, ErrorKind, Read, Write};
use std::str::FromStr;
use std::time::Duration;

use byteorder::{ByteOrder, LittleEndian, WriteBytesExt};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::error::{ConnectionLost, Misbehaviour, Result};

/// What each of the scripts reads at once, in bytes.
pub const READ_LEN: usize = 1_024;
/// Longest request, in bytes: the servers read once.
pub const REQUEST_LEN_MAX: usize = READ_LEN;
/// On `size`, the reply for a missing file: the clients read it as size 0, and it differs from the size of an empty
/// file, `0`.
pub const SIZE_OF_MISSING: &[u8] = b"00";
/// On `http`, what stands before the bytes: no length and no type, so the end of the stream ends them (RFC 9112, 6.3), and
/// browsers guess what they are.
pub const PAGE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
/// Longest `json` header that is accepted, in bytes.
const HEADER_LEN_MAX: i32 = 65_535;
/// Largest number of digits of a decimal size.
const SIZE_DIGITS_MAX: usize = 20;

/// A tutorial wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// The bytes alone.
    Raw,
    /// A length before the bytes.
    Len,
    /// A JSON header before the bytes.
    Json,
    /// A length, any message of the client, the bytes.
    Ack,
    /// A length, a pause, a file's bytes.
    Size,
    /// A file's bytes, then the end.
    Close,
    /// What browsers show: [`PAGE_HEAD`], the bytes, then the end.
    Http,
}

impl Wire {
    /// All wires, by their names on the command line.
    pub const ALL: [(&'static str, Self); 7] = [
        ("raw", Self::Raw),
        ("len", Self::Len),
        ("json", Self::Json),
        ("ack", Self::Ack),
        ("size", Self::Size),
        ("close", Self::Close),
        ("http", Self::Http),
    ];

    /// Whether a request on it is a file's name and nothing else.
    pub const fn carries_files(self) -> bool {
        matches!(self, Self::Size | Self::Close)
    }

    /// Whether a connection ends with its first reply.
    pub const fn ends_with_reply(self) -> bool {
        matches!(self, Self::Close | Self::Http)
    }
}

impl FromStr for Wire {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, wire)| *wire)
            .ok_or_else(|| format!("{word:?} is not a wire of the tutorials: raw, len, json, ack, size, close, http"))
    }
}

/// A stream whose reads can have a timeout; a read that times out fails with `WouldBlock` or `TimedOut`.
pub trait Patient: Read {
    /// Sets the timeout of the next reads; `None`: no limit.
    ///
    /// # Errors
    /// The stream is gone.
    fn wait_at_most(&mut self, time: Option<Duration>) -> io::Result<()>;
}

/// The timeouts of a client of these servers.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// For the first byte of a reply, and the next byte of one with an announced length; `None`: no limit.
    pub reply: Option<Duration>,
    /// For more of a reply without an announced length.
    pub idle: Duration,
}

/// The header of `json`. Each script fails without its own key, so both sizes are sent and either is accepted; a key
/// that is `None` is not sent.
#[derive(Debug, Serialize, Deserialize)]
struct JsonHeader {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(default)]
    total_size: Option<u64>,
    #[serde(default)]
    data_size: Option<u64>,
}

/// Sends a reply that is in memory. `name` is the request. On `ack`, waits for the client's message between length and
/// bytes; on `size`, calls `pause` there.
///
/// # Errors
/// The stream failed, or the reply is longer than the wire permits.
pub fn send_reply<S: Read + Write>(
    wire: Wire,
    stream: &mut S,
    name: &str,
    reply: &[u8],
    pause: &dyn Fn(),
) -> Result<()> {
    let too_long = |_| {
        io::Error::new(ErrorKind::InvalidData, format!("a reply of {} bytes is too long for this wire", reply.len()))
    };
    match wire {
        Wire::Raw | Wire::Close => stream.write_all(reply)?,
        Wire::Http => stream.write_all(&[PAGE_HEAD, reply].concat())?,
        Wire::Len => {
            let mut message = Vec::with_capacity(reply.len().saturating_add(4));
            message.write_i32::<LittleEndian>(i32::try_from(reply.len()).map_err(too_long)?)?;
            message.extend_from_slice(reply);
            stream.write_all(&message)?;
        }
        Wire::Json => {
            let size = u64::try_from(reply.len()).ok();
            let md5 = hexadecimal(&Md5::digest(reply));
            let header =
                JsonHeader { filename: Some(name.to_owned()), md5: Some(md5), total_size: size, data_size: size };
            let header = serde_json::to_vec(&header).map_err(io::Error::from)?;
            let mut message = Vec::with_capacity(reply.len().saturating_add(header.len()).saturating_add(4));
            message.write_i32::<LittleEndian>(i32::try_from(header.len()).map_err(too_long)?)?;
            message.extend_from_slice(&header);
            message.extend_from_slice(reply);
            stream.write_all(&message)?;
        }
        Wire::Ack => {
            stream.write_all(reply.len().to_string().as_bytes())?;
            let mut word = [0; REQUEST_LEN_MAX];
            if read_once(stream, &mut word)? == 0 {
                return Err(ConnectionLost::Closed { wanted: "the client's word between size and reply" }.into());
            }
            stream.write_all(reply)?;
        }
        Wire::Size => {
            stream.write_all(reply.len().to_string().as_bytes())?;
            pause();
            stream.write_all(reply)?;
        }
    }
    Ok(())
}

/// How the reading of a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyEnd {
    /// The reply is complete: it has the announced length, or the stream has ended.
    Whole,
    /// Nothing more arrived for the idle timeout: on `raw`, the end of a reply cannot be known.
    Idle,
    /// Nothing arrived within the timeout.
    Nothing,
    /// The other end closed without a byte: no further request can be sent.
    Closed,
    /// The reply is complete if the size was guessed right: it arrived in one piece with the bytes.
    SizeGuessed,
    /// On `size`: there is no such file.
    Missing,
}

/// Reads one reply and passes its bytes to `sink` as they arrive.
///
/// # Errors
/// The stream failed or ended inside the reply, an announced size is invalid, or `sink` failed.
pub fn read_reply<S: Patient + Write>(
    wire: Wire,
    stream: &mut S,
    waits: Waits,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<ReplyEnd> {
    stream.wait_at_most(waits.reply)?;
    match wire {
        Wire::Raw => read_until_idle(stream, waits.idle, sink),
        Wire::Close | Wire::Http => {
            let mut got_any = false;
            while let Some(piece) = read_piece(stream)? {
                got_any = true;
                sink(&piece)?;
            }
            Ok(if got_any { ReplyEnd::Whole } else { ReplyEnd::Closed })
        }
        Wire::Len => {
            let Some(len) = read_i32(stream)? else { return Ok(ReplyEnd::Closed) };
            let len = u64::try_from(len).map_err(|_negative| bad_size(&len.to_string()))?;
            read_exactly(stream, len, sink).map(|()| ReplyEnd::Whole)
        }
        Wire::Json => {
            let Some(len) = read_i32(stream)? else { return Ok(ReplyEnd::Closed) };
            let len =
                Some(len).filter(|len| (2..=HEADER_LEN_MAX).contains(len)).ok_or(Misbehaviour::HeaderLength(len))?;
            let mut json = Vec::new();
            read_exactly(stream, len.unsigned_abs().into(), &mut |piece| {
                json.extend_from_slice(piece);
                Ok(())
            })?;
            let header: JsonHeader =
                serde_json::from_slice(&json).map_err(|error| Misbehaviour::BadHeader(error.to_string()))?;
            let size = header.total_size.or(header.data_size);
            let size = size.ok_or_else(|| Misbehaviour::BadHeader("neither total_size nor data_size".into()))?;
            read_exactly(stream, size, sink).map(|()| ReplyEnd::Whole)
        }
        Wire::Ack => {
            let mut digits = Vec::new();
            let ended = read_until_idle(stream, waits.idle, &mut |piece| {
                digits.extend_from_slice(piece);
                if digits.len() > SIZE_DIGITS_MAX { Err(bad_size("more than 20 digits").into()) } else { Ok(()) }
            })?;
            if matches!(ended, ReplyEnd::Nothing | ReplyEnd::Closed) {
                return Ok(ended);
            }
            let size = parse_size(&digits)?;
            stream.write_all(b"ok")?;
            stream.wait_at_most(waits.reply)?;
            read_exactly(stream, size, sink).map(|()| ReplyEnd::Whole)
        }
        Wire::Size => read_sized(stream, sink),
    }
}

/// Reads the size, and the file. If the server made no pause, the first read has both: then the longest run of leading
/// digits is taken for the size.
fn read_sized<S: Patient>(stream: &mut S, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<ReplyEnd> {
    let Some(first) = read_piece(stream)? else { return Ok(ReplyEnd::Closed) };
    let digits = first.iter().take_while(|byte| byte.is_ascii_digit()).count().min(SIZE_DIGITS_MAX);
    let (digits, rest) = first.split_at_checked(digits).unwrap_or((&first, &[]));
    let size = parse_size(digits)?;
    if digits == SIZE_OF_MISSING && rest.is_empty() {
        return Ok(ReplyEnd::Missing);
    }
    if rest.is_empty() {
        return read_exactly(stream, size, sink).map(|()| ReplyEnd::Whole);
    }
    let rest = rest.get(..usize::try_from(size).unwrap_or(usize::MAX)).unwrap_or(rest);
    sink(rest)?;
    let left = size.saturating_sub(u64::try_from(rest.len()).unwrap_or(u64::MAX));
    read_exactly(stream, left, sink).map(|()| ReplyEnd::SizeGuessed)
}

fn read_until_idle<S: Patient>(
    stream: &mut S,
    idle: Duration,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<ReplyEnd> {
    let mut got_any = false;
    loop {
        match read_piece(stream) {
            Ok(Some(piece)) => sink(&piece)?,
            Ok(None) => return Ok(if got_any { ReplyEnd::Whole } else { ReplyEnd::Closed }),
            Err(crate::error::Error::ConnectionLost(ConnectionLost::TimedOut(_))) => {
                return Ok(if got_any { ReplyEnd::Idle } else { ReplyEnd::Nothing });
            }
            Err(error) => return Err(error),
        }
        if !got_any {
            got_any = true;
            stream.wait_at_most(Some(idle))?;
        }
    }
}

fn read_exactly(stream: &mut impl Read, len: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut left = len;
    let mut buffer = [0; 16 * 1024];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let space = buffer.get_mut(..wanted).unwrap_or_default();
        match read_once(stream, space)? {
            0 => return Err(ConnectionLost::InsideFrame { missing: left }.into()),
            came => {
                sink(space.get(..came).unwrap_or_default())?;
                left = left.saturating_sub(u64::try_from(came).unwrap_or(u64::MAX));
            }
        }
    }
    Ok(())
}

/// Reads an `i32`, little-endian; `None`: the stream ended before the first byte.
fn read_i32(stream: &mut impl Read) -> Result<Option<i32>> {
    let mut bytes = [0; 4];
    let mut filled = 0_usize;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let missing = u64::try_from(rest.len()).unwrap_or(u64::MAX);
        match read_once(stream, rest)? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(ConnectionLost::InsideFrame { missing }.into()),
            came => filled = filled.saturating_add(came),
        }
    }
    Ok(Some(LittleEndian::read_i32(&bytes)))
}

fn read_piece(stream: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut piece = vec![0; 16 * 1024];
    let came = read_once(stream, &mut piece)?;
    piece.truncate(came);
    Ok(if came == 0 { None } else { Some(piece) })
}

fn read_once(stream: &mut impl Read, space: &mut [u8]) -> Result<usize> {
    loop {
        match stream.read(space) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return Ok(result?),
        }
    }
}

fn parse_size(digits: &[u8]) -> Result<u64> {
    let text = String::from_utf8_lossy(digits);
    text.trim().parse().map_err(|_no_number| bad_size(&text).into())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn bad_size(got: &str) -> Misbehaviour {
    Misbehaviour::BadBody { what: "size of the reply", why: format!("{got:?} is not a number of bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A stream whose reads are given in advance; `None` is a read that times out.
    struct Script {
        reads: VecDeque<Option<Vec<u8>>>,
        written: Vec<u8>,
    }

    impl Script {
        fn new(reads: &[Option<&[u8]>]) -> Self {
            Self { reads: reads.iter().map(|read| read.map(<[u8]>::to_vec)).collect(), written: Vec::new() }
        }
    }

    impl Read for Script {
        fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
            match self.reads.pop_front() {
                None => Ok(0),
                Some(None) => Err(ErrorKind::WouldBlock.into()),
                Some(Some(mut bytes)) => {
                    let rest = bytes.split_off(bytes.len().min(dest.len()));
                    dest[..bytes.len()].copy_from_slice(&bytes);
                    if !rest.is_empty() {
                        self.reads.push_front(Some(rest));
                    }
                    Ok(bytes.len())
                }
            }
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Patient for Script {
        fn wait_at_most(&mut self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }
    }

    const WAITS: Waits = Waits { reply: None, idle: Duration::ZERO };

    fn read(wire: Wire, reads: &[Option<&[u8]>]) -> Result<(ReplyEnd, Vec<u8>)> {
        let mut script = Script::new(reads);
        let mut reply = Vec::new();
        let ended = read_reply(wire, &mut script, WAITS, &mut |piece| {
            reply.extend_from_slice(piece);
            Ok(())
        })?;
        assert_eq!(script.written, if wire == Wire::Ack && ended == ReplyEnd::Whole { &b"ok"[..] } else { b"" });
        Ok((ended, reply))
    }

    #[test]
    fn every_wire_is_read_whole_and_cut() {
        let json = b"\x11\0\0\0{\"data_size\": 5}!";
        let json = &json[..json.len() - 1];
        let json = [&[16, 0, 0, 0][..], &json[4..]].concat();
        let ok = |ended, text: &[u8]| (ended, text.to_vec());
        assert_eq!(read(Wire::Raw, &[Some(b"he"), Some(b"llo"), None]).unwrap(), ok(ReplyEnd::Idle, b"hello"));
        assert_eq!(read(Wire::Raw, &[None]).unwrap(), ok(ReplyEnd::Nothing, b""));
        assert_eq!(read(Wire::Raw, &[]).unwrap(), ok(ReplyEnd::Closed, b""));
        assert_eq!(
            read(Wire::Len, &[Some(b"\x05\0"), Some(b"\0\0he"), Some(b"llo")]).unwrap(),
            ok(ReplyEnd::Whole, b"hello")
        );
        assert_eq!(read(Wire::Len, &[Some(b"\0\0\0\0")]).unwrap(), ok(ReplyEnd::Whole, b""));
        assert_eq!(read(Wire::Json, &[Some(&json), Some(b"hello")]).unwrap(), ok(ReplyEnd::Whole, b"hello"));
        assert_eq!(read(Wire::Ack, &[Some(b"5"), None, Some(b"hello")]).unwrap(), ok(ReplyEnd::Whole, b"hello"));
        assert_eq!(read(Wire::Size, &[Some(b"5"), Some(b"hello")]).unwrap(), ok(ReplyEnd::Whole, b"hello"));
        assert_eq!(read(Wire::Size, &[Some(b"5hello")]).unwrap(), ok(ReplyEnd::SizeGuessed, b"hello"));
        assert_eq!(read(Wire::Size, &[Some(b"0"), None]).unwrap(), ok(ReplyEnd::Whole, b""));
        assert_eq!(read(Wire::Size, &[Some(b"00"), None]).unwrap(), ok(ReplyEnd::Missing, b""));
        assert_eq!(read(Wire::Close, &[Some(b"he"), Some(b"llo")]).unwrap(), ok(ReplyEnd::Whole, b"hello"));
        assert_eq!(read(Wire::Close, &[]).unwrap(), ok(ReplyEnd::Closed, b""));
        assert_eq!(read(Wire::Http, &[Some(b"HTTP/"), Some(b"1.1")]).unwrap(), ok(ReplyEnd::Whole, b"HTTP/1.1"));
        for (wire, reads) in [
            (Wire::Len, &[Some(&b"\x05\0\0\0hel"[..])][..]),
            (Wire::Len, &[Some(b"\x05\0")]),
            (Wire::Len, &[Some(b"\xff\xff\xff\xff")]),
            (Wire::Json, &[Some(b"\x02\0\0\0{}")]),
            (Wire::Json, &[Some(b"\xff\xff\xff\x7f")]),
            (Wire::Ack, &[Some(b"many"), None]),
            (Wire::Size, &[Some(b"hello")]),
            (Wire::Size, &[Some(b"99999999999999999999999")]),
        ] {
            assert!(read(wire, reads).is_err(), "{wire:?} {reads:?}");
        }
    }

    #[test]
    fn replies_are_what_the_scripts_expect() {
        let send = |wire, reply: &[u8]| {
            let mut script = Script::new(&[Some(b"ok")]);
            send_reply(wire, &mut script, "a.txt", reply, &|| {}).unwrap();
            script.written
        };
        assert_eq!(send(Wire::Len, b"hi"), b"\x02\0\0\0hi");
        assert_eq!(send(Wire::Ack, b"hi"), b"2hi");
        assert_eq!(send(Wire::Size, b"hi"), b"2hi");
        assert_eq!(send(Wire::Close, b"hi"), b"hi");
        assert_eq!(send(Wire::Http, b"<h1>hi</h1>"), b"HTTP/1.1 200 OK\r\n\r\n<h1>hi</h1>");
        let json = send(Wire::Json, b"hi");
        let len = usize::from(json[0]);
        let header: serde_json::Value = serde_json::from_slice(&json[4..4 + len]).unwrap();
        assert_eq!(header["total_size"], 2);
        assert_eq!(header["data_size"], 2);
        assert_eq!(header["filename"], "a.txt");
        assert_eq!(header["md5"], "49f68a5c8493ec2c0bf489821c21fc3b");
        assert_eq!(&json[4 + len..], b"hi");
    }
}
