//! `DAV:multistatus` (RFC 4918, 14.16): the properties of resources, and what became of each. Each resource is written
//! as soon as it is known, so that an answer is no longer in memory than one of them.

use std::sync::Arc;

use super::body::Wanted;
use super::fields::Depth;
use super::xml::{Name, escape, push};
use super::{DAV, XML_TYPE};
use crate::http::date;
use crate::http::target::encode_path;

/// What stands in front of every document.
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";

/// A property that the server makes itself (RFC 4918, 15; RFC 4331).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// When the resource was made.
    CreationDate,
    /// Its name, for people.
    DisplayName,
    /// The length of the file in bytes.
    ContentLength,
    /// Its media type.
    ContentType,
    /// Its entity tag.
    Tag,
    /// When it was changed.
    LastModified,
    /// The locks that it has.
    LockDiscovery,
    /// Whether it is a directory.
    ResourceType,
    /// The locks that it can have.
    SupportedLock,
    /// Bytes that can be added to the directory.
    QuotaAvailable,
    /// Bytes that its file system holds.
    QuotaUsed,
}

/// All of them by their names.
const LIVE: [(&str, Live); 11] = [
    ("creationdate", Live::CreationDate),
    ("displayname", Live::DisplayName),
    ("getcontentlength", Live::ContentLength),
    ("getcontenttype", Live::ContentType),
    ("getetag", Live::Tag),
    ("getlastmodified", Live::LastModified),
    ("lockdiscovery", Live::LockDiscovery),
    ("resourcetype", Live::ResourceType),
    ("supportedlock", Live::SupportedLock),
    ("quota-available-bytes", Live::QuotaAvailable),
    ("quota-used-bytes", Live::QuotaUsed),
];
/// Those that `allprop` means: RFC 4331, 2 leaves out what takes more work.
const OF_ALL: usize = 9;

impl Live {
    /// The live property of this name; `None`: it is none, and a client may set it.
    pub fn of(name: &Name) -> Option<Self> {
        if *name.namespace != *DAV {
            return None;
        }
        LIVE.iter().find(|(local, _)| *local == &*name.local).map(|(_, live)| *live)
    }
}

/// A property that a client has set: its name, and the element that it is, which declares its namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Its name.
    pub name: Name,
    /// The whole element.
    pub text: Arc<str>,
}

/// A lock, as an answer tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveLock {
    /// Whether it is the only one.
    pub is_exclusive: bool,
    /// How deep it goes.
    pub depth: Depth,
    /// The element of its owner; empty: nothing is told.
    pub owner: String,
    /// Seconds that it has left.
    pub seconds: u64,
    /// Its token; `None`: it is another's.
    pub token: Option<String>,
    /// The path of its root.
    pub root: Vec<u8>,
}

/// One resource.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'r> {
    /// Its path, decoded; that of a directory ends with a slash.
    pub path: &'r [u8],
    /// Its name; `None`: it has none.
    pub name: Option<&'r [u8]>,
    /// Of a file what only a file has; `None`: it is a directory.
    pub file: Option<FileProperties<'r>>,
    /// When it was changed, in seconds since 1970.
    pub modified: Option<u64>,
    /// When it was made, in seconds since 1970; `None`: the file system does not say.
    pub created: Option<u64>,
    /// Whether it can be locked by those who read this.
    pub is_lockable: bool,
    /// Its locks, and those of directories above it.
    pub locks: &'r [ActiveLock],
    /// Bytes that are free, and that are used; `None`: they are not told.
    pub quota: Option<(u64, u64)>,
    /// What clients have set.
    pub dead: &'r [Dead],
}

/// What only a file has.
#[derive(Debug, Clone, Copy)]
pub struct FileProperties<'r> {
    /// Its length in bytes.
    pub len: u64,
    /// Its media type.
    pub media: &'r str,
    /// Its entity tag.
    pub tag: &'r str,
}

/// An answer that is being written.
#[derive(Debug)]
pub struct Multistatus {
    /// What is wanted of each resource.
    wanted: Wanted,
    /// The namespaces of those that are named, which have the prefixes `n0`, `n1` and so on.
    namespaces: Vec<Arc<str>>,
}

impl Multistatus {
    /// An answer that tells these properties.
    pub fn new(wanted: Wanted) -> Self {
        let names = match &wanted {
            Wanted::All(names) | Wanted::These(names) => names.as_slice(),
            Wanted::Names => &[],
        };
        let mut namespaces: Vec<Arc<str>> = Vec::new();
        for Name { namespace, .. } in names {
            let is_known = namespace.is_empty() || **namespace == *DAV || namespaces.contains(namespace);
            if !is_known {
                namespaces.push(Arc::clone(namespace));
            }
        }
        Self { wanted, namespaces }
    }

    /// The media type of the answer.
    pub const fn media_type() -> &'static str {
        XML_TYPE
    }

    /// What is wanted.
    pub const fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether this live property is in the answer with its value.
    pub fn tells(&self, live: Live) -> bool {
        let is_named = |names: &[Name]| names.iter().any(|name| Live::of(name) == Some(live));
        match &self.wanted {
            Wanted::All(names) => LIVE.iter().take(OF_ALL).any(|(_, one)| *one == live) || is_named(names),
            Wanted::These(names) => is_named(names),
            Wanted::Names => false,
        }
    }

    /// Writes what stands in front of all resources.
    pub fn start(&self, to: &mut String) {
        to.push_str(DECLARATION);
        to.push_str("<D:multistatus xmlns:D=\"DAV:\"");
        for (at, namespace) in self.namespaces.iter().enumerate() {
            push(to, [" xmlns:n", &at.to_string(), "=\""]);
            escape(namespace, to);
            to.push('"');
        }
        to.push('>');
    }

    /// Writes what stands behind them.
    pub fn end(to: &mut String) {
        to.push_str("</D:multistatus>\n");
    }

    /// Writes one resource.
    pub fn resource(&self, resource: &Resource<'_>, to: &mut String) {
        to.push_str("<D:response><D:href>");
        to.push_str(&encode_path(resource.path));
        to.push_str("</D:href><D:propstat><D:prop>");
        let mut missing = Vec::new();
        match &self.wanted {
            Wanted::Names => {
                for (local, live) in LIVE.iter().take(OF_ALL).filter(|(_, live)| resource.has(*live)) {
                    debug_assert!(Live::of(&Name::new(DAV, local)) == Some(*live), "a name of the table");
                    push(to, ["<D:", local, "/>"]);
                }
                for Dead { name, .. } in resource.dead {
                    bare(name, to);
                }
            }
            Wanted::All(names) => {
                for (_, live) in LIVE.iter().take(OF_ALL) {
                    resource.live(*live, to);
                }
                resource.dead.iter().for_each(|dead| to.push_str(&dead.text));
                let is_told = |name: &&Name| {
                    let is_of_all = |live| LIVE.iter().take(OF_ALL).any(|(_, one)| *one == live);
                    Live::of(name).is_some_and(is_of_all) || resource.dead.iter().any(|dead| dead.name == **name)
                };
                let more = names.iter().filter(|name| !is_told(name));
                more.for_each(|name| resource.named(name, &mut missing, to));
            }
            Wanted::These(names) => names.iter().for_each(|name| resource.named(name, &mut missing, to)),
        }
        to.push_str("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
        if !missing.is_empty() {
            to.push_str("<D:propstat><D:prop>");
            for name in missing {
                self.empty(name, to);
            }
            to.push_str("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>");
        }
        to.push_str("</D:response>");
    }

    /// Writes the name of a property that was named, without a value.
    fn empty(&self, name: &Name, to: &mut String) {
        let Name { namespace, local } = name;
        let prefix = match &**namespace {
            DAV => "D:".to_owned(),
            _ => match self.namespaces.iter().position(|one| one == namespace) {
                Some(at) => format!("n{at}:"),
                None => String::new(),
            },
        };
        push(to, ["<", &prefix, local, "/>"]);
    }
}

/// The name of a property that stands by itself.
fn bare(Name { namespace, local }: &Name, to: &mut String) {
    to.push('<');
    to.push_str(local);
    to.push_str(" xmlns=\"");
    escape(namespace, to);
    to.push_str("\"/>");
}

impl Resource<'_> {
    fn has(&self, live: Live) -> bool {
        match live {
            Live::CreationDate => self.created.is_some(),
            Live::DisplayName => self.name.is_some(),
            Live::ContentLength | Live::ContentType | Live::Tag => self.file.is_some(),
            Live::LastModified => self.modified.is_some(),
            Live::QuotaAvailable | Live::QuotaUsed => self.quota.is_some(),
            Live::LockDiscovery | Live::ResourceType | Live::SupportedLock => true,
        }
    }

    /// Writes the property of this name, or notes that there is none.
    fn named<'n>(&self, name: &'n Name, missing: &mut Vec<&'n Name>, to: &mut String) {
        let is_there = match Live::of(name) {
            Some(live) => self.live(live, to).is_some(),
            None => match self.dead.iter().find(|dead| dead.name == *name) {
                Some(dead) => {
                    to.push_str(&dead.text);
                    true
                }
                None => false,
            },
        };
        if !is_there {
            missing.push(name);
        }
    }

    /// Writes a live property; `None`: this resource has none of this kind.
    fn live(&self, live: Live, to: &mut String) -> Option<()> {
        let element = |to: &mut String, name: &str, text: &str| {
            push(to, ["<D:", name, ">", text, "</D:", name, ">"]);
        };
        match live {
            Live::CreationDate => element(to, "creationdate", &date::internet(self.created?)),
            Live::DisplayName => {
                let name = String::from_utf8_lossy(self.name?);
                to.push_str("<D:displayname>");
                escape(&name, to);
                to.push_str("</D:displayname>");
            }
            Live::ContentLength => element(to, "getcontentlength", &self.file?.len.to_string()),
            Live::ContentType => element(to, "getcontenttype", self.file?.media),
            Live::Tag => element(to, "getetag", self.file?.tag),
            Live::LastModified => element(to, "getlastmodified", &date::format(self.modified?)),
            Live::LockDiscovery => lock_discovery(self.locks, to),
            Live::ResourceType if self.file.is_some() => to.push_str("<D:resourcetype/>"),
            Live::ResourceType => to.push_str("<D:resourcetype><D:collection/></D:resourcetype>"),
            Live::SupportedLock if self.is_lockable => to.push_str(SUPPORTED_LOCK),
            Live::SupportedLock => to.push_str("<D:supportedlock/>"),
            Live::QuotaAvailable => element(to, "quota-available-bytes", &self.quota?.0.to_string()),
            Live::QuotaUsed => element(to, "quota-used-bytes", &self.quota?.1.to_string()),
        }
        Some(())
    }
}

/// RFC 4918, 15.10.
const SUPPORTED_LOCK: &str = "<D:supportedlock>\
    <D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>\
    <D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>\
    </D:supportedlock>";

/// Writes the locks of a resource (RFC 4918, 15.8).
fn lock_discovery(locks: &[ActiveLock], to: &mut String) {
    if locks.is_empty() {
        to.push_str("<D:lockdiscovery/>");
        return;
    }
    to.push_str("<D:lockdiscovery>");
    for ActiveLock { is_exclusive, depth, owner, seconds, token, root } in locks {
        let scope = if *is_exclusive { "exclusive" } else { "shared" };
        push(to, ["<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:", scope, "/></D:lockscope>"]);
        let seconds = seconds.to_string();
        push(to, ["<D:depth>", depth.as_str(), "</D:depth>", owner, "<D:timeout>Second-", &seconds, "</D:timeout>"]);
        if let Some(token) = token {
            to.push_str("<D:locktoken><D:href>");
            escape(token, to);
            to.push_str("</D:href></D:locktoken>");
        }
        push(to, ["<D:lockroot><D:href>", &encode_path(root), "</D:href></D:lockroot></D:activelock>"]);
    }
    to.push_str("</D:lockdiscovery>");
}

/// The answer to a LOCK: the locks that there are now (RFC 4918, 9.10.1).
pub fn locked(locks: &[ActiveLock]) -> String {
    let mut text = format!("{DECLARATION}<D:prop xmlns:D=\"DAV:\">");
    lock_discovery(locks, &mut text);
    text.push_str("</D:prop>\n");
    text
}

/// The answer to a PROPPATCH: the path, and what became of each property. Where one could not be set, none was.
pub fn patched(path: &[u8], properties: &[(Name, u16)]) -> String {
    let mut text =
        format!("{DECLARATION}<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>{}</D:href>", encode_path(path));
    let mut statuses: Vec<u16> = properties.iter().map(|(_, status)| *status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    for status in statuses {
        text.push_str("<D:propstat><D:prop>");
        properties.iter().filter(|(_, one)| *one == status).for_each(|(name, _)| bare(name, &mut text));
        push(&mut text, ["</D:prop><D:status>", &status_line(status), "</D:status>"]);
        if status == 403 {
            text.push_str("<D:error><D:cannot-modify-protected-property/></D:error>");
        }
        text.push_str("</D:propstat>");
    }
    text.push_str("</D:response></D:multistatus>\n");
    text
}

/// What became of members of a directory: the path of each, a status, and what to tell people.
pub fn members(failed: &[(Vec<u8>, u16, String)]) -> String {
    let mut text = format!("{DECLARATION}<D:multistatus xmlns:D=\"DAV:\">");
    for (path, status, why) in failed {
        let line = status_line(*status);
        push(&mut text, ["<D:response><D:href>", &encode_path(path), "</D:href><D:status>", &line]);
        text.push_str("</D:status><D:responsedescription>");
        escape(why, &mut text);
        text.push_str("</D:responsedescription></D:response>");
    }
    Multistatus::end(&mut text);
    text
}

/// A condition of RFC 4918, 16 that does not hold, as the body of an error; with the paths that are concerned.
pub fn condition(name: &str, paths: &[Vec<u8>]) -> String {
    let mut text = format!("{DECLARATION}<D:error xmlns:D=\"DAV:\"><D:{name}>");
    for path in paths {
        push(&mut text, ["<D:href>", &encode_path(path), "</D:href>"]);
    }
    push(&mut text, ["</D:", name, "></D:error>\n"]);
    text
}

fn status_line(status: u16) -> String {
    let reason = ::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    format!("HTTP/1.1 {status} {}", reason.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::xml::Element;
    use super::*;

    const FILE: Resource<'_> = Resource {
        path: b"/a b/\xff&.txt",
        name: Some(b"\x01&.txt"),
        file: Some(FileProperties { len: 5, media: "text/plain", tag: "W/\"1\"" }),
        modified: Some(784_111_777),
        created: None,
        is_lockable: false,
        locks: &[],
        quota: None,
        dead: &[],
    };

    fn told(wanted: Wanted, resource: &Resource<'_>) -> String {
        let answer = Multistatus::new(wanted);
        let mut text = String::new();
        answer.start(&mut text);
        answer.resource(resource, &mut text);
        Multistatus::end(&mut text);
        let root = Element::parse(text.as_bytes()).unwrap();
        assert!(root.name.is_dav("multistatus"));
        text.split_once("<D:response>").unwrap().1.split_once("</D:response>").unwrap().0.to_owned()
    }

    #[test]
    fn properties_are_told_as_they_are_wanted() {
        let name = Name::new("urn:x", "a");
        let dead = [Dead { name: name.clone(), text: "<a xmlns=\"urn:x\">1</a>".into() }];
        let of_dead = Resource { dead: &dead, ..FILE };
        let dir = Resource { path: b"/d/", file: None, name: None, quota: Some((7, 8)), ..FILE };
        let href = "<D:href>/a%20b/%FF%26.txt</D:href>";
        let (ok, gone) = ("<D:status>HTTP/1.1 200 OK</D:status>", "<D:status>HTTP/1.1 404 Not Found</D:status>");
        let all = "<D:displayname>\u{fffd}&amp;.txt</D:displayname><D:getcontentlength>5</D:getcontentlength>\
                   <D:getcontenttype>text/plain</D:getcontenttype><D:getetag>W/\"1\"</D:getetag>\
                   <D:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</D:getlastmodified><D:lockdiscovery/>\
                   <D:resourcetype/><D:supportedlock/>";
        let of_all = format!("{href}<D:propstat><D:prop>{all}</D:prop>{ok}</D:propstat>");
        assert_eq!(told(Wanted::All(Vec::new()), &FILE), of_all, "RFC 4918, 9.1: all");
        let with_dead = of_all.replace("</D:prop>", "<a xmlns=\"urn:x\">1</a></D:prop>");
        assert_eq!(told(Wanted::All(vec![name.clone()]), &of_dead), with_dead, "RFC 4918, 14.8: each once");
        let these = vec![Name::new(DAV, "resourcetype"), name.clone(), Name::new("", "b"), Name::new("urn:y", "c")];
        let want = format!(
            "{href}<D:propstat><D:prop><D:resourcetype/><a xmlns=\"urn:x\">1</a></D:prop>{ok}</D:propstat>\
             <D:propstat><D:prop><b/><n1:c/></D:prop>{gone}</D:propstat>"
        );
        assert_eq!(told(Wanted::These(these), &of_dead), want, "RFC 4918, 14.18: these, and those that are not there");
        let names = told(Wanted::Names, &of_dead);
        assert!(names.contains("<D:getetag/>") && names.contains("<a xmlns=\"urn:x\"/>"), "{names}");
        assert!(!names.contains("creationdate") && !names.contains("quota"), "{names}");
        let want = "<D:href>/d/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype>\
                    <D:quota-available-bytes>7</D:quota-available-bytes>\
                    <D:quota-used-bytes>8</D:quota-used-bytes></D:prop>";
        let names = ["resourcetype", "quota-available-bytes", "quota-used-bytes", "getetag"];
        let of_dir = told(Wanted::These(names.map(|name| Name::new(DAV, name)).to_vec()), &dir);
        assert!(of_dir.starts_with(want) && of_dir.contains("<D:prop><D:getetag/></D:prop>"), "{of_dir}");
    }

    #[test]
    fn locks_are_told() {
        let lock = ActiveLock {
            is_exclusive: true,
            depth: Depth::Infinity,
            owner: "<owner xmlns=\"DAV:\">me</owner>".into(),
            seconds: 60,
            token: Some("urn:uuid:1".into()),
            root: b"/d d/".to_vec(),
        };
        let text = locked(&[lock.clone(), ActiveLock { is_exclusive: false, token: None, ..lock }]);
        let prop = Element::parse(text.as_bytes()).unwrap();
        let locks: Vec<_> = prop.dav_element("lockdiscovery").unwrap().elements().collect();
        assert!(locks.len() == 2 && locks.iter().all(|lock| lock.name.is_dav("activelock")));
        let part = |at: usize, name: &str| locks[at].dav_element(name).map(|part| part.to_text(200).unwrap());
        for (clause, at, name, want) in [
            ("14.12", 0, "locktype", "<locktype xmlns=\"DAV:\"><write/></locktype>"),
            ("14.13", 0, "lockscope", "<lockscope xmlns=\"DAV:\"><exclusive/></lockscope>"),
            ("14.13", 1, "lockscope", "<lockscope xmlns=\"DAV:\"><shared/></lockscope>"),
            ("14.4", 0, "depth", "<depth xmlns=\"DAV:\">infinity</depth>"),
            ("14.17", 0, "owner", "<owner xmlns=\"DAV:\">me</owner>"),
            ("14.29", 0, "timeout", "<timeout xmlns=\"DAV:\">Second-60</timeout>"),
            ("14.14", 0, "locktoken", "<locktoken xmlns=\"DAV:\"><href>urn:uuid:1</href></locktoken>"),
            ("14.12", 0, "lockroot", "<lockroot xmlns=\"DAV:\"><href>/d%20d/</href></lockroot>"),
        ] {
            assert_eq!(part(at, name).as_deref(), Some(want), "RFC 4918, {clause}");
        }
        assert_eq!(part(1, "locktoken"), None, "RFC 4918, 6.8: another's is not told");
    }

    #[test]
    fn what_became_of_changes_is_told() {
        let properties = [(Name::new("urn:x", "a"), 424), (Name::new(DAV, "getetag"), 403)];
        let text = patched(b"/a\xff", &properties);
        let root = Element::parse(text.as_bytes()).unwrap();
        let response = root.dav_element("response").unwrap();
        assert_eq!(response.dav_element("href").unwrap().text(), "/a%FF");
        let stats: Vec<_> =
            response.elements().skip(1).map(|stat| stat.dav_element("status").unwrap().text()).collect();
        assert_eq!(stats, ["HTTP/1.1 403 Forbidden", "HTTP/1.1 424 Failed Dependency"]);
        assert!(text.contains("cannot-modify-protected-property"), "RFC 4918, 16");
        let text = members(&[(b"/a b".to_vec(), 423, "<why>".into())]);
        let root = Element::parse(text.as_bytes()).unwrap();
        let response = root.dav_element("response").unwrap();
        let part = |name| response.dav_element(name).unwrap().text();
        assert_eq!((part("status"), part("responsedescription")), ("HTTP/1.1 423 Locked".into(), "<why>".into()));
        let text = condition("lock-token-submitted", &[b"/a".to_vec()]);
        let root = Element::parse(text.as_bytes()).unwrap();
        assert_eq!(root.dav_element("lock-token-submitted").unwrap().dav_element("href").unwrap().text(), "/a");
    }
}
