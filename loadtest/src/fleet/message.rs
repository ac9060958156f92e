//! What the process that measures and the processes of clients tell each other, a line of JSON each.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    flow::{Flow, Wanted},
    histogram,
    server::transport::Transport,
    thin::Violations,
};

/// What clients are told to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Connect so many more.
    Open(Opening),
    /// Let so many of this flow's subscribers go.
    Close { flow: u16, count: u64 },
    /// Have so many of this flow's subscribers read nothing more, whatever is sent to them.
    Stall { flow: u16, count: u64 },
    /// All that were stalled read again.
    Wake,
    /// Events of this flow from this one on have not been published yet.
    Published { flow: u16, events: u64 },
    /// There are no more events than so many of this flow: say who lacks one.
    Settle { flow: u16, events: u64 },
    /// Say what everybody got, and end.
    Finish,
}

/// Subscribers that come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Opening {
    pub(crate) to: SocketAddrV4,
    pub(crate) from: Ipv4Addr,
    /// What stands before and behind the filter in the request's path.
    pub(crate) path: [String; 2],
    pub(crate) flow: Flow,
    /// What each wants, in turn.
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) count: u64,
    /// Whether the flow begins only when all have come.
    pub(crate) is_before: bool,
    /// Whether ids must grow, and every line end in a line feed alone.
    pub(crate) is_strict: bool,
    /// Whether each asks for gzip, and must get it.
    pub(crate) is_gzip: bool,
    /// How streams come, where it is not by plain HTTP/1.1, and whom they trust where it is by TLS.
    pub(crate) transport: Option<Transport>,
    pub(crate) certificate: Option<PathBuf>,
    /// New connections each second; 0 is as fast as they are let in.
    pub(crate) rate: u64,
}

/// What clients say: several times a second, and once at their end.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Connections whose stream has begun.
    pub(crate) live: u64,
    /// Connections that have been ordered, and have no stream yet.
    pub(crate) coming: u64,
    /// Of all so far.
    pub(crate) deliveries: u64,
    /// What sockets held: answers' heads, chunks and all.
    pub(crate) received_bytes: u64,
    /// Subscribers that lack an event, once it is known how many there are; of those that read.
    pub(crate) lacking: u64,
    /// How many orders it has read.
    pub(crate) orders: u64,
    pub(crate) violations: Violations,
    /// The time of each delivery since the last status, by flow.
    pub(crate) latencies: Vec<histogram::Told>,
    /// At the end: what subscribers got, and how many got just that.
    pub(crate) got: Option<Vec<(Got, u64)>>,
}

/// What a subscriber got from its first event to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Got {
    pub(crate) flow: u16,
    pub(crate) wanted: Wanted,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) hash: u64,
}
