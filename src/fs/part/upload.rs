//! An upload: a part that its sender names by a token, and goes on with in another request, perhaps after days and to
//! a server that was restarted meanwhile.
//!
//! All that belongs to it is in its record from the beginning. Who has the token has the upload: the token has 128
//! random bits, and the home knows a digest of it only. What its sender was told that the server has, the server has
//! after a power cut too: the bytes are synced first, and the record says how many they are.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::sync::{Arc, OnceLock};

use cap_std::fs::Dir;
use rustix::rand::GetRandomFlags;
use serde::{Deserialize, Serialize};

use super::attributes::{Preserved, first_mode, mode_of};
use super::records::{PartRecord, Records};
use super::resume::{Leftover, open_part};
use super::{Part, Parts, lock};
use crate::fs::digest::Digest;
use crate::fs::unix::identity_of;
use crate::fs::{Error, ErrorKind, Result};

/// Bytes of an upload after which it is synced while more come: a power cut takes no more than this many.
const SYNCED_STEP: u64 = 1024 * 1024 * 1024;

/// What a record has of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// A digest of the token.
    pub(super) key: String,
    /// Bytes of the whole; `None`: its sender has not said.
    pub length: Option<u64>,
    /// What the receiver has to know when it is whole; in words of the receiver's own.
    pub finish_conditions: String,
    /// Bytes that are on the disk for certain.
    synced: u64,
    /// Since when this machine runs: what was written and not synced is there until it stops.
    boot: String,
}

impl UploadRecord {
    /// By what its token is known here.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// An upload that begins.
#[derive(Debug, Clone, Copy)]
pub struct NewUpload<'u> {
    /// Whose it is; see [`quota`](super::quota).
    pub owner: &'u str,
    /// Bytes of the whole; `None`: not known yet.
    pub length: Option<u64>,
    /// What the receiver has to know when it is whole.
    pub finish_conditions: &'u str,
}

impl Parts {
    /// Begins an upload that is to become `target` in `dir`; returns its token, too.
    ///
    /// # Errors
    /// Its owner has too many, the directory cannot be written, or the disk is full.
    pub fn create_upload(
        self: &Arc<Self>,
        dir: Arc<Dir>,
        target: &OsStr,
        preserved: Preserved,
        new: &NewUpload<'_>,
    ) -> Result<(String, Part)> {
        let records = self.records_or_refuse()?;
        let token = random_token().map_err(io::Error::from)?;
        let mode = first_mode(mode_of(&dir, target, preserved));
        let mut part = self.make(dir, target, mode)?;
        lock(&part.file);
        let mut record = PartRecord::new(new.owner, &*part.dir, (&part.name, target), &part.file)?;
        let (key, boot) = (key_of(&token), boot_id().to_owned());
        let finish_conditions = new.finish_conditions.to_owned();
        record.upload = Some(UploadRecord { key, length: new.length, finish_conditions, synced: 0, boot });
        write(&records, &record)?;
        (part.record, part.is_kept) = (Some(record), true);
        Ok((token, part))
    }

    /// The upload of this token; `None`: there is none, or none any more.
    pub fn upload(&self, token: &str) -> Option<PartRecord> {
        let is_token = token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_token {
            return None;
        }
        let record = self.records()?.of_key(&key_of(token))?;
        record.upload.is_some().then_some(record)
    }

    /// Goes on with an upload whose directory is `dir`; `None`: it is not there any more, or is held.
    ///
    /// # Errors
    /// The disk failed.
    pub fn resume_upload(self: &Arc<Self>, dir: Arc<Dir>, record: PartRecord) -> Result<Option<Part>> {
        if identity_of(&*dir)? != (record.dir_dev, record.dir_ino) {
            return Ok(None);
        }
        let Some(upload) = &record.upload else { return Ok(None) };
        let Some((file, mut len)) = open_part(&dir, &record) else { return Ok(None) };
        // Of what was not synced when the machine stopped nothing is certain.
        if upload.boot != boot_id() && len > upload.synced {
            file.set_len(upload.synced)?;
            len = upload.synced;
        }
        if len < upload.synced {
            // Something else has cut it: what its sender was told is not true any more.
            return Ok(None);
        }
        Ok(Some(self.resume_unhashed(Leftover { dir, record, file, len })?))
    }

    /// Removes an upload that nothing holds; whether it was removed.
    pub fn cancel_upload(&self, record: &PartRecord) -> bool {
        self.records().is_some_and(|records| records.remove_part(record))
    }

    fn records_or_refuse(&self) -> Result<Arc<Records>> {
        let why = "nothing unfinished is kept here; send it in one request";
        self.records().cloned().ok_or_else(|| Error::new(ErrorKind::Other, why))
    }
}

impl Part {
    /// Whether it is one that a token names.
    pub fn is_upload(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.upload.is_some())
    }

    /// What its record says of the upload; `None`: it is none.
    pub fn upload(&self) -> Option<&UploadRecord> {
        self.record.as_ref()?.upload.as_ref()
    }

    /// Bytes that an upload is to have, as its sender has said by now.
    pub fn set_upload_length(&mut self, length: Option<u64>) {
        if let Some(upload) = self.record.as_mut().and_then(|record| record.upload.as_mut()) {
            upload.length = length;
        }
    }

    /// What has come is on the disk, and on record: its sender may be told so.
    ///
    /// # Errors
    /// The disk failed, or there is no room for the record any more.
    pub fn acknowledge(&mut self) -> Result<()> {
        rustix::fs::fdatasync(&self.file)?;
        let len = self.size();
        let (Some(records), Some(record)) = (self.parts.records().cloned(), self.record.as_mut()) else {
            return Ok(());
        };
        let mut synced = record.clone();
        if let Some(upload) = &mut synced.upload {
            (upload.synced, upload.boot) = (len, boot_id().to_owned());
        }
        write(&records, &synced)?;
        // Not before: what is not on record is not kept.
        *record = synced;
        Ok(())
    }

    /// As [`acknowledge`](Self::acknowledge), for one whose sender is gone; whether it is kept.
    pub(super) fn sync_upload(&mut self) -> bool {
        if self.upload().is_some_and(|upload| upload.synced == self.size()) {
            return true;
        }
        self.acknowledge().inspect_err(|error| tracing::warn!(%error, "an upload could not be synced")).is_ok()
    }

    /// Syncs an upload that is long behind the last sync.
    pub(super) fn sync_step(&mut self) {
        if self.upload().is_some_and(|upload| self.size().saturating_sub(upload.synced) >= SYNCED_STEP) {
            self.sync_upload();
        }
    }

    /// Takes back what came behind the first `len` bytes.
    ///
    /// # Errors
    /// The disk failed.
    pub fn cut_to(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.seek(SeekFrom::Start(len))?;
        self.digest = Digest::length_only(len);
        Ok(())
    }

    /// Nothing of it is to be kept.
    pub fn discard(mut self) {
        self.is_kept = false;
    }

    /// Its record; `None`: it is not on record.
    pub const fn record(&self) -> Option<&PartRecord> {
        self.record.as_ref()
    }

    /// The directory in which it is.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The file, for those who hash it again.
    pub const fn file(&self) -> &File {
        &self.file
    }
}

/// Writes the record of an upload.
fn write(records: &Records, record: &PartRecord) -> Result<()> {
    if records.write(record)? {
        return Ok(());
    }
    let why = "has as many unfinished uploads as are kept; finish or cancel one";
    Err(Error::new(ErrorKind::TooMany, why).about(&record.owner))
}

/// 128 random bits, in hexadecimal digits.
fn random_token() -> rustix::io::Result<String> {
    let mut bits = [0; 16];
    let mut filled = 0;
    while let Some(rest) = bits.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, GetRandomFlags::empty())?;
    }
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}

/// What the home has in place of a token: who reads the home does not get the upload's URL.
pub fn key_of(token: &str) -> String {
    let digest = blake3::derive_key("landline 2026-11 token of an upload", token.as_bytes());
    digest.iter().take(16).fold(String::new(), |key, byte| format!("{key}{byte:02x}"))
}

/// What the system calls the time since it was started; the empty text where it does not say.
fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::part::Checksum;
    use crate::fs::part::records::PARTS_DIR;
    use crate::fs::part::tests::{PLAIN, names, opened};

    fn parts(home: &tempfile::TempDir) -> Arc<Parts> {
        // A guest has no owner; an upload has one of its own.
        Parts::new(Some(Arc::new(Records::open(home.path().join(PARTS_DIR)).unwrap())), None)
    }

    fn begin(home: &tempfile::TempDir, dir: &tempfile::TempDir) -> (String, Part) {
        let new = NewUpload { owner: "guest 192.0.2.1", length: Some(10), finish_conditions: "{}" };
        parts(home).create_upload(opened(dir), OsStr::new("target"), PLAIN, &new).unwrap()
    }

    #[test]
    fn an_upload_goes_on_after_a_restart_and_becomes_its_file() {
        let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (token, mut part) = begin(&home, &dir);
        part.write(b"hello").unwrap();
        let other = parts(&home);
        let record = other.upload(&token).unwrap();
        assert!(other.resume_upload(opened(&dir), record).unwrap().is_none(), "it is held");
        drop(part);
        let record = other.upload(&token).unwrap();
        assert_eq!((record.upload.as_ref().unwrap().synced, record.upload.as_ref().unwrap().length), (5, Some(10)));
        assert_eq!(other.upload(&"0".repeat(32)), None);
        assert_eq!(other.upload("../../x"), None);
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(other.resume_upload(opened(&elsewhere), record.clone()).unwrap().is_none());
        let mut part = other.resume_upload(opened(&dir), record).unwrap().unwrap();
        assert_eq!(part.size(), 5);
        part.write(b"xxxxx").unwrap();
        part.cut_to(5).unwrap();
        part.write(b"world").unwrap();
        part.publish(Checksum { size: 10, blake3: None }, PLAIN).unwrap();
        assert_eq!(std::fs::read(dir.path().join("target")).unwrap(), b"helloworld");
        assert_eq!((names(&dir).len(), other.upload(&token)), (1, None));
    }

    #[test]
    fn one_that_is_empty_is_kept_and_one_that_is_discarded_is_not() {
        let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (token, part) = begin(&home, &dir);
        drop(part);
        let parts = parts(&home);
        let record = parts.upload(&token).unwrap();
        parts.resume_upload(opened(&dir), record).unwrap().unwrap().discard();
        assert_eq!((parts.upload(&token), names(&dir).len()), (None, 0));
    }

    #[test]
    fn what_is_not_on_record_is_not_acknowledged() {
        let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (token, mut part) = begin(&home, &dir);
        let other = begin(&home, &dir).1;
        part.write(b"hello").unwrap();
        // Another part is on record in its place: there is no room for this one.
        let path = |part: &Part| home.path().join(PARTS_DIR).join(part.upload().unwrap().key());
        std::fs::copy(path(&other), path(&part)).unwrap();
        assert_eq!(part.acknowledge().unwrap_err().kind(), ErrorKind::TooMany);
        // The home cannot be written.
        let (kept, aside) = (home.path().join(PARTS_DIR), home.path().join("aside"));
        std::fs::rename(&kept, &aside).unwrap();
        part.acknowledge().unwrap_err();
        assert!(!part.sync_upload(), "it is not believed the second time either");
        std::fs::rename(&aside, &kept).unwrap();
        std::fs::remove_file(path(&part)).unwrap();
        assert!(part.sync_upload());
        drop(part);
        assert_eq!(parts(&home).upload(&token).unwrap().upload.unwrap().synced, 5);
    }

    #[test]
    fn after_a_power_cut_only_what_was_synced_counts() {
        let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (token, mut part) = begin(&home, &dir);
        part.write(b"hello").unwrap();
        part.acknowledge().unwrap();
        part.write(b"wo").unwrap();
        part.file.sync_all().unwrap();
        // As a cut leaves it: longer than its record, which is of another time.
        let parts = parts(&home);
        let mut record = parts.upload(&token).unwrap();
        record.upload.as_mut().unwrap().boot = "another".into();
        part.is_over = true;
        drop(part);
        let part = parts.resume_upload(opened(&dir), record.clone()).unwrap().unwrap();
        assert_eq!(part.size(), 5);
        part.file.set_len(4).unwrap();
        drop(part);
        let record = parts.upload(&token).unwrap();
        assert!(parts.resume_upload(opened(&dir), record).unwrap().is_none(), "it became shorter");
    }

    #[test]
    fn what_is_on_record_is_not_swept_with_a_crash_and_goes_when_it_is_old() {
        let (home, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (token, part) = begin(&home, &dir);
        drop(part);
        let parts = parts(&home);
        let records = parts.records().unwrap();
        let day = std::time::Duration::from_hours(24);
        records.sweep(Some(day), None);
        assert!(parts.upload(&token).is_some());
        records.sweep_at(Some(day), None, std::time::SystemTime::now() + 2 * day);
        assert_eq!((parts.upload(&token), names(&dir).len()), (None, 0));
    }
}
