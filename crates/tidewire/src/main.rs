//! Tidewire: an event hub in one binary.

mod announcement;
mod backbone;
mod cli;
mod cloud_event;
mod config;
mod demo;
mod edge;
mod http_port;
mod ingest;
mod leaving;
mod lines;
mod listeners;
mod log_filter;
mod open_files;
mod operations;
mod output;
mod process;
mod publish;
mod readiness;
mod ready_file;
mod reference;
mod running;
mod services;
mod settings;
mod shutdown;
mod signals;
mod standalone;
mod status;
mod subscribe;
mod telemetry;
mod traces;
mod waiting;

use std::{env, future::Future, process::ExitCode};

use anyhow::Context;
use tokio::runtime::Builder;

use crate::{
    cli::{Cli, Command},
    process::Role,
    settings::Invocation,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match settings::read(env::args_os().collect()) {
        Ok(invocation) => run(invocation).unwrap_or_else(|error| {
            output::failure(&error);
            ExitCode::FAILURE
        }),
        Err(error) => {
            let _unread = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

/// The table of contents: what each command leads to.
fn run(Invocation { cli: Cli { command }, settings }: Invocation) -> anyhow::Result<ExitCode> {
    match command {
        Command::Config(args) => config::run(&args, &settings),
        Command::Metrics => {
            output::line(reference::markdown().trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Standalone(args) => serve(args.settings),
        Command::Ingest(args) => serve(args.settings),
        Command::Edge(args) => serve(args.settings),
        Command::Publish(args) => {
            telemetry::log(&args.telemetry)?;
            on_runtime(publish::run(args))
        }
        Command::Subscribe(args) => {
            telemetry::log(&args.telemetry)?;
            on_runtime(subscribe::run(args))
        }
        Command::Demo(args) => {
            telemetry::log(&args.telemetry)?;
            on_runtime(demo::run(args))
        }
    }
}

fn serve(role: impl Role) -> anyhow::Result<ExitCode> {
    let log_filter = telemetry::log(&role.process().telemetry)?;
    on_runtime(process::run(role, log_filter))
}

/// Does asynchronous work to its end. What still blocks a thread then, such as a read of standard
/// input, is left behind.
fn on_runtime(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = Builder::new_multi_thread().enable_all().build().context("starting threads")?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}
