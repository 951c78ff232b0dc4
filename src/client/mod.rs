//! A client: connects to a host by name, with an encrypted connection and a pinned key, and sends requests.
//!
//! [`Client`] has the usual requests as methods. For more, use the [`Connection`] and the functions of each module:
//! [`echo`](crate::echo), [`dir`], [`files`], [`trees`], [`exec`](crate::exec),
//! [`chat`](crate::chat).

mod connector;
mod error;
mod host;
mod local;

use std::path::Path;
use std::sync::Arc;

pub use self::connector::{
    AskAbout, CONNECT_TIMEOUT, Connector, Decision, Step, UnknownServer, connect_unix, handshake,
};
pub use self::error::{ConnectError, NotTrusted};
pub use self::host::{Dialled, Port, known_names, resolve};
pub use self::local::{create_part, open_file};
use crate::chat::{ChatRequest, Stay, call_chat};
use crate::connection::Connection;
use crate::dir::{self, DirEntry};
use crate::echo::call_echo;
use crate::error::{Error, Refusal, Result};
use crate::exec::process::Work;
use crate::exec::{Call, CommandEnd, call_exec};
use crate::files::{self, Upload, call_get, call_put};
use crate::fs::part::Parts;
use crate::fs::part::records::{PARTS_DIR, Records};
use crate::net::Address;
use crate::trees::destination::{Destination, Shape};
use crate::trees::filter::{Filter, Selection};
use crate::trees::walk::{Named, Walk, WalkOptions};
use crate::trees::{self, PathText, Pull, Push, Tally, TreeEvent, TreeUpload, WriteOptions, call_pull, call_push};
use crate::trust::Owner;
use crate::trust::home::Home;
use crate::wire::message::{Channel, ChatOptions, Outcome};

/// Longest output of a command that [`Client::run`] returns, both streams together: 64 MiB. [`Client::run_with`] has no
/// limit, since it keeps nothing.
pub const OUTPUT_LEN_MAX: usize = 64 * 1024 * 1024;
/// Largest number of failures that a [`TreeReport`] names; the others are only counted.
pub const FAILURES_NAMED_MAX: usize = 1_000;

/// A connection to a server, with the usual requests as methods. It runs one request at a time; for two at once,
/// connect twice.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    parts: Arc<Parts>,
}

/// What a command wrote, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended. A command that fails is not an error of [`Client::run`].
    pub outcome: Outcome<'static>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// The result of copying a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeReport {
    /// Counts of files and bytes.
    pub tally: Tally,
    /// What failed: each path in the tree and why, at most [`FAILURES_NAMED_MAX`] of them; `tally.failed` counts all.
    pub failures: Vec<(String, Refusal)>,
}

impl Client {
    /// Connects to `host`: a name from `config.toml` in `home`, the name of a known peer, or an address such as
    /// `build.example:5263`, `[::1]:7000` or `unix:/path`.
    ///
    /// The connection is encrypted (a Unix socket need not be), and the server must have the key that is on record for it. On this machine, a
    /// server of the same user is trusted by the key that both share. [`Connector`] has more options.
    ///
    /// # Errors
    /// [`ConnectError`]: the server was not reached, or is not trusted. [`Error`] has it as [`Error::NotConnected`].
    pub fn connect(home: &Home, host: &str) -> Result<Self, ConnectError> {
        let host: Address = host.parse()?;
        let connection = Connector::new(home).connect(&host)?;
        Self::over(connection, home)
    }

    /// A client over an existing connection. Interrupted downloads are recorded in `home`, and the next attempt
    /// continues them.
    ///
    /// # Errors
    /// The record cannot be opened.
    pub fn over(connection: Connection, home: &Home) -> Result<Self, ConnectError> {
        let records = Records::open(home.join(PARTS_DIR)).map_err(Error::ours("the record of unfinished copies"))?;
        let parts = Parts::new(Some(Arc::new(records)), Some(Owner::Own.to_string()));
        Ok(Self { connection, parts })
    }

    /// The connection, for the functions of each module.
    pub const fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Closes the connection so that the last message arrives. Dropping a client closes it at once.
    pub fn close(self) {
        self.connection.close();
    }

    /// Sends `body`, at most 4 MiB, and returns what comes back.
    ///
    /// # Errors
    /// The server refused, or the connection failed.
    pub fn echo(&mut self, body: &[u8]) -> Result<Vec<u8>> {
        call_echo(&mut self.connection, body)
    }

    /// Runs a command string in the server's `sh -c` with an empty stdin, and returns its output.
    ///
    /// # Errors
    /// The server refused, the connection failed, or the command wrote more than [`OUTPUT_LEN_MAX`] (then it was ended
    /// by the client).
    pub fn run(&mut self, command: &str) -> Result<Output> {
        let work = Work::Shell(command.into());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let end = self.run_with(&Call::of(&work), &mut |channel, piece| {
            if stdout.len() + stderr.len() + piece.len() > OUTPUT_LEN_MAX {
                let text = format!("is over the limit of {OUTPUT_LEN_MAX} bytes");
                return Err(Error::ours("the command's output")(std::io::Error::other(text)));
            }
            match channel {
                Channel::Main => stdout.extend_from_slice(piece),
                Channel::Stderr => stderr.extend_from_slice(piece),
            }
            Ok(())
        })?;
        Ok(Output { outcome: end.outcome, stdout, stderr })
    }

    /// Runs a command and passes its output on as it arrives.
    ///
    /// # Errors
    /// As [`call_exec`].
    pub fn run_with(
        &mut self,
        call: &Call<'_>,
        output: &mut dyn FnMut(Channel, &[u8]) -> Result<()>,
    ) -> Result<CommandEnd> {
        call_exec(&mut self.connection, call, output)
    }

    /// Changes the session's working directory; returns the new one.
    ///
    /// # Errors
    /// The server refused, or the connection failed.
    pub fn cd(&mut self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        dir::call_cd(&mut self.connection, path.as_ref())
    }

    /// Lists a directory, or one file.
    ///
    /// # Errors
    /// The server refused, or the connection failed.
    pub fn ls(&mut self, path: impl AsRef<[u8]>) -> Result<Vec<DirEntry>> {
        dir::call_ls(&mut self.connection, path.as_ref())
    }

    /// Asks where the session stands.
    ///
    /// # Errors
    /// The server refused, or the connection failed.
    pub fn pwd(&mut self) -> Result<Vec<u8>> {
        dir::call_pwd(&mut self.connection)
    }

    /// Makes a directory, and with `parents` those above it.
    ///
    /// # Errors
    /// The server refused, or the connection failed.
    pub fn mkdir(&mut self, path: impl AsRef<[u8]>, parents: bool) -> Result<()> {
        dir::call_mkdir(&mut self.connection, path.as_ref(), parents)
    }

    /// Removes a file, or with `recursive` a tree.
    ///
    /// # Errors
    /// The server refused, or the connection failed.
    pub fn rm(&mut self, path: impl AsRef<[u8]>, recursive: bool) -> Result<()> {
        dir::call_rm(&mut self.connection, path.as_ref(), recursive)
    }

    /// Renames a file or a directory; returns where it is now.
    ///
    /// # Errors
    /// The server refused, or the connection failed.
    pub fn mv(&mut self, path: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        dir::call_mv(&mut self.connection, path.as_ref(), to.as_ref())
    }

    /// Downloads one file to `to`, which is its whole new name; returns its size in bytes. An existing file is replaced
    /// only when the whole file has arrived and its digest is right.
    ///
    /// # Errors
    /// The server refused, this machine could not store it, or the connection failed. The old file is unchanged.
    pub fn get(&mut self, from: impl AsRef<[u8]>, to: &Path) -> Result<u64> {
        let parts = Arc::clone(&self.parts);
        let arrive = |attributes: &_| create_part(&parts, to, attributes);
        call_get(&mut self.connection, from.as_ref(), arrive, &mut |_| Ok(()))
    }

    /// Uploads one file to `to`: its new name, or a directory; returns where it is on the server. Returns when the
    /// server has written it to its disk.
    ///
    /// # Errors
    /// The file cannot be read, the server refused, or the connection failed. The old file on the server is unchanged.
    pub fn put(&mut self, from: &Path, to: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let (source, attributes) = open_file(from)?;
        let (shown, name) = (from.to_string_lossy(), from.file_name().unwrap_or_default());
        let upload = Upload { source, shown: &shown, attributes, path: to.as_ref(), name };
        let progress: files::OnProgress<'_> = &mut |_| Ok(());
        call_put(&mut self.connection, upload, progress)
    }

    /// Downloads a tree into the directory `to`, which is made if it is missing. Files that are the same there are
    /// skipped, and interrupted ones are continued.
    ///
    /// # Errors
    /// The server refused the whole, or the connection failed. A single file that fails, or a `from` that is missing,
    /// is in the report: look at `tally.failed`.
    pub fn pull(&mut self, from: impl AsRef<[u8]>, to: &Path) -> Result<TreeReport> {
        let shape = Shape { goes_into: true, is_made: true };
        let destination = Destination::of_own(to, shape, WriteOptions::default());
        let destination = destination.map_err(Error::ours(to.to_string_lossy()))?.with_parts(Arc::clone(&self.parts));
        let selection = Selection::default();
        let receiver = trees::receiver::TreeReceiver::new(destination, Filter::new(&selection)?);
        let pull = Pull {
            paths: vec![PathText::of(from.as_ref())],
            recursive: true,
            follow: false,
            selection,
            bwlimit: None,
            compress: trees::pack::Compress::default(),
            shard: None,
        };
        let mut report = TreeReport::default();
        call_pull(&mut self.connection, &pull, receiver, &mut |event| {
            report.note(&event);
            Ok(())
        })?;
        Ok(report)
    }

    /// Uploads a tree into the directory `to` on the server, which is made if it is missing. Files that are the same
    /// there are skipped, and interrupted ones are continued.
    ///
    /// # Errors
    /// The server refused the whole, or the connection failed. A single file that fails is in the report.
    pub fn push(&mut self, from: &Path, to: impl AsRef<[u8]>) -> Result<TreeReport> {
        let walk_options = WalkOptions { recursive: true, follow: false };
        let (options, selection) = (WriteOptions::default(), Selection::default());
        let walk = Walk::new(vec![Named::Own(from.into())], walk_options, Filter::new(&selection)?);
        let upload = TreeUpload { walk, out: trees::data::DataOptions::default(), shard: None, wait_group: None };
        let push = Push { single: true, recursive: true, is_secondary: false, options, selection };
        let mut report = TreeReport::default();
        call_push(&mut self.connection, to.as_ref(), &push, upload, &mut |event| {
            report.note(&event);
            Ok(())
        })?;
        Ok(report)
    }

    /// Enters a chat room under a nick.
    ///
    /// # Errors
    /// The nick is taken, chat is not allowed here, or the connection failed.
    pub fn chat(&mut self, room: &str, nick: &str) -> Result<Stay<'_>> {
        let options = ChatOptions::default();
        call_chat(&mut self.connection, &ChatRequest { room, nick, options: &options })
    }
}

impl TreeReport {
    fn note(&mut self, event: &TreeEvent<'_>) {
        self.tally.count(event);
        if let TreeEvent::Failed { path, why } | TreeEvent::FailedWithDir { path, why } = event
            && self.failures.len() < FAILURES_NAMED_MAX
        {
            self.failures.push((String::from_utf8_lossy(path).into_owned(), (*why).clone()));
        }
    }
}
