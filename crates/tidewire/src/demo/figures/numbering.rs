//! Numbers that let a reader see for itself that nothing is missing and nothing came twice.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use super::Measured;

/// Where each topic's counting stands.
#[derive(Default)]
pub(super) struct Numbering(BTreeMap<String, Count>);

impl Numbering {
    /// Adds to each measured object its number, one more than the last time, the run that it
    /// counts in, and the time. A topic that was not measured is forgotten: should it come back,
    /// it begins another run.
    pub(super) fn number(&mut self, mut measured: Measured) -> Measured {
        let mut counts = BTreeMap::new();
        let sampled_unix_ms = unix_milliseconds();
        for (topic, data) in &mut measured {
            let mut count = self.0.remove(topic).unwrap_or_else(Count::begin);
            count.n += 1;
            data["run"] = json!(count.run);
            data["n"] = json!(count.n);
            data["sampled_unix_ms"] = json!(sampled_unix_ms);
            counts.insert(topic.clone(), count);
        }
        self.0 = counts;
        measured
    }
}

struct Count {
    run: String,
    n: u64,
}

impl Count {
    fn begin() -> Self {
        Self { run: format!("{:08x}", rand::random::<u32>()), n: 0 }
    }
}

fn unix_milliseconds() -> Option<u64> {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn measured(topics: &[&str]) -> Measured {
        topics.iter().map(|topic| ((*topic).to_owned(), json!({}))).collect()
    }

    fn numbers(numbered: &Measured) -> Vec<(&str, u64)> {
        let number = |data: &Value| data["n"].as_u64().unwrap();
        numbered.iter().map(|(topic, data)| (topic.as_str(), number(data))).collect()
    }

    #[test]
    fn each_topic_counts_for_itself() {
        let mut numbering = Numbering::default();
        assert_eq!(numbers(&numbering.number(measured(&["a"]))), [("a", 1)]);
        assert_eq!(numbers(&numbering.number(measured(&["a", "b"]))), [("a", 2), ("b", 1)]);
    }

    #[test]
    fn a_topic_that_comes_back_begins_another_run() {
        let mut numbering = Numbering::default();
        let first = numbering.number(measured(&["a"]));
        numbering.number(measured(&[]));
        let again = numbering.number(measured(&["a"]));
        assert_eq!(numbers(&again), [("a", 1)]);
        assert_ne!(first["a"]["run"], again["a"]["run"]);
    }
}
