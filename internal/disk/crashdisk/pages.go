package crashdisk

const pageSize = 4096

// pages is the content of a disk: the pages that were ever written, by number. A page is never changed but replaced, so
// that copies of the map share them.
type pages map[int64]*[pageSize]byte

// each calls f for every part of [off, off+n) that lies in one page: where in the page, and where in the range.
func each(off, n int64, f func(page, at, from, to int64)) {
	for done := int64(0); done < n; {
		page, at := (off+done)/pageSize, (off+done)%pageSize
		size := min(pageSize-at, n-done)
		f(page, at, done, done+size)
		done += size
	}
}

func (s pages) read(p []byte, off int64) {
	each(off, int64(len(p)), func(page, at, from, to int64) {
		if old := s[page]; old != nil {
			copy(p[from:to], old[at:])
			return
		}
		clear(p[from:to])
	})
}

func (s pages) write(p []byte, off int64) {
	each(off, int64(len(p)), func(page, at, from, to int64) {
		next := new([pageSize]byte)
		if old := s[page]; old != nil {
			*next = *old
		}
		copy(next[at:], p[from:to])
		s[page] = next
	})
}

func (s pages) apply(ops []op) {
	for _, o := range ops {
		s.write(o.data, o.off)
	}
}
