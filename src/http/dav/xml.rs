//! XML as WebDAV uses it (RFC 4918, 8.2): a stranger's bytes become a small tree, and a tree becomes text that stands
//! by itself. A document type is refused, so no entity can be declared: the five of XML and references to characters
//! are all that there is.

use std::collections::HashSet;
use std::sync::Arc;

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{QName, ResolveResult};
use quick_xml::{NsReader, XmlVersion};

/// Longest body of XML that is read, in bytes.
pub const XML_LEN_MAX: usize = 64 * 1024;
/// Elements within each other.
pub const XML_DEPTH_MAX: usize = 32;
/// Attributes of one element.
pub const XML_ATTRIBUTES_MAX: usize = 32;
/// Length of a namespace in bytes: each element of a property repeats the one that it is in.
pub const NAMESPACE_LEN_MAX: usize = 1024;

/// What the prefix `xml` always stands for.
const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";

/// The name of an element or attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Its namespace; empty: none.
    pub namespace: Arc<str>,
    /// The name in it.
    pub local: Box<str>,
}

impl Name {
    /// A name of this namespace.
    pub fn new(namespace: &str, local: &str) -> Self {
        Self { namespace: namespace.into(), local: local.into() }
    }

    /// Whether it is `local` in WebDAV's own namespace.
    pub fn is_dav(&self, local: &str) -> bool {
        &*self.namespace == super::DAV && &*self.local == local
    }
}

/// An element with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its name.
    pub name: Name,
    /// Its attributes, without those that declare namespaces.
    pub attributes: Vec<(Name, String)>,
    /// What is in it, without comments and processing instructions.
    pub nodes: Vec<Node>,
}

/// A part of an element's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Characters.
    Text(String),
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It is not well-formed, or uses a namespace that it does not declare.
    #[error("the XML is malformed: {0}")]
    Malformed(String),
    /// It has a document type.
    #[error("the XML has a document type; send it without one")]
    DocumentType,
    /// It is not in UTF-8.
    #[error("the XML is not in UTF-8")]
    Encoding,
    /// Something in it is over a limit.
    #[error("the XML has more than {most} {what}")]
    TooMuch {
        /// How many there may be.
        most: usize,
        /// Of what.
        what: &'static str,
    },
}

fn malformed(why: impl Into<String>) -> XmlError {
    XmlError::Malformed(why.into())
}

/// What the library says of a document, for `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes it so")]
fn said(error: impl ToString) -> XmlError {
    XmlError::Malformed(error.to_string())
}

impl Element {
    /// Reads a document.
    ///
    /// # Errors
    /// [`XmlError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, XmlError> {
        if bytes.len() > XML_LEN_MAX {
            return Err(XmlError::TooMuch { most: XML_LEN_MAX, what: "bytes" });
        }
        let text = std::str::from_utf8(bytes).map_err(|_invalid| XmlError::Encoding)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if let Some(bad) = text.chars().find(|character| !is_xml_char(*character)) {
            return Err(malformed(format!("U+{:04X} stands in no document", u32::from(bad))));
        }
        Tree::default().read(text)
    }

    /// An element of WebDAV's without content.
    pub fn dav(local: &str) -> Self {
        Self { name: Name::new(super::DAV, local), attributes: Vec::new(), nodes: Vec::new() }
    }

    /// The elements in it.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first element in it that is `local` in WebDAV's own namespace.
    pub fn dav_element(&self, local: &str) -> Option<&Self> {
        self.elements().find(|element| element.name.is_dav(local))
    }

    /// The characters directly in it.
    pub fn text(&self) -> String {
        let text = self.nodes.iter().filter_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        });
        text.collect()
    }

    /// The value of `xml:lang` (XML, 2.12).
    pub fn language(&self) -> Option<&str> {
        let is_language = |name: &Name| &*name.namespace == XML_NAMESPACE && &*name.local == "lang";
        self.attributes.iter().find(|(name, _)| is_language(name)).map(|(_, value)| value.as_str())
    }

    /// Sets `xml:lang`, if it is not set.
    pub fn inherit_language(&mut self, language: Option<&str>) {
        if let Some(language) = language.filter(|_| self.language().is_none()) {
            self.attributes.push((Name::new(XML_NAMESPACE, "lang"), language.to_owned()));
        }
    }

    /// The element as text that stands by itself: it declares each namespace that it uses.
    ///
    /// # Errors
    /// It would be longer than `len_max` bytes.
    pub fn to_text(&self, len_max: usize) -> Result<String, XmlError> {
        let mut text = String::new();
        self.write("", len_max, &mut text)?;
        Ok(text)
    }

    /// Writes it where `default` is the namespace of names without a prefix.
    fn write(&self, default: &str, len_max: usize, to: &mut String) -> Result<(), XmlError> {
        let Name { namespace, local } = &self.name;
        to.push('<');
        to.push_str(local);
        if **namespace != *default {
            to.push_str(" xmlns=\"");
            escape(namespace, to);
            to.push('"');
        }
        for (at, (Name { namespace, local }, value)) in self.attributes.iter().enumerate() {
            match &**namespace {
                "" => to.push(' '),
                XML_NAMESPACE => to.push_str(" xml:"),
                namespace => {
                    push(to, [" xmlns:n", &at.to_string(), "=\""]);
                    escape(namespace, to);
                    push(to, ["\" n", &at.to_string(), ":"]);
                }
            }
            to.push_str(local);
            to.push_str("=\"");
            escape(value, to);
            to.push('"');
        }
        if self.nodes.is_empty() {
            to.push_str("/>");
        } else {
            to.push('>');
            for node in &self.nodes {
                match node {
                    Node::Element(element) => element.write(namespace, len_max, to)?,
                    Node::Text(text) => escape(text, to),
                }
            }
            to.push_str("</");
            to.push_str(local);
            to.push('>');
        }
        if to.len() > len_max { Err(XmlError::TooMuch { most: len_max, what: "bytes" }) } else { Ok(()) }
    }
}

/// Appends pieces of text.
pub(super) fn push<const COUNT: usize>(to: &mut String, pieces: [&str; COUNT]) {
    for piece in pieces {
        to.push_str(piece);
    }
}

/// Characters as they stand in text and in attributes. What XML 1.0 has no way to write becomes U+FFFD.
pub fn escape(text: &str, to: &mut String) {
    for character in text.chars() {
        match character {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' => to.push_str("&quot;"),
            // As they are, a reader would make blanks or line feeds of them (XML, 2.11 and 3.3.3).
            '\r' => to.push_str("&#13;"),
            '\n' => to.push_str("&#10;"),
            '\t' => to.push_str("&#9;"),
            character if is_xml_char(character) => to.push(character),
            _ => to.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// `Char` of XML 1.0, 2.2.
pub const fn is_xml_char(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// `NCName` of Namespaces in XML 1.0, 3: a name without a colon.
pub fn is_name(text: &str) -> bool {
    let starts = |character: char| {
        matches!(character, 'A'..='Z' | 'a'..='z' | '_' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}'
            | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
            | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}'
            | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
    };
    let goes_on = |character: char| {
        starts(character)
            || matches!(character, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
    };
    let mut characters = text.chars();
    characters.next().is_some_and(starts) && characters.all(goes_on)
}

/// A document that is being read.
#[derive(Default)]
struct Tree {
    /// The elements that are open, the outermost first.
    open: Vec<Element>,
    root: Option<Element>,
    /// Each namespace once.
    namespaces: HashSet<Arc<str>>,
}

impl Tree {
    fn read(mut self, text: &str) -> Result<Element, XmlError> {
        let mut reader = NsReader::from_str(text);
        let mut is_first = true;
        loop {
            match reader.read_event().map_err(said)? {
                Event::Start(start) => self.start(&reader, &start)?,
                Event::Empty(start) => {
                    self.start(&reader, &start)?;
                    self.end()?;
                }
                Event::End(_) => self.end()?,
                Event::Text(text) => self.text(&text.xml10_content())?,
                Event::CData(text) => {
                    if self.open.is_empty() {
                        return Err(malformed("characters outside of an element"));
                    }
                    self.text(&text.xml10_content())?;
                }
                Event::GeneralRef(reference) => {
                    let character = referenced(&reference)?;
                    if self.open.is_empty() {
                        return Err(malformed("a reference outside of an element"));
                    }
                    self.text(character.encode_utf8(&mut [0; 4]))?;
                }
                Event::Decl(declaration) => {
                    if !is_first {
                        return Err(malformed("a declaration that is not in front"));
                    }
                    let encoding = declaration.encoding().transpose().map_err(said)?;
                    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("utf-8")) {
                        return Err(XmlError::Encoding);
                    }
                }
                Event::DocType(_) => return Err(XmlError::DocumentType),
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
            is_first = false;
        }
        if !self.open.is_empty() {
            return Err(malformed("an element has no end"));
        }
        self.root.ok_or_else(|| malformed("there is no element"))
    }

    fn start(&mut self, reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<(), XmlError> {
        if self.root.is_some() {
            return Err(malformed("more than one element at the top"));
        }
        if self.open.len() >= XML_DEPTH_MAX {
            return Err(XmlError::TooMuch { most: XML_DEPTH_MAX, what: "elements within each other" });
        }
        let name = self.name(reader, start.name(), false)?;
        let mut attributes: Vec<(Name, String)> = Vec::new();
        for (at, attribute) in start.attributes().enumerate() {
            if at >= XML_ATTRIBUTES_MAX {
                return Err(XmlError::TooMuch { most: XML_ATTRIBUTES_MAX, what: "attributes of one element" });
            }
            let attribute = attribute.map_err(said)?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(said)?;
            if !value.chars().all(is_xml_char) {
                return Err(malformed("a reference to what is no character"));
            }
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let name = self.name(reader, attribute.key, true)?;
            if attributes.iter().any(|(other, _)| *other == name) {
                return Err(malformed("an attribute comes twice"));
            }
            attributes.push((name, value.into_owned()));
        }
        self.open.push(Element { name, attributes, nodes: Vec::new() });
        Ok(())
    }

    fn name(&mut self, reader: &NsReader<&[u8]>, name: QName<'_>, is_attribute: bool) -> Result<Name, XmlError> {
        let resolver = reader.resolver();
        let (found, local) =
            if is_attribute { resolver.resolve_attribute(name) } else { resolver.resolve_element(name) };
        let namespace = match found {
            ResolveResult::Unbound => "",
            ResolveResult::Bound(namespace) => namespace.into_inner(),
            ResolveResult::Unknown(_) => return Err(malformed("a prefix without a namespace")),
        };
        // It is as it stands in the document: references in it, and blanks of other kinds, would mean something else.
        if namespace.contains(['&', '<', '>', '"', '\n', '\r', '\t']) {
            return Err(malformed("a namespace with a reference, a bracket, a quote or a line end"));
        }
        if namespace.len() > NAMESPACE_LEN_MAX {
            return Err(XmlError::TooMuch { most: NAMESPACE_LEN_MAX, what: "bytes in a namespace" });
        }
        let local = local.into_inner();
        if !is_name(local) {
            return Err(malformed("a name that is none"));
        }
        let known = self.namespaces.get(namespace).cloned();
        let namespace = known.unwrap_or_else(|| {
            let namespace: Arc<str> = namespace.into();
            self.namespaces.insert(Arc::clone(&namespace));
            namespace
        });
        Ok(Name { namespace, local: local.into() })
    }

    fn end(&mut self) -> Result<(), XmlError> {
        let element = self.open.pop().ok_or_else(|| malformed("an end without a start"))?;
        match self.open.last_mut() {
            Some(above) => above.nodes.push(Node::Element(element)),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlError> {
        let Some(element) = self.open.last_mut() else {
            let is_blank = text.chars().all(|character| matches!(character, ' ' | '\t' | '\r' | '\n'));
            return if is_blank { Ok(()) } else { Err(malformed("characters outside of an element")) };
        };
        match element.nodes.last_mut() {
            Some(Node::Text(before)) => before.push_str(text),
            _ if text.is_empty() => {}
            _ => element.nodes.push(Node::Text(text.to_owned())),
        }
        Ok(())
    }
}

/// The character that a reference in text stands for (XML, 4.1 and 4.6).
fn referenced(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    if let Some(character) = reference.resolve_char_ref().map_err(said)? {
        return if is_xml_char(character) { Ok(character) } else { Err(malformed("a reference to no character")) };
    }
    match &*reference.xml10_content() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(malformed("an entity that is not declared")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_are_read_or_refused() {
        use XmlError::{DocumentType, Encoding, TooMuch};
        let (deep, deeper) = ("<a>".repeat(XML_DEPTH_MAX), "<a>".repeat(XML_DEPTH_MAX + 1));
        let deep = format!("{deep}{}", "</a>".repeat(XML_DEPTH_MAX));
        let long = format!("<a xmlns='{}'/>", "n".repeat(NAMESPACE_LEN_MAX + 1));
        let many =
            format!("<a {}/>", (0..=XML_ATTRIBUTES_MAX).map(|at| format!("a{at}='' ")).collect::<Vec<_>>().concat());
        let bindings = format!("<a {}/>", (0..200).map(|at| format!("xmlns:a{at}='x' ")).collect::<Vec<_>>().concat());
        let malformed = || Err(XmlError::Malformed(String::new()));
        for (clause, text, want) in [
            ("XML, 2.1: one element", "<a/>", Ok(())),
            ("XML, 2.8: a declaration", "<?xml version='1.0' encoding='UTF-8'?>\n<a></a>\n", Ok(())),
            ("XML, 4.3.3: a mark in front", "\u{feff}<a/>", Ok(())),
            ("XML, 2.5 and 2.6: comments", "<!-- x --><a><!-- <b> --><?pi ?></a><!-- y -->", Ok(())),
            ("XML, 2.7: CDATA", "<a><![CDATA[<&>]]></a>", Ok(())),
            ("XML, 4.6: the five", "<a b='&quot;'>&lt;&gt;&amp;&quot;&apos;</a>", Ok(())),
            ("XML, 4.1: of characters", "<a>&#65;&#x1F600;</a>", Ok(())),
            ("RFC 4918, 8.2: namespaces", "<D:a xmlns:D='DAV:'><b xmlns='x' D:c=''/></D:a>", Ok(())),
            ("a depth that is allowed", &deep, Ok(())),
            ("XML, 2.1: nothing", "", malformed()),
            ("XML, 2.1: blanks", "  ", malformed()),
            ("XML, 2.1: no end", "<a>", malformed()),
            ("XML, 2.1: two", "<a/><b/>", malformed()),
            ("XML, 2.1: text in front", "x<a/>", malformed()),
            ("XML, 2.1: text behind", "<a/>x", malformed()),
            ("XML, 2.1: CDATA behind", "<a/><![CDATA[ ]]>", malformed()),
            ("XML, 3: another end", "<a></b>", malformed()),
            ("XML, 2.8: a second declaration", "<a/><?xml version='1.0'?>", malformed()),
            ("XML, 4.1: undeclared", "<a>&b;</a>", malformed()),
            ("XML, 4.1: undeclared, in an attribute", "<a b='&c;'/>", malformed()),
            ("XML, 2.2: no character", "<a>\u{1}</a>", malformed()),
            ("XML, 4.1: no character by reference", "<a>&#1;</a>", malformed()),
            ("XML, 4.1: nor in an attribute", "<a b='&#xFFFF;'/>", malformed()),
            ("XML, 3.1: an attribute twice", "<a b='' b=''/>", malformed()),
            ("Namespaces, 6.3: twice by two prefixes", "<a xmlns:x='n' xmlns:y='n' x:b='' y:b=''/>", malformed()),
            ("Namespaces, 5: undeclared", "<D:a/>", malformed()),
            ("Namespaces, 2: a prefix for nothing", "<x:a xmlns:x=''/>", malformed()),
            ("XML, 3.3.3: a line end in a namespace", "<a xmlns='u\n:x'/>", malformed()),
            ("XML, 2.3: no name", "<1a/>", malformed()),
            ("RFC 4918, 20.6: no entities", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", Err(DocumentType)),
            ("RFC 4918, 20.6: no document type", "<!DOCTYPE a SYSTEM 'http://x/'><a/>", Err(DocumentType)),
            ("XML, 4.3.3: another encoding", "<?xml version='1.0' encoding='latin1'?><a/>", Err(Encoding)),
            ("too deep", &deeper, Err(TooMuch { most: XML_DEPTH_MAX, what: "elements within each other" })),
            ("too long a namespace", &long, Err(TooMuch { most: NAMESPACE_LEN_MAX, what: "bytes in a namespace" })),
            (
                "too many attributes",
                &many,
                Err(TooMuch { most: XML_ATTRIBUTES_MAX, what: "attributes of one element" }),
            ),
            ("too many namespaces", &bindings, malformed()),
        ] {
            let read = Element::parse(text.as_bytes()).map(drop);
            let is_malformed = |read: &Result<(), XmlError>| matches!(read, Err(XmlError::Malformed(_)));
            assert!(read == want || is_malformed(&read) && is_malformed(&want), "{clause}: {text}: {read:?}");
        }
        assert_eq!(Element::parse(b"<a>\xff</a>"), Err(Encoding));
        assert_eq!(Element::parse(b"\xfe\xff\0<\0a\0/\0>"), Err(Encoding));
        let long = [b"<a>", &b"x".repeat(XML_LEN_MAX)[..], b"</a>"].concat();
        assert_eq!(Element::parse(&long), Err(TooMuch { most: XML_LEN_MAX, what: "bytes" }));
    }

    #[test]
    fn text_is_put_together_and_written_so_that_it_is_read_again() {
        let element = Element::parse(
            b"<x:a xmlns:x='urn:x' xml:lang='en' x:b='1 &lt;2' c='3'>a&amp;<!-- --><![CDATA[<b>]]>&#13;\r\n<d/></x:a>",
        );
        let element = element.unwrap();
        assert_eq!(element.text(), "a&<b>\r\n");
        assert_eq!(element.language(), Some("en"));
        let text = element.to_text(1000).unwrap();
        let want = "<a xmlns=\"urn:x\" xml:lang=\"en\" xmlns:n1=\"urn:x\" n1:b=\"1 &lt;2\" c=\"3\">\
                    a&amp;&lt;b&gt;&#13;&#10;<d xmlns=\"\"/></a>";
        assert_eq!(text, want);
        assert_eq!(Element::parse(text.as_bytes()).unwrap(), element);
        assert_eq!(element.to_text(100), Err(XmlError::TooMuch { most: 100, what: "bytes" }));
        let mut escaped = String::new();
        escape("\u{0}\u{ffff}<\u{1f600}>", &mut escaped);
        assert_eq!(escaped, "\u{fffd}\u{fffd}&lt;\u{1f600}&gt;");
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_and_read_again(
            text in "(<[ab:]{1,3}( xmlns(:b)?='[nm]?')?( b?:?c='x?&?(lt)?;?')?/?>|</[ab:]{1,3}>|[x&;\u{1}]|&amp;){1,8}",
        ) {
            if let Ok(element) = Element::parse(text.as_bytes()) {
                let written = element.to_text(usize::MAX).unwrap();
                prop_assert_eq!(Element::parse(written.as_bytes()), Ok(element), "{}", written);
            }
        }

        #[test]
        fn any_text_is_escaped(text in any::<String>()) {
            let mut document = "<a b=\"".to_owned();
            escape(&text, &mut document);
            document.push_str("\">");
            escape(&text, &mut document);
            document.push_str("</a>");
            let element = Element::parse(document.as_bytes()).unwrap();
            let want: String = text.chars().map(|one| if is_xml_char(one) { one } else { '\u{fffd}' }).collect();
            prop_assert_eq!(&element.attributes[0].1, &want);
            prop_assert_eq!(element.text(), want);
        }
    }
}
