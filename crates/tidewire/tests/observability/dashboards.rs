//! The dashboards: that they are sound, and what they ask.

use std::{collections::HashSet, fs};

use serde_json::Value;

use crate::promtool::files;

const DASHBOARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/grafana/dashboards");
/// Grafana's grid.
const COLUMNS: u64 = 24;
/// What Grafana puts in for the variables, where all jobs and instances are looked at.
const MEANINGS: [(&str, &str); 3] =
    [("$__rate_interval", "10s"), ("$job", ".+"), ("$instance", ".+")];

/// What a dashboard asks.
pub(crate) struct Asked {
    /// Where it stands, for who reads a failure.
    pub(crate) place: String,
    /// With the variables replaced.
    pub(crate) expression: String,
}

/// All that panels ask.
pub(crate) fn asked_by_panels() -> Vec<Asked> {
    asked("panels")
}

/// All that annotations ask: it finds something where something happens.
pub(crate) fn asked_by_annotations() -> Vec<Asked> {
    asked("annotations")
}

fn asked(of: &str) -> Vec<Asked> {
    let mut all = Vec::new();
    for (name, dashboard) in read() {
        let parts = if of == "panels" { &dashboard["panels"] } else { &dashboard[of]["list"] };
        for part in parts.as_array().unwrap() {
            let title = part["title"].as_str().or_else(|| part["name"].as_str()).unwrap();
            let place = format!("{name}: {title}");
            let targets = part["targets"].as_array().into_iter().flatten();
            for expr in targets.map(|target| &target["expr"]).chain(part.get("expr")) {
                let expression = substituted(expr.as_str().unwrap());
                all.push(Asked { place: place.clone(), expression });
            }
        }
    }
    assert!(!all.is_empty(), "something is asked");
    all
}

fn read() -> Vec<(String, Value)> {
    let read = |path: std::path::PathBuf| {
        let dashboard = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), dashboard)
    };
    files(DASHBOARDS, "json").into_iter().map(read).collect()
}

fn substituted(expression: &str) -> String {
    let by = |text: String, (word, meaning): &(&str, &str)| text.replace(word, meaning);
    let text = MEANINGS.iter().fold(expression.to_owned(), by);
    assert!(!text.contains('$'), "every variable of {expression} is known");
    text
}

#[test]
fn panels_of_a_dashboard_are_told_apart_and_do_not_overlap() {
    for (name, dashboard) in read() {
        let (mut ids, mut taken) = (HashSet::new(), HashSet::new());
        for panel in dashboard["panels"].as_array().unwrap() {
            let place = format!("{name}: {}", panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{place} has another one's id");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|of| panel["gridPos"][of].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= COLUMNS, "{place} is within the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{place} covers another one at {cell:?}");
            }
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    for (name, dashboard) in read() {
        assert!(dashboard["uid"].as_str().unwrap().starts_with("tidewire-"), "{name}");
        assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39, "{name}");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let variables: Vec<_> = variables.iter().map(|variable| &variable["name"]).collect();
        assert_eq!(variables, ["datasource", "job", "instance"], "{name}");
        for panel in dashboard["panels"].as_array().unwrap() {
            if panel["type"] == "row" {
                continue;
            }
            let description = panel["description"].as_str().unwrap();
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
            assert!(description.ends_with('.') && !unit.is_empty(), "{name}: {}", panel["title"]);
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{name}: {}", panel["title"]);
        }
    }
}
