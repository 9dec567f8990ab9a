package volume

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/resfile"
	"holdfast/internal/clock"
	"holdfast/internal/disk"
	"holdfast/internal/loopback"
	"holdfast/internal/paths"
)

// The tests run two volumes in this process, a and b, that replicate over loopback TCP:
//
//	kernel requests -> a (memDisk) <-- data, meta --> b (memDisk)
//	                   control socket       control socket
//	                        test as daemon (and log)

const patience = 20 * time.Second

type pair struct {
	t    testing.TB
	a, b *node
}

// node is one volume process.
type node struct {
	t      testing.TB
	name   string
	root   paths.Root
	res    *resfile.Resource
	disk   *memDisk
	second *memDisk         // of volume 1, if the resource has two
	path   string           // of a real disk
	config func(*Config)    // changes the configuration, if not nil
	spawn  func() *exec.Cmd // starts a process of its own instead, if not nil
	cmd    *exec.Cmd
	lease  *fakeLease
	clock  *fakeClock
	cancel context.CancelFunc
	ended  chan error

	mu      sync.Mutex
	changed chan struct{}
	target  kernel.Target
	targets map[int]kernel.Target // by volume
	conn    net.Conn
	status  *api.VolumeStatus
	states  map[int]*api.VolumeStatus // by volume
	want    *api.VolumeWant
	replies map[uint64]chan api.VolumeReply
	nextID  uint64
	onWant  func(api.VolumeWant)
	writeMu sync.Mutex
}

// fakeLease is a lease page that the test writes.
type fakeLease struct{ deadline atomic.Int64 }

func (l *fakeLease) Deadline() clock.Boottime { return clock.Boottime(l.deadline.Load()) }

// fakeClock is the real clock, which the test can put forward.
type fakeClock struct{ ahead atomic.Int64 }

func (c *fakeClock) Boottime() clock.Boottime {
	return clock.System{}.Boottime().Add(time.Duration(c.ahead.Load()))
}
func (c *fakeClock) Wall() time.Time { return time.Now() }

const diskSize = 32 << 20

func resourceFile(addressA, addressB, more string) string {
	return fmt.Sprintf(`resource r0 { %s
  on a { device /dev/drbd1; disk /disk/a; address %s; meta-disk internal; }
  on b { device /dev/drbd1; disk /disk/b; address %s; meta-disk internal; } }`, more, addressA, addressB)
}

func newPair(t testing.TB, options string) *pair {
	t.Helper()
	text := resourceFile(loopback.Address(t), loopback.Address(t), options)
	cfg, err := resfile.Parse("test.res", []byte(text), nil)
	must(t, err)
	res, ok := cfg.Resource("r0")
	if !ok {
		t.Fatal("no resource r0")
	}
	p := &pair{t: t}
	p.a, p.b = newNode(t, "a", res, 0xa11ce0001), newNode(t, "b", res, 0xb0b0002)
	return p
}

func newNode(t testing.TB, name string, res *resfile.Resource, device uint64) *node {
	n := &node{t: t, name: name, res: res, root: paths.Root(t.TempDir()), disk: newMemDisk(diskSize), lease: &fakeLease{}, clock: &fakeClock{}}
	n.lease.deadline.Store(1 << 62)
	n.disk.format(t, device)
	return n
}

// start runs the process and talks to it as its daemon.
func (n *node) start() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.ended = cancel, make(chan error, 1)
	n.changed, n.replies = make(chan struct{}), map[uint64]chan api.VolumeReply{}
	n.status, n.want = nil, nil
	n.states, n.targets = map[int]*api.VolumeStatus{}, map[int]kernel.Target{}
	if n.spawn != nil {
		n.startProcess()
		return
	}
	ended, d, second := n.ended, n.disk, n.second
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("VOLUME_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", n.name)
	}
	cfg := Config{Root: n.root, Resource: n.res, Node: n.name, Clock: n.clock, Log: log,
		OpenDisk: func(path string) (disk.Device, error) {
			if strings.HasSuffix(path, "1") {
				return second, nil
			}
			return d, nil
		},
		Lease: func() (Lease, error) { return n.lease, nil },
		OnTarget: func(number int, k kernel.Target) {
			n.set(func() {
				n.targets[number] = k
				if number == 0 {
					n.target = k
				}
			})
		}}
	if n.config != nil {
		n.config(&cfg)
	}
	go func() { ended <- Run(ctx, cfg) }()
	n.t.Cleanup(func() { n.kill() })
	n.connect()
}

// startProcess runs the volume in a process of its own.
func (n *node) startProcess() {
	n.t.Helper()
	n.cmd = n.spawn()
	n.cmd.Stderr = os.Stderr
	must(n.t, n.cmd.Start())
	cmd, ended := n.cmd, n.ended
	n.cancel = func() { cmd.Process.Kill() }
	go func() { ended <- cmd.Wait() }()
	n.t.Cleanup(func() { n.kill() })
	n.connect()
}

func (n *node) connect() {
	n.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		c, err := net.Dial("unix", n.root.VolumeSocket("r0"))
		if err == nil {
			n.conn = c
			break
		}
		if time.Now().After(deadline) {
			n.t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	must(n.t, api.WriteFrame(n.conn, api.VolumeMessage{Hello: &api.VolumeHello{Version: 1, Resource: "r0"}}))
	conn := n.conn
	go n.listen(conn)
}

func (n *node) listen(conn net.Conn) {
	for {
		var m api.VolumeMessage
		if api.ReadFrame(conn, &m) != nil {
			return
		}
		n.set(func() {
			switch {
			case m.Status != nil:
				n.states[m.Status.Volume] = m.Status
				if m.Status.Volume == 0 {
					n.status = m.Status
				}
			case m.Want != nil:
				n.want = m.Want
				if n.onWant != nil {
					go n.onWant(*m.Want)
				}
			case m.Reply != nil:
				if ch := n.replies[m.ID]; ch != nil {
					ch <- *m.Reply
				}
			}
		})
	}
}

func (n *node) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// kill ends the process as SIGKILL would, as far as the outside sees it.
func (n *node) kill() {
	if n.cancel == nil {
		return
	}
	n.cancel()
	n.conn.Close()
	select {
	case <-n.ended:
	case <-time.After(patience):
		n.t.Errorf("%s: the process did not end", n.name)
	}
	n.cancel = nil
}

// restart ends the process and starts another; lost tells whether the host lost power meanwhile.
func (n *node) restart(lost bool) {
	n.t.Helper()
	n.stop(lost)
	n.start()
}

func (n *node) stop(lost bool) {
	var next, second *memDisk
	if lost {
		if n.cancel != nil {
			n.cancel() // it sees no error of the disk, and says nothing of one to its peer
		}
		next = n.disk.powerCut() // at once: what is under way is lost
		if n.second != nil {
			second = n.second.powerCut()
		}
		os.RemoveAll(n.root.Run())
	}
	n.kill()
	if !lost {
		next = n.disk.processEnd()
		if n.second != nil {
			second = n.second.processEnd()
		}
	}
	n.disk, n.second = next, second
}

func (n *node) send(m api.VolumeMessage) {
	n.t.Helper()
	n.writeMu.Lock()
	defer n.writeMu.Unlock()
	if err := api.WriteFrame(n.conn, m); err != nil {
		n.t.Errorf("%s: %v", n.name, err)
	}
}

func (n *node) view(v api.VolumeView) {
	n.t.Helper()
	v.Node = n.name
	n.send(api.VolumeMessage{View: &v})
}

// ask sends a verb; its answer will come.
func (n *node) ask(d api.VolumeDo) <-chan api.VolumeReply {
	n.t.Helper()
	ch := make(chan api.VolumeReply, 1)
	var id uint64
	n.set(func() {
		n.nextID++
		id = n.nextID
		n.replies[id] = ch
	})
	n.send(api.VolumeMessage{ID: id, Do: &d})
	return ch
}

func (n *node) do(d api.VolumeDo) api.VolumeReply {
	n.t.Helper()
	return n.answer(d, n.ask(d))
}

func (n *node) answer(d api.VolumeDo, ch <-chan api.VolumeReply) api.VolumeReply {
	n.t.Helper()
	select {
	case r := <-ch:
		return r
	case <-time.After(patience):
		n.t.Fatalf("%s: no answer to %s; status %+v", n.name, d.Verb, n.last())
	}
	panic("unreachable")
}

func (n *node) ok(d api.VolumeDo) {
	n.t.Helper()
	if r := n.do(d); r.Code != 0 {
		n.t.Fatalf("%s: %s: code %d: %s", n.name, d.Verb, r.Code, r.Error)
	}
}

// until waits for a status that satisfies f.
func (n *node) until(what string, f func(*api.VolumeStatus) bool) *api.VolumeStatus {
	n.t.Helper()
	deadline := time.After(patience)
	for {
		n.mu.Lock()
		st, ch := n.status, n.changed
		n.mu.Unlock()
		if st != nil && f(st) {
			return st
		}
		select {
		case <-ch:
		case <-deadline:
			n.t.Fatalf("%s: waited for %s; status is %+v", n.name, what, st)
		}
	}
}

func (n *node) untilState(conn, disk, peerDisk string) *api.VolumeStatus {
	n.t.Helper()
	return n.until(conn+" "+disk+"/"+peerDisk, func(s *api.VolumeStatus) bool {
		return s.Conn == conn && s.Disk == disk && s.PeerDisk == peerDisk
	})
}

// ioRequest is one request of the test as the kernel.
type ioRequest struct {
	kernel.Request
	err  error
	done chan struct{}
}

func (r *ioRequest) Complete(_ *kernel.Request, err error) {
	r.err = err
	close(r.done)
}

func (n *node) submit(op kernel.Op, off int64, data []byte, length int64) *ioRequest {
	n.mu.Lock()
	target := n.target
	n.mu.Unlock()
	r := &ioRequest{done: make(chan struct{})}
	r.Request = kernel.Request{Op: op, Offset: off, Length: length, Data: data, Owner: r}
	target.Submit(&r.Request)
	return r
}

func (n *node) wait(r *ioRequest) error {
	n.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience):
		n.t.Fatalf("%s: request at %d not answered; status %+v", n.name, r.Offset, n.last())
	}
	return nil
}

func (n *node) write(off int64, data []byte) {
	n.t.Helper()
	must(n.t, n.wait(n.submit(kernel.Write, off, data, int64(len(data)))))
}

func (n *node) flush() {
	n.t.Helper()
	must(n.t, n.wait(n.submit(kernel.Flush, 0, nil, 0)))
}

func (n *node) read(off, length int64) []byte {
	n.t.Helper()
	p := make([]byte, length)
	must(n.t, n.wait(n.submit(kernel.Read, off, p, length)))
	return p
}

func fill(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func (n *node) size() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.target.Size()
}

// identical compares the data areas.
func (p *pair) identical() {
	p.t.Helper()
	size := p.a.size()
	x, y := p.a.disk.content(size), p.b.disk.content(size)
	if bytes.Equal(x, y) {
		return
	}
	for i := range x {
		if x[i] != y[i] {
			p.t.Fatalf("the replicas differ, first at byte %d (block %d): %x and %x", i, i/4096, x[i], y[i])
		}
	}
}

// up starts both without a cluster.
func (p *pair) up() {
	p.t.Helper()
	for _, n := range []*node{p.a, p.b} {
		n.start()
		n.view(api.VolumeView{})
		n.ok(api.VolumeDo{Verb: api.VolumeUp})
	}
}

// synced brings both up and through the first full sync, a being Primary.
func (p *pair) synced() {
	p.t.Helper()
	p.up()
	p.a.untilState("Connected", "Inconsistent", "Inconsistent")
	p.b.untilState("Connected", "Inconsistent", "Inconsistent")
	p.a.ok(api.VolumeDo{Verb: api.VolumePrimary, Force: true})
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.b.untilState("Connected", "UpToDate", "UpToDate")
}

func (n *node) last() *api.VolumeStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

// counter is a number two goroutines share.
type counter struct{ n atomic.Int64 }

func (c *counter) get() int { return int(c.n.Load()) }
func (c *counter) add()     { c.n.Add(1) }
