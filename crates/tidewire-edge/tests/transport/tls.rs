//! TLS: which version is agreed on, what is refused, and how a certificate is exchanged.

use std::time::Duration;

use tidewire_edge::{Config, Tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    certificate::{Files, Made},
    port::{Http2, PATIENCE, Plain, Port},
};

const BOUND: Duration = Duration::from_millis(300);

fn config(tls: Tls) -> Config {
    Config {
        tls: Some(tls),
        handshake_timeout: BOUND,
        certificate_look_interval: Duration::from_millis(50),
        ..Config::default()
    }
}

#[tokio::test]
async fn the_version_is_the_one_that_client_and_hub_agree_on() {
    let made = Made::new();
    let port = Port::serve(config(Files::of(&made).load())).await;
    let socket = made.connect(port.connect().await, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut new = Http2::connect(socket).await.subscribe().await;
    let socket = made.connect(port.connect().await, &["http/1.1"]).await.unwrap();
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut old = Plain::subscribe(socket).await;
    let mut silent = Plain::subscribe(made.connect(port.connect().await, &[]).await.unwrap()).await;
    port.log.publish("secret");
    new.sees("data: secret").await;
    old.sees("data: secret").await;
    silent.sees("data: secret").await;
    port.end().await;
}

#[tokio::test]
async fn who_does_not_shake_hands_in_time_is_closed_and_others_go_on() {
    let made = Made::new();
    let port = Port::serve(config(Files::of(&made).load())).await;
    let mut good = Plain::subscribe(made.connect(port.connect().await, &[]).await.unwrap()).await;
    // Silence, the beginning of a handshake, and no TLS at all.
    for said in [&b""[..], &[22, 3, 1, 2, 0, 1], b"GET / HTTP/1.1\r\nhost: hub\r\n\r\n"] {
        let mut socket = port.connect().await;
        socket.write_all(said).await.unwrap();
        let begun = Instant::now();
        let mut answer = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("it is closed").ok();
        assert!(begun.elapsed() < 10 * BOUND, "{said:?}: {:?}", begun.elapsed());
        assert!(!answer.starts_with(b"HTTP"), "nothing is said in the clear");
    }
    port.log.publish("still here");
    good.sees("data: still here").await;
    port.end().await;
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_old_streams_go_on() {
    let (first, second) = (Made::new(), Made::new());
    let files = Files::of(&first);
    let port = Port::serve(config(files.load())).await;
    let mut stream =
        Plain::subscribe(first.connect(port.connect().await, &[]).await.unwrap()).await;

    files.write(&second.certificate, &second.key);
    let exchanged = async {
        while second.connect(port.connect().await, &[]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, exchanged).await.expect("the new certificate is taken");
    assert!(first.connect(port.connect().await, &[]).await.is_err(), "the old one is gone");

    // Half of a change, and nonsense: the last good one goes on.
    for (certificate, key) in
        [(&*first.certificate, &*second.key), ("nonsense", &*second.key), (&*first.certificate, "")]
    {
        files.write(certificate, key);
        tokio::time::sleep(Duration::from_millis(200)).await;
        second.connect(port.connect().await, &[]).await.unwrap();
    }
    files.write(&first.certificate, &first.key);
    let exchanged = async {
        while first.connect(port.connect().await, &[]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, exchanged).await.expect("and a good one is taken again");
    port.log.publish("through it all");
    stream.sees("data: through it all").await;
    port.end().await;
}

#[test]
fn files_that_cannot_be_used_are_refused_by_name() {
    let (made, other) = (Made::new(), Made::new());
    let files = Files::of(&made);
    let mut missing = files.paths();
    missing.key = "/nowhere/hub.key".into();
    let said = Tls::load(missing).unwrap_err().to_string();
    assert!(said.starts_with("'/nowhere/hub.key' cannot be read: "), "{said}");
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for (certificate, key, named, reason) in [
        ("", &*made.key, "hub.crt'", "holds no certificate in PEM"),
        (&*made.key, &*made.key, "hub.crt'", "holds no certificate in PEM"),
        (broken, &*made.key, "hub.crt'", "holds a certificate that cannot be used"),
        (&*made.certificate, "", "hub.key'", "holds no private key in PEM that is not encrypted"),
        (&*made.certificate, &*made.certificate, "hub.key'", "holds no private key in PEM"),
        (&*made.certificate, &*other.key, "hub.key'", "is not the key of the certificate '"),
    ] {
        files.write(certificate, key);
        let said = Tls::load(files.paths()).unwrap_err().to_string();
        assert!(said.contains(named) && said.contains(reason), "{said}");
    }
}
