//! What an operator decides about HTTP.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ::http::header::{HeaderName, HeaderValue};

pub use crate::fs::part::naming::OnExists;

/// How HTTP is served. The default is safe: files can be read, nothing can be changed.
#[expect(clippy::struct_excessive_bools, reason = "each is a decision of its own")]
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// Whether files can be uploaded, by those who have the service `write`.
    pub uploads: bool,
    /// Whether files and directories can be removed, renamed and made, by those who have the service `write`.
    pub modifies: bool,
    /// Whether there are uploads only: nothing is listed, and nothing that is there is told of.
    pub is_drop_box: bool,
    /// Whether there is a chat, for those who have the service `chat`.
    pub has_chat: bool,
    /// Whether names that begin with a dot are shown.
    pub shows_hidden: bool,
    /// Whether a directory with a file `index.html` is shown as that file.
    pub shows_index: bool,
    /// Whether `index.html` of the root is shown for what does not exist: an application with paths of its own.
    pub is_spa: bool,
    /// Origins whose pages may read, as a guest would: `https://host:port`.
    pub cors: Vec<String>,
    /// Headers that every answer has beside those of its own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The longest upload, in bytes; `None`: what the disk takes.
    pub upload_len_max: Option<u64>,
    /// What stays free on the disk, in bytes.
    pub free_min: u64,
    /// What happens to an upload whose name is taken.
    pub on_exists: OnExists,
    /// Permission bits of an uploaded file; `None`: those of the file that it replaces, or the system's default.
    pub upload_mode: Option<u32>,
    /// How long an unfinished upload is kept; `None`: without limit.
    pub upload_ttl: Option<Duration>,
    /// The title of listings; `None`: the program's name.
    pub title: Option<String>,
    /// What the directory that is served is called in an archive of it where there is no title; `None`: `files`.
    pub directory_name: Option<String>,
    /// Names and addresses of this server beside those that this machine knows of.
    pub hosts: Vec<String>,
    /// Whether plain requests are redirected to TLS.
    pub requires_tls: bool,
    /// A certificate for browsers; `None`: that of the own identity, which no authority has signed.
    pub certificate: Option<CertificateFiles>,
    /// Proxies whose word about their clients is taken.
    pub trusted_proxies: Vec<IpAddr>,
    /// Whether a sign-in gives more than guests get.
    pub has_sign_in: bool,
}

impl HttpOptions {
    /// Whether files may come from people other than the operator, or are shown to some and not to others: then none of
    /// them runs in a browser as a page of this server.
    pub const fn distrusts_files(&self) -> bool {
        self.uploads || self.modifies || self.is_drop_box || self.has_sign_in
    }
}

/// Where a certificate and its key are. They are read again when they change.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first (PEM).
    pub chain: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}
