//! A connection to Redis, and what is stored there: the only place that knows either.
//!
//! | key | type | what |
//! |---|---|---|
//! | `PREFIX:messages` | stream | the messages of all servers: `s` the server, `m` a record |
//! | `PREFIX:sent` | hash | for each server the number of its last record in the stream |
//! | `PREFIX:servers` | set | the servers that may have members |
//! | `PREFIX:members:SERVER` | string | the members of a server, as JSON; expires with the server's lease |
//!
//! The first two are changed in one transaction, so that a bus that lost its last seconds still says which records it has.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{Client, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, cmd, pipe};

use super::outbox::OutboxEntry;

/// Messages that the bus keeps, about: what a server can catch up with.
pub const STREAM_MESSAGES_MAX: usize = 20_000;
/// How long connecting, or an answer, may take.
pub const BUS_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that are read at once.
const READ_MESSAGES: usize = 256;

/// The bus failed.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The address is none.
    #[error("{address:?} is no address of Redis ({why}); write redis://HOST:PORT, rediss://HOST:PORT or unix:/PATH")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// Redis, or the way to it, failed.
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// The outbox and the bus do not fit each other.
    #[error("{0}")]
    Outbox(String),
}

/// Where the bus is.
#[derive(Debug, Clone, Default)]
pub struct BusOptions {
    /// `redis://HOST:PORT/DB`, `rediss://` for TLS, or `unix:/PATH`.
    pub address: String,
    /// The password; `None`: there is none.
    pub password: Option<String>,
    /// What the keys begin with: servers with the same prefix are one chat.
    pub prefix: String,
}

/// Connects to the bus.
pub struct LinkMaker {
    client: Client,
    messages: String,
    sent: String,
    servers: String,
    members: String,
    shown: String,
}

impl fmt::Debug for LinkMaker {
    // The client has the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkMaker").field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// A connection to the bus.
pub struct Link<'m> {
    connection: Connection,
    maker: &'m LinkMaker,
}

impl fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("maker", self.maker).finish_non_exhaustive()
    }
}

/// Where a message stands in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    ms: u64,
    seq: u64,
}

/// A message in the stream; `None` where an entry has not what it needs.
#[derive(Debug)]
pub struct StreamEntry {
    /// Where it stands.
    pub position: Position,
    /// The server that published it.
    pub server: Option<String>,
    /// Its record, as JSON.
    pub json: Option<String>,
}

impl LinkMaker {
    /// # Errors
    /// The address is none, or has a password in it.
    pub fn new(options: &BusOptions) -> Result<Self, BusError> {
        let bad = |why: &str| BusError::Address { address: shown(&options.address), why: why.to_owned() };
        let info: ConnectionInfo =
            options.address.as_str().into_connection_info().map_err(|error| bad(&error.to_string()))?;
        if info.redis_settings().password().is_some() {
            return Err(bad("with a password in it, every program on this machine can read it; use a password file"));
        }
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(bad("it would take any certificate"));
        }
        let mut settings = info.redis_settings().clone();
        if let Some(password) = &options.password {
            settings = settings.set_password(password);
        }
        let client = Client::open(info.set_redis_settings(settings)).map_err(|error| bad(&error.to_string()))?;
        let key = |what: &str| format!("{}:{what}", options.prefix);
        let (messages, sent, servers, members) = (key("messages"), key("sent"), key("servers"), key("members"));
        Ok(Self { client, messages, sent, servers, members, shown: options.address.clone() })
    }

    /// The address, without a secret in it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// # Errors
    /// Redis cannot be reached, or lets this server not in.
    pub fn connect(&self) -> Result<Link<'_>, BusError> {
        let connection = self.client.get_connection_with_timeout(BUS_TIMEOUT)?;
        connection.set_read_timeout(Some(2 * BUS_TIMEOUT))?;
        connection.set_write_timeout(Some(BUS_TIMEOUT))?;
        Ok(Link { connection, maker: self })
    }
}

/// The address as it may be shown: what stands before an at sign could be a secret.
fn shown(address: &str) -> String {
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://...@{host}"),
        _ => address.split('?').next().unwrap_or_default().to_owned(),
    }
}

impl Link<'_> {
    /// The number of this server's last record that the bus has; `None`: it has none.
    ///
    /// # Errors
    /// Redis failed.
    pub fn last_sent(&mut self, server: &str) -> Result<Option<u64>, BusError> {
        Ok(cmd("HGET").arg(&self.maker.sent).arg(server).query(&mut self.connection)?)
    }

    /// Adds records to the stream, in this order: all of them or none.
    ///
    /// # Errors
    /// Redis failed; whether it has them, [`last_sent`](Self::last_sent) says.
    pub fn publish(&mut self, server: &str, entries: &[OutboxEntry]) -> Result<(), BusError> {
        let Some(last) = entries.last() else { return Ok(()) };
        let mut pipe = pipe();
        pipe.atomic();
        for entry in entries {
            pipe.cmd("XADD").arg(&self.maker.messages).arg("MAXLEN").arg("~").arg(STREAM_MESSAGES_MAX);
            pipe.arg("*").arg("s").arg(server).arg("m").arg(entry.json.as_ref()).ignore();
        }
        pipe.cmd("HSET").arg(&self.maker.sent).arg(server).arg(last.seq).ignore();
        pipe.query::<()>(&mut self.connection)?;
        Ok(())
    }

    /// Says for a while that these are the members of this server.
    ///
    /// # Errors
    /// Redis failed.
    pub fn publish_members(&mut self, server: &str, json: &str, time: Duration) -> Result<(), BusError> {
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut pipe = pipe();
        pipe.cmd("SADD").arg(&self.maker.servers).arg(server).ignore();
        pipe.cmd("SET").arg(self.members_key(server)).arg(json).arg("PX").arg(time_ms).ignore();
        pipe.query::<()>(&mut self.connection)?;
        Ok(())
    }

    /// The members of the other servers, as JSON.
    ///
    /// # Errors
    /// Redis failed.
    pub fn members_elsewhere(&mut self, own: &str) -> Result<HashMap<String, String>, BusError> {
        let servers: Vec<String> = cmd("SMEMBERS").arg(&self.maker.servers).query(&mut self.connection)?;
        let others: Vec<String> = servers.into_iter().filter(|server| server != own).collect();
        if others.is_empty() {
            return Ok(HashMap::new());
        }
        let keys: Vec<String> = others.iter().map(|server| self.members_key(server)).collect();
        let lists: Vec<Option<String>> = cmd("MGET").arg(&keys).query(&mut self.connection)?;
        let mut found = HashMap::new();
        for (server, list) in others.into_iter().zip(lists) {
            match list {
                Some(list) => drop(found.insert(server, list)),
                // Its lease is over. If it is there again, it says so.
                None => cmd("SREM").arg(&self.maker.servers).arg(server).query::<()>(&mut self.connection)?,
            }
        }
        Ok(found)
    }

    fn members_key(&self, server: &str) -> String {
        format!("{}:{server}", self.maker.members)
    }

    /// An answer, whatever it is: the connection lives.
    ///
    /// # Errors
    /// Redis failed.
    pub fn ping(&mut self) -> Result<(), BusError> {
        Ok(cmd("PING").query(&mut self.connection)?)
    }

    /// Where the stream ends.
    ///
    /// # Errors
    /// Redis failed.
    pub fn end(&mut self) -> Result<Position, BusError> {
        let mut last = cmd("XREVRANGE");
        last.arg(&self.maker.messages).arg("+").arg("-").arg("COUNT").arg(1);
        let last: StreamRangeReply = last.query(&mut self.connection)?;
        Ok(last.ids.first().map_or_else(Position::default, |entry| Position::of(&entry.id)))
    }

    /// What stands in the stream behind `after`; waits up to `time` for the first message.
    ///
    /// # Errors
    /// Redis failed.
    pub fn read(&mut self, after: Position, time: Duration) -> Result<Vec<StreamEntry>, BusError> {
        let mut read = cmd("XREAD");
        let wait_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        read.arg("COUNT").arg(READ_MESSAGES).arg("BLOCK").arg(wait_ms);
        read.arg("STREAMS").arg(&self.maker.messages).arg(after.to_string());
        let reply: Option<StreamReadReply> = read.query(&mut self.connection)?;
        let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
        Ok(entries.map(|entry| StreamEntry::of(&entry)).collect())
    }
}

impl Position {
    /// The position that Redis writes as `id`; 0 if it is none.
    fn of(id: &str) -> Self {
        let (ms, seq) = id.split_once('-').unwrap_or((id, "0"));
        Self { ms: ms.parse().unwrap_or(0), seq: seq.parse().unwrap_or(0) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl StreamEntry {
    fn of(entry: &StreamId) -> Self {
        Self { position: Position::of(&entry.id), server: entry.get("s"), json: entry.get("m") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_before_anything_is_sent_and_a_password_is_not_shown() {
        let make =
            |address: &str| LinkMaker::new(&BusOptions { address: address.into(), password: None, prefix: "x".into() });
        for good in ["redis://localhost", "redis://ann@127.0.0.1:7/2", "rediss://host:6380", "unix:/run/redis.sock"] {
            assert!(make(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "http://localhost",
            "redis://:secret@localhost",
            "redis://ann:secret@h",
            "unix:/run/redis.sock?pass=secret",
            "rediss://host/#insecure",
        ] {
            let error = make(bad).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn positions_are_in_the_order_of_the_stream() {
        let positions = ["0-0", "5-0", "5-9", "5-10", "17-1"].map(Position::of);
        assert!(positions.is_sorted());
        assert_eq!(positions[3].to_string(), "5-10");
        assert_eq!(Position::of("rubbish"), Position::default());
    }
}
