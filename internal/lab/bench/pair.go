package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"holdfast/internal/api"
	"holdfast/internal/paths"
)

// pair is the replicated volume.
type pair struct {
	a, b   *node
	record *record
}

const config = `resource %s {
  protocol C;
  on %s { device /dev/drbd1; disk %s; address 127.0.0.1:%d; meta-disk internal; }
  on %s { device /dev/drbd1; disk %s; address 127.0.0.1:%d; meta-disk internal; }
}
`

// newPair makes two hosts below dir, and brings the volume up and through its first sync; a is Primary.
func newPair(ctx context.Context, program, dir string, size int64) (*pair, error) {
	p := &pair{record: &record{}}
	for _, name := range []string{nodeA, nodeB} {
		root := filepath.Join(dir, name)
		n := &node{name: name, program: program, root: paths.Root(root), disk: filepath.Join(root, "disk")}
		p.record.nodes = append(p.record.nodes, n)
	}
	p.a, p.b = p.record.nodes[0], p.record.nodes[1]
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return p, err
	}
	if err := certificates(dir, p.a, p.b); err != nil {
		return p, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return p, err
	}
	text := fmt.Sprintf(config, resource, p.a.name, p.a.disk, ports[0], p.b.name, p.b.disk, ports[1])
	for _, n := range p.record.nodes {
		if err := n.prepare(ctx, text, size); err != nil {
			return p, fmt.Errorf("prepare %s: %w", n.name, err)
		}
		if err := n.start(ctx, p.record); err != nil {
			return p, err
		}
		if err := n.session.do(ctx, api.VolumeDo{Verb: api.VolumeUp}); err != nil {
			return p, err
		}
	}
	return p, p.adopt(ctx)
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // all are held until all are found
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// adopt brings the volume from new metadata into the record, as `drbdadm primary --force` and the daemon do.
func (p *pair) adopt(ctx context.Context) error {
	connected := func(s *api.VolumeStatus) bool { return s.Conn == "Connected" }
	if _, err := p.a.session.until(ctx, "the connection", connected); err != nil {
		return err
	}
	if err := p.a.session.do(ctx, api.VolumeDo{Verb: api.VolumePrimary, Force: true}); err != nil {
		return err
	}
	var u []api.Replica
	for _, n := range p.record.nodes {
		s, err := n.session.until(ctx, "the first sync", func(s *api.VolumeStatus) bool {
			return connected(s) && s.Disk == "UpToDate" && s.PeerDisk == "UpToDate" && s.Counters.OOS == 0
		})
		if err != nil {
			return err
		}
		u = append(u, api.Replica{Node: n.name, DeviceUUID: s.DeviceUUID, Generation: s.CurrentUUID})
	}
	err := p.record.change(func() {
		r := p.record
		r.adopted, r.epoch, r.version, r.primary, r.u = true, 1, 1, p.a.name, u
	})
	if err != nil {
		return err
	}
	return p.whole(ctx)
}

// whole waits until both are in U, UpToDate and connected.
func (p *pair) whole(ctx context.Context) error {
	_, err := p.a.session.until(ctx, "both replicas", func(s *api.VolumeStatus) bool {
		return s.Conn == "Connected" && s.Disk == "UpToDate" && s.PeerDisk == "UpToDate" && s.Frozen == "" && s.Epoch == 1 && p.record.whole()
	})
	return err
}

// degrade takes b away and waits until a goes on alone.
func (p *pair) degrade(ctx context.Context) error {
	if err := p.b.kill(p.record); err != nil {
		return err
	}
	_, err := p.a.session.until(ctx, "the removal of b", func(s *api.VolumeStatus) bool {
		return s.Frozen == "" && s.PeerDisk != "UpToDate" && !p.record.whole()
	})
	return err
}

// restore starts b again and waits for the resync.
func (p *pair) restore(ctx context.Context) error {
	if err := p.b.start(ctx, p.record); err != nil {
		return err
	}
	if err := p.b.session.do(ctx, api.VolumeDo{Verb: api.VolumeUp}); err != nil {
		return err
	}
	return p.whole(ctx)
}

func (p *pair) stop() {
	for _, n := range p.record.nodes {
		n.stop()
	}
}

// writeFile makes a file of so many bytes that are all written, so that no later write has to allocate.
func writeFile(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(block)) {
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return fmt.Errorf("fill %s: %w", path, err)
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fill %s: %w", path, err)
	}
	return nil
}
