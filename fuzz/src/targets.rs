//! What must hold for any bytes at all: one function a target, which panics where it does not.
//!
//! The wrappers in `fuzz_targets/` give these to the fuzzer, and a test of the package beside gives
//! them the kept corpus, so a finding is a test from the day on which its input is kept. Nothing
//! here reads a clock or a random number: the same input takes the same way every time.

mod web;

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::time::Duration;

use landline::error::{ConnectionLost, Error, ErrorCode, Misbehaviour, Refusal, Result};
use landline::trust::peers::{Peers, check_name, check_scope, checked_root};
use landline::tutorial::codec::{PAGE_HEAD, Patient, REQUEST_LEN_MAX, ReplyEnd, Waits, Wire, read_reply, send_reply};
use landline::wire::channel::{Receiver, encode};
use landline::wire::detect::FirstBytes;
use landline::wire::frame::{
    BODY_LEN_MAX, BUFFER_LEN_BUSY, BUFFER_LEN_IDLE, FrameReader, HEADER_LEN_MAX, HEADER_LEN_MIN, LENGTH_LEN,
};
use landline::wire::header::Header;
use landline::wire::message::Message;

pub use self::web::{chunks, dav, heads, multipart, ranges};

/// A target: it panics on a finding.
pub type Target = fn(&[u8]);

/// Every target by its name in `Cargo.toml`, in `fuzz_targets/` and in `corpus/`.
pub const ALL: [(&str, Target); 10] = [
    ("frame", frame),
    ("messages", messages),
    ("detect", detect),
    ("tutorial", tutorial),
    ("peers", peers),
    ("heads", heads),
    ("chunks", chunks),
    ("multipart", multipart),
    ("dav", dav),
    ("ranges", ranges),
];

/// A stream of frames is the same frames, or the same error, however the network cuts it; every
/// byte of it is accounted for, and memory follows what came.
pub fn frame(data: &[u8]) {
    // Then no header is so long that the buffer would have to be longer than that.
    let data = &data[..data.len().min(BUFFER_LEN_BUSY - 1)];
    let whole = take_frames(data, &[], Manner::Whole, Bodies::Read);
    let sum: usize = whole.frames.iter().map(Frame::len).sum();
    assert!(sum <= data.len(), "{sum} bytes of frames out of {}", data.len());
    assert_eq!(whole.joined(), data[..sum], "frames are what came");
    assert_eq!(whole.end.is_none(), sum == data.len(), "a clean end is between two frames: {:?}", whole.end);
    assert_eq!(whole.missing, missing_behind(&data[sum..]), "bytes short: {:?}", whole.end);

    // What wire detection has read comes first.
    let (first, rest) = data.split_at((data.len() / 3).min(1024));
    for (first, rest, manner) in
        [(&[][..], data, Manner::Byte), (first, rest, Manner::Ragged(16)), (first, rest, Manner::Ragged(8192))]
    {
        assert_eq!(take_frames(rest, first, manner, Bodies::Read), whole, "{manner:?}");
        let skipped = take_frames(rest, first, manner, Bodies::Skip);
        assert!(skipped.headers().eq(whole.headers()), "{manner:?}, bodies skipped");
        assert_eq!(skipped.end, whole.end, "{manner:?}, bodies skipped");
    }

    // What ends well is said over and over: now the buffer has to grow, to move and to shrink.
    if whole.end.is_none() && !data.is_empty() {
        let times = 2 * BUFFER_LEN_BUSY / data.len() + 1;
        let long = data.repeat(times.min(500));
        let manner = if data.len().is_multiple_of(2) { Manner::Whole } else { Manner::Ragged(8192) };
        let again = take_frames(&long, &[], manner, Bodies::Read);
        assert_eq!(again.joined(), long);
        assert_eq!(again.end, None, "as often as one likes");
    }

    let messages = take_messages(Network::new(data, Manner::Whole), false);
    assert_eq!(take_messages(Network::new(data, Manner::Ragged(16)), true), messages);
}

/// What decodes is encoded and decoded to the same again, and what does not is refused in words
/// that fit into a frame.
pub fn messages(data: &[u8]) {
    let header = match Header::parse(data) {
        Ok(header) => header,
        Err(Error::PeerMisbehaved(why @ Misbehaviour::BadHeader(_))) => {
            return assert_sayable(&Refusal::new(ErrorCode::BadFrame, why.to_string()));
        }
        Err(error) => panic!("not an error of a header: {error:?}"),
    };
    let total_size = header.total_size();
    let message = match Message::of(header) {
        Ok(message) => message,
        Err(refusal) => {
            assert!(matches!(refusal.code, ErrorCode::UnknownType | ErrorCode::BadRequest), "{refusal:?}");
            return assert_sayable(&refusal);
        }
    };
    assert!(Message::NAMES.contains(&message.name()), "{message:?}");
    let json = json(&message, total_size);
    let header = Header::parse(&json).expect("our own header is read");
    assert_eq!(header.total_size(), total_size);
    let again = Message::of(header).expect("our own message is understood");
    assert_eq!(again, message);
    assert_eq!(self::json(&again, total_size), json, "and is written the same once more");
}

/// Once the first bytes have said what a line is, no byte behind them says otherwise. Two exceptions are meant, for
/// the request that has come so far is all there is to judge: a NUL turns `Bare` into `Binary`, and both can become `Http`.
pub fn detect(data: &[u8]) {
    let mut before = FirstBytes::Undecided;
    for len in 0..=data.len() {
        let bytes = &data[..len];
        let now = FirstBytes::of(bytes);
        let may_follow = match before {
            FirstBytes::Undecided => true,
            FirstBytes::Text => {
                now == FirstBytes::Http || now == if bytes.contains(&0) { FirstBytes::Binary } else { FirstBytes::Text }
            }
            FirstBytes::Binary => matches!(now, FirstBytes::Binary | FirstBytes::Http),
            FirstBytes::Frame | FirstBytes::Tls | FirstBytes::Http => now == before,
        };
        assert!(may_follow, "{before:?} became {now:?} at {len} bytes");
        // The longest method is seven letters, and a space decides.
        assert!(now != FirstBytes::Undecided || len <= 7, "still undecided at {len} bytes");
        let is_frame = bytes.get(2..5).is_some_and(|bytes| bytes == b"\0\0{");
        assert_eq!(now == FirstBytes::Frame, is_frame);
        assert!(now != FirstBytes::Text || !bytes.contains(&0), "a NUL is never text");
        before = now;
    }
}

/// Each of the tutorials' wires: a client survives any reply and delivers nothing that did not come;
/// what our server sends, our client reads. The first byte of the input says where in the rest the
/// other end makes its pause.
pub fn tutorial(data: &[u8]) {
    let (&at, bytes) = data.split_first().unwrap_or((&0, &[]));
    let pause = Pause { at: usize::from(at).min(bytes.len()), is_long: true };
    for (_, wire) in Wire::ALL {
        read_any(wire, bytes, pause);
        send_and_read(wire, bytes, pause.at);
    }
}

/// The file of known peers: whatever is in it, it is peers that keep every rule, or one flaw, said on
/// one line, about a line that is there.
pub fn peers(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let peers = match Peers::parse(text) {
        Ok(peers) => peers,
        Err(flaw) => {
            assert!((1..=text.split('\n').count()).contains(&flaw.line), "{flaw:?}");
            assert!(!flaw.why.is_empty() && !flaw.why.contains('\n'), "{flaw:?}");
            return;
        }
    };
    for peer in peers.iter() {
        assert_eq!(check_name(&peer.name), Ok(()));
        assert_eq!(peers.by_name(&peer.name), Some(peer), "a name once");
        assert_eq!(peers.by_key(&peer.fingerprint), Some(peer), "a key once");
        assert_eq!(check_scope(peer.services, peer.root.as_deref()), Ok(()));
        if let Some(root) = &peer.root {
            assert!(!root.is_empty() && !root.starts_with('/'), "{root:?}");
            assert_eq!(checked_root(root).as_ref(), Ok(root), "a root stays what it is");
        }
    }
    let with_comment = format!("{text}\n# a comment\n");
    assert_eq!(Peers::parse(&with_comment), Ok(peers), "a comment changes nothing");
}

// What the network does.

/// How a read is answered.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// With all that there is room for.
    Whole,
    /// With one byte.
    Byte,
    /// With up to so many bytes, and now and then with a signal instead.
    Ragged(usize),
}

/// A place in a stream that no read reaches across.
#[derive(Debug, Clone, Copy)]
struct Pause {
    at: usize,
    /// Whether it outlasts the reader's time limit.
    is_long: bool,
}

/// A stream that brings the bytes it is given and then ends.
struct Network<'d> {
    bytes: &'d [u8],
    /// `given <= bytes.len()`: so many were read.
    given: usize,
    manner: Manner,
    pause: Option<Pause>,
    /// Drives `Ragged`; seeded with the bytes, so that every run is the same.
    dice: u64,
    /// For a reader whose memory is to follow what came: how much it had before this stream, in bytes.
    came_before: Option<usize>,
    /// The most that a read had room for in its caller's own memory, in bytes.
    dest_max: usize,
    written: Vec<u8>,
}

impl<'d> Network<'d> {
    fn new(bytes: &'d [u8], manner: Manner) -> Self {
        // FNV-1a, of a few bytes: it is to differ, not to be good.
        let dice = bytes
            .iter()
            .take(256)
            .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self { bytes, given: 0, manner, pause: None, dice, came_before: None, dest_max: 0, written: Vec::new() }
    }

    fn with_pause(self, pause: Pause) -> Self {
        Self { pause: Some(pause), ..self }
    }

    /// A reader may have room for twice what came, between what it idles with and what it is busy with.
    fn check_room(&self, room: usize) {
        if let Some(before) = self.came_before {
            let bound = (2 * (before + self.given)).clamp(BUFFER_LEN_IDLE, BUFFER_LEN_BUSY);
            assert!(room <= bound, "room for {room} bytes after {}", before + self.given);
        }
    }

    /// A number below `limit`.
    fn roll(&mut self, limit: usize) -> usize {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let limit = u64::try_from(limit).expect("a small number");
        usize::try_from((self.dice >> 33) % limit).expect("below a small number")
    }

    /// What one read with room for `room` bytes brings.
    fn next_piece(&mut self, room: usize) -> io::Result<&'d [u8]> {
        let piece = match self.manner {
            Manner::Whole => room,
            Manner::Byte => 1,
            Manner::Ragged(max) => match self.roll(8) {
                0 => return Err(ErrorKind::Interrupted.into()),
                _ => self.roll(max) + 1,
            },
        };
        let mut left = &self.bytes[self.given..];
        if let Some(pause) = self.pause {
            if self.given < pause.at {
                left = &self.bytes[self.given..pause.at];
            } else {
                self.pause = None;
                if pause.is_long {
                    let kinds = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
                    return Err(kinds[pause.at % 2].into());
                }
            }
        }
        let piece = &left[..piece.min(room).min(left.len())];
        self.given += piece.len();
        Ok(piece)
    }
}

impl Read for Network<'_> {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        self.check_room(dest.len());
        let piece = self.next_piece(dest.len())?;
        dest[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }

    /// The first slice is the caller's, the others are the reader's own.
    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.check_room(slices.iter().skip(1).map(|slice| slice.len()).sum());
        self.dest_max = slices.first().map_or(0, |slice| slice.len()).max(self.dest_max);
        let piece = self.next_piece(slices.iter().map(|slice| slice.len()).sum())?;
        let mut left = piece;
        for slice in slices {
            let (now, later) = left.split_at(left.len().min(slice.len()));
            slice[..now.len()].copy_from_slice(now);
            left = later;
        }
        Ok(piece.len())
    }
}

impl Write for Network<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Patient for Network<'_> {
    fn wait_at_most(&mut self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
}

// Frames and messages.

/// What is done with bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bodies {
    Read,
    Skip,
}

/// A frame that was taken off a stream. A body that was skipped left its length.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    header: Vec<u8>,
    body: Vec<u8>,
    body_len: usize,
}

impl Frame {
    fn len(&self) -> usize {
        LENGTH_LEN + self.header.len() + self.body_len
    }
}

/// What a reader of frames saw; `end` is the error, if it was not a clean end, and `missing` the
/// bytes that it says the stream was short of.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    frames: Vec<Frame>,
    end: Option<String>,
    missing: Option<u64>,
}

impl Seen {
    fn headers(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().map(|frame| frame.header.as_slice())
    }

    /// The bytes that these frames are.
    fn joined(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for Frame { header, body, .. } in &self.frames {
            bytes.extend_from_slice(&u32::try_from(header.len()).expect("a header's length").to_le_bytes());
            bytes.extend_from_slice(header);
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

fn take_frames(bytes: &[u8], first: &[u8], manner: Manner, bodies: Bodies) -> Seen {
    let network = Network { came_before: Some(first.len()), ..Network::new(bytes, manner) };
    let mut reader = FrameReader::new(network, first);
    let mut seen = Seen { frames: Vec::new(), end: None, missing: None };
    let mut taken = 0;
    loop {
        let frame = match take_frame(&mut reader, bodies) {
            Ok(Some(frame)) => frame,
            Ok(None) => return seen,
            Err(error) => {
                assert_no_other_end(&error);
                seen.end = Some(error.with_cause());
                if let Error::ConnectionLost(ConnectionLost::InsideFrame { missing }) = error {
                    seen.missing = Some(missing);
                }
                return seen;
            }
        };
        taken += frame.len();
        let came = first.len() + reader.stream().given;
        assert_eq!(reader.received(), u64::try_from(came).expect("a length"));
        assert_eq!(came - reader.buffered(), taken, "what is taken and what waits is what came");
        // As between turns; some turns are longer than others.
        if frame.header.len().is_multiple_of(8) {
            reader.rest();
            assert_eq!(came - reader.buffered(), taken, "resting loses nothing");
        }
        seen.frames.push(frame);
    }
}

/// How much of the frame that begins with `bytes` did not come, as far as it can be known: none of
/// it if they are no frame's, or nothing at all.
fn missing_behind(bytes: &[u8]) -> Option<u64> {
    let short = |wanted: usize, came: &[u8]| u64::try_from(wanted - came.len()).ok();
    if bytes.is_empty() {
        return None;
    }
    let Some((length, rest)) = bytes.split_first_chunk() else { return short(LENGTH_LEN, bytes) };
    let len = usize::try_from(i32::from_le_bytes(*length)).ok()?;
    if !(HEADER_LEN_MIN..=HEADER_LEN_MAX).contains(&len) || rest.first().is_some_and(|&byte| byte != b'{') {
        return None;
    }
    let Some((header, body)) = rest.split_at_checked(len) else { return short(len, rest) };
    let total_size = Header::parse(header).ok()?.total_size();
    if total_size > BODY_LEN_MAX.into() {
        return None;
    }
    short(usize::try_from(total_size).ok()?, body)
}

/// The next frame, with its body if that is wanted.
fn take_frame(reader: &mut FrameReader<Network<'_>>, bodies: Bodies) -> Result<Option<Frame>> {
    if !reader.next_header()? {
        return Ok(None);
    }
    let header = reader.header().to_vec();
    let total_size = Header::parse(&header)?.total_size();
    reader.begin_body(total_size)?;
    assert_eq!(u64::from(reader.body_left()), total_size);
    let body_len = usize::try_from(total_size).expect("a body's length");
    let mut body = Vec::new();
    if bodies == Bodies::Skip {
        reader.skip_body()?;
    } else {
        // Destinations of all sizes, the announced one never.
        let mut space = vec![0; header.len() * 97 % 9000 + 1];
        loop {
            match reader.read_body(&mut space)? {
                0 => break,
                came => body.extend_from_slice(&space[..came]),
            }
        }
        assert_eq!(body.len(), body_len);
    }
    assert_eq!(reader.body_left(), 0);
    Ok(Some(Frame { header, body, body_len }))
}

/// Everything that a receiver makes of a stream, in words, with the bodies.
fn take_messages(network: Network<'_>, is_copied: bool) -> Vec<(String, Vec<u8>)> {
    let mut receiver = Receiver::new(network, &[]);
    let mut seen = Vec::new();
    let mut json = Vec::new();
    loop {
        let message = if is_copied { receiver.recv_request(&mut json) } else { receiver.recv() };
        let words = match message {
            Ok(Some(message)) => format!("{message:?}"),
            Ok(None) => return seen,
            Err(Error::Refused(refusal)) => format!("{refusal:?}"),
            Err(error) => {
                seen.push((error.with_cause(), Vec::new()));
                return seen;
            }
        };
        let body = receiver.body(BODY_LEN_MAX);
        let network = receiver.stream();
        assert!(network.dest_max <= network.given.max(16 * 1024), "room for a body of {}", network.dest_max);
        match body {
            Ok(body) => seen.push((words, body)),
            Err(error) => {
                seen.push((error.with_cause(), Vec::new()));
                return seen;
            }
        }
    }
}

fn json(message: &Message<'_>, total_size: u64) -> Vec<u8> {
    let mut json = Vec::new();
    let total_size = usize::try_from(total_size).expect("64 bits");
    message.write_header(total_size, &mut json).expect("JSON of strings and numbers");
    json
}

/// The refusal can be told to whoever caused it, whatever of theirs it quotes.
fn assert_sayable(refusal: &Refusal) {
    let message = Message::Error { code: refusal.code, message: Cow::Borrowed(&refusal.message) };
    encode(&message, &[]).expect("a refusal fits into a frame");
}

/// Neither a signal nor a socket's error: the network here has only ends and pauses.
fn assert_no_other_end(error: &Error) {
    assert!(!matches!(error, Error::ConnectionLost(ConnectionLost::Socket(_)) | Error::Ours { .. }), "{error:?}");
}

// The tutorials' wires.

/// How a reply was read: its end or the error, the bytes that were delivered, those that were read
/// from the network, and what the client wrote.
struct Reply {
    ended: Result<ReplyEnd>,
    delivered: Vec<u8>,
    given: usize,
    written: Vec<u8>,
}

impl Reply {
    fn read(wire: Wire, mut network: Network<'_>) -> Self {
        let mut delivered = Vec::new();
        let waits = Waits { reply: None, idle: Duration::ZERO };
        let ended = read_reply(wire, &mut network, waits, &mut |piece| {
            assert!(!piece.is_empty() || wire == Wire::Size, "an empty piece is no news");
            delivered.extend_from_slice(piece);
            Ok(())
        });
        if let Err(error) = &ended {
            assert_no_other_end(error);
        }
        Self { ended, delivered, given: network.given, written: network.written }
    }

    /// What must not depend on how the network cuts.
    fn essence(&self) -> (String, &[u8], &[u8]) {
        let ended = match &self.ended {
            Ok(ended) => format!("{ended:?}"),
            Err(error) => error.with_cause(),
        };
        (ended, &self.delivered, &self.written)
    }
}

/// A client reads whatever comes.
fn read_any(wire: Wire, bytes: &[u8], pause: Pause) {
    // On `size` the pause only separates: what comes in the first read is what matters.
    let pause = Pause { is_long: wire != Wire::Size, ..pause };
    for pause in [None, Some(pause)] {
        let network = |manner| {
            let network = Network::new(bytes, manner);
            if let Some(pause) = pause { network.with_pause(pause) } else { network }
        };
        let whole = Reply::read(wire, network(Manner::Whole));
        assert_delivered(wire, bytes, &whole);
        if let (Wire::Raw, Some(pause)) = (wire, pause) {
            assert_eq!(whole.delivered, bytes[..pause.at], "what came before the pause");
        }
        // In dozens of pieces, however long it is: in bytes, if it is short.
        let piece = (bytes.len() / 32).max(1);
        for manner in [Manner::Ragged(piece), Manner::Ragged(16 * piece)] {
            let cut = Reply::read(wire, network(manner));
            assert_delivered(wire, bytes, &cut);
            if wire != Wire::Size {
                assert_eq!(cut.essence(), whole.essence(), "{wire:?} {manner:?} {pause:?}");
            }
        }
    }
}

/// What was delivered is the reply's own bytes, all of them if it ended well.
fn assert_delivered(wire: Wire, bytes: &[u8], reply: &Reply) {
    let Reply { ended, delivered, given, written } = reply;
    assert!(written.is_empty() || wire == Wire::Ack && written == b"ok", "{wire:?} wrote {written:?}");
    let ended = match ended {
        Ok(ReplyEnd::Nothing | ReplyEnd::Closed) => {
            assert!(delivered.is_empty() && *given == 0, "{wire:?}: {given} bytes are not nothing");
            return;
        }
        Ok(ended) => Some(*ended),
        Err(_) => None,
    };
    if wire == Wire::Size {
        // The digits that came in the first read, and those only, are the size.
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_reply = |digits: usize| {
            let size = std::str::from_utf8(&bytes[..digits]).ok().and_then(|text| text.parse::<u64>().ok());
            let len = u64::try_from(delivered.len()).expect("a length");
            let fits = if ended.is_some() { size == Some(len) } else { size.is_some_and(|size| size >= len) };
            fits && bytes[digits..].starts_with(delivered)
        };
        let is_nothing = ended.is_none() && delivered.is_empty();
        assert!(is_nothing || (1..=digits).any(is_reply), "{delivered:?} is no reply in {bytes:?}");
        return;
    }
    assert_eq!(*delivered, bytes[given - delivered.len()..*given], "{wire:?} delivers the last that came");
    if wire == Wire::Len {
        let announced = bytes.first_chunk().map(|&chunk| i32::from_le_bytes(chunk));
        let missing = match announced {
            None => Some(4 - given),
            Some(len) => usize::try_from(len).ok().and_then(|len| (len + 4).checked_sub(*given)),
        };
        match (&reply.ended, missing) {
            (Ok(_), missing) => assert_eq!(missing, Some(0), "whole, and nothing beyond"),
            (Err(Error::ConnectionLost(ConnectionLost::InsideFrame { missing: said })), Some(missing)) => {
                assert_eq!(usize::try_from(*said).ok(), Some(missing), "bytes short");
            }
            (Err(Error::ConnectionLost(ConnectionLost::TimedOut(_))), _) | (Err(Error::PeerMisbehaved(_)), None) => {}
            (Err(error), missing) => panic!("{error:?}, and {missing:?} bytes are missing"),
        }
    }
    if ended == Some(ReplyEnd::Whole) && matches!(wire, Wire::Raw | Wire::Close | Wire::Http) {
        assert_eq!(*delivered, bytes, "{wire:?} to the end of the stream");
    }
}

/// What our server sends for a request of the bytes before `at` and a reply of those behind, our
/// client reads.
fn send_and_read(wire: Wire, bytes: &[u8], at: usize) {
    let (request, reply) = bytes.split_at(at.min(REQUEST_LEN_MAX));
    let name = String::from_utf8_lossy(request);
    let mut client = Network::new(request, Manner::Ragged(REQUEST_LEN_MAX));
    let pauses = Cell::new(0);
    let sent = send_reply(wire, &mut client, &name, reply, &|| pauses.set(pauses.get() + 1));
    assert_eq!(pauses.get(), usize::from(wire == Wire::Size), "{wire:?}");
    let size = reply.len().to_string();
    if let Err(error) = sent {
        // On `ack` the request's bytes stand for the client's word.
        assert!(wire == Wire::Ack && request.is_empty(), "{wire:?}: {error:?}");
        assert!(matches!(error, Error::ConnectionLost(ConnectionLost::Closed { .. })), "{error:?}");
        assert_eq!(client.written, size.as_bytes());
        return;
    }
    let sent = client.written;
    let pause = Pause { at: size.len(), is_long: wire == Wire::Ack };
    for manner in [Manner::Whole, Manner::Ragged(16)] {
        let network = match wire {
            Wire::Ack => Network::new(&sent, manner).with_pause(pause),
            // One write, a pause: the size comes in one read.
            Wire::Size => Network::new(&sent, Manner::Whole).with_pause(pause),
            Wire::Raw | Wire::Len | Wire::Json | Wire::Close | Wire::Http => Network::new(&sent, manner),
        };
        let read = Reply::read(wire, network);
        let is_bare = matches!(wire, Wire::Raw | Wire::Close);
        let ended = if is_bare && reply.is_empty() { ReplyEnd::Closed } else { ReplyEnd::Whole };
        assert_eq!(read.ended.unwrap_or_else(|error| panic!("{wire:?}: {error:?}")), ended, "{wire:?}");
        // On `http` the client is a browser, which takes the head apart; this one does not.
        let head = if wire == Wire::Http { PAGE_HEAD } else { b"" };
        assert_eq!(read.delivered, [head, reply].concat(), "{wire:?}");
    }
}
