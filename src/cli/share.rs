//! A link for a browser: where it leads, what it gives, and how a person gets it onto a phone.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::ValueEnum;
use qrcode::{Color, EcLevel, QrCode};

use super::args::duration;
use super::human;
use super::output::{put_out, say, tell};
use super::usage::usage;
use crate::net::route::own_address;
use crate::trust::Services;
use crate::trust::home::Home;
use crate::trust::list::{ListError, check_name};
use crate::trust::time::Moment;
use crate::trust::tokens::shares::{LINK_USES_MAX, LinkOptions, make_link, withdraw};
use crate::trust::tokens::{Secret, Token, TokenKind};

/// How long a link and its sessions last, unless the operator says otherwise.
const LASTS_DEFAULT: Duration = Duration::from_hours(24);

/// What a link gives, and how it is shown.
#[derive(Debug, Clone, clap::Args)]
pub struct ShareArgs {
    /// Number of browsers that the link lets in [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(LINK_USES_MAX)))]
    uses: Option<u32>,
    /// How long the link, and what it lets in, lasts [default: 1d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires: Option<Duration>,
    /// Name of the link, in the log and for tcp-server peers [default: share-1, share-2, ...]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Whether to print the link as a QR code too [default: auto, at a terminal]
    #[arg(long, value_name = "WHEN")]
    qr: Option<When>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    /// At a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ShareArgs {
    /// Whether any of them is given.
    pub const fn is_given(&self) -> bool {
        self.uses.is_some() || self.expires.is_some() || self.name.is_some() || self.qr.is_some()
    }

    /// Makes a link that gives these services in this part of that directory.
    ///
    /// # Errors
    /// The name is none or taken, the time is over, or the list cannot be written.
    pub fn make(&self, home: &Home, wish: &LinkWish<'_>) -> anyhow::Result<Link> {
        if let Some(name) = &self.name {
            check_name(name, "link").map_err(|why| usage(format!("--name: {why}")))?;
        }
        let lasts = self.expires.unwrap_or(LASTS_DEFAULT);
        if lasts < Duration::from_secs(1) {
            return Err(usage("--expires 0: the link would be over before it is opened"));
        }
        let far = || usage("--expires: that is too far away; a link lasts some hours or days");
        let options = LinkOptions {
            name: self.name.clone(),
            services: wish.services,
            root: wish.root.clone(),
            directory: wish.directory.to_owned(),
            uses: self.uses.unwrap_or(1),
            expires: Moment::now().after(lasts).ok_or_else(far)?,
            may_come_plain: wish.may_come_plain,
        };
        let (token, secret) = make_link(home, &options)?;
        Ok(Link { token, secret, lasts })
    }

    /// Prints a link that leads here: what it gives, a QR code where that is wanted, and the URL on a line of its own.
    /// The URL is last and the code stands above it, so that a terminal of 24 lines shows both.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn show(&self, program: &str, link: &Link, base: &str) -> anyhow::Result<()> {
        for note in link.notes() {
            say(program, &note);
        }
        let url = zeroize::Zeroizing::new(format!("{base}/?share={}", link.secret.as_str()));
        let is_terminal = std::io::stdout().is_terminal();
        let is_wanted = match self.qr.unwrap_or(When::Auto) {
            When::Auto => is_terminal,
            When::Always => true,
            When::Never => false,
        };
        if is_wanted && let Some(image) = qr(&url, is_terminal && has_colour()) {
            put_out(image.as_bytes())?;
        }
        Ok(tell(&format!("{}\n", *url))?)
    }
}

/// What a link is to give.
#[derive(Debug)]
pub struct LinkWish<'w> {
    /// What its browsers may do.
    pub services: Services,
    /// The part of the directory that they are shown; `None`: all of it.
    pub root: Option<String>,
    /// The server's root.
    pub directory: &'w str,
    /// Whether it may be used unencrypted.
    pub may_come_plain: bool,
}

/// A link that was made.
#[derive(Debug)]
pub struct Link {
    token: Token,
    secret: Secret,
    lasts: Duration,
}

impl Link {
    /// Removes the link from the list; the sessions that came from it stay.
    ///
    /// # Errors
    /// The list cannot be read or written.
    pub fn withdraw(&self, home: &Home) -> Result<(), ListError> {
        withdraw(home, self.token.id).map(drop)
    }

    /// For whom it is, how long it lasts, what it gives, and how it ends.
    fn notes(&self) -> [String; 2] {
        let who = match self.token.kind {
            TokenKind::Link { uses: 2.., .. } => format!("{} browsers", self.uses()),
            _ => "one browser".to_owned(),
        };
        let name = &self.token.name;
        let until = self.token.expires.map(|end| format!(" until {end} ({})", human::time(self.lasts)));
        let gives = Token { expires: None, ..self.token.clone() }.scope();
        [
            format!("{name} lets {who} in{}", until.unwrap_or_default()),
            format!("it may {gives}; to end it: tcp-server peers revoke {name}"),
        ]
    }

    const fn uses(&self) -> u32 {
        match self.token.kind {
            TokenKind::Link { uses, .. } => uses,
            TokenKind::Token | TokenKind::Session { .. } => 0,
        }
    }
}

/// How a browser reaches a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    host: String,
    port: u16,
    /// Whether only this machine can.
    pub is_loopback: bool,
    /// Whether its name stands for an address that could not be found out.
    is_guessed: bool,
}

impl Reach {
    /// That of a server which listens on `addresses`, by the name that its operator gives it, if any.
    ///
    /// # Errors
    /// It listens on Unix sockets only.
    pub fn of(addresses: &[String], name: Option<&str>) -> anyhow::Result<Self> {
        let listening: Vec<(&str, u16)> = addresses.iter().filter_map(|address| tcp(address)).collect();
        let is_here = |host: &str| host.starts_with("127.") || host == "[::1]";
        // One that other machines reach, and of those one for IPv4, which each phone has.
        let rank = |(host, _): &&(&str, u16)| (is_here(host), host.starts_with('['));
        let Some((host, port)) = listening.iter().min_by_key(rank).copied() else {
            return Err(usage("a link leads to a TCP address, and this server has none: bind one"));
        };
        let is_loopback = is_here(host);
        let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut is_guessed = false;
        let mut guess = || {
            is_guessed = true;
            machine()
        };
        let host = match (name, host) {
            (Some(name), _) => bracketed(name),
            (None, "0.0.0.0" | "[::]") => own_address(host == "[::]")
                .or_else(|| own_address(false))
                .map_or_else(&mut guess, |address| bracketed(&address.to_string())),
            (None, _) if is_loopback => "localhost".to_owned(),
            (None, _) => host.to_owned(),
        };
        Ok(Self { host, port, is_loopback, is_guessed })
    }

    /// The server's URL, without a slash at the end.
    pub fn base(&self, is_encrypted: bool) -> String {
        let Self { host, port, .. } = self;
        match (is_encrypted, port) {
            (true, 443) => format!("https://{host}"),
            (true, _) => format!("https://{host}:{port}"),
            (false, 80) => format!("http://{host}"),
            (false, _) => format!("http://{host}:{port}"),
        }
    }
}

/// An address of a listener, taken apart; `None`: it is a Unix socket.
fn tcp(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':').filter(|_| !address.starts_with("unix:"))?;
    Some((host, port.parse().ok()?))
}

fn bracketed(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// Says what a link over such a connection means.
pub fn warn(program: &str, reach: &Reach, is_encrypted: bool, own_certificate: Option<&str>) {
    if let Some(fingerprint) = own_certificate.filter(|_| is_encrypted) {
        warn_of_own_certificate(program, fingerprint);
    }
    if reach.is_loopback {
        say(program, "only this machine can open the link: the server listens on no other");
        return;
    }
    if reach.is_guessed {
        say(program, &format!("no default route: the link has the name {}; --host changes it", reach.host));
    }
    if !is_encrypted {
        say(program, "warning: over plain HTTP, everyone on the way can read what is sent:");
        say(program, "use it in a network that you trust, or add --tls");
    }
}

/// Says how a person knows the server whose certificate no authority has signed, by its SHA-256.
pub fn warn_of_own_certificate(program: &str, fingerprint: &str) {
    say(program, "browsers warn, since no authority signed the certificate: go on");
    say(program, "if they show this SHA-256 fingerprint of it:");
    say(program, fingerprint);
}

fn has_colour() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A text as a QR code of half blocks; `None`: it is too long for one. With colours it is dark on light, whatever the
/// terminal's are; without, it is that on a dark terminal.
fn qr(text: &str, has_colour: bool) -> Option<String> {
    /// Light modules around it (ISO/IEC 18004, 6.3.8).
    const QUIET: usize = 4;
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (width, modules) = (code.width(), code.to_colors());
    let is_dark = |x: usize, y: usize| {
        let (Some(x), Some(y)) = (x.checked_sub(QUIET), y.checked_sub(QUIET)) else { return false };
        x < width && y < width && modules.get(y * width + x) == Some(&Color::Dark)
    };
    let side = width + 2 * QUIET;
    // A block has the colour of the text: with colours, the dark one.
    let blocks = if has_colour { [' ', '▄', '▀', '█'] } else { ['█', '▀', '▄', ' '] };
    let mut image = String::new();
    for y in (0..side).step_by(2) {
        let row = (0..side).map(|x| {
            let at = usize::from(is_dark(x, y)) * 2 + usize::from(is_dark(x, y + 1));
            blocks.get(at).copied().unwrap_or_default()
        });
        let row: String = row.collect();
        // Black on white, of the 256 colours, which no theme changes.
        let (begin, end) = if has_colour { ("\x1b[38;5;16;48;5;231m", "\x1b[0m") } else { ("", "") };
        writeln!(image, "{begin}{row}{end}").ok()?;
    }
    Some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_where_a_phone_can_go() {
        let reach = |addresses: &[&str], name| {
            let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
            Reach::of(&addresses, name).map(|reach| (reach.base(false), reach.base(true), reach.is_loopback))
        };
        for (addresses, name, plain, encrypted, is_loopback) in [
            (&["127.0.0.1:8000", "[::1]:8000"][..], None, "http://localhost:8000", "https://localhost:8000", true),
            (&["127.0.0.1:8000", "10.0.0.7:80"], None, "http://10.0.0.7", "https://10.0.0.7:80", false),
            (&["[2001:db8::7]:443"], None, "http://[2001:db8::7]:443", "https://[2001:db8::7]", false),
            (&["[2001:db8::7]:1", "10.0.0.7:2"], None, "http://10.0.0.7:2", "https://10.0.0.7:2", false),
            (&["unix:/x:1", "0.0.0.0:1"], Some("a.example"), "http://a.example:1", "https://a.example:1", false),
            (&["[::]:1"], Some("2001:db8::9"), "http://[2001:db8::9]:1", "https://[2001:db8::9]:1", false),
        ] {
            let (plain, encrypted) = (plain.to_owned(), encrypted.to_owned());
            assert_eq!(reach(addresses, name).unwrap(), (plain, encrypted, is_loopback), "{addresses:?} {name:?}");
        }
        let (anywhere, _, is_loopback) = reach(&["0.0.0.0:7"], None).unwrap();
        assert!(!anywhere.contains("0.0.0.0") && !anywhere.contains("localhost") && !is_loopback, "{anywhere}");
        assert!(reach(&["unix:/run/x"], None).is_err());
    }

    #[test]
    fn a_code_is_read_back_as_it_was_drawn() {
        let text = "http://10.0.0.7:8000/?share=landline_AAAAAAAAAAAAAAAAAAAAAA";
        let code = QrCode::with_error_correction_level(text, EcLevel::L).unwrap();
        for has_colour in [false, true] {
            let image = qr(text, has_colour).unwrap();
            let rows: Vec<Vec<char>> = image
                .lines()
                .map(|line| {
                    line.trim_start_matches("\x1b[38;5;16;48;5;231m").trim_end_matches("\x1b[0m").chars().collect()
                })
                .collect();
            assert_eq!(image.contains('\x1b'), has_colour);
            assert_eq!(rows.len(), (code.width() + 8).div_ceil(2));
            for (at, color) in code.to_colors().iter().enumerate() {
                let (x, y) = (at % code.width() + 4, at / code.width() + 4);
                let halves = match rows[y / 2][x] {
                    ' ' => [false, false],
                    '▀' => [true, false],
                    '▄' => [false, true],
                    '█' => [true, true],
                    other => panic!("{other}"),
                };
                assert_eq!(halves[y % 2] == has_colour, *color == Color::Dark, "{x} {y}");
            }
            // The quiet zone is light.
            let light = if has_colour { ' ' } else { '█' };
            assert!(rows[0].iter().all(|module| *module == light) && rows[5][0] == light);
        }
        assert_eq!(qr(&"x".repeat(5_000), true), None);
    }
}
