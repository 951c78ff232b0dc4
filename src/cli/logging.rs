//! The log of our servers: to standard error, as text or as JSON lines. Both go through here field by field,
//! so that nothing of a request can act on the terminal of the log's reader, nor fill the disk with one line.

use std::fmt::{self, Debug};

use serde::Serialize;
use serde::ser::SerializeMap as _;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::standard;
use crate::net::service::CONNECTIONS_TARGET;
use crate::printable::{LOGGED_LEN_MAX, cut, json_line, logged};

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Sends the library's log to standard error from here on. A second call changes nothing.
pub fn start(log_format: LogFormat, quiet: bool, verbose: bool) {
    let level = match (quiet, verbose) {
        (true, _) => Level::WARN,
        (false, true) => Level::DEBUG,
        (false, false) => Level::INFO,
    };
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let has_colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let started = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(has_colour)
        // Told on standard error, which is just what failed; and it would be told with a panic.
        .log_internal_errors(false)
        .with_writer(standard::errors)
        .event_format(Lines { log_format, is_brief: is_terminal && !verbose })
        .try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "the log was started already");
    }
}

/// One event, one line.
#[derive(Debug)]
struct Lines {
    log_format: LogFormat,
    /// A person watches: two lines a request are enough.
    is_brief: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.is_brief && event.metadata().target() == CONNECTIONS_TARGET {
            return Ok(());
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = *event.metadata().level();
        match self.log_format {
            LogFormat::Text => write_text(&mut writer, &time, level, &fields),
            LogFormat::Json => {
                let line = json_line(&JsonLine { time: &time, level, fields: &fields }).map_err(|_unfit| fmt::Error)?;
                writer.write_str(&String::from_utf8_lossy(&line))
            }
        }
    }
}

/// What an event has to say, in its order.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Told)>);

#[derive(Debug)]
enum Told {
    /// A number or a truth, which takes no room to speak of.
    Plain(Value),
    /// Text that was logged as text: in quotes, where there are none otherwise.
    Text(String),
    /// Whatever can be written down.
    Shown(String),
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), Told::Plain(value.into())));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), Told::Plain(value.into())));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), Told::Plain(value.into())));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), Told::Plain(value.into())));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), Told::Text(cut(value, LOGGED_LEN_MAX).into_owned())));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name(), Told::Shown(cut(&format!("{value:?}"), LOGGED_LEN_MAX).into_owned())));
    }
}

/// `TIME LEVEL message name=value name="text"`.
fn write_text(writer: &mut Writer<'_>, time: &str, level: Level, fields: &Fields) -> fmt::Result {
    let (dim, italic, colour, plain) = match (writer.has_ansi_escapes(), level) {
        (false, _) => ("", "", "", ""),
        (true, Level::ERROR) => ("\x1b[2m", "\x1b[3m", "\x1b[31m", "\x1b[0m"),
        (true, Level::WARN) => ("\x1b[2m", "\x1b[3m", "\x1b[33m", "\x1b[0m"),
        (true, _) => ("\x1b[2m", "\x1b[3m", "\x1b[32m", "\x1b[0m"),
    };
    write!(writer, "{dim}{time}{plain} {colour}{level:>5}{plain}")?;
    for (name, told) in &fields.0 {
        let told = match told {
            Told::Plain(value) => value.to_string(),
            Told::Shown(text) => logged(text, usize::MAX),
            Told::Text(text) if *name == MESSAGE => logged(text, usize::MAX),
            // In quotes, with what stands in it escaped as Rust does, which is more than a terminal needs.
            Told::Text(text) => logged(&format!("{text:?}"), usize::MAX),
        };
        match *name {
            MESSAGE => write!(writer, " {told}")?,
            name => write!(writer, " {italic}{name}{plain}{dim}={plain}{told}")?,
        }
    }
    writeln!(writer)
}

/// What tracing calls the text of an event.
const MESSAGE: &str = "message";

struct JsonLine<'l> {
    time: &'l str,
    level: Level,
    fields: &'l Fields,
}

impl Serialize for JsonLine<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", self.time)?;
        map.serialize_entry("level", self.level.as_str())?;
        for (name, told) in &self.fields.0 {
            match told {
                Told::Plain(value) => map.serialize_entry(name, value)?,
                Told::Text(text) | Told::Shown(text) => map.serialize_entry(name, text)?,
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::printable::KINDS;

    /// A log in memory.
    #[derive(Debug, Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(form: LogFormat, event: impl FnOnce()) -> String {
        let sink = Sink::default();
        let to = sink.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || to.clone())
            .event_format(Lines { log_format: form, is_brief: false });
        tracing::subscriber::with_default(log.finish(), event);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    /// Every way in which a value can be logged, so that no call of ours has to think of it.
    #[test]
    fn no_kind_of_character_acts_through_any_kind_of_field() {
        for form in [LogFormat::Text, LogFormat::Json] {
            for kind in KINDS.iter().chain(&['\n']) {
                let text = format!("a{kind}b");
                let log = written(form, || {
                    tracing::info!(plain = text.as_str(), shown = %text, debug = ?text, "{text}");
                });
                let line = log.strip_suffix('\n').unwrap();
                assert!(!line.contains(*kind) && line.matches('b').count() >= 4, "{form:?}: {line:?}");
                if form == LogFormat::Json {
                    let parsed: Value = serde_json::from_str(line).unwrap();
                    assert_eq!((&parsed["plain"], &parsed["shown"]), (&text.as_str().into(), &text.as_str().into()));
                    assert_eq!((&parsed["message"], &parsed["level"]), (&text.as_str().into(), &"INFO".into()));
                }
            }
        }
    }

    #[test]
    fn a_line_has_an_end_however_long_a_field_is() {
        let long = "x".repeat(60_000);
        for form in [LogFormat::Text, LogFormat::Json] {
            let log = written(form, || tracing::info!(about = long.as_str(), who = %long, ms = 1.5, "{long}"));
            assert!(log.len() < 4 * LOGGED_LEN_MAX, "{}", log.len());
            assert_eq!(log.matches("... (60000 bytes in all)").count(), 3, "{log}");
            assert!(log.contains(if form == LogFormat::Text { " ms=1.5" } else { "\"ms\":1.5" }), "{log}");
        }
    }
}
