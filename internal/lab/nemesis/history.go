package nemesis

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Op is one operation on a register: a row's value, or a block's content. Times are nanoseconds since the history began.
type Op struct {
	Client   int   `json:"client"`
	Register int   `json:"register"`
	Write    bool  `json:"write"`
	Value    int64 `json:"value"` // what was written, or read
	Call     int64 `json:"call"`
	// Return is math.MaxInt64 for a write whose outcome is not known: it may take effect at any time.
	Return int64 `json:"return"`
}

// History is a recording of operations.
type History struct {
	name  string
	begun time.Time

	mu   sync.Mutex
	ops  []Op
	last int64
}

// NewHistory begins a recording.
func NewHistory(name string) *History { return &History{name: name, begun: time.Now()} }

// Now is the moment for Op.Call and Op.Return.
func (h *History) Now() int64 { return time.Since(h.begun).Nanoseconds() }

// Fresh draws a value nobody has written yet.
func (h *History) Fresh() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	return h.last
}

// Add records an operation that has an outcome, or a write that has none.
func (h *History) Add(op Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// Len is how many operations were recorded with an outcome.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, op := range h.ops {
		if op.Return != math.MaxInt64 {
			n++
		}
	}
	return n
}

// Save writes the history as one JSON object per line.
func (h *History) Save(path string) error {
	h.mu.Lock()
	ops := slices.Clone(h.ops)
	h.mu.Unlock()
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("save the history of %s: %w", h.name, err)
	}
	enc := json.NewEncoder(f)
	for _, op := range ops {
		if err := enc.Encode(op); err != nil {
			return errors.Join(fmt.Errorf("save the history of %s: %w", h.name, err), f.Close())
		}
	}
	return f.Close()
}

// Check says why no order of the operations explains the history, nil if one does.
func (h *History) Check() error {
	h.mu.Lock()
	ops := slices.Clone(h.ops)
	h.mu.Unlock()
	switch linearizable(ops, checkLimit) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("whether the %d operations on %s are linearizable was not found out within %v per register", len(ops), h.name, checkLimit)
	}
	for r, of := range byRegister(ops) {
		if linearizable(of, checkLimit) == porcupine.Illegal {
			return fmt.Errorf("the history of %s is not linearizable: register %d (%d operations)", h.name, r, len(of))
		}
	}
	return fmt.Errorf("the history of %s is not linearizable", h.name)
}

func byRegister(ops []Op) map[int][]Op {
	all := map[int][]Op{}
	for _, op := range ops {
		all[op.Register] = append(all[op.Register], op)
	}
	return all
}

// linearizable checks each register by itself: they are independent, and together linearizable if each is.
func linearizable(ops []Op, limit time.Duration) porcupine.CheckResult {
	worst := porcupine.Ok
	all := byRegister(ops)
	for _, of := range all {
		var events []porcupine.Operation
		for _, op := range of {
			events = append(events, porcupine.Operation{ClientId: op.Client, Input: op, Output: op.Value, Call: op.Call, Return: op.Return})
		}
		switch porcupine.CheckOperationsTimeout(register(), events, limit) {
		case porcupine.Illegal:
			return porcupine.Illegal
		case porcupine.Unknown:
			worst = porcupine.Unknown
		}
	}
	return worst
}

// register is the model: it holds the value last written, 0 at first.
func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return int64(0) },
		Step: func(state, input, output any) (bool, any) {
			if op := input.(Op); op.Write {
				return true, op.Value
			}
			return output.(int64) == state.(int64), state
		},
		Equal: func(a, b any) bool { return a.(int64) == b.(int64) },
	}
}
