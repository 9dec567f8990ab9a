package raftlog

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// grownLog is the file of a log of many pages.
func grownLog(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	st := mustOpen(t, dir)
	for i := range 20 {
		first := uint64(i*50 + 1)
		b := batch{hard: hardState(1, first)}
		for n := range uint64(50) {
			b.entries = append(b.entries, entry(first+n, 1, bytes.Repeat([]byte{byte(n)}, 300)))
		}
		if err := st.save(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A log with damaged pages opens: as what it was if the damage hit nothing that is in use, else as a new one without a
// vote. It never ends the process, which would find the same log at its next start.
func TestDamagedPages(t *testing.T) {
	whole := grownLog(t)
	const page = 4096
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	for seed := range uint64(60) {
		draw := rand.New(rand.NewPCG(seed, 0))
		data := bytes.Clone(whole)
		for range 1 + draw.IntN(4) {
			damage(draw, data[page*(2+draw.IntN(len(data)/page-2)):])
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		st, err := openStore(dir)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := st.close(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// damage spoils a page, all of it or a few bytes.
func damage(draw *rand.Rand, data []byte) {
	n := min(len(data), 4096)
	if draw.IntN(2) == 0 {
		for i := range n {
			data[i] = byte(draw.Uint32())
		}
		return
	}
	for range 1 + draw.IntN(8) {
		data[draw.IntN(n)] = byte(draw.Uint32())
	}
}
