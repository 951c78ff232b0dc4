//! A web page on a name of its own that has come to mean this machine (DNS rebinding), in a real Chromium: what
//! it can make the browser send reaches no shell and no file.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::listen::serve_all;
use crate::harness::skip::skip;
use crate::harness::{DEADLINE, Server};

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Every request that a page can think of, each with a command in it; then a word to `done`.
const PAGE: &str = r#"<!doctype html><title>x</title><script>
const evil = ";touch${IFS}pwned;", long = "a".repeat(60000), limit = () => ({ signal: AbortSignal.timeout(30000) });
const all = [
  ["/x?" + evil, "PROPFIND"], ["/" + evil, "patch"], ["/" + evil, "M4DE-UP!"], ["/" + evil, "P"],
  ["/" + evil, "GET"], ["/" + evil + long, "MKCOL"], ["/", "x|touch$IFS$9pwned|y"],
  ["/", "x|touch$IFS$9pwned|" + "A".repeat(60000)],
].map(([path, method]) => fetch(path, { method, ...limit() }));
all.push(fetch("/", { method: "POST", body: "touch pwned\n", headers: { "content-type": "text/plain" }, ...limit() }));
all.push(fetch("/", { method: "LOCK", body: new Blob(["\r\n\r\ntouch pwned"]), ...limit() }));
all.push(new Promise(end => { new WebSocket("ws://" + location.host + "/" + evil).onclose = end }));
Promise.allSettled(all).then(() => fetch("http://done.test:DONE/", { mode: "no-cors" }));
</script>"#;

/// The page's own server until the page is there, and landline's from then on, as the name's address changes.
struct Rebound {
    port: u16,
    forwarded: Arc<Mutex<Vec<u8>>>,
}

fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let serve = Arc::new(serve);
    let address = serve_all(move |stream| {
        let serve = Arc::clone(&serve);
        thread::spawn(move || serve(stream));
    });
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

impl Rebound {
    fn to(server: &Server, done: u16) -> Self {
        let (to, page) = (server.address().to_owned(), PAGE.replace("DONE", &done.to_string()));
        let forwarded = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&forwarded);
        let port = listen(move |mut browser| {
            let mut first = vec![0; 64 * 1024];
            let len = browser.read(&mut first).unwrap_or(0);
            let first = &first[..len];
            if first.starts_with(b"GET /page ") {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: ";
                let _ = write!(browser, "{head}{}\r\n\r\n{page}", page.len());
                return;
            }
            forward(browser, first, &to, &seen);
        });
        Self { port, forwarded }
    }
}

/// Both ways, as far as each end takes it.
fn forward(mut browser: TcpStream, first: &[u8], to: &str, seen: &Mutex<Vec<u8>>) {
    seen.lock().unwrap().extend_from_slice(first);
    let mut landline = TcpStream::connect(to).unwrap();
    let _ = landline.write_all(first);
    let (mut from, mut back) = (landline.try_clone().unwrap(), browser.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut browser, &mut landline);
    let _ = landline.shutdown(Shutdown::Write);
}

/// A browser; ended with all its processes when it is dropped.
struct Browser(Child);

impl Browser {
    fn open(url: &str, home: &std::path::Path) -> Option<Self> {
        let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"];
        BROWSERS.iter().find_map(|name| {
            let mut command = Command::new(name);
            command.args(flags).arg(format!("--user-data-dir={}", home.display())).env("HOME", home);
            command.args(["--host-resolver-rules=MAP * 127.0.0.1", "--proxy-server=direct://", url]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
            command.spawn().ok().map(Self)
        })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

fn told() -> (impl Fn(TcpStream) + Send + Sync + 'static, Receiver<()>) {
    let (sender, receiver): (Sender<()>, _) = channel();
    let sender = Mutex::new(sender);
    let serve = move |stream: TcpStream| {
        let _ = (&stream).read(&mut [0; 1024]);
        let _ = sender.lock().unwrap().send(());
    };
    (serve, receiver)
}

#[test]
fn no_page_in_a_real_browser_reaches_a_shell() {
    let server = Server::with(&["--guest", "exec", "--wire", "raw", "--reply", "exec"]);
    let (serve, done) = told();
    let rebound = Rebound::to(&server, listen(serve));
    let home = tempfile::tempdir().unwrap();
    let url = format!("http://rebound.test:{}/page", rebound.port);
    let Some(_browser) = Browser::open(&url, home.path()) else {
        skip(&format!("{} is not installed", BROWSERS[0]));
        return;
    };
    done.recv_timeout(DEADLINE).expect("the page ends");
    let seen = String::from_utf8_lossy(&rebound.forwarded.lock().unwrap()).into_owned();
    for method in ["PROPFIND", "patch", "M4DE-UP!", "P", "GET", "MKCOL", "x|touch$IFS$9pwned|y", "POST", "LOCK"] {
        assert!(seen.contains(&format!("{method} /")), "the browser has sent {method}: {seen}");
    }
    assert!(server.names("").is_empty(), "{:?}\n{seen}", server.names(""));
}
