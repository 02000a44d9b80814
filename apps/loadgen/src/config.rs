//! What is to be done: the YAML file, read and checked.

use core::net::IpAddr;
use dataplane::PortInfo;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use stack::PortId;
use stack::ip::{InterfaceConfig, IsolatedConfig, NetConfig, NetError, RouteConfig};
use stack::time::Duration;

use crate::pattern::{HEADER, PIECE, SEEDS};
use crate::stream::WINDOW;

/// Most addresses of a port.
const HOSTS_MAX: u16 = 250;

/// Most references to one buffer of the pattern: DPDK counts them in 16 bits.
const REFERENCES_MAX: u64 = 40_000;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Core, polling and memory.
    #[serde(default)]
    pub worker: Worker,
    /// The ports, in the order of their numbers.
    pub ports: Vec<Port>,
    /// What the clients do; none without it.
    pub client: Option<Client>,
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

/// What the clients do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
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
    /// Whether connections stay open and idle after their requests, until the run ends.
    #[serde(default)]
    pub hold: bool,
    /// How long it is measured.
    #[serde(deserialize_with = "duration")]
    pub duration: Duration,
    /// How long it runs before that.
    #[serde(default, deserialize_with = "duration")]
    pub warmup: Duration,
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
    /// What it says does not fit together.
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
    /// The first mistake, with its line if the parser found it.
    pub fn read(text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_yaml::from_str(text)?;
        match config.mistake() {
            Some(mistake) => Err(ConfigError::Wrong(mistake)),
            None => Ok(config),
        }
    }

    /// The numbers of the ports of one end.
    pub fn ports_of(&self, role: Role) -> impl Iterator<Item = (PortId, &Port)> {
        let numbered = (0..=u8::MAX).map(PortId).zip(&self.ports);
        numbered.filter(move |(_, port)| port.role == role)
    }

    /// What does not fit together.
    fn mistake(&self) -> Option<String> {
        let say = |text: &str| Some(text.to_owned());
        for (role, name, there) in [
            (Role::Client, "client", self.client.is_some()),
            (Role::Server, "server", self.server.is_some()),
        ] {
            let ports = self.ports_of(role).count();
            if there != (ports > 0) {
                return Some(format!(
                    "there is a section `{name}` or ports with `role: {name}`, but not both: add the other, or take it out"
                ));
            }
        }
        if self.client.is_none() && self.server.is_none() {
            return say("nothing to do: add a section `client` or `server`, and ports for it");
        }
        for port in &self.ports {
            if port.addresses.is_empty() || !(1..=HOSTS_MAX).contains(&port.hosts) {
                return Some(format!(
                    "port {}: give it an address such as 10.1.0.2/24, and 1 to {HOSTS_MAX} hosts",
                    port.name
                ));
            }
        }
        let client = self.client.as_ref()?;
        if client.request < HEADER as u64 {
            return Some(format!(
                "client.request: a request begins with a header, so write at least {HEADER}"
            ));
        }
        if client.connections == 0 || client.duration.is_zero() {
            return say("client: connections and duration must not be 0");
        }
        let further = self.ports_of(Role::Client).count() - 1;
        let mptcp = client.protocol == Protocol::Mptcp;
        if !(1..=8).contains(&client.subflows) || (client.subflows > 1 && !mptcp) {
            return say("client.subflows: 1 to 8, and more than one with `protocol: mptcp` alone");
        }
        if client.subflows > 1 && further == 0 {
            return say("client.subflows: further subflows need a second port with `role: client`");
        }
        let paced = client.rate > 0 || client.search.is_some();
        if paced && (client.request == u64::MAX || client.response == u64::MAX) {
            return say("client: requests at a rate must end; write a size instead of endless");
        }
        let queued = client.request.max(client.response).min(u64::from(WINDOW));
        let pieces = queued.div_ceil(PIECE as u64) * u64::from(client.connections);
        if pieces / u64::from(SEEDS) > REFERENCES_MAX {
            return say(
                "client.connections: too many for messages of that length: their payload lies in the same few buffers",
            );
        }
        let search = client.search?;
        if search.low == 0 || search.low >= search.high || search.trial.is_zero() {
            return say("client.search: write 0 < low < high, and a trial that is not 0");
        }
        None
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

/// Either a number, or text with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u64),
    Text(String),
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Amount::deserialize(from)? {
        Amount::Number(octets) => Ok(octets),
        Amount::Text(text) if text == "endless" => Ok(u64::MAX),
        Amount::Text(text) => {
            let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
            scaled(&text, &units)
                .ok_or_else(|| de::Error::custom("write a size such as 64, 64KiB, 1MiB or endless"))
        },
    }
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    let millis = scaled(&text, &units);
    let millis =
        millis.ok_or_else(|| de::Error::custom("write a time such as 500ms, 10s or 1m"))?;
    Ok(Duration::from_millis(millis))
}

fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
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
        let client = read(CLIENT).unwrap().client.unwrap();
        assert_eq!(client.response, 1 << 20);
        assert_eq!(client.duration, Duration::from_millis(500));
        let endless = read(&format!("{CLIENT}, request: endless")).unwrap();
        assert_eq!(endless.client.unwrap().request, u64::MAX);
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

    #[test]
    fn mistakes_are_told_with_what_to_write_instead() {
        for (client, part) in [
            (format!("{CLIENT}, colour: red"), "unknown field `colour`"),
            (format!("{CLIENT}, request: 3"), "at least 24"),
            (format!("{CLIENT}, subflows: 2"), "protocol: mptcp"),
            (
                format!("{CLIENT}, subflows: 2, protocol: mptcp"),
                "second port",
            ),
            (format!("{CLIENT}, rate: 5, request: endless"), "must end"),
            (
                "to: 10.9.0.2:80, connections: 9000, response: 1MiB, duration: 1s".to_owned(),
                "too many",
            ),
            (format!("{CLIENT}, warmup: 3"), "write a time"),
            (
                format!("{CLIENT}, search: {{ low: 5, high: 5 }}"),
                "low < high",
            ),
        ] {
            let told = read(&client).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
        let told = Config::read(PORTS).unwrap_err().to_string();
        assert!(told.contains("section `client`"), "{told}");
    }
}
