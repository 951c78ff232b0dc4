//! `tcp-server`: echo, chat, commands, directories and files on one port.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};

use super::args::{DEFAULT_PORT, at_least_one, duration, rate, size};
use super::pair::OfferArgs;
use super::peers::PeersCommand;
use super::serving::{ServingArgs, StopSignals, addresses, bind_all, serve_while};
use super::usage::usage;
use super::{Exit, home, pair, peers, printable, say, standard, tell};
use crate::audit::Audit;
use crate::exec::descendants::nets;
use crate::fs::root::Root;
use crate::net::Address;
use crate::net::gate::Caps;
use crate::net::listen::Listener;
use crate::server::Server;
use crate::slots::{CommandCaps, RUNNING_MAX};
use crate::text::Encoding;
use crate::trust::home::Home;
use crate::trust::identity::Identity;
use crate::trust::policy::Power;
use crate::trust::servers::{RunningServer, running};
use crate::trust::{Service, Services};
use crate::tutorial::codec::Wire;
use crate::tutorial::{Console, OutputPolicy, REPLY_MAX_LEAST, Tutorial, TutorialReply};

/// The program's name, in messages.
pub const PROGRAM: &str = "tcp-server";

/// How long a pairing that is under way may take when the command that offered it ends.
const PAIRING_GRACE: Duration = Duration::from_secs(1);

/// Serve echo, chat, remote commands, directories and files on one port
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let another machine in: show a code that is typed there once
    Pair(OfferArgs),
    /// Show, rename, narrow and revoke the machines that are known here
    Peers {
        #[command(subcommand)]
        what: Option<PeersCommand>,
    },
    /// Print this user's fingerprint, for somebody who compares it
    Identity,
}

/// Where to listen.
#[derive(Debug, Clone, clap::Args)]
pub struct Bind {
    /// Address to listen on, repeatable: HOST:PORT, `[::1]:0`, unix:/path; port 0 takes any free one
    /// (default: 127.0.0.1 and ::1; all addresses for pair where no server runs)
    #[arg(short, long, env = "LANDLINE_BIND", value_name = "ADDRESS", value_delimiter = ',')]
    pub bind: Vec<Address>,
    /// Port where --bind names none
    #[arg(short, long, env = "LANDLINE_PORT", default_value_t = DEFAULT_PORT, value_name = "PORT")]
    pub port: u16,
}

/// The server's own arguments.
#[derive(Debug, clap::Args)]
struct ServeArgs {
    #[command(flatten)]
    bind: Bind,
    /// Directory to show; nothing outside can be reached by file requests [default: the one you are in]
    #[arg(long, env = "LANDLINE_ROOT", value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// In your home directory, also show and accept what begins with a dot: .ssh, .config, shell start-up files
    #[arg(long)]
    pub hidden_home: bool,
    /// What guests (everybody who is not known here) may do: echo, chat, read, write, exec, or
    /// all, none
    #[arg(long, env = "LANDLINE_GUEST", default_value = "none", value_name = "LIST")]
    pub guest: Services,
    /// Let guests have exec or write on an address that other machines can reach
    #[arg(long)]
    pub insecure: bool,
    /// Connections at the same time [default: what this machine bears]
    #[arg(long, env = "LANDLINE_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,
    /// Connections from one address at the same time
    #[arg(long, env = "LANDLINE_MAX_PER_ADDRESS", default_value_t = 1024, value_name = "N")]
    pub max_per_address: usize,
    /// How long a connection may be silent between two requests; 0: without limit
    #[arg(long, env = "LANDLINE_IDLE_TIMEOUT", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what is sent to it; 0: without limit
    #[arg(long, env = "LANDLINE_STALL_TIMEOUT", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub stall_timeout: Duration,
    /// How long an unfinished copy is kept that no transfer goes on with; 0: without limit
    #[arg(long, env = "LANDLINE_PART_TTL", default_value = "7d", value_name = "DURATION", value_parser = duration)]
    pub part_ttl: Duration,
    /// Record who did what in this file, one JSON object a line
    #[arg(long, env = "LANDLINE_AUDIT", value_name = "FILE")]
    pub audit: Option<PathBuf>,
    #[command(flatten)]
    serving: ServingArgs,
    #[command(flatten)]
    exec: ExecArgs,
    #[command(flatten)]
    tutorial: TutorialArgs,
}

/// What commands may take.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Remote commands")]
struct ExecArgs {
    /// Commands that run at the same time; one more is refused
    #[arg(long = "exec-max-running", env = "LANDLINE_EXEC_MAX_RUNNING", default_value_t = RUNNING_MAX, value_name = "N",
          value_parser = at_least_one)]
    max_running: usize,
    /// Bytes a second that one command may write, both outputs together; it waits beyond, as for any slow reader
    /// [default: no limit]
    #[arg(long = "exec-output-rate", env = "LANDLINE_EXEC_OUTPUT_RATE", value_name = "SIZE", value_parser = rate)]
    output_rate: Option<u64>,
    /// Processes and threads that a command may make: RLIMIT_NPROC, which counts all of this user's, this server's
    /// too, and from which root is exempt; and pids.max, which counts the command's own, where it has a cgroup with
    /// that [default: no limit]
    #[arg(long = "exec-max-processes", env = "LANDLINE_EXEC_MAX_PROCESSES", value_name = "N", value_parser = at_least_one)]
    max_processes: Option<usize>,
    /// Serve exec as root to other machines too: without this, a server that runs as root serves it at loopback
    /// addresses and Unix sockets only, whoever asks
    #[arg(long = "exec-as-root")]
    as_root: bool,
}

impl ExecArgs {
    fn power(&self) -> Power {
        match (rustix::process::geteuid().is_root(), self.as_root) {
            (false, _) => Power::User,
            (true, false) => Power::Root,
            (true, true) => Power::RootForAll,
        }
    }

    fn caps(&self) -> CommandCaps {
        CommandCaps {
            running: self.max_running,
            output_rate: self.output_rate,
            processes: self.max_processes.and_then(|most| u64::try_from(most).ok()),
        }
    }
}

/// A tutorial's wire beside our own frames, on the same port.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The tutorials' wires")]
struct TutorialArgs {
    /// Also take bare requests, and frame replies so: raw, len, json, ack, size, close
    #[arg(long, env = "LANDLINE_WIRE", value_name = "WIRE")]
    wire: Option<Wire>,
    /// What to reply to a bare request [default: files on size and close, else echo]
    #[arg(long, value_name = "WHAT", requires = "wire")]
    reply: Option<ReplyKind>,
    /// In front of what echo says back
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, requires = "wire")]
    prefix: String,
    /// What fixed replies
    #[arg(long, value_name = "TEXT", default_value = "收到", requires = "wire")]
    text: String,
    /// What fixed says when the client has shut down its sending half
    #[arg(long, value_name = "TEXT", requires = "wire")]
    bye: Option<String>,
    /// What of a command's output exec replies
    #[arg(long, value_name = "POLICY", default_value = "merged", requires = "wire")]
    output: Output,
    /// On raw: cut a longer reply, for clients that read once, and never at a multiple of 1024, where clients that
    /// read until a read is short would hang [default: the whole reply]
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "wire")]
    reply_max: Option<u64>,
    /// What characters the bytes are, both ways: utf-8, gbk, ...
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

const EXAMPLES: &str = "\
Examples:
  tcp-server                                    everything for you on this machine, nothing for others
  tcp-server --bind 0.0.0.0 --root ~/share      reachable from other machines, for those that are known
  tcp-server pair --allow read,write            let one in: type the code there at tcp-client pair
  tcp-server peers                              who is known, and what they may do
  tcp-server --guest echo,read                  something for everybody
  tcp-server --bind unix:/run/user/1000/ll      a Unix socket
  tcp-server --wire json --reply exec --guest exec
                                                for the tutorials' remote command clients
LANDLINE_HOME names the directory of this user's key and known peers [default: landline, where your platform keeps
configuration].";

/// Runs the server until a signal stops it, or does what the subcommand says.
///
/// # Errors
/// The settings make no sense, the root is missing, or an address cannot be listened on.
pub fn main(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        None => serve(&args.serve),
        Some(Command::Pair(offer)) => pair::offer(offer),
        Some(Command::Peers { what }) => peers::main(what.as_ref()),
        Some(Command::Identity) => {
            let identity = Identity::of(&home::open()?)?;
            tell(&format!("{}\n", identity.fingerprint()))?;
            Ok(Exit::Done)
        }
    }
}

fn serve(args: &ServeArgs) -> anyhow::Result<Exit> {
    args.serving.prepare();
    if args.max_connections == Some(0) || args.max_per_address == 0 {
        return Err(usage(
            "a server for 0 connections serves nobody; --max-connections and --max-per-address begin at 1",
        ));
    }
    let tutorial = args.tutorial.tutorial()?;
    if let Some(tutorial) = &tutorial
        && !args.guest.has(tutorial.service())
    {
        let service = tutorial.service().as_str();
        return Err(usage(format!(
            "that --reply gives everybody the service {service}: say so with --guest {service}"
        )));
    }
    let home = home::open()?;
    let root = open_root(args)?;
    let audit = args.audit.as_deref().map(Audit::open).transpose().context("--audit")?;
    let listeners = bind_all(&args.bind.bind, args.bind.port, ["127.0.0.1", "::1"])
        .map_err(|error| by_own_server(&home, &args.bind, error))?;
    warn_of_what_guests_may(args, &listeners)?;
    warn_of_root(args.exec.power(), &listeners);
    let mut caps = Caps::of_this_machine(args.max_per_address);
    caps.connections = args.max_connections.map_or(caps.connections, |wanted| wanted.min(caps.connections));
    let key = Identity::of(&home)?.fingerprint();
    let set = |time: &Duration| Some(*time).filter(|time| !time.is_zero());
    let server = Server::new(home.clone(), root).guest(args.guest).with(|options| {
        options.caps = caps;
        options.command_caps = args.exec.caps();
        options.power = args.exec.power();
        options.idle_timeout = set(&args.idle_timeout);
        options.stall_timeout = set(&args.stall_timeout);
        options.tutorial = tutorial;
        options.part_ttl = set(&args.part_ttl);
        options.audit = audit;
    });
    let server = server.build().with_context(|| format!("the root {}", args.root().display()))?;
    let stops = StopSignals::catch()?;
    let _running = RunningServer::announce(&home, &addresses(&listeners))?;
    args.serving.say_ready(PROGRAM, &listeners)?;
    tracing::info!(%key, root = %args.root().display(), home = %home.path().display(), "this server's identity");
    tracing::info!("{}", nets());
    args.serving.serve(&server, &listeners, stops)
}

impl ServeArgs {
    fn root(&self) -> &Path {
        self.root.as_deref().unwrap_or(Path::new("."))
    }
}

/// What a server that was started where a shell begins shows to others by accident.
fn warn_of_home(args: &ServeArgs, home: &Path) {
    let is_home = || Some(Path::new(".").canonicalize().ok()? == home.canonicalize().ok()?);
    if args.root.is_some() || is_home() != Some(true) {
        return;
    }
    let but = if args.hidden_home {
        "with .ssh and all else that begins with a dot"
    } else {
        "but names that begin with a dot"
    };
    tracing::warn!(
        "no --root was given, so this shows your home directory {}, {but}; name a directory with --root",
        home.display()
    );
}

fn open_root(args: &ServeArgs) -> anyhow::Result<Root> {
    let root = Root::open(args.root()).with_context(|| format!("the root {}", args.root().display()))?;
    if let Some(audit) = &args.audit {
        let directory = audit.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if root.holds(directory).with_context(|| format!("--audit {}", audit.display()))? {
            return Err(usage(format!(
                "--audit {}: lies below the root, where those whom it records could read or remove it; put it elsewhere",
                audit.display()
            )));
        }
    }
    // One that this user may not open is another one's: HOME is sometimes left as it was.
    let may_open = |home: &PathBuf| home.is_dir() && std::fs::read_dir(home).is_ok();
    let Some(home) = std::env::home_dir().filter(may_open) else { return Ok(root) };
    warn_of_home(args, &home);
    if args.hidden_home {
        return Ok(root);
    }
    root.guarding(&home).with_context(|| format!("the home directory {}", home.display()))
}

/// Serves nothing but pairings, for as long as `wait` waits; it is told where.
///
/// # Errors
/// No address can be listened on, or as `wait`.
pub fn serve_pairing(
    bind: &Bind,
    home: &Home,
    wait: impl FnOnce(&[String]) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    // Another machine that is let in has to reach this one; and nothing but the code is to be had.
    let listeners = bind_all(&bind.bind, bind.port, ["0.0.0.0", "::"])?;
    let server = Server::for_pairing(home.clone())?.build()?;
    serve_while(&server, &listeners, PAIRING_GRACE, || wait(&addresses(&listeners)), &|| false)
}

/// Says of a port that is taken by whom, if that is a server of this user.
fn by_own_server(home: &Home, bind: &Bind, error: anyhow::Error) -> anyhow::Error {
    let of = |address: &Address| address.port().unwrap_or(bind.port);
    let wanted: Vec<u16> = if bind.bind.is_empty() { vec![bind.port] } else { bind.bind.iter().map(of).collect() };
    let has_port = |address: &String| {
        address.parse::<Address>().ok().and_then(|address| address.port()).is_some_and(|port| wanted.contains(&port))
    };
    let shown = format!("{error:#}");
    match running(home).unwrap_or_default().into_iter().find(|address| has_port(address) || shown.contains(address)) {
        Some(address) if shown.contains("another program") => anyhow::anyhow!(
            "{shown}; it is a tcp-server of yours that listens on {address} already: use that one, or stop it first"
        ),
        _ => error,
    }
}

fn warn_of_what_guests_may(args: &ServeArgs, listeners: &[Listener]) -> anyhow::Result<()> {
    let dangerous: Vec<&str> =
        [Service::Exec, Service::Write].iter().filter(|s| args.guest.has(**s)).map(|s| s.as_str()).collect();
    let Some(open) = listeners.iter().find(|listener| !listener.is_loopback()).filter(|_| !dangerous.is_empty()) else {
        return Ok(());
    };
    let (what, at) = (dangerous.join(" and "), open.local());
    if !args.insecure {
        return Err(usage(format!(
            "guests would get {what} on {at}, which other machines can reach: \
             anybody there could use this account. Bind to loopback, narrow --guest, or add --insecure"
        )));
    }
    let is_served = |service: &&&str| **service != Service::Exec.as_str() || args.exec.power() != Power::Root;
    let what = dangerous.iter().filter(is_served).copied().collect::<Vec<_>>().join(" and ");
    if what.is_empty() {
        return Ok(());
    }
    say(
        PROGRAM,
        &format!("warning: whoever can reach {at} has {what} here, unencrypted, as your user, with no password"),
    );
    Ok(())
}

fn warn_of_root(power: Power, listeners: &[Listener]) {
    let Some(open) = listeners.iter().find(|listener| !listener.is_loopback()) else { return };
    match (power, open.local()) {
        (Power::User, _) => {}
        (Power::Root, at) => {
            tracing::warn!(
                at,
                "this server runs as root: who comes in there gets no exec; --exec-as-root would allow it"
            );
        }
        (Power::RootForAll, at) => tracing::warn!(at, "this server runs as root: who may exec there is root here"),
    }
}

impl TutorialArgs {
    fn tutorial(&self) -> anyhow::Result<Option<Tutorial>> {
        let Some(wire) = self.wire else { return Ok(None) };
        let default = if wire.carries_files() { ReplyKind::Files } else { ReplyKind::Echo };
        let kind = self.reply.unwrap_or(default);
        if wire.carries_files() != (kind == ReplyKind::Files) {
            return Err(usage("the wires size and close carry files, and only they do: they go with --reply files"));
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
            ReplyKind::Fixed => TutorialReply::Fixed { text: self.text.clone(), bye: self.bye.clone() },
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
    turn: Mutex<()>,
}

impl Console for Terminal {
    fn show(&self, peer: &str, text: &str) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = tell(&format!("{peer}: {}\n", printable(text.trim_end()))) {
            tracing::warn!(%error, "a request could not be shown");
        }
    }

    fn ask(&self, peer: &str, text: &str) -> Option<String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            tell(&format!("{peer}: {}\n>>>: ", printable(text.trim_end()))).ok()?;
            let answer = standard::read_text_line().ok()?;
            if answer.is_empty() {
                return None;
            }
            // An empty answer would never arrive, and the client would wait for ever.
            let answer = answer.trim();
            if !answer.is_empty() {
                return Some(answer.to_owned());
            }
        }
    }
}
