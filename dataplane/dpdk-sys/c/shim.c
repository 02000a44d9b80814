#include "shim.h"

#include <string.h>

#include <rte_byteorder.h>
#include <rte_flow.h>
#include <rte_mbuf_pool_ops.h>

int braid_errno(void)
{
	return rte_errno;
}

int braid_link_up(uint16_t port)
{
	struct rte_eth_link link = { 0 };
	int failed = rte_eth_link_get_nowait(port, &link);

	return failed ? failed : link.link_status;
}

uint16_t braid_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

uint16_t braid_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

struct rte_mempool *braid_pool_create(const char *name, unsigned int n, unsigned int cache, uint16_t room, int socket)
{
	struct rte_pktmbuf_pool_private private = { .mbuf_data_room_size = room };
	unsigned int flags = rte_eal_has_hugepages() ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG;
	struct rte_mempool *pool = rte_mempool_create_empty(name, n, sizeof(struct rte_mbuf) + room, cache,
							    sizeof(private), socket, flags);
	int failed;

	if (pool == NULL)
		return NULL;
	failed = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	if (failed == 0) {
		rte_pktmbuf_pool_init(pool, &private);
		failed = rte_mempool_populate_default(pool);
	}
	if (failed < 0) {
		rte_mempool_free(pool);
		rte_errno = -failed;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

void braid_ask_checksum(struct rte_mbuf *mbuf, const uint16_t lens[3], bool ipv6)
{
	mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | (ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
	mbuf->tx_offload = rte_mbuf_tx_offload(lens[0], lens[1], lens[2], 0, 0, 0, 0);
}

bool braid_ask_cut(uint16_t port, uint16_t queue, struct rte_mbuf *mbuf, const uint16_t lens[3], uint16_t segment, bool ipv6,
		   bool sums_ip)
{
	braid_ask_checksum(mbuf, lens, ipv6);
	mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | (sums_ip && !ipv6 ? RTE_MBUF_F_TX_IP_CKSUM : 0);
	mbuf->tso_segsz = segment;
	return rte_eth_tx_prepare(port, queue, &mbuf, 1) == 1;
}

int braid_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, n);
}

void braid_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

void braid_attach(struct rte_mbuf *indirect, struct rte_mbuf *direct, uint16_t offset, uint16_t len)
{
	rte_pktmbuf_attach(indirect, direct);
	indirect->data_off = offset;
	indirect->data_len = len;
	indirect->pkt_len = len;
}

unsigned int braid_pool_count(const struct rte_mempool *pool)
{
	return rte_mempool_get_ops(pool->ops_index)->get_count(pool);
}

int braid_steer(uint16_t port, const uint8_t *address, size_t len, uint16_t tcp_port, uint16_t queue)
{
	struct rte_flow_attr attr = { .ingress = 1 };
	struct rte_flow_item_ipv4 v4 = { 0 }, v4_mask = { 0 };
	struct rte_flow_item_ipv6 v6 = { 0 }, v6_mask = { 0 };
	struct rte_flow_item_tcp tcp = { .hdr.dst_port = rte_cpu_to_be_16(tcp_port) };
	struct rte_flow_item_tcp tcp_mask = { .hdr.dst_port = 0xffff };
	struct rte_flow_item ip = { .type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &v4, .mask = &v4_mask };
	struct rte_flow_item ip6 = { .type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &v6, .mask = &v6_mask };
	struct rte_flow_item pattern[] = {
		{ .type = RTE_FLOW_ITEM_TYPE_ETH },
		len == 4 ? ip : ip6,
		{ .type = RTE_FLOW_ITEM_TYPE_TCP, .spec = &tcp, .mask = &tcp_mask },
		{ .type = RTE_FLOW_ITEM_TYPE_END },
	};
	struct rte_flow_action_queue to = { .index = queue };
	struct rte_flow_action actions[] = {
		{ .type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &to },
		{ .type = RTE_FLOW_ACTION_TYPE_END },
	};
	struct rte_flow_error error = { 0 };
	int failed;

	if (len == 4) {
		memcpy(&v4.hdr.dst_addr, address, 4);
		memset(&v4_mask.hdr.dst_addr, 0xff, 4);
	} else if (len == 16) {
		memcpy(v6.hdr.dst_addr, address, 16);
		memset(v6_mask.hdr.dst_addr, 0xff, 16);
	} else {
		return -EINVAL;
	}
	failed = rte_flow_validate(port, &attr, pattern, actions, &error);
	if (failed)
		return failed < 0 ? failed : -ENOTSUP;
	return rte_flow_create(port, &attr, pattern, actions, &error) == NULL ? -rte_errno : 0;
}
