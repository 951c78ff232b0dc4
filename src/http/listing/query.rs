//! What a request says about a list: its form, its order, and which page of it.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Entries on a page for people, where the request does not say.
pub const PAGE_LEN: u64 = 1_000;
/// Entries on a page for people at most: some 2 MiB.
pub const PAGE_LEN_MAX: u64 = 10_000;

/// What a request says about a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListQuery {
    /// The form; `None`: the one that the client accepts.
    pub form: Option<ListForm>,
    /// What the entries are sorted by.
    pub sort: Sort,
    /// In which direction.
    pub order: Order,
    /// Which page, from 1 on.
    pub page: u64,
    /// Entries on a page; `None`: as many as the form has by default.
    pub per_page: Option<u64>,
}

/// What a directory is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListForm {
    /// A page for people.
    Html,
    /// A JSON object.
    Json,
    /// A name on each line.
    Text,
}

/// What entries are sorted by. Directories come before all else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Natural order of the names.
    #[default]
    Name,
    /// Size; directories, which have none, by name.
    Size,
    /// Modification time.
    Modified,
    /// As the system has them, directories in between: a list of any length that nothing waits for.
    Unsorted,
}

/// The direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The smallest first.
    #[default]
    Ascending,
    /// The largest first.
    Descending,
}

impl Sort {
    /// Its name in a query.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Size => "size",
            Self::Modified => "modified",
            Self::Unsorted => "none",
        }
    }
}

impl Order {
    /// Its name in a query.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }
}

/// A list that there is not: what the query says makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// A value that is none of those that there are.
    #[error("the query has {name}={value:?}; it takes {takes}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
}

impl ListQuery {
    /// Reads a query; what it does not know is left to others.
    ///
    /// # Errors
    /// A value is none of those that there are.
    pub fn parse(query: &[u8]) -> Result<Self, BadQuery> {
        let mut parsed = Self { page: 1, ..Self::default() };
        for (name, value) in parameters(query) {
            let bad = |name, takes| {
                let value = String::from_utf8_lossy(&value).chars().take(40).collect();
                BadQuery::Value { name, value, takes }
            };
            match name.as_ref() {
                b"html" => parsed.form = Some(ListForm::Html),
                b"json" => parsed.form = Some(ListForm::Json),
                b"text" => parsed.form = Some(ListForm::Text),
                b"sort" => {
                    let sorts = [Sort::Name, Sort::Size, Sort::Modified, Sort::Unsorted];
                    let sort = sorts.into_iter().find(|sort| sort.as_str().as_bytes() == &*value);
                    parsed.sort = sort.ok_or_else(|| bad("sort", "name, size, modified or none"))?;
                }
                b"order" => {
                    let order = [Order::Ascending, Order::Descending].into_iter();
                    let order = order.into_iter().find(|order| order.as_str().as_bytes() == &*value);
                    parsed.order = order.ok_or_else(|| bad("order", "asc or desc"))?;
                }
                b"page" => parsed.page = number(&value).ok_or_else(|| bad("page", "a number from 1 on"))?,
                b"per_page" => {
                    parsed.per_page = Some(number(&value).ok_or_else(|| bad("per_page", "a number from 1 on"))?);
                }
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// Which of `total` entries are shown, from the first on to the one behind the last, and of how many pages.
    pub fn page_of(&self, form: ListForm, total: u64) -> Page {
        let len = match (form, self.per_page) {
            (ListForm::Html, len) => len.unwrap_or(PAGE_LEN).min(PAGE_LEN_MAX),
            (ListForm::Json | ListForm::Text, len) => len.unwrap_or(u64::MAX),
        };
        let first = len.saturating_mul(self.page.saturating_sub(1)).min(total);
        Page { first, end: first.saturating_add(len).min(total), pages: total.div_ceil(len).max(1), len }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The first entry, counted from 0.
    pub first: u64,
    /// The entry behind the last.
    pub end: u64,
    /// How many pages there are.
    pub pages: u64,
    /// Entries on a full page.
    pub len: u64,
}

fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    // No sign, no blank: `parse` takes a plus.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && *number > 0)
}

/// The parameters of a query, decoded (WHATWG URL, 5.1).
pub fn parameters(query: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.split(|byte| *byte == b'&').filter(|part| !part.is_empty()).map(|part| {
        let at = part.iter().position(|byte| *byte == b'=');
        let (name, value) = at.map_or((part, &[][..]), |at| (&part[..at], &part[at + 1..]));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if text.contains(&b'+') {
        let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        return Cow::Owned(percent_decode(&spaced).collect());
    }
    percent_decode(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_form_order_and_page() {
        let parse = |query: &str| ListQuery::parse(query.as_bytes());
        let plain = ListQuery { page: 1, ..ListQuery::default() };
        for (query, want) in [
            ("", plain),
            ("json", ListQuery { form: Some(ListForm::Json), ..plain }),
            ("json=1&text=", ListQuery { form: Some(ListForm::Text), ..plain }),
            ("sort=size&order=desc", ListQuery { sort: Sort::Size, order: Order::Descending, ..plain }),
            ("&&sort=mod%69fied&&", ListQuery { sort: Sort::Modified, ..plain }),
            ("page=3&per_page=50", ListQuery { page: 3, per_page: Some(50), ..plain }),
            ("unknown=1&%6a%73%6f%6e", ListQuery { form: Some(ListForm::Json), ..plain }),
            ("page=18446744073709551615", ListQuery { page: u64::MAX, ..plain }),
        ] {
            assert_eq!(parse(query), Ok(want), "{query}");
        }
        for query in
            ["sort=", "sort=date", "order=up", "page=0", "page=-1", "page=%2b1", "page=1.0", "per_page=0", "per_page=x"]
        {
            assert!(parse(query).is_err(), "{query}");
        }
        let long = parse(&format!("sort={}", "x".repeat(4000))).unwrap_err().to_string();
        assert!(long.len() < 120 && long.ends_with("it takes name, size, modified or none"), "{long}");
    }

    #[test]
    fn pages_cover_each_entry_once() {
        let query = |page, per_page| ListQuery { page, per_page, ..ListQuery::default() };
        for (form, (page, per_page), total, (first, end, pages)) in [
            (ListForm::Html, (1, None), 0, (0, 0, 1)),
            (ListForm::Html, (1, None), 1_000, (0, 1_000, 1)),
            (ListForm::Html, (2, None), 1_001, (1_000, 1_001, 2)),
            (ListForm::Html, (3, None), 1_001, (1_001, 1_001, 2)),
            (ListForm::Html, (1, Some(u64::MAX)), 25_000, (0, PAGE_LEN_MAX, 3)),
            (ListForm::Json, (1, None), 25_000, (0, 25_000, 1)),
            (ListForm::Json, (2, None), 25_000, (25_000, 25_000, 1)),
            (ListForm::Text, (u64::MAX, Some(7)), 15, (15, 15, 3)),
            (ListForm::Text, (3, Some(7)), 15, (14, 15, 3)),
        ] {
            let Page { first: at, end: to, pages: of, .. } = query(page, per_page).page_of(form, total);
            assert_eq!((at, to, of), (first, end, pages), "page {page} of {per_page:?} in {total}");
        }
    }
}
