//! What the codec alone costs: messages through [`Sender`] and [`Receiver`], over a stream that is
//! only memory, so that no system call is in the figures.
//!
//! Goals: two million small frames encoded and decoded a second (500 ns each) on one core, and a
//! body of 64 KiB in no more than 1.25 times what it takes to copy it into the stream and out
//! again, which is `copied` here.
#![expect(clippy::unwrap_used, reason = "memory does not fail, and a benchmark that does must stop")]

use std::cell::RefCell;
use std::hint::black_box;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use landline::wire::message::Channel;
use landline::wire::{Message, Receiver, Sender};

/// Frames that leave in one write while more are waiting: what a busy line sends.
const BATCH: usize = 64;
/// Each figure is the median of what fits into this time.
const MEASURED_FOR: Duration = Duration::from_millis(500);
/// The long body, in bytes.
const LONG_LEN: usize = 64 * 1024;

const DATA: Message<'static> = Message::Data { stream: Channel::Main };
const ECHO: Message<'static> = Message::Echo { streamed: false };
const SMALL_BODY: &[u8; 16] = b"sixteen bytes ..";

fn main() {
    divan::Divan::from_args().min_time(MEASURED_FOR).main();
}

/// A stream that is a piece of memory: what is written at its end is read at its beginning.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Contents>>);

#[derive(Default)]
struct Contents {
    bytes: Vec<u8>,
    /// `taken <= bytes.len()`; what lies before it was read.
    taken: usize,
}

impl Read for Memory {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        let mut contents = self.0.borrow_mut();
        let unread = &contents.bytes[contents.taken..];
        let len = unread.len().min(dest.len());
        dest[..len].copy_from_slice(&unread[..len]);
        contents.taken += len;
        if contents.taken == contents.bytes.len() {
            contents.bytes.clear();
            contents.taken = 0;
        }
        Ok(len)
    }

    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut came = 0;
        for slice in slices {
            came += self.read(slice)?;
        }
        Ok(came)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().map(|slice| self.write(slice)).sum()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line() -> (Sender<Memory>, Receiver<Memory>) {
    let memory = Memory::default();
    (Sender::new(memory.clone()), Receiver::new(memory, &[]))
}

/// Takes the next message and its whole body; returns the body's length.
fn take(receiver: &mut Receiver<Memory>, body: &mut [u8]) -> usize {
    black_box(receiver.recv().unwrap().unwrap());
    receiver.fill_from_body(body).unwrap()
}

fn one_at_a_time(bencher: Bencher<'_, '_>, message: &Message<'_>) {
    let (sender, mut receiver) = line();
    let mut body = [0; 64];
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        sender.send(message, black_box(SMALL_BODY)).unwrap();
        assert_eq!(take(&mut receiver, &mut body), SMALL_BODY.len());
    });
}

fn in_batches(bencher: Bencher<'_, '_>, message: &Message<'_>) {
    let (sender, mut receiver) = line();
    let mut body = [0; 64];
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            sender.queue(message, black_box(SMALL_BODY)).unwrap();
        }
        sender.flush().unwrap();
        for _ in 0..BATCH {
            assert_eq!(take(&mut receiver, &mut body), SMALL_BODY.len());
        }
    });
}

#[divan::bench]
fn small_data(bencher: Bencher<'_, '_>) {
    one_at_a_time(bencher, &DATA);
}

#[divan::bench]
fn small_data_in_batches(bencher: Bencher<'_, '_>) {
    in_batches(bencher, &DATA);
}

#[divan::bench]
fn small_echo(bencher: Bencher<'_, '_>) {
    one_at_a_time(bencher, &ECHO);
}

#[divan::bench]
fn small_echo_in_batches(bencher: Bencher<'_, '_>) {
    in_batches(bencher, &ECHO);
}

/// As the server does it: the body in a vector of its own.
#[divan::bench]
fn small_echo_with_owned_body(bencher: Bencher<'_, '_>) {
    let (sender, mut receiver) = line();
    let mut json = Vec::new();
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        sender.send(&ECHO, black_box(SMALL_BODY)).unwrap();
        black_box(receiver.recv_request(&mut json).unwrap().unwrap());
        assert_eq!(receiver.body(1024).unwrap(), SMALL_BODY);
    });
}

/// 64 KiB into the stream and out again.
mod long_body {
    use super::{BytesCount, DATA, LONG_LEN, Memory, line, take};
    use divan::Bencher;
    use std::hint::black_box;
    use std::io::{Read, Write};

    /// No frames: what the others are measured against.
    #[divan::bench]
    fn copied(bencher: Bencher<'_, '_>) {
        let mut memory = Memory::default();
        let (sent, mut body) = (vec![7; LONG_LEN], vec![0; LONG_LEN]);
        bencher.counter(BytesCount::new(LONG_LEN)).bench_local(|| {
            memory.write_all(black_box(&sent)).unwrap();
            memory.read_exact(black_box(&mut body)).unwrap();
        });
    }

    #[divan::bench]
    fn framed(bencher: Bencher<'_, '_>) {
        let (sender, mut receiver) = line();
        let (sent, mut body) = (vec![7; LONG_LEN], vec![0; LONG_LEN]);
        bencher.counter(BytesCount::new(LONG_LEN)).bench_local(|| {
            sender.send(&DATA, black_box(&sent)).unwrap();
            assert_eq!(take(&mut receiver, black_box(&mut body)), LONG_LEN);
        });
    }

    /// In a vector of its own, which grows with what comes.
    #[divan::bench]
    fn framed_and_owned(bencher: Bencher<'_, '_>) {
        let (sender, mut receiver) = line();
        let sent = vec![7; LONG_LEN];
        bencher.counter(BytesCount::new(LONG_LEN)).bench_local(|| {
            sender.send(&DATA, black_box(&sent)).unwrap();
            black_box(receiver.recv().unwrap().unwrap());
            assert_eq!(receiver.body(1 << 20).unwrap().len(), LONG_LEN);
        });
    }
}
