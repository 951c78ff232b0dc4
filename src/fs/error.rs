//! What can go wrong with a file.
//!
//! An error says what kind it is, for programs, and why, for people. What it happened to is said by the part of the
//! library that knows the whole path.

use std::borrow::Cow;
use std::fmt;
use std::io;

use rustix::io::Errno;

/// The result of an operation on files.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation on a file or directory failed, or was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}{}{why}", if .object.is_empty() { "" } else { ": " })]
pub struct Error {
    kind: ErrorKind,
    /// Empty: only the caller knows it.
    object: String,
    why: Cow<'static, str>,
    /// The system's number; `None`: it was not the system that refused.
    errno: Option<i32>,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such file or directory.
    NotFound,
    /// It exists already, or something else stands in its place.
    Exists,
    /// A directory is wanted.
    NotADirectory,
    /// A file is wanted.
    IsADirectory,
    /// It is neither a regular file nor a directory: a device, a pipe or a socket.
    NotAFile,
    /// The directory is not empty.
    NotEmpty,
    /// The system does not permit it to this user.
    Permission,
    /// The root keeps it hidden: the home in which the keys are, or a dot file of a user's home directory.
    Hidden,
    /// It leads out of the root.
    OutsideRoot,
    /// It cannot be a file's name or path.
    BadName,
    /// The name is reserved for unfinished copies.
    ReservedName,
    /// The disk or the quota is full, or the file system takes no file of this size.
    NoSpace,
    /// Another transfer uses it, or it was changed at this moment.
    Busy,
    /// It is not what the sender took it for, or was changed since.
    Changed,
    /// It has more levels, or more of something, than the library takes.
    TooMany,
    /// What arrived is not what was sent.
    Digest,
    /// It cannot be done with this object: a directory moved into itself.
    Invalid,
    /// Anything else.
    Other,
}

impl Error {
    /// A refusal of the library's own, of which the caller knows the object.
    pub fn new(kind: ErrorKind, why: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, object: String::new(), why: why.into(), errno: None }
    }

    /// The same error, which happened to `object`.
    #[must_use]
    pub fn about(self, object: &(impl fmt::Display + ?Sized)) -> Self {
        Self { object: object.to_string(), ..self }
    }

    /// What kind it is.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What it happened to, as people know it; empty if the caller is to say it.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Why it failed, without the object.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The operating system's number for it; `None`: the library refused.
    pub const fn raw_os_error(&self) -> Option<i32> {
        self.errno
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&io::Error> for Error {
    /// An error of ours that went through [`io::Error`] is found in it again.
    fn from(error: &io::Error) -> Self {
        if let Some(own) = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            return own.clone();
        }
        let (kind, why) = meaning(error);
        Self { kind, object: String::new(), why, errno: error.raw_os_error() }
    }
}

impl From<Errno> for Error {
    fn from(error: Errno) -> Self {
        Self::from(&io::Error::from(error))
    }
}

impl From<Error> for io::Error {
    /// What the system said stays what the system said.
    fn from(error: Error) -> Self {
        use ErrorKind as K;
        match error.errno {
            Some(errno) if error.object.is_empty() => Self::from_raw_os_error(errno),
            _ => {
                let kind = match error.kind {
                    K::NotFound => io::ErrorKind::NotFound,
                    K::Exists => io::ErrorKind::AlreadyExists,
                    K::NotADirectory => io::ErrorKind::NotADirectory,
                    K::IsADirectory => io::ErrorKind::IsADirectory,
                    K::NotEmpty => io::ErrorKind::DirectoryNotEmpty,
                    K::Permission | K::Hidden | K::OutsideRoot => io::ErrorKind::PermissionDenied,
                    K::NoSpace => io::ErrorKind::StorageFull,
                    K::Digest => io::ErrorKind::InvalidData,
                    K::NotAFile
                    | K::BadName
                    | K::ReservedName
                    | K::Busy
                    | K::Changed
                    | K::TooMany
                    | K::Invalid
                    | K::Other => io::ErrorKind::Other,
                };
                Self::new(kind, error)
            }
        }
    }
}

/// What the operating system said, in a kind and in words; its number is not part of them.
#[expect(clippy::wildcard_enum_match_arm, reason = "std may name more kinds; they are said as the system says them")]
fn meaning(error: &io::Error) -> (ErrorKind, Cow<'static, str>) {
    use io::ErrorKind as K;
    let (kind, why) = match error.kind() {
        K::NotFound => (ErrorKind::NotFound, "no such file or directory"),
        K::AlreadyExists => (ErrorKind::Exists, "already exists"),
        K::NotADirectory => (ErrorKind::NotADirectory, "not a directory"),
        K::IsADirectory => (ErrorKind::IsADirectory, "is a directory"),
        K::DirectoryNotEmpty => (ErrorKind::NotEmpty, "directory is not empty"),
        // EPERM is said of what not even the owner may do: an immutable file, another user's.
        K::PermissionDenied if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
            (ErrorKind::Permission, "operation not permitted")
        }
        K::PermissionDenied => (ErrorKind::Permission, "permission denied"),
        K::ReadOnlyFilesystem => (ErrorKind::Permission, "read-only file system"),
        K::StorageFull => (ErrorKind::NoSpace, "no space left on the device"),
        K::QuotaExceeded => (ErrorKind::NoSpace, "the disk quota is exceeded"),
        K::FileTooLarge => (ErrorKind::NoSpace, "file too large for the file system"),
        K::InvalidFilename => (ErrorKind::BadName, "file name too long"),
        K::InvalidInput => (ErrorKind::Invalid, "that cannot be done with it (a directory into itself?)"),
        K::CrossesDevices => (ErrorKind::Other, "source and target are on different file systems"),
        _ => return in_its_words(error),
    };
    (kind, Cow::Borrowed(why))
}

/// Everything else that the operating system says, as it says it: "too many open files".
fn in_its_words(error: &io::Error) -> (ErrorKind, Cow<'static, str>) {
    let said = error.to_string();
    let Some((words, _)) = said.rsplit_once(" (os error ").filter(|_| error.raw_os_error().is_some()) else {
        return (ErrorKind::Other, Cow::Borrowed("input/output error"));
    };
    if error.raw_os_error() == Some(Errno::ILSEQ.raw_os_error()) {
        let why = "the file system there cannot hold this name; it takes names in UTF-8";
        return (ErrorKind::BadName, Cow::Borrowed(why));
    }
    let mut words = words.chars();
    let first = words.next().map(|first| first.to_ascii_lowercase());
    (ErrorKind::Other, Cow::Owned(first.into_iter().chain(words).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_passed_on_in_its_own_words() {
        for (errno, kind, why) in [
            (1, ErrorKind::Permission, "operation not permitted"),
            (2, ErrorKind::NotFound, "no such file or directory"),
            (5, ErrorKind::Other, "input/output error"),
            (13, ErrorKind::Permission, "permission denied"),
            (16, ErrorKind::Other, "device or resource busy"),
            (17, ErrorKind::Exists, "already exists"),
            (18, ErrorKind::Other, "source and target are on different file systems"),
            (20, ErrorKind::NotADirectory, "not a directory"),
            (22, ErrorKind::Invalid, "that cannot be done with it (a directory into itself?)"),
            (23, ErrorKind::Other, "too many open files in system"),
            (24, ErrorKind::Other, "too many open files"),
            (28, ErrorKind::NoSpace, "no space left on the device"),
            (30, ErrorKind::Permission, "read-only file system"),
            (36, ErrorKind::BadName, "file name too long"),
            (40, ErrorKind::Other, "too many levels of symbolic links"),
            (84, ErrorKind::BadName, "the file system there cannot hold this name; it takes names in UTF-8"),
            (122, ErrorKind::NoSpace, "the disk quota is exceeded"),
        ] {
            let error = Error::from(io::Error::from_raw_os_error(errno));
            assert_eq!((error.kind(), error.why()), (kind, why), "{errno}");
            assert_eq!(error.clone().about("a/b").to_string(), format!("a/b: {why}"));
            assert_eq!(io::Error::from(error).raw_os_error(), Some(errno));
        }
    }

    #[test]
    fn an_error_of_ours_survives_the_way_through_the_standard_librarys() {
        let own = Error::new(ErrorKind::ReservedName, "choose another");
        assert_eq!(own.to_string(), "choose another");
        assert_eq!(Error::from(io::Error::from(own.clone())), own);
        let about = Error::from(io::Error::from_raw_os_error(2)).about("x");
        let error = io::Error::from(about.clone());
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::NotFound, "x: no such file or directory")
        );
        assert_eq!(Error::from(error), about);
        // Words of others are no message for the other end.
        assert_eq!(Error::from(io::Error::other("private")).why(), "input/output error");
    }
}
