//! A listing for people: names, or with `-l` mode, size, time and name.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::dir::DirEntry;
use crate::printable::printable_name;
use crate::wire::message::EntryKind;

/// The entries as text, one a line; names as they are, or made printable for a terminal.
pub(super) fn text(entries: &[DirEntry], long: bool, for_terminal: bool) -> Vec<u8> {
    let zone = TimeZone::system();
    let width = entries.iter().map(|entry| entry.size.to_string().len()).max().unwrap_or(0);
    let mut out = Vec::new();
    for entry in entries {
        if long {
            let mut columns = String::new();
            let time = local_time(entry.mtime_ns, &zone);
            // Writing to a string cannot fail.
            if write!(columns, "{} {:>width$} {time} ", mode(entry), entry.size).is_ok() {
                out.extend_from_slice(columns.as_bytes());
            }
        }
        let name = entry.name_bytes();
        let name = if for_terminal { printable_name(&name).into_bytes() } else { name };
        out.extend_from_slice(&name);
        match (entry.kind, &entry.target) {
            (EntryKind::Dir, _) => out.push(b'/'),
            (EntryKind::Link, Some(target)) if long => {
                let target = if for_terminal { printable_name(target.as_bytes()) } else { target.clone() };
                out.extend_from_slice(format!(" -> {target}").as_bytes());
            }
            _ => {}
        }
        out.push(b'\n');
    }
    out
}

fn local_time(mtime_ns: i64, zone: &TimeZone) -> String {
    let Ok(time) = Timestamp::from_nanosecond(mtime_ns.into()) else { return "?".into() };
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `drwxr-xr-x`, as `ls -l` has it.
fn mode(entry: &DirEntry) -> String {
    let kind = match entry.kind {
        EntryKind::File => '-',
        EntryKind::Dir => 'd',
        EntryKind::Link => 'l',
        EntryKind::Other => '?',
    };
    let bits = (0..9).map(|at| if entry.mode >> (8 - at) & 1 == 1 { ['r', 'w', 'x'][at % 3] } else { '-' });
    std::iter::once(kind).chain(bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_listing_has_mode_size_time_and_name() {
        let entry = |name: &str, kind, size, mode, target: Option<&str>| DirEntry {
            name: crate::wire::path::PathText::of(name.as_bytes()),
            kind,
            size,
            mtime_ns: 0,
            mode,
            target: target.map(str::to_owned),
        };
        let entries = [
            entry("a\x1b", EntryKind::File, 5, 0o640, None),
            entry("d", EntryKind::Dir, 4096, 0o755, None),
            entry("l", EntryKind::Link, 1, 0o777, Some("a")),
        ];
        let lines = String::from_utf8(text(&entries, true, true)).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        assert!(lines[0].starts_with("-rw-r-----    5 19") && lines[0].ends_with(" a\\u{1b}"), "{}", lines[0]);
        assert!(lines[1].starts_with("drwxr-xr-x 4096 ") && lines[1].ends_with(" d/"), "{}", lines[1]);
        assert!(lines[2].ends_with(" l -> a"), "{}", lines[2]);
        assert_eq!(text(&entries, false, false), b"a\x1b\nd/\nl\n");
    }
}
