//! What does not fit together, each with its place and what to write instead.

use super::line::{Step, line_of};
use super::{Client, Config, Protocol, Role};
use crate::pattern::{HEADER, PIECE, SEEDS};
use crate::stream::WINDOW;
use Step::{Item, Key};

/// Most addresses of a port.
const HOSTS_MAX: u16 = 250;

/// Most references to one buffer of the pattern: DPDK counts them in 16 bits.
const REFERENCES_MAX: u64 = 40_000;

/// A mistake in the file.
#[derive(Debug)]
pub(super) struct Mistake {
    place: Vec<Step>,
    text: String,
}

impl Mistake {
    /// What to show the user: `line 7: client.rate: write 5 or more`.
    pub(super) fn told(&self, source: &str) -> String {
        let mut name = String::new();
        for step in &self.place {
            match step {
                Key(key) if name.is_empty() => name.push_str(key),
                Key(key) => name.extend([".", key]),
                Item(index) => name.push_str(&format!("[{index}]")),
            }
        }
        let gap = if name.is_empty() { "" } else { ": " };
        let line = line_of(&self.place, source);
        format!("line {line}: {name}{gap}{}", self.text)
    }
}

/// All of them, in the order of the sections.
pub(super) fn mistakes(config: &Config) -> Vec<Mistake> {
    let mut found = Mistakes(Vec::new());
    found.sections(config);
    found.ports(config);
    for (n, client) in config.clients.iter().enumerate() {
        found.client(config, n, client);
    }
    found.groups(&config.clients);
    found.0
}

struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn add(&mut self, place: impl Into<Vec<Step>>, text: impl Into<String>) {
        self.0.push(Mistake {
            place: place.into(),
            text: text.into(),
        });
    }

    fn sections(&mut self, config: &Config) {
        for (role, name, there) in [
            (Role::Client, "client", !config.clients.is_empty()),
            (Role::Server, "server", config.server.is_some()),
        ] {
            let ports = config.ports_of(role).count() > 0;
            if there && !ports {
                let text = format!("add a port with `role: {name}`, or take the section out");
                self.add([Key(name)], text);
            } else if ports && !there {
                let text = format!(
                    "there are ports with `role: {name}`: add a section `{name}`, or take them out"
                );
                self.add([Key("ports")], text);
            }
        }
        if config.ports.is_empty() && config.clients.is_empty() && config.server.is_none() {
            let text = "nothing to do: add a section `client` or `server`, and ports for it";
            self.add([], text);
        }
    }

    fn ports(&mut self, config: &Config) {
        for (n, port) in config.ports.iter().enumerate() {
            let place = |key| [Key("ports"), Item(n), Key(key)];
            if port.addresses.is_empty() {
                self.add(
                    place("addresses"),
                    "write one a family, such as 10.1.0.2/24",
                );
            }
            if !(1..=HOSTS_MAX).contains(&port.hosts) {
                self.add(place("hosts"), format!("write 1 to {HOSTS_MAX}"));
            }
        }
    }

    fn client(&mut self, config: &Config, n: usize, client: &Client) {
        let several = config.clients.len() > 1;
        let place = |key| {
            let group = several.then_some(Item(n));
            let steps = [Key("client")].into_iter().chain(group);
            steps.chain([Key(key)]).collect::<Vec<_>>()
        };
        if client.request < HEADER as u64 {
            let text = format!("a request begins with a header, so write at least {HEADER}");
            self.add(place("request"), text);
        }
        if client.connections == 0 {
            self.add(place("connections"), "write 1 or more");
        }
        if client.duration.is_zero() {
            self.add(place("duration"), "write more than 0s");
        }
        if client.delay > client.warmup {
            self.add(place("delay"), "write no more than `warmup`");
        }
        let further = config.ports_of(Role::Client).count() > 1;
        let mptcp = client.protocol == Protocol::Mptcp;
        if !(1..=8).contains(&client.subflows) || (client.subflows > 1 && !mptcp) {
            let text = "write 1 to 8, and more than one with `protocol: mptcp` alone";
            self.add(place("subflows"), text);
        } else if client.subflows > 1 && !further {
            let text =
                "further subflows need a second port with `role: client`: add one, or write 1";
            self.add(place("subflows"), text);
        }
        let paced = client.rate > 0 || client.search.is_some();
        for (key, size) in [("request", client.request), ("response", client.response)] {
            if paced && size == u64::MAX {
                let text = "messages at a rate must end: write a size instead of endless";
                self.add(place(key), text);
            }
        }
        if let Some(search) = client.search {
            if several {
                let text = "one rate is looked for at a time: take it out, or all other groups";
                self.add(place("search"), text);
            }
            if search.low == 0 || search.low >= search.high || search.trial.is_zero() {
                self.add(
                    place("search"),
                    "write 0 < low < high, and a trial that is not 0s",
                );
            }
        }
    }

    /// What all groups have to agree on.
    fn groups(&mut self, clients: &[Client]) {
        let Some(first) = clients.first() else {
            return;
        };
        let pieces = |client: &Client| {
            let queued = client.request.max(client.response).min(u64::from(WINDOW));
            queued.div_ceil(PIECE as u64) * u64::from(client.connections)
        };
        if clients.iter().map(pieces).sum::<u64>() / u64::from(SEEDS) > REFERENCES_MAX {
            let text = "too many connections for messages of that length, as their payload lies in the same few buffers: write less of either";
            self.add([Key("client")], text);
        }
        if clients.len() == 1 {
            return;
        }
        for (n, client) in clients.iter().enumerate() {
            let place = |key| [Key("client"), Item(n), Key(key)];
            let before = clients.iter().take(n);
            if client.name.is_empty() {
                self.add(place("name"), "write a name: the result is told by it");
            } else if before.into_iter().any(|other| other.name == client.name) {
                let text = format!(
                    "another group is called {}: write another name",
                    client.name
                );
                self.add(place("name"), text);
            }
            if client.to.is_ipv4() != first.to.is_ipv4() {
                let text = "all groups start from the same addresses: write one of the first group's family";
                self.add(place("to"), text);
            }
            for (key, same) in [
                ("duration", client.duration == first.duration),
                ("warmup", client.warmup == first.warmup),
            ] {
                if !same {
                    let text = "all groups are measured at the same time: write the same in each";
                    self.add(place(key), text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: &str =
        "ports:\n  - { name: a, device: x, role: client, addresses: [10.1.0.2/24] }\n";

    /// What is wrong in a client of the one section, or in a list of them.
    fn told(clients: &[&str]) -> String {
        let mut text = CLIENTS.to_owned();
        for (n, client) in clients.iter().enumerate() {
            let head = match (n, clients.len()) {
                (_, 1) => "client:\n  ",
                (0, _) => "client:\n- ",
                _ => "- ",
            };
            let client = client.replace(", ", "\n  ").replace('|', ", ");
            text.push_str(&format!(
                "{head}to: 10.9.0.2:80\n  response: 1MiB\n  duration: 1s\n  {client}\n"
            ));
        }
        Config::read(&text).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_what_to_write_instead() {
        for (client, part) in [
            ("connections: 1, colour: red", "unknown field `colour`"),
            ("connections: 0", "line 7: client.connections: write 1"),
            (
                "connections: 1, request: 3",
                "line 8: client.request: a request begins with a header, so write at least 24",
            ),
            (
                "connections: 1, subflows: 2",
                "line 8: client.subflows: write 1 to 8, and more than one with `protocol: mptcp`",
            ),
            (
                "connections: 1, subflows: 2, protocol: mptcp",
                "line 8: client.subflows: further subflows need a second port",
            ),
            (
                "connections: 1, rate: 5, request: endless",
                "line 9: client.request: messages at a rate must end",
            ),
            (
                "connections: 1, warmup: 2s, delay: 3s",
                "line 9: client.delay: write no more than `warmup`",
            ),
            ("connections: 9000", "line 3: client: too many connections"),
            ("connections: 1, warmup: 3", "write a time"),
            (
                "connections: 1, search: { low: 5| high: 5 }",
                "line 8: client.search: write 0 < low < high",
            ),
        ] {
            let told = told(&[client]);
            assert!(told.contains(part), "{told}");
        }
        let said = Config::read(CLIENTS).unwrap_err().to_string();
        assert!(
            said.starts_with("line 1: ports: there are ports with `role: client`"),
            "{said}"
        );
        let said = Config::read("ports: []\n").unwrap_err().to_string();
        assert!(said.contains("nothing to do"), "{said}");
    }

    #[test]
    fn every_mistake_is_told() {
        let said = told(&["connections: 0, request: 3, subflows: 9"]);
        assert_eq!(said.lines().count(), 3, "{said}");
    }

    #[test]
    fn groups_are_told_apart_by_name_and_measured_together() {
        let one = "connections: 1, name: a";
        for (other, part) in [
            ("connections: 1", "client[1].name: write a name"),
            (one, "line 13: client[1].name: another group is called a"),
            (
                "connections: 1, name: b, warmup: 2s",
                "line 14: client[1].warmup: all groups are measured at the same time",
            ),
            (
                "connections: 1, name: b, search: { low: 1| high: 5 }",
                "line 14: client[1].search: one rate is looked for at a time",
            ),
            (
                "connections: 9000, name: b",
                "line 3: client: too many connections",
            ),
        ] {
            let told = told(&[one, other]);
            assert!(told.contains(part), "{told}");
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }
}
