package interop

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/api"
)

// TestHeal: a kernel that is Primary, and writes all the while, survives a split brain; holdfast's side is saved before the kernel's
// blocks replace it, in one go and in more than one, and the undo makes it what it was.
func TestHeal(t *testing.T) {
	for _, whole := range []bool{false, true} {
		name := map[bool]string{false: "differing blocks", true: "whole"}[whole]
		t.Run(name, func(t *testing.T) {
			v, n := couple(t, "C", "", "")
			inSync(t, v, n, true)
			split(t, v, n)
			n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
			before := n.image()

			n.ok(api.VolumeDo{Verb: api.VolumeHeal, Look: true})
			v.run(t, "drbdadm connect r0 2>&1")
			n.healed(api.HealFound)
			n.state("StandAlone", "UpToDate", "DUnknown")
			if !bytes.Equal(before, n.image()) {
				t.Fatal("looking has changed the disk")
			}

			file := filepath.Join(t.TempDir(), "n.side")
			if whole { // the kernel writes beside it
				v.run(t, "(for i in $(seq 200); do dd if=/dev/urandom of=/dev/drbd1 bs=4k count=1 seek=$((i*7)) oflag=direct 2>/dev/null; done; echo all written >/tmp/written) >/dev/null 2>&1 &")
			}
			n.ok(api.VolumeDo{Verb: api.VolumeHeal, File: file, Whole: whole})
			v.run(t, "drbdadm connect r0 2>&1; true")
			n.healed(api.HealDone)
			if whole {
				v.await(t, "cat /tmp/written 2>/dev/null; true", "all written")
				v.run(t, "rm /tmp/written")
			}
			equal(t, v, n)

			n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
			n.ok(api.VolumeDo{Verb: api.VolumeHealUndo, File: file})
			n.healed(api.HealUndone)
			if !bytes.Equal(before, n.image()) {
				t.Fatal("the disk is not what it was before the heal")
			}
			// The kernel sees a split brain in that, and leaves it alone.
			n.ok(api.VolumeDo{Verb: api.VolumeConnect})
			v.run(t, "drbdadm connect r0 2>&1; true")
			v.await(t, "dmesg | tail -n 30", "Split-Brain detected but unresolved, dropping connection!")
			if !bytes.Equal(before, n.image()) {
				t.Fatal("two histories were mixed")
			}
			n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
			n.ok(api.VolumeDo{Verb: api.VolumeHeal, File: file + ".2"})
			v.run(t, "drbdadm connect r0 2>&1; true")
			n.healed(api.HealDone)
			equal(t, v, n)
		})
	}
}

// healed waits for a phase of a heal.
func (n *node) healed(phase api.HealPhase) {
	n.t.Helper()
	n.until("heal "+string(phase), func(s *api.VolumeStatus) bool { return s.Heal != nil && s.Heal.Phase == phase })
}

// image is the content of our disk as far as the volume goes.
func (n *node) image() []byte {
	n.t.Helper()
	p, err := os.ReadFile(n.path)
	must(n.t, err)
	return p[:n.size()]
}
