//! The configured ports on DPDK.

use anyhow::ensure;
use apps::config::{Config, Device, Hugepages};
use dataplane::Port;
use dpdk::{DpdkPort, Eal, EalConfig, PortConfig, buffers_for};
use tracing::{info, warn};

/// Starts EAL on this thread and opens every port, in the order of the configuration.
pub(crate) fn open(config: &Config) -> anyhow::Result<Vec<DpdkPort>> {
    let pci = config.ports.iter().filter_map(|port| match &port.device {
        Device::Pci(address) => Some(address.clone()),
        Device::Virtual(_) => None,
    });
    let eal = Eal::init(&EalConfig {
        memory_mb: config.worker.memory_mb,
        hugepages: match config.worker.hugepages {
            Hugepages::Auto => None,
            Hugepages::Yes => Some(true),
            Hugepages::No => Some(false),
        },
        core: config.worker.cores.first().copied(),
        pci: pci.collect(),
    })?;
    let count = u32::try_from(config.ports.len())?;
    let bridged = config.bridge.unwrap_or([usize::MAX; 2]);
    let open = |(n, port): (usize, &apps::config::Port)| {
        // What crosses a bump in the wire may have two tags, whatever we know of them.
        let two_tags = port.vlan.len() > 1 || bridged.contains(&n);
        let opened = DpdkPort::open(
            eal,
            &PortConfig {
                name: port.name.clone(),
                device: port.device.as_str().to_owned(),
                mtu: port.mtu,
                tags: if two_tags { 8 } else { 0 },
                buffers: buffers_for(config.worker.memory_mb, count, port.mtu),
            },
        )?;
        // RFC 7042 2.1: neither nobody's nor a group's can be a port's own.
        let mac = opened.info().mac;
        let first = mac.first().copied().unwrap_or_default();
        ensure!(
            mac != [0; 6] && first & 1 == 0,
            "port {}: {} has no Ethernet address of its own; use another device",
            port.name,
            port.device.as_str()
        );
        tell(&opened);
        Ok(opened)
    };
    config.ports.iter().enumerate().map(open).collect()
}

fn tell(port: &DpdkPort) {
    let about = port.info();
    info!(
        device = about.device,
        mtu = about.mtu,
        buffers = port.buffers().size,
        "port {} is open{}",
        about.name,
        if port.sends_chains() {
            ""
        } else {
            "; its device sends from one buffer, so payload is copied there"
        }
    );
    if !port.takes_tags() {
        warn!(
            "port {} may lose packets of more than {} octets that have two tags: its device takes no more beside them",
            about.name,
            about.mtu - 8
        );
    }
    if !port.link_up() {
        warn!(
            "port {} has no link: check the cable, or that its interface is up (ip link set IFACE up)",
            about.name
        );
    }
}
