package volume

import (
	"bytes"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/disk"
	"holdfast/internal/disk/crashdisk"
)

// flushed is a block that a flush has made durable by the time the disk had recorded so many operations.
type flushed struct {
	block int64
	value byte
	done  int
}

// survives fails the test unless every crash of the disk leaves all that was flushed by then.
func survives(t *testing.T, what string, d *crashdisk.Disk, log []flushed) {
	t.Helper()
	crashes, looks := 0, 0
	got := make([]byte, 4096)
	for c := range d.Crashes(1, 1) {
		crashes++
		for _, w := range log {
			if w.done > c.Ops {
				continue
			}
			looks++
			must(t, c.Disk.ReadAt(got, w.block*4096))
			if !bytes.Equal(got, fill(w.value, 4096)) {
				t.Fatalf("%s: crash after %d operations, %s: block %d is %d, %d was flushed after %d", what, c.Ops, c.What, w.block, got[0], w.value, w.done)
			}
		}
	}
	if crashes < 100 || looks < 100 {
		t.Errorf("%s: only %d crashes and %d looks", what, crashes, looks)
	}
}

// TestSeveralFlushOrder writes to both volumes in turn, and flushes one or the other. Whenever the power of a host goes, nothing is
// on one volume that was written after a flush without what that flush had made durable on the other: on the Primary, what the
// flushed volume had; on the Secondary, where a flush is a barrier for all, what both had.
func TestSeveralFlushOrder(t *testing.T) {
	p := newSeveral(t, "")
	disks := map[*node][2]*crashdisk.Disk{}
	for _, n := range []*node{p.a, p.b} {
		pair := [2]*crashdisk.Disk{crashdisk.New(32 << 20), crashdisk.New(40 << 20)}
		for number, d := range pair {
			inSync(t, d, uint64(n.name[0])<<8|uint64(number)<<4|1)
		}
		disks[n] = pair
		n.config = func(c *Config) {
			c.OpenDisk = func(path string) (disk.Device, error) { return pair[path[len(path)-1]-'0'], nil }
		}
	}
	p.up()
	p.settled()
	p.a.ok(api.VolumeDo{Verb: api.VolumePrimary})
	for _, pair := range disks {
		for _, d := range pair {
			d.Mark()
		}
	}
	var here, there [2][]flushed // by volume, on a and on b
	var open [2][]flushed        // written and completed, not known to be flushed
	for i := range int64(48) {
		number := int(i % 2)
		p.a.writeTo(number, i*4096, fill(byte(i+1), 4096))
		open[number] = append(open[number], flushed{block: i, value: byte(i + 1)})
		if i%3 == 1 {
			continue
		}
		by := int(i/2) % 2
		p.a.flushOf(by)
		for _, w := range open[by] {
			w.done = disks[p.a][by].Ops()
			here[by] = append(here[by], w)
		}
		for v := range open {
			for _, w := range open[v] {
				w.done = disks[p.b][v].Ops()
				there[v] = append(there[v], w)
			}
		}
		open[by] = nil
	}
	p.a.kill()
	p.b.kill()
	for _, number := range both {
		survives(t, "a", disks[p.a][number], here[number])
		survives(t, "b", disks[p.b][number], there[number])
	}
}
