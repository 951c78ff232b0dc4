//! A pipe whose bytes go through at a limited rate.

use std::io::Read;
use std::sync::atomic::AtomicBool;

use crate::trees::data::Pace;

/// A pipe, at a rate.
#[derive(Debug)]
pub struct Paced<P> {
    /// The pipe.
    pub inner: P,
    pace: Option<Pace>,
}

impl<P> Paced<P> {
    /// `inner`, at `bwlimit` bytes a second; `None`: as fast as it goes.
    pub fn new(inner: P, bwlimit: Option<u64>) -> Self {
        Self { inner, pace: bwlimit.map(Pace::new) }
    }

    /// Waits as long as the rate demands after this number of bytes.
    pub fn keep(&mut self, bytes: usize) {
        if let Some(pace) = &mut self.pace {
            pace.keep(bytes, &AtomicBool::new(false));
        }
    }
}

impl<P: Read> Read for Paced<P> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.keep(len);
        Ok(len)
    }
}
