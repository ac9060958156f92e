//! What a subscriber finds behind a proxy, as a row of the documents' table.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::{
    hub::{Hub, texts},
    proxy::Proxy,
    stream::{Front, SILENCE, Stream},
};

/// What comes later was held back.
const IN_TIME: Duration = Duration::from_secs(2);
/// Less than a kernel waits before it acknowledges what nobody answers (Linux: 40 ms), and more than the
/// fastest of nine events needs on a busy machine.
const DELAY_MIN: Duration = Duration::from_millis(35);
const EVENTS: usize = 10;

#[derive(Debug, Default)]
pub(crate) struct Finding {
    head_in_time: bool,
    first_in_time: bool,
    isolated_in_time: bool,
    held: Held,
    resumed: bool,
}

#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    /// Every event for a moment.
    Moments,
    /// The last event, until there is another.
    OneEvent,
    Everything,
}

/// Looks at a stream that begins with a history of 40 KiB, as one does that resumes.
pub(crate) async fn look(hub: &Hub, proxy: &Proxy, front: Front, topic: &str) -> Finding {
    let history: Vec<_> = (0..10).map(|n| format!("{n}{}", "x".repeat(4096))).collect();
    hub.publish(topic, &history).await;
    let mut found = Finding::default();
    let mut stream = Stream::open(proxy, front, &format!("topic={topic}&from=earliest"), None);
    found.head_in_time = timeout(IN_TIME, stream.head()).await.is_ok();
    found.first_in_time = timeout(IN_TIME, stream.frame()).await.is_ok();
    // The silence after what there is: whatever is not there by then is held back.
    while let Ok(Some(_)) = timeout(SILENCE, stream.event()).await {}

    let live = texts(0..EVENTS);
    hub.publish(topic, &live[..1]).await;
    found.isolated_in_time = comes(&mut stream, &live[0]).await.is_some();
    let last_id = if found.isolated_in_time {
        let (fastest, last_id) = one_by_one(hub, &mut stream, topic, &live[1..]).await;
        eprintln!("{front:?}: an event takes {} ms at best", fastest.as_millis());
        found.held = if fastest > DELAY_MIN { Held::Moments } else { Held::Nothing };
        last_id
    } else {
        let cursor = hub.publish(topic, &live[1..2]).await;
        let came = comes(&mut stream, &live[0]).await.is_some();
        found.held = if came { Held::OneEvent } else { Held::Everything };
        cursor
    };
    drop(stream);
    found.resumed = resume(hub, proxy, front, topic, &last_id).await;
    found
}

/// Publishes each event when the one before has come. Returns how long the fastest took, and the id
/// of the last.
async fn one_by_one(
    hub: &Hub,
    stream: &mut Stream,
    topic: &str,
    texts: &[String],
) -> (Duration, String) {
    let (mut fastest, mut last_id) = (Duration::MAX, String::new());
    for text in texts {
        let published = Instant::now();
        hub.publish(topic, std::slice::from_ref(text)).await;
        last_id = comes(stream, text).await.expect("as the one before");
        fastest = fastest.min(published.elapsed());
    }
    (fastest, last_id)
}

/// The id of an event, if it comes in time. Others may come before it.
async fn comes(stream: &mut Stream, text: &str) -> Option<String> {
    let wanted = async {
        loop {
            let event = stream.event().await.expect("the stream goes on");
            if event.data == text {
                return event.id;
            }
        }
    };
    timeout(IN_TIME, wanted).await.ok()
}

/// Whether one that comes back gets what was published meanwhile, and nothing else, in time.
async fn resume(hub: &Hub, proxy: &Proxy, front: Front, topic: &str, last_id: &str) -> bool {
    let missed = texts(EVENTS..EVENTS + 3);
    hub.publish(topic, &missed).await;
    let mut stream = Stream::open(proxy, front, &format!("topic={topic}"), Some(last_id));
    timeout(IN_TIME, stream.expect(&missed)).await.is_ok()
}

impl Finding {
    /// Its cells in the documents' table.
    pub(crate) fn cells(&self) -> String {
        let time = |in_time| if in_time { "in time" } else { "late" };
        let held = match self.held {
            Held::Nothing => "nothing",
            Held::Moments => "each event, for a moment",
            Held::OneEvent => "the last event",
            Held::Everything => "everything",
        };
        let isolated = if self.isolated_in_time { "comes" } else { "does not come" };
        let resumed = if self.resumed { "right" } else { "late" };
        let (head, first) = (time(self.head_in_time), time(self.first_in_time));
        format!("{head} | {first} | {held} | {isolated} | {resumed} |")
    }
}
