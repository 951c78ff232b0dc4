//! What is wanted, as the lines of a `want`: neighbours share one.

use crate::trees::body::{Wanted, write_line};
use crate::wire::error::Result;

/// The lines of a `want` that is being made.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    body: Vec<u8>,
    open: Option<Wanted>,
}

impl Ranges {
    pub(super) fn add(&mut self, entry: u32) -> Result<()> {
        if let Some(range) = &mut self.open
            && range.first.saturating_add(range.count) == entry
        {
            range.count += 1;
            return Ok(());
        }
        self.close()?;
        self.open = Some(Wanted { first: entry, count: 1, offset: None, blake3: None });
        Ok(())
    }

    pub(super) fn add_part(&mut self, entry: u32, offset: u64, blake3: String) -> Result<()> {
        self.close()?;
        write_line(&Wanted { first: entry, count: 1, offset: Some(offset), blake3: Some(blake3) }, &mut self.body)
    }

    pub(super) fn add_digest(&mut self, entry: u32, blake3: String) -> Result<()> {
        self.close()?;
        write_line(&Wanted { first: entry, count: 1, offset: None, blake3: Some(blake3) }, &mut self.body)
    }

    fn close(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), |range| write_line(&range, &mut self.body))
    }

    pub(super) fn take(&mut self) -> Result<Vec<u8>> {
        self.close()?;
        Ok(std::mem::take(&mut self.body))
    }
}
