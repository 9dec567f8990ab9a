package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// state is what a lab remembers on disk, in state.json of its directory. It is replaced as a whole under the lab's lock.
type state struct {
	Name     string   `json:"name"`
	Topology Topology `json:"topology"`
	DiskMiB  int      `json:"disk_mib"`
	Keeper   process  `json:"keeper"`
	// Hosts has the PID 1 of each running host.
	Hosts map[string]process `json:"hosts"`
	// Cuts are the pairs of hosts whose packets do not pass, one direction each.
	Cuts []cut `json:"cuts,omitempty"`
}

// process names a process for good: pids are used again, a pid with its start time is not.
type process struct {
	PID int `json:"pid"`
	// Started is field 22 of /proc/PID/stat: clock ticks since the machine booted.
	Started uint64 `json:"started"`
}

// identify looks a running process up.
func identify(pid int) (process, error) {
	started, err := startTime(pid)
	return process{PID: pid, Started: started}, err
}

// alive tells whether it still runs; a zombie does not.
func (p process) alive() bool {
	if p.PID == 0 {
		return false
	}
	started, err := startTime(p.PID)
	return err == nil && started == p.Started
}

// startTime reads a process's start time, and fails for a zombie.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	// The command, field 2, is in parentheses and may hold anything; field 3 follows the last one.
	rest := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(rest) < 20 {
		return 0, fmt.Errorf("look at process %d: its stat file is cut short", pid)
	}
	if rest[0] == "Z" || rest[0] == "X" {
		return 0, fmt.Errorf("look at process %d: it is dead", pid)
	}
	return strconv.ParseUint(rest[19], 10, 64)
}

// labDir is the directory of one lab.
type labDir string

func (d labDir) name() string                { return filepath.Base(string(d)) }
func (d labDir) base() string                { return filepath.Dir(string(d)) }
func (d labDir) stateFile() string           { return filepath.Join(string(d), "state.json") }
func (d labDir) bin() string                 { return filepath.Join(string(d), "bin") }
func (d labDir) program() string             { return filepath.Join(d.bin(), "holdfast") }
func (d labDir) keeperSocket() string        { return filepath.Join(string(d), "keeper.sock") }
func (d labDir) keeperLog() string           { return filepath.Join(string(d), "keeper.log") }
func (d labDir) host(name string) string     { return filepath.Join(string(d), "hosts", name) }
func (d labDir) image(name string) string    { return filepath.Join(d.host(name), "system.img") }
func (d labDir) dataDisk(name string) string { return filepath.Join(d.host(name), "data.img") }
func (d labDir) console(name string) string  { return filepath.Join(d.host(name), "console") }
func (d labDir) root(name string) string     { return filepath.Join(d.host(name), "root") }
func (d labDir) mount(name string) string    { return filepath.Join(d.host(name), "mnt") }

// load reads the state.
func (d labDir) load() (*state, error) {
	data, err := os.ReadFile(d.stateFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no lab in %s: start one with `holdfast lab up`", d)
	}
	if err != nil {
		return nil, fmt.Errorf("read the lab's state: %w", err)
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read the lab's state in %s: %w", d.stateFile(), err)
	}
	return &s, nil
}

// save replaces the state.
func (d labDir) save(s *state) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temporary := d.stateFile() + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	return os.Rename(temporary, d.stateFile())
}

// update changes the state under the lab's lock.
func (d labDir) update(change func(*state) error) error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := d.load()
	if err != nil {
		return err
	}
	if err := change(s); err != nil {
		return err
	}
	return d.save(s)
}

// lock takes the lab's lock, which the kernel frees when the process dies.
func (d labDir) lock() (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(string(d), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the lab in %s: %w", d, err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock the lab in %s: %w", d, err)
	}
	return func() { file.Close() }, nil
}
