package writepath

import "slices"

// Ranges keeps operations on overlapping blocks apart: one runs, the later ones wait for it in the order of arrival.
type Ranges struct {
	active  []held
	waiting []held
	granted []ID
}

type held struct {
	id   ID
	span Span
}

// Acquire asks for a span; false means that the ID will be among those a later Release grants.
func (r *Ranges) Acquire(id ID, s Span) bool {
	h := held{id: id, span: s.blocks()}
	if conflicts(r.active, h.span) || conflicts(r.waiting, h.span) {
		r.waiting = append(r.waiting, h)
		return false
	}
	r.active = append(r.active, h)
	return true
}

func conflicts(list []held, s Span) bool {
	for i := range list {
		if list[i].span.overlaps(s) {
			return true
		}
	}
	return false
}

// Release ends the use of a span, or the wait for it, and returns the IDs that may go on now, in the order of their
// arrival. The slice is valid until the next call.
func (r *Ranges) Release(id ID) []ID {
	r.granted = r.granted[:0]
	same := func(h held) bool { return h.id == id }
	if i := slices.IndexFunc(r.active, same); i >= 0 {
		last := len(r.active) - 1
		r.active[i] = r.active[last]
		r.active = r.active[:last]
	} else if i := slices.IndexFunc(r.waiting, same); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	}
	if len(r.waiting) > 0 {
		r.grant()
	}
	return r.granted
}

func (r *Ranges) grant() {
	kept := r.waiting[:0]
	for _, h := range r.waiting {
		if conflicts(r.active, h.span) || conflicts(kept, h.span) {
			kept = append(kept, h)
			continue
		}
		r.active = append(r.active, h)
		r.granted = append(r.granted, h.id)
	}
	r.waiting = kept
}

// Busy is the number of spans in use or waited for.
func (r *Ranges) Busy() int { return len(r.active) + len(r.waiting) }
