//! The prompt of `tcp-client`: one session, and a table of what can be typed.

use std::cell::{RefCell, RefMut};
use std::io::IsTerminal as _;
use std::path::Path;
use std::rc::Rc;

use crate::cli::args::OutputArgs;
use crate::cli::exit::Exit;
use crate::cli::output::{put_error, put_json, put_out, say, tell};
use crate::cli::progress::{Progress, When};
use crate::cli::prompt::{FAREWELLS, Input, Prompt};
use crate::cli::reconnect::{Opener, reconnect};
use crate::cli::signals::{Forwarding, Interruption, to_command};
use crate::cli::tcp_client::args::PROGRAM;
use crate::cli::tcp_client::completion::Completion;
use crate::cli::tcp_client::{chat, listing};
use crate::cli::transfer::files::part_for;
use crate::cli::usage::usage;
use crate::client::open_file;
use crate::connection::Connection;
use crate::dir::{call_cd, call_ls, call_mkdir, call_mv, call_pwd, call_rm};
use crate::error::Error;
use crate::exec::process::Work;
use crate::exec::{Call, KILL_AFTER, call_exec};
use crate::files::{Upload, call_get, call_put};
use crate::net::Address;
use crate::printable::printable;
use crate::wire::message::{Channel, Outcome};

/// What a typed command does with its words.
type Action = fn(&mut Shell, &[&str]) -> anyhow::Result<Exit>;

/// One row: the word, how it is used, what it does, the function.
struct Row(&'static str, &'static str, &'static str, Action);

const TABLE: &[Row] = &[
    Row("echo", "TEXT", "send a text and print what comes back", Shell::echo),
    Row("chat", "[ROOM] [NICK]", "talk in a room; /quit comes back here", Shell::chat),
    Row("cd", "[DIR]", "change the working directory; the prompt shows it", Shell::cd),
    Row("pwd", "", "print the working directory", Shell::pwd),
    Row("ls", "[-l] [--json] [PATH]", "list a directory", Shell::ls),
    Row("mkdir", "[-p] DIR", "make a directory", Shell::mkdir),
    Row("rm", "[-r] PATH", "remove a file, or with -r a tree", Shell::rm),
    Row("mv", "FROM TO", "rename", Shell::mv),
    Row("get", "REMOTE [LOCAL]", "download a file", Shell::get),
    Row("put", "LOCAL [REMOTE]", "upload a file", Shell::put),
    Row("run", "COMMAND", "run a command on the server; !COMMAND is the same", Shell::run_words),
    Row("help", "", "this list", Shell::help),
    Row("quit", "", "leave (q, exit, Ctrl-D too)", Shell::quit),
];

/// A session at the prompt.
#[expect(clippy::struct_excessive_bools, reason = "four facts that do not depend on each other")]
pub(super) struct Shell {
    connection: Rc<RefCell<Connection>>,
    /// Opens another connection when the server has ended this one.
    open: Opener,
    /// Opens one for a chat whose connection was lost.
    reopen: Box<chat::Reopen>,
    host: String,
    quiet: bool,
    json: bool,
    cwd: Vec<u8>,
    is_interactive: bool,
    /// Whether standard output is a terminal.
    for_terminal: bool,
    is_over: bool,
}

impl Shell {
    /// A session over a connection that `open` opens, and opens again when the server has ended it for being idle.
    ///
    /// # Errors
    /// The server refused the connection, or it was lost.
    pub(super) fn new(
        open: Opener,
        reopen: Box<chat::Reopen>,
        host: &Address,
        output: &OutputArgs,
    ) -> anyhow::Result<Self> {
        let mut connection = open()?;
        let greeting = connection.greeting()?;
        if output.verbose {
            say(PROGRAM, &format!("{} offers {}", printable(&greeting.program), printable(&greeting.verbs.join(" "))));
        }
        Ok(Self {
            connection: Rc::new(RefCell::new(connection)),
            open,
            reopen,
            host: host.to_string(),
            quiet: output.quiet,
            json: output.json,
            cwd: b"/".to_vec(),
            is_interactive: false,
            for_terminal: std::io::stdout().is_terminal(),
            is_over: false,
        })
    }

    /// Reads lines and does what they say; returns the first failure's exit code to a script.
    ///
    /// # Errors
    /// The connection was lost, or the terminal was.
    pub(super) fn run(mut self) -> anyhow::Result<Exit> {
        let mut prompt = Prompt::new(Completion {
            words: TABLE.iter().map(|row| row.0).collect(),
            connection: Rc::clone(&self.connection),
        })?;
        self.is_interactive = prompt.is_interactive();
        let mut first_failure = Exit::Done;
        while !self.is_over {
            let typed =
                match prompt.read(&format!("{}:{}> ", self.host, printable(&String::from_utf8_lossy(&self.cwd))))? {
                    Input::Line(typed) => typed,
                    Input::Interrupted => continue,
                    Input::End => break,
                };
            let exit = match self.act(typed.trim()) {
                Ok(exit) => exit,
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    say(PROGRAM, &printable(&format!("{error:#}")));
                    Exit::of(&error)
                }
            };
            if first_failure == Exit::Done {
                first_failure = exit;
            }
        }
        drop(prompt);
        if let Some(connection) = Rc::into_inner(self.connection) {
            connection.into_inner().close();
        }
        // A person has seen each failure as it happened.
        Ok(if self.is_interactive { Exit::Done } else { first_failure })
    }

    fn act(&mut self, typed: &str) -> anyhow::Result<Exit> {
        if typed.is_empty() || typed.starts_with('#') {
            return Ok(Exit::Done);
        }
        if let Some(command) = typed.strip_prefix('!') {
            return self.run_command(command);
        }
        let (word, rest) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
        // In a script too: there each line is a command of this program's, and none is sent as it is.
        let word = if FAREWELLS.contains(&word) { "quit" } else { word };
        let Some(Row(_, _, _, act)) = TABLE.iter().find(|row| row.0 == word) else {
            return Err(usage(format!("{word} is no command; help lists them, and !{word} runs it on the server")));
        };
        // What is run or said is taken as it was typed; everything else has words, quoted as in a shell.
        if word == "run" || word == "echo" {
            return act(self, &[rest.trim_start()]);
        }
        let words = shlex::split(rest).ok_or_else(|| usage("a quote is not closed"))?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        act(self, &words)
    }

    /// The connection for a request, opened again if the server has ended it: only a word that sends one takes it
    /// from here.
    fn connection(&mut self) -> anyhow::Result<RefMut<'_, Connection>> {
        let mut connection = self.connection.borrow_mut();
        reconnect(PROGRAM, &mut connection, &mut self.cwd, &self.open)?;
        Ok(connection)
    }

    fn echo(&mut self, words: &[&str]) -> anyhow::Result<Exit> {
        let back = crate::echo::call_echo(&mut *self.connection()?, words.join(" ").as_bytes())?;
        let text = String::from_utf8_lossy(&back);
        put_out(format!("{}\n", if self.for_terminal { printable(&text) } else { text }).as_bytes())?;
        Ok(Exit::Done)
    }

    fn chat(&mut self, words: &[&str]) -> anyhow::Result<Exit> {
        let room = words.first().copied().unwrap_or(chat::ROOM_DEFAULT);
        let nick = words.get(1).map_or_else(chat::default_nick, |nick| (*nick).to_owned());
        let (look, json) = (chat::LookArgs::default(), self.json);
        let chat = chat::Chat { room: room.to_owned(), nick, look, json };
        // Opened again, if the server has ended it.
        drop(self.connection()?);
        let exit = chat.run(&mut self.connection.borrow_mut(), &self.reopen)?;
        // Ctrl-C leaves the room, and not the prompt.
        Ok(if exit == Exit::Interrupted { Exit::Done } else { exit })
    }

    fn cd(&mut self, words: &[&str]) -> anyhow::Result<Exit> {
        let path = one("cd [DIR]", words)?.unwrap_or("/");
        let cwd = call_cd(&mut *self.connection()?, path.as_bytes())?;
        self.cwd = cwd;
        Ok(Exit::Done)
    }

    fn pwd(&mut self, _: &[&str]) -> anyhow::Result<Exit> {
        let cwd = call_pwd(&mut *self.connection()?)?;
        put_out(format!("{}\n", self.shown(&String::from_utf8_lossy(&cwd))).as_bytes())?;
        Ok(Exit::Done)
    }

    fn ls(&mut self, words: &[&str]) -> anyhow::Result<Exit> {
        let (flags, paths): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('-'));
        let (mut long, mut json) = (false, self.json);
        for flag in flags {
            match flag {
                "-l" => long = true,
                "--json" => json = true,
                other => return Err(usage(format!("ls has -l and --json, not {other}"))),
            }
        }
        let path = one("ls [-l] [--json] [PATH]", &paths)?.unwrap_or("");
        let entries = call_ls(&mut *self.connection()?, path.as_bytes())?;
        if json {
            put_json(&entries)?;
        } else {
            put_out(&listing::text(&entries, long, self.for_terminal))?;
        }
        Ok(Exit::Done)
    }

    fn mkdir(&mut self, words: &[&str]) -> anyhow::Result<Exit> {
        let (parents, path) = flag_and_path("-p", "mkdir [-p] DIR", words)?;
        call_mkdir(&mut *self.connection()?, path.as_bytes(), parents)?;
        Ok(Exit::Done)
    }

    fn rm(&mut self, words: &[&str]) -> anyhow::Result<Exit> {
        let (recursive, path) = flag_and_path("-r", "rm [-r] PATH", words)?;
        call_rm(&mut *self.connection()?, path.as_bytes(), recursive)?;
        Ok(Exit::Done)
    }

    fn mv(&mut self, words: &[&str]) -> anyhow::Result<Exit> {
        let [from, to] = words else { return Err(usage("usage: mv FROM TO")) };
        call_mv(&mut *self.connection()?, from.as_bytes(), to.as_bytes())?;
        Ok(Exit::Done)
    }

    fn get(&mut self, words: &[&str]) -> anyhow::Result<Exit> {
        let (remote, local) = match words {
            [remote] => (*remote, Path::new(".")),
            [remote, local] => (*remote, Path::new(*local)),
            _ => return Err(usage("usage: get REMOTE [LOCAL]")),
        };
        let target = if local.is_dir() {
            let name = remote.rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."));
            local.join(name.ok_or_else(|| usage(format!("{remote}: names no file")))?)
        } else {
            local.to_owned()
        };
        let progress = RefCell::new(Progress::new(When::Auto, self.quiet));
        let mut last = 0;
        let mut connection = self.connection()?;
        let interruption = Interruption::ask_first(connection.control().clone())?;
        let bytes = call_get(
            &mut connection,
            remote.as_bytes(),
            |attributes| {
                begin(&mut progress.borrow_mut(), remote, attributes.size);
                part_for(&target, attributes)
            },
            &mut |bytes| {
                progress.borrow_mut().moved(bytes - std::mem::replace(&mut last, bytes));
                interruption.check()
            },
        );
        drop(connection);
        progress.into_inner().clear();
        self.tell(&format!("{remote} -> {}: {} bytes, verified", target.display(), bytes?));
        Ok(Exit::Done)
    }

    fn put(&mut self, words: &[&str]) -> anyhow::Result<Exit> {
        let (local, remote) = match words {
            [local] => (Path::new(*local), "."),
            [local, remote] => (Path::new(*local), *remote),
            _ => return Err(usage("usage: put LOCAL [REMOTE]")),
        };
        let (source, attributes) = open_file(local)?;
        let name = local.file_name().unwrap_or_default();
        let shown = local.to_string_lossy();
        let mut progress = Progress::new(When::Auto, self.quiet);
        begin(&mut progress, &shown, attributes.size);
        let mut last = 0;
        let upload = Upload { source, shown: &shown, attributes, path: remote.as_bytes(), name };
        let mut connection = self.connection()?;
        let interruption = Interruption::ask_first(connection.control().clone())?;
        let there = call_put(&mut connection, upload, &mut |bytes| {
            progress.moved(bytes - std::mem::replace(&mut last, bytes));
            interruption.check()
        });
        drop(connection);
        progress.clear();
        self.tell(&format!("{shown} -> {}: stored and verified", String::from_utf8_lossy(&there?)));
        Ok(Exit::Done)
    }

    fn run_words(&mut self, words: &[&str]) -> anyhow::Result<Exit> {
        self.run_command(&words.join(" "))
    }

    /// Runs a command with no input: what is typed next is the prompt's.
    fn run_command(&mut self, command: &str) -> anyhow::Result<Exit> {
        if command.trim().is_empty() {
            return Err(usage("usage: run COMMAND"));
        }
        let work = Work::Shell(command.into());
        let mut connection = self.connection()?;
        let forwarding =
            Forwarding::start(connection.sender().clone(), connection.control().clone(), KILL_AFTER, &to_command)?;
        let ended = call_exec(&mut connection, &Call::of(&work), &mut |stream, bytes| {
            if stream == Channel::Main { put_out(bytes) } else { put_error(bytes) }
        });
        drop(forwarding);
        drop(connection);
        let outcome = ended?.outcome;
        match &outcome {
            Outcome::Exited(0) => {}
            Outcome::Exited(_) if !self.is_interactive => {}
            other => say(PROGRAM, &printable(&other.to_string())),
        }
        Ok(Exit::of_command(&outcome))
    }

    fn help(&mut self, _: &[&str]) -> anyhow::Result<Exit> {
        let verbs = self.connection.borrow_mut().greeting()?.verbs.clone();
        let mut text = String::new();
        for Row(word, words, what, _) in TABLE {
            let verb = if *word == "run" { "exec" } else { word };
            let is_ours = matches!(*word, "help" | "quit");
            let note = if is_ours || verbs.iter().any(|v| v == verb) { "" } else { "  (not allowed to you here)" };
            let usage = format!("{word} {words}");
            text = format!("{text}  {usage:<26} {what}{note}\n");
        }
        tell(&text)?;
        Ok(Exit::Done)
    }

    #[expect(clippy::unnecessary_wraps, reason = "a row of the table")]
    fn quit(&mut self, _: &[&str]) -> anyhow::Result<Exit> {
        self.is_over = true;
        Ok(Exit::Done)
    }

    fn tell(&self, text: &str) {
        if self.is_interactive && !self.quiet {
            say(PROGRAM, &printable(text));
        }
    }

    fn shown(&self, text: &str) -> String {
        if self.for_terminal { printable(text).into_owned() } else { text.to_owned() }
    }
}

/// After these nothing more can be done on this connection.
fn is_fatal(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Error>() {
        Some(Error::ConnectionLost(_) | Error::NotConnected(_) | Error::PeerMisbehaved(_)) => true,
        Some(Error::Refused(refusal)) => refusal.code.closes_connection(),
        Some(Error::Ours { object, .. }) => object == crate::cli::standard::STDOUT,
        None => false,
    }
}

fn one<'w>(how: &str, words: &[&'w str]) -> anyhow::Result<Option<&'w str>> {
    match words {
        [] => Ok(None),
        [word] => Ok(Some(word)),
        _ => Err(usage(format!("usage: {how}; quote a name that has spaces"))),
    }
}

fn flag_and_path<'w>(flag: &str, how: &str, words: &[&'w str]) -> anyhow::Result<(bool, &'w str)> {
    match words {
        [path] if *path != flag => Ok((false, path)),
        [given, path] if *given == flag => Ok((true, path)),
        _ => Err(usage(format!("usage: {how}; quote a name that has spaces"))),
    }
}

/// Progress of one file.
fn begin(progress: &mut Progress, name: &str, size: u64) {
    progress.listed(size);
    progress.listed_all();
    progress.begin(|| name.to_owned(), size, 0);
}
