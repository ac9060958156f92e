//! A real browser, headless and with a profile of its own, that shows one page. Dropping it ends it.

use std::{env, fs, path::PathBuf, process::Stdio};

use tempfile::TempDir;
use tokio::process::{Child, Command};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Browser {
    Chromium,
    Firefox,
}

pub(crate) struct Running {
    _browser: Child,
    /// Last, so that nobody writes there any more.
    _profile: TempDir,
}

/// What a new profile would begin with otherwise: pages, questions and requests of its own.
const FIREFOX_SETTINGS: &str = r#"
user_pref("app.normandy.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "");
user_pref("toolkit.telemetry.enabled", false);
"#;

impl Browser {
    pub(crate) fn show(self, url: &str) -> Running {
        let profile = TempDir::with_prefix("tidewire-browser-").unwrap();
        let mut command = Command::new(self.program());
        match self {
            Self::Chromium => {
                command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
                command.args(["--no-first-run", "--disable-background-networking"]);
                command.args(["--disable-component-update", "--disable-sync"]);
                // Without it the browser would end when the page is there.
                command.arg("--remote-debugging-port=0");
                command.arg(format!("--user-data-dir={}", profile.path().display()));
            }
            Self::Firefox => {
                fs::write(profile.path().join("user.js"), FIREFOX_SETTINGS).unwrap();
                command.args(["--headless", "--no-remote", "--profile"]).arg(profile.path());
            }
        }
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let browser = command.kill_on_drop(true).spawn().unwrap();
        Running { _browser: browser, _profile: profile }
    }

    fn program(self) -> PathBuf {
        let (variable, usual, setup): (_, &[_], _) = match self {
            Self::Chromium => (
                "CHROMIUM",
                &["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"],
                "setup-tests",
            ),
            Self::Firefox => {
                ("FIREFOX", &["/usr/bin/firefox-esr", "/usr/bin/firefox"], "setup-clients")
            }
        };
        let given = env::var_os(variable).map(PathBuf::from);
        let mut candidates = given.into_iter().chain(usual.iter().map(PathBuf::from));
        candidates.find(|path| path.exists()).unwrap_or_else(|| {
            panic!("{self:?} is installed (`make {setup}`), or {variable} names it")
        })
    }
}
