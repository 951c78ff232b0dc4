//! One run of `fget` or `fput`: its options, its interruption, and the connections that it opens.

use std::thread;

use crate::cli::args::{ConnectArgs, OutputArgs};
use crate::cli::connect::connect;
use crate::cli::signals::Interruption;
use crate::cli::transfer::args::CopyArgs;
use crate::cli::transfer::reporter::Reporter;
use crate::connection::Connection;
use crate::net::Address;

/// One run of a program that copies.
#[derive(Debug, Clone, Copy)]
pub struct TransferRun<'r> {
    /// The program's name, in messages.
    pub program: &'static str,
    /// What is copied, and how.
    pub copy: &'r CopyArgs,
    /// How to connect.
    pub connect: &'r ConnectArgs,
    /// What to print.
    pub output: &'r OutputArgs,
    /// Whether a signal has come; it ends the connections of this run.
    pub interruption: &'r Interruption,
}

impl TransferRun<'_> {
    /// Opens a connection, with the limit on stalls. A signal ends it.
    ///
    /// # Errors
    /// No connection came about.
    pub fn open(&self, address: &Address) -> anyhow::Result<Connection> {
        let connection = connect(self.program, address, self.connect, self.output)?;
        self.copy.limit_stalls(&connection)?;
        self.interruption.add(connection.control());
        Ok(connection)
    }

    /// Opens `--connections` connections for a tree, or fewer where the server has no room for more.
    ///
    /// # Errors
    /// The first one could not be opened.
    pub fn open_all(&self, address: &Address, reporter: &Reporter) -> anyhow::Result<Vec<Connection>> {
        // The first one may ask about an unknown key; the others are opened at the same time.
        let mut first = self.open(address)?;
        let wanted = self.copy.connections();
        if wanted > 1 {
            // It must be let in before the others ask, or they could take its place.
            first.greeting()?;
        }
        let mut connections = vec![first];
        let open = || -> anyhow::Result<Connection> {
            let mut connection = self.open(address)?;
            connection.greeting()?;
            Ok(connection)
        };
        let others: Vec<anyhow::Result<Connection>> = thread::scope(|scope| {
            let opening: Vec<_> = (1..wanted).map(|_| scope.spawn(open)).collect();
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
            reporter.remark(&format!("{} of {wanted} connections: {error:#}", connections.len()));
        }
        Ok(connections)
    }
}
