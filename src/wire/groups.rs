//! How the values that take several fields go into the header and come out.

use std::borrow::Cow;

use super::fields::{Attributes, ChatOptions, ExecOptions, Outcome, OutputHolder, SayFields, TerminalSize, Total};
use super::header::{Bytes, Group, Header, Text, bad, missing, needed, text};
use crate::error::Refusal;

impl<'a> Group<'a> for TerminalSize {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        h.columns = Some(self.columns);
        h.rows = Some(self.rows);
    }

    fn take(h: &mut Header<'a>, kind: &str) -> Result<Self, Refusal> {
        size_of(h).ok_or_else(|| missing(kind, "columns or rows"))
    }
}

const fn size_of(h: &Header<'_>) -> Option<TerminalSize> {
    match (h.columns, h.rows) {
        (Some(columns), Some(rows)) => Some(TerminalSize { columns, rows }),
        _ => None,
    }
}

impl<'a> Group<'a> for ExecOptions {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        let Self { variables, timeout_ms, kill_after_ms, merged, ref terminal, detached, linger_ms } = *self;
        (h.variables, h.timeout_ms, h.kill_after_ms) = (variables, timeout_ms, kill_after_ms);
        (h.merged, h.detached, h.linger_ms) = (merged, detached, linger_ms);
        if let Some(size) = terminal {
            size.fill(h);
        }
    }

    fn take(h: &mut Header<'a>, _: &str) -> Result<Self, Refusal> {
        let Header { variables, timeout_ms, kill_after_ms, merged, detached, linger_ms, .. } = *h;
        Ok(Self { variables, timeout_ms, kill_after_ms, merged, terminal: size_of(h), detached, linger_ms })
    }
}

impl<'a> Group<'a> for ChatOptions<'a> {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        h.client = self.client.as_deref().and_then(text);
        (h.history, h.after, h.direct_after) = (self.history, self.after, self.direct_after);
    }

    fn take(h: &mut Header<'a>, _: &str) -> Result<Self, Refusal> {
        let client = h.client.take().map(|text| text.0);
        Ok(Self { client, history: h.history, after: h.after, direct_after: h.direct_after })
    }
}

impl<'a> Group<'a> for SayFields<'a> {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        let Self { room, nick, to, id, origin, seq, time_ms, is_action, is_guest, is_past } = self;
        h.room = room.as_deref().and_then(text);
        h.nick = nick.as_deref().and_then(text);
        h.to = to.as_deref().map(|to| Bytes::Plain(Cow::Borrowed(to.as_bytes())));
        h.origin = origin.as_deref().and_then(text);
        (h.id, h.seq, h.time_ms) = (*id, *seq, *time_ms);
        (h.is_action, h.is_guest, h.is_past) = (*is_action, *is_guest, *is_past);
    }

    fn take(h: &mut Header<'a>, kind: &str) -> Result<Self, Refusal> {
        let to = h.to.take().map(Bytes::text).transpose().map_err(|why| bad(kind, "to", &why))?;
        let [room, nick, origin] = [h.room.take(), h.nick.take(), h.origin.take()].map(|text| text.map(|text| text.0));
        let Header { id, seq, time_ms, is_action, is_guest, is_past, .. } = *h;
        Ok(Self { room, nick, to, id, origin, seq, time_ms, is_action, is_guest, is_past })
    }
}

impl<'a> Group<'a> for Option<OutputHolder<'a>> {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        if let Some(holder) = self {
            h.held_by = text(&holder.name);
            h.held_pid = holder.pid;
            h.held_closed = holder.is_closed;
        }
    }

    fn take(h: &mut Header<'a>, _: &str) -> Result<Self, Refusal> {
        let Some(Text(name)) = h.held_by.take() else { return Ok(None) };
        Ok(Some(OutputHolder { name, pid: h.held_pid, is_closed: h.held_closed }))
    }
}

impl<'a> Group<'a> for Total<'a> {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        h.size = Some(self.size);
        h.blake3 = self.blake3.as_deref().and_then(text);
    }

    fn take(h: &mut Header<'a>, kind: &str) -> Result<Self, Refusal> {
        <Option<Self> as Group<'a>>::take(h, kind)?.ok_or_else(|| missing(kind, "size"))
    }
}

impl<'a> Group<'a> for Option<Total<'a>> {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        if let Some(total) = self {
            total.fill(h);
        }
    }

    fn take(h: &mut Header<'a>, _: &str) -> Result<Self, Refusal> {
        let blake3 = h.blake3.take().map(|text| text.0);
        Ok(h.size.map(|size| Total { size, blake3 }))
    }
}

impl<'a> Group<'a> for Attributes {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        h.size = Some(self.size);
        h.mtime_ns = self.mtime_ns;
        h.mode = self.mode;
    }

    fn take(h: &mut Header<'a>, kind: &str) -> Result<Self, Refusal> {
        let size = needed(h.size, kind, "size")?;
        Ok(Self { size, mtime_ns: h.mtime_ns, mode: h.mode })
    }
}

impl<'a> Group<'a> for Outcome<'a> {
    fn fill<'h>(&'h self, h: &mut Header<'h>) {
        match self {
            Self::Exited(code) => h.exit_code = Some(*code),
            Self::Killed(signal) => h.signal = text(signal),
            Self::TimedOut => h.timed_out = true,
            Self::CouldNotStart { code, why } => {
                h.exit_code = Some(*code);
                h.message = text(why);
            }
            Self::Lost { why } => h.message = text(why),
        }
    }

    fn take(h: &mut Header<'a>, kind: &str) -> Result<Self, Refusal> {
        if h.timed_out {
            return Ok(Self::TimedOut);
        }
        Ok(match (h.exit_code, h.signal.take(), h.message.take()) {
            (Some(code), None, None) => Self::Exited(code),
            (None, Some(signal), None) => Self::Killed(signal.0),
            (Some(code), None, Some(why)) => Self::CouldNotStart { code, why: why.0 },
            (None, None, Some(why)) => Self::Lost { why: why.0 },
            _ => return Err(missing(kind, "exit_code or signal")),
        })
    }
}
