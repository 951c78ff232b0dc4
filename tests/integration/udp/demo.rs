//! What becomes of datagrams, live.

use super::run;

#[test]
fn the_demo_shows_boundaries_truncation_and_a_full_buffer() {
    let ended = run(&["demo"]);
    let text = String::from_utf8(ended.stdout).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{text}");
    for want in [
        "recv_from(buffer of 1024 bytes) = \"hello\", 5 bytes",
        "recv_from(buffer of 1 bytes) = \"h\", 1 bytes",
        "are lost, \"important\" among them",
        "recv_from(buffer of 1024 bytes) = \"important\", 9 bytes",
    ] {
        assert!(text.contains(want), "{want}: {text}");
    }
}
