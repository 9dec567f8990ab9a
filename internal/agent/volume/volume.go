// Package volume is the built-in agent ocf:linbit:drbd: the contract of LINBIT's agent (actions, exit codes, parameter
// names, promotion scores), in the daemon's own process, for the replicated volume. It decides nothing about data: a
// promotion goes through the cluster's log (DESIGN S3), by way of the Volumes the daemon gives it.
package volume

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/api"
)

// Spec is the name of this agent.
func Spec() agent.Spec { return agent.Spec{Class: "ocf", Provider: "linbit", Type: "drbd"} }

// Errors a Volumes answers with; wrap them with what was attempted.
var (
	// ErrNotDefined: no .res file of this node defines the volume.
	ErrNotDefined = errors.New("no such volume is defined in this node's DRBD configuration")
	// ErrNotUp: the volume is defined, but not up.
	ErrNotUp = errors.New("the volume is not up")
	// ErrNotYet: refused for now (the former Primary has neither demoted nor been fenced nor lost its lease, no leader
	// is known); the same request may succeed in a moment.
	ErrNotYet = errors.New("not possible yet")
)

// Volumes is what the agent needs of this node's volumes. The daemon implements it. All methods are idempotent and
// return before ctx is done.
type Volumes interface {
	// Status of a volume that is up; ErrNotDefined, ErrNotUp.
	Status(ctx context.Context, resource string) (api.VolumeStatus, error)
	// Up attaches and connects, as Secondary.
	Up(ctx context.Context, resource string) error
	// Down disconnects and detaches a Secondary. It fails while the device is in use.
	Down(ctx context.Context, resource string) error
	// Promote makes this node the volume's Primary, through the log, and returns the epoch it was promoted in, when the
	// device is writable. Without a cluster's log there is no epoch, and the agent refuses.
	Promote(ctx context.Context, resource string) (epoch uint64, err error)
	// Demote makes it Secondary and reports that to the log; after it returned nil the log may promote another.
	Demote(ctx context.Context, resource string) error
}

// Scorer is told the promotion score of an instance on this node: the transient node attribute Attribute(instance).
// With set false the attribute is to be deleted: this replica must not be promoted.
type Scorer func(instance string, score int, set bool)

// poll is how often a state is looked at while waiting for it, and a refused promotion repeated.
const poll = 50 * time.Millisecond

// DefaultConnectWait is the parameter wfc_timeout when it is not given: how long start waits for the peer.
const DefaultConnectWait = 5 * time.Second

// MeetingWait is how long a replica in U waits for its peer at a start.
const MeetingWait = time.Second

// Agent is the built-in agent.
type Agent struct {
	volumes Volumes
	score   Scorer
}

// New makes the agent. score may be nil.
func New(volumes Volumes, score Scorer) *Agent {
	if score == nil {
		score = func(string, int, bool) {}
	}
	return &Agent{volumes: volumes, score: score}
}

// Attribute is the node attribute that holds an instance's promotion score: master-drbd_mysql for drbd_mysql:0 too,
// since instances of an anonymous clone are alike.
func Attribute(instance string) string {
	return "master-" + regexp.MustCompile(`:\d+$`).ReplaceAllString(instance, "")
}

// Run carries out one operation.
func (a *Agent) Run(ctx context.Context, op agent.Operation) agent.Result {
	begin := time.Now()
	r := a.run(ctx, op)
	r.Exec = time.Since(begin)
	if r.Status == agent.Done && r.Code != agent.OK && ctx.Err() != nil {
		r.Status = agent.TimedOut
		if errors.Is(ctx.Err(), context.Canceled) {
			r.Status, r.Code = agent.Cancelled, agent.Unknown
		}
	}
	return r
}

func (a *Agent) run(ctx context.Context, op agent.Operation) agent.Result {
	if op.Action == "meta-data" {
		return agent.Result{Stdout: []byte(MetadataXML)}
	}
	res := op.Params["drbd_resource"]
	if res == "" {
		return fail(agent.ErrConfigured, "parameter drbd_resource is not set; name the resource of the .res file")
	}
	switch op.Action {
	case "start":
		return a.start(ctx, op, res)
	case "stop":
		return a.stop(ctx, op, res)
	case "monitor", "status":
		return a.monitor(ctx, op, res)
	case "promote":
		return a.promote(ctx, op, res)
	case "demote":
		return a.demote(ctx, op, res)
	case "notify":
		a.refresh(ctx, op, res)
		return agent.Result{}
	case "validate-all", "reload", "reload-agent":
		return a.validate(ctx, op, res)
	}
	return fail(agent.ErrUnimplemented, fmt.Sprintf("action %q is not implemented by %s", op.Action, Spec()))
}

func fail(code agent.Code, reason string) agent.Result {
	return agent.Result{Code: code, ExitReason: reason}
}

// failure gives an error its OCF code: a volume this node does not define makes the agent unusable here, not elsewhere.
func failure(err error) agent.Result {
	switch {
	case errors.Is(err, ErrNotDefined):
		return fail(agent.ErrInstalled, err.Error())
	case errors.Is(err, ErrNotUp):
		return fail(agent.NotRunning, err.Error())
	}
	return fail(agent.ErrGeneric, err.Error())
}

func (a *Agent) start(ctx context.Context, op agent.Operation, res string) agent.Result {
	status, err := a.volumes.Status(ctx, res)
	if errors.Is(err, ErrNotUp) {
		if err = a.volumes.Up(ctx, res); err == nil {
			status, err = a.settle(ctx, op, res)
		}
	}
	if err != nil {
		return failure(fmt.Errorf("start volume %s: %w", res, err))
	}
	if status.Role == "Primary" {
		// A start must end Unpromoted. Something outside the cluster promoted it.
		return fail(agent.RunningPromoted, fmt.Sprintf("volume %s is already Primary", res))
	}
	a.tell(op, &status)
	return agent.Result{}
}

// settle waits for the disk to be attached and, at most wfc_timeout, for the peer: a promotion decided before both
// have met would be decided on less than can be known. A disk that the cluster's log has in U is known to be as good as any:
// it waits only as long as a peer that starts at the same time may need, since without it the promotion would take it
// out of U.
func (a *Agent) settle(ctx context.Context, op agent.Operation, res string) (api.VolumeStatus, error) {
	begun, limit := time.Now(), connectWait(op.Params)
	for {
		status, err := a.volumes.Status(ctx, res)
		if inU(&status) {
			limit = min(limit, MeetingWait)
		}
		if err != nil || connected(&status) || (time.Since(begun) > limit && attached(&status)) {
			return status, err
		}
		if err := sleep(ctx, poll); err != nil {
			return status, fmt.Errorf("disk is still %s: %w", status.Disk, err)
		}
	}
}

func connectWait(params map[string]string) time.Duration {
	text, given := params["wfc_timeout"]
	if !given {
		return DefaultConnectWait
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 {
		return 0 // LINBIT: empty or no number means do not wait
	}
	return time.Duration(seconds) * time.Second
}

func attached(s *api.VolumeStatus) bool {
	return s.Disk != "Attaching" && s.Disk != "Negotiating" && s.Disk != "Diskless"
}

// inU tells whether the cluster's log has this disk among the up-to-date ones: only then is a bound volume's UpToDate.
func inU(s *api.VolumeStatus) bool { return s.Bound && s.Epoch > 0 && s.Disk == "UpToDate" }

func connected(s *api.VolumeStatus) bool {
	return attached(s) && s.PeerRole != "" && s.PeerRole != "Unknown"
}

func (a *Agent) stop(ctx context.Context, op agent.Operation, res string) agent.Result {
	a.score(op.Resource, 0, false)
	status, err := a.volumes.Status(ctx, res)
	switch {
	case errors.Is(err, ErrNotUp), errors.Is(err, ErrNotDefined):
		return agent.Result{} // nothing of it runs here
	case err == nil && status.Role == "Primary":
		err = a.volumes.Demote(ctx, res)
	}
	if err == nil {
		err = a.volumes.Down(ctx, res)
	}
	if err != nil && !errors.Is(err, ErrNotUp) {
		return fail(agent.ErrGeneric, fmt.Sprintf("stop volume %s: %v", res, err))
	}
	return agent.Result{}
}

func (a *Agent) monitor(ctx context.Context, op agent.Operation, res string) agent.Result {
	status, err := a.volumes.Status(ctx, res)
	if errors.Is(err, ErrNotUp) || (errors.Is(err, ErrNotDefined) && op.Interval == 0) {
		a.score(op.Resource, 0, false)
		return fail(agent.NotRunning, "")
	}
	if err != nil {
		return failure(fmt.Errorf("monitor volume %s: %w", res, err))
	}
	a.tell(op, &status)
	if status.Role == "Primary" {
		return agent.Result{Code: agent.RunningPromoted}
	}
	return agent.Result{}
}

// promote repeats while the log says "not yet", as LINBIT's agent repeats until its timeout.
func (a *Agent) promote(ctx context.Context, op agent.Operation, res string) agent.Result {
	for {
		epoch, err := a.volumes.Promote(ctx, res)
		if err == nil {
			return a.promoted(ctx, op, res, epoch)
		}
		if !errors.Is(err, ErrNotYet) || sleep(ctx, poll) != nil {
			return failure(fmt.Errorf("promote volume %s: %w", res, err))
		}
	}
}

// promoted believes a promotion only if it has an epoch and the volume itself says it is Primary in that epoch.
func (a *Agent) promoted(ctx context.Context, op agent.Operation, res string, epoch uint64) agent.Result {
	status, err := a.volumes.Status(ctx, res)
	switch {
	case err != nil:
		return failure(fmt.Errorf("promote volume %s: %w", res, err))
	case epoch == 0:
		return fail(agent.ErrGeneric, fmt.Sprintf("promote volume %s: the promotion has no epoch in the cluster's log; is the volume adopted?", res))
	case status.Role != "Primary" || status.Epoch < epoch:
		return fail(agent.ErrGeneric, fmt.Sprintf("promote volume %s: it is %s in epoch %d, and should be Primary in epoch %d", res, status.Role, status.Epoch, epoch))
	}
	a.tell(op, &status)
	return agent.Result{}
}

func (a *Agent) demote(ctx context.Context, op agent.Operation, res string) agent.Result {
	status, err := a.volumes.Status(ctx, res)
	if err == nil && status.Role == "Primary" {
		err = a.volumes.Demote(ctx, res)
	}
	if err != nil {
		return failure(fmt.Errorf("demote volume %s: %w", res, err))
	}
	a.refresh(ctx, op, res)
	return agent.Result{}
}

func (a *Agent) validate(ctx context.Context, op agent.Operation, res string) agent.Result {
	if _, err := Scores(op.Params); err != nil {
		return fail(agent.ErrConfigured, err.Error())
	}
	if _, err := a.volumes.Status(ctx, res); err != nil && !errors.Is(err, ErrNotUp) {
		return failure(err)
	}
	return agent.Result{}
}

// refresh tells the score that holds now.
func (a *Agent) refresh(ctx context.Context, op agent.Operation, res string) {
	if status, err := a.volumes.Status(ctx, res); err == nil {
		a.tell(op, &status)
	}
}

func (a *Agent) tell(op agent.Operation, status *api.VolumeStatus) {
	score, ok := Score(op.Params, status)
	a.score(op.Resource, score, ok)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
