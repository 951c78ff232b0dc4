//! Opens the connections that are measured, and times each step.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::args::EchoArgs;
use crate::cli::connect::{Strangers, connect_watched, show_step};
use crate::cli::signals::Interruption;
use crate::cli::tcp_client::args::PROGRAM;
use crate::client::Step;
use crate::connection::Connection;
use crate::error::Error;
use crate::histogram::Histogram;
use crate::trust::identity::Fingerprint;

/// Connections that are opened at the same time: a server takes a limited number of newcomers at a time.
const OPENING_MAX: usize = 16;

/// Connections that are ready to be measured.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connections: Vec<Connection>,
    pub(super) times: OpeningTimes,
    /// Ends them on Ctrl-C.
    pub(super) interruption: Interruption,
}

/// How long each step to a connection took.
#[derive(Debug, Clone, Default)]
pub(super) struct OpeningTimes {
    /// Looking the name up, and connecting.
    pub(super) connect: Histogram,
    /// The TLS handshake; empty on connections without.
    pub(super) handshake: Histogram,
    /// From this program's `hello` to the server's.
    pub(super) greeting: Histogram,
}

/// Opens all connections. The first may ask a person about the server's key, the others come when it has been let in.
///
/// # Errors
/// One of them could not be opened. Ctrl-C is none: then some are missing.
pub(super) fn open(args: &EchoArgs) -> anyhow::Result<Opened> {
    let (first, key) = one(args, Strangers::AskedAbout)?;
    // What a person has agreed to for this once holds for all connections.
    let strangers = key.map_or(Strangers::Refused, Strangers::RefusedBut);
    let interruption = Interruption::watch()?;
    let next = AtomicUsize::new(1);
    let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let opened = Mutex::new(Vec::with_capacity(args.connections));
    let keep = |(connection, times): (Connection, StepTimes)| {
        interruption.add(connection.control());
        opened.lock().unwrap_or_else(PoisonError::into_inner).push((connection, times));
    };
    let fail = |error: anyhow::Error| {
        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    };
    let is_over = || interruption.has_come() || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    keep(first);
    let open_others = || {
        while !is_over() && next.fetch_add(1, Ordering::Relaxed) < args.connections {
            match one(args, strangers) {
                Ok((opened, _)) => keep(opened),
                Err(error) => fail(error),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..args.connections.min(OPENING_MAX) {
            if let Err(error) = thread::Builder::new().name("connect".into()).spawn_scoped(scope, open_others) {
                fail(Error::ours("a thread that connects")(error).into());
            }
        }
        open_others();
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = failed.filter(|_| !interruption.has_come()) {
        return Err(error);
    }
    let (mut connections, mut all) = (Vec::with_capacity(args.connections), OpeningTimes::default());
    for (connection, times) in opened.into_inner().unwrap_or_else(PoisonError::into_inner) {
        connections.push(connection);
        for (time, times) in times.into_iter().zip([&mut all.connect, &mut all.handshake, &mut all.greeting]) {
            if let Some(time) = time {
                times.record(time);
            }
        }
    }
    Ok(Opened { connections, times: all, interruption })
}

/// The time for connecting, handshake and greeting.
type StepTimes = [Option<Duration>; 3];

/// One connection, and the server's key, if it has shown one.
fn one(args: &EchoArgs, strangers: Strangers) -> anyhow::Result<((Connection, StepTimes), Option<Fingerprint>)> {
    let clock = Mutex::new((Instant::now(), [None; 3]));
    let key = Mutex::new(None);
    let lap = |step: usize| {
        let mut clock = clock.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, times) = &mut *clock;
        let passed = std::mem::replace(last, Instant::now()).elapsed();
        times.iter_mut().skip(step).take(1).for_each(|time| *time = Some(passed));
    };
    let on_step = |step: &Step<'_>| {
        match step {
            Step::Connecting => clock.lock().unwrap_or_else(PoisonError::into_inner).0 = Instant::now(),
            Step::Connected(_) => lap(0),
            Step::Encrypted(shown) => {
                *key.lock().unwrap_or_else(PoisonError::into_inner) = Some(*shown);
                lap(1);
            }
            Step::Remembered(_) => {}
        }
        if strangers == Strangers::AskedAbout {
            show_step(PROGRAM, &args.output, step);
        }
    };
    let mut connection = connect_watched(PROGRAM, &args.host, &args.connect, strangers, &on_step)?;
    clock.lock().unwrap_or_else(PoisonError::into_inner).0 = Instant::now();
    connection.greeting()?;
    lap(2);
    let times = clock.into_inner().unwrap_or_else(PoisonError::into_inner).1;
    Ok(((connection, times), key.into_inner().unwrap_or_else(PoisonError::into_inner)))
}
