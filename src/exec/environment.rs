//! The environment of a command: a few variables of the server's own, those that its client sends, and the peer's name.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use super::descendants::MARKER_NAME;

/// Variables of the server's own environment that are passed on, where they are set.
pub const PASSED: [&str; 4] = ["PATH", "HOME", "USER", "LANG"];
/// The variable that names the peer.
pub const PEER_NAME: &str = "LANDLINE_PEER";
/// The variable that holds the command that the client sent, where a forced command runs instead.
pub const ORIGINAL_COMMAND: &str = "LANDLINE_ORIGINAL_COMMAND";
/// Where programs are looked for if the server's environment does not say (POSIX's `getconf PATH`, and the local ones).
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Variables that only the server sets.
const OURS: [&str; 3] = [PEER_NAME, MARKER_NAME, ORIGINAL_COMMAND];

/// A variable cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadVariable {
    /// No `=`, or nothing before it.
    #[error("{0:?} is no NAME=VALUE")]
    NoPair(OsString),
    /// The variable is one that only the server sets.
    #[error("{0} is set by the server")]
    Ours(&'static str),
}

/// The environment of one command.
#[derive(Debug, Clone)]
pub struct Environment {
    pairs: Vec<(OsString, OsString)>,
    /// The marker by which all processes that it starts can be found.
    pub marker: String,
}

impl Environment {
    /// The environment that every command of `peer` gets.
    pub fn of(peer: &str) -> Self {
        let mut pairs: Vec<_> = PASSED.iter().filter_map(|name| Some(((*name).into(), env::var_os(name)?))).collect();
        if !pairs.iter().any(|(name, _)| name == "PATH") {
            pairs.push(("PATH".into(), PATH_DEFAULT.into()));
        }
        let marker = random_hex();
        pairs.push((PEER_NAME.into(), peer.into()));
        pairs.push((MARKER_NAME.into(), marker.clone().into()));
        Self { pairs, marker }
    }

    /// Sets [`ORIGINAL_COMMAND`] to the command that the client sent, where a forced command runs instead.
    pub fn set_original(&mut self, command: String) {
        self.pairs.push((ORIGINAL_COMMAND.into(), command.into()));
    }

    /// Adds the client's variables, each `NAME=VALUE`; the last one of a name counts.
    ///
    /// # Errors
    /// One of them is no such pair, or is the server's to set.
    pub fn add(&mut self, variables: impl IntoIterator<Item = OsString>) -> Result<(), BadVariable> {
        for variable in variables {
            let mut halves = variable.as_bytes().splitn(2, |byte| *byte == b'=').map(OsStr::from_bytes);
            let (name, value) = match (halves.next(), halves.next()) {
                (Some(name), Some(value)) if !name.is_empty() => (name.to_owned(), value.to_owned()),
                _ => return Err(BadVariable::NoPair(variable)),
            };
            check_name(&name)?;
            self.pairs.retain(|(known, _)| *known != name);
            self.pairs.push((name, value));
        }
        Ok(())
    }

    /// Replaces the environment of `command` with this one.
    pub fn give(&self, command: &mut Command) {
        command.env_clear().envs(self.pairs.iter().map(|(name, value)| (name, value)));
    }

    /// Where a program is, as execvp(3) looks for it; but not in the present directory, which its client chose. The
    /// standard library would look along the server's own PATH, or would have to fork for another.
    ///
    /// # Errors
    /// It is nowhere, or only where it may not be executed.
    pub fn find(&self, program: &OsStr) -> io::Result<PathBuf> {
        if program.as_bytes().contains(&b'/') {
            return Ok(program.into());
        }
        let path = self.pairs.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
        let mut error = io::ErrorKind::NotFound;
        for directory in env::split_paths(path.unwrap_or_default()).filter(|directory| directory.is_absolute()) {
            match executable(&directory.join(program)) {
                Ok(found) => return Ok(found),
                Err(io::ErrorKind::PermissionDenied) => error = io::ErrorKind::PermissionDenied,
                Err(_) => {}
            }
        }
        Err(error.into())
    }
}

fn executable(path: &Path) -> Result<PathBuf, io::ErrorKind> {
    let metadata = fs::metadata(path).map_err(|error| error.kind())?;
    let is_executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    if is_executable { Ok(path.to_owned()) } else { Err(io::ErrorKind::PermissionDenied) }
}

/// Whether a client may name this variable, its value aside.
///
/// # Errors
/// It has no name, or is the server's to set.
pub fn check_name(variable: &OsStr) -> Result<(), BadVariable> {
    let name = variable.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
    if name.is_empty() {
        return Err(BadVariable::NoPair(variable.to_owned()));
    }
    OURS.into_iter().find(|ours| name == ours.as_bytes()).map_or(Ok(()), |ours| Err(BadVariable::Ours(ours)))
}

/// The login shell of the server's user: `SHELL` of the server's environment, else the shell in `passwd(5)`, else
/// `/bin/sh`.
pub fn login_shell() -> OsString {
    let from_file = || {
        let text = fs::read("/etc/passwd").ok()?;
        let own = rustix::process::getuid().as_raw().to_string();
        let shell = text.split(|byte| *byte == b'\n').find_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            (fields.nth(2)? == own.as_bytes()).then(|| fields.nth(3))?
        })?;
        Some(OsStr::from_bytes(shell).to_owned())
    };
    let is_path = |shell: &OsString| Path::new(shell).is_absolute();
    let shell = env::var_os("SHELL").filter(is_path).or_else(|| from_file().filter(is_path));
    shell.unwrap_or_else(|| "/bin/sh".into())
}

/// 32 hexadecimal digits, different for each command.
fn random_hex() -> String {
    let random = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_of_a_name_counts_and_ours_are_ours() {
        let mut environment = Environment::of("ann");
        environment.add(["A=1", "B=x=y", "A=2", "E="].map(OsString::from)).unwrap();
        let value =
            |name: &str| environment.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        assert_eq!((value("A"), value("B"), value("E")), (Some("2".into()), Some("x=y".into()), Some("".into())));
        assert_eq!(value(PEER_NAME), Some("ann".into()));
        for (word, why) in [
            ("", BadVariable::NoPair("".into())),
            ("A", BadVariable::NoPair("A".into())),
            ("=1", BadVariable::NoPair("=1".into())),
            ("LANDLINE_PEER=root", BadVariable::Ours(PEER_NAME)),
            ("LANDLINE_COMMAND=", BadVariable::Ours(MARKER_NAME)),
            ("LANDLINE_ORIGINAL_COMMAND=ls", BadVariable::Ours(ORIGINAL_COMMAND)),
        ] {
            assert_eq!(environment.clone().add([word.into()]), Err(why));
        }
        assert_ne!(Environment::of("ann").marker, environment.marker);
        assert_eq!(environment.marker.len(), 32);
    }

    #[test]
    fn programs_are_found_where_the_path_says() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("run", 0o755), ("read", 0o644)] {
            fs::write(dir.path().join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(dir.path().join("dir")).unwrap();
        let mut environment = Environment::of("ann");
        environment.add([format!("PATH=relative::/nowhere:{}", dir.path().display()).into()]).unwrap();
        let find = |name: &str| environment.find(OsStr::new(name)).map_err(|error| error.kind());
        assert_eq!(find("run"), Ok(dir.path().join("run")));
        assert_eq!(find("read"), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(find("dir"), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(find("missing"), Err(io::ErrorKind::NotFound));
        assert_eq!(find("./x"), Ok("./x".into()));
    }
}
