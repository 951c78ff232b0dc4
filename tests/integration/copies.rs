//! Copies of odd kinds: holes, files with several names, pipes, and from one machine to another through this one.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use crate::harness::files::names;
use crate::harness::{Run, Server, wait_until};

/// Bytes that it takes on the disk.
fn room(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn what_takes_no_room_takes_none_there_and_none_on_the_way() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("sparse");
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.set_len(300 << 20).unwrap();
    file.write_all_at(b"at the beginning", 0).unwrap();
    file.write_all_at(&vec![7; 1 << 20], (100 << 20) + 12_345).unwrap();
    file.write_all_at(b"near the end", (300 << 20) - 5000).unwrap();
    assert!(room(&path) < 8 << 20, "this file system has no holes, and the test no meaning");
    let summary = |run: Run| run.current_dir(here.path()).output().json();
    let put = summary(Run::new("fput").args(["--json", "sparse", &server.remote("")]));
    let get = summary(Run::new("fget").args(["--json", &server.remote("sparse"), "back"]));
    for (copy, json) in [(server.root().join("sparse"), put), (here.path().join("back"), get)] {
        assert!(room(&copy) < 8 << 20, "{} bytes", room(&copy));
        assert!(json["moved"].as_u64().unwrap() < 8 << 20, "{json}");
        assert_eq!(json["bytes"], 300_u64 << 20);
        let copy = std::fs::File::open(copy).unwrap();
        for at in [0, (100 << 20) + 12_000, (200 << 20) + 1, (300 << 20) - 5100] {
            let (mut want, mut got) = (vec![1; 5100], vec![2; 5100]);
            file.read_exact_at(&mut want, at).unwrap();
            copy.read_exact_at(&mut got, at).unwrap();
            assert!(want == got, "at {at}");
        }
    }
}

/// At memory's speed it would take minutes for each end.
#[test]
fn a_hole_of_terabytes_is_copied_at_once() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("sparse");
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    // As large as the file systems of the tests allow.
    let len = [8_u64 << 40, 1 << 40].into_iter().find(|len| file.set_len(*len).is_ok()).unwrap();
    file.write_all_at(b"in the middle", len / 2 + 12_345).unwrap();
    file.write_all_at(b"near the end", len - 5000).unwrap();
    Run::new("fput").args(["-q", "sparse", &server.remote("")]).current_dir(here.path()).prints("");
    Run::new("fget").args(["-q", &server.remote("sparse"), "back"]).current_dir(here.path()).prints("");
    // What is the same is found to be without a byte being sent.
    let again = Run::new("fput").args(["--json", "--checksum", "sparse", &server.remote("")]).current_dir(here.path());
    let again = again.output().json();
    assert_eq!((&again["unchanged"], &again["moved"]), (&1.into(), &0.into()), "{again}");
    for copy in [server.root().join("sparse"), here.path().join("back")] {
        assert!(room(&copy) < 8 << 20, "{} bytes", room(&copy));
        let copy = std::fs::File::open(copy).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), len);
        for at in [0, len / 2 + 12_000, len - 5100] {
            let (mut want, mut got) = (vec![1; 5100], vec![2; 5100]);
            file.read_exact_at(&mut want, at).unwrap();
            copy.read_exact_at(&mut got, at).unwrap();
            assert!(want == got, "at {at}");
        }
    }
}

/// Zeros that are written, and those that take no room, are the same file; and `put` knows BLAKE3 only.
#[test]
fn zeros_are_zeros_however_they_lie() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let len = 70 << 20;
    let mut bytes = vec![0_u8; len];
    bytes[60 << 20] = 7;
    std::fs::write(here.path().join("written"), &bytes).unwrap();
    let hole = std::fs::File::create(here.path().join("hole")).unwrap();
    hole.set_len(len as u64).unwrap();
    hole.write_all_at(&[7], 60 << 20).unwrap();
    for from in ["written", "hole"] {
        Run::new("fput").args(["-q", from, &server.remote("zeros")]).current_dir(here.path()).prints("");
        assert!(server.read("zeros") == bytes, "{from}");
        Run::new("fget").args(["-q", &server.remote("zeros"), from]).current_dir(here.path()).prints("");
        // Its time is another one, and its content is not.
        std::fs::File::options()
            .write(true)
            .open(here.path().join(from))
            .unwrap()
            .set_modified(std::time::SystemTime::now())
            .unwrap();
    }
    let other = Run::new("fput").args(["--json", "--checksum", "written", &server.remote("zeros")]);
    let json = other.current_dir(here.path()).output().json();
    assert_eq!((&json["unchanged"], &json["moved"]), (&1.into(), &0.into()), "{json}");
    // Standard input and output go by `put` and `get`.
    Run::new("fput").args(["-q", "-", &server.remote("piped")]).stdin(bytes.clone()).prints("");
    assert!(server.read("piped") == bytes);
    let got = Run::new("fget").args(["-q", &server.remote("piped"), "-"]).output();
    assert!(got.stdout == bytes);
}

/// A program appends to a file for as long as this lives.
struct Appending {
    is_over: std::sync::Arc<std::sync::atomic::AtomicBool>,
    writing: Option<std::thread::JoinHandle<()>>,
}

impl Appending {
    fn to(path: &Path) -> Self {
        use std::io::Write as _;
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (mut file, over) = (std::fs::File::options().append(true).open(path).unwrap(), is_over.clone());
        let writing = std::thread::spawn(move || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all(b"one more line\n").unwrap();
                std::thread::yield_now();
            }
        });
        Self { is_over, writing: Some(writing) }
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        self.is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        self.writing.take().unwrap().join().unwrap();
    }
}

/// A log is what it was at some moment: a beginning of what it is later, and no failure.
#[test]
fn a_file_that_only_grows_is_copied_as_it_was() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    for len in [30_000, 3_000_000] {
        let bytes: Vec<u8> = b"a line of the log\n".iter().copied().cycle().take(len).collect();
        std::fs::write(here.path().join("log"), &bytes).unwrap();
        let there = server.write("log", &bytes);
        for (program, growing, copy) in
            [("fput", here.path().join("log"), server.root().join("copy")), ("fget", there, here.path().join("copy"))]
        {
            let (from, to) = match program {
                "fput" => ("log".to_owned(), server.remote("copy")),
                _ => (server.remote("log"), "copy".to_owned()),
            };
            // It is read while it grows at some time or other.
            let appending = Appending::to(&growing);
            let mut has_grown = false;
            for _ in 0..1_000 {
                let run = Run::new(program).args(["--no-sync", &from, &to]).current_dir(here.path());
                has_grown = run.any_stderr().output().stderr.contains("log: grew while it was read");
                if has_grown {
                    break;
                }
            }
            drop(appending);
            assert!(has_grown, "{program} of {len} bytes never said that it grew");
            let (copy, whole) = (std::fs::read(copy).unwrap(), std::fs::read(growing).unwrap());
            assert!(copy.len() >= len && whole.starts_with(&copy), "{program} of {len} bytes");
        }
    }
}

/// What is written over is another matter: it is tried once more, and then it fails.
#[test]
fn a_file_that_is_written_over_all_the_time_fails() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("busy");
    std::fs::write(&path, vec![1; 200_000_000]).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut count = 0_u64;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                count += 1;
                file.write_all_at(&count.to_le_bytes(), 5).unwrap();
                std::thread::yield_now();
            }
        });
        let run = Run::new("fput").args(["-q", "--no-sync", "busy", &server.remote("")]).current_dir(here.path());
        let said = run.code(1).any_stderr().output().stderr;
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(said.contains("busy: keeps changing while it is read; send it again later"), "{said}");
    });
}

#[test]
fn files_with_several_names_keep_them() {
    let server = Server::start();
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(here.path().join("tree/sub")).unwrap();
    std::fs::write(here.path().join("tree/a"), "one").unwrap();
    std::fs::write(here.path().join("tree/alone"), "two").unwrap();
    for name in ["tree/b", "tree/sub/c"] {
        std::fs::hard_link(here.path().join("tree/a"), here.path().join(name)).unwrap();
    }
    let put = || Run::new("fput").args(["-r", "tree", &server.remote("")]).current_dir(here.path());
    put().any_stderr().prints("");
    Run::new("fget").args(["-qr", &server.remote("tree/"), "back"]).current_dir(here.path()).prints("");
    for root in [server.root().join("tree"), here.path().join("back")] {
        let inode = |name: &str| std::fs::metadata(root.join(name)).unwrap().ino();
        assert_eq!((inode("b"), inode("sub/c")), (inode("a"), inode("a")));
        assert_ne!(inode("alone"), inode("a"));
        assert_eq!(std::fs::read(root.join("sub/c")).unwrap(), b"one");
    }
    // Again: nothing. And a name that was parted from the others comes back to them.
    put().stderr("0 files, 0 bytes").prints("");
    std::fs::remove_file(server.root().join("tree/b")).unwrap();
    server.write("tree/b", "other");
    put().any_stderr().prints("");
    let inode = |name: &str| std::fs::metadata(server.root().join("tree").join(name)).unwrap().ino();
    assert_eq!(inode("b"), inode("a"));
}

#[test]
fn pipes_are_read_and_written() {
    let server = Server::start();
    let bytes: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
    let put = Run::new("fput").args(["-v", "-", &server.remote("piped")]).stdin(bytes.clone());
    put.stderr("3000000 bytes, verified").prints("");
    assert!(server.read("piped") == bytes);
    let get = Run::new("fget").args(["-q", &server.remote("piped"), "-"]).output();
    assert!(get.stdout == bytes);
    for form in ["--json", "--json-stream"] {
        let get = Run::new("fget").args([form, &server.remote("piped"), "-"]);
        get.code(2).stderr("standard output takes one file, and nothing else").prints("");
    }
    Run::new("fget").args([&server.remote("nothing"), "-"]).code(1).stderr("no such file").prints("");
    Run::new("fput").args(["-", &server.remote("")]).code(2).stderr("what is the file to be called").prints("");
    Run::new("fget")
        .args([&server.remote("a"), &server.remote("b"), "-"])
        .code(2)
        .stderr("one file at a time")
        .prints("");
}

#[test]
fn one_machine_sends_to_another_through_this_one() {
    let (from, to) = (Server::start(), Server::start());
    for at in 0..300 {
        from.write(&format!("site/d{}/f{at}", at % 7), vec![7; at * 10]);
    }
    let big: Vec<u8> = (0..=250).cycle().take(5_000_000).collect();
    from.write("site/big", &big);
    std::os::unix::fs::symlink("big", from.root().join("site/link")).unwrap();
    let pass = |args: &[&str]| Run::new("fput").args(args);
    let (site, there) = (from.remote("site"), to.remote("copy"));
    pass(&["-r", &site, &there]).stderr("301 files, ").prints("");
    assert!(to.read("copy/site/big") == big);
    assert_eq!(std::fs::read_link(to.root().join("copy/site/link")).unwrap(), Path::new("big"));
    pass(&["-r", &site, &there]).stderr("0 files, 0 bytes").prints("");
    from.write("site/big", b"new");
    let json = pass(&["--json", "-r", &site, &there]).output().json();
    assert_eq!((&json["files"], &json["unchanged"], &json["moved"]), (&1.into(), &300.into(), &3.into()));
    // Each may refuse, and the other is told.
    pass(&[&from.remote("nothing"), &there]).code(1).stderr("/nothing: no such file or directory").prints("");
    pass(&[&from.remote("site/big"), &to.remote("no/such/dir")]).code(1).stderr("/no/such: no such file").prints("");
    let closed = Server::with(&["--guest", "echo"]);
    let to_closed = format!("{}/x", closed.plain());
    pass(&[&from.remote("site/big"), &to_closed]).code(1).stderr("needs the service write").prints("");
    let from_closed = format!("{}/x", closed.plain());
    pass(&[&from_closed, &there]).code(1).stderr("needs the service read").prints("");
    pass(&[&from.remote("site/big"), "here", &there])
        .code(2)
        .stderr("all on this machine, or all on another")
        .prints("");
    assert_eq!(to.names("copy/site").len(), 9, "{:?}", to.names("copy/site"));
}

#[test]
fn several_machines_get_the_same_and_none_stops_the_others() {
    let servers = [Server::start(), Server::start(), Server::start()];
    let closed = Server::with(&["--guest", "echo"]);
    // Nothing listens there any more.
    let dead = Server::start();
    let gone = dead.remote("x");
    dead.stop();
    let here = tempfile::tempdir().unwrap();
    let big: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
    std::fs::create_dir(here.path().join("tree")).unwrap();
    std::fs::write(here.path().join("tree/big"), &big).unwrap();
    std::fs::write(here.path().join("tree/small"), "small").unwrap();
    let to = servers.each_ref().map(|server| server.remote("www"));
    let refused = format!("{}/x", closed.plain());
    let put = Run::new("fput").args(["-r", "--json", "tree", &to[0], &gone, &to[1], &refused, &to[2]]);
    let output = put.current_dir(here.path()).code(3).any_stderr().output();
    for server in &servers {
        assert!(server.read("www/tree/big") == big);
    }
    assert!(output.stderr.contains("connection refused"), "{}", output.stderr);
    assert!(output.stderr.contains("needs the service write"), "{}", output.stderr);
    let json = output.json();
    let codes: Vec<u64> =
        json["hosts"].as_array().unwrap().iter().map(|host| host["exit_code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [0, 3, 0, 1, 0], "{json}");
    assert_eq!((&json["hosts"][2]["files"], &json["exit_code"]), (&2.into(), &3.into()));
    assert_eq!(json["hosts"][0]["host"], servers[0].address());
}

#[test]
fn a_machine_that_an_interruption_left_without_is_not_done() {
    let servers = [Server::start(), Server::start()];
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("big"), vec![7; 8 << 20]).unwrap();
    let to = servers.each_ref().map(|server| server.remote(""));
    let put = Run::new("fput").args(["--json", "--bwlimit", "64KiB", "--compress", "none", "big", &to[0], &to[1]]);
    let mut running = put.current_dir(here.path()).spawn();
    for server in &servers {
        wait_until("it has begun", || !server.names("").is_empty());
    }
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.wait().code(), Some(130));
    let json: serde_json::Value = serde_json::from_str(&running.stdout.iter().collect::<String>()).unwrap();
    let codes = [&json["hosts"][0], &json["hosts"][1], &json].map(|ended| ended["exit_code"].as_u64());
    assert_eq!(codes, [Some(130); 3], "{json}");
}

#[test]
fn a_pipe_keeps_its_rate_and_says_what_it_cannot_do() {
    let server = Server::start();
    let (far, other) = (server.remote("piped"), server.remote("other"));
    let started = std::time::Instant::now();
    Run::new("fput").args(["-q", "--bwlimit", "500k", "-", &far]).stdin(vec![7; 300_000]).prints("");
    let get = Run::new("fget").args(["-q", "--bwlimit", "500k", &far, "-"]).output();
    assert_eq!(get.stdout.len(), 300_000);
    assert!(started.elapsed() > std::time::Duration::from_secs(1), "{:?}", started.elapsed());
    for (args, said) in [
        (&["--compress", "zstd"][..], "is not compressed"),
        (&["--retry"], "cannot be asked for again"),
        (&["--bwlimit", "0"], "nothing would ever move"),
    ] {
        Run::new("fput").args(args).args(["-", &far]).code(2).stderr(said).prints("");
        Run::new("fget").args(args).args([&far, "-"]).code(2).stderr(said).prints("");
    }
    Run::new("fput").args(["-", &far, &other]).code(2).stderr("send it to one machine").prints("");
    Run::new("fput").args(["a", "ssh://host/x"]).code(2).stderr("ssh: not spoken here").prints("");
}

#[test]
fn who_may_only_write_learns_nothing_of_what_is_there() {
    let server = Server::with(&["--guest", "write"]);
    server.write("pin", "12345678");
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("pin"), "00000000").unwrap();
    let there = format!("{}/", server.plain());
    let put = Run::new("fput").args(["--checksum", "pin", &there]).current_dir(here.path());
    put.code(1).stderr("a comparison by checksum tells what is there, and needs the service read").prints("");
    assert_eq!(server.read("pin"), b"12345678");
    let (old, new) = (vec![7; 2 << 20], vec![7; (2 << 20) + 1]);
    server.write("big", &old);
    std::fs::write(here.path().join("big"), &new).unwrap();
    let put = Run::new("fput").args(["--json", "--delta", "always", "big", &there]).current_dir(here.path());
    assert_eq!(put.output().json()["reused"], 0);
    assert!(server.read("big") == new);
}

#[test]
fn a_pattern_with_a_slash_behind_it_means_what_is_in_directories() {
    let server = Server::start();
    for path in ["site1/a", "site2/b", "sitemap"] {
        server.write(path, path);
    }
    let here = tempfile::tempdir().unwrap();
    let names_of = |pattern: &str, to: &str| {
        Run::new("fget").args(["-qr", &server.remote(pattern), to]).current_dir(here.path()).prints("");
        names(&here.path().join(to))
    };
    assert_eq!(names_of("site*", "as-they-are"), ["site1", "site2", "sitemap"]);
    assert_eq!(names_of("site*/", "what-is-in-them"), ["a", "b"]);
}
