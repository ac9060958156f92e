//! `tidewire subscribe`: events as they come, across every interruption.

use std::{
    io::{self, ErrorKind},
    process::ExitCode,
};

use anyhow::Context;
use serde_json::json;
use tidewire_client::{Envelope, Item, OnGap, Resume, Subscriber, TopicFilter};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{AfterGap, SubscribeArgs},
    cloud_event, output,
    signals::Signals,
};

pub(crate) async fn run(args: SubscribeArgs) -> anyhow::Result<ExitCode> {
    let mut subscriber = subscriber(&args)?;
    let signals = Signals::catch().context("signals")?;
    let shutdown = CancellationToken::new();
    let printer = Printer { as_json: args.json, url: args.url };
    let left = args.count.map(Into::into);
    let work = shutdown.run_until_cancelled(print_items(&mut subscriber, &printer, left));
    match signals.while_doing(&shutdown, work).await {
        Ok(None | Some(Ok(()))) => Ok(ExitCode::SUCCESS),
        Ok(Some(Err(error))) => Err(error),
        Err(code) => Ok(code),
    }
}

fn subscriber(args: &SubscribeArgs) -> anyhow::Result<Subscriber> {
    let filters = args.topic.iter().map(|filter| TopicFilter::parse(filter));
    let builder = Subscriber::builder(args.url.as_str())
        .filters(filters.collect::<Result<Vec<_>, _>>()?)
        .envelope(Envelope::CloudEvents)
        .from(args.from.clone())
        .on_gap(match args.on_gap {
            AfterGap::Earliest => OnGap::Earliest,
            AfterGap::Now => OnGap::Now,
        });
    let builder = match args.last_event_id {
        Some(cursor) => builder.cursor(cursor),
        None => builder,
    };
    Ok(builder.build()?)
}

/// Prints until so many events are left, the hub says not to come back, or nobody reads.
async fn print_items(
    subscriber: &mut Subscriber,
    printer: &Printer,
    mut left: Option<u64>,
) -> anyhow::Result<()> {
    while left != Some(0) {
        let item = subscriber.next().await?;
        match printer.print(&item) {
            Err(error) if is_closed_pipe(&error) => return Ok(()),
            printed => printed?,
        }
        match item {
            Item::Event { .. } => left = left.map(|left| left - 1),
            Item::Ended => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

struct Printer {
    as_json: bool,
    url: String,
}

impl Printer {
    /// Events go to standard output. What happened to the way there goes to standard error, and
    /// as JSON to standard output too.
    fn print(&self, item: &Item) -> anyhow::Result<()> {
        if let Some(note) = self.note(item) {
            output::note(note);
        }
        if self.as_json {
            output::line(as_json(item)?)?;
        } else if let Item::Event { cursor, data, .. } = item {
            let event = cloud_event::read(data)?;
            let (topic, event_type) = (event.topic, event.event_type);
            let data = on_one_line(&event.data);
            output::line(format_args!("{cursor}  {topic}  {event_type}  {data}"))?;
        }
        Ok(())
    }

    fn note(&self, item: &Item) -> Option<String> {
        Some(match item {
            Item::Event { .. } => return None,
            Item::Connected { cursor, resume: Resume::Live, .. } => {
                format!("connected to {}: what comes after {cursor}", self.url)
            }
            Item::Connected { cursor, resume: Resume::Resumed, .. } => {
                format!("connected to {}: resuming after {cursor}", self.url)
            }
            Item::Connected { .. } => format!("connected to {}", self.url),
            Item::Gap { reason, requested, resumed_from } => format!(
                "gap ({reason}): what came after {requested} is not all there; going on after \
                 {resumed_from}"
            ),
            Item::Disconnected { reason } => {
                format!("not connected to {}: {reason}; trying again", self.url)
            }
            Item::Ended => "the hub asks not to come back".into(),
        })
    }
}

fn as_json(item: &Item) -> anyhow::Result<serde_json::Value> {
    Ok(match item {
        Item::Event { cursor, data, .. } => {
            let event = cloud_event::read(data)?;
            json!({
                "kind": "event",
                "cursor": cursor.to_string(),
                "topic": event.topic,
                "type": event.event_type,
                "time": event.time,
                "data": event.data,
            })
        }
        Item::Connected { cursor, connection, .. } => json!({
            "kind": "connected",
            "cursor": cursor.to_string(),
            "connection": connection,
        }),
        Item::Gap { reason, requested, resumed_from } => json!({
            "kind": "gap",
            "reason": reason.to_string(),
            "requested": requested,
            "resumed_from": resumed_from.to_string(),
        }),
        Item::Disconnected { reason } => {
            json!({ "kind": "disconnected", "reason": reason.to_string() })
        }
        Item::Ended => json!({ "kind": "ended" }),
    })
}

/// Data as a terminal may have it: whoever publishes must not move the cursor or hide lines.
fn on_one_line(data: &str) -> String {
    let mut line = String::with_capacity(data.len());
    for character in data.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_one_line_and_harmless_on_a_terminal() {
        for (data, shown) in [
            (r#"{"total":12, "name":"Zoë 🦀"}"#, r#"{"total":12, "name":"Zoë 🦀"}"#),
            ("a\nb\r\nc\td", r"a\nb\r\nc\td"),
            ("\u{1b}[2J", r"\u{1b}[2J"),
            ("\u{9b}x", r"\u{9b}x"),
        ] {
            assert_eq!(on_one_line(data), shown);
        }
    }
}
