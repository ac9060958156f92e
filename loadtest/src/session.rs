//! One server's turn: clients come, events flow, and it is said what that cost and whether all came.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    agreement::{Counted, Told},
    content::Content,
    fleet::{Coming, Fleet, Verdict},
    flow::{Flow, Wanted},
    network,
    server::{Peer, Server},
    source::numbered::{Numbered, Schedule},
    timeline::{Sample, Timeline},
    usage,
};

/// How often a timeline has a look.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between the last delivery of one phase and the next phase.
const PAUSE: Duration = Duration::from_millis(300);
/// Bursts before anything counts: what is touched for the first time costs more.
const WARM_UP: Schedule = Schedule { rate: 2.0, burst: 1, bursts: 2 };

/// What a turn is like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) connections: u64,
    pub(crate) topics: u64,
    /// What each connection wants, in turn.
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) event_bytes: usize,
    pub(crate) content: Content,
    pub(crate) phases: Vec<Measured>,
    /// Events that are there before anybody comes, and that each gets at once.
    pub(crate) replayed: u64,
    /// How long a server may settle before its memory is read.
    pub(crate) settle: Duration,
}

/// What a phase is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Of {
    /// What the server's processor does: receiving is steered away from it.
    Processor,
    /// How long deliveries take: receiving is not steered.
    Latency,
}

/// A phase that is to be measured.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// In words.
    pub(crate) what: String,
    pub(crate) of: Of,
    pub(crate) schedule: Schedule,
}

impl Shape {
    /// All connections want the one topic there is.
    pub(crate) fn of_one_topic(connections: u64, event_bytes: usize, settle: Duration) -> Self {
        let (wanted, phases) = (vec![Wanted::One(0)], Vec::new());
        let content = Content::Letter;
        Self { connections, topics: 1, wanted, event_bytes, content, phases, replayed: 0, settle }
    }
}

/// What a turn has shown.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Turn {
    pub(crate) peer: Peer,
    pub(crate) connections: u64,
    /// Whether it was a turn like those of the other servers, to be compared.
    pub(crate) is_compared: bool,
    /// Where that was looked at.
    pub(crate) each: Option<Each>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) verdict: Verdict,
    pub(crate) timeline: Vec<Sample>,
}

/// What each connection cost the server.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Each {
    /// Processor time: accept, request, head, hello, and what is replayed.
    pub(crate) connect_us: f64,
    /// Private memory before the first event, and after the last.
    pub(crate) idle_bytes: f64,
    pub(crate) after_bytes: f64,
}

/// What a phase of a turn has shown.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Phase {
    /// In words.
    pub(crate) what: String,
    pub(crate) of: Of,
    /// Segments that TCP had to send again, in this network.
    pub(crate) retransmissions: u64,
    /// Events of a burst.
    pub(crate) burst: u64,
    pub(crate) published: u64,
    pub(crate) deliveries: u64,
    /// What clients received for each delivery, in bytes: what TCP carried, with what chunks and the
    /// hub's own frames need.
    pub(crate) wire_bytes: f64,
    pub(crate) seconds: f64,
    /// The server's processor time for each delivery: its own, and the kernel's for it.
    pub(crate) own_us: f64,
    pub(crate) kernel_us: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Of how long deliveries took, what the hub itself tells.
    pub(crate) told: Option<Told>,
}

impl Turn {
    /// Its first phase for this, with bursts of a wanted size.
    pub(crate) fn phase(&self, of: Of, is_wanted: impl Fn(u64) -> bool) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.of == of && is_wanted(phase.burst))
    }
}

impl Phase {
    pub(crate) fn cpu_us(&self) -> f64 {
        self.own_us + self.kernel_us
    }

    /// By how many deliveries the hub's count is another than that of its clients.
    fn miscounted(&self) -> u64 {
        self.told.map_or(0, |told| told.deliveries.abs_diff(self.deliveries))
    }
}

/// Runs one turn of a kind of server.
pub(crate) async fn run(peer: Peer, shape: &Shape) -> anyhow::Result<Turn> {
    run_on(Server::start(peer).await?, shape).await
}

/// The same, as one of several servers that are compared.
pub(crate) async fn run_compared(peer: Peer, shape: &Shape) -> anyhow::Result<Turn> {
    Ok(Turn { is_compared: true, ..run(peer, shape).await? })
}

/// Runs one turn of a server that has just been started.
#[expect(clippy::cast_precision_loss, reason = "counts and sizes are far below 2^52")]
pub(crate) async fn run_on(mut server: Server, shape: &Shape) -> anyhow::Result<Turn> {
    let pids = server.pids();
    let connections = shape.connections.max(1) as f64;
    let flow = Flow { number: 0, topics: shape.topics };
    let mut fleet = Fleet::start_for(server.peer, shape.connections)?;
    let mut numbered = Numbered::new(&server, flow, shape.event_bytes).await?;
    numbered.content = shape.content;
    if shape.replayed > 0 {
        numbered.publish(Schedule { bursts: 1, burst: shape.replayed, ..WARM_UP }).await?;
        server.path[1] = format!("&from=last:{}", shape.replayed);
    }
    sleep(PAUSE).await;
    let memory_before = usage::private_bytes(&pids)?;
    let each = |memory: u64| (memory as f64 - memory_before as f64) / connections;

    let cpu_before: f64 = usage::cpu_times(&pids)?.iter().sum();
    let (wanted, count) = (shape.wanted.clone(), shape.connections);
    let coming = Coming { flow, wanted, count, is_before: true, rate: 0 };
    fleet.open(&server, &coming).await?;
    fleet.all_live().await?;
    if shape.replayed > 0 {
        fleet.settle(&numbered.record).await?;
    }
    let cpu_after: f64 = usage::cpu_times(&pids)?.iter().sum();
    let connect_us = (cpu_after - cpu_before) * 1e6 / connections;
    sleep(shape.settle).await;
    let idle_bytes = each(usage::private_bytes(&pids)?);

    let timeline = Timeline::start(fleet.heard.clone(), pids.clone(), LOOK_EVERY, None);
    let what = "before it counts".to_owned();
    let warm_up = Measured { what, of: Of::Processor, schedule: WARM_UP };
    phase(&mut numbered, &mut fleet, &pids, &warm_up).await?;
    let mut phases = Vec::new();
    for measured in &shape.phases {
        sleep(PAUSE).await;
        let counted = if measured.of == Of::Latency { Counted::by(&server).await } else { None };
        let mut phase = phase(&mut numbered, &mut fleet, &pids, measured).await?;
        if let Some(counted) = counted {
            phase.told = Some(counted.since(&server, &phase).await?);
        }
        phases.push(phase);
    }
    sleep(shape.settle).await;
    let after_bytes = each(usage::private_bytes(&pids)?);
    let timeline = timeline.stop().await?;
    let mut verdict = fleet.finish(&[numbered.record]).await?;
    verdict.violations.miscounted = phases.iter().map(Phase::miscounted).sum();
    let (peer, connections) = (server.peer, shape.connections);
    // What one connection among many costs cannot be seen by one alone.
    let each = (connections > 1).then_some(Each { connect_us, idle_bytes, after_bytes });
    Ok(Turn { peer, connections, is_compared: false, each, phases, verdict, timeline })
}

/// Publishes as a schedule says, and waits until everybody has everything.
pub(crate) async fn phase(
    numbered: &mut Numbered,
    fleet: &mut Fleet,
    pids: &[u32],
    measured: &Measured,
) -> anyhow::Result<Phase> {
    network::steer(measured.of == Of::Processor)?;
    let published = numbered.record.events();
    let look = Look::begin(fleet, pids)?;
    numbered.publish(measured.schedule).await?;
    fleet.settle(&numbered.record).await?;
    let published = numbered.record.events() - published;
    let phase = look.end(fleet, numbered.record.flow, published, measured)?;
    network::steer(true)?;
    Ok(phase)
}

/// The beginning of a phase.
pub(crate) struct Look {
    pids: Vec<u32>,
    begun: Instant,
    cpu: [f64; 2],
    deliveries: u64,
    received_bytes: u64,
    retransmissions: u64,
}

impl Look {
    /// What there is before it.
    pub(crate) fn begin(fleet: &Fleet, pids: &[u32]) -> anyhow::Result<Self> {
        fleet.heard.mark();
        Ok(Self {
            pids: pids.to_vec(),
            begun: Instant::now(),
            cpu: usage::cpu_times(pids)?,
            deliveries: fleet.heard.sum(|status| status.deliveries),
            received_bytes: fleet.heard.sum(|status| status.received_bytes),
            retransmissions: usage::retransmissions()?,
        })
    }

    /// What there has been since. Times are those of one flow's deliveries.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn end(
        self,
        fleet: &Fleet,
        flow: Flow,
        published: u64,
        measured: &Measured,
    ) -> anyhow::Result<Phase> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let cpu = usage::cpu_times(&self.pids)?;
        let times = fleet.heard.since_mark(flow);
        let deliveries = fleet.heard.sum(|status| status.deliveries) - self.deliveries;
        let received = fleet.heard.sum(|status| status.received_bytes) - self.received_bytes;
        let spent = [0, 1].map(|part| cpu[part] - self.cpu[part]);
        let [own_us, kernel_us] = spent.map(|spent| spent * 1e6 / deliveries.max(1) as f64);
        Ok(Phase {
            what: measured.what.clone(),
            of: measured.of,
            retransmissions: usage::retransmissions()? - self.retransmissions,
            burst: measured.schedule.burst,
            published,
            deliveries,
            wire_bytes: received as f64 / deliveries.max(1) as f64,
            seconds,
            own_us,
            kernel_us,
            cpu_seconds: spent.iter().sum(),
            p50_ms: times.percentile_ms(50),
            p99_ms: times.percentile_ms(99),
            max_ms: times.max_ms(),
            told: None,
        })
    }
}
