//! Both ends of each profile, over a socket pair.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData as _, date_time_ymd,
};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConnection, RootCertStore, ServerConnection, SignatureScheme, StreamOwned};

use super::*;
use crate::net::Stream;

const LIMIT: Duration = Duration::from_mins(1);

type Shaken = Result<Stream, HandshakeError>;

/// A key and a certificate as each identity has them.
fn identity() -> Credentials {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "landline");
    let certificate = params.self_signed(&key).unwrap().pem();
    Credentials::from_pem((key.serialize_pem() + &certificate).as_bytes()).unwrap()
}

/// A private authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate for a server of the web, and its key.
struct Issued {
    chain: String,
    key: String,
    spki: Vec<u8>,
}

impl Issued {
    fn certificate(&self) -> WebCertificate {
        WebCertificate::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }

    fn server(&self) -> ServerTls {
        ServerTls::web(&identity(), &WebCertificates::new(self.certificate(), Vec::new())).unwrap()
    }
}

impl Authority {
    fn new() -> Self {
        Self::called("an authority")
    }

    fn called(name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        Self { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> Issued {
        self.issue_for((2000, 9999), name)
    }

    /// For the time between the beginnings of two years.
    fn issue_for(&self, (from, until): (i32, i32), name: &str) -> Issued {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { chain, key: key.serialize_pem(), spki: key.subject_public_key_info() }
    }

    fn trust(&self) -> WebTrust {
        WebTrust::none().and_pem(self.pem.as_bytes()).unwrap()
    }

    fn client(&self) -> WebClient {
        WebClient::new(self.trust()).unwrap()
    }
}

/// Both ends of a handshake, the server's first.
fn shake(server: &ServerTls, client: impl FnOnce(Stream) -> Shaken) -> (Shaken, Shaken) {
    let (here, there) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let serving = scope.spawn(|| Stream::from(there).accept_tls(&[], server, LIMIT));
        let client = client(Stream::from(here));
        (serving.join().unwrap(), client)
    })
}

/// A client of the web that shows what `shown` chooses, and offers `alpn`.
fn browser(authority: &Authority, alpn: &[&[u8]], shown: Option<Arc<dyn ResolvesClientCert>>) -> WebClient {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(shown) => config.with_client_cert_resolver(shown),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    WebClient { config: Arc::new(config) }
}

/// Says something in both directions.
fn talk(server: Stream, client: Stream) {
    let ((mut at_server, mut from_server), (mut at_client, mut from_client)) = (server.split(), client.split());
    let mut heard = [0; 4];
    from_client.write_all(b"ping").unwrap();
    at_server.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
    from_server.write_all(b"pong").unwrap();
    at_client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"pong");
}

fn inside(stream: &Stream) -> Inside {
    stream.tls().unwrap().inside()
}

fn shown_by(stream: &Stream) -> Option<&[u8]> {
    stream.tls().unwrap().peer_spki()
}

#[test]
fn both_ends_of_our_own_protocol_prove_their_keys() {
    let (own, peer) = (identity(), identity());
    let server = ServerTls::ours(&own).unwrap();
    let expected = own.spki().to_vec();
    let (at_server, at_client) =
        shake(&server, |stream| stream.connect_tls(&peer, Arc::new(move |spki| spki == expected), LIMIT));
    let (at_server, at_client) = (at_server.unwrap(), at_client.unwrap());
    assert_eq!((inside(&at_server), inside(&at_client)), (Inside::Landline, Inside::Landline));
    assert_eq!((shown_by(&at_server), shown_by(&at_client)), (Some(peer.spki()), Some(own.spki())));
    talk(at_server, at_client);
    let (_, at_client) = shake(&server, |stream| stream.connect_tls(&peer, Arc::new(|_| false), LIMIT));
    assert!(matches!(at_client, Err(HandshakeError::Untrusted)), "{at_client:?}");
}

#[test]
fn a_client_of_the_web_needs_no_certificate() {
    let authority = Authority::new();
    let issued = authority.issue("files.test");
    // Some offer HTTP, some nothing, and browsers offer more than this server speaks.
    for alpn in [&[ALPN_HTTP][..], &[], &[b"h2", ALPN_HTTP]] {
        let client = browser(&authority, alpn, None);
        let (at_server, at_client) = shake(&issued.server(), |stream| stream.connect_web("files.test", &client, LIMIT));
        let (at_server, at_client) = (at_server.unwrap(), at_client.unwrap());
        assert_eq!((inside(&at_server), shown_by(&at_server)), (Inside::Http, None));
        talk(at_server, at_client);
    }
    let (at_server, at_client) =
        shake(&issued.server(), |stream| stream.connect_web("files.test", &authority.client(), LIMIT));
    assert_eq!((inside(&at_server.unwrap()), inside(&at_client.unwrap())), (Inside::Http, Inside::Http));
}

/// Keeps the names of the issuers that it was asked for.
#[derive(Debug)]
struct Asked {
    shown: Option<Arc<CertifiedKey>>,
    issuers: Mutex<Vec<Vec<u8>>>,
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.issuers.lock().unwrap().extend(issuers.iter().map(|issuer| issuer.to_vec()));
        self.shown.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[test]
fn a_certificate_is_asked_for_by_the_name_that_all_identities_bear() {
    let authority = Authority::new();
    let (issued, peer) = (authority.issue("files.test"), identity());
    for shown in [None, Some(Arc::clone(peer.key()))] {
        let is_shown = shown.is_some();
        let asked = Arc::new(Asked { shown, issuers: Mutex::default() });
        let client = browser(&authority, &[ALPN_HTTP], Some(Arc::clone(&asked) as Arc<dyn ResolvesClientCert>));
        let (at_server, at_client) = shake(&issued.server(), |stream| stream.connect_web("files.test", &client, LIMIT));
        let (at_server, at_client) = (at_server.unwrap(), at_client.unwrap());
        assert_eq!(shown_by(&at_server), is_shown.then_some(peer.spki()), "its key is proved, and nothing else asked");
        talk(at_server, at_client);
        // The server's identity is another one than the client's: they share the name.
        let names: Vec<Vec<u8>> = peer.issuers().unwrap().iter().map(|name| name.as_ref().to_vec()).collect();
        assert_eq!(*asked.issuers.lock().unwrap(), names);
        assert_eq!(names.len(), 1);
    }
}

#[test]
fn one_port_speaks_both_and_the_first_message_says_which() {
    let authority = Authority::new();
    let (own, peer, issued) = (identity(), identity(), authority.issue("files.test"));
    let certificates = WebCertificates::new(issued.certificate(), Vec::new());
    let server = ServerTls::ours_and_web(&own, &certificates).unwrap();

    let (at_server, at_client) = shake(&server, |stream| stream.connect_tls(&peer, Arc::new(|_| true), LIMIT));
    let (at_server, at_client) = (at_server.unwrap(), at_client.unwrap());
    assert_eq!((inside(&at_server), shown_by(&at_server)), (Inside::Landline, Some(peer.spki())));
    assert_eq!(shown_by(&at_client), Some(own.spki()));
    talk(at_server, at_client);

    for alpn in [&[ALPN_HTTP][..], &[]] {
        let client = browser(&authority, alpn, None);
        let (at_server, at_client) = shake(&server, |stream| stream.connect_web("files.test", &client, LIMIT));
        let (at_server, at_client) = (at_server.unwrap(), at_client.unwrap());
        assert_eq!((inside(&at_server), shown_by(&at_server)), (Inside::Http, None));
        assert_eq!(shown_by(&at_client), Some(&issued.spki[..]));
        talk(at_server, at_client);
    }

    let client = browser(&authority, &[b"h2"], None);
    let (at_server, at_client) = shake(&server, |stream| stream.connect_web("files.test", &client, LIMIT));
    for end in [at_server, at_client] {
        assert!(matches!(end, Err(HandshakeError::OtherProtocol(_))), "{end:?}");
    }
}

#[test]
fn a_server_of_our_own_protocol_can_tell_a_client_that_offers_nothing() {
    let authority = Authority::new();
    let peer = identity();
    let asked = Arc::new(Asked { shown: Some(Arc::clone(peer.key())), issuers: Mutex::default() });
    let own = identity();
    let mut client = browser(&authority, &[], Some(asked));
    let mut config = ClientConfig::clone(&client.config);
    config.dangerous().set_certificate_verifier(Arc::new(KeyOnly::of_server(Arc::new(|_| true))));
    client.config = Arc::new(config);
    let (at_server, _) = shake(&ServerTls::ours(&own).unwrap(), |stream| stream.connect_web("any", &client, LIMIT));
    assert_eq!(inside(&at_server.unwrap()), Inside::Unsaid);
}

#[test]
fn the_name_chooses_the_certificate_and_a_renewed_one_is_shown_at_once() {
    let authority = Authority::new();
    let [first, second, renewed] = ["a.test", "*.b.test", "*.b.test"].map(|name| authority.issue(name));
    let certificates = WebCertificates::new(first.certificate(), vec![second.certificate()]);
    let server = ServerTls::web(&identity(), &certificates).unwrap();
    let shown = |name: &str| {
        let (_, at_client) = shake(&server, |stream| stream.connect_web(name, &authority.client(), LIMIT));
        at_client.map(|stream| shown_by(&stream).unwrap().to_vec())
    };
    assert_eq!(shown("a.test").unwrap(), first.spki);
    assert_eq!(shown("files.b.test").unwrap(), second.spki);
    let other = shown("c.test");
    let Err(HandshakeError::Certificate { fault: CertificateFault::WrongName, why }) = other else {
        panic!("the first one is for no other name: {other:?}")
    };
    assert!(why.contains("c.test"), "{why}");
    certificates.replace(first.certificate(), vec![renewed.certificate()]);
    assert_eq!(shown("files.b.test").unwrap(), renewed.spki);
}

#[test]
fn a_client_of_the_web_refuses_what_the_web_would() {
    let (authority, other) = (Authority::new(), Authority::called("another authority"));
    let refused = |issued: &Issued, name: &str, client: &WebClient| {
        let (_, at_client) = shake(&issued.server(), |stream| stream.connect_web(name, client, LIMIT));
        match at_client {
            Err(HandshakeError::Certificate { fault, .. }) => fault,
            end => panic!("{end:?}"),
        }
    };
    let client = authority.client();
    assert_eq!(refused(&authority.issue("a.test"), "b.test", &client), CertificateFault::WrongName);
    assert_eq!(refused(&authority.issue("a.test"), "127.0.0.1", &client), CertificateFault::WrongName);
    assert_eq!(refused(&authority.issue_for((2000, 2001), "a.test"), "a.test", &client), CertificateFault::Expired);
    assert_eq!(refused(&authority.issue_for((9000, 9001), "a.test"), "a.test", &client), CertificateFault::NotYetValid);
    assert_eq!(refused(&other.issue("a.test"), "a.test", &client), CertificateFault::UnknownIssuer);
    let mistake = shake(&authority.issue("a.test").server(), |stream| stream.connect_web("a b", &client, LIMIT)).1;
    assert!(matches!(&mistake, Err(HandshakeError::Failed(why)) if why.contains("\"a b\"")), "{mistake:?}");
}

#[test]
fn an_address_is_a_name_too() {
    let authority = Authority::new();
    let (_, at_client) = shake(&authority.issue("127.0.0.1").server(), |stream| {
        stream.connect_web("127.0.0.1", &authority.client(), LIMIT)
    });
    assert_eq!(inside(&at_client.unwrap()), Inside::Http);
}

#[test]
fn a_pinned_key_is_checked_beside_the_certificate() {
    let authority = Authority::new();
    let issued = authority.issue("a.test");
    for (pinned, is_right) in [(issued.spki.clone(), true), (identity().spki().to_vec(), false)] {
        let trust = authority.trust().pinned(Arc::new(move |spki| spki == pinned));
        let client = WebClient::new(trust).unwrap();
        let (_, at_client) = shake(&issued.server(), |stream| stream.connect_web("a.test", &client, LIMIT));
        assert_eq!(at_client.is_ok(), is_right, "{at_client:?}");
        assert!(is_right || matches!(at_client, Err(HandshakeError::Untrusted)));
    }
}

#[test]
fn a_key_alone_is_enough_where_it_is_known() {
    let own = identity();
    let server = ServerTls::web(&own, &WebCertificates::new(WebCertificate::own(&own), Vec::new())).unwrap();
    for (pinned, is_right) in [(own.spki().to_vec(), true), (identity().spki().to_vec(), false)] {
        let trust = WebTrust::key_alone(Arc::new(move |spki| spki == pinned));
        let client = WebClient::new(trust).unwrap();
        let (_, at_client) = shake(&server, |stream| stream.connect_web("127.0.0.1", &client, LIMIT));
        assert_eq!(at_client.is_ok(), is_right, "{at_client:?}");
        assert!(is_right || matches!(at_client, Err(HandshakeError::Untrusted)));
    }
    // With an authority beside it, both count.
    let spki = own.spki().to_vec();
    let trust = WebTrust::key_alone(Arc::new(move |found| found == spki));
    let client = WebClient::new(trust.and_pem(Authority::new().pem.as_bytes()).unwrap()).unwrap();
    let (_, at_client) = shake(&server, |stream| stream.connect_web("127.0.0.1", &client, LIMIT));
    assert!(matches!(at_client, Err(HandshakeError::Certificate { .. } | HandshakeError::Failed(_))), "{at_client:?}");
}

#[test]
fn a_client_of_the_web_shows_a_certificate_if_it_has_one() {
    let (authority, own) = (Authority::new(), identity());
    let issued = authority.issue("a.test");
    let client = WebClient::showing(authority.trust(), Some(&WebCertificate::own(&own))).unwrap();
    let (at_server, at_client) = shake(&issued.server(), |stream| stream.connect_web("a.test", &client, LIMIT));
    let (at_server, at_client) = (at_server.unwrap(), at_client.unwrap());
    assert_eq!(shown_by(&at_server), Some(own.spki()));
    assert!(at_client.tls().unwrap().described().starts_with("TLSv1_3, TLS13_AES_128_GCM_SHA256, X25519MLKEM768"));
    talk(at_server, at_client);
}

#[test]
fn only_a_client_of_the_web_speaks_an_older_tls() {
    let authority = Authority::new();
    let issued = authority.issue("old.test");
    let chain = vec![CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let old_server = |client: &dyn Fn(Stream) -> Shaken| {
        let (here, there) = UnixStream::pair().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), there);
                let mut heard = [0; 4];
                // A client that speaks no older one is gone by now.
                if stream.read_exact(&mut heard).is_ok() {
                    stream.write_all(&heard).unwrap();
                }
            });
            let stream = client(Stream::from(here))?;
            let ((mut reader, mut writer), mut heard) = (stream.split(), [0; 4]);
            writer.write_all(b"ping").unwrap();
            reader.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"ping");
            Ok::<_, HandshakeError>(())
        })
    };
    old_server(&|stream| stream.connect_web("old.test", &authority.client(), LIMIT)).unwrap();
    let own = identity();
    let refused = old_server(&|stream| stream.connect_tls(&own, Arc::new(|_| true), LIMIT));
    assert!(matches!(refused, Err(HandshakeError::Failed(_))), "{refused:?}");
    // Nor does our server for the web: no browser needs it.
    let (here, there) = UnixStream::pair().unwrap();
    let only_12 = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("old.test").unwrap();
    let server = issued.server();
    thread::scope(|scope| {
        let serving = scope.spawn(|| Stream::from(there).accept_tls(&[], &server, LIMIT));
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(only_12), name).unwrap(), here);
        stream.write_all(b"ping").unwrap_err();
        assert!(matches!(serving.join().unwrap(), Err(HandshakeError::Failed(_))));
    });
}

#[test]
fn a_chain_and_a_key_that_do_not_belong_together_are_refused() {
    let authority = Authority::new();
    let (one, other) = (authority.issue("a.test"), authority.issue("a.test"));
    for (chain, key, says) in [
        (one.chain.as_str(), other.key.as_str(), "the key and the certificate"),
        ("", one.key.as_str(), "the certificate chain: there is no certificate in it"),
        (one.chain.as_str(), "", "the private key"),
    ] {
        let error = WebCertificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
    let error = WebTrust::none().and_pem(b"").unwrap_err().to_string();
    assert_eq!(error, "the root certificates: there is no certificate in them");
    let error = WebClient::new(WebTrust::none()).unwrap_err().to_string();
    assert!(error.starts_with("the root certificates: "), "{error}");
}

#[test]
fn the_own_certificate_is_shown_to_the_web_where_no_other_is_given() {
    let own = identity();
    let server = ServerTls::web(&own, &WebCertificates::new(WebCertificate::own(&own), Vec::new())).unwrap();
    let authority = Authority::new();
    let (_, at_client) = shake(&server, |stream| stream.connect_web("a.test", &authority.client(), LIMIT));
    assert!(
        matches!(at_client, Err(HandshakeError::Certificate { fault: CertificateFault::UnknownIssuer, .. })),
        "a browser warns of it: {at_client:?}"
    );
}

#[test]
fn this_machine_has_roots_or_says_that_it_has_none() {
    match WebTrust::of_this_machine() {
        Ok(trust) => assert!(WebClient::new(trust).is_ok()),
        Err(error) => assert!(error.to_string().starts_with("this machine's root certificates: "), "{error}"),
    }
}
