package nemesis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/labdisk"
	"holdfast/internal/lab/tutorial"
)

// cast is which host has which part.
type cast map[Part]*lab.Host

// name is what the lab calls a part in a cut.
func (c cast) name(p Part) string {
	if p == Everyone {
		return lab.Everyone
	}
	return c[p].Name()
}

// roles casts the hosts by the log as it is now.
func roles(ctx context.Context, l *lab.Lab) (cast, error) {
	c := cast{Witness: l.Host(tutorial.Web1)}
	switch primary := demo.Primary(ctx, l); primary {
	case tutorial.DB1:
		c[Active], c[Standby] = l.Host(tutorial.DB1), l.Host(tutorial.DB2)
	case tutorial.DB2:
		c[Active], c[Standby] = l.Host(tutorial.DB2), l.Host(tutorial.DB1)
	default:
		return nil, fmt.Errorf("no database host is Primary, but %q", primary)
	}
	return c, nil
}

// striker lets faults happen.
type striker struct {
	lab  *lab.Lab
	cast cast
}

// strike begins a fault and returns what ends it.
func (s striker) strike(ctx context.Context, f Fault) (end func(context.Context) error, err error) {
	switch f.Kind {
	case Kill:
		return s.kill(ctx, f.Where)
	case KillTogether:
		return s.killTogether(ctx, f)
	case WipeLog, DamageLog:
		return s.spoilLog(ctx, f)
	case NewDisk:
		return nothing, s.newDisk(ctx)
	case Freeze:
		return s.freeze(f.Where)
	case Cut:
		return func(context.Context) error { return s.lab.Heal() }, s.lab.Cut(s.cast.name(f.Where), s.cast.name(f.To), f.OneWay)
	case Disk:
		return s.disk(ctx, f)
	case NodeStandby, StopCluster, Move:
		return s.operate(ctx, f)
	}
	return s.process(ctx, f)
}

func nothing(context.Context) error { return nil }

// up boots hosts that are down, all at once.
func up(ctx context.Context, hosts ...*lab.Host) error {
	errs := make(chan error, len(hosts))
	for _, h := range hosts {
		go func() {
			if h.Running() {
				errs <- nil
				return
			}
			errs <- h.Start(ctx)
		}()
	}
	var all error
	for range hosts {
		all = errors.Join(all, <-errs)
	}
	return all
}

func (s striker) kill(ctx context.Context, p Part) (func(context.Context) error, error) {
	h := s.cast[p]
	return func(ctx context.Context) error { return up(ctx, h) }, h.Kill(ctx)
}

func (s striker) killTogether(ctx context.Context, f Fault) (func(context.Context) error, error) {
	hosts := []*lab.Host{s.cast[Active], s.cast[Standby]}
	if f.Both {
		hosts = append(hosts, s.cast[Witness])
	}
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name())
	}
	return func(ctx context.Context) error { return up(ctx, hosts...) }, s.lab.Kill(ctx, names...)
}

// DamageLogLine has a host's daemon stop and overwrites all of its log but the two pages that describe the file: which of
// the others hold something changes with every write.
const DamageLogLine = "pkill -STOP -f '^holdfast daemon' && f=/var/lib/holdfast/raft.db && " +
	"dd if=/dev/urandom of=$f bs=4096 seek=2 count=$(($(stat -c %s $f) / 4096 - 2)) conv=notrunc,fsync status=none"

// spoilLog cuts a voter's power with its log gone or damaged on disk.
func (s striker) spoilLog(ctx context.Context, f Fault) (func(context.Context) error, error) {
	line := "rm -f /var/lib/holdfast/raft.db && sync /var/lib/holdfast"
	if f.Kind == DamageLog {
		line = DamageLogLine
	}
	if _, err := typed(ctx, s.cast[f.Where], line); err != nil {
		return nothing, err
	}
	return s.kill(ctx, f.Where)
}

// newDisk puts a blank disk into the standby and does what OPERATIONS says.
func (s striker) newDisk(ctx context.Context) error {
	h := s.cast[Standby]
	if err := h.Kill(ctx); err != nil {
		return err
	}
	if err := h.ReplaceDisk(ctx); err != nil {
		return err
	}
	if err := h.Start(ctx); err != nil {
		return err
	}
	for _, line := range []string{"drbdadm create-md mysqlr0", "pcs resource cleanup drbd_ha"} {
		if _, err := persist(ctx, h, line); err != nil {
			return err
		}
	}
	return nil
}

func (s striker) freeze(p Part) (func(context.Context) error, error) {
	h := s.cast[p]
	if !h.Running() {
		return nothing, nil
	}
	return func(context.Context) error {
		if !h.Running() {
			return nil
		}
		return h.Thaw()
	}, h.Freeze()
}

// disk breaks a disk. One that has failed is replaced, in this lab, by a power cycle: a disk that a volume gave up is not
// taken back by itself.
func (s striker) disk(ctx context.Context, f Fault) (func(context.Context) error, error) {
	h := s.cast[f.Where]
	c, err := lab.ParseDiskCommand(strings.Fields(f.Disk))
	if err != nil {
		return nothing, err
	}
	_, err = h.Disk(ctx, c)
	return func(ctx context.Context) error {
		lasting := c.Do == "fail" || c.Do == "full"
		if lasting {
			if err := h.Kill(ctx); err != nil {
				return err
			}
		}
		_, err := h.Disk(ctx, labdisk.Command{Do: "heal"})
		if err == nil && lasting {
			err = h.Start(ctx)
		}
		return err
	}, err
}

// operate types an operator's commands, on a host that is not concerned.
func (s striker) operate(ctx context.Context, f Fault) (func(context.Context) error, error) {
	where, on := f.Where, s.cast[Standby]
	if where == Standby {
		on = s.cast[Active]
	}
	name := "--all"
	if where != Everyone {
		name = s.cast[where].Name()
	}
	var line, back string
	switch f.Kind {
	case NodeStandby:
		line, back = "pcs node standby "+name, "pcs node unstandby "+name
	case StopCluster:
		line, back = "pcs cluster stop "+name, "pcs cluster start "+name
	case Move:
		line, back = "pcs resource move ms_drbd_ha --promoted", "true"
	}
	end := func(ctx context.Context) error {
		_, err := persist(ctx, on, back)
		return err
	}
	_, err := typed(ctx, on, line)
	return end, err
}

// The processes of a host, for pgrep -f; the brackets keep the pattern from finding its own command line.
const (
	daemonPattern = "'^holdfast daemon'"
	volumePattern = "'[v]olume mysqlr0'"
)

// process kills or stops processes of a host.
func (s striker) process(ctx context.Context, f Fault) (func(context.Context) error, error) {
	h := s.cast[f.Where]
	patterns := map[Kind][]string{
		KillDaemon: {daemonPattern}, StopDaemon: {daemonPattern}, KillVolume: {volumePattern}, StopVolume: {volumePattern},
		StopBoth: {daemonPattern, volumePattern}, KillDatabase: {"'[m]ysqld_safe'", "'[m]ariadbd'"},
	}[f.Kind]
	switch f.Kind {
	case KillDaemon, KillVolume, KillDatabase:
		return nothing, signal(ctx, h, "KILL", patterns)
	case StopDaemon, StopVolume, StopBoth:
		return func(ctx context.Context) error { return signal(ctx, h, "CONT", patterns) }, signal(ctx, h, "STOP", patterns)
	}
	return nothing, fmt.Errorf("fault %s is not known", f.Kind)
}

// signal signals processes of a host that can be reached; one that is down or frozen has none.
func signal(ctx context.Context, h *lab.Host, name string, patterns []string) error {
	if !h.Running() || h.Frozen() {
		return nil
	}
	for _, p := range patterns {
		if _, err := h.Exec(ctx, "sh", "-c", "pkill -"+name+" -f "+p); err != nil {
			return err
		}
	}
	return nil
}

// typed types a line on a host that must succeed.
func typed(ctx context.Context, h *lab.Host, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	r, err := h.Exec(ctx, "sh", "-c", line)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", r.Code, strings.TrimSpace(r.Stdout+r.Stderr))
	}
	if err != nil {
		return r.Stdout, fmt.Errorf("on %s, %q: %w", h.Name(), line, err)
	}
	return r.Stdout, nil
}

// persist types a line until it succeeds: a cluster that is just starting refuses some.
func persist(ctx context.Context, h *lab.Host, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	for {
		out, err := typed(ctx, h, line)
		if err == nil {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return out, err
		case <-time.After(10 * lookEvery):
		}
	}
}
