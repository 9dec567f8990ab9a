package guard

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/fuse"
	"holdfast/internal/nbddev"
	"holdfast/internal/ublkdev"
)

// ender fails a kernel device: everything its users wait for, and all they will ask. What that needs has been opened beforehand.
type ender interface {
	// end begins, or goes on, and never waits. done: nothing is answered any more, and nobody waits for an answer.
	end() (done bool, err error)
	close()
}

func newEnder(device api.GuardHeld, fd int) (ender, error) {
	switch device.Kind() {
	case api.FrontFUSE:
		abort, err := fuse.OpenAbort(device.Connection)
		if err != nil {
			return nil, err
		}
		return fuseEnder{abort}, nil
	case api.FrontNBD:
		return newNBDEnder(device.Device, fd)
	case api.FrontUBLK:
		return newUBLKEnder(device)
	}
	return nil, fmt.Errorf("this guard knows no front end %q; restart it with the daemon's version", device.Front)
}

// fuseEnder is the control file of a FUSE connection.
type fuseEnder struct{ abort int }

func (e fuseEnder) end() (bool, error) {
	err := fuse.AbortBy(e.abort)
	return err == nil, err
}

func (e fuseEnder) close() { unix.Close(e.abort) }

// nbdEnder shuts the connection down, after which nothing the server says is heard, and has a thread tell the kernel's client,
// which fails what waits. The client is told by a message that the kernel acts upon while it is sent.
type nbdEnder struct {
	socket int
	begun  bool
	kick   chan struct{}

	mu   sync.Mutex
	done bool
	err  error
}

func newNBDEnder(index uint32, fd int) (ender, error) {
	client, err := nbddev.Dial()
	if err != nil {
		return nil, err
	}
	socket, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copy the socket of /dev/nbd%d: %w", index, err), client.Close())
	}
	e := &nbdEnder{socket: socket, kick: make(chan struct{}, 1)}
	go e.work(client, index)
	return e, nil
}

func (e *nbdEnder) work(client *nbddev.Client, index uint32) {
	defer client.Close()
	for range e.kick {
		err := client.Disconnect(index)
		e.mu.Lock()
		e.done, e.err = err == nil, err
		e.mu.Unlock()
	}
}

func (e *nbdEnder) end() (bool, error) {
	if err := unix.Shutdown(e.socket, unix.SHUT_RDWR); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return false, fmt.Errorf("shut the connection down: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.begun || e.err != nil {
		e.begun = true
		select {
		case e.kick <- struct{}{}:
		default:
		}
	}
	return e.done, e.err
}

func (e *nbdEnder) close() {
	close(e.kick)
	unix.Close(e.socket)
}

// ublkEnder kills the device's server and has the driver stop the device. The driver waits for the answers to what a live
// server has; what a dead one had, and all that waits, fails. The daemon ends the volume processes of an ended lease anyway.
type ublkEnder struct {
	control *ublkdev.Control
	device  uint32
	process int // pidfd, or -1 if it has ended
	begun   bool
	done    bool
}

func newUBLKEnder(device api.GuardHeld) (ender, error) {
	control, err := ublkdev.Dial()
	if err != nil {
		return nil, err
	}
	process, err := unix.PidfdOpen(device.Process, 0)
	if errors.Is(err, unix.ESRCH) {
		process, err = -1, nil
	}
	if err != nil {
		control.Close()
		return nil, fmt.Errorf("watch process %d, which serves %s: %w", device.Process, ublkdev.Path(device.Device), err)
	}
	return &ublkEnder{control: control, device: device.Device, process: process}, nil
}

func (e *ublkEnder) end() (bool, error) {
	if e.done {
		return true, nil
	}
	if e.process >= 0 {
		if err := unix.PidfdSendSignal(e.process, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return false, fmt.Errorf("kill the server of %s: %w", ublkdev.Path(e.device), err)
		}
	}
	if !e.begun {
		if err := e.control.StopLater(e.device); err != nil {
			return false, err
		}
		e.begun = true
	}
	done, err := e.control.Stopped()
	if done && err != nil {
		e.begun = false // once more
		return false, fmt.Errorf("stop %s: %w", ublkdev.Path(e.device), err)
	}
	e.done = done
	return done, err
}

func (e *ublkEnder) close() {
	e.control.Close()
	closeIf(e.process)
}
