package resfile

import (
	flags "flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var record = flags.Bool("record", false, "write what drbdadm-84 dumps into testdata/dump")

// oracle is the real tool, which needs no kernel module to parse.
const oracle = "/lib/drbd/drbdadm-84"

// corpus lists the configurations whose dump by the real tool is recorded beside them.
func corpus(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/dump/*.conf")
	if err != nil || len(names) < 10 {
		t.Fatal(names, err)
	}
	return names
}

// realDump runs the tool in the directory of the file; the absolute paths it prints become relative ones.
func realDump(t *testing.T, file string, args ...string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(oracle, append([]string{"-c", filepath.Base(file)}, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "__DRBD_NODE__=n1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", oracle, err)
	}
	return strings.ReplaceAll(string(out), dir+"/", "")
}

// load parses a file with what it includes, as resload does.
func load(t testing.TB, file string) *Config {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(file)
	c, err := Parse(filepath.Base(file), src, func(pattern string) ([]File, error) {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		var files []File
		for _, name := range names {
			src, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			files = append(files, File{Name: strings.TrimPrefix(name, dir+"/"), Src: src})
		}
		return files, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestDumpLikeDrbdadm compares our dump, byte for byte, with what the real tool printed, and parses both again.
func TestDumpLikeDrbdadm(t *testing.T) {
	for _, name := range corpus(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			want, err := os.ReadFile(strings.TrimSuffix(name, ".conf") + ".dump")
			if err != nil {
				t.Fatal(err)
			}
			c := load(t, name)
			c.Locate("n1", loopback())
			ours := c.Dump("n1")
			both := ours
			for _, r := range c.On("n1") {
				both += r.DumpExpanded("n1")
			}
			if d := cmp.Diff(string(want), both); d != "" {
				t.Errorf("(- drbdadm, + ours)\n%s", d)
			}
			again, err := Parse(filepath.Base(name), []byte(ours), nil)
			if err != nil {
				t.Fatalf("our dump does not parse: %v", err)
			}
			again.Locate("n1", loopback())
			if d := cmp.Diff(placeless(ours), placeless(again.Dump("n1"))); d != "" {
				t.Errorf("dumped twice\n%s", d)
			}
		})
	}
}

// loopback is what the tool finds of floating.conf on any host.
func loopback() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}
}

// TestLocate finds a node by its address where it is not named.
func TestLocate(t *testing.T) {
	c := load(t, "testdata/dump/floating.conf")
	r, _ := c.Resource("r2")
	if _, _, err := r.For("n7"); err == nil || len(c.On("n7")) != 0 {
		t.Error("found before it was located")
	}
	c.Locate("n7", []netip.Addr{netip.MustParseAddr("10.1.1.32")})
	self, peer, err := r.For("n7")
	if err != nil || self.Address.Host != "10.1.1.32" || peer.Address.Host != "127.0.0.1" || peer.Name() != "127.0.0.1" {
		t.Errorf("self %+v, peer %+v: %v", self, peer, err)
	}
	if on := c.On("n7"); len(on) != 1 || on[0] != r {
		t.Errorf("on n7: %v", on)
	}
	if v, ok := self.Volume(0); !ok || v.Disk != "/dev/sdb" || v.Meta.Device != "/dev/sdc8" || v.Path() != "/dev/drbd2" {
		t.Errorf("volume %+v", v)
	}
}

// TestNotForUs: what is read but cannot be run says so, once, and where.
func TestNotForUs(t *testing.T) {
	c := load(t, "testdata/dump/stacked.conf")
	upper, _ := c.Resource("r0-U")
	_, _, err := upper.For("n1")
	want := "stacked.conf:6: 'r0-U' is a stacked resource: a holdfast volume has two replicas, on two hosts"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if on := c.On("n1"); len(on) != 1 || on[0].Name != "r0" {
		t.Errorf("on n1: %v", on)
	}
	with := mustParse(t, "resource r0 { ignore-on n9;\nproxy { memlimit 1M; plugin { lz4; } } "+volumeBody+
		"\non n1 { address 127.0.0.1:77; proxy on n1 { inside 127.0.0.1:1; outside 10.0.0.1:2; } options { cpu-mask 1; } } on n2 { address 127.0.0.2:77; } }")
	warnings := []string{"drbd.conf:1: in resource r0, WARN: The 'ignore-on' keyword is deprecated.",
		"drbd.conf:2: section 'proxy' has no effect in holdfast", "drbd.conf:3: options of a host have no effect in holdfast",
		"drbd.conf:3: option 'cpu-mask' of section options has no effect in holdfast"}
	if d := cmp.Diff(warnings, with.Warnings); d != "" {
		t.Error(d)
	}
}

// placeless drops the lines of the file, which a dump does not keep.
func placeless(dump string) []string {
	return slices.DeleteFunc(strings.Split(dump, "\n"), func(s string) bool { return strings.HasPrefix(s, "# defined") })
}

// TestRecordedDumps makes sure that the recordings are what the installed tool prints; -record writes them.
func TestRecordedDumps(t *testing.T) {
	if _, err := os.Stat(oracle); err != nil {
		t.Skip("drbdadm-84 is not installed")
	}
	for _, name := range corpus(t) {
		file := strings.TrimSuffix(name, ".conf") + ".dump"
		real := realDump(t, name, "dump")
		c := load(t, name)
		c.Locate("n1", loopback())
		for _, r := range c.On("n1") {
			real += realDump(t, name, "-d", "dump", r.Name)
		}
		if *record {
			if err := os.WriteFile(file, []byte(real), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if kept, err := os.ReadFile(file); err != nil || string(kept) != real {
			t.Errorf("%s (%v)\n%s", name, err, cmp.Diff(string(kept), real))
		}
	}
}
