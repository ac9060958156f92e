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
    time::{sleep, timeout},
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
/// How long a receipt may take before its publisher is told that the hub is away.
const AWAY_AFTER: Duration = Duration::from_secs(3);
/// How long receipts are still waited for after the first signal.
const FINISH_MAX: Duration = Duration::from_secs(3);
/// Lines without a receipt that are named one by one.
const FAILURES_SHOWN_MAX: u64 = 10;
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
        let receipts = Receipts::new(url, &shutdown);
        tokio::join!(send_lines(&pattern, &stream, handed_in, &shutdown), receipts.print(answers))
    };
    let (sent, outcome) = match signals.while_doing(&shutdown, work).await {
        Ok(done) => done,
        Err(code) => return Ok(code),
    };
    // Why it gave up, if it did, stands with each event that has no receipt; after a signal nobody
    // waits for it.
    let _told = shutdown.run_until_cancelled(stream.finish()).await;
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
            Ok(event) => match shutdown.run_until_cancelled(stream.send(event)).await {
                Some(sent) => sent,
                None => break,
            },
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

/// Waits for the lines' receipts, in order, and prints them.
struct Receipts<'a> {
    url: &'a str,
    shutdown: &'a CancellationToken,
    is_away: bool,
    is_read: bool,
    outcome: Outcome,
}

impl<'a> Receipts<'a> {
    fn new(url: &'a str, shutdown: &'a CancellationToken) -> Self {
        Self { url, shutdown, is_away: false, is_read: true, outcome: Outcome::default() }
    }

    async fn print(mut self, mut answers: Receiver<Sent>) -> Outcome {
        while let Some((number, sent)) = answers.recv().await {
            let answer = match sent {
                Ok(pending) => self.wait_for(pending).await,
                Err(refusal) => Err(refusal),
            };
            match answer {
                Ok(receipt) => self.take(&receipt),
                Err(error) => self.note(number, error),
            }
        }
        self.outcome
    }

    /// Waits for a receipt; says so where that takes long, and gives up soon after a signal.
    async fn wait_for(&mut self, mut pending: Pending) -> Result<Receipt, PublishError> {
        if let Ok(answer) = timeout(AWAY_AFTER, &mut pending).await {
            self.is_away = false;
            return answer;
        }
        if !self.is_away {
            self.is_away = true;
            output::note(format_args!(
                "no receipt from {}: trying again for up to {} s; Ctrl-C ends",
                self.url,
                GIVE_UP_AFTER.as_secs()
            ));
        }
        let too_late = async {
            self.shutdown.cancelled().await;
            sleep(FINISH_MAX).await;
        };
        tokio::select! {
            answer = &mut pending => answer,
            () = too_late => Err(PublishError::Unavailable {
                reason: "no receipt had come when it was ended: it may have been stored".into(),
                retry_after: None,
            }),
        }
    }

    fn take(&mut self, receipt: &Receipt) {
        self.outcome.stored += 1;
        self.outcome.duplicates += u64::from(receipt.duplicate);
        // Where nobody reads receipts any longer, the events are still wanted.
        self.is_read = self.is_read && output::line(shown(receipt)).is_ok();
    }

    fn note(&mut self, number: u64, error: PublishError) {
        self.outcome.failed += 1;
        match self.outcome.failed {
            ..=FAILURES_SHOWN_MAX => {
                let error = explain(error, self.url);
                output::note(format_args!("line {number}: {error:#}"));
            }
            failed if failed == FAILURES_SHOWN_MAX + 1 => {
                output::note("further lines without a receipt are only counted");
            }
            _ => {}
        }
    }
}
