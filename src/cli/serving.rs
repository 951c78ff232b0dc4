//! What every server program does, whatever it serves: bind, say that it is ready, serve until a signal comes, stop
//! within a grace.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::args::duration;
use super::exit::Exit;
use super::logging::{self, LogFormat};
use super::output::tell;
use super::signals;
use crate::net::Address;
use crate::net::address::Scheme;
use crate::net::gate::raise_descriptor_limit;
use crate::net::listen::Listener;
use crate::net::service::{Handler, accept_on_all, stop};

/// How a server program starts and stops, and what it logs.
#[derive(Debug, clap::Args)]
pub struct ServingArgs {
    /// After SIGTERM: how long requests under way may take to end
    #[arg(long, env = "LANDLINE_GRACE", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    grace: Duration,
    /// Also write the ready lines to this open descriptor (a pipe), for supervisors
    #[arg(long, value_name = "N")]
    ready_fd: Option<u32>,
    /// Form of the log on standard error
    #[arg(long, env = "LANDLINE_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
    /// Log warnings and errors only
    #[arg(short, long)]
    quiet: bool,
    /// Log more
    #[arg(short, long)]
    verbose: bool,
}

impl ServingArgs {
    /// Prepares the process: its log, the signals that it was started with, its limit on descriptors. Before it starts
    /// another thread.
    pub fn prepare(&self) {
        logging::start(self.log_format, self.quiet, self.verbose);
        signals::take_back_ignored();
        raise_descriptor_limit();
    }

    /// Says on standard output where `listeners` listen, a line each, and on the descriptor of `--ready-fd`.
    ///
    /// # Errors
    /// Either cannot be written to.
    pub fn say_ready(&self, program: &str, listeners: &[Listener]) -> anyhow::Result<()> {
        let lines: Vec<String> =
            listeners.iter().map(|listener| format!("{program}: ready on {}\n", listener.local())).collect();
        let lines = lines.concat();
        tell(&lines)?;
        if let Some(fd) = self.ready_fd {
            let path = format!("/proc/self/fd/{fd}");
            let mut pipe = std::fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .with_context(|| format!("--ready-fd {fd}: no such open descriptor"))?;
            pipe.write_all(lines.as_bytes()).with_context(|| format!("--ready-fd {fd}"))?;
        }
        Ok(())
    }

    /// Serves on `listeners` until a signal stops it; requests under way get the grace to end, and another signal ends
    /// them at once.
    ///
    /// # Errors
    /// No connections can be accepted.
    pub fn serve<H: Handler>(
        &self,
        handler: &Arc<H>,
        listeners: &[Listener],
        stops: StopSignals,
    ) -> anyhow::Result<Exit> {
        let grace = self.grace;
        let signals = Mutex::new(stops.0);
        let lock = || signals.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = || {
            // Blocks until the first signal; the iterator ends only when its handle is closed.
            lock().forever().next();
            tracing::info!(?grace, "stopping; requests under way may end, another signal ends them now");
            Ok(Exit::Done)
        };
        serve_while(handler, listeners, grace, wait, &|| lock().pending().next().is_some())
    }
}

/// The signals that stop a server. They are caught from here on: before the program says that it is ready.
#[derive(Debug)]
pub struct StopSignals(Signals);

impl StopSignals {
    /// Begins to catch them.
    ///
    /// # Errors
    /// The handlers could not be installed.
    pub fn catch() -> std::io::Result<Self> {
        // A program that was started by nohup(1) stays when its terminal goes.
        let is_ours = |signal: &i32| *signal != SIGHUP || !signals::ignored().contains(signal);
        Signals::new([SIGTERM, SIGINT, SIGHUP].into_iter().filter(is_ours)).map(Self)
    }
}

/// Serves on `listeners` for as long as `wait` waits; then requests under way get `grace` to end, or until `stop_now`
/// says that it is over.
///
/// # Errors
/// No connections can be accepted, or as `wait`.
pub fn serve_while<H: Handler>(
    handler: &Arc<H>,
    listeners: &[Listener],
    grace: Duration,
    wait: impl FnOnce() -> anyhow::Result<Exit>,
    stop_now: &dyn Fn() -> bool,
) -> anyhow::Result<Exit> {
    thread::scope(|scope| {
        let accepting = scope.spawn(|| {
            let accepted = accept_on_all(handler, listeners);
            if accepted.is_err()
                && let Err(error) = signal_hook::low_level::raise(SIGTERM)
            {
                tracing::error!(%error, "nothing is accepted, and the server could not stop itself");
            }
            accepted
        });
        let waited = wait();
        let stopped = stop(&**handler, listeners, grace, stop_now);
        if stopped.cut > 0 {
            tracing::warn!(connections = stopped.cut, "connections were cut in the middle of a request");
        }
        match accepting.join() {
            Ok(accepted) => waited.and_then(|exit| accepted.map(|()| exit).context("accepting connections")),
            Err(_) => Ok(Exit::Failed),
        }
    })
}

/// Listens on `addresses`, with `port` where one names none; on the IPv4 and IPv6 hosts `defaults` where there are no
/// addresses.
///
/// # Errors
/// An address cannot be listened on; of the defaults only the IPv4 one, since a machine may have no IPv6.
pub fn bind_all(addresses: &[Address], port: u16, defaults: [&str; 2]) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.extend(Listener::bind(&address.clone().with_default_port(port))?);
    }
    if addresses.is_empty() {
        let both = defaults.map(|host| Address::Tcp { host: host.into(), port: Some(port), scheme: Scheme::Unsaid });
        let [v4, v6] = both.map(|address| Listener::bind(&address));
        listeners.extend(v4?);
        match v6 {
            Ok(v6) => listeners.extend(v6),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    Ok(listeners)
}

/// Where `listeners` listen, with the real ports, as a client would write it.
pub fn addresses(listeners: &[Listener]) -> Vec<String> {
    listeners.iter().map(|listener| listener.local().to_owned()).collect()
}
