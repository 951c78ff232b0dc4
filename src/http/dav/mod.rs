//! WebDAV (RFC 4918): what its requests say and its answers look like. What they do is in
//! [`server::dav`](crate::http::server).
//!
//! | file | what |
//! |---|---|
//! | [`xml`] | XML of a stranger's as a small tree, and back to text |
//! | [`body`] | the bodies of PROPFIND, PROPPATCH and LOCK |
//! | [`fields`] | `Depth`, `Timeout`, `Lock-Token`, `Overwrite` |
//! | [`if_header`] | `If` |
//! | [`multistatus`] | the properties of resources, and what became of each |

pub mod body;
pub mod fields;
pub mod if_header;
pub mod multistatus;
pub mod xml;

/// The namespace of WebDAV's own elements (RFC 4918, 21.1).
pub const DAV: &str = "DAV:";
/// The media type of XML, in the one encoding that is written.
pub const XML_TYPE: &str = "application/xml; charset=utf-8";
