//! zip, for a stream that cannot go back: sizes and checksums stand behind the data, and once more in the directory at
//! the end (APPNOTE 4.3.9, 4.3.12).

use std::cell::Cell;
use std::io::{self, BufWriter, Write};
use std::rc::Rc;

use ::zip::write::{FullFileOptions, SimpleFileOptions, StreamWriter};
use ::zip::{CompressionMethod, DateTime};
use jiff::Timestamp;
use jiff::tz::Offset;

use super::{ArchiveWriter, Member, MemberKind, wrong_length};

/// Memory in bytes that a member takes until the directory at the end is written, besides its path. It was measured: 300
/// and some, and the list of them doubles when it is full.
pub const ZIP_MEMBER_COST: usize = 400;
/// Headers and other small pieces are put together up to this length, in bytes.
const SMALL_LEN: usize = 16 * 1024;
/// A file of this length, in bytes, has sizes of 64 bits: compression may make it longer by a thousandth.
const LARGE_LEN: u64 = 4_000_000_000;
/// From this number on a field of 32 bits says nothing (APPNOTE 4.4.1.4).
const NO_32_BITS: u64 = 0xffff_ffff;
/// From this number on the count of members does not.
const NO_16_BITS: u64 = 0xffff;

/// What stands for a backslash in a name; each if the one in front of it makes the name of another member.
const OTHER_BACKSLASHES: &[u8] = b"_-~+=^";

/// The types of files in Unix' modes.
const DIR_TYPE: u32 = 0o040_000;
const FILE_TYPE: u32 = 0o100_000;
const LINK_TYPE: u32 = 0o120_000;
/// Permission bits.
const MODE_MASK: u32 = 0o777;
/// The attribute of a directory in MS-DOS.
const DOS_DIR: u32 = 0x10;

/// Writes a zip.
#[expect(missing_debug_implementations, reason = "what it is written to need have none")]
pub struct ZipWriter<W: Write> {
    /// Before the writer, so that it is dropped before it.
    closer: Closer,
    zip: ::zip::ZipWriter<StreamWriter<Gate<BufWriter<W>>>>,
    /// Bytes of the present member that are still to come.
    left: u64,
}

/// Closes the gate when it is dropped.
struct Closer(Rc<Cell<bool>>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Lets bytes through while it is open, and drops them then: when a zip is given up, its writer would add the end that
/// makes it look whole.
struct Gate<W> {
    to: W,
    is_open: Rc<Cell<bool>>,
}

impl<W: Write> Write for Gate<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_open.get() {
            return Ok(bytes.len());
        }
        self.to.write(bytes).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.is_open.set(false);
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_open.get() { self.to.flush() } else { Ok(()) }
    }
}

impl<W: Write> ZipWriter<W> {
    /// One that is written to `to`.
    pub fn new(to: W) -> Self {
        let is_open = Rc::new(Cell::new(true));
        let to = BufWriter::with_capacity(SMALL_LEN, to);
        let zip = ::zip::ZipWriter::new_stream(Gate { to, is_open: Rc::clone(&is_open) });
        Self { closer: Closer(is_open), zip, left: 0 }
    }
}

impl<W: Write> ArchiveWriter for ZipWriter<W> {
    fn begin(&mut self, member: &Member<'_>) -> io::Result<()> {
        let is_dir = member.kind == MemberKind::Dir;
        let name = if is_dir { [member.path, b"/"].concat() } else { member.path.to_vec() };
        self.begin_as(&name, member)?;
        self.left = match member.kind {
            MemberKind::File { len, .. } => len,
            MemberKind::Dir | MemberKind::Link { .. } => 0,
        };
        if let MemberKind::Link { target } = member.kind { self.zip.write_all(target) } else { Ok(()) }
    }

    fn data(&mut self, data: &[u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(data.len() as u64).ok_or_else(|| wrong_length(false))?;
        self.zip.write_all(data)
    }

    fn end(&mut self) -> io::Result<()> {
        if self.left > 0 { Err(wrong_length(true)) } else { Ok(()) }
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let Self { closer, zip, .. } = *self;
        let finished = zip.finish();
        drop(closer);
        let Gate { mut to, .. } = finished?.into_inner();
        to.flush()
    }
}

impl<W: Write> ZipWriter<W> {
    /// Begins a member of this name. Some programs take a backslash for a separator, and a name in front of it for a
    /// directory: another character stands for it. Where that makes a name that is there already, the next one does, in
    /// either name.
    fn begin_as(&mut self, name: &[u8], member: &Member<'_>) -> io::Result<()> {
        let is_dir = member.kind == MemberKind::Dir;
        let mut others = OTHER_BACKSLASHES.iter();
        let mut is_first = true;
        loop {
            let other = others.next().copied().unwrap_or(b'_');
            let is_changed = |byte: &u8| *byte == b'\\' || !is_first && OTHER_BACKSLASHES.contains(byte);
            let name: Vec<u8> = name.iter().map(|byte| if is_changed(byte) { other } else { *byte }).collect();
            is_first = false;
            let begun = match std::str::from_utf8(&name) {
                Ok(name) if is_dir => self.zip.add_directory(name, options(member)?),
                _ => self.zip.start_file_with_options(options(member)?.name(&name)),
            };
            match begun {
                Err(::zip::result::ZipError::InvalidArchive(_)) if !others.as_slice().is_empty() => {}
                begun => return Ok(begun?),
            }
        }
    }
}

fn options(member: &Member<'_>) -> io::Result<FullFileOptions<'static, 'static>> {
    let (file_type, dos) = match member.kind {
        // Without a type such a directory has a checksum behind it, as a file has: the writer takes no name for
        // directories that is not UTF-8. The slash says what it is.
        MemberKind::Dir if std::str::from_utf8(member.path).is_err() => (0, DOS_DIR),
        MemberKind::Dir => (DIR_TYPE, DOS_DIR),
        MemberKind::File { .. } => (FILE_TYPE, 0),
        MemberKind::Link { .. } => (LINK_TYPE, 0),
    };
    let method = if is_deflated(member) { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let options = SimpleFileOptions::default()
        .compression_method(method)
        .external_attributes(((file_type | (member.mode & MODE_MASK)) << 16) | dos)
        .large_file(is_large(member))
        .last_modified_time(dos_time(member.mtime_ns));
    match unix_time(member.mtime_ns) {
        None => Ok(options.into_full_options()),
        time => Ok(options.with_extended_timestamp(time, None, None)?),
    }
}

const fn is_deflated(member: &Member<'_>) -> bool {
    matches!(member.kind, MemberKind::File { is_compressible: true, .. })
}

const fn is_large(member: &Member<'_>) -> bool {
    matches!(member.kind, MemberKind::File { len, .. } if len >= LARGE_LEN)
}

/// The time as MS-DOS has it, in UTC, to two seconds; 1980 where it knows none.
fn dos_time(mtime_ns: i64) -> DateTime {
    let time = Timestamp::from_nanosecond(i128::from(mtime_ns)).unwrap_or_default();
    let time = Offset::UTC.to_datetime(time);
    let part = |number: i8| u8::try_from(number).unwrap_or(0);
    let year = u16::try_from(time.year()).unwrap_or(0);
    let (date, clock) = ((part(time.month()), part(time.day())), (part(time.hour()), part(time.minute())));
    DateTime::from_date_and_time(year, date.0, date.1, clock.0, clock.1, part(time.second())).unwrap_or_default()
}

/// The time in seconds since 1970 UTC, which stands beside that; `None`: its field has no room for it.
fn unix_time(mtime_ns: i64) -> Option<u32> {
    i32::try_from(mtime_ns.div_euclid(1_000_000_000)).ok().and_then(|seconds| u32::try_from(seconds).ok())
}

/// The length of a zip.
#[derive(Debug, Default)]
pub struct ZipLength {
    /// Members and their data.
    members: u64,
    /// The directory at the end.
    directory: u64,
    count: u64,
    is_compressed: bool,
}

impl ZipLength {
    /// Counts a member.
    pub fn add(&mut self, member: &Member<'_>) {
        let is_dir = member.kind == MemberKind::Dir;
        let name = member.path.len() as u64 + u64::from(is_dir);
        let data = match member.kind {
            MemberKind::Dir => 0,
            MemberKind::File { len, .. } => len,
            MemberKind::Link { target } => target.len() as u64,
        };
        let time = if unix_time(member.mtime_ns).is_some() { 9 } else { 0 };
        let (sizes, descriptor) = if is_large(member) { (20, 24) } else { (0, 16) };
        let descriptor = if is_dir && std::str::from_utf8(member.path).is_ok() { 0 } else { descriptor };
        // An offset that takes 64 bits shares a field with such sizes (APPNOTE 4.5.3).
        let offset = match (self.members >= NO_32_BITS, sizes > 0) {
            (false, _) => 0,
            (true, true) => 8,
            (true, false) => 12,
        };
        self.directory += 46 + name + time + sizes + offset;
        self.members = self.members.saturating_add(30 + name + time + sizes + descriptor).saturating_add(data);
        self.count += 1;
        self.is_compressed |= is_deflated(member);
    }

    /// The length of the whole archive in bytes; `None`: something in it is compressed.
    pub const fn total(&self) -> Option<u64> {
        if self.is_compressed {
            return None;
        }
        let largest = if self.members > self.directory { self.members } else { self.directory };
        let end = if self.count > NO_16_BITS || largest > NO_32_BITS { 56 + 20 + 22 } else { 22 };
        Some(self.members.saturating_add(self.directory).saturating_add(end))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn file(path: &[u8], len: u64, is_compressible: bool) -> Member<'_> {
        let kind = MemberKind::File { len, is_compressible };
        Member { path, kind, mode: 0o640, mtime_ns: 1_700_000_001_500_000_000 }
    }

    fn data(len: u64) -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at % 7).unwrap()).collect()
    }

    fn zipped(members: &[Member<'_>]) -> (Vec<u8>, Option<u64>) {
        let (mut bytes, mut length) = (Vec::new(), ZipLength::default());
        let mut zip = Box::new(ZipWriter::new(&mut bytes));
        for member in members {
            length.add(member);
            zip.begin(member).unwrap();
            if let MemberKind::File { len, .. } = member.kind {
                data(len).chunks(1000).for_each(|chunk| zip.data(chunk).unwrap());
            }
            zip.end().unwrap();
        }
        zip.finish().unwrap();
        (bytes, length.total())
    }

    #[test]
    fn a_zip_holds_what_was_put_in_and_is_as_long_as_was_said() {
        let long = vec![b'n'; 255];
        let odd = "top/\u{6536} \\ \n\u{202e}";
        let mut members = vec![
            Member { kind: MemberKind::Dir, mode: 0o4_755, ..file(b"top", 0, false) },
            Member { kind: MemberKind::Dir, ..file(b"top/\xff", 0, false) },
            file(b"top/\xff/\xfe", 3, false),
            file(b"top/empty", 0, false),
            file(b"top/one", 1, false),
            file(odd.as_bytes(), 30_000, false),
            file(&long, 5, false),
            Member { kind: MemberKind::Link { target: b"one" }, ..file(b"top/link", 0, false) },
            Member { mtime_ns: -1, ..file(b"top/old", 0, false) },
            Member { mtime_ns: i64::MAX, ..file(b"top/late", 0, false) },
        ];
        for is_compressed in [false, true] {
            if is_compressed {
                members.push(file(b"top/small", 100_000, true));
            }
            let (bytes, length) = zipped(&members);
            assert_eq!(length, (!is_compressed).then_some(bytes.len() as u64));
            let mut archive = ::zip::ZipArchive::new(Cursor::new(&bytes)).unwrap();
            assert_eq!(archive.len(), members.len());
            for (at, member) in members.iter().enumerate() {
                let mut entry = archive.by_index(at).unwrap();
                let is_dir = member.kind == MemberKind::Dir;
                let want = if is_dir { [member.path, b"/"].concat() } else { member.path.to_vec() };
                let want: Vec<u8> = want.into_iter().map(|byte| if byte == b'\\' { b'_' } else { byte }).collect();
                assert_eq!(entry.name_raw(), want);
                assert_eq!((entry.is_dir(), entry.unix_mode().unwrap() & 0o7777), (is_dir, member.mode & 0o777));
                let want = match member.kind {
                    MemberKind::Dir => Vec::new(),
                    MemberKind::File { len, .. } => data(len),
                    MemberKind::Link { target } => target.to_vec(),
                };
                assert_eq!(entry.is_symlink(), matches!(member.kind, MemberKind::Link { .. }));
                let mut got = Vec::new();
                io::copy(&mut entry, &mut got).unwrap();
                assert_eq!(got, want);
                if is_deflated(member) {
                    assert!(entry.compressed_size() < 1_000);
                }
            }
        }
    }

    #[test]
    fn no_name_has_a_backslash_and_each_is_another() {
        let names = [&b"a\\b"[..], b"a_b", b"a-b", b"a~b"];
        for names in [names, [names[1], names[0], names[3], names[2]]] {
            let (bytes, length) = zipped(&names.map(|name| file(name, 1, false)));
            assert_eq!(length, Some(bytes.len() as u64));
            let mut archive = ::zip::ZipArchive::new(Cursor::new(&bytes)).unwrap();
            let found: std::collections::BTreeSet<Vec<u8>> =
                (0..4).map(|at| archive.by_index(at).unwrap().name_raw().to_vec()).collect();
            assert!(found.len() == 4 && !found.iter().any(|name| name.contains(&b'\\')), "{found:?}");
        }
    }

    #[test]
    fn an_empty_zip_and_one_of_many_members_are_as_long_as_was_said() {
        let (bytes, length) = zipped(&[]);
        assert_eq!((bytes.len(), length), (22, Some(22)));
        let names: Vec<String> = (0..65_537).map(|number| number.to_string()).collect();
        let members: Vec<Member<'_>> = names.iter().map(|name| file(name.as_bytes(), 0, false)).collect();
        for count in [65_535, 65_536, 65_537] {
            let (bytes, length) = zipped(&members[..count]);
            assert_eq!(length, Some(bytes.len() as u64), "{count}");
            assert_eq!(::zip::ZipArchive::new(Cursor::new(&bytes)).unwrap().len(), count);
        }
    }

    /// Counts, and keeps the end.
    struct Tail(u64, Vec<u8>);

    impl Write for Tail {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            self.1.extend_from_slice(bytes);
            self.1.drain(..self.1.len().saturating_sub(1_000));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn files_and_offsets_of_over_4_gib_are_as_long_as_was_said() {
        let chunk = vec![0; 1 << 20];
        for lens in [[2 << 30, 2 << 30, 5], [NO_32_BITS - 1, 0, 0]] {
            let (mut tail, mut length) = (Tail(0, Vec::new()), ZipLength::default());
            let mut zip = Box::new(ZipWriter::new(&mut tail));
            for (name, len) in ["a", "b", "c"].iter().zip(lens) {
                let member = file(name.as_bytes(), len, false);
                length.add(&member);
                zip.begin(&member).unwrap();
                let mut left = len;
                while left > 0 {
                    let piece = left.min(chunk.len() as u64);
                    zip.data(&chunk[..usize::try_from(piece).unwrap()]).unwrap();
                    left -= piece;
                }
                zip.end().unwrap();
            }
            zip.finish().unwrap();
            assert_eq!(length.total(), Some(tail.0), "{lens:?}");
        }
    }

    #[test]
    fn a_zip_that_is_given_up_has_no_end() {
        for ended in [false, true] {
            let mut bytes = Vec::new();
            let mut zip = ZipWriter::new(&mut bytes);
            zip.begin(&file(b"a", 40_000, true)).unwrap();
            zip.data(&data(30_000)).unwrap();
            if ended {
                zip.data(&data(10_000)).unwrap();
                zip.end().unwrap();
            } else {
                assert!(zip.end().is_err());
            }
            drop(zip);
            assert!(::zip::ZipArchive::new(Cursor::new(&bytes)).is_err());
            assert!(!bytes.windows(4).any(|four| four == b"PK\x05\x06"));
        }
    }

    /// Takes some bytes, and then fails.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(io::Error::other("full")) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_client_that_goes_away_ends_it() {
        for room in [0, 10, 5_000, 40_000, 50_000] {
            let mut zip = Box::new(ZipWriter::new(Full(room)));
            let write = |zip: &mut ZipWriter<Full>| {
                zip.begin(&file(b"a", 50_000, false))?;
                data(50_000).chunks(999).try_for_each(|chunk| zip.data(chunk))?;
                zip.end()
            };
            let written = write(&mut zip).and_then(|()| zip.finish());
            assert_eq!(written.unwrap_err().to_string(), "full", "{room}");
        }
    }
}
