//! What is to be done: the YAML file, read and checked.

mod check;
mod line;
mod units;

use core::fmt;
use core::net::IpAddr;
use dataplane::PortInfo;
use ipnet::IpNet;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use stack::PortId;
use stack::ip::{InterfaceConfig, IsolatedConfig, NetConfig, NetError, RouteConfig};
use stack::time::Duration;

use crate::pattern::HEADER;
use units::{duration, optional_duration, size};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Core, polling and memory.
    #[serde(default)]
    pub worker: Worker,
    /// The ports, in the order of their numbers.
    pub ports: Vec<Port>,
    /// What the clients do, each group of them; none without it.
    #[serde(rename = "client", default, deserialize_with = "groups")]
    pub clients: Vec<Client>,
    /// What the server does; none without it.
    pub server: Option<Server>,
}

/// Core, polling and memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// The processor core to run on.
    pub core: u16,
    /// Whether it never sleeps: a whole core.
    pub spin: bool,
    /// Whether packet memory comes from hugepages; if that is not said, from them if there are enough.
    pub hugepages: Option<bool>,
    /// Packet memory in MiB.
    pub memory_mb: u32,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            core: 0,
            spin: false,
            hugepages: None,
            memory_mb: 256,
        }
    }
}

/// Which end a port is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Clients: the first such port carries first subflows, the others further ones.
    Client,
    /// The server.
    Server,
}

/// A port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name in messages.
    pub name: String,
    /// A DPDK virtual device with its arguments, or a PCI address.
    pub device: String,
    /// Which end it is.
    pub role: Role,
    /// The first host's address on it, with the prefix length of the network there: one a family.
    pub addresses: Vec<IpNet>,
    /// How many hosts there are: each has the address after that of the one before.
    #[serde(default = "one")]
    pub hosts: u16,
    /// The next hop to everything that is not on that network, one a family.
    #[serde(default)]
    pub gateway: Vec<IpAddr>,
    /// Largest IP packet in octets.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// Whether checksums are left to a device that computes them. One end of vhost adds up what the other would not take so.
    #[serde(default = "yes")]
    pub offload: bool,
}

const fn yes() -> bool {
    true
}

const fn one() -> u16 {
    1
}

const fn mtu() -> u16 {
    1500
}

/// What connections speak.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// Multipath TCP, version 1.
    Mptcp,
}

/// Reads one group of clients, or a list of them.
fn groups<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Client>, D::Error> {
    struct Groups;

    impl<'de> Visitor<'de> for Groups {
        type Value = Vec<Client>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("what the clients do, or a list of that with a `name` for each group")
        }

        fn visit_unit<E>(self) -> Result<Vec<Client>, E> {
            Ok(Vec::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Client>, A::Error> {
            Client::deserialize(MapAccessDeserializer::new(map)).map(|client| vec![client])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<Client>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(items))
        }
    }

    from.deserialize_any(Groups)
}

/// What the clients do, or one group of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// What the group is called in the result; nothing if there is no other.
    #[serde(default)]
    pub name: String,
    /// Address and port of the server.
    pub to: std::net::SocketAddr,
    /// What they speak.
    #[serde(default)]
    pub protocol: Protocol,
    /// Subflows of each Multipath TCP connection; the first request waits until all are there.
    #[serde(default = "one_subflow")]
    pub subflows: u8,
    /// Connections at a time, at most.
    pub connections: u32,
    /// Requests on each connection before it is closed; 0: as long as the run lasts.
    #[serde(default = "one_request")]
    pub requests: u32,
    /// Octets of a request.
    #[serde(default = "least", deserialize_with = "size")]
    pub request: u64,
    /// Octets of a response.
    #[serde(deserialize_with = "size")]
    pub response: u64,
    /// Requests per second that are begun in all, whether earlier ones are done or not; 0: each as soon as the one before is done.
    #[serde(default)]
    pub rate: u64,
    /// Whether connections stay open and idle after their requests, until the run ends. With requests at a rate and no end of them
    /// all are opened before they are needed, and asked on in turn; none is opened in the place of one that fails.
    #[serde(default)]
    pub hold: bool,
    /// How long it is measured.
    #[serde(deserialize_with = "duration")]
    pub duration: Duration,
    /// How long it runs before that.
    #[serde(default, deserialize_with = "duration")]
    pub warmup: Duration,
    /// How long after the warm-up began its first connection is opened, within the warm-up.
    #[serde(default, deserialize_with = "duration")]
    pub delay: Duration,
    /// How long a connection or a response may take before it counts as failed.
    #[serde(default = "patience", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Look for the highest rate instead of keeping `rate`.
    pub search: Option<Search>,
}

const fn one_subflow() -> u8 {
    1
}

const fn one_request() -> u32 {
    1
}

const fn least() -> u64 {
    HEADER as u64
}

const fn patience() -> Duration {
    Duration::from_secs(10)
}

/// Between which rates to look for the highest one.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Requests per second to begin with.
    pub low: u64,
    /// Requests per second never to exceed.
    pub high: u64,
    /// How long each rate is tried.
    #[serde(default = "trial", deserialize_with = "duration")]
    pub trial: Duration,
    /// The loss that is still good, in parts per million of what was begun.
    #[serde(default = "loss_ppm")]
    pub loss_ppm: u64,
}

const fn trial() -> Duration {
    Duration::from_secs(1)
}

const fn loss_ppm() -> u64 {
    1_000
}

/// What the server does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The TCP ports that it listens at.
    pub listen: Vec<u16>,
    /// Connections at a time, at most.
    #[serde(default = "many")]
    pub connections: u32,
    /// How long it runs if there are no clients in this process; if that is not said, until a signal.
    #[serde(default, deserialize_with = "optional_duration")]
    pub duration: Option<Duration>,
}

const fn many() -> u32 {
    1_000_000
}

/// Why a file is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It does not read as one.
    #[error("{0}")]
    Syntax(#[from] serde_yaml::Error),
    /// What it says does not fit together: a line for each mistake.
    #[error("{0}")]
    Wrong(String),
    /// Its addresses make no network.
    #[error("{0}")]
    Net(#[from] NetError),
}

impl Config {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What does not read as a configuration at first, or else every mistake, each with its line.
    pub fn read(text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_yaml::from_str(text)?;
        let mistakes = check::mistakes(&config);
        if mistakes.is_empty() {
            return Ok(config);
        }
        let told: Vec<_> = mistakes.iter().map(|mistake| mistake.told(text)).collect();
        Err(ConfigError::Wrong(told.join("\n")))
    }

    /// The numbers of the ports of one end.
    pub fn ports_of(&self, role: Role) -> impl Iterator<Item = (PortId, &Port)> {
        let numbered = (0..=u8::MAX).map(PortId).zip(&self.ports);
        numbered.filter(move |(_, port)| port.role == role)
    }

    /// The network of one end's hosts. `known` is what all ports are, in their order.
    pub(crate) fn net(&self, role: Role, known: &[PortInfo]) -> NetConfig {
        let mut net = NetConfig::default();
        for (n, (id, port)) in self.ports_of(role).enumerate() {
            let known = known.get(usize::from(id.0));
            let sums = known.is_some_and(|known| known.sums) && port.offload;
            net.summing.extend(sums.then_some(id));
            let first = port.addresses.iter();
            let hosts = first.flat_map(|&first| (0..port.hosts).map(move |n| nth(first, n)));
            net.interfaces.push(InterfaceConfig {
                port: id,
                mac: known.map_or_else(Default::default, |known| known.mac),
                mtu: port.mtu,
                addresses: hosts.collect(),
            });
            if n == 0 {
                let default = |via: &IpAddr| RouteConfig {
                    to: IpNet::new_assert(unspecified(*via), 0),
                    via: *via,
                };
                net.routes.extend(port.gateway.iter().map(default));
            } else {
                net.isolated.push(IsolatedConfig {
                    port: id,
                    gateways: port.gateway.clone(),
                });
            }
        }
        net
    }
}

/// The address `n` after `first`.
pub(crate) fn nth(first: IpNet, n: u16) -> IpNet {
    let addr = match first.addr() {
        IpAddr::V4(addr) => IpAddr::V4((addr.to_bits().wrapping_add(u32::from(n))).into()),
        IpAddr::V6(addr) => IpAddr::V6((addr.to_bits().wrapping_add(u128::from(n))).into()),
    };
    IpNet::new_assert(addr, first.prefix_len())
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => core::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => core::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: &str = "ports: [{ name: a, device: net_null0, role: client, addresses: [10.1.0.2/24], hosts: 3, gateway: [10.1.0.1] }]\n";
    const CLIENT: &str = "to: 10.9.0.2:80, connections: 1, response: 1MiB, duration: 500ms";

    fn read(client: &str) -> Result<Config, String> {
        let text = format!("{PORTS}client: {{ {client} }}\n");
        Config::read(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_and_times_have_units() {
        let client = read(CLIENT).unwrap().clients.remove(0);
        assert_eq!(client.response, 1 << 20);
        assert_eq!(client.duration, Duration::from_millis(500));
        let endless = read(&format!("{CLIENT}, request: endless")).unwrap();
        assert_eq!(endless.clients[0].request, u64::MAX);
    }

    #[test]
    fn every_host_has_an_address_and_the_gateway_is_the_way_out() {
        let config = read(CLIENT).unwrap();
        let known = PortInfo {
            mac: [2, 0, 0, 0, 0, 1],
            ..PortInfo::default()
        };
        let net = config.net(Role::Client, &[known]);
        let addresses: Vec<_> = net.interfaces[0]
            .addresses
            .iter()
            .map(|a| a.to_string())
            .collect();
        assert_eq!(addresses, ["10.1.0.2/24", "10.1.0.3/24", "10.1.0.4/24"]);
        assert_eq!(net.routes[0].to.to_string(), "0.0.0.0/0");
    }

    #[test]
    fn checksums_are_left_to_a_device_that_computes_them_unless_told_otherwise() {
        let known = |sums| PortInfo {
            mac: [2, 0, 0, 0, 0, 1],
            sums,
            ..PortInfo::default()
        };
        let mut config = read(CLIENT).unwrap();
        let left = |config: &Config, sums| config.net(Role::Client, &[known(sums)]).summing;
        assert_eq!(left(&config, true), [PortId(0)]);
        assert_eq!(left(&config, false), []);
        config.ports[0].offload = false;
        assert_eq!(left(&config, true), []);
    }
}
