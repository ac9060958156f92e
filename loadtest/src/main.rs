//! Load on Tidewire from outside, and what it costs.

mod hub;
mod latency;
mod memory;
mod output;
mod publish;

use clap::{Parser, Subcommand};

/// Puts load on a hub of its own and says what it costs. Build everything with --release first.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Durable publishing on one PublishStream, beside the log's own rate without gRPC.
    Publish(publish::Args),
    /// The hub's resident memory: idle subscribers, and readers that take nothing.
    Memory(memory::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().scenario {
        Scenario::Publish(args) => publish::run(args).await,
        Scenario::Memory(args) => memory::run(args).await,
    }
}
