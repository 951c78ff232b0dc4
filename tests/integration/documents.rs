//! The documents are true: the README's commands run and print what it says, the map in
//! ARCHITECTURE.md names what is there, and its limits are the code's.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::program;

const README: &str = include_str!("../../README.md");
const MANUAL: &str = include_str!("../../docs/manual.md");
const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");

/// The `console` blocks: a command behind a dollar sign, and what it prints. The manual's go on where the README's end.
fn commands() -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut is_console = false;
    for line in README.lines().chain(MANUAL.lines()) {
        match line {
            "```console" => is_console = true,
            "```" => is_console = false,
            _ if !is_console => {}
            _ => match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), String::new())),
                (None, Some((_, output))) => *output = format!("{output}{line}\n"),
                (None, None) => panic!("output before any command: {line}"),
            },
        }
    }
    commands
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut last = "";
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = rest.get(at + piece.len()..).unwrap_or_default();
        last = piece;
    }
    rest.is_empty() || (last.is_empty() && pattern.ends_with('…'))
}

/// The server that the README's walk starts; killed at the end.
struct Walk {
    dir: tempfile::TempDir,
    server: Option<Child>,
    port: String,
    last_code: i32,
}

impl Drop for Walk {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Walk {
    fn shell(&self) -> Command {
        let programs = Path::new(program("rexec")).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.env("PATH", path).env("LANDLINE_PORT", &self.port).env("USER", "tester").current_dir(self.dir.path());
        shell.env("LANDLINE_HOME", self.dir.path().join("home"));
        shell
    }

    /// The README's port is the default one; here it is whatever is free.
    fn start_server(&mut self, command: &str) -> String {
        let mut shell = self.shell();
        let command = format!("exec {command} --quiet --bind 127.0.0.1:0");
        let mut server = shell.args(["-c", &command]).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        self.server = Some(server);
        ready.trim().rsplit(':').next().unwrap().clone_into(&mut self.port);
        ready.replace(&self.port, "5263")
    }

    fn run(&mut self, command: &str) -> String {
        let script = format!("(exit {}); {command}", self.last_code);
        let output = self.shell().args(["-c", &format!("{{ {script}\n}} 2>&1")]).stdin(Stdio::null()).output().unwrap();
        self.last_code = output.status.code().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn the_documents_commands_print_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut walk = Walk { dir, server: None, port: "0".into(), last_code: 0 };
    let commands = commands();
    assert!(commands.len() > 30, "the README and the manual have their walk");
    for (command, expected) in commands {
        let is_server = command.starts_with("tcp-server ");
        let printed = if is_server { walk.start_server(&command) } else { walk.run(&command) };
        let (want, got): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), printed.lines().collect());
        let is_same = want.len() == got.len() && want.iter().zip(&got).all(|(want, got)| matches(want, got));
        assert!(is_same, "$ {command}\nthe document says:\n{expected}\nit printed:\n{printed}");
    }
}

#[test]
fn a_pattern_stands_for_what_it_should() {
    assert!(matches("a … b", "a x y b"));
    assert!(matches("from …", "from anywhere"));
    assert!(matches("same", "same"));
    assert!(!matches("same", "same and more"));
    assert!(!matches("a … b", "a x c"));
}

#[test]
fn every_program_and_every_help_has_examples() {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    for entry in std::fs::read_dir(bin).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(README.contains(&format!("`{name}`")), "the README does not name {name}");
        let program = Path::new(program("rexec")).with_file_name(&name);
        let help = Command::new(program).arg("--help").output().unwrap();
        assert_eq!(help.status.code(), Some(0), "{name} --help");
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(help.contains("Examples:"), "{name} --help has no examples");
        assert!(help.contains("--version"), "{name} --help");
    }
}

#[test]
fn every_file_and_function_on_the_map_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for word in ARCHITECTURE.split('`').skip(1).step_by(2) {
        let is_path = Path::new(word).extension().is_some_and(|extension| extension == "rs" || extension == "md");
        if is_path || (word.ends_with('/') && !word.contains([' ', ':'])) {
            files += 1;
            assert!(root.join(word).exists() || root.join("src").join(word).exists(), "{word} is not there");
        }
        if let Some(name) = word.strip_suffix("()") {
            let name = name.rsplit("::").next().unwrap();
            assert!(is_defined(&root.join("src"), &format!("fn {name}")), "no function {word}");
        }
    }
    assert!(files > 30, "the map names the files");
    for entry in std::fs::read_dir(root.join("src")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let name = if name.contains('.') { name } else { format!("{name}/") };
        assert!(ARCHITECTURE.contains(&format!("`{name}`")), "{name} is not on the map");
    }
}

fn is_defined(dir: &Path, definition: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_defined(&path, definition);
        }
        let text = std::fs::read_to_string(path).unwrap();
        text.match_indices(definition).any(|(at, _)| {
            let next = text.get(at + definition.len()..).and_then(|rest| rest.chars().next());
            next.is_some_and(|next| next == '(' || next == '<')
        })
    })
}

#[test]
fn the_tests_that_the_map_names_exist() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut named = 0;
    for line in ARCHITECTURE.lines().filter(|line| line.contains("(test: ")) {
        let name = line.split("(test: `").nth(1).and_then(|rest| rest.split('`').next()).expect(line);
        named += 1;
        let definition = format!("fn {name}");
        assert!(is_defined(&tests, &definition) || is_defined(&src, &definition), "no test {name}");
    }
    assert!(named >= 6, "the invariants name their tests");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a line a limit")]
fn the_limits_on_the_map_are_the_codes() {
    use landline::fs::{below, digest, part, root};
    use landline::server::requests;
    use landline::{audit, chat, exec, memory, net, printable, slots, trees, tutorial, udp, wire};
    let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
    let mib = |bytes: usize| format!("{} MiB", bytes / 1024 / 1024);
    for (name, value) in [
        ("HEADER_LEN_MAX", format!("{} B", wire::frame::HEADER_LEN_MAX)),
        ("BODY_LEN_MAX", mib(wire::frame::BODY_LEN_MAX as usize)),
        ("STRANGER_LEN_MAX", kib(wire::frame::STRANGER_LEN_MAX)),
        ("NEWCOMERS_MAX", net::gate::NEWCOMERS_MAX.to_string()),
        ("FAILURES_MAX", net::gate::FAILURES_MAX.to_string()),
        ("GUESSES_MAX", landline::trust::offer::GUESSES_MAX.to_string()),
        ("REFUSALS_MAX`, `PEER_REFUSALS_MAX", format!("{}, {}", requests::REFUSALS_MAX, requests::PEER_REFUSALS_MAX)),
        (
            "LOGGED_LEN_MAX`, `AUDITED_LEN_MAX",
            format!("{} B, {}", printable::LOGGED_LEN_MAX, kib(printable::AUDITED_LEN_MAX)),
        ),
        (
            "STRANGER_LINES_MAX`, `STRANGERS_LINES_MAX",
            format!("{}, {}", net::budget::STRANGER_LINES_MAX, net::budget::STRANGERS_LINES_MAX),
        ),
        (
            "GUEST_LINES_MAX`, `GUESTS_LINES_MAX",
            format!("{}, {}", net::budget::GUEST_LINES_MAX, net::budget::GUESTS_LINES_MAX),
        ),
        ("PEER_LINES_MAX", net::budget::PEER_LINES_MAX.to_string()),
        (
            "AUDIT_LEN_MAX`, `GENERATIONS_MAX",
            format!("{}, {}", mib(usize::try_from(audit::AUDIT_LEN_MAX).unwrap()), audit::GENERATIONS_MAX),
        ),
        ("BUFFER_LEN_IDLE", kib(wire::frame::BUFFER_LEN_IDLE)),
        ("BUFFER_LEN_BUSY", kib(wire::frame::BUFFER_LEN_BUSY)),
        ("STACK_LEN", kib(net::listen::STACK_LEN)),
        ("LAST_WORDS_LEN_MAX", kib(exec::rate::LAST_WORDS_LEN_MAX)),
        ("RUNNING_MAX", slots::RUNNING_MAX.to_string()),
        ("LEFT_MAX", exec::leftovers::LEFT_MAX.to_string()),
        ("LEFT_ALL_MAX", exec::leftovers::LEFT_ALL_MAX.to_string()),
        ("STDIN_CREDIT", kib(exec::STDIN_CREDIT as usize)),
        ("COMMAND_LEN_MAX", mib(exec::COMMAND_LEN_MAX as usize)),
        ("part::PIECE_LEN", kib(part::PIECE_LEN)),
        ("SMALL_LEN_MAX", kib(usize::try_from(trees::SMALL_LEN_MAX).unwrap())),
        ("SMALL_FRAME_LEN", kib(trees::SMALL_FRAME_LEN)),
        ("GUEST_REQUEST_MEMORY_MAX", mib(memory::GUEST_REQUEST_MEMORY_MAX)),
        ("GUESTS_MEMORY_MAX", mib(memory::GUESTS_MEMORY_MAX)),
        ("PEER_MEMORY_MAX", mib(memory::PEER_MEMORY_MAX)),
        ("OWN_MEMORY_MAX", format!("{} GiB", memory::OWN_MEMORY_MAX >> 30)),
        ("GUEST_LOOKS_MAX", memory::GUEST_LOOKS_MAX.to_string()),
        ("LOOKS_MAX", memory::LOOKS_MAX.to_string()),
        ("PATTERNS_MAX", trees::filter::PATTERNS_MAX.to_string()),
        ("PATTERN_LEN_MAX", kib(trees::filter::PATTERN_LEN_MAX)),
        ("PATTERNS_LEN_MAX", kib(trees::filter::PATTERNS_LEN_MAX)),
        ("TOPS_MAX", trees::TOPS_MAX.to_string()),
        ("OUTSTANDING_MAX", trees::OUTSTANDING_MAX.to_string()),
        ("BLOCK_LEN", mib(usize::try_from(digest::BLOCK_LEN).unwrap())),
        ("HOLE_LEN_MAX", mib(usize::try_from(trees::large::HOLE_LEN_MAX).unwrap())),
        ("COPY_LEN_MAX", mib(usize::try_from(trees::delta::COPY_LEN_MAX).unwrap())),
        ("CHUNKS_OUT_MAX", mib(trees::delta::CHUNKS_OUT_MAX)),
        ("CONNECTIONS_MAX", trees::shard::CONNECTIONS_MAX.to_string()),
        ("DIRS_OPEN_MAX", below::DIRS_OPEN_MAX.to_string()),
        ("MET_MAX", trees::first::MET_MAX.to_string()),
        ("TREE_ENTRIES_MAX", trees::receiver::TREE_ENTRIES_MAX.to_string()),
        ("TREE_LISTING_LEN_MAX", format!("{} GiB", trees::receiver::TREE_LISTING_LEN_MAX >> 30)),
        ("MIRROR_LEN_MAX", mib(trees::receiver::MIRROR_LEN_MAX)),
        ("LISTING_LINES_MAX", landline::connection::LISTING_LINES_MAX.to_string()),
        ("RESULTS_LEN_MAX", mib(landline::cli::transfer::RESULTS_LEN_MAX)),
        ("DEPTH_MAX", below::DEPTH_MAX.to_string()),
        ("EASED_MAX", below::EASED_MAX.to_string()),
        ("LINKS_MAX", root::LINKS_MAX.to_string()),
        ("STEPS_MAX", root::STEPS_MAX.to_string()),
        ("TEXT_LEN_MAX", kib(chat::TEXT_LEN_MAX as usize)),
        ("LEFTOVER_LEN_MAX", mib(chat::fanout::LEFTOVER_LEN_MAX)),
        ("LEFTOVER_FRAMES_MAX", chat::fanout::LEFTOVER_FRAMES_MAX.to_string()),
        ("INBOX_JOBS_MAX", chat::fanout::INBOX_JOBS_MAX.to_string()),
        ("MARKS_MAX", chat::names::MARKS_MAX.to_string()),
        ("MEMBERS_MAX", chat::hub::MEMBERS_MAX.to_string()),
        ("OPEN_LEN_MAX", format!("{} B", wire::http_shape::OPEN_LEN_MAX)),
        ("REPEATS_MAX", udp::guard::REPEATS_MAX.to_string()),
        ("REPLIES_PER_SECOND_MAX", udp::guard::REPLIES_PER_SECOND_MAX.to_string()),
        ("SOURCES_MAX", udp::guard::SOURCES_MAX.to_string()),
        ("REPLY_LEN_MAX", mib(tutorial::command::REPLY_LEN_MAX)),
    ] {
        let row = format!("| `{name}` | {value} |");
        assert!(ARCHITECTURE.contains(&row), "no row {row:?}");
    }
}
