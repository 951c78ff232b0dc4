//! tar, as GNU writes it: what every `tar` reads, with names of any bytes and length, and files of any size.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ::tar::{Builder, EntryType, Header};

use super::{ArchiveWriter, Member, MemberKind, wrong_length};

/// A tar consists of blocks of this length, in bytes.
const BLOCK_LEN: u64 = 512;
/// Two empty blocks are its end.
const END_LEN: u64 = 2 * BLOCK_LEN;
/// What pads data to a whole block.
const ZEROS: [u8; 1024] = [0; 1024];
/// A name or a symlink's target of at most this length stands in the header, in bytes.
const NAME_LEN: usize = 100;
/// Permission bits.
const MODE_MASK: u32 = 0o777;

/// Writes a tar.
#[derive(Debug)]
pub struct TarWriter<W: Write> {
    to: W,
    /// Bytes of the present member that are still to come.
    left: u64,
    /// Zeros that then pad it.
    padding: u64,
}

impl<W: Write> TarWriter<W> {
    /// One that is written to `to`.
    pub const fn new(to: W) -> Self {
        Self { to, left: 0, padding: 0 }
    }

    /// What it is written to, for data that does not go through it: see [`passed`](Self::passed).
    pub const fn to(&mut self) -> &mut W {
        &mut self.to
    }

    /// Counts data of the member that was begun, which was written past it.
    ///
    /// # Errors
    /// It is more than was announced.
    pub fn passed(&mut self, len: u64) -> io::Result<()> {
        self.left = self.left.checked_sub(len).ok_or_else(|| wrong_length(false))?;
        Ok(())
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.to.write_all(ZEROS.get(..count).unwrap_or(&ZEROS))
    }
}

impl<W: Write> ArchiveWriter for TarWriter<W> {
    fn begin(&mut self, member: &Member<'_>) -> io::Result<()> {
        let len = data_len(member);
        (self.left, self.padding) = (len, padding(len));
        self.to.write_all(&header(member)?)
    }

    fn data(&mut self, data: &[u8]) -> io::Result<()> {
        self.passed(data.len() as u64)?;
        self.to.write_all(data)
    }

    fn end(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(wrong_length(true));
        }
        self.zeros(self.padding)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.zeros(END_LEN)?;
        self.to.flush()
    }
}

/// The length of a tar.
#[derive(Debug)]
pub struct TarLength(u64);

impl Default for TarLength {
    fn default() -> Self {
        Self(END_LEN)
    }
}

impl TarLength {
    /// Counts a member.
    ///
    /// # Errors
    /// A tar cannot have it.
    pub fn add(&mut self, member: &Member<'_>) -> io::Result<()> {
        let len = data_len(member);
        // Only a long name has more than one block in front of it.
        let is_long = match member.kind {
            MemberKind::Link { target } => member.path.len().max(target.len()) > NAME_LEN,
            MemberKind::Dir => member.path.len() >= NAME_LEN,
            MemberKind::File { .. } => member.path.len() > NAME_LEN,
        };
        let header = if is_long { header(member)?.len() as u64 } else { BLOCK_LEN };
        self.0 = self.0.saturating_add(header).saturating_add(len).saturating_add(padding(len));
        Ok(())
    }

    /// The length of the whole archive in bytes.
    pub const fn total(&self) -> u64 {
        self.0
    }
}

const fn data_len(member: &Member<'_>) -> u64 {
    match member.kind {
        MemberKind::File { len, .. } => len,
        MemberKind::Dir | MemberKind::Link { .. } => 0,
    }
}

/// Zeros behind data of `len` bytes.
const fn padding(len: u64) -> u64 {
    (BLOCK_LEN - len % BLOCK_LEN) % BLOCK_LEN
}

/// What stands in front of a member's data. A name that is too long for a header has blocks of its own in front of it.
fn header(member: &Member<'_>) -> io::Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    header.set_mode(member.mode & MODE_MASK);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(data_len(member));
    // A file of 1969 is one of 1970 here.
    header.set_mtime(u64::try_from(member.mtime_ns.div_euclid(1_000_000_000)).unwrap_or(0));
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    let mut blocks = Builder::new(Vec::new());
    match member.kind {
        MemberKind::Dir => {
            header.set_entry_type(EntryType::Directory);
            let with_slash = [member.path, b"/"].concat();
            blocks.append_data(&mut header, path(&with_slash), io::empty())?;
        }
        MemberKind::File { .. } => {
            header.set_entry_type(EntryType::Regular);
            blocks.append_data(&mut header, path(member.path), io::empty())?;
        }
        MemberKind::Link { target } => {
            header.set_entry_type(EntryType::Symlink);
            if target.len() <= NAME_LEN {
                header.set_link_name_literal(target)?;
                blocks.append_data(&mut header, path(member.path), io::empty())?;
            } else {
                blocks.append_link(&mut header, path(member.path), path(target))?;
            }
        }
    }
    Ok(std::mem::take(blocks.get_mut()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_holds_what_was_put_in_and_is_as_long_as_was_said() {
        let (long, deep) = (vec![b'n'; 255], vec![b"d\xff".as_slice(); 300].join(&b'/'));
        let edges: Vec<Vec<u8>> = [98, 99, 100, 101].map(|len| vec![b'e'; len]).into();
        let targets = [b"../x".to_vec(), vec![b't'; 100], vec![b't'; 101], b"./a/".to_vec(), b"\xfe".to_vec()];
        let file = |path, len| Member {
            path,
            kind: MemberKind::File { len, is_compressible: true },
            mode: 0o4_640,
            mtime_ns: 1_700_000_000_999_999_999,
        };
        let mut members = vec![
            Member { kind: MemberKind::Dir, mode: 0o755, ..file(b"top", 0) },
            file(b"top/empty", 0),
            file(b"top/one", 1),
            file(b"top/block", 512),
            file(b"top/more", 513),
            file("top/\u{6536} \n\u{202e}".as_bytes(), 3),
            file(&long, 5),
            file(&deep, 5),
            Member { mtime_ns: -5, ..file(b"top/old", 0) },
        ];
        for edge in &edges {
            members.extend([file(edge, 1), Member { kind: MemberKind::Dir, ..file(edge, 0) }]);
        }
        let link = |target| Member { kind: MemberKind::Link { target }, ..file(b"top/link", 0) };
        members.extend(targets.iter().map(|target| link(target.as_slice())));
        let (mut bytes, mut length) = (Vec::new(), TarLength::default());
        let mut tar = Box::new(TarWriter::new(&mut bytes));
        for member in &members {
            length.add(member).unwrap();
            tar.begin(member).unwrap();
            (0..data_len(member)).for_each(|_| tar.data(b"x").unwrap());
            tar.end().unwrap();
        }
        tar.finish().unwrap();
        assert_eq!(length.total(), bytes.len() as u64);
        let mut archive = ::tar::Archive::new(bytes.as_slice());
        let mut read = archive.entries().unwrap().map(Result::unwrap);
        for member in &members {
            let mut entry = read.next().unwrap();
            let mut path = entry.path_bytes().into_owned();
            if member.kind == MemberKind::Dir {
                assert_eq!(path.pop(), Some(b'/'));
            }
            assert_eq!(path, member.path);
            let mode = entry.header().mode().unwrap();
            assert_eq!(mode, member.mode & 0o777);
            assert_eq!(entry.header().mtime().unwrap(), if member.mtime_ns < 0 { 0 } else { 1_700_000_000 });
            if let MemberKind::Link { target } = member.kind {
                assert_eq!(entry.link_name_bytes().unwrap(), target);
            }
            let mut data = Vec::new();
            io::copy(&mut entry, &mut data).unwrap();
            assert_eq!(data.len() as u64, data_len(member));
        }
        assert!(read.next().is_none());
    }

    #[test]
    fn huge_files_have_their_size() {
        for len in [(1 << 33) - 1, 1 << 33, 1 << 40, i64::MAX as u64] {
            let member = Member {
                path: b"huge",
                kind: MemberKind::File { len, is_compressible: false },
                mode: 0o644,
                mtime_ns: 0,
            };
            let blocks = header(&member).unwrap();
            assert_eq!(Header::from_byte_slice(&blocks[..512]).size().unwrap(), len);
            let mut length = TarLength::default();
            length.add(&member).unwrap();
            assert_eq!(length.total(), 512 + len.next_multiple_of(512) + 1024);
        }
    }

    #[test]
    fn data_of_another_length_than_was_said_is_an_error() {
        let member =
            Member { path: b"a", kind: MemberKind::File { len: 3, is_compressible: true }, mode: 0, mtime_ns: 0 };
        let mut tar = TarWriter::new(Vec::new());
        tar.begin(&member).unwrap();
        assert!(tar.data(b"1234").is_err());
        let mut tar = TarWriter::new(Vec::new());
        tar.begin(&member).unwrap();
        tar.data(b"12").unwrap();
        assert!(tar.end().is_err());
    }
}
