//! HTTP with programs that others wrote: clients fetch, resume and compare; judges find nothing that is bad. What is
//! not installed is left out aloud; what takes minutes runs in `./test --all`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use landline::trust::home::Home;
use landline::trust::identity::Identity;

use crate::harness::http::ask;
use crate::harness::skip::{is_installed, skip};
use crate::harness::{Server, own_home, rounds, wait_until};

/// A file of many bytes that no two places have alike.
fn patterned(len: u32) -> Vec<u8> {
    (0..len / 4).flat_map(|at| (at ^ 0x5bd1_e995).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

struct Ran {
    is_success: bool,
    out: Vec<u8>,
    err: String,
}

fn run(program: &str, dir: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env("HOME", dir).env("no_proxy", "*").stdin(Stdio::null());
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Ran { is_success: output.status.success(), out: output.stdout, err }
}

/// Runs a program to success, and returns its output.
fn succeed(program: &str, dir: &Path, args: &[&str]) -> Vec<u8> {
    let ran = run(program, dir, args);
    assert!(ran.is_success, "{program} {args:?}: {}{}", String::from_utf8_lossy(&ran.out), ran.err);
    ran.out
}

fn url(server: &Server, path: &str) -> String {
    format!("http://{}/{path}", server.address())
}

/// The pin of the server's key, as curl writes it.
fn pin() -> String {
    let home = Home::open(Some(&own_home())).unwrap();
    let key = Identity::of(&home).unwrap().fingerprint();
    format!("sha256//{}", STANDARD.encode(key.as_bytes()))
}

#[test]
fn curl_fetches_resumes_and_proves_its_key() {
    if !is_installed("curl", "--version") {
        return;
    }
    let server = Server::with(&["--http", "--guest", "none"]);
    let bytes = patterned(3_000_000);
    server.write("big.bin", &bytes);
    let dir = tempfile::tempdir().unwrap();
    let identity = own_home().join("identity.pem");
    let identity = identity.to_str().unwrap();
    let (address, port) = server.address().rsplit_once(':').unwrap();
    let (resolve, pin) = (format!("landline:{port}:{address}"), pin());
    let url = format!("https://landline:{port}/big.bin");
    let proved =
        ["-sS", "--fail", "--cert", identity, "--cacert", identity, "--pinnedpubkey", &pin, "--resolve", &resolve];
    let curl = |more: &[&str]| succeed("curl", dir.path(), &[&proved[..], more].concat());
    assert!(curl(&[&url]) == bytes);
    // Begun before, and resumed.
    std::fs::write(dir.path().join("part"), &bytes[..1_000_000]).unwrap();
    curl(&["-C", "-", "-o", "part", &url]);
    assert!(std::fs::read(dir.path().join("part")).unwrap() == bytes);
    assert!(curl(&["-r", "5-9", &url]) == bytes[5..10]);
    // Without the key, and with another pin, it gets nothing.
    let unproved = ["-sS", "--fail", "--cacert", identity, "--resolve", &resolve, &url];
    assert!(!run("curl", dir.path(), &unproved).is_success);
    let other = format!("sha256//{}", STANDARD.encode([7; 32]));
    let wrong = ["-sS", "-k", "--cert", identity, "--pinnedpubkey", &other, "--resolve", &resolve, &url];
    assert!(!run("curl", dir.path(), &wrong).is_success);
}

#[test]
fn other_clients_fetch_and_resume() {
    let server = Server::http_files(&[]);
    let bytes = patterned(40_000_000);
    server.write("big.bin", &bytes);
    let url = url(&server, "big.bin");
    let got = |dir: &Path| std::fs::read(dir.join("big.bin")).unwrap();
    if is_installed("wget", "--version") {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("big.bin"), &bytes[..1_000_000]).unwrap();
        succeed("wget", dir.path(), &["-q", "-c", &url]);
        assert!(got(dir.path()) == bytes, "wget");
    }
    if is_installed("aria2c", "--version") {
        let dir = tempfile::tempdir().unwrap();
        let args = ["-x8", "-s8", "-k1M", "--file-allocation=none", "--console-log-level=warn", &url];
        succeed("aria2c", dir.path(), &args);
        assert!(got(dir.path()) == bytes, "aria2c");
        wait_until("its eight connections were served", || server.log().matches("connected").count() >= 8);
    }
    if is_installed("rclone", "version") {
        let dir = tempfile::tempdir().unwrap();
        let remote = format!(":http,url='http://{}/':", server.address());
        succeed("rclone", dir.path(), &["--config", "none", "copy", &remote, "."]);
        assert!(got(dir.path()) == bytes, "rclone");
    }
}

#[test]
fn python_fetches_over_one_connection() {
    if !is_installed("python3", "--version") {
        return;
    }
    let server = Server::http_files(&["--upload"]);
    server.write("a.txt", "hello");
    let script = "
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1])
for _ in range(3):
    connection.request('GET', '/a.txt')
    answer = connection.getresponse()
    assert answer.status == 200 and answer.read() == b'hello', answer.status
connection.request('PUT', '/b.txt', body=iter([b'one', b'two']), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})
assert connection.getresponse().read() is not None
connection.request('GET', '/b.txt', headers={'Range': 'bytes=3-'})
answer = connection.getresponse()
assert answer.status == 206 and answer.read() == b'two', answer.status
try:
    import requests
    session = requests.Session()
    for _ in range(2):
        answer = session.get('http://' + sys.argv[1] + '/a.txt')
        assert answer.status_code == 200 and answer.text == 'hello'
    assert session.get('http://' + sys.argv[1] + '/none').status_code == 404
except ImportError:
    print('no requests')
";
    let dir = tempfile::tempdir().unwrap();
    let out = succeed("python3", dir.path(), &["-c", script, server.address()]);
    if out.starts_with(b"no requests") {
        skip("the Python library requests is not installed");
    }
}

/// What `./test --all` has installed for the tests.
fn judge(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin").join(name);
    if path.is_file() {
        return Some(path);
    }
    skip(&format!("{name} is not installed"));
    None
}

#[test]
fn redbot_finds_nothing_bad() {
    let Some(redbot) = judge("redbot") else { return };
    let server = Server::http_files(&[]);
    server.write("page.html", "<!doctype html><title>x</title>".repeat(1_000));
    server.write("data.bin", patterned(100_000));
    server.write("note.txt", "all work and no play\n".repeat(500));
    let dir = tempfile::tempdir().unwrap();
    wait_until("the files are settled", || {
        ["page.html", "data.bin", "note.txt"]
            .iter()
            .all(|path| ask(&server, &format!("HEAD /{path}"), b"").header("etag").starts_with('"'))
    });
    for path in ["page.html", "data.bin", "note.txt", "none", ""] {
        let out = succeed(redbot.to_str().unwrap(), dir.path(), &["-o", "har", &url(&server, path)]);
        let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let entries = report["log"]["entries"].as_array().unwrap();
        assert!(!entries.is_empty(), "{path}: {report}");
        for message in entries.iter().filter_map(|entry| entry["_red_messages"].as_array()).flatten() {
            // A list does: it is for its own client's cache alone, and in its reader's language.
            if path.is_empty() && message["note_id"] == "VARY_COMPLEX" {
                continue;
            }
            assert!(message["level"] != "BAD" && message["level"] != "WARN", "{path}: {message}");
        }
    }
}

#[test]
fn a_slow_client_costs_no_other_one_anything() {
    if rounds(1) == 1 {
        return skip("slowhttptest takes 80 s: see ./test --all");
    }
    if !is_installed("slowhttptest", "-h") {
        return;
    }
    let server = Server::http_files(&["--upload"]);
    server.write("a.txt", "hello");
    server.write("big.bin", patterned(10_000_000));
    let dir = tempfile::tempdir().unwrap();
    for (mode, target) in [("-H", "a.txt"), ("-B", "b.txt"), ("-R", "big.bin"), ("-X", "big.bin")] {
        let url = url(&server, target);
        let args = [mode, "-c", "500", "-r", "200", "-i", "2", "-l", "20", "-x", "24", "-p", "3", "-u", &url];
        let mut slow = Command::new("slowhttptest");
        let mut slow =
            slow.args(args).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut answers = 0;
        while slow.try_wait().unwrap().is_none() {
            assert_eq!(ask(&server, "GET /a.txt", b"").text(), "hello", "{mode}");
            answers += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(answers > 0, "{mode}");
    }
}

#[test]
fn testssl_finds_tls_1_3_and_nothing_weak() {
    if rounds(1) == 1 {
        return skip("testssl takes minutes: see ./test --all");
    }
    let Some(program) = ["testssl", "testssl.sh"].into_iter().find(|program| is_installed(program, "--version")) else {
        return;
    };
    let server = Server::http_files(&["--tls"]);
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let args = ["--quiet", "--warnings", "off", "--color", "0", "-p", "-s", "-U", "-f", "--jsonfile"];
    run(program, dir.path(), &[&args[..], &[report.to_str().unwrap(), server.address()]].concat());
    let text = std::fs::read_to_string(&report).unwrap();
    let findings: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let findings = findings.as_array().unwrap();
    let found =
        |id: &str| findings.iter().find(|finding| finding["id"] == id).map(|finding| finding["finding"].to_string());
    for old in ["SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2"] {
        assert!(found(old).is_some_and(|found| found.contains("not offered")), "{old}: {:?}", found(old));
    }
    assert!(found("TLS1_3").is_some_and(|found| found.contains("offered")), "{:?}", found("TLS1_3"));
    let weak: Vec<_> = findings
        .iter()
        .filter(|finding| ["LOW", "MEDIUM", "HIGH", "CRITICAL"].iter().any(|level| finding["severity"] == *level))
        .collect();
    assert!(weak.is_empty(), "{weak:#?}");
}
