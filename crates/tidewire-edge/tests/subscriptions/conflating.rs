//! Who has fallen behind what memory holds, and wants the newest of each topic then.

use std::collections::HashMap;

use tidewire_core::{Cursor, Sequence};
use tidewire_edge::{Config, Conflate, From, SubscribeRequest};

use super::timing::{Reader, Story};

const CONFLATED: &str = "event: tidewire.conflated\n";

fn conflating(from: Cursor) -> impl Fn(&mut SubscribeRequest) {
    move |request| {
        request.last_event_id = Some(from.to_string());
        request.conflate = Conflate::Topic;
    }
}

/// A log of so many events, of which an edge holds the newest 50.
async fn begin(events: usize) -> (Story, Cursor) {
    let mut story = Story::begin_with(Config { window_events_max: 50, ..Config::default() });
    for _ in 0..events {
        story.publish();
    }
    while story.edge.trouble().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let head = story.log.lock().head();
    (story, Cursor::new(head.epoch, Sequence::ZERO))
}

/// What comes until a frame of this kind has.
async fn read_until(reader: &mut Reader, wanted: &str) -> String {
    let mut said = String::new();
    while !said.contains(wanted) {
        said.push_str(&reader.next().await);
    }
    said
}

fn ids(said: &str) -> Vec<&str> {
    said.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}

/// Each topic's newest event, in the order of the log.
fn newest(story: &Story) -> Vec<Cursor> {
    let log = story.log.lock();
    let events = &log.truth[&log.head().epoch];
    let newest: HashMap<_, _> =
        events.iter().map(|event| (&event.event.topic, event.cursor)).collect();
    let mut newest: Vec<_> = newest.into_values().collect();
    newest.sort_by_key(|cursor| cursor.sequence);
    newest
}

#[tokio::test(start_paused = true)]
async fn who_is_behind_is_told_and_gets_each_topics_newest_event_and_then_everything() {
    let (mut story, start) = begin(500).await;
    let mut reader = story.subscribe(">", conflating(start)).await;
    assert!(reader.next().await.contains("\"resumed\""));
    let said = read_until(&mut reader, "event: tidewire.cursor\n").await;
    let head = story.log.lock().head();
    let data = format!("data: {{\"from\":\"{start}\",\"to\":\"{head}\"}}\n\n");
    assert!(said.starts_with(&format!("{CONFLATED}id: {start}~\n{data}")), "{said}");
    let expected: Vec<_> = newest(&story).iter().map(ToString::to_string).collect();
    let said = ids(&said);
    let came: Vec<_> = said[1..said.len() - 1].iter().map(|id| id.trim_end_matches('~')).collect();
    assert_eq!(came, expected);
    assert_eq!(*said.last().unwrap(), head.to_string(), "it is over");
    for _ in 0..20 {
        story.publish();
        let head = story.log.lock().head();
        assert_eq!(ids(&reader.next().await), [head.to_string()], "every event from there on");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_meanwhile_gets_the_rest_and_no_topic_twice() {
    let (story, start) = begin(500).await;
    let mut reader = story.subscribe(">", conflating(start)).await;
    reader.next().await;
    let whole = read_until(&mut reader, "event: tidewire.cursor\n").await;
    let whole = ids(&whole);
    for (arrived, id) in whole.iter().enumerate().take(whole.len() - 2) {
        // Whether it asks for that again or not.
        for conflate in [Conflate::Topic, Conflate::None] {
            let mut reader = story
                .subscribe(">", |request| {
                    request.last_event_id = Some((*id).to_owned());
                    request.conflate = conflate;
                })
                .await;
            reader.next().await;
            let rest = read_until(&mut reader, "event: tidewire.cursor\n").await;
            assert_eq!(ids(&rest), whole[arrived + 1..], "after {id}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_memory_holds_is_never_conflated_nor_a_topic_that_is_quiet() {
    let (story, start) = begin(500).await;
    let near = Cursor::new(start.epoch, Sequence(460));
    let mut reader = story.subscribe(">", conflating(near)).await;
    reader.next().await;
    let head = story.log.lock().head();
    let said = read_until(&mut reader, &format!("id: {head}\n")).await;
    assert_eq!(ids(&said).len(), 40, "{said}");
    assert!(!said.contains("tidewire.conflated"), "{said}");

    let mut reader = story.subscribe("quiet", conflating(start)).await;
    reader.next().await;
    let said = read_until(&mut reader, "event: tidewire.cursor\n").await;
    assert!(!said.contains("tidewire.conflated"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn it_is_told_without_control_frames_too() {
    let (story, _) = begin(500).await;
    let mut reader = story
        .subscribe(">", |request| {
            request.from = From::Earliest;
            request.control = false;
            request.conflate = Conflate::Topic;
        })
        .await;
    reader.next().await;
    assert!(reader.next().await.starts_with(CONFLATED));
    let last = newest(&story).pop().unwrap();
    let said = read_until(&mut reader, &format!("id: {last}\n")).await;
    assert!(!said.contains("event: "), "its last event says that it is over: {said}");
}
