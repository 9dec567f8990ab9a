package metadata

// lru orders slot numbers by their last use, in two arrays of links. -1 is no slot.
type lru struct {
	prev, next  []int
	first, last int
}

// init puts slots 0..n-1 into the list; slot n-1 is the oldest, as DRBD fills its log from the end.
func (l *lru) init(n int) {
	l.prev, l.next = make([]int, n), make([]int, n)
	l.first, l.last = -1, -1
	for i := n - 1; i >= 0; i-- {
		l.append(i)
	}
}

func (l *lru) oldest() int     { return l.first }
func (l *lru) newer(i int) int { return l.next[i] }

// touch makes slot i the most recently used.
func (l *lru) touch(i int) {
	if l.last == i {
		return
	}
	l.remove(i)
	l.append(i)
}

func (l *lru) append(i int) {
	l.prev[i], l.next[i] = l.last, -1
	if l.last >= 0 {
		l.next[l.last] = i
	} else {
		l.first = i
	}
	l.last = i
}

func (l *lru) remove(i int) {
	p, n := l.prev[i], l.next[i]
	if p >= 0 {
		l.next[p] = n
	} else {
		l.first = n
	}
	if n >= 0 {
		l.prev[n] = p
	} else {
		l.last = p
	}
}
