package frontend

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/paths"
)

func TestLoadPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		text, variable string
		want           map[string]string // resource to front end
		err            string
	}{
		"no file":             {want: map[string]string{"r0": Default}},
		"empty object":        {text: "{}", want: map[string]string{"r0": Default}},
		"all":                 {text: `{"frontend":"nbd"}`, want: map[string]string{"r0": api.FrontNBD}},
		"one":                 {text: `{"volumes":{"r1":"fuse"}}`, want: map[string]string{"r0": Default, "r1": api.FrontFUSE}},
		"variable":            {text: `{"frontend":"nbd","volumes":{"r1":"fuse"}}`, variable: "ublk", want: map[string]string{"r0": api.FrontUBLK, "r1": api.FrontUBLK}},
		"unknown":             {text: `{"frontend":"iscsi"}`, err: `"iscsi" does not exist`},
		"unknown for one":     {text: `{"volumes":{"r1":"iscsi"}}`, err: `"iscsi" does not exist`},
		"unknown in variable": {variable: "x", err: Variable},
		"no JSON":             {text: "nbd", err: "volume.json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(Variable, c.variable)
			root := paths.Root(t.TempDir())
			if err := os.MkdirAll(root.Etc(), 0o755); err != nil {
				t.Fatal(err)
			}
			if c.text != "" {
				if err := os.WriteFile(filepath.Join(root.Etc(), "volume.json"), []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p, err := LoadPolicy(root)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for resource, want := range c.want {
				if got := p.For(resource); got != want {
					t.Errorf("%s: %s, want %s", resource, got, want)
				}
			}
		})
	}
}

// fake is a front end of a test's own.
type fake struct {
	kernel.Frontend
	kind string
}

func (f fake) DevicePath() string { return "/dev/" + f.kind }

type target struct{}

func (target) Size() int64            { return 1 << 20 }
func (target) Submit(*kernel.Request) {}

// The first that the kernel has and that opens is taken, and why the others were not is told when none does.
func TestOpenFirst(t *testing.T) {
	no, refused := errors.New("no such thing"), errors.New("refused")
	for name, c := range map[string]struct {
		probes, opens map[string]error
		want          string
	}{
		"all there":          {want: api.FrontUBLK},
		"no ublk":            {probes: map[string]error{api.FrontUBLK: no}, want: api.FrontNBD},
		"neither":            {probes: map[string]error{api.FrontUBLK: no, api.FrontNBD: no}, want: api.FrontFUSE},
		"ublk does not open": {opens: map[string]error{api.FrontUBLK: refused}, want: api.FrontNBD},
		"none":               {probes: map[string]error{api.FrontUBLK: no}, opens: map[string]error{api.FrontNBD: refused, api.FrontFUSE: refused}},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]driver{}
			for _, kind := range preferred() {
				all[kind] = driver{probe: func() error { return c.probes[kind] }, open: func(kernel.Config) (kernel.Frontend, error) {
					if err := c.opens[kind]; err != nil {
						return nil, err
					}
					return fake{kind: kind}, nil
				}}
			}
			f, err := openFirst(kernel.Config{Name: "r0", Target: target{}, Log: slog.New(slog.DiscardHandler)}, all)
			if c.want == "" {
				if !errors.Is(err, refused) {
					t.Errorf("%v, %v", f, err)
				}
				return
			}
			if err != nil || f.DevicePath() != "/dev/"+c.want {
				t.Errorf("%v, %v; want %s", f, err, c.want)
			}
		})
	}
}

// When the guard takes no device, as after the lease's end, no other front end is tried.
func TestGuardRefusesOnce(t *testing.T) {
	tried := 0
	d := driver{probe: func() error { return nil }, open: func(kernel.Config) (kernel.Frontend, error) {
		tried++
		return nil, fmt.Errorf("make the device: %w", kernel.ErrNotHeld)
	}}
	all := map[string]driver{api.FrontUBLK: d, api.FrontNBD: d, api.FrontFUSE: d}
	_, err := openFirst(kernel.Config{Name: "r0", Target: target{}, Log: slog.New(slog.DiscardHandler)}, all)
	if !errors.Is(err, kernel.ErrNotHeld) || tried != 1 {
		t.Errorf("%v after %d attempts", err, tried)
	}
}

// A front end that was asked for and cannot be had is an error that says so; nothing else is taken in its place.
func TestConfiguredFrontIsNotReplaced(t *testing.T) {
	for _, kind := range []string{api.FrontUBLK, api.FrontNBD} {
		if drivers()[kind].probe() == nil {
			t.Logf("this kernel has %s", kind)
			continue
		}
		_, err := Open(kernel.Config{Name: "r0", Target: target{}}, kind)
		if err == nil || !strings.Contains(err.Error(), "the configured front end "+kind) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
