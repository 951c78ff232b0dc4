//! What people see: HTML documents that are complete without a script, from templates whose escaping is the default.
//!
//! | file | what |
//! |---|---|
//! | `strings` | the words of all pages, in each language |
//! | `list` | a directory |
//! | `sign_in` | a link's button, a field for a token, and why neither has worked |
//!
//! The style sheet and the script are in each document, and the policy names their hashes: no path of the tree that is
//! served has to be kept for them, and no file of that tree can take their place.

mod list;
mod sign_in;
mod strings;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

pub use self::list::{Crumb, ListPage, ListTable};
pub use self::sign_in::{Reason, SignInPage, SignInStrings};
pub use self::strings::{Language, Strings};

/// The style sheet of all pages.
const STYLE: &str = include_str!("../../../templates/page/style.css");
/// The script of all pages: its files, one behind the other.
const SCRIPT: &str = concat!(include_str!("../../../templates/page/script/start.js"));

/// What a page may do (Content-Security-Policy): show itself and files of this server with our style sheet, run our
/// script, and send to us.
static PAGE_POLICY: LazyLock<String> = LazyLock::new(|| {
    let [style, script] = [STYLE, SCRIPT].map(|text| BASE64.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src 'self' blob:; \
         media-src 'self' blob:; connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    )
});

/// The `Content-Security-Policy` of a page.
pub fn page_policy() -> &'static str {
    &PAGE_POLICY
}
