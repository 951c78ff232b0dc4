//! `tcp-server --wire`: a tutorial's wire beside our own frames, on the same port.

use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;

use crate::cli::args::size;
use crate::cli::output::tell;
use crate::cli::standard;
use crate::cli::usage::usage;
use crate::printable::printable;
use crate::text::Encoding;
use crate::tutorial::codec::Wire;
use crate::tutorial::{Console, OutputPolicy, REPLY_MAX_LEAST, Tutorial, TutorialReply};

/// The tutorial's page.
const PAGE: &str = "<h1 style='color:red'>Hello, data</h1>";

/// The options of a tutorial's wire.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The tutorials' wires")]
pub(super) struct TutorialArgs {
    /// Also serve requests without frames, with replies on this wire: raw, len, json, ack, size, close, http
    #[arg(long, env = "LANDLINE_WIRE", value_name = "WIRE")]
    wire: Option<Wire>,
    /// What to reply to a tutorial's request [default: files on size and close, fixed on http, else echo]
    #[arg(long, value_name = "WHAT", requires = "wire")]
    reply: Option<ReplyKind>,
    /// Text before what echo sends back
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, requires = "wire")]
    prefix: String,
    /// Reply of fixed [default: 收到; on http a page that says hello]
    #[arg(long, value_name = "TEXT", requires = "wire")]
    text: Option<String>,
    /// Last reply of fixed, when the client has shut down its sending half
    #[arg(long, value_name = "TEXT", requires = "wire")]
    bye: Option<String>,
    /// Part of a command's output that exec sends
    #[arg(long, value_name = "POLICY", default_value = "merged", requires = "wire")]
    output: Output,
    /// On raw: cut a longer reply, for clients that read once, and never at a multiple of 1024, where clients that
    /// read until a read is short would hang [default: the whole reply]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "wire")]
    reply_max: Option<u64>,
    /// Encoding of the text, both ways: utf-8, gbk, ...
    #[arg(long, env = "LANDLINE_ENCODING", value_name = "LABEL", default_value = "utf-8")]
    encoding: Encoding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReplyKind {
    /// Nothing; the request is shown here
    Print,
    /// The request, with --prefix in front
    Echo,
    /// The request with a to z in capitals
    Upper,
    /// Always --text
    Fixed,
    /// What you type here
    Talk,
    /// The output of the request, run as a command
    Exec,
    /// The file of that name
    Files,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// stdout and stderr as they were written
    Merged,
    /// stderr if there is any, else stdout
    StderrFirst,
    /// stdout only
    Stdout,
}

impl TutorialArgs {
    /// The wire; `None`: only our own frames are served.
    pub(super) fn tutorial(&self) -> anyhow::Result<Option<Tutorial>> {
        let Some(wire) = self.wire else { return Ok(None) };
        let default = match wire {
            Wire::Size | Wire::Close => ReplyKind::Files,
            Wire::Http => ReplyKind::Fixed,
            Wire::Raw | Wire::Len | Wire::Json | Wire::Ack => ReplyKind::Echo,
        };
        let kind = self.reply.unwrap_or(default);
        if wire.carries_files() != (kind == ReplyKind::Files) {
            return Err(usage("the wires size and close carry files, and only they do: they go with --reply files"));
        }
        if wire == Wire::Http && (kind != ReplyKind::Fixed || self.bye.is_some()) {
            return Err(usage(
                "the wire http sends one page, the same to everybody, and closes: it goes with --reply fixed and --text; \
                 a directory is served by http-files",
            ));
        }
        if self.reply_max.is_some() && wire != Wire::Raw {
            return Err(usage("--reply-max goes with --wire raw; the other wires say how long a reply is"));
        }
        let reply_max = self.reply_max.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        if reply_max.is_some_and(|max| max < REPLY_MAX_LEAST) {
            return Err(usage(format!("--reply-max begins at {REPLY_MAX_LEAST}")));
        }
        let reply = match kind {
            ReplyKind::Print => TutorialReply::Print,
            ReplyKind::Echo => TutorialReply::Echo(self.prefix.clone()),
            ReplyKind::Upper => TutorialReply::Upper,
            ReplyKind::Fixed => {
                let default = if wire == Wire::Http { PAGE } else { "收到" };
                TutorialReply::Fixed { text: self.text.as_deref().unwrap_or(default).into(), bye: self.bye.clone() }
            }
            ReplyKind::Talk => TutorialReply::Talk,
            ReplyKind::Exec => TutorialReply::Exec(match self.output {
                Output::Merged => OutputPolicy::Merged,
                Output::StderrFirst => OutputPolicy::StderrFirst,
                Output::Stdout => OutputPolicy::Stdout,
            }),
            ReplyKind::Files => TutorialReply::Files,
        };
        Ok(Some(Tutorial { wire, reply, reply_max, encoding: self.encoding, console: Arc::new(Terminal::default()) }))
    }
}

/// The server's own terminal. The lock is held while the operator types, so that two clients do not
/// ask at once.
#[derive(Debug, Default)]
struct Terminal {
    typing: Mutex<()>,
}

impl Console for Terminal {
    fn show(&self, peer: &str, text: &str) {
        let _typing = self.typing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = tell(&format!("{peer}: {}\n", printable(text.trim_end()))) {
            tracing::warn!(%error, "a request could not be shown");
        }
    }

    fn ask(&self, peer: &str, text: &str) -> Option<String> {
        let _typing = self.typing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            tell(&format!("{peer}: {}\n>>>: ", printable(text.trim_end()))).ok()?;
            let answer = standard::read_text_line().ok()?;
            if answer.is_empty() {
                return None;
            }
            // An empty answer would never arrive, and the client would wait without end.
            let answer = answer.trim();
            if !answer.is_empty() {
                return Some(answer.to_owned());
            }
        }
    }
}
