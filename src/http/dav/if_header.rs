//! `If` (RFC 4918, 10.4): the state that a client takes resources to be in, and with it the tokens of the locks that
//! it has.

use std::fmt;

use ::http::header::{HeaderMap, HeaderValue};

use super::fields::{IF, coded_url};
use crate::http::conditions::EntityTag;

/// Conditions in one field: each is looked up.
pub const IF_CONDITIONS_MAX: usize = 256;

/// The conditions of a request. It is carried out if one of the lists holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfHeader(Vec<List>);

/// Conditions that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct List {
    /// Which resource they are about, as the client names it; `None`: the one that the request is about.
    resource: Option<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    is_negated: bool,
    state: State,
}

/// What a resource has, or has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// A state token: a lock's, or another that no resource has.
    Token(String),
    /// An entity tag.
    Tag(EntityTag),
}

/// The field cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IfError {
    /// It is no list of conditions.
    #[error("If is no list of conditions, as RFC 4918, 10.4 has it")]
    Malformed,
    /// There are too many conditions in it.
    #[error("If has more than {IF_CONDITIONS_MAX} conditions")]
    TooMany,
}

impl IfHeader {
    /// The conditions of a request; `None`: it has none.
    ///
    /// # Errors
    /// [`IfError`].
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, IfError> {
        let mut values = headers.get_all(IF).iter().map(HeaderValue::as_bytes);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Self::parse(value).map(Some),
            (Some(_), Some(_)) => Err(IfError::Malformed),
        }
    }

    /// Reads the value of the field.
    ///
    /// # Errors
    /// [`IfError`].
    pub fn parse(value: &[u8]) -> Result<Self, IfError> {
        let (mut lists, mut resource, mut count) = (Vec::<List>::new(), None, 0);
        let mut rest = value.trim_ascii();
        while !rest.is_empty() {
            if rest.starts_with(b"<") {
                // A list without a resource is not followed by one with a resource, nor a resource by none.
                let is_behind_plain = lists.last().is_some_and(|list| list.resource.is_none());
                let is_behind_tag = resource.is_some() && lists.last().is_none_or(|list| list.resource != resource);
                let (uri, behind) = coded_url(rest).ok_or(IfError::Malformed)?;
                if is_behind_plain || is_behind_tag {
                    return Err(IfError::Malformed);
                }
                (resource, rest) = (Some(uri.to_owned()), behind.trim_ascii_start());
                if !rest.starts_with(b"(") {
                    return Err(IfError::Malformed);
                }
            }
            let mut inner = rest.strip_prefix(b"(").ok_or(IfError::Malformed)?.trim_ascii_start();
            let mut conditions = Vec::new();
            while !inner.starts_with(b")") {
                let (condition, behind) = Condition::split(inner).ok_or(IfError::Malformed)?;
                conditions.push(condition);
                count += 1;
                if count > IF_CONDITIONS_MAX {
                    return Err(IfError::TooMany);
                }
                inner = behind.trim_ascii_start();
            }
            if conditions.is_empty() {
                return Err(IfError::Malformed);
            }
            lists.push(List { resource: resource.clone(), conditions });
            rest = inner.split_at(1).1.trim_ascii_start();
        }
        if lists.is_empty() { Err(IfError::Malformed) } else { Ok(Self(lists)) }
    }

    /// The tokens that the client shows that it has, wherever they stand (10.4.1).
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|list| &list.conditions).filter_map(|condition| match &condition.state {
            State::Token(token) => Some(token.as_str()),
            State::Tag(_) => None,
        })
    }

    /// Whether it holds, if `has` says which resource has which state (10.4.3).
    pub fn holds(&self, mut has: impl FnMut(Option<&str>, &State) -> bool) -> bool {
        self.0.iter().any(|List { resource, conditions }| {
            conditions.iter().all(|condition| has(resource.as_deref(), &condition.state) != condition.is_negated)
        })
    }
}

impl Condition {
    /// The condition that `text` begins with, and what is behind it.
    fn split(text: &[u8]) -> Option<(Self, &[u8])> {
        let not = text.split_at_checked(3).filter(|(not, _)| not.eq_ignore_ascii_case(b"not"));
        let (is_negated, text) = not.map_or((false, text), |(_, behind)| (true, behind.trim_ascii_start()));
        let (state, rest) = if text.starts_with(b"<") {
            let (token, rest) = coded_url(text)?;
            (State::Token(token.to_owned()), rest)
        } else {
            // A bracket may be within the quotes of a tag.
            let inner = text.strip_prefix(b"[")?;
            let quote = |text: &[u8]| text.iter().position(|byte| *byte == b'"');
            let first = quote(inner)?;
            let last = first + 1 + quote(inner.get(first + 1..)?)?;
            let (tag, rest) = inner.split_at(last + 1);
            (State::Tag(EntityTag::parse(tag)?), rest.strip_prefix(b"]")?)
        };
        Some((Self { is_negated, state }, rest))
    }
}

impl fmt::Display for IfHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<&str> = None;
        for List { resource, conditions } in &self.0 {
            if let Some(resource) = resource.as_deref().filter(|resource| before != Some(resource)) {
                write!(f, "<{resource}> ")?;
                before = Some(resource);
            }
            f.write_str("(")?;
            for Condition { is_negated, state } in conditions {
                f.write_str(if *is_negated { "Not " } else { "" })?;
                match state {
                    State::Token(token) => write!(f, "<{token}> ")?,
                    State::Tag(tag) => write!(f, "[{tag}] ")?,
                }
            }
            f.write_str(") ")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read_as_the_grammar_has_them() {
        for (clause, text, is_read) in [
            ("10.4.5: no tag", "(<urn:a> [\"I am an ETag\"]) ([\"I am another ETag\"])", false),
            ("10.4.6: a token and a tag", "(<urn:a> [\"etag\"]) ([\"another\"])", true),
            ("10.4.7: Not", "(Not <urn:a> <urn:b>)", true),
            ("10.4.8: always", "(<urn:a>) (Not <DAV:no-lock>)", true),
            ("10.4.9: a resource", "</resource1> (<urn:a> [W/\"A\"]) ([\"strong\"])", true),
            ("10.4.10: of another server", "<http://www.example.com/specs/> (<urn:a>)", true),
            ("10.4.2: two resources", "</a> (<urn:a>) </b> (<urn:b>)([\"x\"])", true),
            ("10.4.2: no blanks", "</a>(<urn:a>[\"x\"])", true),
            ("10.4.2: a bracket within a tag", "([\"a]b\"])", true),
            ("10.4.2: Not without a blank", "(Not<urn:a>)", true),
            ("RFC 5234, 2.3: of either case", "(not <urn:a>)", true),
            ("10.4.2: an empty list", "()", false),
            ("10.4.2: nothing", "", false),
            ("10.4.2: a list that is not closed", "(<urn:a>", false),
            ("10.4.2: a resource without a list", "</a>", false),
            ("10.4.2: two resources, one list", "</a> </b> (<urn:a>)", false),
            ("10.4.2: mixed", "(<urn:a>) </b> (<urn:b>)", false),
            ("10.4.2: a tag without brackets", "(\"x\")", false),
            ("10.4.2: Not alone", "(Not)", false),
            ("10.4.2: Not twice", "(Not Not <urn:a>)", false),
            ("10.4.2: commas", "(<urn:a>), (<urn:b>)", false),
            ("10.4.2: something behind", "(<urn:a>) x", false),
        ] {
            assert_eq!(IfHeader::parse(text.as_bytes()).is_ok(), is_read, "RFC 4918, {clause}: {text}");
        }
        let most = "(<a:b>)".repeat(IF_CONDITIONS_MAX);
        assert!(IfHeader::parse(most.as_bytes()).is_ok());
        assert_eq!(IfHeader::parse(format!("{most}(<a:b>)").as_bytes()), Err(IfError::TooMany));
    }

    #[test]
    fn one_list_must_hold() {
        // The resource is locked with urn:mine, its tag is "now"; /other has nothing.
        let has = |resource: Option<&str>, state: &State| match (resource, state) {
            (Some("/other"), _) => false,
            (_, State::Token(token)) => token == "urn:mine",
            (_, State::Tag(tag)) => tag.opaque() == b"now",
        };
        for (clause, text, holds) in [
            ("10.4.3: a token", "(<urn:mine>)", true),
            ("10.4.3: another", "(<urn:yours>)", false),
            ("10.4.3: all of one list", "(<urn:mine> [\"then\"])", false),
            ("10.4.3: any of the lists", "(<urn:yours>) ([\"now\"])", true),
            ("10.4.7: Not", "(Not <urn:yours> <urn:mine>)", true),
            ("10.4.8: Not <DAV:no-lock> always holds", "(<urn:yours>) (Not <DAV:no-lock>)", true),
            ("10.4.9: about another resource", "</other> (<urn:mine>)", false),
            ("10.4.9: or this one", "</other> (<urn:mine>) </a> (<urn:mine>)", true),
        ] {
            let header = IfHeader::parse(text.as_bytes()).unwrap();
            assert_eq!(header.holds(has), holds, "RFC 4918, {clause}: {text}");
        }
        let header = IfHeader::parse(b"(Not <urn:a> [\"x\"]) (<urn:b>)").unwrap();
        assert_eq!(header.tokens().collect::<Vec<_>>(), ["urn:a", "urn:b"]);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_and_read_again(text in "[<>()\\[\\]\"a/:W Not]{0,60}") {
            if let Ok(header) = IfHeader::parse(text.as_bytes()) {
                prop_assert_eq!(IfHeader::parse(header.to_string().as_bytes()), Ok(header));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(header) = IfHeader::parse(&bytes) {
                let count = header.tokens().count();
                prop_assert!(count <= IF_CONDITIONS_MAX);
            }
        }
    }
}
