package fuseloop

import (
	"log/slog"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxProcessors bounds the processors a volume process uses at a time.
const maxProcessors = 4

// PrepareProcess sets what a process that serves devices needs as a whole; a volume process calls it first. It marks every
// thread as one that frees memory by writing (PR_SET_IO_FLUSHER), so that the kernel, short of memory, does not make it
// wait for its own device; what is refused is logged. It leaves the process half of the host's processors: its goroutines
// wait for the kernel in one poller and do little each, so that one thread that goes from one to the next does more than
// several that wake one another. GOMAXPROCS in the environment says otherwise.
func PrepareProcess(log *slog.Logger) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(min(max(runtime.NumCPU()/2, 1), maxProcessors))
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_IO_FLUSHER, 1, 0); errno != 0 {
		log.Warn("the kernel refuses to treat this process as an I/O flusher (CAP_SYS_RESOURCE is needed); when memory is short, I/O may stall", "err", errno)
	}
}
