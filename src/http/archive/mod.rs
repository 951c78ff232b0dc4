//! A directory as one file: tar and zip, written as they are sent.
//!
//! A member is begun, gets its data and is ended; the last word is `finish`. An archive that was not finished does not
//! look whole: it has no end.

mod tar;
mod zip;

use std::io;

pub use self::tar::{TarLength, TarWriter};
pub use self::zip::{ZIP_MEMBER_COST, ZipLength, ZipWriter};

/// One file, directory or symlink of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'m> {
    /// Its path in the archive, of any bytes, without a slash at either end.
    pub path: &'m [u8],
    /// What it is.
    pub kind: MemberKind<'m>,
    /// Permission bits. Those that let a program run as another user are left out.
    pub mode: u32,
    /// Modification time in nanoseconds since 1970 UTC.
    pub mtime_ns: i64,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind<'m> {
    /// A directory.
    Dir,
    /// A file.
    File {
        /// Length in bytes of the data that follows.
        len: u64,
        /// Whether compression makes it shorter.
        is_compressible: bool,
    },
    /// A symlink.
    Link {
        /// Where it points, of any bytes.
        target: &'m [u8],
    },
}

/// Writes an archive.
pub trait ArchiveWriter {
    /// Begins a member.
    ///
    /// # Errors
    /// It could not be written, or no such archive can have it.
    fn begin(&mut self, member: &Member<'_>) -> io::Result<()>;

    /// Writes data of the member that was begun.
    ///
    /// # Errors
    /// It could not be written.
    fn data(&mut self, data: &[u8]) -> io::Result<()>;

    /// Ends the member.
    ///
    /// # Errors
    /// It could not be written, or its data has another length than was announced.
    fn end(&mut self) -> io::Result<()>;

    /// Ends the archive.
    ///
    /// # Errors
    /// It could not be written.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Which kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveForm {
    /// `tar`, as GNU writes it: names and sizes of any length.
    Tar,
    /// `zip`.
    Zip {
        /// Whether nothing is compressed: quicker, and the length is known beforehand.
        stores: bool,
    },
}

impl ArchiveForm {
    /// What its file name ends with.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Zip { .. } => "zip",
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/x-tar",
            Self::Zip { .. } => "application/zip",
        }
    }

    /// The length of an archive of no members yet.
    pub fn length(self) -> ArchiveLength {
        match self {
            Self::Tar => ArchiveLength::Tar(TarLength::default()),
            Self::Zip { .. } => ArchiveLength::Zip(ZipLength::default()),
        }
    }
}

/// The length of an archive, before it is written.
#[derive(Debug)]
pub enum ArchiveLength {
    /// Of a tar.
    Tar(TarLength),
    /// Of a zip.
    Zip(ZipLength),
}

impl ArchiveLength {
    /// Counts a member.
    ///
    /// # Errors
    /// No such archive can have it.
    pub fn add(&mut self, member: &Member<'_>) -> io::Result<()> {
        match self {
            Self::Tar(length) => length.add(member),
            Self::Zip(length) => {
                length.add(member);
                Ok(())
            }
        }
    }

    /// The length of the whole archive in bytes; `None`: it is known only when it was compressed.
    pub const fn total(&self) -> Option<u64> {
        match self {
            Self::Tar(length) => Some(length.total()),
            Self::Zip(length) => length.total(),
        }
    }
}

/// Whether a symlink in the directory `dir` points to something below the same root, by its name: neither an absolute
/// path nor one that climbs out. `dir` is a path from the root on.
pub fn stays_inside(dir: &[u8], target: &[u8]) -> bool {
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        parts.map(<[u8]>::to_vec).collect()
    };
    let mut depth = parts(dir).len();
    if target.starts_with(b"/") {
        return false;
    }
    for part in parts(target) {
        depth = match (part.as_slice(), depth) {
            (b"..", 0) => return false,
            (b"..", depth) => depth - 1,
            (_, depth) => depth + 1,
        };
    }
    true
}

/// The error of a member whose data is not as long as was announced.
fn wrong_length(is_short: bool) -> io::Error {
    let how = if is_short { "shorter" } else { "longer" };
    io::Error::other(format!("the data is {how} than was announced"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_inside_by_its_name() {
        for (dir, target, stays) in [
            ("", "a", true),
            ("", "..", false),
            ("a", "..", true),
            ("a", "../..", false),
            ("a/b", "../../c/d", true),
            ("/a/b/", "../x/../../y", true),
            ("/a/b/", "../x/../../../y", false),
            ("a", "/etc/passwd", false),
            ("a", "", true),
            ("a", "./.././b", true),
            ("a", "...", true),
        ] {
            assert_eq!(stays_inside(dir.as_bytes(), target.as_bytes()), stays, "{dir} -> {target}");
        }
    }
}
