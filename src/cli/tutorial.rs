//! What `tcp-client` and `rexec` say about replies on the tutorials' wires.

use std::time::Duration;

use super::output::say;
use crate::tutorial::client::AfterNoReply;

/// Says that part of the last reply came late.
pub fn say_late(program: &str, bytes: u64, idle: Duration) {
    if bytes > 0 {
        say(program, &format!("{bytes} bytes more of the last reply came after {idle:?} of silence (--idle)"));
    }
}

/// What happens after a request without a reply.
pub const fn after_no_reply(then: AfterNoReply) -> &'static str {
    match then {
        AfterNoReply::Reconnect => {
            "the connection is closed, so that a late reply is not taken for the next one's; the next request opens a \
             new one"
        }
        AfterNoReply::Stop => {
            "the connection is closed, so that a late reply is not taken for the next one's; nothing that follows is \
             sent"
        }
    }
}

/// What follows a request without a reply at a prompt, or in a script.
pub const fn at_prompt(is_interactive: bool) -> AfterNoReply {
    if is_interactive { AfterNoReply::Reconnect } else { AfterNoReply::Stop }
}
