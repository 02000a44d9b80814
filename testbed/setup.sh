#!/usr/bin/env bash
# Installs what Braid needs on Debian 12, if it is missing, and checks that Rust is there.
#   testbed/setup.sh build    what it takes to build (DPDK, clang)
#   testbed/setup.sh bench    that, what the demo uses, and what is compared with in benchmarks
#   testbed/setup.sh          that, and what the demo and the kernel-peer tests use
set -euo pipefail

build="dpdk libdpdk-dev clang libclang-dev pkg-config build-essential"
lab="iproute2 iputils-ping ethtool nftables iptables tcpdump tshark curl nginx-light mptcpize gnuplot-nox procps python3 iperf3 wget openssl openssh-server openssh-client netsniff-ng valgrind"
peers="dpdk-dev haproxy"
wanted=$build
[ "${1:-all}" = build ] || wanted="$build $lab"
[ "${1:-all}" != bench ] || wanted="$wanted $peers"

missing=""
for package in $wanted; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "setup: these packages are missing, install them as root: apt-get install$missing" >&2
        exit 1
    fi
    echo "setup: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    # nginx must not start as a service of this machine: the demo runs its own, in a namespace.
    guard=/usr/sbin/policy-rc.d
    if [ ! -e $guard ]; then
        printf '#!/bin/sh\nexit 101\n' >$guard
        chmod +x $guard
        trap 'rm -f $guard' EXIT
    fi
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of packages
    if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -20 "$log" >&2
        echo "setup: apt could not install$missing" >&2
        exit 1
    fi
fi

if ! command -v cargo >/dev/null; then
    echo "setup: Rust is missing: install it with the script at https://rustup.rs (1.95 or newer), then run this again" >&2
    exit 1
fi
