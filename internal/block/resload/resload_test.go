package resload

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/paths"
)

const resource = `resource r0 { device /dev/drbd1; disk /dev/x; meta-disk internal;
 on a { address 10.0.0.1:7788; } on b { address 10.0.0.2:7788; } }
`

func write(t *testing.T, root, name, text string) {
	t.Helper()
	p := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // position of r0, or the error
	}{
		{"includes", map[string]string{
			"etc/drbd.conf":                 "include \"drbd.d/global_common.conf\";\ninclude \"drbd.d/*.res\";\n",
			"etc/drbd.d/global_common.conf": "global { usage-count no; }\n", "etc/drbd.d/r0.res": resource}, "/etc/drbd.d/r0.res:1"},
		{"absolute include", map[string]string{"etc/drbd.conf": "include /srv/r.res;", "srv/r.res": "\n" + resource}, "/srv/r.res:2"},
		{"no drbd.conf", map[string]string{"etc/drbd.d/r0.res": resource}, "/etc/drbd.d/r0.res:1"},
		{"no drbd.conf but common", map[string]string{"etc/drbd.d/r0.res": resource, "etc/drbd.d/global_common.conf": "common { }"}, "/etc/drbd.d/r0.res:1"},
		{"everything in one", map[string]string{"etc/drbd.conf": resource}, "/etc/drbd.conf:1"},
		{"bad file", map[string]string{"etc/drbd.d/r0.res": resource, "etc/drbd.d/bad.res": "\nresource x { on a { bad; } }"}, "/etc/drbd.d/bad.res:2: Parse error"},
		{"nothing", nil, "read the DRBD configuration: neither /etc/drbd.conf nor /etc/drbd.d is there"},
		{"missing include", map[string]string{"etc/drbd.conf": "include \"drbd.d/gone.conf\";"}, "/etc/drbd.conf:1: Failed to open include file 'drbd.d/gone.conf'."},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range c.files {
				write(t, root, name, text)
			}
			config, err := Load(paths.Root(root))
			if err != nil {
				if !strings.HasPrefix(err.Error(), c.want) {
					t.Fatalf("got %v, want %s", err, c.want)
				}
				return
			}
			r, ok := config.Resource("r0")
			if !ok || r.Pos.String() != c.want {
				t.Fatalf("resource %+v, want %s", r, c.want)
			}
		})
	}
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "my.conf", "include \"sub/*\";")
	write(t, dir, "sub/one", resource)
	config, err := LoadFile(filepath.Join(dir, "my.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := config.Resource("r0"); !ok {
		t.Error("r0 was not included")
	}
	if _, err := LoadFile(filepath.Join(dir, "gone")); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("missing file: %v", err)
	}
}

// TestLocate finds a floating section by the loopback address every host has.
func TestLocate(t *testing.T) {
	root := t.TempDir()
	write(t, root, "etc/drbd.d/r0.res", "resource r0 { device /dev/drbd1; disk /dev/x; meta-disk internal;\n"+
		" floating 192.0.2.77:7788; floating 127.0.0.1:7788; }\n")
	c, err := Load(paths.Root(root))
	if err != nil {
		t.Fatal(err)
	}
	if err := Locate(c, "here"); err != nil {
		t.Fatal(err)
	}
	r, _ := c.Resource("r0")
	self, peer, err := r.For("here")
	if err != nil || self.Address.Host != "127.0.0.1" || peer.Address.Host != "192.0.2.77" {
		t.Errorf("self %+v, peer %+v: %v", self, peer, err)
	}
}
