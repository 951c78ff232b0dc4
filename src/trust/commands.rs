//! Which commands a peer may run, where `exec` alone would be too much: a list of commands, or a forced command that
//! runs instead of any request.
//!
//! Only lists of words are compared, never a command string, which a shell could expand.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

use serde::{Deserialize, Serialize};

use super::{Peer, Service, Services};
use crate::error::{ErrorCode, Refusal};
use crate::fs::root::RootPath;

/// What a peer may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Commands {
    /// Any command.
    #[default]
    Any,
    /// Only these commands, compared word for word.
    Listed(Vec<Vec<String>>),
    /// This command runs, whatever the peer requests.
    Forced(Vec<String>),
}

/// A command that a peer requests.
#[derive(Debug, Clone, Copy)]
pub struct CommandRequest<'a> {
    /// A program and its arguments; `None`: a command string for a shell.
    pub argv: Option<&'a [OsString]>,
    /// The command as it is shown to people.
    pub shown: &'a str,
    /// The client's variables, each `NAME=VALUE`.
    pub variables: &'a [OsString],
    /// The directory in which it is to run.
    pub cwd: &'a RootPath,
}

/// Which command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'c> {
    /// The requested command.
    AsAsked,
    /// This command, in the root directory.
    Instead(&'c [String]),
}

/// Commands that a refusal names, at most; the operator's own list shows all.
const NAMED_MAX: usize = 8;
/// Characters of the requested command that a refusal repeats.
const SAID_BACK_LEN_MAX: usize = 200;
/// Longest name of a terminal, in bytes; real ones have up to 30.
const TERM_LEN_MAX: usize = 64;

impl Commands {
    /// Decides whether `peer` may run the requested command.
    ///
    /// The client's variables, and a directory other than the root, are refused rather than ignored: both change what a
    /// program does, and the client relies on them.
    ///
    /// # Errors
    /// It may not run here, or not in this way; the refusal says what may.
    pub fn decide(&self, peer: &Peer, asked: &CommandRequest<'_>) -> Result<Verdict<'_>, Refusal> {
        let verdict = match self {
            Self::Any => return Ok(Verdict::AsAsked),
            Self::Listed(listed) if listed.iter().any(|argv| asked.is(argv)) => Verdict::AsAsked,
            Self::Listed(_) => {
                let verb = if asked.argv.is_some() { "asked for" } else { "asked a shell for" };
                return Err(self.refusal(peer, &format!("it {verb}: {}", asked.said_back())));
            }
            Self::Forced(argv) => Verdict::Instead(argv),
        };
        if let Some(name) = asked.variable() {
            return Err(self.refusal(peer, &format!("without variables of its own, and it sets {name}")));
        }
        if !asked.cwd.is_root() {
            let cwd = cut(&asked.cwd.to_string());
            return Err(self.refusal(peer, &format!("in / alone, and it asked for {cwd} (leave -C out, or cd /)")));
        }
        Ok(verdict)
    }

    /// Whether this allows all that `held` does.
    pub fn covers(&self, held: &Self) -> bool {
        match (self, held) {
            (Self::Any, _) => true,
            (Self::Listed(listed), Self::Listed(held)) => held.iter().all(|argv| listed.contains(argv)),
            (Self::Forced(argv), Self::Forced(held)) => argv == held,
            (Self::Listed(_) | Self::Forced(_), _) => false,
        }
    }

    fn refusal(&self, peer: &Peer, but: &str) -> Refusal {
        let mut how = String::new();
        if let Self::Listed(listed) = self
            && let Some(first) = listed.first()
        {
            how = format!(" (exactly so: rexec HOST -- {})", joined(first));
        }
        Refusal::new(ErrorCode::NotAllowed, format!("exec: {peer} may run {}{how}; {but}", self.shown(NAMED_MAX)))
    }

    fn shown(&self, named_max: usize) -> String {
        match self {
            Self::Any => "any command".into(),
            Self::Listed(listed) => {
                let named: Vec<_> = listed.iter().take(named_max).map(|argv| joined(argv)).collect();
                let more = listed.len().saturating_sub(named_max);
                let more = if more == 0 { String::new() } else { format!(" | {more} more") };
                format!("only: {}{more}", named.join(" | "))
            }
            Self::Forced(argv) => format!("only {}, whatever it asks for", joined(argv)),
        }
    }

    /// Refuses a rule on commands without the service `exec`, which would have no effect. The rule is not removed
    /// together with the service: a peer that gets `exec` back would get it without the rule.
    ///
    /// # Errors
    /// Why.
    pub fn check(&self, services: Services) -> Result<(), String> {
        if *self == Self::Any || services.has(Service::Exec) {
            return Ok(());
        }
        Err("has a rule on commands, but not the service exec: give it exec, or take the rule off".into())
    }
}

/// A phrase that completes "may run".
impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown(usize::MAX))
    }
}

impl CommandRequest<'_> {
    fn is(&self, argv: &[String]) -> bool {
        self.argv.is_some_and(|asked| {
            asked.len() == argv.len() && asked.iter().zip(argv).all(|(asked, word)| asked == OsStr::new(word))
        })
    }

    /// The first variable that it may not set; `None`: there is none. `TERM` is permitted: a program needs it to draw
    /// on a terminal.
    fn variable(&self) -> Option<String> {
        match self.variables {
            [] => None,
            [term] if is_terminal(term.as_bytes()) => None,
            [first, ..] => {
                let refused = self.variables.iter().find(|one| !is_terminal(one.as_bytes())).unwrap_or(first);
                let name = refused.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
                Some(cut(&String::from_utf8_lossy(name)))
            }
        }
    }

    fn said_back(&self) -> String {
        let Some(argv) = self.argv else { return cut(self.shown) };
        // Quoted where needed: `systemctl restart web` may be three words or one.
        let words: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
        cut(&joined(&words))
    }
}

fn is_terminal(variable: &[u8]) -> bool {
    let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(byte);
    variable
        .strip_prefix(b"TERM=")
        .is_some_and(|name| (1..=TERM_LEN_MAX).contains(&name.len()) && name.iter().all(is_fine))
}

fn cut(text: &str) -> String {
    let (mut chars, mut said) = (text.chars(), String::new());
    said.extend(chars.by_ref().take(SAID_BACK_LEN_MAX));
    if chars.next().is_some() {
        said.push('…');
    }
    said
}

/// The words as they would be typed in a shell, quoted where needed.
pub fn joined<S: AsRef<str>>(words: &[S]) -> String {
    let quoted = |word: &S| shlex::try_quote(word.as_ref()).map_or_else(|_nul| word.as_ref().into(), Cow::into_owned);
    words.iter().map(quoted).collect::<Vec<String>>().join(" ")
}

/// The words of a text, as a shell would split them; nothing is expanded.
///
/// # Errors
/// What is wrong with it.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    let words = shlex::split(text).ok_or_else(|| format!("{text}: a quote is not closed"))?;
    check_argv(&words)?;
    Ok(words)
}

/// Whether a program could be started like this at all.
///
/// # Errors
/// What is wrong with it.
pub fn check_argv(argv: &[String]) -> Result<(), String> {
    match argv.first() {
        None => Err("a command has at least one word".into()),
        Some(program) if program.is_empty() => Err("a command's first word is a program, and this one is empty".into()),
        Some(_) if argv.iter().any(|word| word.contains('\0')) => Err("a word cannot hold a NUL".into()),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ask<'a> {
        commands: &'a Commands,
        variables: &'a [&'a str],
        cwd: &'a str,
    }

    impl Ask<'_> {
        /// Decides about these words, or about a command string for a shell.
        fn decide(&self, argv: &[&str], is_shell: bool) -> Result<Verdict<'_>, String> {
            let shown = argv.join(" ");
            let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
            let variables: Vec<OsString> = self.variables.iter().map(OsString::from).collect();
            let cwd = RootPath::default().join(self.cwd.as_bytes()).unwrap();
            let argv = (!is_shell).then_some(&*argv);
            let asked = CommandRequest { argv, shown: &shown, variables: &variables, cwd: &cwd };
            let peer = Peer::Guest { address: "laptop".into(), fingerprint: None };
            self.commands.decide(&peer, &asked).map_err(|refusal| {
                assert_eq!(refusal.code, ErrorCode::NotAllowed);
                refusal.message
            })
        }
    }

    fn listed() -> Commands {
        Commands::Listed(vec![split("uptime").unwrap(), split("systemctl restart web").unwrap()])
    }

    #[test]
    fn a_listed_command_runs_word_for_word_and_no_other() {
        let ask = Ask { commands: &listed(), variables: &[], cwd: "/" };
        assert_eq!(ask.decide(&["uptime"], false), Ok(Verdict::AsAsked));
        assert_eq!(ask.decide(&["systemctl", "restart", "web"], false), Ok(Verdict::AsAsked));
        let only = "exec: guest laptop may run only: uptime | systemctl restart web \
                    (exactly so: rexec HOST -- uptime); it asked";
        for (argv, is_shell, asked) in [
            (&["uptime"][..], true, " a shell for: uptime"),
            (&["uptime", ""], false, " for: uptime ''"),
            (&["uptime", "-p"], false, " for: uptime -p"),
            (&["/usr/bin/uptime"], false, " for: /usr/bin/uptime"),
            (&["systemctl", "restart"], false, " for: systemctl restart"),
            (&["systemctl restart web"], false, " for: 'systemctl restart web'"),
            (&["systemctl", "restart", "web", "x"], false, " for: systemctl restart web x"),
            (&["Uptime"], false, " for: Uptime"),
        ] {
            assert_eq!(ask.decide(argv, is_shell), Err(format!("{only}{asked}")));
        }
    }

    #[test]
    fn words_are_compared_as_bytes() {
        let commands = Commands::Listed(vec![vec!["\u{fffd}".into()]]);
        let argv = [OsStr::from_bytes(b"\xff").to_owned()];
        let cwd = RootPath::default();
        let asked = CommandRequest { argv: Some(&argv), shown: "\u{fffd}", variables: &[], cwd: &cwd };
        assert!(commands.decide(&Peer::Own, &asked).is_err());
    }

    #[test]
    fn a_forced_command_runs_whatever_is_asked() {
        let commands = Commands::Forced(split("backup --all").unwrap());
        let ask = Ask { commands: &commands, variables: &[], cwd: "/" };
        let instead = ["backup".to_owned(), "--all".to_owned()];
        for (argv, is_shell) in [(&["ls"][..], false), (&["rm -rf ~"], true), (&["backup", "--all"], false)] {
            assert_eq!(ask.decide(argv, is_shell), Ok(Verdict::Instead(&instead)));
        }
    }

    #[test]
    fn neither_takes_variables_or_a_directory_and_any_takes_all() {
        let forced = Commands::Forced(split("uptime").unwrap());
        for (variables, cwd, why) in [
            (&["A=secret"][..], "/", "without variables of its own, and it sets A"),
            (&["TERM=xterm", "PATH=/tmp"], "/", "and it sets PATH"),
            (&["TERM=xterm", "TERM=dumb"], "/", "and it sets TERM"),
            (&["TERM="], "/", "and it sets TERM"),
            (&["TERM=../x"], "/", "and it sets TERM"),
            (&["TERM=a b"], "/", "and it sets TERM"),
            (&["TERMINFO=x"], "/", "and it sets TERMINFO"),
            (&["TERM"], "/", "and it sets TERM"),
            (&[], "sub", "in / alone, and it asked for /sub (leave -C out, or cd /)"),
        ] {
            for commands in [&listed(), &forced] {
                let said = Ask { commands, variables, cwd }.decide(&["uptime"], false).unwrap_err();
                assert!(said.contains(why) && !said.contains("secret"), "{said} does not say {why}");
            }
            let any = Ask { commands: &Commands::Any, variables, cwd };
            assert_eq!(any.decide(&["uptime"], true), Ok(Verdict::AsAsked));
        }
        for commands in [&listed(), &forced] {
            let term = ["TERM=screen.xterm-256color+x_1"];
            assert!(Ask { commands, variables: &term, cwd: "/" }.decide(&["uptime"], false).is_ok());
        }
    }

    #[test]
    fn a_refusal_stays_short_and_the_operators_list_is_whole() {
        let many = Commands::Listed((0..100).map(|n| vec![format!("run-{n}")]).collect());
        let ask = Ask { commands: &many, variables: &[], cwd: "/" };
        let said = ask.decide(&["x".repeat(100_000).as_str()], false).unwrap_err();
        assert!(said.contains("run-7 | 92 more (exactly so") && said.ends_with("xxx…"), "{said}");
        assert!(said.len() < 1000 && many.to_string().ends_with("run-98 | run-99"));
    }

    #[test]
    fn a_text_is_split_as_a_shell_would() {
        assert_eq!(split("a  'b c' d\\ e \"\" $x").unwrap(), ["a", "b c", "d e", "", "$x"]);
        for (text, why) in [("a 'b", "a quote is not closed"), (" ", "at least one word"), ("'' a", "is empty")] {
            assert!(split(text).unwrap_err().contains(why), "{text}");
        }
        assert!(check_argv(&["a".into(), "b\0".into()]).unwrap_err().contains("NUL"));
        assert_eq!(joined(&["a", "b c", ""]), "a 'b c' ''");
    }
}
