#include "shim.h"

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
	indirect->data_off = (uint16_t)(direct->data_off + offset);
	indirect->data_len = len;
	indirect->pkt_len = len;
}

unsigned int braid_pool_count(const struct rte_mempool *pool)
{
	return rte_mempool_get_ops(pool->ops_index)->get_count(pool);
}
