//! Device strings: a PCI address, or a virtual device's name and arguments.

use crate::interface;
use core::fmt::Write as _;
use thiserror::Error;

/// Octets of one slot in af_packet's rings; a frame and 80 octets of the kernel's header must fit.
const AF_PACKET_SLOT: u32 = 2048;
/// What the kernel puts before a frame in its slot, rounded up.
const AF_PACKET_SLOT_HEADER: u32 = 96;
/// Slots in each of af_packet's two rings: 25 ms at 1 Gbit/s, for a worker that sleeps between its turns.
const AF_PACKET_SLOTS: u32 = 2048;
/// Octets of one contiguous block of slots: few enough that a fragmented kernel still finds them.
const AF_PACKET_BLOCK: u32 = 16_384;

/// A device as it is given to EAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    name: String,
    args: String,
    pci: bool,
}

/// What is wrong with a device string.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// Neither a PCI address nor a driver's name with a number.
    #[error(
        "{0:?} is no device: write a PCI address such as 0000:03:00.0, or a virtual device such as \
         net_af_packet0,iface=eth1 (its name ends with a number of its own)"
    )]
    Unknown(String),
    /// An argument that the driver cannot do without.
    #[error("{device:?} names no interface: write {name},iface=INTERFACE")]
    NoInterface {
        /// The whole string.
        device: String,
        /// The device's name.
        name: String,
    },
    /// A part that is not `key=value`.
    #[error("{device:?}: {part:?} is no argument: write key=value, separated by commas")]
    Argument {
        /// The whole string.
        device: String,
        /// The part.
        part: String,
    },
}

impl Device {
    /// Reads a device string and completes it for frames of `mtu` octets: what the user wrote is kept as it is.
    ///
    /// `net_af_packet` gets rings of 2,048 slots in blocks of 16 KiB (4 MiB each way) and `qdisc_bypass=1`, so that sent
    /// frames go straight to the driver. With `qdisc_bypass=0`, `tc` on the interface sees them.
    ///
    /// # Errors
    /// [`DeviceError`]: what is wrong and what to write instead.
    pub fn parse(text: &str, mtu: u16) -> Result<Self, DeviceError> {
        if let Some(address) = pci_address(text) {
            return Ok(Self {
                name: address.clone(),
                args: address,
                pci: true,
            });
        }
        let (name, rest) = text.split_once(',').unwrap_or((text, ""));
        let numbered = name.ends_with(|c: char| c.is_ascii_digit());
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.starts_with("net_") && !name.starts_with("virtio_user")
            || !numbered
            || !name.chars().all(word)
        {
            return Err(DeviceError::Unknown(text.to_owned()));
        }
        for part in rest.split(',').filter(|_| !rest.is_empty()) {
            if part
                .split_once('=')
                .is_none_or(|(key, value)| key.is_empty() || value.is_empty())
            {
                return Err(DeviceError::Argument {
                    device: text.to_owned(),
                    part: part.to_owned(),
                });
            }
        }
        let mut device = Self {
            name: name.to_owned(),
            args: text.to_owned(),
            pci: false,
        };
        if device.is_on_interface() && device.argument("iface").is_none() {
            return Err(DeviceError::NoInterface {
                device: text.to_owned(),
                name: name.to_owned(),
            });
        }
        if device.is("net_af_packet") {
            device.complete_af_packet(mtu);
        }
        Ok(device)
    }

    /// Has it made with a queue for each worker, where its driver must be told and the user left it out: `qpairs` of
    /// `net_af_packet`, between which the kernel spreads flows.
    #[must_use]
    pub fn for_workers(mut self, workers: u16) -> Self {
        if workers > 1 && self.is("net_af_packet") && self.argument("qpairs").is_none() {
            // Writing to a String does not fail.
            let _ = write!(self.args, ",qpairs={workers}");
        }
        self
    }

    /// Spares a system call at each look at an empty queue of `net_af_xdp`, where the user left out `busy_budget`: by its default the
    /// driver has the kernel look for frames. On an interface without a device behind it, such as a veth, they come by themselves.
    /// Where there is a device the call stays: its interrupts are meant to be off then, and without the call the driver waits, up to
    /// a second, for a device that has run out of buffers.
    #[must_use]
    pub fn for_interface(mut self) -> Self {
        let alone = |interface: &str| interface::is_virtual(interface).unwrap_or(false);
        if self.is("net_af_xdp")
            && self.argument("busy_budget").is_none()
            && self.interface().is_some_and(alone)
        {
            self.args.push_str(",busy_budget=0");
        }
        self
    }

    /// Its name: the PCI address, or what stands before the first comma.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name and arguments, completed.
    #[must_use]
    pub fn args(&self) -> &str {
        &self.args
    }

    /// Whether it is a PCI device, which EAL must be told of when it starts.
    #[must_use]
    pub const fn is_pci(&self) -> bool {
        self.pci
    }

    /// The kernel's interface that it stands on, if any.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        // To net_vhost the same word names a socket, to net_tap an interface that it makes.
        self.argument("iface").filter(|_| self.is_on_interface())
    }

    /// Whether it stands on an interface of the kernel's.
    fn is_on_interface(&self) -> bool {
        self.is("net_af_packet") || self.is("net_af_xdp")
    }

    /// The same, if the driver is `net_af_packet`.
    pub(crate) fn af_packet_interface(&self) -> Option<&str> {
        self.interface().filter(|_| self.is("net_af_packet"))
    }

    /// Whether its link comes up only with the other process, which may wait for this one.
    pub(crate) fn is_vhost(&self) -> bool {
        self.is("net_vhost")
    }

    /// Octets that a receive buffer must hold for the driver, beside the frames themselves.
    pub(crate) fn least_buffer(&self) -> u32 {
        if self.is("net_af_packet") {
            self.number("framesz").unwrap_or(AF_PACKET_SLOT)
        } else {
            0
        }
    }

    fn is(&self, driver: &str) -> bool {
        let number = self.name.strip_prefix(driver);
        number.is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()))
    }

    fn argument(&self, key: &str) -> Option<&str> {
        let mut pairs = self.args.split(',').filter_map(|part| part.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn complete_af_packet(&mut self, mtu: u16) {
        let default = (u32::from(mtu) + 18 + AF_PACKET_SLOT_HEADER)
            .next_power_of_two()
            .max(AF_PACKET_SLOT);
        let slot = self.number("framesz").unwrap_or(default);
        // A power of two that holds a slot; one that nothing holds is the driver's to refuse.
        let block = slot
            .checked_next_power_of_two()
            .unwrap_or(slot)
            .max(AF_PACKET_BLOCK);
        for (key, value) in [
            ("framesz", slot),
            ("blocksz", block),
            ("framecnt", AF_PACKET_SLOTS),
            ("qdisc_bypass", 1),
        ] {
            if self.argument(key).is_none() {
                // Writing to a String does not fail.
                let _ = write!(self.args, ",{key}={value}");
            }
        }
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.argument(key)?.parse().ok()
    }
}

/// `text` as domain:bus:device.function, with the domain 0000 if left out.
fn pci_address(text: &str) -> Option<String> {
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.chars().all(|c| c.is_ascii_hexdigit())
    };
    let (slot, function) = text.rsplit_once('.')?;
    let mut parts = slot.rsplit(':');
    let (device, bus) = (parts.next()?, parts.next()?);
    let domain = parts.next().unwrap_or("0000");
    let good = hex(function, 1) && hex(device, 2) && hex(bus, 2) && hex(domain, 4);
    (good && parts.next().is_none()).then(|| format!("{domain}:{bus}:{device}.{function}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> String {
        Device::parse(text, 1500).unwrap().args().to_owned()
    }

    #[test]
    fn af_packet_is_completed_only_where_the_user_left_out() {
        for (given, completed) in [
            (
                "net_af_packet0,iface=h1",
                "net_af_packet0,iface=h1,framesz=2048,blocksz=16384,framecnt=2048,qdisc_bypass=1",
            ),
            (
                "net_af_packet1,iface=h1,qdisc_bypass=0,framecnt=512",
                "net_af_packet1,iface=h1,qdisc_bypass=0,framecnt=512,framesz=2048,blocksz=16384",
            ),
            (
                "net_af_packet1,iface=h1,framesz=32768",
                "net_af_packet1,iface=h1,framesz=32768,blocksz=32768,framecnt=2048,qdisc_bypass=1",
            ),
        ] {
            assert_eq!(args(given), completed);
        }
        let jumbo = Device::parse("net_af_packet0,iface=h1", 9000).unwrap();
        assert_eq!(jumbo.least_buffer(), 16_384);
        assert_eq!(jumbo.interface(), Some("h1"));
    }

    #[test]
    fn af_packet_gets_a_queue_for_each_worker() {
        let args = |text, workers| Device::parse(text, 1500).unwrap().for_workers(workers).args;
        assert!(args("net_af_packet0,iface=h1", 3).ends_with(",qpairs=3"));
        assert!(!args("net_af_packet0,iface=h1", 1).contains("qpairs"));
        assert!(!args("net_af_packet0,iface=h1,qpairs=2", 3).contains("qpairs=3"));
        assert_eq!(args("net_ring0", 3), "net_ring0");
    }

    #[test]
    fn other_devices_are_kept_as_they_are() {
        for text in [
            "net_ring0",
            "net_null1,size=64",
            "net_af_xdp0,iface=h1",
            "virtio_user0,path=/tmp/x",
        ] {
            let device = Device::parse(text, 1500).unwrap();
            assert_eq!((device.args(), device.is_pci()), (text, false));
        }
    }

    #[test]
    fn pci_addresses_get_their_domain() {
        for text in ["03:00.1", "0000:03:00.1"] {
            let device = Device::parse(text, 1500).unwrap();
            assert_eq!((device.name(), device.is_pci()), ("0000:03:00.1", true));
        }
    }

    #[test]
    fn what_is_no_device_is_refused_with_what_to_write() {
        for text in [
            "",
            "eth0",
            "net_af_packet,iface=h1",
            "net_ring 0",
            "3:0.1",
            "00000:03:00.1",
            "0:0000:03:00.1",
            "net_;rm0",
        ] {
            let error = Device::parse(text, 1500).unwrap_err();
            assert!(matches!(error, DeviceError::Unknown(_)), "{text}: {error}");
        }
        let error = Device::parse("net_af_packet0", 1500).unwrap_err();
        assert!(
            error.to_string().contains("net_af_packet0,iface="),
            "{error}"
        );
        for text in [
            "net_null0,size",
            "net_null0,=1",
            "net_null0,a=1,,b=2",
            "net_null0,a=",
        ] {
            let error = Device::parse(text, 1500).unwrap_err();
            assert!(
                matches!(error, DeviceError::Argument { .. }),
                "{text}: {error}"
            );
        }
    }
}
