//! The table of verbs: what a request may be, what each needs, what serves it.
//!
//! One row a verb: its word, the services of which one is needed, and the function that serves it.
//! What a peer may do, what `hello` says it may do, and what the documents list all fall out of it.

use crate::chat::hub::Hub;
use crate::connection::Connection;
use crate::error::{Error, ErrorCode, Refusal, Result};
use crate::session::Session;
use crate::trust::Service::{Chat, Echo, Exec, Read, Write};
use crate::trust::{Service, Services, policy};
use crate::wire::message::Message;
use crate::{chat, dir, echo, exec, files, trees};

/// What serves a verb: the connection, its session, what the connections share, the request.
type Serve = fn(&mut Connection, &mut Session, &ServerState<'_>, &Message<'_>) -> Result<()>;

/// What connections share, and what outlives them.
#[derive(Debug, Clone, Copy)]
pub struct ServerState<'s> {
    /// The rooms.
    pub hub: &'s Hub,
    /// The peers' places and detached commands.
    pub exec: exec::ExecState<'s>,
}

/// One row of the table.
#[derive(Debug)]
pub struct Verb {
    /// The request's `type`.
    pub name: &'static str,
    /// A peer with any of these services may ask it.
    pub services: &'static [Service],
    serve: Serve,
}

/// Where a session stands matters to whoever can use a path, and to nobody else.
const ANY_PATH: &[Service] = &[Read, Write, Exec];

/// Every request that this server answers.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "echo",
        services: &[Echo],
        serve: |connection, session, _, request| match request {
            Message::Echo { streamed } => echo::serve_echo(connection, session, *streamed),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "chat",
        services: &[Chat],
        serve: |connection, session, shared, request| match request {
            Message::Chat { room, nick } => chat::serve_chat(connection, session, shared.hub, room, nick),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "exec",
        services: &[Exec],
        serve: |connection, session, shared, request| match request {
            Message::Exec { form, path, place, terms, modes } => {
                let (path, place) = (path.as_deref(), place.as_deref());
                exec::serve_exec(
                    connection,
                    session,
                    shared.exec,
                    exec::ExecRequest { form: *form, path, place, terms: *terms, modes: modes.as_deref() },
                )
            }
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "jobs",
        services: &[Exec],
        serve: |connection, session, shared, _| exec::jobs::serve_jobs(connection, session, shared.exec.jobs),
    },
    Verb {
        name: "attach",
        services: &[Exec],
        serve: |connection, session, shared, request| match request {
            Message::Attach { job, watch, tail } => {
                exec::jobs::serve_attach(connection, session, shared.exec.jobs, job, (*watch, *tail))
            }
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "kill",
        services: &[Exec],
        serve: |connection, session, shared, request| match request {
            Message::Kill { job, signal } => {
                exec::jobs::serve_kill(connection, session, shared.exec.jobs, job, signal.as_deref())
            }
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "place",
        services: &[Exec],
        serve: |connection, session, shared, request| match request {
            Message::Place { place, path, ttl_ms, variables } => {
                let change = (path.as_deref(), *ttl_ms, *variables);
                exec::places::serve_place(connection, session, shared.exec.places, place, change)
            }
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "places",
        services: &[Exec],
        serve: |connection, session, shared, _| exec::places::serve_places(connection, session, shared.exec.places),
    },
    Verb {
        name: "cd",
        services: ANY_PATH,
        serve: |connection, session, _, request| match request {
            Message::Cd { path } => dir::serve_cd(connection, session, path),
            other => Err(not_this_verb(other)),
        },
    },
    Verb { name: "pwd", services: ANY_PATH, serve: |connection, session, _, _| dir::serve_pwd(connection, session) },
    Verb {
        name: "ls",
        services: &[Read],
        serve: |connection, session, _, request| match request {
            Message::Ls { path } => dir::serve_ls(connection, session, path),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "get",
        services: &[Read],
        serve: |connection, session, _, request| match request {
            Message::Get { path } => files::serve_get(connection, session, path),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "put",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Put { path, name, attributes } => files::serve_put(connection, session, path, name, attributes),
            other => Err(not_this_verb(other)),
        },
    },
    Verb { name: "pull", services: &[Read], serve: |connection, session, _, _| trees::serve_pull(connection, session) },
    Verb {
        name: "push",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Push { path } => trees::serve_push(connection, session, path),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "mkdir",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Mkdir { path, parents } => dir::serve_mkdir(connection, session, path, *parents),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "rm",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Rm { path, recursive } => dir::serve_rm(connection, session, path, *recursive),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "mv",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Mv { path, to } => dir::serve_mv(connection, session, path, to),
            other => Err(not_this_verb(other)),
        },
    },
    Verb {
        name: "parts",
        services: &[Write],
        serve: |connection, session, _, request| match request {
            Message::Parts { path, clean } => trees::unfinished::serve_parts(connection, session, path, *clean),
            other => Err(not_this_verb(other)),
        },
    },
];

/// The verbs that these services allow, for `hello`.
pub fn verbs_for(services: Services) -> Vec<&'static str> {
    VERBS.iter().filter(|verb| services.has_any(verb.services)).map(|verb| verb.name).collect()
}

/// Serves a request, if it is a row of the table and the session has a service for it.
///
/// # Errors
/// The request was refused, or the connection was lost.
pub(super) fn serve_verb(
    connection: &mut Connection,
    session: &mut Session,
    shared: &ServerState<'_>,
    request: &Message<'_>,
) -> Result<()> {
    let verb = verb_for(request, session)?;
    (verb.serve)(connection, session, shared, request)
}

fn verb_for(request: &Message<'_>, session: &Session) -> Result<&'static Verb> {
    let name = request.name();
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        return Err(
            Refusal::new(ErrorCode::BadRequest, format!("{name} is not a request, or not at this point")).into()
        );
    };
    if session.services.has_any(verb.services) {
        return Ok(verb);
    }
    if session.withheld.has_any(verb.services) {
        return Err(policy::withheld_refusal(name).into());
    }
    let granted = session.services.with(session.withheld);
    Err(policy::refusal(name, verb.services, &session.peer, (granted, session.is_narrowed)).into())
}

/// The path that a request is about, as it was written; empty: there is none.
pub(super) fn path_of<'r>(request: &'r Message<'_>) -> &'r [u8] {
    match request {
        Message::Cd { path }
        | Message::Ls { path }
        | Message::Mkdir { path, .. }
        | Message::Rm { path, .. }
        | Message::Parts { path, .. }
        | Message::Get { path }
        | Message::Put { path, .. }
        | Message::Mv { path, .. }
        | Message::Push { path } => path,
        _ => &[],
    }
}

/// What a request is about, where its header says so.
pub(super) fn about(request: &Message<'_>) -> String {
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    match request {
        Message::Put { path, name, .. } if path.is_empty() || path.ends_with(b"/") => {
            shown(&[path, &name[..]].concat())
        }
        Message::Mv { path, to } => format!("{} -> {}", shown(path), shown(to)),
        Message::Chat { room, nick } => format!("{nick} in {room}"),
        Message::Place { place, .. } => place.clone().into_owned(),
        Message::Pair { name } => format!("calls itself {name}"),
        other => shown(path_of(other)),
    }
}

/// The table pairs names with functions; a mistake in it is answered, not a panic.
fn not_this_verb(request: &Message<'_>) -> Error {
    Refusal::new(ErrorCode::BadRequest, format!("{} has no place here", request.name())).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Peer;
    use crate::trust::identity::Fingerprint;

    #[test]
    fn every_verb_is_a_message_and_needs_a_service() {
        for verb in VERBS {
            assert!(Message::NAMES.contains(&verb.name), "{} is no message", verb.name);
            assert!(!verb.services.is_empty(), "{} could be asked by anybody", verb.name);
        }
    }

    /// What the log says of a request and what its refusal advises are of the same path.
    #[test]
    fn every_request_with_a_path_is_about_it() {
        let headers = [
            r#"{"type":"cd","path":"/x"}"#,
            r#"{"type":"ls","path":"/x"}"#,
            r#"{"type":"get","path":"/x"}"#,
            r#"{"type":"put","path":"/x","name":"n","size":0}"#,
            r#"{"type":"push","path":"/x"}"#,
            r#"{"type":"mkdir","path":"/x","parents":true}"#,
            r#"{"type":"rm","path":"/x","recursive":true}"#,
            r#"{"type":"mv","path":"/x","to":"y"}"#,
            r#"{"type":"parts","path":"/x","clean":true}"#,
        ];
        for header in headers {
            let request = crate::wire::message::Header::parse(header.as_bytes()).unwrap().message().unwrap();
            assert_eq!(path_of(&request), b"/x", "{header}");
            assert!(about(&request).starts_with("/x"), "{header}");
        }
    }

    #[test]
    fn every_verb_for_every_kind_of_peer() {
        use crate::trust::peers::{Peers, PeersState};
        use crate::trust::policy::{Proof, Rules};
        let key = |name: &str| Fingerprint::of_spki(name.as_bytes());
        let entry = |name: &str, services: &str| {
            format!("[{name}]\nfingerprint = \"{}\"\nservices = \"{services}\"\nadded = \"\"\n", key(name))
        };
        let names = ["echo", "chat", "read", "write", "exec", "none", "all"];
        let text: String = names.iter().map(|name| entry(name, name)).collect();
        let known: PeersState = Ok(std::sync::Arc::new(Peers::parse(&text).unwrap()));
        let rules = Rules { own: key("own"), known: &known, guest: "chat".parse().unwrap() };
        let may = |proof: Proof| -> Vec<&str> {
            let grant = rules.authorize(proof, "").unwrap();
            assert_eq!(grant.peer == Peer::Own, proof == Proof::SameUser || proof == Proof::Key(key("own")));
            verbs_for(grant.services)
        };
        let all: Vec<&str> = VERBS.iter().map(|verb| verb.name).collect();
        let paths = ["cd", "pwd"];
        let [read, write] = [["ls", "get", "pull"].as_slice(), &["put", "push", "mkdir", "rm", "mv", "parts"]]
            .map(|verbs| [&paths, verbs].concat());
        for (proof, want) in [
            (Proof::SameUser, all.clone()),
            (Proof::Key(key("own")), all.clone()),
            (Proof::Key(key("all")), all.clone()),
            (Proof::Key(key("echo")), vec!["echo"]),
            (Proof::Key(key("chat")), vec!["chat"]),
            (Proof::Key(key("read")), read),
            (Proof::Key(key("write")), write),
            (Proof::Key(key("exec")), vec!["exec", "jobs", "attach", "kill", "place", "places", "cd", "pwd"]),
            // Who was only dialled, who is unknown, and who shows nothing get what guests get.
            (Proof::Key(key("none")), vec!["chat"]),
            (Proof::Key(key("stranger")), vec!["chat"]),
            (Proof::Nothing, vec!["chat"]),
        ] {
            assert_eq!(may(proof), want, "{proof:?}");
        }
    }

    #[test]
    fn guests_see_only_what_they_may_use() {
        assert_eq!(verbs_for("echo,chat".parse().unwrap()), ["echo", "chat"]);
        assert_eq!(verbs_for("read".parse().unwrap()), ["cd", "pwd", "ls", "get", "pull"]);
        assert_eq!(verbs_for(Services::NONE), [""; 0]);
        assert_eq!(verbs_for("all".parse().unwrap()).len(), VERBS.len());
    }
}
