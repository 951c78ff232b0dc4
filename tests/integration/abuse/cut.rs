//! An encrypted connection that is cut: an end without a farewell is never taken for one.

use super::assert_well;
use crate::harness::frames::{put, request};
use crate::harness::tls::Over;
use crate::harness::{Server, wait_until};

#[test]
fn a_cut_upload_never_appears() {
    let server = Server::with(&["--guest", "none"]);
    let whole = put("new", &vec![7; 50_000]);
    let end = put("new", b"").len();
    // In the header, in the data, behind all of the data, and inside the end that would make it whole.
    for sent in [150, 10_000, whole.len() - 200, whole.len() - 1] {
        for is_farewell in [false, true] {
            let mut raw = Over::Tls.open(&server);
            raw.send(&whole[..sent]);
            if sent > end {
                wait_until("the upload has begun", || server.names(".").len() == 1);
            }
            if is_farewell {
                raw.end();
            } else {
                raw.cut();
            }
            assert!(raw.rest().iter().all(|answer| answer.kind() == "error"), "cut at {sent}");
            wait_until("the half is gone", || server.names(".").is_empty());
        }
    }
    // Nor one whose bytes were all there, in a file of an announced size, when the cut came.
    let mut raw = Over::Tls.open(&server);
    raw.send(&request(r#""type":"put","path":"new","name":"x","size":5"#, &[]));
    raw.send(&request(r#""type":"data""#, b"whole"));
    wait_until("the upload has begun", || server.names(".").len() == 1);
    raw.cut();
    drop(raw.rest());
    wait_until("it is gone", || server.names(".").is_empty());
    assert_well(&server);
}

#[test]
fn the_log_tells_a_cut_from_an_end() {
    for is_farewell in [true, false] {
        let server = Server::with(&["--guest", "none"]);
        let mut raw = Over::Tls.open(&server);
        raw.send(&request(r#""type":"pwd""#, &[]));
        assert_eq!(raw.answer().kind(), "cwd");
        if is_farewell {
            raw.end();
        } else {
            raw.cut();
        }
        assert!(raw.rest().is_empty());
        let log = server.wait_for_log("disconnected");
        let (end, cut) = ("closed by the client", "it was cut");
        assert_eq!((log.contains(end), log.contains(cut)), (is_farewell, !is_farewell), "{log}");
    }
}
