//! A tree over several connections at once: they are opened one after the other, and run side by side.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use super::args::{ConnectArgs, OutputArgs};
use super::connect;
use super::signals::Interruption;
use super::transfer::{CopyArgs, NamePair, Reporter};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::net::Address;
use crate::net::listen::STACK_LEN;
use crate::net::stream::Control;
use crate::trees::shard::{Last, Shard, helpers};
use crate::trees::{OnEvent, TreeEvent};

/// What runs on a connection: its share of the tree, if there are several; the first one's [`Last`]; who watches.
pub type ConnectionWork<'r> =
    &'r (dyn Fn(&mut Connection, Option<Shard>, Option<Last>, OnEvent<'_>) -> Result<()> + Sync);

/// Opens as many connections as `copy` asks for. Where the server has no room for more, it makes do with what there is.
///
/// # Errors
/// Not even one could be opened.
pub fn open(
    program: &str,
    address: &Address,
    (reach, talk): (&ConnectArgs, &OutputArgs),
    copy: &CopyArgs,
    (interruption, teller): (&Interruption, &Reporter),
) -> anyhow::Result<Vec<Connection>> {
    let open = || -> anyhow::Result<Connection> {
        let connection = connect::connect(program, address, reach, talk)?;
        copy.limit_stalls(&connection)?;
        interruption.add(connection.control());
        Ok(connection)
    };
    // The first one asks what there is to ask; the others are a few round trips at the same time.
    let mut connections = vec![open()?];
    let open = || -> anyhow::Result<Connection> {
        let mut connection = open()?;
        connection.greeting()?;
        Ok(connection)
    };
    let others: Vec<anyhow::Result<Connection>> = thread::scope(|scope| {
        let opening: Vec<_> = (1..copy.connections()).map(|_| scope.spawn(open)).collect();
        let broken = |_| Err(anyhow::anyhow!("a thread broke off"));
        opening.into_iter().map(|thread| thread.join().unwrap_or_else(broken)).collect()
    });
    let mut missing = None;
    for other in others {
        match other {
            Ok(connection) => connections.push(connection),
            Err(error) => missing = Some(error),
        }
    }
    if let Some(error) = missing {
        teller.remark(&format!("{} of {} connections: {error:#}", connections.len(), copy.connections()));
    }
    Ok(connections)
}

/// Runs the conversation on all connections, and closes them.
///
/// # Errors
/// The first connection's error, or else that of another one.
pub fn side_by_side(
    mut connections: Vec<Connection>,
    teller: &mut Reporter,
    names: &mut (dyn NamePair + Send),
    run: ConnectionWork<'_>,
) -> Result<()> {
    match &mut connections[..] {
        [] => {}
        [only] => run(only, None, None, &mut |event| teller.event(event, names))?,
        [first, others @ ..] => all(first, others, &SharedEvents::new(teller, names, others.len() + 1), run)?,
    }
    connections.into_iter().for_each(Connection::close);
    Ok(())
}

fn all(
    first: &mut Connection,
    others: &mut [Connection],
    told: &SharedEvents<'_>,
    run: ConnectionWork<'_>,
) -> Result<()> {
    let count = u32::try_from(others.len() + 1).unwrap_or(u32::MAX);
    let controls: Vec<_> = others.iter().map(|connection| connection.control().clone()).collect();
    let (helps, last) = helpers();
    thread::scope(|scope| {
        let mut running = Vec::new();
        for (number, connection) in (1..).zip(others) {
            let (helps, share) = (helps.clone(), Shard::new(number, count));
            let thread = thread::Builder::new().name("connection".into()).stack_size(STACK_LEN);
            let started = thread.spawn_scoped(scope, move || {
                let ran = run(connection, share, None, &mut |event| told.tell(event));
                drop(helps);
                ran
            });
            running.push(started.map_err(Error::ours("a thread for a connection")));
        }
        drop(helps);
        let ended = run(first, Shard::new(0, count), Some(last), &mut |event| told.tell(event));
        if ended.is_err() {
            controls.iter().for_each(Control::stop);
        }
        let broken = |_| Err(Error::ours("a connection")(std::io::Error::other("its thread broke off")));
        let others = running.into_iter().map(|thread| thread?.join().unwrap_or_else(broken));
        // All of them are waited for, whatever the first one says.
        let others: Vec<Result<()>> = others.collect();
        ended.and_then(|()| others.into_iter().collect())
    })
}

/// Whoever watches all connections.
struct SharedEvents<'t>(Mutex<Telling<'t>>);

struct Telling<'t> {
    teller: &'t mut Reporter,
    names: &'t mut (dyn NamePair + Send),
    /// Connections that are not through with their listing.
    listing: usize,
}

impl<'t> SharedEvents<'t> {
    fn new(teller: &'t mut Reporter, names: &'t mut (dyn NamePair + Send), listing: usize) -> Self {
        Self(Mutex::new(Telling { teller, names, listing }))
    }

    fn tell(&self, event: TreeEvent<'_>) -> Result<()> {
        let mut telling = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Telling { teller, names, listing } = &mut *telling;
        if matches!(event, TreeEvent::ListedAll) {
            *listing -= 1;
            if *listing > 0 {
                return Ok(());
            }
        }
        teller.event(event, *names)
    }
}
