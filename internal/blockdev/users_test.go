package blockdev

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountPoints(t *testing.T) {
	info := []byte(`22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 7:1 / /srv/other rw - ext4 /dev/loop1 rw
41 22 7:12 / /var/lib/my\040sql rw,relatime shared:2 master:1 - ext4 /dev/loop12 rw
42 22 7:12 /sub /bind rw - ext4 /dev/loop12 rw
43 22 7:1
44 short
`)
	got := mountPoints(info, unix.Mkdev(7, 12))
	if want := []string{"/var/lib/my sql", "/bind"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := mountPoints(info, unix.Mkdev(7, 2)); got != nil {
		t.Errorf("%q for a device that is not mounted", got)
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`/a`: "/a", `/a\040b`: "/a b", `\134`: `\`, `/end\04`: `/end\04`, `/odd\999x`: `/odd\999x`, `\011\012`: "\t\n", `\`: `\`,
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzMountPoints(f *testing.F) {
	f.Add([]byte(`41 22 7:12 / /var/lib/my\040sql rw - ext4 /dev/loop12 rw`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range mountPoints(b, unix.Mkdev(7, 12)) {
			if len(p) > len(b) {
				t.Fatalf("%q out of %d bytes", p, len(b))
			}
		}
	})
}
