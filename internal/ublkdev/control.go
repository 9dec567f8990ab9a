// Package ublkdev drives the kernel's user-space block driver (ublk_drv): it makes, starts, recovers and ends devices
// /dev/ublkbN over /dev/ublk-control, and gives the server of a device its requests. Commands travel in an io_uring with
// entries of 128 bytes (IORING_OP_URING_CMD). Kernel 6.5 or later.
package ublkdev

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const controlPath = "/dev/ublk-control"

// anyDevice asks the kernel to choose a number.
const anyDevice = 0xffffffff

// Control is an open /dev/ublk-control with a ring of its own. It is used by one goroutine at a time.
type Control struct {
	fd      int
	ring    *Ring
	scratch []byte // the buffer of commands: a page that stays where it is
	busy    bool   // a command handed over by StopLater is under way
}

// Dial fails where the kernel has no ublk driver that can recover devices.
func Dial() (*Control, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	if err := c.needFeatures(flagRecovery | flagReissue | flagIoctlEncode); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func dial() (*Control, error) {
	fd, err := unix.Open(controlPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w (is the kernel's ublk_drv module loaded? `modprobe ublk_drv`)", controlPath, err)
	}
	c := &Control{fd: fd}
	c.scratch, err = unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err == nil {
		c.ring, err = newRing(controlEntries, setupSQE128)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// controlEntries is the size of a control's ring: one command at a time.
const controlEntries = 2

// Probe tells why this host has no such devices; nil if it has.
func Probe() error {
	c, err := Dial()
	if err != nil {
		return err
	}
	c.Close()
	return nil
}

// Close ends the use of the driver's control; devices stay.
func (c *Control) Close() {
	if c.ring != nil {
		c.ring.Close()
	}
	if c.scratch != nil && !c.busy {
		_ = unix.Munmap(c.scratch) // a whole mapping of ours
	}
	unix.Close(c.fd)
}

func (c *Control) needFeatures(want uint64) error {
	if err := c.do(cmdGetFeatures, anyDevice, 8, 0); err != nil {
		return fmt.Errorf("ask ublk_drv for its features: %w (kernel 6.5 or later is needed)", err)
	}
	if have := *(*uint64)(unsafe.Pointer(&c.scratch[0])); have&want != want {
		return fmt.Errorf("ublk_drv has the features %#x; %#x are needed", have, want)
	}
	return nil
}

// do carries a command out and waits. length bytes of scratch are its buffer.
func (c *Control) do(number, device uint32, length int, data uint64) error {
	if c.busy {
		return errors.New("a command is under way")
	}
	if err := c.begin(number, device, length, data); err != nil {
		return err
	}
	for {
		if err := c.ring.Enter(true); err != nil {
			return err
		}
		if done, err := c.finished(); done {
			return err
		}
	}
}

func (c *Control) begin(number, device uint32, length int, data uint64) error {
	cmd := controlCommand{device: device, queue: 0xffff, data: data}
	if length > 0 {
		cmd.length, cmd.address = uint16(length), uint64(uintptr(unsafe.Pointer(&c.scratch[0])))
	}
	if !c.ring.Command(c.fd, controlNumber(number), uint64(number), bytesOf(&cmd)) {
		return errors.New("the ring is full")
	}
	return nil
}

func (c *Control) finished() (bool, error) {
	_, result, ok := c.ring.Answer()
	if !ok {
		return false, nil
	}
	if result < 0 {
		return true, unix.Errno(-result)
	}
	return true, nil
}

// Config says what device to make.
type Config struct {
	Size      int64 // bytes
	BlockSize int   // logical block size in bytes, a power of two from 512 to 4096
	Depth     int   // requests at a time
	MaxIO     int   // the largest read or write in bytes
	// MaxRange bounds discards and zeroings, in bytes.
	MaxRange int64
	ReadOnly bool
	// Recover keeps requests waiting when the server has died, for the next; else they fail and the device goes.
	Recover bool
	// Mark is kept with the device: Info.Mark.
	Mark uint64
}

// Add makes a device of one queue, which Start brings to life, and returns N of /dev/ublkcN and /dev/ublkbN.
func (c *Control) Add(cfg Config) (uint32, error) {
	info := Info{Queues: 1, Depth: uint16(cfg.Depth), MaxIO: uint32(cfg.MaxIO), Device: anyDevice, Mark: cfg.Mark, flags: flagIoctlEncode}
	if cfg.Recover {
		info.flags |= flagRecovery | flagReissue
	}
	copy(c.scratch, bytesOf(&info))
	if err := c.do(cmdAdd, anyDevice, int(unsafe.Sizeof(info)), 0); err != nil {
		return 0, fmt.Errorf("make a ublk device: %w", err)
	}
	id := (*Info)(unsafe.Pointer(&c.scratch[0])).Device
	if err := c.setParams(id, cfg); err != nil {
		return 0, errors.Join(fmt.Errorf("describe ublk device %d: %w", id, err), c.Delete(id))
	}
	return id, nil
}

func (c *Control) setParams(id uint32, cfg Config) error {
	shift := uint8(9)
	for 1<<shift < cfg.BlockSize {
		shift++
	}
	p := params{types: paramBasic | paramDiscard}
	p.length = uint32(unsafe.Offsetof(p.discard) + unsafe.Sizeof(p.discard))
	p.basic = basicParams{attributes: attrVolatileCache | attrFUA, logicalShift: shift, physicalShift: 12, optimal: 12, io: shift,
		maxSectors: uint32(cfg.MaxIO >> 9), sectors: uint64(cfg.Size >> 9)}
	if cfg.ReadOnly {
		p.basic.attributes |= attrReadOnly
	}
	p.discard = discardParams{granularity: 4096, maxSectors: uint32(cfg.MaxRange >> 9), maxZeroes: uint32(cfg.MaxRange >> 9), maxSegments: 1}
	copy(c.scratch, bytesOf(&p))
	return c.do(cmdSetParams, id, int(p.length), 0)
}

// Start brings a device to life whose server, this process, has its Queue running: the kernel reads the device at once.
func (c *Control) Start(id uint32) error {
	return c.named("start", cmdStart, id, uint64(unix.Getpid()))
}

// StartRecovery prepares a Quiesced device for another server, which then opens its Queue and calls EndRecovery. It fails with
// EBUSY until the last server is gone for good.
func (c *Control) StartRecovery(id uint32) error {
	return c.named("begin the recovery of", cmdStartRecovery, id, 0)
}

// EndRecovery brings a device back to life with this process as its server: the requests that wait come at once.
func (c *Control) EndRecovery(id uint32) error {
	return c.named("recover", cmdEndRecovery, id, uint64(unix.Getpid()))
}

// Stop ends a device: once the requests its server has are answered, all others fail, and /dev/ublkbN goes. It waits for that.
func (c *Control) Stop(id uint32) error { return c.gone(c.named("stop", cmdStop, id, 0)) }

// Delete forgets a device that has ended. It does not wait for those who have it open.
func (c *Control) Delete(id uint32) error {
	err := c.do(cmdDeleteAsync, id, 0, 0)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
		err = c.do(cmdDelete, id, 0, 0) // before 6.9; waits
	}
	if err = c.gone(err); err != nil {
		return fmt.Errorf("delete ublk device %d: %w", id, err)
	}
	return nil
}

func (c *Control) named(what string, number, id uint32, data uint64) error {
	if err := c.do(number, id, 0, data); err != nil {
		return fmt.Errorf("%s ublk device %d: %w", what, id, err)
	}
	return nil
}

// gone makes no error of a device that does not exist any more.
func (c *Control) gone(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// Get tells a device's state; ok is false if there is none with this number.
func (c *Control) Get(id uint32) (info Info, ok bool, err error) {
	err = c.do(cmdGetInfo, id, int(unsafe.Sizeof(info)), 0)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return Info{}, false, nil
	}
	if err != nil {
		return Info{}, false, fmt.Errorf("ask for ublk device %d: %w", id, err)
	}
	return *(*Info)(unsafe.Pointer(&c.scratch[0])), true, nil
}

// StopLater is Stop without the wait, for one device once; Stopped tells when it is done.
func (c *Control) StopLater(id uint32) error {
	if err := c.begin(cmdStop, id, 0, 0); err != nil {
		return fmt.Errorf("stop ublk device %d: %w", id, err)
	}
	c.busy = true
	return c.ring.Enter(false)
}

// Stopped tells whether the Stop begun by StopLater is done, without waiting.
func (c *Control) Stopped() (bool, error) {
	if !c.busy {
		return true, nil
	}
	if err := c.ring.Enter(false); err != nil {
		return false, err
	}
	done, err := c.finished()
	if done {
		c.busy = false
	}
	return done, c.gone(err)
}

// Path is the node of a device.
func Path(id uint32) string { return "/dev/ublkb" + strconv.FormatUint(uint64(id), 10) }

// Marked lists the devices with a mark.
func (c *Control) Marked(mark uint64) ([]Info, error) {
	var out []Info
	paths, _ := filepath.Glob("/sys/class/ublk-char/ublkc*") // the pattern is well formed
	for _, p := range paths {
		id, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(p), "ublkc"), 10, 32)
		if err != nil {
			continue
		}
		info, ok, err := c.Get(uint32(id))
		if err != nil {
			return nil, err
		}
		if ok && info.Mark == mark {
			out = append(out, info)
		}
	}
	return out, nil
}
