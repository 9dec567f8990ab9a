package ocf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/agent"
)

func TestMetadataOfRealAgents(t *testing.T) {
	root := newRoot(t)
	if _, err := os.Stat(filepath.Join(root.OCF(), "resource.d/heartbeat")); err != nil {
		t.Skip("resource-agents is not installed")
	}
	fs, err := Metadata(root, agent.Spec{Class: "ocf", Provider: "heartbeat", Type: "Filesystem"})
	must(t, err)
	if got := fs.Missing(map[string]string{"device": "/dev/sda"}); !cmp.Equal(got, []string{"directory", "fstype"}) {
		t.Errorf("missing parameters: %v", got)
	}
	if got := fs.Invalid(map[string]string{"device": "x", "zzz": "", "aaa": ""}); !cmp.Equal(got, []string{"aaa", "zzz"}) {
		t.Errorf("invalid parameters: %v", got)
	}
	if a := fs.Action("start", ""); a == nil || a.Timeout != "60s" {
		t.Errorf("start: %+v", a)
	}
	my, err := Metadata(root, agent.Spec{Class: "ocf", Provider: "heartbeat", Type: "mysql"})
	must(t, err)
	if p := my.Param("socket"); p == nil || !p.HasDefault || p.Default == "" || p.Required {
		t.Errorf("socket: %+v", p)
	}
	if a := my.Action("monitor", "Promoted"); a == nil || a.Interval != "10s" {
		t.Errorf("promoted monitor: %+v", a)
	}
}

func TestMetadataOfEveryInstalledAgent(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every agent")
	}
	root := newRoot(t)
	specs, err := List(root)
	must(t, err)
	for _, name := range []string{"Dummy", "IPaddr2", "nginx", "apache", "pgsql", "Stateful"} {
		for _, spec := range specs {
			if spec.Type != name {
				continue
			}
			m, err := Metadata(root, spec)
			if err != nil || m.Action("start", "") == nil || m.Action("monitor", "") == nil {
				t.Errorf("%s: %v", spec, err)
			}
		}
	}
}

func TestBuiltInMetadataNeedsNoScript(t *testing.T) {
	root := newRoot(t)
	must(t, os.RemoveAll(filepath.Join(root.OCF(), "resource.d")))
	spec, err := Find(root, "ocf:linbit:drbd")
	must(t, err)
	m, err := Metadata(root, spec)
	must(t, err)
	if got := m.Missing(nil); !cmp.Equal(got, []string{"drbd_resource"}) {
		t.Errorf("missing: %v", got)
	}
	if a := m.Action("monitor", "Promoted"); a == nil || a.Interval != "10" || a.Timeout != "20" {
		t.Errorf("promoted monitor: %+v", a)
	}
}

func TestFind(t *testing.T) {
	root := newRoot(t)
	must(t, os.RemoveAll(filepath.Join(root.OCF(), "resource.d")))
	for _, f := range []string{"heartbeat/Filesystem", "heartbeat/Dummy", "pacemaker/Dummy", "heartbeat/.ocf-shellfuncs"} {
		path := filepath.Join(root.OCF(), "resource.d", f)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	}
	for _, c := range []struct{ name, want, fails string }{
		{name: "Filesystem", want: "ocf:heartbeat:Filesystem"},
		{name: "filesystem", want: "ocf:heartbeat:Filesystem"},
		{name: "heartbeat:Dummy", want: "ocf:heartbeat:Dummy"},
		{name: "ocf:pacemaker:Dummy", want: "ocf:pacemaker:Dummy"},
		{name: "drbd", want: "ocf:linbit:drbd"},
		{name: "ocf:linbit:drbd", want: "ocf:linbit:drbd"},
		{name: "systemd:nginx", want: "systemd:nginx"},
		{name: "Dummy", fails: "Multiple agents match 'Dummy', please specify full name: 'ocf:heartbeat:Dummy', 'ocf:pacemaker:Dummy'"},
		{name: "nosuch", fails: "Unable to find agent 'nosuch', try specifying its full name"},
		{name: "ocf:heartbeat:nosuch", fails: "not installed"},
		{name: "ocf:../x:y", fails: "not valid"},
		{name: "a:b:c:d", fails: "not valid"},
		{name: "", fails: "not valid"},
	} {
		spec, err := Find(root, c.name)
		switch {
		case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("Find(%q): %v, want %q", c.name, err, c.fails)
		case c.fails == "" && (err != nil || spec.String() != c.want):
			t.Errorf("Find(%q) = %s, %v, want %s", c.name, spec, err, c.want)
		}
	}
}

func TestMetadataErrors(t *testing.T) {
	root := newRoot(t)
	for body, want := range map[string]string{
		"exit 6\n":          "exit code 6",
		"echo not xml\n":    "not a resource-agent document",
		"echo '<other/>'\n": "not a resource-agent document",
		"echo ocf-exit-reason:no perl >&2; exit 1\n":                                                 "no perl",
		"echo '<resource-agent name=\"x\"><parameters><parameter/></parameters></resource-agent>'\n": "has no name",
	} {
		spec := script(t, root, "bad", body)
		if _, err := Metadata(root, spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", body, err, want)
		}
	}
}

func TestParseMetadata(t *testing.T) {
	m, err := ParseMetadata([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?><resource-agent name="a" version="2">
<shortdesc lang="de">kurz</shortdesc><shortdesc lang="en"> short </shortdesc>
<parameters>
<parameter name="p" required="yes" unique-group="g"><content type="string" default=""/></parameter>
<parameter name="q"><deprecated><replaced-with name="p"/></deprecated><shortdesc>only</shortdesc><content type="second"/></parameter>
</parameters><actions><action name="monitor" role="Master" depth="0" start-delay="1s" timeout="5"/></actions></resource-agent>`))
	must(t, err)
	want := &agent.Metadata{Name: "a", Version: "2", ShortDesc: "short",
		Params: []agent.Param{{Name: "p", Required: true, UniqueGroup: "g", Type: "string", HasDefault: true},
			{Name: "q", Deprecated: true, ReplacedBy: []string{"p"}, Type: "second", ShortDesc: "only"}},
		Actions: []agent.Action{{Name: "monitor", Role: "Promoted", Depth: "0", StartDelay: "1s", Timeout: "5"}}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(`<resource-agent name="x"><parameters><parameter name="a"><content default="1"/></parameter></parameters></resource-agent>`))
	f.Add([]byte("<resource-agent><actions><action/></actions></resource-agent>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMetadata(data)
		if err != nil {
			return
		}
		for _, p := range m.Params {
			if p.Name == "" {
				t.Error("a parameter without a name")
			}
		}
		m.Missing(nil)
	})
}

func FuzzExitReason(f *testing.F) {
	f.Add([]byte("ocf-exit-reason:x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r := exitReason(data); strings.ContainsRune(r, '\n') || len(r) > len(data)+len(data) {
			t.Errorf("%q", r)
		}
	})
}

// The environment must not be able to smuggle a variable: names with '=' and values with NUL are left out.
func TestEnvironmentIsSafe(t *testing.T) {
	env := environment("/x", agent.Operation{Timeout: time.Second, Params: map[string]string{"a=b": "c", "z": "a\x00b"}})
	for _, e := range env {
		if strings.Contains(e, "a=b") || strings.ContainsRune(e, 0) {
			t.Errorf("%q got through", e)
		}
	}
}
