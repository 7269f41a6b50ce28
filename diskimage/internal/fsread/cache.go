// SPDX-License-Identifier: Apache-2.0

package fsread

import (
	"container/list"
	"sync"
)

// Cache keeps the blocks that were used last, by their offsets on the disk and their lengths. The zero value is ready,
// and several goroutines may use it.
type Cache struct {
	mu     sync.Mutex
	blocks map[place]*list.Element
	order  list.List // of cached, the one used last first
	size   int
}

// maxCache is the number of bytes that a Cache keeps: some blocks of 1 MiB, the largest of squashfs.
const maxCache = 16 << 20

// place identifies a block.
type place struct{ at, length int64 }

type cached struct {
	place
	data []byte
}

// Get returns the block at an offset, which load reads if it is not in the cache. The block must not be changed. length
// is any number that tells blocks at one offset apart.
func (c *Cache) Get(offset, length int64, load func() ([]byte, error)) ([]byte, error) {
	at := place{offset, length}
	c.mu.Lock()
	if e, ok := c.blocks[at]; ok {
		c.order.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(cached).data, nil
	}
	c.mu.Unlock()
	data, err := load()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.blocks[at]; ok {
		return data, nil
	}
	if c.blocks == nil {
		c.blocks = map[place]*list.Element{}
	}
	c.blocks[at] = c.order.PushFront(cached{at, data})
	c.size += len(data)
	for c.size > maxCache && c.order.Len() > 1 {
		oldest := c.order.Remove(c.order.Back()).(cached)
		delete(c.blocks, oldest.place)
		c.size -= len(oldest.data)
	}
	return data, nil
}
