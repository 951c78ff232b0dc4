//! Names of parts: `.NAME.1a2b3c4d.part`, made beside the file that they are to become, and reserved for every peer.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// Longest file name of Linux' file systems, in bytes.
pub(super) const NAME_LEN_MAX: usize = 255;
/// What the temporary name adds: two dots, eight digits, `.part`.
const TEMPORARY_LEN: usize = 15;

/// Whether a file of this name could be another one's part, on its way in: `.NAME.1a2b3c4d.part`, or what earlier
/// versions kept beside it. Such names are reserved: no peer makes, reads, moves or removes what is called so. Whether
/// it is one, only a record in the home says.
pub fn is_part_name(name: &[u8]) -> bool {
    let ended = name.strip_suffix(b".part").or_else(|| name.strip_suffix(b".journal"));
    let kept = ended.and_then(|ended| ended.strip_prefix(b".")).and_then(|ended| ended.split_last_chunk::<9>());
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    kept.is_some_and(|(kept, [dot, digits @ ..])| !kept.is_empty() && *dot == b'.' && digits.iter().all(is_digit))
}

/// `.NAME.1a2b3c4d.part`; a long NAME is cut so that the whole is still a legal name.
pub(super) fn temporary_name(target: &OsStr, token: &str) -> OsString {
    let target = target.as_bytes();
    let kept = target.get(..NAME_LEN_MAX - TEMPORARY_LEN).unwrap_or(target);
    OsString::from_vec([b".", kept, b".", token.as_bytes(), b".part"].concat())
}

/// Eight random hexadecimal digits.
pub(super) fn random_token() -> String {
    format!("{:08x}", RandomState::new().hash_one(0_u8) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_length_has_its_own_temporary_one() {
        for len in [1, 239, 240, 241, 255] {
            let name = temporary_name(OsStr::from_bytes(&vec![b'x'; len]), &random_token());
            assert!(name.len() <= NAME_LEN_MAX && is_part_name(name.as_bytes()), "{len}");
        }
        for other in
            [".part", "..12345678.part", ".x.1234567.part", ".x.1234567G.part", "x.12345678.part", ".x.12345678"]
        {
            assert!(!is_part_name(other.as_bytes()), "{other}");
        }
    }
}
