//! The library without the programs: fetches a file and runs a command on a server of this machine.
//!
//! With another machine only the name changes: `Client::connect(&home, "build")`, once the two are introduced by
//! `tcp-server pair` there and `tcp-client pair build` here.

use std::error::Error;
use std::time::Duration;

use landline::{Client, Home, Outcome, Root, Server};

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let shared = temporary.path().join("shared");
    std::fs::create_dir(&shared)?;
    std::fs::write(shared.join("notes.txt"), "from over there\n")?;

    // Client and server run as the same user and share a home: the server knows this key as its own.
    let home = Home::open(Some(&temporary.path().join("home")))?;
    let server = Server::new(home.clone(), Root::open(&shared)?).listen("127.0.0.1:0")?;
    println!("serving on {}", server.address());

    let mut client = Client::connect(&home, server.address())?;
    let fetched = temporary.path().join("notes.txt");
    let size = client.get("notes.txt", &fetched)?;
    println!("fetched {size} bytes: {:?}", std::fs::read_to_string(&fetched)?);

    let output = client.run("wc -c < notes.txt; exit 3")?;
    println!("the command wrote {:?} and ended with {}", String::from_utf8_lossy(&output.stdout), output.outcome);
    assert_eq!(output.outcome, Outcome::Exited(3));

    // What the server refuses is an error; the connection can be used on.
    match client.get("missing.txt", &fetched) {
        Err(error @ landline::Error::Refused(_)) => println!("refused: {error}"),
        other => return Err(format!("a missing file was not refused: {other:?}").into()),
    }
    assert_eq!(client.echo(b"still there")?, b"still there");
    client.close();
    server.stop(Duration::from_secs(1));
    Ok(())
}
