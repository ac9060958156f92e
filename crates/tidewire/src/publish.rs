//! `tidewire publish`: one event, or each line of standard input.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow};
use axum::http::Uri;
use bytes::Bytes;
use tidewire_client::{
    EventData, EventId, EventType, Invalid, NewEvent, Pending, PublishError, PublishStream,
    Publisher, Receipt, StreamOptions, Topic, limits::EVENT_BYTES_MAX,
};
use tokio::{
    io::{BufReader, stdin},
    net::TcpStream,
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::PublishArgs,
    lines::{Lines, TooLong},
    output,
    signals::Signals,
};

/// Events on their way at once.
const IN_FLIGHT_MAX: usize = 1_024;
/// How long a hub that was there may be away before the rest is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// How long the first look for a hub may take.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: PublishArgs) -> anyhow::Result<ExitCode> {
    let pattern = Pattern::of(&args)?;
    let publisher = Publisher::connect(&args.url)?;
    match args.data {
        Some(data) => publish_one(&publisher, pattern.event(data)?, &args.url).await,
        None => publish_lines(&publisher, pattern, &args.url).await,
    }
}

/// What all events have in common.
struct Pattern(NewEvent);

impl Pattern {
    fn of(args: &PublishArgs) -> anyhow::Result<Self> {
        // The data is replaced: what it holds until then is never seen.
        let mut event = NewEvent::new(Topic::parse(&args.topic)?, EventData::trusted(Bytes::new()));
        event.event_type = EventType::parse(args.event_type.as_deref().unwrap_or_default())?;
        event.id = EventId::parse(args.id.as_deref().unwrap_or_default())?;
        Ok(Self(event))
    }

    fn event(&self, data: impl Into<Bytes>) -> Result<NewEvent, PublishError> {
        let data = EventData::parse(data, EVENT_BYTES_MAX)?;
        Ok(NewEvent { data, ..self.0.clone() })
    }

    fn event_of(&self, text: Result<Bytes, TooLong>) -> Result<NewEvent, PublishError> {
        match text {
            Ok(text) => self.event(text),
            Err(TooLong) => {
                let reason = format!("has more than {EVENT_BYTES_MAX} bytes");
                Err(Invalid::new("data", reason).into())
            }
        }
    }
}

async fn publish_one(
    publisher: &Publisher,
    event: NewEvent,
    url: &str,
) -> anyhow::Result<ExitCode> {
    let receipt = publisher.publish(event).await.map_err(|error| explain(error, url))?;
    output::line(shown(&receipt)).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Says what to start where nobody answers.
fn explain(error: PublishError, url: &str) -> anyhow::Error {
    match error {
        PublishError::Unavailable { .. } => anyhow!(
            "no receipt from {url}: {error} (is a hub running there? `tidewire standalone` starts \
             one; --url names another)"
        ),
        error => error.into(),
    }
}

fn shown(receipt: &Receipt) -> String {
    let Receipt { cursor, duplicate } = receipt;
    if *duplicate { format!("{cursor} duplicate") } else { cursor.to_string() }
}

/// Reads lines and prints receipts side by side, with a bounded number of events between them.
async fn publish_lines(
    publisher: &Publisher,
    pattern: Pattern,
    url: &str,
) -> anyhow::Result<ExitCode> {
    look_for_hub(url).await?;
    if io::stdin().is_terminal() {
        output::note("each line is an event; Ctrl-D ends");
    }
    let signals = Signals::catch().context("signals")?;
    let shutdown = CancellationToken::new();
    let stream = publisher.stream(StreamOptions {
        in_flight_max: IN_FLIGHT_MAX,
        give_up_after: GIVE_UP_AFTER,
        ..StreamOptions::default()
    });
    let (handed_in, answers) = mpsc::channel(IN_FLIGHT_MAX);
    let work = async {
        tokio::join!(send_lines(&pattern, &stream, handed_in, &shutdown), print_receipts(answers))
    };
    let (sent, outcome) = match signals.while_doing(&shutdown, work).await {
        Ok(done) => done,
        Err(code) => return Ok(code),
    };
    // Why it gave up, if it did, stands with each event that has no receipt.
    let _told = stream.finish().await;
    output::note(outcome.summary());
    sent.context("standard input")?;
    Ok(if outcome.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A stream waits long for a hub that went away; one that was never there is better said at once.
async fn look_for_hub(url: &str) -> anyhow::Result<()> {
    let uri: Uri = url.parse().context("--url")?;
    let place = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
    let connecting = timeout(CONNECT_WAIT_MAX, TcpStream::connect(place)).await;
    let unreachable =
        |reason: String| explain(PublishError::Unavailable { reason, retry_after: None }, url);
    match connecting {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable("nobody answers".into())),
    }
}

/// What became of a line: on its way, or refused before it left.
type Sent = (u64, Result<Pending, PublishError>);

async fn send_lines(
    pattern: &Pattern,
    stream: &PublishStream,
    handed_in: Sender<Sent>,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let mut lines = Lines::new(BufReader::new(stdin()), EVENT_BYTES_MAX);
    while let Some(line) = shutdown.run_until_cancelled(lines.next()).await.transpose()?.flatten() {
        let sent = match pattern.event_of(line.text) {
            Ok(event) => stream.send(event).await,
            Err(refusal) => Err(refusal),
        };
        let is_over = matches!(sent, Err(PublishError::StreamOver));
        if handed_in.send((line.number, sent)).await.is_err() || is_over {
            break;
        }
    }
    Ok(())
}

/// How many lines became events.
#[derive(Default)]
struct Outcome {
    stored: u64,
    duplicates: u64,
    failed: u64,
}

impl Outcome {
    fn summary(&self) -> String {
        let Self { stored, duplicates, failed } = self;
        let mut summary = format!("{stored} stored");
        if *duplicates > 0 {
            summary += &format!(", {duplicates} of them before");
        }
        if *failed > 0 {
            summary += &format!("; {failed} not");
        }
        summary
    }
}

async fn print_receipts(mut answers: Receiver<Sent>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut is_read = true;
    while let Some((number, sent)) = answers.recv().await {
        let answer = match sent {
            Ok(pending) => pending.await,
            Err(refusal) => Err(refusal),
        };
        match answer {
            Ok(receipt) => {
                outcome.stored += 1;
                outcome.duplicates += u64::from(receipt.duplicate);
                // Where nobody reads receipts any longer, the events are still wanted.
                is_read = is_read && output::line(shown(&receipt)).is_ok();
            }
            Err(error) => {
                outcome.failed += 1;
                output::note(format_args!("line {number}: {error}"));
            }
        }
    }
    outcome
}
