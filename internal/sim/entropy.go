package sim

import (
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
)

// entropy is the randomness that the real parts draw from crypto/rand: Raft's election times, identities of proposals,
// generation UUIDs.
type entropy struct{ rng *mathrand.Rand }

// Read fills p.
func (e entropy) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += 8 {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], e.rng.Uint64())
		copy(p[i:], b[:])
	}
	return len(p), nil
}

// takeOverRandomness makes crypto/rand a part of the world. There is one world at a time in a process: several at once are
// several processes.
func (w *World) takeOverRandomness() {
	rand.Reader = entropy{mathrand.New(mathrand.NewPCG(w.Seed, 0x656e74726f7079))}
}
