//! One event at a time to all connections, in rounds of turns: what comparisons of one server's ways have in
//! common.

use anyhow::ensure;

use crate::{
    latency::median,
    server::Peer,
    session::{Each, Measured, Of, Phase, Turn},
    source::numbered::Schedule,
};

/// How much of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Rounds {
    /// Events each second.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Events of a turn.
    #[arg(long, default_value_t = 60)]
    events: u64,
    /// How often each has its turn.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u64,
}

impl Rounds {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.rate > 0.0, "--rate begins above 0");
        ensure!(self.events > 0 && self.rounds > 0, "--events and --rounds begin at 1");
        Ok(())
    }

    /// The one phase of a turn.
    pub(crate) fn phases(&self, what: String) -> Vec<Measured> {
        let schedule = Schedule { rate: self.rate, burst: 1, bursts: self.events };
        vec![Measured { what, of: Of::Processor, schedule }]
    }
}

/// All turns of one server, of whose figures the medians are told.
pub(crate) struct Medians<'t>(Vec<&'t Turn>);

impl<'t> Medians<'t> {
    pub(crate) fn of(turns: &'t [Turn], peer: Peer) -> Self {
        Self(turns.iter().filter(|turn| turn.peer == peer).collect())
    }

    pub(crate) fn phases(&self, figure: fn(&Phase) -> f64) -> f64 {
        median(self.0.iter().flat_map(|turn| &turn.phases).map(figure).collect())
    }

    pub(crate) fn each(&self, figure: fn(&Each) -> f64) -> f64 {
        median(self.0.iter().filter_map(|turn| turn.each.as_ref()).map(figure).collect())
    }
}
