package volume

import (
	"context"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/peer"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/wire"
	"holdfast/internal/clock"
)

// Surroundings are what a Stepped volume has in place of threads, sockets and files.
type Surroundings struct {
	// Carry takes a piece of disk I/O to carry out and deliver later.
	Carry func(*DiskJob)
	// Connect begins to look for the peer; up is to be called once, between steps, unless cancel was called before.
	Connect func(cfg replica.Config, up func(*replica.Link)) (cancel func())
	// Tell takes a message for the daemon; false if there is none.
	Tell func(api.VolumeMessage) bool
	// Notes are the small files of the host.
	Notes *Notes
	// ALExtents, when not 0, is the size of the activity log: smaller than a configuration may make it, so that extents
	// leave it all the time.
	ALExtents int
}

// Notes are what a volume process leaves for the one after it: Role survives only the process's end, the rest the host's too.
type Notes struct {
	Epoch  uint64
	Role   *peer.Resume
	healed *healed
	others map[int]*Notes // of the volumes of a resource but 0
}

// Of are the notes of one of several volumes.
func (n *Notes) Of(number int) *Notes {
	if number == 0 {
		return n
	}
	if n.others == nil {
		n.others = map[int]*Notes{}
	}
	if n.others[number] == nil {
		n.others[number] = &Notes{}
	}
	return n.others[number]
}

// memoryNotes are Notes as the engine uses its files.
type memoryNotes struct{ n *Notes }

func (m memoryNotes) loadEpoch() (uint64, error)      { return m.n.Epoch, nil }
func (m memoryNotes) storeEpoch(epoch uint64) error   { m.n.Epoch = epoch; return nil }
func (m memoryNotes) loadRole() (*peer.Resume, error) { return m.n.Role, nil }
func (m memoryNotes) storeRole(r peer.Resume) error   { m.n.Role = &r; return nil }
func (m memoryNotes) dropRole() error                 { m.n.Role = nil; return nil }
func (m memoryNotes) loadHealed() (*healed, error)    { return m.n.healed, nil }
func (m memoryNotes) storeHealed(h healed) error      { m.n.healed = &h; return nil }
func (m memoryNotes) dropHealed() error               { m.n.healed = nil; return nil }

// Stepped is a volume process that its caller drives, one event at a time, from one goroutine: the engine is the real one,
// with nothing but its threads and sockets taken away. The simulator uses it.
type Stepped struct {
	r       *resource
	e       *engine // the volume that what follows is about: the first, unless On says otherwise
	carrier *steppedCarrier
}

// NewStepped makes a volume process that has just started.
func NewStepped(cfg Config, s Surroundings) (*Stepped, error) {
	r, err := bareResource(cfg, func(v *resfile.Volume) stateStore { return memoryNotes{s.Notes.Of(v.Number)} })
	if err != nil {
		return nil, err
	}
	r.alExtents = s.ALExtents
	c := &steppedCarrier{r: r, carry: s.Carry, under: map[*job]*DiskJob{}}
	r.workers, r.control = c, steppedDaemon{s.Tell}
	r.connect = func(cfg replica.Config, up func(*replica.Link)) context.CancelFunc {
		return s.Connect(cfg, func(l *replica.Link) { r.inbox.call(func() { up(l) }) })
	}
	return &Stepped{r: r, e: r.parts[0], carrier: c}, nil
}

// On is the same process; what it tells, and is given to do as a device, is of the volume of that number.
func (s *Stepped) On(number int) *Stepped {
	return &Stepped{r: s.r, e: s.r.numbered(number), carrier: s.carrier}
}

// Step takes in what has been posted since the last step. It returns the error that ends the process.
func (s *Stepped) Step() error {
	for s.r.failure == nil && !s.r.finished {
		list := s.r.inbox.drain()
		if len(list) == 0 {
			break
		}
		for i := range list {
			s.r.handle(&list[i])
			s.r.settle()
		}
		s.r.follow()
	}
	return s.r.failure
}

// Tick is the passing of block.Tick.
func (s *Stepped) Tick() error {
	s.r.tick()
	s.r.settle()
	s.r.follow()
	return s.Step()
}

// Finished tells that the process has ended by itself, after `down`.
func (s *Stepped) Finished() bool { return s.r.finished }

// Hear takes a message of the daemon.
func (s *Stepped) Hear(m api.VolumeMessage) { s.r.inbox.call(func() { s.r.command(nil, m) }) }

// Meet is the arrival of a daemon: it is told everything.
func (s *Stepped) Meet() {
	s.r.inbox.call(s.r.meet)
}

// Submit takes a request of the kernel.
func (s *Stepped) Submit(r *kernel.Request) { s.e.target.Submit(r) }

// Attached tells whether there is a disk, so that requests may be submitted.
func (s *Stepped) Attached() bool { return s.e.target != nil && s.e.path != nil }

// HasDisk tells whether there is a disk that works.
func (s *Stepped) HasDisk() bool { return s.e.hasDisk() }

// Size is the device's in bytes; 0 before the first attach.
func (s *Stepped) Size() int64 {
	if s.e.target == nil {
		return 0
	}
	return s.e.target.Size()
}

// Primary tells whether the volume serves requests, and of which epoch.
func (s *Stepped) Primary() (epoch uint64, ok bool) {
	return s.e.machine.Epoch(), s.e.machine.IsPrimary()
}

// Branch is the branch of the cluster's log that the volume follows; false before it has heard of one.
func (s *Stepped) Branch() (branch uint64, ok bool) { return s.e.machine.Branch() }

// Connected tells whether the handshake with the peer has ended, with nothing left to resync.
func (s *Stepped) Connected() bool { return s.e.machine.Conn() == wire.Connected && !s.e.conn.closing }

// Syncing tells whether a resync is under way.
func (s *Stepped) Syncing() bool {
	return s.e.machine.Conn() == wire.SyncSource || s.e.machine.Conn() == wire.SyncTarget
}

// OutOfSync tells whether a block of 4 KiB is marked as one the peer may lack.
func (s *Stepped) OutOfSync(block uint64) bool { return s.e.store != nil && s.e.store.bits.Test(block) }

// OutOfSyncBits counts them.
func (s *Stepped) OutOfSyncBits() uint64 {
	if s.e.store == nil {
		return 0
	}
	return s.e.store.bits.Count()
}

// States are those of the volume as /proc/drbd has them.
func (s *Stepped) States() wire.States { return s.e.machine.States() }

// UUIDs are the generations now.
func (s *Stepped) UUIDs() generation.Set { return s.e.machine.UUIDs() }

// Linked tells whether there is a connection that is not being closed.
func (s *Stepped) Linked() bool { return s.e.conn.link != nil && !s.e.conn.closing }

// Idle tells whether nothing is under way, on the disk or for the peer.
func (s *Stepped) Idle() bool {
	return s.e.under == 0 && s.e.conn.peerJobs == 0 && (s.e.path == nil || s.e.path.Idle())
}

// DiskJob is a piece of disk I/O under way.
type DiskJob struct {
	c   *steppedCarrier
	job *job
	ran bool
}

// Flush tells whether the job makes data durable and nothing else.
func (d *DiskJob) Flush() bool { return d.job.work == doFlush }

// Run carries the job out, once.
func (d *DiskJob) Run() {
	if d.ran {
		return
	}
	d.ran = true
	d.job.err = d.job.run()
	if d.job.done != nil {
		close(d.job.done)
	}
}

// Deliver tells the volume that the job is done.
func (d *DiskJob) Deliver() {
	d.Run()
	delete(d.c.under, d.job)
	d.c.r.inbox.post(event{job: d.job})
}

type steppedCarrier struct {
	r     *resource
	carry func(*DiskJob)
	under map[*job]*DiskJob
}

func (c *steppedCarrier) add(j *job) {
	d := &DiskJob{c: c, job: j}
	c.under[j] = d
	c.carry(d)
}

func (c *steppedCarrier) wait(done <-chan struct{}) {
	for j, d := range c.under {
		if j.done == done {
			d.Run()
		}
	}
}

func (c *steppedCarrier) stop() {}

type steppedDaemon struct {
	tell func(api.VolumeMessage) bool
}

func (d steppedDaemon) send(m api.VolumeMessage) bool { return d.tell(m) }

func (d steppedDaemon) reply(_ *session, id uint64, r api.VolumeReply) {
	d.tell(api.VolumeMessage{ID: id, Reply: &r})
}

func (d steppedDaemon) close() {}

// pageFunc is a lease page in memory.
type pageFunc func() clock.Boottime

// Deadline is the deadline now.
func (f pageFunc) Deadline() clock.Boottime { return f() }

// LeaseFunc makes a Lease of a function.
func LeaseFunc(deadline func() clock.Boottime) Lease { return pageFunc(deadline) }
