//! What can be asked of the servers.

use std::{collections::BTreeMap, path::PathBuf};

/// What is asked of the servers of a [`NatsCluster`](crate::NatsCluster). The default is what
/// nats-server does by itself, with JetStream on.
#[derive(Clone, Debug, Default)]
pub struct NatsOptions {
    /// Sync every write before it is acknowledged; without it, every two minutes.
    pub sync_always: bool,
    /// Bytes of events that each node may hold; without it, what the server thinks the disk can
    /// take.
    pub store_bytes_max: Option<u64>,
    /// Where a node, by its index, keeps its data, if not in the cluster's own directory. Stays when
    /// the cluster is dropped.
    pub store_dirs: BTreeMap<usize, PathBuf>,
    /// A version pinned in `scripts/nats-server.txt`, such as "2.11.11"; without it, what
    /// `scripts/nats-server` finds.
    pub version: Option<String>,
    /// Lines of configuration for every node, after the rest: accounts, permissions, TLS.
    pub extra_config: String,
}
