//! DPDK's environment: memory and threads, started once a process and never ended.

use crate::device::Device;
use core::ffi::{c_char, c_int};
use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;

/// How to start EAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalConfig {
    /// Memory for packet buffers, in MiB.
    pub memory_mb: u32,
    /// Huge pages: `Some(true)` insists, `Some(false)` does without, `None` uses them if enough are free.
    pub hugepages: Option<bool>,
    /// The machine's core that the calling thread is bound to. `None`: it stays where it is allowed to run. Threads that
    /// it starts later are bound alike, so start those of the control plane first.
    pub core: Option<u16>,
    /// The cores of further workers: some devices make a queue for each that EAL knows. Their threads are the caller's
    /// own, see [`Eal::join`].
    pub others: Vec<u16>,
    /// PCI addresses of the devices that will be opened. Without any, EAL looks at no PCI device at all.
    pub pci: Vec<String>,
}

impl Default for EalConfig {
    fn default() -> Self {
        Self {
            memory_mb: 256,
            hugepages: None,
            core: None,
            others: Vec::new(),
            pci: Vec::new(),
        }
    }
}

/// Why EAL did not start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EalError {
    /// It was started before; a process has one.
    #[error("DPDK was already started in this process, which can be done once only")]
    Again,
    /// Not a PCI address.
    #[error("{0:?} is no PCI address: write one such as 0000:03:00.0")]
    Pci(String),
    /// EAL refused.
    #[error("DPDK did not start ({reason}; arguments: {arguments}): {advice}")]
    Start {
        /// What DPDK says.
        reason: String,
        /// The arguments that it was given.
        arguments: String,
        /// What to do.
        advice: String,
    },
}

/// Proof that EAL runs.
#[derive(Clone, Copy, Debug)]
pub struct Eal(());

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts EAL; the calling thread becomes its main core. Worth a try only once: EAL cannot start anew after it failed.
    ///
    /// # Errors
    /// [`EalError`]: what failed and what to do.
    pub fn init(config: &EalConfig) -> Result<Self, EalError> {
        let huge = config
            .hugepages
            .unwrap_or_else(|| free_hugepages_mb() >= u64::from(config.memory_mb));
        let args = arguments(config, huge, &allowed_cores())?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::Again);
        }
        let failed = |reason: String| EalError::Start {
            reason,
            arguments: args.join(" "),
            advice: advice(config, huge),
        };
        let owned: Result<Vec<CString>, _> =
            args.iter().map(|arg| CString::new(arg.as_str())).collect();
        let owned = owned.map_err(|_| failed("an argument holds a NUL octet".to_owned()))?;
        let argc = c_int::try_from(owned.len()).unwrap_or(c_int::MAX);
        // EAL may keep pointers into its arguments and reorders the array: neither is ever freed.
        let argv: Vec<*mut c_char> = owned.into_iter().map(CString::into_raw).collect();
        let argv = argv.leak();
        // SAFETY: argc pointers to NUL-terminated strings, all leaked and so valid for ever; called once a process.
        if unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) } < 0 {
            return Err(failed(crate::last_reason()));
        }
        Ok(Self(()))
    }

    /// Makes the calling thread known to EAL, for as long as it lives: pools then keep some buffers ready for it. A thread
    /// that is not known works all the same, slower.
    ///
    /// # Errors
    /// What DPDK says: there are too many threads.
    pub fn join(self) -> Result<(), String> {
        // SAFETY: EAL runs, as self shows; the thread's own storage alone changes.
        if unsafe { dpdk_sys::rte_thread_register() } < 0 {
            return Err(crate::last_reason());
        }
        Ok(())
    }
}

/// EAL's command line. Errors are printed by EAL itself, nothing else is.
fn arguments(config: &EalConfig, huge: bool, allowed: &str) -> Result<Vec<String>, EalError> {
    let cores = config
        .core
        .map_or_else(|| format!("({allowed})"), |core| core.to_string());
    let others = (1..).zip(&config.others);
    let others: String = others.map(|(n, core)| format!(",{n}@{core}")).collect();
    let mut args = vec![
        "braid".to_owned(),
        format!("--lcores=0@{cores}{others}"),
        "--no-telemetry".to_owned(),
        "--log-level=error".to_owned(),
        "-m".to_owned(),
        config.memory_mb.to_string(),
    ];
    if huge {
        args.extend(["--in-memory", "--single-file-segments"].map(str::to_owned));
    } else {
        args.extend(["--no-huge", "--no-shconf"].map(str::to_owned));
    }
    if config.pci.is_empty() {
        args.push("--no-pci".to_owned());
        args.push("--iova-mode=va".to_owned());
    }
    for text in &config.pci {
        let device = Device::parse(text, 0).ok().filter(Device::is_pci);
        let device = device.ok_or_else(|| EalError::Pci(text.clone()))?;
        args.extend(["-a".to_owned(), device.name().to_owned()]);
    }
    Ok(args)
}

fn advice(config: &EalConfig, huge: bool) -> String {
    if huge {
        format!(
            "reserve {} MiB of huge pages (for 2 MiB pages: sysctl vm.nr_hugepages={}), or set hugepages to no",
            config.memory_mb,
            config.memory_mb.div_ceil(2) + 8
        )
    } else {
        "run as root or with the capabilities of the devices, with a core number that exists, and with less memory if \
         the machine is short of it"
            .to_owned()
    }
}

/// Free huge pages of all sizes, in MiB.
fn free_hugepages_mb() -> u64 {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else {
        return 0;
    };
    sizes
        .flatten()
        .filter_map(|size| free_kb(&size.path()))
        .sum::<u64>()
        / 1024
}

fn free_kb(size: &Path) -> Option<u64> {
    let name = size.file_name()?.to_str()?;
    let kb: u64 = name
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()?;
    let free = fs::read_to_string(size.join("free_hugepages")).ok()?;
    Some(kb * free.trim().parse::<u64>().ok()?)
}

/// The cores that this thread may run on, as the kernel lists them: `0-1,4`.
fn allowed_cores() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map_or("0", str::trim).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(config: &EalConfig, huge: bool) -> String {
        arguments(config, huge, "0-1").unwrap().join(" ")
    }

    #[test]
    fn pci_is_left_alone_unless_a_device_is_configured() {
        let mut config = EalConfig::default();
        assert!(line(&config, true).contains("--no-pci"));
        assert!(line(&config, false).contains("--no-pci"));
        config.pci.push("03:00.0".to_owned());
        let with_pci = line(&config, true);
        assert!(!with_pci.contains("--no-pci") && with_pci.contains("-a 0000:03:00.0"));
        config.pci.push("net_ring0".to_owned());
        assert_eq!(
            arguments(&config, true, "0"),
            Err(EalError::Pci("net_ring0".to_owned()))
        );
    }

    #[test]
    fn the_two_families_of_memory_flags_do_not_mix() {
        let config = EalConfig::default();
        let (huge, none) = (line(&config, true), line(&config, false));
        assert!(huge.contains("--in-memory --single-file-segments") && !huge.contains("--no-huge"));
        assert!(
            none.contains("--no-huge") && none.contains("-m 256") && !none.contains("--in-memory")
        );
    }

    #[test]
    fn a_thread_stays_on_its_cores_unless_one_is_configured() {
        let mut config = EalConfig::default();
        assert!(line(&config, false).contains("--lcores=0@(0-1)"));
        config.core = Some(1);
        assert!(line(&config, false).contains("--lcores=0@1 "));
        config.others = vec![3, 0];
        assert!(line(&config, false).contains("--lcores=0@1,1@3,2@0 "));
    }
}
