package volume

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/backing"
	"holdfast/internal/block/peer"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/writepath"
	"holdfast/internal/clock"
	"holdfast/internal/disk"
)

// resource is the process: what the volumes of a resource share, which is its goroutine, the connection to the peer with its
// epochs of writes, and the daemon.
type resource struct {
	cfg      Config
	log      *slog.Logger
	self     *resfile.Host
	other    *resfile.Host
	instance string
	connect  connector
	// alExtents, when not 0, is the size of the activity log in place of the configuration's, which may not be as small.
	alExtents int

	inbox   *inbox
	workers carrier
	pool    *replica.Pool
	jobs    jobPool
	control daemonLink

	parts    []*engine // by volume number, of which there is at least one
	epochs   *writepath.Epochs
	line     connection
	lease    Lease
	failure  error // ends the process
	finished bool
}

// newResource makes a resource with threads, sockets and files around it.
func newResource(cfg Config) (*resource, *control, error) {
	several := false
	if self, _, err := cfg.Resource.For(cfg.Node); err == nil {
		several = len(self.Volumes) > 1
	}
	r, err := bareResource(cfg, func(v *resfile.Volume) stateStore {
		return newStateFiles(cfg.Root, cfg.Resource.Name, fileSuffix(v, several))
	})
	if err != nil {
		return nil, nil, err
	}
	r.workers = startWorkers(block.DiskWorkers*len(r.parts), func(j *job) { r.inbox.post(event{job: j}) })
	c := newControl(r)
	r.control, r.connect = c, r.connectSockets
	return r, c, nil
}

// bareResource makes a resource without its surroundings.
func bareResource(cfg Config, files func(*resfile.Volume) stateStore) (*resource, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.CreateSide == nil {
		cfg.CreateSide = createSide
	}
	if cfg.OpenDisk == nil {
		cfg.OpenDisk = func(path string) (disk.Device, error) { return backing.Open(path) }
	}
	r := &resource{cfg: cfg, inbox: newInbox(), pool: &replica.Pool{}, instance: randomName()}
	r.log = cfg.Log.With("resource", cfg.Resource.Name)
	var err error
	if r.self, r.other, err = cfg.Resource.For(cfg.Node); err != nil {
		return nil, err
	}
	r.epochs = writepath.NewEpochs(len(r.self.Volumes))
	for _, v := range r.self.Volumes {
		e, err := r.newPart(v, files(v))
		if err != nil {
			return nil, err
		}
		r.parts = append(r.parts, e)
	}
	if len(r.parts) == 0 {
		return nil, fmt.Errorf("resource %s has no volumes on %s", cfg.Resource.Name, cfg.Node)
	}
	return r, nil
}

func (r *resource) newPart(v *resfile.Volume, files stateStore) (*engine, error) {
	e := &engine{resource: r, part: len(r.parts), volume: v, files: files, slots: make(chan struct{}, block.MaxInFlight),
		replies: map[uint64]func(api.VolumeReply){}, logBlock: backing.Buffer(4096)}
	e.conn.connection = &r.line
	e.log = r.log
	if len(r.self.Volumes) > 1 {
		e.log = r.log.With("number", v.Number)
	}
	epoch, err := files.loadEpoch()
	if err != nil {
		return nil, err
	}
	if e.heal.note, err = files.loadHealed(); err != nil {
		return nil, err
	}
	e.machine = peer.New(peer.Settings{Resource: r.cfg.Resource.Name, Node: r.cfg.Node, PeerNode: r.other.Name(), Minor: v.Minor}, epoch)
	return e, nil
}

// vnr is the volume's number on the wire.
func (e *engine) vnr() uint16 { return uint16(e.volume.Number) }

// several tells whether the resource has more than one volume.
func (r *resource) several() bool { return len(r.parts) > 1 }

// numbered finds a volume; nil if the resource has none of that number.
func (r *resource) numbered(n int) *engine {
	for _, e := range r.parts {
		if e.volume.Number == n {
			return e
		}
	}
	return nil
}

func randomName() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:]) | 1<<63 // never one of the small reserved values
}

func (r *resource) now() clock.Boottime { return r.cfg.Clock.Boottime() }

func (r *resource) run(ctx context.Context) error {
	ticker := time.NewTicker(block.Tick)
	defer ticker.Stop()
	defer r.shutdown()
	var spent []event
	for !r.finished && r.failure == nil {
		list, ticked, ended := r.inbox.take(spent, ticker.C, ctx.Done())
		if ended {
			return nil
		}
		for i := range list {
			r.handle(&list[i])
			r.settle()
		}
		if ticked {
			r.tick()
			r.settle()
		}
		r.follow()
		spent = list
	}
	return r.failure
}

// shutdown ends what belongs to the process; kernel requests stay with the front ends.
func (r *resource) shutdown() {
	if r.line.cancel != nil {
		r.line.cancel()
	}
	if r.line.link != nil {
		r.line.link.Close("the volume process ends")
	}
	r.workers.stop()
	r.control.close()
}

func (r *resource) handle(ev *event) {
	switch {
	case ev.request != nil:
		ev.part.handleRequest(ev.request)
	case ev.job != nil:
		ev.job.part.handleJob(ev.job)
	case ev.link != nil:
		r.handlePacket(ev.link, &ev.packet)
	default:
		ev.call()
	}
}

// settle carries out what the cores want until they want nothing more.
func (r *resource) settle() {
	for {
		busy := false
		for _, e := range r.parts {
			busy = e.runMachine() || busy
		}
		busy = r.runPaths() || busy
		busy = r.runReceiver() || busy
		if !busy {
			return
		}
	}
}

func (r *resource) tick() {
	for _, e := range r.parts {
		e.tickVolume()
	}
}

// follow brings what follows from the machines' states in line with them: the connection, and what each volume has.
func (r *resource) follow() {
	r.followRefusal()
	r.followPolicy()
	for _, e := range r.parts {
		e.followVolume()
	}
}

// runPaths carries out what the write paths want, in the order in which they want it: that of the packets.
func (r *resource) runPaths() bool {
	list := r.epochs.Effects()
	if len(list) == 0 {
		return false
	}
	for i := range list {
		r.parts[list[i].Part].pathEffect(&list[i])
	}
	r.epochs.Reuse(list)
	return true
}

// usePath makes p the volume's write path; nil for none.
func (e *engine) usePath(p *writepath.Core) {
	e.path = p
	e.epochs.Join(e.part, p)
}
