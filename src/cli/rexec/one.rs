//! One command on one host: its output as it is, decoded, or as events, and its outcome.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Instant;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::audit::now;
use crate::cli::exit::Exit;
use crate::cli::output::{put_error, put_json, put_out, say};
use crate::cli::rexec::args::{Args, PROGRAM};
use crate::cli::rexec::terminal;
use crate::cli::rexec::terminal::{Escapes, Raw, Screen};
use crate::cli::signals::{Forwarding, WINCH as SIGWINCH, to_command};
use crate::connection::Connection;
use crate::exec::process::{Work, signal_name};
use crate::exec::{Call, CommandEnd, call_exec};
use crate::net::Address;
use crate::printable::printable;
use crate::session::millis;
use crate::text::{Decoder, Encoder};
use crate::wire::Message;
use crate::wire::message::{Channel, ExecOptions, Outcome, OutputHolder};

/// Runs it, with this side's input, output and signals, or this side's terminal.
///
/// # Errors
/// Refused, or the connection was lost.
pub(super) fn run(args: &Args, host: &Address, connection: &mut Connection, work: &Work) -> anyhow::Result<Exit> {
    if !args.no_stdin {
        crate::cli::closed::check_input()?;
    }
    let stdin = std::io::stdin();
    let (variables, exec_options) = (args.variables()?, args.exec_options());
    let (sender, control) = (connection.sender().clone(), connection.control().clone());
    let is_terminal = exec_options.terminal.is_some();
    let message: &(dyn Fn(i32) -> Option<Message<'static>> + Sync) =
        if is_terminal { &to_terminal } else { &to_command };
    let forwarding = Forwarding::start(sender.clone(), control.clone(), args.kill_after, message)?;
    if let Some(program) = args.wants_terminal().filter(|_| !args.output.quiet) {
        say(PROGRAM, &format!("{program} is at home on a terminal; give it one with -t: rexec -t {host} {program}"));
    }
    let modes = is_terminal.then(terminal::modes).flatten();
    // Behind the signals: while it is raw, none of them ends this program.
    let raw = if is_terminal && !args.no_stdin { Raw::enter().context("the terminal here")? } else { None };
    let escapes = raw.as_ref().map(|raw| Escapes::new(args.escape.0, raw, control, sender));
    let encoder = (!args.encoding.is_utf8()).then(|| Encoder::new(args.encoding));
    let typed = |keys: &[u8]| match (&escapes, &encoder) {
        (Some(escapes), None) => escapes.take(keys),
        (Some(escapes), Some(encoder)) => encoder.encode(&escapes.take(keys)),
        (None, Some(encoder)) => encoder.encode(keys),
        (None, None) => keys.to_vec(),
    };
    let call = Call {
        modes: modes.as_deref(),
        stdin: (!args.no_stdin).then(|| stdin.as_fd()),
        typed: (escapes.is_some() || encoder.is_some()).then_some(&typed),
        ..shown_call(args, work, &variables, exec_options)
    };
    let mut show = CommandOutput::new(args);
    let time = RunTime::begin();
    let ended = call_exec(connection, &call, &mut |stream, bytes| show.output(stream, bytes));
    let is_left = escapes.as_ref().is_some_and(Escapes::is_left);
    if is_terminal {
        show.undo();
    }
    drop(raw);
    let ended_by = forwarding.stop();
    if let Some(signal) = ended_by {
        say(PROGRAM, &format!("ended by signal {}; the server ends the command", signal_name(signal)));
        return Ok(Exit::of_signal(signal));
    }
    if is_left {
        say(PROGRAM, "left; the server ends the command");
        return Ok(Exit::Interrupted);
    }
    let ended = ended.and_then(|ended| show.finish().map(|()| ended));
    match ended {
        Ok(ended) => {
            show.outcome(host, &work.shown(), &ended, &time)?;
            Ok(Exit::of_command(&ended.outcome))
        }
        Err(error) => {
            tell_failure(args, host, &error.with_cause(), Exit::of_error(&error))?;
            Err(error.into())
        }
    }
}

/// Where and with what a command runs, as the command line says; it has nothing to read yet.
pub(super) fn shown_call<'c>(
    args: &'c Args,
    work: &'c Work,
    variables: &'c [OsString],
    exec_options: ExecOptions,
) -> Call<'c> {
    let (path, place) = (args.chdir.as_ref().map(|path| path.as_bytes()), args.place.as_deref());
    Call { path, place, variables, options: exec_options, ..Call::of(work) }
}

/// With a terminal there, the size of the one here is told, and the rest are signals.
fn to_terminal(signal: i32) -> Option<Message<'static>> {
    if signal == SIGWINCH { Some(Message::Window { size: terminal::size() }) } else { to_command(signal) }
}

/// A call that failed, for programs: the same object with `error` and without an outcome.
pub(super) fn tell_failure(args: &Args, host: &Address, error: &str, exit: Exit) -> crate::error::Result<()> {
    if !args.output.json && !args.json_stream {
        return Ok(());
    }
    put_json(&serde_json::json!({
        "event": args.json_stream.then_some("error"),
        "host": host.to_string(),
        "error": error,
        "exit_code": exit.beside_a_command().code(),
    }))
}

/// When a command began, as it is reported.
#[derive(Debug)]
pub(super) struct RunTime {
    /// The time of day, for people and logs.
    began: String,
    started: Instant,
}

impl RunTime {
    /// It begins now.
    pub(super) fn begin() -> Self {
        Self { began: now(), started: Instant::now() }
    }
}

/// Where a command's output goes: as it is, decoded, or as events.
pub(super) struct CommandOutput<'a> {
    args: &'a Args,
    decoders: [Decoder; 2],
    bytes: [u64; 2],
    screen: Option<Screen>,
}

impl<'a> CommandOutput<'a> {
    pub(super) fn new(args: &'a Args) -> Self {
        Self {
            args,
            decoders: [Decoder::new(args.encoding), Decoder::new(args.encoding)],
            bytes: [0, 0],
            // Into a file goes what the command has written, and nothing else.
            screen: (args.has_terminal() && std::io::stdout().is_terminal()).then(Screen::default),
        }
    }

    /// Takes back what the command has made of the terminal here and did not take back itself.
    fn undo(&self) {
        let undo = self.screen.as_ref().map(Screen::undo).unwrap_or_default();
        if let Err(error) = put_out(undo.as_bytes()) {
            tracing::debug!(%error, "the terminal could not be told what to undo");
        }
    }

    pub(super) fn output(&mut self, stream: Channel, bytes: &[u8]) -> crate::error::Result<()> {
        let at = usize::from(stream == Channel::Stderr);
        self.bytes[at] += bytes.len() as u64;
        if self.args.json_stream {
            return put_output(None, stream, bytes);
        }
        if let Some(screen) = &mut self.screen {
            screen.shown(bytes);
        }
        if self.args.encoding.is_utf8() {
            return self.write(stream, bytes);
        }
        let text = self.decoders[at].decode(bytes);
        self.write(stream, text.as_bytes())
    }

    /// With `--json` standard output is the object's, so the command's goes to standard error.
    fn write(&self, stream: Channel, bytes: &[u8]) -> crate::error::Result<()> {
        if stream == Channel::Main && !self.args.output.json {
            return put_out(bytes);
        }
        put_error(bytes)
    }

    /// What is left of a character that never ended.
    pub(super) fn finish(&mut self) -> crate::error::Result<()> {
        for (at, stream) in [(0, Channel::Main), (1, Channel::Stderr)] {
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

    pub(super) fn outcome(
        &self,
        host: &Address,
        command: &str,
        ended: &CommandEnd,
        time: &RunTime,
    ) -> crate::error::Result<()> {
        match &ended.outcome {
            Outcome::Killed(signal) => say(PROGRAM, &format!("{host}: killed by signal {}", printable(signal))),
            Outcome::CouldNotStart { code, why } => {
                say(PROGRAM, &format!("{host}: {}{}", printable(why), self.args.hint(*code)));
            }
            Outcome::TimedOut => say(PROGRAM, &format!("{host}: its time was up, and it was ended")),
            Outcome::Lost { why } => say(PROGRAM, &format!("{host}: lost: {}", printable(why))),
            Outcome::Exited(_) => {}
        }
        if let Some(held) = ended.held.as_ref().filter(|_| !self.args.output.quiet) {
            say(PROGRAM, &format!("{host}: {}", shown_held(held)));
        }
        if !self.args.output.json && !self.args.json_stream {
            return Ok(());
        }
        let (outcome, exit_code, signal, error) = words_of(&ended.outcome);
        put_json(&serde_json::json!({
            "event": self.args.json_stream.then_some("outcome"),
            "host": host.to_string(),
            "command": command,
            "cwd": ended.path.as_deref().map(String::from_utf8_lossy),
            "outcome": outcome,
            "exit_code": exit_code,
            "signal": signal,
            "error": error,
            "held_by": ended.held.as_ref().map(json_held),
            "stdout_bytes": self.bytes[0],
            "stderr_bytes": self.bytes[1],
            "began": time.began,
            "ms": millis(time.started.elapsed()),
        }))
    }
}

/// What has outlived its command, for a person.
pub(super) fn shown_held(held: &OutputHolder<'_>) -> String {
    let name = if held.name.is_empty() { "a process that cannot be seen".into() } else { printable(&held.name) };
    let number = held.pid.map_or(String::new(), |pid| format!(" (process {pid})"));
    let fate = if held.is_closed {
        "its output was closed, since too many such processes are there already"
    } else {
        "what it writes from now on is thrown away (--linger waits longer)"
    };
    format!("{name}{number} still runs and holds the output; {fate}")
}

/// The same for programs.
pub(super) fn json_held(held: &OutputHolder<'_>) -> serde_json::Value {
    serde_json::json!({ "name": held.name, "pid": held.pid, "closed": held.is_closed })
}

/// A piece of output, for programs: text where it is, base64 where it is not.
pub(super) fn put_output(host: Option<&str>, stream: Channel, bytes: &[u8]) -> crate::error::Result<()> {
    let mut event = serde_json::Map::new();
    let name = if stream == Channel::Main { "stdout" } else { "stderr" };
    event.insert("event".into(), name.into());
    if let Some(host) = host {
        event.insert("host".into(), host.into());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => event.insert("text".into(), text.into()),
        Err(_) => event.insert("base64".into(), BASE64.encode(bytes).into()),
    };
    put_json(&event)
}

/// An outcome for programs: its word, its code, its signal, and why it never was.
pub(super) fn words_of<'o>(outcome: &'o Outcome<'_>) -> (&'static str, Option<i32>, Option<&'o str>, Option<&'o str>) {
    match outcome {
        Outcome::Exited(code) => ("exited", Some(*code), None, None),
        Outcome::Killed(signal) => ("killed", None, Some(signal), None),
        Outcome::TimedOut => ("timed-out", None, None, None),
        Outcome::CouldNotStart { code, why } => ("could-not-start", Some(*code), None, Some(why)),
        Outcome::Lost { why } => ("lost", None, None, Some(why)),
    }
}
