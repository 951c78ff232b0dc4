//! `fput --list-parts` and `--clean-parts`: this user's unfinished copies on a server.

use crate::cli::args::{ConnectArgs, OutputArgs};
use crate::cli::exit::Exit;
use crate::cli::fput::args::PROGRAM;
use crate::cli::output::{put_json, say, tell};
use crate::cli::{connect, human};
use crate::printable::printable;
use crate::remote::Remote;
use crate::trees::unfinished::{Unfinished, call_parts};

/// Lists the unfinished copies below `remote`; with `clean`, removes those that no transfer writes to.
///
/// # Errors
/// The server cannot be reached or refuses, or standard output is closed.
pub(super) fn main(remote: &Remote, clean: bool, connect: &ConnectArgs, output: &OutputArgs) -> anyhow::Result<Exit> {
    let mut connection = connect::connect(PROGRAM, &remote.address, connect, output)?;
    let found = call_parts(&mut connection, remote.path.as_encoded_bytes(), clean)?;
    connection.close();
    if output.json {
        put_json(&found)?;
    } else {
        tell(&text(&found))?;
    }
    if !output.quiet && !output.json && found.is_empty() {
        say(PROGRAM, &format!("{}: no unfinished copies", remote.shown()));
    }
    Ok(Exit::Done)
}

fn text(found: &[Unfinished]) -> String {
    found.iter().map(line_of).collect()
}

fn line_of(copy: &Unfinished) -> String {
    let path = copy.path.bytes().map(|path| String::from_utf8_lossy(&path).into_owned()).unwrap_or_default();
    let what = match copy {
        Unfinished { removed: true, .. } => "removed".to_owned(),
        Unfinished { held: true, .. } => "being written".to_owned(),
        copy => format!("left {} ago", human::time(copy.age())),
    };
    format!("{}  {}  {what}\n", printable(&path), human::size(copy.size))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::trees::PathText;

    #[test]
    fn sizes_and_ages_are_said_as_everywhere() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let written = now.as_secs() - 9_000;
        let path = PathText::of(b"/big");
        let copy = Unfinished { path, size: 12_580_000, written, held: false, removed: false };
        assert_eq!(line_of(&copy), "/big  13 MB  left 2.5 h ago\n");
    }
}
