//! Tokens: made, listed, narrowed and removed by `tcp-server token`.

use std::os::unix::fs::PermissionsExt as _;

use landline::trust::tokens::{Token, TokenId, Tokens};

use crate::harness::machine::Machine;

/// A token that `tcp-server token add` makes with these arguments.
fn add(machine: &Machine, args: &[&str]) -> String {
    let output = machine.run("tcp-server").args(["token", "add"]).args(args).any_stderr().output();
    output.text().trim_end().to_owned()
}

fn tokens(machine: &Machine) -> Vec<Token> {
    Tokens::load(&machine.home()).unwrap().iter().cloned().collect()
}

fn row(machine: &Machine, name: &str) -> String {
    let list = machine.run("tcp-server").args(["token"]).output();
    let row = list.text().lines().find(|line| line.starts_with(&format!("{name} ")));
    row.unwrap_or_else(|| panic!("{name} is not in {}", list.text())).to_owned()
}

#[test]
fn a_token_is_shown_once_and_only_its_hash_is_kept() {
    let desk = Machine::new();
    let added = desk.run("tcp-server");
    let added = added.args(["token", "add", "ci", "--allow", "read", "--root", "/dist/", "--expires", "30d"]);
    let added = added.any_stderr().output();
    let secret = added.text().trim_end();
    assert_eq!((added.text().lines().count(), secret.len()), (1, "landline_".len() + 22), "{secret}");
    assert!(secret.starts_with("landline_"), "{secret}");
    let told = &added.stderr;
    assert!(told.contains("tcp-server: ci may read here, and is shown /dist, until 20"), "{told}");
    assert!(told.contains("the token is shown this once, and only its hash is kept"), "{told}");
    assert!(told.contains("with curl: -u ci asks for it as the password"), "{told}");
    assert!(!told.contains(secret), "it is on standard output only: {told}");
    let path = desk.home_path().join("tokens.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let digits = secret.strip_prefix("landline_").unwrap();
    assert!(!text.contains(digits), "{text}");
    assert!(text.contains(&format!("sha256 = \"{}\"", TokenId::of(secret.as_bytes()))), "{text}");
    let [token] = tokens(&desk).try_into().unwrap();
    assert_eq!((token.name.as_str(), token.services.to_string().as_str()), ("ci", "read"));
    assert_eq!(token.root.as_deref(), Some("dist"));
    // Two of the same name would be one too many, and no two are the same.
    let again = desk.run("tcp-server").args(["token", "add", "ci", "--allow", "read"]).code(1);
    again.stderr("ci: another token is called that already").prints("");
    assert_ne!(add(&desk, &["ci2", "--allow", "write"]), secret);
}

#[test]
fn tokens_are_listed_narrowed_renamed_and_removed() {
    let desk = Machine::new();
    desk.run("tcp-server").args(["token"]).prints("NAME  MAY HERE  EXPIRES  ADDED                 LAST USED\n");
    add(&desk, &["ci", "--allow", "read,write", "--root", "dist", "--expires", "2099-12-31T18:00:00Z"]);
    add(&desk, &["backup", "--allow", "write"]);
    let change = |args: &[&str], says: &str| desk.run("tcp-server").args(["token"]).args(args).prints(says);
    assert!(row(&desk, "ci").contains("  read,write  expires 2099-12-31T18:00:00Z  20"), "{}", row(&desk, "ci"));
    assert!(row(&desk, "ci").ends_with("Z  never, shown /dist"), "{}", row(&desk, "ci"));
    assert!(row(&desk, "backup").contains("  write       does not expire "), "{}", row(&desk, "backup"));
    change(&["allow", "ci", "read"], "ci may read here, and is shown /dist, until 2099-12-31T18:00:00Z\n");
    change(&["root", "ci", "dist/new"], "ci may read here, and is shown /dist/new, until 2099-12-31T18:00:00Z\n");
    change(&["expires", "ci", "never"], "ci may read here, and is shown /dist/new\n");
    change(&["root", "ci", "/"], "ci may read here\n");
    change(&["allow", "ci", "none"], "ci may do nothing here\n");
    change(&["rename", "ci", "build"], "ci is called build now\n");
    change(
        &["expires", "build", "2020-01-01T00:00:00Z"],
        "build may do nothing here, until 2020-01-01T00:00:00Z, which is over\n",
    );
    assert!(row(&desk, "build").contains("  expired 2020-01-01T00:00:00Z  "), "{}", row(&desk, "build"));
    let json = desk.run("tcp-server").args(["token", "list", "--json"]).output().json();
    let of = |name: &str, field: &str| {
        json.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()[field].clone()
    };
    assert_eq!((of("build", "is_expired"), of("build", "services")), (true.into(), "none".into()));
    assert_eq!((of("backup", "is_expired"), of("backup", "expires")), (false.into(), serde_json::Value::Null));
    // People look for them among the peers.
    let peers = desk.run("tcp-server").args(["peers"]).output();
    let row = peers.text().lines().find(|line| line.starts_with("backup")).unwrap();
    assert!(row.contains("  write     token, does not expire  "), "{}", peers.text());
    let json = desk.run("tcp-server").args(["peers", "list", "--json"]).output().json();
    let kinds: Vec<_> = json.as_array().unwrap().iter().map(|row| row["kind"].clone()).collect();
    assert_eq!(kinds, ["token", "token"]);
    change(&["remove", "backup"], "backup is not taken here any more\n");
    change(&["remove", "build"], "build is not taken here any more\n");
    assert_eq!(tokens(&desk), []);
}

#[test]
fn what_no_token_may_have_is_refused_with_the_reason() {
    let desk = Machine::new();
    add(&desk, &["ci", "--allow", "read"]);
    let before = std::fs::read(desk.home_path().join("tokens.toml")).unwrap();
    for (args, code, why) in [
        (&["add", "x", "--allow", "exec"][..], 1, "x may have read, write and chat at most, not exec: a token is in"),
        (&["add", "x", "--allow", "read,chat,echo"], 1, "not echo"),
        (&["add", "x", "--allow", "all"], 1, "for more, pair the machine with: tcp-server pair"),
        (&["add", "x", "--allow", "reed"], 2, "\"reed\" is not a service"),
        (&["add", "x", "--allow", "none"], 2, "a token that may do nothing is of no use"),
        (&["add", "x"], 2, "--allow"),
        (&["add", "x y", "--allow", "read"], 1, "\"x y\" cannot be a token's name"),
        (&["add", "x", "--allow", "read", "--root", "../up"], 1, "leads above the root"),
        (&["add", "x", "--allow", "read", "--expires", "soon"], 2, "write it like 30d, 12h"),
        (&["add", "x", "--allow", "read", "--expires", "99999999d"], 2, "that is too far away; write never"),
        (&["add", "x", "--allow", "read", "--expires", "2020-01-01T00:00:00Z"], 2, "has expired already"),
        (&["allow", "ci", "read,exec"], 1, "ci may have read, write and chat at most, not exec"),
        (&["allow", "cd", "read"], 1, "cd: no token of that name is known here; there are ci"),
        (&["rename", "ci", "-"], 1, "\"-\" cannot be a token's name"),
        (&["remove", "cd"], 1, "cd: no token of that name is known here"),
    ] {
        let output = desk.run("tcp-server").args(["token"]).args(args).code(code).stderr(why).output();
        assert_eq!(output.text(), "", "{args:?}");
    }
    assert_eq!(std::fs::read(desk.home_path().join("tokens.toml")).unwrap(), before, "nothing has changed");
    // What people have written wrong is told with its line, and nothing is written over it.
    desk.home().replace("tokens.toml", b"# mine\n[ci]\nservices = \"reed\"\n").unwrap();
    for args in [&["list"][..], &["add", "x", "--allow", "read"], &["remove", "ci"]] {
        desk.run("tcp-server")
            .args(["token"])
            .args(args)
            .code(1)
            .stderr("tokens.toml: line 3: services: \"reed\"")
            .prints("");
    }
    desk.run("tcp-server").args(["peers"]).code(1).stderr("tokens.toml: line 3").prints("");
}
