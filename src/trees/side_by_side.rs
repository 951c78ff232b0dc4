//! The same transfer on several connections at once, each with its share of the tree.

use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::net::listen::STACK_LEN;
use crate::net::stream::Control;
use crate::trees::shard::{Shard, WaitGroup, wait_group};
use crate::trees::{OnEvent, TreeEvent};

/// The transfer on one connection. It gets the connection's shard of the tree (`None`: all of it), the [`WaitGroup`]
/// of the other connections (on the first of several; else `None`), and what takes the events.
pub type ConnectionWork<'w> =
    &'w (dyn Fn(&mut Connection, Option<Shard>, Option<WaitGroup>, OnEvent<'_>) -> Result<()> + Sync);

/// Does `work` on all connections at the same time, and closes them. `on_event` gets the events of all of them, one
/// at a time; `ListedAll` once.
///
/// # Errors
/// The error of the first connection, or else that of another one. Then the connections are dropped.
pub fn side_by_side(
    mut connections: Vec<Connection>,
    on_event: &mut (dyn FnMut(TreeEvent<'_>) -> Result<()> + Send),
    work: ConnectionWork<'_>,
) -> Result<()> {
    match &mut connections[..] {
        [] => {}
        [only] => work(only, None, None, on_event)?,
        [first, others @ ..] => all(first, others, &SharedEvents::new(on_event, others.len() + 1), work)?,
    }
    connections.into_iter().for_each(Connection::close);
    Ok(())
}

fn all(
    first: &mut Connection,
    others: &mut [Connection],
    events: &SharedEvents<'_>,
    work: ConnectionWork<'_>,
) -> Result<()> {
    let count = u32::try_from(others.len() + 1).unwrap_or(u32::MAX);
    let controls: Vec<_> = others.iter().map(|connection| connection.control().clone()).collect();
    let (token, group) = wait_group();
    thread::scope(|scope| {
        let mut running = Vec::new();
        for (number, connection) in (1..).zip(others) {
            let (token, shard) = (token.clone(), Shard::new(number, count));
            let thread = thread::Builder::new().name("connection".into()).stack_size(STACK_LEN);
            let started = thread.spawn_scoped(scope, move || {
                let ended = work(connection, shard, None, &mut |event| events.pass_on(event));
                drop(token);
                ended
            });
            running.push(started.map_err(Error::ours("a thread for a connection")));
        }
        drop(token);
        let ended = work(first, Shard::new(0, count), Some(group), &mut |event| events.pass_on(event));
        if ended.is_err() {
            controls.iter().for_each(Control::stop);
        }
        let broken = |_| Err(Error::ours("a connection")(std::io::Error::other("its thread broke off")));
        let others = running.into_iter().map(|thread| thread?.join().unwrap_or_else(broken));
        // All of them are joined before the first one's error is returned.
        let others: Vec<Result<()>> = others.collect();
        ended.and_then(|()| others.into_iter().collect())
    })
}

/// Passes on the events of all connections to one function.
struct SharedEvents<'e>(Mutex<EventState<'e>>);

struct EventState<'e> {
    on_event: &'e mut (dyn FnMut(TreeEvent<'_>) -> Result<()> + Send),
    /// Connections that have not listed all of their share.
    listing: usize,
}

impl<'e> SharedEvents<'e> {
    fn new(on_event: &'e mut (dyn FnMut(TreeEvent<'_>) -> Result<()> + Send), listing: usize) -> Self {
        Self(Mutex::new(EventState { on_event, listing }))
    }

    fn pass_on(&self, event: TreeEvent<'_>) -> Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let EventState { on_event, listing } = &mut *state;
        if matches!(event, TreeEvent::ListedAll) {
            *listing -= 1;
            if *listing > 0 {
                return Ok(());
            }
        }
        on_event(event)
    }
}
