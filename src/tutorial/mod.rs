//! The tutorials' protocols: requests without frames, and replies on one of the tutorial wires.
//!
//! [`serve`] serves the tutorials' clients, with [`command`] for requests that are run; [`call`] is a
//! connection to one of their servers, [`client`] sends several requests to it. All exchange bytes, which are converted
//! from and to the configured encoding here.

pub mod call;
pub mod client;
pub mod codec;
pub mod command;
pub mod serve;

use std::fmt;
use std::sync::Arc;

use crate::text::Encoding;
use crate::trust::Service;
use crate::tutorial::codec::Wire;
use crate::wire::detect::FirstBytes;

pub use call::TutorialConnection;
pub use serve::{Caller, REPLY_MAX_LEAST, serve_tutorial};

/// What a server does with a tutorial request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TutorialReply {
    /// Shows it on the server's terminal and does not reply.
    Print,
    /// Returns it, with this prefix.
    Echo(String),
    /// Returns it with a to z in capitals, and nothing else changed.
    Upper,
    /// Returns a fixed text.
    Fixed {
        /// The reply to every request.
        text: String,
        /// The text to send when the client has ended; `None`: nothing.
        bye: Option<String>,
    },
    /// The operator types each reply.
    Talk,
    /// Runs it as a shell command and returns its output.
    Exec(OutputPolicy),
    /// Returns the file of that name.
    Files,
}

/// Which part of a command's output is the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputPolicy {
    /// stdout and stderr in the order in which they were written.
    Merged,
    /// stderr if there is any, else stdout.
    StderrFirst,
    /// stdout only.
    Stdout,
}

/// The server's terminal, for `print` and `talk`.
pub trait Console: fmt::Debug + Send + Sync {
    /// Shows the request of `peer`.
    fn show(&self, peer: &str, text: &str);
    /// Shows the request of `peer` and returns the operator's reply; `None`: the terminal has ended.
    fn ask(&self, peer: &str, text: &str) -> Option<String>;
}

/// A tutorial wire on a listening address.
#[derive(Debug, Clone)]
pub struct Tutorial {
    /// How replies are framed.
    pub wire: Wire,
    /// What the server replies.
    pub reply: TutorialReply,
    /// On `raw`: longest reply, in bytes; longer ones are cut. `None`: no limit.
    pub reply_max: Option<usize>,
    /// The encoding of requests and replies.
    pub encoding: Encoding,
    /// The terminal for `print` and `talk`.
    pub console: Arc<dyn Console>,
}

impl Tutorial {
    /// Whether a connection with such first bytes is accepted. Requests that a web page can make a browser send are
    /// never accepted on a wire that runs commands or serves files.
    pub const fn takes(&self, first: FirstBytes) -> bool {
        match first {
            FirstBytes::Text | FirstBytes::Undecided => true,
            FirstBytes::Http | FirstBytes::Binary => !self.is_guarded(),
            FirstBytes::Frame | FirstBytes::Tls => false,
        }
    }

    /// Whether it runs commands or serves files.
    pub const fn is_guarded(&self) -> bool {
        matches!(self.reply, TutorialReply::Exec(_) | TutorialReply::Files)
    }

    /// The service that a guest needs for it.
    pub const fn service(&self) -> Service {
        match self.reply {
            TutorialReply::Exec(_) => Service::Exec,
            TutorialReply::Files => Service::Read,
            TutorialReply::Print
            | TutorialReply::Echo(_)
            | TutorialReply::Upper
            | TutorialReply::Fixed { .. }
            | TutorialReply::Talk => Service::Echo,
        }
    }
}
