//! What stands behind a port: DPDK's names of devices.

use super::quoted;
use super::reader::{At, Reader, Table};
use super::types::Device;

/// Drivers that attach to a network interface of the kernel, which they must be told.
const ON_INTERFACE: [&str; 2] = ["net_af_packet", "net_af_xdp"];

/// Reads the device of the `n`-th port.
pub(super) fn read(reader: &mut Reader, table: &Table<'_>, n: usize) -> Option<At<Device>> {
    let instead = format!(
        "write \"net_af_packet{n},iface=eth1\" for the kernel's interface eth1, or a PCI address such as \
         \"0000:03:00.0\""
    );
    let at = table.require(reader, "device", &instead)?;
    let At { value, place } = reader.text(at, &instead)?;
    let name = value.split(',').next().unwrap_or(&value);
    let wrong = |reader: &mut Reader, what: String, instead: &str| {
        reader.wrong(&place, what, instead);
        None
    };
    if value.contains(char::is_whitespace) {
        return wrong(
            reader,
            format!("{} has a space in it", quoted(&value)),
            "write it without spaces",
        );
    }
    if is_pci(name) {
        if name != value {
            let what = format!("{} has arguments behind a PCI address", quoted(&value));
            return wrong(reader, what, &format!("write {}", quoted(name)));
        }
        return Some(At {
            value: Device::Pci(value),
            place,
        });
    }
    let driver = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if !(driver.starts_with("net_") || driver == "virtio_user") {
        let what = format!("{} is no DPDK device", quoted(name));
        let interface = !name.is_empty() && name.len() < 16 && !name.contains([':', '/', '.']);
        if interface {
            let instead = format!(
                "if that is an interface of the kernel, write \"net_af_packet{n},iface={name}\""
            );
            return wrong(reader, what, &instead);
        }
        return wrong(reader, what, &instead);
    }
    if driver == name {
        let what = format!("{} lacks its number", quoted(name));
        let instead = format!("write {name}{n}: no two devices may have one name");
        return wrong(reader, what, &instead);
    }
    let mut arguments = value.split(',').skip(1);
    let broken = arguments.find(|argument| {
        let pair = argument.split_once('=');
        pair.is_none_or(|(key, value)| key.is_empty() || value.is_empty())
    });
    if let Some(argument) = broken {
        let what = format!("{} is no argument", quoted(argument));
        return wrong(reader, what, "write key=value, with a comma before each");
    }
    if ON_INTERFACE.contains(&driver) && interface(&value).is_none() {
        let what = format!("{driver} is not told the interface");
        let instead = format!("write \"{name},iface=eth1\" with the interface's name");
        return wrong(reader, what, &instead);
    }
    Some(At {
        value: Device::Virtual(value),
        place,
    })
}

/// The kernel's interface that a device string names.
pub(super) fn interface(device: &str) -> Option<&str> {
    device
        .split(',')
        .skip(1)
        .find_map(|argument| argument.strip_prefix("iface="))
}

/// Whether `name` is `03:00.0` or `0000:03:00.0`.
fn is_pci(name: &str) -> bool {
    let hex = |text: &str, length| {
        text.len() == length && text.chars().all(|c: char| c.is_ascii_hexdigit())
    };
    let Some((rest, function)) = name.rsplit_once('.') else {
        return false;
    };
    let mut parts = rest.rsplit(':');
    let (device, bus, domain) = (parts.next(), parts.next(), parts.next());
    parts.next().is_none()
        && matches!(function, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7")
        && device.is_some_and(|text| hex(text, 2))
        && bus.is_some_and(|text| hex(text, 2))
        && domain.is_none_or(|text| hex(text, 4))
}
