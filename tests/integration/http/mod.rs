//! HTTP: the real server, asked by hand, by our own client and by programs that others wrote.

mod basics;
mod browser;
mod chat;
mod dav;
mod dav_strangers;
mod get;
mod get_from;
mod get_tls;
mod lists;
mod pages;
mod representations;
mod search;
mod shares;
mod sign_in;
mod smuggling;
mod strangers;
mod tokens;
mod uploads;
