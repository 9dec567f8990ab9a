package fuseloop

import (
	"log/slog"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/internal/fuse"
)

// PrepareProcess sets what a process that serves devices needs as a whole; a volume process calls it first. It marks every
// thread as one that frees memory by writing (PR_SET_IO_FLUSHER), so that the kernel, short of memory, does not make it
// wait for its own device, and gives the scheduler a processor for each blocking reader. What is refused is logged.
func PrepareProcess(log *slog.Logger) {
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), runtime.NumCPU()+fuse.DefaultReaders))
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_IO_FLUSHER, 1, 0); errno != 0 {
		log.Warn("the kernel refuses to treat this process as an I/O flusher (CAP_SYS_RESOURCE is needed); when memory is short, I/O may stall", "err", errno)
	}
}
