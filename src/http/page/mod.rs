//! What people see: HTML documents that are complete without a script, from templates whose escaping is the default.
//!
//! | file | what |
//! |---|---|
//! | `strings` | the words of all pages, in each language |
//! | `frame` | what all pages have around their content |
//! | `list`, `view`, `search`, `problem` | a directory, a file, what a search finds, why there is nothing |
//! | `chat` | a room to talk in |
//! | `sign_in` | a link's button, a field for a token, and why neither has worked |
//! | `markdown`, `text` | what is in a file, as it is safe to show |
//! | `kind` | what kind of file a name promises |
//! | `squeeze` | style and script as they are sent |
//!
//! The style sheet and the script are in each document, and the policy names their hashes: no path of the tree that is
//! served has to be kept for them, and no file of that tree can take their place.
//!
//! # What the script and the style sheet find in the documents
//!
//! - `<body data-page data-may data-path>`: which page it is (`list`, `view`, `search`, `chat`, `sign-in`, `problem`); what the
//!   visitor may do here, as words (`upload`, `modify`); the absolute path, percent-encoded, a directory's with a slash
//!   at its end.
//! - `a.skip`; `header` with `nav#path` (an ordered list whose last item is the `h1`), and `#tools`: `#visitor`, the
//!   form `#sign-out` if a cookie has signed the visitor in, `button#theme` (hidden until the script shows it),
//!   `nav#languages` (links `?lang=`, the choice is kept in a cookie).
//! - `main#content` with `#status` (a live region, empty) and the page's own content.
//! - list: `form#search` (field `search`), `form#upload` (fields `exists`, `file`), `section#queue` (hidden, empty),
//!   `div#empty` if nothing is there, and `form#selection`, which POSTs the boxes to `?zip` (its button is in
//!   `#actions`) and holds `table#list`. A row is `<tr data-kind>` (`dir`, `image`, `audio`, `video`, `pdf`, `text`,
//!   `archive`, `file`) with four cells: the box, whose value is the percent-encoded reference of the entry (a slash
//!   behind a directory's); the name, whose link leads to the entry itself, and has `data-view` where the file has a
//!   page (`NAME?view`); the size, exact in `title`; the time (`<time>` to the second, UTC, as the heading says in
//!   `#zone`). What cannot be fetched has neither box nor link. Rows are short, since there may be thousands: the
//!   script adds what it can find out, such as the name of a box, the way to the page of a file, and the ways to
//!   change it.
//!   Behind it `nav#pages` (links with `rel`), `#archives`, `section#readme`.
//! - view: `nav#neighbours` (links with `rel`: `up`, `prev`, `next`), `#file` with `#open` and `#download`, `#preview`
//!   with `data-kind` (`image`, `audio`, `video`, `pdf`, `markdown`, `text`, `none`), `form#encoding` of a text,
//!   `#forms` with the way between Markdown and its source, `p.note` for what is to be known of it.
//! - search: `form#search`, `table#results` (name, folder, size, time), which grows while the search runs, and
//!   `#found`, which says at the end how much was found and whether a limit ended it.
//! - sign-in: `section.sign-in` with an `h1`, what to do, and a form with the field `token` where that helps.
//! - chat: `#chat` with `data-name` (what the server calls its visitor), `#state`, `nav#rooms`, `form#enter` with the
//!   nick, and `#talk`: `#topic`, `#logs` (a log for each room), `#people`, `form#message`; `form#upload` as in a list.
//! - problem: `section#problem` with `data-status`, an `h1`, what it means, what the server says, where to go.

mod chat;
mod frame;
mod kind;
mod list;
mod markdown;
mod problem;
mod search;
mod sign_in;
mod squeeze;
mod strings;
mod text;
mod view;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

pub use self::chat::ChatPage;
pub use self::frame::{Frame, May, PageKind, PagePlace, Visitor};
pub use self::kind::PreviewKind;
pub use self::list::{ListPage, ListTable, ROW_LEN, Readme};
pub use self::markdown::{MARKDOWN_DEPTH_MAX, MARKDOWN_EVENTS_MAX, MARKDOWN_TAGS_MAX, Rendered, render};
pub use self::problem::ProblemPage;
pub use self::search::{SearchEnd, SearchPage, SearchSum, search_href};
pub use self::sign_in::{SignInPage, SignInReason, SignInStrings};
pub use self::strings::{
    ChatStrings, Language, ListStrings, PageStrings, ProblemStrings, SearchStrings, Strings, ViewStrings,
};
pub use self::text::{Decoded, TextEncoding, decode, looks_like_text, visible};
pub use self::view::{Preview, TextPreview, ViewPage};

/// The style sheet of all pages.
static STYLE: LazyLock<String> = LazyLock::new(|| squeeze::style(include_str!("../../../templates/page/style.css")));
/// What runs before a page is shown.
static EARLY: LazyLock<String> = LazyLock::new(|| squeeze::script(include_str!("../../../templates/page/early.js")));
/// The script of all pages: its files, one behind the other.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    squeeze::script(concat!(
        include_str!("../../../templates/page/script/start.js"),
        include_str!("../../../templates/page/script/format.js"),
        include_str!("../../../templates/page/script/theme.js"),
        include_str!("../../../templates/page/script/tell.js"),
        include_str!("../../../templates/page/script/request.js"),
        include_str!("../../../templates/page/script/upload_store.js"),
        include_str!("../../../templates/page/script/upload.js"),
        include_str!("../../../templates/page/script/conflict.js"),
        include_str!("../../../templates/page/script/queue.js"),
        include_str!("../../../templates/page/script/list.js"),
        include_str!("../../../templates/page/script/selection.js"),
        include_str!("../../../templates/page/script/change.js"),
        include_str!("../../../templates/page/script/drop.js"),
        include_str!("../../../templates/page/script/search.js"),
        include_str!("../../../templates/page/script/keys.js"),
        include_str!("../../../templates/page/script/preview.js"),
        include_str!("../../../templates/page/script/end.js"),
    ))
});

/// The style sheet of the chat: that of all pages, and its own.
static CHAT_STYLE: LazyLock<String> = LazyLock::new(|| {
    squeeze::style(concat!(
        include_str!("../../../templates/page/style.css"),
        include_str!("../../../templates/page/chat.css")
    ))
});
/// The script of the chat: that of all pages, whose queue of uploads it uses, and its own.
static CHAT_SCRIPT: LazyLock<String> =
    LazyLock::new(|| [&SCRIPT, "\n", &squeeze::script(include_str!("../../../templates/page/chat.js"))].concat());

/// What a page may do (Content-Security-Policy): show itself and files of this server with our style sheet, run our
/// scripts, and send to us. Its own symbol, which a browser would otherwise look for in the tree, is in its text
/// (`data:`).
static PAGE_POLICY: LazyLock<String> = LazyLock::new(|| policy_of(&STYLE, &SCRIPT));
/// The same of the chat, whose style sheet and script are others.
static CHAT_POLICY: LazyLock<String> = LazyLock::new(|| policy_of(&CHAT_STYLE, &CHAT_SCRIPT));

fn policy_of(style: &str, script: &str) -> String {
    let [style, early, script] = [style, &EARLY, script].map(|text| BASE64.encode(Sha256::digest(text.as_bytes())));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{early}' 'sha256-{script}'; \
         img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; frame-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// The `Content-Security-Policy` of a page.
pub fn page_policy() -> &'static str {
    &PAGE_POLICY
}

/// The `Content-Security-Policy` of the page of the chat.
pub fn chat_policy() -> &'static str {
    &CHAT_POLICY
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Style and scripts together, as they are in each document, in bytes.
    const INLINE_LEN_MAX: usize = 60 * 1024;
    /// The same of the page of the chat, which has them beside its own.
    const CHAT_INLINE_LEN_MAX: usize = 90 * 1024;

    #[test]
    fn style_and_scripts_stay_small() {
        let len = [&STYLE, &EARLY, &SCRIPT].map(|text| text.len()).iter().sum::<usize>();
        assert!(len <= INLINE_LEN_MAX, "{len} bytes are more than {INLINE_LEN_MAX}");
        let len = CHAT_STYLE.len() + CHAT_SCRIPT.len();
        assert!(len <= CHAT_INLINE_LEN_MAX, "{len} bytes are more than {CHAT_INLINE_LEN_MAX}");
    }
}
