//! The documents are true: the README's commands run and print what it says, the map in
//! ARCHITECTURE.md names what is there, the limits in docs/limits.md are the code's, and the prose
//! keeps to its width and its words.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::program;

const README: &str = include_str!("../../README.md");
const MANUAL: &str = include_str!("../../docs/manual.md");
const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");
const DECISIONS: &str = include_str!("../../docs/decisions.md");
const LIMITS: &str = include_str!("../../docs/limits.md");

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

/// The servers that the README's walk starts; killed at the end.
struct Walk {
    dir: tempfile::TempDir,
    servers: Vec<Child>,
    port: String,
    /// Where `http-files` listens.
    web_port: String,
    last_code: i32,
}

impl Drop for Walk {
    fn drop(&mut self) {
        for server in &mut self.servers {
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
        let mut out = BufReader::new(server.stdout.take().unwrap());
        out.read_line(&mut ready).unwrap();
        self.servers.push(server);
        let is_web = command.contains("http-files ");
        let port = ready.trim().rsplit(':').next().unwrap().to_owned();
        if is_web {
            out.read_line(&mut ready).unwrap();
        }
        let (own, shown) = if is_web { (&mut self.web_port, "8000") } else { (&mut self.port, "5263") };
        port.clone_into(own);
        ready.replace(own.as_str(), shown)
    }

    fn run(&mut self, command: &str) -> String {
        let at = format!("localhost:{}", self.web_port);
        let script = format!("(exit {}); {}", self.last_code, command.replace("localhost:8000", &at));
        let output = self.shell().args(["-c", &format!("{{ {script}\n}} 2>&1")]).stdin(Stdio::null()).output().unwrap();
        self.last_code = output.status.code().unwrap();
        String::from_utf8(output.stdout).unwrap().replace(&at, "localhost:8000")
    }
}

#[test]
fn the_documents_commands_print_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut walk = Walk { dir, servers: Vec::new(), port: "0".into(), web_port: "0".into(), last_code: 0 };
    let commands = commands();
    assert!(commands.len() > 30, "the README and the manual have their walk");
    for (command, expected) in commands {
        let is_server = command.starts_with("tcp-server ") || command.starts_with("http-files ");
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
    for word in in_backticks(ARCHITECTURE).chain(in_backticks(DECISIONS)) {
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
    assert!(ARCHITECTURE.lines().count() <= 225, "the map is read at one sitting");
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

/// The modules that a file names behind `crate::`, also those in one pair of braces.
fn modules_named(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let group = |text: &str| {
        let mut depth = 0;
        let mut names = String::new();
        for character in text.chars() {
            depth += i32::from(character == '{') - i32::from(character == '}');
            if depth == 0 {
                break;
            }
            names.extend((depth == 1).then_some(character));
        }
        names.split(['{', ',']).map(|name| word(name.trim())).collect::<Vec<_>>()
    };
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| if rest.starts_with('{') { group(rest) } else { vec![word(rest)] })
        .collect()
}

#[test]
fn the_map_is_in_the_order_in_which_files_name_each_other() {
    let (_, map) = ARCHITECTURE.split_once("\n## The map\n").unwrap();
    let map = map.split("\n## ").next().unwrap();
    let top = |path: &str| path.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
    let rows: Vec<Vec<String>> = rows(map).map(|cells| in_backticks(cells[0]).map(top).collect()).collect();
    let row_of = |module: &str| rows.iter().position(|row| row.iter().any(|own| own == module));
    for (path, text) in source_files() {
        let module = top(&path);
        // The guide names all of them. What a file's tests name is not what the file names.
        let Some(own_row) = row_of(&module).filter(|_| module != "lib") else { continue };
        let code = text.split("#[cfg(test)]").next().unwrap();
        let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for named in modules_named(&code.join("\n")) {
            let is_above = row_of(&named).is_none_or(|row| row <= own_row);
            assert!(is_above, "{path} names crate::{named}, which is below it on the map");
        }
    }
}

#[test]
fn the_tests_that_the_map_names_exist() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut named = 0;
    for rest in ARCHITECTURE.split("(test: `").skip(1) {
        let name = rest.split('`').next().unwrap();
        named += 1;
        let definition = format!("fn {name}");
        assert!(is_defined(&tests, &definition) || is_defined(&src, &definition), "no test {name}");
    }
    assert!(named >= 14, "the invariants name their tests");
}

/// A numeric constant of the code; a duration counts in milliseconds.
struct Constant {
    /// The file's path below `src`.
    path: String,
    name: String,
    value: u128,
    is_public: bool,
}

impl Constant {
    /// From a line of the code, if it holds one.
    fn parse(path: &str, line: &str) -> Option<Self> {
        let (visibility, rest) = line.trim().split_once("const ")?;
        let is_public = visibility == "pub ";
        if !is_public && !visibility.is_empty() && !visibility.starts_with("pub(") {
            return None;
        }
        let (name, rest) = rest.split_once(": ")?;
        let (_, expression) = rest.strip_suffix(';')?.split_once(" = ")?;
        Some(Self { path: path.to_owned(), name: name.to_owned(), value: value_of(expression)?, is_public })
    }

    /// Whether `name`, perhaps with a module in front (`log::FILES_MAX`), means this one.
    fn is_called(&self, name: &str) -> bool {
        match name.rsplit_once("::") {
            Some((module, name)) => {
                self.name == name && self.path.trim_end_matches(".rs").split('/').any(|own| own == module)
            }
            None => self.name == name,
        }
    }
}

/// What an expression of numbers, `*`, `<<` and `Duration::from_…` comes to.
fn value_of(expression: &str) -> Option<u128> {
    let Some((unit, count)) = expression.strip_prefix("Duration::from_").and_then(|rest| rest.split_once('(')) else {
        return expression.split(" * ").map(shifted).product();
    };
    let ms = match unit {
        "millis" => 1,
        "secs" => 1000,
        "mins" => 60_000,
        "hours" => 3_600_000,
        _ => return None,
    };
    Some(value_of(count.strip_suffix(')')?)? * ms)
}

fn shifted(factor: &str) -> Option<u128> {
    let number = |text: &str| text.replace('_', "").parse::<u128>().ok();
    match factor.split_once(" << ") {
        Some((base, by)) => number(base)?.checked_shl(u32::try_from(number(by)?).ok()?),
        None => number(factor),
    }
}

/// A number with a unit of size or time, as the documents and the programs' help write them.
fn quantity(text: &str) -> Option<u128> {
    let text = text.replace(',', "");
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(number.parse::<u128>().ok()? * factor)
}

/// The files of the code, by their paths below `src`.
fn source_files() -> Vec<(String, String)> {
    fn collect(dir: &Path, into: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else {
                let shown = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
                into.push((shown.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files
}

fn constants() -> Vec<Constant> {
    source_files().iter().flat_map(|(path, text)| text.lines().filter_map(|line| Constant::parse(path, line))).collect()
}

/// The cells of each row of the tables in `text`, without the heads.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").collect::<Vec<_>>())
        .filter(|cells| !matches!(cells.first(), Some(&("name" | "what" | "where" | "thread"))))
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The default of an option, from the program's help.
fn default_of(program_name: &str, option: &str) -> Option<u128> {
    let program = Path::new(program("rexec")).with_file_name(program_name);
    let help = Command::new(program).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let is_head = |line: &&str| line.trim_start().starts_with('-');
    let mut lines = help.lines().skip_while(|line| !is_head(line) || !line.contains(&format!("{option} ")));
    let head = lines.next()?;
    let entry: String = std::iter::once(head).chain(lines.take_while(|line| !is_head(line))).collect();
    quantity(entry.split("[default: ").nth(1)?.split(']').next()?)
}

#[test]
fn the_limits_in_the_documents_are_the_codes() {
    let constants = constants();
    let mut compared = 0;
    for cells in rows(LIMITS) {
        let names: Vec<&str> = match cells[..] {
            [name, _, _, _] if name.starts_with('`') => in_backticks(name).collect(),
            [_, _, set_by, _] => in_backticks(set_by).filter(|word| !word.contains('-')).collect(),
            _ => continue,
        };
        for name in names {
            let value = quantity(cells[1]).unwrap_or_else(|| panic!("{name}: {:?} is no number", cells[1]));
            let found: Vec<&Constant> = constants.iter().filter(|constant| constant.is_called(name)).collect();
            assert!(!found.is_empty(), "docs/limits.md names {name}, which is not in the code");
            for constant in found {
                let Constant { path, value: own, .. } = constant;
                assert_eq!(value, *own, "{name} in docs/limits.md, against src/{path}");
            }
            compared += 1;
        }
    }
    assert!(compared > 90, "{compared} limits and deadlines were compared");
}

#[test]
fn the_deadlines_that_options_set_are_their_defaults() {
    let mut compared = 0;
    for cells in rows(LIMITS).filter(|cells| cells.len() == 4) {
        for (program, option) in in_backticks(cells[2]).filter_map(|words| words.split_once(" --")) {
            let option = &format!("--{option}");
            assert_eq!(default_of(program, option), quantity(cells[1]), "{program} {option} in docs/limits.md");
            compared += 1;
        }
    }
    assert!(compared >= 8, "{compared} options were compared");
}

#[test]
fn every_public_limit_is_in_the_documents() {
    let named: Vec<&str> = rows(LIMITS).flat_map(|cells| cells.into_iter().flat_map(in_backticks)).collect();
    for constant in constants().iter().filter(|constant| constant.is_public && constant.name.ends_with("_MAX")) {
        let is_named = named.iter().any(|name| constant.is_called(name));
        assert!(is_named, "{} in src/{} is not in docs/limits.md", constant.name, constant.path);
    }
}

/// Each Markdown file of the repository, by its path in it. The changelog is a record, and stays as it was written.
fn markdown() -> Vec<(String, String)> {
    fn collect(dir: &Path, into: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "md") && name != "CHANGELOG.md" {
                into.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    assert!(files.len() >= 9, "the documents are found");
    files
}

/// The lines that are neither in a table nor in a block of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence && !line.starts_with('|')
    })
}

#[test]
fn no_line_of_prose_is_over_120_columns() {
    for (path, text) in markdown() {
        for (number, line) in prose(&text).filter(|(_, line)| !line.contains("://")) {
            assert!(line.chars().count() <= 120, "{path}:{number} has {} columns", line.chars().count());
        }
    }
}

#[test]
fn documents_use_plain_words() {
    for (path, text) in markdown() {
        // A phrase may go over the end of a line; what is in backticks is a name.
        let lines: Vec<&str> = prose(&text).map(|(_, line)| line).collect();
        let words: Vec<String> = lines
            .join(" ")
            .split('`')
            .step_by(2)
            .flat_map(|text| text.split(|character: char| !character.is_alphanumeric()))
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        let text = format!(" {} ", words.join(" "));
        for phrase in ["whoever", "somebody", "so many", "for ever"] {
            assert!(!text.contains(&format!(" {phrase} ")), "{path}: {phrase:?}; say who, how many, how long");
        }
    }
}

/// What a heading is called in a link: lower case, no punctuation, a dash for each space.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|character| character.is_alphanumeric() || [' ', '-', '_'].contains(character));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut followed = 0;
    for (path, text) in markdown() {
        let lines: Vec<&str> =
            prose(&text).map(|(_, line)| line).chain(text.lines().filter(|line| line.starts_with('|'))).collect();
        for link in lines.iter().flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone().into() } else { Path::new(&path).with_file_name(file) };
            assert!(target.exists(), "{path}: {link} is not there");
            let has_heading = |text: &str| {
                let headings = text.lines().filter(|line| line.starts_with('#'));
                headings.map(|line| anchor(line.trim_start_matches('#').trim())).any(|anchor| anchor == wanted)
            };
            assert!(wanted.is_empty() || has_heading(&std::fs::read_to_string(&target).unwrap()), "{path}: no {link}");
            followed += 1;
        }
    }
    assert!(followed > 20, "{followed} links were followed");
}
