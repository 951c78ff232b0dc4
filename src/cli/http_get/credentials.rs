//! Secrets: from files that only their owner can read, and from the environment. Never from the command line, which
//! every user of the machine can read in the list of processes.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ::http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::args::Args;
use crate::cli::usage::usage;
use crate::error::Error;
use crate::http::client::Url;
use crate::trust::home::check_private_file;

/// Longest file of secrets, in bytes.
const SECRETS_LEN_MAX: u64 = 1024 * 1024;

/// Holds the token itself.
const TOKEN_VARIABLE: &str = "LANDLINE_HTTP_TOKEN";
/// Holds `NAME:PASSWORD`.
const USER_VARIABLE: &str = "LANDLINE_HTTP_USER";
/// Names the host, or the host and the port, that the other two are for: every run has them, whatever its URL.
const HOST_VARIABLE: &str = "LANDLINE_HTTP_HOST";

/// The fields that a request has: those that anyone may see, and those that only its origin may.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) open: HeaderMap,
    pub(super) secret: HeaderMap,
}

/// The fields of `--header`.
///
/// # Errors
/// One is none, or a secret stands on the command line.
pub(super) fn given(args: &Args) -> anyhow::Result<Fields> {
    let mut fields = Fields::default();
    for given in &args.header {
        if let Some(path) = given.strip_prefix('@') {
            let text = read_secret(Path::new(path))?;
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (name, value) =
                    field(line).map_err(|why| usage(format!("{path}: a line of it {why}; each is NAME: VALUE")))?;
                fields.secret.append(name, value);
            }
            continue;
        }
        let (name, value) =
            field(given).map_err(|why| usage(format!("--header {given:?} {why}; write NAME: VALUE")))?;
        if [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(&name) {
            return Err(usage(format!(
                "{name} holds a secret, and every user of this machine can read the command line: write the line into \
                 a file and say --header @FILE, or use --token-file or --user-file"
            )));
        }
        fields.open.append(name, value);
    }
    Ok(fields)
}

fn field(line: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = line.split_once(':').ok_or("has no colon")?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_bad| "has no name that a field can have")?;
    let value =
        HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_bad| "has a value that no field can have")?;
    if [::http::header::CONTENT_LENGTH, ::http::header::TRANSFER_ENCODING, ::http::header::CONNECTION].contains(&name) {
        return Err("says where messages end, which is the program's business");
    }
    Ok((name, value))
}

/// The value of `Authorization` for `url`; `None`: none is known.
///
/// # Errors
/// A file cannot be read, or others can read it; the environment has a secret and does not say which host it is for.
pub(super) fn authorization(args: &Args, url: &Url) -> anyhow::Result<Option<HeaderValue>> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty()).map(Zeroizing::new);
    let first_line = |text: &str| Zeroizing::new(text.lines().next().unwrap_or_default().trim().to_owned());
    if let Some(path) = &args.token_file {
        return bearer(&first_line(&read_secret(path)?)).map(Some);
    }
    if let Some(path) = &args.user_file {
        return basic(&first_line(&read_secret(path)?)).map(Some);
    }
    if let Some(path) = &args.netrc_file
        && let Some((login, password)) = in_netrc(&read_secret(path)?, &url.origin().host)
    {
        return basic(&format!("{login}:{password}")).map(Some);
    }
    let (name, secret) = match (variable(TOKEN_VARIABLE), variable(USER_VARIABLE)) {
        (Some(token), _) => (TOKEN_VARIABLE, bearer(&token)?),
        (None, Some(user)) => (USER_VARIABLE, basic(&user)?),
        (None, None) => return Ok(None),
    };
    let Some(host) = variable(HOST_VARIABLE) else {
        return Err(usage(format!("{name} is set, and not which host it is for; set {HOST_VARIABLE} to HOST[:PORT]")));
    };
    Ok(is_host_of(&host, url).then_some(secret))
}

fn is_host_of(host: &str, url: &Url) -> bool {
    let origin = url.origin();
    [&origin.host, &origin.host_and_port()].into_iter().any(|own| own.eq_ignore_ascii_case(host))
}

fn bearer(token: &str) -> anyhow::Result<HeaderValue> {
    if token.is_empty() {
        return Err(usage("the token is empty"));
    }
    secret_value(&Zeroizing::new(format!("Bearer {token}")))
}

fn basic(user: &str) -> anyhow::Result<HeaderValue> {
    if !user.contains(':') {
        return Err(usage("a user and a password are written NAME:PASSWORD, on one line"));
    }
    secret_value(&Zeroizing::new(format!("Basic {}", BASE64.encode(user))))
}

fn secret_value(value: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value).map_err(|_bad| usage("the token has a character that none has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a file that only its owner can read.
///
/// # Errors
/// Others can, it is too long, or no text.
pub(super) fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let shown = || path.display().to_string();
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(Error::ours(shown()))?;
    check_private_file(path, &file.metadata().map_err(Error::ours(shown()))?, 0o600)?;
    #[expect(clippy::disallowed_methods, reason = "it is read through take")]
    file.take(SECRETS_LEN_MAX + 1).read_to_end(&mut bytes).map_err(Error::ours(shown()))?;
    if bytes.len() as u64 > SECRETS_LEN_MAX {
        return Err(usage(format!("{}: has over {SECRETS_LEN_MAX} bytes", shown())));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(usage(format!("{}: is no text", shown()))),
    }
}

/// The login and the password of `host` in a file as of ftp(1): `machine`, `login`, `password`, `default`; what stands
/// behind `macdef` goes to the next empty line.
fn in_netrc<'t>(text: &'t str, host: &str) -> Option<(&'t str, &'t str)> {
    let mut words = Vec::new();
    let mut is_macro = false;
    for line in text.lines() {
        if is_macro {
            is_macro = !line.trim().is_empty();
            continue;
        }
        is_macro = line.split_whitespace().any(|word| word == "macdef");
        words.extend(line.split_whitespace().take_while(|word| !word.starts_with('#') && *word != "macdef"));
    }
    let mut words = words.into_iter();
    let (mut is_right, mut login, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" => {
                if is_right && password.is_some() {
                    break;
                }
                is_right = word == "default" || words.next().is_some_and(|name| name.eq_ignore_ascii_case(host));
                (login, password) = (None, None);
            }
            "login" => login = words.next(),
            "password" => password = words.next(),
            "account" => drop(words.next()),
            _ => {}
        }
    }
    if is_right { Some((login.unwrap_or_default(), password?)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_logins_is_read_as_ftp_does() {
        let text = "# mine\nmachine a.example login ann password pa#s\nmacdef init\nmachine b.example password no\n\n\
                    machine B.example\n  login bob\n  account x\n  password pw\ndefault login anonymous password me";
        for (host, want) in [
            ("a.example", Some(("ann", "pa#s"))),
            ("b.example", Some(("bob", "pw"))),
            ("c.example", Some(("anonymous", "me"))),
        ] {
            assert_eq!(in_netrc(text, host), want, "{host}");
        }
        assert_eq!(in_netrc("machine a login x", "a"), None);
        assert_eq!(in_netrc("machine a login x password y", "b"), None);
    }

    #[test]
    fn a_secret_of_the_environment_is_for_one_host() {
        for (host, url, want) in [
            ("a.example", "https://a.example/x", true),
            ("A.Example", "https://a.example:8443/", true),
            ("a.example:8443", "https://a.example:8443/", true),
            ("a.example:8443", "https://a.example/", false),
            ("a.example", "https://b.a.example/", false),
            ("a.example", "https://a.example.org/", false),
            ("a.example", "https://b/a.example", false),
            ("*", "https://a.example/", false),
        ] {
            assert_eq!(is_host_of(host, &Url::parse(url).unwrap()), want, "{host} {url}");
        }
    }

    #[test]
    fn fields_are_what_http_has() {
        assert!(field("X-A: b: c ").is_ok_and(|(name, value)| name == "x-a" && value == "b: c"));
        assert!(field("X-A:").is_ok());
        for bad in ["x", "a b: c", ": x", "x: a\r\nY: b", "Content-Length: 5", "transfer-encoding: chunked"] {
            assert!(field(bad).is_err(), "{bad}");
        }
    }
}
