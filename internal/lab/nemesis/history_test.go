package nemesis

import (
	"math"
	"testing"
)

func history(ops ...Op) *History {
	h := NewHistory("rows")
	for _, op := range ops {
		h.Add(op)
	}
	return h
}

func wrote(v, call, ret int64) Op {
	return Op{Client: int(v), Write: true, Value: v, Call: call, Return: ret}
}
func read(v, call, ret int64) Op {
	return Op{Client: 100 + int(call), Value: v, Call: call, Return: ret}
}

func TestCheck(t *testing.T) {
	const unknown = math.MaxInt64
	for name, c := range map[string]struct {
		h    *History
		good bool
	}{
		"read what was written":              {history(wrote(1, 0, 1), read(1, 2, 3)), true},
		"an acknowledged write is lost":      {history(wrote(1, 0, 1), read(0, 2, 3)), false},
		"unknown, seen":                      {history(wrote(1, 0, unknown), read(1, 2, 3)), true},
		"unknown, not seen":                  {history(wrote(1, 0, unknown), read(0, 2, 3)), true},
		"unknown, seen and then not":         {history(wrote(1, 0, unknown), read(1, 2, 3), read(0, 4, 5)), false},
		"stale read from the old host":       {history(wrote(1, 0, 1), wrote(2, 2, 3), read(1, 4, 5)), false},
		"concurrent with a write, the old":   {history(wrote(1, 0, 1), wrote(2, 2, 9), read(1, 4, 5)), true},
		"another register is its own matter": {history(wrote(1, 0, 1), Op{Register: 7, Value: 0, Call: 2, Return: 3}), true},
	} {
		if err := c.h.Check(); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
