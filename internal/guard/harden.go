package guard

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// hardenProcess locks the memory and asks to be spared when memory is short. Nothing of it is needed for the guard to
// be right in quiet times, so a refusal is a warning.
func hardenProcess(log *slog.Logger) {
	if err := lockMemory(); err != nil {
		log.Warn("cannot lock the guard's memory (CAP_IPC_LOCK is needed); a machine short of memory may delay it", "err", err)
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
		log.Warn("cannot ask to be spared by the out-of-memory killer", "err", err)
	}
}

// lockMemory keeps in memory what has been touched and what will be, and reads the whole program in: its pages come
// from a disk that may be gone when they are needed. Locking the untouched rest too would cost 100 MB of empty heap.
func lockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("mlockall: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for _, m := range programMappings(string(maps)) {
		if _, _, errno := unix.Syscall(unix.SYS_MLOCK, uintptr(m.from), uintptr(m.to-m.from), 0); errno != 0 {
			return fmt.Errorf("mlock %x-%x: %w", m.from, m.to, errno)
		}
	}
	return nil
}

type mapping struct{ from, to uint64 }

// programMappings picks the readable mappings of files from the text of a maps file (proc_pid_maps(5)).
func programMappings(maps string) []mapping {
	var out []mapping
	for line := range strings.Lines(maps) {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.HasPrefix(f[5], "/") || !strings.HasPrefix(f[1], "r") {
			continue
		}
		var m mapping
		if _, err := fmt.Sscanf(f[0], "%x-%x", &m.from, &m.to); err == nil {
			out = append(out, m)
		}
	}
	return out
}

// hardenThread ties the goroutine to a thread that runs before others.
func hardenThread(log *slog.Logger) {
	runtime.LockOSThread()
	err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0)
	if err == nil {
		return
	}
	if nice := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20); nice != nil {
		log.Warn("cannot run before other processes (CAP_SYS_NICE is needed); a busy machine may delay the guard", "realtime", err, "nice", nice)
	}
}

// asyncHandler keeps the guard from waiting for its log: the log's disk may be what has failed.
type asyncHandler struct {
	slog.Handler
	queue   chan func()
	dropped *atomic.Int64
}

// newAsyncHandler starts the writer, which lives as long as the process.
func newAsyncHandler(to slog.Handler) asyncHandler {
	h := asyncHandler{Handler: to, queue: make(chan func(), maxQueuedLogs), dropped: new(atomic.Int64)}
	go func() {
		for write := range h.queue {
			write()
		}
	}()
	return h
}

// Handle queues a record, or drops it when the queue is full.
func (h asyncHandler) Handle(_ context.Context, r slog.Record) error {
	r.AddAttrs(slog.Int64("dropped", h.dropped.Load()))
	select {
	case h.queue <- func() { _ = h.Handler.Handle(context.Background(), r) }: // a log that fails has nowhere to say so
	default:
		h.dropped.Add(1)
	}
	return nil
}
