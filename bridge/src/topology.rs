//! What the bridge declares, as data. `shers topology` prints it and the declaration walks it, so that the two
//! can't differ. Pure.

use serde::Serialize;
use serde_json::{Map, Value, json};
use shers_runtime::wire::Part;
use std::fmt;

/// Exchanges, queues and bindings, in the order in which they are declared.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Topology {
    /// All durable.
    pub exchanges: Vec<Exchange>,
    /// All durable quorum queues.
    pub queues: Vec<Queue>,
    /// Which message goes where.
    pub bindings: Vec<Binding>,
}

/// An exchange.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// `topic` or `fanout`.
    pub kind: &'static str,
}

/// A queue.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its arguments: texts, numbers and booleans.
    pub arguments: Map<String, Value>,
}

/// A binding.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Binding {
    /// From here.
    pub exchange: String,
    /// To here.
    pub queue: String,
    /// For these routing keys.
    pub routing_key: String,
}

/// The queue of what the broker gave up for a part; `None` when nothing is ever published to the part.
#[must_use]
pub fn dead_queue(part: &Part) -> Option<String> {
    (!part.patterns.is_empty()).then(|| format!("{}.dead", part.name))
}

/// What `parts` need. `delivery_limit` as in [`crate::Settings`].
#[must_use]
pub fn topology(exchange: &str, delivery_limit: u32, parts: &[Part]) -> Topology {
    let mut all = Topology::default();
    all.exchanges.push(Exchange { name: exchange.to_owned(), kind: "topic" });
    for part in parts {
        add_part(&mut all, exchange, delivery_limit, part);
    }
    all
}

fn add_part(all: &mut Topology, exchange: &str, delivery_limit: u32, part: &Part) {
    let dead_exchange = format!("shers.dead.{}", part.name);
    let dead = dead_queue(part);
    if let Some(dead) = &dead {
        all.exchanges.push(Exchange { name: dead_exchange.clone(), kind: "fanout" });
        let arguments = [("x-queue-type", json!("quorum"))];
        all.queues.push(Queue { name: dead.clone(), arguments: map(arguments) });
        all.bindings.push(Binding { exchange: dead_exchange.clone(), queue: dead.clone(), routing_key: String::new() });
    }
    for partition in 0..part.partitions {
        let name = part.queue(partition);
        let mut arguments = map([
            ("x-queue-type", json!("quorum")),
            ("x-single-active-consumer", json!(true)),
            ("x-delivery-limit", json!(delivery_limit)),
        ]);
        if dead.is_some() {
            // At least once needs reject-publish; without a length limit nothing is ever rejected.
            arguments.extend(map([
                ("x-dead-letter-exchange", json!(dead_exchange)),
                ("x-dead-letter-strategy", json!("at-least-once")),
                ("x-overflow", json!("reject-publish")),
            ]));
        }
        for pattern in &part.patterns {
            let word = if part.partitions == 1 { "*".to_owned() } else { format!("p{partition:02}") };
            let routing_key = format!("{pattern}.{word}");
            all.bindings.push(Binding { exchange: exchange.to_owned(), queue: name.clone(), routing_key });
        }
        all.queues.push(Queue { name, arguments });
    }
}

fn map<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

impl fmt::Display for Topology {
    /// For people: one thing a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for exchange in &self.exchanges {
            writeln!(f, "exchange  {}  {}, durable", exchange.name, exchange.kind)?;
        }
        for queue in &self.queues {
            let arguments: Vec<String> = queue.arguments.iter().map(|(key, value)| format!("{key}={value}")).collect();
            writeln!(f, "queue     {}  durable, {}", queue.name, arguments.join(", "))?;
        }
        for binding in &self.bindings {
            let key = if binding.routing_key.is_empty() { "(everything)" } else { &binding.routing_key };
            writeln!(f, "binding   {} -> {}  {key}", binding.exchange, binding.queue)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shers_contract::{
        Kind,
        routing::{PARTITIONS, Pattern, routing_key},
    };
    use std::collections::BTreeSet;

    fn part(name: &str, patterns: &[&str], partitions: u16) -> Part {
        let patterns = patterns.iter().map(|text| Pattern::new(text).expect("a pattern")).collect();
        Part { name: name.to_owned(), patterns, partitions }
    }

    /// The queues that a message reaches, as a topic exchange decides.
    fn reached(all: &Topology, kind: Kind, partition: u16) -> BTreeSet<String> {
        let key = routing_key(kind, partition);
        let matches =
            |b: &&Binding| b.exchange == "e" && Pattern::new(&b.routing_key).expect("a pattern").matches(&key);
        all.bindings.iter().filter(matches).map(|b| b.queue.clone()).collect()
    }

    #[test]
    fn a_message_reaches_the_queue_of_its_partition_where_its_kind_is_wanted() {
        let parts = [
            part("triage", &["wearable.#", "patient.*"], PARTITIONS),
            part("stream", &["#"], 1),
            part("relay.triage", &[], 1),
        ];
        let all = topology("e", 10_000, &parts);
        for kind in Kind::ALL {
            for partition in 0..PARTITIONS {
                let mut want = BTreeSet::from(["stream.p00".to_owned()]);
                if parts[0].patterns.iter().any(|p| p.matches(kind.as_str())) {
                    want.insert(format!("triage.p{partition:02}"));
                }
                assert_eq!(reached(&all, *kind, partition), want, "{kind} {partition}");
            }
        }
    }

    #[test]
    fn every_queue_of_messages_has_one_consumer_at_a_time_a_high_limit_and_its_dead_letters() {
        let all = topology("e", 10_000, &[part("triage", &["wearable.#"], PARTITIONS), part("relay.x", &[], 1)]);
        assert_eq!(all.queues.len(), 16 + 1 + 1);
        for queue in &all.queues {
            assert_eq!(queue.arguments["x-queue-type"], "quorum");
            if queue.name == "triage.dead" {
                continue;
            }
            assert_eq!(queue.arguments["x-single-active-consumer"], true);
            assert_eq!(queue.arguments["x-delivery-limit"], 10_000);
            let dead = queue.arguments.get("x-dead-letter-exchange");
            let want = queue.name.starts_with("triage").then(|| json!("shers.dead.triage"));
            assert_eq!(dead, want.as_ref(), "{}", queue.name);
            assert!(!queue.arguments.contains_key("x-dead-letter-routing-key"), "the key says what it was");
        }
        let dead: Vec<_> = all.bindings.iter().filter(|b| b.queue == "triage.dead").collect();
        assert_eq!(dead.iter().map(|b| b.exchange.as_str()).collect::<Vec<_>>(), ["shers.dead.triage"]);
    }

    #[test]
    fn both_printed_forms_hold_everything() {
        let all = topology("e", 10_000, &[part("stream", &["#"], 1)]);
        let (text, json) = (all.to_string(), serde_json::to_string(&all).expect("JSON"));
        for word in ["shers.dead.stream", "stream.dead", "stream.p00", "#.*", "x-delivery-limit", "at-least-once"] {
            assert!(text.contains(word) && json.contains(word), "{word}\n{text}\n{json}");
        }
        assert_eq!(text.lines().count(), all.exchanges.len() + all.queues.len() + all.bindings.len());
    }
}
