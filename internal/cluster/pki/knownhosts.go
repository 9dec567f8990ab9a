package pki

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/paths"
)

// KnownHosts are the hosts this one has exchanged the hacluster password with, and the identity each has shown then.
type KnownHosts struct {
	path string
	mu   sync.Mutex
	pins map[string]string
}

// LoadKnownHosts reads the file; one that is missing is empty.
func LoadKnownHosts(root paths.Root) (*KnownHosts, error) {
	k := &KnownHosts{path: filepath.Join(root.Etc(), "known-hosts"), pins: make(map[string]string)}
	f, err := os.Open(k.path)
	if errors.Is(err, os.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the known hosts: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		fields := strings.Fields(text)
		if len(fields) != 2 || len(fields[1]) != 64 {
			return nil, fmt.Errorf("read the known hosts: %s line %d: want NAME SHA256", k.path, n)
		}
		k.pins[fields[0]] = fields[1]
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the known hosts: %w", err)
	}
	return k, nil
}

// Pin returns the fingerprint of a host, empty if it is not known.
func (k *KnownHosts) Pin(name string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pins[name]
}

// Trusts tells whether a fingerprint is that of any known host, and of which.
func (k *KnownHosts) Trusts(fingerprint string) (name string, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(k.pins)) {
		if k.pins[n] == fingerprint && fingerprint != "" {
			return n, true
		}
	}
	return "", false
}

// Set pins a host and writes the file.
func (k *KnownHosts) Set(name, fingerprint string) error {
	if name == "" || strings.ContainsAny(name, " \t\r\n#") || len(fingerprint) != 64 {
		return fmt.Errorf("remember host %q: not a name and a fingerprint", name)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	pins := maps.Clone(k.pins)
	pins[name] = fingerprint
	return k.replace(pins)
}

// Remove forgets a host.
func (k *KnownHosts) Remove(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	pins := maps.Clone(k.pins)
	delete(pins, name)
	return k.replace(pins)
}

func (k *KnownHosts) replace(pins map[string]string) error {
	var b strings.Builder
	b.WriteString("# hosts authenticated with the hacluster password: NAME SHA-256 of the identity certificate\n")
	for _, n := range slices.Sorted(maps.Keys(pins)) {
		fmt.Fprintf(&b, "%s %s\n", n, pins[n])
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o755); err != nil {
		return fmt.Errorf("remember a host: %w", err)
	}
	if err := WriteFile(k.path, []byte(b.String()), 0o600); err != nil {
		return err
	}
	k.pins = pins
	return nil
}
