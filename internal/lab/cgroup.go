package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupParent is the directory of all labs' cgroups.
const cgroupParent = "holdfast-lab"

// cgroup is a cgroup v2 directory.
type cgroup string

// cgroupMount is where the machine has its cgroup2 hierarchy.
type cgroupMount struct {
	root cgroup
	// delegating is the mount option nsdelegate: the kernel then refuses to start a process in a cgroup from a cgroup
	// namespace that does not show both.
	delegating bool
}

// findCgroups finds the cgroup2 hierarchy, alone or beside the older ones.
func findCgroups() (cgroupMount, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return cgroupMount{}, fmt.Errorf("find cgroup2: %w", err)
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return cgroupMount{cgroup(fields[4]), strings.Contains(after, "nsdelegate")}, nil
		}
	}
	return cgroupMount{}, errors.New("find cgroup2: it is not mounted; the lab needs it: mount -t cgroup2 none /sys/fs/cgroup")
}

func (c cgroup) child(name string) cgroup { return cgroup(filepath.Join(string(c), name)) }

func (c cgroup) create() error {
	if err := os.MkdirAll(string(c), 0o755); err != nil {
		return fmt.Errorf("make the cgroup %s: %w", c, err)
	}
	return nil
}

func (c cgroup) exists() bool {
	_, err := os.Stat(string(c))
	return err == nil
}

// open returns the directory, for starting processes in it.
func (c cgroup) open() (*os.File, error) {
	return os.OpenFile(string(c), os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// openUnfrozen is open for a cgroup that stays unfrozen until the directory is closed. A process that froze between its
// fork and its exec would keep the one that starts it from starting any other.
func (c cgroup) openUnfrozen() (*os.File, error) {
	dir, err := c.open()
	if err != nil {
		return nil, err
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_SH)
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock the cgroup %s: %w", c, err)
	}
	if c.frozen() {
		dir.Close()
		return nil, errors.New("the host is frozen; thaw it first")
	}
	return dir, nil
}

func (c cgroup) write(file, value string) error {
	if err := os.WriteFile(filepath.Join(string(c), file), []byte(value), 0); err != nil {
		return fmt.Errorf("write %s to %s of the cgroup %s: %w", value, file, c, err)
	}
	return nil
}

// event reads one flag of cgroup.events: populated or frozen. A cgroup that has gone has none.
func (c cgroup) event(name string) bool {
	data, err := os.ReadFile(filepath.Join(string(c), "cgroup.events"))
	return err == nil && strings.Contains(string(data), name+" 1")
}

// populated tells whether any process lives in the cgroup or below.
func (c cgroup) populated() bool { return c.event("populated") }

// frozen tells whether it has been asked to stand still; the last processes may still be on their way there.
func (c cgroup) frozen() bool {
	data, err := os.ReadFile(filepath.Join(string(c), "cgroup.freeze"))
	return err == nil && strings.TrimSpace(string(data)) == "1"
}

// settled opens the cgroup when no start is under way there (openUnfrozen), and lets none begin until it is closed.
func (c cgroup) settled(limit time.Duration) (*os.File, error) {
	dir, err := c.open()
	if err != nil {
		return nil, err
	}
	if !await(limit, func() bool { return unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }) {
		dir.Close()
		return nil, fmt.Errorf("freeze the cgroup %s: a process has been about to start there for %v", c, limit)
	}
	return dir, nil
}

// freeze stops every process below at once, and waits until all stand still or the limit is over: processes that wait
// for I/O uninterruptibly are not counted as frozen by the kernel, but run no code either. It waits for starts under way.
func (c cgroup) freeze(limit time.Duration) error {
	dir, err := c.settled(limit)
	if err != nil {
		return err
	}
	defer dir.Close()
	return c.stop(limit)
}

func (c cgroup) thaw() error { return c.write("cgroup.freeze", "0") }

// stop stops every process below where it is, for killing it; unlike freeze, also one that is about to start.
func (c cgroup) stop(limit time.Duration) error {
	if err := c.write("cgroup.freeze", "1"); err != nil {
		return err
	}
	await(limit, func() bool { return c.event("frozen") })
	return nil
}

// kill sends SIGKILL to every process below, frozen or not, and waits until all have gone.
func (c cgroup) kill(limit time.Duration) error {
	if !c.exists() {
		return nil
	}
	if err := c.write("cgroup.kill", "1"); err != nil {
		return err
	}
	if !await(limit, func() bool { return !c.populated() }) {
		return fmt.Errorf("kill the cgroup %s: threads remain after %v: %v", c, limit, c.tasks())
	}
	return nil
}

// tasks lists the directories below /proc of every thread in the cgroup and below, dying ones too: cgroup.procs names none
// whose first thread has ended.
func (c cgroup) tasks() []string {
	_, path, found := strings.Cut(string(c), "/"+cgroupParent+"/")
	if !found {
		return nil
	}
	var all []string
	threads, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*")
	for _, t := range threads {
		data, err := os.ReadFile(filepath.Join(t, "cgroup"))
		if _, in, ok := strings.Cut(strings.TrimSpace(string(data)), "/"+cgroupParent+"/"); err == nil && ok && (in == path || strings.HasPrefix(in, path+"/")) {
			all = append(all, t)
		}
	}
	return all
}

// processes lists the pids in the cgroup and below, in the numbering of this process.
func (c cgroup) processes() []string {
	var all []string
	for _, g := range c.tree() {
		if data, err := os.ReadFile(filepath.Join(string(g), "cgroup.procs")); err == nil {
			all = append(all, strings.Fields(string(data))...)
		}
	}
	return all
}

// tree lists the cgroup and all below it, parents first.
func (c cgroup) tree() []cgroup {
	var all []cgroup
	_ = filepath.WalkDir(string(c), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			all = append(all, cgroup(path))
		}
		return nil // what cannot be read has gone
	})
	return all
}

// remove removes the cgroup and all below; they must be empty.
func (c cgroup) remove() error {
	groups := c.tree()
	for i := len(groups) - 1; i >= 0; i-- {
		var err error
		gone := await(removeLimit, func() bool {
			err = unix.Rmdir(string(groups[i]))
			return err == nil || errors.Is(err, unix.ENOENT)
		})
		if !gone {
			return fmt.Errorf("remove the cgroup %s: %w", groups[i], err)
		}
	}
	return nil
}

// await polls until ok, at most for the limit, and returns the last answer.
func await(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); !ok(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			return ok()
		}
	}
	return true
}
