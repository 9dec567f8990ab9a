package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"holdfast/internal/cluster"
)

// Result is what became of a command. It is the same on every member.
type Result struct {
	// ID of the proposal.
	ID ID `json:"-"`
	// Index of the entry that applied or refused it.
	Index uint64 `json:"index"`
	// Refused says why nothing was changed; empty if the command was applied.
	Refused string `json:"refused,omitempty"`
	// TooOld: refused since nobody can tell any more whether it was applied before. See ID.After.
	TooOld bool `json:"too_old,omitempty"`
	// Session is the lease session begun by LeaseStart.
	Session uint64 `json:"session,omitempty"`
	// Epoch and Version of the volume after a volume command, also after a refused one if the volume is known.
	Epoch   uint64 `json:"epoch,omitempty"`
	Version uint64 `json:"version,omitempty"`
	// CIB is the version of the CIB ("admin_epoch.epoch.num_updates") after a CIB command.
	CIB string `json:"cib,omitempty"`
	// Unsupported: the entry is of a newer version, or cannot be understood for another reason that other members may
	// not share. The log must stop here: to go on would let this member's state differ from the others'.
	Unsupported string `json:"-"`
}

// Err is the refusal as an error, nil if the command was applied.
func (r Result) Err() error {
	if r.Refused == "" {
		return nil
	}
	return &Refusal{Reason: r.Refused}
}

// Refusal is a command refused by the state machine.
type Refusal struct{ Reason string }

// Error gives the reason.
func (r *Refusal) Error() string { return r.Reason }

func refusal(format string, args ...any) error { return &Refusal{Reason: fmt.Sprintf(format, args...)} }

func refuse(format string, args ...any) (Result, error) { return Result{}, refusal(format, args...) }

// Machine applies commands to the state. Its methods are called by one goroutine; only the Views it hands out may
// travel.
type Machine struct {
	view *View
	seen window
}

// New makes the state of a cluster that does not exist yet.
func New() *Machine { return &Machine{view: &View{}} }

// View returns the present state.
func (m *Machine) View() *View { return m.view }

// Apply applies the entry at index, written in the Raft term term; index must be above every index applied before. It never panics on what data holds.
// A proposal that was applied before is not applied again; its first result is returned.
func (m *Machine) Apply(index, term uint64, data []byte) Result {
	if index <= m.view.Index {
		panic(fmt.Sprintf("state: entry %d applied after %d", index, m.view.Index))
	}
	id, cmd, err := Decode(data)
	if errors.Is(err, ErrUnsupported) {
		return Result{Index: index, Unsupported: err.Error()}
	}
	if known, ok := m.seen.find(id); ok {
		m.Skip(index)
		known.ID = id
		return known
	}
	next := *m.view
	next.Index = index
	result := m.run(&tx{View: &next, term: term}, id, cmd, err)
	result.ID, result.Index = id, index
	m.seen.add(id, result)
	return result
}

// run applies cmd to the view in t and installs it if the command was not refused.
func (m *Machine) run(t *tx, id ID, cmd Command, bad error) Result {
	if bad != nil {
		m.Skip(t.Index)
		return Result{Refused: bad.Error()}
	}
	if id.Origin != 0 && t.Index > id.After && t.Index-id.After > cluster.ProposalWindow {
		m.Skip(t.Index)
		return Result{TooOld: true, Refused: fmt.Sprintf("%s was proposed too long ago (%d entries) to tell whether it was applied before; look at the state and ask again",
			cmd.verb(), t.Index-id.After)}
	}
	result, err := cmd.apply(t)
	if err != nil {
		m.Skip(t.Index)
		result.Refused = fmt.Sprintf("%s: %s", cmd.verb(), err)
		return result
	}
	m.view = t.View
	return result
}

// Skip notes that the entry at index holds nothing for the state (Raft's own entries).
func (m *Machine) Skip(index uint64) {
	next := *m.view
	next.Index = index
	m.view = &next
}

// snapshot is the state in a Raft snapshot.
type snapshot struct {
	Format int         `json:"v"`
	View   *View       `json:"view"`
	CIB    string      `json:"cib,omitempty"`
	Seen   []seenEntry `json:"seen,omitempty"`
}

// Snapshot encodes the whole state.
func (m *Machine) Snapshot() []byte {
	s := snapshot{Format: CommandFormat, View: m.view, Seen: m.seen.entries}
	if m.view.CIB != nil {
		s.CIB = string(m.view.CIB.Bytes())
	}
	data, err := json.Marshal(s)
	if err != nil {
		panic("state: a state that cannot be encoded: " + err.Error())
	}
	return data
}

// Restore replaces the state by a snapshot. After an error the machine is as before.
func (m *Machine) Restore(data []byte) error {
	var s snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("restore snapshot of the cluster state: %w", err)
	}
	if s.Format > CommandFormat {
		return fmt.Errorf("restore snapshot of the cluster state: %w (format %d, this version knows %d)", ErrUnsupported, s.Format, CommandFormat)
	}
	if s.Format < 1 || s.View == nil {
		return errors.New("restore snapshot of the cluster state: it has no state in it")
	}
	if err := s.restoreCIB(); err != nil {
		return err
	}
	if err := s.View.check(); err != nil {
		return fmt.Errorf("restore snapshot of the cluster state: %w", err)
	}
	m.view, m.seen = s.View, window{}
	for _, e := range s.Seen {
		m.seen.add(e.ID, e.Result)
	}
	return nil
}

// tx is a view being changed by one command: what it changes is copied first. term is that of the log entry.
type tx struct {
	*View
	term uint64
}

func (t *tx) setMember(m Member) {
	t.Members = with(t.Members, m.Name, m)
}

func (t *tx) setLease(node string, l Lease) {
	l.Since = t.Index
	t.Leases = with(t.Leases, node, l)
}

func (t *tx) setVolume(v Volume) {
	t.Volumes = with(t.Volumes, v.Name, v)
}

func with[V any](m map[string]V, key string, v V) map[string]V {
	out := make(map[string]V, len(m)+1)
	maps.Copy(out, m)
	out[key] = v
	return out
}

func without[V any](m map[string]V, key string) map[string]V {
	out := maps.Clone(m)
	delete(out, key)
	return out
}
