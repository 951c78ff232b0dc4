//! Chat, between real clients.

use std::io::Write as _;

use landline::wire::channel::{Receiver, encode};
use landline::wire::message::{ChatOptions, Message, SayFields, VERSION};

use crate::harness::{Background, DEADLINE, Run, Server, wait_until};

fn enter(server: &Server, nick: &str) -> Background {
    let client = Run::new("tcp-client").args(["chat", server.address(), "--nick", nick]).spawn();
    client.wait_for(&format!("* {nick} joined"));
    client
}

#[test]
fn what_one_says_the_others_hear() {
    let server = Server::start();
    let mut ann = enter(&server, "ann");
    let mut bob = enter(&server, "bob");
    ann.wait_for("* bob joined");
    ann.say("hello 收到");
    bob.wait_for("ann: hello 收到");
    bob.say("//not a command");
    ann.wait_for("bob: /not a command");
    bob.say("/nick robert");
    ann.wait_for("* bob is now robert");
    bob.wait_for("* bob is now robert");
    bob.say("/nick ann");
    bob.wait_for("* ann is taken; choose another nick");
    ann.say("/names");
    ann.wait_for("* here: ann robert");
    bob.say("/quit");
    assert_eq!(bob.wait().code(), Some(0));
    ann.wait_for("* robert left");
    ann.end_input();
    assert_eq!(ann.wait().code(), Some(0));
    server.wait_for_log(r#"about="ann in lobby" outcome="said 1""#);
}

#[test]
fn a_taken_or_impossible_nick_is_refused_and_the_connection_goes_on() {
    let server = Server::start();
    let _ann = enter(&server, "ann");
    let chat = |nick: &str| Run::new("tcp-client").args(["chat", server.address(), "--nick", nick]).code(1);
    chat("ann").stderr("ann is taken; choose another nick").prints("");
    chat("a b").stderr("cannot be a name").prints("");
    chat("\u{1b}[31m").stderr("cannot be a name").prints("");
    let script = "chat lobby ann\necho still in step\n";
    let run = Run::new("tcp-client").args([server.address()]).stdin(script).code(1);
    run.stderr("ann is taken").prints("still in step\n");
}

#[test]
fn rooms_are_apart_and_chat_comes_back_to_the_prompt() {
    let server = Server::start();
    let ann = enter(&server, "ann");
    let script = "chat attic bob\nhello attic\n/quit\necho back at the prompt\n";
    let bob = Run::new("tcp-client").args([server.address()]).stdin(script).output();
    assert_eq!(bob.text(), "* bob joined\nback at the prompt\n");
    let mut carl = enter(&server, "carl");
    carl.say("hello lobby");
    let heard: Vec<String> = (0..2).map(|_| ann.stdout.recv_timeout(DEADLINE).unwrap()).collect();
    assert_eq!(heard, ["* carl joined", "carl: hello lobby"], "nothing of the attic");
}

#[test]
fn a_member_that_never_reads_delays_no_other_and_is_told_what_was_dropped() {
    let server = Server::start();
    let mut deaf = server.connect();
    let hello = encode(&Message::Hello { version: VERSION, program: "test".into(), verbs: vec![] }, &[]).unwrap();
    let chat =
        encode(&Message::Chat { room: "lobby".into(), nick: "deaf".into(), options: ChatOptions::default() }, &[])
            .unwrap();
    deaf.write_all(&[hello.clone(), chat].concat()).unwrap();
    let mut ann = enter(&server, "ann");
    // A speaker of frames: 16 MiB, more than socket buffers and the queue for one member take together.
    let mut bob = server.connect();
    let chat =
        encode(&Message::Chat { room: "lobby".into(), nick: "bob".into(), options: ChatOptions::default() }, &[])
            .unwrap();
    bob.write_all(&[hello, chat].concat()).unwrap();
    let say = encode(&Message::Say { fields: SayFields::default() }, &vec![b'x'; 32 * 1024]).unwrap();
    // After each half MiB ann has heard it all: the one who does not read delays no other.
    for round in 0..32 {
        for _ in 0..16 {
            bob.write_all(&say).unwrap();
        }
        let mark = format!("mark {round}.");
        bob.write_all(&encode(&Message::Say { fields: SayFields::default() }, mark.as_bytes()).unwrap()).unwrap();
        ann.wait_for(&format!("bob: {mark}"));
    }
    ann.say("/quit");
    // The deaf one reads at last: a notice stands where messages are missing.
    let mut receiver = Receiver::new(deaf, &[]);
    let dropped = loop {
        if let Message::Dropped { count, .. } = receiver.expect("a notice of what was dropped").unwrap() {
            break count;
        }
    };
    assert!(dropped > 0 && dropped < 32 * 17, "{dropped}");
}

#[test]
fn a_member_who_vanishes_has_left() {
    let server = Server::start();
    let ann = enter(&server, "ann");
    let mut bob = enter(&server, "bob");
    bob.signal(rustix::process::Signal::KILL);
    bob.wait();
    ann.wait_for("* bob left");
    wait_until("the nick is free again", || server.log().contains("bob in lobby"));
    enter(&server, "bob");
}

#[test]
fn events_are_objects_for_programs() {
    let server = Server::start();
    let mut ann = Run::new("tcp-client").args(["chat", server.address(), "--nick", "ann", "--json"]).spawn();
    let joined = ann.wait_for(r#""event":"joined""#);
    assert!(joined.contains(r#""nick":"ann""#) && joined.contains(r#""room":"lobby""#), "{joined}");
    let mut bob = enter(&server, "bob");
    bob.say("hi");
    let said = ann.wait_for(r#""event":"said""#);
    assert!(said.contains(r#""nick":"bob""#) && said.contains(r#""text":"hi""#), "{said}");
    ann.say("/names");
    ann.wait_for(r#""event":"names","names":["ann","bob"]"#);
    bob.end_input();
    ann.wait_for(r#""event":"left""#);
}

#[test]
fn what_looks_the_same_is_one_nick_and_one_room() {
    let server = Server::start();
    let ann = enter(&server, "ann");
    for nick in ["ann", "Ann", "\u{430}nn", "\u{ff41}nn", "ann\u{200b}", "ann\u{3164}", "\u{2800}", "ann:", "*"] {
        let run = Run::new("tcp-client").args(["chat", server.address(), "--nick", nick]).stdin("");
        run.code(1).any_stderr().prints("");
    }
    // The room is the one that is there, under the name that it has.
    let args = ["chat", server.address(), "--nick", "e\u{301}va", "--room", "L\u{43e}bby"];
    let mut bob = Run::new("tcp-client").args(args).spawn();
    ann.wait_for("* \u{e9}va joined");
    bob.say("/nick Ann");
    assert!(bob.wait_for("looks like").contains("Ann looks like ann, who is here"));
    bob.say("/nick \u{c9}va");
    ann.wait_for("* \u{e9}va is now \u{c9}va");
    bob.say("/quit");
    ann.wait_for("* \u{c9}va left");
    assert!(server.log().contains("in lobby") && !server.log().contains("L\u{43e}bby"), "{}", server.log());
}

#[test]
fn no_message_looks_like_another_one_in_a_pipe() {
    let server = Server::start();
    let ann = enter(&server, "ann");
    let mut eve = server.connect();
    let hello = encode(&Message::Hello { version: VERSION, program: "test".into(), verbs: vec![] }, &[]).unwrap();
    let chat =
        encode(&Message::Chat { room: "lobby".into(), nick: "eve".into(), options: ChatOptions::default() }, &[])
            .unwrap();
    eve.write_all(&[hello, chat].concat()).unwrap();
    ann.wait_for("* ~eve joined");
    for end in ["\n", "\r", "\r\n", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}", "\x1b[2K\x1b[1G"] {
        let text = format!("hi{end}* bob joined");
        eve.write_all(&encode(&Message::Say { fields: SayFields::default() }, text.as_bytes()).unwrap()).unwrap();
        let line = ann.wait_for("* bob joined");
        assert!(line.starts_with("~eve: hi\\"), "{end:?}: {line:?}");
    }
}
