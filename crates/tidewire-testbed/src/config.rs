//! The configuration file of a server.

use std::{fmt::Write, path::Path};

use crate::{options::NatsOptions, ports::Ports};

/// The text for the server `name` with `ports`, one of those with `all` ports.
pub(crate) fn text(
    name: &str,
    ports: Ports,
    all: &[Ports],
    store: &Path,
    options: &NatsOptions,
) -> String {
    let mut text = format!(
        "server_name: {name}\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\n{}",
        ports.client,
        ports.monitor,
        jetstream(store, options),
    );
    if all.len() > 1 {
        text.push_str(&cluster(ports, all));
    }
    text.push_str(&options.extra_config);
    text.push('\n');
    text
}

fn jetstream(store: &Path, options: &NatsOptions) -> String {
    let mut text = format!("jetstream {{\n  store_dir: {store:?}\n");
    if options.sync_always {
        text.push_str("  sync_interval: always\n");
    }
    if let Some(bytes) = options.store_bytes_max {
        writeln!(text, "  max_file_store: {bytes}").expect("a string takes it");
    }
    text.push_str("}\n");
    text
}

fn cluster(ports: Ports, all: &[Ports]) -> String {
    let routes: Vec<_> =
        all.iter().map(|other| format!("\"nats-route://127.0.0.1:{}\"", other.route)).collect();
    format!(
        "cluster {{\n  name: testbed\n  listen: \"127.0.0.1:{}\"\n  routes: [{}]\n}}\n",
        ports.route,
        routes.join(", "),
    )
}
