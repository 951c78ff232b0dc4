//! A server that lies to `fget`: it listens, speaks the protocol by hand, and sends what no honest one does.
//! Nothing beside the destination is touched, and `fget` ends by itself with a sentence.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::words::{data, dir, end, file, large, lies, link, list, list_of, record, small, want, whole};
use super::{Sandbox, is_stray, set_mode, snapshot, strays, swap_with};
use crate::harness::frames::{Answer, Raw, frame, request};
use crate::harness::listen::serve_one;
use crate::harness::process::memory_kib;
use crate::harness::{Background, Run, Server};

const HELLO: &str = r#"{"type":"hello","version":1,"program":"liar","verbs":["pull","push","get"]}"#;

/// Between two looks at what a program takes of memory.
const LOOK: Duration = Duration::from_millis(1);

/// A server for one connection, which answers the first request with `talk`, and then reads until its client is gone.
struct Liar {
    address: String,
    serving: JoinHandle<()>,
}

impl Liar {
    fn start(talk: impl FnOnce(&mut Raw<TcpStream>, Answer) + Send + 'static) -> Self {
        let (address, serving) = serve_one(|stream| {
            let mut raw = Raw { stream };
            let request = raw.welcome(HELLO).expect("a request");
            talk(&mut raw, request);
            drop(raw.stream.flush());
            raw.rest();
        });
        let address = format!("tcp://{address}");
        Self { address, serving }
    }

    fn says(bytes: Vec<u8>) -> Self {
        Self::start(move |raw, _| raw.send_what_goes(&bytes))
    }

    fn remote(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// Runs `fget` with it, in the sandbox; its code and what it said.
    fn serve(self, sandbox: &Sandbox, options: &[&str], path: &str, to: &str) -> (Option<i32>, String) {
        let running = self.begin(sandbox, options, path, to);
        let said = running.ended();
        self.serving.join().unwrap();
        said
    }

    fn begin(&self, sandbox: &Sandbox, options: &[&str], path: &str, to: &str) -> Background {
        let run = Run::new("fget").args(options).args([&self.remote(path), to]).current_dir(&sandbox.inside());
        run.spawn()
    }
}

/// One sentence, or a few where several entries failed; no panic, and nothing that a person cannot read.
fn assert_sentence(said: &str, name: &str) {
    assert!(said.starts_with("fget: ") && said.lines().count() <= 8, "{name}: {said}");
    for word in ["panicked", "RUST_BACKTRACE", "Err(", "Some("] {
        assert!(!said.contains(word), "{name}: {said}");
    }
}

#[test]
fn no_lie_reaches_what_is_beside_the_destination() {
    let sandbox = Sandbox::new();
    for (at, (name, lie)) in lies(sandbox.outside().to_str().unwrap()).into_iter().enumerate() {
        let dest = format!("dest{at}");
        let (code, said) = Liar::says(lie).serve(&sandbox, &["-r", "-q", "--no-sync"], "x/", &format!("{dest}/"));
        sandbox.assert_untouched(name);
        assert!(matches!(code, Some(1 | 4)), "{name}: {code:?} {said}");
        assert_sentence(&said, name);
        let here = super::names_in(&sandbox.inside());
        let own = |path: &String| path.starts_with(&dest);
        assert!(here.iter().all(own), "{name}: {here:?}");
        for path in here.iter().filter(|path| path.contains("evil") && !is_stray(path)) {
            // Directories and symlinks below the destination do no harm; a file would have to be what was said.
            let path = sandbox.inside().join(path);
            assert!(!path.is_file() || path.is_symlink(), "{name}: {} is there", path.display());
        }
        std::fs::remove_dir_all(sandbox.inside()).unwrap();
        std::fs::create_dir(sandbox.inside()).unwrap();
    }
}

/// The same lies with a destination in which there is something already: a symlink that leads out.
#[test]
fn symlinks_that_were_there_before_are_not_gone_through() {
    let sandbox = Sandbox::new();
    let dest = sandbox.inside().join("dest");
    std::fs::create_dir(&dest).unwrap();
    std::os::unix::fs::symlink(sandbox.outside(), dest.join("l")).unwrap();
    let evil = [list(&[dir("l", 0o777), file("l/evil", 4), file("l/canary", 4)]), small(&[record(1, b"evil")]), end()];
    let (code, said) = Liar::says(evil.concat()).serve(&sandbox, &["-r", "-q"], "x/", "dest");
    sandbox.assert_untouched("a symlink that was there");
    assert!(matches!(code, Some(1 | 4)), "{said}");
    assert_sentence(&said, "a symlink that was there");
}

/// `fget HOST:notes.txt` in one's home must not bring a `.profile`.
#[test]
fn nothing_comes_that_was_not_asked_for() {
    let small_file = |name: &str| [list(&[file(name, 4)]), small(&[record(0, b"evil")]), end()].concat();
    let in_dir = |name: &str, mode: u32| {
        let entries = list(&[dir(name, mode), file(&format!("{name}/evil"), 4)]);
        [entries, small(&[record(1, b"evil")]), end()].concat()
    };
    let beside = {
        let entries = [file("notes.txt", 5), dir("neighbour", 0o777), file("neighbour/evil", 4)];
        [list(&entries), small(&[record(0, b"notes"), record(2, b"evil")]), end()].concat()
    };
    for (name, options, asked, to, lie) in [
        ("another name", &[][..], "notes.txt", ".", small_file(".profile")),
        ("another name for a pattern", &[], "*.txt", ".", small_file(".profile")),
        ("a dot file for a pattern", &[], "*", ".", small_file(".bashrc")),
        ("a dot file for a pattern of its length", &[], "?bashrc", ".", small_file(".bashrc")),
        ("a dot file for a class of characters", &[], "[.b]bashrc", ".", small_file(".bashrc")),
        ("a dot file for a pattern in a directory", &[], "docs/*rc", ".", small_file(".bashrc")),
        ("a dot directory for a pattern", &["-r"], "*", ".", in_dir(".ssh", 0o700)),
        ("a symlink for a tree that was named", &["-r"], "*", ".", [list(&[link("evil", "/etc")]), end()].concat()),
        ("a symlink where none are to come", &["-r", "--follow"], "x/", ".", {
            [list(&[link("evil", "/etc")]), end()].concat()
        }),
        ("another name for a tree", &["-r"], "site", ".", in_dir("neighbour", 0o777)),
        ("a directory without -r", &[], "notes.txt", ".", in_dir("notes.txt", 0o777)),
        ("a symlink without -r", &[], "notes.txt", ".", [list(&[link("notes.txt", "/etc")]), end()].concat()),
        ("a directory beside a single file", &[], "notes.txt", "copy.txt", beside.clone()),
        ("a directory beside a single file, with -r", &["-r"], "notes.txt", "copy.txt", beside),
        ("a second file after a single one", &[], "notes.txt", "copy.txt", {
            let entries = [file("notes.txt", 5), file("evil", 4)];
            [list(&entries), small(&[record(0, b"notes"), record(1, b"evil")]), end()].concat()
        }),
    ] {
        let sandbox = Sandbox::new();
        let neighbour = sandbox.inside().join("neighbour");
        std::fs::create_dir(&neighbour).unwrap();
        set_mode(&neighbour, 0o700);
        super::set_mtime(&neighbour, 1_500_000_000_000_000_000);
        let before = snapshot(&sandbox.inside());
        let (code, said) = Liar::says(lie).serve(&sandbox, options, asked, to);
        sandbox.assert_untouched(name);
        let mut after = snapshot(&sandbox.inside());
        // The one file that was asked for may have come.
        after.retain(|path, node| {
            !(path == Path::new(to) && node.what == super::Node::of(&sandbox.inside().join(to)).what)
        });
        super::assert_same(&before, &after, name);
        if to == "copy.txt" && sandbox.inside().join(to).exists() {
            assert_eq!(std::fs::read(sandbox.inside().join(to)).unwrap(), b"notes", "{name}");
        }
        assert!(matches!(code, Some(1 | 4)), "{name}: {code:?} {said}");
    }
}

/// What is left out by its name or its size does not come, whatever the server sends.
#[test]
fn nothing_comes_that_was_left_out() {
    let big = vec![b'x'; 1 << 20];
    let in_tree = |names: &[&str]| {
        let entries: Vec<String> = names.iter().map(|name| file(&format!("x/{name}"), 4)).collect();
        let records: Vec<Vec<u8>> = (1..).zip(names).map(|(entry, _)| record(entry, b"evil")).collect();
        [list(&[vec![dir("x", 0o755)], entries].concat()), small(&records), end()].concat()
    };
    let nested = {
        let entries = [dir("x", 0o755), dir("x/private", 0o755), file("x/private/evil", 4)];
        [list(&entries), small(&[record(2, b"evil")]), end()].concat()
    };
    let listed_large = [list(&[file("x", 1 << 20)]), large(0, 0, 1 << 20), data(&big), whole(1 << 20, &big), end()];
    let grows_large = [list(&[file("x", 4)]), large(0, 0, 1 << 20), data(&big), whole(1 << 20, &big), end()];
    let grows_small = [list(&[file("x", 4)]), small(&[record(0, &[b'x'; 2000])]), end()];
    for (name, options, lie) in [
        ("an excluded file", &["-r", "--exclude", "ev*"][..], in_tree(&["evil"])),
        ("a file in an excluded directory", &["-r", "--exclude", "private/"], nested),
        ("a file that is not included", &["-r", "--include", "*.jpg"], in_tree(&["evil"])),
        ("a file that is included and excluded", &["-r", "--include", "*.jpg", "--exclude", "e*"], in_tree(&["e.jpg"])),
        ("a directory that is excluded, of a pattern", &["-r", "--exclude", "x/"], in_tree(&["evil"])),
        ("a named file that is excluded", &["--exclude", "x"], {
            [list(&[file("x", 4)]), small(&[record(0, b"evil")]), end()].concat()
        }),
        ("a file over the size", &["--max-size", "1000"], listed_large.concat()),
        ("a large file that was listed as a small one", &["--max-size", "1000"], grows_large.concat()),
        ("a file that is larger than it was listed", &["--max-size", "1000"], grows_small.concat()),
    ] {
        let sandbox = Sandbox::new();
        let path = if name.ends_with("pattern") { "*" } else { "x" };
        let (code, said) = Liar::says(lie).serve(&sandbox, &[options, &["-q", "--no-sync"]].concat(), path, ".");
        assert!(matches!(code, Some(1 | 4)), "{name}: {code:?} {said}");
        assert_sentence(&said, name);
        let files = snapshot(&sandbox.inside());
        let files: Vec<_> = files.iter().filter(|(_, node)| matches!(node.what, super::What::File { .. })).collect();
        assert!(files.is_empty(), "{name}: {files:?}");
    }
}

/// Standard output has no second attempt either.
#[test]
fn a_single_file_is_not_longer_than_it_was_announced() {
    let announces = |size: u64| frame(&format!(r#"{{"type":"file","size":{size},"mtime_ns":0,"mode":420}}"#), &[]);
    for (name, options, lie) in [
        ("more than was announced", &[][..], [announces(4), data(b"evil"), data(b"evil"), end()].concat()),
        ("more than may come", &["--max-size", "3"], [announces(4), data(b"evil"), end()].concat()),
    ] {
        let sandbox = Sandbox::new();
        let run = Liar::says(lie).begin(&sandbox, options, "x", "-");
        let (code, said) = run.ended();
        assert_eq!(code, Some(1), "{name}: {said}");
        assert_sentence(&said, name);
    }
}

/// A server that is there and says nothing more is given up after a while, whichever of the two is to speak.
#[test]
fn a_silent_server_is_given_up() {
    for options in [&["-r"][..], &[]] {
        let sandbox = Sandbox::new();
        let liar = Liar::start(|raw, _| raw.send_what_goes(&list_of(b"", false)));
        let options = [options, &["-q", "--stall-timeout", "1s"]].concat();
        let (code, said) = liar.serve(&sandbox, &options, "x", ".");
        assert_eq!(code, Some(4), "{options:?}: {said}");
        assert!(said.contains("timed out"), "{options:?}: {said}");
    }
    let sandbox = Sandbox::new();
    let liar = Liar::start(|_, _| {});
    std::fs::write(sandbox.inside().join("notes"), "notes").unwrap();
    let run = Run::new("fput").args(["-q", "--stall-timeout", "1s", "notes", &liar.remote("")]);
    run.current_dir(&sandbox.inside()).code(4).stderr("timed out").output();
    liar.serving.join().unwrap();
}

/// What fails is told as it happens; what is kept of it for the end has a limit.
#[test]
fn what_is_told_at_the_end_has_a_limit() {
    const PEAK_KIB_MAX: u64 = 150 * 1024;
    let sandbox = Sandbox::new();
    let liar = Liar::start(|raw, _| {
        let hearing = raw.stream.try_clone().unwrap();
        let hearing = thread::spawn(move || Raw { stream: hearing }.rest().len());
        let why = "n".repeat(7_000);
        for first in (0..25_000).step_by(100) {
            let lines: Vec<String> =
                (first..first + 100).map(|at| format!(r#"{{"path":"{at}","kind":"file","error":"{why}"}}"#)).collect();
            raw.send_what_goes(&list_of(lines.join("\n").as_bytes(), false));
        }
        raw.send_what_goes(&[list_of(b"", true), end()].concat());
        drop(raw.stream.shutdown(std::net::Shutdown::Write));
        hearing.join().unwrap();
    });
    let mut running = liar.begin(&sandbox, &["-r", "--json", "--no-sync"], "x/", "dest");
    let (pid, mut peak) = (running.child.id(), 0);
    // It would wait for its output to be read.
    let (said, output) = (std::mem::replace(&mut running.stderr, std::sync::mpsc::channel().1), &running.stdout);
    let reading = thread::spawn(move || said.into_iter().count());
    let summary = loop {
        peak = peak.max(memory_kib(pid).map_or(0, |memory| memory.peak));
        match output.recv_timeout(LOOK) {
            Ok(line) => break line,
            Err(RecvTimeoutError::Timeout) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(running.wait().code(), Some(1));
    assert!(peak > 0 && peak < PEAK_KIB_MAX, "{peak} KiB");
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let (failed, left) = (summary["failed"].as_u64(), summary["results_left_out"].as_u64());
    let named = summary["results"].as_array().unwrap().len() as u64;
    assert_eq!((failed, left), (Some(25_000), Some(25_000 - named)));
    assert!(named < 25_000, "{named}");
    assert_eq!(reading.join().unwrap(), 25_000);
    liar.serving.join().unwrap();
}

/// A local thread swaps a directory for a symlink, back and forth, while 2,000 files arrive in it.
#[test]
fn a_directory_that_becomes_a_symlink_meanwhile_leads_nowhere() {
    const DIRS: u32 = 200;
    const FILES: u32 = 2_000;
    let sandbox = Sandbox::new();
    let top = sandbox.inside().join("dest/d");
    let liar = Liar::start(|raw, _| {
        let mut number = 0;
        let dirs: Vec<String> = (0..DIRS).map(|at| dir(&format!("d/{at}"), 0o755)).collect();
        raw.send_what_goes(&list_of([vec![dir("d", 0o755)], dirs].concat().join("\n").as_bytes(), false));
        number += DIRS + 1;
        // Each next file is in another directory, so that they have to be opened again and again.
        for first in (0..FILES).step_by(50) {
            let files = (first..first + 50).map(|at| file(&format!("d/{}/f{at}", at % DIRS), 4));
            let files: Vec<String> = files.collect();
            raw.send_what_goes(&list_of(files.join("\n").as_bytes(), false));
            let records: Vec<Vec<u8>> = (number..number + 50).map(|entry| record(entry, b"evil")).collect();
            // Those that could not be looked at are not wanted, and the rest comes one by one.
            let mut wanted = Vec::new();
            while wanted.is_empty() {
                let Some(answer) = raw.next() else { return };
                if answer.kind() == "want" {
                    wanted = ranges(&answer.body);
                    break;
                }
            }
            let records: Vec<Vec<u8>> = records
                .into_iter()
                .zip(number..)
                .filter(|(_, at)| wanted.contains(at))
                .map(|(record, _)| record)
                .collect();
            raw.send_what_goes(&small(&records));
            number += 50;
        }
        raw.send_what_goes(&[list_of(b"", true), end()].concat());
    });
    let swapping = swap_with(top, sandbox.inside().join("dest/away"), sandbox.outside());
    let (code, said) = liar.serve(&sandbox, &["-r", "-q", "--no-sync"], "x/", "dest");
    let swaps = swapping.stop();
    assert!(swaps > 10, "{swaps} swaps");
    sandbox.assert_untouched("swapped");
    assert!(matches!(code, Some(0 | 1 | 4)), "{code:?} {said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// The entries that a `want` names.
fn ranges(body: &[u8]) -> Vec<u32> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .flat_map(|line| {
            let range: serde_json::Value = serde_json::from_slice(line).unwrap();
            let number = |value: &serde_json::Value| u32::try_from(value.as_u64().unwrap()).unwrap();
            let first = number(&range["first"]);
            first..first + range.get("count").map_or(1, number)
        })
        .collect()
}

/// No client can be made to remember a million files that never come, or directories with names of a page each.
#[test]
fn a_list_without_end_is_given_up() {
    const PEAK_KIB_MAX: u64 = 150 * 1024;
    type Make = fn(usize) -> String;
    let deep: Make = |at| {
        let part = format!("{at:08}{}/", "n".repeat(230));
        // The same few directories again and again, by long paths.
        dir(&format!("{}end", part.replace(char::is_numeric, "0").repeat(16)), 0o755)
    };
    for (name, make) in [("files", (|at| file(&format!("f{at}"), 1)) as Make), ("long paths", deep)] {
        let sandbox = Sandbox::new();
        let part = format!("00000000{}", "n".repeat(230));
        let mut path = sandbox.inside().join("dest");
        std::fs::create_dir(&path).unwrap();
        let mut made = rustix::fs::open(&path, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        if name == "long paths" {
            for _ in 0..16 {
                path = std::path::PathBuf::from(&part);
                rustix::fs::mkdirat(&made, &path, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
                made =
                    rustix::fs::openat(&made, &path, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
            }
        }
        let liar = Liar::start(move |raw, _| {
            let hearing = raw.stream.try_clone().unwrap();
            let hearing = thread::spawn(move || Raw { stream: hearing }.rest().len());
            let per_list = if name == "files" { 1_000 } else { 100 };
            for first in (0..1_000_000).step_by(per_list) {
                let lines: Vec<String> = (first..first + per_list).map(make).collect();
                if raw.stream.write_all(&list_of(lines.join("\n").as_bytes(), false)).is_err() {
                    break;
                }
                // So many long paths are more than may be remembered.
                if name == "long paths" && first > 45_000 {
                    raw.send_what_goes(&end());
                    break;
                }
            }
            hearing.join().unwrap();
        });
        let running = liar.begin(&sandbox, &["-r", "-q", "--no-sync"], "x/", "dest");
        let (pid, mut peak) = (running.child.id(), 0);
        let ending = thread::spawn(move || running.ended());
        while !ending.is_finished() {
            peak = peak.max(memory_kib(pid).map_or(0, |memory| memory.peak));
            thread::sleep(LOOK);
        }
        let (code, said) = ending.join().unwrap();
        liar.serving.join().unwrap();
        assert!(peak < PEAK_KIB_MAX, "{name}: {peak} KiB; {said}");
        assert!(peak > 0);
        assert_sentence(&said, name);
        if name == "files" {
            assert!(matches!(code, Some(1 | 4)), "{name}: {code:?} {said}");
        } else {
            // An honest tree may have as many, and no entry is to blame for it.
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("the paths of its directories are over 64 MiB; copy it in parts"), "{said}");
        }
    }
}

/// A file that was said to have ten bytes does not fill the disk.
#[test]
fn a_file_is_not_longer_than_it_was_said_to_be() {
    let sandbox = Sandbox::new();
    let liar = Liar::start(|raw, _| {
        raw.send_what_goes(&[list(&[file("x", 1 << 20)]), large(0, 0, 1 << 20)].concat());
        let piece = vec![b'x'; 1 << 18];
        for _ in 0..256 {
            raw.send_what_goes(&data(&piece));
        }
        raw.send_what_goes(&[whole(1 << 20, &vec![b'x'; 1 << 20]), end()].concat());
    });
    let mut running = liar.begin(&sandbox, &["-q", "--no-sync"], "x", ".");
    let mut most = 0;
    while running.child.try_wait().unwrap().is_none() {
        let lens = std::fs::read_dir(sandbox.inside()).unwrap().filter_map(|entry| entry.unwrap().metadata().ok());
        most = most.max(lens.map(|metadata| metadata.len()).sum());
    }
    let (code, said) = running.ended();
    liar.serving.join().unwrap();
    assert!(matches!(code, Some(1 | 4)), "{said}");
    assert!(most <= 2 << 20, "{most} bytes were written of a file that has 1 MiB");
    assert!(!sandbox.inside().join("x").exists());
}

/// What is here and was not wanted stays as it is.
#[test]
fn a_file_that_was_not_wanted_does_not_replace_what_is_there() {
    let sandbox = Sandbox::new();
    let path = sandbox.inside().join("x");
    std::fs::write(&path, "same").unwrap();
    super::set_mtime(&path, 1_000_000_000);
    let line = r#"{"path":"x","kind":"file","size":4,"mtime_ns":1000000000,"mode":420}"#.to_owned();
    let lie = [list(&[line]), small(&[record(0, b"evil")]), end()].concat();
    let (code, said) = Liar::says(lie).serve(&sandbox, &["-q"], "x", ".");
    assert!(matches!(code, Some(1 | 4)), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), b"same");
    assert_sentence(&said, "not wanted");
}

/// The connection ends at any byte.
#[test]
fn a_server_that_goes_away_at_any_byte_is_a_lost_connection() {
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let talk = [
        list(&[dir("d", 0o755), file("d/a", 4), file("d/b", 200_000)]),
        small(&[record(1, b"good")]),
        large(2, 0, 200_000),
        data(&bytes[..100_000]),
        data(&bytes[100_000..]),
        whole(200_000, &bytes),
        end(),
    ]
    .concat();
    for cut in (0..talk.len()).step_by(talk.len() / 40).chain(talk.len() - 60..talk.len()) {
        let sandbox = Sandbox::new();
        let talk = talk[..cut].to_vec();
        let listener = Liar::start(move |raw, _| {
            raw.send_what_goes(&talk);
            drop(raw.stream.shutdown(std::net::Shutdown::Write));
        });
        let (code, said) = listener.serve(&sandbox, &["-r", "-q", "--no-sync"], "x/", "dest");
        assert_eq!(code, Some(4), "cut at {cut}: {said}");
        assert_sentence(&said, "gone");
        let dest = sandbox.inside().join("dest");
        for (name, want) in [("d/a", &b"good"[..]), ("d/b", &bytes)] {
            assert!(!dest.join(name).exists() || std::fs::read(dest.join(name)).unwrap() == want, "{name} at {cut}");
        }
        assert!(!dest.exists() || strays(&dest).len() <= 1, "{:?}", strays(&dest));
    }
}

/// Between two other machines: what the receiver refuses in the middle of a file is one failure, though the sender
/// answers it too, and no end counts up to four thousand million entries.
#[test]
fn a_receiver_behind_us_is_heard_and_not_believed() {
    let server = Server::start();
    server.write("big", super::noise(1, 8 << 20));
    let until = |raw: &mut Raw<TcpStream>, kind: &str| while raw.answer().kind() != kind {};
    let refuses = Liar::start(move |raw, _| {
        until(raw, "list");
        raw.send_what_goes(&[want(0, ""), want(1, r#"{"first":0}"#)].concat());
        until(raw, "large");
        let kept = br#"{"first":0,"code":"permission","message":"big: not here"}"#;
        raw.send_what_goes(&request(r#""type":"kept""#, kept));
        until(raw, "end");
        raw.send_what_goes(&end());
    });
    let pass = |liar: &Liar, code| {
        let run = Run::new("fput").args(["--json", "--bwlimit", "4MiB", &server.remote("big"), &liar.remote("x")]);
        run.code(code).any_stderr().output()
    };
    let output = pass(&refuses, 1);
    assert_eq!(output.json()["failed"], 1, "{}", output.stderr);
    assert_eq!(output.stderr.matches("fput: ").count(), 1, "{}", output.stderr);
    refuses.serving.join().unwrap();
    for (word, body) in
        [(r#""type":"want","count":4294967295"#, ""), (r#""type":"kept""#, r#"{"first":0,"count":4294967295}"#)]
    {
        let counts = Liar::start(move |raw, _| {
            until(raw, "list");
            raw.send_what_goes(&request(word, body.as_bytes()));
        });
        let output = pass(&counts, 4);
        assert!(output.stderr.contains("entries that were not listed"), "{}", output.stderr);
        counts.serving.join().unwrap();
    }
}
