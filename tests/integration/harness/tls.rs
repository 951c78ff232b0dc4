//! TLS on the test's side, made with rustls alone and not with the library: a client that can stop in
//! the middle of a handshake, leave without a farewell, or change its keys when it likes.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};
use socket2::SockRef;

use crate::harness::frames::Raw;
use crate::harness::{Server, own_home};

/// An encrypted connection of a test.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection of either kind.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

/// A kind of connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Over {
    Plain,
    /// With the key in the home that all tests share: the server's own.
    Tls,
}

impl Over {
    /// Connected, with no frame sent.
    pub(crate) fn connect(self, server: &Server) -> Raw<Wire> {
        let socket = server.connect();
        socket.set_nodelay(true).unwrap();
        let stream = match self {
            Self::Plain => Wire::Plain(socket),
            Self::Tls => Wire::Tls(Box::new(Client::own().shake_hands(socket).unwrap())),
        };
        Raw { stream }
    }

    /// Connected and greeted.
    pub(crate) fn open(self, server: &Server) -> Raw<Wire> {
        let mut raw = self.connect(server);
        raw.greet();
        raw
    }
}

impl Raw<Wire> {
    pub(crate) fn socket(&self) -> &TcpStream {
        match &self.stream {
            Wire::Plain(socket) => socket,
            Wire::Tls(tls) => &tls.sock,
        }
    }

    /// Says that nothing more will come, in the words that the wire has for it.
    pub(crate) fn end(&mut self) {
        if let Wire::Tls(tls) = &mut self.stream {
            say_farewell(tls);
        }
        self.cut();
    }

    /// Sends nothing more, without a word about it.
    pub(crate) fn cut(&self) {
        // The server may have closed first.
        drop(self.socket().shutdown(Shutdown::Write));
    }

    /// Goes away as a machine does that was switched off and on again.
    pub(crate) fn reset(self) {
        SockRef::from(self.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Takes little of what comes, so that the other end notices soon.
    pub(crate) fn small_window(&self) {
        SockRef::from(self.socket()).set_recv_buffer_size(4096).unwrap();
    }
}

impl Read for Wire {
    fn read(&mut self, dest: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(dest),
            Self::Tls(tls) => tls.read(dest),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write_vectored(slices),
            Self::Tls(tls) => tls.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// Sends `close_notify`, if the other end still takes it.
pub(crate) fn say_farewell(tls: &mut Tls) {
    tls.conn.send_close_notify();
    send_records(tls);
}

/// Asks for new keys in both directions.
pub(crate) fn change_keys(tls: &mut Tls) {
    tls.conn.refresh_traffic_keys().unwrap();
    send_records(tls);
}

fn send_records(tls: &mut Tls) {
    while tls.conn.wants_write() && tls.conn.write_tls(&mut tls.sock).is_ok() {}
}

/// How a test's client shakes hands.
pub(crate) struct Client {
    /// Whose key it has; `None`: it shows no certificate.
    pub(crate) home: Option<PathBuf>,
    /// What it offers to speak inside.
    pub(crate) protocols: Vec<&'static str>,
}

impl Client {
    /// With the key that all programs of all tests share.
    pub(crate) fn own() -> Self {
        Self { home: Some(own_home()), protocols: vec!["landline/1"] }
    }

    /// A connection that has sent nothing yet.
    pub(crate) fn connection(&self) -> ClientConnection {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyKey(provider)));
        let mut config = match &self.home {
            None => config.with_no_client_auth(),
            Some(home) => {
                let (certificate, key) = key_in(home);
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        ClientConnection::new(Arc::new(config), ServerName::try_from("server.invalid").unwrap()).unwrap()
    }

    /// Its first message: the records of a `ClientHello`.
    pub(crate) fn client_hello(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.connection().write_tls(&mut bytes).unwrap();
        bytes
    }

    /// Shakes hands to the end, as a client sees it: a server that refuses may say so later.
    pub(crate) fn shake_hands(&self, mut socket: TcpStream) -> io::Result<Tls> {
        socket.set_nodelay(true).unwrap();
        let mut connection = self.connection();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }
}

fn key_in(home: &Path) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let file = home.join("identity.pem");
    (CertificateDer::from_pem_file(&file).unwrap(), PrivateKeyDer::from_pem_file(&file).unwrap())
}

/// Takes any server that owns the key it shows.
#[derive(Debug)]
struct AnyKey(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
