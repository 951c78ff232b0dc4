//! The options that join several servers into one chat.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::chat::bus::BusOptions;
use crate::cli::usage::usage;

/// Longest password, in bytes.
const PASSWORD_LEN_MAX: usize = 4_096;
/// Longest prefix of the keys, in bytes.
const PREFIX_LEN_MAX: usize = 64;

/// How the chat is joined with other servers'.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Chat of several servers")]
pub(super) struct BusArgs {
    /// Join the chat of all servers with the same bus, through Redis: redis://HOST:PORT/DB, rediss:// for TLS,
    /// unix:/PATH [default: this server is alone]
    #[arg(long, env = "LANDLINE_BUS", value_name = "ADDRESS")]
    bus: Option<String>,
    /// File with the password for Redis
    #[arg(long, env = "LANDLINE_BUS_PASSWORD_FILE", value_name = "FILE")]
    bus_password_file: Option<PathBuf>,
    /// What the keys in Redis begin with: servers with the same prefix are one chat
    #[arg(long, env = "LANDLINE_BUS_PREFIX", default_value = "landline", value_name = "TEXT")]
    bus_prefix: String,
}

impl BusArgs {
    /// The bus; `None`: this server is alone.
    ///
    /// # Errors
    /// The options do not fit each other, or the password cannot be read.
    pub(super) fn options(&self) -> anyhow::Result<Option<BusOptions>> {
        let Some(address) = &self.bus else {
            if self.bus_password_file.is_some() {
                return Err(usage("--bus-password-file needs --bus: without it, nothing is connected to Redis"));
            }
            return Ok(None);
        };
        let prefix = &self.bus_prefix;
        if prefix.is_empty() || prefix.len() > PREFIX_LEN_MAX || prefix.chars().any(|c| !c.is_ascii_graphic()) {
            return Err(usage(format!("--bus-prefix takes 1 to {PREFIX_LEN_MAX} visible ASCII characters")));
        }
        let password = self.bus_password_file.as_ref().map(|path| {
            let what = || format!("--bus-password-file {}", path.display());
            let text = std::fs::read_to_string(path).with_context(what)?;
            let password = text.lines().next().unwrap_or_default().to_owned();
            if password.is_empty() || password.len() > PASSWORD_LEN_MAX {
                return Err(usage(format!("{}: its first line is no password", what())));
            }
            Ok(password)
        });
        let password = password.transpose()?;
        Ok(Some(BusOptions { address: address.clone(), password, prefix: prefix.clone() }))
    }
}
