//! Standard input, output and error as our programs use them: whole, also where the program's parent has handed them
//! down non-blocking. Then a read or a write that finds no room waits, where the standard library would
//! fail or lose bytes.

use std::io::{self, BufRead as _, Read, StderrLock, StdinLock, StdoutLock, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Symlinks that are followed for one path, as Linux does.
const LINKS_MAX: usize = 40;

/// The object's name in errors of writing to standard output.
pub const STDOUT: &str = "standard output";

/// One of the three.
#[derive(Debug)]
pub struct Standard<L>(L);

/// Standard input, for bytes.
pub fn input() -> Standard<StdinLock<'static>> {
    Standard(io::stdin().lock())
}

/// Standard output; nothing stays in a buffer.
pub fn output() -> Standard<StdoutLock<'static>> {
    Standard(io::stdout().lock())
}

/// Standard error.
pub fn errors() -> Standard<StderrLock<'static>> {
    Standard(io::stderr().lock())
}

/// An open descriptor that a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptor {
    /// Our standard output.
    Output,
    /// Another one, or another process's.
    Other,
}

/// The descriptor that `path` stands for (`/dev/stdout`, `/dev/fd/1`, `/proc/self/fd/1`); `None`: it is a path like
/// others. A file that is renamed to such a path would replace the file that is open there.
pub fn descriptor(path: &Path) -> Option<Descriptor> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let above = path.parent()?.canonicalize().ok()?;
        let name = path.file_name()?;
        if above.starts_with("/proc") && above.file_name().is_some_and(|name| name == "fd") {
            let is_own = above.starts_with(format!("/proc/{}", std::process::id()));
            return Some(if is_own && name == "1" { Descriptor::Output } else { Descriptor::Other });
        }
        path = above.join(above.join(name).read_link().ok()?);
    }
    None
}

/// The next line of standard input, its end included; nothing: there is none.
///
/// # Errors
/// It cannot be read.
pub fn read_line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    patiently(|| io::stdin().lock().read_until(b'\n', &mut line))?;
    Ok(line)
}

/// The same as text, for answers.
///
/// # Errors
/// As [`read_line`].
pub fn read_text_line() -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read_line()?).into_owned())
}

/// Calls `read`, which reads standard input into what it keeps, until it does not fail any more for want of input.
///
/// # Errors
/// As `read`.
pub fn patiently<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(&rustix::stdio::stdin(), PollFlags::IN)?,
            read => return read,
        }
    }
}

impl Read for Standard<StdinLock<'_>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        patiently(|| self.0.read(buffer))
    }
}

impl<L: AsFd> Write for Standard<L> {
    /// Past the standard library's buffer, which cannot tell what of a failed write has left.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(&self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(to: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(to, bytes) {
            Err(Errno::AGAIN) => wait(to, PollFlags::OUT)?,
            Err(Errno::INTR) => {}
            written => return Ok(written?),
        }
    }
}

fn wait(on: &impl AsFd, what: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(on, what)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::thread;

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

    #[test]
    fn paths_of_descriptors_are_told_from_paths_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let [link, file] = ["link", "fd"].map(|name| dir.path().join(name));
        std::os::unix::fs::symlink("/dev/stdout", &link).unwrap();
        std::fs::write(&file, "").unwrap();
        let of = |path: &str| descriptor(Path::new(path));
        for path in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1", link.to_str().unwrap()] {
            assert_eq!(of(path), Some(Descriptor::Output), "{path}");
        }
        for path in ["/dev/stderr", "/dev/fd/0", "/proc/1/fd/1"] {
            // What belongs to others may be hidden.
            assert!(of(path).is_none_or(|found| found == Descriptor::Other), "{path}");
        }
        for path in ["/dev/null", "x", "/", ".", "..", "/nowhere/fd/1", file.to_str().unwrap()] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn what_finds_no_room_waits_for_it() {
        let (mut reading, writing) = pipe().unwrap();
        fcntl_setfl(&writing, OFlags::WRONLY | OFlags::NONBLOCK).unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let wanted = sent.clone();
        let sending = thread::spawn(move || Standard(writing).write_all(&sent));
        let mut read = vec![0; wanted.len()];
        reading.read_exact(&mut read).unwrap();
        sending.join().unwrap().unwrap();
        assert!(read == wanted);
    }
}
