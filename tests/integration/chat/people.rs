//! Chat as people and scripts meet it: commands, what is shown, and connections that are lost.

use std::time::Duration;

use rexpect::session::PtySession;

use crate::harness::proxy::{Cut, Proxy};
use crate::harness::{Background, Run, Server, wait_until};

fn chat(address: &str, nick: &str, more: &[&str]) -> Background {
    let client = Run::new("tcp-client").args(["chat", address, "--nick", nick]).args(more).spawn();
    if !more.contains(&"--json-stream") {
        client.wait_for(&format!("{nick} joined"));
    }
    client
}

fn person(address: &str, nick: &str, more: &[&str]) -> PtySession {
    let run = Run::new("tcp-client").args(["chat", address, "--nick", nick]).args(more);
    let mut terminal = run.env("COLUMNS", "200").env("NO_COLOR", "1").at_a_terminal();
    terminal.exp_string(&format!("you are {nick} in lobby")).unwrap();
    terminal.exp_string("lobby> ").unwrap();
    terminal
}

#[test]
fn a_script_says_everything_before_it_ends() {
    let server = Server::start();
    let ann = chat(server.address(), "ann", &[]);
    let lines: Vec<String> = (0..3_000).map(|number| format!("line {number}")).collect();
    let script = format!("{}\n", lines.join("\n"));
    let bob = Run::new("tcp-client").args(["chat", server.address(), "--nick", "bob"]).stdin(script).output();
    assert_eq!(bob.text(), "* bob joined\n");
    for number in 0..3_000 {
        assert_eq!(ann.wait_for("bob: "), format!("bob: line {number}"));
    }
}

#[test]
fn rooms_private_messages_and_actions_are_told_apart() {
    let server = Server::start();
    let mut ann = chat(server.address(), "ann", &[]);
    let mut bob = chat(server.address(), "bob", &[]);
    bob.say("/join attic");
    bob.wait_for("#attic * bob joined");
    bob.say("/me left");
    bob.say("/topic old things");
    bob.wait_for("#attic * topic, by bob: old things");
    ann.say("/join Attic");
    ann.wait_for("#attic * ann joined");
    ann.wait_for("#attic * topic, by bob: old things");
    bob.say("hello");
    ann.wait_for("#attic bob: hello");
    bob.say("/room lobby");
    bob.say("/me left");
    ann.wait_for("#lobby *bob left");
    bob.say("/msg ann a secret");
    ann.wait_for("bob -> ann: a secret");
    ann.say("/rooms");
    ann.wait_for("* rooms: attic (2, \"old things\"), lobby (2)");
    ann.say("/who bob");
    let who = ann.wait_for("* bob is ");
    assert!(who.contains("the server's own user") && who.contains("in lobby attic"), "{who}");
    ann.say("/ignore bob");
    ann.say("/leave attic");
    ann.wait_for("#attic * ann left");
    bob.say("you do not see this");
    bob.say("/names");
    bob.wait_for("#lobby * here: ann bob");
    ann.say("/ignore bob");
    ann.say("/names");
    ann.wait_for("here: ann bob");
    bob.say("and now you do");
    assert_eq!(ann.wait_for("bob: "), "bob: and now you do");
    ann.end_input();
    assert_eq!(ann.wait().code(), Some(0));
}

#[test]
fn an_operator_mutes_kicks_and_bans() {
    let server = Server::with(&["--guest", "chat"]);
    let mut ann = chat(server.address(), "ann", &[]);
    let mut eve = chat(&server.plain(), "eve", &[]);
    ann.wait_for("* ~eve joined");
    ann.say("/mute eve 10m too loud");
    eve.wait_for("* eve was muted by ann for 10 min: too loud");
    eve.say("hi");
    eve.wait_for("* not sent: ");
    ann.say("/unmute eve");
    ann.wait_for("* eve was unmuted by ann");
    eve.say("hi");
    ann.wait_for("~eve: hi");
    eve.say("/kick ann");
    eve.wait_for("may not do that");
    ann.say("/ban eve be gone");
    eve.wait_for("* eve was banned by ann: be gone");
    let (code, said) = eve.ended();
    assert_eq!(code, Some(1), "{said}");
    Run::new("tcp-client").args(["chat", &server.plain(), "--nick", "eva"]).code(1).stderr("ban").prints("");
}

#[test]
fn who_comes_back_misses_nothing_and_says_nothing_twice() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let mut ann = chat(&proxy.address(), "ann", &[]);
    let mut bob = chat(server.address(), "bob", &[]);
    ann.wait_for("* bob joined");
    for round in 0..20 {
        ann.say(&format!("ann {round} before"));
        bob.say(&format!("bob {round} before"));
        if round % 4 == 0 {
            proxy.cut(if round % 8 == 0 { Cut::Reset } else { Cut::Close });
        }
        ann.say(&format!("ann {round} after"));
        bob.say(&format!("bob {round} after"));
    }
    let heard = |client: &Background, nick: &str| {
        let mut lines = Vec::new();
        while lines.len() < 40 {
            lines.push(client.wait_for(&format!("{nick}: ")));
        }
        lines
    };
    let of = |nick: &str| {
        let both = |round| ["before", "after"].map(|when| format!("{nick}: {nick} {round} {when}"));
        (0..20).flat_map(both).collect::<Vec<_>>()
    };
    assert_eq!(heard(&bob, "ann"), of("ann"));
    assert_eq!(heard(&ann, "bob"), of("bob"));
    ann.end_input();
    assert_eq!(ann.wait().code(), Some(0));
    let said: Vec<String> = ann.stderr.iter().collect();
    assert!(said.iter().any(|line| line.contains("back after")), "{said:?}");
    bob.say("/names");
    bob.wait_for("* here: bob");
}

#[test]
fn a_server_that_does_not_come_back_ends_a_script() {
    for (limit, ends_at_once) in [("never", true), ("300ms", false)] {
        let server = Server::start();
        let mut ann = chat(server.address(), "ann", &["--reconnect", limit]);
        server.signal(rustix::process::Signal::KILL);
        // Standard input is still open.
        assert_eq!(ann.wait().code(), Some(4), "{limit}");
        let said: Vec<String> = ann.stderr.iter().collect();
        assert_eq!(said.iter().any(|line| line.contains("did not come back")), !ends_at_once, "{said:?}");
    }
}

#[test]
fn what_waits_is_sent_after_the_end_of_input_too() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let bob = chat(server.address(), "bob", &[]);
    let mut ann = chat(&proxy.address(), "ann", &[]);
    proxy.cut(Cut::Reset);
    for number in 0..5 {
        ann.say(&format!("number {number}"));
    }
    ann.end_input();
    assert_eq!(ann.wait().code(), Some(0));
    for number in 0..5 {
        assert_eq!(bob.wait_for("ann: "), format!("ann: number {number}"));
    }
    bob.wait_for("* ann left");
}

#[test]
fn break_after_break_loses_nothing() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let mut bob = chat(server.address(), "bob", &["--json-stream"]);
    let mut ann = chat(&proxy.address(), "ann", &["--json-stream"]);
    ann.wait_for(r#""event":"joined""#);
    for round in 0..crate::harness::rounds(8) {
        proxy.cut(Cut::Reset);
        ann.say(&format!("round {round}."));
        bob.wait_for(&format!(r#""text":"round {round}.""#));
        bob.say(&format!("answer {round}."));
        ann.wait_for(&format!(r#""text":"answer {round}.""#));
    }
}

#[test]
fn events_have_the_same_fields_everywhere() {
    let server = Server::with(&["--guest", "chat"]);
    let mut ann = chat(server.address(), "ann", &["--json-stream"]);
    ann.wait_for(r#""event":"joined""#);
    let mut eve = chat(&server.plain(), "eve", &[]);
    let event = |line: String| serde_json::from_str::<serde_json::Value>(&line).unwrap();
    let joined = event(ann.wait_for(r#""nick":"eve""#));
    assert_eq!(
        (&joined["event"], &joined["room"], &joined["guest"]),
        (&"joined".into(), &"lobby".into(), &true.into())
    );
    eve.say("hi \u{202e}there");
    let said = ann.wait_for("hi ");
    assert!(said.contains("\\u202e"), "{said}");
    let said = event(said);
    assert!(said["seq"].as_u64().is_some() && said["time_ms"].as_u64().is_some(), "{said}");
    assert_eq!((&said["event"], &said["nick"], &said["room"]), (&"said".into(), &"eve".into(), &"lobby".into()));
    ann.say("hello");
    let acknowledged = event(ann.wait_for("acknowledged"));
    assert_eq!(acknowledged["id"], 1);
    ann.say("/who eve");
    assert_eq!(event(ann.wait_for(r#""who""#))["kind"], "guest");
    eve.end_input();
    assert_eq!(event(ann.wait_for(r#""left""#))["lost"], false);
}

#[test]
fn history_is_marked_as_past() {
    let server = Server::start();
    let mut bob = chat(server.address(), "bob", &[]);
    for text in ["one", "two", "three"] {
        bob.say(text);
    }
    let run =
        |more: &[&str]| Run::new("tcp-client").args(["chat", server.address(), "--nick", "ann"]).args(more).spawn();
    bob.say("/names");
    bob.wait_for("here");
    let ann = run(&["--history", "2"]);
    let line = ann.wait_for("bob: ");
    assert!(line.starts_with("@20") && line.ends_with("Z bob: two"), "{line}");
    assert!(ann.wait_for("bob: ").ends_with("Z bob: three"));
    drop(ann);
    bob.wait_for("* ann left: connection lost");
    let ann = run(&[]);
    bob.wait_for("* ann is back");
    bob.say("now");
    assert_eq!(ann.wait_for("bob: "), "bob: now");
}

#[test]
fn at_a_terminal_there_are_times_marks_and_completion() {
    let server = Server::with(&["--guest", "chat"]);
    let mut bob = chat(&server.plain(), "bob", &[]);
    bob.say("long ago");
    bob.say("/names");
    bob.wait_for("here");
    let mut ann = person(server.address(), "ann", &["--bell"]);
    ann.exp_regex(r"\[\d\d:\d\d\] ~bob: long ago").unwrap();
    bob.say("look at this, Ann");
    ann.exp_regex(r"\d\d:\d\d @~bob: look at this, Ann\r?\n?\r?\x07").unwrap();
    bob.say("/me waves \u{1b}]0;title\u{7}");
    ann.exp_regex(r"\d\d:\d\d \*~bob waves \\u\{1b\}\]0;title\\u\{7\}").unwrap();
    ann.send("bo\thow are you?").unwrap();
    ann.send_line("").unwrap();
    bob.wait_for("ann: bob: how are you?");
    ann.send("/wh\tbo\t").unwrap();
    ann.send_line("").unwrap();
    ann.exp_string("bob is a guest").unwrap();
    ann.send_line("/join attic").unwrap();
    ann.exp_string("attic> ").unwrap();
    ann.send_line("/help").unwrap();
    ann.exp_string("in front takes two").unwrap();
    ann.send_control('d').unwrap();
    ann.exp_eof().unwrap();
    bob.wait_for("* ann left");
}

#[test]
fn a_person_sees_a_break_what_waits_and_what_was_missed() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let mut bob = chat(server.address(), "bob", &[]);
    let mut ann = person(&proxy.address(), "ann", &[]);
    // In the middle of a line.
    ann.send("half a ").unwrap();
    ann.flush().unwrap();
    proxy.cut(Cut::Reset);
    ann.exp_string("connection lost").unwrap();
    bob.wait_for("* ann left: connection lost");
    bob.say("are you there?");
    ann.send_line("line").unwrap();
    ann.exp_string("back after").unwrap();
    ann.exp_string("unread").unwrap();
    ann.exp_string("bob: are you there?").unwrap();
    assert_eq!(bob.wait_for("ann: "), "ann: half a line");
    ann.send_control('c').unwrap();
    ann.exp_eof().unwrap();
}

#[test]
fn who_may_not_come_back_is_told_and_ends() {
    let server = Server::with(&["--guest", "chat"]);
    let proxy = Proxy::start(server.address());
    let plain = format!("tcp://{}", proxy.address());
    let mut eve = chat(&plain, "eve", &[]);
    let mut ann = chat(server.address(), "ann", &[]);
    ann.say("/ban eve");
    assert_eq!(eve.wait().code(), Some(1));
    wait_until("the ban is told", || {
        eve.stderr.recv_timeout(Duration::from_secs(1)).is_ok_and(|line| line.contains("banned"))
    });
}

#[test]
fn a_narrow_terminal_and_a_flood_keep_every_row_in_its_place() {
    let server = Server::start();
    let mut bob = chat(server.address(), "bob", &[]);
    let mut ann = person(server.address(), "ann", &[]);
    ann.send_line("/names").unwrap();
    for number in 0..500 {
        bob.say(&format!("flood {number} \u{5f00}\u{59cb} \u{1f468}\u{200d}\u{1f469} e\u{301}"));
    }
    bob.say("the end");
    ann.exp_string("the end").unwrap();
    ann.send_line("still here").unwrap();
    bob.wait_for("ann: still here");
}
