//! The page in a real browser: each file of `tests/browser/scenarios` is run with node, which drives Debian's Chromium.
//! The packages that it needs are those of `tests/browser/package.json`; `./test --all` installs them to
//! `target/browser`, and runs them by themselves. What is not installed is left out aloud.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::harness::files::names;
use crate::harness::skip::{is_installed, skip};
use crate::harness::{DEADLINE, program, rounds};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

/// Says that the scenarios are to be run: they have the machine for themselves then. Beside hundreds of other tests a
/// browser takes longer for a step than any deadline of ours.
const WANTED: &str = "LANDLINE_TESTS_BROWSER";

/// Whether a browser can be driven here; if not, what is missing is told.
fn is_possible() -> bool {
    if std::env::var_os(WANTED).is_none() {
        skip("a browser wants the machine for itself: ./test --all runs this, or LANDLINE_TESTS_BROWSER=1");
        return false;
    }
    if !is_installed("node", "--version") || !is_installed("chromium", "--version") {
        return false;
    }
    let has_packages =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser/node_modules/puppeteer-core").is_dir();
    if !has_packages {
        skip("the packages of tests/browser are not installed: ./test --all does that");
    }
    has_packages
}

/// A browser has many processes of its own: one after the other.
static ONE: Mutex<()> = Mutex::new(());

/// Runs a scenario. What it has checked is shown if it fails. A browser stumbles now and then over itself (a start, a
/// first frame): a scenario that failed once is run once more, and what happened is told all the same.
fn scenario(name: &str) {
    if !is_possible() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (is_good, told) = run(name);
    if !is_good {
        skip(&format!("the first of two tries: {}", told.trim().replace('\n', "; ")));
        let (is_good, told) = run(name);
        assert!(is_good, "{name}:\n{told}");
    }
}

/// Whether a scenario went well, and what it told.
fn run(name: &str) -> (bool, String) {
    let programs = Path::new(program("http-files")).parent().unwrap();
    let output = Command::new("node")
        .arg(directory().join("scenarios").join(name).with_extension("mjs"))
        .env("LANDLINE_PROGRAMS", programs)
        .env("LANDLINE_DEADLINE_MS", DEADLINE.as_millis().to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), told)
}

/// A test for each scenario, and a test that there is one for each.
macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            scenario(stringify!($name));
        })*

        #[test]
        fn each_scenario_is_run() {
            let mut listed = vec![$(concat!(stringify!($name), ".mjs")),*];
            // It takes a minute.
            listed.push("lighthouse.mjs");
            listed.sort_unstable();
            assert_eq!(names(&directory().join("scenarios")), listed);
        }
    };
}

scenarios! {
    broken_network
    changes
    chat
    conflict
    drop
    keyboard
    languages
    leave
    no_script
    preview
    queue
    reload
    revoked
    search
    server_restart
    sign_in
    states
    upload
}

#[test]
fn lighthouse_is_content() {
    if rounds(1) == 1 {
        skip("lighthouse takes a minute: ./test --all runs it");
        return;
    }
    scenario("lighthouse");
}
