//! What a machine is set to: scripts set it by sysctl, in a network namespace of their own, where it is read from here.

use stack::tcp::congestion::Algorithm;
use std::path::{Path, PathBuf};

/// Where Linux keeps it.
const SYSCTLS: &str = "/proc/sys/net";

/// Flags of the command line, and what does not change meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Flags {
    /// Most octets of an IP packet.
    pub(crate) mtu: u16,
    /// Our address on the way to an address of its family, where nothing is bound.
    pub(crate) local: [std::net::IpAddr; 2],
    /// The controller of congestion, whatever the sysctl says.
    pub(crate) congestion: Option<Algorithm>,
    /// The folder of settings; without one all are as Linux has them by default.
    sysctls: Option<PathBuf>,
    /// Whether Multipath TCP asks for checksums, whatever the sysctl says.
    pub(crate) checksum: Option<bool>,
    /// Whether sockets of Multipath TCP speak it.
    pub(crate) mptcp: bool,
    /// The version of Multipath TCP that is spoken.
    pub(crate) version: mptcp::Versions,
    /// Whether what Linux does otherwise without either being wrong is made alike.
    pub(crate) linux: bool,
    /// A file of addresses to announce, each after its number on a line.
    endpoints: Option<PathBuf>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            mtu: 1500,
            local: [
                [192, 168, 0, 1].into(),
                [0xfd3d, 0x0a0b, 0x17d6, 0, 0, 0, 0, 1].into(),
            ],
            congestion: None,
            sysctls: Some(SYSCTLS.into()),
            checksum: None,
            mptcp: true,
            version: mptcp::Versions::V1,
            linux: true,
            endpoints: None,
        }
    }
}

impl Flags {
    /// Reads `name=value` pairs, separated by commas.
    ///
    /// # Errors
    /// A pair that means nothing.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut flags = Self::default();
        for pair in text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, "on"));
            flags
                .set(name, value)
                .ok_or_else(|| format!("so_flags: {pair} means nothing"))?;
        }
        Ok(flags)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let switch = || match value {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        };
        match name {
            "mtu" => self.mtu = value.parse().ok()?,
            "local" => {
                let addr: std::net::IpAddr = value.parse().ok()?;
                self.local[usize::from(addr.is_ipv6())] = addr;
            },
            "congestion" => self.congestion = Some(algorithm(value)?),
            "sysctls" => self.sysctls = (value != "off").then(|| value.into()),
            "checksum" => self.checksum = Some(switch()?),
            "mptcp" => self.mptcp = switch()?,
            "version" => {
                self.version = match value {
                    "0" => mptcp::Versions::V0,
                    "1" => mptcp::Versions::V1,
                    _ => return None,
                };
            },
            "linux" => self.linux = switch()?,
            "endpoints" => self.endpoints = Some(value.into()),
            _ => return None,
        }
        Some(())
    }

    /// The addresses to announce, with their numbers.
    pub(crate) fn endpoints(&self) -> Vec<(mptcp::AddrId, std::net::IpAddr)> {
        let file = self.endpoints.as_deref().map(std::fs::read_to_string);
        let text = file.and_then(Result::ok).unwrap_or_default();
        let line = |line: &str| {
            let (id, addr) = line.split_once(' ')?;
            Some((mptcp::AddrId(id.parse().ok()?), addr.trim().parse().ok()?))
        };
        text.lines().filter_map(line).collect()
    }

    /// The settings as they stand.
    pub(crate) fn settings(&self) -> Settings {
        let read = |name: &str| {
            let folder = self.sysctls.as_deref()?;
            std::fs::read_to_string(folder.join(Path::new(name))).ok()
        };
        let number = |name: &str, default: u32| {
            let text = read(name);
            let last = text
                .as_deref()
                .and_then(|text| text.split_whitespace().last());
            last.and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let middle = |name: &str, default: u32| {
            let text = read(name);
            let middle = text
                .as_deref()
                .and_then(|text| text.split_whitespace().nth(1));
            middle.and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let named = read("ipv4/tcp_congestion_control");
        let named = named.and_then(|name| algorithm(name.trim()));
        Settings {
            timestamps: number("ipv4/tcp_timestamps", 1) != 0,
            sack: number("ipv4/tcp_sack", 1) != 0,
            window_scaling: number("ipv4/tcp_window_scaling", 1) != 0,
            ecn: number("ipv4/tcp_ecn", 2),
            syn_retries: number("ipv4/tcp_syn_retries", 6),
            synack_retries: number("ipv4/tcp_synack_retries", 5),
            rcvbuf: middle("ipv4/tcp_rmem", 131_072),
            rcvbuf_max: number("ipv4/tcp_rmem", 6_291_456),
            sndbuf: middle("ipv4/tcp_wmem", 16_384),
            sndbuf_max: number("ipv4/tcp_wmem", 4_194_304),
            congestion: self.congestion.or(named).unwrap_or_default(),
            mptcp: self.mptcp && number("mptcp/enabled", 1) != 0,
            checksum: self
                .checksum
                .unwrap_or(number("mptcp/checksum_enabled", 0) != 0),
        }
    }
}

fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "reno" | "newreno" => Some(Algorithm::NewReno),
        "cubic" => Some(Algorithm::Cubic),
        "bbr" => Some(Algorithm::Bbr),
        _ => None,
    }
}

/// What a connection begins with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) timestamps: bool,
    pub(crate) sack: bool,
    pub(crate) window_scaling: bool,
    /// 0 never, 1 asked for, 2 where the peer asks.
    pub(crate) ecn: u32,
    pub(crate) syn_retries: u32,
    pub(crate) synack_retries: u32,
    pub(crate) rcvbuf: u32,
    pub(crate) rcvbuf_max: u32,
    pub(crate) sndbuf: u32,
    pub(crate) sndbuf_max: u32,
    pub(crate) congestion: Algorithm,
    pub(crate) mptcp: bool,
    pub(crate) checksum: bool,
}

impl Settings {
    /// The shift of our windows: the least with which the largest receive buffer can be announced (RFC 7323 2.2).
    pub(crate) fn wscale(&self) -> Option<u8> {
        let fits = |shift: &u8| self.rcvbuf_max >> shift <= u32::from(u16::MAX);
        self.window_scaling
            .then(|| (0..14).find(fits).unwrap_or(14))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_pairs_and_nonsense_is_named() {
        let flags = Flags::read("mtu=1400,congestion=reno,checksum=on,mptcp=off").unwrap();
        assert_eq!(
            (flags.mtu, flags.congestion),
            (1400, Some(Algorithm::NewReno))
        );
        assert_eq!((flags.checksum, flags.mptcp), (Some(true), false));
        for wrong in ["mtu=many", "version=2", "checksum=maybe", "speed=9"] {
            assert!(Flags::read(wrong).unwrap_err().contains(wrong));
        }
    }

    #[test]
    fn settings_are_those_of_the_machine_or_linuxes_own() {
        let folder = std::env::temp_dir().join(format!("braid-sysctls-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("ipv4")).unwrap();
        std::fs::write(folder.join("ipv4/tcp_sack"), "0\n").unwrap();
        std::fs::write(folder.join("ipv4/tcp_rmem"), "4096\t540000\t15728640\n").unwrap();
        let there = format!("sysctls={}", folder.display());
        let settings = Flags::read(&there).unwrap().settings();
        assert_eq!(
            (settings.sack, settings.rcvbuf, settings.wscale()),
            (false, 540_000, Some(8))
        );
        assert!(Flags::read("sysctls=off").unwrap().settings().sack);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
