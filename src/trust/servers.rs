//! Which servers of this user run now, and where they listen: a file each in the home, locked for as long as the server
//! runs, so that a killed server is not listed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::home::{Home, HomeError, open_regular};

const PREFIX: &str = "server.";

/// A running server's entry; dropping it removes the entry.
#[derive(Debug)]
pub struct RunningServer {
    path: PathBuf,
    _locked: File,
}

impl RunningServer {
    /// Records that this process serves on `addresses`.
    ///
    /// # Errors
    /// The disk refused.
    pub fn announce(home: &Home, addresses: &[String]) -> Result<Self, HomeError> {
        // Under the lock: a reader between the two steps would take the entry for a dead server's.
        let _lock = home.lock()?;
        let path = home.join(&format!("{PREFIX}{}", std::process::id()));
        let failed = |source| HomeError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path).map_err(failed)?;
        file.lock().and_then(|()| file.write_all(addresses.join("\n").as_bytes())).map_err(failed)?;
        Ok(Self { path, _locked: file })
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        if let Err(error) = super::home::remove_file(&self.path) {
            tracing::debug!(%error, "this server's entry was gone already");
        }
    }
}

/// The addresses of all servers of this user that run now; entries of dead servers are removed.
///
/// # Errors
/// The home cannot be read.
pub fn running(home: &Home) -> Result<Vec<String>, HomeError> {
    let failed = |source| HomeError::Io { path: home.path().to_owned(), source };
    let _lock = home.lock()?;
    let mut addresses = Vec::new();
    for entry in std::fs::read_dir(home.path()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // A server that has ended meanwhile is not listed.
        let Ok(file) = open_regular(&entry.path()) else { continue };
        match file.try_lock_shared() {
            Ok(()) => home.remove(&name.to_string_lossy())?,
            Err(TryLockError::WouldBlock) => {
                let text = home.read(&name.to_string_lossy())?.unwrap_or_default();
                addresses.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn who_runs_is_listed_and_who_was_killed_is_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let home = Home::open(Some(dir.path())).unwrap();
        assert_eq!(running(&home).unwrap(), [""; 0]);
        let entry = RunningServer::announce(&home, &["127.0.0.1:1".into(), "[::1]:1".into()]).unwrap();
        // A killed server's file, which no process has locked.
        std::fs::write(home.join("server.1"), "10.0.0.1:1").unwrap();
        assert_eq!(running(&home).unwrap(), ["127.0.0.1:1", "[::1]:1"]);
        assert!(!home.join("server.1").exists());
        drop(entry);
        assert_eq!(running(&home).unwrap(), [""; 0]);
    }
}
