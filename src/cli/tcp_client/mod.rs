//! `tcp-client`: one prompt over one session, for a person or for a script.

mod args;
mod chat;
mod completion;
mod echo;
mod listing;
mod pair;
mod shell;
mod tutorial;

pub use args::{Args, PROGRAM};

use crate::cli::connect::Strangers;
use crate::cli::exit::Exit;
use crate::cli::output::tell;
use crate::cli::usage::usage;
use crate::cli::{connect, home};
use args::{Command, PromptArgs};
use shell::Shell;

/// Does what `args` say.
///
/// # Errors
/// Wrong usage, no connection, connection lost; at the prompt a refusal is told and the next line is read.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Some(Command::Pair { host, name, connect, output }) => pair::introduce(host, name.as_deref(), connect, output),
        Some(Command::Echo(args)) => echo::run(args),
        Some(Command::Chat(args)) => chat::run(args),
        None => {
            let PromptArgs { host, known_hosts, connect, output, tutorial } = &args.prompt;
            if *known_hosts {
                let names = home::existing()?.map(|home| crate::client::known_names(&home)).unwrap_or_default();
                if !names.is_empty() {
                    tell(&format!("{}\n", names.join("\n")))?;
                }
                return Ok(Exit::Done);
            }
            let host = host.as_ref().ok_or_else(|| usage("name a HOST, for example: tcp-client localhost"))?;
            if let Some(wire) = tutorial.wire {
                return tutorial::run(&|| connect::stream(PROGRAM, host, connect, output), host, wire, tutorial);
            }
            let (to, connect, said) = (host.clone(), connect.clone(), output.clone());
            let open = Box::new(move || connect::connect(PROGRAM, &to, &connect, &said));
            let reopen = chat::reopener(host, &args.prompt.connect, Strangers::Refused);
            Shell::new(open, reopen, host, output)?.run()
        }
    }
}
