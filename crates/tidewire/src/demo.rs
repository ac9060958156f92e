//! `tidewire demo`: this machine's own figures as events.

mod figures;

use std::{collections::VecDeque, process::ExitCode, time::Duration};

use anyhow::Context;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tidewire_client::{
    EventData, EventType, NewEvent, Pending, PublishError, PublishStream, Publisher, Receipt,
    StreamOptions, Topic, limits::EVENT_BYTES_MAX_DEFAULT,
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use self::figures::{Figure, Figures};
use crate::{cli::DemoArgs, output, settings::units::as_duration, signals::Signals};

/// Events kept while the hub is away; then the oldest are dropped.
const KEPT_MAX: usize = 10_000;
/// Events on their way at once.
const IN_FLIGHT_MAX: usize = 256;
/// A hub that answers nothing for so long is away.
const AWAY_AFTER: Duration = Duration::from_secs(3);
/// The stream never gives up by itself: ten years.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long what is on its way may take at the end.
const FINISH_MAX: Duration = Duration::from_secs(2);

pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let signals = Signals::catch().context("signals")?;
    let shutdown = CancellationToken::new();
    let stream = Publisher::connect(&args.url)?.stream(StreamOptions {
        in_flight_max: IN_FLIGHT_MAX,
        give_up_after: GIVE_UP_AFTER,
        ..StreamOptions::default()
    });
    let mut demo = Demo::new(&stream, &args.url)?;
    output::note(introduction(&args));
    let published = signals.while_doing(&shutdown, demo.publish(args.interval, &shutdown)).await;
    drop(demo);
    match published {
        Ok(outcome) => {
            // What has no receipt by then is a figure of a moment that is over.
            let _late = timeout(FINISH_MAX, stream.finish()).await;
            outcome.map(|()| ExitCode::SUCCESS)
        }
        Err(code) => Ok(code),
    }
}

fn introduction(args: &DemoArgs) -> String {
    format!(
        "Publishing this machine's figures every {} to {}, on topics below machine.
Look at them on the hub's page, or with `tidewire subscribe --topic 'machine.>'`. Ctrl-C ends it.",
        as_duration(args.interval),
        args.url
    )
}

struct Demo<'a> {
    figures: Figures,
    stream: &'a PublishStream,
    url: &'a str,
    /// Measured, and not handed to the stream yet.
    kept: VecDeque<NewEvent>,
    on_the_way: FuturesUnordered<Pending>,
    /// When the hub last answered, or began to owe an answer.
    last_answer: Instant,
    is_away: bool,
    /// Events dropped since the hub went away.
    dropped: usize,
}

impl<'a> Demo<'a> {
    fn new(stream: &'a PublishStream, url: &'a str) -> anyhow::Result<Self> {
        Ok(Self {
            figures: Figures::new().context("cannot measure this machine")?,
            stream,
            url,
            kept: VecDeque::new(),
            on_the_way: FuturesUnordered::new(),
            last_answer: Instant::now(),
            is_away: false,
            dropped: 0,
        })
    }

    /// Measures and publishes until shutdown, or until the hub refuses a figure for good.
    async fn publish(
        &mut self,
        measure_interval: Duration,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut ticks = interval(measure_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => self.measure()?,
                Some(answer) = self.on_the_way.next() => self.take(answer)?,
                sent = send_first(self.stream, &self.kept) => self.sent(sent?),
            }
        }
    }

    fn measure(&mut self) -> anyhow::Result<()> {
        for figure in self.figures.sample() {
            self.kept.push_back(event_of(figure)?);
        }
        let too_many = self.kept.len().saturating_sub(KEPT_MAX);
        self.kept.drain(..too_many);
        if too_many > 0 && self.dropped == 0 {
            output::note(format_args!("more than {KEPT_MAX} are kept: dropping the oldest"));
        }
        self.dropped += too_many;

        let is_owed = !self.on_the_way.is_empty();
        if is_owed && !self.is_away && self.last_answer.elapsed() >= AWAY_AFTER {
            self.is_away = true;
            output::note(format_args!(
                "no answer from {}: keeping what is measured (is a hub running there? `tidewire \
                 standalone` starts one)",
                self.url
            ));
        }
        Ok(())
    }

    fn sent(&mut self, pending: Pending) {
        if self.on_the_way.is_empty() {
            self.last_answer = Instant::now();
        }
        self.kept.pop_front();
        self.on_the_way.push(pending);
    }

    fn take(&mut self, answer: Result<Receipt, PublishError>) -> anyhow::Result<()> {
        answer.with_context(|| format!("{} refuses a figure", self.url))?;
        self.last_answer = Instant::now();
        if self.is_away {
            let (kept, dropped) = (self.kept.len() + self.on_the_way.len(), self.dropped);
            output::note(format_args!(
                "{} answers again: sending {kept} that were kept; {dropped} were dropped",
                self.url
            ));
            (self.is_away, self.dropped) = (false, 0);
        }
        Ok(())
    }
}

/// Hands the oldest event over, as soon as there is room for it; waits for ever where there is
/// none. Dropped while it waits, it has done nothing.
async fn send_first(
    stream: &PublishStream,
    kept: &VecDeque<NewEvent>,
) -> Result<Pending, PublishError> {
    match kept.front() {
        Some(event) => stream.send(event.clone()).await,
        None => std::future::pending().await,
    }
}

fn event_of(figure: Figure) -> anyhow::Result<NewEvent> {
    let data = EventData::parse(figure.data.to_string(), EVENT_BYTES_MAX_DEFAULT)?;
    let mut event = NewEvent::new(Topic::parse(&figure.topic)?, data);
    event.event_type = EventType::parse(figure.event_type)?;
    Ok(event)
}
