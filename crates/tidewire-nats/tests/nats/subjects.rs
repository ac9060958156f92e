//! Topics as subjects, tried on a server: each comes back as it was, under its own filter alone.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tidewire_core::{Backbone as _, Interest, Topic, TopicFilter};
use tidewire_nats::StreamSettings;
use tidewire_testbed::NatsCluster;

use crate::{
    config, event, start,
    steps::{ALL, done, interest, publish_all, read_all, texts},
};

/// What somebody might try, and is a topic.
const NASTY: [&str; 30] = [
    "$JS.API.STREAM.DELETE.TIDEWIRE",
    "$JS.API.STREAM.PURGE.TIDEWIRE",
    "$JS.ACK.TIDEWIRE.x.1.1.1.1.1",
    "$SYS.REQ.SERVER.PING",
    "_INBOX.tidewire.x",
    "_INBOX.tidewire",
    "tw.TIDEWIRE.a",
    "TIDEWIRE",
    "é",
    "e\u{301}",
    "日本.東京.🦀",
    "%",
    "%25",
    "%2A",
    "%2E",
    "%3E",
    "a%2Eb",
    "a%b",
    "%C3%A9",
    "%c3%a9",
    "a:b/c~d-e_f",
    "\"quoted\".{json}.[x]",
    "\\",
    "'",
    "<script>",
    "a,b;c",
    "+",
    "#",
    "A.a",
    "a.A",
];

/// What is no topic.
const REFUSED: [&str; 14] = [
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "*",
    ">",
    "a.*",
    "a.>",
    "a b",
    "a\r\nPUB x 0",
    "a\tb",
    "a\0",
    "\u{feff}a",
];

/// Topics of all sorts of characters, the same ones every time.
fn random_topics(topics: usize) -> impl Iterator<Item = String> {
    const CHARACTERS: [&str; 24] = [
        "a", "b", "Z", "0", ".", ".", "%", "%2", "$", "_", "-", ":", "/", "é", "ß", "日", "🦀",
        "\"", "{", "|", "~", "^", "İ", "ﬁ",
    ];
    let mut random = StdRng::seed_from_u64(11);
    let topic = move || -> String {
        let pieces = random.random_range(1..40);
        (0..pieces).map(|_| CHARACTERS[random.random_range(0..CHARACTERS.len())]).collect()
    };
    std::iter::repeat_with(topic).filter(|text| Topic::parse(text).is_ok()).take(topics)
}

fn all_topics() -> BTreeSet<String> {
    let edges = ["é".repeat(127), "%".repeat(255), ["x"; 16].join("."), "x".repeat(255)];
    let nasty = NASTY.into_iter().filter(|text| !text.contains('>')).map(str::to_owned);
    nasty.chain(edges).chain(random_topics(400)).collect()
}

#[tokio::test]
async fn every_topic_comes_back_under_its_own_filter_and_no_other() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let topics = all_topics();
    publish_all(&nats, topics.iter().map(|topic| event(topic, topic.clone()))).await;

    let everything = read_all(&nats, &Interest::everything()).await;
    assert!(texts(&everything).into_iter().eq(topics.iter()));
    assert!(
        everything
            .iter()
            .all(|event| event.event.topic.as_str() == texts(std::slice::from_ref(event))[0])
    );
    // The server picks these out by its own filter.
    let begin = nats.bounds().await.unwrap().start();
    let latest = topics.iter().map(|topic| {
        let (nats, wanted) = (&nats, interest(&[topic]));
        async move { nats.latest(&wanted, begin, ALL).await.unwrap() }
    });
    for (page, topic) in join_all(latest).await.iter().zip(&topics) {
        assert_eq!(texts(&page.events), [topic.as_str()]);
    }
}

#[tokio::test]
async fn wildcards_pick_out_what_the_reference_matcher_does() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let topics = all_topics();
    publish_all(&nats, topics.iter().map(|topic| event(topic, topic.clone()))).await;
    let begin = nats.bounds().await.unwrap().start();
    for filters in [
        &["*"][..],
        &["*.*"],
        &["$JS.>"],
        &["$JS.API.STREAM.*.TIDEWIRE", "_INBOX.>"],
        &["_INBOX.*", "é", "%.>"],
        &["tw.>", "tw.*.a", "*.A"],
        &[">"],
    ] {
        let wanted = interest(filters);
        let expected: Vec<_> =
            topics.iter().filter(|topic| wanted.wants(&Topic::parse(topic).unwrap())).collect();
        let page = nats.latest(&wanted, begin, ALL).await.unwrap();
        assert_eq!(texts(&page.events), expected, "{filters:?}");
        assert_eq!(texts(&read_all(&nats, &wanted).await), expected, "{filters:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_topic_reaches_the_server_but_plain_characters() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let too_long = "x".repeat(256);
    let too_deep = ["x"; 17].join(".");
    for text in REFUSED.into_iter().chain([&*too_long, &*too_deep]) {
        assert!(Topic::parse(text).is_err(), "{text:?}");
        assert!(["*", ">", "a.*", "a.>"].contains(&text) || TopicFilter::parse(text).is_err());
    }
    let topics = all_topics();
    publish_all(&nats, topics.iter().map(|topic| event(topic, "x"))).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let question = json!({ "subjects_filter": ">" });
    let info = done(&client, "STREAM.INFO.TIDEWIRE", question).await;
    let subjects = info["state"]["subjects"].as_object().unwrap();
    assert_eq!(subjects.len(), topics.len());
    for subject in subjects.keys() {
        let tokens = subject.strip_prefix("tw.TIDEWIRE.").unwrap();
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-%.".contains(&b);
        assert!(
            tokens.bytes().all(is_plain) && tokens.split('.').all(|t| !t.is_empty()),
            "{subject}"
        );
    }
    assert!(!servers.log(0).contains("[ERR]"), "{}", servers.log(0));
}
