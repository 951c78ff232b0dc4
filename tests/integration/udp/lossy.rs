//! A network that misbehaves by a seed: a proxy that drops, duplicates, delays and reorders datagrams, each direction by
//! itself, and writes down what it did. What `ping` measures has to be that, exactly.

use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many of 1,000 datagrams of one direction meet each fate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    pub(super) seed: u64,
    pub(super) drops: u64,
    pub(super) duplicates: u64,
    /// Passed on behind the next 1 to 8 datagrams, or when nothing comes.
    pub(super) overtaken: u64,
    /// Passed on after `delay`; only probes up to number `delayed_to`, so that it happens while the client listens.
    pub(super) delays: u64,
    pub(super) delay: Duration,
    pub(super) delayed_to: u64,
    /// Longer ones vanish, as on a path where ICMP is filtered; `None`: none does.
    pub(super) len_max: Option<usize>,
}

/// A datagram that was passed on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    /// What the order of this direction is measured by: the probe's number, or that of the reply.
    pub(super) identity: u64,
    /// The probe's number.
    pub(super) probe: u64,
    pub(super) is_delayed: bool,
}

/// What one direction did with probes.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) came: u64,
    pub(super) dropped: u64,
    pub(super) duplicated: u64,
    pub(super) passed: Vec<Passed>,
}

impl Log {
    /// The first copies of what was passed on, by `key`.
    pub(super) fn first_copies(&self, key: impl Fn(&Passed) -> u64) -> Vec<Passed> {
        let mut seen = BTreeSet::new();
        self.passed.iter().filter(|passed| seen.insert(key(passed))).copied().collect()
    }
}

/// The numbers that arrive after a higher one, each with its extent: RFC 4737, 3.3 and 4.2.1, as it is written there.
pub(super) fn reordered(numbers: &[u64]) -> Vec<usize> {
    let extent = |at: usize| numbers[..at].iter().position(|earlier| *earlier > numbers[at]).map(|first| at - first);
    (0..numbers.len()).filter_map(extent).collect()
}

/// A seeded sequence of numbers: splitmix64.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// The number of a probe that counts: `PING session number counts`.
fn probe_number(data: &[u8]) -> Option<u64> {
    let text = str::from_utf8(data.get(..26)?).ok()?;
    u64::from_str_radix(text.strip_prefix("PING ")?.get(9..)?, 16).ok()
}

/// The number that the server gave its reply: the last eight digits of its counts.
fn reply_number(data: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(data.get(55..63)?).ok()?, 16).ok()
}

/// The proxy, as long as it lives.
pub(super) struct Lossy {
    pub(super) address: String,
    stop: Arc<AtomicBool>,
    directions: Vec<JoinHandle<Log>>,
}

impl Lossy {
    /// Stands in front of the server at `upstream`; `up` is the weather on the way there, `down` on the way back.
    pub(super) fn new(upstream: &str, up: Weather, down: Weather) -> Self {
        let [front, back] = [(), ()].map(|()| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            socket
        });
        back.connect(upstream).unwrap();
        let (address, stop) = (front.local_addr().unwrap().to_string(), Arc::new(AtomicBool::new(false)));
        let client = Arc::new(OnceLock::new());
        let (to_server, to_client) = (back.try_clone().unwrap(), front.try_clone().unwrap());
        let known = Arc::clone(&client);
        let up = Direction::new(front, up, false, move |data, from: SocketAddr| {
            // The first that speaks is the client.
            known.get_or_init(|| from);
            to_server.send(data)
        });
        let down = Direction::new(back, down, true, move |data, _| {
            to_client.send_to(data, client.get().expect("a reply comes after a request"))
        });
        let (flag, ready) = channel();
        let directions = vec![up.start(&stop, flag.clone()), down.start(&stop, flag)];
        assert_eq!(ready.iter().take(2).count(), 2);
        Self { address, stop, directions }
    }

    /// Ends the proxy: what it did on the way there, and on the way back.
    pub(super) fn end(mut self) -> [Log; 2] {
        self.stop.store(true, Ordering::SeqCst);
        let logs: Vec<Log> = self.directions.drain(..).map(|direction| direction.join().unwrap()).collect();
        logs.try_into().unwrap()
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

struct Direction<S> {
    socket: UdpSocket,
    weather: Weather,
    is_down: bool,
    send: S,
    dice: Seeded,
    log: Log,
    /// What waits to be overtaken, and by how many more.
    overtaken: VecDeque<(u64, Vec<u8>, SocketAddr)>,
    /// What is delayed, and until when.
    delayed: VecDeque<(Instant, Vec<u8>, SocketAddr)>,
}

impl<S> Direction<S>
where
    S: Fn(&[u8], SocketAddr) -> std::io::Result<usize> + Send + 'static,
{
    fn new(socket: UdpSocket, weather: Weather, is_down: bool, send: S) -> Self {
        let (dice, log) = (Seeded(weather.seed), Log::default());
        Self { socket, weather, is_down, send, dice, log, overtaken: VecDeque::new(), delayed: VecDeque::new() }
    }

    fn start(mut self, stop: &Arc<AtomicBool>, ready: std::sync::mpsc::Sender<()>) -> JoinHandle<Log> {
        let stop = Arc::clone(stop);
        thread::spawn(move || {
            ready.send(()).unwrap();
            let mut buffer = vec![0; 65_536];
            while !stop.load(Ordering::SeqCst) {
                match self.socket.recv_from(&mut buffer) {
                    Ok((len, from)) => {
                        self.take(&buffer[..len], from);
                        self.release(1);
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        self.release(u64::MAX);
                    }
                    // The server is not there: what was sent to it is lost, as the network would have it.
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                    Err(error) => panic!("{error}"),
                }
            }
            self.log
        })
    }

    fn take(&mut self, data: &[u8], from: SocketAddr) {
        let weather = self.weather;
        let probe = probe_number(data);
        self.log.came += u64::from(probe.is_some());
        let mut fate = self.dice.below(1_000);
        let mut is = |share: u64| {
            let is = fate < share;
            fate = if is { u64::MAX } else { fate - share };
            is
        };
        let is_too_long = weather.len_max.is_some_and(|len_max| data.len() > len_max);
        if is(weather.drops) || is_too_long {
            self.log.dropped += u64::from(probe.is_some());
        } else if probe.is_none() {
            self.pass(data, from, false);
        } else if is(weather.duplicates) {
            self.log.duplicated += 1;
            self.pass(data, from, false);
            self.pass(data, from, false);
        } else if is(weather.overtaken) {
            let by = 2 + self.dice.below(8);
            self.overtaken.push_back((by, data.to_vec(), from));
        } else if is(weather.delays) && probe.is_some_and(|probe| probe <= weather.delayed_to) {
            self.delayed.push_back((Instant::now() + weather.delay, data.to_vec(), from));
        } else {
            self.pass(data, from, false);
        }
    }

    /// Passes on what has been overtaken by `more` further datagrams, and what has been delayed.
    fn release(&mut self, more: u64) {
        for (left, data, from) in std::mem::take(&mut self.overtaken) {
            match left.saturating_sub(more) {
                0 => self.pass(&data, from, false),
                left => self.overtaken.push_back((left, data, from)),
            }
        }
        while let Some((until, ..)) = self.delayed.front()
            && *until <= Instant::now()
            && let Some((_, data, from)) = self.delayed.pop_front()
        {
            self.pass(&data, from, true);
        }
    }

    fn pass(&mut self, data: &[u8], from: SocketAddr, is_delayed: bool) {
        (self.send)(data, from).unwrap_or_default();
        if let Some(probe) = probe_number(data) {
            let identity = if self.is_down { reply_number(data).unwrap() } else { probe };
            self.log.passed.push(Passed { identity, probe, is_delayed });
        }
    }
}
