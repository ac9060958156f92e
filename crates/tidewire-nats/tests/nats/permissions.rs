//! The permissions that the documents name: they are enough, none of them is too much, and they
//! keep each part from what is not its own.

use futures_util::{StreamExt as _, future::join_all};

use tidewire_core::{Backbone as _, Cursor, EdgeNumber, Relay as _};
use tidewire_nats::{Access, Config, Login, Nats, StreamPolicy, StreamSettings};
use tidewire_testbed::{NatsCluster, NatsOptions};
use tokio::time::sleep;

use crate::{
    config, event,
    steps::{ALL, interest, limit, publish_all, read_after, take, until},
    until_usable,
};

/// What the documents give to operators.
const PERMISSIONS: &str = include_str!("../../../../docs/operations/nats-permissions.conf");
const DOCUMENT: &str = include_str!("../../../../docs/operations/nats.md");
/// More than what is read in shared stretches of the log.
const FAR: usize = 40_000;

/// A server with these permissions.
async fn server(permissions: &str) -> NatsCluster {
    let passwords = "INGEST_PASSWORD: i\nEDGE_PASSWORD: e\nOPERATOR_PASSWORD: o\n";
    let extra_config = format!("{passwords}{permissions}");
    NatsCluster::start_with(1, NatsOptions { extra_config, ..NatsOptions::default() }).await
}

fn login(user: &str) -> (String, String) {
    (user.to_owned(), user[..1].to_owned())
}

fn of(servers: &NatsCluster, user: &str, keep: Option<StreamPolicy>) -> Config {
    let (user, password) = login(user);
    let access =
        Access { login: Some(Login::UserPassword { user, password }), ..Access::default() };
    let keep = keep.map(|policy| StreamSettings { policy, ..StreamSettings::default() });
    Config { access, keep, ..config(servers, StreamSettings::default()) }
}

/// A client that is not a backbone, as one who has got hold of a password would use.
async fn client(servers: &NatsCluster, user: &str) -> async_nats::Client {
    let (user, password) = login(user);
    let options = async_nats::ConnectOptions::with_user_and_password(user, password);
    options.connect(servers.urls()).await.unwrap()
}

/// What the server has refused for want of a permission.
fn violations(servers: &NatsCluster) -> Vec<String> {
    let log = servers.log(0);
    log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
}

/// An ingest's whole life, for so many events.
async fn as_ingest(servers: &NatsCluster, user: &str, policy: StreamPolicy, events: usize) -> Nats {
    let nats = Nats::start(of(servers, user, Some(policy))).await.unwrap();
    until_usable(&nats).await;
    let topics = ["often", "often", "often", "seldom"].into_iter().cycle();
    publish_all(&nats, topics.take(events).map(|topic| event(topic, "x"))).await;
    nats
}

/// Everything that an edge does: the tail, pages near and far, snapshots, the cursor of a moment, and
/// words to other edges.
async fn as_edge(servers: &NatsCluster) {
    let nats = Nats::start(of(servers, "edge", None)).await.unwrap();
    until_usable(&nats).await;
    let bounds = nats.bounds().await.unwrap();
    let (first, head) = (bounds.start(), bounds.head());
    let mut tail = nats.tail(first).await.unwrap();
    take(&mut tail, 2).await;
    let (often, seldom) = (interest(&["often"]), interest(&["seldom"]));
    // Both from where it is far and from where it is near; the rest of a page, too.
    let far = nats.read(&often, first, limit(1)).await.unwrap();
    assert_eq!(far.events.len(), 1);
    nats.read(&often, far.next, ALL).await.unwrap();
    let near = Cursor::new(head.epoch, head.sequence.previous().previous());
    assert_eq!(read_after(&nats, &seldom, near, ALL).await.len(), 1);
    assert_eq!(nats.latest(&often, first, ALL).await.unwrap().events.len(), 1);
    let moment = nats.cursor_at(tidewire_core::UnixMillis(0)).await.unwrap();
    assert_eq!(moment, first);
    let edge = EdgeNumber(7);
    let mut heard = nats.listen(edge).await.unwrap();
    nats.say(edge, "word".into()).await.unwrap();
    assert_eq!(heard.next().await.unwrap(), "word");
    nats.close().await;
}

#[tokio::test]
async fn what_the_documents_name_is_enough() {
    let servers = server(PERMISSIONS).await;
    as_ingest(&servers, "ingest", StreamPolicy::Create, FAR).await;
    as_ingest(&servers, "ingest-require", StreamPolicy::Require, 4).await;
    as_edge(&servers).await;
    assert_eq!(violations(&servers), [""; 0]);
}

/// The user's lines that allow something, by their place in the file.
fn lines_of(user: &str) -> Vec<usize> {
    let lines: Vec<_> = PERMISSIONS.lines().collect();
    let names_user = |line: &&str| line.trim().starts_with(&format!("user: {user},"));
    let begin = lines.iter().position(names_user).unwrap();
    let end = begin + lines[begin..].iter().position(|line| *line == "      }").unwrap();
    (begin..end).filter(|n| lines[*n].trim().starts_with('"')).collect()
}

/// The file with something else in the place of one line, and the subject that it allowed.
fn without(line: usize) -> (String, String) {
    let mut lines: Vec<_> = PERMISSIONS.lines().collect();
    let subject = lines[line].split('"').nth(1).unwrap().to_owned();
    lines[line] = "\"something.else\"";
    (lines.join("\n"), subject)
}

/// Without one line, what its user does is not done, or leaves something behind; and the server
/// says that it was this.
async fn is_needed(user: &'static str, line: usize) {
    let (permissions, subject) = without(line);
    let servers = server(&permissions).await;
    let life = async {
        if user == "edge" {
            as_ingest(&servers, "ingest", StreamPolicy::Create, 8).await;
            as_edge(&servers).await;
        } else if user == "ingest" {
            as_ingest(&servers, user, StreamPolicy::Create, 8).await;
        } else {
            let maker = Nats::start(of(&servers, "ingest", Some(StreamPolicy::Create))).await;
            until_usable(&maker.unwrap()).await;
            as_ingest(&servers, user, StreamPolicy::Require, 8).await;
        }
    };
    let refused = || violations(&servers).iter().any(|line| line.contains(prefix(&subject)));
    let is_refused = async {
        while !refused() {
            sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        biased;
        () = is_refused => {}
        () = life => assert!(subject.contains("DELETE"), "{user} does without {subject}"),
    }
    until("the server names what it refused", || async { refused() }).await;
    for line in violations(&servers) {
        assert!(line.contains(prefix(&subject)), "{subject} was taken away: {line}");
        assert!(names(&line, user), "{line}");
    }
}

/// Whether a line of the log is about a user: servers before 2.12 write it in another way.
fn names(line: &str, user: &str) -> bool {
    line.contains(&format!("user:{user}\"")) || line.contains(&format!("User \"{user}\""))
}

fn prefix(subject: &str) -> &str {
    subject.trim_end_matches(['*', '>'])
}

#[tokio::test]
async fn each_permission_is_needed() {
    let users = ["ingest", "ingest-require", "edge"];
    let cases = users.iter().flat_map(|user| lines_of(user).into_iter().map(|n| (*user, n)));
    let cases: Vec<_> = cases.collect();
    assert_eq!(cases.len(), 4 + 3 + 8);
    join_all(cases.into_iter().map(|(user, line)| is_needed(user, line))).await;
}

#[test]
fn the_document_names_what_the_file_holds() {
    let row = |begin: &str| {
        let mut rows = DOCUMENT.lines().filter(|line| line.starts_with(begin));
        rows.next().unwrap_or_else(|| panic!("no row begins {begin:?}"))
    };
    for (user, row) in [("ingest", row("| ingest | `tw")), ("edge", row("| edge | `$JS"))] {
        let named = lines_of(user).into_iter().map(|line| without(line).1);
        let shown: Vec<_> = row.split('`').skip(1).step_by(2).collect();
        assert_eq!(named.collect::<Vec<_>>(), shown);
    }
}

#[tokio::test]
async fn a_password_of_a_part_opens_nothing_that_is_not_its_own() {
    let servers = server(PERMISSIONS).await;
    let _ingest = as_ingest(&servers, "ingest", StreamPolicy::Create, 8).await;
    let everyone = [
        "$JS.API.STREAM.DELETE.TIDEWIRE",
        "$JS.API.STREAM.PURGE.TIDEWIRE",
        "$JS.API.STREAM.UPDATE.TIDEWIRE",
        "$JS.API.STREAM.MSG.DELETE.TIDEWIRE",
        "$JS.API.STREAM.SNAPSHOT.TIDEWIRE",
        "$JS.API.STREAM.INFO.OTHER",
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.DIRECT.GET.TIDEWIRE",
        "$JS.API.CONSUMER.DURABLE.CREATE.TIDEWIRE.x",
        "tw.OTHER.x",
        "$JS.ACK.TIDEWIRE.x.1.1.1.1.1",
    ];
    let ingest_not = [
        "$JS.API.CONSUMER.CREATE.TIDEWIRE.x",
        "$JS.API.CONSUMER.MSG.NEXT.TIDEWIRE.x",
        "$JS.API.STREAM.MSG.GET.TIDEWIRE",
        "twedge.TIDEWIRE.00000007",
    ];
    let edge_not = ["tw.TIDEWIRE.often", "twedge.OTHER.00000007", "$JS.API.STREAM.CREATE.TIDEWIRE"];
    for (user, others) in
        [("ingest", &ingest_not[..]), ("ingest-require", &ingest_not[..]), ("edge", &edge_not[..])]
    {
        let client = client(&servers, user).await;
        for subject in everyone.iter().chain(others) {
            client.publish(*subject, "{}".into()).await.unwrap();
            until_refused(&servers, user, "Publish", subject).await;
        }
        for subject in ["tw.TIDEWIRE.>", ">", "_INBOX.>", "$JS.API.>", "twedge.>"] {
            // The client leaves it to the server to refuse.
            let _refused = client.subscribe(subject).await.unwrap();
            until_refused(&servers, user, "Subscription", subject).await;
        }
    }
}

async fn until_refused(servers: &NatsCluster, user: &str, what: &str, subject: &str) {
    let refused = [format!("{what} Violation"), format!("Subject \"{subject}\"")];
    let is_it = |line: &String| names(line, user) && refused.iter().all(|part| line.contains(part));
    let is_told = || async { violations(servers).iter().any(is_it) };
    until(subject, is_told).await;
}
