package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/blockdev"
)

// openFrontend makes the kernel's device and the links to it. It runs beside the engine, because the kernel reads and flushes
// a new device at once. No role is taken meanwhile: a Primary's flush may have to wait for the cluster's log, and who makes
// somebody Primary wants to use the device.
func (e *engine) openFrontend(done func(api.VolumeReply)) {
	switch {
	case e.cfg.Frontend == nil || e.front != nil:
		done(api.VolumeReply{})
		return
	case e.opening:
		e.deferred = append(e.deferred, func() { e.openFrontend(done) })
		return
	}
	e.opening = true
	v, t, size := e.volume, e.target, e.target.Size()
	go func() {
		f, err := e.cfg.Frontend(v, t)
		number := ""
		if err == nil {
			number = blockdev.Name(f.DevicePath())
			if err = e.makeLinks(f.DevicePath()); err != nil {
				err = errors.Join(err, f.Close())
			}
		}
		e.inbox.call(func() {
			e.opening = false
			if err != nil {
				done(failed(codeFailed, "%d: Failure: %v", e.volume.Minor, err))
				return
			}
			e.front, e.frontSize, e.frontNumber = f, size, number
			e.statusDue = true
			done(api.VolumeReply{})
			e.refit()
		})
	}()
}

// closeFrontend takes the kernel's device away; it fails while somebody uses it.
func (e *engine) closeFrontend(done func(api.VolumeReply)) {
	if e.opening {
		e.deferred = append(e.deferred, func() { e.closeFrontend(done) })
		return
	}
	f := e.front
	if f == nil {
		done(api.VolumeReply{})
		return
	}
	go func() {
		err := f.Close()
		e.inbox.call(func() {
			if err != nil {
				done(failed(codeRefused, "%d: State change failed: (-12) Device is held open by someone: %v", e.volume.Minor, err))
				return
			}
			e.front = nil
			done(api.VolumeReply{})
		})
	}()
}

// doner is a front end that tells when the kernel has ended it.
type doner interface{ Done() <-chan struct{} }

// frontendDead tells whether the kernel's device fails everything, after an abort by us or the guard.
func (e *engine) frontendDead() bool {
	d, ok := e.front.(doner)
	if !ok {
		return false
	}
	select {
	case <-d.Done():
		return true
	default:
		return false
	}
}

func (e *engine) reopenFrontend(done func(api.VolumeReply)) {
	e.closeFrontend(func(r api.VolumeReply) {
		if r.Code != 0 {
			done(r)
			return
		}
		e.openFrontend(done)
	})
}

// abortFrontend fails what users of the device wait for, and all they will ask.
func (e *engine) abortFrontend() {
	f := e.front
	if f == nil {
		return
	}
	go func() {
		if err := f.Abort(); err != nil {
			e.log.Error("cannot abort the kernel's device", "err", err)
		}
	}()
}

// inUseEvery is the pause between two looks at who uses the device, for the status. A look reads what every process of the
// host has open, so that on a busy host the pause is longer: looking takes at most one part in inUseShare of a processor.
const (
	inUseEvery = 2 * time.Second
	inUseShare = 500
)

func (e *engine) refreshInUse() {
	pause := max(inUseEvery, inUseShare*e.inUseTook)
	if e.front == nil || e.asking || e.now().Sub(e.inUseAt) < pause {
		return
	}
	e.inUseAt = e.now()
	e.askInUse(func([]string, error) {})
}

func (e *engine) askInUse(answer func([]string, error)) {
	f := e.front
	if f == nil {
		answer(nil, nil)
		return
	}
	e.asking = true
	go func() {
		begun := e.now()
		users, err := f.InUse()
		took := e.now().Sub(begun)
		e.inbox.call(func() {
			e.asking, e.inUseTook = false, took
			if err == nil && !equal(users, e.inUse) {
				e.inUse, e.statusDue = users, true
			}
			answer(users, err)
		})
	}()
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// linkPaths are the names users know the device by.
func (e *engine) linkPaths() []string {
	root := "/" + string(e.cfg.Root)
	return []string{
		filepath.Join(root, e.volume.Path()),
		filepath.Join(root, "dev/drbd/by-res", e.cfg.Resource.Name, strconv.Itoa(e.volume.Number)),
	}
}

func (e *engine) makeLinks(to string) error {
	for _, p := range e.linkPaths() {
		if err := makeLink(p, to); err != nil {
			return fmt.Errorf("link to the device: %w", err)
		}
	}
	return nil
}

// makeLink replaces a link, but nothing else that may be there.
func makeLink(path, to string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&os.ModeSymlink == 0 {
		return fmt.Errorf("%s exists and is no link of ours: is the drbd module loaded?", path)
	}
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(to, next); err != nil {
		return err
	}
	return os.Rename(next, path)
}

func (e *engine) removeLinks() {
	for _, p := range e.linkPaths() {
		info, err := os.Lstat(p)
		if err == nil && info.Mode()&os.ModeSymlink != 0 {
			if err := os.Remove(p); err != nil {
				e.log.Warn("cannot remove the link to the device", "err", err)
			}
		}
	}
}

var _ kernel.Target = (*target)(nil)
