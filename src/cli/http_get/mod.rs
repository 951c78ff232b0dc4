//! `http-get`: fetches URLs.

mod args;
mod content;
mod credentials;
mod destination;
mod observer;
mod report;
mod terminal;

pub use args::{Args, PROGRAM};

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ::http::Method;
use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_DISPOSITION, HeaderValue, USER_AGENT};

use crate::cli::exit::Exit;
use crate::cli::output::{say, tell};
use crate::cli::signals::Interruption;
use crate::cli::standard::STDOUT;
use crate::cli::usage::{as_usage, usage};
use crate::cli::{closed, home, standard};
use crate::error::Error as OurError;
use crate::fs::part::{Parts, Target};
use crate::http::client::connection::{ConnectOptions, PROGRAM_AND_VERSION};
use crate::http::client::digest::sha256_of_hex;
use crate::http::client::download::{Fetched, Job, Source};
use crate::http::client::parallel::Begun;
use crate::http::client::proxy::Proxies;
use crate::http::client::response::ResponseHead;
use crate::http::client::store::{FileStore, Store, StreamStore};
use crate::http::client::{Client, Deadline, Error, Request, Result as HttpResult, Url};
use crate::http::negotiate::Coding;
use crate::net::tls::{KeyCheck, WebCertificate, WebClient, WebTrust};
use crate::printable::printable_lines;
use crate::trust::identity::Fingerprint;
use credentials::Fields;
use destination::Destination;
use observer::Screen;
use report::{FetchResult, Report};
use terminal::Terminal;

/// Longest PEM file, in bytes: a list of all the world's authorities has a quarter of it.
const PEM_LEN_MAX: u64 = 1024 * 1024;

/// Fetches what `args` say.
///
/// # Errors
/// Wrong usage, or standard output is closed; what happens to a URL is told and counted.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    let urls = args.urls.iter().map(|url| Url::parse(url)).collect::<HttpResult<Vec<_>, _>>().map_err(as_usage)?;
    let destinations = Destination::of(args, &urls)?;
    check(args, &destinations)?;
    let interruption = Interruption::watch()?;
    let screen = Screen::new(args, &interruption);
    let run = Run { args, client: Client::new(connect_options(args)?), screen: &screen, parts: OnceLock::new() };
    let mut report = Report::new(args.json);
    for (url, destination) in urls.iter().zip(&destinations) {
        run.one(url, destination, &mut report)?;
        if interruption.has_come() {
            break;
        }
    }
    report.finish(&screen)
}

/// What makes no sense together is wrong usage.
fn check(args: &Args, destinations: &[Destination]) -> anyhow::Result<()> {
    let is_output = |destination: &Destination| matches!(destination, Destination::Output);
    let has_output = destinations.iter().any(is_output);
    if args.json && has_output && !args.head && args.upload_file.is_none() {
        return Err(usage("--json takes standard output; write the body to a file, with -o or -O"));
    }
    let to_files = destinations.iter().all(|destination| matches!(destination, Destination::File(_)));
    if args.goes_on && !to_files {
        return Err(usage("-C goes on with a file: with -o FILE or -O"));
    }
    if args.parallel > 1 && !to_files {
        return Err(usage("--parallel fetches files: with -o FILE or -O"));
    }
    let has_content = !args.data.is_empty() || !args.form.is_empty() || args.upload_file.is_some();
    let is_get = !has_content && args.request.is_none();
    if (args.goes_on || args.parallel > 1) && (!is_get || args.head) {
        return Err(usage("-C and --parallel are for what is fetched by GET"));
    }
    if args.head && has_content {
        return Err(usage("--head carries nothing"));
    }
    if args.urls.len() > 1 && args.sha256.is_some() {
        return Err(usage("--sha256 is the digest of one file; fetch each by itself"));
    }
    Ok(())
}

fn connect_options(args: &Args) -> anyhow::Result<ConnectOptions> {
    let lookup = |name: &'static str| std::env::var(name).ok();
    let proxies = Proxies::of(lookup, args.noproxy.as_deref()).map_err(as_usage)?;
    let authorities = args.cacert.as_deref().map(read_pem).transpose()?;
    let pin = args.pin.as_deref().map(pin_of).transpose()?;
    let shown = args.cert.as_deref().map(|cert| own_certificate(cert, args.key.as_deref())).transpose()?;
    let tls = move || {
        let trust = match (&pin, &authorities) {
            (None, None) => WebTrust::of_this_machine()?,
            // A machine without a list has the authority that was named.
            (None, Some(pem)) => WebTrust::of_this_machine().unwrap_or_else(|_| WebTrust::none()).and_pem(pem)?,
            (Some(pin), None) => WebTrust::key_alone(Arc::clone(pin)),
            (Some(pin), Some(pem)) => WebTrust::none().and_pem(pem)?.pinned(Arc::clone(pin)),
        };
        WebClient::showing(trust, shown.as_ref())
    };
    let stall_timeout = Some(args.stall_timeout).filter(|limit| !limit.is_zero());
    let connect_timeout = args.connect_timeout;
    Ok(ConnectOptions { connect_timeout, stall_timeout, proxies, tls: Box::new(tls), made: OnceLock::new() })
}

/// `SHA256:` and base64, as our programs write it, or `sha256//` and base64, as curl does.
fn pin_of(text: &str) -> anyhow::Result<KeyCheck> {
    let text = text.strip_prefix("sha256//").map_or_else(|| text.to_owned(), |base64| format!("SHA256:{base64}"));
    let pin: Fingerprint = text.parse().map_err(as_usage)?;
    Ok(Arc::new(move |spki| Fingerprint::of_spki(spki) == pin))
}

fn own_certificate(cert: &Path, key: Option<&Path>) -> anyhow::Result<WebCertificate> {
    let secret = credentials::read_secret(key.unwrap_or(cert))?;
    let chain = if key.is_some() { read_pem(cert)? } else { secret.as_bytes().to_vec() };
    WebCertificate::from_pem(&chain, secret.as_bytes()).map_err(|error| usage(format!("{}: {error}", cert.display())))
}

fn read_pem(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let ours = || OurError::ours(path.display().to_string());
    let mut pem = Vec::new();
    let file = File::open(path).map_err(ours())?;
    #[expect(clippy::disallowed_methods, reason = "it is read through take")]
    file.take(PEM_LEN_MAX).read_to_end(&mut pem).map_err(ours())?;
    Ok(pem)
}

/// One run of the program.
struct Run<'r> {
    args: &'r Args,
    client: Client,
    screen: &'r Screen<'r>,
    parts: OnceLock<Arc<Parts>>,
}

impl Run<'_> {
    /// One URL, to its end.
    ///
    /// # Errors
    /// Wrong usage, or standard output is closed.
    fn one(&self, url: &Url, destination: &Destination, report: &mut Report) -> anyhow::Result<()> {
        let begun = Instant::now();
        let job = self.job(url)?;
        let mut to = match destination {
            Destination::Output => "-".to_owned(),
            Destination::Device(path) | Destination::File(path) => path.to_string_lossy().into_owned(),
            Destination::Suggested(dir, _) => dir.to_string_lossy().into_owned(),
        };
        let is_file = matches!(destination, Destination::File(_) | Destination::Suggested(..));
        self.screen.next(&job.url.to_string());
        let fetched = if self.args.head { self.head(&job) } else { self.fetch(&job, destination, &mut to) };
        let result = FetchResult { from: url.to_string(), to, ..FetchResult::default() };
        match fetched {
            Ok(fetched) => {
                self.screen.done();
                if (is_file && !self.args.json) && (std::io::stderr().is_terminal() || fetched.is_not_modified) {
                    self.screen.say(&report::line(&result.to, &fetched, begun.elapsed()));
                }
                report.done(result, &fetched);
                Ok(())
            }
            Err(error) => {
                self.screen.clear();
                if is_closed_output(&error) {
                    return Err(OurError::ours(STDOUT)(std::io::ErrorKind::BrokenPipe.into()).into());
                }
                if matches!(error, Error::Usage(_)) {
                    return Err(usage(error.to_string()));
                }
                let text = match &error {
                    Error::Interrupted => self.left(),
                    Error::Digest { .. } if is_file => format!("{error}; the file is left as it was"),
                    error => error.to_string(),
                };
                say(PROGRAM, &format!("{url}: {text}"));
                show_body(&error);
                let status = match &error {
                    Error::Status { status, .. } => Some(status.as_u16()),
                    _ => None,
                };
                report.failed(FetchResult { error: Some(text), status, ..result }, Exit::of_http_error(&error));
                Ok(())
            }
        }
    }

    fn left(&self) -> String {
        if self.args.upload_file.is_some() {
            "interrupted; the next run sends it from the beginning".to_owned()
        } else if self.args.goes_on {
            "interrupted; the same command goes on, if the server can".to_owned()
        } else {
            "interrupted; with -C the next run goes on, if the server can".to_owned()
        }
    }

    fn job(&self, url: &Url) -> anyhow::Result<Job> {
        let args = self.args;
        let Fields { mut open, mut secret } = credentials::given(args)?;
        let mut url = url.clone();
        if let Some(path) = &args.upload_file
            && url.last_segment().is_empty()
        {
            let name = path.file_name().filter(|_| path.as_os_str() != "-");
            let name = name.ok_or_else(|| usage("standard input has no name: write it at the end of the URL"))?;
            url = url.with_name(std::os::unix::ffi::OsStrExt::as_bytes(name));
        }
        if !secret.contains_key(AUTHORIZATION)
            && let Some(value) = credentials::authorization(args, &url)?
        {
            secret.insert(AUTHORIZATION, value);
        }
        if !secret.is_empty() && !url.is_encrypted() && !is_loopback(&url) && !args.plain_credentials {
            return Err(usage(format!(
                "{url}: the credentials would go over the network in plain text; write https://, or say \
                 --plain-credentials"
            )));
        }
        open.entry(USER_AGENT).or_insert(HeaderValue::from_static(PROGRAM_AND_VERSION));
        open.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let content = content::of(args, &mut open)?;
        let sha256 = args.sha256.as_deref().map(|hex| {
            sha256_of_hex(hex).ok_or_else(|| usage("--sha256 has 64 hexadecimal digits, as sha256sum prints them"))
        });
        Ok(Job {
            method: self.method()?,
            url,
            headers: open,
            secrets: secret,
            content,
            is_compressed: args.compressed,
            sha256: sha256.transpose()?,
            needs_digest: args.digest,
            redirects_max: args.max_redirects,
            retries: args.retry,
            is_upload: args.upload_file.is_some(),
            deadline: Deadline::after(args.max_time),
        })
    }

    fn method(&self) -> anyhow::Result<Method> {
        let args = self.args;
        if let Some(method) = &args.request {
            let parsed = Method::from_bytes(method.as_bytes()).ok().filter(|method| *method != Method::CONNECT);
            return parsed.ok_or_else(|| usage(format!("--request {method:?} is no method")));
        }
        Ok(match () {
            () if args.head => Method::HEAD,
            () if args.upload_file.is_some() => Method::PUT,
            () if !args.data.is_empty() || !args.form.is_empty() => Method::POST,
            () => Method::GET,
        })
    }

    /// Fetches a head, and prints it.
    fn head(&self, job: &Job) -> HttpResult<Fetched> {
        let mut request = Request::new(job.method.clone(), job.url.clone());
        (request.headers, request.secrets) = (job.headers.clone(), job.secrets.clone());
        let limits = (job.redirects_max, job.deadline);
        let last = self.client.follow(&request, limits, self.screen, &mut |_, _| {})?;
        let head = last.response.head.clone();
        let text: Vec<u8> = head.lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
        if !self.args.json {
            tell(&String::from_utf8_lossy(&text)).map_err(output_failed)?;
        }
        let last = last.check()?;
        let size = last.response.body_len().unwrap_or(0);
        let url = last.request.url.clone();
        last.response.done(&self.client, url.origin());
        let coding = Coding::Identity;
        Ok(Fetched { head, url, size, resumed: 0, coding, compared: Vec::new(), is_not_modified: false })
    }

    fn fetch(&self, job: &Job, destination: &Destination, to: &mut String) -> HttpResult<Fetched> {
        match destination {
            Destination::Output => self.to_output(job),
            Destination::Device(path) => {
                let mut device = File::options().write(true).open(path).map_err(Error::ours(to.clone()))?;
                self.client.fetch(job, &mut StreamStore::new(&mut device, "the device"), None, self.screen)
            }
            Destination::File(path) => self.to_file(job, path),
            Destination::Suggested(dir, own) => {
                let parts = Arc::clone(self.parts());
                let mut store = NamedLater { dir, own: own.as_ref(), parts, file: None };
                let fetched = self.client.fetch(job, &mut store, None, self.screen)?;
                if let Some((file, path)) = store.file {
                    *to = path.to_string_lossy().into_owned();
                    file.publish(!self.args.no_sync)?;
                }
                Ok(fetched)
            }
        }
    }

    fn to_output(&self, job: &Job) -> HttpResult<Fetched> {
        if self.args.json {
            // Of an upload, whose answer is not wanted.
            return self.client.fetch(job, &mut StreamStore::new(&mut std::io::sink(), STDOUT), None, self.screen);
        }
        closed::check_output().map_err(output_failed)?;
        if std::io::stdout().is_terminal() {
            let mut terminal = Terminal::default();
            let fetched = self.client.fetch(job, &mut StreamStore::new(&mut terminal, STDOUT), None, self.screen);
            terminal.finish().map_err(Error::ours(STDOUT))?;
            return fetched;
        }
        let mut output = Output;
        self.client.fetch(job, &mut StreamStore::new(&mut output, STDOUT), None, self.screen)
    }

    fn to_file(&self, job: &Job, path: &Path) -> HttpResult<Fetched> {
        let target = Target::of(path).map_err(Error::ours(path.to_string_lossy()))?;
        let parts = self.parts();
        if self.args.goes_on {
            if let Some((mut store, source)) = FileStore::left(parts, path, &target)? {
                let source = Source::parse(&source, &job.url);
                if source.is_none() {
                    self.screen.say("what an earlier run has left is of another URL: it starts over");
                    store.begin(None)?;
                }
                return self.receive(job, store, source);
            }
        } else if self.args.connections() > 1 {
            let mut store = FileStore::create(parts, path, target.clone())?;
            match self.client.fetch_parallel(job, self.args.connections(), &mut store, self.screen)? {
                Begun::Whole(fetched) => {
                    store.publish(!self.args.no_sync)?;
                    return Ok(*fetched);
                }
                Begun::Alone(why) => self.screen.say(&format!("{why}: over one connection")),
            }
        }
        let store = FileStore::create(parts, path, target)?;
        self.receive(job, store, None)
    }

    fn receive(&self, job: &Job, mut store: FileStore, source: Option<Source>) -> HttpResult<Fetched> {
        let fetched = self.client.fetch(job, &mut store, source, self.screen)?;
        if !fetched.is_not_modified {
            store.publish(!self.args.no_sync)?;
        }
        Ok(fetched)
    }

    fn parts(&self) -> &Arc<Parts> {
        self.parts.get_or_init(home::parts)
    }
}

/// Whether only this machine sees what goes there.
fn is_loopback(url: &Url) -> bool {
    let host = &url.origin().host;
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// What an error's body says, as far as it is known, on standard error.
fn show_body(error: &Error) {
    let Error::Status { body, left_out, .. } = error else { return };
    if body.is_empty() {
        return;
    }
    let text = String::from_utf8_lossy(body).replace("\r\n", "\n");
    let text = printable_lines(text.trim_end());
    let rest = match left_out {
        Some(0) => String::new(),
        Some(bytes) => format!("\n... ({bytes} bytes more)"),
        None => "\n... (and more)".to_owned(),
    };
    drop(standard::errors().write_all(format!("{text}{rest}\n").as_bytes()));
}

fn output_failed(error: OurError) -> Error {
    match error {
        OurError::Ours { object, source } => Error::Ours { object, source },
        other => Error::ours(STDOUT)(std::io::Error::other(other.to_string())),
    }
}

fn is_closed_output(error: &Error) -> bool {
    matches!(error, Error::Ours { object, source }
        if object == STDOUT && source.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Standard output, for bytes.
struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        standard::output().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file of which the server says the name.
struct NamedLater<'n> {
    dir: &'n Path,
    own: Option<&'n OsString>,
    parts: Arc<Parts>,
    file: Option<(FileStore, PathBuf)>,
}

impl NamedLater<'_> {
    fn file(&mut self) -> HttpResult<&mut FileStore> {
        let file = self.file.as_mut().map(|(file, _)| file);
        file.ok_or_else(|| Error::Unexpected("the file has no name yet".into()))
    }
}

impl Store for NamedLater<'_> {
    fn meet(&mut self, head: &ResponseHead) -> HttpResult<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let path = Destination::named(self.dir, self.own, head.text(&CONTENT_DISPOSITION));
        let path = path.map_err(|error| Error::Unexpected(error.to_string()))?;
        let target = Target::of(&path).map_err(Error::ours(path.to_string_lossy()))?;
        self.file = Some((FileStore::create(&self.parts, &path, target)?, path));
        Ok(())
    }

    fn size(&self) -> u64 {
        self.file.as_ref().map_or(0, |(file, _)| file.size())
    }

    fn take(&mut self, piece: &[u8]) -> HttpResult<()> {
        self.file()?.take(piece)
    }

    fn begin(&mut self, source: Option<String>) -> HttpResult<()> {
        self.file()?.begin(source)
    }

    fn hash(&self, hasher: &mut crate::http::client::digest::Hasher) -> HttpResult<()> {
        self.file.as_ref().map_or(Ok(()), |(file, _)| file.hash(hasher))
    }

    fn spoil(&mut self) {
        if let Some((file, _)) = &mut self.file {
            file.spoil();
        }
    }

    fn wants_full_pieces(&self) -> bool {
        true
    }
}
