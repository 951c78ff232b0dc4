//! The command line of `rexec`, and what it means.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory as _, Parser};

use crate::cli::args::{ConnectArgs, OutputArgs, duration};
use crate::cli::rexec::terminal;
use crate::cli::usage::usage;
use crate::cli::{home, standard};
use crate::exec::env_file::{self, EnvLine};
use crate::exec::process::Work;
use crate::net::Address;
use crate::net::address::AddressError;
use crate::text::{Encoding, without_bom};
use crate::trust::host_lists::{self, HostGroups, HostListError};
use crate::tutorial::codec::Wire;
use crate::wire::message::ExecOptions;
use clap::builder::{OsStringValueParser, TypedValueParser};

/// The program's name, in messages.
pub const PROGRAM: &str = "rexec";

/// Run a command on another machine, or open a prompt there
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line, each on its own")]
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    /// Directory to run in, under the server's root
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(super) chdir: Option<OsString>,
    /// Give the command no input
    #[arg(short = 'n', long)]
    pub(super) no_stdin: bool,
    /// Print one JSON event a line as it happens: stdout, stderr, outcome
    #[arg(long, conflicts_with = "json")]
    pub(super) json_stream: bool,
    /// Encoding of the command's text, both ways: utf-8, gbk, ...
    #[arg(long, env = "LANDLINE_ENCODING", value_name = "LABEL", default_value = "utf-8")]
    pub(super) encoding: Encoding,
    /// Speak to one of the tutorials' servers: raw, len, json, ack
    #[arg(long, env = "LANDLINE_WIRE", value_name = "WIRE")]
    pub(super) wire: Option<Wire>,
    /// Time after which the server ends the command and all that it has started [default: no limit]. With --wire: time
    /// to wait for a reply [default: 5s]
    #[arg(long, env = "LANDLINE_EXEC_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
    /// Time between SIGTERM and SIGKILL when the command is ended: its time is up, or this program is gone
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = duration, conflicts_with = "wire")]
    pub(super) kill_after: Duration,
    /// After the command's end, pass on the output of what it left in the background until it is silent for this time;
    /// 0 for commands that start daemons
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = duration, conflicts_with = "wire")]
    pub(super) linger: Duration,
    /// Set a variable for the command; a NAME alone takes the value that it has here; may be given several times
    #[arg(short, long, value_name = "NAME=VALUE", conflicts_with = "wire", value_parser = variable_parser())]
    pub(super) env: Vec<OsString>,
    /// Set the variables in FILE, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "wire")]
    pub(super) env_file: Vec<PathBuf>,
    /// Merge both outputs into standard output, in the order in which the command wrote them
    #[arg(long, conflicts_with = "wire")]
    pub(super) merge: bool,
    /// Give the command a terminal, for editors, pagers, shells and other interactive programs
    #[arg(short, long, overrides_with = "tty", conflicts_with_all = ["wire", "merge", "json_stream", "hosts", "hosts_file"])]
    pub(super) tty: bool,
    /// With a terminal: the escape key, at the beginning of a line; then a dot leaves, ? lists the others; none: no
    /// escape
    #[arg(long, default_value = "~", value_name = "CHAR", value_parser = escape)]
    pub(super) escape: Escape,
    /// Shell that runs the command: sh, login (the shell of the server's user, as at a login), or another by its name
    #[arg(long, env = "LANDLINE_SHELL", value_name = "SHELL", default_value = "sh", conflicts_with = "wire")]
    pub(super) shell: OsString,
    /// Without a command: open a prompt that runs one command a line, instead of a login shell on a terminal
    #[arg(long)]
    pub(super) prompt: bool,
    /// With --wire raw: silence that ends a reply
    #[arg(long, default_value = "200ms", value_name = "DURATION", value_parser = duration, requires = "wire")]
    pub(super) idle: Duration,
    /// Keep a directory and variables under NAME between calls: cd, export and unset change them, other commands run
    /// there
    #[arg(long, env = "LANDLINE_PLACE", value_name = "NAME")]
    pub(super) place: Option<String>,
    /// Time that the place is kept after its last use; 0: forget it [default: 12h]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "place")]
    pub(super) place_ttl: Option<Duration>,
    /// List the places
    #[arg(long, group = "act")]
    pub(super) list_places: bool,
    /// Detach the command: print its ID, and return while it runs
    #[arg(short, long, group = "act", conflicts_with_all = ["wire", "tty", "hosts", "hosts_file"])]
    pub(super) detach: bool,
    /// List the detached commands
    #[arg(long, group = "act")]
    pub(super) list_jobs: bool,
    /// Show the output of a detached command, what is there and what comes; end with its exit code. Ctrl-C leaves it
    /// running
    #[arg(long, value_name = "ID", group = "act")]
    pub(super) attach: Option<String>,
    /// Show the output of a detached command until now
    #[arg(long, value_name = "ID", group = "act")]
    pub(super) log: Option<String>,
    /// With --attach and --log: show only the last lines of what is there
    #[arg(long, value_name = "LINES", conflicts_with_all = ["detach", "wait", "kill", "list_jobs", "list_places"])]
    pub(super) tail: Option<u64>,
    /// Wait for the end of a detached command; end with its exit code
    #[arg(long, value_name = "ID", group = "act")]
    pub(super) wait: Option<String>,
    /// End a detached command and all that it has started
    #[arg(long, value_name = "ID", group = "act")]
    pub(super) kill: Option<String>,
    /// With --kill: send only this signal
    #[arg(long, value_name = "NAME", requires = "kill")]
    pub(super) signal: Option<String>,
    /// Run the command on many hosts, as in web1,db[1-3],@group; may be given several times. It gets no input
    #[arg(short = 'H', long, value_name = "LIST", conflicts_with = "wire")]
    pub(super) hosts: Vec<String>,
    /// Run the command on the hosts in FILE (-: standard input), one list a line, with comments after #
    #[arg(long, value_name = "FILE", conflicts_with = "wire")]
    pub(super) hosts_file: Vec<PathBuf>,
    /// With several hosts: leave these out, written as for --hosts; may be given several times
    #[arg(short = 'x', long, value_name = "LIST", conflicts_with = "wire")]
    pub(super) exclude: Vec<String>,
    /// With several hosts: number of hosts at the same time
    #[arg(long, env = "LANDLINE_FANOUT", value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) fanout: u32,
    /// With several hosts: show the output at the end, equal output once
    #[arg(short, long)]
    pub(super) group: bool,
    /// With several hosts: write the output into files in DIR, HOST.stdout and HOST.stderr
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// HOST, HOST:PORT, [::1]:7000 or unix:/path; not with --hosts
    #[arg(value_name = "HOST")]
    pub(super) host: Option<OsString>,
    /// Words for the server's shell, joined by spaces; or, after --, a program and its arguments
    /// exactly as they are; or nothing, for a login shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
    /// Set by [`Args::from_command_line`]: the words came after `--`.
    #[arg(skip)]
    pub(super) is_argv: bool,
}

/// Longest file of hosts or variables, in bytes.
const NAMED_FILE_LEN_MAX: u64 = 16 * 1024 * 1024;
/// How long a tutorial's server may take to reply, without `--timeout`.
const REPLY_TIME_MAX: Duration = Duration::from_secs(5);

/// The key that begins a way out of a terminal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Escape(pub(super) Option<u8>);

fn escape(text: &str) -> Result<Escape, String> {
    match text.as_bytes() {
        b"none" => Ok(Escape(None)),
        [key] if key.is_ascii_graphic() => Ok(Escape(Some(*key))),
        _ => Err("is one printed character, or none".to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  rexec build 'ls -l | wc'            a command for the server's shell
  rexec build -- printf '%s\\n' 'a b'  a program and its exact arguments, no shell
  rexec -C src build make             in a directory under the server's root
  rexec -e DEBUG=1 --timeout 10m build make   with a variable, and a deadline that the server keeps
  tar c . | rexec build 'tar x'       standard input goes there too
  rexec -H web1,db[1-3] -- uptime     on many hosts, each line with its host's name
  rexec -H 'n[0-100/5]' -x n50 -- uptime   on every fifth, without one
  rexec -H @web -- uptime             on a group: config.toml has [groups] web = \"web[1-3]\"
  rexec -g --hosts-file all -- uname -r   the same answer once, with all that gave it
  rexec --place src build cd project  a place: later calls with --place src run there
  rexec --detach build make world     prints an ID: --attach ID, --wait ID, --kill ID, --list-jobs
  rexec -t build top                  on a terminal; Enter ~ . leaves
  rexec build                         a login shell on a terminal, as ssh gives one

Exit code: the command's own; 128+n if signal n ended it; 124 if its time was up; 126 or 127 if it could not start;
251 refused, 252 wrong usage, 253 not connected, 254 connection lost (how the command ended is unknown here).";

impl Args {
    /// Reads the command line. Whether the command came behind `--` decides what it is, and clap
    /// does not tell, so the line is looked at in two parts.
    ///
    /// # Errors
    /// Wrong usage, or a request for help.
    pub fn from_command_line(words: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.collect();
        if let Some(at) = Self::command_behind_lists(&words) {
            let mut args = Self::try_parse_from(words.iter().take(at))?;
            args.command = words.into_iter().skip(at).collect();
            return Ok(args);
        }
        let args = match words.iter().position(|word| word == "--") {
            Some(dashes) => match Self::try_parse_from(words.iter().take(dashes)) {
                Ok(args) if args.command.is_empty() => {
                    Self { command: words.into_iter().skip(dashes + 1).collect(), is_argv: true, ..args }
                }
                Ok(_) | Err(_) => Self::try_parse_from(words)?,
            },
            None => Self::try_parse_from(words)?,
        };
        if args.is_many() && args.host.is_some() {
            return Err(args.one_host_and_many());
        }
        Ok(args)
    }

    /// Where the command begins, if lists of hosts stand before it: with the first word that is no option. All behind
    /// it is the command's, and none of it is an option of ours.
    fn command_behind_lists(words: &[OsString]) -> Option<usize> {
        let dashes = words.iter().position(|word| word == "--").unwrap_or(words.len());
        // What is missing yet is no error: only the place of the first word matters.
        let read = |end: usize| {
            let words = words.iter().take(end);
            Self::command().ignore_errors(true).try_get_matches_from(words).ok().filter(|read| read.contains_id("host"))
        };
        let (first, read) = (1..dashes).find_map(|at| Some((at, read(at + 1)?)))?;
        (read.contains_id("hosts") || read.contains_id("hosts_file")).then_some(first)
    }

    fn one_host_and_many(&self) -> clap::Error {
        let host = self.host.as_ref().map(|host| host.to_string_lossy()).unwrap_or_default();
        let text = format!(
            "{host} stands before --hosts or --hosts-file as if it was the HOST: name all hosts in lists, and behind them the command"
        );
        Self::command().error(clap::error::ErrorKind::ArgumentConflict, text)
    }

    /// Whether to open a login shell: there is a terminal, or `--tty`, and no command.
    pub(super) fn opens_shell(&self) -> bool {
        let is_at_terminal = || std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let is_for_programs = self.output.json || self.json_stream || self.wire.is_some() || self.is_many();
        self.command.is_empty()
            && !is_for_programs
            && !self.is_action()
            && (self.tty || (!self.prompt && is_at_terminal()))
    }

    /// Whether the options name something to do other than to run a command.
    pub(super) fn is_action(&self) -> bool {
        let ids = [&self.attach, &self.log, &self.wait, &self.kill];
        let is_place = self.place_ttl.is_some() && !self.tty && self.command.is_empty();
        self.list_places || self.list_jobs || is_place || ids.into_iter().any(Option::is_some)
    }

    /// Whether there are words, and nothing in them: an unset variable of a script, more often than not.
    pub(super) fn has_empty_command(&self) -> bool {
        let is_blank = |word: &OsString| word.as_bytes().trim_ascii().is_empty();
        if self.is_argv {
            return self.command.first().is_some_and(|program| program.is_empty());
        }
        !self.command.is_empty() && self.command.iter().all(is_blank)
    }

    /// The program that draws or asks and would be without a terminal, where there is one here.
    pub(super) fn wants_terminal(&self) -> Option<String> {
        let is_at_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        if !is_at_terminal || self.has_terminal() || self.no_stdin || self.output.json || self.json_stream {
            return None;
        }
        drawing_program(&self.command)
    }

    pub(super) fn has_terminal(&self) -> bool {
        self.tty || self.opens_shell()
    }

    pub(super) fn is_many(&self) -> bool {
        !self.hosts.is_empty() || !self.hosts_file.is_empty()
    }

    /// The one host.
    pub(super) fn address(&self) -> anyhow::Result<Address> {
        let Some(host) = &self.host else {
            let acts = [("attach", &self.attach), ("log", &self.log), ("wait", &self.wait), ("kill", &self.kill)];
            return Err(usage(match acts.into_iter().find(|(_, id)| id.is_some()) {
                Some((act, _)) => format!("name an ID and a HOST: rexec --{act} ID HOST"),
                None => "name a HOST, or several with --hosts".to_owned(),
            }));
        };
        let host = host.to_str().ok_or_else(|| usage("the host's name is not UTF-8"))?;
        host.parse().map_err(|error: AddressError| usage(error.to_string()))
    }

    /// The many, each once, in their order, without those that are left out.
    pub(super) fn many(&self) -> anyhow::Result<Vec<Host>> {
        let mut lists: Vec<_> = self.hosts.iter().map(|list| HostList::of_option(list)).collect();
        if self.hosts_file.iter().filter(|file| is_stdin(file)).count() > 1 {
            return Err(usage("--hosts-file - reads standard input, once"));
        }
        for file in &self.hosts_file {
            lists.extend(lists_in(file)?);
        }
        let excluded: Vec<_> = self.exclude.iter().map(|list| HostList::of_option(list)).collect();
        // Who names no group needs no home.
        let is_group = |HostList { list, .. }: &HostList| list.contains(host_lists::SIGN);
        let home = if lists.iter().chain(&excluded).any(is_group) { home::existing()? } else { None };
        let groups = home.map_or_else(|| Ok(HostGroups::new()), |home| crate::trust::hosts::groups(&home))?;
        // A host is the same with its port and without.
        let mut seen: HashSet<_> =
            Self::expanded(&excluded, &groups)?.into_iter().map(|host| self.with_port(host.address)).collect();
        let mut hosts = Self::expanded(&lists, &groups)?;
        let is_empty = hosts.is_empty();
        hosts.retain(|host| seen.insert(self.with_port(host.address.clone())));
        match hosts.is_empty() {
            true if is_empty => Err(usage("the list of hosts is empty")),
            true => Err(usage("the list of hosts is empty: --exclude leaves all of them out")),
            false => Ok(hosts),
        }
    }

    fn with_port(&self, address: Address) -> String {
        address.with_default_port(self.connect.port).to_string()
    }

    /// The hosts that these lists stand for.
    fn expanded(lists: &[HostList], groups: &HostGroups) -> anyhow::Result<Vec<Host>> {
        let mut hosts = Vec::new();
        for HostList { from, list } in lists {
            let wrong = |why: String| usage(format!("{from}{why}"));
            for name in host_lists::expand(list, groups).map_err(|error: HostListError| wrong(error.to_string()))? {
                let address = name.parse().map_err(|error: AddressError| wrong(error.to_string()))?;
                hosts.push(Host { name, address });
            }
        }
        Ok(hosts)
    }

    pub(super) fn work(&self) -> Option<Work> {
        if self.command.is_empty() {
            return self.opens_shell().then(|| Work::Login(OsString::new()));
        }
        if self.is_argv {
            return Some(Work::Argv(self.command.clone()));
        }
        let words: Vec<&[u8]> = self.command.iter().map(|word| word.as_bytes()).collect();
        let command = self.encoded(OsString::from_vec(words.join(&b' ')));
        Some(match self.shell.as_bytes() {
            b"sh" => Work::Shell(command),
            b"login" => Work::Login(command),
            _ => Work::Argv(vec![self.shell.clone(), "-c".into(), command]),
        })
    }

    /// The variables to set for the command.
    pub(super) fn variables(&self) -> anyhow::Result<Vec<OsString>> {
        let mut variables = Vec::new();
        for file in &self.env_file {
            variables.extend(variables_in(file)?);
        }
        variables.extend(with_values(self.env.clone())?);
        if self.has_terminal()
            && !variables.iter().any(|variable| variable.as_bytes().starts_with(b"TERM="))
            && let Some(term) = std::env::var_os("TERM")
        {
            let mut variable = OsString::from("TERM=");
            variable.push(term);
            variables.push(variable);
        }
        Ok(variables)
    }

    pub(super) fn exec_options(&self) -> ExecOptions {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (timeout_ms, kill_after_ms) = (self.timeout.map(ms), Some(ms(self.kill_after)));
        let terminal = self.has_terminal().then(terminal::size);
        let (merged, detached, linger_ms) = (self.merge, self.detach, Some(ms(self.linger)));
        ExecOptions { variables: 0, timeout_ms, kill_after_ms, merged, terminal, detached, linger_ms }
    }

    /// How long a tutorial's server may take to reply.
    pub(super) fn reply_timeout(&self) -> Duration {
        self.timeout.unwrap_or(REPLY_TIME_MAX)
    }

    /// What may help if a command could not be started, with this code: for a shell's words behind `--`, or too many
    /// of them.
    pub(super) fn hint(&self, code: i32) -> &'static str {
        if code == CODE_NOT_EXECUTABLE && self.is_long() {
            return "; send what is long on standard input, as in rexec HOST sh < FILE, or as a file with fput";
        }
        let is_shells = |program: &OsString| {
            let word = program.as_bytes();
            matches!(word, b"cd" | b"export" | b"unset" | b"source")
                || word.iter().any(|byte| b" |&;<>$".contains(byte))
        };
        if self.is_argv && self.command.first().is_some_and(is_shells) {
            "; for a shell's words leave -- out"
        } else {
            ""
        }
    }

    /// Whether the command alone is too long to be started on Linux.
    fn is_long(&self) -> bool {
        let lens = self.command.iter().map(|word| word.len() + 1);
        let sum: usize = lens.clone().sum();
        // What is a shell's is one argument.
        let longest = if self.is_argv { lens.max().unwrap_or(0) } else { sum };
        longest > ARGUMENT_LEN_MAX || sum > ARGUMENTS_LEN_MIN
    }

    /// A command string in the server's encoding.
    pub(super) fn encoded(&self, command: OsString) -> OsString {
        match command.to_str() {
            Some(text) if !self.encoding.is_utf8() => OsString::from_vec(self.encoding.encode(text).0),
            _ => command,
        }
    }
}

/// How a shell and our server say that a program was found and could not be executed.
const CODE_NOT_EXECUTABLE: i32 = 126;
/// The longest single argument that Linux takes (execve(2)), with the zero byte behind it,
const ARGUMENT_LEN_MAX: usize = 128 * 1024;
/// and what all of them may have together at least, less some room for the environment: a quarter of the usual stack
/// of 8 MiB.
const ARGUMENTS_LEN_MIN: usize = 1024 * 1024;

/// Programs that are of little use, or none, without a terminal.
const DRAWING: [&str; 24] = [
    "vi", "vim", "nvim", "nano", "emacs", "micro", "joe", "mcedit", "top", "htop", "btop", "atop", "iotop", "nload",
    "less", "more", "man", "watch", "tmux", "screen", "mc", "passwd", "sudo", "su",
];

/// The one of them that a command begins with.
fn drawing_program(command: &[OsString]) -> Option<String> {
    let words = command.iter().flat_map(|word| word.as_bytes().split(u8::is_ascii_whitespace));
    let mut words = words.filter(|word| !word.is_empty());
    let first = std::str::from_utf8(words.next()?).ok()?;
    let name = first.rsplit('/').next()?;
    // In a pipe a pager passes on what it reads.
    let goes_on = words.any(|word| word.iter().any(|byte| b"|<>".contains(byte)));
    let is_batch = name == "top" && command.iter().any(|word| word == "-b");
    (DRAWING.contains(&name) && !goes_on && !is_batch).then(|| name.to_owned())
}

/// Parses the value of `--env`, whose names are those of a file.
fn variable_parser() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new().try_map(|variable| env_file::check_name(variable.as_bytes()).map(|()| variable))
}

/// The variables of `file`, `NAME=VALUE` each.
fn variables_in(file: &Path) -> anyhow::Result<Vec<OsString>> {
    let bytes = read_named(file)?;
    let lines = env_file::parse(&bytes).map_err(|error| usage(format!("{}: {error}", file.display())))?;
    let valued = lines.into_iter().map(|EnvLine { number, variable }| {
        with_value(variable).map_err(|why| usage(format!("{}: line {number}: {why}", file.display())))
    });
    valued.collect()
}

/// Takes the value of each variable without one from the environment here.
pub(super) fn with_values(variables: Vec<OsString>) -> anyhow::Result<Vec<OsString>> {
    variables.into_iter().map(|variable| with_value(variable).map_err(usage)).collect()
}

/// One of them.
///
/// # Errors
/// It is not set here.
fn with_value(mut variable: OsString) -> Result<OsString, String> {
    if variable.as_bytes().contains(&b'=') {
        return Ok(variable);
    }
    let Some(value) = std::env::var_os(&variable) else {
        let name = variable.to_string_lossy();
        return Err(format!("{name}: is not set here; write {name}=VALUE"));
    };
    variable.push("=");
    variable.push(value);
    Ok(variable)
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// The whole of a file that was named on the command line.
///
/// # Errors
/// It cannot be read, or is longer than such a file is.
fn read_named(file: &Path) -> anyhow::Result<Vec<u8>> {
    let opened = File::open(file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
    read_limited(opened, file)
}

fn read_limited(from: impl Read, file: &Path) -> anyhow::Result<Vec<u8>> {
    let wrong = |why: String| usage(format!("{}: {why}", file.display()));
    let mut bytes = Vec::new();
    std::io::copy(&mut from.take(NAMED_FILE_LEN_MAX + 1), &mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > NAMED_FILE_LEN_MAX {
        return Err(wrong(format!("is longer than {} MiB", NAMED_FILE_LEN_MAX >> 20)));
    }
    Ok(bytes)
}

/// One of the hosts for a command.
#[derive(Debug)]
pub(super) struct Host {
    /// As it was written.
    pub(super) name: String,
    pub(super) address: Address,
}

/// A list of hosts, and where it stands.
struct HostList {
    /// The beginning of an error: a file and a line; empty for an option.
    from: String,
    list: String,
}

impl HostList {
    fn of_option(list: &str) -> Self {
        Self { from: String::new(), list: list.to_owned() }
    }
}

/// The lists of hosts in `file`.
fn lists_in(file: &Path) -> anyhow::Result<Vec<HostList>> {
    let bytes = if is_stdin(file) { read_limited(standard::input(), file) } else { read_named(file) }?;
    let shown = file.display();
    let mut lists = Vec::new();
    for (line, number) in without_bom(&bytes).split(|byte| *byte == b'\n').zip(1..) {
        let from = format!("{shown}: line {number}: ");
        let line = std::str::from_utf8(line).map_err(|_not_utf8| usage(format!("{from}is not UTF-8")))?;
        // In the middle of a word it is no comment.
        let is_comment = |(at, _): &(usize, &str)| {
            line.get(..*at).is_some_and(|head| head.is_empty() || head.ends_with([' ', '\t']))
        };
        let end = line.match_indices('#').find(is_comment).map_or(line.len(), |(at, _)| at);
        let list = line.get(..end).unwrap_or_default().trim();
        if !list.is_empty() {
            lists.push(HostList { from, list: list.to_owned() });
        }
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_given_by_what_was_sent() {
        let args = |words: &[&str]| {
            Args::from_command_line(["rexec", "host"].iter().chain(words).map(OsString::from)).unwrap()
        };
        let (long, most) = ("x".repeat(ARGUMENT_LEN_MAX), "x".repeat(ARGUMENT_LEN_MAX - 1));
        for (words, is_long) in [
            (vec![&*long], true),
            (vec![&most], false),
            (vec!["echo", &most], true),
            (vec!["--", "echo", &most], false),
            (vec!["--", "echo", &long], true),
            ([&["--"][..], &[&*most; 9]].concat(), true),
        ] {
            let args = args(&words);
            assert_eq!(args.hint(126).contains("standard input"), is_long, "{}", words.len());
            assert_eq!(args.hint(127), "");
        }
        // Whatever the server's message says.
        assert_eq!(args(&["argument list too long"]).hint(126), "");
        assert!(args(&["--", "cd", "x"]).hint(127).contains("leave -- out"));
    }

    #[test]
    fn programs_that_draw_are_known_by_their_names() {
        let found = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            drawing_program(&words)
        };
        for (words, name) in [
            (&["vim"][..], Some("vim")),
            (&["/usr/bin/top", "-d", "1"], Some("top")),
            (&["less file"], Some("less")),
            (&["top", "-b"], None),
            (&["man", "ls", "|", "cat"], None),
            (&["ls"], None),
            (&["echo", "vim"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(found(words).as_deref(), name, "{words:?}");
        }
    }
}
