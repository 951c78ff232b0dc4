//! Detects the protocol of a connection from its first bytes.
//!
//! TLS, frames and HTTP can be told apart. Everything else is a tutorial request; the tutorial wires cannot be told
//! apart.

use super::http_shape::{HttpShape, OPEN_LEN_MAX};

/// The protocol of a connection, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstBytes {
    /// A frame: bytes 2 and 3 are zero and byte 4 opens a brace.
    Frame,
    /// A TLS record: content type 22, handshake (RFC 8446, 5.1).
    Tls,
    /// An HTTP request by its shape, or bytes that begin with an HTTP method and a space: no command begins so, and the
    /// rest is not waited for.
    Http,
    /// A tutorial request: bytes without a frame, as the tutorials' scripts send them.
    Text,
    /// A tutorial request with a NUL, which text does not contain: never passed to a wire that runs commands.
    Binary,
    /// The bytes so far could still become a frame or HTTP.
    Undecided,
}

/// The methods of RFC 9110, 9.1, and PATCH (RFC 5789).
const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"CONNECT ", b"OPTIONS ", b"TRACE ", b"PATCH "];

impl FirstBytes {
    /// Classifies a connection's first bytes, however few have arrived.
    pub fn of(bytes: &[u8]) -> Self {
        match *bytes {
            [] => return Self::Undecided,
            // A frame's length may begin with the first byte of TLS, so frames are checked first.
            [_, _, 0, 0, b'{', ..] => return Self::Frame,
            [0x16, ..] if !may_become_frame(bytes) => return Self::Tls,
            _ => {}
        }
        if looks_like_http(bytes) {
            return Self::Http;
        }
        if may_become_frame(bytes) || METHODS.iter().any(|method| method.starts_with(bytes)) {
            return Self::Undecided;
        }
        if bytes.contains(&0) { Self::Binary } else { Self::Text }
    }

    /// Classifies bytes that are neither frame nor TLS, if nothing more arrives.
    pub fn of_whole(bytes: &[u8]) -> Self {
        let shape = HttpShape::of(bytes);
        if looks_like_http(bytes) || shape.is_cut_off() {
            Self::Http
        } else if shape.has_nul() {
            Self::Binary
        } else {
            Self::Text
        }
    }
}

/// Whether more bytes could make an HTTP request line of these, and are worth waiting for.
pub fn could_become_http(bytes: &[u8]) -> bool {
    bytes.len() <= OPEN_LEN_MAX && HttpShape::of(bytes).is_open()
}

/// Whether more bytes, however many, could make an HTTP request line of these.
pub fn may_still_become_http(bytes: &[u8]) -> bool {
    HttpShape::of(bytes).is_open()
}

/// Whether a tutorial request is HTTP, as far as it has arrived.
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
            (&frame[..], FirstBytes::Frame),
            (&frame[..5], FirstBytes::Frame),
            (&frame[..4], FirstBytes::Undecided),
            (b"w", FirstBytes::Undecided),
            (b"ls", FirstBytes::Undecided),
            (b"df -h", FirstBytes::Text),
            (b"G", FirstBytes::Undecided),
            (b"GET / HTTP/1.1\r\n", FirstBytes::Http),
            (b"OPTIONS ", FirstBytes::Http),
            (b"propfind /x HTTP/1.1\r\n", FirstBytes::Http),
            (b"PROPFIND /x", FirstBytes::Text),
            (b"\r\nPUT / HTTP/1.1\r\n", FirstBytes::Http),
            (b"GETTY x", FirstBytes::Text),
            (b"\x16\x03\x01", FirstBytes::Tls),
            (b"\x16", FirstBytes::Undecided),
            (b"\x16\x01\0\0{", FirstBytes::Frame),
            (b"abc\0def", FirstBytes::Binary),
            ("收到".as_bytes(), FirstBytes::Text),
            (b"", FirstBytes::Undecided),
        ] {
            assert_eq!(FirstBytes::of(bytes), want, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_whole_is_told_apart_too() {
        for (bytes, want) in [
            (&b"w"[..], FirstBytes::Text),
            (b"ls -l", FirstBytes::Text),
            (b"abc\0def", FirstBytes::Binary),
            (b"GET / HTTP/1.1\r\n", FirstBytes::Http),
            (b"", FirstBytes::Text),
        ] {
            assert_eq!(FirstBytes::of_whole(bytes), want, "{bytes:?}");
        }
        assert!(could_become_http(b"PROPFIND /x"), "its version may follow");
        assert!(!could_become_http(&[b'x'; OPEN_LEN_MAX + 1]));
    }
}
