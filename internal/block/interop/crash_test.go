package interop

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
)

// TestCrashWhileWriting: either side loses its power, as Primary or as Secondary, with writes on their way. It comes back as the
// one whose writes the other lacks, or, where the other was promoted meanwhile, as the one that has some too many.
func TestCrashWhileWriting(t *testing.T) {
	forLong(t)
	for _, c := range []struct {
		name string
		play func(t *testing.T, v *machine, n *node)
	}{
		{"holdfast as Primary", func(t *testing.T, v *machine, n *node) { primaryCrashes(t, v, n, false) }},
		{"holdfast as Primary, the kernel promoted", func(t *testing.T, v *machine, n *node) { primaryCrashes(t, v, n, true) }},
		{"holdfast as Secondary", secondaryCrashes},
		{"the kernel as Primary", func(t *testing.T, v *machine, n *node) { kernelPrimaryCrashes(t, v, n, false) }},
		{"the kernel as Primary, holdfast promoted", func(t *testing.T, v *machine, n *node) { kernelPrimaryCrashes(t, v, n, true) }},
		{"the kernel as Secondary", kernelSecondaryCrashes},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, n := couple(t, "C", "", "")
			inSync(t, v, n, true)
			c.play(t, v, n)
		})
	}
}

// flood begins many writes, and returns when some have been acknowledged.
func (n *node) flood() {
	n.t.Helper()
	rng := rand.New(rand.NewSource(time.Now().UnixNano()))
	var all []*ioRequest
	for range 256 {
		length := int64(1+rng.Intn(64)) * 4096
		data := aligned(int(length))
		rng.Read(data)
		all = append(all, n.submit(kernel.Write, rng.Int63n((n.size()-length)/4096)*4096, data, length))
	}
	for _, r := range all[:32] {
		must(n.t, n.wait(r))
	}
}

func primaryCrashes(t *testing.T, v *machine, n *node, promoted bool) {
	for range rounds {
		n.flood()
		n.crash()
		v.states(t, "cs:WFConnection ro:Secondary/Unknown ds:UpToDate/DUnknown")
		if promoted {
			v.run(t, "drbdadm primary r0 2>&1; dd if=/dev/urandom of=/dev/drbd1 bs=64k count=4 oflag=direct 2>/dev/null")
		}
		n.up()
		n.until("the resync of the log's extents", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.ResyncedBytes > 0 })
		equal(t, v, n)
		if promoted {
			swap(t, v, n)
		} else {
			n.ok(api.VolumeDo{Verb: api.VolumePrimary})
		}
	}
}

// rounds is how often a side crashes that is quickly there again.
const rounds = 5

func secondaryCrashes(t *testing.T, v *machine, n *node) {
	swap(t, v, n)
	for range rounds {
		v.writeOn(t, "")
		n.crash()
		v.states(t, "cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown")
		n.up()
		n.state("Connected", "UpToDate", "UpToDate")
		v.endWriting(t)
		equal(t, v, n)
	}
}

// writeOn begins to write in the machine, and returns when some of it has been done.
func (v *machine) writeOn(t *testing.T, more string) {
	t.Helper()
	const seconds = 8
	v.run(t, fmt.Sprintf(`written() { awk '{print $5}' /sys/block/drbd1/stat; }
before=$(written)
hammer /dev/drbd1 %d %d %s > /tmp/hammer 2>&1 &
echo $! > /tmp/hammer.pid
for i in $(seq 600); do [ $(written) -gt $((before + 50)) ] && exit 0; sleep 0.1; done
exit 1`, seconds, time.Now().UnixNano()%1e6, more))
}

// endWriting waits for the end of what writeOn began, which must have seen no error.
func (v *machine) endWriting(t *testing.T) {
	t.Helper()
	v.await(t, "kill -0 $(cat /tmp/hammer.pid) 2>/dev/null || echo ended", "ended")
	if out := v.run(t, "cat /tmp/hammer"); len(out) == 0 || out[0] < '0' || out[0] > '9' {
		t.Errorf("the program that writes says %q", out)
	}
}

func kernelPrimaryCrashes(t *testing.T, v *machine, n *node, promoted bool) {
	swap(t, v, n)
	v.writeOn(t, "discard")
	moved := n.last().ResyncedBytes
	v.crash(t)
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect}) // rather than wait until it is missed
	if promoted {
		n.ok(api.VolumeDo{Verb: api.VolumePrimary})
		n.write(0, noiseAligned(3, 256<<10))
	}
	v.back(t, n)
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	n.until("the resync of the log's extents", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.ResyncedBytes > moved })
	equal(t, v, n)
}

// back has the machine run again, and attach.
func (v *machine) back(t *testing.T, n *node) {
	t.Helper()
	v.boot(t)
	v.rewrite(t, n.text)
	v.run(t, "drbdadm up r0 2>&1")
}

// kernelSecondaryCrashes: what the Secondary had not flushed is among what it lacks afterwards.
func kernelSecondaryCrashes(t *testing.T, v *machine, n *node) {
	n.flood()
	v.crash(t)
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	writes(t, v, n, true, "")
	v.back(t, n)
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	equal(t, v, n)
}
