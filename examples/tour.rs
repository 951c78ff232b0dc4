//! A tour of landline: starts a server on a free port with throw-away state, goes through it with
//! every program there is, prints what a person would type and see, and ends with exit code 0 only
//! if all of it was right.
//!
//! ```text
//! cargo run --release --example tour
//! ```
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it runs programs and shows what they print")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

fn main() -> Result<()> {
    println!("# building the programs: some minutes the first time, nothing after that");
    build_programs()?;
    let state = tempfile::tempdir()?;
    let tour = Tour::start(state.path())?;
    println!("# a server on a free port, showing a directory of its own; its own user may do everything, over TLS\n");
    tour.echo()?;
    tour.look_around()?;
    tour.run_commands()?;
    tour.move_files()?;
    tour.web()?;
    tour.share()?;
    tour.chat()?;
    tour.two_machines()?;
    tour.tutorial_wire()?;
    tour.datagrams()?;
    tour.refusals()?;
    tour.stop()?;
    println!("the tour is over: everything was as it should be\n");
    let programs = program("tcp-server")?;
    let directory = programs.parent().context("the directory of the programs")?.display();
    println!("the programs lie in {directory}; to have them on your PATH: cargo install --locked --path .");
    println!("what to type next, in two terminals:");
    println!("  {directory}/tcp-server --root /tmp");
    println!("  {directory}/tcp-client localhost");
    Ok(())
}

/// `cargo run --example` builds the example only: the programs are built here, in the same profile.
fn build_programs() -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--bins", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    ensure!(cargo.status().context("cargo")?.success(), "the programs could not be built");
    Ok(())
}

/// The programs lie beside the directory of the examples.
fn program(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let programs = here.parent().and_then(Path::parent).context("the directory of the programs")?;
    Ok(programs.join(name))
}

struct Tour {
    server: Child,
    address: String,
    root: PathBuf,
    here: PathBuf,
    /// This user's home, which the server and its user's programs share.
    home: PathBuf,
    /// The home on another machine.
    laptop: PathBuf,
}

/// What one program printed.
struct Seen {
    out: String,
    code: Option<i32>,
}

impl Tour {
    fn start(state: &Path) -> Result<Self> {
        let (root, here) = (state.join("root"), state.join("here"));
        std::fs::create_dir(&root)?;
        std::fs::create_dir(&here)?;
        let (home, laptop) = (state.join("home"), state.join("laptop"));
        let audit = state.join("audit.jsonl");
        let (server, address) =
            serve("tcp-server", &home, &["--root", &root.to_string_lossy(), "--audit", &audit.to_string_lossy()])?;
        Ok(Self { server, address, root, here, home, laptop })
    }

    fn run(&self, name: &str, args: &[&str], stdin: &str) -> Result<Seen> {
        self.run_at((&self.home, "$"), name, args, stdin)
    }

    fn run_on_laptop(&self, name: &str, args: &[&str], stdin: &str) -> Result<Seen> {
        self.run_at((&self.laptop, "laptop$"), name, args, stdin)
    }

    /// Shows the command as a person would type it, runs it, shows what it prints.
    fn run_at(&self, (home, prompt): (&Path, &str), name: &str, args: &[&str], stdin: &str) -> Result<Seen> {
        let shown: Vec<String> = args.iter().map(|arg| quoted(&arg.replace(&self.address, "HOST"))).collect();
        for line in stdin.lines() {
            println!("      < {line}");
        }
        println!("{prompt} {name} {}", shown.join(" "));
        let mut child = Command::new(program(name)?)
            .args(args)
            .current_dir(&self.here)
            .env("LANDLINE_HOME", home)
            .env("USER", "visitor")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| name.to_owned())?;
        child.stdin.take().context("stdin")?.write_all(stdin.as_bytes())?;
        let output = child.wait_with_output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for line in out.lines().chain(err.lines()) {
            println!("{}", shortened(&line.replace(&self.address, "HOST")));
        }
        println!();
        Ok(Seen { out: out.into_owned(), code: output.status.code() })
    }

    fn echo(&self) -> Result<()> {
        println!("# say something; then measure the line, every byte checked");
        self.run("tcp-client", &[&self.address], "echo hello there\n")?.is(0, "hello there\n")?;
        let seen = self.run("tcp-client", &["echo", &self.address, "--count", "1000", "--size", "1KiB"], "")?;
        seen.has(0, "1000 round trips of 1024 bytes")?;
        let args = ["echo", &self.address, "--count", "2", "--size", "16MiB", "--json"];
        self.run("tcp-client", &args, "")?.has(0, "\"count\":2")
    }

    fn look_around(&self) -> Result<()> {
        println!("# directories, all under the server's root; cd stays with the session");
        let script =
            "mkdir -p src/deep\ncd src\npwd\n!pwd\ncd deep\npwd\ncd ..\nls\nmv deep shallow\nls\nrm -r shallow\n";
        let inside = self.root.join("src").canonicalize().unwrap_or_else(|_| self.root.join("src"));
        let expected = format!("/src\n{}\n/src/deep\ndeep/\nshallow/\n", inside.display());
        self.run("tcp-client", &[&self.address], script)?.is(0, &expected)?;
        self.run("tcp-client", &[&self.address], "cd ../..\n")?.is(1, "")
    }

    fn run_commands(&self) -> Result<()> {
        println!("# remote commands: streams apart, the exit code verbatim, arguments exactly as given");
        self.run("rexec", &[&self.address, "echo to stdout; echo to stderr >&2; exit 7"], "")?.is(7, "to stdout\n")?;
        self.run("rexec", &[&self.address, "--", "printf", "<%s>", "a b", "$HOME", ""], "")?.is(0, "<a b><$HOME><>")?;
        self.run("rexec", &[&self.address, "wc -l"], "one\ntwo\n")?.is(0, "2\n")?;
        self.run("rexec", &[&self.address, "kill -TERM $$"], "")?.is(143, "")?;
        self.run("rexec", &[&self.address, "--", "no-such-program"], "")?.is(127, "")?;
        println!("# a prompt that keeps its directory");
        self.run("rexec", &[&self.address], "cd src\nbasename $(pwd)\n")?.is(0, "src\n")?;
        println!("# on a terminal; with a deadline; on many machines");
        self.run("rexec", &["-t", &self.address, "test -t 1 && stty size"], "")?.is(0, "24 80\r\n")?;
        self.run("rexec", &["--timeout", "200ms", &self.address, "sleep 60"], "")?.is(124, "")?;
        self.run("rexec", &["-qH", &self.address, "--", "echo", "hi"], "")?
            .is(0, &format!("{}: hi\n", self.address))?;
        println!("# a place keeps a directory and variables; a detached command runs on by itself");
        let place = |words: &[&str]| self.run("rexec", &[&["--place", "work", &self.address], words].concat(), "");
        place(&["cd", "src"])?.is(0, "")?;
        place(&["export", "WHO=me"])?.is(0, "")?;
        place(&["echo $WHO in $(basename $PWD)"])?.is(0, "me in src\n")?;
        let started = self.run("rexec", &["--detach", &self.address, "echo done by itself; exit 5"], "")?;
        let id = started.out.trim().to_owned();
        self.run("rexec", &["--attach", &id, &self.address], "")?.is(5, "done by itself\n")?;
        let listed = self.run("rexec", &["--list-jobs", &self.address], "")?;
        ensure!(listed.out.contains(&format!("{id}  exit 5")), "the job is listed");
        Ok(())
    }

    fn move_files(&self) -> Result<()> {
        println!("# files, verified by both ends, under a temporary name until they are whole");
        let bytes: Vec<u8> = (0..=250).cycle().take(5_000_000).collect();
        std::fs::write(self.here.join("a big one.bin"), &bytes)?;
        std::fs::write(self.here.join("empty"), "")?;
        let to = format!("tls://{}/src/", self.address);
        self.run("fput", &["-v", "a big one.bin", "empty", &to], "")?.is(0, "")?;
        ensure!(std::fs::read(self.root.join("src/a big one.bin"))? == bytes, "what was put is not what is there");
        let from = format!("tls://{}/src/a big one.bin", self.address);
        self.run("fget", &["--json", &from, "back.bin"], "")?.has(0, "\"bytes\":5000000")?;
        ensure!(std::fs::read(self.here.join("back.bin"))? == bytes, "what came back is not what went");
        let missing = format!("tls://{}/nothing", self.address);
        self.run("fget", &[&missing], "")?.is(1, "")?;
        self.move_trees()
    }

    fn move_trees(&self) -> Result<()> {
        println!("# trees: again and again with the same command, and only what has changed moves");
        std::fs::create_dir_all(self.here.join("site/img"))?;
        for at in 0..200 {
            std::fs::write(self.here.join(format!("site/img/{at}.svg")), format!("<svg>{at}</svg>"))?;
        }
        std::os::unix::fs::symlink("img/7.svg", self.here.join("site/logo.svg"))?;
        let to = format!("tls://{}/www", self.address);
        self.run("fput", &["-r", "--json", "site", &to], "")?.has(0, "\"files\":200")?;
        std::fs::write(self.here.join("site/img/7.svg"), "<svg>seven</svg>")?;
        std::fs::remove_file(self.here.join("site/img/8.svg"))?;
        self.run("fput", &["-rn", "--delete", "site", &to], "")?.has(0, "would remove")?;
        self.run("fput", &["-r", "--delete", "--json", "site", &to], "")?.has(0, "\"removed\":1")?;
        let from = format!("tls://{}/www/site/", self.address);
        self.run("fget", &["-r", "--exclude", "1*.svg", &from, "some"], "")?.is(0, "")?;
        ensure!(std::fs::read(self.here.join("some/logo.svg"))? == b"<svg>seven</svg>", "the link does not lead there");
        ensure!(!self.here.join("some/img/17.svg").exists(), "what was left out came");
        println!("# a download that is killed in the middle goes on where it was");
        std::fs::write(self.root.join("huge"), vec![7; 80_000_000])?;
        let huge = format!("tls://{}/huge", self.address);
        let mut get = Command::new(program("fget")?)
            .args(["-q", "--bwlimit", "100MB", &huge])
            .current_dir(&self.here)
            .env("LANDLINE_HOME", &self.home)
            .spawn()?;
        let part = || {
            let names = std::fs::read_dir(&self.here).ok()?.filter_map(Result::ok);
            names
                .filter_map(|entry| entry.metadata().ok().map(|metadata| (entry.file_name(), metadata.len())))
                .find(|(name, len)| name.to_string_lossy().ends_with(".part") && *len > 20_000_000)
        };
        while part().is_none() && get.try_wait()?.is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        ensure!(get.try_wait()?.is_none(), "the download was faster than its limit");
        get.kill()?;
        get.wait()?;
        let again = self.run("fget", &["--json", &huge], "")?;
        again.has(0, "\"bytes\":80000000")?;
        ensure!(again.has(0, "\"moved\":80000000").is_err(), "it began anew");
        ensure!(std::fs::read(self.here.join("huge"))? == vec![7; 80_000_000], "what came is not what was sent");
        Ok(())
    }

    fn web(&self) -> Result<()> {
        println!(
            "# the same over HTTP: a directory for browsers, curl and every other program; here with our own client"
        );
        let shown = self.here.join("shown");
        std::fs::create_dir(&shown)?;
        std::fs::write(shown.join("note.txt"), "hello, web\n")?;
        let (mut server, address) = serve("http-files", &self.home, &[&shown.to_string_lossy(), "--upload"])?;
        let url = |path: &str| format!("http://{address}/{path}");
        let shown = self.web_with(&url, &shown);
        drop((server.kill(), server.wait()));
        shown
    }

    fn web_with(&self, url: &impl Fn(&str) -> String, shown: &Path) -> Result<()> {
        self.run("http-get", &["-v", &url("note.txt")], "")?.is(0, "hello, web\n")?;
        self.run("http-get", &["-H", "Range: bytes=7-9", &url("note.txt")], "")?.is(0, "web")?;
        println!(
            "# an upload gets its name when it is whole; what is large comes back in four pieces at once, verified"
        );
        self.run("http-get", &["-q", "-T", "a big one.bin", &url("")], "")?.ended(0)?;
        let bytes = std::fs::read(self.here.join("a big one.bin"))?;
        ensure!(std::fs::read(shown.join("a big one.bin"))? == bytes, "what was uploaded is not what is there");
        let args = ["-q", "--parallel", "4", "--digest", "-o", "web.bin", &url("a%20big%20one.bin")];
        self.run("http-get", &args, "")?.is(0, "")?;
        ensure!(std::fs::read(self.here.join("web.bin"))? == bytes, "what came back is not what went");
        self.run("http-get", &[&url("?json")], "")?.has(0, "note.txt")?;
        self.run("http-get", &["-q", "-o", "all.tar", &url("?tar")], "")?.is(0, "")?;
        ensure!(std::fs::read(self.here.join("all.tar"))?.len() > bytes.len(), "the archive has it all");
        self.run("http-get", &["-q", &url("nothing")], "")?.is(1, "")?;
        println!("# the same directory is a network drive (WebDAV): this is how one looks around");
        self.run("http-get", &["-X", "PROPFIND", "-H", "Depth: 0", &url("note.txt")], "")?.has(0, "note.txt</D:href>")
    }

    fn share(&self) -> Result<()> {
        println!("# a link lets a browser in; to look at it uses nothing up, since messengers do that before people");
        let shown = self.here.join("shown").to_string_lossy().into_owned();
        let (mut server, address) = serve("tcp-server", &self.home, &["--http", "--root", &shown])?;
        let shared = self.share_with(&address);
        drop((server.kill(), server.wait()));
        shared
    }

    fn share_with(&self, address: &str) -> Result<()> {
        let args = ["share", "--at", address, "--host", "127.0.0.1", "--allow", "read", "--name", "phone"];
        let link = self.run("tcp-server", &args, "")?;
        link.has(0, "/?share=")?;
        self.run("http-get", &["-q", "-o", "page.html", link.out.trim()], "")?.is(0, "")?;
        let page = std::fs::read_to_string(self.here.join("page.html"))?;
        ensure!(page.contains("<button") && !page.contains("note.txt"), "the page of a link has a button, and no list");
        self.run("tcp-server", &["peers"], "")?.has(0, "link for one browser")?;
        self.run("tcp-server", &["peers", "revoke", "phone"], "")?.has(0, "phone is not taken here any more")
    }

    fn chat(&self) -> Result<()> {
        println!("# chat: two people in one room (bob first, then ann, who says something and leaves)");
        let mut bob = Command::new(program("tcp-client")?)
            .args(["chat", &self.address, "--nick", "bob"])
            .env("LANDLINE_HOME", &self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut heard = BufReader::new(bob.stdout.take().context("stdout")?).lines();
        ensure!(heard.next().context("bob's first line")?? == "* bob joined", "bob did not get in");
        self.run("tcp-client", &["chat", &self.address, "--nick", "ann"], "hello bob, 收到?\n/quit\n")?
            .has(0, "* ann joined")?;
        for expected in ["* ann joined", "ann: hello bob, 收到?", "* ann left"] {
            let line = heard.next().context("bob hears")??;
            println!("bob sees: {line}");
            ensure!(line == expected, "bob should have seen {expected:?}");
        }
        println!();
        drop(bob.stdin.take());
        ensure!(bob.wait()?.success(), "bob could not leave");
        Ok(())
    }

    fn tutorial_wire(&self) -> Result<()> {
        println!("# a tutorial's wire: plain requests, replies with a JSON header, text in GBK");
        let root = self.root.to_string_lossy().into_owned();
        let args = ["--guest", "exec", "--root", &root, "--wire", "json", "--reply", "exec", "--encoding", "gbk"];
        let (mut server, address) = serve("tcp-server", &self.home, &args)?;
        let args = ["--wire", "json", "--encoding", "gbk", &address, "echo 收到"];
        let seen = self.run("rexec", &args, "");
        server.kill()?;
        server.wait()?;
        seen?.is(0, "收到\n")
    }

    fn datagrams(&self) -> Result<()> {
        println!("# datagrams keep their boundaries");
        let mut server = Command::new(program("udp-echo")?)
            .args(["serve", "--bind", "127.0.0.1:0", "--reply", "upper"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let ready = BufReader::new(server.stdout.take().context("stdout")?).lines().next().context("ready")??;
        let address = ready.rsplit(' ').next().context("address")?.to_owned();
        let sent = self.run("udp-echo", &["send", &address, "hello", "world"], "");
        let pinged = self.run("udp-echo", &["ping", &address, "--count", "5", "--interval", "0", "--json"], "");
        server.kill()?;
        server.wait()?;
        sent?.is(0, "HELLO\nWORLD\n")?;
        pinged?.has(0, "\"received\":5")
    }

    fn two_machines(&self) -> Result<()> {
        println!("# another machine is refused, in both directions, until the two are introduced");
        self.run_on_laptop("rexec", &[&self.address, "id"], "")?.is(255, "")?;
        println!("$ tcp-server pair --name laptop --allow read,write");
        let mut pairing = Command::new(program("tcp-server")?)
            .args(["pair", "--name", "laptop", "--allow", "read,write"])
            .env("LANDLINE_HOME", &self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut shown = BufReader::new(pairing.stdout.take().context("stdout")?).lines();
        let code = shown.next().context("the code")??;
        println!("{code}\n");
        let args = ["pair", &self.address, "--name", "build"];
        self.run_on_laptop("tcp-client", &args, "1-acorn-acorn-acorn\n")?.is(5, "")?;
        self.run_on_laptop("tcp-client", &args, &format!("{code}\n"))?.has(0, "paired with build, SHA256:")?;
        println!("{}\n", shown.next().context("the pairing's end")??);
        ensure!(pairing.wait()?.success(), "the pairing did not end well");
        println!("# from now on by name, with no question, and with what was granted");
        std::fs::write(self.here.join("from-laptop.txt"), "hello\n")?;
        self.run_on_laptop("fput", &["-q", "from-laptop.txt", "build:"], "")?.is(0, "")?;
        self.run_on_laptop("rexec", &["build", "id"], "")?.is(251, "")?;
        self.run("tcp-server", &["peers"], "")?.has(0, "laptop  read,write")?;
        self.run("tcp-server", &["peers", "revoke", "laptop"], "")?.has(0, "laptop is not known here any more")?;
        self.run_on_laptop("fget", &["build:from-laptop.txt", "again.txt"], "")?.is(1, "")
    }

    fn refusals(&self) -> Result<()> {
        println!(
            "# guests come without TLS; what they may not do is refused with a sentence, and the connection stays usable"
        );
        let (mut server, address) = serve("tcp-server", &self.home, &["--guest", "echo"])?;
        let plain = format!("tcp://{address}");
        let refused = self.run("rexec", &[&plain, "id"], "");
        let talked = self.run("tcp-client", &[&plain], "ls\necho still here\n");
        server.kill()?;
        server.wait()?;
        refused?.is(251, "")?;
        talked?.is(1, "still here\n")?;
        println!("# no server listens there");
        self.run("rexec", &[&address, "id"], "")?.is(253, "")
    }

    fn stop(mut self) -> Result<()> {
        println!("# SIGTERM: requests under way end first");
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.server), rustix::process::Signal::TERM)?;
        ensure!(self.server.wait()?.success(), "the server did not end well");
        let audit = self.home.with_file_name("audit.jsonl");
        let records = std::fs::read_to_string(audit)?;
        let last = records.lines().last().context("the audit log is empty")?;
        println!("# and the audit log has it all: {} lines, of which the last is\n{last}\n", records.lines().count());
        Ok(())
    }
}

impl Drop for Tour {
    fn drop(&mut self) {
        // Already gone if the tour went well; its end says nothing new here.
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

impl Seen {
    fn is(&self, code: i32, out: &str) -> Result<()> {
        ensure!(self.out == out, "it should have printed {out:?}, not {:?}", self.out);
        self.ended(code)
    }

    fn has(&self, code: i32, part: &str) -> Result<()> {
        ensure!(self.out.contains(part), "{part:?} should be in {:?}", self.out);
        self.ended(code)
    }

    fn ended(&self, code: i32) -> Result<()> {
        match self.code {
            Some(got) if got == code => Ok(()),
            got => bail!("its exit code should be {code}, not {got:?}"),
        }
    }
}

/// Starts a server on a free port and waits for its ready line.
fn serve(name: &str, home: &Path, args: &[&str]) -> Result<(Child, String)> {
    let mut server = Command::new(program(name)?)
        .args(["--quiet", "--bind", "127.0.0.1:0"])
        .args(args)
        .env("LANDLINE_HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = server.stdout.take().context("stdout")?;
    let ready = BufReader::new(out).lines().next().context("the server was not ready")??;
    let address = ready.strip_prefix(&format!("{name}: ready on ")).context("the ready line")?;
    Ok((server, address.to_owned()))
}

fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./:=,".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", OsStr::new(word).to_string_lossy()) }
}

/// The beginning of a line that is long: an object with a result for each of 200 files.
fn shortened(line: &str) -> String {
    const SHOWN_MAX: usize = 400;
    match line.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{} ... ({} bytes)", line.get(..end).unwrap_or_default(), line.len()),
        None => line.to_owned(),
    }
}
