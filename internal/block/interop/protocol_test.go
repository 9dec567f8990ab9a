package interop

import (
	"strings"
	"testing"

	"holdfast/internal/api"
)

// swap makes the other side Primary.
func swap(t *testing.T, v *machine, n *node) {
	t.Helper()
	if n.last().Role == "Primary" {
		n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
		v.states(t, "ro:Secondary/Secondary")
		v.run(t, "drbdadm primary r0 2>&1")
		return
	}
	v.run(t, "drbdadm secondary r0 2>&1")
	n.until("the kernel being Secondary", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
	n.ok(api.VolumeDo{Verb: api.VolumePrimary})
}

// TestProtocols: A with a digest of all data, B with a shared secret; both sides write. C is what the other tests use.
func TestProtocols(t *testing.T) {
	for _, c := range []struct{ protocol, net string }{
		{"A", "data-integrity-alg crc32c;"},
		{"B", "cram-hmac-alg sha1; shared-secret xyzzy; data-integrity-alg sha1;"},
	} {
		t.Run(c.protocol, func(t *testing.T) {
			v, n := couple(t, c.protocol, c.net, "")
			inSync(t, v, n, true)
			v.states(t, " "+c.protocol+" r-----")
			writesFor(t, v, n, true, "discard", minute())
			equal(t, v, n)
			swap(t, v, n)
			writesFor(t, v, n, false, "discard", minute())
			equal(t, v, n)
		})
	}
}

// TestWrongSecret: two that do not know the same secret exchange nothing; when they do, they connect.
func TestWrongSecret(t *testing.T) {
	v, n := couple(t, "C", "cram-hmac-alg sha256; shared-secret xyzzy;", "")
	v.rewrite(t, strings.Replace(n.text, "xyzzy", "plugh", 1))
	v.run(t, "drbdadm up r0 2>&1")
	n.up()
	st := n.until("StandAlone", func(s *api.VolumeStatus) bool { return s.Conn == "StandAlone" })
	if !strings.Contains(st.Reason, "shared-secret") {
		t.Errorf("the reason is %q", st.Reason)
	}
	if out := v.run(t, "cat /proc/drbd"); !strings.Contains(out, "ds:Inconsistent/DUnknown") || !strings.Contains(out, " nr:0 ") {
		t.Errorf("the kernel has heard of the peer: %s", out)
	}
	v.rewrite(t, n.text)
	v.run(t, "drbdadm disconnect r0 2>&1; drbdadm connect r0 2>&1")
	n.ok(api.VolumeDo{Verb: api.VolumeConnect})
	n.state("Connected", "Inconsistent", "Inconsistent")
	v.states(t, "cs:Connected", "ds:Inconsistent/Inconsistent")
}

// TestDisklessPrimary: the kernel's Primary gives its disk up and reads from holdfast; with a new disk it is resynced.
func TestDisklessPrimary(t *testing.T) {
	v, n := couple(t, "C", "", "")
	inSync(t, v, n, false)
	want := v.run(t, "dd if=/dev/drbd1 bs=64k count=40 iflag=direct 2>/dev/null | md5sum")
	v.run(t, "drbdadm detach r0 2>&1")
	n.state("Connected", "UpToDate", "Diskless")
	if got := v.run(t, "dd if=/dev/drbd1 bs=64k count=40 iflag=direct 2>/dev/null | md5sum"); got != want {
		t.Errorf("read through the peer: %s, before: %s", got, want)
	}
	writes(t, v, n, false, "")
	v.run(t, "drbdadm attach r0 2>&1")
	equal(t, v, n)
}
