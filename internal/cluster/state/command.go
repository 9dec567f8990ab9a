package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"holdfast/internal/cluster"
)

// CommandFormat is the version of the encoding of commands. A command of a higher version is not understood: see
// Unsupported.
const CommandFormat = 1

// ID identifies a proposal, so that one sent twice is applied once. Origin is random per process, Seq counts up from 1.
// The zero ID is never recognised again.
type ID struct {
	Origin uint64 `json:"o"`
	Seq    uint64 `json:"s"`
	// After is the index the proposer had applied when it first proposed. A repetition that comes more than
	// cluster.ProposalWindow entries later is refused, since nobody can tell then whether it was applied.
	After uint64 `json:"a"`
}

// Command is one change of the state. The types of this package that implement it are all there are.
type Command interface {
	verb() string
	apply(tx *tx) (Result, error)
}

// envelope is a command as it is in the log: JSON, so that a log can be read by people in a bad hour.
type envelope struct {
	Format int             `json:"v"`
	ID     ID              `json:"id"`
	Verb   string          `json:"do"`
	Args   json.RawMessage `json:"with"`
}

// ErrUnsupported is a command written by a newer version of holdfast.
var ErrUnsupported = errors.New("the log holds a command of a newer holdfast")

// Encode makes the log entry of a command. It fails for a command larger than cluster.MaxCommand.
func Encode(id ID, c Command) ([]byte, error) {
	args, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.verb(), err)
	}
	data, err := json.Marshal(envelope{Format: CommandFormat, ID: id, Verb: c.verb(), Args: args})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.verb(), err)
	}
	if len(data) > cluster.MaxCommand {
		return nil, fmt.Errorf("encode %s: %d bytes are over the limit of %d for one log entry", c.verb(), len(data), cluster.MaxCommand)
	}
	return data, nil
}

// Decode reads a log entry. The error is ErrUnsupported for a command of a newer version; any other error means that no
// version understands the bytes.
func Decode(data []byte) (ID, Command, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return ID{}, nil, fmt.Errorf("decode command: %w", err)
	}
	c := newCommand(e.Verb)
	switch {
	case e.Format < 1:
		return e.ID, nil, fmt.Errorf("decode command: format %d", e.Format)
	case c == nil && e.Verb == "":
		return e.ID, nil, errors.New("decode command: it has no name")
	case e.Format > CommandFormat || c == nil:
		return e.ID, nil, fmt.Errorf("%w: %.40q, format %d (this version knows %d)", ErrUnsupported, e.Verb, e.Format, CommandFormat)
	}
	dec := json.NewDecoder(bytes.NewReader(e.Args))
	if err := dec.Decode(c); err != nil {
		return e.ID, nil, fmt.Errorf("decode %s: %w", e.Verb, err)
	}
	return e.ID, c, nil
}

// Verb names a command in logs and errors: volume.promote.
func Verb(c Command) string { return c.verb() }

func newCommand(verb string) Command {
	for _, c := range []Command{
		&ClusterInit{}, &ClusterSettings{}, &ClusterLead{}, &ClusterBranch{}, &ClusterReunite{}, &MemberAdd{}, &MemberUpdate{}, &MemberIncarnation{}, &MemberRemove{},
		&LeaseStart{}, &LeaseSkip{}, &LeaseExpire{}, &LeaseEnd{},
		&VolumeAdopt{}, &VolumeAlone{}, &VolumePromote{}, &VolumeDemote{}, &VolumeRemove{}, &VolumeAdd{}, &VolumeConfirm{},
		&VolumeForget{}, &VolumeSurvivor{},
		&CIBReplace{}, &CIBStatus{}, &BalancerSet{}, &BalancerRemove{}, &OperatorNote{},
	} {
		if c.verb() == verb {
			return c
		}
	}
	return nil
}
