//! Servers that are none of ours: a listener, and what a test does with the connections.
#![expect(clippy::disallowed_types, reason = "these are no servers of ours")]

use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use super::DEADLINE;

fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Serves connections one after the other until the tests end; where.
pub(crate) fn serve_all(mut serve: impl FnMut(TcpStream) + Send + 'static) -> String {
    let (listener, address) = bind();
    thread::spawn(move || {
        loop {
            serve(accept(&listener));
        }
    });
    address
}

/// Serves one connection; where, and what comes of it.
pub(crate) fn serve_one<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let (listener, address) = bind();
    (address, thread::spawn(move || serve(accept(&listener))))
}

/// Serves `count` connections side by side; where, and what comes of each.
pub(crate) fn serve_some<T: Send + 'static>(
    count: usize,
    serve: impl Fn(TcpStream) -> T + Send + Copy + 'static,
) -> (String, JoinHandle<Vec<T>>) {
    let (listener, address) = bind();
    let serving = thread::spawn(move || {
        let serving: Vec<_> = (0..count)
            .map(|_| {
                let stream = accept(&listener);
                thread::spawn(move || serve(stream))
            })
            .collect();
        serving.into_iter().map(|one| one.join().unwrap()).collect()
    });
    (address, serving)
}
