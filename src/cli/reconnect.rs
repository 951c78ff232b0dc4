//! The connection of a prompt: the server ends it when it is idle for long, and the next command opens it again.

use crate::cli::output::say;
use crate::connection::Connection;
use crate::dir::call_cd;
use crate::error::Error;
use crate::printable::printable;

/// Opens a connection as the first one was.
pub type Opener = Box<dyn Fn() -> anyhow::Result<Connection>>;

/// If the server has ended `line` since its last answer, opens another with `open` and goes to where the session
/// stood: true, with `cwd` changed if that is not there any more. Between two requests a server sends only the reason
/// for the end, so no request is sent twice.
///
/// # Errors
/// No connection came about.
pub fn reconnect(program: &str, connection: &mut Connection, cwd: &mut Vec<u8>, open: &Opener) -> anyhow::Result<bool> {
    if !connection.has_incoming().unwrap_or(true) {
        return Ok(false);
    }
    tracing::debug!("the server has ended the connection; opening another");
    let mut again = open()?;
    again.greeting()?;
    if !matches!(cwd.as_slice(), b"" | b"/") {
        match call_cd(&mut again, cwd) {
            Ok(found) => *cwd = found,
            Err(Error::Refused(refusal)) => {
                let text = format!("connected again, and now at /: {}", refusal.message);
                say(program, &printable(&text));
                *cwd = b"/".to_vec();
            }
            Err(error) => return Err(error.into()),
        }
    }
    *connection = again;
    Ok(true)
}
