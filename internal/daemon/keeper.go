package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/state"
	"holdfast/internal/guard/deadline"
	"holdfast/internal/paths"
)

// keeper holds this node's lease session: it begins one when nothing of an earlier one is left, hands every new deadline
// to the guard, and when a session is over cleans up what it left and begins the next.
type keeper struct {
	node        string
	incarnation uint64
	root        paths.Root
	log         *slog.Logger
	clock       clock.Source
	raft        raftNode
	pulse       *pulse
	guard       *guardLink
	// begun is called when a session begins or is carried on, ended when it is over and before it is cleaned up; lost tells
	// it from one that was given up.
	begun func(session uint64)
	ended func(lost bool)
	// clean removes what a session left on this node: mounts, volume processes. Nothing of its resources runs any more.
	clean func(ctx context.Context) error

	deadlines chan grantedDeadline // the newest only
	leaving   chan struct{}        // closed: begin no further session
	left      sync.Once
}

type grantedDeadline struct {
	session  uint64
	deadline clock.Boottime
}

// sessionFile notes the session of this boot, so that a daemon that restarts within the lease carries on with it.
func sessionFile(root paths.Root) string { return filepath.Join(root.Run(), "session") }

// offer takes a new deadline from the pulse; it does not block.
func (k *keeper) offer(session uint64, d clock.Boottime) {
	for {
		select {
		case k.deadlines <- grantedDeadline{session, d}:
			return
		default:
		}
		select {
		case <-k.deadlines:
		default:
		}
	}
}

// run keeps sessions until ctx is done.
func (k *keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		session, err := k.obtain(ctx)
		if err != nil {
			k.log.Warn("no lease yet", "err", err)
			k.wait(ctx, cluster.Heartbeat)
			continue
		}
		k.pulse.begin(session)
		why := k.hold(ctx, session)
		k.pulse.end()
		if ctx.Err() != nil {
			return // the daemon ends; the session goes on in the guard until its deadline
		}
		select {
		case <-k.leaving:
			k.log.Info("lease given up", "session", session)
			k.ended(false)
		default:
			k.log.Error("lease lost", "session", session, "why", why)
			k.ended(true)
		}
	}
}

func (k *keeper) wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// obtain carries on with the session of the daemon before this one, or begins another.
func (k *keeper) obtain(ctx context.Context) (uint64, error) {
	select {
	case <-k.leaving:
		<-ctx.Done()
		return 0, ctx.Err()
	default:
	}
	read, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if _, err := k.raft.ReadIndex(read); err != nil {
		return 0, err
	}
	lease := k.raft.View().Leases[k.node]
	held := k.noted()
	st, err := k.guard.status()
	if err != nil {
		return 0, fmt.Errorf("without a guard no lease is held: %w", err)
	}
	armed := st.State == string(deadline.Armed) || st.State == string(deadline.Disarmed)
	if lease.State == state.LeaseActive && lease.Session == held && armed {
		return held, nil
	}
	return k.begin(ctx, lease, st)
}

// begin cleans up and starts a new session in the log.
func (k *keeper) begin(ctx context.Context, lease state.Lease, st api.GuardReply) (uint64, error) {
	if err := k.nothingLeft(ctx, st.State); err != nil {
		return 0, err
	}
	if lease.State == state.LeaseActive {
		if err := k.propose(ctx, &state.LeaseEnd{Node: k.node, Session: lease.Session}); err != nil {
			return 0, err
		}
	}
	next, skip := lease.Next(st.Floor)
	if skip {
		if err := k.propose(ctx, &state.LeaseSkip{Node: k.node, Incarnation: k.incarnation, Session: next - 1}); err != nil {
			return 0, err
		}
	}
	if err := k.guard.clear(next); err != nil {
		return 0, err
	}
	if err := k.propose(ctx, &state.LeaseStart{Node: k.node, Incarnation: k.incarnation, Session: next}); err != nil {
		return 0, err
	}
	if err := os.WriteFile(sessionFile(k.root), []byte(strconv.FormatUint(next, 10)), 0o644); err != nil {
		return 0, fmt.Errorf("note the lease session: %w", err)
	}
	k.log.Info("lease session begun", "session", next)
	return next, nil
}

// nothingLeft makes sure that nothing of an earlier session is left. A guard that is armed for one still counts down:
// nobody renews it, so it will enforce.
func (k *keeper) nothingLeft(ctx context.Context, guardState string) error {
	switch deadline.State(guardState) {
	case deadline.Disarmed:
		if k.noted() == 0 {
			return nil // nothing was run in a session since boot
		}
	case deadline.Enforced:
	default:
		return fmt.Errorf("the guard is still ending the last session (%s)", guardState)
	}
	if err := k.clean(ctx); err != nil {
		return fmt.Errorf("the last session has left something: %w", err)
	}
	return os.WriteFile(sessionFile(k.root), []byte("0"), 0o644)
}

// noted is the session this boot's last daemon held, 0 when none.
func (k *keeper) noted() uint64 {
	text, err := os.ReadFile(sessionFile(k.root))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (k *keeper) propose(ctx context.Context, c state.Command) error {
	attempt, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if _, err := k.raft.Propose(attempt, c); err != nil {
		return fmt.Errorf("%s: %w", state.Verb(c), err)
	}
	return nil
}

// hold keeps the session alive and returns why it is over. Nothing is run in it before its first grant.
func (k *keeper) hold(ctx context.Context, session uint64) string {
	watch := time.NewTicker(cluster.Heartbeat)
	defer watch.Stop()
	started := false
	var latest clock.Boottime
	for {
		select {
		case <-ctx.Done():
			return "the daemon ends"
		case d := <-k.deadlines:
			if d.session != session {
				continue
			}
			if err := k.guard.lease(session, d.deadline); err != nil {
				return err.Error()
			}
			latest = d.deadline
			if !started {
				started = true
				k.begun(session)
			}
		case <-watch.C:
			if why := k.over(session, latest); why != "" {
				return why
			}
		}
	}
}

// over tells why a session is over, empty while it is not.
func (k *keeper) over(session uint64, latest clock.Boottime) string {
	lease := k.raft.View().Leases[k.node]
	if lease.Session == session && lease.State != state.LeaseActive {
		return "the log says " + string(lease.State)
	}
	if latest != 0 && k.clock.Boottime() >= latest {
		return "not renewed in time"
	}
	return ""
}

// unmountDevice takes away every mount of the block device with a number (MAJOR:MINOR), lazily: the device is dead, nobody can wait for it.
func unmountDevice(number string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var failed []error
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) > 4 && f[2] == number {
			if err := unix.Unmount(unescape(f[4]), unix.MNT_DETACH); err != nil {
				failed = append(failed, fmt.Errorf("unmount %s: %w", f[4], err))
			}
		}
	}
	return errors.Join(failed...)
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// isLeaving tells whether no further session is begun.
func (k *keeper) isLeaving() bool {
	select {
	case <-k.leaving:
		return true
	default:
		return false
	}
}

// leave ends the keeping of sessions for good: this host leaves the cluster. It may be called again, by a stop that is
// repeated.
func (k *keeper) leave() {
	k.left.Do(func() { close(k.leaving) })
	k.pulse.end()
}
