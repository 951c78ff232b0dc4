//! Listening: bind, say where, accept.
#![expect(clippy::disallowed_types, reason = "this is the one place that accepts connections")]

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::address::Address;
use super::stream::Stream;

/// Connections the kernel keeps for us while the accept thread is busy; std's 128 overflows when a
/// thousand clients come at once.
const BACKLOG: i32 = 4_096;
/// A connection thread's stack, in bytes: the post-quantum key exchange needs more than 32 KiB. It is virtual: only
/// the pages that are touched cost memory.
pub const STACK_LEN: usize = 256 * 1024;

/// Listening did not come about.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {why}")]
pub struct BindError {
    address: String,
    why: String,
}

/// One address that is listened on.
#[derive(Debug)]
pub struct Listener {
    socket: ListenerSocket,
    local: String,
    is_loopback: bool,
    stopped: AtomicBool,
}

#[derive(Debug)]
enum ListenerSocket {
    Tcp(TcpListener),
    Unix { socket: UnixListener, path: PathBuf, inode: u64 },
}

impl Listener {
    /// Listens on every address that `address` means: one for an IP address or a Unix path,
    /// perhaps several for a name.
    ///
    /// # Errors
    /// The name is unknown, the port is taken or not allowed, the path is in use.
    pub fn bind(address: &Address) -> Result<Vec<Self>, BindError> {
        let failed = |why: String| BindError { address: address.to_string(), why };
        match address {
            Address::Unix(path) => Ok(vec![Self::bind_unix(path).map_err(failed)?]),
            Address::Tcp { host, port, .. } => {
                let addresses = (host.as_str(), port.unwrap_or(0)).to_socket_addrs();
                let mut addresses: Vec<SocketAddr> = addresses.map_err(|error| failed(error.to_string()))?.collect();
                addresses.sort_unstable();
                addresses.dedup();
                addresses
                    .into_iter()
                    .map(|address| Self::bind_tcp(address).map_err(|e| failed(bind_reason(&e))))
                    .collect()
            }
        }
    }

    fn bind_tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted server would otherwise have to wait until its old connections are forgotten.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let local = socket.local_addr()?;
        Ok(Self {
            socket: ListenerSocket::Tcp(socket),
            local: local.to_string(),
            is_loopback: local.ip().is_loopback(),
            stopped: AtomicBool::new(false),
        })
    }

    fn bind_unix(path: &Path) -> Result<Self, String> {
        clear_dead_socket(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(|error| error.to_string())?;
        let bound = SockAddr::unix(path).and_then(|address| socket.bind(&address)).and_then(|()| {
            // Between bind and listen no client can connect yet: no moment at which others may.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            socket.listen(BACKLOG)?;
            std::fs::metadata(path)
        });
        let inode = bound.map_err(|error| bind_reason(&error))?.ino();
        Ok(Self {
            socket: ListenerSocket::Unix { socket: UnixListener::from(socket), path: path.to_owned(), inode },
            local: format!("unix:{}", path.display()),
            is_loopback: true,
            stopped: AtomicBool::new(false),
        })
    }

    /// The address with the real port, as a client would write it.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Whether only this machine can reach it.
    pub const fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Ends accepting: a call that waits for a connection returns.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let socket = match &self.socket {
            ListenerSocket::Tcp(socket) => socket.as_fd(),
            ListenerSocket::Unix { socket, .. } => socket.as_fd(),
        };
        if let Err(error) = rustix::net::shutdown(socket, rustix::net::Shutdown::Both) {
            tracing::debug!(%error, "a listener could not be shut down");
        }
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// The listener was stopped, or the system has no connection for us now.
    pub(super) fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            ListenerSocket::Tcp(socket) => socket.accept().map(|(stream, _)| stream.into()),
            ListenerSocket::Unix { socket, .. } => socket.accept().map(|(stream, _)| stream.into()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Only our own socket is removed, not one that was put in its place since.
        if let ListenerSocket::Unix { path, inode, .. } = &self.socket
            && std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == *inode)
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "the socket's path could not be removed");
        }
    }
}

fn clear_dead_socket(path: &Path) -> Result<(), String> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err("the path exists and is not a socket; choose another path".into());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err("another program listens there already".into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| format!("a dead socket is in the way: {error}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn bind_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has this port; choose another, or 0 for any free one".into(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        io::ErrorKind::PermissionDenied => "not allowed; ports below 1024 and others' directories need rights".into(),
        io::ErrorKind::NotFound => "its directory does not exist".into(),
        _ => error.to_string(),
    }
}
