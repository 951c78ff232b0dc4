//! Content codings (RFC 9110, 8.4.1): what was compressed for the way becomes what it was.
//!
//! It is decoded in pieces, so a body that grows a thousandfold takes no more memory than another one.

use std::io::{self, BufRead, BufReader, Read};

use ::http::HeaderMap;
use ::http::header::CONTENT_ENCODING;
use flate2::bufread::MultiGzDecoder;

use super::error::{Error, Result};
use crate::http::field::elements;
use crate::http::negotiate::Coding;

/// What is requested where it is decoded.
pub const ACCEPTED: &str = "gzip, zstd";

/// Largest window of zstd, as its logarithm: 8 MiB, which no content coding may exceed (RFC 9659, 3).
const WINDOW_LOG_MAX: u32 = 23;
/// What is read of the coded body at once, in bytes.
const CODED_LEN: usize = 128 * 1024;

/// The coding that a response says its body has.
///
/// # Errors
/// It is one that is not decoded here, or there are several.
pub fn of(headers: &HeaderMap) -> Result<Coding> {
    let mut found = Coding::Identity;
    for name in elements(headers, &CONTENT_ENCODING) {
        let this = match Coding::by_name(name) {
            Some(Coding::Identity) => continue,
            Some(this @ (Coding::Gzip | Coding::Zstd)) => this,
            Some(Coding::Brotli) | None => {
                let name = String::from_utf8_lossy(name);
                return Err(Error::Unexpected(format!("the body is coded as {name:?}, which was not requested")));
            }
        };
        if found != Coding::Identity {
            return Err(Error::Unexpected("the body is coded several times, which was not requested".into()));
        }
        found = this;
    }
    Ok(found)
}

/// A body as it was before it was coded.
pub enum Decoder<R: Read> {
    /// It comes as it is, straight into its reader's buffer.
    Identity(R),
    /// A run of members, as the format permits.
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    /// A run of frames.
    Zstd(Box<zstd::Decoder<'static, BufReader<R>>>),
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

impl<R: Read> Decoder<R> {
    /// Decodes what `coded` gives.
    ///
    /// # Errors
    /// It is not decoded here, or there is no memory for it.
    pub fn new(coding: Coding, coded: R) -> io::Result<Self> {
        let buffered = |coded| BufReader::with_capacity(CODED_LEN, coded);
        Ok(match coding {
            Coding::Identity => Self::Identity(coded),
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(buffered(coded)))),
            Coding::Brotli => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "this coding is not decoded here"));
            }
            Coding::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(buffered(coded))?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }

    /// The source again, and whether all of it was used.
    ///
    /// # Errors
    /// The source failed.
    pub fn finish(self) -> io::Result<(R, bool)> {
        let rest = |mut buffered: BufReader<R>| {
            let is_used = buffered.fill_buf()?.is_empty();
            Ok((buffered.into_inner(), is_used))
        };
        match self {
            Self::Identity(coded) => Ok((coded, true)),
            Self::Gzip(decoder) => rest(decoder.into_inner()),
            Self::Zstd(decoder) => rest(decoder.finish()),
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Identity(coded) => coded.read(dest),
            Self::Gzip(decoder) => decoder.read(dest),
            Self::Zstd(decoder) => decoder.read(dest),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ::http::HeaderValue;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test's own bytes end")]
    fn decoded(coding: Coding, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut decoder = Decoder::new(coding, bytes)?;
        decoder.read_to_end(&mut all)?;
        assert!(decoder.finish()?.1, "all of it was used");
        Ok(all)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_coded_comes_out_as_it_was() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(|at| at.to_string().into_bytes()).collect();
        let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
        for (coding, coded) in [(Coding::Identity, text.clone()), (Coding::Gzip, gzip(&text)), (Coding::Zstd, zstd)] {
            assert!(decoded(coding, &coded).unwrap() == text, "{coding:?}");
            // Several behind one another are one (RFC 1952, 2.2; RFC 8878, 3).
            let twice = [coded.as_slice(), &coded].concat();
            assert_eq!(decoded(coding, &twice).unwrap().len(), 2 * text.len(), "{coding:?}");
            if coding != Coding::Identity {
                for end in [1, 10, coded.len() / 2, coded.len() - 1] {
                    assert!(decoded(coding, &coded[..end]).is_err(), "{coding:?} cut at {end}");
                }
                let mut bad = coded.clone();
                bad[coded.len() / 2] ^= 0x55;
                assert!(decoded(coding, &bad).is_err() || coding == Coding::Zstd, "{coding:?} bent");
            }
        }
    }

    #[test]
    fn a_window_that_would_take_more_memory_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![7; 1 << 20]).unwrap();
        let coded = encoder.finish().unwrap();
        assert!(decoded(Coding::Zstd, &coded).is_err());
    }

    #[test]
    fn only_known_codings_are_taken() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            of(&headers)
        };
        assert_eq!(of(&[]).unwrap(), Coding::Identity);
        assert_eq!(of(&["identity"]).unwrap(), Coding::Identity);
        assert_eq!(of(&["x-gzip, "]).unwrap(), Coding::Gzip, "RFC 9110, 8.4.1.3");
        assert_eq!(of(&["GZIP"]).unwrap(), Coding::Gzip);
        assert_eq!(of(&["identity, zstd"]).unwrap(), Coding::Zstd);
        for bad in [&["br"][..], &["gzip, gzip"], &["gzip", "zstd"], &["deflate"]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        assert!(Decoder::new(Coding::Brotli, &b""[..]).is_err());
    }
}
