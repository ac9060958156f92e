//! What a client does when its stream ends and when it is refused, as a row of the documents' table.

use std::fmt;

use crate::{
    client::{Client, Program, Said},
    gate::{self, Seen},
    hub::{Form, Hub, text},
};

/// Streams end soon, and so do drains.
const SHORT_LIVES: [&str; 4] = ["--connection-age-max", "1s", "--drain-window", "1s"];
/// Streams end late enough that who takes the only place keeps it until another was refused.
const ROOM_FOR_ONE: [&str; 4] = ["--connections-max", "1", "--connection-age-max", "3s"];
const ROTATIONS: usize = 3;
/// As many in each round: before each rotation, before the drain and after it.
const EVENTS: usize = 1_000;
const ROUND: usize = EVENTS / (ROTATIONS + 2);

/// A row to be found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) program: Program,
    pub(crate) form: Form,
    /// What it needs in its URL, such as `&end=abort`.
    pub(crate) needs: &'static str,
}

/// What becomes of a client.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    ComesBack,
    /// It comes back, and what was published meanwhile is lost to it.
    LosesItsPlace,
    Stops,
    /// Its library has ended, or failed; whoever called it comes back.
    ByHand(Said),
}

impl Candidate {
    /// Its cells in the documents' table.
    pub(crate) async fn cells(self) -> String {
        let eof = self.ended("&end=eof").await;
        let abort = self.ended("&end=abort").await;
        let (soft, _) = self.refused("&overload=soft").await;
        let (status, seen) = self.refused("&overload=status").await;
        let place = match (seen.by_header, seen.by_query) {
            (1.., 0) => "header",
            (1.., 1..) => "header, query",
            other => panic!("it names no place: {other:?}"),
        };
        let needs = match self.needs.strip_prefix('&') {
            Some(needs) => format!("`{needs}`"),
            None => "nothing".into(),
        };
        self.lives().await;
        format!("{eof} | {abort} | {soft} | {status} | {place} | {needs} | right |")
    }

    /// What it does when its first stream ends before there was an event.
    async fn ended(self, end: &str) -> Outcome {
        let hub = Hub::embedded(&SHORT_LIVES).await;
        let mut client = Client::start(self.program, &hub, end).await;
        client.gate.hold();
        client.gate.until(|seen| seen.ended == 1).await;
        hub.publish(self.form, 1..2).await;
        client.gate.release();
        self.goes_on(&mut client, &hub, 0).await
    }

    /// What it does when the hub is full where it comes back to; and what was seen of it.
    async fn refused(self, overload: &str) -> (Outcome, Seen) {
        let hub = Hub::embedded(&ROOM_FOR_ONE).await;
        let query = format!("{}{overload}", self.needs);
        let mut client = Client::start(self.program, &hub, &query).await;
        client.gate.hold();
        client.gate.until(|seen| seen.begun == 1).await;
        hub.publish(self.form, 0..1).await;
        client.expect(0..1).await;
        client.gate.until(|seen| seen.ended == 1).await;
        hub.publish(self.form, 1..2).await;
        let occupant = hub.occupy().await;
        client.gate.release();
        client.gate.until(|seen| seen.refused > 0).await;
        drop(occupant);
        let outcome = self.goes_on(&mut client, &hub, 1).await;
        (outcome, client.gate.seen())
    }

    /// Waits for what was published while it was away, as number 1; what comes later is number 2.
    async fn goes_on(self, client: &mut Client, hub: &Hub, ends_before: usize) -> Outcome {
        let is_back = gate::until(client.gate.watch(), |seen| seen.begun >= 2);
        let next = tokio::select! {
            next = client.event() => next,
            () = is_back => {
                hub.publish(self.form, 2..3).await;
                client.event().await
            }
        };
        let Some(next) = next else { return Outcome::Stops };
        if next == text(2) {
            return Outcome::LosesItsPlace;
        }
        assert_eq!(next, text(1));
        client.ends.drain(..).nth(ends_before).map_or(Outcome::ComesBack, Outcome::ByHand)
    }

    /// Gets events right and in order through three rotations, a drain and a restart.
    async fn lives(self) {
        let mut hub = Hub::embedded(&SHORT_LIVES).await;
        let mut client =
            Client::start(self.program, &hub, &format!("&from=earliest{}", self.needs)).await;
        for round in 0..ROTATIONS {
            hub.publish(self.form, round * ROUND..(round + 1) * ROUND).await;
            client.expect(round * ROUND..(round + 1) * ROUND).await;
            client.gate.until(|seen| seen.begun >= round + 2).await;
        }
        let (before_drain, after) = (EVENTS - 2 * ROUND..EVENTS - ROUND, EVENTS - ROUND..EVENTS);
        hub.publish(self.form, before_drain.clone()).await;
        client.expect(before_drain).await;
        assert!(hub.edge.terminate().await.success(), "it drains");
        hub.edge.launch_again();
        hub.edge.ready().await;
        hub.publish(self.form, after.clone()).await;
        client.expect(after).await;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ComesBack => "comes back",
            Self::LosesItsPlace => "comes back, its place lost",
            Self::Stops => "stops",
            Self::ByHand(Said::Ended) => "ends: by hand",
            Self::ByHand(_) => "fails: by hand",
        })
    }
}
