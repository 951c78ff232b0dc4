//! This user's key pair on this machine, and the fingerprints of keys.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use sha2::{Digest as _, Sha256};

use super::home::{Home, HomeError};
use crate::net::tls::{Credentials, CredentialsError};

/// The file in the home: the private key (PKCS#8) and its certificate, one PEM after the other, so that they are
/// created together and any TLS program can use the file.
pub const FILE: &str = "identity.pem";

/// The fingerprint of a public key: the SHA-256 digest of its SPKI (RFC 5280, 4.1.2.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a public key, given as SPKI in DER.
    pub fn of_spki(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// The fingerprint with these 32 bytes.
    pub const fn of_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    /// `SHA256:` and unpadded base64, as ssh writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fingerprint; it looks like SHA256: and 43 characters of base64")]
pub struct NoFingerprint(String);

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    /// Accepts base64 with or without padding.
    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let digest = text.strip_prefix("SHA256:").and_then(|base64| {
            let engine = if base64.ends_with('=') { STANDARD } else { STANDARD_NO_PAD };
            engine.decode(base64).ok()
        });
        let digest = digest.and_then(|digest| digest.try_into().ok());
        digest.map(Self).ok_or_else(|| NoFingerprint(text.to_owned()))
    }
}

/// The identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The file is not a key and its certificate.
    #[error(
        "{path}: {source}; put the file back from a copy, or move it away to begin with a new identity, \
         which nobody knows yet"
    )]
    Unreadable {
        /// The file's path.
        path: String,
        /// What is wrong with it.
        source: CredentialsError,
    },
    /// No key could be made.
    #[error("no key could be made: {0}")]
    Made(#[from] rcgen::Error),
}

/// The name in the certificate of every identity: only the key counts.
pub const OWN_CERTIFICATE_NAME: &str = "landline";

/// This user's key pair.
#[derive(Debug, Clone)]
pub struct Identity {
    credentials: Credentials,
    fingerprint: Fingerprint,
    derived: zeroize::Zeroizing<[u8; 32]>,
}

impl Identity {
    /// The identity in `home`, made if there is none yet. If two programs make one at the same time, both get the
    /// first.
    ///
    /// # Errors
    /// [`IdentityError`]. An existing identity is never overwritten.
    pub fn of(home: &Home) -> Result<Self, IdentityError> {
        let pem = if let Some(pem) = home.read_secret(FILE)? {
            pem
        } else {
            home.create(FILE, make()?.as_bytes())?;
            home.read_secret(FILE)?.unwrap_or_default()
        };
        let path = || home.join(FILE).display().to_string();
        let credentials =
            Credentials::from_pem(&pem).map_err(|source| IdentityError::Unreadable { path: path(), source })?;
        let fingerprint = Fingerprint::of_spki(credentials.spki());
        let derived = blake3::derive_key("landline 2026-11 secrets of an identity", &pem);
        Ok(Self { credentials, fingerprint, derived: derived.into() })
    }

    /// The key and certificate, for handshakes.
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The SHA-256 of the certificate, as browsers show it: hexadecimal digits with colons.
    pub fn certificate_fingerprint(&self) -> String {
        let digest = Sha256::digest(self.credentials.certificate());
        digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }

    /// A secret that only this identity has and that does not change: what other keys are derived from.
    pub fn derived_secret(&self) -> zeroize::Zeroizing<[u8; 32]> {
        self.derived.clone()
    }

    /// The key's fingerprint.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// A new key and a self-signed certificate for it. The certificate names no subject: only the key counts.
fn make() -> Result<zeroize::Zeroizing<String>, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, OWN_CERTIFICATE_NAME);
    // RFC 5280, 4.1.2.5: this date means that the certificate does not expire.
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let certificate = params.self_signed(&key)?.pem();
    Ok(zeroize::Zeroizing::new(key.serialize_pem() + &certificate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn home(dir: &tempfile::TempDir) -> Home {
        Home::open(Some(&dir.path().join("home"))).unwrap()
    }

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::of(&home(&dir)).unwrap();
        assert_eq!(Identity::of(&home(&dir)).unwrap().fingerprint(), first.fingerprint());
        let mode = std::fs::metadata(home(&dir).join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn sixteen_programs_that_start_at_once_share_one_identity() {
        let dir = tempfile::tempdir().unwrap();
        let made: Vec<Fingerprint> = std::thread::scope(|scope| {
            let starting: Vec<_> =
                (0..16).map(|_| scope.spawn(|| Identity::of(&home(&dir)).unwrap().fingerprint())).collect();
            starting.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|fingerprint| *fingerprint == made[0]), "{made:?}");
        assert_eq!(std::fs::read_dir(dir.path().join("home")).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_broken_identity_is_an_error_and_not_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let own = home(&dir);
        Identity::of(&own).unwrap();
        let pem = String::from_utf8(own.read(FILE).unwrap().unwrap()).unwrap();
        let other = make().unwrap();
        let certificate = |pem: &str| pem.split_inclusive("-----END PRIVATE KEY-----\n").nth(1).map(str::to_owned);
        let mixed = pem.replace(&certificate(&pem).unwrap(), &certificate(&other).unwrap());
        for broken in ["", "garbage", pem.split_at(pem.len() / 2).0, &mixed] {
            own.replace(FILE, broken.as_bytes()).unwrap();
            let error = Identity::of(&own).unwrap_err().to_string();
            assert!(error.contains("identity.pem"), "{error}");
            assert_eq!(own.read(FILE).unwrap().unwrap(), broken.as_bytes(), "it was not touched");
        }
    }

    #[test]
    fn a_fingerprint_reads_as_it_is_written() {
        let fingerprint = Fingerprint::of_spki(b"abc");
        let text = "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";
        assert_eq!(fingerprint.to_string(), text, "FIPS 180-4's example");
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(format!("{text}=").parse(), Ok(fingerprint));
        for wrong in ["", "SHA256:", "MD5:00", "SHA256:ungWv48Bz", text.split_at(1).1, &format!("{text}A")] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
