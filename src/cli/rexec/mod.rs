//! `rexec`: run a command on another machine or on many, or open a prompt there.

pub mod hosts;
pub mod many;

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Parser;

use crate::bare::BareLine;
use crate::cli::args::{Reach, Talk, duration};
use crate::cli::exit::usage;
use crate::cli::prompt::{Input, Prompt};
use crate::cli::signals::Forwarding;
use crate::cli::{Exit, connect, printable, put_json, put_out, say};
use crate::dir::{call_cd, call_pwd};
use crate::exec::process::Work;
use crate::exec::{Call, call_exec};
use crate::line::Line;
use crate::net::Address;
use crate::net::address::AddressError;
use crate::session::millis;
use crate::text::{Decoder, Encoding};
use crate::wire::Error;
use crate::wire::error::LineLost;
use crate::wire::message::{Outcome, Stream, Terms};
use crate::wire::tutorial::{Ended, Waits, Wire};

/// The program's name, in messages.
pub const PROGRAM: &str = "rexec";

/// Run a command on another machine, or open a prompt there
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line, each on its own")]
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    talk: Talk,
    /// Directory over there, under the server's root
    #[arg(short = 'C', long, value_name = "DIR")]
    chdir: Option<OsString>,
    /// Give the command no input
    #[arg(short = 'n', long)]
    no_stdin: bool,
    /// Print one JSON event a line as it happens: stdout, stderr, outcome
    #[arg(long, conflicts_with = "json")]
    json_stream: bool,
    /// What characters the command's text is, both ways: utf-8, gbk, ...
    #[arg(long, env = "LANDLINE_ENCODING", value_name = "LABEL", default_value = "utf-8")]
    encoding: Encoding,
    /// Speak to one of the tutorials' servers: raw, len, json, ack
    #[arg(long, env = "LANDLINE_WIRE", value_name = "WIRE")]
    wire: Option<Wire>,
    /// End the command after so long, and all that it has started; with --wire: how long to wait for a reply [default: 5s]
    #[arg(long, env = "LANDLINE_EXEC_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// When it is ended (the time is up, this program is gone): ask first, kill so much later
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = duration, conflicts_with = "wire")]
    kill_after: Duration,
    /// Set a variable for the command; a NAME alone takes its value from here; may be given several times
    #[arg(short, long, value_name = "NAME=VALUE", conflicts_with = "wire")]
    env: Vec<OsString>,
    /// Set the variables that stand in FILE, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "wire")]
    env_file: Vec<PathBuf>,
    /// Both outputs as one on standard output, in the order in which the command wrote them
    #[arg(long, conflicts_with = "wire")]
    merge: bool,
    /// With --wire raw: silence that ends a reply
    #[arg(long, default_value = "200ms", value_name = "DURATION", value_parser = duration, requires = "wire")]
    idle: Duration,
    /// Run it on many hosts, as in web1,db[1-3]; may be given several times. The command gets no input
    #[arg(short = 'H', long, value_name = "LIST", conflicts_with = "wire")]
    hosts: Vec<String>,
    /// Run it on the hosts that stand in FILE, one list a line
    #[arg(long, value_name = "FILE", conflicts_with = "wire")]
    hosts_file: Vec<PathBuf>,
    /// With several hosts: on so many at a time
    #[arg(long, env = "LANDLINE_FANOUT", value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    fanout: u32,
    /// With several hosts: show the output at the end, the same one once
    #[arg(short, long)]
    group: bool,
    /// With several hosts: write the output into files in DIR, HOST.stdout and HOST.stderr
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// HOST, HOST:PORT, [::1]:7000 or unix:/path; not with --hosts
    #[arg(value_name = "HOST")]
    host: Option<OsString>,
    /// Words for the server's shell, joined by spaces; or, after --, a program and its arguments
    /// exactly as they are; or nothing, for a prompt
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Set by [`Args::from_command_line`]: the words came after `--`.
    #[arg(skip)]
    is_argv: bool,
}

/// How long a tutorial's server may take to reply, if nobody says.
const REPLY_TIME_MAX: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  rexec build 'ls -l | wc'            a command for the server's shell
  rexec build -- printf '%s\\n' 'a b'  a program and its exact arguments, no shell
  rexec -C src build make             in a directory under the server's root
  rexec -e DEBUG=1 --timeout 10m build make   with a variable, and a deadline that the server keeps
  tar c . | rexec build 'tar x'       standard input goes there too
  rexec -H web1,db[1-3] -- uptime     on many hosts, each line with its host's name
  rexec -g --hosts-file all -- uname -r   the same answer once, with all that gave it
  rexec build                         a prompt that keeps its directory

Exit code: the command's own; 128+n if signal n ended it; 124 if its time was up; 126 or 127 if it could not start;
251 refused, 252 wrong usage, 253 not connected, 254 line lost (the command's fate is unknown here).";

impl Args {
    /// Reads the command line. Whether the command came behind `--` decides what it is, and clap
    /// does not tell, so the line is looked at in two parts.
    ///
    /// # Errors
    /// Wrong usage, or a request for help.
    pub fn from_command_line(words: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.collect();
        if let Some(dashes) = words.iter().position(|word| word == "--")
            && let Ok(mut args) = Self::try_parse_from(words.iter().take(dashes))
            && args.command.is_empty()
        {
            args.command = words.into_iter().skip(dashes + 1).collect();
            args.is_argv = true;
            return Ok(args);
        }
        let mut args = Self::try_parse_from(words)?;
        if args.is_many() {
            // There is no HOST before the command.
            args.command.splice(0..0, args.host.take());
        }
        Ok(args)
    }

    fn is_many(&self) -> bool {
        !self.hosts.is_empty() || !self.hosts_file.is_empty()
    }

    /// The one host.
    fn address(&self) -> anyhow::Result<Address> {
        let Some(host) = &self.host else { return Err(usage("name a HOST, or several with --hosts")) };
        let host = host.to_str().ok_or_else(|| usage("the host's name is not UTF-8"))?;
        host.parse().map_err(|error: AddressError| usage(error.to_string()))
    }

    /// The many, each once, in their order.
    fn addresses(&self) -> anyhow::Result<Vec<(String, Address)>> {
        let mut lists = self.hosts.clone();
        for file in &self.hosts_file {
            let text = std::fs::read_to_string(file).map_err(Error::ours(file.display().to_string()))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            lists.extend(lines.map(str::to_owned));
        }
        let mut seen = HashSet::new();
        let mut addresses = Vec::new();
        for list in &lists {
            for host in hosts::expand(list).map_err(usage)? {
                let address = host.parse().map_err(|error: AddressError| usage(error.to_string()))?;
                if seen.insert(host.clone()) {
                    addresses.push((host, address));
                }
            }
        }
        if addresses.is_empty() { Err(usage("the list of hosts is empty")) } else { Ok(addresses) }
    }

    fn work(&self) -> Option<Work> {
        if self.command.is_empty() {
            return None;
        }
        if self.is_argv {
            return Some(Work::Argv(self.command.clone()));
        }
        let words: Vec<&[u8]> = self.command.iter().map(|word| word.as_bytes()).collect();
        Some(Work::Shell(self.encoded(OsString::from_vec(words.join(&b' ')))))
    }

    /// The variables that are to be set over there.
    fn variables(&self) -> anyhow::Result<Vec<OsString>> {
        let mut variables = Vec::new();
        for file in &self.env_file {
            let text = std::fs::read(file).with_context(|| file.display().to_string())?;
            let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
            variables.extend(lines.map(|line| OsString::from_vec(line.to_vec())));
        }
        variables.extend(self.env.iter().cloned());
        for variable in &mut variables {
            if variable.as_bytes().contains(&b'=') {
                continue;
            }
            let Some(value) = std::env::var_os(&*variable) else {
                let name = variable.to_string_lossy();
                return Err(usage(format!("{name}: is not set here; write {name}=VALUE")));
            };
            variable.push("=");
            variable.push(value);
        }
        match variables.iter().find(|variable| variable.as_bytes().starts_with(b"=")) {
            Some(nameless) => Err(usage(format!("{}: has no name; write NAME=VALUE", nameless.to_string_lossy()))),
            None => Ok(variables),
        }
    }

    fn terms(&self) -> Terms {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (timeout_ms, kill_after_ms) = (self.timeout.map(ms), Some(ms(self.kill_after)));
        Terms { variables: 0, timeout_ms, kill_after_ms, merged: self.merge }
    }

    /// How long a tutorial's server may take to reply.
    fn reply_timeout(&self) -> Duration {
        self.timeout.unwrap_or(REPLY_TIME_MAX)
    }

    /// A command string in the encoding of the machine over there.
    fn encoded(&self, command: OsString) -> OsString {
        match command.to_str() {
            Some(text) if !self.encoding.is_utf8() => OsString::from_vec(self.encoding.encode(text).0),
            _ => command,
        }
    }
}

/// Runs what `args` say.
///
/// # Errors
/// No connection, refused, line lost; the command's own failure is its exit code.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    if args.is_argv && args.command.is_empty() {
        return Err(usage("nothing to run behind --"));
    }
    if args.is_many() {
        let Some(work) = args.work() else { return Err(usage("name a command for all the hosts")) };
        return many::run(args, &work, &args.addresses()?);
    }
    if args.group || args.out.is_some() {
        return Err(usage("--group and --out are for several hosts; name them with --hosts"));
    }
    let host = args.address()?;
    if let Some(wire) = args.wire {
        return bare(args, &host, wire);
    }
    let mut line = match connect::line(PROGRAM, &host, &args.reach, &args.talk) {
        Ok(line) => line,
        Err(error) => {
            tell_failure(args, &host, &format!("{error:#}"), Exit::of(&error))?;
            return Err(error);
        }
    };
    let Some(work) = args.work() else { return prompt(args, &host, line) };
    let exit = run(args, &host, &mut line, &work)?;
    line.close();
    Ok(exit)
}

fn run(args: &Args, host: &Address, line: &mut Line, work: &Work) -> anyhow::Result<Exit> {
    let stdin = std::io::stdin();
    let variables = args.variables()?;
    let call = Call {
        work,
        variables: &variables,
        terms: args.terms(),
        path: args.chdir.as_ref().map(|path| path.as_bytes()),
        stdin: (!args.no_stdin).then(|| stdin.as_fd()),
    };
    let forwarding = Forwarding::start(line.sender().clone(), line.control().clone())?;
    let mut show = Show::new(args);
    let started = Instant::now();
    let ended = call_exec(line, &call, &mut |stream, bytes| show.output(stream, bytes));
    if forwarding.stop() {
        say(PROGRAM, "ended by a second Ctrl-C; the server ends the command");
        return Ok(Exit::Interrupted);
    }
    let ended = ended.and_then(|outcome| show.finish().map(|()| outcome));
    match ended {
        Ok(outcome) => {
            show.outcome(host, work, &outcome, started.elapsed())?;
            Ok(Exit::of_command(&outcome))
        }
        Err(error) => {
            tell_failure(args, host, &error.with_cause(), Exit::of_line(&error))?;
            Err(error.into())
        }
    }
}

/// A call that failed, for programs: the same object with `error` and without an outcome.
fn tell_failure(args: &Args, host: &Address, error: &str, exit: Exit) -> crate::wire::Result<()> {
    if !args.talk.json && !args.json_stream {
        return Ok(());
    }
    put_json(&serde_json::json!({
        "event": args.json_stream.then_some("error"),
        "host": host.to_string(),
        "error": error,
        "exit_code": exit.beside_a_command().code(),
    }))
}

/// Where a command's output goes: as it is, decoded, or as events.
struct Show<'a> {
    args: &'a Args,
    decoders: [Decoder; 2],
    bytes: [u64; 2],
}

impl<'a> Show<'a> {
    fn new(args: &'a Args) -> Self {
        Self { args, decoders: [Decoder::new(args.encoding), Decoder::new(args.encoding)], bytes: [0, 0] }
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) -> crate::wire::Result<()> {
        let at = usize::from(stream == Stream::Stderr);
        self.bytes[at] += bytes.len() as u64;
        if self.args.json_stream {
            let event = ["stdout", "stderr"][at];
            return match std::str::from_utf8(bytes) {
                Ok(text) => put_json(&serde_json::json!({ "event": event, "text": text })),
                Err(_) => put_json(&serde_json::json!({ "event": event, "base64": BASE64.encode(bytes) })),
            };
        }
        if self.args.encoding.is_utf8() {
            return self.write(stream, bytes);
        }
        let text = self.decoders[at].decode(bytes);
        self.write(stream, text.as_bytes())
    }

    /// With `--json` standard output is the object's, so the command's goes to standard error.
    fn write(&self, stream: Stream, bytes: &[u8]) -> crate::wire::Result<()> {
        if stream == Stream::Main && !self.args.talk.json {
            return put_out(bytes);
        }
        std::io::stderr().lock().write_all(bytes).map_err(Error::ours("standard error"))
    }

    /// What is left of a character that never ended.
    fn finish(&mut self) -> crate::wire::Result<()> {
        for (at, stream) in [(0, Stream::Main), (1, Stream::Stderr)] {
            let rest = self.decoders[at].finish();
            if !rest.is_empty() {
                self.write(stream, rest.as_bytes())?;
            }
        }
        if self.decoders.iter().any(Decoder::saw_malformed) {
            say(PROGRAM, &format!("some output is not {}; it is shown as \u{fffd}", self.args.encoding));
        }
        Ok(())
    }

    fn outcome(&self, host: &Address, work: &Work, outcome: &Outcome<'_>, took: Duration) -> crate::wire::Result<()> {
        match outcome {
            Outcome::Killed(signal) => say(PROGRAM, &format!("{host}: killed by signal {}", printable(signal))),
            Outcome::CouldNotStart { why, .. } => say(PROGRAM, &format!("{host}: {}", printable(why))),
            Outcome::TimedOut => say(PROGRAM, &format!("{host}: its time was up, and it was ended")),
            Outcome::Exited(_) => {}
        }
        if !self.args.talk.json && !self.args.json_stream {
            return Ok(());
        }
        let (outcome, exit_code, signal, error) = words_of(outcome);
        put_json(&serde_json::json!({
            "event": self.args.json_stream.then_some("outcome"),
            "host": host.to_string(),
            "command": work.shown(),
            "outcome": outcome,
            "exit_code": exit_code,
            "signal": signal,
            "error": error,
            "stdout_bytes": self.bytes[0],
            "stderr_bytes": self.bytes[1],
            "ms": millis(took),
        }))
    }
}

/// An outcome for programs: its word, its code, its signal, and why it never was.
fn words_of<'o>(outcome: &'o Outcome<'_>) -> (&'static str, Option<i32>, Option<&'o str>, Option<&'o str>) {
    match outcome {
        Outcome::Exited(code) => ("exited", Some(*code), None, None),
        Outcome::Killed(signal) => ("killed", None, Some(signal), None),
        Outcome::TimedOut => ("timed-out", None, None, None),
        Outcome::CouldNotStart { code, why } => ("could-not-start", Some(*code), None, Some(why)),
    }
}

/// A prompt that shows where it stands and keeps it: `cd` moves the session, all else is run.
fn prompt(args: &Args, host: &Address, mut line: Line) -> anyhow::Result<Exit> {
    let mut input = Prompt::new(())?;
    if let Some(directory) = &args.chdir {
        call_cd(&mut line, directory.as_bytes())?;
    }
    let mut exit = Exit::Done;
    loop {
        let cwd = String::from_utf8_lossy(&call_pwd(&mut line)?).into_owned();
        let command = match input.read(&format!("{host}:{}> ", printable(&cwd)))? {
            Input::Line(command) => command.trim().to_owned(),
            Input::Interrupted => continue,
            Input::End => break,
        };
        let code = match command.split_whitespace().collect::<Vec<_>>()[..] {
            [] => continue,
            ["exit" | "quit"] => break,
            ["cd"] => cd(&mut line, "/")?,
            ["cd", path] => cd(&mut line, path)?,
            _ => run_line(args, &mut line, command)?,
        };
        if exit == Exit::Done {
            exit = code;
        }
    }
    line.close();
    // At a terminal the person has seen each failure; a script is told of the first.
    Ok(if input.is_interactive() { Exit::Done } else { exit })
}

fn cd(line: &mut Line, path: &str) -> anyhow::Result<Exit> {
    match call_cd(line, path.as_bytes()) {
        Ok(_) => Ok(Exit::Done),
        Err(Error::Refused(refusal)) => {
            say(PROGRAM, &printable(&refusal.message));
            Ok(Exit::Failed)
        }
        Err(error) => Err(error.into()),
    }
}

fn run_line(args: &Args, line: &mut Line, command: String) -> anyhow::Result<Exit> {
    let work = Work::Shell(args.encoded(command.into()));
    let variables = args.variables()?;
    let call = Call { work: &work, path: None, variables: &variables, terms: args.terms(), stdin: None };
    let forwarding = Forwarding::start(line.sender().clone(), line.control().clone())?;
    let mut show = Show::new(args);
    let ended = call_exec(line, &call, &mut |stream, bytes| show.output(stream, bytes));
    forwarding.stop();
    match ended {
        Ok(outcome) => {
            show.finish()?;
            if let Outcome::Killed(signal) = &outcome {
                say(PROGRAM, &format!("killed by signal {}", printable(signal)));
            }
            Ok(Exit::of_command(&outcome))
        }
        Err(Error::Refused(refusal)) => {
            say(PROGRAM, &printable(&refusal.message));
            Ok(Exit::Failed)
        }
        Err(error) => Err(error.into()),
    }
}

/// A command for a tutorial's server, or a prompt of them.
fn bare(args: &Args, host: &Address, wire: Wire) -> anyhow::Result<Exit> {
    if wire.carries_files() {
        return Err(usage("the wires size and close carry files; use fget --wire"));
    }
    if args.is_argv || args.chdir.is_some() {
        return Err(usage("the tutorials' servers take a command string only: no -- and no --chdir"));
    }
    let stream = connect::stream(PROGRAM, host, &args.reach, &args.talk)?;
    let mut line = BareLine::new(stream, wire, Waits { reply: Some(args.reply_timeout()), idle: args.idle });
    if let Some(Work::Shell(command)) = args.work() {
        let exit = ask_bare(args, &mut line, command.as_bytes())?;
        line.close();
        return Ok(exit);
    }
    let mut input = Prompt::new(())?;
    let mut exit = Exit::Done;
    loop {
        let command = match input.read(&format!("{host}> "))? {
            Input::Line(command) => command.trim().to_owned(),
            Input::Interrupted => continue,
            Input::End => break,
        };
        if command.is_empty() {
            continue;
        }
        if command == "exit" || command == "quit" {
            break;
        }
        let code = ask_bare(args, &mut line, args.encoded(command.into()).as_bytes())?;
        if exit == Exit::Done {
            exit = code;
        }
    }
    line.close();
    Ok(exit)
}

fn ask_bare(args: &Args, line: &mut BareLine, command: &[u8]) -> anyhow::Result<Exit> {
    line.say(command)?;
    let mut decoder = Decoder::new(args.encoding);
    let mut ends_line = true;
    let ended = line.hear(&mut |piece| {
        ends_line = piece.ends_with(b"\n");
        if args.encoding.is_utf8() { put_out(piece) } else { put_out(decoder.decode(piece).as_bytes()) }
    })?;
    put_out(decoder.finish().as_bytes())?;
    if !ends_line && std::io::stdout().is_terminal() {
        put_out(b"\n")?;
    }
    match ended {
        Ended::Nothing => {
            let waited = args.reply_timeout();
            say(
                PROGRAM,
                &format!("no reply within {waited:?}; some servers send nothing for a command that prints nothing"),
            );
            Ok(Exit::Failed)
        }
        Ended::Closed => Err(Error::from(LineLost::Closed { wanted: "a reply" }).into()),
        Ended::Whole | Ended::Idle | Ended::SizeGuessed => Ok(Exit::Done),
    }
}
