//! How to be let in, what is said where that fails, and that no secret is ever shown.

use std::{cell::RefCell, fs, io, path::Path};

use futures_util::future::join_all;
use nkeys::KeyPair;
use tempfile::TempDir;
use tidewire_core::Backbone as _;
use tidewire_nats::{Access, Config, Login, Nats, ServerUrl, StreamSettings, Tls};
use tidewire_testbed::{NatsCluster, NatsOptions};
use tracing::Metadata;
use tracing_subscriber::{
    filter::dynamic_filter_fn,
    fmt,
    layer::{Context, Layer as _, SubscriberExt as _},
    registry,
};

use crate::{
    certificates::Authority,
    config,
    credentials::Operator,
    event, start,
    steps::{publish, take, until_trouble},
};

async fn servers_with(extra_config: String) -> NatsCluster {
    NatsCluster::start_with(1, NatsOptions { extra_config, ..NatsOptions::default() }).await
}

fn with(servers: &NatsCluster, access: Access) -> Config {
    Config { access, ..config(servers, StreamSettings::default()) }
}

fn login(login: Login) -> Access {
    Access { login: Some(login), ..Access::default() }
}

/// Every connection is let in: an event is published, read and followed.
async fn is_let_in(config: Config) {
    let nats = start(config).await;
    let start = nats.bounds().await.unwrap().start();
    publish(&nats, event("t", "x")).await;
    let mut tail = nats.tail(start).await.unwrap();
    take(&mut tail, 1).await;
    nats.close().await;
}

/// It is not let in, and tells why.
async fn is_kept_out(config: Config, words: &str) {
    let nats = Nats::start(config).await.unwrap();
    until_trouble(&nats, words).await;
    nats.bounds().await.unwrap_err();
}

/// Why it does not even start.
async fn refusal(config: Config) -> String {
    Nats::start(config).await.map(drop).unwrap_err().to_string()
}

fn file(dir: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

thread_local! {
    /// What this thread has logged, where it is listened to.
    static LOGGED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Where a thread's lines go.
struct Logged;

impl Logged {
    /// Keeps everything that this thread logs from now on, down to the last detail.
    ///
    /// The subscriber is the whole process's: with one for a thread, a line that another thread
    /// comes to first is switched off for all, since that thread alone is asked for its subscriber.
    fn begin() {
        let is_listened_to =
            |_: &Metadata<'_>, _: &Context<'_, _>| LOGGED.with_borrow(Option::is_some);
        let lines = fmt::layer().with_ansi(false).with_writer(|| Self);
        let subscriber = registry().with(lines.with_filter(dynamic_filter_fn(is_listened_to)));
        tracing::subscriber::set_global_default(subscriber).expect("nobody else listens");
        LOGGED.set(Some(Vec::new()));
    }

    fn text() -> String {
        LOGGED.with_borrow(|logged| String::from_utf8(logged.clone().unwrap()).unwrap())
    }
}

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.get_or_insert_default().extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_dead_server_among_several_is_passed_over() {
    let (dead, alive) = (NatsCluster::start(1).await, NatsCluster::start(1).await);
    dead.kill(0);
    let mut config = config(&alive, StreamSettings::default());
    config.servers.insert(0, dead.urls()[0].parse().unwrap());
    config.servers.insert(0, "nats://no-such-host.invalid:4222".parse().unwrap());
    is_let_in(config).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_until_it_comes() {
    let servers = NatsCluster::start(1).await;
    servers.kill(0);
    let nats = Nats::start(config(&servers, StreamSettings::default())).await.unwrap();
    until_trouble(&nats, &format!("not connected to {}: ", servers.urls()[0])).await;
    servers.start_node(0);
    crate::until_usable(&nats).await;
}

#[tokio::test]
async fn each_way_to_log_in_lets_in_and_another_secret_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (key, other_key) = (KeyPair::new_user(), KeyPair::new_user());
    let password =
        |password: &str| Login::UserPassword { user: "ingest".into(), password: password.into() };
    let nkey = |name, key: &KeyPair| Login::Nkey(file(&dir, name, &(key.seed().unwrap() + "\n")));
    let operator = Operator::new();
    let credentials = |name, of: &Operator| Login::Credentials(file(&dir, name, &of.user().0));
    let ways = [
        (
            "authorization { user: ingest, password: s3cret }".into(),
            password("s3cret"),
            password("guess"),
        ),
        (
            "authorization { token: t0ken }".into(),
            Login::Token("t0ken".into()),
            Login::Token("guess".into()),
        ),
        (
            format!("authorization {{ users: [{{ nkey: {} }}] }}", key.public_key()),
            nkey("right.nk", &key),
            nkey("wrong.nk", &other_key),
        ),
        (
            operator.config.clone(),
            credentials("right.creds", &operator),
            credentials("wrong.creds", &Operator::new()),
        ),
    ];
    join_all(ways.map(|(said_to_server, right, wrong): (String, _, _)| async move {
        let servers = servers_with(said_to_server).await;
        is_let_in(with(&servers, login(right))).await;
        tokio::join!(
            is_kept_out(with(&servers, login(wrong)), "authorization violation"),
            is_kept_out(with(&servers, Access::default()), "authorization violation"),
        );
    }))
    .await;
}

#[tokio::test]
async fn no_secret_is_shown_in_what_is_printed_logged_or_told() {
    let dir = tempfile::tempdir().unwrap();
    Logged::begin();
    let servers = servers_with("authorization { token: other }".into()).await;
    let seed = KeyPair::new_user().seed().unwrap();
    let (credentials, credentials_seed) = Operator::new().user();
    let jwt = credentials.lines().nth(1).unwrap().to_owned();
    for (way, secrets) in [
        (
            Login::UserPassword { user: "ingest".into(), password: "hunter2".into() },
            vec!["hunter2".to_owned()],
        ),
        (Login::Token("t0psecret".into()), vec!["t0psecret".to_owned()]),
        (Login::Nkey(file(&dir, "nkey", &seed)), vec![seed.clone()]),
        (
            Login::Credentials(file(&dir, "creds", &credentials)),
            vec![credentials_seed.clone(), jwt.clone()],
        ),
    ] {
        let config = with(&servers, login(way));
        let printed = format!("{config:?}");
        let nats = Nats::start(config).await.unwrap();
        until_trouble(&nats, "authorization violation").await;
        let told = nats.trouble().unwrap();
        let shown = [printed, told, Logged::text()].join("\n");
        assert!(shown.contains("CONNECT"), "the library tells all that it does");
        for secret in secrets {
            assert!(!shown.contains(&secret), "{secret} is shown");
        }
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_at_the_start() {
    let servers = NatsCluster::start(1).await;
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let tls = |tls| Access { tls, ..Access::default() };
    let rubbish = file(&dir, "rubbish", "SUNSEED that is none");
    for access in [
        login(Login::Nkey(missing.clone())),
        login(Login::Credentials(missing.clone())),
        tls(Tls { ca_file: Some(missing.clone()), ..Tls::default() }),
        tls(Tls {
            certificate_and_key: Some((rubbish.clone(), missing.clone())),
            ..Tls::default()
        }),
    ] {
        let refusal = refusal(with(&servers, access)).await;
        assert!(refusal.contains(&missing.display().to_string()), "{refusal}");
    }
    let refusal = refusal(with(&servers, login(Login::Credentials(rubbish.clone())))).await;
    assert!(refusal.contains(&rubbish.display().to_string()), "{refusal}");
    assert!(!refusal.contains("SUNSEED"), "{refusal}");
}

#[tokio::test]
async fn an_nkey_file_that_holds_no_seed_is_told() {
    let servers = NatsCluster::start(1).await;
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "rubbish", "SUNSEED that is none");
    let refusal = refusal(with(&servers, login(Login::Nkey(path.clone())))).await;
    assert!(refusal.contains(&path.display().to_string()), "{refusal}");
}

#[test]
fn an_address_with_a_password_in_it_is_refused_without_repeating_it() {
    for address in ["nats://ingest:hunter2@localhost:4222", "nats://t0ken@localhost"] {
        let refusal = address.parse::<ServerUrl>().unwrap_err();
        assert!(refusal.contains("settings of their own"), "{refusal}");
        assert!(!refusal.contains("hunter2") && !refusal.contains("t0ken"), "{refusal}");
    }
    for address in ["http://localhost", "ws://localhost", "nats://", "", "nats:// x"] {
        assert!(address.parse::<ServerUrl>().is_err(), "{address:?}");
    }
}

/// A server with a certificate; with `verify`, it asks for one, too.
fn tls_config(authority: &Authority, verify: bool) -> String {
    let (certificate, key) = authority.sign("server");
    let show = |path: &Path| format!("{:?}", path.display().to_string());
    format!(
        "tls {{ cert_file: {}, key_file: {}, ca_file: {}, verify: {verify} }}",
        show(&certificate),
        show(&key),
        show(&authority.file()),
    )
}

fn believing(authority: &Authority) -> Tls {
    Tls { ca_file: Some(authority.file()), ..Tls::default() }
}

fn encrypted(servers: &NatsCluster, tls: Tls) -> Config {
    with(servers, Access { tls, ..Access::default() })
}

#[tokio::test]
async fn a_connection_is_encrypted_where_either_side_asks_for_it() {
    let authority = Authority::new();
    let servers = servers_with(tls_config(&authority, false)).await;
    is_let_in(encrypted(&servers, believing(&authority))).await;
    let required = Tls { is_required: true, ..believing(&authority) };
    is_let_in(encrypted(&servers, required)).await;
    let mut by_its_address = encrypted(&servers, believing(&authority));
    by_its_address.servers = vec![servers.urls()[0].replace("nats://", "tls://").parse().unwrap()];
    is_let_in(by_its_address).await;
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_not_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let servers = servers_with(tls_config(&authority, false)).await;
    is_kept_out(encrypted(&servers, believing(&other)), "UnknownIssuer").await;
    is_kept_out(encrypted(&servers, Tls::default()), "UnknownIssuer").await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_takes_one_of_its_authority_only() {
    let (authority, other) = (Authority::new(), Authority::new());
    let servers = servers_with(tls_config(&authority, true)).await;
    let with_certificate = |of: &Authority| Tls {
        certificate_and_key: Some(of.sign("client")),
        ..believing(&authority)
    };
    is_let_in(encrypted(&servers, with_certificate(&authority))).await;
    is_kept_out(encrypted(&servers, with_certificate(&other)), "fatal alert").await;
    is_kept_out(encrypted(&servers, believing(&authority)), "fatal alert").await;
}

#[tokio::test]
async fn a_plain_connection_is_refused_where_encryption_is_required() {
    let servers = NatsCluster::start(1).await;
    let required = Tls { is_required: true, ..Tls::default() };
    is_kept_out(encrypted(&servers, required), "corrupt message").await;
}
