package resfile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const adjusted = `common { net { ping-int 10; } }
resource r0 {
 options { cpu-mask 1; }
 net { timeout 60; sndbuf-size 1M; }
 disk { resync-rate 1024K; }
 on n1 { device /dev/drbd1; disk /dev/x; address 127.0.0.1:77; meta-disk internal; }
 on n2 { device /dev/drbd1; disk /dev/x; address 127.0.0.2:77; meta-disk internal; }
}
`

func TestDifferences(t *testing.T) {
	running, _ := mustParse(t, adjusted).Resource("r0")
	for _, c := range []struct {
		old, new string
		want     []Change
	}{
		{"", "", nil},
		{"1024K", "1M", nil},
		{"sndbuf-size 1M", "sndbuf-size 1048576", nil},
		{"timeout 60; sndbuf-size 1M;", "sndbuf-size 1M; timeout 60;", nil},
		{"1024K", "2M", []Change{{Kind: ChangeDiskOptions}}},
		{"timeout 60", "timeout 50", []Change{{Kind: ChangeNet}}},
		{"ping-int 10", "ping-int 9", []Change{{Kind: ChangeNet}}},
		{"timeout 60;", "", []Change{{Kind: ChangeNet}}},
		{"cpu-mask 1", "cpu-mask 3", []Change{{Kind: ChangeOptions}}},
		{"127.0.0.2:77", "127.0.0.2:78", []Change{{Kind: ChangeAddress}}},
		{"timeout 60; sndbuf-size 1M; }\n disk { resync-rate 1024K", "timeout 50; }\n disk { resync-rate 9M", []Change{{Kind: ChangeDiskOptions}, {Kind: ChangeNet}}},
		{"on n1 { device /dev/drbd1; disk /dev/x", "on n1 { device /dev/drbd1; disk /dev/y", []Change{{Kind: ChangeDisk}}},
		{"on n1 { device /dev/drbd1", "on n1 { device /dev/drbd2", []Change{{Kind: ChangeMinor}}},
		{"on n2 { device /dev/drbd1; disk /dev/x", "on n2 { device /dev/drbd9; disk /dev/y", nil}, // the peer's own affair
		{"on n2", "on n3", []Change{{Kind: ChangeAddress}}},
	} {
		wanted, _ := mustParse(t, strings.Replace(adjusted, c.old, c.new, 1)).Resource("r0")
		got, err := Differences(running, wanted, "n1")
		if err != nil {
			t.Errorf("%q for %q: %v", c.new, c.old, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q for %q (- want, + got)\n%s", c.new, c.old, d)
		}
	}
	two := strings.NewReplacer("device /dev/drbd1; disk /dev/x; address", "volume 0 { device minor 1; disk /dev/x; meta-disk internal; }\n"+
		"volume 1 { device minor 7; disk /dev/z; meta-disk internal; } address", " meta-disk internal; }\n", " }\n").Replace(adjusted)
	more, _ := mustParse(t, two).Resource("r0")
	if _, err := Differences(running, more, "n1"); err == nil || !strings.Contains(err.Error(), "drbdadm down, then up") {
		t.Errorf("a volume more: %v", err)
	}
	if _, err := Differences(running, running, "n9"); err == nil {
		t.Error("a host that has no part of it")
	}
}
