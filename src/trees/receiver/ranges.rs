//! What is wanted, as the lines of a `want`: neighbours share one.

use crate::error::Result;
use crate::trees::body::{Wanted, write_line};

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
        self.open = Some(Wanted::plain(entry));
        Ok(())
    }

    /// Adds an entry whose line has more than a number.
    pub(super) fn add_with(&mut self, wanted: &Wanted) -> Result<()> {
        self.close()?;
        write_line(wanted, &mut self.body)
    }

    fn close(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), |range| write_line(&range, &mut self.body))
    }

    pub(super) fn take(&mut self) -> Result<Vec<u8>> {
        self.close()?;
        Ok(std::mem::take(&mut self.body))
    }
}
