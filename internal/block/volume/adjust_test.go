package volume

import (
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
	"holdfast/internal/loopback"
)

// configured lets a node read its configuration again, with replacements of its text.
func (n *node) configured(text *string) {
	n.config = func(c *Config) {
		c.Reload = func() (*resfile.Resource, error) {
			cfg, err := resfile.Parse("test.res", []byte(*text), nil)
			if err != nil {
				return nil, err
			}
			r, _ := cfg.Resource("r0")
			return r, nil
		}
	}
}

// TestAdjust changes the configuration under a running volume: nothing happens without a difference, the connection is made
// anew with the new options, another disk or device is refused while it is in use, and what cannot be read changes nothing.
func TestAdjust(t *testing.T) {
	addressA, addressB := loopback.Address(t), loopback.Address(t)
	plain := resourceFile(addressA, addressB, "")
	cfg, err := resfile.Parse("test.res", []byte(plain), nil)
	must(t, err)
	res, _ := cfg.Resource("r0")
	p := &pair{t: t, a: newNode(t, "a", res, 0xa11ce0001), b: newNode(t, "b", res, 0xb0b0002)}
	text := plain
	p.a.configured(&text)
	p.b.configured(&text)
	p.synced()
	p.a.write(0, fill(7, 4096))
	same := func(n *node, want string) {
		t.Helper()
		if r := n.do(api.VolumeDo{Verb: api.VolumeShow}); !strings.Contains(strings.Join(strings.Fields(r.Config), " "), want) {
			t.Errorf("%s runs\n%s", n.name, r.Config)
		}
	}
	p.a.ok(api.VolumeDo{Verb: api.VolumeAdjust})
	if st := p.a.last(); st.Conn != "Connected" {
		t.Errorf("adjusted without a difference: %+v", st)
	}
	text = resourceFile(addressA, addressB, "net { protocol B; max-epoch-size 100; }")
	p.b.ok(api.VolumeDo{Verb: api.VolumeAdjust})
	p.a.ok(api.VolumeDo{Verb: api.VolumeAdjust})
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect}) // b may have met a before a was adjusted, and been refused
	for _, n := range []*node{p.a, p.b} {
		n.until("protocol B", func(s *api.VolumeStatus) bool {
			return s.Protocol == "B" && s.Conn == "Connected" && s.PeerDisk == "UpToDate"
		})
		same(n, "max-epoch-size 100;")
	}
	p.a.write(4096, fill(8, 4096))
	for change, why := range map[string]string{
		"/dev/drbd1 -> /dev/drbd2": "the device or its minor has changed: drbdadm down r0, then up",
		"on b -> on c":             "the peer is another host now",
		"/disk/a -> /disk/other":   "Need access to UpToDate data",
		"protocol -> protocoll":    "an option keyword",
	} {
		old, new, _ := strings.Cut(change, " -> ")
		text = strings.Replace(resourceFile(addressA, addressB, "net { protocol B; max-epoch-size 100; }"), old, new, 1)
		if r := p.a.do(api.VolumeDo{Verb: api.VolumeAdjust}); r.Code == 0 || !strings.Contains(r.Error, why) {
			t.Errorf("%s: %+v", change, r)
		}
		same(p.a, "/disk/a;")
	}
	text = strings.Replace(resourceFile(addressA, addressB, "net { protocol B; max-epoch-size 100; }"), "/disk/b", "/disk/new", 1)
	p.b.ok(api.VolumeDo{Verb: api.VolumeAdjust}) // a Secondary takes the other disk (here it is the same one)
	same(p.b, "/disk/new;")
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.a.until("both", func(s *api.VolumeStatus) bool { return s.Conn == "Connected" && s.PeerDisk == "UpToDate" })
	p.identical()
}

// TestAdjustAfterARefusal: options that were refused, being different, are made equal.
func TestAdjustAfterARefusal(t *testing.T) {
	addressA, addressB := loopback.Address(t), loopback.Address(t)
	plain := resourceFile(addressA, addressB, "")
	cfg, err := resfile.Parse("test.res", []byte(plain), nil)
	must(t, err)
	res, _ := cfg.Resource("r0")
	p := &pair{t: t, a: newNode(t, "a", res, 0xa11ce0001), b: newNode(t, "b", res, 0xb0b0002)}
	text := plain
	p.a.configured(&text)
	p.b.configured(&text)
	p.synced()
	text = resourceFile(addressA, addressB, "net { protocol B; }")
	p.b.ok(api.VolumeDo{Verb: api.VolumeAdjust})
	p.a.until("refused", func(s *api.VolumeStatus) bool {
		return s.Conn == "StandAlone" && strings.Contains(s.Reason, "protocol")
	})
	p.b.until("refused", func(s *api.VolumeStatus) bool { return s.Conn != "Connected" })
	p.a.ok(api.VolumeDo{Verb: api.VolumeAdjust})
	p.b.ok(api.VolumeDo{Verb: api.VolumeConnect})
	for _, n := range []*node{p.a, p.b} {
		n.untilState("Connected", "UpToDate", "UpToDate")
	}
}
