//! The configured ports on DPDK, for each worker.

use anyhow::{Context as _, ensure};
use apps::config::{Config, Device, Hugepages};
use apps::engine::EngineConfig;
use dataplane::Port;
use dpdk::{DpdkPort, Eal, EalConfig, PortConfig, buffers_for};
use tracing::{info, warn};

/// Starts EAL on this thread and opens every port; for each worker its ports in the order of the configuration.
pub(crate) fn open(config: &Config) -> anyhow::Result<(Eal, Vec<Vec<DpdkPort>>)> {
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
        others: config.worker.cores.iter().skip(1).copied().collect(),
        pci: pci.collect(),
    })?;
    let count = u32::try_from(config.ports.len())?;
    let workers = u16::try_from(config.worker.cores.len())?;
    let bridged = config.bridge.unwrap_or([usize::MAX; 2]);
    let open = |(n, port): (usize, &apps::config::Port)| {
        // What crosses a bump in the wire may have two tags, whatever we know of them.
        let two_tags = port.vlan.len() > 1 || bridged.contains(&n);
        let opened = DpdkPort::open_for(
            eal,
            &PortConfig {
                name: port.name.clone(),
                device: port.device.as_str().to_owned(),
                mtu: port.mtu,
                tags: if two_tags { 8 } else { 0 },
                buffers: buffers_for(config.worker.memory_mb, count, port.mtu, workers),
            },
            workers,
        )?;
        let first = opened.first().context("there is no worker")?;
        // RFC 7042 2.1: neither nobody's nor a group's can be a port's own.
        let mac = first.info().mac;
        let group = mac.first().is_some_and(|octet| octet & 1 != 0);
        ensure!(
            mac != [0; 6] && !group,
            "port {}: {} has no Ethernet address of its own; use another device",
            port.name,
            port.device.as_str()
        );
        tell(first, workers);
        Ok(opened)
    };
    let mut all: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
    for port in config.ports.iter().enumerate() {
        for (ports, port) in all.iter_mut().zip(open(port)?) {
            ports.push(port);
        }
    }
    Ok((eal, all))
}

/// Has devices give the joins of a worker's connections to its own queues, where they can.
pub(crate) fn attract_joins(ports: &mut [DpdkPort], engine: &EngineConfig) {
    let Some(at) = engine.join_port() else {
        return;
    };
    for port in ports.iter_mut() {
        let announced = engine.announce.iter();
        let rules = announced.filter(|&&addr| port.attract((addr, at))).count();
        if rules > 0 {
            info!(
                rules,
                "port {} gives joins to their workers",
                port.info().name
            );
        }
    }
}

fn tell(port: &DpdkPort, workers: u16) {
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
    let queues = port.queues();
    if queues < workers {
        info!(
            "port {} has {queues} of the {workers} queues that workers would have: the first ones receive and send for all",
            about.name
        );
    } else if workers > 1 && !port.hashes() {
        info!(
            "port {} has a queue for each worker, and others choose which: what comes to the wrong one is handed over",
            about.name
        );
    }
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
