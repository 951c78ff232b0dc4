//! What all pages have around their content: where it is, who looks at it, in which language.

use super::strings::{Language, Strings};
use crate::http::target::encode_path;
use crate::printable::printable_name;

/// Which page it is: the attribute `data-page`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// A directory.
    List,
    /// A file.
    View,
    /// What a search finds.
    Search,
    /// The chat.
    Chat,
    /// How to sign in.
    SignIn,
    /// Why a request is not served.
    Problem,
}

impl PageKind {
    /// Its name in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::View => "view",
            Self::Search => "search",
            Self::Chat => "chat",
            Self::SignIn => "sign-in",
            Self::Problem => "problem",
        }
    }
}

/// What the visitor may do here: the attribute `data-may`. The server decides again when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct May {
    /// Upload files.
    pub upload: bool,
    /// Remove and rename, and make directories.
    pub modify: bool,
    /// Go to the chat: no word of the attribute, since it is a link.
    pub chat: bool,
}

impl May {
    /// As words with blanks between them.
    pub(super) const fn words(self) -> &'static str {
        match (self.upload, self.modify) {
            (true, true) => "upload modify",
            (true, false) => "upload",
            (false, true) => "modify",
            (false, false) => "",
        }
    }
}

/// Who looks at a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor<'a> {
    /// The name of the token, link or peer; `None`: a guest.
    pub name: Option<&'a str>,
    /// Whether a cookie has signed the visitor in, so that there is something to sign out of.
    pub has_session: bool,
}

/// What a page is about, and what its references start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePlace {
    /// The names from the root on.
    parts: Vec<Vec<u8>>,
    /// Whether the last one is a directory, which has a slash behind it in the address.
    is_dir: bool,
    /// Directories from the address up to the root.
    ups: usize,
}

impl PagePlace {
    /// A directory or a file at this absolute path.
    pub fn of(path: &[u8], is_dir: bool) -> Self {
        let parts: Vec<Vec<u8>> =
            path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect();
        let ups = if is_dir { parts.len() } else { parts.len().saturating_sub(1) };
        Self { parts, is_dir, ups }
    }

    /// An address of which nothing is known but how it was sent.
    pub fn of_address(raw_path: &str) -> Self {
        Self { parts: Vec::new(), is_dir: true, ups: raw_path.matches('/').count().saturating_sub(1) }
    }

    /// A relative reference to the root: it holds behind a proxy that adds a prefix.
    pub fn to_root(&self) -> String {
        up(self.ups)
    }

    /// The absolute path, percent-encoded.
    pub(super) fn encoded(&self) -> String {
        let path = self.parts.iter().fold(Vec::new(), |path, part| [&path[..], b"/", part].concat());
        encode_path(if self.is_dir { [&path[..], b"/"].concat() } else { path }.as_slice())
    }
}

/// A reference that leads up by `count` directories.
fn up(count: usize) -> String {
    if count == 0 { "./".to_owned() } else { "../".repeat(count) }
}

/// What all pages have around their content.
#[derive(Debug)]
pub struct Frame<'a> {
    /// What it says.
    pub strings: &'static Strings,
    /// Which page it is.
    pub kind: PageKind,
    /// The name of the whole tree; `None`: it has none.
    pub title: Option<&'a str>,
    /// What a tab of a browser is called before the title; `None`: by the path.
    pub tab: Option<String>,
    /// What it is about.
    pub place: PagePlace,
    /// What the visitor may do.
    pub may: May,
    /// Who looks at it; `None`: that is not known.
    pub visitor: Option<Visitor<'a>>,
    /// The query of the request as it was sent, for links to the same page in other languages.
    pub query: &'a str,
}

/// A part of the path above the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crumb {
    /// Its name for people.
    pub(super) name: String,
    /// A reference to it; `None`: it is this page.
    pub(super) href: Option<String>,
}

/// The same page in a language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LanguageLink {
    pub(super) lang: &'static str,
    pub(super) endonym: &'static str,
    pub(super) href: String,
    pub(super) is_current: bool,
}

impl Frame<'_> {
    /// What the tree is called.
    fn tree(&self) -> &str {
        self.title.unwrap_or(&self.strings.page.files)
    }

    /// What a tab of a browser is called.
    pub(super) fn heading(&self) -> String {
        let tree = self.tree();
        if let Some(tab) = &self.tab {
            return format!("{tab} - {tree}");
        }
        if self.place.parts.is_empty() {
            return tree.to_owned();
        }
        let path: Vec<String> = self.place.parts.iter().map(|part| printable_name(part)).collect();
        format!("{}{} - {tree}", path.join("/"), if self.place.is_dir { "/" } else { "" })
    }

    /// The directories from the root to what the page is about, each with a relative reference. The last is this page,
    /// but where the page has a heading of its own.
    pub(super) fn crumbs(&self) -> Vec<Crumb> {
        let PagePlace { parts, is_dir, ups } = &self.place;
        let has_heading = matches!(self.kind, PageKind::Problem | PageKind::SignIn | PageKind::Chat);
        let href = |depth: usize| match ups.checked_sub(depth) {
            Some(0) if *is_dir && depth == parts.len() && !has_heading => None,
            Some(count) => Some(up(count)),
            None => None,
        };
        let root = Crumb { name: self.tree().to_owned(), href: href(0) };
        let below = parts.iter().zip(1..).map(|(part, depth)| Crumb { name: printable_name(part), href: href(depth) });
        std::iter::once(root).chain(below).collect()
    }

    /// The same page in each language.
    pub(super) fn languages(&self) -> Vec<LanguageLink> {
        let others: String = (self.query.split('&'))
            .filter(|pair| !pair.is_empty() && *pair != "lang" && !pair.starts_with("lang="))
            .flat_map(|pair| [pair, "&"])
            .collect();
        let link = |language: Language| {
            let Strings { lang, endonym, .. } = Strings::of(language);
            let href = format!("?{others}lang={}", language.subtag());
            LanguageLink { lang, endonym, href, is_current: *lang == self.strings.lang }
        };
        Language::ALL.map(link).into()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn frame(kind: PageKind, path: &str, is_dir: bool) -> Frame<'_> {
        Frame {
            strings: Strings::of(Language::En),
            kind,
            title: None,
            tab: None,
            place: PagePlace::of(path.as_bytes(), is_dir),
            may: May::default(),
            visitor: None,
            query: "",
        }
    }

    #[test]
    fn the_way_up_is_relative_and_the_last_part_is_here() {
        let crumbs = |kind, path, is_dir| -> String {
            let crumbs = frame(kind, path, is_dir).crumbs().into_iter();
            crumbs.flat_map(|Crumb { name, href }| [name, "=".into(), href.unwrap_or_default(), " ".into()]).collect()
        };
        assert_eq!(crumbs(PageKind::List, "/", true), "Files= ");
        assert_eq!(crumbs(PageKind::List, "/a/b/c", true), "Files=../../../ a=../../ b=../ c= ");
        assert_eq!(crumbs(PageKind::View, "/a/b/c", false), "Files=../../ a=../ b=./ c= ");
        assert_eq!(crumbs(PageKind::View, "/c", false), "Files=./ c= ");
        assert_eq!(crumbs(PageKind::Problem, "/", true), "Files=./ ");
        assert_eq!(PagePlace::of_address("/a//b%2Fc").to_root(), "../../");
        assert_eq!(PagePlace::of_address("*").to_root(), "./");
        assert_eq!(PagePlace::of(b"/a b/\xff", true).encoded(), "/a%20b/%FF/");
        assert_eq!(PagePlace::of(b"/a/f", false).encoded(), "/a/f");
        assert_eq!(PagePlace::of(b"/", true).encoded(), "/");
        assert_eq!(frame(PageKind::List, "/a b/<i>", true).heading(), "a b/<i>/ - Files");
        assert_eq!(frame(PageKind::View, "/a/f", false).heading(), "a/f - Files");
    }

    #[test]
    fn another_language_is_the_same_page() {
        let languages = |query| {
            let frame = Frame { query, ..frame(PageKind::List, "/", true) };
            frame.languages().into_iter().map(|link| (link.href, link.is_current)).collect::<Vec<_>>()
        };
        assert_eq!(languages(""), [("?lang=en".into(), true), ("?lang=zh".into(), false)]);
        let zh = languages("view&lang=en&encoding=gbk").pop().unwrap();
        assert_eq!(zh.0, "?view&encoding=gbk&lang=zh");
    }
}
