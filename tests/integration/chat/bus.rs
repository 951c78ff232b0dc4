//! Several servers are one chat, through a real Redis.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::{Member, number};
use crate::harness::frames::Answer;
use crate::harness::skip::is_installed;
use crate::harness::{Run, Server, wait_until};

/// How the bus is cut off, and how it comes back.
type Disturbance = (fn(&mut Redis), fn(&mut Redis));

/// A Redis of the test's own, at a Unix socket; killed when the test ends.
struct Redis {
    dir: tempfile::TempDir,
    child: Child,
    arguments: Vec<String>,
}

impl Redis {
    /// `None` where there is no Redis, which is told.
    fn start(arguments: &[&str]) -> Option<Self> {
        if !is_installed("redis-server", "--version") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let child = Self::spawn(dir.path(), &arguments);
        let redis = Self { dir, child, arguments };
        redis.wait();
        Some(redis)
    }

    fn spawn(dir: &Path, arguments: &[String]) -> Child {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--loglevel", "warning"]);
        command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    fn wait(&self) {
        wait_until("Redis listens", || std::os::unix::net::UnixStream::connect(self.socket()).is_ok());
    }

    fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let _ = std::fs::remove_file(self.socket());
    }

    fn start_again(&mut self) {
        self.child = Self::spawn(self.dir.path(), &self.arguments);
        self.wait();
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// A server that is joined by this bus, with a home of its own.
    fn server(&self, home: &Path) -> Server {
        let server = Server::at_home(&["--bus", &self.address()], home);
        server.wait_for_log("joined the other servers");
        server
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn secret(nick: &str) -> String {
    format!(r#","client":"0123456789abcdef-{nick}","history":0"#)
}

fn homes<const N: usize>(dir: &tempfile::TempDir) -> [PathBuf; N] {
    std::array::from_fn(|at| dir.path().join(format!("home-{at}")))
}

fn say(member: &mut Member, id: u64, text: &str) {
    member.send(&format!(r#""type":"say","id":{id}"#), text);
}

/// The text of the next message, with its sender.
fn heard(member: &mut Member) -> (String, String) {
    let said = member.wait_for("say");
    (said.header["nick"].as_str().unwrap().to_owned(), String::from_utf8(said.body).unwrap())
}

#[test]
fn a_message_reaches_the_members_of_all_servers_with_its_sender() {
    let Some(redis) = Redis::start(&[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let [one, two, three] = homes(&dir);
    let (one, two, three) = (redis.server(&one), redis.server(&two), redis.server(&three));
    let mut ann = Member::enter(&one, "lobby", "ann", &secret("ann"));
    let mut bob = Member::enter(&two, "Lobby", "bob", &secret("bob"));
    let mut eve = Member::enter(&three, "attic", "eve", &secret("eve"));
    let mut old = Member::enter(&two, "lobby", "old", "");
    say(&mut ann, 1, "hello");
    assert_eq!(number(&ann.wait_for("ack"), "id"), 1);
    let said = bob.wait_for("say");
    assert_eq!((said.body.as_slice(), said.header["room"].as_str()), (&b"hello"[..], Some("Lobby")), "as it is there");
    assert_eq!((said.header["nick"].as_str(), said.header["guest"].as_bool()), (Some("ann"), Some(true)));
    assert!(said.header["past"].is_null() && said.header["origin"].is_string(), "{}", said.header);
    assert_eq!(old.wait_for("say").header, serde_json::json!({ "type": "say", "total_size": 5, "nick": "ann" }));
    bob.send(r#""type":"topic","room":"lobby""#, "old things");
    assert_eq!(ann.wait_for("topic").body, b"old things");
    say(&mut bob, 1, "hi ann");
    assert_eq!(heard(&mut ann), ("bob".to_owned(), "hi ann".to_owned()));
    // The rooms are apart, and who enters later, at whichever server, gets the past of all.
    eve.send(r#""type":"join","room":"lobby","history":10"#, "");
    assert_eq!(eve.texts_until("hi ann"), ["hello", "hi ann"]);
    assert_eq!(eve.wait_for("topic").body, b"old things");
}

#[test]
fn without_the_bus_a_server_goes_on_alone_and_then_all_is_merged_once_in_each_senders_order() {
    let Some(mut redis) = Redis::start(&["--appendonly", "yes", "--appendfsync", "everysec"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = homes(&dir);
    let (one, two) = (redis.server(&one), redis.server(&two));
    let mut ann = Client::enter(&one, "ann");
    let mut amy = Client::enter(&one, "amy");
    let mut bob = Client::enter(&two, "bob");
    let disturbances: [Disturbance; 3] = [
        (Redis::kill, Redis::start_again),
        (Redis::kill, |redis| {
            // All that it had is lost.
            std::fs::remove_dir_all(redis.dir.path().join("appendonlydir")).unwrap();
            redis.start_again();
        }),
        // It hangs until the servers give up.
        (|redis| redis.signal(Signal::STOP), |redis| redis.signal(Signal::CONT)),
    ];
    for (round, (cut, mend)) in (1..).zip(disturbances) {
        talk(&mut ann, &mut bob);
        cut(&mut redis);
        for server in [&one, &two] {
            wait_until("the server goes on alone", || server.log().matches("goes on alone").count() == round);
        }
        // All of it is acknowledged, and heard at the own server.
        talk(&mut ann, &mut bob);
        amy.hear(&format!("ann{}", ann.last_id));
        mend(&mut redis);
        for server in [&one, &two] {
            wait_until("the server has joined again", || server.log().matches("joined the other").count() == round + 1);
        }
        ann.hear(&format!("bob{}", bob.last_id));
        bob.hear(&format!("ann{}", ann.last_id));
    }
    amy.hear(&format!("bob{}", bob.last_id));
    for (client, nicks) in [(&ann, &["bob"][..]), (&amy, &["ann", "bob"]), (&bob, &["ann"])] {
        for nick in nicks {
            assert_eq!(client.heard_of(nick), all(nick, 120), "{} of {nick}", client.nick);
        }
        assert_eq!(client.repeated, 0, "{}: no message was sent to it twice", client.nick);
    }
}

fn talk(ann: &mut Client, bob: &mut Client) {
    for _ in 0..20 {
        ann.say(1);
        bob.say(1);
    }
    ann.wait_for_ack();
    bob.wait_for_ack();
}

fn all(nick: &str, count: u64) -> Vec<String> {
    (1..=count).map(|id| format!("{nick}{id}")).collect()
}

/// A client as the protocol has it: it comes back to a server that was killed, sends again what was not acknowledged,
/// and takes two messages with the same origin and number for one.
struct Client {
    member: Member,
    nick: String,
    unacknowledged: Vec<(u64, String)>,
    last_id: u64,
    known: HashSet<(String, u64)>,
    /// Messages of others that came once more.
    repeated: usize,
    heard: Vec<String>,
}

impl Client {
    fn enter(server: &Server, nick: &str) -> Self {
        let member = Member::enter(server, "lobby", nick, &secret(nick));
        let (unacknowledged, known, heard) = (Vec::new(), HashSet::new(), Vec::new());
        Self { member, nick: nick.to_owned(), unacknowledged, last_id: 0, known, repeated: 0, heard }
    }

    fn come_back(&mut self, server: &Server) {
        self.member = Member::enter(server, "lobby", &self.nick, &format!(r#"{},"after":1"#, secret(&self.nick)));
        for (id, text) in &self.unacknowledged {
            say(&mut self.member, *id, text);
        }
    }

    fn say(&mut self, count: u64) {
        for _ in 0..count {
            self.last_id += 1;
            let text = format!("{}{}", self.nick, self.last_id);
            say(&mut self.member, self.last_id, &text);
            self.unacknowledged.push((self.last_id, text));
        }
    }

    fn take(&mut self, answer: &Answer) {
        match answer.kind() {
            "ack" => {
                let id = number(answer, "id");
                self.unacknowledged.retain(|(other, _)| *other != id);
            }
            "say" => {
                let text = String::from_utf8(answer.body.clone()).unwrap();
                let origin = answer.header["origin"].as_str().unwrap().to_owned();
                // What it has said itself comes from an earlier life of its server.
                if answer.header["nick"] == self.nick.as_str() {
                    return;
                }
                if self.known.insert((origin, number(answer, "id"))) {
                    self.heard.push(text);
                } else {
                    self.repeated += 1;
                }
            }
            _ => {}
        }
    }

    fn wait_for_ack(&mut self) {
        while !self.unacknowledged.is_empty() {
            let answer = self.member.raw.answer();
            self.take(&answer);
        }
    }

    fn hear(&mut self, last: &str) {
        while !self.heard.iter().any(|text| text == last) {
            let answer = self.member.raw.answer();
            self.take(&answer);
        }
    }

    /// What was heard of one sender, in the order in which it came.
    fn heard_of(&self, nick: &str) -> Vec<String> {
        self.heard.iter().filter(|text| text.starts_with(nick)).cloned().collect()
    }
}

#[test]
fn what_a_server_has_acknowledged_reaches_all_when_it_is_back_after_being_killed() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let [one_home, two_home, three_home] = homes(&dir);
    let (one, two, three) = (redis.server(&one_home), redis.server(&two_home), redis.server(&three_home));
    let mut ann = Client::enter(&one, "ann");
    let mut bob = Client::enter(&two, "bob");
    let mut eve = Client::enter(&three, "eve");
    ann.say(50);
    bob.say(50);
    ann.wait_for_ack();
    bob.wait_for_ack();
    // The bus is away, so that what ann says now is in the outbox only; and some of it is not even acknowledged.
    redis.kill();
    one.wait_for_log("goes on alone");
    ann.say(50);
    ann.wait_for_ack();
    ann.say(50);
    one.signal(Signal::KILL);
    drop(one);
    // Another is killed too, and misses what is said meanwhile.
    two.signal(Signal::KILL);
    drop(two);
    redis.start_again();
    wait_until("the third has joined again", || three.log().matches("joined the other servers").count() == 2);
    eve.say(50);
    eve.wait_for_ack();
    let (one, two) = (redis.server(&one_home), redis.server(&two_home));
    ann.come_back(&one);
    bob.come_back(&two);
    ann.say(10);
    ann.wait_for_ack();
    bob.say(10);
    bob.wait_for_ack();
    for (client, others) in [
        (&mut ann, [("bob", 60), ("eve", 50)]),
        (&mut bob, [("ann", 160), ("eve", 50)]),
        (&mut eve, [("ann", 160), ("bob", 60)]),
    ] {
        for (nick, count) in others {
            client.hear(&format!("{nick}{count}"));
            assert_eq!(client.heard_of(nick), all(nick, count), "{} of {nick}", client.nick);
        }
    }
}

#[test]
fn with_a_history_a_restart_adds_nothing_that_is_there_already() {
    let Some(redis) = Redis::start(&[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let [one, home] = homes(&dir);
    let history = dir.path().join("history");
    let (address, history) = (redis.address(), history.to_str().unwrap());
    let start = || {
        let server = Server::at_home(&["--bus", &address, "--history", history], &home);
        server.wait_for_log("joined the other servers");
        server
    };
    let (one, two) = (redis.server(&one), start());
    let mut ann = Member::enter(&one, "lobby", "ann", &secret("ann"));
    let mut old = Member::enter(&one, "lobby", "old", "");
    let mut bob = Member::enter(&two, "lobby", "bob", &secret("bob"));
    say(&mut ann, 1, "numbered");
    ann.wait_for("ack");
    old.send(r#""type":"say""#, "not numbered");
    assert_eq!(bob.texts_until("not numbered"), ["numbered", "not numbered"]);
    say(&mut bob, 1, "own");
    bob.wait_for("ack");
    two.signal(Signal::KILL);
    drop(two);
    say(&mut ann, 2, "meanwhile");
    ann.wait_for("ack");
    for _ in 0..2 {
        let two = start();
        let mut bob = Member::enter(&two, "lobby", "bob", r#","client":"0123456789abcdef-bob","history":100"#);
        assert_eq!(bob.texts_until("meanwhile"), ["numbered", "not numbered", "own", "meanwhile"]);
        two.signal(Signal::KILL);
    }
}

#[test]
fn a_client_that_goes_to_another_server_is_heard_once() {
    let Some(redis) = Redis::start(&[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = homes(&dir);
    let (one, two) = (redis.server(&one), redis.server(&two));
    let mut bob = Member::enter(&two, "lobby", "bob", &secret("bob"));
    let mut ann = Member::enter(&one, "lobby", "ann", &secret("ann"));
    say(&mut ann, 1, "first");
    say(&mut ann, 2, "second");
    assert_eq!(bob.texts_until("second"), ["first", "second"]);
    // It has no acknowledgement of the second one, and sends it again elsewhere.
    drop(ann);
    let mut ann = Member::enter(&two, "lobby", "ann", &secret("ann"));
    say(&mut ann, 2, "second");
    say(&mut ann, 3, "third");
    assert_eq!(number(&ann.wait_for("ack"), "id"), 2);
    assert_eq!(bob.texts_until("third"), ["third"]);
    // It is one member, at the server where it is now.
    wait_for_names(&mut bob, "ann\nbob");
    one.wait_for_log("ann in lobby");
}

#[test]
fn members_are_told_when_their_server_is_alone_and_when_it_is_not_any_more() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let [home] = homes(&dir);
    let server = redis.server(&home);
    let mut ann = Member::enter(&server, "lobby", "ann", &secret("ann"));
    let mut old = Member::enter(&server, "lobby", "old", "");
    redis.kill();
    assert_eq!(ann.wait_for("notice").header["name"], "bus-lost");
    redis.start_again();
    assert_eq!(ann.wait_for("notice").header["name"], "bus-joined");
    say(&mut ann, 1, "well");
    assert_eq!(old.raw.answer().kind(), "say", "the first version of the protocol has no notices");
}

#[test]
fn a_server_starts_without_the_bus_and_refuses_what_makes_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let [home, other] = homes(&dir);
    let address = format!("unix:{}", dir.path().join("nothing.sock").display());
    let server = Server::at_home(&["--bus", &address], &home);
    server.wait_for_log("goes on alone");
    let mut ann = Member::enter(&server, "lobby", "ann", &secret("ann"));
    say(&mut ann, 1, "is this on");
    assert_eq!(number(&ann.wait_for("ack"), "id"), 1);
    let at_home = |home: &Path| Run::new("tcp-server").env("LANDLINE_HOME", home).args(["--bind", "127.0.0.1:0"]);
    let run = |args: &[&str]| at_home(&other).args(args);
    run(&["--bus", "http://localhost"]).code(1).stderr("is no address of Redis").prints("");
    run(&["--bus", "redis://:sesame@localhost"]).code(1).stderr("redis://...@localhost").prints("");
    run(&["--bus-password-file", "/nothing"]).code(2).stderr("--bus-password-file needs --bus").prints("");
    run(&["--bus", &address, "--bus-password-file", "/nothing"]).code(1).stderr("-file /nothing").prints("");
    at_home(&home).args(["--bus", &address]).code(1).stderr("another server that runs uses this home").prints("");
}

/// The nicks in the lobby, once these are there.
fn wait_for_names(member: &mut Member, wanted: &str) {
    wait_until("the members of all servers are known", || {
        member.send(r#""type":"names","room":"lobby""#, "");
        member.wait_for("names").body == wanted.as_bytes()
    });
}

#[test]
fn members_of_other_servers_are_known_and_get_private_messages_also_after_a_kill() {
    let Some(redis) = Redis::start(&[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let [one, two_home] = homes(&dir);
    let (one, two) = (redis.server(&one), redis.server(&two_home));
    let mut ann = Member::enter(&one, "lobby", "ann", &secret("ann"));
    let mut bob = Member::enter(&two, "lobby", "bob", &secret("bob"));
    let mut old = Member::enter(&two, "lobby", "old", "");
    wait_for_names(&mut ann, "ann\nbob\nold");
    wait_for_names(&mut bob, "ann\nbob\nold");
    ann.send(r#""type":"who","nick":"bob""#, "");
    let who: serde_json::Value = serde_json::from_slice(&ann.wait_for("who").body).unwrap();
    assert_eq!((&who["nick"], &who["kind"], &who["rooms"][0]), (&"bob".into(), &"guest".into(), &"lobby".into()));
    let refused = Member::ask(&two, "attic", "\u{430}nn", "").raw.answer();
    assert_eq!(refused.code(), "name-taken", "{}", refused.header);
    bob.send(r#""type":"nick","nick":"Ann""#, "");
    assert_eq!(bob.wait_for("error").code(), "name-taken");

    ann.send(r#""type":"say","id":1,"to":"bob""#, "psst");
    assert_eq!(number(&ann.wait_for("ack"), "id"), 1);
    let said = bob.wait_for("say");
    assert_eq!((said.body.as_slice(), said.header["to"].as_str()), (&b"psst"[..], Some("bob")));
    ann.send(r#""type":"say","id":2,"to":"old""#, "you too");
    assert_eq!(old.wait_for("say").body, b"you too");
    ann.send(r#""type":"say","id":3,"to":"eve""#, "no one");
    assert_eq!(number(&ann.wait_for("refused"), "id"), 3);

    // The server of the receiver is killed. The message waits for the client, and for no other with its nick.
    two.signal(Signal::KILL);
    drop(two);
    ann.send(r#""type":"say","id":4,"to":"bob""#, "are you there");
    assert_eq!(number(&ann.wait_for("ack"), "id"), 4);
    ann.send(r#""type":"say","id":5"#, "all");
    ann.wait_for("ack");
    let two = redis.server(&two_home);
    let mut other =
        Member::enter(&two, "lobby", "bob", r#","client":"0123456789abcdef-eve","direct_after":0,"history":1"#);
    assert_eq!(other.texts_until("all"), ["all"]);
    drop(other);
    let mut bob = Member::enter(&two, "lobby", "robert", &format!(r#"{},"direct_after":0"#, secret("bob")));
    assert_eq!(bob.texts_until("are you there"), ["psst", "are you there"]);
}

#[test]
fn after_a_partition_the_later_of_two_gets_another_nick_and_is_told() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = homes(&dir);
    let (one, two) = (redis.server(&one), redis.server(&two));
    redis.kill();
    for server in [&one, &two] {
        server.wait_for_log("goes on alone");
    }
    let mut first = Member::enter(&one, "lobby", "eve", &secret("eve"));
    say(&mut first, 1, "I was here before");
    first.wait_for("ack");
    let mut second = Member::enter(&two, "lobby", "Eve", &secret("adam"));
    redis.start_again();
    let renamed = second.wait_for("renamed").header;
    assert_eq!((renamed["nick"].as_str(), renamed["to"].as_str()), (Some("Eve"), Some("Eve-2")));
    let notice = second.wait_for("notice").header;
    assert_eq!(notice["name"], "nick-lost", "{notice}");
    say(&mut second, 1, "who am I");
    assert_eq!(heard(&mut first), ("Eve-2".to_owned(), "who am I".to_owned()));
    wait_for_names(&mut first, "Eve-2\neve");
}
