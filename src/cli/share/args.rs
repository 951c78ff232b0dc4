//! The options of a link, and the link that they make.

use std::time::Duration;

use clap::ValueEnum;

use crate::cli::args::duration;
use crate::cli::usage::usage;
use crate::trust::Services;
use crate::trust::home::Home;
use crate::trust::list::{ListError, check_name};
use crate::trust::time::Moment;
use crate::trust::tokens::shares::{LINK_USES_MAX, LinkOptions, make_link, withdraw};
use crate::trust::tokens::{Secret, Token};

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
    pub(super) qr: Option<When>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
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
    pub(super) token: Token,
    pub(super) secret: Secret,
    pub(super) lasts: Duration,
}

impl Link {
    /// Removes the link from the list; the sessions that came from it stay.
    ///
    /// # Errors
    /// The list cannot be read or written.
    pub fn withdraw(&self, home: &Home) -> Result<(), ListError> {
        withdraw(home, self.token.id).map(drop)
    }
}
