//! The house rules that a compiler does not know: what is named where, and what is named nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What tests name is not what the code names.
                if !path.ends_with("tests") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                // What a file's tests name is not what the file names.
                let code = text.split("#[cfg(test)]").next().unwrap();
                let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
                found.push((path, code.join("\n")));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 40, "the sources were found");
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().to_string_lossy().into_owned()
}

/// Fails if any file that `concerns` names any of `words`.
fn nowhere(words: &[&str], concerns: impl Fn(&str) -> bool) {
    let mut seen = 0;
    for (path, code) in sources() {
        let path = relative(&path);
        if concerns(&path) {
            seen += 1;
            for word in words {
                assert!(!code.contains(word), "{path} names {word}");
            }
        }
    }
    assert!(seen > 0, "no file is concerned: the rule watches nothing");
}

#[test]
fn the_wire_knows_no_socket_file_clock_thread_or_log() {
    let words =
        ["std::net", "std::fs", "std::thread", "Instant", "SystemTime", "tracing", "socket2", "rustix", "std::os"];
    nowhere(&words, |path| path.starts_with("wire/") || path == "tutorial/codec.rs");
}

/// What stands in `http/` itself is bytes and words; its folders do something with them.
#[test]
fn http_itself_knows_no_socket_file_clock_thread_or_log() {
    let words =
        ["std::fs", "std::thread", "Instant", "tracing", "socket2", "rustix", "crate::net", "crate::fs", "TcpStream"];
    let pure = ["multipart/", "listing/", "page/", "archive/", "dav/"];
    let is_pure = |rest: &str| !rest.contains('/') || pure.iter().any(|folder| rest.starts_with(folder));
    nowhere(&words, |path| path.strip_prefix("http/").is_some_and(is_pure));
}

/// Where a foreign library, or a type of the standard one, may be named.
const DOORS: &[(&str, &[&str])] = &[
    ("Command::new", &["exec/process.rs"]),
    ("TcpListener::", &["net/listen.rs"]),
    ("UnixListener::", &["net/listen.rs"]),
    ("cap_std", &["fs/", "files.rs", "trees/", "exec/process.rs", "http/server/"]),
    ("httparse", &["http/head.rs", "http/client/response.rs"]),
    ("httpdate", &["http/date.rs"]),
    ("mime_guess", &["http/media.rs"]),
    ("percent_encoding", &["http/"]),
    ("quick_xml", &["http/dav/xml.rs"]),
    ("globset", &["trees/glob.rs"]),
    ("fastcdc", &["trees/delta.rs"]),
    ("zstd::", &["trees/pack.rs", "http/server/representation.rs", "http/client/coding.rs"]),
    ("flate2", &["http/server/representation.rs", "http/client/coding.rs"]),
    ("ignore::", &["trees/filter.rs"]),
    ("hdrhistogram", &["histogram.rs"]),
    ("memmap2", &["memory.rs"]),
    ("memchr", &["http/multipart/"]),
    ("nix::sys::", &["cli/signals.rs", "udp/stamp.rs"]),
    ("blake3::hazmat", &["fs/digest.rs"]),
    ("rustyline", &["cli/prompt.rs", "cli/tcp_client/", "cli/udp_echo/"]),
    ("ctor_lite", &["cli/closed.rs"]),
    ("redis::", &["chat/bus/link.rs"]),
    ("indicatif", &["cli/progress.rs"]),
    (
        "jiff",
        &[
            "cli/tcp_client/listing.rs",
            "cli/tcp_client/chat/show.rs",
            "cli/udp_echo/",
            "trust/time.rs",
            "audit.rs",
            "http/listing/",
            "http/archive/zip.rs",
            "http/date.rs",
        ],
    ),
    ("askama", &["http/page/"]),
    ("pulldown_cmark", &["http/page/markdown.rs"]),
    ("ammonia", &["http/page/markdown.rs"]),
    ("chardetng", &["http/page/text.rs"]),
    ("use ::tar", &["http/archive/tar.rs"]),
    ("use ::zip", &["http/archive/zip.rs"]),
    ("signal_hook", &["cli/signals.rs", "cli/serving.rs", "cli/tcp_server/pair.rs", "cli/udp_echo/"]),
    ("rustls", &["net/tls/"]),
    ("qrcode::", &["cli/share/code.rs"]),
    ("pty_process", &["exec/terminal.rs"]),
    ("rcgen", &["trust/identity.rs"]),
    (
        "sha2::",
        &[
            "http/digest_fields.rs",
            "http/server/digests.rs",
            "trust/identity.rs",
            "trust/pake.rs",
            "trust/tokens/",
            "http/page/mod.rs",
            "http/page/list.rs",
        ],
    ),
    ("spake2", &["trust/pake.rs"]),
    ("hmac", &["trust/pake.rs"]),
    ("toml_edit", &["trust/list/", "trust/peers.rs", "trust/tokens/", "trust/hosts.rs"]),
    ("tempfile", &["trust/home.rs"]),
    ("etcetera", &["trust/home.rs"]),
    ("tracing_subscriber", &["cli/logging.rs"]),
    ("strsim", &["trust/code.rs"]),
    ("shlex", &["trust/commands.rs", "cli/tcp_client/shell.rs", "cli/tcp_client/completion.rs", "cli/rexec/places.rs"]),
    ("encoding_rs", &["text.rs", "udp/codec.rs", "http/page/text.rs"]),
    ("byteorder", &["wire/frame.rs", "tutorial/codec.rs", "trees/"]),
    ("md5::", &["tutorial/codec.rs"]),
    ("tungstenite", &["chat/web.rs", "http/server/"]),
    ("sha1::", &["http/server/chat.rs"]),
    ("unicode_security", &["chat/names.rs"]),
    ("unicode_normalization", &["chat/names.rs", "http/listing/words.rs"]),
    ("unicode_width", &["cli/tcp_client/chat/rows.rs"]),
    ("anyhow", &["cli/"]),
    ("clap", &["cli/", "bin/"]),
];

#[test]
fn each_foreign_library_has_its_door() {
    for (word, doors) in DOORS {
        let is_door =
            |path: &str| doors.iter().any(|door| path == *door || (door.ends_with('/') && path.starts_with(door)));
        nowhere(&[word], |path| !is_door(path));
        assert!(sources().iter().any(|(path, code)| is_door(&relative(path)) && code.contains(word)), "{word}: unused");
    }
}

#[test]
fn arrows_point_downwards() {
    // A layer may name itself and those before it; each feature is a layer of its own.
    let below: &[(&str, &[&str])] = &[
        ("fs/", &["fs"]),
        ("error.rs", &["fs"]),
        ("wire/", &["error", "wire"]),
        ("net/", &["net"]),
        ("text.rs", &["error"]),
        ("histogram.rs", &[]),
        ("printable.rs", &[]),
        ("trust/", &["error", "wire", "net", "fs", "printable", "trust"]),
        ("audit.rs", &["trust", "printable"]),
        ("memory.rs", &["error"]),
        ("slots.rs", &["trust"]),
        ("session.rs", &["error", "net", "fs", "trust", "audit", "slots", "memory"]),
        ("pair.rs", &["error", "wire", "connection", "session", "trust"]),
        (
            "client/",
            &[
                "error",
                "wire",
                "net",
                "fs",
                "trust",
                "connection",
                "pair",
                "echo",
                "dir",
                "files",
                "trees",
                "exec",
                "chat",
                "client",
            ],
        ),
        ("connection.rs", &["error", "wire", "net"]),
        ("echo/", &["error", "wire", "histogram", "connection", "session", "echo"]),
        ("dir.rs", &["error", "wire", "connection", "session", "fs"]),
        ("files.rs", &["error", "wire", "connection", "session", "fs", "memory"]),
        ("trees/", &["error", "wire", "net", "connection", "session", "fs", "memory", "trees"]),
        ("exec/", &["error", "wire", "net", "connection", "session", "exec", "fs", "trust", "audit", "slots", "text"]),
        ("chat/", &["error", "wire", "net", "printable", "connection", "session", "trust", "chat"]),
        ("tutorial/", &["error", "wire", "net", "session", "fs", "exec", "text", "trust", "tutorial"]),
        ("http/client/", &["net", "fs", "printable", "http"]),
        ("http/server/", &["error", "net", "session", "fs", "trust", "memory", "printable", "http"]),
        ("udp/", &["udp", "net", "text", "histogram"]),
    ];
    let sources = sources();
    // A file that became a folder would be free to name anything.
    for (part, _) in below {
        assert!(sources.iter().any(|(path, _)| relative(path).starts_with(part)), "{part} is no more");
    }
    for (path, code) in sources {
        let path = relative(&path);
        let Some((_, allowed)) = below.iter().find(|(part, _)| path.starts_with(part)) else { continue };
        for named in code.split("crate::").skip(1) {
            let module: String = named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(module.is_empty() || allowed.contains(&module.as_str()), "{path} names crate::{module}");
        }
    }
}

/// What a library says names no program's option: the programs add that where they print.
#[test]
fn messages_of_the_library_name_no_option() {
    for (path, code) in sources() {
        let path = relative(&path);
        if path.starts_with("cli/") || path.starts_with("bin/") {
            continue;
        }
        for line in code.lines() {
            let names_one = line.split("--").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
            assert!(!names_one, "{path}: {line}");
        }
    }
}

/// Each module under `src`, by its path without `crate`, and its code.
fn modules() -> BTreeMap<String, String> {
    let named = sources().into_iter().map(|(path, code)| {
        let path = relative(&path);
        let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
        (path.replace('/', "::"), code)
    });
    named.filter(|(module, _)| module != "lib" && !module.starts_with("bin")).collect()
}

/// Adds to `found` the paths that `code` begins with, each behind `prefix`; a group in braces is taken apart.
fn add_paths(code: &str, prefix: &str, found: &mut Vec<String>) {
    if code.starts_with('{') {
        let (mut depth, mut start) = (0, 1);
        for (at, character) in code.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || depth == 1 && character == ',' {
                add_paths(code.get(start..at).unwrap().trim_start(), prefix, found);
                start = at + 1;
            }
            if depth == 0 {
                return;
            }
        }
    }
    let name: String = code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}::{name}") };
    match code.get(name.len()..).unwrap().strip_prefix("::") {
        Some(rest) => add_paths(rest, &path, found),
        None => found.push(path),
    }
}

/// Where `word` stands in `code` by itself: behind it the rest of the code.
fn after_word<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = &'c str> {
    code.match_indices(word).filter_map(move |(at, _)| {
        let before = code.get(..at).unwrap().chars().next_back();
        let is_whole = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':');
        is_whole.then(|| code.get(at + word.len()..).unwrap())
    })
}

/// The modules that `module` names.
fn named_by(module: &str, code: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut paths = Vec::new();
    after_word(code, "crate::").for_each(|rest| add_paths(rest, "", &mut paths));
    for rest in after_word(code, "super::") {
        let mut above = module.rsplit_once("::").map_or("", |(above, _)| above);
        let mut rest = rest;
        while let Some(further) = rest.strip_prefix("super::") {
            above = above.rsplit_once("::").map_or("", |(above, _)| above);
            rest = further;
        }
        add_paths(rest, above, &mut paths);
    }
    // Its own submodules need no prefix.
    for child in modules.keys().filter(|child| child.rsplit_once("::").is_some_and(|(above, _)| above == module)) {
        let name = format!("{}::", child.rsplit("::").next().unwrap());
        if after_word(code, &name).next().is_some() {
            paths.push(child.clone());
        }
    }
    let module_of = |path: &String| {
        let mut path = path.as_str();
        while !modules.contains_key(path) {
            path = path.rsplit_once("::")?.0;
        }
        Some(path.to_owned())
    };
    paths.iter().filter_map(module_of).filter(|named| named != module).collect()
}

/// A circle in `graph`, if there is one.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        graph: &BTreeMap<String, BTreeSet<String>>,
        module: &str,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(start) = way.iter().position(|passed| passed == module) {
            way.drain(..start);
            return true;
        }
        if done.contains(module) {
            return false;
        }
        way.push(module.to_owned());
        if graph.get(module).into_iter().flatten().any(|named| visit(graph, named, way, done)) {
            return true;
        }
        way.pop();
        done.insert(module.to_owned());
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    graph.keys().any(|module| visit(graph, module, &mut way, &mut done)).then_some(way)
}

#[test]
fn no_modules_of_the_programs_name_each_other_in_a_circle() {
    let modules = modules();
    let of_programs = modules.iter().filter(|(module, _)| module.starts_with("cli"));
    let graph: BTreeMap<_, _> =
        of_programs.map(|(module, code)| (module.clone(), named_by(module, code, &modules))).collect();
    assert!(graph.len() > 30 && graph.values().any(|named| named.contains("cli::output")), "the modules were found");
    assert_eq!(circle(&graph), None);
    // A program's modules are its own: what two programs share is above them.
    let programs = ["fget", "fput", "http_get", "rexec", "tcp_client", "tcp_server", "udp_echo"];
    let program_of = |module: &str| programs.into_iter().find(|program| module.split("::").nth(1) == Some(program));
    for (module, named) in &graph {
        for named in named {
            let (own, other) = (program_of(module), program_of(named));
            assert!(other.is_none() || other == own, "{module} names {named}");
        }
    }
}

#[test]
fn no_modules_of_the_crate_name_each_other_in_a_circle() {
    let top = |module: &str| module.split("::").next().unwrap().to_owned();
    let modules = modules();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, code) in &modules {
        let named = named_by(module, code, &modules).iter().map(|named| top(named)).collect::<BTreeSet<_>>();
        graph.entry(top(module)).or_default().extend(named.into_iter().filter(|named| *named != top(module)));
    }
    assert_eq!(circle(&graph), None);
    let features = ["chat", "dir", "echo", "exec", "files", "pair", "trees", "udp"];
    for feature in features {
        let other = graph[feature].iter().find(|named| features.contains(&named.as_str()));
        assert_eq!(other, None, "{feature} names another feature");
    }
    for (module, named) in &graph {
        assert!(!named.contains("cli"), "{module} names the programs");
    }
}

#[test]
fn nothing_moves_the_process_prints_or_exits_outside_the_programs() {
    nowhere(&["set_current_dir"], |_| true);
    let words = ["println!", "eprintln!", "print!(", "process::exit", "io::stdout", "io::stderr"];
    nowhere(&words, |path| !path.starts_with("cli/") && !path.starts_with("bin/"));
}

/// Every way out to a terminal, and how often each file uses it. What a person reads goes through `tell`, `say` and
/// `put_json`, which make it safe; what is here is data that must stay as it is, or was made safe before it.
#[test]
fn what_reaches_a_terminal_goes_through_a_door_that_is_watched() {
    let ways = [
        "put_out(",
        "put_error(",
        "stdout()",
        "standard::output()",
        "errors()",
        "stderr()",
        "println!",
        "print!(",
        ".suspend(",
        "set_prefix(",
        "set_message(",
        "readline(",
        "printer.print(",
        // clap repeats words of the command line as they are.
        "error.print()",
        "Args::parse()",
    ];
    let known: &[(&str, usize, &str)] = &[
        ("cli/output.rs", 7, "the doors themselves"),
        ("cli/program.rs", 2, "what clap says, made safe"),
        ("cli/closed.rs", 1, "whether it was open"),
        ("cli/connect.rs", 1, "a question, made safe, with a key in it"),
        ("cli/fget/stdout.rs", 1, "a file's bytes, to -"),
        ("cli/http_get/mod.rs", 2, "a body's bytes in a pipe; that of a refusal, made safe"),
        ("cli/http_get/observer.rs", 1, "lines of the exchange, made safe"),
        ("cli/http_get/terminal.rs", 2, "a body at a terminal, made safe"),
        ("cli/logging.rs", 1, "the log's own door: each field is made safe there"),
        ("cli/tcp_client/pair.rs", 2, "questions, made safe"),
        ("cli/share/printed.rs", 1, "a QR code: blocks, and colours of its own"),
        ("cli/standard.rs", 3, "the streams themselves"),
        ("cli/progress.rs", 3, "numbers, and a name that was made safe"),
        ("cli/tcp_client/chat/screen.rs", 1, "the terminal's size"),
        ("cli/prompt.rs", 3, "styled text, whose pieces were made safe; prompts, made safe"),
        (
            "cli/tcp_client/shell.rs",
            5,
            "names and echoes: made safe at a terminal, as they came in a pipe; a command's output",
        ),
        ("cli/tcp_client/tutorial.rs", 2, "a reply: made safe at a terminal, as it came in a pipe"),
        ("cli/udp_echo/chat.rs", 2, "what is said, made safe"),
        ("cli/udp_echo/input.rs", 1, "a prompt without a stranger's word in it"),
        ("cli/udp_echo/send.rs", 1, "a reply: made safe at a terminal, as it came in a pipe"),
        ("cli/udp_echo/serve.rs", 1, "what came, made safe"),
        ("cli/rexec/tutorial.rs", 4, "a command's output"),
        ("cli/rexec/many.rs", 3, "commands' output"),
        ("cli/rexec/one.rs", 3, "a command's output, and what undoes what it has done to the terminal"),
        ("cli/rexec/terminal.rs", 4, "the terminal's size, and texts without a stranger's word in them"),
    ];
    let mut found = Vec::new();
    for (path, code) in sources() {
        let path = relative(&path);
        if !path.starts_with("cli/") && !path.starts_with("bin/") {
            continue;
        }
        // To look whether it is a terminal is no way to it.
        let code = code.replace("stdout().is_terminal", "").replace("stderr().is_terminal", "");
        let count: usize = ways.iter().map(|way| code.matches(way).count()).sum();
        let (expected, what) =
            known.iter().find(|(file, ..)| *file == path).map_or((0, ""), |(_, count, what)| (*count, *what));
        if count != expected {
            found.push(format!("{path}: {count}, not {expected} ({what})"));
        }
    }
    assert!(
        found.is_empty(),
        "ways to a terminal have changed: text for a person goes through tell, say or put_json; if it is data, or was made \
         safe before, enter it here and in tests/integration/shown.rs: {found:#?}"
    );
}

#[test]
fn no_allocation_is_sized_by_a_strangers_number() {
    // Every such number is called len, size or total when it is read off the wire; what is allocated
    // ahead is a constant, or the length of bytes that are already here.
    for (path, code) in sources().into_iter().filter(|(path, _)| relative(path).starts_with("wire/")) {
        for line in code.lines().filter(|line| line.contains("with_capacity(") || line.contains("vec![0;")) {
            let is_ours = ["_LEN", ".len()", "1024]"].iter().any(|ours| line.contains(ours));
            assert!(is_ours, "{}: {line}", relative(&path));
        }
    }
}

#[test]
fn every_main_is_parse_call_exit() {
    for (path, code) in sources().into_iter().filter(|(path, _)| relative(path).starts_with("bin/")) {
        assert!(code.lines().count() <= 80, "{} is more than parse, call, exit", path.display());
    }
}

#[test]
fn nothing_is_left_to_do() {
    nowhere(&["TODO", "FIXME", "todo!", "unimplemented!"], |_| true);
}

/// What the programs need for a terminal is behind the feature `cli`.
#[test]
#[expect(clippy::disallowed_methods, reason = "cargo is asked for the tree of dependencies")]
fn without_the_programs_the_library_needs_no_terminal() {
    let arguments = ["tree", "--locked", "--no-default-features", "-e", "normal", "--prefix", "none", "-f", "{p}"];
    let cargo =
        std::process::Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let cargo = cargo.unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let tree = String::from_utf8(cargo.stdout).unwrap();
    let needed: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(needed.contains("rustls"), "{tree}");
    let for_a_terminal =
        ["clap", "anyhow", "humantime", "indicatif", "parse-size", "rustyline", "signal-hook", "tracing-subscriber"];
    let found: Vec<&str> = for_a_terminal.into_iter().filter(|name| needed.contains(name)).collect();
    assert!(found.is_empty(), "the library needs {found:?} without its programs");
}
