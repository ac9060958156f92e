//! How the servers beside the hub are started.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

/// The files that one nginx process may have, and with that its connections.
const FILES_MAX: u32 = 20_000;

/// A program that scripts/setup-peers has installed, where it is there.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    let program = peers().ok()?.join("bin").join(name);
    program.exists().then_some(program)
}

/// The directory beside that of this build.
fn peers() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).context("a directory of builds")?;
    Ok(target.join("peers"))
}

pub(super) fn floor(http: u16, control: u16) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["floor", &http.to_string(), &control.to_string()]);
    Ok(command)
}

pub(super) fn naive(http: u16) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["naive", &http.to_string()]);
    Ok(command)
}

/// One process, which is its own worker.
pub(super) fn nchan(program: &Path, http: u16, home: &Path) -> anyhow::Result<Command> {
    let module = peers()?.join("root/usr/lib/nginx/modules/ngx_nchan_module.so");
    let (module, home_path) = (module.display(), home.display());
    let configuration = format!(
        "load_module {module};
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile {FILES_MAX};
pid {home_path}/pid;
error_log {home_path}/error.log warn;
events {{ worker_connections {FILES_MAX}; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  client_body_temp_path {home_path}/body;
  proxy_temp_path {home_path}/proxy;
  fastcgi_temp_path {home_path}/fastcgi;
  uwsgi_temp_path {home_path}/uwsgi;
  scgi_temp_path {home_path}/scgi;
  nchan_shared_memory_size 512M;
  server {{
    listen 127.0.0.1:{http} backlog=4096;
    location ~ ^/pub/(.+)$ {{ nchan_publisher; nchan_channel_id $1; }}
    location ~ ^/sub/(.+)$ {{
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }}
  }}
}}
"
    );
    let path = home.join("nginx.conf");
    fs::write(&path, configuration)?;
    let mut command = with_nginx_home(program);
    command.arg("-c").arg(path).arg("-p").arg(home).arg("-e").arg(home.join("error.log"));
    Ok(command)
}

/// With nchan, nginx insists on a directory that its package makes where it is installed, and it is
/// not: it gets one that nobody else sees.
fn with_nginx_home(program: &Path) -> Command {
    if Path::new("/var/lib/nginx").exists() {
        return Command::new(program);
    }
    let script = r#"mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/nginx && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(program);
    command
}

pub(super) fn centrifugo(program: &Path, http: u16, home: &Path) -> anyhow::Result<Command> {
    let configuration = serde_json::json!({
        "http_server": { "address": "127.0.0.1", "port": http.to_string() },
        "client": {
            "insecure": true,
            "allowed_origins": ["*"],
            "connection_limit": 0,
        },
        "channel": { "without_namespace": { "allow_subscribe_for_client": true } },
        "http_api": { "insecure": true },
        "uni_sse": { "enabled": true },
        "log": { "level": "error" },
    });
    let path = home.join("config.json");
    fs::write(&path, configuration.to_string())?;
    let mut command = Command::new(program);
    command.arg("--config").arg(path);
    Ok(command)
}
