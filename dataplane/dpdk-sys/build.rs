//! Binds Debian's libdpdk: bindgen for types and exported functions, a C shim for what is static inline.
//!
//! pkg-config's flags (`-march=…`, `-include rte_config.h`) go to bindgen and to the C compiler alike: a different
//! `-march` between the two would silently give different layouts.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All that may be missing, in one command.
const INSTALL: &str = "run `apt-get install -y libdpdk-dev dpdk clang libclang-dev pkg-config`";

/// The part of libdpdk that the bindings use; drivers are loaded by EAL at run time.
const LIBRARIES: [&str; 4] = ["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool"];

const FUNCTIONS: &str = "braid_.*|rte_eal_init|rte_thread_register|rte_strerror|rte_dev_probe|rte_dev_remove\
    |rte_mempool_free|rte_mempool_avail_count\
    |rte_eth_dev_(get_port_by_name|info_get|configure|adjust_nb_rx_tx_desc|start|stop|close|set_mtu)\
    |rte_eth_(rx|tx)_queue_setup|rte_eth_macaddr_get|rte_eth_stats_get|rte_eth_allmulticast_enable\
    |rte_eth_dev_rss_(reta_update|reta_query|hash_conf_get|hash_update)";

const CONSTANTS: &str = "BRAID_.*|RTE_PKTMBUF_HEADROOM|SOCKET_ID_ANY";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=c/shim.h");
    println!("cargo::rerun-if-changed=c/shim.c");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    // cargo fails on such an error by itself, and without dumping all that the script printed.
    if let Err(what) = build() {
        println!("cargo::error=dpdk-sys cannot be built: {what}; {INSTALL}");
    }
}

fn build() -> Result<(), String> {
    let library = pkg_config::Config::new()
        .range_version("22.11".."23")
        .cargo_metadata(false)
        .probe("libdpdk")
        .map_err(|_| "pkg-config finds no libdpdk 22.11".to_owned())?;
    let flags = compiler_flags()?;
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from);
    let out = out.ok_or_else(|| "cargo set no OUT_DIR".to_owned())?;
    compile_shim(&flags)?;
    bind(&flags, &out)?;
    for path in &library.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for name in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={name}");
    }
    Ok(())
}

/// What pkg-config wants passed to a C compiler; the pkg-config crate itself tells include paths and defines only.
fn compiler_flags() -> Result<Vec<String>, String> {
    let pkg_config = std::env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = Command::new(pkg_config)
        .args(["--cflags", "libdpdk"])
        .output()
        .map_err(|error| format!("pkg-config does not run ({error})"))?;
    let flags = String::from_utf8_lossy(&output.stdout);
    Ok(flags.split_whitespace().map(str::to_owned).collect())
}

fn compile_shim(flags: &[String]) -> Result<(), String> {
    let mut shim = cc::Build::new();
    shim.file("c/shim.c").opt_level(3).cargo_warnings(false);
    for flag in flags {
        shim.flag(flag);
    }
    shim.try_compile("braid_dpdk_shim")
        .map_err(|error| format!("the C shim does not compile ({error})"))
}

fn bind(flags: &[String], out: &Path) -> Result<(), String> {
    let builder = bindgen::Builder::default()
        .header("c/shim.h")
        .clang_args(flags)
        .allowlist_function(FUNCTIONS)
        .allowlist_var(CONSTANTS)
        .allowlist_type("rte_mbuf")
        .opaque_type(
            "rte_mempool|rte_device|rte_arp.*|rte_gtp.*|rte_l2tpv2.*|rte_vxlan.*|rte_mpls.*",
        )
        .default_enum_style(bindgen::EnumVariation::NewType {
            is_bitfield: false,
            is_global: false,
        })
        .generate_comments(false)
        .generate_cstr(true)
        .prepend_enum_name(false)
        .derive_default(true)
        .wrap_unsafe_ops(true)
        .rust_edition(bindgen::RustEdition::Edition2024);
    // bindgen panics where libclang is missing: say so in the one sentence instead.
    std::panic::set_hook(Box::new(|_| {}));
    let generated = std::panic::catch_unwind(AssertUnwindSafe(|| builder.generate()));
    let _ = std::panic::take_hook();
    let bindings = generated
        .map_err(|_| "bindgen finds no usable libclang".to_owned())?
        .map_err(|error| format!("the headers of libdpdk do not parse ({error})"))?;
    bindings
        .write_to_file(out.join("bindings.rs"))
        .map_err(|error| format!("the bindings cannot be written ({error})"))
}
