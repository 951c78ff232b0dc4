//! What a file shares with its earlier version: both sides cut theirs at borders that the content sets, and chunks
//! that both have are not sent.
//!
//! Borders that depend on the content stay where they are when something is put in before them. The receiver sends
//! the chunks of its file (`chunks`), the sender tells which of them the new file is made of (`copy`), and sends the
//! rest (`data`). The digest of the whole decides, so that an id need not be long.

use std::fs::File;
use std::io;

use byteorder::{ByteOrder as _, LittleEndian};
use fastcdc::v2020::{FastCDC, MINIMUM_MAX};
use rustix::fs::SeekFrom;
use serde::{Deserialize, Serialize};

use super::BODY_LEN_MAX;
use super::event::Beat;
use super::large::{Large, Piece};
use crate::fs::unix::read_at;
use crate::memory::Buffer;

/// Shortest file, and shortest earlier version of one, that is not simply sent whole, in bytes.
pub const LEN_MIN: u64 = 512 * 1024;
/// Most bytes of a `copy`: a copy cannot be interrupted.
pub const COPY_LEN_MAX: u64 = 16 * 1024 * 1024;
/// Speed above which a connection carries a file in less time than both sides need to cut it, in bytes a second.
pub const FAST: u64 = 400_000_000;

/// Most bytes of `chunks` that a receiver has sent of files that it waits for; beyond it files are requested whole.
pub const CHUNKS_OUT_MAX: usize = 4 * 1024 * 1024;

/// Length of a chunk's id, the beginning of its BLAKE3 digest, in bytes.
const ID_LEN: usize = 16;
/// Length of a record of `chunks`, a chunk's length and id, in bytes.
const RECORD_LEN: usize = 4 + ID_LEN;
/// Most chunks of one file that are sent; what is behind them is not known.
const CHUNKS_MAX: usize = BODY_LEN_MAX as usize / RECORD_LEN;
/// Memory that a known chunk takes, for each byte of its record.
const KNOWN_COST: usize = 2;
/// Number of chunks that a file is cut into, about.
const CHUNKS: u64 = 32 * 1024;
/// Average length of a chunk, in bytes.
const AVERAGE_MIN: u32 = 32 * 1024;
const AVERAGE_MAX: u32 = 4 * 1024 * 1024;
/// Length of one read, in bytes.
const READ_LEN: usize = 256 * 1024;

/// Whether only the changed parts of a changed file are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delta {
    /// Where that is faster: not within one machine, and not over a connection that has proved fast.
    #[default]
    Auto,
    /// Over every connection.
    Always,
    /// Never: changed files are sent whole.
    Never,
}

/// How a file is cut: `FastCDC` of 2020 with the crate's table and no seed, normalized by one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    average: u32,
}

impl Cut {
    /// For a file of `len` bytes: so that it has not many more than `CHUNKS`.
    pub fn for_len(len: u64) -> Self {
        let average = u32::try_from((len / CHUNKS).next_power_of_two()).unwrap_or(AVERAGE_MAX);
        Self { average: average.clamp(AVERAGE_MIN, AVERAGE_MAX) }
    }

    /// As the peer cuts, with chunks of `average` bytes; `None`: that is outside the limits.
    pub fn of_average(average: u32) -> Option<Self> {
        let is_known = average.is_power_of_two() && (AVERAGE_MIN..=AVERAGE_MAX).contains(&average);
        is_known.then_some(Self { average })
    }

    /// Average length of a chunk, in bytes.
    pub const fn average(self) -> u32 {
        self.average
    }

    /// No border is looked for before it, which saves half of the work.
    fn shortest(self) -> usize {
        (self.average as usize / 4 * 3).min(MINIMUM_MAX)
    }

    /// Bytes of memory that cutting takes.
    pub const fn memory(self) -> usize {
        2 * self.longest() + READ_LEN
    }

    const fn longest(self) -> usize {
        self.average as usize * 4
    }
}

/// Cuts bytes that come piece by piece.
#[derive(Debug)]
struct Cutter {
    cut: Cut,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Cutter {
    fn new(cut: Cut) -> Self {
        Self { cut, buffer: vec![0; cut.memory()], start: 0, end: 0 }
    }

    /// Where the next bytes go.
    fn room(&mut self) -> &mut [u8] {
        if self.buffer.len() - self.end < READ_LEN {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let len = room.len().min(READ_LEN);
        room.get_mut(..len).unwrap_or_default()
    }

    /// Counts `len` bytes as put there.
    const fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// The next chunk, once it is known where it ends: with `is_last` no more comes.
    fn next(&self, is_last: bool) -> Option<&[u8]> {
        let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
        if bytes.is_empty() || (bytes.len() < self.cut.longest() && !is_last) {
            return None;
        }
        let average = self.cut.average as usize;
        let (_, end) = FastCDC::new(bytes, self.cut.shortest(), average, self.cut.longest()).cut(0, bytes.len());
        bytes.get(..end)
    }

    /// The next `len` bytes; `None`: fewer are there.
    fn peek(&self, len: usize) -> Option<&[u8]> {
        self.buffer.get(self.start..self.end)?.get(..len)
    }

    /// The first `len` bytes, which are done with.
    fn take(&mut self, len: usize) -> &[u8] {
        let start = self.start;
        self.start += len;
        self.buffer.get(start..self.start).unwrap_or_default()
    }
}

type Id = [u8; ID_LEN];

fn id_of(chunk: &[u8]) -> Id {
    let mut id = [0; ID_LEN];
    id.copy_from_slice(blake3::hash(chunk).as_bytes().split_at(ID_LEN).0);
    id
}

/// A stretch of zeros that take no room has this instead of an id...
const HOLE: Id = [0; ID_LEN];
/// ... and at most this length, in bytes.
const HOLE_CHUNK_LEN_MAX: u64 = 1024 * 1024 * 1024;

/// The chunks of a file of `len` bytes: the body of a `chunks`.
///
/// # Errors
/// It cannot be read, or `beat` ended it.
pub fn chunks_of(file: &File, len: u64, cut: Cut, beat: Beat<'_>) -> io::Result<Vec<u8>> {
    let mut records = Vec::new();
    let mut tell = |len: usize, id: Id| {
        let mut record = [0; RECORD_LEN];
        let (len_at, id_at) = record.split_at_mut(4);
        LittleEndian::write_u32(len_at, u32::try_from(len).unwrap_or(u32::MAX));
        id_at.copy_from_slice(&id);
        records.extend_from_slice(&record);
        records.len() < CHUNKS_MAX * RECORD_LEN
    };
    let mut cutter = Cutter::new(cut);
    let mut at = 0;
    while at < len {
        let mut hole = rustix::fs::seek(file, SeekFrom::Data(at)).map_or(len, |data| data.min(len)) - at;
        while hole > 0 {
            let now = hole.min(HOLE_CHUNK_LEN_MAX);
            if !tell(usize::try_from(now).unwrap_or(0), HOLE) {
                return Ok(records);
            }
            (hole, at) = (hole - now, at + now);
        }
        let until = rustix::fs::seek(file, SeekFrom::Hole(at)).map_or(len, |hole| hole.min(len));
        while at < until {
            let room = cutter.room();
            let wanted = room.len().min(usize::try_from(until - at).unwrap_or(usize::MAX));
            let read = read_at(file, room.get_mut(..wanted).unwrap_or_default(), at)?;
            cutter.filled(read);
            at += read as u64;
            beat(read as u64)?;
            // It is shorter by now: no more of its chunks are sent.
            let is_short = read == 0;
            while let Some(chunk) = cutter.next(is_short || at >= until) {
                let (len, id) = (chunk.len(), id_of(chunk));
                cutter.take(len);
                if !tell(len, id) {
                    return Ok(records);
                }
            }
            if is_short {
                return Ok(records);
            }
        }
    }
    Ok(records)
}

/// The chunks of the receiver's version of a file.
#[derive(Debug)]
pub struct Known {
    cut: Cut,
    /// The chunks, in the order of the file.
    chunks: Vec<Chunk>,
    /// The first index of each distinct chunk, sorted by id: a map would take twice the memory.
    places: Vec<u32>,
    /// Bytes of the `chunks` that listed them.
    pub told_len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    id: Id,
    at: u64,
    len: u32,
}

impl Known {
    /// Bytes of memory that it takes.
    pub const fn memory(&self) -> usize {
        self.told_len * KNOWN_COST
    }

    /// Reads the body of a `chunks`.
    ///
    /// # Errors
    /// Why the body makes no sense.
    pub fn read(average: u32, records: &[u8]) -> Result<Self, &'static str> {
        let cut = Cut::of_average(average).ok_or("chunks of that average length are never cut")?;
        if !records.len().is_multiple_of(RECORD_LEN) {
            return Err("it does not end with a chunk");
        }
        let count = records.len() / RECORD_LEN;
        let mut chunks = Vec::with_capacity(count);
        let mut at = 0;
        for record in records.chunks_exact(RECORD_LEN) {
            let (len, bytes) = record.split_at(4);
            let (len, mut id) = (LittleEndian::read_u32(len), HOLE);
            id.copy_from_slice(bytes);
            if id != HOLE && (1..=cut.longest()).contains(&(len as usize)) {
                chunks.push(Chunk { id, at, len });
            }
            at += u64::from(len);
        }
        let mut places: Vec<u32> = (0..u32::try_from(chunks.len()).unwrap_or(u32::MAX)).collect();
        let id = |place: &u32| chunks.get(*place as usize).map(|chunk: &Chunk| chunk.id);
        places.sort_unstable_by_key(|place| (id(place), *place));
        places.dedup_by_key(|place| id(place));
        Ok(Self { cut, chunks, places, told_len: records.len() })
    }

    /// How the receiver cut its file.
    pub const fn cut(&self) -> Cut {
        self.cut
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let id = id_of(bytes);
        let at = |place: &u32| self.chunks.get(*place as usize).map(|chunk| chunk.id);
        let found = self.places.binary_search_by_key(&Some(id), at).ok()?;
        let place = *self.places.get(found)? as usize;
        self.chunks.get(place).is_some_and(|chunk| chunk.len as usize == bytes.len()).then_some(place)
    }
}

/// How the next piece of a file is found.
#[derive(Debug)]
pub enum Pieces<'k> {
    /// All of the file, read into this buffer.
    All(Buffer),
    /// Only what differs from the receiver's version.
    Changes(Changes<'k>),
}

impl Pieces<'_> {
    /// The next piece of `large`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next(&mut self, large: &mut Large<'_>) -> io::Result<Piece<'_>> {
        match self {
            Self::All(buffer) => large.next(buffer),
            Self::Changes(changes) => changes.next(large),
        }
    }
}

/// The differences of a file from the receiver's version.
#[derive(Debug)]
pub struct Changes<'k> {
    known: &'k Known,
    cutter: Cutter,
    piece_len: usize,
    /// The chunk that comes next where nothing changed: its border need not be searched.
    likely: Option<usize>,
    /// What the receiver is to copy, and was not sent yet: offset and size in bytes.
    run: Option<(u64, u64)>,
    /// New bytes that were looked up, and not sent yet.
    new: usize,
    /// What comes when the cutter is empty.
    then: Option<Then>,
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Hole(u64),
    End,
}

/// What the bytes that come next are.
enum Next {
    /// A chunk that the receiver has.
    Old(usize),
    /// Bytes that it does not have; how many.
    New(usize),
    /// More has to be read to know.
    Unknown,
}

impl<'k> Changes<'k> {
    /// What differs from `known`; new bytes come in pieces of at most `piece_len`.
    pub fn new(known: &'k Known, piece_len: usize) -> Self {
        let cutter = Cutter::new(known.cut);
        Self { known, cutter, piece_len, likely: Some(0), run: None, new: 0, then: None }
    }

    /// The next piece of `large`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next(&mut self, large: &mut Large<'_>) -> io::Result<Piece<'_>> {
        loop {
            if self.new > 0 {
                let now = self.new.min(self.piece_len);
                self.new -= now;
                return Ok(Piece::Data(self.cutter.take(now)));
            }
            match self.look() {
                Next::Old(place) => {
                    if let Some(copy) = self.add(place) {
                        return Ok(copy);
                    }
                }
                Next::New(len) => {
                    self.new = len;
                    if let Some((offset, size)) = self.run.take() {
                        return Ok(Piece::Copy { offset, size });
                    }
                }
                Next::Unknown if self.then.is_none() => self.read(large)?,
                Next::Unknown => {
                    if let Some((offset, size)) = self.run.take() {
                        return Ok(Piece::Copy { offset, size });
                    }
                    match self.then {
                        Some(Then::Hole(size)) => {
                            self.then = None;
                            return Ok(Piece::Hole(size));
                        }
                        Some(Then::End) | None => return Ok(Piece::End),
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Next {
        if let Some((place, chunk)) = self.likely.and_then(|place| Some((place, self.known.chunks.get(place)?))) {
            match self.cutter.peek(chunk.len as usize) {
                Some(bytes) if id_of(bytes) == chunk.id => return Next::Old(place),
                None if self.then.is_none() => return Next::Unknown,
                _ => self.likely = None,
            }
        }
        match self.cutter.next(self.then.is_some()) {
            Some(bytes) => self.known.find(bytes).map_or(Next::New(bytes.len()), Next::Old),
            None => Next::Unknown,
        }
    }

    /// Adds a chunk to what the receiver is to copy; what was there before it, if that is elsewhere or enough.
    fn add(&mut self, place: usize) -> Option<Piece<'static>> {
        let Chunk { at, len, .. } = *self.known.chunks.get(place)?;
        self.likely = Some(place + 1);
        self.cutter.take(len as usize);
        let len = u64::from(len);
        match self.run {
            Some((offset, size)) if at == offset + size && size + len <= COPY_LEN_MAX => {
                self.run = Some((offset, size + len));
                None
            }
            before => {
                self.run = Some((at, len));
                before.map(|(offset, size)| Piece::Copy { offset, size })
            }
        }
    }

    fn read(&mut self, large: &mut Large<'_>) -> io::Result<()> {
        let hole = large.skip()?;
        if hole > 0 {
            self.then = Some(Then::Hole(hole));
            return Ok(());
        }
        let len = large.read(self.cutter.room())?.len();
        self.cutter.filled(len);
        if len == 0 {
            self.then = Some(Then::End);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of which no two stretches are alike.
    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn file_of(bytes: &[u8]) -> File {
        use std::io::Write as _;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn the_longest_files_are_cut_too() {
        let bytes = noise(40 << 20, 1);
        for len in [1_u64 << 20, 33 << 30, 1 << 40, u64::MAX / 4] {
            let cut = Cut::for_len(len);
            assert_eq!(Cut::of_average(cut.average()), Some(cut));
            let records = chunks_of(&file_of(&bytes), bytes.len() as u64, cut, &mut |_| Ok(())).unwrap();
            let lens: Vec<usize> =
                records.chunks(RECORD_LEN).map(|record| LittleEndian::read_u32(record) as usize).collect();
            assert_eq!(lens.iter().sum::<usize>(), bytes.len());
            let (_, but_last) = lens.split_last().unwrap();
            assert!(but_last.iter().all(|len| (cut.shortest()..=cut.longest()).contains(len)), "{lens:?}");
        }
    }

    /// What the receiver makes of the pieces, and how many bytes were new.
    fn moved(old: &[u8], new: &[u8]) -> (Vec<u8>, usize) {
        let file = file_of(old);
        let cut = Cut::for_len(old.len() as u64);
        let known =
            Known::read(cut.average(), &chunks_of(&file, old.len() as u64, cut, &mut |_| Ok(())).unwrap()).unwrap();
        let file = file_of(new);
        let (mut made, mut sent) = (Vec::new(), 0);
        let mut large = Large::begin((&file, new.len() as u64), 0).unwrap();
        let mut changes = Changes::new(&known, 100_000);
        loop {
            match changes.next(&mut large).unwrap() {
                Piece::Data(bytes) => {
                    assert!(bytes.len() <= 100_000);
                    sent += bytes.len();
                    made.extend_from_slice(bytes);
                }
                Piece::Copy { offset, size } => {
                    let at = usize::try_from(offset).unwrap();
                    made.extend_from_slice(&old[at..at + usize::try_from(size).unwrap()]);
                }
                Piece::Hole(size) => made.resize(made.len() + usize::try_from(size).unwrap(), 0),
                Piece::End => break,
            }
        }
        assert_eq!(large.total().blake3.unwrap(), blake3::hash(new).to_hex().as_str());
        (made, sent)
    }

    #[test]
    fn only_what_is_new_is_sent() {
        let old = noise(8 << 20, 1);
        let mut changed = old.clone();
        changed[5_000_000] ^= 1;
        let inserted = [&old[..3_000_000], b"something new", &old[3_000_000..]].concat();
        let removed = [&old[..3_000_000], &old[4_000_000..]].concat();
        let turned = [&old[4_000_000..], &old[..4_000_000]].concat();
        let twice = [&old[..], &old[..]].concat();
        for (name, new, sent_max) in [
            ("the same", &old, 0),
            ("one byte changed", &changed, 2 * 256 * 1024),
            ("something in between", &inserted, 2 * 256 * 1024),
            ("something less", &removed, 2 * 256 * 1024),
            ("turned round", &turned, 3 * 256 * 1024),
            ("twice", &twice, 2 * 256 * 1024),
            ("another one", &noise(1 << 20, 2), 1 << 20),
            ("nothing", &Vec::new(), 0),
            ("a byte", &vec![7], 1),
            ("zeros", &vec![0; 3 << 20], 3 << 20),
        ] {
            let (made, sent) = moved(&old, new);
            assert!(made == *new, "{name}");
            assert!(sent <= sent_max, "{name}: {sent} bytes were sent");
        }
    }

    #[test]
    fn holes_are_no_chunks() {
        use std::os::unix::fs::FileExt as _;
        let file = tempfile::tempfile().unwrap();
        let data = noise(1 << 20, 3);
        file.set_len(200 << 20).unwrap();
        file.write_all_at(&data, 100 << 20).unwrap();
        let records = chunks_of(&file, 200 << 20, Cut::for_len(200 << 20), &mut |_| Ok(())).unwrap();
        let lens = records.chunks_exact(RECORD_LEN).map(|record| u64::from(LittleEndian::read_u32(record)));
        assert_eq!(lens.sum::<u64>(), 200 << 20);
        let known = Known::read(AVERAGE_MIN, &records).unwrap();
        assert!(known.chunks.iter().all(|chunk| chunk.id != HOLE));
        assert_eq!(known.chunks[0].at, 100 << 20);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(Known::read(AVERAGE_MIN, &[0; RECORD_LEN + 1]).is_err());
        for average in [0, 1, 65_537, 16 * 1024, 8 << 20, u32::MAX] {
            assert!(Known::read(average, &[]).is_err(), "{average}");
        }
        assert_eq!(Cut::for_len(0), Cut { average: AVERAGE_MIN });
        assert_eq!(Cut::for_len(1 << 30), Cut { average: AVERAGE_MIN });
        assert_eq!(Cut::for_len(3 << 30), Cut { average: 4 * AVERAGE_MIN });
        assert_eq!(Cut::for_len(u64::MAX), Cut { average: AVERAGE_MAX });
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
        /// Whatever was moved, the copy equals the file.
        #[test]
        fn any_change_comes_out_right(
            edits in proptest::collection::vec((0..3_000_000_usize, 0..200_000_usize, 0..100_000_usize), 0..6),
        ) {
            let old = noise(3_000_000, 4);
            let mut new = old.clone();
            for (at, gone, more) in edits {
                let at = at.min(new.len());
                let end = (at + gone).min(new.len());
                new.splice(at..end, noise(more, at as u64));
            }
            proptest::prop_assert!(moved(&old, &new).0 == new);
        }
    }
}
