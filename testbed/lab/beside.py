"""What rows put beside the chain: a second customer, a second HAG, and a router that leads past the HAG.

                   link1 (P), link2 (X)            core
    host ------- hcpe ------+-+-------- hag --------+---- server
    other-host - other-hcpe +-+-------- other-hag --+
                            +---------- router -----+

They hang on the chain's own bridges, so all boxes see each other on P and on X, and routes alone say who speaks to whom:
the customers' networks are 10.10.0.0/24 and 10.20.0.0/24, what each box of a kind has in common ends in another octet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .chain import CORE, LINK1, LINK2, Chain, addressed, calm, silence, veth
from .chainconfig import V4, V6, WIRE, Ends, Setup, over, tree, written
from .netns import Namespace
from .topology import CONGESTION

OTHER4 = Ends("10.20.0.2", "10.20.0.1", V4.server, "10.9.0.11", "10.1.0.12", "10.2.0.12", "10.99.0.12")
OTHER6 = Ends("fd00:20::2", "fd00:20::1", V6.server, "fd00:9::11", "fd00:1::12", "fd00:2::12", "fd00:99::12")
OTHERS = ("10.20.0.0/24", "fd00:20::/64")
OWN = ("10.10.0.0/24", "fd00:10::/64")

HAG, OTHER_HAG = 1, 11
"""What the addresses of a HAG end in, on every line; on the core it is the last octet of `Ends.core`."""

_PLAIN = Setup(links=(WIRE, WIRE))


def _to(networks: tuple[str, str], via4: str, via6: str) -> list[dict[str, str]]:
    return [{"to": network, "via": via} for network, via in zip(networks, (via4, via6), strict=True)]


def _routes_of_hag(*more: dict[str, str]) -> list[dict[str, str]]:
    return [*tree("hag", _PLAIN)["routes"], *more]


ONE_HAG = replace(_PLAIN, hag={
    "routes": _routes_of_hag(*_to(OTHERS, OTHER4.hcpe1, OTHER6.hcpe1)),
    "subscribers": [*tree("hag", _PLAIN)["subscribers"], *OTHERS, f"{OTHER4.hcpe1}/32"],
})  # fmt: skip
"""The chain whose HAG serves the other customer, too."""

TWO_HAGS = replace(_PLAIN, hag={"routes": _routes_of_hag(*_to(OTHERS, OTHER4.core, OTHER6.core))})
"""The chain whose HAG knows the other customer behind the other HAG."""

ROUTER4, ROUTER6 = "10.1.0.9", "fd00:1::9"
CORE_ROUTER4, CORE_ROUTER6 = "10.9.0.9", "fd00:9::9"

BY_ROUTER = replace(_PLAIN, hcpe={
    "routes": [*_to(("0.0.0.0/0", "::/0"), ROUTER4, ROUTER6), *tree("hcpe", _PLAIN)["routes"][2:]],
})  # fmt: skip
"""The chain whose HCPE sends what goes by P to the router."""


def other_customer(made: Chain, hag: int = HAG) -> Namespace:
    """The other customer's host, once its HCPE runs, behind that HAG."""
    return made.once("other customer", lambda: _customer(made, hag))


def _customer(made: Chain, hag: int) -> Namespace:
    box, host = made.space("other-hcpe"), made.space("other-host")
    calm(box)
    calm(host, six=True)
    veth(box, "l0", host, "h0")
    made.plug(LINK1, box, "w1", "other-w1")
    made.plug(LINK2, box, "w2", "other-w2")
    made.plugged["other-h0"] = (host, "h0")
    silence(box, ["l0", "w1", "w2"])
    addressed(host, "h0", f"{OTHER4.host}/24", f"{OTHER6.host}/64", OTHER4.lan, OTHER6.lan)
    announced = (f"10.99.0.{hag + 1}", f"fd00:99::{hag + 1}")
    own = {
        "ports": {
            "lan": {"addresses": [f"{OTHER4.lan}/24", f"{OTHER6.lan}/64"]},
            "wan1": {"addresses": [f"{OTHER4.hcpe1}/24", f"{OTHER6.hcpe1}/64"]},
            "wan2": {"addresses": [f"{OTHER4.hcpe2}/24", f"{OTHER6.hcpe2}/64"]},
        },
        "routes": [
            *_to(("0.0.0.0/0", "::/0"), f"10.1.0.{hag}", f"fd00:1::{hag}"),
            *_to((f"{announced[0]}/32", f"{announced[1]}/128"), f"10.2.0.{hag}", f"fd00:2::{hag}"),
        ],
        "hosts": list(OTHERS),
        "hag": {"addresses": list(announced)},
    }
    _run(made, "other-hcpe", "hcpe", own)
    return host


def other_hag(made: Chain, announced: tuple[str, str] = (OTHER4.announced, OTHER6.announced)) -> None:
    """Runs the other customer's HAG, and tells the server which customer is behind it."""
    made.once("other hag", lambda: _hag(made, announced))


def _hag(made: Chain, announced: tuple[str, str]) -> None:
    box = made.space("other-hag")
    calm(box)
    for line, device in ((LINK1, "a1"), (LINK2, "a2"), (CORE, "c1")):
        made.plug(line, box, device, f"other-{device}")
    silence(box, ["a1", "a2", "c1"])
    own = {
        "ports": {
            "access1": {"addresses": [f"10.1.0.{OTHER_HAG}/24", f"fd00:1::{OTHER_HAG}/64"]},
            "access2": {"addresses": [f"10.2.0.{OTHER_HAG}/24", f"fd00:2::{OTHER_HAG}/64"]},
            "core": {"addresses": [f"{OTHER4.core}/24", f"{OTHER6.core}/64"]},
        },
        "routes": [
            *_to(("0.0.0.0/0", "::/0"), V4.server, V6.server),
            *_to(OTHERS, OTHER4.hcpe1, OTHER6.hcpe1),
            *_to(OWN, V4.core, V6.core),
        ],
        "subscribers": [*OTHERS, f"{OTHER4.hcpe1}/32"],
        "mptcp": {"announce": list(announced)},
    }
    _run(made, "other-hag", "hag", own)
    _route(made.server, OTHERS, OTHER4.core, OTHER6.core)


def _run(made: Chain, name: str, kind: str, own: dict[str, Any]) -> None:
    whole = over(tree(kind, _PLAIN), own)
    made.add_box(name, kind, written(whole, made.work / f"{name}.sock"))


def lead(made: Chain, *, up: str, down: str) -> None:
    """Lets the customer's packets to the server (`up`) and the server's to it (`down`) go `by` the HAG or `past` it."""
    router = made.once("router", lambda: _router(made))
    for server, hag in ((f"{V4.server}/32", f"10.1.0.{HAG}"), (f"{V6.server}/128", f"fd00:1::{HAG}")):
        router.ip(f"route replace {server} {'dev r0' if up == 'past' else f'via {hag}'}", six=":" in hag)
    _route(made.server, OWN, *((CORE_ROUTER4, CORE_ROUTER6) if down == "past" else (V4.core, V6.core)))


def _router(made: Chain) -> Namespace:
    space = made.space("router")
    calm(space, six=True)
    for line, device, four, six in ((LINK1, "r1", ROUTER4, ROUTER6), (CORE, "r0", CORE_ROUTER4, CORE_ROUTER6)):
        made.plug(line, space, device, f"router-{device}")
        addressed(space, device, f"{four}/24", f"{six}/64", "", "")
    space.sysctl(net__ipv4__ip_forward=1, net__ipv4__conf__all__send_redirects=0, net__ipv4__conf__r1__send_redirects=0, net__ipv6__conf__all__forwarding=1)
    _route(space, OWN, V4.hcpe1, V6.hcpe1)
    return space


def _route(space: Namespace, networks: tuple[str, str], via4: str, via6: str) -> None:
    for network, via in zip(networks, (via4, via6), strict=True):
        space.ip(f"route replace {network} via {via} congctl {CONGESTION}", six=":" in via)
