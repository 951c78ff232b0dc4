//! Which function serves which request, and who may send it.
//!
//! The services that a request needs are in its declaration ([`messages`](crate::wire::message)). What `hello` names
//! and what a peer may do both come from there.

use crate::chat::ChatRequest;
use crate::chat::hub::Hub;
use crate::connection::Connection;
use crate::error::{ErrorCode, Refusal, Result};
use crate::exec::jobs::AttachRequest;
use crate::exec::places::PlaceRequest;
use crate::exec::{ExecRequest, jobs, places};
use crate::session::Session;
use crate::trees::unfinished;
use crate::trust::home::Home;
use crate::trust::identity::Fingerprint;
use crate::trust::peers::KnownPeers;
use crate::trust::{Services, policy};
use crate::wire::message::Message;
use crate::{chat, dir, echo, exec, files, pair, trees};

/// What connections share, and what outlives them.
#[derive(Debug, Clone, Copy)]
pub struct ServerState<'s> {
    /// The rooms.
    pub hub: &'s Hub,
    /// The peers' places and detached commands.
    pub exec: exec::ExecState<'s>,
    /// The server's own key, for a machine that is introduced.
    pub own: Fingerprint,
    /// Where the server keeps the peers that it knows.
    pub home: &'s Home,
    /// The peers that it knows.
    pub known: &'s KnownPeers,
}

/// The requests that these services allow, for `hello`.
pub fn verbs_for(services: Services) -> Vec<&'static str> {
    Message::REQUESTS.iter().filter(|(_, needed)| services.has_any(needed)).map(|(name, _)| *name).collect()
}

/// Serves one request, if the session may send it.
///
/// # Errors
/// A refusal for the client, or the connection failed.
#[expect(clippy::too_many_lines, reason = "a line a message")]
pub(super) fn serve_verb(
    connection: &mut Connection,
    session: &mut Session,
    state: &ServerState<'_>,
    request: &Message<'_>,
) -> Result<()> {
    check_allowed(request, session)?;
    let c = connection;
    match request {
        Message::Pair { name } => pair::serve_pair(c, session, state.home, state.own, name),
        Message::Echo { streamed } => echo::serve_echo(c, session, *streamed),
        Message::Chat { room, nick, options } => {
            let known = state.known.now().0.ok();
            chat::serve_chat(c, session, state.hub, known.as_deref(), &ChatRequest { room, nick, options })
        }
        Message::Exec { form, path, place, options, modes } => {
            let (path, place) = (path.as_deref(), place.as_deref());
            let request = ExecRequest { form: *form, path, place, options: *options, modes: modes.as_deref() };
            exec::serve_exec(c, session, state.exec, request)
        }
        Message::Jobs => jobs::serve_jobs(c, session, state.exec.jobs),
        Message::Attach { job, watch, tail } => {
            jobs::serve_attach(c, session, state.exec.jobs, AttachRequest { id: job, watch: *watch, tail: *tail })
        }
        Message::Kill { job, signal } => jobs::serve_kill(c, session, state.exec.jobs, job, signal.as_deref()),
        Message::Place { place, path, ttl_ms, variables } => {
            let request = PlaceRequest { path: path.as_deref(), ttl_ms: *ttl_ms, variables: *variables };
            places::serve_place(c, session, state.exec.places, place, request)
        }
        Message::Places => places::serve_places(c, session, state.exec.places),
        Message::Cd { path } => dir::serve_cd(c, session, path),
        Message::Pwd => dir::serve_pwd(c, session),
        Message::Ls { path } => dir::serve_ls(c, session, path),
        Message::Mkdir { path, parents } => dir::serve_mkdir(c, session, path, *parents),
        Message::Rm { path, recursive } => dir::serve_rm(c, session, path, *recursive),
        Message::Mv { path, to } => dir::serve_mv(c, session, path, to),
        Message::Parts { path, clean } => unfinished::serve_parts(c, session, path, *clean),
        Message::Get { path } => files::serve_get(c, session, path),
        Message::Put { path, name, attributes } => files::serve_put(c, session, path, name, attributes),
        Message::Pull => trees::serve_pull(c, session),
        Message::Push { path } => trees::serve_push(c, session, path),
        // What is sent within an exchange, or by a server. Not `_`: a new request must not be forgotten here.
        Message::Hello { .. }
        | Message::Error { .. }
        | Message::Ok { .. }
        | Message::Data { .. }
        | Message::Eof
        | Message::Credit { .. }
        | Message::End { .. }
        | Message::Confirm { .. }
        | Message::Say { .. }
        | Message::Ack { .. }
        | Message::Refused { .. }
        | Message::Join { .. }
        | Message::Joined { .. }
        | Message::Leave { .. }
        | Message::Left { .. }
        | Message::Nick { .. }
        | Message::Renamed { .. }
        | Message::Names { .. }
        | Message::Rooms
        | Message::Who { .. }
        | Message::Topic { .. }
        | Message::Moderate { .. }
        | Message::Dropped { .. }
        | Message::Notice { .. }
        | Message::Signal { .. }
        | Message::Window { .. }
        | Message::Outcome { .. }
        | Message::Job { .. }
        | Message::Cwd { .. }
        | Message::File { .. }
        | Message::List { .. }
        | Message::Want { .. }
        | Message::Chunks { .. }
        | Message::Small
        | Message::Large { .. }
        | Message::Packed { .. }
        | Message::Hole { .. }
        | Message::Copy { .. }
        | Message::Blocks
        | Message::Mend { .. }
        | Message::Piece { .. }
        | Message::Whole { .. }
        | Message::Same { .. }
        | Message::Grew { .. }
        | Message::Lost { .. }
        | Message::Kept => Err(not_a_request(request.name()).into()),
    }
}

/// Whether the session has one of the services that the request needs.
fn check_allowed(request: &Message<'_>, session: &Session) -> Result<(), Refusal> {
    let name = request.name();
    match request.services() {
        None => Err(not_a_request(name)),
        // A machine that is introduced has no service before it has shown that it knows the code.
        Some([]) => Ok(()),
        Some(needed) if session.services.has_any(needed) => Ok(()),
        Some(needed) if session.withheld.has_any(needed) => Err(policy::withheld_refusal(name)),
        Some(needed) => {
            let granted = session.services.with(session.withheld);
            Err(policy::refusal(name, needed, &session.peer, (granted, session.is_narrowed)))
        }
    }
}

fn not_a_request(name: &str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, format!("{name} is not a request, or not at this point"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Peer;
    use crate::wire::header::Header;

    #[test]
    fn every_request_but_pair_needs_a_service() {
        for (name, services) in Message::REQUESTS {
            assert_eq!(services.is_empty(), *name == "pair", "{name}");
        }
    }

    /// What the log says of a request and what its refusal advises are of the same path, in every request that needs one.
    #[test]
    fn every_request_with_a_path_is_about_it() {
        let mut about = Vec::new();
        for (name, _) in Message::REQUESTS {
            let rest = r#""to":"y","name":"n","size":0,"room":"r","nick":"n","form":"shell","job":"j","watch":"log","place":"p""#;
            let [with, without] = [r#","path":"/x""#, ""].map(|path| format!(r#"{{"type":"{name}",{rest}{path}}}"#));
            let request = Message::of(Header::parse(with.as_bytes()).unwrap()).unwrap();
            if Message::of(Header::parse(without.as_bytes()).unwrap()).is_err() {
                assert_eq!(request.path(), b"/x", "{name} has no path: in its declaration");
                assert!(request.about().starts_with("/x"), "{name}");
                about.push(*name);
            }
        }
        assert!(about.len() >= 9, "{about:?}");
    }

    #[test]
    fn every_verb_for_every_kind_of_peer() {
        use crate::trust::peers::{Peers, PeersState};
        use crate::trust::policy::{Entrance, Proof, Rules, TokenRules};
        use crate::trust::tokens::{Token, TokenId};
        let key = |name: &str| Fingerprint::of_spki(name.as_bytes());
        let entry = |name: &str, services: &str| {
            format!("[{name}]\nfingerprint = \"{}\"\nservices = \"{services}\"\nadded = \"\"\n", key(name))
        };
        let names = ["echo", "chat", "read", "write", "exec", "none", "all"];
        let text: String = names.iter().map(|name| entry(name, name)).collect();
        let known: PeersState = Ok(std::sync::Arc::new(Peers::parse(&text).unwrap()));
        let token =
            |services: &str| Token::of_id(services, TokenId::of(services.as_bytes()), services.parse().unwrap());
        let (listed, own) = (Ok(std::sync::Arc::default()), names.map(token));
        let now = crate::trust::time::Moment::now();
        let tokens = TokenRules { listed: &listed, own: &own, directory: None, may_come_plain: false, now };
        let rules = Rules { own: key("own"), known: &known, tokens, guest: "chat".parse().unwrap() };
        let token = |name: &str| Proof::Token(TokenId::of(name.as_bytes()));
        let may = |proof: Proof| -> Vec<&str> {
            let grant = rules.authorize(proof, ("", Entrance::Loopback)).unwrap();
            assert_eq!(grant.peer == Peer::Own, proof == Proof::SameUser || proof == Proof::Key(key("own")));
            verbs_for(grant.services)
        };
        let all: Vec<&str> = Message::REQUESTS.iter().map(|(name, _)| *name).filter(|name| *name != "pair").collect();
        let paths = ["cd", "pwd"];
        let [read, write] = [["ls", "get", "pull"].as_slice(), &["mkdir", "rm", "mv", "parts", "put", "push"]]
            .map(|verbs| [&paths, verbs].concat());
        for (proof, want) in [
            (Proof::SameUser, all.clone()),
            (Proof::Key(key("own")), all.clone()),
            (Proof::Key(key("all")), all.clone()),
            (Proof::Key(key("echo")), vec!["echo"]),
            (Proof::Key(key("chat")), vec!["chat"]),
            (Proof::Key(key("read")), read.clone()),
            (Proof::Key(key("write")), write.clone()),
            // A token gives read, write and chat at most, whatever is on record for it.
            (token("all"), verbs_for("read,write,chat".parse().unwrap())),
            (token("read"), read),
            (token("write"), write),
            (token("exec"), vec![]),
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
        assert_eq!(verbs_for("all".parse().unwrap()).len(), Message::REQUESTS.len() - 1);
    }
}
