//! What a person is told of a link: what it gives, how it gets onto a phone, and what there is to know of the way.

use std::io::IsTerminal as _;

use super::args::{Link, ShareArgs, When};
use super::code::qr;
use super::url::Reach;
use crate::cli::human;
use crate::cli::output::{put_out, say, tell};
use crate::trust::tokens::{Token, TokenKind};

impl ShareArgs {
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

impl Link {
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
