//! Which servers of this user run now, and where they listen: a file each in the home, locked for as long as the server
//! runs, so that a killed server is not listed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::home::{Home, HomeError, open_regular};

const PREFIX: &str = "server.";

/// What a running server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerEntry {
    /// Where it listens, as a client writes it.
    pub addresses: Vec<String>,
    /// Its root, as an absolute path; `None`: that is not UTF-8.
    pub root: Option<String>,
    /// What it does with HTTP; `None`: it does not serve it.
    pub http: Option<ServerHttp>,
}

/// What a running server does with HTTP.
#[expect(clippy::struct_excessive_bools, reason = "each is a decision of its own")]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHttp {
    /// Whether it takes uploads, from those who may write.
    pub uploads: bool,
    /// Whether it lets them change what is there.
    pub modifies: bool,
    /// Whether it shows nothing.
    pub is_drop_box: bool,
    /// Whether it redirects plain requests to TLS.
    pub requires_tls: bool,
    /// Whether it has a certificate for browsers.
    pub has_certificate: bool,
    /// Names that its operator has given it.
    pub hosts: Vec<String>,
}

/// A running server's entry; dropping it removes the entry.
#[derive(Debug)]
pub struct RunningServer {
    path: PathBuf,
    _locked: File,
}

impl RunningServer {
    /// Records what this process serves, and where.
    ///
    /// # Errors
    /// The disk refused.
    pub fn announce(home: &Home, entry: &ServerEntry) -> Result<Self, HomeError> {
        // Under the lock: a reader between the two steps would take the entry for a dead server's.
        let _lock = home.lock()?;
        let path = home.join(&format!("{PREFIX}{}", std::process::id()));
        let failed = |source| HomeError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path).map_err(failed)?;
        file.lock().and_then(|()| file.write_all(&serde_json::to_vec(entry).unwrap_or_default())).map_err(failed)?;
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

/// The addresses of all servers of this user that run now.
///
/// # Errors
/// The home cannot be read.
pub fn running(home: &Home) -> Result<Vec<String>, HomeError> {
    Ok(entries(home)?.into_iter().flat_map(|entry| entry.addresses).collect())
}

/// All servers of this user that run now; entries of dead servers are removed.
///
/// # Errors
/// The home cannot be read.
pub fn entries(home: &Home) -> Result<Vec<ServerEntry>, HomeError> {
    let failed = |source| HomeError::Io { path: home.path().to_owned(), source };
    let _lock = home.lock()?;
    let mut entries = Vec::new();
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
                // One that cannot be read is of a server of another version.
                entries.extend(serde_json::from_slice::<ServerEntry>(&text).ok());
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Ok(entries)
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
        let entry = RunningServer::announce(
            &home,
            &ServerEntry {
                addresses: vec!["127.0.0.1:1".into(), "[::1]:1".into()],
                root: Some("/srv".into()),
                http: Some(ServerHttp { uploads: true, ..ServerHttp::default() }),
            },
        )
        .unwrap();
        // A killed server's file, which no process has locked.
        std::fs::write(home.join("server.1"), "10.0.0.1:1").unwrap();
        assert_eq!(running(&home).unwrap(), ["127.0.0.1:1", "[::1]:1"]);
        assert!(!home.join("server.1").exists());
        assert!(entries(&home).unwrap()[0].http.as_ref().unwrap().uploads);
        drop(entry);
        assert_eq!(running(&home).unwrap(), [""; 0]);
    }
}
