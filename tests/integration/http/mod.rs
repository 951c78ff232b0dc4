//! HTTP: the real server, asked by hand, by our own client and by programs that others wrote.

mod basics;
mod representations;
mod smuggling;
