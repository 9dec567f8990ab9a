package sim

import (
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/metastore"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/volume"
	"holdfast/internal/clock"
	"holdfast/internal/disk"
)

// volumeProcess is a process of the volume: the real engine.
type volumeProcess struct {
	h        *host
	life     int
	s        *volume.Stepped
	attached bool
	epoch    uint64 // of the tenure last seen, 0 when Secondary
	toDaemon instant
}

// startVolume starts a process, as the daemon does.
func (h *host) startVolume() {
	if h.volumeProc.alive || !h.up {
		return
	}
	w := h.w
	h.volumeProc.begin()
	v := &volumeProcess{h: h, life: h.volumeProc.life}
	h.volume = v
	var err error
	v.s, err = volume.NewStepped(volume.Config{
		Resource: w.resourceOf(h), Node: h.name, Clock: &h.clock, Log: w.logger(h),
		CreateSide: h.createSide,
		OpenDisk:   func(string) (disk.Device, error) { return h.openDisk() },
		Lease:      func() (volume.Lease, error) { return volume.LeaseFunc(func() clock.Boottime { return h.page }), nil },
	}, volume.Surroundings{
		Carry: v.carry, ALExtents: w.opts.ALExtents, Notes: &h.note, Tell: v.tell,
		Connect: func(cfg replica.Config, up func(*replica.Link)) func() { return w.link.connect(h, cfg, up) },
	})
	if err != nil {
		panic(err)
	}
	w.note(h, "volume process started")
	w.later(h.volumeProc, tickVolume, "volume tick", v.tick)
}

// resourceOf is the configuration of a host.
func (w *World) resourceOf(h *host) *resfile.Resource {
	if w.unbound != nil {
		return w.unbound.party(h).res
	}
	return w.res
}

func (h *host) openDisk() (disk.Device, error) {
	if h.disk.failing != nil {
		return nil, fmt.Errorf("open %s's disk: %w", h.name, h.disk.failing)
	}
	h.disk.open = true
	h.checkResize()
	return h.disk, nil
}

// checkResize is `drbdadm check-resize` before a disk that has grown is attached: its metadata may be at its old end still.
func (h *host) checkResize() {
	if h.disk.size == h.w.opts.Size+h.w.metadataSize() {
		return
	}
	if _, err := metastore.Open(h.disk, metadata.Internal, 0); err != nil {
		if _, err := metastore.Move(h.disk, h.w.opts.Size+h.w.metadataSize()); err != nil {
			h.w.note(h, "no metadata", "err", err)
		}
	}
}

// killVolume is a SIGKILL: the kernel keeps the requests for the next process.
func (h *host) killVolume() {
	if !h.volumeProc.alive {
		return
	}
	h.w.note(h, "volume process killed")
	h.w.link.processDown(h)
	h.volumeProc.end()
	h.volume = nil
}

func (v *volumeProcess) tick() {
	h := v.h
	h.w.later(h.volumeProc, h.w.between(tickVolume, tickVolume+time.Millisecond), "volume tick", v.tick)
	v.after(v.s.Tick())
}

// turn lets the engine take in what was posted.
func (v *volumeProcess) turn() {
	if v != nil {
		v.after(v.s.Step())
	}
}

func (v *volumeProcess) after(err error) {
	h := v.h
	if h.volume != v {
		return
	}
	h.w.link.pump(h)
	if at := v.s.Attached(); at && !v.attached {
		v.attached = true
		h.kernel.again()
	} else if !at {
		v.attached = false
	}
	v.noteTenure()
	if u := h.w.unbound; u != nil {
		u.observe(h)
	}
	h.w.proven()
	if err != nil || v.s.Finished() {
		h.w.note(h, "volume process ended", "err", err)
		h.killVolume()
		if u := h.w.unbound; u != nil {
			u.party(h).gone()
			return
		}
		h.volumeGone()
	}
}

func (v *volumeProcess) noteTenure() {
	epoch, primary := v.s.Primary()
	if !primary {
		v.epoch = 0
		return
	}
	if v.epoch == 0 {
		v.epoch = max(epoch, 1)
		if u := v.h.w.unbound; u != nil {
			u.tookOver(v.h)
			return
		}
		v.h.w.tookOver(v.h, epoch)
	}
}

// carry lets the disk carry a job out in a while, and tells the engine a little later.
func (v *volumeProcess) carry(j *volume.DiskJob) {
	w, proc := v.h.w, v.h.volumeProc
	took := w.between(20*time.Microsecond, 400*time.Microsecond)
	if j.Flush() {
		took = w.between(100*time.Microsecond, 2*time.Millisecond)
	}
	if w.net.slow > 0 && w.chance(40) {
		took *= 50
	}
	life := proc.life
	// The disk works on while the process is paused, but not after its end: what it has begun may be carried out or not.
	w.after(took, "disk", func() {
		if proc.life != life || !proc.alive {
			return
		}
		j.Run()
		w.later(proc, w.between(0, 50*time.Microsecond), "disk done", func() {
			j.Deliver()
			v.turn()
		})
	})
}

// tell sends a message to the daemon, in order.
func (v *volumeProcess) tell(m api.VolumeMessage) bool {
	h := v.h
	if u := h.w.unbound; u != nil {
		return u.party(h).hear(m)
	}
	if !h.daemonProc.alive || h.daemon == nil || h.daemon.control != v {
		return false
	}
	v.toDaemon = max(h.w.now.add(h.w.between(10*time.Microsecond, 150*time.Microsecond)), v.toDaemon+1)
	d := h.daemon
	h.w.later(h.daemonProc, v.toDaemon.sub(h.w.now), "from volume", func() { d.fromVolume(v, m) })
	return true
}

// kernelQueue is the kernel's side of the device: it keeps a request until it is answered or aborted.
type kernelQueue struct {
	host    *host
	pending []*request
}

// request is one of the kernel's.
type request struct {
	kernel.Request
	queue    *kernelQueue
	op       *op
	life     int // of the process that has it
	answered bool
}

// Complete takes the engine's answer; the client has it a little later, unless the process is paused or ends before.
func (r *request) Complete(_ *kernel.Request, err error) {
	h := r.queue.host
	if r.life != h.volumeProc.life {
		return
	}
	h.w.completed(h, r, err)
	h.w.later(h.volumeProc, 0, "answer", func() { r.queue.answer(r, err) })
}

func (q *kernelQueue) answer(r *request, err error) {
	for i, p := range q.pending {
		if p == r {
			q.pending = append(q.pending[:i], q.pending[i+1:]...)
			r.op.end(err)
			return
		}
	}
}

// submit queues an operation of a client.
func (q *kernelQueue) submit(o *op) {
	h := q.host
	if h.volume == nil || !h.volume.attached {
		o.refused()
		return
	}
	r := &request{queue: q, op: o}
	q.pending = append(q.pending, r)
	q.pass(r)
}

// pass hands a request to the process there is.
func (q *kernelQueue) pass(r *request) {
	h := q.host
	v := h.volume
	r.life = h.volumeProc.life
	h.w.later(h.volumeProc, 10*time.Microsecond, "request", func() {
		if h.volume != v || !v.s.Attached() {
			return
		}
		r.op.entered()
		r.Request = kernel.Request{Op: r.op.kind, FUA: r.op.fua, Owner: r}
		if r.op.kind != kernel.Flush {
			r.Request.Offset, r.Request.Length = int64(r.op.block)*pageSize, pageSize
			r.Request.Data = r.op.buffer()
		}
		v.s.Submit(&r.Request)
		v.turn()
	})
}

// again hands everything unanswered to a new process.
func (q *kernelQueue) again() {
	for _, r := range q.pending {
		q.pass(r)
	}
}

// abort fails everything: the device was aborted, or the host is gone.
func (q *kernelQueue) abort() {
	list := q.pending
	q.pending = nil
	for _, r := range list {
		r.op.end(errAborted)
	}
}
