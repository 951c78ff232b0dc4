//! The secret of a token: made here, or taken from a file.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::TokenId;
use crate::trust::home::{HomeError, check_private_file, open_regular};

/// What every token that is made here begins with, so that programs that look for leaked secrets find it.
pub const TOKEN_PREFIX: &str = "landline_";
/// Fewest characters of a secret that a person has chosen: fewer are guessed.
pub const TYPED_SECRET_LEN_MIN: usize = 16;
/// Longest secret of a file, in bytes.
pub const TYPED_SECRET_LEN_MAX: usize = 1024;

/// A token's secret. It is overwritten when it is dropped, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The file gives no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// Other users may read it, it is another user's, or it cannot be read.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Its first line cannot be a secret.
    #[error("{}: its first line {why}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Secret {
    /// A new one: [`TOKEN_PREFIX`], and 128 random bits of the kernel in base64 (RFC 4648, 5), which goes unquoted
    /// through shells, URLs and HTTP's headers.
    ///
    /// # Errors
    /// The kernel has no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut bits = Zeroizing::new([0; 16]);
        rustix::rand::getrandom(&mut *bits, rustix::rand::GetRandomFlags::empty())?;
        let digits = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bits));
        Ok(Self(Zeroizing::new([TOKEN_PREFIX, &digits].concat())))
    }

    /// The first line of a file, without its end.
    ///
    /// # Errors
    /// [`SecretFileError`].
    pub fn of_file(path: &Path) -> Result<Self, SecretFileError> {
        let failed = |source| HomeError::Io { path: path.to_owned(), source };
        let file = open_regular(path).map_err(failed)?;
        check_private_file(path, &file.metadata().map_err(failed)?, 0o600)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(TYPED_SECRET_LEN_MAX + 3));
        // Room for the line's end; one byte more shows that the line is longer.
        io::copy(&mut file.take(TYPED_SECRET_LEN_MAX as u64 + 3), &mut *bytes).map_err(failed)?;
        of_line(&bytes).map_err(|why| SecretFileError::Unfit { path: path.to_owned(), why })
    }

    /// The secret itself: for the one line that shows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its id, by which it is recognised.
    pub fn id(&self) -> TokenId {
        TokenId::of(self.0.as_bytes())
    }
}

fn of_line(bytes: &[u8]) -> Result<Secret, String> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > TYPED_SECRET_LEN_MAX {
        return Err(format!("is longer than {TYPED_SECRET_LEN_MAX} bytes; shorten it"));
    }
    let text = std::str::from_utf8(line).map_err(|error| format!("is not UTF-8: {error}"))?;
    // RFC 7617, 2: no control characters.
    if text.contains(char::is_control) {
        return Err("has a control character in it, which no program can send as a password".into());
    }
    if text.trim() != text {
        return Err("begins or ends with a blank, which is hard to see and to type; remove it".into());
    }
    match text.chars().count() {
        len if len < TYPED_SECRET_LEN_MIN => {
            Err(format!("has {len} characters, and a secret takes at least {TYPED_SECRET_LEN_MIN}"))
        }
        _ => Ok(Secret(Zeroizing::new(text.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_has_its_prefix_and_128_random_bits() {
        let secrets: Vec<Secret> = (0..100).map(|_| Secret::random().unwrap()).collect();
        for secret in &secrets {
            let digits = secret.as_str().strip_prefix(TOKEN_PREFIX).unwrap();
            assert_eq!(URL_SAFE_NO_PAD.decode(digits).unwrap().len() * 8, 128);
            assert!(!format!("{secret:?}").contains(digits));
        }
        let ids: std::collections::HashSet<TokenId> = secrets.iter().map(Secret::id).collect();
        assert_eq!(ids.len(), secrets.len());
    }

    #[test]
    fn a_file_gives_its_first_line_or_says_why_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let of = |bytes: &[u8], mode: u32| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            Secret::of_file(&path).map(|secret| secret.as_str().to_owned()).map_err(|error| error.to_string())
        };
        let longest = "x".repeat(TYPED_SECRET_LEN_MAX);
        for (text, secret) in [
            ("correct horse battery", "correct horse battery"),
            ("0123456789abcdef\nmore", "0123456789abcdef"),
            ("0123456789abcdef\r\n", "0123456789abcdef"),
            ("zwölf Boxkämpfer", "zwölf Boxkämpfer"),
            (&longest, &longest),
            (&format!("{longest}\r\nmore"), &longest),
        ] {
            assert_eq!(of(text.as_bytes(), 0o600), Ok(secret.to_owned()));
        }
        for (bytes, why) in [
            (&b""[..], "has 0 characters, and a secret takes at least 16"),
            (b"0123456789abcde\n", "has 15 characters"),
            ("äöüäöüäöüäöüäöü".as_bytes(), "has 15 characters"),
            (b"\n0123456789abcdef", "has 0 characters"),
            (b"0123456789abcdef \n", "begins or ends with a blank"),
            (b"0123456789\tabcdef", "has a control character in it"),
            (b"0123456789abcdef\xff", "is not UTF-8"),
            (format!("{longest}y").as_bytes(), "is longer than 1024 bytes"),
            (format!("{longest}{longest}").as_bytes(), "is longer than 1024 bytes"),
        ] {
            let said = of(bytes, 0o600).unwrap_err();
            assert!(said.starts_with(&format!("{}: its first line ", path.display())), "{said}");
            assert!(said.contains(why), "{said}");
        }
        let said = of(b"0123456789abcdef", 0o640).unwrap_err();
        assert!(said.contains("mode 0640 lets other users in"), "{said}");
    }
}
