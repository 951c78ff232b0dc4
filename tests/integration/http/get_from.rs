//! `http-get` from real servers: our own, and those that others wrote.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use landline::trust::identity::Identity;
use landline::{Home, Root};

use crate::harness::files::names;
use crate::harness::skip::is_installed;
use crate::harness::{Run, Server, own_home};

fn get(dir: &Path) -> Run {
    Run::new("http-get").current_dir(dir)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at / 3 % 253).unwrap()).collect()
}

/// The port of `127.0.0.1:PORT`, or of a URL.
fn port(address: &str) -> &str {
    address.trim_end_matches('/').rsplit(':').next().unwrap()
}

#[test]
fn our_own_server_is_fetched_from_plain_and_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let whole = bytes(5_000_000);
    let plain = Server::http_files(&[]);
    plain.write("a/big", &whole);
    let url = format!("http://127.0.0.1:{}/a/big", port(plain.address()));
    get(dir.path()).args(["-O", &url]).prints("");
    assert!(std::fs::read(dir.path().join("big")).unwrap() == whole);
    get(dir.path()).args([format!("{url}-not")]).code(1).stderr("404").output();
    let secure = Server::http_files(&["--tls"]);
    secure.write("a/big", &whole);
    let key = Identity::of(&Home::open(Some(&own_home())).unwrap()).unwrap().fingerprint().to_string();
    let url = format!("https://127.0.0.1:{}/a/big", port(secure.address()));
    let output = get(dir.path()).args(["-v", "--pin", &key, &url]).any_stderr().output();
    assert!(output.stdout == whole);
    assert!(output.stderr.contains("* encrypted: TLSv1_3"), "{}", output.stderr);
    let curls = key.replace("SHA256:", "sha256//") + "=";
    assert!(get(dir.path()).args(["--pin", &curls, &url]).output().stdout == whole);
    let other = format!("SHA256:{}", "A".repeat(43));
    get(dir.path()).args(["--pin", &other, &url]).code(5).stderr("not the one that was expected").output();
    // No authority has signed its certificate; and nothing but its key makes it trusted.
    let unknown = get(dir.path()).args([&url]).env("SSL_CERT_FILE", own_home().join("identity.pem"));
    unknown.code(5).stderr("certificate is not accepted").output();
    let cert = own_home().join("identity.pem");
    let args = ["--pin", &key, "--cert", cert.to_str().unwrap(), &url];
    assert!(get(dir.path()).args(args).output().stdout == whole, "a certificate that was asked for is shown");
    assert!(Root::open(secure.root()).is_ok());
    // An end is none that looks like a cut.
    assert!(get(dir.path()).args(["--pin", &key, &url]).output().stdout == whole);
    let (_, log) = secure.stop();
    let ends: Vec<&str> = log.lines().filter(|line| line.contains("disconnected")).collect();
    assert!(ends.last().is_some_and(|end| end.contains("closed by the client")), "{ends:?}");
}

/// A server that somebody else wrote, on a free port; killed at the end.
struct Stranger(std::process::Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn pythons_server_is_fetched_from() {
    if !is_installed("python3", "--version") {
        return;
    }
    let (served, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole = bytes(3_000_000);
    std::fs::write(served.path().join("b c"), &whole).unwrap();
    let script = "import http.server,sys\n\
                  s=http.server.ThreadingHTTPServer(('127.0.0.1',0),http.server.SimpleHTTPRequestHandler)\n\
                  print(s.server_address[1],flush=True)\ns.serve_forever()";
    let mut python = Command::new("python3");
    python.args(["-c", script]).current_dir(served.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut python = Stranger(python.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(python.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = format!("http://127.0.0.1:{}", line.trim());
    get(dir.path()).args(["-O", &format!("{url}/b c")]).prints("");
    assert!(std::fs::read(dir.path().join("b c")).unwrap() == whole);
    let output = get(dir.path()).args([format!("{url}/")]).output();
    assert!(output.text().contains("b%20c"), "{}", output.text());
    get(dir.path()).args(["--parallel", "3", "-o", "again", &format!("{url}/b c")]).any_stderr().output();
    assert!(std::fs::read(dir.path().join("again")).unwrap() == whole);
    assert_eq!(names(dir.path()), ["again", "b c"]);
    get(dir.path()).args([format!("{url}/none")]).code(1).stderr("404").output();
}
