package volume

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/resfile"
	"holdfast/internal/loopback"
)

// A pair whose resource has the volumes 0 and 1:
//
//	requests -> a/0 (memDisk) \                  / b/0 (memDisk)
//	requests -> a/1 (memDisk) - one connection - - b/1 (memDisk)

// secondSize differs from diskSize, so that one volume's is never taken for the other's.
const secondSize = diskSize + 8<<20

func severalFile(addressA, addressB, more string) string {
	host := func(name, address string) string {
		return fmt.Sprintf("on %s { address %s; volume 0 { device /dev/drbd1; disk /disk/%s0; meta-disk internal; } "+
			"volume 1 { device /dev/drbd2; disk /disk/%s1; meta-disk internal; } }\n", name, address, name, name)
	}
	return "resource r0 { " + more + "\n" + host("a", addressA) + host("b", addressB) + "}"
}

func newSeveral(t testing.TB, options string) *pair {
	t.Helper()
	cfg, err := resfile.Parse("test.res", []byte(severalFile(loopback.Address(t), loopback.Address(t), options)), nil)
	must(t, err)
	res, ok := cfg.Resource("r0")
	if !ok {
		t.Fatal("no resource r0")
	}
	p := &pair{t: t, a: newNode(t, "a", res, 0xa11ce0001), b: newNode(t, "b", res, 0xb0b0002)}
	for i, n := range []*node{p.a, p.b} {
		n.second = newMemDisk(secondSize)
		n.second.format(t, 0x5ec0d0001+uint64(i)<<4)
	}
	return p
}

// both names the volumes.
var both = []int{0, 1}

// untilVolume waits for a volume's state.
func (n *node) untilVolume(number int, what string, f func(*api.VolumeStatus) bool) *api.VolumeStatus {
	n.t.Helper()
	deadline := time.After(patience)
	for {
		n.mu.Lock()
		st, ch := n.states[number], n.changed
		n.mu.Unlock()
		if st != nil && f(st) {
			return st
		}
		select {
		case <-ch:
		case <-deadline:
			n.t.Fatalf("%s/%d: waited for %s; status is %+v", n.name, number, what, st)
		}
	}
}

func (n *node) untilStateOf(number int, conn, disk, peerDisk string) *api.VolumeStatus {
	n.t.Helper()
	return n.untilVolume(number, conn+" "+disk+"/"+peerDisk, func(s *api.VolumeStatus) bool {
		return s.Conn == conn && s.Disk == disk && s.PeerDisk == peerDisk
	})
}

// settled waits until both volumes of both nodes are connected and in sync.
func (p *pair) settled() {
	p.t.Helper()
	for _, n := range []*node{p.a, p.b} {
		for _, number := range both {
			n.untilStateOf(number, "Connected", "UpToDate", "UpToDate")
		}
	}
}

// severalSynced brings both up and through the first resync of both volumes, a being Primary.
func (p *pair) severalSynced() {
	p.t.Helper()
	p.up()
	for _, n := range []*node{p.a, p.b} {
		for _, number := range both {
			n.untilStateOf(number, "Connected", "Inconsistent", "Inconsistent")
		}
	}
	p.a.ok(api.VolumeDo{Verb: api.VolumePrimary, Force: true})
	p.settled()
}

func (n *node) submitTo(number int, op kernel.Op, off int64, data []byte, length int64) *ioRequest {
	n.mu.Lock()
	target := n.targets[number]
	n.mu.Unlock()
	r := &ioRequest{done: make(chan struct{})}
	r.Request = kernel.Request{Op: op, Offset: off, Length: length, Data: data, Owner: r}
	target.Submit(&r.Request)
	return r
}

func (n *node) writeTo(number int, off int64, data []byte) {
	n.t.Helper()
	must(n.t, n.wait(n.submitTo(number, kernel.Write, off, data, int64(len(data)))))
}

func (n *node) flushOf(number int) {
	n.t.Helper()
	must(n.t, n.wait(n.submitTo(number, kernel.Flush, 0, nil, 0)))
}

func (n *node) readOf(number int, off, length int64) []byte {
	n.t.Helper()
	data := make([]byte, length)
	must(n.t, n.wait(n.submitTo(number, kernel.Read, off, data, length)))
	return data
}

func (n *node) diskOf(number int) *memDisk {
	if number == 0 {
		return n.disk
	}
	return n.second
}

// identicalAll compares the data areas of both volumes.
func (p *pair) identicalAll() {
	p.t.Helper()
	for _, number := range both {
		p.a.mu.Lock()
		size := p.a.targets[number].Size()
		p.a.mu.Unlock()
		if !bytes.Equal(p.a.diskOf(number).content(size), p.b.diskOf(number).content(size)) {
			p.t.Fatalf("the replicas of volume %d differ", number)
		}
	}
}

// one names a volume in a command.
func one(number int) *int { return &number }
