//! The server for the tutorials' clients. One read is one request; one request has one reply.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::command::run;
use super::{Tutorial, TutorialReply};
use crate::error::{ConnectionLost, ErrorCode, Refusal, Result};
use crate::fs::root::RootPath;
use crate::net::Stream;
use crate::net::open::OpenConnection;
use crate::session::{RequestRecord, Session};
use crate::text::{Decoder, Encoding};
use crate::tutorial::codec::{READ_LEN, SIZE_OF_MISSING, Wire, send_reply};
use crate::wire::detect::looks_like_http;
use crate::wire::http_shape::HttpShape;

/// Longest request accepted, in bytes; the tutorials' servers read 1,024 at once.
const REQUEST_LEN_MAX: usize = 64 * 1024;
/// Pause between a file's size and its bytes: the tutorial's client reads once for the size and would read both.
const SIZE_PAUSE: Duration = Duration::from_millis(100);
/// Smallest limit of a reply, in bytes: less would hold no complete character of some encodings.
pub const REPLY_MAX_LEAST: usize = 16;
/// Longest character of any encoding, in bytes: UTF-8 and GB 18030 have it.
const CHARACTER_LEN_MAX: usize = 4;
/// A connection of one of the tutorials' clients.
#[derive(Debug)]
pub struct Caller<'c> {
    /// The connection.
    pub stream: Stream,
    /// Bytes that were already read from it.
    pub first: &'c [u8],
    /// Its entry in the list of open connections.
    pub open: &'c OpenConnection,
    /// How long it may be silent; `None`: no limit.
    pub idle: Option<Duration>,
}

/// Serves one of the tutorials' clients until its connection ends.
///
/// # Errors
/// Why the connection had to be closed.
pub fn serve_tutorial(tutorial: &Tutorial, caller: Caller<'_>, session: &mut Session) -> Result<()> {
    let Caller { mut stream, first, open, idle } = caller;
    let mut buffer = vec![0; REQUEST_LEN_MAX];
    let mut request = first.to_vec();
    let mut guard = HttpGuard::of(tutorial);
    loop {
        if request.is_empty() {
            if open.set_in_exchange(false) {
                return say_bye(tutorial, &mut stream);
            }
            stream.set_read_timeout(idle)?;
            request = match stream.read(&mut buffer) {
                Ok(len) => buffer.get(..len).unwrap_or_default().to_vec(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
        }
        if request.is_empty() || open.set_in_exchange(true) {
            return say_bye(tutorial, &mut stream);
        }
        if let Err(refusal) = guard.check(&request) {
            stream.linger_after_end();
            return Err(refusal.into());
        }
        // The client's message on `ack` has the same timeout as the next request.
        stream.set_read_timeout(idle)?;
        let (started, len) = (Instant::now(), request.len());
        let text = tutorial.encoding.decode(&request);
        text.trim_end().clone_into(&mut session.report.about);
        if matches!(tutorial.reply, TutorialReply::Exec(_)) {
            session.log_begin(verb(&tutorial.reply));
        }
        let answered =
            answer(tutorial, &mut Guarded { stream: &mut stream, guard: &mut guard }, &request, &text, session);
        session.log(&RequestRecord {
            verb: verb(&tutorial.reply),
            elapsed: started.elapsed(),
            received: len as u64,
            sent: answered.as_ref().map_or(0, |answer| answer.sent),
            outcome: &outcome(&answered),
        });
        if answered?.is_last {
            stream.linger_after_end();
            return Ok(());
        }
        request.clear();
    }
}

/// A reply that was sent.
struct SentReply {
    sent: u64,
    how: String,
    is_last: bool,
}

impl SentReply {
    fn of(sent: usize) -> Self {
        Self { sent: sent as u64, how: "ok".into(), is_last: false }
    }
}

const fn verb(reply: &TutorialReply) -> &'static str {
    match reply {
        TutorialReply::Print => "tutorial-print",
        TutorialReply::Echo(_) => "tutorial-echo",
        TutorialReply::Upper => "tutorial-upper",
        TutorialReply::Fixed { .. } => "tutorial-fixed",
        TutorialReply::Talk => "tutorial-talk",
        TutorialReply::Exec(_) => "tutorial-exec",
        TutorialReply::Files => "tutorial-files",
    }
}

fn outcome(answered: &Result<SentReply>) -> String {
    match answered {
        Ok(answer) => answer.how.clone(),
        Err(error) => format!("broken off: {}", error.with_cause()),
    }
}

/// The reason for closing a connection that a web page may have opened.
const LOOKS_LIKE_HTTP: &str = "what looks like HTTP is not handed to a wire that runs commands or serves files, for a web page could have sent it; \
     and the connection is closed";
const HOLDS_NUL: &str = "a request with a NUL in it is not handed to a wire that runs commands or serves files";

/// Checks all bytes of a wire that runs commands or serves files: each request, and the connection as a whole, since a
/// request line may arrive in pieces.
#[derive(Debug)]
struct HttpGuard {
    is_on: bool,
    connection: HttpShape,
}

impl HttpGuard {
    fn of(tutorial: &Tutorial) -> Self {
        Self { is_on: tutorial.is_guarded(), connection: HttpShape::default() }
    }

    fn check(&mut self, request: &[u8]) -> Result<(), Refusal> {
        if !self.is_on {
            return Ok(());
        }
        let alone = HttpShape::of(request);
        self.connection.push(request);
        if self.connection.is_http() || looks_like_http(request) || alone.is_cut_off() {
            return Err(Refusal::new(ErrorCode::BadRequest, LOOKS_LIKE_HTTP));
        }
        if alone.has_nul() {
            return Err(Refusal::new(ErrorCode::BadRequest, HOLDS_NUL));
        }
        Ok(())
    }
}

/// A stream that checks all bytes that are read, also the client's message between two parts of a reply.
struct Guarded<'s> {
    stream: &'s mut Stream,
    guard: &'s mut HttpGuard,
}

impl Read for Guarded<'_> {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        let len = self.stream.read(dest)?;
        self.guard.check(dest.get(..len).unwrap_or_default()).map_err(|refusal| io::Error::other(refusal.message))?;
        Ok(len)
    }
}

impl Write for Guarded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Sends the last text after the client has ended.
fn say_bye(tutorial: &Tutorial, stream: &mut Stream) -> Result<()> {
    if let TutorialReply::Fixed { bye: Some(bye), .. } = &tutorial.reply {
        stream.write_all(&tutorial.encoding.encode(bye).0)?;
        stream.linger_after_end();
    }
    Ok(())
}

fn answer(
    tutorial: &Tutorial,
    stream: &mut Guarded<'_>,
    request: &[u8],
    text: &str,
    session: &mut Session,
) -> Result<SentReply> {
    let encoding = tutorial.encoding;
    let reply = match &tutorial.reply {
        TutorialReply::Print => {
            tutorial.console.show(&session.peer.to_string(), text);
            return Ok(SentReply::of(0));
        }
        TutorialReply::Echo(prefix) => [encoding.encode(prefix).0.as_slice(), request].concat(),
        TutorialReply::Upper => encoding.upper(request),
        TutorialReply::Fixed { text, .. } => encoding.encode(text).0,
        TutorialReply::Talk => match tutorial.console.ask(&session.peer.to_string(), text) {
            Some(answer) => encoding.encode(&answer).0,
            None => return Ok(SentReply { sent: 0, how: "no person answers".into(), is_last: true }),
        },
        TutorialReply::Exec(policy) => {
            let (output, how) = run(text.trim_end_matches(['\r', '\n']), *policy, stream.stream, session)?;
            // Output that is not UTF-8 is not converted: the command may write the encoding itself.
            let output = match String::from_utf8(output) {
                Ok(text) if !encoding.is_utf8() => encoding.encode(&text).0,
                Ok(text) => text.into_bytes(),
                Err(bytes) => bytes.into_bytes(),
            };
            let output = fit(tutorial, output, &how);
            let sent = output.len() as u64;
            send_reply(tutorial.wire, stream, text, &output, &|| {})?;
            return Ok(SentReply { sent, how, is_last: false });
        }
        TutorialReply::Files => return send_file(tutorial, stream, text, session),
    };
    let reply = match tutorial.reply_max {
        Some(max) => cut(reply, max, encoding, b""),
        None => reply,
    };
    send_reply(tutorial.wire, stream, text, &reply, &|| thread::sleep(SIZE_PAUSE))?;
    Ok(SentReply { is_last: tutorial.wire.ends_with_reply(), ..SentReply::of(reply.len()) })
}

/// Makes a reply fit the wire: on `raw` and `ack`, the clients always wait for at least one byte.
fn fit(tutorial: &Tutorial, output: Vec<u8>, how: &str) -> Vec<u8> {
    if output.is_empty() && matches!(tutorial.wire, Wire::Raw | Wire::Ack) {
        return format!("(no output, {how})").into_bytes();
    }
    let note = format!("\n(cut: {} bytes in all)", output.len());
    match tutorial.reply_max {
        Some(max) => cut(output, max, tutorial.encoding, note.as_bytes()),
        None => output,
    }
}

/// Shortens a reply to at most `max` bytes, with `note` at the end if there is room. The length is never a multiple of
/// what the clients read at once: those that read until a read is short would wait for more.
fn cut(mut bytes: Vec<u8>, max: usize, encoding: Encoding, note: &[u8]) -> Vec<u8> {
    if bytes.len() <= max && !bytes.len().is_multiple_of(READ_LEN) {
        return bytes;
    }
    let note = if note.len() < max { note } else { b"" };
    let most = max.min(bytes.len()).saturating_sub(note.len());
    // Not in the middle of a character: the clients decode the reply strictly. Bytes that are not text are cut at the
    // limit.
    let is_whole = |end: &usize| {
        let mut decoder = Decoder::new(encoding);
        decoder.decode(bytes.get(..*end).unwrap_or_default());
        decoder.finish();
        !decoder.saw_malformed()
    };
    let fits = |end: &usize| !(end + note.len()).is_multiple_of(READ_LEN);
    // One character less for the border, one more for the multiple.
    let ends = || (most.saturating_sub(2 * CHARACTER_LEN_MAX)..=most).rev().filter(fits);
    let end = ends().find(is_whole).or_else(|| ends().next()).unwrap_or(most);
    bytes.truncate(end);
    bytes.extend_from_slice(note);
    bytes
}

/// Sends the requested file. If it cannot be read, the reply is [`SIZE_OF_MISSING`], or a close without a byte: these
/// wires have no other error.
fn send_file(tutorial: &Tutorial, stream: &mut Guarded<'_>, name: &str, session: &Session) -> Result<SentReply> {
    let is_last = tutorial.wire.ends_with_reply();
    let name = name.trim_end_matches(['\r', '\n']);
    let opened = session.resolve(name.as_bytes()).and_then(|path: RootPath| Ok(session.root.open_file(&path)?));
    let (mut file, metadata) = match opened {
        Ok(opened) => opened,
        Err(refusal) => {
            if tutorial.wire == Wire::Size {
                stream.write_all(SIZE_OF_MISSING)?;
            }
            return Ok(SentReply { sent: 0, how: format!("refused: {refusal}"), is_last });
        }
    };
    let size = metadata.len();
    if tutorial.wire == Wire::Size {
        stream.write_all(size.to_string().as_bytes())?;
        thread::sleep(SIZE_PAUSE);
    }
    let sent = io::copy(&mut (&mut file).take(size), stream)?;
    if sent < size {
        // The client relies on the announced size; only closing the connection tells it about the error.
        return Err(ConnectionLost::InsideFrame { missing: size - sent }.into());
    }
    Ok(SentReply { sent, how: format!("{sent} bytes"), is_last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nobody;

    impl super::super::Console for Nobody {
        fn show(&self, _: &str, _: &str) {}

        fn ask(&self, _: &str, _: &str) -> Option<String> {
            None
        }
    }

    fn tutorial(wire: Wire, reply_max: Option<usize>) -> Tutorial {
        Tutorial {
            wire,
            reply: TutorialReply::Upper,
            reply_max,
            encoding: Encoding::default(),
            console: std::sync::Arc::new(Nobody),
        }
    }

    #[test]
    fn replies_are_whole_and_never_nothing_where_a_byte_is_awaited() {
        assert_eq!(fit(&tutorial(Wire::Ack, None), Vec::new(), "exit 3"), b"(no output, exit 3)");
        assert_eq!(fit(&tutorial(Wire::Raw, None), Vec::new(), "exit 3"), b"(no output, exit 3)");
        assert_eq!(fit(&tutorial(Wire::Len, None), Vec::new(), "exit 3"), b"");
        let long = "收".repeat(1000).into_bytes();
        for wire in [Wire::Raw, Wire::Json] {
            assert_eq!(fit(&tutorial(wire, None), long.clone(), "exit 0"), long);
        }
        let cut = fit(&tutorial(Wire::Raw, Some(1000)), long, "exit 0");
        assert!(cut.len() <= 1000 && String::from_utf8(cut).unwrap().ends_with("收\n(cut: 3000 bytes in all)"));
    }

    #[test]
    fn a_cut_is_between_characters_and_at_no_multiple_of_a_read() {
        let utf8 = Encoding::default();
        let gbk: Encoding = "gbk".parse().unwrap();
        for max in [REPLY_MAX_LEAST, 1000, 1023, 1024, 1025, 1026, 2047, 2048, 2049, 4096] {
            for (encoding, text) in [(utf8, "收".repeat(3000)), (gbk, "收到".repeat(3000)), (utf8, "x".repeat(9000))]
            {
                for shift in ["", "a", "ab"] {
                    let reply = encoding.encode(&format!("{shift}{text}")).0;
                    for note in [&b""[..], b"\n(cut)"] {
                        let cut = cut(reply.clone(), max, encoding, note);
                        assert!(
                            cut.len() <= max && !cut.is_empty() && !cut.len().is_multiple_of(READ_LEN),
                            "{max}: {}",
                            cut.len()
                        );
                        assert!(cut.len() + 2 * CHARACTER_LEN_MAX > max, "{max}: {}", cut.len());
                        assert!(!encoding.decode(&cut).contains('\u{fffd}'), "{max}");
                    }
                }
            }
        }
        assert_eq!(cut(vec![0x80; 2000], 1000, utf8, b""), [0x80; 1000], "what is no text is cut too");
        assert_eq!(
            cut(vec![b'x'; 2048], 4096, utf8, b"").len(),
            2047,
            "a client that waits for a short read would hang"
        );
        assert_eq!(cut(vec![b'x'; 2000], 4096, utf8, b"").len(), 2000);
    }
}
