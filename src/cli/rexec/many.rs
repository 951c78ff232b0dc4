//! One command on many machines: a limited number at a time, each with its own result, and output that can be read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::audit::now;
use crate::cli::connect;
use crate::cli::exit::Exit;
use crate::cli::output::{put_error, put_json, put_out, say, tell};
use crate::cli::rexec::args::{Args, Host, PROGRAM};
use crate::cli::rexec::one::{json_held, put_output, shown_call, shown_held, words_of};
use crate::cli::signals::Interruption;
use crate::error::Error;
use crate::exec::process::Work;
use crate::exec::{self, call_exec};
use crate::net::gate::{descriptor_limit, raise_descriptor_limit};
use crate::printable::printable;
use crate::session::millis;
use crate::text::Decoder;
use crate::trust::host_ranges;
use crate::wire::message::{Channel, Outcome, OutputHolder};

/// Bytes of each stream of one host that are kept where the output is shown at the end.
const KEPT_MAX: usize = 1024 * 1024;
/// Bytes of an unfinished line that are kept; a longer line has the output to itself until it ends.
const UNENDED_LEN_MAX: usize = 1024 * 1024;
/// Descriptors that this program needs whatever it does: its streams, the home's files, a name that is looked up.
const DESCRIPTORS_RESERVED: usize = 24;
/// And for each host at the same time: its connection, and what is opened while the command runs.
const DESCRIPTORS_PER_HOST: usize = 4;

/// How it went on one host.
struct HostEnd {
    host: String,
    outcome: Result<Outcome<'static>, String>,
    cwd: Option<Vec<u8>>,
    held: Option<OutputHolder<'static>>,
    exit: Exit,
    began: String,
    took: Duration,
    /// What is kept of both outputs, as it came.
    kept: [Vec<u8>; 2],
    bytes: [u64; 2],
}

/// Runs `work` on all of them; the exit code is 0 if all are 0, and else the highest.
///
/// # Errors
/// Standard output is closed, or a file of `--out` cannot be made.
pub(super) fn run(args: &Args, work: &Work, hosts: &[Host]) -> anyhow::Result<Exit> {
    let many = Many {
        args,
        work,
        variables: &args.variables()?,
        interruption: &Interruption::watch()?,
        lock: &OutputLock::default(),
    };
    let interruption = many.interruption;
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    let failed = Mutex::new(None);
    let width = width(args, hosts.len());
    thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(host) = hosts.get(number) else { return };
                    if interruption.has_come() {
                        return;
                    }
                    match many.run_on(host, number) {
                        Ok(ended) => all.lock().unwrap_or_else(PoisonError::into_inner).push((number, ended)),
                        Err(error) => {
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                            // The others cannot write either, and may never write, and never end.
                            interruption.end();
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|(number, _)| *number);
    let all: Vec<HostEnd> = all.into_iter().map(|(_, ended)| ended).collect();
    let exit = if interruption.has_come() { Exit::Interrupted } else { highest(&all) };
    conclude(args, work, &all, exit)?;
    if interruption.has_come() {
        say(PROGRAM, &format!("interrupted; {} of {} hosts had ended", all.len(), hosts.len()));
    }
    Ok(exit)
}

/// Hosts at the same time: as many as are wanted, and as this process can have open.
fn width(args: &Args, hosts: usize) -> usize {
    raise_descriptor_limit();
    let per_host = DESCRIPTORS_PER_HOST + if args.out.is_some() { 2 } else { 0 };
    let limit = descriptor_limit();
    let wanted = usize::try_from(args.fanout).unwrap_or(1).min(hosts);
    let width = wanted.min(limit.saturating_sub(DESCRIPTORS_RESERVED) / per_host).max(1);
    if width < wanted && !args.output.quiet {
        say(
            PROGRAM,
            &format!("on {} at a time, not {wanted}: {limit} open files are allowed (ulimit -n)", counted(width)),
        );
    }
    width
}

fn highest(all: &[HostEnd]) -> Exit {
    let codes = all.iter().map(|ended| ended.exit.beside_a_command());
    codes.max_by_key(|exit| exit.code()).unwrap_or(Exit::Done)
}

/// One command for many hosts.
struct Many<'m> {
    args: &'m Args,
    work: &'m Work,
    variables: &'m [OsString],
    interruption: &'m Interruption,
    lock: &'m OutputLock,
}

impl Many<'_> {
    /// Runs it on one host. That it fails there is a result; an error means that the output cannot be written.
    fn run_on(&self, host: &Host, number: usize) -> anyhow::Result<HostEnd> {
        let Self { args, .. } = *self;
        let (began, started) = (now(), Instant::now());
        let mut output = HostOutput::new(args, &host.name, OutputSlot { lock: self.lock, number })?;
        let mut attempt = || -> anyhow::Result<exec::CommandEnd> {
            let mut connection = connect::connect_many(PROGRAM, &host.address, &args.connect, &args.output)?;
            self.interruption.add(connection.control());
            let call = shown_call(args, self.work, self.variables, args.exec_options());
            let ended = call_exec(&mut connection, &call, &mut |stream, bytes| output.take(stream, bytes))?;
            connection.close();
            Ok(ended)
        };
        let ended = attempt();
        output.finish()?;
        let (mut cwd, mut held) = (None, None);
        let (outcome, exit) = match ended {
            Ok(exec::CommandEnd { outcome, path, held: holder }) => {
                (cwd, held) = (path, holder);
                let exit = Exit::of_command(&outcome);
                (Ok(outcome), exit)
            }
            Err(error) if crate::cli::output::is_closed_stdout(&error) => return Err(error),
            Err(error) => (Err(format!("{error:#}")), Exit::of(&error).beside_a_command()),
        };
        let HostOutput { kept, bytes, .. } = output;
        let ended =
            HostEnd { host: host.name.clone(), outcome, cwd, held, exit, began, took: started.elapsed(), kept, bytes };
        // An interruption is reported once, for all of them.
        let is_cut = ended.outcome.is_err() && self.interruption.has_come();
        if self.args.json_stream {
            put_json(&ended.json(self.args, self.work, Some("outcome")))?;
        } else if !(self.args.output.json || self.args.group || is_cut) {
            ended.tell();
        }
        if let Some(held) = ended.held.as_ref().filter(|_| !self.args.output.quiet) {
            say(PROGRAM, &format!("{}: {}", ended.host, shown_held(held)));
        }
        Ok(ended)
    }
}

/// The report when all have ended.
fn conclude(args: &Args, work: &Work, all: &[HostEnd], exit: Exit) -> anyhow::Result<()> {
    if args.output.json {
        let results: Vec<_> = all.iter().map(|ended| ended.json(args, work, None)).collect();
        put_json(&results)?;
        return Ok(());
    }
    if args.json_stream {
        return Ok(());
    }
    if args.group {
        show_groups(args, all)?;
    }
    if !args.output.quiet {
        let bad: Vec<String> =
            all.iter().filter(|ended| ended.exit != Exit::Done).map(|ended| ended.host.clone()).collect();
        let which = if bad.is_empty() { String::new() } else { format!(": {}", host_ranges::fold(&bad)) };
        let done = all.len() - bad.len();
        let how = match bad.len() {
            0 => "all ended with 0".to_owned(),
            failed => format!("{done} ended with 0, {failed} with another code, {} at most{which}", exit.code()),
        };
        say(PROGRAM, &printable(&format!("{}: {how}", counted(all.len()))));
    }
    Ok(())
}

fn counted(hosts: usize) -> String {
    if hosts == 1 { "1 host".to_owned() } else { format!("{hosts} hosts") }
}

/// Both outputs, and how it ended.
type GroupKey<'s> = (&'s [u8], &'s [u8], String);

/// Hosts that said the same and ended the same way, together.
fn show_groups(args: &Args, all: &[HostEnd]) -> crate::error::Result<()> {
    let mut groups: BTreeMap<GroupKey<'_>, Vec<String>> = BTreeMap::new();
    for ended in all {
        let [stdout, stderr] = &ended.kept;
        groups.entry((stdout, stderr, ended.how())).or_default().push(ended.host.clone());
    }
    // The largest first: what most of them say is the news, and then what differs.
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, hosts)| std::cmp::Reverse(hosts.len()));
    for ((stdout, stderr, how), named) in groups {
        let head = format!("{} ({}{how}):\n", printable(&host_ranges::fold(&named)), counted(named.len()));
        tell(&head)?;
        for kept in [stdout, stderr] {
            let (text, _) = text_of(args, kept);
            for line in text.split('\n').filter(|line| !line.is_empty()) {
                put_out(format!("  {line}\n").as_bytes())?;
            }
        }
    }
    Ok(())
}

impl HostEnd {
    /// Behind the hosts' names; nothing where all went well.
    fn how(&self) -> String {
        match &self.outcome {
            Ok(Outcome::Exited(0)) => String::new(),
            Ok(outcome) => format!(", {outcome}"),
            Err(why) => format!(", {}", self.without_host(why)),
        }
    }

    /// The error without the host's name: the name is shown anyway, and without it equal errors are equal.
    fn without_host<'w>(&self, why: &'w str) -> &'w str {
        why.strip_prefix(self.host.as_str()).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(why)
    }

    fn tell(&self) {
        let how = match &self.outcome {
            Ok(Outcome::Exited(0)) => return,
            Ok(outcome) => outcome.to_string(),
            Err(why) => self.without_host(why).to_owned(),
        };
        say(PROGRAM, &format!("{}: {}", self.host, printable(&how)));
    }

    fn json(&self, args: &Args, work: &Work, event: Option<&str>) -> serde_json::Value {
        let is_shown = event.is_none();
        // Text where it is, base64 where it is not.
        let [(stdout, stdout_base64), (stderr, stderr_base64)] =
            self.kept.each_ref().map(|kept| match text_of(args, kept) {
                _ if !is_shown => (None, None),
                (text, true) => (Some(text), None),
                (_, false) => (None, Some(BASE64.encode(kept))),
            });
        let (word, exit_code, signal, error) = match &self.outcome {
            Ok(outcome) => words_of(outcome),
            Err(why) => ("failed", Some(i32::from(self.exit.code())), None, Some(why.as_str())),
        };
        serde_json::json!({
            "event": event,
            "host": self.host,
            "command": work.shown(),
            "cwd": self.cwd.as_deref().map(String::from_utf8_lossy),
            "outcome": word,
            "exit_code": exit_code,
            "signal": signal,
            "error": error,
            "held_by": self.held.as_ref().map(json_held),
            "stdout": stdout,
            "stdout_base64": stdout_base64,
            "stderr": stderr,
            "stderr_base64": stderr_base64,
            "stdout_bytes": self.bytes[0],
            "stderr_bytes": self.bytes[1],
            "began": self.began,
            "ms": millis(self.took),
        })
    }
}

/// What was kept of an output, as text, and whether it is text. A character that the limit cuts is left out.
fn text_of(args: &Args, kept: &[u8]) -> (String, bool) {
    let mut decoder = Decoder::new(args.encoding);
    let mut text = decoder.decode(kept);
    if kept.len() < KEPT_MAX {
        text += &decoder.finish();
    }
    let is_text = !decoder.saw_malformed();
    (text, is_text)
}

/// The right to write. Each host writes whole lines; while one is in the middle of a line, the others wait. There is one
/// lock for both outputs, or two hosts could wait for each other.
#[derive(Default)]
struct OutputLock {
    taken_by: Mutex<Option<usize>>,
    is_free: Condvar,
}

impl OutputLock {
    /// Writes for the host of this number, when no other host is in the middle of a line; keeps the lock afterwards if
    /// `keeps`.
    fn write(&self, number: usize, at: usize, bytes: &[u8], keeps: bool) -> crate::error::Result<()> {
        let taken_by = self.taken_by.lock().unwrap_or_else(PoisonError::into_inner);
        let is_others = |taken_by: &mut Option<usize>| taken_by.is_some_and(|other| other != number);
        let mut taken_by = self.is_free.wait_while(taken_by, is_others).unwrap_or_else(PoisonError::into_inner);
        let written = if at == 0 { put_out(bytes) } else { put_error(bytes) };
        *taken_by = keeps.then_some(number);
        if !keeps {
            self.is_free.notify_all();
        }
        written
    }

    /// Gives the lock back, if the host has it: a host that failed must not keep the others waiting.
    fn leave(&self, number: usize) {
        let mut taken_by = self.taken_by.lock().unwrap_or_else(PoisonError::into_inner);
        if *taken_by == Some(number) {
            *taken_by = None;
            self.is_free.notify_all();
        }
    }
}

/// The lock, for the host of this number.
#[derive(Clone, Copy)]
struct OutputSlot<'l> {
    lock: &'l OutputLock,
    number: usize,
}

/// Where one host's output goes.
struct HostOutput<'f> {
    form: OutputForm<'f>,
    /// What is kept where it is shown at the end.
    kept: [Vec<u8>; 2],
    bytes: [u64; 2],
}

enum OutputForm<'f> {
    /// At once, line by line, with the host's name in front.
    Lines(HostLines<'f>),
    /// At the end.
    Kept,
    /// As events.
    Events(String),
    /// Into files.
    Files([File; 2]),
}

impl<'f> HostOutput<'f> {
    fn new(args: &Args, host: &str, slot: OutputSlot<'f>) -> anyhow::Result<Self> {
        let form = match &args.out {
            _ if args.json_stream => OutputForm::Events(host.to_owned()),
            Some(directory) => OutputForm::Files(files_in(directory, host)?),
            None if args.output.json || args.group => OutputForm::Kept,
            None => OutputForm::Lines(HostLines::new(args, host, slot)),
        };
        Ok(Self { form, kept: [Vec::new(), Vec::new()], bytes: [0, 0] })
    }

    fn take(&mut self, stream: Channel, bytes: &[u8]) -> crate::error::Result<()> {
        let at = usize::from(stream == Channel::Stderr);
        self.bytes[at] += bytes.len() as u64;
        match &mut self.form {
            OutputForm::Files(files) => files[at].write_all(bytes).map_err(Error::ours("a file of --out")),
            OutputForm::Events(host) => put_output(Some(host), stream, bytes),
            OutputForm::Lines(lines) => lines.take(at, bytes),
            OutputForm::Kept => {
                let room = KEPT_MAX.saturating_sub(self.kept[at].len()).min(bytes.len());
                self.kept[at].extend_from_slice(bytes.get(..room).unwrap_or_default());
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> crate::error::Result<()> {
        if let OutputForm::Lines(lines) = &mut self.form { lines.finish() } else { Ok(()) }
    }
}

/// One host's lines.
struct HostLines<'f> {
    prefix: String,
    slot: OutputSlot<'f>,
    decoders: [Decoder; 2],
    /// Of each output, a line that has not ended yet.
    unended: [Vec<u8>; 2],
    /// Whether its beginning was written already.
    is_begun: [bool; 2],
}

impl<'f> HostLines<'f> {
    fn new(args: &Args, host: &str, slot: OutputSlot<'f>) -> Self {
        let decoders = [Decoder::new(args.encoding), Decoder::new(args.encoding)];
        let unended = [Vec::new(), Vec::new()];
        Self { prefix: format!("{host}: "), slot, decoders, unended, is_begun: [false, false] }
    }

    fn take(&mut self, at: usize, bytes: &[u8]) -> crate::error::Result<()> {
        let text = self.decoders[at].decode(bytes);
        self.put(at, &text)
    }

    /// Writes complete lines at once, and of an incomplete one only what is too long to keep.
    fn put(&mut self, at: usize, text: &str) -> crate::error::Result<()> {
        for piece in text.split_inclusive('\n') {
            self.unended[at].extend_from_slice(piece.as_bytes());
            if piece.ends_with('\n') {
                self.write(at, false)?;
            } else if self.is_begun[at] || self.unended[at].len() > UNENDED_LEN_MAX {
                self.write(at, true)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, at: usize, is_unended: bool) -> crate::error::Result<()> {
        let mut bytes = std::mem::take(&mut self.unended[at]);
        if !self.is_begun[at] {
            bytes.splice(0..0, self.prefix.bytes());
        }
        self.is_begun[at] = is_unended;
        self.slot.lock.write(self.slot.number, at, &bytes, self.is_begun.contains(&true))
    }

    fn finish(&mut self) -> crate::error::Result<()> {
        for at in [0, 1] {
            let text = self.decoders[at].finish();
            self.put(at, &text)?;
            if self.is_begun[at] || !self.unended[at].is_empty() {
                self.unended[at].push(b'\n');
                self.write(at, false)?;
            }
        }
        Ok(())
    }
}

impl Drop for HostLines<'_> {
    fn drop(&mut self) {
        self.slot.lock.leave(self.slot.number);
    }
}

/// `HOST.stdout` and `HOST.stderr`, with what a file's name cannot hold replaced.
fn files_in(directory: &Path, host: &str) -> anyhow::Result<[File; 2]> {
    let ours = |path: &Path| Error::ours(path.display().to_string());
    std::fs::create_dir_all(directory).map_err(ours(directory))?;
    let name = host.replace('/', "_");
    let open = |end: &str| {
        let path = directory.join(format!("{name}.{end}"));
        File::create(&path).map_err(ours(&path))
    };
    Ok([open("stdout")?, open("stderr")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_in_the_middle_of_a_line_is_not_interrupted() {
        let lock = OutputLock::default();
        lock.write(1, 1, b"", true).unwrap();
        let written = AtomicUsize::new(0);
        thread::scope(|scope| {
            for number in 2..5 {
                let (lock, written) = (&lock, &written);
                scope.spawn(move || {
                    lock.write(number, 1, b"", false).unwrap();
                    written.fetch_add(1, Ordering::SeqCst);
                });
            }
            // Its own other output is no interruption.
            lock.write(1, 1, b"", true).unwrap();
            assert_eq!(written.load(Ordering::SeqCst), 0);
            lock.leave(7);
            assert_eq!(written.load(Ordering::SeqCst), 0);
            lock.leave(1);
        });
        assert_eq!(written.load(Ordering::SeqCst), 3);
    }
}
