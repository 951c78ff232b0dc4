//! One command on many machines: so many at a time, each with an end of its own, and output that can be read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::one::{json_held, put_output, shown_call, shown_held, words_of};
use super::{Args, PROGRAM, hosts};
use crate::audit::now;
use crate::cli::signals::Interruption;
use crate::cli::{Exit, connect, printable, put_error, put_json, put_out, say};
use crate::exec::process::Work;
use crate::exec::{self, call_exec};
use crate::net::Address;
use crate::session::millis;
use crate::text::Decoder;
use crate::wire::Error;
use crate::wire::message::{Held, Outcome, Stream};

/// Of one host's output so much is kept where it is shown at the end, in bytes of each stream.
const KEPT_MAX: usize = 1024 * 1024;
/// A longer line is shown in pieces, in bytes.
const LINE_LEN_MAX: usize = 64 * 1024;

/// How it went on one host.
struct Ended {
    host: String,
    outcome: Result<Outcome<'static>, String>,
    cwd: Option<Vec<u8>>,
    held: Option<Held<'static>>,
    exit: Exit,
    began: String,
    took: Duration,
    output: Output,
}

/// Runs `work` on all of them; the exit code is 0 if all are 0, and else the highest.
///
/// # Errors
/// Standard output is closed, or a file of `--out` cannot be made.
pub fn run(args: &Args, work: &Work, addresses: &[(String, Address)]) -> anyhow::Result<Exit> {
    let interruption = Interruption::watch()?;
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    let failed = Mutex::new(None);
    let variables = args.variables()?;
    thread::scope(|scope| {
        for _ in 0..usize::try_from(args.fanout).unwrap_or(1).min(addresses.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((host, address)) = addresses.get(index) else { return };
                    if interruption.has_come() {
                        return;
                    }
                    match run_on(args, (work, &variables), (host, address), &interruption) {
                        Ok(ended) => all.lock().unwrap_or_else(PoisonError::into_inner).push((index, ended)),
                        Err(error) => {
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                            // Nobody reads what the others say either; some would never say anything, and never end.
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
    all.sort_by_key(|(index, _)| *index);
    let all: Vec<Ended> = all.into_iter().map(|(_, ended)| ended).collect();
    let exit = if interruption.has_come() { Exit::Interrupted } else { highest(&all) };
    conclude(args, work, &all, exit)?;
    if interruption.has_come() {
        say(PROGRAM, &format!("interrupted; {} of {} hosts had ended", all.len(), addresses.len()));
    }
    Ok(exit)
}

fn highest(all: &[Ended]) -> Exit {
    let codes = all.iter().map(|ended| ended.exit.beside_a_command());
    codes.max_by_key(|exit| exit.code()).unwrap_or(Exit::Done)
}

/// One host. Its own failure is its end; an error is that nobody takes the output.
fn run_on(
    args: &Args,
    (work, variables): (&Work, &[std::ffi::OsString]),
    (host, address): (&str, &Address),
    interruption: &Interruption,
) -> anyhow::Result<Ended> {
    let (began, started) = (now(), Instant::now());
    let mut output = Output::new(args, host)?;
    let mut attempt = || -> anyhow::Result<exec::Ended> {
        let mut line = connect::line_of_many(PROGRAM, address, &args.reach, &args.talk)?;
        interruption.add(line.control());
        let call = shown_call(args, work, variables, args.terms());
        let ended = call_exec(&mut line, &call, &mut |stream, bytes| output.take(stream, bytes))?;
        line.close();
        Ok(ended)
    };
    let ended = attempt();
    output.finish()?;
    let (mut cwd, mut held) = (None, None);
    let (outcome, exit) = match ended {
        Ok(exec::Ended { outcome, path, held: holder }) => {
            (cwd, held) = (path, holder);
            let exit = Exit::of_command(&outcome);
            (Ok(outcome), exit)
        }
        Err(error) if crate::cli::is_closed_stdout(&error) => return Err(error),
        Err(error) => (Err(format!("{error:#}")), Exit::of(&error).beside_a_command()),
    };
    let ended = Ended { host: host.to_owned(), outcome, cwd, held, exit, began, took: started.elapsed(), output };
    // By us: that is said once.
    let is_cut = ended.outcome.is_err() && interruption.has_come();
    if args.json_stream {
        put_json(&ended.json(work, Some("outcome")))?;
    } else if !(args.talk.json || args.group || is_cut) {
        ended.tell();
    }
    if let Some(held) = ended.held.as_ref().filter(|_| !args.talk.quiet) {
        say(PROGRAM, &format!("{}: {}", ended.host, shown_held(held)));
    }
    Ok(ended)
}

/// What is said when all have ended.
fn conclude(args: &Args, work: &Work, all: &[Ended], exit: Exit) -> anyhow::Result<()> {
    if args.talk.json {
        let results: Vec<_> = all.iter().map(|ended| ended.json(work, None)).collect();
        put_json(&results)?;
        return Ok(());
    }
    if args.json_stream {
        return Ok(());
    }
    if args.group {
        show_groups(all)?;
    }
    if !args.talk.quiet {
        let bad: Vec<String> =
            all.iter().filter(|ended| ended.exit != Exit::Done).map(|ended| ended.host.clone()).collect();
        let which = if bad.is_empty() { String::new() } else { format!(": {}", hosts::fold(&bad)) };
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
type Said<'s> = (&'s [u8], &'s [u8], String);

/// Hosts that said the same and ended the same way, together.
fn show_groups(all: &[Ended]) -> crate::wire::Result<()> {
    let mut groups: BTreeMap<Said<'_>, Vec<String>> = BTreeMap::new();
    for ended in all {
        let [stdout, stderr] = &ended.output.kept;
        groups.entry((stdout, stderr, ended.how())).or_default().push(ended.host.clone());
    }
    // The largest first: what most of them say is the news, and then what differs.
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, hosts)| std::cmp::Reverse(hosts.len()));
    for ((stdout, stderr, how), named) in groups {
        let head = format!("{} ({}{how}):\n", printable(&hosts::fold(&named)), counted(named.len()));
        put_out(head.as_bytes())?;
        for kept in [stdout, stderr] {
            for line in kept.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                put_out(&[&b"  "[..], line, b"\n"].concat())?;
            }
        }
    }
    Ok(())
}

impl Ended {
    /// Behind the hosts' names; nothing where all went well.
    fn how(&self) -> String {
        match &self.outcome {
            Ok(Outcome::Exited(0)) => String::new(),
            Ok(outcome) => format!(", {outcome}"),
            Err(why) => format!(", {}", self.without_host(why)),
        }
    }

    /// What went wrong names the host, which is said anyway; and without it the same thing is the same everywhere.
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

    fn json(&self, work: &Work, event: Option<&str>) -> serde_json::Value {
        let [stdout, stderr] = self.output.kept.each_ref().map(|kept| String::from_utf8_lossy(kept));
        let (word, exit_code, signal, error) = match &self.outcome {
            Ok(outcome) => words_of(outcome),
            Err(why) => ("failed", Some(i32::from(self.exit.code())), None, Some(why.as_str())),
        };
        let is_shown = event.is_none();
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
            "stdout": is_shown.then_some(stdout),
            "stderr": is_shown.then_some(stderr),
            "stdout_bytes": self.output.bytes[0],
            "stderr_bytes": self.output.bytes[1],
            "began": self.began,
            "ms": millis(self.took),
        })
    }
}

/// Where one host's output goes.
struct Output {
    form: Form,
    prefix: String,
    decoders: [Decoder; 2],
    /// Lines that have not ended yet; or, where it is shown at the end, all that is kept.
    kept: [Vec<u8>; 2],
    bytes: [u64; 2],
}

enum Form {
    /// At once, line by line, with the host's name in front.
    Lines,
    /// At the end.
    Kept,
    /// As events.
    Events,
    /// Into files.
    Files([File; 2]),
}

impl Output {
    fn new(args: &Args, host: &str) -> anyhow::Result<Self> {
        let form = match &args.out {
            _ if args.json_stream => Form::Events,
            Some(directory) => Form::Files(files_in(directory, host)?),
            None if args.talk.json || args.group => Form::Kept,
            None => Form::Lines,
        };
        let decoders = [Decoder::new(args.encoding), Decoder::new(args.encoding)];
        Ok(Self { form, prefix: format!("{host}: "), decoders, kept: [Vec::new(), Vec::new()], bytes: [0, 0] })
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) -> crate::wire::Result<()> {
        let at = usize::from(stream == Stream::Stderr);
        self.bytes[at] += bytes.len() as u64;
        if let Form::Files(files) = &mut self.form {
            return files[at].write_all(bytes).map_err(Error::ours("a file of --out"));
        }
        if matches!(self.form, Form::Events) {
            return put_output(Some(self.prefix.trim_end_matches(": ")), stream, bytes);
        }
        let text = self.decoders[at].decode(bytes);
        self.put(at, &text)
    }

    fn put(&mut self, at: usize, text: &str) -> crate::wire::Result<()> {
        match self.form {
            Form::Files(_) | Form::Events => Ok(()),
            Form::Kept => {
                let room = KEPT_MAX.saturating_sub(self.kept[at].len()).min(text.len());
                self.kept[at].extend_from_slice(text.as_bytes().get(..room).unwrap_or_default());
                Ok(())
            }
            Form::Lines => {
                self.kept[at].extend_from_slice(text.as_bytes());
                while let Some(end) = self.kept[at].iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.kept[at].drain(..=end).collect();
                    self.line(at, &line)?;
                }
                if self.kept[at].len() > LINE_LEN_MAX { self.rest(at) } else { Ok(()) }
            }
        }
    }

    /// A line at once, or the lines of two hosts would be in each other.
    fn line(&self, at: usize, line: &[u8]) -> crate::wire::Result<()> {
        let whole = [self.prefix.as_bytes(), line].concat();
        if at == 0 {
            return put_out(&whole);
        }
        put_error(&whole)
    }

    fn rest(&mut self, at: usize) -> crate::wire::Result<()> {
        let mut rest = std::mem::take(&mut self.kept[at]);
        if rest.is_empty() {
            return Ok(());
        }
        rest.push(b'\n');
        self.line(at, &rest)
    }

    fn finish(&mut self) -> crate::wire::Result<()> {
        for at in [0, 1] {
            let text = self.decoders[at].finish();
            self.put(at, &text)?;
            if matches!(self.form, Form::Lines) {
                self.rest(at)?;
            }
        }
        Ok(())
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
