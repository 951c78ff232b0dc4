//! Chat at a terminal or from a pipe.
//!
//! ```text
//! keyboard -> command -> Participant -> Outbox -> the thread that sends -> Speaker
//!                            |
//! screen <- show, rows, objects <- the thread that listens <- ChatEvents
//! ```
//!
//! | file | what |
//! |---|---|
//! | `args` | the command line |
//! | `command` | what a typed line means |
//! | `participant` | what the client knows and wants |
//! | `outbox`, `seen` | messages that are not acknowledged; messages that were shown |
//! | `link`, `backoff` | the connection, opened again when it is lost |
//! | `typing` | lines from a person or a script, and what is done with each |
//! | `screen`, `show`, `rows`, `objects` | where events go; as text; in rows of a terminal; as JSON |
//! | `completion` | what Tab completes |

pub(super) mod args;
mod backoff;
mod command;
mod completion;
mod link;
mod objects;
mod outbox;
mod participant;
mod rows;
mod screen;
mod seen;
mod show;
mod typing;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use args::{ChatArgs, Colours};
pub(super) use args::{LookArgs, ROOM_DEFAULT};
use completion::ChatCompletion;
pub(super) use link::Reopen;
use link::{Listener, enter, send_all, spawn, stop_after};
use participant::{Participant, State};
use screen::{Looks, Screen, has_colours};
use typing::{Lines, Typist, Wake};

use crate::chat::{ChatEvent, Stay};
use crate::cli::args::{ConnectArgs, OutputArgs};
use crate::cli::connect::{Strangers, connect_watched, show_step};
use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::cli::prompt::Prompt;
use crate::cli::tcp_client::args::PROGRAM;
use crate::client::Step;
use crate::connection::Connection;
use crate::error::{ConnectionLost, Error};
use crate::net::Address;
use crate::net::control::Control;
use crate::printable::printable;

/// How long the server may take to say goodbye.
const FAREWELL_TIME: Duration = Duration::from_secs(10);
/// How long acknowledgements may stay away at the end of a script, or of a person's stay.
const DRAIN_TIME: Duration = Duration::from_secs(30);
const DRAIN_TIME_OF_A_PERSON: Duration = Duration::from_secs(5);
/// Random bytes of a client's secret.
const SECRET_LEN: usize = 16;

/// The nickname without `--nick`: the user's name.
pub(super) fn default_nick() -> String {
    std::env::var("USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "guest".into())
}

/// A stay in the chat.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) room: String,
    pub(super) nick: String,
    pub(super) look: LookArgs,
    /// Whether every event is an object on standard output.
    pub(super) json: bool,
}

/// Does what `tcp-client chat` says.
///
/// # Errors
/// No connection, the server refused, or the connection was lost for good.
pub(super) fn run(args: &ChatArgs) -> anyhow::Result<Exit> {
    let ChatArgs { host, room, nick, look, connect, output } = args.clone();
    let json = output.json_stream;
    let output = OutputArgs { json, quiet: output.quiet, verbose: output.verbose };
    let (mut connection, reopen) = connect_again(&host, &connect, &output)?;
    let nick = nick.unwrap_or_else(default_nick);
    let exit = Chat { room, nick, look, json }.run(&mut connection, &reopen)?;
    connection.close();
    Ok(exit)
}

/// Opens a connection, and returns what opens further ones to a server with the same key.
///
/// # Errors
/// No connection came about.
fn connect_again(
    host: &Address,
    connect: &ConnectArgs,
    output: &OutputArgs,
) -> anyhow::Result<(Connection, Box<Reopen>)> {
    let key = std::sync::Mutex::new(None);
    let connection = connect_watched(PROGRAM, host, connect, Strangers::AskedAbout, &|step| {
        if let Step::Encrypted(shown) = step {
            *key.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(*shown);
        }
        show_step(PROGRAM, output, step);
    })?;
    let key = key.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // What a person has agreed to for this once holds for the whole stay.
    Ok((connection, reopener(host, connect, key.map_or(Strangers::Refused, Strangers::RefusedBut))))
}

/// Opens connections to `host` without a word and without a question.
pub(super) fn reopener(host: &Address, connect: &ConnectArgs, strangers: Strangers) -> Box<Reopen> {
    let (host, connect) = (host.clone(), connect.clone());
    Box::new(move || connect_watched(PROGRAM, &host, &connect, strangers, &|_| {}))
}

/// A fresh secret.
fn secret() -> crate::error::Result<String> {
    let mut bytes = [0; SECRET_LEN];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::ours("random numbers")(error.into()))?;
    let mut digits = String::with_capacity(2 * SECRET_LEN);
    for byte in bytes {
        digits = format!("{digits}{byte:02x}");
    }
    Ok(digits)
}

impl Chat {
    /// Enters, and stays until `/quit`, the end of input, Ctrl-C, or the end of the connection for good.
    ///
    /// # Errors
    /// The nick is taken, chat is not allowed here, or the connection was lost and did not come back.
    pub(super) fn run(self, connection: &mut Connection, reopen: &Reopen) -> anyhow::Result<Exit> {
        let Self { room, nick, look, json } = self;
        let is_terminal = std::io::stdout().is_terminal() && !look.plain && !json;
        let is_interactive = is_terminal && std::io::stdin().is_terminal();
        let history = look.history(is_terminal);
        let participant = Arc::new(Participant::new(secret()?, &room, &nick, history, is_interactive));
        let mut prompt = if is_interactive {
            Prompt::new(ChatCompletion { participant: Arc::clone(&participant) })?
        } else {
            Prompt::plain()
        };
        let has_colours = match look.color {
            Some(Colours::Always) => true,
            Some(Colours::Never) => false,
            Some(Colours::Auto) | None => is_terminal && has_colours(),
        };
        let looks = Looks { is_json: json, is_terminal, has_colours, rings: look.bell };
        // Before entering: a terminal that cannot do this must not leave the connection in the room.
        let screen = Screen::new(prompt.printer()?, looks);
        let control = connection.control().clone();
        let stay = enter(&participant, connection)?;
        greet(&participant, &screen, is_interactive)?;
        let listener = Listener {
            participant: &participant,
            screen: &screen,
            reopen,
            coming_back: look.coming_back(is_interactive),
            is_person: is_interactive,
        };
        converse(listener, stay, prompt, &control)
    }
}

/// Listens, sends, and reads what is typed, until the client leaves.
fn converse(
    listener: Listener<'_>,
    stay: Stay<'_>,
    prompt: Prompt<ChatCompletion>,
    control: &Control,
) -> anyhow::Result<Exit> {
    let Listener { participant, screen, is_person, .. } = listener;
    thread::scope(|scope| {
        let (wake, woken) = channel();
        let over = Over { participant, wake: wake.clone() };
        let listening = spawn(scope, "listen", move || {
            // Dropped when this thread ends, however that is.
            let _over = over;
            let heard = listener.run(stay);
            if let Err(error) = &heard
                && is_person
            {
                // The person is typing, and would otherwise learn of it with the next line only.
                drop(screen.remark("ended", &format!("{error:#}; Enter leaves"), serde_json::json!({})));
            }
            heard
        });
        let sending = spawn(scope, "send", || send_all(participant, screen, is_person));
        let listening = match listening.and_then(|listening| sending.map(|_| listening)) {
            Ok(listening) => listening,
            Err(error) => {
                participant.change(State::leave);
                participant.change(State::end);
                control.stop();
                return Err(error.into());
            }
        };
        let lines = Lines::new(prompt, wake, woken);
        let typed = Typist { participant, lines }.run();
        let exit = leave(participant, typed, is_person);
        stop_after(participant, FAREWELL_TIME, control);
        participant.change(State::end);
        let lost = || Err(Error::from(ConnectionLost::Closed { wanted: "end" }).into());
        let heard = listening.join().unwrap_or_else(|_| lost());
        match exit? {
            // A person who leaves by Ctrl-C wants nothing else.
            Exit::Interrupted => Ok(Exit::Interrupted),
            exit => heard.map(|()| exit),
        }
    })
}

/// Says on every way out of the listening thread that nothing comes any more.
struct Over<'o> {
    participant: &'o Participant,
    wake: Sender<Wake>,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.participant.change(State::end);
        // Without a receiver there is no one left to wake.
        drop(self.wake.send(Wake::Over));
    }
}

fn greet(participant: &Participant, screen: &Screen, is_interactive: bool) -> crate::error::Result<()> {
    let (room, nick, seq) = {
        let state = participant.lock();
        let room = state.rooms.first().cloned();
        (state.active.clone(), state.nick.clone(), room.and_then(|room| room.seq))
    };
    if is_interactive {
        let text = format!("you are {nick} in {room}; /help says more");
        return screen.remark("entered", &text, serde_json::json!({}));
    }
    let joined = ChatEvent::Joined { room, nick: nick.clone(), seq, is_guest: false };
    let noted = participant::Noted { is_shown: true, is_new: true, ..participant::Noted::default() };
    screen.show(&joined, (&nick, false), noted)
}

/// Waits until the server has all messages, then leaves.
fn leave(participant: &Participant, typed: crate::error::Result<Exit>, is_person: bool) -> anyhow::Result<Exit> {
    let is_patient = typed.as_ref().is_ok_and(|exit| *exit != Exit::Interrupted);
    let left = if is_patient { drain(participant, is_person) } else { 0 };
    let link = participant.change(|state| {
        state.leave();
        state.link()
    });
    match link {
        Some(link) if left > 0 || link.speaker.leave().is_err() => link.stop(),
        Some(_) | None => {}
    }
    let exit = typed?;
    if left > 0 {
        let text = format!("{} not acknowledged: the server may not have them", link::messages(left));
        say("chat", &printable(&text));
        return Ok(if exit == Exit::Interrupted { exit } else { Exit::ConnectionLost });
    }
    let refused = participant.lock().refused;
    Ok(if exit == Exit::Done && refused > 0 && !is_person { Exit::Failed } else { exit })
}

/// Waits for acknowledgements; the number of messages that are left.
fn drain(participant: &Participant, is_person: bool) -> usize {
    let limit = if is_person { DRAIN_TIME_OF_A_PERSON } else { DRAIN_TIME };
    loop {
        let before = participant.lock().outbox.messages().count();
        let is_done = |state: &State| state.outbox.is_empty() || state.is_over();
        if participant.wait(limit, is_done) {
            return participant.lock().outbox.messages().count();
        }
        let state = participant.lock();
        let left = state.outbox.messages().count();
        // A script waits for a server that is away: the time for that has its own limit.
        if is_person || left >= before && state.link().is_some() {
            return left;
        }
    }
}
