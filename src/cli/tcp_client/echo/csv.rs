//! `--csv`: a line for each interval, written as they pass, so that they are there if this machine fails.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use super::args::Figure;
use crate::cli::usage::usage;
use crate::echo::tally::Interval;
use crate::error::{Error, Result};
use crate::session::millis;

/// Lines of one file: 11 days of seconds, about 150 MB.
const CSV_LINES_MAX: u64 = 1_000_000;

/// A file of lines.
#[derive(Debug)]
pub(super) struct CsvFile {
    path: String,
    file: File,
    has_uncorrected: bool,
    lines: u64,
}

impl CsvFile {
    /// Sees whether `path` may be written: a measurement cannot be had again, so no file is replaced.
    ///
    /// # Errors
    /// There is a file.
    pub(super) fn check(path: &Path) -> anyhow::Result<()> {
        match path.symlink_metadata() {
            Ok(_) if !is_stream(path) => {
                Err(usage(format!("{}: exists; name another file for --csv, or remove it first", path.display())))
            }
            _ => Ok(()),
        }
    }

    /// Makes the file, and writes its first line.
    ///
    /// # Errors
    /// It cannot be made, or is there by now.
    pub(super) fn create(path: &Path, has_uncorrected: bool) -> Result<Self> {
        let shown = path.to_string_lossy().into_owned();
        let mut options = File::options();
        options.write(true).create_new(!is_stream(path));
        let file = options.open(path).map_err(Error::ours(shown.clone()))?;
        let mut csv = Self { path: shown, file, has_uncorrected, lines: 0 };
        csv.write(&heading(has_uncorrected))?;
        Ok(csv)
    }

    /// Writes what an interval has brought.
    ///
    /// # Errors
    /// It cannot be written, or the file is as long as one may be.
    pub(super) fn add(&mut self, interval: &Interval<'_>) -> Result<()> {
        self.lines += 1;
        if self.lines > CSV_LINES_MAX {
            let full = format!("has {CSV_LINES_MAX} lines, which is the limit; choose a longer interval");
            return Err(Error::ours(self.path.clone())(std::io::Error::other(full)));
        }
        self.write(&line(interval, self.has_uncorrected))
    }

    /// Waits until the lines are on the disk.
    ///
    /// # Errors
    /// They cannot be.
    pub(super) fn finish(self) -> Result<()> {
        match self.file.sync_all() {
            // A device has no disk.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
            synced => synced.map_err(Error::ours(self.path)),
        }
    }

    fn write(&mut self, line: &str) -> Result<()> {
        self.file.write_all(line.as_bytes()).map_err(Error::ours(self.path.clone()))
    }
}

/// A device or a pipe, which is written as it is.
fn is_stream(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| {
        let kind = found.file_type();
        kind.is_char_device() || kind.is_fifo()
    })
}

fn heading(has_uncorrected: bool) -> String {
    let prefixes = if has_uncorrected { &["", "uncorrected_"][..] } else { &[""] };
    let figures = prefixes.iter().flat_map(|prefix| Figure::ALL.map(|figure| format!("{prefix}{}_ms", figure.key())));
    let counts = ["from_s", "until_s", "round_trips", "sent_bytes", "received_bytes"].map(str::to_owned);
    let columns: Vec<String> = counts.into_iter().chain(figures).collect();
    columns.join(",") + "\n"
}

fn line(interval: &Interval<'_>, has_uncorrected: bool) -> String {
    let Interval { from, until, tally } = interval;
    let times = [Some(&tally.round_trips), Some(&tally.uncorrected).filter(|_| has_uncorrected)];
    // A time that there is not is an empty column.
    let shown = |time: Option<Duration>| time.map(|time| millis(time).to_string()).unwrap_or_default();
    let figures = times.into_iter().flatten().flat_map(|times| Figure::ALL.map(|figure| shown(figure.of(times))));
    let [from, until] = [from, until].map(|time| format!("{:.6}", time.as_secs_f64()));
    let counts = [tally.round_trips.count(), tally.sent_bytes, tally.received_bytes].map(|count| count.to_string());
    let columns: Vec<String> = [from, until].into_iter().chain(counts).chain(figures).collect();
    columns.join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::tally::Tally;

    #[test]
    fn every_line_has_as_many_columns_as_the_first() {
        let mut tally = Tally::default();
        let columns = |text: &str| text.trim_end().split(',').count();
        for has_uncorrected in [false, true] {
            for _ in 0..2 {
                let interval = Interval { from: Duration::ZERO, until: Duration::from_millis(1500), tally: &tally };
                let line = line(&interval, has_uncorrected);
                assert_eq!(columns(&line), columns(&heading(has_uncorrected)), "{line}");
                assert!(line.starts_with("0.000000,1.500000,"), "{line}");
                tally.round_trips.record(Duration::from_micros(1250));
                tally.uncorrected.record(Duration::from_micros(250));
            }
            tally.clear();
        }
    }

    #[test]
    fn no_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (there, new) = (dir.path().join("there"), dir.path().join("new"));
        std::fs::write(&there, "old").unwrap();
        assert!(CsvFile::check(&there).is_err() && CsvFile::create(&there, false).is_err());
        let dangling = dir.path().join("dangling");
        std::os::unix::fs::symlink(&new, &dangling).unwrap();
        assert!(CsvFile::check(&dangling).is_err() && CsvFile::create(&dangling, false).is_err());
        CsvFile::check(&new).unwrap();
        CsvFile::create(&new, false).unwrap().finish().unwrap();
        assert_eq!(std::fs::read_to_string(&new).unwrap(), heading(false));
        CsvFile::check(Path::new("/dev/null")).unwrap();
        CsvFile::create(Path::new("/dev/null"), true).unwrap().finish().unwrap();
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "old");
    }
}
