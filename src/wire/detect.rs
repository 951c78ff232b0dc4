//! What a connection's first bytes say about who speaks.
//!
//! TLS, frames and HTTP can be told apart; everything else is a bare request of some tutorial's
//! script, and those cannot be told from each other.

use super::http_shape::HttpShape;

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// A frame: bytes 2 and 3 are zero and byte 4 opens a brace.
    Frame,
    /// A TLS record: content type 22, handshake (RFC 8446, 5.1).
    Tls,
    /// What has the shape of an HTTP request, or begins with a method of HTTP's own and a space: no
    /// command does, so the rest is not waited for.
    Http,
    /// A request with no frame around it.
    Bare,
    /// Bare, and with a NUL in it, as no text has: never handed to anything that runs commands.
    Binary,
    /// So far it could still become a frame or HTTP.
    Undecided,
}

/// The methods of RFC 9110, 9.1, and PATCH (RFC 5789).
const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"CONNECT ", b"OPTIONS ", b"TRACE ", b"PATCH "];

/// Classifies a connection's first bytes, however few have come.
pub fn first_bytes(bytes: &[u8]) -> First {
    match *bytes {
        [] => return First::Undecided,
        // A frame's length may begin with the byte that TLS begins with, so it is asked about first.
        [_, _, 0, 0, b'{', ..] => return First::Frame,
        [0x16, ..] if !may_become_frame(bytes) => return First::Tls,
        _ => {}
    }
    if looks_like_http(bytes) {
        return First::Http;
    }
    if may_become_frame(bytes) || METHODS.iter().any(|method| method.starts_with(bytes)) {
        return First::Undecided;
    }
    if bytes.contains(&0) { First::Binary } else { First::Bare }
}

/// Whether a bare request is HTTP, as far as it has come.
pub fn looks_like_http(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.starts_with(method)) || HttpShape::of(bytes).is_http()
}

fn may_become_frame(bytes: &[u8]) -> bool {
    matches!(*bytes, [_] | [_, _] | [_, _, 0] | [_, _, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_are_told_apart() {
        let frame = b"\x10\0\0\0{\"type\":\"pwd\"}";
        for (bytes, want) in [
            (&frame[..], First::Frame),
            (&frame[..5], First::Frame),
            (&frame[..4], First::Undecided),
            (b"w", First::Undecided),
            (b"ls", First::Undecided),
            (b"df -h", First::Bare),
            (b"G", First::Undecided),
            (b"GET / HTTP/1.1\r\n", First::Http),
            (b"OPTIONS ", First::Http),
            (b"propfind /x HTTP/1.1\r\n", First::Http),
            (b"PROPFIND /x", First::Bare),
            (b"\r\nPUT / HTTP/1.1\r\n", First::Http),
            (b"GETTY x", First::Bare),
            (b"\x16\x03\x01", First::Tls),
            (b"\x16", First::Undecided),
            (b"\x16\x01\0\0{", First::Frame),
            (b"abc\0def", First::Binary),
            ("收到".as_bytes(), First::Bare),
            (b"", First::Undecided),
        ] {
            assert_eq!(first_bytes(bytes), want, "{bytes:?}");
        }
    }
}
