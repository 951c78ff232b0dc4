//! The options of HTTP, which `http-files` and `tcp-server --http` share.

use std::net::IpAddr;
use std::path::PathBuf;

use ::http::header::{HeaderName, HeaderValue};
use clap::ValueEnum;

use super::args::size;
use super::usage::usage;
use crate::http::server::{CertificateFiles, HttpOptions, OWN_HEADERS, OnExists};
use crate::trust::servers::ServerHttp;

/// Space that uploads leave free on the disk, in bytes.
const FREE_DEFAULT: u64 = 64 * 1024 * 1024;

/// How HTTP is served.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "HTTP")]
pub struct WebArgs {
    /// Allow uploads, to clients with the service write
    #[arg(long)]
    pub upload: bool,
    /// Allow clients with the service write to delete, rename and make directories
    #[arg(long)]
    pub modify: bool,
    /// Take uploads and show nothing: no listing, no download
    #[arg(long)]
    pub drop_box: bool,
    /// Show names that begin with a dot
    #[arg(long)]
    hidden: bool,
    /// Show a directory's index.html instead of its listing
    #[arg(long)]
    pub index: bool,
    /// Show /index.html for what does not exist: for an application that makes its own paths
    #[arg(long)]
    pub spa: bool,
    /// Let pages of this origin read, as a guest does; repeatable, written as a browser does: scheme, host and port
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    cors: Vec<String>,
    /// Add a header to every answer; repeatable
    #[arg(long, value_name = "K: V", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Largest upload [default: what the disk and the limit on unfinished uploads take]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_upload: Option<u64>,
    /// Space that uploads leave free on the disk [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    min_free: Option<u64>,
    /// What to do with an upload whose name is taken [default: replace]
    #[arg(long, value_name = "WHAT")]
    on_exists: Option<OnExistsArg>,
    /// Permission bits of uploaded files, in octal [default: those of the file it replaces, or the system's]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    upload_mode: Option<u32>,
    /// Title of the listings
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Name or address by which this server is reached, beside this machine's own; repeatable
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Redirect plain requests to TLS, on the same port
    #[arg(long)]
    pub tls: bool,
    /// Certificate chain for TLS (PEM), read again when it is renewed [default: this user's own, which browsers warn of]
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key of --cert (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Address of a proxy whose X-Forwarded-For and X-Forwarded-Proto are taken; repeatable
    #[arg(long = "trusted-proxy", value_name = "ADDRESS")]
    trusted_proxies: Vec<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnExistsArg {
    /// Replace it, once the upload is whole
    Replace,
    /// Take another name, such as notes (1).txt
    Rename,
    /// Refuse the upload
    Refuse,
}

impl WebArgs {
    /// Whether any of them is given.
    pub fn is_given(&self) -> bool {
        let switches =
            [self.upload, self.modify, self.drop_box, self.hidden, self.index, self.spa, self.tls, self.cert.is_some()];
        let lists = [self.cors.len(), self.header.len(), self.hosts.len(), self.trusted_proxies.len()];
        let values = [
            self.max_upload.is_some(),
            self.min_free.is_some(),
            self.on_exists.is_some(),
            self.upload_mode.is_some(),
            self.title.is_some(),
        ];
        switches.contains(&true) || lists.iter().any(|len| *len > 0) || values.contains(&true)
    }

    /// Whether clients come themselves, and not through a proxy that may have TLS for them.
    pub const fn trusts_no_proxy(&self) -> bool {
        self.trusted_proxies.is_empty()
    }

    /// Whether there is a certificate for browsers.
    pub const fn has_certificate(&self) -> bool {
        self.cert.is_some()
    }

    /// The names that the operator has given this server.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// What a server that runs with these says of itself.
    pub fn entry(&self) -> ServerHttp {
        ServerHttp {
            uploads: self.upload || self.drop_box,
            modifies: self.modify,
            is_drop_box: self.drop_box,
            requires_tls: self.tls,
            has_certificate: self.has_certificate(),
            hosts: self.hosts.clone(),
        }
    }

    /// What the server does with these. `has_sign_in`: whether a sign-in gives more than guests get.
    ///
    /// # Errors
    /// Two of them make no sense together.
    pub fn options(&self, has_sign_in: bool) -> anyhow::Result<HttpOptions> {
        let options = HttpOptions {
            uploads: self.upload || self.drop_box,
            modifies: self.modify,
            is_drop_box: self.drop_box,
            has_chat: false,
            shows_hidden: self.hidden,
            shows_index: self.index,
            is_spa: self.spa,
            cors: self.cors.clone(),
            headers: self.header.clone(),
            upload_len_max: self.max_upload,
            free_min: self.min_free.unwrap_or(FREE_DEFAULT),
            on_exists: match self.on_exists {
                Some(OnExistsArg::Rename) => OnExists::Rename,
                Some(OnExistsArg::Refuse) => OnExists::Refuse,
                Some(OnExistsArg::Replace) | None => OnExists::Replace,
            },
            upload_mode: self.upload_mode,
            upload_ttl: None,
            title: self.title.clone(),
            directory_name: None,
            hosts: self.hosts.clone(),
            requires_tls: self.tls,
            certificate: self
                .cert
                .as_ref()
                .zip(self.key.as_ref())
                .map(|(chain, key)| CertificateFiles { chain: chain.clone(), key: key.clone() }),
            trusted_proxies: self.trusted_proxies.iter().map(IpAddr::to_canonical).collect(),
            has_sign_in,
        };
        if (self.index || self.spa) && options.distrusts_files() {
            return Err(usage(
                "--index and --spa show pages that run as this server's, so they are refused where files are uploaded or \
                 people sign in: serve the pages with an http-files of their own",
            ));
        }
        if self.drop_box && self.modify {
            return Err(usage("--drop-box shows nothing, so there is nothing for --modify to change: leave one out"));
        }
        Ok(options)
    }
}

/// `https://host:port`, as a browser sends it: without a path.
fn origin(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no origin; write it like https://app.example or http://127.0.0.1:3000");
    let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
    let is_fine = matches!(scheme, "http" | "https") && ::http::uri::Authority::try_from(authority).is_ok();
    if is_fine && !authority.contains('@') { Ok(text.to_ascii_lowercase()) } else { Err(wrong()) }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("{text:?} has no colon; write it like 'X-Robots-Tag: none'"))?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("{name:?}: {error}"))?;
    if OWN_HEADERS.contains(&name) {
        return Err(format!("{name} is the server's own, and says how an answer is sent"));
    }
    let value = HeaderValue::from_str(value.trim()).map_err(|error| format!("{value:?}: {error}"))?;
    Ok((name, value))
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).map_err(|error| format!("{error}; write it in octal, like 640"))?;
    if mode & !0o777 != 0 || mode & 0o400 == 0 {
        return Err("takes permission bits that let the owner read, such as 640, and no others".into());
    }
    Ok(mode)
}
