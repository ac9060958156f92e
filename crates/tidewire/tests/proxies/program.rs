//! The proxies that there are, and how each is started.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where `make setup-proxies` puts them.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/proxies");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Haproxy,
    Caddy,
    Envoy,
    Apache,
}

impl Kind {
    /// The name of its example in the documents.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::Haproxy => "haproxy.cfg",
            Self::Caddy => "Caddyfile",
            Self::Envoy => "envoy.yaml",
            Self::Apache => "apache.conf",
        }
    }
}

/// Writes its configuration, and around it what is the system's matter and not the example's.
pub(crate) fn command(kind: Kind, home: &Path, config: &str) -> Command {
    let dir = home.display();
    let write = |name: &str, text: &str| fs::write(home.join(name), text).unwrap();
    let mut command = Command::new(program(kind));
    match kind {
        Kind::Nginx => {
            write("tidewire.conf", config);
            write("nginx.conf", &NGINX.replace("DIR", home.to_str().unwrap()));
            command.args(["-p", ".", "-e", "stderr", "-c", &format!("{dir}/nginx.conf")]);
        }
        Kind::Haproxy => {
            write("haproxy.cfg", config);
            command.args(["-db", "-f", "haproxy.cfg"]);
        }
        Kind::Caddy => {
            write("Caddyfile", config);
            command.args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"]);
            command.env("XDG_DATA_HOME", home).env("XDG_CONFIG_HOME", home);
        }
        Kind::Envoy => {
            write("envoy.yaml", config);
            command.args(["-c", "envoy.yaml", "--concurrency", "2", "--disable-hot-restart"]);
            command.args(["--log-level", "warning"]);
        }
        Kind::Apache => {
            write("tidewire.conf", config);
            let modules = APACHE_MODULES.iter().map(|name| {
                format!("LoadModule {name}_module {INSTALLED}/root/usr/lib/apache2/modules/mod_{name}.so\n")
            });
            let main = modules.collect::<String>() + APACHE;
            write("apache2.conf", &main.replace("DIR", home.to_str().unwrap()));
            command.args(["-DFOREGROUND", "-d", ".", "-f", &format!("{dir}/apache2.conf")]);
        }
    }
    command
}

const NGINX: &str = "
daemon off;
worker_processes 2;
pid DIR/nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path DIR/client_body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    include DIR/tidewire.conf;
}
";

const APACHE: &str = "
ServerName localhost
PidFile DIR/apache2.pid
DefaultRuntimeDir DIR
ErrorLog /dev/stderr
Include DIR/tidewire.conf
";

const APACHE_MODULES: &[&str] = &[
    "mpm_event",
    "authz_core",
    "headers",
    "http2",
    "lbmethod_bybusyness",
    "lbmethod_byrequests",
    "macro",
    "proxy",
    "proxy_balancer",
    "proxy_http",
    "rewrite",
    "slotmem_shm",
    "ssl",
];

fn program(kind: Kind) -> PathBuf {
    installed(match kind {
        Kind::Nginx => "nginx",
        Kind::Haproxy => "haproxy",
        Kind::Caddy => "caddy",
        Kind::Envoy => "envoy",
        Kind::Apache => "apache2",
    })
}

/// What `make setup-proxies` has put there.
pub(crate) fn installed(name: &str) -> PathBuf {
    let program = Path::new(INSTALLED).join("bin").join(name);
    assert!(program.exists(), "there is no {name}: `make setup-proxies` installs what is needed");
    program
}
