//! What `tcp-client` and `rexec` say about replies on the tutorials' wires.

use std::time::Duration;

use super::output::say;
use super::usage::usage;
use crate::tutorial::client::AfterNoReply;
use crate::tutorial::codec::Wire;

/// Refuses wires of other programs: what `tcp-client` and `rexec` send is a line of text or a command.
///
/// # Errors
/// Which program speaks this wire.
pub fn check_wire(wire: Wire) -> anyhow::Result<()> {
    match wire {
        Wire::Size | Wire::Close => Err(usage("the wires size and close carry files; use fget --wire")),
        Wire::Http => Err(usage("the wire http is for browsers; use http-get, which shows the exchange with -v")),
        Wire::Raw | Wire::Len | Wire::Json | Wire::Ack => Ok(()),
    }
}

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
