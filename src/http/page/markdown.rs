//! Markdown of a stranger as HTML that is safe to show within a page of ours: no script, no style, no name that a
//! script of ours could take for its own, and nothing that is fetched from elsewhere.
//!
//! What Markdown makes and what its author wrote as HTML go through the same list of what is allowed. What a stranger
//! can make grow is bounded before: events, how deep they nest, and tags of HTML.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use pulldown_cmark::{CowStr, Event, HeadingLevel, LinkType, OffsetIter, Options, Parser, Tag, TagEnd, html};

/// Pieces of Markdown that are shown: what stands behind them is left out. A book's chapter has a tenth of them.
pub const MARKDOWN_EVENTS_MAX: usize = 50_000;
/// Quotes, lists and marks inside one another.
pub const MARKDOWN_DEPTH_MAX: usize = 32;
/// Tags of HTML in it: what stands behind them is shown as text.
pub const MARKDOWN_TAGS_MAX: usize = 2_000;
/// What an id begins with, so that it is none of the page's own.
const ID_PREFIX: &str = "md-";
/// Longest id of a heading, in characters.
const ID_LEN_MAX: usize = 64;
/// Longest number of an image's width, in digits.
const WIDTH_LEN_MAX: usize = 4;

/// Markdown as HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// It can stand in a page as it is.
    pub html: String,
    /// Bytes of the source that it shows; `None`: all.
    pub shown: Option<usize>,
}

/// Shows Markdown. Its headings begin at `level`, below those of the page around it.
pub fn render(source: &str, level: u8) -> Rendered {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS | Options::ENABLE_FOOTNOTES;
    let mut events = Tamed {
        events: Parser::new_ext(source, options).into_offset_iter(),
        ready: VecDeque::new(),
        open: Vec::new(),
        links: 0,
        count: 0,
        tags: 0,
        level,
        ids: HashMap::new(),
        bare_link: None,
        cut: None,
    };
    let mut made = String::with_capacity(source.len() * 3 / 2);
    html::push_html(&mut made, &mut events);
    Rendered { html: ALLOWED.clean(&made).to_string(), shown: events.cut }
}

/// Events of Markdown without those that would be too many, too deep or from elsewhere.
struct Tamed<'s> {
    events: OffsetIter<'s>,
    /// What comes next.
    ready: VecDeque<Event<'s>>,
    /// What becomes of each end that is to come.
    open: Vec<Open>,
    /// How many of `open` are links.
    links: usize,
    count: usize,
    tags: usize,
    /// The level of the first heading.
    level: u8,
    /// How many headings have had a text so far.
    ids: HashMap<String, u32>,
    /// Where the link that stands for an image leads to, while it has no text.
    bare_link: Option<CowStr<'s>>,
    /// Where it was cut off, in bytes of the source.
    cut: Option<usize>,
}

/// What becomes of an end.
enum Open {
    AsItIs,
    LeftOut,
    /// An image that is shown as a link.
    Link,
    Heading(HeadingLevel),
}

impl<'s> Iterator for Tamed<'s> {
    type Item = Event<'s>;

    fn next(&mut self) -> Option<Event<'s>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let event = self.read()?;
            self.take(event);
        }
    }
}

impl<'s> Tamed<'s> {
    fn read(&mut self) -> Option<Event<'s>> {
        let (event, range) = self.events.next()?;
        self.count += 1;
        // Ends have to come, so that all that is open is closed.
        if self.count > MARKDOWN_EVENTS_MAX && self.cut.is_none() {
            self.cut = Some(range.start);
        }
        if self.cut.is_some() && !matches!(event, Event::End(_)) {
            return Some(match event {
                Event::Start(_) => {
                    self.open.push(Open::LeftOut);
                    Event::Text(CowStr::Borrowed(""))
                }
                _ => Event::Text(CowStr::Borrowed("")),
            });
        }
        Some(event)
    }

    fn take(&mut self, event: Event<'s>) {
        match event {
            Event::Text(text) if text.is_empty() => {}
            Event::Text(_) | Event::Code(_) => {
                self.bare_link = None;
                self.ready.push_back(event);
            }
            Event::Start(tag) => self.start(tag),
            Event::End(end) => self.end(end),
            Event::Html(html) => self.raw(html, Event::Html),
            Event::InlineHtml(html) => self.raw(html, Event::InlineHtml),
            // A box that cannot be ticked is a mark.
            Event::TaskListMarker(is_done) => {
                self.ready.push_back(Event::Text(CowStr::Borrowed(if is_done { "\u{2611} " } else { "\u{2610} " })));
            }
            event => self.ready.push_back(event),
        }
    }

    fn start(&mut self, tag: Tag<'s>) {
        if self.open.len() >= MARKDOWN_DEPTH_MAX {
            self.open.push(Open::LeftOut);
            return;
        }
        match tag {
            Tag::Heading { level, .. } => self.heading(level),
            Tag::Image { ref dest_url, .. } if is_own_file(dest_url) => self.pass(tag),
            Tag::Image { dest_url, title, .. } => {
                // Fetched from elsewhere it would tell who reads this; within a link its text is that of the link.
                if self.links > 0 {
                    self.open.push(Open::LeftOut);
                    return;
                }
                self.bare_link = Some(dest_url.clone());
                let link = Tag::Link { link_type: LinkType::Inline, dest_url, title, id: CowStr::Borrowed("") };
                self.links += 1;
                self.open.push(Open::Link);
                self.ready.push_back(Event::Start(link));
            }
            Tag::Link { .. } => {
                self.links += 1;
                self.pass(tag);
            }
            tag => self.pass(tag),
        }
    }

    fn pass(&mut self, tag: Tag<'s>) {
        self.open.push(Open::AsItIs);
        self.ready.push_back(Event::Start(tag));
    }

    fn end(&mut self, end: TagEnd) {
        let Some(open) = self.open.pop() else { return };
        let event = match open {
            Open::LeftOut => return,
            Open::Link => {
                self.ready.extend(self.bare_link.take().map(Event::Text));
                TagEnd::Link
            }
            Open::Heading(level) => TagEnd::Heading(level),
            Open::AsItIs => end,
        };
        if event == TagEnd::Link {
            self.links = self.links.saturating_sub(1);
        }
        self.ready.push_back(Event::End(event));
    }

    /// HTML that the author wrote, as long as it is little.
    fn raw(&mut self, html: CowStr<'s>, kind: fn(CowStr<'s>) -> Event<'s>) {
        self.tags += html.matches('<').count();
        self.ready.push_back(if self.tags > MARKDOWN_TAGS_MAX { Event::Text(html) } else { kind(html) });
    }

    /// A heading below those of the page, with an id that is made of its text.
    fn heading(&mut self, level: HeadingLevel) {
        let shown = [HeadingLevel::H2, HeadingLevel::H3, HeadingLevel::H4, HeadingLevel::H5, HeadingLevel::H6];
        let at = usize::from(self.level.saturating_sub(2)) + level as usize - 1;
        let level = shown.get(at).copied().unwrap_or(HeadingLevel::H6);
        let depth = self.open.len();
        self.open.push(Open::Heading(level));
        let waiting = std::mem::take(&mut self.ready);
        let mut text = String::new();
        while self.open.len() > depth {
            let Some(event) = self.read() else { break };
            if let Event::Text(piece) | Event::Code(piece) = &event {
                text.extend(piece.chars().take(ID_LEN_MAX));
            }
            self.take(event);
        }
        let id = Some(CowStr::from(self.id_of(&text)));
        let start = Event::Start(Tag::Heading { level, id, classes: Vec::new(), attrs: Vec::new() });
        let inside = std::mem::replace(&mut self.ready, waiting);
        self.ready.push_back(start);
        self.ready.extend(inside);
    }

    /// The id of a heading, as authors expect it in their tables of contents.
    fn id_of(&mut self, text: &str) -> String {
        let slug = text.trim().chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c),
            _ => None,
        });
        let slug: String = slug.take(ID_LEN_MAX).flat_map(char::to_lowercase).collect();
        let slug = if slug.is_empty() { "section".to_owned() } else { slug };
        let count = self.ids.entry(slug.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
    }
}

/// Whether a reference leads to a file of this server, and to nothing that it would have to make first.
fn is_own_file(url: &str) -> bool {
    is_own(url) && !url.contains('?')
}

/// Whether a reference leads to this server (RFC 3986, 4.2). What browsers repair in it is taken for a trick.
fn is_own(url: &str) -> bool {
    let is_odd = url.chars().any(|c| c <= ' ' || c == '\\' || c.is_control());
    let first = url.split(['/', '?', '#']).next().unwrap_or_default();
    !is_odd && !url.is_empty() && !url.starts_with("//") && !first.contains(':')
}

/// Whether a link may lead there: to this server, or by these schemes.
fn is_followed(url: &str) -> bool {
    let has_scheme = |scheme: &str| url.get(..scheme.len()).is_some_and(|own| own.eq_ignore_ascii_case(scheme));
    let is_odd = url.chars().any(|c| c <= ' ' || c == '\\' || c.is_control());
    !is_odd
        && (is_own(url)
            || url.starts_with("//")
            || ["http://", "https://", "mailto:"].iter().any(|own| has_scheme(own)))
}

/// What may be in the HTML. All else is left out; of what is no markup the text stays.
static ALLOWED: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let tags = "a abbr b blockquote br caption cite code dd del details div dl dt em h2 h3 h4 h5 h6 hr i img ins kbd \
                li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var";
    let set = |words: &'static str| words.split_whitespace().collect::<HashSet<&'static str>>();
    let attributes = [("a", "href"), ("img", "src alt width"), ("ol", "start"), ("details", "open"), ("div", "id")];
    let headings = ["h2", "h3", "h4", "h5", "h6"].map(|heading| (heading, "id"));
    let attributes = attributes.into_iter().chain(headings);
    let classes = [("div", "footnote-definition"), ("sup", "footnote-reference footnote-definition-label")];
    let mut allowed = Builder::empty();
    allowed
        .tags(set(tags))
        .clean_content_tags(set("script style"))
        .tag_attributes(attributes.map(|(tag, words)| (tag, set(words))).collect::<HashMap<_, _>>())
        .generic_attributes(set("title lang dir"))
        .allowed_classes(classes.map(|(tag, words)| (tag, set(words))).into_iter().collect::<HashMap<_, _>>())
        .url_schemes(set("http https mailto"))
        .url_relative(UrlRelative::PassThrough)
        .link_rel(Some("noopener noreferrer nofollow"))
        .id_prefix(Some(ID_PREFIX))
        .strip_comments(true)
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            ("img", "src") => is_own_file(value).then_some(Cow::Borrowed(value)),
            ("img", "width") => {
                let is_number = value.len() <= WIDTH_LEN_MAX && value.bytes().all(|byte| byte.is_ascii_digit());
                is_number.then_some(Cow::Borrowed(value))
            }
            ("a", "href") => match value.strip_prefix('#') {
                Some(id) => Some(Cow::Owned(format!("#{ID_PREFIX}{id}"))),
                None => is_followed(value).then_some(Cow::Borrowed(value)),
            },
            _ => Some(Cow::Borrowed(value)),
        });
    allowed
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn html(source: &str) -> String {
        render(source, 2).html
    }

    #[test]
    fn nothing_of_a_stranger_runs_or_is_fetched_from_elsewhere() {
        for (source, want) in [
            ("[a](javascript:alert(1))", "<p><a rel=\"noopener noreferrer nofollow\">a</a></p>\n"),
            ("[a](JaVa&Tab;script:alert(1))", "<p><a rel=\"noopener noreferrer nofollow\">a</a></p>\n"),
            ("[a](data:text/html,x)", "<p><a rel=\"noopener noreferrer nofollow\">a</a></p>\n"),
            ("<vbscript:x>", "<p><a rel=\"noopener noreferrer nofollow\">vbscript:x</a></p>\n"),
            ("[a](b.md)", "<p><a href=\"b.md\" rel=\"noopener noreferrer nofollow\">a</a></p>\n"),
            (
                "[a](https://x.example/)",
                "<p><a href=\"https://x.example/\" rel=\"noopener noreferrer nofollow\">a</a></p>\n",
            ),
            ("[a](#top)", "<p><a href=\"#md-top\" rel=\"noopener noreferrer nofollow\">a</a></p>\n"),
            ("![a](b/c.png)", "<p><img src=\"b/c.png\" alt=\"a\"></p>\n"),
            (
                "![a](https://x.example/b)",
                "<p><a href=\"https://x.example/b\" rel=\"noopener noreferrer nofollow\">a</a></p>\n",
            ),
            (
                "![](//x.example/b)",
                "<p><a href=\"//x.example/b\" rel=\"noopener noreferrer nofollow\">//x.example/b</a></p>\n",
            ),
            ("[![b](https://x.example/b)](c)", "<p><a href=\"c\" rel=\"noopener noreferrer nofollow\">b</a></p>\n"),
            ("![a](data:image/png;base64,AA)", "<p><a rel=\"noopener noreferrer nofollow\">a</a></p>\n"),
            ("<img src=\"//x.example/b\" onerror=\"x\" srcset=\"y\">", "<img>"),
            ("<img src='?zip' alt=a>", "<img alt=\"a\">"),
            ("<img src=a.png width=200 height=9 style=x>", "<img src=\"a.png\" width=\"200\">"),
            ("<script>alert(1)</script>", ""),
            ("<style>* { color: red }</style>", ""),
            ("a<svg><script>b</script></svg>", "<p>a</p>\n"),
            ("<form action=/?sign-out><button>b</button></form>", "b"),
            ("<iframe src=/></iframe>a", "a"),
            ("<object data=x></object><embed src=x>", "<p></p>\n"),
            ("<base href=//x><meta http-equiv=refresh content=0>", ""),
            ("<div id=queue class=skip style=x onclick=y>d</div>", "<div id=\"md-queue\" class=\"\">d</div>"),
            ("<span id=content name=strings>s</span>", "<p><span>s</span></p>\n"),
            ("</div></article></main></body>a", "a"),
            ("<p title=\"</p><script>\">a</p>", "<p title=\"&lt;/p&gt;&lt;script&gt;\">a</p>"),
            ("&lt;script&gt; &#0;", "<p>&lt;script&gt; \u{fffd}</p>\n"),
            ("<textarea>a", "a"),
        ] {
            assert_eq!(html(source), want, "{source}");
        }
    }

    #[test]
    fn what_people_write_is_shown_as_they_mean_it() {
        for (source, want) in [
            ("# A\n### B c!\n# A", "<h2 id=\"md-a\">A</h2>\n<h4 id=\"md-b-c\">B c!</h4>\n<h2 id=\"md-a-1\">A</h2>\n"),
            ("###### deep", "<h6 id=\"md-deep\">deep</h6>\n"),
            ("# \u{6536}\u{5230}", "<h2 id=\"md-\u{6536}\u{5230}\">\u{6536}\u{5230}</h2>\n"),
            ("- [x] a\n- [ ] b", "<ul>\n<li>\u{2611} a</li>\n<li>\u{2610} b</li>\n</ul>\n"),
            ("~~a~~ `b<` **c**", "<p><del>a</del> <code>b&lt;</code> <strong>c</strong></p>\n"),
            ("```rust\n<a>\n```", "<pre><code>&lt;a&gt;\n</code></pre>\n"),
            (
                "|a|\n|-:|\n|1|",
                "<table><thead><tr><th>a</th></tr></thead><tbody>\n<tr><td>1</td></tr>\n</tbody></table>\n",
            ),
            ("<details><summary>a</summary>b</details>", "<details><summary>a</summary>b</details>"),
            ("a<br>b <kbd>c</kbd>", "<p>a<br>b <kbd>c</kbd></p>\n"),
        ] {
            assert_eq!(html(source), want, "{source}");
        }
        let note = html("a[^1]\n\n[^1]: b");
        assert!(
            note.contains("<a href=\"#md-1\"") && note.contains("<div class=\"footnote-definition\" id=\"md-1\">"),
            "{note}"
        );
    }

    #[test]
    fn what_a_stranger_can_make_grow_ends() {
        let deep = render(&">".repeat(10_000), 2);
        assert_eq!(deep.html.matches("<blockquote>").count(), MARKDOWN_DEPTH_MAX);
        let many = render(&"*a*\n\n".repeat(MARKDOWN_EVENTS_MAX), 2);
        assert!(many.html.matches("<p>").count() <= MARKDOWN_EVENTS_MAX);
        assert!(many.shown.is_some_and(|shown| shown < 5 * MARKDOWN_EVENTS_MAX));
        let tags = html(&"<div>".repeat(10_000));
        assert!(tags.matches("<div>").count() <= MARKDOWN_TAGS_MAX && tags.contains("&lt;div&gt;"));
        assert_eq!(render("short", 2).shown, None);
    }

    proptest! {
        #[test]
        fn no_text_gets_an_element_or_attribute_that_is_not_on_the_list(
            source in "([#>*_`~!\\[\\]()|<>/=\"'a-c:&; \n-]|<img src=|<svg>|</p>|javascript:|onerror=){0,60}",
        ) {
            let html = html(&source);
            let again = ALLOWED.clean(&html).to_string();
            prop_assert_eq!(html.matches("<script").count() + html.matches("<svg").count(), 0);
            // Ids and fragments have their prefix already, and get no second one that the browser would not see.
            prop_assert_eq!(again.replace("#md-md-", "#md-"), html);
        }
    }
}
