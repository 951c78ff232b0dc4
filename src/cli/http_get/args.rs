//! The command line of `http-get`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::cli::args::duration;
use crate::cli::progress::When;
use crate::http::client::parallel::PARALLEL_MAX;
use crate::http::client::redirect::REDIRECTS_MAX;

/// The program's name, in messages.
pub const PROGRAM: &str = "http-get";

/// Fetch URLs, whole or not at all, and show the exchange to those who want to see it
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line, each on its own")]
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
pub struct Args {
    /// What to fetch, each with its scheme: https://host/path
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,

    /// Write to FILE, which is replaced only by a file that is whole; into DIR with a slash behind it
    #[arg(short, long, value_name = "FILE|DIR/", help_heading = "Where it goes")]
    pub output: Option<PathBuf>,
    /// Write to a file of the name at the end of the URL
    #[arg(short = 'O', long, help_heading = "Where it goes")]
    pub remote_name: bool,
    /// With -O or DIR/: take the name that the server suggests; a file that exists is not replaced
    #[arg(short = 'J', long, help_heading = "Where it goes")]
    pub suggested_name: bool,
    /// Go on with what an earlier run has left, if the server still has the same
    #[arg(short = 'C', long = "continue", help_heading = "Where it goes")]
    pub goes_on: bool,
    /// Number of connections to fetch one large file with
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Where it goes",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(PARALLEL_MAX)))]
    pub parallel: u32,
    /// Digest that the file must have, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", help_heading = "Where it goes")]
    pub sha256: Option<String>,
    /// Request a digest from the server (Repr-Digest), and fail without one; what it sends unasked is compared anyway
    #[arg(long, help_heading = "Where it goes")]
    pub digest: bool,
    /// Do not sync files to disk: faster, but a power cut may lose some
    #[arg(long, env = "LANDLINE_NO_SYNC", help_heading = "Where it goes")]
    pub no_sync: bool,

    /// Fetch only the head of the response, and print it
    #[arg(short = 'I', long, help_heading = "The request")]
    pub head: bool,
    /// Send this field too; @FILE reads fields from a file, one a line, which is where secrets belong
    #[arg(short = 'H', long, value_name = "NAME: VALUE|@FILE", help_heading = "The request")]
    pub header: Vec<String>,
    /// Use this method
    #[arg(short = 'X', long, value_name = "METHOD", help_heading = "The request")]
    pub request: Option<String>,
    /// Send DATA by POST; @FILE sends a file, - standard input; several are joined by &
    #[arg(short, long, value_name = "DATA|@FILE|-", help_heading = "The request")]
    pub data: Vec<String>,
    /// Send a field of a form by POST, NAME=VALUE, or a file, NAME=@FILE
    #[arg(short = 'F', long, value_name = "NAME=VALUE", conflicts_with = "data", help_heading = "The request")]
    pub form: Vec<String>,
    /// Upload FILE by PUT, to a URL with or without its name; - is standard input. With --retry, goes on with a file
    /// after a break where the server can
    #[arg(short = 'T', long, value_name = "FILE", conflicts_with_all = ["data", "form", "head"],
          help_heading = "The request")]
    pub upload_file: Option<PathBuf>,
    /// Request compressed bodies (gzip, zstd), and decode them
    #[arg(long, conflicts_with_all = ["goes_on", "parallel"], help_heading = "The request")]
    pub compressed: bool,
    /// Number of redirects to follow; 0: none
    #[arg(long, value_name = "N", default_value_t = REDIRECTS_MAX, help_heading = "The request")]
    pub max_redirects: usize,

    /// File with NAME:PASSWORD, which only you can read
    #[arg(long, value_name = "FILE", help_heading = "Credentials", conflicts_with = "token_file")]
    pub user_file: Option<PathBuf>,
    /// File with a token, which only you can read; LANDLINE_HTTP_TOKEN may hold the token itself, for the host that
    /// LANDLINE_HTTP_HOST names
    #[arg(long, value_name = "FILE", help_heading = "Credentials")]
    pub token_file: Option<PathBuf>,
    /// File of logins in the format of .netrc, which only you can read
    #[arg(long, value_name = "FILE", env = "LANDLINE_NETRC", help_heading = "Credentials")]
    pub netrc_file: Option<PathBuf>,
    /// Send credentials to other machines without TLS too, where anyone on the way can read them
    #[arg(long, help_heading = "Credentials")]
    pub plain_credentials: bool,
    /// PEM file with authorities to trust beside this machine's
    #[arg(long, value_name = "FILE", env = "LANDLINE_CACERT", help_heading = "Credentials")]
    pub cacert: Option<PathBuf>,
    /// Trust only the server with this key, SHA256:…, whatever its certificate says; with --cacert both must fit
    #[arg(long, value_name = "FINGERPRINT", help_heading = "Credentials")]
    pub pin: Option<String>,
    /// PEM file with a certificate to show, and its key unless --key names that
    #[arg(long, value_name = "FILE", help_heading = "Credentials")]
    pub cert: Option<PathBuf>,
    /// PEM file with the key of --cert
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Credentials")]
    pub key: Option<PathBuf>,
    /// Hosts to connect to without a proxy, instead of those in no_proxy; * is all
    #[arg(long, value_name = "LIST", help_heading = "Connections")]
    pub noproxy: Option<String>,

    /// Time to connect, with proxy and TLS
    #[arg(long, env = "LANDLINE_CONNECT_TIMEOUT", default_value = "10s", value_name = "DURATION",
          value_parser = duration, help_heading = "Connections")]
    pub connect_timeout: Duration,
    /// Time for each URL in all
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Connections")]
    pub max_time: Option<Duration>,
    /// Time without a byte in either direction after which the connection counts as lost; 0: no limit
    #[arg(long, env = "LANDLINE_STALL_TIMEOUT", value_name = "DURATION", default_value = "10m",
          value_parser = duration, help_heading = "Connections")]
    pub stall_timeout: Duration,
    /// Number of further attempts when there is no connection, it is lost, or the server is busy
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Connections")]
    pub retry: u32,

    /// When to show progress
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN", env = "LANDLINE_PROGRESS")]
    pub progress: When,
    /// Print one JSON object at the end instead of text
    #[arg(long)]
    pub json: bool,
    /// Print only errors on standard error
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show the exchange line by line on standard error: > is sent, < comes, * is a remark
    #[arg(short, long)]
    pub verbose: bool,
}

impl Args {
    /// Connections for one file.
    pub(super) fn connections(&self) -> usize {
        usize::try_from(self.parallel).unwrap_or(1)
    }
}

const EXAMPLES: &str = "\
Examples:
  http-get https://example.com/                       the body, to standard output
  http-get -v http://example.com/                     and the exchange beside it
  http-get -O https://example.com/a.tar.gz            into ./a.tar.gz, which is whole or not there
  http-get -o downloads/ URL URL URL                  several, each by its name
  http-get -CO --retry 5 https://example.com/big.iso  goes on after a break, and with what an earlier run has left
  http-get -O --parallel 4 --sha256 HEX URL           over four connections, and verified
  http-get -T notes.txt --token-file token https://files.example.com/notes/
  http-get -F file=@photo.jpg https://example.com/form
  http-get --pin SHA256:... https://192.0.2.7:8443/   a server of ours, known by its key";
