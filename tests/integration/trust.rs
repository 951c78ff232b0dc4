//! Identity, pairing, known peers, policy and audit, as the programs have them: machines are homes.

use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use landline::net::Stream;
use landline::net::tls::ServerTls;
use landline::pair::call_pair;
use landline::trust::code::Code;
use landline::trust::peers::Peers;
use landline::wire::channel::{Receiver, Sender};

use crate::harness::files::set_mode;
use crate::harness::listen::serve_one;
use crate::harness::machine::Machine;
use crate::harness::{DEADLINE, Run, Server, wait_until};

#[test]
fn two_machines_are_introduced_once_and_never_asked_again() {
    let (desk, laptop) = (Machine::new(), Machine::new());
    let server = desk.server(&["--guest", "none"]);
    server.write("notes.txt", "buy milk");
    // Unknown to each other: the client refuses the server, before it has sent anything.
    let unknown = laptop.run("rexec").args([server.address(), "true"]).code(255);
    let command = format!("tcp-client pair {}", server.address());
    let refused = unknown.stderr(&command).output().stderr;
    assert!(refused.contains(&desk.identity().fingerprint().to_string()), "{refused}");
    laptop.pair_with(&desk, server.address(), &["--name", "laptop"]);
    // By its name, in scripts, and only what was granted.
    laptop.run("tcp-client").args(["server"]).stdin("echo hello\nls\n").prints("hello\nnotes.txt\n");
    laptop.run("tcp-client").args([server.address()]).stdin("echo hello\n").prints("hello\n");
    let refused = "laptop has echo,chat,read here; the server's operator grants it with: \
                   tcp-server peers allow laptop echo,chat,read,exec";
    laptop.run("rexec").args(["server", "true"]).code(251).stderr(refused).prints("");
    // A change holds from the next connection on.
    desk.run("tcp-server").args(["peers", "allow", "laptop", "exec"]).prints("laptop may exec here\n");
    laptop.run("rexec").args(["server", "echo $((6 * 7))"]).prints("42\n");
    laptop.run("tcp-client").args(["server"]).stdin("ls\n").code(1).stderr("needs the service read").prints("");
    // Being dialled gave the server no rights here.
    let known = laptop.peers();
    assert_eq!(known.by_name("server").unwrap().services.to_string(), "none");
    assert_eq!(desk.peers().by_name("laptop").unwrap().fingerprint, laptop.identity().fingerprint());
    let list = desk.run("tcp-server").args(["peers", "list", "--json"]).output().json();
    assert_eq!((&list[0]["name"], &list[0]["services"]), (&"laptop".into(), &"exec".into()));
    assert!(list[0]["last_seen"].is_string(), "{list}");
}

/// Whatever was narrowed by hand: a new code is no reason to trust a machine with more.
#[test]
fn paired_again_a_machine_keeps_its_rights_and_changes_are_told() {
    let (desk, laptop) = (Machine::new(), Machine::new());
    let server = desk.server(&["--guest", "none"]);
    let pair_again = |args: &[&str]| {
        let (mut offering, code) = desk.offer(args);
        let paired = laptop.run("tcp-client").args(["pair", server.address()]).stdin(format!("{code}\n")).any_stderr();
        let client = paired.output().text().to_owned();
        let told = offering.wait_for("paired with laptop, ");
        assert_eq!(offering.wait().code(), Some(0));
        let may = told.rsplit_once(", which may ").unwrap().1.to_owned();
        (may, client, offering.stderr.iter().collect::<Vec<_>>().join("\n"))
    };
    std::fs::create_dir(server.root().join("in")).unwrap();
    laptop.pair_with(&desk, server.address(), &["--name", "laptop", "--allow", "read,write", "--root", "in"]);
    let added = desk.peers().by_name("laptop").unwrap().added.clone();
    let (may, client, told) = pair_again(&[]);
    assert_eq!(may, "read,write here, and is shown /in");
    assert!(client.contains("; this machine may read,write there, and is shown /in\n"), "{client}");
    assert!(told.contains("it was known already, and keeps what it could do"), "{told}");
    let (may, _, told) = pair_again(&["--allow", "read"]);
    assert_eq!(may, "read here, and is shown /in");
    let changed =
        "it was known already, and may read here, and is shown /in; until now it may read,write here, and is shown /in";
    assert!(told.contains(changed), "{told}");
    let (may, ..) = pair_again(&["--root", "/"]);
    assert_eq!(may, "read here");
    let (may, ..) = pair_again(&["--allow", "exec", "--command", "uptime"]);
    assert_eq!(may, "exec here, and run only: uptime");
    let (may, client, told) = pair_again(&["--name", "laptop"]);
    assert_eq!(may, "exec here, and run only: uptime");
    assert!(client.contains("; this machine may exec there, and run only: uptime\n"), "{client}");
    assert!(told.contains("laptop is known already; paired again, the same machine keeps what it may do"), "{told}");
    assert_eq!(desk.peers().by_name("laptop").unwrap().added, added);
    // What would be a lie is said before there is a code, where it can be known, and otherwise to the one who offered it.
    let lie = desk.run("tcp-server").args(["pair", "--name", "laptop", "--root", "in"]).code(2);
    lie.stderr("laptop may exec, which no root confines").prints("");
    let (mut offering, code) = desk.offer(&["--root", "in"]);
    laptop
        .run("tcp-client")
        .args(["pair", server.address()])
        .stdin(format!("{code}\n"))
        .code(5)
        .any_stderr()
        .prints("");
    assert_eq!(offering.wait().code(), Some(1));
    let told: Vec<String> = offering.stderr.iter().collect();
    assert!(told.last().unwrap().contains("but: laptop may exec, which no root confines"), "{told:?}");
}

#[test]
fn both_sides_say_what_was_granted_and_what_to_type() {
    let desk = Machine::new();
    let server = desk.server(&["--guest", "none"]);
    for (at, (allow, next)) in [
        ("exec", "next: rexec build uptime"),
        ("echo,chat,read", "next: tcp-client build opens a prompt"),
        ("write", "next: fput FILE build: sends a file there"),
        ("chat", "next: tcp-client chat build"),
        ("none", "tcp-server peers allow m4 read"),
    ]
    .into_iter()
    .enumerate()
    {
        let (laptop, name) = (Machine::new(), format!("m{at}"));
        let (mut offering, code) = desk.offer(&["--name", &name, "--allow", allow]);
        // As a messenger passes it on.
        let code = code.replace('-', " \u{2014} ");
        let paired =
            laptop.run("tcp-client").args(["pair", server.address(), "--name", "build"]).stdin(format!("{code}\n"));
        let paired = paired.stderr(next).output();
        let may = if allow == "none" { "do nothing" } else { allow };
        let key = desk.identity().fingerprint();
        assert_eq!(paired.text(), format!("paired with build, {key}; this machine may {may} there\n"));
        assert_eq!(offering.wait_for("paired with").rsplit_once(", which may ").unwrap().1, format!("{may} here"));
        assert_eq!(offering.wait().code(), Some(0));
        let told = offering.stderr.iter().collect::<Vec<_>>().join("\n");
        assert!(told.contains(&format!("next: tcp-server peers shows it; peers allow {name} LIST ")), "{told}");
        // What the server may do here is nothing; where it was dialled and what it has said, is said.
        let list = laptop.run("tcp-server").args(["peers"]).output();
        let row = list.text().lines().nth(1).unwrap();
        let dialled =
            format!("  -, dialled at {}, where this machine may {allow} (as it said when paired)", server.address());
        assert!(row.starts_with("build  none      ") && row.ends_with(&dialled), "{row}");
        let json = laptop.run("tcp-server").args(["peers", "list", "--json"]).output().json();
        assert_eq!(
            (&json[0]["services"], &json[0]["address"], &json[0]["there"], &json[0]["from"]),
            (&"none".into(), &server.address().into(), &allow.into(), &serde_json::Value::Null)
        );
        // And on the other side: it was not dialled.
        let json = desk.run("tcp-server").args(["peers", "list", "--json"]).output().json();
        assert_eq!((&json[at]["address"], &json[at]["from"]), (&serde_json::Value::Null, &"127.0.0.1".into()));
    }
}

/// Introduces `machine` to `server` under a name of the test's choice.
fn pair_as(server: &Server, machine: &Machine, code: &str, name: &str) {
    use landline::trust::pake::{Binding, EXPORTER_LABEL, Exchange, Role};
    use landline::wire::Message;
    let (mut line, key) = machine.dial(server);
    let code: Code = code.parse().unwrap();
    let exported = line.export(EXPORTER_LABEL).unwrap().unwrap();
    let binding = Binding { client: machine.identity().fingerprint(), server: key, exported };
    let (exchange, message) = Exchange::begin(Role::Client, &code, binding);
    line.sender().send(&Message::Pair { name: name.into() }, &message).unwrap();
    assert!(matches!(line.answer_or_refusal("pair").unwrap(), Message::Pair { .. }));
    let confirmation = exchange.finish(&line.receiver().body(64).unwrap()).unwrap();
    assert!(matches!(line.answer_or_refusal("confirm").unwrap(), Message::Confirm { guesses_left: Some(2) }));
    assert!(confirmation.accepts(&line.receiver().body(64).unwrap()));
    line.sender().send(&Message::Confirm { guesses_left: None }, &confirmation.mac()).unwrap();
    assert!(matches!(line.answer_or_refusal("ok").unwrap(), Message::Ok { .. }));
}

/// A machine may call itself what it likes: no client is led to it by a name that means something else here.
#[test]
fn no_machine_chooses_the_name_under_which_it_is_dialled() {
    let (desk, other) = (Machine::new(), Machine::new());
    let (here, there) = (desk.server(&[]), other.server(&[]));
    let port = |server: &Server| server.address().rsplit(':').next().unwrap().to_owned();
    // Paired by its address, it is called by its address, whatever it calls itself.
    let (_offering, code) = other.offer(&[]);
    desk.run("tcp-client").args(["pair", there.address()]).stdin(format!("{code}\n")).any_stderr().output();
    let address = format!("127.0.0.1-{}", port(&there));
    assert!(desk.peers().iter().map(|peer| &peer.name).eq([&address]), "{:?}", desk.peers());
    desk.run("tcp-client").args([&address]).stdin("echo hi\n").prints("hi\n");
    desk.run("tcp-server").args(["peers", "revoke", &address]).output();
    for name in ["localhost", "build"] {
        let (mut offering, code) = desk.offer(&[]);
        pair_as(&here, &other, &code, name);
        assert_eq!(offering.wait().code(), Some(0));
        let config = format!("[hosts]\nbuild = \"{}\"\n", here.address());
        std::fs::write(desk.home_path().join("config.toml"), config).unwrap();
        let reaches_own_server = || {
            let host = if name == "build" { name.to_owned() } else { format!("localhost:{}", port(&here)) };
            desk.run("rexec").args([&host, "echo here"]).prints("here\n");
        };
        assert!(desk.peers().by_name(name).unwrap().is_self_named);
        reaches_own_server();
        // Nor when it is dialled later, by its address: it keeps the name for its rights, and that is all.
        let (_offering, code) = other.offer(&[]);
        let paired = desk.run("tcp-client").args(["pair", there.address()]).stdin(format!("{code}\n"));
        let next = format!("next: tcp-client {} opens", there.address());
        assert!(paired.stderr(&next).output().text().starts_with(&format!("paired with {name}, ")));
        reaches_own_server();
        let list = desk.run("tcp-server").args(["peers"]).output();
        assert!(list.text().contains(", named by itself\n"), "{}", list.text());
        // Named here, it is dialled by its name.
        desk.run("tcp-server").args(["peers", "rename", name, "other"]).output();
        desk.run("tcp-client").args(["other"]).stdin("echo hi\n").prints("hi\n");
        // A name that means something else is refused here too.
        for (wish, means) in [
            ("build", "means 127.0.0.1:"),
            ("LocalHost", "means this machine itself"),
            ("192.0.2.9", "another address"),
        ] {
            let run = desk.run("tcp-client").args(["pair", there.address(), "--name", wish]).code(2);
            run.stderr(means).prints("");
        }
        desk.run("tcp-server").args(["peers", "revoke", "other"]).output();
    }
}

#[test]
fn at_a_terminal_a_machine_that_was_dialled_by_its_address_gets_a_name() {
    let (desk, other) = (Machine::new(), Machine::new());
    let there = other.server(&[]);
    for (typed, name) in
        [("", format!("127.0.0.1-{}", there.address().rsplit(':').next().unwrap())), ("desk", "desk".into())]
    {
        let (_offering, code) = other.offer(&[]);
        let mut terminal = desk.run("tcp-client").args(["pair", there.address()]).at_a_terminal();
        terminal.exp_string("code: ").unwrap();
        terminal.send_line("7-falcon-copper-limp").unwrap();
        terminal.exp_string("is none of its words; lamp is; this costs no guess").unwrap();
        terminal.exp_string("code: ").unwrap();
        terminal.send_line(&code).unwrap();
        terminal.exp_string("what is it to be called here?").unwrap();
        if !typed.is_empty() {
            terminal.send_line("localhost").unwrap();
            terminal.exp_string("localhost means this machine itself here; choose another name").unwrap();
        }
        terminal.send_line(typed).unwrap();
        terminal.exp_string(&format!("paired with {name}, ")).unwrap();
        terminal.exp_eof().unwrap();
        desk.run("tcp-client").args([&name]).stdin("echo hi\n").prints("hi\n");
        desk.run("tcp-server").args(["peers", "revoke", &name]).output();
    }
}

#[test]
fn a_wrong_code_costs_a_guess_and_the_third_ends_it() {
    let (desk, stranger) = (Machine::new(), Machine::new());
    let server = desk.server(&["--guest", "none"]);
    let pair =
        |code: &str| stranger.run("tcp-client").args(["pair", server.address()]).stdin(format!("{code}\n")).code(5);
    pair("7-falcon-copper-lamp").stderr("no pairing is open here").prints("");
    let (mut offering, code) = desk.offer(&[]);
    // What cannot be a code costs nothing.
    let typed = stranger.run("tcp-client").args(["pair", server.address()]).stdin("7-falcon-copper-limp\n").code(2);
    typed.stderr("\"limp\" is none of its words; lamp is").prints("");
    let wrong = if code == "7-falcon-copper-lamp" { "8-falcon-copper-lamp" } else { "7-falcon-copper-lamp" };
    let no_guess = "no guess is left, and a new code is needed: tcp-server pair";
    for left in ["2 guesses are left", "1 guess is left", no_guess] {
        let why = "the code does not match the server's, or another machine is in between; nothing was recorded; ";
        pair(wrong).stderr(&format!("{why}{left}\n")).prints("");
        // The operator is told of each as it is noticed; the last one ends it.
        while left != no_guess
            && offering.stderr.recv_timeout(DEADLINE).unwrap() != format!("tcp-server: a wrong code was tried; {left}")
        {
        }
    }
    pair(&code).stderr("was ended by 3 wrong codes").prints("");
    assert_eq!(offering.wait().code(), Some(1));
    assert!(offering.stderr.iter().any(|line| line.contains("three wrong codes were tried")));
    assert_eq!((desk.peers(), stranger.peers()), (Peers::default(), Peers::default()));
    server.wait_for_log("no proof of the code, 0 guesses left");
}

/// A guess is counted before it is answered: hanging up does not take it back.
#[test]
fn hanging_up_takes_no_guess_back() {
    let (desk, stranger) = (Machine::new(), Machine::new());
    let server = desk.server(&["--guest", "none"]);
    let (mut offering, code) = desk.offer(&[]);
    for left in [2, 1, 0] {
        let (line, _) = stranger.dial(&server);
        line.sender().send(&landline::wire::Message::Pair { name: "x".into() }, &[b'A'; 33]).unwrap();
        drop(line);
        // On disk by the time that the server has noticed.
        wait_until("the guess is counted", || {
            let offer = std::fs::read_to_string(desk.home_path().join("pairing.json")).unwrap_or_default();
            offer.contains(&format!("\"guesses_left\":{left}")) || offer.contains("spoiled")
        });
    }
    assert_eq!(offering.wait().code(), Some(1));
    let late = stranger.run("tcp-client").args(["pair", server.address()]).stdin(format!("{code}\n"));
    late.code(5).stderr("wrong codes").prints("");
}

/// A machine in the middle has certificates of their own for both sides and passes every message on.
#[test]
fn a_machine_in_the_middle_learns_nothing_and_nothing_is_recorded() {
    let (desk, laptop, middle) = (Machine::new(), Machine::new(), Machine::new());
    let server = desk.server(&["--guest", "none"]);
    let (offering, code) = desk.offer(&[]);
    let passed_on = Arc::new(Mutex::new(Vec::new()));
    let (identity, seen, upstream) = (middle.identity(), Arc::clone(&passed_on), server.address().to_owned());
    let (address, passing) = serve_one(move |stream| {
        let client =
            Stream::from(stream).accept_tls(&[], &ServerTls::ours(identity.credentials()).unwrap(), DEADLINE).unwrap();
        let onward = Stream::from(TcpStream::connect(upstream).unwrap());
        let onward = onward.connect_tls(identity.credentials(), Arc::new(|_| true), DEADLINE).unwrap();
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), onward.split());
        let up = Arc::clone(&seen);
        thread::scope(|scope| {
            scope.spawn(move || pass_on(Receiver::new(from_client, &[]), &Sender::new(to_server), &up));
            pass_on(Receiver::new(from_server, &[]), &Sender::new(to_client), &seen);
        });
    });
    // The client trusts any server that answers: the code alone must notice.
    let paired = laptop.run("tcp-client").args(["pair", &address]).stdin(format!("{code}\n")).code(5);
    paired
        .stderr("the code does not match the server's, or another machine is in between; nothing was recorded")
        .prints("");
    passing.join().unwrap();
    let seen: Vec<u8> = passed_on.lock().unwrap().concat();
    assert!(seen.windows(4).any(|bytes| bytes == b"pair"), "the middle saw the conversation");
    for word in code.split('-').filter(|word| word.len() > 3) {
        assert!(!seen.windows(word.len()).any(|bytes| bytes == word.as_bytes()), "{word} went over the line");
    }
    server.wait_for_log("the other end closed the connection");
    assert_eq!((desk.peers(), laptop.peers()), (Peers::default(), Peers::default()));
    // It cost one guess; the right code over an honest connection still works.
    let (mut line, key) = laptop.dial(&server);
    let code: Code = code.parse().unwrap();
    call_pair(&mut line, &code, laptop.identity().fingerprint(), key).unwrap();
    offering.wait_for("paired with");
    assert_eq!(desk.peers().iter().count(), 1);
}

/// Passes messages on until either side has enough.
fn pass_on(
    mut from: Receiver<landline::net::stream::ReadHalf>,
    to: &Sender<landline::net::stream::WriteHalf>,
    seen: &Mutex<Vec<Vec<u8>>>,
) {
    let mut json = Vec::new();
    while let Ok(Some(message)) = from.recv_request(&mut json) {
        let Ok(body) = from.body(64) else { break };
        seen.lock().unwrap().push(landline::wire::channel::encode(&message, &body).unwrap());
        if to.send(&message, &body).is_err() {
            break;
        }
    }
    to.lock().stream().close();
}

#[test]
fn a_changed_key_is_refused_with_both_fingerprints() {
    let (desk, laptop) = (Machine::new(), Machine::new());
    let server = desk.server(&[]);
    laptop.pair_with(&desk, server.address(), &[]);
    let old = desk.identity().fingerprint().to_string();
    drop(server);
    // The machine at that address is another one now.
    let other = Machine::new();
    let address = laptop.peers().by_name("server").unwrap().address.clone().unwrap();
    let impostor = other.server(&["--guest", "all", "--bind", &address]);
    for program in ["tcp-client", "fget"] {
        let target = if program == "fget" { format!("tls://{address}/x") } else { "server".into() };
        let stderr = laptop.run(program).args([&target]).code(5).any_stderr().output().stderr;
        let new = other.identity().fingerprint().to_string();
        assert!(stderr.contains(&old) && stderr.contains(&new), "{stderr}");
        assert!(stderr.contains("tcp-server peers revoke server"), "{stderr}");
    }
    // Pairing anew does not talk it over either: first the old key is to be forgotten.
    let (_offering, code) = other.offer(&[]);
    let again = laptop.run("tcp-client").args(["pair", &address]).stdin(format!("{code}\n")).code(5);
    again.stderr("the key has changed").prints("");
    laptop.run("tcp-server").args(["peers", "revoke", "server"]).output();
    let again = laptop.run("tcp-client").args(["pair", &address, "--name", "new"]).stdin(format!("{code}\n"));
    assert!(again.any_stderr().output().text().starts_with("paired with new"));
    assert!(impostor.log().contains("fatal alert"), "the client said no in the handshake");
}

#[test]
fn a_peer_sees_only_its_own_part_of_the_root() {
    let (desk, laptop) = (Machine::new(), Machine::new());
    let server = desk.server(&[]);
    server.write("secret", "s");
    server.write("in/there", "t");
    std::os::unix::fs::symlink("../secret", server.root().join("in/link")).unwrap();
    laptop.pair_with(&desk, server.address(), &["--name", "laptop", "--root", "in", "--allow", "read,write"]);
    let script = "pwd\nls\nget link x\nget ../secret x\ncd ..\nmkdir /made\n";
    let output = laptop.run("tcp-client").args(["server"]).stdin(script).current_dir(laptop.dir.path()).code(1);
    let output = output.any_stderr().output();
    assert_eq!(output.text(), "/\nlink\nthere\n");
    assert!(output.stderr.contains("leads out of the root") && output.stderr.contains("leads above the root"));
    assert!(server.root().join("in/made").is_dir() && !laptop.dir.path().join("x").exists());
    // The rule that would lie is refused wherever it is written.
    let lie = "may exec, which no root confines";
    desk.run("tcp-server").args(["peers", "allow", "laptop", "read,exec"]).code(1).stderr(lie).prints("");
    desk.run("tcp-server").args(["pair", "--allow", "exec", "--root", "in"]).code(2).stderr(lie).prints("");
    desk.run("tcp-server").args(["peers", "root", "laptop", "/"]).prints("laptop is shown /\n");
    laptop.run("tcp-client").args(["server"]).stdin("ls\n").prints("in/\nsecret\n");
    desk.run("tcp-server").args(["peers", "root", "laptop", "gone"]).prints("laptop is shown /gone\n");
    let gone = "the directory that laptop is shown cannot be opened: /gone: no such file or directory";
    laptop.run("tcp-client").args(["server"]).stdin("ls\n").code(1).stderr(gone).prints("");
}

#[test]
fn the_home_cannot_be_reached_through_any_root() {
    let desk = Machine::new();
    std::fs::write(desk.dir.path().join("public"), "p").unwrap();
    desk.identity();
    let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, desk.dir.path().join(name)).unwrap();
    link(Path::new("home"), "innocent");
    link(Path::new("home/identity.pem"), "innocent.pem");
    std::fs::hard_link(desk.home_path().join("identity.pem"), desk.dir.path().join("hard.pem")).unwrap();
    std::fs::create_dir(desk.home_path().join("deeper")).unwrap();
    std::fs::write(desk.home_path().join("deeper/file"), "f").unwrap();
    // The root is what holds the home.
    let server = Server::with_args(&["--guest", "all"], desk.dir.path(), &desk.home_path());
    let address = server.plain();
    for path in ["home/identity.pem", "innocent/identity.pem", "innocent.pem", "hard.pem", "home/deeper/file"] {
        let got = Run::new("fget").args([&format!("{address}/{path}"), "got"]).current_dir(desk.dir.path()).code(1);
        got.stderr("the server keeps its keys here, and never shows them").prints("");
    }
    let script = "ls home\ncd home\nls innocent\nrm home/identity.pem\nrm -r home\nmv home elsewhere\nmkdir home/x\n\
                  mv public home/public\nrm -r home/deeper\n";
    let refused = Run::new("tcp-client").args([&address]).stdin(script).code(1).any_stderr().output();
    assert_eq!(
        refused.stderr.matches("the server keeps its keys here").count(),
        script.lines().count(),
        "{}",
        refused.stderr
    );
    let put = Run::new("fput").args(["public", &format!("{address}/home/identity.pem")]).current_dir(desk.dir.path());
    put.code(1).stderr("never shows them").prints("");
    assert!(desk.home_path().join("deeper/file").exists());
    Run::new("tcp-client").args([&address]).stdin("ls public\n").prints("public\n");
    // No list has its name, nor has a tree.
    Run::new("tcp-client").args([&address]).stdin("ls\n").prints("hard.pem\ninnocent\ninnocent.pem\npublic\n");
    let tree = desk.dir.path().join("copied");
    let get = Run::new("fget").args(["-r", &format!("{address}/."), "copied"]).current_dir(desk.dir.path()).code(1);
    get.any_stderr().output();
    assert!(tree.join("public").exists() && !tree.join("home").exists());
    // And it is no root itself, nor is anything in it.
    for root in [desk.home_path(), desk.home_path().join("deeper"), desk.dir.path().join("innocent")] {
        let run = desk.run("tcp-server").args(["--bind", "127.0.0.1:0", "--root"]).args([&root]).code(1);
        run.stderr("it cannot be shown; choose another root").prints("");
    }
}

/// A machine in between could lead us to our own server: what was meant for another machine must not
/// be done here.
#[test]
fn our_own_key_is_not_taken_for_somebody_elses() {
    let (desk, other) = (Machine::new(), Machine::new());
    let server = desk.server(&[]);
    let key = other.identity().fingerprint();
    let entry = |name: &str, address: &str| {
        format!("[{name}]\nfingerprint = \"{key}\"\nservices = \"echo\"\n{address}added = \"\"\n")
    };
    let address = format!("address = \"{}\"\n", server.address());
    desk.home().replace("peers.toml", entry("build", &address).as_bytes()).unwrap();
    for host in ["build", server.address()] {
        desk.run("rexec").args([host, "true"]).code(255).stderr("the key has changed").prints("");
    }
    // And a peer that calls itself localhost, but was never dialled so, is not dialled so.
    desk.home().replace("peers.toml", entry("localhost", "").as_bytes()).unwrap();
    let here = format!("localhost:{}", server.address().rsplit(':').next().unwrap());
    desk.run("rexec").args([&here, "echo here"]).prints("here\n");
}

/// A second name for a file of the home is hidden as long as the home has that file; then there is nothing in it.
#[test]
fn what_was_a_secret_is_not_readable_by_a_second_name() {
    let (desk, stranger) = (Machine::new(), Machine::new());
    let server = desk.server(&["--guest", "read"]);
    let (mut offering, code) = desk.offer(&[]);
    let stale = server.root().join("stale");
    std::fs::hard_link(desk.home_path().join("pairing.json"), &stale).unwrap();
    assert!(std::fs::read_to_string(&stale).unwrap().contains(&code));
    let get = || Run::new("fget").args([&format!("{}/stale", server.plain()), "-"]);
    get().code(1).stderr("the server keeps its keys here").prints("");
    let wrong = if code == "7-falcon-copper-lamp" { "8-falcon-copper-lamp" } else { "7-falcon-copper-lamp" };
    let guess = stranger.run("tcp-client").args(["pair", server.address()]).stdin(format!("{wrong}\n")).code(5);
    guess.any_stderr().prints("");
    get().prints("");
    // Nor is the offer that is taken back.
    let stale = server.root().join("stale-too");
    std::fs::hard_link(desk.home_path().join("pairing.json"), &stale).unwrap();
    offering.signal(rustix::process::Signal::INT);
    offering.wait();
    assert_eq!(std::fs::read(&stale).unwrap(), b"");
}

#[test]
fn what_the_home_lies_in_stays_where_it_is() {
    let desk = Machine::new();
    let home = desk.dir.path().join("a/b/home");
    let server = Server::with_args(&["--guest", "all"], desk.dir.path(), &home);
    let refused = Run::new("tcp-client").args([&server.plain()]).stdin("mv a x\nmv a/b x\nrm -r a\n").code(1);
    let stderr = refused.any_stderr().output().stderr;
    assert_eq!(stderr.matches("the server keeps its keys").count(), 3, "{stderr}");
    assert!(home.join("identity.pem").exists());
}

#[test]
fn the_audit_log_is_not_within_reach_of_those_it_records() {
    let desk = Machine::new();
    let root = desk.dir.path().join("root");
    std::fs::create_dir_all(root.join("logs")).unwrap();
    for audit in ["root/audit", "root/logs/audit"] {
        let run = desk.run("tcp-server").args(["--bind", "127.0.0.1:0", "--root", "root", "--audit", audit]);
        run.current_dir(desk.dir.path()).code(2).stderr("lies below the root").prints("");
    }
    assert!(!root.join("audit").exists());
}

#[test]
fn names_come_from_the_hosts_section_and_from_known_peers() {
    let desk = Machine::new();
    let server = desk.server(&[]);
    server.write("a", "A");
    let config = desk.home_path().join("config.toml");
    std::fs::write(&config, format!("[hosts]\nbuild = \"{}\"\n", server.address())).unwrap();
    desk.run("rexec").args(["build", "echo here"]).prints("here\n");
    desk.run("fget").args(["build:a", "-q", "b"]).current_dir(desk.dir.path()).prints("");
    assert_eq!(std::fs::read(desk.dir.path().join("b")).unwrap(), b"A");
    let datagrams = desk.run("udp-echo").args(["serve", "--bind", "127.0.0.1:0", "--reply", "upper"]).spawn();
    let ready = datagrams.wait_for("ready on");
    std::fs::write(&config, format!("[hosts]\nbuild = \"{}\"\n", ready.rsplit(' ').next().unwrap())).unwrap();
    desk.run("udp-echo").args(["send", "build", "hello"]).prints("HELLO\n");
    std::fs::write(&config, "[hosts]\nbuild = 7\n").unwrap();
    let broken = desk.run("rexec").args(["build", "true"]).code(251);
    broken.stderr("config.toml: line 2: build: wants an address").prints("");
}

/// What is not encrypted needs no key, and makes no home.
#[test]
fn a_plain_connection_needs_no_home() {
    let (desk, other) = (Machine::new(), Machine::new());
    let server = desk.server(&["--guest", "echo"]);
    other.run("tcp-client").args([&server.plain()]).stdin("echo hi\n").prints("hi\n");
    assert!(!other.home_path().exists());
}

#[test]
fn a_loose_home_is_refused_with_the_command_that_mends_it() {
    let desk = Machine::new();
    desk.identity();
    set_mode(&desk.home_path(), 0o755);
    let chmod = format!("chmod 700 {}", desk.home_path().display());
    desk.run("tcp-server").args(["--bind", "127.0.0.1:0"]).code(1).stderr(&chmod).prints("");
    desk.run("rexec").args(["localhost:1", "true"]).code(251).stderr(&chmod).prints("");
    set_mode(&desk.home_path(), 0o700);
    let key = desk.home_path().join("identity.pem");
    set_mode(&key, 0o644);
    let chmod = format!("chmod 600 {}", key.display());
    desk.run("tcp-server").args(["identity"]).code(1).stderr(&chmod).prints("");
}

#[test]
fn the_audit_log_says_who_did_what_and_how_it_ended() {
    let (desk, laptop) = (Machine::new(), Machine::new());
    let audit = desk.dir.path().join("audit.jsonl");
    let server = desk.server(&["--audit", audit.to_str().unwrap(), "--guest", "echo"]);
    server.write("a", "A");
    laptop.pair_with(&desk, server.address(), &["--name", "laptop", "--allow", "read,exec"]);
    laptop.run("rexec").args(["server", "cat; exit 3"]).stdin("a secret").code(3).prints("a secret");
    laptop.run("fget").args(["server:a", "-q"]).current_dir(laptop.dir.path()).prints("");
    laptop.run("tcp-client").args(["server"]).stdin("rm a\n").code(1).any_stderr().output();
    Run::new("tcp-client").args([&server.plain()]).stdin("ls\n").code(1).any_stderr().output();
    server.stop();
    let text = std::fs::read_to_string(&audit).unwrap();
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary: Vec<String> = records
        .iter()
        .map(|r| format!("{} {} {} {} {}", r["event"], r["kind"], r["name"], r["verb"], r["about"]).replace('"', ""))
        .collect();
    let key = laptop.identity().fingerprint().to_string();
    assert_eq!(
        summary[1..],
        [
            "began known laptop exec cat; exit 3",
            "ended known laptop exec cat; exit 3",
            "ended known laptop pull a",
            // What guests are refused is not in it: they could write whatever they like there.
            "ended known laptop rm a",
        ]
    );
    assert!(summary[0].starts_with("ended guest null pair calls itself "), "{summary:?}");
    assert_eq!((&records[2]["outcome"], &records[2]["fingerprint"]), (&"exit 3".into(), &key.clone().into()));
    assert!(records[4]["outcome"].as_str().unwrap().contains("needs the service write"));
    assert!(records.iter().all(|r| r["time"].is_string() && r["address"].as_str().unwrap().starts_with("127.0.0.1:")));
    assert!(!text.contains("a secret"), "stdin is nobody's business");
    assert_eq!(std::fs::metadata(&audit).unwrap().mode() & 0o777, 0o600);
    set_mode(&audit, 0o640);
    let loose = desk.run("tcp-server").args(["--bind", "127.0.0.1:0", "--audit"]).args([&audit]).code(1);
    loose.stderr("chmod 600").prints("");
}

#[test]
fn without_a_running_server_the_pairing_serves_itself_and_nothing_else() {
    let (desk, laptop) = (Machine::new(), Machine::new());
    let (mut offering, code) = desk.offer(&["--bind", "127.0.0.1:0", "--allow", "all"]);
    let told = offering.stderr.recv_timeout(DEADLINE).unwrap();
    let port = told.split("tcp-client pair ").nth(1).unwrap().split(',').next().unwrap().rsplit(':').next().unwrap();
    let address = format!("127.0.0.1:{port}");
    desk.run("tcp-client").args([&address]).stdin("pwd\n").code(1).stderr("own identity has none here").prints("");
    laptop.run("tcp-client").args(["pair", &address, "-q"]).stdin(format!("{code}\n")).prints("");
    assert_eq!(offering.wait().code(), Some(0));
    assert_eq!(desk.peers().iter().next().unwrap().services.to_string(), "echo,chat,read,write,exec,operator");
    // Interrupted, it takes its code back.
    let (mut offering, _) = desk.offer(&["--bind", "127.0.0.1:0"]);
    offering.signal(rustix::process::Signal::INT);
    assert_eq!(offering.wait().code(), Some(130));
    assert!(!desk.home_path().join("pairing.json").exists());
}

#[test]
fn at_a_terminal_a_fingerprint_can_be_compared() {
    let (desk, laptop) = (Machine::new(), Machine::new());
    let server = desk.server(&["--guest", "echo"]);
    let start = |machine: &Machine| machine.run("tcp-client").args([server.address()]).at_a_terminal();
    let key = desk.identity().fingerprint().to_string();
    let mut terminal = start(&laptop);
    terminal.exp_string(&key).unwrap();
    terminal.exp_string("[yes/once/no/fingerprint]").unwrap();
    terminal.send_line("no").unwrap();
    terminal.exp_string("unknown server").unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(laptop.peers(), Peers::default());
    let mut terminal = start(&laptop);
    terminal.exp_string("[yes/once/no/fingerprint]").unwrap();
    terminal.send_line(&key.replace("SHA256:", "SHA256:A")).unwrap();
    terminal.exp_string("which is NOT the key that it was compared with").unwrap();
    terminal.exp_eof().unwrap();
    let mut terminal = start(&laptop);
    terminal.exp_string("[yes/once/no/fingerprint]").unwrap();
    terminal.send_line("once").unwrap();
    terminal.exp_string("/> ").unwrap();
    terminal.send_line("quit").unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(laptop.peers(), Peers::default());
    let mut terminal = start(&laptop);
    terminal.exp_string("[yes/once/no/fingerprint]").unwrap();
    terminal.send_line(&key).unwrap();
    terminal.exp_string("remembered as 127.0.0.1-").unwrap();
    terminal.exp_string("/> ").unwrap();
    terminal.send_line("quit").unwrap();
    terminal.exp_eof().unwrap();
    // From now on scripts get through too.
    laptop.run("tcp-client").args([server.address()]).stdin("echo hi\n").prints("hi\n");
}

const QUESTION: &str = "[yes/once/no/fingerprint]";

#[test]
fn no_question_is_asked_about_one_of_many_hosts() {
    let (desks, laptop) = ([Machine::new(), Machine::new()], Machine::new());
    let servers = desks.each_ref().map(|desk| desk.server(&["--guest", "exec"]));
    let hosts = servers.each_ref().map(Server::address).join(",");
    let said = laptop.run("rexec").args(["-H", &hosts, "true"]).at_a_terminal().exp_eof().unwrap();
    assert_eq!(said.matches("introduce it with: tcp-client pair 127.0.0.1:").count(), 2, "{said}");
    assert!(said.contains("0 ended with 0, 2 with another code, 255 at most") && !said.contains(QUESTION), "{said}");
}

#[test]
fn questions_at_the_same_time_come_one_after_the_other() {
    let (desks, laptop) = ([Machine::new(), Machine::new(), Machine::new()], Machine::new());
    let servers = desks.each_ref().map(|desk| desk.server(&["--guest", "read,write"]));
    let source = laptop.home_path().with_file_name("source");
    std::fs::write(&source, "hello").unwrap();
    let remotes = servers.each_ref().map(|server| server.remote("arrived"));
    let mut args = vec!["-q", source.to_str().unwrap()];
    args.extend(remotes.iter().map(String::as_str));
    let mut terminal = laptop.run("fput").args(&args).at_a_terminal();
    let mut asked = String::new();
    for _ in 0..3 {
        // What becomes of one answer is said before the next question stands there.
        let said = terminal.exp_string(QUESTION).unwrap();
        assert_eq!(said.matches(" is not known here").count(), 1, "{said}");
        assert!(asked.is_empty() || said.contains(&format!("remembered as 127.0.0.1-{asked};")), "{asked}: {said}");
        let (before, _) = said.split_once(" is not known here").unwrap();
        before.rsplit(':').next().unwrap().clone_into(&mut asked);
        terminal.send_line("yes").unwrap();
    }
    terminal.exp_eof().unwrap();
    for server in &servers {
        assert_eq!(server.read("arrived"), b"hello");
    }
    // There is no second question.
    laptop.run("fput").args(&args).prints("");
}
