//! Every message of the protocol, declared once.
//!
//! PROTOCOL.md specifies the same for the author of a client in another language; a test holds this file to its tables
//! and hex dumps, both ways. The macro `messages` in `declare.rs` says what a declaration means.

use std::borrow::Cow;
use std::io::{self, Write as _};

use super::declare::{first, messages, put, take};
use super::header::{Bytes, Group, Header, Value, bad, needed};
use super::service::Service::{self, Chat, Echo, Exec, Read, Write};
use crate::error::{ErrorCode, Refusal};

pub use super::fields::{
    AttachMode, Attributes, Channel, ChatOptions, CommandForm, EntryKind, ExecOptions, ModerationAct, Outcome,
    OutputHolder, Packed, SayFields, TerminalSize, Total,
};

/// The version of the protocol that this library speaks, in `hello`.
pub const VERSION: u32 = 1;

/// The working directory matters to every peer that can use a path.
const ANY_PATH: &[Service] = &[Read, Write, Exec];

messages! {
    /// Both ways, first on a connection. The server's names the requests that this peer may send.
    Hello = "hello" { version: need u32, program: blank Cow<'a, str>, verbs: list Vec<Cow<'a, str>> };
    /// A refusal, or a notice inside an exchange.
    Error = "error" { code: need ErrorCode, message: blank Cow<'a, str> };
    /// The request is done. `path` is the resulting path, if the request left it open.
    Ok = "ok" { path: may Option<Cow<'a, [u8]>> };
    /// A piece of something long. Body: the piece.
    Data = "data" { stream: flag Channel };
    /// The end of stdin; the exchange goes on.
    Eof = "eof";
    /// The receiver of stdin has room for this many bytes more.
    Credit = "credit" { bytes: need u32 };
    /// The last message of this side in this exchange. After a file: its size and digest.
    End = "end" { total: group Option<Total<'a>> };

    /// Begin a pairing, with this machine's name; the answer has the same type. Body: a SPAKE2 message.
    Pair = "pair" { name: word Cow<'a, str> }
        => request(&[], about: format!("calls itself {name}"));
    /// This end knows the code. From the server: the guesses that are left if this one was wrong. Body: a MAC.
    Confirm = "confirm" { guesses_left: may Option<u32> };

    /// Return the body, or with `streamed` every `data` until `end`. Body: anything.
    Echo = "echo" { streamed: flag bool }
        => request(&[Echo], duplex: *streamed);

    /// Enter a room under a nick.
    Chat = "chat" { room: need Cow<'a, str>, nick: need Cow<'a, str>, options: group ChatOptions<'a> }
        => request(&[Chat], duplex: true, about: format!("{nick} in {room}"));
    /// A message in the room, or a private one; the server adds who sent it. Body: UTF-8 text.
    Say = "say" { fields: group SayFields<'a> };
    /// The server has the client's message: it will not be lost.
    Ack = "ack" { id: need u64, seq: may Option<u64>, time_ms: may Option<u64> };
    /// The client's message is not sent on.
    Refused = "refused" { id: need u64, code: need ErrorCode, message: blank Cow<'a, str> };
    /// Enter one more room. The answer is `joined`.
    Join = "join" { room: need Cow<'a, str>, history: may Option<u32>, after: may Option<u64> };
    /// A member (the first one: this client) entered. `seq` is the number of the room's last message.
    Joined = "joined" { room: need Cow<'a, str>, nick: need Cow<'a, str>, seq: may Option<u64>, is_guest: flag bool };
    /// Leave this room. The answer is `left`.
    Leave = "leave" { room: need Cow<'a, str> };
    /// A member left. With `is_lost` its connection was lost, and it may come back.
    Left = "left" { nick: need Cow<'a, str>, room: may Option<Cow<'a, str>>, is_lost: flag bool };
    /// Change this client's nick.
    Nick = "nick" { nick: need Cow<'a, str> };
    /// A member has another nick now.
    Renamed = "renamed" { nick: need Cow<'a, str>, to: word Cow<'a, str> };
    /// List the members. The answer's body: nicks, one a line.
    Names = "names" { room: may Option<Cow<'a, str>> };
    /// List the rooms. The answer's body: JSON lines.
    Rooms = "rooms";
    /// Who has this nick? The answer's body: a JSON object.
    Who = "who" { nick: need Cow<'a, str> };
    /// The room's topic. Body: text; empty: there is none. The server adds who set it.
    Topic = "topic" { room: need Cow<'a, str>, nick: may Option<Cow<'a, str>>, time_ms: may Option<u64> };
    /// An operator's act; the server adds whose. Body: the reason, as text.
    Moderate = "moderate" {
        act: need ModerationAct,
        nick: need Cow<'a, str>,
        room: may Option<Cow<'a, str>>,
        ttl_ms: may Option<u64>,
        by: may Option<Cow<'a, str>>,
    };
    /// Messages that were dropped because this end reads too slowly, or that are no longer kept. 0: their number is not known.
    Dropped = "dropped" { count: need u64, room: may Option<Cow<'a, str>> };
    /// Something that all members should know of the chat itself. `name` is for programs, `message` for people.
    Notice = "notice" { name: word Cow<'a, str>, message: blank Cow<'a, str> };

    /// Run a command. Body: variables, then the shell's command string, or the arguments; each with a NUL behind it,
    /// except the string. `modes` are those of the client's terminal.
    Exec = "exec" {
        form: need CommandForm,
        path: may Option<Cow<'a, [u8]>>,
        place: may Option<Cow<'a, str>>,
        options: group ExecOptions,
        modes: may Option<Cow<'a, [u8]>>,
    } => request(&[Exec], duplex: true);
    /// Send this signal to the command's process group.
    Signal = "signal" { signal: need Cow<'a, str> };
    /// The new size of the client's terminal.
    Window = "window" { size: group TerminalSize };
    /// The command's outcome, its directory, and the process that still holds its output.
    Outcome = "outcome" {
        outcome: group Outcome<'a>,
        path: may Option<Cow<'a, [u8]>>,
        holder: group Option<OutputHolder<'a>>,
    };
    /// The detached command has started, and has this id.
    Job = "job" { job: need Cow<'a, str> };
    /// List the detached commands. The answer: `data` of JSON lines, then `end`.
    Jobs = "jobs" => request(&[Exec]);
    /// Send the output of a detached command, and its outcome.
    Attach = "attach" { job: need Cow<'a, str>, watch: need AttachMode, tail: may Option<u64> }
        => request(&[Exec], duplex: true);
    /// Send a detached command this signal, or end it and all its descendants.
    Kill = "kill" { job: need Cow<'a, str>, signal: may Option<Cow<'a, str>> }
        => request(&[Exec]);

    /// Make or change a place, or ask for its directory. Body: `NAME=VALUE` sets a variable there, `NAME` removes it;
    /// each with a NUL behind it.
    Place = "place" {
        place: need Cow<'a, str>,
        path: may Option<Cow<'a, [u8]>>,
        ttl_ms: may Option<u64>,
        variables: flag u32,
    } => request(&[Exec], about: place.clone().into_owned());
    /// List the places. The answer: `data` of JSON lines, then `end`.
    Places = "places" => request(&[Exec]);

    /// Change the session's working directory.
    Cd = "cd" { path: need Cow<'a, [u8]> } => request(ANY_PATH, path: path);
    /// Get the session's working directory.
    Pwd = "pwd" => request(ANY_PATH);
    /// The session's working directory.
    Cwd = "cwd" { path: need Cow<'a, [u8]> };
    /// List a directory, or name one file. The answer: `data` of JSON lines, then `end`.
    Ls = "ls" { path: need Cow<'a, [u8]> } => request(&[Read], path: path);
    /// Make a directory.
    Mkdir = "mkdir" { path: need Cow<'a, [u8]>, parents: flag bool } => request(&[Write], path: path);
    /// Remove a file, or with `recursive` a tree.
    Rm = "rm" { path: need Cow<'a, [u8]>, recursive: flag bool } => request(&[Write], path: path);
    /// Rename.
    Mv = "mv" { path: need Cow<'a, [u8]>, to: need Cow<'a, [u8]> }
        => request(&[Write], path: path, about: format!("{} -> {}", shown(path), shown(to)));

    /// List this peer's unfinished copies below a directory. With `clean`, remove those that no connection uses. The
    /// answer: `data` of JSON lines, then `end`.
    Parts = "parts" { path: need Cow<'a, [u8]>, clean: flag bool } => request(&[Write], path: path);

    /// Send this file: `file`, `data`, `end`.
    Get = "get" { path: need Cow<'a, [u8]> } => request(&[Read], path: path);
    /// The file that follows.
    File = "file" { attributes: group Attributes };
    /// Take this file; `data` and `end` follow at once. `name` is used if `path` is a directory.
    Put = "put" { path: need Cow<'a, [u8]>, name: need Cow<'a, [u8]>, attributes: group Attributes }
        => request(&[Write], duplex: true, path: path, about: shown(&file_of(path, name)));

    /// Send these trees: the server is the sender. Body: which, as JSON.
    Pull = "pull" => request(&[Read], duplex: true);
    /// Take these trees to `path`: the server is the receiver. Body: how, as JSON.
    Push = "push" { path: need Cow<'a, [u8]> } => request(&[Write], duplex: true, path: path);
    /// From the sender: the entries of the trees. Body: one entry per line, numbered in order over all lists.
    List = "list" { is_last: flag bool };
    /// From the receiver: `count` more entries were compared, and these are wanted. Body: JSON lines. The first message
    /// has the destination: into `path`, or as `name` in it.
    Want = "want" { count: short u32, path: may Option<Cow<'a, [u8]>>, name: may Option<Cow<'a, [u8]>> };
    /// From the receiver, before the `want` that refers to it: the chunks of its other version of a file. Body: lengths
    /// and ids of chunks.
    Chunks = "chunks" { entry: need u32, average: need u32 };
    /// Small files, whole. Body: records.
    Small = "small";
    /// One large file, from `offset` on: `data`, then `whole`.
    Large = "large" { entry: need u32, offset: flag u64, attributes: group Attributes };
    /// A `list` (not the last one), `small` or `data`, its body compressed. Body: a zstd frame of `size` bytes.
    Packed = "packed" { of: need Packed, size: short u32 };
    /// Of a large file: a hole, zeros that take no disk space at the sender.
    Hole = "hole" { size: need u64 };
    /// Of a large file: bytes that the receiver's other version has from `offset` on.
    Copy = "copy" { offset: flag u64, size: need u64 };
    /// Of a large file that does not begin at 0: the values of that beginning, one a block of 16 MiB, for the receiver
    /// to compare. Body: 32 bytes each.
    Blocks = "blocks";
    /// From the receiver: of a large file that has ended, these stretches of the beginning are not what the sender has.
    /// Body: JSON lines.
    Mend = "mend" { entry: need u32 };
    /// Of a large file that is mended: `data` of `size` bytes follow, which belong at `offset`.
    Piece = "piece" { offset: flag u64, size: need u64 };
    /// The large file has ended.
    Whole = "whole" { total: group Total<'a> };
    /// A file whose digest the receiver asked about is the same there.
    Same = "same" { entry: need u32 };
    /// A wanted file grew while it was read: only its beginning is sent, in the length that was listed. Sent before its
    /// `small` or `whole`.
    Grew = "grew" { entry: need u32 };
    /// A wanted file is not sent, or not completely.
    Lost = "lost" { entry: need u32, code: need ErrorCode, message: blank Cow<'a, str> };
    /// From the receiver: the entries that it has stored, and those that it could not store. Body: JSON lines.
    Kept = "kept";
}

impl Message<'_> {
    /// Appends the JSON header of this message with a body of `total_size` bytes.
    ///
    /// # Errors
    /// Never for messages of this library: JSON of strings and numbers cannot fail.
    pub fn write_header(&self, total_size: usize, to: &mut Vec<u8>) -> io::Result<()> {
        if let (Self::Echo { streamed: false } | Self::Data { stream: Channel::Main }, 1..) = (self, total_size) {
            return write!(to, "{{\"type\":\"{}\",\"total_size\":{total_size}}}", self.name());
        }
        let mut header = self.header();
        header.total_size = u64::try_from(total_size).unwrap_or(u64::MAX);
        serde_json::to_writer(to, &header).map_err(io::Error::from)
    }

    /// Reads the two messages that come by the hundred thousand, if they are as [`write_header`](Self::write_header)
    /// writes them, and the length of their body: the general way takes longer than all else that an echo needs here.
    /// `None`: it is another message, or written in another way.
    pub(super) fn of_frequent(json: &[u8]) -> Option<(Message<'static>, u64)> {
        let rest = json.strip_prefix(br#"{"type":""#)?.strip_suffix(b"}")?;
        let (kind, digits) = rest.split_at_checked(4)?;
        let message = match kind {
            b"echo" => Message::Echo { streamed: false },
            b"data" => Message::Data { stream: Channel::Main },
            _ => return None,
        };
        let digits = digits.strip_prefix(br#"","total_size":"#)?;
        let [b'1'..=b'9', more @ ..] = digits else { return None };
        if more.len() > 9 || !more.iter().all(u8::is_ascii_digit) {
            return None;
        }
        // Ten digits do not overflow.
        let add = |sum: u64, digit: &u8| sum.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0')));
        Some((message, digits.iter().fold(0, add)))
    }
}

/// A path for the log, which makes odd characters visible itself.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The file that a `put` is about: `name` in `path` where that is a directory by its spelling.
fn file_of(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() || path.ends_with(b"/") { [path, name].concat() } else { path.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::Header;
    use proptest::prelude::*;

    fn general(json: &[u8]) -> Option<(Message<'_>, u64)> {
        let header = Header::parse(json).ok()?;
        let total_size = header.total_size();
        Some((Message::of(header).ok()?, total_size))
    }

    #[test]
    fn the_short_way_of_frequent_messages_is_the_general_ones() {
        for message in [Message::Echo { streamed: false }, Message::Data { stream: Channel::Main }] {
            for total_size in [0, 1, 9, 10, 65_536, 4_194_304, 9_999_999_999] {
                let mut json = Vec::new();
                message.write_header(total_size, &mut json).unwrap();
                let mut header = message.header();
                header.total_size = total_size as u64;
                assert_eq!(json, serde_json::to_vec(&header).unwrap());
                assert_eq!(Message::of_frequent(&json).is_some(), total_size > 0);
                assert_eq!(general(&json), Some((message.clone(), total_size as u64)));
            }
        }
        for json in [
            &br#"{"type":"echo","total_size":0}"#[..],
            br#"{"type":"echo","total_size":01}"#,
            br#"{"type":"echo","total_size":-1}"#,
            br#"{"type":"echo","total_size":1e3}"#,
            br#"{"type":"echo","total_size":}"#,
            br#"{"type":"echo","total_size":10000000000}"#,
            br#"{"type":"echo","total_size":1,"streamed":true}"#,
            br#"{"type":"echo","streamed":true}"#,
            br#"{"type":"data","total_size":1,"stream":"err"}"#,
            br#"{"type":"echo"}"#,
            br#"{"type":"quit","total_size":1}"#,
            br#"{"type":""#,
            br#"{"type":"}"#,
            b"{}",
            b"",
        ] {
            assert_eq!(Message::of_frequent(json), None, "{}", String::from_utf8_lossy(json));
        }
    }

    proptest! {
        #[test]
        fn what_is_read_the_short_way_is_read_the_same_in_general(
            json in r#"\{"type":"(echo|data|end|stop)","(total_size|size)":[0-9x\-]{0,12}\}?"#,
        ) {
            if let Some(read) = Message::of_frequent(json.as_bytes()) {
                prop_assert_eq!(general(json.as_bytes()), Some(read));
            }
        }
    }
}
