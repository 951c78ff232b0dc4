//! The tutorials' conversations: bare requests, and replies on one of their wires.
//!
//! [`serve`] is a listener for their clients, with [`command`] for requests that are run, [`call`] a
//! client of their servers. Both speak bytes;
//! what characters those are, the encoding says, here at the edge.

pub mod call;
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

/// What a listener does with a bare request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TutorialReply {
    /// Shows it at the server's terminal and says nothing back.
    Print,
    /// Says it back, with this in front.
    Echo(String),
    /// Says it back with a to z in capitals, and nothing else changed.
    Upper,
    /// Says this, and when the client has no more to say, that.
    Fixed {
        /// The answer to every request.
        text: String,
        /// The last word, if any.
        bye: Option<String>,
    },
    /// The operator types each answer.
    Talk,
    /// Runs it as a shell command.
    Exec(OutputPolicy),
    /// Sends the file of that name.
    Files,
}

/// What of a command's output is the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputPolicy {
    /// stdout and stderr in the order in which they were written.
    Merged,
    /// stderr if there is any, else stdout.
    StderrFirst,
    /// stdout only.
    Stdout,
}

/// The server's own terminal, for `print` and `talk`.
pub trait Console: fmt::Debug + Send + Sync {
    /// Shows what `peer` said.
    fn show(&self, peer: &str, text: &str);
    /// Shows what `peer` said and returns what the operator answers; `None`: nobody is there.
    fn ask(&self, peer: &str, text: &str) -> Option<String>;
}

/// A tutorial's wire on a listener.
#[derive(Debug, Clone)]
pub struct Tutorial {
    /// How replies are framed.
    pub wire: Wire,
    /// What is replied.
    pub reply: TutorialReply,
    /// On `raw`: longest reply, in bytes; `None`: whole, whatever its length.
    pub reply_max: Option<usize>,
    /// What the bytes mean, both ways.
    pub encoding: Encoding,
    /// Where `print` and `talk` happen.
    pub console: Arc<dyn Console>,
}

impl Tutorial {
    /// Whether such first bytes may reach this wire. What a web page can make a browser send never
    /// reaches one that runs commands or serves files.
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
