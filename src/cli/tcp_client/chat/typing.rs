//! Lines from a person or a script, and what is done with each.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::command::{Command, help, parse};
use super::completion::ChatCompletion;
use super::link::messages;
use super::outbox::Request;
use super::participant::{NotTaken, Participant, State};
use crate::chat::TEXT_LEN_MAX;
use crate::cli::exit::Exit;
use crate::cli::output::say;
use crate::cli::prompt::{Input, Prompt, read_plain};
use crate::error::{Error, Result};
use crate::printable::printable;

/// What ends the wait for a line.
#[derive(Debug)]
pub(super) enum Wake {
    Line(Result<Input>),
    /// Nothing comes any more.
    Over,
}

/// Where lines come from. A script is read on a thread of its own, a line at a time and only when one is wanted: the end
/// of the connection ends the wait, and what is not read is left to others.
pub(super) struct Lines {
    prompt: Prompt<ChatCompletion>,
    wanted: Option<Sender<()>>,
    wake: Sender<Wake>,
    woken: Receiver<Wake>,
}

impl Lines {
    pub(super) const fn new(prompt: Prompt<ChatCompletion>, wake: Sender<Wake>, woken: Receiver<Wake>) -> Self {
        Self { prompt, wanted: None, wake, woken }
    }

    /// The next line; `None`: nothing comes any more.
    fn next(&mut self, prompt: &str) -> Result<Option<Input>> {
        if self.prompt.is_interactive() {
            return self.prompt.read(prompt).map(Some);
        }
        let wanted = match &self.wanted {
            Some(wanted) => wanted,
            None => self.wanted.insert(reader(self.wake.clone())?),
        };
        if wanted.send(()).is_err() {
            return Ok(None);
        }
        match self.woken.recv() {
            Ok(Wake::Line(line)) => line.map(Some),
            Ok(Wake::Over) | Err(_) => Ok(None),
        }
    }
}

fn reader(wake: Sender<Wake>) -> Result<Sender<()>> {
    let (wanted, wants) = channel();
    let read = move || {
        while wants.recv().is_ok() {
            if wake.send(Wake::Line(read_plain())).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("script".into()).spawn(read).map_err(Error::ours("a thread of the chat"))?;
    Ok(wanted)
}

/// The person, or the script.
pub(super) struct Typist<'t> {
    pub(super) participant: &'t Participant,
    pub(super) lines: Lines,
}

impl Typist<'_> {
    /// Does what each line says, until the last. The terminal is as it was before when this returns.
    ///
    /// # Errors
    /// The terminal or the pipe failed.
    pub(super) fn run(mut self) -> Result<Exit> {
        loop {
            let prompt = {
                let state = self.participant.lock();
                if state.is_over() {
                    return Ok(Exit::Done);
                }
                let room = if state.active.is_empty() { "(no room)" } else { &state.active };
                let away = if state.lost_since.is_some() { " (away)" } else { "" };
                format!("{}{away}> ", printable(room))
            };
            let line = match self.lines.next(&prompt)? {
                Some(Input::Line(line)) => line,
                Some(Input::Interrupted) => return Ok(Exit::Interrupted),
                Some(Input::End) | None => return Ok(Exit::Done),
            };
            match parse(&line) {
                Command::Quit => return Ok(Exit::Done),
                command => self.obey(&command),
            }
        }
    }

    fn obey(&self, command: &Command<'_>) {
        // Only a script waits until there is room: a person is told.
        if !self.lines.prompt.is_interactive() {
            let is_open = |state: &State| !state.outbox.is_full() || state.is_over();
            while !self.participant.wait(std::time::Duration::from_mins(1), is_open) {}
        }
        let remarks = self.participant.change(|state| carry_out(command, state));
        match remarks {
            Ok(remarks) => remarks.iter().for_each(|remark| say("chat", remark)),
            Err(why) => {
                self.participant.lock().refused += 1;
                say("chat", &not_taken(why));
            }
        }
    }
}

fn not_taken(why: NotTaken) -> String {
    match why {
        NotTaken::Full => {
            let most = super::outbox::WAITING_MAX;
            format!("not sent: {most} messages wait already; try again when the server has acknowledged some")
        }
        NotTaken::TooLong(len) => {
            format!("not sent: the text has {len} bytes, and a message at most {TEXT_LEN_MAX}; send a file instead")
        }
        NotTaken::NoRoom => "not sent: you are in no room; /join ROOM enters one".into(),
    }
}

/// Carries a command out; what is said about it.
fn carry_out(command: &Command<'_>, state: &mut State) -> std::result::Result<Vec<String>, NotTaken> {
    match *command {
        Command::Nothing | Command::Quit => {}
        Command::Say { text, is_action } => {
            state.say(text, None, is_action)?;
            return Ok(away(state));
        }
        Command::Message { nick, text } => {
            state.say(text, Some(nick), false)?;
            return Ok(away(state));
        }
        Command::Join(room) => state.join(room)?,
        Command::Go(room) => match state.room(room).and_then(|index| state.rooms.get(index)) {
            Some(room) => state.active.clone_from(&room.name),
            None => return Ok(vec![format!("you are not in {room}; /join {room} enters it")]),
        },
        Command::Leave(room) => return leave(state, room),
        Command::Names(room) => {
            let room = room.unwrap_or(&state.active).to_owned();
            state.request(Request::Names(room))?;
        }
        Command::Topic(None) => {
            let room = state.room(&state.active).and_then(|index| state.rooms.get(index));
            return Ok(vec![match room.map(|room| room.topic.as_str()) {
                Some("") | None => "there is no topic".to_owned(),
                Some(topic) => format!("topic: {topic}"),
            }]);
        }
        Command::Topic(Some(text)) => {
            state.request(Request::Topic { room: state.active.clone(), text: text.to_owned() })?;
        }
        Command::Rooms => state.request(Request::Rooms)?,
        Command::Who(nick) => state.request(Request::Who(nick.to_owned()))?,
        Command::Nick(nick) => state.request(Request::Rename(nick.to_owned()))?,
        Command::Ignore(nick) => return Ok(vec![ignore(state, nick)]),
        Command::Waiting => return Ok(waiting(state)),
        Command::Moderate { act, nick, ttl_ms, reason } => {
            let is_kick = act == crate::wire::message::ModerationAct::Kick;
            let room = is_kick.then(|| state.active.clone());
            let (nick, reason) = (nick.to_owned(), reason.to_owned());
            state.request(Request::Moderate { act, nick, room, ttl_ms, reason })?;
        }
        Command::Help => return Ok(help().lines().map(str::to_owned).collect()),
        Command::Usage(ref usage) => return Ok(vec![usage.clone()]),
    }
    Ok(Vec::new())
}

/// While there is no connection, a person learns that a message waits.
fn away(state: &State) -> Vec<String> {
    if state.lost_since.is_none() {
        return Vec::new();
    }
    vec![format!("no connection: {} will be sent when it is back", messages(state.outbox.messages().count()))]
}

fn leave(state: &mut State, room: Option<&str>) -> std::result::Result<Vec<String>, NotTaken> {
    let room = room.unwrap_or(&state.active).to_owned();
    if state.room(&room).is_some() && state.rooms.len() == 1 {
        return Ok(vec![format!("{room} is your only room; /quit leaves the chat")]);
    }
    state.request(Request::Leave(room))?;
    Ok(Vec::new())
}

fn ignore(state: &mut State, nick: Option<&str>) -> String {
    let Some(nick) = nick else {
        let ignored: Vec<&str> = state.ignored().collect();
        return if ignored.is_empty() { "no one is ignored".into() } else { format!("ignored: {}", ignored.join(" ")) };
    };
    let is_ignored = state.ignore(nick);
    if is_ignored { format!("{nick} is ignored; /ignore {nick} ends that") } else { format!("{nick} is not ignored") }
}

fn waiting(state: &State) -> Vec<String> {
    let texts: Vec<String> = state
        .outbox
        .messages()
        .map(|message| {
            let to = message.to.as_deref().or(message.room.as_deref()).unwrap_or_default();
            format!("not acknowledged, to {to}: {}", message.text)
        })
        .collect();
    if texts.is_empty() { vec!["the server has all of your messages".into()] } else { texts }
}
