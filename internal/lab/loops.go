package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loopBacking is a loop device in use and the file system that holds the file below it.
type loopBacking struct {
	number  int
	backing uint64 // as stat's st_dev
	// sequence is the kernel's diskseq: a number that no two attachments of the machine share, unlike the other two.
	sequence string
}

// gone tells whether the attachment has ended; the device may serve another since.
func (l loopBacking) gone() bool { return diskSequence(l.number) != l.sequence || !l.attached() }

func (l loopBacking) attached() bool {
	_, err := os.Stat(fmt.Sprintf("/sys/block/loop%d/loop/backing_file", l.number))
	return err == nil
}

// diskSequence is empty on a kernel without it (before 5.15).
func diskSequence(n int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/diskseq", n))
	return strings.TrimSpace(string(data))
}

// queryLimit bounds the wait for the loop devices to tell what they serve. The kernel asks the file system below, and one
// that a frozen host serves over FUSE does not answer.
const queryLimit = 200 * time.Millisecond

// queryLoops asks every loop device in use for the file system below it. Those that do not answer in time are left out.
func queryLoops() []loopBacking {
	numbers := attachedLoops()
	answers := make(chan loopBacking, len(numbers)) // room for all, so that a late one blocks nobody
	for _, n := range numbers {
		go func() { answers <- queryLoop(n) }()
	}
	var all []loopBacking
	limit := time.After(queryLimit)
	for range numbers {
		select {
		case l := <-answers:
			if l.backing != 0 {
				all = append(all, l)
			}
		case <-limit:
			return all
		}
	}
	return all
}

// queryLoop returns no backing for a device that has been freed meanwhile.
func queryLoop(n int) loopBacking {
	fd, err := unix.Open(fmt.Sprintf("/dev/loop%d", n), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return loopBacking{number: n}
	}
	defer unix.Close(fd)
	sequence := diskSequence(n)
	info, err := unix.IoctlLoopGetStatus64(fd)
	if err != nil {
		return loopBacking{number: n}
	}
	return loopBacking{n, info.Device, sequence}
}

// attachedLoops lists the numbers of the machine's loop devices in use.
func attachedLoops() []int {
	var numbers []int
	for _, name := range backingFiles() {
		n, err := strconv.Atoi(strings.TrimPrefix(strings.Split(name, "/")[3], "loop"))
		if err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func backingFiles() []string {
	names, _ := filepath.Glob("/sys/block/loop*/loop/backing_file") // the pattern is valid
	return names
}

// imageAttached tells whether a loop device serves the host's image. The kernel prints the file's path without the mount
// point of its file system once that is mounted nowhere, so that only the end of the path can be compared.
func (l *Lab) imageAttached(host string) bool {
	end := "/" + filepath.Join(l.name, "hosts", host, "system.img")
	for _, name := range backingFiles() {
		if file, err := os.ReadFile(name); err == nil && strings.HasSuffix(strings.TrimSpace(string(file)), end) {
			return true
		}
	}
	return false
}
