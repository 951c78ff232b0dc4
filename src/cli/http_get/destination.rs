//! Where a body goes: to a file, into a directory, to standard output.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::args::Args;
use crate::cli::standard::{self, Descriptor};
use crate::cli::usage::usage;
use crate::http::client::{Url, names};

/// Where a body goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// To standard output.
    Output,
    /// To a device or a pipe, as it comes.
    Device(PathBuf),
    /// To this file.
    File(PathBuf),
    /// Into this directory, by the name that the server suggests, or else this one; `None`: the URL has none.
    Suggested(PathBuf, Option<OsString>),
}

impl Destination {
    /// For each of `urls`.
    ///
    /// # Errors
    /// Two would become one file, a name is missing, or the options make no sense.
    pub(super) fn of(args: &Args, urls: &[Url]) -> anyhow::Result<Vec<Self>> {
        let output = args.output.as_deref();
        let is_dir = |path: &Path| path.as_os_str().as_bytes().ends_with(b"/") || path.is_dir();
        let dir = match output {
            Some(path) if is_dir(path) => Some(path),
            Some(path) if args.remote_name || args.suggested_name => {
                return Err(usage(format!("{}: not a directory; with -O, -o names one", path.display())));
            }
            Some(path) => {
                if urls.len() > 1 && path.as_os_str() != "-" {
                    let shown = path.display();
                    return Err(usage(format!("{shown}: one file for {} URLs; name a directory: -o DIR/", urls.len())));
                }
                let destination = Self::at(path);
                return Ok(vec![destination; urls.len()]);
            }
            None if args.remote_name || args.suggested_name => Some(Path::new(".")),
            None => None,
        };
        let Some(dir) = dir else { return Ok(vec![Self::Output; urls.len()]) };
        if !dir.is_dir() {
            return Err(usage(format!("{}: no such directory; make it first", dir.display())));
        }
        let mut destinations: Vec<Self> = Vec::new();
        for url in urls {
            let destination = if args.suggested_name {
                Self::Suggested(dir.to_owned(), names::of_url(url).ok())
            } else {
                let name = names::of_url(url).map_err(|error| usage(format!("{error}; name it with -o FILE")))?;
                Self::File(if dir == Path::new(".") { name.into() } else { dir.join(name) })
            };
            if let Self::File(path) = &destination
                && destinations.contains(&destination)
            {
                return Err(usage(format!("{}: two of the URLs would become this file", path.display())));
            }
            destinations.push(destination);
        }
        Ok(destinations)
    }

    fn at(path: &Path) -> Self {
        if path.as_os_str() == "-" {
            return Self::Output;
        }
        match standard::descriptor(path) {
            Some(Descriptor::Output) => return Self::Output,
            Some(Descriptor::Other) => return Self::Device(path.to_owned()),
            None => {}
        }
        let is_stream = path.metadata().is_ok_and(|found| {
            let kind = found.file_type();
            kind.is_char_device() || kind.is_fifo()
        });
        if is_stream { Self::Device(path.to_owned()) } else { Self::File(path.to_owned()) }
    }

    /// The file for a response with the `Content-Disposition` of `disposition`.
    ///
    /// # Errors
    /// There is no name, or a file has it.
    pub(super) fn named(dir: &Path, own: Option<&OsString>, disposition: Option<&str>) -> anyhow::Result<PathBuf> {
        let name = match disposition.and_then(names::suggested) {
            Some(suggested) => suggested,
            None => match own {
                Some(own) => own.clone(),
                None => return Err(usage("neither the URL nor the server names the file; name it with -o FILE")),
            },
        };
        let path = if dir == Path::new(".") { PathBuf::from(name) } else { dir.join(name) };
        // A stranger chose it.
        if path.symlink_metadata().is_ok() {
            let shown = path.display();
            return Err(usage(format!("{shown}: exists, and the server chose the name; replace it with -o FILE")));
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn destinations(words: &[&str]) -> anyhow::Result<Vec<Destination>> {
        let args = Args::try_parse_from(["http-get"].iter().chain(words))?;
        let urls: Vec<Url> = args.urls.iter().map(|url| Url::parse(url).unwrap()).collect();
        Destination::of(&args, &urls)
    }

    #[test]
    fn each_url_has_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let into = format!("{}/", dir.path().display());
        let in_dir = |name: &str| Destination::File(dir.path().join(name));
        for (words, want) in [
            (vec!["http://a/b"], vec![Destination::Output]),
            (vec!["http://a/b", "-o", "-"], vec![Destination::Output]),
            (vec!["http://a/b", "-o", "/dev/null"], vec![Destination::Device("/dev/null".into())]),
            (vec!["http://a/b", "-o", "c"], vec![Destination::File("c".into())]),
            (vec!["http://a/b", "-O"], vec![Destination::File("b".into())]),
            (vec!["http://a/b", "http://a/c", "-o", &into], vec![in_dir("b"), in_dir("c")]),
            (vec!["http://a/b", "-O", "-o", &into], vec![in_dir("b")]),
            (vec!["http://a/b", "-J"], vec![Destination::Suggested(".".into(), Some("b".into()))]),
        ] {
            assert_eq!(destinations(&words).unwrap(), want, "{words:?}");
        }
        for bad in [
            &["http://a/b", "http://a/c", "-o", "x"][..],
            &["http://a/", "-O"],
            &["http://a/b", "http://c/b", "-O"],
            &["http://a/b", "-O", "-o", "file"],
            &["http://a/b", "-o", "no/such/dir/"],
        ] {
            assert!(destinations(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_of_a_stranger_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("there"), "").unwrap();
        let named = |own: Option<&str>, suggested: Option<&str>| {
            let disposition = suggested.map(|name| format!("attachment; filename=\"{name}\""));
            Destination::named(dir.path(), own.map(OsString::from).as_ref(), disposition.as_deref())
        };
        assert_eq!(named(Some("own"), Some("a/new")).unwrap(), dir.path().join("new"));
        assert_eq!(named(Some("own"), None).unwrap(), dir.path().join("own"));
        assert_eq!(named(Some("own"), Some("..")).unwrap(), dir.path().join("own"));
        for (own, suggested) in
            [(None, None), (None, Some("there")), (Some("there"), None), (Some("own"), Some(".there"))]
        {
            assert!(named(own, suggested).is_err(), "{own:?} {suggested:?}");
        }
    }
}
