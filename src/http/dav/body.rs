//! The bodies of requests: PROPFIND (RFC 4918, 14.20), PROPPATCH (14.19) and LOCK (14.11). Elements that are not known
//! are ignored (17).

use super::xml::{Element, Name, XmlError};

/// Properties that one request may name: each takes room in the answer for each resource.
pub const PROPERTIES_NAMED_MAX: usize = 256;
/// Longest text of a lock's owner, in bytes.
pub const LOCK_OWNER_LEN_MAX: usize = 1024;

/// Why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is no XML that is taken.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// It is another document.
    #[error("the body is no {0}")]
    Other(&'static str),
    /// It wants a lock of a kind that there is not.
    #[error("a lock is exclusive or shared, and a write lock")]
    LockKind,
}

/// Which properties a PROPFIND wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All that a client can be expected to want, and these.
    All(Vec<Name>),
    /// The names of all.
    Names,
    /// These.
    These(Vec<Name>),
}

impl Wanted {
    /// Reads the body of a PROPFIND; an empty one wants all (9.1).
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        if body.is_empty() {
            return Ok(Self::All(Vec::new()));
        }
        let root = Element::parse(body)?;
        if !root.name.is_dav("propfind") {
            return Err(BodyError::Other("DAV:propfind"));
        }
        let names = |of: &Element| -> Result<Vec<Name>, BodyError> {
            let mut names: Vec<Name> = Vec::new();
            for element in of.elements().take(PROPERTIES_NAMED_MAX + 1) {
                if names.len() >= PROPERTIES_NAMED_MAX {
                    return Err(XmlError::TooMuch { most: PROPERTIES_NAMED_MAX, what: "properties" }.into());
                }
                if !names.contains(&element.name) {
                    names.push(element.name.clone());
                }
            }
            Ok(names)
        };
        let kinds = ["prop", "propname", "allprop"].map(|kind| root.dav_element(kind));
        match kinds {
            [Some(prop), None, None] => Ok(Self::These(names(prop)?)),
            [None, Some(_), None] => Ok(Self::Names),
            [None, None, Some(_)] => {
                Ok(Self::All(root.dav_element("include").map(names).transpose()?.unwrap_or_default()))
            }
            _ => Err(BodyError::Other("DAV:propfind with one of allprop, propname and prop")),
        }
    }
}

/// One instruction of a PROPPATCH. They are carried out in their order (9.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// The property gets this value: the element itself.
    Set(Element),
    /// The property goes.
    Remove(Name),
}

impl Update {
    /// The property that it is about.
    pub const fn name(&self) -> &Name {
        match self {
            Self::Set(element) => &element.name,
            Self::Remove(name) => name,
        }
    }

    /// Reads the body of a PROPPATCH.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn parse(body: &[u8]) -> Result<Vec<Self>, BodyError> {
        let mut root = Element::parse(body)?;
        if !root.name.is_dav("propertyupdate") {
            return Err(BodyError::Other("DAV:propertyupdate"));
        }
        let mut updates = Vec::new();
        let outer = root.language().map(str::to_owned);
        for mut instruction in take_elements(&mut root) {
            let is_set = instruction.name.is_dav("set");
            if !is_set && !instruction.name.is_dav("remove") {
                continue;
            }
            instruction.inherit_language(outer.as_deref());
            let language = instruction.language().map(str::to_owned);
            let props = take_elements(&mut instruction).into_iter().filter(|prop| prop.name.is_dav("prop"));
            for mut prop in props {
                prop.inherit_language(language.as_deref());
                let language = prop.language().map(str::to_owned);
                for mut property in take_elements(&mut prop) {
                    if updates.len() >= PROPERTIES_NAMED_MAX {
                        return Err(XmlError::TooMuch { most: PROPERTIES_NAMED_MAX, what: "properties" }.into());
                    }
                    updates.push(if is_set {
                        // The language of a value is kept with it (4.3).
                        property.inherit_language(language.as_deref());
                        Self::Set(property)
                    } else {
                        Self::Remove(property.name)
                    });
                }
            }
        }
        if updates.is_empty() { Err(BodyError::Other("DAV:propertyupdate with a property")) } else { Ok(updates) }
    }
}

fn take_elements(of: &mut Element) -> Vec<Element> {
    let nodes = std::mem::take(&mut of.nodes);
    let elements = nodes.into_iter().filter_map(|node| match node {
        super::xml::Node::Element(element) => Some(element),
        super::xml::Node::Text(_) => None,
    });
    elements.collect()
}

/// The lock that a LOCK wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockInfo {
    /// Whether it is to be the only one.
    pub is_exclusive: bool,
    /// What the client says of its owner: a whole element; empty: nothing.
    pub owner: String,
}

impl LockInfo {
    /// Reads the body of a LOCK that is to make a lock.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        let root = Element::parse(body)?;
        if !root.name.is_dav("lockinfo") {
            return Err(BodyError::Other("DAV:lockinfo"));
        }
        let scope = root.dav_element("lockscope").ok_or(BodyError::LockKind)?;
        let kinds = ["exclusive", "shared"].map(|kind| scope.dav_element(kind).is_some());
        let is_write = root.dav_element("locktype").is_some_and(|kind| kind.dav_element("write").is_some());
        let is_exclusive = match (kinds, is_write) {
            ([true, false], true) => true,
            ([false, true], true) => false,
            _ => return Err(BodyError::LockKind),
        };
        let owner = root.dav_element("owner").map(|owner| owner.to_text(LOCK_OWNER_LEN_MAX)).transpose()?;
        Ok(Self { is_exclusive, owner: owner.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dav(local: &str) -> Name {
        Name::new(super::super::DAV, local)
    }

    #[test]
    fn a_propfind_wants_one_kind() {
        let of = |inner: &str| format!("<D:propfind xmlns:D='DAV:' xmlns:x='urn:x'>{inner}</D:propfind>");
        let many = (0..=PROPERTIES_NAMED_MAX).map(|at| format!("<x:a{at}/>")).collect::<Vec<_>>().concat();
        let these = |names: &[Name]| Some(Wanted::These(names.to_vec()));
        for (clause, body, want) in [
            ("9.1: no body", String::new(), Some(Wanted::All(Vec::new()))),
            ("9.1: all", of("<D:allprop/>"), Some(Wanted::All(Vec::new()))),
            (
                "14.8: and more",
                of("<D:allprop/><D:include><x:a/></D:include>"),
                Some(Wanted::All(vec![Name::new("urn:x", "a")])),
            ),
            ("14.22: names", of("<D:propname/>"), Some(Wanted::Names)),
            (
                "14.18: some",
                of("<D:prop><D:getetag/><x:a/></D:prop>"),
                these(&[dav("getetag"), Name::new("urn:x", "a")]),
            ),
            ("14.18: each once", of("<D:prop><x:a/><x:a/></D:prop>"), these(&[Name::new("urn:x", "a")])),
            ("14.18: none", of("<D:prop/>"), these(&[])),
            ("17: unknown elements are ignored", of("<x:y/><D:propname/>"), Some(Wanted::Names)),
            ("14.20: nothing", of(""), None),
            ("14.20: two", of("<D:propname/><D:allprop/>"), None),
            ("14.20: another document", "<D:lockinfo xmlns:D='DAV:'/>".to_owned(), None),
            ("14.20: another namespace", "<propfind><prop/></propfind>".to_owned(), None),
            ("8.2: not well-formed", "<D:propfind".to_owned(), None),
            ("too many", of(&format!("<D:prop>{many}</D:prop>")), None),
        ] {
            assert_eq!(Wanted::parse(body.as_bytes()).ok(), want, "RFC 4918, {clause}: {body}");
        }
    }

    #[test]
    fn updates_come_in_their_order_with_their_language() {
        let body = "<D:propertyupdate xmlns:D='DAV:' xmlns:x='urn:x' xml:lang='de'>\
                    <D:set><D:prop xml:lang='en'><x:a>1</x:a></D:prop></D:set>\
                    <x:set><D:prop><x:z/></D:prop></x:set>\
                    <D:remove><D:prop><x:b/></D:prop></D:remove>\
                    <D:set><D:prop><x:a><x:c/></x:a></D:prop></D:set></D:propertyupdate>";
        let updates = Update::parse(body.as_bytes()).unwrap();
        let text = |update: &Update| match update {
            Update::Set(element) => element.to_text(1000).unwrap(),
            Update::Remove(name) => format!("-{}", name.local),
        };
        let want = ["<a xmlns=\"urn:x\" xml:lang=\"en\">1</a>", "-b", "<a xmlns=\"urn:x\" xml:lang=\"de\"><c/></a>"];
        assert_eq!(updates.iter().map(text).collect::<Vec<_>>(), want);
        let many = (0..=PROPERTIES_NAMED_MAX).map(|at| format!("<a{at}/>")).collect::<Vec<_>>().concat();
        for (clause, inner) in [
            ("14.19: nothing", String::new()),
            ("14.26: no property", "<D:set><D:prop/></D:set>".to_owned()),
            ("too many", format!("<D:remove><D:prop>{many}</D:prop></D:remove>")),
        ] {
            let body = format!("<D:propertyupdate xmlns:D='DAV:'>{inner}</D:propertyupdate>");
            assert!(Update::parse(body.as_bytes()).is_err(), "RFC 4918, {clause}");
        }
        assert!(Update::parse(b"<a/>").is_err());
    }

    #[test]
    fn a_lock_has_one_scope_and_is_for_writing() {
        let exclusive = "<D:lockscope><D:exclusive/></D:lockscope>";
        let write = "<D:locktype><D:write/></D:locktype>";
        let long = format!("<D:owner>{}</D:owner>", "x".repeat(LOCK_OWNER_LEN_MAX));
        for (clause, inner, want) in [
            ("9.10.7: exclusive", format!("{exclusive}{write}"), Some((true, ""))),
            ("6.2: shared", format!("<D:lockscope><D:shared/></D:lockscope>{write}"), Some((false, ""))),
            (
                "14.17: an owner",
                format!("{exclusive}{write}<D:owner><D:href>x</D:href></D:owner>"),
                Some((true, "<owner xmlns=\"DAV:\"><href>x</href></owner>")),
            ),
            ("14.11: no scope", write.to_owned(), None),
            ("14.13: both", format!("<D:lockscope><D:shared/><D:exclusive/></D:lockscope>{write}"), None),
            ("14.15: no type", exclusive.to_owned(), None),
            ("14.15: another type", format!("{exclusive}<D:locktype><D:read/></D:locktype>"), None),
            ("too long an owner", format!("{exclusive}{write}{long}"), None),
        ] {
            let body = format!("<D:lockinfo xmlns:D='DAV:'>{inner}</D:lockinfo>");
            let read = LockInfo::parse(body.as_bytes()).ok();
            let want = want.map(|(is_exclusive, owner)| LockInfo { is_exclusive, owner: owner.to_owned() });
            assert_eq!(read, want, "RFC 4918, {clause}");
        }
        assert!(LockInfo::parse(b"").is_err());
    }
}
