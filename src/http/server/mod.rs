//! Serves HTTP: one connection after another thread's, the same engine for every program that speaks it.
//!
//! | file | what |
//! |---|---|
//! | [`connection`] | request after request on one connection |
//! | [`admission`] | which requests may come in: the host that is meant, the page that sends it, what its client claims |
//! | `sign_in` | links, cookies, and the page for those who are not in |
//! | [`exchange`], `route` | one request, as its handler sees it; which handler it is for |
//! | `files`, `representation`, `digests` | GET of a file: conditions and ranges; its bytes in one coding; its digests |
//! | `directory`, `kept` | GET of a directory: its list; names that were sorted already |
//! | `page` | what all pages need of a request: its language, what its visitor may do |
//! | `view`, `search` | a file as a page; names in a directory and below it |
//! | `archive`, `tree` | all that is below a directory, or some of it, as one file |
//! | `put`, `form`, `resumable`, `intake` | uploads: whole, as a form, in parts; what they have in common |
//! | `chat` | the handshake of WebSocket, and the page of the chat |
//! | `dav` | what WebDAV adds: properties, locks, DELETE, MKCOL, COPY, MOVE |
//! | [`response`], [`problem`], `send` | the answer: a value, a refusal, its way to the socket |
//! | [`options`], [`state`] | what the operator has decided, what all connections share |

pub mod admission;
mod archive;
mod chat;
pub mod connection;
mod dav;
mod digests;
mod directory;
pub mod exchange;
mod files;
mod form;
mod intake;
mod kept;
pub mod options;
mod page;
pub mod problem;
mod put;
mod representation;
mod request_body;
pub mod response;
pub mod resumable;
mod route;
mod search;
mod send;
mod sign_in;
pub mod state;
mod tree;
mod view;

pub use self::admission::{Access, Claim, Client, NewSession, SignInRequest, SignedIn, Upgraded};
pub use self::archive::SELECTION_LEN_MAX;
pub use self::connection::{Caller, serve};
pub use self::dav::{
    LOCK_TIME_MAX, LOCKS_MAX, LOCKS_OF_LINK_MAX, LOCKS_OF_ONE_MAX, LOCKS_OF_PASSING_MAX, PROPERTIES_LEN_MAX,
    PROPERTIES_OF_ALL_LEN_MAX, PROPERTIES_OF_LINK_LEN_MAX, PROPERTIES_OF_ONE_LEN_MAX, PROPERTIES_OF_PASSING_LEN_MAX,
    SHARED_LOCKS_MAX,
};
pub use self::digests::{DIGESTS_KEPT_MAX, GUEST_DIGEST_LEN_MAX, PART_DIGEST_LEN_MAX};
pub use self::options::{CertificateFiles, HttpOptions, OnExists};
pub use self::representation::COMPRESSED_LEN_MAX;
pub use self::request_body::BODY_RATE_MIN;
pub use self::search::{SEARCH_RESULTS_MAX, SEARCH_TIME_MAX, SEARCHES_MAX};
pub use self::send::{OWN_HEADERS, SEND_RATE_MIN};
pub use self::sign_in::SIGN_IN_LEN_MAX;
pub use self::state::{ARCHIVES_MAX, HttpState};
pub use self::view::TEXT_SHOWN_LEN_MAX;
