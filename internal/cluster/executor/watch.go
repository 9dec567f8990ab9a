package executor

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/internal/agent"
	"holdfast/internal/agent/ocf"
	"holdfast/internal/agent/process"
	"holdfast/internal/cluster"
	"holdfast/internal/paths"
)

// watcher sees the end of resources' processes at once: with a pidfd for each process that has no supervisor of its own
// kind (its parent is not of the resource), and through cgroup.events when the last process of a cgroup goes. It only
// says that something happened; what it means a monitor finds out. A daemon that mysqld_safe starts again is left to it.
type watcher struct {
	died  func(resource string)
	epoll int
	event int // eventfd: wakes the loop for the end
	done  sync.WaitGroup

	mu    sync.Mutex
	byFD  map[int]watched
	byRes map[string]map[int]int // resource -> pid -> pidfd; pid 0 is the cgroup's events file
	gone  map[string]int         // resource -> the pid in its file that was found gone
}

type watched struct {
	resource string
	pid      int // 0: the cgroup
}

func newWatcher(died func(string)) (*watcher, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	ev, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(ep)
		return nil, err
	}
	w := &watcher{died: died, epoll: ep, event: ev, byFD: map[int]watched{}, byRes: map[string]map[int]int{}, gone: map[string]int{}}
	if err := w.add(ev, unix.EPOLLIN); err != nil {
		_ = unix.Close(ep)
		_ = unix.Close(ev)
		return nil, err
	}
	w.done.Go(w.loop)
	return w, nil
}

func (w *watcher) add(fd int, events uint32) error {
	return unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// follow watches what a resource runs now, after one of its operations. It tells whether a process that its pid file names has
// ended before it could be watched; once for each, since a file may stay behind.
func (w *watcher) follow(root paths.Root, op agent.Operation) (died bool) {
	cgroup := ocf.Cgroup(root, op.Resource)
	members := process.Members(cgroup)
	pids := roots(members)
	named, ok := pidOf(op.Params["pid"])
	if ok && !slices.Contains(members, named) {
		pids = append(pids, named)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(members) > 0 {
		w.followCgroup(op.Resource, cgroup)
	}
	for _, pid := range pids {
		if len(w.byRes[op.Resource]) < cluster.MaxWatched && !w.followProcess(op.Resource, pid) && pid == named && w.gone[op.Resource] != pid {
			w.gone[op.Resource], died = pid, true
		}
	}
	return died
}

// roots are the members whose parent is not a member.
func roots(members []int) []int {
	var out []int
	for _, pid := range members {
		stat, err := process.ReadStat(pid)
		if err == nil && stat.State != 'Z' && !slices.Contains(members, stat.Parent) {
			out = append(out, pid)
		}
	}
	return out
}

// pidOf reads a pid file that a resource's parameter names.
func pidOf(file string) (int, bool) {
	if !filepath.IsAbs(file) {
		return 0, false
	}
	data, err := os.ReadFile(file)
	if err != nil || len(data) > 64 {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid, err == nil && pid > 1
}

// followProcess watches a process; false if it has ended already.
func (w *watcher) followProcess(resource string, pid int) bool {
	if _, known := w.byRes[resource][pid]; known {
		return true
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return !errors.Is(err, unix.ESRCH)
	}
	w.keep(fd, watched{resource, pid}, unix.EPOLLIN)
	return true
}

// followCgroup watches cgroup.events, which polls as POLLPRI when it changes.
func (w *watcher) followCgroup(resource, cgroup string) {
	if _, known := w.byRes[resource][0]; known {
		return
	}
	fd, err := unix.Open(filepath.Join(cgroup, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	if w.keep(fd, watched{resource, 0}, unix.EPOLLPRI) && !populated(fd) {
		w.forget(fd)
	}
}

func (w *watcher) keep(fd int, what watched, events uint32) bool {
	if err := w.add(fd, events); err != nil {
		_ = unix.Close(fd)
		return false
	}
	w.byFD[fd] = what
	if w.byRes[what.resource] == nil {
		w.byRes[what.resource] = map[int]int{}
	}
	w.byRes[what.resource][what.pid] = fd
	return true
}

func (w *watcher) forget(fd int) {
	what, ok := w.byFD[fd]
	if !ok {
		return
	}
	delete(w.byFD, fd)
	delete(w.byRes[what.resource], what.pid)
	if len(w.byRes[what.resource]) == 0 {
		delete(w.byRes, what.resource)
	}
	_ = unix.Close(fd) // takes it out of the epoll set
}

func (w *watcher) loop() {
	events := make([]unix.EpollEvent, 32)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, ev := range events[:n] {
			if int(ev.Fd) == w.event {
				return
			}
			if resource, ok := w.happened(int(ev.Fd)); ok {
				w.died(resource)
			}
		}
	}
}

// happened looks at a descriptor that woke us, and tells whose end it means.
func (w *watcher) happened(fd int) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what, ok := w.byFD[fd]
	if !ok || (what.pid == 0 && populated(fd)) {
		return "", false
	}
	w.forget(fd)
	return what.resource, true
}

// populated reads cgroup.events. A cgroup that is gone has no processes.
func populated(fd int) bool {
	buf := make([]byte, 256)
	n, err := unix.Pread(fd, buf, 0)
	return err == nil && bytes.Contains(buf[:n], []byte("populated 1"))
}

func (w *watcher) close() {
	one := make([]byte, 8)
	one[0] = 1
	if _, err := unix.Write(w.event, one); err == nil {
		w.done.Wait()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for fd := range w.byFD {
		_ = unix.Close(fd)
	}
	_ = unix.Close(w.epoll)
	_ = unix.Close(w.event)
}
