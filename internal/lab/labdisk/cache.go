package labdisk

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
)

// Geometry: what a disk keeps or loses at a power cut is a sector; the cache keeps eight of them together.
const (
	sectorSize     = 512
	pageSize       = 4096
	pageSectors    = pageSize / sectorSize
	allSectors     = 1<<pageSectors - 1
	flushBatch     = 256 // pages written while the lock is held, so that a power cut can come in the middle of a flush
	maxCoalesced   = 256 << 10
	maxRecycled    = 4096
	fileMode       = 0o600
	defaultCacheMB = 64
)

// page is a piece of the write cache; sectors tells which of its eight sectors it holds.
type page struct {
	data    [pageSize]byte
	sectors uint8
	slot    int // in cache.numbers
}

// cache is a disk's volatile write cache over its file. It has no lock of its own.
type cache struct {
	file    *os.File
	pages   map[int64]*page // by offset / pageSize
	numbers []int64         // the keys, in no order, for picking one at random
	spare   []*page
	limit   int
	random  *rand.Rand
	scratch []byte
	evicted uint64 // sectors
}

func newCache(file *os.File, limitBytes int64, seed uint64) *cache {
	return &cache{
		file: file, pages: map[int64]*page{}, limit: max(int(limitBytes/pageSize), 1),
		random: rand.New(rand.NewPCG(seed, 0)), scratch: make([]byte, 0, maxCoalesced),
	}
}

// read fills p from offset off, the cache before the file.
func (c *cache) read(p []byte, off int64) error {
	if !c.covers(int64(len(p)), off) {
		if _, err := c.file.ReadAt(p, off); err != nil {
			return fmt.Errorf("read the disk's file: %w", err)
		}
	}
	c.each(int64(len(p)), off, func(pg *page, _ int64, s int, at int64) {
		if pg != nil && pg.sectors&(1<<s) != 0 {
			copy(p[at:at+sectorSize], pg.data[s*sectorSize:])
		}
	})
	return nil
}

// covers tells whether every sector of a range is in the cache.
func (c *cache) covers(length, off int64) bool {
	all := true
	c.each(length, off, func(pg *page, _ int64, s int, _ int64) {
		all = all && pg != nil && pg.sectors&(1<<s) != 0
	})
	return all
}

// each calls f for every sector of a range with its page (nil if not cached), the page's number, the sector within the
// page, and the sector's offset within the range.
func (c *cache) each(length, off int64, f func(pg *page, number int64, s int, at int64)) {
	var pg *page
	last := int64(-1)
	for at := int64(0); at < length; at += sectorSize {
		number := (off + at) / pageSize
		if number != last {
			pg, last = c.pages[number], number
		}
		f(pg, number, int((off+at)%pageSize/sectorSize), at)
	}
}

// write takes p into the cache, making room by writing back pages at random as disks do.
func (c *cache) write(p []byte, off int64) error {
	for len(p) > 0 {
		number, start := off/pageSize, off%pageSize
		pg := c.page(number)
		n := copy(pg.data[start:], p)
		for s := start / sectorSize; s < (start+int64(n))/sectorSize; s++ {
			pg.sectors |= 1 << s
		}
		p, off = p[n:], off+int64(n)
	}
	for len(c.pages) > c.limit {
		number := c.numbers[c.random.IntN(len(c.numbers))]
		c.evicted += uint64(count(c.pages[number].sectors))
		if err := c.writeBack([]int64{number}); err != nil {
			return err
		}
	}
	return nil
}

func count(mask uint8) (n int) {
	for ; mask != 0; mask &= mask - 1 {
		n++
	}
	return n
}

// page finds or makes a page.
func (c *cache) page(number int64) *page {
	if pg := c.pages[number]; pg != nil {
		return pg
	}
	var pg *page
	if n := len(c.spare); n > 0 {
		pg, c.spare = c.spare[n-1], c.spare[:n-1]
	} else {
		pg = new(page)
	}
	pg.sectors, pg.slot = 0, len(c.numbers)
	c.pages[number] = pg
	c.numbers = append(c.numbers, number)
	return pg
}

func (c *cache) drop(number int64) {
	pg := c.pages[number]
	if pg == nil {
		return
	}
	delete(c.pages, number)
	end := len(c.numbers) - 1
	moved := c.numbers[end]
	c.numbers[pg.slot] = moved
	if moved != number {
		c.pages[moved].slot = pg.slot
	}
	c.numbers = c.numbers[:end]
	if len(c.spare) < maxRecycled {
		c.spare = append(c.spare, pg)
	}
}

// dirty lists the pages in order.
func (c *cache) dirty() []int64 { return slices.Sorted(maps.Keys(c.pages)) }

// writeBack writes pages to the file, neighbours together, and drops them. Pages that have gone meanwhile are in the file
// already.
func (c *cache) writeBack(numbers []int64) error {
	start := int64(0)
	c.scratch = c.scratch[:0]
	for _, number := range numbers {
		pg := c.pages[number]
		if pg == nil {
			continue
		}
		for s := range pageSectors {
			if pg.sectors&(1<<s) == 0 {
				continue
			}
			at := number*pageSize + int64(s)*sectorSize
			if at != start+int64(len(c.scratch)) || len(c.scratch)+sectorSize > maxCoalesced {
				if err := c.put(start); err != nil {
					return err
				}
				start = at
			}
			c.scratch = append(c.scratch, pg.data[s*sectorSize:(s+1)*sectorSize]...)
		}
	}
	if err := c.put(start); err != nil {
		return err
	}
	for _, number := range numbers {
		c.drop(number)
	}
	return nil
}

func (c *cache) put(off int64) error {
	if len(c.scratch) == 0 {
		return nil
	}
	if _, err := c.file.WriteAt(c.scratch, off); err != nil {
		return fmt.Errorf("write the disk's file: %w", err)
	}
	c.scratch = c.scratch[:0]
	return nil
}

// forget drops what the cache has of a range.
func (c *cache) forget(length, off int64) {
	c.each(length, off, func(_ *page, number int64, s int, _ int64) {
		pg := c.pages[number]
		if pg == nil {
			return
		}
		if pg.sectors &^= 1 << s; pg.sectors == 0 {
			c.drop(number)
		}
	})
}

// cut is the power cut: each sector that was not flushed reaches the file with probability keep, the rest is lost.
func (c *cache) cut(keep float64) (kept, lost uint64, err error) {
	for _, number := range c.dirty() {
		pg := c.pages[number]
		for s := range pageSectors {
			if pg.sectors&(1<<s) == 0 {
				continue
			}
			if keep > 0 && c.random.Float64() < keep {
				kept++
			} else {
				pg.sectors &^= 1 << s
				lost++
			}
		}
		if werr := c.writeBack([]int64{number}); werr != nil && err == nil {
			err = werr
		}
	}
	return kept, lost, err
}
