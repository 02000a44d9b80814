/* What Rust needs of DPDK: the declarations below are bound by bindgen, the functions of this file are in shim.c.
 *
 * DPDK's fast path is static inline, so it cannot be linked to. Each function here is one call a burst, except
 * braid_attach, braid_ask_checksum and braid_free, which are one call a segment.
 */
#ifndef BRAID_SHIM_H
#define BRAID_SHIM_H

#include <stdbool.h>

#include <rte_config.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Flags that DPDK defines as macros of macros, which bindgen does not see. */
static const uint64_t BRAID_RX_OFFLOAD_CKSUM =
	RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t BRAID_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t BRAID_TX_OFFLOAD_TCP_CKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
static const uint64_t BRAID_TX_OFFLOAD_TCP_TSO = RTE_ETH_TX_OFFLOAD_TCP_TSO;
static const uint64_t BRAID_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t BRAID_RSS_FLOWS = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
static const uint32_t BRAID_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint64_t BRAID_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t BRAID_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t BRAID_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t BRAID_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t BRAID_RX_L4_CKSUM_NONE = RTE_MBUF_F_RX_L4_CKSUM_NONE;
static const uint64_t BRAID_MBUF_NOT_DIRECT = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;

/* rte_errno of the calling thread. */
int braid_errno(void);

/* Whether a port's link is up: 1, 0, or a negative errno. Does not wait. */
int braid_link_up(uint16_t port);

/* Receives at most n frames from a queue of a started port; returns how many. */
uint16_t braid_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);

/* Gives n frames to a queue of a started port; returns how many it took, from the first on. */
uint16_t braid_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);

/* As rte_pktmbuf_pool_create without private data. Without hugepages mbufs may cross pages: else each one that is larger
 * than half a page would take a whole one. Null on failure, with rte_errno set. */
struct rte_mempool *braid_pool_create(const char *name, unsigned int n, unsigned int cache, uint16_t room, int socket);

/* Has the device compute the TCP checksum of a frame whose field holds the sum of the pseudo header, and whose first segment holds
 * all headers: `lens` are the octets of those of the link, of IP and of TCP. */
void braid_ask_checksum(struct rte_mbuf *mbuf, const uint16_t lens[3], bool ipv6);

/* The same for a frame that the device behind a queue cuts into segments of `segment` octets of payload, whatever its field holds;
 * `sums_ip` if it writes the checksums of IPv4, too. False if it does not take such a frame. */
bool braid_ask_cut(uint16_t port, uint16_t queue, struct rte_mbuf *mbuf, const uint16_t lens[3], uint16_t segment, bool ipv6,
		   bool sums_ip);

/* Takes n reset mbufs out of a pool: all and 0, or none and a negative errno. */
int braid_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n);

/* Drops one reference to each segment of a chain. */
void braid_free(struct rte_mbuf *mbuf);

/* Makes `indirect`, fresh from its pool, a segment of the len octets from `offset` on in `direct`'s memory; takes one more
 * reference to what `direct` stands on. */
void braid_attach(struct rte_mbuf *indirect, struct rte_mbuf *direct, uint16_t offset, uint16_t len);

/* Has a started port give TCP segments to `tcp_port` (host order) of an address, of 4 or 16 octets, to a queue. 0, or a
 * negative errno: that of the device which says that it cannot. */
int braid_steer(uint16_t port, const uint8_t *address, size_t len, uint16_t tcp_port, uint16_t queue);

/* Mbufs in the pool's ring: those in the per-core caches are not counted. */
unsigned int braid_pool_count(const struct rte_mempool *pool);

#endif
