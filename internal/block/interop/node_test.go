package interop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/backing"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/volume"
	"holdfast/internal/clock"
	"holdfast/internal/disk"
	"holdfast/internal/paths"
)

// node is holdfast's side: a volume in this process, its disk a file, this test its daemon and its kernel.
type node struct {
	t      *testing.T
	root   paths.Root
	path   string // of the disk
	text   string // configuration
	cancel context.CancelFunc
	ended  chan error
	disks  []disk.Device                 // opened by the process
	wrap   func(disk.Device) disk.Device // changes a disk that is opened, if not nil

	mu      sync.Mutex
	changed chan struct{}
	targets map[int]kernel.Target // by volume
	conn    net.Conn
	states  map[int]*api.VolumeStatus // by volume
	number  int                       // of the volume that what follows is about
	replies map[uint64]chan api.VolumeReply
	nextID  uint64
}

// config is the resource's file for both sides. net and disk are more options of their sections.
func config(dir, protocol, net, disk string) string {
	return fmt.Sprintf(`resource r0 {
  protocol %s;
  net { ping-timeout 50; socket-check-timeout 3; timeout 200; connect-int 1; %s }
  disk { resync-rate 100M; c-plan-ahead 0; %s }
  on nodeA { device /dev/drbd1; disk /dev/vdb; address 10.77.0.1:7788; meta-disk internal; }
  on nodeB { device /dev/drbd1; disk %s; address 10.77.0.254:7788; meta-disk internal; }
}`, protocol, net, disk, filepath.Join(dir, "disk"))
}

// shortDir is a directory for a test whose path leaves room for the names of sockets, whatever the test is called.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hf-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// newNode makes a volume on a blank disk of size bytes with fresh metadata.
func newNode(t *testing.T, dir, text string, size int64) *node {
	t.Helper()
	n := &node{t: t, root: paths.Root(dir), path: filepath.Join(dir, "disk"), text: text}
	blank(t, n.path, size)
	n.format()
	return n
}

// blank makes a disk of zeros.
func blank(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	must(t, f.Truncate(size))
	must(t, f.Close())
}

// format does what create-md does.
func (n *node) format() { n.formatDisk(n.path) }

func (n *node) formatDisk(path string) {
	n.t.Helper()
	d, err := backing.Open(path)
	must(n.t, err)
	defer d.Close()
	l, err := metadata.NewLayout(metadata.Internal, d.Size(), 0, metadata.DefaultStripes())
	must(n.t, err)
	block := backing.Buffer(metadata.BlockSize)
	metadata.NewSuperblock(l, uint64(time.Now().UnixNano())).Encode(block)
	must(n.t, d.WriteAt(block, l.Superblock))
	metadata.EncodeALInitial(block)
	for off := l.AL; off < l.AL+l.ALSize; off += metadata.BlockSize {
		must(n.t, d.WriteAt(block, off))
	}
	must(n.t, d.WriteAt(backing.Buffer(int(l.BitmapSize)), l.Bitmap))
	must(n.t, d.Flush())
}

// start runs the volume's process and gives it the view of a host without a cluster.
func (n *node) start() {
	n.t.Helper()
	res, err := n.reload()
	must(n.t, err)
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("VOLUME_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.ended = cancel, make(chan error, 1)
	n.changed, n.replies = make(chan struct{}), map[uint64]chan api.VolumeReply{}
	n.targets, n.states = map[int]kernel.Target{}, map[int]*api.VolumeStatus{}
	ended := n.ended
	n.disks = nil
	open := func(path string) (disk.Device, error) {
		d, err := backing.Open(path)
		if err != nil {
			return nil, err
		}
		n.disks = append(n.disks, d)
		if n.wrap != nil {
			return n.wrap(d), nil
		}
		return d, nil
	}
	vc := volume.Config{OpenDisk: open, Root: n.root, Resource: res, Reload: n.reload, Node: "nodeB", Clock: clock.System{}, Log: log,
		OnTarget: func(number int, k kernel.Target) { n.set(func() { n.targets[number] = k }) }}
	go func() { ended <- volume.Run(ctx, vc) }()
	n.t.Cleanup(n.kill)
	n.connect()
	n.send(api.VolumeMessage{View: &api.VolumeView{Node: "nodeB"}})
}

// reload reads the configuration.
func (n *node) reload() (*resfile.Resource, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	cfg, err := resfile.Parse("r0.res", []byte(n.text), nil)
	if err != nil {
		return nil, err
	}
	res, ok := cfg.Resource("r0")
	if !ok {
		return nil, errors.New("no resource r0")
	}
	return res, nil
}

// adjust gives the running volume another configuration.
func (n *node) adjust(text string) {
	n.t.Helper()
	n.mu.Lock()
	n.text = text
	n.mu.Unlock()
	n.ok(api.VolumeDo{Verb: api.VolumeAdjust})
}

func (n *node) up() {
	n.t.Helper()
	n.start()
	n.ok(api.VolumeDo{Verb: api.VolumeUp})
}

func (n *node) connect() {
	n.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("unix", n.root.VolumeSocket("r0"))
		if err == nil {
			n.conn = c
			break
		}
		if time.Now().After(deadline) {
			n.t.Fatal(err)
		}
	}
	must(n.t, api.WriteFrame(n.conn, api.VolumeMessage{Hello: &api.VolumeHello{Version: api.VolumeProtocol, Resource: "r0"}}))
	go n.listen(n.conn)
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

// kill ends the process as SIGKILL would, as far as disk and peer see it.
func (n *node) kill() {
	if n.cancel == nil {
		return
	}
	n.cancel()
	if n.conn != nil {
		n.conn.Close()
	}
	select {
	case <-n.ended:
	case <-time.After(patience):
		n.t.Error("the volume process does not end")
	}
	for _, d := range n.disks { // as the end of a real process does
		d.Close()
	}
	n.cancel = nil
}

// crash is kill with the notes of a running host lost, as in a power cut.
func (n *node) crash() {
	n.kill()
	os.RemoveAll(n.root.Run())
}

func (n *node) send(m api.VolumeMessage) {
	n.t.Helper()
	must(n.t, api.WriteFrame(n.conn, m))
}

func (n *node) do(d api.VolumeDo) api.VolumeReply {
	n.t.Helper()
	ch := make(chan api.VolumeReply, 1)
	var id uint64
	n.set(func() {
		n.nextID++
		id = n.nextID
		n.replies[id] = ch
	})
	n.send(api.VolumeMessage{ID: id, Do: &d})
	select {
	case r := <-ch:
		return r
	case <-time.After(patience):
		n.t.Fatalf("no answer to %s; status %+v", d.Verb, n.last())
	}
	panic("unreachable")
}

func (n *node) ok(d api.VolumeDo) {
	n.t.Helper()
	if r := n.do(d); r.Code != 0 {
		n.t.Fatalf("%s: code %d: %s", d.Verb, r.Code, r.Error)
	}
}

func (n *node) last() *api.VolumeStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.states[n.number]
}

// until waits for a status that satisfies f.
func (n *node) until(what string, f func(*api.VolumeStatus) bool) *api.VolumeStatus {
	n.t.Helper()
	deadline := time.After(patience)
	for {
		n.mu.Lock()
		st, ch := n.states[n.number], n.changed
		n.mu.Unlock()
		if st != nil && f(st) {
			return st
		}
		select {
		case <-ch:
		case <-deadline:
			n.t.Fatalf("waited for %s; status is %+v\n%s", what, st, kernelSide(n.t))
		}
	}
}

// kernelSide is what the kernel's DRBD says, if a machine with one runs.
func kernelSide(t *testing.T) string {
	if theMachine == nil {
		return ""
	}
	return theMachine.run(t, "cat /proc/drbd; dmesg | grep -i drbd | tail -n 30")
}

func (n *node) state(conn, disk, peerDisk string) *api.VolumeStatus {
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
	target := n.targets[n.number]
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
		n.t.Fatalf("request at %d not answered; status %+v", r.Offset, n.last())
	}
	return nil
}

func (n *node) read(off, length int64) []byte {
	n.t.Helper()
	p := aligned(int(length))
	must(n.t, n.wait(n.submit(kernel.Read, off, p, length)))
	return p
}

func (n *node) write(off int64, data []byte) {
	n.t.Helper()
	must(n.t, n.wait(n.submit(kernel.Write, off, data, int64(len(data)))))
}

func (n *node) flush() {
	n.t.Helper()
	must(n.t, n.wait(n.submit(kernel.Flush, 0, nil, 0)))
}

func (n *node) size() int64 { return n.last().SizeBytes }

// arrival bounds the wait for what is on its way to a disk.
const arrival = 20 * time.Second

// identical compares the two disks, until they are equal. With protocols A and B what the Primary's application has been told is
// written may still be on its way to the other disk: nothing here tells when it has arrived but the disk.
func (n *node) identical(v *machine) {
	n.t.Helper()
	difference := n.difference(v)
	for deadline := time.Now().Add(arrival); difference != "" && time.Now().Before(deadline); time.Sleep(pollEvery) {
		difference = n.difference(v)
	}
	if difference != "" {
		n.t.Fatal(difference)
	}
}

// difference says where the disks differ first, empty if they do not.
func (n *node) difference(v *machine) string {
	n.t.Helper()
	x, err := os.ReadFile(n.path)
	must(n.t, err)
	y, err := os.ReadFile(v.disk())
	must(n.t, err)
	size := n.size()
	if size == 0 || size > int64(len(x)) || size > int64(len(y)) {
		n.t.Fatalf("the device has %d bytes, the disks %d and %d", size, len(x), len(y))
	}
	for i := range size {
		if x[i] != y[i] {
			return fmt.Sprintf("the replicas differ, first at byte %d (block %d): %x here, %x in the machine", i, i/4096, x[i], y[i])
		}
	}
	return ""
}

func aligned(n int) []byte { return backing.Buffer(n) }

// fillDisk puts random data on a disk before anything is attached to it.
func fillDisk(t *testing.T, path string, seed int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(noise(seed, 4<<20), 1<<20)
	must(t, err)
	must(t, f.Close())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
