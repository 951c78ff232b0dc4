//! The command line of `tcp-client chat`.

use std::time::Duration;

use super::link::ComingBack;
use crate::cli::args::{ConnectArgs, duration, one_of};
use crate::net::Address;

/// The room without `--room`.
pub(crate) const ROOM_DEFAULT: &str = "lobby";
/// Past messages that a person sees.
const HISTORY_DEFAULT: u32 = 20;
/// How long a script tries to come back.
const COMING_BACK_DEFAULT: Duration = Duration::from_mins(1);

/// When nicks have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    /// At a terminal, unless `NO_COLOR` is set.
    Auto,
    Always,
    Never,
}

const COLOURS: &[(&str, Colours)] = &[("auto", Colours::Auto), ("always", Colours::Always), ("never", Colours::Never)];

/// Talk in rooms
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ChatArgs {
    /// HOST, HOST:PORT, [::1]:7000 or unix:/path
    pub(crate) host: Address,
    /// Room to enter; it exists while it has members
    #[arg(short, long, env = "LANDLINE_ROOM", default_value = ROOM_DEFAULT)]
    pub(super) room: String,
    /// Nickname [default: your user name]
    #[arg(short, long, env = "LANDLINE_NICK")]
    pub(super) nick: Option<String>,
    #[command(flatten)]
    pub(super) look: LookArgs,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(super) output: ChatOutputArgs,
}

/// What is shown, and for how long.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct LookArgs {
    /// Past messages to show of each room [default: 20 at a terminal, otherwise 0]
    #[arg(long, env = "LANDLINE_HISTORY", value_name = "N")]
    pub(super) history: Option<u32>,
    /// How long to try to come back when the connection is lost, or never [default: always at a terminal, otherwise 1m]
    #[arg(long, env = "LANDLINE_RECONNECT", value_name = "TIME", value_parser = coming_back)]
    pub(super) reconnect: Option<ComingBack>,
    /// Ring the terminal's bell when your nick is mentioned
    #[arg(long, env = "LANDLINE_BELL")]
    pub(super) bell: bool,
    /// A colour for each nick: auto, always, never
    #[arg(long, env = "LANDLINE_COLOR", value_name = "WHEN", hide_possible_values = true,
        value_parser = one_of(COLOURS))]
    pub(super) color: Option<Colours>,
    /// One message a line, as in a pipe: no editing, times or colours
    #[arg(long, env = "LANDLINE_PLAIN")]
    pub(super) plain: bool,
}

/// How much to print, and in which form.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct ChatOutputArgs {
    /// Print every event as a JSON object on a line of its own
    #[arg(long, visible_alias = "json")]
    pub(super) json_stream: bool,
    /// Print only errors on standard error
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print more on standard error, both addresses first
    #[arg(short, long)]
    pub(super) verbose: bool,
}

impl LookArgs {
    /// The number of past messages.
    pub(super) fn history(&self, is_terminal: bool) -> u32 {
        self.history.unwrap_or(if is_terminal { HISTORY_DEFAULT } else { 0 })
    }

    /// How long to try.
    pub(super) fn coming_back(&self, is_interactive: bool) -> ComingBack {
        let default = if is_interactive { ComingBack::Always } else { ComingBack::Within(COMING_BACK_DEFAULT) };
        self.reconnect.unwrap_or(default)
    }
}

fn coming_back(text: &str) -> Result<ComingBack, String> {
    match text {
        "never" => Ok(ComingBack::Never),
        "always" => Ok(ComingBack::Always),
        text => duration(text).map(ComingBack::Within).map_err(|error| format!("{error}, always or never")),
    }
}
