//! What a search finds, as a page: its beginning, its rows as they are found, its end.

use std::fmt;

use askama::Template;

use super::frame::Frame;
use super::kind::RowKind;
use super::list::{Size, Time, shown_name};
use super::strings::{SearchStrings, filled};
use super::{EARLY, SCRIPT, STYLE};
use crate::http::listing::{ESCAPED_PATH, ListEntry, ListKind};
use crate::printable::printable_name;
use percent_encoding::percent_encode;

/// The page of a search.
#[derive(Debug, Template)]
#[template(path = "page/search.html")]
pub struct SearchPage<'a> {
    /// What is around it.
    pub frame: Frame<'a>,
    /// What is looked for.
    pub term: &'a str,
}

/// A row of the page.
#[derive(Debug, Template)]
#[template(
    ext = "html",
    source = "{% let row = RowKind::of(entry) %}<tr data-kind=\"{{ row.name|safe }}\"><td>\
{% if entry.kind.is_served() %}<a href=\"{{ href|safe }}{% if row.is_previewed %}?view{% endif %}\">\
{{ self::shown_name(entry) }}{% if entry.kind == ListKind::Dir %}/{% endif %}</a>\
{% else %}{{ self::shown_name(entry) }}{% endif %}</td>\
<td>{% if folder.is_empty() %}<a href=\"./\">{{ here }}</a>{% else %}<a href=\"{{ folder_href|safe }}\">{{ folder }}</a>\
{% endif %}</td>\
<td{% if let Some(size) = entry.size %} title=\"{{ size }} B\">{{ Size(size)|safe }}{% else %}>{% endif %}</td>\
<td>{{ Time(entry.mtime_ns)|safe }}</td></tr>\n"
)]
struct Row<'a> {
    entry: &'a ListEntry<'a>,
    href: &'a str,
    folder: String,
    folder_href: &'a str,
    here: &'a str,
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchEnd {
    /// All was looked at.
    Whole,
    /// So much was found.
    Results(u64),
    /// The time for it was over, in seconds.
    Time(u64),
    /// The visitor may have no more entries looked at.
    Entries,
    /// It needed more memory than the visitor may have.
    Memory,
}

/// What a search says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchSum {
    /// How many names were found.
    pub found: u64,
    /// How many entries were looked at.
    pub looked: u64,
    /// Directories that could not be read.
    pub unreadable: u64,
    /// How it ended.
    pub end: SearchEnd,
}

/// Where the rows and the end stand in the template. No text of a visitor can look like it: there `<` is escaped.
const ROWS: &str = "<!-- rows -->\n";
const END: &str = "<!-- end -->";

impl SearchPage<'_> {
    /// What stands before the rows, between them and the end, and behind that.
    ///
    /// # Errors
    /// None that is known.
    pub fn pieces(&self) -> Result<[String; 3], fmt::Error> {
        let html = self.render().map_err(|_no_more_is_known| fmt::Error)?;
        let (front, rest) = html.split_once(ROWS).ok_or(fmt::Error)?;
        let (between, back) = rest.split_once(END).ok_or(fmt::Error)?;
        Ok([front.to_owned(), between.to_owned(), back.to_owned()])
    }
}

impl SearchStrings {
    /// The title of a search for this term.
    pub fn of_term(&self, term: &str) -> String {
        filled(&self.title, &[("term", term)])
    }

    /// A row: `entry` is in the directory `folder`, a path from where the search began.
    ///
    /// # Errors
    /// None that is known.
    pub fn row(&self, folder: &[u8], entry: &ListEntry<'_>) -> Result<String, fmt::Error> {
        let href = search_href(folder, entry);
        let folder_href = format!("{}/", percent_encode(folder, ESCAPED_PATH));
        let row =
            Row { entry, href: &href, folder: printable_name(folder), folder_href: &folder_href, here: &self.here };
        row.render().map_err(|_no_more_is_known| fmt::Error)
    }

    /// The end in words, as HTML.
    pub fn end(&self, sum: &SearchSum) -> String {
        let count = |text: &str, count: u64| filled(text, &[("count", &count.to_string())]);
        let found = match sum.found {
            0 => self.none.clone(),
            1 => self.one_found.clone(),
            many => count(&self.found, many),
        };
        let end = match sum.end {
            SearchEnd::Whole => None,
            SearchEnd::Results(max) => Some(count(&self.ended_results, max)),
            SearchEnd::Time(seconds) => Some(count(&self.ended_time, seconds)),
            SearchEnd::Entries => Some(self.ended_entries.clone()),
            SearchEnd::Memory => Some(self.ended_memory.clone()),
        };
        let unreadable = (sum.unreadable > 0).then(|| count(&self.unreadable, sum.unreadable));
        let notes = unreadable.into_iter().chain(end).map(|note| ["<p class=\"note\">", &note, "</p>"].concat());
        let looked = count(&self.looked, sum.looked);
        format!("<p><strong>{found}</strong>. {looked}.</p>{}", notes.collect::<String>())
    }
}

/// A relative reference to something that was found in the directory `folder`.
pub fn search_href(folder: &[u8], entry: &ListEntry<'_>) -> String {
    let slash = if folder.is_empty() { "" } else { "/" };
    let reference = crate::http::listing::Reference(entry);
    format!("{}{slash}{reference}", percent_encode(folder, ESCAPED_PATH))
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::frame;
    use super::super::{Language, PageKind, Strings};
    use super::*;

    #[test]
    fn no_term_can_take_the_place_of_the_rows() {
        let page = SearchPage { frame: frame(PageKind::Search, "/a", true), term: "<!-- rows -->\n<!-- end -->\"" };
        let [front, between, back] = page.pieces().unwrap();
        assert!(front.ends_with("<tbody>\n") && between.starts_with("</tbody>") && back.contains("</html>"));
        assert!(front.contains("value=\"&#60;!-- rows --&#62;\n&#60;!-- end --&#62;&#34;\""), "{front}");
    }

    #[test]
    fn a_row_leads_to_what_was_found_and_to_where_it_is() {
        let words = &Strings::of(Language::En).search;
        let entry = ListEntry { name: b"a:<b>.md", kind: ListKind::File, size: Some(5), mtime_ns: 0, target: None };
        let row = words.row(b"x:y/z w", &entry).unwrap();
        let want = "<tr data-kind=\"text\"><td><a href=\"x%3Ay/z%20w/a%3A%3Cb%3E.md?view\">a:&#60;b&#62;.md</a></td>\
                    <td><a href=\"x%3Ay/z%20w/\">x:y/z w</a></td><td title=\"5 B\">5 B</td><td><time";
        assert!(row.starts_with(want), "{row}");
        let dir = ListEntry { name: b"d", kind: ListKind::Dir, size: None, ..entry };
        let row = words.row(b"", &dir).unwrap();
        assert!(row.contains("<a href=\"d/\">d/</a></td><td><a href=\"./\">here</a></td><td></td>"), "{row}");
        let link = ListEntry { name: b"l", kind: ListKind::Link, size: None, ..entry };
        assert!(words.row(b"", &link).unwrap().contains("<td>l</td>"));
    }

    #[test]
    fn the_end_says_why_it_is_one() {
        let words = &Strings::of(Language::En).search;
        let sum = SearchSum { found: 0, looked: 7, unreadable: 0, end: SearchEnd::Whole };
        assert_eq!(words.end(&sum), "<p><strong>Nothing found</strong>. 7 entries were looked at.</p>");
        let sum = SearchSum { found: 1000, looked: 7, unreadable: 2, end: SearchEnd::Results(1000) };
        let end = words.end(&sum);
        assert!(end.contains("1000 found") && end.contains("2 directories") && end.contains("ends at 1000 results"));
    }
}
