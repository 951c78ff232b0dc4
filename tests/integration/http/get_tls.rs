//! `http-get` over TLS: whom it trusts, what it shows, TLS 1.2, an end without a farewell, and a tunnel.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use crate::harness::Run;
use crate::harness::listen::serve_all;

/// A private authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        Self { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    /// A server's settings with a certificate for `name` until a year.
    fn server(&self, name: &str, until: i32, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

/// Serves `answer` over TLS to every connection; with a farewell only if `says_farewell`.
fn serve(config: Arc<ServerConfig>, answer: &'static [u8], says_farewell: bool) -> String {
    let address = serve_all(move |socket| {
        let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), socket);
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match tls.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        if tls.write_all(answer).is_ok() && tls.flush().is_ok() {
            if says_farewell {
                tls.conn.send_close_notify();
                drop(tls.flush());
            }
            drop(tls.sock.shutdown(std::net::Shutdown::Write));
            let mut waste = [0; 1024];
            while tls.sock.read(&mut waste).is_ok_and(|len| len > 0) {}
        }
    });
    address.rsplit(':').next().unwrap().to_owned()
}

fn get(dir: &Path) -> Run {
    Run::new("http-get").current_dir(dir).env("LANDLINE_HOME", dir.join("home"))
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_server_is_trusted_as_the_web_does() {
    let (authority, other) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    std::fs::write(dir.path().join("other.pem"), &other.pem).unwrap();
    let (new, old) = (&rustls::version::TLS13, &rustls::version::TLS12);
    for (name, until, version, ca, code, why) in [
        ("localhost", 9999, new, "ca.pem", 0, ""),
        ("localhost", 9999, old, "ca.pem", 0, ""),
        ("localhost", 2020, new, "ca.pem", 5, "certificate is not accepted"),
        ("elsewhere.test", 9999, new, "ca.pem", 5, "certificate is not accepted"),
        ("localhost", 9999, old, "other.pem", 5, "certificate is not accepted"),
    ] {
        let port = serve(authority.server(name, until, version), ANSWER, true);
        let run = get(dir.path()).args(["--cacert", ca, &format!("https://localhost:{port}/")]);
        let output = run.code(code).stderr(why).output();
        assert_eq!(output.text(), if code == 0 { "hello" } else { "" }, "{name} {until} {ca}");
    }
    let port = serve(authority.server("127.0.0.1", 9999, old), ANSWER, true);
    let args = ["-v", "--cacert", "ca.pem", &format!("https://127.0.0.1:{port}/")];
    let output = get(dir.path()).args(args).any_stderr().output();
    assert!(output.stderr.contains("* encrypted: TLSv1_2"), "{}", output.stderr);
    get(dir.path()).args(["--cacert", "missing", "https://a/"]).code(1).stderr("missing").output();
}

/// RFC 9112, 9.8: what ends without a farewell may have been cut by anyone on the way.
#[test]
fn a_body_that_goes_to_the_end_needs_a_farewell() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    let answer = b"HTTP/1.1 200 OK\r\n\r\nhello";
    for (says_farewell, code) in [(true, 0), (false, 4)] {
        let config = authority.server("localhost", 9999, &rustls::version::TLS13);
        let port = serve(config, answer, says_farewell);
        let args = ["--cacert", "ca.pem", "-o", "file", &format!("https://localhost:{port}/")];
        get(dir.path()).args(args).code(code).any_stderr().output();
        assert_eq!(dir.path().join("file").exists(), says_farewell);
        drop(std::fs::remove_file(dir.path().join("file")));
    }
    // Where the length is known, nothing can be cut unseen.
    let port = serve(authority.server("localhost", 9999, &rustls::version::TLS13), ANSWER, false);
    get(dir.path()).args(["--cacert", "ca.pem", &format!("https://localhost:{port}/")]).prints("hello");
}

#[test]
fn a_redirect_never_leads_from_tls_to_plain_text() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    let answer = b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let port = serve(authority.server("localhost", 9999, &rustls::version::TLS13), answer, true);
    let args = ["--cacert", "ca.pem", &format!("https://localhost:{port}/")];
    get(dir.path()).args(args).code(1).stderr("which is not encrypted").output();
}

#[test]
fn a_tunnel_goes_through_a_proxy() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    let port = serve(authority.server("localhost", 9999, &rustls::version::TLS13), ANSWER, true);
    let proxy = serve_all(|mut client| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.split(' ').nth(1).unwrap().replace("localhost", "127.0.0.1");
        assert!(head.starts_with("CONNECT localhost:"), "{head}");
        let mut server = TcpStream::connect(target).unwrap();
        client.write_all(b"HTTP/1.1 200 Connection established\r\nProxy-Agent: x\r\n\r\n").unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let up = thread::spawn(move || {
            drop(std::io::copy(&mut from_client, &mut to_server));
            drop(to_server.shutdown(std::net::Shutdown::Write));
        });
        drop(std::io::copy(&mut server, &mut client));
        drop(client.shutdown(std::net::Shutdown::Both));
        up.join().unwrap();
    });
    let args = ["-v", "--cacert", "ca.pem", &format!("https://localhost:{port}/")];
    let run = get(dir.path()).args(args).env("https_proxy", format!("http://{proxy}"));
    let output = run.any_stderr().output();
    assert_eq!(output.text(), "hello");
    assert!(output.stderr.contains("* connected to the proxy 127.0.0.1:"), "{}", output.stderr);
}
