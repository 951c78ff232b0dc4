//! A directory as a page.

use std::borrow::Cow;
use std::fmt;

use askama::Template;

use super::frame::Frame;
use super::kind::RowKind;
use super::strings::{ListStrings, filled};
use super::{EARLY, SCRIPT, STYLE};
use crate::http::listing::{
    ListEntry, ListKind, ListQuery, Order, Page, Reference, Sort, push_number, push_second, utc,
};
use crate::printable::printable_name;

/// About what a page takes without its rows, in bytes.
const FRAME_LEN: usize = 64 * 1024;
/// About what a row takes, in bytes.
pub const ROW_LEN: usize = 512;

/// The page of a directory.
#[derive(Debug, Template)]
#[template(path = "page/list.html")]
pub struct ListPage<'a> {
    /// What is around it.
    pub frame: Frame<'a>,
    /// What is in it; `None`: that is not shown.
    pub list: Option<ListTable<'a>>,
    /// Whether an upload could replace a file, so that a form asks what is wanted.
    pub can_replace: bool,
    /// What its author says of it; `None`: nothing.
    pub readme: Option<Readme>,
}

/// A file that says what is in its directory.
#[derive(Debug)]
pub struct Readme {
    /// Its name for people.
    pub name: String,
    /// A relative reference to it.
    pub href: String,
    /// Whether it has more than is shown.
    pub is_cut: bool,
    /// Its content as HTML that is safe to show; `None`: it is plain text.
    pub html: Option<String>,
    /// Its content as text.
    pub text: String,
}

/// The entries on a page.
#[derive(Debug)]
pub struct ListTable<'a> {
    /// Those of this page.
    pub entries: &'a [ListEntry<'a>],
    /// How many there are on all pages.
    pub total: u64,
    /// Which part of them this is.
    pub page: Page,
    /// What was requested.
    pub query: ListQuery,
}

/// A column's heading.
#[derive(Debug)]
struct Column<'w> {
    name: &'w str,
    href: String,
    /// In which direction the list is sorted by it now; `None`: by another.
    direction: Option<&'static str>,
    is_time: bool,
}

/// A link to another page.
#[derive(Debug)]
struct PageLink<'w> {
    name: &'w str,
    /// `None`: there is none in this direction.
    href: Option<String>,
    rel: &'static str,
}

impl ListPage<'_> {
    /// The page.
    ///
    /// # Errors
    /// None that is known.
    pub fn html(&self) -> Result<Vec<u8>, fmt::Error> {
        let rows = self.list.as_ref().map_or(0, |list| list.entries.len());
        let mut html = String::with_capacity(FRAME_LEN + rows * ROW_LEN);
        self.render_into(&mut html).map_err(|_no_more_is_known| fmt::Error)?;
        Ok(html.into_bytes())
    }
}

impl ListTable<'_> {
    /// How many entries there are.
    fn counted(&self, words: &ListStrings) -> String {
        let total = words.counted(self.total);
        match self.page.pages {
            1 => total,
            pages => {
                let values = [("page", &*self.query.page.to_string()), ("pages", &*pages.to_string())];
                format!("{total}, {}", filled(&words.page_of, &values))
            }
        }
    }

    fn columns<'w>(&self, words: &'w ListStrings) -> [Column<'w>; 3] {
        let all = [(Sort::Name, &words.name), (Sort::Size, &words.size), (Sort::Modified, &words.modified)];
        all.map(|(sort, name)| {
            let is_sorted = self.query.sort == sort;
            let (order, direction) = match self.query.order {
                Order::Ascending if is_sorted => (Order::Descending, Some("ascending")),
                Order::Descending if is_sorted => (Order::Ascending, Some("descending")),
                _ => (Order::Ascending, None),
            };
            Column { name, href: self.reference(sort, order, 1), direction, is_time: sort == Sort::Modified }
        })
    }

    fn page_links<'w>(&self, words: &'w ListStrings) -> [PageLink<'w>; 4] {
        let (page, pages) = (self.query.page, self.page.pages);
        let to = |to: u64| (to != page).then(|| self.reference(self.query.sort, self.query.order, to));
        [
            PageLink { name: &words.first, href: to(1), rel: "first" },
            PageLink { name: &words.previous, href: to(page.saturating_sub(1).clamp(1, pages)), rel: "prev" },
            PageLink { name: &words.next, href: to(page.saturating_add(1).min(pages)), rel: "next" },
            PageLink { name: &words.last, href: to(pages), rel: "last" },
        ]
    }

    /// A reference to a page of this list.
    fn reference(&self, sort: Sort, order: Order, page: u64) -> String {
        let mut href = format!("?sort={}&order={}", sort.as_str(), order.as_str());
        if page != 1 {
            href.push_str("&page=");
            href.push_str(&page.to_string());
        }
        if let Some(per_page) = self.query.per_page {
            href.push_str("&per_page=");
            href.push_str(&per_page.to_string());
        }
        href.replace('&', "&amp;")
    }
}

/// An entry's name for people.
pub(super) fn shown_name<'a>(entry: &ListEntry<'a>) -> Cow<'a, str> {
    let name = entry.name;
    match std::str::from_utf8(name) {
        Ok(plain) if name.iter().all(|byte| matches!(byte, b' '..=b'~')) => Cow::Borrowed(plain),
        _ => Cow::Owned(printable_name(name)),
    }
}

/// A size for people.
#[derive(Debug)]
pub(super) struct Size<'v>(pub(super) &'v u64);

impl fmt::Display for Size<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let size = *self.0;
        let mut text = String::with_capacity(16);
        if size < 1024 {
            push_number(size, &mut text);
            text.push_str(" B");
            return f.write_str(&text);
        }
        let power = size.ilog2() / 10;
        // Tenths of the unit, rounded down: no file seems larger than it is.
        let tenths = u64::try_from((u128::from(size) * 10) >> (10 * power)).unwrap_or(u64::MAX);
        push_number(tenths / 10, &mut text);
        if tenths < 100 {
            text.push('.');
            push_number(tenths % 10, &mut text);
        }
        text.push(' ');
        text.push_str(usize::try_from(power - 1).ok().and_then(|at| UNITS.get(at)).unwrap_or(&"EiB"));
        f.write_str(&text)
    }
}

/// A time to the second in UTC, which is a global date and time of HTML as it stands: the script reads it there.
#[derive(Debug)]
pub(super) struct Time<'v>(pub(super) &'v i64);

impl fmt::Display for Time<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(40);
        text.push_str("<time>");
        push_second(utc(*self.0), b' ', &mut text);
        text.push_str("Z</time>");
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::frame;
    use super::super::{May, PageKind, page_policy};
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use sha2::{Digest as _, Sha256};

    const DAY: i64 = 86_400_000_000_000;

    fn page_of(entries: &[ListEntry<'_>], query: &str, total: u64, may_upload: bool) -> String {
        let query = ListQuery::parse(query.as_bytes()).unwrap();
        let page = query.page_of(crate::http::listing::ListForm::Html, total);
        let may = May { upload: may_upload, modify: false, chat: false };
        let frame = Frame { may, ..frame(PageKind::List, "/a b/<i>", true) };
        let list = Some(ListTable { entries, total, page, query });
        ListPage { frame, list, can_replace: true, readme: None }.render().unwrap()
    }

    fn file(name: &[u8]) -> ListEntry<'_> {
        ListEntry { name, kind: ListKind::File, size: Some(1), mtime_ns: 0, target: None }
    }

    #[test]
    fn no_name_is_more_than_text() {
        let names: [(&[u8], &str); 9] = [
            (b"<script>alert(1)</script>", "%3Cscript%3Ealert%281%29%3C%2Fscript%3E"),
            (b"\" onclick=\"x", "%22%20onclick%3D%22x"),
            (b"' & '", "%27%20%26%20%27"),
            (b"a\nb", "a%0Ab"),
            ("exe.\u{202e}gpj".as_bytes(), "exe.%E2%80%AEgpj"),
            (b"\xff\x00\x1b", "%FF%00%1B"),
            (b"javascript:alert(1)", "javascript%3Aalert%281%29"),
            (b"?tar#x", "%3Ftar%23x"),
            ("\u{6536}".as_bytes(), "%E6%94%B6"),
        ];
        for (name, href) in names {
            let page = page_of(&[file(name)], "", 1, false);
            let row = page.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
            assert!(row.contains(&format!("<a href=\"{href}\">")), "{row}");
            assert!(row.contains(&format!("value=\"{href}\"")), "{row}");
            // Row, cells, box, link, time and their ends: nothing else is a tag, and no character acts.
            assert_eq!(row.matches('<').count(), 2 + 2 * 4 + 1 + 2 + 2, "{row}");
            assert_eq!(row.matches('"').count(), 2 * (1 + 4 + 1 + 1), "{row}");
            assert!(!row.chars().any(|c| c != '\n' && c.is_control() || c == '\u{202e}'), "{row}");
        }
    }

    #[test]
    fn the_style_of_a_page_is_the_one_that_its_policy_allows() {
        let page = page_of(&[], "", 0, true);
        let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        assert!(page_policy().contains(&format!("'sha256-{}'", BASE64.encode(Sha256::digest(style)))));
        let script = page.split("<script type=\"module\">").nth(1).unwrap().split("</script>").next().unwrap();
        assert!(page_policy().contains(&format!("'sha256-{}'", BASE64.encode(Sha256::digest(script)))));
        let body = page.split("<body").nth(1).unwrap().split("<script").next().unwrap();
        assert!(!body.contains("style=") && !body.contains(" on") && page.matches("<script").count() == 3, "{body}");
        assert!(!style.contains("url(") && !style.contains('<'), "nothing else is fetched");
    }

    #[test]
    fn what_cannot_be_fetched_is_no_link_and_a_directory_ends_with_a_slash() {
        let entries = [
            ListEntry { kind: ListKind::Dir, size: None, ..file(b"d") },
            ListEntry { kind: ListKind::Link, size: None, target: Some(b"/x"), ..file(b"l") },
            ListEntry { kind: ListKind::Other, size: None, ..file(b"o") },
            ListEntry { size: Some(1536), mtime_ns: 11_017 * DAY + DAY / 2 + 5, ..file(b"f") },
            file(b"i.png"),
        ];
        let page = page_of(&entries, "", 5, false);
        for want in [
            "<tr data-kind=\"dir\"><td><input type=\"checkbox\" name=\"name\" value=\"d/\" aria-label=\"Select\"></td>\
             <td><a href=\"d/\">d/</a></td><td></td><td><time>1970-01-01 00:00:00Z</time>",
            "<td></td><td>l <small>(a link that leads to nothing here)</small></td><td></td>",
            "<td></td><td>o <small>(no file)</small></td><td></td>",
            "<td><a href=\"f\">f</a></td><td title=\"1536 B\">1.5 KiB</td><td>\
             <time>2000-03-01 12:00:00Z</time></td></tr>",
            "<tr data-kind=\"image\">",
            "<td><a href=\"i.png\" data-view>i.png</a></td>",
        ] {
            assert!(page.contains(want), "{want} in {page}");
        }
        assert!(!page.contains("multipart") && page_of(&[], "", 0, true).contains("enctype=\"multipart/form-data\""));
    }

    #[test]
    fn a_column_sorts_and_turns_round_and_pages_lead_on() {
        let page = page_of(&[], "sort=size&order=desc&page=3&per_page=10", 95, false);
        for want in [
            "<a href=\"?sort=size&amp;order=asc&amp;per_page=10\" rel=\"nofollow\">Size</a>",
            "<th scope=\"col\" aria-sort=\"descending\">",
            "<a href=\"?sort=name&amp;order=asc&amp;per_page=10\" rel=\"nofollow\">Name</a>",
            "95 entries, page 3 of 10",
            "<a href=\"?sort=size&amp;order=desc&amp;per_page=10\" rel=\"first\">",
            "<a href=\"?sort=size&amp;order=desc&amp;page=2&amp;per_page=10\" rel=\"prev\">",
            "<a href=\"?sort=size&amp;order=desc&amp;page=4&amp;per_page=10\" rel=\"next\">",
            "<a href=\"?sort=size&amp;order=desc&amp;page=10&amp;per_page=10\" rel=\"last\">",
        ] {
            assert!(page.contains(want), "{want} in {page}");
        }
        let last = page_of(&[], "page=2", 1_001, false);
        assert!(last.contains("<span>Next</span>") && !page_of(&[], "", 1_000, false).contains("id=\"pages\""));
        // A page beyond the last is empty, and has a way back.
        assert!(page_of(&[], "page=18446744073709551615", 1_001, false).contains("page=2\" rel=\"prev\""));
    }

    #[test]
    fn sizes_are_short_and_never_too_large() {
        for (size, want) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (10_239, "9.9 KiB"),
            (10_240, "10 KiB"),
            (1_048_575, "1023 KiB"),
            (1_048_576, "1.0 MiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(Size(&size).to_string(), want);
        }
        assert!(Time(&(-DAY)).to_string().ends_with(">1969-12-31 00:00:00Z</time>"));
        assert!(Time(&i64::MAX).to_string().ends_with(">2262-04-11 23:47:16Z</time>"));
        assert!(Time(&i64::MIN).to_string().starts_with("<time>1677-09-21 00:12:4"));
    }
}
