//! `rexec --place`: a directory and variables that stay between separate calls.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use crate::cli::exit::Exit;
use crate::cli::output::{put_json, tell};
use crate::cli::rexec::args::Args;
use crate::cli::usage::usage;
use crate::connection::Connection;
use crate::exec::places::{PlaceChange, call_place, call_places};
use crate::printable::printable;

/// What a call with a place does to it, rather than to run something there.
pub(super) enum PlaceAction {
    /// Run something.
    Nothing,
    /// Move it.
    Move(OsString),
    /// Set and unset its variables.
    Set(Vec<OsString>),
}

/// `cd DIR`, `export NAME=VALUE` and `unset NAME`, if that is all there is, are said to the place: in the shell of
/// one call they would be gone with it.
///
/// # Errors
/// It begins like that and is more, or is for a shell to understand.
pub(super) fn place_action(args: &Args) -> anyhow::Result<PlaceAction> {
    if args.place.is_none() || args.is_argv {
        return Ok(PlaceAction::Nothing);
    }
    let words: Option<Vec<String>> = args.command.iter().map(|word| word.to_str().map(str::to_owned)).collect();
    let words = match words.as_deref() {
        Some([text]) => shlex::split(text),
        _ => words,
    };
    let Some(words) = words else { return Ok(PlaceAction::Nothing) };
    let has_any = |words: &[String], signs: &[char]| words.iter().any(|word| word.contains(signs));
    match words.split_first() {
        Some((verb, rest)) if matches!(verb.as_str(), "cd" | "export" | "unset") => {
            if has_any(rest, &['|', '&', ';', '<', '>']) {
                return Ok(PlaceAction::Nothing);
            }
            if has_any(rest, &['$', '`', '*', '?', '~']) {
                return Err(usage(format!(
                    "{verb} changes the place, where no shell is: nothing in it is expanded, so write what is meant"
                )));
            }
            match (verb.as_str(), rest) {
                ("cd", []) => Ok(PlaceAction::Move("/".into())),
                ("cd", [path]) => Ok(PlaceAction::Move(path.into())),
                ("cd", _) => Err(usage("cd takes one directory")),
                (_, []) => Err(usage(format!("{verb} takes names"))),
                ("export", _) => Ok(PlaceAction::Set(crate::cli::rexec::args::with_values(
                    rest.iter().map(OsString::from).collect(),
                )?)),
                _ if rest.iter().any(|word| word.contains('=')) => Err(usage("unset takes names, without a value")),
                _ => Ok(PlaceAction::Set(rest.iter().map(OsString::from).collect())),
            }
        }
        _ => Ok(PlaceAction::Nothing),
    }
}

/// Does to the place what is wished, or what the options say.
///
/// # Errors
/// The server refused, or the connection was lost.
pub(super) fn act(args: &Args, connection: &mut Connection, place_action: PlaceAction) -> anyhow::Result<Exit> {
    if !matches!(place_action, PlaceAction::Nothing)
        && (args.chdir.is_some() || !args.env.is_empty() || !args.env_file.is_empty())
    {
        return Err(usage(
            "cd, export and unset change the place and run nothing: leave --chdir, --env and --env-file out",
        ));
    }
    let name = args.place.as_deref().unwrap_or_default();
    let (moved, mut variables) = match place_action {
        PlaceAction::Move(path) => (Some(path), Vec::new()),
        PlaceAction::Set(variables) => (None, variables),
        PlaceAction::Nothing => (args.chdir.clone(), Vec::new()),
    };
    if args.command.is_empty() {
        variables.extend(args.variables()?);
    }
    let ttl_ms = args.place_ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let change = PlaceChange { path: moved.as_ref().map(|path| path.as_bytes()), ttl_ms, variables: &variables };
    let path = call_place(connection, name, change)?;
    let path = String::from_utf8_lossy(&path);
    if args.output.json {
        put_json(&serde_json::json!({ "place": name, "path": path }))?;
    }
    Ok(Exit::Done)
}

/// Prints all places.
///
/// # Errors
/// The server refused, or the connection was lost.
pub(super) fn list(args: &Args, connection: &mut Connection) -> anyhow::Result<Exit> {
    let places = call_places(connection)?;
    if args.output.json {
        put_json(&places)?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    let shown: Vec<_> = places.iter().map(|place| printable(&place.place)).collect();
    let width = shown.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    for (place, name) in places.iter().zip(&shown) {
        let rest = Duration::from_secs(place.expires_ms / 1000);
        let names = place.variables.join(",");
        let with = if names.is_empty() { String::new() } else { format!(", with {names}") };
        let rest = humantime::format_duration(rest);
        writeln!(text, "{name:width$}  {}{}, for {rest} more", printable(&place.path), printable(&with))?;
    }
    tell(&text)?;
    Ok(Exit::Done)
}
