//! Programs that are not ours, and that know nothing but PROTOCOL.md, against the real server: the
//! client in `examples/python`, and `openssl s_client`. What is not installed is left out aloud.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use landline::net::Stream;
use landline::net::tls::{Inside, ServerTls, WebCertificate, WebCertificates};
use landline::trust::home::Home;
use landline::trust::identity::{Fingerprint, Identity};
use serde_json::{Value, json};

use crate::harness::listen::serve_one;
use crate::harness::skip::is_installed;
use crate::harness::{DEADLINE, Run, Server, own_home, wait};

/// X25519 and ML-KEM-768 together (draft-ietf-tls-ecdhe-mlkem).
const X25519MLKEM768: u16 = 0x11ec;

fn own_fingerprint() -> String {
    Run::new("tcp-server").args(["identity"]).output().text().trim().to_owned()
}

/// What a stranger's run came to.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a stranger to its end. Its standard input stays open until then if `input` is given.
fn run(command: &mut Command, input: Option<&[u8]>) -> Ended {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    if let Some(input) = input {
        // It may have ended already: refused.
        drop(stdin.write_all(input));
    } else {
        drop(stdin);
    }
    let (stdout, stderr) = (text(child.stdout.take().unwrap()), text(child.stderr.take().unwrap()));
    let code = wait(&mut child).code();
    Ended { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

#[expect(clippy::disallowed_methods, reason = "a test's own program does not send without end")]
fn text(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The Python client; `pin` is whose key it expects.
fn python(server: &Server, pin: &str, args: &[&str]) -> Ended {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/landline.py");
    let mut command = Command::new("python3");
    command.arg(client).arg(server.address()).arg(own_home().join("identity.pem")).args(args);
    run(command.env("LANDLINE_PIN", pin), None)
}

#[test]
fn sixty_lines_of_python_run_get_and_put() {
    if !is_installed("python3", "--version") {
        return;
    }
    let (server, pin) = (Server::with(&[]), own_fingerprint());
    let run = python(&server, &pin, &["run", "echo out; echo err >&2; exit 7"]);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(7), "out\n", "err\n"));

    // Longer than one frame may be, and cut anywhere.
    let bytes: Vec<u8> = (0..5_000_003_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    let dir = tempfile::tempdir().unwrap();
    let local = dir.path().join("local");
    server.write("a b/remote", &bytes);
    let get = python(&server, &pin, &["get", "a b/remote", local.to_str().unwrap()]);
    assert_eq!((get.code, get.stderr.as_str()), (Some(0), ""));
    assert!(std::fs::read(&local).unwrap() == bytes, "what was got is not what is there");
    let put = python(&server, &pin, &["put", local.to_str().unwrap(), "a b/"]);
    assert_eq!((put.code, put.stderr.as_str()), (Some(0), ""));
    assert!(server.read("a b/local") == bytes, "what was put is not what arrived");

    let missing = python(&server, &pin, &["get", "nowhere", local.to_str().unwrap()]);
    assert_eq!((missing.code, missing.stderr.contains("no such file")), (Some(1), true), "{}", missing.stderr);
    let (status, log) = server.stop();
    assert!(status.success());
    assert!(log.contains("own identity"), "it came in by its key: {log}");
}

#[test]
fn the_python_client_says_nothing_to_a_server_with_another_key() {
    if !is_installed("python3", "--version") {
        return;
    }
    let server = Server::with(&[]);
    let refused = python(&server, "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0", &["run", "true"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains(&own_fingerprint()), "it names the key: {}", refused.stderr);
    let (_, log) = server.stop();
    assert!(!log.contains("let in"), "{log}");
}

#[test]
fn the_python_client_has_at_most_sixty_lines_and_the_standard_library() {
    let text = include_str!("../../examples/python/landline.py");
    assert!(text.lines().count() <= 60, "{} lines", text.lines().count());
    let imports: Vec<&str> = text.lines().filter(|line| line.contains("import ")).collect();
    assert_eq!(imports, ["import base64, hashlib, json, os, socket, ssl, struct, sys"]);
}

fn frame(header: &str) -> Vec<u8> {
    [&i32::try_from(header.len()).unwrap().to_le_bytes()[..], header.as_bytes()].concat()
}

fn hello_and_pwd() -> Vec<u8> {
    [frame(r#"{"type":"hello","version":1,"program":"openssl"}"#), frame(r#"{"type":"pwd"}"#)].concat()
}

/// Takes one header off a stream of frames without bodies.
fn header(stream: &mut impl Read) -> Value {
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut header = vec![0; usize::try_from(i32::from_le_bytes(len)).unwrap()];
    stream.read_exact(&mut header).unwrap();
    serde_json::from_slice(&header).unwrap()
}

fn s_client(server: &Server, args: &[&str], with_certificate: bool) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", server.address()]).args(args);
    if with_certificate {
        let identity = own_home().join("identity.pem");
        command.arg("-cert").arg(&identity).arg("-key").arg(&identity);
    }
    command
}

#[test]
fn openssl_shakes_hands_and_exchanges_frames() {
    if !is_installed("openssl", "version") {
        return;
    }
    let server = Server::with(&[]);
    let mut command = s_client(&server, &["-alpn", "landline/1", "-tls1_3"], true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It stays as long as its input does.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&hello_and_pwd()).unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (sender, receiver) = channel();
    let reading = thread::spawn(move || {
        for _ in 0..2 {
            sender.send(header(&mut stdout)).unwrap();
        }
    });
    let answers = [receiver.recv_timeout(DEADLINE), receiver.recv_timeout(DEADLINE)];
    child.kill().unwrap();
    wait(&mut child);
    drop(reading.join());
    let [Ok(hello), Ok(cwd)] = answers else { panic!("{answers:?}; the log: {}", server.log()) };
    assert_eq!((&hello["type"], &hello["version"]), (&json!("hello"), &json!(1)));
    assert!(hello["verbs"].as_array().unwrap().contains(&json!("exec")), "the own identity may do everything: {hello}");
    assert_eq!(cwd, json!({ "type": "cwd", "path": "/" }));
}

#[test]
fn openssl_is_refused_without_a_certificate_or_our_protocol_or_with_an_older_tls() {
    if !is_installed("openssl", "version") {
        return;
    }
    for (args, with_certificate, why) in [
        (&["-alpn", "landline/1", "-tls1_3"][..], false, "certificate required"),
        (&["-alpn", "h2", "-tls1_3"], true, "no application protocol"),
        (&["-tls1_3"], true, ""),
        (&["-alpn", "landline/1", "-tls1_2"], true, "protocol version"),
    ] {
        let server = Server::with(&["--guest", "all"]);
        let ended = run(&mut s_client(&server, args, with_certificate), Some(&hello_and_pwd()));
        let shown = format!("{args:?} {:?}: {}{}", ended.code, ended.stdout, ended.stderr);
        assert!(!ended.stdout.contains("hello") && !ended.stdout.contains("cwd"), "{shown}");
        assert!(ended.stderr.contains(why), "{why:?} is not in {shown}");
        let log = server.wait_for_log("disconnected");
        assert!(!log.contains("let in"), "{shown}\n{log}");
    }
}

/// A private authority's certificate and, issued by it for `files.test`, a server's chain and key; all PEM.
fn issued() -> (String, String, String) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "an authority");
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let params = CertificateParams::new(["files.test".to_owned()]).unwrap();
    (authority_pem, params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

/// The profile for the web, as OpenSSL sees it: a chain that it can verify, HTTP inside, and a certificate that is asked
/// for by the name that our identities bear, and not needed.
#[test]
fn openssl_is_served_as_a_client_of_the_web() {
    if !is_installed("openssl", "version") {
        return;
    }
    let (authority, chain, key) = issued();
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, authority).unwrap();
    let own = Identity::of(&Home::open(Some(&own_home())).unwrap()).unwrap();
    let identity_file = own_home().join("identity.pem");
    for (alpn, is_shown) in [(&["-alpn", "h2,http/1.1"][..], false), (&[], false), (&["-alpn", "http/1.1"], true)] {
        let certificate = WebCertificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let certificates = WebCertificates::new(certificate, Vec::new());
        let profiles = ServerTls::ours_and_web(own.credentials(), &certificates).unwrap();
        let (address, serving) = serve_one(move |stream| {
            let stream = Stream::from(stream).accept_tls(&[], &profiles, DEADLINE).unwrap();
            let tls = Arc::clone(stream.tls().unwrap());
            let (mut reader, mut writer) = stream.split();
            let mut request = [0; 4];
            reader.read_exact(&mut request).unwrap();
            writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            writer.close();
            (request, tls.inside(), tls.peer_spki().map(Fingerprint::of_spki))
        });
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address, "-servername", "files.test", "-verify_return_error"]);
        command.args(["-verify_hostname", "files.test", "-CAfile"]).arg(&ca_file).args(alpn);
        if is_shown {
            command.arg("-cert").arg(&identity_file).arg("-key").arg(&identity_file);
        }
        let ended = run(&mut command, Some(b"GET "));
        let shown = format!("{alpn:?} {:?}: {}{}", ended.code, ended.stdout, ended.stderr);
        let (request, inside, key) = serving.join().unwrap();
        assert_eq!((&request, inside), (b"GET ", Inside::Http), "{shown}");
        assert_eq!(key, is_shown.then_some(own.fingerprint()), "{shown}");
        for what in
            ["Verify return code: 0 (ok)", "TLSv1.3", "204 No Content", "Acceptable client certificate CA names"]
        {
            assert!(ended.stdout.contains(what), "{what:?} is not in {shown}");
        }
        let names = ended.stdout.split("Acceptable client certificate CA names\n").nth(1).unwrap();
        let name = names.lines().next().unwrap().replace(' ', "");
        assert_eq!(name, "CN=landline", "{shown}");
    }
}

/// What a server's first record chose as the key exchange (RFC 8446, 4.1.3 and 4.2.8).
fn chosen_group(mut records: &[u8]) -> u16 {
    fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(len);
        *bytes = rest;
        taken
    }
    fn number(bytes: &mut &[u8]) -> u16 {
        u16::from_be_bytes(take(bytes, 2).try_into().unwrap())
    }
    // A handshake record, and in it a ServerHello.
    assert_eq!((take(&mut records, 5)[0], take(&mut records, 4)[0]), (22, 2));
    // Version, random, session, cipher suite, compression.
    take(&mut records, 2 + 32);
    let session_len = take(&mut records, 1)[0].into();
    take(&mut records, session_len);
    take(&mut records, 2 + 1);
    let extensions_len = number(&mut records).into();
    let mut extensions = take(&mut records, extensions_len);
    while !extensions.is_empty() {
        let (kind, len) = (number(&mut extensions), number(&mut extensions));
        let mut extension = take(&mut extensions, len.into());
        if kind == 51 {
            return number(&mut extension);
        }
    }
    panic!("no key share");
}

/// Listens in between a client and `server`, and hands over what the server said.
fn wiretap(server: &Server) -> (String, thread::JoinHandle<Vec<u8>>) {
    let to_server = server.connect();
    serve_one(move |client| {
        let (mut from_client, mut into_server) = (client.try_clone().unwrap(), to_server.try_clone().unwrap());
        let forward = thread::spawn(move || {
            drop(std::io::copy(&mut from_client, &mut into_server));
            drop(into_server.shutdown(Shutdown::Write));
        });
        let heard = copy_and_keep(to_server, client);
        forward.join().unwrap();
        heard
    })
}

fn copy_and_keep(mut from: TcpStream, mut to: TcpStream) -> Vec<u8> {
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(len @ 1..) = from.read(&mut piece) {
        heard.extend_from_slice(&piece[..len]);
        if to.write_all(&piece[..len]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
    heard
}

#[test]
fn our_own_ends_agree_on_a_post_quantum_key_exchange() {
    let server = Server::with(&[]);
    let (address, tapping) = wiretap(&server);
    Run::new("rexec").args(["-n", &address, "echo", "seen-by-nobody"]).prints("seen-by-nobody\n");
    let heard = tapping.join().unwrap();
    assert_eq!(chosen_group(&heard), X25519MLKEM768);
    assert!(!heard.windows(14).any(|window| window == b"seen-by-nobody"), "it crossed in the clear");
}

/// What a shell makes of `script`.
fn sh(script: &str) -> Run {
    Run::of(Path::new("/bin/sh")).args(["-c", script])
}

#[test]
fn nc_and_socat_talk_as_the_tutorials_clients_do() {
    let server = Server::with(&["--guest", "all", "--wire", "raw", "--reply", "upper"]);
    let address = server.address();
    // Each closes its own direction when its input ends, and waits for the answer.
    if is_installed("nc", "-h") {
        sh(&format!("printf hello | nc -N {}", address.replace(':', " "))).prints("HELLO");
    }
    if is_installed("socat", "-V") {
        sh(&format!("printf hello | socat -t 60 - TCP:{address}")).prints("HELLO");
    }
}

#[test]
fn nc_gets_its_datagram_back() {
    if !is_installed("nc", "-h") {
        return;
    }
    let server = Run::new("udp-echo").args(["serve", "--bind", "127.0.0.1:0"]).spawn();
    let ready = server.wait_for("ready on");
    let address = ready.strip_prefix("udp-echo: ready on ").unwrap().replace(':', " ");
    // It ends with the first datagram that comes.
    sh(&format!("printf hello | nc -u -W 1 {address}")).prints("hello");
}

/// curl speaks neither frames nor the tutorials' wires; what it asks for runs nothing, and it learns so at once.
#[test]
fn curl_is_turned_away_by_every_kind_of_connection() {
    if !is_installed("curl", "--version") {
        return;
    }
    let identity = own_home().join("identity.pem");
    let server = Server::with(&["--guest", "all", "--wire", "raw", "--reply", "exec"]);
    let curl = |args: &[&str], url: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--globoff", "--noproxy", "*", "--max-time", "60"]);
        run(curl.args(args).arg(url), None)
    };
    let plain = curl(&[], &format!("http://{}/;touch$IFS$9pwned;", server.address()));
    assert!(plain.stdout.contains("use tcp-client instead"), "{:?} {} {}", plain.code, plain.stdout, plain.stderr);
    for args in [&["--insecure"][..], &["--insecure", "--cert", identity.to_str().unwrap()]] {
        let ended = curl(args, &format!("https://{}/", server.address()));
        // 35: no handshake came about.
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(35), ""), "{args:?}: {}", ended.stderr);
    }
    assert!(server.names("").is_empty(), "{:?}", server.names(""));
}
