//! Talking, both ways at once.

use super::{Program, raw, receive};
use crate::harness::Run;

/// The address that a chat says it has, from its first line.
fn own_address(chat: &mut Program) -> String {
    let line = chat.stderr_line();
    let own = line.strip_prefix("udp-echo: this is ").and_then(|rest| rest.split(',').next());
    own.unwrap_or_else(|| panic!("{line:?}")).to_owned()
}

#[test]
fn two_programs_talk_and_it_does_not_matter_who_starts() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| format!("unix:{}", dir.path().join(name).display()));
    let mut first = Program::start(&["chat", "--bind", &one, &two]);
    own_address(&mut first);
    first.say("hello?\n");
    assert_eq!(first.stderr_line(), format!("udp-echo: no program listens on {two} yet"));

    let mut second = Program::start(&["chat", "--bind", &two, &one]);
    own_address(&mut second);
    second.say("from two\n");
    assert_eq!(first.stdout_line(), format!("{two}: from two"));
    first.say("from one\n");
    assert_eq!(second.stdout_line(), format!("{one}: from one"));

    first.say("exit\nand more\n");
    assert_eq!(second.stdout_line(), format!("{one}: exit"), "from a pipe every line is sent");
    assert_eq!(second.stdout_line(), format!("{one}: and more"));
    let (first, second) = (first.end(), second.end());
    assert_eq!((first.code, second.code), (Some(0), Some(0)));
    assert!(!dir.path().join("one").exists() && !dir.path().join("two").exists());
}

#[test]
fn the_third_tutorials_talk_program_is_understood_in_gbk() {
    let (theirs, address) = raw();
    let mut chat = Program::start(&["chat", "--bind", "127.0.0.1:0", "--encoding", "gbk", &address]);
    let own = own_address(&mut chat);
    // One socket: what it sends comes from where it receives.
    chat.say("收到\n\n");
    let (data, from) = receive(&theirs);
    assert_eq!((data.as_slice(), from.to_string()), (b"\xca\xd5\xb5\xbd".as_slice(), own.clone()));
    assert_eq!(receive(&theirs).0, b"");
    theirs.send_to(b"\xd4\xd9\xbc\xfb!", &own).unwrap();
    assert_eq!(chat.stdout_line(), format!("{address}: 再见!"));

    // A stranger is not heard, unless everybody is to be heard.
    raw().0.send_to(b"let me in", &own).unwrap();
    theirs.send_to(b"last", &own).unwrap();
    assert_eq!(chat.stdout_line(), format!("{address}: last"));
    assert_eq!(chat.end().code, Some(0), "the end of the input ends it");

    let mut chat = Program::start(&["chat", "--bind", "127.0.0.1:0", "--anyone", &address]);
    let own = own_address(&mut chat);
    let (stranger, name) = raw();
    stranger.send_to(b"let me in", &own).unwrap();
    assert_eq!(chat.stdout_line(), format!("{name}: let me in"));
}

#[test]
fn a_peer_that_is_not_there_yet_is_a_remark() {
    let mut chat = Program::start(&["chat", "127.0.0.1:1"]);
    assert!(own_address(&mut chat).starts_with("127.0.0.1:"));
    for _ in 0..2 {
        chat.say("hello?\n");
        assert_eq!(chat.stderr_line(), "udp-echo: no program listens on 127.0.0.1:1 yet");
    }
    assert_eq!(chat.end().code, Some(0));
}

#[test]
fn a_prompt_at_a_terminal_with_what_comes_above_it() {
    let (theirs, address) = raw();
    let mut terminal = Run::new("udp-echo").args(["chat", &address]).at_a_terminal();
    terminal.exp_string("this is ").unwrap();
    let own = terminal.exp_string(",").unwrap();
    terminal.exp_string("> ").unwrap();
    theirs.send_to(b"hi\x1b]0;owned\x07", &own).unwrap();
    terminal.exp_string("hi\\u{1b}]0;owned").unwrap();
    terminal.send_line("typed").unwrap();
    assert_eq!(receive(&theirs).0, b"typed");
    terminal.exp_string("> ").unwrap();
    terminal.send_line("exit").unwrap();
    terminal.exp_eof().unwrap();
}
