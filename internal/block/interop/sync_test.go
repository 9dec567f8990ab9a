package interop

import (
	"math/rand"
	"testing"

	"holdfast/internal/api"
)

func noise(seed int64, n int) []byte {
	p := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(p)
	return p
}

// couple configures both sides and brings them up, not yet synced.
func couple(t *testing.T, protocol, net, disk string) (*machine, *node) {
	t.Helper()
	v := need(t)
	dir := t.TempDir()
	text := config(dir, protocol, net, disk)
	n := newNode(t, dir, text)
	v.configure(t, text)
	fillDisk(t, n.path, 1)
	return v, n
}

func bringUp(t *testing.T, v *machine, n *node) {
	t.Helper()
	v.run(t, "drbdadm up r0 2>&1")
	n.up()
	n.state("Connected", "Inconsistent", "Inconsistent")
	v.states(t, "cs:Connected ro:Secondary/Secondary ds:Inconsistent/Inconsistent C r-----")
}

func TestInitialSyncFromHoldfast(t *testing.T) {
	v, n := couple(t, "C", "", "")
	bringUp(t, v, n)
	n.ok(api.VolumeDo{Verb: api.VolumePrimary, Force: true})
	n.state("Connected", "UpToDate", "UpToDate")
	v.states(t, "cs:Connected ro:Secondary/Primary ds:UpToDate/UpToDate")
	n.identical(v)
}

func TestInitialSyncFromKernel(t *testing.T) {
	v, n := couple(t, "C", "", "")
	bringUp(t, v, n)
	v.run(t, "drbdadm primary --force r0 2>&1")
	n.state("Connected", "UpToDate", "UpToDate")
	v.states(t, "cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate")
	n.identical(v)
}
